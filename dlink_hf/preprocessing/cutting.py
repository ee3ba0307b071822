# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Windows out of a recording that was prepared as a whole."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from .settings import as_onsets
from .units import check_finite


def cut(
    extractor: Any, values: np.ndarray, names: list[str], onsets: Sequence[float] | None, source: str
) -> tuple[np.ndarray, list[str], np.ndarray]:
    """Return the windows of a prepared recording.

    Args:
        extractor: The feature extractor, which says where windows begin and how long they are.
        values: (C, T) in volts, prepared.
        names: C names.
        onsets: Seconds from the first sample to each window; one after the other by the extractor's stride when None.
        source: What to call the recording in messages.

    Returns:
        Windows (N, C, n_times) float32 in microvolts, C names, onsets (N,) in seconds.

    Raises:
        ValueError: Where the recording is too short, or a window leaves it.
    """
    length, n_times, sfreq = values.shape[1], extractor.n_times, extractor.sfreq
    if length < n_times:
        raise ValueError(
            f"{source} lasts {length / sfreq:g} s ({length} samples at {sfreq:g} Hz), less than one window of "
            f"{n_times / sfreq:g} s (n_times={n_times}). Nothing is padded: give a longer recording, or a smaller "
            "n_times where the model takes it."
        )
    if onsets is None:
        starts = np.arange(0, length - n_times + 1, extractor.stride or n_times)
    else:
        given = as_onsets(onsets)
        starts = np.round(given * sfreq).astype(np.int64)
        outside = given[(starts < 0) | (starts + n_times > length)]
        if len(outside):
            raise ValueError(
                f"{len(outside)} of {len(given)} windows leave {source}, which lasts {length / sfreq:g} s: "
                f"a window of {n_times / sfreq:g} s can't begin at "
                f"{', '.join(f'{onset:g} s' for onset in outside[:10])}{' ...' if len(outside) > 10 else ''}. "
                "Leave these onsets out; nothing is padded."
            )
    return check_finite(stacked(values, starts, n_times), names, source), names, starts / sfreq


def stacked(values: np.ndarray, starts: np.ndarray, n_times: int) -> np.ndarray:
    """Return windows (N, C, n_times) float32 in microvolts of samples (C, T) in volts, by their first samples (N,)."""
    windows = np.empty((len(starts), len(values), n_times), dtype=np.float32)
    # what outgrows float32 is refused by `check_finite`
    with np.errstate(over="ignore"):
        for window, start in zip(windows, starts, strict=True):
            np.multiply(values[:, start : start + n_times], 1e6, out=window, casting="same_kind")
    return windows
