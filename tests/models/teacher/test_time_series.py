# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Foundation models of time series as teachers: checkpoints in their published formats, channels as series."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from dlink_hf import DLinkTeacherConfig, DLinkTeacherForEEGClassification, DLinkTeacherModel
from dlink_hf.core.requires import MissingExtraError, remedy
from dlink_hf.models.teacher.checkpoints import identify
from dlink_hf.training.lora import adapt_teacher, parameter_depths


chronos2 = pytest.importorskip("chronos.chronos2", reason=f"Chronos2 needs chronos: {remedy('chronos')}")

NAMES = ["C3", "Cz", "C4", "Pz", "O1"]
N_TIMES = 320  # 20 patches
CORE = {"num_layers": 3, "d_model": 32, "d_kv": 8, "d_ff": 48, "num_heads": 4}
CUTTING = {
    "context_length": 1024,
    "input_patch_size": 16,
    "input_patch_stride": 16,
    "output_patch_size": 16,
    "max_output_patches": 4,
    "quantiles": [0.1, 0.5, 0.9],
    "use_reg_token": True,
    "use_arcsinh": True,
}
SIGNAL = {"ch_names": NAMES, "sfreq": 250.0, "n_times": N_TIMES}


def published(**changes: Any) -> torch.nn.Module:
    """A small Chronos-2 of the published class, every tensor of it other than at the start."""
    torch.manual_seed(0)
    cutting = {**CUTTING, **{key: changes.pop(key) for key in list(changes) if key in CUTTING}}
    cutting |= {key: changes.pop(key) for key in ("time_encoding_scale",) if key in changes}
    model = chronos2.Chronos2Model(chronos2.Chronos2CoreConfig(**{**CORE, **changes}, chronos_config=cutting)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def windows(batch: int = 3, n_chans: int = len(NAMES), n_times: int = N_TIMES) -> torch.Tensor:
    return 30 * torch.randn(batch, n_chans, n_times, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def hooked(model: torch.nn.Module, inputs: torch.Tensor, grouped: bool = True) -> list[torch.Tensor]:
    """The blocks' outputs and the encoder's own, of the published forward pass with its mask over all series."""
    states: list[torch.Tensor] = []
    hooks = [
        block.register_forward_hook(lambda part, given, out: states.append(out.hidden_states))
        for block in model.encoder.block
    ]
    series, n_chans = inputs.flatten(0, 1), inputs.shape[1]
    groups = torch.arange(len(inputs)).repeat_interleave(n_chans) if grouped else None
    output, *_ = model.encode(series, group_ids=groups)
    for hook in hooks:
        hook.remove()
    n_patches = inputs.shape[2] // model.chronos_config.input_patch_size
    return [s.unflatten(0, (-1, n_chans))[:, :, :n_patches] for s in (*states, output.last_hidden_state)]


@torch.no_grad()
def ours(model: DLinkTeacherModel, inputs: torch.Tensor) -> list[torch.Tensor]:
    output = model(inputs, output_hidden_states=True)
    return [*output.hidden_states, output.last_hidden_state]


def close(found: list[torch.Tensor], expected: list[torch.Tensor], tolerance: float = 1e-4) -> None:
    assert len(found) == len(expected)
    for mine, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=tolerance, atol=tolerance)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("chronos") / "chronos-2"
    published().save_pretrained(folder)
    yield folder


def spoilt(folder: Path, into: Path, **changes: Any) -> Path:
    """A copy whose config.json says something else; of `chronos_config` where that has the entry."""
    copy = shutil.copytree(folder, into)
    config = json.loads((copy / "config.json").read_text())
    for key, value in changes.items():
        (config["chronos_config"] if key in config["chronos_config"] else config)[key] = value
    (copy / "config.json").write_text(json.dumps(config))
    return copy


# --- the published format --------------------------------------------------------------------------------------------


def test_a_published_checkpoint_has_the_published_hidden_states(folder: Path, tmp_path: Path) -> None:
    model, info = DLinkTeacherModel.from_pretrained(folder, **SIGNAL, output_loading_info=True)
    assert (model.config.backbone, model.config.num_labels) == ("Chronos2", 2)
    assert model.config.backbone_kwargs == {**CORE, "context_length": 1024}
    assert (model.config.token_chans, model.config.n_patches, model.config.hidden_size) == (5, 20, 32)
    assert {key.split(".")[0] for key in info["dropped_keys"]} == {"output_patch_embedding"}
    assert not (info["missing_keys"] or info["unexpected_keys"] or info["ignored_options"])
    expected = hooked(published(), windows())
    close(ours(model, windows()), expected)
    model.save_pretrained(tmp_path)
    close(ours(DLinkTeacherModel.from_pretrained(tmp_path), windows()), expected)
    assert identify(list(load_file(folder / "model.safetensors"))) == "Chronos2"


def test_the_last_hidden_state_is_what_the_published_pipeline_embeds(folder: Path) -> None:
    model = DLinkTeacherModel.from_pretrained(folder, **SIGNAL)
    embedded, _ = chronos2.Chronos2Pipeline(published()).embed(windows(batch=2))
    # behind the patches come a register and the patch to be forecast
    assert embedded[0].shape == (5, 22, 32)
    close([model(windows(batch=2)).last_hidden_state.detach()], [torch.stack(embedded)[:, :, :20]])


@pytest.mark.parametrize(
    "changes",
    [
        {"use_reg_token": False},
        {"use_arcsinh": False},
        {"time_encoding_scale": 77},
        {"input_patch_size": 32, "input_patch_stride": 32, "output_patch_size": 32},
        {"rope_theta": 50.0, "layer_norm_epsilon": 1e-3, "feed_forward_proj": "gelu"},
    ],
)
def test_options_of_the_checkpoint_are_taken_over(changes: dict[str, Any], tmp_path: Path) -> None:
    theirs = published(**changes)
    theirs.save_pretrained(tmp_path)
    model = DLinkTeacherModel.from_pretrained(tmp_path, **SIGNAL)
    told = {key: value for key, value in changes.items() if key not in ("input_patch_stride", "output_patch_size")}
    assert model.config.backbone_kwargs == {**CORE, "context_length": 1024, **told}
    close(ours(model, windows()), hooked(theirs, windows()))


def test_what_can_t_be_read_is_one_clear_error(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="patches of 16 samples come every 8: only those side by side"):
        DLinkTeacherModel.from_pretrained(spoilt(folder, tmp_path / "stride", input_patch_stride=8), **SIGNAL)
    with pytest.raises(ValueError, match="describes a model of type 't5', which is not an EEG teacher"):
        DLinkTeacherModel.from_pretrained(spoilt(folder, tmp_path / "t5", architectures=["T5Model"]), **SIGNAL)
    with pytest.raises(ValueError, match="do not fit Chronos2: gated activation is not supported"):
        gated = spoilt(folder, tmp_path / "gated", feed_forward_proj="gated-gelu")
        DLinkTeacherModel.from_pretrained(gated, **SIGNAL)
    with pytest.raises(ValueError, match="does not say which channels it reads"):
        DLinkTeacherModel.from_pretrained(folder)
    with pytest.raises(ValueError, match="Chronos2 takes no n_heads. Its arguments are num_layers, d_model"):
        DLinkTeacherModel.from_pretrained(folder, **SIGNAL, backbone_kwargs={"n_heads": 2})
    shape = re.escape("encoder.block.0.layer.0.layer_norm.weight (checkpoint (32,), model (64,))")
    with pytest.raises(ValueError, match=f"of another shape: {shape}"):
        DLinkTeacherModel.from_pretrained(folder, **SIGNAL, backbone_kwargs={"d_model": 64})
    lost = shutil.copytree(folder, tmp_path / "lost")
    tensors = load_file(lost / "model.safetensors")
    tensors.pop("encoder.block.2.layer.1.self_attention.q.weight")
    save_file(tensors, lost / "model.safetensors")
    with pytest.raises(ValueError, match=r"missing: encoder.block.2.layer.1.self_attention.q.weight.*partly loaded"):
        DLinkTeacherModel.from_pretrained(lost, **SIGNAL)
    pickled = shutil.copytree(folder, tmp_path / "pickled")
    (pickled / "model.safetensors").rename(pickled / "pytorch_model.bin")
    with pytest.raises(ValueError, match="pickled weights only"):
        DLinkTeacherModel.from_pretrained(pickled, **SIGNAL)


def test_without_the_package_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "chronos"]:
        monkeypatch.setitem(sys.modules, name, None)
    config = DLinkTeacherConfig(backbone="Chronos2", backbone_kwargs=CORE, **SIGNAL)
    with pytest.raises(MissingExtraError, match=r'Chronos2 needs chronos, .*: pip install "dlink-hf\[chronos\]"'):
        DLinkTeacherModel(config)


