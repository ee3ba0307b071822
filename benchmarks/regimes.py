# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Where distillation pays: subject-wise folds over all subjects of a set, four regimes, controls.

    python benchmarks/regimes.py run --set eegmat --regime headset --seeds 0 1 2
    python benchmarks/regimes.py table

Regimes: `full` (the student sees what its teacher sees), `headset` (a few of its electrodes), `short` (the end of its
windows), `few` (labels of a few training subjects, the recordings of all of them), `strong_teacher` (half of the
training subjects are those of a teacher; the student has labels of a few of the others, and the recordings of all
others: what a shared checkpoint is to a laboratory). Every row is trained with the package's defaults, by the
functions that `dlink distill` calls, on the training subjects of a fold; what is chosen is chosen on its validation
subjects, and its test subjects are scored once. Rows:

- `alone_1`, `alone_2`, `alone_4`: the student without a teacher, for once, twice and four times the recipe's steps;
- `same_view`: soft targets of models that see no more than the student; `shuffled`: the teacher's soft targets,
  shuffled among the windows of a class;
- `dlink`: the default objective; `soft_targets`: without teacher's layers; `last`, `uniform`, `static`, `input`: with
  the mimicry of layers, weighed so; `no_spectra`: `input` without the spectral terms;
- `teacher`: the experts whose soft targets are taught: the student's own design on all that there is to see,
  cross-fitted, the mean of its folds; of `few`, three that are fitted on all labels. The rows with layers mimic those
  of one of size base. Of `strong_teacher` it is the one of size base, which is asked about every augmented view.

A line of JSON a cell is appended to results/regimes.jsonl; cells that are there are skipped, so that a run that was
killed goes on where it stopped.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np


HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results" / "regimes.jsonl"

# of each set: the folds over all of its subjects, electrodes of the headset, seconds of the short window, labelled
# subjects of the few
SETS = {
    "eegmat": {"folds": 4, "headset": "F7,F8,T7,T8", "short": 1.0, "few": 4},
    "ssvep_exo": {"folds": 4, "headset": "Oz,O1", "short": 2.0, "few": 2},
    "eyes_gnb": {"folds": 4, "headset": "AF3,AF4,T7,T8", "short": 1.0, "few": 4},
    "uci_erp": {"folds": 4, "headset": "Fz,Cz,Pz,Oz", "short": 0.5, "few": 4},
}
STRONG = "strong_teacher"
REGIMES = ("full", "headset", "short", "few", STRONG)
ALONE = ("alone_1", "alone_2", "alone_4")
CONTROLS = ("same_view", "shuffled")
METHODS = ("dlink", "soft_targets", "last", "uniform", "static", "input", "no_spectra")
ROWS = ("teacher", *ALONE, *CONTROLS, *METHODS)
# what is run first: enough to tell whether distillation pays
MAIN_ROWS = ("teacher", "alone_1", "alone_2", "same_view", "shuffled", "dlink")
# the mimicry of layers, at the weights that the ablation of the full view found best
MIMICRY = {"route_weight": 0.2, "spectral_weight": 0.1}
LAYERS = {
    "soft_targets": {"route_weight": 0.0, "spectral_weight": 0.0},
    "last": {**MIMICRY, "routing": "last"},
    "uniform": {**MIMICRY, "routing": "uniform"},
    "static": {**MIMICRY, "routing": "static"},
    "input": {**MIMICRY, "routing": "input"},
    "no_spectra": {"route_weight": 0.2, "spectral_weight": 0.0, "routing": "input"},
    "dlink": {},
}


