# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Feature extractor: an EEG recording or array becomes windows in microvolts with named, placed channels."""

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import mne
import numpy as np
from transformers.feature_extraction_utils import BatchFeature, FeatureExtractionMixin

from ..core.atomic_files import staged
from ..core.checkpoint_names import ShortNamesMixin
from ..core.checks import one_of
from ..core.electrodes import channel_positions
from .alignment import ALIGNMENTS, MIN_SECONDS, Alignment, AlignmentSession, make_alignment
from .alignment_mixin import AlignmentMixin
from .artefacts import marked_spans, overlapping_spans
from .channels import pick_channels, samples_are_equal
from .cutting import cut_raw
from .recordings import read_recording, source_name
from .settings import as_onsets, canonical_names, positive_int, positive_number
from .settings_file import SettingsFileMixin
from .signals import (
    MICROVOLTS_PER_UNIT,
    as_samples,
    check_pass_band,
    check_samples,
    long_enough,
    resample,
    resample_raw,
)
from .units import check_finite, header_units_of, outlying_channels


logger = logging.getLogger(__name__)

# What transformers writes into, or expects to read from, a saved feature extractor besides its own settings.
_FOREIGN_KEYS = {"feature_extractor_type", "processor_class", "auto_map"}


class EEGFeatureExtractor(AlignmentMixin, ShortNamesMixin, SettingsFileMixin, FeatureExtractionMixin):
    r"""
    Turns EEG recordings into model inputs: EEG channels picked and named alike, microvolts, one sampling rate,
    optional filters, windows of one length.

    In this order: channels are picked and checked, the unit becomes microvolts, MNE resamples, notches and band-passes
    (zero-phase FIR) at the *new* rate, so that every recording meets the same filter whatever rate it came at. What
    lies below 0.9 of the lower Nyquist frequency passes the resampling with a relative error below 1e-3; above, it is
    attenuated, and beyond the new Nyquist frequency it is gone. Near the ends of a recording filters see a mirror
    image of it: the outer 51 samples (of the slower rate) are less exact where it is resampled, half a filter's length
    (1.65 s / `l_freq` in Hz up to 2 Hz, 3.3 s for a notch) where it is filtered. The output is never padded.

    With an `alignment` the windows are last brought onto the ground of all subjects, by statistics of the subject's
    own unlabelled windows: fit them on the whole of the subject's session, all of its recordings together
    (`fit_alignment`), not on a file or block that holds only one class, or as the session goes on (`start_session`).
    A model that was trained on aligned windows is of little use on others.

    Args:
        ch_names (`list[str]`, *optional*):
            Channels to deliver, in this order, in any spelling. All EEG channels in the recording's order when `None`.
        sfreq (`float`, *optional*, defaults to 200.0):
            Sampling rate of the output in Hz.
        n_times (`int`, *optional*, defaults to 1000):
            Samples in a window, at `sfreq`.
        stride (`int`, *optional*):
            Samples from the start of one window to the next, at `sfreq`; `n_times` (no overlap) when `None`.
        l_freq (`float`, *optional*):
            Lower edge of the pass band in Hz; no high-pass when `None`.
        h_freq (`float`, *optional*):
            Upper edge of the pass band in Hz; no low-pass but that of the resampling when `None`.
        notch_freq (`float` or `list[float]`, *optional*):
            Frequencies of line noise to take out, in Hz.
        unit (`str`, *optional*):
            Unit of the numbers as they come in, `"uV"`, `"mV"` or `"V"`: those of an array, or those that MNE's
            `raw.get_data()` gives. `None` means volts for files and MNE objects (MNE's convention) and must be said in
            the call for arrays. A file that holds millivolts labelled as volts is read right with `unit="mV"`.
        missing_channels (`str`, *optional*, defaults to `"subset"`):
            What to do where a recording lacks some of `ch_names`: `"subset"` delivers the others, `"error"` raises.
        unknown_channels (`str`, *optional*, defaults to `"error"`):
            What to do with EEG channels whose name is unknown: `"error"` names them, `"drop"` leaves them out.
            Where `ch_names` names the channels, others never stand in the way.
            Channels of another type or of a known other name (ECG, EOG, trigger ...) are always left out, and so are
            those that MNE's `info["bads"]` marks; the log says which.
        duplicate_channels (`str`, *optional*, defaults to `"error"`):
            What to do where several channels are one electrode and their samples differ: `"error"` names them,
            `"first"` and `"last"` choose. Where the samples are equal to the bit the first is taken.
        outlying_channels (`str`, *optional*, defaults to `"error"`):
            What to do with a channel whose amplitude is hundreds of times that of the others, so that its unit is
            wrong or its electrode broken: `"error"` names it, `"drop"` leaves it out.
        min_abs_uv, max_abs_uv (`float`, *optional*, default to 0.1 and 1000.0):
            Plausible typical amplitude in microvolts: mean absolute deviation from the median within one second, then
            the median over seconds and channels. Outside, the unit is taken to be wrong. `None` switches a bound off.
        reject_uv (`float`, *optional*):
            Windows in which a sample exceeds this, in microvolts after filtering, are artefacts: training leaves them
            out (`build_dataset`), a trained model gives them no label but a reason, and no alignment is fitted on
            them. The call cuts them all the same. None where training kept all windows.
        alignment (`str`, *optional*):
            Unsupervised alignment of each subject: `"zscore"`, `"euclidean"`, `"monge"` or `"euclidean_monge"` (see
            `dlink_hf.alignment`); none when `None`.
        alignment_reference (`dict`, *optional*):
            For `"monge"`, the spectrum that all subjects get: what `monge_reference` makes of the training subjects. A
            fixed one, falling as 1/f, when `None`.
        alignment_min_seconds (`float`, *optional*, defaults to 30.0):
            Seconds of a subject's signal that an alignment needs at least.

    Raises:
        TypeError: For an argument of a wrong type or an unknown name.
        ValueError: For a value out of range; the message names the argument.

    Examples:

    ```python
    >>> extractor = EEGFeatureExtractor(sfreq=200.0, n_times=1000, l_freq=0.5, h_freq=75.0, notch_freq=50.0)
    >>> batch = extractor("recording.edf", return_tensors="pt")
    >>> logits = model(batch["input_values"], channel_positions=batch["channel_positions"]).logits
    ```
    """

    model_input_names = ["input_values", "channel_positions"]

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
                f"EEGFeatureExtractor has no setting named {', '.join(map(repr, unknown))}; it has ch_names, sfreq, "
                "n_times, stride, l_freq, h_freq, notch_freq, unit, missing_channels, unknown_channels, "
                "duplicate_channels, outlying_channels, min_abs_uv, max_abs_uv, reject_uv, alignment, "
                "alignment_reference, alignment_min_seconds"
            )
        kwargs.pop("feature_extractor_type", None)
        super().__init__(**kwargs)
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

    def __call__(
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
        return_tensors: str | None = None,
    ) -> BatchFeature:
        """Windows of one recording, or of several.

        Args:
            recording:
                A path, an `mne.io.Raw`, `mne.Epochs`, an array or tensor (C, T) of a whole recording or (N, C, T) of
                N prepared windows, or a list of those. The recording itself is never changed.
            sfreq (`float`, *optional*):
                Sampling rate of an array in Hz. Files and MNE objects know theirs.
            ch_names (`Sequence[str]`, *optional*):
                The C channel names of an array. Files and MNE objects know theirs.
            unit (`str`, *optional*):
                As in the constructor, for this call.
            onsets (`Sequence[float]`, *optional*):
                Start of each wanted window, in seconds from the first sample of the recording; windows follow each
                other by `stride` when `None`. A window begins at the sample nearest to its onset. For prepared windows
                (N, C, T) and Epochs: where they began, handed on as it is. For a list of recordings: a list of lists.
            is_filtered (`bool`, *optional*, defaults to `False`):
                Whether the signal has been filtered already as this extractor would; then it filters no more.
            align (`bool`, *optional*, defaults to `True`):
                `False` leaves the windows unaligned, where the extractor has an alignment: to fit one on them.
            alignment_state (`Alignment`, `AlignmentSession` or `dict`, *optional*):
                What `fit_alignment` made of the subject's session, or its `to_dict()`. When `None`, an extractor that
                aligns fits on all windows of this very call, which should then be all of one subject's session.
            return_tensors (`str`, *optional*):
                `"pt"` for torch tensors; NumPy arrays otherwise.

        Returns:
            `BatchFeature`: `input_values` (N, C, n_times) float32 microvolts; `channel_positions` (C, 3) float32
            metres; `ch_names`, a list of C names; `onset` (N,) float64, seconds from the first sample of the recording
            to the first of the window, NaN for prepared windows without `onsets`. For a list of recordings also
            `recording_index` (N,) int64, the place in the list.

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
        return BatchFeature(data, tensor_type=return_tensors, skip_tensor_conversion=["ch_names"])

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
        return self._prepare(raw, unit, is_filtered, source_name(raw))

    def _prepare(self, raw: mne.io.BaseRaw, unit: str | None, is_filtered: bool, source: str) -> mne.io.BaseRaw:
        """`prepare_raw` of a recording that `source` names in messages."""
        unit = one_of("unit", unit or self.unit or "V", tuple(MICROVOLTS_PER_UNIT))
        check_pass_band(raw.info["sfreq"], self.l_freq, self.h_freq, source)
        picks, names = self.pick_raw_channels(raw, source)
        originals = [raw.ch_names[i] for i in picks]
        raw = raw.copy().reorder_channels(originals)
        raw.load_data(verbose="error")
        said = header_units_of(raw, originals, names)
        kept = self._judged(raw.get_data(), names, raw.info["sfreq"], unit, source, said)
        if len(kept) < len(names):
            originals, names = [originals[i] for i in kept], [names[i] for i in kept]
            raw.reorder_channels(originals)
        if raw.ch_names != names:
            raw.rename_channels(dict(zip(originals, names, strict=True)), verbose="error")
        volts = MICROVOLTS_PER_UNIT[unit] / MICROVOLTS_PER_UNIT["V"]
        if volts != 1.0:
            raw.apply_function(lambda x: x * volts, picks="all", channel_wise=False, verbose="error")
        raw = resample_raw(raw, self.sfreq)
        if not is_filtered:
            if self.notch_freq is not None:
                long_enough(source, lambda: raw.notch_filter(self.notch_freq, picks="all", verbose="warning"))
            if self.l_freq is not None or self.h_freq is not None:
                long_enough(source, lambda: raw.filter(self.l_freq, self.h_freq, picks="all", verbose="warning"))
        return raw

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
                return cut_raw(self, self._prepare(recording, unit, is_filtered, source), onsets, source)
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
        return cut_raw(self, self._prepare(raw, unit, is_filtered, source), onsets, source)

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
            filtered = values.astype(np.float64)
            if self.notch_freq is not None:
                values = long_enough(
                    source, lambda: mne.filter.notch_filter(filtered, self.sfreq, self.notch_freq, verbose="warning")
                )
                filtered = values
            if self.l_freq is not None or self.h_freq is not None:
                values = long_enough(
                    source,
                    lambda: mne.filter.filter_data(filtered, self.sfreq, self.l_freq, self.h_freq, verbose="warning"),
                )
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
        is_equal = values
        if isinstance(values, np.ndarray):

            def is_equal(one: int, other: int) -> bool:
                return np.array_equal(values[..., one, :], values[..., other, :])

        rules = (self.missing_channels, self.unknown_channels, source, self.duplicate_channels, is_equal)
        return pick_channels(ch_names, types, bads, self.ch_names, *rules)

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
        self.check_signal(values[..., kept, :], [names[i] for i in kept], sfreq, unit, source)
        return kept

    def check_signal(self, values: np.ndarray, names: list[str], sfreq: float, unit: str, source: str) -> None:
        """Refuse samples that no scalp EEG has."""
        check_samples(values, names, sfreq, unit, (self.min_abs_uv, self.max_abs_uv), source)

    def push_to_hub(self, repo_id: str, **kwargs: Any) -> Any:
        """Publish preprocessor_config.json on the Hub in one commit; see `dlink_hf.hub.publish_folder`."""
        from ..hub.publish import publish_saved

        return publish_saved(self, repo_id, **kwargs)

    def to_json_file(self, json_file_path: str | os.PathLike) -> None:
        """Write the settings as JSON, whole or not at all.

        Args:
            json_file_path (`str` or `os.PathLike`): Where to; an older file stays until the new one is whole.

        Raises:
            OSError: Where it can't be written.
        """
        path = Path(json_file_path)
        with staged(path.parent) as partial:
            (partial / path.name).write_text(self.to_json_string(), encoding="utf-8")
