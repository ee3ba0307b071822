# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Windows without a label: they enter every term that needs none, and no other."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss


pytest.importorskip("braindecode", reason="teachers need braindecode: pip install 'dlink-hf[teachers]'")

from toy_training import arguments, toy_dataset, toy_student, toy_studio, toy_views, weights  # noqa: E402

from dlink_hf import (  # noqa: E402
    DLinkTrainer,
    EEGDataCollator,
    alignment_info,
    classification_scores,
    evaluate_model,
    make_trainer,
    signal_info,
    with_unlabelled,
)
from dlink_hf.data.description import describe, teacher_signal_info, with_alignment_info  # noqa: E402
from dlink_hf.data.missing_labels import labels_of  # noqa: E402
from dlink_hf.distillation.losses import classification_loss, logit_distillation_loss  # noqa: E402
from dlink_hf.training.base_trainer import balanced_class_weights  # noqa: E402


LABEL_TERMS = {"task_loss", "router_task_loss"}
OFF = {"kd_weight": 0.0, "route_weight": 0.0, "spectral_weight": 0.0, "router_balance_weight": 0.0}


def without_labels(dataset, rows):
    """The dataset with the label -1 in some rows."""
    labels = np.asarray(dataset["labels"][:]).copy()
    labels[rows] = -1
    feature = dataset.features["labels"]
    return dataset.remove_columns("labels").add_column("labels", labels.tolist(), feature=feature)


@pytest.fixture
def batch():
    rows = toy_dataset(["S1"], n_windows=9)
    batch = EEGDataCollator()([rows[i] for i in range(9)])
    known = torch.tensor([True, False, True, True, False, True, True, False, True])
    return {**batch, "labels": batch["labels"].where(known, -1)}, known


def run(studio, batch, **fields):
    studio.zero_grad()
    output = studio(**batch, **fields)
    output.loss.backward()
    gradients = {name: p.grad.clone() for name, p in studio.named_parameters() if p.grad is not None}
    return output, gradients


@pytest.mark.parametrize("weighted", [False, True])
def test_the_cross_entropy_is_scikit_learns_over_the_labelled_windows(weighted):
    generator = np.random.default_rng(0)
    logits, labels = generator.normal(size=(12, 3)), generator.integers(-1, 3, 12)
    known = labels >= 0
    assert 0 < known.sum() < 12
    class_weights = np.array([0.5, 2.0, 1.3]) if weighted else np.ones(3)
    probabilities = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    share = class_weights[labels[known]]
    expected = log_loss(labels[known], probabilities[known], sample_weight=share, labels=[0, 1, 2])
    given = torch.tensor(class_weights, dtype=torch.float32) if weighted else None
    found = classification_loss(torch.tensor(logits), torch.tensor(labels), given)
    assert found.item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("class_weights", [None, torch.tensor([1.0, 2.0])])
def test_a_batch_without_labels_has_a_cross_entropy_of_zero_and_no_gradient(class_weights):
    logits = torch.randn(4, 2, requires_grad=True)
    loss = classification_loss(logits, torch.full((4,), -1), class_weights)
    loss.backward()
    assert loss.item() == 0.0 and torch.equal(logits.grad, torch.zeros_like(logits))


@pytest.mark.parametrize("class_weights", [None, torch.tensor([0.5, 2.0, 1.3])])
def test_two_parts_of_a_batch_make_the_loss_of_the_whole(class_weights):
    """What two processes do: each divides by the mean of both divisors; one of them holds no label."""
    logits, labels = torch.randn(8, 3), torch.tensor([0, -1, 2, 1, -1, -1, -1, -1])
    parts = [(logits[:4], labels[:4]), (logits[4:], labels[4:])]
    divisors: list[torch.Tensor] = []
    for part in parts:
        classification_loss(*part, class_weights, lambda share: divisors.append(share) or share)
    mean = torch.stack(divisors).mean()
    found = torch.stack([classification_loss(*part, class_weights, lambda _: mean) for part in parts]).mean()
    assert found.item() == pytest.approx(classification_loss(logits, labels, class_weights).item(), rel=1e-6)


def test_label_terms_are_those_of_the_labelled_windows_alone(batch):
    """Loss and gradient of the label terms: the batch with -1 equals the labelled windows by themselves."""
    both, known = batch
    labelled = {name: values[known] for name, values in both.items()}
    class_weights = torch.tensor([0.7, 1.4])
    studio = toy_studio(dropout=0.0, **OFF).eval()
    output, gradients = run(studio, both, class_weights=class_weights)
    expected, expected_gradients = run(studio, labelled, class_weights=class_weights)
    for name in LABEL_TERMS:
        torch.testing.assert_close(output.losses[name], expected.losses[name])
    torch.testing.assert_close(output.loss, expected.loss)
    assert gradients.keys() == expected_gradients.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, expected_gradients[name], msg=name, atol=1e-6, rtol=1e-4)


