# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Several teachers in one studio, and teachers whose tokens lie on another grid than the student's."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional as F


pytest.importorskip("braindecode", reason="teachers need braindecode: pip install 'dlink-hf[teachers]'")

from toy_training import (  # noqa: E402
    LABELS,
    LAYERS,
    N_TIMES,
    NAMES,
    arguments,
    same,
    toy_dataset,
    toy_student,
    toy_teacher,
    weights,
)

from dlink_hf import (  # noqa: E402
    DLinkRouter,
    DLinkRouterConfig,
    DLinkStudioModel,
    DLinkTeacherConfig,
    DLinkTeacherForEEGClassification,
    DLinkTrainer,
    MiCConfig,
    MiCForEEGClassification,
    TeacherCache,
)
from dlink_hf.distillation.losses import feature_distance, logit_distillation_loss  # noqa: E402
from dlink_hf.distillation.objective import mean_logits  # noqa: E402
from dlink_hf.models.token_grid import common_grid, student_fields, time_weights, to_grid, windows_for  # noqa: E402


SECONDS = N_TIMES / 200
TARGETS = torch.tensor([0, 1, 1])


def teacher(backbone: str, sfreq: float = 200.0, names: list[str] = NAMES, seed: int = 1, **kwargs):
    torch.manual_seed(seed)
    config = DLinkTeacherConfig(
        backbone=backbone, backbone_kwargs=kwargs, ch_names=names, sfreq=sfreq, n_times=round(SECONDS * sfreq),
        id2label=dict(enumerate(LABELS)), head_size=4, head_dropout=0.0,
    )  # fmt: skip
    return DLinkTeacherForEEGClassification(config).eval()


def biot() -> DLinkTeacherForEEGClassification:
    """Another width (16), three layers, and another number of patches."""
    return teacher("BIOT", num_layers=3, embed_dim=16, num_heads=2)


def luna() -> DLinkTeacherForEEGClassification:
    """Tokens without channels."""
    return teacher("LUNA", depth=2, embed_dim=16, num_queries=2)


def eegpt() -> DLinkTeacherForEEGClassification:
    """256 Hz, and two of the channels, in another order."""
    names = ["Pz", "C3"]
    return teacher("EEGPT", 256.0, names, depth=2, embed_dim=16, num_heads=2, chan_proj_type="none")


def several(*others: DLinkTeacherForEEGClassification, **fields) -> DLinkStudioModel:
    studio = DLinkStudioModel.from_parts(
        [toy_teacher(dropout=0.0), *others], toy_student(dropout=0.0), **{"router_config": None, **LAYERS, **fields}
    )
    studio.router.dropout.p = 0.0
    return studio


def windows(batch: int = 3) -> torch.Tensor:
    return 20 * torch.randn(batch, len(NAMES), N_TIMES, generator=torch.Generator().manual_seed(0))


def moved(model: torch.nn.Module) -> set[str]:
    return {name for name, p in model.named_parameters() if p.grad is not None and p.grad.abs().max() > 0}


# --- grids ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("old", "new"), [(6, 3), (7, 3), (5, 5), (4, 1), (31, 5), (3, 6), (2, 7), (1, 4)])
def test_time_is_averaged_down_and_interpolated_up(old, new):
    values = torch.randn(2, 4, old, 3, dtype=torch.float64)
    given = to_grid(values, 4, new)
    if new > old:
        flat = values.permute(0, 1, 3, 2).flatten(0, 1)
        expected = F.interpolate(flat, size=new, mode="linear", align_corners=False)
        expected = expected.unflatten(0, (2, 4)).permute(0, 1, 3, 2)
    else:
        fine = values.repeat_interleave(new, dim=2)  # each new patch spans `old` of these
        expected = fine.unflatten(2, (new, old)).mean(3)
    torch.testing.assert_close(given, expected)
    torch.testing.assert_close(time_weights(old, new).sum(1), torch.ones(new, dtype=torch.float64))


