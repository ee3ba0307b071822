# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""`dlink explain` on a made recording: a class that lives at C3 in 10-12 Hz is found there."""

from __future__ import annotations

import re

import mne
import numpy as np
import pytest
import torch
from PIL import Image

from dlink_hf import EEGFeatureExtractor, MiCConfig, MiCForEEGClassification, channel_positions
from dlink_hf.commands import main


NAMES = ["F3", "C3", "Cz", "C4", "Pz", "A2-A1"]
SFREQ, N_TIMES = 200, 400


def make_signal(n_windows, seed):
    """Noise of (C, n_windows * N_TIMES) uV; every second window has 11 Hz at C3."""
    rng = np.random.default_rng(seed)
    signal = rng.normal(0, 8, (len(NAMES), n_windows * N_TIMES))
    times = np.arange(N_TIMES) / SFREQ
    for index in range(1, n_windows, 2):
        signal[1, index * N_TIMES : (index + 1) * N_TIMES] += 14 * np.sin(2 * np.pi * 11 * times + rng.uniform(0, 6))
    return signal


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A trained student and a recording of twelve windows."""
    folder = tmp_path_factory.mktemp("explain")
    torch.manual_seed(0)
    names = {0: "rest", 1: "<b>beat</b>"}
    model = MiCForEEGClassification(MiCConfig.from_size("tiny", ch_names=NAMES, n_times=N_TIMES, id2label=names))
    extractor = EEGFeatureExtractor(ch_names=NAMES, n_times=N_TIMES, l_freq=0.5)
    signal = make_signal(64, 0)
    windows = torch.from_numpy(signal.reshape(len(NAMES), 64, N_TIMES).swapaxes(0, 1).astype(np.float32))
    labels = torch.arange(64) % 2
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    positions = torch.tensor(channel_positions(NAMES))
    for _ in range(60):
        loss = model(windows, labels=labels, channel_positions=positions).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    for part in (model.eval(), extractor):
        part.save_pretrained(folder / "student")
    raw = mne.io.RawArray(1e-6 * make_signal(12, 1), mne.create_info(NAMES, SFREQ, "eeg"), verbose="ERROR")
    raw.save(folder / "made_raw.fif", verbose="ERROR")
    return folder


def test_the_electrode_and_the_band_are_told(folder, tmp_path, capsys):
    words = ["explain", str(folder / "made_raw.fif"), "--model", str(folder / "student"), "--window", "3"]
    assert main([*words, "--output", str(tmp_path / "seen.png")]) == 0
    said = capsys.readouterr().out
    assert "Window 3, 6 to 8 s: <b>beat</b>" in said
    assert "electrode C3: +" in said and "band 10-12 Hz: +" in said
    assert "not on the map, being differences of two places: A2-A1" in said
    assert min(Image.open(tmp_path / "seen.png").size) > 300


def test_the_other_recordings_of_a_session_give_the_other_condition(folder, tmp_path, capsys):
    halves = make_signal(12, 1).reshape(len(NAMES), 12, N_TIMES)
    for name, part in (("rest", halves[:, ::2]), ("beat", halves[:, 1::2])):
        info = mne.create_info(NAMES, SFREQ, "eeg")
        raw = mne.io.RawArray(1e-6 * part.reshape(len(NAMES), -1), info, verbose="ERROR")
        raw.save(tmp_path / f"{name}_raw.fif", verbose="ERROR")
    words = ["explain", str(tmp_path / "beat_raw.fif"), "--model", str(folder / "student")]
    words += ["--output", str(tmp_path / "seen.png")]
    falls = []
    for more in ([], ["--session_recordings", str(tmp_path / "rest_raw.fif"), "--draws", "12"]):
        assert main([*words, *more]) == 0
        said = capsys.readouterr().out
        falls.append(float(re.search(r"band [\w-]+ Hz: ([+-][\d.]+)", said)[1]))
    # windows that all have the rhythm say little about it
    assert "band 10-12 Hz" in said and falls[1] > 3 * max(falls[0], 0.05)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--window", "12"], "no window 12: the recording has 12"),
        (["--draws", "0"], "--draws must be at least 1"),
        (["--session_recordings", "other.edf"], "other.edf"),
        (["--output", "seen.gif"], ".png, .svg or .pdf"),
    ],
)
def test_what_can_not_be_explained_is_refused(folder, words, reason, capsys):
    given = ["explain", str(folder / "made_raw.fif"), "--model", str(folder / "student")]
    assert main([*given, *words]) == 1
    assert reason in capsys.readouterr().err
