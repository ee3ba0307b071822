# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""`dlink distill-backbone`: a general student, from recordings of any mix of montages, with and without labels."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from datasets import Dataset
from transformers import TrainingArguments, set_seed

from ..core.atomic_files import write_json
from ..core.people_file import read_people
from ..data.aligned_windows import align_dataset, find_single_class_groups
from ..data.build import build_dataset
from ..data.description import alignment_info
from ..data.public.own_sets import EEG_SETS, eeg_set_extractor
from ..data.unlabelled import set_recordings
from ..distillation.configuration_router import DLinkRouterConfig
from ..distillation.general.backbone_distillation import BackboneStudio
from ..distillation.general.backbone_report import plot_backbone_curves, write_backbone_card
from ..distillation.general.backbone_trainer import FILTER_RATE, BackboneTrainer, WindowSource, labelled_sets
from ..models.mic.configuration_mic import MiCConfig
from ..models.mic.modeling_mic import MiCModel
from ..models.teacher.modeling_teacher import DLinkTeacherModel
from ..models.token_grid import student_fields
from ..preprocessing.feature_extraction_eeg import EEGFeatureExtractor
from ..training.augmentation import EEGAugmentation, parse_augmentations
from .arguments import GENERAL_TRAINING_DEFAULTS, arg, parse
from .pretrain_teacher import PretrainArguments, hold_out, load_unlabelled
from .progress import name_progress
from .reading import ReadingArguments
from .run_results import shown_command
from .windows import PEOPLE_NAME, seen_before


DESCRIPTION = (
    "Distil a general student, to be fine-tuned: from a pre-trained teacher, on recordings of any mix of montages and "
    "tasks. It mimics the teacher on every window, and classifies those of the four sets, whose labels are known."
)
# arguments that say where things are on this machine, which does not concern others
_PLACES = ("data_dir", "people", "cache_dir", "teacher", "student")


