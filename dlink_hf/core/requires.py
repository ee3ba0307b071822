# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Packages that the base install leaves out: where one is missing, the error names the extra that brings it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType


# extra -> the modules that it brings, by the names they are imported under
EXTRAS = {
    "train": ("datasets", "accelerate", "evaluate", "sklearn", "pandas", "jinja2", "psutil"),
    "teachers": ("braindecode", "peft"),
    "chronos": ("chronos",),
    "mantis": ("mantis",),
    "bids": ("mne_bids",),
    "hub-data": ("zarr",),
    "moabb": ("moabb",),
    "bench": ("open_eeg_bench",),
    "events": ("timescoring",),
    "export": ("onnx", "onnxruntime", "onnxscript"),
    "executorch": ("executorch",),
    "stream": ("pylsl",),
    "brainflow": ("brainflow",),
    "demo": ("matplotlib", "tensorboard"),
    "search": ("optuna",),
    "web": ("gradio",),
}
# `datasets` brings pyarrow
_EXTRA_OF = {"pyarrow": "train", **{module: extra for extra, modules in EXTRAS.items() for module in modules}}


class MissingExtraError(ImportError):
    """A package is missing that one of the extras brings."""


def remedy(extra: str) -> str:
    """The command that installs an extra."""
    return f'pip install "dlink-hf[{extra}]"'


def require(module: str, purpose: str) -> ModuleType:
    """Import a module that the base install does not bring.

    Args:
        module: its name.
        purpose: what it is needed for, as the first words of a sentence: `"Reading a dataset"`.

    Returns:
        the module.

    Raises:
        MissingExtraError: it is missing; the message says what to install.
    """
    with naming_the_extra(purpose):
        return import_module(module)


def check_installed(modules: tuple[str, ...], purpose: str) -> None:
    """Refuse to go on where one of several modules is missing; imports none of them.

    Raises:
        MissingExtraError: naming the first that is missing.
    """
    for module in modules:
        if find_spec(module) is None:
            raise _missing(module, purpose)


@contextmanager
def naming_the_extra(purpose: str) -> Iterator[None]:
    """Turn the error of a missing package into one that names the extra that brings it.

    Args:
        purpose: what it is needed for, as the first words of a sentence.

    Raises:
        MissingExtraError: in place of a `ModuleNotFoundError` for a package of an extra.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _EXTRA_OF:
            raise
        raise _missing(error.name.partition(".")[0], purpose) from error


def _missing(package: str, purpose: str) -> MissingExtraError:
    extra = _EXTRA_OF[package]
    return MissingExtraError(f"{purpose} needs {package}, which is not installed: {remedy(extra)}.", name=package)


__all__ = ["EXTRAS", "MissingExtraError", "check_installed", "naming_the_extra", "remedy", "require"]
