# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""The student, after transformers' own model tests, and what makes it a student for any montage."""

from __future__ import annotations

import ast
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

import dlink_hf
from dlink_hf import MiCConfig, MiCForEEGClassification, MiCModel
from dlink_hf.core.electrodes import channel_positions
from dlink_hf.hub.remote_code import REMOTE_CODE_FILES, REMOTE_CODE_MODULES, flatten_imports
from dlink_hf.models.mic.mic_layers import GaborConv1d, TimeConv1d


NAMES = ["Fp1", "C3", "Cz", "C4", "O2"]
FOLDER = Path(dlink_hf.__file__).parent


def tiny_config(**fields) -> MiCConfig:
    defaults = dict(
        ch_names=NAMES,
        n_times=600,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_filters=6,
        mimic_size=12,
        num_spatial_slots=3,
        compressed_size=4,
    )
    return MiCConfig(**{**defaults, **fields})


def make(model_class=MiCForEEGClassification, **fields):
    """A model in evaluation mode whose parameters have all left their initial zeros and ones."""
    torch.manual_seed(1)
    model = model_class(tiny_config(**fields)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            scale = 0.01 if parameter.shape[-1:] == (3,) and parameter.ndim == 2 else 0.1
            parameter.add_(scale * torch.randn_like(parameter))
        for name, buffer in model.named_buffers():
            if "running" in name:
                buffer.add_(torch.rand_like(buffer))
    return model


def windows(batch: int = 4, n_chans: int = 5, n_times: int = 600, seed: int = 0) -> torch.Tensor:
    return 20 * torch.randn(batch, n_chans, n_times, generator=torch.Generator().manual_seed(seed))


def run_python(code: str, *arguments: str) -> subprocess.CompletedProcess:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(FOLDER.parent), os.environ.get("PYTHONPATH", "")])}
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], env=env, capture_output=True, text=True, timeout=1000
    )


# --- save and load


def test_save_and_load_are_bit_identical_in_a_new_process(tmp_path):
    model, inputs = make(), windows()
    model.save_pretrained(tmp_path / "model")
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == ["config.json", "model.safetensors"]
    torch.save(inputs, tmp_path / "inputs.pt")
    code = (
        "import sys, torch; from dlink_hf import MiCForEEGClassification as M; torch.set_num_threads(1)\n"
        "model = M.from_pretrained(sys.argv[1] + '/model'); assert not model.training\n"
        "torch.save(model(torch.load(sys.argv[1] + '/inputs.pt')).logits, sys.argv[1] + '/logits.pt')"
    )
    result = run_python(code, tmp_path)
    assert result.returncode == 0, result.stderr
    torch.testing.assert_close(torch.load(tmp_path / "logits.pt"), model(inputs).logits, rtol=1e-5, atol=1e-5)
    again = MiCForEEGClassification.from_pretrained(tmp_path / "model")
    torch.testing.assert_close(again(inputs).logits, model(inputs).logits, rtol=1e-5, atol=1e-5)
    for name, tensor in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor), name


def test_saving_into_a_file_is_an_error(tmp_path):
    (tmp_path / "taken").write_text("mine")
    with pytest.raises(NotADirectoryError, match="taken"):
        make().save_pretrained(tmp_path / "taken")
    assert (tmp_path / "taken").read_text() == "mine"


