# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""A trained model on a live stream: samples go in as they are measured, a prediction comes out at every hop."""

from __future__ import annotations

import contextlib
import copy
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np

from ..core.checks import one_of
from ..core.config_checks import REGRESSION, TOKENS
from ..core.electrodes import channel_positions
from ..core.model_facts import check_delivered, label_names, label_samples, predictions_of, required_channels, task_of
from ..export.exported_student import ExportedStudent
from ..inference.patch_places import check_whole_labels
from ..preprocessing.alignment import Alignment, alignment_from_dict
from ..preprocessing.artefacts import peak_reason
from ..preprocessing.preparation import EEGPreparation
from ..preprocessing.signals import MICROVOLTS_PER_UNIT, amplitude_by_second
from .preparation import StreamPreparation
from .times import DoubledSamples, fill_stamps


logger = logging.getLogger(__name__)

REJECT = "reject"
# shorter gaps are bridged by straight lines, longer ones start the window again
BRIDGED_SECONDS = 0.05
# time stamps of an unbroken stream waver by less
JITTER_SECONDS = 0.02
FLAT_SECONDS = 1.0
# the rate is judged, and the amplitude, from this much of a stream on
JUDGED_SECONDS = 5.0
RATE_TOLERANCE = 0.02


@dataclass
class StreamPrediction:
    """What a model says of one window of a stream, or of one place of a window whose every place has a label.

    Args:
        time: time stamp of the newest sample that had come in, in seconds of the stream's clock.
        onset: seconds from the stream's first sample to the first of the window, or of the place.
        duration: of the window or the place, in seconds.
        label: a class, `"reject"` where none is likely enough, None where the window can't be judged; of a regression
            the name of its (first) target.
        reason: why there is no label, in words; None where there is one.
        probabilities: (num_labels,) of this window only, or the numbers of a regression; None without a label.
        smoothed: (num_labels,) averaged over the last windows, by which the label is chosen; None without a label.
    """

    time: float
    onset: float
    duration: float
    label: str | None = None
    reason: str | None = None
    probabilities: np.ndarray | None = None
    smoothed: np.ndarray | None = None


