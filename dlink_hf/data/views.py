# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Two views of the same windows: a teacher's of the whole cap, a student's of some electrodes and of a shorter time.

Both begin with windows of the whole cap *before alignment*: each of the two is aligned by its own electrodes, since
the student will have no others.

    windows = build_dataset(...)                                    # 19 electrodes, 5 s, not aligned
    whole = align_dataset(windows, "euclidean")                     # what the teacher reads
    few = student_view(windows, ["F7", "F8", "T7", "T8"], seconds=2.0, alignment="euclidean")
    train = with_teacher_view(few, whole)                           # what `DLinkTrainer` trains from
    extractor = student_extractor(extractor, ["F7", "F8", "T7", "T8"], seconds=2.0)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Array2D, Dataset, Features, concatenate_datasets
from tqdm.auto import tqdm

from ..core.electrodes import canonical_name, describe_unknown
from ..core.headsets import parse_channels
from ..preprocessing.alignment import make_alignment
from ..preprocessing.feature_extraction_eeg import EEGFeatureExtractor
from .aligned_windows import align_dataset, portions
from .cache import default_cache_dir, fingerprint_of, load_windows, write_windows
from .collator import TEACHER_VALUES
from .description import (
    SignalInfo,
    alignment_info,
    build_report,
    describe,
    signal_info,
    task_info,
    teacher_description,
    teacher_signal_info,
    with_task,
    with_teacher_signal,
)


# columns by which two views are known to be of the same windows; seconds of the end stand for the onset
_SAME = ("subject", "recording", "labels")
# what is taken over from the teacher's windows where the student's have none
_TAKEN_OVER = ("soft_targets",)


def student_view(
    dataset: Dataset,
    ch_names: Sequence[str] | str | None = None,
    seconds: float | None = None,
    alignment: str | None = None,
    alignment_reference: str | Mapping[str, Any] | None = None,
    *,
    group_column: str = "subject",
    one_class: str = "refuse",
    patch_size: int | None = None,
    cache_dir: str | Path | None = None,
    progress: bool = True,
) -> Dataset:
    """Cut the whole cap's windows to what a student of some electrodes and of a shorter window reads.

    Args:
        dataset: Windows of the whole cap, **not aligned**: an alignment mixes the electrodes that the student lacks
            into those that it has.
        ch_names: The student's electrodes, in its order, in any spelling; a list, or text as `parse_channels` takes
            it, such as "muse". All of the dataset's when None.
        seconds: Length of the student's window: the last `seconds` of each. All of it when None.
        alignment: As `method` of `align_dataset`, fitted on the student's electrodes alone; None for none.
        alignment_reference: As `reference` of `align_dataset`; one that was measured on more electrodes will do.
        group_column, one_class: As in `align_dataset`.
        patch_size: Samples of the student's patch, where the window is to be checked to hold whole ones.
        cache_dir: Cache folder, as of `build_dataset`.
        progress: Whether to show progress bars.

    Returns:
        The same rows in the same order and format: `input_values` (C, T) in microvolts of the student's electrodes,
        `onset` (s) that of the shorter window. `signal_info` and `alignment_info` tell the student's.

    Raises:
        TypeError: If the windows are a stream.
        ValueError: If they are aligned already, lack an electrode or are shorter than `seconds`; or as
            `align_dataset`.

    Example:

    ```python
    >>> from dlink_hf import student_view, synthetic_dataset

    >>> windows = synthetic_dataset(n_subjects=4)
    >>> few = student_view(windows, "C4,C3", seconds=1.0, alignment="euclidean")
    ```
    """
    if not isinstance(dataset, Dataset):
        raise TypeError(
            f"student_view takes a datasets.Dataset, got {type(dataset).__name__}. A stream has to be read as rows: "
            "load_shards(path, streaming=False)."
        )
    already = alignment_info(dataset)
    if already is not None:
        raise ValueError(
            f"these windows are aligned already ({already['method']}), by all {signal_info(dataset).n_chans} "
            "electrodes: the student's few can't be told apart any more. Give windows as they were before alignment."
        )
    info = signal_info(dataset)
    picks = _picks(info.ch_names, ch_names)
    n_times = _samples(info, seconds, patch_size)
    view = dataset
    if picks != list(range(info.n_chans)) or n_times != info.n_times:
        view = _cropped(dataset, info, picks, n_times, cache_dir, progress)
    if alignment is None:
        return view
    reference = reference_for(alignment_reference, signal_info(view).ch_names)
    return align_dataset(
        view,
        alignment,
        group_column=group_column,
        reference=reference,
        one_class=one_class,
        cache_dir=cache_dir,
        progress=progress,
    )


