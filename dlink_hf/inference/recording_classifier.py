# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Recordings in, a label and its score for every window out; for exported students without torch and transformers."""

from __future__ import annotations

import copy
import logging
import os
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import mne
import numpy as np
from tqdm import tqdm

from ..core.checks import int_at_least, one_of, positive
from ..core.config_checks import MULTI_LABEL, REGRESSION
from ..core.electrodes import channel_positions
from ..core.model_facts import check_delivered, label_names, predictions_of, required_channels
from ..export.exported_student import ExportedStudent
from ..preprocessing.alignment import Alignment, alignment_from_dict
from ..preprocessing.preparation import EEGPreparation
from ..preprocessing.recording_windows import RecordingWindows, fit_session
from ..preprocessing.signals import MICROVOLTS_PER_UNIT


logger = logging.getLogger(__name__)

TASK = "eeg-classification"
REGRESSION_TASK = "eeg-regression"
TOKEN_TASK = "eeg-token-classification"
FEATURE_TASK = "eeg-feature-extraction"
BATCH_SIZE = 64

_SIGNAL_KEYS = ("ch_names", "sfreq", "unit", "is_filtered")
_SESSION_KEYS = ("session_recordings", "alignment_state")
_CALL_OPTIONS = ("stride_seconds", *_SIGNAL_KEYS, *_SESSION_KEYS)


