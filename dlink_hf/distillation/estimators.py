# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Students as scikit-learn estimators: fitted by the package's recipe, distilled, or loaded by name."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Self

import mne
import numpy as np
from datasets import Dataset
from sklearn.base import ClassifierMixin, RegressorMixin

from ..core.checks import one_of
from ..core.config_checks import MULTI_LABEL, REGRESSION, SINGLE_LABEL
from ..models.mic.modeling_mic import MiCWithHead
from ..models.teacher.modeling_teacher import DLinkTeacherWithHead
from .estimator_base import StudentEstimator


class DLinkClassifier(ClassifierMixin, StudentEstimator):
    """A student that classifies windows, with scikit-learn's methods.

    `fit` trains a student by the package's recipe ([`dlink_hf.training.recipe`]), or distils it from a teacher.
    Windows go in as they are prepared: they are brought to the model's rate, and neither filtered nor rescaled.

    Args:
        size: `"tiny"`, `"small"` or `"base"`.
        ch_names: names of the channels of arrays; MNE Epochs know theirs.
        sfreq: sampling rate of arrays, in hertz.
        pretrained: short name, folder or Hub id of a student to start from, such as `"dlink-mic-small"`.
        teacher: who is distilled from. A fine-tuned teacher or student, by name, folder or as a model: windows are
            brought to its channels, rate and length, and its classes are those of y, in sorted order. Or a foundation
            model by name (`"dlink-teacher-cbramod-4"`), or an estimator (`DLinkClassifier("base")`): these are fitted
            first, on the windows that `fit` is given, so that a cross-validation stays one.
        alignment: `"euclidean"`, `"zscore"`, `"monge"` or `"euclidean_monge"`: of each group's windows, at `fit` and
            at `predict`, without labels; windows without groups are taken for one subject's.
        augmentation: `"auto"`, None, or names as `"time_shift,noise=0.3"`. `"auto"` leaves polarity and latency as
            they are where these tell the classes apart.
        steps: optimizer steps; those of [`default_steps`] by default.
        class_weight: `"balanced"`, or None.
        random_state: seed; the state of NumPy's and torch's own random numbers is as before when `fit` returns.

    Attributes:
        classes_ (`np.ndarray`, (L,)): the classes, sorted; of several labels at once, their numbers.
        model_ ([`MiCForEEGClassification`]): the fitted student.
        extractor_ ([`EEGFeatureExtractor`]): what prepares windows for it.
        n_channels_, n_times_ (`int`): of a window as the model reads it.

    Example:

    ```python
    >>> from sklearn.model_selection import GroupKFold, cross_val_score
    >>> from dlink_hf import DLinkClassifier

    >>> student = DLinkClassifier("small", ch_names=["C3", "Cz", "C4"], sfreq=250.0)
    >>> cross_val_score(student, X, y, groups=subjects, cv=GroupKFold(5), scoring="balanced_accuracy")
    ```
    """

    def __init__(
        self,
        size: str = "small",
        ch_names: Sequence[str] | None = None,
        sfreq: float | None = None,
        *,
        pretrained: str | os.PathLike | None = None,
        teacher: Any = None,
        alignment: str | None = None,
        augmentation: str | None = "auto",
        steps: int | None = None,
        class_weight: str | None = None,
        random_state: int = 0,
    ):
        self.size = size
        self.ch_names = ch_names
        self.sfreq = sfreq
        self.pretrained = pretrained
        self.teacher = teacher
        self.alignment = alignment
        self.augmentation = augmentation
        self.steps = steps
        self.class_weight = class_weight
        self.random_state = random_state

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags

    def fit(self, X: Any, y: Any = None, groups: Sequence[Any] | None = None) -> Self:
        """Train the student.

        Args:
            X: (N, C, T) microvolts, or MNE Epochs (volts, as they are), or a list of Epochs.
            y: (N,) classes of any kind; (N, L) zeros and ones for several labels at once; None for the names of the
                Epochs' events.
            groups: (N,) subject of each window: for the alignment, and to settle `augmentation="auto"`.

        Returns:
            itself.

        Raises:
            TypeError, ValueError: the windows, the labels or an argument can't be used; the message says why.
        """
        labels = _labels_of(X) if y is None else np.asarray(y)
        if labels.ndim == 2 and labels.shape[1] > 1:
            if not np.isin(labels, (0, 1)).all():
                raise ValueError("y of two axes must be zeros and ones, one column for each label.")
            names, problem_type = [f"label {i}" for i in range(labels.shape[1])], MULTI_LABEL
            classes = np.arange(labels.shape[1])
        else:
            labels, problem_type = labels.reshape(len(labels)), SINGLE_LABEL
            if labels.dtype.kind == "f" and not np.isfinite(labels).all():
                raise ValueError(f"y holds {int((~np.isfinite(labels)).sum())} labels that are NaN or Inf.")
            if labels.dtype.kind == "f" and not np.array_equal(labels, labels.round()):
                raise ValueError("y holds numbers that are no classes. Numbers are told by DLinkRegressor.")
            classes = np.unique(labels)
            names = [str(name) for name in classes.tolist()]
            if len(classes) < 2:
                raise ValueError(
                    f"y holds one class only, {names[0] if names else 'none'!r}: there is nothing to tell."
                )
            labels = np.asarray(names)[np.searchsorted(classes, labels)]
        self._fit(X, y, labels, groups, problem_type, names, class_weight=self.class_weight)
        self.classes_ = classes
        return self

    def predict_proba(self, X: Any, groups: Sequence[Any] | None = None) -> np.ndarray:
        """Return probabilities (N, L), columns in the order of `classes_`.

        Args:
            X: as for `fit`.
            groups: subject of each window, for the alignment.
        """
        return self._outputs(X, groups)

    def predict(self, X: Any, groups: Sequence[Any] | None = None) -> np.ndarray:
        """Return the likeliest class of each window (N,); of several labels at once zeros and ones (N, L).

        Args:
            X: as for `fit`.
            groups: subject of each window, for the alignment.
        """
        probabilities = self._outputs(X, groups)
        if self.model_.config.problem_type == MULTI_LABEL:
            return (probabilities >= 0.5).astype(int)
        return self.classes_[probabilities.argmax(1)]

    def _settle_loaded(self) -> None:
        config = self.model_.config
        if config.problem_type == REGRESSION:
            raise ValueError("This student gives numbers: DLinkRegressor.from_pretrained(...).")
        names = [config.id2label[index] for index in sorted(config.id2label)]
        self.classes_ = np.arange(len(names)) if config.problem_type == MULTI_LABEL else np.asarray(names)


