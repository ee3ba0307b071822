# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Fine-tuning with transformers' ordinary Trainer: class weights, accumulation, stopping, what is refused."""

from __future__ import annotations

import copy
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from datasets import concatenate_datasets
from sklearn.utils.class_weight import compute_class_weight
from torch.nn import functional as F
from transformers import Trainer, TrainingArguments


pytest.importorskip("braindecode", reason="teachers need braindecode: pip install 'dlink-hf[teachers]'")

from toy_training import (  # noqa: E402
    LABELS,
    N_TIMES,
    NAMES,
    arguments,
    same,
    toy_dataset,
    toy_student,
    toy_teacher,
    weights,
)

from dlink_hf import (  # noqa: E402
    DLinkStudioModel,
    DLinkTeacherForEEGClassification,
    DLinkTrainer,
    EEGAugmentation,
)
from dlink_hf.data import SignalInfo, set_signal_info  # noqa: E402
from dlink_hf.training.finetuning import WeightedCrossEntropy, make_trainer  # noqa: E402


@pytest.fixture(scope="module")
def splits():
    return {
        "train": toy_dataset(["S1", "S2", "S3", "S4"]),
        "validation": toy_dataset(["S5", "S6"], seed=1),
        "test": toy_dataset(["S7"], seed=2),
    }


def plain(folder, **fields) -> TrainingArguments:
    return arguments(folder, TrainingArguments, **fields)


def losses(trainer: Trainer) -> list[float]:
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


@pytest.mark.parametrize("class_weighting", ["none", "balanced"])
def test_the_first_loss_is_the_weighted_cross_entropy(class_weighting, splits, tmp_path):
    teacher = toy_teacher(dropout=0.0)
    by_hand = copy.deepcopy(teacher).train()
    args = plain(tmp_path, num_train_epochs=1, per_device_train_batch_size=48)
    trainer = make_trainer(teacher, splits, args, class_weighting=class_weighting)
    assert isinstance(trainer, Trainer)
    trainer.train()
    labels = splits["train"]["labels"][:]
    assert np.bincount(labels).tolist() == [32, 16]
    balanced = compute_class_weight("balanced", classes=np.arange(2), y=labels)
    weight = torch.tensor(balanced if class_weighting == "balanced" else [1.0, 1.0], dtype=torch.float32)
    with torch.no_grad():
        logits = by_hand(torch.tensor(splits["train"]["input_values"][:])).logits
    expected = F.cross_entropy(logits, torch.tensor(labels), weight=weight)
    assert losses(trainer) == [pytest.approx(float(expected), rel=1e-4)]


def test_the_loss_counts_the_windows_of_all_accumulation_steps():
    torch.manual_seed(0)
    logits, labels = torch.randn(10, 3), torch.arange(10) % 3
    loss = WeightedCrossEntropy(torch.tensor([0.5, 1.0, 2.0]))
    whole = loss(SimpleNamespace(logits=logits), labels, num_items_in_batch=10)
    parts = sum(
        loss(SimpleNamespace(logits=logits[part]), labels[part], num_items_in_batch=10)
        for part in (slice(0, 7), slice(7, 10))
    )
    torch.testing.assert_close(parts, whole)
    expected = F.cross_entropy(logits, labels, weight=torch.tensor([0.5, 1.0, 2.0]), reduction="none").mean()
    torch.testing.assert_close(whole, expected)


