# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Scores by subject against scikit-learn, intervals against SciPy, and verdicts that say no more than the numbers."""

from __future__ import annotations

import re

import numpy as np
import pytest
from scipy.stats import bootstrap
from sklearn.metrics import balanced_accuracy_score

from dlink_hf.evaluation.comparison import (
    distillation_verdict,
    interval,
    paired_difference,
    subject_scores,
    teacher_verdict,
)


def scores(mean: float, n: int = 20, spread: float = 0.02, seed: int = 0) -> dict[str, float]:
    values = np.random.RandomState(seed).normal(0, spread, n)
    return {f"s{i:02}": float(mean + value) for i, value in enumerate(values - values.mean())}


def test_scores_by_subject_are_those_of_scikit_learn():
    rng = np.random.RandomState(0)
    labels, subjects = rng.randint(3, size=300), rng.choice(["a", "b", "c"], size=300)
    probabilities = rng.dirichlet(np.ones(3), size=300)
    labels[subjects == "c"] = 1
    found = subject_scores(labels, probabilities, subjects)
    assert sorted(found) == ["a", "b"], "a subject of one class has no balanced accuracy"
    for subject, score in found.items():
        rows = subjects == subject
        assert score == pytest.approx(balanced_accuracy_score(labels[rows], probabilities[rows].argmax(1)))


def test_the_interval_is_that_of_scipy():
    values = np.random.RandomState(1).normal(0.03, 0.05, 24)
    found = interval(values)
    told = bootstrap((values,), np.mean, method="percentile", n_resamples=10_000, rng=np.random.default_rng(5))
    assert found.mean == pytest.approx(values.mean())
    assert found.low == pytest.approx(told.confidence_interval.low, abs=2e-3)
    assert found.high == pytest.approx(told.confidence_interval.high, abs=2e-3)
    assert found.n_subjects == 24 and interval(values) == found


def test_the_difference_is_paired_over_common_subjects():
    # subjects differ far more than the models do: only pairing can tell the difference
    base = dict(zip(map(str, range(12)), np.linspace(0.5, 0.9, 12), strict=True))
    better = {subject: score + 0.01 for subject, score in base.items()} | {"stranger": 0.0}
    found = paired_difference(better, base)
    assert found.n_subjects == 12 and found.mean == pytest.approx(0.01) and found.low > 0.009
    with pytest.raises(ValueError, match="no scored subject in common"):
        paired_difference({"a": 0.5}, {"b": 0.5})
    with pytest.raises(ValueError, match="finite scores"):
        interval([])


def test_one_subject_has_no_interval():
    found = interval([0.6])
    assert np.isnan(found.low) and "no interval" in found.score() and "no interval" in found.points()


@pytest.mark.parametrize(
    ("gain", "helped", "words", "better"),
    [
        (0.05, True, "Distillation helped: \\+5.0", "distilled"),
        (-0.05, False, "Distillation did harm: -5.0", "alone"),
        (0.0, None, "can't be told", "distilled"),
    ],
)
def test_the_verdict_of_a_distillation(gain, helped, words, better):
    alone = {split: scores(0.7, seed=1) for split in ("validation", "test")}
    noise = scores(0.0, seed=2)
    student = {split: {s: v + gain + noise[s] for s, v in of.items()} for split, of in alone.items()}
    found = distillation_verdict(student, alone, {"test": scores(0.8), "validation": scores(0.8)}, 2)
    assert found["helped"] is helped and found["better_on_validation"] == better and found["split"] == "test"
    assert re.search(words, found["text"]), found["text"]
    assert "20 subjects of the test split" in found["text"]
    assert bool(found["advice"]) is not bool(helped)


def test_a_student_equal_to_its_teacher_is_told_why_nothing_was_gained():
    alone = {"validation": scores(0.7, seed=1), "test": scores(0.7, seed=1)}
    found = distillation_verdict(alone, alone, alone, 2)
    assert found["helped"] is None and "it knows no more" in found["advice"]


def test_random_labels_are_told():
    chance = {"validation": scores(0.5, seed=1), "test": scores(0.5, seed=1)}
    found = distillation_verdict(chance, chance, chance, 2)
    assert "near chance" in found["advice"] and "labels" in found["advice"]


def test_a_teacher_that_learned_nothing_is_told():
    found = teacher_verdict(scores(0.25, spread=0.05), scores(0.4), 4)
    assert not found["is_above_chance"] and "nothing to teach" in found["advice"]
    assert "chance 0.250" in found["text"] and "0.400" in found["text"]
    weak = teacher_verdict(scores(0.6), scores(0.7), 2)
    assert weak["is_above_chance"] and "Band power does better" in weak["advice"]
    strong = teacher_verdict(scores(0.8), scores(0.7), 2)
    assert strong["is_above_chance"] and strong["advice"] == ""
    assert strong["above_band_power"]["mean"] == pytest.approx(0.1)
