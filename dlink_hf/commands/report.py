# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""What a distillation leaves behind: scores, a table, predictions, plots and the student's card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset, DatasetDict
from torch.utils.data import DataLoader
from transformers import PreTrainedModel

from ..core.atomic_files import write_json
from ..data.aligned_windows import alignment_text
from ..data.collator import TEACHER_VALUES, EEGDataCollator
from ..data.description import signal_info
from ..data.model_contract import label_names
from ..data.views import teacher_view
from ..distillation.modeling_studio import DLinkStudioModel
from ..distillation.training_args import DLinkTrainingArguments
from ..distillation.training_card import CAPTIONS, costs_by_window, draw_student_plots, student_facts
from ..evaluation.plots import plot_representation_spectra, plot_router_weights
from ..evaluation.predict import dataset_predictions, evaluate_model
from ..hub.model_card import build_model_card, save_model_card
from ..models.teacher.modeling_teacher import DLinkTeacherForEEGClassification
from ..profiling.measure import cost_of


CHANCE = "chance"
UNKNOWN_PEOPLE = "Whether the checkpoint that was given had seen the people scored on is not known."


def format_table(
    scores: Mapping[str, Mapping[str, Any]], cost: Mapping[str, Mapping[str, float]], n_labels: int, people: str
) -> str:
    """Return the comparison as fixed-width text: one row per model, and chance.

    Args:
        scores: name -> scores of one split.
        cost: name -> what [`cost_of`] measured.
        n_labels: number of classes.
        people: who was tested on, for the heading.
    """
    lines = [
        f"{'on ' + people:<34}{'balanced acc.':>14}{'AUROC':>8}{'kappa':>8}{'parameters':>13}{'MFLOP':>9}{'ms':>8}",
        "-" * 94,
    ]
    for name, score in scores.items():
        one = cost[name]
        lines.append(
            f"{name:<34}{score['balanced_accuracy']:>14.3f}{score['auroc']:>8.3f}{score['cohen_kappa']:>8.3f}"
            f"{one['parameters']:>13,}{one['mflop']:>9.1f}{one['ms']:>8.2f}"
        )
    lines.append(f"{CHANCE:<34}{1 / n_labels:>14.3f}{0.5:>8.3f}{0.0:>8.3f}{'-':>13}{'-':>9}{'-':>8}")
    return "\n".join(lines)


