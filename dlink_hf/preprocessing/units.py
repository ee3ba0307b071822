# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Units channel by channel: what the header says of each, and whether the samples agree with the others'."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import mne
import numpy as np

from .signals import MICROVOLTS_PER_UNIT, channel_amplitudes


logger = logging.getLogger(__name__)

# A channel beyond this many times the others' median is of another unit or broken, if it is also beyond what scalp
# EEG can be; beyond the second number it is so whatever it measures.
OUTLYING, FAR_OUTLYING = 100.0, 500.0

# Volts by unit, in lower case; what MNE itself understands is in _UNDERSTOOD.
_VOLTS = {
    **dict.fromkeys(("uv", "\u00b5v", "\u03bcv", "microv", "microvolt", "microvolts", "mcv", "uvolt", "uvolts"), 1e-6),
    **dict.fromkeys(("millivolt", "millivolts"), 1e-3),
    **dict.fromkeys(("nv", "nanovolt", "nanovolts"), 1e-9),
    **dict.fromkeys(("v", "volt", "volts"), 1.0),
}
_UNDERSTOOD = ("\u03bcV", "\u00b5V", "\x83\xcaV", "uV", "mV", "V")


def correct_edf_units(raw: mne.io.BaseRaw, header_units: Mapping[str, str], source: str) -> None:
    """Scale the channels of an EDF, BDF file whose unit MNE does not understand though the header says it.

    MNE takes the numbers of such a channel for volts.

    Args:
        raw: The recording as MNE opened it, samples not read yet; changed in place.
        header_units: Unit of each channel as the header writes it, by MNE's channel name.
        source: What to call the recording in messages.
    """
    found: dict[str, str] = {}
    for index, name in enumerate(raw.ch_names):
        unit = header_units.get(name, "")
        volts = _VOLTS.get(unit.strip().lower())
        if unit in _UNDERSTOOD or volts is None:
            continue
        raw._raw_extras[0]["units"][index] *= volts
        found[name] = unit
    if found:
        logger.warning(
            "%s: the unit of %s is read as the header says it (%s)",
            source,
            ", ".join(found),
            ", ".join(sorted(map(repr, set(found.values())))),
        )


def outlying_channels(
    values: np.ndarray,
    names: Sequence[str],
    sfreq: float,
    unit: str,
    max_abs_uv: float | None,
    source: str,
    drop: bool = False,
    header_units: Mapping[str, str] | None = None,
) -> list[int]:
    """Compare the amplitudes of channels with each other: one of another unit hides in a median over all.

    Args:
        values (`np.ndarray`): (C, T) or (N, C, T), in `unit`.
        names (`Sequence[str]`): C channel names.
        sfreq (`float`): Sampling rate in Hz.
        unit (`str`): `"uV"`, `"mV"` or `"V"`.
        max_abs_uv (`float`, *optional*): Greatest plausible typical amplitude in microvolts.
        source (`str`): What to call the recording in messages.
        drop (`bool`): Whether channels that stand out are left out, with a warning, instead of refused.
        header_units (`Mapping`, *optional*): Of each channel, by name, the unit that its file says.

    Returns:
        `list[int]`: Places of the channels to leave out; none where all are alike.

    Raises:
        ValueError: Where channels stand out and `drop` is False.
    """
    if len(names) < 2 or values.size == 0:
        return []
    header_units = header_units or {}
    amplitudes = np.minimum(channel_amplitudes(values, sfreq), 1e200) * MICROVOLTS_PER_UNIT[unit]
    moving = amplitudes > 0
    limit = np.inf if max_abs_uv is None else max_abs_uv
    units = [str(header_units.get(name, "")).strip() for name in names]
    out, parts = [], []
    for i in map(int, np.flatnonzero(moving)):
        others = amplitudes[moving & (np.arange(len(names)) != i)]
        if not len(others):
            continue
        usual = float(np.median(others))
        ratio = amplitudes[i] / usual
        other_units = {units[j] for j in np.flatnonzero(moving) if j != i}
        is_large = ratio > FAR_OUTLYING or (ratio > OUTLYING and amplitudes[i] > limit)
        # a dead channel is small too: only a header that says something else of it speaks for another unit
        is_small = ratio < 1 / OUTLYING and len(others) > 1 and units[i] not in other_units
        if is_large or is_small:
            out.append(int(i))
            said = f", unit {units[i]!r} in the header" if names[i] in header_units else ""
            parts.append(f"{names[i]} ({amplitudes[i]:.3g} uV{said}; the others {usual:.3g} uV)")
        elif ratio < 1 / OUTLYING and len(others) > 1:
            logger.warning("%s: %s says next to nothing (%.2g uV)", source, names[i], amplitudes[i])
    if not out:
        return []
    if not drop or len(out) == moving.sum():
        raise ValueError(
            f"{source}: the typical amplitude of {', '.join(parts)} can't be that of EEG next to the others: its unit "
            "is wrong, or its electrode has no contact. Correct the file, leave the channel out (mark it bad, or name "
            "the others by ch_names), or pass outlying_channels='drop' (--outlying_channels drop)"
        )
    logger.warning("left out of %s as of another unit or without contact: %s", source, ", ".join(parts))
    return out


def check_finite(windows: np.ndarray, names: Sequence[str], source: str) -> np.ndarray:
    """Return windows (N, C, T) in microvolts as they are; refuse those whose numbers outgrew float32.

    Raises:
        ValueError: Where one is infinite or NaN.
    """
    finite = np.isfinite(windows)
    if not finite.all():
        broken = [name for name, ok in zip(names, finite.all(axis=(0, 2)), strict=True) if not ok]
        raise ValueError(
            f"{source}: the samples of {', '.join(broken)} are beyond any number of microvolts once they are scaled "
            "and filtered: the unit is wrong, or the file is damaged"
        )
    return windows


def header_units_of(raw: mne.io.BaseRaw, originals: Sequence[str], names: Sequence[str]) -> dict[str, Any]:
    """Return the units that a recording's file says, by the canonical `names` of its channels `originals`."""
    said = getattr(raw, "_orig_units", None) or {}
    return {name: said[old] for old, name in zip(originals, names, strict=True) if said.get(old) is not None}


__all__ = ["check_finite", "correct_edf_units", "header_units_of", "outlying_channels"]
