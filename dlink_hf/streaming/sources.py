# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Live EEG: a stream of Lab Streaming Layer (LSL), or an amplifier that BrainFlow speaks to."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from ..core.checks import one_of
from ..preprocessing.signals import MICROVOLTS_PER_UNIT
from .times import StampedSamples


# a stream that says nothing for longer is looked for again; after the second time its connection is made again
SILENT_SECONDS, STALE_SECONDS = 1.0, 5.0
# streams answer within milliseconds on one machine, within tenths of a second in a network
ANSWER_SECONDS = 0.5
# until the clocks of two computers are compared
CLOCK_SECONDS = 5.0
POLL_SECONDS = 0.004

# what streams write where they mean a unit, in lower case; the numbers are exponents, as some write them
_UNITS = {
    **dict.fromkeys(("uv", "\N{MICRO SIGN}v", "\N{GREEK SMALL LETTER MU}v", "microvolt", "microvolts", "-6"), "uV"),
    **dict.fromkeys(("mv", "millivolt", "millivolts", "-3"), "mV"),
    **dict.fromkeys(("v", "volt", "volts", "0"), "V"),
}


@dataclass
class StreamInfo:
    """What a source says of itself.

    Args:
        name: of the stream.
        ch_names: of its C channels, in their order.
        sfreq: nominal rate in Hz.
        unit: of its numbers, "uV", "mV" or "V"; None where the stream does not say.
    """

    name: str
    ch_names: list[str]
    sfreq: float
    unit: str | None


@dataclass
class Chunk:
    """Samples that came.

    Args:
        values: (C, n) float64, in the stream's own unit.
        times: (n,) float64, seconds on this computer's clock ([`stream_clock`]), even where the stamps jittered.
    """

    values: np.ndarray
    times: np.ndarray


def import_pylsl() -> Any:
    """Return the module pylsl.

    Raises:
        ImportError: it is not installed, or finds no liblsl.
    """
    try:
        import pylsl
    except (ImportError, RuntimeError, OSError) as error:
        raise ImportError(
            f"Streams of LSL need pylsl with its library liblsl: pip install 'dlink-hf[stream]'. ({error})"
        ) from error
    _keep_quiet(pylsl)
    return pylsl


@cache
def _keep_quiet(pylsl: Any) -> None:
    """Keep what liblsl says of its own start out of the terminal, unless the user has configured it."""
    asked = os.environ.get("LSLAPICFG")
    places = ("lsl_api.cfg", Path.home() / "lsl_api" / "lsl_api.cfg", "/etc/lsl_api/lsl_api.cfg")
    if not asked and not any(Path(place).is_file() for place in places):
        # errors only
        pylsl.set_config_content("[log]\nlevel = -2\n")


def stream_clock() -> float:
    """Seconds on the clock of all time stamps: that of LSL, or the system's steady clock where there is no pylsl."""
    try:
        return import_pylsl().local_clock()
    except ImportError:
        return time.monotonic()


def _given_unit(unit: str | None) -> str | None:
    return None if unit is None else one_of("unit", unit, MICROVOLTS_PER_UNIT)


