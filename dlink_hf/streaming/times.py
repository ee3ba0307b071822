# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Even time stamps for samples that come at a nominal rate: jitter is smoothed away, lost samples stay visible."""

from __future__ import annotations

import numpy as np


# a stream that lags for this long did lose samples; what was only late has caught up by then
EVIDENCE_SECONDS = 0.25
# of the loop that follows the clock of an amplifier
BANDWIDTH = 0.2
# an amplifier whose clock is farther off has another rate than it says
LARGEST_DRIFT = 0.01


class SteadyTimes:
    """Smooth the time stamps of one stream.

    Stamps that were taken on arrival jitter by what the transport does, up to tens of milliseconds over Bluetooth.
    They are followed by a loop of second order (Adriaensen 2005, "Using a DLL to filter time"), which learns the true
    rate, within one per cent of the nominal. By itself such a loop would hide lost samples, as it takes a step in the
    stamps for jitter; here a step that lasts a quarter of a second is taken for what it is, and the times make it
    too. A burst that comes late is not a step. Stamps that are even stay as they are.

    Args:
        sfreq: nominal rate in Hz.
    """

    def __init__(self, sfreq: float) -> None:
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
            (n,) float64 seconds, never falling.
        """
        stamps = np.asarray(stamps, dtype=np.float64)
        if self._next is None and len(stamps):
            self._next = float(stamps[0])
        pieces = [self._smooth(stamps[k : k + self._piece]) for k in range(0, len(stamps), self._piece)]
        if not pieces:
            return stamps
        times = np.maximum(np.maximum.accumulate(np.concatenate(pieces)), self._last)
        self._last = float(times[-1])
        return times

    def _smooth(self, stamps: np.ndarray) -> np.ndarray:
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
        return times

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


__all__ = ["SteadyTimes"]
