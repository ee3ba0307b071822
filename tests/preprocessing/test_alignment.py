# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Alignment of people: against SciPy's own numbers, window by window, person by person, and what is refused."""

from __future__ import annotations

import json
import logging

import numpy as np
import pytest
from datasets import ClassLabel, Dataset
from scipy import linalg, signal

from dlink_hf import (
    SignalInfo,
    align_dataset,
    alignment_info,
    concatenate_windows,
    load_eeg_set,
    monge_reference,
    set_signal_info,
    signal_info,
)
from dlink_hf.preprocessing.alignment import (
    ALIGNMENTS,
    EuclideanAlignment,
    MongeAlignment,
    ZScoreAlignment,
    alignment_from_dict,
    make_alignment,
)
from dlink_hf.preprocessing.alignment_methods import cospectra


CH_NAMES = ["Fp1", "C3", "Cz", "C4", "O2"]
SFREQ = 200.0


def brain(seed: int, n: int = 12, n_times: int = 600) -> np.ndarray:
    """(n, 5, n_times) microvolts: channels that correlate, with spectra and scales of a person's own."""
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(5, 5)) * rng.uniform(2, 20, size=(5, 1))
    poles = rng.uniform(0.3, 0.8, size=5)
    sources = np.stack([signal.lfilter([1], [1, -pole], rng.normal(size=(n, n_times + 99))) for pole in poles], axis=1)
    return (mixing @ sources[..., 99:] + rng.normal(size=(5, 1))).astype(np.float32)


