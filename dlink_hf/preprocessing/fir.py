# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""FIR filters: MNE's designs, and a polyphase filter for another rate; applied by FFT and by products of matrices.

Designs and results are those of `mne.filter.create_filter`, `filter_data` and `notch_filter` with their defaults
(firwin, Hamming windows, phase zero, mirrored edges), and of `scipy.signal.resample_poly`, to rounding. NumPy is all
that is needed: `scipy.signal` would take 80 MB and half a second of a device that runs an exported student.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache
from typing import Any

import numpy as np


# Hamming windows of so many samples, over the width of the transition, leave 0.2 % of ripple (mne.filter).
_LENGTH_FACTOR = 3.3
# The polyphase filter: 80 dB down; taps on each side of its centre at the slower of the two rates.
_ATTENUATION_DB, _HALF_TAPS = 80.0, 51
# Outputs that are computed by one product of matrices, and bytes of its left side.
_OUTPUTS, _CHUNK_BYTES = 32, 1 << 19


def lowpass(n_taps: int, cutoff: float, window: np.ndarray) -> np.ndarray:
    """Return a low-pass by a windowed sinc, with a gain of 1 at 0 Hz, as `scipy.signal.firwin` does.

    Args:
        n_taps: Number of taps, odd.
        cutoff: Where the gain is one half, as a share of the Nyquist frequency.
        window: (n_taps,).

    Returns:
        (n_taps,) float64.
    """
    taps = np.sinc(cutoff * (np.arange(n_taps) - (n_taps - 1) / 2)) * window
    return taps / taps.sum()


def band_pass(l_freq: float | None, h_freq: float | None, sfreq: float) -> np.ndarray:
    """Return the taps of `mne.filter.create_filter(None, sfreq, l_freq, h_freq)`.

    Args:
        l_freq, h_freq: Edges of the pass band in hertz; one may be None.
        sfreq: Sampling rate in hertz.

    Returns:
        Taps of linear phase, an odd number, float64.
    """
    edges, gains, widths = [0.0], [0 if l_freq is not None else 1], []
    if l_freq is not None:
        widths.append(min(max(0.25 * l_freq, 2.0), l_freq))
        edges, gains = [*edges, l_freq - widths[-1], l_freq], [*gains, 0, 1]
    if h_freq is not None:
        widths.append(min(max(0.25 * h_freq, 2.0), sfreq / 2 - h_freq))
        edges, gains = [*edges, h_freq, h_freq + widths[-1]], [*gains, 1, 0]
    return _design(edges, gains, min(widths), sfreq)


def notch(freqs: float | Sequence[float], sfreq: float) -> np.ndarray:
    """Return the taps by which `mne.filter.notch_filter` takes out line noise, one filter for all frequencies.

    Args:
        freqs: In hertz.
        sfreq: Sampling rate in hertz.

    Returns:
        Taps of linear phase, an odd number, float64.

    Raises:
        ValueError: A frequency lies too near the Nyquist frequency, or two too near each other.
    """
    edges, gains = [0.0], [1]
    for freq in np.sort(np.atleast_1d(np.asarray(freqs, dtype=np.float64))).tolist():
        reach = freq / 400 + 0.5
        if freq + reach > sfreq / 2:
            raise ValueError(
                f"notch_freq {freq:g} Hz is too near the Nyquist frequency ({sfreq / 2:g} Hz): its filter reaches to "
                f"{freq + reach:g} Hz. Leave it out, or raise sfreq."
            )
        if freq - reach <= edges[-1]:
            raise ValueError(
                f"notch_freq {freq:g} Hz is too near the one before or 0 Hz: each filter reaches {reach:g} Hz to both "
                "sides. Leave one of them out."
            )
        edges += [freq - reach, freq - reach + 0.5, freq + reach - 0.5, freq + reach]
        gains += [1, 0, 0, 1]
    return _design(edges, gains, 0.5, sfreq)