def _picks(known: Sequence[str], wanted: Sequence[str] | str | None) -> list[int]:
    """Return where the student's electrodes stand among those of the windows."""
    if wanted is None:
        return list(range(len(known)))
    names = parse_channels(wanted) if isinstance(wanted, str) else _canonical(wanted)
    places = {canonical_name(name) or name: place for place, name in enumerate(known)}
    lacking = [name for name in names if name not in places]
    if lacking:
        raise ValueError(
            f"the windows have no {', '.join(lacking)}; they have {', '.join(known)}. Nothing is filled in: choose "
            "the student's electrodes among these."
        )
    return [places[name] for name in names]


def _canonical(ch_names: Sequence[str]) -> list[str]:
    names = [canonical_name(name) for name in ch_names]
    unknown = [given for given, name in zip(ch_names, names, strict=True) if name is None]
    if unknown or not names:
        raise ValueError(f"ch_names: no place on the head is known for {describe_unknown(unknown)}")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"ch_names names {', '.join(twice)} twice: name each electrode once.")
    return names


def _samples(info: SignalInfo, seconds: float | None, patch_size: int | None = None) -> int:
    """Return the samples of the student's window."""
    n_times = info.n_times if seconds is None else round(seconds * info.sfreq)
    if seconds is not None and (n_times < 1 or abs(n_times - seconds * info.sfreq) > 1e-6 * n_times):
        raise ValueError(f"seconds={seconds:g} are not a whole number of samples at {info.sfreq:g} Hz.")
    if n_times > info.n_times:
        raise ValueError(
            f"the student's window of {seconds:g} s is longer than those at hand, of {info.duration:g} s: it is their "
            "last part. Build longer windows, or give fewer seconds."
        )
    if patch_size is not None and n_times % patch_size:
        raise ValueError(
            f"a window of {n_times / info.sfreq:g} s ({n_times} samples) is not a whole number of patches of "
            f"{patch_size} samples: give seconds that are a multiple of {patch_size / info.sfreq:g}."
        )
    return n_times


def _cropped(
    dataset: Dataset,
    info: SignalInfo,
    picks: Sequence[int],
    n_times: int,
    cache_dir: str | Path | None,
    progress: bool,
) -> Dataset:
    """Write some channels of the end of each window to the cache, a portion at a time."""
    names = tuple(info.ch_names[pick] for pick in picks)
    task = task_info(dataset)
    source = {"dataset": dataset._fingerprint, "view": {"ch_names": names, "n_times": n_times}}
    source |= {"task": task} if task else {}
    folder = (default_cache_dir() if cache_dir is None else Path(cache_dir).expanduser()) / (
        f"view-{fingerprint_of(source)}"
    )
    view = load_windows(folder)
    if view is None:
        features = Features({**dataset.features, "input_values": Array2D((len(names), n_times), "float32")})
        others = dataset.remove_columns("input_values").with_format(None)

        def batches(bar: Any) -> Iterator[dict[str, Any]]:
            for rows, windows in portions(dataset, bar):
                columns = dict(others[rows])
                if "onset" in columns:
                    columns["onset"] = [
                        None if onset is None else onset + (info.n_times - n_times) / info.sfreq
                        for onset in columns["onset"]
                    ]
                yield {**columns, "input_values": windows[:, list(picks), info.n_times - n_times :]}

        bar = tqdm(total=len(dataset), desc="student's view", unit="window", disable=not progress, delay=1)
        with bar:
            description = describe(SignalInfo(names, info.sfreq, n_times), build_report(dataset))
            description = with_task(description, **task) if task else description
            view = write_windows(folder, batches(bar), features, lambda: description)
    layout = dataset.format
    return view.with_format(layout["type"], columns=layout["columns"], **layout["format_kwargs"])


