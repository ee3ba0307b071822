# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Make a checkpoint to be published of a student that the grid trained: weights, extractor, people, card.

    python benchmarks/grid_publish.py --data_dir DATA --set eegmat --output model_cards/dlink-mic-small-eegmat

The seed is the one that is best on the validation people; the scores in the card are those of its line, and beside
them the means over all seeds.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from grid import CHECKPOINT, model_folder
from grid_cells import (
    ALIGNMENTS,
    PUBLISHED,
    RESULTS,
    SETS,
    SETTINGS,
    latest_lines,
    load_splits,
    people_of,
)
from grid_costs import COSTS
from grid_report import interval, name_of
from grid_statistics import compare, mean_and_sd, mean_score, select


BESIDE = ("pretrained", "probe", "dlink_small", "no_teacher", "bandpower")
TAUGHT = {
    "pretrained": ("fine-tuned", "fine-tuned on those of this set"),
    "probe": ("frozen", "left as it was, with a logistic regression of its features on those of this set"),
}
EXPERT = (
    ". The student also learned from the answers of a logistic regression on log band power, which was fitted "
    "without the people in question"
)
LIMITS = {
    "eegmat": "In these recordings rest always comes before arithmetic, a minute of it after three of rest: what "
    "drifts with time counts as task.",
    "ssvep_exo": "Scored on four people only; 13, 17 and 21 Hz flicker and rest, eight electrodes.",
    "eyes_gnb": "Recorded with one consumer headset of 14 electrodes.",
    "eegmmidb": "Trained and scored on runs of ONE person: its scores say nothing about anybody else.",
}


