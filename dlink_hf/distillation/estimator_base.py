# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""What the scikit-learn estimators share: windows in, a student trained by the recipe, with or without a teacher."""

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
from sklearn.base import BaseEstimator, clone
from sklearn.utils.validation import check_is_fitted
from transformers import PrinterCallback, Trainer, TrainingArguments, set_seed

from ..core.checkpoint_names import found_checkpoint
from ..core.checks import one_of
from ..core.config_checks import REGRESSION
from ..core.electrodes import canonical_name
from ..data.array_windows import windows_from_arrays
from ..data.description import signal_fields
from ..data.model_contract import required_channels
from ..evaluation.predict import load_classifier, predict_outputs
from ..models.configuration_base import DLinkPreTrainedConfig
from ..models.mic.configuration_mic import MiCConfig
from ..models.mic.modeling_mic import MiCWithHead, student_class
from ..models.teacher.modeling_teacher import DLinkTeacherModel, DLinkTeacherWithHead, teacher_class
from ..models.token_grid import patch_fields, student_fields
from ..preprocessing.alignment import ALIGNMENTS, make_alignment
from ..preprocessing.feature_extraction_eeg import EEGFeatureExtractor
from ..preprocessing.fir import resampling_filter
from ..training.augmentation import EEGAugmentation, parse_augmentations
from ..training.finetuning import make_trainer
from ..training.probing import fit_probe
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


# how a foundation model is fine-tuned before it teaches
TEACHER_STEPS = 400
TEACHER_LEARNING_RATE = 5e-4
TEACHER_LAYER_DECAY = 0.9
# of a student that does not start from a checkpoint, in Hz
RATE = 200.0


