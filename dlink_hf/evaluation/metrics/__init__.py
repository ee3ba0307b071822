# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Scores of EEG classifiers, as functions, as an `evaluate` module, and for transformers' `Trainer`."""

from .eeg_classification import (
    SCORES as SCORES,
    EEGClassificationMetrics as EEGClassificationMetrics,
    classification_scores as classification_scores,
    compute_metrics as compute_metrics,
)
