# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Splits that keep subjects apart: no subject is in two of them.

Windows of one subject resemble each other, so a split by window measures memory, not decoding. For a set with one
subject, pass `group_column="recording"`: whole runs are then kept apart.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from datasets import Dataset, DatasetDict

from ..core.checks import first_names
from ..core.config_checks import REGRESSION, TOKENS
from .description import task_info
from .targets import target_values


logger = logging.getLogger(__name__)

# Random assignments that are compared for the balance of their classes.
_N_TRIES = 200

Share = float | int | Sequence[str]


def check_no_shared_subjects(splits: Mapping[str, Dataset], group_column: str = "subject") -> None:
    """Refuse splits if two of them hold windows of the same subject.

    Args:
        splits: Name of the split to its dataset, e.g. a `DatasetDict`.
        group_column: Column that names what must not be shared: "subject", or "recording" for run-wise splits.

    Raises:
        ValueError: If a subject is in two splits; the message names the subjects and the splits.
    """
    groups = {name: set(_column(dataset, group_column)) for name, dataset in splits.items()}
    names = list(groups)
    for index, first in enumerate(names):
        for second in names[index + 1 :]:
            shared = sorted(groups[first] & groups[second])
            if shared:
                raise ValueError(
                    f"the splits {first!r} and {second!r} share {len(shared)} {group_column}"
                    f"{'s' if len(shared) > 1 else ''}: {first_names(shared)}. "
                    f"Scores on {second!r} would measure memory of these, not "
                    f"decoding. Assign each {group_column} to one split (split_by_subject does)."
                )


def split_by_subject(
    dataset: Dataset,
    validation: Share = 0.15,
    test: Share = 0.15,
    train: Sequence[str] | None = None,
    seed: int = 0,
    group_column: str = "subject",
    allow_one_class: bool = False,
) -> DatasetDict:
    """Split a dataset into train, validation and test, subjects kept apart and classes balanced as far as possible.

    Subjects are assigned at random; of 200 assignments drawn with `seed`, the one whose splits are closest to the
    dataset's class proportions is taken.

    Args:
        dataset: Rows with `labels` and the group column.
        validation: Share of the subjects (float in 0-1), number of subjects (int), or the subjects themselves (a
            sequence of ids). 0 leaves the split out.
        test: The same for the test split.
        train: The training subjects; None takes all that are in neither other split.
        seed: Seed of the assignment.
        group_column: "subject", or "recording" for a set with one subject.
        allow_one_class: Whether the training split may hold a single class.

    Returns:
        A `DatasetDict` with `train` and, where not empty, `validation` and `test`.

    Raises:
        ValueError: If subjects are unknown or asked for twice, there are too few of them, or the training split lacks
            a class.
    """
    values = np.asarray(_column(dataset, group_column), dtype=object)
    groups, counts = _class_counts(dataset, values)
    wanted = {"validation": validation, "test": test}
    chosen: dict[str, list[str]] = {}
    for name, share in [*wanted.items(), ("train", train)]:
        if share is not None and not isinstance(share, (int, float, np.integer, np.floating)):
            chosen[name] = _explicit(share, groups, name, group_column)
    free = [group for group in groups if not any(group in members for members in chosen.values())]
    _check_disjoint(chosen, group_column)
    sizes = {
        name: group_count(share, len(groups), name, group_column)
        for name, share in wanted.items()
        if name not in chosen
    }
    if sum(sizes.values()) and sum(sizes.values()) + ("train" not in chosen) > len(free):
        raise ValueError(
            f"{len(free)} {group_column}s ({first_names(free)}) are too few for {_sizes_text(sizes)} and "
            "a training split. Record more, ask for smaller splits, or pass validation=0; for a set with one subject, "
            "split by run with group_column='recording'."
        )
    if sizes and sum(sizes.values()):
        parts = balanced_parts(counts, [groups.index(group) for group in free], list(sizes.values()), seed)
        for name, part in zip(sizes, parts, strict=False):
            chosen[name] = [groups[index] for index in part]
    taken = {group for members in chosen.values() for group in members}
    if "train" not in chosen:
        chosen["train"] = [group for group in groups if group not in taken]
    return _make_splits(dataset, values, chosen, group_column, allow_one_class)


