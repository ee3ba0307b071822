# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""What teacher and student read of the recordings of a command: the same, or the student less."""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass

from datasets import Dataset, DatasetDict

from ..core.config_checks import TOKENS
from ..data import EEG_SETS
from ..data.description import signal_info, task_info
from ..data.missing_labels import labels_of, load_unlabelled, with_unlabelled
from ..data.views import student_extractor, student_view, teacher_view, with_teacher_view
from ..distillation.training_args import DLinkTrainingArguments
from ..evaluation.comparison import Measure
from ..preprocessing.feature_extraction_eeg import EEGFeatureExtractor
from .arguments import DataArguments, ViewArguments
from .windows import chosen_alignment, load_splits, load_windows, settle_alignment, split_windows


@dataclass(frozen=True)
class Views:
    """Windows of the same recordings as a teacher and as a student read them.

    Args:
        source: what the recordings are, for cards and for the note of who was seen.
        teacher: `train`, `validation` and `test` of all that the teacher sees.
        student: the same rows as the student sees them; the same object where it sees everything.
        train: what the student is distilled on: its training windows, with the column `teacher_input_values` where
            it sees less, and with windows of label -1 where there are unlabelled recordings.
        teacher_extractor, extractor: what made them; None for windows that were saved ready-made.
        group_column: what the splits keep apart.
        n_unlabelled: windows of `train` without a label.
    """

    source: str
    teacher: DatasetDict
    student: DatasetDict
    train: Dataset
    teacher_extractor: EEGFeatureExtractor | None
    extractor: EEGFeatureExtractor | None
    group_column: str = "subject"
    n_unlabelled: int = 0

    @property
    def sees_less(self) -> bool:
        """Whether the student sees fewer channels or shorter windows than its teacher."""
        return self.student is not self.teacher

    @property
    def teacher_train(self) -> Dataset:
        """The rows of `train` as the teacher sees them."""
        return teacher_view(self.train)

    @property
    def labels(self) -> list[str]:
        """Names of the classes, labels or targets."""
        train = self.teacher["train"]
        task = task_info(train)
        return train.features["labels"].names if task is None else task["names"]

    def guessed(self, split: str, measure: Measure) -> dict[str, float]:
        """Return what each subject of a split scores by a guess that reads no EEG."""
        windows = self.teacher[split]
        return measure.guessed(
            labels_of(self.teacher["train"]), labels_of(windows), windows[self.group_column][:], len(self.labels)
        )


def load_views(data_args: DataArguments, view_args: ViewArguments, args: DLinkTrainingArguments) -> Views:
    """Windows of a command's recordings, split by subject, as teacher and student read them.

    Raises:
        FileNotFoundError: the recordings are not there.
        ValueError: the flags contradict each other or the recordings; the message says why.
    """
    sees_less = view_args.student_ch_names is not None or view_args.student_window_seconds is not None
    if data_args.dataset in EEG_SETS:
        args.group_column = EEG_SETS[data_args.dataset].group_column
    if data_args.problem_type == TOKENS and view_args.student_window_seconds is not None:
        raise ValueError(f"--student_window_seconds is not for --problem_type {TOKENS}: both label the same places.")
    data_args = settle_alignment(data_args, args.group_column, view_args.student_window_seconds)
    whole, teacher_extractor = load_splits(data_args, args)
    views = Views(data_args.dataset, whole, whole, whole["train"], teacher_extractor, teacher_extractor)
    views = dataclasses.replace(views, group_column=args.group_column)
    if sees_less:
        views = _narrowed(views, data_args, view_args, args)
    if view_args.unlabelled is not None:
        views = _with_unlabelled(views, view_args, data_args, args)
    return views


def _narrowed(views: Views, data_args: DataArguments, view_args: ViewArguments, args: DLinkTrainingArguments) -> Views:
    """The views of a student that sees less than its teacher."""
    column, extractor = args.group_column, views.teacher_extractor
    # before alignment: one that was fitted on the whole cap mixes in channels that the student has not
    plain, _ = load_windows(dataclasses.replace(data_args, alignment="none"))
    view = student_view(
        plain,
        view_args.student_ch_names,
        view_args.student_window_seconds,
        alignment=chosen_alignment(data_args),
        alignment_reference=None if extractor is None else extractor.alignment_reference,
        group_column=column,
        one_class=data_args.alignment_one_class,
        cache_dir=data_args.cache_dir,
    )
    student = split_windows(view, data_args, column)
    few, all_ = signal_info(view), signal_info(views.teacher["train"])
    print(
        f"student reads {few.n_chans} of {all_.n_chans} channels ({', '.join(few.ch_names)}), {few.duration:g} of "
        f"{all_.duration:g} s"
    )
    return dataclasses.replace(
        views,
        student=student,
        train=with_teacher_view(student["train"], views.teacher["train"]),
        extractor=None
        if extractor is None
        else student_extractor(extractor, view_args.student_ch_names, view_args.student_window_seconds),
    )


def _with_unlabelled(
    views: Views, view_args: ViewArguments, data_args: DataArguments, args: DLinkTrainingArguments
) -> Views:
    """The views with windows of unlabelled recordings among those that the student is distilled on."""
    extractor, column = views.teacher_extractor, args.group_column
    if extractor is None:
        raise ValueError(
            "--unlabelled needs --dataset to be recordings: of windows that were saved ready-made it is not known how "
            "they were cut."
        )
    assert view_args.unlabelled is not None
    load = functools.partial(
        load_unlabelled,
        view_args.unlabelled,
        subject_pattern=data_args.subject_pattern,
        like=views.teacher["train"],
        max_abs_uv=data_args.reject_uv,
        cache_dir=data_args.cache_dir,
    )
    more = load(extractor)
    if views.sees_less:
        plain = load(extractor.without_alignment())
        few = student_view(
            plain,
            view_args.student_ch_names,
            view_args.student_window_seconds,
            alignment=chosen_alignment(data_args),
            alignment_reference=extractor.alignment_reference,
            group_column=column,
            cache_dir=data_args.cache_dir,
        )
        more = with_teacher_view(few, more)
    held_out = {name: views.student[name] for name in ("validation", "test") if name in views.student}
    train = with_unlabelled(views.train, more, held_out, column)
    print(f"{'unlabelled':<11}{len(more):>6} windows of {len(set(more[column][:]))} {column}s")
    return dataclasses.replace(views, train=train, n_unlabelled=len(more))


__all__ = ["Views", "load_views"]
