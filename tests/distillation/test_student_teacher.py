# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""A student as a teacher: its own logits and block states, loaded by name, distilled from."""

from __future__ import annotations

import pytest
import torch

from dlink_hf import DLinkStudioModel, MiCConfig, MiCForEEGClassification, MiCModel
from dlink_hf.distillation.student_teacher import load_teacher, student_as_teacher
from dlink_hf.models.token_grid import student_fields


SIGNAL = {"ch_names": ["C3", "Cz", "C4"], "sfreq": 200.0, "n_times": 400, "num_labels": 3}


def student(**fields) -> MiCForEEGClassification:
    torch.manual_seed(0)
    return MiCForEEGClassification(MiCConfig.from_size("tiny", **SIGNAL, **fields)).eval()


def test_logits_and_states_are_those_of_the_student():
    network, windows = student(), 20 * torch.randn(4, 3, 400)
    teacher = student_as_teacher(network).eval()
    with torch.no_grad():
        told = teacher(windows, output_hidden_states=True)
        states = network.mic(windows, output_hidden_states=True).hidden_states
    torch.testing.assert_close(told.logits, network(windows).logits)
    assert len(told.hidden_states) == network.config.num_hidden_layers
    for found, expected in zip(told.hidden_states, states[1:], strict=True):
        torch.testing.assert_close(found, expected)


def test_a_student_is_distilled_from_another(tmp_path):
    student().save_pretrained(tmp_path)
    teacher = load_teacher(tmp_path)
    fields = student_fields(teacher.config)
    studio = DLinkStudioModel.from_parts(teacher, student(**fields), route_weight=1.0, spectral_weight=0.5)
    output = studio(20 * torch.randn(4, 3, 400), labels=torch.tensor([0, 1, 2, 0]))
    output.loss.backward()
    assert torch.isfinite(output.loss) and studio.student.mic.token_embedding.weight.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in teacher.parameters())


def test_a_student_without_a_head_teaches_nothing(tmp_path):
    MiCModel(MiCConfig.from_size("tiny", **SIGNAL)).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="without a head"):
        load_teacher(tmp_path)
