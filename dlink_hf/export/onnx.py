# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Exported students: what every format shares, compared with PyTorch before it is kept; and ONNX, the first."""

from __future__ import annotations

import copy
import hashlib
import json
import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from tqdm.auto import tqdm

from ..core.atomic_files import staged
from ..core.checkpoint_names import found_checkpoint
from ..core.checks import one_of
from ..core.config_checks import SINGLE_LABEL
from ..core.electrodes import channel_positions
from ..core.export_record import DEPLOY_FILE, MODEL_FILES, weights_digest
from ..core.fetch import fetch
from ..core.model_facts import label_samples
from ..data.description import alignment_info
from ..data.model_contract import check_label_names, label_names, montage_arguments
from ..evaluation.predict import load_trained
from ..models.mic.modeling_mic import MiCForEEGClassification, MiCWithHead
from ..models.mic.token_classification import MiCForEEGTokenClassification
from ..preprocessing.alignment import Alignment
from ..preprocessing.feature_extraction_eeg import EEGFeatureExtractor
from .comparison import NOISE_UV, compare
from .exported_student import ExportedStudent, check_windows
from .graph import OPSET, check_installed, to_float16, to_int8, trace, trace_any_montage
from .onnx_student import OnnxStudent


if TYPE_CHECKING:
    from datasets import Dataset


logger = logging.getLogger(__name__)

# largest difference from PyTorch's logits, as a share of their spread over the windows
TOLERANCES = {"float32": 1e-4, "float16": 0.01, "int8": 0.05}
MAX_CALIBRATION = 256
MAX_CHECKED = 1024
N_NOISE = 64


@dataclass(frozen=True)
class ExportFormat:
    """A format in which students are exported.

    Args:
        student: what runs it.
        precisions: those that there are.
        batch: first dimension of input and output, as deploy.json says it.
        check_installed: raises ImportError where a package is missing.
        build: bytes of the file, of a student on the CPU in float32, a precision, windows (N, C, T) float32 that set
            the ranges of int8 or None, and whether it is to be for any montage.
        facts: what deploy.json says of the format and of what it was made with.
        files: further files of the folder, by name.
        why_not_compared: why it can't be run here, and so not compared with PyTorch; None where it can.
        is_calibrated: whether int8 needs windows that set its ranges.
        is_aligned: whether its code aligns windows; `build` then takes an alignment too.
        takes_patches: whether students that label patches can be written so.
    """

    student: type[ExportedStudent]
    precisions: tuple[str, ...]
    batch: str | int
    check_installed: Callable[[], None]
    build: Callable[..., bytes]
    facts: Callable[[], dict[str, Any]]
    files: Callable[[], dict[str, bytes]] = dict
    why_not_compared: Callable[[], str | None] = lambda: None
    is_calibrated: bool = True
    is_aligned: bool = False
    takes_patches: bool = False