def test_channels_are_kept_given_to_all_or_averaged():
    one, three = torch.randn(2, 1, 5, 3), torch.randn(2, 3, 5, 3)
    assert torch.equal(to_grid(three, 3, 5), three)
    assert torch.equal(to_grid(one, 4, 5), one.expand(2, 4, 5, 3))
    torch.testing.assert_close(to_grid(three, 4, 5), three.mean(1, keepdim=True).expand(2, 4, 5, 3))
    assert common_grid(torch.Size([2, 4, 5, 9]), torch.Size([2, 4, 31, 9])) == (4, 5)
    assert common_grid(torch.Size([2, 4, 5, 9]), torch.Size([2, 1, 3, 9])) == (1, 3)
    assert common_grid(torch.Size([2, 4, 5, 9]), torch.Size([2, 19, 3, 9])) == (1, 3)


def test_a_window_is_resampled_and_its_channels_picked_by_name():
    time = np.arange(N_TIMES) / 200
    values = np.stack([np.sin(2 * np.pi * f * time) for f in (5, 10, 20, 30)])
    given = windows_for(torch.tensor(values, dtype=torch.float32)[None], toy_teacher().config, eegpt().config)
    assert given.shape == (1, 2, 512)
    expected = np.stack([np.sin(2 * np.pi * f * np.arange(512) / 256) for f in (30, 5)])
    inner = slice(50, -50)
    np.testing.assert_allclose(given[0, :, inner].numpy(), expected[:, inner], atol=0.02)
    x = windows()
    assert windows_for(x, toy_teacher().config, biot().config) is x


@pytest.mark.parametrize("make", [biot, luna, eegpt])
def test_a_single_teacher_on_another_grid(make):
    """The routed target, the terms and the student's gradient, where grid and width are not the student's."""
    one = make()
    config = one.config
    student = MiCForEEGClassification(
        MiCConfig(
            ch_names=config.ch_names, sfreq=config.sfreq, n_times=config.n_times, id2label=config.id2label,
            hidden_size=16, num_hidden_layers=1, num_attention_heads=2, **student_fields(config),
        )
    )  # fmt: skip
    studio = DLinkStudioModel.from_parts(one, student, **LAYERS).train()
    x = windows_for(windows(), toy_teacher().config, config)
    output = studio(x, labels=TARGETS)
    output.loss.backward()
    states = one(x, output_hidden_states=True).hidden_states
    routed = sum(
        weight[:, None, None, None] * F.layer_norm(state, state.shape[-1:])
        for weight, state in zip(output.router_weights.T, states, strict=True)
    )
    with torch.no_grad():
        mimic = student.mic(x).mimic_state
    n_chans = config.n_chans if config.token_chans == config.n_chans else 1
    n_patches = min(student.config.n_patches, config.n_patches)
    assert output.routed_state.shape == output.mimic_state.shape == output.decoded_state.shape
    assert output.mimic_state.shape == (3, n_chans, n_patches, config.hidden_size)
    torch.testing.assert_close(output.routed_state, to_grid(routed, n_chans, n_patches).detach(), atol=1e-5, rtol=1e-4)
    distance = feature_distance(to_grid(mimic, n_chans, n_patches), output.routed_state)
    assert output.losses["route_loss"].item() == pytest.approx(distance.item(), rel=0.3)  # batch statistics, dropout
    assert all(torch.isfinite(term) for term in output.losses.values())
    assert {"mic.mimic_projection.weight", "mic.compressor.features.weight", "classifier.weight"} <= moved(student)


# --- several teachers -------------------------------------------------------------------------------------------


def test_the_routed_state_is_the_weighted_sum_over_all_layers():
    studio = several(biot(), luna(), eegpt()).eval()
    with torch.no_grad():
        torch.nn.init.normal_(studio.router.score.weight, std=0.5)
    output = studio(windows(), labels=TARGETS)
    assert output.router_weights.shape == (3, 2 + 3 + 2 + 2)
    torch.testing.assert_close(output.router_weights.sum(1), torch.ones(3))
    assert (output.router_weights[0] - output.router_weights[1]).abs().max() > 1e-4
    expected, layer, logits = 0, 0, []
    for number, one in enumerate(studio.teachers):
        x = windows_for(windows(), studio.teacher.config, one.config)
        with torch.no_grad():
            given = one(x, output_hidden_states=True)
        logits.append(given.logits)
        for state in given.hidden_states:
            state = F.layer_norm(state, state.shape[-1:])
            if number:
                state = to_grid(state @ studio.router.bridges[number - 1].weight.T, 4, 2)
            expected = expected + output.router_weights[:, layer, None, None, None] * state
            layer += 1
    torch.testing.assert_close(output.routed_state, expected.detach(), atol=1e-5, rtol=1e-4)
    mean = torch.stack([one.softmax(-1) for one in logits]).mean(0)
    torch.testing.assert_close(output.teacher_logits.softmax(-1), mean)
    torch.testing.assert_close(output.losses["kd_loss"], logit_distillation_loss(output.logits, mean.log()).detach())
    assert mean_logits(logits[0]) is logits[0]


