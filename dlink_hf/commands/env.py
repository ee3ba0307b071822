# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""`dlink env`: what runs here, to be pasted into an issue."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..core.environment import describe_environment
from .flags import parse


DESCRIPTION = (
    "Versions, backends that load, extras, threads, devices and caches: paste them into an issue. Neither access "
    "tokens nor the names of the user and of the home folder are among them."
)


@dataclass
class EnvArguments:
    """No flags."""


def format_environment() -> str:
    """Return what [`describe_environment`] tells, one line a fact."""
    facts = describe_environment()
    inner = {name for value in facts.values() if isinstance(value, dict) for name in value}
    width = max(map(len, [*facts, *(f"  {name}" for name in inner)])) + 2
    lines = []
    for name, value in facts.items():
        if isinstance(value, dict):
            lines += [name, *(f"{'  ' + key:<{width}}{text}" for key, text in value.items())]
        else:
            lines.append(f"{name:<{width}}{value}")
    return "\n".join(lines)


def run(argv: Sequence[str]) -> None:
    """Entry of `dlink env`."""
    parse("env", DESCRIPTION, (EnvArguments,), argv)
    print(format_environment())


__all__ = ["EnvArguments", "format_environment", "run"]
