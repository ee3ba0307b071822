# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Run a trained model over windows: probabilities, scores, and one row per window on disk."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader
from tqdm.auto import tqdm
from transformers import PreTrainedModel

from ..core.checkpoint_names import found_checkpoint
from ..core.config_checks import MULTI_LABEL, REGRESSION, SINGLE_LABEL
from ..core.requires import require
from ..core.unlabelled import IGNORED
from ..data.collator import EEGDataCollator
from ..data.description import signal_info
from ..data.model_contract import check_label_names, label_names, montage_arguments
from ..data.targets import check_targets, is_single_label, target_values
from ..models.configuration_base import DLinkPreTrainedConfig
from ..models.mic.modeling_mic import MiCForEEGClassification, MiCForEEGRegression
from ..models.mic.token_classification import MiCForEEGTokenClassification
from ..models.teacher.modeling_teacher import DLinkTeacherForEEGClassification, DLinkTeacherForEEGRegression
from ..models.teacher.token_classification import DLinkTeacherForEEGTokenClassification
from .prediction_files import label_of, write_predictions


if TYPE_CHECKING:
    from datasets import Dataset


def predict_probabilities(
    model: nn.Module, windows: Dataset | np.ndarray, batch_size: int = 64, **forward_kwargs: Any
) -> np.ndarray:
    """Class probabilities of every window.

    Args:
        model: a student or a teacher with a classification head.
        windows: dataset with `input_values` (C, T), or an array (N, C, T); microvolts.
        batch_size: windows a forward pass.
        **forward_kwargs: further arguments of the forward pass, such as `channel_positions` (C, 3).

    Returns:
        (N, num_labels) float64; rows sum to one, unless several labels may hold at once
        (`problem_type="multi_label_classification"`), each of a probability of its own.

    Raises:
        ValueError: there are no windows, or the model gives numbers ([`predict_outputs`]).
    """
    if getattr(model.config, "problem_type", None) == REGRESSION:
        raise ValueError(f"{type(model).__name__} gives numbers, not probabilities: use predict_outputs(model, ...).")
    return predict_outputs(model, windows, batch_size, **forward_kwargs)


@torch.no_grad()
def predict_outputs(
    model: nn.Module, windows: Dataset | np.ndarray, batch_size: int = 64, **forward_kwargs: Any
) -> np.ndarray:
    """What a model says of every window: probabilities of classes or labels, or numbers in the targets' unit.

    Args:
        model: a student or a teacher with a head.
        windows: dataset with `input_values` (C, T), or an array (N, C, T); microvolts.
        batch_size: windows a forward pass.
        **forward_kwargs: further arguments of the forward pass, such as `channel_positions` (C, 3).

    Returns:
        (N, num_labels) float64.

    Raises:
        ValueError: there are no windows.
    """
    if len(windows) == 0:
        raise ValueError("There are no windows to classify.")
    rows = [{"input_values": window} for window in windows] if isinstance(windows, np.ndarray) else windows
    if hasattr(rows, "select_columns"):
        rows = rows.select_columns(["input_values"])
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    try:
        batches = DataLoader(rows, batch_size=batch_size, collate_fn=EEGDataCollator())
        logits = [
            model(batch["input_values"].to(device), **forward_kwargs).logits.double().cpu()
            for batch in tqdm(batches, desc="classify", unit="batch", leave=False, delay=2)
        ]
    finally:
        model.train(was_training)
    outputs = torch.cat(logits)
    problem_type = getattr(model.config, "problem_type", None)
    if problem_type == REGRESSION:
        return outputs.numpy()
    return (outputs.sigmoid() if problem_type == MULTI_LABEL else outputs.softmax(-1)).numpy()


def load_classifier(
    name_or_path: str | os.PathLike, allow_backbone: bool = False, **hub_kwargs: Any
) -> PreTrainedModel:
    """Load a trained student or teacher, whichever a checkpoint holds.

    Args:
        name_or_path: short name (`dlink-mic-small-eegmat`), folder or Hub id.
        allow_backbone: also take a checkpoint without a head, and give it a random one.
        **hub_kwargs: `revision`, `cache_dir`, `token`, `local_files_only`, `force_download`, `subfolder`.

    Returns:
        [`MiCForEEGClassification`] or [`DLinkTeacherForEEGClassification`]; of a checkpoint that gives numbers
        [`MiCForEEGRegression`] or [`DLinkTeacherForEEGRegression`]. In evaluation mode.

    Raises:
        OSError: there is no such checkpoint, or it can't be reached.
        ValueError: it holds another kind of model, or a backbone without a head.
    """
    with found_checkpoint(name_or_path, hub_kwargs.get("revision"), hub_kwargs.get("subfolder")) as resolved:
        fields = _fields_of(resolved, hub_kwargs)
        if labels_patches(fields):
            raise ValueError(
                f"{name_or_path} holds a model that labels patches, not whole windows: dlink_hf.pipeline("
                "'eeg-token-classification', model=...) labels recordings, "
                "MiCForEEGTokenClassification.from_pretrained(...) is the model itself."
            )
        is_regression = fields.get("problem_type") == REGRESSION
        kinds: dict[str, Any] = {
            "dlink_mic": MiCForEEGRegression if is_regression else MiCForEEGClassification,
            "dlink_teacher": DLinkTeacherForEEGRegression if is_regression else DLinkTeacherForEEGClassification,
        }
        return _load_trained(kinds[fields["model_type"]], resolved, allow_backbone, hub_kwargs)


