# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""RESULTS_HUB.md out of the lines of `hub_protocol.py`: scores, paired intervals, and what they allow one to say."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np


sys.path.insert(0, str(Path(__file__).resolve().parent))

from regimes import REGIMES, best_alone, by_subject, difference, strongest_control, table  # noqa: E402


Lines = Sequence[Mapping[str, Any]]

# what a part of the method adds: one row less another
PARTS = {
    "layers (last one) beside the logits": ("last", "dlink"),
    "the router against the last layer": ("input", "last"),
    "the router against all layers alike": ("input", "uniform"),
    "the router against fixed weights": ("input", "static"),
    "the spectral terms": ("input", "no_spectra"),
}


def of_row(lines: Lines, row: str) -> list[Mapping[str, Any]]:
    """The lines of a row."""
    return [line for line in lines if line["row"] == row]


def mean_scores(lines: Lines) -> dict[str, dict[str, float]]:
    """Split -> subject -> balanced accuracy, the mean over seeds and folds."""
    found: dict[str, dict[str, list[float]]] = {"validation": {}, "test": {}}
    for line in lines:
        for split, scores in line["scores"].items():
            for subject, score in scores.items():
                found[split].setdefault(subject, []).append(score)
    return {split: {s: float(np.mean(v)) for s, v in scores.items()} for split, scores in found.items() if scores}


def verdicts(lines: Lines) -> list[str]:
    """Sentences about one set and regime: the teacher, the distilled student, the best control, the method's parts."""
    from dlink_hf.evaluation.comparison import distillation_verdict, teacher_verdict

    said, n_labels = [], lines[0]["n_labels"]
    teacher, student, alone = (
        mean_scores(of) for of in (of_row(lines, "teacher"), of_row(lines, "dlink"), best_alone(lines))
    )
    if "validation" in teacher:
        linear: dict[str, list[float]] = {}
        for line in of_row(lines, "teacher"):
            for subject, score in (line.get("band_power") or {}).items():
                linear.setdefault(subject, []).append(score)
        band_power = {subject: float(np.mean(scores)) for subject, scores in linear.items()}
        found = teacher_verdict(teacher["validation"], band_power or None, n_labels)
        said.append(" ".join(filter(None, (found["text"], found["advice"]))))
    if _comparable(student, alone):
        found = distillation_verdict(student, alone, teacher, n_labels)
        said.append(" ".join(filter(None, (found["text"], found["advice"]))))
    name, control = strongest_control(lines)
    gained = difference(by_subject(of_row(lines, "dlink")), control)
    if gained is not None:
        said.append(f"Against the best control ({name}): {gained.points()} points.")
    for part, (first, second) in PARTS.items():
        if second == "dlink" and lines[0]["settings"]["cached_views"]:
            # stored views against fresh ones: the difference would not be that of the layers alone
            continue
        added = difference(*(by_subject(of_row(lines, row)) for row in (first, second)))
        if added is not None:
            said.append(f"{part[0].upper()}{part[1:]} (`{first}` less `{second}`): {added.points()} points.")
    return said


def _comparable(first: Mapping[str, Any], second: Mapping[str, Any]) -> bool:
    splits = set(first) & set(second)
    return "test" in splits and all(set(first[split]) & set(second[split]) for split in splits)


def format_report(lines: Lines) -> str:
    """The report as Markdown.

    Raises:
        ValueError: there are no lines.
    """
    if not lines:
        raise ValueError("There are no lines to report: run `python benchmarks/hub_protocol.py` first.")
    out = [
        "# Published weights, sets of the Hub",
        "",
        "Made by `python benchmarks/hub_protocol.py report` from the lines of its runs. Balanced accuracy, the mean "
        "over test subjects, each tested in one fold; 95 % intervals (bootstrap over subjects and seeds), paired "
        "where they are of differences, in points. What the rows are is told in [README.md](README.md).",
    ]
    for teacher in dict.fromkeys(line["teacher"] for line in lines):
        own = [line for line in lines if line["teacher"] == teacher]
        out += ["", f"## {teacher}", "", *_sources(own), "", table(own)]
        for name in dict.fromkeys(line["set"] for line in own):
            for regime in REGIMES:
                of = [line for line in own if (line["set"], line["regime"]) == (name, regime)]
                said = verdicts(of) if of else []
                if said:
                    out += ["", f"### {name}, {regime}", "", *(f"- {sentence}" for sentence in said)]
    return "\n".join(out) + "\n"


def _sources(lines: Lines) -> list[str]:
    """Which weights and sets at which revision, and with which settings."""
    told = [f"- Weights: {lines[0]['teacher']} at {_distinct(line['teacher_revision'] for line in lines)}"]
    for name in dict.fromkeys(line["set"] for line in lines):
        of = [line for line in lines if line["set"] == name]
        seeds, settings = sorted({line["seed"] for line in of}), of[0]["settings"]
        subjects = {subject for line in of for subject in line["scores"]["test"]}
        folds = sorted({line["fold"] for line in of})
        budget = "by the recipe" if settings["steps"] is None else "given"
        told.append(
            f"- Set: {name} at {_distinct(line['set_revision'] for line in of)}; {len(subjects)} test subjects in "
            f"{len(folds)} of {settings['folds']} folds, seeds {', '.join(map(str, seeds))}; windows of "
            f"{settings['window_seconds']:g} s, {settings['l_freq']:g}-{settings['h_freq']:g} Hz; headset "
            f"{settings['headset']}, short {settings['short']:g} s, few {settings['few']} labelled subjects; steps "
            f"{_distinct(line['steps'] for line in of)} ({budget}), "
            f"of the teacher {settings['teacher_steps']}"
        )
    told.append(
        f"- Device: {_distinct(line['device'] for line in lines)}; dlink_hf "
        f"{_distinct(line['dlink_hf'] for line in lines)}"
    )
    return told


def _distinct(values: Any) -> str:
    return ", ".join(dict.fromkeys(map(str, values)))


def write_report(lines: Lines, path: Path) -> Path:
    """Write the report under a temporary name, then rename it."""
    from dlink_hf.core.atomic_files import staged

    text = format_report(lines)
    with staged(path.parent) as partial:
        (partial / path.name).write_text(text, encoding="utf-8")
    return path
