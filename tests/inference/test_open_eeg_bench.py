# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Open EEG Bench runs a student through its own `benchmark`, on made windows in place of those that it downloads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mne
import numpy as np
import pytest
from toy_training import toy_student


pytest.importorskip("open_eeg_bench", reason="needs Open EEG Bench: pip install 'dlink-hf[bench]'")

from open_eeg_bench import benchmark
from open_eeg_bench.dataset import Dataset

from dlink_hf import MiCConfig, MiCModel, open_eeg_bench_settings


NAMES = ["Fp1", "C3", "O1"]


def made_windows(self: Dataset) -> Any:
    """What `Dataset.load` gives: two windows of each class and subject, 5 s at 100 Hz, microvolts, 10 Hz over O1."""
    from braindecode.datasets import BaseConcatDataset, RawDataset
    from braindecode.preprocessing import create_windows_from_events

    splitter, parts = self.splitter, []
    for number, subject in enumerate([*splitter.train_values, *splitter.val_values, *splitter.test_values]):
        values = 10 * np.random.default_rng(number).standard_normal((3, 2100))
        rhythm = 30 * np.sin(2 * np.pi * 10 * np.arange(500) / 100)
        values[2, 500:1000] += rhythm
        values[2, 1500:2000] += rhythm
        raw = mne.io.RawArray(values, mne.create_info(NAMES, 100.0, "eeg"), verbose="ERROR")
        raw.set_annotations(mne.Annotations([0.0, 5.0, 10.0, 15.0], [5.0] * 4, ["rest", "task"] * 2))
        parts.append(RawDataset(raw, {"subject": subject}))
    return create_windows_from_events(BaseConcatDataset(parts), mapping={"rest": 0, "task": 1}, preload=True)


@pytest.mark.slow
@pytest.mark.parametrize("strategies", [["ridge_probe", "frozen"], ["lora"]])
def test_its_runner_finishes(strategies: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Dataset, "load", made_windows)
    student = MiCModel(MiCConfig.from_size("tiny", ch_names=["C3", "C4"], n_times=1000))
    rows = benchmark(
        **open_eeg_bench_settings(student, tmp_path / "student"),
        datasets=["arithmetic_zyma2019"],
        finetuning_strategies=strategies,
        n_seeds=1,
        infra={"folder": str(tmp_path / "runs")},
    )
    assert rows["status"].tolist() == ["completed"] * len(strategies)
    assert set(rows["backbone"]) == {"BraindecodeStudent"}
    assert rows["test_balanced_accuracy"].max() > 0.8


def test_the_benchmark_builds_the_very_student(tmp_path: Path) -> None:
    import torch
    from open_eeg_bench.backbone import PretrainedBackbone

    student = toy_student().eval()
    for given in (student, student.mic):
        settings = open_eeg_bench_settings(given, tmp_path)
        channels = [{"ch_name": name} for name in student.config.ch_names]
        backbone = PretrainedBackbone(**settings)
        built = backbone.build(n_chans=4, n_times=400, n_outputs=5, sfreq=200.0, chs_info=channels).eval()
        values = 20 * torch.randn(2, 4, 400)
        assert built(values).shape == (2, 5)
        features = built(values, return_features=True)["features"]
        expected = student.mic(values).compressed_state.flatten(1)
        torch.testing.assert_close(features, expected, atol=1e-5, rtol=1e-5)
