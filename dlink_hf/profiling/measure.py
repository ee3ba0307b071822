# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""What a model costs: parameters, floating-point operations, latency, memory, energy; and what its machine can do."""

from __future__ import annotations

import contextlib
import math
import os
import platform
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from tqdm.auto import tqdm

from ..core.checks import int_at_least
from ..core.requires import require
from .kernel_memory import kernel_memory, reset_kernel_peak


def count_parameters(model: nn.Module, trainable_only: bool = False) -> int:
    """Return the number of parameters; a tensor that two modules share counts once, buffers do not count.

    Args:
        model: the model.
        trainable_only: leave out those with `requires_grad=False`.

    Returns:
        number of values.
    """
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad or not trainable_only)


def _mv_flop(matrix: tuple[int, ...], vector: tuple[int, ...], *args: Any, **kwargs: Any) -> int:
    return 2 * math.prod(matrix)


def _addmv_flop(bias: tuple[int, ...], matrix: tuple[int, ...], *args: Any, **kwargs: Any) -> int:
    return 2 * math.prod(matrix)


def _rnn_flop(
    values: tuple[int, ...], input_weight: tuple[int, ...], hidden_weight: tuple[int, ...], *args: Any, **kwargs: Any
) -> int:
    steps_and_rows = values[0] * values[1]
    return 2 * steps_and_rows * (math.prod(input_weight) + math.prod(hidden_weight))


# products that torch's counter does not know
_MORE_FLOPS = {
    torch.ops.aten.mv: _mv_flop,
    torch.ops.aten.dot: _mv_flop,
    torch.ops.aten.addmv: _addmv_flop,
    torch.ops.aten.mkldnn_rnn_layer: _rnn_flop,
}


@contextlib.contextmanager
def _evaluating(*models: Any, no_gradients: Callable[[], Any] = torch.inference_mode) -> Iterator[None]:
    """Evaluation mode without gradients; every module's own mode is put back."""
    modules = [module for model in models if isinstance(model, nn.Module) for module in model.modules()]
    modes = [module.training for module in modules]
    try:
        for model in models:
            if isinstance(model, nn.Module):
                model.eval()
        with no_gradients():
            yield
    finally:
        for module, mode in zip(modules, modes, strict=True):
            module.training = mode


def count_flops(model: nn.Module, **inputs: Any) -> int:
    """Floating-point operations of one forward pass, counted as 2 x multiply-accumulate (MAC).

    Counted by torch's `FlopCounterMode` while the model runs: matrix products, convolutions, attention, LSTMs. Fused
    attention is invisible to that counter on CPU, so it runs unfused here, and `nn.TransformerEncoder`'s fast path is
    off. Element-wise work (activations, norms, softmax) and Fourier transforms do not count, as is usual.

    Args:
        model: the model; it runs in evaluation mode, without gradients.
        inputs: its keyword arguments, e.g. `input_values` (B, C, T). The count is for the whole batch: give one
            window for the cost of a window.

    Returns:
        number of operations. Divide by 1e6 for MFLOP.
    """
    fast_path = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        counter = FlopCounterMode(display=False, custom_mapping=_MORE_FLOPS)
        # under the counter, inference mode takes the weights of parametrized modules away
        with _evaluating(model, no_gradients=torch.no_grad), sdpa_kernel(SDPBackend.MATH), counter:
            model(**inputs)
    finally:
        torch.backends.mha.set_fastpath_enabled(fast_path)
    return counter.get_total_flops()


def _percentile(sorted_values: list[float], percent: float) -> float:
    """Percentile by linear interpolation, as NumPy's default."""
    position = (len(sorted_values) - 1) * percent / 100
    low, high = math.floor(position), math.ceil(position)
    return sorted_values[low] + (sorted_values[high] - sorted_values[low]) * (position - low)


