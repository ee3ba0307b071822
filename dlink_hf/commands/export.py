# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""`dlink export`: a student as ONNX, for ExecuTorch or as C, for a device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.atomic_files import staged, write_json
from ..core.export_record import read_deploy
from ..core.fetch import read_json
from ..core.requires import require
from ..export.c_text import FILTERS_FILE as C_FILTERS_FILE, filters_header
from ..export.loading import FORMATS, format_of
from ..export.onnx import TOLERANCES, write_export
from ..preprocessing.alignment import alignment_from_dict
from ..preprocessing.feature_extraction_eeg import EEGFeatureExtractor
from ..streaming.preparation import PHASES, filter_coefficients
from .flags import arg, named, parse


if TYPE_CHECKING:
    from datasets import Dataset


# next to the folders of the precisions
FILTERS_FILE = "filters.json"

DESCRIPTION = (
    "Write a trained student as ONNX, for ExecuTorch or as C: `dlink export MODEL --output_dir DIR`. Each precision "
    "gets a folder in DIR: the model, and deploy.json, which says channels, rate, unit, window, labels, filters and "
    "how far the logits are from PyTorch's. An export that is too far off is refused. With --output_dir "
    "CHECKPOINT/onnx (or executorch) it is what `from_pretrained(CHECKPOINT, backend=...)` loads and `dlink push` "
    "takes along."
)


@dataclass
class ExportArguments:
    """Which student, in which precisions, compared on what."""

    model: str = arg("", "Folder, Hub id or short name of a student; also the first word after `export`.")
    output_dir: str = arg("", "Where to; a folder in it for each precision. Required.")
    format: str = arg(
        "onnx",
        "onnx; executorch for a program of XNNPACK, one window at a time; or c for C99 that a microcontroller runs.",
    )
    precision: list[str] = arg(["float32"], "Some of float32, float16 (ONNX only) and int8.")
    ch_names: str | None = arg(None, "Another montage to export for, comma separated; the student's own if left out.")
    any_montage: bool = arg(
        False,
        "Leave channels and patches free: the places of the electrodes are a second input. ONNX in float32 only.",
    )
    calibration: str | None = arg(
        None, "Folder of windows (Dataset.save_to_disk) that set the ranges of int8: windows as it will meet them."
    )
    windows: str | None = arg(
        None,
        "Folder of windows to compare on, labelled ones with balanced accuracies; those of --calibration if left "
        "out, or else noise.",
    )
    tolerance: float | None = arg(
        None,
        "Largest difference of a logit from PyTorch's, as a share of their spread; "
        + ", ".join(f"{value:g} for {name}" for name, value in TOLERANCES.items())
        + " if left out.",
    )
    source_sfreq: float | None = arg(
        None,
        "Rate of the device in Hz: also write filters.json, the coefficients of the resampling and the filters that "
        "bring its stream to the model's windows; with --format c also mic_filters.h for mic_stream.c.",
    )
    alignment: str | None = arg(
        None,
        "With --format c, for a student of aligned windows: the alignment of the subject who will wear the device, a "
        "file of `dlink stream --save_alignment`. Without it the firmware calls mic_set_alignment.",
    )
    phase: str = arg("linear", "Of these filters: linear, as in training, or minimum, which hardly wait.")


