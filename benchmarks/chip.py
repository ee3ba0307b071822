# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Students as C on a Cortex-M7 in QEMU: flash, memory, instructions a window, and their labels beside PyTorch's.

    python benchmarks/chip.py --data_dir DATA --cache_dir CACHE

Every student of model_cards/ is exported as C (`dlink export --format c`) in float32 and int8, and built by
arm-none-eabi-gcc. QEMU (mps2-an500) classifies windows of the test people (those of protocol/), evenly spread; each
instruction is counted as a nanosecond of its clock (`-icount shift=0`), which SysTick reads at 25 MHz: a tick is 40
instructions (a loop of 16,000,000 reads as 400,000 ticks). RAM is static memory; the stack takes less than a kilobyte
on top. Milliseconds are an estimate: one instruction a cycle at 480 MHz, without waiting for flash. The scores are
those of the same C on this computer, on all windows of the test people. The tiny student has no trained head for a
set: its row is of dlink-mic-tiny with a new one, on eegmat's windows, without a score. EEGNet goes the same way, by
eegnet.c in place of mic.c, with random weights, on which costs do not depend; its score is that of the grid. Writes
results/chip.json and prints it as a table; `table` alone prints what is there. A row that is measured anew replaces
itself alone.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from chip_eegnet import export_eegnet
from grid_cells import HERE, SETS, latest_lines, load_splits, settings_of
from sklearn.metrics import balanced_accuracy_score

from dlink_hf.core.atomic_files import write_json


RESULTS = HERE / "results" / "chip.json"
CARDS = HERE.parent / "model_cards"
ALIGNMENT = "euclidean_monge"
WITH_STUDENT = tuple(name for name in SETS if (CARDS / f"dlink-mic-small-{name}").is_dir())
INSTRUCTIONS_A_TICK, MHZ = 40, 480
EEGNET = "EEGNet"
ORDER = ("small", "tiny, new head", EEGNET)
TOOLS = ("arm-none-eabi-gcc", "arm-none-eabi-size", "qemu-system-arm", "make")


def sections(folder: Path) -> tuple[int, int]:
    """Bytes of flash and of static memory of chip.elf, as arm-none-eabi-size counts them."""
    done = subprocess.run(["arm-none-eabi-size", "chip.elf"], cwd=folder, check=True, capture_output=True, text=True)
    text, data, bss = (int(word) for word in done.stdout.splitlines()[1].split()[:3])
    return text + data, data + bss


def on_chip(folder: Path, values: np.ndarray, n_labels: int) -> np.ndarray:
    """Rows (status, label, ticks, logits) that the program gives for windows (N, C, T), microvolts."""
    values.astype("<f4").tofile(folder / "windows.f32")
    subprocess.run(["make", "-s", "run"], cwd=folder, check=True)
    row = np.dtype([("status", "<i4"), ("label", "<i4"), ("ticks", "<u4"), ("logits", "<f4", n_labels)])
    return np.fromfile(folder / "results.bin", dtype=row)


