# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""The signed path: its numbers, what it leaves alone, what it learns, and how other forms of a student carry it."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from datasets import Array2D, ClassLabel, Dataset, Features, Value

from dlink_hf import (
    DLinkStudioConfig,
    DLinkStudioModel,
    DLinkTeacherConfig,
    EEGFeatureExtractor,
    MiCConfig,
    MiCForEEGClassification,
    MiCModel,
    OnnxStudent,
    channel_positions,
    export_onnx,
)
from dlink_hf.hub.remote_code import add_remote_code
from dlink_hf.profiling.measure import count_flops


NAMES = ["C3", "Cz", "C4", "Pz", "Oz"]


def a_student(size: str = "tiny", moved: bool = True, **fields) -> MiCForEEGClassification:
    """A student with a signed path whose every tensor, running statistics too, has moved from where it starts."""
    config = {"ch_names": NAMES, "n_times": 600, "num_labels": 3, "signed_path": True, **fields}
    torch.manual_seed(0)
    model = MiCForEEGClassification(MiCConfig.from_size(size, **config)).eval()
    if moved:
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
            norm = model.mic.filter_bank.norm
            norm.running_mean.normal_()
            norm.running_var.uniform_(0.5, 4.0)
    return model


def windows_of(n_windows: int, n_chans: int = 5, n_times: int = 600, scale: float = 20.0) -> torch.Tensor:
    return scale * torch.randn(n_windows, n_chans, n_times, generator=torch.Generator().manual_seed(1))


