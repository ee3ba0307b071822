# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""One vector a window: which state it is, that no head takes part, and what `dlink embed` writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mne
import numpy as np
import pytest
import torch
from toy_training import NAMES, toy_student, toy_teacher
from transformers import pipeline as transformers_pipeline

import dlink_hf
from dlink_hf import EEGFeatureExtractor, MiCModel
from dlink_hf.commands import main as dlink


def extractor(**settings: Any) -> EEGFeatureExtractor:
    return EEGFeatureExtractor(**{"ch_names": NAMES, "n_times": 400, "reject_uv": 300.0, **settings})


def values(seconds: int = 10, seed: int = 0) -> np.ndarray:
    return 20 * np.random.default_rng(seed).standard_normal((len(NAMES), 200 * seconds))


def recording(**options: Any) -> dict[str, Any]:
    return {"array": values(), "ch_names": NAMES, "sfreq": 200.0, "unit": "uV", **options}


def windows() -> torch.Tensor:
    return torch.from_numpy(values().reshape(len(NAMES), -1, 400).swapaxes(0, 1)).float()


def vectors(found: list[dict[str, Any]]) -> np.ndarray:
    return np.stack([window["features"] for window in found])


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("backbone")
    toy_student().mic.save_pretrained(folder)
    extractor().save_pretrained(folder)
    return folder


@torch.no_grad()
def test_the_states_and_their_pooling(backbone: Path) -> None:
    pipe = dlink_hf.pipeline("eeg-feature-extraction", model=backbone)
    output = MiCModel.from_pretrained(backbone).eval()(windows())
    expected = {
        ("compressed", "mean"): output.compressed_state.flatten(1),
        ("mimic", "mean"): output.mimic_state.mean((1, 2)),
        ("tokens", "mean"): output.last_hidden_state.mean((1, 2)),
        ("tokens", "channels"): output.last_hidden_state.mean(2).flatten(1),
    }
    for (state, pooling), wanted in expected.items():
        found = pipe(recording(), state=state, pooling=pooling)
        np.testing.assert_allclose(vectors(found), wanted.numpy(), rtol=1e-4, atol=1e-5)
        assert [window["onset"] for window in found] == [0.0, 2.0, 4.0, 6.0, 8.0]
    # the default, and what holds for all calls
    assert vectors(pipe(recording())).shape == (5, 3 * 2 * 4)
    fixed = dlink_hf.pipeline("eeg-feature-extraction", model=backbone, state="tokens")
    assert vectors(fixed(recording())).shape == (5, 16)
    again = transformers_pipeline("eeg-feature-extraction", model=str(backbone))
    np.testing.assert_array_equal(vectors(again(recording())), vectors(pipe(recording())))


def test_a_head_makes_no_difference(backbone: Path, tmp_path: Path) -> None:
    student = toy_student()
    student.save_pretrained(tmp_path)
    extractor().save_pretrained(tmp_path)
    bare = vectors(dlink_hf.pipeline("eeg-feature-extraction", model=backbone)(recording()))
    np.testing.assert_allclose(
        vectors(dlink_hf.pipeline("eeg-feature-extraction", model=tmp_path)(recording())), bare, rtol=1e-5
    )
    loaded = dlink_hf.pipeline("eeg-feature-extraction", model=student, feature_extractor=extractor())
    np.testing.assert_allclose(vectors(loaded(recording())), bare, rtol=1e-5)


@torch.no_grad()
def test_a_teachers_tokens(tmp_path: Path) -> None:
    teacher = toy_teacher().eval()
    teacher.save_pretrained(tmp_path)
    extractor().save_pretrained(tmp_path)
    pipe = dlink_hf.pipeline("eeg-feature-extraction", model=tmp_path)
    expected = teacher.teacher(windows()).last_hidden_state.mean((1, 2)).numpy()
    np.testing.assert_allclose(vectors(pipe(recording())), expected, rtol=1e-3, atol=1e-5)
    with pytest.raises(ValueError, match="`state`.*tokens"):
        pipe(recording(), state="compressed")


def test_other_montages_give_vectors_of_the_same_length(backbone: Path) -> None:
    pipe = dlink_hf.pipeline("eeg-feature-extraction", model=backbone, feature_extractor=extractor(ch_names=None))
    three = recording() | {"array": values()[:3], "ch_names": ["Fz", "Oz", "T8"]}
    assert vectors(pipe(three)).shape == vectors(pipe(recording())).shape


def test_windows_that_no_model_should_judge_say_so_and_have_a_vector(backbone: Path) -> None:
    given = recording()
    given["array"][:, 900:910] += 500
    found = dlink_hf.pipeline("eeg-feature-extraction", model=backbone)(given)
    assert [window["reason"] is None for window in found] == [True, True, False, True, True]
    assert np.isfinite(found[2]["features"]).all()


@pytest.mark.parametrize(("options", "reason"), [({"state": "router"}, "`state`"), ({"pooling": "max"}, "`pooling`")])
def test_options_that_there_are_not(backbone: Path, options: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        dlink_hf.pipeline("eeg-feature-extraction", model=backbone)(recording(), **options)
    with pytest.raises(TypeError, match="no option top_k; it has state, pooling"):
        dlink_hf.pipeline("eeg-feature-extraction", model=backbone)(recording(), top_k=1)


def save_recordings(folder: Path) -> None:
    for number, name in enumerate(["a/s01", "b/s02"]):
        path = folder / f"{name}_raw.fif"
        path.parent.mkdir(parents=True, exist_ok=True)
        info = mne.create_info(NAMES, 200.0, "eeg", verbose="ERROR")
        mne.io.RawArray(values(seed=number) * 1e-6, info, verbose="ERROR").save(path, verbose="ERROR")


def test_a_folder_becomes_a_table(backbone: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    save_recordings(tmp_path / "recordings")
    table_path = tmp_path / "out" / "embeddings.parquet"
    words = [str(tmp_path / "recordings"), "--model", str(backbone), "--output", str(table_path)]
    assert dlink(["embed", *words]) == 0
    assert "10 windows of 2 recordings" in capsys.readouterr().out
    table = parquet.read_table(table_path)
    assert table.column_names == ["recording", "onset", "duration", "reason", "embedding"]
    assert table["recording"].to_pylist() == ["a/s01_raw.fif"] * 5 + ["b/s02_raw.fif"] * 5
    assert json.loads(table.schema.metadata[b"dlink_hf"])["pooling"] == "mean"
    pipe = dlink_hf.pipeline("eeg-feature-extraction", model=backbone)
    expected = vectors(pipe(tmp_path / "recordings/b/s02_raw.fif"))
    np.testing.assert_allclose(np.array(table["embedding"].to_pylist()[5:]), expected, rtol=1e-5, atol=1e-6)

    # one broken file stops it and leaves the table as it was, or is left out and named
    before = table_path.read_bytes()
    (tmp_path / "recordings/c_raw.fif").write_bytes(b"no recording")
    assert dlink(["embed", *words]) == 1
    assert "c_raw.fif" in capsys.readouterr().err and table_path.read_bytes() == before
    assert dlink(["embed", *words, "--skip_broken"]) == 0
    assert "left out: c_raw.fif" in capsys.readouterr().err and parquet.read_table(table_path).num_rows == 10


def test_words_that_can_not_be_used(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert dlink(["embed"]) == 1 and "say which recordings" in capsys.readouterr().err
    assert dlink(["embed", str(tmp_path), "--output", "x.csv"]) == 1
    assert "Parquet" in capsys.readouterr().err
