# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""What trainers share: arguments on disk without tokens; augmented windows; a studio's terms and its student."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import datasets
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import Trainer, TrainingArguments
from transformers.trainer import TRAINER_STATE_NAME, TRAINING_ARGS_NAME as PICKLED_ARGS_NAME
from transformers.trainer_utils import HubStrategy
from transformers.utils import SAFE_WEIGHTS_NAME

from ..core.atomic_files import staged
from ..core.config_checks import MULTI_LABEL, REGRESSION
from ..data.model_contract import label_names
from ..data.splits import check_no_shared_subjects
from ..data.targets import label_weights, target_values
from ..hub.publish import publish_folder
from .augmentation import EEGAugmentation


logger = logging.getLogger(__name__)

TRAINING_ARGS_NAME = "training_args.json"
TRAINING_ONLY_NAME = "training_only.safetensors"
CLASS_WEIGHTINGS = ("none", "balanced")


def balanced_class_weights(labels: Any, num_labels: int) -> torch.Tensor:
    """Return the weights N / (num_labels * count), as scikit-learn's `class_weight="balanced"`.

    Args:
        labels: (N,) class indices, or (N, S) of places; those without a label, -1 or -100, are not counted.
        num_labels: number of classes.

    Returns:
        (num_labels,) float32.

    Raises:
        ValueError: a class does not occur.
    """
    labels = torch.as_tensor(labels)
    counts = torch.bincount(labels[labels >= 0], minlength=num_labels).float()
    absent = (counts == 0).nonzero().flatten().tolist()
    if absent:
        raise ValueError(f"The training set holds no window of class {absent}; balanced weights need every class.")
    return counts.sum() / (num_labels * counts)


def class_weights_of(model: nn.Module, dataset: Any, labels: Any = None) -> torch.Tensor:
    """Return balanced weights of a model's classes, or of its labels where several hold at once.

    Args:
        model: a student or a teacher.
        dataset: training windows.
        labels: of the windows, where the dataset can't tell them.

    Returns:
        (num_labels,) float32.

    Raises:
        ValueError: a class does not occur, or the model gives numbers.
    """
    config = model.config
    if config.problem_type == REGRESSION:
        raise ValueError("`class_weighting='balanced'` is for classes; a regression has none: leave it at 'none'.")
    if config.problem_type == MULTI_LABEL:
        return torch.from_numpy(label_weights(target_values(dataset), label_names(model))).float()
    return balanced_class_weights(dataset["labels"][:] if labels is None else labels, config.num_labels)


def check_groups(splits: Mapping[str, Any], group_column: str) -> None:
    """Refuse splits that share a subject, or that can't be checked because they lack the column that was asked for.

    Args:
        splits: name -> dataset; None, streams and datasets without named columns are left out.
        group_column: column that two splits must not share a value of.

    Raises:
        ValueError: two splits share a value of the column, or a split lacks a column other than `"subject"`.
    """
    streams = [name for name, split in splits.items() if isinstance(split, datasets.IterableDataset)]
    if streams and len(splits) > 1 and None not in splits.values():
        logger.warning(
            "%s: a stream does not tell its subjects before it is read, so they are not compared with those of other "
            "splits. `dlink prepare` keeps them apart.",
            " and ".join(map(repr, streams)),
        )
    known = {name: split for name, split in splits.items() if getattr(split, "column_names", None)}
    known = {name: split for name, split in known.items() if name not in streams}
    lacking = [name for name, split in known.items() if group_column not in split.column_names]
    if lacking and group_column != "subject":
        raise ValueError(
            f"`group_column` is {group_column!r}, which {' and '.join(map(repr, lacking))} lack(s); the columns are "
            f"{known[lacking[0]].column_names}. Name the column that says which subject, or run, a window is of."
        )
    if lacking:
        logger.warning(
            "%s: no column 'subject', so nothing keeps a subject out of two splits", " and ".join(map(repr, lacking))
        )
    check_no_shared_subjects({name: split for name, split in known.items() if name not in lacking}, group_column)


def last_whole_checkpoint(folder: str | Path) -> Path:
    """The last `checkpoint-*` of a training that was written to its end; those that were not are named in a warning.

    Args:
        folder: `output_dir` of the training.

    Raises:
        ValueError: there is none.
    """
    numbered = [path for path in Path(folder).glob("checkpoint-*") if path.name.rsplit("-", 1)[1].isdigit()]
    for path in sorted(numbered, key=lambda path: int(path.name.rsplit("-", 1)[1]), reverse=True):
        try:
            # written last
            json.loads((path / TRAINER_STATE_NAME).read_text(encoding="utf-8"))
            return path
        except (OSError, ValueError):
            logger.warning("%s was not written to its end; the one before it is taken", path)
    raise ValueError(f"{folder} holds no whole checkpoint to resume from. Start without `resume_from_checkpoint`.")


