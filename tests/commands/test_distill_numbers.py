# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Teachers and distillations of numbers, and of several labels at once, through the commands."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from number_recordings import make_number_recordings

from dlink_hf import DLinkTeacherForEEGRegression, MiCForEEGClassification, MiCForEEGRegression
from dlink_hf.commands import main
from dlink_hf.commands.report_scores import read_predictions
from dlink_hf.distillation.student_teacher import load_teacher
from dlink_hf.evaluation.comparison import Measure, distillation_verdict, measure_for, teacher_verdict


DATA = ["--dataset", "eeg", "--labels", "labels.csv", "--window_seconds", "2", "--subject_pattern", r"([su]\d+)_"]
SPLIT = ["--validation", "2", "--test", "2", "--cache_dir", "cache", "--use_cpu", "True", "--disable_tqdm", "true"]
FEW = ["--max_steps", "3", "--teacher_steps", "2", "--student_size", "tiny", "--views", "2", "--logging_steps", "1"]
NUMBER = ["--problem_type", "regression", "--targets", "microvolts"]
SEVERAL = ["--problem_type", "multi_label_classification"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = make_number_recordings(tmp_path_factory.mktemp("distil_numbers"))
    (root / "more").mkdir()
    for number in range(2):
        shutil.copy(root / "eeg" / f"s{number}_raw.fif", root / "more" / f"u{number}_raw.fif")
    return root


def ran(folder: Path, *words: str) -> str:
    """What a command printed, run in the folder."""
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()) as said:
        patch.chdir(folder)
        assert main(list(words)) == 0
    return said.getvalue()


@pytest.fixture(scope="module")
def numbers(folder: Path) -> str:
    """A student of two channels and one second, of a teacher of its own design, with unlabelled recordings."""
    views = ["--student_ch_names", "Pz,C4", "--student_window_seconds", "1", "--unlabelled", "more"]
    words = [*DATA, *SPLIT, *FEW, *NUMBER, *views, "--teacher_backbone", "MiC", "--output_dir", "numbers"]
    return ran(folder, "distill", *words)


def results_of(folder: Path, run: str) -> dict[str, Any]:
    return json.loads((folder / run / "results.json").read_text())


def test_a_regression_is_distilled_and_compared_by_its_error(folder: Path, numbers: str) -> None:
    results = results_of(folder, "numbers")
    assert results["problem_type"] == "regression" and results["labels"] == ["microvolts"]
    assert results["compared_by"]["name"] == "mae" and results["compared_by"]["is_error"]
    assert set(results["experts"]) == {"student"} and results["unlabelled_windows"] > 0
    scores = results["scores"]["test"]
    assert set(scores) == {"teacher", "DLink student", "student without a teacher"}
    # an independent computation from what was written
    found = {}
    for name in scores:
        path = folder / "numbers" / "predictions" / f"test_{name.replace(' ', '_')}.csv"
        told = read_predictions(path, problem_type="regression")
        assert scores[name]["mae"] == pytest.approx(np.abs(told.labels - told.outputs).mean(), abs=1e-3)
        errors = np.abs(told.labels - told.outputs)[:, 0]
        found[name] = {who: errors[told.groups == who].mean() for who in np.unique(told.groups)}
    verdict, alone = results["verdict"], found["student without a teacher"]
    lead = np.mean([alone[who] - error for who, error in found["DLink student"].items()])
    assert verdict["difference"]["mean"] == pytest.approx(lead, abs=1e-3)
    assert verdict["text"] in numbers and "mean absolute error" in verdict["text"]
    assert ("smaller" in verdict["text"].split(".")[0] + verdict["text"]) == (lead >= 0)
    by_validation = {name: one["mae"] for name, one in results["scores"]["validation"].items()}
    better = by_validation["DLink student"] <= by_validation["student without a teacher"]
    assert results["use"] == ("student" if better else "baseline")
    for words in ("task: numbers (microvolts): no label smoothing", "ridge on band power", "mean abs. error"):
        assert words in numbers, words
    assert "median of the training targets" in numbers and "balanced" not in numbers
    student = MiCForEEGRegression.from_pretrained(folder / "numbers" / "student").config
    assert (student.ch_names, student.n_times, student.id2label) == (["Pz", "C4"], 200, {0: "microvolts"})
    assert load_teacher(folder / "numbers" / "teacher").config.problem_type == "regression"


