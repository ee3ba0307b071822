# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Probabilities, scores and predictions on disk, of models over windows."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import (
    average_precision_score,
    balanced_accuracy_score,
    cohen_kappa_score,
    f1_score,
    roc_auc_score,
)
from toy_training import LABELS, NAMES, toy_dataset, toy_student

from dlink_hf.core.electrodes import channel_positions
from dlink_hf.data import SignalInfo, set_signal_info
from dlink_hf.data.model_contract import label_names
from dlink_hf.evaluation.predict import (
    dataset_predictions,
    evaluate_model,
    predict_probabilities,
    write_predictions,
)


ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def student():
    torch.manual_seed(0)
    model = toy_student()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return model


@pytest.fixture(scope="module")
def dataset():
    return toy_dataset(["S1", "S2", "S3"], n_windows=7)


@pytest.fixture(scope="module")
def probabilities(student, dataset):
    return predict_probabilities(student, dataset)


def read(path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


# --- probabilities ----------------------------------------------------------------------------------------------


def test_probabilities_are_the_softmax_of_each_window(student, dataset, probabilities):
    student.train()
    again = predict_probabilities(student, dataset, batch_size=4)
    assert student.training  # as it was found
    student.eval()
    expected = []
    for window in dataset["input_values"][:]:
        with torch.no_grad():
            logits = student(torch.tensor(window)[None]).logits[0].double().numpy()
        expected.append(np.exp(logits) / np.exp(logits).sum())
    assert probabilities.shape == (21, 2) and probabilities.dtype == np.float64
    np.testing.assert_allclose(probabilities, expected, rtol=1e-5)
    np.testing.assert_allclose(again, expected, rtol=1e-5)
    np.testing.assert_allclose(probabilities.sum(1), 1.0, rtol=1e-12)
    assert np.ptp(probabilities[:, 0]) > 0.01  # else any constant would do


def test_arrays_and_positions_are_taken_too(student, dataset, probabilities):
    windows = dataset["input_values"][:]
    np.testing.assert_array_equal(predict_probabilities(student, windows), probabilities)
    order = [2, 0, 3, 1]
    positions = torch.tensor(channel_positions([NAMES[index] for index in order]), dtype=torch.float32)
    shuffled = predict_probabilities(student, windows[:, order], channel_positions=positions)
    np.testing.assert_allclose(shuffled, probabilities, rtol=1e-5)
    assert np.abs(predict_probabilities(student, windows[:, order]) - probabilities).max() > 1e-4


def test_no_windows_is_an_error(student, dataset):
    with pytest.raises(ValueError, match="no windows to classify"):
        predict_probabilities(student, dataset.select([]))
    with pytest.raises(ValueError, match="no windows to classify"):
        predict_probabilities(student, np.zeros((0, 4, 400), dtype=np.float32))
    with pytest.raises(ValueError, match="no windows to classify"):
        evaluate_model(student, dataset.select([]))


# --- scores -----------------------------------------------------------------------------------------------------


def test_scores_are_those_of_scikit_learn(student, dataset, probabilities):
    scores, returned = evaluate_model(student, dataset)
    np.testing.assert_array_equal(returned, probabilities)
    labels, guesses = dataset["labels"][:], probabilities.argmax(1)
    assert len(set(guesses)) == 2
    expected = {
        "balanced_accuracy": balanced_accuracy_score(labels, guesses),
        "cohen_kappa": cohen_kappa_score(labels, guesses),
        "weighted_f1": f1_score(labels, guesses, average="weighted"),
        "auroc": roc_auc_score(labels, probabilities[:, 1]),
        "auc_pr": average_precision_score(labels, probabilities[:, 1]),
    }
    for name, value in expected.items():
        assert scores[name] == pytest.approx(value, abs=1e-12), name
    assert scores["n_windows"] == 21 and list(scores["per_class"]) == LABELS
    assert list(scores["per_subject"]) == ["S1", "S2", "S3"]
    second = slice(7, 14)
    assert scores["per_subject"]["S2"]["balanced_accuracy"] == pytest.approx(
        balanced_accuracy_score(labels[second], guesses[second])
    )


def test_a_dataset_without_subjects_is_scored_too(student, dataset):
    scores, _ = evaluate_model(student, dataset.remove_columns("subject"))
    assert "per_subject" not in scores
    assert scores["auroc"] == evaluate_model(student, dataset)[0]["auroc"]
    with pytest.raises(ValueError, match="no column 'labels'.*'input_values', 'subject'"):
        evaluate_model(student, dataset.remove_columns("labels"))


def test_labels_that_the_model_does_not_know_are_named(student, dataset):
    three = toy_dataset(["S1"], names=["rest", "left", "right"])
    with pytest.raises(ValueError, match=r"knows the labels \['rest', 'task'\].*does not know \['left', 'right'\]"):
        evaluate_model(student, three)
    swapped = toy_dataset(["S1"], names=["task", "rest"])
    with pytest.raises(ValueError, match="the order differs"):
        evaluate_model(student, swapped)
    unnamed = toy_student(id2label=None, num_labels=2)
    assert label_names(unnamed) == ["LABEL_0", "LABEL_1"]
    evaluate_model(unnamed, dataset)
    with pytest.raises(ValueError, match="2"):
        evaluate_model(unnamed, three)


def test_the_montage_of_the_windows_is_respected(student, dataset):
    expected = evaluate_model(student, set_signal_info(dataset, SignalInfo(tuple(NAMES), 200.0, 400)))[1]
    np.testing.assert_array_equal(expected, predict_probabilities(student, dataset))
    order = [3, 1, 0, 2]
    windows = dataset["input_values"][:][:, order]
    turned = dataset.map(lambda row, index: {"input_values": windows[index]}, with_indices=True)
    facts = SignalInfo(tuple(NAMES[index] for index in order), 200.0, 400)
    np.testing.assert_allclose(evaluate_model(student, set_signal_info(turned, facts))[1], expected, rtol=1e-5)
    with pytest.raises(ValueError, match="reads 200 Hz, the windows have 256 Hz"):
        evaluate_model(student, set_signal_info(dataset, SignalInfo(tuple(NAMES), 256.0, 400)))


def test_a_teacher_refuses_another_montage(dataset):
    pytest.importorskip("braindecode", reason="teachers need braindecode: pip install 'dlink-hf[teachers]'")
    from toy_training import toy_teacher

    teacher = toy_teacher()
    facts = SignalInfo(("Cz", "C3", "C4", "Pz"), 200.0, 400)
    with pytest.raises(ValueError, match="reads the channels C3, Cz, C4, Pz in this order"):
        evaluate_model(teacher, set_signal_info(dataset, facts))
    assert len(evaluate_model(teacher, dataset)[1]) == 21


# --- predictions on disk ----------------------------------------------------------------------------------------


def test_predictions_have_one_row_a_window(dataset, probabilities, tmp_path):
    timed = dataset.add_column("onset", [round(2.5 * index, 4) for index in range(len(dataset))])
    timed = timed.add_column("recording", [f'{subject}, "run" 1.edf' for subject in dataset["subject"][:]])
    path = dataset_predictions(tmp_path / "new" / "predictions.csv", timed, probabilities, LABELS)
    rows = read(path)
    assert list(rows[0]) == ["subject", "recording", "onset", "label", "predicted", "p_rest", "p_task"]
    assert len(rows) == 21
    written = np.array([[float(row["p_rest"]), float(row["p_task"])] for row in rows])
    np.testing.assert_allclose(written, probabilities, atol=5.1e-7)
    assert [row["predicted"] for row in rows] == [LABELS[index] for index in probabilities.argmax(1)]
    assert [row["label"] for row in rows] == [LABELS[index] for index in dataset["labels"][:]]
    assert [float(row["onset"]) for row in rows] == [2.5 * index for index in range(21)]
    assert [row["recording"] for row in rows] == list(timed["recording"][:])
    assert [path.name for path in path.parent.iterdir()] == ["predictions.csv"]


def test_another_file_is_replaced(probabilities, tmp_path):
    path = tmp_path / "predictions.csv"
    path.write_text("old")
    write_predictions(path, {"onset": np.arange(21) * 5.0}, probabilities, LABELS, predicted="label")
    assert list(read(path)[0]) == ["onset", "label", "p_rest", "p_task"]


@pytest.mark.parametrize(
    ("columns", "shape", "names", "message"),
    [
        ({}, (0, 2), LABELS, "at least one window"),
        ({}, (3, 2), ["rest"], r"must be \(windows, 1\)"),
        ({}, (3,), LABELS, r"got shape \(3,\)"),
        ({"onset": [0.0, 1.0]}, (3, 2), LABELS, r"each of 3 windows, got \{'onset': 2\}"),
    ],
)
def test_what_does_not_fit_is_not_written(columns, shape, names, message, tmp_path):
    path = tmp_path / "predictions.csv"
    path.write_text("old")
    with pytest.raises(ValueError, match=message):
        write_predictions(path, columns, np.full(shape, 0.5), names)
    assert path.read_text() == "old"


def test_a_full_disk_leaves_the_old_file(tmp_path):
    path = tmp_path / "predictions.csv"
    path.write_text("old")
    code = """
    import resource, signal, sys
    import numpy as np
    from dlink_hf.evaluation.predict import write_predictions
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
    try:
        write_predictions(sys.argv[1], {"onset": np.arange(5000.0)}, np.full((5000, 2), 0.5), ["rest", "task"])
    except OSError as error:
        print(error)
        sys.exit(7)
    """
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), str(path)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=1000,
    )
    assert result.returncode == 7 and "too large" in result.stdout, result.stderr
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["predictions.csv"]
