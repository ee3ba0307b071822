# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""What the numbers of a dataset's `input_values` are: channels, sampling rate, window length.

The facts are one JSON object in `dataset.info.description`, which `datasets` carries through `select`, `filter`,
`train_test_split`, `save_to_disk`, `load_from_disk` and `concatenate_datasets` (the last joins differing
descriptions by a blank line, which is how a mix of montages is found out).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from ..core.config_checks import TOKENS
from ..core.requires import require


if TYPE_CHECKING:
    from datasets import Dataset


@dataclass(frozen=True)
class SignalInfo:
    """The signal that a dataset's windows hold; amplitudes are microvolts.

    Args:
        ch_names: The C channels, in the order of `input_values`, spelled as MNE's `standard_1005`.
        sfreq: Sampling rate in hertz.
        n_times: Samples T of a window.
    """

    ch_names: tuple[str, ...]
    sfreq: float
    n_times: int

    @property
    def n_chans(self) -> int:
        """Number of channels C."""
        return len(self.ch_names)

    @property
    def duration(self) -> float:
        """Length of a window in seconds."""
        return self.n_times / self.sfreq


def describe(info: SignalInfo, report: dict[str, Any] | None = None) -> str:
    """Write `info`, and what the build counted, as the JSON text that `signal_info` reads.

    Args:
        info: The signal's facts.
        report: Counts of the build (windows kept, rejected ...), JSON values.

    Returns:
        One line of JSON.
    """
    return json.dumps({"signal": asdict(info), "report": report or {}})


def _descriptions(dataset: Dataset) -> list[dict[str, Any]]:
    entries = map(_entry, (dataset.info.description or "").split("\n\n"))
    return [entry for entry in entries if entry is not None]


def _entry(text: str) -> dict[str, Any] | None:
    try:
        entry = json.loads(text)
    except ValueError:
        return None
    return entry if isinstance(entry, dict) and isinstance(entry.get("signal"), dict) else None


def signal_info(dataset: Dataset) -> SignalInfo:
    """Read the channels, sampling rate and window length kept with a dataset.

    Args:
        dataset: A dataset of `build_dataset`, `load_eeg_set` or `load_shards`, or one derived from it.

    Returns:
        The `SignalInfo` of its windows.

    Raises:
        ValueError: If the dataset carries no such facts, or if datasets of different signals were concatenated.
    """
    datasets = require("datasets", "Reading what a dataset's windows are")
    if not isinstance(dataset, (datasets.Dataset, datasets.IterableDataset)):
        raise TypeError(
            f"signal_info expects one datasets.Dataset, got {type(dataset).__name__}. Of a DatasetDict, pass one of "
            "its splits, e.g. signal_info(splits['train'])."
        )
    infos = []
    for entry in _descriptions(dataset):
        facts = entry["signal"]
        info = SignalInfo(tuple(facts["ch_names"]), float(facts["sfreq"]), int(facts["n_times"]))
        if info not in infos:
            infos.append(info)
    if not infos:
        raise ValueError(
            "this dataset does not say which channels and sampling rate its windows have (no signal facts in "
            "dataset.info.description). Build it with dlink_hf's build_dataset or load_eeg_set, or attach the facts: "
            "dataset = set_signal_info(dataset, SignalInfo(ch_names=(...), sfreq=200.0, n_times=1000))."
        )
    if len(infos) > 1:
        raise ValueError(_mixture(infos))
    return infos[0]


def alignment_info(dataset: Dataset) -> dict[str, Any] | None:
    """Return how a dataset's windows were aligned (`align_dataset`).

    Args:
        dataset: A dataset of this library, or one derived from it.

    Returns:
        `method`, `reference`, `group_columns` and so on; None where the windows are not aligned.

    Raises:
        ValueError: If datasets of different alignments were concatenated.
    """
    found = [entry.get("alignment") for entry in _descriptions(dataset)]
    if any(other != found[0] for other in found):
        raise ValueError(
            f"datasets of different alignments were concatenated: {', '.join(map(str, found))}. Align all of them "
            "alike, or none."
        )
    return found[0] if found else None


