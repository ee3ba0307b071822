# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""`dlink demo`: a teacher that knows many subjects and a student with few labels, on synthetic EEG, in minutes."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset, DatasetDict
from transformers import set_seed

from ..core.atomic_files import write_json
from ..data import signal_fields, synthetic_dataset
from ..data.missing_labels import with_unlabelled
from ..distillation.student_teacher import student_as_teacher
from ..distillation.training_args import DLinkTrainingArguments
from ..evaluation.comparison import Interval, interval, subject_scores
from ..evaluation.predict import evaluate_model
from ..inference.web_app import launch_app
from ..models.mic.configuration_mic import MiCConfig
from ..models.mic.modeling_mic import MiCForEEGClassification
from ..models.token_grid import student_fields
from ..preprocessing.feature_extraction_eeg import EEGFeatureExtractor
from .arguments import TRAINING_DEFAULTS, DistillArguments, StudentArguments, arg, parse
from .distill import distil_student, train_alone
from .run_results import ALONE, DISTILLED, TEACHER, Run, write_report
from .training import PreparedTeacher, augmentation_of, make_student, plain_arguments, train_plain
from .views import Views


DESCRIPTION = (
    "Synthetic EEG of imagined hand movements: a teacher that was trained on 150 subjects, and a laboratory that has "
    "labels of five. The student that the teacher distils is compared with the same student alone, at the same and at "
    "twice the number of steps, in three draws of the five subjects. A few minutes on two cores, no network."
)
SOURCE = "synthetic EEG: imagined movements of the left and right hand, made by dlink_hf.synthetic_dataset"
CH_NAMES = ("F3", "F4", "C3", "Cz", "C4", "P3", "P4", "Oz")
TWICE = f"{ALONE}, twice the steps"


@dataclass
class DemoArguments:
    """The size of the synthetic world."""

    teacher_subjects: int = arg(150, "Subjects that the teacher is trained on.")
    labelled: int = arg(5, "Subjects with labels for the student.")
    unlabelled: int = arg(20, "Subjects whose recordings it has without labels.")
    test: int = arg(100, "Subjects that are only tested on.")
    validation: int = arg(10, "Subjects that choose between the students.")
    draws: int = arg(3, "How often the student's subjects are drawn, each time with another seed.")
    teacher_steps: int = arg(560, "Steps of the teacher.")
    difficulty: float = arg(1.3, "How weak the effect is that tells the classes apart; 1 is the usual.")
    web: bool = arg(False, "Train nothing: open a page in which students classify recordings that you upload.")
    students: list[str] = arg([], "With --web: checkpoints of students and teachers, or folders of them.")
    port: int | None = arg(None, "With --web: port to listen on.")


@dataclass(frozen=True)
class World:
    """Windows of the subjects of a demo, by what they are for.

    Args:
        teacher: training windows of the teacher.
        labelled, unlabelled: of each draw, the student's.
        validation, test: of subjects that no model is trained on.
        extractor: what made the windows.
    """

    teacher: Dataset
    labelled: list[Dataset]
    unlabelled: list[Dataset]
    validation: Dataset
    test: Dataset
    extractor: EEGFeatureExtractor

    def views(self, draw: int) -> Views:
        """What a student of a draw reads."""
        held_out = {"validation": self.validation, "test": self.test}
        splits = DatasetDict({"train": self.labelled[draw], **held_out})
        train = with_unlabelled(self.labelled[draw], self.unlabelled[draw], held_out)
        n_unlabelled = len(self.unlabelled[draw])
        return Views(SOURCE, splits, splits, train, self.extractor, self.extractor, "subject", n_unlabelled)


def make_world(demo: DemoArguments) -> World:
    """Make the recordings, cut and align them, and share the subjects out."""
    extractor = EEGFeatureExtractor(
        ch_names=list(CH_NAMES), sfreq=200.0, n_times=600, l_freq=0.5, alignment="euclidean"
    )
    own = demo.labelled + demo.unlabelled
    sizes = [demo.teacher_subjects, demo.validation, demo.test, *[demo.labelled, demo.unlabelled] * demo.draws]
    dataset = synthetic_dataset(
        n_subjects=demo.teacher_subjects + demo.validation + demo.test + own * demo.draws,
        n_trials=16,
        seed=1,
        extractor=extractor,
        trial_duration=3.0,
        ch_names=CH_NAMES,
        difficulty=demo.difficulty,
    )
    subjects = np.asarray(dataset["subject"][:])
    names = np.asarray(list(dict.fromkeys(subjects)))
    parts = np.split(names, np.cumsum(sizes)[:-1])
    windows = [dataset.select(np.flatnonzero(np.isin(subjects, part))) for part in parts]
    return World(windows[0], windows[3::2], windows[4::2], windows[1], windows[2], extractor)


def train_teacher(world: World, demo: DemoArguments, args: DLinkTrainingArguments) -> PreparedTeacher:
    """Train the teacher, a student of size `base`, on its many subjects."""
    folder = Path(args.output_dir) / "teacher"
    set_seed(args.seed)
    network = MiCForEEGClassification(MiCConfig.from_size("base", **signal_fields(world.teacher)))
    train_plain(
        network,
        {"train": world.teacher, "validation": world.validation},
        plain_arguments(args, folder / "training", max_steps=demo.teacher_steps),
        TEACHER,
        processing_class=world.extractor,
        label_smoothing=0.1,
        augmentation=augmentation_of("auto", world.teacher),
    )
    network.save_pretrained(folder)
    world.extractor.save_pretrained(folder)
    told = f"a student of size base, trained on {demo.teacher_subjects} other synthetic subjects"
    return PreparedTeacher(student_as_teacher(network.eval()), folder, told, None, True)


