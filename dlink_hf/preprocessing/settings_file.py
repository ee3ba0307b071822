# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""`preprocessor_config.json` is checked by itself, so that what is wrong in it is an error of that file."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from ..core.checks import MALFORMED


# the longest list and the largest numbers that a setting may have: far above any recording's
_LONGEST_LIST = 1024
_LARGEST = {"sfreq": 1e6, "n_times": 1e7, "stride": 1e7, "alignment_min_seconds": 1e7}


class SettingsFileMixin:
    """A feature extractor whose file is refused by name."""

    @classmethod
    def get_feature_extractor_dict(
        cls, pretrained_model_name_or_path: str | os.PathLike, **kwargs: Any
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Read the settings; see `transformers.FeatureExtractionMixin.get_feature_extractor_dict`.

        Raises:
            OSError: There are none, or they can't be reached.
            ValueError: They are no settings of this class; the message names file and field.
        """
        where = f"preprocessor_config.json of {pretrained_model_name_or_path}"
        try:
            fields, unused = super().get_feature_extractor_dict(pretrained_model_name_or_path, **kwargs)  # type: ignore[misc]
        except RecursionError:
            raise ValueError(f"{where} is nested too deep to be read: it is not what it should be.") from None
        except MALFORMED as error:
            raise ValueError(f"{where} can't be read: {error}. Copy it again, or download it again.") from error
        check_settings(fields, where, cls.from_dict)  # type: ignore[attr-defined]
        return fields, unused


def check_settings(fields: Any, where: str, make: Callable[[dict[str, Any]], Any]) -> None:
    """Refuse what a file of settings holds where no feature extractor can be made of it.

    Args:
        fields: What the file holds.
        where: The file, for the message.
        make: Makes a feature extractor of such fields.

    Raises:
        ValueError: They are no settings; the message names file and field.
    """
    if not isinstance(fields, dict):
        raise ValueError(f"{where} must hold a JSON object, got {type(fields).__name__}.")
    try:
        _check_values(fields)
        reference = fields.get("alignment_reference")
        make({**fields, "alignment_reference": None})
    except MALFORMED as error:
        raise ValueError(f"{where}: {error or type(error).__name__}") from error
    try:
        if reference is not None:
            make(dict(fields))
    except MALFORMED as error:
        raise ValueError(f"{where}: alignment_reference: {error or type(error).__name__}") from error


def _check_values(fields: dict[str, Any]) -> None:
    """Refuse lists and numbers beyond any recording's, and channels that are no list of names."""
    for name, value in fields.items():
        most = _LARGEST.get(name, 1e9)
        if isinstance(value, int | float) and abs(value) > most:
            raise ValueError(f"{name} must be a number of at most {most:,.0f}, got {value!r}")
        if name in ("ch_names", "notch_freq") and isinstance(value, list | dict) and len(value) > _LONGEST_LIST:
            raise ValueError(f"{name} must have at most {_LONGEST_LIST:,} entries, got {len(value):,}")
    names = fields.get("ch_names")
    if names is not None and not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
        raise ValueError(f"ch_names must be a list of channel names, got {str(names)[:100]}")


__all__ = ["SettingsFileMixin", "check_settings"]
