# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""The grid of benchmarks: a line a cell, none twice, people that no model has seen, a table."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset
from safetensors.numpy import load_file
from sklearn.metrics import balanced_accuracy_score


ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))
import grid  # noqa: E402
import grid_cells  # noqa: E402
import grid_models  # noqa: E402


QUICK = {
    "bandpower": {"all": {"strengths": [0.01, 1.0]}},
    "probe": {"all": {"probe_first": True, "head_size": None, "epochs": 0}},
    "dlink_small": {
        "all": {
            "teacher": "probe",
            "size": "tiny",
            "epochs": 1,
            "mimic_epochs": 0,
            "batch_size": 64,
            "learning_rate": 2e-3,
            "weight_decay": 0.05,
            "augmentation": "time_shift",
            "views": 1,
        }
    },
    "no_teacher": {"like": "dlink_small", "all": {"teacher": None}},
    "general": {"like": "no_teacher", "all": {"student": "dlink-mic-small", "views": 0}},
}


@pytest.fixture
def words(data_dir, tmp_path):
    """Arguments of a quick run: two seeds of ssvep_exo, everything written into a temporary folder."""
    (tmp_path / "settings.json").write_text(json.dumps(QUICK), encoding="utf-8")
    return [
        *("run", "--data_dir", str(data_dir), "--sets", "ssvep_exo", "--alignments", "none", "--seeds", "0", "1"),
        *("--results", str(tmp_path / "lines.jsonl"), "--settings", str(tmp_path / "settings.json")),
        *("--cache_dir", str(tmp_path / "windows"), "--models_dir", str(tmp_path / "models")),
    ]


def test_cells_run_once_and_score_the_people_of_the_protocol(words, data_dir, tmp_path, capsys):
    words += ["--models", "bandpower", "dlink_small", "no_teacher"]
    grid.main(words)
    lines = grid_cells.read_lines(tmp_path / "lines.jsonl")
    # the teacher of a student is trained, scored and kept first; band power and a probe have no seed
    assert [(line["model"], line["seed"]) for line in lines] == [
        ("bandpower", 0),
        ("probe", 0),
        ("dlink_small", 0),
        ("no_teacher", 0),
        ("dlink_small", 1),
        ("no_teacher", 1),
    ]
    people = json.loads(grid_cells.PEOPLE.read_text(encoding="utf-8"))["ssvep_exo"]
    for line in lines:
        assert set(line["scores"]) == {"validation", "test"}
        assert sorted(line["scores"]["test"]["subjects"]) == people["test"]
    # one seed, one network: another seed is another one
    student, other = (next((tmp_path / "models").glob(f"ssvep_exo-dlink_small-none-{seed}-*")) for seed in (0, 1))
    first, second = (load_file(folder / "model.safetensors") for folder in (student, other))
    assert any(not np.array_equal(first[name], second[name]) for name in first)

    before = (tmp_path / "lines.jsonl").read_bytes()
    grid.main(words)
    assert (tmp_path / "lines.jsonl").read_bytes() == before
    # a run that was killed while it wrote leaves half a line: that cell alone is run again
    (tmp_path / "lines.jsonl").write_bytes(before[:-40])
    grid.main(words)
    again = grid_cells.read_lines(tmp_path / "lines.jsonl")
    assert [line["digest"] for line in again] == [line["digest"] for line in lines]
    assert again[-1]["scores"] == lines[-1]["scores"]

    capsys.readouterr()
    grid.main(["table", "--results", str(tmp_path / "lines.jsonl")])
    table = capsys.readouterr().out
    score = lines[1]["scores"]["test"]["balanced_accuracy"]
    assert f"| ssvep_exo | none | probe | {score:.3f} |" in table

    splits = grid_cells.load_splits("ssvep_exo", "none", str(data_dir), str(tmp_path / "windows"))
    settings = QUICK["bandpower"]["all"]
    found = grid_models.linear_probabilities("bandpower", "ssvep_exo", splits, settings)["test"].argmax(1)
    expected = balanced_accuracy_score(np.asarray(splits["test"]["labels"][:]), found)
    assert lines[0]["scores"]["test"]["balanced_accuracy"] == pytest.approx(expected, abs=1e-4)
    assert lines[0]["scores"]["test"]["balanced_accuracy"] > 0.3


