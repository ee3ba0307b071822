# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Recordings with annotations to stretches that have a label for every place: a patch, or several.

N stretches of a recording, S places of each.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset, List, Value

from ..core.config_checks import TOKENS
from ..core.unlabelled import IGNORED
from ..preprocessing.feature_extraction_eeg import EEGFeatureExtractor
from .build import Header, build_dataset, build_options, read_header
from .build_steps import settle_label_names
from .description import signal_info, with_task
from .labels import AnnotationLabels, LabelSource, PathLabels, Segment, TableLabels, WholeRecording
from .sources import assign_subjects, list_sources


logger = logging.getLogger(__name__)


def build_place_dataset(
    source: Any,
    extractor: EEGFeatureExtractor,
    labels: LabelSource | None = None,
    *,
    seconds_per_label: float = 1.0,
    background: str | None = None,
    ignore_labels: Sequence[str] | str = (),
    subject_pattern: str | None = None,
    bids_entities: Mapping[str, Any] | None = None,
    max_abs_uv: float | None = None,
    keep_rejected: bool = False,
    cache_dir: str | Path | None = None,
    progress: bool = True,
) -> Dataset:
    """Cut recordings from beginning to end into stretches whose places have the labels of annotations.

    A place has the label that covers most of it. Where more of it is covered by no label than by any, it has the
    label `background`, or none (-100). Of two labels that cover the same, the first in order wins.

    Args:
        source: as for [`build_dataset`], recordings only.
        extractor: channels, rate, filters; its window is a stretch. An alignment is not applied.
        labels: where onset, duration and label come from; the recordings' annotations by default.
        seconds_per_label: length of a place in seconds.
        background: label of places that nothing covers; None leaves them without one, and stretches in which no place
            has a label are left out.
        ignore_labels: as for [`build_dataset`].
        subject_pattern: as for [`build_dataset`].
        bids_entities: as for [`build_dataset`].
        max_abs_uv: as for [`build_dataset`].
        keep_rejected: as for [`build_dataset`].
        cache_dir: as for [`build_dataset`]; the signal is kept, labels are read each time.
        progress: whether to show progress bars.

    Returns:
        as [`build_dataset`], but `labels` are S class indices of each stretch, -100 where a place has none.

    Raises:
        FileNotFoundError: as [`build_dataset`].
        ValueError: labels are those of whole recordings, or have no length; no annotation has a label; only one class
            is there; or the stretch does not hold whole places.

    Example:

    ```python
    >>> from dlink_hf import AnnotationLabels, EEGFeatureExtractor
    >>> from dlink_hf.data.place_labels import build_place_dataset
    >>> extractor = EEGFeatureExtractor(n_times=2000, l_freq=0.5, h_freq=40.0)
    >>> labels = AnnotationLabels({"SPINDLE": "spindle"})
    >>> stretches = build_place_dataset("nights", extractor, labels, background="none")
    >>> stretches[0]["labels"]  # ten places of a second
    tensor([0, 0, 1, 1, 0, 0, 0, 0, 0, 0])
    ```
    """
    labels = AnnotationLabels() if labels is None else labels
    n_places = places_in(extractor.n_times, extractor.sfreq, seconds_per_label)
    if isinstance(labels, (PathLabels, WholeRecording)):
        raise ValueError(_WHOLE.format(type(labels).__name__))
    sources = list_sources(source, bids_entities)
    assign_subjects(sources, None, subject_pattern, labels if isinstance(labels, TableLabels) else None)
    if isinstance(labels, TableLabels):
        labels.check_recordings([(item.name, item.path) for item in sources])
    headers = {item.name: read_header(item, item.open(preload=False), labels) for item in sources}
    names = _settle_names(headers, labels, ignore_labels, background)
    dataset = build_dataset(
        source,
        extractor.without_alignment(),
        WholeRecording(),
        subjects={name: header.subject for name, header in headers.items()},
        bids_entities=bids_entities,
        max_abs_uv=max_abs_uv,
        keep_rejected=keep_rejected,
        allow_one_class=True,
        short="skip",
        cache_dir=cache_dir,
        progress=progress,
    )
    plain = dataset.with_format(None)
    recordings, onsets = np.asarray(plain["recording"][:]), np.asarray(plain["onset"][:], dtype=float)
    found = np.full((len(dataset), n_places), IGNORED, dtype=np.int64)
    nothing = IGNORED if background is None else names.index(background)
    for name in np.unique(recordings):
        rows = recordings == name
        found[rows] = label_places(
            headers[name].segments, headers[name].duration, onsets[rows], n_places, seconds_per_label, names, nothing
        )
    _check_classes(found, names, background)
    return _with_labels(dataset, found, names)


def places_in(n_times: int, sfreq: float, seconds_per_label: float) -> int:
    """Return the number of places of a stretch.

    Raises:
        ValueError: a place is no whole number of samples, or the stretch holds no whole number of places.
    """
    size = seconds_per_label * sfreq
    if not size >= 1 or abs(size - round(size)) > 1e-6 or n_times % round(size):
        raise ValueError(
            f"A stretch of {n_times / sfreq:g} s at {sfreq:g} Hz does not hold whole labels of "
            f"{seconds_per_label:g} s. Give a window that is a multiple of a label's length, such as "
            f"{max(1, round(n_times / max(size, 1))) * seconds_per_label:g} s (--window_seconds, --seconds_per_label)."
        )
    return n_times // round(size)


