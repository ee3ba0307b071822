# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""The model card of a student, made from facts while it is trained."""

from __future__ import annotations

import math
import os
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from .._version import __version__
from ..core.licences import licence_of_result
from ..core.requires import require
from ..core.text import Markup, for_markdown, literal, without_surrogates
from .card_merging import save_model_card
from .rights import licence_facts, licences_in, rights_text


_TEMPLATE = Path(__file__).with_name("model_card_template.md")
_TAGS = ("dlink_hf", "eeg", "bci", "eeg-classification", "knowledge-distillation", "time-series")
_NAMED_SUBJECTS = 40
_PACKAGES = ("torch", "transformers", "datasets", "mne", "braindecode", "numpy")

# score -> its name in tables; the order of the columns
SCORE_NAMES = {
    "balanced_accuracy": "balanced accuracy",
    "cohen_kappa": "Cohen's kappa",
    "weighted_f1": "weighted F1",
    "auroc": "AUROC",
    "auc_pr": "AUC-PR",
}
# the same of numbers, and of several labels at once
_SCORE_NAMES_OF = {
    "regression": {
        "r2": "R2",
        "mae": "mean absolute error",
        "rmse": "root mean squared error",
        "spearman": "Spearman",
    },
    "multi_label_classification": {
        "macro_f1": "macro F1",
        "micro_f1": "micro F1",
        "exact_match": "all labels right",
        "auroc": "AUROC",
        "auc_pr": "AUC-PR",
    },
}
# columns of the comparison
_COSTS = {
    "parameters": "parameters",
    "mflop": "MFLOP",
    "p50_ms": "latency (ms)",
    "balanced_accuracy": "balanced accuracy",
    "r2": "R2",
    "macro_f1": "macro F1",
}

LIMITS = (
    "Not a medical device: not for diagnosis, monitoring or treatment, nor for any decision about a person.",
    "Scores are those of the recordings named above; other headsets, populations and tasks will differ, and single "
    "subjects differ much from the mean.",
    "The method is this project's own reading of the abstract of arXiv 2604.15016v2; it is not the paper's code, and "
    "none of the paper's results is claimed.",
)


def _text(value: Any) -> str:
    """A value as a table shows it: three digits for fractions, thousands apart, `n/a` where undefined.

    Text is data: a label, a subject or a channel can't be a bar, a fence, a tag or a mark. That of this module is
    [`Markup`].
    """
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "n/a"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        if value == 0 or 1e-3 <= abs(value) < 1e3:
            return f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"
        return f"{value:.3g}" if abs(value) < 1e-3 else f"{value:,.0f}"
    if isinstance(value, Mapping):
        return ", ".join(f"{for_markdown(key)} {_text(part)}" for key, part in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_text(part) for part in value)
    return for_markdown(value)


