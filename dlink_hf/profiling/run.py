# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Several models on several backends, measured in one run: models and backends take turns."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm.auto import tqdm

from .measure import (
    count_flops,
    count_parameters,
    energy_counters,
    measure_energy,
    measure_latency,
    measure_machine,
    processor_name,
)
from .models import ProfiledModel, Window, build_model, default_window
from .runtimes import (
    BACKENDS,
    ONNX_BACKENDS,
    TORCH_BACKENDS,
    Runner,
    default_backends,
    noise,
    prepare_backend,
)


N_CHILD_RUNS = 10
CHILD_SECONDS = 900


@dataclass
class _Entry:
    """A model on a backend that runs."""

    model: ProfiledModel
    runner: Runner
    row: dict[str, Any]

    @property
    def key(self) -> str:
        return f"{self.row['model']} ({self.row['backend']})"


def profile_models(
    names: Sequence[str],
    backends: Sequence[str] | None = None,
    *,
    n_chans: int | None = None,
    seconds: float | None = None,
    sfreq: float | None = None,
    n_threads: int = 1,
    n_runs: int = 100,
    batch_sizes: Sequence[int] = (1, 8, 64),
    reference: str | None = None,
    memory: bool = True,
    progress: bool = True,
) -> dict[str, Any]:
    """Return what models cost on this machine, for one window, on each of some backends.

    All of them are timed in one run and take turns, in an order that turns too, so that their ratios hold also where
    the machine has other work. Memory is measured in a fresh process for each.

    Args:
        names: checkpoints (folder, Hub id, short name), sizes of students (`"tiny"`), foundation models
            (`"CBraMod"`), networks of braindecode (`"EEGNet"`); the last three with random weights.
        backends: some of `"eager"`, `"folded"` (students, `for_inference`), `"compiled"`, `"onnx"`, `"int8"`,
            `"executorch"`; PyTorch as it is, and ONNX Runtime where it is installed, if left out.
        n_chans, seconds, sfreq: the window: channels, length, rate in Hz; those of the first checkpoint where left
            out, or else 20 channels x 5 s x 200 Hz. A model that is bound to a rate of its own reads the same seconds
            at that rate.
        n_threads: of each backend.
        n_runs: timed runs of each model on each backend, one window at a time; with larger batches as many fewer.
        batch_sizes: windows at a time, for the throughput.
        reference: the model that the others are compared with, on the same backend (folded students
            with its eager form); the first one by default.
        memory: also measure memory.
        progress: show bars of what takes longer than two seconds.

    Returns:
        `window`, `machine`, `settings`, `reference`; `rows`, one a model and backend: `parameters`, `mflop`,
        `file_mb`, `p50_ms`, `p95_ms`, `p99_ms`, `min_ms`, `windows_per_s` (by batch size), `memory` (bytes),
        `energy_mj`, `floor_ms`, `times_floor`, `times_faster` (of the medians) and more; `not_measured`: model,
        backend and reason; `energy`: why energy was not measured, None where it was. What could not be measured is
        None.

    Raises:
        ValueError: an argument is out of range, or nothing at all could be measured; the reasons are in the message.
    """
    names, backends = list(dict.fromkeys(names)), list(dict.fromkeys(backends or default_backends()))
    batch_sizes = sorted(set(batch_sizes))
    _check(names, backends, n_threads, n_runs, batch_sizes)
    labels = short_names(names)
    reference = names[0] if reference is None else reference
    chosen = [name for name in names if reference in (name, labels[name])]
    if not chosen:
        raise ValueError(f"The reference {reference!r} is none of the models: {', '.join(names)}.")
    window = default_window(names, n_chans, seconds, sfreq)
    not_measured: list[dict[str, Any]] = []
    threads = torch.get_num_threads()
    torch.set_num_threads(n_threads)
    try:
        with tempfile.TemporaryDirectory(prefix="dlink-profile-") as folder:
            entries = _prepare(labels, backends, window, Path(folder), n_threads, not_measured, progress)
            if not entries:
                reasons = "; ".join(f"{one['model']} ({one['backend']}): {one['reason']}" for one in not_measured)
                raise ValueError(f"Nothing could be measured. {reasons}")
            machine = {**_machine(), **measure_machine(n_threads)}
            _time(entries, n_threads, n_runs, batch_sizes)
            energy_note = _measure_energy(entries)
            if memory:
                _measure_memory(entries, window, n_threads, progress)
    finally:
        torch.set_num_threads(threads)
    # what the machine did at its best, before or after
    machine.update({key: max(machine[key], value) for key, value in measure_machine(n_threads).items()})
    machine["load_after"] = _load()
    rows = [entry.row for entry in entries]
    _derive(rows, machine, labels[chosen[0]])
    return {
        "window": asdict(window),
        "machine": machine,
        "settings": {"n_threads": n_threads, "n_runs": n_runs, "batch_sizes": batch_sizes},
        "reference": labels[chosen[0]],
        "energy": energy_note,
        "rows": rows,
        "not_measured": not_measured,
    }