def best_line(lines: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The line whose validation AUROC is highest."""
    return max(lines, key=lambda line: line["scores"]["validation"]["auroc"])


def card_scores(line: Mapping[str, Any], rows: Mapping[str, int]) -> dict[str, Any]:
    """Scores of the splits as the card takes them; `rows`: windows of each split."""
    return {
        split: {
            **{key: value for key, value in scores.items() if key != "subjects"},
            "per_subject": scores["subjects"],
            "n_windows": rows[split],
        }
        for split, scores in line["scores"].items()
    }


def comparison_rows(
    lines: Sequence[Mapping[str, Any]], costs: Mapping[str, Any], name: str, alignment: str
) -> list[dict[str, Any]]:
    """Teacher, student, student without a teacher, band power: costs, and balanced accuracy meant over seeds.

    `costs`: those of the student's shape of windows, or empty.
    """
    rows = []
    for model in BESIDE:
        chosen = select(lines, name, alignment, model)
        if chosen:
            # the same networks, trained otherwise
            network = {"no_teacher": "dlink_small", "probe": "pretrained"}.get(model, model)
            known = costs.get("models", {}).get(network, {})
            cost = {key: known[key] for key in ("parameters", "mflop", "p50_ms") if key in known}
            mean = mean_and_sd([line["scores"]["test"]["balanced_accuracy"] for line in chosen])[0]
            seeds = f"{len(chosen)} seed{'s' * (len(chosen) > 1)}"
            rows.append({"name": f"{name_of(model)} ({seeds})", **cost, "balanced_accuracy": mean})
    return rows


def publish(options: argparse.Namespace) -> Path:
    """Write the folder.

    Raises:
        SystemExit: the grid has no line for this student, or its weights are not kept.
    """
    from dlink_hf import MiCForEEGClassification, build_model_card, save_model_card
    from dlink_hf.commands.windows import write_people
    from dlink_hf.data import EEG_SETS, eeg_set_extractor
    from dlink_hf.evaluation.plots import plot_montage

    name, alignment, model = options.set, options.alignment, options.model
    lines = latest_lines(options.results)
    chosen = select(lines, name, alignment, model)
    if not chosen:
        raise SystemExit(f"{options.results} has no line of {model} on {name} with {alignment}: run the grid first.")
    line = best_line(chosen)
    cell = {key: line[key] for key in ("set", "model", "alignment", "seed")}
    weights = model_folder(cell, line["digest"], options)
    if not (weights / "model.safetensors").is_file():
        raise SystemExit(f"{weights} holds no weights: give the --models_dir of the run that wrote the line.")
    source = name.removesuffix(PUBLISHED)
    student = MiCForEEGClassification.from_pretrained(weights)
    folder = Path(options.output)
    student.save_pretrained(folder)
    fields = {} if alignment == "none" else {"alignment": alignment}
    eeg_set_extractor(source, l_freq=0.5, h_freq=45.0, **fields).save_pretrained(folder)
    splits = load_splits(name, alignment, options.data_dir, options.cache_dir)
    column = people_of(name)["group_column"]
    write_people(folder, source, splits, column, [options.checkpoint])
    (folder / "plots").mkdir(exist_ok=True)
    config = student.config
    plot_montage(config.channel_positions, config.ch_names, folder / "plots" / "montage.png")

    found = compare(lines, [name], alignment, model, "no_teacher")
    limits = [LIMITS[source]]
    if alignment != "none":
        limits.append(
            f"With the alignment {alignment} all windows of a person's session are needed, of every condition: give "
            "the other recordings as `session_recordings`. What is fitted on a recording of one condition is wrong."
        )
    mean = mean_score(lines, name, alignment, model)
    groups = "people" if column == "subject" else f"{column}s"
    limits.append(
        f"The mean over {mean.people} {groups} and {mean.seeds} seed{'s' * (mean.seeds > 1)} of training is a "
        f"balanced accuracy of {mean.value:.3f} (95 % interval {mean.low:.3f} to {mean.high:.3f}); this checkpoint is "
        "the seed that was best on the validation split."
    )
    if found is not None:
        limits.append(
            f"Against the same network trained without a teacher: {interval(found)} points of balanced accuracy (95 % "
            f"interval, paired over the same {groups} and seeds)."
        )
    costs = json.loads(options.costs.read_text(encoding="utf-8")) if options.costs.is_file() else {}
    known_costs = costs.get("shapes", {}).get(f"{len(config.ch_names)}x{config.n_times}", {})
    licence = EEG_SETS[source].source.rsplit(", ", 1)
    card = build_model_card(
        config,
        name=folder.name,
        results=card_scores(line, {split: len(rows) for split, rows in splits.items()}),
        training={
            key: str(value) for key, value in {**line["settings"], "seed": line["seed"]}.items() if key != "teacher"
        },
        teacher={
            "name": f"{Path(options.checkpoint).name}, {TAUGHT[line['settings']['teacher']][0]}",
            "description": "CBraMod of 4 layers, pre-trained by this project on the training people of four small "
            f"public sets, then {TAUGHT[line['settings']['teacher']][1]}; no published weights"
            + EXPERT
            * bool(line["settings"].get("expert")),
        }
        if line["settings"].get("teacher")
        else None,
        dataset={
            "name": source,
            "source": licence[0],
            "license": licence[-1],
            "subject_wise": column == "subject",
            "alignment": alignment,
            **{f"{split}_{column}s": ", ".join(sorted(set(rows[column][:]))) for split, rows in splits.items()},
        },
        comparison=comparison_rows(lines, known_costs, name, alignment),
        comparison_split="test",
        plots={"montage": "plots/montage.png"},
        limits=limits,
        tags=[source],
    )
    save_model_card(card, folder)
    return folder


def main(argv: list[str] | None = None) -> None:
    """Entry of the script."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", choices=SETS, required=True)
    parser.add_argument("--output", required=True, help="folder of the checkpoint; its name is the model's")
    parser.add_argument("--model", default="dlink_small")
    parser.add_argument("--alignment", choices=ALIGNMENTS, default="euclidean_monge")
    parser.add_argument("--data_dir", default=os.environ.get("DLINK_DATA_DIR"), help="folder that holds the sets")
    parser.add_argument("--cache_dir", default=None, help="where prepared windows are kept")
    parser.add_argument("--models_dir", default="outputs/grid", help="where the grid kept its networks")
    parser.add_argument("--checkpoint", default=str(CHECKPOINT), help="folder of the pre-trained teacher")
    parser.add_argument("--settings", type=Path, default=SETTINGS)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--costs", type=Path, default=COSTS)
    options = parser.parse_args(argv)
    if not options.data_dir:
        parser.error("--data_dir: name the folder that holds the sets, or set DLINK_DATA_DIR")
    print(publish(options))


if __name__ == "__main__":
    main()
