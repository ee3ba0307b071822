# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""EEG recordings: finding and opening them through MNE, choosing their channels."""

import logging
import os
import re
import warnings
from collections.abc import Sequence
from pathlib import Path

import mne
import numpy as np

from ..core.electrodes import canonical_name, describe_unknown, is_known_non_eeg


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
    ".data",
)
# FIF files that hold something else than a continuous recording end like this, by MNE's naming convention.
_OTHER_FIF = ("ave", "bem", "cov", "dig", "epo", "eve", "fwd", "ica", "inv", "proj", "sol", "src", "trans")


def read_recording(path: str | os.PathLike, preload: bool = True) -> mne.io.BaseRaw:
    """Open a continuous EEG recording of any common format (EDF, BDF, GDF, FIF, BrainVision, EEGLAB, CNT, EGI ...).

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
        ValueError: Where the extension is unknown, the file holds no continuous recording, or an EDF or BDF file is
            shorter than its header promises or has gaps.
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
        raise ValueError(
            f"{path.name!r}: the extension {path.suffix!r} is not one of an EEG recording; known are "
            f"{', '.join(RECORDING_EXTENSIONS)}"
        )
    if path.is_file() and path.stat().st_size == 0:
        raise ValueError(f"{path.name!r} is empty (0 bytes): copy the recording again")
    if extension == ".eeg" and path.with_suffix(".vhdr").exists():
        raise ValueError(f"{path.name!r} is the data part of a BrainVision recording: open {path.stem + '.vhdr'!r}")
    if extension in (".edf", ".bdf"):
        _check_edf(path)
    try:
        with warnings.catch_warnings():
            # the naming convention of FIF files does not concern a reader
            warnings.filterwarnings("ignore", message="This filename .* does not conform to MNE naming conventions")
            # MNE warns of a FIF file that ends too early, and may go on with less
            warnings.filterwarnings("error", message="Invalid tag", category=RuntimeWarning)
            return mne.io.read_raw(path, preload=preload, verbose="warning")
    except (MemoryError, PermissionError):
        raise
    except Exception as error:
        # MNE's readers fail in many ways on a file of another kind: one sentence for all of them
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        hint = ""
        if extension in (".fif", ".fif.gz"):
            hint = " A FIF file of epochs is opened by mne.read_epochs(); pass the Epochs object then."
        raise ValueError(
            f"{path.name!r} could not be read as an EEG recording ({extension}): it is damaged, or not what its "
            f"extension says. MNE says: {reason}.{hint}"
        ) from error


def find_recordings(folder: str | os.PathLike, extensions: tuple[str, ...] | None = None) -> list[Path]:
    """Return all recordings in a folder and the folders inside it, sorted by path.

    Hidden files, FIF files of events, epochs, covariances ... (by MNE's endings, such as `-eve.fif`), later parts of
    split FIF files and the data parts of BrainVision recordings are left out.

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
    if extension in (".fif", ".fif.gz"):
        if stem.replace("_", "-").rsplit("-", 1)[-1] in _OTHER_FIF:
            return False
        # parts of split files: `name-1.fif` next to `name.fif`, `name_split-02_eeg.fif`
        head, _, number = stem.rpartition("-")
        if number.isdigit() and (path.with_name(path.name[: len(head)] + path.name[len(stem) :])).exists():
            return False
        return "split-" not in stem or "split-01" in stem
    return True


def _check_edf(path: Path) -> None:
    """Refuse an EDF or BDF file that is none, is shorter than its header promises or has gaps: MNE would read on."""
    is_bdf = _extension(path) == ".bdf"
    kind, sample_bytes = ("BDF", 3) if is_bdf else ("EDF", 2)
    magic = b"\xffBIOSEMI" if is_bdf else b"0       "
    size = path.stat().st_size
    with open(path, "rb") as file:
        head = file.read(256)
        if head[:8].rstrip(b" \0") != magic.rstrip():
            raise ValueError(
                f"{path.name!r} is not an {kind} file: it should begin with {magic!r} and begins with {head[:8]!r}"
            )
        try:
            header_bytes, n_records = int(head[184:192]), int(head[236:244])
            record_seconds, n_signals = float(head[244:252]), int(head[252:256])
            # the fields of all signals lie side by side: 216 bytes of text a signal come before the sample counts
            file.seek(256 + 216 * n_signals)
            counts = file.read(8 * n_signals)
            samples = [int(counts[8 * i : 8 * i + 8]) for i in range(n_signals)]
            file.seek(256)
            labels = [file.read(16).decode("latin-1").strip() for _ in range(n_signals)]
        except ValueError as error:
            raise ValueError(
                f"{path.name!r}: the {kind} header is damaged or cut off (the file has {size} bytes): copy it again"
            ) from error
    record_bytes = sum(samples) * sample_bytes
    if record_bytes <= 0 or n_signals <= 0:
        raise ValueError(f"{path.name!r}: the {kind} header names no signal or no samples, so the file holds no EEG")
    held = max(0, size - header_bytes) // record_bytes
    # -1 records: the recorder never closed the file, and its length is taken from its size
    if held < n_records or held == 0:
        promised = "an unknown number of" if n_records < 0 else str(n_records)
        raise ValueError(
            f"{path.name!r} is truncated: its header promises {promised} records of {record_seconds:g} s, the file "
            f"holds {held} ({size} bytes): copy or download it again"
        )
    if head[192:197] not in (b"EDF+D", b"BDF+D") or f"{kind} Annotations" not in labels:
        return
    # "D" is for discontinuous: each record says when it began, and MNE reads them as if there were no gap
    place = labels.index(f"{kind} Annotations")
    begin, end = sum(samples[:place]) * sample_bytes, sum(samples[: place + 1]) * sample_bytes
    records = np.memmap(path, dtype=np.uint8, mode="r", offset=header_bytes, shape=(held, record_bytes))
    starts = [re.match(rb"[+-]\d+(\.\d*)?", record[begin:end].tobytes()) for record in records]
    times = np.array([float(start.group()) if start else np.nan for start in starts])
    gaps = np.flatnonzero(np.abs(np.diff(times) - record_seconds) > 1e-3)
    if len(gaps):
        raise ValueError(
            f"{path.name!r} is discontinuous ({head[192:197].decode()}): {len(gaps)} gap(s), the first after "
            f"{times[gaps[0]] - times[0] + record_seconds:g} s. Windows and annotations would be out of step: export "
            "the stretches between the gaps as files of their own"
        )


def pick_channels(
    ch_names: Sequence[str],
    types: Sequence[str],
    bads: Sequence[str] = (),
    wanted: Sequence[str] | None = None,
    missing: str = "subset",
    unknown: str = "error",
    source: str = "the recording",
) -> tuple[list[int], list[str]]:
    """Choose a recording's EEG channels by name.

    Args:
        ch_names (`Sequence[str]`): The recording's channel names, in any spelling.
        types (`Sequence[str]`): The channels' types as MNE names them (`"eeg"`, `"eog"`, `"stim"` ...).
        bads (`Sequence[str]`): Channels marked bad; they are left out, with a warning in the log.
        wanted (`Sequence[str]`, *optional*): Canonical names in the order to deliver; all EEG channels when `None`.
        missing (`str`): `"subset"` or `"error"`, where the recording lacks some of `wanted`.
        unknown (`str`): `"error"` or `"drop"`, for EEG channels whose name is unknown.
        source (`str`): What to call the recording in messages.

    Returns:
        `tuple[list[int], list[str]]`: Indices into `ch_names`, and C canonical names, in the order to deliver.

    Raises:
        ValueError: Where no EEG channel is known, one is unknown, missing or there twice.
    """
    other, strange, marked, found = [], [], [], {}
    for i, (name, kind) in enumerate(zip(ch_names, types, strict=True)):
        canonical = canonical_name(name)
        if kind != "eeg" or is_known_non_eeg(name):
            other.append(f"{name} ({kind})" if kind != "eeg" else name)
        elif name in bads:
            marked.append(name)
        elif canonical is None:
            strange.append(name)
        else:
            found.setdefault(canonical, []).append(i)
    if other:
        logger.info("left out of %s as not EEG: %s", source, ", ".join(other))
    if marked:
        logger.warning("left out of %s as marked bad: %s", source, ", ".join(marked))
    if not found:
        raise ValueError(
            f"{source} has no known EEG channel. Not EEG by type or name: {', '.join(other) or 'none'}; marked bad: "
            f"{', '.join(marked) or 'none'}; unknown: {describe_unknown(strange) if strange else 'none.'} Rename them "
            "with MNE's rename_channels, or set their types with set_channel_types."
        )
    if strange and unknown == "error":
        raise ValueError(
            f"{source} has EEG channels whose place is unknown, {describe_unknown(strange)} Rename them, or leave "
            "them out with unknown_channels='drop'."
        )
    if strange:
        logger.warning("left out of %s as unknown: %s", source, ", ".join(strange))
    picked = list(found) if wanted is None else [name for name in wanted if name in found]
    lacking = [] if wanted is None else [name for name in wanted if name not in found]
    if not picked or (lacking and missing == "error"):
        raise ValueError(
            f"{source} lacks {len(lacking)} of the {len(wanted)} channels asked for: {', '.join(lacking)}. It has "
            f"{', '.join(found)}. Ask for others by ch_names"
            + (", or take what is there with missing_channels='subset'." if picked else ".")
        )
    if lacking:
        logger.warning("%s lacks %s: %d channels are used", source, ", ".join(lacking), len(picked))
    twice = {name: [ch_names[i] for i in found[name]] for name in picked if len(found[name]) > 1}
    if twice:
        pairs = "; ".join(f"{' and '.join(map(repr, given))} are all {name}" for name, given in twice.items())
        raise ValueError(f"{source} has duplicate channels: {pairs}. Drop or rename all but one of each.")
    return [found[name][0] for name in picked], picked
