# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""What a distillation leaves behind: scores, a table, predictions, plots and the student's card."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset, DatasetDict
from torch.utils.data import DataLoader
from transformers import PreTrainedModel

from ..core.atomic_files import write_json
from ..core.config_checks import SINGLE_LABEL
from ..core.environment import package_versions
from ..core.model_facts import task_of
from ..core.text import as_code
from ..data.aligned_windows import alignment_text
from ..data.collator import TEACHER_VALUES, EEGDataCollator
from ..data.description import signal_info
from ..data.missing_labels import labels_of
from ..data.model_contract import label_names
from ..data.public.own_sets import EEG_SETS
from ..data.targets import is_single_label
from ..data.views import with_teacher_view
from ..distillation.experts import ExpertEnsemble
from ..distillation.modeling_studio import DLinkStudioModel
from ..distillation.trainer import DLinkTrainer
from ..distillation.training_args import DLinkTrainingArguments
from ..distillation.training_card import CAPTIONS, costs_by_window, draw_student_plots, mimic_steps, student_facts
from ..evaluation.comparison import Measure, distillation_verdict, measure_for
from ..evaluation.metrics import score_names
from ..evaluation.plots import plot_representation_spectra, plot_router_weights
from ..evaluation.predict import dataset_predictions, evaluate_model
from ..hub.model_card import build_model_card, save_model_card
from ..profiling.measure import cost_of
from .score_tables import print_tables
from .training import PreparedTeacher
from .views import Views


# names of the models of a run, in tables, files and results.json
TEACHER, DISTILLED, ALONE = "teacher", "DLink student", "student without a teacher"
# what a verdict calls the better one -> the folder it lies in
BEST = {"distilled": "student", "alone": "baseline"}
WHOLE_SESSION = (
    "All windows of a {group}'s session are needed, of every condition: give the other recordings as "
    "`session_recordings`. An alignment that is fitted on a recording of one condition is wrong."
)
UNKNOWN_PEOPLE = "Whether the checkpoint that was given had seen the subjects scored on is not known."


