# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""The `dlink` command: what it prints, writes and refuses."""

import csv
import json
import subprocess
import sys

import mne
import numpy as np
import pytest
import torch
import yaml
from toy_training import toy_dataset

from dlink_hf import (
    DLinkTrainingArguments,
    EEGFeatureExtractor,
    MiCConfig,
    MiCForEEGClassification,
    make_synthetic_recordings,
    signal_fields,
    synthetic_dataset,
)
from dlink_hf.commands import COMMANDS, main
from dlink_hf.commands.arguments import TRAINING_DEFAULTS, DataArguments, DistillArguments, parse
from dlink_hf.commands.windows import parse_label_map, split_windows


NAMES = ["F3", "C3", "Cz", "C4", "Pz"]


@pytest.fixture(scope="module")
def dataset():
    extractor = EEGFeatureExtractor(ch_names=NAMES, sfreq=200.0, n_times=400, l_freq=0.5)
    return synthetic_dataset(n_subjects=7, n_trials=6, seed=1, extractor=extractor, progress=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, dataset):
    """A saved student with its feature extractor, a recording, and a saved dataset."""
    folder = tmp_path_factory.mktemp("commands")
    torch.manual_seed(0)
    student = MiCForEEGClassification(MiCConfig.from_size("tiny", **signal_fields(dataset)))
    student.save_pretrained(folder / "student")
    EEGFeatureExtractor(ch_names=NAMES, sfreq=200.0, n_times=400, l_freq=0.5).save_pretrained(folder / "student")
    raw = make_synthetic_recordings(n_subjects=1, n_trials=4, seed=9, progress=False)[0]
    mne.export.export_raw(folder / "recording.edf", raw, verbose="ERROR")
    dataset.save_to_disk(folder / "windows")
    return folder


def test_help_lists_every_command_and_loads_nothing_heavy():
    code = "import sys; from dlink_hf.commands import main; main(['--help']); sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for name, (_, text) in COMMANDS.items():
        assert name in done.stdout and text in done.stdout


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_help_of_a_command_names_its_flags(command, capsys):
    with pytest.raises(SystemExit) as stopped:
        main([command, "--help"])
    text = capsys.readouterr().out
    assert stopped.value.code == 0 and f"usage: dlink {command}" in text
    assert "default: None" not in text and len(text.splitlines()) < 260


def test_words_that_are_not_understood(capsys):
    assert main([]) == 2
    assert main(["destill"]) == 2
    assert "no command 'destill'" in capsys.readouterr().err
    with pytest.raises(SystemExit) as stopped:
        main(["predict", "--no_such_flag", "1"])
    assert stopped.value.code == 2


@pytest.mark.parametrize("ending", ["yaml", "json"])
def test_a_file_of_arguments_equals_the_flags(tmp_path, ending):
    values = {"dataset": "eegmat", "split": "0/5", "kd_weight": 0.25, "output_dir": "x", "learning_rate": 0.01}
    values["spectral_axes"] = ["time", "features"]
    path = tmp_path / f"settings.{ending}"
    path.write_text(json.dumps(values) if ending == "json" else yaml.safe_dump(values))
    classes = (DataArguments, DistillArguments, DLinkTrainingArguments)
    flags = "--dataset eegmat --split 0/5 --kd_weight 0.25 --output_dir x --learning_rate 0.01"
    flags += " --spectral_axes time features"
    from_file = parse("distill", "", classes, [str(path)], TRAINING_DEFAULTS)
    from_flags = parse("distill", "", classes, flags.split(), TRAINING_DEFAULTS)
    assert from_file[:2] == from_flags[:2]
    differing = {key for key, value in from_file[2].to_dict().items() if value != from_flags[2].to_dict()[key]} - {
        "logging_dir"
    }
    assert not differing
    assert from_flags[2].metric_for_best_model == TRAINING_DEFAULTS["metric_for_best_model"]


def test_a_file_with_an_unknown_argument_is_refused(tmp_path, capsys):
    (tmp_path / "settings.yaml").write_text("datset: eegmat\n")
    assert main(["distill", str(tmp_path / "settings.yaml")]) == 1
    assert "datset" in capsys.readouterr().err
    assert main(["distill", str(tmp_path / "missing.yaml")]) == 1
    assert "missing.yaml" in capsys.readouterr().err