class DLinkRegressor(RegressorMixin, StudentEstimator):
    """A student that tells a number of each window, or several, with scikit-learn's methods.

    Args:
        size, ch_names, sfreq, pretrained, teacher, alignment, augmentation, steps, random_state: as for
            [`DLinkClassifier`].
        loss: `"mse"`, `"mae"` or `"huber"`, on standardised targets.

    Attributes:
        model_ ([`MiCForEEGRegression`]): the fitted student.
        extractor_, n_channels_, n_times_: as for [`DLinkClassifier`].

    Example:

    ```python
    >>> from dlink_hf import DLinkRegressor

    >>> student = DLinkRegressor("tiny", ch_names=["Pz", "Oz"], sfreq=200.0).fit(X, ages)
    >>> student.score(X_unseen, ages_unseen)  # R2
    ```
    """

    def __init__(
        self,
        size: str = "small",
        ch_names: Sequence[str] | None = None,
        sfreq: float | None = None,
        *,
        pretrained: str | os.PathLike | None = None,
        teacher: Any = None,
        alignment: str | None = None,
        augmentation: str | None = "time_shift,sign_flip",
        steps: int | None = None,
        loss: str = "mse",
        random_state: int = 0,
    ):
        self.size = size
        self.ch_names = ch_names
        self.sfreq = sfreq
        self.pretrained = pretrained
        self.teacher = teacher
        self.alignment = alignment
        self.augmentation = augmentation
        self.steps = steps
        self.loss = loss
        self.random_state = random_state

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output, tags.target_tags.required = True, True
        return tags

    def fit(self, X: Any, y: Any, groups: Sequence[Any] | None = None) -> Self:
        """Train the student.

        Args:
            X: (N, C, T) microvolts, or MNE Epochs (volts, as they are), or a list of Epochs.
            y: (N,) or (N, L) numbers.
            groups: (N,) subject of each window, for the alignment.

        Returns:
            itself.

        Raises:
            TypeError, ValueError: the windows, the numbers or an argument can't be used; the message says why.
        """
        targets = np.asarray(y, dtype=np.float64)
        self._is_flat = targets.ndim == 1
        names = ["target"] if targets.ndim == 1 else [f"target {i}" for i in range(targets.shape[1])]
        self._fit(X, y, targets, groups, REGRESSION, names)
        return self

    def _make_model(self, dataset: Dataset, problem_type: str, teacher: DLinkTeacherWithHead | None) -> MiCWithHead:
        model = super()._make_model(dataset, problem_type, teacher)
        one_of("loss", self.loss, ("mse", "mae", "huber"))
        model.config.regression_loss = self.loss
        return model

    def predict(self, X: Any, groups: Sequence[Any] | None = None) -> np.ndarray:
        """Return numbers, (N,) or (N, L) as y had them.

        Args:
            X: as for `fit`.
            groups: subject of each window, for the alignment.
        """
        numbers = self._outputs(X, groups)
        return numbers[:, 0] if self._is_flat else numbers

    def _settle_loaded(self) -> None:
        if self.model_.config.problem_type != REGRESSION:
            raise ValueError("This student tells classes: DLinkClassifier.from_pretrained(...).")
        self._is_flat = self.model_.config.num_labels == 1


def _labels_of(X: Any) -> np.ndarray:
    """The names of the events of MNE Epochs."""
    pieces = [X] if isinstance(X, mne.BaseEpochs) else list(X) if isinstance(X, (list, tuple)) else []
    if not pieces or not all(isinstance(piece, mne.BaseEpochs) for piece in pieces):
        raise ValueError("y may be left out only where X is MNE Epochs, which know their events.")
    names = []
    for part in pieces:
        of_code = {code: name for name, code in part.event_id.items()}
        names += [of_code[code] for code in part.events[:, 2].tolist()]
    return np.asarray(names)


__all__ = ["DLinkClassifier", "DLinkRegressor"]