def with_alignment_info(description: str, facts: dict[str, Any]) -> str:
    """Return a dataset's description with a note of how its windows were aligned, which `alignment_info` reads."""
    first = next(entry for entry in map(_entry, description.split("\n\n")) if entry is not None)
    return json.dumps({**first, "alignment": facts})


def with_task(description: str, problem_type: str, names: Sequence[str]) -> str:
    """Return a dataset's description with a note of what its labels are, which `task_info` reads.

    Args:
        description: of the dataset.
        problem_type: as transformers names it: `"regression"` or `"multi_label_classification"`; or
            `"token_classification"`, a class for every place of a stretch.
        names: of the targets, or of the labels that may hold at once.
    """
    first = next(entry for entry in map(_entry, description.split("\n\n")) if entry is not None)
    return json.dumps({**first, "task": {"problem_type": problem_type, "names": list(names)}})


def task_info(dataset: Dataset) -> dict[str, Any] | None:
    """Return what the labels of a dataset are, where they are not the classes of a `ClassLabel`.

    Args:
        dataset: A dataset of this library, or one derived from it.

    Returns:
        `problem_type` and `names`; None where the dataset does not say.

    Raises:
        ValueError: If datasets of different tasks were concatenated.
    """
    found = [entry.get("task") for entry in _descriptions(dataset)]
    if any(other != found[0] for other in found):
        raise ValueError(f"datasets of different tasks were concatenated: {', '.join(map(str, found))}.")
    return found[0] if found else None


def teacher_signal_info(dataset: Dataset) -> SignalInfo | None:
    """Read what the teacher's windows in `teacher_input_values` are (`with_teacher_view`).

    Args:
        dataset: A dataset of this library, or one derived from it.

    Returns:
        Their channels, rate and length; None where the teacher reads what the student reads.

    Raises:
        ValueError: If datasets of different teacher's views were concatenated.
    """
    found = [entry.get("teacher") for entry in _descriptions(dataset)]
    seen = [None if entry is None else (entry["signal"], entry.get("alignment")) for entry in found]
    if any(other != seen[0] for other in seen):
        raise ValueError(
            "datasets whose teachers read different signals were concatenated: give all of them one teacher's view."
        )
    if not found or found[0] is None:
        return None
    facts = found[0]["signal"]
    return SignalInfo(tuple(facts["ch_names"]), float(facts["sfreq"]), int(facts["n_times"]))


def with_teacher_signal(description: str, teacher_description: str) -> str:
    """Write that of the teacher's windows into a student's description, where `teacher_signal_info` reads it."""
    student, teacher = (
        next(entry for entry in map(_entry, text.split("\n\n")) if entry is not None)
        for text in (description, teacher_description)
    )
    return json.dumps({**student, "teacher": teacher})


def teacher_description(dataset: Dataset) -> str:
    """Read the description of the teacher's windows alone, as `with_teacher_signal` was given it."""
    return json.dumps(_descriptions(dataset)[0]["teacher"])


def signal_fields(dataset: Dataset) -> dict[str, Any]:
    """Return what a model's config must know of the windows it is made for.

    Args:
        dataset: A dataset of `build_dataset` or `load_eeg_set`, or one derived from it.

    Returns:
        `ch_names`, `sfreq` (Hz), `n_times` (samples), `id2label` and `label2id`, as keyword arguments of `MiCConfig`
        and `DLinkTeacherConfig`; and `problem_type`, where the labels are numbers or several at once.

    Raises:
        ValueError: If the dataset carries no such facts, or its labels have no names.
    """
    info, task = signal_info(dataset), task_info(dataset)
    names = task["names"] if task else getattr(dataset.features.get("labels"), "names", None)
    if names is None:
        raise ValueError(
            "the column 'labels' has no class names. Make it a ClassLabel: "
            "dataset.cast_column('labels', datasets.ClassLabel(names=[...]))."
        )
    return {
        "ch_names": list(info.ch_names),
        "sfreq": info.sfreq,
        "n_times": info.n_times,
        "id2label": dict(enumerate(names)),
        "label2id": {name: index for index, name in enumerate(names)},
        # a model says by its class that it labels patches
        **({"problem_type": task["problem_type"]} if task and task["problem_type"] != TOKENS else {}),
    }


