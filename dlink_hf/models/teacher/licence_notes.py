# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Licences of published weights in the configs of the models that are loaded from them."""

from __future__ import annotations

import os
from typing import Any

from torch import nn
from transformers.utils import logging

from ...core.checkpoint_names import resolve_checkpoint
from ...core.fetch import HUB_OPTIONS
from ...core.licences import NO_DERIVATIVES, read_licence, what_is_asked


logger = logging.get_logger(__name__)


def note_licence(model: nn.Module, name_or_path: str | os.PathLike | None, kwargs: dict[str, Any]) -> None:
    """Note in a model's config the licence of the Hub repository that it is from, unless it holds one already.

    A folder is left alone: its config says what is known.

    Args:
        model: of this package's own format.
        name_or_path: what it was loaded from.
        kwargs: keyword arguments of `from_pretrained`: of these `HUB_OPTIONS` are read.
    """
    if name_or_path is None or model.config.weights_licenses is not None:
        return
    name = resolve_checkpoint(name_or_path, kwargs.get("revision"), kwargs.get("subfolder"))
    if not os.path.isdir(name):
        hub = {key: kwargs[key] for key in HUB_OPTIONS if kwargs.get(key) is not None}
        model.config.weights_licenses = [read_licence(name, hub)]


def warn_of_no_derivatives(config: Any) -> None:
    """Say once that nothing made from a teacher's weights may be shared, before anyone distils it for an hour.

    Args:
        config: of the teacher.
    """
    for record in config.weights_licenses or ():
        if NO_DERIVATIVES in what_is_asked(record["license"], record["weights"]):
            logger.warning_once(
                f"{record['weights']} is under {record['license']} ({record['source']}): what is fine-tuned or "
                "distilled from it may be used, and not be shared. `dlink push` refuses such students."
            )


__all__ = ["note_licence", "warn_of_no_derivatives"]
