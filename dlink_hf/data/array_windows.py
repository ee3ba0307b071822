# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Prepared windows in an array, with classes, numbers, or several labels at once, as a `datasets.Dataset`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from datasets import Array2D, ClassLabel, Dataset, Features, List, Value

from ..core.checks import one_of
from ..core.config_checks import MULTI_LABEL, REGRESSION, SINGLE_LABEL
from ..core.electrodes import canonical_name
from .description import SignalInfo, describe, with_task


PROBLEM_TYPES = (SINGLE_LABEL, MULTI_LABEL, REGRESSION)


def windows_from_arrays(
    windows: np.ndarray,
    labels: Any = None,
    *,
    ch_names: Sequence[str],
    sfreq: float,
    subjects: Sequence[Any] | str | None = None,
    problem_type: str = SINGLE_LABEL,
    label_names: Sequence[str] | None = None,
) -> Dataset:
    """Return prepared windows as a dataset that models are trained on: nothing is filtered, resampled or rescaled.

    [`build_dataset`] does the same from recordings, and cuts, resamples and filters them; this is for what is
    prepared, and for labels that are no classes.

    Args:
        windows: (N, C, T), in microvolts.
        labels: classes by any name (N,); numbers (N,) or (N, L) for a regression, NaN where there is none; or zeros
            and ones (N, L) for several labels at once, -1 where one is not known. None for windows without labels.
        ch_names: the C names of the channels.
        sfreq: sampling rate in hertz.
        subjects: subject of each window, or one for all; without them nothing keeps a subject out of two splits.
        problem_type: `"single_label_classification"`, `"multi_label_classification"` or `"regression"`.
        label_names: names of the classes, labels or targets, in their order: sorted classes, and `"target"` or
            `"label 1"`, `"label 2"` ... by default.

    Returns:
        dataset with `input_values` (C, T), `labels`, and `subject` where given; [`signal_fields`] of it is what a
        model's config must know.

    Raises:
        TypeError: the windows are not floating-point numbers or integers.
        ValueError: shapes do not fit, a window holds numbers that are not finite, or a label is none of the names.

    Example:

    ```python
    >>> import numpy as np
    >>> from dlink_hf import windows_from_arrays

    >>> windows = np.random.default_rng(0).normal(scale=20, size=(6, 2, 400))
    >>> dataset = windows_from_arrays(
    ...     windows, [30.0, 41, 52, 25, 60, 70], ch_names=["C3", "C4"], sfreq=200, problem_type="regression",
    ...     label_names=["age (years)"],
    ... )
    >>> dataset.column_names
    ['input_values', 'labels']
    ```
    """
    one_of("`problem_type`", problem_type, PROBLEM_TYPES)
    windows, names = _checked_windows(windows), [canonical_name(name) or str(name) for name in ch_names]
    if windows.shape[1] != len(names):
        raise ValueError(f"The windows have {windows.shape[1]} channels, `ch_names` names {len(names)}: {names}.")
    info = SignalInfo(tuple(names), float(sfreq), int(windows.shape[2]))
    description = describe(info, {"n_windows": len(windows)})
    columns: dict[str, Any] = {"input_values": windows}
    features: dict[str, Any] = {"input_values": Array2D(windows.shape[1:], "float32")}
    if labels is not None:
        if len(labels) != len(windows):
            raise ValueError(f"{len(labels)} labels were given for {len(windows)} windows; one each is needed.")
        if problem_type == SINGLE_LABEL:
            columns["labels"], features["labels"] = _classes(labels, label_names)
        else:
            values, label_names = _numbers(labels, problem_type, label_names)
            columns["labels"] = values
            of_one = Value("float32")
            features["labels"] = of_one if values.ndim == 1 else List(of_one, length=values.shape[1])
            description = with_task(description, problem_type, label_names)
    if subjects is not None:
        subjects = [subjects] * len(windows) if isinstance(subjects, str) else [str(subject) for subject in subjects]
        if len(subjects) != len(windows):
            raise ValueError(f"{len(subjects)} subjects were given for {len(windows)} windows; one each is needed.")
        columns["subject"], features["subject"] = subjects, Value("string")
    dataset = Dataset.from_dict(columns, features=Features(features)).with_format("numpy")
    dataset.info.description = description
    return dataset


def _checked_windows(windows: Any) -> np.ndarray:
    """(N, C, T) float32, or an error that says what is wrong."""
    windows = np.asarray(windows)
    if windows.dtype.kind not in "fiu":
        raise TypeError(f"`windows` must be numbers in microvolts, got {windows.dtype}.")
    if windows.ndim != 3 or 0 in windows.shape:
        raise ValueError(
            f"`windows` must be (windows, channels, samples), at least one of each, got shape {windows.shape}. A "
            "single window is windows[None]."
        )
    broken = np.flatnonzero(~np.isfinite(windows).all((1, 2)))
    if len(broken):
        raise ValueError(
            f"{len(broken)} of {len(windows)} windows hold NaN or Inf, the first is window {broken[0]}. Leave such "
            "windows out, or repair the channel that is broken."
        )
    return windows.astype(np.float32)


def _classes(labels: Any, names: Sequence[str] | None) -> tuple[list[int], ClassLabel]:
    """Class indices and the classes."""
    texts = [str(label) for label in np.asarray(labels).tolist()]
    known = [str(name) for name in names] if names is not None else sorted(set(texts))
    unknown = sorted(set(texts) - set(known))
    if unknown:
        raise ValueError(f"The labels {', '.join(unknown[:5])} are not among `label_names`, {known}.")
    return [known.index(text) for text in texts], ClassLabel(names=known)


def _numbers(labels: Any, problem_type: str, names: Sequence[str] | None) -> tuple[np.ndarray, list[str]]:
    """Numbers (N,) or (N, L) float32, and their names."""
    try:
        values = np.asarray(labels, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"`labels` of problem_type={problem_type!r} must be numbers, as many for each window."
        ) from error
    shapes = "(windows, labels)" if problem_type == MULTI_LABEL else "(windows,) or (windows, targets)"
    if values.ndim != 2 and (problem_type == MULTI_LABEL or values.ndim != 1):
        raise ValueError(f"`labels` of problem_type={problem_type!r} must be {shapes}, got shape {values.shape}.")
    n_labels = 1 if values.ndim == 1 else values.shape[1]
    if names is None:
        what = "target" if problem_type == REGRESSION else "label"
        names = [what] if n_labels == 1 else [f"{what} {i + 1}" for i in range(n_labels)]
    if len(names) != n_labels:
        raise ValueError(f"`label_names` names {len(names)}, the labels have {n_labels} column(s).")
    return values, [str(name) for name in names]


__all__ = ["PROBLEM_TYPES", "windows_from_arrays"]
