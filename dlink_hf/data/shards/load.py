# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Windows from shards: streamed, so that neither memory nor disk need hold the corpus, or as a dataset with rows."""

import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

from datasets import Dataset, DatasetInfo, IterableDataset, NamedSplit
from datasets.iterable_dataset import ArrowExamplesIterable
from fsspec.core import url_to_fs
from tqdm.auto import tqdm

from ...core.checks import first_names
from ..cache import default_cache_dir, load_windows, write_windows
from .manifest import SUFFIXES, ShardManifest
from .reading import ADVICE, shard_tables


_HASH_BYTES = 8 * 2**20


def load_shards(
    path: str | Path,
    split: str = "train",
    *,
    storage_options: dict[str, Any] | None = None,
    verify: str = "size",
    streaming: bool = True,
    cache_dir: str | Path | None = None,
) -> IterableDataset | Dataset:
    """Return the windows of a folder that `prepare_shards` wrote, streamed from wherever it lies.

    Shuffle with the dataset's own `.shuffle(seed=..., buffer_size=...)`: it mixes the order of the shards, ten shards
    at a time and the buffer's rows; `.set_epoch(n)` draws the next order. `datasets.distributed.split_dataset_by_node`
    and the workers of a `DataLoader` share out whole shards (nodes do where their number divides that of the shards,
    `num_shards`; else every node reads all and keeps its part of the rows). Memory does not grow with the corpus; a
    buffer takes about five times its rows' windows, in each worker.

    In mid-epoch a stream goes on exactly where it stopped by `state_dict()` and `load_state_dict()`, where it is not
    shuffled by a buffer. With a buffer, whose contents no state holds, pass over what was seen: the same seed, epoch
    and number of workers give the same order, so what follows the first n rows (or batches, as a Trainer passes over
    them) are the windows that are left, none twice and none lost. (Not by the dataset's own `.skip`, which keeps the
    order of the shards from changing with the epoch.) For a Trainer see also [`sized`].

    Args:
        path: The folder: a path, or any URL that fsspec knows (`hf://datasets/user/name`, `s3://...`, `https://...`).
        split: "train", "validation" or "test", as far as they were made.
        storage_options: For fsspec: keys, tokens.
        verify: What is compared with the manifest before the first row: "size" that each shard is there and of its
            size, and that there are no others; "hash" also the contents, which are all read for it; or "none".
            Whatever it is, checksums within the files are compared while they are read.
        streaming: Whether rows are read as they are asked for. Otherwise all are copied to the cache, once, and the
            dataset has numbered rows.
        cache_dir: For that: where; None takes the user's cache.

    Returns:
        Rows in torch format as those of `build_dataset`: `input_values` (C, T) float32 in microvolts, `labels` (unless
        there are none), `subject`, `recording`, `onset` (seconds), and `row`, the window's number in the whole corpus.
        `signal_info` and `signal_fields` read its facts.

    Raises:
        FileNotFoundError: If there is no manifest, or a shard that it names is not there.
        OSError: While reading, if a shard is damaged or can't be read; the message names it.
        ValueError: If there is no such split, or a shard has another size or contents, or is not in the manifest.
    """
    if verify not in ("size", "hash", "none"):
        raise ValueError(f"verify={verify!r} is unknown; choose 'size', 'hash' or 'none'.")
    root = str(path)
    manifest = ShardManifest.read(root, storage_options)
    shards = manifest.shards(split)
    # which subjects are in a shard is of no use to a reader
    brief = [{"name": shard["name"], "windows": shard["windows"]} for shard in shards]
    if verify != "none":
        _check_sizes(root, manifest, storage_options, split)
    if verify == "hash":
        _check_hashes(root, shards, storage_options, progress=False)
    names = None if manifest.label_names is None else tuple(manifest.label_names)
    source = {
        "root": root,
        "storage_options": storage_options,
        "format": manifest.format,
        "features": manifest.features(),
        "label_names": names,
        "signal": json.dumps(manifest.signal()),
    }
    if not streaming:
        return _as_rows(shards, source, manifest, split, cache_dir)
    info = DatasetInfo(features=manifest.features(), description=manifest.description())
    examples = ArrowExamplesIterable(shard_tables, {"shards": brief, **source})
    return IterableDataset(examples, info=info, split=NamedSplit(split)).with_format("torch")


