# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Small windows, models and arguments for the tests of training."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from datasets import Array2D, ClassLabel, Dataset, Features, Value

from dlink_hf import (
    DLinkRouterConfig,
    DLinkStudioModel,
    DLinkTeacherConfig,
    DLinkTeacherForEEGClassification,
    DLinkTrainingArguments,
    MiCConfig,
    MiCForEEGClassification,
    SignalInfo,
    align_dataset,
    set_signal_info,
    student_view,
    with_teacher_view,
)


NAMES = ["C3", "Cz", "C4", "Pz"]
LABELS = ["rest", "task"]
N_TIMES = 400


def toy_dataset(subjects: list[str], n_windows: int = 12, seed: int = 0, names: list[str] = LABELS) -> Dataset:
    """Windows (4, 400) in microvolts at 200 Hz: noise, and 10 Hz over C3, C4 or Cz for the three classes.

    Two thirds of the windows of two classes are of the first; three classes are even.
    """
    rng = np.random.default_rng(seed)
    columns: dict[str, list] = {"input_values": [], "labels": [], "subject": []}
    time = np.arange(N_TIMES) / 200.0
    for subject in subjects:
        labels = np.arange(n_windows) % 3
        labels = np.where(labels < len(names), labels, 0)
        for label in rng.permutation(labels):
            window = 8.0 * rng.standard_normal((len(NAMES), N_TIMES))
            window[(0, 2, 1)[label]] += 12.0 * np.sin(2 * np.pi * 10.0 * time + rng.uniform(0, 2 * np.pi))
            columns["input_values"].append(window.astype(np.float32))
            columns["labels"].append(int(label))
            columns["subject"].append(subject)
    features = Features(
        {
            "input_values": Array2D((len(NAMES), N_TIMES), "float32"),
            "labels": ClassLabel(names=list(names)),
            "subject": Value("string"),
        }
    )
    return Dataset.from_dict(columns, features=features).with_format("numpy")


# every term of the objective, those of the layers among them, which are off by default
LAYERS = {"route_weight": 1.0, "spectral_weight": 0.5}

# a student that sees less than `toy_teacher`: three electrodes in another order, the last second
FEW, FEW_TIMES = ["C4", "Pz", "C3"], 200


def toy_views(subjects: list[str], cache_dir: Any, **options: Any) -> Dataset:
    """The windows of `toy_dataset` as a student of few electrodes and a short window reads them, and its teacher."""
    whole = set_signal_info(toy_dataset(subjects, **options), SignalInfo(tuple(NAMES), 200.0, N_TIMES))
    few = student_view(whole, FEW, FEW_TIMES / 200, "zscore", cache_dir=cache_dir, progress=False)
    return with_teacher_view(few, align_dataset(whole, "zscore", cache_dir=cache_dir, progress=False))


def toy_few_studio(
    seed: int = 0, dropout: float = 0.1, student: dict | None = None, **fields: Any
) -> DLinkStudioModel:
    """A studio whose student sees less than its teacher, with the terms of `LAYERS`."""
    teacher = toy_teacher(seed, dropout)
    student = toy_student(seed, dropout, ch_names=FEW, n_times=FEW_TIMES, **(student or {}))
    router = DLinkRouterConfig.from_teacher(teacher.config, router_size=4, router_dropout=dropout)
    return DLinkStudioModel.from_parts(teacher, student, router_config=router, **{**LAYERS, **fields})


def toy_teacher(seed: int = 0, dropout: float = 0.1) -> DLinkTeacherForEEGClassification:
    """A CBraMod of two layers."""
    torch.manual_seed(seed)
    config = DLinkTeacherConfig(
        backbone_kwargs={"n_layer": 2, "dim_feedforward": 16, "nhead": 4, "drop_prob": dropout},
        ch_names=NAMES,
        n_times=N_TIMES,
        id2label=dict(enumerate(LABELS)),
        head_size=4,
        head_dropout=dropout,
    )
    return DLinkTeacherForEEGClassification(config)


def toy_student(seed: int = 0, dropout: float = 0.1, **fields: Any) -> MiCForEEGClassification:
    """A student of one block."""
    torch.manual_seed(seed)
    config = {
        "ch_names": NAMES,
        "n_times": N_TIMES,
        "id2label": dict(enumerate(LABELS)),
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_filters": 6,
        "num_spatial_slots": 3,
        "compressed_size": 4,
        "hidden_dropout": dropout,
        "classifier_dropout": dropout,
    }
    return MiCForEEGClassification(MiCConfig(**{**config, **fields}))


def toy_studio(seed: int = 0, dropout: float = 0.1, **fields: Any) -> DLinkStudioModel:
    """Teacher, router and student, with the terms of `LAYERS`; `fields` are those of the studio's config."""
    teacher, student = toy_teacher(seed, dropout), toy_student(seed, dropout)
    router = DLinkRouterConfig.from_teacher(teacher.config, router_size=4, router_dropout=dropout)
    return DLinkStudioModel.from_parts(teacher, student, router_config=router, **{**LAYERS, **fields})


def arguments(folder: Any, cls: type = DLinkTrainingArguments, **fields: Any) -> Any:
    """Arguments of a short, silent training on the CPU."""
    defaults = {
        "output_dir": str(folder),
        "num_train_epochs": 2,
        "per_device_train_batch_size": 12,
        "per_device_eval_batch_size": 64,
        "learning_rate": 1e-2,
        "report_to": "none",
        "logging_steps": 1,
        "save_strategy": "no",
        "disable_tqdm": True,
        "use_cpu": True,
        "seed": 0,
    }
    return cls(**{**defaults, **fields})


def weights(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """A copy of the weights and running statistics."""
    return {name: value.clone() for name, value in model.state_dict().items()}


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    """Whether two state dicts are equal bit by bit."""
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)