def people(seeds=(1, 2, 3), n: int = 12, order=None) -> Dataset:
    """Windows of some people; each recording holds one class, as in eegmat."""
    windows = np.concatenate([brain(seed, n) for seed in seeds])
    labels = np.tile(np.arange(n) >= n // 2, len(seeds)).astype(int)
    subjects = np.repeat([f"S{seed}" for seed in seeds], n)
    order = np.arange(len(windows)) if order is None else order
    rows = {
        "input_values": list(windows[order]),
        "labels": labels[order],
        "subject": subjects[order],
        "recording": [f"{subject}_{label}" for subject, label in zip(subjects[order], labels[order], strict=True)],
        "onset": np.arange(len(windows))[order] * 3.0,
    }
    dataset = Dataset.from_dict(rows).cast_column("labels", ClassLabel(names=["rest", "task"]))
    return set_signal_info(dataset, SignalInfo(tuple(CH_NAMES), SFREQ, 600)).with_format("torch")


def values_of(dataset: Dataset, subject: str | None = None) -> np.ndarray:
    arrays = dataset.with_format("numpy")
    keep = [subject in (None, name) for name in dataset["subject"][:]]
    return arrays["input_values"][:][keep]


def test_euclidean_alignment_is_the_papers_formula():
    windows = brain(0).astype(np.float64)
    mean = np.mean([x @ x.T / x.shape[1] for x in windows], axis=0)
    whiten = 10 * np.real(linalg.fractional_matrix_power(mean, -0.5))
    aligned = EuclideanAlignment(shrinkage=0).fit(windows).transform(windows)
    assert aligned.dtype == np.float32
    np.testing.assert_allclose(aligned, [whiten @ x for x in windows], rtol=1e-4, atol=1e-4)
    after = np.mean([x @ x.T / x.shape[1] for x in aligned.astype(np.float64)], axis=0)
    np.testing.assert_allclose(after, 100 * np.eye(5), atol=1e-3)
    # shrunk, it is the same formula on the shrunk covariance
    shrunk = 0.8 * mean + 0.2 * np.trace(mean) / 5 * np.eye(5)
    whiten = 10 * np.real(linalg.fractional_matrix_power(shrunk, -0.5))
    shrunk_aligned = EuclideanAlignment(shrinkage=0.2).fit(windows).transform(windows)
    np.testing.assert_allclose(shrunk_aligned, [whiten @ x for x in windows], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shrinkage", [0.0, 0.01])
@pytest.mark.parametrize("defect", ["average reference", "copied channel", "dead channel"])
def test_directions_without_signal_stay_without_signal(defect, shrinkage):
    windows = brain(0)
    if defect == "average reference":
        windows -= windows.mean(axis=1, keepdims=True)
    elif defect == "copied channel":
        windows[:, 3] = windows[:, 1]
    else:
        windows[:, 3] = 0
    aligned = EuclideanAlignment(shrinkage=shrinkage).fit(windows).transform(windows).astype(np.float64)
    eigenvalues = np.linalg.eigvalsh(np.mean([x @ x.T / x.shape[1] for x in aligned], axis=0))
    assert abs(eigenvalues[0]) < 1e-2
    # shrinkage holds weak directions back
    assert eigenvalues[-1] == pytest.approx(100, rel=0.02) and eigenvalues[1] > (50 if shrinkage else 99.9)


def test_z_scores_are_those_of_all_samples():
    windows = brain(0) + 4100
    samples = np.moveaxis(windows, 1, 0).reshape(5, -1).astype(np.float64)
    expected = 10 * (windows - samples.mean(1)[:, None]) / samples.std(1)[:, None]
    np.testing.assert_allclose(ZScoreAlignment().fit(windows).transform(windows), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", ["1/f", "measured"])
def test_monge_mapping_gives_everybody_the_reference_spectrum(kind):
    reference = monge_reference(people((1, 2, 3)), filter_length=128) if kind == "measured" else "1/f"
    windows = brain(7, n=60, n_times=2000)
    alignment = MongeAlignment(sfreq=SFREQ, filter_length=128, reference=reference, ch_names=CH_NAMES, max_gain=1e3)
    aligned = alignment.fit(windows).transform(windows)
    freqs, psd = signal.welch(aligned[..., 64:-64].astype(np.float64), SFREQ, nperseg=128, axis=-1)
    psd = psd.mean(axis=0)
    if kind == "1/f":
        wanted = np.tile(1 / np.maximum(np.fft.rfftfreq(128, 1 / SFREQ), 1), (5, 1))
        wanted[:, [0, -1]] /= 2  # one-sided
        wanted *= 100 / (wanted.sum(axis=1, keepdims=True) * freqs[1])
    else:
        alone = [signal.welch(brain(seed).astype(np.float64), SFREQ, nperseg=128)[1].mean(0) for seed in (1, 2, 3)]
        wanted = np.mean(np.sqrt(alone), axis=0) ** 2
        np.testing.assert_allclose(reference["psd"], wanted, rtol=1e-5)
    # Welch's window spreads each bin over its neighbours; a tilt of 1/f is steep in the lowest ones
    np.testing.assert_allclose(psd[:, 4:], wanted[:, 4:], rtol=0.08)
    np.testing.assert_allclose(psd[:, 1:4], wanted[:, 1:4], rtol=0.25)
    before = signal.welch(windows.astype(np.float64), SFREQ, nperseg=128)[1].mean(axis=0)
    assert np.abs(np.log(before / wanted)).mean() > 20 * np.abs(np.log(psd / wanted)).mean()


def test_the_monge_filter_shifts_nothing_in_time_and_bounds_its_gain():
    low = signal.butter(8, 30, fs=SFREQ, output="sos")
    windows = signal.sosfiltfilt(low, brain(3, n=30, n_times=1000), axis=-1)
    alignment = MongeAlignment(sfreq=SFREQ, filter_length=128).fit(windows)
    impulse = np.zeros((1, 5, 1001))
    impulse[..., 500] = 1
    response = alignment.transform(impulse)
    np.testing.assert_allclose(response, response[..., ::-1], atol=1e-6)
    gain = np.abs(np.fft.rfft(response[0].astype(np.float64), axis=-1))
    # nothing is above 30 Hz: the filter must not make something of it; 10 uV RMS are wanted in all
    overall = 10 / windows.std(axis=(0, 2))
    assert (gain.max(axis=1) < 1.3 * 10 * overall).all() and (gain.min(axis=1) > 0.05 * overall).all()


@pytest.mark.parametrize("half_life", [None, 5.0])
@pytest.mark.parametrize("method", ALIGNMENTS)
def test_running_statistics_equal_those_of_the_batch_and_travel_as_json(method, half_life):
    windows, others = brain(0, 30), brain(1, 4)
    batch = make_alignment(method, ch_names=CH_NAMES, half_life=half_life).fit(others).fit(windows)
    running = make_alignment(method, ch_names=CH_NAMES, half_life=half_life)
    for start, stop in ((0, 1), (1, 8), (8, 30)):
        running.partial_fit(windows[start:stop])
        running.transform(others)
    assert running.n_windows == batch.n_windows == 30
    np.testing.assert_allclose(running.transform(others), batch.transform(others), rtol=1e-6, atol=1e-6)
    again = alignment_from_dict(json.loads(json.dumps(running.to_dict())))
    np.testing.assert_array_equal(again.transform(others), running.transform(others))
    # and goes on where it stood
    np.testing.assert_array_equal(
        again.partial_fit(others).transform(windows), running.partial_fit(others).transform(windows)
    )


def test_forgetting_weighs_windows_by_their_age():
    windows = brain(0, 20).astype(np.float64)
    weights = 0.5 ** (np.arange(20)[::-1] / 4)
    mean = np.average([x @ x.T / x.shape[1] for x in windows], axis=0, weights=weights)
    expected = 10 * np.real(linalg.fractional_matrix_power(mean, -0.5)) @ windows
    aligned = EuclideanAlignment(shrinkage=0, half_life=4).fit(windows).transform(windows)
    np.testing.assert_allclose(aligned, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("windows", "reason"),
    [
        (np.zeros((5, 600)), "one window|One window"),
        (np.zeros((0, 5, 600)), "shape"),
        (np.zeros((2, 4, 600)), "4 channels"),
        (np.full((2, 5, 600), np.nan), "NaN"),
    ],
)
def test_windows_that_are_none(windows, reason):
    with pytest.raises(ValueError, match=reason):
        make_alignment("euclidean", ch_names=CH_NAMES).fit(windows)


def test_what_else_is_refused():
    windows = brain(0)
    with pytest.raises(ValueError, match="'zscore', 'euclidean', 'monge'"):
        make_alignment("riemann")
    with pytest.raises(ValueError, match="reference"):
        make_alignment("zscore", reference="1/f")
    with pytest.raises(ValueError, match="no window yet"):
        make_alignment("zscore").transform(windows)
    with pytest.raises(TypeError, match="real numbers"):
        make_alignment("zscore").fit([["a"]])
    with pytest.raises(ValueError, match="shorter"):
        make_alignment("monge").fit(windows[..., :200])
    with pytest.raises(ValueError, match="incomplete"):
        alignment_from_dict({"method": "zscore", "settings": {}})
    for settings in ({"sfreq": 250.0}, {"filter_length": 64}, {"ch_names": ["Pz"]}):
        reference = monge_reference(people((1,)), filter_length=128)
        with pytest.raises(ValueError, match="|".join(settings) + "|Pz"):
            MongeAlignment(**{"reference": reference, "filter_length": 128, "ch_names": CH_NAMES, **settings})
    windows[:, 2] = 7.0
    for method in ("zscore", "monge"):
        with pytest.raises(ValueError, match="Cz never changes"):
            make_alignment(method, ch_names=CH_NAMES).fit(windows).transform(windows)


@pytest.mark.parametrize("method", ALIGNMENTS)
def test_a_dataset_is_aligned_person_by_person(method, tmp_path):
    # rows of the three people are shuffled: neither contiguous nor in order
    order = np.random.default_rng(0).permutation(36)
    dataset = people(order=order)
    aligned = align_dataset(dataset, method, cache_dir=tmp_path, progress=False)
    for subject in ("S1", "S2", "S3"):
        windows = values_of(dataset, subject)
        alone = make_alignment(method, sfreq=SFREQ, ch_names=CH_NAMES).fit(windows).transform(windows)
        np.testing.assert_array_equal(values_of(aligned, subject), alone)
    # all else is as it was
    for column in ("labels", "subject", "recording", "onset"):
        np.testing.assert_array_equal(aligned.with_format("numpy")[column][:], dataset.with_format("numpy")[column][:])
    assert aligned.format["type"] == "torch" and signal_info(aligned) == signal_info(dataset)
    assert aligned.features["labels"] == dataset.features["labels"]
    assert alignment_info(dataset) is None and alignment_info(aligned.select([0]))["method"] == method
    # another person's numbers change nobody's but their own
    changed = align_dataset(people((1, 9, 3), order=order), method, cache_dir=tmp_path, progress=False)
    np.testing.assert_array_equal(values_of(changed, "S1"), values_of(aligned, "S1"))
    np.testing.assert_array_equal(values_of(changed, "S3"), values_of(aligned, "S3"))


def test_labels_do_not_enter(tmp_path):
    dataset = people()
    other = dataset.map(lambda row: {"labels": 1 - row["labels"]}, new_fingerprint="flipped")
    one, two = (align_dataset(d, "euclidean", cache_dir=tmp_path, progress=False) for d in (dataset, other))
    np.testing.assert_array_equal(values_of(one), values_of(two))
    assert (np.asarray(one["labels"][:]) == 1 - np.asarray(two["labels"][:])).all()
    unlabelled = dataset.remove_columns("labels")
    np.testing.assert_array_equal(
        values_of(align_dataset(unlabelled, "euclidean", cache_dir=tmp_path, progress=False)), values_of(one)
    )


def test_aligned_windows_are_found_again(tmp_path):
    first = align_dataset(people(), "zscore", cache_dir=tmp_path, progress=False)
    written = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.arrow")}
    again = align_dataset(people(), "zscore", cache_dir=tmp_path, progress=False)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.arrow")} == written and len(written) == 1
    np.testing.assert_array_equal(values_of(first), values_of(again))
    align_dataset(people(), "euclidean", cache_dir=tmp_path, progress=False)
    assert len(list(tmp_path.rglob("*.arrow"))) == 2


def test_groups_of_one_class_are_refused(tmp_path, caplog):
    dataset = people()
    with pytest.raises(ValueError, match=r"6 of 6 groups \(recording\).*S1_0: rest.*see the label.*subject"):
        align_dataset(dataset, "euclidean", group_column="recording", cache_dir=tmp_path)
    with pytest.raises(ValueError, match="6 of 6"):
        align_dataset(dataset, "euclidean", session_column="recording", cache_dir=tmp_path)
    assert not list(tmp_path.iterdir())
    # one person with one class, as after the rejection of artefacts
    partly = dataset.select(range(30))
    with pytest.raises(ValueError, match=r"1 of 3 groups \(subject\).*S3"):
        align_dataset(partly, "euclidean", cache_dir=tmp_path)
    with caplog.at_level(logging.WARNING):
        dropped = align_dataset(partly, "euclidean", one_class="drop", cache_dir=tmp_path, progress=False)
    assert "S3" in caplog.text and set(dropped["subject"][:]) == {"S1", "S2"}
    allowed = align_dataset(partly, "euclidean", one_class="allow", cache_dir=tmp_path, progress=False)
    assert len(allowed) == 30
    np.testing.assert_array_equal(values_of(allowed, "S1"), values_of(dropped, "S1"))


def test_sessions_of_a_person_are_aligned_one_by_one(tmp_path):
    dataset = people((1,), n=24)
    dataset = dataset.add_column("session", ["am", "pm"] * 12)
    aligned = align_dataset(dataset, "zscore", session_column="session", cache_dir=tmp_path, progress=False)
    windows = values_of(dataset)[1::2]
    expected = ZScoreAlignment().fit(windows).transform(windows)
    np.testing.assert_array_equal(values_of(aligned)[1::2], expected)


def test_alignment_is_never_mixed_or_doubled(tmp_path, caplog):
    dataset = people()
    aligned = align_dataset(dataset, "zscore", cache_dir=tmp_path, progress=False)
    with pytest.raises(ValueError, match="aligned already"):
        align_dataset(aligned, "zscore", cache_dir=tmp_path)
    with pytest.raises(ValueError, match="aligned already"):
        monge_reference(aligned)
    with pytest.raises(ValueError, match="aligned differently"):
        concatenate_windows([aligned, dataset])
    with pytest.raises(KeyError, match="no column 'person'"):
        align_dataset(dataset, "zscore", group_column="person", cache_dir=tmp_path)
    with caplog.at_level(logging.WARNING):
        align_dataset(dataset.select(range(0, 36, 3)), "zscore", cache_dir=tmp_path, progress=False)
    assert "less than 30 s" in caplog.text


def test_on_real_recordings_files_of_one_class_are_refused(data_dir, tmp_path):
    dataset = load_eeg_set("eegmat", data_dir, progress=False)
    dataset = dataset.select(np.flatnonzero(np.isin(dataset["subject"][:], ["03", "11", "35"])))
    with pytest.raises(ValueError, match="6 of 6 groups .recording..*see the label"):
        align_dataset(dataset, "euclidean", group_column="recording", cache_dir=tmp_path)
    aligned = align_dataset(dataset, "euclidean", cache_dir=tmp_path, progress=False)
    for subject in ("03", "11", "35"):
        windows = values_of(aligned, subject).astype(np.float64)
        covariance = np.mean([x @ x.T / x.shape[1] for x in windows], axis=0)
        assert np.trace(covariance) / len(covariance) == pytest.approx(100, rel=0.4)
        assert len(windows) == list(dataset["subject"][:]).count(subject)


def test_both_maps_one_after_the_other_follow_from_running_statistics():
    rng = np.random.default_rng(3)
    windows = 9.0 * rng.standard_normal((40, 5, 600))
    windows[:, 1] += 0.8 * windows[:, 0]
    aligned = make_alignment("euclidean_monge", sfreq=200.0).fit(windows).transform(windows)
    first = make_alignment("euclidean").fit(windows).transform(windows)
    second = make_alignment("monge", sfreq=200.0).fit(first).transform(first)
    np.testing.assert_allclose(aligned, second, atol=1e-4)
    portions = make_alignment("euclidean_monge", sfreq=200.0).partial_fit(windows[:13]).partial_fit(windows[13:])
    np.testing.assert_allclose(portions.transform(windows), aligned, atol=1e-5)
    again = alignment_from_dict(json.loads(json.dumps(portions.to_dict())))
    np.testing.assert_array_equal(again.transform(windows), portions.transform(windows))
    with pytest.raises(ValueError, match="no reference spectrum"):
        make_alignment("euclidean_monge", reference="1/f")
    _, expected = signal.csd(windows[:, :, None], windows[:, None], 200.0, nperseg=256, axis=-1)
    np.testing.assert_allclose(cospectra(windows, 200.0, 256), expected.real, atol=1e-12)