def _plain(value: Any) -> str:
    """A value of the metadata, on one line, which holds no mark of the generated part."""
    return " ".join(without_surrogates(str(value)).split()).replace("<!--", "< !--").replace("```", "'''")


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A Markdown table; numbers are aligned to the right."""
    right = [bool(rows) and isinstance(row, int | float) for row in rows[0]] if rows else []
    lines = [
        "| " + " | ".join(_text(name) for name in head) + " |",
        "|" + "|".join("---:" if number else "---" for number in right) + "|",
    ]
    return "\n".join(lines + ["| " + " | ".join(_text(value) for value in row) + " |" for row in rows])


def score_titles(problem_type: str | None) -> dict[str, str]:
    """Return the scores of a model of that problem type, each with its name in tables."""
    return _SCORE_NAMES_OF.get(problem_type or "", SCORE_NAMES)


def _summary(
    config: Mapping[str, Any], labels: Sequence[str], teacher: Mapping[str, Any], dataset: Mapping[str, Any]
) -> str:
    problem_type = config.get("problem_type")
    labels = [for_markdown(label) for label in labels]
    trained = (
        f"trained on {for_markdown(dataset['name'])}"
        if dataset.get("name")
        else "not trained on a data set that was named"
    )
    told = ", ".join(f"*{label}*" for label in labels[:-1]) + (" and " if labels[1:] else "") + f"*{labels[-1]}*"
    if problem_type == "regression":
        text = f"A compact EEG regressor (MiC student of `dlink_hf`): it tells {told} in numbers from a window of EEG."
    elif problem_type == "multi_label_classification":
        text = (
            f"A compact EEG classifier (MiC student of `dlink_hf`): it tells which of {told} hold in a window of EEG."
        )
    else:
        where = "at every place of a stretch" if _labels_patches(config) else "from a window"
        text = f"A compact EEG classifier (MiC student of `dlink_hf`): it tells {told} apart {where} of EEG."
    text += f" It was {trained}"
    if teacher:
        text += f". It was distilled from {for_markdown(teacher.get('name', 'a teacher'))}"
        if teacher.get("description"):
            text += f" ({for_markdown(teacher['description'])})"
    text += "."
    if dataset.get("synthetic"):
        text += " **The EEG it was trained and scored on is synthetic: its scores say nothing about people.**"
    return text


def _contract(config: Mapping[str, Any], labels: Sequence[str]) -> str:
    names, sfreq, n_times = list(config["ch_names"]), float(config["sfreq"]), int(config["n_times"])
    shape = "(batch, channels, samples), float32, microvolts; any number of whole patches"
    rows = [
        ["input", Markup(f"`input_values` {shape} of {config['patch_size']} samples")],
        ["sampling rate", Markup(f"{sfreq:g} Hz; `EEGFeatureExtractor` resamples")],
        ["window", f"{n_times} samples, {n_times / sfreq:g} s"],
        ["channels trained with", f"{len(names)}: {', '.join(names)}"],
        [
            "targets" if config.get("problem_type") == "regression" else "labels",
            ", ".join(f"{index} {label}" for index, label in enumerate(labels)),
        ],
    ]
    return markdown_table(["", ""], rows)


def _labels_patches(config: Mapping[str, Any]) -> bool:
    """Whether a config is that of a student that labels patches."""
    return "MiCForEEGTokenClassification" in (config.get("architectures") or ())


def _usage(config: Mapping[str, Any], model_id: str) -> str:
    # a literal keeps a name with a quote, or a fence, in it valid Python within its block
    names, sfreq, n_times = list(config["ch_names"]), float(config["sfreq"]), int(config["n_times"])
    # two windows at least, and the 30 s that an alignment needs (a high-pass of 0.5 Hz needs 10)
    n_windows = max(2, math.ceil(30 * sfreq / n_times))
    kind = config.get("problem_type")
    model_class = "MiCForEEGRegression" if kind == "regression" else "MiCForEEGClassification"
    if _labels_patches(config):
        model_class = "MiCForEEGTokenClassification"
    if kind == "regression":
        loop = """for onset, values in zip(inputs["onset"], logits):
    print(f"{float(onset):.1f} s", dict(zip(model.config.id2label.values(), values.tolist())))"""
    elif kind == "multi_label_classification":
        loop = """for onset, scores in zip(inputs["onset"], logits.sigmoid()):
    print(f"{float(onset):.1f} s", dict(zip(model.config.id2label.values(), scores.tolist())))"""
    elif _labels_patches(config):
        seconds = int(config["patch_size"]) * int(config.get("patches_per_label") or 1) / sfreq
        loop = f"""for onset, places in zip(inputs["onset"], logits.softmax(-1)):
    for place, scores in enumerate(places):
        label = model.config.id2label[int(scores.argmax())]
        print(f"{{float(onset) + {seconds:g} * place:.1f}} s", label, f"{{scores.max():.2f}}")"""
    else:
        loop = """for onset, scores in zip(inputs["onset"], logits.softmax(-1)):
    print(f"{float(onset):.1f} s", model.config.id2label[int(scores.argmax())], f"{scores.max():.2f}")"""
    return f"""import numpy as np
import torch
from dlink_hf import EEGFeatureExtractor, {model_class}

extractor = EEGFeatureExtractor.from_pretrained({literal(model_id)})
model = {model_class}.from_pretrained({literal(model_id)}).eval()

