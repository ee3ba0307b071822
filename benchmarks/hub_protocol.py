# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""The regimes with published weights: a foundation model of the Hub teaches, on data sets of the Hub.

    python benchmarks/hub_protocol.py --dry_run
    python benchmarks/hub_protocol.py
    python benchmarks/hub_protocol.py report

Folds by subject over all subjects of a set, as in regimes.py. In each fold the teacher is fine-tuned on the training
subjects (`prepare_teacher`); what is chosen is chosen on the validation subjects, and the test subjects are scored
once. Regimes: `full` (the student sees what its teacher sees), `headset` (a few of its electrodes), `short` (the end
of its windows), `few` (labels of a few training subjects for teacher and student, the recordings of all of them).
Rows:

- `teacher`: the fine-tuned foundation model, on all that it sees;
- `alone_1`, `alone_2`, `alone_4`: the student without a teacher, for once, twice and four times the recipe's steps;
- `same_view`: soft targets of models that see no more than the student; `shuffled`: the teacher's soft targets,
  shuffled among the windows of a class;
- `dlink`: the teacher is asked about every augmented view, and no view comes twice;
- `last`, `uniform`, `static`, `input`: that, and the mimicry of layers, weighed so; `no_spectra`: `input` without the
  spectral terms. The teacher's features of these rows are stored, so that a few views take turns (`--cached_views`;
  0 for a live teacher and fresh views, as in `dlink`).

A line of JSON a cell is appended to results/hub.jsonl. Cells that are there are skipped, so that a run that was killed
goes on where it stopped. At the end RESULTS_HUB.md is written from the lines. One GPU is used where there is one, in
bfloat16. `--dry_run` tells hours and gigabytes and downloads nothing but metadata.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np


HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from regimes import LAYERS, REGIMES, ROWS, Fold, read_lines, run_folds, shuffled_targets  # noqa: E402


RESULTS, REPORT = HERE / "results" / "hub.jsonl", HERE / "RESULTS_HUB.md"
HUB_ROWS = tuple(row for row in ROWS if row != "soft_targets")
# what the scores depend on besides the cell: lines of other settings do not mix
SETTINGS = ("folds", "window_seconds", "l_freq", "h_freq", "headset", "short", "few", "steps", "teacher_steps")
SETTINGS += ("cached_views",)


@dataclass(frozen=True)
class Located:
    """A repository of the Hub, or a folder.

    Args:
        name: Hub id, short name or folder.
        revision: the commit; `folder` where it is none of the Hub.
        path: folder of a checkpoint's files; the name of a data set.
    """

    name: str
    revision: str
    path: str


def split_revision(text: str) -> tuple[str, str | None]:
    """`user/name@revision` as name and revision."""
    name, _, revision = text.partition("@")
    return name, revision or None


def locate_teacher(text: str, download: bool = True) -> Located:
    """Find a teacher, and download it at the commit that its branch has now.

    Args:
        text: Hub id with an optional `@revision`, short name, or folder.
        download: whether to download it; else `path` is the name.
    """
    from huggingface_hub import HfApi, snapshot_download

    from dlink_hf.core.checkpoint_names import resolve_checkpoint

    name, revision = (text, None) if os.path.isdir(text) else split_revision(text)
    resolved = resolve_checkpoint(name, revision)
    if os.path.isdir(resolved):
        return Located(name, "folder", resolved)
    commit = HfApi().model_info(resolved, revision=revision).sha
    if not download:
        return Located(resolved, commit, resolved)
    files = snapshot_download(resolved, revision=commit, allow_patterns=["*.json", "*.safetensors"])
    return Located(resolved, commit, files)


def locate_set(text: str) -> Located:
    """Find a data set of the Hub, at the commit that its branch has now; nothing is downloaded."""
    from huggingface_hub import HfApi

    if os.path.isdir(text):
        return Located(Path(text).name, "folder", text)
    name, revision = split_revision(text.removeprefix("hub:"))
    return Located(name, HfApi().dataset_info(name, revision=revision).sha, name)


