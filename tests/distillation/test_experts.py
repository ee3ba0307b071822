# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Experts: never asked about their own people, weighed as an optimiser would, asked about the very views."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import minimize


pytest.importorskip("braindecode", reason="teachers need braindecode: pip install 'dlink-hf[teachers]'")

from toy_training import arguments, toy_dataset, toy_student, toy_studio  # noqa: E402

from dlink_hf import (  # noqa: E402
    DLinkTrainer,
    EEGAugmentation,
    EEGDataCollator,
    SignalInfo,
    add_soft_targets,
    cross_fitted_soft_targets,
    expert_soft_targets,
    fit_experts,
    set_signal_info,
    with_unlabelled,
)
from dlink_hf.distillation.experts import StudentExpert, fit_expert  # noqa: E402
from dlink_hf.distillation.mixtures import mixture_weights  # noqa: E402
from dlink_hf.distillation.teacher_batches import NumberedCollator, NumberedRows  # noqa: E402
from dlink_hf.evaluation.predict import predict_probabilities  # noqa: E402


def windows(people, n_windows=6, seed=0):
    return set_signal_info(
        toy_dataset(people, n_windows=n_windows, seed=seed), SignalInfo(("C3", "Cz", "C4", "Pz"), 200.0, 400)
    )


@pytest.fixture(scope="module")
def few():
    """Four people with labels, three without."""
    return with_unlabelled(windows(["A", "B", "C", "D"]), windows(["X", "Y", "Z"], seed=1))


@pytest.fixture(scope="module")
def validation():
    return windows(["V1", "V2"], n_windows=9, seed=2)


class Spy:
    """A kind of expert that notes whom it has seen, and of whom it is asked."""

    def __init__(self):
        self.seen, self.labels, self.asked = [], [], []

    def __call__(self, train):
        number = len(self.seen)
        self.seen.append(set(train["subject"][:]))
        self.labels.append(set(np.asarray(train["labels"][:]).tolist()))
        self.asked.append([])

        def predict(dataset):
            self.asked[number] += list(dataset["subject"][:])
            return np.tile([0.1 * (number + 1), 1 - 0.1 * (number + 1)], (len(dataset), 1))

        return predict


def test_nobody_is_judged_by_a_model_that_has_seen_him(few):
    spy = Spy()
    found = expert_soft_targets([spy], few, n_folds=3, progress=False)
    assert len(spy.seen) == 3 and all(labels == {0, 1} for labels in spy.labels)
    assert set.union(*spy.seen) == {"A", "B", "C", "D"}
    targets, groups = found["soft_targets"][:], np.asarray(few["subject"][:])
    for person in "ABCD":
        unseen = [number for number, seen in enumerate(spy.seen) if person not in seen]
        assert len(unseen) == 1 and [person in asked for asked in spy.asked] == [i in unseen for i in range(3)]
        np.testing.assert_allclose(targets[groups == person][:, 0], 0.1 * (unseen[0] + 1), atol=1e-6)
    # of people without labels, all models are asked
    assert all({"X", "Y", "Z"} <= set(asked) for asked in spy.asked)
    np.testing.assert_allclose(targets[np.isin(groups, list("XYZ"))], np.tile([0.2, 0.8], (18, 1)), atol=1e-6)


def test_of_few_subjects_models_of_all_of_them_can_be_asked(few, validation):
    spy = Spy()
    ensemble = fit_experts([spy, "bandpower"], few, validation, n_folds=1, progress=False)
    assert spy.seen == [{"A", "B", "C", "D"}] and [len(models) for models in ensemble.models] == [1, 1]
    # they are weighed by nobody whom they have seen
    assert set(spy.asked[0]) == {"V1", "V2"} and ensemble.weights.sum() == pytest.approx(1.0)
    found = ensemble.soft_targets(few, progress=False)["soft_targets"][:]
    assert set(spy.asked[0]) == set("ABCDXYZ") | {"V1", "V2"}
    own = ensemble.models[1][0](few)
    spied = np.tile([0.1, 0.9], (len(few), 1))
    np.testing.assert_allclose(found, ensemble.weights[0] * spied + ensemble.weights[1] * own, atol=1e-6)


def test_without_anybody_unseen_they_weigh_the_same(few):
    ensemble = fit_experts([Spy(), Spy()], few, n_folds=1, progress=False)
    assert ensemble.weights.tolist() == [0.5, 0.5] and not ensemble.scores
    one = with_unlabelled(windows(["A"]), windows(["X"], seed=1))
    assert len(fit_experts(["bandpower"], one, n_folds=1, progress=False).models[0]) == 1
    with pytest.raises(ValueError, match="n_folds"):
        fit_experts(["bandpower"], few, n_folds=0, progress=False)


