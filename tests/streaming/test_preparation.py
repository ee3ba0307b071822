# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Streams are prepared as recordings are: the same samples, late by a known delay."""

import json

import mne
import numpy as np
import pytest
from scipy import signal

from dlink_hf import EEGFeatureExtractor, StreamPreparation, filter_coefficients


NAMES = ["C3", "Cz", "C4"]
FILTERS = {
    "none": {},
    "band-pass": {"l_freq": 0.5, "h_freq": 45.0},
    "notches": {"l_freq": 1.0, "notch_freq": [25.0, 50.0]},
}


def drifting(n_times: int, n_chans: int = 3, seed: int = 0) -> np.ndarray:
    """(C, T) microvolts: drift, noise, and the offset of a headset."""
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal((2, n_chans, n_times))
    return 2 * np.cumsum(noise[0], axis=1) + 10 * noise[1] + 4100


def prepared_offline(extractor: EEGFeatureExtractor, values: np.ndarray, sfreq: float) -> np.ndarray:
    raw = mne.io.RawArray(values * 1e-6, mne.create_info(NAMES, sfreq, "eeg"), verbose="error")
    return extractor.prepare_raw(raw).get_data() * 1e6


def pushed(preparation: StreamPreparation, values: np.ndarray, longest: int = 70) -> np.ndarray:
    """All that comes out when (C, T) goes in by pieces of all lengths."""
    rng, parts, first = np.random.default_rng(1), [], 0
    while first < values.shape[1]:
        last = first + int(rng.integers(0, longest))
        parts.append(preparation.push(values[:, first:last]))
        first = last
    return np.concatenate(parts, axis=1)


@pytest.mark.parametrize("sfreq", [128.0, 200.0, 249.97, 256.0, 500.0])
@pytest.mark.parametrize("filters", FILTERS)
def test_a_stream_gives_the_samples_of_the_recording(sfreq, filters):
    extractor = EEGFeatureExtractor(max_abs_uv=None, **FILTERS[filters])
    values = drifting(int(30 * sfreq))
    preparation = StreamPreparation(extractor, NAMES, sfreq)
    offline, live = prepared_offline(extractor, values, sfreq), pushed(preparation, values)
    # from the first sample on, and late by the delay and no more than a sample of either rate
    np.testing.assert_allclose(live, offline[:, : live.shape[1]], rtol=0, atol=0.01)
    late = values.shape[1] / sfreq - live.shape[1] / 200
    assert abs(late - preparation.delay) <= 1 / 200 + 1 / sfreq


def test_the_delay_is_that_of_the_filters():
    extractor = EEGFeatureExtractor(l_freq=0.5, h_freq=45.0, notch_freq=50.0)
    assert StreamPreparation(EEGFeatureExtractor(), NAMES, 200.0).delay == 0
    # 51 samples of the slower rate; half of MNE's 3.3 / 0.5 Hz, and of its 6.6 s for a notch
    assert StreamPreparation(EEGFeatureExtractor(), NAMES, 128.0).delay == pytest.approx(51 / 128)
    assert StreamPreparation(EEGFeatureExtractor(), NAMES, 512.0).delay == pytest.approx(51 / 200)
    assert StreamPreparation(extractor, NAMES, 200.0).delay == pytest.approx(6.6)
    assert StreamPreparation(extractor, NAMES, 256.0, phase="minimum").delay == pytest.approx(51 / 200)


def test_minimum_phase_has_the_same_gain_and_hardly_a_delay():
    extractor = EEGFeatureExtractor(l_freq=0.5, h_freq=45.0)
    linear, minimum = (
        np.array(filter_coefficients(extractor, 200.0, NAMES, phase)["fir"][0]["taps"])
        for phase in ("linear", "minimum")
    )
    (freqs, gain), (_, other) = (signal.freqz(taps, fs=200.0, worN=4000) for taps in (linear, minimum))
    passed = (freqs > 1) & (freqs < 45)
    np.testing.assert_allclose(np.abs(other[passed]), np.abs(gain[passed]), atol=0.02)
    # its energy comes at once: a wave of 10 Hz is late by less than 50 ms
    _, delay = signal.group_delay((minimum, 1.0), w=[10.0], fs=200.0)
    assert delay[0] / 200 < 0.05
    wave = 20 * np.sin(2 * np.pi * 10 * np.arange(4000) / 200) * np.ones((3, 1))
    live = StreamPreparation(extractor, NAMES, 200.0, phase="minimum").push(wave)
    assert live.shape == wave.shape
    assert np.abs(live[:, 2000:]).max() == pytest.approx(20, rel=0.02)


