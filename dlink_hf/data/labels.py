# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Where the labels of windows come from: annotations, event files, tables, file names.

A label source turns one recording into labelled segments of time; `build_dataset` cuts each into windows.
Times are seconds from the recording's first sample.
"""

import hashlib
import logging
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import InitVar, dataclass, field
from pathlib import Path
from typing import NamedTuple

import mne
import numpy as np

from ..core.checks import first_names
from ..preprocessing.artefacts import is_about_quality, marked_spans
from .hypnograms import hypnogram_of, with_hypnogram
from .tables import as_number, read_table


logger = logging.getLogger(__name__)

# between the numbers, or the names, of one row
SEPARATOR = ";"


class Segment(NamedTuple):
    """A labelled stretch of a recording: `onset` and `duration` in seconds (None: up to the recording's end)."""

    onset: float
    duration: float | None
    label: str


def bad_spans(raw: mne.io.BaseRaw) -> list[tuple[float, float]]:
    """Return the stretches that annotations beginning with "BAD" or "EDGE" mark (MNE's convention), and the joins.

    Args:
        raw: A recording.

    Returns:
        (begin, end) pairs in seconds from the first sample; equal at the joins of `mne.concatenate_raws` and EEGLAB.
    """
    return [(span.begin, span.end) for span in marked_spans(raw)]


def _annotations(raw: mne.io.BaseRaw) -> list[tuple[float, float, str]]:
    # MNE counts annotation onsets from time zero, which lies before the first sample in a cropped recording.
    return [
        (float(onset) - raw.first_time, float(duration), str(description))
        for onset, duration, description in zip(
            raw.annotations.onset, raw.annotations.duration, raw.annotations.description, strict=True
        )
    ]


def _translate(name: str, mapping: Mapping[str, str] | None) -> str:
    """The label of a source's own name; unknown names are returned as they are, for build_dataset to judge."""
    return name if mapping is None else str(mapping.get(name, name))


@dataclass(frozen=True)
class AnnotationLabels:
    """Labels from the recording's own annotations (EDF+, BrainVision markers, BIDS events, `raw.annotations`).

    Args:
        mapping: Annotation description to label, e.g. `{"T1": "left fist", "T2": "right fist"}`; None takes every
            description as its own label. Annotations that are neither mapped nor ignored are an error.
        start: Where the segment begins, seconds after the annotation's onset.
        duration: Length of the segment in seconds; None takes the annotation's own duration. Markers (BrainVision,
            EEGLAB) have none of their own and need it.
        tmin, tmax: Begin and end of the segment in seconds from the onset, as MNE's Epochs say it; in place of
            `start` and `duration`.

    A recording without annotations of its own whose hypnogram lies next to it (Sleep-EDF's `SC4001E0-PSG.edf` and
    `SC4001EC-Hypnogram.edf`) gets the hypnogram's.
    """

    mapping: Mapping[str, str] | None = None
    start: float = 0.0
    duration: float | None = None
    tmin: InitVar[float | None] = None
    tmax: InitVar[float | None] = None

    def __post_init__(self, tmin: float | None, tmax: float | None):
        _settle_times(self, tmin, tmax)

    def label_names(self) -> list[str] | None:
        """Return the labels in the mapping's order; None when only the recordings tell."""
        return None if self.mapping is None else list(dict.fromkeys(map(str, self.mapping.values())))

    def segments(self, raw: mne.io.BaseRaw, recording: str, path: Path | None) -> list[Segment]:
        """Return the annotated stretches of one recording."""
        raw = with_hypnogram(raw, path)
        return [
            Segment(
                onset + self.start,
                self.duration if self.duration is not None else duration - self.start,
                _translate(description, self.mapping),
            )
            for onset, duration, description in _annotations(raw)
            if not is_about_quality(description)
        ]

    def files(self, path: Path) -> list[Path]:
        """Return the files next to the recording that the labels depend on: its hypnogram, where there is one."""
        hypnogram = hypnogram_of(path)
        return [] if hypnogram is None else [hypnogram]


@dataclass(frozen=True)
class EventLabels:
    """Labels from an event file next to each recording.

    MNE events (`*-eve.fif`, `*_eve.txt`; samples and codes) or a BIDS-like table (`*.tsv` with the columns `onset`,
    `trial_type` and, unless given here, `duration`, in seconds).

    Args:
        mapping: Event code or trial type to label, e.g. `{1: "rest", 2: "13 Hz"}`; None takes each as its own label.
        suffix: What the event file's name ends with. It is looked for in the recording's folder under the
            recording's name less its ending (`_raw.fif`, `_eeg.edf`, `.edf` ...).
        start: Where the segment begins, seconds after the event.
        duration: Length of the segment in seconds; None takes the table's duration column.
        tmin, tmax: Begin and end of the segment in seconds from the event, as MNE's Epochs say it; in place of
            `start` and `duration`.
    """

    mapping: Mapping[str | int, str] | None = None
    suffix: str = "-eve.fif"
    start: float = 0.0
    duration: float | None = None
    tmin: InitVar[float | None] = None
    tmax: InitVar[float | None] = None

    def __post_init__(self, tmin: float | None, tmax: float | None):
        _settle_times(self, tmin, tmax)

    def label_names(self) -> list[str] | None:
        """Return the labels in the mapping's order; None when only the recordings tell."""
        return None if self.mapping is None else list(dict.fromkeys(map(str, self.mapping.values())))

    def event_file(self, path: Path) -> Path:
        """Return the event file of one recording.

        Raises:
            FileNotFoundError: If there is none; the message lists the names tried.
        """
        stems = list(dict.fromkeys([_recording_stem(path), path.stem]))
        # the default stands for what MNE and BIDS name such files
        suffixes = ("-eve.fif", "eve.fif", "eve.txt", "events.tsv") if self.suffix == "-eve.fif" else (self.suffix,)
        candidates = [
            path.with_name(stem + joint + suffix) for suffix in suffixes for stem in stems for joint in ("", "_", "-")
        ]
        for candidate in candidates:
            if candidate.is_file():
                return candidate
        raise FileNotFoundError(
            f"no event file next to the recording {path.name}: looked in {path.parent} for "
            f"{', '.join(dict.fromkeys(candidate.name for candidate in candidates))}. Set EventLabels(suffix=...) to "
            "what the names of your event files end with."
        )

    def segments(self, raw: mne.io.BaseRaw, recording: str, path: Path | None) -> list[Segment]:
        """Return the stretches after the events of one recording."""
        if path is None:
            raise ValueError(
                f"EventLabels reads a file next to the recording, but {recording!r} was not read from a file. Put the "
                "events into raw.set_annotations(...) and use AnnotationLabels."
            )
        events_path = self.event_file(path)
        mapping = None if self.mapping is None else {str(key): value for key, value in self.mapping.items()}
        if events_path.suffix == ".tsv":
            return self._table_segments(events_path, mapping)
        if self.duration is None:
            raise ValueError(
                f"the event file {events_path.name} holds instants, not stretches: say how long a trial lasts, e.g. "
                "EventLabels(duration=5.0) (--trial_duration 5, in seconds; --trial_start where it begins after the "
                "event; or tmin and tmax)."
            )
        events = _read_events(events_path)
        sfreq = raw.info["sfreq"]
        return [
            Segment((sample - raw.first_samp) / sfreq + self.start, self.duration, _translate(str(code), mapping))
            for sample, _, code in events
        ]

    def _table_segments(self, path: Path, mapping: Mapping[str, str] | None) -> list[Segment]:
        needed = ["onset", "trial_type"] + (["duration"] if self.duration is None else [])
        rows = read_table(path, needed, delimiter="\t")
        segments = []
        for number, row in enumerate(rows, start=2):
            onset = as_number(row["onset"], path, number, "onset")
            duration = self.duration
            if duration is None:
                duration = as_number(row["duration"], path, number, "duration") - self.start
            segments.append(Segment(onset + self.start, duration, _translate(row["trial_type"], mapping)))
        return segments

    def files(self, path: Path) -> list[Path]:
        """Return the files next to the recording that the labels depend on."""
        return [self.event_file(path)]


@dataclass(frozen=True)
class TableLabels:
    """Labels from one CSV (or TSV) table for all recordings.

    Args:
        path: The table. Columns: `recording` (file name, with or without its ending, or the path relative to the
            table or to the source folder), `label`, and optionally `onset` and `duration` (seconds; without them
            the whole recording has the label) and `subject`.
        mapping: Label as written in the table to label; None keeps them.
        missing: "error" when a recording has no row in the table, or "skip" to leave such recordings out (counted).
        targets: Columns that hold numbers, or zeros and ones, in place of `label`: for `build_dataset` with another
            `problem_type` than classes. An empty field is a number that is not known.
    """

    path: str | Path
    mapping: Mapping[str, str] | None = None
    missing: str = "error"
    targets: Sequence[str] | None = None
    _rows: dict = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self):
        if self.missing not in ("error", "skip"):
            raise ValueError(f"TableLabels(missing={self.missing!r}) is unknown; choose 'error' or 'skip'.")
        path = Path(self.path)
        delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
        targets = None if self.targets is None else list(self.targets)
        if targets is not None and (not targets or self.mapping is not None):
            raise ValueError("TableLabels(targets=[...]) names columns of numbers, which no `mapping` translates.")
        for number, row in enumerate(read_table(path, ["recording", *(targets or ["label"])], delimiter), start=2):
            if targets is not None:
                row["label"] = SEPARATOR.join(row[name] for name in targets)
                if row["recording"]:
                    self._rows.setdefault(_as_posix(row["recording"]), []).append((number, row))
                    continue
            if not row["recording"] or not row["label"]:
                raise ValueError(f"{path.name}, line {number}: the columns recording and label must not be empty.")
            self._rows.setdefault(_as_posix(row["recording"]), []).append((number, row))

    def label_names(self) -> list[str]:
        """Return the table's labels: in the mapping's order, or sorted."""
        if self.mapping is not None:
            return list(dict.fromkeys(map(str, self.mapping.values())))
        return sorted({row["label"] for rows in self._rows.values() for _, row in rows})

    def keys_of(self, recording: str, path: Path | None) -> list[str]:
        """Return how the table spells one recording, in all its rows."""
        names = [recording, Path(recording).name, Path(recording).stem]
        if path is not None:
            names += [path.name, path.stem, _recording_stem(path), path.as_posix()]
            for depth in range(2, len(path.parts)):
                tail = "/".join(path.parts[-depth:])
                names += [tail, tail.removesuffix(path.suffix)]
        return [name for name in dict.fromkeys(names) if name in self._rows]

    def rows_of(self, recording: str, path: Path | None) -> list[tuple[int, dict[str, str]]]:
        """Return the table's rows about one recording, with their line numbers."""
        return sorted(
            (row for key in self.keys_of(recording, path) for row in self._rows[key]), key=lambda numbered: numbered[0]
        )

    def check_recordings(self, recordings: Sequence[tuple[str, Path | None]]) -> None:
        """Compare the table's recordings with those at hand; warn of rows that speak of none of them.

        Raises:
            ValueError: If rows fit several recordings, as files of one name in different folders do.
        """
        user: dict[str, str] = {}
        for recording, path in recordings:
            for key in self.keys_of(recording, path):
                if key in user:
                    raise ValueError(
                        f"{Path(self.path).name}: {key!r} fits both {user[key]!r} and {recording!r}. Write the column "
                        "recording with as much of the path as tells them apart."
                    )
                user[key] = recording
        unused = [key for key in self._rows if key not in user]
        if unused:
            logger.warning(
                "%s names %d recordings that are not among those given: %s",
                self.path,
                len(unused),
                first_names(map(repr, unused), 5),
            )

    def segments(self, raw: mne.io.BaseRaw, recording: str, path: Path | None) -> list[Segment]:
        """Return the stretches that the table gives for one recording."""
        rows = self.rows_of(recording, path)
        if not rows and self.missing == "error":
            raise ValueError(
                f"the table {Path(self.path).name} has no row for the recording {recording!r} (it names "
                f"{first_names(map(repr, self._rows), 5)}). Add the row, or leave such recordings out with "
                "TableLabels(missing='skip')."
            )
        segments = []
        for number, row in rows:
            onset = as_number(row.get("onset") or "0", Path(self.path), number, "onset")
            if onset < 0:
                raise ValueError(
                    f"{Path(self.path).name}, line {number}: onset is {onset:g} s, before the recording's first "
                    "sample. Onsets count from there in seconds: is another clock or another zero meant?"
                )
            duration = row.get("duration")
            duration = as_number(duration, Path(self.path), number, "duration") if duration else None
            segments.append(Segment(onset, duration, _translate(row["label"], self.mapping)))
        return segments

    def subject(self, recording: str, path: Path | None) -> str | None:
        """Return the subject that the table gives for one recording, None without such a column.

        Raises:
            ValueError: If the rows of one recording name several subjects.
        """
        found = {row.get("subject") for _, row in self.rows_of(recording, path)} - {None, ""}
        if len(found) > 1:
            raise ValueError(
                f"{Path(self.path).name} gives the recording {recording!r} several subjects: {sorted(found)}."
            )
        return found.pop() if found else None

    def files(self, path: Path) -> list[Path]:
        """Return the files that the labels depend on (the table's content itself is in the fingerprint)."""
        return []

    def digest(self) -> str:
        """SHA-256 of the table, for the cache's fingerprint."""
        return hashlib.sha256(Path(self.path).read_bytes()).hexdigest()