def test_all_other_terms_are_those_of_all_windows(batch):
    both, known = batch
    studio = toy_studio(dropout=0.0, soft_target_weight=0.5).eval()
    soft = torch.rand(9, 2).softmax(-1)
    rows = toy_dataset(["S1"], n_windows=9)
    told = {**both, "labels": EEGDataCollator()([rows[i] for i in range(9)])["labels"]}
    output, _ = run(studio, both, soft_targets=soft)
    expected, _ = run(studio, told, soft_targets=soft)
    assert output.losses.keys() == expected.losses.keys() > LABEL_TERMS
    for name in output.losses.keys() - LABEL_TERMS:
        torch.testing.assert_close(output.losses[name], expected.losses[name], msg=name)
    # and not those of the labelled windows alone
    part, _ = run(studio, {name: values[known] for name, values in both.items()}, soft_targets=soft[known])
    for name in ("kd_loss", "soft_target_loss", "route_loss", "magnitude_mimic_loss"):
        assert abs(output.losses[name] - part.losses[name]) > 1e-6, name
    expected_kd = logit_distillation_loss(output.logits, output.teacher_logits, studio.config.kd_temperature)
    assert output.losses["kd_loss"].item() == pytest.approx(expected_kd.item(), rel=1e-5)


def test_a_batch_without_any_label_still_teaches(batch):
    both, _ = batch
    studio = toy_studio(dropout=0.0).eval()
    output, gradients = run(studio, {**both, "labels": torch.full((9,), -1)})
    assert all(output.losses[name] == 0 for name in LABEL_TERMS) and torch.isfinite(output.loss)
    assert all(torch.isfinite(gradient).all() for gradient in gradients.values())
    assert max(g.abs().max() for name, g in gradients.items() if name.startswith("student.")) > 0


@pytest.mark.parametrize("label", [-2, 2])
def test_other_numbers_are_no_labels(batch, label):
    with pytest.raises(ValueError, match="0 ... 1"):
        toy_studio()(**{**batch[0], "labels": torch.full((9,), label)})


def test_weights_balance_the_labelled_windows():
    found = balanced_class_weights([0, 0, 0, 1, -1, -1], 2)
    torch.testing.assert_close(found, torch.tensor([4 / 6, 4 / 2]))
    with pytest.raises(ValueError, match=r"no window of class \[1\]"):
        balanced_class_weights([0, -1, -1], 2)


def test_a_trainer_learns_from_windows_without_labels(tmp_path):
    """Windows that nobody labelled move the student, and the label terms stay finite."""
    train = toy_dataset(["S1", "S2"], n_windows=6)
    partly = without_labels(train, np.arange(6, 12))
    found = {}
    for name, dataset in {"partly": partly, "none": without_labels(train, np.arange(12))}.items():
        fields = {"num_train_epochs": 1, "class_weighting": "none", "per_device_train_batch_size": 4}
        studio = toy_studio()
        before = weights(studio.student)
        trainer = DLinkTrainer(studio, arguments(tmp_path, mimic_epochs=0, **fields), train_dataset=dataset)
        trainer.train()
        log = [entry for entry in trainer.state.log_history if "loss" in entry]
        assert all(np.isfinite(value) for entry in log for value in entry.values())
        found[name] = np.mean([entry["task_loss"] for entry in log])
        assert any(not torch.equal(before[key], value) for key, value in weights(studio.student).items())
    assert found["none"] == 0 and found["partly"] > 0
    with pytest.raises(ValueError, match=r"'validation' have no label \(-1\)"):
        DLinkTrainer(
            toy_studio(),
            arguments(tmp_path),
            train_dataset=partly,
            eval_dataset=without_labels(toy_dataset(["S4"]), [0]),
        )


def test_what_needs_every_label_refuses_those_without():
    dataset = without_labels(toy_dataset(["S1", "S2"]), [3, 4])
    with pytest.raises(ValueError, match=r"2 of 24 windows of 'train' have no label.*distil"):
        make_trainer(toy_student(), {"train": dataset}, arguments("unused"))
    with pytest.raises(ValueError, match=r"'validation' have no label.*score"):
        splits = {"train": toy_dataset(["S3"]), "validation": dataset}
        make_trainer(toy_student(), splits, arguments("unused"))
    with pytest.raises(ValueError, match="can't be scored"):
        evaluate_model(toy_student(), dataset)
    with pytest.raises(ValueError, match="can't be scored"):
        classification_scores([0, -1], [[0.5, 0.5], [0.5, 0.5]])
    with pytest.raises(ValueError, match="only a distillation"):
        toy_student()(torch.randn(2, 4, 400), labels=torch.tensor([0, -1]))


def test_students_that_see_less_learn_from_windows_without_labels_too(tmp_path):
    train = toy_views(["S1", "S2"], tmp_path)
    more = toy_views(["S3"], tmp_path, seed=1)
    joined = with_unlabelled(train, more.remove_columns("labels"), {"test": toy_views(["S4"], tmp_path)})
    assert len(joined) == len(train) + len(more) and (labels_of(joined)[len(train) :] == -1).all()
    assert teacher_signal_info(joined) == teacher_signal_info(train) is not None
    for column in ("input_values", "teacher_input_values"):
        np.testing.assert_array_equal(joined[len(train)][column], more[0][column])
    few = more.remove_columns("teacher_input_values")
    few.info.description = describe(signal_info(more))
    few.info.description = with_alignment_info(few.info.description, alignment_info(more))
    with pytest.raises(ValueError, match="nothing of its own of the unlabelled ones.*with_teacher_view"):
        with_unlabelled(train, few)
