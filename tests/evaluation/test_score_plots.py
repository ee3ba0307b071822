# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Calibration against a computation by hand and scikit-learn; scores of subjects drawn where they belong."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from sklearn.calibration import calibration_curve

from dlink_hf.evaluation import score_plots
from dlink_hf.evaluation.score_plots import plot_reliability, plot_subject_scores, reliability


@pytest.fixture
def drawn(monkeypatch):
    figures, save = [], score_plots.save_figure
    monkeypatch.setattr(
        score_plots, "save_figure", lambda figure, path: (figures.append(figure), save(figure, path))[1]
    )
    return figures


def windows(n: int = 400, n_labels: int = 2):
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.ones(n_labels), n)
    return rng.integers(0, n_labels, n), probabilities


def test_reliability_is_that_of_scikit_learn():
    labels, probabilities = windows()
    found = reliability(labels, probabilities)
    right = probabilities.argmax(1) == labels
    accuracy, confidence = calibration_curve(right, probabilities.max(1), n_bins=10)
    filled = found["count"] > 0
    np.testing.assert_allclose(found["accuracy"][filled], accuracy)
    np.testing.assert_allclose(found["confidence"][filled], confidence)
    expected = (np.abs(accuracy - confidence) * found["count"][filled]).sum() / len(labels)
    assert found["ece"] == pytest.approx(expected)
    assert found["count"].sum() == 400 and found["count"][:5].sum() == 0 and np.isnan(found["accuracy"][0])


def test_a_model_that_is_as_sure_as_it_is_right_has_no_error():
    assert reliability([0, 0, 0, 1], [[0.75, 0.25]] * 4)["ece"] == 0
    assert reliability([1, 1], [[1.0, 0.0]] * 2)["ece"] == 1
    with pytest.raises(ValueError, match=r"got \(3,\) and \(2, 2\)"):
        reliability([0, 1, 0], np.full((2, 2), 0.5))


def test_the_diagram_names_every_model_and_counts_windows(tmp_path, drawn):
    labels, probabilities = windows()
    sure = np.eye(2)[labels]
    path = plot_reliability(labels, {"one": probabilities, "$x$": sure}, tmp_path / "plot.png")
    assert np.asarray(Image.open(path).convert("L")).std() > 1
    upper, lower = drawn[0].axes
    texts = [text.get_text() for text in upper.get_legend().get_texts()]
    assert texts[1].startswith("one (calibration error 0.") and texts[2].endswith("(calibration error 0.000)")
    assert sum(bar.get_height() for bar in lower.patches) == 800
    assert {line.get_marker() for line in upper.get_lines()[1:]} == {"s", "o"}


def test_subjects_are_ordered_by_one_model_and_only_common_ones_are_drawn(tmp_path, drawn):
    scores = {"teacher": {"a": 0.9, "b": 0.5, "c": 0.7}, "student": {"a": 0.6, "b": 0.8, "d": 1.0}}
    plot_subject_scores(scores, 0.5, tmp_path / "plot.png", highlight="student")
    axes = drawn[0].axes[0]
    assert [text.get_text() for text in axes.get_xticklabels()] == ["a", "b"]
    points = [dots.get_offsets()[:, 1].tolist() for dots in axes.collections[1:]]
    assert points == [[0.9, 0.5], [0.6, 0.8]]
    with pytest.raises(ValueError, match="no subject"):
        plot_subject_scores({"teacher": {"a": 1.0}, "student": {"b": 1.0}}, 0.5, tmp_path / "plot.png")


def test_names_of_many_subjects_do_not_run_into_each_other(tmp_path, drawn):
    for n in (12, 80):
        scores = {"student": {f"subject-with-a-long-name-{i:02d}": i / n for i in range(n)}}
        plot_subject_scores(scores, 0.5, tmp_path / "plot.png")
    few, many = (figure.axes[0].get_xticklabels() for figure in drawn)
    assert len(few) == 12 and not many
