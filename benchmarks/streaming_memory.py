# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Whether memory and speed of a training depend on the size of the corpus that streams through it.

    python benchmarks/streaming_memory.py --output streaming_memory.json

Two corpora of shards are made in a temporary folder, windows of noise, the second larger by `--factor`. Each streams
through the training of a tiny student (transformers' Trainer, a fixed number of steps), shuffled by a buffer, in a
fresh process. Counted is the resident set: at its highest, and its median over the second half of the training. The
larger corpus is also streamed with other buffers, to show what these cost.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import mne
import numpy as np
import psutil
import torch
from tqdm.auto import tqdm
from transformers import Trainer, TrainerCallback, TrainingArguments

from dlink_hf import (
    EEGDataCollator,
    EEGFeatureExtractor,
    MiCConfig,
    MiCForEEGClassification,
    PathLabels,
    ShardManifest,
    load_shards,
    prepare_shards,
    signal_fields,
)
from dlink_hf.models.mic.configuration_mic import DEFAULT_CH_NAMES


SFREQ, N_TIMES = 200.0, 1000


def make_corpora(folder: Path, args: argparse.Namespace) -> dict[str, Path]:
    """Shards of noise, and the same repeated under other names: a corpus larger by `factor`."""
    recordings = folder / "recordings"
    recordings.mkdir()
    names = DEFAULT_CH_NAMES[:19]
    for number in range(args.n_windows // 64):
        noise = 10e-6 * np.random.default_rng(number).standard_normal((len(names), 64 * N_TIMES))
        raw = mne.io.RawArray(noise, mne.create_info(list(names), SFREQ, "eeg"), verbose="ERROR")
        raw.save(recordings / f"P{number:02d}_{'ab'[number % 2]}_raw.fif", verbose="ERROR")
    extractor = EEGFeatureExtractor(sfreq=SFREQ, n_times=N_TIMES)
    small, large = folder / "small", folder / "large"
    manifest = prepare_shards(
        recordings, small, extractor, PathLabels("_([ab])_raw"), subject_pattern=r"(P\d+)", shard_mb=args.shard_mb,
        progress=False,
    )  # fmt: skip
    (large / "data").mkdir(parents=True)
    shards = manifest.shards("train")
    repeated = []
    for number in range(args.factor * len(shards)):
        shard = shards[number % len(shards)]
        name = f"data/train-{number:05d}-of-{args.factor * len(shards):05d}.parquet"
        shutil.copyfile(small / shard["name"], large / name)
        repeated.append({**shard, "name": name})
    text = dataclasses.replace(manifest, splits={"train": repeated}).to_json()
    (large / "manifest.json").write_text(text, encoding="utf-8")
    shutil.rmtree(recordings)
    return {"small": small, "large": large}


class Watch(TrainerCallback):
    """Resident bytes after every step, and the time of all steps behind the first ones."""

    def __init__(self, warmup: int):
        self.warmup = warmup
        self.resident: list[int] = []
        self.waited = 0.0

    def on_step_begin(self, args, state, control, **kwargs) -> None:
        # between two steps the trainer does nothing but read the next batch
        if state.global_step >= self.warmup:
            self.waited += time.perf_counter() - self.end

    def on_step_end(self, args, state, control, **kwargs) -> None:
        self.resident.append(resident_bytes())
        if state.global_step == self.warmup:
            self.begin, self.cpu_begin = time.perf_counter(), time.process_time()
        self.end, self.cpu_end = time.perf_counter(), time.process_time()


def resident_bytes() -> int:
    """Bytes of this process in memory."""
    return psutil.Process().memory_info().rss


def measure(corpus: Path, buffer: int, args: argparse.Namespace) -> dict[str, float]:
    """Train on a corpus and count."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    before = resident_bytes()
    stream = load_shards(corpus)
    if buffer:
        stream = stream.shuffle(seed=0, buffer_size=buffer)
    model = MiCForEEGClassification(MiCConfig.from_size("tiny", **signal_fields(stream)))
    highest = [0]
    done = threading.Event()

    def look() -> None:
        while not done.wait(0.01):
            highest[0] = max(highest[0], resident_bytes())

    threading.Thread(target=look, daemon=True).start()
    watch = Watch(warmup=args.steps // 8)
    with tempfile.TemporaryDirectory() as folder:
        settings = TrainingArguments(
            folder, max_steps=args.steps, per_device_train_batch_size=args.batch_size, report_to="none", use_cpu=True,
            save_strategy="no", logging_strategy="no", disable_tqdm=True, dataloader_pin_memory=False,
        )  # fmt: skip
        Trainer(model, settings, train_dataset=stream, data_collator=EEGDataCollator(), callbacks=[watch]).train()
    done.set()
    steps = args.steps - watch.warmup
    return {
        "before": before,
        "peak": highest[0],
        "steady": statistics.median(watch.resident[len(watch.resident) // 2 :]),
        "windows_per_second": steps * args.batch_size / (watch.end - watch.begin),
        "windows_per_cpu_second": steps * args.batch_size / (watch.cpu_end - watch.cpu_begin),
        "waiting": watch.waited / (watch.end - watch.begin),
    }


def in_fresh_process(corpus: Path, buffer: int, argv: Sequence[str]) -> dict[str, float]:
    """[`measure`] in a process of its own, of one thread.

    Raises:
        RuntimeError: it failed; the message ends with what it said.
    """
    command = [sys.executable, str(Path(__file__).resolve()), *argv, "--measure", str(corpus), "--buffer", str(buffer)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode != 0:
        raise RuntimeError(f"Streaming {corpus} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def summarise(result: dict) -> str:
    """The figures as Markdown."""
    lines = [
        "| corpus | windows | on disk (MB) | buffer | before (MB) | peak (MB) | steady (MB) | windows/s "
        "| windows per s of processor | of the time, reading |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    middle = {}
    for key, runs in result["runs"].items():
        corpus, buffer = key.split("/")
        middle[key] = {name: statistics.median(run[name] for run in runs) for name in runs[0]}
        row, facts = middle[key], result["corpora"][corpus]
        megabytes = " | ".join(f"{row[name] / 1e6:.0f}" for name in ("before", "peak", "steady"))
        lines.append(
            f"| {corpus} | {facts['windows']} | {facts['bytes'] / 1e6:.0f} | {buffer} | {megabytes} "
            f"| {row['windows_per_second']:.0f} | {row['windows_per_cpu_second']:.0f} | {row['waiting']:.0%} |"
        )
    settings = result["settings"]
    small, large = (middle[f"{name}/{settings['buffer']}"] for name in ("small", "large"))
    ratios = {name: large[name] / small[name] for name in small}
    lines += [
        "",
        f"Large over small, buffer of {settings['buffer']}: peak {ratios['peak']:.3f}, steady {ratios['steady']:.3f}, "
        f"windows/s {ratios['windows_per_second']:.3f} (per second of processor "
        f"{ratios['windows_per_cpu_second']:.3f}).",
        "",
        f"{settings['steps']} steps of {settings['batch_size']} windows of 19 x {N_TIMES} (76 kB each), tiny student, "
        f"shards of {settings['shard_mb']:g} MB, read by the process that trains; "
        f"{settings['repeats']} rounds, medians. "
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, one thread, load before "
        f"{result['load_before']}. A buffer of n rows takes about five times its n windows: `datasets` reads "
        "ten shards at a time, a tenth of the buffer of each, and copies rows to shuffle them. Each worker of a "
        "DataLoader has all of that, and `prefetch_factor` batches.",
    ]
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print."""
    argv = list(sys.argv[1:] if argv is None else argv)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n_windows", type=int, default=1280, help="windows of the small corpus, a multiple of 64")
    parser.add_argument("--factor", type=int, default=20, help="how many times larger the other is")
    parser.add_argument("--shard_mb", type=float, default=9.8, help="size of a shard before compression")
    parser.add_argument("--steps", type=int, default=320, help="steps of a training")
    parser.add_argument("--batch_size", type=int, default=16, help="windows in a step")
    parser.add_argument("--buffer", type=int, default=256, help="rows of the shuffle buffer")
    parser.add_argument("--other_buffers", type=int, nargs="*", default=[0, 1024], help="of the large corpus, too")
    parser.add_argument("--repeats", type=int, default=3, help="rounds")
    parser.add_argument("--output", help="JSON file of all figures")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.measure is not None:
        print(json.dumps(measure(Path(args.measure), args.buffer, args)))
        return
    with tempfile.TemporaryDirectory() as folder:
        corpora = make_corpora(Path(folder), args)
        kinds = [("small", args.buffer), ("large", args.buffer), *(("large", other) for other in args.other_buffers)]
        runs: dict[str, list] = {f"{name}/{buffer}": [] for name, buffer in kinds}
        load = f"{os.getloadavg()[0]:.1f}"
        for turn in tqdm(range(args.repeats), desc="rounds"):
            for name, buffer in kinds[:: 1 if turn % 2 else -1]:
                runs[f"{name}/{buffer}"].append(in_fresh_process(corpora[name], buffer, argv))
        facts = {name: ShardManifest.read(str(path)).totals()["train"] for name, path in corpora.items()}
    settings = {name: value for name, value in vars(args).items() if name not in ("measure", "output")}
    result = {"runs": runs, "corpora": facts, "settings": settings, "load_before": load}
    print(summarise(result))
    if args.output:
        path = Path(args.output)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}")
        partial.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
        partial.replace(path)


if __name__ == "__main__":
    main()
