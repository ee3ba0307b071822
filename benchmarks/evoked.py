# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""What a student needs for evoked potentials: the signed path and alignment, on uci_erp.

    python benchmarks/evoked.py run --data_dir DATA
    python benchmarks/evoked.py table

A first picture against a second one that is another, 621 trials of 16 subjects; four folds by subjects
(`GroupKFold(4)`), AUROC of each fold, and their mean. Students of size small are trained by `make_trainer` with the
package's usual settings, without `sign_flip` and `time_shift`; `flipped` has them. LDA (shrinkage) on means of 125 ms
is the reference. Nothing is chosen on the folds' test subjects here; the share of windows that the signed path
classifies alone was tried out on the same folds with seed 0.

A line of JSON a cell is appended to results/evoked.jsonl; cells that are there are skipped, so that a run that was
killed goes on where it stopped.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold


RESULTS = Path(__file__).resolve().parent / "results" / "evoked.jsonl"
MODELS: dict[str, dict[str, Any]] = {
    "base": {},
    "signed": {"signed_path": True},
    # the signed path as one of two, never by itself
    "signed_together": {"signed_path": True, "signed_path_alone": 0.0},
    "flipped": {},
}
ALIGNMENTS = ("none", "euclidean")
N_FOLDS = 4
AUGMENTATION = "amplitude_scale,channel_dropout=0.3"
FLIPPED = "time_shift,sign_flip," + AUGMENTATION


class Cell(NamedTuple):
    """One number of the table: a model, trained for some steps with a seed, on windows that are aligned or not."""

    model: str
    alignment: str
    steps: int
    seed: int


def cells(steps: Sequence[int], seeds: Sequence[int]) -> Iterator[Cell]:
    """All cells, those first that say most."""
    for n_steps in steps:
        for seed in seeds:
            for alignment in reversed(ALIGNMENTS):
                for model in ("base", "signed"):
                    yield Cell(model, alignment, n_steps, seed)
    for model in ("flipped", "signed_together"):
        for alignment in ALIGNMENTS:
            yield Cell(model, alignment, steps[0], seeds[0])


@cache
def windows_of(alignment: str, data_dir: str, cache_dir: str | None) -> Any:
    """The trials of uci_erp, each subject aligned where that is asked for."""
    from dlink_hf import eeg_set_extractor, load_eeg_set

    extractor = eeg_set_extractor("uci_erp", alignment=None if alignment == "none" else alignment)
    return load_eeg_set("uci_erp", data_dir, extractor=extractor, cache_dir=cache_dir, progress=False)


def folds_of(dataset: Any) -> list[tuple[np.ndarray, np.ndarray]]:
    """Rows of the training and of the test subjects of each fold."""
    groups = np.asarray(dataset["subject"][:])
    return list(GroupKFold(N_FOLDS).split(groups, groups, groups))


def lda_scores(dataset: Any) -> list[float]:
    """AUROC of each fold of LDA on means of 125 ms."""
    windows = dataset.with_format("numpy")["input_values"][:]
    means = windows.reshape(*windows.shape[:2], 8, -1).mean(-1).reshape(len(windows), -1)
    labels, scores = np.asarray(dataset["labels"][:]), []
    for train, test in folds_of(dataset):
        model = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto").fit(means[train], labels[train])
        scores.append(float(roc_auc_score(labels[test], model.decision_function(means[test]))))
    return scores


def student_scores(dataset: Any, cell: Cell) -> list[float]:
    """AUROC of each fold of a student."""
    from transformers import TrainingArguments, set_seed

    from dlink_hf import MiCConfig, MiCForEEGClassification, make_trainer, predict_probabilities, signal_fields

    labels, scores = np.asarray(dataset["labels"][:]), []
    for train, test in folds_of(dataset):
        with tempfile.TemporaryDirectory(prefix="evoked-") as folder:
            set_seed(cell.seed)
            config = MiCConfig.from_size("small", **signal_fields(dataset), **MODELS[cell.model])
            args = TrainingArguments(
                output_dir=folder,
                max_steps=cell.steps,
                per_device_train_batch_size=32,
                learning_rate=2e-3,
                weight_decay=0.05,
                warmup_steps=0.1,
                lr_scheduler_type="cosine",
                save_strategy="no",
                report_to="none",
                disable_tqdm=True,
                seed=cell.seed,
                logging_strategy="no",
            )
            trainer = make_trainer(
                MiCForEEGClassification(config),
                {"train": dataset.select(train)},
                args,
                class_weighting="balanced",
                label_smoothing=0.1,
                augmentation=FLIPPED if cell.model == "flipped" else AUGMENTATION,
            )
            trainer.train()
            said = predict_probabilities(trainer.model.eval(), dataset.select(test))
            scores.append(float(roc_auc_score(labels[test], said[:, 1])))
    return scores


