# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Rows become a batch, or a clear error."""

import numpy as np
import pytest
import torch

from dlink_hf.data.collator import EEGDataCollator


def make_rows(kind=torch.as_tensor, n=3, shape=(4, 10)):
    values = np.random.default_rng(0).standard_normal((n, *shape)).astype(np.float32)
    rows = [
        {"input_values": kind(window), "labels": index % 2, "subject": "a", "onset": 1.0}
        for index, window in enumerate(values)
    ]
    return values, rows


@pytest.mark.parametrize("kind", [torch.as_tensor, np.asarray, np.ndarray.tolist])
def test_stacks_tensors_arrays_and_lists(kind):
    values, rows = make_rows(kind)
    batch = EEGDataCollator()(rows)
    assert set(batch) == {"input_values", "labels"}
    assert batch["input_values"].dtype == torch.float32 and batch["labels"].dtype == torch.int64
    np.testing.assert_array_equal(batch["input_values"].numpy(), values)
    assert batch["labels"].tolist() == [0, 1, 0]


def test_half_precision_and_doubles_become_float32():
    _, rows = make_rows(lambda window: torch.as_tensor(window, dtype=torch.float64))
    assert EEGDataCollator()(rows)["input_values"].dtype == torch.float32


def test_positions_and_label_are_carried():
    _, rows = make_rows()
    positions = np.random.default_rng(1).standard_normal((3, 4, 3))
    for row, place in zip(rows, positions, strict=True):
        row["channel_positions"] = place
        row["label"] = torch.tensor(row.pop("labels"))
    batch = EEGDataCollator()(rows)
    assert batch["labels"].tolist() == [0, 1, 0] and batch["channel_positions"].shape == (3, 4, 3)
    np.testing.assert_allclose(batch["channel_positions"].numpy(), positions, rtol=1e-6)


def test_unlabelled_rows():
    _, rows = make_rows()
    assert set(EEGDataCollator()([{"input_values": row["input_values"]} for row in rows])) == {"input_values"}


def test_mistakes():
    _, rows = make_rows()
    other = make_rows(shape=(5, 10))[1]
    with pytest.raises(ValueError, match="4 x 10, 5 x 10"):
        EEGDataCollator()(rows + other)
    with pytest.raises(ValueError, match="4 x 10, 4 x 12"):
        EEGDataCollator()(rows + make_rows(shape=(4, 12))[1])
    with pytest.raises(ValueError, match="row 3 of the batch has no 'input_values'"):
        EEGDataCollator()([*rows, {"labels": 1}])
    with pytest.raises(ValueError, match="no 'labels'"):
        EEGDataCollator()([*rows, {"input_values": rows[0]["input_values"]}])
    with pytest.raises(ValueError, match="channels x samples"):
        EEGDataCollator()([{"input_values": torch.zeros(10)}])
    with pytest.raises(ValueError, match="empty list"):
        EEGDataCollator()([])