# microvolts, (channels, samples); for a recording: extractor("recording.edf", return_tensors="pt")
signal = np.random.default_rng(0).normal(scale=20, size=({len(names)}, {n_windows * n_times}))
ch_names = {literal(names)}
inputs = extractor(signal, sfreq={sfreq!r}, ch_names=ch_names, unit="uV", return_tensors="pt")
with torch.inference_mode():
    logits = model(inputs["input_values"], channel_positions=inputs["channel_positions"]).logits
{loop}"""


def _scores(
    results: Mapping[str, Mapping[str, Any]], n_labels: int, subject_wise: bool, problem_type: str | None
) -> str:
    if not results:
        return "Not scored yet."
    rows, titles = [], score_titles(problem_type)
    compared, compared_title = next(iter(titles.items()))
    for split, scores in results.items():
        every = scores.get("all_windows")
        for name, found in ((split, scores), *([(f"{split}, all windows", every)] if every else [])):
            subjects = found.get("n_subjects", len(found["per_subject"]) if "per_subject" in found else None)
            rows.append([name, found.get("n_windows"), subjects, *(found.get(key, math.nan) for key in titles)])
    chance = {
        "regression": "The mean of the targets has an R2 of 0; errors are in the targets' unit.",
        "multi_label_classification": "A label counts as told from a probability of 0.5.",
    }.get(problem_type or "", f"Chance is a balanced accuracy of {_text(1 / n_labels)}.")
    if subject_wise:
        chance += " No subject is in two splits."
    parts = [markdown_table(["split", "windows", "subjects", *titles.values()], rows), chance]
    if any(scores.get("all_windows") for scores in results.values()):
        parts.append(
            "*All windows* counts those too that training left out (beyond the amplitude `reject_uv`, or marked bad); "
            "the pipeline gives these a reason in place of a label."
        )
    for split, scores in results.items():
        alone = {
            who: value[compared]
            for who, value in scores.get("per_subject", {}).items()
            if math.isfinite(value[compared])
        }
        if alone:
            text = f"One subject at a time ({for_markdown(split)}): {compared_title} from "
            text += f"{_text(min(alone.values()))} to {_text(max(alone.values()))}, "
            text += f"median {_text(median(alone.values()))}, {len(alone)} subjects"
            # more of them would be too long a table to read
            parts.append(f"{text}: {_text(alone)}." if len(alone) <= _NAMED_SUBJECTS else f"{text}.")
        if "per_class" in scores:
            head = ["label", "windows", "recall", "precision", "F1"]
            keys = ["support", "recall", "precision", "f1"]
            parts.append(f"By label ({for_markdown(split)}):")
            parts.append(
                markdown_table(head, [[name, *map(row.get, keys)] for name, row in scores["per_class"].items()])
            )
        for key, head, keys in (
            ("per_label", ["label", "windows", "F1", "recall", "precision"], ["support", "f1", "recall", "precision"]),
            ("per_target", ["target", "R2", "mean absolute error", "Spearman"], ["r2", "mae", "spearman"]),
        ):
            if len(scores.get(key, {})) > 1 or (key == "per_label" and key in scores):
                parts.append(f"By {head[0]} ({for_markdown(split)}):")
                rows = [[name, *map(row.get, keys)] for name, row in scores[key].items()]
                parts.append(markdown_table(head, rows))
    return "\n\n".join(parts)


def _comparison(rows: Sequence[Mapping[str, Any]]) -> str:
    columns = {key: title for key, title in _COSTS.items() if any(key in row for row in rows)}
    return markdown_table(
        ["model", *columns.values()], [[row["name"], *(row.get(key) for key in columns)] for row in rows]
    )


def _router(router: Mapping[str, Any]) -> str:
    weights = [float(weight) for weight in router["mean_weights"]]
    layers = router.get("layer_names") or range(1, len(weights) + 1)
    text = "Mean weight of each of the teacher's layers in what the student mimicked"
    text += f" ({for_markdown(router['split'])}):\n\n" if router.get("split") else ":\n\n"
    text += markdown_table(["layer", *map(str, layers)], [["weight", *weights]])
    if router.get("entropy") is not None:
        even = math.log(len(weights))
        text += (
            f"\n\nEntropy of one input's weights: {_text(float(router['entropy']))} nats (even weights: {even:.3f})."
        )
    return text


def _training(training: Mapping[str, Any], teacher: Mapping[str, Any], dataset: Mapping[str, Any]) -> str:
    parts = []
    if dataset:
        parts.append(markdown_table(["data", ""], [[key.replace("_", " "), value] for key, value in dataset.items()]))
    if teacher:
        parts.append(
            markdown_table(["teacher", ""], [[key.replace("_", " "), value] for key, value in teacher.items()])
        )
    weights = training.get("loss_weights")
    if weights:
        parts.append(
            markdown_table(
                ["term of the objective", "weight"], [[key, float(value)] for key, value in weights.items()]
            )
        )
    rest = [[Markup(f"`{for_markdown(key)}`"), value] for key, value in training.items() if key != "loss_weights"]
    if rest:
        parts.append(markdown_table(["setting", "value"], rest))
    return "\n\n".join(parts) or "Not recorded."


def environment_text(environment: Mapping[str, Any] | None) -> str:
    """Versions as a line of a card; those of this process where None is given."""
    if environment is None:
        environment = {"dlink_hf": __version__, "python": platform.python_version(), "system": platform.system()}
        for package in _PACKAGES:
            try:
                environment[package] = version(package)
            except PackageNotFoundError:
                continue
    return ", ".join(f"{name} {value}" for name, value in environment.items())


def _metadata(
    name: str,
    results: Mapping[str, Mapping[str, Any]],
    dataset: Mapping[str, Any],
    teacher: Mapping[str, Any],
    license: Mapping[str, str],
    tags: Sequence[str],
    emissions_kg: float | None = None,
    problem_type: str | None = None,
) -> ModelCardData:
    titles = score_titles(problem_type)
    task = "eeg-regression" if problem_type == "regression" else "eeg-classification"
    data_name = _plain(dataset.get("name", "unnamed"))
    evaluations = [
        EvalResult(
            task_type=task,
            task_name=task.replace("eeg-", "EEG "),
            dataset_type=_plain(dataset.get("id", data_name)),
            dataset_name=data_name,
            dataset_split=_plain(split),
            metric_type=key,
            metric_name=title,
            metric_value=round(float(scores[key]), 6),
        )
        for split, scores in results.items()
        for key, title in titles.items()
        if key in scores and math.isfinite(scores[key])
    ]
    return ModelCardData(
        library_name="dlink_hf",
        # the Hub knows no task for EEG; the tag `eeg-classification` says what it is
        pipeline_tag="other",
        license=_plain(license["license"]),
        tags=[*(task if tag == "eeg-classification" else tag for tag in _TAGS), *map(_plain, tags)],
        metrics=[key for key in titles if any(key in scores for scores in results.values())] or None,
        base_model=None if teacher.get("id") is None else _plain(teacher["id"]),
        model_name=_plain(name),
        eval_results=evaluations or None,
        **{key: _plain(value) for key, value in license.items() if key != "license"},
        # the Hub counts grams
        **(
            {}
            if emissions_kg is None
            else {"co2_eq_emissions": {"emissions": float(f"{1000 * emissions_kg:.4g}"), "source": "codecarbon"}}
        ),
    )


def _uses_layers(training: Mapping[str, Any]) -> bool:
    """Whether a term about the teacher's layers played a part; taken for true where the weights are not told."""
    weights = training.get("loss_weights")
    return not weights or any(weights.get(name, 1) for name in ("route_weight", "spectral_weight"))


