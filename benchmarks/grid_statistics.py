# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Differences between two models, paired over people and seeds, with bootstrap intervals; the targets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from grid_cells import MAIN_SETS, NETWORKS, SEEDLESS


RESAMPLES = 10_000


@dataclass(frozen=True)
class Estimate:
    """A value, its 95 % interval, and on what it rests.

    Args:
        value: over all people and seeds.
        low, high: percentiles 2.5 and 97.5 over the resamples.
        people, seeds: how many of each, the people of all sets together.
    """

    value: float
    low: float
    high: float
    people: int
    seeds: int


def select(
    lines: Sequence[Mapping[str, Any]],
    name: str,
    alignment: str,
    model: str,
    share: float = 1.0,
    share_of: str = "windows",
) -> list[Mapping[str, Any]]:
    """The lines of a set, an alignment and a model, trained on that share of the labelled `windows`, or `people`."""
    cell = (name, alignment, model, share)
    chosen = [x for x in lines if (x["set"], x["alignment"], x["model"], x.get("share", 1.0)) == cell]
    return [x for x in chosen if share == 1 or x.get("share_of", "windows") == share_of]


def mean_and_sd(values: Sequence[float]) -> tuple[float, float]:
    """Mean and standard deviation over seeds; the latter is NaN of a single value."""
    values = np.array(values, float)
    return float(values.mean()), float(values.std(ddof=1)) if len(values) > 1 else float("nan")


def as_text(values: Sequence[float]) -> str:
    """Mean, with the standard deviation where there are several values: `0.850 ± 0.003`."""
    mean, sd = mean_and_sd(values)
    return f"{mean:.3f}" + (f" ± {sd:.3f}" if len(values) > 1 else "")


def person_scores(
    lines: Sequence[Mapping[str, Any]],
    name: str,
    alignment: str,
    model: str,
    share: float = 1.0,
    share_of: str = "windows",
) -> dict[tuple[str, int], float]:
    """Balanced accuracy of a model by (test person, seed); without a random number in it, it holds for every seed."""
    found = {}
    for line in select(lines, name, alignment, model, share, share_of):
        for person, scores in line["scores"]["test"]["subjects"].items():
            found[person, -1 if model in SEEDLESS else line["seed"]] = scores["balanced_accuracy"]
    return found


def paired(
    first: Mapping[tuple[str, int], float], second: Mapping[tuple[str, int], float]
) -> tuple[np.ndarray, np.ndarray]:
    """Scores of two models for the same people and seeds.

    Returns:
        two arrays (people, seeds): of the people and seeds that both have. Empty where there are none.
    """
    seeds = [{seed for _, seed in scores} for scores in (first, second)]
    common = sorted(seeds[0] & seeds[1]) or sorted(
        next((one for one in seeds if one != {-1}), ()) if {-1} in seeds else ()
    )
    people = sorted({person for person, _ in first} & {person for person, _ in second})

    def read(scores: Mapping[tuple[str, int], float], person: str, seed: int) -> float:
        return scores.get((person, seed), scores.get((person, -1), np.nan))

    arrays = [np.array([[read(scores, p, s) for s in common] for p in people], float) for scores in (first, second)]
    if not people or not common or any(np.isnan(array).any() for array in arrays):
        return np.empty((0, 0)), np.empty((0, 0))
    return arrays[0], arrays[1]


