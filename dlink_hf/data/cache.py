# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Windows on disk: written recording by recording, found again by fingerprint, never half there."""

import hashlib
import json
import shutil
import tempfile
import time
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
from datasets import Dataset, DatasetInfo, Features
from datasets.arrow_writer import ArrowWriter
from datasets.features.features import Array2DExtensionType

from .. import data, preprocessing
from ..core.atomic_files import is_disk_full
from ..core.environment import default_cache_dir as default_cache_dir


# Raise when the files' layout or the cutting of windows changes.
_CACHE_VERSION = 1
# Arrow counts the values of a batch in 32 bits.
_VALUES_PER_BATCH = 2**24
_LEFTOVER_SECONDS = 24 * 3600


def fingerprint_of(settings: Mapping[str, Any]) -> str:
    """Return a name for a build: equal settings, package and MNE versions give equal names.

    Args:
        settings: Everything that the windows depend on, JSON values.

    Returns:
        16 hexadecimal digits.
    """
    import mne

    from .._version import __version__

    versions = {"cache": _CACHE_VERSION, "dlink_hf": __version__, "mne": mne.__version__, "code": _code_digest()}
    everything = {**versions, **settings}
    text = json.dumps(everything, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@cache
def _code_digest() -> str:
    """A hash of the code that makes windows, so that an edited checkout does not serve what it made before.

    Raises:
        FileNotFoundError: a room's files are not next to its `__init__.py`; without them no key can be trusted.
    """
    digest = hashlib.sha256()
    for room in (preprocessing, data):
        folder = Path(room.__file__).parent
        files = sorted(folder.rglob("*.py"))
        if not files:
            raise FileNotFoundError(f"{folder} holds no source files, from which the keys of cached windows are made.")
        for path in files:
            digest.update(f"{path.relative_to(folder).as_posix()}\n".encode() + path.read_bytes())
    return digest.hexdigest()


def load_windows(folder: Path) -> Dataset | None:
    """Open the windows in a cache folder (memory-mapped), None where there are none.

    Args:
        folder: A folder that `write_windows` wrote.

    Returns:
        The dataset.

    Raises:
        ValueError: If the folder is there but can't be read.
    """
    if not folder.is_dir():
        return None
    try:
        info = DatasetInfo.from_directory(str(folder))
        return Dataset.from_file(str(folder / "windows.arrow"), info=info)
    except (OSError, ValueError, pa.ArrowInvalid) as error:
        raise ValueError(
            f"the cached windows in {folder} are damaged ({error}). Delete that folder, or build again with "
            "overwrite_cache=True."
        ) from error


def write_windows(
    folder: Path,
    batches: Iterable[Mapping[str, Any]],
    features: Features,
    describe: Any,
    overwrite: bool = False,
) -> Dataset:
    """Write batches of windows to a temporary folder next to `folder`, which is renamed to it when whole.

    Args:
        folder: The cache folder to make.
        batches: Columns of each recording; `input_values` (N, C, T) float32, the others (N,) sequences.
        features: The dataset's features.
        describe: Called without arguments after the last batch; returns the description to keep.
        overwrite: Whether an existing folder is replaced.

    Returns:
        The dataset, memory-mapped.

    Raises:
        OSError: If the disk is full or the folder can't be written; nothing is left behind.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(folder)
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.building-", dir=folder.parent))
    try:
        with ArrowWriter(features=features, path=str(temporary / "windows.arrow")) as writer:
            for batch in batches:
                _write_batch(writer, batch, features)
            writer.finalize()
        DatasetInfo(description=describe(), features=features).write_to_directory(str(temporary))
        if overwrite and folder.exists():
            # On every common system an open memory map outlives the removal of its file.
            shutil.rmtree(folder)
        try:
            temporary.replace(folder)
        except OSError:
            # Another process has finished the same build in the meantime: its windows are as good.
            if not folder.is_dir():
                raise
    except OSError as error:
        if is_disk_full(error):
            raise OSError(
                error.errno,
                f"there is no room for the windows in {folder.parent} ({error.strerror}); nothing was left there. "
                "Free some space, or name another cache_dir",
            ) from error
        raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return load_windows(folder)


def _write_batch(writer: ArrowWriter, batch: Mapping[str, Any], features: Features) -> None:
    windows = batch["input_values"]
    step = max(1, _VALUES_PER_BATCH // max(1, windows[0].size)) if len(windows) else 1
    for start in range(0, len(windows), step):
        columns = []
        for name, feature in features.items():
            values = batch[name][start : start + step]
            if name == "input_values":
                columns.append(_arrow_windows(values))
            elif isinstance(feature, datasets.ClassLabel):
                columns.append(pa.array(np.asarray(values, dtype=np.int64)))
            else:
                columns.append(pa.array(list(values), type=feature.pa_type))
        writer.write_table(pa.Table.from_arrays(columns, schema=features.arrow_schema))


def _arrow_windows(windows: np.ndarray) -> pa.ExtensionArray:
    """(N, C, T) float32 as Arrow's Array2D, without a copy through Python lists."""
    n, n_chans, n_times = windows.shape
    values = pa.array(np.ascontiguousarray(windows, dtype=np.float32).reshape(-1))
    rows = pa.ListArray.from_arrays(pa.array(np.arange(n * n_chans + 1, dtype=np.int32) * n_times), values)
    nested = pa.ListArray.from_arrays(pa.array(np.arange(n + 1, dtype=np.int32) * n_chans), rows)
    return pa.ExtensionArray.from_storage(Array2DExtensionType((n_chans, n_times), "float32"), nested)


def _remove_leftovers(folder: Path) -> None:
    """Remove what killed builds left, once it is too old to belong to a running one."""
    for leftover in folder.parent.glob(f".{folder.name}.building-*"):
        try:
            newest = max(path.stat().st_mtime for path in [leftover, *leftover.iterdir()])
            if time.time() - newest > _LEFTOVER_SECONDS:
                shutil.rmtree(leftover, ignore_errors=True)
        except OSError:
            continue
