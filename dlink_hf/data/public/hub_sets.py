# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Data sets that braindecode's `push_to_hub` put on the Hugging Face Hub, such as those of the Open EEG Bench.

The format is a Zarr store of braindecode's: one group a recording, with an array `data` of float32, a table
`metadata.tsv` of windows, and the description and MNE's Info as JSON. It is read here recording by recording, and only
after its JSON was looked at: Zarr can be told, by the file, to decode through codecs that run code (format 2 knows
pickle), and replaces chunks that are missing by zeros.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import mne
import numpy as np
import pandas as pd
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError
from mne.io.constants import FIFF

from ...core.fetch import fetch, read_json
from .braindecode_sets import (
    check_targets,
    label_codes,
    place_of,
    step_names,
    stretches,
    target_labels,
    whole_recording,
)
from .names import pick_subjects
from .recordings import PublicRecording, PublicSet


_KINDS = ("WindowsDataset", "EEGWindowsDataset", "RawDataset")
_CODECS = ("blosc", "bytes", "crc32c", "gzip", "sharding_indexed", "transpose", "zstd")
# where braindecode has put the store, newest first
_STORES = ("sourcedata/{0}/dataset.zarr", "derivatives/{0}/dataset.zarr", "dataset.zarr")


def hub_set(name: str, subjects: Any, revision: str | None, token: str | bool | None) -> PublicSet:
    """Return a data set of braindecode's format, from the Hub or a folder.

    Args:
        name: Hub id of the data set, or a folder that holds what such a repository holds.
        subjects: Those to load; None takes all. Others are not downloaded.
        revision: Branch, tag or commit.
        token: For private and gated data sets.

    Returns:
        The set; its files are here.

    Raises:
        ImportError: If zarr is not installed.
        OSError: If there is no such repository, or no connection.
        ValueError: If it is not a data set of this format, or damaged; the message says which file.
    """
    _zarr()
    hub = {"repo_type": "dataset", "revision": revision, "token": token}
    root, store = _find_store(name, hub)
    settings = read_json(root / store / "zarr.json").get("attributes", {})
    kind, count = settings.get("dataset_type"), settings.get("n_datasets")
    if kind not in _KINDS or not isinstance(count, int) or count < 1:
        raise ValueError(f"{name} holds {count!r} recordings of the kind {kind!r}; known are {', '.join(_KINDS)}.")
    if not os.path.isdir(name):
        hub["revision"] = root.name  # the commit, whatever the branch does meanwhile
        _download(name, hub, [f"{store}/**/zarr.json"])
    groups = [root / store / f"recording_{index}" for index in range(count)]
    facts = [_attributes(group, name) for group in groups]
    who = [_whose(entry, name) for entry in facts]
    if kind == "RawDataset" and not any(entry.get("target_name") for entry in facts):
        raise ValueError(
            f"{name} has no events: it holds whole recordings without a target, and push_to_hub keeps no annotations. "
            "Its author would have to cut it into windows first (create_windows_from_events)."
        )
    chosen = pick_subjects(subjects, list(dict.fromkeys(who)), name)
    rows = [index for index, subject in enumerate(who) if subject in chosen]
    if not os.path.isdir(name):
        _download(name, hub, [f"{store}/recording_{index}/*" for index in rows])
    codes = label_codes(settings.get("window_kwargs"))
    steps = step_names([*(settings.get("raw_preproc_kwargs") or []), *(settings.get("window_preproc_kwargs") or [])])
    for index in rows:
        _check_array(groups[index], kind, name)

    def recordings() -> Iterator[PublicRecording]:
        for index in rows:
            yield _recording(groups[index], kind, facts[index], codes, name)

    key = ["hub", root.name, [_state(groups[index]) for index in rows] if os.path.isdir(name) else [name, rows]]
    return PublicSet(name, key, recordings, len(rows), [codes[code] for code in sorted(codes)] or None, steps)


def _find_store(name: str, hub: dict[str, Any]) -> tuple[Path, str]:
    """The folder of the repository's files, and the path of the store in it."""
    found = fetch(name, "format_info.json", hub)
    info = {} if found is None else read_json(found)
    pipeline = info.get("pipeline_name", "braindecode")
    if info.get("format", "zarr") != "zarr" or not re.fullmatch(r"\w[\w.-]*", str(pipeline)):
        raise ValueError(
            f"{name}: its format_info.json names the format {info.get('format')!r} and the pipeline {pipeline!r}; "
            "only Zarr stores of a plainly named pipeline are read."
        )
    for store in (path.format(pipeline) for path in _STORES):
        node = fetch(name, f"{store}/zarr.json", hub)
        if node is not None:
            return node.parents[len(Path(store).parts)], store
    raise ValueError(
        f"{name} is not a data set that braindecode's push_to_hub made: it has no "
        f"{_STORES[0].format(pipeline)}/zarr.json"
        ". Of a set of another format download the recordings, and read them by build_dataset."
    )


def _download(name: str, hub: dict[str, Any], patterns: Sequence[str]) -> None:
    try:
        snapshot_download(name, allow_patterns=list(patterns), **hub)
    except (OSError, HfHubHTTPError) as error:
        raise OSError(
            f"the download of {name} broke off: {error}. Call it again; what is here already is not downloaded twice."
        ) from error


def _attributes(group: Path, name: str) -> dict[str, Any]:
    """The JSON next to a recording's samples."""
    if not (group / "zarr.json").is_file():
        raise ValueError(
            f"{name}: {group.name}/zarr.json is not here. The download is incomplete: load it once while connected."
        )
    return read_json(group / "zarr.json").get("attributes", {})


