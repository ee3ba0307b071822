# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Small recordings for the tests of dlink_hf.data."""

from pathlib import Path

import mne
import numpy as np


CHANNELS = ["C3", "Cz", "C4", "Oz"]
SFREQ = 200.0


def make_raw(
    annotations=((0.0, 6.0, "rest"), (6.0, 6.0, "task")),
    duration: float = 12.0,
    ch_names=tuple(CHANNELS),
    sfreq: float = SFREQ,
    subject: str | None = "S01",
    seed: int = 0,
) -> mne.io.RawArray:
    """White noise of 10 uV in volts, with annotations (onset s, duration s, description)."""
    rng = np.random.default_rng(seed)
    info = mne.create_info(list(ch_names), sfreq, "eeg")
    if subject is not None:
        info["subject_info"] = {"his_id": subject}
    raw = mne.io.RawArray(rng.standard_normal((len(ch_names), round(duration * sfreq))) * 10e-6, info, verbose="ERROR")
    if annotations:
        raw.set_annotations(mne.Annotations(*map(list, zip(*annotations, strict=True))))
    return raw


def save_raw(folder: Path, name: str, **options) -> Path:
    """Writes `make_raw(**options)` as FIF."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    make_raw(**options).save(path, fmt="double", overwrite=True, verbose="ERROR")
    return path
