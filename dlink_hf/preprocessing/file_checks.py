# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Recordings whose file contradicts itself: what a reader would pass over, wait for or die of, is reported by name."""

import configparser
import gzip
import logging
import math
import os
import re
import struct
import subprocess
import sys
import zlib
from collections import Counter
from functools import lru_cache
from pathlib import Path

import mne
import numpy as np


logger = logging.getLogger(__name__)

# Hz that an EEG can have been sampled at
MIN_RATE, MAX_RATE = 1.0, 1e6
# no recorder has more channels
MAX_CHANNELS = 10_000
# samples a byte, which no compression of EEG reaches
MAX_SAMPLES_PER_BYTE = 100

# What pip calls the packages that MNE reads formats by and does not bring along.
READER_PACKAGES = {
    ".mff": ("mffpy", "defusedxml"),
    ".cdt": ("curryreader",),
    ".cnt": ("antio",),
    ".nedf": ("defusedxml",),
    ".set": ("pymatreader",),
    ".xdf": ("pyxdf",),
}
_BYTES_BV = {"INT_16": 2, "INT_32": 4, "IEEE_FLOAT_32": 4}
# what scipy's reader may take for a file of some size in seconds: a start, and megabytes a second
_SET_SECONDS, _SET_SPEED = 20.0, 5e6
_READ_SET = (
    "import sys\nfrom mne.io.eeglab._eeglab import _readmat\n_readmat(sys.argv[1], uint16_codec=None, preload=True)\n"
)


def missing_package(error: BaseException, extension: str) -> str | None:
    """Return what to install where a reader lacks a package; None where an error has another reason.

    Args:
        error: What MNE raised.
        extension: Of the file, lower-cased.
    """
    text, packages = str(error), READER_PACKAGES.get(extension, ())
    signs = ("could not be imported", "is required to", "use HDF reader for matlab v7.3")
    if not isinstance(error, ImportError) and not any(sign in text for sign in signs):
        return None
    module = re.search(r"No module named '([\w.]+)'|the module ([\w.]+) is needed|^(\w+) is required", text)
    named = next((group for group in module.groups() if group), None) if module else None
    wanted = dict.fromkeys([*packages, *([named.split(".")[0]] if named else [])])
    return " ".join(wanted) or None


def check_cnt(path: Path) -> None:
    """Say what to install where a `.cnt` file is ANT's and not Neuroscan's, and its reader is not there.

    Raises:
        ValueError: Where it is so.
    """
    with open(path, "rb") as file:
        if file.read(4) not in (b"RIFF", b"RF64"):
            return
    try:
        import antio  # noqa: F401 - whether it is there
    except ImportError as error:
        raise ValueError(
            f"{path.name!r}: reading .cnt files of ANT takes a package that is not installed: pip install antio"
        ) from error


def check_brainvision(path: Path) -> None:
    """Refuse a BrainVision recording whose data file is shorter than its header says, or no whole number of samples.

    Args:
        path: The `.vhdr` or `.ahdr` file; one that can't be understood here is left to MNE.

    Raises:
        ValueError: Where header and data contradict each other; the message names the file.
    """
    lines = path.read_bytes().decode("latin-1").splitlines()
    text = "\n".join(line for line in lines[1:] if not line.startswith(";"))
    parser = configparser.ConfigParser(interpolation=None, strict=False, allow_no_value=True, delimiters=("=",))
    try:
        # what is a comment in free text ends the part that can be parsed
        parser.read_string(text.split("[Comment]")[0])
        common = parser["Common Infos"]
        n_channels = int(common["NumberOfChannels"])
        interval = float(common["SamplingInterval"])
    except (configparser.Error, KeyError, ValueError):
        return
    if not 0 < n_channels <= MAX_CHANNELS:
        raise ValueError(f"{path.name!r}: the header names {n_channels} channels: it is damaged")
    if not (math.isfinite(interval) and MIN_RATE <= 1e6 / max(interval, 1e-300) <= MAX_RATE):
        raise ValueError(
            f"{path.name!r}: the header says a sample every {interval:g} us, which is not a rate of EEG: it is damaged"
        )
    if common.get("DataFormat", "BINARY").strip().upper() != "BINARY" or "Binary Infos" not in parser:
        return
    sample_bytes = _BYTES_BV.get(parser["Binary Infos"].get("BinaryFormat", "").strip().upper())
    data = path.parent / (common.get("DataFile") or "").strip().replace("$b", path.stem)
    if sample_bytes is None or not data.is_file():
        return
    size, frame = data.stat().st_size, n_channels * sample_bytes
    promised = (common.get("DataPoints") or "").strip()
    if promised.isdigit() and int(promised) and size < int(promised) * frame:
        raise ValueError(
            f"{path.name!r}: its data file {data.name!r} is truncated: the header promises {promised} samples of "
            f"{n_channels} channels, the file holds {size // frame} ({size} bytes): copy it again"
        )
    if size % frame:
        raise ValueError(
            f"{path.name!r}: its data file {data.name!r} is not a whole number of samples: {size} bytes, of which a "
            f"sample of {n_channels} channels takes {frame}. It is truncated, or another recording's: copy both again"
        )


