# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Costs against counts by hand, and latencies of calls whose length is known."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dlink_hf.profiling import measure as profiling
from dlink_hf.profiling.measure import count_flops, count_parameters, measure_latency, peak_memory


class Attention(nn.Module):
    """Attention as most models write it: one projection to q, k and v, fused attention, one projection back."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.qkv, self.out, self.heads = nn.Linear(width, 3 * width), nn.Linear(width, width), heads

    def forward(self, x):
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


def test_parameters_of_tied_and_frozen_layers():
    model = nn.Sequential(nn.Linear(5, 5), nn.BatchNorm1d(5), nn.Linear(5, 3))
    assert count_parameters(model) == (25 + 5) + (5 + 5) + (15 + 3)
    model[0].requires_grad_(False)
    assert count_parameters(model, trainable_only=True) == 10 + 18
    tied = nn.ModuleList([model[0], model[0]])
    assert count_parameters(tied) == 30


def test_flops_of_a_grouped_convolution_and_a_linear_layer():
    model = nn.Sequential(nn.Conv1d(8, 16, 5, stride=2, groups=4), nn.Flatten(), nn.Linear(16 * 8, 3))
    macs = 16 * 8 * (8 // 4) * 5 + 16 * 8 * 3
    assert count_flops(model, input=torch.randn(2, 8, 19)) == 2 * (2 * macs)


def test_flops_of_fused_attention():
    B, N, D = 2, 10, 32
    macs = B * (N * D * 3 * D + 2 * N * N * D + N * D * D)
    assert count_flops(Attention(D, 4), x=torch.randn(B, N, D)) == 2 * macs


def test_flops_of_a_transformer_encoder_and_its_fast_path_comes_back():
    layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True)
    model = nn.TransformerEncoder(layer, 3)
    B, N, D = 2, 10, 32
    macs = 3 * B * (N * 4 * D * D + 2 * N * N * D + 2 * N * D * 64)
    assert torch.backends.mha.get_fastpath_enabled()
    assert count_flops(model, src=torch.randn(B, N, D)) == 2 * macs
    assert torch.backends.mha.get_fastpath_enabled()
    assert all(module.training for module in model.modules())


@pytest.mark.parametrize("batch", [1, 3])
def test_flops_grow_with_the_batch_also_for_lstm_and_vectors(batch):
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm, self.score = nn.LSTM(8, 16, num_layers=2, batch_first=True), nn.Parameter(torch.randn(16))

        def forward(self, x):
            return self.lstm(x)[0] @ self.score

    macs = 5 * (4 * 16 * (8 + 16) + 4 * 16 * (16 + 16)) + 5 * 16
    assert count_flops(Model(), x=torch.randn(batch, 5, 8)) == 2 * batch * macs


def test_flops_of_a_layer_whose_weight_is_computed():
    model = nn.utils.parametrizations.weight_norm(nn.Linear(7, 3))
    assert count_flops(model, input=torch.zeros(5, 7)) == 2 * 5 * 7 * 3


def test_flops_leave_a_mixed_mode_as_it_was():
    model = nn.Sequential(nn.Linear(4, 4), nn.Dropout())
    model[1].eval()
    count_flops(model, input=torch.randn(1, 4))
    assert (model.training, model[0].training, model[1].training) == (True, True, False)


def test_latency_of_calls_of_known_length():
    threads = torch.get_num_threads()
    seen, order = [], []

    def wait(name, seconds):
        def call(input_values):
            seen.append(torch.get_num_threads())
            order.append(name)
            time.sleep(seconds)

        return call

    torch.set_num_threads(2)
    try:
        models = {"short": wait("short", 0.002), "long": wait("long", 0.02)}
        result = measure_latency(models, {"input_values": torch.zeros(1)}, n_runs=6, n_warmup=2)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert set(seen) == {1}
    assert 2 <= result["short"]["min_ms"] <= result["short"]["p50_ms"] <= result["short"]["p95_ms"]
    assert result["short"]["p95_ms"] <= result["short"]["p99_ms"]
    assert 20 <= result["long"]["p50_ms"]
    assert [sorted(order[i : i + 2]) for i in range(0, len(order), 2)] == [["long", "short"]] * 8
    assert order[0] != order[2]


def test_latency_with_inputs_of_each_model():
    models = {"a": nn.Linear(3, 2), "b": nn.Linear(5, 2)}
    inputs = {"a": {"input": torch.zeros(1, 3)}, "b": {"input": torch.zeros(1, 5)}}
    assert set(measure_latency(models, inputs, n_runs=3, n_warmup=0)) == {"a", "b"}
    with pytest.raises(ValueError, match="empty"):
        measure_latency({}, {})
    with pytest.raises(ValueError, match="`n_runs` must be a whole number of at least 1, got 0"):
        measure_latency(models, inputs, n_runs=0)


def test_percentiles_are_numpys():
    import numpy as np

    values = sorted(np.random.default_rng(0).exponential(size=37).tolist())
    for percent in (0, 50, 95, 100):
        assert profiling._percentile(values, percent) == pytest.approx(np.percentile(values, percent))


@pytest.mark.parametrize("kernel", [True, False])
def test_peak_of_a_short_lived_block(kernel):
    """64 MiB held for a moment in a fresh process show, whichever way they are measured."""
    code = f"""
import time
from dlink_hf.profiling import measure as profiling
if not {kernel}:
    profiling.reset_kernel_peak = lambda: False
def work():
    block = bytearray(64 * 2**20)
    time.sleep({0 if kernel else 0.2})
    del block
result = profiling.peak_memory(work)
print(result["increase"] / 2**20, result["peak"] - result["start"] - result["increase"])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    increase, rest = map(float, done.stdout.split())
    assert 62 <= increase <= 72 and rest == 0


def test_peak_passes_errors_on():
    with pytest.raises(ZeroDivisionError):
        peak_memory(lambda: 1 / 0)
