# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""The recipe: how a model is trained unless it is told otherwise, with the measurements behind each value.

Every command and the benchmark start from here. The figures are balanced accuracies on validation subjects; the log is
benchmarks/NOTES.md.
"""

from __future__ import annotations

from typing import Any

from .augmentation import AUGMENTATIONS


BATCH_SIZE = 32
# AdamW with a cosine and 10 % of warm-up; 1e-3 needs twice the steps, 4e-3 falls apart with one seed in three
LEARNING_RATE = 2e-3
WEIGHT_DECAY = 0.05
WARMUP = 0.1
# a little softness of the labels is worth as much as soft targets of the same view
LABEL_SMOOTHING = 0.1

# A budget in steps, not epochs: what a student needs follows from its task more than from the number of windows.
# ssvep_exo (430 windows): 0.73, 0.78, 0.83, 0.84 after 210, 420, 840, 1,680 steps; eegmat (1,050 windows): 0.85, 0.88,
# 0.88, 0.88 after 130, 260, 530, 1,060. Nothing was tried beyond 1,700 steps: the cap is there for the clock.
MIN_STEPS = 800
MAX_STEPS = 2000
EPOCHS = 32

# Windows that are locked to an event carry meaning in polarity and latency: a flipped sign costs evoked potentials 11
# points of AUROC (uci_erp: 0.854 without, 0.748 with it).
AUGMENTATION = "time_shift,sign_flip,amplitude_scale,channel_dropout=0.3"
EVENT_LOCKED_AUGMENTATION = "amplitude_scale,channel_dropout=0.3"
EVENT_LOCKED_SECONDS = 1.5


def default_steps(n_windows: int) -> int:
    """Optimizer steps of a training, by the number of its training windows.

    Args:
        n_windows: labelled and unlabelled ones together.

    Returns:
        32 epochs of batches of 32, at least 800 steps and at most 2,000.

    Raises:
        ValueError: there are no windows.

    Example:

    ```python
    >>> default_steps(432), default_steps(1200), default_steps(100_000)
    (800, 1216, 2000)
    ```
    """
    if n_windows < 1:
        raise ValueError(f"A training needs windows, got {n_windows}.")
    return min(MAX_STEPS, max(MIN_STEPS, EPOCHS * -(-n_windows // BATCH_SIZE)))


def default_augmentation(seconds: float) -> str:
    """Augmentations of training windows by their length, as `parse_augmentations` reads them.

    Args:
        seconds: length of a window. Windows of at most 1.5 s are taken for trials that are locked to an event, whose
            polarity and latency mean something.
    """
    chosen = EVENT_LOCKED_AUGMENTATION if seconds <= EVENT_LOCKED_SECONDS else AUGMENTATION
    assert all(part.partition("=")[0] in AUGMENTATIONS for part in chosen.split(","))
    return chosen


def training_fields(**changes: Any) -> dict[str, Any]:
    """Fields of `transformers.TrainingArguments` by the recipe; `changes` come on top.

    The weights of the last step are kept: with a cosine schedule they are the best or within a point of it, and to
    choose among epochs by a few validation subjects costs as much as it gains.
    """
    return {
        "per_device_train_batch_size": BATCH_SIZE,
        "per_device_eval_batch_size": 64,
        "learning_rate": LEARNING_RATE,
        "weight_decay": WEIGHT_DECAY,
        "warmup_steps": WARMUP,
        "lr_scheduler_type": "cosine",
        "logging_steps": 10,
        "report_to": "none",
        **changes,
    }


__all__ = [
    "AUGMENTATION",
    "BATCH_SIZE",
    "EVENT_LOCKED_AUGMENTATION",
    "EVENT_LOCKED_SECONDS",
    "LABEL_SMOOTHING",
    "LEARNING_RATE",
    "MAX_STEPS",
    "MIN_STEPS",
    "WARMUP",
    "WEIGHT_DECAY",
    "default_augmentation",
    "default_steps",
    "training_fields",
]
