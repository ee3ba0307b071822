# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""One shard: its recordings read, filtered and cut, its windows in random order, its file whole or not there."""

import hashlib
import io
import json
import os
import shutil
import tarfile
import zlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from datasets.features.features import Array2DExtensionType

from ...core.atomic_files import is_disk_full, staged
from ...preprocessing.feature_extraction_eeg import EEGFeatureExtractor
from ..build import Plan, cut_windows
from ..build_steps import align_channels
from .manifest import shard_features, signal_facts


PROGRESS_DIR = ".progress"
# of the metadata of a Parquet file, and of the JSON of a window: the facts that the manifest holds too
SIGNAL_KEY = b"dlink_hf"
# small, so that a reader holds little of each of the shards that it mixes
_ROW_GROUP_BYTES = 2**20
# what bad recordings raise: errors of MNE's readers, and our own
_BAD_FILE = (ValueError, OSError, RuntimeError)


@dataclass(frozen=True)
class ShardPlan:
    """One file to make: its recordings, each with the number of its first window among all."""

    name: str
    seed: list[int]
    parts: list[tuple[Plan, int]]

    @property
    def n_windows(self) -> int:
        """Windows, less those that will be rejected."""
        return sum(len(plan.onsets) for plan, _ in self.parts)

    @property
    def sidecar(self) -> str:
        """Path in the folder of the file that says that the shard is whole: `.progress/train-00003.json`."""
        return f"{PROGRESS_DIR}/{Path(self.name).name.split('-of-')[0]}.json"


@dataclass(frozen=True)
class ShardSettings:
    """What all shards of a folder have in common."""

    folder: Path
    extractor: EEGFeatureExtractor
    ch_names: list[str]
    label_names: list[str] | None
    unit: str | None
    max_abs_uv: float | None
    format: str
    dtype: str
    skip_bad_files: bool

    @property
    def window_bytes(self) -> int:
        """Bytes of a window's samples."""
        return len(self.ch_names) * self.extractor.n_times * np.dtype(self.dtype).itemsize

    @property
    def signal(self) -> dict[str, Any]:
        """What a shard says of its windows besides the manifest."""
        extractor = self.extractor
        return signal_facts(self.ch_names, extractor.sfreq, extractor.n_times, self.label_names)


def write_shard(shard: ShardPlan, settings: ShardSettings) -> dict[str, Any]:
    """Make a shard and, when it is whole, its sidecar.

    Args:
        shard: What it holds.
        settings: How windows are cut and kept.

    Returns:
        The shard's facts, as `ShardManifest.splits` has them.

    Raises:
        ValueError: If a recording can't be used and is not to be skipped; the message names it.
        OSError: If there is no room; the message gives the numbers.
    """
    columns, facts = _cut(shard, settings)
    data = (settings.folder / shard.name).parent
    try:
        with staged(data) as partial:
            path = partial / Path(shard.name).name
            with open(path, "wb") as file:
                write = _write_parquet if settings.format == "parquet" else _write_tar
                write(file, columns, settings)
                # a power failure must not leave a file of the right length without its contents
                file.flush()
                os.fsync(file.fileno())
            with open(path, "rb") as file:
                facts |= {
                    "sha256": hashlib.file_digest(file, "sha256").hexdigest(),
                    "bytes": path.stat().st_size,
                }
        sidecar = settings.folder / shard.sidecar
        with staged(sidecar.parent) as partial:
            (partial / sidecar.name).write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        if is_disk_full(error):
            needed = shard.n_windows * settings.window_bytes / 1e6
            free = shutil.disk_usage(settings.folder).free / 1e6
            raise OSError(
                error.errno,
                f"there is no room for {shard.name} in {settings.folder} ({error.strerror}): it takes up to "
                f"{needed:.1f} MB, {free:.1f} MB are free. What is whole is kept, nothing half is left: free some "
                "space and run the same again, or name a folder on another disk",
            ) from error
        raise
    return facts


def _cut(shard: ShardPlan, settings: ShardSettings) -> tuple[dict[str, Any], dict[str, Any]]:
    """The columns of a shard, its rows in random order, and its facts but those of the file."""
    windows, labels, onsets, rows, people, recordings, skipped = [], [], [], [], [], [], []
    rejected = 0
    for plan, first in shard.parts:
        try:
            found, ch_names, starts = cut_windows(plan, settings.extractor, settings.unit)
            found = align_channels(found, ch_names, settings.ch_names, plan.source.name)
            keep = np.ones(len(found), dtype=bool)
            if settings.max_abs_uv is not None:
                keep = np.abs(found).max(axis=(1, 2)) <= settings.max_abs_uv
            windows.append(_stored(found if keep.all() else found[keep], settings))
        except _BAD_FILE as error:
            if not settings.skip_bad_files:
                raise ValueError(bad_file_text(plan.source.path, error)) from error
            skipped.append({"recording": plan.source.name, "reason": str(error)})
            continue
        rejected += int(np.sum(~keep))
        labels.append(plan.labels[keep])
        onsets.append(starts[keep])
        rows.append(np.arange(first, first + len(found))[keep])
        people += [plan.subject] * int(keep.sum())
        recordings += [plan.source.name] * int(keep.sum())
    shape = (0, len(settings.ch_names), settings.extractor.n_times)
    columns = {
        "input_values": np.concatenate([np.zeros(shape, settings.dtype), *windows]),
        "labels": np.concatenate([np.zeros(0, np.int64), *labels]),
        "subject": np.array(people, dtype=object),
        "recording": np.array(recordings, dtype=object),
        "onset": np.concatenate([np.zeros(0), *onsets]),
        "row": np.concatenate([np.zeros(0, np.int64), *rows]),
    }
    counts = Counter(columns["labels"].tolist())
    columns["order"] = np.random.default_rng(shard.seed).permutation(len(columns["row"]))
    facts = {
        "name": shard.name,
        "windows": len(columns["row"]),
        "labels": {name: counts[index] for index, name in enumerate(settings.label_names or [])},
        "subjects": sorted(set(people)),
        "recordings": sorted(set(recordings)),
        "rejected_amplitude": rejected,
        "skipped": skipped,
    }
    return columns, facts


