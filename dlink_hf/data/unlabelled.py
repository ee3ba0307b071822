# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Recordings without labels, of any mix of montages: windows to pre-train on, and batches of one montage each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from datasets import Dataset
from torch.utils.data import BatchSampler
from tqdm.auto import tqdm

from ..core.electrodes import canonical_name
from ..preprocessing.feature_extraction_eeg import EEGFeatureExtractor
from ..preprocessing.recordings import find_recordings, read_recording
from .build import build_dataset
from .labels import WholeRecording, match_group
from .public.own_sets import EEG_SETS, find_set_folder


def unlabelled_windows(
    paths: Sequence[str | Path],
    extractor: EEGFeatureExtractor,
    *,
    subject_pattern: str | None = None,
    max_abs_uv: float | None = None,
    cache_dir: str | Path | None = None,
    progress: bool = True,
) -> list[Dataset]:
    """Return the windows of whole recordings, labels or no labels, one dataset for each montage among them.

    Args:
        paths: recordings.
        extractor: rate, window, stride, filters; its `ch_names` must be None, so that each montage keeps its own.
        subject_pattern: regular expression on the path, as in [`build_dataset`]; each recording is a subject of its
            own where it is left out.
        max_abs_uv: windows in which a sample exceeds this are left out, in microvolts.
        cache_dir: as in [`build_dataset`].
        progress: show progress bars.

    Returns:
        Datasets as of [`build_dataset`], their only label `"unlabelled"`.

    Raises:
        FileNotFoundError: there is no recording.
        ValueError: a recording can't be used, or is shorter than a window; the message says why.
    """
    if not paths:
        raise FileNotFoundError("There is no recording to pre-train on.")
    if extractor.ch_names is not None:
        raise ValueError(
            f"`ch_names` of the extractor are set ({', '.join(extractor.ch_names)}); recordings of mixed montages "
            "keep their own: leave `ch_names` out."
        )
    montages: dict[tuple[str, ...], list[Path]] = {}
    bar = tqdm(paths, desc="reading headers", unit="file", disable=not progress or len(paths) < 20)
    for path in map(Path, bar):
        names = read_recording(path, preload=False).ch_names
        montages.setdefault(tuple(sorted(canonical_name(name) or name for name in names)), []).append(path)
    return [
        build_dataset(
            members,
            extractor,
            WholeRecording(),
            subject_pattern=subject_pattern,
            subjects=None if subject_pattern else lambda path: Path(path).stem,
            max_abs_uv=max_abs_uv,
            allow_one_class=True,
            short="skip",
            cache_dir=cache_dir,
            progress=progress,
        )
        for members in montages.values()
    ]


def set_recordings(name: str, data_dir: str | Path, subjects: Sequence[str] | None = None) -> list[Path]:
    """Return the recordings of one of the public sets, of all its tasks.

    Args:
        name: a name of `EEG_SETS`.
        data_dir: folder that holds the set's folder, or that folder itself.
        subjects: subjects (or names of recordings, for the set of one subject) to keep; all by default.

    Returns:
        their paths.

    Raises:
        FileNotFoundError: the set is not there.
        ValueError: the set is unknown or holds no recordings, or one of `subjects` is not in it.
    """
    if name not in EEG_SETS:
        raise ValueError(f"unknown EEG set {name!r}; known are {', '.join(EEG_SETS)}.")
    eeg_set = EEG_SETS[name]
    if eeg_set.trials is not None:
        raise ValueError(
            f"{name} holds trials that are cut already, no recordings to cut windows from. Load it with load_eeg_set, "
            "or name a set of recordings: "
            f"{', '.join(other for other, one in EEG_SETS.items() if one.trials is None)}."
        )
    of_path = {path: _group_of(path, name) for path in find_recordings(find_set_folder(name, data_dir))}
    if subjects is None:
        return list(of_path)
    unknown = sorted(set(subjects) - set(of_path.values()))
    if unknown:
        raise ValueError(f"{name} has no {eeg_set.group_column} {', '.join(unknown)}.")
    return [path for path, group in of_path.items() if group in set(subjects)]


def _group_of(path: Path, name: str) -> str:
    """Subject, or name of the recording in the set of one subject."""
    if EEG_SETS[name].group_column == "recording":
        return path.name
    return match_group(EEG_SETS[name].subject_pattern, path.as_posix(), "subject")


class MixedWindows(torch.utils.data.Dataset):
    """Several datasets of windows as one; rows may differ in channels, batches must not ([`MontageBatchSampler`]).

    Args:
        datasets: datasets with `input_values`, in torch format.
    """

    def __init__(self, datasets: Sequence[Dataset]):
        self.datasets = [dataset for dataset in datasets if len(dataset)]
        self.ends = np.cumsum([len(dataset) for dataset in self.datasets])

    def __len__(self) -> int:
        return int(self.ends[-1]) if len(self.ends) else 0

    def __getitem__(self, index: int) -> Mapping[str, torch.Tensor]:
        which = int(np.searchsorted(self.ends, index, side="right"))
        start = 0 if which == 0 else self.ends[which - 1]
        return {"input_values": self.datasets[which][int(index - start)]["input_values"]}


class MontageBatchSampler(BatchSampler):
    """Batches of row numbers, each from one dataset of a [`MixedWindows`]; reshuffled every epoch.

    Args:
        windows: the datasets.
        batch_size: rows in a batch; the last batch of a dataset may be smaller.
        seed: of the order; the epoch is added (`set_epoch`).
        shuffle: whether rows and batches are shuffled.
    """

    def __init__(self, windows: MixedWindows, batch_size: int, seed: int = 0, shuffle: bool = True):
        self.windows, self.batch_size, self.seed, self.shuffle = windows, batch_size, seed, shuffle
        self.drop_last = False
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Called before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return sum(-(-len(dataset) // self.batch_size) for dataset in self.windows.datasets)

    def __iter__(self) -> Iterator[list[int]]:
        generator = np.random.default_rng([self.seed, self.epoch])
        batches, start = [], 0
        for dataset in self.windows.datasets:
            rows = np.arange(start, start + len(dataset))
            if self.shuffle:
                generator.shuffle(rows)
            batches += [rows[i : i + self.batch_size].tolist() for i in range(0, len(rows), self.batch_size)]
            start += len(dataset)
        order = generator.permutation(len(batches)) if self.shuffle else range(len(batches))
        yield from (batches[i] for i in order)


__all__ = ["MixedWindows", "MontageBatchSampler", "set_recordings", "unlabelled_windows"]
