# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""A tab of a real browser without a window, for tests; they are skipped where there is none."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest


@contextmanager
def open_page(width: int = 1280, height: int = 900) -> Iterator[Any]:
    """Open one tab of Chromium; the test is skipped, with the reason, where it or playwright is not installed."""
    with open_browser() as browser:
        yield browser.new_page(viewport={"width": width, "height": height})


@contextmanager
def open_browser() -> Iterator[Any]:
    """Start Chromium, whose contexts do not know of each other; skips as [`open_page`] does."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("no Chromium on this machine (Debian: apt-get install chromium)")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=program, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()
