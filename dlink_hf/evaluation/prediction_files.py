# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Predictions on disk: one row per window."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..core.atomic_files import staged
from ..core.config_checks import MULTI_LABEL, REGRESSION
from ..core.text import for_csv


def write_predictions(
    path: str | os.PathLike,
    columns: dict[str, Any],
    probabilities: np.ndarray,
    names: list[str],
    predicted: str = "predicted",
    reasons: Sequence[str | None] | None = None,
    label_all: bool = False,
    problem_type: str | None = None,
) -> Path:
    """Write one row per window as CSV.

    Text that a spreadsheet would take for a formula gets a quote before it, as [`text.for_csv`] says; what reads the
    file gets back what it was by [`text.from_csv`].

    Args:
        path: file to write; replaced when the new one is complete.
        columns: leading columns by name, each of length N, such as `subject`, `recording`, `onset` (s).
        probabilities: (N, num_labels).
        names: names of the labels, in the order of the columns of `probabilities`.
        predicted: name of the column that holds the likeliest label.
        reasons: N, why a window gets no label, None where it gets one: a last column `reason`; such windows have
            empty cells for label and probabilities.
        label_all: give them both all the same.
        problem_type: as transformers names it. Of several labels at once `predicted` holds those of a probability of
            0.5 or more, `;` between them; of a regression there is no such column, and `probabilities` are numbers
            under the targets' own names.

    Returns:
        the path.

    Raises:
        ValueError: there are no windows, or lengths do not agree.
        OSError: the file can't be written; an older one stays as it was.
    """
    probabilities = np.asarray(probabilities)
    if probabilities.ndim != 2 or not len(probabilities) or probabilities.shape[1] != len(names):
        raise ValueError(
            f"`probabilities` must be (windows, {len(names)}), a column for each of {list(names)} and at least one "
            f"window, got shape {probabilities.shape}."
        )
    told = {} if reasons is None else {"reason": reasons}
    lengths = {name: len(each) for name, each in {**columns, **told}.items() if len(each) != len(probabilities)}
    if lengths:
        raise ValueError(f"`columns` must have one value for each of {len(probabilities)} windows, got {lengths}.")
    path = Path(path)
    is_regression = problem_type == REGRESSION
    heads = [f"predicted {name}" for name in names] if is_regression else [predicted, *(f"p_{name}" for name in names)]
    with staged(path.parent) as partial, open(partial / path.name, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(map(for_csv, [*columns, *heads, *told]))
        for row, values in enumerate(probabilities):
            leading = [_plain(column[row]) for column in columns.values()]
            said = [f"{value:.6g}" if is_regression else f"{value:.6f}" for value in values]
            if not is_regression:
                said = [for_csv(label_of(values, names, problem_type)), *said]
            reason = None if reasons is None else reasons[row]
            if reason is not None and not label_all:
                said = [""] * len(said)
            writer.writerow([*leading, *said, *([for_csv(reason or "")] if told else [])])
    return path


def label_of(values: np.ndarray, names: Sequence[str], problem_type: str | None = None) -> str:
    """Return what the probabilities (L,) of a window say: the likeliest label, or all that hold.

    Args:
        values: probabilities.
        names: of the L labels.
        problem_type: of several labels at once those of a probability of 0.5 or more, `;` between them, or `none`.
    """
    if problem_type != MULTI_LABEL:
        return names[int(np.argmax(values))]
    return ";".join(name for name, value in zip(names, values, strict=True) if value >= 0.5) or "none"


def _plain(value: Any) -> Any:
    value = value.item() if hasattr(value, "item") else value
    return f"{value:.4f}".rstrip("0").rstrip(".") if isinstance(value, float) else for_csv(value)


__all__ = ["label_of", "write_predictions"]