def export_onnx(
    model: str | os.PathLike | MiCForEEGClassification | MiCForEEGTokenClassification,
    folder: str | os.PathLike,
    *,
    precision: str = "float32",
    ch_names: Sequence[str] | None = None,
    any_montage: bool = False,
    feature_extractor: EEGFeatureExtractor | None = None,
    calibration: Dataset | np.ndarray | None = None,
    windows: Dataset | np.ndarray | None = None,
    tolerance: float | None = None,
    progress: bool = True,
) -> Path:
    """Write a trained student as ONNX, with all that a device must know to use it.

    The file reads `input_values` (batch, C, T) float32 in microvolts and gives `logits` (batch, num_labels), of a
    student that labels patches (batch, S, num_labels) for the S places of a stretch; the number of windows is free,
    channels and samples are those of the student's config. The places of the electrodes are folded into it, unless it
    is for any montage. Before anything is kept, its logits are compared with PyTorch's.

    The folder gets model.onnx; deploy.json, which says channels, rate, unit, window, labels, preprocessing, SHA-256 of
    the file and of the weights it was made of, and what the comparison gave; config.json; and
    preprocessor_config.json where the student has one.

    Args:
        model: folder, Hub id or short name of a student with a trained head, or the student itself.
        folder: where to, made where absent; not the student's own folder, but `onnx` in it is where
            `from_pretrained(..., backend="onnx")` looks.
        precision: `"float32"`; `"float16"`, half the size, for hardware that computes in it; or `"int8"`, weights and
            activations of all linear layers after the filter bank in 8 bits.
        ch_names: another montage to export for; the student's own by default.
        any_montage: leave channels and patches free: the file reads a second input, `channel_positions` (batch, C, 3)
            float32 in metres, and any whole number of patches. In float32 only. Compared on another montage too.
        feature_extractor: what the student's windows were made with; the one saved with it by default.
        calibration: for int8, windows as the student will meet them: a dataset with `input_values` (C, T), or an
            array (N, C, T), microvolts. At most 256, evenly spread, set the ranges of the activations.
        windows: what the logits are compared on, as `calibration`; with a column `labels`, balanced accuracies are
            compared too. At most 1024, evenly spread. The calibration's by default, or else noise of 20 uV, and
            deploy.json says so.
        tolerance: largest difference of a logit allowed, as a share of the spread (largest less smallest) of
            PyTorch's logits on these windows; 1e-4, 0.01 and 0.05 for the three precisions by default.
        progress: show a bar.

    Returns:
        path of model.onnx.

    Raises:
        ImportError: onnx, onnxruntime or onnxscript is not installed.
        OSError: there is no such checkpoint, or the folder can't be written.
        TypeError: the model is not a student with a head.
        ValueError: an argument is out of range or not for students that label patches (`any_montage`; `"float16"` with
            `token_context="gru"`), windows do not fit the student, or the logits differ by more than
            the tolerance; nothing is written then.
    """
    return write_export(
        ONNX,
        model,
        folder,
        precision=precision,
        ch_names=ch_names,
        any_montage=any_montage,
        feature_extractor=feature_extractor,
        calibration=calibration,
        windows=windows,
        tolerance=tolerance,
        progress=progress,
    )


