# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""What the web demo does for one visitor: take a recording, classify it, draw it, write it; without any web in it."""

from __future__ import annotations

import copy
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mne
import numpy as np

from ..core.checkpoint_names import packaged_checkpoints
from ..core.checks import first_names
from ..core.electrodes import channel_positions
from ..core.fetch import read_json
from ..core.text import without_surrogates
from ..evaluation.recording_plots import plot_band_maps, plot_probabilities, plot_recording
from ..preprocessing.recording_windows import RecordingWindows
from .loading import pipeline
from .predictions import RecordingPredictions, predict_recording


# what a visitor may upload: files that MNE reads without unpickling, parts of BrainVision and EEGLAB recordings too
UPLOADS = (".edf", ".bdf", ".gdf", ".fif", ".gz", ".vhdr", ".vmrk", ".eeg", ".set", ".fdt", ".cnt")
# of these the recording is opened by, the others are its parts
_OPENED = (".edf", ".bdf", ".gdf", ".fif", ".fif.gz", ".vhdr", ".set", ".cnt")
MOST_BYTES = 200_000_000
MOST_MINUTES = 90.0


@dataclass(frozen=True)
class Upload:
    """Files of one recording in a folder of their own.

    Args:
        path: the file that it is opened by.
        session: further recordings of the same session, for a model with an alignment.
    """

    path: Path
    session: tuple[Path, ...] = ()


def find_students(folders: Sequence[Path] = ()) -> dict[str, str]:
    """Name of every student with a trained head -> its folder: packaged ones, `folders` themselves, those in them.

    Args:
        folders: checkpoints, or folders of checkpoints.
    """
    places = [*packaged_checkpoints().values()]
    for folder in folders:
        places += [folder, *sorted(path for path in folder.glob("*") if path.is_dir())]
    found = {}
    for place in places:
        try:
            fields = read_json(place / "config.json")
        except (OSError, ValueError):
            continue
        classes = fields.get("architectures") or ()
        if any("ForEEGClassification" in str(name) for name in classes):
            found.setdefault(place.resolve().name, str(place))
    return found


def take_upload(files: Sequence[str | Path], folder: Path, most_bytes: int = MOST_BYTES) -> Upload:
    """Copy the uploaded files of one recording into a folder, after a look at their types and sizes.

    Args:
        files: where the server has put them.
        folder: of this visitor.
        most_bytes: of all files together.

    Raises:
        ValueError: nothing was uploaded, a type is unknown, or the files are too large; the message says what to do.
    """
    paths = [Path(file) for file in files]
    if not paths:
        raise ValueError("No file has arrived. Choose a recording, or take the sample.")
    strange = [path.name for path in paths if path.suffix.lower() not in UPLOADS]
    if strange:
        raise ValueError(
            f"{first_names(strange)}: not a type of EEG recording. Known are {', '.join(UPLOADS)}; a BrainVision "
            "recording is its .vhdr, .vmrk and .eeg together."
        )
    size = sum(path.stat().st_size for path in paths)
    if size > most_bytes:
        raise ValueError(
            f"The files have {size / 1e6:.0f} MB; at most {most_bytes / 1e6:.0f} MB are taken. Crop the recording, or "
            "use `dlink predict` on your own machine."
        )
    opened = [path for path in paths if path.name.lower().endswith(_OPENED)]
    if len(opened) != 1:
        raise ValueError(
            f"{len(opened)} of the files can be opened as a recording ({', '.join(_OPENED)}), and it must be one. "
            "Upload one recording at a time, with all of its parts."
        )
    folder.mkdir(parents=True, exist_ok=True)
    for path in paths:
        shutil.copyfile(path, folder / without_surrogates(path.name))
    return Upload(folder / without_surrogates(opened[0].name))


def make_sample(pipe: Any, folder: Path, minutes: float = 2.0, seed: int = 0) -> Upload:
    """Write a synthetic recording that the model can read: noise falling as 1/f with bursts of alpha over the back.

    Args:
        pipe: whose channels it gets.
        folder: where it goes.
        minutes: its length.
        seed: of the random numbers.
    """
    rng = np.random.default_rng(seed)
    names, sfreq = list(pipe.model.config.ch_names), 256.0
    n_times = round(60 * minutes * sfreq)
    spectrum = np.fft.rfft(rng.standard_normal((len(names), n_times)))
    frequency = np.fft.rfftfreq(n_times, 1 / sfreq)
    noise = np.fft.irfft(spectrum / np.sqrt(np.maximum(frequency, 0.5)), n_times)
    noise *= 10e-6 / noise.std(-1, keepdims=True)
    times = np.arange(n_times) / sfreq
    back = np.clip(-np.asarray(channel_positions(names))[:, 1] / 0.1 + 0.2, 0, 1)
    alpha = 15e-6 * np.sin(2 * np.pi * 10 * times) * (np.sin(2 * np.pi * times / 40) > 0)
    raw = mne.io.RawArray(noise + back[:, None] * alpha, mne.create_info(names, sfreq, "eeg"), verbose="ERROR")
    folder.mkdir(parents=True, exist_ok=True)
    raw.save(folder / "sample_raw.fif", overwrite=True, verbose="ERROR")
    return Upload(folder / "sample_raw.fif")


