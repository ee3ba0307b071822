# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""A manifest is somebody's claim: every field is checked by type and range before anything is opened by it."""

import math
import re
from collections.abc import Callable
from typing import Any


_SHARD = re.compile(r"data/[A-Za-z0-9][A-Za-z0-9._-]*")
_MOST_CHANNELS, _MOST_LABELS, _MOST_SAMPLES, _MOST_SHARDS = 1024, 10_000, 10_000_000, 1_000_000


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**60


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _are_names(value: Any, most: int) -> bool:
    return _are_texts(value) and 0 < len(value) <= most and len(set(value)) == len(value) and all(value)


def _is_number(value: Any, most: float) -> bool:
    return type(value) in (int, float) and math.isfinite(value) and 0 < value <= most


# field -> (what it may be, and in words); those that a manifest may lack have defaults in the class
_FIELDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "fingerprint": (lambda v: isinstance(v, str), "text"),
    "settings": (lambda v: isinstance(v, dict), "an object"),
    "format": (lambda v: v in ("parquet", "webdataset"), "'parquet' or 'webdataset'"),
    "dtype": (lambda v: v in ("float32", "float16"), "'float32' or 'float16'"),
    "ch_names": (lambda v: _are_names(v, _MOST_CHANNELS), "a list of 1 to 1,024 different names"),
    "sfreq": (lambda v: _is_number(v, 1e6), "a rate in hertz above 0, at most 1e6"),
    "n_times": (lambda v: _is_count(v) and 0 < v <= _MOST_SAMPLES, "a whole number of samples, 1 to 10,000,000"),
    "label_names": (lambda v: v is None or _are_names(v, _MOST_LABELS), "null or a list of different names"),
    "splits": (lambda v: isinstance(v, dict), "an object: split to its shards"),
    "skipped": (lambda v: isinstance(v, list), "a list"),
    "report": (lambda v: isinstance(v, dict), "an object"),
    "unit": (lambda v: v == "uV", "'uV'"),
    "version": (_is_count, "a whole number"),
}
_OPTIONAL = {"skipped", "report", "unit", "version"}
_OF_SHARD: dict[str, tuple[Callable[[Any], bool], str]] = {
    "sha256": (lambda v: isinstance(v, str) and bool(re.fullmatch("[0-9a-f]{64}", v)), "64 hexadecimal digits"),
    "bytes": (_is_count, "a number of bytes"),
    "windows": (_is_count, "a number of windows"),
    "labels": (lambda v: isinstance(v, dict) and all(map(_is_count, v.values())), "an object: label to its windows"),
    "subjects": (_are_texts, "a list of texts"),
    "recordings": (_are_texts, "a list of texts"),
}


def check_manifest(facts: dict[str, Any], suffixes: dict[str, str], where: str) -> None:
    """Refuse a manifest whose fields are not of the types and ranges that `prepare_shards` writes.

    Args:
        facts: What `manifest.json` holds, without its totals.
        suffixes: Format to the ending of its shards.
        where: The file, for the message.

    Raises:
        ValueError: A field is; the message names file and field.
    """
    _check_fields(facts, _FIELDS, where, _OPTIONAL, strict=True)
    names = []
    for split, shards in facts["splits"].items():
        place = f"splits[{split!r}]"
        if not isinstance(shards, list) or len(shards) > _MOST_SHARDS:
            raise _refused(where, place, shards, "a list of shards")
        for number, shard in enumerate(shards):
            inner = f"{place}[{number}]"
            if not isinstance(shard, dict):
                raise _refused(where, inner, shard, "an object")
            name = shard.get("name")
            stays = isinstance(name, str) and _SHARD.fullmatch(name) and ".." not in name
            if not stays or not name.endswith(suffixes[facts["format"]]):
                expected = f"a path 'data/...{suffixes[facts['format']]}' in the folder"
                raise _refused(where, f"{inner}.name", name, expected)
            _check_fields(shard, _OF_SHARD, where, set(), strict=False, inside=f"{inner}.")
            names.append(name)
            _check_labels(facts["label_names"], shard, where, inner)
    twice = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
    if twice:
        raise _refused(where, "splits", twice, "shards of different names")


def _check_labels(label_names: list[str] | None, shard: dict[str, Any], where: str, inner: str) -> None:
    counts = shard["labels"]
    if label_names is None:
        return
    strange = sorted(set(counts) - set(label_names))
    if strange:
        raise _refused(where, f"{inner}.labels", strange, f"among `label_names`, {label_names[:20]}")
    if sum(counts.values()) != shard["windows"]:
        raise _refused(where, f"{inner}.labels", counts, f"as many in all as `windows`, {shard['windows']}")


def _check_fields(
    facts: dict[str, Any],
    rules: dict[str, tuple[Callable[[Any], bool], str]],
    where: str,
    optional: set[str],
    *,
    strict: bool,
    inside: str = "",
) -> None:
    missing = sorted(set(rules) - optional - set(facts))
    if missing:
        raise ValueError(f"{where} is damaged: it lacks {', '.join(inside + name for name in missing)}. {_ADVICE}")
    unknown = sorted(set(facts) - set(rules)) if strict else []
    if unknown:
        raise ValueError(f"{where} is damaged: no field is called {unknown[0]!r}. {_ADVICE}")
    for name, (is_good, expected) in rules.items():
        if name in facts and not is_good(facts[name]):
            raise _refused(where, inside + name, facts[name], expected)


def _refused(where: str, field: str, value: Any, expected: str) -> ValueError:
    given = repr(value)
    given = given if len(given) <= 200 else f"{given[:200]}..."
    return ValueError(f"{where} is damaged: `{field}` must be {expected}, got {given}. {_ADVICE}")


_ADVICE = "Copy it again, or delete it and run `dlink prepare` again."

__all__ = ["check_manifest"]
