# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""What a folder of shards holds: `manifest.json`, next to the shards on a disk, a server or the Hub."""

import json
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

from datasets import Array2D, ClassLabel, Features, Value
from fsspec.core import url_to_fs

from ...core.fetch import parse_json
from ..description import SignalInfo, describe
from .manifest_checks import check_manifest


MANIFEST_NAME = "manifest.json"
MANIFEST_VERSION = 1
SUFFIXES = {"parquet": ".parquet", "webdataset": ".tar"}


@dataclass(frozen=True)
class ShardManifest:
    """The facts of a folder that `prepare_shards` wrote.

    Args:
        fingerprint: Names the plan: equal recordings, settings and versions give equal fingerprints.
        settings: What the plan was made with.
        format: "parquet" or "webdataset".
        dtype: Of the stored samples, "float32" or "float16"; given are always float32.
        ch_names: The C channels, in the order of `input_values`.
        sfreq: Sampling rate in hertz.
        n_times: Samples T of a window.
        label_names: The labels in the order of their numbers; None where windows have none.
        splits: Name of the split to its shards: `name` (path in the folder), `sha256`, `bytes`, `windows`, `labels`
            (windows of each), `subjects`, `recordings`, `rejected_amplitude`, `skipped`.
        skipped: Recordings that could not be used, `recording` and `reason`.
        report: What was counted on the way, as `build_report` gives it.
        unit: Of the samples.
        version: Of this format.
    """

    fingerprint: str
    settings: dict[str, Any]
    format: str
    dtype: str
    ch_names: list[str]
    sfreq: float
    n_times: int
    label_names: list[str] | None
    splits: dict[str, list[dict[str, Any]]]
    skipped: list[dict[str, str]] = field(default_factory=list)
    report: dict[str, Any] = field(default_factory=dict)
    unit: str = "uV"
    version: int = MANIFEST_VERSION

    @classmethod
    def read(cls, path: str, storage_options: dict[str, Any] | None = None) -> "ShardManifest":
        """Read the manifest of a folder.

        Args:
            path: The folder: a path, or any URL that fsspec knows (`hf://datasets/user/name`, `s3://...`).
            storage_options: For fsspec: keys, tokens.

        Returns:
            The manifest.

        Raises:
            FileNotFoundError: If there is none; its preparation may not be complete.
            ValueError: If it is damaged, or of another version of the format.
        """
        fs, root = url_to_fs(str(path), **(storage_options or {}))
        where = f"{root.rstrip('/')}/{MANIFEST_NAME}"
        try:
            content = fs.cat_file(where)
        except FileNotFoundError as error:
            raise FileNotFoundError(
                f"there is no {MANIFEST_NAME} in {path}: it is not a folder of shards, or its preparation was not "
                "finished. Run `dlink prepare` again with the same settings: it makes what is missing."
            ) from error
        try:
            facts = parse_json(content, where)
        except ValueError as error:
            raise ValueError(
                f"{where} is damaged ({error}). Copy it again, or delete it and run `dlink prepare` again."
            ) from error
        version = facts.get("version", MANIFEST_VERSION)
        if version != MANIFEST_VERSION:
            raise ValueError(
                f"{where} was written in version {version!r} of the format, read is version {MANIFEST_VERSION}: take "
                "the dlink_hf that wrote it, or prepare again."
            )
        facts.pop("totals", None)
        check_manifest(facts, SUFFIXES, where)
        return cls(**facts)

    def to_json(self) -> str:
        """Return the text of `manifest.json`."""
        return json.dumps({**asdict(self), "totals": self.totals()}, indent=1) + "\n"

    def shards(self, split: str | None = None) -> list[dict[str, Any]]:
        """Return the facts of a split's shards, or of all.

        Raises:
            ValueError: If there is no such split.
        """
        if split is None:
            return [shard for shards in self.splits.values() for shard in shards]
        if split not in self.splits:
            raise ValueError(f"there is no split {split!r}; there are {', '.join(self.splits)}.")
        return self.splits[split]

    def n_windows(self, split: str | None = None) -> int:
        """Return the number of windows of a split, or of all."""
        return sum(shard["windows"] for shard in self.shards(split))

    def hours(self, split: str | None = None) -> float:
        """Length of a split's windows together, or of all, in hours."""
        return self.n_windows(split) * self.n_times / self.sfreq / 3600

    def label_counts(self, split: str | None = None) -> dict[str, int]:
        """Return the windows of each label of a split, or of all; empty where windows have no labels."""
        counts: Counter = Counter()
        for shard in self.shards(split):
            counts.update(shard["labels"])
        return {name: counts[name] for name in self.label_names or []}

    def subjects(self, split: str | None = None) -> list[str]:
        """Return the subjects of a split, or all."""
        return sorted({subject for shard in self.shards(split) for subject in shard["subjects"]})

    def totals(self) -> dict[str, Any]:
        """Of each split its shards, bytes, windows, hours, subjects and windows of each label."""
        return {
            split: {
                "shards": len(shards),
                "bytes": sum(shard["bytes"] for shard in shards),
                "windows": self.n_windows(split),
                "hours": round(self.hours(split), 4),
                "people": len(self.subjects(split)),
                "labels": self.label_counts(split),
            }
            for split, shards in self.splits.items()
        }

    def features(self) -> Features:
        """Return the columns as `load_shards` gives them."""
        return shard_features(len(self.ch_names), self.n_times, self.label_names, "float32")

    def signal(self) -> dict[str, Any]:
        """Return what every shard says of its windows too, so that manifest and shards can't contradict each other."""
        return signal_facts(self.ch_names, self.sfreq, self.n_times, self.label_names)

    def description(self) -> str:
        """Return what `signal_info` and `build_report` read of a dataset."""
        return describe(SignalInfo(tuple(self.ch_names), float(self.sfreq), int(self.n_times)), self.report)


def signal_facts(ch_names: list[str], sfreq: float, n_times: int, label_names: list[str] | None) -> dict[str, Any]:
    """Return the facts of windows that a shard and the manifest both hold; JSON values."""
    return {
        "ch_names": list(ch_names),
        "sfreq": float(sfreq),
        "n_times": int(n_times),
        "unit": "uV",
        "label_names": None if label_names is None else list(label_names),
    }


def shard_features(n_chans: int, n_times: int, label_names: list[str] | None, dtype: str) -> Features:
    """Return the columns of a shard: `input_values` (C, T) in microvolts, `labels` unless there are none, and whence.

    Args:
        n_chans: Channels C.
        n_times: Samples T.
        label_names: The labels in the order of their numbers; None for windows without.
        dtype: "float32" or "float16".
    """
    return Features(
        {
            "input_values": Array2D(shape=(n_chans, n_times), dtype=dtype),
            **({} if label_names is None else {"labels": ClassLabel(names=list(label_names))}),
            "subject": Value("string"),
            "recording": Value("string"),
            "onset": Value("float64"),
            "row": Value("int64"),
        }
    )


__all__ = ["MANIFEST_NAME", "MANIFEST_VERSION", "SUFFIXES", "ShardManifest", "shard_features", "signal_facts"]