def test_saving_leaves_other_files_alone(tmp_path):
    (tmp_path / "README.md").write_text("a card")
    make().save_pretrained(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["README.md", "config.json", "model.safetensors"]


@pytest.mark.parametrize("room", ["for a part of the config", "for a part of the weights"])
def test_a_full_disk_leaves_the_old_checkpoint(room, tmp_path):
    old, inputs = make(), windows()
    old.save_pretrained(tmp_path)
    limit = (tmp_path / ("config.json" if "config" in room else "model.safetensors")).stat().st_size // 2
    code = f"""
import resource, signal, sys, torch
from dlink_hf import MiCForEEGClassification as M
model = M.from_pretrained(sys.argv[1])
model.config.classifier_dropout = 0.5
with torch.no_grad():
    for parameter in model.parameters():
        parameter.add_(1.0)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, resource.RLIM_INFINITY))
try:
    model.save_pretrained(sys.argv[1])
except Exception as error:
    print(type(error).__mro__)
    sys.exit(7)
"""
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    result = run_python(code, tmp_path)
    assert result.returncode == 7, result.stderr
    assert "OSError" in result.stdout or "SafetensorError" in result.stdout
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    torch.testing.assert_close(
        MiCForEEGClassification.from_pretrained(tmp_path)(inputs).logits, old(inputs).logits, rtol=1e-5, atol=1e-5
    )


def test_a_kill_while_saving_leaves_the_old_checkpoint(tmp_path):
    old, inputs = make(), windows()
    old.save_pretrained(tmp_path)
    limit = (tmp_path / "model.safetensors").stat().st_size // 2
    # without a handler the signal of an exceeded file size kills the process inside the write
    code = (
        "import resource, sys; from dlink_hf import MiCForEEGClassification as M, MiCConfig\n"
        f"model = M.from_pretrained(sys.argv[1]); resource.setrlimit(resource.RLIMIT_CORE, (0, 0))\n"
        f"import signal; signal.signal(signal.SIGXFSZ, signal.SIG_DFL)\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, resource.RLIM_INFINITY))\n"
        "model.save_pretrained(sys.argv[1])"
    )
    result = run_python(code, tmp_path)
    assert result.returncode == -signal.SIGXFSZ, (result.returncode, result.stderr)
    torch.testing.assert_close(
        MiCForEEGClassification.from_pretrained(tmp_path)(inputs).logits, old(inputs).logits, rtol=1e-5, atol=1e-5
    )


def rewrite(folder: Path, change) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def test_a_missing_tensor_is_an_error(tmp_path):
    make().save_pretrained(tmp_path)
    rewrite(tmp_path, lambda tensors: tensors.pop("mic.blocks.1.mlp_in.weight"))
    with pytest.raises(ValueError, match="lacks 1 tensor.*mic.blocks.1.mlp_in.weight"):
        MiCForEEGClassification.from_pretrained(tmp_path)


def test_a_missing_running_mean_is_an_error(tmp_path):
    make().save_pretrained(tmp_path)
    rewrite(tmp_path, lambda tensors: tensors.pop("mic.filter_bank.norm.running_mean"))
    with pytest.raises(ValueError, match="running_mean"):
        MiCForEEGClassification.from_pretrained(tmp_path)


def test_a_reshaped_tensor_is_an_error(tmp_path):
    make().save_pretrained(tmp_path)

    def change(tensors):
        tensors["mic.mimic_projection.weight"] = tensors["mic.mimic_projection.weight"].T.contiguous()

    rewrite(tmp_path, change)
    for flag in (False, True):  # the flag is for heads
        with pytest.raises(ValueError, match=r"mic.mimic_projection.weight: checkpoint \(16, 12\), model \(12, 16\)"):
            MiCForEEGClassification.from_pretrained(tmp_path, ignore_mismatched_sizes=flag)


def test_a_truncated_file_is_an_error(tmp_path):
    make().save_pretrained(tmp_path)
    path = tmp_path / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(Exception, match="(?i)incomplete|truncated|cut short|invalid"):
        MiCForEEGClassification.from_pretrained(tmp_path)


def test_the_checkpoint_of_another_model_is_an_error(tmp_path):
    make().save_pretrained(tmp_path)
    save_file({"encoder.weight": torch.zeros(2)}, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match="lacks"):
        MiCForEEGClassification.from_pretrained(tmp_path)


def test_an_empty_folder_is_an_error(tmp_path):
    with pytest.raises(OSError):
        MiCForEEGClassification.from_pretrained(tmp_path)


# --- heads


def test_another_number_of_labels(tmp_path):
    model = make(id2label={0: "rest", 1: "left", 2: "right"})
    model.save_pretrained(tmp_path)
    with pytest.raises(
        ValueError, match=r"classifier.weight: checkpoint \(3, 24\), model \(5, 24\).*ignore_mismatched"
    ):
        MiCForEEGClassification.from_pretrained(tmp_path, num_labels=5)
    five = MiCForEEGClassification.from_pretrained(tmp_path, num_labels=5, ignore_mismatched_sizes=True)
    assert five(windows()).logits.shape == (4, 5) and five.config.num_labels == 5
    assert five.classifier.weight.std() > 0 and five.classifier.bias.abs().max() == 0
    for name, tensor in model.mic.state_dict().items():
        assert torch.equal(five.mic.state_dict()[name], tensor), name


def test_a_new_head_on_a_headless_checkpoint(tmp_path):
    model = make(MiCModel)
    model.save_pretrained(tmp_path)
    classifier = MiCForEEGClassification.from_pretrained(tmp_path, num_labels=4)
    assert classifier(windows()).logits.shape == (4, 4)
    weight = classifier.classifier.weight
    assert 0 < weight.abs().max() <= (6 / sum(weight.shape)) ** 0.5 + 1e-6  # Glorot's bound
    assert classifier.classifier.bias.abs().max() == 0
    assert torch.equal(classifier.mic(windows()).compressed_state, model(windows()).compressed_state)


def test_a_headless_model_from_a_classifier(tmp_path):
    classifier = make()
    classifier.save_pretrained(tmp_path)
    model = MiCModel.from_pretrained(tmp_path)
    assert torch.equal(model(windows()).mimic_state, classifier.mic(windows()).mimic_state)


# --- outputs


def test_shapes_of_the_outputs():
    output = make(MiCModel)(windows(), output_hidden_states=True)
    assert output.last_hidden_state.shape == (4, 5, 3, 16)
    assert output.mimic_state.shape == (4, 5, 3, 12)
    assert output.compressed_state.shape == (4, 3, 2, 4)
    assert output.spatial_weights.shape == (4, 3, 5) and output.temporal_weights.shape == (2, 3)
    assert [tuple(state.shape) for state in output.hidden_states] == [(4, 5, 3, 16)] * 3
    assert torch.equal(output.hidden_states[-1], output.last_hidden_state)
    assert not torch.equal(output.hidden_states[0], output.hidden_states[1])
    torch.testing.assert_close(output.spatial_weights.sum(-1), torch.ones(4, 3))
    torch.testing.assert_close(output.temporal_weights.sum(-1), torch.ones(2))


def test_hidden_states_by_argument_and_by_config():
    model = make()
    assert model(windows()).hidden_states is None
    assert len(model(windows(), output_hidden_states=True).hidden_states) == 3
    model.config.output_hidden_states = True
    assert len(model.mic(windows()).hidden_states) == 3


@pytest.mark.parametrize("model_class", [MiCModel, MiCForEEGClassification])
def test_tuple_equals_dict(model_class):
    model = make(model_class)
    extra = {} if model_class is MiCModel else {"labels": torch.tensor([0, 1, 0, 1])}
    named = model(windows(), output_hidden_states=True, **extra)
    plain = model(windows(), output_hidden_states=True, return_dict=False, **extra)
    assert isinstance(plain, tuple) and len(plain) == len(named)
    for a, b in zip(plain, named.to_tuple(), strict=True):
        for x, y in zip(a, b, strict=True) if isinstance(a, tuple) else [(a, b)]:
            assert torch.equal(x, y)


def test_the_loss_is_the_cross_entropy():
    model, labels = make(), torch.tensor([0, 1, 1, 0])
    output = model(windows(), labels=labels)
    probabilities = np.exp(output.logits.detach().double().numpy())
    probabilities /= probabilities.sum(-1, keepdims=True)
    expected = -np.log(probabilities[np.arange(4), labels.numpy()]).mean()
    assert output.loss.item() == pytest.approx(expected, abs=1e-6)


def test_the_compression_is_what_its_weights_say():
    """compressed = temporal weights x spatial weights x projected, normalised mimic state."""
    model = make(MiCModel)
    output = model(windows())
    mimic = output.mimic_state.detach().numpy().astype(np.float64)
    centred = mimic - mimic.mean(-1, keepdims=True)
    norm = model.compressor.norm
    normed = centred / np.sqrt(mimic.var(-1, keepdims=True) + norm.eps)
    normed = normed * norm.weight.detach().numpy() + norm.bias.detach().numpy()
    values = (
        normed @ model.compressor.features.weight.detach().numpy().T + model.compressor.features.bias.detach().numpy()
    )
    expected = np.einsum(
        "bkc,qp,bcpf->bkqf", output.spatial_weights.detach().numpy(), output.temporal_weights.detach().numpy(), values
    )
    np.testing.assert_allclose(output.compressed_state.detach().numpy(), expected, atol=1e-5)


def test_evaluation_is_deterministic_and_windows_do_not_touch_each_other():
    model, inputs = make(), windows(6)
    assert torch.equal(model(inputs).logits, model(inputs).logits)
    alone = torch.cat([model(window[None]).logits for window in inputs])
    torch.testing.assert_close(alone, model(inputs).logits, atol=1e-5, rtol=1e-5)


def test_the_same_seed_gives_the_same_weights():
    states = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        states.append(MiCForEEGClassification(tiny_config()).state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert any(not torch.equal(states[0][name], states[2][name]) for name in states[0])


# --- training


def test_gradients_reach_every_parameter():
    model = make(hidden_dropout=0.0, classifier_dropout=0.0).train()
    model(windows(), labels=torch.tensor([0, 1, 0, 1])).loss.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().max() > 1e-8, name


def test_gradient_checkpointing_changes_nothing():
    results = []
    for checkpointing in (False, True):
        model = make(hidden_dropout=0.0, classifier_dropout=0.0).train()
        if checkpointing:
            model.gradient_checkpointing_enable()
            assert model.is_gradient_checkpointing and model.mic.blocks[0].gradient_checkpointing
        loss = model(windows(), labels=torch.tensor([0, 1, 0, 1])).loss
        loss.backward()
        gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
        results.append((loss, gradients, model.mic.filter_bank.norm.running_mean.clone()))
    torch.testing.assert_close(results[0][0], results[1][0], rtol=0, atol=0)
    torch.testing.assert_close(results[0][2], results[1][2], rtol=0, atol=0)
    for name, gradient in results[0][1].items():
        torch.testing.assert_close(results[1][1][name], gradient, msg=name)


def test_it_learns_a_rhythm():
    """10 Hz against 20 Hz at one electrode, in noise: a few steps suffice."""
    generator = torch.Generator().manual_seed(0)
    time, labels = torch.arange(600) / 200, torch.arange(64) % 2
    inputs = 5 * torch.randn(64, 5, 600, generator=generator)
    phase = 6.28 * torch.rand(64, 1, generator=generator)
    inputs[:, 4] += 10 * torch.sin(2 * torch.pi * (10 + 10 * labels[:, None]) * time + phase)
    torch.manual_seed(0)
    model = MiCForEEGClassification(tiny_config()).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(15):
        optimizer.zero_grad()
        model(inputs[:32], labels=labels[:32]).loss.backward()
        optimizer.step()
    accuracy = (model.eval()(inputs[32:]).logits.argmax(-1) == labels[32:]).float().mean()
    assert accuracy > 0.9


# --- any montage, any number of patches


def test_the_order_of_the_channels_does_not_matter():
    model, inputs = make(), windows()
    positions = torch.tensor(channel_positions(NAMES))
    expected = model(inputs).logits
    torch.testing.assert_close(model(inputs, channel_positions=positions).logits, expected, rtol=0, atol=1e-6)
    for seed in range(3):
        order = torch.randperm(5, generator=torch.Generator().manual_seed(seed))
        shuffled = model(inputs[:, order], channel_positions=positions[order]).logits
        torch.testing.assert_close(shuffled, expected, rtol=0, atol=1e-5)
    # with the positions left behind, the answer is another one: the channels are told apart
    assert (model(inputs.flip(1)).logits - expected).abs().max() > 1e-3


def test_a_subset_and_another_montage_work():
    model = make()
    for names in (["C3", "O2"], ["Cz"], ["F3", "F4", "P3", "P4", "Oz", "Fz", "C3-C4"]):
        positions = torch.tensor(channel_positions(names))
        logits = model(windows(n_chans=len(names)), channel_positions=positions).logits
        assert logits.shape == (4, 2) and torch.isfinite(logits).all()
    as_list = model(windows(n_chans=1), channel_positions=channel_positions(["Cz"])).logits
    assert torch.equal(as_list, model(windows(n_chans=1), torch.tensor(channel_positions(["Cz"]))).logits)


@pytest.mark.parametrize("n_patches", [1, 2, 10])
def test_any_number_of_patches(n_patches):
    model = make()
    output = model.mic(windows(n_times=200 * n_patches))
    assert output.mimic_state.shape == (4, 5, n_patches, 12)
    assert output.compressed_state.shape == (4, 3, 2, 4)
    assert torch.isfinite(model(windows(n_times=200 * n_patches)).logits).all()


def test_positions_of_every_window_equal_the_loop():
    model, inputs = make(), windows(3)
    montages = [NAMES, ["F3", "F4", "P3", "P4", "Oz"], ["T7", "T8", "Fz", "Pz", "Fpz"]]
    positions = torch.tensor([channel_positions(names) for names in montages])
    together = model(inputs, channel_positions=positions).logits
    one_by_one = torch.cat([model(inputs[i : i + 1], channel_positions=positions[i]).logits for i in range(3)])
    torch.testing.assert_close(together, one_by_one, rtol=1e-5, atol=1e-5)


# --- numbers


def test_the_filters_start_at_their_frequencies():
    config = MiCConfig(num_filters=10, filter_size=200, min_freq=3.0, max_freq=40.0)
    kernels = MiCModel(config).filter_bank.filters.weight.detach().numpy()[:, 0]
    centres = np.geomspace(3.0, 40.0, 10)
    grid = np.fft.rfftfreq(8192, 1 / 200.0)
    for half in (kernels[:10], kernels[10:]):
        peaks = grid[np.abs(np.fft.rfft(half, 8192)).argmax(-1)]
        np.testing.assert_allclose(peaks, centres, atol=0.15)
    # a pair is in quadrature: its power does not depend on the phase of a rhythm
    time = np.arange(200) / 200.0
    waves = np.cos(2 * np.pi * centres[5] * time + np.linspace(0, 2 * np.pi, 9)[:, None])
    power = (waves @ kernels[5]) ** 2 + (waves @ kernels[15]) ** 2
    np.testing.assert_allclose(power, power.mean(), rtol=1e-3)
    assert power.mean() == pytest.approx(0.25, rel=0.02)  # (amplitude / 2)^2: the window sums to one


def test_input_scale_is_applied_once():
    twice = make(input_scale=0.2)
    once = make(input_scale=0.1)
    assert torch.equal(twice(windows()).logits, once(2 * windows()).logits)


@pytest.mark.parametrize(("size", "limit"), [("tiny", 25_000), ("small", 150_000), ("base", 600_000)])
def test_the_sizes_keep_their_limits(size, limit):
    names = channel_names(20)
    model = MiCForEEGClassification(MiCConfig.from_size(size, ch_names=names, num_labels=4))
    parameters = sum(parameter.numel() for parameter in model.parameters())
    assert limit / 3 < parameters <= limit
    # another montage needs no other weights
    assert parameters == sum(
        parameter.numel()
        for parameter in MiCForEEGClassification(MiCConfig.from_size(size, num_labels=4)).parameters()
    )


def channel_names(count: int) -> list[str]:
    return ("Fp1 Fp2 F7 F3 Fz F4 F8 T7 C3 Cz C4 T8 P7 P3 Pz P4 P8 O1 O2 Oz POz".split())[:count]


def counted_flops(model, **inputs) -> int:
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH), torch.no_grad():
        model(**inputs)
    return counter.get_total_flops()


def flops_by_hand(c: MiCConfig, n_chans: int, n_patches: int) -> int:
    """2 x multiply-accumulates of every product, read off the architecture."""
    tokens = n_chans * n_patches
    positions = (c.patch_size - c.filter_size) // c.filter_stride + 1
    macs = tokens * positions * 2 * c.num_filters * c.filter_size
    macs += tokens * (c.num_filters + c.num_slow_features) * c.hidden_size + n_chans * 21 * c.hidden_size
    block = 4 * tokens * c.hidden_size**2 + 2 * n_patches * n_chans**2 * c.hidden_size
    block += tokens * 3 * c.hidden_size + 2 * tokens * c.hidden_size * c.intermediate_size
    macs += c.num_hidden_layers * block
    macs += tokens * c.hidden_size * c.mimic_size + tokens * c.mimic_size * c.compressed_size
    macs += n_chans * c.hidden_size * c.compressed_size + c.num_spatial_slots * n_chans * c.compressed_size
    macs += n_patches * c.num_spatial_slots * n_chans * c.compressed_size
    macs += c.num_spatial_slots * c.num_temporal_slots * n_patches * c.compressed_size
    macs += c.num_spatial_slots * c.num_temporal_slots * c.compressed_size * c.num_labels
    return 2 * macs


@pytest.mark.parametrize("size", ["tiny", "small", "base"])
def test_flops(size):
    config = MiCConfig.from_size(size, ch_names=channel_names(20), n_times=1000)
    model = MiCForEEGClassification(config).eval()
    flops = counted_flops(model, input_values=windows(1, 20, 1000))
    assert flops == pytest.approx(flops_by_hand(config, 20, 5), rel=0.03)
    if size == "small":
        assert flops <= 25e6


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.bfloat16, 0.1), (torch.float16, 0.02)])
def test_half_precision(dtype, tolerance, tmp_path):
    model, inputs = make(), windows(8)
    expected = model(inputs).logits
    model.save_pretrained(tmp_path)
    half = MiCForEEGClassification.from_pretrained(tmp_path, dtype=dtype)
    output = half(inputs, labels=torch.arange(8) % 2)
    assert output.logits.dtype == dtype and torch.isfinite(output.logits).all() and torch.isfinite(output.loss)
    assert (output.logits.float() - expected).abs().max() < tolerance * expected.abs().max()
    with torch.autocast("cpu", dtype=dtype):
        mixed = model(inputs).logits
    assert (mixed.float() - expected).abs().max() < tolerance * expected.abs().max()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("scale", [0.0, 5000.0])
