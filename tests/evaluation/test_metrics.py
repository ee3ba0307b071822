# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""The scores against scikit-learn's, by hand where scikit-learn refuses, and inside a real Trainer."""

from __future__ import annotations

import math
import warnings

import evaluate
import numpy as np
import pytest
import torch
from sklearn import metrics as sk
from transformers import EvalPrediction, Trainer, TrainingArguments

from dlink_hf.evaluation.metrics import (
    SCORES,
    EEGClassificationMetrics,
    classification_scores,
    compute_metrics,
    eeg_classification,
)


def draw(n_labels: int, n: int = 300, ties: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """Unbalanced labels and probabilities that know something of them."""
    rng = np.random.default_rng(0)
    labels = rng.choice(n_labels, size=n, p=np.arange(1, n_labels + 1) / np.arange(1, n_labels + 1).sum())
    logits = rng.normal(size=(n, n_labels)).round(1 if ties else 8) + 1.2 * np.eye(n_labels)[labels]
    return labels, np.exp(logits) / np.exp(logits).sum(1, keepdims=True)


@pytest.mark.parametrize("n_labels", [2, 3, 5])
def test_equal_to_scikit_learn(n_labels):
    labels, probabilities = draw(n_labels)
    predicted = probabilities.argmax(1)
    ours = classification_scores(labels, probabilities)
    if n_labels == 2:
        auroc = sk.roc_auc_score(labels, probabilities[:, 1])
        auc_pr = sk.average_precision_score(labels, probabilities[:, 1])
    else:
        auroc = sk.roc_auc_score(labels, probabilities, multi_class="ovr", average="macro")
        auc_pr = sk.average_precision_score(np.eye(n_labels)[labels], probabilities, average="macro")
    expected = {
        "balanced_accuracy": sk.balanced_accuracy_score(labels, predicted),
        "accuracy": sk.accuracy_score(labels, predicted),
        "cohen_kappa": sk.cohen_kappa_score(labels, predicted),
        "weighted_f1": sk.f1_score(labels, predicted, average="weighted"),
        "auroc": auroc,
        "auc_pr": auc_pr,
    }
    assert {name: ours[name] for name in SCORES} == pytest.approx(expected, abs=1e-12)
    np.testing.assert_array_equal(ours["confusion_matrix"], sk.confusion_matrix(labels, predicted))
    precision, recall, f1, support = sk.precision_recall_fscore_support(labels, predicted)
    for label in range(n_labels):
        row = ours["per_class"][str(label)]
        assert [row["precision"], row["recall"], row["f1"]] == pytest.approx(
            [precision[label], recall[label], f1[label]]
        )
        assert row["support"] == support[label]
        assert row["auroc"] == pytest.approx(sk.roc_auc_score(labels == label, probabilities[:, label]))


def test_per_subject_scores_are_those_of_the_subject_alone():
    labels, probabilities = draw(2)
    subjects = np.array(["b", "a", "c"])[np.arange(len(labels)) % 3]
    ours = classification_scores(labels, probabilities, subjects=subjects, label_names=["rest", "arithmetic"])
    assert list(ours["per_subject"]) == ["a", "b", "c"]
    for subject, scores in ours["per_subject"].items():
        rows = subjects == subject
        assert scores["n_windows"] == rows.sum()
        assert scores["balanced_accuracy"] == sk.balanced_accuracy_score(labels[rows], probabilities[rows].argmax(1))
        assert scores["auroc"] == pytest.approx(sk.roc_auc_score(labels[rows], probabilities[rows, 1]))
    assert set(ours["per_class"]) == {"rest", "arithmetic"}


def test_one_class_only_is_nan_where_undefined_and_no_crash():
    probabilities = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ours = classification_scores([0, 0, 0], probabilities)
    assert ours["balanced_accuracy"] == pytest.approx(2 / 3)
    assert ours["weighted_f1"] == pytest.approx(0.8)
    assert ours["cohen_kappa"] == 0
    assert math.isnan(ours["auroc"]) and math.isnan(ours["auc_pr"])
    assert math.isnan(ours["per_class"]["1"]["recall"])
    assert math.isnan(classification_scores([0, 0], probabilities[:2])["cohen_kappa"])


def test_absent_label_is_left_out_of_the_means():
    labels, probabilities = draw(3)
    rows = labels != 2
    ours = classification_scores(labels[rows], probabilities[rows])
    kept = [sk.roc_auc_score(labels[rows] == label, probabilities[rows, label]) for label in (0, 1)]
    assert ours["auroc"] == pytest.approx(np.mean(kept))
    recalls = sk.recall_score(labels[rows], probabilities[rows].argmax(1), labels=[0, 1], average=None)
    assert ours["balanced_accuracy"] == pytest.approx(recalls.mean())


def test_label_never_predicted():
    ours = classification_scores([0, 1, 0, 1], [[0.9, 0.1]] * 4)
    assert ours["balanced_accuracy"] == 0.5
    assert ours["cohen_kappa"] == 0
    assert ours["auroc"] == 0.5
    assert ours["per_class"]["1"]["precision"] == 0


@pytest.mark.parametrize(
    ("labels", "probabilities", "error", "message"),
    [
        ([0, 1], [0.2, 0.8], ValueError, "windows, labels"),
        ([0, 1, 1], [[0.5, 0.5]] * 2, ValueError, "one label for each of the 2 windows"),
        ([], np.zeros((0, 2)), ValueError, "no windows"),
        ([0, 2], [[0.5, 0.5]] * 2, ValueError, r"holds \[2\]"),
        ([0, 1], [[3.0, -1.0]] * 2, ValueError, "softmax"),
        ([0, 1], [[np.nan, 1.0], [0.5, 0.5]], ValueError, "NaN or Inf in 1 windows"),
        (["rest", "arithmetic"], [[0.5, 0.5]] * 2, TypeError, "must be integers"),
    ],
)
def test_bad_input_is_a_clear_error(labels, probabilities, error, message):
    with pytest.raises(error, match=message):
        classification_scores(labels, probabilities)


def test_names_and_subjects_must_fit():
    with pytest.raises(ValueError, match="2 different names"):
        classification_scores([0, 1], [[0.5, 0.5]] * 2, label_names=["rest"])
    with pytest.raises(ValueError, match="for each of the 2 windows"):
        classification_scores([0, 1], [[0.5, 0.5]] * 2, subjects=["a"])


@pytest.mark.parametrize("load", [EEGClassificationMetrics, lambda: evaluate.load(eeg_classification.__file__)])
def test_evaluate_module_in_batches_without_network(load):
    labels, probabilities = draw(3, n=40)
    metric = load()
    for start in range(0, 40, 16):
        rows = slice(start, start + 16)
        metric.add_batch(predictions=probabilities[rows], references=labels[rows])
    ours = metric.compute(label_names=["a", "b", "c"])
    assert ours == classification_scores(labels, probabilities, label_names=["a", "b", "c"])


def test_compute_metrics_from_logits():
    labels, probabilities = draw(3, ties=False)
    logits = (np.log(probabilities) + 5).astype(np.float32)
    expected = {name: classification_scores(labels, probabilities)[name] for name in SCORES}
    assert compute_metrics(EvalPrediction(logits, labels)) == pytest.approx(expected, abs=1e-6)
    assert compute_metrics(((logits, np.zeros(3)), labels)) == pytest.approx(expected, abs=1e-6)


def test_compute_metrics_of_a_diverged_training():
    with pytest.warns(UserWarning, match="diverged"):
        scores = compute_metrics(EvalPrediction(np.full((4, 2), np.nan), np.array([0, 1, 0, 1])))
    assert set(scores) == set(SCORES) and all(math.isnan(value) for value in scores.values())


def test_trainer_reports_the_scores(tmp_path):
    class Classifier(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.head = torch.nn.Linear(4, 2)

        def forward(self, input_values, labels=None):
            logits = self.head(input_values)
            return {"loss": torch.nn.functional.cross_entropy(logits, labels), "logits": logits}

    rows = [{"input_values": torch.randn(4), "labels": i % 2} for i in range(12)]
    args = TrainingArguments(tmp_path, report_to=[], use_cpu=True, per_device_eval_batch_size=5)
    model = Classifier()
    scores = Trainer(model, args, eval_dataset=rows, compute_metrics=compute_metrics).evaluate()
    with torch.no_grad():
        predicted = model.head(torch.stack([row["input_values"] for row in rows])).argmax(1)
    expected = sk.balanced_accuracy_score([row["labels"] for row in rows], predicted)
    assert scores["eval_balanced_accuracy"] == pytest.approx(expected)
    assert {f"eval_{name}" for name in SCORES} <= set(scores)
