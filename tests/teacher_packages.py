# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Teachers as parameters of a test, skipped where the package that has the network is not installed."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.util import find_spec

import pytest

from dlink_hf.core.requires import EXTRAS, remedy
from dlink_hf.models.teacher.backbones import BACKBONES


def teachers(names: Iterable[str] = BACKBONES) -> list:
    """Parameters of these teachers' names; those that can't be built here say why they are skipped."""
    parameters = []
    for name in names:
        package = BACKBONES[name].package
        extra = next(extra for extra, modules in EXTRAS.items() if package in modules)
        reason = f"{name} needs {package}: {remedy(extra)}"
        parameters.append(pytest.param(name, marks=pytest.mark.skipif(find_spec(package) is None, reason=reason)))
    return parameters
