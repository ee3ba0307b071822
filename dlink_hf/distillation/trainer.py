# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""transformers' `Trainer` for a studio: two stages, every term of the objective logged, only the student saved."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import torch
from torch import nn
from transformers import EarlyStoppingCallback, TrainerCallback
from transformers.trainer_utils import EvalLoopOutput

from ..data.collator import TEACHER_VALUES, EEGDataCollator
from ..data.missing_labels import EVALUATED_WITHOUT_LABEL, check_all_labelled
from ..data.model_contract import check_teacher_view, check_training_windows, label_names
from ..data.targets import check_targets, is_single_label, settle_target_scale
from ..evaluation.metrics import compute_metrics_for
from ..models.mic.token_classification import token_loss
from ..models.task_losses import mean_loss
from ..training.base_trainer import TRAINING_ARGS_NAME, StudioTrainer, check_groups, class_weights_of
from .modeling_studio import DLinkStudioModel
from .publishing import PublishingMixin
from .soft_targets import SOFT_TARGETS, check_soft_targets, views_of_soft_targets
from .teacher_batches import ROW, VIEW, NextViewCallback, NumberedCollator, NumberedRows
from .teacher_cache import TeacherCache
from .teacher_windows import Augment, NotCacheableError
from .training_args import DLinkTrainingArguments


logger = logging.getLogger(__name__)


def check_stream(
    args: DLinkTrainingArguments, label_counts: Any, augmentation: Augment | None, teacher_cache: Any
) -> None:
    """Refuse to do with a stream of windows what takes windows that can be counted and found again.

    Raises:
        ValueError: saying what, and what to do.
    """
    if args.class_weighting == "balanced" and label_counts is None:
        raise ValueError(
            "`class_weighting='balanced'` needs the number of windows of each label, which a stream does not tell. "
            "Give `label_counts=`: a folder of shards has them, `dlink_hf.data.shards.load.label_counts(path)`."
        )
    if augmentation is not None:
        raise ValueError(
            "`augmentation` takes turns by the number of a window, which a stream has not. Change the windows by the "
            "stream's own `.map(...)`, or read them as rows: `load_shards(path, streaming=False)`."
        )
    if teacher_cache is not None or args.teacher_cache_dir is not None:
        raise ValueError(
            "The teacher's stored features are found by the number of a window, which a stream has not. Leave out the "
            "cache, or read the windows as rows: `load_shards(path, streaming=False)`."
        )


def check_views_of_soft_targets(views: int, teacher_cache: Any, augmented_views: int, augmentation: Any) -> None:
    """Refuse soft targets of augmented views that the training would not show.

    Raises:
        ValueError: saying what to give.
    """
    if teacher_cache is not None:
        first = teacher_cache if isinstance(teacher_cache, TeacherCache) else teacher_cache[0]
        augmented_views = first.n_views
    if views > 1 and (augmentation is None or augmented_views != views):
        raise ValueError(
            f"The windows have soft targets of {views} augmented views each: give the `augmentation` that they were "
            f"made with, and `augmented_views={views}`; got {augmented_views} view(s)"
            f"{' and no augmentation' if augmentation is None else ''}."
        )


class SecondStageCallback(TrainerCallback):
    """No evaluation while the classifier is not being trained: its score would mislead the choice of the best."""

    def on_step_end(self, args, state, control, **kwargs):
        if args.mimic_epochs > 0 and state.epoch <= args.mimic_epochs:
            control.should_evaluate = False
        return control

    on_epoch_end = on_step_end