@torch.no_grad()
def measure(
    name: str, size: str, network: Any, values: np.ndarray, labels: np.ndarray | None, n_chip: int
) -> list[dict[str, Any]]:
    """Rows of a student, one for each precision; EEGNet's weights are few, and stay in float32.

    Args:
        name: of the set.
        size: of the student, or EEGNet.
        network: the student, or EEGNet in a teacher's wrapper, in evaluation mode.
        values: windows (N, C, T) of the test people, microvolts.
        labels: theirs, (N,); None for a student that was not trained on the set.
        n_chip: how many of them QEMU classifies.
    """
    from dlink_hf.export.c_student import CStudent, export_c

    expected = torch.cat([network(batch).logits for batch in torch.from_numpy(values).split(64)]).numpy()
    chosen = np.unique(np.linspace(0, len(values) - 1, min(n_chip, len(values))).round().astype(int))
    rows = []
    for precision in ("float32",) if size == EEGNET else ("float32", "int8"):
        with tempfile.TemporaryDirectory() as out:
            if size == EEGNET:
                config = network.config
                path = export_eegnet(network.teacher.backbone, config.input_scale, config.ch_names, Path(out, "c"))
                found = on_this_computer(path.parent, values, config.num_labels)
            else:
                # what is beyond the tolerance is to be measured too
                path = export_c(
                    network, out, precision=precision, windows=values[:64], tolerance=100.0, progress=False
                )
                found = CStudent.make_runner(path.read_bytes())(values, None)
            results = on_chip(path.parent, values[chosen], network.config.num_labels)
            flash, memory = sections(path.parent)
        refused = results["status"] != 0
        answered, wanted = results[~refused], expected[chosen][~refused]
        instructions = INSTRUCTIONS_A_TICK * float(np.median(answered["ticks"]))
        row = {
            "set": name,
            "student": size,
            "precision": precision,
            "channels": values.shape[1],
            "samples": values.shape[2],
            "flash_bytes": flash,
            "memory_bytes": memory - values[0].nbytes,
            "window_bytes": values[0].nbytes,
            "instructions": round(instructions),
            "estimated_ms": round(instructions / (MHZ * 1e3), 1),
            "chip_windows": len(results),
            "refused_by_status": {
                str(s): int((results["status"] == s).sum()) for s in np.unique(results["status"][refused])
            },
            "same_labels": int((answered["label"] == wanted.argmax(1)).sum()),
            "relative_difference": float(f"{np.abs(answered['logits'] - wanted).max() / np.ptp(expected):.2g}"),
        }
        if labels is not None:
            scores = (balanced_accuracy_score(labels, logits.argmax(1)) for logits in (expected, found))
            row["test_windows"] = len(labels)
            row["balanced_accuracy"] = dict(zip(("pytorch", "c"), (round(float(x), 4) for x in scores), strict=True))
        rows.append(row)
        print(json.dumps(row), flush=True)
    return rows


def on_this_computer(folder: Path, values: np.ndarray, n_labels: int) -> np.ndarray:
    """Logits (N, num_labels) of windows (N, C, T), microvolts, by a folder's mic.c compiled for this computer."""
    subprocess.run(
        ["cc", "-std=c99", "-O2", "-shared", "-fPIC", "-o", "mic.so", "mic.c", "-lm"], cwd=folder, check=True
    )
    library, logits = ctypes.CDLL(str(folder / "mic.so")), np.empty((len(values), n_labels), dtype=np.float32)
    for window, row in zip(np.ascontiguousarray(values, dtype=np.float32), logits, strict=True):
        library.mic_forward(ctypes.c_void_p(window.ctypes.data), ctypes.c_void_p(row.ctypes.data))
    return logits


