# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""A model as something to call: in PyTorch, folded, compiled, by ONNX Runtime in 32 and 8 bits, by ExecuTorch."""

from __future__ import annotations

import logging
import math
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from ..export.graph import Logits, check_installed, quantise, trace_logits
from ..export.onnx_student import make_session
from .models import ProfiledModel


if TYPE_CHECKING:
    import onnx


BACKENDS = ("eager", "folded", "compiled", "onnx", "int8", "executorch")
# those that PyTorch runs, with the weights as they are saved
TORCH_BACKENDS = ("eager", "folded", "compiled")
# whose sessions a process runs that has neither torch nor this package
ONNX_BACKENDS = ("onnx", "int8")
NOISE_UV = 20.0
N_CALIBRATION = 32
_WITH_WEIGHTS = ("MatMul", "Gemm", "Conv")
# random weights on noise would be refused by the tolerances of an export
ANY_DIFFERENCE = 1e12


@dataclass
class Runner:
    """A model on a backend.

    Args:
        call: takes `input_values` (B, C, T) as `prepare` gives them, returns logits.
        prepare: from a tensor (B, C, T) float32 to what `call` takes.
        path: file of the weights, or exported.
        notes: what a reader of its figures must know.
    """

    call: Callable[..., Any]
    prepare: Callable[[torch.Tensor], Any]
    path: Path
    notes: tuple[str, ...] = ()


def default_backends() -> list[str]:
    """PyTorch as it is, and ONNX Runtime where it is installed."""
    return ["eager"] + ["onnx"] * all(map(find_spec, ("onnx", "onnxscript", "onnxruntime")))


def noise(n_windows: int, n_chans: int, n_times: int) -> torch.Tensor:
    """Return the windows (n_windows, C, T) float32 of white noise, 20 uV; the same every time."""
    return torch.randn(n_windows, n_chans, n_times, generator=torch.Generator().manual_seed(0)) * NOISE_UV


def prepare_backend(model: ProfiledModel, backend: str, folder: Path, n_threads: int = 1) -> Runner:
    """Bring a model to a backend.

    Args:
        model: what to bring there.
        backend: one of `BACKENDS`.
        folder: for the files, of this model only; those of another backend in it are used again.
        n_threads: of ONNX Runtime; torch's are set where it is run.

    Raises:
        ImportError: a package is missing.
        Exception: whatever an exporter, compiler or runtime raises on a model that it can't take.
    """
    if backend in TORCH_BACKENDS:
        return Runner(make_runner(model, backend), lambda windows: windows, _save_weights(model, folder))
    if backend == "executorch":
        return _executorch(model, folder, n_threads)
    check_installed()
    with _quiet():
        paths, notes = _onnx_files(model, folder) if backend == "onnx" else _int8_files(model, folder)
        sessions = [make_session(path.read_bytes(), n_threads) for path in paths]
    window = noise(1, model.n_chans, model.n_times).numpy()
    fastest = min(range(len(paths)), key=lambda index: _median_seconds(sessions[index], window))
    any_batch = next((session for session in sessions if session.get_inputs()[0].shape[0] != 1), None)
    return Runner(_caller(sessions[fastest], any_batch), lambda windows: windows.numpy(), paths[fastest], notes)


def make_runner(model: ProfiledModel, backend: str) -> nn.Module:
    """Return a model in PyTorch: as it is (`"eager"`), a student folded (`"folded"`), or compiled (`"compiled"`)."""
    if backend == "folded":
        if model.kind != "student":
            raise ValueError("only students are folded for inference")
        return Logits(model.source.for_inference(n_times=model.n_times)).eval()
    return model.module if backend == "eager" else torch.compile(model.module)


def _save_weights(model: ProfiledModel, folder: Path) -> Path:
    from safetensors.torch import save_model

    path = folder / "model.safetensors"
    if not path.exists():
        save_model(model.source, str(path))
    return path


def _caller(single: Any, any_batch: Any | None) -> Callable[..., np.ndarray]:
    """One window goes to `single`, more of them to `any_batch`."""

    def call(input_values: np.ndarray) -> np.ndarray:
        session = single if len(input_values) == 1 else any_batch
        if session is None:
            raise ValueError("its ONNX graph could be made for one window at a time only")
        return session.run(None, {"input_values": input_values})[0]

    return call


