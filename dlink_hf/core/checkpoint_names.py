# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Short names of checkpoints: `dlink-mic-small` is a folder here, a packaged checkpoint, or one on the Hub."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


# organisation on the Hub that holds the project's checkpoints; the variable DLINK_HUB_ORG overrides it
HUB_ORG = "dlink-hf"

# every published checkpoint by its short name
KNOWN_CHECKPOINTS = {
    "dlink-mic-tiny": "general student of 19 k parameters, to be fine-tuned",
    "dlink-mic-small": "general student of 97 k parameters, to be fine-tuned",
    "dlink-mic-base": "general student of 462 k parameters, to be fine-tuned",
    "dlink-mic-small-eegmat": "small student of mental arithmetic against rest",
    "dlink-mic-small-ssvep_exo": "small student of SSVEP",
    "dlink-mic-small-eyes_gnb": "small student of eyes open against eyes closed",
    "dlink-teacher-cbramod-4": "teacher of four CBraMod layers, pre-trained without labels",
}

# next to this file rather than by the package's name: this module may travel with a checkpoint's code
_PACKAGED = Path(__file__).parent.parent / "checkpoints"

_SHORT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def packaged_checkpoints() -> dict[str, Path]:
    """Return the folders of the checkpoints that come with the installed package, by short name."""
    if not _PACKAGED.is_dir():
        return {}
    # a link could lead anywhere
    folders = (path for path in sorted(_PACKAGED.iterdir()) if path.is_dir() and not path.is_symlink())
    return {path.name: path for path in folders if (path / "config.json").is_file()}


def resolve_checkpoint(
    name: str | os.PathLike, revision: str | None = None, subfolder: str | os.PathLike | None = None
) -> str:
    """Return where a checkpoint is.

    A name without a namespace is looked up as a folder here (the working directory), then among the packaged
    checkpoints, and is else taken for one of the project's organisation on the Hub. A path, or a name with a namespace
    (`user/name`), is returned as it is.

    Args:
        name: short name, Hub id, or folder; or a JSON file, which configs can be read from.
        revision: branch, tag or commit on the Hub. A packaged copy has one revision, the one of its release: where
            any is given, even `"main"`, a packaged name is looked up on the Hub.
        subfolder: folder inside the checkpoint. A packaged copy has none: where one is given, a packaged name is
            looked up on the Hub.

    Returns:
        A path or a Hub id. Whether there is such a repository is not looked up.

    Raises:
        TypeError: `name` is neither text nor a path.
        ValueError: `name` is empty or holds what no name does; or DLINK_HUB_ORG does.

    Example:

    ```python
    >>> resolve_checkpoint("user/my-student")
    'user/my-student'
    ```
    """
    if isinstance(name, os.PathLike):
        return os.fspath(name)
    if not isinstance(name, str):
        raise TypeError(f"a checkpoint is named by text or a path, got {type(name).__name__}: {name!r}.")
    if not name.strip() or "\0" in name:
        raise ValueError(f"a checkpoint's name must not be empty or hold NUL, got {name!r}. {_known()}")
    is_path = "/" in name or os.sep in name
    if is_path or os.path.isdir(name) or (name.endswith(".json") and os.path.isfile(name)):
        return name
    if not _SHORT_NAME.fullmatch(name) or ".." in name:
        raise ValueError(
            f"{name!r} is neither a folder here nor a checkpoint's name, which has only letters, digits and ._-. "
            f"{_known()}"
        )
    # a look-up among the folders that there are, so that no name can lead to another path
    packaged = packaged_checkpoints().get(name)
    if packaged is not None and not revision and not subfolder:
        return str(packaged)
    organisation = os.environ.get("DLINK_HUB_ORG") or HUB_ORG
    if not _SHORT_NAME.fullmatch(organisation) or ".." in organisation:
        raise ValueError(f"DLINK_HUB_ORG must be the name of a user or organisation on the Hub, got {organisation!r}.")
    return f"{organisation}/{name}"


@contextmanager
def found_checkpoint(
    name: str | os.PathLike, revision: str | None = None, subfolder: str | os.PathLike | None = None
) -> Iterator[str]:
    """Load from where [`resolve_checkpoint`] says; an error of a short name tells which names there are.

    Args:
        name, revision, subfolder: as for [`resolve_checkpoint`].

    Yields:
        A path or a Hub id.

    Raises:
        OSError: that of the block; where a short name led to the Hub, with the known names in its text, and where a
            folder here hides a known name, with that.
    """
    resolved = resolve_checkpoint(name, revision, subfolder)
    try:
        yield resolved
    except OSError as error:
        # an error with a number is about a file of this machine: disk full, no permission
        if error.errno is not None:
            raise
        if resolved == name and name in KNOWN_CHECKPOINTS:
            raise OSError(f"{error}\nThe folder {name!r} here comes before the published checkpoint.") from error
        if resolved == os.fspath(name) or os.path.isdir(resolved):
            raise
        why = (
            "a packaged copy has neither revisions nor subfolders"
            if name in packaged_checkpoints()
            else "there is no such folder here and no such checkpoint in the package"
        )
        raise OSError(f"{error}\n{name!r} was looked for on the Hub as {resolved}: {why}. {_known()}") from error


def _known() -> str:
    names = [f"{name} (packaged)" if name in packaged_checkpoints() else name for name in KNOWN_CHECKPOINTS]
    return f"Known names: {', '.join(names)}. Any other checkpoint is given as a folder or as a Hub id `user/name`."


class ShortNamesMixin:
    """`from_pretrained` of configs and feature extractors that takes short names too."""

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | os.PathLike,
        cache_dir: str | os.PathLike | None = None,
        force_download: bool = False,
        local_files_only: bool = False,
        token: str | bool | None = None,
        revision: str | None = None,
        **kwargs: Any,
    ) -> Any:
        """Load from a short name ([`resolve_checkpoint`]), Hub id, folder or JSON file; the rest as in transformers.

        Raises:
            OSError: there is no such checkpoint, or it can't be reached; of a short name, the known ones are listed.
            ValueError: what the file holds is refused.
        """
        with found_checkpoint(pretrained_model_name_or_path, revision, kwargs.get("subfolder")) as resolved:
            return super().from_pretrained(
                resolved, cache_dir, force_download, local_files_only, token, revision, **kwargs
            )


__all__ = [
    "HUB_ORG",
    "KNOWN_CHECKPOINTS",
    "ShortNamesMixin",
    "found_checkpoint",
    "packaged_checkpoints",
    "resolve_checkpoint",
]