def by_hand(model: MiCForEEGClassification, windows: torch.Tensor, positions: list) -> np.ndarray:
    """The signed state (B, K, Q, c), by NumPy from the windows and the weights."""
    config, mic = model.config, model.mic
    weights = {name: tensor.double().numpy() for name, tensor in mic.state_dict().items()}
    batch, n_chans, n_times = windows.shape
    boxes = windows.double().numpy() * config.input_scale
    boxes = boxes.reshape(batch, n_chans, n_times // config.patch_size, config.num_slow_features, -1).mean(-1)
    of_slow = slice(config.num_filters, None)
    mean, variance = (weights[f"filter_bank.norm.running_{name}"][of_slow] for name in ("mean", "var"))
    normed = (boxes - mean) / np.sqrt(variance + mic.filter_bank.norm.eps)
    normed = normed * weights["filter_bank.norm.weight"][of_slow] + weights["filter_bank.norm.bias"][of_slow]
    unit = np.asarray(positions) * 10
    angles = np.concatenate([unit * np.pi * 2**k / 2 for k in range(3)], axis=1)
    places = np.concatenate([unit, np.sin(angles), np.cos(angles)], axis=1)
    pattern = places @ weights["signed_path.pattern.linear.weight"].T + weights["signed_path.pattern.linear.bias"]
    temporal = mic.compressor.temporal_weights(n_times // config.patch_size).detach().double().numpy()
    features = weights["signed_path.features.weight"]
    return np.einsum("ck,qp,bcps,fs->bkqf", pattern, temporal, normed, features) / np.sqrt(n_chans)


@pytest.mark.parametrize("names", [NAMES, ["Fz", "T7"], ["F3", "F4", "P3", "P4", "Oz", "Fz", "C3-C4"]])
@pytest.mark.parametrize("n_times", [200, 600])
@torch.no_grad()
def test_the_numbers(names, n_times):
    model, positions = a_student(), channel_positions(names)
    windows = windows_of(4, len(names), n_times)
    output = model.mic(windows, channel_positions=torch.tensor(positions))
    np.testing.assert_allclose(output.signed_state.numpy(), by_hand(model, windows, positions), atol=1e-5)
    # the rest is what the student without the path computes
    state = {name: tensor for name, tensor in model.state_dict().items() if "signed_path" not in name}
    plain = MiCForEEGClassification(MiCConfig.from_dict(model.config.to_dict(), signed_path=False)).eval()
    plain.load_state_dict(state)
    without = plain.mic(windows, channel_positions=torch.tensor(positions))
    assert without.signed_state is None
    torch.testing.assert_close(output.compressed_state - output.signed_state, without.compressed_state)
    assert output.signed_state.abs().max() > 0.1


@torch.no_grad()
def test_the_sign_is_kept():
    """Without the shift of the normalisation a flipped window gives the flipped state."""
    model = a_student()
    model.mic.filter_bank.norm.running_mean.zero_()
    model.mic.filter_bank.norm.bias.zero_()
    windows = windows_of(3)
    torch.testing.assert_close(model.mic(-windows).signed_state, -model.mic(windows).signed_state)


@torch.no_grad()
def test_the_order_of_the_channels_does_not_matter():
    model, windows, positions = a_student(), windows_of(4), torch.tensor(channel_positions(NAMES))
    expected = model(windows).logits
    for seed in range(3):
        order = torch.randperm(5, generator=torch.Generator().manual_seed(seed))
        shuffled = model(windows[:, order], channel_positions=positions[order]).logits
        torch.testing.assert_close(shuffled, expected, rtol=0, atol=1e-4)
    montages = torch.tensor([channel_positions(names) for names in (NAMES, ["F3", "F4", "P3", "P4", "Oz"])])
    together = model(windows[:2], channel_positions=montages).logits
    alone = torch.cat([model(windows[i : i + 1], channel_positions=montages[i]).logits for i in range(2)])
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-4)


def test_off_by_default():
    config = MiCConfig.from_size("small")
    assert config.signed_path is False and config.signed_path_alone == 0.5
    names = set(MiCModel(config).state_dict())
    with_path = set(MiCModel(MiCConfig.from_size("small", signed_path=True)).state_dict())
    assert {name.partition(".")[0] for name in with_path - names} == {"signed_path"} and names < with_path
    for share in (-0.1, 1.0):
        with pytest.raises(ValueError, match="signed_path_alone"):
            MiCConfig(signed_path_alone=share)


def test_the_budget():
    """25 MFLOP for 20 channels of 5 s, the folded student's operations among them."""
    names = [*MiCConfig().ch_names, "Oz"]
    model = a_student("small", ch_names=names, n_times=1000, num_labels=2)
    windows, plain = windows_of(1, 20, 1000), a_student("small", ch_names=names, n_times=1000, signed_path=False)
    with torch.no_grad():
        assert count_flops(plain, input_values=windows) < count_flops(model, input_values=windows) < 25e6
    assert sum(parameter.numel() for parameter in model.mic.signed_path.parameters()) < 1000


@torch.no_grad()
def test_the_signed_path_classifies_alone_only_while_training():
    model = a_student(classifier_dropout=0.0, hidden_dropout=0.0, signed_path_alone=0.5)
    windows = windows_of(64)
    output = model.mic(windows)
    compressed, signed = output.compressed_state, output.signed_state
    head = model.classifier
    whole, alone = head(compressed.flatten(1)), head(signed.flatten(1))
    torch.testing.assert_close(model.classify(compressed, signed), whole)
    torch.testing.assert_close(model(windows).logits, whole)
    model.train()
    torch.manual_seed(3)
    logits = model.classify(compressed, signed)
    is_alone = (logits - alone).abs().amax(-1) < 1e-4
    assert 10 < is_alone.sum() < 54
    # the others have twice the rest, so that the mean over windows stays
    twice = head((signed + 2 * (compressed - signed)).flatten(1))
    torch.testing.assert_close(logits[~is_alone], twice[~is_alone], rtol=1e-4, atol=1e-4)
    model.config.signed_path_alone = 0.0
    torch.testing.assert_close(model.classify(compressed, signed), whole)


def test_gradients_reach_every_parameter():
    model = a_student(hidden_dropout=0.0, classifier_dropout=0.0).train()
    torch.manual_seed(0)
    model(windows_of(8), labels=torch.arange(8) % 3).loss.backward()
    for name, parameter in model.named_parameters():
        assert torch.isfinite(parameter.grad).all() and parameter.grad.abs().max() > 1e-8, name


def test_it_learns_a_potential_that_is_locked_to_a_moment():
    """A bump of either sign at one electrode: no power tells the classes apart."""
    generator = torch.Generator().manual_seed(0)
    labels, time = torch.arange(256) % 2, torch.arange(200) / 200
    inputs = 10 * torch.randn(256, 5, 200, generator=generator)
    bump = 6 * torch.exp(-(((time - 0.4) / 0.05) ** 2))
    inputs[:, 3] += (2 * labels[:, None] - 1) * bump
    torch.manual_seed(0)
    config = MiCConfig.from_size("tiny", ch_names=NAMES, n_times=200, num_labels=2, signed_path=True)
    model = MiCForEEGClassification(config).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for step in range(60):
        rows = torch.arange(32 * step, 32 * step + 32) % 128
        optimizer.zero_grad()
        model(inputs[rows], labels=labels[rows]).loss.backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        output = model.mic(inputs[128:])
        alone = model.classifier(output.signed_state.flatten(1)).argmax(-1)
    assert (alone == labels[128:]).float().mean() > 0.8


# --- in every form of a student


@pytest.mark.parametrize(
    "fields",
    [
        {"size": "tiny"},
        {"size": "small"},
        {"size": "base"},
        {"ch_names": ["Cz"], "n_times": 200},
        {"sfreq": 256.0, "patch_size": 256, "n_times": 512, "num_slow_features": 32, "filter_size": 90},
        {"input_scale": 0.02},
    ],
)
@torch.no_grad()
def test_folded(fields):
    model = a_student(**fields)
    windows = windows_of(5, len(model.config.ch_names), model.config.n_times)
    expected = copy.deepcopy(model).double()(windows.double()).logits.float()
    found = model.for_inference()(windows).logits
    assert found.dtype == torch.float32
    assert ((found - expected).abs() / expected.abs().amax(-1, keepdim=True).clamp_min(1)).max() < 1e-5
    # folding without the path gives something else
    model.mic.signed_path.features.weight.zero_()
    assert (model.for_inference()(windows).logits - expected).abs().max() > 1e-3


@torch.no_grad()
def test_folded_for_another_montage_and_length():
    model, places = a_student("small"), torch.tensor(channel_positions(["Fz", "T7"]))
    windows = windows_of(3, 2, 1000)
    folded = model.for_inference(channel_positions=places, n_times=1000)
    expected = model(windows, channel_positions=places).logits
    torch.testing.assert_close(folded(windows).logits, expected, rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_onnx(tmp_path, precision):
    model = a_student("small", id2label={0: "a", 1: "b", 2: "c"}, num_labels=3)
    model.save_pretrained(tmp_path / "student")
    EEGFeatureExtractor(ch_names=NAMES, n_times=600).save_pretrained(tmp_path / "student")
    windows = windows_of(40).numpy()
    columns = {"input_values": list(windows), "labels": [0] * 40, "subject": ["a"] * 40}
    features = {"input_values": Array2D((5, 600), "float32"), "labels": ClassLabel(names=["a", "b", "c"])}
    known = Dataset.from_dict(columns, features=Features({**features, "subject": Value("string")}))
    calibration = known.with_format("numpy") if precision == "int8" else None
    path = export_onnx(tmp_path / "student", tmp_path / "onnx", precision=precision, calibration=calibration)
    with torch.no_grad():
        expected = model(torch.from_numpy(windows)).logits.numpy()
    found = OnnxStudent.from_pretrained(path.parent)(torch.from_numpy(windows)).logits.numpy()
    assert np.abs(found - expected).max() < (1e-4 if precision == "float32" else 0.1 * np.abs(expected).max())


def test_the_code_that_travels(tmp_path):
    """A checkpoint with its code gives the same logits where the package is absent."""
    model = a_student()
    model.save_pretrained(tmp_path)
    add_remote_code(tmp_path)
    script = (
        "import json, sys, torch\n"
        "sys.modules['dlink_hf'] = None\n"
        "from transformers import AutoModel\n"
        f"model = AutoModel.from_pretrained({str(tmp_path)!r}, trust_remote_code=True).eval()\n"
        "windows = 20 * torch.randn(2, 5, 600, generator=torch.Generator().manual_seed(1))\n"
        "with torch.no_grad():\n"
        "    print(json.dumps([model(windows).logits.tolist(), model.for_inference()(windows).logits.tolist()]))\n"
    )
    environment = {**os.environ, "HF_HOME": str(tmp_path / "cache"), "HF_HUB_OFFLINE": "1", "PYTHONPATH": ""}
    run = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=1000
    )
    assert run.returncode == 0, run.stderr
    with torch.no_grad():
        expected = model(windows_of(2)).logits.numpy()
    for found in json.loads(run.stdout.splitlines()[-1]):
        np.testing.assert_allclose(found, expected, atol=1e-4)


def test_the_studio_trains_it():
    """The studio's logits are those of the student, and while training of the signed path alone for some windows."""
    labels = {0: "a", 1: "b"}
    kwargs = {"n_layer": 2, "dim_feedforward": 16, "nhead": 4}
    teacher = DLinkTeacherConfig(backbone_kwargs=kwargs, ch_names=NAMES, n_times=600, id2label=labels, head_size=4)
    student = MiCConfig.from_size(
        "tiny",
        ch_names=NAMES,
        n_times=600,
        id2label=labels,
        signed_path=True,
        hidden_dropout=0.0,
        classifier_dropout=0.0,
    )
    torch.manual_seed(0)
    studio = DLinkStudioModel(DLinkStudioConfig(teacher_config=teacher, student_config=student))
    windows, targets = windows_of(32), torch.arange(32) % 2
    studio.eval()
    with torch.no_grad():
        torch.testing.assert_close(studio(windows, labels=targets).logits, studio.student(windows).logits)
    studio.train()
    output = studio(windows, labels=targets)
    output.loss.backward()
    alone = studio.student.classifier(studio.student.mic(windows).signed_state.flatten(1))
    assert 4 < ((output.logits - alone).abs().amax(-1) < 1e-4).sum() < 28
    for name, parameter in studio.student.mic.signed_path.named_parameters():
        assert parameter.grad.abs().max() > 0, name
