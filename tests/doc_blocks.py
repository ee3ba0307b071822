# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""The code blocks of README and documentation, and a folder with recordings of a user's own to run them in."""

from __future__ import annotations

import csv
import os
import re
import subprocess
import sys
from pathlib import Path

import mne

from dlink_hf import make_synthetic_recordings


def read_blocks(path: Path) -> list[tuple[str, str]]:
    """Language and code of every fenced block of a Markdown file, in order."""
    return re.findall(r"^```(\w+)\n(.*?)^```", path.read_text("utf-8"), re.M | re.S)


def make_folder(folder: Path) -> Path:
    """Fill a folder with `recording.edf`, `my_recordings/` and `labels.csv`, as README and documentation name them."""
    (folder / "my_recordings").mkdir()
    rows = []
    for number, raw in enumerate(make_synthetic_recordings(n_subjects=7, n_trials=8, seed=3, progress=False)):
        name = f"visit{number}.edf"
        for annotation in raw.annotations:
            rows.append([name, annotation["description"], annotation["onset"], annotation["duration"], f"P{number}"])
        raw.set_annotations(None)
        mne.export.export_raw(folder / "my_recordings" / name, raw, verbose="ERROR")
    mne.export.export_raw(folder / "recording.edf", raw, verbose="ERROR")
    with open(folder / "labels.csv", "w", newline="") as file:
        csv.writer(file).writerows([["recording", "label", "onset", "duration", "subject"], *rows])
    return folder


def run(words: list[str], folder: Path) -> str:
    """Run a command in a folder, offline and with a cache of its own; return what it printed."""
    env = {**os.environ, "DLINK_HF_CACHE": str(folder / "cache"), "HF_HUB_OFFLINE": "1"}
    env["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{env['PATH']}"
    done = subprocess.run(words, cwd=folder, env=env, capture_output=True, text=True, timeout=1000)
    assert done.returncode == 0, f"{words}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return done.stdout