class WebSession:
    """One visitor's recording, its predictions, and pictures of them.

    Args:
        pipe: the model.
        upload: the recording.
        folder: of this visitor; removed by [`close`].

    Raises:
        ValueError: the recording can't be used, or is too long; the message says why.
    """

    def __init__(self, pipe: Any, upload: Upload, folder: Path) -> None:
        self.folder, self.name = folder, upload.path.name
        extractor = copy.copy(pipe.feature_extractor)
        # without overlap, windows put together are the signal
        extractor.stride = None
        signal = RecordingWindows(extractor, upload.path)
        minutes = len(signal) * extractor.n_times / extractor.sfreq / 60
        if minutes > MOST_MINUTES:
            raise ValueError(f"The recording has {minutes:.0f} minutes, beyond {MOST_MINUTES:.0f}: crop it.")
        self._signal, self.sfreq, self.ch_names = signal, extractor.sfreq, list(signal.ch_names)
        self.n_session = len(upload.session)
        session = [str(path) for path in upload.session] if extractor.alignment is not None else []
        self.predictions: RecordingPredictions = predict_recording(pipe, str(upload.path), session_recordings=session)
        # once classified, the files are of no use
        for name in ("recording", "session"):
            shutil.rmtree(folder / name, ignore_errors=True)

    @classmethod
    def open(
        cls,
        model: str,
        files: Sequence[str | Path] | None,
        session: Sequence[str | Path] = (),
        root: Path | None = None,
    ) -> WebSession:
        """Classify what was uploaded, or the sample where `files` is None, in a new temporary folder.

        Args:
            model: folder of the student.
            files: what was uploaded.
            session: further recordings of the same session, one file each.
            root: where temporary folders are made.

        Raises:
            ValueError, OSError: the recording can't be used; no folder is left behind.
        """
        folder = Path(tempfile.mkdtemp(prefix="dlink-web-", dir=root))
        try:
            pipe = pipeline(model=model)
            given = folder / "recording"
            upload = make_sample(pipe, given) if files is None else take_upload(files, given)
            if files is not None:
                others = [take_upload([file], folder / "session" / str(i)).path for i, file in enumerate(session)]
                upload = Upload(upload.path, tuple(others))
            return cls(pipe, upload, folder)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise

    def close(self) -> None:
        """Remove the visitor's folder."""
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def seconds(self) -> float:
        """Length of what can be shown."""
        return float(len(self._signal) * self.predictions.duration)

    def summary(self) -> str:
        """Say in some sentences what was found."""
        lines = [f"{self.name}: {len(self.ch_names)} channels, {self.seconds:.0f} s", *self.predictions.summary()]
        state = self.predictions.alignment
        if state is not None:
            files = f"{self.n_session + 1} files" if self.n_session else "this file"
            lines.append(
                f"Aligned ({state.method}) by {state.n_windows} unlabelled windows of {files}, taken to be one "
                "subject's whole session."
            )
            if not self.n_session:
                lines.append("If it holds one condition only, add the others of the session: else it is misread.")
        return "\n".join(lines)

    def window_at(self, number: int) -> int:
        """A window's index, kept within what there is."""
        return int(np.clip(number, 0, len(self.predictions.onsets) - 1))

    def draw_recording(self, start: float, seconds: float, number: int) -> Path:
        """Draw `seconds` of the signal from `start` on, with the labels of the windows in it."""
        length = self.predictions.duration
        start = float(np.clip(start, 0, max(0.0, self.seconds - length)))
        first, last = int(start // length), min(len(self._signal), int(np.ceil((start + seconds) / length)))
        values = np.concatenate(list(self._signal.cut(first, max(last, first + 1))), axis=-1)
        begin, end = first * length, first * length + values.shape[1] / self.sfreq
        found = self.predictions
        windows = [
            {"onset": onset, "duration": length, "label": label if judged else None, "reason": reason}
            for onset, label, judged, reason in zip(
                found.onsets, found.labels, found.is_judged(), found.reasons, strict=True
            )
            if begin <= onset < end
        ]
        chosen = float(found.onsets[self.window_at(number)])
        path = self.folder / "recording.png"
        return plot_recording(values, self.sfreq, self.ch_names, begin, windows, found.names, path, chosen)

    def draw_probabilities(self, number: int) -> Path:
        """Draw the probabilities of all windows."""
        found = self.predictions
        chosen = float(found.onsets[self.window_at(number)])
        path = self.folder / "probabilities.png"
        return plot_probabilities(
            found.onsets, found.duration, found.probabilities, found.names, found.is_judged(), path, chosen
        )

    def draw_maps(self, number: int) -> Path:
        """Draw the band power of one window as maps of the head."""
        found, index = self.predictions, self.window_at(number)
        onset = float(found.onsets[index])
        near = min(len(self._signal) - 1, int(round(onset / found.duration)))
        # a bipolar channel has no place of its own
        rows = [row for row, name in enumerate(self.ch_names) if "-" not in name] or [*range(len(self.ch_names))]
        values = self._signal.cut(near, near + 1)[0][rows]
        positions = channel_positions([self.ch_names[row] for row in rows])
        return plot_band_maps(values, self.sfreq, positions, self.folder / "maps.png", self.describe(number))

    def describe(self, number: int) -> str:
        """Say what the model makes of one window."""
        found, index = self.predictions, self.window_at(number)
        onset = found.onsets[index]
        where = f"Window {index}, {onset:g} to {onset + found.duration:g} s"
        if found.reasons[index] is not None:
            return f"{where}: no label, {found.reasons[index]}"
        return f"{where}: {found.labels[index]} ({found.probabilities[index].max():.2f})"

    def write(self) -> tuple[Path, Path]:
        """Write the CSV and the annotations of `dlink predict`."""
        stem = self.name.split(".")[0]
        found = self.predictions
        return (
            found.write_csv(self.folder / f"{stem}_predictions.csv"),
            found.write_annotations(self.folder / f"{stem}_annot.fif"),
        )


__all__ = ["MOST_BYTES", "UPLOADS", "Upload", "WebSession", "find_students", "make_sample", "take_upload"]
