# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Balanced accuracy, Cohen's kappa, weighted F1, AUROC and AUC-PR, over all windows, per class and per subject.

Needs no network. `evaluate.load` takes the path of this file, so nothing here imports the rest of the package.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import datasets
import evaluate
import numpy as np
from sklearn.metrics import average_precision_score, roc_auc_score


# the scores that `classification_scores` gives for all windows and for each subject
SCORES = ("balanced_accuracy", "accuracy", "cohen_kappa", "weighted_f1", "auroc", "auc_pr")

_DESCRIPTION = """\
Scores of an EEG classifier from the probabilities it gives each window: balanced accuracy, accuracy, Cohen's kappa,
weighted F1, area under the ROC curve and under the precision-recall curve; per class, and per named subject.
"""

_INPUTS = """
Args:
    predictions: (N, n_labels) probabilities, each row summing to 1.
    references: (N,) integer labels.
    subjects: (N,) subject of each window, optional.
    label_names: names of the labels, optional.
Returns:
    the dictionary of `dlink_hf.classification_scores`.
"""


def finite_outputs(eval_pred: Any, what: str = "logits") -> tuple[np.ndarray | None, Any]:
    """Return outputs (float64) and labels of what transformers' `Trainer` hands to `compute_metrics`.

    The outputs are None, with a warning, where they hold NaN or Inf: a training that diverged is told so by its scores
    and does not lose its last evaluation.
    """
    # EvalPrediction unpacks to inputs and losses too where they are asked for: take the first two
    outputs, labels, *_ = eval_pred
    outputs, labels = (values[0] if isinstance(values, tuple | list) else values for values in (outputs, labels))
    outputs = np.asarray(outputs, dtype=np.float64)
    if not np.isfinite(outputs).all():
        warnings.warn(f"The {what} hold NaN or Inf: the training diverged, and its scores are NaN.", stacklevel=3)
        return None, labels
    return outputs, labels


def softmax(logits: np.ndarray) -> np.ndarray:
    """Return probabilities (..., n_labels) of logits of the same shape."""
    exponents = np.exp(logits - logits.max(-1, keepdims=True))
    return exponents / exponents.sum(-1, keepdims=True)


def scores_by_subject(
    subjects: Sequence[Any], n_windows: int, score: Callable[[np.ndarray], dict[str, float]]
) -> dict[str, dict[str, Any]]:
    """Return subject -> its scores and `n_windows`, in the order of the names.

    Args:
        subjects: (N,) subject of each window.
        n_windows: N.
        score: takes (N,) booleans, the windows of a subject, and gives their scores.

    Raises:
        ValueError: there are not as many subjects as windows.
    """
    groups = np.asarray([str(subject) for subject in subjects])
    if len(groups) != n_windows:
        raise ValueError(f"`subjects` must name one for each of the {n_windows} windows, got {len(groups)}.")
    masks = {subject: groups == subject for subject in sorted(set(groups.tolist()))}
    return {subject: {**score(rows), "n_windows": int(rows.sum())} for subject, rows in masks.items()}


def _check(labels: Any, probabilities: Any) -> tuple[np.ndarray, np.ndarray]:
    """Labels (N,) int64 and probabilities (N, n_labels) float64, or an error that says what is wrong with them."""
    labels, probabilities = np.asarray(labels), np.asarray(probabilities, dtype=np.float64)
    if probabilities.ndim != 2 or probabilities.shape[1] < 2:
        raise ValueError(
            "`probabilities` must have the shape (windows, labels), with two labels or more, got "
            f"{probabilities.shape}. For a binary task give a column for each of the two labels."
        )
    if labels.ndim != 1 or len(labels) != len(probabilities):
        raise ValueError(
            f"`labels` must hold one label for each of the {len(probabilities)} windows, got shape {labels.shape}."
        )
    if len(labels) == 0:
        raise ValueError("There are no windows to score: `labels` is empty.")
    is_whole = labels.dtype.kind == "f" and np.array_equal(labels, np.round(labels))
    if labels.dtype.kind not in "iub" and not is_whole:
        raise TypeError(f"`labels` must be integers (indices of `id2label`), got {labels.dtype}.")
    labels = labels.astype(np.int64)
    n_labels = probabilities.shape[1]
    if labels.min() < 0 or labels.max() >= n_labels:
        wrong = sorted(set(labels[(labels < 0) | (labels >= n_labels)].tolist()))
        raise ValueError(
            f"`labels` holds {wrong}, but the {n_labels} columns of `probabilities` are 0 to {n_labels - 1}."
            + (" A label of -1 is a window without one, which can't be scored: leave it out." if -1 in wrong else "")
        )
    if not np.isfinite(probabilities).all():
        raise ValueError(f"`probabilities` holds NaN or Inf in {(~np.isfinite(probabilities).all(1)).sum()} windows.")
    if (probabilities < 0).any() or np.abs(probabilities.sum(1) - 1).max() > 1e-2:
        raise ValueError("Each row of `probabilities` must sum to 1: give softmax(logits), not logits.")
    return labels, probabilities


def _divide(numerator: np.ndarray, denominator: np.ndarray, undefined: float) -> np.ndarray:
    """numerator / denominator, and `undefined` where the denominator is zero."""
    return np.divide(numerator, denominator, out=np.full(len(numerator), undefined), where=denominator > 0)