def _stored(windows: np.ndarray, settings: ShardSettings) -> np.ndarray:
    """Windows in the type in which they are kept."""
    if settings.dtype == "float32":
        return windows
    largest = float(np.abs(windows).max(initial=0.0))
    if largest > np.finfo(np.float16).max:
        raise ValueError(
            f"it has a sample of {largest:.0f} uV, and float16 ends at {np.finfo(np.float16).max:.0f}: take "
            "dtype='float32', or reject such windows by max_abs_uv"
        )
    return windows.astype(np.float16)


def bad_file_text(path: Path, error: Exception) -> str:
    """Return the message of a recording that stops a run."""
    return (
        f"{path}: {error}\nWhat is whole is kept: repair the file, or take it out of the folder, or leave out such "
        "recordings with bad_files='skip' (--bad_files skip), which lists them in the manifest. Then run again."
    )


def _write_parquet(file: Any, columns: dict[str, Any], settings: ShardSettings) -> None:
    features = shard_features(len(settings.ch_names), settings.extractor.n_times, settings.label_names, settings.dtype)
    step = max(1, _ROW_GROUP_BYTES // settings.window_bytes)
    known = features.arrow_schema.metadata or {}
    schema = features.arrow_schema.with_metadata({**known, SIGNAL_KEY: json.dumps(settings.signal).encode()})
    with pq.ParquetWriter(
        file,
        schema,
        # the bytes of floats apart from each other: 18 % smaller on EEG, and no slower
        compression="zstd",
        compression_level=1,
        use_byte_stream_split=["input_values.list.element.list.element"],
        use_dictionary=["subject", "recording"],
        write_page_checksum=True,
    ) as writer:
        for start in range(0, len(columns["order"]), step):
            chosen = columns["order"][start : start + step]
            arrays = [
                arrow_windows(columns[name][chosen]) if name == "input_values" else pa.array(columns[name][chosen])
                for name in features
            ]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema), row_group_size=step)


def arrow_windows(windows: np.ndarray) -> pa.ExtensionArray:
    """(N, C, T) float16 or float32 as Arrow's Array2D, without a copy through Python lists."""
    n, n_chans, n_times = windows.shape
    values = pa.array(np.ascontiguousarray(windows).reshape(-1))
    rows = pa.ListArray.from_arrays(pa.array(np.arange(n * n_chans + 1, dtype=np.int32) * n_times), values)
    nested = pa.ListArray.from_arrays(pa.array(np.arange(n + 1, dtype=np.int32) * n_chans), rows)
    return pa.ExtensionArray.from_storage(Array2DExtensionType((n_chans, n_times), str(windows.dtype)), nested)


def _write_tar(file: Any, columns: dict[str, Any], settings: ShardSettings) -> None:
    """WebDataset: a window is three files of one name, `.npy` with its samples, `.cls` with its label, `.json`."""
    signal = signal_digest(settings.signal)
    with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for index in columns["order"]:
            samples = io.BytesIO()
            np.save(samples, columns["input_values"][index])
            facts = {name: columns[name][index] for name in ("subject", "recording")}
            facts |= {"onset": float(columns["onset"][index]), "row": int(columns["row"][index])}
            facts["signal"] = signal
            members = {"input_values.npy": samples.getvalue()}
            if settings.label_names is not None:
                members["cls"] = str(columns["labels"][index]).encode()
                facts["label"] = settings.label_names[columns["labels"][index]]
            # tar itself would not notice other contents
            facts["crc32"] = window_checksum(members["input_values.npy"], facts)
            members["json"] = json.dumps(facts).encode()
            for ending, content in members.items():
                entry = tarfile.TarInfo(f"{facts['row']:09d}.{ending}")
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))


def signal_digest(signal: dict[str, Any]) -> str:
    """Return 16 hexadecimal digits of the SHA-256 of `signal_facts`."""
    return hashlib.sha256(json.dumps(signal, sort_keys=True).encode()).hexdigest()[:16]


def window_checksum(samples: bytes, facts: dict[str, Any]) -> int:
    """CRC-32 of a window's samples and of what its JSON says besides the checksum itself."""
    text = json.dumps({name: value for name, value in facts.items() if name != "crc32"}, sort_keys=True)
    return zlib.crc32(text.encode(), zlib.crc32(samples))


__all__ = [
    "PROGRESS_DIR",
    "SIGNAL_KEY",
    "ShardPlan",
    "ShardSettings",
    "arrow_windows",
    "bad_file_text",
    "window_checksum",
]
__all__ += ["signal_digest", "write_shard"]
