# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Linear models of numbers that describe windows, by what the labels are: one class, several labels, or numbers.

N windows, D numbers of each, L classes, labels or targets.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from datasets import Dataset
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import log_loss
from sklearn.preprocessing import StandardScaler

from ..core.config_checks import MULTI_LABEL, REGRESSION, SINGLE_LABEL
from ..data.description import task_info
from ..data.missing_labels import labels_of


class LinearModel:
    """Logistic regression of classes, one of each label where several may hold at once, or ridge regression.

    The numbers are standardised on the windows that it is fitted on. Classes count alike, and of every label windows
    in which it holds as much as those in which it does not.

    Args:
        problem_type: as transformers names it; None is one label a window.
        strength: inverse regularisation, C of the logistic regression; ridge regression takes 1 / C.
        max_iter: iterations of the logistic regression.
    """

    def __init__(self, problem_type: str | None, strength: float, max_iter: int = 1000):
        self.problem_type = problem_type or SINGLE_LABEL
        self.strength, self.max_iter = strength, max_iter
        self.scaler = StandardScaler()
        self.parts: list[Any] = []

    def fit(self, numbers: np.ndarray, labels: np.ndarray) -> LinearModel:
        """Fit numbers (N, D) to labels: (N,) class indices, (N, L) zeros and ones, or (N, L) targets."""
        numbers = self.scaler.fit_transform(numbers)
        if self.problem_type == REGRESSION:
            # in standard deviations, so that one strength fits targets of any unit
            self.centre, self.spread = labels.mean(0), np.where(labels.std(0) > 0, labels.std(0), 1.0)
            self.parts = [Ridge(alpha=1.0 / self.strength).fit(numbers, (labels - self.centre) / self.spread)]
            return self
        columns = [labels] if self.problem_type == SINGLE_LABEL else list(labels.T)
        self.parts = []
        for column in columns:
            regression = LogisticRegression(C=self.strength, class_weight="balanced", max_iter=self.max_iter)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)
                self.parts.append(regression.fit(numbers, column))
        return self

    def predict(self, numbers: np.ndarray) -> np.ndarray:
        """Return (N, L): probabilities of classes or of labels, or numbers in the targets' unit."""
        numbers = self.scaler.transform(numbers)
        if self.problem_type == REGRESSION:
            return self.parts[0].predict(numbers).reshape(len(numbers), -1) * self.spread + self.centre
        if self.problem_type == SINGLE_LABEL:
            return self.parts[0].predict_proba(numbers)
        return np.stack([part.predict_proba(numbers)[:, 1] for part in self.parts], axis=1)

    def layer(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the weights (L, D) and biases (L,) of one layer on numbers as they come, before standardisation.

        Of classes its outputs are logits, of targets their numbers in standard deviations from the mean.
        """
        coefficients = np.concatenate([np.atleast_2d(part.coef_) for part in self.parts])
        bias = np.concatenate([np.atleast_1d(part.intercept_) for part in self.parts])
        weight = coefficients / self.scaler.scale_
        bias = bias - coefficients @ (self.scaler.mean_ / self.scaler.scale_)
        if self.problem_type == SINGLE_LABEL and len(weight) == 1:
            # two classes: scikit-learn has one logit, that of the second over the first
            return np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
        return weight, bias

    def loss(self, numbers: np.ndarray, labels: np.ndarray) -> float:
        """Return how far it is off on other windows: cross-entropy, classes alike, or squared standard deviations."""
        said = self.predict(numbers)
        if self.problem_type == REGRESSION:
            return float(np.mean(np.square((said - labels) / self.spread)))
        if self.problem_type == SINGLE_LABEL:
            weights = 1.0 / np.bincount(labels)[labels]
            return float(log_loss(labels, said, sample_weight=weights, labels=self.parts[0].classes_))
        losses = []
        for held, one in zip(labels.T.astype(int), said.T, strict=True):
            weights = 1.0 / np.bincount(held, minlength=2)[held]
            losses.append(log_loss(held, one, sample_weight=weights, labels=[0, 1]))
        return float(np.mean(losses))


def problem_of(dataset: Dataset) -> str:
    """Return what the labels of windows are, as transformers names it."""
    task = task_info(dataset)
    return SINGLE_LABEL if task is None else task["problem_type"]


def all_vary(labels: np.ndarray, others: np.ndarray, problem_type: str) -> bool:
    """Whether labels of a part of the windows are of every class, or of every value, that the others have.

    Args:
        labels: (N,) class indices, (N, L) zeros and ones, or targets.
        others: the same of the windows of which this is a part.
        problem_type: what they are.
    """
    if problem_type == SINGLE_LABEL:
        return len(set(labels.tolist())) == len(set(others.tolist()))
    return bool((labels.min(0) < labels.max(0)).all())


def check_every_class(dataset: Dataset, what: str) -> None:
    """Refuse labelled windows that lack a class; of several labels, or of numbers, those of which one never varies.

    Raises:
        ValueError: naming the classes, labels or targets.
    """
    task, values = task_info(dataset), labels_of(dataset)
    if task is None:
        names = dataset.features["labels"].names
        found = set(values.tolist())
        absent = [name for index, name in enumerate(names) if index not in found]
        wanted = "labelled windows of every class, and there are none of"
    else:
        names = task["names"]
        spread = values.max(0) - values.min(0) if len(values) else np.zeros(len(names))
        absent = [name for name, one in zip(names, spread, strict=True) if not one > 0]
        both = "windows with and without every label" if task["problem_type"] == MULTI_LABEL else "targets that differ"
        wanted = f"{both}, and all have the same"
    if absent:
        raise ValueError(
            f"{what} needs {wanted} {', '.join(map(repr, absent))} "
            f"among {len(dataset)}. Label more subjects, or take fewer folds, so that every part has all classes."
        )


__all__ = ["LinearModel", "all_vary", "check_every_class", "problem_of"]
