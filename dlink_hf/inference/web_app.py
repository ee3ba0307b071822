# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""The web demo: a Gradio page around [`WebSession`]; `dlink demo --web` and `examples/space/app.py` start it."""

from __future__ import annotations

import base64
import html
import logging
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..core.requires import require
from ..core.text import for_terminal, without_tokens
from .web_session import MEGABYTE, MOST_BYTES, UPLOADS, WebSession, find_model, find_students


logger = logging.getLogger(__name__)

TITLE = "EEG, window by window"
INTRODUCTION = f"""
# EEG, window by window

Choose a student, upload a recording or take the synthetic sample, and see what it makes of every window.
Types: {", ".join(UPLOADS)}; at most {MOST_BYTES / MEGABYTE:.0f} MB.
Recordings stay on the server that runs this page, in a temporary folder that is removed with your visit. Not a medical
device.
"""
# a visitor's folder is removed after so many seconds without a word
_IDLE_SECONDS = 3600
_CSS = """
footer {display: none !important}
.gradio-container {max-width: 1180px !important; margin: 0 auto !important}
.picture img {width: 100%; height: auto; background: white; border-radius: 6px}
/* Gradio draws these paler than can be read */
.min_value, .max_value, .wrap .or {color: var(--body-text-color) !important}
"""
# a screen narrower than this gets pictures for a phone
_NARROW_PIXELS = 700
_NO_OTHER = "none"


def picture(path: Path | None, told: str) -> str:
    """A picture as HTML, its text for those who don't see it; empty without a path.

    Args:
        path: PNG file.
        told: what it shows.
    """
    if path is None:
        return ""
    data = base64.b64encode(path.read_bytes()).decode()
    return f'<div class="picture"><img src="data:image/png;base64,{data}" alt="{html.escape(told, quote=True)}"></div>'


