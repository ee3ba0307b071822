# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""What a model says of the windows of a recording, as `dlink predict` and the web demo write it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mne
import numpy as np

from ..core.atomic_files import staged
from ..core.config_checks import MULTI_LABEL, REGRESSION
from ..core.model_facts import label_names
from ..evaluation.prediction_files import label_of, write_predictions
from ..preprocessing.alignment import Alignment


@dataclass(frozen=True)
class RecordingPredictions:
    """The windows of one recording.

    Args:
        onsets: (N,) seconds from the first sample.
        probabilities: (N, num_labels); of a regression the numbers themselves.
        names: of the labels.
        duration: of a window, seconds.
        reasons: N, why a window should get no label; None where it should.
        alignment: what the session was aligned by; None for a model without one.
        problem_type: of the model, as transformers names it.
    """

    onsets: np.ndarray
    probabilities: np.ndarray
    names: list[str]
    duration: float
    reasons: list[str | None]
    alignment: Alignment | None = None
    problem_type: str | None = None

    @property
    def labels(self) -> list[str]:
        """What is said of every window, of those with a reason too: its likeliest label, all that hold, or numbers."""
        if self.problem_type == REGRESSION:
            return [
                ", ".join(f"{name}={value:.4g}" for name, value in zip(self.names, row, strict=True))
                for row in self.probabilities
            ]
        return [label_of(row, self.names, self.problem_type) for row in self.probabilities]

    def is_judged(self, label_all: bool = False) -> list[bool]:
        """Whether each window gets a label."""
        return [reason is None or label_all for reason in self.reasons]

    def write_csv(self, path: str | Path, label_all: bool = False) -> Path:
        """Write one row per window: onset, label, probabilities, reason."""
        told: dict[str, Any] = {"predicted": "label", "reasons": self.reasons, "label_all": label_all}
        told["problem_type"] = self.problem_type
        return write_predictions(path, {"onset": self.onsets}, self.probabilities, self.names, **told)

    def write_annotations(self, path: str | Path, label_all: bool = False) -> Path:
        """Write MNE annotations (.fif, .csv or .txt); a window without a label is one that MNE leaves out."""
        described = [
            label if judged else f"BAD_unjudged: {reason}"
            for label, judged, reason in zip(self.labels, self.is_judged(label_all), self.reasons, strict=True)
        ]
        return save_annotations(Path(path), self.onsets, self.duration, described)

    def summary(self, label_all: bool = False) -> list[str]:
        """Count the labels, and say how many windows have none and why the first has none."""
        judged = self.is_judged(label_all)
        given = [label for label, is_one in zip(self.labels, judged, strict=True) if is_one]
        held = [set(label.split(";")) if self.problem_type == MULTI_LABEL else {label} for label in given]
        counts = ", ".join(f"{sum(name in one for one in held)} {name}" for name in self.names)
        if self.problem_type == REGRESSION:
            numbers = self.probabilities[judged]
            counts = ", ".join(
                f"{name} {column.min():.4g} to {column.max():.4g}, on average {column.mean():.4g}"
                for name, column in zip(self.names, numbers.T, strict=True)
                if len(column)
            )
        lines = [f"{len(judged)} windows of {self.duration:g} s: {counts}"]
        if len(given) < len(judged):
            first = next(reason for reason, is_one in zip(self.reasons, judged, strict=True) if not is_one)
            lines.append(
                f"{len(judged) - len(given)} have no label, as training saw none like them; the first: {first}"
            )
        return lines


def predict_recording(
    pipe: Any,
    recording: Any,
    stride_seconds: float | None = None,
    unit: str | None = None,
    session_recordings: Sequence[Any] = (),
) -> RecordingPredictions:
    """Classify a recording window by window.

    Args:
        pipe: of `dlink_hf.pipeline`, with its feature extractor.
        recording: path, an `mne.io.Raw`, or `RecordingWindows` that the pipeline's extractor has prepared.
        stride_seconds: from one window to the next, in seconds; the extractor's own by default.
        unit: unit of the file's numbers, if not volts.
        session_recordings: further recordings of the same subject's session, to fit the model's alignment on.

    Raises:
        ValueError: the recording can't be used; the message says why.
    """
    state = None
    if pipe.feature_extractor.alignment is not None:
        state = pipe.fit_session([recording, *session_recordings], stride_seconds=stride_seconds, unit=unit)
    elif session_recordings:
        raise ValueError("--session_recordings are for a model with an alignment; this one has none.")
    options = {"stride_seconds": stride_seconds, "unit": unit, "alignment_state": state, "label_all": True}
    names, problem_type = label_names(pipe.model), pipe.model.config.problem_type
    if problem_type == REGRESSION:
        windows: list[dict[str, Any]] = list(pipe(recording, **options))
        scores = [window.get("values") or {window["label"]: window["value"]} for window in windows]
    else:
        windows = list(pipe(recording, **options, top_k=None))
        scores = [{row["label"]: row["score"] for row in window["scores"]} for window in windows]
    probabilities = np.array([[row[name] for name in names] for row in scores])
    onsets, reasons = np.array([window["onset"] for window in windows]), [window["reason"] for window in windows]
    return RecordingPredictions(onsets, probabilities, names, windows[0]["duration"], reasons, state, problem_type)


def save_annotations(path: Path, onsets: np.ndarray, duration: float, labels: list[str]) -> Path:
    """Write MNE annotations under a temporary name, then rename them."""
    annotations = mne.Annotations(onsets, duration, labels)
    with staged(path.parent) as partial:
        annotations.save(partial / path.name, overwrite=True)
    return path


__all__ = ["RecordingPredictions", "predict_recording", "save_annotations"]
