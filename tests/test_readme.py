# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""The README's code blocks run, one after the other, in an empty folder with recordings of a user's own."""

import ast
import csv
import os
import re
import subprocess
import sys
from pathlib import Path

import mne
import pytest

from dlink_hf import make_synthetic_recordings


README = Path(__file__).parents[1] / "README.md"
BLOCKS = re.findall(r"^```(python|bash)\n(.*?)^```", README.read_text("utf-8"), re.M | re.S)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """An empty folder but for `recording.edf`, `my_recordings/` and `labels.csv`, as the README names them."""
    folder = tmp_path_factory.mktemp("readme")
    (folder / "my_recordings").mkdir()
    rows = []
    for number, raw in enumerate(make_synthetic_recordings(n_subjects=7, n_trials=8, seed=3, progress=False)):
        name = f"visit{number}.edf"
        for annotation in raw.annotations:
            rows.append([name, annotation["description"], annotation["onset"], annotation["duration"], f"P{number}"])
        raw.set_annotations(None)
        mne.export.export_raw(folder / "my_recordings" / name, raw, verbose="ERROR")
    mne.export.export_raw(folder / "recording.edf", raw, verbose="ERROR")
    with open(folder / "labels.csv", "w", newline="") as file:
        csv.writer(file).writerows([["recording", "label", "onset", "duration", "subject"], *rows])
    return folder


def run(words, folder):
    env = {**os.environ, "DLINK_HF_CACHE": str(folder / "cache"), "HF_HUB_OFFLINE": "1"}
    env["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{env['PATH']}"
    done = subprocess.run(words, cwd=folder, env=env, capture_output=True, text=True, timeout=1000)
    assert done.returncode == 0, f"{words}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return done.stdout


def test_the_readme_opens_with_the_two_commands():
    assert BLOCKS[0][0] == "bash" and [line.split("#")[0].split() for line in BLOCKS[0][1].splitlines()] == [
        ["make", "demo"],
        ["make", "test"],
    ]


def test_a_students_lines_run_on_the_recording_that_they_name(data_dir, tmp_path):
    (code,) = (code for language, code in BLOCKS if "Subject35_2.edf" in code)
    (tmp_path / "model_cards").symlink_to(README.parent / "model_cards")
    (tmp_path / "eegmat").symlink_to((data_dir / "eegmat").resolve())
    (tmp_path / "block.py").write_text(code, encoding="utf-8")
    windows = [ast.literal_eval(line) for line in run([sys.executable, "block.py"], tmp_path).splitlines()]
    assert [window["onset"] for window in windows] == [5.0 * i for i in range(12)]
    assert sum(window["label"] == "arithmetic" for window in windows) > 6


def test_python_blocks_run_and_say_what_they_promise(folder):
    scripts = [code for language, code in BLOCKS if language == "python" and "Subject35_2.edf" not in code]
    assert len(scripts) == 5
    outputs = []
    for code in scripts:
        (folder / "block.py").write_text(code, encoding="utf-8")
        outputs.append(run([sys.executable, "block.py"], folder))
    assert "test_balanced_accuracy" in outputs[0]
    assert (folder / "outputs" / "student" / "model.safetensors").is_file()
    assert "num_rows: 56" in outputs[1] and "'C3'" in outputs[1]
    assert "hand" in outputs[2]
    assert (folder / "outputs" / "finetuned" / "model.safetensors").is_file()


def test_commands_run_and_leave_what_they_promise(folder):
    lines = [line for language, code in BLOCKS if language == "bash" for line in code.splitlines()]
    commands = [line.split() for line in lines if line.startswith("dlink ")]
    assert [words[1] for words in commands] == ["distill", "predict", "info"]
    # the recipe's budget is one for real recordings
    commands[0] += ["--max_steps", "20", "--teacher_steps", "10"]
    outputs = [run(words, folder) for words in commands]
    for row in ("teacher", "DLink student", "student without a teacher", "chance"):
        assert re.search(rf"^{row} ", outputs[0], re.M), outputs[0]
    assert "use this one" in outputs[0] and "against the student alone" in outputs[0]
    mine = folder / "outputs" / "mine"
    for name in (
        "student/model.safetensors",
        "student/README.md",
        "student/plots/confusion_matrix.png",
        "results.json",
    ):
        assert (mine / name).is_file(), name
    with open(folder / "predictions.csv", newline="") as file:
        table = list(csv.DictReader(file))
    assert f"{len(table)} windows" in outputs[1] and list(table[0])[:2] == ["onset", "label"]
    for row in table:
        shares = {key[2:]: float(value) for key, value in row.items() if key.startswith("p_")}
        assert abs(sum(shares.values()) - 1) < 1e-4 and row["label"] == max(shares, key=shares.get)
    assert "any montage" in outputs[2] and "97," in outputs[2]
