# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Data sets of braindecode, by the name of their class or as an object: recordings, or windows cut from them."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterator, Mapping, Sequence
from types import ModuleType
from typing import Any

import mne
import numpy as np
import pandas as pd

from ..labels import AnnotationLabels, Segment
from ..sources import file_state, hash_raw
from .names import fetching, find_name, pick_subjects
from .recordings import PublicRecording, PublicSet


# Classes that hold other objects, or repeat a class of MOABB.
_NO_SETS = ("BaseConcatDataset", "BIDSEpochsDataset", "MOABBDataset")


def braindecode_set(name: str, subjects: Any, arguments: Mapping[str, Any]) -> PublicSet:
    """Return a data set of braindecode by the name of its class.

    Args:
        name: Such as "SleepPhysionet".
        subjects: Those to load, as the class counts them; None takes the class's default.
        arguments: Of the class, such as `path`.

    Returns:
        The set; the class downloads its files now, where they are not there.

    Raises:
        ImportError: If braindecode, or what the class needs, is not installed.
        OSError: If the download fails.
        TypeError: If the class doesn't take the arguments.
        ValueError: If there is no such class.
    """
    module = _braindecode_datasets()
    classes = {
        key: value
        for key, value in vars(module).items()
        if inspect.isclass(value) and issubclass(value, module.BaseConcatDataset) and key not in _NO_SETS
    }
    made = find_name(name, classes, "braindecode", "braindecode's data sets")
    parameters = inspect.signature(made).parameters
    arguments = dict(arguments)
    if subjects is not None:
        keyword = next((key for key in ("subject_ids", "subjects") if key in parameters), None)
        if keyword is None:
            raise TypeError(
                f"braindecode:{name} can't be asked for subjects; it takes {', '.join(parameters)}: use arguments=..."
            )
        arguments[keyword] = subjects
    elif "subject_ids" in parameters and parameters["subject_ids"].default is inspect.Parameter.empty:
        arguments.setdefault("subject_ids", None)
    try:
        inspect.signature(made).bind(**arguments)
    except TypeError as error:
        raise TypeError(
            f"braindecode:{name}: {error}. It takes {', '.join(parameters)}: give them as arguments={{...}}."
        ) from error
    try:
        with fetching(f"braindecode:{name}"):
            concat = made(**arguments)
    except ImportError as error:
        advice = ' `pip install "dlink-hf[moabb]"` brings it.' if error.name == "moabb" else ""
        raise ImportError(f"braindecode:{name} needs another library: {error}.{advice}") from error
    return braindecode_object(concat, None, f"braindecode:{name}")


def braindecode_object(concat: Any, subjects: Any, name: str | None = None) -> PublicSet:
    """Return a `BaseConcatDataset` of braindecode: of recordings, or of windows that point into recordings.

    Args:
        concat: It; each part's `description` names its `subject`, and where known `session` and `run`.
        subjects: Those to take; None takes all.
        name: What to call it.

    Returns:
        The set.

    Raises:
        ValueError: If a part has no subject, or its targets are no classes.
    """
    name = name or f"the {type(concat).__name__}"
    parts = list(concat.datasets)
    who = [_whose(part.description, name) for part in parts]
    chosen = pick_subjects(subjects, list(dict.fromkeys(who)), name)
    parts = [part for part, subject in zip(parts, who, strict=True) if subject in chosen]
    codes = label_codes(getattr(parts[0], "window_kwargs", []))
    steps = step_names(getattr(parts[0], "raw_preproc_kwargs", []))

    def recordings() -> Iterator[PublicRecording]:
        for part in parts:
            with fetching(name):
                yield _recording(part, codes, name)

    key = ["braindecode", [[dict(part.description.astype(str)), _state(part, codes, name)] for part in parts]]
    names = [codes[code] for code in sorted(codes)] or None
    return PublicSet(name, key, recordings, len(parts), names, steps)


def _recording(part: Any, codes: Mapping[int, str], name: str) -> PublicRecording:
    place = _whose(part.description, name), *place_of(part.description)
    if hasattr(part, "windows"):
        check_targets(part.targets_from, name)
        return PublicRecording(part.windows, target_labels(part.metadata, codes, name), *place)
    if hasattr(part, "metadata"):
        check_targets(part.targets_from, name)
        return PublicRecording(part.raw, stretches(part.metadata, part.raw.info["sfreq"], codes, name), *place)
    if part.target_name is not None:
        return PublicRecording(part.raw, whole_recording(part.description, part.target_name, name), *place)
    return PublicRecording(part.raw, AnnotationLabels().segments(part.raw, name, None), *place)


def _state(part: Any, codes: Mapping[int, str], name: str) -> list:
    """What changes when a part does: of files their sizes and times, of what is in memory a hash."""
    labels = _recording(part, codes, name).labels
    if hasattr(part, "windows"):
        values = part.windows.get_data(verbose="ERROR")
        info = mne.create_info(part.windows.ch_names, part.windows.info["sfreq"], "eeg", verbose="ERROR")
        raw = mne.io.RawArray(np.concatenate(values, axis=1), info, verbose="ERROR")
        return [labels, hash_raw(raw), part.windows.events.tolist()]
    raw = part.raw
    if raw.preload or not all(raw.filenames):
        return [labels, hash_raw(raw)]
    files = [file_state(path) for path in raw.filenames]
    return [labels, files, raw.ch_names, raw.info["bads"], raw.info["sfreq"], raw.first_samp, raw.n_times]


