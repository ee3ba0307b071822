# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""`dlink finetune-teacher` and `dlink distill` with a teacher that is a foundation model of time series."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from teacher_packages import teachers

from dlink_hf import MiCForEEGClassification, make_synthetic_recordings
from dlink_hf.commands import main
from dlink_hf.profiling.known_teachers import example_config, plain_model


CHANNELS = "F3,C3,Cz,C4,Pz"


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Recordings of five people."""
    folder = tmp_path_factory.mktemp("series") / "recordings"
    folder.mkdir()
    for number, raw in enumerate(make_synthetic_recordings(n_subjects=5, n_trials=8, progress=False)):
        raw.save(folder / f"S{number:02d}_raw.fif", verbose="ERROR")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("backbone", teachers(["Chronos2", "MantisV1", "MantisV2"]))
def test_from_a_published_checkpoint_to_a_student(backbone: str, recordings: Path, tmp_path: Path, capsys) -> None:
    plain_model(example_config(backbone)).save_pretrained(tmp_path / "published")
    data = ["--dataset", str(recordings), "--ch_names", CHANNELS, "--subject_pattern", r"(S\d+)_", "--use_cpu", "True"]
    data += ["--validation", "1", "--test", "1", "--max_steps", "3"]
    # 4 s of 200 Hz are whole patches: 50 of 16 samples, or 32 of 25
    tuned = ["--teacher_checkpoint", str(tmp_path / "published"), "--teacher_steps", "2", "--window_seconds", "4"]
    assert main(["finetune-teacher", *data, *tuned, "--output_dir", str(tmp_path / "tuned")]) == 0
    saved = json.loads((tmp_path / "tuned/teacher/config.json").read_text())
    assert saved["backbone"] == backbone and saved["n_times"] == 800
    taught = ["--teacher", str(tmp_path / "tuned/teacher"), "--student_size", "tiny", "--experts", "none"]
    taught += ["--teacher_cache_dir", str(tmp_path / "cache"), "--window_seconds", "4"]
    assert main(["distill", *data, *taught, "--output_dir", str(tmp_path / "run")]) == 0
    assert list((tmp_path / "cache").glob("teacher-*"))
    assert MiCForEEGClassification.from_pretrained(tmp_path / "run/student").config.n_times == 800
    capsys.readouterr()
    # 2.5 s are not
    wrong = ["--teacher_backbone", backbone, "--teacher_checkpoint", "none", "--window_seconds", "2.5"]
    assert main(["distill", *data, *wrong, "--output_dir", str(tmp_path / "wrong")]) == 1
    assert "`n_times` must be a multiple of" in capsys.readouterr().err
