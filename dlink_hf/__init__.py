# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Distil EEG foundation models into compact students.

`import dlink_hf` loads nothing heavy: each name below brings its module (torch, transformers, mne ...) when it is
first used (PEP 562).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ._version import __version__ as __version__
from .core.old_paths import MOVED_MODULES as _MOVED_MODULES, install as _install_old_paths
from .core.requires import naming_the_extra as _naming_the_extra


# module -> the public names it holds, in the order in which data flows
_PUBLIC_NAMES = {
    "core.electrodes": ["ELECTRODE_POSITIONS", "canonical_name", "channel_positions"],
    "preprocessing.alignment": [
        "EuclideanAlignment",
        "EuclideanMongeAlignment",
        "MongeAlignment",
        "ZScoreAlignment",
        "alignment_from_dict",
        "make_alignment",
    ],
    "core.checkpoint_names": ["resolve_checkpoint"],
    "core.headsets": ["headset_channels", "parse_channels"],
    "preprocessing.feature_extraction_eeg": ["EEGFeatureExtractor"],
    "preprocessing.eeg_reader": ["EEGReader"],
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
        "load_unlabelled",
        "make_synthetic_recordings",
        "monge_reference",
        "prepare_shards",
        "set_signal_info",
        "signal_fields",
        "signal_info",
        "split_by_column",
        "split_by_subject",
        "student_extractor",
        "student_view",
        "subject_kfold",
        "synthetic_dataset",
        "teacher_view",
        "windows_from_arrays",
        "with_teacher_view",
        "with_unlabelled",
    ],
    "models.mic.configuration_mic": ["MiCConfig"],
    "models.teacher.configuration_teacher": ["DLinkTeacherConfig"],
    "distillation.configuration_router": ["DLinkRouterConfig"],
    "distillation.configuration_studio": ["DLinkStudioConfig"],
    "models.mic.modeling_mic": ["MiCForEEGClassification", "MiCForEEGRegression", "MiCModel"],
    "models.mic.token_classification": ["MiCForEEGTokenClassification"],
    "models.teacher.token_classification": ["DLinkTeacherForEEGTokenClassification"],
    "models.teacher.modeling_teacher": [
        "DLinkTeacherForEEGClassification",
        "DLinkTeacherForEEGRegression",
        "DLinkTeacherModel",
    ],
    "distillation.modeling_router": ["DLinkRouter"],
    "distillation.modeling_studio": ["DLinkStudioModel"],
    "inference.auto": ["AutoModelForEEGClassification", "AutoModelForEEGRegression"],
    "hub.publish": ["publish_folder"],
    "hub.remote_code": ["add_remote_code"],
    "evaluation.metrics": [
        "EEGClassificationMetrics",
        "classification_scores",
        "compute_metrics",
        "compute_metrics_for",
        "compute_token_metrics",
        "event_scores",
        "multi_label_scores",
        "regression_scores",
        "token_scores",
    ],
    "distillation.teacher_cache": ["TeacherCache"],
    "distillation.soft_targets": ["add_soft_targets", "cross_fitted_soft_targets"],
    "distillation.experts": ["expert_soft_targets", "fit_expert", "fit_experts"],
    "training.linear_experts": ["band_power_probabilities"],
    "distillation.training_args": ["DLinkTrainingArguments"],
    "distillation.trainer": ["DLinkTrainer"],
    "distillation.estimators": ["DLinkClassifier", "DLinkRegressor"],
    "training.augmentation": ["EEGAugmentation"],
    "training.lora": ["adapt_teacher"],
    "training.finetuning": ["make_trainer"],
    "training.pretraining": ["DLinkTeacherForPretraining", "PretrainingTrainer"],
    "distillation.general.backbone_distillation": ["BackboneStudio"],
    "distillation.general.backbone_trainer": ["BackboneTrainer", "WindowSource"],
    "training.probing": ["fit_probe"],
    "evaluation.predict": ["evaluate_model", "load_classifier", "predict_outputs", "predict_probabilities"],
    "export.onnx": ["export_onnx"],
    "export.executorch": ["export_executorch"],
    "export.exported_student": ["ExportedStudent"],
    "export.onnx_student": ["OnnxStudent"],
    "export.executorch_student": ["ExecutorchStudent"],
    "export.loading": ["load_exported"],
    "models.mic.folded": ["MiCInference"],
    "streaming.preparation": ["StreamPreparation", "filter_coefficients"],
    "streaming.classifier": ["StreamClassifier", "StreamPrediction"],
    "streaming.sources": ["BrainFlowSource", "LslSource"],
    "streaming.outlets": ["LslReplay", "PredictionOutlet"],
    "inference.feature_pipeline": ["EEGFeatureExtractionPipeline"],
    "inference.loading": ["pipeline"],
    "inference.braindecode_model": ["BraindecodeStudent"],
    "inference.open_eeg_bench": ["open_eeg_bench_settings"],
    "inference.recording_classifier": ["RecordingClassifier"],
    "inference.pipeline": ["EEGClassificationPipeline", "EEGRegressionPipeline"],
    "inference.token_pipeline": ["EEGTokenClassificationPipeline"],
    "profiling.measure": ["count_flops", "count_parameters", "measure_latency", "peak_memory"],
    "profiling.run": ["profile_models"],
    "evaluation.explanation": ["explain_window"],
    "evaluation.score_plots": ["plot_reliability", "plot_subject_scores"],
    "evaluation.recording_plots": ["plot_explanation"],
    "evaluation.plots": [
        "plot_confusion_matrix",
        "plot_loss_curves",
        "plot_montage",
        "plot_representation_spectra",
        "plot_router_weights",
    ],
    "hub.model_card": ["build_model_card", "save_model_card"],
}
# in the order in which they may import each other
_ROOMS = (
    *("core", "hub", "preprocessing", "models", "data", "evaluation", "export", "profiling", "training"),
    *("distillation", "inference", "streaming", "commands"),
)
_MODULE_OF = {name: module for module, names in _PUBLIC_NAMES.items() for name in names}

