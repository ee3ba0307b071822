# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Students, their teachers, ablations and baselines on people that no model has seen, cell by cell.

    python benchmarks/grid.py run --data_dir DATA --models dlink_small no_teacher --seeds 0 1 2
    python benchmarks/grid.py list
    python benchmarks/grid.py table
    python benchmarks/grid.py try --data_dir DATA --models dlink_small --seeds 0 --alter '{"mimic_epochs": 0}'

`run` appends one JSON line a cell (set, alignment, model, seed) and skips those that are there with the same settings,
so that a run that was killed goes on where it stopped; `list` says what is done; `table` prints scores of the lines
(grid_report.py makes RESULTS.md of them). The people are those of dlink_hf/data/public/benchmark_subjects.json, the
settings those of protocol/settings.json, chosen on the validation people; the test people are scored once, at the end
of a cell. `try` is how settings are chosen: it merges `--alter` over a row's settings and scores the validation
people alone, into another file.

`--share 0.1` cuts the labelled training windows to a tenth, person by person and class by class, or the people to a
tenth, with `--share_of people`; alignments still see all windows of a person, and the number of steps stays.
`--student FOLDER` puts another general student in place of the one that a row starts from.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from datasets import DatasetDict
from grid_cells import (
    ABLATIONS,
    ALIGNMENTS,
    LINEAR,
    MAIN_SETS,
    MODELS,
    NETWORKS,
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

from dlink_hf.core.checkpoint_names import resolve_checkpoint
from dlink_hf.evaluation.metrics.eeg_classification import SCORES


HERE = Path(__file__).resolve().parent
CHECKPOINT = HERE.parent / "dlink_hf" / "checkpoints" / "dlink-teacher-cbramod-4"
TRIED = Path("outputs", "tried.jsonl")
JUDGED = ("validation", "test")


def needs_checkpoint(cell: Mapping[str, Any], settings: Mapping[str, Any]) -> bool:
    """Whether a cell starts from the pre-trained teacher, or its teacher does."""
    return cell["model"] in PRETRAINED or settings.get("teacher") in PRETRAINED


def cell_digest(cell: Mapping[str, Any], settings: Mapping[str, Any], options: argparse.Namespace) -> str:
    """`digest_of` a cell; of a student's folder that `--student` names, its weights count and not where it lies."""
    if not settings.get("student") or not options.student or not Path(options.student).is_dir():
        return digest_of(cell, settings, options.checkpoint, options.settings)
    rest = digest_of(cell, {**settings, "student": None}, options.checkpoint, options.settings)
    weights = hashlib.sha256(Path(options.student, "model.safetensors").read_bytes()).hexdigest()
    return hashlib.sha256(f"{rest}\n{settings['student']}\n{weights}".encode()).hexdigest()[:16]


def cut_to_share(train: Any, share: float, column: str, seed: int, share_of: str = "windows") -> Any:
    """That share of each person's windows of each class, at least one of each; or all windows of that share of people.

    Drawn by the seed; with one seed, what a smaller share holds a larger one holds too.
    """
    rng = np.random.default_rng(seed)
    groups: dict[Any, list[int]] = {}
    for row, (person, label) in enumerate(zip(train[column][:], train["labels"][:], strict=True)):
        groups.setdefault(person if share_of == "people" else (person, int(label)), []).append(row)
    parts = [np.asarray(rows) for _, rows in sorted(groups.items())]
    if share_of == "people":
        kept = [parts[i] for i in rng.permutation(len(parts))[: max(1, round(share * len(parts)))]]
    else:
        kept = [rng.permutation(rows)[: max(1, round(share * len(rows)))] for rows in parts]
    return train.select(np.sort(np.concatenate(kept)))


def fit_and_score(
    cell: Mapping[str, Any], settings: Mapping[str, Any], options: argparse.Namespace, judged: Sequence[str] = JUDGED
) -> tuple[dict[str, Any], Any]:
    """Train one cell and score it on the splits `judged`, the only ones whose windows are predicted.

    Returns:
        its line, and its network: None of a linear model.
    """
    from dlink_hf.evaluation.metrics import classification_scores
    from dlink_hf.evaluation.predict import predict_probabilities

    digest = cell_digest(cell, settings, options)
    column = people_of(cell["set"])["group_column"]
    splits = load_splits(cell["set"], cell["alignment"], options.data_dir, options.cache_dir)
    splits = DatasetDict({split: splits[split] for split in ("train", *judged)})
    if "share" in cell:
        splits["train"] = cut_to_share(
            splits["train"], cell["share"], column, cell["seed"], cell.get("share_of", "windows")
        )
    teacher = find_teacher(cell, settings, options, judged) if settings.get("teacher") else None
    started = time.perf_counter()
    network = parameters = None
    if cell["model"] in LINEAR:
        probabilities = linear_probabilities(cell["model"], cell["set"], splits, settings)
    else:
        used = {**settings, "student": options.student} if settings.get("student") and options.student else settings
        features = f"{options.models_dir}/features"
        network = fit_row(cell, used, splits, options.checkpoint, teacher, column, features)
        parameters = sum(p.numel() for p in network.parameters())
        probabilities = {k: predict_probabilities(network, splits[k]) for k in judged}
    scores = {}
    for split in judged:
        rows = splits[split]
        found = classification_scores(np.asarray(rows["labels"][:]), probabilities[split], rows[column][:])
        people = {subject: _rounded(own) for subject, own in found["per_subject"].items()}
        scores[split] = {**_rounded(found), "subjects": people}
    line = {
        **cell,
        "digest": digest,
        "settings": dict(settings),
        "parameters": parameters,
        "seconds": round(time.perf_counter() - started, 1),
        "scores": scores,
        "versions": _versions(),
    }
    return line, network


def model_folder(cell: Mapping[str, Any], digest: str, options: argparse.Namespace) -> Path:
    """Where the trained network of a cell is kept; its name changes with whatever the cell depends on."""
    return Path(options.models_dir) / "-".join([*(str(value) for value in cell.values()), digest])


def find_teacher(
    cell: Mapping[str, Any], settings: Mapping[str, Any], options: argparse.Namespace, judged: Sequence[str]
) -> Any:
    """The fine-tuned teacher of a student's cell: trained, scored and kept first where it is not there yet."""
    teacher = teacher_cell(cell, settings)
    its_settings = settings_of(teacher["set"], teacher["model"], teacher["alignment"], options.settings)
    folder = model_folder(teacher, cell_digest(teacher, its_settings, options), options)
    if not (folder / "model.safetensors").is_file():
        finish(teacher, its_settings, options, judged)
    return load_teacher(folder)


def finish(
    cell: Mapping[str, Any], settings: Mapping[str, Any], options: argparse.Namespace, judged: Sequence[str] = JUDGED
) -> None:
    """Run a cell, keep its network, and append its line, unless there is one: then the network alone was missing.

    A teacher that was trained for `try` is kept too, but has no line: it was not scored on the test people.
    """
    line, network = fit_and_score(cell, settings, options, judged)
    if cell["model"] in (*PRETRAINED, *STUDENTS, *ABLATIONS, "scratch"):
        network.save_pretrained(model_folder(cell, line["digest"], options))
    if "test" in judged and line["digest"] not in {known["digest"] for known in read_lines(options.results)}:
        append_line(options.results, line)
    shown = {k: line["scores"][k]["balanced_accuracy"] for k in judged}
    print(*cell.values(), shown, f"{line['seconds']:.0f} s", flush=True)


def attempt(options: argparse.Namespace) -> None:
    """Train the cells with altered settings and append what they score on the validation people; nothing is kept."""
    for cell, settings, done in planned(options):
        if done:
            print(*cell.values(), f"is in {options.results} with these settings", flush=True)
            continue
        line, _ = fit_and_score(cell, settings, options, ("validation",))
        found = {key: line["scores"]["validation"][key] for key in ("balanced_accuracy", "auroc")}
        own = {key: line[key] for key in ("digest", "settings", "seconds")}
        append_line(options.results, {**cell, "altered": options.alter, **found, **own})
        print(*cell.values(), options.alter, found, f"{line['seconds']:.0f} s", flush=True)


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
    return cell_digest(cell, settings, options) in {line["digest"] for line in read_lines(options.results)}


def lacking(model: str, settings: Mapping[str, Any]) -> list[str]:
    """The settings that a row cannot be trained without and that are not there."""
    if model in LINEAR:
        needed = ["strengths" if model == "bandpower" else "components"]
    elif settings.get("epochs") == 0:
        needed = []
    else:
        needed = ["epochs", "batch_size", "learning_rate", "weight_decay"]
    needed += ["input_scale"] * (model in NETWORKS) + ["layers", "dropout"] * (model == "scratch")
    needed += ["mimic_epochs"] * bool(settings.get("teacher"))
    needed += ["size"] * (model in (*STUDENTS, *ABLATIONS) and not settings.get("student"))
    return [name for name in needed if name not in settings]


def planned(options: argparse.Namespace) -> list[tuple[dict[str, Any], dict[str, Any], bool]]:
    """The cells that were asked for, their settings, and whether they are done.

    Raises:
        SystemExit: a cell has no settings, or starts from the pre-trained teacher and there is none, or from a student
            that is not there.
    """
    table = json.loads(options.settings.read_text(encoding="utf-8"))
    models = [model for model in options.models or MODELS if options.models or model in table]
    known = {line["digest"] for line in read_lines(options.results)}
    if options.student and not Path(resolve_checkpoint(options.student), "model.safetensors").is_file():
        raise SystemExit(
            f"--student: {options.student} holds no model.safetensors. Name a packaged student or a folder that "
            "`dlink distill-backbone` made."
        )
    cells = []
    for cell in list_cells(options.sets, options.alignments, models, options.seeds):
        if options.share < 1:
            cell = {**cell, "share": options.share}
            if options.share_of == "people":
                cell["share_of"] = "people"
        if cell["model"] not in table and not options.alter:
            raise SystemExit(f"--models: {options.settings} has no settings for {cell['model']}.")
        settings = {}
        if cell["model"] in table:
            settings = settings_of(cell["set"], cell["model"], cell["alignment"], options.settings)
        # as many steps as with all labels: few windows are seen more often
        for key in ("epochs", "mimic_epochs"):
            if settings.get(key):
                settings[key] = round(settings[key] / options.share)
        settings |= options.alter
        missing = lacking(cell["model"], settings)
        if missing:
            raise SystemExit(f"--alter: {cell['model']} has no setting {', '.join(missing)}: give what is missing.")
        if settings.get("student") and options.student:
            settings["student"] = Path(options.student).resolve().name
        if needs_checkpoint(cell, settings) and not Path(options.checkpoint, "model.safetensors").is_file():
            raise SystemExit(
                f"--checkpoint: {options.checkpoint} holds no pre-trained teacher, from which {cell['model']} starts. "
                "Name a folder that `dlink pretrain-teacher` made."
            )
        cells.append((cell, settings, cell_digest(cell, settings, options) in known))
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


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"must be a number above 0 and at most 1, got {text!r}")
    return value


