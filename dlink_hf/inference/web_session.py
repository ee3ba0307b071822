# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""What the web demo does for one visitor: take a recording, classify it, draw it, write it; without any web in it."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mne
import numpy as np
import torch

from ..core.checkpoint_names import packaged_checkpoints
from ..core.checks import first_names
from ..core.electrodes import channel_positions
from ..core.fetch import read_json
from ..core.text import without_surrogates
from ..evaluation.recording_plots import (
    plot_band_maps,
    plot_explanation,
    plot_probabilities,
    plot_recording,
)
from ..evaluation.style import NARROW, WIDE
from ..hub.listing import count_published_parameters
from ..preprocessing.recording_windows import RecordingWindows
from ..profiling.measure import count_parameters, measure_latency
from .explaining import explain_recording_window, recording_windows
from .loading import pipeline
from .predictions import RecordingPredictions, predict_recording


# what a visitor may upload: files that MNE reads without unpickling, parts of BrainVision and EEGLAB recordings too
UPLOADS = (".edf", ".bdf", ".gdf", ".fif", ".gz", ".vhdr", ".vmrk", ".eeg", ".set", ".fdt", ".cnt")
# of these the recording is opened by, the others are its parts
_OPENED = (".edf", ".bdf", ".gdf", ".fif", ".fif.gz", ".vhdr", ".set", ".cnt")
MEGABYTE = 2**20
MOST_BYTES = 200 * MEGABYTE
MOST_MINUTES = 90.0
# of a checkpoint that a visitor names: the largest published teacher has some hundred million
MOST_PARAMETERS = 500_000_000
_HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")


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
    """Name of every model with a trained head -> its folder: packaged ones, `folders` themselves, those in them.

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


def find_model(name: str, known: Mapping[str, str]) -> str:
    """Folder or Hub id of the model that a visitor has chosen.

    Args:
        name: one of `known`, or a Hub id `user/name`. Folders of this machine can't be named.
        known: of [`find_students`].

    Raises:
        ValueError: it is neither, or the checkpoint on the Hub is too large or not one of safetensors.
    """
    if name in known:
        return known[name]
    if not _HUB_ID.fullmatch(name) or Path(name).exists():
        raise ValueError(
            f"There is no model {name!r}. Choose one of {first_names(known)}, or type the name of a checkpoint on the "
            "Hub as user/name."
        )
    size = count_published_parameters(name)
    if size is None:
        raise ValueError(
            f"{name} was not found on the Hub, or holds no model.safetensors. Is it public, and is its name complete: "
            "user/name?"
        )
    if size > MOST_PARAMETERS:
        raise ValueError(f"{name} has {size / 1e6:.0f} M parameters; at most {MOST_PARAMETERS / 1e6:.0f} M are taken.")
    return name


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
            f"The files have {size / MEGABYTE:.0f} MB; at most {most_bytes / MEGABYTE:.0f} MB are taken. Crop the "
            "recording, or use `dlink predict` on your own machine."
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
        beside: another model, such as the student's teacher, that reads the same recording.
        tell: called with what is done (0 to 1) and what comes next.

    Raises:
        ValueError: the recording can't be used, or is too long; the message says why.
    """

    def __init__(
        self,
        pipe: Any,
        upload: Upload,
        folder: Path,
        beside: Any = None,
        tell: Callable[[float, str], None] = lambda done, text: None,
    ) -> None:
        self.folder, self.name, self._pipe = folder, upload.path.name, pipe
        tell(0.1, "reading the recording")
        # without overlap, windows put together are the signal
        signal = recording_windows(pipe, upload.path)
        extractor = pipe.feature_extractor
        minutes = len(signal) * extractor.n_times / extractor.sfreq / 60
        if minutes > MOST_MINUTES:
            raise ValueError(f"The recording has {minutes:.0f} minutes, beyond {MOST_MINUTES:.0f}: crop it.")
        self._signal, self.sfreq, self.ch_names = signal, extractor.sfreq, list(signal.ch_names)
        self.n_session = len(upload.session)
        # for an alignment, and for what a label rests on
        self._session = [recording_windows(pipe, path) for path in upload.session]
        tell(0.3, f"classifying {len(signal)} windows")
        # it is read and filtered once, unless the model's windows overlap
        own = extractor.stride in (None, extractor.n_times)
        self.predictions = _predict(pipe, *((signal, self._session) if own else (upload.path, upload.session)))
        self.beside: RecordingPredictions | None = None
        self.costs: dict[str, dict[str, float]] = {}
        if beside is not None:
            tell(0.6, "classifying by the other model")
            try:
                theirs = recording_windows(beside, upload.path, stride=beside.feature_extractor.stride)
                self.beside = _predict(beside, theirs, upload.session)
            except ValueError as error:
                raise ValueError(f"The other model can't read this recording: {error}") from error
            self.costs = _compare_costs({"student": (pipe, signal), "other": (beside, theirs)})
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
        beside: str | None = None,
        tell: Callable[[float, str], None] = lambda done, text: None,
    ) -> WebSession:
        """Classify what was uploaded, or the sample where `files` is None, in a new temporary folder.

        Args:
            model: folder or Hub id of the student.
            files: what was uploaded.
            session: further recordings of the same session, one file each.
            root: where temporary folders are made.
            beside: folder or Hub id of a model to compare with.
            tell: as in the class.

        Raises:
            ValueError, OSError: the recording can't be used; no folder is left behind.
        """
        folder = Path(tempfile.mkdtemp(prefix="dlink-web-", dir=root))
        try:
            tell(0.0, "loading the model")
            pipe = pipeline(model=model)
            other = None if beside is None else pipeline(model=beside)
            given = folder / "recording"
            upload = make_sample(pipe, given) if files is None else take_upload(files, given)
            if files is not None:
                others = [take_upload([file], folder / "session" / str(i)).path for i, file in enumerate(session)]
                upload = Upload(upload.path, tuple(others))
            return cls(pipe, upload, folder, other, tell)
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
        if self.beside is not None:
            lines.append(f"The other model: {self.beside.summary()[0]}")
            common = np.isin(self.predictions.onsets, self.beside.onsets).sum()
            comparable = (
                self.beside.names == self.predictions.names and self.beside.duration == self.predictions.duration
            )
            if comparable and common:
                theirs = dict(zip(self.beside.onsets.tolist(), self.beside.labels, strict=True))
                ours = zip(self.predictions.onsets.tolist(), self.predictions.labels, strict=True)
                agreed = sum(theirs.get(onset) == label for onset, label in ours)
                lines.append(f"Both give the same label to {agreed} of {common} windows.")
            student, other = self.costs["student"], self.costs["other"]
            lines.append(
                f"One window takes the student {student['ms']:.1f} ms ({student['parameters']:,} parameters), the "
                f"other model {other['ms']:.1f} ms ({other['parameters']:,} parameters), on this server, as busy as "
                "it is now."
            )
        return "\n".join(lines)

    def window_at(self, number: int) -> int:
        """A window's index, kept within what there is."""
        return int(np.clip(number, 0, len(self.predictions.onsets) - 1))

    def draw_recording(self, start: float, seconds: float, number: int, narrow: bool = False) -> Path:
        """Draw `seconds` of the signal from `start` on, with the labels of the windows in it.

        Args:
            start, seconds: of the recording.
            number: of the window to mark.
            narrow: for the width of a phone.
        """
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
        width = NARROW if narrow else WIDE
        return plot_recording(values, self.sfreq, self.ch_names, begin, windows, found.names, path, chosen, width)

    def draw_probabilities(self, number: int, narrow: bool = False) -> Path:
        """Draw the probabilities of all windows."""
        return self._draw_course(self.predictions, number, narrow, "probabilities.png")

    def draw_beside(self, number: int, narrow: bool = False) -> Path | None:
        """Draw the probabilities that the other model gives; None where there is no other model."""
        return None if self.beside is None else self._draw_course(self.beside, number, narrow, "beside.png")

    def _draw_course(self, found: RecordingPredictions, number: int, narrow: bool, name: str) -> Path:
        chosen = float(self.predictions.onsets[self.window_at(number)])
        path, width = self.folder / name, NARROW if narrow else WIDE
        values = (found.onsets, found.duration, found.probabilities, found.names, found.is_judged())
        return plot_probabilities(*values, path, chosen, width)

    def _signal_window(self, number: int) -> int:
        """Index of a window among those without overlap."""
        onset = float(self.predictions.onsets[self.window_at(number)])
        return min(len(self._signal) - 1, int(round(onset / self.predictions.duration)))

    def draw_maps(self, number: int, narrow: bool = False) -> Path:
        """Draw the band power of one window as maps of the head."""
        near, path = self._signal_window(number), self.folder / "maps.png"
        values, width = self._signal.cut(near, near + 1)[0], NARROW if narrow else WIDE
        return plot_band_maps(values, self.sfreq, self.ch_names, path, self.describe(number), width)

    def draw_explanation(self, number: int, narrow: bool = False) -> Path:
        """Draw what the label of one window rests on.

        Raises:
            ValueError: there is no other window to compare it with.
        """
        near = self._signal_window(number)
        state, others = self.predictions.alignment, self._session
        found = explain_recording_window(self._pipe, self._signal, near, state, 4, others)
        onset, name = self._signal.onsets[near], self.predictions.names[found.label]
        title = f"{name} ({found.probability:.2f}), {onset:g} to {onset + self.predictions.duration:g} s"
        path, width = self.folder / "explanation.png", NARROW if narrow else WIDE
        return plot_explanation(found, self.ch_names, channel_positions(self.ch_names), path, title, width)

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