def reference_for(reference: str | Mapping[str, Any] | None, ch_names: Sequence[str]) -> Any:
    """Return a measured reference spectrum (`monge_reference`) of some of its channels; any other as it is.

    Raises:
        ValueError: If it lacks a channel.
    """
    if not isinstance(reference, Mapping) or list(reference["ch_names"]) == list(ch_names):
        return reference
    known = list(reference["ch_names"])
    lacking = [name for name in ch_names if name not in known]
    if lacking:
        raise ValueError(f"the reference has no spectrum of {', '.join(lacking)}; it knows {', '.join(known)}.")
    return {**reference, "ch_names": list(ch_names), "psd": [reference["psd"][known.index(name)] for name in ch_names]}


def with_teacher_view(student_windows: Dataset, teacher_windows: Dataset) -> Dataset:
    """Put the teacher's windows next to the student's, for `DLinkTrainer`.

    Nothing is copied where both are files that were written row by row, as `student_view` and `align_dataset` write
    them.

    Args:
        student_windows: Of `student_view`.
        teacher_windows: What the teacher reads of the same windows, row by row. Their `soft_targets`, if they have
            some and the student's have none, are taken over.

    Returns:
        The student's rows in their format, and the column `teacher_input_values` (C_t, T_t) in microvolts;
        `signal_info` tells the student's signal, `teacher_signal_info` the teacher's.

    Raises:
        ValueError: If the rows are not of the same windows: other subjects, recordings, labels or ends; or the
            student's windows have a teacher's view already.

    Example:

    ```python
    >>> train = with_teacher_view(student_view(windows, "C4,C3", alignment="zscore"), align_dataset(windows, "zscore"))
    >>> train[0]["teacher_input_values"].shape
    torch.Size([19, 1000])
    ```
    """
    if TEACHER_VALUES in student_windows.column_names:
        raise ValueError(
            f"the student's windows have a column {TEACHER_VALUES!r} already: give only those of student_view."
        )
    _check_same_windows(student_windows, teacher_windows)
    signal_info(teacher_windows)
    taken = [name for name in _TAKEN_OVER if name in teacher_windows.column_names]
    taken = [name for name in taken if name not in student_windows.column_names]
    layout = student_windows.format
    whole = teacher_windows.with_format(None).select_columns(["input_values", *taken])
    joined = concatenate_datasets(
        [student_windows.with_format(None), whole.rename_column("input_values", TEACHER_VALUES)], axis=1
    )
    # facts of its own, as the description is changed
    joined = joined.select(range(len(joined)))
    joined.info.description = with_teacher_signal(student_windows.info.description, teacher_windows.info.description)
    columns = layout["columns"]
    if columns is not None and set(columns) != set(student_windows.column_names):
        columns = [*columns, TEACHER_VALUES, *taken]
    else:
        columns = joined.column_names
    return joined.with_format(layout["type"], columns=columns, **layout["format_kwargs"])


def teacher_view(dataset: Dataset) -> Dataset:
    """Return the teacher's windows of a dataset of `with_teacher_view`; a dataset without is given back as it is.

    Args:
        dataset: Windows with or without the column `teacher_input_values`.

    Returns:
        The same rows, `input_values` (C_t, T_t) those that the teacher reads; `signal_info` tells the teacher's.
    """
    if TEACHER_VALUES not in dataset.column_names:
        return dataset
    layout = dataset.format
    info, own = signal_info(dataset), teacher_signal_info(dataset)
    view = dataset.with_format(None).remove_columns("input_values").rename_column(TEACHER_VALUES, "input_values")
    view.info.description = teacher_description(dataset)
    if "onset" in view.column_names and own.duration != info.duration:
        # the student's begins later; that of the whole is not needed to score it
        view = view.remove_columns("onset")
    return view.with_format(layout["type"], **layout["format_kwargs"])


