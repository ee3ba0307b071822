# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Students as C: one file of C99 and one of weights, for a microcontroller or any other C compiler."""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch

from ..core.config_checks import MULTI_LABEL, REGRESSION
from ..data.model_contract import label_names
from ..models.mic.folded import MiCInference
from ..models.mic.modeling_mic import MiCForEEGClassification
from ..preprocessing.alignment import Alignment
from ..preprocessing.feature_extraction_eeg import EEGFeatureExtractor
from .c_text import number_of_c, rows_of_c, text_of_c
from .exported_student import ExportedStudent, Runner
from .onnx import ExportFormat, write_export


if TYPE_CHECKING:
    from datasets import Dataset


WEIGHTS_FILE = "mic_weights.h"
SOURCES = Path(__file__).parent / "c"
# the constants of a folded student that mic.c knows
_OUTER = {"embedding", "place", "mimic", "mimic_bias", "features", "match", "near", "head", "head_bias"}
_BANK = {"kernels", "pairs", "boxes", "floor"}
_MAPS = ("qkv", "out", "mlp_in", "mlp_out")
_BLOCK = {*_MAPS, *(f"{name}_bias" for name in _MAPS), "time_scale", "time_shift", "taps", "taps_bias"}
# of the weights in 8 bits, and of the sums of products in 32
_LARGEST_WEIGHT, _LARGEST_SUM = 127, 2**31 - 1


def export_c(
    model: str | os.PathLike | MiCForEEGClassification,
    folder: str | os.PathLike,
    *,
    precision: str = "float32",
    ch_names: Sequence[str] | None = None,
    feature_extractor: EEGFeatureExtractor | None = None,
    windows: Dataset | np.ndarray | None = None,
    alignment_state: Alignment | None = None,
    tolerance: float | None = None,
    progress: bool = True,
) -> Path:
    """Write a trained student as C99 that needs no operating system, no heap and of the library only `sqrtf`.

    The folder gets mic_weights.h, the weights of this student; mic.c and mic.h, which are the same for all; main.c,
    a program that classifies windows of a file; chip.c, chip.ld and a Makefile, to build for this computer and for a
    Cortex-M; mic_stream.c and mic_stream.h, which take raw samples through the filters of [`filters_header`], for a
    student whose windows are not aligned; and deploy.json and the configs as for [`export_onnx`]. Where a C compiler
    is found (`CC`, cc, gcc or clang), the export is compiled and its logits are compared with PyTorch's before it is
    kept; where there is none, deploy.json says `not_compared`.

    Args:
        model, folder, ch_names, feature_extractor, windows, tolerance, progress: as for [`export_onnx`].
        alignment_state: for a student of aligned windows, an alignment that is fitted on the subject who will wear the
            device: mic_weights.h then holds its matrix. Without it the firmware calls mic_set_alignment.
        precision: `"float32"`; or `"int8"`: the weights of the linear maps after the filter bank are 8-bit whole
            numbers with a scale for each row; what they are multiplied with is rounded to 16 bits, by its own largest
            number, while it runs. Sums of products are whole numbers, everything else is float32. Nothing is
            calibrated.

    Returns:
        path of mic_weights.h.

    Raises:
        OSError, TypeError, ValueError: as [`export_onnx`]; or the student has parts that mic.c does not know.
    """
    return write_export(
        C,
        model,
        folder,
        precision=precision,
        ch_names=ch_names,
        feature_extractor=feature_extractor,
        windows=windows,
        alignment_state=alignment_state,
        tolerance=tolerance,
        progress=progress,
    )


