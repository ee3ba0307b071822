# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Which of a recording's channels are EEG, where they sit, and which of them are delivered."""

import logging
from collections.abc import Callable, Sequence

import mne
import numpy as np

from ..core.channel_names import NamesReading, read_names
from ..core.checks import first_names
from ..core.electrodes import describe_unknown, is_known_non_eeg


logger = logging.getLogger(__name__)

# samples that are compared at once
_STRETCH = 200_000


def pick_channels(
    ch_names: Sequence[str],
    types: Sequence[str],
    bads: Sequence[str] = (),
    wanted: Sequence[str] | None = None,
    missing: str = "subset",
    unknown: str = "error",
    source: str = "the recording",
    duplicates: str = "error",
    is_equal: Callable[[int, int], bool] | None = None,
) -> tuple[list[int], list[str]]:
    """Choose a recording's EEG channels by name.

    Args:
        ch_names (`Sequence[str]`): The recording's channel names, in any spelling.
        types (`Sequence[str]`): The channels' types as MNE names them (`"eeg"`, `"eog"`, `"stim"` ...).
        bads (`Sequence[str]`): Channels marked bad; they are left out, with a warning in the log.
        wanted (`Sequence[str]`, *optional*): Canonical names in the order to deliver; all EEG channels when `None`.
        missing (`str`): `"subset"` or `"error"`, where the recording lacks some of `wanted`.
        unknown (`str`): `"error"` or `"drop"`, for EEG channels whose name is unknown. Where `wanted` names the
            channels, unknown others are never refused.
        source (`str`): What to call the recording in messages.
        duplicates (`str`): `"error"`, `"first"` or `"last"`, where several channels are one electrode.
        is_equal (`Callable`, *optional*): Whether two channels, by index, hold the same samples to the bit: then the
            first is taken whatever `duplicates` says.

    Returns:
        `tuple[list[int], list[str]]`: Indices into `ch_names`, and C canonical names, in the order to deliver.

    Raises:
        ValueError: Where no EEG channel is known, one is unknown, missing or there twice, or the names are those of a
            cap's sockets.
    """
    candidates = [i for i, (n, kind) in enumerate(zip(ch_names, types, strict=True)) if _may_be_eeg(n, kind)]
    other = [
        name if kind == "eeg" else f"{name} ({kind})"
        for i, (name, kind) in enumerate(zip(ch_names, types, strict=True))
        if i not in candidates
    ]
    reading = read_names([ch_names[i] for i in candidates], wanted or ())
    _say_reading(reading, source)
    strange, marked, found = [], [], {}
    for i, canonical in zip(candidates, reading.names, strict=True):
        if ch_names[i] in bads:
            marked.append(ch_names[i])
        elif canonical is None:
            strange.append(ch_names[i])
        else:
            found.setdefault(canonical, []).append(i)
    if other:
        logger.info("left out of %s as not EEG: %s", source, ", ".join(other))
    if marked:
        logger.warning("left out of %s as marked bad: %s", source, ", ".join(marked))
    if found and reading.sockets:
        raise ValueError(f"{source} names {_sockets_text(reading.sockets)}")
    if not found:
        raise ValueError(
            f"{source} has no known EEG channel. Not EEG by type or name: {', '.join(other) or 'none'}; marked bad: "
            f"{', '.join(marked) or 'none'}; unknown: {describe_unknown(strange) if strange else 'none.'} "
            + (
                f"They look like {_sockets_text(reading.sockets)}"
                if reading.sockets
                else "Rename them with MNE's rename_channels, or set their types with set_channel_types."
            )
        )
    if strange and wanted is None and unknown == "error":
        raise ValueError(
            f"{source} has EEG channels whose place is unknown, {describe_unknown(strange)} Rename them, name the "
            "channels to use by ch_names (--ch_names), or leave these out with unknown_channels='drop' "
            "(--unknown_channels drop)."
        )
    if strange:
        log = logger.warning if wanted is None else logger.info
        log("left out of %s as unknown: %s", source, ", ".join(strange))
    picked = list(found) if wanted is None else [name for name in wanted if name in found]
    lacking = [] if wanted is None else [name for name in wanted if name not in found]
    if not picked or (lacking and missing == "error"):
        raise ValueError(
            f"{source} lacks {len(lacking)} of the {len(wanted)} channels asked for: {', '.join(lacking)}. It has "
            f"{', '.join(found)}{' and the unknown ' + ', '.join(strange) if strange else ''}. Ask for others by "
            "ch_names" + (", or take what is there with missing_channels='subset'." if picked else ".")
        )
    if lacking:
        logger.warning("%s lacks %s: %d channels are used", source, ", ".join(lacking), len(picked))
    return [_one_of(found[name], name, ch_names, duplicates, is_equal, source) for name in picked], picked


