# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Students that give numbers, or several labels at once: trained, scored on subjects unseen, and distilled."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from head_tasks import RHYTHMS, alpha_power, multi_label_teacher, regression_teacher, regressor, two_rhythms
from toy_training import arguments, toy_dataset, toy_student
from transformers import TrainingArguments

from dlink_hf import (
    DLinkStudioModel,
    DLinkTrainer,
    MiCForEEGClassification,
    MiCForEEGRegression,
    evaluate_model,
    make_trainer,
    predict_outputs,
    predict_probabilities,
)
from dlink_hf.distillation.student_teacher import student_as_teacher


MANY, UNSEEN = list("abcdefgh"), list("wxyz")
MULTI_LABEL = {"problem_type": "multi_label_classification", "id2label": dict(enumerate(RHYTHMS))}


def fit(model: Any, train: Dataset, folder: Path, epochs: int = 12, **options: Any) -> Any:
    args = arguments(folder, TrainingArguments, num_train_epochs=epochs, per_device_train_batch_size=24)
    make_trainer(model, {"train": train}, args, **options).train()
    return model.eval()


def with_labels_of(dataset: Dataset, n_labelled: int, missing: Any) -> Dataset:
    """All windows, the labels of the first only."""
    labels = [label if row < n_labelled else missing for row, label in enumerate(dataset["labels"][:].tolist())]
    info, features = dataset.info.description, dataset.features
    dataset = dataset.remove_columns("labels").add_column("labels", labels, feature=features["labels"])
    dataset.info.description = info
    return dataset


@pytest.fixture(scope="module")
def trained_regressor(tmp_path_factory: Any) -> MiCForEEGRegression:
    torch.manual_seed(0)
    return fit(regressor(dropout=0.0), alpha_power(MANY, 40), tmp_path_factory.mktemp("fit"), epochs=25)


@pytest.fixture(scope="module")
def trained_multi_label(tmp_path_factory: Any) -> MiCForEEGClassification:
    torch.manual_seed(0)
    return fit(toy_student(dropout=0.0, **MULTI_LABEL), two_rhythms(MANY), tmp_path_factory.mktemp("fit"))


def test_the_amplitude_of_a_rhythm_is_told_of_subjects_unseen(trained_regressor: MiCForEEGRegression) -> None:
    unseen = alpha_power(UNSEEN, seed=1)
    scores, numbers = evaluate_model(trained_regressor, unseen)
    assert np.corrcoef(numbers[:, 0], unseen["labels"][:])[0, 1] > 0.95
    assert scores["pearson"] > 0.95 and scores["r2"] > 0.9 and scores["mae"] < 3.0
    assert set(scores["per_subject"]) == set(UNSEEN) and list(scores["per_target"]) == ["alpha (uV)"]
    with pytest.raises(ValueError, match=r"gives numbers, not probabilities: use predict_outputs"):
        predict_probabilities(trained_regressor, unseen)


def test_targets_are_standardised_by_the_training_windows(trained_regressor: MiCForEEGRegression) -> None:
    targets = np.asarray(alpha_power(MANY, 40)["labels"][:], dtype=np.float64)
    assert trained_regressor.config.target_mean == pytest.approx([targets.mean()], rel=1e-5)
    assert trained_regressor.config.target_std == pytest.approx([targets.std()], rel=1e-5)


@pytest.mark.parametrize("loss", ["mae", "huber"])
def test_the_other_losses_learn_too(tmp_path: Path, loss: str) -> None:
    model = fit(regressor(dropout=0.0, regression_loss=loss), alpha_power(MANY), tmp_path)
    assert evaluate_model(model, alpha_power(UNSEEN, seed=1))[0]["pearson"] > 0.85


