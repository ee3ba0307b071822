# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Windows that are cut already, MNE `Epochs` or an array (N, C, T), to a `datasets.Dataset`."""

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import Any

import mne
import numpy as np
from datasets import Dataset
from tqdm.auto import tqdm

from ..preprocessing.feature_extraction_eeg import EEGFeatureExtractor
from .build_steps import (
    BuildOptions,
    align_channels,
    check_classes,
    finish_report,
    log_report,
    reopen,
    settle_label_names,
    window_columns,
    window_features,
)
from .cache import fingerprint_of, write_windows
from .description import SignalInfo, build_report, describe


# Windows are converted in portions of this many.
_PORTION = 256


def build_from_windows(
    source: np.ndarray | mne.BaseEpochs | Sequence[mne.BaseEpochs],
    extractor: EEGFeatureExtractor,
    labels: Sequence | None,
    subjects: Any,
    sfreq: float | None,
    ch_names: Sequence[str] | None,
    options: BuildOptions,
    cache: Path,
    overwrite_cache: bool,
    progress: bool,
) -> Dataset:
    """Does `build_dataset` for windows; the arguments are those of `build_dataset`.

    Args:
        source: Windows (N, C, T), or `Epochs`, or a list of `Epochs`.
        extractor: Brings them to its channels, unit and rate.
        labels: One a window; None takes the names of the `Epochs`' events.
        subjects: One a window, one for all, or for a list of `Epochs` one each.
        sfreq: Sampling rate of an array in hertz.
        ch_names: The C channel names of an array.
        options: What else changes the windows.
        cache: Folder for caches.
        overwrite_cache: Whether to build again.
        progress: Whether to show a progress bar.

    Returns:
        The dataset, as `build_dataset` describes it.

    Raises:
        ValueError: As `build_dataset` does.
    """
    pieces = [source] if isinstance(source, (np.ndarray, mne.BaseEpochs)) else list(source)
    sizes = [len(piece) for piece in pieces]
    _check_shape(pieces, sfreq, ch_names, extractor)
    texts = _label_texts(pieces, labels, options, sum(sizes))
    people = _subjects(pieces, subjects, sizes)
    report: Counter = Counter(n_recordings=len(pieces))
    names = settle_label_names(options, None, Counter(texts), report)
    wanted = [
        np.flatnonzero(np.isin(part, names))
        for part in np.split(np.asarray(texts, dtype=object), np.cumsum(sizes)[:-1])
    ]
    check_classes(Counter(text for text in texts if text in names), names, options, "labelled")

    fingerprint = fingerprint_of(
        {
            "pieces": [_hash_piece(piece) for piece in pieces],
            "labels": texts,
            "subjects": people,
            "signal": [sfreq, None if ch_names is None else list(ch_names)],
            "extractor": extractor.to_dict(),
            "options": asdict(options),
        }
    )
    folder = cache / f"windows-{fingerprint}"
    cached = None if overwrite_cache else reopen(folder)
    if cached is not None:
        return cached

    def convert(piece: Any, rows: np.ndarray) -> tuple[np.ndarray, list[str], np.ndarray]:
        if isinstance(piece, np.ndarray):
            batch = extractor(piece[rows], sfreq=sfreq, ch_names=ch_names, unit=options.unit)
        else:
            begin = (piece.events[rows, 0]) / piece.info["sfreq"] + piece.tmin
            batch = extractor(piece[rows], unit=options.unit, onsets=begin.tolist())
        return batch["input_values"], batch["ch_names"], batch["onset"]

    channels: list[str] = []
    counts: Counter = Counter()

    def batches() -> Iterator[dict[str, Any]]:
        starts = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(int)
        bar = tqdm(total=sum(map(len, wanted)), desc="converting windows", unit="window", disable=not progress)
        for number, (piece, rows) in enumerate(zip(pieces, wanted, strict=True)):
            name = f"windows-{number:03d}"
            for begin in range(0, len(rows), _PORTION):
                part = rows[begin : begin + _PORTION]
                windows, found, onsets = convert(piece, part)
                channels[:] = channels or found
                windows = align_channels(windows, found, channels, name)
                indices = np.asarray([names.index(texts[starts[number] + row]) for row in part])
                who = [people[starts[number] + row] for row in part]
                batch = window_columns(windows, indices, who, name, onsets, options, report)
                counts.update(names[label] for label in batch["labels"])
                bar.update(len(part))
                yield batch
        bar.close()
        if not sum(counts.values()):
            raise ValueError(f"all windows exceed max_abs_uv={options.max_abs_uv:g} uV. Is the unit right?")
        check_classes(counts, names, options, "accepted")

    def description() -> str:
        info = SignalInfo(tuple(channels), float(extractor.sfreq), int(extractor.n_times))
        return describe(info, finish_report(report, {name: counts.get(name, 0) for name in names}))

    portions = batches()
    first = next(portions)
    features = window_features(first["input_values"].shape[1], extractor.n_times, names, options)
    dataset = write_windows(folder, chain([first], portions), features, description, overwrite_cache)
    log_report(build_report(dataset))
    return dataset.with_format("torch")


