# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Do these windows fit this model? Labels, channels and rate of a dataset against a model's config."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import PreTrainedConfig

from ..core.config_checks import MULTI_LABEL, REGRESSION, TOKENS
from ..core.electrodes import channel_positions
from ..core.model_facts import check_delivered, label_names, required_channels
from .collator import TEACHER_VALUES
from .description import SignalInfo, signal_info, task_info, teacher_signal_info


def _facts(dataset: Any) -> SignalInfo | None:
    """Channels, rate and length of a dataset's windows; None where it does not say."""
    description = getattr(getattr(dataset, "info", None), "description", None)
    return signal_info(dataset) if '"signal"' in (description or "") else None


def _check_rate(config: PreTrainedConfig, facts: SignalInfo) -> None:
    if facts.sfreq != config.sfreq:
        raise ValueError(
            f"The model reads {config.sfreq:g} Hz, the windows have {facts.sfreq:g} Hz. Build them with the feature "
            "extractor that was saved with the model: EEGFeatureExtractor.from_pretrained(...)."
        )


def _same_channels(config: PreTrainedConfig, facts: SignalInfo) -> bool:
    return required_channels(config) == list(facts.ch_names)


def check_label_names(model: nn.Module, dataset: Any) -> None:
    """Refuse windows whose labels the model does not know by the same names in the same order.

    Raises:
        ValueError: naming the labels of both.
    """
    config = getattr(model, "student", model).config
    if getattr(config, "problem_type", None) in (REGRESSION, MULTI_LABEL):
        # `targets.check_targets` judges numbers, and several labels at once
        return
    given = getattr((getattr(dataset, "features", None) or {}).get("labels"), "names", None)
    if given is None and getattr(dataset, "info", None) is not None:
        task = task_info(dataset)
        given = task["names"] if task is not None and task["problem_type"] == TOKENS else None
    names = label_names(model)
    unnamed = all(name == f"LABEL_{index}" for index, name in enumerate(names))
    if given is not None and not unnamed and list(given) != names:
        unknown = [name for name in given if name not in names]
        lacking = [name for name in names if name not in given]
        difference = (
            f"it does not know {unknown}" if unknown else f"they lack {lacking}" if lacking else "the order differs"
        )
        raise ValueError(
            f"The model knows the labels {names}, the windows have {list(given)}"
            f": {difference}. Choose windows with the model's labels in its order, or load the model with the "
            "`id2label` of these windows and fine-tune it."
        )


def montage_arguments(model: nn.Module, dataset: Any) -> dict[str, torch.Tensor]:
    """Arguments of the forward pass by which a model reads the channels of a dataset.

    Raises:
        ValueError: a teacher, which knows one montage, is given another; or the sampling rates differ.
    """
    config = model.config
    facts = _facts(dataset)
    if facts is None:
        return {}
    _check_rate(config, facts)
    if _same_channels(config, facts):
        return {}
    if not model.takes_positions:
        raise ValueError(
            f"This model reads the channels {', '.join(config.ch_names)} in this order, the windows have "
            f"{', '.join(facts.ch_names)}. Build them with EEGFeatureExtractor(ch_names=..., "
            "missing_channels='error')."
        )
    return {"channel_positions": torch.tensor(channel_positions(facts.ch_names), dtype=torch.float32)}


def check_training_windows(model: nn.Module, dataset: Any) -> None:
    """Refuse to train on windows whose labels, channels or rate are not those of the model's config.

    The config is what the trained model will tell everybody of itself, and its channels are where the model believes
    the electrodes to be. Of a studio, `input_values` are compared with the student's config, and
    `teacher_input_values`, where there are some, with the teacher's.

    Args:
        model: a student, a teacher or a studio.
        dataset: windows; what it does not say of itself is not checked.

    Raises:
        ValueError: naming what differs.
    """
    check_label_names(model, dataset)
    facts, config = _facts(dataset), getattr(model.config, "student_config", model.config)
    if facts is None:
        return
    _check_rate(config, facts)
    if not _same_channels(config, facts):
        raise ValueError(
            f"The model's config says `ch_names` {', '.join(config.ch_names)}, the windows have "
            f"{', '.join(facts.ch_names)}. Give the config the windows' own: MiCConfig(**signal_fields(dataset)), or "
            "from_pretrained(..., **signal_fields(dataset))."
        )
    teacher, own = getattr(model.config, "teacher_config", None), teacher_signal_info(dataset)
    if teacher is None or own is None:
        return
    if facts.n_times != config.n_times:
        raise ValueError(
            f"The student's config says `n_times` {config.n_times}, its windows have {facts.n_times} samples: which "
            "of the teacher's patches are theirs would not be known. Give the config the windows' own."
        )
    if not _same_channels(teacher, own) or (own.sfreq, own.n_times) != (teacher.sfreq, teacher.n_times):
        raise ValueError(
            f"The teacher reads {teacher.n_times} samples at {teacher.sfreq:g} Hz of {', '.join(teacher.ch_names)}; "
            f"`{TEACHER_VALUES}` have {own.n_times} at {own.sfreq:g} Hz of {', '.join(own.ch_names)}. Give "
            "with_teacher_view(student_windows, teacher_windows) the windows that the teacher was trained on."
        )


def check_teacher_view(studio: nn.Module, dataset: Any) -> None:
    """Refuse to distil from a teacher that sees more than its student, where the windows lack what it sees.

    Args:
        studio: has configs of teacher and student.
        dataset: training windows; one that does not name its columns is not checked.

    Raises:
        ValueError: there is no column `teacher_input_values`.
    """
    columns = getattr(dataset, "column_names", None)
    if columns is None or TEACHER_VALUES in columns or not studio.config.teacher_sees_more:
        return
    teacher, student = studio.config.teacher_config, studio.config.student_config
    raise ValueError(
        f"The teacher reads {len(teacher.ch_names)} channels and {teacher.n_times} samples, the student "
        f"{len(student.ch_names)} and {student.n_times}, and the training windows have no column {TEACHER_VALUES!r}: "
        "put the teacher's windows next to the student's, with_teacher_view(student_windows, teacher_windows)."
    )


__all__ = [
    "check_delivered",
    "check_label_names",
    "check_teacher_view",
    "check_training_windows",
    "label_names",
    "montage_arguments",
    "required_channels",
]
