# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""What each model of the grid costs for one window: parameters, FLOP, milliseconds, memory."""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

from grid_cells import HERE, NETWORKS, STUDENTS, settings_of
from grid_models import make_student, make_teacher


COSTS = HERE / "results" / "costs.json"
# the fine-tuned teacher of the grid, one as deep as the published checkpoints, students and networks
TEACHERS = {"pretrained": 4, "CBraMod, 12 layers": 12}
MODELS = (*TEACHERS, *STUDENTS, *NETWORKS)
N_CHANS, N_TIMES = 19, 1000


def build(name: str) -> Any:
    """A model with random weights for windows of 19 channels and 5 s at 200 Hz, and two classes."""
    from dlink_hf import DLinkTeacherConfig, DLinkTeacherForEEGClassification, MiCConfig

    signal = {"ch_names": MiCConfig().ch_names, "sfreq": 200.0, "n_times": 1000, "id2label": {0: "a", 1: "b"}}
    if name in TEACHERS:
        layers = {"n_layer": TEACHERS[name]}
        config = DLinkTeacherConfig(backbone="CBraMod", backbone_kwargs=layers, head_size=None, **signal)
        return DLinkTeacherForEEGClassification(config)
    settings = settings_of("eegmat", name, "euclidean_monge")
    return make_student(signal, settings) if name in STUDENTS else make_teacher(name, signal, settings)


def memory_of(name: str) -> int:
    """Bytes by which a fresh process grows at its most, while it makes the model and classifies ten windows."""
    words = [sys.executable, __file__, "--memory_of", name]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    return int(done.stdout.splitlines()[-1])


def _print_memory(name: str) -> None:
    import torch

    from dlink_hf import peak_memory

    torch.set_num_threads(1)
    windows = torch.randn(1, N_CHANS, N_TIMES)
    # what is imported on the way belongs to every model: bring it in before
    build("dlink_tiny")
    build("EEGNet")

    def classify() -> None:
        model = build(name).eval()
        with torch.inference_mode():
            for _ in range(10):
                model(input_values=windows)

    print(peak_memory(classify)["increase"])


def measure(n_runs: int) -> dict[str, Any]:
    """Costs of every model, the times in one run with turns, one thread, batch 1."""
    import torch

    from dlink_hf import count_flops, count_parameters, measure_latency

    windows = torch.randn(1, N_CHANS, N_TIMES)
    models = {name: build(name).eval() for name in MODELS}
    latency = measure_latency(models, {"input_values": windows}, n_threads=1, n_runs=n_runs)
    rows = {
        name: {
            "parameters": count_parameters(model),
            "mflop": round(count_flops(model, input_values=windows) / 1e6, 3),
            "p50_ms": round(latency[name]["p50_ms"], 3),
            "p95_ms": round(latency[name]["p95_ms"], 3),
            "peak_mib": round(memory_of(name) / 2**20, 1),
        }
        for name, model in models.items()
    }
    machine = {"python": platform.python_version(), "torch": torch.__version__, "machine": platform.machine()}
    return {
        "window": {"n_chans": N_CHANS, "n_times": N_TIMES, "sfreq": 200.0},
        "n_runs": n_runs,
        "threads": 1,
        "batch": 1,
        "machine": machine,
        "models": rows,
    }


def main(argv: list[str] | None = None) -> None:
    """Entry of the script."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n_runs", type=int, default=100, help="timed runs of each model")
    parser.add_argument("--output", type=Path, default=COSTS)
    parser.add_argument("--memory_of", choices=MODELS, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.memory_of is not None:
        _print_memory(options.memory_of)
        return
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(measure(options.n_runs), indent=2) + "\n", encoding="utf-8")
    print(options.output.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
