# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""`dlink pretrain-teacher`: masked patches of unlabelled recordings, of any mix of montages and rates."""

from __future__ import annotations

import copy
import dataclasses
import os
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from datasets import Dataset
from transformers import TrainingArguments, set_seed

from ..core.atomic_files import write_json
from ..core.checks import one_of
from ..core.people_file import read_people
from ..data.aligned_windows import align_dataset
from ..data.description import signal_info
from ..data.labels import match_group
from ..data.public.own_sets import EEG_SETS, eeg_set_extractor
from ..data.unlabelled import set_recordings, unlabelled_windows
from ..models.teacher.configuration_teacher import BACKBONES, DLinkTeacherConfig
from ..preprocessing.feature_extraction_eeg import EEGFeatureExtractor
from ..preprocessing.recordings import find_recordings
from ..training.pretraining import DLinkTeacherForPretraining, PretrainingTrainer
from ..training.pretraining_report import plot_held_out_error, plot_reconstruction, write_pretraining_card
from .arguments import GENERAL_TRAINING_DEFAULTS, arg, parse
from .progress import name_progress
from .reading import ReadingArguments, reading_settings
from .windows import PEOPLE_NAME


DESCRIPTION = (
    "Pre-train a foundation model on unlabelled recordings, of any mix of montages and rates: patches are masked and "
    "read back. Then fine-tune it: `dlink finetune-teacher --teacher_checkpoint OUTPUT_DIR/teacher`."
)
_HELD_OUT_SEED = 0
# arguments that say where things are on this machine, which does not concern others
_PLACES = ("data_dir", "people", "cache_dir")


@dataclass
class PretrainArguments(ReadingArguments):
    """Which recordings, how they are cut, and what is to be pre-trained."""

    recordings: list[str] = arg(
        [], "Folders of recordings, or names of the sets eegmat, ssvep_exo, eyes_gnb, eegmmidb (then see --data_dir)."
    )
    data_dir: str | None = arg(None, "Folder that holds the four sets; the variable DLINK_DATA_DIR by default.")
    people: str | None = arg(
        None,
        "JSON file that says who may be seen: {NAME: {'train': [subjects ...]}} for each of --recordings. No one else "
        "is read. All by default.",
    )
    people_split: str = arg("train", "Which list of that file.")
    subject_pattern: str | None = arg(
        None, r"Subject from the path of your own recordings: a regular expression with one group, such as '(S\d+)'."
    )
    held_out: float = arg(
        0.1, "Share of the subjects that the held-out error is measured on; none of them is trained on."
    )
    window_seconds: float = arg(5.0, "Length of a window in seconds.")
    stride_seconds: float = arg(2.5, "From one window to the next in seconds.")
    l_freq: float = arg(0.5, "High-pass edge in Hz.")
    h_freq: float = arg(45.0, "Low-pass edge in Hz.")
    reject_uv: float = arg(300.0, "Leave out windows with a sample beyond this many microvolts.")
    alignments: list[str] = arg(
        [],
        "Show every window again as unsupervised alignment of its subject makes it: some of zscore, euclidean, monge. "
        "The teacher then knows aligned windows, too.",
    )
    cache_dir: str | None = arg(None, "Where prepared windows are kept; the user's cache if left out.")
    teacher_backbone: str = arg("CBraMod", "Foundation model to pre-train: CBraMod.")
    teacher_layers: int = arg(4, "Its number of layers.")
    teacher_input_scale: float = arg(1.0, "Factor from microvolts to its own numbers.")
    teacher_dropout: float = arg(0.0, "Its dropout while it is pre-trained.")
    mask_ratio: float = arg(0.5, "Share of the patches that is hidden.")
    spectral_target_weight: float = arg(0.5, "Weight of the log-spectra of the patches, added to the hidden samples.")
    name: str = arg("my-teacher", "Its name, for its card.")
    half: bool = arg(False, "Save the teacher in 16-bit floating point, half the size.")


