# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""RESULTS.md and its plots, from the lines of the grid and the costs of its models; no number is written by hand.

python benchmarks/grid_report.py
"""

from __future__ import annotations

import argparse
import itertools
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
from grid_costs import COSTS, REFERENCE
from grid_statistics import Estimate, as_text, compare, mean_and_sd, person_scores, select, targets
from recipe_report import recipe_part

from dlink_hf.profiling.report import name_points


NAMES = {
    "pretrained": "teacher, pre-trained and fine-tuned",
    "probe": "teacher, pre-trained, frozen",
    "scratch": "teacher, from scratch",
    "dlink_tiny": "DLink tiny",
    "dlink_small": "DLink small",
    "dlink_base": "DLink base",
    "no_teacher": "small without a teacher",
    "general": "general small, distilled without the set, then fine-tuned",
    "general_dlink": "general small, distilled without the set, then DLink",
    "no_soft_targets": "small, without the expert's soft targets",
    "soft_targets_only": "small, the expert's soft targets only",
    "logits_only": "small, logits only",
    "last_layer": "small, last layer only",
    "uniform_layers": "small, plain average of the layers",
    "static_router": "small, weights that ignore the input",
    "no_spectral": "small, router without spectral terms",
    "magnitude_only": "small, spectral magnitude only",
    "phase_only": "small, spectral phase only",
    "two_stages": "small, a mimic stage first",
    "before_compression": "small, spectral terms before compression",
    "after_compression": "small, spectral terms after compression",
    "bandpower": "log band power + logistic regression",
    "csp": "common spatial patterns + LDA",
}
COLUMNS = {"balanced_accuracy": "balanced accuracy", "cohen_kappa": "kappa", "weighted_f1": "weighted F1"}
COLUMNS["auroc"] = "AUROC"
# the models of the learning curves, and their colours
FEW = {
    "no_teacher": "#5b6770",
    **dict(
        zip((x for x in MODELS if x.startswith("general")), ("#c2410c", "#2563a8", "#6b8f3c", "#e8a87c"), strict=False)
    ),
}
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
        promised = "above 0" if target.goal == 0 else promised
        found = interval(target.estimate, target.is_ratio) if target.estimate else "not measured"
        verdict = "-" if target.estimate is None else "met" if target.met else "missed"
        rows.append(f"| {target.text} | {promised} | {found} | {verdict} |")
    return "\n".join(rows)


def cost_table(costs: Mapping[str, Any]) -> str:
    """Parameters, FLOP, milliseconds, memory and size on disk of every model for one shape of windows, as Markdown."""
    rows = [
        "| model | parameters | MFLOP | ms (median) | ms (quartiles) | memory (MiB) | on disk (kB) |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for model, row in costs["models"].items():
        rows.append(
            f"| {name_of(model)} | {row['parameters']:,} | {row['mflop']:,.1f} | {row['p50_ms']:.2f} | "
            f"{row['p25_ms']:.2f} to {row['p75_ms']:.2f} | {row['peak_mib']:.1f} | {row['disk_kb']:,.0f} |"
        )
    return "\n".join(rows)


def cost_targets(costs: Mapping[str, Any]) -> str:
    """What was promised of the costs of the student `small`, and what was found, for one shape of windows."""
    small = costs["models"]["dlink_small"]
    parts = []
    for teacher in ("pretrained", REFERENCE):
        row = costs["models"][teacher]
        parameters, flop = row["parameters"] / small["parameters"], row["mflop"] / small["mflop"]
        verdicts = ["met" if ratio >= goal else "missed" for ratio, goal in ((parameters, 30), (flop, 35))]
        parts.append(
            f"{name_of(teacher)}: 1/{parameters:.1f} of its parameters (promised 1/30: {verdicts[0]}), "
            f"1/{flop:.1f} of its FLOP (promised 1/35: {verdicts[1]})"
        )
    return "DLink small against " + "; against ".join(parts) + "."


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
    """Mean balanced accuracy over the sets against milliseconds a window; `costs`: of one shape of windows."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(7.6, 4.8))
    points = {}
    for model, row in costs["models"].items():
        groups = [person_scores(lines, name, alignment, model) for name in sets]
        if not all(groups):
            continue
        points[model] = (row["p50_ms"], float(np.mean([np.mean(list(group.values())) for group in groups])))
        area = 40 * (row["parameters"] / 1e5) ** 0.5
        axis.scatter(*points[model], s=area, color=COLOURS[kind_of(model)], alpha=0.8)
    axis.set(xscale="log", xlabel="milliseconds a window, one thread", ylabel=f"balanced accuracy ({', '.join(sets)})")
    for ticks in (axis.xaxis.set_major_formatter, axis.xaxis.set_minor_formatter):
        ticks("{x:g}")
    # 10 stands beside it
    axis.xaxis.set_minor_locator(matplotlib.ticker.LogLocator(subs=(2, 3, 4, 5, 6, 8)))
    axis.spines[["top", "right"]].set_visible(False)
    axis.margins(x=0.2, y=0.15)
    figure.tight_layout()
    name_points(axis, {name_of(model): place for model, place in points.items()}, list(points.values()))
    figure.savefig(path, dpi=110)
    plt.close(figure)


