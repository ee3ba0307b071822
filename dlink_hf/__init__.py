# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Distil EEG foundation models into compact students.

`import dlink_hf` loads nothing heavy: each name below brings its module (torch, transformers, mne ...) when it is
first used (PEP 562).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any


__version__ = "0.1.0"

# module -> the public names it holds, in the order in which data flows
_PUBLIC_NAMES = {
    "electrodes": ["ELECTRODE_POSITIONS", "canonical_name", "channel_positions"],
    "alignment": [
        "EuclideanAlignment",
        "EuclideanMongeAlignment",
        "MongeAlignment",
        "ZScoreAlignment",
        "alignment_from_dict",
        "make_alignment",
    ],
    "checkpoint_names": ["resolve_checkpoint"],
    "feature_extraction_eeg": ["EEGFeatureExtractor"],
    "data": [
        "EEG_SETS",
        "AnnotationLabels",
        "EEGDataCollator",
        "EventLabels",
        "PathLabels",
        "ShardManifest",
        "SignalInfo",
        "TableLabels",
        "align_dataset",
        "alignment_info",
        "build_dataset",
        "build_report",
        "check_no_shared_subjects",
        "check_shards",
        "concatenate_windows",
        "eeg_set_extractor",
        "load_eeg_set",
        "load_public_set",
        "load_shards",
        "make_synthetic_recordings",
        "monge_reference",
        "prepare_shards",
        "set_signal_info",
        "signal_fields",
        "signal_info",
        "split_by_column",
        "split_by_subject",
        "subject_kfold",
        "synthetic_dataset",
    ],
    "configuration_mic": ["MiCConfig"],
    "configuration_teacher": ["DLinkTeacherConfig"],
    "configuration_router": ["DLinkRouterConfig"],
    "configuration_studio": ["DLinkStudioConfig"],
    "modeling_mic": ["MiCForEEGClassification", "MiCModel"],
    "modeling_teacher": ["DLinkTeacherForEEGClassification", "DLinkTeacherModel"],
    "modeling_router": ["DLinkRouter"],
    "modeling_studio": ["DLinkStudioModel"],
    "modeling_auto": ["AutoModelForEEGClassification"],
    "hub": ["publish_folder"],
    "remote_code": ["add_remote_code"],
    "metrics": ["EEGClassificationMetrics", "classification_scores", "compute_metrics"],
    "teacher_cache": ["TeacherCache"],
    "soft_targets": ["add_soft_targets", "cross_fitted_soft_targets"],
    "training_args": ["DLinkTrainingArguments"],
    "trainer": ["DLinkTrainer"],
    "augmentation": ["EEGAugmentation"],
    "adaptation": ["adapt_teacher"],
    "finetuning": ["make_trainer"],
    "pretraining": ["DLinkTeacherForPretraining", "PretrainingTrainer"],
    "backbone_distillation": ["BackboneStudio"],
    "backbone_trainer": ["BackboneTrainer", "WindowSource"],
    "probing": ["fit_probe"],
    "evaluation": ["evaluate_model", "load_classifier", "predict_probabilities"],
    "exporting": ["export_onnx"],
    "exporting_executorch": ["export_executorch"],
    "exported_student": ["ExportedStudent"],
    "onnx_student": ["OnnxStudent"],
    "executorch_student": ["ExecutorchStudent"],
    "backends": ["load_exported"],
    "mic_inference": ["MiCInference"],
    "stream_preparation": ["StreamPreparation", "filter_coefficients"],
    "stream_classifier": ["StreamClassifier", "StreamPrediction"],
    "stream_sources": ["BrainFlowSource", "LslSource"],
    "stream_outlets": ["LslReplay", "PredictionOutlet"],
    "pipeline_eeg_classification": ["EEGClassificationPipeline", "pipeline"],
    "profiling": ["count_flops", "count_parameters", "measure_latency", "peak_memory"],
    "profiling_run": ["profile_models"],
    "visualization": [
        "plot_confusion_matrix",
        "plot_loss_curves",
        "plot_montage",
        "plot_representation_spectra",
        "plot_router_weights",
    ],
    "model_card": ["build_model_card", "save_model_card"],
}
_MODULE_OF = {name: module for module, names in _PUBLIC_NAMES.items() for name in names}

__all__ = ["__version__", *sorted(_MODULE_OF)]


