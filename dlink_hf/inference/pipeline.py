# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""The pipelines `"eeg-classification"` and `"eeg-regression"`: recordings in, an answer for every window out.

Importing this module, or naming one of its classes, registers the tasks with transformers, so that
`transformers.pipeline("eeg-classification", model=...)` knows them too; where transformers is imported already, naming
`dlink_hf.pipeline` does too.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import Any

from transformers import PreTrainedModel
from transformers.pipelines import PIPELINE_REGISTRY

from ..core.config_checks import REGRESSION
from ..export.exported_student import ExportedStudent
from ..models.modeling_base import DLinkPreTrainedModel
from .auto import AutoModelForEEGClassification, AutoModelForEEGRegression
from .recording_classifier import BATCH_SIZE, REGRESSION_TASK, TASK, TOKEN_TASK
from .window_pipeline import EEGWindowPipeline


class EEGClassificationPipeline(EEGWindowPipeline):
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

    answer_options = ("top_k", "label_all")

    @staticmethod
    def check_model(model: Any) -> None:
        """Refuse a model without a classification head."""
        if getattr(model.config, "problem_type", None) == REGRESSION:
            raise TypeError(
                f"{type(model).__name__} gives numbers, not classes: dlink_hf.pipeline({REGRESSION_TASK!r}, "
                "model=...)."
            )
        if getattr(model, "labels_patches", False):
            raise TypeError(f"This exported student labels patches: dlink_hf.pipeline({TOKEN_TASK!r}, model=...).")
        if not isinstance(model, ExportedStudent) and not type(model).__name__.endswith("ForEEGClassification"):
            raise TypeError(
                f"{type(model).__name__} has no classification head. Give a MiCForEEGClassification or a "
                "DLinkTeacherForEEGClassification that was fine-tuned for the task."
            )

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
            probability; of a model of several labels at once also `labels`, those of a probability of 0.5 or more;
            `onset`, in seconds from the recording's first sample (`None` for prepared windows); `duration`, in
            seconds; and `reason`, `None`. With `top_k` other than 1 also `scores`: dicts of `label` and `score`, the
            likeliest first. Windows beyond the feature extractor's `reject_uv`, in spans that are marked `BAD`, or
            across a join of recordings have `None` for label and score, no scores, and say why in `reason`; with
            `label_all` they have all. For a list a list of such lists; for a generator an iterator over them, each of
            which is computed when it is asked for.

        Raises:
            FileNotFoundError: a path leads nowhere.
            TypeError: a recording is of no known kind, or an option is unknown.
            ValueError: a recording can't be used, or an option is out of range; the message says what to do.
        """
        return super().__call__(inputs, **kwargs)

    def postprocess(
        self, model_outputs: list[dict[str, Any]], top_k: int | None = 1, label_all: bool = False
    ) -> list[dict[str, Any]]:
        """Return one dict per window of all batches of a recording."""
        return self._answers(*self.gather(model_outputs), top_k, label_all)


class EEGRegressionPipeline(EEGWindowPipeline):
    """Tell a number of EEG recordings window by window; made by [`dlink_hf.pipeline`] or `transformers.pipeline`.

    It prepares recordings as [`EEGClassificationPipeline`] does.

    Args:
        model: [`MiCForEEGRegression`] or [`DLinkTeacherForEEGRegression`], or an export of the one.
        feature_extractor: the [`EEGFeatureExtractor`] that prepares recordings as in the model's training.
        **kwargs: as for [`EEGClassificationPipeline`].

    Raises:
        TypeError: the model gives no numbers, or the feature extractor is none.
        ValueError: the two have different sampling rates, or an option is out of range.

    Example:

    ```python
    >>> import dlink_hf
    >>> pipe = dlink_hf.pipeline("eeg-regression", model="outputs/student")
    >>> pipe("recording.edf")[0]
    {'value': 61.3, 'label': 'age (years)', 'onset': 0.0, 'duration': 5.0, 'reason': None}
    ```
    """

    verb = "predict"

    @staticmethod
    def check_model(model: Any) -> None:
        """Refuse a model that gives no numbers."""
        if getattr(model.config, "problem_type", None) != REGRESSION:
            raise TypeError(
                f"{type(model).__name__} gives classes or features, not numbers. Give a MiCForEEGRegression or a "
                "DLinkTeacherForEEGRegression, or take the task 'eeg-classification'."
            )

    def __call__(self, inputs: Any, **kwargs: Any) -> list[dict] | list[list[dict]] | Iterator[list[dict]]:
        """Predict numbers for one recording, or several.

        Args:
            inputs: as [`EEGClassificationPipeline`] takes them.
            **kwargs: its options, but for `top_k`.

        Returns:
            For a recording a list of one dict per window, in order of time: `value`, in the unit of the training
            targets; `label`, the target's name; `onset`, in seconds from the recording's first sample (`None` for
            prepared windows); `duration`, in seconds; and `reason`, `None`. With several targets `values`, target ->
            number, in place of `value` and `label`. Windows that training left out have `None` for the numbers and
            say why in `reason`, unless `label_all`. For a list or a generator as [`EEGClassificationPipeline`].

        Raises:
            FileNotFoundError, TypeError, ValueError: as [`EEGClassificationPipeline`].
        """
        return super().__call__(inputs, **kwargs)

    def postprocess(self, model_outputs: list[dict[str, Any]], label_all: bool = False) -> list[dict[str, Any]]:
        """Return one dict per window of all batches of a recording."""
        return self._number_answers(*self.gather(model_outputs), label_all)


class TrainedMixin:
    """What `transformers.pipeline` loads the model by: a checkpoint without a trained head would guess."""

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str, *model_args: Any, **kwargs: Any) -> PreTrainedModel:
        model, info = super().from_pretrained(  # type: ignore[misc]
            pretrained_model_name_or_path, *model_args, output_loading_info=True, **kwargs
        )
        if isinstance(model, DLinkPreTrainedModel) and model.lacked_head(info):
            raise ValueError(f"{pretrained_model_name_or_path} has no trained head: fine-tune it first.")
        return model


class _TrainedClassifier(TrainedMixin, AutoModelForEEGClassification):
    """A classifier with its head."""


class _TrainedRegressor(TrainedMixin, AutoModelForEEGRegression):
    """A model of numbers with its head."""


PIPELINE_REGISTRY.register_pipeline(TASK, EEGClassificationPipeline, pt_model=_TrainedClassifier)
PIPELINE_REGISTRY.register_pipeline(REGRESSION_TASK, EEGRegressionPipeline, pt_model=_TrainedRegressor)


def __getattr__(name: str) -> Any:
    # the function was here once
    if name == "pipeline":
        return import_module(".loading", __package__).pipeline
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "BATCH_SIZE",
    "REGRESSION_TASK",
    "TASK",
    "EEGClassificationPipeline",
    "EEGRegressionPipeline",
    "TrainedMixin",
]