def _median_seconds(session: Any, window: np.ndarray, n_runs: int = 15) -> float:
    seconds = []
    for _ in range(n_runs):
        start = time.perf_counter()
        session.run(None, {"input_values": window})
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[3:])


def _onnx_files(model: ProfiledModel, folder: Path) -> tuple[list[Path], tuple[str, ...]]:
    """Graphs in float32: a student's as `dlink export` writes it; of others one for a single window and one for any
    number, where they can be made, as either may be the faster one."""
    if model.kind == "student":
        from ..export.onnx import export_onnx

        path = folder / "float32" / "model.onnx"
        if not path.exists():
            windows = noise(2, model.n_chans, model.n_times).numpy()
            export_onnx(model.source, path.parent, windows=windows, tolerance=ANY_DIFFERENCE, progress=False)
        return [path], ()
    paths = [folder / "one.onnx", folder / "any.onnx"]
    if not any(path.exists() for path in paths):
        errors: list[Exception] = []
        for path, n_windows in zip(paths, (1, 2), strict=True):
            try:
                content = export_module(model.module, noise(n_windows, model.n_chans, model.n_times))
                if n_windows > 1 and _is_for_some(content):
                    # traced for these two, whatever was asked for
                    continue
                path.write_bytes(content)
            except Exception as error:  # the exporter's errors have no common base class but this one
                errors.append(error)
        if errors and not any(path.exists() for path in paths):
            raise errors[0]
    return [path for path in paths if path.exists()], ()


def _is_for_some(content: bytes) -> bool:
    """Whether a graph takes only one number of windows."""
    import onnx

    return onnx.load_from_string(content).graph.input[0].type.tensor_type.shape.dim[0].HasField("dim_value")


def export_module(module: nn.Module, windows: torch.Tensor) -> bytes:
    """Return a network as ONNX, to be timed: Fourier transforms of real signals become products with constants.

    ONNX Runtime's own transform costs a foundation model a tenth of its time; as a product it is exact to rounding.

    Args:
        module: (B, C, T) as `input_values` -> logits.
        windows: (1, C, T) for a graph of one window, or more of them for a graph of any number.

    Returns:
        the file.
    """
    shapes = None if len(windows) == 1 else {"input_values": {0: torch.export.Dim("batch", min=1)}}
    graph = trace_logits(module, {"input_values": windows}, shapes)
    _without_transforms(graph)
    return graph.SerializeToString(deterministic=True)


def _without_transforms(model: onnx.ModelProto) -> None:
    """Replace every DFT of a real signal (..., N, 1), one-sided over N, by a product with cosines and sines."""
    from onnx import helper, numpy_helper

    graph = model.graph
    shapes = {
        item.name: [dim.dim_value for dim in item.type.tensor_type.shape.dim]
        for item in (*graph.value_info, *graph.input)
    }
    values = {item.name: numpy_helper.to_array(item) for item in graph.initializer}
    nodes = list(graph.node)
    for node in list(nodes):
        attributes = {item.name: item.i for item in node.attribute}
        shape = shapes.get(node.input[0]) if node.op_type == "DFT" else None
        axis = values.get(node.input[2]) if shape and len(node.input) > 2 else None
        if axis is None or not attributes.get("onesided") or attributes.get("inverse"):
            continue
        size, rank, length = shape[-2], len(shape), values.get(node.input[1])
        real_and_last = shape[-1] == 1 and int(axis) in (rank - 2, -2) and size > 0
        if not real_and_last or (length is not None and int(length) != size):
            continue
        n_freqs = size // 2 + 1
        angles = 2 * math.pi * np.outer(np.arange(size), np.arange(n_freqs)) / size
        # real and imaginary parts side by side
        table = np.stack([np.cos(angles), -np.sin(angles)], -1).reshape(size, -1).astype(np.float32)
        name, output = node.output[0], node.output[0]
        keep = [0] * (rank - 2)
        constants = {
            f"{name}_table": table,
            f"{name}_flat": np.array([*keep, size], dtype=np.int64),
            f"{name}_pairs": np.array([*keep, n_freqs, 2], dtype=np.int64),
        }
        graph.initializer.extend(numpy_helper.from_array(value, key) for key, value in constants.items())
        position = nodes.index(node)
        nodes[position : position + 1] = [
            helper.make_node("Reshape", [node.input[0], f"{name}_flat"], [f"{name}_signal"], f"{name}_reshape"),
            helper.make_node("MatMul", [f"{name}_signal", f"{name}_table"], [f"{name}_parts"], f"{name}_product"),
            helper.make_node("Reshape", [f"{name}_parts", f"{name}_pairs"], [output], f"{name}_spectrum"),
        ]
    del graph.node[:]
    graph.node.extend(nodes)


