# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""`dlink evaluate`: score a trained student or teacher on labelled recordings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets import DatasetDict

from ..core.atomic_files import write_json
from ..core.config_checks import TOKENS
from ..core.model_facts import task_of
from ..data import EEG_SETS, alignment_info
from ..data.model_contract import label_names
from ..distillation.training_args import DLinkTrainingArguments
from ..evaluation.predict import dataset_predictions, evaluate_model, load_trained
from ..hub.model_card import score_titles
from ..preprocessing.feature_extraction_eeg import EEGFeatureExtractor
from .arguments import DataArguments, arg, parse
from .windows import check_people, load_splits, load_windows


DESCRIPTION = (
    "Score a trained student or teacher on labelled recordings: per class, per subject, one row per window. Windows "
    "that training left out (for their amplitude, or marked bad) are counted, and scored apart."
)


@dataclass
class EvaluateArguments:
    """Which model, on which part of the recordings."""

    model: str = arg("", "Folder, Hub id or short name of a student or a teacher. Required.")
    part: str = arg(
        "all",
        "`all` windows, or one part of the split (--split): train, validation or test. Score a model on subjects "
        "that it has not seen.",
    )
    output_dir: str = arg("outputs/evaluate", "Where scores and predictions are written.")


def run(argv: Sequence[str]) -> None:
    """Entry of `dlink evaluate`.

    Raises:
        ValueError: an argument is missing or unknown, or the part holds subjects that the model has seen.
    """
    own, data_args = parse("evaluate", DESCRIPTION, (EvaluateArguments, DataArguments), argv)
    if not own.model:
        raise ValueError("say which model to score: --model FOLDER.")
    model = load_trained(own.model)
    # windows must reach a model filtered and cut as it was trained on them
    extractor = EEGFeatureExtractor.from_pretrained(own.model)
    note = None
    if task_of(model) == TOKENS:
        config = model.config
        n_patches = getattr(config, "n_patches", extractor.n_times // config.patch_size)
        data_args.problem_type = TOKENS
        data_args.seconds_per_label = config.patches_per_label * extractor.n_times / (extractor.sfreq * n_patches)
    if own.part == "all":
        dataset, _ = load_windows(data_args, extractor, keep_rejected=True)
        column = EEG_SETS[data_args.dataset].group_column if data_args.dataset in EEG_SETS else "subject"
        try:
            check_people(own.model, data_args.dataset, DatasetDict({"test": dataset}), column)
        except ValueError as error:
            note = f"not a score on subjects unseen: {error} Or score one part of it (--part test).\n"
    else:
        settings = DLinkTrainingArguments(output_dir=own.output_dir, report_to="none")
        splits, _ = load_splits(data_args, settings, extractor, keep_rejected=True)
        if own.part not in splits:
            raise ValueError(f"--part must be `all` or one of {', '.join(splits)}, got {own.part!r}.")
        dataset = splits[own.part]
        if own.part != "train":
            check_people(own.model, data_args.dataset, DatasetDict({own.part: dataset}), settings.group_column)
    scores, probabilities = evaluate_model(model, dataset)
    scores["alignment"] = alignment_info(dataset)
    folder = Path(own.output_dir)
    names = label_names(model)
    problem_type = task_of(model)
    predictions = dataset_predictions(folder / "predictions.csv", dataset, probabilities, names, problem_type)
    every = scores.get("all_windows")
    judged = f", of {every['n_windows']}: the others are as training saw none" if every else ""
    print(f"\n{scores['n_windows']} windows of {len(scores['per_subject'])} subjects are judged{judged}\n")
    if scores["alignment"] is not None:
        print(f"with alignment ({scores['alignment']['method']}): each subject's unlabelled windows were used\n")
    if note is not None:
        print(note)
    if every:
        print(f"{'':<20}{'judged':>8}{'all':>8}")
    titles = score_titles(problem_type)
    width = max(20, *(len(title) + 2 for title in titles.values()))
    for key, title in titles.items():
        print(f"{title:<{width}}{scores[key]:>8.3f}" + (f"{every[key]:>8.3f}" if every else ""))
    _print_parts(scores)
    first = next(iter(titles))
    print(f"\n{'subject':<24}{'windows':>9}{titles[first]:>19}")
    for name, row in scores["per_subject"].items():
        print(f"{name:<24}{row['n_windows']:>9}{row[first]:>19.3f}")
    print(f"\nscores       {write_json(folder / 'scores.json', scores)}")
    print(f"predictions  {predictions}")


def _print_parts(scores: dict[str, Any]) -> None:
    """Print one row for each class, label or target."""
    for kind, what in (("per_class", "class"), ("per_label", "label")):
        if kind in scores:
            print(f"\n{what:<24}{'windows':>9}{'recall':>9}{'precision':>11}{'F1':>7}")
            for name, row in scores[kind].items():
                print(f"{name:<24}{row['support']:>9}{row['recall']:>9.3f}{row['precision']:>11.3f}{row['f1']:>7.3f}")
    if len(scores.get("per_target", ())) > 1:
        print(f"\n{'target':<24}{'R2':>9}{'MAE':>9}{'Spearman':>11}")
        for name, row in scores["per_target"].items():
            print(f"{name:<24}{row['r2']:>9.3f}{row['mae']:>9.3g}{row['spearman']:>11.3f}")


__all__ = ["EvaluateArguments", "run"]