def test_cross_fitting_by_a_function_does_the_same(few):
    spy = Spy()
    found = cross_fitted_soft_targets(spy, few, n_folds=3)
    expected = expert_soft_targets([Spy()], few, n_folds=3, progress=False)
    np.testing.assert_allclose(found["soft_targets"][:], expected["soft_targets"][:], atol=1e-6)
    assert all(labels == {0, 1} for labels in spy.labels)


def test_unlabelled_windows_of_a_labelled_person_are_his(few):
    """One session with labels, one without: the model that has seen the first is not asked about the second."""
    both = with_unlabelled(windows(["A", "B", "C"]), windows(["A"], seed=3))
    spy = Spy()
    expert_soft_targets([spy], both, n_folds=3, progress=False)
    for seen, asked in zip(spy.seen, spy.asked, strict=True):
        assert not seen & set(asked)


@pytest.mark.parametrize("n_experts", [2, 4])
def test_weights_are_those_of_an_optimiser(n_experts):
    generator = np.random.default_rng(n_experts)
    labels, groups = generator.integers(0, 3, 120), np.repeat(np.arange(6), 20)
    logits = 0.7 * generator.normal(size=(n_experts, 120, 3))
    logits[:, np.arange(120), labels] += np.linspace(0.2, 1.2, n_experts)[:, None]
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)

    def loss(weights):
        per_window = -np.log(np.einsum("m,mn->n", weights, p[:, np.arange(120), labels]))
        classes = [
            per_window[(groups == g) & (labels == c)].mean() for g in range(6) for c in set(labels[groups == g])
        ]
        sizes = [len(set(labels[groups == g])) for g in range(6) for _ in set(labels[groups == g])]
        return np.sum(np.array(classes) / np.array(sizes)) / 6

    start = np.full(n_experts, 1 / n_experts)
    simplex = {"type": "eq", "fun": lambda w: w.sum() - 1}
    expected = minimize(
        loss, start, method="SLSQP", bounds=[(1e-9, 1)] * n_experts, constraints=simplex, options={"ftol": 1e-12}
    )
    found = mixture_weights(p, labels, groups, equal_weights_people=0.0)
    assert expected.success
    np.testing.assert_allclose(found, expected.x, atol=2e-3)
    assert loss(found) <= loss(start) and loss(found) == pytest.approx(expected.fun, abs=1e-6)
    shrunk = mixture_weights(p, labels, groups, equal_weights_people=6.0)
    np.testing.assert_allclose(shrunk, (found + start) / 2, atol=1e-6)
    # one person says less than six
    alone = mixture_weights(p, labels, equal_weights_people=6.0)
    assert np.abs(alone - start).max() < 1 / 6


def test_an_expert_that_knows_outweighs_one_that_does_not(few, validation):
    def knows(train):
        return lambda dataset: 0.8 * np.eye(2)[np.asarray(dataset["labels"][:])] + 0.1

    def guesses(train):
        generator = np.random.default_rng(0)
        return lambda dataset: generator.dirichlet([1, 1], len(dataset))

    for held_out in (validation, None):
        ensemble = fit_experts([knows, guesses], few, held_out, progress=False)
        assert ensemble.names == ["knows", "guesses"] and ensemble.scores["knows"] == 1.0
        # four people with labels, and two of the validation split
        trust = 4 / (4 + 4) if held_out is None else 6 / (6 + 4)
        np.testing.assert_allclose(ensemble.weights, [0.5 + trust / 2, 0.5 - trust / 2], atol=1e-3)
    expected = ensemble.weights[0] * knows(None)(validation)
    assert (ensemble(validation) >= expected - 1e-9).all()


def test_a_student_is_trained_alike_by_the_same_seed_and_leaves_the_random_numbers_alone(few, validation):
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    fields = {"steps": 40, "size": "tiny", "progress": False}
    expert = fit_expert("student", few, seed=1, **fields)
    assert torch.equal(torch.rand(3), expected)
    first = expert(validation)
    np.testing.assert_allclose(first, fit_expert("student", few, seed=1, **fields)(validation), atol=1e-4)
    assert np.abs(first - fit_expert("student", few, seed=2, **fields)(validation)).max() > 1e-3
    assert (first.argmax(1) == validation["labels"][:]).mean() > 0.8


def student_kind(seed):
    def student(train):
        return StudentExpert(toy_student(seed=seed, dropout=0.0).eval())

    return student


@pytest.fixture(scope="module")
def augmentation():
    return EEGAugmentation({"time_shift": 1.0, "sign_flip": 0.5}, sfreq=200.0, seed=3)


