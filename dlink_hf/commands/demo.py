# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""`dlink demo`: the whole way on synthetic EEG, in a few minutes, without network."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence

from ..distillation.training_args import DLinkTrainingArguments
from .arguments import (
    TRAINING_DEFAULTS,
    DataArguments,
    DistillArguments,
    StudentArguments,
    TeacherArguments,
    ViewArguments,
    parse,
)
from .distill import train_all
from .views import load_views


DESCRIPTION = (
    "Make synthetic EEG of imagined hand movements, fine-tune a small CBraMod on it, distil it into a student, and "
    "compare: a few minutes on two cores, no network."
)

SOURCE = "synthetic EEG: imagined movements of the left and right hand, made by dlink_hf.synthetic_dataset"

SETTINGS = {
    **TRAINING_DEFAULTS,
    "dataset": "synthetic",
    "output_dir": "outputs/demo",
    "validation": 0.2,
    "test": 0.3,
    "teacher_layers": 3,
    "teacher_epochs": 10.0,
    "num_train_epochs": 12.0,
    "use_cpu": True,
}


def run(argv: Sequence[str]) -> None:
    """Entry of `dlink demo`."""
    started = time.perf_counter()
    classes = (
        *(DataArguments, TeacherArguments, StudentArguments, ViewArguments, DistillArguments),
        DLinkTrainingArguments,
    )
    data_args, teacher_args, student_args, view_args, distill_args, args = parse(
        "demo", DESCRIPTION, classes, argv, SETTINGS
    )
    views = dataclasses.replace(load_views(data_args, view_args, args), source=SOURCE)
    train_all(views, teacher_args, student_args, distill_args, args, ["dlink", "demo", *argv])
    print(f"\ndone in {(time.perf_counter() - started) / 60:.1f} minutes")


__all__ = ["run"]
