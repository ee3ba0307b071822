# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Which electrodes, seconds and frequency bands the label of a window rests on, by occlusion.

A part of the window (an electrode, a second, a band) is replaced by the same part of other windows of the recording,
and the answer is asked for again: permutation importance (Breiman 2001; Fisher, Rudin & Dominici 2019) of one window.
What takes the part's place is real EEG of the same subject: zeros would be unlike anything in training.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import nn

from .predict import predict_probabilities


# hertz, lower edge included
EXPLAINED_BANDS = {
    "1-4 Hz": (1.0, 4.0),
    "4-6 Hz": (4.0, 6.0),
    "6-8 Hz": (6.0, 8.0),
    "8-10 Hz": (8.0, 10.0),
    "10-12 Hz": (10.0, 12.0),
    "12-15 Hz": (12.0, 15.0),
    "15-20 Hz": (15.0, 20.0),
    "20-30 Hz": (20.0, 30.0),
    "30-45 Hz": (30.0, 45.0),
}
# a probability this near to 0 or 1 has a log-odds of its own size
_LEAST = 1e-6


@dataclass(frozen=True)
class Explanation:
    """How much the log-odds of a label fall where a part of the window is replaced; below zero they rise.

    Args:
        label: index of the label.
        probability: of it, of the window as it is.
        channels: (C,) for each electrode.
        seconds: (S,) for each second of the window.
        bands: name -> fall, all electrodes together.
        channel_bands: (C, bands) for each electrode in each band.
    """

    label: int
    probability: float
    channels: np.ndarray
    seconds: np.ndarray
    bands: dict[str, float]
    channel_bands: np.ndarray


def explain_window(
    model: nn.Module,
    window: np.ndarray,
    others: np.ndarray,
    sfreq: float,
    label: int | None = None,
    bands: Mapping[str, tuple[float, float]] = EXPLAINED_BANDS,
    n_draws: int = 8,
    seed: int = 0,
    **forward_kwargs: Any,
) -> Explanation:
    """Tell which parts of a window its label rests on.

    Args:
        model: a student or a teacher with a classification head.
        window: (C, T) microvolts, as the model reads it (aligned, where it was trained on aligned windows).
        others: (N, C, T) further windows of the same recording, of all conditions if possible.
        sfreq: Hz.
        label: index of the label to explain; the likeliest by default.
        bands: name -> edges in Hz; those beyond the Nyquist frequency are left out.
        n_draws: how many of the other windows take a part's place, one after the other; the mean is returned.
        seed: of the draw.
        **forward_kwargs: further arguments of the forward pass, such as `channel_positions` (C, 3).

    Returns:
        the falls of the log-odds.

    Raises:
        ValueError: shapes do not agree, or there is no other window.

    Example:

    ```python
    >>> found = explain_window(model, windows[0], windows[1:], sfreq=200.0)
    >>> max(found.bands, key=found.bands.get)
    '10-12 Hz'
    ```
    """
    window, others = np.asarray(window, np.float32), np.asarray(others, np.float32)
    if window.ndim != 2 or others.ndim != 3 or others.shape[1:] != window.shape or not len(others):
        raise ValueError(
            "`window` must be (C, T) and `others` (N, C, T) of at least one more window of the same recording, got "
            f"{window.shape} and {others.shape}."
        )
    n_chans, n_times = window.shape
    bands = {name: edges for name, edges in bands.items() if edges[1] <= sfreq / 2}
    drawn = np.random.default_rng(seed).permutation(len(others))[:n_draws]
    first = predict_probabilities(model, window[None], **forward_kwargs)[0]
    label = int(first.argmax()) if label is None else label
    frequency = np.fft.rfftfreq(n_times, 1 / sfreq)
    inside = [(frequency >= low) & (frequency < high) for low, high in bands.values()]
    spectrum = np.fft.rfft(window)
    second = min(n_times, round(sfreq))
    starts = range(0, n_times - second + 1, second)
    falls = []
    for index in drawn:
        other = others[index]
        other_spectrum = np.fft.rfft(other)
        changed = []
        for channel in range(n_chans):
            copy = window.copy()
            copy[channel] = other[channel]
            changed.append(copy)
        for start in starts:
            copy = window.copy()
            copy[:, start : start + second] = other[:, start : start + second]
            changed.append(copy)
        for bins in inside:
            changed.append(_with_band(spectrum, other_spectrum, bins, slice(None), n_times))
        for channel in range(n_chans):
            for bins in inside:
                changed.append(_with_band(spectrum, other_spectrum, bins, slice(channel, channel + 1), n_times))
        given = predict_probabilities(model, np.stack(changed), **forward_kwargs)[:, label]
        falls.append(_log_odds(first[label]) - _log_odds(given))
    mean = np.mean(falls, axis=0)
    ends = np.cumsum([n_chans, len(starts), len(bands)])
    channels, seconds, by_band, rest = np.split(mean, ends)
    return Explanation(
        label=label,
        probability=float(first[label]),
        channels=channels,
        seconds=seconds,
        bands=dict(zip(bands, map(float, by_band), strict=True)),
        channel_bands=rest.reshape(n_chans, len(bands)),
    )


def _with_band(spectrum: np.ndarray, other: np.ndarray, bins: np.ndarray, rows: slice, n_times: int) -> np.ndarray:
    """A window whose band comes from another one, in some channels."""
    mixed = spectrum.copy()
    mixed[rows, bins] = other[rows, bins]
    return np.fft.irfft(mixed, n_times).astype(np.float32)


def _log_odds(probability: Any) -> Any:
    kept = np.clip(probability, _LEAST, 1 - _LEAST)
    return np.log(kept) - np.log1p(-kept)


__all__ = ["EXPLAINED_BANDS", "Explanation", "explain_window"]
