# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""The web demo in a real browser: an upload, its predictions, the download; a broken file; two visitors at once."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
import urllib.request
from importlib.util import find_spec
from pathlib import Path

import pytest
from chromium import open_browser

from dlink_hf.commands import main


ROOT = Path(__file__).resolve().parents[2]
STUDENT = ROOT / "model_cards" / "dlink-mic-small-eegmat"
WAIT = 180_000  # milliseconds: the machine may be busy
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(find_spec("gradio") is None, reason="gradio is not installed (extra web)"),
]


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """`dlink demo --web` in a process of its own: its address and the folder of its temporary files."""
    folder = tmp_path_factory.mktemp("served")
    code = "import sys; from dlink_hf.commands import main; sys.exit(main(sys.argv[1:]))"
    env = {**os.environ, "PYTHONUNBUFFERED": "1", "TMPDIR": str(folder), "GRADIO_TEMP_DIR": str(folder / "gradio")}
    words = [sys.executable, "-c", code, "demo", "--web", "--students", str(STUDENT.parent)]
    with open(folder / "log", "w") as log:
        process = subprocess.Popen(words, env=env, stdout=log, stderr=subprocess.STDOUT, cwd=folder)
    try:
        address = None
        for _ in range(600):
            found = re.search(r"http://127\.0\.0\.1:\d+", (folder / "log").read_text())
            if found or process.poll() is not None:
                address = found and found[0]
                break
            time.sleep(1)
        assert address, (folder / "log").read_text()
        urllib.request.urlopen(address, timeout=60).close()
        yield address, folder
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture(scope="module")
def browser():
    with open_browser() as started:
        yield started


def visit(browser, address, width=1280):
    tab = browser.new_context(viewport={"width": width, "height": 900}, accept_downloads=True).new_page()
    tab.set_default_timeout(WAIT)
    tab.goto(address)
    tab.wait_for_selector("#classify")
    return tab


def upload(tab, which, *files):
    tab.set_input_files(f"#{which} input[type=file]", [str(file) for file in files])
    for file in files:
        tab.wait_for_selector(f"#{which} >> text={file.stem}")


def found(tab, words):
    tab.wait_for_function(
        "words => document.querySelector('#found textarea').value.includes(words)", arg=words, timeout=WAIT
    )
    return tab.input_value("#found textarea")


def choose(tab, name):
    tab.click("#student input")
    tab.click(f"[role=option] >> text={name}")


def test_a_visitor_gets_what_dlink_predict_gives(served, browser, data_dir, tmp_path):
    address, _ = served
    recording, rest = (data_dir / "eegmat" / f"Subject35_{part}.edf" for part in (2, 1))
    tab, asked = visit(browser, address), []
    tab.on("request", lambda request: asked.append(request.url))
    choose(tab, STUDENT.name)
    upload(tab, "upload", recording)
    upload(tab, "others", rest)
    tab.click("#classify")
    assert "2 files" in found(tab, "12 windows of 5 s")
    tab.wait_for_selector("#maps img")
    with tab.expect_download() as download:
        tab.click("#csv")
    download.value.save_as(tmp_path / "page.csv")
    words = ["predict", str(recording), "--model", str(STUDENT), "--session_recordings", str(rest)]
    assert main([*words, "--output", str(tmp_path / "command.csv")]) == 0
    assert (tmp_path / "page.csv").read_bytes() == (tmp_path / "command.csv").read_bytes()
    # another window, by the keyboard: another map
    before = tab.get_attribute("#maps img", "src")
    tab.fill("#window input[type=number]", "7")
    tab.keyboard.press("Enter")
    tab.wait_for_function("before => document.querySelector('#maps img').src !== before", arg=before, timeout=WAIT)
    assert all(url.startswith((address, "data:", "blob:")) for url in asked)
    for width in (1280, 390):
        tab.set_viewport_size({"width": width, "height": 900})
        assert tab.evaluate("document.documentElement.scrollWidth") <= width
    tab.context.close()


def test_what_can_not_be_read_is_told_in_a_sentence(served, browser, tmp_path):
    tab = visit(browser, served[0])
    (tmp_path / "broken.edf").write_bytes(b"0       " + b"<img src=x onerror=alert(1)>" * 20)
    upload(tab, "upload", tmp_path / "broken.edf")
    tab.click("#classify")
    text = found(tab, "Not done.")
    assert "broken.edf" in text and "Traceback" not in text
    tab.context.close()


def test_two_visitors_do_not_see_each_other(served, browser, data_dir):
    address, folder = served
    first, second = visit(browser, address), visit(browser, address)
    choose(first, STUDENT.name)
    upload(first, "upload", data_dir / "eegmat" / "Subject00_1.edf")
    first.click("#classify")
    second.click("#sample")
    assert "Subject00_1.edf" in found(first, "windows of 5 s")
    assert "sample_raw.fif" in found(second, "windows of 5 s")
    # recordings are gone once they are classified
    assert not list(folder.glob("dlink-web-*/**/*.edf"))
    for tab in (first, second):
        tab.context.close()


def test_fields_have_names(served, browser):
    tab = visit(browser, served[0])
    unnamed = tab.evaluate(
        "[...document.querySelectorAll('#student input, #window input, #start input, #found textarea')]"
        ".filter(one => !one.labels?.length && !one.getAttribute('aria-label')).map(one => one.outerHTML)"
    )
    assert not unnamed
    tab.context.close()
