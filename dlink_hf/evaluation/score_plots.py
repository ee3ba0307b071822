# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Plots of scores: how sure a model is and how often it is right, the score of every subject, numbers."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..core.text import for_plot
from .comparison import BALANCED_ACCURACY, Measure
from .style import COLOURS, MARKERS, new_figure, plain_axes, save_figure


# more names than this would run into each other
MOST_NAMES = 24
# targets that have a panel of their own
MOST_PANELS = 4


def reliability(labels: Any, probabilities: Any, n_bins: int = 10) -> dict[str, Any]:
    """Compare how sure a model is with how often it is right (Guo et al. 2017, arXiv 1706.04599).

    Args:
        labels: (N,) integers.
        probabilities: (N, n_labels), rows summing to 1.
        n_bins: bins of equal width over the probability of the predicted label, 0 to 1.

    Returns:
        `confidence`, `accuracy` (n_bins,), means of the windows of a bin, NaN in an empty one; `count` (n_bins,); and
        `ece`, the expected calibration error: the mean difference of the two, weighted by the windows.

    Raises:
        ValueError: shapes do not agree, or there are no windows.

    Example:

    ```python
    >>> reliability([0, 0, 0, 1], [[0.75, 0.25]] * 4)["ece"]
    0.0
    ```
    """
    labels, probabilities = np.asarray(labels), np.asarray(probabilities, dtype=float)
    if probabilities.ndim != 2 or labels.shape != (len(probabilities),) or not len(labels):
        raise ValueError(
            f"`labels` must be (N,) and `probabilities` (N, n_labels), got {labels.shape} and {probabilities.shape}."
        )
    confidence, right = probabilities.max(1), probabilities.argmax(1) == labels
    bins = np.clip(np.ceil(confidence * n_bins).astype(int) - 1, 0, n_bins - 1)
    count = np.bincount(bins, minlength=n_bins)
    with np.errstate(invalid="ignore"):
        mean_confidence = np.bincount(bins, confidence, n_bins) / count
        accuracy = np.bincount(bins, right, n_bins) / count
    filled = count > 0
    ece = float((count * np.abs(mean_confidence - accuracy))[filled].sum() / len(labels))
    return {"confidence": mean_confidence, "accuracy": accuracy, "count": count, "ece": ece}


def plot_reliability(labels: Any, probabilities: Mapping[str, Any], path: str | os.PathLike, n_bins: int = 10) -> Path:
    """Plot how often models are right against how sure they are, with the windows of each bin below.

    Args:
        labels: (N,) integers.
        probabilities: name of a model -> (N, n_labels).
        path: file to write.
        n_bins: see [`reliability`].

    Returns:
        `path`.

    Raises:
        ValueError: shapes do not agree, or there are no windows.
    """
    figure = new_figure(6.2, 5.6)
    upper, lower = figure.subplots(2, 1, height_ratios=(3, 1), sharex=True)
    upper.plot([0, 1], [0, 1], "--", color="0.4", linewidth=1, label="as sure as it is right")
    width, edges = 1 / n_bins, np.linspace(0, 1, n_bins + 1)
    lowest = 1.0
    for index, (name, given) in enumerate(probabilities.items()):
        found = reliability(labels, given, n_bins)
        colour, marker = COLOURS[index % len(COLOURS)], MARKERS[index % len(MARKERS)]
        filled = found["count"] > 0
        lowest = min(lowest, edges[:-1][filled].min())
        label = f"{for_plot(name)} (calibration error {found['ece']:.3f})"
        upper.plot(
            found["confidence"][filled],
            found["accuracy"][filled],
            marker=marker,
            markersize=5,
            color=colour,
            label=label,
        )
        share = width / (len(probabilities) + 1)
        lower.bar(
            edges[:-1] + share * (index + 1), found["count"], share, color=colour, edgecolor="0.2", linewidth=0.4
        )
    upper.set(ylabel="share that is right", ylim=(0, 1.02), xlim=(lowest, 1.0))
    upper.legend(fontsize=8, frameon=False, loc="lower right")
    upper.set_title(f"How sure, how right ({len(labels)} windows)", fontsize=11)
    lower.set(xlabel="probability of the predicted label", ylabel="windows")
    plain_axes(upper)
    plain_axes(lower)
    return save_figure(figure, path)