def load_token_classifier(name_or_path: str | os.PathLike, **hub_kwargs: Any) -> PreTrainedModel:
    """Load a trained student or teacher that labels patches.

    Args:
        name_or_path: folder or Hub id.
        **hub_kwargs: as for [`load_classifier`].

    Returns:
        [`MiCForEEGTokenClassification`] or [`DLinkTeacherForEEGTokenClassification`], in evaluation mode.

    Raises:
        OSError: there is no such checkpoint, or it can't be reached.
        ValueError: it holds another kind of model, or a backbone without a head.
    """
    with found_checkpoint(name_or_path, hub_kwargs.get("revision"), hub_kwargs.get("subfolder")) as resolved:
        fields = _fields_of(resolved, hub_kwargs)
        if not labels_patches(fields):
            raise ValueError(
                f"{name_or_path} holds {', '.join(fields.get('architectures') or ['another model'])}, which does not "
                "label patches. Give a MiCForEEGTokenClassification; recordings are classified window by window by "
                "dlink_hf.pipeline('eeg-classification')."
            )
        kinds: dict[str, Any] = {
            "dlink_mic": MiCForEEGTokenClassification,
            "dlink_teacher": DLinkTeacherForEEGTokenClassification,
        }
        return _load_trained(kinds[fields["model_type"]], resolved, False, hub_kwargs)


def load_trained(name_or_path: str | os.PathLike, **hub_kwargs: Any) -> PreTrainedModel:
    """Load a trained student or teacher, whether it labels whole windows or patches.

    Args:
        name_or_path: short name, folder or Hub id.
        **hub_kwargs: as for [`load_classifier`].

    Raises:
        OSError, ValueError: as [`load_classifier`].
    """
    of_patches = checkpoint_labels_patches(name_or_path, **hub_kwargs)
    return (load_token_classifier if of_patches else load_classifier)(name_or_path, **hub_kwargs)


def labels_patches(fields: dict[str, Any]) -> bool:
    """Whether a config.json is that of a model that labels patches."""
    return any(name.endswith("ForEEGTokenClassification") for name in fields.get("architectures") or ())


def checkpoint_labels_patches(name_or_path: str | os.PathLike, **hub_kwargs: Any) -> bool:
    """Whether a checkpoint holds a model that labels patches; as [`load_classifier`] finds it."""
    with found_checkpoint(name_or_path, hub_kwargs.get("revision"), hub_kwargs.get("subfolder")) as resolved:
        return labels_patches(_fields_of(resolved, hub_kwargs))


def _fields_of(name_or_path: str, hub_kwargs: dict[str, Any]) -> dict[str, Any]:
    """What the config.json of a student or a teacher says.

    Raises:
        OSError: there is none.
        ValueError: it is of another kind of model.
    """
    config_file = os.path.join(name_or_path, hub_kwargs.get("subfolder") or "", "config.json")
    if os.path.isdir(name_or_path) and not os.path.isfile(config_file):
        raise FileNotFoundError(f"{name_or_path} holds no config.json: it is not the folder of a saved model.")
    options = {name: value for name, value in hub_kwargs.items() if name != "dtype"}
    fields, _ = DLinkPreTrainedConfig.read_config_dict(name_or_path, **options)
    if str(fields.get("model_type")) not in ("dlink_mic", "dlink_teacher"):
        raise ValueError(
            f"{name_or_path} holds a model of type {fields.get('model_type')!r}; a student is 'dlink_mic', a teacher "
            "'dlink_teacher'."
        )
    return fields


def _load_trained(
    model_class: Any, name_or_path: str, allow_backbone: bool, hub_kwargs: dict[str, Any]
) -> PreTrainedModel:
    model, info = model_class.from_pretrained(name_or_path, output_loading_info=True, **hub_kwargs)
    if model.lacked_head(info) and not allow_backbone:
        raise ValueError(
            f"{name_or_path} holds no head, or not all of one: it knows no classes yet, and its predictions would be "
            "random. If it is a backbone, fine-tune it first (`dlink finetune --student NAME`, for a teacher `dlink "
            "finetune-teacher --teacher_checkpoint NAME`), or take a checkpoint that is trained for a task."
        )
    return model.eval()


