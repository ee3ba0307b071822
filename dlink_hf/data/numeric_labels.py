# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Labels of a table that are numbers, or several at once: from texts, as read, to columns of a dataset."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from datasets import Dataset, List, Value

from ..core.checks import first_names, one_of
from ..core.config_checks import MULTI_LABEL, REGRESSION, SINGLE_LABEL, TOKENS
from ..core.unlabelled import UNLABELLED
from .description import task_info, with_task
from .labels import SEPARATOR
from .targets import target_values


# what a table says where no label holds
NO_LABEL = "none"


def with_numbers(dataset: Dataset, problem_type: str, targets: Sequence[str] | None = None) -> Dataset:
    """Turn the labels of windows from texts into numbers.

    Args:
        dataset: windows whose `labels` are classes by the texts of a table: `"61.5"`; `"61.5;0.2"` for two targets;
            `"alpha;beta"` for the labels that hold, `"none"` for none.
        problem_type: `"regression"`, `"multi_label_classification"`, or `"single_label_classification"`, which leaves
            the dataset as it is.
        targets: names of the columns that the texts were joined of; then they are numbers, or zeros and ones.

    Returns:
        the dataset with `labels` (N,) or (N, L) float32; a field without a text is NaN, or -1 among several labels.

    Raises:
        ValueError: a text is no number, is not finite, or is neither 0 nor 1; or rows have more numbers than others.
    """
    one_of("`problem_type`", problem_type, (SINGLE_LABEL, MULTI_LABEL, REGRESSION))
    if problem_type == SINGLE_LABEL:
        return dataset
    texts = list(dataset.features["labels"].names)
    present = np.unique(np.asarray(dataset.with_format(None)["labels"][:], dtype=np.int64)).tolist()
    used = [texts[index] for index in present]
    if problem_type == MULTI_LABEL and targets is None:
        parts = {text: names_in(text) for text in used}
        names = sorted({name for found in parts.values() for name in found})
        if not names:
            raise ValueError("No row of the table names a label that holds.")
        rows = {text: [float(name in found) for name in names] for text, found in parts.items()}
    else:
        rows = {text: [_number(part, text, problem_type) for part in text.split(SEPARATOR)] for text in used}
        lengths = sorted({len(row) for row in rows.values()})
        if len(lengths) > 1:
            raise ValueError(f"Rows of the table hold {lengths[0]} numbers, others {lengths[-1]}: give each as many.")
        names = list(targets) if targets else ["target"] if lengths == [1] else _numbered(lengths[0])
    values = np.array([rows.get(text, [np.nan] * len(names)) for text in texts], dtype=np.float32)
    own = values[np.asarray(dataset.with_format(None)["labels"][:], dtype=np.int64)]
    is_one = problem_type == REGRESSION and len(names) == 1
    feature = Value("float32") if is_one else List(Value("float32"), length=len(names))
    column = own[:, 0].tolist() if is_one else own.tolist()
    order, description = dataset.column_names, dataset.info.description
    changed = dataset.remove_columns("labels").add_column("labels", column, feature=feature).select_columns(order)
    changed.info.description = with_task(description, problem_type, names)
    return changed.with_format(**dataset.format)


def _numbered(count: int) -> list[str]:
    return [f"target {index + 1}" for index in range(count)]


def names_in(text: str) -> set[str]:
    """Return the labels that a text names: `"alpha;beta"`, or `"none"` for none."""
    return {name.strip() for name in text.split(SEPARATOR)} - {"", NO_LABEL}


def _number(part: str, text: str, problem_type: str) -> float:
    part = part.strip()
    if part.lower() in ("", "nan"):
        return float(UNLABELLED) if problem_type == MULTI_LABEL else float("nan")
    try:
        value = float(part)
    except ValueError as error:
        raise ValueError(
            f"The label {text!r} is not {'zeros and ones' if problem_type == MULTI_LABEL else 'a number'}: "
            f"problem_type={problem_type!r} takes numbers, one for each target, {SEPARATOR!r} between them. Leave "
            "`problem_type` out for classes."
        ) from error
    if problem_type == MULTI_LABEL and value not in (0, 1, UNLABELLED):
        raise ValueError(f"The label {text!r} must be 0 or 1 for each of several labels (-1 where it is not known).")
    if not np.isfinite(value):
        raise ValueError(f"The label {text!r} is not a finite number.")
    return value


def describe_labels(dataset: Dataset) -> str:
    """Say how the labels of windows are spread: counts of classes or labels, or the range of numbers."""
    feature = dataset.features["labels"]
    if hasattr(feature, "names"):
        labels = np.asarray(dataset.with_format(None)["labels"][:])
        return ", ".join(f"{int((labels == index).sum())} {name}" for index, name in enumerate(feature.names))
    task, values = task_info(dataset), target_values(dataset)
    names = task["names"] if task else [f"label {index + 1}" for index in range(values.shape[1])]
    if task and task["problem_type"] == TOKENS:
        counts = [f"{int((values == index).sum())} {name}" for index, name in enumerate(names)]
        return f"places: {', '.join(counts)}"
    if task and task["problem_type"] == MULTI_LABEL:
        return ", ".join(f"{int((column == 1).sum())} {name}" for name, column in zip(names, values.T, strict=True))
    spread = [
        f"{name} {np.nanmin(column):g} to {np.nanmax(column):g}"
        for name, column in zip(names, values.T, strict=True)
        if np.isfinite(column).any()
    ]
    return first_names(spread) if spread else "no target is known"


__all__ = ["NO_LABEL", "describe_labels", "names_in", "with_numbers"]
