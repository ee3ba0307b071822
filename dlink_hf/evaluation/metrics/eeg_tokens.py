# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Scores of labels in time: by place (hypnograms: kappa, macro F1), and by event (SzCORE's rules)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...core.unlabelled import IGNORED
from .eeg_classification import classification_scores, finite_outputs, softmax


TOKEN_SCORES = ("balanced_accuracy", "accuracy", "cohen_kappa", "macro_f1", "weighted_f1")


def token_scores(
    labels: Any,
    probabilities: Any,
    subjects: Sequence[Any] | None = None,
    label_names: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Score a label for every place of stretches: [`classification_scores`] over all places, and the macro F1.

    Args:
        labels: (N, S) integers; places of -100 are left out.
        probabilities: (N, S, n_labels).
        subjects: (N,) subject of each stretch; adds `per_subject`, each with its own `macro_f1`.
        label_names: n_labels names.

    Returns:
        as [`classification_scores`], and `macro_f1`: the mean F1 of the labels that occur or are told.

    Raises:
        ValueError: shapes do not agree, or no place has a label.
    """
    labels, probabilities = np.asarray(labels), np.asarray(probabilities, dtype=np.float64)
    if labels.ndim != 2 or probabilities.shape[:-1] != labels.shape:
        raise ValueError(
            "`labels` must be (stretches, places) and `probabilities` (stretches, places, labels), got "
            f"{labels.shape} and {probabilities.shape}."
        )
    known = labels != IGNORED
    if not known.any():
        raise ValueError("No place has a label: all of `labels` are -100.")
    owners = None if subjects is None else np.repeat(np.asarray(subjects, dtype=str), labels.shape[1])[known.ravel()]
    flat = probabilities[known]
    result = classification_scores(labels[known], flat, None if owners is None else owners.tolist(), label_names)
    told, true = flat.argmax(1), labels[known]
    for subject, row in result.get("per_subject", {}).items():
        rows = owners == subject
        row["macro_f1"] = _macro_f1(true[rows], told[rows])
    return {**result, "macro_f1": _macro_f1(true, told)}


def _macro_f1(labels: np.ndarray, told: np.ndarray) -> float:
    """The mean F1 of the labels that occur or are told; `labels` and `told` (M,)."""
    pairs = [(labels == one, told == one) for one in np.union1d(labels, told)]
    return float(np.mean([2 * np.sum(true & said) / (true.sum() + said.sum()) for true, said in pairs]))


def compute_token_metrics(eval_pred: Any) -> dict[str, float]:
    """`compute_metrics` of transformers' `Trainer` for labels in time: the scores named in `TOKEN_SCORES`.

    Args:
        eval_pred: `transformers.EvalPrediction`, or a pair of logits (N, S, n_labels) and labels (N, S).

    Returns:
        `dict` of floats. All are NaN, with a warning, where logits are NaN or Inf.
    """
    logits, labels = finite_outputs(eval_pred)
    if logits is None:
        return dict.fromkeys(TOKEN_SCORES, float("nan"))
    scores = token_scores(labels, softmax(logits))
    return {name: scores[name] for name in TOKEN_SCORES}


def event_scores(labels: Any, predicted: Any, seconds_per_label: float, event: int = 1) -> dict[str, float]:
    """Score events in time by SzCORE's rules (Dan et al. 2024, doi:10.1111/epi.18113), by the package `timescoring`.

    An event is found where a told one overlaps it, with 30 s before it and 60 s after it allowed; told ones less than
    90 s apart are one, those of more than 5 minutes are split.

    Args:
        labels: (S,) integers, the classes of one recording in order of time.
        predicted: (S,) integers, those that were told.
        seconds_per_label: length of a place, in seconds.
        event: the class whose runs are events.

    Returns:
        `sensitivity`, `precision`, `f1`, `false_alarms_per_hour`, `n_events` and `n_found`; NaN where not defined.

    Raises:
        ImportError: `timescoring` is missing.
        ValueError: the two differ in length.
    """
    try:
        from timescoring.annotations import Annotation
        from timescoring.scoring import EventScoring
    except ImportError as error:
        raise ImportError('Scores of events need timescoring: pip install "dlink-hf[events]".') from error
    labels, predicted = np.asarray(labels), np.asarray(predicted)
    if labels.ndim != 1 or labels.shape != predicted.shape or not len(labels):
        shapes = f"{labels.shape}, {predicted.shape}"
        raise ValueError(f"`labels` and `predicted` must be (S,) of one recording, got {shapes}.")
    # timescoring works at 10 Hz
    repeats = max(1, round(10 * seconds_per_label))
    masks = [np.repeat(values == event, repeats) for values in (labels, predicted)]
    found = EventScoring(*(Annotation(mask, 10) for mask in masks))
    hours = len(labels) * seconds_per_label / 3600
    return {
        "sensitivity": float(found.sensitivity),
        "precision": float(found.precision),
        "f1": float(found.f1),
        "false_alarms_per_hour": found.fp / hours,
        "n_events": float(found.refTrue),
        "n_found": float(found.tp),
    }


__all__ = ["TOKEN_SCORES", "compute_token_metrics", "event_scores", "token_scores"]