def _predict(pipe: Any, recording: Any, session: Sequence[Any]) -> RecordingPredictions:
    aligned = pipe.feature_extractor.alignment is not None
    return predict_recording(pipe, recording, session_recordings=session if aligned else [])


def _compare_costs(pipes: Mapping[str, tuple[Any, RecordingWindows]]) -> dict[str, dict[str, float]]:
    """Parameters and milliseconds (median) of one window of the recording, of models that take turns."""
    models, inputs = {}, {}
    for name, (pipe, windows) in pipes.items():
        device = next(pipe.model.parameters()).device
        inputs[name] = {"input_values": torch.from_numpy(np.array(windows.cut(0, 1))).to(device)}
        if pipe.model.takes_positions:
            inputs[name]["channel_positions"] = torch.tensor(channel_positions(windows.ch_names), device=device)
        models[name] = pipe.model
    found = measure_latency(models, inputs, torch.get_num_threads(), n_runs=12, n_warmup=3)
    return {
        name: {"ms": found[name]["p50_ms"], "parameters": count_parameters(model)} for name, model in models.items()
    }


__all__ = [
    "MEGABYTE",
    "MOST_BYTES",
    "UPLOADS",
    "Upload",
    "WebSession",
    "find_model",
    "find_students",
    "make_sample",
    "take_upload",
]
