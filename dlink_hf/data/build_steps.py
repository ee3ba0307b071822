# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Steps that windows from recordings and windows cut already have in common: labels, columns, counts."""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Array2D, ClassLabel, Dataset, Features, Value

from ..preprocessing.artefacts import peak_reason, window_peaks
from .aligned_windows import REASON
from .cache import load_windows
from .description import build_report


logger = logging.getLogger(__name__)


@dataclass
class BuildOptions:
    """The arguments of `build_dataset` that change the windows."""

    label_names: list[str] | None
    ignore_labels: Sequence[str] | str
    max_abs_uv: float | None
    short: str
    allow_one_class: bool
    unit: str | None
    subject_columns: dict[str, Mapping[str, str]]
    keep_rejected: bool = False

    def ignores(self, label: str) -> bool:
        """Return whether a label that is not among the wanted ones may be left out."""
        if isinstance(self.ignore_labels, str):
            return self.ignore_labels == "others" or label == self.ignore_labels
        return label in map(str, self.ignore_labels)


def settle_label_names(
    options: BuildOptions, source_names: Sequence[str] | None, present: Mapping[str, int], report: Counter
) -> list[str]:
    """Return the label names in the order of their numbers, after judging every label found.

    Args:
        options: With the names that the user gave, and those to ignore.
        source_names: The label source's own names, None when only the recordings tell.
        present: Labels found, with their numbers of segments.
        report: Gets the counts of ignored labels.

    Returns:
        The names.

    Raises:
        ValueError: If a label is found that is neither wanted nor ignored.
    """
    wanted = options.label_names or source_names
    if wanted is None:
        wanted = sorted(label for label in present if options.ignore_labels == "others" or not options.ignores(label))
    ignored = {label for label in wanted if label in present and label in _listed(options.ignore_labels)}
    wanted = [str(label) for label in wanted if label not in ignored]
    others = {label: count for label, count in present.items() if label not in wanted}
    unknown = {label: count for label, count in others.items() if not options.ignores(label)}
    if unknown:
        raise ValueError(
            "labels were found that are not among the wanted ones: "
            + ", ".join(f"{label!r} ({count} times)" for label, count in sorted(unknown.items())[:10])
            + (" ..." if len(unknown) > 10 else "")
            + f". Wanted: {wanted}. Correct label_names or the mapping, or leave them out with "
            f"ignore_labels={sorted(unknown)[:3]!r} (ignore_labels='others' leaves all others out)."
        )
    for label in sorted(_listed(options.ignore_labels) - set(present) - {"others"}):
        logger.warning("ignore_labels names %r, which no recording has; found: %s.", label, sorted(present))
    for label, count in others.items():
        report[f"ignored:{label}"] = count
    if not present:
        raise ValueError(
            "no labelled segment was found in any recording. Annotations are the default source; see "
            "AnnotationLabels, EventLabels, TableLabels and PathLabels."
        )
    return wanted


def _listed(ignore_labels: Sequence[str] | str) -> set[str]:
    return {ignore_labels} if isinstance(ignore_labels, str) else set(map(str, ignore_labels))


def check_classes(counts: Mapping[str, int], names: Sequence[str], options: BuildOptions, what: str) -> None:
    if len([name for name in names if counts.get(name)]) < 2 and not options.allow_one_class:
        raise ValueError(
            f"only one class has {what} windows: {dict(counts)}, of the labels {list(names)}. A classifier needs two. "
            "Check the label source (mapping, pattern, ignore_labels), the folder, and max_abs_uv; pass "
            "allow_one_class=True if one class is what you want."
        )
    for name in names:
        if not counts.get(name):
            logger.warning("the label %r has no %s window.", name, what)


