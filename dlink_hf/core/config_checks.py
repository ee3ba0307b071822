# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Checks of a config's fields: signal, positions, labels; an error names the field, what it is and what it must be."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

from .electrodes import canonical_name


# More than any EEG or model of it has; what lies beyond is a damaged or hostile file, and would take memory or hours.
MOST_CHANNELS = 1024
MOST_LABELS = 10_000
MOST_SAMPLES = 10_000_000
MOST_HERTZ = 1_000_000
MOST_LETTERS = 1000


def in_bounds(config: Any, least: int, **most: int) -> None:
    """Check whole numbers among the fields of a config.

    Args:
        config: the config that is being built.
        least: the smallest value that is allowed.
        **most: field -> the largest.

    Raises:
        ValueError: naming the field that is out of bounds.
    """
    for field, largest in most.items():
        value = getattr(config, field)
        expected = f"a whole number from {least:,} to {largest:,}"
        require(type(value) is int and least <= value <= largest, field, value, expected)


# the `problem_type` of transformers; None is one label
SINGLE_LABEL = "single_label_classification"
REGRESSION = "regression"
MULTI_LABEL = "multi_label_classification"
# of data and commands: a label for every place; models say it by their class
TOKENS = "token_classification"
REGRESSION_LOSSES = ("mse", "mae", "huber")


def require(condition: bool, field: str, value: Any, expected: str) -> None:
    """Raise a `ValueError` that names the field, what was given and what was expected, unless `condition` holds."""
    if not condition:
        raise ValueError(f"`{field}` must be {expected}, got {value!r}.")


def settle_labels(config: Any, kwargs: dict[str, Any]) -> None:
    """Check `num_labels`, `id2label` and `label2id` against each other and derive the one from the other.

    A regression has one target or more, one by default; so many labels may hold at once that one is enough. Else
    there are two classes or more.

    Args:
        config: the config that is being built.
        kwargs: the keyword arguments that no declared field has taken; `num_labels` is one of them.

    Raises:
        ValueError: naming the field that contradicts another, fewer labels than the `problem_type` needs, or
            `architectures` (class names, by which a checkpoint without a head is told) that are not a list of text.
    """
    classes = kwargs.get("architectures", getattr(config, "architectures", None))
    good = classes is None or (isinstance(classes, list) and all(isinstance(name, str) for name in classes))
    require(good, "architectures", classes, "a list of the names of classes")
    fewest, counted = (1, "one label") if config.problem_type in (REGRESSION, MULTI_LABEL) else (2, "two classes")
    if config.problem_type == REGRESSION and config.id2label is None and config.label2id is None:
        kwargs.setdefault("num_labels", 1)
    num_labels = kwargs.get("num_labels")
    expected = f"a whole number of at least {counted}, at most {MOST_LABELS:,}"
    good = num_labels is None or (type(num_labels) is int and fewest <= num_labels <= MOST_LABELS)
    require(good, "num_labels", num_labels, expected)
    for field in ("id2label", "label2id"):
        names = getattr(config, field)
        require(names is None or isinstance(names, dict), field, names, "a mapping of numbers and names")
        require(len(names or ()) <= MOST_LABELS, field, f"{len(names or ())} classes", f"at most {MOST_LABELS:,}")
    if config.id2label is None and config.label2id is not None:
        good = all(type(index) is int for index in config.label2id.values())
        require(good, "label2id", config.label2id, "a mapping of names to whole numbers")
        config.id2label = {index: name for name, index in config.label2id.items()}
    if config.id2label is None:
        return
    try:
        names = {int(index): name for index, name in config.id2label.items()}
    except (TypeError, ValueError):
        names = {}
    texts = all(isinstance(name, str) for name in names.values())
    require(texts, "id2label", config.id2label, "a mapping of numbers to names as text")
    good = sorted(names) == list(range(len(names))) and len(set(names.values())) == len(names) >= fewest
    expected = f"{('one', 'two')[fewest - 1]} or more different names, numbered 0, 1, 2 ... without a gap"
    require(good, "id2label", config.id2label, expected)
    require(num_labels in (None, len(names)), "num_labels", num_labels, f"{len(names)}, as many as `id2label` names")
    ids = {names[index]: index for index in sorted(names)}
    require(config.label2id in (None, ids), "label2id", config.label2id, f"the inverse of `id2label`, {ids}")
    config.id2label, config.label2id = {index: name for name, index in ids.items()}, ids


