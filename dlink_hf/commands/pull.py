# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""`dlink pull`: bring a checkpoint from the Hub into a folder."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..core.checkpoint_names import resolve_checkpoint
from ..hub.download import PULL_SECONDS, download_folder
from .flags import arg, named, parse


DESCRIPTION = "Bring a checkpoint from the Hub into a folder, whole or not at all: `dlink pull user/name DIR`."


@dataclass
class PullArguments:
    """What is brought, and where to."""

    model: str = arg("", "`user/name` on the Hub, or a short name such as dlink-mic-tiny; also the first word.")
    folder: str | None = arg(None, "Where to; by default a folder of its name, here. The second word.")
    revision: str | None = arg(None, "Branch, tag or commit; main if left out.")
    timeout: float = arg(PULL_SECONDS, "Seconds that it may take in all; then it ends, and nothing is written.")


def run(argv: Sequence[str]) -> None:
    """Entry of `dlink pull`."""
    (args,) = parse("pull", DESCRIPTION, (PullArguments,), named(argv, "--model", "--folder"))
    if not args.model:
        raise ValueError("say what to bring: dlink pull user/name DIR.")
    name = resolve_checkpoint(args.model, args.revision or "main")
    if Path(name).is_dir():
        raise ValueError(f"{name} is a folder here already.")
    folder = Path(args.folder or name.split("/")[-1])
    start = time.monotonic()
    files = download_folder(name, folder, args.revision, args.timeout)
    size = sum((folder / file).stat().st_size for file in files)
    print(f"{folder}: {', '.join(files)}")
    print(f"{len(files)} files, {size / 1e6:.1f} MB, each as it was published, in {time.monotonic() - start:.0f} s")


__all__ = ["PullArguments", "run"]
