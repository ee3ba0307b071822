# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""The student's code beside its weights, for those who have transformers and torch but not this package."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

from .files import staged
from .hub_files import read_json


# what the student needs of this package; they import one another, torch and transformers alone
TRAVELLING = (
    *("modeling_mic", "mic_layers", "mic_inference", "modeling_base", "configuration_mic", "configuration_base"),
    *("global_batch", "checkpoint_names", "electrodes", "files", "hub_files"),
)
# transformers' own task class that is nearest: `input_values` of a signal in, logits of classes out
NEAREST_TASK = "AutoModelForAudioClassification"


def add_remote_code(folder: str | os.PathLike) -> list[str]:
    """Put the student's code into a checkpoint's folder, and name its classes in `auto_map` of config.json.

    `AutoModel` then gives the class that was saved: of a student with a head the classifier.

    Args:
        folder: of a saved student.

    Returns:
        names of the files added.

    Raises:
        ValueError: there is no student in the folder; other models need this package.
    """
    folder = Path(folder)
    path = folder / "config.json"
    fields = read_json(path) if path.is_file() else {}
    if fields.get("model_type") != "dlink_mic":
        raise ValueError(
            f"{folder} holds a model of type {fields.get('model_type')!r}. Code can travel with a student alone "
            "('dlink_mic'): other models are loaded by those who have dlink_hf. Leave out `remote_code`."
        )
    is_classifier = "MiCForEEGClassification" in (fields.get("architectures") or ())
    classes = {"AutoModel": f"modeling_mic.{'MiCForEEGClassification' if is_classifier else 'MiCModel'}"}
    if is_classifier:
        classes[NEAREST_TASK] = "modeling_mic.MiCForEEGClassification"
    fields["auto_map"] = {"AutoConfig": "configuration_mic.MiCConfig", **classes}
    names = [f"{name}.py" for name in TRAVELLING]
    for name in names:
        shutil.copyfile(Path(__file__).with_name(name), folder / name)
    # last: a folder whose config names code that is not there would not load
    _write_config(folder, fields)
    return names


def remove_remote_code(folder: str | os.PathLike) -> None:
    """Take `auto_map` out of config.json, for a folder that is published without code."""
    fields = read_json(Path(folder, "config.json"))
    if fields.pop("auto_map", None) is not None:
        _write_config(Path(folder), fields)


def _write_config(folder: Path, fields: dict[str, Any]) -> None:
    with staged(folder) as partial:
        text = json.dumps(fields, indent=2, sort_keys=True) + "\n"
        (partial / "config.json").write_text(text, encoding="utf-8")


__all__ = ["NEAREST_TASK", "TRAVELLING", "add_remote_code", "remove_remote_code"]