def test_braindecode_is_not_needed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ["braindecode", *(name for name in sys.modules if name.startswith("braindecode."))]:
        monkeypatch.setitem(sys.modules, name, None)
    model = DLinkTeacherForEEGClassification.from_pretrained(folder, **SIGNAL, num_labels=3)
    assert model(windows()).logits.shape == (3, 3)


# --- channels as series ----------------------------------------------------------------------------------------------


def test_channels_of_a_window_see_each_other_and_windows_do_not(folder: Path) -> None:
    model = DLinkTeacherModel.from_pretrained(folder, **SIGNAL)
    alone = hooked(published(), windows(), grouped=False)
    assert (ours(model, windows())[-1] - alone[-1]).abs().max() > 1e-2
    changed = windows()
    changed[1, 3] *= torch.linspace(1, 2, N_TIMES)
    distance = (ours(model, changed)[-1] - ours(model, windows())[-1]).abs().amax((2, 3))
    assert (distance[1] > 1e-4).all() and (distance[[0, 2]] < 1e-5).all()


def test_the_order_of_the_channels_is_that_of_the_tokens(folder: Path) -> None:
    model = DLinkTeacherModel.from_pretrained(folder, **SIGNAL)
    close(ours(model, windows().flip(1)), [state.flip(1) for state in ours(model, windows())])


