# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Cards that keep what users write in them: the generated part is marked, and nothing else is ever rewritten."""

from __future__ import annotations

import os
import re
import warnings
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import ModelCard

from ..core.atomic_files import staged


_BEGIN, _END = "<!-- dlink_hf: begin of the generated part", "<!-- dlink_hf: end of the generated part -->"
# metadata that says nothing unless it differs from these
_DEFAULTS = {"license": "apache-2.0", "pipeline_tag": "other"}
_FIRST_LINE = f"{_BEGIN}; it is rewritten at every save, text outside it is kept -->"


def mark_generated(card: str) -> str:
    """A card whose whole body is marked as generated, so that a later one takes its place and users' text stays.

    Args:
        card: text, with or without metadata and without marks.
    """
    data, body = _split_card(card)
    head = card[: len(card) - len(body)] if data else ""
    return f"{head}\n{_FIRST_LINE}\n\n{body.strip()}\n\n{_END}\n"


def is_generated(card: str) -> bool:
    """Return whether a card has one generated part."""
    return card.count(_BEGIN) == card.count(_END) == 1 and card.index(_BEGIN) < card.index(_END)


def _split_card(text: str) -> tuple[dict[str, Any], str]:
    """Metadata and body of a card; raises `yaml.YAMLError` or `ValueError` where the metadata can't be read."""
    if not text.startswith("---\n"):
        return {}, text
    head, mark, body = text[4:].partition("\n---\n")
    if not mark:
        raise ValueError("the metadata block has no end")
    data = yaml.safe_load(head) or {}
    if not isinstance(data, dict):
        raise ValueError("the metadata block is not a mapping")
    return data, body


def merge_model_card(existing: str, card: str) -> str:
    """Put a new card's generated part and metadata into a card that users may have written in.

    Args:
        existing: text of the card as it is.
        card: text of the new card.

    Returns:
        text: the generated part replaced (or added at the end if there was none), all other text kept. Metadata keys
        that the new card does not have are kept, and so are those for which it only has the default (licence, pipeline
        tag); tags are joined. A new card without a generated part leaves the existing one as it is.

    Raises:
        ValueError: the existing card's metadata or the marks of its generated part can't be read.
    """
    if not is_generated(card):
        return existing
    try:
        old_data, old_body = _split_card(existing.replace("\r\n", "\n"))
    except (yaml.YAMLError, ValueError) as error:
        raise ValueError(f"The metadata of the existing card can't be read: {error}") from error
    new_data, new_body = _split_card(card)
    tags = list(dict.fromkeys([*(old_data.get("tags") or []), *(new_data.get("tags") or [])]))
    said = {key: value for key, value in new_data.items() if key not in old_data or value != _DEFAULTS.get(key)}
    data = {**old_data, **said, "tags": tags}
    block = new_body[new_body.index(_BEGIN) : new_body.index(_END) + len(_END)]
    if is_generated(old_body):
        body = old_body[: old_body.index(_BEGIN)] + block + old_body[old_body.index(_END) + len(_END) :]
    elif _BEGIN not in old_body and _END not in old_body:
        body = f"{old_body.rstrip()}\n\n{block}\n"
    else:
        raise ValueError("The marks of the generated part of the existing card are not one pair.")
    return f"---\n{yaml.safe_dump(data, sort_keys=False, allow_unicode=True)}---\n{body}"


def name_in_usage(card: str, model_id: str) -> str:
    """Return the card with another name in its usage snippet: that of the repository which it is published in.

    Args:
        card: text with a generated part; without one it is returned as it is.
        model_id: `user/name`.
    """
    if not is_generated(card):
        return card
    start, end = card.index(_BEGIN), card.index(_END)
    block = re.sub(r"""(from_pretrained\(\s*)(?:'[^'\n]*'|"[^"\n]*")""", rf"\g<1>{model_id!r}", card[start:end])
    # commands that are named in the text
    block = re.sub(r"(--(?:student|teacher_checkpoint|model) )[^\s`]+", rf"\g<1>{model_id}", block)
    return card[:start] + block + card[end:]


def save_model_card(card: ModelCard, folder: str | os.PathLike) -> Path:
    """Write a card as `README.md`, without losing what is there.

    Args:
        card: from [`build_model_card`].
        folder: of the checkpoint; made if it is not there.

    Returns:
        path written: `README.md`; `README.generated.md`, with a warning, where the existing one can't be merged.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    path, text = folder / "README.md", str(card)
    if path.exists():
        try:
            text = merge_model_card(path.read_text("utf-8"), text)
        except ValueError as error:
            path = folder / "README.generated.md"
            warnings.warn(f"{error}. README.md was left as it is; the new card is {path}.", stacklevel=2)
    with staged(folder) as partial, open(partial / path.name, "w", encoding="utf-8", newline="\n") as file:
        file.write(text)
    return path


__all__ = ["is_generated", "mark_generated", "merge_model_card", "name_in_usage", "save_model_card"]
