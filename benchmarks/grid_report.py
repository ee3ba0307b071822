# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""RESULTS.md and its plots, from the lines of the grid and the costs of its models; no number is written by hand.

python benchmarks/grid_report.py
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from grid_cells import (
    ABLATIONS,
    ALIGNMENTS,
    HERE,
    LINEAR,
    MAIN_SETS,
    MODELS,
    NETWORKS,
    RESULTS,
    SETS,
    STUDENTS,
    latest_lines,
)
from grid_costs import COSTS
from grid_statistics import Estimate, as_text, compare, person_scores, select, targets


NAMES = {
    "pretrained": "teacher, pre-trained and fine-tuned",
    "probe": "teacher, pre-trained, frozen",
    "scratch": "teacher, from scratch",
    "dlink_tiny": "DLink tiny",
    "dlink_small": "DLink small",
    "dlink_base": "DLink base",
    "no_teacher": "small without a teacher",
    "general": "general dlink-mic-small, fine-tuned without a teacher",
    "general_dlink": "general dlink-mic-small, DLink",
    "logits_only": "small, logits only",
    "last_layer": "small, last layer only",
    "uniform_layers": "small, plain average of the layers",
    "static_router": "small, weights that ignore the input",
    "no_spectral": "small, router without spectral terms",
    "magnitude_only": "small, spectral magnitude only",
    "phase_only": "small, spectral phase only",
    "one_stage": "small, no mimic stage",
    "before_compression": "small, spectral terms before compression",
    "after_compression": "small, spectral terms after compression",
    "bandpower": "log band power + logistic regression",
    "csp": "common spatial patterns + LDA",
}
COLUMNS = {"balanced_accuracy": "balanced accuracy", "cohen_kappa": "kappa", "weighted_f1": "weighted F1"}
COLUMNS["auroc"] = "AUROC"
COLOURS = {
    "teacher": "#5b6770",
    "student": "#c2410c",
    "ablation": "#e8a87c",
    "network": "#2563a8",
    "linear": "#6b8f3c",
}


def name_of(model: str) -> str:
    """The model's name in tables and plots."""
    return NAMES.get(model, model)


def kind_of(model: str) -> str:
    """Which colour it has."""
    for kind, models in {"student": STUDENTS, "ablation": ABLATIONS, "network": NETWORKS, "linear": LINEAR}.items():
        if model in models:
            return kind
    return "teacher"


def score_table(lines: Sequence[Mapping[str, Any]], name: str, alignment: str) -> str:
    """Every model that has lines for a set and an alignment, as Markdown."""
    rows = [f"| model | {' | '.join(COLUMNS.values())} | seeds |", f"|---|{'---:|' * (len(COLUMNS) + 1)}"]
    for model in MODELS:
        chosen = select(lines, name, alignment, model)
        if chosen:
            cells = " | ".join(as_text([line["scores"]["test"][key] for line in chosen]) for key in COLUMNS)
            rows.append(f"| {name_of(model)} | {cells} | {len(chosen)} |")
    return "\n".join(rows)


def interval(estimate: Estimate, is_ratio: bool = False) -> str:
    """An estimate as text: points of balanced accuracy, or percent."""
    sign = "" if is_ratio else "+"
    low, high = (f"{100 * value:{sign}.1f}" for value in (estimate.low, estimate.high))
    return f"{100 * estimate.value:{sign}.1f} ({low} to {high})"


def difference_table(lines: Sequence[Mapping[str, Any]], alignment: str, sets: Sequence[str]) -> str:
    """Each model less the student without a teacher, and less the teacher: points of balanced accuracy."""
    heads = [f"{name}, less {other}" for other in ("no teacher", "the teacher") for name in sets]
    rows = [f"| model | {' | '.join(heads)} |", f"|---|{'---:|' * len(heads)}"]
    for model in MODELS:
        found = [
            compare(lines, [name], alignment, model, other) if model != other else None
            for other in ("no_teacher", "pretrained")
            for name in sets
        ]
        if any(found):
            rows.append(f"| {name_of(model)} | {' | '.join(interval(e) if e else '-' for e in found)} |")
    return "\n".join(rows)


def target_table(lines: Sequence[Mapping[str, Any]], alignment: str, sets: Sequence[str]) -> str:
    """What was promised of the student `small`, what was found, and whether it was met."""
    rows = ["| target | promised | found (95 % interval) | |", "|---|---:|---:|---|"]
    for target in targets(lines, alignment, sets):
        promised = f"{100 * target.goal:.0f} %" if target.is_ratio else f"{100 * target.goal:+.1f} points"
        found = interval(target.estimate, target.is_ratio) if target.estimate else "not measured"
        verdict = "-" if target.estimate is None else "met" if target.met else "missed"
        rows.append(f"| {target.text} | {promised} | {found} | {verdict} |")
    return "\n".join(rows)


