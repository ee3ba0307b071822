# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""How every row of the benchmarks is made and trained: teachers, students, networks of braindecode, linear models."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset, DatasetDict
from grid_cells import ABLATIONS, PRETRAINED, PUBLISHED, STUDENTS


# where braindecode's networks can be read; only their own logits are used here
TAPS = {
    "EEGNet": ("pool_2", "b d c p"),
    "ShallowFBCSPNet": ("pool", "b d p c"),
    "Deep4Net": ("pool_4", "b d p c"),
    "EEGConformer": ("patch_embedding", "b p d"),
    "ATCNet": ("conv_block", "b d p c"),
    "EEGSimpleConv": ("bn", "b d p"),
    "TCFormer": ("conv_block", "b d p"),
}
RHYTHMS = [(1, 4), (4, 8), (8, 10), (10, 13), (13, 20), (20, 30), (30, 44)]
BANDS = {"ssvep_exo": [(f - 0.4, f + 0.4) for f in (13, 17, 21, 26, 34, 42)] + [(f - 3, f + 3) for f in (13, 17, 21)]}
# fields of a row's settings that are the studio's, the router's and the student's config's
ROUTER_FIELDS = ("routing", "temperature", "router_dropout", "router_size")
STUDENT_FIELDS = ("hidden_dropout", "classifier_dropout", "filter_size", "filter_stride", "num_hidden_layers")


def make_teacher(
    model: str, signal: Mapping[str, Any], settings: Mapping[str, Any], checkpoint: str | None = None
) -> Any:
    """A teacher, pre-trained or fresh, or a network of braindecode; `signal`: see `dlink_hf.signal_fields`."""
    import braindecode.models

    from dlink_hf import DLinkTeacherConfig, DLinkTeacherForEEGClassification

    fields = dict(signal)
    own = {key: settings[key] for key in ("head_size", "head_dropout") if key in settings}
    if model in PRETRAINED:
        kwargs = {"ignore_mismatched_sizes": True, **fields, **own}
        return DLinkTeacherForEEGClassification.from_pretrained(checkpoint, **kwargs)
    if model == "scratch":
        kwargs = {"n_layer": settings["layers"], "drop_prob": settings["dropout"]}
        config = DLinkTeacherConfig(backbone="CBraMod", backbone_kwargs=kwargs, input_scale=1.0, **own, **fields)
        return DLinkTeacherForEEGClassification(config)
    layer, layout = TAPS[model]
    network = getattr(braindecode.models, model)(
        n_outputs=len(fields["id2label"]),
        n_chans=len(fields["ch_names"]),
        n_times=fields["n_times"],
        sfreq=fields["sfreq"],
    )
    return DLinkTeacherForEEGClassification.from_module(
        network, [layer], layout, own_logits=True, input_scale=settings["input_scale"], **fields
    )


# weights that the settings leave out: those that were the defaults when the published cells were trained
OBJECTIVE = {"kd_weight": 1.0, "soft_target_weight": 1.0, "route_weight": 1.0, "spectral_weight": 0.5}


def make_student(signal: Mapping[str, Any], settings: Mapping[str, Any], **fields: Any) -> Any:
    """A student, fresh of `settings["size"]`, or the general one `settings["student"]` with a fresh head.

    `fields` are those of its config that follow from a teacher.
    """
    from dlink_hf import MiCConfig, MiCForEEGClassification

    own = {key: settings[key] for key in STUDENT_FIELDS if key in settings}
    if settings.get("student"):
        return MiCForEEGClassification.from_pretrained(settings["student"], **{**signal, **own, **fields})
    return MiCForEEGClassification(MiCConfig.from_size(settings["size"], **{**signal, **own, **fields}))


