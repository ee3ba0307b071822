# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""What makes a student quick at inference changes none of its numbers."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from dlink_hf import EEGFeatureExtractor, MiCConfig, MiCForEEGClassification, channel_positions
from dlink_hf.export.graph import to_int8, trace
from dlink_hf.hub.remote_code import add_remote_code


CARDS = Path(__file__).resolve().parents[3] / "model_cards"
NAMES = ["C3", "Cz", "C4", "Pz", "Oz"]


def a_student(size: str = "tiny", **fields) -> MiCForEEGClassification:
    """A student whose every tensor, running statistics too, has moved away from where it starts."""
    config = {"ch_names": NAMES, "n_times": 600, "num_labels": 3, **fields}
    torch.manual_seed(0)
    model = MiCForEEGClassification(MiCConfig.from_size(size, **config)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        norm = model.mic.filter_bank.norm
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 4.0)
    return model


def windows_of(n_windows: int, n_chans: int = 5, n_times: int = 600, scale: float = 20.0) -> torch.Tensor:
    return scale * torch.randn(n_windows, n_chans, n_times, generator=torch.Generator().manual_seed(1))


def hard_windows(n_chans: int = 5, n_times: int = 600) -> torch.Tensor:
    """Noise; nothing at all; flat channels; an offset; an artefact of 1 mV; steps of 100 mV."""
    windows = windows_of(6, n_chans, n_times)
    windows[1] = 0
    windows[2, ::2] = 0
    windows[3] = 150
    windows[4, 0, n_times // 2 :] += 1000
    windows[5] = 1e5 * windows[5].sign()
    return windows


def assert_same(found: torch.Tensor, expected: torch.Tensor) -> None:
    """Within 1e-5 of the largest logit of a window."""
    assert found.shape == expected.shape and found.dtype == torch.float32
    largest = expected.abs().amax(-1, keepdim=True).clamp_min(1)
    assert ((found - expected).abs() / largest).max() < 1e-5


@pytest.mark.parametrize(
    "fields",
    [
        {"size": "tiny"},
        {"size": "small"},
        {"size": "base"},
        {"num_hidden_layers": 0},
        # a mimic state that is as narrow as it can be
        {"mimic_size": 20},
        # one channel of one patch
        {"ch_names": ["Cz"], "n_times": 200},
        # filters that do not fill the patch, at another rate
        {"sfreq": 256.0, "patch_size": 256, "n_times": 512, "num_slow_features": 32, "filter_size": 90},
        {"filter_size": 200, "layer_norm_eps": 0.1, "input_scale": 0.02},
    ],
)
def test_the_folded_student_gives_the_same_logits(fields):
    model = a_student(**fields)
    windows = hard_windows(len(model.config.ch_names), model.config.n_times)
    with torch.no_grad():
        expected = copy.deepcopy(model).double()(windows.double()).logits.float()
        folded = model.for_inference()
        assert_same(folded(windows).logits, expected)
        assert_same(torch.cat([folded(window[None]).logits for window in windows]), expected)
        assert_same(folded(windows.double()).logits, expected)


@pytest.mark.parametrize("name", ["dlink-mic-small-eegmat", "dlink-mic-tiny"])
def test_published_students_give_the_same_logits_of_recordings(name, data_dir):
    if name == "dlink-mic-tiny":
        model = MiCForEEGClassification.from_pretrained(CARDS / name, num_labels=2).eval()
        extractor = EEGFeatureExtractor(ch_names=["Fp1", "Cz", "O2"], n_times=model.config.n_times)
        windows = extractor(str(data_dir / "eegmat" / "Subject35_2.edf"))["input_values"]
        places = channel_positions(extractor.ch_names)
    else:
        model = MiCForEEGClassification.from_pretrained(CARDS / name).eval()
        extractor, places = EEGFeatureExtractor.from_pretrained(CARDS / name), model.config.channel_positions
        recordings = [str(data_dir / "eegmat" / f"Subject35_{part}.edf") for part in (1, 2)]
        state = extractor.fit_alignment(recordings)
        windows = extractor(recordings[1], alignment_state=state)["input_values"]
    windows = torch.from_numpy(np.asarray(windows, dtype=np.float32))
    with torch.inference_mode():
        expected = model(windows, channel_positions=torch.tensor(places)).logits
        assert_same(model.for_inference(channel_positions=places)(windows).logits, expected)
    assert len(windows) > 5


def test_another_montage_and_another_length():
    model, places = a_student("small"), torch.tensor(channel_positions(["Fz", "T7"]))
    windows = windows_of(3, 2, 1000)
    with torch.no_grad():
        folded = model.for_inference(channel_positions=places, n_times=1000)
        assert_same(folded(windows).logits, model(windows, channel_positions=places).logits)
    with pytest.raises(ValueError, match="2 channels and 1000 samples.*for_inference"):
        folded(windows_of(1))
    with pytest.raises(ValueError, match="200-sample patches"):
        folded(windows[..., :900])
    with pytest.raises(TypeError, match="floating-point"):
        folded(windows.int())
    with pytest.raises(ValueError, match="200-sample patches, got 250"):
        model.for_inference(n_times=250)
    with pytest.raises(ValueError, match="metres"):
        model.for_inference(channel_positions=places * 1000)
    with pytest.raises(ValueError, match="one montage"):
        model.for_inference(channel_positions=places.expand(3, 2, 3))


def test_folding_leaves_the_model_alone_and_follows_nothing():
    model = a_student().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    folded, windows = model.for_inference(), windows_of(2)
    assert model.training and not any(parameter.requires_grad for parameter in folded.parameters())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    expected = model.eval()(windows).logits
    with torch.no_grad():
        model.classifier.weight.zero_()
    assert_same(folded(windows).logits, expected.detach())
    assert_same(copy.deepcopy(folded)(windows).logits, expected.detach())


def test_a_model_of_16_bits_is_folded_in_32():
    model = a_student("small").to(torch.bfloat16)
    windows = windows_of(4)
    with torch.no_grad():
        assert_same(model.for_inference()(windows).logits, copy.deepcopy(model).float()(windows).logits)


@pytest.mark.parametrize("change", ["hook", "adapter", "nan"])
def test_a_model_that_computes_something_else_is_refused(change):
    model = a_student()
    if change == "hook":
        model.mic.blocks[0].register_forward_hook(lambda module, inputs, output: output * 1.01)
    elif change == "adapter":
        torch.nn.utils.parametrizations.weight_norm(model.classifier)
        model.mic.token_embedding = Adapted(model.mic.token_embedding)
    else:
        with torch.no_grad():
            model.mic.token_embedding.bias[0] = torch.nan
    with pytest.raises(ValueError, match="does not give the model's logits.*adapters"):
        model.for_inference()


class Adapted(torch.nn.Linear):
    """A linear map with something added beside its weight."""

    def __init__(self, linear: torch.nn.Linear):
        super().__init__(linear.in_features, linear.out_features)
        self.load_state_dict(linear.state_dict())
        self.beside = torch.nn.Parameter(torch.full((linear.out_features, linear.in_features), 0.01))

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return super().forward(values) + values @ self.beside.T


class Operators(TorchDispatchMode):
    """Counts what PyTorch is asked to do, views left out."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += not func.is_view
        return func(*args, **(kwargs or {}))


def test_the_folded_student_takes_far_fewer_operations():
    model, windows = a_student("small"), windows_of(1)
    folded, counts = model.for_inference(), []
    with torch.no_grad():
        for student in (model, folded):
            with Operators() as operators:
                student(windows)
            counts.append(operators.count)
    assert 20 < counts[1] < 0.6 * counts[0]


def test_without_gradients_the_model_gives_the_states_that_it_trains_with():
    model, windows = a_student("small"), hard_windows()
    expected = model.mic(windows, output_hidden_states=True)
    for context in (torch.no_grad(), torch.inference_mode()):
        with context:
            found = model.mic(windows, output_hidden_states=True)
        for name in ("last_hidden_state", "mimic_state", "compressed_state", "spatial_weights", "temporal_weights"):
            assert (found[name] - expected[name]).abs().max() < 1e-5 * expected[name].abs().max(), name
        for state, reference in zip(found.hidden_states, expected.hidden_states, strict=True):
            assert (state - reference).abs().max() < 1e-5 * reference.abs().max()


def test_nothing_that_inference_keeps_goes_stale():
    model, windows = a_student(), windows_of(3)

    def fresh() -> torch.Tensor:
        """Logits of a model that has just been made, of the same weights and config."""
        other = MiCForEEGClassification(copy.deepcopy(model.config)).to(model.dtype).eval()
        other.load_state_dict(model.state_dict())
        with torch.no_grad():
            return other(windows).logits

    def now() -> torch.Tensor:
        with torch.inference_mode():
            return model.eval()(windows).logits.clone()

    last = now()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)

    def step() -> None:
        # what was made in inference mode must not come into the way of training
        model.train()(windows, labels=torch.tensor([0, 1, 2])).loss.backward()
        optimizer.step()

    def load() -> None:
        model.load_state_dict(a_student(layer_norm_eps=1e-5).state_dict())

    def write() -> None:
        model.mic.compressor.spatial_anchor.data.add_(0.01)
        model.mic.position_embedding.linear.weight.data.mul_(2)

    def move() -> None:
        model.config.channel_positions[0][0] += 0.05

    def replace() -> None:
        model.config.ch_names, model.config.channel_positions = NAMES[::-1], channel_positions(NAMES[::-1])

    for change in (step, load, write, move, replace, model.double, model.float):
        change()
        found = now()
        assert torch.equal(found, fresh()) and not torch.equal(found, last), change
        last = found
    torch.testing.assert_close(copy.deepcopy(model)(windows).logits, model(windows).logits, rtol=1e-5, atol=1e-5)
    assert not any("kept" in name for name in model.state_dict())
    model.config.channel_positions[0][0] = 50.0
    with pytest.raises(ValueError, match="metres"):
        now()


def test_the_onnx_graph_is_the_folded_one():
    model = a_student("small")
    graph, n_front = trace(model)
    kinds = [node.op_type for node in graph.graph.node]
    # frames picked one by one took a fifth of the time; means and powers come with products
    assert not {"Gather", "ReduceMean", "ReduceSum", "Pow", "BatchNormalization"} & set(kinds)
    assert "Log" in kinds[:n_front] and "LayerNormalization" not in kinds[:n_front]
    # the teacher's width is gone
    assert model.config.mimic_size not in {size for item in graph.graph.initializer for size in item.dims[1:]}
    quantised = to_int8(graph, n_front, windows_of(4).numpy())
    of_8_bits = [item for item in quantised.graph.initializer if item.data_type == 3 and len(item.dims) == 2]
    # embedding, mimic and features, and four products of each block
    assert len(of_8_bits) == 3 + 4 * model.config.num_hidden_layers


def test_the_folded_student_travels_with_the_checkpoint(tmp_path):
    model, windows = a_student(), windows_of(2)
    model.save_pretrained(tmp_path / "student")
    add_remote_code(tmp_path / "student")
    torch.save(windows, tmp_path / "windows.pt")
    code = (
        "import json, sys, torch; sys.modules['dlink_hf'] = None\n"
        "from transformers import AutoModelForAudioClassification as Auto\n"
        "model = Auto.from_pretrained('student', trust_remote_code=True)\n"
        "windows = torch.load('windows.pt')\n"
        "print(json.dumps(model.for_inference()(windows).logits.tolist()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**os.environ, "HF_MODULES_CACHE": str(tmp_path / "modules")},
    )
    assert done.returncode == 0, done.stderr
    assert_same(torch.tensor(json.loads(done.stdout.splitlines()[-1])), model(windows).logits.detach())
