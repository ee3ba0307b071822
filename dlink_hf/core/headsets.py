# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Headsets by name: which electrodes they have, in the order in which they deliver them.

A small table of facts, each with its source. A headset that is missing is given by its electrodes.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from .electrodes import canonical_name, describe_unknown


@dataclass(frozen=True)
class Headset:
    """A headset's electrodes.

    Args:
        title: What its maker calls it.
        ch_names: Its electrodes by their canonical names, in the order in which it delivers them.
        source: Where the electrodes are named.
    """

    title: str
    ch_names: tuple[str, ...]
    source: str


_BRAINFLOW = "BrainFlow, src/board_controller/brainflow_boards.cpp, eeg_names of"
_CYTON = ("Fp1", "Fp2", "C3", "C4", "P7", "P8", "O1", "O2")

HEADSETS: dict[str, Headset] = {
    "muse": Headset(
        "InteraXon Muse (2016, 2, S)",
        ("TP9", "AF7", "AF8", "TP10"),
        f"InteraXon, Technical Specifications, Validation, and Research Use (2016); {_BRAINFLOW} MuseSBLED",
    ),
    "emotiv_epoc": Headset(
        "EMOTIV EPOC, EPOC+, EPOC X",
        ("AF3", "F7", "F3", "FC5", "T7", "P7", "O1", "O2", "P8", "T8", "FC6", "F4", "F8", "AF4"),
        "EMOTIV, technical specifications of EPOC X; the labels of stream 'eeg' in the Cortex API",
    ),
    "emotiv_insight": Headset(
        "EMOTIV Insight",
        ("AF3", "AF4", "T7", "T8", "Pz"),
        "EMOTIV, technical specifications of Insight (5 channels, references on the left mastoid)",
    ),
    "openbci_8": Headset("OpenBCI Cyton, Ultracortex Mark IV as it is delivered", _CYTON, f"{_BRAINFLOW} Cyton"),
    "openbci_16": Headset(
        "OpenBCI Cyton + Daisy, Ultracortex Mark IV as it is delivered",
        (*_CYTON, "F7", "F8", "F3", "F4", "T7", "T8", "P3", "P4"),
        f"{_BRAINFLOW} CytonDaisy",
    ),
    "unicorn": Headset(
        "g.tec Unicorn Hybrid Black", ("Fz", "C3", "Cz", "C4", "Pz", "PO7", "Oz", "PO8"), f"{_BRAINFLOW} Unicorn"
    ),
    "crown": Headset(
        "Neurosity Crown",
        ("CP3", "C3", "F5", "PO3", "PO4", "F6", "C4", "CP4"),
        f"Neurosity, NEUROSITY_DEVICE_CHANNEL_NAMES of its simulator; {_BRAINFLOW} Crown",
    ),
}


def headset_channels(name: str) -> list[str]:
    """Return the electrodes of a headset, in the order in which it delivers them.

    Args:
        name: A name in `HEADSETS`, in upper or lower case, with `-` or a space for `_`.

    Returns:
        Canonical names.

    Raises:
        ValueError: If no such headset is known; the message names those that are.

    Example:

    ```python
    >>> headset_channels("muse")
    ['TP9', 'AF7', 'AF8', 'TP10']
    ```
    """
    key = _key(name)
    if key not in HEADSETS:
        close = difflib.get_close_matches(key, HEADSETS, n=1)
        hint = f" Is {close[0]!r} meant?" if close else ""
        raise ValueError(
            f"no headset {name!r} is known.{hint} Known are {_listed()}. Name the electrodes of any other: "
            "'AF3,AF4,T7,T8'."
        )
    return list(HEADSETS[key].ch_names)


def parse_channels(text: str) -> list[str]:
    """Read channels as a command line gives them: a headset's name, or electrodes with commas between them.

    Args:
        text: `"muse"`, or `"AF3, AF4, T7"` in any spelling that `canonical_name` understands.

    Returns:
        Canonical names, in the order given.

    Raises:
        ValueError: If a name is neither, or an electrode stands twice.

    Example:

    ```python
    >>> parse_channels("af3,AF4,T3")
    ['AF3', 'AF4', 'T7']
    ```
    """
    if _key(text) in HEADSETS:
        return headset_channels(text)
    given = [part.strip() for part in text.split(",") if part.strip()]
    if not given:
        raise ValueError(f"no channel is named by {text!r}: give electrodes, 'AF3,AF4', or a headset: {_listed()}.")
    names = [canonical_name(part) for part in given]
    if len(given) == 1 and names[0] is None:
        close = difflib.get_close_matches(_key(text), HEADSETS, n=1)
        hint = f" Is {close[0]!r} meant?" if close else ""
        raise ValueError(
            f"{text!r} is neither a headset nor an electrode.{hint} Headsets are {_listed()}; electrodes are given as "
            "'AF3,AF4,T7,T8'."
        )
    unknown = [part for part, name in zip(given, names, strict=True) if name is None]
    if unknown:
        headsets = [part for part in unknown if _key(part) in HEADSETS]
        alone = f" A headset ({', '.join(headsets)}) stands alone." if headsets else ""
        raise ValueError(f"no place on the head is known for {describe_unknown(unknown)}{alone}")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"{', '.join(twice)} is named twice in {text!r}: name each electrode once.")
    return names


def _key(name: str) -> str:
    return name.strip().lower().replace("-", "_").replace(" ", "_")


def _listed() -> str:
    return ", ".join(HEADSETS)


__all__ = ["HEADSETS", "Headset", "headset_channels", "parse_channels"]
