# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""What a live teacher costs in training: speed and memory of a step with it, beside a step of the student alone.

    python benchmarks/training_step.py --output training_step.json

See benchmarks/README.md for what is measured and how.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import braindecode.models  # noqa: F401 (imported here, so that its own memory does not count as the teacher's)
import torch
from torch import nn
from tqdm.auto import tqdm

from dlink_hf import (
    DLinkStudioModel,
    DLinkTeacherConfig,
    DLinkTeacherForEEGClassification,
    MiCConfig,
    MiCForEEGClassification,
)
from dlink_hf.core.electrodes import ELECTRODE_POSITIONS
from dlink_hf.models.mic.configuration_mic import DEFAULT_CH_NAMES
from dlink_hf.profiling.measure import count_parameters, peak_memory, processor_name


ALONE, LIVE, TEACHER = "student alone", "student + live teacher", "the teacher's forward alone"
NUM_LABELS = 2
# the optimiser's state is made in the first step, so the second is the first whole one
MEMORY_STEPS = 3
# the 19 electrodes of the 10-20 system first, then others of the 10-05 system
ELECTRODES = list(dict.fromkeys([*DEFAULT_CH_NAMES, *ELECTRODE_POSITIONS]))
PATCH_SIZE = 200


def make_model(configuration: str, args: argparse.Namespace) -> nn.Module:
    """A student, or a studio that holds the same student.

    Args:
        configuration: `ALONE` or `LIVE`.
        args: sizes and seed.
    """
    torch.manual_seed(args.seed)
    signal = {"ch_names": ELECTRODES[: args.n_chans], "n_times": args.n_times, "num_labels": NUM_LABELS}
    student = MiCForEEGClassification(MiCConfig.from_size(args.student_size, **signal))
    if configuration == ALONE:
        return student.to(args.device).train()
    teacher = DLinkTeacherForEEGClassification(
        DLinkTeacherConfig(backbone="CBraMod", backbone_kwargs={"n_layer": args.teacher_layers}, **signal)
    )
    return DLinkStudioModel.from_parts(teacher, student, route_weight=1.0, spectral_weight=0.5).to(args.device).train()


def make_batch(args: argparse.Namespace) -> dict[str, torch.Tensor]:
    """`input_values` (B, C, T), noise of 20 microvolts, and `labels` (B,)."""
    generator = torch.Generator().manual_seed(args.seed)
    windows = 20 * torch.randn(args.batch_size, args.n_chans, args.n_times, generator=generator)
    labels = torch.arange(args.batch_size) % NUM_LABELS
    return {"input_values": windows.to(args.device), "labels": labels.to(args.device)}


