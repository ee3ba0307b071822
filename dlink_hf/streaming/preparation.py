# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""What the feature extractor does to a recording, done to a stream: causal, sample by sample, with a known delay."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import mne
import numpy as np

from ..core.checks import one_of, positive
from ..preprocessing.fir import resampling_filter
from ..preprocessing.preparation import EEGPreparation
from ..preprocessing.signals import MICROVOLTS_PER_UNIT, check_pass_band


PHASES = ("linear", "minimum")


class StreamPreparation:
    """The channels, unit, rate and filters of a feature extractor, for samples that come in as they are measured.

    With `phase="linear"` the filters are those of the feature extractor itself, and the samples that come out are
    those that it would make of the recording, `delay` seconds after they were measured: half the length of each
    filter has to come in first; a high-pass of 0.5 Hz waits 3.3 s. The first samples are exact too, by the same mirror
    image of the beginning. With `phase="minimum"` the filters have the same gain at every frequency and hardly wait
    (`delay` is only that of the resampling), but turn the phases, which a model trained on the others has not seen:
    compare its scores before you use it.

    Nothing is padded: no sample comes out before its filters have seen what they need.

    Args:
        extractor ([`EEGFeatureExtractor`]): its channels, rate and filters are used, not its windows and alignment.
        ch_names: names of the stream's C_in channels.
        sfreq: sampling rate of the stream in hertz.
        unit: of the stream's numbers, "uV", "mV" or "V".
        phase: "linear" or "minimum".

    Attributes:
        ch_names (`list[str]`): the C channels that come out, by their canonical names.
        picks (`list[int]`): which of the stream's channels these are.
        sfreq (`float`): the rate that comes out, in hertz.
        delay (`float`): seconds from a sample's measurement to the moment that it can come out.

    Raises:
        ValueError: channels are missing or unknown, as the feature extractor says; or an argument is out of range.

    Example:

    ```python
    >>> from dlink_hf import StreamPreparation

    >>> preparation = StreamPreparation(extractor, ch_names=["Oz", "O1", "O2"], sfreq=256.0, unit="uV")
    >>> prepared = preparation.push(samples)  # (3, n) microvolts at 256 Hz -> (3, m) microvolts at extractor.sfreq
    ```
    """

    def __init__(
        self,
        extractor: EEGPreparation,
        ch_names: Sequence[str],
        sfreq: float,
        unit: str = "uV",
        phase: str = "linear",
    ) -> None:
        one_of("unit", unit, MICROVOLTS_PER_UNIT)
        one_of("phase", phase, PHASES)
        if isinstance(ch_names, str):
            raise ValueError(f"ch_names is a list of channel names, such as ['C3', 'Cz'], got the text {ch_names!r}.")
        positive("sfreq", sfreq, "hertz")
        check_pass_band(sfreq, extractor.l_freq, extractor.h_freq, "the stream")
        self.picks, self.ch_names = extractor.pick_channels(list(ch_names), ["eeg"] * len(ch_names), [], "the stream")
        self.sfreq, self.source_sfreq, self.unit, self.phase = extractor.sfreq, float(sfreq), unit, phase
        self._n_chans_in = len(ch_names)
        self._to_microvolts = MICROVOLTS_PER_UNIT[unit]
        self._filters = _filters_of(extractor, phase)
        self._resampling = None
        if not np.isclose(sfreq, extractor.sfreq, rtol=1e-6):
            self._resampling = resampling_filter(sfreq, extractor.sfreq)
        self.reset()

    @property
    def delay(self) -> float:
        """Seconds from a sample's measurement to the moment that it can come out."""
        return sum(stage.delay for stage in self._stages)

    def reset(self) -> None:
        """Forget all samples: what comes next is the beginning of a stream."""
        self._stages: list[_Resampler | _Filter] = []
        if self._resampling is not None:
            self._stages.append(_Resampler(*self._resampling, self.source_sfreq))
        self._stages += [_Filter(taps, self.sfreq, self.phase) for _, taps in self._filters]

    def push(self, samples: np.ndarray) -> np.ndarray:
        """Take the next samples, give those that are ready.

        Args:
            samples: (C_in, n) of any n, in the stream's unit and rate.

        Returns:
            (C, m) float64, microvolts at `sfreq`; m may be 0. All outputs one after the other are the prepared
            recording.

        Raises:
            ValueError: another number of channels, or a number that is not finite.
        """
        samples = np.asarray(samples, dtype=np.float64)
        if samples.ndim != 2 or len(samples) != self._n_chans_in:
            raise ValueError(
                f"Samples of this stream are ({self._n_chans_in}, n), a row for each of its channels, got shape "
                f"{samples.shape}."
            )
        values = samples[self.picks]
        if not np.isfinite(values).all():
            broken = [name for name, row in zip(self.ch_names, values, strict=True) if not np.isfinite(row).all()]
            raise ValueError(
                f"The samples hold numbers that are not finite, in {', '.join(broken)}: a filter would never get rid "
                "of them. Leave them out and reset(), or bridge them."
            )
        values = values * self._to_microvolts
        for stage in self._stages:
            if values.shape[1]:
                values = stage.push(values)
        return values

    def coefficients(self) -> dict[str, Any]:
        """Return all numbers that another implementation needs, such as firmware; JSON values.

        Returns:
            `source_sfreq`, `sfreq` (hertz), `ch_names`, `delay_seconds`; `resample`, None or `up`, `down` and `taps`
            of a polyphase filter of odd length, centred: y[m] = sum_k x[k] taps[(len(taps) - 1) / 2 + m down - k up];
            `fir`, a list of filters in their order, each `name` and `taps`: y[n] = sum_k x[n - k] taps[k], which is
            late by (len(taps) - 1) / 2 samples where `phase` is "linear".
        """
        resampling = None
        if self._resampling is not None:
            up, down, kernel = self._resampling
            resampling = {"up": up, "down": down, "taps": (up * kernel).tolist()}
        return {
            "source_sfreq": self.source_sfreq,
            "sfreq": self.sfreq,
            "ch_names": list(self.ch_names),
            "unit": "uV",
            "phase": self.phase,
            "delay_seconds": self.delay,
            "resample": resampling,
            "fir": [{"name": name, "taps": taps.tolist()} for name, taps in self._filters],
        }