def load_unlabelled(args: PretrainArguments) -> tuple[list[Dataset], list[dict]]:
    """Return the windows of all recordings, one dataset per montage, and who is in them.

    Returns:
        the datasets; for each of `--recordings` its `source`, `group_column` and `people`.

    Raises:
        FileNotFoundError, ValueError: the arguments lead nowhere or contradict each other.
    """
    if not args.recordings:
        raise ValueError(f"say what to pre-train on: --recordings FOLDER ..., or some of {', '.join(EEG_SETS)}.")
    if args.people is not None and not Path(args.people).is_file():
        raise FileNotFoundError(f"There is no file {args.people}.")
    lists = read_people(Path(args.people)) if args.people is not None else {}
    settings = {"sfreq": BACKBONES[args.teacher_backbone].sfreq, "l_freq": args.l_freq, "h_freq": args.h_freq}
    settings["n_times"] = round(args.window_seconds * settings["sfreq"])
    settings["stride"] = round(args.stride_seconds * settings["sfreq"])
    common = {"max_abs_uv": args.reject_uv, "cache_dir": args.cache_dir}
    datasets, people = [], []
    for source in args.recordings:
        wanted = None
        if args.people is not None:
            if args.people_split not in lists.get(source, {}):
                raise ValueError(f"{args.people} has no list {args.people_split!r} for {source!r}.")
            wanted = lists[source][args.people_split]
        if source in EEG_SETS:
            data_dir = args.data_dir or os.environ.get("DLINK_DATA_DIR")
            if data_dir is None:
                raise ValueError(f"--data_dir: name the folder that holds {EEG_SETS[source].folder}/.")
            column, pattern = EEG_SETS[source].group_column, EEG_SETS[source].subject_pattern
            paths, extractor = set_recordings(source, data_dir, wanted), eeg_set_extractor(source, **settings)
        else:
            column, pattern = "subject", args.subject_pattern
            paths = find_recordings(Path(source))
            if wanted is not None:
                # no other subject's file is opened
                paths = [path for path in paths if _person(path, pattern) in set(wanted)]
            extractor = EEGFeatureExtractor(**settings, **reading_settings(args))
        found = unlabelled_windows(paths, extractor, subject_pattern=pattern, **common)
        seen = sorted({group for dataset in found for group in dataset[column][:]})
        windows = sum(map(len, found))
        print(f"{source:<14}{windows:>7} windows of {len(seen)} {column}s, {len(found)} montage(s)")
        people.append({"source": source, "group_column": column, "people": seen})
        datasets += found
        for method in args.alignments:
            # one label means none; a subject's statistics are those of all of their recordings
            options = {"group_column": column, "one_class": "allow", "cache_dir": args.cache_dir}
            datasets += [align_dataset(dataset, method, **options) for dataset in found]
    return datasets, people


def hold_out(datasets: Sequence[Dataset], people: Sequence[dict], share: float) -> tuple[list[Dataset], list[Dataset]]:
    """Split by subject: the windows to train on, and those that the held-out error is measured on."""
    if not 0 <= share < 1:
        raise ValueError(f"--held_out must be a share below 1, got {share}.")
    held: set[tuple[str, str]] = set()
    for entry in people:
        # at least one subject of every source, unless none would be left to train on
        count = min(max(round(share * len(entry["people"])), 1 if share else 0), len(entry["people"]) - 1)
        chosen = random.Random(_HELD_OUT_SEED).sample(entry["people"], count)
        held |= {(entry["group_column"], person) for person in chosen}
        entry["held_out"] = sorted(chosen)
    train, validation = [], []
    for dataset in datasets:
        columns = {name: dataset[name][:] for name in ("subject", "recording")}
        is_held = [any((name, columns[name][i]) in held for name in columns) for i in range(len(dataset))]
        train.append(dataset.select([i for i, out in enumerate(is_held) if not out]))
        validation.append(dataset.select([i for i, out in enumerate(is_held) if out]))
    return train, [dataset for dataset in validation if len(dataset)]


def _person(path: Path, pattern: str | None) -> str:
    """Who was recorded, by the path: the pattern's group, or the name of the file."""
    return match_group(pattern, path.as_posix(), "subject") if pattern else path.stem


