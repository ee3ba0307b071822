# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""`people.json`, the subjects that a checkpoint has seen, and lists of the same form, checked before use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .fetch import read_json


_ADVICE = "Copy it again, or download it again."


def read_people(path: Path) -> dict[str, Any]:
    """Return what a file of subjects holds.

    That is `source` and `group_column`, texts; lists of subjects by split; and `pretraining`, a list of objects with
    the same. Or, for each set of recordings, an object with lists of subjects by split.

    Raises:
        ValueError: It holds something else; the message names file and field.
    """
    people = read_json(path)
    _check(people, str(path), "")
    entries = people.get("pretraining", [])
    if not isinstance(entries, list):
        raise ValueError(f"{path}: `pretraining` must be a list, got {type(entries).__name__}. {_ADVICE}")
    for number, entry in enumerate(entries):
        field = f"pretraining[{number}]"
        if not isinstance(entry, dict):
            raise ValueError(f"{path}: `{field}` must be an object, got {type(entry).__name__}. {_ADVICE}")
        for name in {"source", "people"} - set(entry):
            raise ValueError(f"{path}: `{field}` lacks {name!r}. {_ADVICE}")
        _check(entry, str(path), f"{field}.")
    if "source" in people and "group_column" not in people:
        raise ValueError(f"{path}: `group_column` is missing. {_ADVICE}")
    return people


def _check(people: dict[str, Any], where: str, inside: str) -> None:
    """Texts are texts, lists hold texts, and objects hold lists of them."""
    for name, value in people.items():
        field = f"{inside}{name}"
        if name == "pretraining" and not inside:
            continue
        if name in ("source", "group_column"):
            if not isinstance(value, str | None):
                raise ValueError(f"{where}: `{field}` must be text, got {type(value).__name__}. {_ADVICE}")
        elif isinstance(value, dict) and not inside:
            for split, listed in value.items():
                if isinstance(listed, list | dict):
                    _check_list(listed, where, f"{field}.{split}")
        elif isinstance(value, list) or name in ("train", "validation", "test", "people", "chosen_by"):
            _check_list(value, where, field)


def _check_list(listed: Any, where: str, field: str) -> None:
    if not isinstance(listed, list) or not all(isinstance(person, str) for person in listed):
        given = repr(listed)
        raise ValueError(f"{where}: `{field}` must be a list of subjects as text, got {given[:100]}. {_ADVICE}")


__all__ = ["read_people"]
