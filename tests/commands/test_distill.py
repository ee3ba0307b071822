# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""`dlink distill`: what it chooses by itself and says, students that see less, unlabelled recordings, verdicts."""

from __future__ import annotations

import contextlib
import io
import json
import re

import mne
import numpy as np
import pytest
import torch
from toy_training import N_TIMES, NAMES, toy_dataset

from dlink_hf import (
    DLinkTeacherForEEGClassification,
    DLinkTrainingArguments,
    EEGFeatureExtractor,
    MiCForEEGClassification,
    SignalInfo,
    make_synthetic_recordings,
    pipeline,
    set_signal_info,
    split_by_subject,
)
from dlink_hf.commands import main
from dlink_hf.commands.arguments import TRAINING_DEFAULTS, DataArguments, TeacherArguments, parse
from dlink_hf.commands.run_results import shown_command
from dlink_hf.commands.training import PACKAGED_TEACHER, augmentation_of, choose_checkpoint, settle_budget
from dlink_hf.commands.windows import settle_alignment, split_windows
from dlink_hf.data.public.own_sets import benchmark_subjects


CHANNELS = "F3,C3,Cz,C4,Pz"
# a teacher and a student that are hardly trained
TEACHER = ["--max_steps", "4", "--teacher_steps", "2", "--use_cpu", "True"]
FAST = [*TEACHER, "--student_size", "tiny", "--views", "2"]


def told_dataset(subjects: list[str], sfreq: float = 200.0, **options):
    return set_signal_info(toy_dataset(subjects, **options), SignalInfo(tuple(NAMES), sfreq, N_TIMES))


