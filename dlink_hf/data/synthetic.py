# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Synthetic EEG of imagined left and right hand movement, for demos and tests.

Sources at places on the scalp are mixed into the electrodes with a spatial fall-off, so that channels correlate as
their geometry says. Imagining a hand desynchronises the mu and beta rhythms over the opposite hemisphere
(Pfurtscheller & Lopes da Silva 1999, doi:10.1016/S1388-2457(99)00141-8). Subjects differ in the rhythms' frequency,
amplitude and place, in the desynchronisation's depth and laterality, in noise and blinks, so that an unseen subject is
not trivial. It is a toy: scores on it say nothing about real EEG.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mne
import numpy as np
from datasets import Dataset
from scipy.signal import butter, sosfiltfilt
from tqdm.auto import tqdm

from ..core.electrodes import channel_positions


SYNTHETIC_CHANNELS = (
    "Fp1", "Fp2", "F7", "F3", "Fz", "F4", "F8", "T7", "C3", "Cz", "C4", "T8", "P7", "P3", "Pz", "P4", "P8", "O1", "O2",
)  # fmt: skip
SYNTHETIC_LABELS = ("left hand", "right hand")


def make_synthetic_recordings(
    n_subjects: int = 20,
    n_trials: int = 48,
    trial_duration: float = 5.0,
    sfreq: float = 200.0,
    ch_names: Sequence[str] = SYNTHETIC_CHANNELS,
    line_freq: float = 50.0,
    difficulty: float = 1.0,
    seed: int = 0,
    progress: bool = True,
) -> list[mne.io.RawArray]:
    """Make one continuous recording a subject, with an annotation for every trial.

    Args:
        n_subjects: Number of recordings; subject k is the same whatever their number.
        n_trials: Trials of a recording, half of each class (one more of the first if odd), in random order.
        trial_duration: Length of a trial in seconds; 1 s lies between trials.
        sfreq: Sampling rate in hertz.
        ch_names: Electrodes, any of the 10-05 system.
        line_freq: Frequency of the power line in hertz; 0 leaves it out.
        difficulty: Divides the strength of the desynchronisation: 1 as tested, larger is harder.
        seed: Seed; the same arguments give the same numbers.
        progress: Whether to show a progress bar.

    Returns:
        Recordings in volts (as MNE keeps them), with annotations "left hand" and "right hand" and
        `info["subject_info"]["his_id"]` "S00", "S01" ...

    Raises:
        ValueError: If a number is out of range or an electrode is unknown.
    """
    for name, value, least in [("n_subjects", n_subjects, 1), ("n_trials", n_trials, 2)]:
        if int(value) != value or value < least:
            raise ValueError(f"{name}={value!r}: expected a whole number, at least {least}.")
    if trial_duration < 1.0 or sfreq < 80.0 or difficulty <= 0:
        raise ValueError(
            f"trial_duration={trial_duration!r} must be at least 1 s, sfreq={sfreq!r} at least 80 Hz (the beta rhythm "
            f"is near 25 Hz, the line at 50 Hz) and difficulty={difficulty!r} above 0."
        )
    positions = np.asarray(channel_positions(ch_names))
    recordings = []
    for subject in tqdm(range(n_subjects), desc="synthetic EEG", unit="subject", disable=not progress):
        rng = np.random.default_rng([seed, subject])
        classes = rng.permutation(np.arange(n_trials) % 2)
        onsets = 1.0 + np.arange(n_trials) * (trial_duration + 1.0)
        n_times = int(round((onsets[-1] + trial_duration + 1.0) * sfreq))
        microvolts = _brain(rng, positions, classes, onsets, trial_duration, n_times, sfreq, difficulty)
        microvolts += _artefacts(rng, positions, n_times, sfreq, line_freq)
        info = mne.create_info(list(ch_names), sfreq, "eeg", verbose="ERROR")
        info["subject_info"] = {"his_id": f"S{subject:02d}"}
        raw = mne.io.RawArray(microvolts * 1e-6, info, verbose="ERROR")
        descriptions = [SYNTHETIC_LABELS[label] for label in classes]
        raw.set_annotations(mne.Annotations(onsets, trial_duration, descriptions))
        recordings.append(raw)
    return recordings


