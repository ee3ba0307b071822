# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""What every trainer of the package writes: the arguments as JSON, and an access token nowhere."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import Trainer, TrainingArguments


pytest.importorskip("braindecode", reason="teachers need braindecode: pip install 'dlink-hf[teachers]'")

from toy_training import LABELS, NAMES, arguments, same, toy_dataset, toy_student, toy_studio, weights  # noqa: E402

from dlink_hf import (  # noqa: E402
    BackboneStudio,
    BackboneTrainer,
    DLinkRouterConfig,
    DLinkTeacherConfig,
    DLinkTeacherModel,
    DLinkTrainer,
    EEGDataCollator,
    EEGFeatureExtractor,
    MiCConfig,
    MiCModel,
    PretrainingTrainer,
    SignalInfo,
    WindowSource,
    make_trainer,
    set_signal_info,
)
from dlink_hf.distillation.general.backbone_distillation import LabelledSet  # noqa: E402
from dlink_hf.training.pretraining import DLinkTeacherForPretraining  # noqa: E402


SMALL = {
    "n_times": 400,
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_filters": 6,
    "compressed_size": 4,
}
TOKEN = "hf_theSecretThatNobodyMayRead"


def finetuning(folder: Path, **fields: Any) -> Trainer:
    args = arguments(folder, TrainingArguments, **fields)
    return make_trainer(toy_student(), {"train": toy_dataset(["a", "b"])}, args, processing_class=extractor())


def distillation(folder: Path, **fields: Any) -> Trainer:
    args = arguments(folder, **fields)
    return DLinkTrainer(toy_studio(), args, train_dataset=toy_dataset(["a", "b"]), processing_class=extractor())


def pretraining(folder: Path, **fields: Any) -> Trainer:
    torch.manual_seed(0)
    kwargs = {"n_layer": 1, "dim_feedforward": 16, "nhead": 4, "drop_prob": 0.0}
    config = DLinkTeacherConfig(backbone_kwargs=kwargs, ch_names=NAMES, n_times=400, input_scale=0.5)
    args = arguments(folder, TrainingArguments, **fields)
    windows = [toy_dataset(["a", "b"])]
    return PretrainingTrainer(DLinkTeacherForPretraining(config), args, windows, processing_class=extractor())


def backbone(folder: Path, **fields: Any) -> Trainer:
    torch.manual_seed(0)
    kwargs = {"n_layer": 2, "dim_feedforward": 16, "nhead": 4, "drop_prob": 0.0}
    teacher = DLinkTeacherModel(DLinkTeacherConfig(backbone_kwargs=kwargs, ch_names=["Fz", "Oz", "Pz"], n_times=600))
    student = MiCModel(MiCConfig(**SMALL))
    router = DLinkRouterConfig(num_layers=2, router_size=4)
    studio = BackboneStudio(teacher, student, {"tones": LabelledSet(len(NAMES), len(LABELS))}, router)
    signal = SignalInfo(tuple(NAMES), 200.0, 400)
    sources = [WindowSource(set_signal_info(toy_dataset(["a", "b"]), signal), "tones", True)]
    return BackboneTrainer(
        studio, arguments(folder, TrainingArguments, **fields), sources, processing_class=extractor()
    )


def extractor() -> EEGFeatureExtractor:
    return EEGFeatureExtractor(n_times=400)


TRAINERS = [finetuning, pretraining, distillation, backbone]


def holders(folder: Path) -> list[str]:
    """Files that the token stands in."""
    return sorted(path.name for path in folder.rglob("*") if path.is_file() and TOKEN.encode() in path.read_bytes())


@pytest.mark.parametrize("build", TRAINERS)
def test_a_token_is_in_no_file_and_the_training_resumes(build: Callable[..., Trainer], tmp_path: Path):
    fields = {"hub_token": TOKEN, "max_steps": 4, "save_strategy": "steps", "save_steps": 2}
    whole = build(tmp_path / "whole", **fields)
    whole.train()
    whole.save_model(str(tmp_path / "saved"))
    assert holders(tmp_path) == []
    for folder in (tmp_path / "saved", tmp_path / "whole" / "checkpoint-2", tmp_path / "whole" / "checkpoint-4"):
        assert not list(folder.rglob("*.bin"))
        written = json.loads((folder / "training_args.json").read_text("utf-8"))
        assert (written["hub_token"], written["max_steps"]) == ("<HUB_TOKEN>", 4)
        # the file is published: no folder of this machine
        assert written["output_dir"] == "whole" and str(tmp_path) not in (folder / "training_args.json").read_text(
            "utf-8"
        )
    assert whole.args.hub_token == TOKEN, "the trainer itself still has it, to publish with"

    resumed = build(tmp_path / "resumed", **fields)
    resumed.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-2"))
    assert resumed.state.global_step == 4
    assert same(weights(whole.model), weights(resumed.model))
    assert holders(tmp_path) == []


def test_the_search_finds_what_transformers_own_trainer_leaves(tmp_path: Path):
    args = arguments(tmp_path, TrainingArguments, max_steps=1, hub_token=TOKEN)
    trainer = Trainer(toy_student(), args, train_dataset=toy_dataset(["a"]), data_collator=EEGDataCollator())
    trainer.save_model(str(tmp_path))
    assert holders(tmp_path) == ["training_args.bin"]
    # one of the package's trainers that saves into the same folder takes it away
    finetuning(tmp_path, hub_token=TOKEN).save_model(str(tmp_path))
    assert holders(tmp_path) == [] and not (tmp_path / "training_args.bin").exists()