@dataclass
class BackboneArguments(ReadingArguments):
    """Which recordings, how they are cut, which subjects the student learns from, and what."""

    teacher: str = arg(
        "", "Folder, Hub id or short name of a pre-trained teacher that takes any channels (CBraMod). Required."
    )
    recordings: list[str] = arg(
        [],
        "Names of the sets eegmat, ssvep_exo, eyes_gnb, eegmmidb (then see --data_dir), whose labels are used too, or "
        "folders of recordings, seen without labels.",
    )
    leave_out: list[str] = arg([], "Some of --recordings, not to be read at all.")
    tasks: list[str] = arg(
        ["eegmmidb=fists"], "Task of a set that has several, as SET=TASK; else its first. SET=none uses no labels."
    )
    data_dir: str | None = arg(None, "Folder that holds the four sets; the variable DLINK_DATA_DIR by default.")
    people: str | None = arg(
        None,
        "JSON file that says who may be seen: {NAME: {'train': [subjects ...], 'validation': [...]}} for each of "
        "--recordings. The student learns from the first list and is measured on the second; no one else is read.",
    )
    subject_pattern: str | None = arg(
        None, r"Subject from the path of your own recordings: a regular expression with one group, such as '(S\d+)'."
    )
    held_out: float = arg(0.1, "Without --subjects: share of the subjects that the student is measured on.")
    window_seconds: float = arg(5.0, "Length of a window without a label in seconds.")
    stride_seconds: float = arg(2.5, "From one of them to the next in seconds.")
    l_freq: float = arg(0.5, "High-pass edge in Hz.")
    h_freq: float = arg(45.0, "Low-pass edge in Hz.")
    reject_uv: float = arg(300.0, "Leave out windows without a label with a sample beyond this many microvolts.")
    alignments: list[str] = arg(
        ["none"],
        "How every window is shown: some of none, zscore, euclidean, monge, euclidean_monge; each subject (or "
        "run, for eegmmidb) is aligned by their own windows.",
    )
    cache_dir: str | None = arg(None, "Where prepared windows are kept; the user's cache if left out.")
    student: str | None = arg(None, "Folder, Hub id or short name of a student to start from; fresh if left out.")
    student_size: str = arg("small", "Size of a fresh student: tiny, small or base.")
    student_dropout: float = arg(0.1, "Dropout in the blocks of a fresh student.")
    routing: str = arg("input", "Weights of the layers: input (one set per input), static, uniform or last.")
    labelled_repeats: int = arg(1, "How often the labelled windows are seen in an epoch.")
    channel_subset: float = arg(
        0.0, "Probability that the student sees a random part of a batch's channels, a quarter of them or more."
    )
    fixed_normalisation: bool = arg(
        True,
        "Fix the statistics of the student's batch normalisation to those of all montages together, where each batch "
        "has its own otherwise.",
    )
    augmentations: str = arg(
        "",
        "Random changes to the windows, comma separated, each with a probability of 0.5 or its own: "
        "'time_shift,noise=0.3'. The same are known as for --augmentations of distill.",
    )
    class_weighting: str = arg("balanced", "Weights of the classes of each set: balanced or none.")
    filter_rate: float = arg(
        FILTER_RATE, "Learning rate of the student's filters over that of the rest: slow ones keep all bands of EEG."
    )
    task_weight: float = arg(1.0, "Weight of the cross-entropy of the student's heads.")
    route_weight: float = arg(1.0, "Weight of the distance between mimic state and routed target.")
    route_distance: str = arg("mse", "That distance: mse, smooth_l1 or cosine.")
    spectral_weight: float = arg(0.5, "Weight of the spectral terms.")
    magnitude_weight: float = arg(1.0, "Weight of the magnitude inside them.")
    phase_weight: float = arg(1.0, "Weight of the phase inside them.")
    spectral_placement: list[str] = arg(["mimic", "compressed"], "What they compare: mimic, compressed, or both.")
    router_task_weight: float = arg(1.0, "Weight of the cross-entropy of the router's heads.")
    router_balance_weight: float = arg(0.1, "Weight of the term that keeps the router from collapsing.")
    name: str = arg("my-student", "Its name, for its card.")

    def studio_fields(self) -> dict[str, object]:
        """Return the fields of `DLinkStudioConfig` among these arguments."""
        names = ("route_distance", "spectral_placement", *(f.name for f in dataclasses.fields(self)))
        weights = [name for name in names if name.endswith("_weight")]
        return {name: getattr(self, name) for name in ("route_distance", "spectral_placement", *weights)}

    def task_of(self, name: str) -> str | None:
        """Return the task of a set; `"none"` for no labels, None for its first task."""
        return dict(entry.partition("=")[::2] for entry in self.tasks).get(name)


def labelled_windows(
    name: str,
    data_dir: str | Path,
    subjects: Sequence[str],
    task: str | None,
    alignment: str = "none",
    l_freq: float = 0.5,
    h_freq: float = 45.0,
    cache_dir: str | None = None,
) -> Dataset:
    """Labelled windows of some subjects of one of the public sets; no file of anybody else is opened.

    Who has windows of one class only is left out, with or without alignment.

    Args:
        name: of `EEG_SETS`.
        data_dir: folder that holds the set's folder.
        subjects: subjects, or recordings of the set of one subject.
        task: of the set; None for its first.
        alignment: of each subject by their own windows, or `"none"`.
        l_freq, h_freq: pass band in Hz.
        cache_dir: as in `build_dataset`.

    Raises:
        FileNotFoundError: the recordings are not there, or none of these subjects' is of the task.
        ValueError: the task or a subject is unknown.
    """
    eeg_set = EEG_SETS[name]
    task = next(iter(eeg_set.tasks)) if task is None else task
    if task not in eeg_set.tasks:
        raise ValueError(f"{name} has no task {task!r}; it has {', '.join(eeg_set.tasks)}.")
    chosen, column = eeg_set.tasks[task], eeg_set.group_column
    paths = set_recordings(name, data_dir, subjects)
    paths = [path for path in paths if any(path.match(pattern) for pattern in chosen.files)]
    if not paths:
        raise FileNotFoundError(f"{name} holds no recording of the task {task!r} of {', '.join(subjects)}.")
    dataset = build_dataset(
        paths,
        eeg_set_extractor(name, l_freq=l_freq, h_freq=h_freq),
        chosen.labels,
        subject_pattern=eeg_set.subject_pattern,
        ignore_labels=chosen.ignore_labels,
        max_abs_uv=eeg_set.max_abs_uv,
        cache_dir=cache_dir,
    )
    keep = find_single_class_groups(dataset, np.asarray(dataset[column][:]), column, "drop")
    dataset = dataset if keep.all() else dataset.select(np.flatnonzero(keep))
    if alignment == "none":
        return dataset
    return align_dataset(dataset, alignment, group_column=column, cache_dir=cache_dir)