def train_draw(
    world: World, draw: int, teacher: PreparedTeacher, args: DLinkTrainingArguments, objective: DistillArguments
) -> Run:
    """Train the students of one draw: distilled, alone, and alone for twice the steps."""
    views, student_args, minutes = world.views(draw), StudentArguments(), {}
    folder = Path(args.output_dir) / f"draw_{draw + 1}"
    settings = plain_arguments(args, folder, seed=args.seed + draw)

    def fresh() -> MiCForEEGClassification:
        return make_student(views.student, student_args, settings.seed, **student_fields(teacher.model.config))

    started = time.perf_counter()
    student = fresh()
    trainer = distil_student(teacher, student, views.train, views, student_args, objective, settings)
    minutes[DISTILLED] = (time.perf_counter() - started) / 60
    models = {TEACHER: teacher.model, DISTILLED: student}
    models[ALONE] = train_alone(fresh(), views, student_args, settings)
    longer = plain_arguments(settings, folder / "twice", max_steps=2 * settings.max_steps)
    models[TWICE] = train_alone(fresh(), views, student_args, longer)
    return Run(views, trainer, models, teacher, None, None, settings, minutes, True)


def score_draw(run: Run, world: World) -> dict[str, dict[str, float]]:
    """Model -> test subject -> balanced accuracy."""
    labels, subjects = world.test["labels"][:], world.test["subject"][:]
    return {
        name: subject_scores(labels, evaluate_model(model, world.test)[1], subjects)
        for name, model in run.models.items()
    }


def summarise(scores: Sequence[Mapping[str, Mapping[str, float]]]) -> tuple[str, dict[str, Any]]:
    """The table of all draws: score of each, mean, and how much more the distilled student has, with its interval.

    Args:
        scores: of each draw, model -> subject -> balanced accuracy.

    Returns:
        the table as text, and what it says as JSON values.
    """
    subjects = sorted(scores[0][TEACHER])
    width = max(map(len, scores[0])) + 2
    heading = f"balanced accuracy, {len(subjects)} test subjects"
    lines = [f"{heading:<{width}}  {'draws':<21}mean"]
    found: dict[str, Any] = {}
    for name in scores[0]:
        per = np.array([[of[name][subject] for subject in subjects] for of in scores])
        means = per.mean(1)
        lines.append(f"{name:<{width}}  {'  '.join(f'{m:.3f}' for m in means):<21}{means.mean():.3f}")
        found[name] = {"draws": means.tolist(), "mean": float(means.mean())}
    for name in (ALONE, TWICE):
        gain = gain_over(scores, name, subjects)
        found[name]["distilled_less_this"] = gain.to_dict()
        lines.append(f"the distilled student's lead over the {name}: {gain.points()} points")
    return "\n".join(lines), found


def gain_over(scores: Sequence[Mapping[str, Mapping[str, float]]], name: str, subjects: Sequence[str]) -> Interval:
    """Distilled less another, over subjects and draws."""
    return interval(np.array([[of[DISTILLED][s] - of[name][s] for of in scores] for s in subjects]))


def run(argv: Sequence[str]) -> None:
    """Entry of `dlink demo`."""
    started = time.perf_counter()
    quiet = {"eval_strategy": "no", "save_strategy": "no", "use_cpu": True}
    defaults = {**TRAINING_DEFAULTS, **quiet, "max_steps": 250, "output_dir": "outputs/demo"}
    demo, args = parse("demo", DESCRIPTION, (DemoArguments, DLinkTrainingArguments), argv, defaults)
    folder = Path(args.output_dir)
    if demo.web:
        # a clone has students of three tasks, and earlier runs of the demo others
        known = [Path(__file__).resolve().parents[2] / "model_cards", *folder.glob("draw_*/student")]
        launch_app([*map(Path, demo.students), *(path for path in known if path.is_dir())], demo.port)
        return
    world = make_world(demo)
    teacher = train_teacher(world, demo, args)
    # a view of its own in every epoch, about which the teacher itself is asked
    objective = replace(DistillArguments(), views=0, experts="none", soft_target_weight=0.0)
    scores, first = [], None
    for draw in range(demo.draws):
        print(f"\ndraw {draw + 1} of {demo.draws}: labels of {demo.labelled} subjects")
        made = train_draw(world, draw, teacher, args, objective)
        scores.append(score_draw(made, world))
        first = made if first is None else first
    assert first is not None
    write_report(Path(first.args.output_dir), replace(first, command=["dlink", "demo", *argv]))
    text, found = summarise(scores)
    write_json(folder / "demo.json", found)
    print(f"\n{text}")
    print(f"\nEverything is in {folder}; done in {(time.perf_counter() - started) / 60:.1f} minutes.")


__all__ = ["DemoArguments", "World", "make_world", "run", "summarise"]
