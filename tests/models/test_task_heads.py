# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Heads of numbers and of several labels at once: losses, units, folding, files, code that travels, exports."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from head_tasks import RHYTHMS, multi_label_teacher, regression_teacher, regressor
from torch.nn import functional as F
from toy_training import NAMES, toy_student

from dlink_hf import (
    AutoModelForEEGClassification,
    AutoModelForEEGRegression,
    DLinkTeacherForEEGClassification,
    DLinkTeacherForEEGRegression,
    MiCConfig,
    MiCForEEGClassification,
    MiCForEEGRegression,
    MiCModel,
    OnnxStudent,
    export_onnx,
    load_classifier,
)
from dlink_hf.distillation.losses import label_distillation_loss, target_distillation_loss
from dlink_hf.distillation.objective import mean_logits
from dlink_hf.hub.remote_code import add_remote_code
from dlink_hf.models.task_losses import head_loss


SCALE = {"target_mean": [40.0], "target_std": [12.5]}
MULTI_LABEL = {"problem_type": "multi_label_classification", "id2label": dict(enumerate(RHYTHMS))}


def windows(n_windows: int = 3) -> torch.Tensor:
    """(N, 4, 400) microvolts."""
    return 20 * torch.randn(n_windows, len(NAMES), 400, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("mse", F.mse_loss), ("mae", F.l1_loss), ("huber", F.huber_loss)],
)
def test_the_loss_is_that_of_standardised_targets(kind: str, expected: Any) -> None:
    model = regressor(regression_loss=kind, **SCALE).eval()
    targets = torch.tensor([20.0, 40.0, 75.0])
    output = model(windows(), labels=targets)
    standard = (output.logits[:, 0] - 40) / 12.5
    assert torch.allclose(output.loss, expected(standard, (targets - 40) / 12.5), atol=1e-6)
    # (B, 1) is the same as (B,)
    torch.testing.assert_close(model(windows(), labels=targets[:, None]).loss, output.loss, rtol=1e-5, atol=1e-5)


def test_numbers_come_back_in_the_unit_of_the_targets() -> None:
    plain, scaled = regressor().eval(), regressor(**SCALE).eval()
    scaled.load_state_dict(plain.state_dict())
    assert torch.allclose(scaled(windows()).logits, plain(windows()).logits * 12.5 + 40, atol=1e-4)


def test_several_labels_at_once_have_a_cross_entropy_each() -> None:
    model = toy_student(**MULTI_LABEL).eval()
    labels = torch.tensor([[1, 0], [1, 1], [0, 0]])
    output = model(windows(), labels=labels)
    assert torch.allclose(output.loss, F.binary_cross_entropy_with_logits(output.logits, labels.float()), atol=1e-6)


@pytest.mark.parametrize("make", [regression_teacher, multi_label_teacher])
def test_a_teacher_gives_the_same_kinds_of_loss(make: Any) -> None:
    teacher = make().eval()
    n_labels = teacher.config.num_labels
    output = teacher(windows(), labels=torch.ones(3, n_labels))
    loss = F.mse_loss if n_labels == 1 else F.binary_cross_entropy_with_logits
    assert torch.allclose(output.loss, loss(output.logits, torch.ones(3, n_labels)), atol=1e-6)


def test_windows_without_a_label_take_no_part_in_a_distillations_loss() -> None:
    numbers, config = torch.tensor([[1.0], [5.0], [9.0]]), regressor(**SCALE).config
    some = head_loss(config, numbers, torch.tensor([[2.0], [float("nan")], [9.0]]))
    assert torch.allclose(some, head_loss(config, numbers[[0, 2]], torch.tensor([[2.0], [9.0]])))
    assert head_loss(config, numbers, torch.full((3, 1), float("nan"))) == 0
    logits, labels = torch.randn(2, 2), torch.tensor([[1.0, -1.0], [0.0, 1.0]])
    kept = labels.flatten() >= 0
    expected = F.binary_cross_entropy_with_logits(logits.flatten()[kept], labels.flatten()[kept])
    assert torch.allclose(head_loss(toy_student(**MULTI_LABEL).config, logits, labels), expected)


