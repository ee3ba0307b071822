# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Public, labelled EEG sets as one table: how each is read, cut, labelled and split.

The recordings are not part of this package; a folder that holds them is named by the user.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from datasets import Dataset

from ...preprocessing.feature_extraction_eeg import EEGFeatureExtractor
from ...preprocessing.recordings import find_recordings
from ..build import build_dataset
from ..labels import AnnotationLabels, EventLabels, LabelSource
from .trials import build_trials, read_trials


# subjects of the benchmarks' splits, drawn once at random: set -> {"train": [...], "validation": [...], "test": [...]}
BENCHMARK_SUBJECTS = Path(__file__).with_name("benchmark_subjects.json")


@cache
def benchmark_subjects() -> dict[str, dict[str, Any]]:
    """The lists of `BENCHMARK_SUBJECTS`."""
    return json.loads(BENCHMARK_SUBJECTS.read_text("utf-8"))


@dataclass(frozen=True)
class EEGTask:
    """A classification task of a set.

    Args:
        labels: Where its labels come from.
        files: File names it takes, as a pattern of `Path.match`; several are alternatives.
        ignore_labels: Labels that are in the files and not in the task. Of trials all but the task's are left out.
    """

    labels: LabelSource
    files: Sequence[str] = ("*",)
    ignore_labels: Sequence[str] = ()


@dataclass(frozen=True)
class EEGSet:
    """One public set.

    Args:
        folder: Its folder under the user's data folder.
        tasks: Its tasks by name; the first is taken unless another is asked for.
        subject_pattern: Regular expression on the path; the first group is the subject.
        extractor: Arguments of `EEGFeatureExtractor`.
        source: Where it is published, and its licence.
        max_abs_uv: Windows beyond this amplitude in microvolts are rejected.
        group_column: What splits must keep apart: "subject", or "recording" when there is one subject.
        split: Published split, name to subjects.
        trials: Name of the file that holds trials which are cut already, see `read_trials`; None for recordings.
        limits: What its recordings can't tell, sentences for the card of a student.
    """

    folder: str
    tasks: Mapping[str, EEGTask]
    subject_pattern: str
    extractor: Mapping[str, Any]
    source: str
    max_abs_uv: float | None = None
    group_column: str = "subject"
    split: Mapping[str, Sequence[str]] = field(default_factory=dict)
    trials: str | None = None
    limits: Sequence[str] = ()

    @property
    def origin(self) -> str:
        """Where it is published: `source` without the licence."""
        return self.source.rsplit(", ", 1)[0]

    @property
    def license(self) -> str:
        """Licence of the recordings, the last part of `source`."""
        return self.source.rsplit(", ", 1)[1]


def _runs(first: str, second: str, *numbers: int) -> EEGTask:
    """A motor task of EEGMMIDB: runs, and what T1 and T2 mean in them; T0 is rest."""
    files = tuple(f"*R{number:02d}.edf" for number in numbers)
    return EEGTask(AnnotationLabels({"T1": first, "T2": second}), files, ignore_labels=("T0",))