def training_fields(settings: Mapping[str, Any], seed: int, folder: str) -> dict[str, Any]:
    """Fields of `TrainingArguments` that all rows share.

    Kept is the epoch that is best on the validation people by the score `best_by`, or the last one where that is None.
    """
    import torch

    from dlink_hf.training.recipe import training_fields as recipe

    best_by = settings.get("best_by", "auroc")
    watching = {"eval_strategy": "no", "save_strategy": "no"}
    if best_by is not None:
        watching = {
            "eval_strategy": "epoch",
            "save_strategy": "epoch",
            "load_best_model_at_end": True,
            "metric_for_best_model": best_by,
        }

    return recipe(
        output_dir=folder,
        num_train_epochs=settings["epochs"],
        learning_rate=settings["learning_rate"],
        weight_decay=settings["weight_decay"],
        per_device_train_batch_size=settings["batch_size"],
        save_total_limit=1,
        save_only_model=True,
        **watching,
        bf16=settings.get("bf16", False),
        use_cpu=not torch.cuda.is_available(),
        dataloader_pin_memory=False,
        seed=seed,
    )


def train(model: Any, splits: DatasetDict, settings: Mapping[str, Any], seed: int, column: str = "subject") -> Any:
    """Fine-tune a teacher, a network or a student without a teacher."""
    from transformers import TrainingArguments

    from dlink_hf import make_trainer

    names = ("adaptation", "learning_rate_decay", "head_learning_rate_multiplier", "label_smoothing", "augmentation")
    fields = {name: settings[name] for name in names if settings.get(name)}
    with tempfile.TemporaryDirectory() as folder:
        args = TrainingArguments(**training_fields(settings, seed, folder))
        watched = {k: splits[k] for k in ("train", "validation")}
        trainer = make_trainer(model, watched, args, "balanced", group_column=column, **fields)
        trainer.train()
    return trainer.model


def distil(
    teacher: Any,
    student: Any,
    splits: DatasetDict,
    settings: Mapping[str, Any],
    seed: int,
    column: str = "subject",
    feature_dir: str | None = None,
) -> Any:
    """Distil a student from a teacher.

    The teacher's features are stored while it lasts, in `feature_dir`, or in a temporary folder.
    """
    from dlink_hf import (
        DLinkRouterConfig,
        DLinkStudioConfig,
        DLinkStudioModel,
        DLinkTrainer,
        DLinkTrainingArguments,
        EEGAugmentation,
    )
    from dlink_hf.training.augmentation import parse_augmentations

    known = set(DLinkStudioConfig.__dataclass_fields__)
    objective = OBJECTIVE | {key: value for key, value in settings.items() if key in known}
    router = DLinkRouterConfig.from_teacher(
        teacher.config, **{key: settings[key] for key in ROUTER_FIELDS if key in settings}
    )
    studio = DLinkStudioModel.from_parts(teacher, student, router_config=router, **objective)
    augmentation = settings.get("augmentation") or None
    if augmentation is not None:
        augmentation = EEGAugmentation(parse_augmentations(augmentation), sfreq=student.config.sfreq, seed=seed)
    with tempfile.TemporaryDirectory() as folder:
        args = DLinkTrainingArguments(
            **training_fields(settings, seed, folder),
            mimic_epochs=settings["mimic_epochs"],
            class_weighting="balanced",
            group_column=column,
            augmented_views=settings.get("views", 0),
            teacher_cache_dir=feature_dir or f"{folder}/features",
        )
        trainer = DLinkTrainer(
            studio,
            args,
            train_dataset=splits["train"],
            eval_dataset=splits["validation"],
            augmentation=augmentation,
        )
        trainer.train()
    return studio.student


def fit_row(
    cell: Mapping[str, Any],
    settings: Mapping[str, Any],
    splits: DatasetDict,
    checkpoint: str | None = None,
    teacher: Any = None,
    column: str = "subject",
    feature_dir: str | None = None,
) -> Any:
    """Make and train the network of a cell that has one.

    Args:
        cell: `set`, `model`, `alignment`, `seed`.
        settings: of the cell.
        splits: `train` and `validation`.
        checkpoint: folder of the pre-trained teacher, for the rows that start from it.
        teacher: fine-tuned, for the rows that distil.
        column: what the splits keep apart.
        feature_dir: where a teacher's features are kept for all the rows that distil from it; a temporary folder.
    """
    from transformers import set_seed

    from dlink_hf import signal_fields
    from dlink_hf.models.token_grid import student_fields
    from dlink_hf.training.probing import fit_probe

    model, seed, signal = cell["model"], cell["seed"], signal_fields(splits["train"])
    set_seed(seed)
    if model not in (*STUDENTS, *ABLATIONS):
        network = make_teacher(model, signal, settings, checkpoint)
        if settings.get("probe_first"):
            fit_probe(network, splits["train"], splits["validation"])
        return train(network, splits, settings, seed, column) if settings["epochs"] else network
    if teacher is None:
        return train(make_student(signal, settings), splits, settings, seed, column)
    student = make_student(signal, settings, **student_fields(teacher.config))
    if settings.get("expert"):
        splits = DatasetDict({**splits, "train": ask_expert(cell["set"], settings["expert"], splits, column)})
    set_seed(seed)
    return distil(teacher, student, splits, settings, seed, column, feature_dir)


