# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Recordings to a `datasets.Dataset` of labelled windows.

First a plan is made from the headers (who, which windows, which labels), where nearly every mistake shows within
seconds; then one recording after the other is read, filtered, cut and written, so that memory stays bounded.
"""

import logging
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import mne
import numpy as np
from datasets import Dataset
from tqdm.auto import tqdm

from ..core.config_checks import SINGLE_LABEL
from ..preprocessing.artefacts import MarkedSpan, marked_reason, marked_spans, overlapping_spans
from ..preprocessing.feature_extraction_eeg import EEGFeatureExtractor
from .aligned_windows import align_dataset
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
from .cache import default_cache_dir, fingerprint_of, write_windows
from .description import SignalInfo, build_report, describe
from .labels import AnnotationLabels, LabelSource, Segment, TableLabels
from .numeric_labels import with_numbers
from .prepared_windows import build_from_windows
from .sources import Source, assign_subjects, list_sources, subject_of_info


logger = logging.getLogger(__name__)


@dataclass
class Plan:
    """The N windows of one recording: onsets (N,) in seconds, labels (N,) as indices, and N marks, why bad or None."""

    source: Source
    subject: str
    onsets: np.ndarray
    labels: np.ndarray
    marked: list[str | None] | None = None


class Header(NamedTuple):
    """What a recording's header and its labels say: its subject, length, labelled segments and spans marked BAD."""

    subject: str
    duration: float
    segments: list[Segment]
    bad: list[MarkedSpan]