class LslSource:
    """An EEG stream of LSL in this network.

    Samples are handed on as they come, all and in order, a late burst too. When the source dies and comes back, it is
    found again (by its `source_id`, or, where that is another, by name and type), and `say` tells what is missing.

    Time stamps are brought to this computer's clock by LSL and smoothed by `SteadyTimes`, not by LSL's own
    dejittering, which would hide lost samples for minutes.

    Args:
        name: of the stream; any by default.
        stream_type: its type; None for any.
        source_id: its source id; any by default.
        timeout: seconds to look for it.
        say: is told, in a sentence, when the stream falls silent, is lost, and is back.
        ch_names: the C channels' names, for a stream that names none.
        unit: "uV", "mV" or "V", for a stream that does not say it, or says it wrongly.

    Attributes:
        info ([`StreamInfo`]): its C channels are those of type EEG, where the stream says which these are.

    Raises:
        ImportError: pylsl is not installed.
        TimeoutError: the stream was found, but does not answer.
        ValueError: no stream matches, or several do; it has no regular rate, no numbers, no channel names, or several
            units.
    """

    def __init__(
        self,
        name: str | None = None,
        stream_type: str | None = "EEG",
        source_id: str | None = None,
        timeout: float = 10.0,
        say: Callable[[str], None] = print,
        ch_names: Sequence[str] | None = None,
        unit: str | None = None,
    ) -> None:
        self._pylsl = import_pylsl()
        self._wanted = {"name": name, "type": stream_type, "source_id": source_id}
        self._say = say
        self._ch_names = None if ch_names is None else list(ch_names)
        self._unit = _given_unit(unit)
        self._finder: Any = None
        self._last_time: float | None = None
        self._connect(self._find(timeout), timeout)

    def pull(self, timeout: float) -> Chunk | None:
        """Return the samples that have come since the last call.

        Args:
            timeout: seconds to wait for the first.

        Returns:
            them, or None where there were none.

        Raises:
            ValueError: the stream came back with other channels, another rate, or another unit; or it was closed.
        """
        values = stamps = ()
        if self._inlet is None and self._finder is None:
            raise ValueError("This source was closed: make a new one.")
        if self._inlet is None:
            self._reconnect(timeout)
        else:
            try:
                values, stamps = self._inlet.pull_chunk(timeout, max_samples=self._most, min_samples=1, as_numpy=True)
            except self._pylsl.util.LostError:
                self._inlet = None
                self._fell_silent("was lost")
        if not len(stamps):
            self._watch()
            return None
        values, times = self._stamped(values[:, self._picks].T, stamps)
        if not len(times):
            return None
        self._heard(times)
        return Chunk(np.ascontiguousarray(values, dtype=np.float64), times)

    def close(self) -> None:
        """Leave the stream."""
        self._inlet = self._finder = None

    def __enter__(self) -> LslSource:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _find(self, timeout: float) -> Any:
        """The one stream that is wanted, among all that can be seen."""
        finder = self._pylsl.ContinuousResolver()
        end = time.monotonic() + timeout
        found: list[Any] = []
        while not found and time.monotonic() < end:
            time.sleep(0.05)
            found = _fitting(finder.results(), self._wanted)
        asked = ", ".join(f"{key} {value!r}" for key, value in self._wanted.items() if value is not None) or "any"
        if not found:
            there = finder.results()
            listed = (
                f"There are:\n{_listed(there)}" if there else "There is none at all: has its program been started?"
            )
            raise ValueError(
                f"No LSL stream was found within {timeout:g} s ({asked}). {listed}\nA stream on another machine is "
                "seen only in the same network, where no firewall keeps UDP port 16571 and TCP ports 16572-16604."
            )
        time.sleep(ANSWER_SECONDS)
        found = _fitting(finder.results(), self._wanted)
        if len(found) > 1:
            raise ValueError(
                f"{len(found)} LSL streams fit ({asked}):\n{_listed(found)}\nSay which, by name or source_id."
            )
        return found[0]

    def _connect(self, found: Any, timeout: float) -> None:
        """Open a stream, and check that it is the one that we have."""
        pylsl = self._pylsl
        # not recovered by LSL: it does not look whether what came back has the same channels
        inlet = pylsl.StreamInlet(found, recover=False, processing_flags=pylsl.proc_clocksync)
        try:
            described = inlet.info(timeout)
            info, picks = _described(described, self._ch_names)
            inlet.open_stream(timeout)
            # the first estimate takes most of a second; samples that come meanwhile are kept
            inlet.time_correction(max(timeout, CLOCK_SECONDS))
        except (pylsl.util.TimeoutError, pylsl.util.LostError) as error:
            raise TimeoutError(f"The LSL stream {found.name()!r} was found but does not answer: {error}.") from error
        if self._unit is not None:
            info = replace(info, unit=self._unit)
        known = getattr(self, "info", info)
        for what, before, now in (
            ("other channels", known.ch_names, info.ch_names),
            ("another rate", known.sfreq, info.sfreq),
            ("another unit", known.unit, info.unit),
        ):
            if before != now:
                raise ValueError(
                    f"The stream {info.name!r} came back with {what}: {_plain(now)}, before: "
                    f"{_plain(before)}. Predictions would be wrong; start again if this is meant."
                )
        self.info, self._picks, self._inlet = info, picks, inlet
        self._identity = {key: getattr(described, key)() for key in ("name", "type", "source_id")}
        self._uid = described.uid()
        self._most = max(1024, int(10 * info.sfreq))
        self._stamped = StampedSamples(info.sfreq, self._say)
        self._finder = None
        self._opened = time.monotonic()
        self._heard_at = getattr(self, "_heard_at", self._opened)
        self._is_silent = getattr(self, "_is_silent", False)

    def _watch(self) -> None:
        """Nothing came: say so after a second, and look for a stream that took this one's place."""
        if self._inlet is None:
            return
        seconds = time.monotonic() - max(self._opened, self._heard_at)
        if seconds > SILENT_SECONDS and self._finder is None:
            self._fell_silent("is silent")
        if self._finder is not None:
            others = [one for one in self._candidates() if one.uid() != self._uid]
            if others or (seconds > STALE_SECONDS and self._candidates()):
                self._reconnect(0.0)

    def _fell_silent(self, what: str) -> None:
        if not self._is_silent:
            self._say(f"the stream {self.info.name!r} {what}: waiting for it")
        self._is_silent = True
        self._finder = self._finder or self._pylsl.ContinuousResolver(forget_after=1.0)

    def _heard(self, times: np.ndarray) -> None:
        """Samples came: after a silence, say what is missing."""
        if self._is_silent:
            silent, period = time.monotonic() - self._heard_at, 1 / self.info.sfreq
            missing = 0 if self._last_time is None else round((times[0] - self._last_time) / period) - 1
            lost = f"{missing} samples ({missing * period:.2f} s) are missing" if missing > 0 else "none is missing"
            self._say(f"the stream {self.info.name!r} is back after {silent:.2f} s: {lost}")
        self._is_silent, self._finder = False, None
        self._last_time, self._heard_at = float(times[-1]), time.monotonic()

    def _candidates(self) -> list[Any]:
        """Streams that may be the one that was lost, the likeliest first: a restarted one before the one that died."""
        results = self._finder.results()
        # a source that draws a new id at every start can be known only by its name and type, unless an id was asked
        by_name = {**self._identity, "source_id": self._wanted["source_id"]}
        found = _fitting(results, self._identity) or _fitting(results, by_name)
        return sorted(found, key=lambda one: one.uid() == self._uid)

    def _reconnect(self, timeout: float) -> None:
        end = time.monotonic() + timeout
        while not (found := self._candidates()) and time.monotonic() < end:
            time.sleep(min(0.02, timeout))
        new = [one for one in found if one.uid() != self._uid]
        if len(new) > 1:
            raise ValueError(
                f"Several LSL streams may be {self.info.name!r} that was lost:\n{_listed(new)}\nStart again, and say "
                "which by source_id."
            )
        if found:
            # a stream that is gone is listed for a while: then the next call tries again
            with contextlib.suppress(TimeoutError):
                self._connect(found[0], ANSWER_SECONDS)


