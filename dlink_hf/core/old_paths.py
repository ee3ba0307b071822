# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Module paths of 0.1: they import the module that took their place, with a `DeprecationWarning`, until 0.3."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any


PACKAGE = "dlink_hf"
# old path -> new path, both inside the package
MOVED_MODULES = {
    "adaptation": "training.lora",
    "alignment": "preprocessing.alignment",
    "alignment_methods": "preprocessing.alignment_methods",
    "augmentation": "training.augmentation",
    "backbone_distillation": "distillation.general.backbone_distillation",
    "backbone_report": "distillation.general.backbone_report",
    "backbone_trainer": "distillation.general.backbone_trainer",
    "backends": "export.loading",
    "checkpoint_names": "core.checkpoint_names",
    "commands.json_files": "core.atomic_files",
    "compatibility": "data.model_contract",
    "configuration_base": "models.configuration_base",
    "configuration_mic": "models.mic.configuration_mic",
    "configuration_router": "distillation.configuration_router",
    "configuration_studio": "distillation.configuration_studio",
    "configuration_teacher": "models.teacher.configuration_teacher",
    "data.braindecode_sets": "data.public.braindecode_sets",
    "data.dataset": "data.build",
    "data.eeg_sets": "data.public.own_sets",
    "data.hub_sets": "data.public.hub_sets",
    "data.moabb_sets": "data.public.moabb_sets",
    "data.prepare": "data.shards.prepare",
    "data.prepare_card": "data.shards.card",
    "data.prepare_plan": "data.shards.plan",
    "data.prepare_pool": "data.shards.pool",
    "data.prepare_write": "data.shards.write",
    "data.public_names": "data.public.names",
    "data.public_recordings": "data.public.recordings",
    "data.public_sets": "data.public.load",
    "data.recordings": "preprocessing.recordings",
    "data.shards_manifest": "data.shards.manifest",
    "data.shards_reading": "data.shards.reading",
    "data.signal_facts": "data.description",
    "data.signals": "preprocessing.signals",
    "electrodes": "core.electrodes",
    "executorch_student": "export.executorch_student",
    "exported_student": "export.exported_student",
    "exporting": "export.onnx",
    "exporting_executorch": "export.executorch",
    "exporting_graph": "export.graph",
    "feature_extraction_alignment": "preprocessing.alignment_mixin",
    "feature_extraction_eeg": "preprocessing.feature_extraction_eeg",
    "files": "core.atomic_files",
    "finetuning": "training.finetuning",
    "global_batch": "core.batch_statistics",
    "hub_files": "core.fetch",
    "losses": "distillation.losses",
    "metrics": "evaluation.metrics",
    "metrics.eeg_classification": "evaluation.metrics.eeg_classification",
    "mic_inference": "models.mic.folded",
    "mic_layers": "models.mic.mic_layers",
    "model_card": "hub.model_card",
    "modeling_auto": "inference.auto",
    "modeling_base": "models.modeling_base",
    "modeling_mic": "models.mic.modeling_mic",
    "modeling_router": "distillation.modeling_router",
    "modeling_studio": "distillation.modeling_studio",
    "modeling_teacher": "models.teacher.modeling_teacher",
    "onnx_student": "export.onnx_student",
    "part_card": "hub.teacher_card",
    "pipeline_eeg_classification": "inference.pipeline",
    "pretraining": "training.pretraining",
    "pretraining_report": "training.pretraining_report",
    "probing": "training.probing",
    "profiling_backends": "profiling.runtimes",
    "profiling_memory": "profiling.memory_script",
    "profiling_models": "profiling.models",
    "profiling_report": "profiling.report",
    "profiling_run": "profiling.run",
    "recording_windows": "preprocessing.recording_windows",
    "remote_code": "hub.remote_code",
    "saved_card": "hub.card_merging",
    "soft_targets": "distillation.soft_targets",
    "stream_classifier": "streaming.classifier",
    "stream_outlets": "streaming.outlets",
    "stream_preparation": "streaming.preparation",
    "stream_screen": "streaming.screen",
    "stream_sources": "streaming.sources",
    "stream_times": "streaming.times",
    "teacher_backbones": "models.teacher.backbones",
    "teacher_batches": "distillation.teacher_batches",
    "teacher_building": "models.teacher.building",
    "teacher_cache": "distillation.teacher_cache",
    "teacher_checkpoints": "models.teacher.checkpoints",
    "teacher_head": "models.teacher.head",
    "teacher_modules": "models.teacher.modules",
    "teacher_table": "profiling.known_teachers",
    "teacher_windows": "distillation.teacher_windows",
    "token_grid": "models.token_grid",
    "token_layout": "models.teacher.token_layout",
    "trainer": "distillation.trainer",
    "trainer_bases": "training.base_trainer",
    "trainer_publishing": "distillation.publishing",
    "training_args": "distillation.training_args",
    "training_card": "distillation.training_card",
    "visualization": "evaluation.plots",
}
# modules whose name is now that of a room: old path -> the module that holds what it held
MOVED_INTO_ROOMS = {
    "data.shards": "data.shards.load",
    "evaluation": "evaluation.predict",
    "hub": "hub.publish",
    "profiling": "profiling.measure",
}


class OldPathFinder(MetaPathFinder, Loader):
    """Find the modules of `MOVED_MODULES` by their old names; both names give the same module object."""

    def find_spec(self, fullname: str, path: Any = None, target: ModuleType | None = None) -> ModuleSpec | None:
        """Return the spec of an old path, None for any other module."""
        package, _, name = fullname.partition(".")
        return ModuleSpec(fullname, self) if package == PACKAGE and name in MOVED_MODULES else None

    def create_module(self, spec: ModuleSpec) -> None:
        """None: `exec_module` puts the new module in the place of the empty one."""
        return None

    def exec_module(self, module: ModuleType) -> None:
        """Put the module that took the old one's place into `sys.modules`, and warn."""
        old = module.__name__
        new = f"{PACKAGE}.{MOVED_MODULES[old.partition('.')[2]]}"
        _warn(old, new)
        sys.modules[old] = import_module(new)


def install() -> None:
    """Let old module paths be imported; a second call changes nothing."""
    if not any(isinstance(finder, OldPathFinder) for finder in sys.meta_path):
        # before the others: `metrics` leads to a folder in which they would find its old sub-module by its old name
        sys.meta_path.insert(0, OldPathFinder())


def names_of_old_module(room: str) -> Callable[[str], Any]:
    """The `__getattr__` of a room that has the name of an old module: it gives that module's names, with a warning.

    Args:
        room: `__name__` of the room's package.

    Returns:
        a function from a name to its value, which raises `AttributeError` where the old module had no such name.
    """
    new = f"{PACKAGE}.{MOVED_INTO_ROOMS[room.partition('.')[2]]}"
    has_warned = False

    def get(name: str) -> Any:
        nonlocal has_warned
        if name.startswith("__"):
            raise AttributeError(f"module {room!r} has no attribute {name!r}")
        try:
            value = getattr(import_module(new), name)
        except AttributeError:
            raise AttributeError(f"module {room!r} has no attribute {name!r}") from None
        if not has_warned:
            has_warned = True
            _warn(room, new)
        return value

    return get


def _warn(old: str, new: str) -> None:
    # frames of importlib are not counted
    warnings.warn(f"{old} is now {new}; the old path goes in 0.3.", DeprecationWarning, stacklevel=3)


__all__ = ["MOVED_INTO_ROOMS", "MOVED_MODULES", "OldPathFinder", "install", "names_of_old_module"]