def window_features(n_chans: int, n_times: int, names: Sequence[str], options: BuildOptions) -> Features:
    """Return the dataset's columns."""
    return Features(
        {
            "input_values": Array2D(shape=(n_chans, n_times), dtype="float32"),
            "labels": ClassLabel(names=list(names)),
            "subject": Value("string"),
            "recording": Value("string"),
            "onset": Value("float64"),
            **({REASON: Value("string")} if options.keep_rejected else {}),
            **{column: Value("string") for column in options.subject_columns},
        }
    )


def align_channels(windows: np.ndarray, found: Sequence[str], wanted: Sequence[str], name: str) -> np.ndarray:
    """Bring windows (N, C, T) into the dataset's channel order; refuse a recording that has other channels."""
    found, wanted = list(found), list(wanted)
    if found == wanted:
        return windows
    lacking = [channel for channel in wanted if channel not in found]
    extra = [channel for channel in found if channel not in wanted]
    if lacking or extra:
        raise ValueError(
            f"{name} has other channels than the recordings before it: it lacks {lacking or 'none'} and adds "
            f"{extra or 'none'}. The windows of one dataset share one montage: set ch_names of the "
            "EEGFeatureExtractor to the channels that all recordings have. Missing channels are never filled."
        )
    return windows[:, [found.index(channel) for channel in wanted]]


def window_columns(
    windows: np.ndarray,
    labels: np.ndarray,
    subjects: Sequence[str],
    recording: str,
    onsets: np.ndarray,
    options: BuildOptions,
    report: Counter,
    marked: Sequence[str | None] | None = None,
) -> dict[str, Any]:
    """The dataset's columns of some windows, less those whose amplitude is too large (counted in the report).

    With `keep_rejected` none is left out, and the column `reason` tells: `marked` (N,), else the amplitude.
    """
    reasons = [peak_reason(peak, options.max_abs_uv) for peak in window_peaks(windows).tolist()]
    report["rejected_amplitude"] += sum(reason is not None for reason in reasons)
    reasons = [mark or reason for mark, reason in zip(marked or [None] * len(reasons), reasons, strict=True)]
    keep = np.array([options.keep_rejected or reason is None for reason in reasons], dtype=bool)
    subjects = [subject for subject, kept in zip(subjects, keep, strict=True) if kept]
    return {
        "input_values": windows[keep],
        "labels": labels[keep],
        "subject": subjects,
        "recording": [recording] * len(subjects),
        "onset": np.asarray(onsets, dtype=float)[keep],
        **({REASON: reasons} if options.keep_rejected else {}),
        **{column: [values[subject] for subject in subjects] for column, values in options.subject_columns.items()},
    }


def finish_report(report: Counter, counts: Mapping[str, int]) -> dict[str, Any]:
    """Return the counts of a build as `build_report` gives them."""
    return {
        "n_recordings": report["n_recordings"],
        "n_windows": int(sum(counts.values())),
        "windows_per_label": dict(counts),
        "rejected_amplitude": report["rejected_amplitude"],
        "rejected_bad": report["rejected_bad"],
        "skipped_short": report["skipped_short"],
        "unlabelled_recordings": report["unlabelled_recordings"],
        "ignored_segments": {
            key.removeprefix("ignored:"): count for key, count in report.items() if key.startswith("ignored:")
        },
    }


def log_report(report: Mapping[str, Any], cached: bool = False) -> None:
    lost = {key: report[key] for key in ("rejected_amplitude", "rejected_bad", "skipped_short") if report.get(key)}
    level = logging.WARNING if lost and not cached else logging.INFO
    logger.log(
        level,
        "%s windows of %s recordings%s: %s%s",
        report.get("n_windows"),
        report.get("n_recordings"),
        " (from the cache)" if cached else "",
        report.get("windows_per_label"),
        f"; left out: {lost}" if lost else "",
    )


def reopen(folder: Path) -> Dataset | None:
    """Return the windows of an earlier build, its counts logged again; None where there are none."""
    cached = load_windows(folder)
    if cached is None:
        return None
    log_report(build_report(cached), cached=True)
    return cached.with_format("torch")
