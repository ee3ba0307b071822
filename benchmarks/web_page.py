# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""How long the web demo takes to show a recording, from the click to the last picture, in a real browser.

    python benchmarks/web_page.py --minutes 30 --output benchmarks/results/web_page.json

The recording is noise of 19 electrodes at 256 Hz in an EDF file. `dlink demo --web` runs in a process of its own and
headless Chromium (playwright) visits it. On a machine where other programs run, seconds on the clock say little: the
processor seconds of the server are reported next to them.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import mne
import numpy as np
import psutil
from playwright.sync_api import sync_playwright

from dlink_hf.core.atomic_files import write_json
from dlink_hf.profiling.measure import processor_name


SFREQ = 256
ELECTRODES = "Fp1 Fp2 F7 F3 Fz F4 F8 T7 C3 Cz C4 T8 P7 P3 Pz P4 P8 O1 O2".split()
STUDENTS = Path(__file__).resolve().parents[1] / "model_cards"
START = "import sys; from dlink_hf.commands import main; sys.exit(main(sys.argv[1:]))"


def write_recording(path: Path, minutes: float) -> Path:
    """Write an EDF file of noise."""
    values = 20e-6 * np.random.default_rng(0).standard_normal((len(ELECTRODES), round(60 * minutes * SFREQ)))
    raw = mne.io.RawArray(values, mne.create_info(ELECTRODES, SFREQ, "eeg"), verbose="ERROR")
    mne.export.export_raw(path, raw, overwrite=True, verbose="ERROR")
    return path


def wait_for_address(process: subprocess.Popen, log: Path) -> str:
    """Return the address that the server prints.

    Raises:
        RuntimeError: it ended without one.
    """
    while process.poll() is None:
        found = re.search(r"http://127\.0\.0\.1:\d+", log.read_text())
        if found:
            return found[0]
        time.sleep(0.2)
    raise RuntimeError(log.read_text())


def visit(tab: Any, address: str, student: str, recording: Path, server: psutil.Process) -> dict[str, Any]:
    """Upload a recording, classify it, and wait for the pictures; seconds of each part, and what progress said."""
    tab.goto(address)
    tab.click("#student input")
    tab.click(f"[role=option] >> text={student}")
    start = time.perf_counter()
    tab.set_input_files("#upload input[type=file]", str(recording))
    tab.wait_for_selector(f"#upload >> text={recording.stem}")
    uploaded = time.perf_counter()
    before = sum(server.cpu_times()[:2])
    tab.evaluate(
        "window.seen = new Set(); setInterval(() => document.querySelectorAll('#found .progress-level-inner')"
        ".forEach(one => window.seen.add(one.textContent.trim())), 100)"
    )
    tab.click("#classify")
    tab.wait_for_selector("#maps img")
    shown = time.perf_counter()
    said = [text for text in tab.evaluate("[...window.seen]") if text]
    found = tab.input_value("#found textarea")
    return {
        "upload_s": uploaded - start,
        "shown_s": shown - uploaded,
        "server_processor_s": sum(server.cpu_times()[:2]) - before,
        "progress": said,
        "found": found.splitlines()[1],
    }


def main() -> None:
    """Entry of the script."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30.0, help="length of the recording")
    parser.add_argument("--student", default="dlink-mic-small-eyes_gnb", help="of model_cards/")
    parser.add_argument(
        "--repeats", type=int, default=3, help="visits; the first one loads what the others find loaded"
    )
    parser.add_argument("--output", type=Path, default=None, help="JSON file to write")
    args = parser.parse_args()
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        raise SystemExit("Chromium is not installed (Debian: apt-get install chromium).")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        recording = write_recording(folder / "recording.edf", args.minutes)
        env = {**os.environ, "PYTHONUNBUFFERED": "1", "TMPDIR": temporary, "GRADIO_TEMP_DIR": f"{temporary}/gradio"}
        with open(folder / "log", "w") as log:
            words = [sys.executable, "-c", START, "demo", "--web", "--students", str(STUDENTS)]
            process = subprocess.Popen(words, env=env, stdout=log, stderr=subprocess.STDOUT)
        try:
            address = wait_for_address(process, folder / "log")
            with sync_playwright() as started:
                browser = started.chromium.launch(executable_path=program, args=["--no-sandbox"])
                visits = []
                for _ in range(args.repeats):
                    tab = browser.new_context().new_page()
                    tab.set_default_timeout(300_000)
                    load = os.getloadavg()[0]
                    visits.append(
                        {**visit(tab, address, args.student, recording, psutil.Process(process.pid)), "load": load}
                    )
                    print(
                        {
                            name: round(value, 1) if isinstance(value, float) else value
                            for name, value in visits[-1].items()
                        }
                    )
                    tab.context.close()
        finally:
            process.terminate()
            process.wait(30)
    result = {
        "minutes": args.minutes,
        "channels": len(ELECTRODES),
        "sfreq": SFREQ,
        "student": args.student,
        "cores": len(os.sched_getaffinity(0)),
        "processor": processor_name(),
        "shown_s": statistics.median(one["shown_s"] for one in visits),
        "server_processor_s": statistics.median(one["server_processor_s"] for one in visits),
        "visits": visits,
    }
    told = f"shown {result['shown_s']:.1f} s after the click, {result['server_processor_s']:.1f} processor seconds"
    print(f"{args.minutes:g} minutes: {told}")
    if args.output is not None:
        write_json(args.output, result)


if __name__ == "__main__":
    main()
