# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""The Accelerate examples give the trainers' numbers, in one process and in two, and survive what kills processes.

Run as a script, this file is what several processes do in `test_every_window_counts_once_over_processes`.
"""

from __future__ import annotations

import json
import os
import random
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.utils import set_seed
from data_recordings import save_raw
from datasets import DatasetDict, load_from_disk
from fake_hub.server import HubServer
from safetensors.torch import load_file
from toy_training import N_TIMES, NAMES, arguments, same, toy_dataset, toy_student, toy_teacher, weights
from transformers import Trainer, TrainingArguments

import dlink_hf as dl


EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
CONFIGS = EXAMPLES / "configs"
DISTILL, FINETUNE = "distill_accelerate.py", "finetune_accelerate.py"
TOKEN = "hf_accelerateToken01"
# 48 windows to train with are whole batches of 8; 27 can be divided by no number of processes
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
        layers = {"mimic_epochs": 1, "route_weight": 1.0, "spectral_weight": 0.5}
        flags = {"teacher": parts / "teacher", **layers, **flags}
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
    out, errors = process.communicate(timeout=1000)
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
    studio = dl.DLinkStudioModel.from_parts(teacher, student, route_weight=1.0, spectral_weight=0.5)
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


def test_a_distillation_of_logits_alone_is_the_default(parts: Path, tmp_path: Path) -> None:
    layers = {"mimic_epochs": 0, "route_weight": 0, "spectral_weight": 0}
    log = train(DISTILL, parts, tmp_path, max_train_steps=2, **layers)
    terms = {name for entry in log if "loss" in entry for name in entry}
    assert {"task_loss", "kd_loss"} <= terms and not [name for name in terms if name.startswith(("router", "route"))]
    assert log[0]["loss"] == pytest.approx(log[0]["task_loss"] + 3 * log[0]["kd_loss"], rel=1e-5)
    assert "Mean weight" not in (tmp_path / "README.md").read_text()
    refused = [sys.executable, *words_of(DISTILL, parts, tmp_path / "no", **{**layers, "mimic_epochs": 1})]
    assert "give --route_weight or --spectral_weight too" in run(refused, status=2)
    # without those flags it is the same
    plain = words_of(DISTILL, parts, tmp_path / "plain", max_train_steps=2, **layers)
    for name in layers:
        at = plain.index(f"--{name}")
        del plain[at : at + 2]
    run([sys.executable, *plain])
    assert losses(json.loads((tmp_path / "plain" / "log_history.json").read_text())) == losses(log)


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


def test_a_studio_can_be_sharded() -> None:
    # FSDP2 asks a model for its embeddings, to shard them apart
    from toy_training import toy_studio

    assert toy_studio().get_input_embeddings() is None


def test_the_slurm_script_is_bash() -> None:
    subprocess.run(["bash", "-n", str(CONFIGS / "slurm.sh")], check=True)


@pytest.mark.slow
def test_two_processes_are_one_of_the_same_global_batch(still_parts: Path, tmp_path: Path) -> None:
    # in double precision: the phase of a nearly empty bin makes rounding errors grow a thousandfold
    flags = {"max_train_steps": 50, "mimic_epochs": 2, "learning_rate": 2e-4, "router_dropout": 0.0}
    flags |= {"class_weighting": "balanced", "dtype": "float64", "per_device_eval_batch_size": 4}
    one = train(DISTILL, still_parts, tmp_path / "one", **flags)
    launcher = torchrun(*TWO_PROCESSES)
    two = train(DISTILL, still_parts, tmp_path / "two", launcher, per_device_train_batch_size=4, **flags)
    assert len(losses(one)) == len(losses(two)) == 50
    np.testing.assert_allclose(losses(two), losses(one), atol=1e-4, rtol=0)
    first, second = (json.loads((tmp_path / name / "all_results.json").read_text()) for name in ("one", "two"))
    for name in ("balanced_accuracy", "auroc", "cohen_kappa"):
        assert first[name] == pytest.approx(second[name], abs=1e-3)
    # no window twice, none left out, though the processes' last batches had to be filled up
    assert first["confusion_matrix"] == second["confusion_matrix"] and second["n_windows"] == 27
    assert {name: person["n_windows"] for name, person in second["per_subject"].items()} == {"x": 9, "y": 9, "z": 9}
    progress = [entry["eval_balanced_accuracy"] for entry in two if "eval_balanced_accuracy" in entry]
    assert len(progress) == 7, "no score of a classifier that is not trained yet"


@pytest.mark.slow
def test_every_window_counts_once_over_processes(tmp_path: Path) -> None:
    run([*torchrun(*TWO_PROCESSES), __file__, str(tmp_path / "told.json")])
    told = json.loads((tmp_path / "told.json").read_text())
    for n_windows, (labels, counts) in zip((1, 2, 3, 7, 8, 9, 17), told["windows"], strict=True):
        assert labels == [1, n_windows - 1]
        assert counts == {str(person): len(range(person, n_windows, 3)) for person in range(min(3, n_windows))}
    # the second process made another teacher, router and student; only what learns is made the same
    assert told["same"] == {"teacher": False, "router": True, "student": True}


def _in_several_processes(path: str) -> None:
    """Evaluate different numbers of windows, and prepare a studio that each process makes in its own way."""
    import importlib

    from accelerate import Accelerator, DistributedDataParallelKwargs
    from torch.utils.data import DataLoader
    from toy_training import toy_studio

    sys.path.insert(0, str(EXAMPLES))
    evaluate = importlib.import_module("distill_accelerate").evaluate
    accelerator = Accelerator(cpu=True, kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)])
    student, told = toy_student(dropout=0.0), []
    for n_windows in (1, 2, 3, 7, 8, 9, 17):
        rows = [
            {"input_values": torch.full((4, N_TIMES), float(row)), "labels": min(row, 1), "person": row % 3}
            for row in range(n_windows)
        ]
        loader = accelerator.prepare(DataLoader(rows, batch_size=3))
        scores = evaluate(accelerator, student, loader, range(3), ["rest", "task"])
        labels = [sum(counts) for counts in scores["confusion_matrix"]]
        told.append((labels, {name: one["n_windows"] for name, one in scores["per_subject"].items()}))
    studio = toy_studio(seed=accelerator.process_index)
    model = accelerator.prepare(studio)
    sums = torch.stack(
        [sum(p.double().sum() for p in part.parameters()) for part in (studio.teacher, studio.router, studio.student)]
    )
    gathered = accelerator.gather(sums[None].detach())
    model(torch.randn(2, 4, N_TIMES), labels=torch.tensor([0, 1]), stage="mimic").loss.backward()
    if accelerator.is_main_process:
        equal = dict(zip(("teacher", "router", "student"), (gathered[0] == gathered[1]).tolist(), strict=True))
        Path(path).write_text(json.dumps({"windows": told, "same": equal}))
    accelerator.end_training()


def start_until(command: list[str], step: int) -> subprocess.Popen:
    """A training that has taken so many steps."""
    process = start(command)
    for line in process.stdout:
        if line.startswith("{") and json.loads(line)["step"] >= step:
            return process
    raise AssertionError(f"it ended before step {step}: {process.communicate()[1][-3000:]}")


def workers(process: psutil.Process) -> dict[int, psutil.Process]:
    """The processes of a launcher by their rank."""
    children = [child for child in process.children(recursive=True) if "RANK" in child.environ()]
    return {int(child.environ()["RANK"]): child for child in children}


@pytest.mark.slow
@pytest.mark.parametrize("script", [DISTILL, FINETUNE])
def test_a_killed_training_ends_with_the_same_weights(script: str, parts: Path, tmp_path: Path) -> None:
    flags = {"num_train_epochs": 4, "checkpointing_steps": 2, "per_device_train_batch_size": 4}
    flags |= {"gradient_accumulation_steps": 2, "resume_from_checkpoint": "latest"}
    expected = train(script, parts, tmp_path / "whole", **flags)
    words = words_of(script, parts, tmp_path / "killed", **flags)
    for step in sorted(random.Random(0).sample(range(2, 24), 3)):
        process = start_until([sys.executable, *words], step)
        process.kill()
        assert process.wait() == -signal.SIGKILL
    assert train(script, parts, tmp_path / "killed", **flags) == expected
    first, second = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "killed"))
    assert first == second
    assert not list((tmp_path / "killed").glob(".saving-*"))


@pytest.mark.slow
def test_a_checkpoint_of_each_epoch_and_a_finished_training(parts: Path, tmp_path: Path) -> None:
    flags = {"max_train_steps": 14, "checkpointing_steps": "epoch"}
    expected = train(FINETUNE, parts, tmp_path, **flags)
    assert sorted(path.name for path in tmp_path.glob("step_*")) == ["step_12", "step_14", "step_6"]
    before = (tmp_path / "model.safetensors").read_bytes()
    # as a queue does that starts a job again
    again = train(FINETUNE, parts, tmp_path, resume_from_checkpoint="latest", **flags)
    assert losses(again) == losses(expected) and (tmp_path / "model.safetensors").read_bytes() == before
    again = train(FINETUNE, parts, tmp_path, resume_from_checkpoint=tmp_path / "step_6", **flags)
    assert again == expected and (tmp_path / "model.safetensors").read_bytes() == before


@pytest.mark.slow
def test_other_processes_or_batches_are_refused(
    distilled: tuple[Path, list[dict]], parts: Path, tmp_path: Path
) -> None:
    flags = {"resume_from_checkpoint": distilled[0] / "step_10", "per_device_train_batch_size": 4}
    told = run([*torchrun(*TWO_PROCESSES), *words_of(DISTILL, parts, tmp_path, **flags)], status=1)
    assert "num_processes 1, now 2; per_device_train_batch_size 8, now 4" in told and "another order" in told


@pytest.mark.slow
def test_a_rank_that_dies_stops_the_others_and_the_training_goes_on(parts: Path, tmp_path: Path) -> None:
    flags = {"num_train_epochs": 6, "checkpointing_steps": 3, "per_device_train_batch_size": 4}
    launcher = torchrun(*TWO_PROCESSES)
    expected = train(DISTILL, parts, tmp_path / "whole", launcher, **flags)
    words = words_of(DISTILL, parts, tmp_path / "killed", resume_from_checkpoint="latest", **flags)
    process = start_until([*launcher, *words], 10)
    ranks = workers(psutil.Process(process.pid))
    assert sorted(ranks) == [0, 1]
    ranks[1].kill()
    _, errors = process.communicate(timeout=1000)  # raises where the other rank goes on waiting
    assert process.returncode != 0
    assert "Signal 9 (SIGKILL)" in errors and not ranks[0].is_running()
    assert train(DISTILL, parts, tmp_path / "killed", launcher, resume_from_checkpoint="latest", **flags) == expected
    first, second = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "killed"))
    assert same(first, second)


@pytest.mark.slow
def test_a_rank_that_hangs_is_waited_for_no_longer_than_said(parts: Path, tmp_path: Path) -> None:
    flags = {"num_train_epochs": 500, "per_device_train_batch_size": 4, "process_timeout": 5}
    process = start_until([*torchrun(*TWO_PROCESSES), *words_of(FINETUNE, parts, tmp_path, **flags)], 3)
    workers(psutil.Process(process.pid))[1].suspend()
    _, errors = process.communicate(timeout=1000)  # raises where the other rank waits longer
    assert process.returncode != 0
    assert "Timed out waiting 5000ms" in errors, errors[-3000:]


def two_nodes(port: int) -> list[str]:
    """What starts one node of two, with one process each."""
    meeting = ("--rdzv_backend", "c10d", "--rdzv_endpoint", f"127.0.0.1:{port}", "--rdzv_id", "test")
    return torchrun("--nnodes", "2", "--nproc_per_node", "1", *meeting)


@pytest.mark.slow
def test_two_nodes(parts: Path, tmp_path: Path) -> None:
    flags = {"num_train_epochs": 3, "per_device_train_batch_size": 4, "process_timeout": 30}
    expected = train(DISTILL, parts, tmp_path / "one", torchrun(*TWO_PROCESSES), **flags)
    command = [*two_nodes(free_port()), *words_of(DISTILL, parts, tmp_path / "two", **flags)]
    nodes = [start(command) for _ in range(2)]
    for node in nodes:
        assert node.wait(timeout=1000) == 0, node.communicate()[1][-3000:]
    log = json.loads((tmp_path / "two/log_history.json").read_text())
    np.testing.assert_allclose(losses(log), losses(expected), atol=1e-4, rtol=0)


@pytest.mark.slow
def test_a_node_that_dies_stops_the_other(parts: Path, tmp_path: Path) -> None:
    flags = {"num_train_epochs": 500, "per_device_train_batch_size": 4, "process_timeout": 30}
    command = [*two_nodes(free_port()), *words_of(FINETUNE, parts, tmp_path, **flags)]
    nodes = [start(command) for _ in range(2)]
    try:
        first = next(node for node in nodes if _writes(node, nodes))
        other = nodes[1 - nodes.index(first)]
        # the launcher too: a machine that is gone tells nobody
        for process in [psutil.Process(other.pid), *psutil.Process(other.pid).children(recursive=True)]:
            process.kill()
        rank = workers(psutil.Process(first.pid))
        _, alive = psutil.wait_procs(rank.values(), timeout=1000)
        assert not alive
    finally:
        for node in nodes:
            if node.poll() is None:
                for process in [*psutil.Process(node.pid).children(recursive=True), psutil.Process(node.pid)]:
                    process.kill()
    errors = first.communicate()[1]
    assert re.search(r"Connection closed by peer|Connection reset|timed out|Timed out|Broken pipe", errors), errors


def _writes(node: subprocess.Popen, nodes: list[subprocess.Popen]) -> bool:
    """Whether this node has the process that prints, once that has taken a step."""
    if workers(psutil.Process(node.pid)).keys() == {1}:
        return False
    deadline = time.monotonic() + 120
    while not (ranks := workers(psutil.Process(node.pid))) and time.monotonic() < deadline:
        time.sleep(0.2)
    if 0 not in ranks:
        return False
    return any(line.startswith('{"step": 5') for line in node.stdout)


@pytest.mark.slow
def test_a_full_disk_leaves_the_checkpoints_before(parts: Path, tmp_path: Path) -> None:
    flags = {"num_train_epochs": 20, "checkpointing_steps": 2, "resume_from_checkpoint": "latest"}
    process = start_until([sys.executable, *words_of(DISTILL, parts, tmp_path, **flags)], 7)
    # files of the next checkpoints may not grow beyond this
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (4096, 4096))
    _, errors = process.communicate(timeout=1000)
    assert process.returncode != 0 and "File too large" in errors, errors[-2000:]
    whole = {path.name for path in next(tmp_path.glob("step_*")).iterdir()}
    for checkpoint in tmp_path.glob("step_*"):
        assert {path.name for path in checkpoint.iterdir()} == whole
        load_file(checkpoint / "model.safetensors"), load_file(checkpoint / "training_only.safetensors")
        torch.load(checkpoint / "optimizer.bin", weights_only=True)
    assert not (tmp_path / "model.safetensors").exists()
    log = train(DISTILL, parts, tmp_path, **flags)
    assert [entry["step"] for entry in log if "loss" in entry] == list(range(1, 121))
    assert not list(tmp_path.glob(".saving-*"))


class Bomb:
    """What runs a command where it is unpickled."""

    def __init__(self, marker: str):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (self.marker,)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["optimizer.bin", "scheduler.bin", "random_states_0.pkl"])
def test_a_checkpoint_runs_no_code(name: str, distilled: tuple[Path, list[dict]], parts: Path, tmp_path: Path) -> None:
    checkpoint = tmp_path / "step_10"
    shutil.copytree(distilled[0] / "step_10", checkpoint)
    torch.save({"state": Bomb(str(tmp_path / "exploded"))}, checkpoint / name)
    words = words_of(DISTILL, parts, tmp_path / "out", resume_from_checkpoint=checkpoint, max_train_steps=11)
    process = start([sys.executable, *words])
    process.communicate(timeout=1000)
    assert not (tmp_path / "exploded").exists()


@pytest.mark.slow
@pytest.mark.parametrize("script", [DISTILL, FINETUNE])
def test_publishing(script: str, parts: Path, tmp_path: Path) -> None:
    (tmp_path / "hub").mkdir()
    flags = {"num_train_epochs": 2, "push_to_hub": True, "hub_model_id": "me/ours", "checkpointing_steps": "epoch"}
    flags |= {"with_tracking": True, "report_to": "tensorboard", "dataset": "synthetic", "max_train_steps": 3}
    if script == DISTILL:
        flags["teacher"] = tmp_path / "teacher"
        montage = dl.signal_fields(dl.synthetic_dataset(n_subjects=2, n_trials=2, progress=False))
        options = {"backbone_kwargs": {"n_layer": 2, "dim_feedforward": 16, "nhead": 4}, "head_size": 4}
        dl.DLinkTeacherForEEGClassification(dl.DLinkTeacherConfig(**options, **montage)).save_pretrained(
            flags["teacher"]
        )
    flags["student"] = "dlink-mic-small"
    with HubServer(tmp_path / "hub", token=TOKEN) as hub:
        environment = hub.environment(tmp_path / "home", HF_TOKEN=TOKEN)
        told = run([sys.executable, *words_of(script, parts, tmp_path / "out", **flags)], **environment)
        assert len(hub.commits) == 1 and hub.find(TOKEN) == []
    assert "/me/ours/commit/" in told
    published = {path.name for path in (tmp_path / "hub/me/ours").rglob("*") if path.is_file()}
    expected = {"model.safetensors", "config.json", "preprocessor_config.json", "README.md"}
    assert published - {".gitattributes"} == expected, "one commit, safetensors alone, no state of an optimizer"
    card = (tmp_path / "hub/me/ours/README.md").read_text()
    assert "synthetic" in card and 'from_pretrained("me/ours")' in card.replace("'", '"')
    assert list((tmp_path / "out").rglob("events.out.tfevents.*"))
    dl.EEGFeatureExtractor.from_pretrained(tmp_path / "hub/me/ours")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cpu", "multi_cpu"])
def test_a_cpu_configuration_runs(name: str, parts: Path, tmp_path: Path) -> None:
    launcher = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(CONFIGS / f"{name}.yaml")]
    train(FINETUNE, parts, tmp_path, launcher, max_train_steps=4, checkpointing_steps=2)
    progress = json.loads((tmp_path / "step_2/progress.json").read_text())
    assert progress["num_processes"] == {"cpu": 1, "multi_cpu": 2}[name]


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two recordings of each of six people as shards of windows; 72 of them to train with."""
    folder, corpus = tmp_path_factory.mktemp("shards"), tmp_path_factory.mktemp("corpus")
    for person in range(6):
        for run_number in range(2):
            notes = ((0.0, 8.0, "rest"), (8.0, 10.0, "task"))
            options = {"subject": f"S{person}", "seed": 10 * person + run_number, "duration": 18.0}
            save_raw(corpus, f"s{person}_run{run_number}_raw.fif", annotations=notes, **options)
    extractor = dl.EEGFeatureExtractor(sfreq=200.0, n_times=N_TIMES, l_freq=0.5, h_freq=75.0)
    dl.prepare_shards(corpus, folder, extractor, None, validation=1, test=1, seed=3, shard_mb=0.15, progress=False)
    return folder