def load_sources(args: BackboneArguments) -> tuple[list[WindowSource], list[WindowSource], list[dict]]:
    """Return the windows to train on and to measure on, and who is in them.

    Returns:
        the sources of both; for each of `--recordings` its `source`, `group_column`, the `people` that are trained on,
        and those that the student is `chosen_by`.

    Raises:
        FileNotFoundError, ValueError: the arguments lead nowhere or contradict each other.
    """
    unknown = [name for name in args.leave_out if name not in args.recordings]
    if unknown:
        raise ValueError(f"--leave_out {' '.join(unknown)} is not among --recordings, {' '.join(args.recordings)}.")
    names = [name for name in args.recordings if name not in args.leave_out]
    if not names:
        raise ValueError(f"say what to distil on: --recordings FOLDER ..., or some of {', '.join(EEG_SETS)}.")
    if not args.alignments:
        raise ValueError("--alignments is empty: `none` shows windows as they are.")
    fields = {field.name for field in dataclasses.fields(PretrainArguments)} & set(vars(args))
    shared = {name: getattr(args, name) for name in fields - {"recordings", "alignments", "name"}}
    shared["alignments"] = [method for method in args.alignments if method != "none"]
    train, held, people = [], [], []
    for name in names:
        recordings = PretrainArguments(**shared, recordings=[name])
        datasets, (entry,) = load_unlabelled(recordings)
        if args.people is None:
            seen, measured = hold_out(datasets, [entry], args.held_out)
            chosen_by = entry.pop("held_out")
            entry["people"] = sorted(set(entry["people"]) - set(chosen_by))
        else:
            seen, measured, chosen_by = datasets, [], []
            if read_people(Path(args.people))[name].get("validation"):
                other = dataclasses.replace(recordings, people_split="validation")
                measured, (found,) = load_unlabelled(other)
                chosen_by = found["people"]
        people.append({**entry, "chosen_by": chosen_by})
        column = entry["group_column"]
        # the names of folders of one's own may hold anything
        key = name if name in EEG_SETS else Path(name).name
        for sources, found, members in ((train, seen, entry["people"]), (held, measured, chosen_by)):
            wanted = [one for one in found if (alignment_info(one) or {"method": "none"})["method"] in args.alignments]
            sources += [WindowSource(one, key, group_column=column) for one in wanted if len(one)]
            if name not in EEG_SETS or args.task_of(name) == "none" or not members:
                continue
            repeats = args.labelled_repeats if sources is train else 1
            for alignment in args.alignments:
                labelled = labelled_windows(
                    name,
                    args.data_dir or os.environ["DLINK_DATA_DIR"],
                    members,
                    args.task_of(name),
                    alignment,
                    args.l_freq,
                    args.h_freq,
                    args.cache_dir,
                )
                sources += [WindowSource(labelled, key, True, column)] * repeats
                print(f"{'':<14}{len(labelled):>7} of them labelled, alignment {alignment}")
    return train, held, people


def make_studio(args: BackboneArguments, sources: Sequence[WindowSource]) -> BackboneStudio:
    """Teacher, router, student and the heads of the labelled sets.

    Raises:
        OSError, ValueError: a checkpoint is not there, or does not fit.
    """
    if not args.teacher:
        raise ValueError("--teacher: name a pre-trained teacher, such as one of `dlink pretrain-teacher`.")
    teacher = DLinkTeacherModel.from_pretrained(args.teacher)
    if args.student is not None:
        student = MiCModel.from_pretrained(args.student)
    else:
        signal = {"sfreq": teacher.config.sfreq, "n_times": round(args.window_seconds * teacher.config.sfreq)}
        fields = {**student_fields(teacher.config), **signal, "hidden_dropout": args.student_dropout}
        student = MiCModel(MiCConfig.from_size(args.student_size, **fields))
    router = DLinkRouterConfig(
        hidden_size=teacher.config.hidden_size,
        num_layers=teacher.config.num_hidden_layers,
        n_chans=len(student.config.ch_names),
        routing=args.routing,
    )
    sets = labelled_sets(sources)
    options = {name: getattr(args, name) for name in ("channel_subset", "fixed_normalisation")}
    return BackboneStudio(teacher, student, sets, router, **options, **args.studio_fields())


