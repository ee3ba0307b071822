# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Soft targets of training windows, by models that have not seen the subject: a complement to the teacher."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import datasets
import numpy as np
from sklearn.model_selection import GroupKFold
from tqdm.auto import tqdm

from ..core.config_checks import MULTI_LABEL, REGRESSION
from ..data.description import task_info
from ..data.missing_labels import is_labelled


# not "soft_labels": transformers takes every argument of that name for labels that an evaluation must have
SOFT_TARGETS = "soft_targets"

Predict = Callable[[datasets.Dataset], np.ndarray]


def cross_fitted_soft_targets(
    fit: Callable[[datasets.Dataset], Predict],
    dataset: datasets.Dataset,
    n_folds: int = 4,
    group_column: str = "subject",
) -> datasets.Dataset:
    """Add the column `soft_targets`: probabilities of each window by a model trained without that window's subjects.

    A model is nearly certain of the windows that it was trained on, and says little beyond their labels. Of subjects
    that it has not seen it says what can be told from their EEG: which windows are doubtful, between which classes.
    The subjects are parted into folds; a model is fitted on all folds but one and asked about that one
    (cross-fitting; Dao et al. 2021, "Knowledge distillation as semiparametric inference"). Of subjects without any
    labelled window, all models are asked, and their mean is taken.

    Args:
        fit: trains a model on a dataset, labelled windows only, and returns a function that gives (N, num_labels)
            probabilities of another.
        dataset: training windows with `labels`, -1 where there is none, and `group_column`.
        n_folds: number of folds; 2 or more.
        group_column: column whose values are never parted: the subject, or the recording.

    Returns:
        the dataset with the column `soft_targets`, (num_labels,) float32 a window, which [`DLinkTrainer`] distils the
        student from. It is given to training windows only: nothing is learnt from validation and test.

    Raises:
        ValueError: there are fewer groups than folds, a column is missing, or the probabilities are none.
    """
    folds = person_folds(dataset, n_folds, group_column)
    groups, known = np.asarray(dataset[group_column][:]), is_labelled(dataset)
    shares = fold_shares(groups, folds)
    found: np.ndarray | None = None
    for share, fold in zip(shares, tqdm(folds, desc="cross-fitting", unit="fold", leave=False), strict=True):
        predict = fit(dataset.select(np.flatnonzero(known & ~np.isin(groups, list(fold)))))
        asked = np.flatnonzero(share)
        probabilities = np.asarray(predict(dataset.select(asked)), dtype=np.float32)
        if found is None:
            found = np.zeros((len(groups), *probabilities.shape[1:]), dtype=np.float32)
        found[asked] += share[asked, None] * probabilities
    return add_soft_targets(dataset, found)


def person_folds(dataset: datasets.Dataset, n_folds: int, group_column: str = "subject") -> list[set[Any]]:
    """Part the subjects who have labelled windows into folds of about as many windows each.

    Args:
        dataset: windows with `labels` and `group_column`.
        n_folds: 2 or more, and at most so many as there are subjects with labels.
        group_column: column that tells subjects apart.

    Returns:
        the subjects of each fold.

    Raises:
        ValueError: there are too few subjects for so many folds, or a column is missing.
    """
    missing = [name for name in ("labels", group_column) if name not in dataset.column_names]
    if missing:
        raise ValueError(f"The dataset has no column {missing[0]!r}; it has {dataset.column_names}.")
    groups = np.asarray(dataset[group_column][:])[is_labelled(dataset)]
    if not 2 <= n_folds <= len(set(groups)):
        raise ValueError(
            f"`n_folds` is 2 to the number of groups in {group_column!r}, {len(set(groups))} with labels; got "
            f"{n_folds}."
        )
    return [set(groups[fold].tolist()) for _, fold in GroupKFold(n_folds).split(groups, groups=groups)]


