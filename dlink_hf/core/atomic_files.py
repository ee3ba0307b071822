# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Files that are complete or not there, JSON among them."""

from __future__ import annotations

import errno
import json
import math
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def staged(folder: str | os.PathLike) -> Iterator[Path]:
    """A temporary folder whose files move into `folder` when the block ends; an error leaves `folder` as it was.

    Args:
        folder: where the files go; made where absent.

    Yields:
        the temporary folder, inside `folder`, so that moving is renaming.

    Raises:
        OSError: the folder can't be written.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".saving-", dir=folder) as partial:
        yield Path(partial)
        for path in sorted(Path(partial).iterdir()):
            path.replace(folder / path.name)


def write_json(path: Path, value: Any) -> Path:
    """Write JSON under a temporary name, then rename it; NaN becomes null."""
    with staged(path.parent) as partial:
        (partial / path.name).write_text(json.dumps(_jsonable(value), indent=2) + "\n", encoding="utf-8")
    return path


def is_disk_full(error: OSError) -> bool:
    """Whether an error says that no more fits on the disk, into a file or into the user's share."""
    return error.errno in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)


def damaged(name: str, error: Exception) -> ValueError:
    """Return the error for weights that are no whole safetensors file."""
    return ValueError(
        f"{name}: its weights are no whole safetensors file ({error}). The file was cut short, damaged, or is only "
        "the pointer that Git LFS leaves. Copy it again, or download it again with `force_download=True`."
    )


def _jsonable(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _jsonable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_jsonable(item) for item in value]
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value


__all__ = ["damaged", "is_disk_full", "staged", "write_json"]