def check_fif(path: Path) -> None:
    """Refuse a FIF file whose chain of tags leads back to itself, which MNE would follow for ever.

    Args:
        path: The file, plain or compressed.

    Raises:
        ValueError: Where it does; the message names the file.
    """
    opener = gzip.open if path.name.lower().endswith(".gz") else open
    try:
        with opener(path, "rb") as file:
            position = 0
            while True:
                file.seek(position)
                head = file.read(16)
                if len(head) < 16:
                    return
                _, _, size, following = struct.unpack(">iiii", head)
                if following < 0 or size < 0:
                    return
                # MNE writes and reads onwards only
                target = position + 16 + size if following == 0 else following
                if target <= position:
                    raise ValueError(
                        f"{path.name!r} is damaged: the tag at byte {position} is followed by one at byte {target}, "
                        "so that the file would never end: copy it again"
                    )
                position = target
    except (OSError, EOFError, zlib.error):
        return


def check_fif_buffers(raw: mne.io.BaseRaw, path: Path) -> None:
    """Say where a FIF file lacks samples: a buffer that is cut is refused, skipped and shorter ones are warned of.

    Args:
        raw: The recording as MNE opened it.
        path: Its file.

    Raises:
        ValueError: Where a buffer holds no whole number of samples.
    """
    widths = {2: 2, 3: 4, 4: 4, 5: 8, 16: 2, 20: 8, 21: 16}
    for extras in raw._raw_extras:
        entries = list(extras.get("ent") or [])
        lengths = []
        for number, entry in enumerate(entries):
            width = None if entry is None else widths.get(int(entry.type) & 0xFFFF)
            if width is None:
                continue
            if entry.size % (width * len(raw.ch_names)):
                raise ValueError(
                    f"{path.name!r} is damaged: buffer {number} of {len(entries)} has {entry.size} bytes, no whole "
                    f"number of samples of {len(raw.ch_names)} channels: samples are lost. Copy the recording again"
                )
            lengths.append(entry.size // (width * len(raw.ch_names)))
        usual = Counter(lengths).most_common(1)[0][0] if lengths else 0
        # the last one ends where the recording ends
        shorter = [i for i, length in enumerate(lengths[:-1]) if length < usual]
        if shorter:
            logger.warning(
                "%r: %d of %d buffers are shorter than the others, the first is number %d: samples may be lost there",
                path.name,
                len(shorter),
                len(entries),
                shorter[0],
            )
    # a file that was saved again has them twice
    skips = {(a["onset"], a["duration"]) for a in raw.annotations if a["description"] == "BAD_ACQ_SKIP"}
    if skips:
        logger.warning(
            "%r: %d stretches of %g s in all were not recorded (BAD_ACQ_SKIP); MNE gives zeros there",
            path.name,
            len(skips),
            sum(duration for _, duration in skips),
        )


def check_plausible(raw: mne.io.BaseRaw, path: Path) -> None:
    """Refuse a recording whose header claims a rate, or a number of samples, that can't be.

    Args:
        raw: The recording as MNE opened it, samples not read yet.
        path: Its file.

    Raises:
        ValueError: Where it does; the message names the file and the claim.
    """
    rate, n_times, n_channels = raw.info["sfreq"], raw.n_times, len(raw.ch_names)
    if not MIN_RATE <= rate <= MAX_RATE:
        raise ValueError(
            f"{path.name!r}: a sampling rate of {rate:g} Hz is none of EEG ({MIN_RATE:g} Hz to {MAX_RATE:g} Hz): the "
            "header is damaged"
        )
    files = {path, *(Path(name) for name in raw.filenames if name is not None)}
    held = sum(_size(file) for file in files)
    if n_times * n_channels > MAX_SAMPLES_PER_BYTE * max(held, 1):
        raise ValueError(
            f"{path.name!r} claims {n_times} samples of {n_channels} channels, more than its {held} bytes can hold: "
            "the header is damaged, or the file is truncated"
        )
    extras = raw._raw_extras[0] if raw._raw_extras else {}
    if path.name.lower().endswith(".gdf") and "n_records" in extras:
        counts, widths = np.asarray(extras["n_samps"], float), np.asarray(extras.get("dtype_byte", 1), float)
        needed = float(extras["n_records"]) * float((counts * widths).sum())
        if needed > path.stat().st_size:
            raise ValueError(
                f"{path.name!r} is truncated: its header promises {extras['n_records']} records, {needed:.0f} bytes; "
                f"the file has {path.stat().st_size}: copy or download it again"
            )


def _size(path: Path) -> int:
    if path.is_dir():
        return sum(child.stat().st_size for child in path.rglob("*") if child.is_file())
    return path.stat().st_size if path.exists() else 0


def check_gdf(path: Path) -> None:
    """Refuse a GDF file whose header promises more than the file holds, before anything is read by it.

    Raises:
        ValueError: Where it does; the message names the file.
    """
    size = path.stat().st_size
    with open(path, "rb") as file:
        head = file.read(256)
    if len(head) < 256 or not head.startswith(b"GDF"):
        raise ValueError(f"{path.name!r} is not a GDF file: it should begin with b'GDF' and begins with {head[:8]!r}")
    n_records = struct.unpack("<q", head[236:244])[0]
    n_channels = struct.unpack("<H", head[252:254])[0]
    numerator, denominator = struct.unpack("<II", head[244:252])
    if not 0 < n_channels <= MAX_CHANNELS or 256 * (n_channels + 1) > size:
        raise ValueError(f"{path.name!r}: the GDF header names {n_channels} channels, the file has {size} bytes")
    # MNE takes a numerator of 0 for 1 s
    seconds = (numerator or 1) / denominator if denominator else math.nan
    # a record holds at least one sample of a byte
    if n_records > size or not (math.isfinite(seconds) and 0 < seconds < 1e6):
        raise ValueError(
            f"{path.name!r}: the GDF header promises {n_records} records of {seconds:g} s, the file has {size} bytes: "
            "it is truncated or damaged"
        )


def check_set(path: Path) -> None:
    """Read an EEGLAB `.set` file in a process of its own: scipy may crash on a damaged one, or never come back.

    Raises:
        ValueError: Where it does; the message names the file. A file that is refused in the ordinary way passes.
    """
    stat = path.stat()
    _check_set(str(path), stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=4096)
def _check_set(path: str, size: int, changed: int) -> None:
    name, limit = Path(path).name, _SET_SECONDS + size / _SET_SPEED
    environment = {**os.environ, "PYTHONFAULTHANDLER": "0"}
    try:
        done = subprocess.run(
            [sys.executable, "-c", _READ_SET, path], capture_output=True, timeout=limit, env=environment, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise ValueError(
            f"{name!r} is damaged: the reader of MATLAB files does not come to an end ({limit:.0f} s)"
        ) from error
    # killed by a signal, or on Windows by an exception of the machine
    if done.returncode < 0 or done.returncode > 255:
        raise ValueError(
            f"{name!r} is damaged: the reader of MATLAB files crashes on it (status {done.returncode}): save it again "
            "by EEGLAB, or copy it again"
        )


__all__ = [
    "READER_PACKAGES",
    "check_brainvision",
    "check_cnt",
    "check_fif",
    "check_fif_buffers",
    "check_gdf",
    "check_plausible",
    "check_set",
    "missing_package",
]
