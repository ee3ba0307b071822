# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Datasets of windows, aligned subject by subject.

Two passes in the dataset's own order, the first for the statistics, the second for the windows: memory holds one
portion of windows and the statistics of each subject.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Array2D, Dataset, Features
from tqdm.auto import tqdm

from ..core.checks import first_names, one_of
from ..core.unlabelled import UNLABELLED
from ..preprocessing.alignment import MIN_SECONDS, Alignment, alignment_facts, make_alignment
from ..preprocessing.artefacts import clean_windows, window_peaks
from ..preprocessing.feature_extraction_eeg import EEGFeatureExtractor
from .cache import default_cache_dir, fingerprint_of, load_windows, write_windows
from .description import alignment_info, signal_info, with_alignment_info


logger = logging.getLogger(__name__)

ONE_CLASS = ("refuse", "drop", "allow")
# Column that says why a window is not judged; None where it is.
REASON = "reason"
# Windows are read in portions of this many.
_PORTION = 64


def align_dataset(
    dataset: Dataset,
    method: str,
    *,
    group_column: str = "subject",
    session_column: str | None = None,
    reference: str | Mapping[str, Any] | None = None,
    one_class: str = "refuse",
    min_seconds: float = MIN_SECONDS,
    cache_dir: str | Path | None = None,
    progress: bool = True,
) -> Dataset:
    """Align each subject's windows by statistics of all clean windows of that subject's session.

    Windows with artefacts stay out of the statistics (`dlink_hf.preprocessing.artefacts`), and are aligned like the
    others. Those that `build_dataset(keep_rejected=True)` has kept, with a `reason`, are such.

    No label enters the alignment. Labels, where there are any, serve one purpose: to refuse groups that hold one class
    only. What is fitted on such a group, a file of rest only, say, knows the label of all its windows, and scores
    would be those of the leak.

    Args:
        dataset: Windows of `build_dataset`, or others with signal facts (`set_signal_info`).
        method: "zscore", "euclidean", "monge" or "euclidean_monge".
        group_column: Column that tells subjects apart.
        session_column: Column that tells a subject's sessions apart, if they are to be aligned one by one: the headset
            was put on again, the gains differ.
        reference: Of "monge", as in `make_alignment`.
        one_class: What to do with groups whose windows have one class only: "refuse"; "drop" leaves such subjects out,
            with a warning; "allow" fits on them all the same. **"allow" is dangerous**: it is right only where a
            subject's whole session truly has one class (a diagnosis, say), and never where the group is a part of a
            session.
        min_seconds: Groups of fewer seconds of windows are warned of.
        cache_dir: Cache folder, as of `build_dataset`; the same windows are aligned once.
        progress: Whether to show a progress bar.

    Returns:
        The same rows in the same order and format, `input_values` aligned; `alignment_info` reads how.

    Raises:
        KeyError: If a column is absent.
        ValueError: If the windows are aligned already, a group has one class only, or a channel of a subject is flat.
    """
    facts = alignment_facts(method, reference)
    make_alignment(method)
    already = alignment_info(dataset)
    if already is not None:
        raise ValueError(f"these windows are aligned already ({already['method']}); do not align them twice.")
    columns = [group_column, *([session_column] if session_column else [])]
    groups = _groups(dataset, columns)
    keep = find_single_class_groups(dataset, groups, "/".join(columns), one_class)
    if not keep.all():
        dataset, groups = dataset.select(np.flatnonzero(keep)), groups[keep]
    info = signal_info(dataset)
    names, counts = np.unique(groups, return_counts=True)
    short = names[counts * info.duration < min_seconds]
    if len(short):
        logger.warning(
            "the alignment of %d of %d %ss has less than %g s of windows to go by: %s",
            *(len(short), len(names), "/".join(columns), min_seconds, first_names(short)),
        )
    facts = {**facts, "group_columns": columns, "one_class": one_class}
    source = {"dataset": dataset._fingerprint, "alignment": facts}
    folder = (default_cache_dir() if cache_dir is None else Path(cache_dir).expanduser()) / (
        f"aligned-{fingerprint_of(source)}"
    )
    aligned = load_windows(folder)
    if aligned is None:
        bar = tqdm(total=2 * len(dataset), desc=f"alignment ({method})", unit="window", disable=not progress, delay=1)
        with bar:
            fitted = fit_groups(dataset, groups, method, reference=reference, bar=bar)
            features = Features({**dataset.features, "input_values": Array2D((info.n_chans, info.n_times), "float32")})
            description = with_alignment_info(dataset.info.description, facts)
            aligned = write_windows(folder, _aligned(dataset, groups, fitted, bar), features, lambda: description)
    layout = dataset.format
    return aligned.with_format(layout["type"], columns=layout["columns"], **layout["format_kwargs"])


