# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""`dlink report`: what a run left behind as one page of HTML, which opens anywhere and needs no network."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core.atomic_files import staged
from ..core.checks import MALFORMED
from ..core.config_checks import MULTI_LABEL, REGRESSION, SINGLE_LABEL, TOKENS
from ..core.fetch import read_json
from ..distillation.training_card import CAPTIONS
from ..evaluation.comparison import Interval, Measure, measure_for
from ..evaluation.html_page import Html, escaped, facts, page, paragraph, picture, preformatted, table
from ..evaluation.plots import plot_loss_curves
from ..evaluation.score_plots import plot_subject_scores
from ..profiling.report import format_profile, plot_profile
from .arguments import arg, named, parse
from .report_scores import (
    MOST_ROWS,
    Predictions,
    class_table,
    drawn,
    number,
    prediction_pictures,
    read_predictions,
    score_table,
    subject_table,
)
from .run_results import ALONE, DISTILLED, TEACHER


DESCRIPTION = (
    "Show a run as one HTML file: verdict and interval, scores, subjects, curves, confusions, calibration, montage, "
    "settings, card, versions. RUN is the folder of dlink distill, dlink demo, dlink evaluate or dlink profile."
)
# pictures that a run draws itself, in the order of the page
OWN_PICTURES = ("loss_curves", "router_weights", "spectra", "montage")
# arguments of a training that say what was done; all are in training_args.json
SETTINGS = (
    *("max_steps", "num_train_epochs", "per_device_train_batch_size", "gradient_accumulation_steps", "learning_rate"),
    *("lr_scheduler_type", "warmup_steps", "weight_decay", "optim", "bf16", "class_weighting", "augmented_views"),
    *("mimic_epochs", "load_best_model_at_end", "metric_for_best_model", "seed"),
)
# heading of what is told of each class, label or target
PARTS = {
    SINGLE_LABEL: "Classes and calibration",
    MULTI_LABEL: "Labels",
    REGRESSION: "Targets",
    TOKENS: "Classes of places",
}
# what comes first, and the sections by heading
Parts = tuple[list[Html], list[tuple[str, list[Html]]]]


@dataclass
class ReportArguments:
    """Which run, and where the page goes."""

    run: str = arg("", "Folder of the run; also taken as the first word after `report`.")
    output: str | None = arg(None, "HTML file to write; `report.html` in the folder of the run by default.")


def verdict_box(results: Mapping[str, Any]) -> Html:
    """The verdict of a distillation, its interval, and what to try next."""
    verdict = results.get("verdict")
    if not verdict:
        return paragraph("No student was trained without a teacher here, so nothing says whether distillation helped.")
    sentences = [Html(f"<p><strong>{escaped(verdict['text'])}</strong></p>")]
    sentences += [paragraph(verdict["advice"])] if verdict.get("advice") else []
    teacher = results.get("teacher_verdict")
    sentences += [paragraph(teacher["text"])] if teacher else []
    return Html(f'<div class="verdict">{"".join(sentences)}</div>')


def distillation_sections(folder: Path) -> Parts:
    """What the folder of a distillation holds: what comes first, and the sections of the page."""
    results = _results(folder / "results.json")
    group = results.get("group_column", "subject")
    scores, problem_type = results["scores"], results.get("problem_type", SINGLE_LABEL)
    measure = Measure(**results.get("compared_by", {}))
    split = list(scores)[-1]
    said = {one: split_predictions(folder, one, scores[one], group, problem_type) for one in scores}
    predictions = said[split]
    by_model = {name: found for name, one in predictions.items() if (found := one.by_subject(measure))}
    tables = [score_table(f"Scores, {one}", scores[one], said[one], measure, problem_type) for one in reversed(scores)]
    if results.get("unseen") is False:
        tables.append(paragraph("Whether a checkpoint that was given had seen the subjects scored on is not known."))
    subjects = []
    if by_model:
        chance = results.get("guess", {}).get(split, 1 / len(results["labels"]))
        title = measure.title[0].upper() + measure.title[1:]
        caption = f"{title} of each {group} of the {split} split, a marker for each model"
        subjects = [
            drawn(caption, lambda path: plot_subject_scores(by_model, chance, path, DISTILLED, measure)),
            subject_table(f"{title} by {group} ({split})", by_model),
        ]
    classes = [
        class_table(f"{name} ({split})", scores[split][name]) for name in (DISTILLED, ALONE) if name in scores[split]
    ]
    own = [
        picture(path, CAPTIONS[name].format(split) if name != "montage" else "The student's electrodes, from above")
        for name in OWN_PICTURES
        if (path := folder / "student" / "plots" / f"{name}.png").is_file()
    ]
    sections = [
        ("Who and what", who_and_what(results, group)),
        ("Scores", tables),
        ("Subjects", subjects),
        (
            PARTS[problem_type],
            [*classes, *prediction_pictures(predictions, split, (TEACHER, DISTILLED, ALONE), problem_type)],
        ),
        ("Training", [*score_curves(folder), *own]),
        ("Cost", [cost_table(results)]),
        ("Settings", settings(folder)),
        ("Versions", versions(results, folder)),
        ("Model card", card(folder / "student" / "README.md")),
    ]
    return [verdict_box(results)], sections


