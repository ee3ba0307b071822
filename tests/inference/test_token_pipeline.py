# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""A label for every patch of a recording: by the pipelines and `dlink predict`; and where such a model is refused."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import mne
import numpy as np
import pytest
import torch
from toy_training import NAMES, toy_student
from transformers import pipeline as transformers_pipeline

import dlink_hf
from dlink_hf import (
    AutoModelForEEGClassification,
    EEGFeatureExtractor,
    MiCForEEGTokenClassification,
    OnnxStudent,
    export_onnx,
    load_classifier,
)
from dlink_hf.commands import main
from dlink_hf.export.c_student import export_c
from dlink_hf.inference.token_pipeline import EEGTokenClassificationPipeline


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
    with pytest.raises(TypeError, match=r"not exported for c, .* Export it as ONNX \(--format onnx\), or train a MiC"):
        export_c(student, tmp_path / "c")
    with pytest.raises(ValueError, match="exported for one montage: name it by ch_names"):
        export_onnx(student, tmp_path / "onnx", any_montage=True)
    with pytest.raises(ValueError, match="token_context='gru' is exported in float32 or int8"):
        export_onnx(labeller(token_context="gru"), tmp_path / "onnx", precision="float16")
    assert not (tmp_path / "onnx").exists()
    toy_student().save_pretrained(tmp_path / "windows")
    extractor(400).save_pretrained(tmp_path / "windows")
    with pytest.raises(ValueError, match="holds MiCForEEGClassification, which does not label patches"):
        dlink_hf.pipeline("eeg-token-classification", model=tmp_path / "windows")


def spread_out(**fields: Any) -> MiCForEEGTokenClassification:
    """A labeller whose every tensor has moved away from where it starts."""
    model = labeller(**fields)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


@pytest.mark.parametrize("fields", [{}, {"patches_per_label": 2, "token_context": "gru"}, {"signed_path": True}])
def test_the_folded_student_gives_the_same_logits(fields: dict[str, Any]) -> None:
    model, stretches = spread_out(**fields), 20 * torch.randn(3, len(NAMES), 1200)
    with torch.inference_mode():
        same = model.for_inference(n_times=1200)(stretches).logits
        torch.testing.assert_close(same, model(stretches).logits, rtol=1e-4, atol=1e-4)
    with pytest.raises(ValueError, match="folded for windows of 4 channels and 1200 samples"):
        model.for_inference(n_times=1200)(stretches[:, :, :800])


@pytest.mark.parametrize("fields", [{}, {"patches_per_label": 2, "token_context": "gru"}])
def test_an_export_gives_every_place_its_label(fields: dict[str, Any], tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    model = spread_out(**fields)
    model.save_pretrained(tmp_path)
    extractor().save_pretrained(tmp_path)
    assert main(["export", str(tmp_path), "--output_dir", str(tmp_path / "onnx")]) == 0
    deploy = json.loads((tmp_path / "onnx" / "float32" / "deploy.json").read_text("utf-8"))
    n_places = 4 // model.config.patches_per_label
    assert deploy["output"]["shape"] == ["batch", n_places, 2]
    assert deploy["output"]["seconds_per_label"] == model.config.patches_per_label
    student = OnnxStudent.from_pretrained(tmp_path / "onnx" / "float32")
    for n in (1, 3):
        stretches = 20 * torch.randn(n, len(NAMES), 800)
        with torch.inference_mode():
            expected = model(stretches).logits
        torch.testing.assert_close(student(stretches).logits, expected, rtol=1e-3, atol=1e-3)
    own = dlink_hf.pipeline(model=model, feature_extractor=extractor())(recording(), top_k=None)
    of_transformers = EEGTokenClassificationPipeline(student, extractor(), task="eeg-token-classification")
    for pipe in (
        dlink_hf.pipeline("eeg-token-classification", model=tmp_path, backend="onnx"),
        dlink_hf.pipeline(model=tmp_path / "onnx" / "float32", backend="onnx"),
        of_transformers,
    ):
        found = pipe(recording(), top_k=None)
        for place, wanted in zip(found, own, strict=True):
            assert [place[name] for name in ("label", "onset", "duration", "reason")] == [
                wanted[name] for name in ("label", "onset", "duration", "reason")
            ]
            for score in zip(place["scores"], wanted["scores"], strict=True):
                assert score[0]["score"] == pytest.approx(score[1]["score"], abs=1e-3)
    with pytest.raises(ValueError, match="lie side by side"):
        of_transformers(recording(), stride_seconds=1.0)
    with pytest.raises(ValueError, match="labels patches, not whole windows: load_exported"):
        AutoModelForEEGClassification.from_pretrained(tmp_path, backend="onnx")
    with pytest.raises(TypeError, match="is for 'eeg-token-classification', not for 'eeg-classification'"):
        dlink_hf.pipeline("eeg-classification", model=tmp_path, backend="onnx")
    with pytest.raises(ValueError, match="do not hold whole labels"):
        dlink_hf.pipeline(model=student, feature_extractor=extractor(900))


def test_the_command_reads_an_export_without_torch(student: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    export_onnx(student, tmp_path / "onnx", progress=False)
    info = mne.create_info(list(NAMES), 200.0, "eeg")
    mne.io.RawArray(1e-6 * recording()["array"], info, verbose="ERROR").save(tmp_path / "a_raw.fif", verbose="ERROR")
    words = ["predict", str(tmp_path / "a_raw.fif"), "--model"]
    code = (
        "import sys\nfrom dlink_hf.commands import main\n"
        f"assert main({[*words, str(tmp_path / 'onnx'), '--output', str(tmp_path / 'light.csv')]!r}) == 0\n"
        "assert not {'torch', 'transformers'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    assert main([*words, str(student), "--output", str(tmp_path / "full.csv")]) == 0
    rows = [list(csv.DictReader((tmp_path / name).open(newline=""))) for name in ("light.csv", "full.csv")]
    assert [row["onset"] for row in rows[0]] == [row["onset"] for row in rows[1]]
    probabilities = [[float(row["p_burst"] or "nan") for row in table] for table in rows]
    np.testing.assert_allclose(*probabilities, atol=1e-3)
