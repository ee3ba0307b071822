# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""The benchmark of evoked potentials: what it computes, goes on with after a stop, and prints."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest


sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

import evoked  # noqa: E402


def a_line(model: str, alignment: str, steps: int, seed: int, folds: list[float]) -> dict:
    return {**evoked.Cell(model, alignment, steps, seed)._asdict(), "folds": folds, "auroc": float(np.mean(folds))}


def test_the_table_compares_the_same_seeds_and_folds():
    lines = [
        a_line("lda", "none", 0, 0, [0.8, 0.8, 0.8, 0.8]),
        a_line("base", "none", 300, 0, [0.7, 0.7, 0.7, 0.7]),
        a_line("signed", "none", 300, 0, [0.8, 0.8, 0.8, 0.6]),
        # no partner
        a_line("signed", "none", 300, 1, [0.9, 0.9, 0.9, 0.9]),
    ]
    text = evoked.table(lines)
    assert "| lda | none | - | 0.800 | 0.800 |" in text
    assert "| signed | none | 300 | 0.750, 0.900 | 0.825 |" in text
    assert "- none, 300 steps: +5.0 points over 1 seed(s); by seed +5.0; 3 of 4 folds better" in text


def test_a_line_that_was_cut_short_is_computed_again(tmp_path):
    path = tmp_path / "results" / "evoked.jsonl"
    evoked.append_line(path, a_line("base", "none", 300, 0, [0.5] * 4))
    with path.open("a") as file:
        file.write('{"model": "signed", "ali')
    assert len(evoked.read_lines(path)) == 1
    evoked.append_line(path, a_line("signed", "none", 300, 0, [0.5] * 4))
    assert [line["model"] for line in evoked.read_lines(path)] == ["base", "signed"]


@pytest.mark.slow
def test_it_runs_and_goes_on_where_it_stopped(tmp_path, capsys):
    """Trials of four subjects, a bump of either sign at Cz: LDA finds it."""
    rng, n_trials = np.random.default_rng(0), 48
    labels = np.arange(n_trials) % 2
    bump = 400 * np.exp(-(((np.arange(256) - 80) / 20) ** 2))
    counts = 200 * rng.standard_normal((n_trials, 3, 256))
    counts[:, 0] += (2 * labels[:, None] - 1) * bump
    (tmp_path / "uci_erp").mkdir()
    np.savez(
        tmp_path / "uci_erp" / "uci_erp.npz",
        x=counts.astype(np.int16),
        uv_per_count=np.float32(0.02),
        sfreq=np.float32(256),
        ch_names=np.array(["CZ", "FPZ", "O1"]),
        subject=np.array([f"co2a{row // 12}" for row in range(n_trials)]),
        condition=np.array(["S1 obj", "S2 nomatch"])[labels],
    )
    path = tmp_path / "evoked.jsonl"
    flags = ["--data_dir", str(tmp_path), "--cache_dir", str(tmp_path / "cache"), "--results", str(path)]
    evoked.windows_of.cache_clear()
    evoked.main(["run", *flags, "--steps", "2", "--seeds", "0"])
    lines = evoked.read_lines(path)
    assert [evoked.key_of(line) for line in lines[2:]] == list(evoked.cells([2], [0])) and len(lines) == 10
    assert all(len(line["folds"]) == 4 and 0 <= min(line["folds"]) for line in lines)
    assert lines[0]["model"] == "lda" and lines[0]["auroc"] > 0.9
    before = path.read_bytes()
    path.write_bytes(before.rpartition(b'{"model"')[0])
    evoked.main(["run", *flags, "--steps", "2", "--seeds", "0"])
    assert [evoked.key_of(json.loads(text)) for text in path.read_text().splitlines()] == [
        evoked.key_of(line) for line in lines
    ]
    capsys.readouterr()
    evoked.main(["table", "--results", str(path)])
    assert "| signed | euclidean | 2 |" in capsys.readouterr().out