@dataclass(frozen=True)
class PathLabels:
    r"""One label a file, from its path by a regular expression.

    Args:
        pattern: Searched in the recording's path with `/` as separator; the group `label` (or the first group) is the
            label, e.g. `r"_(\d)\.edf$"`.
        mapping: What the group matched to label, e.g. `{"1": "rest", "2": "arithmetic"}`; None keeps it.
    """

    pattern: str
    mapping: Mapping[str, str] | None = None

    def __post_init__(self):
        if re.compile(self.pattern).groups < 1:
            raise ValueError(f"PathLabels(pattern={self.pattern!r}) needs a group, e.g. r'_(?P<label>\\w+)\\.edf$'.")

    def label_names(self) -> list[str] | None:
        """Return the labels in the mapping's order; None when only the paths tell."""
        return None if self.mapping is None else list(dict.fromkeys(map(str, self.mapping.values())))

    def segments(self, raw: mne.io.BaseRaw, recording: str, path: Path | None) -> list[Segment]:
        """Return the whole recording, with its path's label."""
        text = recording if path is None else path.as_posix()
        return [Segment(0.0, None, _translate(match_group(self.pattern, text, "label"), self.mapping))]

    def files(self, path: Path) -> list[Path]:
        """Return the files next to the recording that the labels depend on."""
        return []


