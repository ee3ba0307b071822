# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Windows of an array as a dataset: what is in it, what a config learns from it, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from dlink_hf import EEGDataCollator, MiCConfig, set_signal_info, signal_fields, signal_info, windows_from_arrays
from dlink_hf.data.description import task_info


SIGNAL = {"ch_names": ["c3", "C4"], "sfreq": 200.0}


def windows(n: int = 5) -> np.ndarray:
    return np.random.default_rng(0).normal(scale=20, size=(n, 2, 400))


def test_classes_by_any_name() -> None:
    dataset = windows_from_arrays(windows(), ["b", "a", "b", "b", "a"], subjects="s1", **SIGNAL)
    assert dataset["labels"][:].tolist() == [1, 0, 1, 1, 0] and dataset.features["labels"].names == ["a", "b"]
    assert signal_info(dataset).ch_names == ("C3", "C4") and set(dataset["subject"][:]) == {"s1"}
    np.testing.assert_allclose(dataset["input_values"][:], windows(), rtol=1e-6)
    assert MiCConfig(**signal_fields(dataset)).id2label == {0: "a", 1: "b"}
    batch = EEGDataCollator()([dataset[0], dataset[1]])
    assert batch["labels"].dtype == torch.int64 and batch["labels"].tolist() == [1, 0]


def test_numbers_and_several_labels_at_once_make_their_configs() -> None:
    ages = windows_from_arrays(
        windows(), [30, 41.5, 52, 25, 60], problem_type="regression", label_names=["age"], **SIGNAL
    )
    config = MiCConfig(**signal_fields(ages))
    assert config.problem_type == "regression" and config.id2label == {0: "age"} and config.n_times == 400
    assert EEGDataCollator()([ages[0], ages[1]])["labels"].tolist() == [30.0, 41.5]
    held = np.array([[0, 1], [1, 1], [0, 0], [1, 0], [-1, 1]])
    both = windows_from_arrays(windows(), held, problem_type="multi_label_classification", **SIGNAL)
    config = MiCConfig(**signal_fields(both))
    assert config.problem_type == "multi_label_classification" and config.num_labels == 2
    batch = EEGDataCollator()([both[0], both[4]])
    assert batch["labels"].dtype == torch.float32 and batch["labels"].tolist() == [[0, 1], [-1, 1]]
    # kept through what rebuilds the facts
    assert task_info(set_signal_info(both.select([0, 1]), signal_info(both))) == task_info(both)


@pytest.mark.parametrize(
    ("given", "labels", "options", "error", "reason"),
    [
        (windows()[0], ["a"], {}, ValueError, r"must be \(windows, channels, samples\)"),
        (windows()[:, :1], list("abbaa"), {}, ValueError, "1 channels, `ch_names` names 2"),
        (windows() * np.nan, list("abbaa"), {}, ValueError, "5 of 5 windows hold NaN or Inf"),
        (windows().astype(str), list("abbaa"), {}, TypeError, "numbers in microvolts"),
        (windows(), list("ab"), {}, ValueError, "2 labels were given for 5 windows"),
        (windows(), list("abbac"), {"label_names": ["a", "b"]}, ValueError, "labels c are not among"),
        (windows(), list("abbaa"), {"problem_type": "regression"}, ValueError, "must be numbers"),
        (windows(), np.ones(5), {"problem_type": "multi_label_classification"}, ValueError, r"\(windows, labels\)"),
        (windows(), np.ones(5), {"problem_type": "ranking"}, ValueError, "problem_type"),
        (windows(), list("abbaa"), {"subjects": ["s1"]}, ValueError, "1 subjects were given for 5 windows"),
    ],
)
def test_what_is_refused(given: Any, labels: Any, options: dict[str, Any], error: type, reason: str) -> None:
    with pytest.raises(error, match=reason):
        windows_from_arrays(given, labels, **options, **SIGNAL)
