# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Students by another runtime than PyTorch: the export next to a checkpoint's weights, or one made on the spot."""

from __future__ import annotations

import logging
import os
import tempfile
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from ..core.checkpoint_names import found_checkpoint
from ..core.checks import MALFORMED, one_of
from ..core.export_record import DEPLOY_FILE, PRECISIONS, check_belongs, read_deploy
from ..core.fetch import HUB_OPTIONS, fetch
from ..core.model_facts import label_names
from .exported_config import ExportedConfig
from .exported_student import ExportedStudent


logger = logging.getLogger(__name__)

# where the format of each backend is described; imported when it is asked for
_FORMATS = {"onnx": ("onnx", "ONNX"), "executorch": ("executorch", "EXECUTORCH"), "c": ("c_student", "C")}
# what runs each, which for ONNX takes neither torch nor transformers
_STUDENTS = {"onnx": ("onnx_student", "OnnxStudent"), "executorch": ("executorch_student", "ExecutorchStudent")}
# what students are exported as; C is compiled by whoever uses it, never loaded
FORMATS = tuple(_FORMATS)
BACKENDS = ("torch", "onnx", "executorch")


def load_exported(
    name: str | os.PathLike,
    backend: str,
    *,
    precision: str | None = None,
    n_threads: int | None = None,
    **options: Any,
) -> ExportedStudent:
    """Return a student that another runtime than PyTorch runs.

    A folder that `dlink export` wrote is loaded as it is. Of a checkpoint, the export in its sub-folder `onnx` or
    `executorch` is loaded, which must belong to the weights and labels next to it. A checkpoint without one is
    exported in float32, compared with PyTorch, and not kept; a warning says so.

    Args:
        name: folder of an export; or folder, short name or Hub id of a student.
        backend: one of `BACKENDS` but `"torch"`.
        precision: which export, where there are several; `"float32"` by default, or the only one there is.
        n_threads: as `from_pretrained` of [`OnnxStudent`] and [`ExecutorchStudent`] takes it.
        **options: `revision`, `token`, `cache_dir`, `local_files_only`, `force_download`, `subfolder`.

    Returns:
        [`OnnxStudent`] or [`ExecutorchStudent`].

    Raises:
        ImportError: the runtime is not installed, or what an export needs.
        OSError: there is no such checkpoint, or it can't be reached.
        TypeError: it is not a student with a head.
        ValueError: the backend or an option is unknown; the export is damaged, or belongs to other weights; or there
            is none in this precision.
    """
    check_backend(backend)
    unknown = sorted(set(options) - set(HUB_OPTIONS))
    if unknown:
        raise ValueError(
            f"{', '.join(unknown)} can't go with backend={backend!r}: an exported student is what it was made as, on "
            f"the CPU. It takes precision, n_threads, {', '.join(HUB_OPTIONS)}."
        )
    if precision is not None:
        one_of("precision", precision, PRECISIONS)
    student_class = _student_of(backend)
    with found_checkpoint(name, options.get("revision"), options.get("subfolder")) as resolved:
        own = Path(resolved, options.get("subfolder") or "")
        if own.is_dir():
            folder = _find(str(own), "", student_class, precision, {})
            if folder is not None:
                return student_class.from_pretrained(folder, n_threads)
        inside = f"{backend}/"
        if _fetch(resolved, "config.json", options) is not None:
            folder = _find(resolved, inside, student_class, precision, options)
            if folder is not None and _clearly_belongs(folder, resolved, options):
                return student_class.from_pretrained(folder, n_threads)
        from ..evaluation.predict import load_trained

        model = load_trained(resolved, **options)
        folder = _find(resolved, inside, student_class, precision, options)
        if folder is None:
            kind = format_of(backend)
            return _export_now(model, os.fspath(name), resolved, kind, precision, n_threads, options)
    student = student_class.from_pretrained(folder, n_threads)
    check_belongs(student.deploy, model.state_dict(), label_names(model), folder, os.fspath(name))
    logger.info("%s: %s of %s", name, student.deploy["precision"], folder)
    return student


def check_backend(backend: Any) -> None:
    """Refuse an unknown backend.

    Raises:
        ValueError: it is none of `BACKENDS`.
    """
    one_of("backend", backend, BACKENDS)