def windows_of(found: Located, args: argparse.Namespace) -> Path:
    """The windows of a set before alignment, made once and saved ready-made."""
    from dlink_hf import EEGFeatureExtractor, load_public_set
    from dlink_hf.core.atomic_files import staged

    facts = [found.path, found.revision, args.window_seconds, args.l_freq, args.h_freq, args.unit]
    folder = args.folder / "windows" / f"{found.name.replace('/', '--')}-{_digest(facts)}"
    if not (folder / "dataset_info.json").is_file():
        extractor = EEGFeatureExtractor(
            sfreq=200.0, n_times=round(args.window_seconds * 200), l_freq=args.l_freq, h_freq=args.h_freq
        )
        dataset = load_public_set(
            f"hub:{found.path}",
            extractor,
            revision=None if found.revision == "folder" else found.revision,
            unit=args.unit,
            progress=not args.quiet,
        )
        with staged(folder.parent) as partial:
            dataset.save_to_disk(partial / folder.name)
    return folder


def check_set(found: Located, windows: Path, args: argparse.Namespace) -> None:
    """Refuse a set that a regime can't be run on, before anything is trained.

    Raises:
        ValueError: it has fewer subjects than folds, lacks an electrode of the headset, or its windows are shorter.
    """
    from datasets import load_from_disk

    from dlink_hf import signal_info
    from dlink_hf.core.headsets import parse_channels

    dataset = load_from_disk(str(windows))
    info, subjects = signal_info(dataset), set(dataset["subject"][:])
    if len(subjects) < max(args.folds, 3):
        raise ValueError(
            f"{found.name} has {len(subjects)} subjects, too few for --folds {args.folds}: each fold needs some to "
            "train on, to validate and to test."
        )
    lacking = [name for name in parse_channels(args.headset) if name not in info.ch_names]
    if "headset" in args.regimes and lacking:
        raise ValueError(
            f"{found.name} has no {', '.join(lacking)}; it has {', '.join(info.ch_names)}. Choose --headset among "
            "these, or leave the regime out (--regimes)."
        )
    if "short" in args.regimes and args.short >= info.duration:
        raise ValueError(f"--short {args.short:g} must be less than the windows' {info.duration:g} s.")