def _check_shape(pieces: list, sfreq: float | None, ch_names: Sequence[str] | None, extractor: Any) -> None:
    if isinstance(pieces[0], np.ndarray):
        values = pieces[0]
        if values.ndim != 3 or not len(values):
            raise ValueError(
                f"an array of windows is (N windows, C channels, T samples), N at least 1; got shape {values.shape}. "
                "For one continuous recording (C, T) build an mne.io.RawArray with annotations."
            )
        if sfreq is None or ch_names is None:
            raise ValueError("an array does not know its sampling rate and channels: give sfreq (Hz) and ch_names.")
        length = values.shape[-1] / sfreq
        if round(length * extractor.sfreq) < extractor.n_times:
            raise ValueError(
                f"the windows last {length:g} s ({values.shape[-1]} samples at {sfreq:g} Hz), the extractor's window "
                f"of {extractor.n_times / extractor.sfreq:g} s (n_times={extractor.n_times}) is longer. Nothing is "
                "padded: choose n_times to fit."
            )
    elif sfreq is not None or ch_names is not None:
        raise ValueError("sfreq and ch_names describe a NumPy array; Epochs know their own.")


def _label_texts(pieces: list, labels: Sequence | None, options: BuildOptions, n_windows: int) -> list[str]:
    """The label of every window, as text."""
    if labels is None:
        if isinstance(pieces[0], np.ndarray):
            raise ValueError("an array of windows needs labels: one name or number a window.")
        texts = []
        for epochs in pieces:
            of_code = {code: name for name, code in epochs.event_id.items()}
            texts += [str(of_code[code]) for code in epochs.events[:, 2]]
        return texts
    if isinstance(labels, (str, bytes)) or not hasattr(labels, "__len__"):
        raise TypeError(f"windows take one label each (a list or array of {n_windows}), got {type(labels).__name__}.")
    if len(labels) != n_windows:
        raise ValueError(f"{len(labels)} labels were given for {n_windows} windows; one each is needed.")
    texts = []
    for label in np.asarray(labels).tolist():
        if isinstance(label, int) and not isinstance(label, bool) and options.label_names is not None:
            if not 0 <= label < len(options.label_names):
                raise ValueError(
                    f"the label {label} is not a number of label_names={options.label_names} "
                    f"(0 to {len(options.label_names) - 1})."
                )
            label = options.label_names[label]
        texts.append(str(label))
    return texts


def _subjects(pieces: list, subjects: Any, sizes: list[int]) -> list[str]:
    """The subject of every window."""
    n_windows = sum(sizes)
    if subjects is None and not isinstance(pieces[0], np.ndarray):
        from .sources import subject_of_info

        subjects = [subject_of_info(epochs, f"Epochs {index}") for index, epochs in enumerate(pieces)]
    if subjects is None:
        raise ValueError(
            "whose windows are these? Scores are only worth something when subjects are kept apart: give subjects, "
            "one a window (or one text for all)."
        )
    if isinstance(subjects, str):
        return [subjects] * n_windows
    subjects = [str(subject) for subject in subjects]
    if len(subjects) == n_windows:
        return subjects
    if len(subjects) == len(sizes):
        return [subject for subject, size in zip(subjects, sizes, strict=True) for _ in range(size)]
    raise ValueError(f"{len(subjects)} subjects were given for {n_windows} windows; one each is needed.")


def _hash_piece(piece: np.ndarray | mne.BaseEpochs) -> str:
    digest = hashlib.blake2b(digest_size=16)
    if not isinstance(piece, np.ndarray):
        facts = [piece.ch_names, piece.get_channel_types(), piece.info["sfreq"], piece.tmin, piece.info["bads"]]
        digest.update(repr([facts, piece.event_id, piece.events.tolist()]).encode())
        piece = piece.get_data(verbose="ERROR")
    digest.update(repr([piece.shape, str(piece.dtype)]).encode())
    for start in range(0, len(piece), _PORTION):
        digest.update(np.ascontiguousarray(piece[start : start + _PORTION]))
    return digest.hexdigest()
