# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""The card of a student from what its trainer knows: settings, scores, router, curves, what it cost."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset
from huggingface_hub import ModelCard

from ..core.config_checks import SINGLE_LABEL
from ..core.unlabelled import IGNORED
from ..data.model_contract import label_names
from ..evaluation.metrics import predictions_of, score_names, scores_for
from ..evaluation.plots import plot_confusion_matrix, plot_loss_curves, plot_montage
from ..hub.model_card import build_model_card
from ..profiling.measure import cost_of
from .configuration_studio import DLinkStudioConfig
from .student_teacher import teacher_name
from .training_args import DLinkTrainingArguments


logger = logging.getLogger(__name__)

# prefix of an evaluation -> what its split is called in a card
SPLITS = {"eval": "validation"}
# what a card says below each plot; {} is the split
CAPTIONS = {
    "router_weights": "Router weights ({} windows): the share of each teacher layer in what was mimicked",
    "spectra": "Spectra of what was mimicked and of what compression left of it, with the target ({} windows): "
    "magnitude, and phase error in degrees",
    "loss_curves": "The loss, and its terms before their weights, over the training steps",
    "confusion_matrix": "Confusion matrix of the student ({} windows)",
    "montage": "montage",
}
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
    facts = {"name": teacher_name(config)}
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

    def scores(self, config: Any) -> dict[str, dict[str, Any]]:
        """Return the scores of every split, by class and by subject too; `config`: of the student."""
        found, names = {}, [config.id2label[index] for index in sorted(config.id2label)]
        for split, (logits, labels) in self.predictions.items():
            groups = self.groups(split)
            found[split] = scores_for(config, labels, predictions_of(config, logits), groups, names)
            if groups is not None:
                found[split]["n_subjects"] = len(set(groups))
        return found


def draw_student_plots(
    folder: Path,
    student: Any,
    log_history: Sequence[Mapping[str, Any]],
    mimic_steps: int,
    predictions: tuple[np.ndarray, np.ndarray] | None = None,
) -> dict[str, Path]:
    """Draw a student's montage, its confusion matrix, and the losses of its training.

    Args:
        folder: where the pictures go; made where absent.
        student: trained.
        log_history: the trainer's; without a loss in it there are no curves.
        mimic_steps: steps of the first stage.
        predictions: logits or probabilities (N, num_labels) of the student and the labels (N,), for the matrix.

    Returns:
        name in `CAPTIONS` -> picture; empty without matplotlib.
    """
    if find_spec("matplotlib") is None:
        logger.warning("The card has no pictures: matplotlib is not installed (`pip install matplotlib`).")
        return {}
    folder.mkdir(parents=True, exist_ok=True)
    config = student.config
    plots = {"montage": plot_montage(config.channel_positions, config.ch_names, folder / "montage.png")}
    if predictions is not None and config.problem_type in (None, SINGLE_LABEL):
        given, labels = predictions
        if given.ndim == 3:
            # each labelled place of a stretch counts as a window
            known = labels != IGNORED
            given, labels = given[known], labels[known]
        plots["confusion_matrix"] = plot_confusion_matrix(
            labels, given.argmax(1), label_names(student), folder / "confusion_matrix.png"
        )
    if any("loss" in entry for entry in log_history):
        stages = {"mimic": 0, "compress": mimic_steps} if mimic_steps else {"compress": 0}
        plots["loss_curves"] = plot_loss_curves(log_history, folder / "loss_curves.png", stages=stages)
    return plots


def mimic_steps(log_history: Sequence[Mapping[str, Any]], mimic_epochs: float) -> int:
    """Number of the last step of the first stage that was logged; 0 where there was no such stage."""
    if mimic_epochs <= 0:
        return 0
    return max((e["step"] for e in log_history if "loss" in e and e["epoch"] <= mimic_epochs), default=0)


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


def cost_rows(
    costs: Mapping[str, Mapping[str, float]], scores: Mapping[str, float], score_name: str = "balanced_accuracy"
) -> list[dict[str, Any]]:
    """The comparison of a card, one row a model: parameters, MFLOP and milliseconds of a window, and its score.

    Args:
        costs: name -> what [`cost_of`] measured.
        scores: name -> score, of those of which it is known.
        score_name: which score that is.
    """
    return [
        {
            "name": name,
            "parameters": cost["parameters"],
            "mflop": cost["mflop"],
            "p50_ms": cost["ms"],
            **({score_name: scores[name]} if name in scores else {}),
        }
        for name, cost in costs.items()
    ]


