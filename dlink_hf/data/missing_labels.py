# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Training windows without a label, -1 in the column `labels` (of numbers NaN), mixed with those that have one."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from datasets import ClassLabel, Dataset, IterableDataset

from ..core.config_checks import MULTI_LABEL, REGRESSION, TOKENS
from ..core.unlabelled import IGNORED, UNLABELLED
from ..preprocessing.feature_extraction_eeg import EEGFeatureExtractor
from .aligned_windows import align_dataset
from .build import build_dataset
from .description import (
    alignment_info,
    check_same_signal,
    concatenate_windows,
    set_signal_info,
    signal_info,
    task_info,
    teacher_description,
    teacher_signal_info,
    with_alignment_info,
    with_task,
    with_teacher_signal,
)
from .labels import WholeRecording
from .splits import check_no_shared_subjects
from .targets import target_values
from .views import teacher_view


logger = logging.getLogger(__name__)

# the remedy for evaluation sets
EVALUATED_WITHOUT_LABEL = "There is nothing to score them by: leave them out. Only training windows may lack labels."


def labels_of(dataset: Dataset) -> np.ndarray:
    """(N,) int64: the labels, -1 where a window has none; of numbers or several labels at once (N, L) float64.

    Of stretches with a label for every place (N, S) int64, -100 where a place has none.

    Raises:
        ValueError: there is no column `labels`.
    """
    task = task_info(dataset)
    if task is not None:
        values = target_values(dataset)
        return values.astype(np.int64) if task["problem_type"] == TOKENS else values
    if "labels" not in dataset.column_names:
        raise ValueError(f"The dataset has no column 'labels'; it has {dataset.column_names}.")
    return np.asarray(dataset.select_columns(["labels"]).with_format(None)[:]["labels"], dtype=np.int64)


def is_labelled(dataset: Dataset) -> np.ndarray:
    """(N,) bool: which windows have a label; of several labels or targets, which have all of them."""
    labels, task = labels_of(dataset), task_info(dataset)
    if task is None:
        return labels != UNLABELLED
    if task["problem_type"] == TOKENS:
        return (labels != IGNORED).any(1)
    # a target may well be -1
    return (~np.isnan(labels) if task["problem_type"] == REGRESSION else labels != UNLABELLED).all(1)


def labelled_rows(dataset: Dataset) -> Dataset:
    """Return the windows that have a label; the dataset itself where all have."""
    known = is_labelled(dataset)
    return dataset if known.all() else dataset.select(np.flatnonzero(known))


def check_all_labelled(dataset: Any, name: str, remedy: str) -> None:
    """Refuse windows without a label where each must have one.

    Args:
        dataset: windows; streams, and what has no column `labels`, are not checked.
        name: what to call the dataset.
        remedy: a sentence that says what to do.

    Raises:
        ValueError: saying how many windows have none.
    """
    if isinstance(dataset, IterableDataset) or "labels" not in (getattr(dataset, "column_names", None) or ()):
        return
    absent = int((~is_labelled(dataset)).sum())
    if absent:
        raise ValueError(f"{absent} of {len(dataset)} windows of {name!r} have no label (-1). {remedy}")


def with_unlabelled(
    train: Dataset,
    unlabelled: Dataset,
    held_out: Mapping[str, Dataset] | None = None,
    group_column: str = "subject",
) -> Dataset:
    """Add windows without a label to the training windows: a distillation learns from them what needs no label.

    Args:
        train: labelled windows.
        unlabelled: windows of the same signal; labels that they may have are not looked at. Columns that `train` has
            and these lack are None, those that `train` lacks are left out.
        held_out: validation and test windows, by name: none of their subjects may be among the unlabelled
            ones. Subjects are told apart by `group_column`: both must name them alike.
        group_column: column that tells subjects apart.

    Returns:
        `train`, then `unlabelled` with the label -1 (NaN, where labels are numbers), with the columns and the format
        of `train`.

    Raises:
        ValueError: channels, rate, window or alignment differ, a subject is in a held-out split too, or a column that
            is needed is absent.
    """
    needed = ["input_values", *([group_column] if group_column in train.column_names or held_out else [])]
    for name, dataset in {"train": train, "unlabelled": unlabelled, **(held_out or {})}.items():
        lacking = [column for column in needed if column not in dataset.column_names]
        if lacking:
            raise ValueError(f"The dataset {name!r} has no column {lacking[0]!r}; it has {dataset.column_names}.")
    if task_info(train) is None and not isinstance(train.features.get("labels"), ClassLabel):
        raise ValueError("The column 'labels' of the training windows has no class names: make it a ClassLabel.")
    if "soft_targets" in train.column_names:
        raise ValueError(
            "The training windows have soft targets, and the unlabelled ones would have none. Add the unlabelled "
            "windows first, then make the soft targets of all of them."
        )
    for name, split in (held_out or {}).items():
        check_no_shared_subjects({"unlabelled": unlabelled, name: split}, group_column)
        _warn_of_shared_recordings(unlabelled, name, split)
    found, wanted = (_alignment_of(dataset) for dataset in (unlabelled, train))
    if found != wanted:
        raise ValueError(
            f"The training windows have {_named(wanted)}, the unlabelled ones {_named(found)}. Align both alike: "
            "`load_unlabelled` does, with the feature extractor of the training windows."
        )
    check_same_signal([train, unlabelled])
    _check_same_teacher(train, unlabelled)
    layout = train.format
    joined = concatenate_windows([train.with_format(None), _as_rows_of(unlabelled, train)])
    return joined.with_format(layout["type"], columns=layout["columns"], **layout["format_kwargs"])


