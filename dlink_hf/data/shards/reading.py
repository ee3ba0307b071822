# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""The rows of one shard, from a disk or over a network, never wrong ones: what is damaged is an error."""

import io
import json
import tarfile
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from datasets import Features
from fsspec.core import url_to_fs

from ...core.checks import MALFORMED
from .write import SIGNAL_KEY, arrow_windows, signal_digest, window_checksum


# read at once over a network
_BLOCK_BYTES = 8 * 2**20
_TAR_BATCH = 64
ADVICE = (
    "If it is damaged (`check_shards` or `dlink prepare --verify` tells), copy it again, or delete it and run `dlink "
    "prepare` again with the same settings, which makes that file again"
)


def shard_tables(
    shards: list[dict[str, Any]],
    root: str,
    storage_options: dict[str, Any] | None,
    format: str,
    features: Features,
    label_names: tuple[str, ...] | None,
    signal: str,
) -> Iterator[tuple[str, pa.Table]]:
    """Yield the rows of shards, some at a time.

    Args:
        shards: Facts of the shards, as `ShardManifest.splits` has them.
        root: URL of their folder.
        storage_options: For fsspec.
        format: "parquet" or "webdataset".
        features: Columns to deliver; samples are float32 whatever is stored.
        label_names: The labels in the order of their numbers; None for windows without. (A tuple: a list would mean
            data that processes share out among them.)
        signal: JSON of the manifest's `signal_facts`, which the shards must not contradict.

    Yields:
        A key, and a table of some rows.

    Raises:
        OSError: If a shard is not there, can't be read, or is damaged; the message names it.
    """
    # opened here, not before: a process that was forked must not use the connections of another
    fs, folder = url_to_fs(root, **(storage_options or {}))
    for shard in shards:
        where = f"{folder.rstrip('/')}/{shard['name']}"
        n_rows = 0
        try:
            with fs.open(where, "rb", block_size=_BLOCK_BYTES) as file:
                read = _parquet_tables if format == "parquet" else _tar_tables
                for number, table in enumerate(read(file, features, label_names, json.loads(signal))):
                    n_rows += len(table)
                    yield f"{shard['name']}-{number}", table
        except FileNotFoundError as error:
            raise FileNotFoundError(
                f"the shard {shard['name']} that the manifest names is not in {root}. Copy it there, or run `dlink "
                "prepare` again with the same settings, which makes what is missing."
            ) from error
        except (*MALFORMED, OSError, EOFError, tarfile.TarError, pa.ArrowException) as error:
            raise OSError(f"the shard {shard['name']} in {root} can't be read: {error}. {ADVICE}") from error
        # Arrow keeps what it has freed, a hundred MB and more while shards are shuffled, unless it is told
        pa.default_memory_pool().release_unused()
        if n_rows != shard["windows"]:
            raise OSError(
                f"the shard {shard['name']} in {root} has {n_rows} windows, and the manifest says {shard['windows']}. "
                f"{ADVICE}"
            )


def _parquet_tables(
    file: Any, features: Features, label_names: tuple[str, ...] | None, signal: dict[str, Any]
) -> Iterator[pa.Table]:
    schema = features.arrow_schema
    parquet = pq.ParquetFile(file, page_checksum_verification=True)
    own = parquet.schema_arrow
    if own.names != schema.names:
        raise ValueError(f"its columns are {own.names}, not {schema.names}")
    windows, expected = own.field("input_values").type, schema.field("input_values").type
    if getattr(windows, "shape", None) != expected.shape or windows.value_type not in ("float32", "float16"):
        raise ValueError(f"its windows are {windows}, and the manifest says {expected}")
    metadata = own.metadata or {}
    if SIGNAL_KEY in metadata:
        _check_signal(json.loads(metadata[SIGNAL_KEY]), signal)
    for group in range(parquet.num_row_groups):
        table = parquet.read_row_group(group, use_threads=False)
        arrays = [
            _single(table.column(name)) if name == "input_values" else table.column(name).combine_chunks()
            for name in schema.names
        ]
        yield pa.Table.from_arrays(arrays, schema=schema)


