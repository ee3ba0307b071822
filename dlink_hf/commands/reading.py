# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""How recordings and their labels are read, as all commands say it: one set of flags."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field, fields
from typing import Any

from ..preprocessing.preparation import EEGPreparation


def _flag(help: str) -> Any:
    return field(default=None, metadata={"help": help})


@dataclass
class ReadingArguments:
    """What is done with channels whose name, unit or number is in doubt."""

    unit: str | None = _flag("Unit that the numbers of the files really have, if not volts: uV, mV or V.")
    unknown_channels: str | None = _flag("EEG channels of unknown name: `error` or `drop`.")
    duplicate_channels: str | None = _flag("Unlike ones of one electrode: `error`, `first`, `last`.")
    outlying_channels: str | None = _flag("Of another unit, no contact: `error` or `drop`.")


@dataclass
class TrialArguments:
    """Where the trials of markers begin and end."""

    trial_start: float | None = _flag("Begin of a trial, seconds after its marker; 0.")
    trial_duration: float | None = _flag("Its length in seconds, which markers lack.")
    tmin: float | None = _flag("Begin of a trial as MNE says it, in seconds ...")
    tmax: float | None = _flag("... and its end.")


def trial_times(args: Any) -> dict[str, float]:
    """Return the arguments of `AnnotationLabels` and `EventLabels` that a command's flags give.

    Args:
        args: has the fields of [`TrialArguments`].
    """
    names = {"trial_start": "start", "trial_duration": "duration", "tmin": "tmin", "tmax": "tmax"}
    return {name: getattr(args, flag) for flag, name in names.items() if getattr(args, flag) is not None}


def reading_settings(args: Any) -> dict[str, Any]:
    """Return the settings of the feature extractor that the reading flags of a command give; none where none is given.

    Args:
        args: has the fields of [`ReadingArguments`].
    """
    names = [each.name for each in fields(ReadingArguments)]
    return {name: getattr(args, name) for name in names if getattr(args, name) is not None}


def with_reading(extractor: EEGPreparation, args: Any) -> EEGPreparation:
    """Return a model's feature extractor, told by a command's flags how to read; itself where none is given.

    Args:
        extractor: of the model.
        args: has the fields of [`ReadingArguments`].

    Raises:
        ValueError: a flag has an unknown value.
    """
    settings = reading_settings(args)
    if not settings:
        return extractor
    # judges the values
    EEGPreparation(**settings)
    told = copy.copy(extractor)
    for name, value in settings.items():
        setattr(told, name, value)
    return told


__all__ = ["ReadingArguments", "TrialArguments", "reading_settings", "trial_times", "with_reading"]