def test_band_power_is_the_mean_of_the_spectrum():
    rng = np.random.default_rng(0)
    time = np.arange(1000) / 200.0
    windows = 0.01 * rng.standard_normal((3, 2, 1000))
    windows[1, 0] += 5 * np.sin(2 * np.pi * 9.0 * time)
    features = grid_models.band_power("eegmat", windows).reshape(3, 2, -1)
    # 9 Hz lies in the band of 8 to 10 Hz, the third: 25 / 2 uV^2 over some 2 Hz
    assert features[1, 0].argmax() == 2 and features[1, 0, 2] == pytest.approx(np.log(12.5 / 2), abs=0.3)
    assert features[0].max() < -5


def test_settings_go_from_the_general_to_the_particular():
    for model in json.loads(grid_cells.SETTINGS.read_text(encoding="utf-8")):
        for name in grid_cells.SETS:
            assert grid_cells.settings_of(name, model, "none")
    general, own = (grid_cells.settings_of(name, "pretrained", "none") for name in ("eegmat", "ssvep_exo"))
    assert general["epochs"] != own["epochs"] and general["batch_size"] == own["batch_size"]
    # an ablation is the student with that one thing changed, whatever the set
    for model, changed in (("last_layer", {"routing": "last"}), ("no_spectral", {"spectral_weight": 0.0})):
        for name in grid_cells.SETS:
            student = grid_cells.settings_of(name, "dlink_small", "euclidean_monge")
            assert grid_cells.settings_of(name, model, "euclidean_monge") == {**student, **changed}


def test_the_last_line_of_a_cell_counts(tmp_path):
    cell = {"set": "eegmat", "alignment": "none", "model": "EEGNet"}
    for seed, score in ((0, 0.5), (1, 0.6), (0, 0.7)):
        grid_cells.append_line(tmp_path / "lines.jsonl", {**cell, "seed": seed, "score": score})
    lines = grid_cells.latest_lines(tmp_path / "lines.jsonl")
    assert {line["seed"]: line["score"] for line in lines} == {0: 0.7, 1: 0.6}


def test_a_line_depends_on_its_teacher(tmp_path):
    cell = {"set": "eegmat", "model": "dlink_small", "alignment": "none", "seed": 1}
    checkpoint = str(grid.CHECKPOINT)
    digests = []
    for strength in (0.1, 0.2):
        table = {**QUICK, "probe": {"all": {"epochs": 0, "weight": strength}}}
        path = tmp_path / f"{strength}.json"
        path.write_text(json.dumps(table), encoding="utf-8")
        settings = grid_cells.settings_of("eegmat", "dlink_small", "none", path)
        digests.append(grid_cells.digest_of(cell, settings, checkpoint, path))
    assert digests[0] != digests[1]


def test_a_missing_teacher_is_said_at_once(words, tmp_path):
    with pytest.raises(SystemExit, match=r"holds no pre-trained teacher, from which dlink_small starts"):
        grid.main([*words, "--models", "dlink_small", "--checkpoint", str(tmp_path / "nowhere")])
    with pytest.raises(SystemExit, match=r"has no settings for EEGNet"):
        grid.main([*words, "--models", "EEGNet"])


def test_tried_settings_are_scored_on_the_validation_people_alone(words, tmp_path, capsys):
    file = tmp_path / "tried.jsonl"
    words = ["try", *words[1:], "--results", str(file), "--seeds", "0", "--models"]
    grid.main([*words, "dlink_small", "--alter", '{"views": 0, "augmentation": null}'])
    # a row without settings gets them all from the command line
    grid.main([*words, "csp", "--alter", '{"components": [2]}'])
    student, linear = grid_cells.read_lines(file)
    assert student["altered"] == {"views": 0, "augmentation": None}
    assert student["settings"] == {**QUICK["dlink_small"]["all"], **student["altered"]}
    assert (linear["set"], linear["alignment"], linear["model"], linear["seed"]) == ("ssvep_exo", "none", "csp", 0)
    for line in (student, linear):
        assert 0 <= line["balanced_accuracy"] <= 1 and 0 <= line["auroc"] <= 1 and line["seconds"] > 0
        assert "test" not in json.dumps(line)
    # the teacher is that of `run`, where `run` finds it; what was tried is not kept
    assert [folder.name.split("-")[1] for folder in (tmp_path / "models").glob("*-*")] == ["probe"]
    kept = next((tmp_path / "models").glob("*/model.safetensors"))
    before = kept.stat().st_mtime_ns
    grid.main(["run", *words[1:], "dlink_small", "--results", str(tmp_path / "lines.jsonl")])
    assert kept.stat().st_mtime_ns == before
    assert [line["model"] for line in grid_cells.read_lines(tmp_path / "lines.jsonl")] == ["dlink_small"]

    capsys.readouterr()
    grid.main([*words, "csp", "--alter", '{"components": [2]}'])
    assert "with these settings" in capsys.readouterr().out and len(grid_cells.read_lines(file)) == 2
    with pytest.raises(SystemExit, match=r"EEGNet has no setting batch_size, learning_rate, weight_decay"):
        grid.main([*words, "EEGNet", "--alter", '{"epochs": 3, "input_scale": 0.1}'])
    with pytest.raises(SystemExit):
        grid.main([*words, "csp", "--alter", "components=2"])
    assert "--alter: must be a JSON object" in capsys.readouterr().err


