# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Mantis as a teacher: checkpoints in their published formats, hidden states against the published class."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional as F

from dlink_hf import DLinkTeacherConfig, DLinkTeacherForEEGClassification, DLinkTeacherModel
from dlink_hf.core.licences import read_licence
from dlink_hf.core.requires import MissingExtraError, remedy
from dlink_hf.models.teacher.checkpoints import identify
from dlink_hf.training.lora import adapt_teacher, parameter_depths


architecture = pytest.importorskip("mantis.architecture", reason=f"Mantis needs mantis: {remedy('mantis')}")

VERSIONS = ["MantisV1", "MantisV2"]
OPTIONS = {
    "hidden_dim": 32,
    "hidden_dim_scalar_enc": 8,
    "transf_depth": 3,
    "transf_num_heads": 4,
    "transf_dim_head": 8,
    "transf_mlp_dim": 48,
}
SIGNAL = {"ch_names": ["C3", "Cz", "C4"], "sfreq": 250.0, "n_times": 640}


def published(version: str, **options: Any) -> torch.nn.Module:
    """A small network of the published class."""
    torch.manual_seed(0)
    return getattr(architecture, version)(device="cpu", **{**OPTIONS, **options}).eval()


def windows(batch: int = 2, n_chans: int = 3, n_times: int = 640) -> torch.Tensor:
    return 30 * torch.randn(batch, n_chans, n_times, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def means_of_patches(network: torch.nn.Module, inputs: torch.Tensor) -> list[torch.Tensor]:
    """What the published class itself returns of each layer: its patches' mean, for each channel."""
    network.output_token, means = "mean_token", []
    for layer in range(3):
        network.return_transf_layer = layer
        means.append(network(inputs.flatten(0, 1)[:, None]).unflatten(0, (len(inputs), -1)))
    return means


@torch.no_grad()
def ours(model: DLinkTeacherModel, inputs: torch.Tensor) -> list[torch.Tensor]:
    return [state.mean(2) for state in model(inputs, output_hidden_states=True).hidden_states]


def close(found: list[torch.Tensor], expected: list[torch.Tensor]) -> None:
    assert len(found) == len(expected) == 3
    for mine, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)


def resized(inputs: torch.Tensor, size: int = 512) -> torch.Tensor:
    return F.interpolate(inputs, size=size, mode="linear", align_corners=False)


