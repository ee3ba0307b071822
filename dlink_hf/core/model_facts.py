# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""What a model's config says of it: the names of its classes, the channels that it reads; and what its logits mean."""

from __future__ import annotations

from typing import Any

import numpy as np

from .config_checks import MULTI_LABEL, REGRESSION, TOKENS
from .electrodes import canonical_name


def required_channels(config: Any) -> list[str]:
    """Return the channels of a model's config in its order, by their canonical names where they have one."""
    return [canonical_name(name) or name for name in config.ch_names]


def check_delivered(config: Any, delivered: list[str]) -> None:
    """Refuse a feature extractor that delivers other channels than a model of one montage reads.

    Raises:
        ValueError: naming both.
    """
    if delivered != required_channels(config):
        raise ValueError(
            f"The model reads the channels {', '.join(required_channels(config))} in this order, its feature "
            f"extractor delivers {', '.join(delivered)}. Take the preprocessor_config.json saved with the model."
        )


def label_names(model: Any) -> list[str]:
    """Return the names of a model's classes, in the order of its logits."""
    id2label = model.config.id2label
    return [id2label[index] for index in sorted(id2label)]


def label_samples(config: Any) -> int:
    """Return the length of a label in samples, by the config of a model that labels patches."""
    return config.patch_size * config.patches_per_label


def task_of(model: Any) -> str | None:
    """Return the `problem_type` of a model's config, or `"token_classification"` of a model that labels patches."""
    is_of_patches = type(model).__name__.endswith("ForEEGTokenClassification")
    if is_of_patches or getattr(model, "labels_patches", False):
        return TOKENS
    return getattr(model.config, "problem_type", None)


def probabilities_of(logits: np.ndarray) -> np.ndarray:
    """Return the softmax of logits (N, num_labels), in float64."""
    shares = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
    return shares / shares.sum(axis=-1, keepdims=True)


def predictions_of(config: Any, outputs: np.ndarray) -> np.ndarray:
    """Return what a head's outputs (N, L) say: probabilities of classes or labels, or the numbers of a regression.

    Args:
        config: of the model; its `problem_type` says what they are.
        outputs: (N, L).

    Returns:
        (N, L) float64.
    """
    outputs = np.asarray(outputs, dtype=np.float64)
    problem_type = getattr(config, "problem_type", None)
    if problem_type == REGRESSION:
        return outputs
    if problem_type == MULTI_LABEL:
        # without an overflow at either end
        return 0.5 * (1 + np.tanh(0.5 * outputs))
    return probabilities_of(outputs)


__all__ = [
    "check_delivered",
    "label_names",
    "label_samples",
    "predictions_of",
    "probabilities_of",
    "required_channels",
    "task_of",
]