def split_predictions(
    folder: Path, split: str, names: Iterable[str], group: str, problem_type: str
) -> dict[str, Predictions]:
    """What the models of a distillation said of a split, of those whose predictions are there."""
    files = {name: folder / "predictions" / f"{split}_{name.replace(' ', '_')}.csv" for name in names}
    return {name: read_predictions(path, group, problem_type) for name, path in files.items() if path.is_file()}


def who_and_what(results: Mapping[str, Any], group: str) -> list[Html]:
    """What was trained, on which subjects."""
    experts = results.get("experts")
    told = [
        ("recordings", results["source"]),
        ("targets" if results.get("problem_type") == REGRESSION else "labels", ", ".join(results["labels"])),
        ("teacher", results.get("teacher")),
        ("experts", ", ".join(f"{name} {share:.0%}" for name, share in experts.items()) if experts else None),
        ("alignment", results.get("alignment") or "none"),
        ("windows without labels", results.get("unlabelled_windows") or None),
        ("steps", results.get("steps")),
    ]
    rows = [
        [name, len(who), results.get("windows", {}).get(name), ", ".join(map(str, who[:MOST_ROWS]))]
        for name, who in results.get("subjects", {}).items()
    ]
    headings = ("split", f"{group}s", "windows", "which")
    return [facts("The run", told), table(f"The splits; no {group} is in two of them", headings, rows, is_text=4)]


def cost_table(results: Mapping[str, Any]) -> Html:
    """Parameters, operations, time of a window and minutes of training."""
    rows = [
        [name, f"{one['parameters']:,}", number(one["mflop"], 1), number(one["ms"], 2), number(minutes, 2)]
        for name, one in results.get("cost", {}).items()
        for minutes in [results.get("minutes", {}).get(name)]
    ]
    headings = ("model", "parameters", "MFLOP a window", "ms a window (median, one CPU thread)", "minutes of training")
    return table("What the models cost", headings, rows)


def score_curves(folder: Path) -> list[Html]:
    """The validation scores over the steps of a distillation, where its trainer's state is there."""
    path = folder / "trainer_state.json"
    if not path.is_file():
        return []
    history = [entry for entry in read_json(path).get("log_history", []) if isinstance(entry, dict)]
    known = ("balanced_accuracy", "auroc", "macro_f1", "r2", "spearman")
    names = [name for name in known if any(f"eval_{name}" in entry for entry in history)]
    if not names:
        return []
    caption = "Scores of the student on the validation split over the steps of its training"
    return [drawn(caption, lambda target: plot_loss_curves(history, target, names, stages={}))]


def settings(folder: Path) -> list[Html]:
    """The arguments of the distillation."""
    path = folder / "student" / "training_args.json"
    if not path.is_file():
        return []
    given = read_json(path)
    return [facts("Arguments of the training", [(name, given.get(name)) for name in SETTINGS])]


def versions(results: Mapping[str, Any], folder: Path) -> list[Html]:
    """What ran; of runs that did not note it, what the student's config says."""
    found = results.get("versions")
    if not found and (path := folder / "student" / "config.json").is_file():
        found = {"transformers": read_json(path).get("transformers_version")}
    return [facts("Packages of the training", list(found.items()))] if found else []


def card(path: Path) -> list[Html]:
    """A model card as the text that it is."""
    return [preformatted(path.read_text("utf-8", errors="replace")[:60_000])] if path.is_file() else []


def demo_sections(folder: Path) -> Parts:
    """The draws of a demo, then the first of them in full."""
    found = read_json(folder / "demo.json")
    rows, leads = [], []
    for name, one in found.items():
        rows.append([name, ", ".join(number(value) for value in one["draws"]), number(one["mean"])])
        if "distilled_less_this" in one:
            lead = Interval(**{key: _nan(value) for key, value in one["distilled_less_this"].items()})
            leads.append(paragraph(f"The distilled student's lead over the {name}: {lead.points()} points."))
    box = Html(f'<div class="verdict">{"".join(leads)}</div>') if leads else Html("")
    draws = table("Balanced accuracy on the test subjects", ("model", "draws", "mean"), rows)
    first, sections = distillation_sections(folder / "draw_1")
    note = "These are synthetic recordings. What follows is the first draw of the labelled subjects."
    return [box, draws, paragraph(note), *first], sections