def format_of(backend: str) -> Any:
    """Return the [`onnx.ExportFormat`] of one of `FORMATS`."""
    module, name = _FORMATS[backend]
    return getattr(import_module(f".{module}", __package__), name)


def _student_of(backend: str) -> type[ExportedStudent]:
    module, name = _STUDENTS[backend]
    return getattr(import_module(f".{module}", __package__), name)


def _clearly_belongs(folder: Path, name: str, hub: dict[str, Any]) -> bool:
    """Whether an export was made of the one file of weights of a checkpoint, by its digest, and has its labels.

    Where it doesn't, or it can't be told without PyTorch, the model itself is asked, whose errors say why.
    """
    from safetensors import SafetensorError, safe_open

    weights, config = _fetch(name, "model.safetensors", hub), _fetch(name, "config.json", hub)
    if weights is None or config is None:
        return False
    try:
        labels = label_names(SimpleNamespace(config=ExportedConfig.from_folder(config.parent)))
        with safe_open(weights, framework="np") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        check_belongs(read_deploy(folder), tensors, labels, folder, name)
    # bfloat16 is a type that NumPy lacks
    except (SafetensorError, *MALFORMED):
        return False
    return True


def _find(
    name: str, inside: str, student: type[ExportedStudent], precision: str | None, hub: dict[str, Any]
) -> Path | None:
    """The folder of an export of a folder or repository, all of its files fetched; None where there is none.

    Raises:
        ValueError: there are several and none is in float32, or the one there is has another precision.
    """
    found = {}
    for place in ("", *(f"{precision}/" for precision in PRECISIONS)):
        deploy = _fetch(name, f"{inside}{place}{DEPLOY_FILE}", hub)
        if deploy is not None and read_deploy(deploy.parent).get("format", "onnx") == student.backend:
            found.setdefault(read_deploy(deploy.parent).get("precision"), (deploy.parent, f"{inside}{place}"))
    if not found:
        return None
    wanted = precision or ("float32" if "float32" in found or len(found) > 1 else next(iter(found)))
    if wanted not in found:
        raise ValueError(
            f"{name} has no {student.backend} export in {wanted}; it has {', '.join(map(str, found))}: say which, "
            f"precision={next(iter(found))!r}, or make it: dlink export MODEL --format {student.backend} --precision "
            f"{wanted} --output_dir DIR."
        )
    folder, place = found[wanted]
    for file in (student.model_file, "config.json", "preprocessor_config.json"):
        _fetch(name, f"{place}{file}", hub)
    return folder


def _fetch(name: str, filename: str, hub: dict[str, Any]) -> Path | None:
    try:
        return fetch(name, filename, hub)
    except OSError:
        from huggingface_hub import is_offline_mode

        if os.path.isdir(name) or not (hub.get("local_files_only") or is_offline_mode()):
            raise
        # where the Hub may not be asked, what is not in the cache is not there
        return None


def _export_now(
    model: Any, name: str, resolved: str, kind: Any, precision: str | None, n_threads: int | None, hub: dict[str, Any]
) -> ExportedStudent:
    """A student, exported in float32 into a folder that does not stay."""
    from ..preprocessing.feature_extraction_eeg import EEGFeatureExtractor
    from .onnx import write_export

    backend = kind.student.backend
    keep = f"dlink export {name} --format {backend} --output_dir CHECKPOINT/{backend}"
    if precision not in (None, "float32"):
        raise ValueError(
            f"{name} has no export for {backend} next to its weights, and one that is made at once is in float32, not "
            f"{precision}. Make it: {keep} --precision {precision}."
        )
    extractor = None
    if _fetch(resolved, "preprocessor_config.json", hub) is not None:
        extractor = EEGFeatureExtractor.from_pretrained(resolved, **hub)
    with tempfile.TemporaryDirectory(prefix="dlink-export-") as folder:
        write_export(kind, model, folder, feature_extractor=extractor, progress=False)
        student = kind.student.from_pretrained(folder, n_threads)
    student.folder = None
    logger.warning(
        "%s has no export for %s next to its weights: it was exported in float32 now, which differs from PyTorch by "
        "at most %.2g in a logit. To keep it: %s",
        name,
        backend,
        student.deploy["check"]["largest_difference"],
        keep,
    )
    return student


__all__ = ["BACKENDS", "FORMATS", "check_backend", "format_of", "load_exported"]
