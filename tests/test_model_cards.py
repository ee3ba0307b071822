# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""The checkpoints in model_cards/: whole, small, and made of whom they say."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from fake_hub.server import HubServer
from huggingface_hub import ModelCard
from sklearn.metrics import balanced_accuracy_score

from dlink_hf import (
    DLinkTeacherForEEGClassification,
    DLinkTeacherForPretraining,
    DLinkTeacherModel,
    EEGFeatureExtractor,
    MiCForEEGClassification,
    align_dataset,
    predict_probabilities,
)
from dlink_hf.commands import main
from dlink_hf.data.public.own_sets import BENCHMARK_SUBJECTS, EEG_SETS, benchmark_subjects, load_eeg_set
from dlink_hf.data.unlabelled import set_recordings, unlabelled_windows


ROOT = Path(__file__).resolve().parent.parent
CARDS = ROOT / "model_cards"
RUNS = ROOT / "benchmarks" / "results" / "defaults"
TEACHER = ROOT / "dlink_hf" / "checkpoints" / "dlink-teacher-cbramod-4"
TASK_STUDENTS = sorted(CARDS.glob("dlink-mic-small-*"))
PEOPLE = benchmark_subjects()


def test_the_benchmarks_keep_people_apart():
    for name, lists in PEOPLE.items():
        groups = [set(lists[split]) for split in ("train", "validation", "test")]
        assert len(set.union(*groups)) == sum(map(len, groups)), name
        assert all(groups), name
    # whoever the published split of eegmat chooses by or tests on is not trained on
    assert not {str(number) for number in range(28, 36)} & set(PEOPLE["eegmat"]["train"])


def test_the_teacher_saw_training_people_alone():
    seen = json.loads((TEACHER / "people.json").read_text(encoding="utf-8"))["pretraining"]
    # the published split is another one of the same recordings: nobody that it tests on was seen either
    assert {entry["source"] for entry in seen} == set(PEOPLE) - {"eegmat_published", "uci_erp"}
    eegmat = next(entry for entry in seen if entry["source"] == "eegmat")
    assert not set(PEOPLE["eegmat_published"]["test"]) & set(eegmat["people"])
    for entry in seen:
        assert set(entry["people"]) == set(PEOPLE[entry["source"]]["train"])
        assert set(entry["held_out"]) < set(entry["people"])


def test_the_teacher_loads_whole_for_any_montage():
    assert sum(path.stat().st_size for path in TEACHER.iterdir()) < 10e6
    assert ModelCard((TEACHER / "README.md").read_text(encoding="utf-8")).data.library_name == "dlink_hf"
    teacher = DLinkTeacherForEEGClassification.from_pretrained(
        TEACHER, ch_names=["C3", "Cz", "C4"], n_times=800, id2label={0: "left", 1: "right", 2: "rest"}
    )
    assert teacher.dtype == torch.float32 and teacher.config.num_hidden_layers == 4
    assert teacher(torch.randn(2, 3, 800)).logits.shape == (2, 3)


def test_the_teacher_reads_hidden_patches_of_people_it_never_saw(data_dir, tmp_path):
    extractor = EEGFeatureExtractor(sfreq=200.0, n_times=1000, l_freq=0.5, h_freq=45.0)
    paths = set_recordings("eegmat", data_dir, PEOPLE["eegmat"]["test"][:2])
    (windows,) = unlabelled_windows(paths, extractor, cache_dir=tmp_path, progress=False)
    model = DLinkTeacherForPretraining(DLinkTeacherModel.from_pretrained(TEACHER).config).eval()
    inputs = torch.from_numpy(np.asarray(windows[:16]["input_values"], dtype=np.float32))
    with torch.no_grad():
        fresh = float(model(inputs).reconstruction_error.mean())
        model.teacher = DLinkTeacherModel.from_pretrained(TEACHER).eval()
        trained = float(model(inputs).reconstruction_error.mean())
    assert trained < 0.75 < 1.0 < fresh


def test_nobody_it_has_seen_is_scored_on(data_dir, tmp_path, capsys):
    words = ["finetune-teacher", "--dataset", "ssvep_exo", "--data_dir", str(data_dir), "--split", "0/4"]
    words += ["--teacher_checkpoint", str(TEACHER), "--output_dir", str(tmp_path), "--cache_dir", str(tmp_path)]
    assert main([*words, "--probe_first", "--teacher_epochs", "0", "--use_cpu"]) == 1
    assert "dlink-teacher-cbramod-4" in (error := capsys.readouterr().err) and "subject" in error


def test_nor_on_those_that_a_checkpoint_on_the_hub_has_seen(data_dir, tmp_path):
    (tmp_path / "hub" / "me").mkdir(parents=True)
    (tmp_path / "hub" / "me" / "student").symlink_to(CARDS / "dlink-mic-small-eegmat")
    words = ["evaluate", "--model", "me/student", "--dataset", "eegmat", "--data_dir", str(data_dir), "--split", "0/5"]
    words += ["--cache_dir", str(tmp_path / "cache"), "--output_dir", str(tmp_path / "out"), "--part"]
    code = "import sys; from dlink_hf.commands import main; sys.exit(main())"
    with HubServer(tmp_path / "hub") as hub:
        part, whole = (
            subprocess.run(
                [sys.executable, "-c", code, *words, part],
                env=hub.environment(tmp_path / "home"),
                capture_output=True,
                text=True,
            )
            for part in ("test", "all")
        )
    assert part.returncode == 1 and "me/student had subjects" in part.stderr, part.stderr[-2000:]
    assert whole.returncode == 0 and "not a score on subjects unseen: me/student had subjects" in whole.stdout


