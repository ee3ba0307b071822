# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Fine-tune a teacher or a student with transformers' ordinary `Trainer`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from datasets import Dataset
from torch.nn import functional as F
from transformers import EarlyStoppingCallback, PreTrainedModel, Trainer, TrainingArguments

from .compatibility import check_training_windows
from .data.collator import EEGDataCollator
from .metrics import compute_metrics
from .modeling_mic import check_labels
from .trainer import balanced_class_weights, check_groups
from .training_args import CLASS_WEIGHTINGS


class WeightedCrossEntropy:
    """`compute_loss_func` for `Trainer`: cross-entropy, each window weighted by its class.

    Args:
        class_weights: (num_labels,), or None for equal weights.
    """

    def __init__(self, class_weights: torch.Tensor | None = None):
        self.class_weights = class_weights

    def __call__(self, outputs: Any, labels: torch.Tensor, num_items_in_batch: Any = None) -> torch.Tensor:
        """Loss of a batch; under gradient accumulation `num_items_in_batch` counts the windows of all its steps."""
        check_labels(labels, outputs.logits)
        weights = None if self.class_weights is None else self.class_weights.to(labels.device)
        total = F.cross_entropy(outputs.logits.float(), labels, weight=weights, reduction="sum")
        return total / (labels.numel() if num_items_in_batch is None else num_items_in_batch)


def make_trainer(
    model: PreTrainedModel,
    splits: Mapping[str, Dataset],
    args: TrainingArguments,
    class_weighting: str = "none",
    early_stopping_patience: int | None = None,
    group_column: str = "subject",
    **kwargs: Any,
) -> Trainer:
    """A `Trainer` for a teacher or a student, on `splits["train"]`, watched on `splits["validation"]`.

    Args:
        model: with a classification head.
        splits: datasets `train` and, optionally, `validation`, with `input_values`, `labels` and the group column.
        args: as for `Trainer`.
        class_weighting: `"balanced"` weighs each class by N / (num_labels * its count), or `"none"`.
        early_stopping_patience: evaluations without improvement before the training stops; None for never.
        group_column: column that the splits must not share a value of.
        **kwargs: further arguments of `Trainer`, such as `processing_class` (the feature extractor).

    Returns:
        the `Trainer`, ready for `train()`.

    Raises:
        ValueError: the splits share a subject; the model knows the labels by other names; weights are to be balanced
            and a class is missing from the training set; or an argument contradicts another.
    """
    if "train" not in splits:
        raise ValueError(f"`splits` must hold a dataset named 'train', got {list(splits)}.")
    if class_weighting not in CLASS_WEIGHTINGS:
        raise ValueError(f"`class_weighting` must be one of {CLASS_WEIGHTINGS}, got {class_weighting!r}.")
    if early_stopping_patience is not None and not args.load_best_model_at_end:
        raise ValueError(
            "`early_stopping_patience` needs `load_best_model_at_end=True` with `metric_for_best_model` in `args`, "
            "else the training would stop and keep its worst model."
        )
    check_groups(splits, group_column)
    for split in splits.values():
        check_training_windows(model, split)
    weights = None
    if class_weighting == "balanced":
        weights = balanced_class_weights(splits["train"]["labels"][:], model.config.num_labels)
    callbacks = [] if early_stopping_patience is None else [EarlyStoppingCallback(early_stopping_patience)]
    return Trainer(
        model=model,
        args=args,
        train_dataset=splits["train"],
        eval_dataset=splits.get("validation"),
        data_collator=EEGDataCollator(),
        compute_metrics=compute_metrics,
        compute_loss_func=WeightedCrossEntropy(weights),
        callbacks=callbacks,
        **kwargs,
    )


__all__ = ["WeightedCrossEntropy", "make_trainer"]
