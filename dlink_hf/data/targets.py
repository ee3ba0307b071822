# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Numbers, or several labels at once, as the labels of windows: checked, and standardised by the training windows."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import nn

from ..core.config_checks import REGRESSION, SINGLE_LABEL
from ..core.unlabelled import UNLABELLED
from .description import task_info


def is_single_label(model: nn.Module) -> bool:
    """Whether a model tells one class of each window: neither numbers, nor several labels at once."""
    return getattr(_config(model), "problem_type", None) in (None, SINGLE_LABEL)


def target_values(dataset: Any) -> np.ndarray:
    """Return the labels of windows as numbers, (N, L) float64: targets, or zeros and ones.

    Raises:
        ValueError: there is no column `labels`, or it does not hold as many numbers for each window.
    """
    if "labels" not in dataset.column_names:
        raise ValueError(f"The dataset has no column 'labels'; it has {dataset.column_names}.")
    values = dataset.select_columns(["labels"]).with_format(None)[:]["labels"]
    try:
        found = np.asarray([np.nan if value is None else value for value in values], dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(
            "The column 'labels' must hold one number for each window, or a list of as many for each."
        ) from error
    return found[:, None] if found.ndim == 1 else found


def check_targets(model: Any, dataset: Any, name: str, allow_unlabelled: bool = False) -> None:
    """Refuse labels that a model of numbers, or of several labels at once, can't be trained on or scored by.

    Args:
        model: a student, a teacher or a studio; or the config of one.
        dataset: windows with a column `labels`; streams, and what has no such column, are not checked.
        name: what to call the dataset; in `"train"` labels must vary.
        allow_unlabelled: whether a window may lack its label (NaN; of several labels, -1).

    Raises:
        ValueError: as many labels as the model has outputs are not there, a target is not finite, all are the same,
            a label is neither 0 nor 1, or one always, or never, holds.
    """
    if not hasattr(dataset, "__len__") or "labels" not in (getattr(dataset, "column_names", None) or ()):
        return
    config = _config(model)
    if not len(dataset):
        raise ValueError(f"There are no windows in {name!r}.")
    if hasattr(dataset.features["labels"], "names"):
        raise ValueError(
            f"The windows of {name!r} have one class each ({', '.join(dataset.features['labels'].names)}), the model "
            f"is of problem_type={config.problem_type!r}: its labels are "
            f"{'numbers' if config.problem_type == REGRESSION else 'zeros and ones, one for each of its labels'}."
        )
    values, names = target_values(dataset), [config.id2label[index] for index in sorted(config.id2label)]
    if values.ndim != 2 or values.shape[1] != len(names):
        raise ValueError(
            f"The windows of {name!r} have labels of shape {values.shape[1:]}, the model has {len(names)} output(s): "
            f"{', '.join(names)}. Give one number for each. (Labels of each patch are for "
            "MiCForEEGTokenClassification.)"
        )
    task = task_info(dataset)
    unnamed = all(name == f"LABEL_{index}" for index, name in enumerate(names))
    if task is not None and not unnamed and (task["names"] != names or task["problem_type"] != config.problem_type):
        raise ValueError(
            f"The model gives {', '.join(names)} ({config.problem_type}), the labels of {name!r} are "
            f"{', '.join(task['names'])} ({task['problem_type']}). Make the config of the windows' own: "
            "MiCConfig.from_size('small', **signal_fields(dataset))."
        )
    is_number = config.problem_type == REGRESSION
    missing = np.isnan(values) if is_number else values == UNLABELLED
    good = missing if allow_unlabelled else np.zeros_like(missing)
    good = good | (np.isfinite(values) if is_number else np.isin(values, (0, 1)))
    if not good.all():
        rows = np.flatnonzero(~good.all(1))
        expected = "a finite number" if is_number else "0 or 1"
        if allow_unlabelled:
            expected += f" ({'NaN' if is_number else '-1'} where it is not known)"
        wrong = values[rows[0]][~good[rows[0]]][0]
        raise ValueError(
            f"{len(rows)} of {len(values)} windows of {name!r} have a label that is not {expected}: the first is "
            f"window {rows[0]}, {wrong:g}. Leave these windows out (their rows of the table, or dataset.select)"
            + ("." if allow_unlabelled else ", or distil (DLinkTrainer), where a window may lack its label.")
        )
    if name != "train":
        return
    values = np.where(missing, np.nan, values)
    constant = [
        f"{label} ({column[~np.isnan(column)][0]:g})" if not np.isnan(column).all() else f"{label} (never given)"
        for label, column in zip(names, values.T, strict=True)
        if np.isnan(column).all() or np.nanmax(column) == np.nanmin(column)
    ]
    if constant:
        raise ValueError(
            f"All windows of {name!r} have the same value of {', '.join(constant)}: there is nothing to learn. Give "
            "windows that differ in it, or leave it out of the model's outputs."
        )


def settle_target_scale(model: nn.Module, dataset: Any) -> None:
    """Write mean and standard deviation of the training targets into the config of a regression that has none.

    Args:
        model: a student, a teacher or a studio; of a studio the student. One with a scale of its own keeps it.
        dataset: training windows, checked by [`check_targets`].

    Raises:
        ValueError: the windows are a stream, of which they are not known.
    """
    config = _config(model)
    if config.problem_type != REGRESSION or config.target_mean is not None or dataset is None:
        return
    if not hasattr(dataset, "__len__"):
        raise ValueError(
            "The mean of the targets of a stream is not known before it is read: give the student's config "
            "`target_mean` and `target_std`, one number for each target in its unit."
        )
    values = target_values(dataset)
    config.target_mean = np.nanmean(values, 0).tolist()
    config.target_std = np.nanstd(values, 0).tolist()


def label_weights(labels: np.ndarray, names: list[str]) -> np.ndarray:
    """Return how much each label counts where it holds: windows in which it does not, over those in which it does.

    Args:
        labels: (N, L) zeros and ones, -1 where not known.
        names: of the L labels.

    Returns:
        (L,), as `pos_weight` of `torch.nn.functional.binary_cross_entropy_with_logits`.

    Raises:
        ValueError: a label never holds.
    """
    holds, lacks = (labels == 1).sum(0), (labels == 0).sum(0)
    absent = [name for name, count in zip(names, holds, strict=True) if not count]
    if absent:
        raise ValueError(
            f"The training set holds no window of {', '.join(absent)}; balanced weights need every label."
        )
    return lacks / holds


def _config(model: Any) -> Any:
    """The config of a model, or of a studio's student; a config is returned as it is."""
    model = getattr(model, "student", model)
    return getattr(model, "config", model)


__all__ = [
    "check_targets",
    "is_single_label",
    "label_weights",
    "settle_target_scale",
    "target_values",
]