def samples_are_equal(raw: mne.io.BaseRaw) -> Callable[[int, int], bool]:
    """Return a function that says whether two channels of a recording, by index, are equal to the bit."""

    def is_equal(one: int, other: int) -> bool:
        for start in range(0, raw.n_times, _STRETCH):
            # by index, twice, since MNE picks in the recording's order
            values = raw.get_data(picks=[one, other], start=start, stop=min(start + _STRETCH, raw.n_times))
            if not np.array_equal(values[0], values[1], equal_nan=True):
                return False
        return True

    return is_equal


def _may_be_eeg(name: str, kind: str) -> bool:
    return kind == "eeg" and not is_known_non_eeg(name)


def _one_of(
    indices: Sequence[int],
    electrode: str,
    ch_names: Sequence[str],
    duplicates: str,
    is_equal: Callable[[int, int], bool] | None,
    source: str,
) -> int:
    """The channel to take where several are one electrode."""
    if len(indices) == 1:
        return indices[0]
    given = " and ".join(repr(ch_names[i]) for i in indices)
    if is_equal is not None and all(is_equal(indices[0], i) for i in indices[1:]):
        logger.warning("%s: %s hold the same samples of %s; one is taken", source, given, electrode)
        return indices[0]
    if duplicates == "error":
        raise ValueError(
            f"{source} has duplicate channels: {given} are all {electrode}, and their samples differ. Choose by "
            "duplicate_channels='first' or 'last' (--duplicate_channels first), or drop or rename all but one."
        )
    chosen = indices[0] if duplicates == "first" else indices[-1]
    logger.warning("%s: of %s, all %s, the %s is taken", source, given, electrode, duplicates)
    return chosen


def _sockets_text(sockets: Sequence[str]) -> str:
    return (
        f"the sockets of a cap, not places on the head: {first_names(sockets, 12)}. Where they sit depends on the "
        "cap, and A1, C3 or F4 among them are not the electrodes of that name. Rename them by the cap's table: "
        "raw.rename_channels({'A1': 'Fp1', ...}) (mne.channels.make_standard_montage('biosemi32') and its like say "
        "where the sockets of some caps sit), save the recording, and use that."
    )


def _say_reading(reading: NamesReading, source: str) -> None:
    """Say, once a process, how names were read that can be read in two ways."""
    if reading.reference is not None:
        _say_once(
            f"(nearly) all channel names end in {reading.reference}: it is taken for the common reference, and "
            f"'Fp1-{reading.reference}' for Fp1. Where bipolar pairs are meant, name them by ch_names.",
            source,
        )
    if reading.pairs_with is not None:
        _say_once(
            f"(nearly) all channel names end in {reading.pairs_with}, and ch_names asks for pairs: they are read as "
            f"bipolar, each at the midpoint. For electrodes against {reading.pairs_with} ask for 'Fp1', not for "
            f"'Fp1-{reading.pairs_with}'.",
            source,
        )
    if reading.anterior_temporal:
        _say_once(
            f"{' and '.join(reading.anterior_temporal)} read as FT9 and FT10, by common use: the anterior temporal "
            "electrodes, which the 10-20 system doesn't name.",
            source,
        )


_SAID: set[str] = set()


def _say_once(text: str, source: str) -> None:
    if text not in _SAID:
        _SAID.add(text)
        logger.warning("%s: %s", source, text)


__all__ = ["pick_channels", "samples_are_equal"]
