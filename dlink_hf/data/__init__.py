# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Datasets of windows, their labels and splits; names are imported when they are first used (PEP 562)."""

from importlib import import_module
from typing import Any

from ..core.requires import naming_the_extra


_PUBLIC_NAMES = {
    ".aligned_windows": ["align_dataset", "monge_reference"],
    ".collator": ["EEGDataCollator"],
    ".array_windows": ["windows_from_arrays"],
    ".build": ["build_dataset"],
    ".public.own_sets": ["EEG_SETS", "eeg_set_extractor", "load_eeg_set"],
    ".missing_labels": ["load_unlabelled", "with_unlabelled"],
    ".labels": ["AnnotationLabels", "EventLabels", "PathLabels", "TableLabels"],
    ".shards.prepare": ["prepare_shards"],
    ".public.load": ["load_public_set"],
    "..preprocessing.recordings": ["find_recordings", "read_recording"],
    ".shards.load": ["ShardManifest", "check_shards", "load_shards"],
    ".description": [
        "SignalInfo",
        "alignment_info",
        "build_report",
        "concatenate_windows",
        "set_signal_info",
        "signal_fields",
        "signal_info",
    ],
    ".splits": ["check_no_shared_subjects", "split_by_column", "split_by_subject", "subject_kfold"],
    ".views": ["student_extractor", "student_view", "teacher_view", "with_teacher_view"],
    ".synthetic": ["make_synthetic_recordings", "synthetic_dataset"],
}
_MODULE_OF = {name: module for module, names in _PUBLIC_NAMES.items() for name in names}

__all__ = sorted(_MODULE_OF)


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    with naming_the_extra(f"{__name__}.{name}"):
        value = getattr(import_module(_MODULE_OF[name], __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
