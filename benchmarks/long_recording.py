# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Memory and processor time of `dlink predict` on a recording of a day, and of plain MNE on an hour of it.

    python benchmarks/long_recording.py --hours 24 --output benchmarks/results/long_recording.json

The recording is noise of 19 electrodes at 256 Hz in an EDF file, one hour repeated. Each measurement is a process of
its own: `dlink predict` on the whole, and on an hour; MNE's `read_raw_edf(preload=True)`, `filter` and `resample` on
the same hour. Memory is the peak of the resident set, imports included.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mne
import numpy as np

from dlink_hf.core.atomic_files import write_json


STUDENT = Path(__file__).resolve().parent.parent / "model_cards" / "dlink-mic-small-eegmat"
SFREQ = 256
ELECTRODES = "Fp1 Fp2 F7 F3 Fz F4 F8 T7 C3 Cz C4 T8 P7 P3 Pz P4 P8 O1 O2".split()
PLAIN = """
import sys, mne
raw = mne.io.read_raw_edf(sys.argv[1], preload=True, verbose="ERROR")
raw.filter(0.5, 75.0, verbose="ERROR").resample(200.0, verbose="ERROR")
"""


def write_recording(path: Path, hours: int) -> Path:
    """Write an EDF file of noise: an hour as MNE exports it, and its data records again for every further hour."""
    values = 20e-6 * np.random.default_rng(0).standard_normal((len(ELECTRODES), 3600 * SFREQ))
    raw = mne.io.RawArray(values, mne.create_info(ELECTRODES, SFREQ, "eeg"), verbose="ERROR")
    mne.export.export_raw(path, raw, overwrite=True, verbose="ERROR")
    if hours == 1:
        return path
    data = bytearray(path.read_bytes())
    # of EDF's header: bytes 184 to 192 give its length, 236 to 244 the number of data records
    head, n_records = int(data[184:192]), int(data[236:244])
    data[236:244] = str(hours * n_records).encode().ljust(8)
    with open(path, "wb") as file:
        file.write(data[:head])
        for _ in range(hours):
            file.write(data[head:])
    return path


def measure(command: Sequence[str]) -> dict[str, float]:
    """Run a command to its end: seconds of processor, and the peak of its resident set in MB.

    Raises:
        RuntimeError: it failed.
    """
    with tempfile.TemporaryFile() as said:
        pid = os.posix_spawn(
            command[0],
            list(command),
            {**os.environ, "OMP_NUM_THREADS": "1"},
            file_actions=[(os.POSIX_SPAWN_DUP2, said.fileno(), number) for number in (1, 2)],
        )
        _, status, used = os.wait4(pid, 0)
        if status:
            said.seek(0)
            raise RuntimeError(f"{' '.join(command)} failed:\n{said.read().decode(errors='replace')[-2000:]}")
    return {"seconds": used.ru_utime + used.ru_stime, "peak_mb": used.ru_maxrss / 1024}


def summarise(result: dict[str, Any]) -> str:
    """The figures as Markdown."""
    lines = [
        "| what | hours of EEG | processor seconds | hours per second | peak memory (MB) |",
        "|---|---:|---:|---:|---:|",
    ]
    for row in result["rows"]:
        lines.append(
            f"| {row['what']} | {row['hours']} | {row['seconds']:.1f} | {row['hours'] / row['seconds']:.3f} "
            f"| {row['peak_mb']:.0f} |"
        )
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hours", type=int, default=24, help="length of the recording")
    parser.add_argument("--model", default=str(STUDENT), help="folder of a student")
    parser.add_argument("--output", type=Path, help="JSON file of all figures")
    args = parser.parse_args(argv)
    dlink = [
        sys.executable,
        "-c",
        "import sys; from dlink_hf.commands import main; sys.exit(main(sys.argv[1:]))",
        "predict",
    ]
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for hours in (1, args.hours):
            path = write_recording(Path(folder) / f"hours_{hours}.edf", hours)
            commands = {"dlink predict": [*dlink, str(path), "--model", args.model, "--output", f"{path}.csv"]}
            if hours == 1:
                commands["plain MNE: read, filter, resample"] = [sys.executable, "-c", PLAIN, str(path)]
            for what, command in commands.items():
                rows.append({"what": what, "hours": hours, **measure(command)})
                print(rows[-1], flush=True)
            with open(f"{path}.csv", encoding="utf-8") as file:
                n_windows = sum(1 for _ in file) - 1
            if n_windows != hours * 720:
                raise RuntimeError(f"{hours} hours gave {n_windows} windows of 5 s, expected are {hours * 720}")
            path.unlink()
    result = {"sfreq": SFREQ, "n_chans": len(ELECTRODES), "model": Path(args.model).name, "rows": rows}
    print(summarise(result))
    if args.output:
        write_json(args.output, result)


if __name__ == "__main__":
    main()