class RecordingClassification:
    """What [`RecordingClassifier`] and [`EEGClassificationPipeline`] share: windows in, answers out."""

    model: Any
    feature_extractor: Any
    # what the progress bar says
    verb: ClassVar[str] = "classify"
    # whether a model of patches is taken
    labels_patches: ClassVar[bool] = False

    @property
    def _takes_positions(self) -> bool:
        """Whether the model reads channels by their place, as a student; a teacher reads them by their row."""
        return self.model.takes_positions

    def fit_session(
        self,
        recordings: Any,
        *,
        stride_seconds: float | None = None,
        unit: str | None = None,
        is_filtered: bool = False,
    ) -> Alignment:
        """Return the alignment of a subject, fitted on all recordings of one session.

        Args:
            recordings: one recording or a list of them, as in the call.
            stride_seconds: as in the call.
            unit: as in the call.
            is_filtered: as in the call.

        Returns:
            what the call takes as `alignment_state`.

        Raises:
            ValueError: the model has no alignment, or the recordings can't be used or are too short.
        """
        options, _ = call_options(stride_seconds=stride_seconds, unit=unit)
        extractor = self._extractor(options.get("stride_seconds"))
        if extractor.alignment is None:
            raise ValueError("Sessions are for a model with an alignment; this one has none.")
        items = list(recordings) if isinstance(recordings, (list, tuple)) else [recordings]
        if not items:
            raise ValueError("The list of the session's recordings is empty: give at least one.")
        signal = {"unit": unit, "is_filtered": is_filtered}
        return fit_session(extractor, [self._windows(extractor, *_facts(item, signal, ())) for item in items])

    def _check_parts(self, model: Any, feature_extractor: Any) -> None:
        """Refuse a model and a feature extractor that do not belong together.

        Raises:
            TypeError: the feature extractor is none.
            ValueError: their rates differ.
        """
        if not isinstance(feature_extractor, EEGPreparation):
            raise TypeError(
                "The pipeline needs the EEGFeatureExtractor that the model was trained with, "
                f"feature_extractor=EEGFeatureExtractor(...); got {type(feature_extractor).__name__}."
            )
        rate = getattr(model.config, "sfreq", feature_extractor.sfreq)
        if rate != feature_extractor.sfreq:
            raise ValueError(
                f"The model reads {rate:g} Hz, the feature extractor delivers {feature_extractor.sfreq:g} Hz: they do "
                "not belong together. Take the preprocessor_config.json that was saved with the model."
            )

    def _batches(
        self, inputs: Any, batch_size: int = BATCH_SIZE, stride_seconds: float | None = None, **options: Any
    ) -> Iterator[dict[str, Any]]:
        """Yield the batches of windows of one recording, cut one after the other, as arrays."""
        extractor = self._extractor(stride_seconds)
        recording, facts = _facts(inputs, options)
        session, state = facts.pop("session_recordings", None), facts.pop("alignment_state", None)
        windows = self._windows(extractor, recording, facts)
        if extractor.alignment is not None and state is None:
            of_call = {name: options[name] for name in _SIGNAL_KEYS if name in options}
            state = self._fit_with(extractor, recording, windows, session, of_call)
        elif extractor.alignment is None and (session is not None or state is not None):
            raise ValueError(
                "session_recordings and alignment_state are for a model with an alignment; this has none."
            )
        elif session is not None:
            raise ValueError("alignment_state is fitted already: leave session_recordings out.")
        if isinstance(state, Mapping):
            state = alignment_from_dict(state)
        positions = np.asarray(channel_positions(windows.ch_names), dtype=np.float32)
        done = 0
        with tqdm(total=len(windows), desc=self.verb, unit="window", leave=False, delay=2) as progress:
            for values, onsets in windows.batches(batch_size):
                reasons = windows.unjudged(values, onsets)
                if state is not None:
                    values = extractor.align_windows(
                        {"input_values": values, "ch_names": windows.ch_names}, True, state
                    )
                done += len(onsets)
                batch = {"is_last": done == len(windows), "input_values": values}
                yield {**batch, "channel_positions": positions, "onset": onsets.tolist(), "reason": reasons}
                progress.update(len(onsets))

    def _answers(
        self,
        logits: np.ndarray,
        onsets: list[float],
        reasons: list[str | None],
        top_k: int | None = 1,
        label_all: bool = False,
    ) -> list[dict[str, Any]]:
        """Return one dict per window of logits (N, num_labels)."""
        if self.model.config.problem_type == REGRESSION:
            return self._number_answers(logits, onsets, reasons, label_all)
        logits = self._finite(logits)
        several = self.model.config.problem_type == MULTI_LABEL
        probabilities = predictions_of(self.model.config, logits)
        order = np.argsort(-probabilities, axis=-1, kind="stable")
        ordered = np.take_along_axis(probabilities, order, axis=-1)
        names, windows = label_names(self.model), []
        for values, indices, onset, reason in zip(ordered.tolist(), order.tolist(), onsets, reasons, strict=True):
            ranked = [
                {"label": names[index], "score": value} for index, value in zip(indices[:top_k], values, strict=False)
            ]
            held: list[str] | None = [
                names[index] for index, value in zip(indices, values, strict=True) if value >= 0.5
            ]
            if reason is not None and not label_all:
                ranked, held = [], None
            best = ranked[0] if ranked else {"label": None, "score": None}
            window = {**best, **({"labels": held} if several else {}), **self._when(onset, reason)}
            windows.append(window if top_k == 1 else {**window, "scores": ranked})
        return windows

    def _number_answers(
        self, numbers: np.ndarray, onsets: list[float], reasons: list[str | None], label_all: bool = False
    ) -> list[dict[str, Any]]:
        """Return one dict per window of the numbers (N, L) of a regression."""
        names, windows = label_names(self.model), []
        for values, onset, reason in zip(self._finite(numbers).tolist(), onsets, reasons, strict=True):
            told = values if reason is None or label_all else [None] * len(values)
            answer: dict[str, Any] = {"values": dict(zip(names, told, strict=True))}
            if len(names) == 1:
                answer = {"value": told[0], "label": names[0]}
            windows.append({**answer, **self._when(onset, reason)})
        return windows

    def _finite(self, logits: np.ndarray) -> np.ndarray:
        """Outputs (N, L) as float64.

        Raises:
            ValueError: some are not finite.
        """
        logits = logits.astype(np.float64)
        broken = np.flatnonzero(~np.isfinite(logits).all(-1))
        if len(broken):
            raise ValueError(
                f"The model gave numbers that are not finite for {len(broken)} of {len(logits)} windows, the first of "
                f"them number {broken[0]}. Its weights are damaged, or its dtype ({self.model.dtype}) is too narrow: "
                "load it with dtype='float32'."
            )
        return logits

    def _when(self, onset: float, reason: str | None) -> dict[str, Any]:
        """Where a window is in its recording, in seconds, and why it should get no label."""
        duration = self.feature_extractor.n_times / self.feature_extractor.sfreq
        return {"onset": None if np.isnan(onset) else onset, "duration": duration, "reason": reason}

    def _extractor(self, stride_seconds: float | None) -> EEGPreparation:
        """The feature extractor, strict where the model is, with the call's stride."""
        extractor = copy.copy(self.feature_extractor)
        if stride_seconds is not None:
            extractor.stride = max(1, round(stride_seconds * extractor.sfreq))
        if not self._takes_positions:
            # a teacher knows its own channels only, a student takes what there is of them
            extractor.missing_channels = "error"
            extractor.ch_names = extractor.ch_names or required_channels(self.model.config)
        return extractor

    def _windows(self, extractor: EEGPreparation, recording: Any, facts: Mapping[str, Any]) -> RecordingWindows:
        """A recording, prepared, whose channels the model can read; one that is prepared already is taken as it is."""
        if isinstance(recording, (list, tuple)):
            raise TypeError(
                f"A recording is a path, an mne.io.Raw, mne.Epochs, an array or tensor, or a dict of one; got a "
                f"{type(recording).__name__} inside a list. Put numbers into a NumPy array, and give a flat list."
            )
        prepared = isinstance(recording, RecordingWindows)
        windows = recording if prepared else RecordingWindows(extractor, recording, **facts)
        if not self._takes_positions:
            check_delivered(self.model.config, windows.ch_names)
        return windows

    def _fit_with(
        self,
        extractor: EEGPreparation,
        recording: Any,
        windows: RecordingWindows,
        session: Any,
        options: Mapping[str, Any],
    ) -> Alignment:
        """The alignment of the subject, fitted on a recording and the others of the session."""
        items = list(session) if isinstance(session, (list, tuple)) else [session] if session is not None else []
        others = [_facts(item, options, ()) for item in items]
        # a user who names the whole session names this recording too
        others = [(other, facts) for other, facts in others if not _is_same(other, recording)]
        if not others:
            _say_once(
                f"The alignment ({extractor.alignment}) is fitted on each recording by itself, which should be one "
                "subject's whole session. If it holds one class or block only, name the others of the session: "
                "session_recordings=[...]."
            )
        return fit_session(extractor, [windows, *(self._windows(extractor, *other) for other in others)])


