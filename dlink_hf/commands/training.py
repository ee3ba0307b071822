# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Trainings that several commands share: budgets, plain fine-tuning, a teacher, a fresh student."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets import Dataset
from transformers import PreTrainedModel, Trainer, set_seed

from ..core.config_checks import MULTI_LABEL, REGRESSION
from ..data.aligned_windows import check_alignment
from ..data.description import signal_fields, signal_info, task_info
from ..data.model_contract import check_training_windows
from ..data.targets import check_targets
from ..distillation.student_teacher import load_teacher, student_as_teacher
from ..distillation.training_args import DLinkTrainingArguments
from ..models.mic.configuration_mic import MiCConfig
from ..models.mic.modeling_mic import MiCWithHead, student_class
from ..models.mic.token_classification import MiCForEEGTokenClassification
from ..models.teacher.configuration_teacher import BACKBONES, DLinkTeacherConfig
from ..models.teacher.modeling_teacher import DLinkTeacherWithHead, teacher_class
from ..models.teacher.token_classification import DLinkTeacherForEEGTokenClassification
from ..preprocessing.feature_extraction_eeg import EEGFeatureExtractor
from ..training.augmentation import EEGAugmentation, parse_augmentations
from ..training.finetuning import make_trainer
from ..training.probing import fit_probe
from ..training.recipe import (
    AUGMENTATION,
    EVENT_LOCKED_AUGMENTATION,
    EVENT_LOCKED_SECONDS,
    default_augmentation,
    default_steps,
)
from ..training.task_kind import evoked_evidence
from .arguments import StudentArguments, TeacherArguments
from .patch_task import PLACE_AUGMENTATION, labels_places, load_place_teacher, set_places, settle_places
from .progress import name_progress
from .windows import check_people, write_people


# comes with the package, pre-trained without labels
PACKAGED_TEACHER = "dlink-teacher-cbramod-4"
# `--teacher_backbone` of the student's own design
OWN_DESIGN = "MiC"
# of windows whose labels are no classes
NUMBER_AUGMENTATION = "time_shift,sign_flip"
# scores of which less is better, where a training is to keep its best weights
ERRORS = ("mae", "rmse")


def settle_budget(args: DLinkTrainingArguments, n_windows: int, has_validation: bool) -> None:
    """Set the number of steps by the recipe, where neither steps nor epochs were given.

    Without validation subjects nothing is evaluated.

    Args:
        args: changed in place.
        n_windows: training windows.
        has_validation: whether there is a validation split to evaluate on.
    """
    if args.max_steps <= 0 and args.num_train_epochs <= 0:
        args.max_steps = default_steps(n_windows)
    if not has_validation:
        args.eval_strategy = "no"


def settle_task(args: DLinkTrainingArguments, splits: Mapping[str, Dataset]) -> None:
    """Check labels that are numbers, or several at once; set what of the recipe fits them, and say what is left out.

    Numbers have no classes to weigh, and are watched by R2 unless another score was asked for; of errors the least is
    the best.

    Args:
        args: changed in place.
        splits: the windows, by split.

    Raises:
        ValueError: a label is missing or not finite, or never varies among the training windows.
    """
    task = task_info(splits["train"])
    if task is None:
        return
    if labels_places(splits["train"]):
        settle_places(args, splits)
        return
    config = MiCConfig(problem_type=task["problem_type"], id2label=dict(enumerate(task["names"])))
    for name, split in splits.items():
        check_targets(config, split, name)
    names = ", ".join(task["names"])
    if task["problem_type"] == MULTI_LABEL:
        print(f"task: several labels at once ({names}): no label smoothing, each label weighed by how often it holds")
        return
    print(f"task: numbers ({names}): no label smoothing and no weights of classes")
    args.class_weighting = "none"
    if args.metric_for_best_model == "auroc":
        args.metric_for_best_model = "r2"
    if (args.metric_for_best_model or "").removeprefix("eval_") in ERRORS:
        args.greater_is_better = False


def plain_arguments(args: DLinkTrainingArguments, output_dir: Path, **changes: Any) -> DLinkTrainingArguments:
    """The same arguments for a training without distillation, in a folder of its own."""
    plain = copy.copy(args)
    for name, value in {"output_dir": str(output_dir), "mimic_epochs": 0.0, **changes}.items():
        setattr(plain, name, value)
    return plain


