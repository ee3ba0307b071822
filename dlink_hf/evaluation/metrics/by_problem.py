# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Which scores belong to a model, by the `problem_type` of its config."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ...core.config_checks import MULTI_LABEL, REGRESSION, TOKENS
from ...core.model_facts import predictions_of
from .eeg_classification import SCORES, classification_scores, compute_metrics
from .eeg_multi_label import MULTI_LABEL_SCORES, compute_multi_label_metrics, multi_label_scores
from .eeg_regression import REGRESSION_SCORES, compute_regression_metrics, regression_scores
from .eeg_tokens import compute_token_metrics, token_scores


def compute_metrics_for(config: Any, task: str | None = None) -> Callable[[Any], dict[str, float]]:
    """Return the `compute_metrics` of transformers' `Trainer` that fits a model.

    Args:
        config: of the model, or of a studio.
        task: of the model, as `task_of` says it; that of the config by default.
    """
    if task == TOKENS or getattr(config, "labels_patches", False):
        return compute_token_metrics
    kinds = {REGRESSION: compute_regression_metrics, MULTI_LABEL: compute_multi_label_metrics}
    return kinds.get(getattr(config, "problem_type", None), compute_metrics)


def score_names(config: Any) -> tuple[str, ...]:
    """Return the names of the scores of a model, the first one the one that models are compared by."""
    kinds = {REGRESSION: REGRESSION_SCORES, MULTI_LABEL: MULTI_LABEL_SCORES}
    return kinds.get(getattr(config, "problem_type", None), SCORES)


def scores_for(
    config: Any, labels: Any, predictions: np.ndarray, subjects: Sequence[Any] | None, names: Sequence[str]
) -> dict[str, Any]:
    """Return the scores of a model's predictions, whatever its problem type.

    Args:
        config: of the model.
        labels: as the windows have them.
        predictions: probabilities (N, L), or numbers (N, L) of a regression; (N, S, L) of S places of a stretch.
        subjects: (N,) subject of each window, or None.
        names: of the L outputs.
    """
    if np.ndim(predictions) == 3:
        return token_scores(labels, predictions, subjects, names)
    kinds = {REGRESSION: regression_scores, MULTI_LABEL: multi_label_scores}
    score = kinds.get(getattr(config, "problem_type", None), classification_scores)
    return score(labels, predictions, subjects=subjects, label_names=names)


__all__ = ["compute_metrics_for", "predictions_of", "score_names", "scores_for"]