def test_its_card_and_its_report_speak_of_numbers(folder: Path, numbers: str) -> None:
    results = results_of(folder, "numbers")
    card = (folder / "numbers" / "student" / "README.md").read_text("utf-8")
    assert results["verdict"]["text"] in card and "MiCForEEGRegression" in card
    assert "mean absolute error" in card and "balanced accuracy" not in card
    said = ran(folder, "report", "numbers")
    assert "report.html" in said
    page = (folder / "numbers" / "report.html").read_text("utf-8")
    for words in ("Numbers of: DLink student", "Mean absolute error by subject", "Targets", "Spearman"):
        assert words in page, words
    assert "Balanced accuracy" not in page and "Confusions" not in page


def test_several_labels_are_distilled_from_the_packaged_teacher(folder: Path) -> None:
    words = [*DATA, *SPLIT, *FEW, *SEVERAL, "--route_weight", "0.2", "--output_dir", "several"]
    said = ran(folder, "distill", *words)
    results = results_of(folder, "several")
    assert results["labels"] == ["alpha", "beta"] and results["compared_by"]["name"] == "macro_f1"
    assert set(results["experts"]) == {"bandpower"} and "dlink-teacher-cbramod-4" in results["teacher"]
    scores = results["scores"]["test"]["DLink student"]
    assert set(scores["per_label"]) == {"alpha", "beta"} and 0 <= scores["macro_f1"] <= 1
    # band power finds both rhythms by the mean amplitude of a window
    assert results["teacher_verdict"]["band_power"]["mean"] > 0.9
    assert f"F1 of DLink student: alpha {scores['per_label']['alpha']['f1']:.3f}, beta" in said
    assert "points of macro F1" in results["verdict"]["text"] and "every label named" in said
    assert MiCForEEGClassification.from_pretrained(folder / "several" / "student").config.problem_type == SEVERAL[1]
    assert len(results["router_weights"]) == 4 and (folder / "several/student/plots/router_weights.png").is_file()
    card = (folder / "several" / "student" / "README.md").read_text("utf-8")
    assert "macro F1" in card and "sigmoid" in card and results["verdict"]["text"] in card
    ran(folder, "report", "several")
    page = (folder / "several" / "report.html").read_text("utf-8")
    assert "Macro F1 by subject" in page and "all labels right" in page and "Confusions" not in page


def test_a_teacher_of_numbers_is_fine_tuned_once_for_many_students(folder: Path) -> None:
    words = [*DATA, *SPLIT, *NUMBER, "--teacher_steps", "0"]
    said = ran(folder, "finetune-teacher", *words, "--output_dir", "teacher")
    teacher = DLinkTeacherForEEGRegression.from_pretrained(folder / "teacher" / "teacher")
    assert teacher.config.id2label == {0: "microvolts"} and 15 < teacher.config.target_mean[0] < 27
    # ridge regression on what the frozen backbone says knows much of the amplitude
    line = next(line for line in said.splitlines() if line.startswith("teacher  "))
    assert "Spearman" in said and float(line.split()[1]) > 0.5
    assert "teacher (checkpoint)" in said


