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


BASE_INSTALL = """
import importlib.util, sys
HIDDEN = {"accelerate", "datasets", "evaluate", "jinja2", "pandas", "psutil", "sklearn"}
class Nowhere:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] in HIDDEN:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Nowhere)
find_spec = importlib.util.find_spec
importlib.util.find_spec = lambda name, package=None: None if name in HIDDEN else find_spec(name, package)
import mne, numpy as np
import dlink_hf
from dlink_hf.commands import main

names = ["C3", "Cz", "C4"]
config = dlink_hf.MiCConfig.from_size("tiny", ch_names=names, n_times=400, num_labels=2)
student, extractor = dlink_hf.MiCForEEGClassification(config), dlink_hf.EEGFeatureExtractor(n_times=400, l_freq=1.0)
student.save_pretrained("student")
extractor.save_pretrained("student")
values = 1e-5 * np.random.default_rng(0).standard_normal((3, 4000))
raw = mne.io.RawArray(values, mne.create_info(names, 200.0, "eeg"), verbose="ERROR")
raw.save("one_raw.fif", verbose="ERROR")
rows = dlink_hf.pipeline("eeg-classification", model="student")("one_raw.fif")
vectors = dlink_hf.pipeline("eeg-feature-extraction", model="student")("one_raw.fif")
live = dlink_hf.StreamClassifier(student, extractor, names, 200.0, "V", hop_seconds=2.0, say=lambda text: None)
found = live.push(values, np.arange(4000) / 200)
for words in (["predict", "one_raw.fif", "--model", "student", "--output", "rows.csv"], ["info", "student"]):
    assert not main(words), words
print(len(rows), len(vectors), len(found) > 0)
"""


def test_what_a_student_does_without_the_extra_of_training(tmp_path):
    done = subprocess.run([sys.executable, "-c", BASE_INSTALL], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.splitlines()[-1] == "10 10 True"


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
