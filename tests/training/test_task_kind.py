# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Evidence for evoked potentials is found where there are some, and not where a rhythm tells the classes apart."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
from datasets import Array2D, ClassLabel, Dataset, Features, Value
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold

from dlink_hf import SignalInfo, load_eeg_set, set_signal_info
from dlink_hf.training.task_kind import cross_fitted_auroc, evoked_evidence, least_auroc, stretch_means


NAMES = ["C3", "Cz", "C4", "Pz", "Oz"]


def made(kind: str, n_subjects: int = 6, n_windows: int = 40, n_classes: int = 2, n_times: int = 200) -> Dataset:
    """Windows of 1 s in noise; classes differ in a bump 0.3 s after the beginning, in the power of 10 Hz, or nothing.

    Background noise has a random walk's share, as EEG has: slow and of either sign.
    """
    rng = np.random.default_rng(0)
    time = np.arange(n_times) / 200.0
    labels = np.tile(np.arange(n_windows) % n_classes, n_subjects)
    windows = 8.0 * rng.standard_normal((len(labels), len(NAMES), n_times))
    windows += 2.0 * np.cumsum(rng.standard_normal(windows.shape), -1) / 4
    strength = 2.0 * labels[:, None] / (n_classes - 1) - 1
    if kind in ("potential", "both"):
        size = 8.0 if kind == "potential" else 4.0
        windows[:, 3] += size * strength * np.exp(-(((time - 0.3) / 0.06) ** 2))
    if kind in ("rhythm", "both"):
        phase = rng.uniform(0, 2 * np.pi, (len(labels), 1))
        size = 10.0 if kind == "rhythm" else 30.0
        windows[:, 4] += size * (1.5 + strength) * np.sin(2 * np.pi * 10 * time + phase)
    subjects = [f"s{row // n_windows}" for row in range(len(labels))]
    features = Features(
        {
            "input_values": Array2D((len(NAMES), n_times), "float32"),
            "labels": ClassLabel(names=[f"class {index}" for index in range(n_classes)]),
            "subject": Value("string"),
        }
    )
    columns = {"input_values": list(windows.astype(np.float32)), "labels": labels, "subject": subjects}
    dataset = Dataset.from_dict(columns, features=features)
    return set_signal_info(dataset, SignalInfo(tuple(NAMES), 200.0, n_times)).with_format("numpy")


@pytest.mark.parametrize(
    ("kind", "event_locked", "signed_path", "words"),
    [
        ("potential", True, True, "evoked potentials: means of 125 ms .* no time_shift, the signed path is on"),
        ("rhythm", False, False, "rhythms: .* may be turned round in time and over"),
        ("both", True, False, "potentials locked to the window: .* no sign_flip .* the signed path stays off"),
        ("nothing", False, False, "rhythms"),
    ],
)
@pytest.mark.parametrize("n_classes", [2, 3])
def test_what_is_found(kind, event_locked, signed_path, words, n_classes):
    evidence = evoked_evidence(made(kind, n_classes=n_classes))
    assert (evidence["event_locked"], evidence["signed_path"]) == (event_locked, signed_path), evidence
    assert pytest.approx(evidence["means"], abs=0.01) == float(evidence["text"].split("AUROC of ")[1][:4])
    assert re.search(words, evidence["text"]), evidence["text"]
    if kind == "nothing":
        assert max(evidence["means"], evidence["band_power"]) < 0.6


def test_windows_without_a_label_are_left_out():
    dataset = made("potential")
    labels = np.asarray(dataset["labels"][:]).copy()
    rows = np.arange(len(labels)) % 4 == 3
    labels[rows] = -1
    part = dataset.remove_columns("labels").add_column("labels", labels.tolist(), feature=dataset.features["labels"])
    expected = evoked_evidence(dataset.select(np.flatnonzero(~rows)))
    assert evoked_evidence(part.with_format("numpy")) == expected


