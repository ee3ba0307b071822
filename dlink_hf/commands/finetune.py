# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""`dlink finetune`: train a student on labelled recordings, without a teacher."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..distillation.training_args import DLinkTrainingArguments
from .arguments import TRAINING_DEFAULTS, DataArguments, StudentArguments, parse
from .patch_task import check_place_flags, labels_places
from .run_results import print_scores
from .training import augmentation_of, make_student, settle_augmentation, settle_budget, settle_task, train_plain
from .windows import check_people, load_splits, write_people


DESCRIPTION = (
    "Fine-tune a student, published (--student) or fresh (--student_size), on your recordings: another headset, other "
    "classes, another task. The head starts from random weights where the classes differ."
)


def run(argv: Sequence[str]) -> None:
    """Entry of `dlink finetune`."""
    classes = (DataArguments, StudentArguments, DLinkTrainingArguments)
    defaults = {**TRAINING_DEFAULTS, "output_dir": "outputs/finetune"}
    data_args, student_args, args = parse("finetune", DESCRIPTION, classes, argv, defaults)
    splits, extractor = load_splits(data_args, args)
    unseen = student_args.student is None or check_people(
        student_args.student, data_args.dataset, splits, args.group_column
    )
    if labels_places(splits["train"]):
        check_place_flags(None, student_args)
    student = make_student(splits, student_args, seed=args.seed)
    settle_task(args, splits)
    folder = Path(args.output_dir)
    args.output_dir = str(folder / "training")
    settle_budget(args, len(splits["train"]), "validation" in splits)
    train_plain(
        student,
        splits,
        args,
        "student",
        processing_class=extractor,
        label_smoothing=student_args.student_label_smoothing,
        augmentation=augmentation_of(
            settle_augmentation(student_args.student_augmentations, splits["train"], args.group_column),
            splits["train"],
        ),
    )
    student.save_pretrained(folder / "student")
    if extractor is not None:
        extractor.save_pretrained(folder / "student")
    write_people(folder / "student", data_args.dataset, splits, args.group_column, [student_args.student])
    print_scores({"student": student}, splits, args.group_column, unseen)
    print(f"\nstudent (checkpoint)  {folder / 'student'}")


__all__ = ["run"]
