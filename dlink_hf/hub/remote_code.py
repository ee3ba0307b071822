# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""The student's code next to its weights, for those who have transformers and torch but not this package."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

from ..core.atomic_files import staged
from ..core.fetch import read_json


# the files that a student needs: they import one another, torch, transformers and what these bring
REMOTE_CODE_FILES = (
    *("models/mic/modeling_mic.py", "models/mic/mic_layers.py", "models/mic/folded.py"),
    *("models/mic/configuration_mic.py", "models/configuration_base.py", "models/modeling_base.py"),
    *("models/task_losses.py", "models/mic/token_classification.py"),
    *("core/batch_statistics.py", "core/checkpoint_names.py", "core/electrodes.py", "core/atomic_files.py"),
    *("core/checks.py", "core/config_checks.py", "core/fetch.py", "core/text.py"),
    *("core/unlabelled.py", "core/weight_files.py"),
)
# a checkpoint's folder is flat: file names without their rooms
REMOTE_CODE_MODULES = tuple(Path(file).stem for file in REMOTE_CODE_FILES)
_RELATIVE_IMPORT = re.compile(r"^(\s*from )\.[\w.]*?(\w+)( import )", re.MULTILINE)
# transformers' own task class that is nearest: `input_values` of a signal in, logits of classes out
NEAREST_TASK = "AutoModelForAudioClassification"
# class with a head -> its module, and the task class that is nearest to it
_HEADS = {
    "MiCForEEGClassification": ("modeling_mic", NEAREST_TASK),
    "MiCForEEGRegression": ("modeling_mic", NEAREST_TASK),
    "MiCForEEGTokenClassification": ("token_classification", "AutoModelForAudioFrameClassification"),
}


def add_remote_code(folder: str | os.PathLike) -> list[str]:
    """Put the student's code into a checkpoint's folder, and name its classes in `auto_map` of config.json.

    `AutoModel` then gives the class that was saved: of a student with a head the one with its head.

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
            f"{folder} holds a model of type {fields.get('model_type')!r}. Code can travel only with a student "
            "('dlink_mic'): other models are loaded by those who have dlink_hf. Leave out `remote_code`."
        )
    saved = next((name for name in _HEADS if name in (fields.get("architectures") or ())), "MiCModel")
    module, task = _HEADS.get(saved, ("modeling_mic", None))
    classes = {"AutoModel": f"{module}.{saved}", **({} if task is None else {task: f"{module}.{saved}"})}
    fields["auto_map"] = {"AutoConfig": "configuration_mic.MiCConfig", **classes}
    names = [f"{name}.py" for name in REMOTE_CODE_MODULES]
    package = Path(__file__).parents[1]
    with staged(folder) as partial:
        for name, file in zip(names, REMOTE_CODE_FILES, strict=True):
            (partial / name).write_text(flatten_imports((package / file).read_text("utf-8")), encoding="utf-8")
    # last: a folder whose config names code that is not there would not load
    _write_config(folder, fields)
    return names


def flatten_imports(code: str) -> str:
    """Code in which every relative import is one of the same folder, the only kind that transformers resolves.

    Example:

    ```python
    >>> flatten_imports("from ...core.electrodes import canonical_name")
    'from .electrodes import canonical_name'
    ```
    """
    return _RELATIVE_IMPORT.sub(r"\1.\2\3", code)


def remove_remote_code(folder: str | os.PathLike) -> None:
    """Take `auto_map` out of config.json, for a folder that is published without code."""
    fields = read_json(Path(folder, "config.json"))
    if fields.pop("auto_map", None) is not None:
        _write_config(Path(folder), fields)


def _write_config(folder: Path, fields: dict[str, Any]) -> None:
    with staged(folder) as partial:
        text = json.dumps(fields, indent=2, sort_keys=True) + "\n"
        (partial / "config.json").write_text(text, encoding="utf-8")


__all__ = [
    "NEAREST_TASK",
    "REMOTE_CODE_FILES",
    "REMOTE_CODE_MODULES",
    "add_remote_code",
    "flatten_imports",
    "remove_remote_code",
]