@pytest.mark.slow
def test_the_probe_on_the_committed_lists(data_dir, tmp_path, capsys):
    """Aligned people, the frozen teacher, a linear head: better than a coin on people unseen, by far."""
    lists = str(BENCHMARK_SUBJECTS)
    words = ["finetune-teacher", "--dataset", "eegmat", "--data_dir", str(data_dir), "--split", lists, "--l_freq"]
    words += ["0.5", "--h_freq", "45", "--alignment", "euclidean_monge", "--teacher_checkpoint", str(TEACHER)]
    words += ["--output_dir", str(tmp_path), "--cache_dir", str(tmp_path), "--probe_first", "--teacher_epochs", "0"]
    assert main([*words, "--use_cpu"]) == 0
    row = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("teacher  "))
    assert float(row.split()[1]) > 0.8


def run_of(folder: Path) -> dict:
    """What the run that made a student wrote to its results.json."""
    return json.loads((RUNS / f"{folder.name.removeprefix('dlink-mic-small-')}.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("folder", TASK_STUDENTS, ids=lambda folder: folder.name)
def test_a_task_student_is_small_and_its_card_states_what_its_run_found(folder):
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.suffix != ".png") < 0.8e6
    text = (folder / "README.md").read_text(encoding="utf-8")
    run, card = run_of(folder), ModelCard(text)
    stated = {(x.dataset_split, x.metric_type): x.metric_value for x in card.data.eval_results}
    for split in ("test", "validation"):
        for key in ("balanced_accuracy", "auroc"):
            assert stated[split, key] == pytest.approx(run["scores"][split]["DLink student"][key], abs=1e-6)
    # one command makes it again, and what it says of the distillation is said
    assert f"`dlink distill --dataset {run['source']}" in text and f"--name {folder.name}`" in text
    assert run["verdict"]["text"] in text and EEG_SETS[run["source"]].license in text
    seen = json.loads((folder / "people.json").read_text(encoding="utf-8"))
    tested = set(PEOPLE[run["source"]]["test"])
    assert tested >= set(seen["test"]) and not tested & {*seen["train"], *seen["validation"]}
    for entry in seen["pretraining"]:
        assert entry["source"] != run["source"] or not tested & set(entry["people"])


@pytest.mark.parametrize("folder", TASK_STUDENTS, ids=lambda folder: folder.name)
def test_the_snippet_of_a_card_runs(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder.parent)
    (code,) = re.findall(r"^```python\n(.*?)^```", (folder / "README.md").read_text(encoding="utf-8"), re.M | re.S)
    exec(code, {})  # noqa: S102
    model = MiCForEEGClassification.from_pretrained(folder)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == math.ceil(6000 / model.config.n_times)  # half a minute, in whole windows
    assert all(any(f" s {name} " in line for name in model.config.id2label.values()) for line in lines)


@pytest.mark.parametrize("folder", TASK_STUDENTS, ids=lambda folder: folder.name)
def test_a_task_student_scores_on_a_test_person_what_its_card_says(folder, data_dir, tmp_path):
    run = run_of(folder)
    source, column = run["source"], run["group_column"]
    subjects = run["scores"]["test"]["DLink student"]["per_subject"]
    person = next(name for name in PEOPLE[source]["test"] if name in subjects)
    extractor = EEGFeatureExtractor.from_pretrained(folder)
    plain = extractor.without_alignment()
    windows = load_eeg_set(source, data_dir, extractor=plain, cache_dir=tmp_path, progress=False)
    windows = windows.filter(lambda who: who == person, input_columns=column)
    windows = align_dataset(
        windows,
        extractor.alignment,
        group_column=column,
        reference=extractor.alignment_reference,
        cache_dir=tmp_path,
        progress=False,
    )
    model = MiCForEEGClassification.from_pretrained(folder).eval()
    said = predict_probabilities(model, windows).argmax(-1)
    assert set(windows[column][:]) == {person}
    # a window on the edge may turn on another processor
    assert balanced_accuracy_score(windows["labels"][:], said) == pytest.approx(
        subjects[person]["balanced_accuracy"], abs=0.03
    )


@pytest.mark.parametrize(("name", "most"), [("tiny", 20e3), ("base", 470e3)])
def test_a_general_student_takes_any_head(name, most):
    folder = CARDS / f"dlink-mic-{name}"
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.suffix != ".png") < 2.5e6
    assert ModelCard((folder / "README.md").read_text(encoding="utf-8")).data.library_name == "dlink_hf"
    model = MiCForEEGClassification.from_pretrained(folder, ch_names=["C3", "Cz", "C4"], n_times=800, num_labels=3)
    assert sum(p.numel() for p in model.parameters()) < most
    assert model(torch.randn(2, 3, 800)).logits.shape == (2, 3)
