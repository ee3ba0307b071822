# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""The ONNX graph of a student: traced, narrowed to 16 bits, quantised to 8. onnx is imported where it is used."""

from __future__ import annotations

import logging
import math
import tempfile
import warnings
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from ..models.mic.modeling_mic import MiCForEEGClassification


if TYPE_CHECKING:
    import onnx


# the first that knows Gelu and LayerNormalization
OPSET = 20
_WITH_WEIGHTS = ("MatMul", "Gemm")
# of fewer weights or results, turning numbers into 8 bits takes longer than the product does
_MIN_WEIGHTS, _MIN_RESULTS = 1024, 16
_PREPARED = {"onnx.quant.pre_process": "onnxruntime.quant"}


class Logits(nn.Module):
    """Only the logits of a model whose output may be more; of a student also at positions that are given.

    Args:
        model: takes windows (B, C, T) first, and positions second where they are given.
    """

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, input_values: torch.Tensor, channel_positions: torch.Tensor | None = None) -> torch.Tensor:
        """Logits (B, num_labels) of windows (B, C, T) in microvolts at positions (B, C, 3) in metres, or None."""
        positions = () if channel_positions is None else (channel_positions,)
        output = self.model(input_values, *positions)
        return output if isinstance(output, torch.Tensor) else output.logits


def check_installed() -> None:
    """Refuse to begin an export that could not be finished.

    Raises:
        ImportError: a package of the extra `export` is not installed.
    """
    for name in ("onnx", "onnxscript", "onnxruntime"):
        try:
            import_module(name)
        except ImportError as error:
            raise ImportError(f"An export needs {name}, which is missing: pip install 'dlink-hf[export]'.") from error


def trace(model: MiCForEEGClassification) -> tuple[onnx.ModelProto, int]:
    """Return the graph of a student, for its own montage and length of window and any number of windows.

    Args:
        model: on the CPU, in float32 and evaluation mode.

    Returns:
        the graph, from `input_values` (batch, C, T) float32 in microvolts to `logits` (batch, num_labels) float32;
        and how many of its nodes, in their order, belong to the filter bank or come before it.

    Raises:
        ValueError: this torch does not say where the filter bank ends.
    """
    windows = torch.zeros(2, len(model.config.ch_names), model.config.n_times)
    shapes = {"input_values": {0: torch.export.Dim("batch", min=1)}}
    graph = trace_logits(Logits(model.for_inference()).eval(), {"input_values": windows}, shapes)
    inside = [i for i, node in enumerate(graph.graph.node) if _is_filter_bank(node)]
    if not inside:
        raise ValueError("The exporter of this torch does not say which nodes are the filter bank's: update torch.")
    _strip(graph)
    return graph, max(inside) + 1


def trace_any_montage(model: MiCForEEGClassification) -> onnx.ModelProto:
    """Return the graph of a student in which windows, channels and patches are free.

    Args:
        model: on the CPU, in float32 and evaluation mode.

    Returns:
        the graph, from `input_values` (batch, C, T) float32 in microvolts and `channel_positions` (batch, C, 3)
        float32 in metres to `logits` (batch, num_labels) float32.
    """
    # sizes unlike each other and unlike 1, so that none is taken for another
    batch, channels, patches = (torch.export.Dim(name, min=1) for name in ("batch", "channels", "patches"))
    size = model.config.patch_size
    shapes = {
        "input_values": {0: batch, 1: channels, 2: size * patches},
        "channel_positions": {0: batch, 1: channels},
    }
    inputs = {"input_values": torch.zeros(2, 5, 3 * size), "channel_positions": torch.zeros(2, 5, 3)}
    graph = trace_logits(Logits(model).eval(), inputs, shapes)
    _strip(graph)
    return graph


def trace_logits(
    module: nn.Module, inputs: dict[str, torch.Tensor], shapes: dict[str, Any] | None = None
) -> onnx.ModelProto:
    """Return the graph of a module that gives logits; what the exporter says of its own work is left out.

    Args:
        module: takes the inputs in their order.
        inputs: an example of each, by its name in the graph.
        shapes: which of their dimensions are free, as `torch.export` takes them; none by default.

    Returns:
        the graph, with all that the exporter notes in it.
    """
    exporter, level = logging.getLogger("torch.onnx"), logging.getLogger("torch.onnx").level
    exporter.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                module,
                tuple(inputs.values()),
                dynamo=True,
                verbose=False,
                input_names=list(inputs),
                output_names=["logits"],
                dynamic_shapes=shapes,
                opset_version=OPSET,
            )
    finally:
        exporter.setLevel(level)
    return program.model_proto


def _is_filter_bank(node: onnx.NodeProto) -> bool:
    return any(p.key.endswith("name_scopes") and ".filter_bank" in p.value for p in node.metadata_props)