class Fold:
    """One fold of a set in a regime, with one seed: its windows, and what its rows share.

    Args:
        name, regime: of `SETS` and `REGIMES`.
        fold, seed: numbers.
        data_dir: folder that holds the sets.
        steps: of every training, None for the recipe's.
    """

    def __init__(self, name: str, regime: str, fold: int, seed: int, data_dir: str, steps: int | None = None):
        self.name, self.regime, self.fold, self.seed, self.data_dir = name, regime, fold, seed, data_dir
        self.steps = steps
        self.folder = tempfile.TemporaryDirectory(prefix="regimes-")

    @property
    def facts(self) -> Mapping[str, Any]:
        """Number of folds, electrodes of the headset, seconds of the short window, labelled subjects of the few."""
        return SETS[self.name]

    @property
    def cell(self) -> dict[str, Any]:
        """What a line of results is told from others by, but for its row."""
        return {"set": self.name, "regime": self.regime, "fold": self.fold, "seed": self.seed}

    @property
    def rows(self) -> Sequence[str]:
        """The rows that mean something here."""
        # where the experts see no more than the student, `same_view` is the row `soft_targets`
        return [row for row in ROWS if row != "same_view" or self.regime not in ("full", "few")]

    def arguments(self, **changes: Any) -> Any:
        """Arguments of a training, in a folder that does not stay."""
        from dlink_hf.commands.arguments import TRAINING_DEFAULTS
        from dlink_hf.distillation.training_args import DLinkTrainingArguments

        quiet = {"eval_strategy": "no", "save_strategy": "no", "disable_tqdm": True, "use_cpu": not _has_cuda()}
        fields = {**TRAINING_DEFAULTS, **quiet, "output_dir": self.folder.name, "seed": self.seed, **changes}
        args = DLinkTrainingArguments(**fields)
        args.group_column = "subject"
        return args

    def data_arguments(self) -> Any:
        """The recordings and the split of the fold, as a command takes them."""
        from dlink_hf.commands.arguments import DataArguments

        return DataArguments(
            dataset=self.name,
            data_dir=self.data_dir,
            split=f"{self.fold}/{self.facts['folds']}",
            validation=0.2,
            l_freq=0.5,
            h_freq=45.0,
        )

    @cached_property
    def whole_views(self) -> Any:
        """What teacher and student read, split by subject, with all training subjects and labels."""
        from dlink_hf.commands.arguments import ViewArguments
        from dlink_hf.commands.views import load_views

        facts = self.facts
        view = ViewArguments(
            student_ch_names=facts["headset"] if self.regime == "headset" else None,
            student_window_seconds=facts["short"] if self.regime == "short" else None,
        )
        return load_views(self.data_arguments(), view, self.arguments())

    @cached_property
    def views(self) -> Any:
        """The same for the student: of `few` and of a strong teacher most labels taken away."""
        views = self._halves()[1] if self.regime == STRONG else self.whole_views
        return few_labels(views, self.facts["few"], self.seed) if self.regime in ("few", STRONG) else views

    def _halves(self) -> list[Any]:
        """The views with the training subjects of a strong teacher, and with those of its student."""
        views = self.whole_views
        train = views.teacher["train"]
        subjects = np.asarray(train["subject"][:])
        names = np.random.RandomState(200 + self.fold).permutation(np.unique(subjects))
        parts = []
        for half in np.array_split(names, 2):
            splits = type(views.teacher)(views.teacher)
            splits["train"] = train.select(np.flatnonzero(np.isin(subjects, half)))
            parts.append(replace(views, teacher=splits, student=splits, train=splits["train"]))
        return parts

    @property
    def budget(self) -> int:
        """Steps of a training."""
        from dlink_hf.training.recipe import default_steps

        return self.steps or default_steps(len(self.views.train))

    @cached_property
    def teacher(self) -> Any:
        """The student's own design of size base, trained on all that the teacher sees."""
        from dlink_hf.commands.arguments import TeacherArguments
        from dlink_hf.commands.training import prepare_teacher

        splits = self._halves()[0].teacher if self.regime == STRONG else self.views.teacher
        args = self.arguments(max_steps=self.budget)
        return prepare_teacher(splits, None, TeacherArguments(teacher_backbone="MiC"), args, self.name)

    @cached_property
    def untrained_teacher(self) -> Any:
        """Stands in for a teacher that no term of the objective asks."""
        from dlink_hf import MiCConfig, MiCForEEGClassification, signal_fields
        from dlink_hf.commands.training import PreparedTeacher
        from dlink_hf.distillation.student_teacher import student_as_teacher

        config = MiCConfig.from_size("tiny", **signal_fields(self.views.teacher["train"]))
        model = student_as_teacher(MiCForEEGClassification(config).eval())
        return PreparedTeacher(model, self.folder.name, "not asked", None, True)

    @cached_property
    def experts(self) -> Any:
        """Experts of the student's own design that see what the teacher sees."""
        return self._train_experts(self.views)

    @cached_property
    def targets(self) -> Any:
        """The training windows with the soft targets of the experts, or of the strong teacher."""
        if self.regime == STRONG:
            from dlink_hf import add_soft_targets

            return add_soft_targets(self.views.train, self.teacher_says(self.views.train))
        return self._ask(self.experts, self.views)

    @cached_property
    def own_targets(self) -> Any:
        """The same of experts that see no more than the student."""
        from dlink_hf import add_soft_targets

        views, few = self.views, self.views.student
        if views.sees_less:
            views = replace(views, teacher=few, train=few["train"])
        asked = self._ask(self._train_experts(views), views)
        return add_soft_targets(self.views.train, np.asarray(asked.with_format("numpy")["soft_targets"][:]))

    @cached_property
    def student_args(self) -> Any:
        """The student, and the augmentation of every training."""
        from dlink_hf.commands.arguments import StudentArguments

        return StudentArguments()

    def _asked(self) -> tuple[Any, Any, Any]:
        from dlink_hf.commands.arguments import DistillArguments

        objective = DistillArguments(experts="student", teachers=3 if self.regime == "few" else 1)
        return self.student_args, objective, self.arguments(max_steps=self.budget)

    def _train_experts(self, views: Any) -> Any:
        from dlink_hf.commands.distill import train_experts

        return train_experts(views, *self._asked())

    def _ask(self, experts: Any, views: Any) -> Any:
        from dlink_hf.commands.distill import add_targets

        return add_targets(experts, views, *self._asked())

    def student(self, teacher: Any) -> Any:
        """A fresh student that fits a teacher."""
        from dlink_hf.commands.training import make_student
        from dlink_hf.models.token_grid import student_fields

        fields = student_fields(teacher.model.config)
        return make_student(self.views.student, self.student_args, self.seed, **fields)

    def close(self) -> None:
        """Delete what the fold has written."""
        self.folder.cleanup()

    def asked_teacher(self, row: str) -> Any:
        """The teacher of a row's studio."""
        is_asked = self.regime == STRONG and row in METHODS
        return self.teacher if is_asked or LAYERS.get(row, {}).get("route_weight") else self.untrained_teacher

    def lesson(self, row: str) -> tuple[Any, Any, Any]:
        """The training windows, the objective and the arguments of a row that is taught."""
        from dlink_hf.commands.arguments import DistillArguments

        if row == "same_view":
            train, changes = self.own_targets, LAYERS["soft_targets"]
        elif row == "shuffled":
            train, changes = shuffled_targets(self.targets, self.seed), LAYERS["soft_targets"]
        elif self.regime == STRONG:
            # the teacher has not seen these windows: it is asked about every view as the student sees it
            objective = DistillArguments(views=0, soft_target_weight=0.0, **LAYERS[row])
            return self.views.train, objective, self.arguments(max_steps=self.budget)
        else:
            train, changes = self.targets, LAYERS[row]
        # the teacher has seen the training windows: its answers are those of the experts, which have not
        return train, DistillArguments(kd_weight=0.0, **changes), self.arguments(max_steps=self.budget)

    def train(self, row: str) -> Any:
        """The trained model of a row."""
        from dlink_hf.commands.distill import distil_student, train_alone

        teacher = self.asked_teacher(row)
        if row in ALONE:
            times = int(row.rsplit("_", 1)[1])
            args = self.arguments(max_steps=times * self.budget)
            return train_alone(self.student(teacher), self.views, self.student_args, args)
        train, objective, args = self.lesson(row)
        trainer = distil_student(teacher, self.student(teacher), train, self.views, self.student_args, objective, args)
        return trainer.accelerator.unwrap_model(trainer.model).student

    def teacher_says(self, dataset: Any) -> np.ndarray:
        """(N, num_labels) probabilities of the row `teacher`."""
        if self.regime == STRONG:
            from dlink_hf import predict_probabilities

            return predict_probabilities(self.teacher.model, dataset)
        return self.experts(dataset)

    def line(self, row: str) -> dict[str, Any]:
        """Train a row and score it by subject."""
        from dlink_hf import evaluate_model
        from dlink_hf.evaluation.comparison import subject_scores

        model = None if row == "teacher" else self.train(row)
        splits = self.views.teacher if row == "teacher" else self.views.student
        scores = {}
        for name in ("validation", "test"):
            split = splits[name]
            given = self.teacher_says(split) if model is None else evaluate_model(model, split)[1]
            scores[name] = subject_scores(split["labels"][:], given, split["subject"][:])
        return {**self.cell, "row": row, "steps": self.budget, "scores": scores}


