# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Files of a checkpoint, from a folder or the Hub; what can go wrong on the way is one clear error."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .atomic_files import damaged
from .checks import MALFORMED, first_names
from .text import for_terminal, without_tokens


if TYPE_CHECKING:
    import torch

# torch and the client of the Hub are imported where they are needed: files of a folder are read without them

PICKLES = (".bin", ".pth", ".pt", ".ckpt", ".pkl")
# what says which version of a checkpoint is meant, and how it is fetched
HUB_OPTIONS = ("revision", "token", "cache_dir", "local_files_only", "force_download", "subfolder")


def fetch(name: str, filename: str, hub: dict[str, Any]) -> Path | None:
    """Return a file of a folder or Hub repository, downloaded unless cached.

    Args:
        name: folder or Hub id.
        filename: name of the file.
        hub: any of `HUB_OPTIONS`.

    Returns:
        Its path, or None where the folder or repository has no such file.

    Raises:
        OSError: no such repository or revision, no access, no network and nothing cached.
    """
    if os.path.isdir(name):
        path = Path(name, hub.get("subfolder") or "", filename)
        return path if path.is_file() else None
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError

    with suppress(EntryNotFoundError), explained_fetch(name, filename, hub):
        return Path(hf_hub_download(name, filename, **hub))
    return None


@contextmanager
def explained_fetch(name: str, what: str, hub: dict[str, Any]) -> Iterator[None]:
    """Turn what the client of the Hub raises in the block into an error that says what to do, without any token.

    Args:
        name: Hub id.
        what: What is asked for: the name of a file.
        hub: Any of `HUB_OPTIONS`.

    Raises:
        EntryNotFoundError: The repository has no such file.
        OSError: Everything else: no such repository or revision, no access, no network, an answer that is none.
    """
    from huggingface_hub import constants
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    where = f"the Hub ({constants.ENDPOINT})"
    try:
        yield
    except HFValidationError as error:
        raise OSError(f"{name!r} is neither a folder that exists nor a Hub id of the form user/name.") from error
    except LocalEntryNotFoundError:
        raise OSError(
            f"{name} is not a folder here, its {what} is not in the cache "
            f"({hub.get('cache_dir') or constants.HF_HUB_CACHE}), and {where} was not reached: no connection, or "
            "offline mode (HF_HUB_OFFLINE, local_files_only). Load it once while connected, or give a folder."
        ) from None
    except GatedRepoError:
        raise OSError(
            f"{name} is gated. Accept its conditions on {constants.ENDPOINT}/{name}, then log in with `hf auth login` "
            "or give `token=`."
        ) from None
    except RepositoryNotFoundError:
        raise OSError(
            f"{name} is neither a folder here nor a repository that {where} shows you. Check the spelling; if it is "
            "private, log in with `hf auth login` or give `token=`."
        ) from None
    except RevisionNotFoundError:
        raise OSError(f"{name} has no revision {hub.get('revision')!r} (branch, tag or commit) on {where}.") from None
    except EntryNotFoundError:
        raise
    except HfHubHTTPError as error:
        status = getattr(error.response, "status_code", "an error")
        said = for_terminal(without_tokens(str(error), hub.get("token")), keep="\n")
        raise OSError(f"{name}: {where} answered {status} to the request for {what}: {said}") from None
    except OSError as error:
        # an error with a number is about a file of this machine: disk full, no permission
        if error.errno is not None:
            raise
        said = for_terminal(without_tokens(str(error), hub.get("token")), keep="\n")
        raise OSError(said if name in said else f"{name}: {what}: {said}") from None
    except MALFORMED as error:
        raise OSError(
            f"{name}: {where} answered the request for {what} by something else ({type(error).__name__})."
        ) from None
    except Exception as error:
        if not is_of_transport(error):
            raise
        said = without_tokens(f"{type(error).__name__}: {error}", hub.get("token"))
        raise OSError(f"{name}: the connection to {where} broke off while {what} was sent ({said}).") from None


def is_of_transport(error: BaseException) -> bool:
    """Whether the client of the Hub passes on what its HTTP library raises where a connection breaks."""
    return type(error).__module__.split(".")[0] in ("httpx", "httpx2", "httpcore", "httpcore2")


