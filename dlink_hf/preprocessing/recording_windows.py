# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""The windows of one recording, cut batch by batch: what is read grows with the recording, what is cut does not."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator, Sequence
from typing import Any

import mne
import numpy as np
from tqdm.auto import tqdm

from ..core.checks import positive
from .alignment import Alignment
from .artefacts import clean_windows, marked_spans, overlapping_spans, unjudged_reasons, window_peaks
from .cutting import stacked
from .preparation import EEGPreparation
from .recordings import load_samples, read_recording
from .signals import as_samples
from .stretches import StretchedRecording, is_long
from .units import check_finite


class RecordingWindows:
    """A recording as the feature extractor prepares it, whose windows are cut when they are asked for.

    The numbers are those of `extractor(recording, align=False)`; but windows that overlap are not all held at once,
    and of a long recording in a file neither are its samples (to 1e-3 uV, see `StretchedRecording`).

    Args:
        extractor: says how the recording is prepared and where its windows begin.
        recording: a path, an `mne.io.Raw`, `mne.Epochs`, or an array or tensor: (C, T) of a whole recording, or
            (N, C, T) of N prepared windows.
        sfreq: sampling rate of an array in Hz.
        ch_names: the C channel names of an array.
        unit: unit of the numbers, "uV", "mV" or "V"; the extractor's own, else volts for files and MNE objects.
        is_filtered: whether the signal has been filtered already as the extractor would.

    Attributes:
        ch_names: the C channels delivered, by their canonical names.
        onsets: (N,) float64 seconds from the first sample of the recording to the first of each window; NaN for
            prepared windows, which do not know it.
        spans: what the recording's annotations mark as bad; empty for prepared windows.

    Raises:
        FileNotFoundError: a path leads nowhere.
        TypeError: the recording is of no known kind.
        ValueError: something is missing, contradictory or implausible, or the recording is shorter than a window.
    """

    def __init__(
        self,
        extractor: EEGPreparation,
        recording: Any,
        sfreq: float | None = None,
        ch_names: Sequence[str] | None = None,
        unit: str | None = None,
        is_filtered: bool = False,
    ) -> None:
        self._n_times = extractor.n_times
        if isinstance(recording, (str, os.PathLike)):
            path = recording
            recording = read_recording(path, preload=False)
            if not is_long(recording):
                load_samples(recording, path)
        if isinstance(recording, (mne.io.BaseRaw, mne.BaseEpochs)):
            if ch_names is not None or sfreq is not None:
                raise ValueError("ch_names and sfreq are for arrays: a file or MNE object knows its own.")
        else:
            recording = as_samples(recording)
            given = {"ch_names": ch_names, "sfreq": sfreq, "unit": unit or extractor.unit}
            missing = [name for name, value in given.items() if value is None]
            if missing:
                raise ValueError(
                    f"An array of shape {recording.shape} does not say everything about itself: {', '.join(missing)} "
                    "is missing. Give it as {'array': array, 'ch_names': ['Fp1', ...], 'sfreq': 256.0, 'unit': 'uV'}, "
                    "or the ones next to it, for all arrays of a call."
                )
            if recording.ndim == 2:
                recording = _as_raw(recording, ch_names, sfreq)
        self._raw = self._windows = None
        self._sfreq, self._reject_uv = extractor.sfreq, extractor.reject_uv
        self.spans = marked_spans(recording) if isinstance(recording, mne.io.BaseRaw) else []
        if isinstance(recording, mne.io.BaseRaw):
            # before the filters, which say less clearly that a recording is too short
            expected = int(recording.n_times * extractor.sfreq / recording.info["sfreq"] + 1e-6)
            _check_length(recording, expected, extractor)
            if is_long(recording):
                self._raw = StretchedRecording(extractor, recording, unit=unit, is_filtered=is_filtered)
            else:
                self._raw = extractor.prepare_raw(recording, unit=unit, is_filtered=is_filtered)
            _check_length(recording, self._raw.n_times, extractor)
            self.ch_names = list(self._raw.ch_names)
            step, last = extractor.stride or self._n_times, self._raw.n_times - self._n_times
            self._starts = np.arange(0, last + 1, step)
            self.onsets = self._starts / extractor.sfreq
        else:
            signal = {"sfreq": sfreq, "ch_names": ch_names, "unit": unit, "is_filtered": is_filtered}
            batch = extractor.windows(recording, align=False, **signal)
            self._windows, self.ch_names, self.onsets = batch["input_values"], batch["ch_names"], batch["onset"]

    def __len__(self) -> int:
        return len(self.onsets)

    def cut(self, first: int, last: int) -> np.ndarray:
        """Return the windows `first` to `last` (excluded): (N, C, n_times) float32 in microvolts, not aligned."""
        if self._windows is not None:
            return self._windows[first:last]
        starts = self._starts[first:last]
        values = self._raw.get_data(start=starts[0], stop=starts[-1] + self._n_times)
        windows = stacked(values, starts - starts[0], self._n_times)
        return check_finite(windows, self.ch_names, "the recording")

    def unjudged(self, windows: np.ndarray, onsets: np.ndarray) -> list[str | None]:
        """Return why windows (N, C, n_times), not aligned, with onsets (N,) get no label; None where they get one."""
        marks = {"spans": self.spans, "reject_uv": self._reject_uv}
        return unjudged_reasons(windows, onsets, sfreq=self._sfreq, **marks)

    def batches(self, batch_size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield the windows (B, C, n_times) and onsets (B,), `batch_size` of them at a time."""
        for first in range(0, len(self), batch_size):
            yield self.cut(first, first + batch_size), self.onsets[first : first + batch_size]


def fit_session(extractor: EEGPreparation, session: Sequence[RecordingWindows]) -> Alignment:
    """Return the alignment of a subject, fitted on all recordings of one session.

    Args:
        extractor: has an alignment.
        session: the recordings, prepared by that extractor.

    Returns:
        the fitted alignment, which `EEGFeatureExtractor.fit_alignment` gives of the same recordings.

    Raises:
        ValueError: the recordings are too short, deliver different channels, or are of two kinds.
    """
    # they were checked as they came in; filtered, they may be as small as they like
    extractor = copy.copy(extractor)
    extractor.min_abs_uv = extractor.max_abs_uv = None
    raws = [item._raw for item in session if item._raw is not None]
    if raws and len(raws) < len(session):
        raise ValueError("A session is given as continuous recordings or as prepared windows, not as some of each.")
    if any(isinstance(raw, StretchedRecording) for raw in raws):
        return _fit_in_stretches(extractor, session)
    try:
        if raws:
            return extractor.fit_alignment(raws, unit="V", is_filtered=True)
        windows, facts = [item._windows for item in session], {"sfreq": extractor.sfreq, "unit": "uV"}
        return extractor.fit_alignment(windows, ch_names=session[0].ch_names, is_filtered=True, **facts)
    except ValueError as error:
        raise ValueError(
            f"{error}. The further recordings of a subject's session are given by session_recordings=[...]"
        ) from error


def _fit_in_stretches(extractor: EEGPreparation, session: Sequence[RecordingWindows]) -> Alignment:
    """The alignment of a subject, as of [`fit_session`], by some windows at a time: long recordings are not held."""
    names = session[0].ch_names
    for item in session:
        if item.ch_names != names:
            raise ValueError(
                f"The recordings of a session deliver different channels ({names} and {item.ch_names}): set ch_names "
                "with missing_channels='error' to what they share."
            )
    alignment = extractor._new_alignment(names)
    peaks, is_bad = [], []
    # once for the peaks, once for the statistics of the clean windows
    with tqdm(total=2 * sum(map(len, session)), desc="fit alignment", unit="window", leave=False, delay=2) as progress:
        for item in session:
            for windows, onsets in item.batches(64):
                peaks.append(window_peaks(windows))
                is_bad.append(overlapping_spans(onsets, item._n_times / item._sfreq, item.spans, item._sfreq) >= 0)
                progress.update(len(windows))
        marks = (np.concatenate(is_bad), extractor.reject_uv, extractor._min_windows)
        clean, first = clean_windows(np.concatenate(peaks), *marks), 0
        for item in session:
            for windows, _ in item.batches(64):
                chosen = clean[first : first + len(windows)]
                if chosen.any():
                    alignment.partial_fit(windows[chosen])
                first += len(windows)
                progress.update(len(windows))
    return alignment


def _as_raw(values: np.ndarray, ch_names: Sequence[str], sfreq: float) -> mne.io.RawArray:
    """An array (C, T) as a recording, numbers untouched."""
    if isinstance(ch_names, str):
        raise TypeError(f"ch_names is a list of channel names, such as ['Fp1', 'Fp2']; got the text {ch_names!r}.")
    names = [str(name) for name in ch_names]
    if len(values) != len(names):
        turned = " It seems turned: pass its transpose." if values.shape[1] == len(names) else ""
        raise ValueError(
            f"{len(names)} ch_names for an array of {len(values)} channels, of shape {values.shape}; expected is "
            f"(channels, samples).{turned}"
        )
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"ch_names names {', '.join(twice)} more than once. Drop or rename all but one of each.")
    positive("sfreq", sfreq, "hertz")
    info = mne.create_info(names, float(sfreq), "eeg", verbose="error")
    return mne.io.RawArray(values.astype(np.float64), info, verbose="error")


def _check_length(raw: mne.io.BaseRaw, n_times: int, extractor: EEGPreparation) -> None:
    """Refuse a recording of `n_times` samples at the extractor's rate that is shorter than a window."""
    if n_times >= extractor.n_times:
        return
    files = [os.path.basename(name) for name in raw.filenames if name is not None]
    name = f"Recording {files[0]!r}" if files else "The recording"
    raise ValueError(
        f"{name} lasts {n_times / extractor.sfreq:g} s, less than one window of "
        f"{extractor.n_times / extractor.sfreq:g} s that the model reads: nothing is padded."
    )


__all__ = ["RecordingWindows", "fit_session"]
