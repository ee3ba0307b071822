# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""The picture of README and documentation: how a student is made, and its score against its time and size.

python benchmarks/picture.py

reads the committed results (`results/scores.jsonl`, `results/costs.json`) and writes `docs/pictures/overview.png`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from grid_cells import HERE, MAIN_SETS, latest_lines
from grid_costs import COSTS
from grid_statistics import paired, person_scores, resampled_means
from matplotlib.patches import FancyBboxPatch
from matplotlib.ticker import LogLocator, NullFormatter

from dlink_hf.evaluation.style import COLOURS, new_figure, plain_axes, save_figure


PICTURE = HERE.parent / "docs" / "pictures" / "overview.png"
ALIGNMENT, SHAPE = "euclidean_monge", "20x1000"
# model of the grid -> (its name in the picture, of whose cost, colour, marker)
MODELS = {
    "pretrained": ("teacher", "pretrained", "0.35", "s"),
    "dlink_base": ("student base", "dlink_base", COLOURS[1], "o"),
    "dlink_small": ("student small", "dlink_small", COLOURS[1], "o"),
    "dlink_tiny": ("student tiny", "dlink_tiny", COLOURS[1], "o"),
    "no_teacher": ("small without a teacher", "dlink_small", COLOURS[2], "^"),
    "EEGNet": ("EEGNet", "EEGNet", COLOURS[0], "D"),
    "ATCNet": ("ATCNet", "ATCNet", COLOURS[0], "D"),
    "EEGSimpleConv": ("EEGSimpleConv", "EEGSimpleConv", COLOURS[0], "D"),
}
# where the name stands, points from the marker
OFFSETS = {
    "dlink_small": (14, 22),
    "no_teacher": (9, -20),
    "dlink_tiny": (-7, 4),
    "pretrained": (-12, 16),
    "ATCNet": (-9, -14),
    "EEGNet": (8, -3),
}


def mean_with_interval(lines: Sequence[Mapping[str, Any]], model: str) -> tuple[float, float, float] | None:
    """Mean balanced accuracy over the sets, and its 95 % interval over subjects and seeds; None where a set lacks."""
    rng, means, values = np.random.default_rng(0), [], []
    for name in MAIN_SETS:
        scores = person_scores(lines, name, ALIGNMENT, model)
        array, _ = paired(scores, scores)
        if not array.size:
            return None
        values.append(array.mean())
        means.append(resampled_means(array[None], rng)[0])
    low, high = np.percentile(np.mean(means, 0), [2.5, 97.5])
    return float(np.mean(values)), float(low), float(high)


def read_points(lines: Sequence[Mapping[str, Any]], costs: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Model -> score, low, high, ms (median of a window), parameters."""
    found = {}
    for model, (_, of_cost, _, _) in MODELS.items():
        score, cost = mean_with_interval(lines, model), costs["models"].get(of_cost)
        if score is not None and cost is not None:
            found[model] = dict(zip(("score", "low", "high"), score, strict=True))
            found[model] |= {"ms": cost["p50_ms"], "parameters": cost["parameters"]}
    return found


def draw_method(axes: Any) -> None:
    """Draw teacher, router and student as boxes with what goes from one to the next."""
    boxes = [
        ("Teacher (frozen)\nEEG foundation model,\nor several", "0.35"),
        ("Router and experts\nanswers and soft targets;\nlayers, off by default", COLOURS[4]),
        ("Student\nproject, then compress:\n20 k to 500 k parameters", COLOURS[1]),
    ]
    axes.set(xlim=(0, 3), ylim=(0, 1))
    axes.set_axis_off()
    for index, (text, colour) in enumerate(boxes):
        box = FancyBboxPatch(
            (index + 0.08, 0.2), 0.78, 0.66, boxstyle="round,pad=0.03", facecolor="white", edgecolor=colour, lw=2
        )
        axes.add_patch(box)
        title, _, rest = text.partition("\n")
        axes.text(index + 0.47, 0.7, title, ha="center", va="center", fontsize=11, weight="bold")
        axes.text(index + 0.47, 0.41, rest, ha="center", va="center", fontsize=9)
        if index:
            arrow = {"arrowstyle": "-|>", "lw": 1.6, "color": "0.2"}
            axes.annotate("", (index + 0.045, 0.53), (index - 0.1, 0.53), arrowprops=arrow)
    told = "the student reads any montage, and only the student is deployed"
    axes.text(1.47, 0.02, told, ha="center", fontsize=9)


def draw_points(axes: Any, points: Mapping[str, Mapping[str, float]]) -> None:
    """Draw score against time; areas grow with the parameters, bars are intervals."""
    for model, point in points.items():
        name, _, colour, marker = MODELS[model]
        bars = [[point["score"] - point["low"]], [point["high"] - point["score"]]]
        # two models of one time stand next to each other
        place = point["ms"] * (1.04 if model == "no_teacher" else 1.0)
        axes.errorbar(place, point["score"], bars, color=colour, elinewidth=1, capsize=2, alpha=0.6, zorder=1)
        area = 40 * (point["parameters"] / 1e5) ** 0.5
        axes.scatter(place, point["score"], s=area, color=colour, marker=marker, edgecolors="black", lw=0.5, zorder=3)
        label = f"{name}, {point['parameters'] / 1e3:,.0f} k"
        x, y = OFFSETS.get(model, (9, 6))
        align = "left" if x > 0 else "right" if x < 0 else "center"
        behind = {"facecolor": "white", "edgecolor": "none", "pad": 1, "alpha": 0.8}
        where = {"textcoords": "offset points", "ha": align, "fontsize": 8.5, "bbox": behind, "zorder": 2}
        axes.annotate(label, (place, point["score"]), (x, y), **where)
    axes.set(xscale="log", xlabel="milliseconds a window of 20 channels x 5 s (one CPU thread, PyTorch)")
    axes.set_ylabel("balanced accuracy, unseen subjects")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_locator(LogLocator(subs=(2, 3, 4, 5, 6, 8)))
    axes.xaxis.set_minor_formatter("{x:g}" if len(points) > 1 else NullFormatter())
    axes.margins(x=0.16, y=0.1)
    # room for the name of the fastest
    axes.set_xlim(left=0.68 * min(point["ms"] for point in points.values()))
    told = "Mean of three public sets, 95 % intervals over subjects and seeds; areas grow with parameters"
    axes.set_title(told, fontsize=9)
    plain_axes(axes)


def draw(points: Mapping[str, Mapping[str, float]], path: Path) -> Path:
    """Draw both halves to a file."""
    figure = new_figure(8.4, 6.6)
    upper, lower = figure.subplots(2, 1, height_ratios=(1, 2.6))
    draw_method(upper)
    draw_points(lower, points)
    return save_figure(figure, path)


def main(argv: list[str] | None = None) -> None:
    """Draw the picture and print its numbers."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=PICTURE)
    args = parser.parse_args(argv)
    points = read_points(latest_lines(), json.loads(COSTS.read_text("utf-8"))["shapes"][SHAPE])
    for model, point in points.items():
        interval = f"{point['score']:.3f} ({point['low']:.3f} to {point['high']:.3f})"
        print(f"{MODELS[model][0]:<28}{interval:<26}{point['ms']:>7.2f} ms{point['parameters']:>12,}")
    print(draw(points, args.output))


if __name__ == "__main__":
    main()