@pytest.mark.parametrize("class_weighting", ["none", "balanced"])
def test_accumulating_equals_a_larger_batch(class_weighting, splits, tmp_path):
    """The teacher has no BatchNorm: exact but for rounding, also for the last step, which holds 4 windows, not 8."""
    short = {"train": splits["train"].shuffle(seed=3).select(range(20))}
    results = []
    for size, accumulation in ((8, 1), (4, 2)):
        teacher = toy_teacher(dropout=0.0)
        args = plain(
            tmp_path / str(size),
            per_device_train_batch_size=size,
            gradient_accumulation_steps=accumulation,
            learning_rate=5e-2,
            max_grad_norm=0.0,
            optim="sgd",
        )
        trainer = make_trainer(teacher, short, args, class_weighting=class_weighting)
        trainer.train()
        results.append((weights(teacher), losses(trainer)))
    (large, large_losses), (small, small_losses) = results
    assert len(large_losses) == len(small_losses) == 6
    assert small_losses == pytest.approx(large_losses, rel=1e-4)
    start = toy_teacher(dropout=0.0).state_dict()
    assert max(float((large[name] - start[name]).abs().max()) for name in large) > 1e-2
    for name in large:
        torch.testing.assert_close(small[name], large[name], atol=1e-5, rtol=1e-4, msg=name)


def test_a_student_learns_and_the_best_is_kept(splits, tmp_path):
    student = toy_student()
    args = plain(
        tmp_path,
        num_train_epochs=15,
        eval_strategy="epoch",
        save_strategy="epoch",
        save_total_limit=1,
        load_best_model_at_end=True,
        metric_for_best_model="balanced_accuracy",
        greater_is_better=True,
    )
    trainer = make_trainer(student, splits, args, class_weighting="balanced", early_stopping_patience=5)
    trainer.train()
    scores = [entry["eval_balanced_accuracy"] for entry in trainer.state.log_history if "eval_loss" in entry]
    assert len(scores) == min(15, int(np.argmax(scores)) + 1 + 5)
    assert trainer.evaluate()["eval_balanced_accuracy"] == max(scores) > 0.85
    assert trainer.predict(splits["test"]).metrics["test_balanced_accuracy"] > 0.7


def test_early_stopping_stops(splits, tmp_path):
    best = dict(load_best_model_at_end=True, eval_strategy="epoch", save_strategy="epoch")
    args = plain(tmp_path, num_train_epochs=20, learning_rate=0.0, **best)
    trainer = make_trainer(toy_teacher(), splits, args, early_stopping_patience=2)
    trainer.train()
    assert trainer.state.epoch == 3.0  # the teacher has no running statistics: nothing changes after the first


def test_resuming_changes_no_bit(splits, tmp_path):
    fields = dict(num_train_epochs=2, save_strategy="steps", save_steps=3)
    whole = make_trainer(toy_teacher(), splits, plain(tmp_path / "whole", **fields))
    whole.train()
    resumed = make_trainer(toy_teacher(seed=5), splits, plain(tmp_path / "resumed", **fields))
    resumed.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-3"))
    assert same(weights(whole.model), weights(resumed.model))


def test_a_trained_teacher_can_be_loaded(splits, tmp_path):
    trainer = make_trainer(toy_teacher(), splits, plain(tmp_path / "training", num_train_epochs=1))
    trainer.train()
    trainer.save_model(str(tmp_path / "teacher"))
    assert same(
        weights(DLinkTeacherForEEGClassification.from_pretrained(tmp_path / "teacher")), weights(trainer.model)
    )


def test_a_shared_subject_is_refused_between_any_two_splits(splits, tmp_path):
    leaky = concatenate_datasets([splits["test"], splits["train"].select(range(3))])
    for name in ("validation", "test"):
        with pytest.raises(ValueError, match="share 1 subject: S1"):
            make_trainer(toy_student(), {**splits, name: leaky}, plain(tmp_path))
    with pytest.raises(ValueError, match="`group_column` is 'recording', which 'train' and 'validation'"):
        make_trainer(toy_student(), splits, plain(tmp_path), group_column="recording")