@dataclass(frozen=True)
class WholeRecording:
    """No labels: every recording is one segment from beginning to end, as for pre-training.

    Args:
        label: The one label.
    """

    label: str = "unlabelled"

    def label_names(self) -> list[str]:
        """Return the one label."""
        return [self.label]

    def segments(self, raw: mne.io.BaseRaw, recording: str, path: Path | None) -> list[Segment]:
        """Return the whole recording."""
        return [Segment(0.0, None, self.label)]

    def files(self, path: Path) -> list[Path]:
        """No file but the recording's own."""
        return []


LabelSource = AnnotationLabels | EventLabels | TableLabels | PathLabels | WholeRecording


def match_group(pattern: str, text: str, group: str) -> str:
    """Return what the named group, or else the first group, of a regular expression matches in a path.

    Args:
        pattern: A regular expression with at least one group.
        text: The path, with `/` as separator.
        group: The group's preferred name.

    Returns:
        The matched text.

    Raises:
        ValueError: If the pattern has no group or is not found.
    """
    compiled = re.compile(pattern)
    if compiled.groups < 1:
        raise ValueError(
            f"the pattern {pattern!r} has no group: put what is the {group} in (...) or (?P<{group}>...)."
        )
    match = compiled.search(text)
    if match is None or match.group(group if group in compiled.groupindex else 1) is None:
        raise ValueError(f"the {group} pattern {pattern!r} is not found in {text!r}; adapt it to your file names.")
    return match.group(group if group in compiled.groupindex else 1)


