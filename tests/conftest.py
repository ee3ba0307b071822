# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""What every test shares: no network, caches of its own, fixed seeds, and the folder of real recordings."""

from __future__ import annotations

import os
import random
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


ROOT = Path(__file__).resolve().parent.parent

# Set before transformers, datasets or matplotlib are imported; child processes inherit them.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_DATASETS_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("MNE_LOGGING_LEVEL", "WARNING")
# Tests that run their own file as a script find the helpers beside this file.
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT / "tests"), os.environ.get("PYTHONPATH")]))
# One thread a process: two processes of two threads each wait for one another on two cores, many times slower.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# The tests neither read nor fill the user's caches.
_CACHE = tempfile.mkdtemp(prefix="dlink-tests-")
os.environ["HF_HOME"] = _CACHE


def pytest_unconfigure(config: pytest.Config) -> None:
    shutil.rmtree(_CACHE, ignore_errors=True)


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Folder of the real recordings: `DLINK_DATA_DIR`, else `../shared/data` beside the repository."""
    folder = Path(os.environ.get("DLINK_DATA_DIR", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no recordings at {folder}; set DLINK_DATA_DIR to the folder that holds them")
    return folder


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    """One torch thread: sums are then taken in the same order on every machine."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def _seeds() -> None:
    """The same random numbers for every test, whichever ran before it."""
    import numpy as np
    import torch

    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
