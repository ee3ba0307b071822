# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""The objective by default, of logits alone: router and decoder take no part, the teacher only where it is asked."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F
from toy_training import arguments, same, toy_dataset, toy_studio, weights

from dlink_hf import DLinkStudioConfig, DLinkTrainer


OFF = {"route_weight": 0.0, "spectral_weight": 0.0}
LABELS = torch.tensor([0, 1, 1, 0])


def windows() -> torch.Tensor:
    return 20 * torch.randn(4, 4, 400, generator=torch.Generator().manual_seed(0))


def runs_of(module: torch.nn.Module) -> list[int]:
    """A list that grows by one whenever the module is run."""
    runs: list[int] = []
    module.register_forward_hook(lambda *_: runs.append(1))
    return runs


def test_logits_alone_are_the_default():
    config = DLinkStudioConfig()
    assert not config.uses_layers and (config.kd_weight, config.soft_target_weight) == (3.0, 3.0)
    assert DLinkStudioConfig(route_weight=0.1).uses_layers and DLinkStudioConfig(spectral_weight=0.1).uses_layers
    assert not DLinkStudioConfig(spectral_weight=0.1, magnitude_weight=0.0, phase_weight=0.0).uses_layers


def test_the_loss_of_a_step_is_that_of_labels_and_logits():
    studio = toy_studio(dropout=0.0, kd_weight=0.8, task_weight=0.5, kd_temperature=3.0, **OFF).train()
    routed, decoded = runs_of(studio.router), runs_of(studio.decoder)
    output = studio(windows(), labels=LABELS)
    with torch.no_grad():
        taught = studio.teacher(windows()).logits
    torch.testing.assert_close(output.teacher_logits, taught)
    task = F.cross_entropy(output.logits, LABELS)
    kd = 9 * F.kl_div((output.logits / 3).log_softmax(-1), (taught / 3).softmax(-1), reduction="batchmean")
    torch.testing.assert_close(output.loss, 0.5 * task + 0.8 * kd)
    assert set(output.losses) == {"task_loss", "kd_loss"} and not routed and not decoded
    assert output.router_weights is None and output.routed_state is None and output.mimic_state is None
    plain = studio(windows(), labels=LABELS, return_dict=False)
    torch.testing.assert_close(plain[0], output.loss)


def test_soft_targets_are_a_term_of_their_own():
    studio = toy_studio(dropout=0.0, kd_weight=0.0, task_weight=0.0, soft_target_weight=2.0, **OFF).train()
    told = torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.4, 0.6], [0.5, 0.5]])
    asked = runs_of(studio.teacher)
    output = studio(windows(), labels=LABELS, soft_targets=told)
    t = studio.config.kd_temperature
    expected = F.kl_div((output.logits / t).log_softmax(-1), (told.log() / t).softmax(-1), reduction="batchmean")
    torch.testing.assert_close(output.loss, 2 * t**2 * expected)
    # nothing is asked of a teacher that has no say
    assert not asked and output.teacher_logits is None and "kd_loss" not in output.losses


def test_router_and_decoder_learn_only_where_layers_are_read():
    studio = toy_studio(dropout=0.0, **OFF).train()
    studio(windows(), labels=LABELS).loss.backward()
    for part in (studio.teacher, studio.router, studio.decoder):
        assert all(p.grad is None and not p.requires_grad for p in part.parameters())
    # what is left is all used: processes that share a training wait for no gradient in vain
    assert all(p.grad is not None for p in studio.student.parameters() if p.requires_grad)
    whole = toy_studio(dropout=0.0)
    assert all(p.requires_grad for part in (whole.router, whole.decoder) for p in part.parameters())


def test_evaluation_shows_weights_and_states_all_the_same():
    studio = toy_studio(**OFF).eval()
    with torch.no_grad():
        output = studio(windows())
    assert output.loss is None
    torch.testing.assert_close(output.router_weights.sum(1), torch.ones(4))
    assert output.routed_state.shape == output.mimic_state.shape == output.decoded_state.shape


def test_a_training_logs_its_own_terms_alone_and_leaves_the_router_as_it_was(tmp_path):
    studio = toy_studio(**OFF)
    before = weights(studio.router)
    trainer = DLinkTrainer(studio, arguments(tmp_path, max_steps=2), train_dataset=toy_dataset(["a", "b"]))
    trainer.train()
    logged = [entry for entry in trainer.state.log_history if "loss" in entry]
    assert len(logged) == 2
    for entry in logged:
        terms = {name for name in entry if name.endswith("_loss") or name.startswith("router")}
        assert terms == {"task_loss", "kd_loss"}
        expected = studio.config.task_weight * entry["task_loss"] + studio.config.kd_weight * entry["kd_loss"]
        assert entry["loss"] == pytest.approx(expected, abs=1e-3)
    assert same(before, weights(studio.router))


def test_a_mimic_stage_needs_a_term_that_reads_layers(tmp_path):
    args = arguments(tmp_path, mimic_epochs=1)
    with pytest.raises(ValueError, match="`mimic_epochs=1` asks for a stage.*`route_weight` or a `spectral_weight`"):
        DLinkTrainer(toy_studio(**OFF), args, train_dataset=toy_dataset(["a", "b"]))