def test_bridges_learn_from_the_task_and_from_nothing_else():
    names = ("task_weight", "kd_weight", "route_weight", "spectral_weight", "router_task_weight")
    for term, learns in (("router_task_weight", True), ("route_weight", False), ("spectral_weight", False)):
        # a router learns only where layers are mimicked, if ever so little
        off = {"route_weight": 1e-9} | {name: float(name == term) for name in names if name != "route_weight"}
        off |= {"route_weight": 1.0} if term == "route_weight" else {}
        studio = several(biot(), luna(), router_balance_weight=0.0, **off).train()
        before = weights(studio)
        optimizer = torch.optim.SGD([p for p in studio.parameters() if p.requires_grad], lr=0.1)
        studio(windows(), labels=TARGETS).loss.backward()
        bridges = {f"bridges.{number}.weight" for number in range(2)}
        assert (bridges <= moved(studio.router)) == learns and bool(moved(studio.router)) == learns
        optimizer.step()
        for name, value in studio.state_dict().items():
            if "teacher" in name:
                assert torch.equal(value, before[name]), name
    assert not any(module.training for one in studio.teachers for module in one.modules())
    assert all(p.grad is None for one in studio.teachers for p in one.parameters())


def test_bridges_start_as_isometries():
    config = DLinkRouterConfig(
        hidden_size=8, num_layers=5, n_chans=4, layers_per_teacher=[2, 2, 1], hidden_sizes=[8, 8, 24], num_labels=2
    )
    router = DLinkRouter(config)
    assert torch.equal(router.bridges[0].weight, torch.eye(8))
    wide = router.bridges[1].weight
    torch.testing.assert_close(wide @ wide.T, torch.eye(8), atol=1e-5, rtol=0)
    states = [torch.randn(3, 2, 4, 5, 8), torch.randn(3, 2, 1, 9, 8), torch.randn(3, 1, 4, 2, 24)]
    output = router(normalised_states=states)
    torch.testing.assert_close(output.weights, torch.full((3, 5), 0.2))
    with pytest.raises(ValueError, match="2 layers of 4 channels and width 8, then 2 layers of width 8 and 1 layers"):
        router(normalised_states=states[::-1])


@pytest.mark.parametrize("routing", ["static", "uniform", "last"])
def test_other_routings_weigh_all_layers(routing):
    configs = [toy_teacher().config, biot().config]
    studio = several(biot(), router_config=DLinkRouterConfig.from_teacher(configs, routing=routing)).train()
    output = studio(windows(), labels=TARGETS)
    output.loss.backward()
    expected = torch.tensor([0.0, 0, 0, 0, 1]) if routing == "last" else torch.full((5,), 0.2)
    torch.testing.assert_close(output.router_weights, expected.expand(3, 5))


