# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""What each model of the grid costs for one window: parameters, FLOP, milliseconds, memory, size on disk.

python benchmarks/grid_costs.py
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from grid import CHECKPOINT
from grid_cells import HERE, NETWORKS, SETTINGS, STUDENTS, settings_of
from grid_models import make_student, make_teacher


COSTS = HERE / "results" / "costs.json"
# a fresh teacher as deep as the published checkpoints
REFERENCE = "CBraMod, 12 layers"
MODELS = ("pretrained", REFERENCE, *STUDENTS, *NETWORKS)
# channels and samples: of eegmat, ssvep_exo, eyes_gnb and eegmmidb
SHAPES = ((20, 1000), (8, 1000), (14, 1000), (64, 800))
SFREQ = 200.0


def build(name: str, n_chans: int, n_times: int) -> Any:
    """A model for windows of that shape at 200 Hz and two classes; all but the teacher have random weights."""
    from dlink_hf import DLinkTeacherConfig, DLinkTeacherForEEGClassification
    from dlink_hf.core.electrodes import ELECTRODE_POSITIONS
    from dlink_hf.models.mic.configuration_mic import DEFAULT_CH_NAMES

    # which electrodes they are costs nothing
    names = list(dict.fromkeys([*DEFAULT_CH_NAMES, *ELECTRODE_POSITIONS]))
    signal = {
        "ch_names": names[:n_chans],
        "sfreq": SFREQ,
        "n_times": n_times,
        "id2label": {0: "a", 1: "b"},
    }
    if name == REFERENCE:
        config = DLinkTeacherConfig(backbone="CBraMod", backbone_kwargs={"n_layer": 12}, head_size=None, **signal)
        return DLinkTeacherForEEGClassification(config)
    known = name in json.loads(SETTINGS.read_text(encoding="utf-8"))
    settings = settings_of("eegmat", name, "euclidean_monge") if known else {"input_scale": 0.1}
    if name in STUDENTS:
        return make_student(signal, settings)
    return make_teacher(name, signal, settings, str(CHECKPOINT))


def memory_of(name: str, n_chans: int, n_times: int) -> int:
    """Bytes by which a fresh process grows at its most, while it makes the model and classifies ten windows."""
    words = [sys.executable, "-W", "ignore", __file__, "--memory_of", name, str(n_chans), str(n_times)]
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"measuring the memory of {name} failed: {done.stderr.strip()[-2000:]}")
    return int(done.stdout.splitlines()[-1])


def _print_memory(name: str, n_chans: int, n_times: int) -> None:
    import torch

    from dlink_hf import peak_memory

    torch.set_num_threads(1)
    windows = torch.randn(1, n_chans, n_times)

    def classify(name: str) -> None:
        model = build(name, n_chans, n_times).eval()
        with torch.inference_mode():
            for _ in range(10):
                model(input_values=windows)

    # what is imported and set up on the way belongs to every model: bring it in before
    classify("dlink_tiny")
    classify("EEGNet")
    # and give back what the two took: memory that is used again would not count
    if sys.platform == "linux" and hasattr(ctypes.CDLL(None), "malloc_trim"):
        ctypes.CDLL(None).malloc_trim(0)
    print(peak_memory(classify, name)["increase"])


def time_models(models: Mapping[str, Any], windows: Any, n_runs: int) -> dict[str, dict[str, float]]:
    """Median, quartiles and 95th percentile of milliseconds a window: one thread, models in turns round by round.

    Args:
        models: name -> model.
        windows: (1, C, T).
        n_runs: rounds; each begins with another model.
    """
    from dlink_hf import measure_latency

    inputs, names = {"input_values": windows}, list(models)
    measure_latency(models, inputs, n_threads=1, n_runs=1, n_warmup=10)
    rounds = []
    for run in range(n_runs):
        turn = run % len(names)
        order = {name: models[name] for name in names[turn:] + names[:turn]}
        found = measure_latency(order, inputs, n_threads=1, n_runs=1, n_warmup=0)
        rounds.append([found[name]["p50_ms"] for name in names])
    values = np.percentile(rounds, (25, 50, 75, 95), axis=0).round(3)
    keys = ("p25_ms", "p50_ms", "p75_ms", "p95_ms")
    return {name: dict(zip(keys, values[:, i].tolist(), strict=True)) for i, name in enumerate(names)}


def measure_shape(
    n_chans: int, n_times: int, n_runs: int, n_memory: int, names: Sequence[str] = MODELS
) -> dict[str, Any]:
    """Costs of every model for windows of one shape; the memory is the median of `n_memory` fresh processes."""
    import torch
    from safetensors.torch import save

    from dlink_hf import count_flops, count_parameters

    windows = torch.randn(1, n_chans, n_times)
    models = {name: build(name, n_chans, n_times).eval() for name in names}
    times = time_models(models, windows, n_runs)
    rows = {}
    for name, model in models.items():
        memory = statistics.median(memory_of(name, n_chans, n_times) for _ in range(n_memory))
        rows[name] = {
            "parameters": count_parameters(model),
            "mflop": round(count_flops(model, input_values=windows) / 1e6, 3),
            **times[name],
            "peak_mib": round(memory / 2**20, 2),
            "disk_kb": round(len(save(model.state_dict())) / 1000, 1),
        }
    return {"n_chans": n_chans, "n_times": n_times, "sfreq": SFREQ, "models": rows}


def measure(n_runs: int, n_memory: int) -> dict[str, Any]:
    """Costs of all models for every shape of `SHAPES`, batch 1."""
    import torch

    machine = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "load_before": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
    }
    shapes = {f"{c}x{t}": measure_shape(c, t, n_runs, n_memory) for c, t in SHAPES}
    return {"n_runs": n_runs, "n_memory": n_memory, "threads": 1, "batch": 1, "machine": machine, "shapes": shapes}


def main(argv: list[str] | None = None) -> None:
    """Entry of the script."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n_runs", type=int, default=100, help="timed runs of each model")
    parser.add_argument("--n_memory", type=int, default=3, help="fresh processes in which the memory is measured")
    parser.add_argument("--output", type=Path, default=COSTS)
    parser.add_argument("--memory_of", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.memory_of is not None:
        name, n_chans, n_times = options.memory_of
        _print_memory(name, int(n_chans), int(n_times))
        return
    if options.n_runs < 1 or options.n_memory < 1:
        parser.error(f"--n_runs and --n_memory: must be 1 or more, got {options.n_runs} and {options.n_memory}")
    text = json.dumps(measure(options.n_runs, options.n_memory), indent=2) + "\n"
    options.output.parent.mkdir(parents=True, exist_ok=True)
    unfinished = options.output.with_name(options.output.name + ".tmp")
    unfinished.write_text(text, encoding="utf-8")
    unfinished.replace(options.output)
    print(text)


if __name__ == "__main__":
    main()