class DLinkTrainer(PublishingMixin, StudioTrainer):
    """Train a studio: [`transformers.Trainer`] with two stages, class weights and every term logged.

    Evaluation and prediction run only the student. What is saved is the student, the feature extractor and the
    arguments; a `checkpoint-*` folder also holds router and decoder (`training_only.safetensors`), from which
    `resume_from_checkpoint` goes on. The teacher is never written, unless `save_studio` asks for it. Training windows
    with a column `soft_targets` ([`cross_fitted_soft_targets`]) are distilled from these too. Those of the label -1,
    which have none ([`with_unlabelled`]), take part in all terms that need no label. A teacher that sees more than its
    student reads the column `teacher_input_values` (`with_teacher_view`). `create_model_card` and
    `push_to_hub` tell what evaluations have shown ([`publishing.PublishingMixin`]).

    Args:
        model ([`DLinkStudioModel`]): teacher, router and student.
        args ([`DLinkTrainingArguments`]): as for `Trainer`.
        data_collator (`Callable`, *optional*): [`EEGDataCollator`] by default.
        compute_metrics (`Callable`, *optional*): the scores of `dlink_hf.metrics` by default.
        callbacks (`list[TrainerCallback]`, *optional*): as for `Trainer`.
        teacher_cache ([`TeacherCache`], *optional*): the teacher's features of the training windows, or a list of
            them, one a teacher; no teacher is then run while training. `args.teacher_cache_dir` finds or makes them
            when the training begins.
        augmentation (`Callable`, *optional*): changes the training windows: called as `augmentation(window (1, C, T),
            view, row)`, as [`EEGAugmentation`] takes it; see `args.augmented_views`.
        label_counts (`Mapping[str, int]`, *optional*): windows of each label, for balanced class weights of a stream,
            which can't be counted: `data.shards.load.label_counts(path)`.
        **kwargs: `train_dataset`, `eval_dataset`, `processing_class` (the feature extractor) ... as for `Trainer`;
            `model_init` makes the studio anew for each trial of `hyperparameter_search`. A
            stream ([`load_shards`]) is trained from too; give it its length by `data.shards.sized`, or `max_steps`.

    Raises:
        TypeError: the model is not a studio, or the arguments are not [`DLinkTrainingArguments`].
        ValueError: training and evaluation sets share a subject; labels, channels or rate are not those of the
            student's config; weights are to be balanced and a class is missing from the training set; the cache
            was made with another teacher or other windows; or what is asked for needs windows with numbers, and
            they are streamed.
    """

    def __init__(
        self,
        model: DLinkStudioModel,
        args: DLinkTrainingArguments,
        data_collator: Callable | None = None,
        compute_metrics: Callable | None = None,
        callbacks: list[TrainerCallback] | None = None,
        teacher_cache: TeacherCache | Sequence[TeacherCache] | None = None,
        augmentation: Augment | None = None,
        label_counts: Mapping[str, int] | None = None,
        **kwargs: Any,
    ):
        if not isinstance(model, DLinkStudioModel):
            raise TypeError(
                f"DLinkTrainer trains a DLinkStudioModel, got {type(model).__name__}. Put one together with "
                "`DLinkStudioModel.from_parts(teacher, student)`; to train one of the two by itself, use `Trainer`."
            )
        if not isinstance(args, DLinkTrainingArguments):
            raise TypeError(
                f"DLinkTrainer takes DLinkTrainingArguments, got {type(args).__name__}. They are transformers' own "
                "and a few more: `DLinkTrainingArguments(output_dir=..., mimic_epochs=...)`."
            )
        if args.mimic_epochs > 0 and not model.config.uses_layers:
            raise ValueError(
                f"`mimic_epochs={args.mimic_epochs:g}` asks for a stage in which the student mimics the teacher's "
                "layers, and no term of the objective reads these: give the studio a `route_weight` or a "
                "`spectral_weight`, or leave the stage out."
            )
        evaluations = kwargs.get("eval_dataset")
        for name, dataset in (evaluations if isinstance(evaluations, dict) else {"validation": evaluations}).items():
            check_groups({"train": kwargs.get("train_dataset"), name: dataset}, args.group_column)
            check_training_windows(model, dataset)
            if is_single_label(model):
                check_all_labelled(dataset, name, EVALUATED_WITHOUT_LABEL)
            else:
                check_targets(model, dataset, name)
        train_dataset = kwargs.get("train_dataset")
        if not is_single_label(model):
            check_targets(model, train_dataset, "train", allow_unlabelled=True)
            settle_target_scale(model, train_dataset)
        check_training_windows(model, train_dataset)
        check_teacher_view(model, train_dataset)
        streamed = isinstance(train_dataset, datasets.IterableDataset)
        if not streamed and SOFT_TARGETS in (getattr(train_dataset, "column_names", None) or ()):
            config = model.student.config
            check_soft_targets(train_dataset[SOFT_TARGETS][:], config.num_labels, config.problem_type)
            check_views_of_soft_targets(
                views_of_soft_targets(train_dataset), teacher_cache, args.augmented_views, augmentation
            )
        self._class_weights: torch.Tensor | None = None
        self._n_parameters: int | None = None
        if streamed:
            check_stream(args, label_counts, augmentation, teacher_cache)
        if args.class_weighting == "balanced" and train_dataset is not None:
            names, labels = label_names(model.student), None
            if label_counts is not None:
                labels = np.repeat(range(len(names)), [label_counts.get(name, 0) for name in names])
            self._class_weights = class_weights_of(model.student, train_dataset, labels)
        self.augmentation = augmentation
        caches = [teacher_cache] if isinstance(teacher_cache, TeacherCache) else list(teacher_cache or ())
        if caches and (len(caches) != len(model.teachers) or len({cache.n_views for cache in caches}) > 1):
            raise ValueError(
                f"The studio holds {len(model.teachers)} teacher(s), and got {len(caches)} cache(s) of "
                f"{[cache.n_views for cache in caches]} view(s). Give one a teacher, in their order, of equal views."
            )
        for cache, teacher in zip(caches, model.teachers, strict=False):
            cache.check(teacher, kwargs.get("train_dataset"), augmentation, model.config.teacher_config)
        self._caches = caches
        self._next_view = NextViewCallback()
        callbacks = [SecondStageCallback(), self._next_view, *(callbacks or [])]
        if args.early_stopping_patience is not None:
            callbacks.append(EarlyStoppingCallback(args.early_stopping_patience))
        super().__init__(
            model=model,
            args=args,
            data_collator=data_collator or EEGDataCollator(),
            compute_metrics=compute_metrics
            or compute_metrics_for(model.config if model.config.labels_patches else model.student.config),
            callbacks=callbacks,
            **kwargs,
        )

    @property
    def stage(self) -> str:
        """`"mimic"` in the first `mimic_epochs` epochs, `"compress"` afterwards."""
        return "mimic" if (self.state.epoch or 0.0) < self.args.mimic_epochs else "compress"

    def train(self, *args: Any, **kwargs: Any) -> Any:
        """Train; see [`transformers.Trainer.train`]."""
        if self._caches:
            self._check_collator()
        elif self.args.teacher_cache_dir is not None:
            self._caches = self._build_caches()
        return super().train(*args, **kwargs)

    def _build_caches(self) -> list[TeacherCache]:
        """Find or make the teacher's stored features, or say why the teacher runs instead."""
        studio, views = self.accelerator.unwrap_model(self.model), self.args.augmented_views
        try:
            self._check_collator()
            if self.augmentation is not None and not views:
                raise NotCacheableError(
                    "The augmentation gives another view of each window in every epoch. `augmented_views=4` would let "
                    "four of them take turns."
                )
            folder, signal = self.args.teacher_cache_dir, studio.config.teacher_config
            return [
                TeacherCache.build(teacher, self.train_dataset, folder, self.augmentation, max(1, views), signal)
                for teacher in studio.teachers
            ]
        except NotCacheableError as error:
            logger.warning("The teacher runs in every step, its features are not stored: %s", error)
            return []

    def _check_collator(self) -> None:
        """A collator of one's own may change the windows, and then the stored features belong to others."""
        if type(self.data_collator) is EEGDataCollator:
            return
        rows = [self.train_dataset[row] for row in range(min(4, len(self.train_dataset)))]
        plain = EEGDataCollator()(rows)
        for name in [name for name in ("input_values", TEACHER_VALUES) if name in plain] * 2:
            given = self.data_collator(rows).get(name)
            if given is None or not torch.equal(torch.as_tensor(given), plain[name]):
                raise NotCacheableError("The data collator changes the windows. Give the change as `augmentation`.")

    def _set_signature_columns_if_needed(self) -> None:
        super()._set_signature_columns_if_needed()
        self._signature_columns += [name for name in (ROW, VIEW) if name not in self._signature_columns]

    def _get_dataloader(self, dataset: Any, *args: Any, is_training: bool = False, **kwargs: Any) -> Any:
        """Training batches with the teacher's stored features and the windows' views, where there are any."""
        if not is_training or not (self._caches or self.augmentation):
            return super()._get_dataloader(dataset, *args, is_training=is_training, **kwargs)
        if isinstance(dataset, datasets.Dataset):
            dataset = self._remove_unused_columns(dataset, "training")
            if self._caches and TEACHER_VALUES in dataset.column_names:
                # what the teacher makes of its windows is stored
                dataset = dataset.remove_columns(TEACHER_VALUES)
        views = self._caches[0].n_views if self._caches else self.args.augmented_views
        collator = self.data_collator
        self._next_view.rows = NumberedRows(dataset, views)
        self.data_collator = NumberedCollator(collator, self._caches, self.augmentation)
        try:
            return super()._get_dataloader(self._next_view.rows, *args, is_training=True, **kwargs)
        finally:
            self.data_collator = collator

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        """transformers' estimate; the parameters, most of them the teacher's, are counted once, not every step."""
        if self._n_parameters is None:
            self._n_parameters = self.model.num_parameters(exclude_embeddings=True)
        return 6 * inputs[self.model.main_input_name].numel() * self._n_parameters

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, torch.Tensor],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        """Return the stage's objective while training; the student's own loss while evaluating."""
        if not model.training:
            inputs = {name: value for name, value in inputs.items() if name not in (SOFT_TARGETS, TEACHER_VALUES)}
            outputs = self.accelerator.unwrap_model(model).student(**inputs)
            return (outputs.loss, outputs) if return_outputs else outputs.loss
        weights = None if self._class_weights is None else self._class_weights.to(self.args.device)
        outputs = model(**inputs, class_weights=weights, stage=self.stage)
        # of the step itself: when it is logged, the next one may be in another stage
        mimics = torch.tensor(float(self.stage == "mimic"), device=outputs.loss.device)
        self.collect_terms(outputs, mimic_stage=mimics)
        return (outputs.loss, outputs) if return_outputs else outputs.loss

    def evaluation_loop(self, *args: Any, **kwargs: Any) -> EvalLoopOutput:
        """The loop of `Trainer`, whose loss weighs windows by their batch, and counts some twice over processes."""
        output = super().evaluation_loop(*args, **kwargs)
        name = f"{kwargs.get('metric_key_prefix', 'eval')}_loss"
        if name in (output.metrics or {}) and output.predictions is not None:
            logits, labels = torch.from_numpy(output.predictions), torch.from_numpy(output.label_ids)
            config = self.studio.student.config
            if is_single_label(self.studio):
                labels = labels.long()
            of_places = self.studio.config.labels_patches
            loss = token_loss(logits, labels) if of_places else mean_loss(config, logits.double(), labels)
            output.metrics[name] = loss.item()
        return output

    def _save_weights(self, folder: Path, state_dict: dict | None) -> None:
        super()._save_weights(folder, state_dict)
        if self.args.save_studio:
            self.studio.save_pretrained(folder / "studio")


__all__ = ["TRAINING_ARGS_NAME", "DLinkTrainer"]
