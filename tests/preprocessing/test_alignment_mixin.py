# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""The feature extractor with an alignment: fitted on a session, kept, online, built into datasets, never skipped."""

from __future__ import annotations

import json
import logging

import mne
import numpy as np
import pytest
from data_recordings import CHANNELS, make_raw

from dlink_hf import (
    EEGFeatureExtractor,
    align_dataset,
    alignment_info,
    build_dataset,
    load_eeg_set,
    make_alignment,
    monge_reference,
)
from dlink_hf.preprocessing.alignment import ALIGNMENTS
from dlink_hf.preprocessing.alignment_mixin import _say_once


SETTINGS = {"sfreq": 200.0, "n_times": 400}


def session(seed: int = 0, duration: float = 24.0, louder: float = 3.0) -> list[mne.io.RawArray]:
    """Two recordings of one person, the second louder, each of one class."""
    first = make_raw([(0.0, duration, "rest")], duration, subject=f"S{seed}", seed=2 * seed)
    second = make_raw([(0.0, duration, "task")], duration, subject=f"S{seed}", seed=2 * seed + 1)
    return [first, second.apply_function(lambda x: louder * x)]


def plain_windows(recordings) -> np.ndarray:
    return EEGFeatureExtractor(**SETTINGS)(recordings)["input_values"]


@pytest.mark.parametrize("method", ALIGNMENTS)
def test_a_session_is_aligned_as_a_whole(method):
    extractor = EEGFeatureExtractor(**SETTINGS, alignment=method)
    recordings = session()
    windows = plain_windows(recordings)
    expected = make_alignment(method, sfreq=200.0, ch_names=CHANNELS).fit(windows).transform(windows)
    # all in one call, or fitted first, or by what was kept of the fit
    np.testing.assert_array_equal(extractor(recordings)["input_values"], expected)
    state = extractor.fit_alignment(recordings)
    kept = json.loads(json.dumps(state.to_dict()))
    for given in (state, kept):
        np.testing.assert_array_equal(extractor(recordings[1], alignment_state=given)["input_values"], expected[12:])
    # a recording alone is another session than both
    assert np.abs(extractor(make_raw([], 30.0))["input_values"]).max() > 0
    np.testing.assert_array_equal(extractor(recordings, align=False)["input_values"], windows)


@pytest.mark.parametrize("method", ALIGNMENTS)
def test_a_session_that_goes_on(method):
    extractor = EEGFeatureExtractor(**SETTINGS, alignment=method)
    # beyond 2.5 times the median of what came before it would be left out
    recordings = session(louder=1.5)
    windows = extractor(recordings, align=False)["input_values"]
    running = extractor.start_session(ch_names=["c3", "CZ", "C4", "oz"])
    for index, window in enumerate(windows):
        running.update(window[None])
        assert running.is_ready == (index + 1 >= 15) and running.n_windows == index + 1
        if index == 13:
            with pytest.raises(ValueError, match="seen 14 windows, an alignment needs 15"):
                running.transform(window[None])
    expected = extractor(recordings)["input_values"]
    np.testing.assert_array_equal(running.transform(windows), expected)
    np.testing.assert_array_equal(extractor(recordings, alignment_state=running)["input_values"], expected)
    drifting = extractor.start_session(half_life=3.0).update(windows).transform(windows)
    assert np.abs(drifting - expected).max() > 1


def test_too_little_signal_is_refused(caplog):
    extractor = EEGFeatureExtractor(**SETTINGS, alignment="zscore")
    recordings = session()
    with pytest.raises(ValueError, match="24 s of signal are too few .* 30 s .*all recordings"):
        extractor(recordings[0])
    # windows that overlap are not more signal
    overlapping = EEGFeatureExtractor(**SETTINGS, stride=40, alignment="zscore")
    with pytest.raises(ValueError, match="24 s of signal are too few"):
        overlapping(recordings[0])
    with pytest.raises(ValueError, match="10 s of signal are too few"):
        extractor(np.ones((5, 4, 400)) * np.sin(np.arange(400)), sfreq=200.0, ch_names=CHANNELS, unit="uV")
    overlapping.alignment_min_seconds = 20.0
    _say_once.cache_clear()  # other tests have heard it
    with caplog.at_level(logging.WARNING):
        overlapping(recordings[0])
        overlapping(recordings[0])
    assert caplog.text.count("fitted only on the windows of each call") == 1