def few_labels(views: Any, n_subjects: int, seed: int) -> Any:
    """Views in which only some training subjects have labels; the others' windows are there without."""
    from datasets import DatasetDict

    from dlink_hf.data.missing_labels import with_unlabelled

    train = views.teacher["train"]
    subjects = np.asarray(train["subject"][:])
    chosen = np.random.RandomState(100 + seed).permutation(np.unique(subjects))[:n_subjects]
    known = np.isin(subjects, chosen)
    labelled, rest = train.select(np.flatnonzero(known)), train.select(np.flatnonzero(~known))
    splits = DatasetDict({**views.teacher, "train": labelled})
    held_out = {name: splits[name] for name in ("validation", "test")}
    return replace(
        views,
        teacher=splits,
        student=splits,
        train=with_unlabelled(labelled, rest, held_out),
        n_unlabelled=len(rest),
    )


def shuffled_targets(dataset: Any, seed: int) -> Any:
    """The windows with the soft targets shuffled among those of the same class (or of none)."""
    from dlink_hf import add_soft_targets

    labels = np.asarray(dataset.with_format(None)["labels"][:])
    targets = np.asarray(dataset.with_format(None)["soft_targets"][:], dtype=np.float32)
    draw, shuffled = np.random.RandomState(seed), targets.copy()
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        shuffled[rows] = targets[draw.permutation(rows)]
    return add_soft_targets(dataset, shuffled)


