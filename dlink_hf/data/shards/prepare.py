# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Recordings to shards: a corpus that fits no memory as files of windows, to be streamed from a disk or the Hub.

First a plan is made from the headers, the same for the same recordings and seed: which subjects are in which split,
and which recordings in which file. Then each file is made by itself, by as many processes as there are. When a run
that was killed is started again, it makes only what is missing.
"""

import errno
import hashlib
import json
import logging
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from tqdm.auto import tqdm

from ...core.atomic_files import staged
from ...core.checks import first_names
from ...preprocessing.feature_extraction_eeg import EEGFeatureExtractor
from ..build import build_options, plan_windows, source_states
from ..build_steps import check_classes, finish_report
from ..cache import fingerprint_of
from ..labels import AnnotationLabels, LabelSource, TableLabels, WholeRecording
from ..sources import assign_subjects, list_sources
from .card import shards_card
from .manifest import MANIFEST_NAME, MANIFEST_VERSION, SUFFIXES, ShardManifest
from .plan import assign_people, plan_shards, unknown_files, usable_recordings
from .pool import Run, worker_pool
from .write import PROGRESS_DIR, ShardPlan, ShardSettings, write_shard


logger = logging.getLogger(__name__)

_SETTINGS = f"{PROGRESS_DIR}/settings.json"
# of what is stored raw, by how much files get smaller at best
_SMALLEST = 0.7
# words for settings whose names say too little
_WORDS = {
    "recordings": "the recordings (their paths, subjects, sizes or times)",
    "label_files": "the label files (their sizes or times)",
    "software": "the version or the code of dlink_hf or MNE",
}


def prepare_shards(
    source: Any,
    output_dir: str | Path,
    extractor: EEGFeatureExtractor,
    labels: LabelSource | str | None = None,
    *,
    subjects: Any = None,
    subject_pattern: str | None = None,
    label_names: Sequence[str] | None = None,
    ignore_labels: Sequence[str] | str = (),
    max_abs_uv: float | None = None,
    short: str = "error",
    allow_one_class: bool = False,
    unit: str | None = None,
    bids_entities: Mapping[str, Any] | None = None,
    validation: float | int = 0.0,
    test: float | int = 0.0,
    seed: int = 0,
    num_proc: int = 1,
    shard_mb: float = 64,
    format: str = "parquet",
    bad_files: str = "error",
    dtype: str = "float32",
    progress: bool = True,
) -> ShardManifest:
    """Cut recordings into windows and write these as shards, which `load_shards` streams.

    The windows are those of `build_dataset`, bit for bit on the same machine. The folder gets
    `data/train-00003-of-00120.parquet` and so on, `manifest.json` (what is there, with hashes),
    `preprocessor_config.json` (the extractor) and `README.md` (a dataset card); it can be uploaded to the Hub as it
    is. What was made is kept whatever happens: after a kill, an error or a full disk the same call goes on where it
    stopped. Memory holds a shard or two for each process, and one recording.

    Args:
        source: A folder of recordings, a BIDS root, a path, or a list of paths.
        output_dir: The folder to make.
        extractor: What turns a recording into windows; without an `alignment`.
        labels: An `AnnotationLabels` (the default), `EventLabels`, `TableLabels` or `PathLabels`; or `"none"`:
            windows of whole recordings without a column `labels`, as for pre-training.
        subjects, subject_pattern, label_names, ignore_labels, max_abs_uv, short, allow_one_class, unit,
        bids_entities: As in `build_dataset`.
        validation, test: Shares of the subjects (below 1), or their numbers, for these splits; none is shared.
        seed: Of the assignment of subjects and of all orders.
        num_proc: Processes; the files are the same for any number.
        shard_mb: Size of a file before compression, about, in units of 2**20 bytes. A recording is in one file.
        format: "parquet", or "webdataset": tar files with `.npy`, `.cls` and `.json` of each window.
        bad_files: What to do with recordings that are unreadable, cut short, of other channels than most, or hold
            NaN: "error" stops and names one, "skip" leaves them out and lists them in the manifest.
        dtype: How samples are stored, "float32" or "float16" (half the size; read as float32 again).
        progress: Whether to show progress bars.

    Returns:
        The manifest.

    Raises:
        FileNotFoundError: If there are no recordings.
        OSError: If the disk has not enough room; the message gives the numbers.
        RuntimeError: If another run writes into the folder, or a worker process was killed.
        TypeError: If the source or the labels are of a kind that can't be read.
        ValueError: If the folder holds shards of other settings (the message says what differs), a recording can't
            be used, or as in `build_dataset`.
    """
    for name, value, choices in (
        ("format", format, tuple(SUFFIXES)),
        ("bad_files", bad_files, ("error", "skip")),
        ("dtype", dtype, ("float32", "float16")),
    ):
        if value not in choices:
            raise ValueError(f"{name}={value!r} is unknown; choose {' or '.join(map(repr, choices))}.")
    if not shard_mb > 0:
        raise ValueError(f"shard_mb={shard_mb!r} must be a positive number of megabytes.")
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise ValueError(f"seed={seed!r} must be a whole number, 0 or above.")
    if extractor.alignment is not None:
        raise ValueError(
            f"the extractor aligns subjects (alignment={extractor.alignment!r}), which needs all windows of a subject "
            "at once: prepare shards without alignment."
        )
    unlabelled = labels == "none"
    labels = WholeRecording() if unlabelled else AnnotationLabels() if labels is None else labels
    if not isinstance(labels, LabelSource):
        raise TypeError(
            "labels come from AnnotationLabels, EventLabels, TableLabels or PathLabels, or are 'none', got "
            f"{labels!r}."
        )
    one_class = allow_one_class or unlabelled
    options = build_options(label_names, ignore_labels, max_abs_uv, short, one_class, unit, {})
    sources = list_sources(source, bids_entities)
    if any(item.path is None for item in sources):
        raise TypeError("shards are made of files; of MNE objects in memory build_dataset makes a dataset.")
    assign_subjects(sources, subjects, subject_pattern, labels if isinstance(labels, TableLabels) else None)
    if isinstance(labels, TableLabels):
        labels.check_recordings([(item.name, item.path) for item in sources])
    states = source_states(sources, labels)
    # the manifest gets published: what is in a table counts, not where it lies
    states["labels"][1].pop("path", None)
    settings = {
        "recordings": [len(sources), _digest(states["sources"])],
        "label_files": _digest(states["label_files"]),
        "labels": "none" if unlabelled else states["labels"],
        "extractor": extractor.to_dict(),
        "options": asdict(options),
        "validation": validation,
        "test": test,
        "seed": seed,
        "shard_mb": shard_mb,
        "format": format,
        "dtype": dtype,
        "software": [MANIFEST_VERSION, fingerprint_of({})],
    }
    # as they come back from JSON
    settings = json.loads(json.dumps(settings, default=str))
    folder = Path(output_dir).expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder):
        _check_settings(folder, settings)
        for leftover in [*folder.glob(".saving-*"), *folder.glob("*/.saving-*")]:
            shutil.rmtree(leftover, ignore_errors=True)
        done = _finished(folder, bad_files)
        if done is not None:
            logger.info("%s is complete already", folder)
            return done
        with worker_pool(num_proc) as run:
            used, headers, ch_names, skipped = usable_recordings(
                sources, extractor, labels, run, bad_files == "skip", progress
            )
            report: Counter = Counter(n_recordings=len(sources))
            plans, names = plan_windows(used, headers, extractor, labels, options, report)
            kept_names = None if unlabelled else names
            common = ShardSettings(
                folder, extractor, ch_names, kept_names, unit, max_abs_uv, format, dtype, bad_files == "skip"
            )
            split_of = assign_people(plans, validation, test, seed)
            splits = plan_shards(plans, split_of, shard_mb * 2**20 / common.window_bytes, seed, format)
            _write_text(folder / _SETTINGS, json.dumps(settings, indent=1) + "\n")
            facts = _make_missing(splits, common, run, progress)
        manifest = ShardManifest(
            fingerprint=_digest(settings)[:16],
            settings=settings,
            format=format,
            dtype=dtype,
            ch_names=list(ch_names),
            sfreq=float(extractor.sfreq),
            n_times=int(extractor.n_times),
            label_names=kept_names,
            splits={split: [facts[shard.name] for shard in shards] for split, shards in splits.items()},
            skipped=skipped,
        )
        # in the order of the shards, whichever was ready first
        manifest.skipped.extend(entry for shard in manifest.shards() for entry in shard["skipped"])
        counts = manifest.label_counts() if not unlabelled else {"unlabelled": manifest.n_windows()}
        if not manifest.n_windows():
            raise ValueError(
                f"no window is left: max_abs_uv={max_abs_uv} rejected "
                f"{sum(fact['rejected_amplitude'] for fact in facts.values())}, {len(manifest.skipped)} recordings "
                "could not be used."
            )
        check_classes(counts, names, options, "accepted")
        report["rejected_amplitude"] = sum(fact["rejected_amplitude"] for fact in facts.values())
        manifest.report.update(finish_report(report, counts))
        _finish(folder, manifest, extractor)
    for entry in manifest.skipped:
        logger.warning("left out: %s (%s)", entry["recording"], entry["reason"])
    return manifest


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the folder's lock; refuse a second run at once."""
    lock = FileLock(folder / ".prepare.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise RuntimeError(
            f"another run writes into {folder} at this moment: wait for it, or name another output_dir."
        ) from error
    try:
        yield
    finally:
        lock.release()


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