def label_places(
    segments: Sequence[Segment],
    duration: float,
    onsets: np.ndarray,
    n_places: int,
    seconds: float,
    names: Sequence[str],
    nothing: int,
) -> np.ndarray:
    """Return the labels (N, S) of the places of stretches, by the rule of [`build_place_dataset`].

    Args:
        segments: labelled stretches of time of the recording; those of other labels than `names` are passed over.
        duration: of the recording, in seconds.
        onsets: (N,) of the stretches, in seconds from its first sample.
        n_places: S.
        seconds: length of a place.
        names: of the labels, by index.
        nothing: what a place gets that nothing covers.
    """
    begins = onsets[:, None] + seconds * np.arange(n_places)
    cover, spans = np.zeros((len(names), *begins.shape)), []
    for onset, length, label in segments:
        if label in names:
            spans.append((onset, duration if length is None else onset + length))
            cover[names.index(label)] += _overlap(begins, seconds, *spans[-1])
    covered = sum((_overlap(begins, seconds, *span) for span in _joined(spans)), np.zeros(begins.shape))
    # a microsecond: onsets are rounded by file formats
    is_labelled = (cover.max(0) > 1e-6) & (cover.max(0) >= seconds - covered - 1e-6)
    return np.where(is_labelled, cover.argmax(0), nothing)


def _overlap(begins: np.ndarray, seconds: float, first: float, last: float) -> np.ndarray:
    return np.clip(np.minimum(begins + seconds, last) - np.maximum(begins, first), 0, None)


def _joined(spans: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """The same time in spans that do not overlap."""
    joined: list[tuple[float, float]] = []
    for first, last in sorted(spans):
        if joined and first <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], last))
        else:
            joined.append((first, last))
    return joined


_WHOLE = (
    "{} gives a label for each whole recording, and problem_type='token_classification' needs when each label begins "
    "and ends. Give annotations with a duration, or a table with the columns onset and duration (in seconds); or "
    "leave the problem type out, for one label per window."
)


def _settle_names(
    headers: Mapping[str, Header], labels: LabelSource, ignore_labels: Sequence[str] | str, background: str | None
) -> list[str]:
    """The labels in the order of their numbers, the background first; judged before any signal is read."""
    segments = [segment for header in headers.values() for segment in header.segments]
    options = build_options(None, ignore_labels, None, "skip", True, None, {})
    names = settle_label_names(options, labels.label_names(), Counter(s.label for s in segments), Counter())
    wanted = [segment for segment in segments if segment.label in names]
    if not wanted:
        raise ValueError(
            f"no annotation has one of the labels {names}; found are "
            f"{sorted({segment.label for segment in segments})}. Correct the mapping (--label_map)."
        )
    if all(segment.duration is None and segment.onset == 0 for segment in wanted):
        raise ValueError(_WHOLE.format(type(labels).__name__))
    if all(segment.duration is not None and segment.duration <= 0 for segment in wanted):
        raise ValueError(
            f"all {len(wanted)} annotations are markers without a length, so they cover no place. Say how long what "
            "they mark lasts, by duration and start of the label source (--trial_duration 2, --trial_start 0, in "
            "seconds)."
        )
    return names if background is None or background in names else [background, *names]


def _check_classes(labels: np.ndarray, names: Sequence[str], background: str | None) -> None:
    counts = {name: int((labels == index).sum()) for index, name in enumerate(names)}
    if sum(count > 0 for count in counts.values()) < 2:
        advice = "name the places that no annotation covers: background='none' (--background none)"
        if background is not None:
            advice = "is a place short enough for the annotations to cover most of it (--seconds_per_label)?"
        raise ValueError(f"only one class has labelled places: {counts}. A classifier needs two; {advice}.")
    for name, count in counts.items():
        if not count:
            logger.warning("the label %r covers most of no place.", name)


def _with_labels(dataset: Dataset, labels: np.ndarray, names: Sequence[str]) -> Dataset:
    """The stretches with their labels (N, S), those without any left out."""
    order, description = dataset.column_names, dataset.info.description
    feature = List(Value("int64"), length=labels.shape[1])
    changed = dataset.remove_columns("labels").add_column("labels", labels.tolist(), feature=feature)
    changed = changed.select_columns(order)
    changed.info.description = with_task(description, TOKENS, names)
    known = (labels != IGNORED).any(1)
    if not known.all():
        logger.warning(
            "%d of %d stretches are left out: no label covers a place of theirs.", (~known).sum(), len(known)
        )
        changed = changed.select(np.flatnonzero(known))
    return changed.with_format(**dataset.format)


def seconds_per_label(dataset: Dataset) -> float:
    """Return the length of a place of stretches in seconds."""
    return signal_info(dataset).duration / dataset.features["labels"].length


__all__ = ["build_place_dataset", "label_places", "places_in", "seconds_per_label"]
