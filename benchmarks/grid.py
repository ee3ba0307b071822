# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Students, their teachers, ablations and baselines on people that no model has seen, cell by cell.

    python benchmarks/grid.py run --data_dir DATA --models dlink_small no_teacher --seeds 0 1 2
    python benchmarks/grid.py list
    python benchmarks/grid.py table

`run` appends one JSON line a cell (set, alignment, model, seed) and skips those that are there with the same settings,
so that a run that was killed goes on where it stopped; `list` says what is done; `table` turns the lines into the
tables of README.md. The people are those of protocol/people.json, the settings those of protocol/settings.json, chosen
on the validation people; the test people are scored once, at the end of a cell.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from grid_cells import (
    ABLATIONS,
    ALIGNMENTS,
    LINEAR,
    MAIN_SETS,
    MODELS,
    PRETRAINED,
    RESULTS,
    SETS,
    SETTINGS,
    STUDENTS,
    append_line,
    digest_of,
    latest_lines,
    list_cells,
    load_splits,
    people_of,
    read_lines,
    settings_of,
    teacher_cell,
)
from grid_models import fit_row, linear_probabilities, load_teacher
from grid_statistics import as_text, select

from dlink_hf.metrics.eeg_classification import SCORES


HERE = Path(__file__).resolve().parent
CHECKPOINT = HERE.parent / "model_cards" / "dlink-teacher-cbramod-4"


def needs_checkpoint(cell: Mapping[str, Any], settings: Mapping[str, Any]) -> bool:
    """Whether a cell starts from the pre-trained teacher, or its teacher does."""
    return cell["model"] in PRETRAINED or settings.get("teacher") in PRETRAINED


