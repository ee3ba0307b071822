# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""What `import dlink_hf` gives, and what it costs."""

from __future__ import annotations

import ast
import subprocess
import sys
from importlib.metadata import entry_points, requires, version
from pathlib import Path

import pytest
import yaml

import dlink_hf


ROOT = Path(__file__).resolve().parent.parent


def run_python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_import_loads_nothing_heavy():
    heavy = ["torch", "transformers", "datasets", "mne", "sklearn", "matplotlib", "pandas", "braindecode", "numpy"]
    loaded = run_python(f"import sys, dlink_hf; print([name for name in {heavy} if name in sys.modules])")
    assert loaded == "[]"


@pytest.mark.parametrize("name", dlink_hf.__all__)
def test_public_name_resolves(name):
    assert getattr(dlink_hf, name) is not None


def test_dir_lists_public_names():
    assert set(dlink_hf.__all__) <= set(dir(dlink_hf))


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="MiCConfg"):
        dlink_hf.MiCConfg  # noqa: B018


def test_names_for_type_checkers_are_the_public_names():
    tree = ast.parse(Path(dlink_hf.__file__).read_text("utf-8"))
    imports = [node for block in tree.body if isinstance(block, ast.If) for node in block.body]
    declared = {node.module: sorted(alias.name for alias in node.names) for node in imports}
    assert declared == {module: sorted(names) for module, names in dlink_hf._PUBLIC_NAMES.items()}


def test_versions_agree():
    assert version("dlink-hf") == dlink_hf.__version__
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    assert citation["version"] == dlink_hf.__version__


def test_student_install_brings_no_teacher_dependency():
    base = [line for line in requires("dlink-hf") if "extra ==" not in line]
    assert any(line.startswith("torch>=") for line in base)
    kept_out = ("torchaudio", "braindecode", "datasets", "accelerate", "evaluate", "scikit-learn", "pandas", "psutil")
    assert not [line for line in base if line.startswith(kept_out)]


def test_command_is_installed():
    (command,) = [entry for entry in entry_points(group="console_scripts") if entry.name == "dlink"]
    assert callable(command.load())
