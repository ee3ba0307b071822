# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""The protocol with published weights, against the Hub of the tests: a small set and a small CBraMod in the formats.

The client of the Hub reads `HF_ENDPOINT` when it is imported: what talks to it runs as a user runs it.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mne
import numpy as np
import pytest
from braindecode_hub import SMALL, save, save_set, small_config
from fake_hub.server import HubServer

from dlink_hf.evaluation.comparison import distillation_verdict, interval


ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "benchmarks" / "hub_protocol.py"
sys.path.insert(0, str(SCRIPT.parent))
import hub_costs  # noqa: E402
import hub_protocol  # noqa: E402
import hub_report  # noqa: E402


pytest.importorskip("braindecode", reason="teachers need braindecode: pip install 'dlink-hf[teachers]'")
pytest.importorskip("zarr", reason="sets of the Hub need zarr: pip install 'dlink-hf[hub-data]'")

NAMES = ["C3", "Cz", "C4", "Pz", "Oz", "F3"]
SUBJECTS, TRIALS = 8, 6
SMALL_RUN = ["--teacher", "eeg/cbramod", "--sets", "eeg/hands", "--folds", "2", "--seeds", "0", "--steps", "3"]
SMALL_RUN += ["--teacher_steps", "3", "--few", "2", "--headset", "C4,C3", "--cached_views", "2", "--quiet"]


def recording(seed: int) -> mne.io.RawArray:
    """Trials of 4 s at 200 Hz; where the left hand moves, C4 and C3 have less of a rhythm of 11 Hz."""
    rng, times = np.random.default_rng(seed), np.arange(800 * TRIALS + 200) / 200
    values = 1e-5 * rng.standard_normal((len(NAMES), len(times)))
    labels = ["left_hand", "right_hand"] * (TRIALS // 2)
    for trial, label in enumerate(labels):
        part = slice(800 * trial, 800 * trial + 800)
        values[0 if label == "left_hand" else 2, part] += 2e-5 * np.sin(2 * np.pi * 11 * times[part])
    raw = mne.io.RawArray(values, mne.create_info(NAMES, 200.0, "eeg"), verbose="ERROR")
    return raw.set_annotations(mne.Annotations([4.0 * k for k in range(TRIALS)], [4.0] * TRIALS, labels))


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubServer]:
    """A Hub that holds the set `eeg/hands` and the model `eeg/cbramod`."""
    from braindecode.datasets import BaseConcatDataset, RawDataset
    from braindecode.preprocessing import create_windows_from_events

    root = tmp_path_factory.mktemp("hub")
    whole = BaseConcatDataset([RawDataset(recording(s), {"subject": s, "session": "0"}) for s in range(SUBJECTS)])
    mapping = {"left_hand": 0, "right_hand": 1}
    save_set(create_windows_from_events(whole, mapping=mapping, preload=True), root / "datasets" / "eeg" / "hands")
    save(root / "eeg" / "cbramod", small_config("CBraMod", NAMES, n_times=800), **SMALL["CBraMod"])
    with HubServer(root) as server:
        yield server