def plot_subject_scores(
    scores: Mapping[str, Mapping[str, float]],
    chance: float | None,
    path: str | os.PathLike,
    highlight: str | None = None,
    measure: Measure = BALANCED_ACCURACY,
) -> Path:
    """Plot the score of every subject by every model: one column per subject, one marker per model.

    Args:
        scores: name of a model -> subject -> balanced accuracy (0 to 1), or another measure. Subjects that not all
            models have are left out.
        chance: of the task, or what a guess scores; None for no line.
        path: file to write.
        highlight: the model whose score orders the subjects; the first by default.
        measure: what the scores are.

    Returns:
        `path`.

    Raises:
        ValueError: there is no subject whom all models were scored on.
    """
    common = set.intersection(*(set(of) for of in scores.values())) if scores else set()
    if not common:
        raise ValueError("There is no subject with a score of every model: nothing to draw.")
    by = highlight if highlight in scores else next(iter(scores))
    subjects = sorted(common, key=lambda subject: (scores[by][subject], subject))
    figure = new_figure(max(6.2, min(11.0, 2.5 + 0.32 * len(subjects))), 4.2)
    axes = figure.subplots()
    columns = np.arange(len(subjects))
    values = np.array([[of[subject] for subject in subjects] for of in scores.values()])
    axes.vlines(columns, values.min(0), values.max(0), color="0.8", linewidth=1, zorder=1)
    for index, (name, row) in enumerate(zip(scores, values, strict=True)):
        axes.scatter(
            columns,
            row,
            s=28,
            marker=MARKERS[index % len(MARKERS)],
            color=COLOURS[index % len(COLOURS)],
            edgecolors="black",
            linewidths=0.4,
            label=f"{for_plot(name)} (mean {measure.value(row.mean())})",
            zorder=2 + index,
        )
    if chance is not None:
        label = f"{measure.guess_name} ({measure.value(chance)})"
        axes.axhline(chance, color="0.4", linewidth=1, linestyle="--", label=label)
    if len(subjects) <= MOST_NAMES:
        names = [for_plot(name if len(name) <= 16 else f"{name[:15]}…") for name in subjects]
        axes.set_xticks(
            columns, names, rotation=60 if len(subjects) > 6 else 0, ha="right" if len(subjects) > 6 else "center"
        )
    else:
        axes.set_xticks([])
    axes.set(xlabel=f"subject, ordered by the score of: {for_plot(by)}", ylabel=measure.title)
    lines = [] if chance is None else [chance]
    lowest, highest = min([values.min(), *lines]), max([values.max(), *lines])
    axes.set_ylim(*((0.0, 1.08 * highest) if measure.is_error else (max(0.0, lowest - 0.08), 1.03)))
    axes.margins(x=0.03)
    plain_axes(axes)
    axes.grid(axis="x", visible=False)
    figure.legend(loc="outside upper center", ncols=2, fontsize=8, frameon=False)
    return save_figure(figure, path)


def plot_numbers(
    targets: Any, predictions: Any, names: Sequence[str], path: str | os.PathLike, title: str = ""
) -> Path:
    """Plot the numbers that a model gives for windows against the true ones: one panel for each target.

    Args:
        targets, predictions: (N, L), in the targets' units.
        names: of the L targets, with their units.
        path: file to write.
        title: above the panels.

    Returns:
        `path`.

    Raises:
        ValueError: shapes do not agree, there are no windows, or a number is not finite.
    """
    targets, predictions = (np.asarray(values, dtype=float) for values in (targets, predictions))
    if targets.ndim != 2 or targets.shape != predictions.shape or targets.shape[1] != len(names) or not targets.size:
        raise ValueError(
            f"`targets` and `predictions` must both be (windows, {len(names)}), got {targets.shape} and "
            f"{predictions.shape}."
        )
    if not (np.isfinite(targets).all() and np.isfinite(predictions).all()):
        raise ValueError("Targets or predictions are NaN or Inf, which can't be drawn.")
    shown = min(len(names), MOST_PANELS)
    figure = new_figure(3.6 * shown + 0.4, 3.9)
    for index, axes in enumerate(np.atleast_1d(figure.subplots(1, shown))):
        true, told = targets[:, index], predictions[:, index]
        ends = [min(true.min(), told.min()), max(true.max(), told.max())]
        axes.plot(ends, ends, "--", color="0.4", linewidth=1)
        axes.scatter(true, told, s=14, color=COLOURS[0], alpha=0.6, edgecolors="none")
        name = for_plot(names[index])
        axes.set(xlabel=f"{name}, true", ylabel=f"{name}, told")
        plain_axes(axes)
    figure.suptitle(f"{for_plot(title)} ({len(targets)} windows)", fontsize=11)
    return save_figure(figure, path)


__all__ = ["plot_numbers", "plot_reliability", "plot_subject_scores", "reliability"]