class _SizedStream(IterableDataset):
    """A stream that knows how many rows it has."""

    def __init__(self, stream: IterableDataset, n_rows: int):
        self.__dict__.update(stream.__dict__)
        self._n_rows = n_rows

    def __len__(self) -> int:
        return self._n_rows


def sized(stream: IterableDataset, n_rows: int) -> IterableDataset:
    """Return a stream with a length, without which a Trainer takes all its steps for one epoch.

    A Trainer that resumes behind the first epoch passes over batches of the wrong one then, and sees windows twice.
    With a length it also knows what `num_train_epochs` means. Give it what comes out of `shuffle`, `map` and so on,
    which would lose the length again.

    Args:
        stream: What is trained on.
        n_rows: Its rows, for all windows of a split `n_windows(path, split)`.

    Returns:
        The same rows.
    """
    return _SizedStream(stream, n_rows)


def _as_rows(
    shards: list[dict[str, Any]],
    source: dict[str, Any],
    manifest: ShardManifest,
    split: str,
    cache_dir: str | Path | None,
) -> Dataset:
    """The rows of shards in the cache, memory-mapped; found again by what was read, not by what a manifest claims."""
    fs, path = url_to_fs(source["root"], **(source["storage_options"] or {}))
    facts: dict[str, Any] = {"signal": manifest.signal(), "shards": [shard["sha256"] for shard in shards]}
    is_local = "file" in ((fs.protocol,) if isinstance(fs.protocol, str) else fs.protocol)
    if not is_local:
        # reading all of it at every call would make the cache useless: by its address and what the server tells of it
        facts["from"] = [source["root"], [str(fs.ukey(f"{path.rstrip('/')}/{shard['name']}")) for shard in shards]]
    name = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]
    cache = default_cache_dir() if cache_dir is None else Path(cache_dir).expanduser()
    folder = cache / f"shards-{name}"
    if is_local or not folder.is_dir():
        _check_hashes(source["root"], shards, source["storage_options"], progress=False)
    dataset = load_windows(folder)
    if dataset is None:
        features = manifest.features()
        batches = (table_columns(table) for _, table in shard_tables(shards, **source))
        dataset = write_windows(folder, batches, features, manifest.description)
    return dataset.with_format("torch")


def table_columns(table: Any) -> dict[str, Any]:
    """Return the columns of a table of windows; `input_values` (N, C, T) as an array, the others as lists."""
    windows = table.column("input_values").combine_chunks()
    windows = windows.chunk(0) if hasattr(windows, "num_chunks") else windows
    values = windows.storage.flatten().flatten().to_numpy().reshape(len(table), *windows.type.shape)
    others = [name for name in table.column_names if name != "input_values"]
    return {"input_values": values, **{name: table.column(name).to_pylist() for name in others}}


def label_counts(
    path: str | Path, split: str = "train", storage_options: dict[str, Any] | None = None
) -> dict[str, int]:
    """Return the windows of each label, from the manifest only: for class weights without a pass over the data."""
    return ShardManifest.read(str(path), storage_options).label_counts(split)


def n_windows(path: str | Path, split: str | None = None, storage_options: dict[str, Any] | None = None) -> int:
    """Return the number of windows of a split, or of all, from the manifest only."""
    return ShardManifest.read(str(path), storage_options).n_windows(split)


def check_shards(
    path: str | Path, *, storage_options: dict[str, Any] | None = None, progress: bool = True
) -> ShardManifest:
    """Read and hash every shard of a folder and compare with its manifest.

    Args:
        path: The folder, a path or URL as in `load_shards`.
        storage_options: For fsspec.
        progress: Whether to show a bar.

    Returns:
        The manifest, if all is as it says.

    Raises:
        FileNotFoundError: If there is no manifest, or a shard is not there.
        ValueError: If a shard has another size or contents, or is not in the manifest; the message names all of them.
    """
    manifest = ShardManifest.read(str(path), storage_options)
    _check_sizes(str(path), manifest, storage_options)
    _check_hashes(str(path), manifest.shards(), storage_options, progress)
    _check_facts(str(path), manifest, storage_options, progress)
    return manifest


