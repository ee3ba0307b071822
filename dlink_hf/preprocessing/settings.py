# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Settings of the feature extractor, judged one by one."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..core.electrodes import canonical_name, describe_unknown


def as_onsets(onsets: Sequence[float]) -> np.ndarray:
    """Onsets in seconds (N,), float64."""
    array = np.asarray(onsets, dtype=np.float64)
    if array.ndim != 1 or not len(array) or not np.isfinite(array).all():
        raise ValueError(f"onsets is a list of at least one finite number of seconds; got {onsets!r}")
    return array


def canonical_names(ch_names: Sequence[str]) -> list[str]:
    """The constructor's `ch_names` in canonical spelling."""
    if isinstance(ch_names, str) or not len(ch_names):
        raise ValueError(f"ch_names is a list of at least one channel name, such as ['Fp1', 'Fp2']; got {ch_names!r}")
    names = [canonical_name(name) for name in ch_names]
    unknown = [given for given, name in zip(ch_names, names, strict=True) if name is None]
    if unknown:
        raise ValueError(f"ch_names has channels whose place is unknown, {describe_unknown(unknown)}")
    twice = sorted(name for name, count in Counter(names).items() if count > 1)
    if twice:
        given = [g for g, name in zip(ch_names, names, strict=True) if name in twice]
        raise ValueError(f"ch_names holds duplicates: {given} are names of {twice}")
    return names


def positive_number(name: str, value: Any) -> float:
    """A finite number above 0."""
    if isinstance(value, bool) or not isinstance(value, (int, float, np.number)):
        raise TypeError(f"{name} is a number; got {type(value).__name__}: {value!r}")
    if not (np.isfinite(value) and value > 0):
        raise ValueError(f"{name} must be finite and above 0; got {value}")
    return float(value)


def positive_int(name: str, value: Any) -> int:
    """A whole number of samples of at least 1."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{name} is a whole number of samples; got {type(value).__name__}: {value!r}")
    if value < 1:
        raise ValueError(f"{name} must be at least 1; got {value}")
    return int(value)