@pytest.mark.slow
def test_shards_are_streamed(shards: Path, still_parts: Path, tmp_path: Path) -> None:
    flags = {"dataset": shards, "num_train_epochs": 3, "shuffle_buffer": 20, "learning_rate": 1e-3}
    flags |= {"checkpointing_steps": 4, "resume_from_checkpoint": "latest"}
    expected = train(FINETUNE, still_parts, tmp_path / "one", **flags)
    assert len(losses(expected)) == 27 and "eval_auroc" in expected[-1]
    # two processes share out the same windows in the same order
    halves = {**flags, "per_device_train_batch_size": 4}
    two = train(FINETUNE, still_parts, tmp_path / "two", torchrun(*TWO_PROCESSES), **halves)
    np.testing.assert_allclose(losses(two), losses(expected), atol=1e-4, rtol=0)
    # a stream that is killed in mid-epoch goes on with the windows that follow
    words = words_of(FINETUNE, still_parts, tmp_path / "killed", **flags)
    process = start_until([sys.executable, *words], 15)
    process.kill()
    process.wait()
    assert train(FINETUNE, still_parts, tmp_path / "killed", **flags) == expected
    first, second = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("one", "killed"))
    assert first == second
    dl.EEGFeatureExtractor.from_pretrained(tmp_path / "one")


if __name__ == "__main__":
    _in_several_processes(sys.argv[1])
