# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""How much each of several models should have to say in a mixture of what they say.

M models, N windows, L classes, labels or targets.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import nnls

from ..core.config_checks import MULTI_LABEL, REGRESSION


# subjects whose scores weigh as much as the belief that all experts are worth the same
EQUAL_WEIGHTS_PEOPLE = 4.0
# the least probability that a mixture takes from one of its members
_FLOOR = 1e-4
# how much more than all errors the weights' sum of one counts
_SUM_WEIGHT = 1e4


def mixture_weights_for(
    problem_type: str | None,
    said: np.ndarray,
    labels: np.ndarray,
    groups: np.ndarray,
) -> np.ndarray:
    """Return the weights of a mixture, whatever the problem type.

    Of classes those of [`mixture_weights`]; of several labels at once too, each window and label counting as a window
    of two classes; of numbers the weights on the simplex with the least squared error of the mixture.

    Args:
        problem_type: as transformers names it; None is one label a window.
        said: (M, N, L) probabilities, or numbers.
        labels: (N,) class indices, (N, L) zeros and ones, or (N, L) targets.
        groups: (N,) the subject of each window.

    Returns:
        (M,) of sum 1.
    """
    if problem_type == REGRESSION:
        return _number_weights(np.asarray(said, dtype=np.float64), np.asarray(labels, dtype=np.float64), groups)
    if problem_type != MULTI_LABEL:
        return mixture_weights(said, labels, groups)
    n_models, _, n_labels = said.shape
    both = np.stack([1 - said, said], axis=-1).reshape(n_models, -1, 2)
    # every label of every subject counts alike
    of_label = np.array([f"{group} {label}" for group in groups for label in range(n_labels)])
    n_people = len(np.unique(np.asarray(groups)))
    return mixture_weights(both, labels.astype(int).ravel(), of_label, n_people=n_people)


def _number_weights(said: np.ndarray, targets: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Weights of numbers (M, N, L) by least squares; subjects and targets count alike."""
    groups = np.asarray(groups)
    people, index, counts = np.unique(groups, return_inverse=True, return_counts=True)
    spread = np.where(targets.std(0) > 0, targets.std(0), 1.0)
    importance = np.sqrt(1.0 / (len(people) * counts[index]))[:, None] / spread
    rows = (said * importance).reshape(len(said), -1).T
    wanted = (targets * importance).ravel()
    scale = _SUM_WEIGHT * max(1.0, float(np.abs(rows).max()))
    rows = np.concatenate([rows, np.full((1, len(said)), scale)])
    weights, _ = nnls(rows, np.append(wanted, scale))
    return _shrunk(weights / weights.sum(), len(people), EQUAL_WEIGHTS_PEOPLE)


def _shrunk(weights: np.ndarray, n_people: int, equal_weights_people: float) -> np.ndarray:
    trust = n_people / (n_people + equal_weights_people)
    return trust * weights + (1 - trust) / len(weights)


def mixture_weights(
    probabilities: np.ndarray,
    labels: np.ndarray,
    groups: np.ndarray | None = None,
    equal_weights_people: float = EQUAL_WEIGHTS_PEOPLE,
    n_people: int | None = None,
) -> np.ndarray:
    """What each expert should have to say in a mixture of their probabilities.

    The weights on the simplex with the least cross-entropy of the mixture, found by expectation maximisation; every
    subject counts alike, and every class within a subject. By few subjects the best of several like experts is found
    by luck: of n subjects the weights are taken to the part n / (n + `equal_weights_people`), equal ones for the rest.

    Args:
        probabilities: (M, N, num_labels) of M experts.
        labels: (N,) class indices.
        groups: (N,) the subject of each window; one subject by default.
        equal_weights_people: 0 for the best weights as they are.
        n_people: number of subjects, where the groups are parts of these.

    Returns:
        (M,) of sum 1.

    Raises:
        ValueError: shapes do not agree, or there are no windows.
    """
    probabilities, labels = np.asarray(probabilities, dtype=np.float64), np.asarray(labels)
    groups = np.zeros(len(labels), dtype=int) if groups is None else np.asarray(groups)
    if probabilities.ndim != 3 or probabilities.shape[1:2] != labels.shape or len(groups) != len(labels):
        raise ValueError(
            f"Probabilities are (experts, N, num_labels) with N labels and N groups; got {probabilities.shape}, "
            f"{labels.shape} and {groups.shape}."
        )
    if not len(labels):
        raise ValueError("There are no windows to weigh experts by.")
    importance = np.zeros(len(labels))
    people = np.unique(groups)
    for person in people:
        rows = np.flatnonzero(groups == person)
        classes, index, counts = np.unique(labels[rows], return_inverse=True, return_counts=True)
        importance[rows] = 1.0 / (len(people) * len(classes) * counts[index])
    # (M, N): what each expert gave to the class that it was
    likelihood = probabilities[:, np.arange(len(labels)), labels].clip(_FLOOR)
    weights = np.full(len(likelihood), 1.0 / len(likelihood))
    for _ in range(5000):
        updated = weights * ((likelihood / (weights @ likelihood)) @ importance)
        done = np.abs(updated - weights).max() < 1e-9
        weights = updated / updated.sum()
        if done:
            break
    return _shrunk(weights, len(people) if n_people is None else n_people, equal_weights_people)


__all__ = ["EQUAL_WEIGHTS_PEOPLE", "mixture_weights", "mixture_weights_for"]
