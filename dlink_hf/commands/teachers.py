# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""`dlink teachers`: every foundation model that can be a teacher, built and measured."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tqdm.auto import tqdm

from ..core.licences import KNOWN_LICENCES
from ..models.teacher.backbones import BACKBONES
from .flags import arg, parse


DESCRIPTION = (
    "Every foundation model that can be a teacher: builds each with random weights, and prints as a "
    "Markdown table what it takes, what it costs, and how far its hidden states are from plain forward hooks."
)

# headings of the table; the contracts follow below it
HEADINGS = {
    "model": "model",
    "loads": "loads",
    "layers": "layers",
    "input": "input",
    "layout": "layout",
    "tokens": "C_t x P_t x D",
    "sfreq": "rate",
    "patch_size": "patch",
    "window": "window",
    "parameters": "parameters",
    "gflop": "GFLOP",
    "difference": "max. difference from hooks",
    "loads_bit_identical": "published format loads bit-identical",
}


@dataclass
class TeachersArguments:
    """What is measured, and how it is printed."""

    models: list[str] = arg([], "Which of them; all if left out.")
    full: bool = arg(False, "Published sizes (up to 172 M parameters, minutes) rather than small variants.")
    json: bool = arg(False, "Print JSON rather than Markdown.")


def _cell(field: str, value: Any) -> str:
    if value is None:
        return "any" if field == "sfreq" else "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return " x ".join(map(str, value))
    formats = {"sfreq": "{:g} Hz", "parameters": "{:,}", "gflop": "{:.3f}", "difference": "{:.1e}", "layout": "`{}`"}
    return formats.get(field, "{}").format(value)


def format_teachers(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the rows of `describe_teacher` as a Markdown table, then what each wants of its channels, then licences.

    Args:
        rows: one a model.
    """
    lines = [f"| {' | '.join(HEADINGS.values())} |", f"|{'---|' * len(HEADINGS)}"]
    for row in rows:
        values = {field: row.get(field) for field in HEADINGS}
        cells = [_cell(field, value) for field, value in values.items()]
        if not row["loads"]:
            cells[3:] = ["-" for _ in cells[3:]]
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", "| model | channels | amplitudes | factor from microvolts |", "|---|---|---|---|"]
    lines += [f"| {r['model']} | {r['channels']} | {r['scale_note']} | {r['input_scale']:g} |" for r in rows]
    lines += ["", "| model | published weights | licence | read on |", "|---|---|---|---|"]
    lines += [
        f"| {row['model']} | {name} | {known.license} | {known.source} |"
        for row in rows
        for name, known in KNOWN_LICENCES.items()
        if known.backbone == row["model"]
    ]
    lines += ["", "Windows: samples that are allowed, k = 1, 2, 3 ... (0, 1, 2 ... behind a plus). GFLOP: 2 x MAC."]
    lines += ["Licence: `unknown` where none was found; what a licence allows is in docs/publish.md."]
    lines += [f"\n{row['model']} could not be built: {row['error']}" for row in rows if row["error"]]
    return "\n".join(lines)


def run(argv: Sequence[str]) -> None:
    """Entry of `dlink teachers`."""
    (args,) = parse("teachers", DESCRIPTION, (TeachersArguments,), argv)
    unknown = [name for name in args.models if name not in BACKBONES]
    if unknown:
        raise ValueError(f"--models: there is no {', '.join(unknown)}; the teachers are {', '.join(BACKBONES)}.")
    from ..profiling.known_teachers import describe_teacher

    # what a loaded checkpoint leaves out is reported at each, and is the same for all
    logger = logging.getLogger("dlink_hf")
    level, rows = logger.level, []
    logger.setLevel(logging.ERROR)
    try:
        with tqdm(args.models or list(BACKBONES), unit="model") as bar:
            for name in bar:
                bar.set_description(name)
                rows.append(describe_teacher(name, full=args.full))
    finally:
        logger.setLevel(level)
    print(json.dumps(rows, indent=2) if args.json else format_teachers(rows))


__all__ = ["TeachersArguments", "format_teachers", "run"]