def test_a_network_is_asked_about_the_very_views_that_a_batch_shows(few, augmentation):
    found = expert_soft_targets(
        [student_kind(0), "bandpower"], few, n_views=3, augmentation=augmentation, progress=False
    )
    ensemble = fit_experts([student_kind(0), "bandpower"], few, progress=False)
    assert np.shape(found["soft_targets"][:]) == (42, 3, 2)
    clean = ensemble.soft_targets(few, progress=False)["soft_targets"][:]
    rows = NumberedRows(found, 3)
    batch = NumberedCollator(EEGDataCollator(), augment=augmentation)
    model = toy_student(seed=0, dropout=0.0).eval()
    # what band power says of a window is the same of all its views
    linear = clean - ensemble.weights[0] * predict_probabilities(model, few)
    spread = []
    for view in range(3):
        rows.set_epoch(view)
        seen = batch(rows.__getitems__([5, 30, 41]))
        own = predict_probabilities(model, seen["input_values"].numpy())
        expected = ensemble.weights[0] * own + linear[[5, 30, 41]]
        np.testing.assert_allclose(seen["soft_targets"].numpy(), expected, atol=1e-5)
        spread.append(own)
    assert np.abs(spread[1] - spread[0]).max() > 1e-4
    np.testing.assert_allclose(np.asarray(found["soft_targets"][:])[:, 0], clean, atol=1e-6)


def test_a_trainer_takes_the_targets_of_the_views_that_it_shows(few, augmentation, tmp_path):
    told = add_soft_targets(few, np.random.default_rng(0).dirichlet([1, 1], (42, 2)))
    fields = {"num_train_epochs": 2, "mimic_epochs": 0, "class_weighting": "none"}
    trainer = DLinkTrainer(
        toy_studio(soft_target_weight=1.0),
        arguments(tmp_path, augmented_views=2, **fields),
        train_dataset=told,
        augmentation=augmentation,
    )
    trainer.train()
    log = [entry["soft_target_loss"] for entry in trainer.state.log_history if "soft_target_loss" in entry]
    assert len(log) == 8 and np.isfinite(log).all()
    for given, match in (({"augmented_views": 4}, r"got 4 view\(s\)\."), ({}, r"got 0 view\(s\)")):
        with pytest.raises(ValueError, match=match):
            DLinkTrainer(toy_studio(), arguments(tmp_path, **given), train_dataset=told, augmentation=augmentation)
    with pytest.raises(ValueError, match="no augmentation"):
        DLinkTrainer(toy_studio(), arguments(tmp_path, augmented_views=2), train_dataset=told)


def test_few_labelled_people_teach_a_student_by_many_without_labels(validation, tmp_path):
    """From four labelled people to a trained student, end to end: it beats what the same windows teach by chance."""
    train = with_unlabelled(
        windows(["A", "B", "C", "D"]),
        windows(["W", "X", "Y", "Z"], n_windows=9, seed=1),
        {"validation": validation},
    )
    told = expert_soft_targets(["bandpower", "student"], train, validation, steps=40, size="tiny", progress=False)
    targets = np.asarray(told["soft_targets"][:])
    truth = np.concatenate(
        [windows(["A", "B", "C", "D"])["labels"][:], windows(["W", "X", "Y", "Z"], n_windows=9, seed=1)["labels"][:]]
    )
    assert (targets.argmax(1) == truth)[24:].mean() > 0.8
    # nothing but the soft targets teaches it: no label, no teacher
    studio = toy_studio(task_weight=0.0, kd_weight=0.0, route_weight=0.0, spectral_weight=0.0, soft_target_weight=1.0)
    fields = {"num_train_epochs": 15, "learning_rate": 5e-3, "mimic_epochs": 0, "class_weighting": "balanced"}
    trainer = DLinkTrainer(studio, arguments(tmp_path, **fields), train_dataset=told, eval_dataset=validation)
    trainer.train()
    assert trainer.evaluate()["eval_balanced_accuracy"] > 0.75


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ({"kinds": ["forest"]}, "'forest' is none"),
        ({"kinds": []}, "none is given"),
        ({"kinds": ["bandpower", "bandpower"]}, "'bandpower' comes twice"),
        ({"n_views": 2}, "n_views=2"),
    ],
)
def test_what_can_not_be_asked_for_is_refused(few, fields, match):
    with pytest.raises(ValueError, match=match):
        expert_soft_targets(**{"kinds": ["bandpower"], "train": few, "progress": False, **fields})


def test_one_labelled_person_is_too_few(validation):
    one = with_unlabelled(windows(["A"]), windows(["X"], seed=1))
    with pytest.raises(ValueError, match="1 subject.* at least two"):
        expert_soft_targets(["bandpower"], one, validation)
    two = with_unlabelled(windows(["A", "B"]), windows(["X"], seed=1))
    assert len(fit_experts(["bandpower"], two, validation, progress=False).folds) == 2
