# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Arguments that the sub-commands of training and scoring share."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import torch

from ..core.config_checks import SINGLE_LABEL
from ..distillation.configuration_studio import DLinkStudioConfig
from ..training.recipe import EPOCHS, training_fields
from .flags import arg, named, parse
from .reading import ReadingArguments, TrialArguments


@dataclass
class DataArguments(ReadingArguments, TrialArguments):
    """Which recordings, how they are cut into labelled windows, and who trains and who tests."""

    dataset: str = arg(
        "",
        "Folder of recordings (EDF, BDF, FIF, GDF, BrainVision ...), a BIDS folder, a folder of Dataset.save_to_disk, "
        "`synthetic`, or one of the sets eegmat, ssvep_exo, eyes_gnb, eegmmidb (then see --data_dir). Required.",
    )
    data_dir: str | None = arg(None, "Folder that holds the four sets; the variable DLINK_DATA_DIR by default.")
    task: str | None = arg(None, "Task, of a set of several or a BIDS folder.")
    labels: str = arg(
        "annotations",
        "Where labels of your own recordings come from: `annotations` (EDF+, BrainVision ...), `events` (an event "
        "file next to each recording), or a CSV: columns recording and label, optionally onset, duration, subject.",
    )
    problem_type: str = arg(
        SINGLE_LABEL,
        "Or `regression`, `multi_label_classification` (';' between labels), or `token_classification`: "
        "a label for every place, by onset and duration.",
    )
    seconds_per_label: float = arg(1.0, "Length of such a place.")
    background: str | None = arg(None, "Label of places that nothing covers; none by default.")
    targets: str | None = arg(None, "Columns of the table that hold numbers, or zeros and ones: 'age,workload'.")
    label_pattern: str | None = arg(
        None, r"Label from the path instead: a regular expression with one group, such as '_(rest|task)\.edf$'."
    )
    label_map: str | None = arg(
        None, "Rename labels and choose them: 'T1=left,T2=right'. Labels that are not named are left out."
    )
    subject_pattern: str | None = arg(
        None, r"Subject from the path: a regular expression with one group, such as '(S\d+)'."
    )
    ch_names: str | None = arg(None, "Channels to use: 'C3,Cz,C4'; all known by default.")
    window_seconds: float | None = arg(None, "Length of a window in seconds; 5, or the set's own.")
    stride_seconds: float | None = arg(
        None, "From one window to the next in seconds; the window's length if left out."
    )
    sfreq: float | None = arg(None, "Rate in Hz that recordings are brought to; 200.")
    l_freq: float | None = arg(None, "High-pass edge in Hz; 0.5, or the set's own.")
    h_freq: float | None = arg(None, "Low-pass edge in Hz; 75, or the set's own.")
    notch_freq: float | None = arg(None, "Line frequency to take out, in Hz (50 or 60).")
    reject_uv: float | None = arg(None, "Leave out windows with a sample beyond this many microvolts.")
    alignment: str | None = arg(
        "auto",
        "Align each subject by their own unlabelled windows, test subjects too: `zscore`, `euclidean`, `monge`, "
        "`euclidean_monge` or `none`. `auto` takes euclidean_monge where (nearly) every subject's session holds all "
        "classes, else none, since the alignment would see the label. Saved with the model.",
    )
    alignment_one_class: str = arg(
        "refuse",
        "Subjects whose windows have one class only: `refuse`, `drop`, or `allow` (dangerous: right only where a "
        "subject's whole session truly has one class).",
    )
    split: str = arg(
        "auto",
        "`subjects`: at random; `benchmark`: those of this project's benchmarks, for its sets; `auto`: these for its "
        "sets, else at random; `published`: the set's published split (eegmat); "
        "FOLD/FOLDS such as 0/5; or a JSON file {DATASET: {'train': [subjects], 'validation': [...], 'test': [...]}}.",
    )
    validation: float = arg(0.15, "Subjects that choose the best model: a share below 1, or their number.")
    test: float = arg(0.2, "Subjects that are only tested on: a share below 1, or their number.")
    split_seed: int = arg(0, "Seed of the split.")
    cache_dir: str | None = arg(None, "Where prepared windows are kept; the user's cache if left out.")


