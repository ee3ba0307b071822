# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""A label for every place of recordings, by their annotations, through the commands of training."""

from __future__ import annotations

import contextlib
import csv
import io
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import mne
import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score, f1_score
from toy_training import NAMES

import dlink_hf
from dlink_hf import AnnotationLabels, EEGFeatureExtractor, PathLabels, load_classifier, token_scores
from dlink_hf.commands import main
from dlink_hf.data.labels import Segment
from dlink_hf.data.place_labels import build_place_dataset, label_places
from dlink_hf.evaluation.comparison import subject_kappas


PLACES = ["--problem_type", "token_classification", "--background", "rest"]
FILTERS = ["--l_freq", "0.5", "--h_freq", "40"]
DATA = ["--dataset", "eeg", "--window_seconds", "6", "--subject_pattern", r"(s\d+)_", *FILTERS]
SPLIT = ["--validation", "2", "--test", "2", "--cache_dir", "cache", "--use_cpu", "True", "--disable_tqdm", "true"]
FEW = ["--max_steps", "3", "--teacher_steps", "2", "--student_size", "tiny", "--views", "2", "--logging_steps", "1"]
FRESH = ["--teacher_checkpoint", "none", "--teacher_layers", "1"]


def make_burst_recordings(root: Path, n_subjects: int = 8, n_seconds: int = 60) -> Path:
    """Write noise with bursts of 10 Hz over C3, 1 to 3 s long, whole seconds, annotated "burst"."""
    (root / "eeg").mkdir()
    time = np.arange(200 * n_seconds) / 200.0
    for subject in range(n_subjects):
        rng = np.random.default_rng(subject)
        values = rng.uniform(6, 9) * rng.standard_normal((len(NAMES), len(time)))
        onsets, durations, second = [], [], int(rng.integers(1, 4))
        while second + 3 < n_seconds:
            onsets.append(second)
            durations.append(int(rng.integers(1, 4)))
            second += durations[-1] + int(rng.integers(1, 5))
        for onset, duration in zip(onsets, durations, strict=True):
            held = (time >= onset) & (time < onset + duration)
            values[0] += held * 15 * np.sin(2 * np.pi * rng.uniform(9.5, 10.5) * time)
        raw = mne.io.RawArray(1e-6 * values, mne.create_info(list(NAMES), 200.0, "eeg"), verbose="ERROR")
        raw.set_annotations(mne.Annotations(onsets, durations, ["burst"] * len(onsets)))
        raw.save(root / "eeg" / f"s{subject}_raw.fif", verbose="ERROR")
    return root


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_burst_recordings(tmp_path_factory.mktemp("places"))


def ran(folder: Path, *words: str, code: int = 0) -> str:
    """What a command printed, run in the folder."""
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(io.StringIO()) as said,
        contextlib.redirect_stderr(said),
    ):
        patch.chdir(folder)
        assert main(list(words)) == code, said.getvalue()
    return said.getvalue()


def test_a_place_has_the_label_that_covers_most_of_it() -> None:
    segments = [
        Segment(0.0, 1.0, "a"),
        Segment(1.3, 0.6, "b"),  # most of the second place
        Segment(2.6, 0.3, "a"),  # less than half
        Segment(3.0, 0.3, "a"),
        Segment(3.3, 0.4, "b"),  # more than a, and than nothing
        Segment(4.0, 0.5, "a"),  # as much as nothing
        Segment(5.0, None, "b"),  # to the end
        Segment(0.0, 9.0, "other"),
    ]
    found = label_places(segments, 6.5, np.array([0.0, 4.0]), 4, 1.0, ["a", "b"], -100)
    assert found.tolist() == [[0, 1, -100, 1], [0, 1, 1, -100]]


