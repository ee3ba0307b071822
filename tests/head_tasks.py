# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Synthetic windows whose labels are numbers, or several at once, for the tests of heads."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from datasets import Dataset
from toy_training import N_TIMES, NAMES, toy_student, toy_teacher

from dlink_hf import DLinkTeacherForEEGClassification, DLinkTeacherForEEGRegression, MiCForEEGRegression
from dlink_hf.data.array_windows import windows_from_arrays


RHYTHMS = {"alpha over C3": (0, 10.0), "beta over C4": (2, 22.0)}


def _noise_and_time(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    return rng.uniform(5.0, 9.0) * rng.standard_normal((len(NAMES), N_TIMES)), np.arange(N_TIMES) / 200.0


def alpha_power(subjects: list[str], n_windows: int = 40, seed: int = 0) -> Dataset:
    """Windows (4, 400) whose target is the amplitude, in microvolts, of a rhythm over Pz: 9 to 11 Hz by subject."""
    rng = np.random.default_rng(seed)
    windows, targets, owners = [], [], []
    for subject in subjects:
        freq = rng.uniform(9.0, 11.0)
        for amplitude in rng.uniform(2.0, 40.0, size=n_windows):
            window, time = _noise_and_time(rng)
            window[3] += amplitude * np.sin(2 * np.pi * freq * time + rng.uniform(0, 2 * np.pi))
            windows.append(window)
            targets.append(amplitude)
            owners.append(subject)
    return windows_from_arrays(
        np.stack(windows), targets, ch_names=NAMES, sfreq=200.0, subjects=owners, problem_type="regression",
        label_names=["alpha (uV)"],
    )  # fmt: skip


def two_rhythms(subjects: list[str], n_windows: int = 40, seed: int = 0, amplitude: float = 12.0) -> Dataset:
    """Windows (4, 400) with a rhythm over C3, one over C4, both or neither, drawn independently."""
    rng = np.random.default_rng(seed)
    windows, labels, owners = [], [], []
    for subject in subjects:
        for _ in range(n_windows):
            window, time = _noise_and_time(rng)
            held = rng.integers(0, 2, size=2)
            for holds, (channel, freq) in zip(held, RHYTHMS.values(), strict=True):
                window[channel] += holds * amplitude * np.sin(2 * np.pi * freq * time + rng.uniform(0, 2 * np.pi))
            windows.append(window)
            labels.append(held)
            owners.append(subject)
    return windows_from_arrays(
        np.stack(windows), labels, ch_names=NAMES, sfreq=200.0, subjects=owners,
        problem_type="multi_label_classification", label_names=list(RHYTHMS),
    )  # fmt: skip


def regressor(seed: int = 0, **fields: Any) -> MiCForEEGRegression:
    """A small student of one number."""
    config = toy_student(seed).config
    problem = {"problem_type": "regression", "id2label": {0: "alpha (uV)"}, "label2id": None}
    if "dropout" in fields:
        fields["hidden_dropout"] = fields["classifier_dropout"] = fields.pop("dropout")
    torch.manual_seed(seed)
    return MiCForEEGRegression(type(config).from_dict({**config.to_dict(), **problem, **fields}))


def teacher_config(**fields: Any) -> Any:
    """The config of a small CBraMod."""
    config = toy_teacher().config
    return type(config).from_dict({**config.to_dict(), **fields})


def regression_teacher() -> DLinkTeacherForEEGRegression:
    """A small CBraMod of one number."""
    fields = {"problem_type": "regression", "id2label": {0: "alpha (uV)"}}
    return DLinkTeacherForEEGRegression(teacher_config(**fields))


def multi_label_teacher() -> DLinkTeacherForEEGClassification:
    """A small CBraMod of two labels at once."""
    fields = {"problem_type": "multi_label_classification", "id2label": dict(enumerate(RHYTHMS))}
    return DLinkTeacherForEEGClassification(teacher_config(**fields))