def _int8_files(model: ProfiledModel, folder: Path) -> tuple[list[Path], tuple[str, ...]]:
    """Graphs in 8 bits, calibrated on noise: fit to be timed, not to be believed."""
    note = "calibrated on noise: its time holds, its answers mean nothing"
    windows = noise(N_CALIBRATION, model.n_chans, model.n_times).numpy()
    if model.kind == "student":
        from ..export.onnx import export_onnx

        path = export_onnx(
            model.source,
            folder / "int8",
            precision="int8",
            calibration=windows,
            tolerance=ANY_DIFFERENCE,
            progress=False,
        )
        return [Path(path)], (note,)
    paths = []
    for source in _onnx_files(model, folder)[0]:
        paths.append(folder / f"int8-{source.name}")
        _quantise(source, paths[-1], windows, batch_size=1 if source.name == "one.onnx" else 16)
    return paths, (note,)


def _quantise(source: Path, target: Path, windows: np.ndarray, batch_size: int) -> None:
    """All products with weights in 8 bits, a scale for each output channel; ranges from windows (N, C, T)."""
    import onnx

    graph = onnx.load(source).graph
    weights = {item.name for item in graph.initializer}
    products = [node for node in graph.node if node.op_type in _WITH_WEIGHTS]
    others = [node.name for node in products if not weights.intersection(node.input)]
    if len(others) == len(products):
        raise ValueError("it has no layer that is quantised: matrix products and convolutions with weights")
    quantise(source, target, windows, _WITH_WEIGHTS, others, batch_size)


def _executorch(model: ProfiledModel, folder: Path, n_threads: int) -> Runner:
    if model.kind != "student":
        raise ValueError("only students are exported to ExecuTorch")
    from ..export.executorch import export_executorch
    from ..export.executorch_student import set_threads

    # before the export, which runs it: the process has one pool
    set_threads(n_threads)
    windows = noise(2, model.n_chans, model.n_times).numpy()
    path = export_executorch(
        model.source, folder / "executorch", windows=windows, tolerance=ANY_DIFFERENCE, progress=False
    )
    note = "its program takes windows one by one, and Python's runtime brings torch with it, which a device's does not"
    return Runner(load_executorch(path, n_threads), lambda windows: windows.numpy(), Path(path), (note,))


def load_executorch(path: str | Path, n_threads: int) -> Callable[..., Any]:
    """What runs an exported student (model.pte in its folder): takes `input_values` (B, C, T), returns logits."""
    from ..export.executorch_student import ExecutorchStudent

    student = ExecutorchStudent.from_pretrained(Path(path).parent, n_threads)
    return lambda input_values: student(input_values).logits


@contextmanager
def _quiet() -> Iterator[None]:
    """Leave out what exporters and quantisers say of their own work."""
    import onnxruntime

    loggers = [logging.getLogger(name) for name in ("torch.onnx", "root", "dlink_hf")]
    levels = [logger.level for logger in loggers]
    # its own warnings go past Python's log; 2 is its default
    onnxruntime.set_default_logger_severity(3)
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        onnxruntime.set_default_logger_severity(2)
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


__all__ = [
    "BACKENDS",
    "ONNX_BACKENDS",
    "TORCH_BACKENDS",
    "Runner",
    "default_backends",
    "export_module",
    "load_executorch",
    "make_runner",
    "noise",
    "prepare_backend",
]
