# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Labels of patches as places of a recording; of exported students without torch and transformers."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..core.model_facts import label_samples
from ..preprocessing.preparation import EEGPreparation
from .recording_classifier import RecordingClassification, RecordingClassifier


def check_whole_labels(extractor: EEGPreparation, n_samples: int) -> None:
    """Refuse an extractor whose stretches do not hold whole labels.

    Args:
        extractor: cuts the stretches.
        n_samples: length of a label in samples.

    Raises:
        ValueError: naming both lengths.
    """
    if extractor.n_times % n_samples:
        raise ValueError(
            f"The feature extractor cuts stretches of {extractor.n_times} samples, which do not hold whole labels of "
            f"{n_samples} samples ({n_samples / extractor.sfreq:g} s). Give one with n_times a "
            f"multiple of {n_samples}."
        )


class PatchPlaces(RecordingClassification):
    """What the pipelines of models that label patches share: stretches side by side, and one answer per place."""

    verb = "label"

    @property
    def samples_per_label(self) -> int:
        """Length of a label in samples."""
        return label_samples(self.model.config)

    def _check_parts(self, model: Any, feature_extractor: Any) -> None:
        super()._check_parts(model, feature_extractor)
        check_whole_labels(feature_extractor, label_samples(model.config))

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

    def _answers(
        self,
        logits: np.ndarray,
        onsets: list[float],
        reasons: list[str | None],
        top_k: int | None = 1,
        label_all: bool = False,
    ) -> list[dict[str, Any]]:
        """Return one dict per place of logits (N, S, num_labels)."""
        n_places, seconds = logits.shape[1], self.samples_per_label / self.feature_extractor.sfreq
        places = (np.asarray(onsets)[:, None] + seconds * np.arange(n_places)).ravel().tolist()
        of_places = [reason for reason in reasons for _ in range(n_places)]
        return super()._answers(logits.reshape(-1, logits.shape[2]), places, of_places, top_k, label_all)

    def _when(self, onset: float, reason: str | None) -> dict[str, Any]:
        duration = self.samples_per_label / self.feature_extractor.sfreq
        return {**super()._when(onset, reason), "duration": duration}


class RecordingPatchClassifier(PatchPlaces, RecordingClassifier):
    """Label every patch of recordings, or every few, with an exported student; made by [`dlink_hf.pipeline`].

    It takes and gives what [`EEGTokenClassificationPipeline`] does. With ONNX Runtime neither torch nor transformers
    is imported.

    Args:
        model: an [`OnnxStudent`] of a [`MiCForEEGTokenClassification`].
        feature_extractor: the [`EEGReader`] or [`EEGFeatureExtractor`] that prepares recordings as in its training.
        batch_size: stretches in a run of the model.
        **options: any option of the call, to hold for all calls.

    Raises:
        TypeError: the model labels no patches, or as [`RecordingClassifier`].
        ValueError: the extractor's window does not hold whole labels, or as [`RecordingClassifier`].

    Example:

    ```python
    >>> import dlink_hf
    >>> label = dlink_hf.pipeline(model="outputs/sleep/onnx/float32", backend="onnx")
    >>> label("night.edf")[2]
    {'label': 'N2', 'score': 0.81, 'onset': 60.0, 'duration': 30.0, 'reason': None}
    ```
    """

    labels_patches = True


__all__ = ["PatchPlaces", "RecordingPatchClassifier", "check_whole_labels"]