EEG_SETS: dict[str, EEGSet] = {
    "eegmat": EEGSet(
        folder="eegmat",
        tasks={"arithmetic": EEGTask(AnnotationLabels({"rest": "rest", "arithmetic": "arithmetic"}))},
        subject_pattern=r"Subject(\d+)_\d\.edf$",
        # The files were filtered so before they were published: a student that filters reads other recordings alike.
        extractor={"sfreq": 200.0, "n_times": 1000, "l_freq": 0.5, "h_freq": 45.0},
        source="PhysioNet eegmat 1.0.0 (Zyma et al. 2019, doi:10.3390/data4010014), ODC-BY 1.0",
        # The split of CBraMod's MentalArithmetic benchmark.
        split={
            "train": tuple(f"{number:02d}" for number in range(28)),
            "validation": tuple(f"{number:02d}" for number in range(28, 32)),
            "test": tuple(f"{number:02d}" for number in range(32, 36)),
        },
        limits=(
            "In these recordings rest always comes before arithmetic, a minute of it after three of rest: what drifts "
            "with time counts as task.",
        ),
    ),
    "ssvep_exo": EEGSet(
        folder="ssvep_exo",
        tasks={
            "ssvep": EEGTask(
                EventLabels({1: "rest", 2: "13 Hz", 4: "17 Hz", 3: "21 Hz"}, suffix="-eve.fif", duration=5.0)
            )
        },
        subject_pattern=r"subject(\d+)/",
        # The files hold millivolts labelled as volts, and drift: unfiltered, students score three points less.
        extractor={"sfreq": 200.0, "n_times": 1000, "unit": "mV", "l_freq": 0.5, "h_freq": 45.0},
        source="SSVEP exoskeleton (Kalunga et al. 2014, github.com/sylvchev/dataset-ssvep-exoskeleton), CC0 1.0",
        limits=("Twelve subjects in all; flicker of 13, 17 and 21 Hz and rest, eight electrodes.",),
    ),
    "eyes_gnb": EEGSet(
        folder="eyes_gnb",
        tasks={"eyes": EEGTask(AnnotationLabels({"eyes closed": "eyes closed", "eyes open": "eyes open"}))},
        subject_pattern=r"(sub-\d+)\.edf$",
        # A consumer headset with an offset of some 4,100 uV.
        extractor={"sfreq": 200.0, "n_times": 1000, "l_freq": 0.5, "h_freq": 45.0},
        source="Guinea-Bissau EMOTIV recordings (van Hees et al. 2018, doi:10.5281/zenodo.1252141), CC BY 4.0",
        max_abs_uv=300.0,
        limits=("Recorded with one consumer headset of 14 electrodes.",),
    ),
    "eegmmidb": EEGSet(
        folder="eegmmidb_s001",
        tasks={
            "imagined_fists": _runs("left fist", "right fist", 4, 8, 12),
            "imagined_fists_feet": _runs("both fists", "both feet", 6, 10, 14),
            "executed_fists": _runs("left fist", "right fist", 3, 7, 11),
            "executed_fists_feet": _runs("both fists", "both feet", 5, 9, 13),
            # moved and imagined alike: twice the trials
            "fists": _runs("left fist", "right fist", 3, 4, 7, 8, 11, 12),
        },
        subject_pattern=r"(S\d{3})R\d{2}\.edf$",
        extractor={"sfreq": 200.0, "n_times": 800, "l_freq": 0.5, "h_freq": 45.0},
        source="PhysioNet EEGMMIDB 1.0.0, subject 1 (Schalk et al. 2004, doi:10.1109/TBME.2004.827072), ODC-BY 1.0",
        group_column="recording",
        limits=("Trained and scored on runs of ONE person: its scores say nothing about anybody else.",),
    ),
    "uci_erp": EEGSet(
        folder="uci_erp",
        tasks={
            # a first picture against a second one that is another; a second one that is the same against that
            "first_second": EEGTask(AnnotationLabels({"S1 obj": "first", "S2 nomatch": "second"})),
            "match": EEGTask(AnnotationLabels({"S2 match": "match", "S2 nomatch": "no match"})),
        },
        subject_pattern=r"(co2[ac]\d+)",
        # a second from the picture's onset, one patch
        extractor={"sfreq": 200.0, "n_times": 200},
        source=(
            "UCI Machine Learning Repository, EEG Database (Begleiter 1999), CC BY 4.0 as that "
            "site states it (confirm before weights trained on it are published)"
        ),
        trials="uci_erp.npz",
    ),
}


