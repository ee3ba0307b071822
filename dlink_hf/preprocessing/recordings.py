# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""EEG recordings: finding and opening them through MNE."""

import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import mne
import numpy as np

from .edf import as_written, check_edf, is_annotations_only
from .file_checks import (
    check_brainvision,
    check_cnt,
    check_fif,
    check_fif_buffers,
    check_gdf,
    check_plausible,
    check_set,
    missing_package,
)
from .xdf import load_streams, raw_of_streams


logger = logging.getLogger(__name__)

RECORDING_EXTENSIONS = (
    ".edf",
    ".bdf",
    ".gdf",
    ".fif",
    ".fif.gz",
    ".vhdr",
    ".ahdr",
    ".set",
    ".cnt",
    ".mff",
    ".eeg",
    ".nedf",
    ".lay",
    ".cdt",
    ".xdf",
)
# What is looked at before MNE opens a file, by its extension.
_CHECKS = {
    ".vhdr": check_brainvision,
    ".ahdr": check_brainvision,
    ".fif": check_fif,
    ".fif.gz": check_fif,
    ".cnt": check_cnt,
    ".gdf": check_gdf,
    ".set": check_set,
}
# FIF files that hold something else than a continuous recording end like this, by MNE's naming convention.
_OTHER_FIF = ("ave", "bem", "cov", "dig", "epo", "eve", "fwd", "ica", "inv", "proj", "sol", "src", "trans")


def read_recording(path: str | os.PathLike, preload: bool = True) -> mne.io.BaseRaw:
    """Open a continuous EEG recording of any common format (EDF, BDF, GDF, FIF, BrainVision, EEGLAB, XDF ...).

    Args:
        path (`str` or `os.PathLike`):
            The recording. For BrainVision this is the `.vhdr` file.
        preload (`bool`, *optional*, defaults to `True`):
            Whether the samples are read now, and with that whether a damaged file is noticed now.

    Returns:
        `mne.io.BaseRaw`: The recording as MNE holds it; EEG in volts.

    Raises:
        FileNotFoundError: Where there is no such file.
        IsADirectoryError: Where the path is a folder that isn't itself a recording.
        ValueError: Where the extension is unknown, the file holds no continuous recording, is damaged, contradicts
            itself (shorter than its header promises, gaps, a rate that can't be), or takes a package that is not
            installed.
    """
    path = Path(path)
    extension = _extension(path)
    if not path.exists():
        raise FileNotFoundError(
            f"no recording at {str(path)!r}: check the path (the current folder is {os.getcwd()!r})"
        )
    if path.is_dir() and extension != ".mff":
        raise IsADirectoryError(
            f"{str(path)!r} is a folder, not a recording; find_recordings(folder) lists what it holds"
        )
    if extension is None:
        tables = ""
        if path.suffix.lower() in (".csv", ".txt", ".tsv"):
            # OpenBCI's and Muse's apps write such, each version another
            tables = (
                ". Tables name neither rate, unit nor gaps in a way of their own: load it (pandas.read_csv), and pass "
                "{'array': (channels, samples), 'ch_names': [...], 'sfreq': 250.0, 'unit': 'uV'}"
            )
        raise ValueError(
            f"{path.name!r}: the extension {path.suffix!r} is not one of an EEG recording; known are "
            f"{', '.join(RECORDING_EXTENSIONS)}{tables}"
        )
    if path.is_file() and path.stat().st_size == 0:
        raise ValueError(f"{path.name!r} is empty (0 bytes): copy the recording again")
    if extension == ".eeg" and path.with_suffix(".vhdr").exists():
        raise ValueError(f"{path.name!r} is the data part of a BrainVision recording: open {path.stem + '.vhdr'!r}")
    if extension in (".edf", ".bdf") and is_annotations_only(path):
        raise ValueError(
            f"{path.name!r} holds annotations only and no signal, as a hypnogram does: it gives the labels of the "
            "recording next to it. Open that one; put both into one folder, and the labels are found by the names "
            "(SC4001E0-PSG.edf, SC4001EC-Hypnogram.edf; or night.edf, night-annotations.edf)"
        )
    signals = check_edf(path) if extension in (".edf", ".bdf") else ()
    if extension in _CHECKS:
        _CHECKS[extension](path)
    if extension == ".xdf":
        with _named(path, extension):
            streams = load_streams(path)
        return raw_of_streams(streams, path)
    with _named(path, extension):
        is_edf = extension in (".edf", ".bdf", ".gdf")
        raw = as_written(path, signals) if is_edf else mne.io.read_raw(path, preload=False, verbose="warning")
    check_plausible(raw, path)
    if extension in (".fif", ".fif.gz"):
        check_fif_buffers(raw, path)
    return load_samples(raw, path) if preload else raw


def load_samples(raw: mne.io.BaseRaw, path: str | os.PathLike) -> mne.io.BaseRaw:
    """Read the samples of a recording that `read_recording` opened without them.

    Raises:
        ValueError: The file is damaged.
    """
    path = Path(path)
    with _named(path, _extension(path) or ""):
        return raw.load_data(verbose="warning")


