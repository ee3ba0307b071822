# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""What commands do otherwise where every place of a stretch has a label (`--problem_type token_classification`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from datasets import Dataset

from ..core.config_checks import TOKENS
from ..data.description import signal_info, task_info
from ..data.place_labels import seconds_per_label
from ..distillation.training_args import DLinkTrainingArguments
from ..evaluation.predict import checkpoint_labels_patches, load_token_classifier
from ..models.mic.token_classification import MiCForEEGTokenClassification
from ..models.teacher.token_classification import DLinkTeacherForEEGTokenClassification
from .arguments import StudentArguments, TeacherArguments


# changes that move no event to another place
PLACE_AUGMENTATION = "sign_flip,amplitude_scale"
# a score that not every class has
_OF_WINDOWS = ("auroc", "auc_pr")


def labels_places(dataset: Dataset) -> bool:
    """Whether windows are stretches with a label for every place."""
    task = task_info(dataset)
    return task is not None and task["problem_type"] == TOKENS


def settle_places(args: DLinkTrainingArguments, splits: Mapping[str, Dataset]) -> None:
    """Say what the task is, and watch trainings by Cohen's kappa unless another score was asked for.

    Args:
        args: changed in place.
        splits: the stretches, by split.

    Raises:
        ValueError: no training stretch has a place of some label.
    """
    train = splits["train"]
    names = task_info(train)["names"]
    found = {label for row in train.with_format(None)["labels"][:] for label in row}
    lacking = [name for index, name in enumerate(names) if index not in found]
    if lacking:
        raise ValueError(
            f"no training {args.group_column} has a place labelled {', '.join(lacking)}, so it can't be learned. Draw "
            "another split (--split_seed), or leave that label out (--label_map)."
        )
    print(f"task: a label for every {seconds_per_label(train):g} s ({', '.join(names)}), watched by Cohen's kappa")
    if args.metric_for_best_model in _OF_WINDOWS:
        args.metric_for_best_model = "cohen_kappa"


def check_place_flags(
    teacher_args: TeacherArguments | None, student_args: StudentArguments | None, **flags: Any
) -> None:
    """Refuse flags that are not for labels of places, before anything is trained.

    Args:
        teacher_args, student_args: of the command, where it has them.
        **flags: further flags that must be unset, by name.

    Raises:
        ValueError: naming the flag, and what to do.
    """
    where = f"--problem_type {TOKENS}"
    for name, value in flags.items():
        if value:
            raise ValueError(f"--{name} is not for {where}: leave it out.")
    texts = {
        "augmentations": getattr(teacher_args, "augmentations", ""),
        "student_augmentations": getattr(student_args, "student_augmentations", ""),
    }
    for name, text in texts.items():
        if "time_shift" in text:
            raise ValueError(
                f"--{name}: time_shift moves events to other places, and their labels stay; leave it out."
            )
    if teacher_args is not None and teacher_args.teacher is None and teacher_args.teacher_backbone == "MiC":
        raise ValueError(
            f"--teacher_backbone MiC: a student's own design does not teach places yet ({where}). Take a foundation "
            "model (`dlink teachers`), or leave the flag out."
        )
    name = None if teacher_args is None else teacher_args.teacher
    if name is not None and not checkpoint_labels_patches(name):
        raise ValueError(
            f"--teacher {name} labels whole windows, and {where} needs one that labels patches: `dlink "
            f"finetune-teacher {where}` makes it, or --teacher_checkpoint fine-tunes this one for places."
        )


def load_place_teacher(name: str, dataset: Dataset) -> DLinkTeacherForEEGTokenClassification:
    """Load a teacher that labels patches, and check that its labels last as long as those of the stretches.

    Raises:
        ValueError: they do not, or the checkpoint holds another kind of model.
    """
    teacher = load_token_classifier(name)
    if not isinstance(teacher, DLinkTeacherForEEGTokenClassification):
        raise ValueError(f"--teacher {name} is a {type(teacher).__name__}; only a foundation model teaches places.")
    wanted = dataset.features["labels"].length
    if teacher.num_places != wanted:
        raise ValueError(
            f"--teacher {name} labels {teacher.num_places} places of a stretch, the stretches have {wanted}: give its "
            "--window_seconds and --seconds_per_label."
        )
    return teacher


def set_places(model: Any, dataset: Dataset) -> Any:
    """Set how many patches of a fresh head have one label, by the labels of stretches; return the model.

    Args:
        model: [`MiCForEEGTokenClassification`] or [`DLinkTeacherForEEGTokenClassification`].
        dataset: stretches.

    Raises:
        ValueError: a label does not last a whole number of the model's patches.
    """
    n_places, info = dataset.features["labels"].length, signal_info(dataset)
    is_student = isinstance(model, MiCForEEGTokenClassification)
    n_patches = info.n_times // model.config.patch_size if is_student else model.config.n_patches
    if n_patches % n_places:
        raise ValueError(
            f"A stretch of {info.duration:g} s has {n_patches} patches of the "
            f"{'student' if is_student else 'teacher'} and {n_places} labels, so a label does not last whole "
            f"patches. Give --seconds_per_label a multiple of {info.duration / n_patches:g} s, and --window_seconds a "
            "multiple of that."
        )
    model.config.patches_per_label = n_patches // n_places
    if not is_student:
        model.num_places, model.head.patches_per_label = n_places, n_patches // n_places
    return model


__all__ = [
    "PLACE_AUGMENTATION",
    "check_place_flags",
    "labels_places",
    "load_place_teacher",
    "set_places",
    "settle_places",
]
