# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""`dlink env`: what it tells, and what it must not tell."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

import dlink_hf
from dlink_hf.core.environment import anonymous, default_cache_dir, describe_environment
from dlink_hf.core.requires import EXTRAS


TOKEN = "hf_theSecretThatNobodyMayRead"


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """What the command prints for a user whose home, name and token are known, and the home."""
    home = tmp_path_factory.mktemp("home") / "jane.doe"
    (home / "broken" / "brainflow").mkdir(parents=True)
    (home / "broken" / "brainflow" / "__init__.py").write_text(f"raise OSError('{home}/lib.so: {TOKEN}')\n")
    path = os.pathsep.join([str(home / "broken"), *filter(None, [os.environ.get("PYTHONPATH")])])
    kept = {name: value for name, value in os.environ.items() if name not in ("HF_HOME", "DLINK_HF_CACHE")}
    user = {"HOME": str(home), "USER": "jane.doe", "LOGNAME": "jane.doe", "HF_TOKEN": TOKEN, "PYTHONPATH": path}
    code = "import sys; from dlink_hf.commands import main; sys.exit(main(['env']))"
    environment = {**kept, **user, "HF_DATASETS_CACHE": "/scratch/jane.doe/datasets"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout, home


def test_it_tells_versions_backends_extras_and_caches(told: tuple[str, Path]):
    text, _ = told
    rows = {line.split()[0]: line.split(maxsplit=1)[-1] for line in text.splitlines()}
    assert rows["dlink_hf"].endswith("dlink_hf") and f"dlink_hf {dlink_hf.__version__}" in " ".join(text.split())
    assert rows["python"].startswith(platform.python_version())
    for package in ("torch", "transformers", "mne", "huggingface-hub"):
        assert f"{package} {version(package)}" in " ".join(text.split())
    assert set(EXTRAS) <= set(rows) and "processors" in rows["threads"]
    # how wide the first column is follows from the longest name in it
    plain = " ".join(text.split())
    assert "hub ~/.cache/huggingface/hub" in plain and "dlink_hf ~/.cache/dlink_hf" in plain


def test_neither_token_nor_home_nor_user_is_told(told: tuple[str, Path]):
    text, home = told
    assert TOKEN not in text and str(home) not in text and "jane.doe" not in text
    assert "/scratch/<user>/datasets" in text
    # nor by the error of a backend that does not load
    assert "brainflow does not load: OSError: ~/lib.so: <token>" in " ".join(text.split())


def test_what_is_missing_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(EXTRAS, "bids", ("package_that_nobody_has", "json"))
    assert describe_environment()["extras"]["bids"] == ('lacks package_that_nobody_has: pip install "dlink-hf[bids]"')
    monkeypatch.setitem(EXTRAS, "bids", ("json",))
    facts = describe_environment()
    assert facts["extras"]["bids"] == "complete" and facts["backends"]["torch"] == "loads"


def test_words_that_hold_the_users_name_stay(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", "/home/io")
    for name in ("LOGNAME", "USER"):
        monkeypatch.setenv(name, "io")
    assert anonymous("/home/io/a /data/io/b audio io-error /home/iona") == (
        "~/a /data/<user>/b audio io-error /home/iona"
    )


def test_the_cache_is_where_the_variables_say(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HF_HOME", "/a")
    monkeypatch.delenv("DLINK_HF_CACHE", raising=False)
    assert default_cache_dir() == Path("/a/dlink_hf")
    monkeypatch.setenv("DLINK_HF_CACHE", "/b")
    assert default_cache_dir() == Path("/b")
