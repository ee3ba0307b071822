# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""An epoch of distillation from stored teacher features beside one with a live teacher: time, losses, disk, memory.

    python benchmarks/teacher_cache.py --threads 1 --output teacher_cache.json

See benchmarks/README.md for what is measured and how.
"""

from __future__ import annotations

import argparse
import functools
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import braindecode.models  # noqa: F401 (imported here, so that its own memory does not count as the teacher's)
import numpy as np
import torch
from datasets import Array2D, ClassLabel, Dataset, Features, load_from_disk
from tqdm.auto import tqdm
from training_step import NUM_LABELS, PATCH_SIZE, _at_least, describe_machine, write_json
from transformers import TrainerCallback
from transformers.trainer_callback import PrinterCallback

from dlink_hf import (
    DLinkStudioModel,
    DLinkTeacherConfig,
    DLinkTeacherForEEGClassification,
    DLinkTrainer,
    DLinkTrainingArguments,
    MiCConfig,
    MiCForEEGClassification,
    TeacherCache,
)
from dlink_hf.models.mic.configuration_mic import DEFAULT_CH_NAMES
from dlink_hf.profiling.measure import count_parameters, peak_memory


LIVE, STORED = "live teacher", "stored features"
# the memory is taken at this many times the windows too
GROWTH = 4


class NoiseWindows(torch.utils.data.Dataset):
    """Windows of 20 microvolts of noise that are made when they are read: they take no memory of their own."""

    def __init__(self, n_windows: int, args: argparse.Namespace):
        self.n_windows, self.shape, self.seed = n_windows, (args.n_chans, args.n_times), args.seed

    def __len__(self) -> int:
        return self.n_windows

    def __getitem__(self, row: int) -> dict[str, Any]:
        noise = np.random.default_rng([self.seed, row]).standard_normal(self.shape, dtype=np.float32)
        return {"input_values": 20 * noise, "labels": row % NUM_LABELS}


class EpochTimer(TrainerCallback):
    """Seconds of an epoch, on the clock and of the processor; what a training does once before it does not count."""

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.start, self.cpu_start = time.perf_counter(), time.process_time()

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.seconds, self.cpu_seconds = time.perf_counter() - self.start, time.process_time() - self.cpu_start


def make_studio(args: argparse.Namespace) -> DLinkStudioModel:
    """CBraMod and the student, of the same random weights every time."""
    torch.manual_seed(args.seed)
    signal = {"ch_names": DEFAULT_CH_NAMES[: args.n_chans], "n_times": args.n_times, "num_labels": NUM_LABELS}
    teacher = DLinkTeacherForEEGClassification(
        DLinkTeacherConfig(backbone_kwargs={"n_layer": args.teacher_layers}, **signal)
    )
    student = MiCForEEGClassification(MiCConfig.from_size(args.student_size, **signal))
    return DLinkStudioModel.from_parts(teacher, student, route_weight=1.0, spectral_weight=0.5)


def make_windows(args: argparse.Namespace, folder: Path) -> Dataset:
    """The noise as a memory-mapped dataset, as recordings come."""
    features = Features(
        {"input_values": Array2D((args.n_chans, args.n_times), "float32"), "labels": ClassLabel(NUM_LABELS)}
    )
    noise = NoiseWindows(args.n_windows, args)
    Dataset.from_generator(lambda: map(noise.__getitem__, range(len(noise))), features=features).save_to_disk(folder)
    return load_from_disk(str(folder)).with_format("torch")


def make_trainer(dataset: Any, cache: TeacherCache | None, args: argparse.Namespace, folder: Path) -> DLinkTrainer:
    """A training of one epoch with all terms, which saves and prints nothing."""
    settings = DLinkTrainingArguments(
        str(folder), num_train_epochs=1, per_device_train_batch_size=args.batch_size, learning_rate=1e-3,
        report_to="none", save_strategy="no", logging_steps=1, disable_tqdm=True, seed=args.seed,
        dataloader_pin_memory=False,
    )  # fmt: skip
    trainer = DLinkTrainer(make_studio(args), settings, train_dataset=dataset, teacher_cache=cache)
    trainer.remove_callback(PrinterCallback)
    return trainer


def measure_speed(dataset: Dataset, cache: TeacherCache, args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Seconds of whole epochs, live and stored in turns, on the clock and of the processor (which other work on the
    machine disturbs less); and how far the losses of their steps lie apart."""
    seconds: dict[str, list[float]] = {LIVE: [], STORED: []}
    cpu_seconds: dict[str, list[float]] = {LIVE: [], STORED: []}
    losses: dict[str, list[float]] = {}
    for turn in tqdm(range(args.repeats), desc="epochs", unit="round"):
        for name in (LIVE, STORED)[:: 1 if turn % 2 else -1]:
            trainer = make_trainer(dataset, cache if name == STORED else None, args, folder)
            timer = EpochTimer()
            trainer.add_callback(timer)
            trainer.train()
            seconds[name].append(timer.seconds)
            cpu_seconds[name].append(timer.cpu_seconds)
            losses[name] = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    apart = [abs(live - stored) / live for live, stored in zip(losses[LIVE], losses[STORED], strict=True)]
    return {
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "first_losses_apart": max(apart[:5]),
        "losses_apart": max(apart),
    }