def _cost_in_place(models: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """[`costs_by_window`] of models, which are back on their devices and in their types afterwards."""
    devices = {name: next(model.parameters()).device for name, model in models.items()}
    dtypes = {name: next(model.parameters()).dtype for name, model in models.items()}
    try:
        return costs_by_window(models)
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


def student_facts(
    studio: Any,
    args: DLinkTrainingArguments,
    folder: Path,
    *,
    results: Mapping[str, Mapping[str, Any]],
    costs: Mapping[str, Mapping[str, float]],
    scores: Mapping[str, float],
    score_name: str = "balanced_accuracy",
    plots: Mapping[str, Path],
    minutes: float | None,
    keeps_best: bool,
    steps: int | None = None,
    emissions_kg: float | None = None,
) -> dict[str, Any]:
    """What a run of `dlink distill` and a [`DLinkTrainer`] both say of a student, as [`build_model_card`] takes it.

    Args:
        studio: trained.
        args: of the distillation.
        folder: of the checkpoint, which holds the plots.
        results: split -> scores of the student; the last split is that of the comparison.
        costs: name of a model -> what [`cost_of`] measured.
        scores: name of a model -> score on the last split, as far as it is known.
        score_name: which score that is.
        plots: name in `CAPTIONS` -> picture.
        minutes: of training, where known.
        keeps_best: whether the checkpoint is the best of those that were evaluated.
        steps: of the optimizer, where they are to be shown.
        emissions_kg: kilograms of CO2 equivalents, where measured.

    Returns:
        `results`, `training`, `teacher`, `comparison`, `comparison_split`, `plots` and `emissions_kg`.
    """
    config, split = studio.config, list(results)[-1] if results else None
    training = training_facts(config, args)
    if steps is not None:
        training["steps"] = steps
    if emissions_kg is not None:
        training["emissions (g CO2 equivalents, codecarbon)"] = 1000 * emissions_kg
    if minutes is not None:
        training["minutes of training"] = f"{minutes:.2f}"
    if keeps_best:
        training["checkpoint kept"] = f"that of the best {args.metric_for_best_model} on the validation split"
    return {
        "results": results,
        "training": training,
        "teacher": {**teacher_facts(config.teacher_config), **view_facts(config)},
        "comparison": cost_rows(costs, scores, score_name),
        "comparison_split": split,
        "plots": {CAPTIONS[name].format(split): path.relative_to(folder) for name, path in plots.items()},
        "emissions_kg": emissions_kg,
    }


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
    results = record.scores(student.config)
    split = list(results)[-1] if results else None
    teachers = studio.teachers
    rows = {"teacher" if len(teachers) == 1 else f"teacher {i + 1}": one for i, one in enumerate(teachers)}
    compared = score_names(student.config)[0]
    scored = {"student": results[split][compared]} if split else {}
    if split and len(teachers) == 1 and (score := trainer.teacher_score(record.datasets[split])) is not None:
        scored["teacher"] = score
    steps = mimic_steps(history, args.mimic_epochs)
    plots = draw_student_plots(folder / "plots", student, history, steps, record.predictions.get(split))
    known = student_facts(
        studio,
        args,
        folder,
        results=results,
        costs=_cost_in_place({**rows, "student": student}),
        scores=scored,
        score_name=compared,
        plots=plots,
        minutes=trainer.train_minutes,
        keeps_best=bool(args.load_best_model_at_end and trainer.state.best_model_checkpoint),
        steps=trainer.state.global_step,
        emissions_kg=emissions_of(trainer),
    )
    known.update(name=name, model_id=model_id, dataset=trainer.dataset_facts(), router=router_facts(history))
    # a config names its class only once it has been saved
    config = {**student.config.to_dict(), "architectures": [type(student).__name__]}
    return build_model_card(config, **{**known, **facts})


__all__ = [
    "CAPTIONS",
    "SPLITS",
    "TrainingRecord",
    "build_training_card",
    "cost_rows",
    "costs_by_window",
    "draw_student_plots",
    "emissions_of",
    "mimic_steps",
    "router_facts",
    "student_facts",
    "teacher_facts",
    "training_facts",
    "view_facts",
]