def test_bad_arguments_are_errors(splits, tmp_path):
    args = plain(tmp_path)
    with pytest.raises(ValueError, match="named 'train', got \\['test'\\]"):
        make_trainer(toy_student(), {"test": splits["test"]}, args)
    with pytest.raises(ValueError, match="class_weighting.*'balanced'.*got 'auto'"):
        make_trainer(toy_student(), splits, args, class_weighting="auto")
    with pytest.raises(ValueError, match="load_best_model_at_end"):
        make_trainer(toy_student(), splits, args, early_stopping_patience=3)
    only = {"train": splits["train"].filter(lambda row: row["labels"] == 1)}
    with pytest.raises(ValueError, match=r"no window of class \[0\]"):
        make_trainer(toy_student(), only, args, class_weighting="balanced")


def test_labels_that_the_model_does_not_know_are_errors(splits, tmp_path):
    swapped = toy_student(id2label={0: "task", 1: "rest"})
    with pytest.raises(ValueError, match="knows the labels \\['task', 'rest'\\].*the order differs"):
        make_trainer(swapped, splits, plain(tmp_path))
    other = toy_student(id2label={0: "rest", 1: "sleep"})
    with pytest.raises(ValueError, match="does not know \\['task'\\]"):
        make_trainer(other, splits, plain(tmp_path))
    # a model without names takes any, but not more than it has logits
    three = {"train": toy_dataset(["S1"], names=["rest", "left", "right"])}
    unnamed = toy_student(id2label=None, num_labels=2)
    trainer = make_trainer(unnamed, three, plain(tmp_path))
    with pytest.raises(ValueError, match="must lie in 0 ... 1 for a model of 2 labels, got 0 ... 2"):
        trainer.train()


@pytest.mark.parametrize("build", ["make_trainer", "DLinkTrainer"])
@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        (SignalInfo(tuple(reversed(NAMES)), 200.0, N_TIMES), "ch_names"),
        (SignalInfo(tuple(NAMES), 100.0, N_TIMES), "100 Hz"),
    ],
)
def test_windows_of_another_montage_or_rate_are_not_trained_on(build, facts, reason, splits, tmp_path):
    said = {name: set_signal_info(split, facts) for name, split in splits.items()}
    with pytest.raises(ValueError, match=reason):
        if build == "make_trainer":
            make_trainer(toy_student(), said, plain(tmp_path))
        else:
            studio = DLinkStudioModel.from_parts(toy_teacher(), toy_student())
            DLinkTrainer(studio, arguments(tmp_path), train_dataset=said["train"], eval_dataset=said["validation"])


def test_a_distillation_refuses_labels_in_another_order(splits, tmp_path):
    studio = DLinkStudioModel.from_parts(toy_teacher(), toy_student())
    swapped = toy_dataset(["S1", "S2"], names=LABELS[::-1])
    with pytest.raises(ValueError, match="order differs"):
        DLinkTrainer(studio, arguments(tmp_path), train_dataset=swapped)


@pytest.mark.parametrize("weight", [None, [0.5, 1.0, 2.0]])
def test_smoothed_labels_are_torchs(weight):
    torch.manual_seed(0)
    logits, labels = torch.randn(12, 3), torch.arange(12) % 3
    weight = None if weight is None else torch.tensor(weight)
    loss = WeightedCrossEntropy(weight, label_smoothing=0.1)(SimpleNamespace(logits=logits), labels)
    torch.testing.assert_close(
        loss, F.cross_entropy(logits, labels, weight=weight, reduction="sum", label_smoothing=0.1) / 12
    )
    if weight is None:
        torch.testing.assert_close(loss, torch.nn.CrossEntropyLoss(label_smoothing=0.1)(logits, labels))
        # by hand: 0.9 of the label and a tenth spread over the three
        target = 0.9 * F.one_hot(labels, 3) + 0.1 / 3
        torch.testing.assert_close(loss, -(target * logits.log_softmax(-1)).sum(-1).mean())


