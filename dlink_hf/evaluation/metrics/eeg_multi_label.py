# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""F1, precision, recall and AUROC of each label, where several may hold at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.metrics import average_precision_score, roc_auc_score

from .eeg_classification import finite_outputs, scores_by_subject


# the scores that `multi_label_scores` gives for all windows and for each subject
MULTI_LABEL_SCORES = ("macro_f1", "micro_f1", "exact_match", "auroc", "auc_pr")


def _check(labels: Any, probabilities: Any) -> tuple[np.ndarray, np.ndarray]:
    """Both as (N, L), or an error that says what is wrong with them."""
    labels, probabilities = np.asarray(labels, dtype=np.float64), np.asarray(probabilities, dtype=np.float64)
    if labels.ndim != 2 or labels.shape != probabilities.shape:
        raise ValueError(
            "`labels` and `probabilities` must both be (windows, labels), zeros and ones the first of them; got "
            f"{labels.shape} and {probabilities.shape}."
        )
    if not labels.size:
        raise ValueError("There are no windows to score: `labels` is empty.")
    if not np.isin(labels, (0, 1)).all():
        raise ValueError(f"`labels` must be zeros and ones, got {np.unique(labels[~np.isin(labels, (0, 1))])[:3]}.")
    if not (np.isfinite(probabilities).all() and probabilities.min() >= 0 and probabilities.max() <= 1):
        raise ValueError("`probabilities` must lie in [0, 1]: give sigmoid(logits), not logits.")
    return labels.astype(bool), probabilities


def _f1(hits: Any, named: Any, held: Any) -> Any:
    """2 * hits / (named + held), 0 where there is neither."""
    total = np.asarray(named + held, dtype=np.float64)
    return np.divide(2.0 * hits, total, out=np.zeros_like(total), where=total > 0)


def _scores(labels: np.ndarray, probabilities: np.ndarray) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    predicted = probabilities >= 0.5
    hits, named, held = ((each).sum(0) for each in (labels & predicted, predicted, labels))
    n_labels = labels.shape[1]
    auroc, auc_pr = np.full(n_labels, np.nan), np.full(n_labels, np.nan)
    for label in np.flatnonzero((held > 0) & (held < len(labels))):
        auroc[label] = roc_auc_score(labels[:, label], probabilities[:, label])
        auc_pr[label] = average_precision_score(labels[:, label], probabilities[:, label])
    f1, occurs = _f1(hits, named, held), held + named > 0
    by_label = {
        "f1": f1,
        "precision": np.divide(hits, named, out=np.zeros(n_labels), where=named > 0),
        "recall": np.divide(hits, held, out=np.full(n_labels, np.nan), where=held > 0),
        "auroc": auroc,
        "auc_pr": auc_pr,
        "support": held,
    }
    ranked = np.isfinite(auroc)
    scores = {
        # a label that is neither there nor named says nothing
        "macro_f1": float(f1[occurs].mean()) if occurs.any() else float("nan"),
        "micro_f1": float(_f1(hits.sum(), named.sum(), held.sum())),
        "exact_match": float((labels == predicted).all(1).mean()),
        "auroc": float(auroc[ranked].mean()) if ranked.any() else float("nan"),
        "auc_pr": float(auc_pr[ranked].mean()) if ranked.any() else float("nan"),
    }
    return scores, by_label


def multi_label_scores(
    labels: Any,
    probabilities: Any,
    subjects: Sequence[Any] | None = None,
    label_names: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Score a model of several labels at once; a label counts as told from a probability of 0.5.

    Args:
        labels: (N, L) zeros and ones.
        probabilities: (N, L), of each label by itself.
        subjects: (N,) subject of each window; adds `per_subject`.
        label_names: L names; `"0"`, `"1"` ... by default.

    Returns:
        `dict` with the floats named in `MULTI_LABEL_SCORES`: the mean F1 of the labels that occur, F1 over all labels,
        the share of windows with all labels right, and the mean AUROC and average precision of labels that vary;
        `n_windows`; `per_label`, name -> f1, precision, recall, auroc, auc_pr, support (windows); and, if `subjects`
        is given, `per_subject`, subject -> scores and `n_windows`. What is not defined is NaN.

    Raises:
        ValueError: shapes do not agree, there are no windows, or numbers are out of range.

    Example:

    ```python
    >>> multi_label_scores([[1, 0], [1, 1]], [[0.9, 0.2], [0.8, 0.3]])["exact_match"]
    0.5
    ```
    """
    labels, probabilities = _check(labels, probabilities)
    n_labels = labels.shape[1]
    names = [str(i) for i in range(n_labels)] if label_names is None else [str(name) for name in label_names]
    if len(names) != n_labels or len(set(names)) != n_labels:
        raise ValueError(f"`label_names` must be {n_labels} different names, one a column, got {names}.")
    scores, by_label = _scores(labels, probabilities)
    result: dict[str, Any] = {**scores, "n_windows": len(labels)}
    result["per_label"] = {
        name: {key: int(v[i]) if key == "support" else float(v[i]) for key, v in by_label.items()}
        for i, name in enumerate(names)
    }
    if subjects is not None:
        result["per_subject"] = scores_by_subject(
            subjects, len(labels), lambda rows: _scores(labels[rows], probabilities[rows])[0]
        )
    return result


def compute_multi_label_metrics(eval_pred: Any) -> dict[str, float]:
    """`compute_metrics` of transformers' `Trainer` for several labels at once: those of `MULTI_LABEL_SCORES`.

    Args:
        eval_pred: `transformers.EvalPrediction`, or a pair of logits and labels, both (N, L).

    Returns:
        `dict` of floats. All are NaN, with a warning, where logits are NaN or Inf.
    """
    logits, labels = finite_outputs(eval_pred)
    if logits is None:
        return dict.fromkeys(MULTI_LABEL_SCORES, float("nan"))
    return _scores(*_check(labels, 1 / (1 + np.exp(-logits))))[0]


__all__ = ["MULTI_LABEL_SCORES", "compute_multi_label_metrics", "multi_label_scores"]
