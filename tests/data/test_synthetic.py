# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""The synthetic EEG looks like EEG, is the same for the same seed, and is neither trivial nor hopeless."""

import numpy as np
import pytest
from scipy.signal import welch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from dlink_hf.data.description import signal_info
from dlink_hf.data.splits import subject_kfold
from dlink_hf.data.synthetic import SYNTHETIC_CHANNELS, make_synthetic_recordings, synthetic_dataset


BANDS = [(1, 4), (4, 8), (8, 13), (13, 30), (30, 45)]


@pytest.fixture(scope="module")
def recordings():
    return make_synthetic_recordings(3, 20, seed=0, progress=False)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return synthetic_dataset(20, 48, seed=0, cache_dir=tmp_path_factory.mktemp("cache"), progress=False)


def spectrum(values):
    freqs, power = welch(values * 1e6, 200.0, nperseg=400, axis=-1)
    return freqs, power


def band(freqs, power, low, high):
    return power[..., (freqs >= low) & (freqs < high)].mean(-1)


def test_recordings_look_like_recordings(recordings):
    raw = recordings[1]
    assert raw.ch_names == list(SYNTHETIC_CHANNELS) and raw.info["sfreq"] == 200.0
    assert raw.info["subject_info"]["his_id"] == "S01"
    assert sorted(set(raw.annotations.description)) == ["left hand", "right hand"]
    assert list(raw.annotations.description).count("left hand") == 10
    assert set(raw.annotations.duration) == {5.0}
    assert 3e-6 < np.median(raw.get_data().std(axis=1)) < 40e-6


def test_same_seed_same_numbers(recordings):
    again = make_synthetic_recordings(2, 20, seed=0, progress=False)
    np.testing.assert_array_equal(again[1].get_data(), recordings[1].get_data())
    other = make_synthetic_recordings(1, 20, seed=1, progress=False)
    assert not np.allclose(other[0].get_data(), recordings[0].get_data())


def test_spectrum_has_background_rhythms_and_line(recordings):
    freqs, power = spectrum(np.stack([raw.get_data() for raw in recordings])[:, :, :20000])
    assert np.all(band(freqs, power, 1, 3) > 4 * band(freqs, power, 30, 45))
    line = power[..., np.argmin(abs(freqs - 50))]
    assert np.median(line / band(freqs, power, 55, 70)) > 1.5
    clean = make_synthetic_recordings(1, 20, line_freq=0, seed=0, progress=False)[0]
    _, quiet = spectrum(clean.get_data())
    assert quiet[..., np.argmin(abs(freqs - 50))].max() < line.max() / 3
    occipital, frontal = [SYNTHETIC_CHANNELS.index(name) for name in ("O1", "F3")]
    ratio = band(freqs, power, 8, 12) / band(freqs, power, 3, 7)
    assert np.all(ratio[:, occipital] > ratio[:, frontal])


def test_blinks_are_frontal_and_neighbours_correlate(recordings):
    values = recordings[0].get_data() * 1e6
    order = np.argsort(np.ptp(values, axis=1))[::-1]
    assert {SYNTHETIC_CHANNELS[index] for index in order[:2]} == {"Fp1", "Fp2"}
    correlation = np.corrcoef(values)
    index = SYNTHETIC_CHANNELS.index
    assert correlation[index("C3"), index("P3")] > correlation[index("C3"), index("P8")]


def test_mu_weakens_opposite_to_the_hand(dataset):
    rows = dataset.with_format("numpy")[:]
    freqs, power = welch(rows["input_values"][:, [8, 10]], 200.0, nperseg=400, axis=-1)  # C3, C4
    difference = np.diff(np.log(band(freqs, power, 8, 14)), axis=1)[:, 0]  # C4 less C3
    for label, sign in [(0, -1), (1, 1)]:
        mean = np.mean(difference[rows["labels"] == label]) - np.mean(difference)
        assert sign * mean > 0.05


def test_a_linear_classifier_is_well_above_chance_and_below_perfect(dataset):
    """Log band power and logistic regression, on unseen subjects."""
    scores = []
    for fold in subject_kfold(dataset, 5, seed=0, validation=0):
        features, labels = {}, {}
        for name, split in fold.items():
            rows = split.with_format("numpy")[:]
            freqs, power = welch(rows["input_values"], 200.0, nperseg=200, axis=-1)
            features[name] = np.concatenate([np.log(band(freqs, power, *limits)) for limits in BANDS], axis=1)
            labels[name] = rows["labels"]
        model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=2000))
        model.fit(features["train"], labels["train"])
        scores.append(balanced_accuracy_score(labels["test"], model.predict(features["test"])))
    print(f"balanced accuracy of band power on unseen subjects: {np.mean(scores):.3f}")
    assert 0.75 < np.mean(scores) < 0.92
    assert max(scores) < 0.95


def test_dataset_went_through_the_extractor(dataset):
    info = signal_info(dataset)
    assert info.ch_names == SYNTHETIC_CHANNELS and info.sfreq == 200.0 and info.n_times == 1000
    assert len(dataset) == 960 and len(set(dataset.with_format(None)["subject"])) == 20
    assert dataset.features["labels"].names == ["left hand", "right hand"]


def test_other_montage_and_difficulty():
    raw = make_synthetic_recordings(1, 4, ch_names=["Fp1", "C3", "C4", "Oz"], sfreq=256.0, progress=False)[0]
    assert raw.ch_names == ["Fp1", "C3", "C4", "Oz"] and raw.info["sfreq"] == 256.0
    for options, message in [
        ({"n_subjects": 0}, "n_subjects=0"),
        ({"n_trials": 1}, "n_trials=1"),
        ({"sfreq": 40.0}, "sfreq=40"),
        ({"ch_names": ["Fp1", "Zz"]}, "Zz"),
    ]:
        with pytest.raises(ValueError, match=message):
            make_synthetic_recordings(**options, progress=False)