class CStudent(ExportedStudent):
    """How an export as C is compared with PyTorch; it is not loaded from a folder.

    A folder's C would be compiled and run as it is: that is for whoever made it, not for what was downloaded.
    """

    backend = "c"
    model_file = WEIGHTS_FILE

    @classmethod
    def from_pretrained(cls, folder: str | os.PathLike, n_threads: int | None = None) -> Self:
        """Refuse: C is compiled by whoever uses it.

        Raises:
            ValueError: always.
        """
        raise ValueError(
            f"{folder}: an export as C is compiled, not loaded: `make` in it builds the program mic. For Python, "
            "export for ONNX or ExecuTorch: dlink export MODEL --format onnx."
        )

    @staticmethod
    def make_runner(weights: bytes, n_threads: int | None = None) -> Runner:
        """Return what compiles mic.c with weights and runs it, without the checks of the window.

        Args:
            weights: of mic_weights.h.
            n_threads: without meaning here.

        Raises:
            ImportError: there is no C compiler.
            ValueError: it does not compile.
        """
        compiler = find_compiler()
        if compiler is None:
            raise ImportError(f"There is {_NO_COMPILER}: install gcc or clang, or name one in the variable CC.")
        with tempfile.TemporaryDirectory(prefix="dlink-c-") as folder:
            for name in ("mic.c", "mic.h"):
                shutil.copyfile(SOURCES / name, Path(folder, name))
            Path(folder, WEIGHTS_FILE).write_bytes(weights)
            built = Path(folder, "mic.so")
            command = [compiler, "-std=c99", "-O2", "-shared", "-fPIC", "-o", str(built), "mic.c", "-lm"]
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
            if done.returncode:
                raise ValueError(f"{' '.join(command)} failed: {done.stderr.strip()[-1000:]}")
            library = ctypes.CDLL(str(built))
        n_labels = ctypes.c_int.in_dll(library, "mic_n_labels").value
        lock = threading.Lock()

        def run(values: np.ndarray, positions: np.ndarray | None) -> np.ndarray:
            logits = np.empty((len(values), n_labels), dtype=np.float32)
            values = np.ascontiguousarray(values, dtype=np.float32)
            # its memory is static
            with lock:
                for window, row in zip(values, logits, strict=True):
                    library.mic_forward(ctypes.c_void_p(window.ctypes.data), ctypes.c_void_p(row.ctypes.data))
            return logits

        return run


_NO_COMPILER = "no C compiler (CC, cc, gcc, clang)"


def find_compiler() -> str | None:
    """Return the C compiler of this machine: what the variable CC names, or cc, gcc or clang; None without one."""
    return next(filter(None, map(shutil.which, filter(None, (os.environ.get("CC"), "cc", "gcc", "clang")))), None)


def weights_header(student: MiCForEEGClassification, precision: str, alignment: Alignment | None = None) -> str:
    """Return the text of mic_weights.h: shapes, names and weights of a student, folded for its montage and window.

    Args:
        student: on the CPU, in float32.
        precision: `"float32"` or `"int8"`.
        alignment: of its windows; one that is fitted on a subject is in the file, of others only the lengths are.

    Raises:
        ValueError: the student has parts that mic.c does not know.
    """
    folded = student.for_inference()
    _check_known(folded)
    shapes, arrays = _shapes(student, folded, precision == "int8"), _arrays(folded, precision == "int8")
    aligned = {
        "ALIGNED": (int(alignment is not None), "whether mic_classify aligns windows, see mic_set_alignment"),
        "ALIGNMENT_TAPS": (1 if alignment is None else alignment.n_taps, "of the alignment's filters"),
        "ALIGNMENT_GIVEN": (int(alignment is not None and alignment.n_windows > 0), "whether a subject's is below"),
    }
    place = shapes.index("#endif")
    shapes[place:place] = [f"#define MIC_{name} {value} /* {meaning} */" for name, (value, meaning) in aligned.items()]
    return "\n".join([*shapes, *([] if alignment is None else _given(alignment)), *arrays, ""])


def _given(alignment: Alignment) -> list[str]:
    """Lines of mic_weights.h: a subject's alignment, empty where it was not fitted."""
    found = alignment.device_arrays() if alignment.n_windows else {}
    names, lines = dict.fromkeys(("matrix", "shift", "taps"), "0"), []
    for name, values in found.items():
        names[name] = f"mic_alignment_{name}"
        lines += rows_of_c("float", names[name], [number_of_c(float(value)) for value in values.ravel()])
    return [*lines, f"static const mic_alignment mic_given_alignment = {{{', '.join(names.values())}}};"]