class StudentEstimator(BaseEstimator):
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

    def _fit(
        self, X: Any, y: Any, labels: Any, groups: Any, problem_type: str, names: list[str], **options: Any
    ) -> None:
        """Train a student on windows and labels; the fitted attributes are set when all went well."""
        one_of("alignment", self.alignment or "none", ("none", *ALIGNMENTS))
        with random_state_kept():
            teacher = self._load_teacher(X, y, groups)
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
            if isinstance(teacher, DLinkTeacherModel):
                teacher = self._fine_tuned_teacher(dataset, problem_type, **options)
            model = self._make_model(dataset, problem_type, teacher)
            self._train(model, teacher, dataset, **options)
        self.model_, self.extractor_ = model.cpu().eval(), extractor
        self.n_channels_, self.n_times_ = len(extractor.ch_names), extractor.n_times

    def _load_teacher(self, X: Any, y: Any, groups: Any) -> DLinkTeacherWithHead | DLinkTeacherModel | None:
        """The teacher, or the foundation model that is fine-tuned on the same windows before it teaches."""
        teacher = self.teacher
        if isinstance(teacher, StudentEstimator) and not hasattr(teacher, "model_"):
            # fitted on the very windows that the student gets: in a cross-validation it sees no others
            own = {name: getattr(self, name) for name in ("ch_names", "sfreq", "alignment")}
            unsaid = {name: value for name, value in own.items() if getattr(teacher, name) is None}
            teacher = clone(teacher).set_params(**unsaid).fit(X, y, groups)
            teacher = teacher.model_
        if isinstance(teacher, (str, os.PathLike)):
            if _has_no_head(os.fspath(teacher)):
                return DLinkTeacherModel.from_pretrained(teacher, ch_names=self._signal_of(X)[0])
            teacher = load_teacher(os.fspath(teacher))
        if isinstance(teacher, MiCWithHead):
            teacher = student_as_teacher(teacher)
        if teacher is not None and not isinstance(teacher, DLinkTeacherWithHead):
            raise TypeError(
                "`teacher` is the name or folder of a teacher or student, such a model (of a fitted estimator its "
                f"`model_`), or an estimator that is yet to be fitted; got {type(teacher).__name__}."
            )
        return teacher

    def _fine_tuned_teacher(
        self, dataset: Dataset, problem_type: str, class_weight: Any = None
    ) -> DLinkTeacherWithHead:
        """The foundation model of `teacher` with a head for these labels, fine-tuned as `dlink distill` does it."""
        set_seed(self.random_state)
        teacher = teacher_class(problem_type).from_pretrained(
            self.teacher, ignore_mismatched_sizes=True, **signal_fields(dataset), head_size=None
        )
        fit_probe(teacher, dataset)
        steps = TEACHER_STEPS if self.steps is None else min(TEACHER_STEPS, self.steps)
        with tempfile.TemporaryDirectory(prefix="dlink-fit-") as folder:
            args = TrainingArguments(**self._arguments(folder, steps, learning_rate=TEACHER_LEARNING_RATE))
            trainer = make_trainer(
                teacher,
                {"train": dataset},
                args,
                class_weighting="none" if class_weight is None else class_weight,
                learning_rate_decay=TEACHER_LAYER_DECAY,
                label_smoothing=0.0 if problem_type == REGRESSION else LABEL_SMOOTHING,
                augmentation=self._augmentation_names(dataset),
            )
            trainer.remove_callback(PrinterCallback)
            trainer.train()
        return teacher.cpu().eval()

    def _make_extractor(self, X: Any, teacher: DLinkTeacherWithHead | DLinkTeacherModel | None) -> EEGFeatureExtractor:
        """What prepares windows: to the rate and the channels of the model."""
        names, sfreq, n_times = self._signal_of(X)
        config = None if teacher is None else teacher.config
        if config is None and self.pretrained is not None:
            config = MiCConfig.from_pretrained(self.pretrained)
        rate = RATE if config is None else config.sfreq
        length = _resampled_length(n_times - _has_end_point(n_times, sfreq), sfreq, rate)
        if isinstance(teacher, DLinkTeacherWithHead):
            length, names = config.n_times, required_channels(config)
        elif config is not None:
            checkpoint = self.pretrained if teacher is None else self.teacher
            whole = length // config.patch_size * config.patch_size
            if not whole:
                raise ValueError(
                    f"The windows last {n_times / sfreq:g} s, {checkpoint} reads patches of "
                    f"{config.patch_size / rate:g} s: give longer windows, or start from another model."
                )
            if whole < length:
                warnings.warn(
                    f"{checkpoint} reads whole patches of {config.patch_size / rate:g} s: of each window the "
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
        """Samples of a window that the model reads: without its end point, and whole patches of a checkpoint."""
        wanted = round(extractor.n_times * sfreq / extractor.sfreq)
        reads_patches = isinstance(self.teacher, (str, os.PathLike)) or self.pretrained is not None
        if not reads_patches or (self.pretrained is not None and self.teacher is not None):
            return wanted if n_times == wanted + 1 else n_times
        return min(n_times, wanted)

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
            fields = self._arguments(folder, default_steps(len(dataset)) if self.steps is None else self.steps)
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

    def _arguments(self, folder: str, steps: int, **changes: Any) -> dict[str, Any]:
        """Arguments of a training that leaves nothing on disk and prints nothing."""
        return training_fields(
            output_dir=folder,
            max_steps=steps,
            save_strategy="no",
            seed=self.random_state,
            disable_tqdm=True,
            logging_strategy="no",
            dataloader_pin_memory=torch.cuda.is_available(),
            **changes,
        )

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
        with random_state_kept():
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


def _has_no_head(name: str) -> bool:
    """Whether a checkpoint is of a foundation model that has not been fine-tuned, in either format."""
    with found_checkpoint(name) as resolved:
        fields, _ = DLinkPreTrainedConfig.read_config_dict(resolved)
    if fields.get("model_type") == MiCConfig.model_type:
        return False
    return not any("ForEEG" in architecture for architecture in fields.get("architectures") or [])


def _has_end_point(n_times: int, sfreq: float) -> bool:
    """Whether a window has one sample more than a whole number of tenths of a second, as MNE's and MOABB's have."""
    tenths, shorter = 10 * n_times / sfreq, 10 * (n_times - 1) / sfreq
    return n_times > 1 and abs(shorter - round(shorter)) < 1e-6 < abs(tenths - round(tenths))


def _resampled_length(n_times: int, sfreq: float, new_sfreq: float) -> int:
    """Samples of a window that the extractor makes of `n_times` at `sfreq`."""
    up, down, _ = resampling_filter(sfreq, new_sfreq)
    return n_times * up // down


@contextmanager
def random_state_kept() -> Iterator[None]:
    """Leave Python's, NumPy's and torch's random numbers as they were: a trainer seeds them all."""
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)


__all__ = ["StudentEstimator", "random_state_kept"]
