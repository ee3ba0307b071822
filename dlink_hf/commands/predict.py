# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""`dlink predict`: classify a recording window by window, as CSV or as MNE annotations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import mne
import numpy as np

from ..core.atomic_files import staged
from ..core.checks import one_of
from ..core.export_record import DEPLOY_FILE, read_deploy
from ..core.model_facts import label_names
from ..evaluation.prediction_files import write_predictions
from ..inference.loading import pipeline
from ..inference.recording_classifier import RecordingClassification
from ..preprocessing.alignment import Alignment
from .flags import arg, named, parse
from .reading import ReadingArguments, with_reading


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


def classify_recording(
    model_path: str,
    recording: str,
    stride_seconds: float | None = None,
    unit: str | None = None,
    session_recordings: Sequence[str] = (),
    reading: ReadingArguments | None = None,
    backend: str | None = None,
    precision: str | None = None,
) -> tuple[np.ndarray, np.ndarray, list[str], float, list[str | None]]:
    """Classify a recording window by window.

    Args:
        model_path: folder, Hub id or short name of a student or a teacher, with its feature extractor.
        recording: path of the recording.
        stride_seconds: from one window to the next, in seconds; the extractor's own by default.
        unit: unit of the file's numbers, if not volts.
        session_recordings: further recordings of the same subject's session, to fit the model's alignment on.
        reading: what is done with channels in doubt, in place of what the model's feature extractor says.
        backend: torch, onnx or executorch; by default that of a folder of `dlink export`, else torch.
        precision: of the export, where there are several.

    Returns:
        onsets (N,) in seconds, probabilities (N, num_labels), the labels' names, the length of a window in seconds,
        and N reasons why a window should get no label, None where it should.

    Raises:
        ValueError: the recording can't be used; the message says why.
    """
    if stride_seconds is not None and stride_seconds <= 0:
        raise ValueError(f"--stride_seconds must be positive, got {stride_seconds}.")
    backend = backend_of(model_path) if backend is None else backend
    if backend != "onnx":
        import_module(".progress", __package__).quiet_transformers()
    pipe = pipeline(model=model_path, backend=backend, precision=precision)
    if reading is not None:
        pipe.feature_extractor = with_reading(pipe.feature_extractor, reading)
    state = _fit_session(pipe, [recording, *session_recordings], stride_seconds, unit)
    options = {"stride_seconds": stride_seconds, "unit": unit, "alignment_state": state}
    windows = pipe(recording, **options, top_k=None, label_all=True)
    names = label_names(pipe.model)
    scores = [{row["label"]: row["score"] for row in window["scores"]} for window in windows]
    probabilities = np.array([[row[name] for name in names] for row in scores])
    onsets, reasons = np.array([window["onset"] for window in windows]), [window["reason"] for window in windows]
    return onsets, probabilities, names, windows[0]["duration"], reasons


def backend_of(name: str) -> str:
    """Return what runs a model unless the command says: the format of a folder of `dlink export`, else torch."""
    return read_deploy(Path(name)).get("format", "onnx") if Path(name, DEPLOY_FILE).is_file() else "torch"


def _fit_session(
    pipe: RecordingClassification, recordings: Sequence[str], stride_seconds: float | None, unit: str | None
) -> Alignment | None:
    """The alignment of a subject, fitted on recordings of one session; None for a model without one."""
    if pipe.feature_extractor.alignment is None:
        if len(recordings) > 1:
            raise ValueError("--session_recordings are for a model with an alignment; this one has none.")
        return None
    state = pipe.fit_session(recordings, stride_seconds=stride_seconds, unit=unit)
    print(
        f"alignment ({state.method}) fitted on {state.n_windows} clean, unlabelled windows of {len(recordings)} "
        f"recording{'s' * (len(recordings) > 1)}, taken to be one subject's whole session"
    )
    return state


def save_annotations(path: Path, onsets: np.ndarray, duration: float, labels: list[str]) -> Path:
    """Write MNE annotations under a temporary name, then rename them."""
    annotations = mne.Annotations(onsets, duration, labels)
    with staged(path.parent) as partial:
        annotations.save(partial / path.name, overwrite=True)
    return path


def run(argv: Sequence[str]) -> None:
    """Entry of `dlink predict`."""
    (args,) = parse("predict", DESCRIPTION, (PredictArguments,), named(argv, "--recording"))
    if not args.model or not args.recording:
        raise ValueError("say what to classify and by which model: dlink predict recording.edf --model DIR.")
    one_of("--format", args.format, FORMATS)
    onsets, probabilities, names, duration, reasons = classify_recording(
        args.model,
        args.recording,
        args.stride_seconds,
        args.unit,
        args.session_recordings or (),
        args,
        args.backend,
        args.precision,
    )
    stem = Path(args.recording).name.split(".")[0]
    labels: list[str] = [names[index] for index in probabilities.argmax(1)]
    is_judged = [reason is None or args.label_all for reason in reasons]
    if args.format == "csv":
        told = {"predicted": "label", "reasons": reasons, "label_all": args.label_all}
        path = write_predictions(
            args.output or f"{stem}_predictions.csv", {"onset": onsets}, probabilities, names, **told
        )
    else:
        # MNE leaves out what begins with BAD
        described = [
            label if judged else f"BAD_unjudged: {reason}"
            for label, judged, reason in zip(labels, is_judged, reasons, strict=True)
        ]
        path = save_annotations(Path(args.output or f"{stem}_annot.fif"), onsets, duration, described)
    judged_labels = [label for label, judged in zip(labels, is_judged, strict=True) if judged]
    counts = ", ".join(f"{judged_labels.count(name)} {name}" for name in names)
    print(f"{len(labels)} windows of {duration:g} s: {counts}")
    if len(judged_labels) < len(labels):
        first = next(reason for reason, judged in zip(reasons, is_judged, strict=True) if not judged)
        print(
            f"{len(labels) - len(judged_labels)} have no label, as training saw none like them; the first: {first} "
            "(--label_all labels them)"
        )
    print(f"written to {path}")


__all__ = ["FORMATS", "PredictArguments", "backend_of", "classify_recording", "run", "save_annotations"]
