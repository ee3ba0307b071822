# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""The web demo: a Gradio page around [`WebSession`]; `dlink demo --web` and `examples/space/app.py` start it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..core.checks import first_names
from ..core.requires import require
from ..core.text import for_terminal, without_tokens
from .web_session import MOST_BYTES, UPLOADS, WebSession, find_students


logger = logging.getLogger(__name__)

TITLE = "EEG, window by window"
INTRODUCTION = f"""
# EEG, window by window

Choose a student, upload a recording or take the synthetic sample, and see what the student makes of every window.
Types: {", ".join(UPLOADS)}; at most {MOST_BYTES / 1e6:.0f} MB.
Recordings stay on the server that runs this page, in a temporary folder that is removed with your visit. Not a medical
device.
"""
# a visitor's folder is removed after so many seconds without a word
_IDLE_SECONDS = 3600
_CSS = "footer {display: none !important} .gradio-container {max-width: 1180px !important; margin: 0 auto !important}"


def build_app(folders: Sequence[str | Path] = ()) -> Any:
    """Return the page, a `gradio.Blocks`.

    Args:
        folders: checkpoints of students, or folders of them, besides those in the package.

    Raises:
        ImportError: gradio is not installed.
        ValueError: there is no student with a trained head.
    """
    gr = require("gradio", "The web demo")
    students = find_students([Path(folder) for folder in folders])
    if not students:
        raise ValueError(
            "There is no student with a trained head to show. Give the folder of one (dlink demo --web --students "
            "outputs/mine/student), or of several, such as model_cards of the repository."
        )

    def refused(error: Exception) -> str:
        return f"Not done. {for_terminal(without_tokens(str(error)), keep=chr(10))}"

    def pictures(session: WebSession, number: float, start: float, seconds: float) -> tuple[str, str, str]:
        index = session.window_at(int(number or 0))
        strip = session.draw_recording(float(start or 0), float(seconds), index)
        return str(strip), str(session.draw_probabilities(index)), str(session.draw_maps(index))

    def opened(name: str, files: Any, others: Any, old: WebSession | None, progress: Any) -> tuple[Any, ...]:
        if old is not None:
            old.close()
        progress(0.1, desc="reading and classifying")
        try:
            if name not in students:
                raise ValueError(f"There is no student {name!r}; there are {first_names(list(students))}.")
            session = WebSession.open(students[name], files, others or ())
        except (ValueError, OSError) as error:
            logger.info("refused: %s", error)
            return (None, refused(error), None, None, None, gr.update(), gr.update(), None, None)
        progress(0.7, desc="drawing")
        windows = len(session.predictions.onsets)
        table, annotations = session.write()
        return (
            session,
            session.summary(),
            *pictures(session, 0, 0, 30),
            gr.update(value=0, maximum=max(1, windows - 1), interactive=windows > 1),
            gr.update(value=0, maximum=max(1.0, session.seconds - 5)),
            str(table),
            str(annotations),
        )

    def classify(name: str, files: Any, others: Any, old: Any, progress: Any = gr.Progress()) -> Any:  # noqa: B008
        return opened(name, files or [], others, old, progress)

    def sample(name: str, old: Any, progress: Any = gr.Progress()) -> Any:  # noqa: B008
        return opened(name, None, None, old, progress)

    def redraw(session: Any, number: float, start: float, seconds: float) -> tuple[Any, ...]:
        if session is None:
            return None, None, None
        return pictures(session, number, start, seconds)

    def follow(session: Any, number: float, seconds: float) -> Any:
        # the chosen window comes into view
        if session is None:
            return gr.update()
        onset = float(session.predictions.onsets[session.window_at(int(number or 0))])
        return max(0.0, onset - float(seconds) / 3)

    with gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=(600, _IDLE_SECONDS)) as app:
        gr.Markdown(INTRODUCTION)
        state = gr.State(
            None,
            time_to_live=_IDLE_SECONDS,
            delete_callback=lambda session: session.close() if session is not None else None,
        )
        with gr.Row():
            with gr.Column(scale=2, min_width=280):
                model = gr.Dropdown(list(students), value=next(iter(students)), label="Student", elem_id="student")
                files = gr.File(
                    label="Recording, with all of its files", file_count="multiple", elem_id="upload", height=130
                )
                others = gr.File(
                    label="Others of the session (optional)", file_count="multiple", elem_id="others", height=130
                )
                go = gr.Button("Classify the recording", variant="primary", elem_id="classify")
                take = gr.Button("Take the synthetic sample", elem_id="sample")
            with gr.Column(scale=3, min_width=280):
                told = gr.Textbox(label="What was found", lines=9, interactive=False, elem_id="found")
                with gr.Row():
                    table = gr.DownloadButton("CSV", elem_id="csv", size="sm")
                    annotations = gr.DownloadButton("MNE annotations", elem_id="annotations", size="sm")
        with gr.Row():
            number = gr.Slider(0, 1, value=0, step=1, label="Window", elem_id="window")
            start = gr.Slider(0, 1, value=0, step=1, label="Shown from (s)", elem_id="start")
            seconds = gr.Slider(5, 120, value=30, step=5, label="Seconds shown", elem_id="seconds")
        # a label of the component would lie on the picture
        shown = {"interactive": False, "show_label": False, "buttons": ["download", "fullscreen"]}
        gr.Markdown("### Signal and labels of its windows")
        strip = gr.Image(label="Signal and labels of its windows", elem_id="strip", **shown)
        gr.Markdown("### Class probabilities over time")
        course = gr.Image(label="Class probabilities over time", elem_id="course", **shown)
        gr.Markdown("### Band power of the chosen window")
        maps = gr.Image(label="Band power of the chosen window", elem_id="maps", **shown)

        outputs = [state, told, strip, course, maps, number, start, table, annotations]
        go.click(classify, [model, files, others, state], outputs)
        take.click(sample, [model, state], outputs)
        view, drawn = [state, number, start, seconds], [strip, course, maps]
        # of many moves of a slider the last one counts
        last = {"trigger_mode": "always_last", "show_progress": "minimal"}
        number.input(follow, [state, number, seconds], start, **last).then(redraw, view, drawn, **last)
        for slider in (start, seconds):
            slider.input(redraw, view, drawn, **last)
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
    theme = gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["monospace"])
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


__all__ = ["build_app", "launch_app"]