def _design(edges: list[float], gains: list[int], width: float, sfreq: float) -> np.ndarray:
    """A sum of low-passes, one for each transition of the gains (0 or 1) at the edges (hertz); MNE's firwin design."""
    nyquist = sfreq / 2
    if edges[-1] != nyquist:
        edges, gains = [*edges, nyquist], [*gains, gains[-1]]
    length = max(int(np.ceil(_LENGTH_FACTOR / width * sfreq)), 1)
    length += 1 - length % 2
    taps = np.zeros(length)
    if gains[-1] == 1:
        taps[length // 2] = 1.0
    shares = np.array(edges) / nyquist
    for i in range(len(edges) - 1, 0, -1):
        if gains[i - 1] == gains[i]:
            continue
        n_taps = round(_LENGTH_FACTOR / ((shares[i] - shares[i - 1]) / 2))
        n_taps += 1 - n_taps % 2
        own = lowpass(n_taps, (shares[i] + shares[i - 1]) / 2, np.hamming(n_taps))
        offset = (length - n_taps) // 2
        taps[offset : length - offset] += own if gains[i - 1] else -own
    return taps


def filtered(values: np.ndarray, taps: np.ndarray) -> np.ndarray:
    """Return values (..., T) through a filter of linear phase, in place in time; beyond the ends they are mirrored.

    Args:
        values: Float64, T at least the number of taps.
        taps: An odd number.

    Returns:
        (..., T) float64.

    Raises:
        ValueError: The values are shorter than the filter.
    """
    n_taps, n_times = len(taps), values.shape[-1]
    if n_taps > n_times:
        raise ValueError(f"filter_length ({n_taps}) is longer than the signal ({n_times})")
    half = n_taps // 2
    n_fft = 1 << int(np.ceil(np.log2(4 * n_taps)))
    step = n_fft - n_taps + 1
    n_blocks = -(-n_times // step)
    gains = np.fft.rfft(taps, n_fft)
    rows, result = values.reshape(-1, n_times), np.empty((values.size // n_times, n_times))
    # zeros fill the last block up
    padded = np.zeros(n_blocks * step + n_taps - 1)
    blocks = np.lib.stride_tricks.sliding_window_view(padded, n_fft)[::step]
    # row by row: what is held between the steps stays in the processor's cache
    for row, out in zip(rows, result, strict=True):
        _mirror_into(padded, row, half, half)
        spectra = np.fft.rfft(blocks)
        spectra *= gains
        out[:] = np.fft.irfft(spectra, n_fft)[:, n_taps - 1 :].reshape(-1)[:n_times]
    return result.reshape(values.shape)


@lru_cache(maxsize=8)
def resampling_filter(old: float, new: float) -> tuple[int, int, np.ndarray]:
    """The polyphase filter that brings `old` to `new` Hz: 80 dB down from the lower of the two Nyquist frequencies on.

    Returns:
        up, down, and the taps at `up` times the old rate, of odd length and with a gain of 1.
    """
    ratio = Fraction(new / old).limit_denominator(10_000)
    up, down = ratio.numerator, ratio.denominator
    n_taps = 2 * _HALF_TAPS * max(up, down) + 1
    # Kaiser's formula for the window of an attenuation above 50 dB
    window = np.kaiser(n_taps, 0.1102 * (_ATTENUATION_DB - 8.7))
    kernel = lowpass(n_taps, 0.95 / max(up, down), window)
    kernel.flags.writeable = False
    return up, down, kernel


def resample(values: np.ndarray, old: float, new: float, offset: np.ndarray | None = None) -> np.ndarray:
    """Resample (..., T) float64 from `old` to `new` Hz, to (..., floor(T * new / old)).

    A polyphase filter: 80 dB down from the lower of the two Nyquist frequencies on, flat to 1e-4 up to 0.9 of it. The
    taps of 32 outputs are a matrix, and all stretches of the signal that such outputs read are another: their product
    takes a tenth of the time of a loop over samples. Beyond the ends the signal is mirrored.

    Args:
        values: (..., T).
        old, new: Rates in hertz.
        offset: (..., 1), the mean of the whole of which `values` are a stretch; their own where they are the whole.
    """
    up, down, kernel = resampling_filter(old, new)
    length = values.shape[-1]
    # an offset of millivolts, as some headsets have, would ring at the 1e-4 of the pass band's ripple
    offset = values.mean(axis=-1, keepdims=True) if offset is None else offset
    rows, offsets = values.reshape(-1, length), offset.reshape(-1)
    n_out = length * up // down
    # outputs repeat their phases after `up` of them; a period is made as long as a product is to be wide
    repeats = -(-_OUTPUTS // up)
    n_period, n_step = repeats * up, repeats * down
    n_periods = max(1, -(-n_out // n_period))
    groups = [_matrix(old, new, first, min(first + _OUTPUTS, n_period)) for first in range(0, n_period, _OUTPUTS)]
    before = max(0, -min(first for first, _ in groups))
    after = max(0, (n_periods - 1) * n_step + max(first + len(matrix) for first, matrix in groups) - length)
    padded, periods = np.empty(before + length + after), np.empty((n_periods, n_period))
    result = np.empty((len(rows), n_out))
    # row by row: what is held between the steps stays in the processor's cache
    for row, own, out in zip(rows, offsets, result, strict=True):
        _mirror_into(padded, row, before, after)
        padded -= own
        place = 0
        for first, matrix in groups:
            n_taps, n_wide = matrix.shape
            blocks = np.lib.stride_tricks.sliding_window_view(padded, n_taps)[before + first :: n_step]
            portion = max(1, _CHUNK_BYTES // (8 * n_taps))
            for begin in range(0, n_periods, portion):
                part = slice(begin, min(begin + portion, n_periods))
                periods[part, place : place + n_wide] = np.ascontiguousarray(blocks[part]) @ matrix
            place += n_wide
        np.add(periods.reshape(-1)[:n_out], own, out=out)
    return result.reshape(*values.shape[:-1], n_out)


@lru_cache(maxsize=512)
def _matrix(old: float, new: float, begin: int, end: int) -> tuple[int, np.ndarray]:
    """The number of the first sample that outputs `begin` to `end` read, and their taps (samples, outputs)."""
    up, down, kernel = resampling_filter(old, new)
    half = len(kernel) // 2
    first, last = -((half - begin * down) // up), (half + (end - 1) * down) // up
    index = half + np.arange(begin, end) * down - np.arange(first, last + 1)[:, None] * up
    inside = (index >= 0) & (index < len(kernel))
    return first, np.where(inside, up * kernel[np.clip(index, 0, len(kernel) - 1)], 0.0)


def _mirror_into(padded: np.ndarray, row: np.ndarray, before: int, after: int) -> None:
    """Write a row (T,), before and after it what a point reflection about its ends gives; what follows is left."""
    length = len(row)
    if max(before, after) >= length:
        # shorter than what it is to be mirrored by: again and again
        kind: dict[str, Any] = {"mode": "reflect", "reflect_type": "odd"} if length > 1 else {"mode": "edge"}
        padded[: before + length + after] = np.pad(row, (before, after), **kind)
        return
    padded[before : before + length] = row
    np.subtract(2 * row[0], row[before:0:-1], out=padded[:before])
    if after:
        np.subtract(2 * row[-1], row[-2 : -after - 2 : -1], out=padded[before + length : before + length + after])


__all__ = ["band_pass", "filtered", "lowpass", "notch", "resample", "resampling_filter"]