def augmentation_of(text: str, dataset: Dataset) -> str | None:
    """What `--augmentations` means for these windows: names as `parse_augmentations` reads them, or None.

    Args:
        text: `auto`, `none`, or names.
        dataset: whose windows are augmented.
    """
    if text in ("none", ""):
        return None
    return default_augmentation(signal_info(dataset).duration) if text == "auto" else text


def settle_augmentation(text: str, train: Dataset, group_column: str) -> str:
    """Decide what `auto` means for a set, by what tells its classes apart, and say it.

    Where means of short stretches find the classes of unseen training subjects ([`evoked_evidence`]), the windows are
    locked to an event, and their polarity and latency are left as they are.

    Args:
        text: `auto`, `none`, or names; only `auto` is decided.
        train: labelled training windows.
        group_column: column that tells subjects apart.

    Returns:
        names, as `parse_augmentations` reads them, or `none`.
    """
    if text != "auto":
        return text
    if labels_places(train):
        return PLACE_AUGMENTATION
    if task_info(train) is not None:
        # an amplitude may be the very thing that is told
        return NUMBER_AUGMENTATION if signal_info(train).duration > EVENT_LOCKED_SECONDS else "none"
    evidence = evoked_evidence(train, group_column)
    print(f"task: {evidence['text']}")
    return EVENT_LOCKED_AUGMENTATION if evidence["event_locked"] else AUGMENTATION


def make_augmentation(text: str, dataset: Dataset, seed: int) -> EEGAugmentation | None:
    """The augmentation that `--student_augmentations` names, None for none."""
    names = augmentation_of(text, dataset)
    if names is None:
        return None
    return EEGAugmentation(parse_augmentations(names), sfreq=signal_info(dataset).sfreq, seed=seed)


def train_plain(
    model: PreTrainedModel, splits: Mapping[str, Dataset], args: DLinkTrainingArguments, name: str, **kwargs: Any
) -> Trainer:
    """Train a model only by its labels, with the classes, subjects and patience that the arguments say."""
    if model.config.problem_type in (REGRESSION, MULTI_LABEL):
        kwargs["label_smoothing"] = 0.0
    trainer = make_trainer(
        model,
        splits,
        args,
        class_weighting=args.class_weighting,
        early_stopping_patience=args.early_stopping_patience,
        group_column=args.group_column,
        **kwargs,
    )
    name_progress(trainer, name).train(resume_from_checkpoint=args.resume_from_checkpoint)
    return trainer


@dataclass(frozen=True)
class PreparedTeacher:
    """A teacher that is ready to be distilled.

    Args:
        model: fine-tuned for the task.
        folder: where it is; a Hub id or short name where it was not trained here.
        description: where it comes from, for the card.
        started_from: the checkpoint that it goes back to, None for random weights.
        is_unseen: whether it is known that the checkpoint has seen none of the subjects who are scored.
    """

    model: DLinkTeacherWithHead
    folder: Path | str
    description: str
    started_from: str | None
    is_unseen: bool


