# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""What may be handed to `build_dataset`, as one list of recordings with names, subjects and fingerprints."""

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mne
import numpy as np

from ..core.checks import first_names
from ..preprocessing.recordings import find_recordings, read_recording
from .labels import TableLabels, match_group


@dataclass
class Source:
    """One recording that has not been read yet.

    Args:
        name: What the dataset's column `recording` holds.
        open: Reads it; `open(preload=False)` reads the header and annotations only.
        path: Its file; None when it is in memory.
        subject: Its subject, as far as the way it was found tells.
        state: What a cache must compare to notice a change, JSON values.
    """

    name: str
    open: Callable[..., mne.io.BaseRaw]
    path: Path | None = None
    subject: str | None = None
    state: list = field(default_factory=list)


def list_sources(source: Any, bids_entities: Mapping[str, Any] | None = None) -> list[Source]:
    """Find the recordings in whatever the user named.

    Args:
        source: A folder, a BIDS root (a folder with `dataset_description.json`), a recording's path, an MNE `Raw`, or
            a list of paths or of `Raw`s.
        bids_entities: Which recordings of a BIDS root, as `mne_bids.find_matching_paths` takes them, e.g.
            `{"tasks": "rest"}`.

    Returns:
        The recordings, at least one; names are unique.

    Raises:
        FileNotFoundError: If a path does not exist, or the folder holds no recording.
        TypeError: If the source is something else.
        ValueError: If the list is empty.
    """
    if isinstance(source, (str, Path)):
        path = Path(source)
        if (path / "dataset_description.json").is_file():
            return _bids_sources(path, bids_entities or {})
        if path.is_dir() and path.suffix.lower() != ".mff":
            return _path_sources(find_recordings(path), path)
        source = [path]
    elif isinstance(source, mne.io.BaseRaw):
        source = [source]
    if bids_entities:
        raise ValueError(
            "bids_entities was given, but the source is not a BIDS root: the folder lacks dataset_description.json."
        )
    if not isinstance(source, Sequence):
        raise TypeError(
            f"build_dataset can't read {type(source).__name__}: give a folder, a list of recordings' paths, a BIDS "
            "root, MNE Raw or Epochs objects, or a NumPy array (N, C, T)."
        )
    if not source:
        raise ValueError("the list of recordings is empty: give at least one path or MNE Raw object.")
    if all(isinstance(item, (str, Path)) for item in source):
        return _path_sources([Path(item) for item in source], None)
    if all(isinstance(item, mne.io.BaseRaw) for item in source):
        return _raw_sources(source)
    raise TypeError(
        "a list of recordings must hold paths only or MNE Raw objects only, got "
        f"{sorted({type(item).__name__ for item in source})}."
    )


def assign_subjects(
    sources: Sequence[Source],
    subjects: Any = None,
    subject_pattern: str | None = None,
    table: TableLabels | None = None,
) -> None:
    """Fill in `source.subject`, in this order: what was given, the pattern, the table, BIDS; the rest comes later.

    Args:
        sources: The recordings; changed in place.
        subjects: A function of the path (or, in memory, of the recording's name), a mapping of recording name to
            subject, or one subject per recording.
        subject_pattern: Regular expression on the path; the group `subject` or the first group is the subject.
        table: A label table, which may have a column `subject`.

    Raises:
        ValueError: If the numbers differ, a recording is not in the mapping, or the pattern does not match.
    """
    if subjects is not None and subject_pattern is not None:
        raise ValueError("give either subjects or subject_pattern, not both.")
    if isinstance(subjects, (str, bytes)):
        raise ValueError(
            f"subjects={subjects!r}: expected a function, a mapping or one subject per recording. For a regular "
            "expression on the path use subject_pattern."
        )
    if subjects is not None and not callable(subjects) and not isinstance(subjects, Mapping):
        subjects = list(subjects)
        if len(subjects) != len(sources):
            raise ValueError(f"{len(subjects)} subjects were given for {len(sources)} recordings; one each is needed.")
    for index, source in enumerate(sources):
        found = None
        if callable(subjects):
            found = subjects(source.path if source.path is not None else source.name)
        elif isinstance(subjects, Mapping):
            if source.name not in subjects:
                raise ValueError(f"subjects has no entry for the recording {source.name!r}.")
            found = subjects[source.name]
        elif subjects is not None:
            found = subjects[index]
        elif subject_pattern is not None:
            text = source.name if source.path is None else source.path.as_posix()
            found = match_group(subject_pattern, text, "subject")
        elif table is not None:
            found = table.subject(source.name, source.path)
        if found is not None and str(found).strip():
            source.subject = str(found).strip()
        elif subjects is not None:
            raise ValueError(f"subjects gave no subject ({found!r}) for the recording {source.name!r}.")


