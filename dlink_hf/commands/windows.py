# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""From the data arguments of a command to labelled windows and subject-wise splits."""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset, DatasetDict, load_from_disk

from ..core.atomic_files import write_json
from ..core.checkpoint_names import resolve_checkpoint
from ..core.config_checks import SINGLE_LABEL, TOKENS
from ..core.fetch import fetch
from ..core.people_file import read_people
from ..data import (
    EEG_SETS,
    align_dataset,
    alignment_info,
    build_dataset,
    eeg_set_extractor,
    load_eeg_set,
    monge_reference,
    split_by_column,
    split_by_subject,
    subject_kfold,
    synthetic_dataset,
)
from ..data.aligned_windows import alignment_text, find_single_class_groups, judged_rows
from ..data.description import signal_info, task_info
from ..data.numeric_labels import describe_labels
from ..data.public.own_sets import BENCHMARK_SUBJECTS, benchmark_subjects
from ..distillation.training_args import DLinkTrainingArguments
from ..preprocessing.alignment import alignment_facts
from ..preprocessing.feature_extraction_eeg import EEGFeatureExtractor
from .arguments import DataArguments
from .label_flags import check_saved_labels, label_source, label_stretches, parse_label_map
from .reading import reading_settings, with_reading


logger = logging.getLogger(__name__)

# which subjects trained a checkpoint, written next to it
PEOPLE_NAME = "people.json"

# `--alignment auto`: the least share of subjects whose windows are of every class; samples that a spectrum needs
MOST_SUBJECTS = 0.8
MONGE_SAMPLES = 256

# what recordings of the user's own are brought to where no flag says otherwise
OWN_DEFAULTS = {"sfreq": 200.0, "window_seconds": 5.0, "l_freq": 0.5, "h_freq": 75.0}


def extractor_settings(args: DataArguments, defaults: dict[str, Any]) -> dict[str, Any]:
    """Arguments of `EEGFeatureExtractor`: those of flags that were given, else the defaults."""
    names = ("sfreq", "l_freq", "h_freq", "notch_freq", "reject_uv", "window_seconds")
    values = {**{name: getattr(args, name) for name in names}, "alignment": chosen_alignment(args)}
    settings = {**defaults, **{name: value for name, value in values.items() if value is not None}}
    settings.update(reading_settings(args))
    sfreq, seconds = settings.get("sfreq", 200.0), settings.pop("window_seconds", None)
    if seconds is not None:
        settings["n_times"] = round(seconds * sfreq)
    if args.stride_seconds is not None:
        settings["stride"] = round(args.stride_seconds * sfreq)
    if args.ch_names is not None:
        settings["ch_names"] = [name.strip() for name in args.ch_names.split(",") if name.strip()]
    return settings


def chosen_alignment(args: DataArguments) -> str | None:
    """The alignment that a flag names; None for `none`, and for `auto` before [`settle_alignment`] has decided."""
    return None if args.alignment in (None, "none", "auto") else args.alignment


