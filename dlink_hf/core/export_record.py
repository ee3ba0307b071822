# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""`deploy.json`: what an export says of itself, and which weights it belongs to."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .fetch import read_json


if TYPE_CHECKING:
    import torch

DEPLOY_FILE = "deploy.json"
# of every format, for what must not lie next to it
MODEL_FILES = ("model.onnx", "model.pte", "mic_weights.h")
# where exports lie in a checkpoint's folder, by backend
EXPORT_FOLDERS = ("onnx", "executorch")
PRECISIONS = ("float32", "float16", "int8")


def _are_names(value: Any) -> bool:
    return isinstance(value, list) and 0 < len(value) <= 10_000 and all(isinstance(name, str) for name in value)


# field -> (what it may be, and in words)
_FIELDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "sha256": (lambda v: isinstance(v, str) and len(v) == 64, "64 hexadecimal digits"),
    "ch_names": (_are_names, "a list of channel names"),
    "n_times": (lambda v: type(v) is int and 0 < v <= 10_000_000, "a whole number of samples"),
    "sfreq": (lambda v: type(v) in (int, float) and 0 < v <= 1e6, "a rate in hertz"),
    "format": (lambda v: isinstance(v, str), "text"),
    "precision": (lambda v: isinstance(v, str), "text"),
    "weights_sha256": (lambda v: isinstance(v, str), "hexadecimal digits"),
    "labels": (_are_names, "a list of names"),
    "channel_positions": (lambda v: v is None or isinstance(v, dict), "an object"),
    "alignment": (lambda v: v is None or isinstance(v, dict), "null or an object"),
    "preprocessing": (lambda v: v is None or isinstance(v, dict), "null or an object"),
    "check": (lambda v: isinstance(v, dict), "an object"),
}
_OPTIONAL = set(_FIELDS) - {"sha256", "ch_names", "n_times", "sfreq"}


def read_deploy(folder: Path) -> dict[str, Any]:
    """Return what the deploy.json of an exported student holds.

    Raises:
        ValueError: it is damaged.
    """
    where = str(folder / DEPLOY_FILE)
    advice = "Copy the folder again, or export the student again: dlink export MODEL --output_dir DIR."
    try:
        deploy = read_json(folder / DEPLOY_FILE)
    except ValueError as error:
        raise ValueError(f"{where} is damaged ({error}). {advice}") from error
    for name, (is_good, expected) in _FIELDS.items():
        if name not in deploy and name in _OPTIONAL:
            continue
        if not is_good(deploy.get(name)):
            given = repr(deploy.get(name))[:100]
            raise ValueError(f"{where} is damaged: `{name}` must be {expected}, got {given}. {advice}")
    return deploy


def weights_digest(tensors: Mapping[str, torch.Tensor | np.ndarray]) -> str:
    """SHA-256, in hexadecimal, of the names, shapes and values (in float32) of a checkpoint's tensors, by name."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        if isinstance(tensor, np.ndarray):
            values = tensor.astype(np.float32) if tensor.dtype.kind == "f" else tensor
        else:
            values = tensor.detach().cpu()
            values = (values.float() if values.is_floating_point() else values).contiguous().numpy()
        digest.update(f"{name} {values.shape} {values.dtype.str}\n".encode())
        digest.update(values.tobytes())
    return digest.hexdigest()


def check_belongs(
    deploy: Mapping[str, Any], tensors: Mapping[str, torch.Tensor], labels: list[str] | None, folder: Path, name: str
) -> None:
    """Refuse an export that was made of other weights than those that it lies next to, or with other labels.

    Args:
        deploy: its deploy.json.
        tensors: of the checkpoint.
        labels: of the checkpoint; None where they are not to be compared.
        folder: of the export, for the message.
        name: of the checkpoint, for the message.

    Raises:
        ValueError: it belongs to others.
    """
    made_of, found = deploy.get("weights_sha256"), weights_digest(tensors)
    is_renamed = labels is not None and deploy.get("labels") != labels
    if made_of == found and not is_renamed:
        return
    if made_of == found:
        why = f"has the labels {', '.join(map(str, deploy.get('labels') or []))}, the checkpoint {', '.join(labels)}"
    else:
        # the one of the tensors, not of the file
        why = f"was made of other weights (SHA-256 {str(made_of)[:12]}...) than those next to it ({found[:12]}...)"
    backend = deploy.get("format", "onnx")
    raise ValueError(
        f"The export {folder} {why}: it is older than the checkpoint, or of another one. Export it again: dlink "
        f"export {name} --format {backend} --output_dir CHECKPOINT/{backend}; or delete {folder}."
    )


def exports_in(folder: str | os.PathLike) -> list[Path]:
    """Return the folders of the exports that lie next to the weights of a checkpoint's folder, in order."""
    inner = [Path(folder, backend) for backend in EXPORT_FOLDERS]
    places = [place for path in inner for place in (path, *(path / precision for precision in PRECISIONS))]
    return [place for place in places if (place / DEPLOY_FILE).is_file()]


__all__ = [
    "DEPLOY_FILE",
    "EXPORT_FOLDERS",
    "MODEL_FILES",
    "PRECISIONS",
    "check_belongs",
    "exports_in",
    "read_deploy",
    "weights_digest",
]
