# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Arguments that the sub-commands share, and how they are read: flags, or one YAML or JSON file."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers import HfArgumentParser

from ..distillation.configuration_studio import DLinkStudioConfig
from ..training.recipe import EPOCHS, training_fields
from .reading import ReadingArguments, TrialArguments


def arg(default: Any, help: str) -> Any:
    """A dataclass field with the help text that `--help` prints."""
    if isinstance(default, list):
        return field(default_factory=lambda: list(default), metadata={"help": help})
    return field(default=default, metadata={"help": help})


@dataclass
class DataArguments(ReadingArguments, TrialArguments):
    """Which recordings, how they are cut into labelled windows, and who trains and who tests."""

    dataset: str = arg(
        "",
        "Folder of recordings (EDF, BDF, FIF, GDF, BrainVision ...), a BIDS folder, a folder of Dataset.save_to_disk, "
        "`synthetic`, or one of the sets eegmat, ssvep_exo, eyes_gnb, eegmmidb (then see --data_dir). Required.",
    )
    data_dir: str | None = arg(None, "Folder that holds the four sets; the variable DLINK_DATA_DIR by default.")
    task: str | None = arg(None, "Task of a set that has several (eegmmidb), or of a BIDS folder.")
    labels: str = arg(
        "annotations",
        "Where labels of your own recordings come from: `annotations` (EDF+, BrainVision ...), `events` (an event "
        "file next to each recording), or a CSV: columns recording and label, optionally onset, duration, subject.",
    )
    label_pattern: str | None = arg(
        None, r"Label from the path instead: a regular expression with one group, such as '_(rest|task)\.edf$'."
    )
    label_map: str | None = arg(
        None, "Rename labels and choose them: 'T1=left,T2=right'. Labels that are not named are left out."
    )
    subject_pattern: str | None = arg(
        None, r"Subject from the path: a regular expression with one group, such as '(S\d+)'."
    )
    ch_names: str | None = arg(
        None, "Channels to use, comma separated: 'C3,Cz,C4'. All known EEG channels if left out."
    )
    window_seconds: float | None = arg(None, "Length of a window in seconds; 5, or the set's own.")
    stride_seconds: float | None = arg(
        None, "From one window to the next in seconds; the window's length if left out."
    )
    sfreq: float | None = arg(None, "Sampling rate in Hz that recordings are brought to; 200 if left out.")
    l_freq: float | None = arg(None, "High-pass edge in Hz; 0.5, or the set's own.")
    h_freq: float | None = arg(None, "Low-pass edge in Hz; 75, or the set's own.")
    notch_freq: float | None = arg(None, "Line frequency to take out, in Hz (50 or 60).")
    reject_uv: float | None = arg(None, "Leave out windows with a sample beyond this many microvolts.")
    alignment: str | None = arg(
        "auto",
        "Align each subject by their own unlabelled windows, test subjects too: `zscore`, `euclidean`, `monge`, "
        "`euclidean_monge` or `none`. `auto` takes euclidean_monge where (nearly) every subject's session holds all "
        "classes, and none where it does not, since the alignment would then see the label; it says which. Saved with "
        "the model.",
    )
    alignment_one_class: str = arg(
        "refuse",
        "Subjects whose windows have one class only, by which an alignment would see the label: `refuse`, `drop`, or "
        "`allow` (dangerous: right only where a subject's whole session truly has one class).",
    )
    split: str = arg(
        "auto",
        "`subjects`: subjects at random; `benchmark`: the subjects of this project's benchmarks, for its sets; "
        "`auto`: these for its sets, else subjects at random; `published`: the set's published split (eegmat); "
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
        "Foundation model to train from random weights; `dlink teachers` lists them. MiC for the student's own "
        "design, of size base: it costs little and is often the best teacher where there are no published weights.",
    )
    teacher_layers: int = arg(4, "Its number of layers.")
    teacher_input_scale: float | None = arg(
        1.0,
        "Factor from microvolts to its own numbers. Fresh weights learn best from plain microvolts (1); published "
        "ones want what they were trained on.",
    )
    teacher_steps: int = arg(400, "Steps of its fine-tuning.")
    teacher_epochs: float | None = arg(None, "Epochs of its fine-tuning, in place of --teacher_steps.")
    teacher_learning_rate: float = arg(5e-4, "Learning rate of its fine-tuning.")
    adaptation: str = arg(
        "full", "What of it trains: full, probe (only its head) or lora (its head and low-rank adapters)."
    )
    lora_rank: int = arg(8, "Rank of those adapters.")
    probe_first: bool = arg(
        True,
        "Start the head of a pre-trained teacher from a logistic regression on the frozen backbone, before "
        "--teacher_steps of fine-tuning (0 for none).",
    )
    freeze_epochs: float = arg(0.0, "Epochs in which only its head trains, before everything does.")
    layer_decay: float = arg(0.9, "Factor from the learning rate of one of its layers to that of the layer below.")
    head_learning_rate_multiplier: float = arg(1.0, "Learning rate of its head over --teacher_learning_rate.")
    label_smoothing: float = arg(0.1, "Share of each label that is spread over all classes while it trains.")
    augmentations: str = arg(
        "auto",
        "Random changes to the windows it trains on: the recipe's for windows of this length (auto), `none`, or names "
        "separated by commas, each with a probability of 0.5 or its own: "
        "'time_shift,noise=0.3'. Known are time_shift, channel_dropout, noise, frequency_shift, amplitude_scale, "
        "time_mask and sign_flip.",
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
        "Channels that the student reads, comma separated, or a headset: muse, emotiv_epoc, emotiv_insight, openbci_8 "
        "... All of the teacher's by default. It is aligned by these channels only.",
    )
    student_window_seconds: float | None = arg(
        None, "Length of the student's window in seconds: the end of the teacher's. The teacher's by default."
    )
    unlabelled: str | None = arg(
        None,
        "Folder of recordings without labels, of subjects who are neither validated nor tested on: what needs no "
        "label is learned from them too.",
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
        "than the teacher or has unlabelled windows, else bandpower.",
    )
    teachers: int = arg(1, "How many experts of the student's own design, which differ in their random numbers.")
    folds: int = arg(3, "Folds of subjects for the cross-fitting of experts.")
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

    def studio_fields(self) -> dict[str, Any]:
        """The fields of `DLinkStudioConfig` among these arguments."""
        beside = {"routing", "baseline", "experts", "teachers", "folds", "views"}
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name not in beside}


