# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""A class that lives at C3 in 10-12 Hz, in one second of the window, lights C3, 10-12 Hz and that second."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from dlink_hf import MiCConfig, MiCForEEGClassification, channel_positions
from dlink_hf.evaluation.explanation import explain_window
from dlink_hf.evaluation.recording_plots import plot_explanation


NAMES = ["F3", "C3", "Cz", "C4", "Pz"]
SFREQ, N_TIMES = 200.0, 600


def make_windows(n: int, seed: int, second: int | None = None):
    """Noise; windows of class 1 have 11 Hz at C3, in all seconds or in one."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 2
    windows = rng.normal(0, 8, (n, len(NAMES), N_TIMES)).astype(np.float32)
    times = np.arange(N_TIMES) / SFREQ
    on = np.ones(N_TIMES) if second is None else (times // 1 == second)
    for index in np.flatnonzero(labels):
        windows[index, 1] += 12 * on * np.sin(2 * np.pi * 11 * times + rng.uniform(0, 6))
    return windows, labels


@pytest.fixture(scope="module")
def student():
    torch.manual_seed(0)
    config = MiCConfig.from_size("tiny", ch_names=NAMES, n_times=N_TIMES, num_labels=2)
    model = MiCForEEGClassification(config)
    windows, labels = (torch.from_numpy(each) for each in make_windows(64, 0))
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    for _ in range(60):
        loss = model(windows, labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()


def test_the_place_and_the_band_of_a_class_light_up(student, tmp_path):
    windows, labels = make_windows(16, 1)
    found = explain_window(student, windows[1], windows[labels == 0], SFREQ)
    assert found.label == 1 and found.probability > 0.7
    assert NAMES[found.channels.argmax()] == "C3"
    assert max(found.bands, key=found.bands.get) == "10-12 Hz"
    channel, band = np.unravel_index(found.channel_bands.argmax(), found.channel_bands.shape)
    assert NAMES[channel] == "C3" and list(found.bands)[band] == "10-12 Hz"
    # nothing else comes near
    others = [fall for name, fall in found.bands.items() if name != "10-12 Hz"]
    assert found.bands["10-12 Hz"] > 2 * max(others)
    positions = channel_positions(NAMES)
    path = plot_explanation(found, NAMES, positions, tmp_path / "plot.png", "<b>$x$</b>")
    assert min(Image.open(path).size) > 300


def test_the_second_of_a_class_lights_up(student):
    windows, labels = make_windows(16, 2, second=2)
    found = explain_window(student, windows[1], windows[labels == 0], SFREQ, label=1)
    assert found.seconds.shape == (3,) and found.seconds.argmax() == 2


def test_a_part_that_is_the_same_everywhere_says_nothing(student):
    windows, _ = make_windows(2, 3)
    found = explain_window(student, windows[0], windows[:1], SFREQ)
    np.testing.assert_allclose(found.channels, 0, atol=1e-4)
    np.testing.assert_allclose(found.channel_bands, 0, atol=1e-3)


def test_what_does_not_fit_is_refused(student):
    windows, _ = make_windows(2, 3)
    with pytest.raises(ValueError, match="at least one more window"):
        explain_window(student, windows[0], windows[:0], SFREQ)