def build_model_card(
    config: Any,
    *,
    name: str,
    model_id: str | None = None,
    results: Mapping[str, Mapping[str, Any]] | None = None,
    training: Mapping[str, Any] | None = None,
    teacher: Mapping[str, Any] | None = None,
    dataset: Mapping[str, Any] | None = None,
    comparison: Sequence[Mapping[str, Any]] = (),
    comparison_split: str | None = None,
    router: Mapping[str, Any] | None = None,
    plots: Mapping[str, str | os.PathLike] | None = None,
    limits: Sequence[str] = (),
    environment: Mapping[str, Any] | None = None,
    license: str | None = None,
    tags: Sequence[str] = (),
    emissions_kg: float | None = None,
) -> ModelCard:
    """Write the card of a student from the facts of its making.

    Args:
        config: [`MiCConfig`] of the student, or its `to_dict()`: `ch_names`, `sfreq` (Hz), `n_times` (samples),
            `patch_size` (samples), `id2label` or `num_labels` are read.
        name: name of the model, e.g. `"dlink-mic-small-eegmat"`.
        model_id: what `from_pretrained` takes in the snippet: a folder or `user/name`; default `name`.
        results: split -> what [`classification_scores`] returns for it (any of its scores; `per_class` and
            `per_subject` too if they are to be shown), and optionally `n_subjects`, and `all_windows`: the same of
            all windows, where the scores are those of the judged ones.
        training: settings to show; `loss_weights` (term -> weight) becomes a table of its own.
        teacher: `name`, optionally `id` (on the Hub), `description`, and anything else to show.
        dataset: `name`, optionally `id` (on the Hub), `license`, `source`, and anything else to show; `synthetic=True`
            is reported in the first lines and among the limits; `subject_wise=True`: no subject is in two splits.
        comparison: one row per model: `name`, and any of `parameters` (number), `mflop` (2 x MAC of a window, 1e6),
            `p50_ms` (milliseconds), `balanced_accuracy` (of numbers `r2`, of several labels `macro_f1`).
        comparison_split: the split whose score is in `comparison`.
        router: `mean_weights` (L values), optionally `layer_names`, `entropy` (nats), `split`.
        plots: caption -> image, a path relative to the card. The caption is below the image too; the one named
            `"montage"` has none and is shown with the channels.
        limits: sentences to add to the limits.
        environment: name -> version; default the packages of this process.
        license: identifier as the Hub has them. By default that of the published weights which the config names
            (`weights_licenses`) where it restricts what may be done with the student, else `"apache-2.0"`.
        tags: more tags.
        emissions_kg: CO2 equivalents of the training, in kilograms, as codecarbon estimates them.

    Returns:
        `huggingface_hub.ModelCard`, its text and YAML metadata with a `model-index`. Save it with
        [`save_model_card`], which keeps what a user wrote.

    Raises:
        ValueError: the config lacks a field the card needs.
    """
    if hasattr(config, "to_dict"):
        config = config.to_dict()
    missing = [field for field in ("ch_names", "sfreq", "n_times", "patch_size") if not config.get(field)]
    if missing:
        raise ValueError(f"The card needs the student's {', '.join(missing)}; give its whole MiCConfig.")
    id2label = {int(index): str(label) for index, label in (config.get("id2label") or {}).items()}
    labels = [id2label[index] for index in sorted(id2label)] or [f"LABEL_{i}" for i in range(config["num_labels"])]
    kind = config.get("problem_type")
    results, training, teacher, dataset = results or {}, training or {}, teacher or {}, dataset or {}
    licences = licences_in(config)
    if teacher:
        teacher = {**teacher, **licence_facts(licences)}
    images = {
        caption: f"![{for_markdown(caption)}]({Path(path).as_posix()})" for caption, path in (plots or {}).items()
    }
    compared = next(iter(score_titles(kind).values()))
    all_limits = list(LIMITS)
    if dataset.get("synthetic"):
        all_limits.insert(
            1, "Trained and scored on synthetic EEG: of no use on recordings of people without training on it."
        )
    template = require("jinja2", "Writing a model card").Template(
        _TEMPLATE.read_text("utf-8"), keep_trailing_newline=True
    )
    return ModelCard(
        template.render(
            metadata=_metadata(
                name,
                results,
                dataset,
                teacher,
                licence_of_result(licences) if license is None else {"license": license},
                tags,
                emissions_kg,
                kind,
            ).to_yaml(),
            name=for_markdown(name),
            summary=_summary(config, labels, teacher, dataset),
            contract=_contract(config, labels),
            usage=_usage(config, str(model_id or name)),
            scores=_scores(results, len(labels), bool(dataset.get("subject_wise")), kind),
            comparison=_comparison(comparison) if comparison else "",
            comparison_split=None if comparison_split is None else for_markdown(comparison_split),
            compared=compared[0].upper() + compared[1:],
            router=_router(router) if router else "",
            training=_training(training, teacher, dataset),
            distilled=bool(teacher),
            uses_layers=_uses_layers(training),
            plots={"montage": images.pop("montage", "")},
            figures="\n\n".join(f"{image}\n\n*{for_markdown(caption)}*" for caption, image in images.items()),
            rights=rights_text(licences),
            limits="\n".join(f"- {limit}" for limit in [*all_limits, *map(_plain, limits)]),
            environment=environment_text(environment),
            version=__version__,
        )
    )


__all__ = [
    "LIMITS",
    "SCORE_NAMES",
    "build_model_card",
    "environment_text",
    "markdown_table",
    "save_model_card",
    "score_titles",
]
