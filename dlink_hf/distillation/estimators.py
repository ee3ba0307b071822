# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Students as scikit-learn estimators: fitted by the package's recipe, distilled, or loaded by name."""

from __future__ import annotations

import os
import random
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Self

import mne
import numpy as np
import torch
from datasets import Dataset
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils.validation import check_is_fitted
from transformers import PrinterCallback, Trainer, TrainingArguments, set_seed

from ..core.checks import one_of
from ..core.config_checks import MULTI_LABEL, REGRESSION, SINGLE_LABEL
from ..core.electrodes import canonical_name
from ..data.array_windows import windows_from_arrays
from ..data.description import signal_fields
from ..data.model_contract import required_channels
from ..evaluation.predict import load_classifier, predict_outputs
from ..models.mic.configuration_mic import MiCConfig
from ..models.mic.modeling_mic import MiCWithHead, student_class
from ..models.teacher.modeling_teacher import DLinkTeacherWithHead
from ..models.token_grid import patch_fields, resampled_length, student_fields
from ..preprocessing.alignment import ALIGNMENTS, make_alignment
from ..preprocessing.feature_extraction_eeg import EEGFeatureExtractor
from ..training.augmentation import EEGAugmentation, parse_augmentations
from ..training.finetuning import make_trainer
from ..training.recipe import (
    AUGMENTATION,
    EVENT_LOCKED_AUGMENTATION,
    LABEL_SMOOTHING,
    default_augmentation,
    default_steps,
    training_fields,
)
from ..training.task_kind import evoked_evidence
from .modeling_studio import DLinkStudioModel
from .student_teacher import load_teacher, student_as_teacher
from .trainer import DLinkTrainer
from .training_args import DLinkTrainingArguments


# of a student that does not start from a checkpoint, in Hz
RATE = 200.0


