# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""`dlink distill`: recordings, teacher, distilled student, student alone, scores, and whether it helped."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset
from transformers import PreTrainedModel, set_seed

from ..core.config_checks import REGRESSION, TOKENS
from ..core.model_facts import task_of
from ..data.description import signal_info
from ..data.missing_labels import labelled_rows, labels_of
from ..distillation.configuration_router import DLinkRouterConfig
from ..distillation.configuration_studio import DLinkStudioConfig
from ..distillation.experts import ExpertEnsemble, fit_experts
from ..distillation.mixtures import mixture_weights_for
from ..distillation.modeling_studio import DLinkStudioModel
from ..distillation.soft_targets import SOFT_TARGETS, add_soft_targets
from ..distillation.trainer import DLinkTrainer
from ..distillation.training_args import DLinkTrainingArguments
from ..evaluation.comparison import measure_for, teacher_verdict
from ..evaluation.predict import evaluate_model, predict_outputs
from ..models.mic.configuration_mic import MiCConfig
from ..models.mic.modeling_mic import MiCWithHead
from ..models.token_grid import student_fields
from ..training.linear_experts import band_power_probabilities
from ..training.recipe import default_steps
from .arguments import (
    TRAINING_DEFAULTS,
    DataArguments,
    DistillArguments,
    StudentArguments,
    TeacherArguments,
    ViewArguments,
    parse,
)
from .patch_task import check_place_flags, labels_places
from .progress import name_progress
from .run_results import ALONE, DISTILLED, TEACHER, Run, write_report
from .training import (
    PreparedTeacher,
    augmentation_of,
    make_augmentation,
    make_student,
    plain_arguments,
    prepare_teacher,
    settle_augmentation,
    settle_budget,
    settle_task,
    train_plain,
)
from .views import Views, load_views
from .windows import check_people, write_people


DESCRIPTION = (
    "Fine-tune a foundation model on your recordings (or take a teacher that is), distil it into a small student, and "
    "compare both with the same student trained without a teacher, on subjects that none of them has seen."
)


def judge_teacher(teacher: PreparedTeacher, views: Views) -> dict[str, Any] | None:
    """Score a teacher on the validation subjects, compared with band power and chance, and print the verdict.

    Returns:
        what [`teacher_verdict`] gives; None where there is nobody to validate on.
    """
    watched = views.teacher.get("validation")
    if watched is None:
        return None
    subjects, labels, train = watched[views.group_column][:], labels_of(watched), views.teacher["train"]
    problem_type = task_of(teacher.model)
    measure = measure_for(problem_type, labels_of(train).std(0) if problem_type == REGRESSION else None)
    _, outputs = evaluate_model(teacher.model, watched)
    own = measure.by_subject(labels, outputs, subjects)
    if not own:
        return None
    linear = None
    if problem_type != TOKENS:
        linear = measure.by_subject(labels, band_power_probabilities(train, watched), subjects)
    verdict = teacher_verdict(own, linear, len(views.labels), measure, views.guessed("validation", measure))
    print(f"\n{verdict['text']}")
    if verdict["advice"]:
        print(f"WARNING: {verdict['advice']}")
    return verdict


def without_idle_windows(views: Views, teacher_args: TeacherArguments, distill_args: DistillArguments) -> Views:
    """Leave the unlabelled windows out where nobody knows more of them than the student will, and say so.

    A teacher of the same few labels has nothing to add on them: at best nothing was gained, with cross-fitted experts
    up to 4 points were lost (benchmarks/NOTES.md). A teacher of other subjects, one from published weights, one that
    sees more, or experts that are asked for by name, teach on them.
    """
    knows_more = teacher_args.teacher is not None or teacher_args.teacher_checkpoint not in ("auto", "none")
    if not views.n_unlabelled or knows_more or views.sees_less or distill_args.experts != "auto":
        return views
    print(
        f"WARNING: the {views.n_unlabelled} unlabelled windows are left out: a teacher of the labelled ones alone "
        "knows no more of them than the student does. Give a teacher of other subjects (--teacher FOLDER), or "
        "published weights (--teacher_checkpoint). --experts student takes them all the same."
    )
    return replace(views, train=labelled_rows(views.train), n_unlabelled=0)


def train_experts(
    views: Views, student_args: StudentArguments, distill_args: DistillArguments, args: DLinkTrainingArguments
) -> ExpertEnsemble | None:
    """Cross-fit the experts on what the teacher sees, and say how they do; None for `--experts none`."""
    kinds = distill_args.experts
    if kinds == "auto":
        kinds = "student" if views.sees_less else "none" if views.n_unlabelled else "bandpower"
        if labels_places(views.train):
            kinds = "none"
    if kinds == "none":
        return None
    train = labelled_rows(views.teacher_train)
    folds = (1 if views.n_unlabelled else 3) if distill_args.folds is None else distill_args.folds
    experts = fit_experts(
        [name.strip() for name in kinds.split(",") if name.strip()],
        train,
        views.teacher.get("validation"),
        n_folds=folds,
        seeds=range(args.seed, args.seed + distill_args.teachers),
        steps=args.max_steps if args.max_steps > 0 else default_steps(len(train)),
        augmentation=make_augmentation(student_args.student_augmentations, train, args.seed),
        group_column=views.group_column,
        progress=not args.disable_tqdm,
    )
    for name, score in experts.scores.items():
        measure = experts.measure
        print(f"expert {name}: {measure.title} {measure.value(score)} on subjects that it has not seen")
    return experts


