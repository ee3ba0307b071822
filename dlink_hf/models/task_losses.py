# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""The loss of a head by its `problem_type`: one class, several labels at once, or numbers.

B windows, L labels or targets. transformers' heads take the same three types. A window may lack a label in a
distillation: the class -1, the label -1 among several, a target that is NaN.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional as F

from ..core.config_checks import MULTI_LABEL, REGRESSION
from ..core.unlabelled import UNLABELLED
from .modeling_base import at_least_single


def in_target_unit(config: Any, outputs: torch.Tensor) -> torch.Tensor:
    """Return a head's outputs (B, L) in the unit of the targets; of a classification as they are."""
    if config.problem_type != REGRESSION or config.target_mean is None:
        return outputs
    return outputs * outputs.new_tensor(config.target_std) + outputs.new_tensor(config.target_mean)


def standardised(config: Any, values: torch.Tensor) -> torch.Tensor:
    """Return targets or predictions (B, L), in their unit, as the loss of a regression compares them."""
    if config.target_mean is None:
        return values
    return (values - values.new_tensor(config.target_mean)) / values.new_tensor(config.target_std)


def as_targets(
    config: Any, labels: torch.Tensor, logits: torch.Tensor, allow_unlabelled: bool = False
) -> torch.Tensor:
    """Check the labels of a batch, and return them as the loss reads them.

    Args:
        config: of the model; its `problem_type` says what labels are.
        labels: (B,) class indices; (B, L) zeros and ones; or (B, L) numbers, (B,) where L is 1.
        logits: (B, L), of the model.
        allow_unlabelled: whether windows without a label may be among them.

    Returns:
        class indices (B,), or numbers (B, L) float32 or better.

    Raises:
        ValueError: the shape or type differs, or a label is out of range or not finite.
    """
    if config.problem_type not in (REGRESSION, MULTI_LABEL):
        check_labels(labels, logits, allow_unlabelled)
        return labels
    if labels.ndim == 1 and logits.shape[1] == 1:
        labels = labels[:, None]
    of_what = "targets" if config.problem_type == REGRESSION else "zeros and ones, one for each label"
    if labels.shape != logits.shape:
        raise ValueError(
            f"`labels` must be {tuple(logits.shape)} {of_what}, for {config.problem_type!r} with {logits.shape[1]} "
            f"output(s), got {labels.dtype} of shape {tuple(labels.shape)}."
        )
    labels = at_least_single(labels) if labels.is_floating_point() else labels.float()
    if config.problem_type == REGRESSION:
        good = labels.isfinite() | (labels.isnan() if allow_unlabelled else torch.zeros_like(labels, dtype=torch.bool))
        expected = "finite numbers" + (" (NaN where there is none)" if allow_unlabelled else "")
    else:
        good = (labels == 0) | (labels == 1) | ((labels == UNLABELLED) if allow_unlabelled else False)
        expected = "0 or 1" + (" (-1 where it is not known)" if allow_unlabelled else "")
    if not bool(good.all()):
        wrong = labels[~good].flatten()[:3].tolist()
        hint = "" if allow_unlabelled else " Only a distillation (DLinkTrainer) trains on windows that lack a label."
        raise ValueError(
            f"`labels` must be {expected}, got {wrong} in {int((~good).any(1).sum())} window(s) of the batch.{hint}"
        )
    return labels


def check_labels(labels: torch.Tensor, logits: torch.Tensor, allow_unlabelled: bool = False) -> None:
    """Check class indices (B,) against logits (B, num_labels).

    Args:
        labels: class indices.
        logits: of the model.
        allow_unlabelled: whether -1, a window without a label, may be among them.

    Raises:
        ValueError: the shape differs, or an index lies outside 0 ... num_labels - 1.
    """
    if labels.shape != logits.shape[:1] or labels.is_floating_point():
        raise ValueError(
            f"`labels` must be {logits.shape[0]} class indices of shape ({logits.shape[0]},), got {labels.dtype} of "
            f"shape {tuple(labels.shape)}."
        )
    if not labels.numel():
        return
    least, most = int(labels.min()), int(labels.max())
    if not ((UNLABELLED if allow_unlabelled else 0) <= least and most < logits.shape[1]):
        raise ValueError(
            f"`labels` must lie in 0 ... {logits.shape[1] - 1} for a model of {logits.shape[1]} labels, got "
            f"{least} ... {most}."
            + (
                " A label of -1 is a window without one, which only a distillation (DLinkTrainer) can train on."
                if least == UNLABELLED and not allow_unlabelled
                else ""
            )
        )


