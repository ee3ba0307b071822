# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Is a pre-trained teacher worth it? Pre-trained, from scratch, and without a foundation model, on people unseen.

    python benchmarks/teachers.py run --data_dir DATA --checkpoint TEACHER --seeds 0 1 2
    python benchmarks/teachers.py table

`run` appends one JSON line a cell (set, model, alignment, seed) and skips those that are there with the same settings;
`table` turns the lines into the table of README.md. The people are those of protocol/people.json, the settings those
of protocol/teachers.json, chosen on the validation people; the test people are scored once, at the end of a cell.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import tempfile
import time
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from datasets import DatasetDict

from dlink_hf.metrics.eeg_classification import SCORES


HERE = Path(__file__).resolve().parent
PEOPLE = HERE / "protocol" / "people.json"
SETTINGS = HERE / "protocol" / "teachers.json"
RESULTS = HERE / "results" / "teachers.jsonl"
SETS = ("eegmat", "ssvep_exo", "eyes_gnb")
MODELS = ("pretrained", "probe", "scratch", "ShallowFBCSPNet", "EEGConformer", "bandpower")
# teachers that start from the pre-trained weights, and models in which no random number plays a part
PRETRAINED, SEEDLESS = ("pretrained", "probe"), ("probe", "bandpower")
ALIGNMENTS = ("none", "zscore", "euclidean", "monge", "euclidean_monge")
# where braindecode's networks can be read; only their own logits are used here
NETWORKS = {"ShallowFBCSPNet": ("pool", "b d p c"), "EEGConformer": ("patch_embedding", "b p d")}
BANDS = {
    "eegmat": [(1, 4), (4, 8), (8, 10), (10, 13), (13, 20), (20, 30), (30, 44)],
    "ssvep_exo": [(f - 0.4, f + 0.4) for f in (13, 17, 21, 26, 34, 42)] + [(f - 3, f + 3) for f in (13, 17, 21)],
    "eyes_gnb": [(1, 4), (4, 8), (8, 10), (10, 13), (13, 20), (20, 30), (30, 44)],
}


def load_splits(name: str, alignment: str, data_dir: str, cache_dir: str | None) -> DatasetDict:
    """Windows of a set (200 Hz, 5 s, 0.5-45 Hz), aligned by person if asked for, split by the protocol's people.

    People of whom one class alone is left (eyes_gnb: five, after the rejection of artefacts) are in no split, with or
    without alignment: an alignment fitted on them would know the label.
    """
    from dlink_hf import align_dataset
    from dlink_hf.data import eeg_set_extractor, load_eeg_set

    extractor = eeg_set_extractor(name, l_freq=0.5, h_freq=45.0)
    dataset = load_eeg_set(name, data_dir, extractor=extractor, cache_dir=cache_dir)
    if alignment != "none":
        dataset = align_dataset(dataset, alignment, one_class="drop", cache_dir=cache_dir)
    people = json.loads(PEOPLE.read_text(encoding="utf-8"))[name]
    subjects = dataset["subject"][:]
    classes: dict[str, set[int]] = {}
    for subject, label in zip(subjects, dataset["labels"][:], strict=True):
        classes.setdefault(subject, set()).add(int(label))
    usable = {subject for subject, found in classes.items() if len(found) > 1}
    return DatasetDict(
        {
            split: dataset.select([i for i, subject in enumerate(subjects) if subject in usable & set(people[split])])
            for split in ("train", "validation", "test")
        }
    )


def settings_of(name: str, model: str, alignment: str, path: Path = SETTINGS) -> dict[str, Any]:
    """The settings of a cell: those of its model, then those of the set, then those of the set with the alignment."""
    table = json.loads(path.read_text(encoding="utf-8"))[model]
    return {**table["all"], **table.get(name, {}), **table.get(f"{name}/{alignment}", {})}


def make_model(model: str, splits: DatasetDict, settings: Mapping[str, Any], checkpoint: str | None) -> Any:
    """A teacher, pre-trained or fresh, or a network of braindecode, for the windows at hand."""
    import braindecode.models

    from dlink_hf import DLinkTeacherConfig, DLinkTeacherForEEGClassification, signal_fields

    fields = signal_fields(splits["train"])
    own = {key: settings[key] for key in ("head_size", "head_dropout") if key in settings}
    if model in PRETRAINED:
        kwargs = {"ignore_mismatched_sizes": True, **fields, **own}
        return DLinkTeacherForEEGClassification.from_pretrained(checkpoint, **kwargs)
    if model == "scratch":
        kwargs = {"n_layer": settings["layers"], "drop_prob": settings["dropout"]}
        config = DLinkTeacherConfig(backbone="CBraMod", backbone_kwargs=kwargs, input_scale=1.0, **own, **fields)
        return DLinkTeacherForEEGClassification(config)
    layer, layout = NETWORKS[model]
    network = getattr(braindecode.models, model)(
        n_outputs=len(fields["id2label"]),
        n_chans=len(fields["ch_names"]),
        n_times=fields["n_times"],
        sfreq=fields["sfreq"],
    )
    signal = {key: fields.pop(key) for key in ("ch_names", "sfreq", "n_times")}
    return DLinkTeacherForEEGClassification.from_module(
        network, [layer], layout, own_logits=True, input_scale=settings["input_scale"], **signal, **fields
    )


