# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Numbers, and several labels at once, through the commands: trained from a table, scored, predicted, described."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import mne
import numpy as np
import pytest
from number_recordings import make_number_recordings

from dlink_hf import MiCForEEGClassification, MiCForEEGRegression, TableLabels, build_dataset
from dlink_hf.commands import main


COMMON = ["--labels", "labels.csv", "--window_seconds", "2", "--subject_pattern", r"(s\d+)", "--validation", "2"]
TRAINING = ["--test", "2", "--student_size", "tiny", "--report_to", "none"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_number_recordings(tmp_path_factory.mktemp("numbers"))


@pytest.fixture(scope="module")
def regressor(folder: Path) -> Path:
    told = ["--problem_type", "regression", "--targets", "microvolts", "--max_steps", "150", "--output_dir", "number"]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        main(["finetune", "--dataset", "eeg", *COMMON, *TRAINING, *told, "--cache_dir", "cache"])
    return folder / "number" / "student"


def rows_of(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_a_regressor_is_trained_scored_and_asked(
    folder: Path, regressor: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    model = MiCForEEGRegression.from_pretrained(regressor)
    assert model.config.id2label == {0: "microvolts"} and 15 < model.config.target_mean[0] < 27
    told = ["--problem_type", "regression", "--targets", "microvolts", "--output_dir", "scores", "--test", "2"]
    main(["evaluate", "--model", str(regressor), "--dataset", "eeg", "--part", "test", *COMMON, *told])
    said = capsys.readouterr().out
    assert "R2" in said and "mean absolute error" in said and "balanced" not in said
    scores = json.loads((folder / "scores" / "scores.json").read_text())
    assert scores["spearman"] > 0.7 and set(scores["per_target"]) == {"microvolts"}
    predictions = rows_of(folder / "scores" / "predictions.csv")
    pairs = np.array([[float(row["microvolts"]), float(row["predicted microvolts"])] for row in predictions])
    assert np.corrcoef(pairs.T)[0, 1] == pytest.approx(scores["pearson"], abs=1e-3)

    main(["predict", "eeg/s0_raw.fif", "--model", str(regressor), "--output", "numbers.csv"])
    assert "20 windows of 2 s: microvolts" in capsys.readouterr().out
    found = rows_of(folder / "numbers.csv")
    assert list(found[0]) == ["onset", "predicted microvolts", "reason"] and found[3]["onset"] == "6"
    words = ["--format", "annotations", "--output", "n_annot.csv"]
    main(["predict", "eeg/s0_raw.fif", "--model", str(regressor), *words])
    described = mne.read_annotations(folder / "n_annot.csv").description
    number = float(found[3]["predicted microvolts"])
    assert described[3].startswith("microvolts=") and float(described[3].split("=")[1]) == pytest.approx(number, 1e-3)
    capsys.readouterr()
    main(["info", str(regressor)])
    assert "numbers" in (told := capsys.readouterr().out) and "microvolts" in told


def test_several_labels_are_trained_scored_and_asked(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    kind = ["--problem_type", "multi_label_classification"]
    main(["finetune", "--dataset", "eeg", *COMMON, *TRAINING, *kind, "--max_steps", "60", "--output_dir", "several"])
    assert "macro F1" in capsys.readouterr().out
    model = MiCForEEGClassification.from_pretrained("several/student")
    assert model.config.id2label == {0: "alpha", 1: "beta"}
    told = ["--output_dir", "several_scores", "--test", "2"]
    main(["evaluate", "--model", "several/student", "--dataset", "eeg", "--part", "test", *COMMON, *kind, *told])
    assert json.loads(Path("several_scores/scores.json").read_text())["macro_f1"] > 0.6
    rows = rows_of(Path("several_scores/predictions.csv"))
    assert {row["label"] for row in rows} <= {"alpha", "beta", "alpha;beta", "none"}
    main(["predict", "eeg/s0_raw.fif", "--model", "several/student", "--output", "several.csv"])
    row = rows_of(Path("several.csv"))[0]
    held = [name for name in ("alpha", "beta") if float(row[f"p_{name}"]) >= 0.5]
    assert row["label"] == (";".join(held) or "none")


def test_tables_of_numbers_become_datasets(folder: Path) -> None:
    options: dict[str, Any] = {"subject_pattern": r"(s\d+)", "cache_dir": folder / "cache", "progress": False}
    from dlink_hf import EEGFeatureExtractor, signal_fields

    extractor = EEGFeatureExtractor(n_times=400)
    two = build_dataset(
        folder / "eeg",
        extractor,
        TableLabels(folder / "labels.csv", targets=["microvolts", "is_beta"]),
        problem_type="regression",
        **options,
    )
    written = [[float(row["microvolts"]), float(row["is_beta"])] for row in rows_of(folder / "labels.csv")]
    np.testing.assert_allclose(np.asarray(two["labels"][:]), written, rtol=1e-6)
    assert signal_fields(two)["id2label"] == {0: "microvolts", 1: "is_beta"}
    columns = TableLabels(folder / "labels.csv", targets=["is_alpha", "is_beta"])
    flags = build_dataset(folder / "eeg", extractor, columns, problem_type="multi_label_classification", **options)
    names = build_dataset(
        folder / "eeg", extractor, TableLabels(folder / "labels.csv"), problem_type="multi_label_classification",
        **options,
    )  # fmt: skip
    np.testing.assert_array_equal(np.asarray(flags["labels"][:]), np.asarray(names["labels"][:]))


@pytest.mark.parametrize(
    ("table", "options", "reason"),
    [
        ("recording,label\ns0_raw.fif,rest\n", {"problem_type": "regression"}, "label 'rest' is not a number"),
        ("recording,label\ns0_raw.fif,inf\n", {"problem_type": "regression"}, "'inf' is not a finite number"),
        (
            "recording,label,onset,duration\ns0_raw.fif,1;2,0,2\ns0_raw.fif,3,2,2\n",
            {"problem_type": "regression"},
            "hold 1 numbers, others 2",
        ),
        ("recording,label\ns0_raw.fif,none\n", {"problem_type": "multi_label_classification"}, "names a label that"),
        (
            "recording,a,b\ns0_raw.fif,1,3\n",
            {"problem_type": "multi_label_classification", "targets": ["a", "b"]},
            "must be 0 or 1",
        ),
        ("recording,a\ns0_raw.fif,1\n", {"targets": ["a"]}, "say what they are, problem_type='regression'"),
        ("recording,label\ns0_raw.fif,1\n", {"problem_type": "ranking"}, "`problem_type`"),
        ("recording,a\ns0_raw.fif,1\n", {"targets": ["b"], "problem_type": "regression"}, "lacks the column b"),
    ],
)
def test_tables_that_hold_no_such_labels(
    folder: Path, tmp_path: Path, table: str, options: dict[str, Any], reason: str
) -> None:
    from dlink_hf import EEGFeatureExtractor

    (tmp_path / "labels.csv").write_text(table)
    targets = options.pop("targets", None)
    with pytest.raises(ValueError, match=reason):
        build_dataset(
            folder / "eeg" / "s0_raw.fif",
            EEGFeatureExtractor(n_times=400),
            TableLabels(tmp_path / "labels.csv", targets=targets),
            subjects=lambda path: "a",
            cache_dir=tmp_path / "cache",
            progress=False,
            **options,
        )


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["finetune", "--dataset", "synthetic", "--problem_type", "regression"], "synthetic has classes"),
        (["finetune", "--dataset", "eeg", "--targets", "microvolts"], "names columns of a table"),
        (["distill", "--dataset", "synthetic", "--problem_type", "regression"], "synthetic has classes"),
    ],
)
def test_what_commands_refuse(
    folder: Path, words: list[str], reason: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    assert main(words) != 0
    assert reason in " ".join(capsys.readouterr().err.split())


def test_constant_targets_and_targets_that_are_missing_stop_a_training(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    for number, reason in (("7", "the same value of age (7)"), ("", "is not a finite number")):
        rows = "".join(f"s{subject}_raw.fif,{number}\n" for subject in range(8))
        (folder / "ages.csv").write_text("recording,age\n" + rows)
        words = ["--problem_type", "regression", "--targets", "age", "--max_steps", "1", "--output_dir", "refused"]
        assert main(["finetune", "--dataset", "eeg", "--labels", "ages.csv", *COMMON[2:], *TRAINING, *words]) != 0
        assert reason in " ".join(capsys.readouterr().err.split())
