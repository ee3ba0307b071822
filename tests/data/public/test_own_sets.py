# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""The public sets give the windows, channels, amplitudes and splits that are known of them."""

from collections import Counter

import mne
import numpy as np
import pytest
from scipy.signal import welch

from dlink_hf.data.description import build_report, signal_info
from dlink_hf.data.public.own_sets import EEG_SETS, benchmark_subjects, eeg_set_extractor, load_eeg_set
from dlink_hf.data.splits import split_by_column, subject_kfold
from dlink_hf.data.unlabelled import set_recordings


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
    raw = mne.io.read_raw(data_dir / "eegmat" / "Subject05_2.edf", preload=True, verbose="ERROR")
    raw.filter(0.5, 45.0, picks="all", pad="reflect_limited", verbose="ERROR")
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


@pytest.mark.parametrize(
    ("task", "conditions"),
    [
        ("first_second", {"S1 obj": "first", "S2 nomatch": "second"}),
        ("match", {"S2 match": "match", "S2 nomatch": "no match"}),
    ],
)
def test_uci_erp(load, data_dir, task, conditions):
    dataset = load("uci_erp", task)
    with np.load(data_dir / "uci_erp" / "uci_erp.npz", allow_pickle=False) as file:
        rows = np.flatnonzero(np.isin(file["condition"], list(conditions)))
        expected = file["x"][rows] * float(file["uv_per_count"])
        subjects, shown = file["subject"][rows].tolist(), file["condition"][rows].tolist()
    names = dataset.features["labels"].names
    assert names == list(conditions.values())
    plain = dataset.with_format(None)
    assert plain["subject"][:] == subjects and len(set(subjects)) == 16
    assert [names[label] for label in plain["labels"][:]] == [conditions[condition] for condition in shown]
    info = signal_info(dataset)
    assert info.n_times == 200 and info.sfreq == 200.0 and info.n_chans == 61 and "AFz" in info.ch_names
    windows = dataset.with_format("numpy")["input_values"][:]
    # resampled from 256 Hz: means of an eighth of a second stay, but for the first and the last, at the edges of what
    # is known
    found = windows.reshape(len(windows), 61, 8, 25).mean(-1)[..., 1:-1]
    wanted = expected.reshape(len(windows), 61, 8, 32).mean(-1)[..., 1:-1]
    assert np.sqrt(np.square(found - wanted).mean()) < 0.02 * wanted.std()
    folds = list(subject_kfold(dataset, 4))
    assert sum(len(fold["test"]) for fold in folds) == len(rows)
    lists = benchmark_subjects()["uci_erp"]
    parts = [lists[name] for name in ("train", "validation", "test")]
    assert [len(part) for part in parts] == [10, 2, 4] and sorted(sum(parts, [])) == sorted(set(subjects))


def a_file_of_trials(folder, **changes):
    """An .npz as that of uci_erp: 8 trials of 3 channels, a second at 256 Hz."""
    (folder / "uci_erp").mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    fields = {
        "x": rng.integers(-500, 500, (8, 3, 256)).astype(np.int16),
        "uv_per_count": np.float32(0.02),
        "sfreq": np.float32(256),
        "ch_names": np.array(["CZ", "FPZ", "O1"]),
        "subject": np.array(["co2a1"] * 4 + ["co2a2"] * 4),
        "condition": np.array(["S1 obj", "S1 obj", "S2 nomatch", "S2 match"] * 2),
        **changes,
    }
    path = folder / "uci_erp" / "uci_erp.npz"
    np.savez(path, **{name: value for name, value in fields.items() if value is not None})
    return path, fields


def test_trials_keep_their_amplitude_and_labels(tmp_path):
    _, fields = a_file_of_trials(tmp_path)
    extractor = eeg_set_extractor("uci_erp", sfreq=256.0, n_times=256)
    dataset = load_eeg_set("uci_erp", tmp_path, extractor=extractor, cache_dir=tmp_path / "cache", progress=False)
    assert dataset.with_format(None)["labels"][:] == [0, 0, 1, 0, 0, 1]
    assert signal_info(dataset).ch_names == ("Cz", "Fpz", "O1")
    rows = [0, 1, 2, 4, 5, 6]
    windows = dataset.with_format("numpy")["input_values"][:]
    np.testing.assert_allclose(windows, fields["x"][rows] * 0.02, atol=1e-4)
    aligned = load_eeg_set(
        "uci_erp",
        tmp_path,
        extractor=eeg_set_extractor("uci_erp", alignment="euclidean"),
        cache_dir=tmp_path / "cache",
        progress=False,
    )
    assert aligned.num_rows == 6


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"subject": np.array(["co2a1", 3], dtype=object)}, "could not be read as an .npz of plain arrays"),
        ({"x": np.zeros((8, 3, 256))}, "x is float64 of shape"),
        ({"condition": None}, "lacks condition"),
        ({"subject": np.array(["co2a1"])}, "subject has 1 entries"),
        ({"condition": np.array(["rest"] * 8)}, "no trial has one of the conditions"),
    ],
)
def test_files_of_trials_that_do_not_fit(tmp_path, changes, words):
    a_file_of_trials(tmp_path, **changes)
    with pytest.raises(ValueError, match=words):
        load_eeg_set("uci_erp", tmp_path, cache_dir=tmp_path / "cache", progress=False)


def test_a_file_of_trials_that_is_cut_short_or_absent(tmp_path):
    path, _ = a_file_of_trials(tmp_path)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(ValueError, match="uci_erp.npz could not be read"):
        load_eeg_set("uci_erp", tmp_path, cache_dir=tmp_path / "cache")
    path.unlink()
    with pytest.raises(FileNotFoundError, match="uci_erp.npz. The set is published at: UCI"):
        load_eeg_set("uci_erp", tmp_path, cache_dir=tmp_path / "cache")
    with pytest.raises(ValueError, match="uci_erp holds trials that are cut already.*eegmmidb"):
        set_recordings("uci_erp", tmp_path)


def test_other_windows(load):
    dataset = load("eegmat", extractor=eeg_set_extractor("eegmat", n_times=2000, ch_names=["Fz", "Cz", "Pz"]))
    assert signal_info(dataset).n_times == 2000 and signal_info(dataset).ch_names == ("Fz", "Cz", "Pz")


def test_absent_recordings_and_unknown_names(tmp_path):
    with pytest.raises(FileNotFoundError, match="published as: PhysioNet eegmat"):
        load_eeg_set("eegmat", tmp_path)
    with pytest.raises(ValueError, match="known are eegmat, ssvep_exo, eyes_gnb, eegmmidb, uci_erp"):
        load_eeg_set("bci4", tmp_path)
    with pytest.raises(ValueError, match="no task 'sleep'; it has imagined_fists"):
        load_eeg_set("eegmmidb", tmp_path, "sleep")
    with pytest.raises(ValueError, match="unknown EEG set"):
        eeg_set_extractor("bci4")
    (tmp_path / "eegmat").mkdir()
    with pytest.raises(FileNotFoundError, match="no EEG recording"):
        load_eeg_set("eegmat", tmp_path)
