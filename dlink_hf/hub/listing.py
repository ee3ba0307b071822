# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""The checkpoints on the Hub that say they are of this library; what is malformed is left out, and counted."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

from huggingface_hub import HfApi, constants
from huggingface_hub.errors import HfHubHTTPError, NotASafetensorsRepoError, SafetensorsParsingError

from ..core.checks import MALFORMED
from ..core.fetch import fetch, is_of_transport, read_json
from ..core.text import for_terminal, without_tokens
from .publish import STATISTICS


logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Published:
    """A checkpoint on the Hub.

    Args:
        name: `user/name`.
        config: content of its config.json.
        card: text of its card; None where it has none.
        parameters: number of values in its weights; None where that can't be read.
    """

    name: str
    config: dict[str, Any]
    card: str | None
    parameters: int | None


def find_published(
    search: str | None = None, author: str | None = None, limit: int = 20
) -> tuple[list[Published], list[str]]:
    """List the checkpoints on the Hub that name this library.

    Args:
        search: part of the name.
        author: user or organisation.
        limit: at most so many.

    Returns:
        those that can be read; and of those that can't, the name and why.

    Raises:
        OSError: the Hub was not reached.
    """
    try:
        api = HfApi()
        found = list(api.list_models(filter="dlink_hf", search=search, author=author, limit=limit, sort="downloads"))
    except Exception as error:
        known = isinstance(error, (HfHubHTTPError, OSError, *MALFORMED)) or is_of_transport(error)
        if not known:
            raise
        raise OSError(
            f"the Hub ({constants.ENDPOINT}) was not reached ({type(error).__name__}). `--offline` lists what is here."
        ) from None
    good, left_out = [], []
    for model in found:
        try:
            published = _read(str(model.id))
        except Exception as error:
            # somebody else's repository: whatever is wrong in it does not end the list
            reason = for_terminal(without_tokens(" ".join(str(error).split())))
            left_out.append(f"{for_terminal(model.id)}: {reason or type(error).__name__}")
            continue
        if published is not None:
            good.append(published)
    return good, left_out


def _read(name: str) -> Published | None:
    """What a repository holds; None where it has no config.json.

    Raises:
        OSError, ValueError: it can't be reached, or is malformed.
    """
    config, card = (fetch(name, file, {}) for file in ("config.json", "README.md"))
    if config is None:
        return None
    text = None if card is None else card.read_text("utf-8", errors="replace")
    return Published(name, read_json(config), text, count_published_parameters(name))


def count_published_parameters(repo_id: str) -> int | None:
    """Number of values in a checkpoint's weights, by their header only; None where it can't be read."""
    try:
        header = HfApi().parse_safetensors_file_metadata(repo_id, "model.safetensors")
        counts = [tensor.parameter_count for name, tensor in header.tensors.items() if not name.endswith(STATISTICS)]
    except (HfHubHTTPError, NotASafetensorsRepoError, SafetensorsParsingError, OSError, *MALFORMED):
        return None
    return sum(counts)


__all__ = ["Published", "count_published_parameters", "find_published"]
