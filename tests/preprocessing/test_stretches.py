# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Long recordings in stretches: the numbers of the whole, in the memory of a part."""

import subprocess
import sys
from pathlib import Path

import mne
import numpy as np
import pytest

from dlink_hf.preprocessing import stretches
from dlink_hf.preprocessing.feature_extraction_eeg import EEGFeatureExtractor
from dlink_hf.preprocessing.recording_windows import RecordingWindows, fit_session
from dlink_hf.preprocessing.recordings import read_recording


NAMES = ["Fp1", "C3", "Cz", "C4", "ECG"]


def save(folder: Path, sfreq: float, seconds: float = 400.0) -> Path:
    """A drifting recording with offsets of millivolts, at any rate, as FIF."""
    rng = np.random.default_rng(0)
    values = rng.normal(scale=20.0, size=(len(NAMES), round(seconds * sfreq)))
    values += 4000 * np.arange(len(NAMES))[:, None] + 0.01 * np.cumsum(rng.normal(size=values.shape), axis=1)
    path = folder / "long_raw.fif"
    raw = mne.io.RawArray(values * 1e-6, mne.create_info(NAMES, sfreq, "eeg"), verbose="error")
    raw.save(path, fmt="double", overwrite=True, verbose="error")
    return path


@pytest.mark.parametrize(
    ("sfreq", "filters"),
    [
        (200.0, {}),
        (200.0, {"l_freq": 0.5, "h_freq": 75.0}),
        (256.0, {"l_freq": 0.5, "h_freq": 75.0, "notch_freq": 50.0}),
        (500.0, {"h_freq": 40.0, "notch_freq": [50, 60]}),
        (128.0, {}),
    ],
)
def test_the_windows_of_the_whole(tmp_path, monkeypatch, sfreq, filters):
    path = save(tmp_path, sfreq)
    extractor = EEGFeatureExtractor(n_times=1000, stride=700, ch_names=["C4", "Fp1", "Cz"], **filters)
    expected = extractor(read_recording(path), align=False)
    monkeypatch.setattr(stretches, "LONG_SAMPLES", 1000)
    monkeypatch.setattr(stretches, "STRETCH_SECONDS", 37.0)
    windows = RecordingWindows(extractor, path)
    assert isinstance(windows._raw, stretches.StretchedRecording)
    assert windows.ch_names == expected["ch_names"]
    np.testing.assert_array_equal(windows.onsets, expected["onset"])
    found = np.concatenate([batch for batch, _ in windows.batches(3)])
    np.testing.assert_allclose(found, expected["input_values"], atol=1e-3, rtol=0)
    # out of order, too
    np.testing.assert_allclose(windows.cut(5, 7), expected["input_values"][5:7], atol=1e-3, rtol=0)


def test_what_no_eeg_has_is_refused_all_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(stretches, "LONG_SAMPLES", 1000)
    path = save(tmp_path, 200.0)
    raw = read_recording(path)
    raw._data[2, 33_000] = np.nan
    raw.save(path, fmt="double", overwrite=True, verbose="error")
    with pytest.raises(
        ValueError, match="'long_raw.fif' holds samples that are NaN or infinite, in Cz, from 165 s on"
    ):
        RecordingWindows(EEGFeatureExtractor(), path)
    raw = read_recording(save(tmp_path, 200.0))
    raw._data[2] *= 2000
    raw.save(path, fmt="double", overwrite=True, verbose="error")
    with pytest.raises(ValueError, match="'long_raw.fif': the typical amplitude of Cz"):
        RecordingWindows(EEGFeatureExtractor(), path)
    assert RecordingWindows(EEGFeatureExtractor(outlying_channels="drop"), path).ch_names == ["Fp1", "C3", "C4"]


@pytest.mark.parametrize("alignment", ["euclidean", "zscore", "monge"])
def test_the_alignment_of_the_whole(tmp_path, monkeypatch, alignment):
    path = save(tmp_path, 200.0, 120.0)
    extractor = EEGFeatureExtractor(alignment=alignment, l_freq=0.5)
    windows = RecordingWindows(extractor, path)
    expected = fit_session(extractor, [windows]).transform(windows.cut(0, 5))
    monkeypatch.setattr(stretches, "LONG_SAMPLES", 1000)
    monkeypatch.setattr(stretches, "STRETCH_SECONDS", 37.0)
    windows = RecordingWindows(extractor, path)
    assert isinstance(windows._raw, stretches.StretchedRecording)
    found = fit_session(extractor, [windows]).transform(windows.cut(0, 5))
    np.testing.assert_allclose(found, expected, atol=1e-3, rtol=1e-4)


def test_filters_that_begin_anew_at_skips_take_the_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(stretches, "LONG_SAMPLES", 1000)
    path = save(tmp_path, 200.0)
    raw = read_recording(path)
    raw.set_annotations(mne.Annotations([100.0], [5.0], ["BAD_ACQ_SKIP"]))
    raw.save(path, fmt="double", overwrite=True, verbose="error")
    assert not isinstance(RecordingWindows(EEGFeatureExtractor(), path)._raw, stretches.StretchedRecording)


MEMORY = """
import resource, sys
from dlink_hf.preprocessing.feature_extraction_eeg import EEGFeatureExtractor
from dlink_hf.preprocessing.recording_windows import RecordingWindows, fit_session
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
extractor = EEGFeatureExtractor(l_freq=0.5, h_freq=75.0, notch_freq=50.0)
for values, onsets in RecordingWindows(extractor, sys.argv[1]).batches(32):
    pass
print(onsets[-1], (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


def write_long_edf(path: Path, hours: int, n_chans: int = 19, sfreq: int = 256) -> Path:
    """An EDF file of noise, written record by record."""
    from test_channels import write_edf

    from dlink_hf.core.electrodes import ELECTRODE_POSITIONS

    names = list(ELECTRODE_POSITIONS)[:n_chans]
    values = np.random.default_rng(0).normal(scale=200, size=(n_chans, 60 * sfreq))
    write_edf(path, names, values, [sfreq] * n_chans, seconds=60)
    data = bytearray(path.read_bytes())
    head = 256 * (n_chans + 1)
    data[236:244] = str(hours * 3600).encode().ljust(8)
    with open(path, "wb") as file:
        file.write(data[:head])
        for _ in range(hours * 60):
            file.write(data[head:])
    return path


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_day_fits_in_a_gigabyte(tmp_path):
    path = write_long_edf(tmp_path / "day.edf", hours=24)
    done = subprocess.run([sys.executable, "-c", MEMORY, str(path)], capture_output=True, text=True, check=True)
    onset, megabytes = map(float, done.stdout.split())
    assert onset == 24 * 3600 - 5
    assert megabytes < 400


def test_memory_does_not_grow_with_the_recording(tmp_path):
    path = write_long_edf(tmp_path / "hours.edf", hours=3)
    done = subprocess.run([sys.executable, "-c", MEMORY, str(path)], capture_output=True, text=True, check=True)
    onset, megabytes = map(float, done.stdout.split())
    assert onset == 3 * 3600 - 5
    # the whole takes 420 MB as MNE holds it at 256 Hz alone, and as much again when it is resampled
    assert megabytes < 400