def _check_known(folded: MiCInference) -> None:
    """Refuse a student of another architecture than that of mic.c."""
    if not len(folded.blocks):
        raise ValueError("This student has no blocks (num_hidden_layers 0): mic.c needs at least one. Take ONNX.")
    outer = _OUTER if folded.signed is None else _OUTER | {"signed"}
    parts = [(folded, "", outer, {"filter_bank", "blocks"}), (folded.filter_bank, "filter_bank.", _BANK, set())]
    parts += [(block, f"blocks.{i}.", _BLOCK, set()) for i, block in enumerate(folded.blocks)]
    for module, place, buffers, children in parts:
        found = {name for name, _ in module.named_buffers(recurse=False)} | {
            name for name, _ in module.named_children()
        }
        if found != buffers | children:
            names = ", ".join(f"{place}{name}" for name in sorted(found ^ (buffers | children)))
            raise ValueError(
                f"The folded student differs from the one that mic.c computes in {names}: export it with --format "
                "onnx."
            )


def _shapes(student: MiCForEEGClassification, folded: MiCInference, is_int8: bool) -> list[str]:
    """Lines of the first part of mic_weights.h."""
    config, bank = folded.config, folded.filter_bank
    n_patches = folded.n_times // folded.patch_size
    widest = max(map(max, (matrix.shape for matrix in (_matrices(folded)))))
    numbers = {
        "CHANNELS": (folded.n_chans, "channels C of a window"),
        "SAMPLES": (folded.n_times, "samples of a window"),
        "SFREQ": (number_of_c(config.sfreq), "sampling rate in Hz"),
        "PATCH": (folded.patch_size, "samples L of a patch"),
        "PATCHES": (n_patches, "patches P of a window"),
        "LABELS": (config.num_labels, "classes"),
        "FILTERS": (config.num_filters, "quadrature pairs of kernels"),
        "FILTER_SIZE": (bank.size, "samples of a kernel"),
        "FILTER_STRIDE": (bank.stride, "samples between the positions of a kernel"),
        "FILTER_POSITIONS": (bank.n_positions, "positions of a kernel in a patch"),
        "FLOOR": (number_of_c(bank.floor[0].item()), "added to powers before the logarithm"),
        "SLOW": (bank.boxes.shape[1], "averages of samples in a patch"),
        "SLOW_SCALE": (number_of_c(bank.boxes.max().item()), "from a sum of samples to what enters"),
        "WIDTH": (config.hidden_size, "numbers d of a token"),
        "BLOCKS": (len(folded.blocks), "blocks"),
        "HEADS": (config.num_attention_heads, "heads of the attention over channels"),
        "INNER": (config.intermediate_size, "width inside a block's network"),
        "MIMIC": (folded.mimic.shape[1], "width of the mimic state, narrowed"),
        "SLOTS": (config.num_spatial_slots, "slots K on the head"),
        "COMPRESSED": (config.compressed_size, "numbers c of a slot and patch"),
        "SIGNED": (
            int(folded.signed is not None),
            "whether averages of samples reach the logits on a path of their own",
        ),
        "EPS": (number_of_c(folded.eps), "of the normalisations"),
        "INT8": (int(is_int8), "whether the weights of linear maps are 8-bit whole numbers"),
    }
    if is_int8:
        steps = min(2**15 - 1, _LARGEST_SUM // (_LARGEST_WEIGHT * widest))
        numbers["WIDEST"] = (widest, "largest input of a linear map")
        numbers["STEPS"] = (steps, "whole numbers to which an input's largest is scaled")
    lines = [
        "/* mic_weights.h: a trained student, generated by dlink export --format c; not to be edited. Shapes are for",
        " * everyone, weights for mic.c, which defines MIC_WITH_WEIGHTS. */",
        "#ifndef MIC_SHAPES",
        "#define MIC_SHAPES",
        *(f"#define MIC_{name} {value} /* {meaning} */" for name, (value, meaning) in numbers.items()),
        "extern const int mic_n_labels; /* MIC_LABELS */",
        "extern const char *const mic_label_names[MIC_LABELS];",
        "extern const char *const mic_channel_names[MIC_CHANNELS];",
        "#endif",
        "#ifdef MIC_WITH_WEIGHTS",
        "const int mic_n_labels = MIC_LABELS;",
    ]
    labels = label_names(student) or [str(label) for label in range(config.num_labels)]
    for name, size, texts in (("label", "LABELS", labels), ("channel", "CHANNELS", config.ch_names)):
        lines.append(f"const char *const mic_{name}_names[MIC_{size}] = {{{', '.join(map(text_of_c, texts))}}};")
    return lines


def _matrices(folded: MiCInference) -> list[torch.Tensor]:
    """The matrices (in, out) that become a `mic_linear`."""
    blocks = [getattr(block, name) for block in folded.blocks for name in _MAPS]
    return [*blocks, folded.embedding, folded.mimic, folded.features, folded.head]


def _arrays(folded: MiCInference, is_int8: bool) -> list[str]:
    """Lines of the second part of mic_weights.h."""
    lines: list[str] = []

    def array(name: str, values: torch.Tensor) -> str:
        numbers = [number_of_c(value) for value in values.detach().double().flatten().tolist()]
        lines.extend(rows_of_c("float", name, numbers))
        return name

    def linear(name: str, matrix: torch.Tensor, bias: torch.Tensor | None) -> str:
        rows = matrix.detach().T.double()
        if is_int8:
            scale = rows.abs().amax(1).clamp_min(torch.finfo(torch.float32).tiny) / _LARGEST_WEIGHT
            whole = (rows / scale[:, None]).round().int().flatten().tolist()
            lines.extend(rows_of_c("int8_t", name, [str(value) for value in whole]))
            scaled = array(f"{name}_scale", scale)
        else:
            array(name, rows)
            scaled = "0"
        shift = "0" if bias is None else array(f"{name}_bias", bias)
        return f"{{{name}, {scaled}, {shift}, {rows.shape[0]}, {rows.shape[1]}}}"

    bank, n_patches = folded.filter_bank, folded.n_times // folded.patch_size
    width = folded.embedding.shape[1]
    array("mic_kernels", bank.kernels.T)
    array("mic_place", folded.place[::n_patches])
    array("mic_match", folded.match[:, :width] * n_patches)
    array("mic_near", folded.near)
    if folded.signed is not None:
        # (num_labels, C * P * averages), in float32 always
        array("mic_signed", folded.signed.T)
    maps = [
        f"static const mic_linear mic_embedding = {linear('mic_embedding_weight', folded.embedding, None)};",
        f"static const mic_linear mic_mimic = {linear('mic_mimic_weight', folded.mimic, folded.mimic_bias)};",
        f"static const mic_linear mic_features = {linear('mic_features_weight', folded.features, None)};",
        f"static const mic_linear mic_head = {linear('mic_head_weight', folded.head, folded.head_bias)};",
    ]
    blocks = []
    for number, block in enumerate(folded.blocks):
        parts = [
            linear(f"mic_{number}_{name}", getattr(block, name), getattr(block, f"{name}_bias")) for name in _MAPS
        ]
        parts += [array(f"mic_{number}_{name}", getattr(block, name)) for name in ("time_scale", "time_shift")]
        parts += [array(f"mic_{number}_{name}", getattr(block, name)) for name in ("taps", "taps_bias")]
        blocks.append("    {" + ", ".join(parts) + "},")
    return [*lines, *maps, "static const mic_block mic_blocks[MIC_BLOCKS] = {", *blocks, "};", "#endif"]


def _header_bytes(
    student: MiCForEEGClassification,
    precision: str,
    ranges: np.ndarray | None,
    any_montage: bool,
    alignment: Alignment | None = None,
) -> bytes:
    if any_montage:
        raise ValueError("An export as C has a montage of its own: name it by ch_names (--ch_names).")
    if student.config.problem_type in (REGRESSION, MULTI_LABEL):
        raise ValueError(
            f"An export as C tells one class of each window; this student is of {student.config.problem_type!r}. "
            "Export it for ONNX: dlink export MODEL --format onnx."
        )
    return weights_header(student, precision, alignment).encode()


def _sources() -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(SOURCES.iterdir()) if path.is_file()}


def _facts() -> dict[str, Any]:
    sources = {name: hashlib.sha256(content).hexdigest() for name, content in _sources().items()}
    return {"sources": sources, "made_with": {"torch": torch.__version__}}


def _why_not_compared() -> str | None:
    return None if find_compiler() else _NO_COMPILER


C = ExportFormat(
    CStudent,
    ("float32", "int8"),
    1,
    check_installed=lambda: None,
    build=_header_bytes,
    facts=_facts,
    files=_sources,
    why_not_compared=_why_not_compared,
    is_calibrated=False,
    is_aligned=True,
)


__all__ = ["SOURCES", "WEIGHTS_FILE", "C", "CStudent", "export_c", "find_compiler", "weights_header"]