class HubFold(Fold):
    """One fold of a set of the Hub in a regime, with one seed.

    Args:
        found: the set.
        windows: its folder, of [`windows_of`].
        regime, fold, seed: as in `Fold`.
        checkpoint: of the foundation model.
        args: flags.
    """

    def __init__(
        self,
        found: Located,
        windows: Path,
        regime: str,
        fold: int,
        seed: int,
        checkpoint: Located,
        args: argparse.Namespace,
    ):
        super().__init__(found.name, regime, fold, seed, str(windows), args.steps)
        self.found, self.checkpoint, self.args = found, checkpoint, args
        self.features = args.folder / "features" / _digest(self.cell)

    @property
    def facts(self) -> dict[str, Any]:
        """Number of folds, electrodes of the headset, seconds of the short window, labelled subjects of the few."""
        return {name: getattr(self.args, name) for name in ("folds", "headset", "short", "few")}

    @property
    def cell(self) -> dict[str, Any]:
        """What a line of results is told from others by, but for its row."""
        return {"teacher": self.checkpoint.name, **super().cell}

    @property
    def rows(self) -> Sequence[str]:
        """The rows that mean something here."""
        return HUB_ROWS

    def arguments(self, **changes: Any) -> Any:
        """Arguments of a training: bfloat16 where the GPU has it."""
        return super().arguments(**{"bf16": has_bfloat16(), **changes})

    def data_arguments(self) -> Any:
        """The saved windows and the split of the fold; the alignment is `auto`, as for every command."""
        from dlink_hf.commands.arguments import DataArguments

        return DataArguments(dataset=self.data_dir, split=f"{self.fold}/{self.args.folds}", validation=0.2)

    @cached_property
    def student_args(self) -> Any:
        """The student, and the augmentation of every training: chosen by what tells the classes apart, as always."""
        from dlink_hf.commands.arguments import StudentArguments
        from dlink_hf.commands.training import settle_augmentation

        chosen = settle_augmentation("auto", self.views.teacher["train"], "subject")
        return StudentArguments(student_augmentations=chosen)

    @cached_property
    def teacher(self) -> Any:
        """The foundation model, fine-tuned on the training subjects; kept, since several regimes share it."""
        from dlink_hf.commands.arguments import TeacherArguments
        from dlink_hf.commands.training import prepare_teacher
        from dlink_hf.core.atomic_files import staged

        whole, args = self.views.teacher, self.args
        facts = [*vars(self.checkpoint).values(), self.data_dir, self.fold, self.seed, self.regime == "few"]
        facts += [args.folds, args.few, args.teacher_steps, whole["train"]._fingerprint]
        kept = args.folder / "teachers" / _digest(facts)
        if not kept.is_dir():
            asked = TeacherArguments(
                teacher_checkpoint=self.checkpoint.path,
                teacher_steps=args.teacher_steps,
                augmentations=self.student_args.student_augmentations,
            )
            with staged(kept.parent) as partial:
                training = self.arguments(output_dir=str(partial / kept.name))
                prepare_teacher(whole, None, asked, training, self.name)
        found = TeacherArguments(teacher=str(kept / "teacher"))
        prepared = prepare_teacher(whole, None, found, self.arguments(), self.name)
        prepared.model.to(device())
        return prepared

    def asked_teacher(self, row: str) -> Any:
        """The foundation model in every row, so that all students have its width and patches."""
        return self.teacher

    @cached_property
    def targets(self) -> Any:
        """The training windows with the teacher's soft targets of them as they are."""
        from dlink_hf import add_soft_targets, predict_probabilities

        said = predict_probabilities(self.teacher.model, self.views.teacher_train)
        return add_soft_targets(self.views.train, said.astype(np.float32))

    def lesson(self, row: str) -> tuple[Any, Any, Any]:
        """The training windows, the objective and the arguments of a row that is taught."""
        from dlink_hf.commands.arguments import DistillArguments

        args = self.arguments(max_steps=self.budget)
        if row == "same_view":
            return self.own_targets, DistillArguments(kd_weight=0.0), args
        if row == "shuffled":
            return shuffled_targets(self.targets, self.seed), DistillArguments(kd_weight=0.0, views=0), args
        views, changes = 0, LAYERS[row]
        if changes.get("route_weight") and self.args.cached_views:
            views, args.teacher_cache_dir = self.args.cached_views, str(self.features)
        return self.views.train, DistillArguments(views=views, soft_target_weight=0.0, **changes), args

    def teacher_says(self, dataset: Any) -> np.ndarray:
        """(N, num_labels) probabilities of the row `teacher`."""
        from dlink_hf import predict_probabilities

        return predict_probabilities(self.teacher.model, dataset)

    def line(self, row: str) -> dict[str, Any]:
        """Train a row and score it by subject; the row `teacher` also tells what band power reaches."""
        from dlink_hf import __version__
        from dlink_hf.evaluation.comparison import subject_scores
        from dlink_hf.training.linear_experts import band_power_probabilities

        line = {**super().line(row), **settings_of(self.found, self.checkpoint, self.args)}
        train, watched = self.views.teacher["train"], self.views.teacher["validation"]
        line |= {"n_labels": len(self.views.labels), "n_windows": len(self.views.train)}
        line |= {"device": device_name(), "dlink_hf": __version__}
        if row == "teacher":
            said = band_power_probabilities(train, watched)
            line["band_power"] = subject_scores(watched["labels"][:], said, watched["subject"][:])
        return line

    def close(self) -> None:
        """Delete what the fold has written but its teacher."""
        super().close()
        shutil.rmtree(self.features, ignore_errors=True)


def settings_of(found: Located, checkpoint: Located, args: argparse.Namespace) -> dict[str, Any]:
    """What a line notes of weights, set and flags."""
    revisions = {"teacher_revision": checkpoint.revision, "set_revision": found.revision}
    return {**revisions, "settings": {name: getattr(args, name) for name in SETTINGS}}


def check_settings(found: Located, checkpoint: Located, args: argparse.Namespace) -> None:
    """Refuse to add to lines that were made otherwise.

    Raises:
        ValueError: naming what differs.
    """
    wanted = _flat(settings_of(found, checkpoint, args))
    for line in read_lines(args.output):
        if (line.get("teacher"), line["set"]) != (checkpoint.name, found.name):
            continue
        there = _flat(line)
        differing = [
            f"{key} {there.get(key)} there, {now} now" for key, now in wanted.items() if there.get(key) != now
        ]
        if differing:
            raise ValueError(
                f"{args.output} has lines of {found.name} that were made otherwise ({'; '.join(differing)}). Give "
                "the same flags (a revision as user/name@REVISION), or another --output."
            )


def _flat(facts: Mapping[str, Any]) -> dict[str, Any]:
    return {**facts["settings"], **{name: facts[name] for name in ("teacher_revision", "set_revision")}}