class RecordingClassifier(RecordingClassification):
    """Classify EEG recordings window by window with an exported student; made by [`dlink_hf.pipeline`].

    It takes what [`EEGClassificationPipeline`] takes and gives what that gives, but is not a pipeline of transformers:
    with a student for ONNX Runtime neither torch nor transformers is imported.

    Args:
        model: an [`OnnxStudent`] or [`ExecutorchStudent`].
        feature_extractor: the [`EEGReader`] or [`EEGFeatureExtractor`] that prepares recordings as in its training.
        batch_size: windows in a run of the model.
        **options: any option of the call, to hold for all calls.

    Raises:
        TypeError: the model is not an exported student, the feature extractor is none, or an option is unknown.
        ValueError: the two have different sampling rates, or an option is out of range.

    Example:

    ```python
    >>> import dlink_hf
    >>> classify = dlink_hf.pipeline(model="outputs/export/float32", backend="onnx")
    >>> classify("recording.edf")[0]
    {'label': 'rest', 'score': 0.93, 'onset': 0.0, 'duration': 5.0, 'reason': None}
    ```
    """

    def __init__(
        self,
        model: ExportedStudent,
        feature_extractor: EEGPreparation | None = None,
        batch_size: int | None = None,
        **options: Any,
    ) -> None:
        if not isinstance(model, ExportedStudent):
            raise TypeError(
                f"{type(model).__name__} is not an exported student: models of PyTorch go by "
                "dlink_hf.pipeline(model=...)."
            )
        if model.labels_patches != self.labels_patches:
            raise TypeError(
                f"This exported student labels {'patches' if model.labels_patches else 'whole windows'}, which a "
                f"{type(self).__name__} does not read: dlink_hf.pipeline(model=...) takes the one that fits."
            )
        self._check_parts(model, feature_extractor)
        call_options(**options)
        self.model, self.feature_extractor = model, feature_extractor
        self._batch_size = BATCH_SIZE if batch_size is None else batch_size
        self._options = options

    def __call__(self, inputs: Any, **options: Any) -> Any:
        """Classify one recording, or several.

        Args:
            inputs: a recording, a list of them, or a generator of them, as in the call of
                [`EEGClassificationPipeline`].
            **options: `top_k`, `label_all`, `stride_seconds`, `ch_names`, `sfreq`, `unit`, `is_filtered`,
                `session_recordings`, `alignment_state` and `batch_size`, as there.

        Returns:
            For a recording a list of one dict per window: `label`, `score`, `onset` and `duration` in seconds,
            `reason`, and `scores` with another `top_k` than 1; for a list a list of such lists, for a generator an
            iterator over them.

        Raises:
            FileNotFoundError: a path leads nowhere.
            TypeError: a recording is of no known kind, or an option is unknown.
            ValueError: a recording can't be used, or an option is out of range; the message says what to do.
        """
        batch_size = options.pop("batch_size", None)
        batch_size = int_at_least("batch_size", self._batch_size if batch_size is None else batch_size, unit="windows")
        preparation, answer = call_options(**{**self._options, **options})
        if isinstance(inputs, Iterator) and not isinstance(inputs, mne.BaseEpochs):
            return (self._classify(item, batch_size, preparation, answer) for item in inputs)
        if isinstance(inputs, (list, tuple)):
            return [self._classify(item, batch_size, preparation, answer) for item in inputs]
        return self._classify(inputs, batch_size, preparation, answer)

    def _classify(
        self, recording: Any, batch_size: int, preparation: dict[str, Any], answer: dict[str, Any]
    ) -> list[dict[str, Any]]:
        logits, onsets, reasons = [], [], []
        for batch in self._batches(recording, batch_size, **preparation):
            positions = batch["channel_positions"] if self._takes_positions else None
            logits.append(self.model(batch["input_values"], positions).logits)
            onsets += batch["onset"]
            reasons += batch["reason"]
        return self._answers(np.concatenate(logits), onsets, reasons, **answer)