def call(hub: HubServer, home: Path, *flags: str) -> str:
    """What the script prints; it must not fail."""
    environment = hub.environment(home, PYTHONPATH=f"{ROOT}:{ROOT / 'tests'}", PYTHONWARNINGS="ignore")
    command = [sys.executable, str(SCRIPT), *flags, *SMALL_RUN, "--folder", str(home / "work")]
    command += ["--output", str(home / "lines.jsonl"), "--report_file", str(home / "RESULTS.md")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_a_dry_run_tells_the_costs_from_metadata(hub: HubServer, tmp_path: Path) -> None:
    before = len(hub.requests)
    told = call(hub, tmp_path, "--dry_run")
    asked = hub.requests[before:]
    assert not [request for request in asked if "/data/c/" in request]
    # of the weights only the head of the file is read, which names the tensors
    assert not list((tmp_path / "hub").rglob("*.safetensors"))
    (row,) = [line for line in told.splitlines() if line.startswith("| eeg/hands |")]
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    files = [path for path in (hub.store.root / "datasets" / "eeg" / "hands").rglob("*") if path.is_file()]
    assert cells[2:5] == [str(SUBJECTS), str(SUBJECTS * TRIALS), str(len(NAMES))]
    assert float(cells[5]) == pytest.approx(sum(path.stat().st_size for path in files) / 1e9, abs=6e-4)
    args = hub_protocol.read_arguments(SMALL_RUN)
    assert cells[8] == str(hub_costs.count_steps(19, args)["trainings"]) and float(cells[10]) >= 0
    assert "All together: " in told and not (tmp_path / "work").exists() and not (tmp_path / "lines.jsonl").exists()


def test_steps_are_counted_row_by_row() -> None:
    flags = ["--folds", "4", "--seeds", "0", "1", "--regimes", "full", "few", "--teacher_steps", "100"]
    args = hub_protocol.read_arguments([*flags, "--rows", "teacher", "alone_4", "same_view", "dlink", "input"])
    found = hub_costs.count_steps(3200, args)
    # 2,000 steps by the recipe, 8 folds of 2 regimes; the few have a teacher of their own
    assert found["teacher"] == 2 * 8 * 100 and found["logits"] == found["layers"] == 16 * 2000
    assert found["alone"] == 16 * 2000 * (4 + 4) and found["features"] == 16 * 3200 * 4
    assert found["trainings"] == 16 + 16 * (1 + 4 + 1 + 1)
    args.cached_views = 0
    assert hub_costs.count_steps(3200, args)["features"] == 0


def make_lines() -> list[dict[str, Any]]:
    """Lines of two folds and two seeds of four subjects, in which `dlink` is five points above the student alone."""
    scores = {"p0": 0.6, "p1": 0.7, "p2": 0.8, "p3": 0.9}
    gains = {"teacher": 0.09, "alone_1": 0.0, "alone_2": 0.01, "shuffled": 0.02, "dlink": 0.06, "input": 0.03}
    args = hub_protocol.read_arguments(SMALL_RUN)
    located = [hub_protocol.Located(name, commit, name) for name, commit in (("eeg/hands", "5e7"), ("eeg/net", "3a2"))]
    lines = []
    for fold, tested in enumerate((["p0", "p1"], ["p2", "p3"])):
        for seed in (0, 1):
            for row, gain in {**gains, "last": 0.02, "uniform": 0.03, "no_spectra": 0.03}.items():
                test = {person: scores[person] + gain for person in tested}
                watched = {person: score + gain for person, score in scores.items() if person not in tested}
                cell = {"teacher": "eeg/net", "set": "eeg/hands", "regime": "few", "fold": fold, "seed": seed}
                facts = {"row": row, "steps": 3, "scores": {"validation": watched, "test": test}, "n_labels": 2}
                facts |= {"device": "a card", "dlink_hf": "0.2.0", **hub_protocol.settings_of(*located, args)}
                lines.append({**cell, **facts})
    return lines


def test_the_report_says_what_the_lines_say(tmp_path: Path) -> None:
    lines = make_lines()
    path = hub_report.write_report(lines, tmp_path / "new" / "RESULTS.md")
    assert list(path.parent.iterdir()) == [path]
    text = path.read_text()
    assert "Weights: eeg/net at 3a2" in text and "Set: eeg/hands at 5e7; 4 test subjects in 2 of 2 folds" in text
    assert "### eeg/hands, few" in text
    # alone at its best budget is `alone_2`, and the shuffled targets are the best control
    dlink, alone = (hub_report.mean_scores(hub_report.of_row(lines, row)) for row in ("dlink", "alone_2"))
    verdict = distillation_verdict(dlink, alone, {}, 2)
    assert verdict["difference"]["mean"] == pytest.approx(0.05) and f"- {verdict['text']}" in text
    assert "Against the best control (shuffled): +4.0 (+4.0 to +4.0) points." in text
    assert "(`input` less `last`): +1.0 (+1.0 to +1.0) points." in text
    assert "(`input` less `no_spectra`): +0.0 (+0.0 to +0.0) points." in text
    expected = interval([score + 0.06 for score in (0.6, 0.7, 0.8, 0.9)])
    assert f"| eeg/hands | few | dlink | {expected.mean:.3f} (" in text and "*best control: shuffled*" in text
    for block in text.split("\n\n"):  # every row of a table has as many cells as its head
        assert len({row.count("|") for row in block.splitlines() if row.startswith("|")}) <= 1
    with pytest.raises(ValueError, match="no lines to report: run `python benchmarks/hub_protocol.py` first"):
        hub_report.format_report([])


def test_lines_that_were_made_otherwise_are_not_added_to(tmp_path: Path) -> None:
    output = tmp_path / "lines.jsonl"
    output.write_text("".join(json.dumps(line) + "\n" for line in make_lines()))
    args = hub_protocol.read_arguments([*SMALL_RUN, "--output", str(output)])
    hands, net = (
        hub_protocol.Located(name, commit, name) for name, commit in (("eeg/hands", "5e7"), ("eeg/net", "3a2"))
    )
    hub_protocol.check_settings(hands, net, args)
    with pytest.raises(ValueError, match="teacher_revision 3a2 there, 999 now.*or another --output"):
        hub_protocol.check_settings(hands, hub_protocol.Located("eeg/net", "999", "eeg/net"), args)
    args.headset = "Cz,Pz"
    with pytest.raises(ValueError, match="headset C4,C3 there, Cz,Pz now"):
        hub_protocol.check_settings(hands, net, args)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_protocol_runs_on_the_hub_and_goes_on_where_it_stopped(hub: HubServer, tmp_path: Path) -> None:
    output, folder = tmp_path / "lines.jsonl", tmp_path / "work"
    rows = ["teacher", "alone_1", "shuffled", "dlink", "input"]
    told = call(hub, tmp_path, "--regimes", "headset", "--rows", *rows)
    lines = [json.loads(line) for line in output.read_text().splitlines()]
    assert [(line["fold"], line["row"]) for line in lines] == [(fold, row) for fold in (0, 1) for row in rows]
    # every subject is tested once, and chosen by others
    for row in rows:
        tested = [set(line["scores"]["test"]) for line in lines if line["row"] == row]
        assert tested[0].isdisjoint(tested[1]) and tested[0] | tested[1] == {str(s) for s in range(SUBJECTS)}
    for line in lines:
        assert set(line["scores"]["test"]).isdisjoint(line["scores"]["validation"])
        assert len(line["teacher_revision"]) == len(line["set_revision"]) == 40 and line["steps"] == 3
        assert all(0 <= score <= 1 for scores in line["scores"].values() for score in scores.values())
        assert ("band_power" in line) == (line["row"] == "teacher")
    # a teacher of each fold; nothing is left of the features
    assert len(list((folder / "teachers").iterdir())) == 2 and not list((folder / "features").iterdir())
    report = (tmp_path / "RESULTS.md").read_text()
    assert f"at {lines[0]['teacher_revision']}" in report and "### eeg/hands, headset" in report
    assert "Against the best control (" in report and "written: " in told

    # killed before the last row of the second fold's student; then other regimes too
    kept = [line for line in lines if (line["fold"], line["row"]) != (1, "dlink")]
    output.write_text("".join(json.dumps(line) + "\n" for line in kept))
    before = len(hub.requests)
    call(hub, tmp_path, "--regimes", "headset", "few", "--rows", "teacher", "same_view", "dlink")
    again = [json.loads(line) for line in output.read_text().splitlines()]
    assert again[: len(kept)] == kept
    done = [(line["regime"], line["fold"], line["row"]) for line in again[len(kept) :]]
    few = [("few", fold, row) for fold in (0, 1) for row in ("teacher", "same_view", "dlink")]
    assert done == [*[("headset", 0, "same_view"), ("headset", 1, "same_view"), ("headset", 1, "dlink")], *few]
    # the few have teachers of their own, who know fewer labels; nothing is downloaded again
    assert len(list((folder / "teachers").iterdir())) == 4
    assert not [request for request in hub.requests[before:] if "/data/c/" in request]