def evaluate_model(model: nn.Module, dataset: Dataset, batch_size: int = 64) -> tuple[dict[str, Any], np.ndarray]:
    """Score a model on labelled windows.

    A student reads windows of another montage than its own by the positions of their channels, where the dataset says
    which channels it has.

    Args:
        model: a student or a teacher with a classification head.
        dataset: `input_values` (C, T) in microvolts, `labels` and, optionally, `subject`.
        batch_size: windows a forward pass.

    Returns:
        the scores of [`classification_scores`], per class and per subject too; and the probabilities (N, num_labels).
        Of numbers the scores of [`regression_scores`] and the numbers, of several labels at once those of
        [`multi_label_scores`].
        Where the dataset has a column `reason` (`build_dataset(keep_rejected=True)`), the scores are those of the
        judged windows, and `all_windows` are those of all.

    Raises:
        ValueError: there are no windows or no labels, a label is not one of the model's, or a teacher is given other
            channels than its own.
    """
    if "labels" not in dataset.column_names:
        raise ValueError(f"The dataset has no column 'labels' to score against; it has {dataset.column_names}.")
    if is_single_label(model):
        check_label_names(model, dataset)
    else:
        check_targets(model, dataset, "the dataset")
    probabilities = predict_outputs(model, dataset, batch_size, **montage_arguments(model, dataset))
    from ..data.aligned_windows import judged_rows

    scores_for = require("dlink_hf.evaluation.metrics", "Scoring a model").scores_for
    labels = np.asarray(dataset["labels"][:]) if is_single_label(model) else target_values(dataset)
    judged = judged_rows(dataset)
    subjects = np.asarray(dataset["subject"][:]) if "subject" in dataset.column_names else None

    def score(rows: np.ndarray) -> dict[str, Any]:
        owners = None if subjects is None else subjects[rows].tolist()
        return scores_for(model.config, labels[rows], probabilities[rows], owners, label_names(model))

    every = np.ones(len(judged), dtype=bool)
    # where nothing is judged there is one score only
    scores = score(judged if judged.any() else every)
    if not judged.all():
        scores["all_windows"] = score(every)
    return scores, probabilities


def dataset_predictions(
    path: str | os.PathLike,
    dataset: Dataset,
    probabilities: np.ndarray,
    names: list[str],
    problem_type: str | None = None,
) -> Path:
    """Write predictions for labelled windows: subject, recording, onset (s), label, prediction, probabilities.

    Of a regression the targets and the numbers that the model gives have a column each.
    Where the dataset has a `reason`, why a window is not judged, it is the last column.
    """
    columns = {name: dataset[name][:] for name in ("subject", "recording", "onset") if name in dataset.column_names}
    if np.ndim(probabilities) == 3:
        return _place_predictions(path, dataset, columns, np.asarray(probabilities), names)
    if problem_type in (None, SINGLE_LABEL):
        columns["label"] = [names[int(label)] for label in dataset["labels"][:]]
    elif problem_type == MULTI_LABEL:
        columns["label"] = [label_of(row, names, MULTI_LABEL) for row in target_values(dataset)]
    else:
        columns |= dict(zip(names, target_values(dataset).T.tolist(), strict=True))
    from ..data.aligned_windows import REASON

    reasons = dataset.with_format(None)[REASON][:] if REASON in dataset.column_names else None
    told: dict[str, Any] = {"reasons": reasons, "label_all": True, "problem_type": problem_type}
    return write_predictions(path, columns, probabilities, names, **told)


def _place_predictions(
    path: str | os.PathLike, dataset: Dataset, columns: dict[str, Any], probabilities: np.ndarray, names: list[str]
) -> Path:
    """Write one row for every place (N, S) that has a label, with its onset in seconds."""
    labels = np.asarray(dataset.with_format(None)["labels"][:])
    n_places, known = labels.shape[1], (labels != IGNORED).ravel()
    columns = {name: np.repeat(np.asarray(values), n_places) for name, values in columns.items()}
    if "onset" in columns:
        seconds = signal_info(dataset).duration / n_places
        columns["onset"] = columns["onset"] + seconds * np.tile(np.arange(n_places), len(labels))
    columns = {name: values[known].tolist() for name, values in columns.items()}
    columns["label"] = [names[label] for label in labels.ravel()[known]]
    return write_predictions(path, columns, probabilities.reshape(-1, len(names))[known], names, label_all=True)


__all__ = [
    "checkpoint_labels_patches",
    "dataset_predictions",
    "evaluate_model",
    "labels_patches",
    "load_classifier",
    "load_token_classifier",
    "load_trained",
    "predict_outputs",
    "predict_probabilities",
    "write_predictions",
]