# flags of TrainingArguments that `--help` shows, in short; all the others work too and are listed by transformers
_COMMON_TRAINING = {
    "output_dir": "Folder that everything is written to.",
    "num_train_epochs": "Epochs; 0 for the recipe's number of steps: 32 epochs, at least 800 steps and at most 2,000.",
    "max_steps": "Steps, in place of epochs.",
    "per_device_train_batch_size": "Windows in a batch.",
    "gradient_accumulation_steps": "Batches that make up one step.",
    "learning_rate": "Highest learning rate.",
    "weight_decay": "Weight decay of AdamW.",
    "warmup_steps": "Steps of warm-up; below 1, a share of all.",
    "lr_scheduler_type": "Course of the learning rate.",
    "seed": "Seed of weights and order.",
    "bf16": "Train in bfloat16.",
    "use_cpu": "Train on the CPU even where there is a GPU.",
    "report_to": "Where curves go: tensorboard, wandb ...",
    "logging_steps": "Steps between two lines of the log.",
    "eval_strategy": "When to score: no, steps or epoch.",
    "save_strategy": "When to save: no, steps or epoch.",
    "metric_for_best_model": "Score that --load_best_model_at_end and --early_stopping_patience go by.",
    "resume_from_checkpoint": "Go on from this checkpoint, or (True) from the last.",
    "dataloader_num_workers": "Processes that read windows.",
    "mimic_epochs": "Epochs of a first stage of layers and spectra alone.",
    "class_weighting": "balanced, or none.",
    "early_stopping_patience": "Stop after so many evaluations without a better score.",
    "save_studio": "Also save teacher, router and decoder.",
    "teacher_cache_dir": "Store the teacher's features here, and train from them.",
}

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


