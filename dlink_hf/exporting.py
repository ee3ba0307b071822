# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Students as ONNX files: for one montage, in 32, 16 or 8 bits, each compared with PyTorch before it is kept."""

from __future__ import annotations

import copy
import hashlib
import json
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from sklearn.metrics import balanced_accuracy_score
from tqdm.auto import tqdm

from .checkpoint_names import found_checkpoint
from .compatibility import check_label_names, label_names, montage_arguments
from .data.signal_facts import alignment_info
from .electrodes import channel_positions
from .evaluation import load_classifier
from .exporting_graph import OPSET, check_installed, to_float16, to_int8, trace
from .feature_extraction_eeg import EEGFeatureExtractor
from .files import staged
from .hub_files import fetch
from .modeling_mic import MiCForEEGClassification
from .onnx_student import DEPLOY_FILE, MODEL_FILE, check_windows, make_session


logger = logging.getLogger(__name__)

# largest difference from PyTorch's logits, as a share of their spread over the windows
TOLERANCES = {"float32": 1e-4, "float16": 0.01, "int8": 0.05}
MAX_CALIBRATION = 256
MAX_CHECKED = 1024
N_NOISE = 64
NOISE_UV = 20.0
# a head that tells nothing apart must not turn rounding into a refusal
MIN_SPREAD = 0.1


