# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""`dlink distill`: recordings, teacher, routed and spectral distillation, student, scores, card and plots."""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from datasets import Dataset, DatasetDict
from transformers import PreTrainedModel, Trainer, set_seed

from ..data.aligned_windows import check_alignment
from ..data.description import signal_fields
from ..data.model_contract import check_training_windows
from ..distillation.configuration_router import DLinkRouterConfig
from ..distillation.configuration_studio import DLinkStudioConfig
from ..distillation.modeling_studio import DLinkStudioModel
from ..distillation.trainer import DLinkTrainer
from ..distillation.training_args import DLinkTrainingArguments
from ..models.mic.configuration_mic import MiCConfig
from ..models.mic.modeling_mic import MiCForEEGClassification
from ..models.teacher.configuration_teacher import BACKBONES, DLinkTeacherConfig
from ..models.teacher.modeling_teacher import DLinkTeacherForEEGClassification
from ..models.token_grid import student_fields
from ..preprocessing.feature_extraction_eeg import EEGFeatureExtractor
from ..training.finetuning import make_trainer
from ..training.probing import fit_probe
from .arguments import TRAINING_DEFAULTS, DataArguments, DistillArguments, StudentArguments, TeacherArguments, parse
from .progress import name_progress
from .report import write_report
from .windows import check_people, load_splits, write_people


DESCRIPTION = (
    "Fine-tune a foundation model on your recordings (or take a teacher that is), distil it into a small student, and "
    "compare both with the same student trained without a teacher, on people that neither has seen."
)


def _plain_arguments(args: DLinkTrainingArguments, output_dir: Path, **changes: Any) -> DLinkTrainingArguments:
    """The same arguments for a training without distillation, in a folder of its own."""
    plain = copy.copy(args)
    for name, value in {"output_dir": str(output_dir), "mimic_epochs": 0.0, **changes}.items():
        setattr(plain, name, value)
    return plain


def train_plain(
    model: PreTrainedModel, splits: Mapping[str, Dataset], args: DLinkTrainingArguments, name: str, **kwargs: Any
) -> Trainer:
    """Train a model only by cross-entropy, with the classes, subjects and patience that the arguments say."""
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


def prepare_teacher(
    splits: Mapping[str, Dataset],
    extractor: EEGFeatureExtractor | None,
    teacher_args: TeacherArguments,
    args: DLinkTrainingArguments,
    source: str,
) -> tuple[DLinkTeacherForEEGClassification, Path | None]:
    """Load a fine-tuned teacher, or fine-tune one, pre-trained or fresh.

    Args:
        splits: `train` and `validation`.
        extractor: saved with the teacher.
        teacher_args: a checkpoint, or the backbone and how long to train it.
        args: of the distillation; the teacher's trainer takes them, with its own epochs and learning rate.
        source: what the recordings are; noted with the teacher, like the subjects it has seen.

    Returns:
        the teacher, and the folder it was saved in if it was fine-tuned here.

    Raises:
        ValueError: the teacher's labels, channels or rate are not those of the windows, or one argument contradicts
            another.
    """
    if teacher_args.teacher is not None and teacher_args.teacher_checkpoint is not None:
        raise ValueError(
            "--teacher takes a teacher as it is, --teacher_checkpoint one that is fine-tuned first: give one of them."
        )
    if teacher_args.teacher is not None:
        if teacher_args.trainer_fields() != TeacherArguments().trainer_fields():
            raise ValueError(
                "--teacher takes a teacher as it is: --adaptation, --augmentations and what else says how one is "
                "fine-tuned do nothing to it. Leave them out, or start from it with --teacher_checkpoint."
            )
        teacher = DLinkTeacherForEEGClassification.from_pretrained(teacher_args.teacher)
        check_training_windows(teacher, splits["train"])
        check_alignment(teacher_args.teacher, splits["train"])
        return teacher, None
    head = {"head_size": None} if teacher_args.probe_first else {}
    teacher = _start_teacher(teacher_args, {**signal_fields(splits["train"]), **head}, args.seed)
    if teacher_args.probe_first:
        fit_probe(teacher, splits["train"], splits.get("validation"))
    folder = Path(args.output_dir) / "teacher"
    plain = _plain_arguments(
        args,
        folder / "training",
        num_train_epochs=teacher_args.teacher_epochs,
        max_steps=-1,
        resume_from_checkpoint=None,
        learning_rate=teacher_args.teacher_learning_rate,
    )
    if teacher_args.teacher_epochs > 0 or not teacher_args.probe_first:
        train_plain(teacher, splits, plain, "teacher", processing_class=extractor, **teacher_args.trainer_fields())
    teacher.save_pretrained(folder)
    write_people(folder, source, splits, args.group_column, started_from=[teacher_args.teacher_checkpoint])
    if extractor is not None:
        extractor.save_pretrained(folder)
    return teacher, folder


def _start_teacher(
    teacher_args: TeacherArguments, signal: dict[str, Any], seed: int
) -> DLinkTeacherForEEGClassification:
    """A teacher to be fine-tuned: pre-trained weights with a head for this montage and these labels, or fresh ones."""
    set_seed(seed)
    if teacher_args.teacher_checkpoint is not None:
        defaults = TeacherArguments()
        for name in ("teacher_backbone", "teacher_layers", "teacher_input_scale"):
            if getattr(teacher_args, name) != getattr(defaults, name):
                raise ValueError(f"--{name} is what --teacher_checkpoint says itself: leave it out.")
        return DLinkTeacherForEEGClassification.from_pretrained(
            teacher_args.teacher_checkpoint, ignore_mismatched_sizes=True, **signal
        )
    backbone = teacher_args.teacher_backbone
    if backbone not in BACKBONES:
        raise ValueError(f"--teacher_backbone must be one of {', '.join(BACKBONES)}, got {backbone!r}.")
    config = DLinkTeacherConfig(
        backbone=backbone,
        backbone_kwargs={BACKBONES[backbone].depth_argument: teacher_args.teacher_layers},
        input_scale=teacher_args.teacher_input_scale,
        **signal,
    )
    return DLinkTeacherForEEGClassification(config)


