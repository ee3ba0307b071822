# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Augmentations: what each does to the numbers, how often, and that the same seed and step give the same."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from scipy.signal import welch


pytest.importorskip("braindecode", reason="augmentations are braindecode's: pip install 'dlink-hf[teachers]'")

from dlink_hf import EEGAugmentation  # noqa: E402
from dlink_hf.training.augmentation import AUGMENTATIONS, parse_augmentations  # noqa: E402


SFREQ = 200.0


def noise(n_windows: int = 64, n_chans: int = 6, n_times: int = 400) -> torch.Tensor:
    return 20.0 * torch.randn(n_windows, n_chans, n_times)


def always(name: str, **strengths: float) -> EEGAugmentation:
    return EEGAugmentation({name: 1.0}, sfreq=SFREQ, **strengths)


def test_a_time_shift_turns_all_channels_of_a_window_round_alike():
    windows = noise()
    shifted = always("time_shift", max_shift=0.1)(windows, 0)
    shifts = []
    for before, after in zip(windows.numpy(), shifted.numpy(), strict=True):
        matches = [k for k in range(-20, 21) if np.array_equal(np.roll(before, k, axis=-1), after)]
        assert len(matches) == 1
        shifts += matches
    assert min(shifts) < -10 and max(shifts) > 10


def test_channel_dropout_silences_whole_channels_with_the_stated_probability():
    windows = noise(400, 10, 50)
    gain = (always("channel_dropout", dropout=0.3)(windows, 0) / windows).numpy()
    np.testing.assert_allclose(gain, np.broadcast_to(gain[..., :1], gain.shape), atol=1e-5)
    silent, whole = (gain[..., 0] < 1e-3).mean(), (gain[..., 0] > 0.999).mean()
    # 4,000 channels: the standard error is 0.7 %; braindecode's gate is soft for one channel in a hundred
    assert abs(silent - 0.3) < 0.025 and abs(whole - 0.7) < 0.025 and silent + whole > 0.97


def test_noise_is_white_and_relative_to_the_channel():
    windows = noise(200) * torch.tensor([0.01, 0.1, 1.0, 5.0, 10.0, 100.0])[:, None]
    added = (always("noise", noise=0.1)(windows, 0) - windows).numpy()
    ratio = added.std(-1) / windows.numpy().std(-1)
    np.testing.assert_allclose(ratio.mean(0), 0.1, rtol=0.02)
    _, power = welch(added[:, 2], fs=SFREQ, nperseg=128)
    power = power.mean(0)[2:-2]
    assert power.max() / power.min() < 1.3
    silent = torch.zeros(3, 2, 400)
    assert torch.equal(always("noise")(silent, 0), silent)


def test_a_frequency_shift_moves_a_peak_by_at_most_its_strength():
    time = np.arange(2000) / SFREQ
    windows = torch.tensor(np.sin(2 * np.pi * 10.0 * time), dtype=torch.float32).expand(64, 3, -1)
    shifted = always("frequency_shift", max_frequency_shift=2.0)(windows, 0).numpy()
    spectrum = np.abs(np.fft.rfft(shifted * np.hanning(2000), n=8000))
    peaks = np.fft.rfftfreq(8000, 1 / SFREQ)[spectrum.argmax(-1)]
    assert np.ptp(peaks, axis=1).max() < 0.03  # one shift for all channels of a window
    assert peaks.min() > 7.9 and peaks.max() < 12.1
    assert abs(peaks[:, 0].mean() - 10.0) < 0.5 and np.std(peaks[:, 0]) == pytest.approx(2 / np.sqrt(3), rel=0.25)
    # by hand: a complex exponential on the analytic signal, the window being a power of two long
    from scipy.signal import hilbert

    short = torch.randn(5, 2, 512)
    given = always("frequency_shift", max_frequency_shift=3.0)(short, 7).numpy()
    analytic, seconds = hilbert(short.numpy().astype(np.float64)), np.arange(512) / SFREQ
    for before, after in zip(analytic, given, strict=True):
        grid = np.linspace(-3, 3, 6001)
        errors = [np.abs((before[0] * np.exp(2j * np.pi * f * seconds)).real - after[0]).max() for f in grid[::10]]
        best = grid[::10][int(np.argmin(errors))]
        errors = [np.abs((before * np.exp(2j * np.pi * f * seconds)).real - after).max() for f in best + grid / 300]
        assert min(errors) < 2e-4