def _write_card(
    folder: Path,
    model: DLinkTeacherForPretraining,
    results: dict,
    pretrain_args: PretrainArguments,
    args: TrainingArguments,
) -> None:
    """The card, with the settings that the training hung on."""
    sources = {
        source: EEG_SETS[source].source + "." if source in EEG_SETS else "Own recordings."
        for source in pretrain_args.recordings
    }
    settings = {
        "windows trained on": f"{results['windows']:,}",
        "each also aligned by": ", ".join(pretrain_args.alignments) or "nothing",
        "pass band": f"{pretrain_args.l_freq:g}-{pretrain_args.h_freq:g} Hz",
        "hidden patches": f"{pretrain_args.mask_ratio:.0%}",
        "weight of the log-spectra": f"{pretrain_args.spectral_target_weight:g}",
        "steps": f"{results['steps']:,} of {args.per_device_train_batch_size} windows",
        "learning rate": f"{args.learning_rate:g}, {args.lr_scheduler_type.value}",
        "time": f"{results['minutes']:.0f} minutes on {results['device']}",
    }
    write_pretraining_card(folder, model, results, sources, settings, pretrain_args.name)


def run(argv: Sequence[str]) -> None:
    """Entry of `dlink pretrain-teacher`."""
    defaults = {
        **GENERAL_TRAINING_DEFAULTS,
        "output_dir": "outputs/pretrain-teacher",
        "num_train_epochs": 30.0,
        "learning_rate": 5e-4,
    }
    pretrain_args, args = parse(
        "pretrain-teacher", DESCRIPTION, (PretrainArguments, TrainingArguments), argv, defaults
    )
    one_of("--teacher_backbone", pretrain_args.teacher_backbone, BACKBONES)
    datasets, people = load_unlabelled(pretrain_args)
    train, validation = hold_out(datasets, people, pretrain_args.held_out)
    info = signal_info(train[0])
    kwargs = {BACKBONES[pretrain_args.teacher_backbone].depth_argument: pretrain_args.teacher_layers}
    config = DLinkTeacherConfig(
        backbone=pretrain_args.teacher_backbone,
        backbone_kwargs={**kwargs, "drop_prob": pretrain_args.teacher_dropout},
        input_scale=pretrain_args.teacher_input_scale,
        ch_names=list(info.ch_names),
        sfreq=info.sfreq,
        n_times=info.n_times,
    )
    set_seed(args.seed)
    model = DLinkTeacherForPretraining(config, pretrain_args.mask_ratio, pretrain_args.spectral_target_weight)
    folder = Path(args.output_dir)
    if not validation:
        args.eval_strategy = "no"
    args.output_dir = str(folder / "training")
    trainer = PretrainingTrainer(model, args, train, validation or None)
    started = time.perf_counter()
    before = trainer.evaluate() if validation else {}
    name_progress(trainer, "pre-training").train(resume_from_checkpoint=args.resume_from_checkpoint)
    after = trainer.evaluate() if validation else {}
    teacher = copy.deepcopy(model.teacher).to(torch.float16) if pretrain_args.half else model.teacher
    teacher.save_pretrained(folder / "teacher")
    write_json(folder / "teacher" / PEOPLE_NAME, {"pretraining": people})
    results = {
        "held_out_before": before,
        "held_out": after,
        "minutes": (time.perf_counter() - started) / 60,
        "windows": sum(map(len, train)) // (1 + len(pretrain_args.alignments)),
        "arguments": {k: v for k, v in dataclasses.asdict(pretrain_args).items() if k not in _PLACES},
        "steps": trainer.state.global_step,
        "device": f"{trainer.args.device.type}, {torch.get_num_threads()} thread(s)",
        "people": people,
        "log": trainer.state.log_history,
    }
    write_json(folder / "teacher" / "results.json", results)
    if after:
        window = validation[0][0]["input_values"]
        # somebody's recording: it stays out of the folder that is shared
        plot_reconstruction(model, window, signal_info(validation[0]).ch_names, folder / "reconstruction.png")
        plot_held_out_error(trainer.state.log_history, folder / "teacher" / "held_out_error.png")
        _write_card(folder / "teacher", model, results, pretrain_args, args)
        print(
            f"\nheld-out error of masked patches: {after['eval_reconstruction_error']:.3f} of their power (before: "
            f"{before['eval_reconstruction_error']:.3f}; a flat line: 1)\n"
            f"held-out error of their log-spectra: {after['eval_spectral_error']:.3f} (before: "
            f"{before['eval_spectral_error']:.3f})"
        )
        print(f"hidden patches, read back  {folder / 'reconstruction.png'}")
    print(f"teacher (checkpoint)  {folder / 'teacher'}")


__all__ = ["PretrainArguments", "hold_out", "load_unlabelled", "run"]
