# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""How fast `prepare_shards` cuts a corpus, with one process and with several, beside plain reading and resampling.

    DLINK_DATA_DIR=... python benchmarks/prepare_speed.py --output prepare_speed.json

A corpus of EDF files is made in a temporary folder out of the recordings of eegmat, repeated, scaled and with noise
added, at 256 Hz. Each measurement is a process of its own; what is compared takes turns. "Plain" is MNE alone:
`read_raw_edf(preload=True)` and `resample`, nothing checked, filtered, cut or written. Efficiency on the clock is
time(1) / (n time(n)), which falls with whatever else the machine does; that of the processor compares the time that
all processes together were at work, start-up included.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import mne
import numpy as np
from tqdm.auto import tqdm

from dlink_hf import EEGFeatureExtractor, prepare_shards


PLAIN = "plain MNE, one process"
SFREQ = 200.0
SOURCE_SFREQ = 256.0


def make_corpus(folder: Path, args: argparse.Namespace) -> float:
    """Write the corpus; returns its hours.

    Raises:
        FileNotFoundError: there is no eegmat in the folder of recordings.
    """
    bases = sorted((Path(args.data_dir) / "eegmat").glob("*_1.edf"))
    if not bases:
        raise FileNotFoundError(f"{args.data_dir} holds no eegmat/*_1.edf; name the folder by DLINK_DATA_DIR.")
    rng = np.random.default_rng(args.seed)
    seconds = 0.0
    for number in tqdm(range(args.n_files), desc="making the corpus", unit="file"):
        raw = mne.io.read_raw_edf(bases[number % len(bases)], preload=True, verbose="ERROR")
        raw.set_annotations(None).drop_channels([name for name in raw.ch_names if "A2" in name or "ECG" in name])
        raw.resample(SOURCE_SFREQ, verbose="ERROR")
        values = raw.get_data()
        parts = [values * rng.uniform(0.8, 1.2) for _ in range(-(-args.minutes * 60 // int(raw.duration)))]
        values = np.concatenate(parts, axis=1)[:, : int(args.minutes * 60 * SOURCE_SFREQ)]
        values = values + 0.5e-6 * rng.standard_normal(values.shape)
        info = mne.create_info(raw.ch_names, SOURCE_SFREQ, "eeg")
        longer = mne.io.RawArray(values, info, verbose="ERROR")
        mne.export.export_raw(folder / f"P{number:03d}.edf", longer, verbose="ERROR")
        seconds += values.shape[1] / SOURCE_SFREQ
    return seconds / 3600


def measure(corpus: Path, processes: int, shard_mb: float) -> dict[str, float]:
    """Seconds on the clock, and of the processor, in this process and those it starts.

    Args:
        corpus: Folder of EDF files.
        processes: Of `prepare_shards`; 0 for plain MNE.
        shard_mb: Size of a shard.
    """
    extractor = EEGFeatureExtractor(sfreq=SFREQ, n_times=1000, l_freq=0.5, h_freq=75.0)
    with tempfile.TemporaryDirectory(dir=corpus.parent) as folder:
        cpu, begin = _cpu_seconds(), time.perf_counter()
        if processes:
            prepare_shards(
                corpus, folder, extractor, "none", subject_pattern=r"(P\d+)", num_proc=processes, shard_mb=shard_mb,
                progress=False,
            )  # fmt: skip
        else:
            for path in sorted(corpus.glob("*.edf")):
                mne.io.read_raw_edf(path, preload=True, verbose="ERROR").resample(SFREQ, verbose="ERROR")
        return {"seconds": time.perf_counter() - begin, "cpu_seconds": _cpu_seconds() - cpu}


def _cpu_seconds() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def in_fresh_process(corpus: Path, processes: int, shard_mb: float) -> dict[str, float]:
    """[`measure`] in a process of its own, of one thread.

    Raises:
        RuntimeError: it failed; the message ends with what it said.
    """
    command = [sys.executable, str(Path(__file__).resolve()), "--measure", str(processes), "--corpus", str(corpus)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    command += ["--shard_mb", str(shard_mb)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode != 0:
        raise RuntimeError(f"Measuring with {processes} processes failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def summarise(result: dict) -> str:
    """The figures as Markdown."""
    hours, runs = result["hours"], result["runs"]
    wall = {name: statistics.median(run["seconds"] for run in values) for name, values in runs.items()}
    cpu = {name: statistics.median(run["cpu_seconds"] for run in values) for name, values in runs.items()}
    lines = [
        "| what | seconds (median) | hours of EEG per second | over plain MNE | processor time (s) |",
        "|---|---:|---:|---:|---:|",
    ]
    for name in runs:
        lines.append(
            f"| {name} | {wall[name]:.1f} | {hours / wall[name]:.2f} | {wall[PLAIN] / wall[name]:.2f} "
            f"| {cpu[name]:.1f} |"
        )
    n = result["settings"]["processes"]
    pairs = zip(runs[_name(1)], runs[_name(n)], strict=True)
    each = [one["seconds"] / (n * several["seconds"]) for one, several in pairs]
    lines += [
        "",
        f"Parallel efficiency with {n} processes: {statistics.median(each):.0%} on the clock (median of the rounds; "
        f"{min(each):.0%} to {max(each):.0%}), {cpu[_name(1)] / cpu[_name(n)]:.0%} of processor time.",
        "",
        f"{hours:.1f} hours of {result['settings']['n_files']} EDF files at {SOURCE_SFREQ:g} Hz, brought to "
        f"{SFREQ:g} Hz, 0.5 to 75 Hz, in windows of 5 s. {platform.processor() or platform.machine()}, "
        f"{os.cpu_count()} cores, load before {result['load_before']}; {result['settings']['repeats']} rounds.",
    ]
    return "\n".join(lines)


def _name(processes: int) -> str:
    return f"prepare_shards, {processes} process{'es' * (processes > 1)}" if processes else PLAIN


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data_dir", default=os.environ.get("DLINK_DATA_DIR", "."), help="holds eegmat/")
    parser.add_argument("--n_files", type=int, default=40, help="recordings")
    parser.add_argument("--minutes", type=int, default=15, help="length of each")
    parser.add_argument("--processes", type=int, default=2, help="processes to compare with one")
    parser.add_argument("--shard_mb", type=float, default=32.0, help="size of a shard")
    parser.add_argument("--repeats", type=int, default=3, help="rounds")
    parser.add_argument("--seed", type=int, default=0, help="of the noise")
    parser.add_argument("--output", help="JSON file of all figures")
    parser.add_argument("--measure", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--corpus", help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.measure is not None:
        print(json.dumps(measure(Path(args.corpus), args.measure, args.shard_mb)))
        return
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder) / "corpus"
        corpus.mkdir()
        hours = make_corpus(corpus, args)
        load = f"{os.getloadavg()[0]:.1f}"
        kinds = (0, 1, args.processes)
        runs: dict[str, list] = {_name(kind): [] for kind in kinds}
        for turn in tqdm(range(args.repeats), desc="rounds"):
            for kind in kinds[:: 1 if turn % 2 else -1]:
                runs[_name(kind)].append(in_fresh_process(corpus, kind, args.shard_mb))
    settings = {name: getattr(args, name) for name in ("n_files", "minutes", "processes", "shard_mb", "repeats")}
    result = {"hours": hours, "runs": runs, "settings": settings, "load_before": load}
    print(summarise(result))
    if args.output:
        path = Path(args.output)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}")
        partial.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
        partial.replace(path)


if __name__ == "__main__":
    main()
