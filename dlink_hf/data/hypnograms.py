# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Hypnograms: EDF+ files that hold annotations only, next to the recording whose labels they are."""

import logging
import re
import warnings
from pathlib import Path

import mne

from ..preprocessing.edf import is_annotations_only


logger = logging.getLogger(__name__)

# what is said of a file by the last part of its name, and not of the night
_KIND = re.compile(r"[-_](psg|hypnogram|hyp|annotations?|scoring|stages|events)$", re.IGNORECASE)


def hypnogram_of(path: Path | None) -> Path | None:
    """Return the file of annotations next to a recording that holds its labels.

    It is an EDF+ file without signals, of the recording's name but for what stands for the kind of file (`-PSG`,
    `-Hypnogram`, `-annotations` ...) and, as in Sleep-EDF, the last letter before it, which names the scorer.

    Args:
        path: The recording; None when it is in memory.

    Returns:
        Its path, or None where there is none.

    Raises:
        ValueError: If several files fit.
    """
    if path is None or path.suffix.lower() != ".edf" or not path.is_file():
        return None
    night = _KIND.sub("", path.stem)
    others = [other for other in sorted(path.parent.glob("*.[eE][dD][fF]")) if other != path]
    named = [(other, _KIND.sub("", other.stem)) for other in others]
    same = [other for other, name in named if name == night]
    # SC4001E0-PSG and SC4001EC-Hypnogram
    like = [
        other
        for other, name in named
        if path.stem != night and other.stem != name and len(name) == len(night) > 4 and name[:-1] == night[:-1]
    ]
    fitting = [other for other in same or like if is_annotations_only(other)]
    if len(fitting) > 1:
        raise ValueError(
            f"{path.name}: {', '.join(other.name for other in fitting)} could all be its hypnogram. Leave one in the "
            "folder, or write the labels into a table (TableLabels)."
        )
    return fitting[0] if fitting else None


def with_hypnogram(raw: mne.io.BaseRaw, path: Path | None) -> mne.io.BaseRaw:
    """Return a recording with the annotations of its hypnogram; itself where there is none, or it has its own."""
    if len(raw.annotations):
        return raw
    hypnogram = hypnogram_of(path)
    if hypnogram is None:
        return raw
    logger.info("%s: labels come from %s", path.name, hypnogram.name)
    with warnings.catch_warnings():
        # a hypnogram goes on to the end of the night, beyond the recording's
        warnings.filterwarnings("ignore", message="(Omitted|Limited) .* annotation", category=RuntimeWarning)
        annotations = read_annotations(hypnogram)
        if raw.info["meas_date"] is None:
            annotations = mne.Annotations(annotations.onset, annotations.duration, annotations.description)
        return raw.copy().set_annotations(annotations, verbose="ERROR")


def read_annotations(path: Path) -> mne.Annotations:
    """Return the annotations of an EDF+ file; Latin-1 where they are not UTF-8.

    Raises:
        ValueError: If they can't be read; the message names the file.
    """
    for encoding in ("utf8", "latin1"):
        try:
            return mne.read_annotations(path, encoding=encoding)
        except Exception as error:
            # MNE's readers fail in many ways
            if encoding == "utf8" and (isinstance(error, UnicodeDecodeError) or "invalid byte" in str(error).lower()):
                logger.warning("%s: its annotations are not UTF-8 as EDF+ wants them; read as Latin-1", path.name)
                continue
            raise ValueError(f"the annotations of {path.name} could not be read. MNE says: {error}") from error
    raise AssertionError("unreachable")


__all__ = ["hypnogram_of", "read_annotations", "with_hypnogram"]
