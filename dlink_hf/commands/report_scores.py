# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""What `dlink report` makes of scores and predictions: tables and pictures, by what the labels are."""

from __future__ import annotations

import csv
import functools
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..core.config_checks import MULTI_LABEL, REGRESSION, SINGLE_LABEL
from ..core.text import from_csv
from ..data.numeric_labels import names_in
from ..evaluation.comparison import Measure, interval
from ..evaluation.html_page import Html, paragraph, picture, side_by_side, table
from ..evaluation.plots import plot_confusion_matrix
from ..evaluation.score_plots import plot_numbers, plot_reliability
from ..hub.model_card import score_titles


# subjects that a table lists
MOST_ROWS = 200


@dataclass(frozen=True)
class Predictions:
    """What a model said of the windows of a split.

    Args:
        labels: (N,) indices of the true labels; (N, num_labels) zeros and ones, or numbers.
        outputs: (N, num_labels) probabilities, or numbers.
        groups: (N,) whose windows they are.
        names: of the labels or targets.
    """

    labels: np.ndarray
    outputs: np.ndarray
    groups: np.ndarray
    names: list[str]

    def by_subject(self, measure: Measure) -> dict[str, float]:
        """Subject -> score."""
        return measure.by_subject(self.labels, self.outputs, self.groups.tolist())


def read_predictions(path: Path, group_column: str = "subject", problem_type: str = SINGLE_LABEL) -> Predictions:
    """Read the predictions that a command wrote; windows that have a reason to be left out are left out.

    Args:
        path: of the CSV.
        group_column: whose values tell subjects apart.
        problem_type: of the model.

    Raises:
        ValueError: the file is none of this package's.
    """
    with open(path, newline="", encoding="utf-8") as file:
        rows = [[from_csv(cell) for cell in row] for row in csv.reader(file)]
    try:
        head, rows = rows[0], rows[1:]
        last = head.index("reason") if head[-1] == "reason" else len(head)
        if last < len(head):
            rows = [row for row in rows if not row[last]]
        group = head.index(group_column) if group_column in head else None
        groups = np.array(["" if group is None else row[group] for row in rows])
        if problem_type == REGRESSION:
            names = [name.removeprefix("predicted ") for name in head[:last] if name.startswith("predicted ")]
            first = last - len(names)
            true = np.array([[float(row[head.index(name)]) for name in names] for row in rows])
        else:
            first = head.index("predicted") + 1
            names, column = [name.removeprefix("p_") for name in head[first:last]], head.index("label")
            if problem_type == MULTI_LABEL:
                held = [names_in(row[column]) for row in rows]
                true = np.array([[name in one for name in names] for one in held], dtype=float)
            else:
                true = np.array([names.index(row[column]) for row in rows])
        outputs = np.array([[float(cell) for cell in row[first:last]] for row in rows]).reshape(-1, len(names))
        return Predictions(true, outputs, groups, names)
    except (ValueError, IndexError) as error:
        raise ValueError(f"{path} does not hold predictions of this package: {error}.") from error


def drawn(caption: str, draw: Callable[[Path], Any]) -> Html:
    """Return a picture that a function draws to the path it is given; a sentence where there is nothing to draw."""
    with tempfile.TemporaryDirectory(prefix="dlink-report-") as folder:
        path = Path(folder) / "picture.png"
        try:
            draw(path)
        except ValueError as error:
            return paragraph(f"{caption}: {error}", "missing")
        return picture(path, caption)


def score_table(
    caption: str,
    scores: Mapping[str, Any],
    predictions: Mapping[str, Predictions],
    measure: Measure,
    problem_type: str = SINGLE_LABEL,
) -> Html:
    """Scores of one split: one row per model, with the interval over subjects where predictions are there."""

    def with_interval(name: str) -> str | None:
        found = list(predictions[name].by_subject(measure).values()) if name in predictions else []
        return measure.score(interval(found)) if found else None

    titles = score_titles(problem_type)
    rows = [
        [name, with_interval(name), *(number(one.get(key)) for key in titles), one.get("n_windows")]
        for name, one in scores.items()
    ]
    mean = "mean over subjects" if measure.of_classes else f"{measure.title}, mean over subjects"
    return table(caption, ("model", f"{mean} (95 % interval)", *titles.values(), "windows"), rows)


def subject_table(caption: str, by_model: Mapping[str, Mapping[str, float]]) -> Html:
    """The score of every subject by every model."""
    subjects = sorted({subject for of in by_model.values() for subject in of})
    rows = [[subject, *(number(of.get(subject)) for of in by_model.values())] for subject in subjects[:MOST_ROWS]]
    if len(subjects) > MOST_ROWS:
        caption += f"; the first {MOST_ROWS} of {len(subjects)}"
    return table(caption, ("subject", *by_model), rows)


def class_table(caption: str, scores: Mapping[str, Any]) -> Html:
    """Scores of every class, label or target, whichever the model tells."""
    if "per_target" in scores:
        keys = {"r2": "R2", "mae": "mean absolute error", "rmse": "root mean squared error", "spearman": "Spearman"}
        rows = [[name, *(number(one.get(key)) for key in keys)] for name, one in scores["per_target"].items()]
        return table(caption, ("target", *keys.values()), rows)
    kind, keys = "class", {"recall": "recall", "precision": "precision", "f1": "f1"}
    if "per_label" in scores:
        kind, keys = "label", {"f1": "F1", "recall": "recall", "precision": "precision", "auroc": "AUROC"}
    rows = [
        [name, one.get("support"), *(number(one.get(key)) for key in keys)]
        for name, one in scores.get(f"per_{kind}", {}).items()
    ]
    return table(caption, (kind, "windows", *keys.values()), rows)


def prediction_pictures(
    predictions: Mapping[str, Predictions], split: str, of: Sequence[str], problem_type: str = SINGLE_LABEL
) -> list[Html]:
    """Calibration of several models, and the confusions of each; of numbers, what was told against what is true."""
    chosen = {name: predictions[name] for name in of if name in predictions}
    if not chosen or problem_type == MULTI_LABEL:
        return []
    if problem_type == REGRESSION:

        def draw_numbers(path: Path, name: str, one: Predictions) -> Path:
            return plot_numbers(one.labels, one.outputs, one.names, path, title=name)

        return [
            drawn(f"Numbers of: {name} ({split} windows)", functools.partial(draw_numbers, name=name, one=one))
            for name, one in chosen.items()
        ]
    labels = next(iter(chosen.values())).labels
    diagram = drawn(
        f"Reliability ({split} windows): on the dashed line a model is as often right as it is sure",
        lambda path: plot_reliability(labels, {name: one.outputs for name, one in chosen.items()}, path),
    )
    shown = []
    for name, one in chosen.items():
        # long ones would leave no room for the picture
        names = [label if len(label) <= 30 else f"{label[:29]}…" for label in one.names]

        def draw(path: Path, name: str = name, one: Predictions = one, names: list[str] = names) -> Path:
            return plot_confusion_matrix(one.labels, one.outputs.argmax(1), names, path, title=name)

        shown.append(drawn(f"Confusions of: {name} ({split} windows)", draw))
    return [diagram, side_by_side(shown)]


def number(value: Any, digits: int = 3) -> str | None:
    """A number as a table shows it."""
    return None if value is None else f"{float(value):.{digits}f}"


__all__ = [
    "MOST_ROWS",
    "Predictions",
    "class_table",
    "drawn",
    "number",
    "prediction_pictures",
    "read_predictions",
    "score_table",
    "subject_table",
]
