# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Files that are complete or not there."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


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
            os.replace(path, folder / path.name)


def damaged(name: str, error: Exception) -> ValueError:
    """The error for weights that are no whole safetensors file."""
    return ValueError(
        f"{name}: its weights are no whole safetensors file ({error}). The file was cut short, damaged, or is only "
        "the pointer that Git LFS leaves. Copy it again, or download it anew with `force_download=True`."
    )


__all__ = ["damaged", "staged"]
