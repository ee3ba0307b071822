# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""The benchmark scripts run as a user runs them, and what they print agrees with what they write."""

from __future__ import annotations

import json
import re
import runpy
import statistics
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from dlink_hf import DLinkTeacherConfig, DLinkTeacherForEEGClassification, MiCConfig, MiCForEEGClassification
from dlink_hf.profiling.measure import count_parameters


SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "training_step.py"
ALONE, LIVE, TEACHER = "student alone", "student + live teacher", "the teacher's forward alone"


@pytest.mark.slow
def test_training_step_measures_what_it_prints(tmp_path):
    file = tmp_path / "new" / "step.json"
    flags = "--batch_size 4 --student_size tiny --teacher_layers 2 --n_chans 3 --n_times 400"
    command = [sys.executable, str(SCRIPT), *flags.split(), "--repeats", "5", "--threads", "1", "--output", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1000)
    assert done.returncode == 0, done.stderr
    assert list(file.parent.iterdir()) == [file]
    result = json.loads(file.read_text())
    rows, ratios, seconds, settings = (result[key] for key in ("rows", "ratios", "seconds", "settings"))

    assert list(rows) == list(seconds) == [ALONE, LIVE, TEACHER]
    for name, row in rows.items():
        assert len(seconds[name]) == 5 and min(seconds[name]) > 0
        assert row["step_ms"] == pytest.approx(1e3 * statistics.median(seconds[name]))
        assert row["windows_per_second"] == pytest.approx(4 / statistics.median(seconds[name]))
    assert ratios["slowdown"] == pytest.approx(rows[LIVE]["step_ms"] / rows[ALONE]["step_ms"])
    assert ratios["memory"] == pytest.approx(rows[LIVE]["memory_mib"] / rows[ALONE]["memory_mib"])
    assert ratios["teacher_share"] == pytest.approx(rows[TEACHER]["step_ms"] / rows[LIVE]["step_ms"])
    low, high = ratios["slowdown_quartiles"]
    paired = [live / alone for live, alone in zip(seconds[LIVE], seconds[ALONE], strict=True)]
    assert min(paired) <= low <= statistics.median(paired) <= high <= max(paired)
    assert rows[TEACHER]["memory_mib"] is None

    # the models are those that were asked for
    signal = {"ch_names": ["Fp1", "Fp2", "F7"], "n_times": 400, "num_labels": 2}
    student = MiCForEEGClassification(MiCConfig.from_size("tiny", **signal))
    teacher = DLinkTeacherForEEGClassification(DLinkTeacherConfig(backbone_kwargs={"n_layer": 2}, **signal))
    assert settings["student_parameters"] == count_parameters(student)
    assert settings["teacher_parameters"] == count_parameters(teacher)
    assert settings["device"] == ("cuda" if torch.cuda.is_available() else "cpu")
    assert result["machine"]["threads"] == 1
    # a studio holds the student, its optimiser and the teacher's weights on top
    least = 4 * count_parameters(teacher) / 2**20
    assert 0 < rows[ALONE]["memory_mib"] < 4000 and rows[LIVE]["memory_mib"] > max(least, rows[ALONE]["memory_mib"])

    printed = done.stdout
    for name, row in rows.items():
        memory = "-" if row["memory_mib"] is None else f"{row['memory_mib']:.0f}"
        assert f"| {name} | {row['step_ms']:.1f} | {row['windows_per_second']:.0f} | {memory} |" in printed
    assert f"| time of a step | {ratios['slowdown']:.2f} " in printed
    assert f"| peak memory | {ratios['memory']:.2f} |" in printed
    assert f"| {100 * ratios['teacher_share']:.0f} % |" in printed
    assert printed.index("| ratio |") < printed.index("| windows/s |")
    # every row of a table has as many cells as its head
    for block in re.findall(r"(?:^\|.*\n)+", printed, re.M):
        assert len({line.count("|") for line in block.splitlines()}) == 1


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--batch_size", "0"], "--batch_size: must be a whole number of 1 or more, got '0'"),
        (["--n_times", "500"], "--n_times: must be a multiple of the patch of 200 samples, got 500"),
        (["--n_chans", "1000"], "electrodes have a known position, got 1000"),
    ],
)
def test_training_step_refuses_what_it_cannot_measure(flags, message, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), *flags])
    with pytest.raises(SystemExit) as stopped:
        runpy.run_path(str(SCRIPT), run_name="__main__")
    out, err = capsys.readouterr()
    # no table; libraries may have their say while they load
    assert stopped.value.code == 2 and message in err and "|" not in out


def test_step_variants_measures_what_it_prints(tmp_path):
    script, file = SCRIPT.with_name("step_variants.py"), tmp_path / "variants.json"
    flags = "--batch_size 4 --student_size tiny --teacher_layers 2 --n_chans 3 --n_times 400 --repeats 3 --threads 1"
    command = [sys.executable, "-W", "ignore", str(script), *flags.split(), "--variants", "float32", "bfloat16"]
    done = subprocess.run([*command, "--output", str(file)], capture_output=True, text=True, timeout=1000)
    assert done.returncode == 0, done.stderr
    result = json.loads(file.read_text())
    assert list(result["rows"]) == ["float32", "bfloat16"]
    for name, row in result["rows"].items():
        assert row["windows_per_second"] == pytest.approx(4000 / row["step_ms"])
        assert row["teacher_share"] == pytest.approx(row["teacher_ms"] / row["step_ms"])
        assert f"| {name} | {row['step_ms']:.1f} | {row['windows_per_second']:.0f} |" in done.stdout
    if not torch.cuda.is_available():
        assert "No GPU is at hand: on the CPU" in done.stdout
