# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""The card of what is published besides classifiers: a teacher, a student without a head, a router, a studio."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from huggingface_hub import ModelCard, ModelCardData

from .._version import __version__
from ..core.licences import licence_of_result
from ..core.text import for_markdown, literal
from .card_merging import mark_generated
from .model_card import LIMITS, environment_text, markdown_table
from .rights import licences_in, rights_text


# type of a model -> what it is, and tags of its card
_KINDS = {
    "dlink_teacher": (
        "A teacher of `dlink_hf`: {backbone}, a foundation model of EEG, as it is distilled from.",
        ("eeg-foundation-model", "teacher"),
    ),
    "dlink_mic": (
        "A compact EEG student of `dlink_hf` without a head: it is to be fine-tuned, and tells nothing apart yet.",
        ("eeg-backbone",),
    ),
    "dlink_router": (
        "A router of `dlink_hf`: it weighs the layers of a teacher while a student is distilled.",
        ("router",),
    ),
    "dlink_studio": (
        "A studio of `dlink_hf`: teacher, router and student together, as a distillation is taken up again from.",
        ("knowledge-distillation",),
    ),
}
_ORIGIN = "This card was made only from the config: what the weights were trained on is for whoever made them to say."


def build_part_card(config: Mapping[str, Any], *, name: str, model_id: str) -> ModelCard:
    """Write the card of a model that is not a student's classifier, from its config.

    Args:
        config: content of config.json.
        name: heading of the card.
        model_id: what `from_pretrained` takes in the snippet.

    Returns:
        `huggingface_hub.ModelCard`. It claims no licence but that of the published weights which the config names.
    """
    what, tags = _KINDS.get(str(config.get("model_type")), ("A model of `dlink_hf`.", ()))
    class_name = str((config.get("architectures") or ["AutoModel"])[0])
    class_name = class_name if class_name.isidentifier() else "AutoModel"
    licences = licences_in(config)
    own = licence_of_result(licences) if licences else {}
    metadata = ModelCardData(library_name="dlink_hf", tags=["dlink_hf", "eeg", *tags], **own)
    parts = [
        f"# {for_markdown(name)}",
        what.format(backbone=for_markdown(config.get("backbone", "a network"))),
        _ORIGIN,
    ]
    if rows := _contract(config):
        parts += ["## What it takes", markdown_table(["", ""], rows)]
    package = "transformers" if class_name == "AutoModel" else "dlink_hf"
    usage = f"from {package} import {class_name}\n\nmodel = {class_name}.from_pretrained({literal(model_id)})"
    parts += ["## Use", f"```python\n{usage}\n```"]
    if licences:
        parts += ["## What you may do with it", rights_text(licences)]
    parts += ["## Limits", "\n".join(f"- {limit}" for limit in (LIMITS[0], LIMITS[-1]))]
    parts += ["## Environment", environment_text(None), f"Made with dlink_hf {__version__}."]
    body = "\n\n".join(parts)
    return ModelCard(mark_generated(f"---\n{metadata.to_yaml()}\n---\n{body}\n"))


def _contract(config: Mapping[str, Any]) -> list[list[Any]]:
    """Rows of the table of what a model takes, as far as its config says so."""
    rows: list[list[Any]] = []
    if names := config.get("ch_names"):
        rows.append(["channels", f"{len(names)}: {', '.join(names)}"])
    if sfreq := config.get("sfreq"):
        rows.append(["sampling rate", f"{float(sfreq):g} Hz"])
        if n_times := config.get("n_times"):
            rows.append(["window", f"{n_times} samples, {n_times / float(sfreq):g} s; microvolts"])
    # a classifier names its classes; a backbone's two nameless ones are transformers' default
    labels = [str(label) for label in (config.get("id2label") or {}).values()]
    if labels and not all(label.startswith("LABEL_") for label in labels):
        rows.append(["labels", ", ".join(labels)])
    return rows


__all__ = ["build_part_card"]
