# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Streams that are sent over LSL: a recording as if an amplifier sent it, and predictions for the next program."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import mne
import numpy as np

from ..core.checks import one_of, positive
from ..preprocessing.recordings import read_recording
from ..preprocessing.signals import MICROVOLTS_PER_UNIT
from .sources import import_pylsl


CHUNK_SECONDS = 0.02
# what is still on its way when an outlet closes is lost to its receivers
LINGER_SECONDS = 1.0


class LslReplay:
    """A recording as an LSL stream of type EEG, in real time: float32 microvolts, even time stamps.

    A chunk is sent when its last sample would have been measured, on a schedule counted from the first sample, so that
    no delay adds up. The stream can be found from when the object is made; samples flow in `run`.

    Args:
        recording: anything that [`dlink_hf.data.recordings.read_recording`] reads; its channels of type EEG are sent.
        name: of the stream; "dlink-replay" by default.
        source_id: of the stream; made of the file's name by default.
        unit: unit that the file's numbers really have, "uV", "mV" or "V", where they are not volts.
        chunk_seconds: length of a chunk.
        speed: factor from the recording's time to real time. The nominal rate stays the recording's, and so do the
            time stamps' distances: they run ahead of the clock, or fall behind.
        repeat: begin again at the end, for ever.

    Attributes:
        sfreq (`float`): rate in Hz.
        ch_names (`list[str]`): the C channels.
        samples (`np.ndarray`, (T, C) float32): what is sent.

    Raises:
        FileNotFoundError: there is no such file.
        ImportError: pylsl is not installed.
        ValueError: it can't be read, has no EEG channel, or an argument is out of range.
    """

    def __init__(
        self,
        recording: str | os.PathLike,
        name: str | None = None,
        source_id: str | None = None,
        unit: str | None = None,
        chunk_seconds: float = CHUNK_SECONDS,
        speed: float = 1.0,
        repeat: bool = False,
    ) -> None:
        for option, value in (("chunk_seconds", chunk_seconds), ("speed", speed)):
            positive(option, value)
        one_of("unit", unit or "V", MICROVOLTS_PER_UNIT)
        self._pylsl = pylsl = import_pylsl()
        raw = read_recording(recording)
        picks = mne.pick_types(raw.info, eeg=True, exclude=())
        if not len(picks):
            raise ValueError(f"{Path(recording).name!r} has no channel of type EEG: nothing can be replayed.")
        self.sfreq, self.ch_names = float(raw.info["sfreq"]), [raw.ch_names[k] for k in picks]
        values = raw.get_data(picks=picks) * MICROVOLTS_PER_UNIT[unit or "V"]
        self.samples = np.ascontiguousarray(values.T, dtype=np.float32)
        self._step, self._speed, self._repeat = max(1, round(chunk_seconds * self.sfreq)), speed, repeat
        info = pylsl.StreamInfo(
            name or "dlink-replay",
            "EEG",
            len(self.ch_names),
            self.sfreq,
            "float32",
            source_id or f"replay-{Path(recording).name}",
        )
        info.set_channel_labels(self.ch_names)
        info.set_channel_types("EEG")
        info.set_channel_units("microvolts")
        info.desc().append_child_value("recording", Path(recording).name)
        self._outlet = pylsl.StreamOutlet(info, chunk_size=self._step)

    def run(self, wait_seconds: float = 0.0) -> int:
        """Send the recording, to its end.

        Args:
            wait_seconds: to wait for a first receiver; without one, it begins all the same.

        Returns:
            samples that were sent.
        """
        if wait_seconds:
            self._outlet.wait_for_consumers(wait_seconds)
        clock = self._pylsl.local_clock
        start, total, n_sent = clock(), len(self.samples), 0
        while n_sent < total or self._repeat:
            first = n_sent % total
            chunk = self.samples[first : first + self._step]
            n_sent += len(chunk)
            newest = (n_sent - 1) / self.sfreq
            time.sleep(max(0.0, start + newest / self._speed - clock()))
            stamps = start + np.arange(n_sent - len(chunk), n_sent) / self.sfreq
            self._outlet.push_chunk(chunk, stamps.tolist())
        time.sleep(LINGER_SECONDS)
        return n_sent


def run_replay(wait_seconds: float, options: dict[str, Any]) -> None:
    """Make and run a [`LslReplay`] of `options`: what a process of its own does."""
    # Ctrl-C in a terminal reaches all processes; this one is ended by the one that started it
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    LslReplay(**options).run(wait_seconds)


def start_replay(wait_seconds: float = 60.0, **options: Any) -> BaseProcess:
    """Run a [`LslReplay`] in a process of its own, as an amplifier's program would.

    Args:
        wait_seconds: to wait for a first receiver.
        **options: of [`LslReplay`].

    Returns:
        the process, started; it ends with the recording, or with this process.
    """
    # not forked: liblsl has threads
    process = multiprocessing.get_context("spawn").Process(
        target=run_replay, args=(wait_seconds, options), daemon=True
    )
    process.start()
    return process


class PredictionOutlet:
    """Predictions as an LSL stream of type Classification, for the next program: an exoskeleton, a speller, a game.

    One channel per class, float32 probabilities; all NaN while there is no telling. Its rate is irregular, as gaps of
    the EEG are gaps here too; each sample has the time stamp of the newest EEG sample that it knows of. The
    description (XML) names the classes and holds `metadata`.

    Args:
        name: of the stream; "dlink-" is put before it where it does not begin so.
        labels: the classes.
        metadata: what the next program may want to know, by name.

    Raises:
        ImportError: pylsl is not installed.
    """

    def __init__(self, name: str, labels: Sequence[str], metadata: dict[str, Any] | None = None) -> None:
        pylsl = import_pylsl()
        self.name, self._n_labels = name if name.startswith("dlink-") else f"dlink-{name}", len(labels)
        info = pylsl.StreamInfo(
            self.name, "Classification", len(labels), pylsl.IRREGULAR_RATE, "float32", f"{self.name}-{os.getpid()}"
        )
        info.set_channel_labels(list(labels))
        info.set_channel_types("probability")
        for key, value in (metadata or {}).items():
            info.desc().append_child_value(key, str(value))
        self._outlet = pylsl.StreamOutlet(info)

    def send(self, stamp: float, probabilities: np.ndarray | None) -> None:
        """Send one prediction.

        Args:
            stamp: seconds on LSL's clock.
            probabilities: (num_labels,), or None where there is no telling.
        """
        values = np.full(self._n_labels, np.nan) if probabilities is None else np.asarray(probabilities)
        self._outlet.push_sample(values.tolist(), stamp)


__all__ = ["LslReplay", "PredictionOutlet", "run_replay", "start_replay"]
