# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Filters and resampling by NumPy alone give what MNE and SciPy give, to rounding."""

from __future__ import annotations

from typing import Any

import mne
import numpy as np
import pytest
from scipy import signal

from dlink_hf.preprocessing import fir


@pytest.fixture(scope="module")
def drifting() -> np.ndarray:
    """Channels that drift by hundreds of microvolts, with an offset of millivolts: (3, 60_000)."""
    steps = np.random.default_rng(0).standard_normal((3, 60_000))
    return np.cumsum(steps, axis=1) + np.array([[0.0], [5000.0], [-3e4]])


@pytest.mark.parametrize(
    ("sfreq", "l_freq", "h_freq"),
    [(200.0, 0.5, 75.0), (200.0, None, 40.0), (200.0, 1.0, None), (256.0, 0.1, 99.0), (128.0, 4.0, 30.0),
     (200.0, 0.5, 99.5), (200.0, 30.0, 45.0)],
)  # fmt: skip
def test_band_passes_are_those_of_mne(drifting: np.ndarray, sfreq: float, l_freq: Any, h_freq: Any) -> None:
    taps = fir.band_pass(l_freq, h_freq, sfreq)
    np.testing.assert_allclose(
        taps, mne.filter.create_filter(None, sfreq, l_freq, h_freq, verbose="error"), atol=1e-14
    )
    expected = mne.filter.filter_data(drifting, sfreq, l_freq, h_freq, verbose="error")
    np.testing.assert_allclose(fir.filtered(drifting, taps), expected, atol=1e-8)


@pytest.mark.parametrize(
    ("sfreq", "freqs"), [(200.0, 50.0), (256.0, [50.0, 100.0]), (1000.0, [60, 120, 180]), (500.0, [50.0, 16.7])]
)
def test_notches_are_those_of_mne(drifting: np.ndarray, sfreq: float, freqs: Any) -> None:
    expected = mne.filter.notch_filter(drifting, sfreq, np.sort(np.atleast_1d(freqs)), verbose="error")
    np.testing.assert_allclose(fir.filtered(drifting, fir.notch(freqs, sfreq)), expected, atol=1e-8)


@pytest.mark.parametrize(("freqs", "reason"), [(99.9, "Nyquist"), ([50.0, 50.5], "too near"), (0.2, "too near")])
def test_notches_that_do_not_fit_are_refused(freqs: Any, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        fir.notch(freqs, 200.0)


@pytest.mark.parametrize("n_times", [213, 214, 700, 1023, 5000])
def test_short_signals_are_mirrored_as_mne_does(drifting: np.ndarray, n_times: int) -> None:
    taps, windows = fir.band_pass(4.0, 30.0, 128.0), drifting[:, None, :n_times]
    expected = mne.filter.filter_data(windows, 128.0, 4.0, 30.0, verbose="error")
    np.testing.assert_allclose(fir.filtered(windows, taps), expected, atol=1e-8)
    with pytest.raises(ValueError, match="longer than the signal"):
        fir.filtered(drifting[:, :212], taps)


@pytest.mark.parametrize(
    ("old", "new", "n_times"),
    [(256.0, 200.0, 60_000), (512.0, 200.0, 20_001), (128.0, 200.0, 9_999), (500.0, 199.9, 20_000),
     (1000.0, 200.0, 30_000), (160.0, 200.0, 17), (256.0, 200.0, 60), (256.0, 200.0, 2), (2048.0, 200.0, 50_000)],
)  # fmt: skip
def test_resampling_is_that_of_scipy(drifting: np.ndarray, old: float, new: float, n_times: int) -> None:
    values = drifting[:, :n_times]
    up, down, kernel = fir.resampling_filter(old, new)
    expected = signal.firwin(len(kernel), 0.95 / max(up, down), window=("kaiser", signal.kaiser_beta(80.0)))
    np.testing.assert_allclose(kernel, expected, atol=1e-14)
    # whole periods of what a mirror at both ends shows
    before = down * (len(kernel) // (2 * up * down) + 1)
    offset = values.mean(axis=-1, keepdims=True)
    padding = [(0, 0), (before, before + (-n_times) % down)]
    padded = np.pad(values - offset, padding, mode="reflect", reflect_type="odd")
    expected = signal.resample_poly(padded, up, down, axis=-1, window=kernel)[:, before * up // down :] + offset
    found = fir.resample(values, old, new)
    assert found.shape == (3, n_times * up // down)
    np.testing.assert_allclose(found, expected[:, : found.shape[1]], atol=1e-8)


def test_resampling_keeps_leading_axes_and_a_given_offset(drifting: np.ndarray) -> None:
    values = drifting[:, :4000].reshape(3, 2, 2000)
    found = fir.resample(values, 250.0, 200.0)
    assert found.shape == (3, 2, 1600)
    np.testing.assert_array_equal(found[1, 1], fir.resample(values[1, 1], 250.0, 200.0))
    other = fir.resample(values, 250.0, 200.0, offset=values.mean(-1, keepdims=True) + 1.0)
    np.testing.assert_allclose(other[..., 60:-60], found[..., 60:-60], atol=1e-3)
