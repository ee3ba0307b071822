# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""One progress bar per training, named after what is trained, with the last score."""

from __future__ import annotations

from typing import Any

from transformers import Trainer
from transformers.trainer_callback import PrinterCallback, ProgressCallback


class NamedProgressCallback(ProgressCallback):
    """transformers' progress bar with a name, and without a line of text at every log.

    Args:
        name: what is trained.
    """

    def __init__(self, name: str):
        super().__init__()
        self.name = name

    def on_train_begin(self, args, state, control, **kwargs):
        super().on_train_begin(args, state, control, **kwargs)
        if self.training_bar is not None:
            self.training_bar.set_description(self.name)

    def on_prediction_step(self, args, state, control, eval_dataloader=None, **kwargs):
        """No second bar: an evaluation of a student is over before it could be read."""

    def on_log(self, args, state, control, logs: dict[str, Any] | None = None, **kwargs):
        if self.training_bar is None or not logs:
            return
        key = f"eval_{(args.metric_for_best_model or 'loss').removeprefix('eval_')}"
        if key in logs:
            self.training_bar.set_postfix_str(f"{key.replace('eval_', 'validation ')} {logs[key]:.3f}")


def name_progress(trainer: Trainer, name: str) -> Trainer:
    """Give a trainer a named bar in place of its own; with `disable_tqdm` none, and no line at every log either."""
    for callback in (ProgressCallback, PrinterCallback):
        trainer.remove_callback(callback)
    if not trainer.args.disable_tqdm:
        trainer.add_callback(NamedProgressCallback(name))
    return trainer


__all__ = ["NamedProgressCallback", "name_progress"]