def test_a_unit_of_another_size_is_learnt_as_well(tmp_path: Path) -> None:
    """Targets in volts, a millionth of the numbers in microvolts."""
    train, unseen = alpha_power(MANY), alpha_power(UNSEEN, seed=1)
    small = train.map(lambda row: {"labels": row["labels"] * np.float32(1e-6)}, load_from_cache_file=False)
    small.info.description = train.info.description
    numbers = predict_outputs(fit(regressor(dropout=0.0), small, tmp_path), unseen)[:, 0]
    assert np.corrcoef(numbers, unseen["labels"][:])[0, 1] > 0.9 and 0 < numbers.mean() < 4e-5


def test_two_rhythms_that_come_and_go_by_themselves(trained_multi_label: MiCForEEGClassification) -> None:
    scores, probabilities = evaluate_model(trained_multi_label, two_rhythms(UNSEEN, seed=1))
    assert min(row["f1"] for row in scores["per_label"].values()) > 0.9 and scores["exact_match"] > 0.85
    # each label of a probability of its own
    assert probabilities.shape == (160, 2) and probabilities.sum(1).max() > 1.5 and probabilities.sum(1).min() < 0.5


def test_balanced_weights_of_labels_count_how_often_each_does_not_hold(tmp_path: Path) -> None:
    dataset = two_rhythms(["a", "b"], 30)
    labels = np.asarray(dataset["labels"][:])
    model = toy_student(dropout=0.0, **MULTI_LABEL)
    trainer = make_trainer(
        model, {"train": dataset}, arguments(tmp_path, TrainingArguments), class_weighting="balanced"
    )
    expected = torch.nn.BCEWithLogitsLoss(pos_weight=torch.tensor((1 - labels).sum(0) / labels.sum(0)))
    logits, targets = torch.randn(5, 2), torch.randint(0, 2, (5, 2)).float()
    found = trainer.compute_loss_func(type("Output", (), {"logits": logits}), targets)
    assert found.item() == pytest.approx(expected(logits.double(), targets.double()).item(), rel=1e-5)


def distil(teacher: Any, student: Any, train: Dataset, folder: Path, **options: Any) -> Any:
    studio = DLinkStudioModel.from_parts(student_as_teacher(teacher), student, **options)
    args = arguments(folder, num_train_epochs=12, per_device_train_batch_size=24)
    trainer = DLinkTrainer(studio, args, train_dataset=train, eval_dataset=alpha_or_rhythms(student, ["v"], 2))
    trainer.train()
    trainer.evaluate()
    return trainer


def alpha_or_rhythms(model: Any, subjects: list[str], seed: int) -> Dataset:
    return (alpha_power if isinstance(model, MiCForEEGRegression) else two_rhythms)(subjects, seed=seed)


def test_a_regressions_teacher_beats_none_where_labels_are_few(
    trained_regressor: MiCForEEGRegression, tmp_path: Path
) -> None:
    few = with_labels_of(alpha_power(["m", "n", "o", "p"], seed=3), 8, float("nan"))
    scale = {"target_mean": [20.0], "target_std": [10.0], "dropout": 0.0, "mimic_size": 16}
    trainer = distil(trained_regressor, regressor(**scale), few, tmp_path / "taught")
    alone = fit(regressor(**scale), few.select(range(8)), tmp_path / "alone", epochs=60)
    unseen = alpha_power(UNSEEN, seed=1)
    taught = evaluate_model(trainer.model.student, unseen)[0]
    assert taught["pearson"] > evaluate_model(alone, unseen)[0]["pearson"] + 0.1 and taught["pearson"] > 0.85
    log = next(entry for entry in trainer.state.log_history if "eval_r2" in entry)
    assert math.isfinite(log["eval_loss"]) and "eval_balanced_accuracy" not in log
    trainer.create_model_card("alpha")
    card = (tmp_path / "taught" / "README.md").read_text()
    assert "MiCForEEGRegression" in card and "| R2 |" in card and "alpha (uV)" in card and "softmax" not in card