def prepare_teacher(
    splits: Mapping[str, Dataset],
    extractor: EEGFeatureExtractor | None,
    teacher_args: TeacherArguments,
    args: DLinkTrainingArguments,
    source: str,
) -> PreparedTeacher:
    """Load a fine-tuned teacher, or fine-tune one, pre-trained or fresh.

    Args:
        splits: `train` and `validation`, of all that the teacher sees.
        extractor: saved next to the teacher.
        teacher_args: a checkpoint, or the backbone and how long to train it.
        args: of the distillation; the teacher's trainer takes them, with its own steps and learning rate.
        source: what the recordings are; noted with the teacher, with the subjects it has seen.

    Raises:
        ValueError: the teacher's labels, channels or rate are not those of the windows, it has seen subjects who are
            scored, or one argument contradicts another.
    """
    given = teacher_args.teacher_checkpoint != TeacherArguments().teacher_checkpoint
    if teacher_args.teacher is not None and given:
        raise ValueError(
            "--teacher takes a teacher as it is, --teacher_checkpoint one that is fine-tuned first: give one of them."
        )
    if teacher_args.teacher is not None:
        if teacher_args.trainer_fields() != TeacherArguments().trainer_fields():
            raise ValueError(
                "--teacher takes a teacher as it is: --adaptation, --augmentations and what else says how one is "
                "fine-tuned do nothing to it. Leave them out, or start from it with --teacher_checkpoint."
            )
        is_unseen = check_people(teacher_args.teacher, source, splits, args.group_column)
        of_places = labels_places(splits["train"])
        load: Any = (lambda name: load_place_teacher(name, splits["train"])) if of_places else load_teacher
        teacher = load(teacher_args.teacher)
        check_training_windows(teacher, splits["train"])
        check_alignment(teacher_args.teacher, splits["train"])
        told = f"taken from {teacher_args.teacher}"
        return PreparedTeacher(teacher, teacher_args.teacher, told, teacher_args.teacher, is_unseen)
    if teacher_args.teacher_backbone == OWN_DESIGN:
        return _prepare_own_design(splits, extractor, teacher_args, args, source)
    checkpoint = choose_checkpoint(teacher_args, splits, source, args.group_column)
    is_unseen = checkpoint is None or check_people(checkpoint, source, splits, args.group_column)
    of_places = labels_places(splits["train"])
    probes = teacher_args.probe_first and checkpoint is not None and not of_places
    head = {"head_size": None} if probes else {}
    teacher = _start_teacher(
        teacher_args, checkpoint, {**signal_fields(splits["train"]), **head}, args.seed, of_places
    )
    if of_places:
        set_places(teacher, splits["train"])
    if probes:
        fit_probe(teacher, splits["train"], splits.get("validation"))
    folder = Path(args.output_dir) / "teacher"
    epochs = teacher_args.teacher_epochs
    if (teacher_args.teacher_steps if epochs is None else epochs) > 0 or not probes:
        budget = (
            {"max_steps": teacher_args.teacher_steps}
            if epochs is None
            else {"max_steps": -1, "num_train_epochs": epochs}
        )
        plain = plain_arguments(
            args,
            folder / "training",
            **budget,
            resume_from_checkpoint=None,
            learning_rate=teacher_args.teacher_learning_rate,
        )
        fields = teacher_args.trainer_fields()
        fields["augmentation"] = augmentation_of(fields["augmentation"], splits["train"])
        train_plain(teacher, splits, plain, "teacher", processing_class=extractor, **fields)
    teacher.save_pretrained(folder)
    write_people(folder, source, splits, args.group_column, started_from=[checkpoint])
    if extractor is not None:
        extractor.save_pretrained(folder)
    told = (
        "trained from random weights on the training subjects of these recordings; no published weights"
        if checkpoint is None
        else f"fine-tuned from {checkpoint} on the training subjects of these recordings"
    )
    return PreparedTeacher(teacher, folder, told, checkpoint, is_unseen)


def _prepare_own_design(
    splits: Mapping[str, Dataset],
    extractor: EEGFeatureExtractor | None,
    teacher_args: TeacherArguments,
    args: DLinkTrainingArguments,
    source: str,
) -> PreparedTeacher:
    """A teacher of the student's own design, size `base`, trained as a student is."""
    folder = Path(args.output_dir) / "teacher"
    set_seed(args.seed)
    signal = signal_fields(splits["train"])
    network = student_class(signal.get("problem_type"))(MiCConfig.from_size("base", **signal))
    plain = plain_arguments(args, folder / "training", max_steps=args.max_steps, resume_from_checkpoint=None)
    train_plain(
        network,
        splits,
        plain,
        "teacher",
        processing_class=extractor,
        label_smoothing=teacher_args.label_smoothing,
        augmentation=augmentation_of(teacher_args.augmentations, splits["train"]),
    )
    network.save_pretrained(folder)
    write_people(folder, source, splits, args.group_column)
    if extractor is not None:
        extractor.save_pretrained(folder)
    told = "a student of size base that sees the whole recordings, trained on their training subjects"
    return PreparedTeacher(student_as_teacher(network.eval()), folder, told, None, True)


