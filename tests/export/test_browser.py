# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""The exported ONNX file in a browser: onnxruntime-web in headless Chromium gives the logits of Python."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Queue
from typing import Any

import numpy as np
import pytest
import torch


pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

from dlink_hf import MiCConfig, MiCForEEGClassification, OnnxStudent, export_onnx  # noqa: E402


WEB_PACKAGE = "onnxruntime-web@1.30.0"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
PAGE = """<!doctype html><meta charset="utf-8"><script type="module">
const tell = (answer) => fetch("/answer", {method: "POST", body: JSON.stringify(answer)});
try {
  const ort = await import("/onnxruntime-web/ort.wasm.min.mjs");
  ort.env.wasm.wasmPaths = "/onnxruntime-web/";
  ort.env.wasm.numThreads = 1;
  const shape = await (await fetch("/shape.json")).json();
  const values = new Float32Array(await (await fetch("/windows.f32")).arrayBuffer());
  const answers = {};
  for (const name of ["float32", "int8"]) {
    const session = await ort.InferenceSession.create(`/${name}.onnx`, {executionProviders: ["wasm"]});
    const output = await session.run({input_values: new ort.Tensor("float32", values, shape)});
    answers[name] = Array.from(output.logits.data);
  }
  await tell(answers);
} catch (error) { await tell({error: String(error)}); }
</script>"""


@pytest.fixture(scope="module")
def web_runtime(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of onnxruntime-web's files: that of ONNXRUNTIME_WEB, or installed by npm."""
    if CHROMIUM is None:
        pytest.skip("there is no Chromium: install the package chromium")
    if os.environ.get("ONNXRUNTIME_WEB"):
        return Path(os.environ["ONNXRUNTIME_WEB"])
    if shutil.which("npm") is None:
        pytest.skip("there is no npm to install onnxruntime-web; or name its folder dist in ONNXRUNTIME_WEB")
    folder = tmp_path_factory.mktemp("web")
    command = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(folder), WEB_PACKAGE]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"npm could not install {WEB_PACKAGE}: {done.stderr.strip()[-200:]}")
    return folder / "node_modules" / "onnxruntime-web" / "dist"


class _Handler(SimpleHTTPRequestHandler):
    """Serves a folder; what is posted goes into a queue."""

    answers: Queue[Any]

    def do_POST(self) -> None:
        self.answers.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *args: Any) -> None:
        """Say nothing."""


def in_browser(folder: Path, profile: Path) -> dict[str, Any]:
    """What the page in a folder posts, opened by Chromium without a window."""
    _Handler.answers = Queue()
    _Handler.extensions_map = {**SimpleHTTPRequestHandler.extensions_map, ".mjs": "text/javascript"}
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        # Chromium's own sandbox can't be had in many containers; the page is the one above
        words = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            f"--user-data-dir={profile}",
        ]
        browser = subprocess.Popen(
            [str(CHROMIUM), *words, f"--user-data-dir={profile}", f"http://127.0.0.1:{server.server_port}/page.html"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            return _Handler.answers.get(timeout=240)
        finally:
            browser.terminate()
            browser.wait()
            server.shutdown()


@pytest.mark.slow
@pytest.mark.parametrize("size", ["tiny", "small"])
def test_a_browser_gives_the_logits_of_python(web_runtime: Path, tmp_path: Path, size: str) -> None:
    torch.manual_seed(0)
    names = ["F3", "C3", "Cz", "C4", "Pz"]
    model = MiCForEEGClassification(MiCConfig.from_size(size, ch_names=names, n_times=400, num_labels=3)).eval()
    torch.nn.init.normal_(model.classifier.weight)
    windows = 20 * np.random.default_rng(0).standard_normal((6, 5, 400), dtype=np.float32)
    site = tmp_path / "site"
    site.mkdir()
    (site / "onnxruntime-web").symlink_to(web_runtime)
    (site / "page.html").write_text(PAGE)
    (site / "windows.f32").write_bytes(windows.tobytes())
    (site / "shape.json").write_text(json.dumps(windows.shape))
    expected = {}
    for precision in ("float32", "int8"):
        folder = tmp_path / precision
        export_onnx(model, folder, precision=precision, calibration=windows, tolerance=0.2, progress=False)
        shutil.copyfile(folder / "model.onnx", site / f"{precision}.onnx")
        expected[precision] = OnnxStudent.from_pretrained(folder)(windows).logits
    found = in_browser(site, tmp_path / "profile")
    assert "error" not in found, found
    for precision, logits in expected.items():
        difference = np.abs(np.reshape(found[precision], logits.shape) - logits).max()
        # whole numbers on other instructions may fall to the other side of a step
        assert difference <= {"float32": 1e-4, "int8": 0.02 * np.ptp(logits)}[precision]
