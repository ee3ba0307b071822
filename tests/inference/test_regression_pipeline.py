# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Numbers, and several labels at once, of recordings: by the pipeline, live, and through a Hub on loopback."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fake_hub.process import HubProcess, answer_requests
from fake_hub.server import HubServer
from head_tasks import RHYTHMS, regressor
from toy_training import NAMES, toy_student
from transformers import pipeline as transformers_pipeline

import dlink_hf
from dlink_hf import EEGFeatureExtractor, StreamClassifier


SCALE = {"target_mean": [40.0], "target_std": [12.5]}
MULTI_LABEL = {"problem_type": "multi_label_classification", "id2label": dict(enumerate(RHYTHMS))}


def extractor() -> EEGFeatureExtractor:
    return EEGFeatureExtractor(ch_names=NAMES, n_times=400, reject_uv=300.0)


def recording(seconds: int = 10) -> dict[str, Any]:
    """Noise of 20 uV, its third window beyond the amplitude that training takes."""
    values = 20 * np.random.default_rng(0).standard_normal((len(NAMES), 200 * seconds))
    values[:, 900:910] += 500
    return {"array": values, "ch_names": NAMES, "sfreq": 200.0, "unit": "uV"}


def expected(model: Any) -> np.ndarray:
    values = torch.from_numpy(recording()["array"].reshape(len(NAMES), -1, 400).swapaxes(0, 1)).float()
    with torch.inference_mode():
        return model(values).logits.numpy()


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("student")
    regressor(**SCALE).save_pretrained(folder)
    extractor().save_pretrained(folder)
    return folder


@pytest.mark.parametrize("task", [None, "eeg-regression"])
def test_numbers_of_a_recording(student: Path, task: str | None) -> None:
    pipe = dlink_hf.pipeline(task, model=student)
    windows = pipe(recording())
    numbers = expected(regressor(**SCALE).eval())[:, 0]
    told = [window["value"] for window in windows]
    assert told[2] is None and "uV" in windows[2]["reason"]
    np.testing.assert_allclose([told[i] for i in (0, 1, 3, 4)], numbers[[0, 1, 3, 4]], rtol=1e-4)
    assert windows[1] == {"value": told[1], "label": "alpha (uV)", "onset": 2.0, "duration": 2.0, "reason": None}
    assert pipe(recording(), label_all=True)[2]["value"] == pytest.approx(numbers[2], rel=1e-4)
    again = transformers_pipeline("eeg-regression", model=str(student))(recording())
    assert [window["value"] for window in again] == told


def test_several_numbers_have_names(tmp_path: Path) -> None:
    model = regressor(id2label={0: "age", 1: "load"}).eval()
    windows = dlink_hf.pipeline(model=model, feature_extractor=extractor())(recording())
    np.testing.assert_allclose(list(windows[0]["values"].values()), expected(model)[0], rtol=1e-4)
    assert list(windows[0]["values"]) == ["age", "load"] and windows[2]["values"] == {"age": None, "load": None}


def test_several_labels_may_hold_at_once() -> None:
    model = toy_student(**MULTI_LABEL).eval()
    windows = dlink_hf.pipeline(model=model, feature_extractor=extractor())(recording(), top_k=None)
    probabilities = 1 / (1 + np.exp(-expected(model)))
    for i in (0, 1, 3, 4):
        scores = {row["label"]: row["score"] for row in windows[i]["scores"]}
        np.testing.assert_allclose([scores[name] for name in RHYTHMS], probabilities[i], rtol=1e-4)
        held = {name for name, value in zip(RHYTHMS, probabilities[i], strict=True) if value >= 0.5}
        assert set(windows[i]["labels"]) == held
    assert windows[2]["labels"] is None and windows[2]["label"] is None


def test_tasks_and_models_that_do_not_belong_together(student: Path) -> None:
    with pytest.raises(TypeError, match="gives numbers, not classes: dlink_hf.pipeline"):
        dlink_hf.pipeline("eeg-classification", model=student)
    with pytest.raises(TypeError, match="not numbers. Give a MiCForEEGRegression"):
        dlink_hf.pipeline("eeg-regression", model=toy_student(), feature_extractor=extractor())
    with pytest.raises(ValueError, match="has the tasks 'eeg-classification', 'eeg-regression'"):
        dlink_hf.pipeline("eeg-forecasting", model=student)
    with pytest.raises(TypeError, match="no option top_k; it has label_all"):
        dlink_hf.pipeline(model=student)(recording(), top_k=2)


@pytest.mark.parametrize("several", [False, True])
def test_a_live_stream_tells_what_the_recording_does(several: bool) -> None:
    model = (toy_student(**MULTI_LABEL) if several else regressor(**SCALE)).eval()
    given = recording()
    settings = {"ch_names": NAMES, "sfreq": 200.0, "unit": "uV", "hop_seconds": 2.0}
    live = StreamClassifier(model, extractor(), **settings)
    values = given["array"]
    predictions = live.push(values, np.arange(values.shape[1]) / 200.0)
    outputs = expected(model)
    outputs = 1 / (1 + np.exp(-outputs)) if several else outputs
    for i in (0, 1, 3, 4):
        np.testing.assert_allclose(predictions[i].probabilities, outputs[i], rtol=1e-4)
    assert predictions[0].label in (RHYTHMS if several else ["alpha (uV)"])
    if not several:
        with pytest.raises(ValueError, match="reject_below is for probabilities"):
            StreamClassifier(model, extractor(), **settings, reject_below=0.5)


def answer(question: list[Any]) -> dict[str, Any]:
    """In the process that knows the Hub."""
    what, name = question
    if what == "push":
        pipe = dlink_hf.pipeline(model=name)
        pipe.model.push_to_hub("me/numbers")
        pipe.feature_extractor.push_to_hub("me/numbers")
        return {}
    return {"windows": dlink_hf.pipeline("eeg-regression", model=name)(recording(), label_all=True)}


@pytest.mark.slow
def test_round_trip_through_a_hub(student: Path, tmp_path: Path) -> None:
    hub = HubServer(tmp_path / "hub", token="hf_secretOfMine0123")
    home = tmp_path / "home"
    session = HubProcess(hub, __file__, home, HF_TOKEN="hf_secretOfMine0123", HF_HUB_DISABLE_PROGRESS_BARS="1")
    try:
        session.request(["push", str(student)])
        found = session.request(["ask", "me/numbers"])["windows"]
    finally:
        session.close()
    here = dlink_hf.pipeline(model=student)(recording(), label_all=True)
    assert [window["value"] for window in found] == pytest.approx([window["value"] for window in here], rel=1e-5)
    card = (tmp_path / "hub" / "me" / "numbers" / "README.md").read_text()
    assert "MiCForEEGRegression" in card and "eeg-regression" in card and "it tells *alpha (uV)* in numbers" in card


if __name__ == "__main__":
    answer_requests(answer)