def _fitting(found: Sequence[Any], wanted: dict[str, str | None]) -> list[Any]:
    """Streams whose name, type and source id are those that are wanted, each outlet once."""
    fitting = [one for one in found if all(value in (None, getattr(one, key)()) for key, value in wanted.items())]
    return list({one.uid(): one for one in fitting}.values())


def _listed(found: Sequence[Any]) -> str:
    rows = {
        one.uid(): f"  name {one.name()!r}, type {one.type()!r}, source_id {one.source_id()!r}, "
        f"{one.channel_count()} channels, {one.nominal_srate():g} Hz, on {one.hostname()}"
        for one in found
    }
    return "\n".join(sorted(rows.values()))


def _plain(value: Any) -> str:
    return ", ".join(value) if isinstance(value, list) else f"{value:g} Hz" if isinstance(value, float) else f"{value}"


def _described(found: Any, ch_names: list[str] | None) -> tuple[StreamInfo, list[int]]:
    """What a stream says of itself, and which of its channels these are: those of type EEG where it has types.

    Raises:
        ValueError: it is not a stream of regular numbers, its channels have no names, or their units differ.
    """
    name, rate, count = found.name(), found.nominal_srate(), found.channel_count()
    if rate <= 0:
        raise ValueError(
            f"The LSL stream {name!r} has an irregular rate (nominal rate {rate:g}): it is a stream of events, not of "
            "EEG. Name the stream of the amplifier."
        )
    if found.channel_format() == import_pylsl().cf_string:
        raise ValueError(f"The LSL stream {name!r} holds texts, not numbers. Name the stream of the amplifier.")
    labels, kinds, units = ([None] * count if found.desc().child("channels").empty() else _column(found, key, count)
                            for key in ("label", "type", "unit"))  # fmt: skip
    if ch_names is not None:
        if len(ch_names) != count:
            raise ValueError(f"{len(ch_names)} ch_names for the {count} channels of the LSL stream {name!r}.")
        labels = ch_names
    picks = [k for k, kind in enumerate(kinds) if kind is None or kind.lower() == "eeg"]
    if not picks:
        raise ValueError(
            f"The LSL stream {name!r} has no channel of type EEG, only {', '.join(sorted(set(map(str, kinds))))}."
        )
    unnamed = [str(k + 1) for k in picks if not labels[k]]
    if unnamed:
        raise ValueError(
            f"The LSL stream {name!r} does not say which electrodes its {count} channels are (no label for "
            f"{', '.join(unnamed)}). Say it: ch_names, comma separated in the order of the channels."
        )
    said = sorted({units[k] for k in picks if units[k]})
    known = {_UNITS.get(unit.strip().lower()) for unit in said}
    if len(known) > 1 or (known and not all(units[k] for k in picks)):
        raise ValueError(f"The EEG channels of the LSL stream {name!r} have different units: {', '.join(said)}.")
    return StreamInfo(name, [labels[k] for k in picks], float(rate), next(iter(known), None)), picks


