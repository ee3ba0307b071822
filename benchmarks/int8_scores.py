# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""What 8 bits cost: balanced accuracy of the students of three tasks on the test people, float32 against int8.

    python benchmarks/int8_scores.py --data_dir DATA --cache_dir CACHE

Every student of model_cards/ is exported in int8, its ranges set by 256 windows of the training people (those of
protocol/people.json), and scored on all windows of the test people beside PyTorch in float32: as ONNX, and for
ExecuTorch where that is installed. Windows lost were right in float32 alone, windows won in int8 alone; the difference
is the largest of a logit, as a share of their spread. Writes results/int8.json and prints it as a table; `table` alone
prints what is there. A set that is measured anew replaces its own rows alone.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from grid_cells import HERE, SETS, load_splits, people_of
from sklearn.metrics import balanced_accuracy_score


RESULTS = HERE / "results" / "int8.json"
CARDS = HERE.parent / "model_cards"
ALIGNMENT = "euclidean_monge"
WITH_STUDENT = tuple(name for name in SETS if (CARDS / f"dlink-mic-small-{name}").is_dir())


def installed() -> list[str]:
    """Formats that can be made and run here."""
    return [name for name, needed in (("onnx", "onnxruntime"), ("executorch", "executorch")) if find_spec(needed)]


@torch.no_grad()
def measure(name: str, data_dir: str, cache_dir: str | None) -> list[dict[str, Any]]:
    """Scores of a set's student in float32 by PyTorch, and in int8 by each format: a row each."""
    from dlink_hf import MiCForEEGClassification
    from dlink_hf.export.loading import format_of
    from dlink_hf.export.onnx import TOLERANCES, write_export

    folder, column = CARDS / f"dlink-mic-small-{name}", people_of(name)["group_column"]
    splits = load_splits(name, ALIGNMENT, data_dir, cache_dir)
    test = splits["test"].with_format("numpy")
    values, labels = np.asarray(test["input_values"][:], dtype=np.float32), np.asarray(test["labels"][:])
    network = MiCForEEGClassification.from_pretrained(folder).eval()
    expected = torch.cat([network(batch).logits for batch in torch.from_numpy(values).split(64)]).numpy()
    before = balanced_accuracy_score(labels, expected.argmax(1))
    rows = []
    for backend in installed():
        kind = format_of(backend)
        with tempfile.TemporaryDirectory() as out:
            # what is beyond the tolerance is to be measured too
            path = write_export(
                kind, folder, out, precision="int8", calibration=splits["train"], tolerance=100.0, progress=False
            )
            found = kind.student.from_pretrained(out)(values).logits
            size, versions = path.stat().st_size, json.loads((path.parent / "deploy.json").read_text())["made_with"]
        after = balanced_accuracy_score(labels, found.argmax(1))
        right, was_right = found.argmax(1) == labels, expected.argmax(1) == labels
        difference = np.abs(found - expected).max() / np.ptp(expected)
        rows.append(
            {
                "set": name,
                "format": backend,
                f"test_{column}s": len(set(test[column][:])),
                "test_windows": len(labels),
                "balanced_accuracy": {"float32": round(float(before), 4), "int8": round(float(after), 4)},
                "change_points": round(100 * float(after - before), 2),
                "same_labels": round(float((found.argmax(1) == expected.argmax(1)).mean()), 4),
                "windows_lost": int((was_right & ~right).sum()),
                "windows_won": int((right & ~was_right).sum()),
                "relative_difference": round(float(difference), 4),
                "within_tolerance": bool(difference <= TOLERANCES["int8"]),
                "bytes": size,
                "versions": versions,
            }
        )
        print(json.dumps(rows[-1]), flush=True)
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as Markdown."""
    lines = [
        "| set | format | test windows | float32 | int8 | points | same labels | lost | won | difference | kB |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        score = row["balanced_accuracy"]
        lines.append(
            f"| {row['set']} | {row['format']} | {row['test_windows']} | {score['float32']:.4f} | "
            f"{score['int8']:.4f} | {row['change_points']:+.2f} | "
            f"{row['same_labels']:.1%} | {row['windows_lost']} | {row['windows_won']} | "
            f"{row['relative_difference']:.1%} | {row['bytes'] / 1e3:.0f} |"
        )
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> None:
    """Entry of the script."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", nargs="?", choices=("run", "table"), default="run")
    parser.add_argument("--data_dir", default=os.environ.get("DLINK_DATA_DIR"), help="folder that holds the sets")
    parser.add_argument("--cache_dir", default=None, help="where prepared windows are kept")
    parser.add_argument("--sets", nargs="+", choices=WITH_STUDENT, default=list(WITH_STUDENT))
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args(argv)
    known = json.loads(options.results.read_text(encoding="utf-8")) if options.results.is_file() else []
    if options.command == "run":
        if not options.data_dir:
            parser.error("--data_dir: name the folder that holds the sets, or set DLINK_DATA_DIR")
        torch.set_num_threads(1)
        for name in options.sets:
            rows = measure(name, options.data_dir, options.cache_dir)
            renewed = {(row["set"], row["format"]) for row in rows}
            known = [row for row in known if (row["set"], row["format"]) not in renewed] + rows
            known.sort(key=lambda row: (SETS.index(row["set"]), row["format"]))
            options.results.parent.mkdir(parents=True, exist_ok=True)
            partial = options.results.with_name(f".{options.results.name}")
            partial.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")
            partial.replace(options.results)
    print(table(known))


if __name__ == "__main__":
    main()