def _has_cuda() -> bool:
    import torch

    return torch.cuda.is_available()


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The lines of a file of results; none where there is no file."""
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.is_file() else []


def cells(args: argparse.Namespace) -> Iterator[tuple[str, str, int, int]]:
    """Set, regime, fold and seed of what is to be run; all folds of a seed before the next."""
    for seed in args.seeds:
        for name in args.sets:
            for regime in args.regimes:
                for fold in args.folds if args.folds is not None else range(SETS[name]["folds"]):
                    yield name, regime, fold, seed


def run_folds(folds: Iterable[Fold], rows: Sequence[str], output: Path) -> None:
    """Run the rows that are not done yet, and append a line for each."""
    for fold in folds:
        lines = read_lines(output)
        done = {line["row"] for line in lines if fold.cell.items() <= line.items()}
        for row in rows:
            if row in done or row not in fold.rows:
                continue
            line = fold.line(row)
            output.parent.mkdir(parents=True, exist_ok=True)
            with open(output, "a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
            test = np.mean(list(line["scores"]["test"].values()))
            print(f"{' '.join(map(str, fold.cell.values()))} {row}: {test:.3f}", flush=True)
        fold.close()


def run(args: argparse.Namespace) -> None:
    """Run what is not done yet."""
    run_folds((Fold(*cell, args.data_dir, args.steps) for cell in cells(args)), args.rows, args.output)


def best_alone(lines: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Of each fold and seed, the student alone at the budget that is best on the validation subjects."""
    groups: dict[tuple[int, int], list[Mapping[str, Any]]] = {}
    for line in lines:
        if line["row"] in ALONE:
            groups.setdefault((line["fold"], line["seed"]), []).append(line)
    return [max(group, key=lambda x: np.mean(list(x["scores"]["validation"].values()))) for group in groups.values()]