@torch.no_grad()
def studio_states(studio: DLinkStudioModel, dataset: Dataset, max_kept: int = 96) -> dict[str, np.ndarray]:
    """Router weights of every window, and the states of some of them, for the plots.

    Args:
        studio: trained.
        dataset: `input_values` (C, T), microvolts.
        max_kept: windows of which states are kept, drawn evenly over the dataset.

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
    first_steps: int,
) -> tuple[dict[str, Path], np.ndarray | None]:
    """Draw what is better looked at than read.

    Args:
        folder: where the pictures go.
        studio: trained.
        dataset: labelled windows that training has not seen.
        probabilities: (N, num_labels) of the student on them.
        log_history: the trainer's.
        first_steps: steps of the first stage.

    Returns:
        name -> picture, and the router's mean weights (L,); None where no layer was mimicked.
    """
    names, labels = label_names(studio), labels_of(dataset)
    plots = draw_student_plots(folder, studio.student, log_history, first_steps, (probabilities, labels))
    if not studio.config.uses_layers:
        return {name: plots[name] for name in CAPTIONS if name in plots}, None
    states = studio_states(studio, dataset)
    if not is_single_label(studio):
        # of no class: all windows are drawn as one
        names, labels = ["all windows"], np.zeros(len(dataset), dtype=int)
    config = studio.config.student_config
    plots |= {
        "router_weights": plot_router_weights(states["weights"], labels, names, folder / "router_weights.png"),
        "spectra": plot_representation_spectra(
            states["routed"],
            {"student, mimicked": states["mimic"], "student, compressed": states["decoded"]},
            folder / "spectra.png",
            token_rate=config.sfreq / config.patch_size,
        ),
    }
    return {name: plots[name] for name in CAPTIONS if name in plots}, states["weights"].mean(0)


def score_splits(
    models: Mapping[str, PreTrainedModel],
    splits: Mapping[str, Mapping[str, Dataset]] | Mapping[str, Dataset],
    predictions: Path | None = None,
) -> tuple[dict[str, dict[str, Any]], dict[str, np.ndarray]]:
    """Score every model on every split but the training one.

    Args:
        models: name -> model.
        splits: `validation` and `test` are scored, where they are; or name of the model -> its own splits, where the
            models read different views of the same windows.
        predictions: folder for one CSV per split and model; None for none.

    Returns:
        split -> model -> scores; and, by `split/model`, the probabilities (N, num_labels).
    """
    scores: dict[str, dict[str, Any]] = {}
    probabilities: dict[str, np.ndarray] = {}
    own = splits if set(models) <= set(splits) else dict.fromkeys(models, splits)
    for split in ("validation", "test"):
        for name, model in models.items():
            if split not in own[name]:
                continue
            windows = own[name][split]
            scores.setdefault(split, {})[name], given = evaluate_model(model, windows)
            probabilities[f"{split}/{name}"] = given
            if predictions is not None:
                file = predictions / f"{split}_{name.replace(' ', '_')}.csv"
                dataset_predictions(file, windows, given, label_names(model), model.config.problem_type)
    return scores, probabilities


def print_scores(
    models: Mapping[str, PreTrainedModel], splits: DatasetDict, group_column: str, unseen: bool = True
) -> None:
    """Score, measure and print: for commands that train one model."""
    info = signal_info(splits["train"])
    scores, _ = score_splits(models, splits)
    cost = cost_of(models, info.n_chans, info.n_times)
    print_tables(scores, cost, next(iter(models.values())), splits, group_column, unseen)


@dataclass(frozen=True)
class Run:
    """What a distillation has made.

    Args:
        views: what teacher and student read, split by subject.
        trainer: of the distilled student, after training.
        models: name -> model, in the order of the table: `TEACHER`, `DISTILLED` and, where it was trained, `ALONE`.
        teacher: the teacher, and where it comes from.
        teacher_verdict: of [`teacher_verdict`]; None without validation subjects.
        experts: whose soft targets the student learned; None for none.
        args: of the distillation.
        minutes: name -> how long its training took.
        is_unseen: whether it is known that no model has seen the subjects who are scored.
        command: the words that were typed, for the card: `["dlink", "distill", ...]`.
        name: of the student, for the card; None for one that says what it was trained on.
    """

    views: Views
    trainer: DLinkTrainer
    models: Mapping[str, PreTrainedModel]
    teacher: PreparedTeacher
    teacher_verdict: dict[str, Any] | None
    experts: ExpertEnsemble | None
    args: DLinkTrainingArguments
    minutes: Mapping[str, float]
    is_unseen: bool
    command: Sequence[str] = ()
    name: str | None = None

    @property
    def studio(self) -> DLinkStudioModel:
        """The studio that was trained."""
        return self.trainer.accelerator.unwrap_model(self.trainer.model)

    @property
    def measure(self) -> Measure:
        """What the models are compared by."""
        student = self.studio.student
        return measure_for(task_of(student), student.config.target_std)

    def splits_of(self, name: str) -> DatasetDict:
        """The splits that a model reads."""
        return self.views.teacher if name == TEACHER else self.views.student

    def guessed(self, split: str) -> dict[str, float]:
        """Subject of a split -> what a guess that reads no EEG scores."""
        return self.views.guessed(split, self.measure)


def judge_distillation(run: Run, probabilities: Mapping[str, np.ndarray]) -> dict[str, Any] | None:
    """Whether the distillation helped, by [`distillation_verdict`]; None where there is nothing to compare with."""
    if ALONE not in run.models:
        return None
    by_model: dict[str, dict[str, dict[str, float]]] = {}
    for name in run.models:
        for split in ("validation", "test"):
            if f"{split}/{name}" in probabilities:
                windows = run.splits_of(name)[split]
                found = run.measure.by_subject(
                    labels_of(windows), probabilities[f"{split}/{name}"], windows[run.views.group_column][:]
                )
                if found:
                    by_model.setdefault(name, {})[split] = found
    if DISTILLED not in by_model or ALONE not in by_model:
        return None
    guessed = {split: run.guessed(split) for split in by_model[DISTILLED]}
    students = by_model[DISTILLED], by_model[ALONE], by_model.get(TEACHER, {})
    return distillation_verdict(*students, len(run.views.labels), run.measure, guessed)


def write_report(output_dir: Path, run: Run) -> dict[str, Any]:
    """Score every model on every split but the training one, write it all down and print the table and the verdict.

    Args:
        output_dir: folder of the run; the distilled student lies in `student`, the one alone in `baseline`.
        run: what was made.

    Returns:
        what `results.json` holds.
    """
    views, args, studio = run.views, run.args, run.studio
    cost = costs_by_window(run.models)
    splits = {name: run.splits_of(name) for name in run.models}
    scores, probabilities = score_splits(run.models, splits, output_dir / "predictions")
    verdict = judge_distillation(run, probabilities)
    shown = list(scores)[-1]
    plots, router_weights = draw_plots(
        output_dir / "student" / "plots",
        studio,
        with_teacher_view(views.student[shown], views.teacher[shown]) if views.sees_less else views.student[shown],
        probabilities[f"{shown}/{DISTILLED}"],
        run.trainer.state.log_history,
        mimic_steps(run.trainer.state.log_history, args.mimic_epochs),
    )
    best = None if verdict is None else BEST[verdict["better_on_validation"]]
    results: dict[str, Any] = {
        "source": views.source,
        "labels": views.labels,
        "problem_type": task_of(studio.student) or SINGLE_LABEL,
        "compared_by": run.measure.to_dict(),
        "guess": {one: float(np.mean(list(run.guessed(one).values()))) for one in scores},
        "group_column": views.group_column,
        "cost": cost,
        "minutes": dict(run.minutes),
        "steps": run.trainer.state.max_steps,
        "scores": scores,
        "teacher": run.teacher.description,
        "teacher_verdict": run.teacher_verdict,
        "verdict": verdict,
        "use": best,
        "experts": None
        if run.experts is None
        else dict(zip(run.experts.names, map(float, run.experts.weights), strict=True)),
        "unseen": run.is_unseen,
        "alignment": alignment_text(views.student["train"]),
        "router_weights": None if router_weights is None else router_weights.tolist(),
        "subjects": {name: sorted(set(split[views.group_column][:])) for name, split in views.student.items()},
        "windows": {name: len(split) for name, split in views.student.items()},
        "unlabelled_windows": views.n_unlabelled,
        "versions": package_versions(),
    }
    write_json(output_dir / "results.json", results)
    # the curves of `dlink report`
    write_json(output_dir / "trainer_state.json", asdict(run.trainer.state))
    card = output_dir / "student" / "README.md"
    write_card(card, run, results, plots)

    use = "were watched while training" if run.experts is None else "weighed what is taught"
    print_tables(scores, cost, studio.student, views.student, views.group_column, run.is_unseen, use)
    if verdict is not None:
        print(f"\n{verdict['text']}")
        if verdict["advice"]:
            print(verdict["advice"])
    print(f"\nstudent, distilled    {output_dir / 'student'}{'   <- use this one' if best == 'student' else ''}")
    if ALONE in run.models:
        print(f"student alone         {output_dir / 'baseline'}{'   <- use this one' if best == 'baseline' else ''}")
    print(f"card                  {card}")
    print(f"teacher               {run.teacher.folder}")
    print(f"predictions           {output_dir / 'predictions'}")
    print(f"results               {output_dir / 'results.json'}")
    for name, path in plots.items():
        print(f"plot {name:<17}{path}")
    return results


def write_card(path: Path, run: Run, results: Mapping[str, Any], plots: Mapping[str, Path]) -> None:
    """Write the student's card next to its weights; see [`build_model_card`]."""
    args, views, studio = run.args, run.views, run.studio
    source, split = views.source, list(results["scores"])[-1]
    known_set = EEG_SETS.get(source.split(":")[0])
    compared = score_names(studio.student.config)[0]
    known = student_facts(
        studio,
        # those of the student's own training, which say how many views it saw
        run.trainer.args,
        path.parent,
        results={name: scores[DISTILLED] for name, scores in results["scores"].items()},
        costs=results["cost"],
        scores={name: scores[compared] for name, scores in results["scores"][split].items()},
        score_name=compared,
        plots=plots,
        minutes=results["minutes"][DISTILLED],
        keeps_best=args.load_best_model_at_end and "validation" in results["scores"],
        steps=results["steps"],
    )
    known["teacher"]["description"] = results["teacher"]
    if run.experts is not None:
        shares = ", ".join(f"{name} {share:.0%}" for name, share in results["experts"].items())
        fitted = "cross-fitted" if any(run.experts.folds) else "fitted on all labelled subjects"
        known["teacher"][f"experts ({fitted}, share of the soft targets)"] = shares
    if results["verdict"] is not None:
        known["training"]["did distillation help?"] = results["verdict"]["text"]
    if results["teacher_verdict"] is not None:
        known["teacher"]["what it knows"] = results["teacher_verdict"]["text"]
    if run.command:
        known["training"]["made by"] = as_code(shown_command(run.command))
    card = build_model_card(
        studio.config.student_config,
        **known,
        name=run.name or f"MiC student, {source.split(':')[0]}",
        model_id=run.name or str(path.parent),
        dataset={
            "name": source,
            **({"source": known_set.origin, "license": known_set.license} if known_set else {}),
            "synthetic": source.startswith("synthetic"),
            "subject_wise": args.group_column == "subject",
            **({"alignment": results["alignment"]} if results["alignment"] else {}),
            **{f"{name}_{args.group_column}s": ", ".join(map(str, who)) for name, who in results["subjects"].items()},
            **{f"{name}_windows": count for name, count in results["windows"].items()},
        },
        tags=[source] if known_set else [],
        router=None
        if results["router_weights"] is None
        else {"mean_weights": results["router_weights"], "split": split},
        limits=[
            *(known_set.limits if known_set else ()),
            *([WHOLE_SESSION.format(group=args.group_column)] if results["alignment"] else []),
            *([] if results["unseen"] else [UNKNOWN_PEOPLE]),
        ],
    )
    save_model_card(card, path.parent)


def shown_command(words: Sequence[str]) -> str:
    """A command as a card shows it: without the folders of this machine, of which only the names are left."""
    private = {"--data_dir", "--cache_dir", "--output_dir"}
    shown = []
    for before, word in zip(["", *words], words, strict=False):
        if word not in private and before not in private:
            shown.append(Path(word).name if Path(word).is_absolute() else word)
    return shlex.join(shown)


__all__ = [
    "ALONE",
    "DISTILLED",
    "Run",
    "TEACHER",
    "draw_plots",
    "print_scores",
    "score_splits",
    "studio_states",
    "write_report",
]