def test_a_studio_of_several_saves_and_loads_and_a_single_one_is_as_it_was(tmp_path):
    studio = several(biot(), eegpt(), kd_weight=0.3).eval()
    studio.save_pretrained(tmp_path / "studio")
    again = DLinkStudioModel.from_pretrained(tmp_path / "studio").eval()
    assert same(weights(studio), weights(again)) and len(again.teachers) == 3
    assert again.config.kd_weight == 0.3 and again.config.all_teachers[2].sfreq == 256
    first, second = (model(windows(), labels=TARGETS) for model in (studio, again))
    assert torch.equal(first.loss, second.loss) and torch.equal(first.router_weights, second.router_weights)
    assert not any(p.requires_grad for one in again.teachers for p in one.parameters())
    assert not again.train().teachers[1].training

    single = DLinkStudioModel.from_parts([toy_teacher()], toy_student())
    assert {name.split(".")[0] for name in single.state_dict()} == {"teacher", "router", "student", "decoder"}
    assert not any("bridge" in name or "more" in name for name in single.state_dict())
    single.save_pretrained(tmp_path / "single")
    assert "teacher_configs" not in json.loads((tmp_path / "single" / "config.json").read_text())
    studio.student.save_pretrained(tmp_path / "student")
    saved, alone = load_file(tmp_path / "student" / "model.safetensors"), toy_student().state_dict()
    assert saved.keys() == alone.keys()


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (lambda: teacher("BIOT", names=["C3", "Fz", "O1"], num_layers=1, embed_dim=16, num_heads=2), "'Fz', 'O1'"),
        (lambda: toy_teacher_of(n_times=600), r"teacher_configs\[1\].n_times.*400 samples, the 2 s"),
        (lambda: toy_teacher_of(id2label={0: "task", 1: "rest"}), r"teacher_configs\[1\].id2label"),
    ],
)
def test_teachers_that_do_not_fit(other, message):
    with pytest.raises(ValueError, match=message):
        several(other())


def toy_teacher_of(**fields) -> DLinkTeacherForEEGClassification:
    given = {"ch_names": NAMES, "n_times": N_TIMES, "id2label": dict(enumerate(LABELS)), **fields}
    kwargs = {"n_layer": 1, "dim_feedforward": 16, "nhead": 4}
    return DLinkTeacherForEEGClassification(DLinkTeacherConfig(backbone_kwargs=kwargs, **given))


def test_no_teacher_or_a_router_for_others():
    with pytest.raises(ValueError, match="empty list"):
        DLinkStudioModel.from_parts([], toy_student())
    with pytest.raises(ValueError, match=r"router_config.layers_per_teacher.*\(3, 16\)"):
        several(biot(), router_config=DLinkRouterConfig.from_teacher([toy_teacher().config] * 2))
    with pytest.raises(ValueError, match="num_layers.*sum"):
        DLinkRouterConfig(num_layers=3, hidden_size=8, layers_per_teacher=[1, 1], hidden_sizes=[8, 8])


# --- training ---------------------------------------------------------------------------------------------------


def test_training_resuming_and_stored_features(tmp_path):
    train_set = toy_dataset(["S1", "S2"])

    def fit(folder, resume=None, **fields) -> DLinkTrainer:
        args = arguments(
            tmp_path / folder, num_train_epochs=3, mimic_epochs=1, learning_rate=3e-4, save_strategy="steps",
            save_steps=3, **fields,
        )  # fmt: skip
        # with two patches the phase is a sign, whose jumps would blow up half precision's rounding
        studio = several(biot(), eegpt(), phase_weight=0.0)
        trainer = DLinkTrainer(studio, args, train_dataset=train_set)
        trainer.train(resume_from_checkpoint=resume)
        return trainer

    def steps(trainer):
        return [entry for entry in trainer.state.log_history if "loss" in entry]

    live = fit("live")
    assert {f"router_weight_{layer}" for layer in range(1, 8)} <= steps(live)[0].keys()
    saved = load_file(tmp_path / "live" / "checkpoint-3" / "training_only.safetensors")
    assert "router.bridges.1.weight" in saved and not any("teacher" in name for name in saved)
    resumed = fit("resumed", str(tmp_path / "live" / "checkpoint-3"))
    assert same(weights(live.model), weights(resumed.model))

    stored = fit("stored", teacher_cache_dir=str(tmp_path / "cache"))
    assert len(list((tmp_path / "cache").glob("teacher-*"))) == 3  # one a teacher
    for one, two in zip(steps(live), steps(stored), strict=True):
        for name in set(one) - {"grad_norm"}:
            assert two[name] == pytest.approx(one[name], rel=1e-3, abs=1e-4), name
    studio = several(biot(), eegpt())
    caches = [TeacherCache(folder) for folder in (tmp_path / "cache").glob("teacher-*")]
    with pytest.raises(ValueError, match=r"3 teacher\(s\), and got 1 cache"):
        DLinkTrainer(studio, arguments(tmp_path), train_dataset=train_set, teacher_cache=caches[0])
    single = TeacherCache.build(studio.teachers[2], train_set, tmp_path / "cache", signal=studio.teacher.config)
    assert single.folder in {cache.folder for cache in caches}