def ask_expert(name: str, expert: Mapping[str, Any], splits: DatasetDict, column: str) -> Dataset:
    """The training windows with soft targets of a linear model, fitted without the people whom it is asked about.

    Args:
        name: of the set.
        expert: `model` (of `LINEAR`), its settings, and the number of `folds`.
        splits: `train` and `validation`.
        column: what the folds keep apart.
    """
    from dlink_hf import cross_fitted_soft_targets

    def fit(train: Dataset) -> Callable[[Dataset], np.ndarray]:
        return fit_linear(expert["model"], name, train, splits["validation"], expert)

    return cross_fitted_soft_targets(fit, splits["train"], expert["folds"], column)


def band_power(name: str, windows: np.ndarray) -> np.ndarray:
    """Log power in the set's bands (Welch), every channel: (N, C * bands)."""
    from scipy.signal import welch

    name = name.removesuffix(PUBLISHED)
    freqs, power = welch(windows, 200.0, nperseg=1000 if name == "ssvep_exo" else 400, axis=-1)
    bands = [power[..., (freqs >= low) & (freqs <= high)].mean(-1) for low, high in BANDS.get(name, RHYTHMS)]
    return np.log(np.stack(bands, -1) + 1e-6).reshape(len(windows), -1)


def fit_linear(
    model: str, name: str, train: Dataset, validation: Dataset, settings: Mapping[str, Any]
) -> Callable[[Dataset], np.ndarray]:
    """Fit a linear model, its strength chosen on the validation people; what is returned gives probabilities.

    `bandpower`: logistic regression on log band power. `csp`: common spatial patterns (MNE) of 8-30 Hz, then linear
    discriminant analysis.
    """
    import mne
    from mne.decoding import CSP
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import log_loss
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    def features(dataset: Dataset) -> np.ndarray:
        windows = dataset.with_format("numpy")["input_values"][:]
        if model == "bandpower":
            return band_power(name, windows)
        return mne.filter.filter_data(windows.astype(float), 200.0, 8.0, 30.0, verbose=False)

    if model == "bandpower":
        candidates = [
            make_pipeline(StandardScaler(), LogisticRegression(C=strength, class_weight="balanced", max_iter=3000))
            for strength in settings["strengths"]
        ]
    else:
        candidates = [
            make_pipeline(CSP(n, reg="ledoit_wolf", log=True), LinearDiscriminantAnalysis())
            for n in settings["components"]
        ]
    found, targets = features(train), np.asarray(validation["labels"][:])
    watched, weights = features(validation), 1.0 / np.bincount(targets)[targets]
    least, chosen = np.inf, None
    for candidate in candidates:
        with mne.utils.use_log_level("error"):
            fitted = candidate.fit(found, np.asarray(train["labels"][:]))
        loss = log_loss(targets, fitted.predict_proba(watched), sample_weight=weights)
        if loss < least:
            least, chosen = loss, fitted
    return lambda dataset: chosen.predict_proba(features(dataset))


def linear_probabilities(
    model: str, name: str, splits: DatasetDict, settings: Mapping[str, Any]
) -> dict[str, np.ndarray]:
    """Probabilities of every split by a linear model of [`fit_linear`]."""
    predict = fit_linear(model, name, splits["train"], splits["validation"], settings)
    return {k: predict(split) for k, split in splits.items()}


def load_teacher(folder: Path) -> Any:
    """A fine-tuned teacher that a cell saved."""
    from dlink_hf import DLinkTeacherForEEGClassification

    return DLinkTeacherForEEGClassification.from_pretrained(folder)