def test_half_precision_of_flat_and_huge_windows(dtype, scale):
    assert torch.isfinite(make().to(dtype)(scale * torch.ones(1, 5, 600)).logits).all()
    assert torch.isfinite(make().to(dtype)(scale * torch.randn(1, 5, 600)).logits).all()


def test_double_precision_inputs_are_taken():
    torch.testing.assert_close(make()(windows().double()).logits, make()(windows()).logits)


def test_nan_comes_out_where_it_went_in():
    """Samples are checked where recordings are read, not in the forward pass; here NaN stays visible."""
    model, inputs = make(), windows()
    expected = model(inputs).logits
    inputs[1, 2, 300] = float("nan")
    logits = model(inputs).logits
    assert torch.isnan(logits[1]).all()
    torch.testing.assert_close(logits[[0, 2, 3]], expected[[0, 2, 3]])


# --- export


def test_export_with_a_dynamic_batch():
    model = make()
    batch = torch.export.Dim("batch", min=1, max=256)
    program = torch.export.export(model, (), {"input_values": windows(3)}, dynamic_shapes={"input_values": {0: batch}})
    for size in (1, 3, 7):
        inputs = windows(size, seed=size)
        torch.testing.assert_close(program.module()(input_values=inputs).logits, model(inputs).logits)


