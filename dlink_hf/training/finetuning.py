# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Fine-tune a teacher or a student with transformers' `Trainer`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from datasets import Dataset
from torch import nn
from torch.nn import functional as F
from transformers import EarlyStoppingCallback, PreTrainedModel, Trainer, TrainingArguments

from ..core.checks import one_of
from ..core.config_checks import MULTI_LABEL, REGRESSION
from ..core.model_facts import task_of
from ..core.unlabelled import IGNORED
from ..data.collator import EEGDataCollator
from ..data.missing_labels import EVALUATED_WITHOUT_LABEL, check_all_labelled
from ..data.model_contract import check_training_windows
from ..data.targets import check_targets, is_single_label, settle_target_scale
from ..evaluation.metrics import compute_metrics_for
from ..models.mic.token_classification import check_token_labels
from ..models.task_losses import as_targets, check_labels, head_loss
from .augmentation import EEGAugmentation, parse_augmentations
from .base_trainer import CLASS_WEIGHTINGS, AugmentedTrainer, check_groups, class_weights_of
from .lora import (
    GradualUnfreezing,
    adapt_teacher,
    check_adaptation,
    check_is_teacher,
    check_rates,
    parameter_groups,
)


class WeightedCrossEntropy:
    """`compute_loss_func` for `Trainer`: cross-entropy, each window weighted by its class.

    Of several labels at once the binary cross-entropy of each, of a regression the distance that its config names.

    Args:
        class_weights: (num_labels,), or None for equal weights.
        label_smoothing: share of each label that is spread evenly over all classes, in [0, 1), as in
            `torch.nn.functional.cross_entropy` (Szegedy et al. 2016); a regression has none.
        config: of the model, which says what its labels are; one class by default.

    Raises:
        ValueError: `label_smoothing` is out of range.
    """

    def __init__(self, class_weights: torch.Tensor | None = None, label_smoothing: float = 0.0, config: Any = None):
        if not 0 <= label_smoothing < 1:
            raise ValueError(f"`label_smoothing` must lie in [0, 1), got {label_smoothing}.")
        self.class_weights = class_weights
        self.label_smoothing = label_smoothing
        self.config = config

    def __call__(self, outputs: Any, labels: torch.Tensor, num_items_in_batch: Any = None) -> torch.Tensor:
        """Loss of a batch; under gradient accumulation `num_items_in_batch` counts the windows of all its steps."""
        if self.config is not None and self.config.problem_type in (REGRESSION, MULTI_LABEL):
            labels = as_targets(self.config, labels, outputs.logits)
            smoothed = labels
            if self.config.problem_type == MULTI_LABEL:
                smoothed = labels * (1 - self.label_smoothing) + self.label_smoothing / 2
            return head_loss(self.config, outputs.logits, smoothed, self.class_weights, count=num_items_in_batch)
        logits, of_places = outputs.logits, outputs.logits.ndim == 3
        if of_places:
            check_token_labels(labels, logits)
            logits, labels = logits.flatten(0, 1), labels.flatten()
        else:
            check_labels(labels, logits)
        weights = None if self.class_weights is None else self.class_weights.to(labels.device)
        total = F.cross_entropy(
            logits.float(),
            labels,
            weight=weights,
            reduction="sum",
            label_smoothing=self.label_smoothing,
            ignore_index=IGNORED,
        )
        n_labels = (labels != IGNORED).sum().clamp_min(1) if of_places else labels.numel()
        return total / (n_labels if num_items_in_batch is None else num_items_in_batch)