class StreamClassifier:
    """Classify a stream of samples window by window, as the pipeline would classify the recording.

    Channels are found by their names, whatever their order; others than the model's are left out. Samples that are
    missing (by their time stamps, or not finite) are reported and counted: gaps up to 0.05 s are bridged by a straight
    line, after longer ones the filters and the window start again, and predictions resume when they are full. While a
    channel is flat (for a second), or the rate is not the announced one (by 2 %), windows come without a label; so do
    windows beyond the extractor's `reject_uv`, and those with a second of an amplitude that no scalp EEG has. Samples
    that come twice are left out, stamps that are not finite are filled in, both with a word.

    A model with an alignment takes a fitted one, or else fits it as the session goes on, artefacts left out: windows
    come without a label until `alignment_min_seconds` have been seen.

    Of a model that labels patches every place has one prediction, by the first window that holds the whole place: the
    first window tells all of its places, each later one those that are new, its last `hop_seconds`. A place of a
    window that can't be judged has no label, and is not told again. With hops of a whole stretch that is what the
    pipeline says of the recording; with shorter ones a label comes sooner, and knows less of what follows.

    Args:
        model: a student or a teacher with a trained head, in evaluation mode, or an exported student.
        extractor ([`EEGFeatureExtractor`]): the one that was saved with it.
        ch_names: names of the stream's C_in channels.
        sfreq: announced rate of the stream in hertz.
        unit: of its numbers, "uV", "mV" or "V".
        hop_seconds: from one window to the next; of a model that labels patches whole labels, at most a stretch.
        smoothing_seconds: time constant of the exponential average of the probabilities, over windows or places; 0
            for none.
        reject_below: least smoothed probability of a label; below, the label is `"reject"`.
        alignment_state: of the subject: what `EEGFeatureExtractor.fit_alignment` gives, or its `to_dict()`.
        phase: of the filters, "linear" or "minimum"; see [`StreamPreparation`].
        allow_missing: let a student of any montage go on with what there is of its channels; an error by default.
        say: called with a sentence when something happens to the stream; the log by default.

    Attributes:
        labels (`list[str]`): the classes, in the order of the probabilities.
        ch_names (`list[str]`): the C channels that the model reads.
        delay (`float`): seconds that the filters wait.
        n_samples, n_lost, n_bridged (`int`): samples that came in; missing ones; those of them that were bridged.
        n_doubled, n_unstamped (`int`): samples that came twice; those whose time stamp was not finite.
        n_restarts (`int`): how often the window had to start again.

    Raises:
        TypeError: the model has no head.
        ValueError: the stream lacks channels, its unit is unknown, or an argument is out of range.

    Example:

    ```python
    >>> from dlink_hf import StreamClassifier

    >>> live = StreamClassifier(model, extractor, ch_names=["Oz", "O1"], sfreq=256.0, unit="uV", hop_seconds=0.1)
    >>> for prediction in live.push(samples, times):  # (2, n), (n,) seconds
    ...     print(prediction.onset, prediction.label, prediction.smoothed)
    ```
    """

    def __init__(
        self,
        model: Any,
        extractor: EEGPreparation,
        ch_names: Sequence[str],
        sfreq: float,
        unit: str | None,
        *,
        hop_seconds: float,
        smoothing_seconds: float = 0.0,
        reject_below: float = 0.0,
        alignment_state: Alignment | Mapping[str, Any] | None = None,
        phase: str = "linear",
        allow_missing: bool = False,
        say: Callable[[str], None] = logger.warning,
    ) -> None:
        hint = "A stream that does not say its unit needs yours: most amplifiers send microvolts, unit='uV'."
        one_of("The stream's unit", unit, MICROVOLTS_PER_UNIT, hint)
        for name, value, least in (
            ("hop_seconds", hop_seconds, 1 / extractor.sfreq),
            ("smoothing_seconds", smoothing_seconds, 0.0),
        ):
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value < np.inf:
                raise ValueError(f"{name} must be a number of seconds, at least {least:g}, got {value!r}.")
        if isinstance(reject_below, bool) or not 0 <= reject_below < 1:
            raise ValueError(f"reject_below must be a probability, at least 0 and below 1, got {reject_below!r}.")
        heads = ("ForEEGClassification", "ForEEGRegression", "ForEEGTokenClassification")
        answers = any(kind.__name__.endswith(heads) for kind in type(model).__mro__)
        if not answers and not isinstance(model, ExportedStudent):
            raise TypeError(
                "A stream is told by a student or a teacher with a trained head, or by an export; got "
                f"{type(model).__name__}. Fine-tune a backbone first (dlink finetune --student NAME); of a studio "
                "give its `student`."
            )
        self.model, self.labels, self._say = model, label_names(model), say
        # a device that runs an exported student has no torch
        self._is_torch = not isinstance(model, ExportedStudent)
        self._is_regression = model.config.problem_type == REGRESSION
        if self._is_regression and reject_below:
            raise ValueError("reject_below is for probabilities of classes; this model gives numbers: leave it at 0.")
        own = required_channels(model.config)
        self.extractor = copy.copy(extractor)
        self.extractor.ch_names = own if extractor.ch_names is None else list(extractor.ch_names)
        self.extractor.unknown_channels = "drop"
        # students of any montage, exported ones among them
        takes_fewer = model.takes_positions
        self.extractor.missing_channels = "subset" if allow_missing and takes_fewer else "error"
        self._source_names, self.source_sfreq, self._unit = list(ch_names), float(sfreq), unit
        try:
            self._preparation = StreamPreparation(self.extractor, ch_names, sfreq, unit, phase)
        except ValueError as error:
            text = str(error).replace("missing_channels='subset'", "allow_missing=True (--allow_missing)")
            raise ValueError(f"{text} The stream's channels are: {', '.join(map(str, ch_names))}.") from error
        self.ch_names, self.delay = self._preparation.ch_names, self._preparation.delay
        self._positions = {}
        if self.ch_names != own:
            if not takes_fewer:
                check_delivered(model.config, self.ch_names)
            self._positions = {"channel_positions": np.asarray(channel_positions(self.ch_names), dtype=np.float32)}

        if self._is_torch:
            torch = import_module("torch")
            self._positions = {name: torch.from_numpy(value) for name, value in self._positions.items()}
        if hasattr(model, "for_inference"):
            positions = self._positions.get("channel_positions")
            # one montage and length: folded, with the same logits in less time. Adapters and hooks can't be
            with contextlib.suppress(ValueError):
                self.model, self._positions = model.for_inference(positions, extractor.n_times), {}

        self.hop = max(1, round(hop_seconds * extractor.sfreq))
        # samples of what is told at once: the window, or a place
        self._told_size, step = extractor.n_times, self.hop
        if task_of(model) == TOKENS:
            self._told_size = step = label_samples(model.config)
            self._check_hop(hop_seconds)
        self._memory = float(np.exp(-step / extractor.sfreq / smoothing_seconds)) if smoothing_seconds else 0.0
        self._reject_below = reject_below
        self._session = self._alignment = None
        if alignment_state is not None:
            known = isinstance(alignment_state, Alignment)
            self._alignment = alignment_state if known else alignment_from_dict(alignment_state)
        elif extractor.alignment is not None:
            self._session = self._alignment = self.extractor.start_session(self.ch_names)

        self.n_samples = self.n_lost = self.n_bridged = self.n_restarts = self.n_doubled = self.n_unstamped = 0
        self._find_doubled = DoubledSamples(self.source_sfreq)
        self._last_stamp: float | None = None  # of the newest sample, finite or not
        self._picks = self._preparation.picks
        self._first_time: float | None = None
        self._last_time: float | None = None
        self._n_broken = 0  # samples that were not finite since the last that was
        self._said: dict[str, float] = {}
        self._unjudged: list[np.ndarray] | None = []
        self._begin(0.0)
        # first calls set up what all others use: not while samples wait
        shape = (1, len(self.ch_names), extractor.n_times)
        noise = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
        if self._alignment is not None and self._session is None:
            # which also refuses an alignment of other channels or another method, once for all windows
            data = {"input_values": noise, "ch_names": self.ch_names}
            noise = self.extractor.align_windows(data, True, self._alignment)
        self._classify(noise)

    def _check_hop(self, hop_seconds: float) -> None:
        """Refuse stretches of no whole labels, and hops between which a place would be cut or passed over."""
        check_whole_labels(self.extractor, self._told_size)
        if self.hop % self._told_size or self.hop > self.extractor.n_times:
            seconds = self._told_size / self.extractor.sfreq
            raise ValueError(
                f"hop_seconds must be whole labels of {seconds:g} s, at most a stretch of "
                f"{self.extractor.n_times / self.extractor.sfreq:g} s, for a model that labels patches; got "
                f"{hop_seconds:g}. A label comes soonest with hop_seconds={seconds:g} (--hop {seconds:g})."
            )

    @property
    def alignment(self) -> Alignment | None:
        """The subject's alignment as it is now; None without one."""
        return self._alignment if self._session is None else self._session.alignment

    def push(self, values: np.ndarray, times: np.ndarray) -> list[StreamPrediction]:
        """Take the next samples, give the predictions of the windows that they complete.

        Args:
            values: (C_in, n) of any n, in the stream's unit.
            times: (n,) when each was measured, in seconds of any one clock.

        Returns:
            predictions, in their order; none for most short pushes.

        Raises:
            ValueError: the shapes do not fit, no time is finite yet, or the first seconds have an amplitude that no
                scalp EEG has, which betrays a wrong unit.
        """
        values, times = np.asarray(values, dtype=np.float64), np.asarray(times, dtype=np.float64)
        if values.shape != (len(self._source_names), len(times)) or times.ndim != 1:
            raise ValueError(
                f"Samples of this stream are ({len(self._source_names)}, n) with n times, got {values.shape} with "
                f"times of shape {times.shape}. A stream that comes back with other channels needs a new classifier."
            )
        values, times = self._stamped_once(values, times)
        if not len(times):
            return []
        predictions: list[StreamPrediction] = []
        for part, part_times in self._unbroken(values, times):
            predictions += self._advance(part, part_times)
        return predictions

    def _begin(self, onset: float) -> None:
        """Start again, `onset` seconds after the stream's first sample."""
        self._preparation.reset()
        self._onset = onset
        self._n_in = 0  # samples of this segment
        self._segment_time = 0.0  # when its first one was measured
        self._last_sample: np.ndarray | None = None
        self._changed = np.zeros(len(self.ch_names), dtype=int)  # the sample at which each channel last changed
        self._flat_at = np.full(len(self.ch_names), -1)  # the last sample at which it was flat
        self._ready = np.empty((len(self.ch_names), 0))  # prepared samples, the first of them number _ready_first
        self._ready_first = self._next_start = self._next_update = 0
        self._told_until = 0  # the prepared sample at which the first place begins that is not told yet
        self._smoothed: np.ndarray | None = None

    def _stamped_once(self, values: np.ndarray, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Samples (C_in, n) and times (n,) with a finite time each, those that came before left out."""
        step, n_broken = 1 / self.source_sfreq, int((~np.isfinite(times)).sum())
        if n_broken:
            times = fill_stamps(times, None if self._last_stamp is None else self._last_stamp + step, step)
            if not np.isfinite(times).all():
                raise ValueError("The time stamps hold numbers that are not finite: they must be seconds.")
            self.n_unstamped += n_broken
            text = f"{n_broken} time stamps are not finite: their samples are placed by the rate"
            self._warn_throttled("stamps", text, times[-1])
        is_double = self._find_doubled(values, times)
        if is_double.any():
            self.n_doubled += int(is_double.sum())
            text = f"{is_double.sum()} samples came twice, with the same time stamp: the second ones are left out"
            self._warn_throttled("doubled", text, times[-1])
            values, times = values[:, ~is_double], times[~is_double]
        if len(times):
            back = -np.diff(times, prepend=times[0] if self._last_stamp is None else self._last_stamp).min()
            # what goes back by more begins the window again, and is reported there
            if 0 < back <= JITTER_SECONDS:
                self._warn_throttled("backward", f"time stamps go back by up to {1e3 * back:.3g} ms", times[-1])
            self._last_stamp = float(times[-1])
        return values, times

    def _unbroken(self, values: np.ndarray, times: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Stretches (C_in, n) and (n,) without a gap; longer gaps begin a segment between two of them."""
        step = 1 / self.source_sfreq
        finite = np.isfinite(values[self._picks]).all(0)
        if not finite.all():
            rows = np.isfinite(values[self._picks]).all(1)
            broken = ", ".join(name for name, is_whole in zip(self.ch_names, rows, strict=True) if not is_whole)
            self._warn_throttled("not finite", f"{broken}: samples that are not finite, taken as missing", times[-1])
        n_broken = np.diff(np.flatnonzero(finite), prepend=-1) - 1
        if not finite.any():
            self._n_broken += len(times)
            return
        n_broken[0] += self._n_broken
        self._n_broken = len(finite) - 1 - int(np.flatnonzero(finite)[-1])
        values, times = values[:, finite], times[finite]
        if self._last_time is None:
            self._first_time = self._segment_time = times[0]
            self._last_time, n_broken[0] = times[0] - step, 0
        steps = np.diff(times, prepend=self._last_time)
        late = steps > step + JITTER_SECONDS
        n_missing = np.maximum(np.where(late, np.round(steps / step).astype(int) - 1, 0), n_broken)
        first = 0
        for i in np.flatnonzero((n_missing > 0) | (steps < -JITTER_SECONDS)):
            if i > first:
                yield values[:, first:i], times[first:i]
            first = i
            if steps[i] < -JITTER_SECONDS:
                self._say(f"the stream's clock went back by {-steps[i]:.3g} s: the window starts again")
                self._restart(times[i])
                continue
            text = f"{n_missing[i]} samples ({n_missing[i] * step:.3g} s) are missing"
            self.n_lost += int(n_missing[i])
            if n_missing[i] * step <= BRIDGED_SECONDS and self._last_sample is not None:
                self._warn_throttled("bridged", f"{text}, bridged by a straight line", times[i])
                self.n_bridged += int(n_missing[i])
                share = np.arange(1, n_missing[i] + 1) / (n_missing[i] + 1)
                line = self._last_sample[:, None] * (1 - share) + values[:, i : i + 1] * share
                yield line, times[i] - steps[i] * (1 - share)
            else:
                wait = self.delay + self.extractor.n_times / self.extractor.sfreq
                self._say(f"{text}: the window starts again, predictions resume in {wait:.3g} s")
                self._restart(times[i])
        yield values[:, first:], times[first:]
        self._last_time = times[-1]

    def _restart(self, time: float) -> None:
        self.n_restarts += 1
        self._begin(time - self._first_time)
        self._segment_time = time

    def _advance(self, values: np.ndarray, times: np.ndarray) -> list[StreamPrediction]:
        """The predictions that an unbroken stretch (C_in, n) completes."""
        self._judge_amplitude(values)
        self._find_flat(values[self._picks])
        self._last_sample = values[:, -1]
        self._n_in += values.shape[1]
        self.n_samples += values.shape[1]
        self._ready = np.concatenate([self._ready, self._preparation.push(values)], axis=1)
        n_times = self.extractor.n_times
        predictions = []
        while self._next_start + n_times <= self._ready_first + self._ready.shape[1]:
            start = self._next_start - self._ready_first
            window = self._ready[None, :, start : start + n_times].astype(np.float32)
            predictions += self._predict(window, times[-1])
            self._next_start += self.hop
        n_used = min(self._next_start - self._ready_first, self._ready.shape[1])
        self._ready, self._ready_first = self._ready[:, n_used:], self._ready_first + n_used
        return predictions

    def _predict(self, window: np.ndarray, time: float) -> list[StreamPrediction]:
        """What the model says of a prepared window (1, C, T) or its new places, or why it is not asked."""
        reason = self._why_not(time) or self._artefact(window[0], time) or self._learn_alignment(window)
        probabilities = None
        if reason is None:
            if self._alignment is not None:
                window = self._alignment.transform(window)
            probabilities = self._classify(window)[0].reshape(-1, len(self.labels))
        start, size, rate = self._next_start, self._told_size, self.extractor.sfreq
        overlaps = size < self.extractor.n_times
        predictions = []
        for place in range(self.extractor.n_times // size):
            begin = start + place * size
            if overlaps and begin < self._told_until:
                continue
            self._told_until = begin + size
            prediction = StreamPrediction(time, self._onset + begin / rate, size / rate, reason=reason)
            predictions.append(self._tell(prediction, None if probabilities is None else probabilities[place]))
        return predictions

    def _learn_alignment(self, window: np.ndarray) -> str | None:
        """Fit the session's alignment on a window (1, C, T) too; why it is not ready, None where it is."""
        if self._session is None:
            return None
        if self._next_start >= self._next_update:
            # windows that overlap would count the same signal again
            self._session.update(window)
            self._next_update = self._next_start + self.extractor.n_times
        if self._session.is_ready:
            return None
        n_seen, n_needed = self._session.n_windows, self._session.min_windows
        return f"the alignment has seen {n_seen} of {n_needed} windows of this subject"

    def _tell(self, prediction: StreamPrediction, probabilities: np.ndarray | None) -> StreamPrediction:
        """Fill in what probabilities (num_labels,) say, or nothing where there are none."""
        if probabilities is None:
            self._smoothed = None
            return prediction
        if self._smoothed is None:
            self._smoothed = probabilities
        self._smoothed = self._memory * self._smoothed + (1 - self._memory) * probabilities
        prediction.probabilities, prediction.smoothed = probabilities, self._smoothed
        if self._is_regression:
            prediction.label = self.labels[0]
            return prediction
        best = int(self._smoothed.argmax())
        prediction.label = self.labels[best] if self._smoothed[best] >= self._reject_below else REJECT
        return prediction

    def _classify(self, windows: np.ndarray) -> np.ndarray:
        """Probabilities, or numbers, (N, num_labels) or (N, S, num_labels) float64, of prepared windows (N, C, T)."""
        if self._is_torch:
            torch = import_module("torch")
            with torch.inference_mode():
                logits = self.model(torch.from_numpy(windows), **self._positions).logits.float().numpy()
        else:
            logits = self.model(windows, **self._positions).logits
        return predictions_of(self.model.config, logits)

    def _why_not(self, time: float) -> str | None:
        """Why the window that begins at `_next_start` can't be judged; None where it can."""
        start = self._next_start / self.extractor.sfreq * self.source_sfreq
        flat = [name for name, last in zip(self.ch_names, self._flat_at, strict=True) if last >= start]
        if flat:
            self._warn_throttled("flat", f"{', '.join(flat)} went flat: has the electrode come off?", time)
            return f"{', '.join(flat)} flat"
        seconds = time - self._segment_time
        if seconds >= JUDGED_SECONDS:
            rate = (self._n_in - 1) / seconds
            if abs(rate / self.source_sfreq - 1) > RATE_TOLERANCE:
                text = f"{rate:.4g} samples come in a second, {self.source_sfreq:g} were announced"
                self._warn_throttled("rate", f"{text}: frequencies would be wrong", time)
                return text
        return None

    def _artefact(self, window: np.ndarray, time: float) -> str | None:
        """Why the amplitude of a prepared window (C, T) in microvolts keeps it from a label; None where it doesn't."""
        low, high = self.extractor.min_abs_uv or 0.0, self.extractor.max_abs_uv or np.inf
        typical = amplitude_by_second(window, self.extractor.sfreq)
        amplitude = typical.max() if typical.max() > high else float(np.median(typical))
        if not low <= amplitude <= high:
            text = f"an amplitude of {amplitude:.3g} uV, scalp EEG lies between {low:g} and {high:g} uV"
            self._warn_throttled("amplitude", f"{text}: such windows get no label", time)
            return text
        return peak_reason(float(np.abs(window).max()), self.extractor.reject_uv)

    def _find_flat(self, values: np.ndarray) -> None:
        """Note which channels of (C, n) have not changed for a second."""
        before = values[:, :1] if self._last_sample is None else self._last_sample[self._picks, None]
        moved = np.diff(values, axis=1, prepend=before) != 0
        numbers = self._n_in + np.arange(values.shape[1])
        # the last change up to each sample
        changed = np.maximum.accumulate(np.where(moved, numbers, self._changed[:, None]), axis=1)
        is_flat = numbers - changed >= FLAT_SECONDS * self.source_sfreq
        self._flat_at = np.where(is_flat.any(1), np.where(is_flat, numbers, -1).max(1), self._flat_at)
        self._changed = changed[:, -1]

    def _judge_amplitude(self, values: np.ndarray) -> None:
        """Refuse a stream (C_in, n) whose first seconds are of no plausible amplitude."""
        if self._unjudged is None:
            return
        self._unjudged.append(values[self._picks])
        if sum(part.shape[1] for part in self._unjudged) < JUDGED_SECONDS * self.source_sfreq:
            return
        values, self._unjudged = np.concatenate(self._unjudged, axis=1), []
        moving = np.ptp(values, axis=1) > 0
        if moving.any():
            names = [name for name, moves in zip(self.ch_names, moving, strict=True) if moves]
            self.extractor.check_signal(values[moving], names, self.source_sfreq, self._unit, "the stream")
            self._unjudged = None

    def _warn_throttled(self, kind: str, text: str, time: float) -> None:
        """Say something of a kind at most once in ten seconds of the stream."""
        if time - self._said.get(kind, -np.inf) >= 10:
            self._said[kind] = time
            self._say(text)


__all__ = ["REJECT", "StreamClassifier", "StreamPrediction"]
