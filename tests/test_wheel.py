# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""The wheel and the source archive: built, checked, used in an environment that knows nothing of the source tree."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from email.parser import Parser
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import dlink_hf


pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

ROOT = Path(__file__).resolve().parent.parent
# what is no part of the source: environments, caches, and whatever was written into the tree by a run
IGNORED = shutil.ignore_patterns(".*", "outputs", "runs", "build", "dist", "*.egg-info", "__pycache__", "checkpoints")
PACKAGED = "dlink_hf/checkpoints/dlink-mic-small"


def ignored(folder: str, names: list[str]) -> set[str]:
    """What is not copied: the package's own checkpoints are, a run's are not."""
    return set(IGNORED(folder, names)) - ({"checkpoints"} if Path(folder) == ROOT / "dlink_hf" else set())


def run(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, cwd=cwd)
    assert done.returncode == 0, f"{command}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> tuple[Path, Path]:
    """Wheel and source archive of a copy of the tree, in which recordings and outputs lie about."""
    source, dist = tmp_path_factory.mktemp("source") / "tree", tmp_path_factory.mktemp("dist")
    shutil.copytree(ROOT, source, ignore=ignored)
    if not (source / PACKAGED).is_dir():  # one of random weights stands in for the trained one
        dlink_hf.MiCModel(dlink_hf.MiCConfig.from_size("small")).save_pretrained(source / PACKAGED)
        dlink_hf.EEGFeatureExtractor().save_pretrained(source / PACKAGED)
        (source / PACKAGED / "README.md").write_text("# dlink-mic-small\n")
    strays = ("outputs/demo/model.safetensors", "data/s01.edf", "dlink_hf/data/s01.edf", "dlink_hf/data/s.npy")
    for stray in (*strays, "dlink_hf/data/model.safetensors", f"{PACKAGED}/optimizer.pt", f"{PACKAGED}/s01.edf"):
        (source / stray).parent.mkdir(parents=True, exist_ok=True)
        (source / stray).write_bytes(b"stray")
    run(sys.executable, "-m", "build", "--outdir", dist, source, cwd=dist)
    (wheel,), (archive,) = dist.glob("*.whl"), dist.glob("*.tar.gz")
    return wheel, archive


def brought_by(wheel: Path) -> dict[str, Distribution]:
    """What `pip install WHEEL` brings, without extras: what it asks for, and what that asks for, as installed here."""
    archive = zipfile.ZipFile(wheel)
    (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
    asked = Parser().parsestr(archive.read(name).decode()).get_all("Requires-Dist")
    found: dict[str, Distribution] = {}
    while asked:
        requirement = Requirement(asked.pop())
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        name = re.sub(r"[-_.]+", "-", requirement.name).lower()
        if name not in found:
            try:
                found[name] = distribution(requirement.name)
            except PackageNotFoundError:
                continue  # of another build of torch
            asked += found[name].requires or []
    return found


def fresh_environment(wheel: Path, folder: Path) -> tuple[Path, Path]:
    """Python and site-packages of a new environment that holds the wheel alone."""
    run(sys.executable, "-m", "venv", "--without-pip", folder, cwd=folder)
    python = folder / "bin" / "python"
    options = ("--disable-pip-version-check", "--no-deps", "--no-index")
    run(sys.executable, "-m", "pip", "--python", python, "install", *options, wheel, cwd=folder)
    site_packages = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder).strip()
    return python, Path(site_packages)


@pytest.fixture(scope="module")
def bare_python(built, tmp_path_factory) -> Path:
    """Python of a fresh environment with the wheel and what its base install brings: links to what is installed."""
    python, site_packages = fresh_environment(built[0], tmp_path_factory.mktemp("bare"))
    brought = brought_by(built[0])
    lacking = {"datasets", "accelerate", "evaluate", "scikit-learn", "pandas", "psutil", "braindecode", "pyarrow"}
    assert not lacking & set(brought)
    for dist in brought.values():
        for top in {Path(file).parts[0] for file in dist.files or ()} - {"..", "__pycache__"}:
            if not (site_packages / top).exists():
                (site_packages / top).symlink_to(dist.locate_file(top))
    return python


