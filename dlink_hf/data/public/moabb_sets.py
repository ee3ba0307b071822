# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Data sets of MOABB, by the name of their class or as an object.

What is used of MOABB is its documented interface: `get_data(subjects=[...])`, which gives
{subject: {session: {run: Raw}}}, `subject_list`, `event_id` and `interval`.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from types import ModuleType
from typing import Any

import mne

from ..labels import AnnotationLabels, Segment
from ..sources import hash_raw
from .names import fetching, find_name, pick_subjects
from .recordings import PublicRecording, PublicSet


def moabb_set(name: str, subjects: Sequence | None, arguments: Mapping[str, Any]) -> PublicSet:
    """Return a data set of MOABB by the name of its class.

    Args:
        name: Such as "BNCI2014_001".
        subjects: Those to load; None takes all.
        arguments: Of the class.

    Returns:
        The set; nothing is downloaded yet.

    Raises:
        ImportError: If MOABB is not installed.
        ValueError: If there is no such class, or no such subject.
    """
    module = _moabb_datasets()
    import moabb

    base = module.base.BaseDataset
    classes = {key: value for key, value in inspect.getmembers(module, inspect.isclass) if issubclass(value, base)}
    dataset = find_name(name, classes, "moabb", "MOABB's data sets")(**arguments)
    chosen = pick_subjects(subjects, dataset.subject_list, f"moabb:{name}")
    key = ["moabb", moabb.__version__, name, sorted(arguments.items()), chosen]
    return _set_of(dataset, f"moabb:{name}", chosen, key)


def moabb_object(dataset: Any, subjects: Sequence | None) -> PublicSet:
    """The same of an object; it is read twice, since only its recordings tell whether they are known already."""
    name = type(dataset).__name__
    chosen = pick_subjects(subjects, dataset.subject_list, name)
    made = _set_of(dataset, name, chosen, [])
    made.key = [
        ["moabb object", entry.subject, entry.session, entry.run, entry.labels, hash_raw(entry.signal)]
        for entry in made.recordings()
    ]
    return made


def _set_of(dataset: Any, name: str, subjects: Sequence, key: list) -> PublicSet:
    names = sorted(dataset.event_id, key=lambda label: _codes(dataset.event_id[label]))

    def recordings() -> Iterator[PublicRecording]:
        for subject in subjects:
            with fetching(name):
                data = dataset.get_data(subjects=[subject])
            for who, sessions in data.items():
                for session, runs in sessions.items():
                    for run, raw in runs.items():
                        trials = trials_of(raw, dataset.event_id, dataset.interval)
                        yield PublicRecording(raw, trials, str(who), str(session), str(run))

    return PublicSet(name, key, recordings, label_names=names)


def trials_of(
    raw: mne.io.BaseRaw, event_id: Mapping[str, int | Sequence[int]], interval: Sequence[float]
) -> list[Segment]:
    """Return the labelled stretches of a run.

    Args:
        raw: As `get_data` gives it: MOABB 1.0 and later annotates each trial, its interval included; before that,
            events are in a stimulus channel.
        event_id: Label to its code in the stimulus channel, or to several.
        interval: Where a trial begins and ends, seconds after its event.

    Returns:
        The trials in the order of time, onsets in seconds from the first sample.
    """
    start, length = interval[0], interval[1] - interval[0]
    annotated = [item for item in AnnotationLabels().segments(raw, "", None) if item.label in event_id]
    if annotated:
        # an annotation of no length is a bare event
        return [
            item if item.duration else Segment(item.onset + start, length, item.label)
            for item in sorted(annotated, key=lambda item: item.onset)
        ]
    if not len(mne.pick_types(raw.info, meg=False, stim=True)):
        return []
    labels = {code: label for label, codes in event_id.items() for code in _codes(codes)}
    events = mne.find_events(raw, shortest_event=0, verbose="ERROR")
    return [
        Segment((sample - raw.first_samp) / raw.info["sfreq"] + start, length, labels[code])
        for sample, _, code in events
        if code in labels
    ]


def _codes(value: int | Sequence[int]) -> list[int]:
    return [int(code) for code in value] if isinstance(value, (list, tuple)) else [int(value)]


def _moabb_datasets() -> ModuleType:
    try:
        import moabb.datasets
        import moabb.datasets.base
    except ImportError as error:
        raise ImportError(
            'data sets of MOABB need the library: `pip install "dlink-hf[moabb]"` (or `pip install moabb`). The '
            f"reason: {error}"
        ) from error
    return moabb.datasets


__all__ = ["moabb_object", "moabb_set", "trials_of"]
