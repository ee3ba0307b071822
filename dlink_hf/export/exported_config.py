# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""What an exported student needs of its config.json, read without transformers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core.checks import MALFORMED
from ..core.config_checks import (
    MULTI_LABEL,
    REGRESSION,
    SINGLE_LABEL,
    check_positions,
    check_signal_fields,
    in_bounds,
    require,
    settle_labels,
)
from ..core.electrodes import channel_positions as lookup_positions
from ..core.fetch import read_json
from ..core.model_facts import label_samples


@dataclass
class ExportedConfig:
    """Signal and labels of an exported student: the fields of [`MiCConfig`] by the same names, with the same checks.

    Args:
        ch_names: its C channels.
        sfreq: rate in hertz.
        n_times: samples in a window.
        patch_size: samples in a patch.
        channel_positions: (C, 3) in metres; looked up by default.
        id2label: names of the classes; two without a name by default, as in transformers.
        label2id: the inverse.
        problem_type: as transformers names it: what the outputs are; logits of classes by default.
        model_type: of a student.
        architectures: name of its class in a list, as transformers writes it.
        patches_per_label: patches that have one label, of a student that labels patches.

    Raises:
        ValueError: a field is out of range or contradicts another; the message names it.
    """

    ch_names: list[str]
    sfreq: float
    n_times: int
    patch_size: int
    channel_positions: Any = None
    id2label: Any = None
    label2id: Any = None
    problem_type: Any = None
    model_type: str = "dlink_mic"
    architectures: Any = None
    patches_per_label: int = 1

    def __post_init__(self) -> None:
        require(self.model_type == "dlink_mic", "model_type", self.model_type, "'dlink_mic', a student")
        kinds = (None, SINGLE_LABEL, MULTI_LABEL, REGRESSION)
        require(self.problem_type in kinds, "problem_type", self.problem_type, f"one of {kinds}")
        is_text = isinstance(self.ch_names, list) and all(isinstance(name, str) for name in self.ch_names)
        require(is_text, "ch_names", self.ch_names, "a list of channel names")
        is_rate = isinstance(self.sfreq, (int, float)) and not isinstance(self.sfreq, bool)
        require(is_rate, "sfreq", self.sfreq, "a rate in hertz")
        in_bounds(self, 1, n_times=10_000_000, patch_size=65_536, patches_per_label=65_536)
        if self.id2label:
            self.label2id = None
        elif not self.label2id:
            # of a regression one target
            n_labels = 1 if self.problem_type == REGRESSION else 2
            self.id2label, self.label2id = {index: f"LABEL_{index}" for index in range(n_labels)}, None
        settle_labels(self, {})
        check_signal_fields(self)
        if self.channel_positions is None:
            self.channel_positions = lookup_positions(self.ch_names)
        check_positions(self)
        is_whole = self.n_times % self.patch_size == 0
        require(is_whole, "n_times", self.n_times, f"a multiple of `patch_size` ({self.patch_size})")
        if self.labels_patches:
            size = label_samples(self)
            require(self.n_times % size == 0, "n_times", self.n_times, f"a whole number of labels of {size} samples")

    @property
    def num_labels(self) -> int:
        """Number of classes."""
        return len(self.id2label)

    @property
    def labels_patches(self) -> bool:
        """Whether the student labels every patch, or every few."""
        return "MiCForEEGTokenClassification" in (self.architectures or ())

    @property
    def n_places(self) -> int:
        """Number of labels of a window: 1, or those of its patches."""
        return self.n_times // label_samples(self) if self.labels_patches else 1

    @classmethod
    def from_folder(cls, folder: Path) -> ExportedConfig:
        """Return what the config.json of a folder says.

        Raises:
            ValueError: it is not the config of a student; the message names file and field.
        """
        fields = read_json(folder / "config.json")
        where = f"config.json of {folder}"
        needed = ("ch_names", "sfreq", "n_times", "patch_size")
        lacking = [name for name in needed if name not in fields]
        if lacking:
            raise ValueError(f"{where} lacks {', '.join(lacking)}: it is not the config of a student. Copy it again.")
        names = [*needed, "channel_positions", "id2label", "label2id", "problem_type", "model_type"]
        names += ["architectures", "patches_per_label"]
        try:
            return cls(**{name: fields[name] for name in names if name in fields})
        except MALFORMED as error:
            raise ValueError(f"{where}: {' '.join(str(error).split()) or type(error).__name__}") from error


__all__ = ["ExportedConfig"]