def evaluation_sections(folder: Path) -> Parts:
    """What `dlink evaluate` left."""
    scores, model = read_json(folder / "scores.json"), "the model"
    path = folder / "predictions.csv"
    problem_type = REGRESSION if "per_target" in scores else MULTI_LABEL if "per_label" in scores else SINGLE_LABEL
    predictions = {model: read_predictions(path, problem_type=problem_type)} if path.is_file() else {}
    measure = measure_for(problem_type)
    if problem_type == REGRESSION and predictions:
        measure = measure_for(problem_type, predictions[model].labels.std(0))
    by_model = {name: found for name, one in predictions.items() if (found := one.by_subject(measure))}
    rows = {model: scores, **({f"{model}, all windows": scores["all_windows"]} if "all_windows" in scores else {})}
    parts = {REGRESSION: "Targets", MULTI_LABEL: "Labels"}.get(problem_type, "Classes")
    table_of = score_table("Scores", rows, predictions, measure, problem_type)
    sections = [("Scores", [table_of, class_table(parts, scores)])]
    if by_model:
        chance = 1 / len(predictions[model].names) if measure.of_classes else None
        caption = f"{measure.title[0].upper()}{measure.title[1:]} of each subject"
        picture_of = drawn(caption, lambda target: plot_subject_scores(by_model, chance, target, measure=measure))
        sections.append(("Subjects", [picture_of, subject_table(caption, by_model)]))
    heading = "Calibration" if problem_type == SINGLE_LABEL else "Numbers"
    return [], [*sections, (heading, prediction_pictures(predictions, "judged", [model], problem_type))]


def profile_sections(path: Path) -> Parts:
    """What `dlink profile` measured."""
    profile = read_json(path)
    plot = drawn("Time of a window against score or operations", lambda target: plot_profile(profile, target))
    return [], [("Costs", [plot, preformatted(format_profile(profile))])]


# file that tells the kind of a run -> (title, what makes its sections out of the folder)
KINDS: dict[str, tuple[str, Callable[[Path], Parts]]] = {
    "demo.json": ("Demo", demo_sections),
    "results.json": ("Distillation", distillation_sections),
    "scores.json": ("Evaluation", evaluation_sections),
    "profile.json": ("Profile", lambda folder: profile_sections(folder / "profile.json")),
}


def build_report(run: Path) -> str:
    """Return the page of a run.

    Args:
        run: folder of a run, or the profile's JSON file.

    Raises:
        FileNotFoundError: the folder is not there, or holds no run.
        ValueError: a file of the run is damaged; the message names it.
    """
    name, title = run.name, "Profile"
    make: Callable[[Path], Parts] = profile_sections
    if not run.is_file():
        name = next((name for name in KINDS if (run / name).is_file()), "")
        if not name:
            raise FileNotFoundError(
                f"{run} is not the folder of a run: it holds none of {', '.join(KINDS)}. Give what --output_dir was "
                "of dlink distill, demo or evaluate, or --output of dlink profile."
            )
        title, make = KINDS[name]
    try:
        lead, sections = make(run)
    except MALFORMED as error:
        raise ValueError(
            f"{run / name if run.is_dir() else run} is damaged, or of another version: {error!r}."
        ) from error
    return page(f"{title}: {run.resolve().name}", sections, lead)


def run(argv: Sequence[str]) -> None:
    """Entry of `dlink report`."""
    (args,) = parse("report", DESCRIPTION, (ReportArguments,), named(argv, "--run"))
    if not args.run:
        raise ValueError("say which run to show: dlink report outputs/mine --output report.html.")
    source = Path(args.run)
    path = Path(args.output) if args.output else (source if source.is_dir() else source.parent) / "report.html"
    text = build_report(source)
    with staged(path.parent) as partial:
        (partial / path.name).write_text(text, encoding="utf-8")
    print(f"written: {path} ({len(text.encode()) / 1e6:.1f} MB); open it in a browser")


def _results(path: Path) -> dict[str, Any]:
    results = read_json(path)
    if not isinstance(results.get("scores"), dict) or not results["scores"] or "labels" not in results:
        raise ValueError(f"{path} holds no scores: it is not the results.json of a distillation.")
    return results


def _nan(value: Any) -> Any:
    return float("nan") if value is None else value


__all__ = ["ReportArguments", "build_report", "run"]
