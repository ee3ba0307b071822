# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""A long recording, prepared stretch by stretch as it is asked for: a day of EEG in the memory of some minutes."""

from __future__ import annotations

import mne
import numpy as np

from ..core.checks import one_of
from .fir import filtered, resample, resampling_filter
from .preparation import EEGPreparation
from .recordings import source_name
from .signals import MICROVOLTS_PER_UNIT, check_long_enough, check_pass_band, has_filter_breaks
from .units import header_units_of


# Samples of all channels from which on a recording is prepared in stretches: 160 MB as MNE holds them.
LONG_SAMPLES = 20_000_000
# Seconds of a stretch; those whose amplitude is judged, evenly spread.
STRETCH_SECONDS, JUDGED_SECONDS = 120.0, 300


def is_long(raw: mne.io.BaseRaw) -> bool:
    """Return whether a recording is better prepared in stretches: it is long, and its filters run through.

    Args:
        raw: As it was opened; one whose samples are in memory already is not.
    """
    return not raw.preload and not has_filter_breaks(raw) and raw.n_times * len(raw.ch_names) > LONG_SAMPLES


class StretchedRecording:
    """What `EEGFeatureExtractor.prepare_raw` gives of a recording, but for how much of it is held.

    The samples are those of the whole to 1e-3 uV: resampling and filters see as much of the signal around a stretch
    as they are long. The recording is read once more beforehand, to judge it and to take its offset.

    Args:
        extractor: says how the recording is prepared.
        raw: the recording, its samples not read yet.
        unit: unit of its numbers, "uV", "mV" or "V"; the extractor's own, else volts.
        is_filtered: whether the signal has been filtered already as the extractor would.

    Attributes:
        ch_names: the C channels, by their canonical names.
        n_times: samples at the extractor's rate.
        annotations, first_time, info: those of the recording (`info` at its own rate).

    Raises:
        ValueError: as `prepare_raw` does.
    """

    def __init__(
        self, extractor: EEGPreparation, raw: mne.io.BaseRaw, unit: str | None = None, is_filtered: bool = False
    ) -> None:
        self._unit = one_of("unit", unit or extractor.unit or "V", tuple(MICROVOLTS_PER_UNIT))
        self._extractor, self._is_filtered = extractor, is_filtered
        self._source, self._filters = source_name(raw), extractor.filters()
        self._rate = float(raw.info["sfreq"])
        check_pass_band(self._rate, extractor.l_freq, extractor.h_freq, self._source)
        picks, names = extractor.pick_raw_channels(raw, self._source)
        originals = [raw.ch_names[i] for i in picks]
        self._raw = raw.copy().reorder_channels(originals)
        said = header_units_of(raw, originals, names)
        kept = self._judge(names, said)
        self.ch_names = [names[i] for i in kept]
        self._raw.reorder_channels([originals[i] for i in kept])
        self._offset = self._offset[kept]
        self.annotations, self.first_time, self.filenames = raw.annotations, raw.first_time, raw.filenames
        self.info = raw.info
        if np.isclose(self._rate, extractor.sfreq, rtol=1e-6):
            self._up = self._down = 1
            self._taps = 0
        else:
            self._up, self._down, kernel = resampling_filter(self._rate, extractor.sfreq)
            self._taps = len(kernel)
        self.n_times = raw.n_times * self._up // self._down
        self._first = self._last = 0
        self._held = np.empty((len(self.ch_names), 0))

    def _judge(self, names: list[str], said: dict[str, str]) -> list[int]:
        """Read all samples once: refuse what no EEG has, take the mean; return the places of the channels kept."""
        raw, rate = self._raw, self._rate
        second = max(2, round(rate))
        step = max(1, raw.n_times // second // JUDGED_SECONDS)
        total, judged = np.zeros(len(names)), []
        for start in range(0, raw.n_times, 60 * second):
            values = raw.get_data(start=start, stop=min(start + 60 * second, raw.n_times))
            if not np.isfinite(values).all():
                broken = ~np.isfinite(values)
                first = (start + np.flatnonzero(broken.any(axis=0))[0]) / rate
                where = ", ".join(name for name, bad in zip(names, broken.any(axis=1), strict=True) if bad)
                raise ValueError(
                    f"{self._source} holds samples that are NaN or infinite, in {where}, from {first:g} s on: cut "
                    "that stretch out (raw.crop), interpolate it, or drop the channels"
                )
            total += values.sum(axis=1)
            blocks = values[:, : values.shape[1] // second * second].reshape(len(names), -1, second)
            chosen = [i for i in range(blocks.shape[1]) if (start // second + i) % step == 0]
            judged.append(blocks[:, chosen].reshape(len(names), -1))
        self._offset = total / raw.n_times
        return self._extractor._judged(np.concatenate(judged, axis=1), names, rate, self._unit, self._source, said)

    def get_data(self, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Return prepared samples (C, stop - start) in volts, by their number at the extractor's rate."""
        stop = self.n_times if stop is None else min(stop, self.n_times)
        if not self._first <= start <= stop <= self._last:
            stretch = round(STRETCH_SECONDS * self._extractor.sfreq)
            self._held = np.empty((len(self.ch_names), 0))
            self._held = self._prepare(start, max(stop, min(start + stretch, self.n_times)))
            self._first, self._last = start, start + self._held.shape[1]
        return self._held[:, start - self._first : stop - self._first]

    def _prepare(self, start: int, stop: int) -> np.ndarray:
        """Samples `start` to `stop` as if the whole had been prepared."""
        extractor, up, down = self._extractor, self._up, self._down
        margin = 0 if self._is_filtered else sum(len(taps) for _, taps in self._filters)
        first, last = max(0, start - margin), min(self.n_times, stop + margin)
        reach = self._taps // up + 2 * down
        source_first = max(0, first * down // up - reach) // down * down
        source_last = min(self._raw.n_times, -(-last * down // up) + reach)
        if last == self.n_times:
            source_last = self._raw.n_times
        values = self._raw.get_data(start=source_first, stop=source_last)
        values *= MICROVOLTS_PER_UNIT[self._unit] / MICROVOLTS_PER_UNIT["V"]
        if self._taps:
            offset = self._offset[:, None] * (MICROVOLTS_PER_UNIT[self._unit] / MICROVOLTS_PER_UNIT["V"])
            values = resample(values, self._rate, extractor.sfreq, offset)
        begin = source_first * up // down
        values = values[:, first - begin : last - begin]
        if not self._is_filtered:
            for _, taps in self._filters:
                check_long_enough(values.shape[-1], taps, self._source)
                values = filtered(values, taps)
        return values[:, start - first : stop - first].copy()


__all__ = ["LONG_SAMPLES", "StretchedRecording", "is_long"]
