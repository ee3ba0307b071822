# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""The protocol of the benchmarks: sets and their windows, people, rows, settings, and the lines of results."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from datasets import DatasetDict

from dlink_hf.data.public.own_sets import BENCHMARK_SUBJECTS


HERE = Path(__file__).resolve().parent
PEOPLE = BENCHMARK_SUBJECTS
SETTINGS = HERE / "protocol" / "settings.json"
RESULTS = HERE / "results" / "scores.jsonl"

PUBLISHED = "_published"
# eegmat_published: the same recordings in the split of CBraMod's benchmark
SETS = ("eegmat", "ssvep_exo", "eyes_gnb", "eegmmidb", "eegmat_published")
# the sets of many people that means go over
MAIN_SETS = ("eegmat", "ssvep_exo", "eyes_gnb")
# all runs of left against right fist, moved and imagined: the imagined ones alone are 15 trials a split
TASKS = {"eegmmidb": "fists"}
ALIGNMENTS = ("none", "zscore", "euclidean", "monge", "euclidean_monge")

TEACHERS = ("pretrained", "probe", "scratch")
# teachers that start from the pre-trained weights, and models in which no random number plays a part
PRETRAINED, SEEDLESS = ("pretrained", "probe"), ("probe", "bandpower", "csp")
STUDENTS = ("dlink_tiny", "dlink_small", "dlink_base")
# the student `small` with one thing changed
ABLATIONS = (
    "no_teacher",
    "general",
    "general_dlink",
    "no_soft_targets",
    "soft_targets_only",
    "logits_only",
    "last_layer",
    "uniform_layers",
    "static_router",
    "no_spectral",
    "magnitude_only",
    "phase_only",
    "two_stages",
    "before_compression",
    "after_compression",
)
NETWORKS = ("EEGNet", "ShallowFBCSPNet", "Deep4Net", "EEGConformer", "ATCNet", "EEGSimpleConv", "TCFormer")
LINEAR = ("bandpower", "csp")
MODELS = (*TEACHERS, *STUDENTS, *ABLATIONS, *NETWORKS, *LINEAR)


def load_splits(
    name: str, alignment: str = "none", data_dir: str | None = None, cache_dir: str | None = None
) -> DatasetDict:
    """Windows of a set (200 Hz, 5 s, 0.5-45 Hz; eegmmidb 4 s), split by the protocol's people.

    People of whom one class alone is left (eyes_gnb: five, after the rejection of artefacts) are in no split, with or
    without alignment: an alignment fitted on them would know the label.

    Args:
        name: of `SETS`.
        alignment: each person, or run of eegmmidb, is brought to a common frame by their unlabelled windows; `"none"`.
        data_dir: folder that holds the sets.
        cache_dir: where prepared windows are kept.

    Returns:
        `train`, `validation` and `test`.
    """
    from dlink_hf import align_dataset
    from dlink_hf.data import eeg_set_extractor, load_eeg_set

    people, source = people_of(name), name.removesuffix(PUBLISHED)
    column = people["group_column"]
    extractor = eeg_set_extractor(source, l_freq=0.5, h_freq=45.0)
    dataset = load_eeg_set(source, data_dir, TASKS.get(source), extractor=extractor, cache_dir=cache_dir)
    if alignment != "none":
        dataset = align_dataset(dataset, alignment, group_column=column, one_class="drop", cache_dir=cache_dir)
    groups = dataset[column][:]
    classes: dict[str, set[int]] = {}
    for group, label in zip(groups, dataset["labels"][:], strict=True):
        classes.setdefault(group, set()).add(int(label))
    usable = {group for group, found in classes.items() if len(found) > 1}
    return DatasetDict(
        {
            split: dataset.select([i for i, group in enumerate(groups) if group in usable & set(people[split])])
            for split in ("train", "validation", "test")
        }
    )


def people_of(name: str) -> dict[str, Any]:
    """The people of each split of a set, and `group_column`, which the splits keep apart."""
    return json.loads(PEOPLE.read_text(encoding="utf-8"))[name]


def settings_of(name: str, model: str, alignment: str, path: Path = SETTINGS) -> dict[str, Any]:
    """The settings of a cell, the particular before the general.

    Those of the model that it is `like`, where it is like another; then its own `all`, its own for the set, and its
    own for the set with the alignment.
    """
    table = json.loads(path.read_text(encoding="utf-8"))[model]
    base = settings_of(name, table["like"], alignment, path) if "like" in table else {}
    name = name.removesuffix(PUBLISHED)
    return {**base, **table.get("all", {}), **table.get(name, {}), **table.get(f"{name}/{alignment}", {})}


def digest_of(cell: Mapping[str, Any], settings: Mapping[str, Any], checkpoint: str | None, path: Path) -> str:
    """What a line depends on: cell, settings, people, and weights or settings of what it starts from and learns from.

    Args:
        cell: `set`, `model`, `alignment`, `seed`.
        settings: of [`settings_of`].
        checkpoint: folder of the pre-trained teacher, or None where no row needs it.
        path: file of the settings, in which the teacher's are looked up.
    """
    parts = [json.dumps([cell, settings, people_of(cell["set"])], sort_keys=True)]
    if cell["model"] in PRETRAINED:
        weights = Path(checkpoint) / "model.safetensors"
        parts.append(hashlib.sha256(weights.read_bytes()).hexdigest())
    if settings.get("student"):
        from dlink_hf.core.checkpoint_names import resolve_checkpoint

        weights = Path(resolve_checkpoint(settings["student"])) / "model.safetensors"
        parts.append(hashlib.sha256(weights.read_bytes()).hexdigest())
    if settings.get("teacher"):
        teacher = teacher_cell(cell, settings)
        parts.append(
            digest_of(teacher, settings_of(cell["set"], teacher["model"], cell["alignment"], path), checkpoint, path)
        )
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def teacher_cell(cell: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """The cell of the teacher that a student's cell distils from: the same set, alignment and seed."""
    seed = 0 if settings["teacher"] in SEEDLESS else cell["seed"]
    return {**cell, "model": settings["teacher"], "seed": seed}


def list_cells(
    sets: Sequence[str], alignments: Sequence[str], models: Sequence[str], seeds: Sequence[int]
) -> Iterator[dict[str, Any]]:
    """Every cell that was asked for; what has no random number in it has the first seed alone."""
    for seed in seeds:
        for alignment in alignments:
            for name in sets:
                for model in models:
                    if model not in SEEDLESS or seed == seeds[0]:
                        yield {"set": name, "model": model, "alignment": alignment, "seed": seed}


def read_lines(path: Path = RESULTS) -> list[dict[str, Any]]:
    """The lines of a results file; none where there is no file. Half a line, of a run that was killed, is left out."""
    lines = []
    for text in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
        try:
            lines.append(json.loads(text))
        except json.JSONDecodeError:
            continue
    return lines


def latest_lines(path: Path = RESULTS) -> list[dict[str, Any]]:
    """The last line of every cell: what was run with other settings before is not shown beside it."""
    keys = ("set", "alignment", "model", "seed", "share", "share_of")
    return list({tuple(x.get(key) for key in keys): x for x in read_lines(path)}.values())


def append_line(path: Path, line: Mapping[str, Any]) -> None:
    """Add a line at the end of the file, on disk when this returns; a half line before it is closed first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.is_file() and path.stat().st_size > 0 and not path.read_bytes().endswith(b"\n")
    with path.open("a", encoding="utf-8") as file:
        file.write("\n" * unfinished + json.dumps(line, sort_keys=True) + "\n")
        file.flush()
        os.fsync(file.fileno())
