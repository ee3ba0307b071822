# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""From flags to labels: where they come from, and the stretches whose every place has one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from datasets import Dataset

from ..core.config_checks import TOKENS
from ..data import AnnotationLabels, EventLabels, PathLabels, TableLabels
from ..data.description import task_info
from ..data.place_labels import build_place_dataset
from ..preprocessing.feature_extraction_eeg import EEGFeatureExtractor
from .arguments import DataArguments
from .reading import trial_times


def parse_label_map(text: str | None) -> dict[str, str] | None:
    """`"T1=left,T2=right"` as a mapping; a name without `=` maps to itself.

    Raises:
        ValueError: the text is empty or an entry has no name.
    """
    if text is None:
        return None
    pairs = [entry.partition("=") for entry in text.split(",")]
    mapping = {old.strip(): (new if equals else old).strip() for old, equals, new in pairs}
    if not all(mapping) or not all(mapping.values()):
        raise ValueError(f"--label_map {text!r} is not of the form 'T1=left,T2=right'.")
    return mapping


def label_source(args: DataArguments) -> Any:
    """Where the labels of the user's own recordings come from."""
    mapping, times = parse_label_map(args.label_map), trial_times(args)
    is_own_time = args.label_pattern is not None or args.labels not in ("annotations", "events")
    if times and is_own_time:
        raise ValueError(
            "--trial_start, --trial_duration, --tmin and --tmax are for --labels annotations and events: a table says "
            "onset and duration itself, and a path labels the whole recording."
        )
    if args.label_pattern is not None:
        return PathLabels(args.label_pattern, mapping)
    if args.targets is not None and Path(args.labels).suffix.lower() not in (".csv", ".tsv"):
        raise ValueError("--targets names columns of a table: give one, --labels labels.csv.")
    if args.labels == "annotations":
        return AnnotationLabels(mapping, **times)
    if args.labels == "events":
        return EventLabels(mapping, **times)
    if Path(args.labels).suffix.lower() in (".csv", ".tsv"):
        targets = None if args.targets is None else [name.strip() for name in args.targets.split(",") if name.strip()]
        return TableLabels(args.labels, mapping, targets=targets)
    raise ValueError(f"--labels must be `annotations`, `events`, or a .csv or .tsv file, got {args.labels!r}.")


def label_stretches(
    args: DataArguments, folder: Path, extractor: EEGFeatureExtractor, options: dict[str, Any]
) -> Dataset:
    """Return the stretches of recordings with a label for every `--seconds_per_label`.

    Args:
        args: of a command.
        folder: of the recordings.
        extractor: cuts the stretches.
        options: further arguments of [`build_place_dataset`].

    Raises:
        ValueError: as [`build_place_dataset`], or a flag says how one label a window is made.
    """
    if args.targets is not None:
        raise ValueError(f"--targets names numbers, and --problem_type {TOKENS} tells a class of each place.")
    if args.stride_seconds is not None:
        raise ValueError(f"--stride_seconds: with --problem_type {TOKENS} stretches lie side by side; leave it out.")
    options = {name: value for name, value in options.items() if name != "alignment_one_class"}
    return build_place_dataset(
        folder,
        extractor,
        label_source(args),
        seconds_per_label=args.seconds_per_label,
        background=args.background,
        **options,
    )


def check_saved_labels(dataset: Dataset, args: DataArguments) -> None:
    """Refuse windows that were saved with one label each where each place should have one, and the reverse.

    Raises:
        ValueError: saying which they have.
    """
    task = task_info(dataset) or {}
    if (task.get("problem_type") == TOKENS) != (args.problem_type == TOKENS):
        if task.get("problem_type") == TOKENS:
            raise ValueError(
                f"the stretches in {args.dataset} have a label for every place: give --problem_type {TOKENS}."
            )
        raise ValueError(
            f"the windows in {args.dataset} have one label each, and --problem_type {TOKENS} needs one per place. "
            "Give the recordings with their annotations, or windows of dlink_hf.data.place_labels.build_place_dataset."
        )


__all__ = ["check_saved_labels", "label_source", "label_stretches", "parse_label_map"]