def export_onnx(
    model: str | os.PathLike | MiCForEEGClassification,
    folder: str | os.PathLike,
    *,
    precision: str = "float32",
    ch_names: Sequence[str] | None = None,
    feature_extractor: EEGFeatureExtractor | None = None,
    calibration: Dataset | np.ndarray | None = None,
    windows: Dataset | np.ndarray | None = None,
    tolerance: float | None = None,
    progress: bool = True,
) -> Path:
    """Write a trained student as ONNX, with all that a device must know to use it.

    The file reads `input_values` (batch, C, T) float32 in microvolts and gives `logits` (batch, num_labels); the
    number of windows is free, channels and samples are those of the student's config. The places of the electrodes
    are folded into it. Before anything is kept, its logits are compared with PyTorch's.

    The folder gets model.onnx; deploy.json, which says channels, rate, unit, window, labels, preprocessing, SHA-256
    and what the comparison gave; config.json; and preprocessor_config.json where the student has one.

    Args:
        model: folder, Hub id or short name of a student with a trained head, or the student itself.
        folder: where to, made where absent; not the student's own folder.
        precision: `"float32"`; `"float16"`, half the size, for hardware that computes in it; or `"int8"`, weights and
            activations of all linear layers after the filter bank in 8 bits.
        ch_names: another montage to export for; the student's own where left out.
        feature_extractor: what the student's windows were made with; the one saved beside it where left out.
        calibration: for int8, windows as the student will meet them: a dataset with `input_values` (C, T), or an
            array (N, C, T), microvolts. At most 256, evenly spread, set the ranges of the activations.
        windows: what the logits are compared on, as `calibration`; with a column `labels`, balanced accuracies are
            compared too. At most 1024, evenly spread. The calibration's where left out, or else noise of 20 uV, and
            deploy.json says so.
        tolerance: largest difference of a logit allowed, as a share of the spread (largest less smallest) of
            PyTorch's logits on these windows; 1e-4, 0.01 and 0.05 for the three precisions where left out.
        progress: show a bar.

    Returns:
        path of model.onnx.

    Raises:
        ImportError: onnx, onnxruntime or onnxscript is not installed.
        OSError: there is no such checkpoint, or the folder can't be written.
        TypeError: the model is no student with a head.
        ValueError: an argument is out of range, windows do not fit the student, or the logits differ by more than
            the tolerance; nothing is written then.
    """
    if precision not in TOLERANCES:
        raise ValueError(f"precision must be one of {', '.join(TOLERANCES)}, got {precision!r}.")
    tolerance = TOLERANCES[precision] if tolerance is None else tolerance
    if isinstance(tolerance, bool) or not isinstance(tolerance, (int, float)) or not 0 < tolerance < np.inf:
        raise ValueError(f"tolerance must be a number above 0, such as {TOLERANCES[precision]}, got {tolerance!r}.")
    if precision == "int8" and calibration is None:
        raise ValueError(
            "int8 needs windows to calibrate on, such as those the student was trained on: calibration=dataset or an "
            "array (N, C, T) in microvolts; on the command line --calibration FOLDER of Dataset.save_to_disk."
        )
    check_installed()
    folder = Path(folder)
    if (folder / "model.safetensors").exists():
        raise ValueError(f"{folder} holds a checkpoint, whose config would be overwritten. Give a folder of its own.")
    student, feature_extractor = _student(model, feature_extractor, ch_names)
    ranges = None if calibration is None else _windows(student, feature_extractor, calibration, MAX_CALIBRATION)[0]
    kind, values, labels = _checked_windows(student, feature_extractor, calibration, windows)

    with tqdm(total=3, desc=f"export {precision}", unit="step", leave=False, disable=not progress) as steps:
        graph, n_front = trace(student)
        steps.update()
        if precision == "float16":
            graph = to_float16(graph, n_front)
        elif precision == "int8":
            graph = to_int8(graph, n_front, ranges)
        weights = graph.SerializeToString(deterministic=True)
        steps.update()
        check = {"windows": kind, "n_windows": len(values), **_compare(student, weights, values, labels)}
        steps.update()
    if not check["relative_difference"] <= tolerance:
        raise ValueError(
            f"The {precision} export differs from PyTorch by up to {check['largest_difference']:.3g} in a logit, "
            f"{check['relative_difference']:.3g} of their spread, beyond the tolerance of {tolerance:g} (on "
            f"{len(values)} windows, {kind}; {check['same_labels']:.1%} same labels). Nothing was written. Give "
            "tolerance= (--tolerance) if that will do; for int8, calibrate on windows more like those of its use."
        )
    check["tolerance"] = tolerance
    deploy = _deployment(student, feature_extractor, weights, precision, check)
    with staged(folder) as partial:
        (partial / MODEL_FILE).write_bytes(weights)
        (partial / DEPLOY_FILE).write_text(json.dumps(deploy, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        student.config.save_pretrained(partial)
        if feature_extractor is not None:
            feature_extractor.save_pretrained(partial)
    if feature_extractor is None:
        # one of an earlier export says nothing about this one
        (folder / "preprocessor_config.json").unlink(missing_ok=True)
    return folder / MODEL_FILE


def _student(
    model: Any, extractor: EEGFeatureExtractor | None, ch_names: Sequence[str] | None
) -> tuple[MiCForEEGClassification, EEGFeatureExtractor | None]:
    """A copy of the student on the CPU in float32, for the montage that is asked for; and its feature extractor."""
    if isinstance(model, (str, os.PathLike)):
        name, model = model, load_classifier(model)
        with found_checkpoint(name) as resolved:
            if extractor is None and fetch(resolved, "preprocessor_config.json", {}) is not None:
                extractor = EEGFeatureExtractor.from_pretrained(resolved)
    if not isinstance(model, MiCForEEGClassification):
        raise TypeError(
            f"Only students are exported, a MiCForEEGClassification or its name; got {type(model).__name__}. Distil "
            "a student from a teacher first: dlink distill."
        )
    student = copy.deepcopy(model).cpu().float().eval()
    if ch_names is not None:
        if isinstance(ch_names, str) or not ch_names:
            raise ValueError(f"ch_names is a list of channel names, such as ['C3', 'Cz'], got {ch_names!r}.")
        student.config.ch_names, student.config.channel_positions = list(ch_names), channel_positions(ch_names)
        if extractor is not None:
            extractor = EEGFeatureExtractor(**{**extractor.to_dict(), "ch_names": list(ch_names)})
    config = student.config
    if extractor is not None and (extractor.sfreq, extractor.n_times) != (config.sfreq, config.n_times):
        raise ValueError(
            f"The student reads windows of {config.n_times} samples at {config.sfreq:g} Hz, the feature extractor "
            f"delivers {extractor.n_times} at {extractor.sfreq:g} Hz. Take the one that was saved with the student."
        )
    return student, extractor


def _windows(
    student: MiCForEEGClassification, extractor: EEGFeatureExtractor | None, given: Any, limit: int
) -> tuple[np.ndarray, np.ndarray | None]:
    """At most `limit` windows (N, C, T) float32, evenly spread, and their labels (N,) where they have any."""
    config, labels = student.config, None
    if not len(given):
        raise ValueError("There are no windows: give at least one.")
    rows = np.unique(np.linspace(0, len(given) - 1, min(limit, len(given))).round().astype(int))
    if isinstance(given, Dataset):
        if "input_values" not in given.column_names:
            raise ValueError(f"The dataset has no column 'input_values' of windows; it has {given.column_names}.")
        check_label_names(student, given)
        if montage_arguments(student, given):
            raise ValueError(
                f"The windows have other channels than the exported student reads: {', '.join(config.ch_names)}. "
                "Build them with these, in this order, or give ch_names= (--ch_names) to export for theirs."
            )
        _check_alignment(given, extractor)
        chosen = given.select(rows).with_format("numpy")
        values = np.asarray(chosen["input_values"][:], dtype=np.float32)
        labels = np.asarray(chosen["labels"][:]) if "labels" in given.column_names else None
    else:
        values = np.asarray(given)[rows].astype(np.float32)
    check_windows(values, config.ch_names, config.n_times, config.sfreq)
    return values, labels


def _check_alignment(dataset: Dataset, extractor: EEGFeatureExtractor | None) -> None:
    """Refuse windows that are aligned otherwise than the student's; those that say nothing of themselves pass."""
    if extractor is None or '"signal"' not in (dataset.info.description or ""):
        return
    found = (alignment_info(dataset) or {}).get("method")
    if found != extractor.alignment:
        raise ValueError(
            f"The student reads windows with the alignment {extractor.alignment or 'none'}, these have "
            f"{found or 'none'}. Build them with the feature extractor that was saved with the student."
        )


def _checked_windows(
    student: MiCForEEGClassification, extractor: EEGFeatureExtractor | None, calibration: Any, windows: Any
) -> tuple[str, np.ndarray, np.ndarray | None]:
    """What the export is compared on, in words, (N, C, T) float32, and labels (N,) or None."""
    if windows is not None:
        return "given", *_windows(student, extractor, windows, MAX_CHECKED)
    if calibration is not None:
        return "those of the calibration", *_windows(student, extractor, calibration, MAX_CHECKED)
    logger.warning("no windows given: the export is compared with PyTorch on noise of %g uV alone", NOISE_UV)
    shape = (N_NOISE, len(student.config.ch_names), student.config.n_times)
    noise = np.random.default_rng(0).standard_normal(shape, dtype=np.float32) * np.float32(NOISE_UV)
    return f"noise of {NOISE_UV:g} uV", noise, None


@torch.no_grad()
def _compare(
    student: MiCForEEGClassification, weights: bytes, windows: np.ndarray, labels: np.ndarray | None
) -> dict[str, Any]:
    """Differences of ONNX Runtime's logits from PyTorch's on windows (N, C, T)."""
    session = make_session(weights)
    # one window alone, then batches
    edges = [0, *range(1, len(windows), 64), len(windows)]
    batches = [windows[first:last] for first, last in zip(edges, edges[1:], strict=False) if last > first]
    expected = np.concatenate([student(torch.from_numpy(batch)).logits.numpy() for batch in batches])
    found = np.concatenate([session.run(["logits"], {"input_values": batch})[0] for batch in batches])
    difference = float(np.abs(found - expected).max())
    spread = max(float(np.ptp(expected)), MIN_SPREAD)
    result = {
        "largest_difference": difference,
        "relative_difference": difference / spread,
        "same_labels": float((found.argmax(1) == expected.argmax(1)).mean()),
    }
    if labels is not None:
        before, after = (float(balanced_accuracy_score(labels, logits.argmax(1))) for logits in (expected, found))
        result["balanced_accuracy"] = {"pytorch": before, "onnx": after, "change": after - before}
    return result


def _deployment(
    student: MiCForEEGClassification,
    extractor: EEGFeatureExtractor | None,
    weights: bytes,
    precision: str,
    check: dict[str, Any],
) -> dict[str, Any]:
    """What deploy.json says."""
    import onnxruntime

    config = student.config
    preparation, alignment = None, None
    if extractor is not None:
        preparation = {name: getattr(extractor, name) for name in ("l_freq", "h_freq", "notch_freq")}
        # what the extractor does, in its order
        preparation["order"] = ["pick channels", "microvolts", "resample", "notch", "band-pass", "cut", "align"]
        preparation["filter"] = "zero-phase FIR of MNE, at the new rate, over the continuous recording"
        alignment = extractor.alignment and {
            "method": extractor.alignment,
            "reference": extractor.alignment_reference,
            "min_seconds": extractor.alignment_min_seconds,
            "note": "must be applied before: it is no part of the model, and is fitted on the person's own session",
        }
    return {
        "file": MODEL_FILE,
        "sha256": hashlib.sha256(weights).hexdigest(),
        "precision": precision,
        "opset": OPSET,
        "input": {
            "name": "input_values",
            "shape": ["batch", len(config.ch_names), config.n_times],
            "dtype": "float32",
        },
        "output": {"name": "logits", "shape": ["batch", config.num_labels], "dtype": "float32"},
        "ch_names": list(config.ch_names),
        "sfreq": config.sfreq,
        "n_times": config.n_times,
        "unit": "uV",
        "normalisation": f"none to be done: the model scales microvolts by {config.input_scale:g} itself",
        "labels": label_names(student),
        "preprocessing": preparation,
        "alignment": alignment,
        "check": check,
        "made_with": {"torch": torch.__version__, "onnxruntime": onnxruntime.__version__},
    }


__all__ = ["TOLERANCES", "export_onnx"]
