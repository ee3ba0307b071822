# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Channel names read together: what one name does not say, the others do.

`Fp1-CPz` is a bipolar pair among pairs, and Fp1 against a common reference where all names end in CPz. `C3` is an
electrode among electrodes, and a socket of a cap among C7, C8, C9 ...
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from .electrodes import _PREFIX, _REFERENCE, canonical_name


# Share of the electrodes whose names end in one and the same reference: nearly all.
REFERENCE_SHARE = 0.8
# Sockets of one letter that are no places of the 10-05 system, from which on that letter numbers a cap's sockets.
MIN_SOCKETS = 3

_PAIR = re.compile(r"(.+?)\s*[-_/:]\s*(.+)")
# BioSemi's A1 ... A32, B1 ... (or 1-A1 of several boxes), EGI's E1 ... E128, contacts of depth electrodes
_SOCKET = re.compile(r"(?:\d-)?([A-Z])(\d{1,3})")


@dataclass(frozen=True)
class NamesReading:
    """How a recording's channel names were read.

    Args:
        names: of each channel its canonical name, or None where no such electrode is known.
        reference: the reference that the names share, as the recording writes it; None where each was read by itself.
        pairs_with: the electrode that the names share where they were read as pairs all the same, as asked for.
        sockets: the names that number the sockets of a cap and not places on the head.
        anterior_temporal: the names T1 and T2, which were read as FT9 and FT10.
    """

    names: tuple[str | None, ...]
    reference: str | None = None
    pairs_with: str | None = None
    sockets: tuple[str, ...] = ()
    anterior_temporal: tuple[str, ...] = ()


def read_names(ch_names: Sequence[str], wanted: Sequence[str] = ()) -> NamesReading:
    """Read the names of a recording's EEG channels together.

    Args:
        ch_names: The names as the recording has them, of channels that may be EEG.
        wanted: Canonical names that are asked for; where pairs (`"Fp1-CPz"`) are among them, a recording's shared
            second electrode stays part of the name.

    Returns:
        The reading.

    Examples:

    ```python
    >>> read_names(["Fp1-CPz", "O2-CPz", "Cz-CPz"]).names
    ('Fp1', 'O2', 'Cz')
    >>> read_names(["Fp1-F7", "F7-T7", "T7-P7"]).names
    ('Fp1-F7', 'F7-T7', 'T7-P7')
    ```
    """
    names = [canonical_name(name) for name in ch_names]
    temporal = [name for name in ch_names if re.fullmatch(r"T[12]", _bare(name))]
    for index, name in enumerate(ch_names):
        # where FT9 is there by its own name, T1 is something else
        if name in temporal and names.count(names[index]) > 1:
            names[index] = None
    temporal = [name for name, found in zip(ch_names, names, strict=True) if name in temporal and found is not None]

    sockets = _sockets(ch_names, names)
    reference, electrodes = _common_reference(ch_names, names)
    pairs_with = None
    if any(name in wanted for name in names if name is not None and "-" in name):
        reference, pairs_with = None, reference
    if reference is not None:
        names = [first or name for first, name in zip(electrodes, names, strict=True)]
    return NamesReading(tuple(names), reference, pairs_with, tuple(sockets), tuple(temporal))


def _bare(name: str) -> str:
    """A name in upper case, without prefix and without the suffix of a reference."""
    text = _PREFIX.sub("", name.strip().upper().replace("\u2013", "-").replace("\u2212", "-"))
    return _REFERENCE.sub("", text).strip(" .")


def _sockets(ch_names: Sequence[str], names: Sequence[str | None]) -> list[str]:
    """The names that are sockets by their company: letters with numbers of which most are no places on the head."""
    letters = [match and match[1] for match in (_SOCKET.fullmatch(_bare(name)) for name in ch_names)]
    strange = Counter(letter for letter, name in zip(letters, names, strict=True) if letter and name is None)
    known = sum(name is not None for name in names)
    if max(strange.values(), default=0) < MIN_SOCKETS or strange.total() <= known:
        return []
    return [name for name, letter in zip(ch_names, letters, strict=True) if letter]


def _common_reference(ch_names: Sequence[str], names: Sequence[str | None]) -> tuple[str | None, list[str | None]]:
    """The second part that nearly all names share, and the first parts of those that have it."""
    pairs: list[tuple[str, str] | None] = []
    for name, found in zip(ch_names, names, strict=True):
        match = None
        if found is None or "-" in found:
            text = _PREFIX.sub("", name.strip().upper().replace("\u2013", "-").replace("\u2212", "-"))
            match = _PAIR.fullmatch(re.sub(r"(?<=[A-Z\d])-\d$", "", text) if found is not None else text)
        first = canonical_name(match[1]) if match else None
        pairs.append((first, match[2].strip(" .")) if first is not None else None)
    ends = Counter(pair[1] for pair in pairs if pair is not None)
    electrodes = sum(found is not None or pair is not None for found, pair in zip(names, pairs, strict=True))
    reference, count = ends.most_common(1)[0] if ends else (None, 0)
    if count < 2 or count < REFERENCE_SHARE * electrodes:
        return None, [None] * len(names)
    return reference, [pair[0] if pair is not None and pair[1] == reference else None for pair in pairs]


__all__ = ["MIN_SOCKETS", "REFERENCE_SHARE", "NamesReading", "read_names"]