def train(model: Any, splits: DatasetDict, settings: Mapping[str, Any], seed: int, folder: str) -> Any:
    """Fine-tune with the settings; the epoch that is best on the validation people is kept."""
    from transformers import TrainingArguments

    from dlink_hf import make_trainer

    args = TrainingArguments(
        folder,
        num_train_epochs=settings["epochs"],
        learning_rate=settings["learning_rate"],
        weight_decay=settings["weight_decay"],
        per_device_train_batch_size=settings["batch_size"],
        per_device_eval_batch_size=64,
        warmup_steps=0.1,
        lr_scheduler_type="cosine",
        eval_strategy="epoch",
        save_strategy="epoch",
        save_total_limit=1,
        save_only_model=True,
        load_best_model_at_end=True,
        metric_for_best_model="auroc",
        bf16=settings.get("bf16", False),
        use_cpu=not _has_gpu(),
        dataloader_pin_memory=False,
        report_to="none",
        seed=seed,
    )
    names = ("adaptation", "learning_rate_decay", "head_learning_rate_multiplier", "label_smoothing", "augmentation")
    fields = {name: settings[name] for name in names if name in settings}
    trainer = make_trainer(model, {k: splits[k] for k in ("train", "validation")}, args, "balanced", **fields)
    trainer.train()
    return trainer.model


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


def band_power(name: str, windows: np.ndarray) -> np.ndarray:
    """Log power in the set's bands (Welch), every channel: (N, C * bands)."""
    from scipy.signal import welch

    freqs, power = welch(windows, 200.0, nperseg=1000 if name == "ssvep_exo" else 400, axis=-1)
    bands = [power[..., (freqs >= low) & (freqs <= high)].mean(-1) for low, high in BANDS[name]]
    return np.log(np.stack(bands, -1) + 1e-6).reshape(len(windows), -1)


def band_power_probabilities(name: str, splits: DatasetDict, strengths: list[float]) -> dict[str, np.ndarray]:
    """Logistic regression on log band power; its regularisation chosen on the validation people."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import log_loss
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    arrays = {k: split.with_format("numpy")[:] for k, split in splits.items()}
    features = {k: band_power(name, rows["input_values"]) for k, rows in arrays.items()}
    targets = arrays["validation"]["labels"]
    weights = 1.0 / np.bincount(targets)[targets]
    least, chosen = np.inf, None
    for strength in strengths:
        regression = LogisticRegression(C=strength, class_weight="balanced", max_iter=3000)
        fitted = make_pipeline(StandardScaler(), regression).fit(features["train"], arrays["train"]["labels"])
        loss = log_loss(targets, fitted.predict_proba(features["validation"]), sample_weight=weights)
        if loss < least:
            least, chosen = loss, fitted
    return {k: chosen.predict_proba(values) for k, values in features.items()}


def run_cell(cell: Mapping[str, Any], settings: Mapping[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    """Train and score one cell; the line that is appended."""
    from transformers import set_seed

    from dlink_hf.evaluation import predict_probabilities
    from dlink_hf.metrics import classification_scores
    from dlink_hf.probing import fit_probe

    name, model, alignment = cell["set"], cell["model"], cell["alignment"]
    splits = load_splits(name, alignment, options.data_dir, options.cache_dir)
    started = time.perf_counter()
    parameters = None
    if model == "bandpower":
        probabilities = band_power_probabilities(name, splits, settings["strengths"])
    else:
        set_seed(cell["seed"])
        network = make_model(model, splits, settings, options.checkpoint)
        parameters = sum(p.numel() for p in network.parameters())
        with tempfile.TemporaryDirectory() as folder:
            if settings.get("probe_first"):
                fit_probe(network, splits["train"], splits["validation"])
            if settings["epochs"]:
                network = train(network, splits, settings, cell["seed"], folder)
        probabilities = {k: predict_probabilities(network, splits[k]) for k in ("validation", "test")}
    scores = {}
    for split in ("validation", "test"):
        rows = splits[split]
        found = classification_scores(np.asarray(rows["labels"][:]), probabilities[split], rows["subject"][:])
        people = {subject: _rounded(own) for subject, own in found["per_subject"].items()}
        scores[split] = {**_rounded(found), "subjects": people}
    return {
        **cell,
        "settings": dict(settings),
        "parameters": parameters,
        "seconds": round(time.perf_counter() - started, 1),
        "scores": scores,
        "versions": _versions(),
    }


def _rounded(scores: Mapping[str, float]) -> dict[str, float | None]:
    """Four digits of each score; None where it is not defined, which JSON has no number for."""
    return {key: round(float(scores[key]), 4) if np.isfinite(scores[key]) else None for key in SCORES}


def _versions() -> dict[str, str]:
    import braindecode
    import torch
    import transformers

    import dlink_hf

    modules = {"dlink_hf": dlink_hf, "torch": torch, "transformers": transformers, "braindecode": braindecode}
    return {"python": platform.python_version(), **{name: module.__version__ for name, module in modules.items()}}


def digest_of(cell: Mapping[str, Any], settings: Mapping[str, Any], checkpoint: str | None) -> str:
    """What a line depends on: cell, settings, people, and the pre-trained weights where they are used."""
    parts = [json.dumps([cell, settings], sort_keys=True), PEOPLE.read_text(encoding="utf-8")]
    if cell["model"] in PRETRAINED:
        weights = Path(checkpoint) / "model.safetensors"
        parts.append(hashlib.sha256(weights.read_bytes()).hexdigest())
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def cells(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Every cell that was asked for; a probe and band power have no seed."""
    for seed in options.seeds:
        for name in options.sets:
            for alignment in options.alignments:
                for model in options.models:
                    if model not in SEEDLESS or seed == options.seeds[0]:
                        yield {"set": name, "model": model, "alignment": alignment, "seed": seed}


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The lines of a results file; none where there is no file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.is_file() else []