def _check_settings(folder: Path, settings: dict[str, Any]) -> None:
    """Refuse a folder that was begun with other settings."""
    kept = folder / _SETTINGS
    if kept.is_file():
        before = json.loads(kept.read_text(encoding="utf-8"))
    elif (folder / MANIFEST_NAME).is_file():
        before = ShardManifest.read(str(folder)).settings
    else:
        return
    changes = _changes(before, settings)
    if changes:
        raise ValueError(
            f"{folder} holds shards of other settings, which must not be mixed. What differs: {'; '.join(changes)}. "
            "Use those settings again, name another output_dir, or delete that folder."
        )


def _changes(before: Any, now: Any, path: str = "") -> list[str]:
    """What differs between two settings, in words."""
    if isinstance(before, dict) and isinstance(now, dict):
        keys = sorted(set(before) | set(now))
        return [
            change
            for key in keys
            for change in _changes(before.get(key), now.get(key), f"{path}.{key}" if path else key)
        ]
    if before == now:
        return []
    if path == "recordings" and isinstance(before, list) and before[0] != now[0]:
        return [f"the number of recordings (then {before[0]}, now {now[0]})"]
    return [_WORDS.get(path, f"{path} (then {before!r}, now {now!r})")]


def _finished(folder: Path, bad_files: str) -> ShardManifest | None:
    """The manifest of a folder in which nothing is missing."""
    if not (folder / MANIFEST_NAME).is_file():
        return None
    manifest = ShardManifest.read(str(folder))
    whole = all(_is_there(folder / shard["name"], shard["bytes"]) for shard in manifest.shards())
    return manifest if whole and (bad_files == "skip" or not manifest.skipped) else None


