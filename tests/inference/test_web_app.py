# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""The web demo in a real browser: uploads, predictions, pictures, downloads, refusals, two visitors, barriers."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import time
import urllib.request
from importlib.util import find_spec
from pathlib import Path

import mne
import numpy as np
import pytest
from chromium import open_browser
from fake_hub.server import HubServer

from dlink_hf.commands import main
from dlink_hf.inference.web_session import MOST_BYTES


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
    """`dlink demo --web` in a process of its own: its address and the folder of its temporary files.

    It sees a Hub on loopback, which has one student, `me/headset`.
    """
    folder = tmp_path_factory.mktemp("served")
    shutil.copytree(STUDENT, folder / "hub" / "me" / "headset")
    with HubServer(folder / "hub") as hub:
        yield from serve(folder, hub)


def serve(folder, hub):
    code = "import sys; from dlink_hf.commands import main; sys.exit(main(sys.argv[1:]))"
    env = {
        **hub.environment(folder / "home"),
        "PYTHONUNBUFFERED": "1",
        "TMPDIR": str(folder),
        "GRADIO_TEMP_DIR": str(folder / "gradio"),
    }
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


def choose(tab, name, which="student"):
    tab.click(f"#{which} input")
    tab.click(f"[role=option] >> text={name}")


def classified(tab, recording):
    """Upload a recording and wait for its pictures."""
    choose(tab, STUDENT.name)
    upload(tab, "upload", recording)
    tab.click("#classify")
    tab.wait_for_selector("#maps img")


def change(tab, slider, number, picture):
    """Set a slider by the keyboard; the text and the data of a picture once it is another one."""
    before = tab.get_attribute(f"#{picture} img", "src")
    tab.fill(f"#{slider} input[type=number]", str(number))
    tab.keyboard.press("Enter")
    tab.wait_for_function(
        "([picture, before]) => document.querySelector(`#${picture} img`)?.src !== before",
        arg=[picture, before],
        timeout=WAIT,
    )
    return tab.get_attribute(f"#{picture} img", "alt"), before


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


def test_zoom_and_another_window_change_the_pictures(served, browser, data_dir):
    tab = visit(browser, served[0])
    classified(tab, data_dir / "eegmat" / "Subject35_2.edf")
    assert "20 channels, 30 s from 0 s on" in tab.get_attribute("#strip img", "alt")
    told, _ = change(tab, "seconds", 10, "strip")
    assert "20 channels, 10 s from 0 s on" in told
    told, _ = change(tab, "window", 7, "maps")
    assert "Window 7, 35 to 40 s" in told
    # the signal of the chosen window has come into view
    tab.wait_for_function("document.querySelector('#strip img').alt.includes('Window 7')", timeout=WAIT)
    first = float(re.search(r"from ([\d.]+) s on", tab.get_attribute("#strip img", "alt"))[1])
    assert first <= 35 <= first + 5
    tab.click("#explain")
    tab.wait_for_selector("#explanation img")
    assert "Window 7" in tab.get_attribute("#explanation img", "alt")
    # the reasons of a window go with it
    change(tab, "window", 2, "maps")
    assert not tab.query_selector("#explanation img")
    tab.context.close()


def test_unknown_channels_and_too_large_a_file_are_told(served, browser, tmp_path):
    tab = visit(browser, served[0])
    values = 20e-6 * np.random.default_rng(0).standard_normal((4, 256 * 20))
    raw = mne.io.RawArray(values, mne.create_info([f"Sensor {i}" for i in range(4)], 256.0, "eeg"), verbose="ERROR")
    mne.export.export_raw(tmp_path / "sensors.edf", raw, verbose="ERROR")
    upload(tab, "upload", tmp_path / "sensors.edf")
    tab.click("#classify")
    text = found(tab, "Not done.")
    assert "no known EEG channel" in text and "Sensor 0" in text and "rename" in text.lower()
    tab.reload()
    tab.wait_for_selector("#classify")
    with open(tmp_path / "large.edf", "wb") as file:
        file.truncate(MOST_BYTES + 1)
    tab.set_input_files("#upload input[type=file]", str(tmp_path / "large.edf"))
    tab.wait_for_selector(f"text=/large.edf/ >> text=/maximum allowed size of {MOST_BYTES // 2**20}/")
    tab.context.close()


def test_a_student_of_the_hub_and_another_beside_it(served, browser, data_dir):
    tab = visit(browser, served[0])
    upload(tab, "upload", data_dir / "eegmat" / "Subject35_2.edf")
    for name, words in (("me/missing", "was not found on the Hub"), ("../home", "no model '../home'")):
        tab.fill("#student input", name)
        tab.keyboard.press("Enter")
        tab.click("#classify")
        assert words in found(tab, words)
    tab.fill("#student input", "me/headset")
    tab.keyboard.press("Enter")
    choose(tab, STUDENT.name, "beside")
    tab.click("#classify")
    # they are one model
    text = found(tab, "12 of 12 windows")
    assert re.search(r"the student [\d.]+ ms \(97,460 parameters\), the other model [\d.]+ ms", text)
    tab.wait_for_selector("#other_course img")
    tab.context.close()


# Gradio puts the file input of an upload's corner button into that button: no page of its own can change that
EXCLUDED = {"nested-interactive": '.icon-button[aria-haspopup="false"]:has(input[type=file])'}


@pytest.mark.parametrize("width", [1280, 390])
def test_there_are_no_barriers(served, browser, data_dir, width):
    """No serious or critical violation that axe-core finds, before and after a recording, on a desk and on a phone."""
    axe = pytest.importorskip("axe_playwright_python.base", reason="axe-playwright-python is not installed")
    tab = visit(browser, served[0], width)

    def violations():
        tab.evaluate(axe.AXE_FILE_PATH.read_text("utf-8"))
        found = tab.evaluate("axe.run()")["violations"]
        return [
            (one["id"], node["html"][:200])
            for one in found
            if one["impact"] in ("serious", "critical")
            for node in one["nodes"]
            if not (
                one["id"] in EXCLUDED
                and tab.evaluate(
                    "([css, of]) => document.querySelector(css).matches(of)", [node["target"][0], EXCLUDED[one["id"]]]
                )
            )
        ]

    assert not violations()
    classified(tab, data_dir / "eegmat" / "Subject35_2.edf")
    tab.click("#explain")
    tab.wait_for_selector("#explanation img")
    assert not violations()
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    # a phone gets pictures of its own shape
    shape = tab.evaluate("(image => image.naturalWidth / image.naturalHeight)(document.querySelector('#strip img'))")
    assert (shape > 1) == (width > 700)
    tab.context.close()


def test_the_page_is_used_by_the_keyboard(served, browser):
    tab = visit(browser, served[0])
    tab.focus("#student input")
    for _ in range(12):
        tab.keyboard.press("Tab")
        if tab.evaluate("document.activeElement.id") == "sample":
            break
    assert tab.evaluate("document.activeElement.id") == "sample"
    tab.keyboard.press("Enter")
    assert "sample_raw.fif" in found(tab, "windows of 5 s")
    tab.context.close()