def test_label_maps():
    assert parse_label_map("T1=left, T2=right,rest") == {"T1": "left", "T2": "right", "rest": "rest"}
    for text in ("", "=left", "T1="):
        with pytest.raises(ValueError, match="T1=left"):
            parse_label_map(text)


def test_predict_writes_one_row_a_window(folder, capsys):
    out = folder / "out" / "predictions.csv"
    words = ["predict", str(folder / "recording.edf"), "--model", str(folder / "student"), "--output", str(out)]
    assert main([*words, "--stride_seconds", "1"]) == 0
    with open(out, newline="") as file:
        rows = list(csv.DictReader(file))
    # the same by hand
    extractor = EEGFeatureExtractor.from_pretrained(folder / "student", stride=200)
    batch = extractor(str(folder / "recording.edf"), return_tensors="pt")
    model = MiCForEEGClassification.from_pretrained(folder / "student").eval()
    with torch.no_grad():
        expected = model(batch["input_values"], batch["channel_positions"]).logits.double().softmax(-1).numpy()
    assert len(rows) == len(expected) == int(capsys.readouterr().out.split()[0])
    np.testing.assert_allclose([float(row["onset"]) for row in rows], batch["onset"])
    names = list(model.config.id2label.values())
    np.testing.assert_allclose([[float(row[f"p_{name}"]) for name in names] for row in rows], expected, atol=1e-5)
    assert [row["label"] for row in rows] == [names[index] for index in expected.argmax(1)]


def test_predict_writes_annotations(folder):
    out = folder / "recording_annot.fif"
    words = ["predict", str(folder / "recording.edf"), "--model", str(folder / "student"), "--output", str(out)]
    assert main([*words, "--format", "annotations"]) == 0
    annotations = mne.read_annotations(out)
    with_csv = folder / "beside.csv"
    assert main([*words[:-1], str(with_csv)]) == 0
    with open(with_csv, newline="") as file:
        rows = list(csv.DictReader(file))
    np.testing.assert_allclose(annotations.onset, [float(row["onset"]) for row in rows], atol=1e-6)
    np.testing.assert_allclose(annotations.duration, 2.0)
    assert list(annotations.description) == [row["label"] for row in rows]


