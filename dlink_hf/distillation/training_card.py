# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""The card of a student from what its trainer knows: settings, scores, router, curves, what it cost."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from huggingface_hub import ModelCard

from ..data.model_contract import label_names
from ..evaluation.metrics import classification_scores
from ..evaluation.plots import plot_confusion_matrix, plot_loss_curves, plot_montage
from ..hub.model_card import build_model_card
from ..profiling.measure import cost_of
from .configuration_studio import DLinkStudioConfig
from .training_args import DLinkTrainingArguments


logger = logging.getLogger(__name__)

# prefix of an evaluation -> what its split is called in a card
SPLITS = {"eval": "validation"}
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


def training_facts(config: DLinkStudioConfig, args: DLinkTrainingArguments) -> dict[str, Any]:
    """Return the weights of the objective and settings of a distillation, as [`build_model_card`] takes them.

    Args:
        config: of the studio.
        args: of the training.
    """
    weights = {name: value for name, value in config.to_dict().items() if name.endswith("_weight")}
    names = ("num_train_epochs", "max_steps", "mimic_epochs", "learning_rate", "per_device_train_batch_size")
    names += ("weight_decay", "lr_scheduler_type", "class_weighting", "augmented_views", "seed")
    settings = {name: getattr(args, name) for name in names}
    # where steps are counted, epochs say nothing; else steps
    settings.pop("num_train_epochs" if args.max_steps > 0 else "max_steps")
    return {
        "loss_weights": weights,
        "routing": config.router_config.routing,
        "kd_temperature": f"{config.kd_temperature:g}",
        "route_distance": config.route_distance,
        "spectral_axes": config.spectral_axes,
        "spectral_placement": config.spectral_placement,
        # an enumeration shows its value, a number no more digits than it needs
        **{
            name: f"{value:g}" if isinstance(value, float) else str(getattr(value, "value", value))
            for name, value in settings.items()
        },
    }


def teacher_facts(config: Any) -> dict[str, Any]:
    """Name, Hub id where there is one, and size of a teacher, by its config."""
    facts = {"name": f"{config.backbone}, {config.num_hidden_layers} layers"}
    source = str(getattr(config, "_name_or_path", "") or "")
    # a folder of this machine does not concern others
    if _HUB_ID.fullmatch(source) and not Path(source).exists():
        facts["id"] = source
    return facts


def view_facts(config: DLinkStudioConfig) -> dict[str, str]:
    """Say what the teacher sees and what the student, for the card's table of the teacher.

    Args:
        config: of the studio.

    Returns:
        `view`: "taught by 19 electrodes (5 s), reads 4 (2 s)"; nothing where both see the same.
    """
    if not config.teacher_sees_more:
        return {}
    teacher, student = config.teacher_config, config.student_config
    whole, part = (f"({one.n_times / one.sfreq:g} s)" for one in (teacher, student))
    return {"view": f"taught by {len(teacher.ch_names)} electrodes {whole}, reads {len(student.ch_names)} {part}"}


class TrainingRecord:
    """What evaluations of a student left: the predictions of every split.

    Args:
        group_column: column of the datasets that says who a window is of.
    """

    def __init__(self, group_column: str):
        self.group_column = group_column
        self.predictions: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        self.datasets: dict[str, Dataset] = {}

    def add(self, split: str, logits: np.ndarray, labels: np.ndarray, dataset: Dataset) -> None:
        """Keep the logits (N, num_labels) and labels (N,) of a split, and its windows."""
        self.predictions[split], self.datasets[split] = (np.asarray(logits), np.asarray(labels)), dataset

    def groups(self, split: str) -> list[str] | None:
        """Whose windows they are, or None where that is not known."""
        dataset = self.datasets[split]
        if self.group_column not in dataset.column_names or len(dataset) != len(self.predictions[split][1]):
            return None
        return [str(who) for who in dataset[self.group_column][:]]

    def scores(self, names: list[str]) -> dict[str, dict[str, Any]]:
        """Return the scores of every split, by class and by subject too; `names`: of the classes."""
        found = {}
        for split, (logits, labels) in self.predictions.items():
            groups = self.groups(split)
            probabilities = torch.from_numpy(logits).double().softmax(-1).numpy()
            found[split] = {**classification_scores(labels, probabilities, groups, names), "n_windows": len(labels)}
            if groups is not None:
                found[split]["n_subjects"] = len(set(groups))
        return found


def draw_training_plots(
    folder: Path, student: Any, record: TrainingRecord, log_history: list[Mapping[str, Any]], mimic_epochs: float
) -> dict[str, Path]:
    """Montage, confusion matrix of the last split, loss curves, in `folder`; caption -> picture.

    There are none without matplotlib.
    """
    if find_spec("matplotlib") is None:
        logger.warning("The card has no pictures: matplotlib is not installed (`pip install matplotlib`).")
        return {}
    folder.mkdir(parents=True, exist_ok=True)
    config = student.config
    plots = {"montage": plot_montage(config.channel_positions, config.ch_names, folder / "montage.png")}
    if record.predictions:
        split = list(record.predictions)[-1]
        logits, labels = record.predictions[split]
        caption = f"Confusion matrix of the student ({split} windows)"
        plots[caption] = plot_confusion_matrix(
            labels, logits.argmax(1), label_names(student), folder / "confusion_matrix.png"
        )
    if any("loss" in entry for entry in log_history):
        mimic_steps = max((e["step"] for e in log_history if "loss" in e and e["epoch"] <= mimic_epochs), default=0)
        stages = {"mimic": 0, "compress": mimic_steps} if mimic_steps else {"compress": 0}
        caption = "The loss, and its terms before their weights, over the training steps"
        plots[caption] = plot_loss_curves(log_history, folder / "loss_curves.png", stages=stages)
    return plots