def build_dataset(
    source: Any,
    extractor: EEGFeatureExtractor | None = None,
    labels: LabelSource | Sequence | None = None,
    *,
    subjects: Any = None,
    subject_pattern: str | None = None,
    label_names: Sequence[str] | None = None,
    ignore_labels: Sequence[str] | str = (),
    max_abs_uv: float | None = None,
    short: str = "error",
    allow_one_class: bool = False,
    sfreq: float | None = None,
    ch_names: Sequence[str] | None = None,
    unit: str | None = None,
    bids_entities: Mapping[str, Any] | None = None,
    subject_columns: Mapping[str, Mapping[str, str]] | None = None,
    alignment_group: str = "subject",
    alignment_one_class: str = "refuse",
    keep_rejected: bool = False,
    problem_type: str = SINGLE_LABEL,
    cache_dir: str | Path | None = None,
    overwrite_cache: bool = False,
    progress: bool = True,
) -> Dataset:
    """Cut recordings into labelled windows and keep them on disk.

    Args:
        source: A folder of recordings, a BIDS root, a path, an MNE `Raw`, a list of paths or of `Raw`s; or windows
            that are cut already: MNE `Epochs`, or a NumPy array (N, C, T) with `sfreq`, `ch_names` and `unit`.
        extractor: What turns a recording into windows; None takes 200 Hz, 1000 samples, all EEG channels. Windows
            follow each other within a labelled segment by its `stride`; the rest of a segment that is shorter than a
            window is left out. Its `alignment`, if it has one, is fitted on all windows of each group.
        labels: For recordings an `AnnotationLabels` (the default), `EventLabels`, `TableLabels` or `PathLabels`. For
            windows one label each: names, or integers that index `label_names`; for `Epochs` None takes the names in
            `event_id`.
        subjects: For recordings a function of the path, a mapping of recording name to subject, or one subject a
            recording. For windows one subject each (or one string for all). Without it: `subject_pattern`, the label
            table's column `subject`, BIDS, or the recording's header, in this order.
        subject_pattern: Regular expression on the path; its group `subject` or first group is the subject.
        label_names: The labels in the order of their numbers; None takes the label source's order. A label that is not
            among them is an error, unless it is in `ignore_labels`.
        ignore_labels: Labels (or annotation descriptions) to leave out; "others" leaves out all that are not in
            `label_names` or the mapping.
        max_abs_uv: Windows in which any sample exceeds this, in microvolts after filtering, are rejected and counted.
            None takes the extractor's `reject_uv`; without that, all are kept. (The extractor's own `max_abs_uv`
            judges whether the unit is right.)
        short: "error" when a labelled segment is shorter than a window or runs beyond the recording, or "skip" to
            leave it out (counted). Nothing is ever padded.
        allow_one_class: Whether a dataset of a single class may be built.
        sfreq: For an array, its sampling rate in hertz.
        ch_names: For an array, its C channel names.
        unit: "uV", "mV" or "V", what the source's numbers are; None takes the extractor's, or volts for recordings.
        bids_entities: Which recordings of a BIDS root, e.g. `{"tasks": "rest"}`.
        subject_columns: More columns, each a mapping of subject to text, e.g. `{"split": {"00": "train", ...}}`.
        alignment_group: Column of the subjects (or sessions) that are aligned each by itself, as in `align_dataset`.
        alignment_one_class: What to do with groups that hold one class only, as in `align_dataset`.
        keep_rejected: Keep windows beyond `max_abs_uv`, and those that annotations mark bad, to score a model on all
            windows: the column `reason` says in words what is the matter with them (None of others). No alignment is
            fitted on them.
        problem_type: What labels are: classes, or with `"regression"` numbers, with `"multi_label_classification"`
            several at once, as `with_numbers` reads them; `TableLabels(targets=[...])` names their columns.
        cache_dir: Folder for the windows; None takes `default_cache_dir()`. They are found again as long as the files
            (path, size, time), the settings and the package's version are the same.
        overwrite_cache: Whether to build again even so.
        progress: Whether to show progress bars.

    Returns:
        Dataset in torch format with `input_values` (C, T) float32 in microvolts, `labels` (`ClassLabel`), `subject`,
        `recording`, `onset` (seconds from the recording's first sample; for `Epochs` the time of their events'
        samples; NaN for arrays) and the `subject_columns`. `signal_info` reads its channels, rate and length,
        `build_report` the counts.

    Raises:
        FileNotFoundError: If a path does not exist or a folder holds no recording.
        TypeError: If the source or the labels are of a kind that can't be read.
        ValueError: If labels are unknown, only one class is there, a subject can't be told, channels differ between
            recordings, a segment is shorter than a window, no window is left, or a group to be aligned holds one class
            only; the message says what to do.
    """
    wanted = extractor if extractor is not None else EEGFeatureExtractor()
    extractor = wanted.without_alignment()
    max_abs_uv = extractor.reject_uv if max_abs_uv is None else max_abs_uv
    options = build_options(
        label_names,
        ignore_labels,
        max_abs_uv,
        short,
        # numbers are judged where a model is trained on them
        allow_one_class or problem_type != SINGLE_LABEL,
        unit,
        dict(subject_columns or {}),
        keep_rejected,
    )
    targets = getattr(labels, "targets", None)
    if targets is not None and problem_type == SINGLE_LABEL:
        raise ValueError("TableLabels(targets=[...]) gives numbers: say what they are, problem_type='regression'.")
    cache = default_cache_dir() if cache_dir is None else Path(cache_dir).expanduser()

    def aligned(dataset: Dataset) -> Dataset:
        if wanted.alignment is not None:
            dataset = align_dataset(
                dataset,
                wanted.alignment,
                group_column=alignment_group,
                reference=wanted.alignment_reference,
                one_class=alignment_one_class,
                min_seconds=wanted.alignment_min_seconds,
                cache_dir=cache,
                progress=progress,
            )
        return with_numbers(dataset, problem_type, targets)

    are_epochs = isinstance(source, (list, tuple)) and any(isinstance(item, mne.BaseEpochs) for item in source)
    if are_epochs and not all(isinstance(item, mne.BaseEpochs) for item in source):
        raise TypeError("a list of Epochs must hold nothing else.")
    if are_epochs or isinstance(source, (np.ndarray, mne.BaseEpochs)):
        return aligned(
            build_from_windows(
                source, extractor, labels, subjects, sfreq, ch_names, options, cache, overwrite_cache, progress
            )
        )
    if sfreq is not None or ch_names is not None:
        raise ValueError("sfreq and ch_names describe a NumPy array; recordings know their own.")
    labels = AnnotationLabels() if labels is None else labels
    if not isinstance(labels, LabelSource):
        raise TypeError(
            f"labels of recordings come from AnnotationLabels, EventLabels, TableLabels or PathLabels, got "
            f"{type(labels).__name__}. One label a window goes with Epochs or an array of windows."
        )
    sources = list_sources(source, bids_entities)
    assign_subjects(sources, subjects, subject_pattern, labels if isinstance(labels, TableLabels) else None)
    fingerprint = fingerprint_of(
        {**source_states(sources, labels), "extractor": extractor.to_dict(), "options": asdict(options)}
    )
    folder = cache / f"windows-{fingerprint}"
    cached = None if overwrite_cache else reopen(folder)
    if cached is not None:
        return aligned(cached)

    report: Counter = Counter(n_recordings=len(sources))
    if isinstance(labels, TableLabels):
        labels.check_recordings([(item.name, item.path) for item in sources])
    plans, names = _plan(sources, extractor, labels, options, report, progress)
    cutter = _Cutter(plans, extractor, options, names, report, progress)
    batches = cutter.batches()
    first = next(batches)
    features = window_features(first["input_values"].shape[1], extractor.n_times, names, options)
    dataset = write_windows(folder, chain([first], batches), features, cutter.describe, overwrite_cache)
    log_report(build_report(dataset))
    return aligned(dataset.with_format("torch"))


