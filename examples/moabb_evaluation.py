# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Students among MOABB's own pipelines, each scored on subjects that it has not seen: one table.

    pip install "dlink-hf[moabb,teachers]"
    python examples/moabb_evaluation.py --dataset BNCI2014_001

`--dataset fake` takes MOABB's made data set, which needs no network and holds noise: every score is chance.
"""

from __future__ import annotations

import argparse
import tempfile

import moabb.datasets
from mne.decoding import CSP
from moabb.datasets.fake import FakeDataset
from moabb.evaluations import CrossSubjectEvaluation
from moabb.paradigms import LeftRightImagery
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.pipeline import Pipeline, make_pipeline

from dlink_hf import DLinkClassifier


def make_pipelines(dataset: moabb.datasets.base.BaseDataset, size: str, steps: int | None) -> dict[str, Pipeline]:
    """A student, one that another teaches, one that a foundation model teaches, and MOABB's baseline.

    What teaches is trained on the subjects of each fold only. A student is always a step of a `Pipeline`: MOABB takes
    whatever has `steps` for one.
    """
    epochs, _, _ = LeftRightImagery().get_data(dataset, dataset.subject_list[:1], return_epochs=True)
    own = {"ch_names": epochs.ch_names, "sfreq": epochs.info["sfreq"], "steps": steps}
    return {
        "CSP + LDA": make_pipeline(CSP(n_components=min(8, len(epochs.ch_names))), LinearDiscriminantAnalysis()),
        f"DLink {size}": make_pipeline(DLinkClassifier(size, **own)),
        f"DLink {size}, taught by base": make_pipeline(
            DLinkClassifier(size, teacher=DLinkClassifier("base", **own), **own)
        ),
        f"DLink {size}, taught by CBraMod": make_pipeline(
            DLinkClassifier(size, teacher="dlink-teacher-cbramod-4", **own)
        ),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", default="fake", help="fake, or a data set of MOABB with left and right hand")
    parser.add_argument("--subjects", type=int, default=None, help="so many of its subjects; all by default")
    parser.add_argument("--size", default="small", help="tiny, small or base")
    parser.add_argument("--steps", type=int, default=None, help="optimizer steps; the recipe's by default")
    words = parser.parse_args()
    if words.dataset == "fake":
        dataset = FakeDataset(["left_hand", "right_hand"], n_subjects=words.subjects or 4, n_sessions=1, n_runs=1)
    else:
        dataset = getattr(moabb.datasets, words.dataset)()
        dataset.subject_list = dataset.subject_list[: words.subjects]
    moabb.set_log_level("error")
    with tempfile.TemporaryDirectory() as folder:
        evaluation = CrossSubjectEvaluation(LeftRightImagery(), [dataset], hdf5_path=folder, overwrite=True)
        results = evaluation.process(make_pipelines(dataset, words.size, words.steps))
    table = results.groupby("pipeline")["score"].agg(["mean", "std", "count"]).round(3)
    print(table.sort_values("mean", ascending=False).to_string())


if __name__ == "__main__":
    main()
