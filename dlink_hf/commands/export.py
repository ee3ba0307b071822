# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""`dlink export`: a student as ONNX, for a device."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from datasets import Dataset, load_from_disk

from ..exporting import TOLERANCES, export_onnx
from ..onnx_student import DEPLOY_FILE, MODEL_FILE
from .arguments import arg, named, parse


DESCRIPTION = (
    "Write a trained student as ONNX: `dlink export MODEL --output_dir DIR`. Each precision gets a folder in DIR: the "
    "model, and deploy.json, which says channels, rate, unit, window, labels, filters and how far the logits are from "
    "PyTorch's. An export that is too far off is refused."
)


@dataclass
class ExportArguments:
    """Which student, in which precisions, compared on what."""

    model: str = arg("", "Folder, Hub id or short name of a student; also the first word after `export`.")
    output_dir: str = arg("", "Where to; a folder in it for each precision. Required.")
    precision: list[str] = arg(["float32"], "Some of float32, float16 and int8.")
    ch_names: str | None = arg(None, "Another montage to export for, comma separated; the student's own if left out.")
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


def run(argv: Sequence[str]) -> None:
    """Entry of `dlink export`.

    Raises:
        FileNotFoundError: a folder of windows is not there.
        ImportError: the extra `export` is not installed.
        ValueError: an argument is missing or unknown, or an export is too far from PyTorch.
    """
    (args,) = parse("export", DESCRIPTION, (ExportArguments,), named(argv, "--model"))
    if not args.model or not args.output_dir:
        raise ValueError("say what and where to: dlink export MODEL --output_dir DIR.")
    unknown = [name for name in args.precision if name not in TOLERANCES]
    if unknown or not args.precision:
        raise ValueError(f"--precision must be some of {', '.join(TOLERANCES)}, got {', '.join(unknown) or 'none'}.")
    if "int8" in args.precision and args.calibration is None:
        raise ValueError("int8 needs --calibration FOLDER, windows (Dataset.save_to_disk) like those of its use.")
    names = None if args.ch_names is None else [name.strip() for name in args.ch_names.split(",") if name.strip()]
    calibration, windows = (_load(flag, getattr(args, flag)) for flag in ("calibration", "windows"))
    width = max(len(str(Path(args.output_dir, precision, MODEL_FILE))) for precision in args.precision)
    print(f"{'file':<{width}}{'MB':>8}{'largest difference':>20}{'same labels':>13}{'balanced accuracy':>22}")
    for precision in dict.fromkeys(args.precision):
        path = export_onnx(
            args.model,
            Path(args.output_dir, precision),
            precision=precision,
            ch_names=names,
            calibration=calibration,
            windows=windows,
            tolerance=args.tolerance,
        )
        check = json.loads((path.parent / DEPLOY_FILE).read_text("utf-8"))["check"]
        scores = check.get("balanced_accuracy")
        scores = f"{scores['pytorch']:.3f} -> {scores['onnx']:.3f}" if scores else "no labels"
        row = f"{path.stat().st_size / 1e6:>8.3f}{check['largest_difference']:>20.2g}{check['same_labels']:>13.1%}"
        print(f"{path!s:<{width}}{row}{scores:>22}")
    print(f"\ncompared with PyTorch on {check['n_windows']} windows: {check['windows']}")


def _load(flag: str, folder: str | None) -> Dataset | None:
    if folder is None:
        return None
    if not Path(folder, "dataset_info.json").is_file():
        raise FileNotFoundError(f"--{flag} {folder!r} is no folder of Dataset.save_to_disk, made of one split.")
    return load_from_disk(folder)


__all__ = ["ExportArguments", "run"]