def call_options(
    answer_options: tuple[str, ...] = ("top_k", "label_all"), /, **given: Any
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Sort the options of a call: how recordings are prepared, and what is told of their windows.

    Args:
        answer_options: names of the options that say what is told.
        **given: the options.

    Raises:
        TypeError: an option is unknown.
        ValueError: one is out of range.
    """
    unknown = sorted(set(given) - {*_CALL_OPTIONS, *answer_options})
    if unknown:
        raise TypeError(
            f"The pipeline has no option {', '.join(unknown)}; it has "
            f"{', '.join((*answer_options, *_CALL_OPTIONS))}, batch_size, num_workers."
        )
    preparation = {name: given[name] for name in _CALL_OPTIONS if given.get(name) is not None}
    stride = preparation.get("stride_seconds")
    if stride is not None:
        positive("stride_seconds", stride, "seconds")
    _check_unit(preparation.get("unit"))
    answer: dict[str, Any] = {name: given[name] for name in answer_options if name in given}
    top_k = answer.get("top_k")
    if top_k is not None and (isinstance(top_k, bool) or not isinstance(top_k, int) or top_k < 1):
        raise ValueError(f"top_k must be a number of labels, at least 1, or None for all, got {top_k!r}.")
    return preparation, answer


def _facts(
    item: Any, options: Mapping[str, Any], session_keys: tuple[str, ...] = _SESSION_KEYS
) -> tuple[Any, dict[str, Any]]:
    """A recording, and what is known of it: from its dict where it has one, else from the options of the call."""
    if not isinstance(item, Mapping):
        return item, dict(options)
    known = (*_SIGNAL_KEYS, *session_keys)
    recordings = [key for key in ("array", "input") if item.get(key) is not None]
    if set(item) - {"array", "input", *known} or len(recordings) != 1:
        raise ValueError(
            f"A dict of a recording has one of 'array' and 'input', and any of {', '.join(known)}; this one has "
            f"{', '.join(map(str, item)) or 'nothing'}."
        )
    _check_unit(item.get("unit"))
    return item[recordings[0]], {**options, **{key: item[key] for key in known if item.get(key) is not None}}


def _is_same(one: Any, other: Any) -> bool:
    """Whether two recordings are one, by identity or path."""
    if isinstance(one, (str, os.PathLike)) and isinstance(other, (str, os.PathLike)):
        return Path(one).resolve() == Path(other).resolve()
    return one is other


def _check_unit(unit: Any) -> None:
    if unit is not None:
        one_of("unit", unit, MICROVOLTS_PER_UNIT)


@lru_cache
def _say_once(message: str) -> None:
    logger.warning(message)


__all__ = [
    "BATCH_SIZE",
    "FEATURE_TASK",
    "REGRESSION_TASK",
    "TASK",
    "TOKEN_TASK",
    "RecordingClassification",
    "RecordingClassifier",
    "call_options",
]
