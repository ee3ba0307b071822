# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""`dlink models`: the students and teachers there are, in the package and on the Hub."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml
from huggingface_hub import ModelCard
from safetensors import safe_open

from ..core.checkpoint_names import KNOWN_CHECKPOINTS, packaged_checkpoints
from ..core.checks import MALFORMED
from ..core.fetch import read_json
from ..core.text import for_terminal
from ..hub.listing import find_published
from ..hub.publish import STATISTICS
from .flags import arg, parse


DESCRIPTION = (
    "The checkpoints there are: those in the package, and those on the Hub that say they are of this library. Size, "
    "classes, channels, and the score that the card tells, which only its author has checked."
)
HEADINGS = ("name", "where", "parameters", "classes", "channels", "rate", "score")
# what is told of a model of classes, of numbers, of several labels at once
MAIN_SCORES = {"balanced_accuracy": "balanced accuracy", "r2": "R2", "macro_f1": "macro F1"}


@dataclass
class ModelsArguments:
    """What is listed."""

    search: str | None = arg(None, "Part of the name.")
    author: str | None = arg(None, "User or organisation on the Hub.")
    limit: int = arg(20, "At most so many from the Hub, those downloaded most first.")
    offline: bool = arg(False, "List only those in the package, without asking the Hub.")
    json: bool = arg(False, "Print JSON rather than a table.")


def describe(
    name: str, where: str, config: Mapping[str, Any], card: str | None, parameters: int | None
) -> dict[str, Any]:
    """Return one row of the list.

    Args:
        name: of the checkpoint.
        where: `"package"` or `"Hub"`.
        config: of its config.json.
        card: text of its card.
        parameters: how many it has.
    """
    has_head = any("ForEEG" in one for one in config.get("architectures") or ())
    labels = config.get("id2label") or {}
    return {
        "name": name,
        "where": where,
        "parameters": parameters,
        "classes": [labels[key] for key in sorted(labels, key=int)] if has_head and labels else None,
        "channels": len(config.get("ch_names") or ()) or None,
        "rate": config.get("sfreq"),
        "balanced accuracy": score_of(card) if card else None,
        "score": dict([found]) if card and (found := told_score(card)) else None,
    }


def packaged_rows(search: str) -> list[dict[str, Any]]:
    """Return the checkpoints in the package whose name holds `search`."""
    rows = []
    for name, folder in packaged_checkpoints().items():
        if search.lower() not in name.lower():
            continue
        with safe_open(folder / "model.safetensors", framework="np") as file:
            names = [name for name in file.keys() if not name.endswith(STATISTICS)]  # noqa: SIM118
            parameters = sum(math.prod(file.get_slice(name).get_shape()) for name in names)
        card = folder / "README.md"
        text = card.read_text("utf-8") if card.is_file() else None
        rows.append(describe(name, "package", read_json(folder / "config.json"), text, parameters))
    return rows


def score_of(card: str) -> float | None:
    """Return the balanced accuracy on the test split that a card's metadata tells; None where it tells none."""
    found = told_score(card)
    return found[1] if found is not None and found[0] == "balanced_accuracy" else None


def told_score(card: str) -> tuple[str, float] | None:
    """Return the first of a model's scores that a card's metadata tells, by its name; that of the test split."""
    try:
        results = ModelCard(card, ignore_metadata_errors=True).data.eval_results or []
    except (*MALFORMED, yaml.YAMLError):
        return None
    for kind in MAIN_SCORES:
        found = {r.dataset_split: r.metric_value for r in results if r.metric_type == kind}
        if found:
            return kind, found.get("test", next(iter(found.values())))
    return None


def run(argv: Sequence[str]) -> None:
    """Entry of `dlink models`."""
    (args,) = parse("models", DESCRIPTION, (ModelsArguments,), argv)
    rows = [] if args.author else packaged_rows(args.search or "")
    published, left_out = ([], []) if args.offline else find_published(args.search, args.author, args.limit)
    for one in published:
        try:
            row = describe(one.name, "Hub", one.config, one.card, one.parameters)
            table([row])
        except MALFORMED as error:
            # what is listed is what others say of themselves
            left_out.append(f"{for_terminal(one.name)}: its config.json or its card is malformed ({error!r})")
            continue
        rows.append(row)
    if left_out:
        plural = "repositories are" if len(left_out) > 1 else "repository is"
        reasons = "\n  ".join(reason[:300] for reason in left_out)
        print(f"{len(left_out)} malformed {plural} left out:\n  {reasons}", file=sys.stderr)
    if args.json:
        print(json.dumps(rows, indent=2))
        return
    print(table(rows))
    if len(published) + len(left_out) >= args.limit and not args.offline:
        print(f"\nThere may be more: --limit {2 * args.limit}, --search or --author.")
    print(f"\nNames of the project's own, here or on the Hub: {', '.join(KNOWN_CHECKPOINTS)}.")


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the rows as fixed-width text."""
    cells = [[*HEADINGS]]
    for row in rows:
        classes = ", ".join(row["classes"]) if row["classes"] else "none: to be fine-tuned"
        size = "-" if row["parameters"] is None else f"{row['parameters']:,}"
        rate = "-" if row["rate"] is None else f"{row['rate']:g} Hz"
        score = ", ".join(f"{MAIN_SCORES[kind]} {value:.3f}" for kind, value in (row["score"] or {}).items()) or "-"
        texts = [row["name"], row["where"], size, classes, str(row["channels"] or "-"), rate, score]
        cells.append([for_terminal(text) for text in texts])
    widths = [max(len(row[i]) for row in cells) for i in range(len(HEADINGS))]
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in cells
    )


__all__ = ["ModelsArguments", "describe", "run", "score_of", "table"]
