# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Teachers and students that label patches: the teacher's head, the objective of a studio, its trainer, its files."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Array2D, Dataset, Features, List, Value
from torch.nn import functional as F
from toy_training import NAMES, arguments, toy_student, toy_teacher
from transformers import Trainer, TrainingArguments

import dlink_hf
from dlink_hf import (
    DLinkStudioModel,
    DLinkTeacherForEEGTokenClassification,
    DLinkTrainer,
    EEGDataCollator,
    EEGFeatureExtractor,
    MiCForEEGTokenClassification,
    load_classifier,
    token_scores,
)


LABELS = {"id2label": {0: "rest", 1: "burst"}, "label2id": None}


def teacher(**fields: Any) -> DLinkTeacherForEEGTokenClassification:
    torch.manual_seed(1)
    config = toy_teacher().config
    return DLinkTeacherForEEGTokenClassification(
        type(config).from_dict({**config.to_dict(), "n_times": 1200, **LABELS, **fields})
    )


def student(width: int, **fields: Any) -> MiCForEEGTokenClassification:
    torch.manual_seed(2)
    config = toy_student(dropout=0.0).config
    own = {"n_times": 1200, "mimic_size": width, **LABELS, **fields}
    return MiCForEEGTokenClassification(type(config).from_dict({**config.to_dict(), **own}))


def bursts(n: int, seed: int, n_labelled: int | None = None, amplitude: float = 12.0) -> Dataset:
    """Stretches of 6 s of noise, bursts of 10 Hz over C3 in whole seconds; all labels of the last ones are -100."""
    rng, time = np.random.default_rng(seed), np.arange(1200) / 200.0
    values, labels = [], []
    for index in range(n):
        held = (rng.uniform(size=6) < 0.4).astype(int)
        stretch = rng.uniform(6, 9) * rng.standard_normal((len(NAMES), 1200))
        stretch[0] += np.repeat(held, 200) * amplitude * np.sin(2 * np.pi * rng.uniform(9.5, 10.5) * time)
        values.append(stretch.astype(np.float32))
        labels.append(held.tolist() if n_labelled is None or index < n_labelled else [-100] * 6)
    features = Features(
        {"input_values": Array2D((len(NAMES), 1200), "float32"), "labels": List(Value("int64"), length=6)}
    )
    return Dataset.from_dict({"input_values": values, "labels": labels}, features=features).with_format("numpy")


def test_a_place_is_told_by_its_own_patches_alone() -> None:
    model = teacher(patches_per_label=2).eval()
    windows, labels = 20 * torch.randn(2, len(NAMES), 1200), torch.tensor([[0, 1, -100], [1, 1, 0]])
    with torch.no_grad():
        output = model(windows, labels=labels)
        tokens = model.head.norm(model.teacher(windows).last_hidden_state)
        if model.head.features is not None:
            tokens = F.gelu(model.head.features(tokens))
        second = tokens[:, :, 2:4].mean(2).flatten(1)
        assert torch.allclose(output.logits[:, 1], model.head.classifier(second), atol=1e-5)
    assert output.logits.shape == (2, 3, 2) and model.num_places == 3
    expected = F.cross_entropy(output.logits.flatten(0, 1), labels.flatten())
    assert torch.allclose(output.loss, expected, atol=1e-6)
    with pytest.raises(ValueError, match=r"6 patches of 200 samples, which `patches_per_label` \(4\) does not divide"):
        teacher(patches_per_label=4)
    with pytest.raises(ValueError, match="tells one class of each place"):
        teacher(problem_type="multi_label_classification")


def test_a_teacher_of_patches_is_saved_loaded_and_labels_recordings(tmp_path: Path) -> None:
    model = teacher().eval()
    model.save_pretrained(tmp_path)
    EEGFeatureExtractor(ch_names=NAMES, n_times=1200).save_pretrained(tmp_path)
    values = 20 * np.random.default_rng(0).standard_normal((len(NAMES), 2400))
    places = dlink_hf.pipeline(model=tmp_path)(values, ch_names=NAMES, sfreq=200.0, unit="uV")
    assert [place["onset"] for place in places] == list(range(12)) and places[0]["duration"] == 1.0
    with torch.no_grad():
        logits = model(torch.from_numpy(values[None, :, 1200:]).float()).logits[0].softmax(-1)
    assert places[8]["score"] == pytest.approx(logits[2].max().item(), rel=1e-4)
    with pytest.raises(ValueError, match="holds a model that labels patches, not whole windows"):
        load_classifier(tmp_path)


def test_the_objective_compares_every_place_with_the_teachers() -> None:
    first, second = teacher(), teacher(head_size=8)
    own = student(first.config.hidden_size)
    windows, labels = 20 * torch.randn(3, len(NAMES), 1200), torch.randint(0, 2, (3, 6))
    labels[0] = -100
    weights = torch.tensor([0.5, 2.0])
    studio = DLinkStudioModel.from_parts([first, second], own, kd_weight=0.7).eval()
    output = studio(windows, labels=labels, class_weights=weights)
    with torch.no_grad():
        mine = own(windows).logits.flatten(0, 1)
        theirs = torch.stack([one.eval()(windows).logits.softmax(-1) for one in (first, second)]).mean(0).log()
    assert torch.allclose(output.teacher_logits.softmax(-1), theirs.exp(), atol=1e-5)
    task = F.cross_entropy(mine, labels.flatten(), weight=weights)
    soft = [(logits / 2.0).log_softmax(-1) for logits in (mine, theirs.flatten(0, 1))]
    taught = 4.0 * F.kl_div(soft[0], soft[1], reduction="batchmean", log_target=True)
    assert output.losses["task_loss"].item() == pytest.approx(task.item(), rel=1e-4)
    assert output.losses["kd_loss"].item() == pytest.approx(taught.item(), rel=1e-3)
    assert output.loss.item() == pytest.approx((task + 0.7 * taught).item(), rel=1e-3)
    # stretches without any label are taught all the same
    bare = studio(windows, labels=torch.full((3, 6), -100))
    assert bare.losses["task_loss"] == 0 and bare.loss > 0


