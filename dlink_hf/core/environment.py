# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""What runs here: versions, backends that load, extras, threads, devices and caches, fit to be shown to strangers."""

from __future__ import annotations

import contextlib
import getpass
import os
import platform
import re
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from .._version import __version__
from .requires import EXTRAS, remedy


PACKAGES = (
    *("torch", "transformers", "huggingface-hub", "safetensors", "numpy", "scipy", "mne"),
    *("datasets", "accelerate", "evaluate", "scikit-learn", "pandas", "braindecode", "torchaudio", "peft"),
    *("onnx", "onnxruntime", "executorch", "torchao", "pylsl", "brainflow", "matplotlib"),
)
# what is loaded to run students, teachers and streams -> its module and the extra that brings it
BACKENDS = {
    "torch": ("torch", None),
    "onnx": ("onnxruntime", "export"),
    "executorch": ("executorch.runtime", "executorch"),
    "teachers": ("braindecode.models", "teachers"),
    "lsl": ("pylsl", "stream"),
    "brainflow": ("brainflow.board_shim", "brainflow"),
}
_LONGEST_REASON = 200
_TOKEN = re.compile(r"\bhf_\w+")


def default_cache_dir() -> Path:
    """Return where caches go unless the user says: `$DLINK_HF_CACHE`, `$HF_HOME/dlink_hf`, or `~/.cache/dlink_hf`."""
    if os.environ.get("DLINK_HF_CACHE"):
        return Path(os.environ["DLINK_HF_CACHE"]).expanduser()
    if os.environ.get("HF_HOME"):
        return Path(os.environ["HF_HOME"]).expanduser() / "dlink_hf"
    return Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "dlink_hf"


def anonymous(text: str) -> str:
    """Return a text without the user's home folder (`~`), name (`<user>`) and access tokens (`<token>`)."""
    text = _TOKEN.sub("<token>", text)
    home = str(Path.home())
    if len(home) > 1:
        text = re.sub(rf"{re.escape(home)}(?![\w.-])", "~", text)
    names = {Path.home().name}
    # a user may have no name, as in some containers
    with contextlib.suppress(KeyError, OSError):
        names.add(getpass.getuser())
    # a part of a path, or of a host's name
    for name in names - {""}:
        text = re.sub(rf"(?<![\w.-]){re.escape(name)}(?![\w.-])", "<user>", text)
    return text


def describe_environment() -> dict[str, str | dict[str, str]]:
    """Describe what runs here, for a report of a bug: no token, no name of the user or of the computer.

    Returns:
        `dlink_hf`, `python`, `platform`, `threads`, `cuda` -> text; `packages`, `backends`, `extras`, `caches` ->
        dictionaries of texts.
    """
    return {
        "dlink_hf": __version__,
        "python": f"{platform.python_version()} ({platform.python_implementation()})",
        "platform": platform.platform(),
        "packages": {name: _version(name) for name in PACKAGES},
        "backends": {name: _state(module, extra) for name, (module, extra) in BACKENDS.items()},
        "extras": {extra: _lacking(extra) for extra in EXTRAS},
        "threads": _threads(),
        "cuda": _cuda(),
        "caches": _caches(),
    }


def package_versions() -> dict[str, str]:
    """Return the versions of Python, of this package and of those that it calls, where they are installed."""
    found = {name: text for name in PACKAGES if (text := _version(name)) != "not installed"}
    return {"dlink_hf": __version__, "python": platform.python_version(), **found}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def _state(module: str, extra: str | None) -> str:
    """Whether a module loads; if not, what to install, or what stops it."""
    if not _is_there(module.partition(".")[0]):
        return f"not installed: {remedy(extra)}" if extra else "not installed"
    try:
        import_module(module)
    except Exception as error:  # a library that is broken raises anything
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        return f"does not load: {anonymous(reason)[:_LONGEST_REASON]}"
    return "loads"


def _lacking(extra: str) -> str:
    missing = [module for module in EXTRAS[extra] if not _is_there(module)]
    return f"lacks {', '.join(missing)}: {remedy(extra)}" if missing else "complete"


def _threads() -> str:
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    try:
        return f"{import_module('torch').get_num_threads()} of torch, on {processors} processors"
    except Exception:
        return f"{processors} processors"


def _cuda() -> str:
    try:
        torch = import_module("torch")
        if not torch.cuda.is_available():
            return "none" if torch.version.cuda is None else f"built for {torch.version.cuda}, no device"
        names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
        return f"{torch.version.cuda}: {', '.join(names)}"
    except Exception as error:
        return anonymous(f"unknown ({type(error).__name__}: {error})")[:_LONGEST_REASON]


def _caches() -> dict[str, str]:
    constants = import_module("huggingface_hub.constants")
    data_sets = os.environ.get("HF_DATASETS_CACHE") or str(Path(constants.HF_HOME) / "datasets")
    found = {"hub": constants.HF_HUB_CACHE, "datasets": data_sets, "dlink_hf": str(default_cache_dir())}
    return {name: anonymous(path) for name, path in found.items()}


__all__ = ["BACKENDS", "PACKAGES", "anonymous", "default_cache_dir", "describe_environment", "package_versions"]
