# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""The file of a student that sees less than its teacher: the same answers on a headset's recording and the cap's."""

from __future__ import annotations

import mne
import numpy as np
import pytest
import torch

import dlink_hf
from dlink_hf import (
    EEGFeatureExtractor,
    MiCConfig,
    MiCForEEGClassification,
    eeg_set_extractor,
    make_synthetic_recordings,
    student_extractor,
)


FEW = ["F7", "F8", "T7", "T8"]


def save_student(folder, whole: EEGFeatureExtractor, seconds: float = 2.0):
    """A tiny student of random weights, with its feature extractor."""
    extractor = student_extractor(whole, FEW, seconds)
    torch.manual_seed(0)
    config = MiCConfig.from_size("tiny", ch_names=extractor.ch_names, n_times=extractor.n_times, num_labels=3)
    MiCForEEGClassification(config).save_pretrained(folder)
    extractor.save_pretrained(folder)
    return folder


def check_same(folder, whole, headset) -> np.ndarray:
    """Scores (N, 3) of the recording of the whole cap, after a comparison with those of the headset's."""
    pipe = dlink_hf.pipeline("eeg-classification", model=folder, device="cpu")
    told = [pipe(recording, top_k=None) for recording in (whole, headset)]
    scores = [
        np.array([[s["score"] for s in sorted(w["scores"], key=lambda s: s["label"])] for w in one]) for one in told
    ]
    assert [w["label"] for w in told[0]] == [w["label"] for w in told[1]]
    assert [w["onset"] for w in told[0]] == [w["onset"] for w in told[1]]
    assert {w["duration"] for w in told[0]} == {2.0}
    np.testing.assert_allclose(scores[0], scores[1], atol=1e-4)
    assert len(scores[0]) > 10 and scores[0].std(0).min() > 3e-4
    return scores[0]


@pytest.mark.parametrize("alignment", [None, "euclidean", "euclidean_monge"])
def test_a_recording_of_the_headset_and_one_of_the_cap_get_the_same_labels(tmp_path, alignment):
    raw = make_synthetic_recordings(n_subjects=1, n_trials=8, progress=False)[0].load_data().resample(256)
    assert len(raw.ch_names) == 19
    extractor = EEGFeatureExtractor(
        ch_names=raw.ch_names, n_times=1000, l_freq=0.5, h_freq=45.0, notch_freq=50.0, alignment=alignment
    )
    folder = save_student(tmp_path, extractor)
    # the headset has a spelling and an order of its own
    headset = raw.copy().pick(["T8", "F8", "T7", "F7"]).rename_channels({"T7": "EEG T3-REF", "F7": "f7"})
    scores = check_same(folder, raw, headset)
    # what the other electrodes record does not matter, a loose one among them neither
    loose = raw.copy()
    rows = [row for row, name in enumerate(loose.ch_names) if name not in FEW]
    loose._data[rows] = np.random.default_rng(0).normal(scale=1e-2, size=(len(rows), loose.n_times))
    np.testing.assert_allclose(check_same(folder, loose, headset), scores, atol=1e-4)


@pytest.mark.parametrize("alignment", [None, "euclidean"])
def test_the_same_of_a_real_recording(tmp_path, data_dir, alignment):
    path = data_dir / "eegmat" / "Subject35_1.edf"
    whole = eeg_set_extractor("eegmat")
    whole = EEGFeatureExtractor(**{**whole.to_dict(), "alignment": alignment})
    raw = mne.io.read_raw_edf(path, preload=True, verbose="ERROR")
    raw.pick([f"EEG {name}" for name in ("T4", "T3", "F8", "F7")]).save(tmp_path / "headset_raw.fif", verbose="ERROR")
    check_same(save_student(tmp_path / "student", whole), path, tmp_path / "headset_raw.fif")
