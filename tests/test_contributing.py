# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""CONTRIBUTING.md against the repository: every file that it names is there, every question finds its answer."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import dlink_hf


ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
QUESTIONS = re.findall(r"^\| (.+?\?) \| `(dlink_hf/[^`]+)` \| `(\w+)` \|$", TEXT, re.M)
ROOM_ROWS = re.findall(r"^\| `(\w+)/` \| .+? \| (.+) \|$", TEXT, re.M)


def defined_names(path: Path) -> set[str]:
    """Functions, classes and constants that a module itself defines at its top, not what it imports."""
    names: set[str] = set()
    for node in ast.parse(path.read_text("utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign):
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names.add(node.target.id)
    return names


def test_there_are_twenty_questions_and_no_row_is_missed():
    section = TEXT.split("### Where is it?")[1].split("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("|")][2:]
    assert len(QUESTIONS) == len(rows) >= 20
    assert len({question for question, *_ in QUESTIONS}) == len(rows)


@pytest.mark.parametrize(("question", "file", "name"), QUESTIONS)
def test_a_question_is_answered_by_the_file_that_defines_the_name(question, file, name):
    assert name in defined_names(ROOT / file), question


def test_rooms_are_listed_in_their_order():
    assert [room for room, _ in ROOM_ROWS] == list(dlink_hf._ROOMS)


@pytest.mark.parametrize(("room", "text"), ROOM_ROWS)
def test_modules_of_a_room_are_where_the_table_says(room, text):
    folder, listed = ROOT / "dlink_hf" / room, re.findall(r"`([a-z_]+/?)`", text)
    assert listed or room == "commands"
    inside = [path.relative_to(folder).with_suffix("") for path in folder.rglob("*.py")]
    known = {path.name for path in inside} | {f"{part}/" for path in inside for part in path.parent.parts}
    assert set(listed) <= known


def test_paths_in_the_text_are_there():
    paths = re.findall(r"`((?:dlink_hf|tests|tools|benchmarks)/[\w./]+)`", TEXT)
    missing = {path for path in paths if not (ROOT / path).exists()}
    assert len(paths) > 30 and not missing