class FineTuningTrainer(AugmentedTrainer):
    """[`transformers.Trainer`] that adapts a teacher in part or layer by layer, on augmented windows if asked to.

    Args:
        *args, **kwargs: as for `Trainer`.
        adaptation: what trains: `"full"`, `"probe"` or `"lora"`, see [`dlink_hf.adaptation.adapt_teacher`]. When
            `train` returns, adapters are merged and the model is an ordinary one.
        lora_rank: rank of the adapters.
        learning_rate_decay: factor from a layer's rate to that of the layer below, see
            [`dlink_hf.adaptation.parameter_groups`]; 1 for one rate.
        head_learning_rate_multiplier: the head's rate over the full one.
        augmentation: changes the windows of each training step; none of an evaluation.

    Raises:
        ValueError: an argument is out of range, or asks for what only a teacher has and the model is none, or layers
            are to have rates of their own and the optimizer makes its own groups.
    """

    def __init__(
        self,
        *args: Any,
        adaptation: str = "full",
        lora_rank: int = 8,
        learning_rate_decay: float = 1.0,
        head_learning_rate_multiplier: float = 1.0,
        augmentation: EEGAugmentation | None = None,
        **kwargs: Any,
    ):
        check_rates(learning_rate_decay, head_learning_rate_multiplier)
        check_adaptation(adaptation, lora_rank)
        super().__init__(*args, augmentation=augmentation, **kwargs)
        if adaptation != "full" and self.model_init is not None:
            raise ValueError(
                f"`model_init` makes the whole model anew; with `adaptation={adaptation!r}` leave it out."
            )
        if (adaptation, learning_rate_decay, head_learning_rate_multiplier) != ("full", 1.0, 1.0):
            check_is_teacher(self.model, "Training a part of the model, or each layer at a rate of its own,")
        self.adaptation, self.lora_rank = adaptation, lora_rank
        self.learning_rate_decay = learning_rate_decay
        self.head_learning_rate_multiplier = head_learning_rate_multiplier

    def train(self, *args: Any, **kwargs: Any) -> Any:
        """Train; see [`transformers.Trainer.train`]. The model is an ordinary one again when it returns."""
        with adapt_teacher(self.model, self.adaptation, rank=self.lora_rank, seed=self.args.seed):
            result = super().train(*args, **kwargs)
        if self.adaptation != "full":
            # they belong to weights that are merged or frozen
            self.optimizer = self.lr_scheduler = None
        return result

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """Return the optimizer that the arguments name, with a rate for each layer where that was asked for."""
        if self.optimizer is None and (self.learning_rate_decay, self.head_learning_rate_multiplier) != (1.0, 1.0):
            cls, kwargs = self.get_optimizer_cls_and_kwargs(self.args, self.model)
            if {"params", "model", "optimizer_dict"} & set(kwargs) or not issubclass(cls, torch.optim.Optimizer):
                raise ValueError(
                    f"The optimizer {self.args.optim} makes its own groups of parameters; layers get rates of their "
                    "own with another, such as `optim='adamw_torch'`."
                )
            groups = parameter_groups(
                self.accelerator.unwrap_model(self.model),
                self.args.learning_rate,
                self.args.weight_decay,
                set(self.get_decay_parameter_names(self.model)),
                self.learning_rate_decay,
                self.head_learning_rate_multiplier,
            )
            self.optimizer_cls_and_kwargs = (cls, {**kwargs, "params": groups})
        return super().create_optimizer(model)