def _scores(labels: np.ndarray, probabilities: np.ndarray) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """The scores over all windows, and the values per class they are made of."""
    n_labels = probabilities.shape[1]
    predicted = probabilities.argmax(1)
    confusion = np.zeros((n_labels, n_labels), dtype=np.int64)
    np.add.at(confusion, (labels, predicted), 1)
    n, hits = confusion.sum(), np.diag(confusion).astype(np.float64)
    support, guesses = confusion.sum(1), confusion.sum(0)
    present = support > 0

    auroc, auc_pr = np.full(n_labels, np.nan), np.full(n_labels, np.nan)
    for label in np.flatnonzero(present & (support < n)):
        auroc[label] = roc_auc_score(labels == label, probabilities[:, label])
        auc_pr[label] = average_precision_score(labels == label, probabilities[:, label])
    recall = _divide(hits, support, np.nan)
    f1 = _divide(2 * hits, support + guesses, 0.0)
    classes = {
        "precision": _divide(hits, guesses, 0.0),
        "recall": recall,
        "f1": f1,
        "auroc": auroc,
        "auc_pr": auc_pr,
        "support": support,
        "confusion": confusion,
    }

    expected = (support * guesses).sum() / n**2
    ranked = np.isfinite(auroc)
    # two labels: those of label 1, as scikit-learn has it; more: the mean over the labels that can be ranked
    both = bool(ranked.all()) if n_labels == 2 else bool(ranked.any())
    positive = np.array([False, True]) if n_labels == 2 else ranked
    scores = {
        "balanced_accuracy": recall[present].mean(),
        "accuracy": hits.sum() / n,
        "cohen_kappa": (hits.sum() / n - expected) / (1 - expected) if expected < 1 else np.nan,
        "weighted_f1": (f1 * support).sum() / n,
        "auroc": auroc[positive].mean() if both else np.nan,
        "auc_pr": auc_pr[positive].mean() if both else np.nan,
    }
    return {name: float(value) for name, value in scores.items()}, classes


def classification_scores(
    labels: Any,
    probabilities: Any,
    subjects: Sequence[Any] | None = None,
    label_names: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Score an EEG classifier.

    With two labels, `auroc` and `auc_pr` are those of label 1; with more, the mean of one label against the rest.
    AUC-PR is the average precision of scikit-learn (no interpolation). A label absent from `labels` does not enter
    balanced accuracy, AUROC or AUC-PR, and weighs nothing in weighted F1. What is not defined is NaN: AUROC and AUC-PR
    where `labels` hold one class only, kappa where labels and predictions all are that one class. The precision of a
    label that is never predicted is 0.

    Args:
        labels: (N,) integers, indices of the labels.
        probabilities: (N, n_labels), each row summing to 1.
        subjects: (N,) subject of each window; adds `per_subject`.
        label_names: n_labels names, in the order of the columns; default `"0"`, `"1"` ...

    Returns:
        `dict` with the floats named in `SCORES`, all without a unit; `n_windows`; `confusion_matrix`, a list of
        n_labels rows (true) of n_labels counts (predicted); `per_class`, name -> precision, recall, f1, auroc, auc_pr,
        support (windows); and, if `subjects` is given, `per_subject`, subject -> `SCORES` and `n_windows`.

    Raises:
        ValueError: shapes do not agree, there are no windows, a label has no column, or rows are no probabilities.
        TypeError: labels are not integers.
    """
    labels, probabilities = _check(labels, probabilities)
    n_labels = probabilities.shape[1]
    names = [str(label) for label in range(n_labels)] if label_names is None else [str(name) for name in label_names]
    if len(names) != n_labels or len(set(names)) != n_labels:
        raise ValueError(f"`label_names` must be {n_labels} different names, one a column, got {names}.")

    scores, classes = _scores(labels, probabilities)
    result: dict[str, Any] = {**scores, "n_windows": len(labels)}
    result["confusion_matrix"] = classes.pop("confusion").tolist()
    result["per_class"] = {
        name: {
            key: int(values[label]) if key == "support" else float(values[label]) for key, values in classes.items()
        }
        for label, name in enumerate(names)
    }
    if subjects is not None:
        result["per_subject"] = scores_by_subject(
            subjects, len(labels), lambda rows: _scores(labels[rows], probabilities[rows])[0]
        )
    return result


def compute_metrics(eval_pred: Any) -> dict[str, float]:
    """`compute_metrics` of transformers' `Trainer`: the scores named in `SCORES`, as flat floats.

    Args:
        eval_pred: `transformers.EvalPrediction`, or a pair of predictions and labels. Predictions are logits
            (N, n_labels), or a tuple that begins with them; labels are (N,) integers.

    Returns:
        `dict` of floats. All are NaN, with a warning, where logits are NaN or Inf: a training that diverged is told
        so by its scores and does not lose its last evaluation.

    Raises:
        ValueError: see [`classification_scores`].
    """
    logits, labels = finite_outputs(eval_pred)
    if logits is None:
        return dict.fromkeys(SCORES, float("nan"))
    labels, probabilities = _check(labels, softmax(logits))
    return _scores(labels, probabilities)[0]


class EEGClassificationMetrics(evaluate.Metric):
    """[`classification_scores`] as an `evaluate` module.

    Examples:

    ```python
    >>> from dlink_hf import EEGClassificationMetrics

    >>> metric = EEGClassificationMetrics()
    >>> scores = metric.compute(predictions=[[0.9, 0.1], [0.2, 0.8]], references=[0, 1])
    >>> scores["balanced_accuracy"]
    1.0
    ```
    """

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation="",
            inputs_description=_INPUTS,
            features=datasets.Features(
                {
                    "predictions": datasets.List(datasets.Value("float64")),
                    "references": datasets.Value("int64"),
                }
            ),
        )

    def _compute(
        self,
        predictions: Any,
        references: Any,
        subjects: Sequence[Any] | None = None,
        label_names: Sequence[str] | None = None,
    ) -> dict[str, Any]:
        return classification_scores(references, predictions, subjects=subjects, label_names=label_names)