def write_export(
    kind: ExportFormat,
    model: str | os.PathLike | MiCForEEGClassification,
    folder: str | os.PathLike,
    *,
    precision: str = "float32",
    ch_names: Sequence[str] | None = None,
    any_montage: bool = False,
    feature_extractor: EEGFeatureExtractor | None = None,
    calibration: Dataset | np.ndarray | None = None,
    windows: Dataset | np.ndarray | None = None,
    alignment_state: Alignment | None = None,
    tolerance: float | None = None,
    progress: bool = True,
) -> Path:
    """Write a trained student in a format, compared with PyTorch; arguments, result and errors as [`export_onnx`]."""
    one_of("precision", precision, kind.precisions)
    tolerance = TOLERANCES[precision] if tolerance is None else tolerance
    if isinstance(tolerance, bool) or not isinstance(tolerance, (int, float)) or not 0 < tolerance < np.inf:
        raise ValueError(f"tolerance must be a number above 0, such as {TOLERANCES[precision]}, got {tolerance!r}.")
    if precision == "int8" and calibration is None and kind.is_calibrated:
        raise ValueError(
            "int8 needs windows to calibrate on, such as those the student was trained on: calibration=dataset or an "
            "array (N, C, T) in microvolts; on the command line --calibration FOLDER of Dataset.save_to_disk."
        )
    if any_montage and precision != "float32":
        raise ValueError(f"An export for any montage is made in float32 only, got {precision}: name the ch_names.")
    kind.check_installed()
    folder, model_file = Path(folder), kind.student.model_file
    if (folder / "model.safetensors").exists():
        raise ValueError(f"{folder} holds a checkpoint, whose config would be overwritten. Give a folder of its own.")
    others = [name for name in MODEL_FILES if name != model_file and (folder / name).exists()]
    if others:
        raise ValueError(f"{folder} holds {others[0]}, an export of another format. Give a folder of its own.")
    student, feature_extractor = _student(model, feature_extractor, ch_names)
    if isinstance(student, MiCForEEGTokenClassification):
        _check_of_patches(student, kind, precision, any_montage)
    ranges = None if calibration is None else _windows(student, feature_extractor, calibration, MAX_CALIBRATION)[0]
    what, values, labels = _checked_windows(student, feature_extractor, calibration, windows)

    backend = kind.student.backend
    with tqdm(total=2, desc=f"export {backend} {precision}", unit="step", leave=False, disable=not progress) as steps:
        own = _alignment(kind, feature_extractor, alignment_state)
        weights = kind.build(student, precision, ranges, any_montage, *([own] if kind.is_aligned else []))
        steps.update()
        not_compared = kind.why_not_compared()
        if not_compared is None:
            run = kind.student.make_runner(weights)
            check = {"windows": what, "n_windows": len(values)}
            check |= compare(student, backend, run, values, labels, any_montage)
        else:
            logger.warning("the export is not compared with PyTorch: there is %s here", not_compared)
            check = {"windows": what, "n_windows": 0, "not_compared": not_compared}
        steps.update()
    if not_compared is None and not check["relative_difference"] <= tolerance:
        raise ValueError(
            f"The {precision} export differs from PyTorch by up to {check['largest_difference']:.3g} in a logit, "
            f"{check['relative_difference']:.3g} of their spread, beyond the tolerance of {tolerance:g} (on "
            f"{len(values)} windows, {what}; {check['same_labels']:.1%} same labels). Nothing was written. Give "
            "tolerance= (--tolerance) if that will do; for int8, calibrate on windows more like those of its use."
        )
    check["tolerance"] = tolerance
    deploy = _deployment(student, feature_extractor, kind, weights, precision, any_montage, check)
    if kind.is_aligned and deploy["alignment"]:
        deploy["alignment"]["note"] = (
            "the subject's own is in the file"
            if alignment_state is not None
            else "the firmware gives that of the subject's own session: mic_set_alignment"
        )
    with staged(folder) as partial:
        for name, content in {**kind.files(), model_file: weights}.items():
            (partial / name).write_bytes(content)
        (partial / DEPLOY_FILE).write_text(json.dumps(deploy, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        student.config.save_pretrained(partial)
        if feature_extractor is not None:
            feature_extractor.save_pretrained(partial)
    if feature_extractor is None:
        # one of an earlier export says nothing about this one
        (folder / "preprocessor_config.json").unlink(missing_ok=True)
    return folder / model_file


def _alignment(kind: ExportFormat, extractor: EEGFeatureExtractor | None, state: Alignment | None) -> Alignment | None:
    """The alignment of a student's windows: the one that is given, or one that has seen nothing.

    Raises:
        ValueError: one is given that the student has no use for, or that is another's.
    """
    own = None if extractor is None or extractor.alignment is None else extractor.new_alignment()
    if state is None:
        return own
    if not kind.is_aligned or own is None:
        raise ValueError("alignment_state (--alignment) is for a student of aligned windows, exported as C.")
    # a device must hold as many taps
    told = [(one.method, one.ch_names, one.n_taps) for one in (own, state)]
    if told[0] != told[1]:
        raise ValueError(
            f"The student's windows are aligned by {own.method} of {', '.join(own.ch_names or [])}; given is the "
            f"state of {state.method} of {', '.join(state.ch_names or [])}. Fit it with the student's own feature "
            "extractor."
        )
    return state


def _student(
    model: Any, extractor: EEGFeatureExtractor | None, ch_names: Sequence[str] | None
) -> tuple[MiCForEEGClassification, EEGFeatureExtractor | None]:
    """A copy of the student on the CPU in float32, for the montage that is asked for; and its feature extractor."""
    if isinstance(model, (str, os.PathLike)):
        name = model
        model = load_trained(name)
        with found_checkpoint(name) as resolved:
            if extractor is None and fetch(resolved, "preprocessor_config.json", {}) is not None:
                extractor = EEGFeatureExtractor.from_pretrained(resolved)
    if not isinstance(model, (MiCWithHead, MiCForEEGTokenClassification)):
        raise TypeError(
            f"Only students are exported, a MiCForEEGClassification or its name; got {type(model).__name__}. Distil "
            "a student from a teacher first: dlink distill."
        )
    student = copy.deepcopy(model).cpu().float().eval()
    # what the exported student is known by
    student.config.architectures = [type(model).__name__]
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


def _check_of_patches(
    student: MiCForEEGTokenClassification, kind: ExportFormat, precision: str, any_montage: bool
) -> None:
    """Refuse what a student of patches can't be exported as.

    Raises:
        TypeError: this format runs only students of one answer per window.
        ValueError: it is to be for any montage, or in a precision that its context is not computed in.
    """
    if not kind.takes_patches:
        raise TypeError(
            f"A MiCForEEGTokenClassification is not exported for {kind.student.backend}, which runs students of one "
            "answer per window. Export it as ONNX (--format onnx), or train a MiCForEEGClassification on windows of "
            "one label's length."
        )
    if any_montage:
        raise ValueError(
            "A student of patches is exported for one montage: name it by ch_names (--ch_names), and leave "
            "any_montage out."
        )
    if precision == "float16" and student.context is not None:
        raise ValueError(
            "A student of patches with token_context='gru' is exported in float32 or int8: the recurrent network of "
            "ONNX Runtime on the CPU does not compute in float16."
        )


def _windows(
    student: MiCForEEGClassification, extractor: EEGFeatureExtractor | None, given: Any, limit: int
) -> tuple[np.ndarray, np.ndarray | None]:
    """At most `limit` windows (N, C, T) float32, evenly spread, and their labels (N,) or (N, S), or None."""
    config, labels = student.config, None
    if not len(given):
        raise ValueError("There are no windows: give at least one.")
    rows = np.unique(np.linspace(0, len(given) - 1, min(limit, len(given))).round().astype(int))
    if hasattr(given, "column_names"):
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
    logger.warning("no windows given: the export is compared with PyTorch only on noise of %g uV", NOISE_UV)
    shape = (N_NOISE, len(student.config.ch_names), student.config.n_times)
    noise = np.random.default_rng(0).standard_normal(shape, dtype=np.float32) * np.float32(NOISE_UV)
    return f"noise of {NOISE_UV:g} uV", noise, None


def _deployment(
    student: MiCForEEGClassification,
    extractor: EEGFeatureExtractor | None,
    kind: ExportFormat,
    weights: bytes,
    precision: str,
    any_montage: bool,
    check: dict[str, Any],
) -> dict[str, Any]:
    """What deploy.json says."""
    config = student.config
    shape = [kind.batch, len(config.ch_names), config.n_times]
    places, seconds = [], {}
    if isinstance(student, MiCForEEGTokenClassification):
        size = label_samples(config)
        places, seconds = [config.n_times // size], {"seconds_per_label": size / config.sfreq}
    positions = {}
    if any_montage:
        shape = ["batch", "channels", f"{config.patch_size} * patches"]
        positions["channel_positions"] = {
            "name": "channel_positions",
            "shape": ["batch", "channels", 3],
            "dtype": "float32",
            "unit": "m",
            "frame": "MNE's standard_1005",
            "note": "channels and patches are free: ch_names and n_times are those of the training",
        }
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
            "note": "must be applied before: it is not part of the model, and is fitted on the subject's own session",
        }
    return {
        "file": kind.student.model_file,
        "format": kind.student.backend,
        "sha256": hashlib.sha256(weights).hexdigest(),
        # of the tensors it was made of, so that an export of older weights is known for one
        "weights_sha256": weights_digest(student.state_dict()),
        "precision": precision,
        "input": {"name": "input_values", "shape": shape, "dtype": "float32"},
        **positions,
        "output": {
            "name": "logits",
            "shape": [shape[0], *places, config.num_labels],
            "dtype": "float32",
            **seconds,
        },
        # numbers in the targets' unit, or logits of a sigmoid each; else of a softmax
        **({} if config.problem_type in (None, SINGLE_LABEL) else {"problem_type": config.problem_type}),
        "ch_names": list(config.ch_names),
        "sfreq": config.sfreq,
        "n_times": config.n_times,
        "unit": "uV",
        "normalisation": f"none to be done: the model scales microvolts by {config.input_scale:g} itself",
        "labels": label_names(student),
        "preprocessing": preparation,
        "alignment": alignment,
        "check": check,
        **kind.facts(),
    }


def _onnx_bytes(
    student: MiCForEEGClassification, precision: str, ranges: np.ndarray | None, any_montage: bool
) -> bytes:
    if any_montage:
        return trace_any_montage(student).SerializeToString(deterministic=True)
    graph, n_front = trace(student)
    if precision == "float16":
        graph = to_float16(graph, n_front)
    elif precision == "int8":
        graph = to_int8(graph, n_front, ranges)
    return graph.SerializeToString(deterministic=True)


def _onnx_facts() -> dict[str, Any]:
    import onnxruntime

    return {"opset": OPSET, "made_with": {"torch": torch.__version__, "onnxruntime": onnxruntime.__version__}}


ONNX = ExportFormat(
    OnnxStudent, tuple(TOLERANCES), "batch", check_installed, _onnx_bytes, _onnx_facts, takes_patches=True
)


__all__ = ["ONNX", "TOLERANCES", "ExportFormat", "export_onnx", "write_export"]
