# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""MOABB scores students on subjects that they have not seen, next to its own baseline."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest


pytest.importorskip("moabb", reason="needs MOABB: pip install 'dlink-hf[moabb]'")

from mne.decoding import CSP
from moabb.datasets.fake import FakeDataset
from moabb.evaluations import CrossSubjectEvaluation
from moabb.paradigms import LeftRightImagery
from moabb.pipelines.utils import parse_pipelines_from_directory
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.pipeline import make_pipeline

from dlink_hf import DLinkClassifier


EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
SIGNAL = {"ch_names": ["C3", "Cz", "C4"], "sfreq": 128.0}


class HandRhythms(FakeDataset):
    """MOABB's noise, with 12 Hz over C3 or C4 for three seconds after every event."""

    def _generate_raw(self, n_events: int, duration: float) -> Any:
        raw = super()._generate_raw(n_events, duration)
        time = np.arange(3 * 128) / 128.0
        for sample, _, code in self._generate_events(n_events, duration):
            part = raw._data[0 if code == 1 else 2, sample : sample + len(time)]
            part += 2e-5 * np.sin(2 * np.pi * 12 * time[: len(part)] + sample)
        return raw


@pytest.mark.parametrize("return_epochs", [False, True])
def test_cross_subject_evaluation(return_epochs: bool, tmp_path: Path) -> None:
    dataset = HandRhythms(
        ["left_hand", "right_hand"], n_subjects=3, n_sessions=1, n_runs=1, n_events=24, duration=90, seed=3
    )
    own: dict[str, Any] = {"augmentation": None, **({} if return_epochs else SIGNAL)}
    pipelines = {
        "student": make_pipeline(DLinkClassifier("tiny", steps=60, **own)),
        "taught": make_pipeline(
            DLinkClassifier("tiny", steps=60, teacher=DLinkClassifier("tiny", steps=60, augmentation=None), **own)
        ),
    }
    if not return_epochs:
        pipelines["CSP + LDA"] = make_pipeline(CSP(n_components=3), LinearDiscriminantAnalysis())
    evaluation = CrossSubjectEvaluation(
        LeftRightImagery(), [dataset], hdf5_path=str(tmp_path), overwrite=True, return_epochs=return_epochs
    )
    results = evaluation.process(pipelines)
    table = results.groupby("pipeline")["score"].mean()
    assert len(results) == 3 * len(pipelines) and table.min() > 0.8, table.to_string()


def test_the_yaml_pipeline_is_read_by_moabb(tmp_path: Path) -> None:
    # a copy: MOABB leaves a lock file beside what it reads
    shutil.copy(EXAMPLES / "moabb" / "dlink_small.yml", tmp_path)
    (found,) = parse_pipelines_from_directory(str(tmp_path))
    student = found["pipeline"].steps[-1][1]
    assert isinstance(student, DLinkClassifier) and found["name"] == "DLink small"
    assert len(student.ch_names) == 22 and student.sfreq == 250.0


@pytest.mark.slow
def test_the_example_prints_one_table(tmp_path: Path) -> None:
    words = ["--size", "tiny", "--steps", "3", "--subjects", "2"]
    command = [sys.executable, "-W", "ignore", str(EXAMPLES / "moabb_evaluation.py"), *words]
    environment = {**os.environ, "MNE_DATA": str(tmp_path)}
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    for name in ("CSP + LDA", "DLink tiny", "DLink tiny, taught by base", "DLink tiny, taught by CBraMod"):
        assert name in done.stdout
