# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""The benchmark of regimes: who is whose, what is shuffled, and what a gain is measured against."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Sequence, Value

from dlink_hf import SignalInfo, add_soft_targets, set_signal_info
from dlink_hf.commands.views import Views


sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

import regimes  # noqa: E402


def windows(subjects: list[str], n_windows: int = 6) -> Dataset:
    n = n_windows * len(subjects)
    values, labels = Sequence(Sequence(Value("float32"))), ClassLabel(names=["rest", "task"])
    features = Features(input_values=values, labels=labels, subject=Value("string"))
    columns = {
        "input_values": np.zeros((n, 2, 8), dtype=np.float32).tolist(),
        "labels": [row % 2 for row in range(n)],
        "subject": np.repeat(subjects, n_windows).tolist(),
    }
    dataset = Dataset.from_dict(columns, features=features)
    return set_signal_info(dataset, SignalInfo(ch_names=("C3", "C4"), sfreq=200.0, n_times=8))


@pytest.fixture
def fold(monkeypatch):
    train, held_out = windows([f"S{k}" for k in range(8)]), {"validation": windows(["V"]), "test": windows(["T"])}
    splits = DatasetDict({"train": train, **held_out})
    fold = regimes.Fold("eyes_gnb", regimes.STRONG, fold=0, seed=0, data_dir="")
    monkeypatch.setattr(
        "dlink_hf.commands.views.load_views", lambda *_: Views("made", splits, splits, train, None, None)
    )
    yield fold
    fold.close()


def test_the_strong_teacher_shares_no_subject_with_its_student(fold):
    teacher, student = fold._halves()
    assert not set(teacher.train["subject"]) & set(student.train["subject"])
    views = fold.views
    known = np.asarray(views.train.with_format(None)["labels"][:]) >= 0
    subjects = np.asarray(views.train["subject"][:])
    # four of its subjects have labels here, and nobody of validation or test is among them
    assert len(set(subjects)) == 4 and set(subjects[known]) == set(views.student["train"]["subject"])
    assert not set(subjects) & {"V", "T"}
    assert fold.views.student["test"]["subject"][0] == "T"


def test_targets_are_shuffled_within_their_class():
    train = windows(["A", "B"])
    targets = np.stack([np.arange(12), 100 - np.arange(12)], axis=1).astype(np.float32)
    shuffled = regimes.shuffled_targets(add_soft_targets(train, targets / targets.sum(1, keepdims=True)), seed=0)
    labels = np.asarray(train["labels"])
    before, after = (targets / targets.sum(1, keepdims=True))[:, 0], np.asarray(shuffled["soft_targets"])[:, 0]
    assert not np.allclose(before, after)
    for label in (0, 1):
        np.testing.assert_allclose(np.sort(after[labels == label]), np.sort(before[labels == label]), rtol=1e-6)


def line(row: str, scores: dict[str, float], validation: float = 0.5) -> dict:
    cell = {"set": "eegmat", "regime": regimes.STRONG, "fold": 0, "seed": 0, "row": row, "steps": 10}
    return {**cell, "scores": {"validation": {"V": validation}, "test": scores}}


def test_a_gain_is_measured_against_the_best_control():
    lines = [
        line("alone_1", {"A": 0.5, "B": 0.6}, validation=0.7),
        line("alone_2", {"A": 0.9, "B": 0.9}, validation=0.6),
        line("same_view", {"A": 0.6, "B": 0.7}),
        line("dlink", {"A": 0.8, "B": 0.9}),
    ]
    # the budget is chosen on the validation subjects, the best control is the one that stands in the way of the gain
    assert regimes.best_alone(lines)[0]["row"] == "alone_1"
    assert regimes.strongest_control(lines)[0] == "same_view"
    text = regimes.table(lines)
    row = next(line for line in text.splitlines() if line.startswith("| eegmat | strong_teacher | dlink |"))
    assert "| 0.850" in row and "+30.0" in row and "+20.0" in row
