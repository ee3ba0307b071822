# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Recordings with a table of numbers and of several labels at once, for the tests of commands."""

from __future__ import annotations

import csv
from pathlib import Path

import mne
import numpy as np
from toy_training import NAMES


def make_number_recordings(root: Path, n_subjects: int = 8, n_windows: int = 20, strength: float = 1.0) -> Path:
    """Write recordings: every two seconds 10 Hz over Pz of another amplitude, and 22 Hz over C4 or not.

    Args:
        root: gets `eeg/s0_raw.fif` ... and `labels.csv`, a row a window: the amplitude in microvolts, whether it is
            above 20 (`alpha`), whether there are 22 Hz (`beta`), and the names of what holds.
        n_subjects: one recording each.
        n_windows: of 2 s.
        strength: factor of both rhythms in the recordings, not in the table.

    Returns:
        `root`.
    """
    (root / "eeg").mkdir()
    time, rows = np.arange(400) / 200.0, []
    for subject in range(n_subjects):
        rng = np.random.default_rng(subject)
        values = 6 * rng.standard_normal((4, 400 * n_windows))
        for window in range(n_windows):
            part = slice(400 * window, 400 * (window + 1))
            amplitude, beta = round(float(rng.uniform(2, 40)), 3), int(rng.integers(0, 2))
            values[3, part] += strength * amplitude * np.sin(2 * np.pi * 10 * time)
            values[2, part] += strength * 20 * beta * np.sin(2 * np.pi * 22 * time)
            names = [name for name, holds in (("alpha", amplitude > 20), ("beta", beta)) if holds]
            label = ";".join(names) or "none"
            rows.append([f"s{subject}_raw.fif", 2 * window, 2, label, amplitude, int(amplitude > 20), beta])
        raw = mne.io.RawArray(1e-6 * values, mne.create_info(list(NAMES), 200.0, "eeg"), verbose="ERROR")
        raw.save(root / "eeg" / f"s{subject}_raw.fif", verbose="ERROR")
    with open(root / "labels.csv", "w", newline="") as file:
        head = ["recording", "onset", "duration", "label", "microvolts", "is_alpha", "is_beta"]
        csv.writer(file).writerows([head, *rows])
    return root
