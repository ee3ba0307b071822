# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""The pipeline `"eeg-classification"`: recordings in, a label and its score for every window out.

Importing this module, or naming `dlink_hf.pipeline` or `dlink_hf.EEGClassificationPipeline`, registers the task with
transformers, so that `transformers.pipeline("eeg-classification", model=...)` knows it too.
"""

from __future__ import annotations

import copy
import logging
import os
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import mne
import numpy as np
import torch
from tqdm.auto import tqdm
from transformers import PreTrainedModel
from transformers.pipelines import PIPELINE_REGISTRY
from transformers.pipelines.base import ChunkPipeline

from ..core.checkpoint_names import found_checkpoint
from ..core.checks import int_at_least, one_of, positive
from ..core.electrodes import channel_positions
from ..core.fetch import HUB_OPTIONS, fetch
from ..data.model_contract import check_delivered, label_names, required_channels
from ..evaluation.predict import load_classifier
from ..export.exported_student import ExportedStudent
from ..export.loading import check_backend, load_exported
from ..models.modeling_base import DLinkPreTrainedModel
from ..preprocessing.alignment import Alignment, alignment_from_dict
from ..preprocessing.feature_extraction_eeg import EEGFeatureExtractor
from ..preprocessing.recording_windows import RecordingWindows, fit_session
from ..preprocessing.signals import MICROVOLTS_PER_UNIT
from .auto import AutoModelForEEGClassification


logger = logging.getLogger(__name__)

TASK = "eeg-classification"
BATCH_SIZE = 64

_SIGNAL_KEYS = ("ch_names", "sfreq", "unit", "is_filtered")
_SESSION_KEYS = ("session_recordings", "alignment_state")
_CALL_OPTIONS = ("stride_seconds", *_SIGNAL_KEYS, *_SESSION_KEYS)


class EEGClassificationPipeline(ChunkPipeline):
    """Classify EEG recordings window by window; made by [`dlink_hf.pipeline`] or `transformers.pipeline`.

    The windows are those that the model's own [`EEGFeatureExtractor`] cuts. They go through the network `batch_size`
    at a time (64 by default), those of one recording in each batch: the memory of the network does not grow with the
    recording, and windows of other channels are never padded into one batch.

    Args:
        model: a student or a teacher with a trained classification head, or an [`OnnxStudent`] or
            [`ExecutorchStudent`].
        feature_extractor: the [`EEGFeatureExtractor`] that prepares recordings as in the model's training.
        **kwargs: `device`, `batch_size`, `num_workers` as in every pipeline of transformers; any option of the call,
            to hold for all calls.

    Raises:
        TypeError: the model has no classification head, or the feature extractor is none.
        ValueError: the two have different sampling rates, or an option is out of range.

    Example:

    ```python
    >>> import dlink_hf
    >>> pipe = dlink_hf.pipeline("eeg-classification", model="outputs/student")
    >>> pipe("recording.edf")[0]
    {'label': 'rest', 'score': 0.93, 'onset': 0.0, 'duration': 5.0, 'reason': None}
    ```
    """

    _load_tokenizer = False
    _load_image_processor = False
    _load_video_processor = False
    _load_processor = False
    _load_feature_extractor = True

    def __init__(
        self, model: PreTrainedModel, feature_extractor: EEGFeatureExtractor | None = None, **kwargs: Any
    ) -> None:
        if isinstance(model, ExportedStudent):
            kwargs["device"] = "cpu" if kwargs.get("device") is None else kwargs["device"]
        elif not type(model).__name__.endswith("ForEEGClassification"):
            raise TypeError(
                f"{type(model).__name__} has no classification head. Give a MiCForEEGClassification or a "
                "DLinkTeacherForEEGClassification that was fine-tuned for the task."
            )
        if not isinstance(feature_extractor, EEGFeatureExtractor):
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
        kwargs["batch_size"] = BATCH_SIZE if kwargs.get("batch_size") is None else kwargs["batch_size"]
        # transformers.pipeline hands it on
        kwargs.pop("local_files_only", None)
        super().__init__(model=model, feature_extractor=feature_extractor, **kwargs)
        # the student reads channels by their place, the teacher by their row
        self._takes_positions = model.takes_positions

    def __call__(self, inputs: Any, **kwargs: Any) -> list[dict] | list[list[dict]] | Iterator[list[dict]]:
        """Classify one recording, or several.

        Args:
            inputs: a recording, a list of them, or a generator of them. A recording is a path, an `mne.io.Raw`,
                `mne.Epochs` (prepared windows), an array or tensor, (C, T) of a whole recording or (N, C, T) of N
                prepared windows, or a dict `{"array": ..., "ch_names": [...], "sfreq": 256.0, "unit": "uV"}`. The
                dict's recording may be of any kind and also go by the name `"input"`; its keys `unit`,
                `is_filtered`, `session_recordings` and `alignment_state` count for this recording rather than those
                of the call.
            top_k (`int`, *optional*, defaults to 1): how many labels to tell of each window; `None` for all.
            label_all (`bool`, *optional*, defaults to `False`): whether windows get a label that the model never saw
                the like of: those that training left out for their amplitude, and those that annotations mark bad.
            stride_seconds (`float`, *optional*): from one window to the next; the feature extractor's own if left out.
            ch_names (`Sequence[str]`, *optional*): the C channel names of arrays that come without.
            sfreq (`float`, *optional*): the sampling rate, in Hz, of arrays that come without.
            unit (`str`, *optional*): unit of the numbers, "uV", "mV" or "V": needed for arrays, volts for others.
            is_filtered (`bool`, *optional*, defaults to `False`): whether the signal was filtered already as the
                feature extractor would: said of prepared windows, which are too short for a filter.
            session_recordings (`list`, *optional*): for a model with an alignment, further recordings of the same
                subject's session: it is fitted on all of them and the one that is classified. Needed where that one
                holds a single block or condition, or is short.
            alignment_state (*optional*): for a model with an alignment, what [`fit_session`] made of the session.
            batch_size (`int`, *optional*, defaults to 64): windows in a forward pass.
            num_workers (`int`, *optional*, defaults to 0): 1 reads recordings in a separate process.

        Returns:
            For a recording a list of one dict per window, in order of time: `label`, the likeliest; `score`, its
            probability; `onset`, in seconds from the recording's first sample (`None` for prepared windows);
            `duration`, in seconds; and `reason`, `None`. With `top_k` other than 1 also `scores`: a list of dicts of
            `label` and `score`, the likeliest first. Windows beyond the feature extractor's `reject_uv`, in spans that
            are marked `BAD`, or across a join of recordings have `None` for label and score, no scores, and say why in
            `reason`; with `label_all` they have all. For a list a list of such lists; for a generator an iterator over
            them, each of which is computed when it is asked for.

        Raises:
            FileNotFoundError: a path leads nowhere.
            TypeError: a recording is of no known kind, or an option is unknown.
            ValueError: a recording can't be used, or an option is out of range; the message says what to do.
        """
        if isinstance(inputs, tuple):
            inputs = list(inputs)
        if isinstance(inputs, list) and not inputs:
            return []
        if isinstance(inputs, Iterator) and not isinstance(inputs, mne.BaseEpochs):
            return iter(super().__call__((item for item in inputs), **kwargs))
        return super().__call__(inputs, **kwargs)

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
        options, _, _ = self._sanitize_parameters(stride_seconds=stride_seconds, unit=unit)
        extractor = self._extractor(options.get("stride_seconds"))
        if extractor.alignment is None:
            raise ValueError("Sessions are for a model with an alignment; this one has none.")
        items = list(recordings) if isinstance(recordings, (list, tuple)) else [recordings]
        if not items:
            raise ValueError("The list of the session's recordings is empty: give at least one.")
        signal = {"unit": unit, "is_filtered": is_filtered}
        return fit_session(extractor, [self._windows(extractor, *_facts(item, signal, ())) for item in items])

    def save_pretrained(self, save_directory: str | os.PathLike, **kwargs: Any) -> None:
        """Save model and feature extractor into one folder, from which `pipeline` makes the same pipeline again.

        Args:
            save_directory: the folder, made where absent.
            **kwargs: as the model's `save_pretrained` takes them.

        Raises:
            OSError: the folder can't be written.
        """
        # transformers would copy this file next to the weights, which is of no use without the package
        self.model.save_pretrained(save_directory, **kwargs)
        self.feature_extractor.save_pretrained(save_directory)

    def get_iterator(
        self,
        inputs: Any,
        num_workers: int,
        batch_size: int,
        preprocess_params: dict[str, Any],
        forward_params: dict[str, Any],
        postprocess_params: dict[str, Any],
    ) -> Iterator[Any]:
        """As in `ChunkPipeline`, but for the batches, which `preprocess` cuts."""
        int_at_least("batch_size", batch_size, unit="windows")
        preprocess_params = {**preprocess_params, "batch_size": batch_size}
        return super().get_iterator(inputs, num_workers, 1, preprocess_params, forward_params, postprocess_params)

    def _sanitize_parameters(self, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        unknown = sorted(set(kwargs) - {*_CALL_OPTIONS, "top_k", "label_all"})
        if unknown:
            raise TypeError(
                f"The pipeline has no option {', '.join(unknown)}; it has top_k, label_all, "
                f"{', '.join(_CALL_OPTIONS)}, batch_size, num_workers."
            )
        preparation = {name: kwargs[name] for name in _CALL_OPTIONS if kwargs.get(name) is not None}
        stride = preparation.get("stride_seconds")
        if stride is not None:
            positive("stride_seconds", stride, "seconds")
        _check_unit(preparation.get("unit"))
        answer = {name: kwargs[name] for name in ("top_k", "label_all") if name in kwargs}
        top_k = answer.get("top_k")
        if top_k is not None and (isinstance(top_k, bool) or not isinstance(top_k, int) or top_k < 1):
            raise ValueError(f"top_k must be a number of labels, at least 1, or None for all, got {top_k!r}.")
        return preparation, {}, answer

    def preprocess(
        self, inputs: Any, batch_size: int = BATCH_SIZE, stride_seconds: float | None = None, **options: Any
    ) -> Iterator[dict[str, Any]]:
        """Yield the batches of windows of one recording, cut one after the other."""
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
        positions = torch.tensor(channel_positions(windows.ch_names), dtype=torch.float32)
        done = 0
        with tqdm(total=len(windows), desc="classify", unit="window", leave=False, delay=2) as progress:
            for values, onsets in windows.batches(batch_size):
                reasons = windows.unjudged(values, onsets)
                if state is not None:
                    values = extractor.align_windows(
                        {"input_values": values, "ch_names": windows.ch_names}, True, state
                    )
                done += len(onsets)
                batch = {"is_last": done == len(windows), "input_values": torch.from_numpy(values)}
                yield {**batch, "channel_positions": positions, "onset": onsets.tolist(), "reason": reasons}
                progress.update(len(onsets))

    def _forward(self, model_inputs: dict[str, Any]) -> dict[str, Any]:
        kwargs = {"channel_positions": model_inputs["channel_positions"]} if self._takes_positions else {}
        was_training = self.model.training
        self.model.eval()
        try:
            logits = self.model(model_inputs["input_values"], **kwargs).logits
        finally:
            self.model.train(was_training)
        return {**{name: model_inputs[name] for name in ("is_last", "onset", "reason")}, "logits": logits}

    def postprocess(
        self, model_outputs: list[dict[str, Any]], top_k: int | None = 1, label_all: bool = False
    ) -> list[dict[str, Any]]:
        """Return one dict per window of all batches of a recording."""
        logits = torch.cat([output["logits"] for output in model_outputs]).double()
        onsets = [onset for output in model_outputs for onset in output["onset"]]
        reasons = [reason for output in model_outputs for reason in output["reason"]]
        broken = (~logits.isfinite().all(-1)).nonzero().flatten().tolist()
        if broken:
            raise ValueError(
                f"The model gave numbers that are not finite for {len(broken)} of {len(onsets)} windows, the first of "
                f"them number {broken[0]}. Its weights are damaged, or its dtype ({self.dtype}) is too narrow: load "
                "it with dtype='float32'."
            )
        probabilities, order = logits.softmax(-1).sort(dim=-1, descending=True, stable=True)
        names, duration = label_names(self.model), self.feature_extractor.n_times / self.feature_extractor.sfreq
        windows = []
        for values, indices, onset, reason in zip(
            probabilities.tolist(), order.tolist(), onsets, reasons, strict=True
        ):
            ranked = [
                {"label": names[index], "score": value} for index, value in zip(indices[:top_k], values, strict=False)
            ]
            onset = None if np.isnan(onset) else onset
            if reason is not None and not label_all:
                ranked = []
            best = ranked[0] if ranked else {"label": None, "score": None}
            window = {**best, "onset": onset, "duration": duration, "reason": reason}
            windows.append(window if top_k == 1 else {**window, "scores": ranked})
        return windows

    def _extractor(self, stride_seconds: float | None) -> EEGFeatureExtractor:
        """The feature extractor, strict where the model is, with the call's stride."""
        extractor = copy.copy(self.feature_extractor)
        if stride_seconds is not None:
            extractor.stride = max(1, round(stride_seconds * extractor.sfreq))
        if not self._takes_positions:
            # a teacher knows its own channels only, a student takes what there is of them
            extractor.missing_channels = "error"
            extractor.ch_names = extractor.ch_names or required_channels(self.model.config)
        return extractor

    def _windows(self, extractor: EEGFeatureExtractor, recording: Any, facts: Mapping[str, Any]) -> RecordingWindows:
        """A recording, prepared, whose channels the model can read."""
        if isinstance(recording, (list, tuple)):
            raise TypeError(
                f"A recording is a path, an mne.io.Raw, mne.Epochs, an array or tensor, or a dict of one; got a "
                f"{type(recording).__name__} inside a list. Put numbers into a NumPy array, and give a flat list."
            )
        windows = RecordingWindows(extractor, recording, **facts)
        if not self._takes_positions:
            check_delivered(self.model.config, windows.ch_names)
        return windows

    def _fit_with(
        self,
        extractor: EEGFeatureExtractor,
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


def pipeline(
    task: str | None = None,
    model: str | os.PathLike | PreTrainedModel | ExportedStudent | None = None,
    feature_extractor: str | os.PathLike | EEGFeatureExtractor | None = None,
    *,
    device: int | str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    backend: str = "torch",
    precision: str | None = None,
    **kwargs: Any,
) -> EEGClassificationPipeline:
    """Return a pipeline that classifies EEG recordings window by window.

    Args:
        task: "eeg-classification", the only one; may be left out.
        model: folder, Hub id or short name of a student or a teacher, or a model itself.
        feature_extractor: the same for the [`EEGFeatureExtractor`]; the one saved with the model by default.
        device: as in transformers: the first accelerator by default, else the CPU; -1 or "cpu" for the CPU.
        dtype: of the weights, such as "bfloat16"; float32 by default, "auto" for that of the checkpoint.
        backend: "torch"; or "onnx" or "executorch", which ONNX Runtime (one thread) or ExecuTorch run on the CPU: of a
            folder that `dlink export` wrote, a checkpoint with an export in its `onnx` or `executorch`, or any other
            student, which is exported at once.
        precision: of the export, where a checkpoint has several: "float32", "float16" or "int8".
        **kwargs: `revision`, `token`, `cache_dir`, `local_files_only`, `force_download`, `subfolder`, for a model that
            is loaded by name; `batch_size`, `num_workers` and the options of the call, to hold for all calls.

    Returns:
        [`EEGClassificationPipeline`]; its call says what it takes and gives.

    Raises:
        ImportError: of another backend, a package is missing.
        OSError: there is no such checkpoint, or it can't be reached.
        TypeError: an option is unknown, or the model has no classification head.
        ValueError: the task is another, no model is named, or the checkpoint holds no trained classifier or no
            preprocessor_config.json; or the backend is unknown, or an exported student is damaged or belongs to other
            weights.
    """
    if task not in (None, TASK):
        raise ValueError(
            f"dlink_hf.pipeline has one task, {TASK!r}, got {task!r}. A model goes by model=...; other tasks are "
            "transformers.pipeline's."
        )
    if model is None:
        raise ValueError("Which model? dlink_hf.pipeline(model=...) takes a folder, a Hub id or a short name.")
    hub = {name: kwargs.pop(name) for name in HUB_OPTIONS if name in kwargs}
    name = os.fspath(model) if isinstance(model, (str, os.PathLike)) else None
    if name is None and (hub or dtype is not None):
        raise ValueError(
            f"{', '.join([*hub, *(['dtype'] if dtype is not None else [])])} is for a model that is loaded by name; "
            "this one is loaded already (model.to(...) changes its dtype)."
        )
    check_backend(backend)
    if precision is not None and backend == "torch":
        raise ValueError(f"precision={precision!r} is for backend='onnx' and 'executorch'; with torch give dtype=....")
    if backend != "torch":
        if name is None or dtype is not None:
            raise ValueError(
                f"backend={backend!r} is for a student by its name or the folder of an export, whose precision was "
                "chosen when it was exported: neither a model that is loaded already nor dtype go with it."
            )
        model = load_exported(name, backend, precision=precision, **hub)
        folder = model.folder
        if feature_extractor is None and folder is not None and (folder / "preprocessor_config.json").is_file():
            # made for the montage of the export
            feature_extractor = EEGFeatureExtractor.from_pretrained(folder)
    elif name is not None:
        model = load_classifier(name, **hub, **({} if dtype is None else {"dtype": dtype}))
    if feature_extractor is None and name is not None:
        feature_extractor = name
    if isinstance(feature_extractor, (str, os.PathLike)):
        feature_extractor = _load_feature_extractor(os.fspath(feature_extractor), hub)
    return EEGClassificationPipeline(
        model=model, feature_extractor=feature_extractor, task=TASK, device=device, **kwargs
    )


class _TrainedClassifier(AutoModelForEEGClassification):
    """What `transformers.pipeline` loads the model by: a checkpoint without a trained head would guess."""

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str, *model_args: Any, **kwargs: Any) -> PreTrainedModel:
        model, info = super().from_pretrained(
            pretrained_model_name_or_path, *model_args, output_loading_info=True, **kwargs
        )
        if isinstance(model, DLinkPreTrainedModel) and model.lacked_head(info):
            raise ValueError(
                f"{pretrained_model_name_or_path} has no trained classification head: fine-tune it first."
            )
        return model


def _load_feature_extractor(name: str, hub: dict[str, Any]) -> EEGFeatureExtractor:
    with found_checkpoint(name, hub.get("revision"), hub.get("subfolder")) as resolved:
        if fetch(resolved, "preprocessor_config.json", hub) is None:
            raise ValueError(
                f"{name} has no preprocessor_config.json, so it is not known at which rate, of which length and how "
                "filtered the model's windows were in training. Give feature_extractor=EEGFeatureExtractor(...), or "
                "save one with the model: EEGFeatureExtractor(...).save_pretrained(folder)."
            )
        return EEGFeatureExtractor.from_pretrained(resolved, **hub)


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


PIPELINE_REGISTRY.register_pipeline(TASK, EEGClassificationPipeline, pt_model=_TrainedClassifier)


__all__ = ["BATCH_SIZE", "TASK", "EEGClassificationPipeline", "pipeline"]