def build_options(
    label_names: Sequence[str] | None,
    ignore_labels: Sequence[str] | str,
    max_abs_uv: float | None,
    short: str,
    allow_one_class: bool,
    unit: str | None,
    subject_columns: dict[str, Mapping[str, str]],
    keep_rejected: bool = False,
) -> BuildOptions:
    """Return the arguments of `build_dataset` that change the windows, judged.

    Raises:
        ValueError: If one of them is out of range.
    """
    if short not in ("error", "skip"):
        raise ValueError(f"short={short!r} is unknown; choose 'error' or 'skip'.")
    if max_abs_uv is not None and not max_abs_uv > 0:
        raise ValueError(f"max_abs_uv={max_abs_uv!r} must be a positive number of microvolts, or None.")
    names = None if label_names is None else [str(name) for name in label_names]
    if names is not None and len(set(names)) < len(names):
        raise ValueError(f"label_names holds a name twice: {names}.")
    columns = (subject_columns, keep_rejected)
    return BuildOptions(names, ignore_labels, max_abs_uv, short, allow_one_class, unit, *columns)


def source_states(sources: Sequence[Source], labels: LabelSource) -> dict[str, Any]:
    """Return what the windows depend on of recordings and label files, JSON values: names, sizes, times, settings."""
    settings = asdict(labels)
    settings.pop("_rows", None)
    if settings.get("mapping"):
        settings["mapping"] = [[str(key), str(value)] for key, value in settings["mapping"].items()]
    if isinstance(labels, TableLabels):
        settings["digest"] = labels.digest()
    return {
        "sources": [[item.name, item.subject, item.state] for item in sources],
        "label_files": [
            [str(path), path.stat().st_size, path.stat().st_mtime_ns]
            for item in sources
            if item.path is not None
            for path in labels.files(item.path)
        ],
        "labels": [type(labels).__name__, settings],
    }


def read_header(source: Source, raw: mne.io.BaseRaw, labels: LabelSource) -> Header:
    """Return what the plan needs of a recording whose samples are not read."""
    segments = labels.segments(raw, source.name, source.path)
    subject = source.subject or subject_of_info(raw, source.name)
    return Header(subject, raw.n_times / raw.info["sfreq"], segments, marked_spans(raw))


def _plan(
    sources: Sequence[Source],
    extractor: EEGFeatureExtractor,
    labels: LabelSource,
    options: BuildOptions,
    report: Counter,
    progress: bool,
) -> tuple[list[Plan], list[str]]:
    bar = tqdm(sources, desc="reading headers", unit="file", disable=not progress or len(sources) < 20)
    headers = [read_header(source, source.open(preload=False), labels) for source in bar]
    return plan_windows(sources, headers, extractor, labels, options, report)


