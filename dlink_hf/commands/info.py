# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""`dlink info`: what a checkpoint is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..core.config_checks import MULTI_LABEL, REGRESSION
from ..data.model_contract import label_names
from ..evaluation.predict import load_classifier
from ..models.mic.modeling_mic import MiCWithHead
from ..profiling.measure import cost_of
from .flags import arg, named, parse


DESCRIPTION = "What a checkpoint is: `dlink info DIR`: montage, rate, window, labels, size and cost."

# what the outputs of a head are
KINDS = {REGRESSION: "numbers", MULTI_LABEL: "several of"}


@dataclass
class InfoArguments:
    """Which checkpoint."""

    model: str = arg("", "Folder, Hub id or short name of a student or a teacher; also the first word after `info`.")


def run(argv: Sequence[str]) -> None:
    """Entry of `dlink info`."""
    (args,) = parse("info", DESCRIPTION, (InfoArguments,), named(argv, "--model"))
    if not args.model:
        raise ValueError("say which checkpoint: dlink info DIR.")
    model = load_classifier(args.model, allow_backbone=True)
    config = model.config
    has_head = type(model).__name__ in (config.architectures or [type(model).__name__])
    cost = cost_of({"model": model}, len(config.ch_names), config.n_times)["model"]
    student = isinstance(model, MiCWithHead)
    what = "MiC student" if student else f"{config.backbone} teacher, {config.num_hidden_layers} layers"
    montage = "any montage; trained with " if student else "exactly "
    rows = {
        "model": what,
        KINDS.get(config.problem_type, "labels"): ", ".join(label_names(model))
        if has_head
        else "none yet: a backbone, to be fine-tuned",
        "channels": f"{montage}{len(config.ch_names)}: {', '.join(config.ch_names)}",
        "rate": f"{config.sfreq:g} Hz, microvolts",
        "window": f"{config.n_times / config.sfreq:g} s ({config.n_times} samples, patches of {config.patch_size})",
        "parameters": f"{cost['parameters']:,}",
        "cost": f"{cost['mflop']:.1f} MFLOP (2 x MAC) a window, {cost['ms']:.2f} ms on one CPU thread (median)",
    }
    for name, value in rows.items():
        print(f"{name:<12}{value}")


__all__ = ["InfoArguments", "run"]
