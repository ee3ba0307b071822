# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""The search for the most alike windows finds them, and runs as a user would run it."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import numpy as np
import pytest


EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "search_windows.py"


def test_the_most_alike_come_first() -> None:
    found = runpy.run_path(str(EXAMPLE))
    vectors = np.random.default_rng(0).standard_normal((20, 6))
    vectors[13] = vectors[4] + 0.01
    order, cosines = found["most_alike"](vectors, 4, 3)
    assert order[0] == 13 and cosines[0] > 0.99 and (np.diff(cosines) <= 0).all() and 4 not in order


@pytest.mark.slow
def test_search_and_probe(tmp_path: Path) -> None:
    from test_examples import run

    told = run("search_windows.py", "--n_subjects", "4", cwd=tmp_path)
    assert re.search(r"most like S00_raw.fif at 0.0 s:\n(  0\.\d{3}  S0\d_raw.fif at \d+\.0 s\n){5}", told)
    assert re.search(r"subjects unseen: balanced accuracy 0\.\d{3}", told)