class BaseTrainer(Trainer):
    """A `Trainer` that writes its arguments as JSON, access tokens masked, and publishes checkpoints only.

    transformers pickles the arguments instead (`training_args.bin`), `hub_token` in clear among them. A checkpoint
    that is published while training goes on (`push_to_hub=True`) brings the files of
    [`dlink_hf.hub.publish.publishable_files`]: the state of the training stays in `output_dir`.

    Args:
        *args, **kwargs: as for `Trainer`. `model_init` is taken beside `model`, against which the windows are checked:
            it makes the model anew for every `train()`, and so for each trial of `hyperparameter_search`.
    """

    def __init__(self, *args: Any, **kwargs: Any):
        model_init = kwargs.pop("model_init", None) if kwargs.get("model") is not None else None
        super().__init__(*args, **kwargs)
        if model_init is not None:
            self.model_init = model_init
        if self.args.push_to_hub and self.args.hub_strategy in (HubStrategy.CHECKPOINT, HubStrategy.ALL_CHECKPOINTS):
            logger.warning(
                "hub_strategy=%r publishes the model at every checkpoint, like 'every_save'. The state of the "
                "optimizer is a pickle and stays here: resume from `output_dir`.",
                self.args.hub_strategy.value,
            )

    def _save_weights(self, folder: Path, state_dict: dict | None) -> None:
        model = self.accelerator.unwrap_model(self.model, keep_torch_compile=False)
        model.save_pretrained(folder, state_dict=state_dict)

    def _save(self, output_dir: str | None = None, state_dict: dict | None = None) -> None:
        if not self.args.should_save:
            return
        folder = Path(output_dir or self.args.output_dir)
        self._save_weights(folder, state_dict)
        if self.processing_class is not None:
            self.processing_class.save_pretrained(folder)
        # one that an earlier version left may hold a token
        (folder / PICKLED_ARGS_NAME).unlink(missing_ok=True)
        with staged(folder) as partial:
            (partial / TRAINING_ARGS_NAME).write_text(_shareable(self.args) + "\n", encoding="utf-8")

    def _push_from_checkpoint(self, checkpoint_folder: str) -> None:
        """Publish the model of a `checkpoint-*` folder; the state of the training stays here."""
        if not self.is_world_process_zero() or self.args.hub_strategy == HubStrategy.END:
            return
        publish_folder(
            checkpoint_folder,
            self.hub_model_id,
            commit_message=f"Training in progress, step {self.state.global_step}",
            token=self.args.hub_token,
            revision=self.args.hub_revision,
        )


def _shareable(args: TrainingArguments) -> str:
    """The arguments as JSON, without tokens and without folders of this machine: the file is published."""
    shown = {
        name: Path(value).name if isinstance(value, str) and Path(value).is_absolute() else value
        for name, value in args.to_dict().items()
    }
    return json.dumps(shown, indent=2)


