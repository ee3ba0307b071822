# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""A label for every patch of a recording: by the pipelines and `dlink predict`; and where such a model is refused."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import mne
import numpy as np
import pytest
import torch
from toy_training import NAMES, toy_student
from transformers import pipeline as transformers_pipeline

import dlink_hf
from dlink_hf import EEGFeatureExtractor, MiCForEEGTokenClassification, StreamClassifier, export_onnx, load_classifier
from dlink_hf.commands import main


def labeller(**fields: Any) -> MiCForEEGTokenClassification:
    """A student that labels every second of stretches of 4 s."""
    config = toy_student(0).config
    own = {"n_times": 800, "id2label": {0: "rest", 1: "burst"}, "label2id": None, **fields}
    torch.manual_seed(0)
    return MiCForEEGTokenClassification(type(config).from_dict({**config.to_dict(), **own})).eval()


def extractor(n_times: int = 800) -> EEGFeatureExtractor:
    return EEGFeatureExtractor(ch_names=NAMES, n_times=n_times, reject_uv=300.0)


def recording() -> dict[str, Any]:
    """Noise of 20 uV and 18 s, its second stretch of 4 s beyond the amplitude that training takes."""
    values = 20 * np.random.default_rng(0).standard_normal((len(NAMES), 3600))
    values[:, 900:910] += 500
    return {"array": values, "ch_names": NAMES, "sfreq": 200.0, "unit": "uV"}


def expected(model: Any) -> np.ndarray:
    """(16, 2) probabilities of the four whole stretches."""
    stretches = recording()["array"][:, :3200].reshape(len(NAMES), 4, 800).swapaxes(0, 1)
    with torch.inference_mode():
        return model(torch.from_numpy(stretches).float()).logits.softmax(-1).flatten(0, 1).numpy()


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("labeller")
    labeller().save_pretrained(folder)
    extractor().save_pretrained(folder)
    return folder


@pytest.mark.parametrize("task", [None, "eeg-token-classification"])
def test_every_second_has_a_label_with_its_onset(student: Path, task: str | None) -> None:
    pipe = dlink_hf.pipeline(task, model=student)
    places, wanted = pipe(recording(), top_k=None, batch_size=3), expected(labeller())
    assert [place["onset"] for place in places] == list(range(16)) and {place["duration"] for place in places} == {1.0}
    for index, place in enumerate(places):
        if 4 <= index < 8:
            assert place["label"] is None and "uV" in place["reason"]
            continue
        assert place["label"] == ("rest", "burst")[wanted[index].argmax()] and place["reason"] is None
        scores = {row["label"]: row["score"] for row in place["scores"]}
        np.testing.assert_allclose([scores["rest"], scores["burst"]], wanted[index], rtol=1e-4)
    every = pipe(recording(), label_all=True)
    assert every[5]["score"] == pytest.approx(wanted[5].max(), rel=1e-4)
    again = transformers_pipeline("eeg-token-classification", model=str(student))(recording())
    assert [place["label"] for place in again] == [place["label"] for place in places]


def test_a_label_of_several_patches_lasts_as_long_as_they(tmp_path: Path) -> None:
    pipe = dlink_hf.pipeline(model=labeller(patches_per_label=2), feature_extractor=extractor())
    places = pipe(recording())
    assert [place["onset"] for place in places] == list(range(0, 16, 2)) and places[0]["duration"] == 2.0
    # longer stretches than the config's are read too
    longer = dlink_hf.pipeline(model=labeller(), feature_extractor=extractor(1600))(recording())
    assert len(longer) == 16 and longer[9]["onset"] == 9.0


def test_the_command_writes_a_row_for_every_place(
    student: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    info = mne.create_info(list(NAMES), 200.0, "eeg")
    mne.io.RawArray(1e-6 * recording()["array"], info, verbose="ERROR").save(tmp_path / "a_raw.fif", verbose="ERROR")
    words = ["predict", str(tmp_path / "a_raw.fif"), "--model", str(student)]
    assert main([*words, "--output", str(tmp_path / "places.csv")]) == 0
    assert "16 windows of 1 s" in capsys.readouterr().out
    with open(tmp_path / "places.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["onset"]) for row in rows] == list(range(16))
    probabilities = [float(rows[index]["p_burst"]) for index in (0, 1, 2, 3, 8)]
    np.testing.assert_allclose(probabilities, expected(labeller())[[0, 1, 2, 3, 8], 1], atol=1e-3)
    assert main([*words, "--format", "annotations", "--output", str(tmp_path / "a_annot.csv")]) == 0
    described = mne.read_annotations(tmp_path / "a_annot.csv").description
    assert described[0] == rows[0]["label"] and described[4].startswith("BAD_unjudged")
    assert main([*words, "--stride_seconds", "1"]) != 0
    assert "lie side by side" in " ".join(capsys.readouterr().err.split())


def test_where_a_model_of_patches_is_refused(student: Path, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"does not label patches\. Give a MiCForEEGTokenClassification"):
        dlink_hf.pipeline("eeg-token-classification", model=toy_student(), feature_extractor=extractor(400))
    with pytest.raises(ValueError, match="do not hold whole labels of 400 samples"):
        dlink_hf.pipeline(model=labeller(patches_per_label=2), feature_extractor=extractor(600))
    with pytest.raises(ValueError, match=r"dlink_hf\.pipeline\('eeg-token-classification', model=\.\.\.\) labels rec"):
        load_classifier(student)
    for model in (student, labeller()):
        with pytest.raises(TypeError, match="not exported: .* train a MiCForEEGClassification on windows of one"):
            export_onnx(model, tmp_path / "onnx")
    settings = {"ch_names": NAMES, "sfreq": 200.0, "unit": "uV", "hop_seconds": 1.0}
    with pytest.raises(TypeError, match="one answer a window, and MiCForEEGTokenClassification labels every patch"):
        StreamClassifier(labeller(), extractor(), **settings)
    toy_student().save_pretrained(tmp_path / "windows")
    extractor(400).save_pretrained(tmp_path / "windows")
    with pytest.raises(ValueError, match="holds MiCForEEGClassification, which does not label patches"):
        dlink_hf.pipeline("eeg-token-classification", model=tmp_path / "windows")