@pytest.mark.parametrize("given", ["argument", "TrainingArguments"])
def test_the_trainer_smooths_labels(given, splits, tmp_path):
    teacher = toy_teacher(dropout=0.0)
    by_hand = copy.deepcopy(teacher)
    fields = {"label_smoothing_factor": 0.2} if given == "TrainingArguments" else {}
    args = plain(tmp_path, num_train_epochs=1, per_device_train_batch_size=48, **fields)
    trainer = make_trainer(teacher, splits, args, label_smoothing=0.2 if given == "argument" else None)
    trainer.train()
    with torch.no_grad():
        logits = by_hand(torch.tensor(splits["train"]["input_values"][:])).logits
    expected = F.cross_entropy(logits, torch.tensor(splits["train"]["labels"][:]), label_smoothing=0.2)
    assert losses(trainer) == [pytest.approx(float(expected), rel=1e-4)]
    with pytest.raises(ValueError, match=r"`label_smoothing` must lie in \[0, 1\), got 1"):
        make_trainer(teacher, splits, args, label_smoothing=1.0)


class _Watched(EEGAugmentation):
    """Notes what it was given."""

    def __call__(self, input_values, *step):
        output = super().__call__(input_values, *step)
        self.seen = [*getattr(self, "seen", []), (step, input_values, output)]
        return output


def test_training_windows_alone_are_augmented(splits, tmp_path):
    augmentation = _Watched({"sign_flip": 1.0}, sfreq=200.0)
    teacher = toy_teacher(dropout=0.0)
    args = plain(tmp_path, num_train_epochs=1, gradient_accumulation_steps=2, eval_strategy="epoch")
    trainer = make_trainer(teacher, splits, args, augmentation=augmentation)
    inputs = []
    teacher.register_forward_pre_hook(
        lambda module, _, kwargs: inputs.append(kwargs["input_values"]), with_kwargs=True
    )
    trainer.train()
    assert [step for step, _, _ in augmentation.seen] == [(0, 0, 0), (0, 1, 0), (1, 0, 0), (1, 1, 0)]
    assert len(inputs) == 5  # four batches of training, one of validation
    for (_, given, changed), used in zip(augmentation.seen, inputs, strict=False):
        assert torch.equal(changed, used) and torch.equal(changed, -given)
    assert torch.equal(inputs[-1], torch.tensor(splits["validation"]["input_values"][:]))
    trained = {window.tobytes() for _, given, _ in augmentation.seen for window in given.numpy()}
    assert trained == {window.tobytes() for window in splits["train"]["input_values"][:]}


@pytest.mark.parametrize("accumulation", [1, 2])
def test_resuming_an_augmented_training_changes_no_bit(accumulation, splits, tmp_path):
    fields = dict(
        num_train_epochs=2,
        save_strategy="steps",
        save_steps=1,
        gradient_accumulation_steps=accumulation,
        per_device_train_batch_size=12,
    )
    chosen = "time_shift=1,channel_dropout=1,noise=1,frequency_shift=1"
    both = dict(augmentation=chosen, learning_rate_decay=0.7)
    whole = make_trainer(toy_teacher(), splits, plain(tmp_path / "whole", **fields), **both)
    whole.train()
    plainly = make_trainer(toy_teacher(), splits, plain(tmp_path / "plainly", **fields))
    plainly.train()
    assert not same(weights(whole.model), weights(plainly.model))
    resumed = make_trainer(toy_teacher(seed=5), splits, plain(tmp_path / "resumed", **fields), **both)
    resumed.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-3"))
    assert same(weights(whole.model), weights(resumed.model))


def test_augmentations_of_a_trainer_take_the_models_rate_and_the_seed(splits, tmp_path):
    trainer = make_trainer(toy_teacher(), splits, plain(tmp_path, seed=7), augmentation=["noise"])
    assert trainer.augmentation.sfreq == 200.0 and trainer.augmentation.seed == 7
    assert trainer.augmentation.probabilities == {"noise": 0.5}
    with pytest.raises(ValueError, match="'blur' is none of time_shift"):
        make_trainer(toy_teacher(), splits, plain(tmp_path), augmentation="blur")
