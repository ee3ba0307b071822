# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Distillations in several processes, and distillations that are killed: real processes, compared."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file
from sklearn.metrics import balanced_accuracy_score


SCRIPT = Path(__file__).parents[1] / "distributed_training.py"
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
TORCHRUN = [sys.executable, "-m", "torch.distributed.run"]


def words(fields: dict[str, Any]) -> list[str]:
    return [f"{name}={json.dumps(value)}" for name, value in fields.items()]


def start(folder: Path, n_processes: int = 1, launcher: list[str] | None = None, **fields: Any) -> subprocess.Popen:
    """The script in processes of its own group, so that all of them can be killed at once."""
    if launcher is None:
        launcher = [sys.executable]
        if n_processes > 1:
            launcher = [*TORCHRUN, "--standalone", "--nproc_per_node", str(n_processes)]
    command = [*launcher, str(SCRIPT), str(folder), str(n_processes), *words(fields)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=ENVIRONMENT, start_new_session=True
    )


def finish(process: subprocess.Popen, timeout: float = 1000) -> str:
    """What a process has printed; it must have ended well."""
    printed, _ = process.communicate(timeout=timeout)
    assert process.returncode == 0, printed[-4000:]
    return printed


def told(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "told.json").read_text())


def train(folder: Path, n_processes: int = 1, **fields: Any) -> dict[str, Any]:
    finish(start(folder, n_processes, **fields))
    return told(folder)


def compare(one: dict[str, Any], two: dict[str, Any], tolerance: float) -> None:
    """Two trainings of the same windows: every term of every step, the scores, the predictions."""
    assert [step["step"] for step in one["log"]] == [step["step"] for step in two["log"]]
    assert len(one["log"]) == 50
    for first, second in zip(one["log"], two["log"], strict=True):
        assert first.keys() == second.keys()
        for name in first.keys() - {"grad_norm"}:
            assert second[name] == pytest.approx(first[name], abs=tolerance), (first["step"], name)
    for name, score in one["scores"].items():
        if "runtime" not in name and "per_second" not in name:
            assert two["scores"][name] == pytest.approx(score, abs=1e-3), name
    # every window once, in order, though 19 are divided by neither two processes nor batches of five
    for run in (one, two):
        assert run["labels"] == run["expected_labels"]
        own = balanced_accuracy_score(run["labels"], np.argmax(run["logits"], 1))
        assert run["scores"]["eval_balanced_accuracy"] == pytest.approx(own, abs=1e-12)
    np.testing.assert_allclose(two["logits"], one["logits"], atol=10 * tolerance)