def test_export_with_dynamic_channels_and_patches():
    model = make()
    batch, chans, patches = (torch.export.Dim(name, min=2, max=64) for name in ("batch", "chans", "patches"))
    program = torch.export.export(
        model,
        (),
        {"input_values": windows(3), "channel_positions": torch.tensor(channel_positions(NAMES))},
        dynamic_shapes={"input_values": {0: batch, 1: chans, 2: 200 * patches}, "channel_positions": {0: chans}},
    )
    names = ["F3", "F4", "P3", "P4", "Oz", "Fz", "Cz"]
    inputs, positions = windows(2, 7, 1000), torch.tensor(channel_positions(names))
    torch.testing.assert_close(
        program.module()(input_values=inputs, channel_positions=positions).logits, model(inputs, positions).logits
    )


# --- errors that teach


@pytest.mark.parametrize(
    ("inputs", "error", "message"),
    [
        (torch.randn(5, 600), ValueError, r"\(batch, channels, samples\), got \(5, 600\)"),
        (torch.randn(2, 1, 5, 600), ValueError, r"\(batch, channels, samples\)"),
        (torch.randn(2, 5, 0), ValueError, r"got \(2, 5, 0\)"),
        (torch.randn(2, 5, 500), ValueError, "200-sample patches, got 500"),
        (torch.randn(2, 4, 600), ValueError, "4 channels.*5.*Fp1, C3, Cz, C4, O2.*channel_positions"),
        (torch.ones(2, 5, 600, dtype=torch.int64), TypeError, "microvolts, got torch.int64"),
        (np.zeros((2, 5, 600), dtype=np.float32), TypeError, "floating-point tensor"),
        ([[1.0]], TypeError, "floating-point tensor.*list"),
    ],
)
def test_inputs_that_do_not_fit(inputs, error, message):
    for model in (make(), make(MiCModel)):
        with pytest.raises(error, match=message):
            model(inputs)


