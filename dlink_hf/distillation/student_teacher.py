# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""A student as a teacher: one that sees more, is larger, or was trained on more subjects teaches another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedConfig

from ..core.checkpoint_names import found_checkpoint
from ..models.mic.modeling_mic import MiCWithHead, student_class
from ..models.teacher.licence_notes import note_licence
from ..models.teacher.modeling_teacher import DLinkTeacherWithHead, teacher_class


class StudentNetwork(nn.Module):
    """A student as a network that takes windows of its own montage and gives logits.

    Args:
        student: with a head.
    """

    def __init__(self, student: MiCWithHead):
        super().__init__()
        self.student = student

    def forward(self, input_values: torch.Tensor) -> torch.Tensor:
        """Logits (B, num_labels) of windows (B, C, T) in microvolts."""
        return self.student(input_values, return_dict=True).logits


def student_as_teacher(student: MiCWithHead) -> DLinkTeacherWithHead:
    """Make a teacher of a trained student; its layers are the states after its blocks.

    Args:
        student: trained for the task. It is taken, not copied.

    Returns:
        a teacher with the student's own logits.

    Example:

    ```python
    >>> from dlink_hf import MiCConfig, MiCForEEGClassification
    >>> from dlink_hf.distillation.student_teacher import student_as_teacher

    >>> teacher = student_as_teacher(MiCForEEGClassification(MiCConfig.from_size("base", num_labels=2)))
    >>> teacher.config.token_chans, teacher.config.n_patches
    (19, 5)
    ```
    """
    config = student.config
    return teacher_class(config.problem_type).from_module(
        StudentNetwork(student),
        [f"student.mic.blocks.{index}" for index in range(config.num_hidden_layers)],
        "b p c d",
        ch_names=config.ch_names,
        sfreq=config.sfreq,
        n_times=config.n_times,
        # a regression's are in the targets' unit already
        own_logits=True,
        id2label=config.id2label,
        label2id=config.label2id,
        problem_type=config.problem_type,
        weights_licenses=config.weights_licenses,
    )


def load_teacher(name_or_path: str | Path) -> DLinkTeacherWithHead:
    """Load a fine-tuned teacher, or a student that is to teach.

    Args:
        name_or_path: folder, short name or Hub id of a teacher or of a student with a head.

    Raises:
        OSError: there is no such checkpoint, or it can't be reached.
        ValueError: it holds something else, or has no head.
    """
    with found_checkpoint(name_or_path) as resolved:
        fields, _ = PreTrainedConfig.get_config_dict(resolved)
        problem_type = fields.get("problem_type")
        if fields.get("model_type") != "dlink_mic":
            return teacher_class(problem_type).from_pretrained(resolved)
        student, info = student_class(problem_type).from_pretrained(resolved, output_loading_info=True)
    if student.lacked_head(info):
        raise ValueError(
            f"{name_or_path} is a student without a head: it knows no classes that it could teach. Fine-tune it first "
            f"(dlink finetune --student {name_or_path})."
        )
    note_licence(student, resolved, {})
    return student_as_teacher(student.eval())


def teacher_name(config: Any) -> str:
    """What a teacher is, for tables and cards: the backbone with its layers, or a student with its size."""
    if config.module_info and config.module_info["name"] == StudentNetwork.__name__:
        return f"MiC student, {config.num_hidden_layers} blocks, {len(config.ch_names)} channels"
    return f"{config.backbone}, {config.num_hidden_layers} layers"


__all__ = ["StudentNetwork", "load_teacher", "student_as_teacher", "teacher_name"]
