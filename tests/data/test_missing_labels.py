# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Windows without a label join labelled ones of the same signal; nobody who is tested is among them."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from dlink_hf import (
    EEGFeatureExtractor,
    PathLabels,
    align_dataset,
    alignment_info,
    build_dataset,
    load_unlabelled,
    make_synthetic_recordings,
    signal_fields,
    signal_info,
    with_unlabelled,
)
from dlink_hf.data.missing_labels import is_labelled, labelled_rows, labels_of


CHANNELS = ["C3", "Cz", "C4"]


def windows(people: list[str], seed: int = 0, ch_names=CHANNELS, sfreq: float = 100.0, n: int = 4, **fields):
    generator = np.random.default_rng(seed)
    return build_dataset(
        generator.normal(scale=10.0, size=(n * len(people), len(ch_names), 100)).astype(np.float32),
        EEGFeatureExtractor(sfreq=sfreq, n_times=100, l_freq=None),
        [["rest", "task"][i % 2] for i in range(n * len(people))],
        subjects=[person for person in people for _ in range(n)],
        label_names=["rest", "task"],
        sfreq=sfreq,
        ch_names=list(ch_names),
        unit="uV",
        progress=False,
        **fields,
    )


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DLINK_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))


def test_unlabelled_windows_follow_the_labelled_ones(tmp_path):
    train, more = windows(["A", "B"], cache_dir=tmp_path), windows(["C"], seed=1, cache_dir=tmp_path)
    train = train.add_column("session", ["1"] * len(train))
    held_out = {"test": windows(["D"], seed=2, cache_dir=tmp_path)}
    joined = with_unlabelled(train, more.add_column("extra", [0] * len(more)), held_out)
    assert joined.column_names == train.column_names and joined.features == train.features
    assert joined.format["type"] == train.format["type"] == "torch"
    np.testing.assert_array_equal(joined["input_values"][:][:8], train["input_values"][:])
    np.testing.assert_array_equal(joined["input_values"][:][8:], more["input_values"][:])
    assert labels_of(joined).tolist() == [*labels_of(train), -1, -1, -1, -1]
    assert joined["subject"][:][8:] == ["C"] * 4 and joined["session"][:][8:] == [None] * 4
    assert signal_info(joined) == signal_info(train) and signal_fields(joined) == signal_fields(train)
    assert is_labelled(joined).tolist() == [True] * 8 + [False] * 4
    np.testing.assert_array_equal(labelled_rows(joined)["input_values"][:], train["input_values"][:])
    assert labelled_rows(train) is train


def test_people_who_are_held_out_are_refused(tmp_path, caplog):
    train, more = windows(["A", "B"], cache_dir=tmp_path), windows(["C", "D"], seed=1, cache_dir=tmp_path)
    held_out = {"validation": windows(["E"], seed=2, cache_dir=tmp_path)}
    with pytest.raises(ValueError, match="'unlabelled' and 'test' share 1 subject: D"):
        with_unlabelled(train, more, {**held_out, "test": windows(["D"], seed=3, cache_dir=tmp_path)})
    # the same recordings by other names of their people
    renamed = held_out["validation"].remove_columns("subject").add_column("subject", ["person E"] * 4)
    with caplog.at_level(logging.WARNING, logger="dlink_hf"):
        with_unlabelled(train, renamed, held_out)
    assert "go by two names" in caplog.text


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"ch_names": ["C3", "Cz", "Pz"]}, "channels in one only"),
        ({"ch_names": ["Cz", "C3", "C4"]}, "another order"),
        ({"sfreq": 200.0}, "200 Hz"),
    ],
)
def test_windows_of_another_signal_are_refused(tmp_path, change, match):
    with pytest.raises(ValueError, match=match):
        with_unlabelled(windows(["A"], cache_dir=tmp_path), windows(["C"], cache_dir=tmp_path, **change))


def test_windows_aligned_otherwise_are_refused(tmp_path):
    train, more = windows(["A"], cache_dir=tmp_path), windows(["C"], seed=1, cache_dir=tmp_path)
    aligned = align_dataset(more, "euclidean", cache_dir=tmp_path, progress=False)
    with pytest.raises(ValueError, match="no alignment, the unlabelled ones the alignment euclidean"):
        with_unlabelled(train, aligned)


def test_a_folder_without_labels_is_cut_and_aligned_person_by_person(tmp_path):
    """The same recordings, labelled or not, give the same windows where their cuts agree."""
    recordings = make_synthetic_recordings(3, n_trials=2, ch_names=CHANNELS, sfreq=100.0, progress=False)
    for number, raw in enumerate(recordings):
        raw.set_annotations(None)
        for part, (start, stop) in enumerate([(0.0, 6.0), (6.0, 12.0)]):
            (tmp_path / "data").mkdir(exist_ok=True)
            path = tmp_path / "data" / f"P{number}_{part}_raw.fif"
            raw.copy().crop(start, stop, include_tmax=False).save(path, verbose="ERROR")
    extractor = EEGFeatureExtractor(sfreq=100.0, n_times=200, l_freq=None, alignment="euclidean")
    pattern = {"subject_pattern": r"(P\d)_\d_raw", "cache_dir": tmp_path / "cache", "progress": False}
    labelled = build_dataset(
        tmp_path / "data", extractor, PathLabels(r"_(\d)_raw", {"0": "rest", "1": "task"}), **pattern
    )
    found = load_unlabelled(tmp_path / "data", extractor, like=labelled, **pattern)
    assert "labels" not in found.column_names and found["subject"][:] == labelled["subject"][:]
    np.testing.assert_allclose(found["input_values"][:], labelled["input_values"][:], atol=1e-5)
    assert alignment_info(found)["method"] == "euclidean"
    joined = with_unlabelled(
        labelled.select(range(6)), found.select(range(6, 18)), {"test": labelled.select(range(0))}
    )
    assert is_labelled(joined).sum() == 6 and alignment_info(joined)["method"] == "euclidean"


def test_people_without_labels_are_aligned_beside_others_and_those_of_one_class_are_not(tmp_path):
    both = with_unlabelled(windows(["A", "B"], cache_dir=tmp_path), windows(["C"], seed=1, cache_dir=tmp_path))
    aligned = align_dataset(both, "euclidean", cache_dir=tmp_path, progress=False)
    assert labels_of(aligned).tolist() == labels_of(both).tolist()
    rows = np.asarray(aligned["input_values"][:])[8:].transpose(1, 0, 2).reshape(3, -1)
    # white, 10 uV in every channel
    np.testing.assert_allclose(rows @ rows.T / rows.shape[1], 100 * np.eye(3), atol=2)
    one_class = both.select([0, 2, *range(4, 12)])
    with pytest.raises(ValueError, match="windows of one class only, such as A: rest"):
        align_dataset(one_class, "euclidean", cache_dir=tmp_path, progress=False)
