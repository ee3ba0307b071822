# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Scores of EEG models, as functions, as an `evaluate` module, and for transformers' `Trainer`."""

from .by_problem import (
    compute_metrics_for as compute_metrics_for,
    predictions_of as predictions_of,
    score_names as score_names,
    scores_for as scores_for,
)
from .eeg_classification import (
    SCORES as SCORES,
    EEGClassificationMetrics as EEGClassificationMetrics,
    classification_scores as classification_scores,
    compute_metrics as compute_metrics,
)
from .eeg_multi_label import (
    MULTI_LABEL_SCORES as MULTI_LABEL_SCORES,
    compute_multi_label_metrics as compute_multi_label_metrics,
    multi_label_scores as multi_label_scores,
)
from .eeg_regression import (
    REGRESSION_SCORES as REGRESSION_SCORES,
    compute_regression_metrics as compute_regression_metrics,
    regression_scores as regression_scores,
)
from .eeg_tokens import (
    TOKEN_SCORES as TOKEN_SCORES,
    compute_token_metrics as compute_token_metrics,
    event_scores as event_scores,
    token_scores as token_scores,
)