@pytest.fixture(scope="module")
def python(built, tmp_path_factory) -> Path:
    """Python of a fresh environment with the wheel in it; the dependencies are those of this environment."""
    python, site_packages = fresh_environment(built[0], tmp_path_factory.mktemp("environment"))
    # a path added by a .pth file has its own .pth files ignored: the editable install of the tree stays out
    (site_packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python


def test_wheel_holds_the_package_alone(built):
    names = zipfile.ZipFile(built[0]).namelist()
    inside = {name for name in names if ".dist-info/" not in name}
    tracked = {str(path.relative_to(ROOT)) for path in (ROOT / "dlink_hf").rglob("*.py")}
    packaged = {name for name in inside if name.startswith("dlink_hf/checkpoints/")}
    sources = {f"dlink_hf/export/c/{path.name}" for path in (ROOT / "dlink_hf" / "export" / "c").iterdir()}
    facts = {
        "dlink_hf/py.typed",
        "dlink_hf/hub/model_card_template.md",
        "dlink_hf/data/public/benchmark_subjects.json",
    }
    assert inside - packaged == tracked | sources | facts
    assert "dlink_hf/export/c/mic.c" in sources
    files = ("model.safetensors", "config.json", "preprocessor_config.json", "README.md")
    assert packaged >= {f"{PACKAGED}/{name}" for name in files}
    teacher = "dlink_hf/checkpoints/dlink-teacher-cbramod-4"
    assert packaged >= {
        f"{teacher}/{name}" for name in ("model.safetensors", "config.json", "people.json", "README.md")
    }
    assert all(name.endswith((".safetensors", ".json", ".md")) for name in packaged)
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_source_archive_holds_no_tests_data_or_outputs(built):
    with tarfile.open(built[1]) as archive:
        names = [name.partition("/")[2] for name in archive.getnames()]
    assert {"setup.py", "pyproject.toml", "README.md", "LICENSE", "dlink_hf/py.typed"} <= set(names)
    assert not [name for name in names if name.startswith(("tests", "data", "outputs", "benchmarks", ".venv"))]
    assert not [name for name in names if name.endswith((".edf", ".npy", ".pt", ".pyc"))]
    weights = {name for name in names if name.endswith(".safetensors")}
    assert f"{PACKAGED}/model.safetensors" in weights
    assert all(name.startswith("dlink_hf/checkpoints/") for name in weights)


def test_metadata(built):
    run(sys.executable, "-m", "twine", "check", "--strict", *built, cwd=built[0].parent)
    archive = zipfile.ZipFile(built[0])
    (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
    metadata = Parser().parsestr(archive.read(name).decode())
    assert (metadata["Name"], metadata["Version"]) == ("dlink-hf", dlink_hf.__version__)
    assert {"train", "teachers", "export", "stream", "demo", "dev"} <= set(metadata.get_all("Provides-Extra"))
    assert metadata.get_payload().strip(), "the README is the long description"


def test_installed_wheel_imports_without_the_tree(python, tmp_path):
    code = "import dlink_hf; print(dlink_hf.__file__); [getattr(dlink_hf, name) for name in dlink_hf.__all__]"
    assert Path(run(python, "-c", code, cwd=tmp_path).strip()).is_relative_to(python.parent.parent)
    assert "distill" in run(python.parent / "dlink", "--help", cwd=tmp_path)


def test_installed_wheel_loads_its_checkpoint_without_a_network(python, tmp_path):
    code = """
import os
os.environ.update(HF_ENDPOINT="http://127.0.0.1:9", HF_HUB_OFFLINE="0", HF_HOME=os.getcwd())  # nobody listens there
import torch
from dlink_hf import AutoModelForEEGClassification, EEGFeatureExtractor, MiCForEEGClassification, MiCModel
print(MiCModel.from_pretrained("dlink-mic-small").config.model_type)
extractor = EEGFeatureExtractor.from_pretrained("dlink-mic-small")
for kind in (MiCForEEGClassification, AutoModelForEEGClassification):
    model = kind.from_pretrained("dlink-mic-small", num_labels=3)
    windows = torch.randn(2, len(model.config.ch_names), extractor.n_times)
    print(tuple(model(windows).logits.shape))
"""
    assert run(python, "-c", code, cwd=tmp_path).splitlines() == ["dlink_mic", "(2, 3)", "(2, 3)"]


def test_installed_wheel_runs_a_task_student_without_a_network(python, data_dir, tmp_path):
    """The README's lines on a recording, in a clone in which nothing but the wheel is installed; no warning."""
    blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text("utf-8"), re.M | re.S)
    (code,) = (block for block in blocks if "Subject35_2.edf" in block)
    (tmp_path / "model_cards").symlink_to(ROOT / "model_cards")
    (tmp_path / "eegmat").symlink_to((data_dir / "eegmat").resolve())
    offline = (
        'import os\nos.environ.update(HF_ENDPOINT="http://127.0.0.1:9", HF_HUB_OFFLINE="0", HF_HOME=os.getcwd())\n'
    )
    lines = run(python, "-W", "error", "-c", offline + code, cwd=tmp_path).splitlines()
    assert len(lines) == 12 and sum("'arithmetic'" in line for line in lines) > 6


def test_installed_wheel_runs_the_first_block_of_the_readme(python, tmp_path):
    blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text("utf-8"), re.M | re.S)
    (tmp_path / "block.py").write_text(blocks[0])
    run(python, "block.py", cwd=tmp_path)