def run(argv: Sequence[str]) -> None:
    """Entry of `dlink export`.

    Raises:
        FileNotFoundError: a folder of windows is not there.
        ImportError: the extra `export` or `executorch` is not installed.
        ValueError: an argument is missing or unknown, or an export is too far from PyTorch.
    """
    (args,) = parse("export", DESCRIPTION, (ExportArguments,), named(argv, "--model"))
    if not args.model or not args.output_dir:
        raise ValueError("say what and where to: dlink export MODEL --output_dir DIR.")
    if args.format not in FORMATS:
        raise ValueError(f"--format must be {' or '.join(FORMATS)}, got {args.format!r}.")
    kind = format_of(args.format)
    unknown = [name for name in args.precision if name not in kind.precisions]
    if unknown or not args.precision:
        raise ValueError(
            f"--precision must be some of {', '.join(kind.precisions)} for {args.format}, got "
            f"{', '.join(unknown) or 'none'}."
        )
    if args.any_montage and (args.format, args.precision) != ("onnx", ["float32"]):
        raise ValueError("--any_montage is only for --format onnx --precision float32.")
    if "int8" in args.precision and args.calibration is None and kind.is_calibrated:
        raise ValueError("int8 needs --calibration FOLDER, windows (Dataset.save_to_disk) like those of its use.")
    if args.phase not in PHASES:
        raise ValueError(f"--phase must be {' or '.join(PHASES)}, got {args.phase!r}.")
    names = None if args.ch_names is None else [name.strip() for name in args.ch_names.split(",") if name.strip()]
    calibration, windows = (_load(flag, getattr(args, flag)) for flag in ("calibration", "windows"))
    width = max(len(str(Path(args.output_dir, precision, kind.student.model_file))) for precision in args.precision)
    print(f"{'file':<{width}}{'MB':>8}{'largest difference':>20}{'same labels':>13}{'balanced accuracy':>22}")
    for precision in dict.fromkeys(args.precision):
        path = write_export(
            kind,
            args.model,
            Path(args.output_dir, precision),
            precision=precision,
            ch_names=names,
            any_montage=args.any_montage,
            calibration=calibration,
            windows=windows,
            alignment_state=None if args.alignment is None else alignment_from_dict(read_json(Path(args.alignment))),
            tolerance=args.tolerance,
        )
        check = read_deploy(path.parent)["check"]
        if "not_compared" in check:
            print(f"{path!s:<{width}}{path.stat().st_size / 1e6:>8.3f}  not compared: {check['not_compared']}")
            continue
        scores = check.get("balanced_accuracy")
        scores = f"{scores['pytorch']:.3f} -> {scores[args.format]:.3f}" if scores else "no labels"
        row = f"{path.stat().st_size / 1e6:>8.3f}{check['largest_difference']:>20.2g}{check['same_labels']:>13.1%}"
        print(f"{path!s:<{width}}{row}{scores:>22}")
    if args.source_sfreq is not None:
        told = _write_filters(path.parent, Path(args.output_dir, FILTERS_FILE), args.source_sfreq, args.phase)
        print(f"\n{told}")
        if args.format == "c":
            print(_write_c_filters(args))
    if "not_compared" not in check:
        print(f"\ncompared with PyTorch on {check['n_windows']} windows: {check['windows']}{_elsewhere(check)}")


def _write_filters(export: Path, path: Path, sfreq: float, phase: str) -> str:
    """Write the coefficients of an export's filters for a device of `sfreq` Hz; says what they are."""
    if not (export / "preprocessor_config.json").is_file():
        raise ValueError(
            "--source_sfreq is for a student with a preprocessor_config.json, which says its rate and filters; this "
            "one has none."
        )
    extractor = EEGFeatureExtractor.from_pretrained(export)
    told = filter_coefficients(extractor, sfreq, read_deploy(export)["ch_names"], phase)
    write_json(path, told)
    return f"{path}: {sfreq:g} to {told['sfreq']:g} Hz, {phase} phase, {told['delay_seconds']:.3g} s behind"


def _write_c_filters(args: ExportArguments) -> str:
    """Write filters.json as C too, into the folder of every precision; says where."""
    folders = [Path(args.output_dir, precision) for precision in dict.fromkeys(args.precision)]
    header = filters_header(read_json(Path(args.output_dir, FILTERS_FILE)))
    for folder in folders:
        with staged(folder) as partial:
            (partial / C_FILTERS_FILE).write_text(header, encoding="utf-8")
    return ", ".join(str(folder / C_FILTERS_FILE) for folder in folders)


def _elsewhere(check: dict[str, Any]) -> str:
    other = check.get("other_montage")
    return f"; and on {', '.join(other['ch_names'])} with {other['n_times']} samples" if other else ""


def _load(flag: str, folder: str | None) -> Dataset | None:
    if folder is None:
        return None
    if not Path(folder, "dataset_info.json").is_file():
        raise FileNotFoundError(f"--{flag} {folder!r} is not a folder of Dataset.save_to_disk, made of one split.")
    return require("datasets", f"--{flag}").load_from_disk(folder)


__all__ = ["ExportArguments", "run"]
