# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""The head of a teacher from a logistic regression: scikit-learn's own numbers, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from toy_training import LABELS, N_TIMES, NAMES, toy_dataset

from dlink_hf import DLinkTeacherConfig, DLinkTeacherForEEGClassification
from dlink_hf.evaluation.predict import predict_probabilities
from dlink_hf.training.probing import fit_probe


def teacher(labels: list[str] = LABELS, head_size: int | None = None) -> DLinkTeacherForEEGClassification:
    torch.manual_seed(0)
    config = DLinkTeacherConfig(
        backbone_kwargs={"n_layer": 2, "dim_feedforward": 16, "nhead": 4},
        ch_names=NAMES,
        n_times=N_TIMES,
        id2label=dict(enumerate(labels)),
        head_size=head_size,
    )
    return DLinkTeacherForEEGClassification(config)


def features_of(model: DLinkTeacherForEEGClassification, dataset) -> np.ndarray:
    """Layer-normalised last tokens, averaged over patches, by NumPy."""
    model.eval()
    windows = torch.tensor(np.stack([row["input_values"] for row in dataset]))
    with torch.no_grad():
        tokens = model.teacher(windows).last_hidden_state.double().numpy()
    tokens = (tokens - tokens.mean(-1, keepdims=True)) / np.sqrt(tokens.var(-1, keepdims=True) + 1e-5)
    return tokens.mean(2).reshape(len(windows), -1)


@pytest.mark.parametrize("labels", [LABELS, ["rest", "left", "right"]])
def test_the_head_gives_the_probabilities_of_the_regression(labels):
    train, validation = toy_dataset(["a", "b", "c"], 12, names=labels), toy_dataset(["d", "e"], 12, 1, names=labels)
    model = teacher(labels)
    backbone = {name: tensor.clone() for name, tensor in model.teacher.state_dict().items()}
    losses = fit_probe(model, train, validation, strengths=[1e-4, 1e-2, 1.0])
    x, y = features_of(model, train), np.array(train["labels"])
    others, targets = features_of(model, validation), np.array(validation["labels"])
    counts = np.bincount(targets)
    expected, best = {}, None
    for strength in losses:
        regression = LogisticRegression(C=strength, class_weight="balanced", max_iter=500)
        regression = make_pipeline(StandardScaler(), regression).fit(x, y)
        probabilities = regression.predict_proba(others)
        expected[strength] = log_loss(targets, probabilities, sample_weight=1 / counts[targets])
        if expected[strength] == min(expected.values()):
            best = probabilities
    assert list(losses.values()) == pytest.approx(list(expected.values()), abs=1e-3)
    np.testing.assert_allclose(predict_probabilities(model, validation), best, atol=2e-3)
    assert all(torch.equal(tensor, backbone[name]) for name, tensor in model.teacher.state_dict().items())


def test_the_strength_is_chosen_by_other_people_alone():
    train, validation = toy_dataset(["a", "b"], 12), toy_dataset(["c"], 12, 1)
    model = teacher()
    losses = fit_probe(model, train, validation, strengths=[1e-5, 1e-2])
    chosen = min(losses, key=losses.get)
    again = teacher()
    assert fit_probe(again, train, strengths=[chosen]) == {}
    assert torch.equal(model.head.classifier.weight, again.head.classifier.weight)


def test_what_a_probe_needs(tmp_path):
    train = toy_dataset(["a"], 12)
    with pytest.raises(ValueError, match="head_size=None"):
        fit_probe(teacher(head_size=4), train)
    with pytest.raises(ValueError, match=r"none of class \[2\]"):
        fit_probe(teacher(["rest", "left", "right"]), toy_dataset(["a"], 2, names=["rest", "left", "right"]))
    with pytest.raises(ValueError, match="positive numbers"):
        fit_probe(teacher(), train, strengths=[])
    with pytest.raises(ValueError, match="head_size"):
        DLinkTeacherConfig(head_size=0)
    model = teacher()
    fit_probe(model, train)
    model.save_pretrained(tmp_path)
    again = DLinkTeacherForEEGClassification.from_pretrained(tmp_path)
    np.testing.assert_allclose(
        predict_probabilities(again, train), predict_probabilities(model, train), rtol=1e-5, atol=1e-5
    )
