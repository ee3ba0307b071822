# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""How recordings are read, as all commands say it: one set of flags, for those that train and those that use a model."""

from __future__ import annotations

import copy
from dataclasses import dataclass, fields
from typing import Any

from ..preprocessing.feature_extraction_eeg import EEGFeatureExtractor
from .arguments import arg


@dataclass
class ReadingArguments:
    """What is done with channels whose name, unit or number is in doubt."""

    unit: str | None = arg(None, "Unit that the numbers of the files really have, if not volts: uV, mV or V.")
    unknown_channels: str | None = arg(
        None,
        "EEG channels whose name is unknown, where --ch_names or the model doesn't name the wanted ones: `error` "
        "(default) names them, `drop` leaves them out.",
    )
    duplicate_channels: str | None = arg(
        None,
        "Channels of one electrode whose samples differ: `error` (default) names them, `first` or `last` chooses.",
    )
    outlying_channels: str | None = arg(
        None,
        "Channels of another unit than the others, or without contact (hundreds of times their amplitude): `error` "
        "(default) names them, `drop` leaves them out.",
    )


def reading_settings(args: Any) -> dict[str, Any]:
    """Return the settings of the feature extractor that the reading flags of a command give; none where none is given.

    Args:
        args: has the fields of [`ReadingArguments`].
    """
    names = [field.name for field in fields(ReadingArguments)]
    return {name: getattr(args, name) for name in names if getattr(args, name) is not None}


def with_reading(extractor: EEGFeatureExtractor, args: Any) -> EEGFeatureExtractor:
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
    EEGFeatureExtractor(**settings)
    told = copy.copy(extractor)
    for name, value in settings.items():
        setattr(told, name, value)
    return told


__all__ = ["ReadingArguments", "reading_settings", "with_reading"]