def settle_alignment(
    args: DataArguments, group_column: str = "subject", least_seconds: float | None = None
) -> DataArguments:
    """Decide what `--alignment auto` means for these recordings, and say it.

    An alignment is fitted on all windows of a subject without their labels. Where a subject's windows are all of one
    class it would see the label all the same, so it is taken only where at least 80 % of the subjects have windows of
    every class; the others are left out. Labels decide this once, before any split, by which classes there are.

    Args:
        args: of a command.
        group_column: what splits keep apart.
        least_seconds: length of the shortest windows that are to be aligned, where some are shorter than the rest.

    Returns:
        the arguments, `alignment` settled; the same ones where it does not say `auto`.
    """
    if args.problem_type == TOKENS and chosen_alignment(args) is not None:
        raise ValueError(f"--alignment {args.alignment} is not for --problem_type {TOKENS}: leave it out.")
    if args.alignment != "auto":
        return args
    if args.problem_type == TOKENS:
        return dataclasses.replace(args, alignment="none")
    dataset, _ = load_windows(dataclasses.replace(args, alignment="none"))
    if task_info(dataset) is not None and alignment_info(dataset) is None:
        print(
            "alignment: none (auto: labels are no classes, and what a subject's numbers share would be aligned away)"
        )
        return dataclasses.replace(args, alignment="none")
    if alignment_info(dataset) is not None:
        print(f"alignment: {alignment_text(dataset)} (auto: the windows were saved aligned)")
        return dataclasses.replace(args, alignment="none")
    groups, labels = np.asarray(dataset[group_column][:]), np.asarray(dataset["labels"][:])
    n_classes = {group: len(np.unique(labels[groups == group])) for group in np.unique(groups)}
    whole = sum(count == dataset.features["labels"].num_classes for count in n_classes.values())
    told = f"{whole} of {len(n_classes)} {group_column}s have windows of every class"
    if whole < MOST_SUBJECTS * len(n_classes):
        print(
            f"alignment: none (auto: only {told}; fitted on one class it would see the label. If several files are of "
            f"one {group_column}, say so with --subject_pattern)"
        )
        return dataclasses.replace(args, alignment="none")
    # a spectrum needs windows of a whole segment
    info = signal_info(dataset)
    n_times = info.n_times if least_seconds is None else min(info.n_times, round(least_seconds * info.sfreq))
    method = "euclidean_monge" if n_times >= MONGE_SAMPLES else "euclidean"
    print(f"alignment: {method} (auto: {told})")
    single = [group for group, count in n_classes.items() if count == 1]
    return dataclasses.replace(args, alignment=method, alignment_one_class="drop" if single else "refuse")


def load_windows(
    args: DataArguments, extractor: EEGFeatureExtractor | None = None, keep_rejected: bool = False
) -> tuple[Dataset, EEGFeatureExtractor | None]:
    """Labelled windows, and the feature extractor that made them.

    Args:
        args: which recordings, and how they are cut.
        extractor: that of a trained model, in place of the flags' settings.
        keep_rejected: keep the windows that training leaves out, with a `reason`, as in `build_dataset`.

    Returns:
        the dataset, aligned subject by subject where the flags or the extractor say so; the extractor, its `ch_names`
        those of the windows (None for a dataset that was saved ready-made).

    Raises:
        FileNotFoundError: the recordings are not there.
        ValueError: the arguments contradict each other, or the recordings can't be used; the message says why.
    """
    if not args.dataset:
        raise ValueError(
            f"say which recordings to use: --dataset FOLDER, --dataset synthetic, or one of {', '.join(EEG_SETS)}."
        )
    if extractor is not None and args.alignment not in (None, "auto", extractor.alignment or "none"):
        raise ValueError(
            f"--alignment {args.alignment} contradicts the model, whose windows have {extractor.alignment or 'none'}: "
            "leave it out, the model's own is taken."
        )
    if extractor is not None:
        extractor = with_reading(extractor, args)
    common = {"cache_dir": args.cache_dir, "alignment_one_class": args.alignment_one_class}
    if keep_rejected:
        common["keep_rejected"] = True
    if args.reject_uv is not None:
        common["max_abs_uv"] = args.reject_uv
    if args.problem_type != SINGLE_LABEL and (args.dataset == "synthetic" or args.dataset in EEG_SETS):
        raise ValueError(f"--problem_type {args.problem_type}: {args.dataset} has classes; leave the flag out.")
    if args.dataset == "synthetic":
        extractor = extractor or EEGFeatureExtractor(**extractor_settings(args, {"n_times": 1000, "l_freq": 0.5}))
        dataset = synthetic_dataset(extractor=extractor, cache_dir=args.cache_dir)
    elif args.dataset in EEG_SETS:
        data_dir = args.data_dir or os.environ.get("DLINK_DATA_DIR")
        if data_dir is None:
            raise ValueError(
                f"--data_dir: name the folder that holds {EEG_SETS[args.dataset].folder}/, or set DLINK_DATA_DIR. "
                f"The recordings are published as: {EEG_SETS[args.dataset].source}."
            )
        extractor = extractor or eeg_set_extractor(args.dataset, **extractor_settings(args, {}))
        dataset = load_eeg_set(args.dataset, data_dir, args.task, extractor=extractor, **common)
    else:
        folder = Path(args.dataset)
        if not folder.exists():
            raise FileNotFoundError(
                f"--dataset {args.dataset!r} is neither a folder or file of recordings, nor `synthetic`, nor one of "
                f"{', '.join(EEG_SETS)}."
            )
        if (folder / "dataset_info.json").is_file():
            saved = load_from_disk(str(folder)).with_format("torch")
            check_saved_labels(saved, args)
            return _align_saved(saved, args, extractor), None
        extractor = extractor or EEGFeatureExtractor(**extractor_settings(args, OWN_DEFAULTS))
        own: dict[str, Any] = {
            "subject_pattern": args.subject_pattern,
            "ignore_labels": "others" if args.label_map else (),
            "bids_entities": {"tasks": args.task} if args.task else None,
            **common,
        }
        if args.problem_type == TOKENS:
            dataset = label_stretches(args, folder, extractor, own)
        else:
            dataset = build_dataset(folder, extractor, label_source(args), problem_type=args.problem_type, **own)
    # the montage that the models are trained on is what the extractor looks for in the next recording
    extractor.ch_names = list(signal_info(dataset).ch_names)
    return dataset, extractor