class _StudentEstimator(BaseEstimator):
    """What classifier and regressor share: windows in, a student trained by the recipe."""

    size: str
    ch_names: Sequence[str] | None
    sfreq: float | None
    pretrained: str | os.PathLike | None
    teacher: Any
    alignment: str | None
    augmentation: str | None
    steps: int | None
    random_state: int

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array, tags.input_tags.two_d_array = True, False
        return tags

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "model_")

    def _fit(self, X: Any, labels: Any, groups: Any, problem_type: str, names: list[str], **options: Any) -> None:
        """Train a student on windows and labels; the fitted attributes are set when all went well."""
        one_of("alignment", self.alignment or "none", ("none", *ALIGNMENTS))
        with _random_state_kept():
            teacher = self._load_teacher()
            extractor = self._make_extractor(X, teacher)
            values = self._prepare(X, groups, extractor)
            dataset = windows_from_arrays(
                values,
                labels,
                ch_names=extractor.ch_names,
                sfreq=extractor.sfreq,
                subjects="one" if groups is None else groups,
                problem_type=problem_type,
                label_names=names,
            )
            model = self._make_model(dataset, problem_type, teacher)
            self._train(model, teacher, dataset, **options)
        self.model_, self.extractor_ = model.cpu().eval(), extractor
        self.n_channels_, self.n_times_ = len(extractor.ch_names), extractor.n_times

    def _load_teacher(self) -> DLinkTeacherWithHead | None:
        teacher = self.teacher
        if isinstance(teacher, (str, os.PathLike)):
            teacher = load_teacher(os.fspath(teacher))
        if isinstance(teacher, MiCWithHead):
            teacher = student_as_teacher(teacher)
        if teacher is not None and not isinstance(teacher, DLinkTeacherWithHead):
            raise TypeError(
                "`teacher` is the name or folder of a fine-tuned teacher or student, or such a model (of a fitted "
                f"estimator its `model_`), got {type(teacher).__name__}."
            )
        return teacher

    def _make_extractor(self, X: Any, teacher: DLinkTeacherWithHead | None) -> EEGFeatureExtractor:
        """What prepares windows: to the rate and the channels of the model."""
        names, sfreq, n_times = self._signal_of(X)
        config = None if teacher is None else teacher.config
        if config is None and self.pretrained is not None:
            config = MiCConfig.from_pretrained(self.pretrained)
        rate = RATE if config is None else config.sfreq
        length = resampled_length(n_times, sfreq, rate)
        if teacher is not None:
            length, names = config.n_times, required_channels(config)
        elif config is not None:
            whole = length // config.patch_size * config.patch_size
            if not whole:
                raise ValueError(
                    f"The windows last {n_times / sfreq:g} s, {self.pretrained} reads patches of "
                    f"{config.patch_size / rate:g} s: give longer windows, or leave `pretrained` out."
                )
            if whole < length:
                warnings.warn(
                    f"{self.pretrained} reads whole patches of {config.patch_size / rate:g} s: of each window the "
                    f"last {(length - whole) / rate:.3g} s are not read.",
                    stacklevel=4,
                )
            length = whole
        return EEGFeatureExtractor(
            ch_names=names, sfreq=rate, n_times=length, missing_channels="error", unknown_channels="drop"
        )

    def _signal_of(self, X: Any) -> tuple[list[str], float, int]:
        """Channel names, rate (Hz) and samples of the windows that are given."""
        first = X[0] if isinstance(X, (list, tuple)) and X and isinstance(X[0], mne.BaseEpochs) else X
        if isinstance(first, mne.BaseEpochs):
            picked = first.copy().pick("eeg", verbose="ERROR")
            names = list(picked.ch_names) if self.ch_names is None else list(self.ch_names)
            return names, float(first.info["sfreq"]), len(first.times)
        values = np.asarray(X)
        if values.ndim != 3 or values.dtype.kind not in "fiu":
            raise ValueError(
                "X must be windows (n_windows, n_channels, n_samples) in microvolts, or MNE Epochs; got "
                f"{values.dtype} of shape {values.shape}. Reshape your data to three axes; a single window is X[None]."
            )
        if self.ch_names is None or self.sfreq is None:
            raise ValueError(
                f"An array does not tell its channels and rate: {type(self).__name__}(ch_names=[...], sfreq=...)."
            )
        if values.shape[1] != len(self.ch_names):
            raise ValueError(f"X has {values.shape[1]} channels, `ch_names` names {len(self.ch_names)}.")
        return [canonical_name(name) or name for name in self.ch_names], float(self.sfreq), values.shape[2]

    def _prepare(self, X: Any, groups: Any, extractor: EEGFeatureExtractor) -> np.ndarray:
        """Windows (N, C, T) in microvolts as the model reads them, aligned by subject where asked for."""
        self._signal_of(X)
        facts: dict[str, Any] = {"is_filtered": True}
        if not isinstance(X, mne.BaseEpochs) and not isinstance(X, (list, tuple)):
            X = np.asarray(X)
        if isinstance(X, np.ndarray):
            facts |= {"sfreq": self.sfreq, "ch_names": list(self.ch_names or ()), "unit": "uV"}
            X = X[..., : self._kept_samples(X.shape[2], float(self.sfreq or 0), extractor)]
        elif isinstance(X, mne.BaseEpochs):
            X = self._cropped(X, extractor)
        else:
            X = [self._cropped(part, extractor) for part in X]
        values = np.asarray(extractor(X, **facts)["input_values"])
        if self.alignment is None:
            return values
        owners = np.full(len(values), "all") if groups is None else np.asarray([str(group) for group in groups])
        if len(owners) != len(values):
            raise ValueError(f"{len(owners)} groups were given for {len(values)} windows; one each is needed.")
        aligned = np.empty_like(values)
        for owner in np.unique(owners):
            rows = owners == owner
            alignment = make_alignment(self.alignment, sfreq=extractor.sfreq, ch_names=extractor.ch_names)
            aligned[rows] = alignment.fit(values[rows]).transform(values[rows])
        return aligned

    def _kept_samples(self, n_times: int, sfreq: float, extractor: EEGFeatureExtractor) -> int:
        """Samples of a window that the model reads, where it reads whole patches of a checkpoint's own length."""
        if self.pretrained is None or self.teacher is not None:
            return n_times
        return min(n_times, round(extractor.n_times * sfreq / extractor.sfreq))

    def _cropped(self, epochs: mne.BaseEpochs, extractor: EEGFeatureExtractor) -> mne.BaseEpochs:
        kept = self._kept_samples(len(epochs.times), float(epochs.info["sfreq"]), extractor)
        if kept == len(epochs.times):
            return epochs
        return epochs.copy().load_data().crop(epochs.times[0], epochs.times[kept - 1], verbose="ERROR")

    def _make_model(self, dataset: Dataset, problem_type: str, teacher: DLinkTeacherWithHead | None) -> MiCWithHead:
        """A fresh student, or that of `pretrained` with a head for these labels."""
        set_seed(self.random_state)
        signal = signal_fields(dataset)
        model_class = student_class(problem_type)
        if self.pretrained is not None:
            return model_class.from_pretrained(self.pretrained, ignore_mismatched_sizes=True, **signal)
        own = patch_fields(signal["n_times"], signal["sfreq"]) if teacher is None else student_fields(teacher.config)
        return model_class(MiCConfig.from_size(self.size, **signal, **own))

    def _train(
        self, model: MiCWithHead, teacher: DLinkTeacherWithHead | None, dataset: Dataset, class_weight: Any = None
    ) -> None:
        names = self._augmentation_names(dataset)
        augmentation = None
        if names is not None:
            augmentation = EEGAugmentation(
                parse_augmentations(names), sfreq=model.config.sfreq, seed=self.random_state
            )
        with tempfile.TemporaryDirectory(prefix="dlink-fit-") as folder:
            fields = training_fields(
                output_dir=folder,
                max_steps=default_steps(len(dataset)) if self.steps is None else self.steps,
                save_strategy="no",
                seed=self.random_state,
                disable_tqdm=True,
                logging_strategy="no",
                dataloader_pin_memory=torch.cuda.is_available(),
            )
            weighting = "none" if class_weight is None else class_weight
            trainer: Trainer
            if teacher is not None:
                studio = DLinkStudioModel.from_parts(teacher, model)
                args = DLinkTrainingArguments(class_weighting=weighting, **fields)
                trainer = DLinkTrainer(studio, args, train_dataset=dataset, augmentation=augmentation)
            else:
                trainer = make_trainer(
                    model,
                    {"train": dataset},
                    TrainingArguments(**fields),
                    class_weighting=weighting,
                    label_smoothing=0.0 if model.config.problem_type == REGRESSION else LABEL_SMOOTHING,
                    augmentation=augmentation,
                )
            # what it prints is not wanted
            trainer.remove_callback(PrinterCallback)
            trainer.train()

    def _augmentation_names(self, dataset: Dataset) -> str | None:
        """The augmentations of `augmentation`; `auto` is settled by what tells the classes apart."""
        if self.augmentation in (None, "none"):
            return None
        if self.augmentation != "auto":
            return self.augmentation
        info = signal_fields(dataset)
        names = default_augmentation(info["n_times"] / info["sfreq"])
        owners = set(dataset["subject"][:]) if "subject" in dataset.column_names else set()
        if len(owners) > 2 and info.get("problem_type") is None:
            names = EVENT_LOCKED_AUGMENTATION if evoked_evidence(dataset)["event_locked"] else AUGMENTATION
        try:
            EEGAugmentation(parse_augmentations(names), sfreq=info["sfreq"])
        except ImportError as error:
            warnings.warn(f"fitted without augmentation, which costs accuracy: {error}", stacklevel=5)
            return None
        return names

    def _outputs(self, X: Any, groups: Any = None) -> np.ndarray:
        """(N, L) probabilities or numbers."""
        check_is_fitted(self)
        with _random_state_kept():
            return predict_outputs(self.model_, self._prepare(X, groups, self.extractor_))

    def save_pretrained(self, folder: str | os.PathLike) -> None:
        """Save the fitted student and what prepares its windows, as every checkpoint of the package.

        Args:
            folder: made where absent; `from_pretrained`, [`dlink_hf.pipeline`] and the `dlink` commands read it.
        """
        check_is_fitted(self)
        self.model_.save_pretrained(folder)
        self.extractor_.save_pretrained(folder)

    @classmethod
    def from_pretrained(cls, name_or_path: str | os.PathLike, **params: Any) -> Self:
        """Return a fitted estimator of a published student.

        Args:
            name_or_path: short name (`dlink-mic-small-eegmat`), folder or Hub id, with a head.
            **params: of the constructor; `ch_names` are those of the model by default.

        Raises:
            OSError, ValueError: as [`load_classifier`].
        """
        model = load_classifier(name_or_path)
        params = {"ch_names": list(model.config.ch_names), "sfreq": model.config.sfreq, **params}
        estimator = cls(pretrained=name_or_path, **params)
        extractor = EEGFeatureExtractor.from_pretrained(name_or_path)
        if extractor.ch_names is None:
            extractor.ch_names = required_channels(model.config)
        estimator.alignment = extractor.alignment if estimator.alignment is None else estimator.alignment
        estimator.model_, estimator.extractor_ = model, extractor.without_alignment()
        estimator.n_channels_, estimator.n_times_ = len(model.config.ch_names), extractor.n_times
        estimator._settle_loaded()
        return estimator

    def _settle_loaded(self) -> None:
        raise NotImplementedError


class DLinkClassifier(ClassifierMixin, _StudentEstimator):
    """A student that classifies windows, with scikit-learn's methods.

    `fit` trains a student by the package's recipe ([`dlink_hf.training.recipe`]), or distils it from a teacher.
    Windows go in as they are prepared: they are brought to the model's rate, and neither filtered nor rescaled.

    Args:
        size: `"tiny"`, `"small"` or `"base"`.
        ch_names: names of the channels of arrays; MNE Epochs know theirs.
        sfreq: sampling rate of arrays, in hertz.
        pretrained: short name, folder or Hub id of a student to start from, such as `"dlink-mic-small"`.
        teacher: a fine-tuned teacher or student to distil from, by name, folder or as a model; its channels, rate and
            window are those that the windows are brought to, its classes those of y, in sorted order.
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
        self._fit(X, labels, groups, problem_type, names, class_weight=self.class_weight)
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


class DLinkRegressor(RegressorMixin, _StudentEstimator):
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
        self._fit(X, targets, groups, REGRESSION, names)
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


@contextmanager
def _random_state_kept() -> Iterator[None]:
    """Leave Python's, NumPy's and torch's random numbers as they were: a trainer seeds them all."""
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)


__all__ = ["DLinkClassifier", "DLinkRegressor"]