def label_codes(window_kwargs: Sequence) -> dict[int, str]:
    """Return the labels of integer targets, from what was handed to braindecode's windowing functions.

    Args:
        window_kwargs: (name of the function, its arguments) each, as braindecode keeps them.

    Returns:
        Code to label; two labels of one code are joined by "/". Empty where the arguments hold no mapping.
    """
    codes: dict[int, str] = {}
    for _, arguments in window_kwargs or []:
        for label, code in (arguments.get("mapping") or {}).items():
            if isinstance(code, (int, np.integer)):
                codes[int(code)] = f"{codes[int(code)]}/{label}" if int(code) in codes else str(label)
    return codes


def step_names(raw_preproc_kwargs: Sequence) -> list[str]:
    """Return the names of the functions that braindecode's `preprocess` has applied."""
    steps = [step.get("fn", "") if isinstance(step, Mapping) else step[0] for step in raw_preproc_kwargs or []]
    return [str(step).rpartition(".")[2] for step in steps]


def stretches(metadata: pd.DataFrame, sfreq: float, codes: Mapping[int, str], name: str) -> list[Segment]:
    """Return the windows that braindecode's metadata cuts from a recording, as labelled stretches.

    Args:
        metadata: With `i_start_in_trial` and `i_stop_in_trial`, samples from the recording's first, and `target`.
        sfreq: Sampling rate of the recording in hertz.
        codes: As of `label_codes`.
        name: Of the set, for messages.

    Returns:
        One segment a row.
    """
    labels = target_labels(metadata, codes, name)
    rows = zip(metadata["i_start_in_trial"], metadata["i_stop_in_trial"], labels, strict=True)
    return [Segment(int(start) / sfreq, (int(stop) - int(start)) / sfreq, label) for start, stop, label in rows]


def target_labels(metadata: pd.DataFrame, codes: Mapping[int, str], name: str) -> list[str]:
    """Return the label of every row of braindecode's metadata.

    Raises:
        ValueError: If there is no target, or it is a quantity.
    """
    if "target" not in metadata:
        raise ValueError(f"{name} has no targets: its metadata has the columns {', '.join(metadata)}.")
    labels = []
    for value in metadata["target"].tolist():
        if isinstance(value, float) and not value.is_integer():
            raise ValueError(
                f"{name} has targets that are no classes, {value!r} for one: this is regression, or a target is "
                "missing. Only classes can be learnt here."
            )
        code = int(value) if isinstance(value, (int, float)) else value
        labels.append(str(codes.get(code, code)))
    return labels


def check_targets(targets_from: str, name: str) -> None:
    """Refuse sets whose targets are time series in channels of their own."""
    if targets_from != "metadata":
        raise ValueError(f"{name} has targets that are signals (targets_from={targets_from!r}), not classes.")


def whole_recording(description: Mapping[str, Any], target_name: Any, name: str) -> list[Segment]:
    """Return one stretch from beginning to end, labelled by a field of the recording's description.

    Raises:
        ValueError: If there are several such fields, or the description lacks it.
    """
    if not isinstance(target_name, str) or target_name not in description:
        raise ValueError(
            f"{name} has the target {target_name!r}; one field of its descriptions is needed, out of "
            f"{', '.join(map(str, description.keys()))}."
        )
    return [Segment(0.0, None, str(description[target_name]))]


def place_of(description: Mapping[str, Any]) -> tuple[str, str]:
    """Session and run that a recording's description names; empty where it doesn't."""
    session, run = description.get("session"), description.get("run", description.get("recording"))
    return tuple("" if value is None or value != value else str(value) for value in (session, run))


def _whose(description: Any, name: str) -> str:
    subject = None if description is None else description.get("subject")
    if subject is None or subject != subject:
        held = "nothing" if description is None else ", ".join(map(str, description.keys()))
        raise ValueError(
            f"whose recordings are these? The descriptions of {name} hold {held}, no `subject`, and scores are only "
            "worth something when subjects are kept apart. Build the object yourself, say it by "
            "concat.set_description({'subject': [one a recording]}), and hand over the object."
        )
    return str(subject)


def _braindecode_datasets() -> ModuleType:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            import braindecode.datasets
    except (ImportError, OSError) as error:
        raise ImportError(
            'data sets of braindecode need the library, and a torchaudio that fits torch: `pip install "dlink-hf'
            f'[teachers]"`. The reason: {error}'
        ) from error
    return braindecode.datasets


__all__ = [
    "braindecode_object",
    "braindecode_set",
    "check_targets",
    "label_codes",
    "place_of",
    "step_names",
    "stretches",
    "target_labels",
    "whole_recording",
]
