# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""The pipeline `"eeg-token-classification"`: recordings in, a label for every patch, or every few, out."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

from transformers.models.auto.auto_factory import _LazyAutoMapping
from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES
from transformers.pipelines import PIPELINE_REGISTRY

from ..models.mic.configuration_mic import MiCConfig
from ..models.mic.token_classification import MiCForEEGTokenClassification
from ..models.teacher.configuration_teacher import DLinkTeacherConfig
from ..models.teacher.token_classification import DLinkTeacherForEEGTokenClassification
from .auto import AutoModelForEEGClassification
from .patch_places import PatchPlaces
from .pipeline import TrainedMixin
from .recording_classifier import TOKEN_TASK
from .window_pipeline import EEGWindowPipeline


class EEGTokenClassificationPipeline(PatchPlaces, EEGWindowPipeline):
    """Label every patch of EEG recordings, or every few; made by [`dlink_hf.pipeline`] or `transformers.pipeline`.

    It prepares recordings as [`EEGClassificationPipeline`] does, and cuts them into stretches of the extractor's
    window, one after the other: each place has one label. What is left at the end, less than a stretch, has none.

    Args:
        model: [`MiCForEEGTokenClassification`], one that was exported, or [`DLinkTeacherForEEGTokenClassification`].
        feature_extractor: the [`EEGFeatureExtractor`] that prepares recordings as in the model's training.
        **kwargs: as for [`EEGClassificationPipeline`].

    Raises:
        TypeError: the model labels no patches, or the feature extractor is none.
        ValueError: the two have different sampling rates, the extractor's window does not hold whole labels, or an
            option is out of range.

    Example:

    ```python
    >>> import dlink_hf
    >>> pipe = dlink_hf.pipeline("eeg-token-classification", model="outputs/sleep")
    >>> pipe("night.edf")[2]
    {'label': 'N2', 'score': 0.81, 'onset': 60.0, 'duration': 30.0, 'reason': None}
    ```
    """

    answer_options = ("top_k", "label_all")

    @staticmethod
    def check_model(model: Any) -> None:
        """Refuse a model that labels no patches."""
        kinds = (MiCForEEGTokenClassification, DLinkTeacherForEEGTokenClassification)
        if not isinstance(model, kinds) and not getattr(model, "labels_patches", False):
            raise TypeError(
                f"{type(model).__name__} does not label patches. Give a MiCForEEGTokenClassification, or take the "
                "task 'eeg-classification', which has a label for each window."
            )

    def __call__(self, inputs: Any, **kwargs: Any) -> list[dict] | list[list[dict]] | Iterator[list[dict]]:
        """Label the patches of one recording, or several.

        Args:
            inputs: as [`EEGClassificationPipeline`] takes them.
            **kwargs: its options, but for `stride_seconds`.

        Returns:
            For a recording a list of one dict per place, in order of time: `label`, the likeliest; `score`, its
            probability; `onset`, in seconds from the recording's first sample (`None` for prepared windows);
            `duration` of the place, in seconds; and `reason`, `None`. With `top_k` other than 1 also `scores`. The
            places of a stretch that training would have left out have `None` for label and score and say why in
            `reason`, unless `label_all`. For a list or a generator as [`EEGClassificationPipeline`].

        Raises:
            FileNotFoundError, TypeError, ValueError: as [`EEGClassificationPipeline`].
        """
        return super().__call__(inputs, **kwargs)

    def postprocess(
        self, model_outputs: list[dict[str, Any]], top_k: int | None = 1, label_all: bool = False
    ) -> list[dict[str, Any]]:
        """Return one dict per place of all stretches of a recording."""
        return self._answers(*self.gather(model_outputs), top_k, label_all)


class _TrainedTokenClassifier(TrainedMixin, AutoModelForEEGClassification):  # type: ignore[misc]
    """A model that labels patches, with its head."""

    _model_mapping = _LazyAutoMapping(CONFIG_MAPPING_NAMES, OrderedDict())


_TrainedTokenClassifier.register(MiCConfig, MiCForEEGTokenClassification)
_TrainedTokenClassifier.register(DLinkTeacherConfig, DLinkTeacherForEEGTokenClassification)
PIPELINE_REGISTRY.register_pipeline(TOKEN_TASK, EEGTokenClassificationPipeline, pt_model=_TrainedTokenClassifier)


__all__ = ["TOKEN_TASK", "EEGTokenClassificationPipeline"]