def _strip(model: onnx.ModelProto) -> None:
    """Take out what the exporter notes of this machine: paths, stack traces, source code."""
    graph = model.graph
    graph.doc_string = ""
    del model.metadata_props[:], graph.metadata_props[:]
    for node in graph.node:
        node.doc_string = ""
    for item in (*graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        del item.metadata_props[:]


def to_float16(model: onnx.ModelProto, n_front: int) -> onnx.ModelProto:
    """Half precision after the filter bank; input and logits stay float32.

    The filter bank squares the signal: an artefact of a few millivolts would leave the range of 16 bits.

    Args:
        model: as [`trace`] gives it; changed in place.
        n_front: nodes that stay in float32.

    Returns:
        the graph.
    """
    from onnx import TensorProto, helper, numpy_helper

    graph = model.graph
    front, rest = list(graph.node[:n_front]), list(graph.node[n_front:])
    weights = {item.name: item for item in graph.initializer if item.data_type == TensorProto.FLOAT}
    from_front = {name for node in front for name in node.output}
    half: dict[str, str] = {}
    casts = []
    for node in rest:
        for name in node.input:
            if name in half or (name not in weights and name not in from_front):
                continue
            half[name] = f"{name}_float16"
            if name in weights:
                values = numpy_helper.to_array(weights[name]).astype(np.float16)
                graph.initializer.append(numpy_helper.from_array(values, half[name]))
            else:
                casts.append(helper.make_node("Cast", [name], [half[name]], half[name], to=TensorProto.FLOAT16))
        node.input[:] = [half.get(name, name) for name in node.input]
        node.output[:] = ["logits_float16" if name == "logits" else name for name in node.output]
    last = helper.make_node("Cast", ["logits_float16"], ["logits"], "logits_float32", to=TensorProto.FLOAT)
    used = {name for node in (*front, *rest) for name in node.input}
    kept = [item for item in graph.initializer if item.name in used]
    # the types that the exporter noted are those of float32
    del graph.node[:], graph.initializer[:], graph.value_info[:]
    graph.node.extend([*front, *casts, *rest, last])
    graph.initializer.extend(kept)
    return model


def to_int8(model: onnx.ModelProto, n_front: int, windows: np.ndarray, batch_size: int = 16) -> onnx.ModelProto:
    """Return the products with weights in 8 bits after the filter bank, calibrated on windows; the rest stays float32.

    Weights have a scale for each output channel, what they are multiplied with one for each tensor (QDQ:
    QuantizeLinear and DequantizeLinear before float32 operators); results stay in float32. The filter bank, whose
    powers span many orders of magnitude, products of activations with activations, and small ones stay as they are.

    Args:
        model: as [`trace`] gives it.
        n_front: nodes that are not quantised.
        windows: (N, C, T) float32, microvolts.
        batch_size: windows at a time.

    Returns:
        the quantised graph.
    """
    import onnx
    from onnx import helper

    matrices = {item.name: item.dims for item in model.graph.initializer if len(item.dims) == 2}
    large = {name for name, dims in matrices.items() if math.prod(dims) >= _MIN_WEIGHTS and dims[1] >= _MIN_RESULTS}
    excluded = [
        node.name
        for i, node in enumerate(model.graph.node)
        if i < n_front or node.op_type not in _WITH_WEIGHTS or node.input[1] not in large
    ]
    # the shapes that its preparation would find are noted already by the exporter
    helper.set_model_props(model, _PREPARED)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "int8.onnx")
        no_results = {"OpTypesToExcludeOutputQuantization": list(_WITH_WEIGHTS)}
        quantise(model, path, windows, _WITH_WEIGHTS, excluded, batch_size, no_results)
        quantised = onnx.load(path)
    _strip(quantised)
    return quantised


def quantise(
    model: onnx.ModelProto | Path,
    path: Path,
    windows: np.ndarray,
    operators: Sequence[str],
    excluded: Sequence[str],
    batch_size: int = 16,
    options: dict[str, Any] | None = None,
) -> None:
    """Write a graph in 8 bits (QDQ), static, calibrated on windows, with a scale for each output channel of a weight.

    Args:
        model: the graph, or its file; its input is `input_values`.
        path: where to.
        windows: (N, C, T) float32, microvolts.
        operators: types of those that are quantised.
        excluded: names of those of them that are not.
        batch_size: windows at a time.
        options: further ones of ONNX Runtime's quantiser.
    """
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Windows(CalibrationDataReader):
        def __init__(self) -> None:
            self.batches = iter(windows[first : first + batch_size] for first in range(0, len(windows), batch_size))

        def get_next(self) -> dict[str, Any] | None:
            batch = next(self.batches, None)
            return None if batch is None else {"input_values": batch}

    quantize_static(
        model,
        path,
        Windows(),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        op_types_to_quantize=list(operators),
        nodes_to_exclude=list(excluded),
        activation_type=QuantType.QInt8,
        weight_type=QuantType.QInt8,
        extra_options=options,
    )


__all__ = [
    "OPSET",
    "Logits",
    "check_installed",
    "quantise",
    "to_float16",
    "to_int8",
    "trace",
    "trace_any_montage",
    "trace_logits",
]