def _check(
    names: Sequence[str], backends: Sequence[str], n_threads: int, n_runs: int, batch_sizes: Sequence[int]
) -> None:
    if not names:
        raise ValueError("Name at least one model.")
    unknown = [name for name in backends if name not in BACKENDS]
    if unknown:
        raise ValueError(f"The backends are {', '.join(BACKENDS)}; there is no {', '.join(unknown)}.")
    if not batch_sizes:
        raise ValueError("batch_sizes must hold at least one number, such as 1.")
    for field, value in {"n_threads": n_threads, "n_runs": n_runs, "batch_sizes": min(batch_sizes)}.items():
        if value < 1:
            raise ValueError(f"{field} must be 1 or more, got {value}.")


def short_names(names: Sequence[str]) -> dict[str, str]:
    """Return the names of models as given -> as they are shown: of a folder its last part, unless two share that."""
    short = {name: Path(name).name if os.path.isdir(name) else name for name in names}
    values = list(short.values())
    return {name: one if one and values.count(one) == 1 else name for name, one in short.items()}


def _load() -> float | None:
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def _machine() -> dict[str, Any]:
    from importlib.metadata import PackageNotFoundError, version

    versions = {"python": platform.python_version()}
    for package in ("torch", "onnxruntime", "executorch", "braindecode"):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return {
        "processor": processor_name(),
        "cores": os.cpu_count(),
        "system": platform.system(),
        "versions": versions,
        "load_before": _load(),
    }


