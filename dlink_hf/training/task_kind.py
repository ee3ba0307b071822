# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""What a task is told by: potentials that are locked to the window's moment, or the power of rhythms.

Two linear classifiers of a few seconds are asked about training subjects that they have not seen. What they find
decides about training windows that are turned round or over in time, and about the student's signed path.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from datasets import Dataset
from scipy.linalg import cho_factor, cho_solve
from sklearn.covariance import ledoit_wolf_shrinkage
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold

from ..data.description import signal_info
from ..data.missing_labels import labelled_rows, labels_of
from .linear_experts import log_band_power


# AUROC of means of stretches from which windows count as locked to an event. All subjects, unaligned: uci_erp 0.80
# (band power 0.69); rhythms stay below: ssvep_exo 0.53 (0.80), eegmat 0.51 (0.70), eyes_gnb 0.49 (0.78)
LOCKED_AUROC = 0.6
STRETCH_SECONDS = 0.125
BANDS = ((1, 4), (4, 8), (8, 10), (10, 12), (12, 14), (14, 16), (16, 18), (18, 20), (20, 22), (22, 30), (30, 45))
_FOLDS = 3
# so many windows and numbers a window are enough, and take seconds
_MOST_WINDOWS = 2000
_MOST_MEANS = 1000
_PORTION = 256


def evoked_evidence(train: Dataset, group_column: str = "subject") -> dict[str, Any]:
    """Ask whether classes differ in potentials that are locked to the window's moment, or in the power of rhythms.

    LDA (shrinkage) on the means of stretches of 125 ms, and on log band powers, each cross-fitted by subjects. Their
    measure is the AUROC, of several classes the mean of each against the rest, so that chance is 0.5.

    Args:
        train: the training windows, aligned or not as the student reads them; those without a label are left out.
        group_column: column that tells subjects apart.

    Returns:
        `means` and `band_power`, the two AUROCs (NaN where fewer than two subjects have labels of two classes);
        `event_locked`: means reach 0.6 (of few windows more, see [`least_auroc`]): an augmentation must leave polarity
        and latency as they are (no `sign_flip`, no `time_shift`); `signed_path`: they are above band power as well,
        which is what `MiCConfig(signed_path=True)` is for; `text`, one sentence.

    Raises:
        ValueError: no window has a label.

    Example:

    ```python
    >>> evoked_evidence(train)["text"]
    'evoked potentials: means of 125 ms tell the classes of unseen subjects with an AUROC of 0.81, log band powers ...'
    ```
    """
    train = labelled_rows(train)
    if not len(train):
        raise ValueError("no window of the training set has a label, so its kind of task can't be told: give labels.")
    groups = np.asarray(train[group_column][:])
    rows = _some_rows(groups)
    info, of_rows = signal_info(train), train.select(rows).select_columns(["input_values"]).with_format("numpy")
    portions = [of_rows[i : i + _PORTION]["input_values"] for i in range(0, len(rows), _PORTION)]
    labels, groups = labels_of(train)[rows], groups[rows]
    seconds = _stretch_seconds(info.n_chans, info.duration)
    means = np.concatenate([stretch_means(windows, info.sfreq, seconds) for windows in portions])
    powers = np.concatenate([log_band_power(windows, info.sfreq, BANDS) for windows in portions])
    found = {name: cross_fitted_auroc(x, labels, groups) for name, x in (("means", means), ("band_power", powers))}
    # comparisons with NaN are false
    event_locked = found["means"] >= least_auroc(labels)
    signed_path = event_locked and found["means"] > found["band_power"]
    evidence = {**found, "event_locked": bool(event_locked), "signed_path": bool(signed_path)}
    return {**evidence, "text": _sentence(evidence, seconds, group_column)}


def least_auroc(labels: np.ndarray) -> float:
    """AUROC from which windows count as locked to an event: 0.6, and of few windows two standard errors above chance.

    Args:
        labels: (N,) class indices, of at least two classes.
    """
    counts = np.unique(labels, return_counts=True)[1]
    # of the rank sum, each class against the rest, where nothing tells them apart
    errors = [
        math.sqrt((len(labels) + 1) / (12 * count * (len(labels) - count))) for count in counts if len(counts) > 1
    ]
    return max(LOCKED_AUROC, 0.5 + 2 * float(np.mean(errors))) if errors else LOCKED_AUROC