def make_step(model: nn.Module, batch: dict[str, torch.Tensor]) -> Callable[[], None]:
    """A step of training: forward, backward and AdamW, as the demo trains (`stage="compress"`: all terms)."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(parameters, lr=1e-3, weight_decay=0.05)

    def step() -> None:
        optimiser.zero_grad(set_to_none=True)
        model(**batch).loss.backward()
        optimiser.step()

    return step


def measure_speed(args: argparse.Namespace) -> dict[str, list[float]]:
    """Seconds of every timed step. All take turns, and the order turns too: a noisy machine slows all of them alike.

    Returns:
        name -> `args.repeats` values, in the order of the rounds.
    """
    batch = make_batch(args)
    alone, live = make_model(ALONE, args), make_model(LIVE, args)

    @torch.no_grad()
    def teacher_forward() -> None:
        live.teacher(batch["input_values"], output_hidden_states=True, return_dict=True)

    steps = {ALONE: make_step(alone, batch), LIVE: make_step(live, batch), TEACHER: teacher_forward}
    synchronise = torch.cuda.synchronize if args.device == "cuda" else (lambda: None)
    names, seconds = list(steps), {name: [] for name in steps}
    for run in tqdm(range(-args.warmup, args.repeats), desc="speed", unit="round", leave=False):
        turn = run % len(names)
        for name in names[turn:] + names[:turn]:
            synchronise()
            start = time.perf_counter()
            steps[name]()
            synchronise()
            if run >= 0:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def measure_memory(configuration: str, args: argparse.Namespace) -> int:
    """Bytes that models, optimiser and a few steps need at their most, above what the process held before.

    Run it in a process that has done nothing else. On CUDA: the peak of torch's allocator.
    """

    def train() -> None:
        batch = make_batch(args)
        step = make_step(make_model(configuration, args), batch)
        for _ in range(MEMORY_STEPS):
            step()

    if args.device == "cuda":
        torch.cuda.init()
    measured = peak_memory(train)
    return measured["cuda_peak" if args.device == "cuda" else "increase"]


def memory_in_fresh_process(configuration: str, argv: Sequence[str]) -> int:
    """[`measure_memory`] in a process of its own.

    Raises:
        RuntimeError: that process failed; the message ends with what it said.
    """
    command = [sys.executable, str(Path(__file__).resolve()), *argv, "--only_memory", configuration]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"Measuring the memory of {configuration!r} failed:\n{done.stderr[-2000:]}")
    return int(done.stdout.split()[-1])


def describe_machine(args: argparse.Namespace) -> dict[str, Any]:
    """What it ran on, and how busy that was with other work."""
    return {
        "device": torch.cuda.get_device_name() if args.device == "cuda" else "CPU",
        "processor": processor_name(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load_before": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "system": platform.system(),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def summarise(seconds: dict[str, list[float]], memory: dict[str, int], batch_size: int) -> dict[str, Any]:
    """Medians, and the ratios between them.

    Args:
        seconds: name -> seconds a step, round by round.
        memory: name -> bytes.
        batch_size: windows in a step.

    Returns:
        `rows`: name -> `step_ms`, `windows_per_second`, `memory_mib`; `ratios`: `slowdown` (time of a step with the
        teacher over one without), `slowdown_quartiles` (of the rounds), `memory`, `teacher_share` (of a step's time).
    """
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    rows = {
        name: {
            "step_ms": 1e3 * median,
            "windows_per_second": batch_size / median,
            "memory_mib": memory[name] / 2**20 if name in memory else None,
        }
        for name, median in medians.items()
    }
    rounds = [live / alone for live, alone in zip(seconds[LIVE], seconds[ALONE], strict=True)]
    quartiles = statistics.quantiles(rounds, n=4, method="inclusive") if len(rounds) > 1 else rounds * 3
    ratios = {
        "slowdown": medians[LIVE] / medians[ALONE],
        "slowdown_quartiles": [quartiles[0], quartiles[2]],
        "memory": memory[LIVE] / memory[ALONE],
        "teacher_share": medians[TEACHER] / medians[LIVE],
    }
    return {"rows": rows, "ratios": ratios}


def format_tables(result: dict[str, Any]) -> str:
    """The ratios, then the figures behind them, as Markdown."""
    rows, ratios, machine, settings = (result[key] for key in ("rows", "ratios", "machine", "settings"))
    low, high = ratios["slowdown_quartiles"]
    lines = [
        "| with a live teacher, over the student alone | ratio |",
        "|---|---:|",
        f"| time of a step | {ratios['slowdown']:.2f} (half of the rounds: {low:.2f} to {high:.2f}) |",
        f"| peak memory | {ratios['memory']:.2f} |",
        f"| share of that step which is the teacher's forward | {100 * ratios['teacher_share']:.0f} % |",
        "",
        "| what | a step (ms, median) | windows/s | peak memory (MiB) |",
        "|---|---:|---:|---:|",
    ]
    for name, row in rows.items():
        memory = "-" if row["memory_mib"] is None else f"{row['memory_mib']:.0f}"
        lines.append(f"| {name} | {row['step_ms']:.1f} | {row['windows_per_second']:.0f} | {memory} |")
    kind = "peak of torch's CUDA allocator" if settings["device"] == "cuda" else "growth of the resident set"
    lines += [
        "",
        f"{machine['device']} ({machine['processor']}, {machine['cores']} cores, {machine['threads']} torch threads, "
        f"load before {machine['load_before']}), torch {machine['torch']}, Python {machine['python']}; "
        f"batch {settings['batch_size']}, windows {settings['n_chans']} x {settings['n_times']}; "
        f"student {settings['student_size']} ({settings['student_parameters']:,} parameters), "
        f"CBraMod of {settings['teacher_layers']} layers ({settings['teacher_parameters']:,}); "
        f"{settings['repeats']} rounds; memory: {kind}.",
    ]
    return "\n".join(lines)


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Write under a temporary name, then rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=".", suffix=".json", delete=False) as file:
        json.dump(value, file, indent=2)
        file.write("\n")
    Path(file.name).chmod(0o644)
    Path(file.name).replace(path)


def _at_least(least: int, text: str) -> int:
    if not text.isdecimal() or int(text) < least:
        raise argparse.ArgumentTypeError(f"must be a whole number of {least} or more, got {text!r}")
    return int(text)


def read_arguments(argv: Sequence[str]) -> argparse.Namespace:
    """Read the flags; `device` is CUDA where there is one.

    Raises:
        SystemExit: a flag is not understood or out of range; the message on stderr says which.
    """
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    count = functools.partial(_at_least, 1)
    parser.add_argument("--batch_size", type=count, default=32, help="windows in a step")
    parser.add_argument("--student_size", choices=("tiny", "small", "base"), default="small", help="the MiC student")
    parser.add_argument("--teacher_layers", type=count, default=3, help="layers of CBraMod")
    parser.add_argument("--n_chans", type=count, default=19, help="channels")
    parser.add_argument("--n_times", type=count, default=1000, help="samples at 200 Hz, a multiple of 200")
    parser.add_argument("--repeats", type=count, default=30, help="timed rounds")
    parser.add_argument("--warmup", type=functools.partial(_at_least, 0), default=3, help="rounds before")
    parser.add_argument("--threads", type=count, default=torch.get_num_threads(), help="torch threads")
    parser.add_argument("--seed", type=functools.partial(_at_least, 0), default=0, help="of weights and windows")
    parser.add_argument("--output", type=Path, help="JSON file to write")
    parser.add_argument("--only_memory", choices=(ALONE, LIVE), help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.n_chans > len(ELECTRODES):
        parser.error(f"--n_chans: only {len(ELECTRODES)} electrodes have a known position, got {args.n_chans}")
    if args.n_times % PATCH_SIZE:
        parser.error(f"--n_times: must be a multiple of the patch of {PATCH_SIZE} samples, got {args.n_times}")
    args.device = "cuda" if torch.cuda.is_available() else "cpu"
    return args


def main(argv: Sequence[str]) -> None:
    """Measure, print the tables, write the JSON."""
    args = read_arguments(argv)
    torch.set_num_threads(args.threads)
    if args.only_memory:
        print(measure_memory(args.only_memory, args))
        return
    machine = describe_machine(args)
    studio = make_model(LIVE, args)
    settings = {key: value for key, value in vars(args).items() if key not in ("output", "only_memory")}
    settings["student_parameters"] = count_parameters(studio.student)
    settings["teacher_parameters"] = count_parameters(studio.teacher)
    del studio
    names = tqdm((ALONE, LIVE), desc="memory", unit="process", leave=False)
    memory = {name: memory_in_fresh_process(name, argv) for name in names}
    seconds = measure_speed(args)
    result = {"settings": settings, "machine": machine, **summarise(seconds, memory, args.batch_size)}
    result["seconds"] = seconds
    print(format_tables(result))
    if args.output is not None:
        write_json(args.output, result)


if __name__ == "__main__":
    main(sys.argv[1:])
