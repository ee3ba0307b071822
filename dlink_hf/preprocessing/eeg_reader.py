# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""The feature extractor for devices: the same windows, read without torch and transformers."""

from __future__ import annotations

import os
from typing import Any, Self

from ..core.checkpoint_names import found_checkpoint
from ..core.fetch import fetch, read_json
from .preparation import EEGPreparation
from .settings_file import check_settings


SETTINGS_FILE = "preprocessor_config.json"


class EEGReader(EEGPreparation):
    """An [`EEGFeatureExtractor`] that imports neither torch nor transformers, for a device with an exported student.

    Settings, files, windows and errors are those of the feature extractor, by the same code. It reads what the feature
    extractor saved, and returns NumPy arrays; saving is the other's.

    Args:
        **settings: As of [`EEGFeatureExtractor`].

    Example:

    ```python
    >>> from dlink_hf import EEGReader

    >>> reader = EEGReader.from_pretrained("outputs/export/float32")
    >>> reader("recording.edf")["input_values"].shape  # (N, C, T) in microvolts
    (36, 19, 1000)
    ```
    """

    def __call__(self, recording: Any, **options: Any) -> dict[str, Any]:
        """Return the windows of one recording, or of several, as NumPy arrays.

        Args:
            recording: As in the call of [`EEGFeatureExtractor`].
            **options: `sfreq`, `ch_names`, `unit`, `onsets`, `is_filtered`, `align` and `alignment_state`, as there.

        Returns:
            `input_values` (N, C, n_times) float32 microvolts; `channel_positions` (C, 3) float32 metres; `ch_names`;
            `onset` (N,) float64 seconds; for a list of recordings also `recording_index` (N,) int64.

        Raises:
            FileNotFoundError: Where a path leads nowhere.
            TypeError: Where `recording` is of no known kind, or an option is unknown.
            ValueError: Where something is missing, contradictory or implausible; the message says what to do.
        """
        return self.windows(recording, **options)

    @classmethod
    def from_pretrained(cls, name: str | os.PathLike, **hub: Any) -> Self:
        """Load the settings that were saved with a model.

        Args:
            name: Folder, Hub id or short name; a folder of `dlink export` too.
            **hub: `revision`, `token`, `cache_dir`, `local_files_only`, `force_download`, `subfolder`.

        Raises:
            OSError: There is no such checkpoint, it has no settings, or it can't be reached.
            ValueError: The file is damaged; the message names the field.
        """
        with found_checkpoint(name, hub.get("revision"), hub.get("subfolder")) as resolved:
            path = fetch(resolved, SETTINGS_FILE, hub)
            if path is None:
                raise OSError(
                    f"{os.fspath(name)} has no {SETTINGS_FILE}, which says how recordings are prepared for its model. "
                    "Save one with the model: EEGFeatureExtractor(...).save_pretrained(folder)."
                )
        fields = read_json(path)
        check_settings(fields, f"{SETTINGS_FILE} of {os.fspath(name)}", lambda given: cls(**given))
        return cls(**fields)

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as JSON values."""
        return {name: value for name, value in vars(self).items() if not name.startswith("_")}


__all__ = ["SETTINGS_FILE", "EEGReader"]