def load_eeg_set(
    name: str,
    data_dir: str | Path,
    task: str | None = None,
    *,
    extractor: EEGFeatureExtractor | None = None,
    cache_dir: str | Path | None = None,
    **options: Any,
) -> Dataset:
    """Return the windows of one of the package's public sets.

    Args:
        name: "eegmat", "ssvep_exo", "eyes_gnb", "eegmmidb" or "uci_erp".
        data_dir: Folder that holds the set's folder (`eegmat/`, `ssvep_exo/`, `eyes_gnb/`, `eegmmidb_s001/`,
            `uci_erp/`), or that folder itself.
        task: Name of the task, see `EEG_SETS[name].tasks`; None takes the first.
        extractor: Another `EEGFeatureExtractor` than `eeg_set_extractor(name)`, e.g. for another window length.
        cache_dir: Cache folder of `build_dataset`.
        **options: More arguments of `build_dataset`, e.g. `max_abs_uv`, `overwrite_cache`, `progress`.

    Returns:
        Dataset with the columns of `build_dataset`; `eegmat` has `split` too, the published one (`split_by_column`
        makes a `DatasetDict` of it). Split `eegmmidb`, one subject, by run: `group_column="recording"`.

    Raises:
        FileNotFoundError: If the recordings are not there; the message says where they are published.
        ValueError: If the set or the task is unknown.
    """
    if name not in EEG_SETS:
        raise ValueError(
            f"unknown EEG set {name!r}; known are {', '.join(EEG_SETS)}. For your own recordings use build_dataset."
        )
    eeg_set = EEG_SETS[name]
    task = next(iter(eeg_set.tasks)) if task is None else task
    if task not in eeg_set.tasks:
        raise ValueError(f"{name} has no task {task!r}; it has {', '.join(eeg_set.tasks)}.")
    chosen = eeg_set.tasks[task]
    folder = find_set_folder(name, data_dir)
    extractor = extractor if extractor is not None else eeg_set_extractor(name)
    options.setdefault("max_abs_uv", eeg_set.max_abs_uv if extractor.reject_uv is None else extractor.reject_uv)
    options.setdefault("alignment_group", eeg_set.group_column)
    if eeg_set.trials is not None:
        trials = read_trials(folder / eeg_set.trials, eeg_set.source)
        assert isinstance(chosen.labels, AnnotationLabels)
        return build_trials(trials, chosen.labels, extractor, cache_dir=cache_dir, **options)
    paths = [path for path in find_recordings(folder) if any(path.match(pattern) for pattern in chosen.files)]
    if not paths:
        raise FileNotFoundError(
            f"{folder} holds no recording for the task {task!r} of {name} ({', '.join(chosen.files)}). Published at: "
            f"{eeg_set.source}."
        )
    if eeg_set.split:
        of_subject = {subject: split for split, members in eeg_set.split.items() for subject in members}
        options.setdefault("subject_columns", {"split": of_subject})
    return build_dataset(
        paths,
        extractor,
        chosen.labels,
        subject_pattern=eeg_set.subject_pattern,
        ignore_labels=chosen.ignore_labels,
        cache_dir=cache_dir,
        **options,
    )


def eeg_set_extractor(name: str, **settings: Any) -> EEGFeatureExtractor:
    """Return the feature extractor of a set, with some settings changed.

    Args:
        name: A name of `EEG_SETS`.
        **settings: Arguments of `EEGFeatureExtractor` that replace the set's.

    Returns:
        The extractor.

    Raises:
        ValueError: If the set is unknown.
    """
    if name not in EEG_SETS:
        raise ValueError(f"unknown EEG set {name!r}; known are {', '.join(EEG_SETS)}.")
    eeg_set = EEG_SETS[name]
    return EEGFeatureExtractor(**{**eeg_set.extractor, "reject_uv": eeg_set.max_abs_uv, **settings})


def find_set_folder(name: str, data_dir: str | Path) -> Path:
    """Return the folder of a set.

    Args:
        name: A name of `EEG_SETS`.
        data_dir: Folder that holds the set's folder, or that folder itself.

    Returns:
        Its path.

    Raises:
        FileNotFoundError: If the recordings are not there; the message says where they are published.
    """
    eeg_set, data_dir = EEG_SETS[name], Path(data_dir).expanduser()
    if (data_dir / eeg_set.folder).is_dir():
        return data_dir / eeg_set.folder
    if data_dir.is_dir() and data_dir.resolve().name == eeg_set.folder:
        return data_dir
    raise FileNotFoundError(
        f"the recordings of {name} are not at {data_dir / eeg_set.folder}. Name the folder that holds "
        f"{eeg_set.folder}/ as data_dir. They are published as: {eeg_set.source}."
    )
