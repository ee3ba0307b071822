# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""What a pre-trained teacher is published with: a card, and two plots."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from huggingface_hub import ModelCard

from .._version import __version__
from ..core.text import for_markdown
from ..evaluation.style import COLOURS, new_figure, plain_axes, save_figure
from ..hub.card_merging import mark_generated, save_model_card
from .pretraining import DLinkTeacherForPretraining


_SHOWN_CHANNELS = 6
_ERRORS = {
    "eval_reconstruction_error": "error of hidden patches (a flat line: 1)",
    "eval_spectral_error": "error of log-spectra (squared, natural logarithm)",
}

_CARD = """---
{metadata}---

# {title}

A teacher for distillation: {backbone} of {layers} layers ({parameters:,} parameters), pre-trained by masked patches on
unlabelled EEG, from random weights. **These are not the weights that the authors of {backbone} published**; they rest
on few subjects and few hours:

{sources}

No one else was seen, labelled or not: `people.json` lists them all, those held out for the errors below included, and
`dlink finetune-teacher` refuses to score on any of them.

## How it was trained

{training}

The objective is CBraMod's (Wang et al. 2025, arXiv 2412.07236), the samples of hidden patches, each window's error
relative to its power; and the log-amplitude spectrum of every patch, told from the last layer by a linear layer that
was dropped afterwards. Windows: {window}.

{errors}

![held-out error](held_out_error.png)

## Use

```python
from dlink_hf import DLinkTeacherForEEGClassification

teacher = DLinkTeacherForEEGClassification.from_pretrained(
    "{name}", ch_names=["C3", "Cz", "C4"], n_times=800, id2label={{0: "left", 1: "right"}}
)  # microvolts at {sfreq:g} Hz, any channels; the head is new
```

or `dlink finetune-teacher --teacher_checkpoint {name} --dataset my_recordings --labels labels.csv`.

## Limits

Not a medical device. Made with dlink_hf {version}; the recordings keep their own licences, named above.
"""


def plot_reconstruction(
    model: DLinkTeacherForPretraining, window: Any, ch_names: Sequence[str], path: str | os.PathLike
) -> Path:
    """Plot one window, its hidden patches shaded, and what the teacher reads there.

    Args:
        model: pre-trained.
        window: (C, T), microvolts.
        ch_names: the C names.
        path: of the PNG.

    Returns:
        the path.
    """
    config = model.config
    values = torch.as_tensor(window, dtype=torch.float32)[None]
    model.eval()
    mask = model.draw_mask(1, values.shape[1], values.shape[2] // config.patch_size, values.device)
    with torch.no_grad():
        patches = model.teacher.backbone(values * config.input_scale, mask=mask, return_features=True)["features"]
    predicted = (patches[0].float() / model.target_scale).flatten(1).numpy()
    shown = np.linspace(0, len(ch_names) - 1, min(_SHOWN_CHANNELS, len(ch_names))).round().astype(int)
    times = np.arange(values.shape[2]) / config.sfreq
    step = 6 * float(values[0].std())
    figure = new_figure(9.0, 0.8 * len(shown) + 1.2)
    axes = figure.subplots()
    for row, channel in enumerate(shown):
        offset = -row * step
        axes.plot(times, values[0, channel].numpy() + offset, color="0.45", linewidth=0.8)
        for patch in np.flatnonzero(mask[0, channel].numpy()):
            span = slice(patch * config.patch_size, (patch + 1) * config.patch_size)
            axes.plot(times[span], predicted[channel, span] + offset, color=COLOURS[1], linewidth=1.1)
            edges = (times[span][0], times[span][0] + config.patch_size / config.sfreq)
            axes.fill_between(edges, offset - step / 2, offset + step / 2, color=COLOURS[0], alpha=0.08, linewidth=0)
    axes.set_yticks([-row * step for row in range(len(shown))], [ch_names[channel] for channel in shown])
    axes.set_xlabel("time (s)")
    axes.set_title("hidden patches (shaded): recorded in grey, read back in orange", fontsize=10)
    plain_axes(axes)
    return save_figure(figure, path)


def plot_held_out_error(log: Sequence[Mapping[str, Any]], path: str | os.PathLike) -> Path:
    """Plot the held-out errors over the steps of a pre-training.

    Args:
        log: `log_history` of the trainer.
        path: of the PNG.

    Returns:
        the path.
    """
    rows = [entry for entry in log if "eval_reconstruction_error" in entry and entry.get("step", 0) > 0]
    figure = new_figure(6.0, 3.2)
    axes = figure.subplots()
    lines = (("eval_reconstruction_error", "hidden patches"), ("eval_spectral_error", "log-spectra"))
    for (key, label), colour in zip(lines, COLOURS, strict=False):
        axes.plot(
            [row["step"] for row in rows],
            [row[key] for row in rows],
            marker="o",
            markersize=3,
            label=label,
            color=colour,
        )
    axes.axhline(1.0, color="0.7", linewidth=0.8, linestyle="--")
    axes.set_xlabel("step")
    axes.set_ylabel("error on subjects held out")
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False)
    plain_axes(axes)
    return save_figure(figure, path)


def write_pretraining_card(
    folder: str | os.PathLike,
    model: DLinkTeacherForPretraining,
    results: Mapping[str, Any],
    sources: Mapping[str, str],
    settings: Mapping[str, Any],
    name: str,
) -> Path:
    """Write `README.md` of a pre-trained teacher.

    Args:
        folder: of the checkpoint.
        model: pre-trained.
        results: of `dlink pretrain-teacher`: `people`, `held_out_before`, `held_out`, `windows`, `steps`.
        sources: where each of the recordings is published, and its licence; "own recordings" where it isn't known.
        settings: rows of the table of the training.
        name: of the teacher.

    Returns:
        the path.
    """
    config = model.config
    listed = []
    for entry in results["people"]:
        held = f", {len(entry['held_out'])} of them held out" if entry.get("held_out") else ""
        listed.append(
            f"- {for_markdown(entry['source'])}: {len(entry['people'])} {entry['group_column']}s{held}. "
            f"{sources[entry['source']]}"
        )
    metadata = {
        "library_name": "dlink_hf",
        "tags": ["eeg", "eeg-foundation-model", "masked-modelling", "teacher"],
        "license": "other",
        "license_name": "see-the-recordings",
    }
    rows = [
        "| | |",
        "|---|---|",
        *(f"| {for_markdown(key)} | {for_markdown(value)} |" for key, value in settings.items()),
    ]
    errors = ["| on subjects held out | before | after |", "|---|---:|---:|"]
    for key, label in _ERRORS.items():
        errors.append(f"| {label} | {results['held_out_before'][key]:.3f} | {results['held_out'][key]:.3f} |")
    text = _CARD.format(
        metadata=yaml.safe_dump(metadata, sort_keys=False),
        name=name,
        title=for_markdown(name.rstrip("/").rsplit("/", 1)[-1]),
        backbone=config.backbone,
        layers=config.num_hidden_layers,
        parameters=sum(parameter.numel() for parameter in model.teacher.parameters()),
        sources="\n".join(listed),
        training="\n".join(rows),
        window=f"{config.n_times / config.sfreq:g} s at {config.sfreq:g} Hz",
        errors="\n".join(errors),
        sfreq=config.sfreq,
        version=__version__,
    )
    return save_model_card(ModelCard(mark_generated(text)), folder)


__all__ = ["plot_held_out_error", "plot_reconstruction", "write_pretraining_card"]
