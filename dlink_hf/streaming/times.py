# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Time stamps of samples that come at a nominal rate: smoothed, filled in where there is none, doubled ones found."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np


# a stream that lags for this long did lose samples; what was only late has caught up by then
EVIDENCE_SECONDS = 0.25
# of the loop that follows the clock of an amplifier
BANDWIDTH = 0.2
# an amplifier whose clock is farther off has another rate than it says
LARGEST_DRIFT = 0.01
# what goes back by more was set back: less is a stream that caught up
SET_BACK_SECONDS = 0.25
# the same thing is reported once in so many seconds of a stream
SAY_AGAIN_SECONDS = 10.0


def fill_stamps(stamps: np.ndarray, expected: float | None, step: float) -> np.ndarray:
    """Put what the rate says in place of stamps that are not finite.

    Args:
        stamps: (n,) float64 seconds.
        expected: when the first should come; None where nothing came before.
        step: seconds from one sample to the next.

    Returns:
        (n,) float64 seconds, the finite ones as they were; NaN where neither a stamp nor `expected` is known.
    """
    places = np.flatnonzero(np.isfinite(stamps))
    if len(places) == len(stamps):
        return stamps
    numbers = np.arange(len(stamps))
    before = np.searchsorted(places, numbers, side="right") - 1
    if len(places):
        anchors = places[np.maximum(before, 0)]
        filled = stamps[anchors] + (numbers - anchors) * step
    else:
        filled = np.full(len(stamps), np.nan)
    if expected is not None:
        filled = np.where(before < 0, expected + numbers * step, filled)
    return np.where(np.isfinite(stamps), stamps, filled)


class DoubledSamples:
    """Find samples that a stream hands on twice, as some do when a connection is made again.

    Args:
        sfreq: nominal rate in Hz.
        seconds: how far back a sample may have come before.
    """

    def __init__(self, sfreq: float, seconds: float = 1.0) -> None:
        self._most = max(1, round(seconds * sfreq))
        self._stamps, self._values = np.empty(0), np.empty((0, 0))

    def __call__(self, values: np.ndarray, stamps: np.ndarray) -> np.ndarray:
        """Return which of the next samples came before, with the same stamp and the same numbers.

        Args:
            values: (C, n).
            stamps: (n,) seconds, as they came.

        Returns:
            (n,) bool.
        """
        n_old = len(self._stamps)
        stamps = np.concatenate([self._stamps, stamps])
        values = np.concatenate([self._values, values], axis=1) if n_old else np.asarray(values)
        is_double = np.zeros(len(stamps), dtype=bool)
        # time goes on where nothing is doubled
        if not (np.diff(stamps[max(0, n_old - 1) :]) > 0).all():
            _, first, inverse = np.unique(stamps, return_index=True, return_inverse=True)
            first = first[inverse]
            came_before = np.isfinite(stamps) & (first < np.arange(len(stamps)))
            is_double = came_before & (values == values[:, first]).all(axis=0)
        kept = ~is_double
        kept[:n_old] = True
        self._stamps, self._values = stamps[kept][-self._most :], values[:, kept][:, -self._most :]
        return is_double[n_old:]


