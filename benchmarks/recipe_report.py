# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""The first part of RESULTS.md: what the package's recipe gives, from results/defaults/ and results/regimes.jsonl."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from grid_statistics import mean_and_sd, select
from regimes import (
    RESULTS as REGIME_LINES,
    SETS as REGIME_SETS,
    best_alone,
    by_subject,
    difference,
    read_lines,
    strongest_control,
    table as regime_table,
)

from dlink_hf.evaluation.comparison import Interval


DEFAULTS = Path(__file__).resolve().parent / "results" / "defaults"
REGIMES_TEXT = {
    "full": "student sees what its teacher sees",
    "headset": "a few of the teacher's electrodes",
    "short": "the end of the teacher's window",
    "few": "few labelled subjects, the others' recordings without labels",
    "strong_teacher": "few labelled subjects, a teacher of other subjects",
}


def read_runs(folder: Path) -> dict[str, dict[str, Any]]:
    """Set -> `results.json` of its run of `dlink distill` without further flags."""
    return {path.stem: json.loads(path.read_text("utf-8")) for path in sorted(folder.glob("*.json"))}


def defaults_table(runs: Mapping[str, Mapping[str, Any]], grid: Sequence[Mapping[str, Any]]) -> str:
    """Balanced accuracy and AUROC of every run on its test subjects, and the grid's best recipe beside them."""
    rows = [
        "| set | test subjects | teacher | distilled | alone | less alone (points) | it names | grid, best |",
        "|---|---:|---:|---:|---:|---:|---|---:|",
    ]
    for name, run in runs.items():
        scores = run["scores"]["test"]
        cells = [
            f"{scores[model]['balanced_accuracy']:.3f} / {scores[model]['auroc']:.3f}"
            for model in ("teacher", "DLink student", "student without a teacher")
        ]
        points = Interval(**run["verdict"]["difference"]).points()
        best = [
            mean_and_sd([line["scores"]["test"]["balanced_accuracy"] for line in chosen])
            for model in ("dlink_small", "no_teacher")
            if (chosen := select(grid, name, "euclidean_monge", model))
        ]
        told = f"{max(best)[0]:.3f}" if best else "-"
        n = len(run["subjects"]["test"])
        use = {"student": "distilled", "baseline": "alone"}[run["use"]]
        rows.append(f"| {name} | {n} | {' | '.join(cells)} | {points} | {use} | {told} |")
    return "\n".join(rows)


def gains(lines: Sequence[Mapping[str, Any]]) -> list[tuple[str, str, str, Any]]:
    """(set, regime, best control, distilled less it) of all that was run with a control."""
    found = []
    for name in REGIME_SETS:
        for regime in REGIMES_TEXT:
            of = [line for line in lines if line["set"] == name and line["regime"] == regime]
            best, control = strongest_control(of) if best_alone(of) else (None, {})
            gain = difference(by_subject([line for line in of if line["row"] == "dlink"]), control)
            if best is not None and gain is not None:
                found.append((name, regime, best, gain))
    return found


def plot_gains(lines: Sequence[Mapping[str, Any]], path: Path) -> None:
    """A point and its interval for each set and regime: distilled less the best control; a gain blue, a loss red."""
    from dlink_hf.evaluation.style import COLOURS, new_figure, plain_axes, save_figure

    found = gains(lines)[::-1]
    figure = new_figure(7.6, 0.9 + 0.42 * len(found))
    axes = figure.subplots()
    axes.axvline(0, color="0.6", linewidth=1)
    for row, (_, _, _, gain) in enumerate(found):
        colour = COLOURS[0] if gain.low > 0 else COLOURS[1] if gain.high < 0 else "0.45"
        axes.plot([100 * gain.low, 100 * gain.high], [row, row], color=colour, linewidth=2)
        axes.plot(100 * gain.mean, row, "o", color=colour)
    axes.set_yticks(range(len(found)), [f"{name}: {REGIMES_TEXT[regime]}" for name, regime, _, _ in found])
    axes.set_ylim(-0.6, len(found) - 0.4)
    axes.set_xlabel("distilled less the best control (points)", loc="right")
    plain_axes(axes)
    axes.grid(False, axis="y")
    save_figure(figure, path)


def recipe_part(
    grid: Sequence[Mapping[str, Any]], plots: Path, runs: Path = DEFAULTS, regimes: Path = REGIME_LINES
) -> list[str]:
    """The part as paragraphs; its plot is written into `plots`. Empty where nothing was run."""
    parts, of_sets, lines = [], read_runs(runs), read_lines(regimes)
    if of_sets:
        parts += [
            "## With the package's recipe: `dlink distill --dataset SET --data_dir DATA`, no other flag",
            "Balanced accuracy / AUROC on the subjects of the benchmarks' test split (of uci_erp, its own split), one "
            "run of seed 42. The interval is over subjects. Beside it the best mean over three seeds of the grid "
            "below. The distilled students of eegmat, ssvep_exo and eyes_gnb are those of model_cards/ (`--name`).",
            defaults_table(of_sets, grid),
        ]
    if lines:
        plot_gains(lines, plots / "regimes.png")
        listed = "\n".join(f"- `{name}`: {text}." for name, text in REGIMES_TEXT.items())
        parts += [
            "## Where distillation pays",
            "`python benchmarks/regimes.py run`: folds over all subjects of a set, each tested once; all by the "
            f"package's recipe; what is chosen is chosen on validation subjects.\n\n{listed}",
            "![Distilled less the best control](plots/regimes.png)",
            regime_table(lines),
        ]
    return parts


__all__ = ["gains", "plot_gains", "recipe_part"]