def synthetic_dataset(
    n_subjects: int = 20,
    n_trials: int = 48,
    seed: int = 0,
    extractor: Any = None,
    cache_dir: str | Path | None = None,
    progress: bool = True,
    **options: Any,
) -> Dataset:
    """Return the synthetic recordings as windows, made by the same feature extractor and builder as real recordings.

    Args:
        n_subjects: Number of subjects.
        n_trials: Trials of a subject; each is one window of 5 s.
        seed: Seed of the recordings.
        extractor: `EEGFeatureExtractor`; None takes 19 channels, 200 Hz, 1000 samples, a 0.5 Hz high-pass.
        cache_dir: Cache folder of `build_dataset`.
        progress: Whether to show progress bars.
        **options: More arguments of `make_synthetic_recordings`.

    Returns:
        Dataset with `input_values` (19, 1000) in microvolts, `labels` (left hand, right hand), `subject`, `recording`,
        `onset` (s).
    """
    from ..preprocessing.feature_extraction_eeg import EEGFeatureExtractor
    from .build import build_dataset
    from .labels import AnnotationLabels

    recordings = make_synthetic_recordings(n_subjects, n_trials, seed=seed, progress=progress, **options)
    if extractor is None:
        extractor = EEGFeatureExtractor(ch_names=recordings[0].ch_names, sfreq=200.0, n_times=1000, l_freq=0.5)
    return build_dataset(
        recordings,
        extractor,
        AnnotationLabels({label: label for label in SYNTHETIC_LABELS}),
        cache_dir=cache_dir,
        progress=progress,
    )


def _falloff(positions: np.ndarray, place: np.ndarray, width: float) -> np.ndarray:
    """(C,) weights of a source at `place`, Gaussian in distance; all lengths in metres."""
    return np.exp(-((positions - place) ** 2).sum(axis=1) / (2 * width**2))


def _coloured(rng: np.random.Generator, n_rows: int, n_times: int, sfreq: float, exponent: float) -> np.ndarray:
    """(n_rows, n_times) noise of unit variance whose power falls as 1/f**exponent above 1 Hz."""
    freqs = np.fft.rfftfreq(n_times, 1 / sfreq)
    amplitude = np.where(freqs > 0, np.maximum(freqs, 1.0) ** (-exponent / 2), 0.0)
    spectrum = rng.standard_normal((n_rows, len(freqs))) + 1j * rng.standard_normal((n_rows, len(freqs)))
    noise = np.fft.irfft(spectrum * amplitude, n_times)
    return noise / noise.std(axis=1, keepdims=True)


def _rhythm(rng: np.random.Generator, n_times: int, sfreq: float, freq: float, width: float) -> np.ndarray:
    """(n_times,) narrow-band noise of unit variance, which waxes and wanes as rhythms do."""
    sos = butter(2, [freq - width, freq + width], "bandpass", fs=sfreq, output="sos")
    noise = sosfiltfilt(sos, rng.standard_normal(n_times))
    return noise / noise.std()


