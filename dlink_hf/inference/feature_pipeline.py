# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""The pipeline `"eeg-feature-extraction"`: recordings in, one vector for every window out."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import torch
from transformers import AutoModel, PreTrainedModel
from transformers.pipelines import PIPELINE_REGISTRY

from ..core.checkpoint_names import found_checkpoint
from ..core.checks import one_of
from ..models.configuration_base import DLinkPreTrainedConfig
from ..models.mic.modeling_mic import MiCModel, MiCWithHead
from ..models.teacher.modeling_teacher import DLinkTeacherModel, DLinkTeacherWithHead
from .recording_classifier import FEATURE_TASK
from .window_pipeline import EEGWindowPipeline


# state -> what it is of; the first is the default of a student
STATES = ("compressed", "mimic", "tokens")
POOLINGS = ("mean", "channels")


class EEGFeatureExtractionPipeline(EEGWindowPipeline):
    """Describe EEG recordings by one vector a window; made by [`dlink_hf.pipeline`] or `transformers.pipeline`.

    A vector is a state of the network, pooled:

    | `state` | of | shape | length by `pooling` |
    |---|---|---|---|
    | `"compressed"` (default) | student | (K, Q, c): spatial and temporal slots | K * Q * c, not pooled |
    | `"mimic"` | student | (C, P, D): what mimics the teacher | `"mean"`: D; `"channels"`: C * D |
    | `"tokens"` (default of a teacher) | both | (C, P, d): the last layer | `"mean"`: d; `"channels"`: C * d |

    `"mean"` is over channels and patches, and so the same length for any montage, as the compressed state is;
    `"channels"` is over patches only. No head takes part: a general student will do.

    Args:
        model: a student or a teacher, with a head or without.
        feature_extractor: the [`EEGFeatureExtractor`] that prepares recordings as in the model's training.
        **kwargs: as for [`EEGClassificationPipeline`]; `state` and `pooling`, to hold for all calls.

    Raises:
        TypeError: the model has no states (an export), or the feature extractor is none.
        ValueError: the two have different sampling rates, or an option is out of range.

    Example:

    ```python
    >>> import dlink_hf
    >>> embed = dlink_hf.pipeline("eeg-feature-extraction", model="dlink-mic-small")
    >>> window = embed("recording.edf")[0]
    >>> window["features"].shape, window["onset"]
    ((256,), 0.0)
    ```
    """

    answer_options: ClassVar[tuple[str, ...]] = ("state", "pooling")
    verb: ClassVar[str] = "embed"

    def __init__(self, model: PreTrainedModel, feature_extractor: Any = None, **kwargs: Any) -> None:
        bare = model.mic if isinstance(model, MiCWithHead) else model
        bare = bare.teacher if isinstance(bare, DLinkTeacherWithHead) else bare
        super().__init__(model=bare, feature_extractor=feature_extractor, **kwargs)

    @staticmethod
    def check_model(model: Any) -> None:
        """Refuse a model without states to read."""
        if not isinstance(model, (MiCModel, DLinkTeacherModel)):
            raise TypeError(
                "Features are states of a MiCModel or a DLinkTeacherModel, with a head or without; "
                f"got {type(model).__name__}. An export gives only its answers: load the checkpoint."
            )

    def __call__(self, inputs: Any, **kwargs: Any) -> list[dict] | list[list[dict]] | Iterator[list[dict]]:
        """Describe one recording, or several.

        Args:
            inputs: as [`EEGClassificationPipeline`] takes them.
            state (`str`, *optional*): `"compressed"`, `"mimic"` or `"tokens"`, as the table of the class says.
            pooling (`str`, *optional*, defaults to `"mean"`): `"mean"` or `"channels"`, of the other two states.
            **kwargs: further options of [`EEGClassificationPipeline`], but for `top_k` and `label_all`.

        Returns:
            For a recording a list of one dict per window, in order of time: `features`, (F,) float32; `onset`, in
            seconds from the recording's first sample (`None` for prepared windows); `duration`, in seconds; and
            `reason`: why no model should judge the window (its amplitude, a mark), else `None`. Features are given
            all the same. For a list or a generator as [`EEGClassificationPipeline`].

        Raises:
            FileNotFoundError, TypeError, ValueError: as [`EEGClassificationPipeline`].
        """
        return super().__call__(inputs, **kwargs)

    def _sanitize_parameters(self, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        preparation, _, answer = super()._sanitize_parameters(**kwargs)
        states = STATES if isinstance(self.model, MiCModel) else ("tokens",)
        if "state" in answer:
            one_of("`state`", answer["state"], states)
        if "pooling" in answer:
            one_of("`pooling`", answer["pooling"], POOLINGS)
        return preparation, answer, {}

    def _forward(
        self, model_inputs: dict[str, Any], state: str | None = None, pooling: str = "mean"
    ) -> dict[str, Any]:
        self._chosen = (state or ("compressed" if isinstance(self.model, MiCModel) else "tokens"), pooling)
        return super()._forward(model_inputs)

    def run_model(self, input_values: torch.Tensor, positions: dict[str, torch.Tensor]) -> torch.Tensor:
        """Return the features (B, F) of windows (B, C, T)."""
        state, pooling = self._chosen
        output = self.model(input_values, **positions, return_dict=True)
        if state == "compressed":
            return output.compressed_state.flatten(1)
        tokens = output.mimic_state if state == "mimic" else output.last_hidden_state
        return tokens.mean((1, 2)) if pooling == "mean" else tokens.mean(2).flatten(1)

    def postprocess(self, model_outputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return one dict per window of all batches of a recording."""
        features, onsets, reasons = self.gather(model_outputs)
        vectors = self._finite(features).astype(np.float32)
        return [
            {"features": vector, **self._when(onset, reason)}
            for vector, onset, reason in zip(vectors, onsets, reasons, strict=True)
        ]


def load_backbone(name_or_path: str | os.PathLike, **hub_kwargs: Any) -> PreTrainedModel:
    """Load a student or a teacher without its head, whichever a checkpoint holds.

    Args:
        name_or_path: short name (`dlink-mic-small`), folder or Hub id.
        **hub_kwargs: `revision`, `cache_dir`, `token`, `local_files_only`, `force_download`, `subfolder`, `dtype`.

    Returns:
        [`MiCModel`] or [`DLinkTeacherModel`], in evaluation mode.

    Raises:
        OSError: there is no such checkpoint, or it can't be reached.
        ValueError: it holds another kind of model.
    """
    kinds: dict[str, Any] = {"dlink_mic": MiCModel, "dlink_teacher": DLinkTeacherModel}
    options = {name: value for name, value in hub_kwargs.items() if name != "dtype"}
    with found_checkpoint(name_or_path, hub_kwargs.get("revision"), hub_kwargs.get("subfolder")) as resolved:
        fields, _ = DLinkPreTrainedConfig.read_config_dict(resolved, **options)
        if str(fields.get("model_type")) not in kinds:
            raise ValueError(
                f"{name_or_path} holds a model of type {fields.get('model_type')!r}; a student is 'dlink_mic', a "
                "teacher 'dlink_teacher'."
            )
        return kinds[fields["model_type"]].from_pretrained(resolved, **hub_kwargs).eval()


PIPELINE_REGISTRY.register_pipeline(FEATURE_TASK, EEGFeatureExtractionPipeline, pt_model=AutoModel)


__all__ = ["FEATURE_TASK", "POOLINGS", "STATES", "EEGFeatureExtractionPipeline", "load_backbone"]