def subject_kfold(
    dataset: Dataset,
    n_splits: int = 5,
    seed: int = 0,
    validation: float | int = 0.2,
    group_column: str = "subject",
    allow_one_class: bool = False,
) -> Iterator[DatasetDict]:
    """Yield the folds of a subject-wise cross-validation: every subject is tested once.

    Args:
        dataset: Rows with `labels` and the group column.
        n_splits: Number of folds; at most the number of subjects (then each is left out once).
        seed: Seed of the assignment; the same seed gives the same folds.
        validation: Share (float) or number (int) of the subjects outside the test fold that validate; 0 for none.
        group_column: "subject", or "recording" for a set with one subject.
        allow_one_class: Whether a training split may hold a single class.

    Yields:
        `DatasetDict`s with `train`, `validation` (unless 0) and `test`.

    Raises:
        ValueError: If there are fewer subjects than folds, or a training split lacks a class.
    """
    values = np.asarray(_column(dataset, group_column), dtype=object)
    groups, counts = _class_counts(dataset, values)
    if not 2 <= n_splits <= len(groups):
        raise ValueError(
            f"n_splits={n_splits} folds need at least 2 folds and as many {group_column}s; the dataset has "
            f"{len(groups)}." + (" Use group_column='recording'." if group_column == "subject" else "")
        )
    sizes = [len(part) for part in np.array_split(np.arange(len(groups)), n_splits)]
    folds = balanced_parts(counts, list(range(len(groups))), sizes, seed)
    for number, fold in enumerate(folds):
        yield split_by_subject(
            dataset,
            validation=group_count(validation, len(groups) - len(fold), "validation", group_column),
            test=[groups[index] for index in fold],
            seed=seed + number,
            group_column=group_column,
            allow_one_class=allow_one_class,
        )


def split_by_column(dataset: Dataset, column: str = "split", group_column: str = "subject") -> DatasetDict:
    """Split a dataset as one of its columns says, e.g. the published split of `eegmat`.

    Args:
        dataset: Rows with a column that holds "train", "validation" or "test".
        column: Its name.
        group_column: What the splits must not share.

    Returns:
        A `DatasetDict`.

    Raises:
        ValueError: If the column is absent, a subject is in two splits, or the training split lacks a class.
    """
    if column not in dataset.column_names:
        raise ValueError(
            f"the dataset has no column {column!r} (it has {dataset.column_names}): no split is published for it. Use "
            "split_by_subject or subject_kfold."
        )
    names = np.asarray(_column(dataset, column), dtype=object)
    splits = DatasetDict(
        {str(name): dataset.select(np.flatnonzero(names == name)) for name in dict.fromkeys(names.tolist())}
    )
    check_no_shared_subjects(splits, group_column)
    if "train" in splits:
        _check_train(splits["train"], dataset, allow_one_class=False)
    order = [name for name in ("train", "validation", "test") if name in splits]
    return DatasetDict({name: splits[name] for name in order + [name for name in splits if name not in order]})


def _column(dataset: Dataset, name: str) -> list:
    if name not in dataset.column_names:
        raise ValueError(
            f"the dataset has no column {name!r} (it has {dataset.column_names}). Subject-wise splits need one that "
            "names the subject of every window, as build_dataset writes it; group_column names another."
        )
    return dataset.select_columns([name]).with_format(None)[:][name]


def _class_counts(dataset: Dataset, values: np.ndarray) -> tuple[list, np.ndarray]:
    """Sorted groups, and the (n_groups, n_classes) number of windows of each."""
    if not len(dataset):
        raise ValueError("the dataset has no rows, so there is nothing to split.")
    labels = _strata(dataset)
    groups, group_index = np.unique(values.astype(str), return_inverse=True)
    classes, class_index = np.unique(labels, return_inverse=True)
    counts = np.zeros((len(groups), len(classes)))
    np.add.at(counts, (group_index, class_index), 1)
    return groups.tolist(), counts


def _strata(dataset: Dataset) -> np.ndarray:
    """What the parts of a split should hold alike (N,): classes; of numbers the quarter that the first one lies in."""
    task = task_info(dataset)
    if task is None:
        return np.asarray(_column(dataset, "labels"))
    values = target_values(dataset)
    if task["problem_type"] == TOKENS:
        # by the rarest label that a stretch holds
        counts = [(values == index).sum() for index in range(len(task["names"]))]
        return np.array([min(set(row[row >= 0]), key=lambda i: counts[int(i)], default=-1) for row in values])
    if task["problem_type"] != REGRESSION:
        return np.array([" ".join(map(str, row)) for row in values.tolist()])
    known = values[np.isfinite(values[:, 0]), 0]
    if not len(known):
        return np.zeros(len(values))
    return np.searchsorted(np.quantile(known, (0.25, 0.5, 0.75)), values[:, 0])