@pytest.mark.parametrize("command", ["distill", "finetune-teacher"])
@pytest.mark.parametrize(
    ("cells", "reason"),
    [
        (["7"] * 8, "the same value of age (7)"),
        (["21", "34", "", "45", "51", "62", "38", "29"], "is not a finite number"),
    ],
)
def test_targets_that_teach_nothing_stop_before_any_training(
    folder: Path,
    command: str,
    cells: list[str],
    reason: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(folder)
    rows = "".join(f"s{subject}_raw.fif,{cell}\n" for subject, cell in enumerate(cells))
    (folder / "ages.csv").write_text("recording,age\n" + rows)
    words = [*DATA[:2], "--labels", "ages.csv", *DATA[4:], *SPLIT, "--problem_type", "regression", "--targets", "age"]
    assert main([command, *words, "--output_dir", "refused"]) != 0
    assert reason in " ".join(capsys.readouterr().err.split())
    assert not Path("refused").exists()


def test_a_label_that_always_holds_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    rows = "".join(f"s{subject}_raw.fif,{'a;b' if subject % 2 else 'b'}\n" for subject in range(8))
    (folder / "always.csv").write_text("recording,label\n" + rows)
    words = [*DATA[:2], "--labels", "always.csv", *DATA[4:], *SPLIT, *SEVERAL, "--output_dir", "refused"]
    assert main(["distill", *words]) != 0
    assert "the same value of b (1)" in " ".join(capsys.readouterr().err.split())


# --- verdicts ----------------------------------------------------------------------------------------------------


def errors(mean: float, seed: int = 0) -> dict[str, float]:
    rng = np.random.default_rng(seed)
    return {f"s{i}": mean + 0.05 * x for i, x in enumerate(rng.standard_normal(20))}


def test_less_error_is_better() -> None:
    measure = measure_for("regression", [3.0])
    both = {split: errors(4.0) for split in ("validation", "test")}
    less = {split: {who: error - 1.0 for who, error in of.items()} for split, of in both.items()}
    guess = {"test": errors(8.0)}
    found = distillation_verdict(less, both, {"test": errors(2.0)}, 1, measure, guess)
    assert found["helped"] and found["better_on_validation"] == "distilled" and not found["advice"]
    assert found["difference"]["mean"] == pytest.approx(1.0)
    assert found["text"].startswith("Distillation helped: a mean absolute error smaller by 1 (1 to 1) on 20 subjects")
    worse = distillation_verdict(both, less, {"test": errors(2.0)}, 1, measure, guess)
    assert worse["helped"] is False and worse["better_on_validation"] == "alone"
    assert "did harm: a mean absolute error larger by 1 (1 to 1)" in worse["text"]
    assert "better (a mean absolute error smaller by 1" in worse["advice"]
    near = distillation_verdict(both, both, {}, 1, measure, {"test": errors(4.0, seed=1)})
    assert near["helped"] is None and "near a guess" in near["advice"]
    knows = teacher_verdict(errors(2.0), errors(3.0), 1, measure, errors(8.0))
    assert knows["is_above_chance"] and not knows["advice"] and "ridge on band power 2.99" in knows["text"]
    weak = teacher_verdict(errors(8.5), None, 1, measure, errors(8.0))
    assert not weak["is_above_chance"] and "from a guess" in weak["advice"]


def test_targets_of_several_units_are_compared_in_standard_deviations() -> None:
    measure = measure_for("regression", [10.0, 0.5])
    labels, told = np.array([[20.0, 1.0], [40.0, 0.0]]), np.array([[25.0, 1.0], [40.0, 0.25]])
    assert measure.by_subject(labels, told, ["a", "b"]) == pytest.approx({"a": 0.25, "b": 0.25})
    assert Measure(**json.loads(json.dumps(measure.to_dict()))) == measure
    several = measure_for("multi_label_classification")
    held = np.array([[1.0, 0.0], [1.0, 1.0], [0.0, 0.0]])
    found = several.by_subject(held, np.array([[0.9, 0.1], [0.2, 0.8], [0.1, 0.1]]), ["a", "a", "b"])
    # of b no label holds and none is told
    assert found == pytest.approx({"a": (2 / 3 + 1) / 2})
    assert several.guessed(held, held[:2], ["a", "a"], 2) == pytest.approx({"a": (1 + 2 / 3) / 2})


# --- what a teacher is worth -------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["numbers", "labels"])
def test_a_student_with_a_teacher_beats_the_one_without(tmp_path: Path, kind: str) -> None:
    """Labels of two or four windows of each of four subjects; a teacher that had all, and unlabelled recordings."""
    folder, last = make_number_recordings(tmp_path, n_windows=40, strength=0.25), 4 if kind == "numbers" else 8
    lists = {"train": ["s0", "s1", "s2", "s3"], "validation": ["s4", "s5"], "test": ["s6", "s7"]}
    (folder / "split.json").write_text(json.dumps({"eeg": lists}))
    (folder / "train").mkdir(exist_ok=True)
    for subject in lists["train"]:
        shutil.copy(folder / "eeg" / f"{subject}_raw.fif", folder / "train")
    head, *rows = (folder / "labels.csv").read_text().splitlines()
    kept = [row for row in rows if row[:2] not in lists["train"] or float(row.split(",")[1]) < last]
    (folder / "few.csv").write_text("\n".join([head, *kept]) + "\n")
    common = [*SPLIT, "--split", "split.json", *(NUMBER if kind == "numbers" else SEVERAL)]
    ran(folder, "finetune-teacher", *DATA, *common, "--teacher_steps", "100", "--output_dir", f"knows_{kind}")
    words = [*DATA[:2], "--labels", "few.csv", *DATA[4:], *common, "--unlabelled", "train", "--experts", "none"]
    words += ["--teacher", f"knows_{kind}/teacher", "--max_steps", "150", "--student_size", "tiny"]
    ran(folder, "distill", *words, "--output_dir", f"few_{kind}")
    scores = results_of(folder, f"few_{kind}")["scores"]["test"]
    distilled, alone = scores["DLink student"], scores["student without a teacher"]
    name = "r2" if kind == "numbers" else "macro_f1"
    assert distilled[name] > alone[name] + 0.02