if TYPE_CHECKING:
    from .adaptation import (
        adapt_teacher as adapt_teacher,
    )
    from .alignment import (
        EuclideanAlignment as EuclideanAlignment,
        EuclideanMongeAlignment as EuclideanMongeAlignment,
        MongeAlignment as MongeAlignment,
        ZScoreAlignment as ZScoreAlignment,
        alignment_from_dict as alignment_from_dict,
        make_alignment as make_alignment,
    )
    from .augmentation import (
        EEGAugmentation as EEGAugmentation,
    )
    from .backbone_distillation import (
        BackboneStudio as BackboneStudio,
    )
    from .backbone_trainer import (
        BackboneTrainer as BackboneTrainer,
        WindowSource as WindowSource,
    )
    from .backends import (
        load_exported as load_exported,
    )
    from .checkpoint_names import (
        resolve_checkpoint as resolve_checkpoint,
    )
    from .configuration_mic import (
        MiCConfig as MiCConfig,
    )
    from .configuration_router import (
        DLinkRouterConfig as DLinkRouterConfig,
    )
    from .configuration_studio import (
        DLinkStudioConfig as DLinkStudioConfig,
    )
    from .configuration_teacher import (
        DLinkTeacherConfig as DLinkTeacherConfig,
    )
    from .data import (
        EEG_SETS as EEG_SETS,
        AnnotationLabels as AnnotationLabels,
        EEGDataCollator as EEGDataCollator,
        EventLabels as EventLabels,
        PathLabels as PathLabels,
        ShardManifest as ShardManifest,
        SignalInfo as SignalInfo,
        TableLabels as TableLabels,
        align_dataset as align_dataset,
        alignment_info as alignment_info,
        build_dataset as build_dataset,
        build_report as build_report,
        check_no_shared_subjects as check_no_shared_subjects,
        check_shards as check_shards,
        concatenate_windows as concatenate_windows,
        eeg_set_extractor as eeg_set_extractor,
        load_eeg_set as load_eeg_set,
        load_public_set as load_public_set,
        load_shards as load_shards,
        make_synthetic_recordings as make_synthetic_recordings,
        monge_reference as monge_reference,
        prepare_shards as prepare_shards,
        set_signal_info as set_signal_info,
        signal_fields as signal_fields,
        signal_info as signal_info,
        split_by_column as split_by_column,
        split_by_subject as split_by_subject,
        subject_kfold as subject_kfold,
        synthetic_dataset as synthetic_dataset,
    )
    from .electrodes import (
        ELECTRODE_POSITIONS as ELECTRODE_POSITIONS,
        canonical_name as canonical_name,
        channel_positions as channel_positions,
    )
    from .evaluation import (
        evaluate_model as evaluate_model,
        load_classifier as load_classifier,
        predict_probabilities as predict_probabilities,
    )
    from .executorch_student import (
        ExecutorchStudent as ExecutorchStudent,
    )
    from .exported_student import (
        ExportedStudent as ExportedStudent,
    )
    from .exporting import (
        export_onnx as export_onnx,
    )
    from .exporting_executorch import (
        export_executorch as export_executorch,
    )
    from .feature_extraction_eeg import (
        EEGFeatureExtractor as EEGFeatureExtractor,
    )
    from .finetuning import (
        make_trainer as make_trainer,
    )
    from .hub import (
        publish_folder as publish_folder,
    )
    from .metrics import (
        EEGClassificationMetrics as EEGClassificationMetrics,
        classification_scores as classification_scores,
        compute_metrics as compute_metrics,
    )
    from .mic_inference import (
        MiCInference as MiCInference,
    )
    from .model_card import (
        build_model_card as build_model_card,
        save_model_card as save_model_card,
    )
    from .modeling_auto import (
        AutoModelForEEGClassification as AutoModelForEEGClassification,
    )
    from .modeling_mic import (
        MiCForEEGClassification as MiCForEEGClassification,
        MiCModel as MiCModel,
    )
    from .modeling_router import (
        DLinkRouter as DLinkRouter,
    )
    from .modeling_studio import (
        DLinkStudioModel as DLinkStudioModel,
    )
    from .modeling_teacher import (
        DLinkTeacherForEEGClassification as DLinkTeacherForEEGClassification,
        DLinkTeacherModel as DLinkTeacherModel,
    )
    from .onnx_student import (
        OnnxStudent as OnnxStudent,
    )
    from .pipeline_eeg_classification import (
        EEGClassificationPipeline as EEGClassificationPipeline,
        pipeline as pipeline,
    )
    from .pretraining import (
        DLinkTeacherForPretraining as DLinkTeacherForPretraining,
        PretrainingTrainer as PretrainingTrainer,
    )
    from .probing import (
        fit_probe as fit_probe,
    )
    from .profiling import (
        count_flops as count_flops,
        count_parameters as count_parameters,
        measure_latency as measure_latency,
        peak_memory as peak_memory,
    )
    from .profiling_run import (
        profile_models as profile_models,
    )
    from .remote_code import (
        add_remote_code as add_remote_code,
    )
    from .soft_targets import (
        add_soft_targets as add_soft_targets,
        cross_fitted_soft_targets as cross_fitted_soft_targets,
    )
    from .stream_classifier import (
        StreamClassifier as StreamClassifier,
        StreamPrediction as StreamPrediction,
    )
    from .stream_outlets import (
        LslReplay as LslReplay,
        PredictionOutlet as PredictionOutlet,
    )
    from .stream_preparation import (
        StreamPreparation as StreamPreparation,
        filter_coefficients as filter_coefficients,
    )
    from .stream_sources import (
        BrainFlowSource as BrainFlowSource,
        LslSource as LslSource,
    )
    from .teacher_cache import (
        TeacherCache as TeacherCache,
    )
    from .trainer import (
        DLinkTrainer as DLinkTrainer,
    )
    from .training_args import (
        DLinkTrainingArguments as DLinkTrainingArguments,
    )
    from .visualization import (
        plot_confusion_matrix as plot_confusion_matrix,
        plot_loss_curves as plot_loss_curves,
        plot_montage as plot_montage,
        plot_representation_spectra as plot_representation_spectra,
        plot_router_weights as plot_router_weights,
    )


def __getattr__(name: str) -> Any:
    if name in _MODULE_OF:
        value = getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
    elif name in _PUBLIC_NAMES:
        value = import_module(f"{__name__}.{name}")
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_PUBLIC_NAMES})
