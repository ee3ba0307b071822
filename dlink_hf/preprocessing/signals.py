# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Samples of a recording as arrays: whether they can be EEG, another sampling rate, filters."""

import logging
import warnings
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import mne
import numpy as np
from scipy import signal


logger = logging.getLogger(__name__)

MICROVOLTS_PER_UNIT = {"uV": 1.0, "mV": 1e3, "V": 1e6}


def check_samples(
    values: np.ndarray,
    names: Sequence[str],
    sfreq: float,
    unit: str,
    bounds: tuple[float | None, float | None],
    source: str = "the recording",
) -> None:
    """Refuse samples that no scalp EEG has: NaN, infinite, flat, or of an amplitude that betrays a wrong unit.

    The typical amplitude is the mean absolute deviation from the median within one second, then its median over
    seconds and channels: neither an offset, nor drift, nor a few artefacts move it.

    Args:
        values (`np.ndarray`): (C, T) or (N, C, T), in `unit`.
        names (`Sequence[str]`): C channel names.
        sfreq (`float`): Sampling rate in Hz.
        unit (`str`): `"uV"`, `"mV"` or `"V"`.
        bounds (`tuple`): Least and greatest plausible typical amplitude in microvolts; `None` for no bound.
        source (`str`): What to call the recording in messages.

    Raises:
        ValueError: Where samples are missing, not finite, all flat or implausible. Some flat channels are a warning.
    """
    if values.size == 0:
        raise ValueError(f"{source} holds no sample")
    by_channel = np.moveaxis(values, -2, 0)
    finite = np.isfinite(by_channel)
    if not finite.all():
        broken = [name for name, ok in zip(names, finite, strict=True) if not ok.all()]
        first = np.flatnonzero(~finite.reshape(-1, values.shape[-1]).all(axis=0))[0] / sfreq
        raise ValueError(
            f"{source} holds {int((~finite).sum())} samples that are NaN or infinite, in {', '.join(broken)}, from "
            f"{first:g} s on: cut that stretch out (raw.crop), interpolate it, or drop the channels"
        )
    by_channel = by_channel.reshape(len(names), -1)
    top, bottom = by_channel.max(axis=1).astype(np.float64), by_channel.min(axis=1).astype(np.float64)
    # a constant that went through a scaling may differ from itself in the last bits
    flat = (top - bottom) <= 1e-9 * np.maximum(np.abs(top), np.abs(bottom))
    if flat.all():
        raise ValueError(f"{source} is flat: none of its {len(names)} channels ever changes. Was the headset on?")
    if flat.any():
        still = [name for name, is_flat in zip(names, flat, strict=True) if is_flat]
        logger.warning("%s: %s never change(s): a flat channel says nothing", source, ", ".join(still))
    typical = _typical_amplitude(values[..., ~flat, :], sfreq)
    low, high = bounds[0] or 0.0, np.inf if bounds[1] is None else bounds[1]
    if not low <= typical * MICROVOLTS_PER_UNIT[unit] <= high:
        fitting = [u for u, factor in MICROVOLTS_PER_UNIT.items() if low <= typical * factor <= high]
        advice = f"pass unit={fitting[0]!r}, which makes it plausible" if fitting else "check the recording's scale"
        raise ValueError(
            f"{source}: the typical amplitude is {typical * MICROVOLTS_PER_UNIT[unit]:.3g} uV when its numbers are "
            f"read as {unit}; scalp EEG lies between {low:g} and {high:g} uV. Probably the unit is wrong: {advice}. "
            "(The bounds are the extractor's min_abs_uv and max_abs_uv.)"
        )


def _typical_amplitude(values: np.ndarray, sfreq: float) -> float:
    """Mean absolute deviation from the median within a second; its median over seconds and channels. (..., C, T)."""
    # some 10,000 channel-seconds, evenly spread, say as much as all of a long recording
    deviation = _deviations(np.moveaxis(values, -2, 0).reshape(1, -1, values.shape[-1]), sfreq, 10_000)
    moving = deviation[deviation > 0]
    return float(np.median(moving)) if len(moving) else 0.0