def fold_shares(groups: np.ndarray, folds: Sequence[set[Any]]) -> np.ndarray:
    """How much the model of each fold, trained on all others, has to say of each window.

    Of a subject in one of the folds, only the model that has not seen that subject has a say; of subjects in none,
    which have no labelled window, all models have equal parts.

    Args:
        groups: (N,) the subject of each window.
        folds: the subjects of F folds.

    Returns:
        (F, N) float32; columns sum to 1.
    """
    member = np.stack([np.isin(groups, list(fold)) for fold in folds])
    return np.where(member.any(0), member, 1.0 / len(folds)).astype(np.float32)


def add_soft_targets(dataset: datasets.Dataset, probabilities: np.ndarray) -> datasets.Dataset:
    """Return the dataset with the column `soft_targets`, which replaces the one it may have.

    Args:
        dataset: N windows.
        probabilities: (N, num_labels), each row of sum 1; or (N, V, num_labels) of V augmented views of each window,
            view 0 being the window itself. [`DLinkTrainer`] then gives each view its own, with as many
            `augmented_views` of the same augmentation. Of several labels at once, one probability a label; of a
            regression, numbers in the targets' unit.

    Raises:
        ValueError: they are not probabilities, or not of so many windows.
    """
    probabilities = np.asarray(probabilities, dtype=np.float32)
    if probabilities.ndim not in (2, 3) or len(probabilities) != len(dataset):
        raise ValueError(
            f"Soft targets are (N, num_labels), or (N, views, num_labels), here N = {len(dataset)}; got "
            f"{probabilities.shape}."
        )
    task = task_info(dataset)
    check_soft_targets(probabilities, probabilities.shape[-1], None if task is None else task["problem_type"])
    if SOFT_TARGETS in dataset.column_names:
        dataset = dataset.remove_columns(SOFT_TARGETS)
    feature: Any = datasets.Value("float32")
    for length in probabilities.shape[:0:-1]:
        feature = datasets.List(feature, length=length)
    return dataset.add_column(SOFT_TARGETS, probabilities.tolist(), feature=feature)


def check_soft_targets(probabilities: Any, num_labels: int, problem_type: str | None = None) -> None:
    """Refuse what is not (N, num_labels), or (N, views, num_labels), probabilities, or numbers of a regression.

    Raises:
        ValueError: they have another number of classes, are not finite or negative, or don't sum to 1 (where one class
            holds).
    """
    values = np.asarray(probabilities)
    n_windows = len(values)
    if values.ndim == 3:
        values = values.reshape(-1, values.shape[-1])
    if values.ndim != 2 or values.shape[1] != num_labels:
        raise ValueError(f"Soft targets are (N, {num_labels}) here, one probability a class; got {values.shape}.")
    good, expected = np.isfinite(values).all(1), "numbers of a regression: finite"
    if problem_type == MULTI_LABEL:
        good, expected = good & ((values >= 0) & (values <= 1)).all(1), "probabilities of each label, between 0 and 1"
    elif problem_type != REGRESSION:
        good &= (values >= 0).all(1) & (np.abs(values.sum(1) - 1) < 1e-3)
        expected = "probabilities: finite, not negative, of sum 1"
    if not good.all():
        row = int(np.flatnonzero(~good)[0])
        window = row * n_windows // len(values)
        hint = "." if problem_type == REGRESSION else "; of logits, give the "
        hint += "" if problem_type == REGRESSION else "sigmoid." if problem_type == MULTI_LABEL else "softmax."
        raise ValueError(f"Soft targets are {expected}. Those of window {window} are {values[row].tolist()}{hint}")


def views_of_soft_targets(dataset: Any) -> int:
    """Views of each window that a dataset has soft targets of; 1 where they are of the windows themselves."""
    first = np.asarray(dataset[0][SOFT_TARGETS])
    return len(first) if first.ndim == 2 else 1


__all__ = [
    "SOFT_TARGETS",
    "add_soft_targets",
    "check_soft_targets",
    "cross_fitted_soft_targets",
    "fold_shares",
    "person_folds",
    "views_of_soft_targets",
]
