# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Adapting a teacher: the rate of each layer, a frozen backbone, low-rank adapters."""

from __future__ import annotations

import pytest
import torch
from transformers import TrainingArguments


pytest.importorskip("braindecode", reason="teachers need braindecode: pip install 'dlink-hf[teachers]'")

from toy_training import N_TIMES, NAMES, arguments, toy_dataset, toy_student, toy_teacher, weights  # noqa: E402

from dlink_hf import DLinkTeacherConfig, DLinkTeacherForEEGClassification  # noqa: E402
from dlink_hf.adaptation import called_modules, parameter_depths  # noqa: E402
from dlink_hf.finetuning import make_trainer  # noqa: E402


@pytest.fixture(scope="module")
def splits():
    return {"train": toy_dataset(["S1", "S2", "S3"]), "validation": toy_dataset(["S4"], seed=1)}


def plain(folder, **fields) -> TrainingArguments:
    return arguments(folder, TrainingArguments, **fields)


def labram() -> DLinkTeacherForEEGClassification:
    config = DLinkTeacherConfig(
        backbone="Labram",
        backbone_kwargs={"num_layers": 2},
        ch_names=NAMES,
        n_times=N_TIMES,
        head_size=4,
    )
    return DLinkTeacherForEEGClassification(config)


# depth of what lies in a module: 0 in front of the two layers, 3 behind them
DEPTHS = {
    "CBraMod": {
        "teacher.backbone.patch_embedding.": 0,
        "teacher.backbone.encoder.layers.0.": 1,
        "teacher.backbone.encoder.layers.1.": 2,
        "teacher.backbone.proj_out.": 3,
        "head.": 3,
    },
    "Labram": {
        "teacher.backbone.cls_token": 0,
        "teacher.backbone.position_embedding": 0,
        "teacher.backbone.temporal_embedding": 0,
        "teacher.backbone.patch_embed.": 0,
        "teacher.backbone.blocks.0.": 1,
        "teacher.backbone.blocks.1.": 2,
        "teacher.backbone.norm.": 3,
        "head.": 3,
    },
}


def depth_by_hand(backbone: str, name: str) -> int:
    (depth,) = (depth for prefix, depth in DEPTHS[backbone].items() if name.startswith(prefix))
    return depth


@pytest.mark.parametrize(("backbone", "build"), [("CBraMod", toy_teacher), ("Labram", labram)])
def test_depths_are_those_of_the_written_table(backbone, build):
    teacher = build()
    teacher.train()
    teacher.teacher.backbone.eval()
    before, random_state = weights(teacher), torch.get_rng_state()
    depths = parameter_depths(teacher)
    assert depths == {name: depth_by_hand(backbone, name) for name, _ in teacher.named_parameters()}
    # looking on leaves no trace
    assert torch.equal(torch.get_rng_state(), random_state)
    assert teacher.training and not teacher.teacher.backbone.training and teacher.head.training
    assert all(torch.equal(before[name], value) for name, value in teacher.state_dict().items())
    assert not any(module._forward_pre_hooks for module in teacher.modules())


def test_the_projection_that_torchs_attention_reads_itself_is_not_called():
    called = called_modules(toy_teacher())
    assert "encoder.layers.0.self_attn_s" in called and "encoder.layers.0.linear1" in called
    assert "encoder.layers.0.self_attn_s.out_proj" not in called
    assert called.index("patch_embedding") < called.index("encoder.layers.0") < called.index("proj_out.0")


@pytest.mark.parametrize("frozen", [False, True])
def test_rates_and_weight_decay_of_the_groups(frozen, splits, tmp_path):
    teacher = toy_teacher()
    if frozen:
        teacher.teacher.backbone.patch_embedding.requires_grad_(False)
    args = plain(tmp_path, learning_rate=1e-2, weight_decay=0.1, max_steps=10)
    trainer = make_trainer(teacher, splits, args, learning_rate_decay=0.5, head_learning_rate_multiplier=4.0)
    optimizer = trainer.create_optimizer()
    rates = {0: 1e-2 * 0.125, 1: 1e-2 * 0.25, 2: 1e-2 * 0.5, 3: 1e-2}
    names = {id(parameter): name for name, parameter in teacher.named_parameters()}
    seen = {}
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            seen[names[id(parameter)]] = (group["lr"], group["weight_decay"])
    expected = {}
    for name, parameter in teacher.named_parameters():
        if parameter.requires_grad:
            rate = 4e-2 if name.startswith("head.") else rates[depth_by_hand("CBraMod", name)]
            # as transformers: none on biases and LayerNorms; convolutions and CBraMod's GroupNorm weights have it
            bare = name.endswith("bias") or "norm" in name.split(".")[-2]
            expected[name] = (pytest.approx(rate), 0.0 if bare else 0.1)
    assert seen == expected
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(seen)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(4e-2)
    # the schedule lowers them all alike
    scheduler = trainer.create_scheduler(10, optimizer)
    first = [group["lr"] for group in optimizer.param_groups]
    for _ in range(5):
        optimizer.step()
        scheduler.step()
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([rate / 2 for rate in first])


def test_one_step_moves_each_layer_by_its_rate(splits, tmp_path):
    """Sign-like first step of Adam: every weight with a gradient moves by its rate."""
    teacher = toy_teacher(dropout=0.0)
    before = weights(teacher)
    args = plain(tmp_path, max_steps=1, learning_rate=1e-2, adam_epsilon=1e-20, max_grad_norm=0.0, weight_decay=0.0)
    make_trainer(teacher, splits, args, learning_rate_decay=0.1).train()
    rates = {0: 1e-5, 1: 1e-4, 2: 1e-3, 3: 1e-2}
    for name, value in teacher.state_dict().items():
        if name.endswith("weight"):
            moved = (value - before[name]).abs().max()
            assert float(moved) == pytest.approx(rates[depth_by_hand("CBraMod", name)], rel=0.02), name


def test_rates_without_decay_are_transformers_own(splits, tmp_path):
    trainer = make_trainer(toy_teacher(), splits, plain(tmp_path))
    optimizer = trainer.create_optimizer()
    assert len(optimizer.param_groups) == 2 and {group["lr"] for group in optimizer.param_groups} == {1e-2}


def test_rates_that_make_no_sense_are_errors(splits, tmp_path):
    args = plain(tmp_path)
    for value in (0.0, -0.5, 1.5, float("nan")):
        with pytest.raises(ValueError, match=r"`learning_rate_decay` must lie in \(0, 1\]"):
            make_trainer(toy_teacher(), splits, args, learning_rate_decay=value)
    with pytest.raises(ValueError, match="`head_learning_rate_multiplier` must be positive, got 0"):
        make_trainer(toy_teacher(), splits, args, head_learning_rate_multiplier=0)
    with pytest.raises(ValueError, match="is for teachers.*got MiCForEEGClassification"):
        make_trainer(toy_student(), splits, args, learning_rate_decay=0.5).train()
