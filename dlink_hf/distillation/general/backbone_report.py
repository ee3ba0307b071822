# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""What a general student is published with: a card, and the curves of its training on subjects held out."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import ModelCard

from ..._version import __version__
from ...core.licences import licence_of_result, what_is_asked
from ...core.text import as_code, for_markdown
from ...data.public.own_sets import EEG_SETS
from ...evaluation.style import COLOURS, new_figure, plain_axes, save_figure
from ...hub.card_merging import mark_generated, save_model_card
from ...hub.rights import licences_in, rights_text
from ...models.mic.modeling_mic import MiCModel


_CARD = """---
{metadata}---

# {title}

A general EEG student of {parameters:,} parameters, made to be fine-tuned: it takes any channels of the 10-05 system,
any number of {patch:g}-second patches, and has no classes of its own. It was distilled from {teacher}, which was
pre-trained without labels. It rests on few subjects and few hours:

{sources}
{left_out}
No one else was seen, labelled or not: `people.json` lists them all, and those its teacher has seen; the commands
refuse to score on them.

## How it was trained

{training}

On every window it mimics the teacher's layers, weighed by a router, in value and in spectrum; on labelled windows it
also classifies, with a head of its own for each set. Teacher, router and heads are not part of it.

{errors}

## Use

```python
from dlink_hf import EEGFeatureExtractor, MiCForEEGClassification

extractor = EEGFeatureExtractor.from_pretrained("{name}")  # {sfreq:g} Hz, microvolts, {band}
model = MiCForEEGClassification.from_pretrained(
    "{name}", ch_names=["C3", "Cz", "C4"], n_times=800, id2label={{0: "left", 1: "right"}}
)  # the head is new: fine-tune it
```

or `dlink finetune --student {name} --dataset my_recordings --labels labels.csv`.

{rights}## Limits

Not a medical device. It has no head: what it says of a recording before it is fine-tuned is random. The method is this
project's own reading of the abstract of arXiv 2604.15016v2, and claims none of its results. Made with dlink_hf
{version}; the recordings keep their own licences, named above.
"""