def _settings(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        value = None
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError(f'must be a JSON object such as {{"mimic_epochs": 0}}, got {text!r}')
    return value


def main(argv: list[str] | None = None) -> None:
    """Entry of the script."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    runs = commands.add_parser("run", help="run cells")
    lists = commands.add_parser("list", help="say which cells are done")
    tables = commands.add_parser("table", help="print the table of the lines")
    tries = commands.add_parser("try", help="score altered settings on the validation people")
    for command in (runs, tries):
        command.add_argument("--data_dir", default=os.environ.get("DLINK_DATA_DIR"), help="folder that holds the sets")
        command.add_argument("--cache_dir", default=None, help="where prepared windows are kept")
        command.add_argument("--models_dir", default="outputs/grid", help="for networks and teachers' features")
    for command in (runs, lists, tries):
        command.set_defaults(alter={})
        command.add_argument("--checkpoint", default=str(CHECKPOINT), help="folder of the pre-trained teacher")
        command.add_argument("--sets", nargs="+", choices=SETS, default=list(MAIN_SETS))
        command.add_argument("--models", nargs="+", choices=MODELS, help="all that have settings, if left out")
        command.add_argument("--alignments", nargs="+", choices=ALIGNMENTS, default=["none", "euclidean_monge"])
        command.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
        command.add_argument("--settings", type=Path, default=SETTINGS, help="other settings, to try them out")
        command.add_argument("--share", type=_share, default=1.0, help="of the labelled training windows, in (0, 1]")
        command.add_argument(
            "--share_of", choices=("windows", "people"), default="windows", help="of everybody, or all"
        )
        command.add_argument("--student", help="name or folder that takes the place of a row's general student")
    tries.add_argument("--alter", type=_settings, default={}, help="JSON that is merged over the row's settings")
    for command in (runs, lists, tables, tries):
        command.add_argument("--results", type=Path, default=TRIED if command is tries else RESULTS)
    options = parser.parse_args(argv)
    warnings.simplefilter("ignore", FutureWarning)
    if options.command == "table":
        print(table(latest_lines(options.results)))
    elif options.command == "list":
        for cell, _, done in planned(options):
            print("done" if done else "open", *cell.values())
    elif not options.data_dir:
        parser.error("--data_dir: name the folder that holds the sets, or set DLINK_DATA_DIR")
    elif options.command == "try":
        attempt(options)
    else:
        run(options)


if __name__ == "__main__":
    main()