def alignment_text(dataset: Dataset) -> str | None:
    """Return how a dataset's windows were aligned, in words for tables and cards; None where they are not aligned."""
    facts = alignment_info(dataset)
    if facts is None:
        return None
    people = "/".join(facts["group_columns"])
    return f"{facts['method']}, each {people} by all of its unlabelled windows, of those tested on too"


def check_alignment(checkpoint: str, dataset: Dataset) -> None:
    """Refuse windows that are aligned otherwise than those a checkpoint was trained on.

    Args:
        checkpoint: Folder or Hub id of a trained model; one without a feature extractor next to it is not checked.
        dataset: Windows that it is to read as it is.

    Raises:
        ValueError: Naming both alignments.
    """
    try:
        wanted = EEGFeatureExtractor.from_pretrained(checkpoint).alignment_facts()
    except OSError:
        return
    found = alignment_info(dataset)
    found = None if found is None else {name: found[name] for name in ("method", "reference")}
    if found != wanted:
        raise ValueError(
            f"{checkpoint} reads windows with {_named(wanted)}, these have {_named(found)}: make them with the same "
            "alignment (--alignment), or train it again on these."
        )


def _named(facts: Mapping[str, Any] | None) -> str:
    if facts is None:
        return "no alignment"
    return f"the alignment {facts['method']}" + (f" to {facts['reference']}" if facts["reference"] else "")


def monge_reference(
    dataset: Dataset,
    *,
    group_column: str = "subject",
    filter_length: int = 256,
    one_class: str = "refuse",
    progress: bool = True,
) -> dict[str, Any]:
    """Return the barycentre of subjects' spectra: each channel's squared mean of the root of their PSDs.

    Args:
        dataset: Only windows of the *training* subjects, not aligned: whoever is in here is part of the model.
        group_column: Column that tells subjects apart.
        filter_length: As in `MongeAlignment`.
        one_class: As in `align_dataset`.
        progress: Whether to show a progress bar.

    Returns:
        `ch_names`, `sfreq` (Hz), `filter_length` and `psd` (C, filter_length / 2 + 1) in uV^2/Hz of six digits, as
        JSON values: a `reference` of `MongeAlignment`, and the `alignment_reference` of an `EEGFeatureExtractor`.

    Raises:
        KeyError: If the column is absent.
        ValueError: If the windows are aligned already, or a group has one class only.
    """
    if alignment_info(dataset) is not None:
        raise ValueError("these windows are aligned already: the reference is that of windows before alignment.")
    info = signal_info(dataset)
    groups = _groups(dataset, [group_column])
    keep = find_single_class_groups(dataset, groups, group_column, one_class)
    if not keep.all():
        dataset, groups = dataset.select(np.flatnonzero(keep)), groups[keep]
    bar = tqdm(total=len(dataset), desc="reference spectrum", unit="window", disable=not progress, delay=1)
    with bar:
        fitted = fit_groups(dataset, groups, "monge", reference=None, bar=bar, filter_length=filter_length)
    psd = np.mean([np.sqrt(alignment.psd()) for alignment in fitted.values()], axis=0) ** 2
    return {
        "ch_names": list(info.ch_names),
        "sfreq": info.sfreq,
        "filter_length": filter_length,
        "psd": [[float(f"{value:.6g}") for value in row] for row in psd],
    }


def fit_groups(
    dataset: Dataset, groups: np.ndarray, method: str, *, reference: Any = None, bar: Any = None, **settings: Any
) -> dict[str, Alignment]:
    """Return one fitted alignment a group, in one pass over a dataset.

    Args:
        dataset: With signal facts.
        groups: (N,) the group of each row.
        method, reference: As in `align_dataset`.
        bar: A progress bar that counts windows.
        **settings: More arguments of the method's class.

    Returns:
        The group's alignment by the group's name.
    """
    info = signal_info(dataset)
    fitted: dict[str, Alignment] = {}
    clean = _clean_rows(dataset, groups)
    for rows, windows in portions(dataset, bar):
        for group in dict.fromkeys(groups[rows]):
            chosen = (groups[rows] == group) & clean[rows]
            if not chosen.any():
                continue
            if group not in fitted:
                made = make_alignment(method, sfreq=info.sfreq, ch_names=info.ch_names, reference=reference)
                fitted[group] = type(made)(**{**made.settings(), **settings}) if settings else made
            fitted[group].partial_fit(windows[chosen])
    return fitted


def _groups(dataset: Dataset, columns: Sequence[str]) -> np.ndarray:
    """(N,) texts."""
    lacking = [name for name in columns if name not in dataset.column_names]
    if lacking:
        raise KeyError(f"the dataset has no column {lacking[0]!r}; it has {', '.join(dataset.column_names)}.")
    values = dataset.select_columns(list(columns)).with_format(None)[:]
    return np.asarray([" / ".join(map(str, row)) for row in zip(*values.values(), strict=True)])


