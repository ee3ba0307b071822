# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Scores of numbers and of several labels at once, against scikit-learn and SciPy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import rankdata
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    f1_score,
    mean_absolute_error,
    r2_score,
    roc_auc_score,
)

from dlink_hf import MiCConfig, compute_metrics_for, multi_label_scores, regression_scores


def numbers(n: int = 60) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    targets = rng.normal(40, 15, (n, 2))
    return targets, targets + rng.normal(3, 10, (n, 2))


def test_numbers_are_scored_as_elsewhere() -> None:
    targets, found = numbers()
    scores = regression_scores(targets, found, label_names=["age", "load"])
    for i, name in enumerate(["age", "load"]):
        one, alone = scores["per_target"][name], (targets[:, i], found[:, i])
        assert one["r2"] == pytest.approx(r2_score(*alone)) and one["mae"] == pytest.approx(
            mean_absolute_error(*alone)
        )
        assert one["spearman"] == pytest.approx(np.corrcoef(rankdata(alone[0]), rankdata(alone[1]))[0, 1])
        assert one["pearson"] == pytest.approx(np.corrcoef(*alone)[0, 1])
    assert scores["r2"] == pytest.approx(r2_score(targets, found))
    assert scores["rmse"] == pytest.approx(np.mean(np.sqrt(((targets - found) ** 2).mean(0))))


def test_numbers_by_subject_and_what_is_not_defined() -> None:
    targets, found = numbers()
    subjects = np.repeat(["a", "b", "c"], 20)
    scores = regression_scores(targets[:, 0], found[:, 0], subjects)
    rows = subjects == "b"
    assert scores["per_subject"]["b"]["mae"] == pytest.approx(mean_absolute_error(targets[rows, 0], found[rows, 0]))
    # one number for each subject, such as an age: no correlation within it
    ages = regression_scores(np.repeat([20.0, 50.0, 80.0], 20), found[:, 0], subjects)
    assert math.isnan(ages["per_subject"]["a"]["r2"]) and math.isnan(ages["per_subject"]["a"]["spearman"])
    assert math.isfinite(ages["r2"]) and math.isfinite(ages["per_subject"]["a"]["mae"])


def labels(n: int = 80) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    held = rng.integers(0, 2, (n, 3))
    return held, np.clip(0.5 * held + rng.uniform(0, 0.6, (n, 3)), 0, 1)


def test_labels_are_scored_as_elsewhere() -> None:
    held, probabilities = labels()
    named = probabilities >= 0.5
    scores = multi_label_scores(held, probabilities)
    assert scores["macro_f1"] == pytest.approx(f1_score(held, named, average="macro"))
    assert scores["micro_f1"] == pytest.approx(f1_score(held, named, average="micro"))
    assert scores["exact_match"] == pytest.approx(accuracy_score(held, named))
    assert scores["auroc"] == pytest.approx(roc_auc_score(held, probabilities, average="macro"))
    assert scores["auc_pr"] == pytest.approx(average_precision_score(held, probabilities, average="macro"))
    assert [row["f1"] for row in scores["per_label"].values()] == pytest.approx(f1_score(held, named, average=None))


def test_a_label_that_never_occurs_counts_for_nothing() -> None:
    held, probabilities = labels()
    held, probabilities = np.c_[held, np.zeros(len(held))], np.c_[probabilities, np.zeros(len(held))]
    scores, before = multi_label_scores(held, probabilities), multi_label_scores(*labels())
    assert scores["macro_f1"] == before["macro_f1"] and scores["auroc"] == before["auroc"]
    assert math.isnan(scores["per_label"]["3"]["recall"])


def test_the_trainers_scores_follow_the_config() -> None:
    targets, found = numbers()
    config = MiCConfig.from_size("tiny", problem_type="regression", num_labels=2)
    assert compute_metrics_for(config)((found, targets))["r2"] == pytest.approx(r2_score(targets, found))
    # one target may be (N,) in the windows, (N, 1) of the model
    assert compute_metrics_for(config)((found[:, :1], targets[:, 0]))["mae"] == pytest.approx(
        mean_absolute_error(targets[:, 0], found[:, 0])
    )
    config = MiCConfig.from_size("tiny", problem_type="multi_label_classification", num_labels=3)
    held, probabilities = labels()
    logits = np.log(np.clip(probabilities, 1e-9, 1 - 1e-9) / (1 - np.clip(probabilities, 1e-9, 1 - 1e-9)))
    scores = compute_metrics_for(config)((logits, held))
    assert scores["auroc"] == pytest.approx(multi_label_scores(held, probabilities)["auroc"])
    with pytest.warns(UserWarning, match="diverged"):
        assert math.isnan(compute_metrics_for(config)((np.full((4, 3), np.nan), held[:4]))["macro_f1"])
    assert "balanced_accuracy" in compute_metrics_for(MiCConfig())((np.eye(2), np.array([0, 1])))


@pytest.mark.parametrize(
    ("score", "given", "reason"),
    [
        (regression_scores, ([1.0, float("nan")], [1.0, 2.0]), "`targets` holds NaN or Inf in 1 windows"),
        (regression_scores, ([1.0], [1.0, 2.0]), "must both be"),
        (regression_scores, ([], []), "no windows to score"),
        (multi_label_scores, ([[0, 2]], [[0.1, 0.2]]), "must be zeros and ones"),
        (multi_label_scores, ([[0, 1]], [[-0.1, 5.0]]), "sigmoid"),
        (multi_label_scores, ([0, 1], [0.1, 0.2]), "must both be"),
    ],
)
def test_what_can_not_be_scored(score, given, reason) -> None:
    with pytest.raises(ValueError, match=reason):
        score(*given)
