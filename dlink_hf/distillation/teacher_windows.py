# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Windows whose teacher features are stored: how they are read and augmented, and the names that tell them apart."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import datasets
import numpy as np
import torch
from tqdm.auto import tqdm

from ..data.collator import TEACHER_VALUES, EEGDataCollator
from ..models.teacher.modeling_teacher import DLinkTeacherForEEGClassification


# Raise when the files' layout or what is stored in them changes.
CACHE_VERSION = 1
# Windows that are read, and given to a teacher, at a time.
BATCH = 32

# (windows (1, C, T), view, row) -> (1, C, T): the same numbers for the same arguments
Augment = Callable[..., torch.Tensor]


class NotCacheableError(ValueError):
    """The windows differ from one reading to the next, so that stored features would belong to none of them."""


def teacher_fingerprint(teacher: DLinkTeacherForEEGClassification) -> str:
    """A name for a teacher: equal weights, architecture and montage give equal names; labels' names do not count.

    Returns:
        32 hexadecimal digits.
    """
    from .._version import __version__

    config = teacher.config.to_dict()
    unimportant = {"_name_or_path", "architectures", "dtype", "id2label", "label2id", "transformers_version"}
    settings = {key: value for key, value in config.items() if key not in unimportant}
    versions = {"cache": CACHE_VERSION, "dlink_hf": __version__}
    digest = hashlib.sha256(json.dumps([versions, settings], sort_keys=True, default=str).encode())
    for name, tensor in teacher.state_dict().items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()[:32]


def windows_fingerprint(
    dataset: Any, augment: Augment | None = None, n_views: int = 1, progress: bool = True
) -> tuple[str, int]:
    """Return a name for the windows that a teacher reads, made of their very values.

    Args:
        dataset: rows with `input_values` (C, T) in microvolts, or `teacher_input_values` where the teacher sees more.
        augment: see [`TeacherCache.build`].
        n_views: views of each window.
        progress: show a bar where it takes a while.

    Returns:
        32 hexadecimal digits, and the number of windows.

    Raises:
        NotCacheableError: a window differs from one reading to the next.
        ValueError: there are no windows.
    """
    dataset = readable(dataset)
    n_windows = len(dataset)
    if not n_windows:
        raise ValueError("There are no windows to compute a teacher's features of: the dataset is empty.")
    first = np.arange(min(4, n_windows))
    for view in range(n_views):
        if not torch.equal(read_windows(dataset, first, augment, view), read_windows(dataset, first, augment, view)):
            raise NotCacheableError(
                "The windows differ from one reading to the next: a transform of the dataset, or the augmentation, "
                "draws other random numbers each time. Features can be stored of windows that stay the same, or of "
                "an augmentation that gives the same numbers for the same view and row."
            )
    digest = hashlib.sha256()
    bar = tqdm(total=n_windows * n_views, desc="reading windows", unit="window", disable=not progress, delay=2)
    with bar:
        for view in range(n_views):
            for rows in portions(0, n_windows):
                windows = read_windows(dataset, rows, augment, view)
                digest.update(str(tuple(windows.shape)).encode())
                digest.update(windows.numpy())
                bar.update(len(rows))
    return digest.hexdigest()[:32], n_windows


def readable(dataset: Any) -> Any:
    """Return the dataset with only the column of the teacher's windows: its own where it has one."""
    if isinstance(dataset, datasets.Dataset):
        if dataset.format["type"] == "custom":
            raise NotCacheableError(
                "The dataset has a transform (`set_transform`), which may change the windows at every reading, so a "
                "teacher's features of them can't be stored. Apply it once with `map`, or give the changes as an "
                "augmentation with views."
            )
        column = TEACHER_VALUES if TEACHER_VALUES in dataset.column_names else "input_values"
        return dataset.select_columns([column]).with_format("torch")
    if not hasattr(dataset, "__len__") or not hasattr(dataset, "__getitem__"):
        raise NotCacheableError(
            f"A {type(dataset).__name__} has no numbered rows, so a teacher's features of them can't be stored. "
            "A `datasets.Dataset` has them."
        )
    return dataset


def portions(start: int, stop: int) -> Iterator[np.ndarray]:
    for begin in range(start, stop, BATCH):
        yield np.arange(begin, min(begin + BATCH, stop))


def read_windows(dataset: Any, rows: np.ndarray, augment: Augment | None, view: int) -> torch.Tensor:
    """(B, C, T) float32 of some rows, as a view of them is read."""
    if hasattr(dataset, "__getitems__"):
        read = dataset.__getitems__(rows.tolist())
    else:
        read = [dataset[row] for row in rows.tolist()]
    column = TEACHER_VALUES if TEACHER_VALUES in read[0] else "input_values"
    windows = EEGDataCollator()([{"input_values": row[column]} for row in read])["input_values"]
    return augmented(windows, rows.tolist(), view, augment)


def augmented(windows: torch.Tensor, rows: Sequence[int], view: int, augment: Augment | None) -> torch.Tensor:
    """Windows (B, C, T), each changed by itself, as `augment(window, view, row)` has it; view 0 stays as it is."""
    if augment is None or view == 0:
        return windows.contiguous()
    changed = [augment(windows[i : i + 1], view, row) for i, row in enumerate(rows)]
    return torch.cat(changed).to(windows.dtype).contiguous()


def reader_fingerprint(teacher: DLinkTeacherForEEGClassification, signal: Any) -> str:
    """Return the teacher's name, and what is done to the windows before it reads them."""
    name, config = teacher_fingerprint(teacher), teacher.config
    if signal is None or (list(signal.ch_names), signal.sfreq) == (list(config.ch_names), config.sfreq):
        return name
    return hashlib.sha256(json.dumps([name, list(signal.ch_names), signal.sfreq]).encode()).hexdigest()[:32]


__all__ = [
    "BATCH",
    "CACHE_VERSION",
    "Augment",
    "NotCacheableError",
    "augmented",
    "read_windows",
    "readable",
    "reader_fingerprint",
    "teacher_fingerprint",
    "windows_fingerprint",
]
