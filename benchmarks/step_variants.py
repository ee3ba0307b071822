# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""A distillation step with the live teacher, in single precision, in bfloat16, compiled, and both: what pays where.

    python benchmarks/step_variants.py --output step_variants.json

Runs on the GPU where there is one, else on the CPU, and says which. See benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from tqdm.auto import tqdm
from training_step import LIVE, describe_machine, make_batch, make_model, write_json

from dlink_hf.profiling.measure import count_parameters


# name -> bfloat16 autocast, torch.compile
VARIANTS = {
    "float32": (False, False),
    "bfloat16": (True, False),
    "float32, compiled": (False, True),
    "bfloat16, compiled": (True, True),
}
TEACHER_LAYERS = 12


def compile_parts(studio: Any) -> None:
    """Compile the teacher's layers and the student; a layer is compiled once for all, and hooks stay outside of it."""
    layers = dict.fromkeys(tap.module for tap in studio.teacher.config.taps()[0])
    for module in [*(studio.teacher.base_model.backbone.get_submodule(name) for name in layers), studio.student.mic]:
        module.forward = torch.compile(module.forward)


def make_parts(name: str, args: argparse.Namespace) -> tuple[Callable[[], None], Callable[[], None], nn.Module]:
    """A variant's step (forward, backward, AdamW), its teacher's forward alone, and its studio."""
    half, compiled = VARIANTS[name]
    studio, batch = make_model(LIVE, args), make_batch(args)
    optimiser = torch.optim.AdamW((p for p in studio.parameters() if p.requires_grad), lr=1e-3, weight_decay=0.05)
    if compiled:
        compile_parts(studio)

    def precision() -> Any:
        return torch.autocast(args.device, torch.bfloat16) if half else contextlib.nullcontext()

    def step() -> None:
        optimiser.zero_grad(set_to_none=True)
        with precision():
            loss = studio(**batch).loss
        loss.backward()
        optimiser.step()

    @torch.no_grad()
    def teacher_forward() -> None:
        with precision():
            studio.teacher(batch["input_values"], output_hidden_states=True, return_dict=True)

    return step, teacher_forward, studio


def measure(args: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Medians of every variant; all take turns, so that a noisy machine slows them alike.

    Returns:
        name -> `step_ms`, `teacher_ms`, `windows_per_second`, `teacher_share` (of the step), `memory_mib` (peak of
        torch's allocator on a GPU, else None).
    """
    synchronise = torch.cuda.synchronize if args.device == "cuda" else (lambda: None)
    parts, memory = {}, {}
    for name in tqdm(args.variants, desc="first steps", unit="variant", leave=False):
        # compilation happens here; of each variant by itself, so that the peak is its own
        if args.device == "cuda":
            torch.cuda.reset_peak_memory_stats()
            before = torch.cuda.memory_allocated()
        parts[name] = make_parts(name, args)
        for call in parts[name][:2]:
            for _ in range(max(1, args.warmup)):
                call()
        synchronise()
        if args.device == "cuda":
            memory[name] = (torch.cuda.max_memory_allocated() - before) / 2**20
    seconds: dict[tuple[str, int], list[float]] = {(name, which): [] for name in args.variants for which in (0, 1)}
    for _ in tqdm(range(args.repeats), desc="rounds", unit="round", leave=False):
        for name, which in seconds:
            synchronise()
            start = time.perf_counter()
            parts[name][which]()
            synchronise()
            seconds[name, which].append(time.perf_counter() - start)
    rows = {}
    for name in args.variants:
        step, teacher = (statistics.median(seconds[name, which]) for which in (0, 1))
        rows[name] = {
            "step_ms": 1e3 * step,
            "teacher_ms": 1e3 * teacher,
            "windows_per_second": args.batch_size / step,
            "teacher_share": teacher / step,
            "memory_mib": memory.get(name),
        }
    return rows


def format_table(result: dict[str, Any]) -> str:
    """The variants, as Markdown; the speed of each over the first one's."""
    rows, machine, settings = result["rows"], result["machine"], result["settings"]
    first = next(iter(rows.values()))["step_ms"]
    lines = [
        "| variant | step (ms, median) | windows/s | speed | teacher's forward (ms) | its share | memory (MiB) |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for name, row in rows.items():
        memory = "-" if row["memory_mib"] is None else f"{row['memory_mib']:.0f}"
        lines.append(
            f"| {name} | {row['step_ms']:.1f} | {row['windows_per_second']:.0f} | {first / row['step_ms']:.2f} | "
            f"{row['teacher_ms']:.1f} | {row['teacher_share']:.0%} | {memory} |"
        )
    where = machine["device"] if settings["device"] == "cuda" else "No GPU is at hand: on the CPU"
    lines += [
        "",
        f"{where} ({machine['processor']}, {machine['threads']} torch threads, load before "
        f"{machine['load_before']}), torch {machine['torch']}; batch {settings['batch_size']}, windows "
        f"{settings['n_chans']} x {settings['n_times']}; student {settings['student_size']}, CBraMod of "
        f"{settings['teacher_layers']} layers ({settings['teacher_parameters']:,} parameters); "
        f"{settings['repeats']} rounds.",
    ]
    return "\n".join(lines)


def read_arguments(argv: Sequence[str]) -> argparse.Namespace:
    """Read the flags; `device` is CUDA where there is one."""
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS), help="what is measured")
    parser.add_argument("--batch_size", type=int, default=32, help="windows in a step")
    parser.add_argument("--student_size", choices=("tiny", "small", "base"), default="small", help="the MiC student")
    parser.add_argument("--teacher_layers", type=int, default=TEACHER_LAYERS, help="layers of CBraMod")
    parser.add_argument("--n_chans", type=int, default=19, help="channels")
    parser.add_argument("--n_times", type=int, default=1000, help="samples at 200 Hz, a multiple of 200")
    parser.add_argument("--repeats", type=int, default=15, help="timed rounds")
    parser.add_argument("--warmup", type=int, default=2, help="calls before")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="torch threads")
    parser.add_argument("--seed", type=int, default=0, help="of weights and windows")
    parser.add_argument("--output", type=Path, help="JSON file to write")
    args = parser.parse_args(argv)
    for name in ("batch_size", "teacher_layers", "n_chans", "n_times", "repeats", "threads"):
        if getattr(args, name) < 1:
            parser.error(f"--{name} must be at least 1, got {getattr(args, name)}")
    args.device = "cuda" if torch.cuda.is_available() else "cpu"
    return args


def main(argv: Sequence[str]) -> None:
    """Measure, print the table, write the JSON."""
    args = read_arguments(argv)
    torch.set_num_threads(args.threads)
    machine = describe_machine(args)
    settings = {name: value for name, value in vars(args).items() if name != "output"}
    settings["teacher_parameters"] = count_parameters(make_model(LIVE, args).teacher)
    result = {"settings": settings, "machine": machine, "rows": measure(args)}
    print(format_table(result))
    if args.output is not None:
        write_json(args.output, result)


if __name__ == "__main__":
    main(sys.argv[1:])