def _filters_of(extractor: EEGPreparation, phase: str) -> list[tuple[str, np.ndarray]]:
    """Names and taps of the notch and the band-pass of this feature extractor, in their order."""
    filters = extractor.filters()
    if phase == "linear":
        return filters
    # the same gains by MNE's minimum-phase designs, of as many taps
    sfreq, options = extractor.sfreq, {"phase": phase, "verbose": "error"}
    bands: dict[str, dict[str, Any]] = {"band-pass": {"l_freq": extractor.l_freq, "h_freq": extractor.h_freq}}
    if extractor.notch_freq is not None:
        # one filter with a stop band for each frequency, as mne.filter.notch_filter makes it
        freqs = np.atleast_1d(extractor.notch_freq).astype(float)
        reach = freqs / 400 + 0.5
        widths = {"l_trans_bandwidth": 0.5, "h_trans_bandwidth": 0.5}
        bands["notch"] = {"l_freq": freqs + reach, "h_freq": freqs - reach, **widths}
    return [(name, mne.filter.create_filter(None, sfreq, **bands[name], **options)) for name, _ in filters]


class _Resampler:
    """`dlink_hf.data.signals.resample` for a stream: (C, n) at `sfreq` in, (C, m) out."""

    def __init__(self, up: int, down: int, kernel: np.ndarray, sfreq: float) -> None:
        self.up, self.down, self.half = up, down, len(kernel) // 2
        # a row of taps for each phase, newest sample first
        n_taps = -(-len(kernel) // up)
        padded = np.zeros(n_taps * up)
        padded[: len(kernel)] = up * kernel
        self.bank = padded.reshape(n_taps, up).T
        self.n_mirrored = self.half // up + 1
        self.delay = self.half / up / sfreq
        self.buffer: np.ndarray | None = None
        self.offset: np.ndarray | None = None
        self.first = self.n_out = 0

    def push(self, values: np.ndarray) -> np.ndarray:
        if self.offset is None:
            self.offset = values[:, :1].copy()
        values = values - self.offset
        self.buffer = values if self.buffer is None else np.concatenate([self.buffer, values], axis=1)
        if self.first == 0 and self.n_out == 0:
            if self.buffer.shape[1] <= self.n_mirrored:
                return values[:, :0]
            self.buffer, self.first = _mirrored(self.buffer, self.n_mirrored), -self.n_mirrored
        # output m reads the samples up to (half + m down) // up
        n_in = self.first + self.buffer.shape[1]
        end = max(self.n_out, (n_in * self.up - 1 - self.half) // self.down + 1)
        newest, phase = np.divmod(self.half + np.arange(self.n_out, end) * self.down, self.up)
        n_taps = self.bank.shape[1]
        reads = newest[:, None] - np.arange(n_taps) - self.first
        result = np.einsum("cml,ml->cm", self.buffer[:, reads], self.bank[phase]) + self.offset
        self.n_out = end
        oldest = (self.half + end * self.down) // self.up - n_taps + 1
        self.buffer, self.first = self.buffer[:, oldest - self.first :], oldest
        return result


class _Filter:
    """An FIR filter for a stream: (C, n) in, (C, m) out; of linear phase, mirrored at the beginning as MNE does."""

    def __init__(self, taps: np.ndarray, sfreq: float, phase: str) -> None:
        self.taps = taps
        self.n_late = len(taps) // 2 if phase == "linear" else 0
        self.delay = self.n_late / sfreq
        self.before: np.ndarray | None = None
        self.waiting: np.ndarray | None = None

    def push(self, values: np.ndarray) -> np.ndarray:
        n_dropped = 0
        if self.before is None:
            values = values if self.waiting is None else np.concatenate([self.waiting, values], axis=1)
            if values.shape[1] <= self.n_late:
                self.waiting = values
                return values[:, :0]
            # as if the first value (of the mirror image, where there is one) had been there for ever
            values, n_dropped = _mirrored(values, self.n_late), 2 * self.n_late
            self.before = np.repeat(values[:, :1], len(self.taps) - 1, axis=1)
            self.waiting = None
        values = np.concatenate([self.before, values], axis=1)
        self.before = values[:, values.shape[1] - len(self.taps) + 1 :]
        return np.stack([np.convolve(row, self.taps, "valid") for row in values])[:, n_dropped:]


def _mirrored(values: np.ndarray, n: int) -> np.ndarray:
    """Values (C, T), before them their first n turned about the first one: (C, n + T)."""
    return np.concatenate([2 * values[:, :1] - values[:, n:0:-1], values], axis=1)


def filter_coefficients(
    extractor: EEGPreparation, sfreq: float, ch_names: Sequence[str] | None = None, phase: str = "linear"
) -> dict[str, Any]:
    """Return the coefficients of a feature extractor's filters for a stream; see [`StreamPreparation.coefficients`].

    Args:
        extractor ([`EEGFeatureExtractor`]): whose filters.
        sfreq: sampling rate of the stream in hertz.
        ch_names: the channels that the model reads; those of the extractor by default.
        phase: "linear" or "minimum".

    Raises:
        ValueError: as [`StreamPreparation`]; or neither the extractor nor the call names channels.
    """
    names = ch_names or extractor.ch_names
    if not names:
        raise ValueError("Which channels? This feature extractor takes any: give ch_names=[...].")
    strict = copy.copy(extractor)
    strict.ch_names, strict.missing_channels = list(names), "error"
    return StreamPreparation(strict, list(names), sfreq, phase=phase).coefficients()


__all__ = ["PHASES", "StreamPreparation", "filter_coefficients"]