def test_channels_are_picked_by_name_and_units_become_microvolts():
    extractor = EEGFeatureExtractor(ch_names=["C4", "C3"], missing_channels="error")
    preparation = StreamPreparation(extractor, ["c3", "EEG Cz", "C4", "ECG"], 200.0, unit="mV")
    assert preparation.ch_names == ["C4", "C3"]
    np.testing.assert_allclose(preparation.push([[1.0], [2.0], [3.0], [4.0]]), [[3000.0], [1000.0]])
    with pytest.raises(ValueError, match="lacks 1 of the 2 channels asked for: C4"):
        StreamPreparation(extractor, ["C3", "Cz"], 200.0)


def test_a_reset_forgets():
    extractor = EEGFeatureExtractor(l_freq=0.5)
    values = drifting(3000)
    preparation = StreamPreparation(extractor, NAMES, 256.0)
    first = pushed(preparation, values)
    preparation.reset()
    np.testing.assert_array_equal(pushed(preparation, values), first)


def test_the_coefficients_are_enough_to_do_it_elsewhere():
    """An implementation of its own, from the JSON alone, gives the samples of the stream."""
    extractor = EEGFeatureExtractor(l_freq=1.0, h_freq=40.0, max_abs_uv=None)
    told = json.loads(json.dumps(filter_coefficients(extractor, 256.0, NAMES)))
    values = drifting(256 * 20)
    offset = values[:, :1]
    up, down, taps = (told["resample"][key] for key in ("up", "down", "taps"))
    half, centred = (len(taps) - 1) // 2, values - offset
    n_out = values.shape[1] * up // down
    slow = np.zeros((3, n_out))
    for m in range(n_out):
        for k in range(max(0, -(-(m * down - half) // up)), min(values.shape[1], (m * down + half) // up + 1)):
            slow[:, m] += centred[:, k] * taps[half + m * down - k * up]
    slow += offset
    late = np.stack([np.convolve(row, told["fir"][0]["taps"]) for row in slow])
    delay = (len(told["fir"][0]["taps"]) - 1) // 2
    live = pushed(StreamPreparation(extractor, NAMES, 256.0), values)
    # away from the beginning, where it has no mirror image
    inner = slice(2 * delay, live.shape[1])
    np.testing.assert_allclose(late[:, delay:][:, inner], live[:, inner], atol=0.01)
    assert told["delay_seconds"] == pytest.approx(51 / 200 + delay / 200)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"unit": "nV"}, "unit must be one of 'uV', 'mV', 'V'"),
        ({"phase": "zero"}, "phase must be one of 'linear', 'minimum'"),
        ({"sfreq": 0}, "sfreq must be a number of hertz above 0"),
        ({"sfreq": 8.0}, "l_freq .* lies beyond the Nyquist frequency"),
        ({"ch_names": "Cz"}, "a list of channel names"),
    ],
)
def test_what_is_refused(change, message):
    extractor = EEGFeatureExtractor(l_freq=5.0)
    with pytest.raises(ValueError, match=message):
        StreamPreparation(extractor, **{"ch_names": NAMES, "sfreq": 200.0, **change})


def test_samples_that_no_filter_survives_are_refused():
    preparation = StreamPreparation(EEGFeatureExtractor(l_freq=0.5), NAMES, 200.0)
    values = np.zeros((3, 10))
    values[1, 4] = np.nan
    with pytest.raises(ValueError, match="not finite, in Cz"):
        preparation.push(values)
    with pytest.raises(ValueError, match=r"\(3, n\), a row for each of its channels, got shape \(2, 10\)"):
        preparation.push(values[:2])
    with pytest.raises(ValueError, match="takes any: give ch_names"):
        filter_coefficients(EEGFeatureExtractor(), 200.0)