def run(argv: Sequence[str]) -> None:
    """Entry of `dlink distill-backbone`."""
    defaults = {
        **GENERAL_TRAINING_DEFAULTS,
        "output_dir": "outputs/distill-backbone",
        "num_train_epochs": 10.0,
        "learning_rate": 2e-3,
    }
    backbone_args, args = parse(
        "distill-backbone", DESCRIPTION, (BackboneArguments, TrainingArguments), argv, defaults
    )
    train, held, people = load_sources(backbone_args)
    set_seed(args.seed)
    studio = make_studio(backbone_args, train)
    augmentation = None
    if backbone_args.augmentations:
        names = parse_augmentations(backbone_args.augmentations)
        augmentation = EEGAugmentation(names, sfreq=studio.student.config.sfreq, seed=args.seed)
    folder = Path(args.output_dir)
    if not held:
        args.eval_strategy = "no"
    args.output_dir = str(folder / "training")
    # what the next recording is brought to; channels and alignment are up to whoever fine-tunes
    extractor = EEGFeatureExtractor(
        sfreq=studio.student.config.sfreq,
        n_times=studio.student.config.n_times,
        l_freq=backbone_args.l_freq,
        h_freq=backbone_args.h_freq,
    )
    started = time.perf_counter()
    trainer = BackboneTrainer(
        studio,
        args,
        train,
        held,
        augmentation=augmentation,
        class_weighting=backbone_args.class_weighting,
        filter_rate=backbone_args.filter_rate,
        processing_class=extractor,
    )
    before = trainer.evaluate() if held else {}
    name_progress(trainer, "distillation").train(resume_from_checkpoint=args.resume_from_checkpoint)
    after = trainer.evaluate() if held else {}
    trainer.save_model(str(folder / "student"))
    write_json(folder / "student" / PEOPLE_NAME, {"pretraining": [*people, *seen_before(backbone_args.teacher)]})
    unlabelled, labelled = (
        {id(s.dataset): len(s.dataset) for s in train if s.labelled is kind} for kind in (False, True)
    )
    results = {
        "held_out_before": before,
        "held_out": after,
        "minutes": (time.perf_counter() - started) / 60,
        "windows": sum(unlabelled.values()) // len(backbone_args.alignments),
        "labelled_windows": sum(labelled.values()) // len(backbone_args.alignments),
        "arguments": {k: v for k, v in dataclasses.asdict(backbone_args).items() if k not in _PLACES},
        "training": {
            name: getattr(args, name)
            for name in ("learning_rate", "weight_decay", "per_device_train_batch_size", "seed")
        },
        "teacher": Path(backbone_args.teacher).name,
        "steps": trainer.state.global_step,
        "device": f"{trainer.args.device.type}, {torch.get_num_threads()} thread(s)",
        "people": people,
        "command": shown_command(["dlink", "distill-backbone", *argv]),
        "log": trainer.state.log_history,
    }
    write_json(folder / "student" / "results.json", results)
    if after:
        plot_backbone_curves(trainer.state.log_history, folder / "student" / "held_out.png")
        print(
            f"\nheld-out distance from the teacher: {after['eval_route_error']:.3f} of its power (before: "
            f"{before['eval_route_error']:.3f}; zeros: 1)"
        )
        for name, score in after.items():
            if name.endswith("balanced_accuracy") and "router" not in name:
                print(f"{name.removeprefix('eval_'):<45}{score:.3f}")
    write_backbone_card(folder / "student", studio.student, results, backbone_args.name)
    print(f"student (checkpoint)  {folder / 'student'}")


__all__ = ["BackboneArguments", "labelled_windows", "load_sources", "make_studio", "run"]