def test_distillation_losses_against_plain_formulas() -> None:
    student, teacher = torch.randn(2, 6, 3)
    p, q = (teacher / 2).sigmoid(), (student / 2).sigmoid()
    divergence = p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()
    assert torch.allclose(label_distillation_loss(student, teacher, 2.0), 4 * divergence.mean(), atol=1e-5)
    assert label_distillation_loss(teacher, teacher).abs() < 1e-6
    config = regressor(**SCALE).config
    taught = target_distillation_loss(config, student[:, :1], teacher[:, :1])
    assert torch.allclose(taught, ((student - teacher)[:, 0] / 12.5).square().mean())


def test_several_teachers_are_averaged_as_their_outputs_ask() -> None:
    first, second = torch.tensor([[2.0, -1.0]]), torch.tensor([[0.0, 3.0]])
    assert torch.equal(mean_logits([first, second], "regression"), torch.tensor([[1.0, 1.0]]))
    expected = (first.sigmoid() + second.sigmoid()) / 2
    assert torch.allclose(mean_logits([first, second], "multi_label_classification").sigmoid(), expected, atol=1e-6)


@pytest.mark.parametrize("signed_path", [False, True])
def test_a_folded_student_gives_the_same_numbers(signed_path: bool) -> None:
    model = regressor(signed_path=signed_path, **SCALE).eval()
    found = model.for_inference()(windows()).logits
    assert torch.allclose(found, model(windows()).logits, atol=1e-3)


def test_saved_and_loaded_by_every_door(tmp_path: Path) -> None:
    model = regressor(**SCALE).eval()
    model.save_pretrained(tmp_path / "student")
    for load in (MiCForEEGRegression.from_pretrained, AutoModelForEEGRegression.from_pretrained, load_classifier):
        again = load(tmp_path / "student")
        assert type(again) is MiCForEEGRegression and again.config.target_std == [12.5]
        assert again.config.id2label == {0: "alpha (uV)"}
        torch.testing.assert_close(again.eval()(windows()).logits, model(windows()).logits, rtol=1e-5, atol=1e-5)
    teacher = regression_teacher().eval()
    teacher.save_pretrained(tmp_path / "teacher")
    again = load_classifier(tmp_path / "teacher")
    assert type(again) is DLinkTeacherForEEGRegression
    torch.testing.assert_close(again(windows()).logits, teacher(windows()).logits, rtol=1e-5, atol=1e-5)
    several = toy_student(**MULTI_LABEL)
    several.save_pretrained(tmp_path / "several")
    assert load_classifier(tmp_path / "several").config.problem_type == "multi_label_classification"


def test_a_backbone_gets_a_head_for_numbers(tmp_path: Path) -> None:
    MiCModel(toy_student().config).save_pretrained(tmp_path)
    model = MiCForEEGRegression.from_pretrained(tmp_path, id2label={0: "age (years)"})
    assert model.classifier.out_features == 1 and model.config.problem_type == "regression"
    assert MiCForEEGRegression.from_pretrained(tmp_path).config.num_labels == 1
    # of another task's student only when asked, and then by its own names
    regressor(**SCALE).save_pretrained(tmp_path / "student")
    other = MiCForEEGRegression.from_pretrained(
        tmp_path / "student", id2label={0: "age", 1: "load"}, ignore_mismatched_sizes=True
    )
    assert other.config.target_mean is None and other.classifier.out_features == 2


