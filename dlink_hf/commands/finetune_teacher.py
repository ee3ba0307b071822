# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""`dlink finetune-teacher`: fine-tune an EEG foundation model, to distil it later."""

from __future__ import annotations

from collections.abc import Sequence

from ..distillation.training_args import DLinkTrainingArguments
from .arguments import TRAINING_DEFAULTS, DataArguments, TeacherArguments, parse
from .patch_task import check_place_flags, labels_places
from .run_results import print_scores
from .training import prepare_teacher, settle_augmentation, settle_budget, settle_task
from .windows import load_splits


DESCRIPTION = (
    "Fine-tune a foundation model on your recordings, for `dlink distill --teacher OUTPUT_DIR/teacher`: once, however "
    "many students it is to teach; from pre-trained weights (--teacher_checkpoint) or from none."
)


def run(argv: Sequence[str]) -> None:
    """Entry of `dlink finetune-teacher`."""
    classes = (DataArguments, TeacherArguments, DLinkTrainingArguments)
    defaults = {**TRAINING_DEFAULTS, "output_dir": "outputs/finetune-teacher"}
    data_args, teacher_args, args = parse("finetune-teacher", DESCRIPTION, classes, argv, defaults)
    if teacher_args.teacher is not None:
        raise ValueError("--teacher names a teacher that is fine-tuned already; here one is made.")
    splits, extractor = load_splits(data_args, args)
    if labels_places(splits["train"]):
        check_place_flags(teacher_args, None)
    settle_task(args, splits)
    settle_budget(args, len(splits["train"]), "validation" in splits)
    teacher_args.augmentations = settle_augmentation(teacher_args.augmentations, splits["train"], args.group_column)
    teacher = prepare_teacher(splits, extractor, teacher_args, args, source=data_args.dataset)
    print_scores({"teacher": teacher.model}, splits, args.group_column, teacher.is_unseen)
    print(f"\nteacher (checkpoint)  {teacher.folder}")


__all__ = ["run"]
