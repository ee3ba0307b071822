# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""JSON files that are complete or not there."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..files import staged


def write_json(path: Path, value: Any) -> Path:
    """Write JSON under a temporary name, then rename it; NaN becomes null."""
    with staged(path.parent) as partial:
        (partial / path.name).write_text(json.dumps(_jsonable(value), indent=2) + "\n", encoding="utf-8")
    return path


def _jsonable(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _jsonable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_jsonable(item) for item in value]
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value


__all__ = ["write_json"]
