# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""The pipeline `"eeg-token-classification"`: recordings in, a label for every patch, or every few, out."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

import numpy as np
from transformers.models.auto.auto_factory import _LazyAutoMapping
from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES
from transformers.pipelines import PIPELINE_REGISTRY

from ..models.mic.configuration_mic import MiCConfig
from ..models.mic.token_classification import MiCForEEGTokenClassification
from ..models.teacher.configuration_teacher import DLinkTeacherConfig
from ..models.teacher.token_classification import DLinkTeacherForEEGTokenClassification
from ..preprocessing.preparation import EEGPreparation
from .auto import AutoModelForEEGClassification
from .pipeline import TrainedMixin
from .recording_classifier import TOKEN_TASK
from .window_pipeline import EEGWindowPipeline


class EEGTokenClassificationPipeline(EEGWindowPipeline):
    """Label every patch of EEG recordings, or every few; made by [`dlink_hf.pipeline`] or `transformers.pipeline`.

    It prepares recordings as [`EEGClassificationPipeline`] does, and cuts them into stretches of the extractor's
    window, one after the other: each place has one label. What is left at the end, less than a stretch, has none.

    Args:
        model: [`MiCForEEGTokenClassification`] or [`DLinkTeacherForEEGTokenClassification`].
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
    verb = "label"

    def __init__(self, model: Any, feature_extractor: Any = None, **kwargs: Any) -> None:
        super().__init__(model, feature_extractor, **kwargs)
        size = self._samples_per_label
        if feature_extractor.n_times % size:
            raise ValueError(
                f"The feature extractor cuts stretches of {feature_extractor.n_times} samples, which do not hold "
                f"whole labels of {size} samples ({size / feature_extractor.sfreq:g} s). Give one with n_times a "
                f"multiple of {size}."
            )

    @property
    def _samples_per_label(self) -> int:
        return self.model.config.patch_size * self.model.config.patches_per_label

    @staticmethod
    def check_model(model: Any) -> None:
        """Refuse a model that labels no patches."""
        if not isinstance(model, MiCForEEGTokenClassification | DLinkTeacherForEEGTokenClassification):
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

    def _extractor(self, stride_seconds: float | None) -> EEGPreparation:
        """The feature extractor; stretches lie side by side, or a place would have several labels."""
        if stride_seconds is not None:
            raise ValueError(
                "stride_seconds is for models of one label a window: stretches whose patches are labelled lie side by "
                "side. Leave it out."
            )
        extractor = super()._extractor(None)
        extractor.stride = extractor.n_times
        return extractor

    def postprocess(
        self, model_outputs: list[dict[str, Any]], top_k: int | None = 1, label_all: bool = False
    ) -> list[dict[str, Any]]:
        """Return one dict per place of all stretches of a recording."""
        outputs, onsets, reasons = self.gather(model_outputs)
        n_places, seconds = outputs.shape[1], self._samples_per_label / self.feature_extractor.sfreq
        places = (np.asarray(onsets)[:, None] + seconds * np.arange(n_places)).ravel().tolist()
        of_places = [reason for reason in reasons for _ in range(n_places)]
        return self._answers(outputs.reshape(-1, outputs.shape[2]), places, of_places, top_k, label_all)

    def _when(self, onset: float, reason: str | None) -> dict[str, Any]:
        duration = self._samples_per_label / self.feature_extractor.sfreq
        return {**super()._when(onset, reason), "duration": duration}


class _TrainedTokenClassifier(TrainedMixin, AutoModelForEEGClassification):  # type: ignore[misc]
    """A model that labels patches, with its head."""

    _model_mapping = _LazyAutoMapping(CONFIG_MAPPING_NAMES, OrderedDict())


_TrainedTokenClassifier.register(MiCConfig, MiCForEEGTokenClassification)
_TrainedTokenClassifier.register(DLinkTeacherConfig, DLinkTeacherForEEGTokenClassification)
PIPELINE_REGISTRY.register_pipeline(TOKEN_TASK, EEGTokenClassificationPipeline, pt_model=_TrainedTokenClassifier)


__all__ = ["TOKEN_TASK", "EEGTokenClassificationPipeline"]
