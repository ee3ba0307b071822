# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""What lies next to weights and would lead a loader elsewhere: to a pickle, or to another model."""

from __future__ import annotations

import os
import re
from typing import Any

from .checks import first_names
from .fetch import HUB_OPTIONS, fetch, read_json


ADAPTER = "adapter_config.json"
_PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\.safetensors")
_MOST_PARTS = 10_000


def check_weight_files(name: str | os.PathLike | None, options: dict[str, Any]) -> None:
    """Refuse a checkpoint by whose files transformers would read anything but the safetensors files of its folder.

    Args:
        name: Folder or Hub id; None is not checked.
        options: Of `from_pretrained`; of these `HUB_OPTIONS` and `variant` are read.

    Raises:
        OSError: There is no such repository, or it can't be reached.
        ValueError: Its index of weights names another kind of file or another folder, or is not an index; or an
            adapter lies next to the weights, which transformers would load unasked.
    """
    if name is None:
        return
    name = os.fspath(name)
    hub = {key: options[key] for key in HUB_OPTIONS if options.get(key) is not None}
    if _found(name, ADAPTER, hub) is not None:
        raise ValueError(
            f"{name} holds {ADAPTER}: an adapter of peft, which transformers would apply unasked, or whose base "
            "model it would load instead. Merge it into the weights where it was trained (`merge_and_unload`) "
            f"and save those, or take {ADAPTER} out of the folder."
        )
    variant = f".{options['variant']}" if options.get("variant") else ""
    # the index is read only where there is no single file; of a folder both are looked at, it costs nothing
    if not os.path.isdir(name) and _found(name, f"model{variant}.safetensors", hub) is not None:
        return
    path = _found(name, f"model.safetensors.index{variant}.json", hub)
    if path is not None:
        check_index(read_json(path), str(path))


def check_index(index: dict[str, Any], where: str) -> None:
    """Refuse an index of sharded weights that names anything but safetensors files of its own folder.

    Args:
        index: What the JSON file holds.
        where: The file, for the message.

    Raises:
        ValueError: It does.
    """
    parts = index.get("weight_map")
    if not isinstance(parts, dict) or not parts:
        raise ValueError(f"{where}: `weight_map` must be an object, tensor to file, got {type(parts).__name__}.")
    files = set(map(str, parts.values()))
    strange = sorted(file for file in files if not _PART.fullmatch(file) or ".." in file)
    if strange or not all(isinstance(file, str) for file in parts.values()):
        raise ValueError(
            f"{where}: `weight_map` names {first_names(map(repr, strange or sorted(files)))}. Weights are read only "
            "from .safetensors files of the same folder: another kind may be a pickle, which runs any code."
        )
    if len(files) > _MOST_PARTS:
        raise ValueError(f"{where}: `weight_map` names {len(files)} files, expected at most {_MOST_PARTS}.")


def _found(name: str, filename: str, hub: dict[str, Any]) -> Any:
    """A file of a checkpoint; None where it has none, or where it can't be asked for, which the loader will tell."""
    try:
        return fetch(name, filename, hub)
    except OSError:
        return None


__all__ = ["check_index", "check_weight_files"]