def set_signal_info(dataset: Dataset, info: SignalInfo) -> Dataset:
    """Attach signal facts to a dataset that was not made by this library.

    Args:
        dataset: Rows with `input_values` (C, T) in microvolts.
        info: Its channels, sampling rate and window length; checked against the first row.

    Returns:
        The same rows, with the facts.

    Raises:
        ValueError: If the first row has another shape than `info` says.
    """
    if len(dataset):
        shape = tuple(dataset.with_format("numpy")[0]["input_values"].shape)
        if shape != (info.n_chans, info.n_times):
            raise ValueError(
                f"the rows' input_values have shape {shape}, but the signal facts say "
                f"({info.n_chans} channels, {info.n_times} samples)."
            )
    aligned, task = alignment_info(dataset), task_info(dataset)
    dataset = dataset.select(range(len(dataset)))
    description = describe(info)
    if task:
        description = with_task(description, **task)
    dataset.info.description = with_alignment_info(description, aligned) if aligned else description
    return dataset


def build_report(dataset: Dataset) -> dict[str, Any]:
    """What `build_dataset` counted while it made the dataset (all windows, before any later `select` or `filter`).

    Args:
        dataset: A dataset of `build_dataset`.

    Returns:
        `n_windows`, `rejected_amplitude`, `rejected_bad`, `skipped_short`, `ignored` and so on; empty where unknown.
    """
    entries = _descriptions(dataset)
    return dict(entries[0]["report"]) if entries else {}


def concatenate_windows(datasets: Sequence[Dataset]) -> Dataset:
    """Concatenate datasets of the same signal, after checking that they are.

    Args:
        datasets: Datasets with equal channels (in the same order), sampling rate and window length.

    Returns:
        One dataset.

    Raises:
        ValueError: If the list is empty, or the signals or label names differ; the message names the differences.
    """
    if not datasets:
        raise ValueError("concatenate_windows got an empty list of datasets.")
    check_same_signal(datasets)
    alignments = [alignment_info(dataset) for dataset in datasets]
    if any(other != alignments[0] for other in alignments):
        raise ValueError(f"the datasets are aligned differently: {alignments}. Align all of them alike, or none.")
    names = [getattr(dataset.features["labels"], "names", None) for dataset in datasets]
    if any(other != names[0] for other in names):
        raise ValueError(
            f"the datasets have different label names: {names}. Build them with the same label_names to concatenate."
        )
    return require("datasets", "Concatenating datasets").concatenate_datasets(list(datasets))


def check_same_signal(datasets: Sequence[Dataset]) -> None:
    """Refuse datasets of different channels, rates or windows.

    Raises:
        ValueError: Naming the differences.
    """
    infos = list(dict.fromkeys(signal_info(dataset) for dataset in datasets))
    if len(infos) > 1:
        raise ValueError(_mixture(infos))


def _mixture(infos: Sequence[SignalInfo]) -> str:
    first = infos[0]
    lines = ["datasets of different signals were concatenated, which would mix up channels or time:"]
    for info in infos:
        lines.append(f"  - {info.n_chans} channels {list(info.ch_names)}, {info.sfreq:g} Hz, {info.n_times} samples")
    for info in infos[1:]:
        only_first = [name for name in first.ch_names if name not in info.ch_names]
        only_other = [name for name in info.ch_names if name not in first.ch_names]
        if only_first or only_other:
            lines.append(f"  channels in one only: {only_first + only_other}")
        elif info.ch_names != first.ch_names:
            lines.append("  the same channels in another order")
    lines.append(
        "Build all of them with one EEGFeatureExtractor(ch_names=[...], sfreq=..., n_times=...) so that they agree."
    )
    return "\n".join(lines)