class _HelpFormatter(argparse.ArgumentDefaultsHelpFormatter):
    """Help with one spelling of each flag, and defaults only where they say something."""

    def _get_help_string(self, action: argparse.Action) -> str:
        empty = action.default in (None, "", argparse.SUPPRESS)
        return action.help if empty else super()._get_help_string(action)

    def _format_action_invocation(self, action: argparse.Action) -> str:
        options = action.option_strings
        if not options or action.dest == "help":
            return super()._format_action_invocation(action)
        return options[0] if action.nargs == 0 else f"{options[0]} {action.dest.rsplit('_', 1)[-1].upper()}"


def named(argv: Sequence[str], *flags: str) -> list[str]:
    """The words of a command, its first ones named by `flags`: `DIR user/name` gives `--folder DIR --repo_id ...`."""
    words, found = list(argv), []
    for flag in flags:
        if not words or words[0].startswith("-") or words[0].endswith((".yaml", ".yml", ".json")):
            break
        found += [flag, words.pop(0)]
    return found + words


def parse(
    command: str,
    description: str,
    classes: Sequence[type],
    argv: Sequence[str],
    defaults: dict[str, Any] | None = None,
) -> tuple[Any, ...]:
    """Read the arguments of a sub-command from flags, or from one YAML or JSON file.

    Args:
        command: the sub-command, for the messages.
        description: what it does, for `--help`.
        classes: dataclasses, one object of each is returned.
        argv: the words after the sub-command.
        defaults: values of fields where neither flags nor file give one.

    Returns:
        one object of each class.

    Raises:
        FileNotFoundError: the file of arguments does not exist.
        ValueError: the file holds a key that no argument has.
        SystemExit: flags are not understood (status 2), or help was asked for (status 0).
    """
    parser = HfArgumentParser(
        list(classes),
        prog=f"dlink {command}",
        description=description + " Flags can also be put in one file: `dlink " + command + " FILE.yaml` (or .json).",
        formatter_class=_HelpFormatter,
        usage=f"dlink {command} [--flags | FILE.yaml | FILE.json]",
    )
    names = {f.name for cls in classes for f in dataclasses.fields(cls) if f.init}
    parser.set_defaults(**{key: value for key, value in (defaults or {}).items() if key in names})
    own = {f.name for cls in classes if cls.__module__.startswith(__package__) for f in dataclasses.fields(cls)}
    for action in parser._actions:
        if action.dest not in own | set(_COMMON_TRAINING) | {"help"}:
            action.help = argparse.SUPPRESS
        elif any(option.startswith("--no_") for option in action.option_strings):
            action.help = f"The same as --{action.dest} False."
            action.default = argparse.SUPPRESS
        elif action.dest not in own and action.dest in _COMMON_TRAINING:
            action.help = _COMMON_TRAINING[action.dest]
    if len(argv) == 1 and argv[0].endswith((".yaml", ".yml", ".json")):
        return _parse_file(parser, Path(argv[0]), names, defaults or {})
    *objects, rest = parser.parse_args_into_dataclasses(list(argv), return_remaining_strings=True)
    if rest:
        parser.error(f"not understood: {' '.join(rest)} (dlink {command} --help lists the flags)")
    return tuple(objects)


def _parse_file(parser: HfArgumentParser, path: Path, names: set[str], defaults: dict[str, Any]) -> tuple[Any, ...]:
    import yaml

    if not path.is_file():
        raise FileNotFoundError(f"There is no file of arguments {path}.")
    values = yaml.safe_load(path.read_text(encoding="utf-8"))
    if not isinstance(values, dict):
        raise ValueError(f"{path} must hold one mapping of arguments to values, got {type(values).__name__}.")
    unknown = sorted(set(values) - names)
    if unknown:
        raise ValueError(f"{path} holds unknown arguments: {', '.join(unknown)}.")
    return parser.parse_dict({**{k: v for k, v in defaults.items() if k in names}, **values})


__all__ = [
    "GENERAL_TRAINING_DEFAULTS",
    "TRAINING_DEFAULTS",
    "DataArguments",
    "DistillArguments",
    "StudentArguments",
    "TeacherArguments",
    "named",
    "parse",
]
