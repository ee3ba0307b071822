# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Rows of a dataset to one batch of tensors."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch


# the column of a teacher's own windows, where it sees more than its student
TEACHER_VALUES = "teacher_input_values"


class EEGDataCollator:
    """Stack windows, labels and, where rows carry them, channel positions, soft targets and the teacher's windows.

    The rest is left out.

    Nothing is padded: windows of different channels or lengths in one batch are an error.
    """

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """Make a batch.

        Args:
            rows: B rows with `input_values` (C, T) in microvolts and optionally `labels` (or `label`; an integer, a
                number of a regression, or a list of L numbers or zeros and ones) and
                `channel_positions` (C, 3) in metres, `soft_targets` (num_labels,) and `teacher_input_values`
                (C_t, T_t) in microvolts; tensors, arrays or nested lists.

        Returns:
            `input_values` (B, C, T) float32, and where the rows have them `labels`, (B,) int64, or (B,) or (B, L)
            float32; `channel_positions` (B, C, 3), `soft_targets` (B, num_labels) and `teacher_input_values`
            (B, C_t, T_t) float32.

        Raises:
            ValueError: If there are no rows, some lack a column that others have, or the windows differ in shape.
        """
        if not rows:
            raise ValueError("EEGDataCollator got an empty list of rows.")
        batch = {"input_values": _stack(rows, "input_values", ("channels", "samples"))}
        label_column = next((name for name in ("labels", "label") if name in rows[0]), None)
        if label_column is not None:
            labels = [row.get(label_column) for row in rows]
            if any(label is None for label in labels):
                raise ValueError(f"some rows of the batch have no {label_column!r} and others have one.")
            batch["labels"] = _labels(labels)
        if rows[0].get("channel_positions") is not None:
            batch["channel_positions"] = _stack(rows, "channel_positions", ("channels", "coordinates"))
        if rows[0].get("soft_targets") is not None:
            batch["soft_targets"] = _stack(rows, "soft_targets", ("classes",))
        if rows[0].get(TEACHER_VALUES) is not None:
            batch[TEACHER_VALUES] = _stack(rows, TEACHER_VALUES, ("channels", "samples"))
        return batch


def _labels(labels: list[Any]) -> torch.Tensor:
    """(B,) or (B, L) int64 of class indices; (B,) or (B, L) float32 of numbers."""
    values = [np.asarray(label) for label in labels]
    shapes = sorted({value.shape for value in values})
    if len(shapes) > 1:
        raise ValueError(f"the rows of one batch have labels of different shapes: {', '.join(map(str, shapes))}.")
    stacked = np.stack(values)
    return torch.from_numpy(stacked.astype(np.float32 if stacked.dtype.kind == "f" else np.int64))


def _stack(rows: Sequence[dict[str, Any]], column: str, axes: tuple[str, ...]) -> torch.Tensor:
    """(B, *, *) float32 of one column of so many axes."""
    values = [row.get(column) for row in rows]
    missing = [index for index, value in enumerate(values) if value is None]
    if missing:
        raise ValueError(
            f"row {missing[0]} of the batch has no {column!r}; it has {sorted(rows[missing[0]])}. Keep the column "
            "(for a Trainer: remove_unused_columns=False, if the model does not name it)."
        )
    if all(isinstance(value, torch.Tensor) for value in values):
        tensors = values
    else:
        tensors = [torch.from_numpy(np.asarray(value, dtype=np.float32)) for value in values]
    shapes = list(dict.fromkeys(tuple(tensor.shape) for tensor in tensors))
    if len(shapes) > 1:
        found = ", ".join(" x ".join(map(str, shape)) for shape in shapes)
        raise ValueError(
            f"the rows of one batch have {column} of different shapes ({' x '.join(axes)}): {found}. A batch holds "
            "one montage and one window length; batch the datasets apart, or build them with one EEGFeatureExtractor."
        )
    if len(shapes[0]) != len(axes):
        raise ValueError(f"{column} of a row must be {' x '.join(axes)}, got shape {shapes[0]}.")
    return torch.stack(tensors).to(torch.float32)