def _align_saved(dataset: Dataset, args: DataArguments, extractor: EEGFeatureExtractor | None) -> Dataset:
    """A dataset that was saved ready-made, aligned as the flags or a model want it; never twice."""
    found = alignment_info(dataset)
    if extractor is None:
        method, reference = chosen_alignment(args), None
    else:
        method, reference = extractor.alignment, extractor.alignment_reference
    if extractor is None and method is None:
        return dataset
    if found is not None:
        wanted = None if method is None else alignment_facts(method, reference)
        if wanted != {name: found[name] for name in ("method", "reference")}:
            raise ValueError(
                f"the windows in {args.dataset} are aligned already ({found['method']}, reference "
                f"{found['reference']}), wanted is {method or 'no alignment'}: take the windows before alignment."
            )
        return dataset
    if method is None:
        return dataset
    options = {"cache_dir": args.cache_dir, "one_class": args.alignment_one_class}
    return align_dataset(dataset, method, reference=reference, **options)


def measure_reference(args: DataArguments, group_column: str) -> EEGFeatureExtractor | None:
    """The extractor for Monge mapping to the spectrum of the training subjects, who are those of the split.

    Returns:
        the extractor; None for windows that were saved ready-made, which get the fixed reference.
    """
    dataset, extractor = load_windows(dataclasses.replace(args, alignment="none"))
    if extractor is None:
        return None
    # the subjects that the alignment leaves out must be out before the split is drawn
    subjects = np.asarray(dataset[group_column][:])
    keep = find_single_class_groups(dataset, subjects, group_column, args.alignment_one_class)
    train = split_windows(dataset.select(np.flatnonzero(keep)), args, group_column)["train"]
    reference = monge_reference(train, group_column=group_column, one_class=args.alignment_one_class)
    return EEGFeatureExtractor(**{**extractor.to_dict(), "alignment": "monge", "alignment_reference": reference})


def split_windows(dataset: Dataset, args: DataArguments, group_column: str = "subject") -> DatasetDict:
    """Split windows by subject (or by recording) as `--split` says.

    Raises:
        ValueError: the split is unknown, impossible with so few subjects, or shares a subject.
    """
    split = args.split
    if split == "auto":
        split = "benchmark" if args.dataset in benchmark_subjects() else "subjects"
    if split == "published":
        if "split" not in dataset.column_names:
            raise ValueError(f"--split published: {args.dataset} has no published split; take `subjects` or 0/5.")
        return split_by_column(dataset, group_column=group_column)
    validation, test = (int(x) if x >= 1 else x for x in (args.validation, args.test))
    if split == "benchmark":
        if args.dataset not in benchmark_subjects():
            raise ValueError(
                f"--split benchmark: the benchmarks have no lists of {args.dataset!r}, only of "
                f"{', '.join(benchmark_subjects())}; take `subjects` or 0/5."
            )
        return split_by_lists(dataset, BENCHMARK_SUBJECTS, args.dataset, group_column)
    if split == "subjects":
        return split_by_subject(dataset, validation, test, seed=args.split_seed, group_column=group_column)
    if split.endswith(".json"):
        return split_by_lists(dataset, Path(split), args.dataset, group_column)
    fold, slash, folds = split.partition("/")
    if not (slash and fold.isdigit() and folds.isdigit() and int(fold) < int(folds)):
        raise ValueError(
            "--split must be `subjects`, `benchmark`, `published`, FOLD/FOLDS such as 0/5, or a .json file, got "
            f"{args.split!r}."
        )
    kfold = subject_kfold(dataset, int(folds), seed=args.split_seed, validation=validation, group_column=group_column)
    return next(splits for index, splits in enumerate(kfold) if index == int(fold))


