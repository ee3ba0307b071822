# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""`dlink predict` and `dlink evaluate` on recordings with artefacts: reasons, counts, both scores."""

import csv
import json

import mne
import numpy as np
import pytest
import torch
from data_recordings import CHANNELS, make_raw
from sklearn.metrics import balanced_accuracy_score

from dlink_hf import EEGFeatureExtractor, MiCConfig, MiCForEEGClassification
from dlink_hf.commands import main
from dlink_hf.commands.predict import PredictArguments, classify_recording
from dlink_hf.hub.model_card import build_model_card


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two people: a loud stretch from 10 s to 16 s, one marked bad from 50 s to 54 s; a student of chance."""
    folder = tmp_path_factory.mktemp("artefacts")
    (folder / "recordings").mkdir()
    for seed in range(2):
        raw = make_raw([(0.0, 40.0, "rest"), (40.0, 40.0, "task")], 80.0, subject=f"S{seed}", seed=seed)
        values, loud = raw.get_data(), (raw.times >= 10) & (raw.times < 16)
        values[:, loud] += 1e-3 * np.sin(2 * np.pi * 3 * raw.times[loud])
        noisy = mne.io.RawArray(values, raw.info, verbose="error").set_annotations(raw.annotations)
        noisy.annotations.append(50.0, 4.0, "BAD_talk")
        noisy.save(folder / "recordings" / f"S{seed}_raw.fif", fmt="double", verbose="error")
    torch.manual_seed(0)
    labels = {0: "rest", 1: "task"}
    model = MiCForEEGClassification(MiCConfig.from_size("tiny", ch_names=CHANNELS, n_times=400, id2label=labels))
    model.save_pretrained(folder / "student")
    settings = {"ch_names": CHANNELS, "n_times": 400, "alignment": "euclidean", "reject_uv": 300.0}
    EEGFeatureExtractor(**settings).save_pretrained(folder / "student")
    return folder


def rows_of(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_predict_gives_reasons(folder, capsys):
    recording, out = folder / "recordings" / "S0_raw.fif", folder / "out.csv"
    words = ["predict", str(recording), "--model", str(folder / "student")]
    assert main([*words, "--output", str(out)]) == 0
    said = capsys.readouterr().out
    assert "fitted on 35 clean, unlabelled windows" in said and "5 have no label, as training saw none like" in said
    rows = rows_of(out)
    unjudged = [row for row in rows if row["reason"]]
    assert [float(row["onset"]) for row in unjudged] == [10, 12, 14, 50, 52]
    assert [row["reason"] for row in unjudged[3:]] == ["marked BAD_talk"] * 2
    assert all(row["label"] == row["p_rest"] == row["p_task"] == "" for row in unjudged)
    assert all(row["label"] in ("rest", "task") for row in rows if not row["reason"])
    # all of them on request, the reasons stay
    assert main([*words, "--output", str(out), "--label_all", "true"]) == 0
    forced = rows_of(out)
    assert [row["reason"] for row in forced] == [row["reason"] for row in rows]
    found = classify_recording(PredictArguments(model=str(folder / "student"), recording=str(recording)))
    assert [row["label"] for row in forced] == found.labels
    # annotations that MNE leaves out
    assert main([*words, "--output", str(folder / "out_annot.fif"), "--format", "annotations"]) == 0
    marks = [text for text in mne.read_annotations(folder / "out_annot.fif").description if text.startswith("BAD")]
    assert marks == [f"BAD_unjudged: {row['reason']}" for row in unjudged]


def test_evaluate_says_how_many_are_judged_and_gives_both_scores(folder, capsys):
    words = ["evaluate", "--model", str(folder / "student"), "--dataset", str(folder / "recordings")]
    cache = ["--cache_dir", str(folder / "cache")]
    assert main([*words, *cache, "--output_dir", str(folder / "scores")]) == 0
    assert "70 windows of 2 subjects are judged, of 80" in capsys.readouterr().out
    scores, rows = (
        json.loads((folder / "scores" / "scores.json").read_text()),
        rows_of(folder / "scores/predictions.csv"),
    )
    assert len(rows) == 80
    for found, chosen in (
        (scores, [row for row in rows if not row["reason"]]),
        (scores["all_windows"], rows),
    ):
        expected = balanced_accuracy_score([row["label"] for row in chosen], [row["predicted"] for row in chosen])
        assert found["balanced_accuracy"] == pytest.approx(expected) and found["n_windows"] == len(chosen)
    config = MiCForEEGClassification.from_pretrained(folder / "student").config
    card = str(build_model_card(config, name="student", results={"test": scores}))
    assert "| test | 70 | 2 |" in card and "| test, all windows | 80 | 2 |" in card
    assert "a reason in place of a label" in card
    del scores["all_windows"]
    assert "all windows" not in str(build_model_card(config, name="student", results={"test": scores}))
