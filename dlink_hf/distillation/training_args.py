# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Arguments of a distillation: transformers' own, and the few that it adds."""

from __future__ import annotations

from dataclasses import dataclass, field

from transformers import TrainingArguments

from ..core.checks import one_of
from ..training.base_trainer import CLASS_WEIGHTINGS


@dataclass
class DLinkTrainingArguments(TrainingArguments):
    """[`transformers.TrainingArguments`], the two stages of a distillation, and how classes and subjects are treated.

    Args:
        mimic_epochs (`float`, defaults to 0.0):
            Length of the first stage, in epochs out of `num_train_epochs`: feature and spectral terms only. The rest
            is the second stage, all terms. 0 leaves the first stage out, `num_train_epochs` the second.
        class_weighting (`str`, defaults to `"none"`):
            `"balanced"` weighs each class by N / (num_labels * its count) in the training set, in the cross-entropies
            of student and router.
        group_column (`str`, defaults to `"subject"`):
            Column of the datasets that training and evaluation sets must not share a value of; `"recording"` for the
            runs of a single subject.
        early_stopping_patience (`int`, *optional*):
            Stop after this many evaluations without a better `metric_for_best_model`; evaluations begin with the
            second stage.
        save_studio (`bool`, defaults to `False`):
            Save teacher, router and decoder too, in a folder `studio` next to the student.
        teacher_cache_dir (`str`, *optional*):
            Compute the teacher's features of all training windows once, keep them in this folder, and train from them;
            see [`TeacherCache`]. The teacher runs in every step by default.
        augmented_views (`int`, defaults to 0):
            With an augmentation: views of each window that take turns, one an epoch, the first of them the window
            itself; they can be cached. 0 for another view in every epoch, which can't.

    Raises:
        ValueError: an argument is out of range or contradicts another; the message names it.
    """

    mimic_epochs: float = field(
        default=0.0, metadata={"help": "Epochs of the mimic stage (feature and spectral terms only), out of all."}
    )
    class_weighting: str = field(
        default="none", metadata={"help": "'balanced' weighs each class by the inverse of its frequency, or 'none'."}
    )
    group_column: str = field(
        default="subject", metadata={"help": "Column that training and evaluation must not share a value of."}
    )
    early_stopping_patience: int | None = field(
        default=None, metadata={"help": "Stop after this many evaluations without improvement (second stage only)."}
    )
    save_studio: bool = field(
        default=False, metadata={"help": "Also save teacher, router and decoder, in a folder `studio`."}
    )
    teacher_cache_dir: str | None = field(
        default=None,
        metadata={"help": "Compute the teacher's features once, keep them in this folder, and train from them."},
    )
    augmented_views: int = field(
        default=0,
        metadata={"help": "Views of an augmented window that take turns, one an epoch; 0 for ever new ones."},
    )

    def __post_init__(self):
        super().__post_init__()
        if self.augmented_views < 0:
            raise ValueError(f"`augmented_views` must be zero or more, got {self.augmented_views}.")
        one_of("`class_weighting`", self.class_weighting, CLASS_WEIGHTINGS)
        # with neither epochs nor steps, a command sets the steps later
        counts_epochs = self.max_steps <= 0 < self.num_train_epochs
        if not 0 <= self.mimic_epochs or (counts_epochs and self.mimic_epochs > self.num_train_epochs):
            raise ValueError(
                f"`mimic_epochs` must lie between 0 and `num_train_epochs` ({self.num_train_epochs}), got "
                f"{self.mimic_epochs}."
            )
        watches = self.load_best_model_at_end or self.early_stopping_patience is not None
        if watches and counts_epochs and self.mimic_epochs >= self.num_train_epochs:
            raise ValueError(
                "`mimic_epochs` leaves no second stage, so the classifier is never trained and there is no best model "
                "to watch for: lower `mimic_epochs`, or leave `load_best_model_at_end` and `early_stopping_patience`."
            )
        if self.early_stopping_patience is not None and self.early_stopping_patience < 1:
            raise ValueError(
                f"`early_stopping_patience` must be at least one evaluation, got {self.early_stopping_patience}; "
                "leave it out for a training of full length."
            )
        if self.label_smoothing_factor:
            raise ValueError(
                f"`label_smoothing_factor` ({self.label_smoothing_factor}) has no part in the objective of a "
                "distillation, in which the teacher's logits soften the labels; see `kd_temperature`."
            )
        if self.early_stopping_patience is not None and not self.load_best_model_at_end:
            raise ValueError(
                "`early_stopping_patience` needs `load_best_model_at_end=True` with `metric_for_best_model`, else the "
                "training would stop and keep its worst model."
            )


__all__ = ["DLinkTrainingArguments"]
