# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""What is missing is named with the extra that brings it."""

from __future__ import annotations

import re
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import setuptools  # noqa: F401 - brings distutils, which Python 3.12 lost

import dlink_hf
from dlink_hf.core import requires as module
from dlink_hf.core.requires import (
    EXTRAS,
    MissingExtraError,
    check_installed,
    naming_the_extra,
    require,
)


ROOT = Path(dlink_hf.__file__).parent.parent


@pytest.fixture
def absent(monkeypatch: pytest.MonkeyPatch) -> str:
    """A package of the extra `train` that nobody has."""
    monkeypatch.setitem(module._EXTRA_OF, "package_that_nobody_has", "train")
    return "package_that_nobody_has"


def test_a_missing_package_is_named_with_its_extra(absent: str):
    told = rf'^Scoring needs {absent}, which is not installed: pip install "dlink-hf\[train\]"\.$'
    with pytest.raises(MissingExtraError, match=told) as caught:
        require(f"{absent}.metrics", "Scoring")
    assert caught.value.name == absent
    with pytest.raises(MissingExtraError, match=told):
        check_installed(("json", absent), "Scoring")
    with pytest.raises(MissingExtraError, match="^dlink distill needs"), naming_the_extra("dlink distill"):
        require(absent, "dlink distill")


def test_what_is_there_is_imported():
    assert require("json", "Reading").loads("1") == 1
    check_installed(("json", "numpy"), "Reading")


def test_other_errors_stay_as_they_are():
    with pytest.raises(ModuleNotFoundError, match="No module named 'package_that_no_extra_brings'") as caught:
        require("package_that_no_extra_brings", "Nothing")
    assert not isinstance(caught.value, MissingExtraError)
    with pytest.raises(ImportError, match="broken"), naming_the_extra("This"):
        raise ImportError("broken", name="datasets")


def test_every_extra_is_one_of_the_package_and_brings_its_modules():
    from distutils.core import run_setup

    extras = run_setup(str(ROOT / "setup.py"), stop_after="init").extras_require
    asked = {extra: {re.split(r"[<>=!~; \[]", line)[0].lower() for line in extras[extra]} for extra in EXTRAS}
    known = packages_distributions()
    for extra, modules in EXTRAS.items():
        for name in modules:
            if name in known:  # installed here, so that its distribution is known
                assert asked[extra] & {dist.lower() for dist in known[name]}, f"{extra} does not bring {name}"