def _brain(
    rng: np.random.Generator,
    positions: np.ndarray,
    classes: np.ndarray,
    onsets: np.ndarray,
    trial_duration: float,
    n_times: int,
    sfreq: float,
    difficulty: float,
) -> np.ndarray:
    """(C, n_times) microvolts of background, alpha, mu and beta."""
    # Background: sources spread over the head, and each electrode's own noise.
    centre, radius = np.array([0.0, -0.015, 0.0]), 0.1
    directions = rng.standard_normal((24, 3))
    directions[:, 2] = np.abs(directions[:, 2])
    places = centre + radius * directions / np.linalg.norm(directions, axis=1, keepdims=True)
    mixing = np.stack([_falloff(positions, place, 0.05) for place in places], axis=1)
    exponent, level = rng.uniform(0.9, 1.5), rng.uniform(5.0, 9.0)
    signal = level * mixing @ _coloured(rng, len(places), n_times, sfreq, exponent)
    signal += rng.uniform(1.0, 3.0) * rng.standard_normal(signal.shape)

    # Alpha at the back of the head, not related to the class.
    alpha_freq = rng.uniform(8.5, 11.5)
    for name in ("O1", "O2", "Pz"):
        place = _place(rng, name, 0.015)
        alpha = rng.uniform(3.0, 14.0) * _rhythm(rng, n_times, sfreq, alpha_freq, 1.0)
        signal += np.outer(_falloff(positions, place, 0.045), alpha)

    # Mu and beta over both hands' areas, weakened opposite to the imagined hand.
    mu_freq = np.clip(alpha_freq + rng.normal(0.8, 0.7), 8.5, 13.0)
    beta_freq = np.clip(2 * mu_freq + rng.normal(0.0, 1.0), 18.0, 28.0)
    depth = np.clip(rng.normal(0.68, 0.15), 0.2, 0.9) / difficulty
    laterality = np.clip(rng.normal(0.75, 0.25), 0.0, 1.0)
    mu_level, beta_share = rng.uniform(7.0, 14.0), rng.uniform(0.25, 0.5)
    # How well each trial is imagined: some hardly are.
    effort = np.clip(rng.normal(0.9, 0.35, size=len(classes)), 0.0, 1.2)
    lag = rng.uniform(0.2, 0.8)
    for side, name in enumerate(("C4", "C3")):
        weights = _falloff(positions, _place(rng, name, 0.008), rng.uniform(0.03, 0.042))
        level = mu_level * rng.uniform(0.88, 1.15)
        gain, slow = np.ones(n_times), np.zeros(n_times)
        for onset, label, trial_effort in zip(onsets, classes, effort, strict=True):
            drop = depth * trial_effort * (1.0 if label == side else 1.0 - laterality)
            shape = _plateau(n_times, sfreq, onset + lag, onset + trial_duration - 0.3)
            gain[shape.slice] -= min(drop, 0.95) * shape.values
            if label == side:  # the slow shift over the hemisphere that prepares the movement
                shift = _plateau(n_times, sfreq, onset, onset + 2.0)
                slow[shift.slice] -= 1.2 * trial_effort * shift.values
        mu = _rhythm(rng, n_times, sfreq, mu_freq, 1.2)
        beta = beta_share * _rhythm(rng, n_times, sfreq, beta_freq, 2.5)
        signal += np.outer(weights, level * gain * (mu + beta) + slow)

    # Impedances and skulls differ.
    return signal * rng.uniform(0.9, 1.12, size=(len(positions), 1))


class _plateau:
    """A stretch of time with soft edges of 0.3 s: its `slice` of the recording, and `values` between 0 and 1."""

    def __init__(self, n_times: int, sfreq: float, begin: float, end: float):
        start, stop = int(begin * sfreq), min(int(end * sfreq), n_times)
        time = np.arange(start, stop) / sfreq
        self.slice = slice(start, stop)
        self.values = np.clip((time - begin) / 0.3, 0, 1) * np.clip((end - time) / 0.3, 0, 1)


def _place(rng: np.random.Generator, name: str, jitter: float) -> np.ndarray:
    """(3,) metres: an electrode's place, moved by `jitter` (standard deviation) along each axis."""
    return np.asarray(channel_positions([name]))[0] + rng.normal(0.0, jitter, size=3)


def _artefacts(
    rng: np.random.Generator, positions: np.ndarray, n_times: int, sfreq: float, line_freq: float
) -> np.ndarray:
    """(C, n_times) microvolts of blinks and of the power line."""
    eyes = np.zeros(n_times)
    rate, height = rng.uniform(5.0, 20.0) / 60.0, rng.uniform(60.0, 130.0)
    for moment in rng.uniform(0.5, n_times / sfreq - 0.5, size=rng.poisson(rate * n_times / sfreq)):
        width = rng.uniform(0.05, 0.09)
        begin, end = max(0, int((moment - 0.4) * sfreq)), min(n_times, int((moment + 0.4) * sfreq))
        time = np.arange(begin, end) / sfreq
        eyes[begin:end] += height * rng.uniform(0.7, 1.3) * np.exp(-((time - moment) ** 2) / (2 * width**2))
    between_eyes = np.asarray(channel_positions(["Fpz"]))[0]
    signal = np.outer(_falloff(positions, between_eyes, 0.04), eyes)
    if line_freq:
        wave = np.sin(2 * np.pi * line_freq * np.arange(n_times) / sfreq + rng.uniform(0, 2 * np.pi))
        signal += np.outer(rng.uniform(0.3, 3.0, size=len(positions)), wave)
    return signal