def _column(found: Any, key: str, count: int) -> list[str | None]:
    """An entry of each channel's description; None where a channel has none."""
    values: list[str | None] = []
    channel = found.desc().child("channels").child("channel")
    while not channel.empty():
        values.append(channel.child_value(key).strip() or None)
        channel = channel.next_sibling("channel")
    if len(values) != count:
        raise ValueError(
            f"The LSL stream {found.name()!r} describes {len(values)} channels, but sends {count}: "
            "correct the program that sends it."
        )
    return values


class BrainFlowSource:
    """An amplifier that BrainFlow speaks to; its EEG channels, in microvolts.

    Args:
        board: name of the board in BrainFlow's `BoardIds`, such as "CYTON_BOARD" or "SYNTHETIC_BOARD".
        say: is told, in a sentence, when the board falls silent and is back.
        ch_names: the C channels' names, for a board without names, or to say which electrodes are plugged in.
        **parameters: what the board needs, by BrainFlow's names: `serial_port`, `mac_address`, `ip_address` ...

    Attributes:
        info ([`StreamInfo`]): of the board's C EEG channels.

    Raises:
        ImportError: brainflow is not installed.
        ValueError: there is no such board or parameter, the board does not answer, or its channels have no names.
    """

    def __init__(
        self,
        board: str = "SYNTHETIC_BOARD",
        say: Callable[[str], None] = print,
        ch_names: Sequence[str] | None = None,
        **parameters: Any,
    ) -> None:
        try:
            from brainflow.board_shim import BoardIds, BoardShim, BrainFlowError, BrainFlowInputParams
        except ImportError as error:
            raise ImportError(
                f"Boards of BrainFlow need the package brainflow: pip install 'dlink-hf[brainflow]'. ({error})"
            ) from error
        if board not in BoardIds.__members__:
            raise ValueError(f"BrainFlow has no board {board!r}. It has: {', '.join(sorted(BoardIds.__members__))}.")
        board_id = BoardIds[board].value
        inputs = BrainFlowInputParams()
        for name, value in parameters.items():
            if name not in vars(inputs):
                raise ValueError(
                    f"BrainFlow knows no {name!r} of a board; it knows {', '.join(sorted(vars(inputs)))}."
                )
            if value is not None:
                setattr(inputs, name, value)
        self._say = say
        self._rows = BoardShim.get_eeg_channels(board_id)
        self._stamps = BoardShim.get_timestamp_channel(board_id)
        names = list(ch_names) if ch_names is not None else self._names(BoardShim, BrainFlowError, board_id)
        if len(names) != len(self._rows):
            raise ValueError(
                f"{board} has {len(self._rows)} EEG channels and {len(names)} names. Say which electrodes they are: "
                "ch_names, comma separated in the order of the channels."
            )
        self.info = StreamInfo(board, names, float(BoardShim.get_sampling_rate(board_id)), "uV")
        self._stamped = StampedSamples(self.info.sfreq, say)
        BoardShim.disable_board_logger()
        self._board = BoardShim(board_id, inputs)
        try:
            self._board.prepare_session()
            self._board.start_stream()
        except BrainFlowError as error:
            self.close()
            raise ValueError(
                f"The board {board} does not answer: {error}. Is it switched on, and are its parameters "
                f"({', '.join(f'{key}={value!r}' for key, value in parameters.items()) or 'none were given'}) right?"
            ) from error
        self._heard, self._is_silent = time.monotonic(), False

    @staticmethod
    def _names(shim: Any, error: type[Exception], board_id: int) -> list[str]:
        try:
            return list(shim.get_eeg_names(board_id))
        except error:
            return []

    def pull(self, timeout: float) -> Chunk | None:
        """Return the samples that have come since the last call.

        Args:
            timeout: seconds to wait for the first.

        Returns:
            them, or None where there were none.
        """
        end = time.monotonic() + timeout
        while not self._board.get_board_data_count():
            if time.monotonic() - self._heard > SILENT_SECONDS and not self._is_silent:
                self._say(f"the board {self.info.name} is silent: waiting for it")
                self._is_silent = True
            if time.monotonic() >= end:
                return None
            time.sleep(min(POLL_SECONDS, timeout))
        data = self._board.get_board_data()
        if self._is_silent:
            self._say(f"the board {self.info.name} is back after {time.monotonic() - self._heard:.2f} s")
        self._heard, self._is_silent = time.monotonic(), False
        # BrainFlow stamps by the time of day
        values, times = self._stamped(data[self._rows], data[self._stamps], stream_clock() - time.time())
        return Chunk(np.ascontiguousarray(values, dtype=np.float64), times) if len(times) else None

    def close(self) -> None:
        """Leave the board."""
        board, self._board = self._board, None
        if board is not None and board.is_prepared():
            board.release_session()

    def __enter__(self) -> BrainFlowSource:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


__all__ = ["BrainFlowSource", "Chunk", "LslSource", "StreamInfo", "import_pylsl", "stream_clock"]
