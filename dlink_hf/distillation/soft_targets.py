# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Soft targets of training windows, by models that have not seen the subject: a complement to the teacher."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import datasets
import numpy as np
from sklearn.model_selection import GroupKFold
from tqdm.auto import tqdm


# not "soft_labels": transformers takes every argument of that name for labels that an evaluation must have
SOFT_TARGETS = "soft_targets"

Predict = Callable[[datasets.Dataset], np.ndarray]


def cross_fitted_soft_targets(
    fit: Callable[[datasets.Dataset], Predict],
    dataset: datasets.Dataset,
    n_folds: int = 4,
    group_column: str = "subject",
) -> datasets.Dataset:
    """Add the column `soft_targets`: probabilities of each window by a model trained without that window's people.

    A model is nearly certain of the windows that it was trained on, and says little beyond their labels. Of people
    that it has not seen it says what can be told from their EEG: which windows are doubtful, between which classes.
    The people are parted into folds; a model is fitted on all folds but one and asked about that one
    (cross-fitting; Dao et al. 2021, "Knowledge distillation as semiparametric inference").

    Args:
        fit: trains a model on a dataset and returns a function that gives (N, num_labels) probabilities of another.
        dataset: training windows with `labels` and `group_column`.
        n_folds: number of folds; 2 or more.
        group_column: column whose values are never parted: the subject, or the recording.

    Returns:
        the dataset with the column `soft_targets`, (num_labels,) float32 a window, which [`DLinkTrainer`] distils the
        student from. It is given to training windows only: nothing is learnt from validation and test.

    Raises:
        ValueError: there are fewer groups than folds, a column is missing, or the probabilities are none.
    """
    missing = [name for name in ("labels", group_column) if name not in dataset.column_names]
    if missing:
        raise ValueError(f"The dataset has no column {missing[0]!r}; it has {dataset.column_names}.")
    groups = np.asarray(dataset[group_column][:])
    if not 2 <= n_folds <= len(set(groups)):
        raise ValueError(
            f"`n_folds` is 2 to the number of groups in {group_column!r}, {len(set(groups))}; got {n_folds}."
        )
    folds = list(GroupKFold(n_folds).split(groups, groups=groups))
    found: np.ndarray | None = None
    for rest, fold in tqdm(folds, desc="cross-fitting", unit="fold", leave=False):
        probabilities = np.asarray(fit(dataset.select(rest))(dataset.select(fold)), dtype=np.float32)
        if found is None:
            found = np.zeros((len(groups), *probabilities.shape[1:]), dtype=np.float32)
        found[fold] = probabilities
    return add_soft_targets(dataset, found)


def add_soft_targets(dataset: datasets.Dataset, probabilities: np.ndarray) -> datasets.Dataset:
    """The dataset with the column `soft_targets`, which replaces the one it may have.

    Args:
        dataset: N windows.
        probabilities: (N, num_labels), each row of sum 1.

    Raises:
        ValueError: they are not probabilities, or not of so many windows.
    """
    probabilities = np.asarray(probabilities, dtype=np.float32)
    if probabilities.ndim != 2 or len(probabilities) != len(dataset):
        raise ValueError(f"Soft targets are (N, num_labels), here N = {len(dataset)}; got {probabilities.shape}.")
    check_soft_targets(probabilities, probabilities.shape[1])
    if SOFT_TARGETS in dataset.column_names:
        dataset = dataset.remove_columns(SOFT_TARGETS)
    feature = datasets.List(datasets.Value("float32"), length=probabilities.shape[1])
    return dataset.add_column(SOFT_TARGETS, list(probabilities), feature=feature)


def check_soft_targets(probabilities: Any, num_labels: int) -> None:
    """Refuse what is not (N, num_labels) probabilities.

    Raises:
        ValueError: they have another number of classes, are not finite or negative, or don't sum to 1.
    """
    values = np.asarray(probabilities)
    if values.ndim != 2 or values.shape[1] != num_labels:
        raise ValueError(f"Soft targets are (N, {num_labels}) here, one probability a class; got {values.shape}.")
    good = np.isfinite(values).all(1) & (values >= 0).all(1) & (np.abs(values.sum(1) - 1) < 1e-3)
    if not good.all():
        row = int(np.flatnonzero(~good)[0])
        raise ValueError(
            f"Soft targets are probabilities: finite, not negative, of sum 1. Those of window {row} are "
            f"{values[row].tolist()}; of logits, give the softmax."
        )


__all__ = ["SOFT_TARGETS", "add_soft_targets", "check_soft_targets", "cross_fitted_soft_targets"]