def resampled_means(scores: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Means of (models, people, seeds) scores with people and seeds drawn with replacement: (models, `RESAMPLES`).

    The same people and seeds are drawn for all models.
    """
    people, seeds = scores.shape[1:]
    rows = rng.integers(people, size=(RESAMPLES, people))
    columns = rng.integers(seeds, size=(RESAMPLES, seeds))
    return np.stack([one[rows[:, :, None], columns[:, None, :]].mean((1, 2)) for one in scores])


def compare(
    lines: Sequence[Mapping[str, Any]],
    sets: Sequence[str],
    alignment: str,
    first: str | Mapping[str, str],
    second: str | Mapping[str, str],
    ratio: bool = False,
    share: float = 1.0,
    share_of: str = "windows",
) -> Estimate | None:
    """Mean over sets of the balanced accuracy of one model less that of another, or their ratio.

    People are drawn with replacement within each set, and seeds within each set, the same ones for both models
    (Efron & Tibshirani 1993, percentile interval). The score of a person is the balanced accuracy on their windows.

    Args:
        lines: of the results.
        sets: over which the mean goes, each with equal weight.
        alignment: of the cells.
        first, second: names of the models; or name of the set -> name of the model.
        ratio: first over second, each averaged over the sets first, instead of the difference.
        share, share_of: of the labels that both were trained on.

    Returns:
        the estimate in units of balanced accuracy (or a ratio); None where a set has no pair.
    """
    pairs = []
    for name in sets:
        a, b = (model if isinstance(model, str) else model[name] for model in (first, second))
        pairs.append(paired(*(person_scores(lines, name, alignment, model, share, share_of) for model in (a, b))))
    if not pairs or any(a.size == 0 for a, _ in pairs):
        return None
    rng = np.random.default_rng(0)
    draws = np.zeros((2, RESAMPLES))
    for pair in pairs:
        draws += resampled_means(np.stack(pair), rng) / len(pairs)
    means = [float(np.mean([pair[k].mean() for pair in pairs])) for k in (0, 1)]
    values = draws[0] / draws[1] if ratio else draws[0] - draws[1]
    low, high = np.percentile(values, [2.5, 97.5])
    return Estimate(
        means[0] / means[1] if ratio else means[0] - means[1],
        float(low),
        float(high),
        sum(len(a) for a, _ in pairs),
        min(a.shape[1] for a, _ in pairs),
    )


def best_on_validation(
    lines: Sequence[Mapping[str, Any]], name: str, alignment: str, models: Sequence[str] = NETWORKS
) -> str | None:
    """The model that is best on the validation people of a set, by its mean AUROC over seeds."""
    means: dict[str, float] = {}
    for model in models:
        chosen = select(lines, name, alignment, model)
        if chosen:
            means[model] = mean_and_sd([line["scores"]["validation"]["auroc"] for line in chosen])[0]
    return max(means, key=means.get) if means else None


@dataclass(frozen=True)
class Target:
    """What was promised, and what was found; `estimate` is None where cells are missing.

    Where all that was promised is to be better (`goal` 0), the whole interval must be.
    """

    text: str
    goal: float
    estimate: Estimate | None
    is_ratio: bool = False

    @property
    def met(self) -> bool:
        """Whether the value reaches the goal."""
        if self.estimate is None:
            return False
        return self.estimate.low > 0 if self.goal == 0 else self.estimate.value >= self.goal


def targets(lines: Sequence[Mapping[str, Any]], alignment: str, sets: Sequence[str]) -> list[Target]:
    """The targets of the student `small`, as means over the sets of many people."""
    sets = [name for name in sets if name in MAIN_SETS]
    rows = [
        ("the same network without a teacher", 0.02, "no_teacher"),
        ("distilled from the last layer", 0.01, "last_layer"),
        ("distilled from the plain average of the layers", 0.01, "uniform_layers"),
    ]
    found = [
        Target(f"DLink small above {text}", goal, compare(lines, sets, alignment, "dlink_small", other))
        for text, goal, other in rows
    ]
    teacher = compare(lines, sets, alignment, "dlink_small", "pretrained", ratio=True)
    found.append(Target("DLink small over its teacher", 0.97, teacher, is_ratio=True))
    best = {name: best_on_validation(lines, name, alignment) for name in sets}
    known = compare(lines, sets, alignment, "dlink_small", best) if all(best.values()) else None
    names = ", ".join(f"{name}: {model}" for name, model in best.items() if model)
    found.append(Target(f"DLink small above the lightweight network best on validation ({names})", 0.0, known))
    for text, share in (("all labels", 1.0), ("10 % of the labelled windows", 0.1)):
        few = compare(lines, sets, alignment, "general", "no_teacher", share=share)
        found.append(Target(f"general small, distilled without the set, above random weights, {text}", 0.0, few))
    return found
