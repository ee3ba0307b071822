# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""One set of flags for how recordings and their labels are read, in every command that reads them."""

import csv
import dataclasses
from pathlib import Path

import mne
import numpy as np
import pytest
import torch
from data_recordings import make_raw, save_raw

from dlink_hf import EEGFeatureExtractor, MiCConfig, MiCForEEGClassification, load_shards
from dlink_hf.commands import main
from dlink_hf.commands.arguments import DataArguments
from dlink_hf.commands.reading import ReadingArguments, TrialArguments, with_reading
from dlink_hf.commands.windows import extractor_settings, label_source
from dlink_hf.data.labels import AnnotationLabels, EventLabels


READING = [field.name for field in dataclasses.fields(ReadingArguments)]
TRIAL = [field.name for field in dataclasses.fields(TrialArguments)]


@pytest.mark.parametrize(
    ("command", "has_labels"),
    [
        ("predict", False), ("stream", False), ("pretrain-teacher", False), ("distill-backbone", False),
        ("distill", True), ("evaluate", True), ("prepare", True), ("finetune", True), ("finetune-teacher", True),
    ],
)  # fmt: skip
def test_every_command_has_them(command, has_labels, capsys):
    with pytest.raises(SystemExit) as done:
        main([command, "--help"])
    assert done.value.code == 0
    text = capsys.readouterr().out
    for name in READING + (TRIAL if has_labels else []):
        assert f"--{name} " in text, name


def test_they_reach_extractor_and_labels():
    args = DataArguments(
        unit="mV", unknown_channels="drop", duplicate_channels="last", outlying_channels="drop", labels="events",
        trial_start=0.5, trial_duration=2.0,
    )  # fmt: skip
    extractor = EEGFeatureExtractor(**extractor_settings(args, {}))
    told = with_reading(EEGFeatureExtractor(ch_names=["Cz"]), args)
    for one in (extractor, told):
        assert (one.unit, one.unknown_channels, one.duplicate_channels, one.outlying_channels) == (
            "mV", "drop", "last", "drop"
        )  # fmt: skip
    assert told.ch_names == ["Cz"]
    assert label_source(args) == EventLabels(None, start=0.5, duration=2.0)
    assert label_source(DataArguments(tmin=-0.5, tmax=1.5)) == AnnotationLabels(None, start=-0.5, duration=2.0)
    with pytest.raises(ValueError, match="are for --labels annotations and events"):
        label_source(DataArguments(labels="labels.csv", trial_duration=2.0))
    with pytest.raises(ValueError, match="unknown_channels"):
        with_reading(extractor, DataArguments(unknown_channels="keep"))


def test_events_from_the_command_line(tmp_path, capsys):
    """A folder with `-eve.fif` files, as MNE writes them."""
    for subject in ("S1", "S2"):
        save_raw(tmp_path / "in", f"{subject}_raw.fif", annotations=(), subject=subject)
        mne.write_events(
            tmp_path / "in" / f"{subject}-eve.fif", np.array([[200, 0, 1], [1200, 0, 2]]), verbose="ERROR"
        )
    words = ["prepare", str(tmp_path / "in"), "--output_dir", str(tmp_path / "out"), "--labels", "events"]
    words += ["--label_map", "1=rest,2=task", "--window_seconds", "2"]
    assert main(words) == 1
    assert "--trial_duration 5" in capsys.readouterr().err
    assert main([*words, "--trial_duration", "2", "--trial_start", "0.5"]) == 0
    rows = load_shards(tmp_path / "out", streaming=False).with_format(None)
    found = sorted(zip(rows["subject"], rows["onset"], rows["labels"], strict=True))
    assert found == [("S1", 1.5, 0), ("S1", 6.5, 1), ("S2", 1.5, 0), ("S2", 6.5, 1)]


@pytest.fixture
def student(tmp_path) -> Path:
    """A student without channels of its own."""
    torch.manual_seed(0)
    config = MiCConfig.from_size("tiny", n_times=400, sfreq=200.0, num_labels=2)
    MiCForEEGClassification(config).save_pretrained(tmp_path / "student")
    EEGFeatureExtractor(n_times=400).save_pretrained(tmp_path / "student")
    return tmp_path / "student"


def test_predict_leaves_unknown_channels_out_when_told(tmp_path, student, capsys):
    names = ["C3", "Cz", "Foo", "C4", "Cz-1"]
    make_raw((), ch_names=names).save(tmp_path / "a_raw.fif", verbose="ERROR")
    words = ["predict", str(tmp_path / "a_raw.fif"), "--model", str(student), "--output", str(tmp_path / "a.csv")]
    assert main(words) == 1
    assert "'Foo'" in (said := capsys.readouterr().err) and "--unknown_channels drop" in said
    assert main([*words, "--unknown_channels", "drop"]) == 1
    assert "--duplicate_channels first" in capsys.readouterr().err
    assert main([*words, "--unknown_channels", "drop", "--duplicate_channels", "first"]) == 0
    with open(tmp_path / "a.csv", newline="") as file:
        assert len(list(csv.DictReader(file))) == 6