@pytest.mark.parametrize("shape", [(4, 3), (5, 2), (2, 5, 3), (3, 4, 3), (5,), (1, 1, 5, 3)])
def test_positions_that_do_not_fit(shape):
    with pytest.raises(ValueError, match=r"`channel_positions` must be \(5, 3\) or \(4, 5, 3\)"):
        make()(windows(), channel_positions=torch.zeros(shape))


def test_positions_in_millimetres_are_an_error():
    positions = torch.tensor(channel_positions(NAMES))
    with pytest.raises(ValueError, match="metres.*1000"):
        make()(windows(), channel_positions=1000 * positions)
    positions[2, 1] = float("nan")
    with pytest.raises(ValueError, match="finite.*metres"):
        make()(windows(), channel_positions=positions)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (torch.tensor([0, 1, 2, 0]), r"0 \.\.\. 1 for a model of 2 labels, got 0 \.\.\. 2"),
        (torch.tensor([0, -100, 1, 0]), "got -100"),
        (torch.tensor([0.0, 1.0, 0.0, 1.0]), "class indices.*float32"),
        (torch.tensor([0, 1]), r"4 class indices.*\(2,\)"),
        (torch.tensor([[0], [1], [0], [1]]), r"class indices.*\(4, 1\)"),
    ],
)
def test_labels_that_do_not_fit(labels, message):
    with pytest.raises(ValueError, match=message):
        make()(windows(), labels=labels)


