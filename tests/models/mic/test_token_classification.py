# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""A label for every patch, or every few: bursts to the second, hypnograms with context, files, what is refused."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Array2D, Dataset, Features, List, Value
from torch.nn import functional as F
from toy_training import NAMES, arguments, toy_student
from transformers import Trainer, TrainingArguments

from dlink_hf import (
    EEGDataCollator,
    MiCConfig,
    MiCForEEGTokenClassification,
    classification_scores,
    compute_token_metrics,
    event_scores,
    load_classifier,
    token_scores,
)


def config(**fields: Any) -> MiCConfig:
    return MiCConfig.from_dict({**toy_student(dropout=0.2).config.to_dict(), **fields})


def stretches(values: list[np.ndarray], labels: list[Any]) -> Dataset:
    features = Features(
        {
            "input_values": Array2D(values[0].shape, "float32"),
            "labels": List(Value("int64"), length=len(labels[0])),
        }
    )
    columns = {"input_values": [each.astype(np.float32) for each in values], "labels": labels}
    return Dataset.from_dict(columns, features=features).with_format("numpy")


def bursts(n: int, seed: int) -> Dataset:
    """Stretches of 10 s of noise with bursts of 10 Hz over C3 that last whole seconds."""
    rng, time = np.random.default_rng(seed), np.arange(2000) / 200.0
    values, labels = [], []
    for _ in range(n):
        held = (rng.uniform(size=10) < 0.35).astype(int)
        window = rng.uniform(6, 9) * rng.standard_normal((len(NAMES), 2000))
        window[0] += np.repeat(held, 200) * 14 * np.sin(2 * np.pi * rng.uniform(9.5, 10.5) * time)
        values.append(window)
        labels.append(held.tolist())
    return stretches(values, labels)


def hypnograms(n: int, seed: int, n_epochs: int = 16) -> Dataset:
    """Stretches of 16 epochs of 2 s: two stages, seldom left, whose rhythms differ by less than their spread."""
    rng, time = np.random.default_rng(seed), np.arange(400) / 200.0
    values, labels = [], []
    for _ in range(n):
        stages = np.cumsum(rng.uniform(size=n_epochs) < 0.06) % 2
        stages = (stages + rng.integers(2)) % 2
        epochs = []
        for stage in stages:
            epoch = 8.0 * rng.standard_normal((len(NAMES), 400))
            amplitude = max(0.0, 7.0 + 5.0 * stage + 6.0 * rng.standard_normal())
            epochs.append(epoch + amplitude * np.sin(2 * np.pi * 10 * time + rng.uniform(0, 6)))
        values.append(np.concatenate(epochs, axis=1))
        labels.append(stages.tolist())
    return stretches(values, labels)


def fit(model: Any, train: Dataset, folder: Path, epochs: int) -> Any:
    fields = {"per_device_train_batch_size": 16, "logging_strategy": "no"}
    args = arguments(folder, TrainingArguments, num_train_epochs=epochs, **fields)
    Trainer(model, args, data_collator=EEGDataCollator(), train_dataset=train).train()
    return model.eval()


@torch.no_grad()
def probabilities(model: MiCForEEGTokenClassification, data: Dataset) -> np.ndarray:
    return model(torch.from_numpy(np.asarray(data["input_values"][:]))).logits.softmax(-1).double().numpy()


@pytest.fixture(scope="module")
def trained(tmp_path_factory: Any) -> MiCForEEGTokenClassification:
    torch.manual_seed(0)
    model = MiCForEEGTokenClassification(config(n_times=2000))
    return fit(model, bursts(60, 0), tmp_path_factory.mktemp("fit"), epochs=12)


def test_bursts_are_found_to_the_second(trained: MiCForEEGTokenClassification) -> None:
    unseen = bursts(20, 1)
    found, labels = probabilities(trained, unseen), np.asarray(unseen["labels"][:])
    scores = token_scores(labels, found, label_names=["rest", "burst"])
    assert scores["per_class"]["burst"]["f1"] > 0.9 and scores["cohen_kappa"] > 0.85
    assert scores["n_windows"] == 200


def test_context_beats_single_epochs(tmp_path: Path) -> None:
    train, unseen = hypnograms(160, 0), hypnograms(40, 1)
    labels, kappa = np.asarray(unseen["labels"][:]), {}
    for context in ("none", "gru"):
        torch.manual_seed(0)
        model = MiCForEEGTokenClassification(
            config(n_times=6400, patches_per_label=2, token_context=context, context_size=16)
        )
        fit(model, train, tmp_path / context, epochs=6)
        kappa[context] = token_scores(labels, probabilities(model, unseen))["cohen_kappa"]
    assert kappa["gru"] > kappa["none"] + 0.1 and kappa["gru"] > 0.4