def _scores(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Balanced accuracy of the student's head of each labelled set, and the mean of them."""
    found = {}
    for name, value in metrics.items():
        if name.endswith("balanced_accuracy") and "router" not in name:
            found[name.removeprefix("eval_").removesuffix("balanced_accuracy").rstrip("_") or "all, mean"] = value
    return found


def plot_backbone_curves(log: Sequence[Mapping[str, Any]], path: str | os.PathLike) -> Path:
    """The distance from the teacher and the scores of the heads, on subjects held out, over the steps of a training.

    Args:
        log: `log_history` of the trainer.
        path: of the PNG.

    Returns:
        the path.
    """
    rows = [entry for entry in log if "eval_route_error" in entry]
    figure = new_figure(10.0, 3.4)
    errors, scores = figure.subplots(1, 2)
    steps = [row.get("step", 0) for row in rows]
    kinds = {"eval_route_error": "distance, over power", "eval_magnitude_mimic_loss": "magnitude of spectra"}
    kinds["eval_phase_mimic_loss"] = "phase of spectra"
    for (key, label), colour in zip(kinds.items(), COLOURS, strict=False):
        if all(key in row for row in rows):
            errors.plot(steps, [row[key] for row in rows], marker="o", markersize=3, label=label, color=colour)
    errors.set_ylim(bottom=0)
    names = sorted({name for row in rows for name in _scores(row)})
    # a set has one colour, its aligned windows a dashed line
    sets = [name for name in names if not any(name.startswith(f"{other}_") for other in names)]
    for name in names:
        own = next(known for known in sets if name == known or name.startswith(f"{known}_"))
        look = {"color": COLOURS[sets.index(own) % len(COLOURS)], "linestyle": "-" if name == own else "--"}
        values = [_scores(row).get(name) for row in rows]
        scores.plot(steps, values, marker="o", markersize=3, label=name.replace("_", " "), **look)
    for axes, label in ((errors, "distance from the teacher"), (scores, "balanced accuracy")):
        axes.set_xlabel("step")
        axes.set_title(f"{label}, subjects held out", fontsize=9)
        plain_axes(axes)
    # below: a set of three lines leaves no corner free
    errors.legend(frameon=False, fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=3)
    if names:
        # next to the lines: with several sets it would cover them
        scores.legend(frameon=False, fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return save_figure(figure, path)


def write_backbone_card(folder: str | os.PathLike, student: MiCModel, results: Mapping[str, Any], name: str) -> Path:
    """Write `README.md` of a general student.

    Args:
        folder: of the checkpoint.
        student: distilled.
        results: of `dlink distill-backbone`.
        name: of the student.

    Returns:
        the path.
    """
    settings, training = results["arguments"], results["training"]
    listed = []
    for entry in results["people"]:
        held = f", and {len(entry['chosen_by'])} others that it was measured on" if entry["chosen_by"] else ""
        source = EEG_SETS[entry["source"]].source if entry["source"] in EEG_SETS else "Own recordings"
        listed.append(
            f"- {for_markdown(entry['source'])}: {len(entry['people'])} {entry['group_column']}s{held}. {source}."
        )
    left_out = settings["leave_out"]
    metadata: dict[str, Any] = {
        "library_name": "dlink_hf",
        "tags": ["eeg", "bci", "eeg-backbone", "knowledge-distillation"],
        "license": "other",
        "license_name": "see-the-recordings",
    }
    licences = licences_in(student.config.to_dict())
    if restricted := [record for record in licences if what_is_asked(record["license"], record["weights"])]:
        metadata |= licence_of_result(restricted)
    band = f"{settings['l_freq']:g}-{settings['h_freq']:g} Hz"
    facts = {
        "windows": f"{results['windows']:,}, and {results['labelled_windows']:,} with labels",
        "shown with the alignments": ", ".join(settings["alignments"]),
        "pass band": band,
        "changes to the windows": settings["augmentations"] or "none",
        "batches that show only a part of the channels": f"{settings['channel_subset']:.0%}",
        "weights": ", ".join(
            f"{k.removesuffix('_weight')} {v:g}" for k, v in settings.items() if k.endswith("weight")
        ),
        "layers are weighed": settings["routing"],
        "steps": f"{results['steps']:,} of {training['per_device_train_batch_size']} windows",
        "learning rate": f"{training['learning_rate']:g} (of the filters, times {settings['filter_rate']:.3g}), "
        f"seed {training['seed']}",
        "time": f"{results['minutes']:.0f} minutes on {results['device']}",
    }
    if "command" in results:
        facts["made by"] = as_code(results["command"])
    table = []
    after, before = results["held_out"], results["held_out_before"]
    if after:
        table = ["| on subjects held out | before | after |", "|---|---:|---:|"]
        table.append(
            "| squared distance from the routed layers, over their square | "
            f"{before['eval_route_error']:.3f} | {after['eval_route_error']:.3f} |"
        )
        for key, score in _scores(after).items():
            table.append(
                f"| balanced accuracy of its head: {for_markdown(key)} | {_scores(before)[key]:.3f} | {score:.3f} |"
            )
        table += ["", "![held-out terms and scores](held_out.png)"]
    text = _CARD.format(
        metadata=yaml.safe_dump(metadata, sort_keys=False),
        name=name,
        title=for_markdown(name.rstrip("/").rsplit("/", 1)[-1]),
        parameters=sum(parameter.numel() for parameter in student.parameters()),
        teacher=for_markdown(results["teacher"]),
        sources="\n".join(listed),
        left_out=f"\nLeft out, so that it can be tried on them: {', '.join(map(for_markdown, left_out))}.\n"
        if left_out
        else "",
        training="\n".join(
            ["| | |", "|---|---|", *(f"| {key} | {for_markdown(value)} |" for key, value in facts.items())]
        ),
        errors="\n".join(table),
        rights=f"## What you may do with it\n\n{rights_text(licences)}\n\n" if licences else "",
        band=band,
        patch=student.config.patch_size / student.config.sfreq,
        sfreq=student.config.sfreq,
        version=__version__,
    )
    return save_model_card(ModelCard(mark_generated(text)), folder)


__all__ = ["plot_backbone_curves", "write_backbone_card"]