# --- the module travels


@pytest.mark.parametrize("file", REMOTE_CODE_FILES)
def test_what_travels_imports_torch_and_transformers_only(file):
    tree = ast.parse(flatten_imports((FOLDER / file).read_text()))
    allowed = set(sys.stdlib_module_names) | {"torch", "transformers", "safetensors", "huggingface_hub"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                assert alias.name.split(".")[0] in allowed, alias.name
        elif isinstance(node, ast.ImportFrom) and node.level:
            assert node.level == 1 and node.module in REMOTE_CODE_MODULES, node.module
        elif isinstance(node, ast.ImportFrom):
            assert node.module.split(".")[0] in allowed, node.module


def test_importing_the_student_brings_nothing_heavy():
    code = (
        "import json, sys, dlink_hf.models.mic.modeling_mic\n"
        "from transformers.models.auto.configuration_auto import CONFIG_MAPPING\n"
        "print(json.dumps([sorted({'mne', 'braindecode', 'datasets', 'einops', 'matplotlib'}"
        " & set(sys.modules)), 'dlink_mic' in CONFIG_MAPPING]))"
    )
    result = run_python(code)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout) == [[], False]


# --- fast paths against torch's own


def test_convolutions_are_those_of_torch():
    torch.manual_seed(0)
    conv = TimeConv1d(6)
    tokens = torch.randn(3, 5, 4, 6)
    series = tokens.permute(0, 2, 3, 1).reshape(12, 6, 5)
    expected = torch.nn.functional.conv1d(series, conv.weight, conv.bias, padding=1, groups=6)
    expected = expected.reshape(3, 4, 6, 5).permute(0, 3, 1, 2)
    assert torch.allclose(conv(tokens), expected, atol=1e-6)

    filters = GaborConv1d(tiny_config())
    patches = torch.randn(7, 200)
    expected = torch.nn.Conv1d.forward(filters, patches[:, None]).transpose(1, 2)
    assert torch.allclose(filters(patches), expected, atol=1e-5)
