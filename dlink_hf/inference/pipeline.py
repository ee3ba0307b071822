# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""The pipeline `"eeg-classification"`: recordings in, a label and its score for every window out.

Importing this module, or naming `dlink_hf.EEGClassificationPipeline`, registers the task with transformers, so that
`transformers.pipeline("eeg-classification", model=...)` knows it too; where transformers is imported already, naming
`dlink_hf.pipeline` does too.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import mne
import torch
from transformers import PreTrainedModel
from transformers.pipelines import PIPELINE_REGISTRY
from transformers.pipelines.base import ChunkPipeline

from ..core.checks import int_at_least
from ..export.exported_student import ExportedStudent
from ..models.modeling_base import DLinkPreTrainedModel
from ..preprocessing.feature_extraction_eeg import EEGFeatureExtractor
from .auto import AutoModelForEEGClassification
from .recording_classifier import BATCH_SIZE, TASK, RecordingClassification, call_options


class EEGClassificationPipeline(RecordingClassification, ChunkPipeline):
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
        self._check_parts(model, feature_extractor)
        kwargs["batch_size"] = BATCH_SIZE if kwargs.get("batch_size") is None else kwargs["batch_size"]
        # transformers.pipeline hands it on
        kwargs.pop("local_files_only", None)
        super().__init__(model=model, feature_extractor=feature_extractor, **kwargs)

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
        preparation, answer = call_options(**kwargs)
        return preparation, {}, answer

    def preprocess(
        self, inputs: Any, batch_size: int = BATCH_SIZE, stride_seconds: float | None = None, **options: Any
    ) -> Iterator[dict[str, Any]]:
        """Yield the batches of windows of one recording, cut one after the other."""
        for batch in self._batches(inputs, batch_size, stride_seconds, **options):
            arrays = {name: torch.from_numpy(batch[name]) for name in ("input_values", "channel_positions")}
            yield {**batch, **arrays}

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
        logits = torch.cat([output["logits"] for output in model_outputs]).double().numpy()
        onsets = [onset for output in model_outputs for onset in output["onset"]]
        reasons = [reason for output in model_outputs for reason in output["reason"]]
        return self._answers(logits, onsets, reasons, top_k, label_all)


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


PIPELINE_REGISTRY.register_pipeline(TASK, EEGClassificationPipeline, pt_model=_TrainedClassifier)


def __getattr__(name: str) -> Any:
    # the function was here once
    if name == "pipeline":
        return import_module(".loading", __package__).pipeline
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = ["BATCH_SIZE", "TASK", "EEGClassificationPipeline"]