def check_head(name: str, is_regression: bool, config: Any) -> None:
    """Refuse a head of numbers for classes, or one of classes for numbers.

    Args:
        name: of the model's class.
        is_regression: whether it gives numbers.
        config: its `problem_type` says what is wanted.

    Raises:
        ValueError: naming the class that fits.
    """
    if (config.problem_type == REGRESSION) == is_regression:
        return
    ends = ("Regression", "Classification") if is_regression else ("Classification", "Regression")
    wanted = f"of problem_type={REGRESSION!r}" if is_regression else "of classes"
    raise ValueError(
        f"{name} needs a config {wanted}, this one has problem_type={config.problem_type!r}. Use "
        f"{name.replace(*ends)}, or change the config's `problem_type`."
    )


def mean_loss(config: Any, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return the loss of a batch with all its labels, as a model's forward pass gives it.

    Args:
        config: of the model.
        logits: (B, L).
        labels: as [`as_targets`] takes them.

    Raises:
        ValueError: as [`as_targets`].
    """
    labels = as_targets(config, labels, logits)
    if config.problem_type in (REGRESSION, MULTI_LABEL):
        return head_loss(config, logits, labels)
    return F.cross_entropy(logits.float(), labels)


def elementwise_distance(config: Any, predictions: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Distance (B, L) of standardised predictions and targets: squared, absolute or Huber's (1964, threshold 1)."""
    if config.regression_loss == "mse":
        return F.mse_loss(predictions, targets, reduction="none")
    loss = F.l1_loss if config.regression_loss == "mae" else F.huber_loss
    return loss(predictions, targets, reduction="none")


def head_loss(
    config: Any,
    logits: torch.Tensor,
    labels: torch.Tensor,
    weights: torch.Tensor | None = None,
    over_processes: Callable[[torch.Tensor], torch.Tensor] | None = None,
    count: Any = None,
) -> torch.Tensor:
    """Return the loss of a regression or of several labels at once, over the labels that there are.

    Args:
        config: of the model.
        logits: (B, L); of a regression in the targets' unit.
        labels: (B, L) of [`as_targets`].
        weights: (L,), of several labels: how much a label that holds counts over one that does not, as `pos_weight` of
            `torch.nn.functional.binary_cross_entropy_with_logits`.
        over_processes: mean over the processes that hold a part of the batch each.
        count: windows to divide by, in place of those that have labels.

    Returns:
        scalar: the mean over windows of the mean over labels; 0 where no label is known.
    """
    logits = at_least_single(logits)
    if config.problem_type == REGRESSION:
        known = ~labels.isnan()
        targets = standardised(config, labels.to(logits).where(known, 0.0))
        losses = elementwise_distance(config, standardised(config, logits), targets)
    else:
        known = labels != UNLABELLED
        targets = labels.to(logits).clamp_min(0.0)
        weights = None if weights is None else weights.to(logits)
        losses = F.binary_cross_entropy_with_logits(logits, targets, pos_weight=weights, reduction="none")
    total = (losses * known).sum()
    share = known.sum().to(logits.dtype) if count is None else torch.as_tensor(count).to(logits) * labels.shape[1]
    if over_processes is not None:
        share = over_processes(share)
    # nothing is divided by nothing where no label is known
    return total / share.where(share > 0, 1.0)


__all__ = [
    "as_targets",
    "check_head",
    "check_labels",
    "elementwise_distance",
    "head_loss",
    "in_target_unit",
    "mean_loss",
    "standardised",
]
