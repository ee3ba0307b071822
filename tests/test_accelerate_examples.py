# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""The Accelerate examples give the trainers' numbers, in one process and in two, and survive what kills processes.

Run as a script, this file is what several processes do in `test_every_window_counts_once_over_processes`.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.utils import set_seed
from datasets import DatasetDict, load_from_disk
from safetensors.torch import load_file
from toy_training import N_TIMES, NAMES, arguments, same, toy_dataset, toy_student, toy_teacher, weights
from transformers import Trainer, TrainingArguments

import dlink_hf as dl


EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
CONFIGS = EXAMPLES / "configs"
DISTILL, FINETUNE = "distill_accelerate.py", "finetune_accelerate.py"
TOKEN = "hf_accelerateToken01"
# 48 windows are whole batches of 8; 27 can be divided by no number of processes
SIGNAL = dl.SignalInfo(tuple(NAMES), 200.0, N_TIMES)


def save_parts(folder: Path, dropout: float) -> Path:
    """Windows of seven people, a teacher and a student, in a folder."""
    splits = {"train": toy_dataset(["a", "b", "c", "d"]), "validation": toy_dataset(["x", "y", "z"], 9, seed=1)}
    DatasetDict({name: dl.set_signal_info(split, SIGNAL) for name, split in splits.items()}).save_to_disk(
        folder / "windows"
    )
    toy_teacher(dropout=dropout).save_pretrained(folder / "teacher")
    toy_student(dropout=dropout).save_pretrained(folder / "student")
    return folder


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_parts(tmp_path_factory.mktemp("parts"), dropout=0.1)


