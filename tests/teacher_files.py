# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Files that two teachers look their channels up in, in place of those that are downloaded."""

from __future__ import annotations

import json
from pathlib import Path

from dlink_hf.core.electrodes import ELECTRODE_POSITIONS


def write_position_bank(folder: Path) -> Path:
    """REVE's bank of positions; returns the folder that REVE_POSITIONS_PATH must name."""
    folder.mkdir(parents=True, exist_ok=True)
    bank = {name: list(place) for name, place in ELECTRODE_POSITIONS.items()}
    (folder / "reve_positions.json").write_text(json.dumps(bank))
    return folder


def write_vocabulary(cache: Path, names: list[str]) -> Path:
    """STEEGFormer's vocabulary in a cache of the Hub; returns the folder to remove afterwards."""
    repository = cache / "models--braindecode--STEEGFormer-small"
    snapshot = repository / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (snapshot / "steegformer_channels.json").write_text(json.dumps(names))
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0" * 40)
    return repository