def balanced_parts(counts: np.ndarray, members: list[int], sizes: list[int], seed: int) -> list[list[int]]:
    """Disjoint random parts of `members` of the given sizes whose class proportions are closest to the whole's.

    What is left over after the last part is a part of its own in the comparison (the training split).
    """
    rng = np.random.default_rng(seed)
    whole = counts.sum(axis=0) / counts.sum()
    best, best_cost = None, np.inf
    for _ in range(_N_TRIES):
        order = rng.permutation(members)
        parts = np.split(order, np.cumsum(sizes))
        cost = 0.0
        for part in parts:
            if len(part):
                total = counts[part].sum(axis=0)
                # An absent class weighs more than any imbalance.
                cost += np.abs(total / total.sum() - whole).sum() + 10.0 * np.sum((total == 0) & (whole > 0))
        if cost < best_cost - 1e-12:
            best, best_cost = parts, cost
    return [sorted(int(index) for index in part) for part in best[: len(sizes)]]


def _explicit(share: Sequence[str], groups: list[str], name: str, group_column: str) -> list[str]:
    if isinstance(share, str):
        raise ValueError(f"{name}={share!r}: give a list of {group_column}s, e.g. {name}=[{share!r}].")
    wanted = list(dict.fromkeys(str(group) for group in share))
    unknown = [group for group in wanted if group not in groups]
    if unknown:
        raise ValueError(
            f"{name} asks for {group_column}s that the dataset does not have: {', '.join(unknown)}. It has "
            f"{first_names(groups, 12)}."
        )
    return wanted


def _check_disjoint(chosen: Mapping[str, list[str]], group_column: str) -> None:
    owner: dict[str, str] = {}
    for name, members in chosen.items():
        for group in members:
            if group in owner:
                raise ValueError(
                    f"{group_column} {group!r} is asked for in both {owner[group]!r} and {name!r}: it would be shared "
                    "by the two splits. Name it once."
                )
            owner[group] = name


def group_count(share: float | int, n_groups: int, name: str, group_column: str) -> int:
    """The number of groups that a share asks for, at least one unless the share is 0.

    Args:
        share: A share in [0, 1), or a number of groups.
        n_groups: Of how many.
        name: The split, for the message.
        group_column: What the groups are, for the message.

    Raises:
        ValueError: If the share is out of range.
    """
    if isinstance(share, (bool, np.bool_)) or share < 0 or (isinstance(share, (float, np.floating)) and share >= 1):
        raise ValueError(
            f"{name}={share!r}: give a share of the {group_column}s in [0, 1), their number as an int, or their ids."
        )
    if isinstance(share, (int, np.integer)):
        return int(share)
    return max(1, round(share * n_groups)) if share > 0 else 0


def _sizes_text(sizes: Mapping[str, int]) -> str:
    return " and ".join(f"{size} in {name}" for name, size in sizes.items())


def _make_splits(
    dataset: Dataset,
    values: np.ndarray,
    chosen: Mapping[str, list[str]],
    group_column: str,
    allow_one_class: bool,
) -> DatasetDict:
    text = values.astype(str)
    splits = DatasetDict()
    for name in ("train", "validation", "test"):
        if chosen.get(name):
            splits[name] = dataset.select(np.flatnonzero(np.isin(text, chosen[name])))
    if "train" not in splits:
        raise ValueError("no subject is left for the training split; ask for smaller validation and test splits.")
    check_no_shared_subjects(splits, group_column)
    _check_train(splits["train"], dataset, allow_one_class)
    if task_info(dataset) is not None:
        return splits
    names = _label_names(dataset)
    present = set(_column(dataset, "labels"))
    for name, split in splits.items():
        absent = sorted(present - set(_column(split, "labels")))
        if absent and name != "train":
            logger.warning(
                "the %s split has no window of %s; scores on it say nothing about that.",
                name,
                ", ".join(names[label] if names else str(label) for label in absent),
            )
    return splits


def _label_names(dataset: Dataset) -> list[str] | None:
    return getattr(dataset.features["labels"], "names", None)


def _check_train(train: Dataset, dataset: Dataset, allow_one_class: bool) -> None:
    if task_info(dataset) is not None:
        # numbers, and several labels at once, are judged where a model is trained on them
        return
    names = _label_names(dataset)
    present, trained = set(_column(dataset, "labels")), set(_column(train, "labels"))
    if allow_one_class:
        return
    absent = [names[label] if names else str(label) for label in sorted(present - trained)]
    if absent:
        raise ValueError(
            f"the training split has no window of the class{'es' * (len(absent) > 1)} {', '.join(absent)}, so it "
            "can't be learned. Assign the subjects that have it to train, or draw another split (seed=...)."
        )
    if len(trained) < 2:
        only = next(iter(trained))
        raise ValueError(
            f"the training split holds one class only ({names[only] if names else only}); a classifier needs two. "
            "Pass allow_one_class=True if that is what you want."
        )
