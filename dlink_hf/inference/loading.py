# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""`dlink_hf.pipeline`: a model and its feature extractor, by name, as one thing that classifies recordings."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

from ..core.checkpoint_names import found_checkpoint
from ..core.config_checks import REGRESSION
from ..core.fetch import HUB_OPTIONS, fetch
from ..export.exported_student import ExportedStudent
from ..export.loading import check_backend, load_exported
from ..preprocessing.eeg_reader import SETTINGS_FILE, EEGReader
from .patch_places import RecordingPatchClassifier
from .recording_classifier import FEATURE_TASK, REGRESSION_TASK, TASK, TOKEN_TASK, RecordingClassifier


if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

    from ..preprocessing.feature_extraction_eeg import EEGFeatureExtractor
    from .window_pipeline import EEGWindowPipeline


TASKS = (TASK, REGRESSION_TASK, TOKEN_TASK, FEATURE_TASK)

# transformers.pipeline knows the task from here on; a program that never imports transformers is spared it
if "transformers" in sys.modules:
    import_module(".pipeline", __package__)
    import_module(".feature_pipeline", __package__)
    import_module(".token_pipeline", __package__)


def pipeline(
    task: str | None = None,
    model: str | os.PathLike | PreTrainedModel | ExportedStudent | None = None,
    feature_extractor: str | os.PathLike | EEGFeatureExtractor | None = None,
    *,
    device: int | str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    backend: str = "torch",
    precision: str | None = None,
    **kwargs: Any,
) -> EEGWindowPipeline | RecordingClassifier:
    """Return a pipeline that runs a model on EEG recordings window by window.

    Args:
        task: "eeg-classification", "eeg-regression" or "eeg-token-classification" (a label for each patch), the one
            that the model was made for by default; or "eeg-feature-extraction", of any model but an export.
        model: folder, Hub id or short name of a student or a teacher, or a model itself.
        feature_extractor: the same for the [`EEGFeatureExtractor`]; the one saved with the model by default.
        device: as in transformers: the first accelerator by default, else the CPU; -1 or "cpu" for the CPU.
        dtype: of the weights, such as "bfloat16"; float32 by default, "auto" for that of the checkpoint.
        backend: "torch"; or "onnx" or "executorch", which ONNX Runtime (one thread) or ExecuTorch run on the CPU: of a
            folder that `dlink export` wrote, a checkpoint with an export in its `onnx` or `executorch`, or any other
            student, which is exported at once.
        precision: of the export, where a checkpoint has several: "float32", "float16" or "int8".
        **kwargs: `revision`, `token`, `cache_dir`, `local_files_only`, `force_download`, `subfolder`, for a model that
            is loaded by name; `batch_size`, `num_workers` and the options of the call, to hold for all calls.

    Returns:
        [`EEGClassificationPipeline`], [`EEGRegressionPipeline`], [`EEGTokenClassificationPipeline`] or
        [`EEGFeatureExtractionPipeline`]; its call says what it takes and gives. Of an exported student a
        [`RecordingClassifier`], which does the same; with ONNX Runtime it imports neither torch nor transformers.

    Raises:
        ImportError: of another backend, a package is missing.
        OSError: there is no such checkpoint, or it can't be reached.
        TypeError: an option is unknown, or the model has no head, or one for another task.
        ValueError: the task is another, no model is named, or the checkpoint holds no trained classifier or no
            preprocessor_config.json; or the backend is unknown, or an exported student is damaged or belongs to other
            weights.
    """
    if task is not None and task not in TASKS:
        raise ValueError(
            f"dlink_hf.pipeline has the tasks {', '.join(map(repr, TASKS))}, got {task!r}. A model goes by model=...; "
            "other tasks are transformers.pipeline's."
        )
    if model is None:
        raise ValueError("Which model? dlink_hf.pipeline(model=...) takes a folder, a Hub id or a short name.")
    hub = {name: kwargs.pop(name) for name in HUB_OPTIONS if name in kwargs}
    name = os.fspath(model) if isinstance(model, (str, os.PathLike)) else None
    if name is None and (hub or dtype is not None):
        raise ValueError(
            f"{', '.join([*hub, *(['dtype'] if dtype is not None else [])])} is for a model that is loaded by name; "
            "this one is loaded already (model.to(...) changes its dtype)."
        )
    check_backend(backend)
    if precision is not None and backend == "torch":
        raise ValueError(f"precision={precision!r} is for backend='onnx' and 'executorch'; with torch give dtype=....")
    settings: Any = feature_extractor
    if backend != "torch":
        if name is None or dtype is not None:
            raise ValueError(
                f"backend={backend!r} is for a student by its name or the folder of an export, whose precision was "
                "chosen when it was exported: neither a model that is loaded already nor dtype go with it."
            )
        model = load_exported(name, backend, precision=precision, **hub)
        if settings is None and model.folder is not None and (model.folder / SETTINGS_FILE).is_file():
            # made for the montage of the export
            settings = EEGReader.from_pretrained(model.folder)
    elif name is not None:
        from ..evaluation.predict import checkpoint_labels_patches, load_classifier, load_token_classifier
        from .feature_pipeline import load_backbone

        options: dict[str, Any] = {**hub, **({} if dtype is None else {"dtype": dtype})}
        if task is None and checkpoint_labels_patches(name, **options):
            task = TOKEN_TASK
        load = {FEATURE_TASK: load_backbone, TOKEN_TASK: load_token_classifier}.get(task or TASK, load_classifier)
        model = load(name, **options)
    if settings is None and name is not None:
        settings = name
    if isinstance(model, ExportedStudent):
        if isinstance(settings, (str, os.PathLike)):
            settings = _load_settings(os.fspath(settings), hub, EEGReader)
        if device is not None:
            model.to(device)
        if kwargs.pop("num_workers", None):
            raise ValueError("num_workers is for PyTorch: an exported student reads recordings in this process.")
        own = REGRESSION_TASK if model.config.problem_type == REGRESSION else TASK
        if model.labels_patches:
            own = TOKEN_TASK
        if task not in (None, own):
            raise TypeError(f"This exported student is for {own!r}, not for {task!r}.")
        return (RecordingPatchClassifier if model.labels_patches else RecordingClassifier)(model, settings, **kwargs)
    from ..preprocessing.feature_extraction_eeg import EEGFeatureExtractor
    from .feature_pipeline import EEGFeatureExtractionPipeline
    from .pipeline import EEGClassificationPipeline, EEGRegressionPipeline
    from .token_pipeline import EEGTokenClassificationPipeline

    if isinstance(settings, (str, os.PathLike)):
        settings = _load_settings(os.fspath(settings), hub, EEGFeatureExtractor)
    if task is None:
        problem_type = getattr(getattr(model, "config", None), "problem_type", None)
        task = REGRESSION_TASK if problem_type == REGRESSION else TASK
        if type(model).__name__.endswith("ForEEGTokenClassification"):
            task = TOKEN_TASK
    kinds = {
        TASK: EEGClassificationPipeline,
        REGRESSION_TASK: EEGRegressionPipeline,
        TOKEN_TASK: EEGTokenClassificationPipeline,
    }
    kind: Any = kinds.get(task, EEGFeatureExtractionPipeline)
    return kind(model=model, feature_extractor=settings, task=task, device=device, **kwargs)


def _load_settings(name: str, hub: dict[str, Any], kind: Any) -> Any:
    with found_checkpoint(name, hub.get("revision"), hub.get("subfolder")) as resolved:
        if fetch(resolved, SETTINGS_FILE, hub) is None:
            raise ValueError(
                f"{name} has no preprocessor_config.json, so it is not known at which rate, of which length and how "
                "filtered the model's windows were in training. Give feature_extractor=EEGFeatureExtractor(...), or "
                "save one with the model: EEGFeatureExtractor(...).save_pretrained(folder)."
            )
        return kind.from_pretrained(resolved, **hub)


__all__ = ["pipeline"]
