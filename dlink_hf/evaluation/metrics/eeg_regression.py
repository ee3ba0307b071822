# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""R2, mean absolute error, Spearman's and Pearson's correlation of numbers, by target and by subject."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.stats import pearsonr, spearmanr

from .eeg_classification import finite_outputs, scores_by_subject


# the scores that `regression_scores` gives for all windows and for each subject
REGRESSION_SCORES = ("r2", "mae", "rmse", "spearman", "pearson")


def _check(targets: Any, predictions: Any) -> tuple[np.ndarray, np.ndarray]:
    """Both as (N, L) float64, or an error that says what is wrong with them."""
    targets, predictions = (np.asarray(values, dtype=np.float64) for values in (targets, predictions))
    targets, predictions = (values[:, None] if values.ndim == 1 else values for values in (targets, predictions))
    if targets.shape != predictions.shape or targets.ndim != 2:
        raise ValueError(
            f"`targets` and `predictions` must both be (windows,) or (windows, targets), got {targets.shape} and "
            f"{predictions.shape}."
        )
    if not targets.size:
        raise ValueError("There are no windows to score: `targets` is empty.")
    for name, values in (("targets", targets), ("predictions", predictions)):
        if not np.isfinite(values).all():
            raise ValueError(f"`{name}` holds NaN or Inf in {int((~np.isfinite(values).all(1)).sum())} windows.")
    return targets, predictions


def _scores(target: np.ndarray, prediction: np.ndarray) -> dict[str, float]:
    """The scores of one target (N,)."""
    error = prediction - target
    spread = ((target - target.mean()) ** 2).sum()
    varies = len(target) > 1 and np.ptp(target) > 0 and np.ptp(prediction) > 0
    return {
        "r2": float(1 - (error**2).sum() / spread) if spread > 0 else float("nan"),
        "mae": float(np.abs(error).mean()),
        "rmse": float(np.sqrt((error**2).mean())),
        "spearman": float(spearmanr(target, prediction).statistic) if varies else float("nan"),
        "pearson": float(pearsonr(target, prediction).statistic) if varies else float("nan"),
    }


def _by_target(targets: np.ndarray, predictions: np.ndarray) -> list[dict[str, float]]:
    return [_scores(target, prediction) for target, prediction in zip(targets.T, predictions.T, strict=True)]


def _mean(parts: Sequence[dict[str, float]]) -> dict[str, float]:
    return {name: float(np.mean([part[name] for part in parts])) for name in REGRESSION_SCORES}


def regression_scores(
    targets: Any,
    predictions: Any,
    subjects: Sequence[Any] | None = None,
    label_names: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Score numbers that a model gives for windows.

    R2 is 1 - (sum of squared errors) / (sum of squared distances of the targets from their mean), as scikit-learn's
    `r2_score`. What is not defined is NaN: R2 and the correlations where the targets do not vary, the correlations
    where the predictions do not.

    Args:
        targets: (N,) or (N, L) numbers, in their unit.
        predictions: the same, as the model gives them.
        subjects: (N,) subject of each window; adds `per_subject`.
        label_names: L names of the targets; `"0"`, `"1"` ... by default.

    Returns:
        `dict` of the floats named in `REGRESSION_SCORES`, `mae` and `rmse` in the targets' unit, of several targets
        their means; `n_windows`; `per_target`, name -> the same; and, if `subjects` is given, `per_subject`, subject
        -> the same and `n_windows`.

    Raises:
        ValueError: shapes do not agree, there are no windows, or a number is not finite.

    Example:

    ```python
    >>> regression_scores([20.0, 40.0, 60.0], [25.0, 40.0, 55.0])["mae"]
    3.3333333333333335
    ```
    """
    targets, predictions = _check(targets, predictions)
    n_targets = targets.shape[1]
    names = [str(i) for i in range(n_targets)] if label_names is None else [str(name) for name in label_names]
    if len(set(names)) != n_targets or len(names) != n_targets:
        raise ValueError(f"`label_names` must be {n_targets} different names, one for each target, got {names}.")
    parts = _by_target(targets, predictions)
    result: dict[str, Any] = {
        **_mean(parts),
        "n_windows": len(targets),
        "per_target": dict(zip(names, parts, strict=True)),
    }
    if subjects is not None:
        result["per_subject"] = scores_by_subject(
            subjects, len(targets), lambda rows: _mean(_by_target(targets[rows], predictions[rows]))
        )
    return result


def compute_regression_metrics(eval_pred: Any) -> dict[str, float]:
    """`compute_metrics` of transformers' `Trainer` for numbers: the scores named in `REGRESSION_SCORES`.

    Args:
        eval_pred: `transformers.EvalPrediction`, or a pair of predictions and targets, both (N,) or (N, L).

    Returns:
        `dict` of floats. All are NaN, with a warning, where predictions are NaN or Inf.
    """
    predictions, targets = finite_outputs(eval_pred, "predictions")
    if predictions is None:
        return dict.fromkeys(REGRESSION_SCORES, float("nan"))
    targets = np.asarray(targets, np.float64)
    if targets.ndim == 1:
        predictions = predictions.reshape(len(predictions))
    scores = regression_scores(targets, predictions)
    return {name: scores[name] for name in REGRESSION_SCORES}


__all__ = ["REGRESSION_SCORES", "compute_regression_metrics", "regression_scores"]