@contextmanager
def _named(path: Path, extension: str) -> Iterator[None]:
    """Let readers' warnings be errors or silent as they deserve, and one sentence of all their errors."""
    try:
        with warnings.catch_warnings():
            # the naming convention of FIF files does not concern a reader
            warnings.filterwarnings("ignore", message="This filename .* does not conform to MNE naming conventions")
            # said by the channel's name
            warnings.filterwarnings("ignore", message="(Physical range|Scaling factor) .* not .*defined")
            # MNE warns of a FIF file that ends too early, and may go on with less
            warnings.filterwarnings("error", message="Invalid tag", category=RuntimeWarning)
            yield
    except PermissionError:
        raise
    except Exception as error:
        package = missing_package(error, extension)
        if package is not None:
            raise ValueError(
                f"{path.name!r}: reading {extension} files takes a package that is not installed: pip install "
                f"{package}"
            ) from error
        # readers fail in many ways on a file of another kind
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        hint = ""
        if extension in (".fif", ".fif.gz"):
            hint = " A FIF file of epochs is opened by mne.read_epochs(); pass the Epochs object then."
        if isinstance(error, MemoryError):
            hint = " It asks for more memory than there is; where the file is whole, it is too long for this machine."
        raise ValueError(
            f"{path.name!r} could not be read as an EEG recording ({extension}): it is damaged, or not what its "
            f"extension says. {'pyxdf' if extension == '.xdf' else 'MNE'} says: {reason}.{hint}"
        ) from error


def find_recordings(folder: str | os.PathLike, extensions: tuple[str, ...] | None = None) -> list[Path]:
    """Return all recordings in a folder and the folders inside it, sorted by path.

    Hidden files, FIF files of events, epochs, covariances ... (by MNE's endings, such as `-eve.fif`), later parts of
    split FIF files, EDF+ files of annotations only (hypnograms) and the data parts of BrainVision recordings are left
    out.

    Args:
        folder (`str` or `os.PathLike`):
            Where to look.
        extensions (`tuple[str, ...]`, *optional*):
            Which files count, such as `(".edf",)`; all of `RECORDING_EXTENSIONS` when not given.

    Returns:
        `list[Path]`: At least one path.

    Raises:
        FileNotFoundError: Where the folder doesn't exist or holds no recording.
        NotADirectoryError: Where `folder` is a file.
        ValueError: Where an extension is none of `RECORDING_EXTENSIONS`.
    """
    folder = Path(folder)
    wanted = RECORDING_EXTENSIONS if extensions is None else tuple(e.lower() for e in extensions)
    unknown = [e for e in wanted if e not in RECORDING_EXTENSIONS]
    if unknown:
        raise ValueError(f"unknown extensions {unknown}; known are {', '.join(RECORDING_EXTENSIONS)}")
    if not folder.exists():
        raise FileNotFoundError(
            f"no folder at {str(folder)!r}: check the path (the current folder is {os.getcwd()!r})"
        )
    if not folder.is_dir():
        raise NotADirectoryError(f"{str(folder)!r} is a file; give the folder that holds the recordings")
    found, others = [], 0
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        if any(part.startswith(".") for part in inside.parts):
            continue
        if any(parent.suffix.lower() == ".mff" for parent in inside.parents):
            continue
        if path.is_dir() and _extension(path) != ".mff":
            continue
        if _extension(path) in wanted and _holds_raw(path):
            found.append(path)
        else:
            others += 1
    if not found:
        raise FileNotFoundError(
            f"no EEG recording in {str(folder)!r} ({others} other files); looked for {', '.join(wanted)}"
        )
    return found


def _extension(path: Path) -> str | None:
    """The known extension of a path, lower-cased; `None` when it has none."""
    name = path.name.lower()
    fitting = [extension for extension in RECORDING_EXTENSIONS if name.endswith(extension)]
    return max(fitting, key=len, default=None)


def _holds_raw(path: Path) -> bool:
    """Whether a file's name leaves it possible that it is the first part of a continuous recording."""
    extension = _extension(path)
    stem = path.name[: -len(extension)].lower()
    if extension == ".eeg":
        return not path.with_suffix(".vhdr").exists()
    if extension in (".edf", ".bdf"):
        return not is_annotations_only(path)
    if extension in (".fif", ".fif.gz"):
        if stem.replace("_", "-").rsplit("-", 1)[-1] in _OTHER_FIF:
            return False
        # parts of split files: `name-1.fif` next to `name.fif`, `name_split-02_eeg.fif`
        head, _, number = stem.rpartition("-")
        if number.isdigit() and (path.with_name(path.name[: len(head)] + path.name[len(stem) :])).exists():
            return False
        return "split-" not in stem or "split-01" in stem
    return True


def source_name(raw: mne.io.BaseRaw) -> str:
    """Return what to call a recording in a message."""
    files = [Path(name).name for name in raw.filenames if name is not None]
    return f"recording {files[0]!r}" if files else "the recording"


def samples_of(raw: mne.io.BaseRaw, picks: Sequence[int]) -> np.ndarray:
    """Return the samples (C, T) of channels of a recording, by index, in the order of `picks`; in volts, float64."""
    order = np.argsort(picks)
    values = raw.get_data(picks=np.asarray(picks)[order], verbose="error")
    # MNE gives channels in the recording's order
    return values if np.array_equal(order, np.arange(len(order))) else values[np.argsort(order)]


def as_recording(values: np.ndarray, names: list[str], sfreq: float, original: mne.io.BaseRaw) -> mne.io.BaseRaw:
    """Return samples as a recording, at their own rate, with the date and annotations of the original.

    Args:
        values: (C, T) in volts, of the whole original; held, not copied.
        names: C names.
        sfreq: Their rate in hertz.
        original: The recording that they were made of.
    """
    first_samp = round(original.first_samp * sfreq / original.info["sfreq"])
    raw = mne.io.RawArray(values, mne.create_info(names, sfreq, "eeg"), first_samp=first_samp, verbose="error")
    raw.set_meas_date(original.info["meas_date"])
    notes = original.annotations.copy()
    if notes.orig_time is None:
        # MNE counts onsets without a date from time zero, but takes them as counted from the first sample
        notes.onset = notes.onset - original.first_time
    return raw.set_annotations(notes, verbose="error")
