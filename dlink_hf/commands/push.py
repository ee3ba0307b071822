# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""`dlink push`: publish a checkpoint on the Hub."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..core.fetch import read_json
from ..hub.publish import publish_folder
from .flags import arg, named, parse


DESCRIPTION = (
    "Publish a checkpoint on the Hub in one commit: `dlink push DIR user/name`. Weights, configs, card, plots and "
    "training arguments go; nothing else of the folder does. What users wrote in the card on the Hub stays. Log in "
    "with `hf auth login` or set HF_TOKEN first."
)


@dataclass
class PushArguments:
    """What is published, and where."""

    folder: str = arg("", "Folder of a saved checkpoint; also the first word after `push`.")
    repo_id: str = arg("", "`user/name` on the Hub, or `name` for whoever is logged in; also the second word.")
    private: bool = arg(False, "Make a new repository private; one that exists stays as it is.")
    revision: str | None = arg(None, "Branch, made where there is none; main if left out.")
    create_pr: bool = arg(False, "Open a pull request rather than change the branch.")
    commit_message: str | None = arg(None, "Of the commit.")
    remote_code: bool = arg(
        False,
        "Put the student's code next to its weights, for those who have transformers but not this package. A "
        "repository that has code keeps it, renewed.",
    )
    despite_no_derivatives: bool = arg(
        False,
        "Publish a model that goes back to weights whose licence forbids to share derivatives: with the authors' "
        "permission, or into a repository that is private to you.",
    )


def run(argv: Sequence[str]) -> None:
    """Entry of `dlink push`."""
    (args,) = parse("push", DESCRIPTION, (PushArguments,), named(argv, "--folder", "--repo_id"))
    if not args.folder or not args.repo_id:
        raise ValueError("say what and where to: dlink push DIR user/name.")
    commit = publish_folder(
        args.folder,
        args.repo_id,
        private=args.private or None,
        revision=args.revision,
        create_pr=args.create_pr,
        commit_message=args.commit_message,
        remote_code=args.remote_code or None,
        despite_no_derivatives=args.despite_no_derivatives,
    )
    print(f"published  {commit.pr_url or commit.commit_url}")
    config = Path(args.folder, "config.json")
    names = read_json(config).get("architectures") if config.is_file() else None
    print(f"load it    {(names or ['EEGFeatureExtractor'])[0]}.from_pretrained({commit.repo_url.repo_id!r})")


__all__ = ["PushArguments", "run"]
