# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""The estimator and the benchmark grid train the same student, and the documentation's number is what is printed."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

import numpy as np
import pytest
from datasets import DatasetDict
from toy_training import N_TIMES, NAMES, toy_dataset

from dlink_hf import DLinkClassifier, SignalInfo, set_signal_info
from dlink_hf.evaluation.predict import predict_probabilities


ROOT = Path(__file__).resolve().parents[2]


def test_the_estimator_is_the_grids_row_without_a_teacher(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import grid_cells
    import grid_models

    settings = {**grid_cells.settings_of("eegmat", "no_teacher", "euclidean_monge"), "size": "tiny", "epochs": 3}
    info = SignalInfo(tuple(NAMES), 200.0, N_TIMES)
    splits = DatasetDict(
        train=set_signal_info(toy_dataset(["a", "b", "c"], n_windows=24), info),
        validation=set_signal_info(toy_dataset(["d"], seed=1), info),
    )
    cell = {"set": "eegmat", "model": "no_teacher", "alignment": "euclidean_monge", "seed": 3}
    network = grid_models.fit_row(cell, settings, splits)

    train = splits["train"].with_format("numpy")
    steps = 3 * -(-len(train) // settings["batch_size"])
    student = DLinkClassifier(
        "tiny",
        NAMES,
        200.0,
        class_weight="balanced",
        augmentation=settings["augmentation"],
        steps=steps,
        random_state=cell["seed"],
    ).fit(np.asarray(train["input_values"][:]), np.asarray(train["labels"][:]))
    unseen = splits["validation"].with_format("numpy")
    np.testing.assert_allclose(
        student.predict_proba(np.asarray(unseen["input_values"][:])),
        predict_probabilities(network, unseen),
        rtol=1e-3,
        atol=1e-4,
    )


@pytest.mark.slow
def test_the_cross_validation_in_the_documentation_prints_its_number(data_dir: Path) -> None:
    page = (ROOT / "docs" / "neighbours.md").read_text(encoding="utf-8")
    (block,) = (text for text in re.findall(r"```console\n(.*?)```", page, re.DOTALL) if "PredefinedSplit" in text)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(block.replace('"DATA"', repr(str(data_dir))), {})
    number = float(re.search(r"\[(0\.\d+)\]", printed.getvalue())[1])
    promised = float(re.search(r"It prints (0\.\d+)", page)[1])
    assert number == pytest.approx(promised, abs=0.02)
