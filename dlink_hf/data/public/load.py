# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Public EEG data sets by name, from the Hub, MOABB or braindecode, as windows like those of `build_dataset`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from datasets import Dataset

from ...preprocessing.feature_extraction_eeg import EEGFeatureExtractor
from .braindecode_sets import braindecode_object, braindecode_set
from .hub_sets import hub_set
from .moabb_sets import moabb_object, moabb_set
from .own_sets import EEG_SETS
from .recordings import PublicSet, build_public_set


PREFIXES = ("hub", "moabb", "braindecode")


def load_public_set(
    source: Any,
    extractor: EEGFeatureExtractor | None = None,
    *,
    subjects: Any = None,
    label_mapping: Mapping[str, str] | None = None,
    ignore_labels: Sequence[str] | str = (),
    arguments: Mapping[str, Any] | None = None,
    revision: str | None = None,
    token: str | bool | None = None,
    cache_dir: str | Path | None = None,
    overwrite_cache: bool = False,
    progress: bool = True,
    **options: Any,
) -> Dataset:
    """Labelled windows of a public data set.

    A window begins with each trial (in MOABB's sets where the set's `interval` begins) and others follow it by the
    extractor's `stride` as far as the trial lasts; of windows that a Hub set holds ready-made, the beginning is taken.

    Args:
        source: "hub:user/name" (or "user/name"), a data set that braindecode's `push_to_hub` put on the Hub, such as
            "braindecode/bcic2a", or "hub:FOLDER", a folder with such a repository's files; "moabb:CLASS", such as
            "moabb:BNCI2014_001"; "braindecode:CLASS", such as "braindecode:SleepPhysionet"; or an object of MOABB's
            `BaseDataset` or braindecode's `BaseConcatDataset`.
        extractor: What turns a recording into windows, as in `build_dataset`.
        subjects: Those to load, one or several, as the set counts them; None takes all.
        label_mapping: The set's label to another, e.g. `{"left_hand": "left", "right_hand": "right"}`; two may become
            one. None keeps the set's own, in the order of their codes.
        ignore_labels: Labels to leave out; "others" leaves out all that are neither in `label_mapping` nor in
            `label_names`.
        arguments: More arguments of MOABB's or braindecode's class, e.g. `{"path": "recordings/tuh"}`.
        revision: Of a Hub set: branch, tag or commit.
        token: Of a Hub set: for private and gated ones.
        cache_dir: Folder for the recordings (single-precision FIF) and the windows; None takes `default_cache_dir()`.
            Downloads stay where the library puts them.
        overwrite_cache: Whether to read and build again even if they are there.
        progress: Whether to show progress bars.
        **options: More arguments of `build_dataset`: `unit`, `max_abs_uv`, `short`, `label_names`, `subject_columns`,
            `allow_one_class` ... Sets that were stored in microvolts need `unit="uV"`; the error says so.

    Returns:
        Dataset with the columns of `build_dataset`, `input_values` (C, T) float32 in microvolts, and `session` where
        the set has sessions; `recording` names subject, session and run.

    Raises:
        ImportError: If the library is not installed; the message names the extra.
        OSError: If there is no such repository, no access, or no connection.
        TypeError: If `source` is of no known kind, or the class doesn't take the arguments.
        ValueError: If the name is unknown (the message lists names like it), a Hub repository is not a data set
            of braindecode's, a subject is unknown, there are no events, trials are shorter than a window, recordings
            differ in their channels, or the numbers' unit is implausible.
    """
    public_set = _find(source, subjects, dict(arguments or {}), revision, token)
    return build_public_set(
        public_set, extractor, label_mapping, ignore_labels, cache_dir, overwrite_cache, progress, **options
    )


def is_public_name(name: str) -> bool:
    """Return whether a text names a public data set by a prefix ("hub:", "moabb:", "braindecode:").

    Args:
        name: Any text; a bare "user/name" is not told from a path.
    """
    prefix, colon, rest = name.partition(":")
    return bool(colon and rest) and prefix in PREFIXES


def _find(
    source: Any, subjects: Any, arguments: dict[str, Any], revision: str | None, token: str | bool | None
) -> PublicSet:
    """The set that is meant."""
    if isinstance(source, str):
        prefix, colon, name = source.partition(":")
        if not colon and source.count("/") == 1 and all(source.split("/")):
            prefix, name = "hub", source
        if prefix not in PREFIXES or not name:
            own = f" {source} is one of load_eeg_set's." if source in EEG_SETS else ""
            raise ValueError(
                f"{source!r} names no public set. Write 'user/name' or 'hub:user/name' for the Hub, 'moabb:CLASS' or "
                f"'braindecode:CLASS', such as 'moabb:BNCI2014_001'.{own} For your own recordings use build_dataset."
            )
        if prefix == "hub":
            if arguments:
                raise TypeError(f"a Hub set takes no arguments, got {', '.join(arguments)}.")
            return hub_set(name, subjects, revision, token)
    if revision is not None or token is not None:
        raise TypeError("revision and token are for sets of the Hub.")
    if isinstance(source, str):
        make = moabb_set if prefix == "moabb" else braindecode_set
        return make(name, subjects, arguments)
    if arguments:
        raise TypeError("arguments are those of a class that is given by its name; this is an object.")
    if all(hasattr(source, name) for name in ("get_data", "event_id", "interval", "subject_list")):
        return moabb_object(source, subjects)
    if hasattr(source, "datasets") and all(hasattr(part, "description") for part in source.datasets):
        return braindecode_object(source, subjects)
    raise TypeError(
        f"load_public_set takes a name, or an object of MOABB's BaseDataset or braindecode's BaseConcatDataset, got "
        f"{type(source).__name__}. For MNE objects, files and arrays use build_dataset."
    )


__all__ = ["is_public_name", "load_public_set"]