@dataclass
class TeacherArguments:
    """The teacher: a checkpoint, or a foundation model to be fine-tuned first."""

    teacher: str | None = arg(
        None, "Folder, Hub id or short name of a fine-tuned teacher. One is fine-tuned here if left out."
    )
    teacher_checkpoint: str = arg(
        "auto",
        "Pre-trained teacher to fine-tune: braindecode/cbramod-pretrained (or another published checkpoint, by Hub id "
        "or folder), dlink-teacher-cbramod-4 (comes with the package), or `none` for random weights. `auto` takes the "
        "packaged one where it fits the windows and has seen none of the subjects who are scored.",
    )
    teacher_backbone: str = arg(
        "CBraMod",
        "Foundation model to train from random weights (`dlink teachers`). MiC, the student's own design, costs "
        "little and is often the best where there are no published weights.",
    )
    teacher_layers: int = arg(4, "Its number of layers.")
    teacher_input_scale: float | None = arg(
        1.0,
        "Factor from microvolts to its own numbers; 1 for fresh weights.",
    )
    teacher_steps: int = arg(400, "Steps of its fine-tuning.")
    teacher_epochs: float | None = arg(None, "Epochs of its fine-tuning, in place of --teacher_steps.")
    teacher_learning_rate: float = arg(5e-4, "Learning rate of its fine-tuning.")
    adaptation: str = arg(
        "full", "What of it trains: full, probe (only its head) or lora (its head and low-rank adapters)."
    )
    lora_rank: int = arg(8, "Rank of those adapters.")
    probe_first: bool = arg(
        True, "Start the head of a pre-trained teacher from a logistic regression on the frozen backbone."
    )
    freeze_epochs: float = arg(0.0, "Epochs in which only its head trains, before everything does.")
    layer_decay: float = arg(0.9, "Factor from the learning rate of one of its layers to that of the layer below.")
    head_learning_rate_multiplier: float = arg(1.0, "Learning rate of its head over --teacher_learning_rate.")
    label_smoothing: float = arg(0.1, "Share of each label that is spread over all classes while it trains.")
    augmentations: str = arg(
        "auto",
        "Random changes to its training windows: the recipe's (auto), `none`, or names, each with a probability of "
        "0.5 or its own: 'time_shift,noise=0.3'. Known are time_shift, channel_dropout, noise, frequency_shift, "
        "amplitude_scale, time_mask and sign_flip.",
    )

    def trainer_fields(self) -> dict[str, Any]:
        """The arguments of `make_trainer` among these."""
        same = ("adaptation", "lora_rank", "freeze_epochs", "head_learning_rate_multiplier", "label_smoothing")
        return {
            **{name: getattr(self, name) for name in same},
            "learning_rate_decay": self.layer_decay,
            "augmentation": self.augmentations,
        }


@dataclass
class StudentArguments:
    """The student, and what it is compared with."""

    student: str | None = arg(
        None, "Folder, Hub id or short name (dlink-mic-small) of a student to start from; a fresh one if left out."
    )
    student_size: str = arg("small", "Size of a fresh student: tiny, small or base.")
    student_label_smoothing: float = arg(0.1, "Share of each label that is spread over all classes.")
    student_augmentations: str = arg(
        "auto", "Random changes to its training windows; as --augmentations. The teacher is asked about the same ones."
    )


@dataclass
class ViewArguments:
    """What the student sees of the recordings, where that is less than what its teacher sees."""

    student_ch_names: str | None = arg(
        None,
        "Channels that the student reads and is aligned by, comma separated, or a headset (muse, emotiv_epoc, "
        "openbci_8 ...). All of the teacher's by default.",
    )
    student_window_seconds: float | None = arg(
        None, "Length of the student's window in seconds: the end of the teacher's. The teacher's by default."
    )
    unlabelled: str | None = arg(
        None, "Folder of recordings without labels, of further subjects: what needs no label is learned from them too."
    )


