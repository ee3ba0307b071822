# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""A short distillation as a script, for tests that run it in several processes, or kill it.

    python distributed_training.py FOLDER N_PROCESSES [name=JSON ...]

The global batch is the same for every number of processes. Writes FOLDER/told.json and the student to FOLDER.
"""

from __future__ import annotations

import functools
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch
from toy_training import arguments, toy_dataset, toy_few_studio, toy_studio, toy_views
from transformers import TrainerCallback

from dlink_hf import DLinkTrainer, EEGDataCollator


GLOBAL_BATCH = 8


class KillAt(TrainerCallback):
    """End the process as `kill -9` does, after a step."""

    def __init__(self, step: int, rank: int = 0):
        self.step, self.rank = step, rank

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == self.step and args.process_index == self.rank:
            os.kill(os.getpid(), signal.SIGKILL)


def facts(trainer: DLinkTrainer, held_out: Any) -> dict[str, Any]:
    """What the training, an evaluation and a prediction have shown."""
    predictions, wrapped = trainer.predict(held_out), trainer.model_wrapped
    return {
        "log": [entry for entry in trainer.state.log_history if "loss" in entry],
        "scores": trainer.evaluate(),
        "labels": predictions.label_ids.tolist(),
        "logits": predictions.predictions.tolist(),
        "expected_labels": held_out["labels"][:].tolist(),
        "wrapped": type(wrapped).__name__,
        "sent": sorted(
            {name.split(".")[0] for name, _ in wrapped.module.named_parameters() if name not in _ignored(wrapped)}
        )
        if hasattr(wrapped, "module")
        else [],
    }


def _cast(batch: dict[str, Any], dtype: torch.dtype) -> dict[str, Any]:
    return {name: values.to(dtype) if name.endswith("input_values") else values for name, values in batch.items()}


def _ignored(wrapped: Any) -> set[str]:
    return set(wrapped.parameters_to_ignore)


def main(folder: str, n_processes: str, *given: str) -> None:
    """Train, evaluate, predict, save."""
    fields = {name: json.loads(value) for name, value in (word.split("=", 1) for word in given)}
    resume, kill_at, kill_rank = (fields.pop(name, None) for name in ("resume", "kill_at", "kill_rank"))
    sees_less = fields.pop("sees_less", False)
    made = toy_few_studio if sees_less else toy_studio
    windows = functools.partial(toy_views, cache_dir=Path(folder, "views")) if sees_less else toy_dataset
    studio = made(dropout=fields.pop("dropout", 0.0), **fields.pop("studio", {}))
    # the phase of a nearly empty bin multiplies rounding errors by a thousand: single precision hides what is compared
    dtype = getattr(torch, fields.pop("dtype", "float64"))
    # a fresh router weighs all layers alike
    torch.manual_seed(3)
    torch.nn.init.normal_(studio.router.score.weight, std=1.5)
    defaults = {
        "per_device_train_batch_size": GLOBAL_BATCH // int(n_processes),
        "per_device_eval_batch_size": 5,
        "max_steps": 50,
        "mimic_epochs": 2,
        "learning_rate": 1e-3,
        "class_weighting": "balanced",
    }
    # 48 windows are six whole batches; 19 can be divided by no number of processes, nor of windows in a batch
    held_out = windows(["S5", "S6"], seed=1).select(range(3, 22))
    trainer = DLinkTrainer(
        studio.to(dtype),
        arguments(folder, **{**defaults, **fields}),
        train_dataset=windows(["S1", "S2", "S3", "S4"]),
        eval_dataset=held_out,
        data_collator=lambda rows: _cast(EEGDataCollator()(rows), dtype),
        callbacks=[KillAt(kill_at, kill_rank or 0)] if kill_at else None,
    )
    trainer.train(resume_from_checkpoint=resume)
    told = facts(trainer, held_out)
    trainer.save_model()
    if trainer.is_world_process_zero():
        Path(folder, "told.json").write_text(json.dumps(told))
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