def add_targets(
    experts: ExpertEnsemble | None,
    views: Views,
    student_args: StudentArguments,
    distill_args: DistillArguments,
    args: DLinkTrainingArguments,
) -> Dataset:
    """The student's training windows with the experts' soft targets, of every augmented view that it will see."""
    if experts is None:
        return views.train
    augmentation = make_augmentation(student_args.student_augmentations, views.train, args.seed)
    n_views = distill_args.views if augmentation is not None else 1
    asked = experts.soft_targets(views.teacher_train, n_views, augmentation, progress=not args.disable_tqdm)
    return add_soft_targets(views.train, np.asarray(asked.with_format("numpy")[SOFT_TARGETS][:]))


def distil_student(
    teacher: PreparedTeacher,
    student: MiCWithHead,
    train: Dataset,
    views: Views,
    student_args: StudentArguments,
    distill_args: DistillArguments,
    args: DLinkTrainingArguments,
) -> DLinkTrainer:
    """Distil the student and save it, with the extractor and the subjects that it was trained on."""
    folder = Path(args.output_dir)
    router_config = DLinkRouterConfig.from_teacher(teacher.model.config, routing=distill_args.routing)
    studio = DLinkStudioModel.from_parts(
        teacher.model, student, router_config=router_config, **distill_args.studio_fields()
    )
    set_seed(args.seed)
    augmentation = make_augmentation(student_args.student_augmentations, train, args.seed)
    trainer = DLinkTrainer(
        studio,
        plain_arguments(
            args,
            folder / "training",
            mimic_epochs=args.mimic_epochs,
            augmented_views=distill_args.views if augmentation is not None else 0,
        ),
        train_dataset=train,
        eval_dataset=views.student.get("validation"),
        processing_class=views.extractor,
        augmentation=augmentation,
    )
    name_progress(trainer, DISTILLED).train(resume_from_checkpoint=args.resume_from_checkpoint)
    trainer.save_model(str(folder / "student"))
    started_from = [teacher.started_from, student_args.student]
    write_people(folder / "student", views.source, views.student, views.group_column, started_from=started_from)
    return trainer


def train_alone(
    student: MiCWithHead, views: Views, student_args: StudentArguments, args: DLinkTrainingArguments
) -> MiCWithHead:
    """Train the same student without a teacher for as many steps, and save it."""
    folder = Path(args.output_dir) / "baseline"
    plain = plain_arguments(args, folder / "training", resume_from_checkpoint=None)
    train_plain(
        student,
        views.student,
        plain,
        ALONE,
        processing_class=views.extractor,
        label_smoothing=student_args.student_label_smoothing,
        augmentation=augmentation_of(student_args.student_augmentations, views.student["train"]),
    )
    student.save_pretrained(folder)
    if views.extractor is not None:
        views.extractor.save_pretrained(folder)
    write_people(folder, views.source, views.student, views.group_column, started_from=[student_args.student])
    return student


