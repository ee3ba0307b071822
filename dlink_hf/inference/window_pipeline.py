# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""What the pipelines of transformers share: prepared windows through a model in batches, one answer a window."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, ClassVar

import mne
import numpy as np
import torch
from transformers import PreTrainedModel
from transformers.pipelines.base import ChunkPipeline

from ..core.checks import int_at_least
from ..export.exported_student import ExportedStudent
from ..preprocessing.feature_extraction_eeg import EEGFeatureExtractor
from .recording_classifier import BATCH_SIZE, RecordingClassification, call_options


class EEGWindowPipeline(RecordingClassification, ChunkPipeline):
    """Prepare recordings as a model was trained on them, and run it window by window.

    The windows are those that the model's own [`EEGFeatureExtractor`] cuts. They go through the network `batch_size`
    at a time (64 by default), those of one recording in each batch: the memory of the network does not grow with the
    recording, and windows of other channels are never padded into one batch.

    Args:
        model: what the subclass takes.
        feature_extractor: the [`EEGFeatureExtractor`] that prepares recordings as in the model's training.
        **kwargs: `device`, `batch_size`, `num_workers` as in every pipeline of transformers; any option of the call,
            to hold for all calls.

    Raises:
        TypeError: the model is of another kind, or the feature extractor is none.
        ValueError: the two have different sampling rates, or an option is out of range.
    """

    # options of the call that say what is told of a window
    answer_options: ClassVar[tuple[str, ...]] = ("label_all",)

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
        self.check_model(model)
        self._check_parts(model, feature_extractor)
        kwargs["batch_size"] = BATCH_SIZE if kwargs.get("batch_size") is None else kwargs["batch_size"]
        # transformers.pipeline hands it on
        kwargs.pop("local_files_only", None)
        super().__init__(model=model, feature_extractor=feature_extractor, **kwargs)

    @staticmethod
    def check_model(model: Any) -> None:
        """Refuse a model that does not give what this pipeline tells.

        Raises:
            TypeError: it does not; the message says what to give.
        """
        raise NotImplementedError

    def __call__(self, inputs: Any, **kwargs: Any) -> Any:
        """Run the model on one recording, or several; the subclasses say what comes back for a window."""
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
        preparation, answer = call_options(self.answer_options, **kwargs)
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
            outputs = self.run_model(model_inputs["input_values"], kwargs)
        finally:
            self.model.train(was_training)
        return {**{name: model_inputs[name] for name in ("is_last", "onset", "reason")}, "outputs": outputs}

    def run_model(self, input_values: torch.Tensor, positions: dict[str, torch.Tensor]) -> torch.Tensor:
        """Return what the model says of windows (B, C, T): one row of outputs for each."""
        return self.model(input_values, **positions).logits

    def gather(self, model_outputs: list[dict[str, Any]]) -> tuple[np.ndarray, list[float], list[str | None]]:
        """Outputs (N, F) float64, onsets (s) and reasons of all batches of a recording."""
        outputs = torch.cat([output["outputs"] for output in model_outputs]).double().numpy()
        onsets = [onset for output in model_outputs for onset in output["onset"]]
        return outputs, onsets, [reason for output in model_outputs for reason in output["reason"]]


__all__ = ["EEGWindowPipeline"]