def read_lines(path: Path) -> list[dict[str, Any]]:
    """All lines that are there; one that was cut short is left out."""
    lines = []
    for line in path.read_text("utf-8").splitlines() if path.is_file() else []:
        try:
            lines.append(json.loads(line))
        except ValueError:
            continue
    return lines


def append_line(path: Path, line: dict[str, Any]) -> None:
    """Add a line; one before it that was cut short is ended."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as file:
        if file.tell():
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                file.write(b"\n")
        file.write(json.dumps(line).encode() + b"\n")


def key_of(line: dict[str, Any]) -> Cell:
    """The cell of a line."""
    return Cell(*(line[name] for name in Cell._fields))


def run(args: argparse.Namespace) -> None:
    """Compute the cells that are not there yet."""
    wanted = [Cell("lda", alignment, 0, 0) for alignment in ALIGNMENTS] + list(cells(args.steps, args.seeds))
    for cell in wanted:
        if cell in set(map(key_of, read_lines(args.results))):
            continue
        dataset = windows_of(cell.alignment, args.data_dir, args.cache_dir)
        scores = lda_scores(dataset) if cell.model == "lda" else student_scores(dataset, cell)
        line = {**cell._asdict(), "folds": [round(score, 4) for score in scores], "auroc": round(np.mean(scores), 4)}
        append_line(args.results, line)
        print(json.dumps(line), flush=True)


def table(lines: Sequence[dict[str, Any]]) -> str:
    """The cells as Markdown: of each model, alignment and number of steps all seeds and their mean."""
    found: dict[tuple[str, str, int], dict[int, float]] = {}
    for line in lines:
        cell = key_of(line)
        found.setdefault(cell[:3], {})[cell.seed] = line["auroc"]
    rows = ["| model | alignment | steps | AUROC by seed | mean |", "|---|---|---|---|---|"]
    for (model, alignment, steps), by_seed in sorted(
        found.items(), key=lambda item: (item[0][1], item[0][2], item[0])
    ):
        seeds = ", ".join(f"{by_seed[seed]:.3f}" for seed in sorted(by_seed))
        rows.append(f"| {model} | {alignment} | {steps or '-'} | {seeds} | {np.mean(list(by_seed.values())):.3f} |")
    rows += ["", "Signed path less base, seed by seed and fold by fold:", ""]
    for (model, alignment, steps), by_seed in sorted(found.items()):
        pairs = [seed for seed in by_seed if seed in found.get(("base", alignment, steps), {})]
        if model != "signed" or not pairs:
            continue
        folds = {key_of(line): line["folds"] for line in lines}
        gains = np.array(
            [
                np.subtract(folds[Cell("signed", alignment, steps, s)], folds[Cell("base", alignment, steps, s)])
                for s in pairs
            ]
        )
        rows.append(
            f"- {alignment}, {steps} steps: {100 * gains.mean():+.1f} points over {len(pairs)} seed(s); by seed "
            f"{', '.join(f'{100 * gain:+.1f}' for gain in gains.mean(1))}; {int((gains > 0).sum())} of {gains.size} "
            "folds better"
        )
    return "\n".join(rows)


def main(argv: Sequence[str] | None = None) -> None:
    """Run, or print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("action", choices=("run", "table"))
    parser.add_argument("--data_dir", default=os.environ.get("DLINK_DATA_DIR", "."), help="holds uci_erp/")
    parser.add_argument("--cache_dir", default=None, help="where prepared windows are kept")
    parser.add_argument("--steps", type=int, nargs="+", default=[300, 800])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--results", type=Path, default=RESULTS, help="JSON lines")
    args = parser.parse_args(argv)
    if args.action == "run":
        run(args)
    else:
        print(table(read_lines(args.results)))


if __name__ == "__main__":
    main()