def router_facts(log_history: list[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Mean weights of the teacher's layers in the last steps of a training, or None where none were logged."""
    for entry in reversed(log_history):
        weights = [entry[key] for key in sorted((k for k in entry if k.startswith("router_weight_")), key=_layer)]
        if weights:
            return {"mean_weights": weights, "split": "training, last log"}
    return None


def _layer(key: str) -> int:
    return int(key.rsplit("_", 1)[1])


def costs_by_window(models: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Measure models by [`cost_of`], each on the window of its own config; those of equal windows in turns.

    Args:
        models: name -> student or teacher; [`cost_of`] moves them to the CPU.
    """
    sizes: dict[tuple[int, int], dict[str, Any]] = {}
    for name, model in models.items():
        sizes.setdefault((len(model.config.ch_names), model.config.n_times), {})[name] = model
    measured = {name: cost for size, group in sizes.items() for name, cost in cost_of(group, *size).items()}
    return {name: measured[name] for name in models}


def cost_rows(models: Mapping[str, Any], scores: Mapping[str, float]) -> list[dict[str, Any]]:
    """Parameters, MFLOP and milliseconds of a window for each model, and its score where known.

    Args:
        models: name -> student or teacher; they stay where they are.
        scores: name -> balanced accuracy.
    """
    devices = {name: next(model.parameters()).device for name, model in models.items()}
    dtypes = {name: next(model.parameters()).dtype for name, model in models.items()}
    try:
        return [
            {
                "name": name,
                "parameters": cost["parameters"],
                "mflop": cost["mflop"],
                "p50_ms": cost["ms"],
                **({"balanced_accuracy": scores[name]} if name in scores else {}),
            }
            for name, cost in costs_by_window(models).items()
        ]
    finally:
        for name, model in models.items():
            model.to(devices[name], dtypes[name])


def emissions_of(trainer: Any) -> float | None:
    """Return the kilograms of CO2 equivalents, where transformers' callback of codecarbon followed the training."""
    for callback in trainer.callback_handler.callbacks:
        emissions = getattr(getattr(callback, "tracker", None), "final_emissions", None)
        if isinstance(emissions, float):
            return emissions
    return None


def build_training_card(trainer: Any, folder: Path, name: str, model_id: str, **facts: Any) -> ModelCard:
    """Return the card of the student that a [`DLinkTrainer`] has trained, and its plots in `folder / "plots"`.

    Args:
        trainer: after training.
        folder: of the checkpoint.
        name: of the model.
        model_id: what `from_pretrained` takes in the snippet.
        **facts: of [`build_model_card`], put in place of what the trainer knows: `dataset`, `teacher`, `license`,
            `tags`, `limits` ...

    Returns:
        the card; [`save_model_card`] writes it.
    """
    studio, args, history = trainer.accelerator.unwrap_model(trainer.model), trainer.args, trainer.state.log_history
    student, record = studio.student, trainer.record
    results = record.scores(label_names(student))
    split = list(results)[-1] if results else None
    teachers = studio.teachers
    rows = {"teacher" if len(teachers) == 1 else f"teacher {i + 1}": one for i, one in enumerate(teachers)}
    scored = {"student": results[split]["balanced_accuracy"]} if split else {}
    if split and len(teachers) == 1 and (score := trainer.teacher_score(record.datasets[split])) is not None:
        scored["teacher"] = score
    training = training_facts(studio.config, args)
    training["steps"] = trainer.state.global_step
    if (emissions := emissions_of(trainer)) is not None:
        training["emissions (g CO2 equivalents, codecarbon)"] = 1000 * emissions
    if trainer.train_minutes is not None:
        training["minutes of training"] = f"{trainer.train_minutes:.2f}"
    if args.load_best_model_at_end and trainer.state.best_model_checkpoint:
        training["checkpoint kept"] = f"that of the best {args.metric_for_best_model} on the validation split"
    plots = draw_training_plots(folder / "plots", student, record, history, args.mimic_epochs)
    return build_model_card(
        student.config,
        **{
            "name": name,
            "model_id": model_id,
            "results": results,
            "training": training,
            "teacher": {**teacher_facts(studio.config.teacher_config), **view_facts(studio.config)},
            "dataset": trainer.dataset_facts(),
            "comparison": cost_rows({**rows, "student": student}, scored),
            "comparison_split": split,
            "router": router_facts(history),
            "plots": {caption: path.relative_to(folder) for caption, path in plots.items()},
            "emissions_kg": emissions_of(trainer),
            **facts,
        },
    )


__all__ = [
    "SPLITS",
    "TrainingRecord",
    "build_training_card",
    "cost_rows",
    "costs_by_window",
    "emissions_of",
    "draw_training_plots",
    "router_facts",
    "teacher_facts",
    "training_facts",
    "view_facts",
]