def build_app(folders: Sequence[str | Path] = ()) -> Any:
    """Return the page, a `gradio.Blocks`.

    Args:
        folders: checkpoints of students and teachers, or folders of them, besides those in the package.

    Raises:
        ImportError: gradio is not installed.
        ValueError: there is no model with a trained head.
    """
    gr = require("gradio", "The web demo")
    known = find_students([Path(folder) for folder in folders])
    if not known:
        raise ValueError(
            "There is no student with a trained head to show. Give the folder of one (dlink demo --web --students "
            "outputs/mine/student), or of several, such as model_cards of the repository."
        )

    # removed when the process ends, with what visits that never said goodbye have left
    root = tempfile.TemporaryDirectory(prefix="dlink-web-")

    def pictures(session: WebSession, number: float, start: float, seconds: float, screen: float) -> tuple[Any, ...]:
        index, narrow = session.window_at(int(number or 0)), 0 < (screen or 0) < _NARROW_PIXELS
        told, names = session.describe(index), " and ".join(session.predictions.names)
        strip = session.draw_recording(float(start or 0), float(seconds), index, narrow)
        return (
            picture(
                strip, f"{len(session.ch_names)} channels, {seconds:g} s from {start or 0:g} s on, and labels. {told}"
            ),
            picture(session.draw_probabilities(index, narrow), f"Probabilities of {names} over the recording. {told}"),
            picture(session.draw_maps(index, narrow), f"Power in five frequency bands on the head. {told}"),
            picture(session.draw_beside(index, narrow), f"Probabilities of {names} by the other model"),
        )

    def opened(
        name: str, beside: str, files: Any, others: Any, old: WebSession | None, screen: float, progress: Any
    ) -> tuple[Any, ...]:
        if old is not None:
            old.close()
        try:
            other = None if beside in (None, "", _NO_OTHER) else find_model(beside, known)
            model = find_model(name or "", known)
            session = WebSession.open(
                model, files, others or (), Path(root.name), other, tell=lambda done, text: progress(done, desc=text)
            )
        except (ValueError, TypeError, OSError) as error:
            logger.info("refused: %s", error)
            reason = f"Not done. {for_terminal(without_tokens(str(error)), keep=chr(10))}"
            return (None, reason, *[gr.update(visible=False)] * 2, *[""] * 5, *[gr.update()] * 3, None, None)
        progress(0.8, desc="drawing")
        windows = len(session.predictions.onsets)
        table, annotations = session.write()
        return (
            session,
            session.summary(),
            *[gr.update(visible=True)] * 2,
            *pictures(session, 0, 0, 30, screen),
            "",
            gr.update(visible=session.beside is not None),
            gr.update(value=0, maximum=max(1, windows - 1), interactive=windows > 1),
            gr.update(value=0, maximum=max(1.0, session.seconds - 5)),
            str(table),
            str(annotations),
        )

    def classify(
        name: str,
        beside: str,
        files: Any,
        others: Any,
        old: Any,
        screen: float,
        progress: Any = gr.Progress(),  # noqa: B008
    ) -> Any:
        return opened(name, beside, files or [], others, old, screen, progress)

    def sample(name: str, beside: str, old: Any, screen: float, progress: Any = gr.Progress()) -> Any:  # noqa: B008
        return opened(name, beside, None, None, old, screen, progress)

    def redraw(session: Any, number: float, start: float, seconds: float, screen: float) -> tuple[Any, ...]:
        return ("",) * 4 if session is None else pictures(session, number, start, seconds, screen)

    def follow(session: Any, number: float, seconds: float) -> Any:
        # the chosen window comes into view; what an earlier one rested on goes
        if session is None:
            return gr.update(), ""
        onset = float(session.predictions.onsets[session.window_at(int(number or 0))])
        return max(0.0, onset - float(seconds) / 3), ""

    def explain(session: Any, number: float, screen: float) -> str:
        if session is None:
            return ""
        index = session.window_at(int(number or 0))
        try:
            path = session.draw_explanation(index, 0 < (screen or 0) < _NARROW_PIXELS)
        except ValueError as error:
            return f"<p>{html.escape(str(error))}</p>"
        return picture(
            path, f"Electrodes, seconds and frequency bands that the label rests on. {session.describe(index)}"
        )

    with gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=(600, _IDLE_SECONDS)) as app:
        gr.Markdown(INTRODUCTION)
        state = gr.State(
            None,
            time_to_live=_IDLE_SECONDS,
            delete_callback=lambda session: session.close() if session is not None else None,
        )
        screen = gr.Number(0, visible=False)
        app.load(lambda width: width, screen, screen, js="() => window.innerWidth")
        with gr.Row():
            with gr.Column(scale=2, min_width=280):
                choice = {"allow_custom_value": True, "filterable": True}
                model = gr.Dropdown(
                    list(known),
                    value=next(iter(known)),
                    label="Student (or user/name on the Hub)",
                    elem_id="student",
                    **choice,
                )
                beside = gr.Dropdown(
                    [_NO_OTHER, *known],
                    value=_NO_OTHER,
                    label="Beside it, such as its teacher",
                    elem_id="beside",
                    **choice,
                )
                files = gr.File(
                    label="Recording, with all of its files", file_count="multiple", elem_id="upload", height=170
                )
                others = gr.File(
                    label="Others of the session (optional)", file_count="multiple", elem_id="others", height=170
                )
                go = gr.Button("Classify the recording", variant="primary", elem_id="classify")
                take = gr.Button("Take the synthetic sample", elem_id="sample")
            with gr.Column(scale=3, min_width=280):
                found = gr.Textbox(label="What was found", lines=9, interactive=False, elem_id="found")
                with gr.Row(visible=False) as downloads:
                    table = gr.DownloadButton("Save the labels as CSV", elem_id="csv", size="sm")
                    annotations = gr.DownloadButton("Save them as MNE annotations", elem_id="annotations", size="sm")
        with gr.Column(visible=False, elem_id="results") as results:
            with gr.Row():
                number = gr.Slider(0, 1, value=0, step=1, label="Window", elem_id="window")
                start = gr.Slider(0, 1, value=0, step=1, label="Shown from (s)", elem_id="start")
                seconds = gr.Slider(5, 120, value=30, step=5, label="Seconds shown", elem_id="seconds")
            gr.Markdown("## Signal and labels of its windows")
            strip = gr.HTML(elem_id="strip")
            gr.Markdown("## Class probabilities over time")
            course = gr.HTML(elem_id="course")
            with gr.Column(visible=False) as second:
                gr.Markdown("## The same by the other model")
                other_course = gr.HTML(elem_id="other_course")
            gr.Markdown("## Band power of the chosen window")
            maps = gr.HTML(elem_id="maps")
            gr.Markdown("## What the label of the chosen window rests on")
            ask = gr.Button("Find out (some seconds)", elem_id="explain")
            reasons = gr.HTML(elem_id="explanation")

        drawn = [strip, course, maps, other_course]
        outputs = [state, found, results, downloads, *drawn, reasons, second, number, start, table, annotations]
        # progress shows where the answer will be
        told = {"show_progress_on": found}
        go.click(classify, [model, beside, files, others, state, screen], outputs, **told)
        take.click(sample, [model, beside, state, screen], outputs, **told)
        view = [state, number, start, seconds, screen]
        # of many moves of a slider the last one counts
        last = {"trigger_mode": "always_last", "show_progress": "minimal"}
        number.input(follow, [state, number, seconds], [start, reasons], **last).then(redraw, view, drawn, **last)
        for slider in (start, seconds):
            slider.input(redraw, view, drawn, **last)
        ask.click(explain, [state, number, screen], reasons)
    return app


def launch_app(
    folders: Sequence[str | Path] = (), port: int | None = None, host: str = "127.0.0.1", wait: bool = True
) -> str:
    """Start the page and serve it until the process is interrupted.

    Args:
        folders: as in [`build_app`].
        port: to listen on; the first free one from 7860 on by default.
        host: address to listen on; this machine's own only by default.
        wait: whether to return only when it ends.

    Returns:
        its address.
    """
    app = build_app(folders)
    gr = require("gradio", "The web demo")
    # fonts of the reader's own system: nothing is loaded from elsewhere
    theme = gr.themes.Default(primary_hue="indigo", font=["system-ui", "sans-serif"], font_mono=["monospace"])
    # Gradio's own colours have less contrast than WCAG AA asks for
    theme = theme.set(
        button_primary_background_fill="*primary_700",
        button_primary_background_fill_hover="*primary_800",
        button_primary_background_fill_dark="*primary_700",
        button_primary_background_fill_hover_dark="*primary_800",
        body_text_color_subdued="*neutral_600",
        block_label_text_color="*neutral_600",
        block_title_text_color="*neutral_600",
    )
    app.queue(default_concurrency_limit=2, max_size=32)
    _, address, _ = app.launch(
        server_name=host,
        server_port=port,
        max_file_size=MOST_BYTES,
        prevent_thread_lock=not wait,
        quiet=not wait,
        show_error=True,
        ssr_mode=False,
        theme=theme,
        css=_CSS,
        footer_links=[],
    )
    return address


__all__ = ["build_app", "launch_app", "picture"]
