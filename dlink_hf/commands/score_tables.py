# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""The tables of scores that commands print: models, and a guess that reads no EEG; labels and targets one by one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from datasets import Dataset
from transformers import PreTrainedModel

from ..core.config_checks import MULTI_LABEL, REGRESSION, SINGLE_LABEL, TOKENS
from ..core.model_facts import task_of
from ..data.targets import target_values
from ..evaluation.comparison import Measure, measure_for
from ..evaluation.metrics import multi_label_scores, regression_scores
from .training import ERRORS


CHANCE = "chance"
# columns of the table that is printed: score -> heading
COLUMNS = {
    SINGLE_LABEL: {"balanced_accuracy": "balanced acc.", "auroc": "AUROC", "cohen_kappa": "kappa"},
    MULTI_LABEL: {"macro_f1": "macro F1", "auroc": "AUROC", "exact_match": "all right"},
    TOKENS: {"macro_f1": "macro F1", "cohen_kappa": "kappa", "balanced_accuracy": "balanced acc."},
    REGRESSION: {"r2": "R2", "mae": "mean abs. error", "spearman": "Spearman"},
}


def format_table(
    scores: Mapping[str, Mapping[str, Any]],
    cost: Mapping[str, Mapping[str, float]],
    subjects: str,
    problem_type: str | None = None,
) -> str:
    """Return the comparison as fixed-width text: one row for each model or guess.

    Args:
        scores: name -> scores of one split; rows without a cost are guesses.
        cost: name -> what [`cost_of`] measured.
        subjects: who was tested on, for the heading.
        problem_type: of the models, which says what the columns are.
    """
    columns = COLUMNS.get(problem_type or SINGLE_LABEL, COLUMNS[SINGLE_LABEL])
    width = max(34, *(len(name) + 2 for name in scores))
    heads = "".join(f"{title:>{_width(title)}}" for title in columns.values())
    lines = [f"{'on ' + subjects:<{width}}{heads}{'parameters':>13}{'MFLOP':>9}{'ms':>8}"]
    lines.append("-" * len(lines[0]))
    for name, score in scores.items():
        shown = "".join(f"{_shown(score[key], key):>{_width(title)}}" for key, title in columns.items())
        row = f"{name:<{width}}{shown}"
        if name in cost:
            row += f"{cost[name]['parameters']:>13,}{cost[name]['mflop']:>9.1f}{cost[name]['ms']:>8.2f}"
        else:
            row += f"{'-':>13}{'-':>9}{'-':>8}"
        lines.append(row)
    return "\n".join(lines)


def _width(title: str) -> int:
    return max(8, len(title) + 1)


def _shown(value: float, key: str) -> str:
    """A score as a table shows it; errors have a unit, so their digits are counted from the first."""
    if math.isnan(value):
        return "-"
    return f"{value:.3g}" if key in ERRORS else f"{value:.3f}"


def guess_scores(train: Dataset, windows: Dataset, measure: Measure, n_labels: int) -> dict[str, dict[str, float]]:
    """Return what a guess that reads no EEG scores, by its name, for the last row of a table."""
    if measure.of_classes:
        return {CHANCE: {"balanced_accuracy": 1 / n_labels, "auroc": 0.5, "cohen_kappa": 0.0}}
    if measure.of_places:
        return {CHANCE: {"macro_f1": math.nan, "cohen_kappa": 0.0, "balanced_accuracy": 1 / n_labels}}
    labels = target_values(windows)
    guess = np.tile(measure.guess(target_values(train)), (len(labels), 1))
    score = regression_scores if measure.is_error else multi_label_scores
    return {measure.guess_name: score(labels, guess)}


def print_tables(
    scores: Mapping[str, Mapping[str, Any]],
    cost: Mapping[str, Mapping[str, float]],
    model: PreTrainedModel,
    splits: Mapping[str, Dataset],
    group_column: str,
    unseen: bool = True,
    use: str = "were watched while training",
) -> None:
    """Print one table a split, and how to read it.

    Args:
        scores: split -> model -> scores.
        cost: name -> what [`cost_of`] measured.
        model: one of them, whose config says what the labels are.
        splits: the windows, by split.
        group_column: what the splits keep apart.
        unseen: whether it is known that no model has seen the subjects tested.
        use: what the validation subjects were good for.
    """
    config = model.config
    measure = measure_for(task_of(model), getattr(config, "target_std", None))
    for split, of_models in scores.items():
        groups = len(set(splits[split][group_column][:]))
        what = f"{groups} {split} {group_column}{'s' if groups != 1 else ''}"
        guess = guess_scores(splits["train"], splits[split], measure, config.num_labels)
        print("\n" + format_table({**of_models, **guess}, cost, what, task_of(model)))
        print_parts(of_models)
    if unseen:
        seen = f"the test {group_column}s were seen by none of the models."
    else:
        seen = f"whether a checkpoint that was given has seen the test {group_column}s is not known."
    print(
        f"\nMFLOP: 2 x MAC of one window; ms: median of one window on one CPU thread. The validation {group_column}s "
        f"{use}; {seen}"
    )


def print_parts(of_models: Mapping[str, Mapping[str, Any]]) -> None:
    """Print the F1 of each label, or the scores of each target, of every model; nothing of classes."""
    for name, scores in of_models.items():
        if "per_label" in scores:
            told = [f"{label} {row['f1']:.3f}" for label, row in scores["per_label"].items()]
            print(f"F1 of {name}: {', '.join(told)}")
        elif len(scores.get("per_target", ())) > 1:
            told = [f"{target} {row['r2']:.3f} ({row['mae']:.3g})" for target, row in scores["per_target"].items()]
            print(f"R2 (mean absolute error) of {name}: {', '.join(told)}")


__all__ = ["CHANCE", "COLUMNS", "format_table", "guess_scores", "print_parts", "print_tables"]
