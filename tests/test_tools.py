# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""The tools of a developer: which tests belong to a module."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


ROOT = Path(__file__).resolve().parent.parent


def run_tool(*paths: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, ROOT / "tools" / "tests_of.py", *paths], capture_output=True, text=True, cwd=ROOT
    )


@pytest.mark.parametrize(
    ("module", "own", "another"),
    [
        ("hub/publish.py", "hub/test_publish.py", None),
        ("distillation/teacher_cache.py", "distillation/test_teacher_cache.py", None),
        # by a public name only
        ("models/mic/modeling_mic.py", "models/mic/test_modeling_mic.py", "test_trained_student.py"),
    ],
)
def test_the_file_of_its_name_comes_first_then_those_that_import_it(module, own, another):
    done = run_tool(f"dlink_hf/{module}")
    lines = done.stdout.split()
    assert done.returncode == 0 and lines[0] == f"tests/{own}" and all((ROOT / line).is_file() for line in lines)
    assert len(lines) == len(set(lines))
    if another:
        assert f"tests/{another}" in lines and "tests/core/test_electrodes.py" not in lines


def test_a_path_that_is_not_a_module_is_an_error():
    for path in ("dlink_hf/nothing.py", "tests/test_tools.py", "README.md"):
        done = run_tool(path)
        assert done.returncode == 2 and "is not a module of the package" in done.stderr and not done.stdout
