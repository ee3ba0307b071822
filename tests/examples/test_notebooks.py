# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""The notebooks run from the first cell to the last, and show what they printed."""

from __future__ import annotations

import re
import socket
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from lsl_streams import stay_on_this_machine


NOTEBOOKS = sorted((Path(__file__).resolve().parents[2] / "examples" / "notebooks").glob("*.ipynb"))
MISSING = [name for name in ("nbclient", "matplotlib", "pylsl") if find_spec(name) is None]
NEEDS = pytest.mark.skipif(bool(MISSING), reason=f"needs {', '.join(MISSING)}: pip install 'dlink-hf[dev]'")
# a few steps tell that the cells run
STEPS = re.compile(r"max_steps=\d+")


def read(path: Path) -> Any:
    import nbformat

    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    return notebook


def printed(notebook: Any) -> str:
    """All text that the cells put out, errors included."""
    parts = []
    for output in (output for cell in notebook.cells for output in cell.get("outputs", [])):
        parts += [output.get("text", ""), output.get("data", {}).get("text/plain", "")]
        parts += output.get("traceback", [])
    return "\n".join(parts)


@NEEDS
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_what_is_stored(path: Path) -> None:
    notebook = read(path)
    assert f"colab.research.google.com/github/OWNER/dlink_hf/blob/main/examples/notebooks/{path.name}" in str(notebook)
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert outputs and not any(output.output_type == "error" for output in outputs)
    assert "unseen people" in printed(notebook)
    host = re.escape(socket.gethostname())
    found = re.search(rf"(?<![\w.])/(home|root|tmp|usr|Users|work)/|site-packages|\b{host}\b", printed(notebook))
    assert not found, f"the stored outputs of {path.name} hold {found[0]!r}, a place of the machine that ran it"


@NEEDS
@pytest.mark.slow
def test_the_notebooks_run(tmp_path: Path) -> None:
    from nbclient import NotebookClient

    stay_on_this_machine()
    assert len(NOTEBOOKS) == 3
    for path in NOTEBOOKS:
        notebook = read(path)
        for cell in notebook.cells:
            if cell.cell_type == "code":
                cell.source, cell.outputs = STEPS.sub("max_steps=2", cell.source), []
        done = NotebookClient(notebook, timeout=1000, resources={"metadata": {"path": str(tmp_path)}}).execute()
        assert re.search(r"unseen people:? (0\.\d\d|1\.00)", printed(done)), path.name
        if path.stem == "lsl_to_prediction":
            assert len(re.findall(r"^ ?\d+\.\d s  .*(hand|nan)", printed(done), re.MULTILINE)) >= 5