def test_states_that_do_not_fit_are_refused():
    recordings = session()
    extractor = EEGFeatureExtractor(**SETTINGS, alignment="zscore")
    state = extractor.fit_alignment(recordings)
    with pytest.raises(ValueError, match="aligns nothing"):
        EEGFeatureExtractor(**SETTINGS)(recordings, alignment_state=state)
    with pytest.raises(ValueError, match="aligns nothing"):
        EEGFeatureExtractor(**SETTINGS).start_session()
    with pytest.raises(ValueError, match="contradict"):
        extractor(recordings, align=False, alignment_state=state)
    with pytest.raises(ValueError, match="method 'zscore', needed is 'euclidean'"):
        EEGFeatureExtractor(**SETTINGS, alignment="euclidean")(recordings, alignment_state=state)
    with pytest.raises(ValueError, match="ch_names .*'Oz'"):
        EEGFeatureExtractor(**SETTINGS, ch_names=["C3", "C4"], alignment="zscore")(recordings, alignment_state=state)
    with pytest.raises(ValueError, match="not the state of an alignment"):
        extractor(recordings, alignment_state={"mean": 0})


def test_a_measured_reference_travels_with_the_extractor(tmp_path):
    recordings = [raw for seed in range(3) for raw in session(seed)]
    windows = build_dataset(recordings, EEGFeatureExtractor(**SETTINGS), cache_dir=tmp_path, progress=False)
    reference = monge_reference(windows, progress=False)
    extractor = EEGFeatureExtractor(**SETTINGS, alignment="monge", alignment_reference=reference)
    extractor.save_pretrained(tmp_path / "saved")
    loaded = EEGFeatureExtractor.from_pretrained(tmp_path / "saved")
    assert loaded.to_dict() == extractor.to_dict() and loaded.alignment_facts() == extractor.alignment_facts()
    aligned = loaded(session(1))["input_values"]
    np.testing.assert_array_equal(aligned, extractor(session(1))["input_values"])
    fixed = EEGFeatureExtractor(**SETTINGS, alignment="monge")
    assert np.abs(fixed(session(1))["input_values"] - aligned).max() > 1
    with pytest.raises(ValueError, match="another reference"):
        fixed(session(1), alignment_state=extractor.fit_alignment(session(1)))
    with pytest.raises(ValueError, match="sfreq=200"):
        EEGFeatureExtractor(sfreq=250.0, alignment="monge", alignment_reference=reference)


@pytest.mark.parametrize("method", ALIGNMENTS)
def test_datasets_are_built_aligned_person_by_person(method, tmp_path):
    recordings = [raw for seed in range(3) for raw in session(seed)]
    options = {"cache_dir": tmp_path, "progress": False}
    plain = build_dataset(recordings, EEGFeatureExtractor(**SETTINGS), **options)
    extractor = EEGFeatureExtractor(**SETTINGS, alignment=method)
    aligned = build_dataset(recordings, extractor, **options)
    # windows before alignment are built once for all methods
    assert sorted(path.name.split("-")[0] for path in tmp_path.iterdir()) == ["aligned", "windows"]
    assert alignment_info(aligned)["method"] == method and alignment_info(plain) is None
    again = build_dataset(recordings, extractor, **options)
    expected = align_dataset(plain, method, **options)
    values = [dataset.with_format("numpy")["input_values"][:] for dataset in (aligned, again, expected)]
    np.testing.assert_array_equal(values[0], values[1])
    np.testing.assert_array_equal(values[0], values[2])
    # each person as the extractor itself would have it
    np.testing.assert_array_equal(values[0][24:48], extractor(session(1))["input_values"])
    with pytest.raises(ValueError, match=r"6 of 6 groups \(recording\)"):
        build_dataset(recordings, extractor, alignment_group="recording", **options)


def test_arrays_of_windows_are_built_aligned(tmp_path):
    windows = plain_windows(session())
    extractor = EEGFeatureExtractor(**SETTINGS, alignment="euclidean")
    signal = {"sfreq": 200.0, "ch_names": CHANNELS, "unit": "uV"}
    options = {"labels": ["rest", "task"] * 12, "subjects": "S0", "cache_dir": tmp_path, "progress": False, **signal}
    aligned = build_dataset(windows, extractor, **options)
    np.testing.assert_array_equal(
        aligned.with_format("numpy")["input_values"][:], extractor(windows, **signal)["input_values"]
    )


def test_real_runs_of_both_classes_are_aligned_one_by_one(data_dir, tmp_path):
    extractor = EEGFeatureExtractor(n_times=800, alignment="zscore")
    dataset = load_eeg_set("eegmmidb", data_dir, extractor=extractor, cache_dir=tmp_path, progress=False)
    assert alignment_info(dataset)["group_columns"] == ["recording"]
    windows = dataset.with_format("numpy")
    for run in set(dataset["recording"][:]):
        chosen = windows["input_values"][:][np.asarray(dataset["recording"][:]) == run]
        np.testing.assert_allclose(chosen.mean(axis=(0, 2)), 0, atol=1e-4)
        np.testing.assert_allclose(chosen.std(axis=(0, 2)), 10, rtol=1e-4)