def check_targets_fields(config: Any) -> None:
    """Check the fields of a regression: `target_mean`, `target_std` (in the targets' unit) and `regression_loss`.

    Args:
        config: the config that is being built, its labels settled.

    Raises:
        ValueError: naming the field that is out of range, or given for another problem type.
    """
    good = config.regression_loss in REGRESSION_LOSSES
    require(good, "regression_loss", config.regression_loss, f"one of {', '.join(REGRESSION_LOSSES)}")
    for field in ("target_mean", "target_std"):
        values = getattr(config, field)
        if values is None:
            continue
        require(config.problem_type == REGRESSION, field, values, f"None unless `problem_type` is {REGRESSION!r}")
        good = len(values) == config.num_labels and all(
            type(value) in (int, float) and math.isfinite(value) and (field == "target_mean" or value > 0)
            for value in values
        )
        what = "finite numbers" if field == "target_mean" else "positive numbers"
        require(good, field, values, f"{config.num_labels} {what}, one for each target")
        setattr(config, field, [float(value) for value in values])
    both = (config.target_mean is None) == (config.target_std is None)
    require(both, "target_std", config.target_std, "given together with `target_mean`, or not at all")


def check_signal_fields(config: Any) -> None:
    """Check the fields that describe the signal: `ch_names`, `sfreq` (Hz) and `n_times` (samples).

    Raises:
        ValueError: naming the field that is empty, repeated or not positive.
    """
    require(len(config.ch_names) > 0, "ch_names", config.ch_names, "a list of at least one channel name")
    count = f"{len(config.ch_names)} names"
    require(len(config.ch_names) <= MOST_CHANNELS, "ch_names", count, f"at most {MOST_CHANNELS:,} channel names")
    electrodes = [canonical_name(name) or name for name in config.ch_names]
    counts = Counter(electrodes)
    repeated = [name for name, place in zip(config.ch_names, electrodes, strict=True) if counts[place] > 1]
    require(not repeated, "ch_names", repeated, "free of duplicates; these are names of the same electrode")
    expected = f"a positive sampling rate in Hz, at most {MOST_HERTZ:,}"
    require(0 < config.sfreq <= MOST_HERTZ, "sfreq", config.sfreq, expected)
    expected = f"a positive number of samples, at most {MOST_SAMPLES:,}"
    require(0 < config.n_times <= MOST_SAMPLES, "n_times", config.n_times, expected)


def check_positions(config: Any) -> None:
    """Check `channel_positions`: (C, 3) in metres, a row for each of `ch_names`; they become lists of floats.

    Raises:
        ValueError: they are something else.
    """
    rows = config.channel_positions
    good = len(rows) == len(config.ch_names) and all(
        isinstance(row, (list, tuple))
        and len(row) == 3
        and all(isinstance(x, (int, float)) and abs(x) < 0.5 for x in row)
        for row in rows
    )
    require(
        good,
        "channel_positions",
        f"{len(rows)} rows, the first {rows[0] if rows else None!r}",
        f"one (x, y, z) in metres for each of the {len(config.ch_names)} `ch_names`",
    )
    config.channel_positions = [[float(x) for x in row] for row in rows]


def check_licences_field(config: Any) -> None:
    """Check `weights_licenses`: None, or of each set of weights its name, licence and page, as text.

    Raises:
        ValueError: it is something else.
    """
    records = config.weights_licenses
    good = records is None or all(
        isinstance(record, dict)
        and set(record) == {"weights", "license", "source"}
        and all(isinstance(text, str) and len(text) <= MOST_LETTERS for text in record.values())
        for record in records
    )
    expected = 'a list of {"weights": name, "license": identifier, "source": page}, one for each set of weights'
    require(good, "weights_licenses", records, expected)


__all__ = [
    "MOST_CHANNELS",
    "MOST_HERTZ",
    "MOST_LABELS",
    "MOST_LETTERS",
    "MOST_SAMPLES",
    "MULTI_LABEL",
    "TOKENS",
    "REGRESSION",
    "REGRESSION_LOSSES",
    "SINGLE_LABEL",
    "check_licences_field",
    "check_positions",
    "check_signal_fields",
    "check_targets_fields",
    "in_bounds",
    "require",
    "settle_labels",
]
