# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""How a recording is prepared: settings, channels, unit, rate, filters, windows; without torch and transformers."""

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import mne
import numpy as np

from ..core.checks import one_of
from ..core.electrodes import channel_positions
from .alignment import ALIGNMENTS, MIN_SECONDS, Alignment, AlignmentSession, make_alignment
from .alignment_mixin import AlignmentMixin
from .artefacts import marked_spans, overlapping_spans
from .channels import pick_channels, samples_are_equal
from .cutting import cut
from .fir import filtered, resample
from .recordings import as_recording, read_recording, samples_of, source_name
from .settings import as_onsets, canonical_names, positive_int, positive_number
from .signals import (
    MICROVOLTS_PER_UNIT,
    as_samples,
    check_long_enough,
    check_pass_band,
    check_samples,
    filter_between_joins,
    filters_of,
    has_filter_breaks,
)
from .units import check_finite, header_units_of, outlying_channels


logger = logging.getLogger(__name__)

# What transformers writes into, or expects to read from, a saved feature extractor besides its own settings.
_FOREIGN_KEYS = {"feature_extractor_type", "processor_class", "auto_map"}


class EEGPreparation(AlignmentMixin):
    """What [`EEGFeatureExtractor`] and [`EEGReader`] have in common: all but how they are loaded and saved.

    The arguments and what happens to a recording are those of [`EEGFeatureExtractor`].

    Raises:
        TypeError: For an argument of a wrong type or an unknown name.
        ValueError: For a value out of range; the message names the argument.
    """

    def __init__(
        self,
        ch_names: Sequence[str] | None = None,
        sfreq: float = 200.0,
        n_times: int = 1000,
        stride: int | None = None,
        l_freq: float | None = None,
        h_freq: float | None = None,
        notch_freq: float | Sequence[float] | None = None,
        unit: str | None = None,
        missing_channels: str = "subset",
        unknown_channels: str = "error",
        duplicate_channels: str = "error",
        outlying_channels: str = "error",
        min_abs_uv: float | None = 0.1,
        max_abs_uv: float | None = 1000.0,
        reject_uv: float | None = None,
        alignment: str | None = None,
        alignment_reference: Mapping[str, Any] | None = None,
        alignment_min_seconds: float = MIN_SECONDS,
        **kwargs: Any,
    ) -> None:
        unknown = sorted(set(kwargs) - _FOREIGN_KEYS)
        if unknown:
            raise TypeError(
                f"{type(self).__name__} has no setting named {', '.join(map(repr, unknown))}; it has ch_names, sfreq, "
                "n_times, stride, l_freq, h_freq, notch_freq, unit, missing_channels, unknown_channels, "
                "duplicate_channels, outlying_channels, min_abs_uv, max_abs_uv, reject_uv, alignment, "
                "alignment_reference, alignment_min_seconds"
            )
        kwargs.pop("feature_extractor_type", None)
        self._keep_foreign(kwargs)
        self.ch_names = None if ch_names is None else canonical_names(ch_names)
        self.sfreq = positive_number("sfreq", sfreq)
        self.n_times = positive_int("n_times", n_times)
        self.stride = None if stride is None else positive_int("stride", stride)
        self.l_freq = None if l_freq is None else positive_number("l_freq", l_freq)
        self.h_freq = None if h_freq is None else positive_number("h_freq", h_freq)
        if notch_freq is not None and not isinstance(notch_freq, (int, float, np.number)):
            notch_freq = [positive_number("notch_freq", freq) for freq in notch_freq] or None
        elif notch_freq is not None:
            notch_freq = positive_number("notch_freq", notch_freq)
        self.notch_freq = notch_freq
        self.unit = one_of("unit", unit, (None, *MICROVOLTS_PER_UNIT))
        self.missing_channels = one_of("missing_channels", missing_channels, ("subset", "error"))
        self.unknown_channels = one_of("unknown_channels", unknown_channels, ("error", "drop"))
        self.duplicate_channels = one_of("duplicate_channels", duplicate_channels, ("error", "first", "last"))
        self.outlying_channels = one_of("outlying_channels", outlying_channels, ("error", "drop"))
        self.min_abs_uv = None if min_abs_uv is None else positive_number("min_abs_uv", min_abs_uv)
        self.max_abs_uv = None if max_abs_uv is None else positive_number("max_abs_uv", max_abs_uv)
        self.reject_uv = None if reject_uv is None else positive_number("reject_uv", reject_uv)
        if None not in (self.min_abs_uv, self.max_abs_uv) and self.min_abs_uv >= self.max_abs_uv:
            raise ValueError(f"min_abs_uv ({self.min_abs_uv}) must be below max_abs_uv ({self.max_abs_uv})")
        if None not in (self.l_freq, self.h_freq) and self.l_freq >= self.h_freq:
            raise ValueError(f"l_freq ({self.l_freq} Hz) must be below h_freq ({self.h_freq} Hz)")
        for name, freqs in (("l_freq", self.l_freq), ("h_freq", self.h_freq), ("notch_freq", self.notch_freq)):
            for freq in np.atleast_1d(freqs) if freqs is not None else ():
                if freq >= self.sfreq / 2:
                    raise ValueError(
                        f"{name} ({freq:g} Hz) must be below the Nyquist frequency of the output, half of sfreq "
                        f"({self.sfreq / 2:g} Hz): lower it, raise sfreq, or leave {name} out (resampling to "
                        f"{self.sfreq:g} Hz takes everything above {self.sfreq / 2:g} Hz out anyway)"
                    )

        self.alignment = one_of("alignment", alignment, (None, *ALIGNMENTS))
        self.alignment_reference = None if alignment_reference is None else dict(alignment_reference)
        if self.alignment_reference is not None:
            if self.alignment is None:
                raise ValueError("alignment_reference is given without an alignment: it is for alignment='monge'")
            names = self.alignment_reference.get("ch_names")
            make_alignment(self.alignment, sfreq=self.sfreq, ch_names=names, reference=self.alignment_reference)
        self.alignment_min_seconds = positive_number("alignment_min_seconds", alignment_min_seconds)

    def _keep_foreign(self, fields: dict[str, Any]) -> None:
        """Take what transformers wrote into the file of settings; only its own class has a use for it."""

    def windows(
        self,
        recording: Any,
        *,
        sfreq: float | None = None,
        ch_names: Sequence[str] | None = None,
        unit: str | None = None,
        onsets: Sequence[float] | None = None,
        is_filtered: bool = False,
        align: bool = True,
        alignment_state: Alignment | AlignmentSession | Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Return the windows of one recording, or of several, as arrays; see [`EEGFeatureExtractor.__call__`].

        Returns:
            `input_values` (N, C, n_times) float32 microvolts; `channel_positions` (C, 3) float32 metres; `ch_names`;
            `onset` (N,) float64 seconds; for a list of recordings also `recording_index` (N,) int64.

        Raises:
            FileNotFoundError: Where a path leads nowhere.
            TypeError: Where `recording` is of no known kind.
            ValueError: Where something is missing, contradictory or implausible; the message says what to do.
        """
        data = self._collect(recording, sfreq, ch_names, unit, onsets, is_filtered)
        if align or alignment_state is not None:
            data["input_values"] = self.align_windows(data, align, alignment_state)
        del data["is_bad"]
        data["channel_positions"] = np.asarray(channel_positions(data["ch_names"]), dtype=np.float32)
        return data

    def _collect(
        self,
        recording: Any,
        sfreq: float | None = None,
        ch_names: Sequence[str] | None = None,
        unit: str | None = None,
        onsets: Sequence[float] | None = None,
        is_filtered: bool = False,
    ) -> dict[str, Any]:
        """Windows of one recording, or of several, before alignment; `is_bad` (N,): which are marked bad."""
        options = {"sfreq": sfreq, "ch_names": ch_names, "unit": unit, "is_filtered": is_filtered}
        if isinstance(recording, (list, tuple)):
            return self._several(recording, onsets, options)
        windows, names, starts, is_bad = self._one_marked(recording, onsets, options)
        return {"input_values": windows, "ch_names": names, "onset": starts, "is_bad": is_bad}

    def _one_marked(
        self, recording: Any, onsets: Sequence[float] | None, options: dict[str, Any]
    ) -> tuple[np.ndarray, list[str], np.ndarray, np.ndarray]:
        """What `_one` gives, and which windows (N,) annotations mark bad."""
        if isinstance(recording, (str, os.PathLike)):
            recording = read_recording(recording)
        windows, names, starts = self._one(recording, onsets=onsets, **options)
        spans = marked_spans(recording) if isinstance(recording, mne.io.BaseRaw) else []
        is_bad = overlapping_spans(starts, self.n_times / self.sfreq, spans, self.sfreq) >= 0
        return windows, names, starts, is_bad

    def filters(self) -> list[tuple[str, np.ndarray]]:
        """Return names and taps of the notch and the band-pass, in their order, at `sfreq`; of linear phase."""
        return filters_of(self.notch_freq, self.l_freq, self.h_freq, self.sfreq)

    def prepare_raw(self, raw: mne.io.BaseRaw, unit: str | None = None, is_filtered: bool = False) -> mne.io.BaseRaw:
        """Return all but the windows: picked, renamed, ordered, checked, in volts, resampled and filtered.

        Args:
            raw (`mne.io.BaseRaw`): The recording; it is copied.
            unit (`str`, *optional*): As in the constructor, for this call.
            is_filtered (`bool`, *optional*, defaults to `False`): As in the call.

        Returns:
            `mne.io.BaseRaw`: C channels by their canonical names, in volts as MNE wants it, at `self.sfreq`, with the
            annotations of the original.

        Raises:
            TypeError: Where `raw` is no `mne.io.BaseRaw`.
            ValueError: As in the call.
        """
        if not isinstance(raw, mne.io.BaseRaw):
            raise TypeError(f"prepare_raw takes an mne.io.Raw; got {type(raw).__name__}. Call the extractor itself.")
        return as_recording(*self._prepare(raw, unit, is_filtered, source_name(raw)), self.sfreq, raw)

    def _prepare(
        self, raw: mne.io.BaseRaw, unit: str | None, is_filtered: bool, source: str
    ) -> tuple[np.ndarray, list[str]]:
        """Samples (C, T) in volts and C names of a recording that `source` names in messages, as of `prepare_raw`."""
        unit = one_of("unit", unit or self.unit or "V", tuple(MICROVOLTS_PER_UNIT))
        rate = raw.info["sfreq"]
        check_pass_band(rate, self.l_freq, self.h_freq, source)
        picks, names = self.pick_raw_channels(raw, source)
        said = header_units_of(raw, [raw.ch_names[i] for i in picks], names)
        values = samples_of(raw, picks)
        kept = self._judged(values, names, rate, unit, source, said)
        if len(kept) < len(names):
            values, names = values[kept], [names[i] for i in kept]
        if unit != "V":
            values = values * (MICROVOLTS_PER_UNIT[unit] / MICROVOLTS_PER_UNIT["V"])
        if not np.isclose(rate, self.sfreq, rtol=1e-6):
            values = resample(values, rate, self.sfreq)
        if is_filtered:
            return values, names
        if has_filter_breaks(raw):
            joined = as_recording(values, names, self.sfreq, raw)
            return filter_between_joins(joined, self.notch_freq, self.l_freq, self.h_freq, source).get_data(), names
        for _, taps in self.filters():
            check_long_enough(values.shape[1], taps, source)
            values = filtered(values, taps)
        return values, names

    def _several(self, recordings: Sequence[Any], onsets: Sequence | None, options: dict[str, Any]) -> dict[str, Any]:
        """Windows of a list of recordings, one after the other."""
        if not recordings:
            raise ValueError("the list of recordings is empty: give at least one")
        if any(isinstance(item, (int, float, list, tuple)) for item in recordings):
            raise TypeError("a list must hold recordings (paths, MNE objects, arrays); put numbers into a NumPy array")
        if onsets is not None and len(onsets) != len(recordings):
            raise ValueError(
                f"{len(recordings)} recordings need as many lists of onsets; got {len(onsets)}. Give one list each."
            )
        results = [
            self._one_marked(item, None if onsets is None else onsets[i], options) for i, item in enumerate(recordings)
        ]
        names = results[0][1]
        for i, (_, other, _, _) in enumerate(results):
            if other != names:
                raise ValueError(
                    f"recordings 0 and {i} deliver different channels ({names} and {other}), which fit no one batch: "
                    "set ch_names with missing_channels='error' to what they share, or call the extractor for each"
                )
        return {
            "input_values": np.concatenate([windows for windows, _, _, _ in results]),
            "ch_names": names,
            "onset": np.concatenate([starts for _, _, starts, _ in results]),
            "recording_index": np.repeat(np.arange(len(results)), [len(windows) for windows, _, _, _ in results]),
            "is_bad": np.concatenate([is_bad for _, _, _, is_bad in results]),
        }

    def _one(
        self,
        recording: Any,
        sfreq: float | None,
        ch_names: Sequence[str] | None,
        unit: str | None,
        onsets: Sequence[float] | None,
        is_filtered: bool,
    ) -> tuple[np.ndarray, list[str], np.ndarray]:
        """Windows (N, C, n_times) float32 in microvolts, C names and N onsets in seconds, of one recording."""
        if isinstance(recording, (str, os.PathLike)):
            recording = read_recording(recording)
        if isinstance(recording, (mne.io.BaseRaw, mne.BaseEpochs)):
            known = recording.info["sfreq"]
            if ch_names is not None:
                raise ValueError(
                    "a recording knows its channel names: ch_names is for arrays. To pick channels, set "
                    "ch_names in the constructor; to rename them, use MNE's rename_channels."
                )
            if sfreq is not None and not np.isclose(sfreq, known, rtol=1e-6):
                raise ValueError(
                    f"the recording says {known:g} Hz, the call {sfreq:g} Hz: leave sfreq out, it is for "
                    "arrays (the output rate is the constructor's sfreq)"
                )
            if isinstance(recording, mne.io.BaseRaw):
                source = source_name(recording)
                return cut(self, *self._prepare(recording, unit, is_filtered, source), onsets, source)
            unit = one_of("unit", unit or self.unit or "V", tuple(MICROVOLTS_PER_UNIT))
            all_values = recording.get_data(verbose="error")
            picks, names = self.pick_channels(
                recording.ch_names, recording.get_channel_types(), recording.info["bads"], "the Epochs", all_values
            )
            values = all_values[:, picks]
            return self._windows(values, names, known, unit, onsets, is_filtered, "the Epochs")

        values = as_samples(recording)
        unit = one_of("unit", unit or self.unit, (None, *MICROVOLTS_PER_UNIT))
        missing = [name for name, v in (("sfreq", sfreq), ("ch_names", ch_names), ("unit", unit)) if v is None]
        if missing:
            raise ValueError(
                f"an array doesn't say everything about itself: give {', '.join(missing)} too, such as "
                "extractor(array, sfreq=256.0, ch_names=['Fp1', 'Fp2'], unit='uV')"
            )
        if isinstance(ch_names, str):
            raise TypeError(f"ch_names is a list of channel names, such as ['Fp1', 'Fp2']; got the text {ch_names!r}")
        sfreq, ch_names = positive_number("sfreq", sfreq), list(ch_names)
        if values.shape[-2] != len(ch_names):
            turned = " It seems turned: pass its transpose." if values.shape[-1] == len(ch_names) else ""
            raise ValueError(
                f"{len(ch_names)} ch_names for an array of {values.shape[-2]} channels, of shape "
                f"{values.shape}; expected is (channels, samples) or (windows, channels, samples).{turned}"
            )
        source = f"the array of shape {values.shape}"
        picks, names = self.pick_channels(ch_names, ["eeg"] * len(ch_names), [], source, values)
        values = values[..., picks, :]
        if values.ndim == 3:
            return self._windows(values, names, sfreq, unit, onsets, is_filtered, source)
        raw = mne.io.RawArray(values.astype(np.float64), mne.create_info(names, sfreq, "eeg"), verbose="error")
        return cut(self, *self._prepare(raw, unit, is_filtered, source), onsets, source)

    def _windows(
        self,
        values: np.ndarray,
        names: list[str],
        sfreq: float,
        unit: str,
        onsets: Sequence[float] | None,
        is_filtered: bool,
        source: str,
    ) -> tuple[np.ndarray, list[str], np.ndarray]:
        """Prepared windows (N, C, T), brought to the unit and the rate; not a bit is changed where both are right."""
        check_pass_band(sfreq, self.l_freq, self.h_freq, source)
        if not len(values):
            raise ValueError(f"{source} holds no window")
        kept = self._judged(values, names, sfreq, unit, source)
        values, names = values[:, kept], [names[i] for i in kept]
        if unit != "uV":
            values = values.astype(np.float64) * MICROVOLTS_PER_UNIT[unit]
        if not np.isclose(sfreq, self.sfreq, rtol=1e-6):
            values = resample(values.astype(np.float64), sfreq, self.sfreq)
        if not is_filtered:
            for _, taps in self.filters():
                check_long_enough(values.shape[-1], taps, source)
                values = filtered(values.astype(np.float64), taps)
        # Epochs hold both of their ends, one sample more than their length says
        if values.shape[-1] == self.n_times + 1:
            logger.info("%s: the last of %d samples is left out", source, values.shape[-1])
            values = values[..., :-1]
        if values.shape[-1] != self.n_times:
            raise ValueError(
                f"the windows of {source} last {values.shape[-1] / self.sfreq:g} s ({values.shape[-1]} samples at "
                f"{self.sfreq:g} Hz), expected are {self.n_times / self.sfreq:g} s (n_times={self.n_times}). Nothing "
                "is padded: crop longer ones, cut shorter ones again, or set n_times."
            )
        starts = np.full(len(values), np.nan) if onsets is None else as_onsets(onsets)
        if len(starts) != len(values):
            raise ValueError(f"{len(values)} prepared windows need as many onsets; got {len(starts)}")
        with np.errstate(over="ignore"):
            windows = np.array(values, dtype=np.float32)
        return check_finite(windows, names, source), names, starts

    def pick_channels(
        self,
        ch_names: Sequence[str],
        types: Sequence[str],
        bads: Sequence[str],
        source: str,
        values: np.ndarray | Callable[[int, int], bool] | None = None,
    ) -> tuple[list[int], list[str]]:
        """Indices and canonical names of the channels to deliver; `values` (..., C, T) tell duplicates apart."""
        is_equal = _equal_rows(values) if isinstance(values, np.ndarray) else values
        rules = (self.missing_channels, self.unknown_channels, source, self.duplicate_channels)
        return pick_channels(ch_names, types, bads, self.ch_names, *rules, is_equal)

    def pick_raw_channels(self, raw: mne.io.BaseRaw, source: str) -> tuple[list[int], list[str]]:
        """Indices and canonical names of the channels of a recording to deliver; samples are read of duplicates."""
        types, bads = raw.get_channel_types(), raw.info["bads"]
        return self.pick_channels(raw.ch_names, types, bads, source, samples_are_equal(raw))

    def _judged(
        self,
        values: np.ndarray,
        names: list[str],
        sfreq: float,
        unit: str,
        source: str,
        said: Mapping[str, str] | None = None,
    ) -> list[int]:
        """Places of the channels of samples (..., C, T) that are kept; samples that no EEG has are refused."""
        drop = self.outlying_channels == "drop"
        out = outlying_channels(values, names, sfreq, unit, self.max_abs_uv, source, drop, said)
        kept = [i for i in range(len(names)) if i not in out]
        values = values[..., kept, :] if out else values
        self.check_signal(values, [names[i] for i in kept], sfreq, unit, source)
        return kept

    def check_signal(self, values: np.ndarray, names: list[str], sfreq: float, unit: str, source: str) -> None:
        """Refuse samples that no scalp EEG has."""
        check_samples(values, names, sfreq, unit, (self.min_abs_uv, self.max_abs_uv), source)


def _equal_rows(values: np.ndarray) -> Callable[[int, int], bool]:
    """A function that says whether two channels of (..., C, T) are equal to the bit."""
    return lambda one, other: np.array_equal(values[..., one, :], values[..., other, :])


__all__ = ["EEGPreparation"]
