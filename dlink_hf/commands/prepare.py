# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""`dlink prepare`: recordings to shards of windows, for corpora that fit no memory."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, make_dataclass
from pathlib import Path

from ..core.config_checks import SINGLE_LABEL
from ..data import ShardManifest, check_shards, prepare_shards
from ..preprocessing.feature_extraction_eeg import EEGFeatureExtractor
from .arguments import DataArguments, arg, named, parse
from .windows import OWN_DEFAULTS, extractor_settings, label_source


DESCRIPTION = (
    "Cut a folder of recordings, of any size, into shards of windows that `load_shards` streams: `dlink prepare "
    "FOLDER --output_dir DIR`. Started again after a kill or an error it makes only what is missing."
)


@dataclass
class PrepareArguments:
    """What is prepared, where to, and how."""

    dataset: str = arg("", "Folder of recordings, a BIDS folder, or one recording; also the first word.")
    output_dir: str = arg("", "Folder to make: shards, manifest.json, README.md. Required.")
    verify: str | None = arg(None, "Prepare nothing: read and hash all shards of this folder, or URL, and compare.")
    num_proc: int = arg(1, "Processes.")
    shard_mb: float = arg(64.0, "Size of a file before compression, in MB, about.")
    format: str = arg("parquet", "`parquet`, or `webdataset` (tar).")
    dtype: str = arg("float32", "How samples are stored: `float32`, or `float16` in half the size.")
    bad_files: str = arg("error", "Recordings that can't be used: `error` stops and names one, `skip` lists them.")
    short: str = arg("error", "Labelled segments shorter than a window: `error`, or `skip`.")
    unlabelled: bool = arg(False, "Windows of whole recordings without labels, as for pre-training.")
    validation: float = arg(0.0, "Subjects of the validation split: a share below 1, or their number.")
    test: float = arg(0.0, "Subjects of the test split: a share below 1, or their number.")
    seed: int = arg(0, "Seed of the splits and of all orders.")


# flags that mean here what they mean in `dlink distill`
_SHARED = (
    "task labels label_pattern label_map subject_pattern ch_names window_seconds stride_seconds sfreq l_freq h_freq "
    "notch_freq reject_uv unit unknown_channels duplicate_channels outlying_channels trial_start trial_duration tmin "
    "tmax"
).split()
RecordingArguments = make_dataclass(
    "RecordingArguments",
    [
        (f.name, f.type, dataclasses.field(default=f.default, metadata=f.metadata))
        for f in dataclasses.fields(DataArguments)
        if f.name in _SHARED
    ],
    # windows are aligned when they are used, subject by subject
    namespace={
        "__module__": __name__,
        "__doc__": "Which labels, subjects, channels and windows.",
        "alignment": None,
        # shards hold classes
        "targets": None,
        "problem_type": SINGLE_LABEL,
    },
)


def run(argv: Sequence[str]) -> None:
    """Entry of `dlink prepare`.

    Raises:
        ValueError: an argument is missing or unknown, or the recordings can't be used; the message says why.
        OSError: the disk is full, or shards are damaged.
    """
    args, recordings = parse("prepare", DESCRIPTION, (PrepareArguments, RecordingArguments), named(argv, "--dataset"))
    if args.verify is not None:
        manifest = check_shards(args.verify)
        print(f"{args.verify}: all {len(manifest.shards())} shards are as they were written")
        print_table(manifest)
        return
    if not args.dataset or not args.output_dir:
        raise ValueError("say which recordings, and where to: dlink prepare FOLDER --output_dir DIR.")
    if args.unlabelled and (recordings.labels != "annotations" or recordings.label_pattern or recordings.label_map):
        raise ValueError("--unlabelled leaves labels out: leave out --labels, --label_pattern and --label_map.")
    settings = extractor_settings(recordings, OWN_DEFAULTS)
    begin = time.time()
    # skipped recordings are printed below, once
    logging.getLogger("dlink_hf.data.shards.prepare").setLevel(logging.ERROR)
    try:
        manifest = prepare_shards(
            args.dataset,
            args.output_dir,
            EEGFeatureExtractor(**settings),
            "none" if args.unlabelled else label_source(recordings),
            subject_pattern=recordings.subject_pattern,
            ignore_labels="others" if recordings.label_map else (),
            max_abs_uv=recordings.reject_uv,
            bids_entities={"tasks": recordings.task} if recordings.task else None,
            validation=_number(args.validation),
            test=_number(args.test),
            **{
                name: getattr(args, name)
                for name in ("short", "seed", "num_proc", "shard_mb", "format", "bad_files", "dtype")
            },
        )
    except RuntimeError as error:
        raise OSError(str(error)) from error
    seconds = time.time() - begin
    print_table(manifest)
    for entry in manifest.skipped:
        print(f"left out: {entry['recording']}: {entry['reason']}")
    if manifest.skipped:
        print(f"{len(manifest.skipped)} recordings were left out; they are listed in {args.output_dir}/manifest.json")
    made = [shard for shard in manifest.shards() if _made_since(Path(args.output_dir) / shard["name"], begin)]
    hours = sum(shard["windows"] for shard in made) * manifest.n_times / manifest.sfreq / 3600
    speed = f", {hours / seconds:.2f} hours of EEG per second" if made else ""
    print(f"{args.output_dir}: {len(made)} of {len(manifest.shards())} shards made in {seconds:.0f} s{speed}")


def _number(share: float) -> float | int:
    return int(share) if share >= 1 else share


def _made_since(path: Path, begin: float) -> bool:
    # clocks of file systems tick slowly
    return path.stat().st_mtime >= begin - 0.05


def print_table(manifest: ShardManifest) -> None:
    """Print what each split holds."""
    names = manifest.label_names or []
    widths = [max(8, len(name) + 2) for name in names]
    heads = "".join(f"{name:>{width}}" for name, width in zip(names, widths, strict=True))
    print(f"\n{'split':<11}{'shards':>7}{'MB':>10}{'hours':>9}{'subjects':>10}{'windows':>10}{heads}")
    for split, total in manifest.totals().items():
        counts = "".join(f"{total['labels'][name]:>{width}}" for name, width in zip(names, widths, strict=True))
        print(
            f"{split:<11}{total['shards']:>7}{total['bytes'] / 1e6:>10.1f}{total['hours']:>9.2f}{total['people']:>10}"
            f"{total['windows']:>10}{counts}"
        )
    lost = {name: count for name, count in manifest.report.items() if name.startswith(("rejected", "skipped"))}
    lost = [f"{count} {name.replace('_', ' ')}" for name, count in lost.items() if count]
    print(f"windows left out: {', '.join(lost) or 'none'}")


__all__ = ["PrepareArguments", "print_table", "run"]
