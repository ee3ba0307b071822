# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""EDF, BDF and GDF files: what MNE reads on without a word is refused, corrected or said."""

import logging
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import mne
import numpy as np

from ..core.channel_names import read_names
from ..core.electrodes import is_known_non_eeg
from .units import correct_edf_units


logger = logging.getLogger(__name__)

# a record of a day and more is none
MAX_RECORD_SECONDS = 1e5


class EdfSignal(NamedTuple):
    """What the header says of one signal: its unit as written, and whether its numbers can be scaled to it."""

    unit: str
    has_range: bool


def check_edf(path: Path) -> list[EdfSignal]:
    """Refuse an EDF or BDF file that is none, is shorter than its header promises or has gaps: MNE would read on.

    Args:
        path: The file.

    Returns:
        What the header says of each signal that holds samples.

    Raises:
        ValueError: Where the file is damaged; the message names it and says how.
    """
    is_bdf = path.name.lower().endswith(".bdf")
    kind, sample_bytes = ("BDF", 3) if is_bdf else ("EDF", 2)
    magic = b"\xffBIOSEMI" if is_bdf else b"0       "
    size = path.stat().st_size
    with open(path, "rb") as file:
        head = file.read(256)
        if head[:8].rstrip(b" \0") != magic.rstrip():
            raise ValueError(
                f"{path.name!r} is not an {kind} file: it should begin with {magic!r} and begins with {head[:8]!r}"
            )
        try:
            header_bytes, n_records = int(head[184:192]), int(head[236:244])
            record_seconds, n_signals = float(head[244:252]), int(head[252:256])
            # the fields of all signals lie side by side: 216 bytes of text a signal come before the sample counts
            file.seek(256 + 216 * n_signals)
            counts = file.read(8 * n_signals)
            samples = [int(counts[8 * i : 8 * i + 8]) for i in range(n_signals)]
            file.seek(256)
            labels = [file.read(16).decode("latin-1").strip() for _ in range(n_signals)]
            file.seek(256 + 96 * n_signals)
            # unit, physical minimum and maximum, digital minimum and maximum
            fields = [[file.read(8).decode("latin-1").strip() for _ in range(n_signals)] for _ in range(5)]
        except ValueError as error:
            raise ValueError(
                f"{path.name!r}: the {kind} header is damaged or cut off (the file has {size} bytes): copy it again"
            ) from error
    if not (math.isfinite(record_seconds) and 0 <= record_seconds < MAX_RECORD_SECONDS):
        raise ValueError(
            f"{path.name!r}: the {kind} header says that a record lasts {record_seconds:g} s: it is damaged"
        )
    record_bytes = sum(samples) * sample_bytes
    if record_bytes <= 0 or n_signals <= 0:
        raise ValueError(f"{path.name!r}: the {kind} header names no signal or no samples, so the file holds no EEG")
    held = max(0, size - header_bytes) // record_bytes
    # -1 records: the recorder never closed the file, and its length is taken from its size
    if held < n_records or held == 0:
        promised = "an unknown number of" if n_records < 0 else str(n_records)
        raise ValueError(
            f"{path.name!r} is truncated: its header promises {promised} records of {record_seconds:g} s, the file "
            f"holds {held} ({size} bytes): copy or download it again"
        )
    signals = [
        EdfSignal(unit, low != high and low_number != high_number)
        for label, unit, low, high, low_number, high_number in zip(labels, *fields, strict=True)
        if label != f"{kind} Annotations"
    ]
    if head[192:197] not in (b"EDF+D", b"BDF+D") or f"{kind} Annotations" not in labels:
        return signals
    # "D" is for discontinuous: each record says when it began, and MNE reads them as if there were no gap
    place = labels.index(f"{kind} Annotations")
    begin, end = sum(samples[:place]) * sample_bytes, sum(samples[: place + 1]) * sample_bytes
    records = np.memmap(path, dtype=np.uint8, mode="r", offset=header_bytes, shape=(held, record_bytes))
    starts = [re.match(rb"[+-]\d+(\.\d*)?", record[begin:end].tobytes()) for record in records]
    times = np.array([float(start.group()) if start else np.nan for start in starts])
    gaps = np.flatnonzero(np.abs(np.diff(times) - record_seconds) > 1e-3)
    if len(gaps):
        raise ValueError(
            f"{path.name!r} is discontinuous ({head[192:197].decode()}): {len(gaps)} gap(s), the first after "
            f"{times[gaps[0]] - times[0] + record_seconds:g} s. Windows and annotations would be out of step: export "
            "the stretches between the gaps as files of their own"
        )
    return signals