def test_the_loss_leaves_out_what_has_no_label() -> None:
    model = MiCForEEGTokenClassification(config(n_times=800, patches_per_label=2)).eval()
    windows, labels = 20 * torch.randn(3, 4, 800), torch.tensor([[0, 1], [-100, 1], [0, -100]])
    output = model(windows, labels=labels)
    assert output.logits.shape == (3, 2, 2)
    assert torch.allclose(output.loss, F.cross_entropy(output.logits.flatten(0, 1), labels.flatten()), atol=1e-6)
    assert model(windows, labels=torch.full((3, 2), -100)).loss == 0


def test_longer_stretches_and_other_montages_are_read(trained: MiCForEEGTokenClassification) -> None:
    with torch.no_grad():
        assert trained(20 * torch.randn(1, 4, 6000)).logits.shape == (1, 30, 2)
        places = torch.tensor([[0.0, 0.05, 0.06], [0.0, -0.1, 0.0]])
        assert trained(20 * torch.randn(1, 2, 400), channel_positions=places).logits.shape == (1, 2, 2)


@pytest.mark.parametrize("context", ["none", "gru"])
def test_saved_and_loaded(tmp_path: Path, context: str) -> None:
    model = MiCForEEGTokenClassification(config(token_context=context)).eval()
    windows = 20 * torch.randn(2, 4, 400)
    model.save_pretrained(tmp_path)
    again = MiCForEEGTokenClassification.from_pretrained(tmp_path).eval()
    torch.testing.assert_close(again(windows).logits, model(windows).logits, rtol=1e-5, atol=1e-5)
    with pytest.raises(ValueError, match="labels patches, not whole windows"):
        load_classifier(tmp_path)
    toy_student().mic.save_pretrained(tmp_path / "backbone")
    started = MiCForEEGTokenClassification.from_pretrained(tmp_path / "backbone", num_labels=5)
    assert started.classifier.out_features == 5


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        (torch.tensor([0, 1]), r"of shape \(2, 2\).*One label for each window is for MiCForEEGClassification"),
        (torch.zeros(2, 3, dtype=torch.int64), r"of shape \(2, 2\), one for each of 2 places"),
        (torch.zeros(2, 2), r"class indices of shape \(2, 2\)"),
        (torch.tensor([[0, 2], [0, 1]]), r"must lie in 0 ... 1, or be -100 where there is none, got \[2\]"),
    ],
)
def test_labels_that_do_not_fit(labels: torch.Tensor, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        MiCForEEGTokenClassification(config())(torch.randn(2, 4, 400), labels=labels)


def test_lengths_and_configs_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="have 3 patches of 200 samples, which 2 patches for each label"):
        MiCForEEGTokenClassification(config(patches_per_label=2))(torch.randn(2, 4, 600))
    with pytest.raises(ValueError, match="'none' or 'gru'"):
        config(token_context="lstm")
    with pytest.raises(ValueError, match="of whole windows, by MiCForEEGRegression"):
        MiCForEEGTokenClassification(config(problem_type="regression"))


def test_scores_of_places_leave_out_what_has_no_label() -> None:
    rng = np.random.default_rng(0)
    labels, found = rng.integers(0, 3, (5, 8)), rng.dirichlet(np.ones(3), (5, 8))
    labels[2, 3:] = -100
    known = labels != -100
    scores = token_scores(labels, found, subjects=["a", "a", "b", "b", "c"])
    expected = classification_scores(labels[known], found[known])
    assert scores["cohen_kappa"] == expected["cohen_kappa"] and scores["per_subject"]["b"]["n_windows"] == 11
    assert scores["macro_f1"] == pytest.approx(np.mean([row["f1"] for row in expected["per_class"].values()]))
    assert compute_token_metrics((np.log(found), labels))["macro_f1"] == pytest.approx(scores["macro_f1"])
    with pytest.raises(ValueError, match="all of `labels` are -100"):
        token_scores(np.full((2, 2), -100), found[:2, :2])


def test_events_by_szcores_rules() -> None:
    pytest.importorskip("timescoring", reason="needs timescoring: pip install 'dlink-hf[events]'")
    labels, told = np.zeros(3600, int), np.zeros(3600, int)
    labels[600:660], labels[2000:2030] = 1, 1
    # one overlaps its event, one is where nothing is
    told[640:680], told[3000:3010] = 1, 1
    scores = event_scores(labels, told, seconds_per_label=1.0)
    assert (scores["n_events"], scores["n_found"], scores["false_alarms_per_hour"]) == (2, 1, 1.0)
    assert scores["sensitivity"] == 0.5 and scores["precision"] == 0.5
    assert math.isnan(event_scores(np.zeros(60, int), np.zeros(60, int), 1.0)["sensitivity"])