def test_stretches_have_the_labels_of_their_recordings(folder: Path, tmp_path: Path) -> None:
    extractor = EEGFeatureExtractor(n_times=1200, l_freq=None, h_freq=None)
    options: dict[str, Any] = {"subject_pattern": r"(s\d+)_", "cache_dir": tmp_path, "progress": False}
    dataset = build_place_dataset(folder / "eeg", extractor, background="rest", **options)
    assert len(dataset) == 80 and sorted(set(dataset["subject"][:])) == [f"s{number}" for number in range(8)]
    for subject in ("s0", "s5"):
        notes = mne.io.read_raw_fif(folder / "eeg" / f"{subject}_raw.fif", verbose="ERROR").annotations
        wanted = np.zeros(60, dtype=int)
        for onset, duration in zip(notes.onset, notes.duration, strict=True):
            wanted[round(onset) : round(onset + duration)] = 1
        rows = [row for row in dataset.with_format(None) if row["subject"] == subject]
        found = np.concatenate([row["labels"] for row in sorted(rows, key=lambda row: row["onset"])])
        np.testing.assert_array_equal(found, wanted)
    longer = build_place_dataset(folder / "eeg", extractor, background="rest", seconds_per_label=2.0, **options)
    assert np.asarray(longer["labels"][:]).shape == (80, 3)
    with pytest.raises(ValueError, match=r"only one class has labelled places: .* \(--background none\)"):
        build_place_dataset(folder / "eeg", extractor, **options)
    with pytest.raises(ValueError, match="gives a label for each whole recording, .* columns onset and duration"):
        build_place_dataset(folder / "eeg", extractor, PathLabels(r"(s)\d_"), **options)
    with pytest.raises(ValueError, match=r"A stretch of 6 s at 200 Hz does not hold whole labels of 4 s"):
        build_place_dataset(folder / "eeg", extractor, seconds_per_label=4.0, **options)
    with pytest.raises(ValueError, match="no annotation has one of the labels .* found are"):
        build_place_dataset(folder / "eeg", extractor, AnnotationLabels({"x": "x"}), ignore_labels="others", **options)
    raw = mne.io.read_raw_fif(folder / "eeg" / "s0_raw.fif", preload=True, verbose="ERROR")
    raw.set_annotations(mne.Annotations([1.0, 2.0], 0.0, "burst"))
    raw.info["subject_info"] = {"his_id": "s0"}
    with pytest.raises(ValueError, match=r"markers without a length, .* \(--trial_duration 2"):
        build_place_dataset(raw, extractor, background="rest", cache_dir=tmp_path)


def test_kappa_and_macro_f1_of_every_subject_are_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    labels, outputs = rng.integers(0, 3, (12, 5)), rng.dirichlet(np.ones(3), (12, 5))
    labels[rng.uniform(size=labels.shape) < 0.3] = -100
    subjects = np.repeat(["a", "b", "c"], 4)
    found, scores = subject_kappas(labels, outputs, subjects), token_scores(labels, outputs, subjects)
    for subject in "abc":
        true, told = labels[subjects == subject].ravel(), outputs[subjects == subject].argmax(-1).ravel()
        true, told = true[true != -100], told[true != -100]
        assert found[subject] == pytest.approx(cohen_kappa_score(true, told))
        row = scores["per_subject"][subject]
        assert row["cohen_kappa"] == pytest.approx(found[subject])
        assert row["macro_f1"] == pytest.approx(f1_score(true, told, average="macro"))


def check_run(folder: Path, run: str, said: str) -> dict[str, Any]:
    """Compare what a distillation wrote with an independent computation; return its results."""
    results = json.loads((folder / run / "results.json").read_text("utf-8"))
    assert results["problem_type"] == "token_classification" and results["labels"] == ["rest", "burst"]
    assert results["compared_by"]["name"] == "cohen_kappa" and results["experts"] is None
    kappas: dict[str, dict[str, float]] = {}
    for name, scores in results["scores"]["test"].items():
        of_subject = defaultdict(list)
        with open(folder / run / "predictions" / f"test_{name.replace(' ', '_')}.csv", newline="") as file:
            rows = list(csv.DictReader(file))
        assert {float(row["onset"]) % 1 for row in rows} == {0.0} and len(rows) == 120
        for row in rows:
            of_subject[row["subject"]].append((row["label"], row["predicted"]))
        kappas[name] = {who: cohen_kappa_score(*zip(*pairs, strict=True)) for who, pairs in of_subject.items()}
        for who, pairs in of_subject.items():
            true, told = zip(*pairs, strict=True)
            own = scores["per_subject"][who]
            assert own["macro_f1"] == pytest.approx(f1_score(true, told, average="macro", zero_division=0))
            assert own["cohen_kappa"] == pytest.approx(kappas[name][who], abs=1e-6)
    taught, alone = kappas["DLink student"], kappas["student without a teacher"]
    lead = np.mean([taught[who] - alone[who] for who in taught])
    assert results["verdict"]["difference"]["mean"] == pytest.approx(lead, abs=1e-6)
    assert results["verdict"]["text"] in said and "points of Cohen's kappa" in results["verdict"]["text"]
    return results


