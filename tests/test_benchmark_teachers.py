# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""The benchmark of teachers: a line a cell, none twice, scores of people unseen, a table."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score


ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "benchmarks"))
import teachers  # noqa: E402


def options(data_dir: Path, folder: Path, *more: str) -> list[str]:
    words = ["run", "--data_dir", str(data_dir), "--sets", "ssvep_exo", "--seeds", "0", "1", "--alignments", "none"]
    return [*words, "--results", str(folder / "lines.jsonl"), "--cache_dir", str(folder), *more]


def test_cells_run_once_and_score_the_people_of_the_protocol(data_dir, tmp_path, capsys):
    settings = {
        "bandpower": {"all": {"strengths": [0.01, 1.0]}},
        "pretrained": {"all": {"probe_first": True, "head_size": None, "epochs": 0}},
    }
    (tmp_path / "settings.json").write_text(json.dumps(settings), encoding="utf-8")
    words = options(data_dir, tmp_path, "--models", "bandpower", "pretrained", "--settings")
    words += [str(tmp_path / "settings.json"), "--checkpoint", str(ROOT / "model_cards" / "dlink-teacher-cbramod-4")]
    teachers.main(words)
    lines = teachers.read_lines(tmp_path / "lines.jsonl")
    # band power has no seed
    assert [(line["model"], line["seed"]) for line in lines] == [
        ("bandpower", 0),
        ("pretrained", 0),
        ("pretrained", 1),
    ]
    people = json.loads((ROOT / "benchmarks" / "protocol" / "people.json").read_text(encoding="utf-8"))["ssvep_exo"]
    for line in lines:
        assert set(line["scores"]) == {"validation", "test"}
        assert sorted(line["scores"]["test"]["subjects"]) == people["test"]
        assert line["scores"]["test"]["balanced_accuracy"] > 0.3
    # without a random number in it, a probe is the same for every seed
    assert lines[1]["scores"] == lines[2]["scores"]

    before = (tmp_path / "lines.jsonl").read_bytes()
    teachers.main(words)
    assert (tmp_path / "lines.jsonl").read_bytes() == before
    capsys.readouterr()
    teachers.main(["table", "--results", str(tmp_path / "lines.jsonl")])
    table = capsys.readouterr().out
    score = lines[1]["scores"]["test"]["balanced_accuracy"]
    assert f"| ssvep_exo | none | pretrained | {score:.3f} ± 0.000 |" in table

    splits = teachers.load_splits("ssvep_exo", "none", str(data_dir), str(tmp_path))
    found = teachers.band_power_probabilities("ssvep_exo", splits, [0.01, 1.0])["test"].argmax(1)
    expected = balanced_accuracy_score(np.asarray(splits["test"]["labels"][:]), found)
    assert lines[0]["scores"]["test"]["balanced_accuracy"] == pytest.approx(expected, abs=1e-4)


def test_band_power_is_the_mean_of_the_spectrum():
    rng = np.random.default_rng(0)
    time = np.arange(1000) / 200.0
    windows = 0.01 * rng.standard_normal((3, 2, 1000))
    windows[1, 0] += 5 * np.sin(2 * np.pi * 9.0 * time)
    features = teachers.band_power("eegmat", windows).reshape(3, 2, -1)
    # 9 Hz lies in the band of 8 to 10 Hz, the third: 25 / 2 uV^2 over some 2 Hz
    assert features[1, 0].argmax() == 2 and features[1, 0, 2] == pytest.approx(np.log(12.5 / 2), abs=0.3)
    assert features[0].max() < -5


def test_the_settings_of_a_set_go_before_those_of_its_model():
    for model in teachers.MODELS:
        for name in teachers.SETS:
            assert teachers.settings_of(name, model, "none")
    general, own = (teachers.settings_of(name, "pretrained", "none") for name in ("eegmat", "ssvep_exo"))
    assert general["epochs"] != own["epochs"] and general["batch_size"] == own["batch_size"]
    with pytest.raises(SystemExit, match="--checkpoint"):
        teachers.main(["run", "--data_dir", "x", "--models", "pretrained", "--checkpoint", "nowhere"])