def test_the_wrong_class_is_named(tmp_path: Path) -> None:
    regressor().save_pretrained(tmp_path / "numbers")
    toy_student().save_pretrained(tmp_path / "classes")
    for load in (MiCForEEGClassification.from_pretrained, AutoModelForEEGClassification.from_pretrained):
        with pytest.raises(ValueError, match=r"needs a config of classes.*Use MiCForEEGRegression"):
            load(tmp_path / "numbers")
    with pytest.raises(ValueError, match=r"needs a config of problem_type='regression'.*Use MiCForEEGClassification"):
        MiCForEEGRegression(toy_student().config)
    with pytest.raises(ValueError, match="Use DLinkTeacherForEEGRegression"):
        DLinkTeacherForEEGClassification(regression_teacher().config)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"target_mean": [1.0], "target_std": [1.0]}, "`target_mean` must be None unless"),
        ({"problem_type": "regression", "target_mean": [1.0], "target_std": [0.0]}, "1 positive numbers"),
        ({"problem_type": "regression", "target_mean": [1.0, 2.0], "target_std": [1.0, 1.0]}, "1 finite numbers"),
        ({"problem_type": "regression", "target_mean": [float("nan")], "target_std": [1.0]}, "1 finite numbers"),
        ({"problem_type": "regression", "target_mean": [1.0]}, "given together with `target_mean`"),
        ({"problem_type": "regression", "regression_loss": "l3"}, "one of mse, mae, huber"),
        ({"num_labels": 1}, "at least two classes"),
        ({"problem_type": "multi_label_classification", "num_labels": 0}, "at least one label"),
    ],
)
def test_configs_that_contradict_themselves(fields: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        MiCConfig.from_size("tiny", **fields)


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        (torch.tensor([1.0, float("nan"), 2.0]), r"must be finite numbers, got \[nan\] in 1 window"),
        (torch.ones(3, 2), r"must be \(3, 1\) targets"),
        (torch.ones(2), r"must be \(3, 1\) targets"),
    ],
)
def test_targets_that_do_not_fit(labels: torch.Tensor, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        regressor()(windows(), labels=labels)


def test_labels_that_are_neither_zero_nor_one() -> None:
    model = toy_student(**MULTI_LABEL)
    with pytest.raises(ValueError, match=r"must be 0 or 1, got \[-1.0\] in 1 window.*Only a distillation"):
        model(windows(), labels=torch.tensor([[1, 0], [0, -1], [0, 0]]))
    with pytest.raises(ValueError, match=r"must be \(3, 2\) zeros and ones"):
        model(windows(), labels=torch.tensor([0, 1, 1]))


@pytest.mark.parametrize("several", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_code_that_travels_gives_the_same(tmp_path: Path, several: bool) -> None:
    model = (toy_student(**MULTI_LABEL) if several else regressor(**SCALE)).eval()
    model.save_pretrained(tmp_path)
    add_remote_code(tmp_path)
    torch.save(windows(), tmp_path / "windows.pt")
    code = (
        "import sys, torch\n"
        "from transformers import AutoModel, AutoModelForAudioClassification\n"
        f"windows = torch.load({str(tmp_path / 'windows.pt')!r})\n"
        "for auto in (AutoModel, AutoModelForAudioClassification):\n"
        f"    model = auto.from_pretrained({str(tmp_path)!r}, trust_remote_code=True).eval()\n"
        "    print(type(model).__name__, *model(windows).logits.flatten().tolist())\n"
        "assert 'dlink_hf' not in sys.modules\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=True)
    for line in ran.stdout.strip().splitlines():
        name, *numbers = line.split()
        assert name == type(model).__name__
        expected = model(windows()).logits.flatten().tolist()
        assert np.allclose([float(number) for number in numbers], expected, rtol=1e-5, atol=1e-5)


def test_an_export_gives_the_same_numbers(tmp_path: Path) -> None:
    model = regressor(**SCALE).eval()
    export_onnx(model, tmp_path / "onnx", windows=windows(8).numpy(), progress=False)
    student = OnnxStudent.from_pretrained(tmp_path / "onnx")
    assert np.allclose(student(windows()).logits, model(windows()).logits.detach(), atol=1e-3)
    assert student.config.problem_type == "regression" and student.config.num_labels == 1