def test_a_student_of_places_is_distilled_saved_and_reported(folder: Path) -> None:
    said = ran(folder, "distill", *DATA, *PLACES, *SPLIT, *FEW, *FRESH, "--output_dir", "run")
    results = check_run(folder, "run", said)
    assert "task: a label for every 1 s (rest, burst), watched by Cohen's kappa" in said and "macro F1" in said
    card = (folder / "run" / "student" / "README.md").read_text("utf-8")
    assert results["verdict"]["text"].replace("'", "&#39;") in card or results["verdict"]["text"] in card
    assert "MiCForEEGTokenClassification" in card
    assert "report.html" in ran(folder, "report", "run")
    page = (folder / "run" / "report.html").read_text("utf-8")
    assert "Classes of places" in page and "kappa" in page
    places = dlink_hf.pipeline(model=folder / "run" / "student")(folder / "eeg" / "s0_raw.fif")
    assert len(places) == 60 and {place["label"] for place in places} <= {"rest", "burst"}
    held = [*DATA[:6], "--background", "rest", "--cache_dir", "cache", "--output_dir", "scored", *SPLIT[:4]]
    said = ran(folder, "evaluate", "--model", "run/student", "--part", "test", *held)
    scored = json.loads((folder / "scored" / "scores.json").read_text("utf-8"))
    own = results["scores"]["test"]["DLink student"]
    assert scored["cohen_kappa"] == pytest.approx(own["cohen_kappa"]) and scored["n_windows"] == 120
    renamed = [*held[:7], "nothing", *held[8:]]
    said = ran(folder, "evaluate", "--model", "run/student", "--part", "test", *renamed, code=1)
    told = "The model knows the labels ['rest', 'burst'], the windows have ['nothing', 'burst']"
    assert told in " ".join(said.split())
    with pytest.raises(ValueError, match="labels patches"):
        load_classifier(folder / "run" / "teacher")
    again = [*DATA, *PLACES, *SPLIT, *FEW, "--teacher", "run/teacher", "--student_ch_names", "C3,C4"]
    said = ran(folder, "distill", *again, "--student", "run/baseline", "--output_dir", "again")
    check_run(folder, "again", said)


def test_a_student_and_a_teacher_of_places_are_fine_tuned(folder: Path) -> None:
    words = [*DATA, *PLACES, "--seconds_per_label", "2", *SPLIT, "--max_steps", "3"]
    said = ran(folder, "finetune", *words, "--student_size", "tiny", "--output_dir", "alone")
    assert "a label for every 2 s" in said
    places = dlink_hf.pipeline(model=folder / "alone" / "student")(folder / "eeg" / "s0_raw.fif")
    assert len(places) == 30 and places[1]["onset"] == 2.0
    said = ran(folder, "finetune-teacher", *words, *FRESH, "--teacher_steps", "2", "--output_dir", "teacher")
    places = dlink_hf.pipeline(model=folder / "teacher" / "teacher")(folder / "eeg" / "s0_raw.fif")
    assert len(places) == 30


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([*PLACES[:2]], "only one class has labelled places"),
        ([*PLACES, "--label_pattern", r"(s)\d_"], "gives a label for each whole recording"),
        ([*PLACES, "--label_map", "spike=spike"], "no annotation has one of the labels"),
        ([*PLACES, "--seconds_per_label", "0.5", *FRESH], "a label does not last whole patches"),
        ([*PLACES, "--seconds_per_label", "4"], "does not hold whole labels of 4 s"),
        ([*PLACES, "--teacher", "dlink-mic-small"], "labels whole windows, and --problem_type token"),
        ([*PLACES, "--teacher_backbone", "MiC"], "does not teach places yet"),
        ([*PLACES, "--experts", "bandpower"], "--experts is not for --problem_type token_classification"),
        ([*PLACES, "--student_augmentations", "time_shift"], "time_shift moves events to other places"),
        ([*PLACES, "--alignment", "euclidean"], "--alignment euclidean is not for"),
        ([*PLACES, "--student_window_seconds", "3"], "both label the same places"),
        ([*PLACES, "--stride_seconds", "1"], "stretches lie side by side"),
    ],
)
def test_what_does_not_fit_is_refused_before_any_training(folder: Path, words: list[str], told: str) -> None:
    said = ran(folder, "distill", *DATA, *words, *SPLIT, *FEW, "--output_dir", "refused", code=1)
    assert told in " ".join(said.split()), said
    assert not list((folder).glob("refused/**/training"))


@pytest.mark.slow
def test_bursts_of_unseen_people_are_found_to_the_second(tmp_path: Path) -> None:
    folder = make_burst_recordings(tmp_path, n_subjects=14)
    words = ["--teacher_steps", "200", "--max_steps", "200", "--student_size", "tiny", "--output_dir", "run"]
    said = ran(folder, "distill", *DATA, *PLACES, "--validation", "2", "--test", "4", *SPLIT[4:], *words)
    results = json.loads((folder / "run" / "results.json").read_text("utf-8"))
    scores = results["scores"]["test"]["DLink student"]
    assert scores["cohen_kappa"] > 0.8 and scores["macro_f1"] > 0.9, said
    label = dlink_hf.pipeline(model=folder / "run" / "student")
    unseen = results["subjects"]["test"][0]
    raw = mne.io.read_raw_fif(folder / "eeg" / f"{unseen}_raw.fif", verbose="ERROR")
    wanted = np.zeros(60, dtype=bool)
    for onset, duration in zip(raw.annotations.onset, raw.annotations.duration, strict=True):
        wanted[round(onset) : round(onset + duration)] = True
    found = np.array([place["label"] == "burst" for place in label(raw)])
    assert (found == wanted).mean() > 0.9