def _some_rows(groups: np.ndarray) -> np.ndarray:
    """Rows of at most `_MOST_WINDOWS` windows, as many of each subject as of the others where there are so many."""
    members = [np.flatnonzero(groups == group) for group in np.unique(groups)]
    most = max(1, _MOST_WINDOWS // len(members))
    # evenly over each subject's windows: neighbours are alike
    chosen = [rows[np.linspace(0, len(rows) - 1, min(len(rows), most)).round().astype(int)] for rows in members]
    return np.sort(np.concatenate(chosen))


def _stretch_seconds(n_chans: int, duration: float) -> float:
    """Seconds of a stretch: longer where all of a window's would be too many numbers."""
    return max(STRETCH_SECONDS, n_chans * duration / _MOST_MEANS)


def stretch_means(windows: np.ndarray, sfreq: float, seconds: float = STRETCH_SECONDS) -> np.ndarray:
    """Means of stretches of a window, every channel by itself.

    Args:
        windows: (N, C, T), microvolts.
        sfreq: Hz.
        seconds: of a stretch, at most those of the window; what is left at the end is left out.

    Returns:
        (N, C * stretches), microvolts.
    """
    size = min(max(1, round(seconds * sfreq)), windows.shape[-1])
    n_stretches = windows.shape[-1] // size
    parts = windows[..., : n_stretches * size].reshape(*windows.shape[:2], n_stretches, size)
    return parts.mean(-1).reshape(len(windows), -1)


def cross_fitted_auroc(values: np.ndarray, labels: np.ndarray, groups: np.ndarray) -> float:
    """AUROC of LDA with shrinkage on subjects that it has not seen, the mean over folds and over classes.

    Args:
        values: (N, D).
        labels: (N,) class indices.
        groups: (N,) subjects.

    Returns:
        the mean over three folds (two of two subjects) of the AUROC of every class against the rest; NaN where no
        fold has two classes to tell apart.
    """
    n_folds, scores = min(_FOLDS, len(np.unique(groups))), []
    if n_folds < 2:
        return math.nan
    for train, test in GroupKFold(n_folds).split(values, labels, groups):
        classes = np.unique(labels[train])
        if len(classes) < 2:
            continue
        said = _discriminants(values[train], labels[train], classes, values[test])
        of_fold = [
            roc_auc_score(labels[test] == label, said[:, column])
            for column, label in enumerate(classes)
            if 0 < (labels[test] == label).sum() < len(test)
        ]
        scores += [float(np.mean(of_fold))] if of_fold else []
    return float(np.mean(scores)) if scores else math.nan


def _discriminants(values: np.ndarray, labels: np.ndarray, classes: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """Probabilities (M, classes) of asked windows (M, D) by linear discriminants with a shrunk covariance.

    scikit-learn's LDA solves by singular values, which takes minutes for 1,000 numbers a window.
    """
    centre, spread = values.mean(0), values.std(0)
    spread[spread == 0] = 1.0
    values, asked = (values - centre) / spread, (asked - centre) / spread
    means = np.stack([values[labels == label].mean(0) for label in classes])
    within = values - means[np.searchsorted(classes, labels)]
    shrinkage = ledoit_wolf_shrinkage(within, assume_centered=True)
    covariance = (1 - shrinkage) * (within.T @ within) / len(within)
    # a shrinkage of 0 would leave a covariance of channels that depend on each other singular
    covariance[np.diag_indices_from(covariance)] += shrinkage * np.square(within).mean() + 1e-6
    weights = cho_solve(cho_factor(covariance, lower=True, overwrite_a=True), means.T)
    logits = asked @ weights - 0.5 * (means.T * weights).sum(0)
    logits -= logits.max(1, keepdims=True)
    return np.exp(logits) / np.exp(logits).sum(1, keepdims=True)


def _sentence(evidence: dict[str, Any], seconds: float, group_column: str) -> str:
    """What was found and what follows."""
    means, power = evidence["means"], evidence["band_power"]
    if math.isnan(means) or math.isnan(power):
        return (
            f"kind of task unknown: it takes windows of two classes of at least two {group_column}s; taken for one of "
            "rhythms"
        )
    kind, follows = "rhythms", "windows may be turned round in time and over, and the signed path stays off"
    if means >= LOCKED_AUROC and not evidence["event_locked"]:
        kind = "taken for rhythms, as so few windows could give this by chance"
    if evidence["event_locked"]:
        kind, follows = "potentials locked to the window", "no sign_flip and no time_shift, the signed path stays off"
    if evidence["signed_path"]:
        kind, follows = "evoked potentials", "no sign_flip and no time_shift, the signed path is on"
    return (
        f"{kind}: means of {round(1000 * seconds)} ms tell the classes of unseen {group_column}s with an AUROC of "
        f"{means:.2f}, log band powers with {power:.2f}; {follows}"
    )


__all__ = ["LOCKED_AUROC", "cross_fitted_auroc", "evoked_evidence", "least_auroc", "stretch_means"]