def by_subject(lines: Sequence[Mapping[str, Any]]) -> dict[tuple[str, int], float]:
    """(subject, seed) -> balanced accuracy on the fold in which the subject is tested."""
    return {(subject, line["seed"]): score for line in lines for subject, score in line["scores"]["test"].items()}


def difference(first: Mapping[tuple[str, int], float], second: Mapping[tuple[str, int], float]) -> Any:
    """First less second over the subjects and seeds that both have, with its interval; None where there are none."""
    from dlink_hf.evaluation.comparison import interval

    seeds = sorted({seed for _, seed in first} & {seed for _, seed in second})
    subjects = sorted({s for s, _ in first} & {s for s, _ in second})
    subjects = [s for s in subjects if all((s, seed) in first and (s, seed) in second for seed in seeds)]
    if not seeds or not subjects:
        return None
    return interval(np.array([[first[s, k] - second[s, k] for k in seeds] for s in subjects]))


def strongest_control(lines: Sequence[Mapping[str, Any]]) -> tuple[str | None, dict[tuple[str, int], float]]:
    """The control that does best on the test subjects of a set and regime, which no gain may stand below.

    Returns:
        its name (`alone` is the student alone at its best budget; None where there is no control), and its scores.
    """
    controls = {"alone": by_subject(best_alone(lines))}
    controls |= {row: by_subject([line for line in lines if line["row"] == row]) for row in CONTROLS}
    means = {row: np.mean(list(scores.values())) for row, scores in controls.items() if scores}
    best = max(means, key=means.get) if means else None
    return best, controls.get(best, {})


def table(lines: Sequence[Mapping[str, Any]]) -> str:
    """Scores of every row, and its difference to the best control, as Markdown."""
    from dlink_hf.evaluation.comparison import interval

    out = [
        "| set | regime | row | balanced accuracy | less the student alone (best budget) | less the best control |",
        "|---|---|---|---|---|---|",
    ]
    for name in dict.fromkeys([*SETS, *(line["set"] for line in lines)]):
        for regime in REGIMES:
            of = [line for line in lines if line["set"] == name and line["regime"] == regime]
            if not of:
                continue
            rows = {row: by_subject([line for line in of if line["row"] == row]) for row in ROWS}
            rows = {row: scores for row, scores in rows.items() if scores}
            alone, (best, best_control) = by_subject(best_alone(of)), strongest_control(of)
            for row, scores in {**rows, "alone (best budget)": alone}.items():
                subjects = sorted({s for s, _ in scores})
                per = [np.mean([v for (s, _), v in scores.items() if s == subject]) for subject in subjects]
                cells_ = [interval(per).score() if per else "-"]
                for other in (alone, best_control):
                    found = difference(scores, other) if row in (*METHODS, *CONTROLS, "teacher") else None
                    cells_.append("-" if found is None else found.points())
                out.append(f"| {name} | {regime} | {row} | {' | '.join(cells_)} |")
            if best:
                out.append(f"| {name} | {regime} | *best control: {best}* | | | |")
    return "\n".join(out)


def main() -> None:
    """Entry of the script."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=["run", "table"])
    parser.add_argument("--sets", nargs="+", default=["eegmat", "ssvep_exo", "eyes_gnb"], choices=list(SETS))
    parser.add_argument("--regimes", nargs="+", default=list(REGIMES), choices=REGIMES)
    parser.add_argument("--rows", nargs="+", default=list(MAIN_ROWS), choices=ROWS)
    parser.add_argument("--folds", nargs="+", type=int)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--steps", type=int, help="of every training; the recipe's by default")
    parser.add_argument("--data_dir", default=os.environ.get("DLINK_DATA_DIR"))
    parser.add_argument("--output", type=Path, default=RESULTS)
    args = parser.parse_args()
    if args.action == "table":
        print(table(read_lines(args.output)))
    else:
        run(args)


if __name__ == "__main__":
    main()