def choose_checkpoint(
    teacher_args: TeacherArguments, splits: Mapping[str, Dataset], source: str, group_column: str
) -> str | None:
    """The checkpoint that a teacher starts from, None for random weights; `auto` says what it takes and why.

    Raises:
        ValueError: `--teacher_checkpoint` names one that contradicts another flag.
    """
    name, defaults = teacher_args.teacher_checkpoint, TeacherArguments()
    own = [
        flag
        for flag in ("teacher_backbone", "teacher_layers", "teacher_input_scale")
        if getattr(teacher_args, flag) != getattr(defaults, flag)
    ]
    if name == "none":
        return None
    if name != "auto":
        if own:
            raise ValueError(f"--{own[0]} is what --teacher_checkpoint says itself: leave it out.")
        return name
    if own:
        return None
    reason = _packaged_teacher_unfit(splits, source, group_column)
    if reason is None:
        return PACKAGED_TEACHER
    print(
        f"teacher: random weights, since {PACKAGED_TEACHER} {reason}. A teacher that starts from published weights "
        "knows more: --teacher_checkpoint braindecode/cbramod-pretrained"
    )
    return None


def _packaged_teacher_unfit(splits: Mapping[str, Dataset], source: str, group_column: str) -> str | None:
    """Why the packaged teacher can't be taken for these windows; None where it can."""
    info = signal_info(splits["train"])
    config = DLinkTeacherConfig.from_pretrained(PACKAGED_TEACHER)
    if info.sfreq != config.sfreq or info.n_times % config.patch_size:
        return (
            f"reads whole patches of {config.patch_size} samples at {config.sfreq:g} Hz, and these windows have "
            f"{info.n_times} at {info.sfreq:g} Hz"
        )
    try:
        check_people(PACKAGED_TEACHER, source, splits, group_column)
    except ValueError:
        return "has seen some of the subjects who are scored here (in its pre-training, without labels)"
    return None


def _start_teacher(
    teacher_args: TeacherArguments, checkpoint: str | None, signal: dict[str, Any], seed: int, of_places: bool = False
) -> Any:
    """A teacher to be fine-tuned: pre-trained weights with a head for this montage and these labels, or fresh ones."""
    set_seed(seed)
    model_class: Any = DLinkTeacherForEEGTokenClassification
    if not of_places:
        model_class = teacher_class(signal.get("problem_type"))
    if checkpoint is not None:
        return model_class.from_pretrained(checkpoint, ignore_mismatched_sizes=True, **signal)
    backbone = teacher_args.teacher_backbone
    if backbone not in BACKBONES:
        raise ValueError(f"--teacher_backbone must be one of {', '.join(BACKBONES)}, got {backbone!r}.")
    config = DLinkTeacherConfig(
        backbone=backbone,
        backbone_kwargs={BACKBONES[backbone].depth_argument: teacher_args.teacher_layers},
        input_scale=teacher_args.teacher_input_scale,
        **signal,
    )
    return model_class(config)


def make_student(
    splits: Mapping[str, Dataset], student_args: StudentArguments, seed: int, **fields: Any
) -> MiCWithHead | MiCForEEGTokenClassification:
    """A fresh student, or a published one with a head for these labels.

    Args:
        splits: `train` tells montage, rate, window and labels.
        student_args: size, or checkpoint.
        seed: of the weights.
        **fields: further fields of a fresh student's config: `mimic_size` and `patch_size` of the teacher.
    """
    signal = signal_fields(splits["train"])
    set_seed(seed)
    of_places = labels_places(splits["train"])
    model_class: Any = MiCForEEGTokenClassification if of_places else student_class(signal.get("problem_type"))
    if student_args.student is not None:
        # the published montage gives way to the one at hand; the weights depend on neither
        student = model_class.from_pretrained(student_args.student, ignore_mismatched_sizes=True, **signal)
    else:
        student = model_class(MiCConfig.from_size(student_args.student_size, **signal, **fields))
    return set_places(student, splits["train"]) if of_places else student


__all__ = [
    "PACKAGED_TEACHER",
    "PreparedTeacher",
    "augmentation_of",
    "choose_checkpoint",
    "make_augmentation",
    "make_student",
    "plain_arguments",
    "prepare_teacher",
    "settle_augmentation",
    "settle_budget",
    "train_plain",
]