def test_a_share_is_of_every_person_and_class():
    rows = [(person, label) for person, n in (("a", 40), ("b", 10), ("c", 3)) for label in (0, 1) for _ in range(n)]
    people, labels = zip(*rows, strict=True)
    train = Dataset.from_dict({"subject": people, "labels": labels, "row": list(range(len(rows)))})

    def drawn(share: float, seed: int = 0) -> list[int]:
        return grid.cut_to_share(train, share, "subject", seed)["row"][:]

    counts = {key: [rows[i] for i in drawn(0.1)].count(key) for key in set(rows)}
    assert counts == {(person, label): n for person, n in (("a", 4), ("b", 1), ("c", 1)) for label in (0, 1)}
    assert drawn(0.1) == drawn(0.1) == sorted(drawn(0.1)) and set(drawn(0.1)) < set(drawn(0.3))
    assert drawn(0.1) != drawn(0.1, seed=1)
    # or everything of some people
    for share, n_people in ((0.1, 1), (0.67, 2)):
        found = grid.cut_to_share(train, share, "subject", 0, "people")["subject"][:]
        assert len(set(found)) == n_people and len(found) == sum(people.count(person) for person in set(found))


def test_few_labels_and_another_student(words, tmp_path, capsys):
    file, folder = tmp_path / "lines.jsonl", tmp_path / "left-out"
    packaged = ROOT / "dlink_hf" / "checkpoints" / "dlink-mic-small"
    shutil.copytree(packaged, folder)
    words += ["--seeds", "0", "--models"]
    grid.main([*words, "bandpower"])
    grid.main([*words, "bandpower", "--share", "0.1"])
    grid.main([*words, "general", "--share", "0.05", "--student", str(folder)])
    grid.main([*words, "bandpower", "--share", "0.1", "--share_of", "people"])
    whole, tenth, general, one = grid_cells.read_lines(file)
    assert one["share_of"] == "people" and len({line["digest"] for line in (whole, tenth, general, one)}) == 4
    assert len(grid_cells.latest_lines(file)) == 4
    assert "share" not in whole and (tenth["share"], general["share"]) == (0.1, 0.05)
    assert whole["digest"] != tenth["digest"] and whole["scores"] != tenth["scores"]
    assert sorted(whole["scores"]["test"]["subjects"]) == sorted(tenth["scores"]["test"]["subjects"])
    assert general["settings"]["student"] == "left-out" and str(tmp_path) not in json.dumps(general)
    # one row a set, alignment and model: of all labels
    score = whole["scores"]["test"]["balanced_accuracy"]
    assert grid.table([whole, tenth]).count("bandpower") == 1 and f"| {score:.3f} |" in grid.table([whole, tenth])

    def listed(student: Path | str, share: str = "0.05") -> str:
        flags = [flag for flag in words[words.index("--sets") :] if flag not in ("--cache_dir", "--models_dir")]
        flags = [flag for flag in flags if flag not in (str(tmp_path / "windows"), str(tmp_path / "models"))]
        capsys.readouterr()
        grid.main(["list", *flags, "general", "--share", share, "--student", str(student)])
        return capsys.readouterr().out.split()[0]

    # the weights count, and not where they lie
    moved = shutil.move(folder, tmp_path / "elsewhere" / "left-out")
    assert listed(moved) == "done" and listed(moved, "0.1") == "open" and listed("dlink-mic-small") == "open"
    weights = Path(moved) / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    assert listed(moved) == "open"
    with pytest.raises(SystemExit, match=r"--student: .*nowhere holds no model.safetensors"):
        listed(tmp_path / "nowhere")
    with pytest.raises(SystemExit):
        listed(moved, "1.5")
    assert "--share: must be a number above 0 and at most 1, got '1.5'" in capsys.readouterr().err
