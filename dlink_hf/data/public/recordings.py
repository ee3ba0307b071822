# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Recordings of a public data set, whatever library handed them out, kept on disk and built into windows.

Each recording is written once, as a FIF file of its EEG channels in the cache folder, with one table of all labelled
stretches: memory holds one recording at a time, and what is there is not asked of the library again.
"""

from __future__ import annotations

import csv
import hashlib
import json
import logging
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mne
import numpy as np
from datasets import Dataset
from tqdm.auto import tqdm

from ...core.atomic_files import staged
from ...preprocessing.feature_extraction_eeg import EEGFeatureExtractor
from ..build import build_dataset
from ..cache import default_cache_dir
from ..labels import Segment, TableLabels, bad_spans


logger = logging.getLogger(__name__)

# Raise when what is written below changes.
_STORE_VERSION = 1
_FACTS, _TABLE = "recordings.json", "labels.csv"


@dataclass
class PublicRecording:
    """One recording as a library handed it out.

    Args:
        signal: A `Raw`, or `Epochs` where the set holds windows that are cut already; volts by MNE's convention.
        labels: For a `Raw` its labelled stretches; for `Epochs` one label each.
        subject: Whose it is.
        session, run: Which of the subject's; empty where the set doesn't say.
        onsets_known: Whether the samples of the `Epochs`' events count from the recording's beginning.
    """

    signal: mne.io.BaseRaw | mne.BaseEpochs
    labels: Sequence[Segment] | Sequence[str]
    subject: str
    session: str = ""
    run: str = ""
    onsets_known: bool = True


@dataclass
class PublicSet:
    """A set of recordings that have not been read yet.

    Args:
        name: What to call it in messages.
        key: What changes when the recordings do, JSON values.
        recordings: Reads them one after the other.
        n_recordings: How many there are, where that is known.
        label_names: The set's labels in the order of their codes; None takes the alphabet's.
        steps: What was done to the numbers before they were published, as far as the set tells.
    """

    name: str
    key: list
    recordings: Callable[[], Iterator[PublicRecording]]
    n_recordings: int | None = None
    label_names: Sequence[str] | None = None
    steps: Sequence[str] = ()


def build_public_set(
    public_set: PublicSet,
    extractor: EEGFeatureExtractor | None,
    label_mapping: Mapping[str, str] | None,
    ignore_labels: Sequence[str] | str,
    cache_dir: str | Path | None,
    overwrite_cache: bool,
    progress: bool,
    **options: Any,
) -> Dataset:
    """Return the windows of a public set; the arguments are those of `load_public_set`.

    Returns:
        The dataset.

    Raises:
        ValueError: If the set has no labelled stretch or no EEG channel, its numbers have no unit, or `build_dataset`
            refuses it.
    """
    extractor = extractor if extractor is not None else EEGFeatureExtractor()
    standardised = [step for step in public_set.steps if "standardi" in step.lower()]
    if standardised and options.get("unit") is None and extractor.unit is None:
        raise ValueError(
            f"{public_set.name} was standardised before it was published ({', '.join(standardised)}): its numbers are "
            "no microvolts. Take the set from another source, or pass unit='uV' to use the numbers as they are."
        )
    cache = default_cache_dir() if cache_dir is None else Path(cache_dir).expanduser()
    folder = _store(public_set, cache, overwrite_cache, progress)
    facts = json.loads((folder / _FACTS).read_text("utf-8"))
    options = {**options, "cache_dir": cache, "overwrite_cache": overwrite_cache, "progress": progress}
    if label_mapping is not None:
        label_mapping = {str(old): str(new) for old, new in label_mapping.items()}
    if options.get("label_names") is None:
        present = {label for entry in facts for label in entry["labels"]}
        if label_mapping is not None:
            options["label_names"] = list(dict.fromkeys(label_mapping.values()))
        elif public_set.label_names is not None:
            options["label_names"] = [name for name in public_set.label_names if name in present]
    paths, subjects = [folder / entry["file"] for entry in facts], [entry["subject"] for entry in facts]
    if facts[0]["file"].endswith("_epo.fif"):
        pieces = [_fitting(mne.read_epochs(path, preload=False, verbose="ERROR"), extractor) for path in paths]
        found = [label for entry in facts for label in entry["labels"]]
        labels = [label_mapping.get(label, label) for label in found] if label_mapping else found
        dataset = build_dataset(pieces, extractor, labels, subjects=subjects, ignore_labels=ignore_labels, **options)
        names = {f"windows-{index:03d}": path.name for index, path in enumerate(paths)}
        dataset = _set_column(dataset, "recording", [names[name] for name in _texts(dataset, "recording")])
        if not all(entry["onsets_known"] for entry in facts):
            dataset = _set_column(dataset, "onset", [float("nan")] * len(dataset))
    else:
        table = TableLabels(folder / _TABLE, label_mapping, missing="skip")
        dataset = build_dataset(paths, extractor, table, subjects=subjects, ignore_labels=ignore_labels, **options)
    if any(entry["session"] for entry in facts):
        sessions = {entry["file"]: entry["session"] for entry in facts}
        dataset = _set_column(dataset, "session", [sessions[name] for name in _texts(dataset, "recording")])
    return dataset


def _texts(dataset: Dataset, column: str) -> list[str]:
    return dataset.with_format(None)[column][:]


def _set_column(dataset: Dataset, name: str, values: list) -> Dataset:
    """A dataset with a column put in place of the one of its name, or after all others; nothing is copied."""
    columns = [*dataset.column_names, *([] if name in dataset.column_names else [name])]
    plain = dataset.with_format(None)
    others = plain.remove_columns(name) if name in dataset.column_names else plain
    return others.add_column(name, values).select_columns(columns).with_format("torch")


def _fitting(epochs: mne.BaseEpochs, extractor: EEGFeatureExtractor) -> mne.BaseEpochs:
    """Epochs of the extractor's length, cut off where they are longer."""
    sfreq, window = epochs.info["sfreq"], extractor.n_times / extractor.sfreq
    n_wanted, n_found = round(window * sfreq), len(epochs.times)
    if n_found < n_wanted:
        raise ValueError(
            f"the set's windows are cut already and last {n_found / sfreq:g} s, less than a window of {window:g} s "
            f"({extractor.n_times} samples at {extractor.sfreq:g} Hz). Nothing is padded: choose a smaller n_times."
        )
    if n_found <= n_wanted + 1:
        return epochs
    logger.warning("the set's windows of %g s are cut to their first %g s", n_found / sfreq, window)
    return epochs.load_data().crop(epochs.tmin, epochs.tmin + window, include_tmax=False)