@torch.no_grad()
def fresh_eegnet(name: str, splits: Any) -> Any:
    """EEGNet in a teacher's wrapper, in evaluation mode: random weights, batch norms of the training windows."""
    from grid_models import make_teacher

    from dlink_hf import signal_fields

    torch.manual_seed(0)
    network = make_teacher(EEGNET, signal_fields(splits["train"]), settings_of(name, EEGNET, ALIGNMENT)).train()
    norms = [module for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        # a mean over all that is seen
        norm.momentum = None
    network(splits["train"].with_format("torch")[:64]["input_values"].float())
    return network.eval()


def grid_score(name: str) -> float | None:
    """EEGNet's balanced accuracy on the test people in the grid, the mean over seeds; None: not trained."""
    wanted = {"set": name, "model": EEGNET, "alignment": ALIGNMENT}
    lines = [line for line in latest_lines() if "share" not in line and wanted.items() <= line.items()]
    scores = [line["scores"]["test"]["balanced_accuracy"] for line in lines]
    return round(float(np.mean(scores)), 4) if scores else None


def rows_of(
    name: str, data_dir: str, cache_dir: str | None, n_chip: int, models: Sequence[str]
) -> Iterator[dict[str, Any]]:
    """Rows of a set: its small student, on eegmat the tiny one with a new head, and EEGNet."""
    from dlink_hf import MiCForEEGClassification

    splits = load_splits(name, ALIGNMENT, data_dir, cache_dir)
    test = splits["test"].with_format("numpy")
    values, labels = np.asarray(test["input_values"][:], dtype=np.float32), np.asarray(test["labels"][:])
    small = MiCForEEGClassification.from_pretrained(CARDS / f"dlink-mic-small-{name}").eval()
    if "students" in models:
        yield from measure(name, "small", small, values, labels, n_chip)
    if "students" in models and name == "eegmat":
        torch.manual_seed(0)
        montage = {key: getattr(small.config, key) for key in ("ch_names", "channel_positions", "n_times")}
        labelled = {"id2label": small.config.id2label, "label2id": small.config.label2id}
        tiny = MiCForEEGClassification.from_pretrained(CARDS / "dlink-mic-tiny", **montage, **labelled).eval()
        yield from measure(name, "tiny, new head", tiny, values, None, n_chip)
    if EEGNET in models:
        for row in measure(name, EEGNET, fresh_eegnet(name, splits), values, None, n_chip):
            yield {**row, "grid_balanced_accuracy": grid_score(name)}


def key_of(row: dict[str, Any]) -> tuple[str, str, str]:
    """What a row is of."""
    return row["set"], row["student"], row["precision"]


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as Markdown."""
    lines = [
        "| set | student | window | precision | flash (kB) | RAM (kB) | + window (kB) | million instructions | "
        "estimated ms | same labels | difference | balanced accuracy: PyTorch, C |",
        "|---|---|---|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        score, grid = row.get("balanced_accuracy"), row.get("grid_balanced_accuracy")
        scores = (
            f"{score['pytorch']:.4f}, {score['c']:.4f}" if score else "-" if grid is None else f"{grid:.4f} (grid)"
        )
        refused = sum(row["refused_by_status"].values())
        same = f"{row['same_labels']} of {row['chip_windows'] - refused}" + (f", {refused} refused" if refused else "")
        lines.append(
            f"| {row['set']} | {row['student']} | {row['channels']} x {row['samples']} | {row['precision']} | "
            f"{row['flash_bytes'] / 1e3:.0f} | {row['memory_bytes'] / 1e3:.0f} | {row['window_bytes'] / 1e3:.0f} | "
            f"{row['instructions'] / 1e6:.1f} | {row['estimated_ms']:.0f} | {same} | "
            f"{row['relative_difference']:.1e} | {scores} |"
        )
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> None:
    """Entry of the script."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", nargs="?", choices=("run", "table"), default="run")
    parser.add_argument("--data_dir", default=os.environ.get("DLINK_DATA_DIR"), help="folder that holds the sets")
    parser.add_argument("--cache_dir", default=None, help="where prepared windows are kept")
    parser.add_argument("--sets", nargs="+", choices=WITH_STUDENT, default=list(WITH_STUDENT))
    parser.add_argument("--models", nargs="+", choices=("students", EEGNET), default=["students", EEGNET])
    parser.add_argument("--windows", type=int, default=200, help="how many windows QEMU classifies")
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args(argv)
    known = json.loads(options.results.read_text(encoding="utf-8")) if options.results.is_file() else []
    if options.command == "run":
        missing = [name for name in TOOLS if shutil.which(name) is None]
        if missing:
            parser.error(f"not installed: {', '.join(missing)} (Debian: gcc-arm-none-eabi, qemu-system-arm, make)")
        if not options.data_dir:
            parser.error("--data_dir: name the folder that holds the sets, or set DLINK_DATA_DIR")
        torch.set_num_threads(1)
        for name in options.sets:
            for row in rows_of(name, options.data_dir, options.cache_dir, options.windows, options.models):
                known = [one for one in known if key_of(one) != key_of(row)] + [row]
                known.sort(key=lambda one: (SETS.index(one["set"]), ORDER.index(one["student"]), one["precision"]))
                write_json(options.results, known)
    print(table(known))


if __name__ == "__main__":
    main()