@pytest.mark.parametrize("n_subjects", [1, 2])
def test_few_subjects(n_subjects):
    evidence = evoked_evidence(made("potential", n_subjects=n_subjects))
    if n_subjects == 2:
        assert evidence["signed_path"]
    else:
        assert math.isnan(evidence["means"]) and not evidence["event_locked"] and not evidence["signed_path"]
        assert "at least two subjects" in evidence["text"]


def test_a_class_of_one_subject_alone():
    """Of two subjects each has one class: no fold has two classes to learn."""
    dataset = made("potential", n_subjects=2)
    is_first = np.array(dataset["subject"][:]) == "s0"
    keep = np.flatnonzero(is_first == (np.asarray(dataset["labels"][:]) == 0))
    evidence = evoked_evidence(dataset.select(keep))
    assert math.isnan(evidence["means"]) and not evidence["signed_path"] and "unknown" in evidence["text"]


def test_the_discriminants_are_those_of_scikit_learn():
    """Its covariance is the mean of the classes' own estimates, ours one of all: the scores differ a little."""
    rng = np.random.default_rng(1)
    groups, labels = np.repeat(np.arange(9), 30), rng.integers(0, 3, 270)
    mixing = np.eye(20) + 0.3 * rng.standard_normal((20, 20))
    values = rng.standard_normal((270, 20)) @ mixing + 0.7 * rng.standard_normal((3, 20))[labels]
    scores = []
    for train, test in GroupKFold(3).split(values, labels, groups):
        model = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto").fit(values[train], labels[train])
        said = model.predict_proba(values[test])
        scores.append(np.mean([roc_auc_score(labels[test] == label, said[:, label]) for label in range(3)]))
    assert 0.7 < np.mean(scores) < 0.999
    assert cross_fitted_auroc(values, labels, groups) == pytest.approx(np.mean(scores), abs=0.01)


def test_few_windows_must_show_more():
    """The standard error is that of AUROCs of scores that say nothing."""
    rng, labels = np.random.default_rng(0), np.arange(45) % 2
    by_chance = [roc_auc_score(labels, rng.standard_normal(45)) for _ in range(2000)]
    assert least_auroc(labels) == pytest.approx(0.5 + 2 * np.std(by_chance), abs=0.01)
    assert least_auroc(np.arange(600) % 2) == 0.6 and least_auroc(np.zeros(5)) == 0.6


def test_the_means():
    windows = np.arange(2 * 3 * 10, dtype=float).reshape(2, 3, 10)
    found = stretch_means(windows, sfreq=8.0, seconds=0.5)
    assert found.shape == (2, 6)
    np.testing.assert_allclose(found[1], [31.5, 35.5, 41.5, 45.5, 51.5, 55.5])
    np.testing.assert_allclose(stretch_means(windows, sfreq=8.0, seconds=9.0)[0], [4.5, 14.5, 24.5])


def test_channels_that_depend_on_each_other_and_silent_ones():
    dataset = made("potential")
    windows = dataset["input_values"][:].copy()
    windows[:, 1] = 0
    windows[:, 2] = windows[:, 0]
    columns = {"input_values": list(windows), "labels": dataset["labels"][:], "subject": dataset["subject"][:]}
    same = Dataset.from_dict(columns, features=dataset.features)
    same = set_signal_info(same, SignalInfo(tuple(NAMES), 200.0, 200)).with_format("numpy")
    assert evoked_evidence(same)["signed_path"]


@pytest.mark.parametrize(("name", "signed_path"), [("uci_erp", True), ("ssvep_exo", False)])
def test_recordings(name, signed_path, data_dir, tmp_path):
    if not (data_dir / name).is_dir():
        pytest.skip(f"no {name} in {data_dir}")
    evidence = evoked_evidence(load_eeg_set(name, data_dir, cache_dir=tmp_path, progress=False))
    assert evidence["event_locked"] == evidence["signed_path"] == signed_path, evidence