def split_by_lists(dataset: Dataset, path: Path, source: str, group_column: str) -> DatasetDict:
    """Split windows by the lists of a file: {SOURCE: {"train": [subjects ...], "validation": [...], "test": [...]}}.

    Whoever is in no list is left out.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it has no lists for these recordings, or a list names no subject that has windows.
    """
    if not path.is_file():
        raise FileNotFoundError(f"--split: there is no file {path}.")
    lists = read_people(path).get(source)
    if not isinstance(lists, dict) or not lists.get("train"):
        raise ValueError(f"--split: {path} has no list of {source!r} to train on.")
    present = set(map(str, dataset[group_column][:]))
    absent = sorted({person for name in ("train", "validation", "test") for person in lists.get(name, [])} - present)
    if absent:
        logger.warning("%s names %d %ss without a window: %s", path, len(absent), group_column, absent[:8])
    found = {name: [x for x in lists.get(name, []) if x in present] for name in ("train", "validation", "test")}
    empty = [name for name in found if lists.get(name) and not found[name]]
    if empty:
        raise ValueError(f"--split: of the list {empty[0]!r} of {path} there is no window of anybody.")
    return split_by_subject(
        dataset,
        validation=found["validation"] or 0,
        test=found["test"] or 0,
        train=found["train"],
        group_column=group_column,
    )


def load_splits(
    args: DataArguments,
    training_args: DLinkTrainingArguments,
    extractor: EEGFeatureExtractor | None = None,
    keep_rejected: bool = False,
) -> tuple[DatasetDict, EEGFeatureExtractor | None]:
    """Windows, split; a set of one subject is split by recording, and the trainer told so.

    With `keep_rejected` windows that training leaves out are in the split of their subject, with a `reason`; subjects
    who have no others are in none, as in training.
    """
    if args.dataset in EEG_SETS:
        training_args.group_column = EEG_SETS[args.dataset].group_column
    if extractor is None:
        args = settle_alignment(args, training_args.group_column)
    if args.alignment == "monge" and extractor is None:
        extractor = measure_reference(args, training_args.group_column)
    dataset, extractor = load_windows(args, extractor, keep_rejected)
    judged, column = judged_rows(dataset), training_args.group_column
    splits = split_windows(dataset if judged.all() else dataset.select(np.flatnonzero(judged)), args, column)
    if not judged.all():
        groups = np.asarray(dataset[column][:])
        for name, split in splits.items():
            splits[name] = dataset.select(np.flatnonzero(np.isin(groups, split[column][:])))
    print_splits(splits, training_args.group_column)
    return splits, extractor


def print_splits(splits: DatasetDict, group_column: str = "subject") -> None:
    """Say who trains, who chooses and who tests, and what was done with their windows."""
    alignment = alignment_text(next(iter(splits.values())))
    if alignment is not None:
        print(f"alignment: {alignment}")
    for name, split in splits.items():
        counts = describe_labels(split)
        groups = sorted({str(group) for group in split[group_column][:]})
        shown = ", ".join(groups[:6]) + (" ..." if len(groups) > 6 else "")
        print(f"{name:<11}{len(split):>6} windows ({counts}) of {len(groups)} {group_column}s: {shown}")


