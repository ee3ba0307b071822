# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""The benchmark of students on a chip: what it measures of a small one, and the rows that are committed."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from dlink_hf import MiCConfig, MiCForEEGClassification


BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def chip(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import chip

    yield chip
    for name in ("chip", "chip_eegnet", "grid_cells"):
        sys.modules.pop(name, None)


def test_the_table_has_a_line_for_every_committed_row(chip):
    rows = json.loads((BENCHMARKS / "results" / "chip.json").read_text("utf-8"))
    lines = chip.table(rows).splitlines()[2:]
    assert len(lines) == len(rows) > 0
    for row, line in zip(rows, lines, strict=True):
        assert line.startswith(f"| {row['set']} | {row['student']} |") and line.count("|") == 13


def test_eegnet_as_c_gives_pytorchs_logits(chip, tmp_path):
    if shutil.which("cc") is None:
        pytest.skip("no C compiler (cc)")
    braindecode_models = pytest.importorskip("braindecode.models")
    torch.manual_seed(0)
    network = braindecode_models.EEGNet(n_chans=3, n_outputs=2, n_times=400, sfreq=200.0)
    for norm in (network.bnorm_temporal, network.bnorm_1, network.bnorm_2):
        for values in (norm.weight, norm.bias, norm.running_mean):
            torch.nn.init.normal_(values)
        torch.nn.init.uniform_(norm.running_var, 0.5, 2.0)
    values = 20 * np.random.default_rng(0).standard_normal((4, 3, 400), dtype=np.float32)
    chip.export_eegnet(network.eval(), 0.1, ["C3", "Cz", "C4"], tmp_path / "c")
    with torch.no_grad():
        expected = network(0.1 * torch.from_numpy(values)).numpy()
    np.testing.assert_allclose(chip.on_this_computer(tmp_path / "c", values, 2), expected, atol=1e-5)


@pytest.mark.slow
def test_what_is_measured_of_a_small_student(chip):
    missing = [name for name in chip.TOOLS if shutil.which(name) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")
    torch.manual_seed(0)
    model = MiCForEEGClassification(MiCConfig.from_size("tiny", ch_names=["C3", "C4"], n_times=400, num_labels=2))
    values = 20 * np.random.default_rng(0).standard_normal((6, 2, 400), dtype=np.float32)
    values[2, 1] = 0.0
    labels = np.array([0, 1, 0, 1, 0, 1])
    whole, small = chip.measure("toy", "tiny", model.eval(), values, labels, 6)
    assert (whole["precision"], small["precision"]) == ("float32", "int8")
    for row in (whole, small):
        assert row["refused_by_status"] == {"2": 1} and row["chip_windows"] == 6 and row["window_bytes"] == 3200
        # at least a product and a sum for each of 3 positions x 48 kernels x 100 samples x 4 patches
        assert row["instructions"] > 100_000
        assert row["estimated_ms"] == pytest.approx(row["instructions"] / 480e3, abs=0.06)
    assert whole["same_labels"] == 5 and whole["relative_difference"] < 1e-3
    assert small["flash_bytes"] < whole["flash_bytes"] and small["relative_difference"] > whole["relative_difference"]
    scores = whole["balanced_accuracy"]
    assert scores["pytorch"] == scores["c"]