@torch.no_grad()
def studio_states(studio: DLinkStudioModel, dataset: Dataset, max_kept: int = 96) -> dict[str, np.ndarray]:
    """Router weights of every window, and the states of some of them, for the plots.

    Args:
        studio: trained.
        dataset: `input_values` (C, T), microvolts, and `teacher_input_values` where the teacher sees more.
        max_kept: windows to keep states of, drawn evenly over the dataset.

    Returns:
        `weights` (N, L); `routed`, `mimic`, `decoded` (at most `max_kept`, C, P, D).
    """
    studio.eval()
    step = max(1, len(dataset) // max_kept)
    weights, states = [], {"routed": [], "mimic": [], "decoded": []}
    columns = [name for name in ("input_values", TEACHER_VALUES) if name in dataset.column_names]
    for batch in DataLoader(dataset.select_columns(columns), batch_size=64, collate_fn=EEGDataCollator()):
        output = studio(**{name: values.to(studio.device) for name, values in batch.items()})
        start = sum(map(len, weights))
        kept = [row for row in range(len(output.logits)) if (start + row) % step == 0]
        weights.append(output.router_weights.float().cpu().numpy())
        for name, state in zip(states, (output.routed_state, output.mimic_state, output.decoded_state), strict=True):
            states[name].append(state[kept].float().cpu().numpy())
    return {"weights": np.concatenate(weights), **{name: np.concatenate(parts) for name, parts in states.items()}}


def draw_plots(
    folder: Path,
    studio: DLinkStudioModel,
    dataset: Dataset,
    probabilities: np.ndarray,
    log_history: Sequence[Mapping[str, Any]],
    mimic_steps: int,
) -> tuple[dict[str, Path], np.ndarray]:
    """Draw what people would rather look at than read.

    Args:
        folder: where the pictures go.
        studio: trained.
        dataset: labelled windows that training has not seen.
        probabilities: (N, num_labels) of the student on them.
        log_history: the trainer's.
        mimic_steps: steps of the first stage.

    Returns:
        name -> picture, and the router's mean weights (L,).
    """
    labels = np.asarray(dataset["labels"][:])
    states = studio_states(studio, dataset)
    config = studio.config.student_config
    plots = {
        **draw_student_plots(folder, studio.student, log_history, mimic_steps, (probabilities, labels)),
        "router_weights": plot_router_weights(
            states["weights"], labels, label_names(studio), folder / "router_weights.png"
        ),
        "spectra": plot_representation_spectra(
            states["routed"],
            {"student, mimicked": states["mimic"], "student, compressed": states["decoded"]},
            folder / "spectra.png",
            token_rate=config.sfreq / config.patch_size,
        ),
    }
    return {name: plots[name] for name in CAPTIONS if name in plots}, states["weights"].mean(0)


def score_splits(
    models: Mapping[str, PreTrainedModel], splits: Mapping[str, Dataset], predictions: Path | None = None
) -> tuple[dict[str, dict[str, Any]], dict[str, np.ndarray]]:
    """Score every model on every split but the training one.

    Args:
        models: name -> model.
        splits: `validation` and `test` are scored, where they are.
        predictions: folder for one CSV a split and model; None for none.

    Returns:
        split -> model -> scores; and, by `split/model`, the probabilities (N, num_labels).
    """
    scores: dict[str, dict[str, Any]] = {}
    probabilities: dict[str, np.ndarray] = {}
    for split in (name for name in ("validation", "test") if name in splits):
        scores[split] = {}
        for name, model in models.items():
            # a teacher that sees more than its student has windows of its own
            own = isinstance(model, DLinkTeacherForEEGClassification)
            windows = teacher_view(splits[split]) if own else splits[split]
            scores[split][name], given = evaluate_model(model, windows)
            probabilities[f"{split}/{name}"] = given
            if predictions is not None:
                file = predictions / f"{split}_{name.replace(' ', '_')}.csv"
                dataset_predictions(file, splits[split], given, label_names(model))
    return scores, probabilities


def print_tables(
    scores: Mapping[str, Mapping[str, Any]],
    cost: Mapping[str, Mapping[str, float]],
    n_labels: int,
    splits: Mapping[str, Dataset],
    group_column: str,
    unseen: bool = True,
) -> None:
    """Print one table a split, and how to read it; `unseen`: it is known that no model has seen the people tested."""
    for split, of_models in scores.items():
        groups = len(set(splits[split][group_column][:]))
        what = f"{groups} {split} {group_column}{'s' if groups != 1 else ''}"
        print("\n" + format_table(of_models, cost, n_labels, what))
    if unseen:
        seen = f"the test {group_column}s were seen by none of the models."
    else:
        seen = f"whether a checkpoint that was given has seen the test {group_column}s is not known."
    print(
        f"\nMFLOP: 2 x MAC of one window; ms: median of one window on one CPU thread. The validation {group_column}s "
        f"chose the epoch; {seen}"
    )


def print_scores(
    models: Mapping[str, PreTrainedModel], splits: DatasetDict, group_column: str, unseen: bool = True
) -> None:
    """Score, measure and print: for commands that train one model."""
    info = signal_info(splits["train"])
    scores, _ = score_splits(models, splits)
    cost = cost_of(models, info.n_chans, info.n_times)
    print_tables(scores, cost, len(splits["train"].features["labels"].names), splits, group_column, unseen)


def write_report(
    output_dir: Path,
    studio: DLinkStudioModel,
    models: Mapping[str, PreTrainedModel],
    splits: DatasetDict,
    *,
    log_history: Sequence[Mapping[str, Any]],
    mimic_steps: int,
    args: DLinkTrainingArguments,
    source: str,
    minutes: Mapping[str, float],
    unseen: bool,
    teacher: str,
    teacher_folder: Path | str | None,
) -> dict[str, Any]:
    """Score every model on every split but the training one, write it all down and print the table.

    Args:
        output_dir: folder of the run; the student lies in `student`.
        studio: trained.
        models: name -> model, in the order of the table; `"DLink student"` among them.
        splits: `validation` and `test` are scored.
        log_history: the trainer's.
        mimic_steps: steps of the first stage.
        args: of the distillation.
        source: what the recordings are.
        minutes: name -> how long its training took.
        unseen: whether it is known that no model has seen the people who are scored on.
        teacher: where it comes from, for the card.
        teacher_folder: where the teacher is.

    Returns:
        what `results.json` holds.
    """
    names = label_names(studio)
    cost = costs_by_window(models)
    scores, probabilities = score_splits(models, splits, output_dir / "predictions")
    results: dict[str, Any] = {"source": source, "labels": names, "cost": cost, "minutes": dict(minutes)}
    results["scores"] = scores
    shown = list(scores)[-1]
    plots, router_weights = draw_plots(
        output_dir / "student" / "plots",
        studio,
        splits[shown],
        probabilities[f"{shown}/DLink student"],
        log_history,
        mimic_steps,
    )
    results["router_weights"] = router_weights.tolist()
    results["subjects"] = {name: sorted(set(splits[name][args.group_column][:])) for name in splits}
    results["windows"] = {name: len(splits[name]) for name in splits}
    results["teacher"], results["unseen"] = teacher, unseen
    results["alignment"] = alignment_text(splits["train"])
    write_json(output_dir / "results.json", results)
    card = output_dir / "student" / "README.md"
    write_card(card, studio, results, args, plots, synthetic=source.startswith("synthetic"))

    print_tables(scores, cost, len(names), splits, args.group_column, unseen)
    print(f"\nstudent (checkpoint)  {output_dir / 'student'}")
    print(f"card                  {card}")
    print(f"teacher               {teacher_folder}")
    print(f"predictions           {output_dir / 'predictions'}")
    print(f"results               {output_dir / 'results.json'}")
    for name, path in plots.items():
        print(f"plot {name:<17}{path}")
    return results


def write_card(
    path: Path,
    studio: DLinkStudioModel,
    results: Mapping[str, Any],
    args: DLinkTrainingArguments,
    plots: Mapping[str, Path],
    synthetic: bool,
) -> None:
    """Write the student's card next to its weights; see [`build_model_card`]."""
    source, split = str(results["source"]), list(results["scores"])[-1]
    known = student_facts(
        studio,
        args,
        path.parent,
        results={name: scores["DLink student"] for name, scores in results["scores"].items()},
        costs=results["cost"],
        scores={name: scores["balanced_accuracy"] for name, scores in results["scores"][split].items()},
        plots=plots,
        minutes=results["minutes"]["student"],
        keeps_best=args.load_best_model_at_end and "validation" in results["scores"],
    )
    known["teacher"]["description"] = results["teacher"]
    card = build_model_card(
        studio.config.student_config,
        **known,
        name=f"MiC student, {source.split(':')[0]}",
        model_id=str(path.parent),
        dataset={
            "name": source,
            "synthetic": synthetic,
            "subject_wise": args.group_column == "subject",
            **({"alignment": results["alignment"]} if results["alignment"] else {}),
            **{f"{name}_{args.group_column}s": ", ".join(map(str, who)) for name, who in results["subjects"].items()},
            **{f"{name}_windows": count for name, count in results["windows"].items()},
        },
        router={"mean_weights": results["router_weights"], "split": split},
        limits=[] if results["unseen"] else [UNKNOWN_PEOPLE],
    )
    save_model_card(card, path.parent)


__all__ = [
    "draw_plots",
    "format_table",
    "print_scores",
    "print_tables",
    "score_splits",
    "studio_states",
    "write_report",
]