def _store(public_set: PublicSet, cache: Path, overwrite: bool, progress: bool) -> Path:
    """The folder of the set's recordings, written unless it is there; whole or not at all."""
    text = json.dumps([_STORE_VERSION, public_set.key], default=str)
    folder = cache / f"public-{hashlib.sha256(text.encode()).hexdigest()[:16]}"
    if folder.is_dir() and not overwrite:
        return folder
    try:
        with staged(cache) as partial:
            target = partial / folder.name
            target.mkdir()
            _write(public_set, target, progress)
            if overwrite and folder.is_dir():
                shutil.rmtree(folder)
    except OSError:
        # another process may have written the same recordings in the meantime
        if overwrite or not folder.is_dir():
            raise
    return folder


def _write(public_set: PublicSet, folder: Path, progress: bool) -> None:
    facts: list[dict[str, Any]] = []
    rows: list[list[str]] = []
    bar = tqdm(
        public_set.recordings(),
        desc=f"reading {public_set.name}",
        total=public_set.n_recordings,
        unit="recording",
        disable=not progress,
    )
    for recording in bar:
        are_epochs = isinstance(recording.signal, mne.BaseEpochs)
        name = _file_name(recording, "epo" if are_epochs else "raw", {entry["file"] for entry in facts})
        if are_epochs:
            labels = list(recording.labels)
            clean = _clean_epochs(recording.signal, public_set.name)
        else:
            labels = sorted({segment.label for segment in recording.labels})
            clean = _clean_raw(recording.signal, public_set.name)
            rows += [[name, *_row(segment)] for segment in recording.labels]
        clean.save(folder / name, fmt="single", verbose="ERROR")
        entry = {"file": name, "subject": recording.subject, "session": recording.session, "labels": labels}
        facts.append({**entry, "onsets_known": recording.onsets_known})
    if not any(entry["labels"] for entry in facts):
        raise ValueError(
            f"{public_set.name} has no events: none of its {len(facts)} recordings has an annotation, a stimulus "
            "channel or a target that says what happens when, so they can't be made into labelled windows."
        )
    with open(folder / _TABLE, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["recording", "onset", "duration", "label"], *rows])
    (folder / _FACTS).write_text(json.dumps(facts), encoding="utf-8")


def _row(segment: Segment) -> list[str]:
    # the digits of Python's own float: FIF would keep onsets of hours to some milliseconds only
    duration = "" if segment.duration is None else repr(float(segment.duration))
    return [repr(float(segment.onset)), duration, segment.label]


def _file_name(recording: PublicRecording, kind: str, taken: set[str]) -> str:
    parts = {"sub": recording.subject, "ses": recording.session, "run": recording.run}
    stem = "_".join(f"{key}-{re.sub(r'[^A-Za-z0-9.]+', '-', value)}" for key, value in parts.items() if value)
    name, part = f"{stem}_{kind}.fif", 1
    while name in taken:
        part += 1
        name = f"{stem}_part-{part}_{kind}.fif"
    return name


def _clean_info(info: mne.Info, name: str) -> tuple[np.ndarray, mne.Info]:
    """The EEG channels' indices, and an Info of only these: what else is in a header may say who it was."""
    picks = mne.pick_types(info, eeg=True, exclude=[])
    if not len(picks):
        raise ValueError(
            f"{name} has no EEG channel; its channels are of the types {sorted(set(info.get_channel_types()))}."
        )
    chosen = [info["ch_names"][index] for index in picks]
    clean = mne.create_info(chosen, info["sfreq"], "eeg", verbose="ERROR")
    clean["bads"] = [channel for channel in info["bads"] if channel in chosen]
    return picks, clean


def _clean_raw(raw: mne.io.BaseRaw, name: str) -> mne.io.RawArray:
    picks, info = _clean_info(raw.info, name)
    spans = bad_spans(raw)
    clean = mne.io.RawArray(raw.get_data(picks), info, verbose="ERROR")
    marks = mne.Annotations([begin for begin, _ in spans], [end - begin for begin, end in spans], ["BAD"] * len(spans))
    return clean.set_annotations(marks, verbose="ERROR")


def _clean_epochs(epochs: mne.BaseEpochs, name: str) -> mne.EpochsArray:
    picks, info = _clean_info(epochs.info, name)
    values = epochs.get_data(picks=picks, verbose="ERROR")
    events = epochs.events.copy()
    events[:, 1:] = [0, 1]
    return mne.EpochsArray(values, info, events, epochs.tmin, {"window": 1}, verbose="ERROR")


__all__ = ["PublicRecording", "PublicSet", "build_public_set"]