def _as_rows_of(unlabelled: Dataset, train: Dataset) -> Dataset:
    """The windows with the columns of others, without a label, and their notes on signal and alignment."""
    features, task = train.features, task_info(train)
    absent: Any = UNLABELLED
    if task is not None and task["problem_type"] == TOKENS:
        absent = [IGNORED] * features["labels"].length
    elif task is not None:
        absent = float("nan") if task["problem_type"] == REGRESSION else float(UNLABELLED)
        if task["problem_type"] == MULTI_LABEL or len(task["names"]) > 1:
            absent = [absent] * len(task["names"])
    rows = unlabelled.with_format(None).select_columns([c for c in unlabelled.column_names if c in features])
    rows = rows.remove_columns([c for c in rows.column_names if c == "labels"])
    rows = rows.add_column("labels", [absent] * len(rows), feature=features["labels"])
    for column in features:
        if column not in rows.column_names:
            rows = rows.add_column(column, [None] * len(rows), feature=features[column])
    rows = rows.select_columns(train.column_names)
    if rows.features != features:
        rows = rows.cast(features)
    # what was counted while they were built says nothing of the whole, and subjects of one session each may have been
    # judged by other rules
    rows, facts = set_signal_info(rows, signal_info(unlabelled)), alignment_info(train)
    if facts is not None:
        rows.info.description = with_alignment_info(rows.info.description, facts)
    if task is not None:
        rows.info.description = with_task(rows.info.description, **task)
    if teacher_signal_info(train) is not None:
        rows.info.description = with_teacher_signal(rows.info.description, teacher_description(train))
    return rows


def _check_same_teacher(train: Dataset, unlabelled: Dataset) -> None:
    """Refuse windows of which a teacher would read something else than of the labelled ones."""
    signals = [teacher_signal_info(dataset) for dataset in (train, unlabelled)]
    if signals[0] != signals[1]:
        raise ValueError(
            f"The teacher reads {signals[0] or 'nothing of its own'} of the training windows, and "
            f"{signals[1] or 'nothing of its own'} of the unlabelled ones: give both its view (`with_teacher_view`)."
        )
    if signals[0] is not None:
        wanted, found = (_alignment_of(teacher_view(dataset)) for dataset in (train, unlabelled))
        if found != wanted:
            raise ValueError(
                f"The teacher's view of the training windows has {_named(wanted)}, that of the unlabelled ones "
                f"{_named(found)}: align both alike."
            )


def _alignment_of(dataset: Dataset) -> dict[str, Any] | None:
    """Method and reference of the alignment; the subjects it went by may differ."""
    facts = alignment_info(dataset)
    return None if facts is None else {name: facts[name] for name in ("method", "reference")}


def _named(facts: Mapping[str, Any] | None) -> str:
    if facts is None:
        return "no alignment"
    return f"the alignment {facts['method']}" + (" to a reference" if facts["reference"] else "")


def _warn_of_shared_recordings(unlabelled: Dataset, name: str, split: Dataset) -> None:
    """The same files under other subjects' names: the patterns that tell subjects apart may differ."""
    if "recording" in unlabelled.column_names and "recording" in split.column_names:
        shared = sorted(set(map(str, unlabelled["recording"][:])) & set(map(str, split["recording"][:])))
        if shared:
            logger.warning(
                "%d recordings have the same name among the unlabelled ones and in %r, such as %s. If they are the "
                "same ones, their subjects go by two names, and scores on %r would be too high.",
                *(len(shared), name, shared[0], name),
            )


def load_unlabelled(
    folder: str | Path,
    extractor: EEGFeatureExtractor,
    *,
    subject_pattern: str | None = None,
    like: Dataset | None = None,
    max_abs_uv: float | None = None,
    cache_dir: str | Path | None = None,
    progress: bool = True,
) -> Dataset:
    """Cut every recording of a folder into windows, from beginning to end, and align each subject's as labelled ones.

    No label is read: what else lies next to the recordings does not matter.

    Args:
        folder: recordings, in folders of any depth; or a BIDS root, or a list of paths, as [`build_dataset`] takes.
        extractor: of the labelled windows: channels, rate, window, stride, filters, alignment.
        subject_pattern: regular expression on the path, as for the labelled recordings; without it, BIDS or the
            recording's header tell the subject. The same subject must get the same name in both.
        like: the labelled windows. Where the extractor names no channels, theirs are taken, in their order.
        max_abs_uv: windows in which a sample exceeds this are left out, in microvolts.
        cache_dir: as in [`build_dataset`].
        progress: whether to show progress bars.

    Returns:
        windows with `input_values`, `subject`, `recording` and `onset` (s), without `labels`: [`with_unlabelled`]
        adds them to the labelled ones.

    Raises:
        FileNotFoundError: there is no recording.
        ValueError: a recording can't be used, or lacks a channel; the message says why.
    """
    settings = extractor.to_dict()
    if extractor.ch_names is None and like is not None:
        settings["ch_names"] = list(signal_info(like).ch_names)
    windows = build_dataset(
        folder,
        type(extractor)(**settings).without_alignment(),
        WholeRecording(),
        subject_pattern=subject_pattern,
        max_abs_uv=max_abs_uv,
        allow_one_class=True,
        short="skip",
        cache_dir=cache_dir,
        progress=progress,
    ).remove_columns("labels")
    if extractor.alignment is None:
        return windows
    return align_dataset(
        windows,
        extractor.alignment,
        reference=extractor.alignment_reference,
        min_seconds=extractor.alignment_min_seconds,
        cache_dir=cache_dir,
        progress=progress,
    )


__all__ = [
    "EVALUATED_WITHOUT_LABEL",
    "check_all_labelled",
    "is_labelled",
    "labelled_rows",
    "labels_of",
    "load_unlabelled",
    "with_unlabelled",
]
