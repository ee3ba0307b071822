# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""XDF files, which Lab Streaming Layer's LabRecorder writes: the EEG stream, and markers as annotations."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mne
import numpy as np


logger = logging.getLogger(__name__)

# Volts by unit, in lower case; LSL's convention is the word.
_VOLTS = {
    **dict.fromkeys(("microvolts", "microvolt", "uv", "\u00b5v", "\u03bcv"), 1e-6),
    **dict.fromkeys(("millivolts", "millivolt", "mv"), 1e-3),
    **dict.fromkeys(("nanovolts", "nanovolt", "nv"), 1e-9),
    **dict.fromkeys(("volts", "volt", "v"), 1.0),
}
# a pause of more seconds (and samples) than this is a gap; stamps of samples that came in bursts jitter below it
_GAP_SECONDS, _GAP_SAMPLES = 0.5, 2.0
# how far the rate that stamps tell may be from the one that the stream names
_RATE_TOLERANCE = 0.02


def load_streams(path: Path) -> list[dict[str, Any]]:
    """Return the streams of an XDF file as pyxdf loads them.

    Raises:
        ImportError: Where pyxdf is not installed.
    """
    import pyxdf

    streams, _ = pyxdf.load_xdf(str(path), dejitter_timestamps=False, verbose=False)
    return streams


def raw_of_streams(streams: Sequence[dict[str, Any]], path: Path) -> mne.io.BaseRaw:
    """Return the EEG stream of an XDF file as MNE holds recordings, markers of its other streams as annotations.

    Args:
        streams: Of the file.
        path: The file.

    Returns:
        The recording, in volts where the stream names its unit, else its numbers as microvolts (LSL's convention),
        with a word. The first sample is time zero.

    Raises:
        ValueError: Where there is no EEG stream, or several, its rate is irregular, or samples are missing in it.
    """
    eeg = [stream for stream in streams if _text(stream, "type").lower() == "eeg" and len(stream["time_stamps"])]
    if len(eeg) != 1:
        found = ", ".join(f"{_text(stream, 'name')} ({_text(stream, 'type')})" for stream in streams) or "none"
        raise ValueError(
            f"{path.name!r} holds {len(eeg)} streams of type EEG with samples, expected is one; its streams: {found}. "
            "Load it with pyxdf and pass the array of one stream with its ch_names, sfreq and unit"
        )
    stream, times = eeg[0], np.asarray(eeg[0]["time_stamps"], dtype=np.float64)
    values = np.asarray(stream["time_series"], dtype=np.float64).T
    sfreq = float(_text(stream, "nominal_srate") or 0)
    if sfreq <= 0:
        raise ValueError(f"{path.name!r}: the EEG stream {_text(stream, 'name')!r} is of an irregular rate")
    pauses = np.flatnonzero(np.diff(times) > max(_GAP_SECONDS, _GAP_SAMPLES / sfreq))
    if len(pauses):
        raise ValueError(
            f"{path.name!r}: {len(pauses)} gap(s) in the EEG stream, the first of "
            f"{times[pauses[0] + 1] - times[pauses[0]]:.3g} s after {times[pauses[0]] - times[0]:g} s: samples were "
            "lost. Windows and markers would be out of step: cut the file at the gaps"
        )
    # one line through all stamps: the recorder's clock and the amplifier's differ a little, and stamps jitter
    places = np.arange(len(times))
    period, start = np.polyfit(places, times, 1) if len(times) > 1 else (1 / sfreq, times[0])
    if abs(period * sfreq - 1) > _RATE_TOLERANCE and len(times) > sfreq:
        raise ValueError(
            f"{path.name!r}: the EEG stream names {sfreq:g} Hz, and its stamps tell {1 / period:.4g} Hz: samples were "
            "lost all along, or the rate is wrong. Load it with pyxdf and pass the array with its sfreq"
        )
    names, units, types = _channels(stream, len(values))
    if not any(units):
        logger.warning("%r says no unit; its numbers are taken for microvolts, as is LSL's convention", path.name)
    values *= np.array([_VOLTS.get(unit.strip().lower(), 1e-6) for unit in units])[:, None]
    info = mne.create_info(names, sfreq, types, verbose="error")
    raw = mne.io.RawArray(values, info, verbose="error")
    raw._filenames = [path]
    onsets, texts = [], []
    for other in streams:
        if other is stream or _text(other, "type").lower() not in ("markers", "marker", "events", "stimulus"):
            continue
        for time, sample in zip(other["time_stamps"], other["time_series"], strict=True):
            onsets.append((time - start) / period / sfreq)
            texts.append(str(sample[0] if np.ndim(sample) else sample))
    if onsets:
        raw.set_annotations(mne.Annotations(onsets, 0.0, texts), verbose="error")
    return raw


def _text(stream: dict[str, Any], key: str) -> str:
    """A field of a stream's header, which pyxdf puts into lists."""
    value = stream["info"].get(key)
    return str(value[0] if isinstance(value, list) and value else value or "")


def _channels(stream: dict[str, Any], count: int) -> tuple[list[str], list[str], list[str]]:
    """Names, units and MNE's types of the channels of a stream."""
    described = (stream["info"].get("desc") or [None])[0] or {}
    listed = (described.get("channels") or [None])[0] or {}
    entries = listed.get("channel") or []
    if len(entries) != count:
        raise ValueError(
            f"the EEG stream {_text(stream, 'name')!r} names {len(entries)} of its {count} channels: load it with "
            "pyxdf and pass the array with its ch_names, sfreq and unit"
        )

    def field(entry: dict[str, Any], key: str) -> str:
        return str((entry.get(key) or [""])[0] or "")

    names = [field(entry, "label") or f"channel {i}" for i, entry in enumerate(entries, start=1)]
    kinds = [field(entry, "type").lower() for entry in entries]
    known = {"eeg": "eeg", "": "eeg", "eog": "eog", "ecg": "ecg", "ekg": "ecg", "emg": "emg"}
    return names, [field(entry, "unit") for entry in entries], [known.get(kind, "misc") for kind in kinds]


__all__ = ["load_streams", "raw_of_streams"]