def write_people(
    folder: Path, source: str, splits: DatasetDict, group_column: str, started_from: Sequence[str | None] = ()
) -> Path:
    """Note next to a checkpoint which subjects it was trained on and chosen by, for [`check_people`].

    Args:
        folder: of the checkpoint.
        source: what the recordings are.
        splits: the windows, by split.
        group_column: what splits keep apart.
        started_from: folders or Hub ids of checkpoints that it goes back to, its teacher's among them; the subjects
            that those saw are noted too. None among them means a fresh model.
    """
    people: dict[str, Any] = {name: sorted(set(map(str, split[group_column][:]))) for name, split in splits.items()}
    seen = [entry for checkpoint in started_from if checkpoint is not None for entry in seen_before(checkpoint)]
    if seen:
        people["pretraining"] = seen
    return write_json(folder / PEOPLE_NAME, {"source": source, "group_column": group_column, **people})


def _read_people(checkpoint: str) -> dict[str, Any] | None:
    path = fetch(resolve_checkpoint(checkpoint), PEOPLE_NAME, {})
    return None if path is None else read_people(path)


def seen_before(checkpoint: str) -> list[dict[str, Any]]:
    """Return the subjects that a checkpoint has seen, by what was noted next to it.

    Args:
        checkpoint: folder, Hub id or short name of a trained model.

    Returns:
        of each set of recordings its `source`, `group_column`, the `people` that it was trained on and those that it
        was `chosen_by`; where nothing was noted, one entry whose `source` is the checkpoint, without subjects.
    """
    noted = _read_people(checkpoint)
    if noted is None:
        return [{"source": checkpoint, "group_column": None, "people": []}]
    seen = list(noted.get("pretraining", []))
    if "source" in noted:
        entry = {"source": noted["source"], "group_column": noted["group_column"]}
        seen.append({**entry, "people": noted.get("train", []), "chosen_by": noted.get("validation", [])})
    return seen


def check_people(checkpoint: str, source: str, splits: DatasetDict, group_column: str) -> bool:
    """Refuse a checkpoint that has seen subjects it is to be scored on.

    Args:
        checkpoint: folder or Hub id of a trained model.
        source: what the recordings are, as in [`write_people`].
        splits: `validation` and `test` are to be scored.
        group_column: what splits keep apart.

    Returns:
        whether it is known that the checkpoint has seen none of them.

    Raises:
        ValueError: naming those that it has seen.
    """
    noted = _read_people(checkpoint)
    if noted is None:
        return False
    scored = {name: set(map(str, splits[name][group_column][:])) for name in ("validation", "test") if name in splits}
    known = True
    for entry in noted.get("pretraining", []):
        if (entry["source"], entry["group_column"]) == (source, group_column):
            seen = set(entry["people"]) - set(entry.get("held_out", []))
            for name, people in scored.items():
                _refuse_seen(checkpoint, sorted(seen & people), group_column, "pre-training", name)
            chosen = sorted(set(entry.get("chosen_by", [])) & scored.get("test", set()))
            _refuse_seen(checkpoint, chosen, group_column, "pre-training, as those it was chosen by", "test")
        else:
            # two of the public sets have no subject in common; of other folders nothing is known
            known &= entry["source"] in EEG_SETS and source in EEG_SETS and entry["source"] != source
    if "source" not in noted:
        return known
    if (noted["source"], noted["group_column"]) != (source, group_column):
        return False
    for seen_as, scored_as in (("train", "validation"), ("train", "test"), ("validation", "test")):
        shared = sorted(set(noted.get(seen_as, [])) & scored.get(scored_as, set()))
        _refuse_seen(checkpoint, shared, group_column, f"{seen_as} split", scored_as)
    return known


def _refuse_seen(checkpoint: str, shared: list[str], group_column: str, seen_in: str, scored_as: str) -> None:
    if shared:
        raise ValueError(
            f"{checkpoint} had {group_column}s {', '.join(shared)} in its {seen_in}, which are in the {scored_as} "
            "split here: its scores would be those of memory. Use the split that it was made with (--split, "
            "--split_seed, --validation, --test)."
        )


__all__ = [
    "check_people",
    "extractor_settings",
    "label_source",
    "load_splits",
    "load_windows",
    "measure_reference",
    "parse_label_map",
    "seen_before",
    "settle_alignment",
    "split_windows",
    "write_people",
]