@pytest.fixture(scope="module", params=VERSIONS)
def saved(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """A version, and a checkpoint that its class saved."""
    folder = tmp_path_factory.mktemp("mantis") / request.param
    published(request.param).save_pretrained(folder)
    return request.param, folder


def test_a_published_checkpoint_has_the_published_layers(saved: tuple[str, Path], tmp_path: Path) -> None:
    version, folder = saved
    model, info = DLinkTeacherModel.from_pretrained(folder, **SIGNAL, output_loading_info=True)
    config = model.config
    told = {key: value for key, value in OPTIONS.items() if key != "transf_dim_head" or value != 32}
    assert (config.backbone, config.backbone_kwargs) == (version, told)
    assert (config.token_chans, config.n_patches, config.hidden_size, config.patch_size) == (3, 32, 32, 20)
    assert {key.split(".")[0] for key in info["dropped_keys"]} == {"prj"} and not info["missing_keys"]
    expected = means_of_patches(published(version), resized(windows()))
    close(ours(model, windows()), expected)
    # all layers differ from each other, and the last is the last hidden state
    assert (expected[0] - expected[1]).abs().max() > 1e-2
    close([model(windows()).last_hidden_state.detach().mean(2)] * 3, [expected[2]] * 3)
    model.save_pretrained(tmp_path)
    close(ours(DLinkTeacherModel.from_pretrained(tmp_path), windows()), expected)
    assert identify(list(load_file(folder / "model.safetensors"))) == version
    # the class writes its own licence into every folder, whatever the weights are
    assert read_licence(str(folder))["license"] == "unknown"


def test_the_class_token_is_what_the_published_class_returns(saved: tuple[str, Path]) -> None:
    version, folder = saved
    model = DLinkTeacherModel.from_pretrained(folder, **SIGNAL)
    with torch.no_grad():
        expected = published(version)(resized(windows()).flatten(0, 1)[:, None])
        torch.testing.assert_close(model.backbone(windows()), expected, rtol=1e-4, atol=1e-5)


def test_older_names_of_tensors_and_no_config(tmp_path: Path) -> None:
    network = published("MantisV1")
    older = {name.replace("transf_unit.", "vit_unit."): tensor for name, tensor in network.state_dict().items()}
    assert set(architecture.Mantis8M(device="cpu", **OPTIONS).state_dict()) == set(older)
    save_file(older, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match="say which teacher they belong to"):
        DLinkTeacherModel.from_pretrained(tmp_path, **SIGNAL)
    model = DLinkTeacherModel.from_pretrained(tmp_path, backbone="MantisV1", backbone_kwargs=OPTIONS, **SIGNAL)
    close(ours(model, windows()), means_of_patches(network, resized(windows())))


@pytest.mark.parametrize("version", VERSIONS)
def test_windows_can_be_left_as_they_are(version: str, tmp_path: Path) -> None:
    published(version).save_pretrained(tmp_path)
    options = {"resize_to": 0}
    model = DLinkTeacherModel.from_pretrained(tmp_path, **SIGNAL, backbone_kwargs=options)
    found = ours(model, windows())
    close(found, means_of_patches(published(version), windows()))
    assert (found[0] - ours(DLinkTeacherModel.from_pretrained(tmp_path, **SIGNAL), windows())[0]).abs().max() > 1e-3


@pytest.mark.parametrize("version", VERSIONS)
def test_options_of_the_checkpoint_are_taken_over(version: str, tmp_path: Path) -> None:
    options = {"num_patches": 16, "scalar_scales": [0.1, 1.0, 10.0], "epsilon_scalar_enc": 1.5}
    options |= {"seq_len": 256} if version == "MantisV1" else {"kernel_size": 21}
    published(version, **options).save_pretrained(tmp_path)
    model = DLinkTeacherModel.from_pretrained(tmp_path, **SIGNAL)
    assert model.config.n_patches == 16
    close(ours(model, windows()), means_of_patches(published(version, **options), resized(windows())))


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(("n_chans", "sfreq", "n_times"), [(1, 100, 64), (2, 173.61, 512), (19, 512.0, 1024)])
def test_any_montage_rate_and_window(version: str, n_chans: int, sfreq: float, n_times: int, tmp_path: Path) -> None:
    published(version).save_pretrained(tmp_path)
    names = DLinkTeacherConfig().ch_names[:n_chans]
    model = DLinkTeacherModel.from_pretrained(tmp_path, ch_names=names, sfreq=sfreq, n_times=n_times)
    inputs = windows(2, n_chans, n_times)
    close(ours(model, inputs), means_of_patches(published(version), resized(inputs)))
    # each channel is read by itself
    changed = inputs.clone()
    changed[:, 0] += 40 * torch.randn(n_times)
    moved = (ours(model, changed)[2] - ours(model, inputs)[2]).abs().amax((0, 2))
    assert moved[0] > 1e-3 and (moved[1:] < 1e-5).all()


def test_what_does_not_fit_is_one_clear_error(saved: tuple[str, Path], tmp_path: Path) -> None:
    version, folder = saved
    for n_times, nearest in ((1000, "992 or 1024"), (32, "64")):
        with pytest.raises(ValueError, match=rf"Mantis's number of patches .*\(nearest: {nearest}\), got {n_times}"):
            DLinkTeacherModel.from_pretrained(folder, **{**SIGNAL, "n_times": n_times})
    with pytest.raises(ValueError, match=r"`resize_to` is 0, or a multiple of `num_patches` \(32\)"):
        DLinkTeacherModel.from_pretrained(folder, **SIGNAL, backbone_kwargs={"resize_to": 500})
    with pytest.raises(ValueError, match=f"{version} takes no depth. Its arguments are transf_depth, hidden_dim"):
        DLinkTeacherModel.from_pretrained(folder, **SIGNAL, backbone_kwargs={"depth": 2})
    other = "MantisV2" if version == "MantisV1" else "MantisV1"
    with pytest.raises(ValueError, match=f"holds the tensors of {version}, not of {other}"):
        DLinkTeacherModel.from_pretrained(folder, **SIGNAL, backbone=other)
    lost = shutil.copytree(folder, tmp_path / "lost")
    tensors = load_file(lost / "model.safetensors")
    tensors.pop("tokgen_unit.linear_encoder.linear.weight")
    save_file(tensors, lost / "model.safetensors")
    with pytest.raises(ValueError, match=r"missing: tokgen_unit.linear_encoder.linear.weight.*partly loaded"):
        DLinkTeacherModel.from_pretrained(lost, **SIGNAL)
    shape = shutil.copytree(folder, tmp_path / "shape")
    config = json.loads((shape / "config.json").read_text())
    (shape / "config.json").write_text(json.dumps({**config, "transf_mlp_dim": 40}))
    with pytest.raises(ValueError, match="of another shape: transf_unit"):
        DLinkTeacherModel.from_pretrained(shape, **SIGNAL)


def test_without_the_package_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "mantis"]:
        monkeypatch.setitem(sys.modules, name, None)
    config = DLinkTeacherConfig(backbone="MantisV2", backbone_kwargs=OPTIONS, **SIGNAL)
    with pytest.raises(MissingExtraError, match=r'MantisV2 needs mantis, .*: pip install "dlink-hf\[mantis\]"'):
        DLinkTeacherModel(config)


def test_layers_learn_at_their_own_rates_and_take_adapters(saved: tuple[str, Path]) -> None:
    _, folder = saved
    model = DLinkTeacherForEEGClassification.from_pretrained(folder, **SIGNAL, num_labels=2)
    depths = {name.removeprefix("teacher.backbone."): depth for name, depth in parameter_depths(model).items()}
    second = {depth for name, depth in depths.items() if name.startswith("transf_unit.transformer.layers.1.")}
    assert second == {2} and depths["tokgen_unit.linear_encoder.linear.weight"] == 0
    assert depths["transf_unit.cls_token"] == 0 and depths["head.classifier.weight"] == 4
    before = model(windows()).logits.detach()
    with adapt_teacher(model, "lora", rank=2):
        torch.testing.assert_close(model(windows()).logits, before, rtol=1e-4, atol=1e-5)
        model(windows(), labels=torch.tensor([0, 1])).loss.backward()
        adapters = [p for name, p in model.named_parameters() if "lora_B" in name]
    assert adapters and all(p.grad is not None for p in adapters)
    assert sum(p.grad.abs().max() > 0 for p in adapters) == len(adapters) == 3 * 4


def test_half_precision_is_close(saved: tuple[str, Path]) -> None:
    _, folder = saved
    half = DLinkTeacherModel.from_pretrained(folder, **SIGNAL, dtype="bfloat16")
    for mine, theirs in zip(
        ours(half, windows()), ours(DLinkTeacherModel.from_pretrained(folder, **SIGNAL), windows()), strict=True
    ):
        assert mine.dtype == torch.bfloat16
        torch.testing.assert_close(mine.float(), theirs, rtol=0.15, atol=0.15)