def channel_amplitudes(values: np.ndarray, sfreq: float) -> np.ndarray:
    """Return the typical amplitude of each channel of (C, T) or (N, C, T), in its unit: (C,) float64.

    Mean absolute deviation from the median within a second, then the median over seconds; 0 for a flat channel.
    """
    by_channel = np.moveaxis(values, -2, 0)
    n_chans = len(by_channel)
    by_channel = by_channel.reshape(n_chans, -1, values.shape[-1])
    deviation = _deviations(by_channel, sfreq, max(100, 10_000 // n_chans))
    with warnings.catch_warnings():
        # a channel without a second that moves
        warnings.filterwarnings("ignore", message="All-NaN slice", category=RuntimeWarning)
        typical = np.nanmedian(np.where(deviation > 0, deviation, np.nan), axis=1)
    return np.nan_to_num(typical, nan=0.0, posinf=np.inf)


def _deviations(values: np.ndarray, sfreq: float, most: int) -> np.ndarray:
    """Mean absolute deviation from the median of at most `most` to 2 `most` seconds each: (C, N, T) to (C, n)."""
    block = min(values.shape[-1], max(2, round(sfreq)))
    n_blocks = values.shape[-1] // block
    blocks = values[..., : n_blocks * block].reshape(len(values), -1, block)
    blocks = blocks[:, :: max(1, blocks.shape[1] // most)].astype(np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        return np.abs(blocks - np.median(blocks, axis=-1, keepdims=True)).mean(axis=-1)


def amplitude_by_second(values: np.ndarray, sfreq: float) -> np.ndarray:
    """Return the typical amplitude of each second: mean absolute deviation from the median, its median over channels.

    Args:
        values: (C, T); what is left of a last second is not judged, unless there is no whole one.
        sfreq: Sampling rate in Hz.

    Returns:
        (seconds,) in the unit of the values.
    """
    return np.median(_deviations(values[:, None], sfreq, values.shape[-1]), axis=0)


def resampling_filter(old: float, new: float) -> tuple[int, int, np.ndarray]:
    """The polyphase filter that brings `old` to `new` Hz: 80 dB down from the lower of the two Nyquist frequencies on.

    Returns:
        up, down, and the taps at `up` times the old rate, of odd length and with a gain of 1.
    """
    ratio = Fraction(new / old).limit_denominator(10_000)
    up, down = ratio.numerator, ratio.denominator
    half = 51 * max(up, down)
    kernel = signal.firwin(2 * half + 1, 0.95 / max(up, down), window=("kaiser", signal.kaiser_beta(80.0)))
    return up, down, kernel


def resample(values: np.ndarray, old: float, new: float, offset: np.ndarray | None = None) -> np.ndarray:
    """Resample (..., T) float64 from `old` to `new` Hz by MNE, to (..., floor(T * new / old)).

    A polyphase filter: 80 dB down from the lower of the two Nyquist frequencies on, flat to 1e-4 up to 0.9 of it.
    `offset` (..., 1) is the mean of the whole of which `values` are a stretch; their own where they are the whole.
    """
    up, down, kernel = resampling_filter(old, new)
    half = len(kernel) // 2
    length = values.shape[-1]
    # MNE takes the ratio from the lengths: whole multiples of `down`, or the clock would run wrong by up to a sample
    before = down * (half // (up * down) + 1)
    after = before + (-length) % down
    padding = [(0, 0)] * (values.ndim - 1) + [(before, after)]
    # an offset of millivolts, as some headsets have, would ring at the 1e-4 of the pass band's ripple
    offset = values.mean(axis=-1, keepdims=True) if offset is None else offset
    values = values - offset
    padded = (
        np.pad(values, padding, mode="reflect", reflect_type="odd") if length > 1 else np.pad(values, padding, "edge")
    )
    resampled = mne.filter.resample(padded, up, down, method="polyphase", window=kernel, verbose="error")
    start = before * up // down
    return resampled[..., start : start + length * up // down] + offset


def resample_raw(raw: mne.io.BaseRaw, sfreq: float) -> mne.io.BaseRaw:
    """Return a recording at another rate in Hz, its annotations where they were; itself where the rate is the same."""
    rate = raw.info["sfreq"]
    if np.isclose(rate, sfreq, rtol=1e-6):
        return raw
    other = mne.io.RawArray(
        resample(raw.get_data(), rate, sfreq),
        mne.create_info(raw.ch_names, sfreq, "eeg"),
        first_samp=round(raw.first_samp * sfreq / rate),
        verbose="error",
    )
    other.set_meas_date(raw.info["meas_date"])
    notes = raw.annotations.copy()
    if notes.orig_time is None:
        # MNE counts onsets without a date from time zero, but takes them as counted from the first sample
        notes.onset = notes.onset - raw.first_time
    return other.set_annotations(notes, verbose="error")


def long_enough(source: str, apply_filter: Callable[[], Any]) -> Any:
    """Run a filter of MNE's; its warning that the signal is shorter than the filter becomes an error that teaches."""
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*longer than the signal", category=RuntimeWarning)
        try:
            return apply_filter()
        except RuntimeWarning as warning:
            raise ValueError(
                f"{source} is too short to be filtered: {warning} Filter the whole recording before it is cut into "
                "windows and pass is_filtered=True, or set l_freq, h_freq and notch_freq to None."
            ) from warning


def as_samples(values: Any) -> np.ndarray:
    """Return a real array of two or three axes, from an array or a torch tensor."""
    if hasattr(values, "detach"):
        values = values.detach().cpu().numpy()
    if not isinstance(values, np.ndarray):
        raise TypeError(
            f"a recording is a path, an mne.io.Raw, mne.Epochs, a NumPy array or a torch tensor, or a list of those; "
            f"got {type(values).__name__}"
        )
    if values.dtype.kind not in "fiu":
        raise TypeError(f"samples are real numbers; the array's type is {values.dtype}")
    if values.ndim not in (2, 3):
        raise ValueError(f"an array is (channels, samples) or (windows, channels, samples); got shape {values.shape}")
    return values


def check_pass_band(sfreq: float, l_freq: float | None, h_freq: float | None, source: str = "the recording") -> None:
    """Refuse a pass band that lies outside a recording's; warn where only a part of it lies inside.

    Args:
        sfreq (`float`): Sampling rate of the recording in Hz.
        l_freq, h_freq (`float`, *optional*): The pass band's edges in Hz.
        source (`str`): What to call the recording in messages.

    Raises:
        ValueError: Where `l_freq` isn't below half of `sfreq`.
    """
    nyquist = sfreq / 2
    if l_freq is not None and l_freq >= nyquist:
        raise ValueError(
            f"l_freq ({l_freq:g} Hz) lies beyond the Nyquist frequency of {source} ({nyquist:g} Hz): nothing would be "
            "left of it. Lower l_freq, or take a faster recording."
        )
    if h_freq is not None and h_freq >= nyquist:
        logger.warning("%s, at %g Hz, holds nothing between %g Hz and h_freq (%g Hz)", source, sfreq, nyquist, h_freq)