def folds_of(sets: Sequence[tuple[Located, Path]], checkpoint: Located, args: argparse.Namespace) -> Iterator[HubFold]:
    """All folds of a seed before the next."""
    for seed in args.seeds:
        for found, windows in sets:
            for regime in args.regimes:
                for fold in range(args.folds):
                    yield HubFold(found, windows, regime, fold, seed, checkpoint, args)


def run(args: argparse.Namespace) -> None:
    """Download, check, run what is not done yet, and write the report."""
    sets = [locate_set(text) for text in args.sets]
    checkpoint = locate_teacher(args.teacher)
    for found in sets:
        check_settings(found, checkpoint, args)
    made = [(found, windows_of(found, args)) for found in sets]
    for found, windows in made:
        check_set(found, windows, args)
    run_folds(folds_of(made, checkpoint, args), args.rows, args.output)
    report(args)


def report(args: argparse.Namespace) -> None:
    """Write the report from the lines."""
    from hub_report import write_report

    print(f"written: {write_report(read_lines(args.output), args.report_file)}")


def device() -> Any:
    """The GPU where there is one."""
    import torch

    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def device_name() -> str:
    """What the trainings run on."""
    import torch

    from dlink_hf.profiling.measure import processor_name

    if device().type == "cuda":
        return f"{torch.cuda.get_device_name()}, {'bfloat16' if has_bfloat16() else 'float32'}"
    return f"{processor_name()}, float32"


def has_bfloat16() -> bool:
    """Whether there is a GPU that computes in bfloat16."""
    import torch

    return torch.cuda.is_available() and torch.cuda.is_bf16_supported()


def _digest(facts: Any) -> str:
    return hashlib.sha256(json.dumps(facts, default=str).encode()).hexdigest()[:16]


def read_arguments(argv: Sequence[str]) -> argparse.Namespace:
    """Read the flags."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", nargs="?", default="run", choices=["run", "report"])
    parser.add_argument("--dry_run", action="store_true", help="tell hours and gigabytes, download only metadata")
    parser.add_argument("--teacher", default="braindecode/cbramod-pretrained", help="Hub id[@revision] or folder")
    sets = ["braindecode/bcic2a", "braindecode/physionet"]
    parser.add_argument("--sets", nargs="+", default=sets, help="Hub ids[@revision] of sets of braindecode's format")
    parser.add_argument("--regimes", nargs="+", default=list(REGIMES), choices=REGIMES)
    parser.add_argument("--rows", nargs="+", default=list(HUB_ROWS), choices=HUB_ROWS)
    parser.add_argument("--folds", type=int, default=4, help="over all subjects")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--headset", default="C3,Cz,C4,Pz", help="electrodes of the student, or a headset's name")
    parser.add_argument("--short", type=float, default=2.0, help="seconds of the student's short window")
    parser.add_argument("--few", type=int, default=4, help="labelled subjects of the regime few")
    parser.add_argument("--window_seconds", type=float, default=4.0, help="at 200 Hz")
    parser.add_argument("--l_freq", type=float, default=0.5, help="Hz")
    parser.add_argument("--h_freq", type=float, default=75.0, help="Hz")
    parser.add_argument("--unit", help="unit of the sets' numbers, where they are no volts: uV or mV")
    parser.add_argument("--steps", type=int, help="of every student's training; the recipe's by default")
    parser.add_argument("--teacher_steps", type=int, default=400, help="of the teacher's fine-tuning")
    parser.add_argument("--cached_views", type=int, default=4, help="stored views of the rows that mimic layers")
    parser.add_argument(
        "--folder", type=Path, default=Path("outputs/hub_protocol"), help="windows, teachers, features"
    )
    parser.add_argument("--output", type=Path, default=RESULTS, help="lines of results")
    parser.add_argument("--report_file", type=Path, default=REPORT)
    parser.add_argument("--quiet", action="store_true", help="no progress bars of downloads")
    args = parser.parse_args(argv)
    if args.folds < 2:
        parser.error(f"--folds must be 2 or more, got {args.folds}")
    args.folder = args.folder.resolve()
    return args


def main(argv: Sequence[str]) -> None:
    """Entry of the script."""
    args = read_arguments(argv)
    if args.action == "report":
        report(args)
    elif args.dry_run:
        from hub_costs import dry_run

        print(dry_run(args))
    else:
        run(args)


if __name__ == "__main__":
    main(sys.argv[1:])
