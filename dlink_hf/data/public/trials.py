# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Trials that are cut already, all of a set in one .npz file."""

import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset

from ...preprocessing.feature_extraction_eeg import EEGFeatureExtractor
from ..build import build_dataset
from ..labels import AnnotationLabels


@dataclass
class Trials:
    """N trials of C channels and T samples.

    Args:
        windows: (N, C, T) float32, microvolts.
        sfreq: Sampling rate in hertz.
        ch_names: The C channels.
        subjects: (N,), whose trial each is.
        conditions: (N,), what was shown.
    """

    windows: np.ndarray
    sfreq: float
    ch_names: list[str]
    subjects: list[str]
    conditions: list[str]


# entry of the file -> kinds of NumPy's types, axes
_ENTRIES = {
    "x": ("iu", 3),
    "uv_per_count": ("f", 0),
    "sfreq": ("iuf", 0),
    "ch_names": ("U", 1),
    "subject": ("U", 1),
    "condition": ("U", 1),
}


def read_trials(path: Path, source: str) -> Trials:
    """Read a file of trials; nothing in it is unpickled.

    Args:
        path: An .npz with `x` (N, C, T) whole numbers, `uv_per_count` (a count in microvolts), `sfreq` (hertz),
            `ch_names` (C,), `subject` (N,) and `condition` (N,).
        source: Where the set is published, for the message.

    Returns:
        The trials.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not such a file; the message names the entry.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}. The set is published at: {source}.")
    try:
        with np.load(path, allow_pickle=False) as file:
            lacking = [name for name in _ENTRIES if name not in file]
            found = {} if lacking else {name: file[name] for name in _ENTRIES}
    # numpy's own words for a file that is not an archive, is cut short, or holds a pickle
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{path} could not be read as an .npz of plain arrays: {error}") from error
    if lacking:
        raise ValueError(f"{path} lacks {', '.join(lacking)}; a file of trials holds {', '.join(_ENTRIES)}.")
    for name, (kinds, n_axes) in _ENTRIES.items():
        if found[name].dtype.kind not in kinds or found[name].ndim != n_axes:
            raise ValueError(
                f"{path}: {name} is {found[name].dtype} of shape {found[name].shape}; expected are {n_axes} axes of "
                f"a NumPy kind among {kinds!r}."
            )
    n_trials, n_chans, _ = found["x"].shape
    for name, count in (("ch_names", n_chans), ("subject", n_trials), ("condition", n_trials)):
        if len(found[name]) != count:
            raise ValueError(f"{path}: {name} has {len(found[name])} entries, x of shape {found['x'].shape} {count}.")
    return Trials(
        found["x"] * np.float32(found["uv_per_count"]),
        float(found["sfreq"]),
        found["ch_names"].tolist(),
        found["subject"].tolist(),
        found["condition"].tolist(),
    )


def build_trials(trials: Trials, labels: AnnotationLabels, extractor: EEGFeatureExtractor, **options: Any) -> Dataset:
    """Return the windows of a task.

    Args:
        trials: All trials of the set.
        labels: Its mapping says which conditions belong to the task, and what they are called.
        extractor: Brings the trials to its rate and channels; they are whole windows.
        **options: More arguments of `build_dataset`.

    Returns:
        Dataset with the columns of `build_dataset`.

    Raises:
        ValueError: As `build_dataset`, or if no trial has a condition of the task.
    """
    mapping = {str(condition): label for condition, label in labels.mapping.items()}
    rows = [row for row, condition in enumerate(trials.conditions) if condition in mapping]
    if not rows:
        raise ValueError(
            f"no trial has one of the conditions {list(mapping)}; there are {sorted(set(trials.conditions))}."
        )
    return build_dataset(
        trials.windows[rows],
        extractor,
        [mapping[trials.conditions[row]] for row in rows],
        subjects=[trials.subjects[row] for row in rows],
        label_names=list(dict.fromkeys(mapping.values())),
        sfreq=trials.sfreq,
        ch_names=trials.ch_names,
        unit="uV",
        **options,
    )


__all__ = ["Trials", "build_trials", "read_trials"]