def measure_latency(
    models: Mapping[str, Callable[..., Any]],
    inputs: Mapping[str, Any],
    n_threads: int = 1,
    n_runs: int = 100,
    n_warmup: int = 10,
) -> dict[str, dict[str, float]]:
    """Time the forward pass of several models on the same machine, in the same minutes.

    Models take turns, and the order turns too from one round to the next: what slows the machine down for a while
    slows all of them alike, and none always runs behind the one that empties the cache.

    Args:
        models: name -> model (or any callable, e.g. an exported one).
        inputs: keyword arguments for all of them, e.g. `input_values` (B, C, T); or, for models that take different
            ones, name of the model -> keyword arguments.
        n_threads: torch's threads while measuring; the number before is put back.
        n_runs: timed runs of each model.
        n_warmup: runs of each model before.

    Returns:
        name -> `p50_ms`, `p95_ms`, `p99_ms`, `mean_ms`, `min_ms`: milliseconds a call, for the whole batch.

    Raises:
        ValueError: there are no models, or no runs.
    """
    if not models:
        raise ValueError("`models` is empty: give at least one, as name -> model.")
    int_at_least("`n_runs`", n_runs)
    int_at_least("`n_threads`", n_threads)
    int_at_least("`n_warmup`", n_warmup, 0)
    own = set(inputs) == set(models) and all(isinstance(value, Mapping) for value in inputs.values())
    arguments = {name: inputs[name] if own else inputs for name in models}
    names = list(models)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    synchronise = torch.cuda.synchronize if torch.cuda.is_available() else (lambda: None)
    threads = torch.get_num_threads()
    torch.set_num_threads(n_threads)
    try:
        with _evaluating(*models.values()):
            # `delay`: the bar shows only where this takes a while
            for run in tqdm(range(-n_warmup, n_runs), desc="latency", unit="round", delay=2, leave=False):
                turn = run % len(names)
                for name in names[turn:] + names[:turn]:
                    synchronise()
                    start = time.perf_counter()
                    models[name](**arguments[name])
                    synchronise()
                    if run >= 0:
                        seconds[name].append(time.perf_counter() - start)
    finally:
        torch.set_num_threads(threads)
    result = {}
    for name, values in seconds.items():
        milliseconds = sorted(1e3 * value for value in values)
        result[name] = {
            "p50_ms": _percentile(milliseconds, 50),
            "p95_ms": _percentile(milliseconds, 95),
            "p99_ms": _percentile(milliseconds, 99),
            "mean_ms": statistics.fmean(milliseconds),
            "min_ms": milliseconds[0],
        }
    return result


def cost_of(models: Mapping[str, nn.Module], n_chans: int, n_times: int) -> dict[str, dict[str, float]]:
    """Return the size and cost of one window, every model timed in the same run on one thread.

    Args:
        models: name -> model; they are moved to the CPU, in single precision.
        n_chans, n_times: of the window.

    Returns:
        name -> `parameters`, `mflop` (2 x MAC), `ms` (median) and `p95_ms` on one CPU thread.
    """
    window = torch.randn(1, n_chans, n_times, generator=torch.Generator().manual_seed(0)) * 20
    inputs = {"input_values": window}
    moved = {name: model.float().to("cpu") for name, model in models.items()}
    latency = measure_latency(moved, inputs, n_threads=1, n_runs=60)
    return {
        name: {
            "parameters": count_parameters(model),
            "mflop": count_flops(model, **inputs) / 1e6,
            "ms": latency[name]["p50_ms"],
            "p95_ms": latency[name]["p95_ms"],
        }
        for name, model in moved.items()
    }