def is_annotations_only(path: Path) -> bool:
    """Return whether a file is an EDF+ or BDF+ file of annotations without any signal, as hypnograms are.

    Args:
        path: The file; one that is damaged or of another kind is none.
    """
    try:
        with open(path, "rb") as file:
            head = file.read(256)
            if head[:8].rstrip(b" \0") not in (b"0", b"\xffBIOSEMI"):
                return False
            n_signals = int(head[252:256])
            if not 0 < n_signals <= 64:
                return False
            labels = [file.read(16).strip() for _ in range(n_signals)]
    except (OSError, ValueError):
        return False
    return all(label in (b"EDF Annotations", b"BDF Annotations") for label in labels)


def as_written(path: Path, signals: Sequence[EdfSignal] = ()) -> mne.io.BaseRaw:
    """Open an EDF, BDF or GDF recording whose EEG is as the file has it: at its own rate, in the units it says.

    MNE brings all channels to the fastest one's rate, record by record, which bends slower ones at both ends: what
    runs faster than the EEG is left out. Channels without a physical range, which nothing scales, are marked bad.

    Args:
        path: The file.
        signals: What its header says of each of its channels.

    Returns:
        The recording, samples not read yet.
    """
    options: dict[str, Any] = {}
    try:
        raw = mne.io.read_raw(path, preload=False, verbose="warning")
    except Exception as error:
        # MNE wraps it in errors of its own
        if not isinstance(error, UnicodeDecodeError) and "invalid byte" not in str(error).lower():
            raise
        options["encoding"] = "latin1"
        raw = mne.io.read_raw(path, preload=False, verbose="warning", **options)
        logger.warning("%r: its annotations are not UTF-8 as EDF+ wants them; read as Latin-1", path.name)
    extras = raw._raw_extras[0]
    if {"n_samps", "sel", "units"} - set(extras):
        return raw
    rates = np.asarray(extras["n_samps"])[np.asarray(extras["sel"], dtype=int)]
    if len(rates) != len(raw.ch_names):
        return raw
    said = dict(zip(raw.ch_names, signals, strict=True)) if len(signals) == len(rates) else {}
    read = read_names(raw.ch_names).names
    is_eeg = np.array([n is not None and not is_known_non_eeg(c) for n, c in zip(read, raw.ch_names, strict=True)])
    if is_eeg.any() and rates.max() > rates[is_eeg].max():
        faster = [name for name, rate in zip(raw.ch_names, rates, strict=True) if rate > rates[is_eeg].max()]
        if not path.name.lower().endswith(".gdf"):
            options["exclude_after_unique"] = True
        raw = mne.io.read_raw(path, preload=False, exclude=faster, verbose="warning", **options)
        logger.warning(
            "%r is read without %s, faster than the EEG, which keeps its own %g Hz",
            path.name,
            ", ".join(faster),
            raw.info["sfreq"],
        )
    correct_edf_units(raw, {name: signal.unit for name, signal in said.items()}, repr(path.name))
    unscaled = [name for name in raw.ch_names if name in said and not said[name].has_range]
    if unscaled:
        logger.warning(
            "%r: the header gives no range for %s, so that nothing says what its numbers are: marked bad",
            path.name,
            ", ".join(unscaled),
        )
        raw.info["bads"] = [*raw.info["bads"], *unscaled]
    return raw


__all__ = ["EdfSignal", "as_written", "check_edf", "is_annotations_only"]