# the weights of the objective have one home
_OBJECTIVE = {f.name: f.default for f in dataclasses.fields(DLinkStudioConfig)}


@dataclass
class DistillArguments:
    """Weights of the terms of the objective, and what else is done."""

    kd_weight: float = arg(_OBJECTIVE["kd_weight"], "Weight of the distillation of the teacher's logits.")
    soft_target_weight: float = arg(_OBJECTIVE["soft_target_weight"], "Weight of the experts' soft targets.")
    kd_temperature: float = arg(_OBJECTIVE["kd_temperature"], "Temperature of both.")
    experts: str = arg(
        "auto",
        "Cross-fitted models whose probabilities are soft targets, comma separated: student (the student's own design "
        "on all that the teacher sees), bandpower, riemann; or `none`. `auto`: student where the student sees less "
        "than the teacher, none for unlabelled windows, else bandpower.",
    )
    teachers: int = arg(1, "How many experts of the student's own design, each with its seed.")
    folds: int | None = arg(None, "Folds for the cross-fitting of experts: 3, with --unlabelled 1 (none).")
    views: int = arg(EPOCHS, "Augmented views of each training window that take turns; experts are asked about each.")
    route_weight: float = arg(
        _OBJECTIVE["route_weight"], "Weight of the distance between mimic state and routed target."
    )
    route_distance: str = arg("mse", "That distance: mse, smooth_l1 or cosine.")
    spectral_weight: float = arg(_OBJECTIVE["spectral_weight"], "Weight of the spectral terms.")
    magnitude_weight: float = arg(1.0, "Weight of the magnitude inside them.")
    phase_weight: float = arg(1.0, "Weight of the phase inside them.")
    spectral_axes: list[str] = arg(["time"], "Axes of the spectra: some of space, time, features.")
    spectral_placement: list[str] = arg(["mimic", "compressed"], "What they compare: mimic, compressed, or both.")
    routing: str = arg("input", "Weights of the layers: input (one set per input), static, uniform or last.")
    router_balance_weight: float = arg(0.1, "Weight of the term that keeps the router from collapsing.")
    baseline: bool = arg(True, "Also train the same student without a teacher, for comparison.")
    name: str | None = arg(None, "Its name, for its card.")

    def studio_fields(self) -> dict[str, Any]:
        """The fields of `DLinkStudioConfig` among these arguments."""
        beside = {"routing", "baseline", "name", "experts", "teachers", "folds", "views"}
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name not in beside}


TRAINING_DEFAULTS: dict[str, Any] = training_fields(
    # 0: the recipe's number of steps
    num_train_epochs=0.0,
    eval_strategy="steps",
    eval_steps=0.2,
    save_strategy="steps",
    save_steps=0.2,
    save_total_limit=1,
    metric_for_best_model="auroc",
    # pinned memory serves a GPU only, and warns where there is none
    dataloader_pin_memory=torch.cuda.is_available(),
    class_weighting="balanced",
)

# of models to be fine-tuned: no score chooses among their epochs, the last one counts
GENERAL_TRAINING_DEFAULTS: dict[str, Any] = {
    **TRAINING_DEFAULTS,
    "num_train_epochs": 12.0,
    "learning_rate": 1e-3,
    "warmup_steps": 0.05,
    "eval_strategy": "epoch",
    "save_strategy": "epoch",
    "metric_for_best_model": None,
}


__all__ = [
    "GENERAL_TRAINING_DEFAULTS",
    "TRAINING_DEFAULTS",
    "DataArguments",
    "DistillArguments",
    "StudentArguments",
    "TeacherArguments",
    "arg",
    "named",
    "parse",
]