def _clean_rows(dataset: Dataset, groups: np.ndarray) -> np.ndarray:
    """(N,) bool: the rows that alignments are fitted on."""
    peaks = np.concatenate([window_peaks(np.asarray(windows)) for _, windows in portions(dataset, None)])
    rejected = ~judged_rows(dataset)
    clean = np.zeros(len(dataset), dtype=bool)
    for group in np.unique(groups):
        own = np.flatnonzero(groups == group)
        # of a subject without a judged window all there is
        is_bad = None if rejected[own].all() else rejected[own]
        clean[own] = clean_windows(peaks[own], is_bad)
    return clean


def judged_rows(dataset: Dataset) -> np.ndarray:
    """Return which rows (N,) are judged: those without a `reason`, all where there is no such column."""
    if REASON not in dataset.column_names:
        return np.ones(len(dataset), dtype=bool)
    reasons = dataset.select_columns([REASON]).with_format(None)[:][REASON]
    return np.array([reason is None for reason in reasons])


def portions(dataset: Dataset, bar: Any) -> Iterator[tuple[slice, np.ndarray]]:
    """Rows and their windows (N, C, T), in the dataset's order, which is the order of time within a recording."""
    windows = dataset.select_columns(["input_values"]).with_format("numpy")
    for start in range(0, len(dataset), _PORTION):
        rows = slice(start, min(start + _PORTION, len(dataset)))
        yield rows, windows[rows]["input_values"]
        if bar is not None:
            bar.update(rows.stop - rows.start)


def _aligned(
    dataset: Dataset, groups: np.ndarray, fitted: Mapping[str, Alignment], bar: Any
) -> Iterator[dict[str, Any]]:
    """Columns of a portion at a time, windows aligned."""
    others = dataset.remove_columns("input_values").with_format(None)
    for rows, windows in portions(dataset, bar):
        values = np.empty(windows.shape, dtype=np.float32)
        for group in dict.fromkeys(groups[rows]):
            chosen = groups[rows] == group
            try:
                values[chosen] = fitted[group].transform(windows[chosen])
            except ValueError as error:
                raise ValueError(f"{group}: {error}") from error
        yield {**others[rows], "input_values": values}


def find_single_class_groups(dataset: Dataset, groups: np.ndarray, name: str, one_class: str) -> np.ndarray:
    """Return the rows that may be aligned; the only use of labels.

    Args:
        dataset: Windows, with `labels` or without.
        groups: (N,) the group of each row.
        name: What to call a group in messages.
        one_class: As in `align_dataset`.

    Returns:
        (N,) bool.

    Raises:
        ValueError: If a group has windows of one class only and that is to be refused, or none is left.
    """
    one_of("one_class", one_class, ONE_CLASS)
    if "labels" not in dataset.column_names or one_class == "allow":
        return np.ones(len(dataset), dtype=bool)
    labels = np.asarray(dataset.select_columns(["labels"]).with_format(None)[:]["labels"])
    # what is fitted is fitted on the judged windows
    judged = judged_rows(dataset)
    judged |= ~np.isin(groups, groups[judged])
    every, groups, labels = groups, groups[judged], labels[judged]
    pairs = sorted(set(zip(groups.tolist(), labels.tolist(), strict=True)))
    owners = [group for group, _ in pairs]
    # a subject without a labelled window gives no label away
    single = {group: label for group, label in pairs if owners.count(group) == 1 and label != UNLABELLED}
    if not single:
        return np.ones(len(dataset), dtype=bool)
    if one_class == "drop":
        logger.warning(
            "%d of %d %ss have windows of one class only and are left out: an alignment fitted on them would see the "
            "label: %s",
            *(len(single), len(set(owners)), name, first_names(single)),
        )
        keep = ~np.isin(every, list(single))
        if not keep.any():
            raise ValueError(f"every {name} has windows of one class only: none is left to align.")
        return keep
    first, label = next(iter(single.items()))
    names = getattr(dataset.features["labels"], "names", None)
    raise ValueError(
        f"{len(single)} of {len(set(owners))} groups ({name}) have windows of one class only, such as "
        f"{first}: {names[label] if names else label}. What is fitted on them would see the label, and scores would "
        "be those of the leak. Fit on a subject's whole session, group_column='subject': every group then holds "
        "all classes; or leave such subjects out with one_class='drop'. Only if a subject's whole session truly has "
        f"one class is one_class='allow' right. The groups: {first_names(single)}."
    )


__all__ = [
    "ONE_CLASS",
    "REASON",
    "align_dataset",
    "alignment_text",
    "check_alignment",
    "find_single_class_groups",
    "fit_groups",
    "judged_rows",
    "monge_reference",
    "portions",
]
