# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Groups of terms of the objective, by name and each with its weight; and what several teachers say together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from ..core.config_checks import MULTI_LABEL, REGRESSION
from ..core.unlabelled import IGNORED, UNLABELLED
from ..models.mic.token_classification import check_token_labels
from .configuration_studio import DLinkStudioConfig
from .losses import (
    classification_loss,
    feature_distance,
    logit_distillation_loss,
    spectral_losses,
    target_spectrum,
)


def mean_logits(logits: torch.Tensor | Sequence[torch.Tensor], problem_type: str | None = None) -> torch.Tensor:
    """Return the logits of a teacher; of several, the log of the mean of their probabilities.

    The mean of probabilities, not of their logarithms: a single teacher that is sure can't overrule all others. Of
    several labels at once it is taken of each, and of a regression's numbers it is their mean.

    Args:
        logits: (B, num_labels), or one such tensor a teacher.
        problem_type: of the models' configs.
    """
    if isinstance(logits, torch.Tensor):
        return logits
    if problem_type == REGRESSION:
        return torch.stack([one.float() for one in logits]).mean(0)
    if problem_type == MULTI_LABEL:
        return torch.stack([one.float().sigmoid() for one in logits]).mean(0).logit(1e-6)
    return torch.stack([one.float().log_softmax(-1) for one in logits]).logsumexp(0) - math.log(len(logits))


def mimic_terms(
    config: DLinkStudioConfig,
    target: torch.Tensor,
    mimic_state: torch.Tensor,
    decoded_state: torch.Tensor,
    **over: Any,
) -> dict[str, tuple[float, torch.Tensor]]:
    """The terms that hold a student against the routed target, by name; each with its weight. They need no label.

    Args:
        config: weights, distance, axes and placement.
        target: (B, C, P, D), the routed state, detached.
        mimic_state, decoded_state: (B, C, P, D), the student's states on the same grid.
        **over: `over_processes`, as [`losses.target_spectrum`] takes it.
    """
    places = {"mimic": mimic_state, "compressed": decoded_state}
    terms = {"route_loss": (config.route_weight, feature_distance(mimic_state, target, config.route_distance))}
    target_bins = target_spectrum(target, config.spectral_axes, **over) if config.spectral_placement else None
    for place in config.spectral_placement:
        magnitude, phase = spectral_losses(places[place], target_bins, config.magnitude_kind)
        terms[f"magnitude_{place}_loss"] = (config.spectral_weight * config.magnitude_weight, magnitude)
        terms[f"phase_{place}_loss"] = (config.spectral_weight * config.phase_weight, phase)
    return terms


def place_terms(
    config: DLinkStudioConfig,
    logits: torch.Tensor,
    teacher_logits: torch.Tensor | None,
    labels: torch.Tensor,
    class_weights: torch.Tensor | None = None,
    **over: Any,
) -> dict[str, tuple[float, torch.Tensor]]:
    """The terms of models that label patches: each place of a stretch counts as a window of its own.

    Args:
        config: weights and temperature.
        logits, teacher_logits: (B, S, num_labels); the teacher's may be missing.
        labels: (B, S) class indices, -100 where there is none.
        class_weights: (num_labels,), or None for equal weights.
        **over: `over_processes`, as [`losses.classification_loss`] takes it.

    Raises:
        ValueError: labels are of another shape, or out of range.
    """
    check_token_labels(labels, logits)
    flat, places = logits.flatten(0, 1), labels.masked_fill(labels == IGNORED, UNLABELLED).flatten()
    terms = {"task_loss": (config.task_weight, classification_loss(flat, places, class_weights, **over))}
    if teacher_logits is not None:
        taught = logit_distillation_loss(flat, teacher_logits.flatten(0, 1), config.kd_temperature)
        terms["kd_loss"] = (config.kd_weight, taught)
    return terms


__all__ = ["mean_logits", "mimic_terms", "place_terms"]