def _reason(error: BaseException) -> str:
    """What went wrong, in a line: some exporters write pages."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 400 else f"{text[:400]} ..."


def _prepare(
    labels: dict[str, str],
    backends: Sequence[str],
    window: Window,
    folder: Path,
    n_threads: int,
    not_measured: list[dict[str, Any]],
    progress: bool,
) -> list[_Entry]:
    """Build every model, bring it to every backend, and let it answer once."""
    entries = []
    bar = tqdm(
        total=len(labels) * len(backends), desc="build", unit="model", delay=2, leave=False, disable=not progress
    )
    with bar:
        for number, (name, label) in enumerate(labels.items()):
            bar.set_postfix_str(label)
            try:
                model = build_model(name, window)
                windows = noise(4, model.n_chans, model.n_times)
                with torch.inference_mode():
                    # one by one: some networks answer for one window at a time only
                    expected = np.stack([model.module(one[None]).numpy() for one in windows])
                base = _facts(model, label)
            except Exception as error:  # whatever is wrong with one model, the others are measured
                not_measured.append({"model": label, "backend": "all", "reason": _reason(error)})
                bar.update(len(backends))
                continue
            own = folder / str(number)
            own.mkdir()
            for backend in backends:
                bar.set_postfix_str(f"{label}, {backend}")
                try:
                    runner = prepare_backend(model, backend, own, n_threads)
                    row = {**base, "backend": backend, "notes": [*base["notes"], *runner.notes]}
                    row["file_mb"] = runner.path.stat().st_size / 1e6
                    row["file_bytes"] = runner.path.stat().st_size
                    with torch.inference_mode():
                        found = np.stack(
                            [np.asarray(runner.call(input_values=runner.prepare(one[None]))) for one in windows]
                        )
                    row["largest_difference"] = float(np.abs(found - expected).max())
                    row["logit_spread"] = float(np.ptp(expected))
                    entries.append(_Entry(model, runner, row))
                except Exception as error:  # the same
                    not_measured.append({"model": label, "backend": backend, "reason": _reason(error)})
                bar.update()
    return entries


def _facts(model: ProfiledModel, label: str) -> dict[str, Any]:
    window = noise(1, model.n_chans, model.n_times)
    notes = [] if model.trained else ["random weights"]
    tensors = {tensor.data_ptr(): tensor for tensor in (*model.source.parameters(), *model.source.buffers())}
    try:
        mflop = count_flops(model.module, input_values=window) / 1e6
    except Exception as error:  # operators that run on CPU but not under the counter
        mflop = None
        notes.append(f"its operations could not be counted: {_reason(error)}")
    return {
        "model": label,
        "name": model.name,
        "kind": model.kind,
        "n_chans": model.n_chans,
        "n_times": model.n_times,
        "sfreq": model.sfreq,
        "trained": model.trained,
        "parameters": count_parameters(model.source),
        "mflop": mflop,
        "weight_bytes": sum(tensor.numel() * tensor.element_size() for tensor in tensors.values()),
        "notes": notes,
    }


def _inputs(entry: _Entry, batch_size: int) -> Any:
    return entry.runner.prepare(noise(batch_size, entry.model.n_chans, entry.model.n_times))


def _time(entries: Sequence[_Entry], n_threads: int, n_runs: int, batch_sizes: Sequence[int]) -> None:
    """Latency of one window, and windows a second by batch size."""
    calls = {entry.key: entry.runner.call for entry in entries}
    inputs = {entry.key: {"input_values": _inputs(entry, 1)} for entry in entries}
    latency = measure_latency(calls, inputs, n_threads=n_threads, n_runs=n_runs)
    for entry in entries:
        entry.row.update(latency[entry.key])
        entry.row["windows_per_s"] = {}
    for batch_size in batch_sizes:
        able, inputs = [], {}
        for entry in entries:
            if batch_size > 1:
                try:
                    values = _inputs(entry, batch_size)
                    with torch.inference_mode():
                        # also what a compiler needs a first call for
                        entry.runner.call(input_values=values)
                except Exception as error:  # a network that reads one window at a time is not a reason to end here
                    entry.row["windows_per_s"][str(batch_size)] = None
                    entry.row["notes"].append(f"no batch of {batch_size}: {_reason(error)}")
                    continue
                inputs[entry.key] = {"input_values": values}
            able.append(entry)
        if batch_size > 1 and able:
            runs = max(5, n_runs // batch_size)
            calls = {entry.key: entry.runner.call for entry in able}
            latency = measure_latency(calls, inputs, n_threads=n_threads, n_runs=runs, n_warmup=0)
        for entry in able:
            entry.row["windows_per_s"][str(batch_size)] = 1e3 * batch_size / latency[entry.key]["p50_ms"]


def _measure_energy(entries: Sequence[_Entry]) -> str | None:
    """Energy of a window, where the machine tells it; or why not."""
    for entry in entries:
        entry.row["energy_mj"] = None
    try:
        counters = energy_counters()

        def caller(entry: _Entry) -> Callable[[], Any]:
            values = _inputs(entry, 1)
            return lambda: entry.runner.call(input_values=values)

        with torch.inference_mode():
            energy = measure_energy({entry.key: caller(entry) for entry in entries}, counters)
    except OSError as error:
        return _reason(error)
    for entry in entries:
        entry.row["energy_mj"] = energy[entry.key]
    return None


def _measure_memory(entries: Sequence[_Entry], window: Window, n_threads: int, progress: bool) -> None:
    """A fresh process for each model and backend; for ONNX Runtime one that imports only NumPy and onnxruntime."""
    for entry in tqdm(entries, desc="memory", unit="process", delay=2, leave=False, disable=not progress):
        backend = entry.row["backend"]
        task = {
            "backend": backend,
            "shape": [1, entry.model.n_chans, entry.model.n_times],
            "n_runs": N_CHILD_RUNS,
            "n_threads": n_threads,
            "path": str(entry.runner.path),
            "model": entry.model.name,
            "window": asdict(window),
        }
        if backend in ONNX_BACKENDS:
            del task["model"], task["window"]
        try:
            entry.row["memory"] = memory_of(task)
        except (OSError, ValueError) as error:
            entry.row["memory"] = None
            entry.row["notes"].append(f"memory not measured: {_reason(error)}")


def memory_of(task: dict[str, Any]) -> dict[str, int]:
    """Memory of a process that does one thing.

    Args:
        task: `backend`, `shape` (1, C, T), `n_runs`, `n_threads`; of ONNX Runtime `path`, of others `model` and
            `window` too.

    Returns:
        bytes: `interpreter` (Python only), `beyond_interpreter` (the most resident, less that), `beyond_imports`
        (the most resident, less what was after the imports).

    Raises:
        OSError: the process can't be started, or took too long.
        ValueError: it failed; the end of what it said is in the message.
    """
    # -P: what lies next to the script must not hide modules of the same name
    words = [sys.executable, "-P", "-W", "ignore", str(Path(__file__).with_name("memory_script.py")), json.dumps(task)]
    paths = [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in paths if path)}
    try:
        done = subprocess.run(words, capture_output=True, text=True, env=environment, timeout=CHILD_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise OSError(f"the process took longer than {CHILD_SECONDS} s") from error
    if done.returncode:
        raise ValueError(f"the process ended with {done.returncode}: {done.stderr.strip()[-300:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def _derive(rows: Sequence[dict[str, Any]], machine: dict[str, Any], reference: str) -> None:
    """What follows from the measurements: the floor under a latency, and ratios to the reference."""
    others = {row["backend"]: row for row in rows if row["model"] == reference}
    for row in rows:
        # an exported file is its weights and little more
        size = row["weight_bytes"] if row["backend"] in TORCH_BACKENDS else row["file_bytes"]
        row["memory_floor_ms"] = size / machine["memory_gbs"] / 1e6
        row["compute_floor_ms"] = None if row["mflop"] is None else row["mflop"] / machine["matrix_gflops"]
        row["floor_ms"] = max(row["memory_floor_ms"], row["compute_floor_ms"] or 0.0)
        row["times_floor"] = row["p50_ms"] / row["floor_ms"]
        # only students fold: what they are compared with runs as it is
        other = others.get(row["backend"]) or (others.get("eager") if row["backend"] == "folded" else None)
        row["times_faster"] = None if other is None else other["p50_ms"] / row["p50_ms"]
        row["times_faster_min"] = None if other is None else other["min_ms"] / row["min_ms"]


__all__ = ["memory_of", "profile_models", "short_names"]
