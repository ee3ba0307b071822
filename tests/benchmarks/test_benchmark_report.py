# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Statistics of the grid against SciPy and by hand; the report says what its lines say."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import bootstrap


ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))
import grid_costs  # noqa: E402
import grid_report  # noqa: E402
import grid_statistics  # noqa: E402
import recipe_report  # noqa: E402


PAIR = ("dlink_small", "bandpower")


def line(name: str, model: str, seed: int, scores: dict[str, float]) -> dict:
    """A line of results with the same score for all metrics."""
    keys = ("balanced_accuracy", "cohen_kappa", "weighted_f1", "auroc")
    people = {person: dict.fromkeys(keys, score) for person, score in scores.items()}
    split = {**dict.fromkeys(keys, float(np.mean(list(scores.values())))), "subjects": people}
    cell = {"set": name, "alignment": "none", "model": model, "seed": seed}
    return {**cell, "digest": f"{name}{model}{seed}", "scores": {"validation": split, "test": split}}


def random_lines(model: str, n_people: int, seeds=(0, 1, 2), name="eegmat", shift=0.0) -> list[dict]:
    rng = np.random.default_rng(sum(map(ord, model + name)))
    return [line(name, model, s, {f"p{i}": shift + 0.1 * rng.random() for i in range(n_people)}) for s in seeds]


def test_a_difference_is_paired_and_its_interval_that_of_scipy():
    lines = random_lines("dlink_small", 12, seeds=(0,), shift=0.6) + random_lines("no_teacher", 12, seeds=(0,))
    a, b = (np.array(list(x["scores"]["test"]["subjects"].values()), object) for x in lines)
    differences = np.array([p["balanced_accuracy"] - q["balanced_accuracy"] for p, q in zip(a, b, strict=True)])
    found = grid_statistics.compare(lines, ["eegmat"], "none", "dlink_small", "no_teacher")
    expected = bootstrap((differences,), np.mean, n_resamples=20_000, method="percentile", rng=1).confidence_interval
    assert found.value == pytest.approx(differences.mean())
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=0.002)
    assert (found.people, found.seeds) == (12, 1)


def test_sets_weigh_alike_and_seeds_are_paired():
    # a difference that is the same for every person and seed has no spread, whatever the scores
    lines = random_lines("no_teacher", 5) + random_lines("no_teacher", 9, name="eyes_gnb")
    for other in list(lines):
        gain = 0.02 if other["set"] == "eegmat" else 0.06
        people = other["scores"]["test"]["subjects"]
        shifted = {person: scores["balanced_accuracy"] + gain for person, scores in people.items()}
        lines.append(line(other["set"], "dlink_small", other["seed"], shifted))
    found = grid_statistics.compare(lines, ["eegmat", "eyes_gnb"], "none", "dlink_small", "no_teacher")
    assert (found.value, found.low, found.high) == pytest.approx((0.04, 0.04, 0.04))
    assert (found.people, found.seeds) == (14, 3)
    # a seed that one of the two lacks does not count
    fewer = [x for x in lines if (x["model"], x["seed"]) != ("no_teacher", 2)]
    assert grid_statistics.compare(fewer, ["eegmat"], "none", "dlink_small", "no_teacher").seeds == 2


def test_a_model_without_a_seed_goes_with_every_seed():
    lines = [line("eegmat", "bandpower", 0, {"p0": 0.5, "p1": 0.6})]
    lines += [line("eegmat", "dlink_small", seed, {"p0": 0.6 + seed, "p1": 0.7}) for seed in (0, 1)]
    found = grid_statistics.compare(lines, ["eegmat"], "none", "dlink_small", "bandpower")
    assert found.value == pytest.approx(np.mean([0.1, 1.1, 0.1, 0.1])) and found.seeds == 2
    assert grid_statistics.compare(lines, ["eegmat"], "none", "dlink_small", "no_teacher") is None
    # of one seed too, in either order
    alone = [x for x in lines if x["seed"] == 0]
    forth, back = (grid_statistics.compare(alone, ["eegmat"], "none", *models) for models in (PAIR, PAIR[::-1]))
    assert forth.value == pytest.approx(-back.value) and forth.seeds == 1
    ratio = grid_statistics.compare(lines, ["eegmat"], "none", "dlink_small", "bandpower", ratio=True)
    assert ratio.value == pytest.approx((0.6 + 1.6 + 0.7 + 0.7) / 4 / 0.55)


