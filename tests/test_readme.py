# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""The README's code blocks run, one after the other, in an empty folder with recordings of a user's own."""

import ast
import csv
import re
import sys
from pathlib import Path

import pytest
from doc_blocks import make_folder, read_blocks, run


README = Path(__file__).parents[1] / "README.md"
BLOCKS = read_blocks(README)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_folder(tmp_path_factory.mktemp("readme"))


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
    assert len(scripts) == 3
    outputs = []
    for code in scripts:
        (folder / "block.py").write_text(code, encoding="utf-8")
        outputs.append(run([sys.executable, "block.py"], folder))
    assert "torch.Size([1, 2])" in outputs[0]
    assert (folder / "outputs" / "finetuned" / "model.safetensors").is_file()
    assert "test_balanced_accuracy" in outputs[2]
    assert (folder / "outputs" / "student" / "model.safetensors").is_file()


def test_a_reader_of_ten_minutes_gets_through():
    text = README.read_text("utf-8")
    assert len(text.splitlines()) <= 150
    uses = text.split("## Three uses")[1].split("## ")[0]
    for code in re.findall(r"^```\w*\n(.*?)^```", uses, re.M | re.S):
        assert len(code.splitlines()) < 10
    targets = re.findall(r"\]\((?!https?:|#)([^)#]+)\)", text)
    assert len(targets) > 15 and not [target for target in targets if not (README.parent / target).exists()]


def test_commands_run_and_leave_what_they_promise(folder):
    lines = [line for language, code in BLOCKS if language == "bash" for line in code.splitlines()]
    commands = [line.split() for line in lines if line.startswith("dlink ")]
    assert [words[1] for words in commands] == ["distill", "report", "predict", "info"]
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
    assert "DLink student" in (mine / "report.html").read_text("utf-8")
    with open(folder / "predictions.csv", newline="") as file:
        table = list(csv.DictReader(file))
    assert f"{len(table)} windows" in outputs[2] and list(table[0])[:2] == ["onset", "label"]
    for row in table:
        shares = {key[2:]: float(value) for key, value in row.items() if key.startswith("p_")}
        assert abs(sum(shares.values()) - 1) < 1e-4 and row["label"] == max(shares, key=shares.get)
    assert "any montage" in outputs[3] and "97," in outputs[3]