def check_download(name: str | None, options: dict[str, Any]) -> None:
    """Check the weights that were downloaded from the Hub against their hash, which the Hub's client does not do.

    Args:
        name: Hub id; a folder, or None, is not checked.
        options: of `from_pretrained`: `revision`, `cache_dir`, `subfolder`.

    Raises:
        OSError: the file in the cache is not the one that was published.
    """
    if name is None or os.path.isdir(name):
        return
    from huggingface_hub import try_to_load_from_cache

    filename = "/".join(filter(None, [options.get("subfolder"), "model.safetensors"]))
    found = try_to_load_from_cache(name, filename, options.get("cache_dir"), options.get("revision"))
    blob = Path(found).resolve() if isinstance(found, str) else None
    # the cache names large files by their SHA-256
    if blob is not None and re.fullmatch(r"[0-9a-f]{64}", blob.name):
        with open(blob, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if digest != blob.name:
            raise OSError(
                f"{name}: its weights arrived damaged: {filename} in the cache is not what was published (SHA-256 "
                f"{digest[:12]}... instead of {blob.name[:12]}...). Download it again with `force_download=True`."
            )


def find_weights(name: str, filename: str, hub: dict[str, Any]) -> Path:
    """Return the safetensors file of a checkpoint; arguments as for [`fetch`].

    Raises:
        OSError: it can't be fetched.
        ValueError: there is none; the message says what there is instead, pickled weights above all.
    """
    if not filename.endswith(".safetensors"):
        raise ValueError(f"`filename` must be a .safetensors file, got {filename!r}: nothing else is read.")
    path = fetch(name, filename, hub)
    if path is not None:
        return path
    files = _list_files(name, hub)
    others = [file for file in files if file.endswith(".safetensors")]
    pickled = [file for file in files if file.endswith(PICKLES)]
    if others:
        raise ValueError(f"{name} has no {filename}. Name one of its own with `filename=`: {', '.join(others)}.")
    if pickled:
        raise ValueError(
            f"{name} has pickled weights only ({', '.join(pickled)}). Reading a pickle can run any code that its "
            "author put there, so it is refused. Convert it where that does no harm: build the published model, "
            "`model.load_state_dict(torch.load(file, weights_only=True))`, `model.save_pretrained(folder)`; then give "
            "that folder."
        )
    raise ValueError(f"{name} has no {filename}, and no other weights either.")


def read_tensors(path: Path, name: str, prefix: str = "") -> dict[str, torch.Tensor]:
    """Return all tensors of a safetensors file, `prefix` taken off their names.

    Raises:
        ValueError: the file is damaged, or a tensor's name has another prefix.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise damaged(name, error) from error
    foreign = sorted(key for key in tensors if not key.startswith(prefix))
    if foreign:
        raise ValueError(f"{name}: not every tensor begins with `key_prefix` {prefix!r}: {first_names(foreign)}.")
    return {key.removeprefix(prefix): tensor for key, tensor in tensors.items()}


def read_json(path: Path) -> dict[str, Any]:
    """Return the object that a JSON file holds.

    Raises:
        ValueError: it is not JSON, or not an object.
    """
    return parse_json(path.read_bytes(), str(path))


def parse_json(content: bytes | str, where: str) -> dict[str, Any]:
    """Return the object that a JSON text holds.

    Args:
        content: The text, in UTF-8.
        where: The file that it is from, for the message.

    Raises:
        ValueError: It is not JSON, not an object, or nested deeper than anything that is meant to be read.
    """
    try:
        text = content.decode("utf-8") if isinstance(content, bytes) else content
        value = json.loads(text)
    except RecursionError:
        raise ValueError(f"{where} is nested too deep to be read: it is not what it should be.") from None
    except ValueError as error:
        raise ValueError(f"{where} is not a JSON file ({error}). Copy it again, or download it again.") from error
    if not isinstance(value, dict):
        raise ValueError(f"{where} must hold a JSON object, got {type(value).__name__}.")
    return value


def _list_files(name: str, hub: dict[str, Any]) -> list[str]:
    """Names of the files of a folder or repository; none where they can't be listed."""
    if os.path.isdir(name):
        folder = Path(name, hub.get("subfolder") or "")
        return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    from huggingface_hub import is_offline_mode, list_repo_files
    from huggingface_hub.errors import HfHubHTTPError

    if hub.get("local_files_only") or is_offline_mode():
        return []
    try:
        return sorted(list_repo_files(name, revision=hub.get("revision"), token=hub.get("token")))
    except (HfHubHTTPError, OSError):
        return []


__all__ = [
    "HUB_OPTIONS",
    "check_download",
    "explained_fetch",
    "fetch",
    "find_weights",
    "is_of_transport",
    "parse_json",
    "read_json",
    "read_tensors",
]