@pytest.fixture(scope="module")
def still_parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Without dropout, whose random numbers differ between one process and two."""
    return save_parts(tmp_path_factory.mktemp("still_parts"), dropout=0.0)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def torchrun(*words: str) -> list[str]:
    return [sys.executable, "-m", "torch.distributed.run", *words]


TWO_PROCESSES = ("--standalone", "--nproc_per_node", "2")


def words_of(script: str, parts: Path, output: Path, **flags: object) -> list[str]:
    """A script and its arguments; `True` stands for a flag without a value."""
    flags = {"dataset": parts / "windows", "student": parts / "student", "output_dir": output, **flags}
    if script == DISTILL:
        flags = {"teacher": parts / "teacher", "mimic_epochs": 1, **flags}
    flags = {"logging_steps": 1, "per_device_train_batch_size": 8, "learning_rate": 1e-2, **flags}
    named = [[f"--{name}"] if value is True else [f"--{name}", str(value)] for name, value in flags.items()]
    return [str(EXAMPLES / script), *(word for pair in named for word in pair)]


def start(command: list[str], **environment: str) -> subprocess.Popen:
    """A training in processes of its own; what it prints is read line by line."""
    variables = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore", **environment}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=variables)


def run(command: list[str], status: int = 0, **environment: str) -> str:
    """What a training prints, once it has ended with a status."""
    process = start(command, **environment)
    out, errors = process.communicate(timeout=250)
    assert (process.returncode == 0) == (status == 0), f"{process.returncode}\n{out[-1500:]}\n{errors[-4000:]}"
    return out + errors


def train(script: str, parts: Path, output: Path, launcher: list[str] | None = None, **flags: object) -> list[dict]:
    """Train by a script; its log."""
    run([*(launcher or [sys.executable]), *words_of(script, parts, output, **flags)])
    return json.loads((output / "log_history.json").read_text())


def losses(log: list[dict]) -> list[float]:
    return [entry["loss"] for entry in log if "loss" in entry]


def toy_parts(parts: Path) -> tuple[DatasetDict, dl.DLinkTeacherForEEGClassification, dl.MiCForEEGClassification]:
    """What the scripts load, in the same order."""
    splits = load_from_disk(parts / "windows").with_format("numpy")
    set_seed(42)
    teacher = dl.DLinkTeacherForEEGClassification.from_pretrained(parts / "teacher")
    student = dl.MiCForEEGClassification.from_pretrained(parts / "student", **dl.signal_fields(splits["train"]))
    return splits, teacher, student


@pytest.fixture(scope="module")
def distilled(parts: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict]]:
    """A short distillation by the script, with a checkpoint after steps 5, 10 and 15."""
    output = tmp_path_factory.mktemp("distilled")
    return output, train(DISTILL, parts, output, num_train_epochs=3, checkpointing_steps=5, class_weighting="balanced")


def test_distillation_is_that_of_the_trainer(parts: Path, distilled: tuple[Path, list[dict]], tmp_path: Path) -> None:
    output, log = distilled
    splits, teacher, student = toy_parts(parts)
    studio = dl.DLinkStudioModel.from_parts(teacher, student)
    settings = {"num_train_epochs": 3, "per_device_train_batch_size": 8, "mimic_epochs": 1.0, "seed": 42}
    trainer = dl.DLinkTrainer(
        studio,
        arguments(tmp_path, eval_strategy="epoch", class_weighting="balanced", **settings),
        train_dataset=splits["train"],
        eval_dataset=splits["validation"],
    )
    trainer.train()
    expected = [entry for entry in trainer.state.log_history if "loss" in entry]
    found = [entry for entry in log if "loss" in entry]
    assert len(found) == len(expected) == 18
    for one, other in zip(found, expected, strict=True):
        # every term, the learning rate and the weights of the layers, to the last bit
        assert {name: other[name] for name in one} == one
    scored = [entry for entry in trainer.state.log_history if "eval_auroc" in entry][-1]
    assert {name: scored[name] for name in log[-1]} == log[-1]
    assert same(load_file(output / "model.safetensors"), weights(student))


def test_what_a_distillation_leaves(distilled: tuple[Path, list[dict]], parts: Path) -> None:
    output, log = distilled
    names = {path.name for path in output.iterdir()}
    written = {"model.safetensors", "config.json", "README.md", "all_results.json", "log_history.json"}
    assert names == written | {"step_5", "step_10", "step_15"}
    card = (output / "README.md").read_text()
    assert "| validation | 27 | 3 |" in card and "CBraMod" in card and "Mean weight" in card
    assert str(output.parent) not in card.split("```")[0]
    # a checkpoint is of what learns: no teacher is in it, and the student can be taken out
    checkpoint = output / "step_10"
    assert not [name for name in load_file(checkpoint / "training_only.safetensors") if name.startswith("teacher")]
    dl.MiCForEEGClassification.from_pretrained(checkpoint)
    for name in ("optimizer.bin", "scheduler.bin"):
        torch.load(checkpoint / name, weights_only=True)
    scores = json.loads((output / "all_results.json").read_text())
    assert scores["balanced_accuracy"] == log[-1]["eval_balanced_accuracy"]
    assert {name: one["n_windows"] for name, one in scores["per_subject"].items()} == {"x": 9, "y": 9, "z": 9}


def test_finetuning_is_that_of_transformers(parts: Path, tmp_path: Path) -> None:
    # ten batches, the last one smaller, in groups of four and of two
    settings = {"num_train_epochs": 2, "per_device_train_batch_size": 5, "gradient_accumulation_steps": 4}
    log = train(FINETUNE, parts, tmp_path / "script", weight_decay=0.1, **settings)
    splits, _, student = toy_parts(parts)
    trainer = Trainer(
        student,
        arguments(
            tmp_path / "trainer", TrainingArguments, seed=42, weight_decay=0.1, eval_strategy="epoch", **settings
        ),
        data_collator=dl.EEGDataCollator(),
        compute_metrics=dl.compute_metrics,
        train_dataset=splits["train"],
        eval_dataset=splits["validation"],
    )
    trainer.train()
    expected = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert len(expected) == 6 and losses(log) == expected
    scored = [entry for entry in trainer.state.log_history if "eval_auroc" in entry][-1]
    assert {name: scored[name] for name in log[-1]} == log[-1]
    assert same(load_file(tmp_path / "script/model.safetensors"), weights(student))


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_accelerate_takes_the_configuration(path: Path) -> None:
    config = load_config_from_file(str(path))
    expected = {"cpu": (1, 1), "gpu_bf16": (1, 1), "multi_cpu": (2, 1), "multi_node": (8, 2)}
    assert (config.num_processes, config.num_machines) == expected.get(path.stem, (4, 1))
    assert config.use_cpu == path.stem.endswith("cpu")
    # what the launcher makes of a configuration: flags of the same names
    from accelerate.commands.launch import _validate_launch_command, launch_command_parser

    args, _, _ = _validate_launch_command(launch_command_parser().parse_args(["--config_file", str(path), "x.py"]))
    assert args.use_fsdp == (path.stem == "fsdp2") and args.use_deepspeed == (path.stem == "deepspeed_zero2")


def test_the_slurm_script_is_bash() -> None:
    subprocess.run(["bash", "-n", str(CONFIGS / "slurm.sh")], check=True)