class AugmentedTrainer(BaseTrainer):
    """A `Trainer` that changes the windows of each training step, and none of an evaluation.

    Args:
        *args, **kwargs: as for `Trainer`.
        augmentation: the changes; None for none.
    """

    def __init__(self, *args: Any, augmentation: EEGAugmentation | None = None, **kwargs: Any):
        self.augmentation = augmentation
        self._batch = (-1, 0)  # training step, and the number of the batch within it
        super().__init__(*args, **kwargs)

    def training_step(self, model: nn.Module, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> torch.Tensor:
        """Run one batch forth and back, its windows augmented."""
        if self.augmentation is not None:
            # the random numbers depend only on the step: a training that is resumed sees the same windows
            step = self.state.global_step
            self._batch = (step, self._batch[1] + 1 if self._batch[0] == step else 0)
            augmented = self.augmentation(inputs["input_values"], *self._batch, self.args.process_index)
            inputs = {**inputs, "input_values": augmented}
        return super().training_step(model, inputs, *args, **kwargs)


class StudioTrainer(BaseTrainer):
    """A `Trainer` that logs every term of a studio's objective and saves the studio's student.

    A `checkpoint-*` folder holds the studio's `training_only_state_dict()` too, from which training resumes.

    Args:
        *args, **kwargs: as for `Trainer`; the model has a `student`.
    """

    # whether all processes have the same terms, so that these can be added up over processes
    _same_terms = True

    def __init__(self, *args: Any, **kwargs: Any):
        self._term_sums: dict[str, torch.Tensor] = {}
        self._saving_checkpoint = False
        super().__init__(*args, **kwargs)

    @property
    def studio(self) -> Any:
        """The studio in training, without what wraps it for several processes."""
        return self.accelerator.unwrap_model(self.model)

    def train(self, resume_from_checkpoint: str | bool | None = None, *args: Any, **kwargs: Any) -> Any:
        """Train; see [`transformers.Trainer.train`].

        A training that was stopped and resumed ends with the bits of one that was not, on the same machine with the
        same number of threads, processes and windows a step. Elsewhere sums are taken in another order: the two agree
        at first to rounding, and drift apart as trainings do.

        Args:
            resume_from_checkpoint: a `checkpoint-*` folder; True for the last of `args.output_dir` that is whole.
            *args, **kwargs: as for `Trainer`.

        Raises:
            ValueError: there is no whole checkpoint, or it is one of another studio or of batches of another size.
        """
        if resume_from_checkpoint is True:
            resume_from_checkpoint = str(last_whole_checkpoint(self.args.output_dir))
        # steps after the last log of an earlier training belong to no log of this one
        self._term_sums = {}
        return super().train(resume_from_checkpoint, *args, **kwargs)

    @property
    def windows_per_step(self) -> int:
        """Windows of an optimizer's step, over all processes."""
        return self.args.train_batch_size * self.args.gradient_accumulation_steps * self.args.world_size

    def collect_terms(self, outputs: Any, **more: torch.Tensor) -> None:
        """Add up the terms of a step on the device: reading them out each time would stall it."""
        terms = {**outputs.losses, **more}
        if outputs.router_weights is not None:
            for layer, weight in enumerate(outputs.router_weights.detach().float().mean(0)):
                terms[f"router_weight_{layer + 1}"] = weight
        for name, term in terms.items():
            # a term that only some steps have is averaged over these
            step = torch.stack([term.float(), torch.ones_like(term, dtype=torch.float32)])
            self._term_sums[name] = self._term_sums.get(name, 0) + step

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Log as `Trainer` does; to the training loss add the mean of every term since the last log."""
        if "loss" in logs and self._term_sums:
            names = sorted(self._term_sums)
            sums = torch.stack([self._term_sums[name] for name in names])
            if self._same_terms:
                sums = self.accelerator.reduce(sums, reduction="sum")
            means = (sums[:, 0] / sums[:, 1]).tolist()
            logs = {**logs, **dict(zip(names, means, strict=True))}
            self._term_sums = {}
        super().log(logs, *args, **kwargs)

    def _save_weights(self, folder: Path, state_dict: dict | None) -> None:
        self.studio.student.save_pretrained(folder)
        if self._saving_checkpoint:
            weights = {k: v.contiguous() for k, v in self.studio.training_only_state_dict().items()}
            with staged(folder) as partial:
                metadata = {"format": "pt", "windows_per_step": str(self.windows_per_step)}
                save_file(weights, partial / TRAINING_ONLY_NAME, metadata=metadata)

    def _save_checkpoint(self, *args: Any, **kwargs: Any) -> None:
        self._saving_checkpoint = True
        try:
            super()._save_checkpoint(*args, **kwargs)
        finally:
            self._saving_checkpoint = False

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        """Load the student and what else the training needs.

        Raises:
            FileNotFoundError: the folder is not a checkpoint of a distillation.
            ValueError: it is one of another studio, or of a training that took other batches.
        """
        folder = Path(resume_from_checkpoint)
        expected = (SAFE_WEIGHTS_NAME, TRAINING_ONLY_NAME, TRAINER_STATE_NAME)
        missing = [name for name in expected if not (folder / name).is_file()]
        if missing:
            raise FileNotFoundError(
                f"{folder} lacks {' and '.join(missing)}. A distillation resumes from a `checkpoint-*` folder that "
                f"{type(self).__name__} wrote; a published student holds no router to go on with."
            )
        with safe_open(folder / TRAINING_ONLY_NAME, "pt") as file:
            before = int((file.metadata() or {}).get("windows_per_step", self.windows_per_step))
        if before != self.windows_per_step:
            raise ValueError(
                f"{folder} is of a training of {before} windows a step, this one takes {self.windows_per_step} (batch "
                f"{self.args.train_batch_size} x accumulation {self.args.gradient_accumulation_steps} x processes "
                f"{self.args.world_size}): some windows of the epoch would be seen twice, or not at all. Set "
                "`per_device_train_batch_size` or `gradient_accumulation_steps` so that the product is the same."
            )
        studio = self.accelerator.unwrap_model(self.model if model is None else model)
        rest, own = load_file(folder / TRAINING_ONLY_NAME), studio.training_only_state_dict()
        unfit = sorted(set(rest) ^ set(own) | {k for k in set(rest) & set(own) if rest[k].shape != own[k].shape})
        if unfit:
            raise ValueError(f"{folder / TRAINING_ONLY_NAME} does not fit this studio: {', '.join(unfit)}.")
        studio.student.load_state_dict(load_file(folder / SAFE_WEIGHTS_NAME))
        studio.load_state_dict(rest, strict=False)

    def _load_best_model(self) -> None:
        self._load_from_checkpoint(self.state.best_model_checkpoint)


__all__ = [
    "CLASS_WEIGHTINGS",
    "TRAINING_ARGS_NAME",
    "TRAINING_ONLY_NAME",
    "AugmentedTrainer",
    "BaseTrainer",
    "StudioTrainer",
    "balanced_class_weights",
    "check_groups",
    "class_weights_of",
    "last_whole_checkpoint",
]
