# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""A world with a strong teacher: synthetic subjects, hundreds for the teacher, a few labelled ones for the student.

    python benchmarks/synthetic_people.py run --labelled 5 --draws 0 1 2 3
    python benchmarks/synthetic_people.py table

What a foundation model is to a laboratory: a teacher (the student's own design, size base) is trained on 300 subjects;
a student has labels of 5, 10 or 20 others and recordings of 20 more without labels; 200 subjects that nobody has seen
are tested on, so that an effect of one point can be told. Rows:

- `alone_1`, `alone_2`, `alone_4`: the student without a teacher, for once, twice and four times the steps;
- `same_view`: soft targets of models that were trained on the same few labels (cross-fitted);
- `clean`: the teacher's soft targets of the windows as they are; `shuffled`: the same, shuffled among the windows of a
  class (of those without a label: among them);
- `dlink`: the default: the teacher itself is asked about every augmented view; `labelled_only`: without the unlabelled
  recordings;
- `last`, `uniform`, `static`, `input`: `dlink` and the mimicry of the teacher's layers, weighed so; `spectra`: `last`
  and the spectral terms.

A line of JSON a cell is appended to results/synthetic_people.jsonl; cells that are there are skipped.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np


HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results" / "synthetic_people.jsonl"
ALONE = ("alone_1", "alone_2", "alone_4")
CONTROLS = ("same_view", "shuffled")
LAYERS = {
    "last": {"route_weight": 1.0, "routing": "last"},
    "uniform": {"route_weight": 1.0, "routing": "uniform"},
    "static": {"route_weight": 1.0, "routing": "static"},
    "input": {"route_weight": 1.0, "routing": "input"},
    "spectra": {"route_weight": 1.0, "routing": "last", "spectral_weight": 0.5},
}
ROWS = ("teacher", *ALONE, *CONTROLS, "clean", "dlink", "labelled_only", *LAYERS)


class Draw:
    """One draw of the student's subjects: its views, and what its rows share.

    Args:
        world: of `dlink_hf.commands.demo`.
        teacher: trained on the teacher's subjects.
        number: of the draw, and the seed.
        steps: of the student; twice and four times as many for the longer budgets.
    """

    def __init__(self, world: Any, teacher: Any, number: int, steps: int):
        self.world, self.teacher, self.number, self.steps = world, teacher, number, steps
        self.views = world.views(number)
        self.folder = tempfile.TemporaryDirectory(prefix="synthetic-people-")

    def arguments(self, times: int = 1) -> Any:
        """Arguments of a training, in a folder that does not stay."""
        return arguments(self.folder.name, self.number, times * self.steps)

    def student(self) -> Any:
        """A fresh student that fits the teacher."""
        from dlink_hf.commands.arguments import StudentArguments
        from dlink_hf.commands.training import make_student
        from dlink_hf.models.token_grid import student_fields

        fields = student_fields(self.teacher.model.config)
        return make_student(self.views.student, StudentArguments(), self.number, **fields)

    def soft_targets(self, row: str) -> Any:
        """The training windows of a row that learns soft targets."""
        from dlink_hf import add_soft_targets, predict_probabilities
        from dlink_hf.commands.arguments import DistillArguments, StudentArguments
        from dlink_hf.commands.distill import add_targets, train_experts

        if row == "same_view":
            asked = StudentArguments(), DistillArguments(experts="student"), self.arguments()
            return add_targets(train_experts(self.views, *asked), self.views, *asked)
        train = self.views.train
        targets = predict_probabilities(self.teacher.model, train).astype(np.float32)
        if row == "shuffled":
            labels, draw = np.asarray(train.with_format(None)["labels"][:]), np.random.RandomState(self.number)
            for label in np.unique(labels):
                rows = np.flatnonzero(labels == label)
                targets[rows] = targets[draw.permutation(rows)]
        return add_soft_targets(train, targets)

    def train(self, row: str) -> Any:
        """The trained model of a row."""
        from dlink_hf.commands.arguments import DistillArguments, StudentArguments
        from dlink_hf.commands.distill import distil_student, train_alone

        student_args = StudentArguments()
        if row in ALONE:
            args = self.arguments(int(row.rsplit("_", 1)[1]))
            return train_alone(self.student(), self.views, student_args, args)
        if row in (*CONTROLS, "clean"):
            train, objective = self.soft_targets(row), DistillArguments(kd_weight=0.0)
        else:
            train = self.views.student["train"] if row == "labelled_only" else self.views.train
            objective = DistillArguments(views=0, soft_target_weight=0.0, **LAYERS.get(row, {}))
        trainer = distil_student(
            self.teacher, self.student(), train, self.views, student_args, objective, self.arguments()
        )
        return trainer.accelerator.unwrap_model(trainer.model).student


def arguments(folder: str, seed: int, steps: int) -> Any:
    """Arguments of a training by the recipe, quiet."""
    import torch

    from dlink_hf.commands.arguments import TRAINING_DEFAULTS
    from dlink_hf.distillation.training_args import DLinkTrainingArguments

    quiet = {"eval_strategy": "no", "save_strategy": "no", "disable_tqdm": True}
    cpu = {"use_cpu": not torch.cuda.is_available()}
    return DLinkTrainingArguments(
        **{**TRAINING_DEFAULTS, **quiet, **cpu, "output_dir": folder, "seed": seed, "max_steps": steps}
    )


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The lines of a file of results; none where there is no file."""
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.is_file() else []


def get_teacher(world: Any, demo: Any, folder: Path) -> Any:
    """The teacher, trained once and kept in a folder."""
    from dlink_hf.commands.demo import train_teacher
    from dlink_hf.commands.training import PreparedTeacher
    from dlink_hf.distillation.student_teacher import load_teacher

    kept = folder / "teacher"
    if (kept / "config.json").is_file():
        return PreparedTeacher(load_teacher(kept), kept, "trained on synthetic subjects", None, True)
    return train_teacher(world, demo, arguments(str(folder), 0, demo.teacher_steps))


def run(args: argparse.Namespace) -> None:
    """Run what is not done yet."""
    from dlink_hf import evaluate_model
    from dlink_hf.commands.demo import DemoArguments, make_world
    from dlink_hf.evaluation.comparison import subject_scores

    keys = ("labelled", "difficulty", "draw", "row")
    for labelled in args.labelled:
        wanted = [(labelled, args.difficulty, draw, row) for draw in args.draws for row in args.rows]
        done = {tuple(line[key] for key in keys) for line in read_lines(args.output)}
        if set(wanted) <= done:
            continue
        demo = DemoArguments(
            teacher_subjects=300,
            labelled=labelled,
            test=200,
            draws=max(args.draws) + 1,
            teacher_steps=1500,
            difficulty=args.difficulty,
        )
        world = make_world(demo)
        teacher = get_teacher(world, demo, args.folder / f"difficulty_{args.difficulty:g}")
        test, subjects = world.test, world.test["subject"][:]
        for number in args.draws:
            draw = Draw(world, teacher, number, args.steps)
            for row in args.rows:
                if (labelled, args.difficulty, number, row) in done:
                    continue
                model = teacher.model if row == "teacher" else draw.train(row)
                found = subject_scores(test["labels"][:], evaluate_model(model, test)[1], subjects)
                line = dict(zip(keys, (labelled, args.difficulty, number, row), strict=True))
                with open(args.output, "a", encoding="utf-8") as file:
                    file.write(json.dumps({**line, "steps": args.steps, "scores": found}) + "\n")
                print(f"{labelled} labelled, draw {number}, {row}: {np.mean(list(found.values())):.3f}", flush=True)
            draw.folder.cleanup()


def table(lines: Sequence[Mapping[str, Any]]) -> str:
    """Scores of every row, and what it adds to the best control and to `dlink`, as Markdown."""
    from dlink_hf.evaluation.comparison import interval

    out = [
        "| labelled | row | draws | mean | less the best control | less `dlink` |",
        "|---|---|---|---|---|---|",
    ]
    for labelled in sorted({line["labelled"] for line in lines}):
        rows = {
            row: {x["draw"]: x["scores"] for x in lines if x["labelled"] == labelled and x["row"] == row}
            for row in ROWS
        }
        rows = {row: draws for row, draws in rows.items() if draws}
        means = {row: np.mean([np.mean(list(s.values())) for s in rows[row].values()]) for row in rows}
        controls = [row for row in (*ALONE, *CONTROLS) if row in rows]
        best = max(controls, key=means.get) if controls else None
        for row, draws in rows.items():
            told = " ".join(f"{np.mean(list(scores.values())):.3f}" for _, scores in sorted(draws.items()))
            cells = []
            for other in (best, "dlink"):
                common = sorted(set(draws) & set(rows.get(other, {})))
                if other == row or not common:
                    cells.append("-")
                    continue
                subjects = sorted(draws[common[0]])
                values = [[draws[d][s] - rows[other][d][s] for d in common] for s in subjects]
                cells.append(interval(np.array(values)).points())
            name = f"{row} (best control)" if row == best else row
            out.append(f"| {labelled} | {name} | {told} | {means[row]:.3f} | {' | '.join(cells)} |")
    return "\n".join(out)


def main() -> None:
    """Entry of the script."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=["run", "table"])
    parser.add_argument("--labelled", nargs="+", type=int, default=[5, 10, 20])
    parser.add_argument("--draws", nargs="+", type=int, default=[0, 1, 2, 3])
    parser.add_argument("--rows", nargs="+", default=list(ROWS), choices=ROWS)
    parser.add_argument("--difficulty", type=float, default=1.3)
    parser.add_argument("--steps", type=int, default=300, help="of the student at the single budget")
    parser.add_argument("--folder", type=Path, default=Path("outputs/synthetic_people"), help="keeps the teacher")
    parser.add_argument("--output", type=Path, default=RESULTS)
    args = parser.parse_args()
    if args.action == "table":
        print(table(read_lines(args.output)))
    else:
        run(args)


if __name__ == "__main__":
    main()