class SteadyTimes:
    """Smooth the time stamps of one stream.

    Stamps that were taken on arrival jitter by what the transport does, up to tens of milliseconds over Bluetooth.
    They are followed by a loop of second order (Adriaensen 2005, "Using a DLL to filter time"), which learns the true
    rate, within one per cent of the nominal. By itself such a loop would hide lost samples, as it takes a step in the
    stamps for jitter; here a step that lasts a quarter of a second is taken for what it is, and the times make it
    too. A burst that comes late is not a step. Stamps that are even stay as they are. Where the stream's clock is set
    back for good, the times go back once, too; stamps that are not finite get the time that the rate says.

    Args:
        sfreq: nominal rate in Hz.
        say: is told, in a sentence, of stamps that are not finite and of a clock that was set back.

    Attributes:
        n_not_finite (`int`): stamps that were not finite.
    """

    def __init__(self, sfreq: float, say: Callable[[str], None] | None = None) -> None:
        self._say, self.n_not_finite, self._said_at = say, 0, -np.inf
        self._nominal = self._period = 1.0 / sfreq
        self._piece = max(1, round(0.02 * sfreq))
        self._next: float | None = None
        self._last = -np.inf
        self._elapsed = self._jitter = 0.0
        # since which stamp the stream has been off, and by how little at the closest
        self._apart: tuple[float, float] | None = None

    def __call__(self, stamps: np.ndarray) -> np.ndarray:
        """Times of the next samples.

        Args:
            stamps: (n,) float64 seconds, as they came.

        Returns:
            (n,) float64 seconds, never falling but where the clock was set back; NaN before the first finite stamp.
        """
        stamps = np.asarray(stamps, dtype=np.float64)
        n_broken = int((~np.isfinite(stamps)).sum())
        if n_broken:
            self.n_not_finite += n_broken
            if self._say is not None and self._elapsed - self._said_at >= SAY_AGAIN_SECONDS:
                self._said_at = self._elapsed
                self._say(f"{n_broken} time stamps are not finite: their samples are placed by the rate")
            stamps = fill_stamps(stamps, self._next, self._period)
        if not len(stamps) or not np.isfinite(stamps).all():
            return stamps
        if self._next is None:
            self._next = float(stamps[0])
        pieces = []
        for k in range(0, len(stamps), self._piece):
            times, step = self._smooth(stamps[k : k + self._piece])
            if step < -SET_BACK_SECONDS:
                if self._say is not None:
                    self._say(f"the stream's time stamps went back by {-step:.3g} s")
                self._last = -np.inf
            times = np.maximum(np.maximum.accumulate(times), self._last)
            self._last = float(times[-1])
            pieces.append(times)
        return np.concatenate(pieces)

    def _smooth(self, stamps: np.ndarray) -> tuple[np.ndarray, float]:
        """Times of a piece, and by how much they step."""
        n = len(stamps)
        times = self._next + self._period * np.arange(n)
        late = float(np.median(stamps - times))
        bound = max(1.5 * self._nominal, 4 * self._jitter)
        step = self._lasting_step(stamps, late, bound)
        times, late = times + step, late - step
        seconds = n * self._nominal
        self._elapsed += seconds
        # clipped, or a loss would pass for jitter
        share = min(1.0, max(seconds / 2, seconds / self._elapsed))
        self._jitter += share * (min(abs(late), 2 * bound) - self._jitter)
        self._next = float(times[-1]) + self._period
        if abs(late) < bound:
            turn = seconds * max(BANDWIDTH, 2 / max(self._elapsed, 1.0))
            self._next += min(np.sqrt(2) * turn, 0.5) * late
            drift = self._period + turn**2 * late / n - self._nominal
            self._period = self._nominal * (1 + np.clip(drift / self._nominal, -LARGEST_DRIFT, LARGEST_DRIFT))
        return times, step

    def _lasting_step(self, stamps: np.ndarray, late: float, bound: float) -> float:
        """Seconds, a whole number of samples, by which stamps have been off to one side for long; 0 without a step."""
        if abs(late) < bound:
            self._apart = None
            return 0.0
        if self._apart is None or self._apart[1] * late < 0:
            self._apart = (float(stamps[0]), late)
        # counted in stamps: a burst holds many samples, but takes no time
        since, least = self._apart
        self._apart = (since, min(least, late, key=abs))
        if stamps[-1] - since < EVIDENCE_SECONDS:
            return 0.0
        step, self._apart = self._apart[1], None
        return round(step / self._nominal) * self._nominal


class StampedSamples:
    """The samples of a source once each, with times from [`SteadyTimes`]; what is wrong with them is reported.

    Args:
        sfreq: nominal rate in Hz.
        say: is told, in a sentence, of samples that come twice, and what [`SteadyTimes`] says.
    """

    def __init__(self, sfreq: float, say: Callable[[str], None]) -> None:
        self._say = say
        self._find_doubled, self._steady = DoubledSamples(sfreq), SteadyTimes(sfreq, say)

    def __call__(self, values: np.ndarray, stamps: np.ndarray, offset: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
        """Return the next samples and their times.

        Args:
            values: (C, n).
            stamps: (n,) float64 seconds, as they came.
            offset: seconds from the clock of the stamps to that of the times.

        Returns:
            (C, m) and (m,) seconds, m at most n.
        """
        is_double = self._find_doubled(values, stamps)
        if is_double.any():
            self._say(f"{is_double.sum()} samples came twice, with the same time stamp: the second ones are left out")
        values, times = values[:, ~is_double], self._steady(np.asarray(stamps)[~is_double] + offset)
        # before the first stamp there is no time
        return values[:, np.isfinite(times)], times[np.isfinite(times)]


__all__ = ["DoubledSamples", "StampedSamples", "SteadyTimes", "fill_stamps"]