def people_of(dataset: str) -> dict[str, list[str]]:
    """The subjects of the benchmarks' split, by its parts."""
    return {name: benchmark_subjects()[dataset][name] for name in ("train", "validation", "test")}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Recordings of six people with labels, and of two others without."""
    folder = tmp_path_factory.mktemp("distill")
    for number, raw in enumerate(make_synthetic_recordings(n_subjects=8, n_trials=8, progress=False)):
        labelled = number < 6
        file = folder / ("recordings" if labelled else "more") / f"S{number:02d}_raw.fif"
        file.parent.mkdir(exist_ok=True)
        if not labelled:
            raw.set_annotations(None)
        raw.save(file, verbose="ERROR")
    return folder


def data_flags(folder, *more: str) -> list[str]:
    words = ["--dataset", str(folder / "recordings"), "--ch_names", CHANNELS, "--subject_pattern", r"(S\d+)_"]
    return [*words, "--window_seconds", "2", "--validation", "1", "--test", "2", *more]


@pytest.fixture(scope="module")
def distilled(folder):
    """A run with a student of two channels and one second, and unlabelled recordings; what it printed."""
    words = data_flags(folder, "--student_ch_names", "C4,C3", "--student_window_seconds", "1")
    words += ["--unlabelled", str(folder / "more"), "--output_dir", str(folder / "less"), *FAST]
    words += ["--name", "my-headset"]
    with contextlib.redirect_stdout(io.StringIO()) as said:
        assert main(["distill", *words]) == 0
    return folder / "less", said.getvalue()


# --- what is chosen by itself ------------------------------------------------------------------------------------


def test_alignment_is_on_where_subjects_have_all_classes(tmp_path, capsys):
    told_dataset(["a", "b", "c"]).save_to_disk(tmp_path / "whole")
    settled = settle_alignment(DataArguments(dataset=str(tmp_path / "whole")))
    assert (settled.alignment, settled.alignment_one_class) == ("euclidean_monge", "refuse")
    assert "alignment: euclidean_monge (auto: 3 of 3 subjects have windows of every class)" in capsys.readouterr().out
    # a spectrum needs longer windows than a student of one second has
    assert settle_alignment(DataArguments(dataset=str(tmp_path / "whole")), least_seconds=1.0).alignment == "euclidean"


def test_alignment_is_off_where_it_would_see_the_label(tmp_path, capsys):
    dataset = told_dataset([f"S{number}" for number in range(5)])
    labels, subjects = np.asarray(dataset["labels"][:]), np.asarray(dataset["subject"][:])
    # one class a subject, but for S4
    single = np.flatnonzero((subjects == "S4") | (labels == [int(name[1:]) % 2 for name in subjects]))
    dataset.select(single).save_to_disk(tmp_path / "single")
    assert settle_alignment(DataArguments(dataset=str(tmp_path / "single"))).alignment == "none"
    said = capsys.readouterr().out
    assert "alignment: none (auto: only 1 of 5 subjects have windows of every class" in said
    assert "--subject_pattern" in said
    # of one among five the others need not do without
    most = np.flatnonzero((subjects != "S0") | (labels == 0))
    dataset.select(most).save_to_disk(tmp_path / "most")
    settled = settle_alignment(DataArguments(dataset=str(tmp_path / "most")))
    assert (settled.alignment, settled.alignment_one_class) == ("euclidean_monge", "drop")
    assert settle_alignment(DataArguments(dataset="nowhere", alignment="zscore")).alignment == "zscore"


def test_splits_of_the_known_sets_are_those_of_the_benchmarks():
    lists = people_of("ssvep_exo")
    dataset = toy_dataset([who for people in lists.values() for who in people], 3)
    for split in ("auto", "benchmark"):
        splits = split_windows(dataset, DataArguments(dataset="ssvep_exo", split=split))
        assert {name: sorted(set(one["subject"][:])) for name, one in splits.items()} == {
            name: sorted(people) for name, people in lists.items()
        }
    by_chance = split_windows(dataset, DataArguments(dataset="mine"))
    expected = split_by_subject(dataset, validation=0.15, test=0.2, seed=0)
    assert {n: set(s["subject"][:]) for n, s in by_chance.items()} == {
        n: set(s["subject"][:]) for n, s in expected.items()
    }
    with pytest.raises(ValueError, match="no lists of 'mine'"):
        split_windows(dataset, DataArguments(dataset="mine", split="benchmark"))


def test_the_packaged_teacher_is_taken_where_it_fits_and_has_seen_nobody(capsys):
    lists = people_of("ssvep_exo")
    unseen = {name: told_dataset(people, n_windows=3) for name, people in lists.items()}
    assert choose_checkpoint(TeacherArguments(), unseen, "ssvep_exo", "subject") == PACKAGED_TEACHER
    assert capsys.readouterr().out == ""
    swapped = {**unseen, "test": unseen["train"], "train": unseen["test"]}
    assert choose_checkpoint(TeacherArguments(), swapped, "ssvep_exo", "subject") is None
    said = capsys.readouterr().out
    assert "random weights, since dlink-teacher-cbramod-4 has seen some of the subjects who are scored" in said
    assert "--teacher_checkpoint braindecode/cbramod-pretrained" in said
    slow = {name: told_dataset(["a", "b"], sfreq=100.0, n_windows=3) for name in ("train", "test")}
    assert choose_checkpoint(TeacherArguments(), slow, "mine", "subject") is None
    assert "these windows have 400 at 100 Hz" in capsys.readouterr().out
    for flags in ({"teacher_checkpoint": "none"}, {"teacher_layers": 2}):
        assert choose_checkpoint(TeacherArguments(**flags), unseen, "ssvep_exo", "subject") is None
    with pytest.raises(ValueError, match="--teacher_layers is what --teacher_checkpoint says itself"):
        given = TeacherArguments(teacher_checkpoint=PACKAGED_TEACHER, teacher_layers=2)
        choose_checkpoint(given, unseen, "ssvep_exo", "subject")


def test_the_budget_follows_the_windows_unless_one_is_given(tmp_path):
    def settled(n_windows: int, *words: str) -> DLinkTrainingArguments:
        defaults = {**TRAINING_DEFAULTS, "output_dir": str(tmp_path)}
        (args,) = parse("distill", "", [DLinkTrainingArguments], words, defaults)
        settle_budget(args, n_windows, has_validation=False)
        return args

    assert settled(100).max_steps == 800 and settled(1200).max_steps == 1216 and settled(10**6).max_steps == 2000
    assert settled(100, "--max_steps", "7").max_steps == 7
    by_epochs = settled(100, "--num_train_epochs", "3")
    assert (by_epochs.max_steps, by_epochs.num_train_epochs) == (-1, 3)
    assert settled(100).eval_strategy == "no"
    # what watches a training needs no number of epochs
    watched = settled(100, "--load_best_model_at_end", "True", "--early_stopping_patience", "2")
    assert watched.max_steps == 800
    assert settled(100, "--mimic_epochs", "1").max_steps == 800


def test_augmentation_of_trials_keeps_polarity_and_latency():
    long, short = told_dataset(["a"]), told_dataset(["a"], sfreq=400.0)
    assert "sign_flip" in augmentation_of("auto", long) and "time_shift" in augmentation_of("auto", long)
    assert "sign_flip" not in augmentation_of("auto", short) and "time_shift" not in augmentation_of("auto", short)
    assert augmentation_of("none", long) is None and augmentation_of("noise", long) == "noise"


# --- a student that sees less, with unlabelled recordings --------------------------------------------------------


def test_a_student_of_a_headset_reads_its_own_recording_and_the_whole_cap(distilled, folder):
    run, said = distilled
    assert "student reads 2 of 5 channels (C4, C3), 1 of 2 s" in said
    student = MiCForEEGClassification.from_pretrained(run / "student").config
    teacher = DLinkTeacherForEEGClassification.from_pretrained(run / "teacher").config
    assert (student.ch_names, student.n_times) == (["C4", "C3"], 200) and len(teacher.ch_names) == 5
    extractor = EEGFeatureExtractor.from_pretrained(run / "student")
    assert extractor.ch_names == ["C4", "C3"] and extractor.n_times == 200
    for model in ("student", "baseline"):
        classify = pipeline("eeg-classification", model=str(run / model))
        whole = mne.io.read_raw(folder / "recordings" / "S05_raw.fif", preload=True, verbose="ERROR")
        few = whole.copy().pick(["C3", "C4"])
        both = [classify(raw) for raw in (whole, few)]
        assert len(both[0]) > 40
        assert [window["label"] for window in both[0]] == [window["label"] for window in both[1]]
        np.testing.assert_allclose(*([window["score"] for window in one] for one in both), atol=1e-5)


def test_windows_without_labels_take_part_and_held_out_people_do_not(distilled, folder, capsys):
    run, said = distilled
    counted = int(re.search(r"^unlabelled +(\d+) windows of 2 subjects", said, re.M)[1])
    assert json.loads((run / "results.json").read_text())["unlabelled_windows"] == counted > 40
    words = data_flags(folder, "--unlabelled", str(folder / "recordings"), "--output_dir", str(folder / "no"))
    assert main(["distill", *words, *FAST]) == 1
    refused = capsys.readouterr().err
    assert "S0" in refused and ("validation" in refused or "test" in refused)
    assert not (folder / "no" / "teacher").exists()


def test_windows_of_which_nobody_knows_more_are_left_out(folder, capsys):
    words = data_flags(folder, "--unlabelled", str(folder / "more"), *FAST, "--baseline", "False")
    assert main(["distill", *words, "--output_dir", str(folder / "plain")]) == 0
    said = capsys.readouterr().out
    assert "unlabelled windows are left out" in said and "--teacher FOLDER" in said
    plain = json.loads((folder / "plain" / "results.json").read_text())
    assert plain["unlabelled_windows"] == 0 and set(plain["experts"]) == {"bandpower"}
    # a teacher of one's own, or experts that are named, teach on them
    for name, more in {
        "taught": ["--teacher", str(folder / "plain" / "teacher")],
        "named": ["--experts", "student"],
    }.items():
        assert main(["distill", *words, *more, "--output_dir", str(folder / name)]) == 0
        assert "left out" not in capsys.readouterr().out
        results = json.loads((folder / name / "results.json").read_text())
        assert results["unlabelled_windows"] > 40
        assert (results["experts"] is None) == (name == "taught")
    card = (folder / "named" / "student" / "README.md").read_text("utf-8")
    assert "| experts (fitted on all labelled subjects, share of the soft targets) | student 100% |" in card
    assert "| experts (cross-fitted, share" in (folder / "plain" / "student" / "README.md").read_text("utf-8")


def test_experts_are_not_asked_about_the_one_subject_they_know(folder, capsys):
    words = data_flags(folder, *FAST, "--validation", "1", "--test", "4", "--output_dir", str(folder / "one"))
    assert main(["distill", *words]) == 1
    assert "1 subject(s) have labels" in capsys.readouterr().err


def test_a_run_says_whether_it_helped_wherever_one_would_look(distilled):
    run, said = distilled
    results = json.loads((run / "results.json").read_text())
    verdict = results["verdict"]
    assert verdict["split"] == "test" and verdict["difference"]["n_subjects"] == 2
    scores = {name: results["scores"]["test"][name]["per_subject"] for name in results["scores"]["test"]}
    difference = np.mean(
        [
            scores["DLink student"][who]["balanced_accuracy"] - one["balanced_accuracy"]
            for who, one in scores["student without a teacher"].items()
        ]
    )
    assert verdict["difference"]["mean"] == pytest.approx(difference, abs=1e-9)
    assert results["use"] == {"distilled": "student", "alone": "baseline"}[verdict["better_on_validation"]]
    assert results["teacher_verdict"]["chance"] == 0.5 and "band_power" in results["teacher_verdict"]
    assert set(results["experts"]) == {"student"} and results["steps"] == 4 and results["router_weights"] is None
    assert verdict["text"] in said and results["teacher_verdict"]["text"] in said
    used = [line for line in said.splitlines() if "<- use this one" in line]
    assert len(used) == 1 and used[0].split()[-5].endswith(results["use"])
    card = (run / "student" / "README.md").read_text("utf-8")
    assert "did distillation help?" in card and verdict["text"] in card
    assert "| `made by` | `dlink distill --dataset recordings --ch_names F3,C3,Cz,C4,Pz" in card
    assert str(run.parent) not in card.split("made by")[1].splitlines()[0]
    assert "taught by 5 electrodes (2 s), reads 2 (1 s)" in card
    assert "# my-headset" in card and "from_pretrained('my-headset')" in card
    assert "| `augmented_views` | 2 |" in card
    assert "two stages" not in card and "layers and their spectra played no part" in card


def test_a_command_is_shown_without_folders_of_this_machine():
    words = [
        "dlink",
        "distill",
        "--dataset",
        "/home/me/eeg",
        "--data_dir",
        "/d",
        "--label_map",
        "a b=c",
    ]
    assert shown_command(words) == "dlink distill --dataset eeg --label_map 'a b=c'"


# --- nothing to learn --------------------------------------------------------------------------------------------


def test_a_teacher_at_chance_and_labels_that_are_random_are_told(tmp_path, capsys):
    dataset = told_dataset([f"S{number}" for number in range(6)], n_windows=12)
    dataset = dataset.remove_columns("labels").add_column(
        "labels", [int(x) for x in np.random.default_rng(0).permutation([0, 1] * (len(dataset) // 2))]
    )
    dataset = dataset.cast_column("labels", toy_dataset(["a"]).features["labels"])
    dataset.save_to_disk(tmp_path / "windows")
    # a teacher that says the same of every window
    words = ["--dataset", str(tmp_path / "windows"), "--alignment", "none", "--validation", "2", "--test", "2"]
    assert main(["finetune-teacher", *words, *TEACHER, "--output_dir", str(tmp_path / "t")]) == 0
    teacher = DLinkTeacherForEEGClassification.from_pretrained(tmp_path / "t" / "teacher")
    with torch.no_grad():
        for parameter in teacher.head.classifier.parameters():
            parameter.zero_()
    teacher.save_pretrained(tmp_path / "t" / "teacher")
    capsys.readouterr()
    # and two students that stay as they were, and equal
    words += [*FAST, "--teacher", str(tmp_path / "t" / "teacher"), "--experts", "none", "--learning_rate", "0"]
    assert main(["distill", *words, "--output_dir", str(tmp_path / "d")]) == 0
    said = capsys.readouterr().out
    assert "WARNING: That can't be told from chance: this teacher has nothing to teach" in said
    assert "Whether distillation helped can't be told: +0.0 (+0.0 to +0.0) points" in said
    assert "expert" not in said.split("WARNING")[0] and "what is taught" not in said
    results = json.loads((tmp_path / "d" / "results.json").read_text())
    assert results["experts"] is None and results["verdict"]["helped"] is None
    assert not results["teacher_verdict"]["is_above_chance"]
    assert results["verdict"]["advice"] in said and results["verdict"]["advice"]


def test_the_demo_goes_the_whole_way(tmp_path, capsys):
    world = ["--teacher_subjects", "4", "--labelled", "2", "--unlabelled", "1", "--validation", "2", "--test", "3"]
    words = ["--draws", "2", "--teacher_steps", "2", "--max_steps", "2", "--disable_tqdm", "true"]
    assert main(["demo", *world, *words, "--output_dir", str(tmp_path)]) == 0
    said, bars = capsys.readouterr()
    # --disable_tqdm
    assert "teacher:" not in bars and "DLink student:" not in bars
    assert "balanced accuracy, 3 test subjects" in said and "twice the steps" in said
    told = json.loads((tmp_path / "demo.json").read_text())
    distilled, alone = (told[name] for name in ("DLink student", "student without a teacher"))
    assert len(distilled["draws"]) == 2
    assert alone["distilled_less_this"]["mean"] == pytest.approx(distilled["mean"] - alone["mean"])
    results = json.loads((tmp_path / "draw_1" / "results.json").read_text())
    assert results["source"].startswith("synthetic EEG") and results["steps"] == 2
    assert results["unlabelled_windows"] == 16 and len(results["subjects"]["train"]) == 2
    card = (tmp_path / "draw_1" / "student" / "README.md").read_text("utf-8")
    assert "its scores say nothing about people" in card and "`dlink demo" in card
    assert (tmp_path / "teacher" / "model.safetensors").is_file()


def test_the_table_of_the_demo_is_paired_over_subjects_and_draws():
    from dlink_hf.commands.demo import summarise

    base = {f"s{i}": 0.5 + 0.04 * i for i in range(10)}
    names = ("teacher", "DLink student", "student without a teacher", "student without a teacher, twice the steps")
    leads = dict(zip(names, (0.1, 0.05, 0.0, 0.02), strict=True))
    scores = [
        {name: {s: v + lead + draw for s, v in base.items()} for name, lead in leads.items()} for draw in (0, 0.1)
    ]
    text, found = summarise(scores)
    assert "+5.0 (+5.0 to +5.0)" in text and "+3.0 (+3.0 to +3.0)" in text
    assert found["DLink student"]["draws"] == pytest.approx([0.73, 0.83])
