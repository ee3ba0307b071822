# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Samples of a recording as arrays: whether they can be EEG, another sampling rate, filters."""

import logging
import warnings
from collections.abc import Sequence
from typing import Any

import mne
import numpy as np

from .fir import band_pass, notch


logger = logging.getLogger(__name__)

MICROVOLTS_PER_UNIT = {"uV": 1.0, "mV": 1e3, "V": 1e6}
# Channel-seconds, evenly spread, by which an amplitude is judged: as good as all of a long recording.
_JUDGED = 2000
# Annotations at which MNE's filters begin again.
_FILTER_BREAKS = ("edge", "bad_acq_skip")


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
    with np.errstate(over="ignore", invalid="ignore"):
        # each sample is looked at only where the sum says that one is not finite, or beyond any unit
        is_whole = bool(np.isfinite(values.sum()))
    finite = np.ones((1,), dtype=bool) if is_whole else np.isfinite(by_channel)
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
    typical = _typical_amplitude(values[..., ~flat, :] if flat.any() else values, sfreq)
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
    deviation = _deviations(np.moveaxis(values, -2, 0).reshape(1, -1, values.shape[-1]), sfreq, _JUDGED)
    moving = deviation[deviation > 0]
    return float(np.median(moving)) if len(moving) else 0.0


def channel_amplitudes(values: np.ndarray, sfreq: float) -> np.ndarray:
    """Return the typical amplitude of each channel of (C, T) or (N, C, T), in its unit: (C,) float64.

    Mean absolute deviation from the median within a second, then the median over seconds; 0 for a flat channel.
    """
    by_channel = np.moveaxis(values, -2, 0)
    n_chans = len(by_channel)
    by_channel = by_channel.reshape(n_chans, -1, values.shape[-1])
    deviation = _deviations(by_channel, sfreq, max(60, _JUDGED // n_chans))
    with warnings.catch_warnings():
        # a channel without a second that moves
        warnings.filterwarnings("ignore", message="All-NaN slice", category=RuntimeWarning)
        typical = np.nanmedian(np.where(deviation > 0, deviation, np.nan), axis=1)
    return np.nan_to_num(typical, nan=0.0, posinf=np.inf)


def _deviations(values: np.ndarray, sfreq: float, most: int) -> np.ndarray:
    """Mean absolute deviation from the median of at most `most` to 2 `most` seconds each: (C, N, T) to (C, n)."""
    block = min(values.shape[-1], max(2, round(sfreq)))
    n_blocks = values.shape[-1] // block
    # seconds of the windows (or whole recordings) one after the other; only those that are judged are copied
    chosen = np.arange(0, values.shape[1] * n_blocks, max(1, values.shape[1] * n_blocks // most))
    rows, starts = np.divmod(chosen, n_blocks)
    blocks = np.empty((len(values), len(chosen), block))
    for place, (row, start) in enumerate(zip(rows.tolist(), (starts * block).tolist(), strict=True)):
        blocks[:, place] = values[:, row, start : start + block]
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


def filter_between_joins(
    raw: mne.io.BaseRaw, notch_freq: Any, l_freq: float | None, h_freq: float | None, source: str
) -> mne.io.BaseRaw:
    """Notch and band-pass a recording with joins in place, each stretch between two of them by itself, by MNE.

    Args:
        raw: Its samples in memory.
        notch_freq: One frequency in hertz or several; None for no notch.
        l_freq, h_freq: The pass band's edges in hertz, or None.
        source: What to call the recording in messages.

    Returns:
        The recording.

    Raises:
        ValueError: Its longest stretch is shorter than a filter.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*longer than the signal", category=RuntimeWarning)
        try:
            if notch_freq is not None:
                raw.notch_filter(notch_freq, picks="all", verbose="warning")
            if l_freq is not None or h_freq is not None:
                raw.filter(l_freq, h_freq, picks="all", verbose="warning")
        except RuntimeWarning as warning:
            raise ValueError(_too_short(source, str(warning))) from warning
    return raw


def has_filter_breaks(raw: mne.io.BaseRaw) -> bool:
    """Return whether annotations mark joins, at which MNE's filters begin again."""
    return any(str(text).lower().startswith(_FILTER_BREAKS) for text in raw.annotations.description)


def filters_of(
    notch_freq: Any, l_freq: float | None, h_freq: float | None, sfreq: float
) -> list[tuple[str, np.ndarray]]:
    """Return names and taps of the notch and the band-pass of a feature extractor, in their order.

    Args:
        notch_freq, l_freq, h_freq: Its settings, in hertz or None.
        sfreq: Its rate in hertz.
    """
    filters = [] if notch_freq is None else [("notch", notch(notch_freq, sfreq))]
    if l_freq is not None or h_freq is not None:
        filters.append(("band-pass", band_pass(l_freq, h_freq, sfreq)))
    return filters


def check_long_enough(n_times: int, taps: np.ndarray, source: str) -> None:
    """Refuse a signal that is shorter than a filter.

    Raises:
        ValueError: It is; the message says what to do.
    """
    if len(taps) > n_times:
        why = f"filter_length ({len(taps)}) is longer than the signal ({n_times}), distortion is likely."
        raise ValueError(_too_short(source, why))


def _too_short(source: str, why: str) -> str:
    return (
        f"{source} is too short to be filtered: {why} Filter the whole recording before it is cut into windows and "
        "pass is_filtered=True, or set l_freq, h_freq and notch_freq to None."
    )


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
