# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Students as scikit-learn estimators: its conventions, its tools, MNE's Epochs, and what is refused."""

from __future__ import annotations

import pickle
import warnings
from pathlib import Path
from typing import Any

import mne
import numpy as np
import pytest
import torch
from head_tasks import alpha_power, two_rhythms
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.exceptions import NotFittedError
from sklearn.metrics import balanced_accuracy_score, r2_score
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.estimator_checks import (
    check_estimator,
    check_get_params_invariance,
    check_no_attributes_set_in_init,
    check_parameters_default_constructible,
    check_set_params,
)
from toy_training import NAMES, toy_dataset, toy_student

from dlink_hf import DLinkClassifier, DLinkRegressor, EEGFeatureExtractor, pipeline, predict_probabilities


SIGNAL = {"ch_names": NAMES, "sfreq": 200.0}
QUICK = {"size": "tiny", "steps": 60, "augmentation": None, **SIGNAL}


def arrays(subjects: list[str], seed: int = 0, n_windows: int = 20) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Windows (N, 4, 400) in microvolts, classes by name, subjects."""
    data = toy_dataset(subjects, n_windows, seed)
    names = np.array(["rest", "task"])
    return np.asarray(data["input_values"][:]), names[data["labels"][:]], np.asarray(data["subject"][:])


@pytest.fixture(scope="module")
def fitted() -> DLinkClassifier:
    X, y, groups = arrays(["a", "b", "c", "d"])
    return DLinkClassifier(**QUICK).fit(X, y, groups)


def test_fitted_it_tells_the_classes_of_subjects_unseen(fitted: DLinkClassifier) -> None:
    X, y, _ = arrays(["y", "z"], seed=1)
    assert fitted.classes_.tolist() == ["rest", "task"] and (fitted.n_channels_, fitted.n_times_) == (4, 400)
    assert balanced_accuracy_score(y, fitted.predict(X)) > 0.9 and fitted.score(X, y) > 0.9
    probabilities = fitted.predict_proba(X)
    np.testing.assert_allclose(probabilities.sum(1), 1.0)
    np.testing.assert_array_equal(fitted.classes_[probabilities.argmax(1)], fitted.predict(X))


@pytest.mark.parametrize("kind", [DLinkClassifier, DLinkRegressor])
def test_scikit_learns_conventions(kind: Any) -> None:
    name = kind.__name__
    check_no_attributes_set_in_init(name, kind())
    check_parameters_default_constructible(name, kind())
    check_get_params_invariance(name, kind())
    check_set_params(name, kind())
    with warnings.catch_warnings():
        # it has no checks of its own for windows of three axes, and says so
        warnings.simplefilter("ignore")
        check_estimator(kind())
    estimator = kind(**{**QUICK, "random_state": 7})
    assert clone(estimator).get_params() == estimator.get_params()
    assert is_classifier(kind()) is (kind is DLinkClassifier) and is_regressor(kind()) is (kind is DLinkRegressor)
    with pytest.raises(NotFittedError):
        estimator.predict(np.zeros((1, 4, 400)))


def test_the_same_seed_gives_the_same_student_and_leaves_random_numbers_alone() -> None:
    X, y, _ = arrays(["a", "b"])
    before = X.copy()
    estimator = DLinkClassifier(**{**QUICK, "steps": 5})
    np.random.seed(3), torch.manual_seed(3)
    first = estimator.fit(X, y).predict_proba(X)
    drawn = np.random.rand(), torch.rand(1).item()
    np.random.seed(3), torch.manual_seed(3)
    assert drawn == (np.random.rand(), torch.rand(1).item())
    np.testing.assert_array_equal(estimator.fit(X, y).predict_proba(X), first)
    np.testing.assert_array_equal(X, before)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(estimator)).predict_proba(X), first)
    # a window is judged by itself
    np.testing.assert_allclose(estimator.predict_proba(X[3:4]), first[3:4], rtol=1e-4)


def test_subjects_are_kept_apart_by_cross_validation_and_grid_search() -> None:
    X, y, groups = arrays(["a", "b", "c", "d"])
    scale = FunctionTransformer(lambda windows: windows - windows.mean(1, keepdims=True))
    student = make_pipeline(scale, DLinkClassifier(**QUICK))
    scores = cross_val_score(student, X, y, groups=groups, cv=GroupKFold(2), scoring="balanced_accuracy")
    assert scores.shape == (2,) and scores.min() > 0.8
    search = GridSearchCV(DLinkClassifier(**QUICK), {"steps": [1, 40]}, cv=GroupKFold(2), refit=False)
    assert search.fit(X, y, groups=groups).best_params_ == {"steps": 40}


def test_numbers() -> None:
    train, unseen = alpha_power(list("abcdef")), alpha_power(["y", "z"], seed=1)
    X, y = np.asarray(train["input_values"][:]), np.asarray(train["labels"][:])
    student = DLinkRegressor(**{**QUICK, "steps": 150}, loss="huber").fit(X, y)
    found = student.predict(np.asarray(unseen["input_values"][:]))
    assert found.shape == (80,) and np.corrcoef(found, unseen["labels"][:])[0, 1] > 0.9
    assert student.model_.config.regression_loss == "huber"
    score = student.score(np.asarray(unseen["input_values"][:]), unseen["labels"][:])
    assert score == pytest.approx(r2_score(unseen["labels"][:], found))
    both = DLinkRegressor(**{**QUICK, "steps": 2}).fit(X, np.c_[y, -y])
    assert both.predict(X[:3]).shape == (3, 2)


def test_several_labels_at_once() -> None:
    train = two_rhythms(list("abcd"))
    X, y = np.asarray(train["input_values"][:]), np.asarray(train["labels"][:]).astype(int)
    student = DLinkClassifier(**{**QUICK, "steps": 100}, class_weight="balanced").fit(X, y)
    assert student.predict(X).shape == y.shape and student.score(X, y) > 0.8
    assert student.predict_proba(X).max(0).shape == (2,)


def epochs_of(X: np.ndarray, y: np.ndarray, sfreq: float = 200.0) -> mne.EpochsArray:
    names = sorted(set(y))
    events = np.c_[np.arange(len(y)) * 1000, np.zeros(len(y), int), [names.index(label) + 1 for label in y]]
    info = mne.create_info([*NAMES, "EOG"], sfreq, ["eeg"] * 4 + ["eog"], verbose="ERROR")
    values = np.concatenate([X, np.zeros_like(X[:, :1])], axis=1) * 1e-6
    event_id = {name: i + 1 for i, name in enumerate(names)}
    return mne.EpochsArray(values, info, events=events.astype(int), event_id=event_id, tmin=0, verbose="ERROR")


def test_epochs_know_their_channels_rate_unit_and_classes(fitted: DLinkClassifier) -> None:
    X, y, _ = arrays(["a", "b"])
    epochs = epochs_of(X, y)
    np.testing.assert_allclose(fitted.predict_proba(epochs), fitted.predict_proba(X), rtol=1e-3, atol=1e-5)
    student = DLinkClassifier("tiny", steps=3, augmentation=None).fit(epochs)
    assert student.classes_.tolist() == ["rest", "task"] and student.extractor_.ch_names == NAMES
    parts = DLinkClassifier("tiny", steps=3, augmentation=None).fit([epochs[:10], epochs[10:]])
    np.testing.assert_allclose(parts.predict_proba(epochs), student.predict_proba(epochs), rtol=1e-3, atol=1e-4)


def test_other_rates_and_lengths_are_brought_to_the_models() -> None:
    X, y, _ = arrays(["a", "b"])
    slow = mne.filter.resample(X.astype(float), up=0.64, verbose="ERROR")
    student = DLinkClassifier("tiny", NAMES, 128.0, steps=3, augmentation=None).fit(slow, y)
    assert student.model_.config.sfreq == 200.0 and student.n_times_ == 400
    # 1.7 s has no whole number of seconds: one network of its own patches
    student = DLinkClassifier("tiny", NAMES, 200.0, steps=3, augmentation=None).fit(X[..., :340], y)
    assert student.n_times_ == 340 and student.predict(X[..., :340]).shape == (len(y),)


def test_a_session_is_aligned_by_subject(fitted: DLinkClassifier) -> None:
    X, y, groups = arrays(["a", "b"])
    loud = X * np.where(groups == "b", 7.0, 1.0)[:, None, None]
    student = DLinkClassifier(**{**QUICK, "steps": 3}, alignment="euclidean").fit(X, y, groups)
    np.testing.assert_allclose(
        student.predict_proba(loud, groups), student.predict_proba(X, groups), rtol=1e-3, atol=1e-4
    )
    assert not np.allclose(student.predict_proba(loud), student.predict_proba(X), atol=1e-3)


def test_a_student_taught_by_another_does_better_than_alone(fitted: DLinkClassifier) -> None:
    X, y, _ = arrays(["m"], seed=4, n_windows=6)
    unseen, labels, _ = arrays(["y", "z"], seed=1)
    few = {**QUICK, "steps": 40}
    taught = DLinkClassifier(**few, teacher=fitted.model_).fit(X, y)
    with pytest.raises(TypeError, match="of a fitted estimator its `model_`"):
        DLinkClassifier(**few, teacher=fitted).fit(X, y)
    gap = np.abs(taught.predict_proba(unseen) - fitted.predict_proba(unseen)).mean()
    alone = DLinkClassifier(**few).fit(X, y)
    assert gap < np.abs(alone.predict_proba(unseen) - fitted.predict_proba(unseen)).mean()
    assert taught.score(unseen, labels) > 0.7


def test_saved_published_and_loaded(fitted: DLinkClassifier, tmp_path: Path) -> None:
    X, _, _ = arrays(["y"], seed=1)
    fitted.save_pretrained(tmp_path)
    again = DLinkClassifier.from_pretrained(tmp_path)
    np.testing.assert_allclose(again.predict_proba(X), fitted.predict_proba(X), rtol=1e-5)
    assert again.classes_.tolist() == ["rest", "task"]
    found = pipeline(model=tmp_path)({"array": X, "ch_names": NAMES, "sfreq": 200.0, "unit": "uV"})
    assert [window["label"] for window in found] == fitted.predict(X).tolist()
    with pytest.raises(ValueError, match="DLinkClassifier.from_pretrained"):
        DLinkRegressor.from_pretrained(tmp_path)


def test_a_general_student_is_started_from(tmp_path: Path) -> None:
    student = toy_student()
    student.mic.save_pretrained(tmp_path)
    EEGFeatureExtractor(n_times=400).save_pretrained(tmp_path)
    X, y, _ = arrays(["a", "b"])
    started = DLinkClassifier(**{**QUICK, "steps": 1}, pretrained=tmp_path).fit(X, y)
    before = student.mic.filter_bank.filters.weight
    assert torch.allclose(started.model_.mic.filter_bank.filters.weight, before, atol=0.01)
    with pytest.warns(UserWarning, match="reads whole patches of 1 s: of each window the last 0.5 s are not read"):
        DLinkClassifier(**{**QUICK, "steps": 1}, pretrained=tmp_path).fit(X[..., :300], y)
    with pytest.raises(ValueError, match="give longer windows"):
        DLinkClassifier(**{**QUICK, "steps": 1}, pretrained=tmp_path).fit(X[..., :150], y)


@pytest.mark.parametrize(
    ("params", "spoil", "reason"),
    [
        ({"ch_names": None}, {}, r"does not tell its channels and rate: DLinkClassifier\(ch_names"),
        ({"ch_names": NAMES[:2]}, {}, "X has 4 channels, `ch_names` names 2"),
        ({}, {"X": np.zeros((20, 1600))}, r"must be windows \(n_windows, n_channels, n_samples\)"),
        ({}, {"y": np.repeat("rest", 20)}, "one class only, 'rest'"),
        ({}, {"y": np.repeat(np.nan, 20)}, "20 labels that are NaN or Inf"),
        ({}, {"y": np.linspace(0, 1, 20)}, "Numbers are told by DLinkRegressor"),
        ({}, {"y": np.array(["a", "b"])}, "2 labels were given for 20 windows"),
        ({}, {"groups": ["a"]}, "1 subjects were given for 20 windows"),
        ({}, {"y": None}, "only where X is MNE Epochs"),
        ({"alignment": "procrustes"}, {}, "alignment"),
        ({"size": "huge"}, {}, "`size`"),
    ],
)
def test_what_can_not_be_fitted(params: dict[str, Any], spoil: dict[str, Any], reason: str) -> None:
    X, y, _ = arrays(["a"])
    given = {"X": X, "y": y, **spoil}
    with pytest.raises(ValueError, match=reason):
        DLinkClassifier(**{**QUICK, **params}).fit(**given)


@pytest.mark.parametrize(
    ("y", "reason"),
    [(np.full(20, np.nan), "not a finite number"), (np.ones(20), r"same value of target \(1\)")],
)
def test_numbers_that_can_not_be_fitted(y: np.ndarray, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        DLinkRegressor(**QUICK).fit(arrays(["a"])[0], y)


def test_volts_taken_for_microvolts_are_refused() -> None:
    X, y, _ = arrays(["a"])
    with pytest.raises(ValueError, match="uV|microvolt"):
        DLinkClassifier(**QUICK).fit(X * 1e-6, y)


def test_probabilities_are_those_of_the_model(fitted: DLinkClassifier) -> None:
    X, _, _ = arrays(["y"], seed=1)
    np.testing.assert_allclose(fitted.predict_proba(X), predict_probabilities(fitted.model_, X), rtol=1e-4)
