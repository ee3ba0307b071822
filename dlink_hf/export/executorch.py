# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Students as ExecuTorch programs, for XNNPACK, in 32 or 8 bits. ExecuTorch is imported where it is used."""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..models.mic.modeling_mic import MiCForEEGClassification
from ..preprocessing.feature_extraction_eeg import EEGFeatureExtractor
from .executorch_student import ExecutorchStudent, quiet
from .graph import Logits
from .onnx import ExportFormat, write_export


if TYPE_CHECKING:
    from datasets import Dataset


# windows at a time, where the ranges of int8 are taken
_BATCH = 16


def export_executorch(
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
    """Write a trained student as a program of ExecuTorch, for phones and boards with XNNPACK.

    The program reads ONE window, (1, C, T) float32 in microvolts, and gives logits (1, num_labels); a batch of any
    size would keep buffers for the largest. Everything else is as for ONNX: see [`export_onnx`], also for the folder,
    which gets model.pte, deploy.json and the configs.

    Args:
        model, folder, ch_names, feature_extractor, calibration, windows, tolerance, progress: as for [`export_onnx`];
            `executorch` in the student's own folder is where `from_pretrained(..., backend="executorch")` looks.
        precision: `"float32"`; or `"int8"`, weights (a scale for each output channel) and activations of all linear
            layers and convolutions after the filter bank in 8 bits.

    Returns:
        path of model.pte.

    Raises:
        ImportError: ExecuTorch is not installed.
        OSError, TypeError, ValueError: as [`export_onnx`].
    """
    return write_export(
        EXECUTORCH,
        model,
        folder,
        precision=precision,
        ch_names=ch_names,
        feature_extractor=feature_extractor,
        calibration=calibration,
        windows=windows,
        tolerance=tolerance,
        progress=progress,
    )


def check_installed() -> None:
    """Refuse to begin an export that could not be finished.

    Raises:
        ImportError: a package of the extra `executorch` is not installed.
    """
    for name in ("torchao", "executorch.exir", "executorch.runtime"):
        try:
            with quiet():
                import_module(name)
        except ImportError as error:
            raise ImportError(
                f"An export for ExecuTorch needs {name}, which is not there ({error}): pip install "
                "'dlink-hf[executorch]'."
            ) from error


@torch.no_grad()
def _program(student: MiCForEEGClassification, precision: str, ranges: np.ndarray | None, any_montage: bool) -> bytes:
    """The bytes of the program of a student; `ranges`: windows (N, C, T) float32, microvolts, that calibrate int8."""
    if any_montage:
        raise ValueError("ExecuTorch programs have a montage of their own: name it by ch_names (--ch_names).")
    with quiet():
        from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
        from executorch.exir import to_edge_transform_and_lower
        from executorch.exir.passes.constant_prop_pass import constant_prop_pass

        window = torch.zeros(1, len(student.config.ch_names), student.config.n_times)
        if precision == "int8":
            network = _quantised(student, torch.from_numpy(ranges))
            program = torch.export.export(network, (window,))
        else:
            # what follows from the montage is computed once, here
            network = Logits(student.for_inference()).eval()
            program = constant_prop_pass(torch.export.export(network, (window,)))
        lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()])
        return bytes(lowered.to_executorch().buffer)


def _quantised(student: MiCForEEGClassification, windows: torch.Tensor) -> torch.fx.GraphModule:
    """The student with 8-bit linear layers and convolutions after the filter bank, calibrated on windows (N, C, T).

    The filter bank, whose powers span many orders of magnitude, stays in float32.
    """
    from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
        XNNPACKQuantizer,
        get_symmetric_quantization_config,
    )
    from executorch.exir.passes.constant_prop_pass import constant_prop_pass
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    free = {"input_values": {0: torch.export.Dim("batch", min=1)}}
    traced = torch.export.export(Logits(student).eval(), (windows[:1].repeat(2, 1, 1),), dynamic_shapes=free)
    settings = get_symmetric_quantization_config(is_per_channel=True)
    quantiser = XNNPACKQuantizer().set_filter_function(_is_behind_filter_bank)
    for operator in (torch.ops.aten.linear.default, torch.ops.aten.conv1d.default, torch.ops.aten.conv2d.default):
        quantiser.set_operator_type(operator, settings)
    prepared = prepare_pt2e(constant_prop_pass(traced).module(), quantiser)
    for batch in windows.split(_BATCH):
        prepared(batch)
    return convert_pt2e(prepared)


def _is_behind_filter_bank(node: torch.fx.Node) -> bool:
    places = [str(path) for path, _ in (node.meta.get("nn_module_stack") or {}).values()]
    return bool(places) and not any("filter_bank" in path for path in places)


def _facts() -> dict[str, Any]:
    from importlib.metadata import version

    made_with = {"torch": torch.__version__, **{name: version(name) for name in ("executorch", "torchao")}}
    return {"delegate": "XNNPACK", "made_with": made_with}


EXECUTORCH = ExportFormat(ExecutorchStudent, ("float32", "int8"), 1, check_installed, _program, _facts)


__all__ = ["EXECUTORCH", "export_executorch"]