def run(options: argparse.Namespace) -> None:
    """Run the cells that have no line yet."""
    if set(PRETRAINED) & set(options.models) and not (options.checkpoint and Path(options.checkpoint).is_dir()):
        raise SystemExit(
            "--checkpoint: name the folder of the pre-trained teacher, as `dlink pretrain-teacher` makes it."
        )
    done = {line["digest"] for line in read_lines(options.results)}
    options.results.parent.mkdir(parents=True, exist_ok=True)
    for cell in cells(options):
        settings = settings_of(cell["set"], cell["model"], cell["alignment"], options.settings)
        digest = digest_of(cell, settings, options.checkpoint)
        if digest in done:
            continue
        line = {"digest": digest, **run_cell(cell, settings, options)}
        with options.results.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, sort_keys=True) + "\n")
            file.flush()
            os.fsync(file.fileno())
        shown = {k: line["scores"][k]["balanced_accuracy"] for k in ("validation", "test")}
        print(" ".join(map(str, cell.values())), shown, f"{line['seconds']:.0f} s", flush=True)


def table(lines: list[dict[str, Any]]) -> str:
    """Balanced accuracy and AUROC on the test people, mean and sd over seeds, as Markdown."""
    rows = ["| set | alignment | model | balanced accuracy | AUROC | seeds |", "|---|---|---|---:|---:|---:|"]
    for name in SETS:
        for alignment in ALIGNMENTS:
            for model in MODELS:
                chosen = [x for x in lines if (x["set"], x["alignment"], x["model"]) == (name, alignment, model)]
                if not chosen:
                    continue
                shown = []
                for key in ("balanced_accuracy", "auroc"):
                    values = np.array([line["scores"]["test"][key] for line in chosen])
                    spread = f" ± {values.std(ddof=1):.3f}" if len(values) > 1 else ""
                    shown.append(f"{values.mean():.3f}{spread}")
                rows.append(f"| {name} | {alignment} | {model} | {shown[0]} | {shown[1]} | {len(chosen)} |")
    return "\n".join(rows)


def main(argv: list[str] | None = None) -> None:
    """Entry of the script."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    runs = commands.add_parser("run", help="run cells")
    runs.add_argument("--data_dir", default=os.environ.get("DLINK_DATA_DIR"), help="folder that holds the sets")
    runs.add_argument("--checkpoint", help="folder of the pre-trained teacher")
    runs.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    runs.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    runs.add_argument("--alignments", nargs="+", choices=ALIGNMENTS, default=["none", "euclidean_monge"])
    runs.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    runs.add_argument("--settings", type=Path, default=SETTINGS, help="other settings, to try them out")
    runs.add_argument("--cache_dir", default=None, help="where prepared windows are kept")
    tables = commands.add_parser("table", help="print the table of the lines")
    for command in (runs, tables):
        command.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args(argv)
    warnings.simplefilter("ignore", FutureWarning)
    if options.command == "table":
        print(table(read_lines(options.results)))
    elif not options.data_dir:
        parser.error("--data_dir: name the folder that holds the sets, or set DLINK_DATA_DIR")
    else:
        run(options)


if __name__ == "__main__":
    main()