def plan_windows(
    sources: Sequence[Source],
    headers: Sequence[Header],
    extractor: EEGFeatureExtractor,
    labels: LabelSource,
    options: BuildOptions,
    report: Counter,
) -> tuple[list[Plan], list[str]]:
    """Return the windows of every recording, from headers and label files only, and the label names.

    Args:
        sources: The recordings.
        headers: What `read_header` says of each.
        extractor: Rate, length and stride of the windows.
        labels: Where the labels come from.
        options: What is wanted of them.
        report: Gets the counts of what is left out.

    Returns:
        Plans of the recordings that have windows, in the order given, and the label names.

    Raises:
        ValueError: If labels are unknown, a segment is too short, or no window is left.
    """
    present = Counter(segment.label for header in headers for segment in header.segments)
    names = settle_label_names(options, labels.label_names(), present, report)
    numbers = {name: index for index, name in enumerate(names)}

    plans, too_short = [], []
    _warn_of_overlaps(sources, headers, numbers)
    for source, (subject, duration, segments, bad) in zip(sources, headers, strict=True):
        onsets, indices, marks = [], [], []
        for segment in segments:
            if segment.label not in numbers:
                continue
            starts = _window_starts(segment, duration, extractor)
            if not starts:
                too_short.append((source.name, segment, duration))
            spans = overlapping_spans(starts, extractor.n_times / extractor.sfreq, bad, extractor.sfreq)
            report["rejected_bad"] += int(np.sum(spans >= 0))
            for start, number in zip(starts, spans.tolist(), strict=True):
                if number >= 0 and not options.keep_rejected:
                    continue
                onsets.append(start)
                indices.append(numbers[segment.label])
                marks.append(marked_reason(bad[number]) if number >= 0 else None)
        if not any(segment.label in numbers for segment in segments):
            report["unlabelled_recordings"] += 1
            logger.warning("%s has no segment with a wanted label; it adds no window.", source.name)
        elif onsets:
            plans.append(Plan(source, subject, np.array(onsets), np.array(indices, dtype=np.int64), marks))
    report["skipped_short"] = len(too_short)
    if too_short and options.short == "error":
        name, segment, duration = too_short[0]
        window = extractor.n_times / extractor.sfreq
        length = duration - segment.onset if segment.duration is None else segment.duration
        advice = "Nothing is padded: choose a smaller n_times, or leave such segments out with short='skip'."
        if segment.onset < 0:
            advice = (
                "It begins before the recording's first sample, from which onsets count: another clock or another "
                "zero is meant, or a trial begins before its first event. Correct it, or leave such segments out with "
                "short='skip'."
            )
        elif all(segment.duration is not None and segment.duration <= 0 for _, segment, _ in too_short):
            advice = (
                "They are markers, which have no length of their own: say how long a trial lasts, and where it begins "
                "after its marker, by duration and start of the label source (--trial_duration 5, --trial_start 0.5, "
                "in seconds; or tmin and tmax)."
            )
        raise ValueError(
            f"{len(too_short)} labelled segment{'s' * (len(too_short) > 1)} can't hold a window of {window:g} s "
            f"({extractor.n_times} samples at {extractor.sfreq:g} Hz); the first: {segment.label!r} from "
            f"{segment.onset:g} s for {length:g} s in {name}, which lasts {duration:g} s. {advice}"
        )
    if not plans:
        raise ValueError(
            f"no window is left: {len(sources)} recordings, {len(too_short)} segments too short, "
            f"{report['rejected_bad']} windows within spans marked BAD, labels found {dict(present)}, wanted {names}."
        )
    check_classes(Counter(names[index] for plan in plans for index in plan.labels), names, options, "labelled")
    return plans, names