def _whose(facts: Mapping[str, Any], name: str) -> str:
    description = facts.get("description") or {}
    if description.get("subject") is None:
        raise ValueError(
            f"whose recordings are these? The descriptions of {name} hold {', '.join(description) or 'nothing'}, no "
            "`subject`, and scores are only worth something when subjects are kept apart."
        )
    return str(description["subject"])


def _check_array(group: Path, kind: str, name: str) -> None:
    """Refuse an array that lacks a chunk, or that is not a plain array of floats.

    Raises:
        ValueError: Saying what was found.
    """
    folder = group / "data"
    if not (folder / "zarr.json").is_file():
        raise ValueError(f"{name}: {group.name} has no data/zarr.json; only Zarr of format 3 is read.")
    node = read_json(folder / "zarr.json")
    shape, codecs = node.get("shape"), [codec.get("name") for codec in _codecs(node.get("codecs"))]
    grid = (node.get("chunk_grid") or {}).get("configuration", {}).get("chunk_shape")
    n_axes = 3 if kind == "WindowsDataset" else 2
    strange = sorted({str(codec) for codec in codecs} - set(_CODECS))
    if node.get("zarr_format") != 3 or node.get("data_type") not in ("float32", "float64") or strange:
        raise ValueError(
            f"{name}: {group.name}/data is Zarr of format {node.get('zarr_format')!r}, of {node.get('data_type')!r}, "
            f"through the codecs {codecs}. Read are floats in format 3 through {', '.join(_CODECS)}, nothing else: "
            "other codecs may run code."
        )
    if not shape or not grid or len(shape) != n_axes or len(grid) != n_axes or min(*shape, *grid) < 1:
        raise ValueError(f"{name}: {group.name}/data has the shape {shape} in chunks of {grid}, not {n_axes} axes.")
    wanted = math.prod(-(-size // step) for size, step in zip(shape, grid, strict=True))
    here = sum(path.is_file() and path.name != "zarr.json" for path in folder.rglob("*"))
    if here < wanted:
        raise ValueError(
            f"{name}: {wanted - here} of the {wanted} chunks of {group.name} are not here, and Zarr would read zeros "
            "in their place. Load it once while connected; where nothing is left to download, its author has "
            "published zeros."
        )


def _codecs(codecs: Any) -> Iterator[Mapping[str, Any]]:
    for codec in codecs or []:
        yield codec
        settings = codec.get("configuration") or {}
        yield from _codecs(settings.get("codecs"))
        yield from _codecs(settings.get("index_codecs"))


def _recording(
    group: Path, kind: str, facts: Mapping[str, Any], codes: Mapping[int, str], name: str
) -> PublicRecording:
    values = np.asarray(_zarr().open_array(str(group / "data"), mode="r")[:], dtype=np.float64)
    info = _info(facts["info"], name)
    place = _whose(facts, name), *place_of(facts["description"])
    if values.shape[-2] != len(info["ch_names"]):
        raise ValueError(f"{name}: {group.name} holds {values.shape[-2]} channels and names {len(info['ch_names'])}.")
    if kind == "RawDataset":
        raw = mne.io.RawArray(values, info, verbose="ERROR")
        target = facts.get("target_name")
        labels = [] if target is None else whole_recording(facts["description"], target, name)
        return PublicRecording(raw, labels, *place)
    check_targets(facts.get("targets_from", "metadata"), name)
    metadata = pd.read_csv(group / "metadata.tsv", sep="\t", index_col=0)
    if kind == "EEGWindowsDataset":
        raw = mne.io.RawArray(values, info, verbose="ERROR")
        return PublicRecording(raw, stretches(metadata, info["sfreq"], codes, name), *place)
    if len(metadata) != len(values):
        raise ValueError(f"{name}: {group.name} has {len(values)} windows and {len(metadata)} rows of metadata.")
    starts = metadata["i_start_in_trial"].to_numpy(dtype=int)
    # some windowing functions count from the trial's beginning, not the recording's
    known = len(np.unique(starts)) == len(starts)
    events = np.column_stack(
        [starts if known else np.arange(len(starts)), np.zeros_like(starts), np.ones_like(starts)]
    )
    epochs = mne.EpochsArray(values, info, events, 0.0, {"window": 1}, verbose="ERROR")
    return PublicRecording(epochs, target_labels(metadata, codes, name), *place, onsets_known=known)


def _info(facts: Mapping[str, Any], name: str) -> mne.Info:
    """Names, types and rate out of the JSON of an MNE Info."""
    names, types = [], []
    for channel in facts["chs"]:
        kind, coil = (channel[key]["value"] if isinstance(channel[key], dict) else channel[key] for key in _TYPE)
        names.append(channel["ch_name"])
        types.append("eeg" if (kind, coil) == (FIFF.FIFFV_EEG_CH, FIFF.FIFFV_COIL_EEG) else "misc")
    info = mne.create_info(names, float(facts["sfreq"]), types, verbose="ERROR")
    info["bads"] = [channel for channel in facts.get("bads", []) if channel in names]
    return info


_TYPE = ("kind", "coil_type")


def _state(group: Path) -> list:
    files = sorted(path for path in group.rglob("*") if path.is_file())
    return [[path.relative_to(group).as_posix(), path.stat().st_size, path.stat().st_mtime_ns] for path in files]


def _zarr() -> Any:
    try:
        import zarr
    except ImportError as error:
        raise ImportError(
            'data sets of the Hub are Zarr stores, and zarr is not installed: `pip install "dlink-hf[hub-data]"` (or '
            "`pip install zarr`)."
        ) from error
    return zarr


__all__ = ["hub_set"]