# AdamW with the phase of nearly empty bins multiplies rounding errors with every step, on one process as on two: with
# the rows of its batches turned round a loss moves by 0.1 within 20 steps. So each is compared without the other.
PLAIN = {"dtype": "float32", "studio": {"spectral_weight": 0.0}}
SPECTRAL = {"dtype": "float64", "optim": "sgd"}
# router and decoder get no gradient: a process that waited for one would stop
LOGITS = {"dtype": "float32", "studio": {"route_weight": 0.0, "spectral_weight": 0.0}, "mimic_epochs": 0}


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param(PLAIN, id="adamw"),
        pytest.param(LOGITS, id="logits alone", marks=pytest.mark.slow),
        pytest.param(SPECTRAL, id="spectral", marks=pytest.mark.slow),
        pytest.param({**PLAIN, "sees_less": True}, id="a student that sees less", marks=pytest.mark.slow),
    ],
)
def test_two_processes_take_the_steps_of_one(fields: dict[str, Any], tmp_path: Path) -> None:
    both = [start(tmp_path / str(n), n, **fields) for n in (1, 2)]
    for process in both:
        finish(process)
    one, two = (told(tmp_path / str(n)) for n in (1, 2))
    compare(one, two, 1e-4)
    assert one["wrapped"] == "DLinkStudioModel" and two["wrapped"] == "DistributedDataParallel"
    # the frozen teacher is not among what the processes send each other
    assert two["sent"] == ["decoder", "router", "student"]
    # the statistics of the filter bank are those of the whole batch
    weights = [load_file(tmp_path / n / "model.safetensors") for n in ("1", "2")]
    for name in ("running_mean", "running_var"):
        own = [one[f"mic.filter_bank.norm.{name}"] for one in weights]
        np.testing.assert_allclose(own[1], own[0], rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_two_nodes_of_one_process_each(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    launcher = [*TORCHRUN, "--nnodes", "2", "--nproc_per_node", "1", "--rdzv_backend", "c10d", "--rdzv_id", "nodes"]
    launcher += ["--rdzv_endpoint", f"127.0.0.1:{port}"]
    nodes = [start(tmp_path / "nodes", 2, launcher, **PLAIN) for _ in range(2)]
    for node in nodes:
        finish(node)
    compare(train(tmp_path / "one", **PLAIN), told(tmp_path / "nodes"), 1e-4)


@pytest.mark.slow
def test_a_rank_that_dies_ends_the_others_with_the_reason(tmp_path: Path) -> None:
    process = start(tmp_path, 2, kill_at=3, kill_rank=1, **PLAIN)
    printed, _ = process.communicate(timeout=1000)  # raises where the other rank goes on waiting
    assert process.returncode != 0
    assert "SIGKILL" in printed and "rank      : 1" in printed
    assert not (tmp_path / "told.json").exists()


# --- killed and resumed -----------------------------------------------------------------------------------------

RESUMED = {"save_strategy": "steps", "save_steps": 4, "max_steps": 30, "dropout": 0.1, "dtype": "float32"}


def test_a_killed_distillation_resumes_to_the_same_bits(tmp_path: Path) -> None:
    whole = start(tmp_path / "whole", **RESUMED)
    killed = start(tmp_path / "killed", kill_at=14, **RESUMED)
    finish(whole)
    killed.communicate(timeout=1000)
    assert killed.returncode == -signal.SIGKILL
    # a checkpoint that a kill has cut short is passed over
    (tmp_path / "killed" / "checkpoint-13").mkdir()
    assert "checkpoint-13 was not written to its end" in finish(start(tmp_path / "killed", resume=True, **RESUMED))
    same_bits(tmp_path / "whole", tmp_path / "killed")


def same_bits(first: Path, second: Path) -> None:
    """Student, running statistics and losses are equal."""
    weights = [load_file(folder / "model.safetensors") for folder in (first, second)]
    assert weights[0].keys() == weights[1].keys()
    assert all(np.array_equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert [step["loss"] for step in told(first)["log"]] == [step["loss"] for step in told(second)["log"]]


@pytest.mark.slow
def test_ten_kills_at_random_moments_change_no_bit(tmp_path: Path) -> None:
    finish(start(tmp_path / "whole", **{**RESUMED, "max_steps": 400}))
    dice, kills = random.Random(0), 0
    while True:
        has_checkpoint = any((tmp_path / "killed").glob("checkpoint-*/trainer_state.json"))
        process = start(tmp_path / "killed", resume=has_checkpoint or None, **{**RESUMED, "max_steps": 400})
        if kills == 10:
            finish(process)
            break
        # from the middle of the imports to the middle of the training, or of a checkpoint
        time.sleep(dice.uniform(5, 9))
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        kills += 1
    same_bits(tmp_path / "whole", tmp_path / "killed")


@pytest.mark.slow
def test_resuming_with_another_number_of_processes(tmp_path: Path) -> None:
    fields = {**PLAIN, "save_strategy": "steps", "save_steps": 20}
    whole = train(tmp_path / "whole", **fields)
    # the same windows a step: two processes go on where one stopped
    checkpoint = str(tmp_path / "whole" / "checkpoint-20")
    two = start(tmp_path / "two", 2, resume=checkpoint, **fields)
    other = start(tmp_path / "other", 1, resume=checkpoint, per_device_train_batch_size=16, **fields)
    finish(two)
    compare(whole, told(tmp_path / "two"), 1e-4)
    printed, _ = other.communicate(timeout=1000)
    assert other.returncode != 0
    assert "is of a training of 8 windows a step, this one takes 16" in printed
    assert "per_device_train_batch_size" in printed


@pytest.mark.slow
def test_processes_share_one_cache_of_the_teacher(tmp_path: Path) -> None:
    runs = []
    for n in (1, 2):
        cache = tmp_path / f"cache{n}"
        printed = finish(start(tmp_path / str(n), n, teacher_cache_dir=str(cache), **PLAIN))
        runs.append((told(tmp_path / str(n)), printed, cache))
    compare(runs[0][0], runs[1][0], 1e-4)
    files = [sorted(path.name for path in cache.rglob("*.safetensors")) for _, _, cache in runs]
    # the same features, each computed once
    assert files[0] == files[1] and len(files[0]) == 1
    assert runs[1][1].count("teacher features: 100%") <= 1