def test_the_best_network_is_chosen_on_validation():
    lines = random_lines("EEGNet", 3, shift=0.1) + random_lines("Deep4Net", 3, shift=0.3)
    for one in lines:
        if one["model"] == "EEGNet":
            one["scores"]["test"] = line("eegmat", "EEGNet", 0, {"p0": 0.99})["scores"]["test"]
    assert grid_statistics.best_on_validation(lines, "eegmat", "none") == "Deep4Net"


def test_the_report_says_what_the_lines_say(tmp_path):
    lines = []
    for name in ("eegmat", "ssvep_exo", "eyes_gnb"):
        for model, shift in (("dlink_small", 0.8), ("no_teacher", 0.77), ("pretrained", 0.82), ("EEGNet", 0.7)):
            lines += [line(name, model, seed, {"p0": shift, "p1": shift + 0.1}) for seed in (0, 1)]
    (tmp_path / "lines.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines), encoding="utf-8")
    row = {"parameters": 97_000, "mflop": 20.0, "p25_ms": 1.5, "p50_ms": 2.0, "p75_ms": 2.5, "p95_ms": 3.0}
    row |= {"peak_mib": 9.0, "disk_kb": 390.0}
    teachers = {
        name: {**row, "parameters": 3_880_000, "mflop": 600.0} for name in ("pretrained", "CBraMod, 12 layers")
    }
    models = {"dlink_small": row, **teachers}
    shapes = {f"{n}x1000": {"n_chans": n, "n_times": 1000, "models": models} for n in (19, 8)}
    costs = {"n_runs": 5, "shapes": shapes}
    (tmp_path / "costs.json").write_text(json.dumps(costs), encoding="utf-8")
    words = ["--results", "lines.jsonl", "--costs", "costs.json", "--output", "RESULTS.md"]
    script = str(ROOT / "benchmarks" / "grid_report.py")
    subprocess.run([sys.executable, "-W", "ignore", script, *words], cwd=tmp_path, check=True)
    text = (tmp_path / "RESULTS.md").read_text(encoding="utf-8")
    assert "| DLink small above the same network without a teacher | +2.0 points | +3.0 (+3.0 to +3.0) | met |" in text
    assert "| DLink small above distilled from the last layer | +1.0 points | not measured | - |" in text
    assert "| DLink small over its teacher | 97 % | 97.7 (97.6 to 97.8) | met |" in text
    assert "| DLink small | 0.850 ± 0.000 | 0.850 ± 0.000 |" in text
    assert "1/40.0 of its parameters (promised 1/30: met), 1/30.0 of its FLOP (promised 1/35: missed)" in text
    assert "### 8 channels, 1000 samples" in text and "Few labels" not in text
    assert text.count("| DLink small | 97,000 | 20.0 | 2.00 | 1.50 to 2.50 | 9.0 | 390 |") == 2
    for name in ("scores-none.png", "costs-none.png"):
        assert (tmp_path / "plots" / name).read_bytes().startswith(b"\x89PNG")
        assert f"plots/{name}" in text


def test_few_labels_have_a_section_of_their_own(tmp_path):
    lines = []
    for model, scores in (("general", {0.01: 0.6, 0.1: 0.7, 1.0: 0.8}), ("no_teacher", {0.1: 0.55, 1.0: 0.75})):
        for share, score in scores.items():
            for seed in (0, 1):
                one = line("eegmat", model, seed, {"p0": score + 0.02 * seed})
                lines.append(one if share == 1 else {**one, "share": share})
    lines += random_lines("dlink_small", 3)
    text = grid_report.report(lines, None, tmp_path)
    before, section = text.split("## Few labels")
    assert "| set | model | 1 % | 10 % | 100 % |" in section and "dlink_small" not in section
    assert "| eegmat | small without a teacher | - | 0.560 ± 0.014 | 0.760 ± 0.014 |" in section
    assert "| 0.610 ± 0.014 | 0.710 ± 0.014 | 0.810 ± 0.014 |" in section
    assert (tmp_path / "plots" / "few-windows-none.png").read_bytes().startswith(b"\x89PNG")
    # everything else is of all labels
    assert "| small without a teacher | 0.760 ± 0.014 |" in before and "0.560" not in before and "0.610" not in before
    found = grid_statistics.compare(lines, ["eegmat"], "none", "general", "no_teacher")
    assert found.value == pytest.approx(0.05) and found.seeds == 2
    # a tenth of the labels: 0.15 above random weights, the same for both seeds and for the only person
    assert "| set | 1 % | 10 % | 100 % |" in section and "| eegmat | - | +15.0 (+15.0 to +15.0) | +5.0" in section
    found = grid_statistics.compare(lines, ["eegmat"], "none", "general", "no_teacher", share=0.1)
    assert found.value == pytest.approx(0.15)
    assert "random weights, 10 % of the labelled windows | above 0 | +15.0 (+15.0 to +15.0) | met |" in text
    # another share is one of the people
    lines += [{**line("eegmat", "general", 0, {"p0": 0.31}), "share": 0.1, "share_of": "people"}]
    windows, people = grid_report.report(lines, None, tmp_path).split("### A share of the people")
    assert "0.710 ± 0.014" in windows and "0.310" not in windows and "| 0.310 |" in people
    assert "Few labels" not in grid_report.report([x for x in lines if "share" not in x], None, tmp_path)


def test_costs_of_a_network():
    found = grid_costs.measure_shape(8, 1000, n_runs=5, n_memory=1, names=("EEGNet",))
    assert (found["n_chans"], found["n_times"], list(found["models"])) == (8, 1000, ["EEGNet"])
    for name, row in found["models"].items():
        model = grid_costs.build(name, 8, 1000)
        assert model(input_values=torch.zeros(1, 8, 1000)).logits.shape == (1, 2)
        assert row["parameters"] == sum(p.numel() for p in model.parameters())
        # weights are of four bytes, with a little beside them
        assert 0.004 * row["parameters"] < row["disk_kb"] < 0.004 * row["parameters"] + 20
        assert 0 < row["p25_ms"] <= row["p50_ms"] <= row["p75_ms"] <= row["p95_ms"] and row["mflop"] > 0
        # libraries that come in on the way would be hundreds
        assert 0 < row["peak_mib"] < 60


def test_the_first_part_tells_the_runs_and_where_distillation_pays(tmp_path):
    """Two sets of regimes with known scores: a gain of ten points, and none; a run of the command beside them."""
    lines = []
    for name, regime, gain in (("ssvep_exo", "strong_teacher", 0.1), ("eegmat", "few", 0.0)):
        for row, score in (("teacher", 0.7), ("alone_1", 0.6), ("shuffled", 0.5), ("dlink", 0.6 + gain)):
            scores = {
                split: {who: score + 0.01 * i for i, who in enumerate("abc")} for split in ("validation", "test")
            }
            lines.append(
                {"set": name, "regime": regime, "fold": 0, "seed": 0, "row": row, "steps": 1, "scores": scores}
            )
    (tmp_path / "regimes.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    found = {(name, regime): (best, gain.mean) for name, regime, best, gain in recipe_report.gains(lines)}
    assert found["ssvep_exo", "strong_teacher"] == ("alone", pytest.approx(0.1))
    assert found["eegmat", "few"] == ("alone", pytest.approx(0.0))
    scores = {"balanced_accuracy": 0.75, "auroc": 0.8}
    run = {
        "scores": {"test": dict.fromkeys(("teacher", "DLink student", "student without a teacher"), scores)},
        "verdict": {"difference": {"mean": 0.012, "low": -0.02, "high": 0.03, "n_subjects": 2}},
        "subjects": {"test": ["a", "b"]},
        "use": "baseline",
    }
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "my_set.json").write_text(json.dumps(run), "utf-8")
    text = "\n".join(recipe_report.recipe_part([], tmp_path, tmp_path / "runs", tmp_path / "regimes.jsonl"))
    assert "| my_set | 2 | 0.750 / 0.800 | 0.750 / 0.800 | 0.750 / 0.800 | +1.2 (-2.0 to +3.0) | alone | - |" in text
    assert "| ssvep_exo | strong_teacher | dlink | 0.710 (" in text and "+10.0 (+10.0 to +10.0)" in text
    assert (tmp_path / "regimes.png").stat().st_size > 5_000