def make_student(
    splits: Mapping[str, Dataset], student_args: StudentArguments, seed: int, **fields: Any
) -> MiCForEEGClassification:
    """A fresh student, or a published one with a head for these labels.

    Args:
        splits: `train` tells montage, rate, window and labels.
        student_args: size, or checkpoint.
        seed: of the weights.
        **fields: further fields of a fresh student's config: `mimic_size` and `patch_size` of the teacher.
    """
    signal = signal_fields(splits["train"])
    set_seed(seed)
    if student_args.student is not None:
        # the published montage gives way to the one at hand; the weights depend on neither
        return MiCForEEGClassification.from_pretrained(student_args.student, ignore_mismatched_sizes=True, **signal)
    return MiCForEEGClassification(MiCConfig.from_size(student_args.student_size, **signal, **fields))


def train_all(
    splits: DatasetDict,
    extractor: EEGFeatureExtractor | None,
    teacher_args: TeacherArguments,
    student_args: StudentArguments,
    distill_args: DistillArguments,
    args: DLinkTrainingArguments,
    source: str,
) -> dict[str, Any]:
    """Teacher, distillation, baseline, report.

    Args:
        splits: `train`, `validation` and `test`, no subject in two of them.
        extractor: what the windows were made with; saved with the models.
        teacher_args, student_args, distill_args, args: see their classes.
        source: what the recordings are, for the card.

    Returns:
        the results that are written to `results.json`.
    """
    output_dir = Path(args.output_dir)
    if not {"validation", "test"} & set(splits):
        raise ValueError("There is no subject to score on: give --validation or --test a share of the subjects.")
    known = [
        check_people(given, source, splits, args.group_column)
        for given in (teacher_args.teacher, teacher_args.teacher_checkpoint, student_args.student)
        if given is not None
    ]
    # what can be refused is refused before the teacher has been trained for an hour
    DLinkStudioConfig(**distill_args.studio_fields())
    DLinkRouterConfig(routing=distill_args.routing)
    if student_args.student is None:
        MiCConfig.from_size(student_args.student_size)
    minutes: dict[str, float] = {}
    started = time.perf_counter()
    teacher, teacher_folder = prepare_teacher(splits, extractor, teacher_args, args, source)
    minutes["teacher"] = (time.perf_counter() - started) / 60

    # twice the same weights: the one is distilled, the other trained without a teacher
    fields = student_fields(teacher.config)
    student, baseline = (make_student(splits, student_args, args.seed, **fields) for _ in range(2))
    router_config = DLinkRouterConfig.from_teacher(teacher.config, routing=distill_args.routing)
    studio = DLinkStudioModel.from_parts(teacher, student, router_config=router_config, **distill_args.studio_fields())
    started = time.perf_counter()
    set_seed(args.seed)
    trainer = DLinkTrainer(
        studio,
        _plain_arguments(args, output_dir / "training", mimic_epochs=args.mimic_epochs),
        train_dataset=splits["train"],
        eval_dataset=splits.get("validation"),
        processing_class=extractor,
    )
    name_progress(trainer, "DLink student").train(resume_from_checkpoint=args.resume_from_checkpoint)
    trainer.save_model(str(output_dir / "student"))
    given = [teacher_args.teacher, teacher_args.teacher_checkpoint, student_args.student]
    write_people(output_dir / "student", source, splits, args.group_column, started_from=given)
    minutes["student"] = (time.perf_counter() - started) / 60

    models: dict[str, PreTrainedModel] = {"teacher": teacher, "DLink student": student}
    if distill_args.baseline:
        started = time.perf_counter()
        plain = _plain_arguments(args, output_dir / "baseline" / "training", resume_from_checkpoint=None)
        train_plain(baseline, splits, plain, "student without a teacher", processing_class=extractor)
        baseline.save_pretrained(output_dir / "baseline")
        minutes["student without a teacher"] = (time.perf_counter() - started) / 60
        models["student without a teacher"] = baseline
    return write_report(
        output_dir,
        studio,
        models,
        splits,
        log_history=trainer.state.log_history,
        mimic_steps=round(trainer.state.max_steps * args.mimic_epochs / max(args.num_train_epochs, 1e-9)),
        args=args,
        source=source,
        minutes=minutes,
        unseen=all(known),
        teacher=(
            f"taken from {teacher_args.teacher}"
            if teacher_folder is None
            else f"fine-tuned from {teacher_args.teacher_checkpoint} on the training subjects of these recordings"
            if teacher_args.teacher_checkpoint is not None
            else "trained from random weights on the training subjects of these recordings; no published weights"
        ),
        teacher_folder=teacher_folder or teacher_args.teacher,
    )


def run(argv: Sequence[str]) -> None:
    """Entry of `dlink distill`."""
    classes = (DataArguments, TeacherArguments, StudentArguments, DistillArguments, DLinkTrainingArguments)
    defaults = {**TRAINING_DEFAULTS, "output_dir": "outputs/distill", "mimic_epochs": 3.0}
    data_args, teacher_args, student_args, distill_args, args = parse("distill", DESCRIPTION, classes, argv, defaults)
    splits, extractor = load_splits(data_args, args)
    train_all(splits, extractor, teacher_args, student_args, distill_args, args, source=data_args.dataset)


__all__ = ["make_student", "prepare_teacher", "run", "train_all"]
