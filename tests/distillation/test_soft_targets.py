# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Soft targets: made without the window's own people, refused where they are none, distilled beside the teacher."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import rel_entr, softmax
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, cross_val_predict


pytest.importorskip("braindecode", reason="teachers need braindecode: pip install 'dlink-hf[teachers]'")

from toy_training import arguments, toy_dataset, toy_studio  # noqa: E402

from dlink_hf import DLinkTrainer, EEGDataCollator, add_soft_targets, cross_fitted_soft_targets  # noqa: E402
from dlink_hf.evaluation.predict import predict_probabilities  # noqa: E402


SUBJECTS = ["S1", "S2", "S3", "S4", "S5"]


@pytest.fixture(scope="module")
def train_set():
    return toy_dataset(SUBJECTS, n_windows=9)


def log_power(dataset) -> np.ndarray:
    return np.log(np.square(dataset["input_values"][:]).mean(-1))


def fit(dataset):
    """A logistic regression on log power."""
    model = LogisticRegression().fit(log_power(dataset), dataset["labels"][:])
    return lambda other: model.predict_proba(log_power(other))


def test_the_labels_are_those_of_scikit_learns_cross_validation_by_person(train_set):
    found = cross_fitted_soft_targets(fit, train_set, n_folds=5)
    expected = cross_val_predict(
        LogisticRegression(),
        log_power(train_set),
        train_set["labels"][:],
        groups=train_set["subject"][:],
        cv=GroupKFold(5),
        method="predict_proba",
    )
    np.testing.assert_allclose(found["soft_targets"][:], expected, atol=1e-6)
    assert found["labels"][:].tolist() == train_set["labels"][:].tolist()
    np.testing.assert_array_equal(found["input_values"][:], train_set["input_values"][:])


def test_no_model_is_asked_about_people_that_it_was_trained_on(train_set):
    asked = []

    def spy(dataset):
        seen = set(dataset["subject"][:])

        def predict(other):
            asked.append((seen, set(other["subject"][:])))
            return np.full((len(other), 2), 0.5)

        return predict

    cross_fitted_soft_targets(spy, train_set, n_folds=3)
    assert len(asked) == 3 and all(not seen & others for seen, others in asked)
    assert set.union(*(others for _, others in asked)) == set(SUBJECTS)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda p: p[:-1], r"N = 45; got \(44, 2\)"),
        (lambda p: p[:, 0], r"got \(45,\)"),
        (lambda p: np.log(p + 1e-3), "softmax"),
        (lambda p: p * 0.5, "of sum 1"),
        (lambda p: np.where(np.arange(45)[:, None] == 3, np.nan, p), "window 3"),
    ],
)
def test_what_is_no_probability_is_refused(train_set, change, match):
    probabilities = np.full((45, 2), 0.5)
    with pytest.raises(ValueError, match=match):
        add_soft_targets(train_set, change(probabilities))


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ({"n_folds": 6}, "number of groups in 'subject', 5"),
        ({"n_folds": 1}, "got 1"),
        ({"group_column": "run"}, "'run'"),
    ],
)
def test_folds_that_cannot_be_made_are_refused(train_set, fields, match):
    with pytest.raises(ValueError, match=match):
        cross_fitted_soft_targets(fit, train_set, **fields)


def test_a_trainer_refuses_soft_targets_of_other_classes(train_set, tmp_path):
    three = add_soft_targets(train_set, np.full((45, 3), 1 / 3))
    with pytest.raises(ValueError, match=r"\(N, 2\)"):
        DLinkTrainer(toy_studio(), arguments(tmp_path), train_dataset=three)


def test_the_term_is_hintons_divergence_from_the_soft_targets():
    studio = toy_studio(soft_target_weight=0.7, kd_temperature=3.0).eval()
    rows = toy_dataset(["S1"], n_windows=4)
    batch = EEGDataCollator()([rows[i] for i in range(4)])
    given = np.array([[0.9, 0.1], [0.5, 0.5], [0.2, 0.8], [1.0, 0.0]])
    with torch.no_grad():
        plain = studio(**batch)
        output = studio(**batch, soft_targets=torch.tensor(given, dtype=torch.float32))
        mimic = studio(**batch, soft_targets=torch.tensor(given, dtype=torch.float32), stage="mimic")
    target = softmax(np.log(np.maximum(given, 1e-4)) / 3.0, axis=-1)
    student = softmax(output.logits.double().numpy() / 3.0, axis=-1)
    expected = 9.0 * rel_entr(target, student).sum(-1).mean()
    assert output.losses["soft_target_loss"].item() == pytest.approx(expected, rel=1e-5)
    assert (output.loss - plain.loss).item() == pytest.approx(0.7 * expected, rel=1e-4)
    assert "soft_target_loss" not in {**plain.losses, **mimic.losses}


def test_a_student_learns_what_its_soft_targets_say_and_is_evaluated_without_them(train_set, tmp_path):
    """Told the opposite of the labels with all the weight, it says the opposite; stored features change nothing."""
    wrong = 1.0 - np.eye(2)[train_set["labels"][:]]
    told = add_soft_targets(train_set, wrong * 0.9 + 0.05)
    fields = {"num_train_epochs": 12, "learning_rate": 5e-3, "mimic_epochs": 0}
    studio = toy_studio(task_weight=0.0, kd_weight=0.0, route_weight=0.0, spectral_weight=0.0)
    trainer = DLinkTrainer(
        studio,
        arguments(tmp_path, teacher_cache_dir=str(tmp_path / "features"), **fields),
        train_dataset=told,
        eval_dataset=add_soft_targets(toy_dataset(["S6"], seed=1), np.full((12, 2), 0.5)),
    )
    trainer.train()
    said = predict_probabilities(trainer.model.student, train_set).argmax(-1)
    assert (said == train_set["labels"][:]).mean() < 0.2
    assert np.isfinite(trainer.evaluate()["eval_loss"])