def train_all(
    views: Views,
    teacher_args: TeacherArguments,
    student_args: StudentArguments,
    distill_args: DistillArguments,
    args: DLinkTrainingArguments,
    command: Sequence[str] = (),
) -> dict[str, Any]:
    """Teacher, distilled student, student alone, scores, report.

    Args:
        views: what teacher and student read of the recordings, split by subject.
        teacher_args, student_args, distill_args, args: see their classes.
        command: the words that were typed, for the card.

    Returns:
        the results that are written to `results.json`.

    Raises:
        ValueError: there is nobody to score on, an argument is out of range, or a checkpoint has seen subjects who
            are scored.
    """
    if not {"validation", "test"} & set(views.student):
        raise ValueError("There is no subject to score on: give --validation or --test a share of the subjects.")
    started_from = student_args.student
    is_unseen = started_from is None or check_people(started_from, views.source, views.student, views.group_column)
    # what can be refused is refused before the teacher has been trained for an hour
    uses_layers = DLinkStudioConfig(**distill_args.studio_fields()).uses_layers
    DLinkRouterConfig(routing=distill_args.routing)
    if not uses_layers and (args.mimic_epochs > 0 or distill_args.routing != DistillArguments().routing):
        flag = "mimic_epochs" if args.mimic_epochs > 0 else "routing"
        raise ValueError(
            f"--{flag} is about the teacher's layers, and no term of the objective reads these: give --route_weight "
            "or --spectral_weight (0.2 and 0.1, say), or leave it out."
        )
    if started_from is None:
        MiCConfig.from_size(student_args.student_size)
    if labels_places(views.train):
        check_place_flags(teacher_args, student_args, experts=distill_args.experts not in ("auto", "none"))
        if started_from is not None:
            make_student(views.student, student_args, args.seed)
    settle_task(args, views.teacher)
    views = without_idle_windows(views, teacher_args, distill_args)
    settle_budget(args, len(views.train), "validation" in views.student)
    if "auto" in (teacher_args.augmentations, student_args.student_augmentations):
        auto = settle_augmentation("auto", views.teacher["train"], views.group_column)
        teacher_args, student_args = replace(teacher_args), replace(student_args)
        if student_args.student_augmentations == "auto":
            student_args.student_augmentations = auto
        # a teacher that is taken as it is refuses whatever says how one is trained
        if teacher_args.augmentations == "auto" and teacher_args.teacher is None:
            teacher_args.augmentations = auto
    minutes: dict[str, float] = {}
    with timed(minutes, "teacher"):
        teacher = prepare_teacher(views.teacher, views.teacher_extractor, teacher_args, args, views.source)
    verdict = judge_teacher(teacher, views)

    # twice the same weights: the one is distilled, the other trained without a teacher
    fields = student_fields(teacher.model.config, signal_info(views.student["train"]).n_times)
    student, alone = (make_student(views.student, student_args, args.seed, **fields) for _ in range(2))
    with timed(minutes, "experts"):
        experts = train_experts(views, student_args, distill_args, args)
        train = add_targets(experts, views, student_args, distill_args, args)
    objective = share_weights(teacher, experts, distill_args, views)
    with timed(minutes, DISTILLED):
        trainer = distil_student(teacher, student, train, views, student_args, objective, args)
    models: dict[str, PreTrainedModel] = {TEACHER: teacher.model, DISTILLED: student}
    if distill_args.baseline:
        with timed(minutes, ALONE):
            models[ALONE] = train_alone(alone, views, student_args, args)
    run = Run(
        views=views,
        trainer=trainer,
        models=models,
        teacher=teacher,
        teacher_verdict=verdict,
        experts=experts,
        args=args,
        minutes=minutes,
        is_unseen=is_unseen and teacher.is_unseen,
        command=command,
        name=distill_args.name,
    )
    return write_report(Path(args.output_dir), run)


def share_weights(
    teacher: PreparedTeacher, experts: ExpertEnsemble | None, distill_args: DistillArguments, views: Views
) -> DistillArguments:
    """Share the weight of what is taught out to teacher and experts, by what each knows about validation subjects.

    The shares are those of the mixture of what they say that is best on the validation windows. Weights that
    were given as flags stay as they are.

    Returns:
        the arguments, `kd_weight` and `soft_target_weight` set.
    """
    defaults = DistillArguments()
    names = ("kd_weight", "soft_target_weight")
    if any(getattr(distill_args, name) != getattr(defaults, name) for name in names):
        return distill_args
    total, watched = defaults.kd_weight, views.teacher.get("validation")
    if experts is None:
        return replace(distill_args, kd_weight=total, soft_target_weight=0.0)
    if watched is None:
        return distill_args
    said = np.stack([predict_outputs(teacher.model, watched), experts(watched)])
    groups = np.asarray(watched[views.group_column][:])
    shares = mixture_weights_for(teacher.model.config.problem_type, said, labels_of(watched), groups)
    print(
        f"what is taught: {shares[0]:.0%} of the teacher, {shares[1]:.0%} of the experts "
        f"({', '.join(experts.names)}), by what each knows about the validation subjects"
    )
    return replace(distill_args, kd_weight=total * float(shares[0]), soft_target_weight=total * float(shares[1]))


@contextmanager
def timed(minutes: dict[str, float], name: str) -> Iterator[None]:
    """Note how many minutes the block took."""
    started = time.perf_counter()
    yield
    minutes[name] = (time.perf_counter() - started) / 60


def run(argv: Sequence[str]) -> None:
    """Entry of `dlink distill`."""
    classes = (
        *(DataArguments, TeacherArguments, StudentArguments, ViewArguments, DistillArguments),
        DLinkTrainingArguments,
    )
    defaults = {**TRAINING_DEFAULTS, "output_dir": "outputs/distill"}
    data_args, teacher_args, student_args, view_args, distill_args, args = parse(
        "distill", DESCRIPTION, classes, argv, defaults
    )
    views = load_views(data_args, view_args, args)
    train_all(views, teacher_args, student_args, distill_args, args, ["dlink", "distill", *argv])


__all__ = ["distil_student", "judge_teacher", "run", "train_all", "train_alone"]
