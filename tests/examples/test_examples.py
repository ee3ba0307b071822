# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Every example runs as a user would run it: in a process of its own, with a Hub on loopback where it asks for one."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from fake_hub.server import HubServer


EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
TOKEN = "hf_examplesToken01"


def run(script: str, *words: str, cwd: Path, environment: dict[str, str] | None = None) -> str:
    """What an example prints."""
    command = [sys.executable, "-W", "ignore", str(EXAMPLES / script), *words]
    variables = {**os.environ, "HF_DATASETS_DISABLE_PROGRESS_BARS": "1", **(environment or {})}
    done = subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=variables)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done.stdout


def test_quickstart(tmp_path: Path) -> None:
    told = run("quickstart.py", "--epochs", "2", "--output_dir", "out", cwd=tmp_path)
    assert re.search(r"people unseen: balanced accuracy 0\.\d+, AUROC 0\.\d+", told)
    assert re.search(r"\{'label': '(left|right) hand', 'score': [01]\.\d+, 'onset': 5\.0, 'duration': 5\.0", told)
    assert (tmp_path / "out" / "model.safetensors").is_file()


def test_share_student(tmp_path: Path) -> None:
    from toy_training import toy_student

    toy_student().save_pretrained(tmp_path / "student")
    (tmp_path / "hub").mkdir()
    with HubServer(tmp_path / "hub", token=TOKEN) as hub:
        environment = hub.environment(tmp_path / "home", HF_TOKEN=TOKEN)
        told = run("share_student.py", "student", "me/shared", "--private", cwd=tmp_path, environment=environment)
        assert hub.settings("me/shared")["private"] and hub.find(TOKEN) == []
    assert "largest difference of logits: 0\n" in told and "/me/shared/commit/" in told
    assert (tmp_path / "hub/me/shared/modeling_mic.py").is_file()


@pytest.mark.slow
def test_distill_cbramod(tmp_path: Path) -> None:
    pytest.importorskip("zarr", reason="sets of the Hub need zarr: pip install 'dlink-hf[hub-data]'")
    pytest.importorskip("braindecode", reason="teachers need braindecode: pip install 'dlink-hf[teachers]'")
    import braindecode_hub
    import mne
    import numpy as np
    from braindecode.datasets import BaseConcatDataset, RawDataset
    from braindecode.preprocessing import create_windows_from_events

    names, parts = ["C3", "Cz", "C4", "Pz"], []
    for subject in range(1, 7):
        values = 2e-5 * np.random.default_rng(subject).standard_normal((4, 6000))
        raw = mne.io.RawArray(values, mne.create_info(names, 100.0, "eeg"), verbose="ERROR")
        onsets = np.arange(1.0, 53.0, 6.0)
        raw.set_annotations(mne.Annotations(onsets, [4.0] * len(onsets), ["left_hand", "feet", "tongue"] * 3))
        parts.append(RawDataset(raw, {"subject": subject, "session": "0", "run": "0"}))
    mapping = {"feet": 0, "left_hand": 1, "tongue": 2}
    windows = create_windows_from_events(BaseConcatDataset(parts), mapping=mapping, preload=True)
    braindecode_hub.save_set(windows, tmp_path / "hub/datasets/braindecode/bcic2a")
    config = braindecode_hub.small_config("CBraMod", names, n_times=800)
    braindecode_hub.save(
        tmp_path / "hub/braindecode/cbramod-pretrained", config, n_layer=2, dim_feedforward=80, nhead=4
    )
    with HubServer(tmp_path / "hub", token=TOKEN) as hub:
        environment = hub.environment(tmp_path / "home", HF_TOKEN=TOKEN, HF_DATASETS_OFFLINE="0")
        words = ("--teacher_epochs", "1", "--epochs", "1", "--size", "tiny", "--push_to", "me/distilled")
        told = run("distill_cbramod_bcic2a.py", *words, cwd=tmp_path, environment=environment)
    assert "people unseen: balanced accuracy" in told and "/me/distilled/commit/" in told
    card = (tmp_path / "hub/me/distilled/README.md").read_text()
    assert "base_model: braindecode/cbramod-pretrained" in card and "tongue" in card
    assert "type: braindecode/bcic2a" in card and "| test |" in card