def test_bad_input_ends_with_a_sentence_and_status_1(folder, tmp_path):
    (tmp_path / "notes.edf").write_text("not an EEG recording")
    student = str(folder / "student")
    code = "import sys; from dlink_hf.commands import main; sys.exit(main(sys.argv[1:]))"
    words = [sys.executable, "-c", code, "predict", str(tmp_path / "notes.edf"), "--model", student]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 1 and "notes.edf" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["predict", "recording.edf"], "--model"),
        (["predict", "missing.edf", "--model", "student"], "missing.edf"),
        (["predict", "recording.edf", "--model", "windows"], "config.json"),
        (["predict", "recording.edf", "--model", "student", "--format", "xml"], "--format"),
        (["predict", "recording.edf", "--model", "student", "--stride_seconds", "0"], "--stride_seconds"),
        (["evaluate", "--dataset", "windows"], "--model"),
        (["evaluate", "--model", "student"], "--dataset"),
        (["distill", "--dataset", "nowhere"], "nowhere"),
        (["distill", "--dataset", "eegmat", "--data_dir", "windows"], "eegmat"),
        (["distill", "--dataset", "windows", "--split", "9/5"], "--split"),
        (["distill", "--dataset", "windows", "--split", "published"], "published"),
        (["distill", "--dataset", "windows", "--teacher_backbone", "EEGNet"], "teacher_backbone"),
        (["distill", "--dataset", "windows", "--student_size", "huge"], "size"),
        (["distill", "--dataset", "windows", "--test", "7"], "subject"),
        (["info", "student/config.json"], "config.json"),
    ],
)
def test_contradictory_words_are_refused_by_name(words, reason, folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    fast = ["--teacher_layers", "1", "--teacher_epochs", "1"] if words[0] == "distill" else []
    assert main([*words, *fast]) == 1
    assert reason in capsys.readouterr().err


def test_evaluate_agrees_with_the_rows_it_writes(folder, dataset, capsys):
    from sklearn.metrics import balanced_accuracy_score

    out = folder / "scores"
    words = ["evaluate", "--model", str(folder / "student"), "--dataset", str(folder / "windows")]
    assert main([*words, "--output_dir", str(out)]) == 0
    scores = json.loads((out / "scores.json").read_text())
    with open(out / "predictions.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(dataset)
    expected = balanced_accuracy_score([row["label"] for row in rows], [row["predicted"] for row in rows])
    assert scores["balanced_accuracy"] == pytest.approx(expected)
    assert set(scores["per_subject"]) == {row["subject"] for row in rows}
    assert f"{expected:.3f}" in capsys.readouterr().out


def test_train_a_teacher_distil_it_and_fine_tune_the_student(folder, capsys):
    """Each command takes what the one before it left."""
    common = ["--dataset", str(folder / "windows"), "--use_cpu", "True", "--validation", "2", "--test", "2"]
    common += ["--num_train_epochs", "2", "--per_device_train_batch_size", "8"]
    teacher = folder / "t"
    words = ["finetune-teacher", *common, "--teacher_layers", "2", "--teacher_epochs", "1"]
    assert main([*words, "--output_dir", str(teacher)]) == 0
    assert (teacher / "teacher" / "model.safetensors").is_file()
    words = ["distill", *common, "--teacher", str(teacher / "teacher"), "--student_size", "tiny"]
    # a stage and a routing of layers that nothing reads
    for flag, value in (("--mimic_epochs", "1"), ("--routing", "static")):
        assert main([*words, "--output_dir", str(folder / "nothing"), flag, value]) == 1
        assert f"{flag} is about the teacher's layers" in capsys.readouterr().err
    words += ["--mimic_epochs", "1", "--route_weight", "0.2", "--spectral_weight", "0.1"]
    assert main([*words, "--output_dir", str(folder / "d"), "--routing", "static", "--no_baseline"]) == 0
    printed = capsys.readouterr().out
    assert "DLink student" in printed and "student without a teacher" not in printed
    assert "seen by none of the models" in printed
    # another split would test on people that the teacher was trained on
    assert main([*words, "--output_dir", str(folder / "leak"), "--split_seed", "5"]) == 1
    assert "memory" in capsys.readouterr().err
    assert not (folder / "leak" / "results.json").exists()
    results = json.loads((folder / "d" / "results.json").read_text())
    assert set(results["scores"]) == {"validation", "test"}
    assert not set(results["subjects"]["train"]) & set(results["subjects"]["test"])
    assert sum(results["router_weights"]) == pytest.approx(1, abs=1e-4)
    student = folder / "d" / "student"
    words = ["finetune", *common, "--student", str(student), "--output_dir", str(folder / "f")]
    assert main(words) == 0
    before = MiCForEEGClassification.from_pretrained(student).state_dict()
    after = MiCForEEGClassification.from_pretrained(folder / "f" / "student").state_dict()
    assert before.keys() == after.keys() and any(not torch.equal(before[key], after[key]) for key in before)
    assert main(["info", str(teacher / "teacher")]) == 0
    assert "CBraMod teacher, 2 layers" in capsys.readouterr().out
    # a teacher that does not say whom it has seen: the table and the card say that it is not known
    (teacher / "teacher" / "people.json").unlink()
    words = ["distill", *common, "--teacher", str(teacher / "teacher"), "--student_size", "tiny", "--no_baseline"]
    assert main([*words, "--output_dir", str(folder / "unknown")]) == 0
    assert "is not known" in capsys.readouterr().out
    assert "is not known" in (folder / "unknown" / "student" / "README.md").read_text("utf-8")


def test_a_file_says_who_trains_and_who_tests(tmp_path, caplog):
    dataset = toy_dataset(["a", "b", "c", "d", "e"], 6)
    lists = {"mine": {"train": ["b", "d"], "validation": ["a"], "test": ["e", "z"]}, "other": {"test": ["a"]}}
    (tmp_path / "people.json").write_text(json.dumps(lists), encoding="utf-8")
    splits = split_windows(dataset, DataArguments(dataset="mine", split=str(tmp_path / "people.json")))
    found = {name: sorted(set(split["subject"])) for name, split in splits.items()}
    assert found == {"train": ["b", "d"], "validation": ["a"], "test": ["e"]}
    assert "names 1 subjects without a window: ['z']" in caplog.text
    with pytest.raises(ValueError, match="no list of 'other' to train on"):
        split_windows(dataset, DataArguments(dataset="other", split=str(tmp_path / "people.json")))
    with pytest.raises(FileNotFoundError, match="no file"):
        split_windows(dataset, DataArguments(dataset="mine", split=str(tmp_path / "nobody.json")))
