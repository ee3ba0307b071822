# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""The script that makes the table of teachers, run as a user runs it."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest


pytest.importorskip("braindecode", reason="teachers need braindecode: pip install 'dlink-hf[teachers]'")

from dlink_hf.models.teacher.backbones import BACKBONES  # noqa: E402


ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "benchmarks" / "teacher_table.py"


def rows(text: str) -> dict[str, list[str]]:
    """Model -> its cells, of the first table in a Markdown text."""
    table = re.search(r"(?:^\|.*\n)+", text, re.M).group(0)
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    return {row[0]: row[1:] for row in cells[2:]}


@pytest.mark.slow
def test_every_teacher_loads_the_same_bits_from_the_hub(tmp_path: Path) -> None:
    built = [name for name, spec in BACKBONES.items() if find_spec(spec.package)]
    file = tmp_path / "new" / "teachers.md"
    command = [sys.executable, str(SCRIPT), "--small", "--models", *built, "--output", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1000)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == file.read_text().strip()
    assert list(file.parent.iterdir()) == [file]
    made = rows(file.read_text())
    assert list(made) == built
    assert all(row[0] == "yes" == row[-1] for row in made.values())


@pytest.mark.slow
def test_an_unknown_model_is_an_error() -> None:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--models", "GPT"], capture_output=True, text=True, timeout=1000
    )
    assert done.returncode != 0 and "there is no GPT; the teachers are CBraMod" in done.stderr


def test_the_table_in_the_repository_has_every_teacher() -> None:
    made = rows((ROOT / "benchmarks" / "teachers.md").read_text())
    assert list(made) == list(BACKBONES)
    assert all(row[0] == "yes" == row[-1] for row in made.values())