def cost_table(costs: Mapping[str, Any]) -> str:
    """Parameters, FLOP, milliseconds and memory of every model, as Markdown."""
    rows = [
        "| model | parameters | MFLOP | ms (median) | ms (95 %) | memory (MiB) |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for model, row in costs["models"].items():
        rows.append(
            f"| {name_of(model)} | {row['parameters']:,} | {row['mflop']:,.1f} | {row['p50_ms']:.2f} | "
            f"{row['p95_ms']:.2f} | {row['peak_mib']:.0f} |"
        )
    small = costs["models"]["dlink_small"]
    parts = []
    for teacher in ("pretrained", "CBraMod, 12 layers"):
        row = costs["models"][teacher]
        parameters, flop = row["parameters"] / small["parameters"], row["mflop"] / small["mflop"]
        verdicts = ["met" if ratio >= goal else "missed" for ratio, goal in ((parameters, 30), (flop, 35))]
        parts.append(
            f"{name_of(teacher)}: 1/{parameters:.1f} of its parameters (promised 1/30: {verdicts[0]}), "
            f"1/{flop:.1f} of its FLOP (promised 1/35: {verdicts[1]})"
        )
    return "\n".join(rows) + "\n\nDLink small against the " + "; against ".join(parts) + "."


def plot_scores(lines: Sequence[Mapping[str, Any]], alignment: str, sets: Sequence[str], path: Path) -> None:
    """Balanced accuracy of every model on every set: a dot a seed's mean over people, a bar the mean over seeds."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    models = [model for model in MODELS if any(select(lines, name, alignment, model) for name in sets)][::-1]
    figure, axes = plt.subplots(1, len(sets), figsize=(4.2 * len(sets), 0.32 * len(models) + 1.2), sharey=True)
    for axis, name in zip(np.atleast_1d(axes), sets, strict=True):
        for row, model in enumerate(models):
            chosen = select(lines, name, alignment, model)
            if not chosen:
                continue
            values = [line["scores"]["test"]["balanced_accuracy"] for line in chosen]
            colour = COLOURS[kind_of(model)]
            axis.barh(row, np.mean(values), color=colour, alpha=0.35, height=0.7)
            axis.plot(values, [row] * len(values), "o", color=colour, markersize=4)
        n_classes = 4 if name == "ssvep_exo" else 2
        axis.axvline(1 / n_classes, color="black", linewidth=0.8, linestyle=":")
        axis.set(title=name, xlim=(0, 1), xlabel="balanced accuracy, people unseen")
        axis.set_yticks(range(len(models)), [name_of(model) for model in models])
        axis.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def plot_costs(
    lines: Sequence[Mapping[str, Any]], costs: Mapping[str, Any], alignment: str, sets: Sequence[str], path: Path
) -> None:
    """Mean balanced accuracy over the sets against milliseconds a window."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(7, 4.6))
    for model, row in costs["models"].items():
        groups = [person_scores(lines, name, alignment, model) for name in sets]
        if not all(groups):
            continue
        score = float(np.mean([np.mean(list(group.values())) for group in groups]))
        area = 40 * (row["parameters"] / 1e5) ** 0.5
        axis.scatter(row["p50_ms"], score, s=area, color=COLOURS[kind_of(model)], alpha=0.8)
        axis.annotate(name_of(model), (row["p50_ms"], score), xytext=(7, 4), textcoords="offset points", fontsize=8)
    axis.set(xscale="log", xlabel="milliseconds a window, one thread", ylabel=f"balanced accuracy ({', '.join(sets)})")
    axis.spines[["top", "right"]].set_visible(False)
    axis.margins(x=0.25, y=0.15)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def report(lines: Sequence[Mapping[str, Any]], costs: Mapping[str, Any] | None, folder: Path) -> str:
    """The text of RESULTS.md; its plots are written into `folder / "plots"`."""
    parts = [
        "# Results",
        "Made by `python benchmarks/grid_report.py` from `results/scores.jsonl` and `results/costs.json`. What is "
        "measured, on whom, and how the settings were chosen: [README.md](README.md). All scores are of people (of "
        "eegmmidb: runs) that no model has seen; mean ± standard deviation over seeds. The teacher was pre-trained "
        "here, on few recordings: no published weights are in these figures.",
    ]
    plots = folder / "plots"
    plots.mkdir(parents=True, exist_ok=True)
    for alignment in reversed(ALIGNMENTS):
        sets = [name for name in SETS if any(x["set"] == name and x["alignment"] == alignment for x in lines)]
        if not sets:
            continue
        aligned = alignment != "none"
        title = (
            f"With `{alignment}`: each person's own unlabelled windows are used" if aligned else "Without alignment"
        )
        parts.append(f"## {title}")
        wanted = [name for name in sets if select(lines, name, alignment, "dlink_small")]
        many = [name for name in wanted if name in MAIN_SETS]
        if many:
            parts += [
                "### Targets",
                f"Means over {', '.join(many)}; the score of a person is the balanced accuracy on their windows; "
                "people and seeds are drawn anew 10,000 times.",
                target_table(lines, alignment, many),
                "### Differences",
                "Points of balanced accuracy, paired over people and seeds, with 95 % bootstrap intervals.",
                difference_table(lines, alignment, many),
            ]
        for name in sets:
            parts += [f"### {name}", score_table(lines, name, alignment)]
        plot_scores(lines, alignment, sets, plots / f"scores-{alignment}.png")
        parts.append(f"![Balanced accuracy of every model](plots/scores-{alignment}.png)")
        if costs and many:
            plot_costs(lines, costs, alignment, many, plots / f"costs-{alignment}.png")
            parts.append(f"![Balanced accuracy against milliseconds](plots/costs-{alignment}.png)")
    if costs:
        parts += [
            "## Costs",
            f"One window of {costs['window']['n_chans']} channels and {costs['window']['n_times']} samples, one "
            f"thread, all models in turns in one run of {costs['n_runs']} rounds; memory: growth of a fresh process.",
            cost_table(costs),
        ]
    return "\n\n".join(parts) + "\n"


def main(argv: list[str] | None = None) -> None:
    """Entry of the script."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--costs", type=Path, default=COSTS)
    parser.add_argument("--output", type=Path, default=HERE / "RESULTS.md")
    options = parser.parse_args(argv)
    costs = json.loads(options.costs.read_text(encoding="utf-8")) if options.costs.is_file() else None
    text = report(latest_lines(options.results), costs, options.output.parent)
    options.output.write_text(text, encoding="utf-8")
    print(f"{options.output}, and its plots in {options.output.parent / 'plots'}")


if __name__ == "__main__":
    main()
