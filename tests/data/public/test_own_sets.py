# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""The four public sets give the windows, channels, amplitudes and splits that are known of them."""

from collections import Counter

import mne
import numpy as np
import pytest
from scipy.signal import welch

from dlink_hf.data.description import build_report, signal_info
from dlink_hf.data.public.own_sets import EEG_SETS, eeg_set_extractor, load_eeg_set
from dlink_hf.data.splits import split_by_column, subject_kfold


@pytest.fixture(scope="module")
def load(data_dir, tmp_path_factory):
    cache = tmp_path_factory.mktemp("cache")

    def call(name, task=None, **options):
        if not (data_dir / EEG_SETS[name].folder).is_dir():
            pytest.skip(f"no {EEG_SETS[name].folder} in {data_dir}")
        return load_eeg_set(name, data_dir, task, cache_dir=cache, progress=False, **options)

    return call


def counts(dataset):
    names = dataset.features["labels"].names
    return dict(Counter(names[label] for label in dataset.with_format(None)["labels"][:]))


def test_eegmat(load, data_dir):
    dataset = load("eegmat")
    assert counts(dataset) == {"rest": 1275, "arithmetic": 432}
    info = signal_info(dataset)
    assert info.n_chans == 20 and info.ch_names[0] == "Fp1" and info.ch_names[-1] == "A2-A1"
    splits = split_by_column(dataset)
    subjects = {name: sorted(set(split.with_format(None)["subject"][:])) for name, split in splits.items()}
    assert subjects["train"] == [f"{number:02d}" for number in range(28)]
    assert subjects["validation"] == ["28", "29", "30", "31"] and subjects["test"] == ["32", "33", "34", "35"]
    raw = mne.io.read_raw(data_dir / "eegmat" / "Subject05_2.edf", verbose="ERROR")
    index = dataset.with_format(None)["recording"][:].index("Subject05_2.edf") + 3
    expected = raw.get_data(start=3000, stop=4000) * 1e6
    np.testing.assert_allclose(dataset.with_format("numpy")[index]["input_values"], expected, atol=1e-3)
    folds = list(subject_kfold(dataset, 5))
    assert sum(len(fold["test"]) for fold in folds) == 1707


def test_ssvep_exo_is_in_millivolts_and_flickers(load):
    dataset = load("ssvep_exo")
    assert counts(dataset) == {"rest": 216, "13 Hz": 216, "17 Hz": 216, "21 Hz": 216}
    assert signal_info(dataset).ch_names == ("Oz", "O1", "O2", "PO3", "POz", "PO7", "PO8", "PO4")
    assert len(set(dataset.with_format(None)["subject"][:])) == 12
    rows = dataset.with_format("numpy")[:]
    spread = np.median((rows["input_values"] - rows["input_values"].mean(-1, keepdims=True)).std(-1))
    assert 2.0 < spread < 100.0
    # The flicker is in the spectrum at Oz: the right frequency is strongest for its own label.
    freqs, power = welch(rows["input_values"][:, 0], 200.0, nperseg=1000, axis=-1)
    share = np.log(power[:, [np.argmin(abs(freqs - freq)) for freq in (13.0, 17.0, 21.0)]])
    by_label = np.stack([share[rows["labels"] == label].mean(0) for label in (1, 2, 3)])
    assert list(np.argmax(by_label - by_label.mean(0), axis=1)) == [0, 1, 2]


def test_eyes_gnb(load):
    dataset = load("eyes_gnb")
    report = build_report(dataset)
    assert report["n_recordings"] == 73
    assert report["n_windows"] + report["rejected_amplitude"] == 73 * 50 and report["rejected_amplitude"] > 0
    assert set(counts(dataset)) == {"eyes closed", "eyes open"} and min(counts(dataset).values()) > 800
    assert len(set(dataset.with_format(None)["subject"][:])) > 65
    rows = dataset.with_format("numpy")[:]
    assert np.abs(rows["input_values"]).max() <= 300.0
    assert np.abs(rows["input_values"].mean(-1)).mean() < 20.0  # the offset of 4,100 uV is gone
    freqs, power = welch(rows["input_values"][:, [8, 9]], 200.0, nperseg=400, axis=-1)  # O1, O2
    alpha = np.log(power[..., (freqs >= 8) & (freqs < 13)].mean((-1, -2)))
    assert alpha[rows["labels"] == 0].mean() > alpha[rows["labels"] == 1].mean() + 0.2


@pytest.mark.parametrize(
    "task, expected",
    [
        ("imagined_fists", {"left fist": 23, "right fist": 22}),
        ("imagined_fists_feet", {"both fists": 21, "both feet": 24}),
        ("executed_fists", {"left fist": 23, "right fist": 22}),
        ("executed_fists_feet", {"both fists": 23, "both feet": 22}),
    ],
)
def test_eegmmidb(load, data_dir, task, expected):
    dataset = load("eegmmidb", task)
    # As the annotations of the recordings themselves say.
    numbers = [pattern[2:4] for pattern in EEG_SETS["eegmmidb"].tasks[task].files]
    annotations = Counter()
    for number in numbers:
        raw = mne.io.read_raw(data_dir / "eegmmidb_s001" / f"S001R{number}.edf", verbose="ERROR")
        annotations.update(raw.annotations.description)
    assert counts(dataset) == expected
    assert sorted(expected.values()) == sorted([annotations["T1"], annotations["T2"]])
    info = signal_info(dataset)
    assert info.n_chans == 64 and info.n_times == 800 and info.ch_names[0] == "FC5"
    assert build_report(dataset)["ignored_segments"] == {"T0": annotations["T0"]}
    folds = list(subject_kfold(dataset, 3, validation=0, group_column="recording"))
    assert [len(fold["test"]) for fold in folds] == [15, 15, 15]


def test_other_windows(load):
    dataset = load("eegmat", extractor=eeg_set_extractor("eegmat", n_times=2000, ch_names=["Fz", "Cz", "Pz"]))
    assert signal_info(dataset).n_times == 2000 and signal_info(dataset).ch_names == ("Fz", "Cz", "Pz")


def test_absent_recordings_and_unknown_names(tmp_path):
    with pytest.raises(FileNotFoundError, match="published as: PhysioNet eegmat"):
        load_eeg_set("eegmat", tmp_path)
    with pytest.raises(ValueError, match="known are eegmat, ssvep_exo, eyes_gnb, eegmmidb"):
        load_eeg_set("bci4", tmp_path)
    with pytest.raises(ValueError, match="no task 'sleep'; it has imagined_fists"):
        load_eeg_set("eegmmidb", tmp_path, "sleep")
    with pytest.raises(ValueError, match="unknown EEG set"):
        eeg_set_extractor("bci4")
    (tmp_path / "eegmat").mkdir()
    with pytest.raises(FileNotFoundError, match="no EEG recording"):
        load_eeg_set("eegmat", tmp_path)