def _settle_times(labels: AnnotationLabels | EventLabels, tmin: float | None, tmax: float | None) -> None:
    """Turn `tmin` and `tmax` into `start` and `duration`; judge all of them."""
    name = type(labels).__name__
    if tmin is not None or tmax is not None:
        if labels.start or labels.duration is not None:
            raise ValueError(f"{name}: give start and duration, or tmin and tmax, not some of each.")
        if tmin is not None:
            object.__setattr__(labels, "start", float(tmin))
        if tmax is not None:
            object.__setattr__(labels, "duration", float(tmax) - float(tmin or 0.0))
    if not np.isfinite(labels.start):
        raise ValueError(f"{name}(start={labels.start!r}) must be a finite number of seconds.")
    if labels.duration is not None and not (np.isfinite(labels.duration) and labels.duration > 0):
        raise ValueError(
            f"{name}: a trial lasts {labels.duration!r} s (duration, or tmax - tmin); expected more than 0 s."
        )


def _read_events(path: Path) -> np.ndarray:
    """The events (N, 3) of a file as MNE writes them; a broken one is named."""
    try:
        with warnings.catch_warnings():
            # the naming convention of FIF files does not concern a reader
            warnings.filterwarnings("ignore", message="This filename .* does not conform to MNE naming conventions")
            warnings.filterwarnings("ignore", message="loadtxt: input contained no data")
            return mne.read_events(path, verbose="ERROR")
    except (MemoryError, PermissionError):
        raise
    except Exception as error:
        # MNE's readers fail in many ways
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ValueError(
            f"the event file {path.name} could not be read: it is damaged, or not what its ending says. MNE says: "
            f"{reason}. Write it again with mne.write_events, or give a table (.tsv: onset, duration, trial_type)."
        ) from error


def _recording_stem(path: Path) -> str:
    """The recording's name without its ending and without `_raw` or `_eeg`."""
    stem = path.name[: -len(".fif.gz")] if path.name.endswith(".fif.gz") else path.stem
    return re.sub(r"[-_](raw|eeg)$", "", stem)


def _as_posix(name: str) -> str:
    return name.replace("\\", "/")