def subject_of_info(raw: mne.io.BaseRaw, name: str) -> str:
    """Return the subject that a recording's header names.

    Args:
        raw: The recording.
        name: Its name, for the error.

    Returns:
        `his_id`, else `id`, else the names in `raw.info["subject_info"]`.

    Raises:
        ValueError: If the header names no subject; "X" (EDF's "unknown") does not count as one.
    """
    info = raw.info["subject_info"] or {}
    for key in ("his_id", "id"):
        value = str(info.get(key, "") if info.get(key) is not None else "").strip()
        if value.lower() not in ("", "x", "unknown", "anonymous", "n/a", "mne_anonymize"):
            return value
    raise ValueError(
        f"whose recording is {name!r}? Its header names no subject, and scores are only worth something when subjects "
        "are kept apart. Say it by one of: subject_pattern=r'(sub-\\d+)' (a regular expression on the path), "
        "subjects=function of the path, subjects=[one a recording], a column 'subject' in the label table, or "
        "raw.info['subject_info'] = {'his_id': ...}."
    )


def hash_raw(raw: mne.io.BaseRaw) -> str:
    """Return a hash of a recording in memory: samples, channels, rate, annotations, subject."""
    digest = hashlib.blake2b(digest_size=16)
    facts = [raw.ch_names, raw.get_channel_types(), raw.info["sfreq"], raw.info["bads"], raw.first_samp]
    facts.append(str(raw.info["subject_info"]))
    digest.update(repr(facts).encode())
    notes = raw.annotations
    digest.update(repr([notes.onset.tolist(), notes.duration.tolist(), notes.description.tolist()]).encode())
    for start in range(0, raw.n_times, 100_000):
        digest.update(np.ascontiguousarray(raw.get_data(start=start, stop=min(start + 100_000, raw.n_times))))
    return digest.hexdigest()


def file_state(path: Path) -> list:
    """Size and time of a file and of those that belong to it (same name up to its ending), for the fingerprint."""
    stem = re.sub(r"[-_](raw|eeg|ieeg|meg)$", "", path.name.split(".")[0] if path.suffix == ".gz" else path.stem)
    companions = [path] + sorted(other for other in path.parent.glob(_glob_escape(stem) + "*") if other != path)
    return [[str(other.resolve()), *_stat(other)] for other in companions]


def _stat(path: Path) -> list[int]:
    if path.is_dir():
        return [max((_stat(child)[1] for child in path.iterdir()), default=0)]
    stat = path.stat()
    return [stat.st_size, stat.st_mtime_ns]


def _glob_escape(text: str) -> str:
    return re.sub(r"([*?[])", r"[\1]", text)


def _path_sources(paths: Sequence[Path], folder: Path | None) -> list[Source]:
    for path in paths:
        if not path.exists():
            raise FileNotFoundError(f"the recording {path} does not exist.")
    names = [path.relative_to(folder).as_posix() if folder else path.name for path in paths]
    if folder and len({path.name for path in paths}) == len(paths):
        names = [path.name for path in paths]
    if len(set(names)) < len(names):
        names = [path.as_posix() for path in paths]
    if len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise ValueError(f"these recordings are listed more than once: {first_names(twice, 5)}.")
    return [
        Source(
            name, lambda preload=True, path=path: read_recording(path, preload=preload), path, None, file_state(path)
        )
        for name, path in zip(names, paths, strict=True)
    ]


def _raw_sources(raws: Sequence[mne.io.BaseRaw]) -> list[Source]:
    names = [Path(raw.filenames[0]).name if raw.filenames and raw.filenames[0] else "" for raw in raws]
    if "" in names or len(set(names)) < len(names):
        names = [f"recording-{index:03d}" for index in range(len(raws))]
    return [
        Source(name, lambda preload=True, raw=raw: raw, None, None, [hash_raw(raw)])
        for name, raw in zip(names, raws, strict=True)
    ]


def _bids_sources(root: Path, entities: Mapping[str, Any]) -> list[Source]:
    try:
        import mne_bids
    except ImportError as error:
        raise ImportError(f"{root} is a BIDS dataset; reading it needs mne-bids: pip install mne-bids") from error
    extensions = [".edf", ".bdf", ".vhdr", ".set", ".fif"]
    try:
        found = mne_bids.find_matching_paths(root, datatypes="eeg", suffixes="eeg", extensions=extensions, **entities)
    except TypeError as error:
        raise ValueError(
            f"bids_entities={dict(entities)!r} is not understood; use the plural names of mne_bids, e.g. "
            "{'tasks': 'rest', 'sessions': '01', 'subjects': ['01', '02']}."
        ) from error
    if not found:
        raise FileNotFoundError(
            f"the BIDS dataset {root} holds no EEG recording ({', '.join(extensions)} in sub-*/eeg/)"
            + (f" for {dict(entities)}" if entities else "")
            + "."
        )

    def read(preload=True, bids_path=None):
        # Opened once without BIDS, for its checks of damaged and truncated files.
        read_recording(bids_path.fpath, preload=False)
        raw = mne_bids.read_raw_bids(bids_path, verbose="ERROR")
        return raw.load_data(verbose="ERROR") if preload else raw

    return [
        Source(
            bids_path.basename,
            lambda preload=True, bids_path=bids_path: read(preload, bids_path),
            Path(bids_path.fpath),
            f"sub-{bids_path.subject}",
            file_state(Path(bids_path.fpath)),
        )
        for bids_path in sorted(found, key=lambda bids_path: str(bids_path.fpath))
    ]