def test_amplitude_mask_and_sign():
    windows = noise(300)
    gain = (always("amplitude_scale", scale=0.3)(windows, 0) / windows).numpy()
    np.testing.assert_allclose(gain, np.broadcast_to(gain[..., :1], gain.shape), rtol=1e-4)
    assert 0.7 <= gain.min() < 0.71 and 1.29 < gain.max() <= 1.3001
    masked = (always("time_mask", mask=0.5)(windows, 0) / windows).numpy()
    silent = (np.abs(masked) < 0.5).sum(-1)
    assert silent.min() >= 98 and silent.max() <= 102
    assert torch.equal(always("sign_flip")(windows, 0), -windows)


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_the_same_seed_and_step_give_the_same_and_others_do_not(name):
    windows = noise(32)
    before = windows.clone()
    augment = EEGAugmentation([name], sfreq=SFREQ, seed=3)
    first = augment(windows, 5, 0, 0)
    assert first.dtype == torch.float32 and first.shape == windows.shape and torch.equal(windows, before)
    torch.manual_seed(99)
    np.random.seed(99)
    assert torch.equal(first, EEGAugmentation([name], sfreq=SFREQ, seed=3)(windows, 5, 0, 0))
    for other in (augment(windows, 6, 0, 0), augment(windows, 5, 1, 0), augment(windows, 5, 0, 1)):
        assert not torch.equal(first, other)
    assert not torch.equal(first, EEGAugmentation([name], sfreq=SFREQ, seed=4)(windows, 5, 0, 0))
    # one half of the windows, each whole
    changed = (first != windows).flatten(1).any(1).float().mean()
    assert 0.2 < changed < 0.8
    assert torch.equal(EEGAugmentation({name: 0.0}, sfreq=SFREQ)(windows, 1), windows)


def test_leaving_one_out_changes_nothing_in_the_others():
    windows = noise(32)
    both = EEGAugmentation(["sign_flip", "time_shift"], sfreq=SFREQ)(windows, 1)
    flips = EEGAugmentation(["sign_flip"], sfreq=SFREQ)(windows, 1)
    shifts = EEGAugmentation(["time_shift"], sfreq=SFREQ)(flips, 1)
    assert torch.equal(both, shifts)


def test_names_and_probabilities_are_read():
    assert parse_augmentations("time_shift, noise=0.25,") == {"time_shift": 0.5, "noise": 0.25}
    assert parse_augmentations("") == {}
    for text, reason in (
        ("time_shfit", "'time_shfit' is none of time_shift, "),
        ("noise,noise=0.1", "'noise' is given twice"),
        ("noise=much", "got 'noise=much'"),
    ):
        with pytest.raises(ValueError, match=reason):
            parse_augmentations(text)


def test_bad_arguments_are_errors():
    for arguments, reason in (
        ({"names": ["blur"]}, "time_shift, channel_dropout.*got 'blur'"),
        ({"names": {"noise": 1.5}}, r"probability of noise must lie in \[0, 1\], got 1.5"),
        ({"names": {"noise": float("nan")}}, "probability of noise"),
        ({"names": ["noise"], "noise": -1.0}, "`noise` must lie in"),
        ({"names": ["channel_dropout"], "dropout": 1.0}, r"`dropout` must lie in \[0, 1\), got 1.0"),
        ({"names": ["frequency_shift"], "max_frequency_shift": 100.0}, r"in \[0, 100\), got 100.0"),
        ({"names": ["noise"], "sfreq": 0.0}, "must"),
    ):
        with pytest.raises(ValueError, match=reason):
            EEGAugmentation(**{"sfreq": SFREQ, **arguments})
    with pytest.raises(ValueError, match=r"shape \(6, 400\)"):
        always("noise")(torch.randn(6, 400), 0)
    with pytest.raises(ValueError, match="time_mask of 3 s does not fit windows of 2 s"):
        always("time_mask", mask=3.0)(noise(), 0)


def test_a_time_shift_alone_does_not_load_braindecode():
    code = (
        "import sys, torch; from dlink_hf import EEGAugmentation;"
        "EEGAugmentation(['time_shift'], sfreq=200.0)(torch.randn(2, 3, 400), 0);"
        "sys.exit('braindecode' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