def _check_same_windows(student: Dataset, teacher: Dataset) -> None:
    if len(student) != len(teacher):
        raise ValueError(
            f"the student has {len(student)} windows, the teacher {len(teacher)}: each row must be the same window. "
            "Make both of one dataset, with one_class alike."
        )
    for name in _SAME:
        if name in student.column_names and name in teacher.column_names:
            mine, its = (np.asarray(dataset.with_format(None)[name][:]) for dataset in (student, teacher))
            _refuse_difference(mine != its, name, mine, its)
    if "onset" in student.column_names and "onset" in teacher.column_names:
        mine, its = (
            np.asarray(dataset.with_format(None)["onset"][:], dtype=np.float64) + signal_info(dataset).duration
            for dataset in (student, teacher)
        )
        _refuse_difference(~np.isclose(mine, its, rtol=0, atol=1e-3, equal_nan=True), "end (s)", mine, its)


def _refuse_difference(differs: np.ndarray, name: str, mine: np.ndarray, its: np.ndarray) -> None:
    if differs.any():
        row = int(np.flatnonzero(differs)[0])
        raise ValueError(
            f"row {row} is another window for the student than for the teacher: {name} {mine[row]} and {its[row]} "
            f"({int(differs.sum())} rows differ). Make both of one dataset, in its order."
        )


def student_extractor(
    extractor: EEGFeatureExtractor, ch_names: Sequence[str] | str | None = None, seconds: float | None = None
) -> EEGFeatureExtractor:
    """Make the feature extractor of a student of some electrodes and of a shorter window, to be saved with it.

    It picks the student's electrodes before anything else, so that resampling, filters and alignment see no others:
    a recording of these alone and one of the whole cap give the same windows.

    Args:
        extractor: Of the whole cap.
        ch_names: As in `student_view`.
        seconds: As in `student_view`. Windows follow each other without a gap: a longer `stride` is given up.

    Returns:
        A feature extractor with the same rate, filters, unit and alignment method.

    Raises:
        ValueError: If the extractor's channels lack one of the student's, or its windows are shorter than `seconds`
            or too short for its alignment.

    Example:

    ```python
    >>> whole = EEGFeatureExtractor(sfreq=200.0, n_times=1000, l_freq=0.5, alignment="euclidean")
    >>> few = student_extractor(whole, "muse", seconds=2.0)
    >>> few.ch_names, few.n_times
    (['TP9', 'AF7', 'AF8', 'TP10'], 400)
    ```
    """
    known = extractor.ch_names
    if ch_names is None:
        names = known
    else:
        names = parse_channels(ch_names) if isinstance(ch_names, str) else _canonical(ch_names)
        if known is not None:
            names = [known[pick] for pick in _picks(known, names)]
    n_times = _samples(SignalInfo(tuple(names or ()), extractor.sfreq, extractor.n_times), seconds)
    settings = {**extractor.to_dict(), "ch_names": names, "n_times": n_times}
    if extractor.stride is not None and extractor.stride > n_times:
        settings["stride"] = None
    if extractor.alignment is not None:
        if names is not None:
            settings["alignment_reference"] = reference_for(extractor.alignment_reference, names)
        reference = settings["alignment_reference"]
        made = make_alignment(extractor.alignment, sfreq=extractor.sfreq, ch_names=names, reference=reference)
        shortest = made.settings().get("filter_length", 1)
        if n_times < shortest:
            raise ValueError(
                f"the alignment {extractor.alignment!r} measures spectra in stretches of {shortest} samples "
                f"({shortest / extractor.sfreq:g} s); a window of {n_times / extractor.sfreq:g} s holds none. Give "
                "more seconds, or choose 'euclidean' or 'zscore' for teacher and student."
            )
    return type(extractor)(**settings)


__all__ = [
    "reference_for",
    "student_extractor",
    "student_view",
    "teacher_view",
    "with_teacher_view",
]
