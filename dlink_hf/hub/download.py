# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""A published checkpoint into a folder: all of it, each file compared with what was published, or nothing."""

from __future__ import annotations

import fnmatch
import hashlib
import logging
import os
import re
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from huggingface_hub import HfApi, constants, hf_hub_download, is_offline_mode

from ..core.atomic_files import staged
from ..core.checks import positive
from ..core.fetch import explained_fetch
from .publish import PUBLISHED, publishable_files, with_retries
from .remote_code import REMOTE_CODE_MODULES


logger = logging.getLogger(__name__)
Value = TypeVar("Value")

# seconds that a pull may take in all, however slow the Hub is
PULL_SECONDS = 3600.0
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._ -]*(/[A-Za-z0-9][A-Za-z0-9._ -]*)*")


def download_folder(
    repo_id: str, folder: str | os.PathLike, revision: str | None = None, timeout: float = PULL_SECONDS
) -> list[str]:
    """Bring a published checkpoint into a folder, all of it or nothing; files of the same names are replaced.

    Which files there are, the Hub tells first, with the hash of each: SHA-256 of large ones, Git's blob id of the
    others. A file that is missing or another is an error.

    Args:
        repo_id: `user/name`.
        folder: made where there is none.
        revision: branch, tag or commit.
        timeout: seconds that it may take in all.

    Returns:
        names of the files.

    Raises:
        OSError: there is no such repository or revision, it can't be reached, a file arrived damaged or not at all,
            it took too long, or the disk is full. The folder is as it was.
    """
    positive("timeout", timeout, "seconds")
    if is_offline_mode():
        raise OSError("HF_HUB_OFFLINE is set, so that nothing can be pulled. Unset it first.")
    deadline = time.monotonic() + timeout

    def within(call: Callable[..., Value], *args: Any, **kwargs: Any) -> Value:
        return _within(deadline, timeout, repo_id, call, *args, **kwargs)

    with explained_fetch(repo_id, "the list of its files", {"revision": revision}):
        info = within(with_retries, HfApi().model_info, repo_id, revision=revision, files_metadata=True)
    files = {file.rfilename: file for file in info.siblings or () if _is_wanted(file.rfilename)}
    if "config.json" not in files:
        raise OSError(f"{repo_id} holds no config.json: it is not a checkpoint of a model.")
    found = {}
    for name, file in sorted(files.items()):
        # the commit that was just resolved, so that all files are of one state
        with explained_fetch(repo_id, name, {"revision": revision}):
            found[name] = within(_download, repo_id, name, info.sha, file)
    with staged(folder) as partial:
        for name, path in found.items():
            (partial / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, partial / name)
        names = publishable_files(partial, with_code=True)
        lost = sorted(set(found) - set(names))
        if lost:
            raise OSError(f"{repo_id}: {', '.join(lost)} could not be written to {folder}.")
        _merge_folders(partial, Path(folder))
    return names


def _is_wanted(name: str) -> bool:
    """Whether a file belongs to a checkpoint, and its name is one that stays in the folder."""
    patterns = [*PUBLISHED, *(f"{module}.py" for module in REMOTE_CODE_MODULES)]
    matches = [p for p in patterns if p.count("/") == name.count("/") and fnmatch.fnmatchcase(name, p)]
    return bool(matches and _NAME.fullmatch(name))


def _download(repo_id: str, name: str, commit: str, file: Any) -> Path:
    """A file of the repository, compared with its hash; one that arrived damaged is asked for once more.

    Raises:
        OSError: it is not what was published.
    """
    for force in (False, True):
        path = Path(
            with_retries(
                hf_hub_download, repo_id, name, revision=commit, **({"force_download": True} if force else {})
            )
        )
        digest, expected = _digests(path, file)
        if digest == expected:
            return path
        logger.warning("%s of %s arrived damaged%s", name, repo_id, "" if force else "; it is asked for again")
    raise OSError(
        f"{repo_id}: {name} arrived damaged, twice: its hash is {digest[:12]}... instead of {expected[:12]}... "
        f"({constants.ENDPOINT} tells {'SHA-256' if file.lfs else 'its blob id'}). Nothing was written."
    )


def _digests(path: Path, file: Any) -> tuple[str, str]:
    """The hash of a file, and the one that was published; of a large file SHA-256, of another Git's."""
    if file.lfs is not None:
        with open(path, "rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest(), str(file.lfs.sha256)
    content = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest(), str(file.blob_id)


def _within(
    deadline: float, timeout: float, repo_id: str, call: Callable[..., Value], *args: Any, **kwargs: Any
) -> Value:
    """What a call gives, if it does so before the deadline.

    Raises:
        OSError: it does not. The call is left to itself: a server that sends a byte a minute can't be interrupted.
    """
    result: list[Any] = []

    def run() -> None:
        try:
            result.append((call(*args, **kwargs), None))
        except BaseException as error:
            result.append((None, error))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(max(0.0, deadline - time.monotonic()))
    if not result:
        raise OSError(
            f"{repo_id} was not brought within {timeout:g} s, which is all that it may take. Nothing was written; "
            "what arrived is in the cache and is not sent twice. Pull again, or give it longer: --timeout SECONDS."
        )
    value, error = result[0]
    if error is not None:
        raise error
    return value


def _merge_folders(source: Path, target: Path) -> None:
    """Move what lies in folders that `target` has too: a folder can't be renamed onto one that is there."""
    for inner in [path for path in source.iterdir() if path.is_dir() and (target / path.name).is_dir()]:
        _merge_folders(inner, target / inner.name)
        for path in inner.iterdir():
            path.replace(target / inner.name / path.name)
        inner.rmdir()


__all__ = ["PULL_SECONDS", "download_folder"]