__all__ = ["__version__", *sorted(_MODULE_OF)]

_install_old_paths()


if TYPE_CHECKING:
    from .core.checkpoint_names import (
        resolve_checkpoint as resolve_checkpoint,
    )
    from .core.electrodes import (
        ELECTRODE_POSITIONS as ELECTRODE_POSITIONS,
        canonical_name as canonical_name,
        channel_positions as channel_positions,
    )
    from .core.headsets import (
        headset_channels as headset_channels,
        parse_channels as parse_channels,
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
        load_unlabelled as load_unlabelled,
        make_synthetic_recordings as make_synthetic_recordings,
        monge_reference as monge_reference,
        prepare_shards as prepare_shards,
        set_signal_info as set_signal_info,
        signal_fields as signal_fields,
        signal_info as signal_info,
        split_by_column as split_by_column,
        split_by_subject as split_by_subject,
        student_extractor as student_extractor,
        student_view as student_view,
        subject_kfold as subject_kfold,
        synthetic_dataset as synthetic_dataset,
        teacher_view as teacher_view,
        windows_from_arrays as windows_from_arrays,
        with_teacher_view as with_teacher_view,
        with_unlabelled as with_unlabelled,
    )
    from .distillation.configuration_router import (
        DLinkRouterConfig as DLinkRouterConfig,
    )
    from .distillation.configuration_studio import (
        DLinkStudioConfig as DLinkStudioConfig,
    )
    from .distillation.estimators import (
        DLinkClassifier as DLinkClassifier,
        DLinkRegressor as DLinkRegressor,
    )
    from .distillation.experts import (
        expert_soft_targets as expert_soft_targets,
        fit_expert as fit_expert,
        fit_experts as fit_experts,
    )
    from .distillation.general.backbone_distillation import (
        BackboneStudio as BackboneStudio,
    )
    from .distillation.general.backbone_trainer import (
        BackboneTrainer as BackboneTrainer,
        WindowSource as WindowSource,
    )
    from .distillation.modeling_router import (
        DLinkRouter as DLinkRouter,
    )
    from .distillation.modeling_studio import (
        DLinkStudioModel as DLinkStudioModel,
    )
    from .distillation.soft_targets import (
        add_soft_targets as add_soft_targets,
        cross_fitted_soft_targets as cross_fitted_soft_targets,
    )
    from .distillation.teacher_cache import (
        TeacherCache as TeacherCache,
    )
    from .distillation.trainer import (
        DLinkTrainer as DLinkTrainer,
    )
    from .distillation.training_args import (
        DLinkTrainingArguments as DLinkTrainingArguments,
    )
    from .evaluation.explanation import (
        explain_window as explain_window,
    )
    from .evaluation.metrics import (
        EEGClassificationMetrics as EEGClassificationMetrics,
        classification_scores as classification_scores,
        compute_metrics as compute_metrics,
        compute_metrics_for as compute_metrics_for,
        compute_token_metrics as compute_token_metrics,
        event_scores as event_scores,
        multi_label_scores as multi_label_scores,
        regression_scores as regression_scores,
        token_scores as token_scores,
    )
    from .evaluation.plots import (
        plot_confusion_matrix as plot_confusion_matrix,
        plot_loss_curves as plot_loss_curves,
        plot_montage as plot_montage,
        plot_representation_spectra as plot_representation_spectra,
        plot_router_weights as plot_router_weights,
    )
    from .evaluation.predict import (
        evaluate_model as evaluate_model,
        load_classifier as load_classifier,
        predict_outputs as predict_outputs,
        predict_probabilities as predict_probabilities,
    )
    from .evaluation.recording_plots import (
        plot_explanation as plot_explanation,
    )
    from .evaluation.score_plots import (
        plot_reliability as plot_reliability,
        plot_subject_scores as plot_subject_scores,
    )
    from .export.executorch import (
        export_executorch as export_executorch,
    )
    from .export.executorch_student import (
        ExecutorchStudent as ExecutorchStudent,
    )
    from .export.exported_student import (
        ExportedStudent as ExportedStudent,
    )
    from .export.loading import (
        load_exported as load_exported,
    )
    from .export.onnx import (
        export_onnx as export_onnx,
    )
    from .export.onnx_student import (
        OnnxStudent as OnnxStudent,
    )
    from .hub.model_card import (
        build_model_card as build_model_card,
        save_model_card as save_model_card,
    )
    from .hub.publish import (
        publish_folder as publish_folder,
    )
    from .hub.remote_code import (
        add_remote_code as add_remote_code,
    )
    from .inference.auto import (
        AutoModelForEEGClassification as AutoModelForEEGClassification,
        AutoModelForEEGRegression as AutoModelForEEGRegression,
    )
    from .inference.braindecode_model import (
        BraindecodeStudent as BraindecodeStudent,
    )
    from .inference.feature_pipeline import (
        EEGFeatureExtractionPipeline as EEGFeatureExtractionPipeline,
    )
    from .inference.loading import (
        pipeline as pipeline,
    )
    from .inference.open_eeg_bench import (
        open_eeg_bench_settings as open_eeg_bench_settings,
    )
    from .inference.pipeline import (
        EEGClassificationPipeline as EEGClassificationPipeline,
        EEGRegressionPipeline as EEGRegressionPipeline,
    )
    from .inference.recording_classifier import (
        RecordingClassifier as RecordingClassifier,
    )
    from .inference.token_pipeline import (
        EEGTokenClassificationPipeline as EEGTokenClassificationPipeline,
    )
    from .models.mic.configuration_mic import (
        MiCConfig as MiCConfig,
    )
    from .models.mic.folded import (
        MiCInference as MiCInference,
    )
    from .models.mic.modeling_mic import (
        MiCForEEGClassification as MiCForEEGClassification,
        MiCForEEGRegression as MiCForEEGRegression,
        MiCModel as MiCModel,
    )
    from .models.mic.token_classification import (
        MiCForEEGTokenClassification as MiCForEEGTokenClassification,
    )
    from .models.teacher.configuration_teacher import (
        DLinkTeacherConfig as DLinkTeacherConfig,
    )
    from .models.teacher.modeling_teacher import (
        DLinkTeacherForEEGClassification as DLinkTeacherForEEGClassification,
        DLinkTeacherForEEGRegression as DLinkTeacherForEEGRegression,
        DLinkTeacherModel as DLinkTeacherModel,
    )
    from .models.teacher.token_classification import (
        DLinkTeacherForEEGTokenClassification as DLinkTeacherForEEGTokenClassification,
    )
    from .preprocessing.alignment import (
        EuclideanAlignment as EuclideanAlignment,
        EuclideanMongeAlignment as EuclideanMongeAlignment,
        MongeAlignment as MongeAlignment,
        ZScoreAlignment as ZScoreAlignment,
        alignment_from_dict as alignment_from_dict,
        make_alignment as make_alignment,
    )
    from .preprocessing.eeg_reader import (
        EEGReader as EEGReader,
    )
    from .preprocessing.feature_extraction_eeg import (
        EEGFeatureExtractor as EEGFeatureExtractor,
    )
    from .profiling.measure import (
        count_flops as count_flops,
        count_parameters as count_parameters,
        measure_latency as measure_latency,
        peak_memory as peak_memory,
    )
    from .profiling.run import (
        profile_models as profile_models,
    )
    from .streaming.classifier import (
        StreamClassifier as StreamClassifier,
        StreamPrediction as StreamPrediction,
    )
    from .streaming.outlets import (
        LslReplay as LslReplay,
        PredictionOutlet as PredictionOutlet,
    )
    from .streaming.preparation import (
        StreamPreparation as StreamPreparation,
        filter_coefficients as filter_coefficients,
    )
    from .streaming.sources import (
        BrainFlowSource as BrainFlowSource,
        LslSource as LslSource,
    )
    from .training.augmentation import (
        EEGAugmentation as EEGAugmentation,
    )
    from .training.finetuning import (
        make_trainer as make_trainer,
    )
    from .training.linear_experts import band_power_probabilities as band_power_probabilities
    from .training.lora import (
        adapt_teacher as adapt_teacher,
    )
    from .training.pretraining import (
        DLinkTeacherForPretraining as DLinkTeacherForPretraining,
        PretrainingTrainer as PretrainingTrainer,
    )
    from .training.probing import (
        fit_probe as fit_probe,
    )


def __getattr__(name: str) -> Any:
    if name in _MODULE_OF:
        with _naming_the_extra(f"{__name__}.{name}"):
            value = getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
    elif name in _ROOMS or name in _MOVED_MODULES:
        value = import_module(f"{__name__}.{name}")
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_ROOMS})