def curves_of(
    lines: Sequence[Mapping[str, Any]], name: str, alignment: str, share_of: str
) -> dict[str, dict[float, list[float]]]:
    """Models with few labels -> share of the labels -> balanced accuracy on test people, a value a seed."""
    shares = sorted({x.get("share", 1.0) for x in lines if (x["set"], x["alignment"]) == (name, alignment)})
    curves = {}
    for model in FEW:
        found = {share: select(lines, name, alignment, model, share, share_of) for share in shares}
        curve = {
            s: [x["scores"]["test"]["balanced_accuracy"] for x in chosen] for s, chosen in found.items() if chosen
        }
        if any(share < 1 for share in curve):
            curves[model] = curve
    return curves


def plot_few(curves: Mapping[str, Mapping[str, Mapping[float, Sequence[float]]]], share_of: str, path: Path) -> None:
    """Learning curves, one panel a set; a bar is the standard deviation over seeds. `curves`: set -> `curves_of`."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(curves), figsize=(4.6 * len(curves), 3.8), squeeze=False)
    for axis, (name, models) in zip(axes[0], curves.items(), strict=True):
        for model, curve in models.items():
            means, spreads = zip(*(mean_and_sd(values) for values in curve.values()), strict=True)
            spreads = np.nan_to_num(spreads)
            axis.errorbar(list(curve), means, spreads, marker="o", capsize=3, color=FEW[model], label=name_of(model))
        shares = sorted({share for curve in models.values() for share in curve})
        axis.set(
            title=name,
            xscale="log",
            xlabel=f"share of the labelled {share_of}",
            ylabel="balanced accuracy, people unseen",
        )
        axis.set_xticks(shares, [f"{100 * share:g} %" for share in shares])
        axis.minorticks_off()
        axis.spines[["top", "right"]].set_visible(False)
    handles = {text: line for axis in axes[0] for line, text in zip(*axis.get_legend_handles_labels(), strict=True)}
    figure.tight_layout()
    # below the panels: inside it would hide curves
    figure.legend(handles.values(), handles, loc="upper center", bbox_to_anchor=(0.5, 0), fontsize=8, frameon=False)
    figure.savefig(path, dpi=110, bbox_inches="tight")
    plt.close(figure)


FEW_TEXTS = {
    "windows": "Trained on a share of each training person's labelled windows, the same share of every class and at "
    "least one window of each; alignments see all windows, without labels.",
    "people": "Trained on all labelled windows of a share of the training people, one person or more.",
}


def few_differences(
    lines: Sequence[Mapping[str, Any]], alignment: str, share_of: str, sets: Sequence[str], shares: Sequence[float]
) -> str:
    """The general student less random weights for each share of the labels, and their mean over `MAIN_SETS`."""
    rows = [f"| set | {' | '.join(f'{100 * s:g} %' for s in shares)} |", f"|---|{'---:|' * len(shares)}"]
    many = [name for name in sets if name in MAIN_SETS]
    for text, names in [*((name, [name]) for name in sets), ("mean", many)]:
        found = [
            compare(lines, names, alignment, "general", "no_teacher", share=share, share_of=share_of)
            for share in shares
        ]
        if any(found) and (text != "mean" or len(many) > 1):
            rows.append(f"| {text} | {' | '.join(interval(e) if e else '-' for e in found)} |")
    return "\n".join(rows)


def few_labels(lines: Sequence[Mapping[str, Any]], plots: Path) -> list[str]:
    """The section on few labels: a plot and a table of every alignment that has such lines; empty without any."""
    parts = []
    for alignment, share_of in itertools.product(reversed(ALIGNMENTS), FEW_TEXTS):
        curves = {name: curves_of(lines, name, alignment, share_of) for name in SETS}
        curves = {name: models for name, models in curves.items() if models}
        if not curves:
            continue
        file = f"few-{share_of}-{alignment}.png"
        plot_few(curves, share_of, plots / file)
        shares = sorted({share for models in curves.values() for curve in models.values() for share in curve})
        rows = [
            f"| set | model | {' | '.join(f'{100 * s:g} %' for s in shares)} |",
            f"|---|---|{'---:|' * len(shares)}",
        ]
        for name, models in curves.items():
            for model, curve in models.items():
                cells = [as_text(curve[share]) if share in curve else "-" for share in shares]
                rows.append(f"| {name} | {name_of(model)} | {' | '.join(cells)} |")
        title = f"with `{alignment}`" if alignment != "none" else "no alignment"
        parts += [
            f"### A share of the {share_of}, {title}",
            FEW_TEXTS[share_of],
            f"![Learning curves](plots/{file})",
            "\n".join(rows),
            "The general student less random weights: points of balanced accuracy, paired over people and seeds, with "
            "95 % bootstrap intervals.",
            few_differences(lines, alignment, share_of, list(curves), shares),
        ]
    text = (
        "Balanced accuracy on the test people, mean ± standard deviation over seeds, which draw the windows or people "
        "too. Every training has as many steps as the one with all labels. The general student was distilled without "
        "any recording of the set that it is then fine-tuned on."
    )
    return ["## Few labels", text, *parts] if parts else []


def report(
    lines: Sequence[Mapping[str, Any]], costs: Mapping[str, Any] | None, folder: Path, first: Sequence[str] = ()
) -> str:
    """The text of RESULTS.md, `first` ahead of the grid; its plots are written into `folder / "plots"`."""
    parts = [
        "# Results",
        "Made by `python benchmarks/grid_report.py` from the files of `results/`. What is measured, on whom, and how "
        "the settings were chosen: [README.md](README.md). All scores are of subjects (of eegmmidb: runs) that no "
        "model has seen. The teachers were trained here, on few recordings: these figures hold no published weights.",
        *first,
        "# The grid",
        "All models, with settings of their own from `protocol/`, and the ablations of the method; mean ± standard "
        "deviation over seeds. Its students are of an earlier recipe, with the teacher's layers and spectra in the "
        "objective: the ablations here are why these are off by default now.",
    ]
    first_shape = next(iter(costs["shapes"].values())) if costs else None
    plots = folder / "plots"
    plots.mkdir(parents=True, exist_ok=True)
    for alignment in reversed(ALIGNMENTS):
        sets = [name for name in SETS if any(select(lines, name, alignment, model) for model in MODELS)]
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
                "people and seeds are drawn anew 10,000 times. What was promised to be above 0 is met where the whole "
                "interval is.",
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
            plot_costs(lines, first_shape, alignment, many, plots / f"costs-{alignment}.png")
            parts.append(f"![Balanced accuracy against milliseconds](plots/costs-{alignment}.png)")
    parts += few_labels(lines, plots)
    if costs:
        parts += [
            "## Costs",
            f"One window of 200 Hz, one thread, all models in turns in one run of {costs['n_runs']} rounds; memory: "
            "growth of a fresh process that makes the model and classifies; on disk: weights in single precision.",
            cost_targets(first_shape),
        ]
        for shape in costs["shapes"].values():
            parts += [f"### {shape['n_chans']} channels, {shape['n_times']} samples", cost_table(shape)]
    return "\n\n".join(parts) + "\n"


def main(argv: list[str] | None = None) -> None:
    """Entry of the script."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--costs", type=Path, default=COSTS)
    parser.add_argument("--output", type=Path, default=HERE / "RESULTS.md")
    options = parser.parse_args(argv)
    costs = json.loads(options.costs.read_text(encoding="utf-8")) if options.costs.is_file() else None
    lines, plots = latest_lines(options.results), options.output.parent / "plots"
    plots.mkdir(parents=True, exist_ok=True)
    text = report(lines, costs, options.output.parent, recipe_part(lines, plots))
    unfinished = options.output.with_name(options.output.name + ".tmp")
    unfinished.write_text(text, encoding="utf-8")
    unfinished.replace(options.output)
    print(f"{options.output}, and its plots in {options.output.parent / 'plots'}")


if __name__ == "__main__":
    main()