def _warn_of_overlaps(sources: Sequence[Source], headers: Sequence[Header], wanted: Collection[str]) -> None:
    """Warn of stretches that two labels claim: their windows are in the dataset twice, once with each."""
    found = []
    for source, header in zip(sources, headers, strict=True):
        spans = sorted(
            (s.onset, header.duration if s.duration is None else s.onset + s.duration, s.label)
            for s in header.segments
            if s.label in wanted
        )
        for i, (_, end, label) in enumerate(spans):
            later = next((other for other in spans[i + 1 :] if other[2] != label), None)
            # half a sample at 500 Hz: durations are rounded by file formats
            if later is not None and later[0] < end - 1e-3:
                found.append((source.name, label, later[2], later[0], min(end, later[1]) - later[0]))
    if found:
        name, one, other, onset, seconds = found[0]
        logger.warning(
            "%d stretches have two labels, and their windows enter with both; the first: %r and %r from %g s for %g s "
            "in %s. Shorten the segments (duration), or leave one label out.",
            len(found),
            one,
            other,
            onset,
            seconds,
            name,
        )


def _window_starts(segment: Segment, recording_duration: float, extractor: EEGFeatureExtractor) -> list[float]:
    """Onsets in seconds of the windows that lie wholly in a segment and in the recording."""
    sfreq = extractor.sfreq
    # Half a sample of tolerance: durations are rounded by file formats.
    first = round(segment.onset * sfreq)
    # Resampling makes round(n * ratio) samples, which may be one less than the duration says.
    total = int(np.floor(recording_duration * sfreq + 1e-6))
    last = (
        total
        if segment.duration is None
        else min(total, int(np.floor((segment.onset + segment.duration) * sfreq + 0.5)))
    )
    if first < 0:
        return []
    stride = extractor.stride or extractor.n_times
    return [start / sfreq for start in range(first, last - extractor.n_times + 1, stride)]


def cut_windows(
    plan: Plan, extractor: EEGFeatureExtractor, unit: str | None
) -> tuple[np.ndarray, list[str], np.ndarray]:
    """Return the windows (N, C, T) float32 in microvolts, C channel names and N onsets in seconds of one recording.

    Raises:
        OSError: If the recording can't be read.
        ValueError: If it can't be used; the message names it.
    """
    raw = plan.source.open()
    try:
        batch = extractor(raw, onsets=plan.onsets, unit=unit)
    except ValueError as error:
        text = str(error) if plan.source.name in str(error) else f"{plan.source.name}: {error}"
        raise ValueError(text) from error
    return batch["input_values"], batch["ch_names"], batch["onset"]


class _Cutter:
    """Reads, cuts and judges the planned recordings one after the other."""

    def __init__(self, plans, extractor, options: BuildOptions, names: list[str], report: Counter, progress: bool):
        self.plans, self.extractor, self.options = plans, extractor, options
        self.names, self.report, self.progress = names, report, progress
        for column, values in options.subject_columns.items():
            missing = sorted({plan.subject for plan in plans} - set(values))
            if missing:
                raise ValueError(f"subject_columns[{column!r}] has no entry for the subjects {missing[:8]}.")
        # The first recording that is read settles the channels.
        self.ch_names: list[str] | None = None

    def batches(self) -> Iterator[dict[str, Any]]:
        """Yield the columns of one recording at a time."""
        counts: Counter = Counter()
        bar = tqdm(self.plans, desc="cutting windows", unit="recording", disable=not self.progress)
        for plan in bar:
            windows, ch_names, onsets = cut_windows(plan, self.extractor, self.options.unit)
            self.ch_names = self.ch_names or list(ch_names)
            windows = align_channels(windows, ch_names, self.ch_names, plan.source.name)
            labels, subjects = plan.labels, [plan.subject] * len(plan.labels)
            rest = (onsets, self.options, self.report, plan.marked)
            batch = window_columns(windows, labels, subjects, plan.source.name, *rest)
            counts.update(self.names[label] for label in batch["labels"])
            yield batch
        self.counts = {name: counts.get(name, 0) for name in self.names}
        if not sum(counts.values()):
            raise ValueError(
                f"all {self.report['rejected_amplitude']} windows exceed max_abs_uv={self.options.max_abs_uv:g} uV. "
                "Is the unit right, and is the drift taken out (l_freq=0.5)?"
            )
        check_classes(counts, self.names, self.options, "accepted")

    def describe(self) -> str:
        """Return the description to keep with the windows."""
        info = SignalInfo(tuple(self.ch_names), float(self.extractor.sfreq), int(self.extractor.n_times))
        return describe(info, finish_report(self.report, self.counts))
