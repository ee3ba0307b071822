# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""The `dlink` command with `--alignment`: trained aligned, scored aligned, predicted aligned, never mixed."""

from __future__ import annotations

import csv
import json

import mne
import numpy as np
import pytest
import torch
from datasets import load_from_disk

from dlink_hf import (
    DLinkTrainingArguments,
    EEGFeatureExtractor,
    MiCForEEGClassification,
    align_dataset,
    alignment_info,
    make_synthetic_recordings,
    monge_reference,
)
from dlink_hf.commands import main
from dlink_hf.commands.arguments import DataArguments
from dlink_hf.commands.windows import load_splits, load_windows


NAMES = "F3,C3,Cz,C4,Pz"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Recordings of six people, two files each, one class a file, as `eegmat` has them."""
    folder = tmp_path_factory.mktemp("aligned-commands")
    for raw in make_synthetic_recordings(n_subjects=6, n_trials=10, progress=False):
        subject = raw.info["subject_info"]["his_id"]
        for name in ("left hand", "right hand"):
            trials = [raw.copy().crop(a["onset"], a["onset"] + 5) for a in raw.annotations if a["description"] == name]
            joined = mne.concatenate_raws(trials, verbose="ERROR")
            joined.set_annotations(mne.Annotations(0, joined.times[-1], name))
            file = folder / "recordings" / f"{subject}_{name[:1]}_raw.fif"
            file.parent.mkdir(exist_ok=True)
            joined.save(file, verbose="ERROR")
    return folder


def data_flags(folder, *more: str) -> list[str]:
    words = ["--dataset", str(folder / "recordings"), "--ch_names", NAMES, "--subject_pattern", r"(S\d+)_"]
    return [*words, "--window_seconds", "2", "--validation", "1", "--test", "2", *more]


def arguments(folder, **more) -> DataArguments:
    common = {"ch_names": NAMES, "subject_pattern": r"(S\d+)_", "window_seconds": 2.0, "validation": 1, "test": 2}
    return DataArguments(dataset=str(folder / "recordings"), **{**common, **more})


@pytest.fixture(scope="module")
def student(folder):
    words = [*data_flags(folder, "--alignment", "euclidean"), "--student_size", "tiny", "--num_train_epochs", "1"]
    assert main(["finetune", *words, "--output_dir", str(folder / "run"), "--use_cpu", "True"]) == 0
    return folder / "run" / "student"


def rows_of(path) -> list[dict]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_a_model_keeps_the_alignment_that_it_was_trained_with(folder, student, capsys):
    extractor = EEGFeatureExtractor.from_pretrained(student)
    assert extractor.alignment == "euclidean"
    # scored: windows are aligned as in training, without a word from the user
    out = folder / "scores"
    words = [*data_flags(folder), "--model", str(student), "--output_dir", str(out)]
    assert main(["evaluate", *words]) == 0
    assert "with alignment (euclidean)" in capsys.readouterr().out
    scores = json.loads((out / "scores.json").read_text())
    assert scores["alignment"]["method"] == "euclidean" and scores["alignment"]["group_columns"] == ["subject"]
    # predicted: fitted on both recordings of the session, the same probabilities come out
    files = sorted((folder / "recordings").glob("S05_*"))
    words = ["predict", str(files[0]), "--model", str(student), "--output", str(folder / "one.csv")]
    assert main([*words, "--session_recordings", str(files[1])]) == 0
    assert "of 2 recordings" in capsys.readouterr().out
    predicted, scored = rows_of(folder / "one.csv"), rows_of(out / "predictions.csv")
    scored = [row for row in scored if row["recording"] == files[0].name]
    assert len(scored) >= len(predicted) - 1 > 5
    by_onset = {row["onset"]: row for row in scored}
    for row in predicted:
        if row["onset"] in by_onset:
            assert float(row["p_left hand"]) == pytest.approx(float(by_onset[row["onset"]]["p_left hand"]), abs=2e-3)


def test_predict_equals_the_extractor_and_the_model_by_hand(folder, student):
    files = sorted(map(str, (folder / "recordings").glob("S04_*")))
    words = [
        "predict",
        files[0],
        "--model",
        str(student),
        "--output",
        str(folder / "hand.csv"),
        "--stride_seconds",
        "1",
    ]
    assert main([*words, "--session_recordings", files[1]]) == 0
    extractor = EEGFeatureExtractor.from_pretrained(student, stride=200)
    batch = extractor(files[0], alignment_state=extractor.fit_alignment(files), return_tensors="pt")
    model = MiCForEEGClassification.from_pretrained(student).eval()
    with torch.no_grad():
        expected = model(batch["input_values"], batch["channel_positions"]).logits.double().softmax(-1).numpy()
    found = [[float(row["p_left hand"]), float(row["p_right hand"])] for row in rows_of(folder / "hand.csv")]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_what_would_skip_or_mix_alignments_is_refused(folder, student, capsys):
    short, other = sorted(map(str, (folder / "recordings").glob("S03_*")))
    assert main(["predict", short, "--model", str(student)]) == 1
    assert "too few to fit the alignment" in capsys.readouterr().err
    words = [*data_flags(folder), "--model", str(student), "--output_dir", str(folder / "no")]
    assert main(["evaluate", *words, "--alignment", "zscore"]) == 1
    assert "--alignment zscore contradicts" in capsys.readouterr().err
    # windows saved ready-made: aligned as the model wants it, unless they are aligned otherwise
    plain, extractor = load_windows(arguments(folder))
    plain.save_to_disk(folder / "plain")
    align_dataset(plain, "zscore", progress=False).save_to_disk(folder / "zscored")
    align_dataset(plain, "euclidean", progress=False).save_to_disk(folder / "whitened")
    scores = []
    for name in ("plain", "whitened"):
        words = ["--dataset", str(folder / name), "--model", str(student), "--output_dir", str(folder / f"of {name}")]
        assert main(["evaluate", *words]) == 0
        scores.append((folder / f"of {name}" / "predictions.csv").read_text())
    assert scores[0] == scores[1]
    words = ["--model", str(student), "--output_dir", str(folder / "no")]
    assert main(["evaluate", "--dataset", str(folder / "zscored"), *words]) == 1
    assert "aligned already (zscore" in capsys.readouterr().err
    # a model without one takes no aligned windows, and no session
    extractor.save_pretrained(folder / "plain-student")
    MiCForEEGClassification.from_pretrained(student).save_pretrained(folder / "plain-student")
    words = ["--model", str(folder / "plain-student"), "--output_dir", str(folder / "no")]
    assert main(["evaluate", "--dataset", str(folder / "zscored"), *words]) == 1
    assert "wanted is no alignment" in capsys.readouterr().err
    assert main(["predict", short, "--session_recordings", other, "--model", str(folder / "plain-student")]) == 1
    assert "for a model with an alignment" in capsys.readouterr().err


def test_monge_maps_to_the_training_people_alone(folder, tmp_path):
    settings = DLinkTrainingArguments(output_dir=str(tmp_path), report_to="none")
    plain, _ = load_splits(arguments(folder, alignment="none"), settings)
    splits, extractor = load_splits(arguments(folder, alignment="monge"), settings)
    for name, split in splits.items():
        assert set(split["subject"][:]) == set(plain[name]["subject"][:])
    assert extractor.alignment_reference == monge_reference(plain["train"], progress=False)
    assert alignment_info(splits["test"])["reference"] == extractor.alignment_facts()["reference"]
    # and the reference is not measured anew for whom a trained model is scored on
    again, _ = load_splits(arguments(folder, split_seed=1), settings, extractor)
    assert alignment_info(again["test"]) == alignment_info(splits["test"])


def test_ready_made_windows_and_people_of_one_class(folder, tmp_path):
    plain, _ = load_windows(arguments(folder))
    keep = [row for row, name in enumerate(plain["recording"][:]) if not name.startswith("S02_l")]
    plain.select(keep).save_to_disk(tmp_path / "partly")
    flags = {"dataset": str(tmp_path / "partly"), "alignment": "zscore", "cache_dir": str(tmp_path / "cache")}
    with pytest.raises(ValueError, match=r"1 of 6 groups \(subject\).*S02"):
        load_windows(DataArguments(**flags))
    dropped, _ = load_windows(DataArguments(**flags, alignment_one_class="drop"))
    assert set(dropped["subject"][:]) == {"S00", "S01", "S03", "S04", "S05"}
    assert len(load_windows(DataArguments(**flags, alignment_one_class="allow"))[0]) == len(keep)
    assert len(load_from_disk(tmp_path / "partly")) == len(keep)


def test_a_distillation_says_that_it_was_aligned_and_takes_no_other_teacher(folder, capsys):
    fast = ["--teacher_layers", "1", "--teacher_epochs", "1", "--student_size", "tiny", "--baseline", "False"]
    fast += [
        "--num_train_epochs",
        "1",
        "--mimic_epochs",
        "0",
        "--use_cpu",
        "True",
        "--output_dir",
        str(folder / "all"),
    ]
    assert main(["distill", *data_flags(folder, "--alignment", "zscore"), *fast]) == 0
    said = "zscore, each subject by all of its unlabelled windows"
    assert f"alignment: {said}" in capsys.readouterr().out
    assert said in json.loads((folder / "all" / "results.json").read_text())["alignment"]
    assert said in (folder / "all" / "student" / "README.md").read_text()
    for model in ("teacher", "student"):
        assert EEGFeatureExtractor.from_pretrained(folder / "all" / model).alignment == "zscore"
    # that teacher is of no use for windows that are aligned otherwise, or not at all
    taught = ["--teacher", str(folder / "all" / "teacher"), *fast[4:], "--output_dir", str(folder / "more")]
    for chosen, reason in (("none", "no alignment"), ("monge", "the alignment monge to sha256:")):
        assert main(["distill", *data_flags(folder, "--alignment", chosen), *taught]) == 1
        assert f"reads windows with the alignment zscore, these have {reason}" in capsys.readouterr().err
