# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""`dlink predict`: classify a recording window by window, as CSV or as MNE annotations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..core.checks import one_of
from ..core.export_record import DEPLOY_FILE, read_deploy
from ..inference.loading import pipeline
from ..inference.predictions import RecordingPredictions, predict_recording
from .flags import arg, named, parse
from .reading import ReadingArguments, with_reading
from .terminal import quiet_transformers


DESCRIPTION = (
    "Classify a recording: `dlink predict recording.edf --model DIR`. One row per window: onset in seconds, label, "
    "the probability of every label, or the reason why there is no label."
)

FORMATS = ("csv", "annotations")


@dataclass
class PredictArguments(ReadingArguments):
    """What is classified, by which model, and where the answer goes."""

    model: str = arg("", "Folder, Hub id or short name (dlink-mic-small-eegmat) of a student or a teacher. Required.")
    recording: str = arg("", "The recording; also taken as the first word after `predict`.")
    output: str | None = arg(None, "File to write; in this folder, named after the recording, if left out.")
    format: str = arg("csv", "`csv`, or `annotations`: MNE annotations (.fif, .csv or .txt, by the name of --output).")
    stride_seconds: float | None = arg(None, "From one window to the next in seconds; the model's own if left out.")
    session_recordings: list[str] | None = arg(
        None,
        "Further recordings of the same subject's session, for a model with an alignment: it is fitted on all of them "
        "and the one that is classified. Needed where that one holds a single block or condition.",
    )
    label_all: bool = arg(
        False,
        "Label windows too that the model never saw the like of: beyond the amplitude that training left out, or "
        "marked bad (BAD, EDGE, boundary). By default they have a reason in place of a label.",
    )
    backend: str | None = arg(
        None,
        "torch, onnx or executorch; that of a folder of `dlink export`, or torch, if left out. With onnx neither "
        "torch nor transformers is loaded.",
    )
    precision: str | None = arg(None, "Of the export, where there are several: float32, float16 or int8.")


def backend_of(name: str) -> str:
    """Return what runs a model unless the command says: the format of a folder of `dlink export`, else torch."""
    return read_deploy(Path(name)).get("format", "onnx") if Path(name, DEPLOY_FILE).is_file() else "torch"


def classify_recording(args: PredictArguments) -> RecordingPredictions:
    """Classify the recording that the arguments name, and say what its alignment was fitted on.

    Raises:
        ValueError: the recording can't be used; the message says why.
    """
    if args.stride_seconds is not None and args.stride_seconds <= 0:
        raise ValueError(f"--stride_seconds must be positive, got {args.stride_seconds}.")
    backend = backend_of(args.model) if args.backend is None else args.backend
    if backend != "onnx":
        quiet_transformers()
    pipe = pipeline(model=args.model, backend=backend, precision=args.precision)
    pipe.feature_extractor = with_reading(pipe.feature_extractor, args)
    session = args.session_recordings or ()
    found = predict_recording(pipe, args.recording, args.stride_seconds, args.unit, session)
    if found.alignment is not None:
        print(
            f"alignment ({found.alignment.method}) fitted on {found.alignment.n_windows} clean, unlabelled windows of "
            f"{len(session) + 1} recording{'s' * bool(session)}, taken to be one subject's whole session"
        )
    return found


def run(argv: Sequence[str]) -> None:
    """Entry of `dlink predict`."""
    (args,) = parse("predict", DESCRIPTION, (PredictArguments,), named(argv, "--recording"))
    if not args.model or not args.recording:
        raise ValueError("say what to classify and by which model: dlink predict recording.edf --model DIR.")
    one_of("--format", args.format, FORMATS)
    found = classify_recording(args)
    stem = Path(args.recording).name.split(".")[0]
    if args.format == "csv":
        path = found.write_csv(args.output or f"{stem}_predictions.csv", args.label_all)
    else:
        path = found.write_annotations(args.output or f"{stem}_annot.fif", args.label_all)
    told = found.summary(args.label_all)
    print(told[0])
    for line in told[1:]:
        print(f"{line} (--label_all labels them)")
    print(f"written to {path}")


__all__ = ["FORMATS", "PredictArguments", "backend_of", "classify_recording", "run"]