def _check_facts(root: str, manifest: ShardManifest, storage_options: dict[str, Any] | None, progress: bool) -> None:
    """Compare what the manifest tells of each shard with its rows."""
    names = manifest.label_names
    signal, others = json.dumps(manifest.signal()), (manifest.format, manifest.features())
    for shard in tqdm(manifest.shards(), desc="reading shards", unit="shard", disable=not progress, delay=1):
        found: dict[str, Counter] = {"labels": Counter(), "subjects": Counter(), "recordings": Counter()}
        labels = None if names is None else tuple(names)
        for _, table in shard_tables([shard], root, storage_options, *others, labels, signal):
            for field, column in (("labels", "labels"), ("subjects", "subject"), ("recordings", "recording")):
                if column in table.column_names:
                    found[field].update(table.column(column).to_pylist())
        counted = {name: found["labels"][index] for index, name in enumerate(names or ())}
        told = {name: shard["labels"].get(name, 0) for name in names or ()}
        pairs: list[tuple[str, Any, Any]] = [("labels", told, counted)]
        pairs += [(field, sorted(shard[field]), sorted(found[field])) for field in ("subjects", "recordings")]
        for field, said, read in pairs:
            if said != read:
                raise ValueError(
                    f"the manifest of {root} says of {shard['name']} that its {field} are {said}; in it are {read}. "
                    f"{ADVICE}."
                )


def _check_sizes(
    root: str, manifest: ShardManifest, storage_options: dict[str, Any] | None, split: str | None = None
) -> None:
    fs, folder = url_to_fs(root, **(storage_options or {}))
    folder = folder.rstrip("/")
    try:
        listed = fs.ls(f"{folder}/data", detail=True, refresh=True)
    except Exception:
        # a server need not list its folders, and each kind refuses in a way of its own; then one by one
        listed = []
    sizes = {Path(entry["name"].rstrip("/")).name: entry.get("size") for entry in listed}
    missing, other = [], []
    for shard in manifest.shards(split):
        size = sizes.get(Path(shard["name"]).name)
        if size is None:
            try:
                size = fs.info(f"{folder}/{shard['name']}").get("size")
            except FileNotFoundError:
                missing.append(shard["name"])
                continue
        # None: a server that does not say
        if size is not None and size != shard["bytes"]:
            other.append(f"{shard['name']} has {size} bytes instead of {shard['bytes']}")
    if missing:
        raise FileNotFoundError(
            f"{first_names(missing)} that the manifest names {'are' if len(missing) > 1 else 'is'} not in {root}. "
            "Copy what is missing, or run `dlink prepare` again with the same settings, which makes it."
        )
    if other:
        raise ValueError(f"in {root}, {first_names(other)}. {ADVICE}.")
    known = {Path(shard["name"]).name for shard in manifest.shards()}
    strange = sorted(name for name in set(sizes) - known if name.endswith(SUFFIXES[manifest.format]))
    if strange:
        raise ValueError(
            f"{root}/data holds {first_names(strange)}, which the manifest does not know: shards of another run. Take "
            "them out, or run `dlink prepare` into an empty folder."
        )


def _check_hashes(
    root: str, shards: list[dict[str, Any]], storage_options: dict[str, Any] | None, progress: bool
) -> None:
    fs, folder = url_to_fs(root, **(storage_options or {}))
    damaged = []
    for shard in tqdm(shards, desc="checking shards", unit="shard", disable=not progress, delay=1):
        digest = hashlib.sha256()
        with fs.open(f"{folder.rstrip('/')}/{shard['name']}", "rb") as file:
            while block := file.read(_HASH_BYTES):
                digest.update(block)
        if digest.hexdigest() != shard["sha256"]:
            damaged.append(shard["name"])
    if damaged:
        raise ValueError(
            f"in {root}, {first_names(damaged)} is damaged: its contents are not those written. {ADVICE}."
        )


__all__ = ["ShardManifest", "check_shards", "label_counts", "load_shards", "n_windows", "sized"]