CLASSIFY = """
import json, os, sys
os.environ.update(HF_HUB_OFFLINE="1", HF_HOME=os.getcwd())
import dlink_hf
pipe = dlink_hf.pipeline("eeg-classification", model=sys.argv[1])
print(json.dumps([[window["label"], window["score"]] for window in pipe(sys.argv[2])]))
"""


def test_base_install_classifies_a_recording_as_the_full_one_does(bare_python, python, data_dir, tmp_path):
    model = ROOT / "model_cards" / "dlink-mic-small-eegmat"
    recording = (data_dir / "eegmat" / "Subject00_1.edf").resolve()
    bare, full = (
        json.loads(run(which, "-c", CLASSIFY, model, recording, cwd=tmp_path).splitlines()[-1])
        for which in (bare_python, python)
    )
    assert len(bare) == 36 and [label for label, _ in bare] == [label for label, _ in full]
    # the same sums on the same machine; the number of threads may differ
    assert [score for _, score in bare] == pytest.approx([score for _, score in full], abs=1e-4)
    command = (bare_python.parent / "dlink", "predict", recording, "--model", model, "--output", "rows.csv")
    assert "36 windows of 5 s" in run(*command, cwd=tmp_path)
    rows = [line.split(",") for line in (tmp_path / "rows.csv").read_text().splitlines()]
    assert [row[rows[0].index("label")] for row in rows[1:]] == [label for label, _ in bare]


def test_base_install_classifies_a_stream(bare_python, tmp_path):
    code = """
import os
os.environ.update(HF_HUB_OFFLINE="1", HF_HOME=os.getcwd())
import numpy as np
from dlink_hf import EEGFeatureExtractor, MiCForEEGClassification, StreamClassifier
model = MiCForEEGClassification.from_pretrained("dlink-mic-small", num_labels=2, ch_names=["C3", "Cz", "C4"]).eval()
extractor = EEGFeatureExtractor.from_pretrained("dlink-mic-small")
live = StreamClassifier(model, extractor, ["C4", "C3", "Cz"], 250.0, "uV", hop_seconds=1.0)
n = round(250 * (extractor.n_times / extractor.sfreq + 10))
samples = 20 * np.random.default_rng(0).standard_normal((3, n))
print(sum(prediction.label is not None for prediction in live.push(samples, np.arange(n) / 250)))
"""
    assert int(run(bare_python, "-c", code, cwd=tmp_path).splitlines()[-1]) > 3


@pytest.mark.parametrize(
    "code",
    [
        "from dlink_hf import DLinkTrainer",
        "from dlink_hf import build_dataset",
        "from dlink_hf.data import load_shards",
        "from dlink_hf.distillation.trainer import DLinkTrainer",
        "import dlink_hf; dlink_hf.load_public_set",
        "import dlink_hf; dlink_hf.classification_scores",
        "import dlink_hf; dlink_hf.peak_memory(print)",
    ],
)
def test_base_install_names_what_to_install(code, bare_python, tmp_path):
    done = subprocess.run([bare_python, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 1
    assert 'which is not installed: pip install "dlink-hf[train]".' in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("command", ["distill", "finetune", "evaluate", "prepare"])
def test_commands_of_a_base_install_name_what_to_install(command, bare_python, tmp_path):
    dlink = bare_python.parent / "dlink"
    done = subprocess.run([dlink, command, "--help"], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 1
    assert 'which is not installed: pip install "dlink-hf[train]".' in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
