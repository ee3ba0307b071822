# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Search recordings for the windows most like one of them, and probe what a general student knows of a task.

python examples/search_windows.py RECORDINGS_FOLDER --model dlink-mic-small
python examples/search_windows.py                    # synthetic recordings of imagined hand movement
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import dlink_hf
from dlink_hf.commands import main as dlink


def read_embeddings(path: Path) -> tuple[np.ndarray, list[str], np.ndarray]:
    """Vectors (N, F), recordings and onsets (s) of what `dlink embed` wrote; windows with a reason left out."""
    import pyarrow.parquet as parquet

    table = parquet.read_table(path)
    table = table.filter(table["reason"].is_null())
    vectors = table["embedding"].combine_chunks().flatten().to_numpy().reshape(len(table), -1)
    return vectors, table["recording"].to_pylist(), table["onset"].to_numpy()


def most_alike(vectors: np.ndarray, query: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the windows most like one, and their cosines; every feature standardised first."""
    standard = (vectors - vectors.mean(0)) / np.maximum(vectors.std(0), 1e-9)
    units = standard / np.linalg.norm(standard, axis=1, keepdims=True)
    cosines = units @ units[query]
    order = np.argsort(-cosines)
    order = order[order != query][:count]
    return order, cosines[order]


def probe(model: str, n_subjects: int) -> float:
    """Balanced accuracy of a linear model on frozen features, on subjects that it has not seen."""
    windows = dlink_hf.synthetic_dataset(n_subjects=n_subjects, n_trials=24, progress=False)
    embed = dlink_hf.pipeline("eeg-feature-extraction", model=model)
    facts = dlink_hf.signal_info(windows)
    given = {"array": windows["input_values"][:], "ch_names": facts.ch_names, "sfreq": facts.sfreq, "unit": "uV"}
    vectors = np.stack([window["features"] for window in embed(given, is_filtered=True)])
    linear = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000))
    labels, subjects = np.asarray(windows["labels"][:]), np.asarray(windows["subject"][:])
    predicted = cross_val_predict(linear, vectors, labels, groups=subjects, cv=GroupKFold(4))
    return balanced_accuracy_score(labels, predicted)


def main() -> None:
    """Embed, search, probe."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", help="recordings; synthetic ones by default")
    parser.add_argument("--model", default="dlink-mic-small", help="short name, folder or Hub id; needs no head")
    parser.add_argument("--query", type=int, default=0, help="number of the window to search for")
    parser.add_argument("--count", type=int, default=5, help="how many to show")
    parser.add_argument("--n_subjects", type=int, default=8, help="synthetic subjects of the probe")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(args.folder or temporary)
        if args.folder is None:
            for raw in dlink_hf.make_synthetic_recordings(n_subjects=4, n_trials=8, progress=False):
                raw.save(folder / f"{raw.info['subject_info']['his_id']}_raw.fif", verbose="ERROR")
        table = Path(temporary, "embeddings.parquet")
        if dlink(["embed", str(folder), "--model", args.model, "--output", str(table)]):
            raise SystemExit(1)
        vectors, recordings, onsets = read_embeddings(table)
    found, cosines = most_alike(vectors, args.query, args.count)
    print(f"most like {recordings[args.query]} at {onsets[args.query]:.1f} s:")
    for row, cosine in zip(found, cosines, strict=True):
        print(f"  {cosine:.3f}  {recordings[row]} at {onsets[row]:.1f} s")
    score = probe(args.model, args.n_subjects)
    print(f"linear probe, synthetic hands, subjects unseen: balanced accuracy {score:.3f}")


if __name__ == "__main__":
    main()