def processor_name() -> str:
    """What the processor of this machine calls itself."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def peak_memory(function: Callable[..., Any], *args: Any, **kwargs: Any) -> dict[str, int]:
    """Memory that a call needs at its most.

    What is measured is the resident set of this process: all its memory in RAM, Python, libraries and tensors alike,
    and what other threads do meanwhile. On Linux the kernel's own high-water mark is reset before the call and read
    after it, so no short peak is missed; elsewhere the resident set is sampled every millisecond. Memory that torch
    or the allocator kept from an earlier call is used again without growing: to compare two calls, run each in a fresh
    process. On a CUDA device the peak of torch's allocator is given too.

    Args:
        function: what to call.
        args, kwargs: its arguments.

    Returns:
        `dict` of bytes: `start` (resident before), `peak` (most resident during the call), `increase` (peak - start),
        and `cuda_peak` where CUDA is in use.
    """
    process = require("psutil", "Measuring memory").Process()
    cuda = torch.cuda.is_available() and torch.cuda.is_initialized()
    if cuda:
        torch.cuda.reset_peak_memory_stats()
    kernel = reset_kernel_peak()
    start = process.memory_info().rss
    samples = [start]
    done = threading.Event()

    def sample() -> None:
        while not done.wait(1e-3):
            samples.append(process.memory_info().rss)

    sampler = threading.Thread(target=sample, daemon=True)
    if not kernel:
        sampler.start()
    try:
        function(*args, **kwargs)
        samples.append(process.memory_info().rss)
    finally:
        done.set()
        if not kernel:
            sampler.join()
    peak = max(samples)
    if kernel:
        peak = max(peak, kernel_memory("VmHWM") or 0)
    result = {"start": start, "peak": peak, "increase": peak - start}
    if cuda:
        result["cuda_peak"] = torch.cuda.max_memory_allocated()
    return result


def measure_machine(n_threads: int = 1) -> dict[str, float]:
    """Return what this machine does at its best: the floor under every latency.

    Args:
        n_threads: torch's threads while measuring; the number before is put back.

    Returns:
        `matrix_gflops`: 1e9 operations (2 x MAC) a second in a product of square float32 matrices (512 or 1024 rows,
        whichever is faster); `memory_gbs`: 1e9 bytes a second at which a sum reads 256 MB that no cache holds.

    Raises:
        ValueError: `n_threads` is below 1.
    """
    int_at_least("`n_threads`", n_threads)
    threads = torch.get_num_threads()
    torch.set_num_threads(n_threads)
    try:
        with torch.inference_mode():
            rates = []
            for size in (512, 1024):
                matrix = torch.ones(size, size)
                rates.append(2 * size**3 / _shortest(lambda matrix=matrix: matrix @ matrix, 10))
            block = torch.ones(64 * 10**6)
            return {
                "matrix_gflops": max(rates) / 1e9,
                "memory_gbs": block.numel() * block.element_size() / _shortest(block.sum, 8) / 1e9,
            }
    finally:
        torch.set_num_threads(threads)


def _shortest(function: Callable[[], Any], n_runs: int) -> float:
    """Seconds of the shortest of some calls: other programs only ever make one longer."""
    seconds = []
    for _ in range(n_runs + 2):
        start = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - start)
    return min(seconds[2:])


def energy_counters(root: str | os.PathLike = "/sys/class/powercap") -> list[Path]:
    """Return the counters of the energy that the processors' packages have taken (RAPL, Linux on Intel and AMD).

    Args:
        root: where the kernel shows them.

    Returns:
        their folders, one a package, each with a readable `energy_uj`.

    Raises:
        OSError: there are none, or they can't be read; the message says what can be done.
    """
    root = Path(root)
    found = [
        path
        for path in sorted(root.glob("*"))
        if (path / "name").is_file() and (path / "name").read_text().startswith("package")
    ]
    if not found:
        raise OSError(
            f"no energy counter of a processor in {root}: RAPL is there on Linux on real Intel and AMD hardware, "
            "seldom in a virtual machine or a container"
        )
    for path in found:
        try:
            int((path / "energy_uj").read_text())
        except PermissionError as error:
            raise OSError(f"{path / 'energy_uj'} is for root only: sudo chmod a+r {path}/energy_uj") from error
        except ValueError as error:
            raise OSError(f"{path / 'energy_uj'} holds no number of microjoules") from error
    return found


def measure_energy(
    functions: Mapping[str, Callable[[], Any]],
    counters: Sequence[Path],
    seconds: float = 0.5,
    n_rounds: int = 3,
) -> dict[str, float]:
    """Energy of a call: what the packages took while it ran again and again, over the number of calls.

    All that the machine does meanwhile counts, and what it takes at rest: an upper bound, on an idle machine a close
    one.

    Args:
        functions: name -> what to call; they take turns, as in `measure_latency`.
        counters: of [`energy_counters`].
        seconds: how long one of them runs in its turn.
        n_rounds: turns.

    Returns:
        name -> millijoules a call.

    Raises:
        OSError: a counter can't be read.
    """
    names = list(functions)
    taken, calls = dict.fromkeys(names, 0.0), dict.fromkeys(names, 0)
    for turn in tqdm(range(n_rounds), desc="energy", unit="round", delay=2, leave=False):
        first = turn % max(len(names), 1)
        for name in names[first:] + names[:first]:
            before, end = [_microjoules(path) for path in counters], time.perf_counter() + seconds
            while True:
                functions[name]()
                calls[name] += 1
                if time.perf_counter() >= end:
                    break
            for path, start in zip(counters, before, strict=True):
                difference = _microjoules(path) - start
                # the counter begins again at zero
                taken[name] += (
                    difference if difference >= 0 else difference + _microjoules(path, "max_energy_range_uj")
                )
    return {name: taken[name] / calls[name] / 1e3 for name in names}


def _microjoules(folder: Path, name: str = "energy_uj") -> int:
    return int((folder / name).read_text())