def test_a_teacher_of_several_labels_beats_none_where_labels_are_few(
    trained_multi_label: MiCForEEGClassification, tmp_path: Path
) -> None:
    few = with_labels_of(two_rhythms(["m", "n", "o", "p"], seed=3), 8, [-1, -1])
    fields = {**MULTI_LABEL, "dropout": 0.0, "mimic_size": 16}
    trainer = distil(trained_multi_label, toy_student(**fields), few, tmp_path / "taught")
    alone = fit(toy_student(**fields), few.select(range(8)), tmp_path / "alone", epochs=60)
    unseen = two_rhythms(UNSEEN, seed=1)
    taught = evaluate_model(trainer.model.student, unseen)[0]
    assert taught["macro_f1"] > evaluate_model(alone, unseen)[0]["macro_f1"] + 0.02 and taught["macro_f1"] > 0.9
    trainer.create_model_card("rhythms")
    card = (tmp_path / "taught" / "README.md").read_text()
    assert "sigmoid" in card and "| macro F1 |" in card and "By label" in card


@pytest.mark.parametrize(("teacher", "data"), [(regression_teacher, alpha_power), (multi_label_teacher, two_rhythms)])
def test_foundation_models_of_every_kind_train_and_teach(tmp_path: Path, teacher: Any, data: Any) -> None:
    """Two steps of each: the teacher by itself, then a studio with all terms of the layers, several teachers too."""
    train, first, second = data(["a", "b"], 6), teacher(), teacher()
    fit(first, train, tmp_path / "teacher", epochs=2)
    student = regressor() if data is alpha_power else toy_student(**MULTI_LABEL)
    for teachers in (first, [first, second]):
        studio = DLinkStudioModel.from_parts(teachers, student, route_weight=1.0, spectral_weight=0.5)
        trainer = DLinkTrainer(studio, arguments(tmp_path / "studio", max_steps=2), train_dataset=train)
        trainer.train()
        log = next(entry for entry in trainer.state.log_history if "kd_loss" in entry)
        assert all(math.isfinite(log[name]) for name in ("task_loss", "kd_loss", "router_task_loss", "route_loss"))


def nan_targets(dataset: Dataset) -> Dataset:
    return with_labels_of(dataset, 3, float("nan"))


def constant_targets(dataset: Dataset) -> Dataset:
    return with_labels_of(dataset, 0, 37.0)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (nan_targets, r"9 of 12 windows of 'train' have a label that is not a finite number: the first is window 3"),
        (constant_targets, r"same value of alpha \(uV\) \(37\): there is nothing to learn"),
    ],
)
def test_targets_that_can_not_be_learnt(tmp_path: Path, spoil: Any, reason: str) -> None:
    splits, args = {"train": spoil(alpha_power(["a"], 12))}, arguments(tmp_path, TrainingArguments)
    with pytest.raises(ValueError, match=reason):
        make_trainer(regressor(), splits, args)


def test_labels_of_another_kind_are_refused(tmp_path: Path) -> None:
    args = arguments(tmp_path, TrainingArguments)
    with pytest.raises(ValueError, match=r"have one class each \(rest, task\)"):
        make_trainer(regressor(), {"train": toy_dataset(["a"])}, args)
    with pytest.raises(ValueError, match=r"labels of shape \(1,\), the model has 2 output\(s\): alpha over C3, beta"):
        make_trainer(toy_student(**MULTI_LABEL), {"train": alpha_power(["a"], 6)}, args)
    with pytest.raises(ValueError, match="'balanced'` is for classes; a regression has none"):
        make_trainer(regressor(), {"train": alpha_power(["a"], 6)}, args, class_weighting="balanced")
    one = with_labels_of(two_rhythms(["a"], 12), 0, [1, 0])
    with pytest.raises(ValueError, match=r"same value of alpha over C3 \(1\), beta over C4 \(0\)"):
        make_trainer(toy_student(**MULTI_LABEL), {"train": one}, args)


def test_a_teacher_of_classes_does_not_teach_numbers() -> None:
    with pytest.raises(ValueError, match="problem_type"):
        DLinkStudioModel.from_parts(multi_label_teacher(), toy_student())