def _is_there(path: Path, size: int) -> bool:
    return path.is_file() and path.stat().st_size == size


def _make_missing(
    splits: dict[str, list[ShardPlan]], common: ShardSettings, run: Run, progress: bool
) -> dict[str, dict[str, Any]]:
    """Name of each shard to its facts: of those that are there, and of those made now."""
    folder = common.folder
    strange = unknown_files(folder, splits)
    if strange:
        raise ValueError(f"{folder}/data holds files of something else: {first_names(strange, 5)}. Take them out.")
    shards = [shard for members in splits.values() for shard in members]
    facts = {}
    for shard in shards:
        sidecar = folder / shard.sidecar
        if sidecar.is_file():
            fact = json.loads(sidecar.read_text(encoding="utf-8"))
            if _is_there(folder / shard.name, fact["bytes"]) and (common.skip_bad_files or not fact["skipped"]):
                facts[shard.name] = fact
    missing = [shard for shard in shards if shard.name not in facts]
    raw = sum(shard.n_windows for shard in missing) * common.window_bytes
    free = shutil.disk_usage(folder).free
    if raw * (_SMALLEST if common.format == "parquet" else 1) > free:
        raise OSError(
            errno.ENOSPC,
            f"{len(missing)} shards of {sum(shard.n_windows for shard in missing)} windows take about "
            f"{raw / 1e9:.2f} GB, and {folder} has {free / 1e9:.2f} GB free. Free some space, name a folder on "
            "another disk, or store halves (dtype='float16')",
        )
    if facts:
        logger.info("%d of %d shards are there already", len(facts), len(shards))
    hours = common.extractor.n_times / common.extractor.sfreq / 3600
    with tqdm(total=len(shards), initial=len(facts), desc="writing shards", unit="shard", disable=not progress) as bar:
        made = 0.0
        for fact in run(write_shard, ((shard, common) for shard in missing)):
            facts[fact["name"]] = fact
            made += fact["windows"] * hours
            bar.set_postfix_str(f"{made:.1f} h of EEG")
            bar.update()
    return facts


def _finish(folder: Path, manifest: ShardManifest, extractor: EEGFeatureExtractor) -> None:
    """Write what lies next to the shards; the manifest last, which says that all is there."""
    kept = EEGFeatureExtractor(**{**extractor.to_dict(), "ch_names": manifest.ch_names})
    kept.save_pretrained(folder)
    _write_text(folder / "README.md", shards_card(manifest))
    _write_text(folder / MANIFEST_NAME, manifest.to_json())


def _write_text(path: Path, text: str) -> None:
    with staged(path.parent) as partial:
        (partial / path.name).write_text(text, encoding="utf-8")


__all__ = ["prepare_shards"]
