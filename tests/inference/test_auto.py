# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Auto classes: the package's own, transformers' own, and the new heads of backbones."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import AutoConfig, AutoFeatureExtractor, AutoModel, BertConfig

from dlink_hf import (
    AutoModelForEEGClassification,
    DLinkTeacherConfig,
    DLinkTeacherForEEGClassification,
    DLinkTeacherModel,
    EEGFeatureExtractor,
    MiCConfig,
    MiCForEEGClassification,
    MiCModel,
    load_classifier,
)


NAMES = ["C3", "Cz", "C4"]
LABELS = {0: "rest", 1: "left", 2: "right"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A backbone, a student of three classes, and a teacher, each in a folder."""
    folder = tmp_path_factory.mktemp("auto")
    torch.manual_seed(0)
    config = MiCConfig.from_size("tiny", ch_names=NAMES, n_times=400)
    MiCModel(config).save_pretrained(folder / "backbone")
    EEGFeatureExtractor(n_times=400, l_freq=0.5).save_pretrained(folder / "backbone")
    labelled = MiCConfig.from_size("tiny", ch_names=NAMES, n_times=400, id2label=LABELS)
    MiCForEEGClassification(labelled).save_pretrained(folder / "student")
    network = nn.Sequential(nn.Conv1d(3, 8, 50, stride=50), nn.Conv1d(8, 8, 3, padding=1))
    DLinkTeacherForEEGClassification.from_module(
        network, ["0", "1"], "b d p", ch_names=NAMES, sfreq=200.0, n_times=400, id2label=LABELS
    ).save_pretrained(folder / "teacher")
    return folder


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """What transformers and this package log; transformers' loggers do not hand on by themselves."""
    library = logging.getLogger("transformers")
    library.addHandler(caplog.handler)
    # a command that ran before in this process leaves errors alone
    level = library.level
    library.setLevel(logging.WARNING)
    yield caplog
    library.setLevel(level)
    library.removeHandler(caplog.handler)


def test_the_checkpoint_says_which_class(folder: Path) -> None:
    student = AutoModelForEEGClassification.from_pretrained(folder / "student")
    assert type(student) is MiCForEEGClassification and not student.training and student.dtype == torch.float32
    same = MiCForEEGClassification.from_pretrained(folder / "student")
    windows = torch.randn(2, 3, 400)
    torch.testing.assert_close(student(windows).logits, same(windows).logits, rtol=0, atol=0)
    assert student.config.id2label == LABELS
    network = nn.Sequential(nn.Conv1d(3, 8, 50, stride=50), nn.Conv1d(8, 8, 3, padding=1))
    teacher = AutoModelForEEGClassification.from_pretrained(folder / "teacher", module=network)
    assert type(teacher) is DLinkTeacherForEEGClassification and teacher(windows).logits.shape == (2, 3)


def test_a_model_of_a_config() -> None:
    model = AutoModelForEEGClassification.from_config(MiCConfig.from_size("tiny", ch_names=NAMES, num_labels=5))
    assert type(model) is MiCForEEGClassification and model.classifier.out_features == 5
    with pytest.raises(ValueError, match="MiCConfig, DLinkTeacherConfig"):
        AutoModelForEEGClassification.from_config(BertConfig())
    with pytest.raises(OSError, match="from_pretrained"):
        AutoModelForEEGClassification()


def test_transformers_own_auto_classes_know_the_package(folder: Path) -> None:
    assert type(AutoConfig.from_pretrained(folder / "student")) is MiCConfig
    assert type(AutoConfig.from_pretrained(folder / "teacher")) is DLinkTeacherConfig
    assert type(AutoModel.from_pretrained(folder / "backbone")) is MiCModel
    assert type(AutoModel.from_config(AutoConfig.from_pretrained(folder / "backbone"))) is MiCModel
    network = nn.Sequential(nn.Conv1d(3, 8, 50, stride=50), nn.Conv1d(8, 8, 3, padding=1))
    assert type(AutoModel.from_pretrained(folder / "teacher", module=network)) is DLinkTeacherModel
    extractor = AutoFeatureExtractor.from_pretrained(folder / "backbone")
    assert type(extractor) is EEGFeatureExtractor and (extractor.n_times, extractor.l_freq) == (400, 0.5)


def test_other_models_and_names_are_errors(tmp_path: Path) -> None:
    BertConfig(num_hidden_layers=1).save_pretrained(tmp_path / "bert")
    with pytest.raises(ValueError, match="MiCConfig, DLinkTeacherConfig"):
        AutoModelForEEGClassification.from_pretrained(tmp_path / "bert")
    with pytest.raises(OSError, match="looked for on the Hub as .*/no-such-student.*Known names: dlink-mic-tiny"):
        AutoModelForEEGClassification.from_pretrained("no-such-student", cache_dir=tmp_path)


@pytest.mark.parametrize("loader", [MiCForEEGClassification, AutoModelForEEGClassification])
@pytest.mark.parametrize(
    "fields", [{"num_labels": 3}, {"num_labels": 2}, {"id2label": LABELS, "ch_names": ["Fz", "Pz"]}]
)
def test_a_backbones_new_head_is_no_warning(
    folder: Path, log: pytest.LogCaptureFixture, loader: type, fields: dict
) -> None:
    model, info = loader.from_pretrained(folder / "backbone", output_loading_info=True, **fields)
    assert not log.records
    assert info["missing_keys"] == {"classifier.weight", "classifier.bias"} and not info["unexpected_keys"]
    assert model.config.num_labels == len(fields.get("id2label", range(fields.get("num_labels", 0))))
    assert model.config.ch_names == fields.get("ch_names", NAMES)
    saved = load_file(folder / "backbone" / "model.safetensors")
    assert all(torch.equal(value, saved[name]) for name, value in model.mic.state_dict().items())
    assert (
        model.classifier.weight.std() > 0
        and model(torch.randn(2, len(model.config.ch_names), 400)).logits.isfinite().all()
    )


@pytest.mark.parametrize("loader", [MiCForEEGClassification, AutoModelForEEGClassification])
def test_a_head_that_nobody_asked_for_is_said_once(folder: Path, log: pytest.LogCaptureFixture, loader: type) -> None:
    loader.from_pretrained(folder / "backbone")
    (record,) = log.records
    assert "is a backbone without a head" in record.getMessage() and "`num_labels=`" in record.getMessage()


def test_a_backbone_is_no_classifier(folder: Path) -> None:
    assert type(load_classifier(folder / "student")) is MiCForEEGClassification
    with pytest.raises(ValueError, match="backbone holds no head.*dlink finetune --student"):
        load_classifier(folder / "backbone")
    assert load_classifier(folder / "backbone", allow_backbone=True).config.num_labels == 2


@pytest.mark.parametrize("loader", [MiCForEEGClassification, AutoModelForEEGClassification])
def test_a_task_students_head_is_not_replaced_unasked(folder: Path, loader: type) -> None:
    with pytest.raises(ValueError, match="classifier.weight.*ignore_mismatched_sizes=True"):
        loader.from_pretrained(folder / "student", num_labels=4)
    assert (
        loader.from_pretrained(folder / "student", num_labels=4, ignore_mismatched_sizes=True).config.num_labels == 4
    )


@pytest.mark.parametrize("lost", [{"classifier.bias"}, {"classifier.bias", "classifier.weight"}])
def test_a_student_that_has_lost_its_head_is_said_and_refused(
    folder: Path, tmp_path: Path, log: pytest.LogCaptureFixture, lost: set[str]
) -> None:
    tensors = load_file(folder / "student" / "model.safetensors")
    save_file({key: value for key, value in tensors.items() if key not in lost}, tmp_path / "model.safetensors")
    config = json.loads((folder / "student" / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config))
    MiCForEEGClassification.from_pretrained(tmp_path, num_labels=3)
    assert "MISSING" in log.text and "classifier.bias" in log.text
    with pytest.raises(ValueError, match="holds no head, or not all of one"):
        load_classifier(tmp_path)


def test_a_pickle_is_never_read(tmp_path):
    model = MiCForEEGClassification(MiCConfig.from_size("tiny"))
    model.config.save_pretrained(tmp_path)
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    for cls in (MiCForEEGClassification, AutoModelForEEGClassification):
        with pytest.raises(OSError, match=r"model\.safetensors"):
            cls.from_pretrained(tmp_path)
        with pytest.raises(ValueError, match="never read"):
            cls.from_pretrained(tmp_path, use_safetensors=False)


def test_weights_that_were_cut_short_are_said(folder: Path, tmp_path: Path) -> None:
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((folder / "student" / name).read_bytes())
    whole = (tmp_path / "model.safetensors").read_bytes()
    for cut in (len(whole) - 7, 100, 0):
        (tmp_path / "model.safetensors").write_bytes(whole[:cut])
        with pytest.raises(ValueError, match="its weights are no whole safetensors file"):
            MiCForEEGClassification.from_pretrained(tmp_path)
