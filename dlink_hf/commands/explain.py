# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""`dlink explain`: which electrodes, seconds and frequency bands the label of one window rests on, as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core.electrodes import channel_positions
from ..core.model_facts import label_names
from ..evaluation.explanation import Explanation
from ..evaluation.recording_plots import on_the_scalp, plot_explanation
from ..inference.explaining import explain_recording_window, recording_windows
from ..inference.loading import pipeline
from .flags import arg, named, parse
from .reading import ReadingArguments, with_reading


DESCRIPTION = (
    "Show what the label of one window rests on: `dlink explain recording.edf --model DIR --window 3 --output "
    "explanation.png`. Electrodes, seconds and bands of the window are replaced by those of other windows of the "
    "recording; shown is how far the log-odds of its label fall."
)


@dataclass
class ExplainArguments(ReadingArguments):
    """Which window of which recording, by which model, and where the picture goes."""

    recording: str = arg("", "The recording; also taken as the first word after `explain`.")
    model: str = arg("", "Folder, Hub id or short name of a student or a teacher of classes. Required.")
    window: int = arg(0, "Which window, counted from 0 as the rows of `dlink predict`.")
    output: str = arg("explanation.png", "Picture to write: .png, .svg or .pdf.")
    session_recordings: list[str] | None = arg(
        None,
        "Further recordings of the same subject's session: their windows take a part's place too, and an alignment is "
        "fitted on all of them. Needed where the recording holds a single condition.",
    )
    draws: int = arg(8, "How many other windows take a part's place; the mean is shown.")


def strongest(explanation: Explanation, ch_names: Sequence[str]) -> list[str]:
    """Say which electrode, second and band the label rests on most, with the fall of its log-odds.

    Args:
        explanation: of `explain_window`.
        ch_names: C names.
    """
    channel, second = int(explanation.channels.argmax()), int(explanation.seconds.argmax())
    band = max(explanation.bands, key=lambda name: explanation.bands[name])
    return [
        f"electrode {ch_names[channel]}: {explanation.channels[channel]:+.2f}",
        f"second {second} to {second + 1}: {explanation.seconds[second]:+.2f}",
        f"band {band}: {explanation.bands[band]:+.2f}",
    ]


def run(argv: Sequence[str]) -> None:
    """Entry of `dlink explain`.

    Raises:
        ValueError: an argument is missing or unknown, or the recording can't be used.
    """
    (args,) = parse("explain", DESCRIPTION, (ExplainArguments,), named(argv, "--recording"))
    if not args.model or not args.recording:
        raise ValueError("say what to explain and by which model: dlink explain recording.edf --model DIR.")
    if args.draws < 1:
        raise ValueError(f"--draws must be at least 1, got {args.draws}.")
    pipe: Any = pipeline(model=args.model)
    pipe.feature_extractor = with_reading(pipe.feature_extractor, args)
    windows = recording_windows(pipe, args.recording, args.unit, pipe.feature_extractor.stride)
    session = [recording_windows(pipe, each, args.unit) for each in args.session_recordings or ()]
    alignment = None
    if pipe.feature_extractor.alignment is not None:
        alignment = pipe.fit_session([windows, *session])
    found = explain_recording_window(pipe, windows, args.window, alignment, args.draws, session)
    label, onset = label_names(pipe.model)[found.label], windows.onsets[args.window]
    end = onset + pipe.feature_extractor.n_times / pipe.feature_extractor.sfreq
    told = f"Window {args.window}, {onset:g} to {end:g} s: {label} ({found.probability:.2f})"
    names = windows.ch_names
    path = plot_explanation(found, names, channel_positions(names), Path(args.output), told)
    print(told)
    for line in strongest(found, names):
        print(f"  {line}")
    apart = [name for index, name in enumerate(names) if index not in on_the_scalp(names)]
    if apart:
        print(f"not on the map, being differences of two places: {', '.join(apart)}")
    print(f"written to {path}")


__all__ = ["ExplainArguments", "run", "strongest"]
