# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""A student as a model of Open EEG Bench (`pip install open-eeg-bench`)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

from ..core.atomic_files import staged
from ..models.mic.modeling_mic import MiCModel, MiCWithHead
from .braindecode_model import BraindecodeStudent, load_student, network_fields


# what adapters (LoRA, IA3 ...) are put on: attention over channels and the feed-forward layers of the blocks
ADAPTED_MODULES = ("qkv", "attention_out", "mlp_in", "mlp_out")


def open_eeg_bench_settings(
    student: MiCWithHead | MiCModel | str | os.PathLike, folder: str | os.PathLike
) -> dict[str, Any]:
    """Return the arguments by which `open_eeg_bench.benchmark` takes a student for its model.

    The benchmark replaces the head, and gives windows in microvolts at its own rate, which the model brings to the
    student's. It reads weights from a file of `torch.save`, which is written here.

    Args:
        student: short name (`"dlink-mic-small"`), folder or Hub id, with or without a head; or one in memory.
        folder: where the file of weights goes, made where absent.

    Returns:
        keyword arguments: `model_cls`, `checkpoint_path`, `model_kwargs`, `head_module_name`, `peft_target_modules`,
        `peft_ff_modules`.

    Raises:
        OSError, ValueError: there is no such student, or it is a teacher.

    Example:

    ```python
    >>> import open_eeg_bench
    >>> from dlink_hf import open_eeg_bench_settings

    >>> student = open_eeg_bench_settings("dlink-mic-small", "outputs/bench")
    >>> open_eeg_bench.benchmark(**student, datasets=["arithmetic_zyma2019"], finetuning_strategies=["frozen"])
    ```
    """
    if isinstance(student, (str, os.PathLike)):
        student = load_student(student)
    prefix = "" if isinstance(student, MiCWithHead) else "mic."
    # the benchmark's tasks are its own: a head's labels and targets are none of the network's
    fields = network_fields(student.config)
    for field in ("id2label", "label2id", "problem_type", "target_mean", "target_std"):
        fields.pop(field, None)
    state = {f"{prefix}{name}": value.detach().cpu() for name, value in student.state_dict().items()}
    with staged(Path(folder)) as partial:
        torch.save(state, partial / "student.pt")
    return {
        "model_cls": f"{BraindecodeStudent.__module__}.{BraindecodeStudent.__name__}",
        "checkpoint_path": str(Path(folder).absolute() / "student.pt"),
        "model_kwargs": {"student_config": fields},
        "head_module_name": "final_layer",
        "peft_target_modules": list(ADAPTED_MODULES),
        "peft_ff_modules": ["mlp_in", "mlp_out"],
    }


__all__ = ["ADAPTED_MODULES", "open_eeg_bench_settings"]
