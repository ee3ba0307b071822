# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""What may be done with a model that goes back to published weights: for its card, and before it is published."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from ..core.licences import COPYLEFT, KNOWN_LICENCES, NO_DERIVATIVES, NON_COMMERCIAL, UNKNOWN, what_is_asked
from ..core.text import for_markdown


logger = logging.getLogger(__name__)

# what a licence asks -> what that means for the student
_MEANS = {
    NO_DERIVATIVES: "use it, but share neither it nor what is made from it: the licence forbids to share derivatives, "
    "and a student that was distilled from weights is taken for one here",
    UNKNOWN: "ask the authors before you share it or earn money with it: it is not known what they allow",
    NON_COMMERCIAL: "not for commercial use",
    COPYLEFT: "share it only under the same licence",
}
_NOTES = {name.casefold(): entry.note for name, entry in KNOWN_LICENCES.items()}


def licences_in(config: Mapping[str, Any]) -> list[dict[str, str]]:
    """Return the licences of published weights that a config.json names, its own and those of its parts.

    Args:
        config: of a student, a teacher or a studio.

    Returns:
        `weights`, `license` and `source` of each, every one once; none where the model goes back to no such weights.
    """
    parts: list[Any] = [config, config.get("student_config"), config.get("teacher_config")]
    parts += config.get("teacher_configs") or []
    found = [record for part in parts if part for record in part.get("weights_licenses") or []]
    return [record for index, record in enumerate(found) if record not in found[:index]]


def licence_facts(records: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """Return the rows of a card's table of the teacher that name the licences of its weights."""
    shown = [f"{r['license']}, of {r['weights']}" + (f" ({r['source']})" if r["source"] else "") for r in records]
    return {"licence of its weights": "; ".join(shown)} if shown else {}


def rights_text(records: Sequence[Mapping[str, str]]) -> str:
    """Say in Markdown what may be done with a model that goes back to published weights.

    Args:
        records: of [`licences_in`].

    Returns:
        a line for each set of weights; empty where there are none.
    """
    lines = []
    for record in records:
        asked = what_is_asked(record["license"], record["weights"])
        means = "; ".join(_MEANS[what] for what in asked)
        means = means or "use, change and share it, for money too; the notice of the authors goes along"
        page = f" ({for_markdown(record['source'])})" if record["source"] else ""
        note = _NOTES.get(record["weights"].casefold(), "")
        lines.append(
            f"- It goes back to {for_markdown(record['weights'])}, licence *{for_markdown(record['license'])}*{page}: "
            f"{means}." + (f" {note[0].upper()}{note[1:]}." if note else "")
        )
    if lines:
        lines.append("- This sums the licences up and is no legal advice: what counts is their text.")
    return "\n".join(lines)


def check_rights(config: Mapping[str, Any], despite_no_derivatives: bool = False) -> None:
    """Refuse to publish what goes back to weights of which nothing may be shared, and warn of other conditions.

    Args:
        config: content of config.json.
        despite_no_derivatives: publish all the same.

    Raises:
        ValueError: a licence forbids to share derivatives; the message names weights, licence and what to do.
    """
    for record in licences_in(config):
        asked = what_is_asked(record["license"], record["weights"])
        page = f" ({record['source']})" if record["source"] else ""
        what = f"this model goes back to {record['weights']}, licence {record['license']}{page}"
        if NO_DERIVATIVES in asked and not despite_no_derivatives:
            raise ValueError(
                f"{what}: nothing that is made from these weights may be shared. Ask the authors, or distil from "
                "another teacher: dlink-teacher-cbramod-4, which comes with this package, asks for nothing. Where you "
                "have their permission, or the repository is private to you, give --despite_no_derivatives "
                "(`despite_no_derivatives=True`). Nothing was published."
            )
        for reason in asked:
            logger.warning("%s: %s. The card says so; leave it there.", what, _MEANS[reason])


__all__ = ["check_rights", "licence_facts", "licences_in", "rights_text"]