def test_a_trainer_distils_scores_and_saves_a_student_of_patches(tmp_path: Path) -> None:
    first = teacher()
    studio = DLinkStudioModel.from_parts(first, student(first.config.hidden_size))
    args = arguments(tmp_path, max_steps=3, class_weighting="balanced")
    trainer = DLinkTrainer(studio, args, train_dataset=bursts(8, 0, 5), eval_dataset=bursts(4, 1))
    trainer.train()
    found = trainer.evaluate()
    labels = np.asarray(bursts(4, 1)["labels"][:])
    with torch.no_grad():
        windows = torch.from_numpy(np.asarray(bursts(4, 1)["input_values"][:]))
        logits = studio.student.eval()(windows.to(studio.device)).logits.cpu()
    scores = token_scores(labels, logits.softmax(-1).numpy())
    assert found["eval_macro_f1"] == pytest.approx(scores["macro_f1"], abs=1e-6)
    expected = F.cross_entropy(logits.flatten(0, 1), torch.from_numpy(labels).flatten()).item()
    assert found["eval_loss"] == pytest.approx(expected, rel=1e-4)
    assert all(math.isfinite(entry["kd_loss"]) for entry in trainer.state.log_history if "kd_loss" in entry)
    trainer.create_model_card("bursts")
    card = (tmp_path / "README.md").read_text("utf-8")
    assert "MiCForEEGTokenClassification" in card and "+ 1 * place" in card and "MiCForEEGClassification" not in card
    assert f"{scores['balanced_accuracy']:.3f}" in card and (tmp_path / "plots" / "confusion_matrix.png").is_file()
    usage = card.split("```python\n")[1].split("```")[0]
    compile(usage, "card", "exec")
    trainer.save_model(str(tmp_path / "student"))
    again = MiCForEEGTokenClassification.from_pretrained(tmp_path / "student").eval()
    with torch.no_grad():
        assert torch.allclose(again(windows).logits, logits, atol=1e-5)
    studio.save_pretrained(tmp_path / "studio")
    whole = DLinkStudioModel.from_pretrained(tmp_path / "studio")
    assert isinstance(whole.teacher, DLinkTeacherForEEGTokenClassification)
    with torch.no_grad():
        both = [model.eval().cpu()(windows).teacher_logits for model in (whole, studio)]
    assert torch.allclose(*both, atol=1e-5)


def test_parts_that_do_not_go_together_are_refused() -> None:
    width = teacher().config.hidden_size
    with pytest.raises(ValueError, match="do not go together: one labels patches, the other whole windows"):
        DLinkStudioModel.from_parts(teacher(), toy_student(mimic_size=width))
    with pytest.raises(ValueError, match="do not go together"):
        DLinkStudioModel.from_parts(toy_teacher(), student(width))
    with pytest.raises(ValueError, match=r"`route_weight` must be zero where patches are labelled"):
        DLinkStudioModel.from_parts(teacher(), student(width), route_weight=0.5)
    with pytest.raises(ValueError, match=r"labels of teacher and student last as long: 2 and 1 s"):
        DLinkStudioModel.from_parts(teacher(patches_per_label=2), student(width))


@pytest.mark.slow
def test_a_teacher_of_patches_helps_where_labels_are_few(tmp_path: Path) -> None:
    torch.manual_seed(0)
    first, unseen = teacher(), bursts(40, 9, amplitude=10.0)
    width = first.config.hidden_size
    labels = np.asarray(unseen["labels"][:])

    def fitted(model: Any, train: Dataset, name: str, epochs: int) -> None:
        fields = {"num_train_epochs": epochs, "per_device_train_batch_size": 16, "learning_rate": 2e-3}
        args = arguments(tmp_path / name, TrainingArguments, **fields)
        Trainer(model, args, data_collator=EEGDataCollator(), train_dataset=train).train()

    def score(model: Any) -> float:
        with torch.no_grad():
            windows = torch.from_numpy(np.asarray(unseen["input_values"][:]))
            logits = model.cpu().eval()(windows).logits
        return token_scores(labels, logits.softmax(-1).numpy())["cohen_kappa"]

    fitted(first, bursts(200, 0, amplitude=10.0), "teacher", 30)
    alone, taught = student(width), student(width)
    few = bursts(100, 5, 1, amplitude=10.0)
    fitted(alone, few.select(range(1)), "alone", 120)
    args = arguments(tmp_path / "taught", num_train_epochs=30, per_device_train_batch_size=16)
    DLinkTrainer(DLinkStudioModel.from_parts(first, taught), args, train_dataset=few).train()
    found = {"teacher": score(first), "taught": score(taught), "alone": score(alone)}
    assert found["taught"] > found["alone"] + 0.05, found