def _check_signal(own: dict[str, Any], signal: dict[str, Any]) -> None:
    """Compare what a shard says of its windows with the manifest; labels may be renamed there, but not reordered."""
    for field in ("ch_names", "sfreq", "n_times", "unit"):
        if own[field] != signal[field]:
            raise ValueError(f"its {field} is {own[field]}, and the manifest says {signal[field]}")
    mine, theirs = own["label_names"], signal["label_names"]
    moved = [name for place, name in enumerate(mine or ()) if name in (theirs or ()) and theirs.index(name) != place]
    if len(mine or ()) != len(theirs or ()) or moved:
        raise ValueError(f"its label_names are {mine}, and the manifest says {theirs}")


def _single(column: pa.ChunkedArray) -> pa.ExtensionArray:
    """Windows as float32."""
    chunk = column.combine_chunks()
    chunk = chunk.chunk(0) if isinstance(chunk, pa.ChunkedArray) else chunk
    n_chans, n_times = chunk.type.shape
    rows = chunk.storage.flatten()
    lengths = (pc.unique(chunk.storage.value_lengths()).to_pylist(), pc.unique(rows.value_lengths()).to_pylist())
    if len(chunk) and lengths != ([n_chans], [n_times]):
        raise ValueError(f"it has windows of {lengths[0]} channels and {lengths[1]} samples")
    if chunk.type.value_type == "float32":
        return chunk
    values = rows.flatten().to_numpy()
    return arrow_windows(values.astype(np.float32).reshape(len(chunk), *chunk.type.shape))


def _tar_tables(
    file: Any, features: Features, label_names: tuple[str, ...] | None, signal: dict[str, Any]
) -> Iterator[pa.Table]:
    rows = []
    for row in _tar_rows(file, label_names, features["input_values"].shape, signal_digest(signal)):
        rows.append(row)
        if len(rows) == _TAR_BATCH:
            yield _table(rows, features)
            rows = []
    if rows:
        yield _table(rows, features)


def _tar_rows(
    file: Any, label_names: tuple[str, ...] | None, shape: tuple[int, int], signal: str
) -> Iterator[dict[str, Any]]:
    """The windows (C, T) of a tar file; each ends with its JSON, whose checksum is that of all of it."""
    members: dict[str, bytes] = {}
    largest = {"input_values.npy": 8 * shape[0] * shape[1] + 4096, "cls": 32, "json": 2**20}
    with tarfile.open(fileobj=file, mode="r|") as tar:
        for entry in tar:
            key, _, ending = entry.name.partition(".")
            if entry.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or not key.isdecimal() or ending not in largest:
                raise ValueError(f"{entry.name!r} in it is not a plain file of a window")
            if entry.size > largest[ending] or ending in members:
                raise ValueError(f"{entry.name} in it has {entry.size} bytes, or comes twice")
            members[ending] = tar.extractfile(entry).read()
            if ending != "json":
                continue
            facts = json.loads(members["json"])
            if facts.pop("crc32") != window_checksum(members["input_values.npy"], facts):
                raise ValueError(f"the checksum of window {key} is not that of its contents")
            if facts.pop("signal", signal) != signal:
                raise ValueError(f"the channels, rate, unit or labels of window {key} are not those of the manifest")
            label = facts.pop("label", None)
            if label_names is not None:
                facts["labels"] = label_names.index(label)
            values = np.load(io.BytesIO(members["input_values.npy"]), allow_pickle=False)
            if values.shape != tuple(shape) or values.dtype not in (np.float32, np.float16):
                raise ValueError(f"window {key} is {values.shape} {values.dtype}, and the manifest says {shape}")
            yield {"input_values": values.astype(np.float32), **facts}
            members = {}
    if members:
        raise ValueError("it ends within a window")


def _table(rows: list[dict[str, Any]], features: Features) -> pa.Table:
    schema = features.arrow_schema
    arrays = [
        arrow_windows(np.stack([row[name] for row in rows]))
        if name == "input_values"
        else pa.array([row[name] for row in rows], type=schema.field(name).type)
        for name in features
    ]
    return pa.Table.from_arrays(arrays, schema=schema)


__all__ = ["ADVICE", "shard_tables"]
