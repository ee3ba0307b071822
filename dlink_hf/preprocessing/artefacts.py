# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Windows with artefacts: which of them an alignment is fitted on, and which get no label, by one rule everywhere.

A window is *judged* where training would have kept it: it overlaps no span that is marked bad, lies across no join,
and no sample exceeds the rejection threshold (`reject_uv` of the feature extractor). An alignment is fitted on the
*clean* of the judged windows: those whose peak lies within 2.5 times the median peak of the subject.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import mne
import numpy as np


# Windows whose peak exceeds this many times the subject's median peak are not fitted on.
CLEAN_FACTOR = 2.5
# What MNE writes about the signal's quality, and EEGLAB about joins; never about a condition.
_QUALITY = re.compile(r"^(bad|edge|boundary$)", re.IGNORECASE)
# EEGLAB gives a boundary the duration of what was cut out, which is not in the recording.
_JOIN = re.compile(r"^(boundary|(bad|edge)[ _]boundary)$", re.IGNORECASE)


class MarkedSpan(NamedTuple):
    """A stretch that an annotation marks bad: `begin` and `end` in seconds from the first sample, equal at joins."""

    begin: float
    end: float
    description: str


def is_about_quality(description: str) -> bool:
    """Return whether an annotation tells of the signal's quality (`BAD...`, `EDGE...`, `boundary`), not of a label."""
    return _QUALITY.match(description) is not None


def marked_spans(raw: mne.io.BaseRaw) -> list[MarkedSpan]:
    """Return what annotations mark as bad, joins of `mne.concatenate_raws` and of EEGLAB among them.

    Args:
        raw: A recording.

    Returns:
        Spans in the order of the annotations.
    """
    # MNE counts onsets from time zero, which lies before the first sample in a cropped recording
    return [
        MarkedSpan(
            float(onset) - raw.first_time,
            float(onset) - raw.first_time + (0.0 if _JOIN.match(str(description)) else float(duration)),
            str(description),
        )
        for onset, duration, description in zip(
            raw.annotations.onset, raw.annotations.duration, raw.annotations.description, strict=True
        )
        if _QUALITY.match(str(description))
    ]


def overlapping_spans(
    onsets: Sequence[float] | np.ndarray, duration: float, spans: Sequence[tuple], sfreq: float
) -> np.ndarray:
    """Return which span each window overlaps; a join counts where the window lies across it, as MNE drops epochs.

    Args:
        onsets: (N,) seconds from the first sample; NaN overlaps nothing.
        duration: Of a window in seconds.
        spans: Begin and end in seconds, and anything else.
        sfreq: Rate of the windows in hertz; overlaps of less than half a sample are the rounding of file formats.

    Returns:
        (N,) the number of the first such span; -1 where there is none.
    """
    starts, half = np.asarray(onsets, dtype=np.float64), 0.5 / sfreq
    found = np.full(len(starts), -1)
    for number in reversed(range(len(spans))):
        begin, end = spans[number][:2]
        found[(starts + half < end) & (starts + duration - half > begin)] = number
    return found


def window_peaks(windows: np.ndarray) -> np.ndarray:
    """Return the largest absolute sample (N,) of each window (N, C, T), in the windows' unit."""
    return np.maximum(np.max(windows, axis=(1, 2), initial=0.0), -np.min(windows, axis=(1, 2), initial=0.0))


def unjudged_reasons(
    windows: np.ndarray,
    onsets: Sequence[float] | np.ndarray,
    *,
    sfreq: float,
    spans: Sequence[MarkedSpan] = (),
    reject_uv: float | None = None,
) -> list[str | None]:
    """Return why each window gets no label, in words; None where it gets one.

    Args:
        windows: (N, C, T) in microvolts, before alignment.
        onsets: (N,) seconds from the recording's first sample; NaN where unknown.
        sfreq: Their rate in hertz.
        spans: What the recording's annotations mark as bad.
        reject_uv: Training left out windows with a sample beyond this, in microvolts; None where it kept all.

    Returns:
        N reasons.
    """
    numbers = overlapping_spans(onsets, windows.shape[-1] / sfreq, spans, sfreq)
    return [
        marked_reason(spans[number]) if number >= 0 else peak_reason(peak, reject_uv)
        for number, peak in zip(numbers.tolist(), window_peaks(windows).tolist(), strict=True)
    ]


def marked_reason(span: MarkedSpan) -> str:
    """Return why a window that overlaps this span gets no label."""
    text = f"marked {span.description}"
    return f"lies across a join ({span.description})" if span.end <= span.begin else text


def peak_reason(peak: float, reject_uv: float | None) -> str | None:
    """Return why a window of this peak in microvolts gets no label; None where it gets one."""
    if reject_uv is None or peak <= reject_uv:
        return None
    return f"a peak of {peak:.4g} uV, beyond the {reject_uv:g} uV of training"


def clean_windows(
    peaks: np.ndarray, bad: np.ndarray | None = None, reject_uv: float | None = None, min_windows: int = 1
) -> np.ndarray:
    """Return the windows of one subject that an alignment is fitted on.

    Windows that are marked bad never are. Of the others those beyond `reject_uv` are left out, as training leaves them
    out (unless fewer than `min_windows` would remain: then a loud recording is taken as it is), and of what remains
    those whose peak exceeds 2.5 times the median peak.

    Args:
        peaks: (N,) largest absolute sample of each window, in microvolts.
        bad: (N,) whether a window is marked bad; None marks none.
        reject_uv: In microvolts, as of the feature extractor.
        min_windows: Windows that an alignment needs.

    Returns:
        (N,) bool; at least one is True.

    Raises:
        ValueError: Where all windows are marked bad.
    """
    peaks = np.asarray(peaks, dtype=np.float64)
    usable = np.ones(len(peaks), dtype=bool) if bad is None else ~np.asarray(bad, dtype=bool)
    if not usable.any():
        raise ValueError(
            f"all {len(peaks)} windows are marked bad (annotations BAD, EDGE or boundary): none is left to fit an "
            "alignment on. Correct the annotations, or give more recordings of the subject's session"
        )
    if reject_uv is not None:
        judged = usable & (peaks <= reject_uv)
        if judged.sum() >= max(1, min_windows):
            usable = judged
    return usable & (peaks <= CLEAN_FACTOR * np.median(peaks[usable]))


__all__ = [
    "CLEAN_FACTOR",
    "MarkedSpan",
    "clean_windows",
    "is_about_quality",
    "marked_reason",
    "marked_spans",
    "overlapping_spans",
    "peak_reason",
    "unjudged_reasons",
    "window_peaks",
]
