# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Training batches that know the numbers of their rows: augmented views, with a teacher's stored features."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset
from transformers import TrainerCallback

from ..data.collator import TEACHER_VALUES
from .soft_targets import SOFT_TARGETS
from .teacher_cache import TeacherCache
from .teacher_windows import Augment, augmented


# what a numbered row holds besides its columns
ROW, VIEW = "row_number", "view_number"


class NumberedRows(Dataset):
    """A dataset whose rows say their number, and which view of them is asked for.

    Args:
        dataset: rows as mappings.
        n_views: views that take turns, one an epoch; 0 for another one every epoch.
    """

    def __init__(self, dataset: Any, n_views: int = 1):
        self.dataset, self.n_views, self.view = dataset, n_views, 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the view of an epoch, counted from 0."""
        self.view = epoch % self.n_views if self.n_views else epoch

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, row: int) -> dict[str, Any]:
        return {**self.dataset[row], ROW: row, VIEW: self.view}

    def __getitems__(self, rows: Sequence[int]) -> list[dict[str, Any]]:
        if hasattr(self.dataset, "__getitems__"):
            found = self.dataset.__getitems__(list(rows))
        else:
            found = [self.dataset[row] for row in rows]
        return [{**columns, ROW: row, VIEW: self.view} for row, columns in zip(rows, found, strict=True)]


class NumberedCollator:
    """Make a batch of numbered rows: the windows' view, and the teachers' features where they are stored.

    Args:
        collator: makes the batch itself.
        caches: one for each teacher; empty where the teachers run.
        augment: see [`TeacherCache.build`].
    """

    def __init__(
        self,
        collator: Callable[[Sequence[dict[str, Any]]], dict[str, torch.Tensor]],
        caches: Sequence[TeacherCache] = (),
        augment: Augment | None = None,
    ):
        self.collator, self.caches, self.augment = collator, tuple(caches), augment

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Make a batch.

        Args:
            rows: B rows of a [`NumberedRows`].

        Returns:
            the collator's batch, its `input_values` (B, C, T) augmented and the teacher's own windows, if there are
            some, by the same numbers: what does not depend on the number of channels, shifts and flips, is then alike
            in both. Where there are caches, `teacher_states`, `teacher_pooled` and `teacher_logits` of
            [`TeacherCache.read`]; tuples of them for several teachers.
        """
        numbers, view = [row[ROW] for row in rows], rows[0][VIEW]
        batch = self.collator([_of_view(row, view) for row in rows])
        if self.augment is not None:
            for name in ("input_values", TEACHER_VALUES):
                if name in batch:
                    batch[name] = augmented(batch[name], numbers, view, self.augment)
        features = [cache.read(numbers, view) for cache in self.caches]
        for name in features[0] if features else ():
            values = tuple(feature[name] for feature in features)
            batch[name] = values[0] if len(values) == 1 else values
        return batch


def _of_view(row: dict[str, Any], view: int) -> dict[str, Any]:
    """A row without its numbers, its soft targets those of the view where they are (V, num_labels)."""
    row = {name: value for name, value in row.items() if name not in (ROW, VIEW)}
    targets = row.get(SOFT_TARGETS)
    if targets is not None and np.ndim(targets) == 2:
        row[SOFT_TARGETS] = targets[view]
    return row


class NextViewCallback(TrainerCallback):
    """Another view of the windows in every epoch, the same ones when a training is resumed."""

    def __init__(self) -> None:
        self.rows: NumberedRows | None = None

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.rows is not None:
            # the epoch counts up in fractions of a step
            self.rows.set_epoch(int((state.epoch or 0.0) + 1e-6))


__all__ = ["NextViewCallback", "NumberedCollator", "NumberedRows"]