@pytest.mark.parametrize(("n_chans", "sfreq", "n_times"), [(1, 100, 16), (2, 173.61, 48), (19, 512.0, 1024)])
def test_any_montage_rate_and_window_of_whole_patches(folder: Path, n_chans: int, sfreq: float, n_times: int) -> None:
    names = DLinkTeacherConfig().ch_names[:n_chans]
    model = DLinkTeacherModel.from_pretrained(folder, ch_names=names, sfreq=sfreq, n_times=n_times)
    inputs = windows(2, n_chans, n_times)
    close(ours(model, inputs), hooked(published(), inputs))


def test_amplitudes_do_not_count_and_a_flat_channel_is_no_harm(folder: Path) -> None:
    model = DLinkTeacherModel.from_pretrained(folder, **SIGNAL)
    close(ours(model, 1e3 * windows() + 50), ours(model, windows()), tolerance=1e-3)
    flat = windows()
    flat[:, 2] = 7.0
    assert all(state.isfinite().all() for state in ours(model, flat))
    close(ours(model, flat), hooked(published(), flat))


def test_windows_that_do_not_fit() -> None:
    fields = {"backbone": "Chronos2", "ch_names": NAMES}
    with pytest.raises(ValueError, match=r"a multiple of Chronos2's patch of 16 samples \(nearest: 992 or 1008\)"):
        DLinkTeacherConfig(**fields, n_times=1000)
    with pytest.raises(ValueError, match="at most 512 patches long for Chronos2"):
        DLinkTeacherConfig(**fields, n_times=8208)
    with pytest.raises(ValueError, match="`time_encoding_scale` must be a positive number of samples"):
        DLinkTeacherConfig(**fields, backbone_kwargs={"time_encoding_scale": "far"})
    with pytest.raises(ValueError, match="`d_kv` must be even"):
        DLinkTeacherConfig(**fields, backbone_kwargs={"d_kv": 7})
    config = DLinkTeacherConfig(**fields)
    assert (config.sfreq, config.n_times, config.hidden_size, config.num_hidden_layers) == (200.0, 992, 768, 12)


# --- training --------------------------------------------------------------------------------------------------------


def test_layers_learn_at_their_own_rates_and_take_adapters(folder: Path) -> None:
    model = DLinkTeacherForEEGClassification.from_pretrained(folder, **SIGNAL, num_labels=3)
    depths = {name.removeprefix("teacher.backbone."): depth for name, depth in parameter_depths(model).items()}
    assert {depth for name, depth in depths.items() if name.startswith("encoder.block.1.")} == {2}
    assert depths["input_patch_embedding.hidden_layer.weight"] == depths["shared.weight"] == 0
    assert depths["encoder.final_layer_norm.weight"] == depths["head.classifier.weight"] == 4
    before = model(windows()).logits.detach()
    with adapt_teacher(model, "lora", rank=2):
        torch.testing.assert_close(model(windows()).logits, before, rtol=1e-4, atol=1e-5)
        model(windows(), labels=torch.tensor([0, 1, 2])).loss.backward()
        adapters = [name for name, p in model.named_parameters() if "lora_B" in name and p.grad.abs().max() > 0]
    # in each layer four maps of either attention, and two behind them
    assert len(adapters) == 3 * 10


def test_half_precision_is_close(folder: Path) -> None:
    model = DLinkTeacherModel.from_pretrained(folder, **SIGNAL)
    half = DLinkTeacherModel.from_pretrained(folder, **SIGNAL, dtype="bfloat16")
    states = ours(half, windows())
    assert all(state.dtype == torch.bfloat16 for state in states)
    close([state.float() for state in states], ours(model, windows()), tolerance=0.15)