def run_cell(cell: Mapping[str, Any], settings: Mapping[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    """Train and score one cell; the line that is appended."""
    digest = digest_of(cell, settings, options.checkpoint, options.settings)
    from dlink_hf.evaluation import predict_probabilities
    from dlink_hf.metrics import classification_scores

    splits = load_splits(cell["set"], cell["alignment"], options.data_dir, options.cache_dir)
    teacher = find_teacher(cell, settings, options) if settings.get("teacher") else None
    started = time.perf_counter()
    parameters = None
    column = people_of(cell["set"])["group_column"]
    if cell["model"] in LINEAR:
        probabilities = linear_probabilities(cell["model"], cell["set"], splits, settings)
    else:
        network = fit_row(cell, settings, splits, options.checkpoint, teacher, column)
        parameters = sum(p.numel() for p in network.parameters())
        probabilities = {k: predict_probabilities(network, splits[k]) for k in ("validation", "test")}
        if cell["model"] in (*PRETRAINED, *STUDENTS, *ABLATIONS, "scratch"):
            network.save_pretrained(model_folder(cell, digest, options))
    scores = {}
    for split in ("validation", "test"):
        rows = splits[split]
        found = classification_scores(np.asarray(rows["labels"][:]), probabilities[split], rows[column][:])
        people = {subject: _rounded(own) for subject, own in found["per_subject"].items()}
        scores[split] = {**_rounded(found), "subjects": people}
    return {
        **cell,
        "digest": digest,
        "settings": dict(settings),
        "parameters": parameters,
        "seconds": round(time.perf_counter() - started, 1),
        "scores": scores,
        "versions": _versions(),
    }


def model_folder(cell: Mapping[str, Any], digest: str, options: argparse.Namespace) -> Path:
    """Where the trained network of a cell is kept; its name changes with whatever the cell depends on."""
    return Path(options.models_dir) / "-".join([*(str(value) for value in cell.values()), digest])


def find_teacher(cell: Mapping[str, Any], settings: Mapping[str, Any], options: argparse.Namespace) -> Any:
    """The fine-tuned teacher of a student's cell: trained, scored and kept first where it is not there yet."""
    teacher = teacher_cell(cell, settings)
    its_settings = settings_of(teacher["set"], teacher["model"], teacher["alignment"], options.settings)
    digest = digest_of(teacher, its_settings, options.checkpoint, options.settings)
    folder = model_folder(teacher, digest, options)
    if not (folder / "model.safetensors").is_file():
        finish(teacher, its_settings, options)
    return load_teacher(folder)


def finish(cell: Mapping[str, Any], settings: Mapping[str, Any], options: argparse.Namespace) -> None:
    """Run a cell and append its line, unless there is one: then the network alone was missing."""
    line = run_cell(cell, settings, options)
    if line["digest"] not in {known["digest"] for known in read_lines(options.results)}:
        append_line(options.results, line)
    shown = {k: line["scores"][k]["balanced_accuracy"] for k in ("validation", "test")}
    print(" ".join(map(str, cell.values())), shown, f"{line['seconds']:.0f} s", flush=True)


def _rounded(scores: Mapping[str, float]) -> dict[str, float | None]:
    """Four digits of each score; None where it is not defined, which JSON has no number for."""
    return {key: round(float(scores[key]), 4) if np.isfinite(scores[key]) else None for key in SCORES}


def _versions() -> dict[str, str]:
    import braindecode
    import torch
    import transformers

    import dlink_hf

    modules = {"dlink_hf": dlink_hf, "torch": torch, "transformers": transformers, "braindecode": braindecode}
    return {"python": platform.python_version(), **{name: module.__version__ for name, module in modules.items()}}


def run(options: argparse.Namespace) -> None:
    """Run the cells that have no line yet."""
    for cell, settings, done in planned(options):
        # another process may have finished it meanwhile
        if not done and not is_done(cell, settings, options):
            finish(cell, settings, options)


def is_done(cell: Mapping[str, Any], settings: Mapping[str, Any], options: argparse.Namespace) -> bool:
    """Whether the results hold the line of a cell."""
    digest = digest_of(cell, settings, options.checkpoint, options.settings)
    return digest in {line["digest"] for line in read_lines(options.results)}


def planned(options: argparse.Namespace) -> list[tuple[dict[str, Any], dict[str, Any], bool]]:
    """The cells that were asked for, their settings, and whether they are done.

    Raises:
        SystemExit: a cell starts from the pre-trained teacher, and there is none.
    """
    table = json.loads(options.settings.read_text(encoding="utf-8"))
    models = [model for model in options.models or MODELS if options.models or model in table]
    cells = []
    for cell in list_cells(options.sets, options.alignments, models, options.seeds):
        if cell["model"] not in table:
            raise SystemExit(f"--models: {options.settings} has no settings for {cell['model']}.")
        settings = settings_of(cell["set"], cell["model"], cell["alignment"], options.settings)
        if needs_checkpoint(cell, settings) and not Path(options.checkpoint, "model.safetensors").is_file():
            raise SystemExit(
                f"--checkpoint: {options.checkpoint} holds no pre-trained teacher, from which {cell['model']} starts. "
                "Name a folder that `dlink pretrain-teacher` made."
            )
        cells.append((cell, settings, is_done(cell, settings, options)))
    return cells


def table(lines: list[dict[str, Any]]) -> str:
    """Balanced accuracy and AUROC on the test people, mean and sd over seeds, as Markdown."""
    rows = ["| set | alignment | model | balanced accuracy | AUROC | seeds |", "|---|---|---|---:|---:|---:|"]
    for name in SETS:
        for alignment in ALIGNMENTS:
            for model in MODELS:
                chosen = select(lines, name, alignment, model)
                if not chosen:
                    continue
                shown = [
                    as_text([line["scores"]["test"][key] for line in chosen]) for key in ("balanced_accuracy", "auroc")
                ]
                rows.append(f"| {name} | {alignment} | {model} | {shown[0]} | {shown[1]} | {len(chosen)} |")
    return "\n".join(rows)


def main(argv: list[str] | None = None) -> None:
    """Entry of the script."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    runs = commands.add_parser("run", help="run cells")
    lists = commands.add_parser("list", help="say which cells are done")
    tables = commands.add_parser("table", help="print the table of the lines")
    runs.add_argument("--data_dir", default=os.environ.get("DLINK_DATA_DIR"), help="folder that holds the sets")
    runs.add_argument("--cache_dir", default=None, help="where prepared windows are kept")
    runs.add_argument("--models_dir", default="outputs/grid", help="where trained networks are kept")
    for command in (runs, lists):
        command.add_argument("--checkpoint", default=str(CHECKPOINT), help="folder of the pre-trained teacher")
        command.add_argument("--sets", nargs="+", choices=SETS, default=list(MAIN_SETS))
        command.add_argument("--models", nargs="+", choices=MODELS, help="all that have settings, if left out")
        command.add_argument("--alignments", nargs="+", choices=ALIGNMENTS, default=["none", "euclidean_monge"])
        command.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
        command.add_argument("--settings", type=Path, default=SETTINGS, help="other settings, to try them out")
    for command in (runs, lists, tables):
        command.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args(argv)
    warnings.simplefilter("ignore", FutureWarning)
    if options.command == "table":
        print(table(latest_lines(options.results)))
    elif options.command == "list":
        for cell, _, done in planned(options):
            print("done" if done else "open", *cell.values())
    elif not options.data_dir:
        parser.error("--data_dir: name the folder that holds the sets, or set DLINK_DATA_DIR")
    else:
        run(options)


if __name__ == "__main__":
    main()
