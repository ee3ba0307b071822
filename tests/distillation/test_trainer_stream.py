# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""A distillation from streamed shards: the steps of one from rows, resumed to the same bits, its limits said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_recordings import save_raw
from toy_training import LABELS, N_TIMES, NAMES, arguments, same, toy_studio, toy_teacher, weights

from dlink_hf import DLinkTrainer, EEGFeatureExtractor, load_shards, prepare_shards
from dlink_hf.data.shards.load import label_counts, n_windows, sized


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """54 windows of six people, a third of them of `task`, in three shards."""
    recordings = tmp_path_factory.mktemp("recordings")
    for person in range(6):
        notes = ((0.0, 12.0, "rest"), (12.0, 6.0, "task"))
        kwargs = {"annotations": notes, "subject": f"S{person}", "seed": person, "duration": 18.0}
        save_raw(recordings, f"s{person}_raw.fif", ch_names=NAMES, sfreq=200.0, **kwargs)
    folder = tmp_path_factory.mktemp("shards")
    extractor = EEGFeatureExtractor(ch_names=NAMES, sfreq=200.0, n_times=N_TIMES)
    prepare_shards(recordings, folder, extractor, label_names=LABELS, shard_mb=0.13, progress=False)
    return folder


def stream(folder: Path) -> Any:
    return sized(load_shards(folder).shuffle(seed=1, buffer_size=16), n_windows(folder, "train"))


def trainer(folder: Path, output: Path, dataset: Any = None, studio: Any = None, **fields: Any) -> DLinkTrainer:
    fields = {"num_train_epochs": 3, "mimic_epochs": 1, "per_device_train_batch_size": 8, **fields}
    counts = label_counts(folder, "train")
    args = arguments(output, class_weighting="balanced", **fields)
    dataset = stream(folder) if dataset is None else dataset
    return DLinkTrainer(studio or toy_studio(), args, train_dataset=dataset, label_counts=counts)


def test_a_stream_takes_the_steps_of_the_same_rows(folder: Path, tmp_path: Path) -> None:
    assert label_counts(folder, "train") == {"rest": 36, "task": 18}
    streamed = trainer(folder, tmp_path / "stream", num_train_epochs=1, mimic_epochs=0)
    streamed.train()
    np.testing.assert_allclose(streamed._class_weights, [54 / (2 * 36), 54 / (2 * 18)])
    # the rows in the order in which they came
    rows = load_shards(folder, streaming=False, cache_dir=tmp_path / "cache")
    by_number = {int(row): index for index, row in enumerate(rows["row"][:])}
    order = [by_number[int(row["row"])] for row in stream(folder)]
    in_order = trainer(folder, tmp_path / "rows", rows.select(order), num_train_epochs=1, mimic_epochs=0)
    in_order._get_train_sampler = lambda *given: None
    in_order.train()
    assert same(weights(streamed.model), weights(in_order.model))


def test_a_streamed_distillation_resumes_to_the_same_bits(folder: Path, tmp_path: Path) -> None:
    fields = {"save_strategy": "steps", "save_steps": 9}  # seven steps an epoch
    whole = trainer(folder, tmp_path / "whole", **fields)
    whole.train()
    assert whole.state.global_step == 21
    other = toy_studio(seed=7)
    other.teacher = toy_teacher()
    other.freeze_teacher()
    resumed = trainer(folder, tmp_path / "resumed", studio=other, **fields)
    resumed.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-9"))
    assert same(weights(whole.model), weights(resumed.model))


def test_what_takes_numbered_windows_is_refused(folder: Path, tmp_path: Path) -> None:
    def start(**kwargs: Any) -> None:
        args = {name: kwargs.pop(name) for name in ("class_weighting", "teacher_cache_dir") if name in kwargs}
        args = arguments(tmp_path, max_steps=2, **args)
        DLinkTrainer(toy_studio(), args, train_dataset=load_shards(folder), **kwargs)

    with pytest.raises(ValueError, match="label_counts.*dlink_hf.data.shards.load.label_counts"):
        start(class_weighting="balanced")
    with pytest.raises(ValueError, match="augmentation.*a stream has not.*streaming=False"):
        start(augmentation=lambda window, view, row: window)
    with pytest.raises(ValueError, match="Leave out the cache"):
        start(teacher_cache_dir=str(tmp_path))
    start()