def measure_memory(n_windows: int, args: argparse.Namespace) -> dict[str, int]:
    """Most that is resident while an epoch is trained from the features of `n_windows`, in a process of its own."""
    folder = Path(args.memory_folder)
    dataset = NoiseWindows(n_windows, args)
    cache = TeacherCache.build(make_studio(args).teacher, dataset, folder, progress=False)
    trainer = make_trainer(dataset, cache, args, folder / "training")
    return {"cache": cache.size, **peak_memory(trainer.train)}


def memory_in_fresh_process(n_windows: int, folder: Path, argv: Sequence[str]) -> dict[str, int]:
    """[`measure_memory`] twice, each time in a process of its own: the first makes the features, the second counts.

    Raises:
        RuntimeError: a process failed; the message ends with what it said.
    """
    command = [sys.executable, str(Path(__file__).resolve()), *argv]
    command += ["--memory_windows", str(n_windows), "--memory_folder", str(folder)]
    for _ in range(2):
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(f"Measuring the memory of {n_windows} windows failed:\n{done.stderr[-2000:]}")
    names = ("cache", "start", "peak", "increase")
    return dict(zip(names, map(int, done.stdout.split()[-4:]), strict=True))


def format_tables(result: dict[str, Any]) -> str:
    """The ratio, then memory, as Markdown."""
    settings, machine, rows = result["settings"], result["machine"], result["memory"]
    steps = -(-settings["n_windows"] // settings["batch_size"])
    lines = [
        f"| an epoch of {settings['n_windows']} windows | s (median) | a step (ms) | processor time (s) |",
        "|---|---:|---:|---:|",
    ]
    wall, cpu = ({name: statistics.median(v) for name, v in result[key].items()} for key in ("seconds", "cpu_seconds"))
    lines += [f"| {name} | {wall[name]:.2f} | {1e3 * wall[name] / steps:.0f} | {cpu[name]:.2f} |" for name in wall]
    lines += [
        f"| ratio | {wall[LIVE] / wall[STORED]:.1f} | | {cpu[LIVE] / cpu[STORED]:.1f} |",
        "",
        "| windows | features on disk (MiB) | resident before (MiB) | at its most in an epoch (MiB) |",
        "|---:|---:|---:|---:|",
    ]
    for n_windows, row in rows.items():
        lines.append(
            f"| {n_windows} | {row['cache'] / 2**20:.0f} | {row['start'] / 2**20:.0f} | {row['peak'] / 2**20:.0f} |"
        )
    lines += [
        "",
        f"Computing the features took {result['build_seconds']:.1f} s, finding and verifying them again "
        f"{result['find_seconds']:.1f} s. The losses of the first five steps lie at most "
        f"{result['first_losses_apart']:.1e} apart (relative), those of the epoch {result['losses_apart']:.1e}.",
        "",
        f"{machine['device']} ({machine['processor']}, {machine['cores']} cores, {machine['threads']} torch threads, "
        f"load before {machine['load_before']}), torch {machine['torch']}, Python {machine['python']}; "
        f"batch {settings['batch_size']}, windows {settings['n_chans']} x {settings['n_times']}; "
        f"student {settings['student_size']} ({settings['student_parameters']:,} parameters), "
        f"CBraMod of {settings['teacher_layers']} layers ({settings['teacher_parameters']:,}); "
        f"{settings['repeats']} rounds.",
    ]
    return "\n".join(lines)


def read_arguments(argv: Sequence[str]) -> argparse.Namespace:
    """Read the flags.

    Raises:
        SystemExit: a flag is not understood or out of range; the message on stderr says which.
    """
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    count = functools.partial(_at_least, 1)
    parser.add_argument("--n_windows", type=count, default=320, help="windows in an epoch")
    parser.add_argument("--batch_size", type=count, default=32, help="windows in a step")
    parser.add_argument("--student_size", choices=("tiny", "small", "base"), default="small", help="the MiC student")
    parser.add_argument("--teacher_layers", type=count, default=12, help="layers of CBraMod")
    parser.add_argument("--n_chans", type=count, default=19, help="channels")
    parser.add_argument("--n_times", type=count, default=1000, help="samples at 200 Hz, a multiple of 200")
    parser.add_argument("--repeats", type=count, default=3, help="epochs of each kind")
    parser.add_argument("--threads", type=count, default=1, help="torch threads")
    parser.add_argument("--seed", type=functools.partial(_at_least, 0), default=0, help="of weights and windows")
    parser.add_argument("--output", type=Path, help="JSON file to write")
    parser.add_argument("--memory_windows", type=count, help=argparse.SUPPRESS)
    parser.add_argument("--memory_folder", help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.n_chans > len(DEFAULT_CH_NAMES):
        parser.error(f"--n_chans: at most {len(DEFAULT_CH_NAMES)}, got {args.n_chans}")
    if args.n_times % PATCH_SIZE:
        parser.error(f"--n_times: must be a multiple of the patch of {PATCH_SIZE} samples, got {args.n_times}")
    args.device = "cuda" if torch.cuda.is_available() else "cpu"
    return args


def main(argv: Sequence[str]) -> None:
    """Measure, print the tables, write the JSON."""
    args = read_arguments(argv)
    torch.set_num_threads(args.threads)
    if args.memory_windows:
        measured = measure_memory(args.memory_windows, args)
        print(*(measured[name] for name in ("cache", "start", "peak", "increase")))
        return
    machine, studio = describe_machine(args), make_studio(args)
    settings = {k: v for k, v in vars(args).items() if k not in ("output", "memory_windows", "memory_folder")}
    settings["student_parameters"] = count_parameters(studio.student)
    settings["teacher_parameters"] = count_parameters(studio.teacher)
    with tempfile.TemporaryDirectory(prefix="teacher-cache-") as temporary:
        folder = Path(temporary)
        dataset = make_windows(args, folder / "windows")
        start = time.perf_counter()
        TeacherCache.build(studio.teacher, dataset, folder / "cache")
        built = time.perf_counter()
        cache = TeacherCache.build(studio.teacher, dataset, folder / "cache")
        seconds = {"build_seconds": built - start, "find_seconds": time.perf_counter() - built}
        speed = measure_speed(dataset, cache, args, folder / "training")
        memory = {
            n_windows: memory_in_fresh_process(n_windows, folder / "memory", argv)
            for n_windows in tqdm((args.n_windows, GROWTH * args.n_windows), desc="memory", unit="process")
        }
    result = {"settings": settings, "machine": machine, **seconds, **speed, "memory": memory}
    for key, name in (("seconds", "ratio"), ("cpu_seconds", "cpu_ratio")):
        result[name] = statistics.median(speed[key][LIVE]) / statistics.median(speed[key][STORED])
    print(format_tables(result))
    if args.output is not None:
        write_json(args.output, result)


if __name__ == "__main__":
    main(sys.argv[1:])