def make_trainer(
    model: PreTrainedModel,
    splits: Mapping[str, Dataset],
    args: TrainingArguments,
    class_weighting: str = "none",
    early_stopping_patience: int | None = None,
    group_column: str = "subject",
    adaptation: str = "full",
    lora_rank: int = 8,
    freeze_epochs: float = 0.0,
    learning_rate_decay: float = 1.0,
    head_learning_rate_multiplier: float = 1.0,
    label_smoothing: float | None = None,
    augmentation: EEGAugmentation | str | Sequence[str] | Mapping[str, float] | None = None,
    **kwargs: Any,
) -> Trainer:
    """Return a `Trainer` for a teacher or a student, on `splits["train"]`, watched on `splits["validation"]`.

    Args:
        model: with a head.
        splits: datasets `train` and, optionally, `validation`, with `input_values`, `labels` and the group column.
        args: as for `Trainer`.
        class_weighting: `"balanced"` weighs each class by N / (num_labels * its count), of several labels at once each
            where it holds by how often it does not; or `"none"`.
        early_stopping_patience: evaluations without improvement before the training stops; None for never.
        group_column: column that the splits must not share a value of.
        adaptation: what of a teacher trains: `"full"` all of it, `"probe"` its head, `"lora"` its head and low-rank
            adapters, which are merged at the end.
        lora_rank: rank of the adapters.
        freeze_epochs: epochs in which only a teacher's head trains, before everything does.
        learning_rate_decay: factor from the rate of a teacher's layer to that of the layer below, in (0, 1].
        head_learning_rate_multiplier: rate of a teacher's head over `args.learning_rate`.
        label_smoothing: share of each label that is spread over all classes; `args.label_smoothing_factor` where None.
        augmentation: changes to the training windows: names, `"time_shift,noise=0.3"`, names with probabilities, or an
            [`EEGAugmentation`] with strengths of your own.
        **kwargs: further arguments of `Trainer`, such as `processing_class` (the feature extractor), `callbacks`, and
            `model_init`, which makes the model anew for each trial of `hyperparameter_search`.

    Returns:
        the `Trainer`, ready for `train()`.

    Raises:
        ImportError: an augmentation needs braindecode, which does not load.
        ValueError: the splits share a subject; the model knows the labels by other names; weights are to be balanced
            and a class is missing from the training set; or an argument is out of range or contradicts another.
    """
    if "train" not in splits:
        raise ValueError(f"`splits` must hold a dataset named 'train', got {list(splits)}.")
    one_of("`class_weighting`", class_weighting, CLASS_WEIGHTINGS)
    if early_stopping_patience is not None and not args.load_best_model_at_end:
        raise ValueError(
            "`early_stopping_patience` needs `load_best_model_at_end=True` with `metric_for_best_model` in `args`, "
            "else the training would stop and keep its worst model."
        )
    check_groups(splits, group_column)
    for name, split in splits.items():
        check_training_windows(model, split)
        if not is_single_label(model):
            check_targets(model, split, name)
            continue
        check_all_labelled(
            split,
            name,
            "Fine-tuning needs the label of every window: leave these out, or distil (`DLinkTrainer`, `dlink distill "
            "--unlabelled`), where a teacher says what it makes of them."
            if name == "train"
            else EVALUATED_WITHOUT_LABEL,
        )
    settle_target_scale(model, splits["train"])
    weights = None
    if class_weighting == "balanced":
        weights = class_weights_of(model, splits["train"])
    if isinstance(augmentation, str):
        augmentation = parse_augmentations(augmentation)
    if augmentation is not None and not isinstance(augmentation, EEGAugmentation):
        seed = args.seed if args.data_seed is None else args.data_seed
        augmentation = EEGAugmentation(augmentation, sfreq=model.config.sfreq, seed=seed)
    callbacks = list(kwargs.pop("callbacks", None) or [])
    if early_stopping_patience is not None:
        callbacks.append(EarlyStoppingCallback(early_stopping_patience))
    if freeze_epochs != 0:
        if adaptation != "full":
            raise ValueError(
                f"`freeze_epochs` is for `adaptation='full'`; with {adaptation!r} the backbone stays frozen."
            )
        check_is_teacher(model, "`freeze_epochs`")
        callbacks.append(GradualUnfreezing(freeze_epochs))
    return FineTuningTrainer(
        model=model,
        args=args,
        train_dataset=splits["train"],
        eval_dataset=splits.get("validation"),
        data_collator=EEGDataCollator(),
        compute_metrics=compute_metrics_for(model.config, task_of(model)),
        compute_loss_func=WeightedCrossEntropy(
            weights, args.label_smoothing_factor if label_smoothing is None else label_smoothing, model.config
        ),
        callbacks=callbacks,
        adaptation=adaptation,
        lora_rank=lora_rank,
        learning_rate_decay=learning_rate_decay,
        head_learning_rate_multiplier=head_learning_rate_multiplier,
        augmentation=augmentation,
        **kwargs,
    )


__all__ = ["FineTuningTrainer", "WeightedCrossEntropy", "make_trainer"]
