# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""What filters that hardly wait cost: the trained students on test people, prepared with linear and minimum phase.

    python benchmarks/stream_phases.py --data_dir DATA --output benchmarks/results/stream_phases.json

The recordings of the protocol's test people go through `StreamPreparation`, as they would live; windows are cut at the
labelled places, each person (or run) is aligned by all of their windows, as in the grid.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from grid_cells import HERE, MAIN_SETS, TASKS, load_splits, people_of
from sklearn.metrics import balanced_accuracy_score
from tqdm.auto import tqdm

from dlink_hf import EEGFeatureExtractor, MiCForEEGClassification, StreamPreparation
from dlink_hf.data import find_recordings, read_recording
from dlink_hf.data.public.own_sets import EEG_SETS
from dlink_hf.streaming.preparation import PHASES


CARDS = HERE.parent / "model_cards"
SETS = tuple(name for name in (*MAIN_SETS, *TASKS) if (CARDS / f"dlink-mic-small-{name}").is_dir())


def prepared_windows(path: Path, extractor: EEGFeatureExtractor, onsets: np.ndarray, phase: str) -> np.ndarray:
    """Windows (N, C, n_times) float32, microvolts, at `onsets` seconds of a recording that is prepared as a stream."""
    raw = read_recording(path)
    unit, rate = extractor.unit or "V", raw.info["sfreq"]
    preparation = StreamPreparation(extractor, raw.ch_names, rate, unit, phase)
    # the last samples wait for what comes after the recording: as at its beginning, a mirror image of it
    n_more = int(np.ceil(preparation.delay * rate)) + 1
    values = np.pad(raw.get_data(), ((0, 0), (0, n_more)), mode="reflect", reflect_type="odd")
    signal = preparation.push(values)
    starts = np.round(onsets * extractor.sfreq).astype(int)
    return np.stack([signal[:, start : start + extractor.n_times] for start in starts]).astype(np.float32)


@torch.no_grad()
def score(name: str, phase: str, data_dir: str, cache_dir: str | None) -> tuple[float, float, int]:
    """Balanced accuracy on the test people of a set, the delay of its filters in seconds, the number of windows."""
    folder = CARDS / f"dlink-mic-small-{name}"
    model = MiCForEEGClassification.from_pretrained(folder).eval()
    extractor = EEGFeatureExtractor.from_pretrained(folder)
    extractor.ch_names = list(model.config.ch_names)
    test = load_splits(name, "none", data_dir, cache_dir)["test"].remove_columns("input_values").with_format("numpy")
    paths = {path.name: path for path in find_recordings(Path(data_dir, EEG_SETS[name].folder))}
    column, files, onsets = people_of(name)["group_column"], test["recording"][:], test["onset"][:]
    groups, labels = test[column][:], test["labels"][:]
    windows = np.empty((len(test), len(extractor.ch_names), extractor.n_times), dtype=np.float32)
    for file in tqdm(np.unique(files), desc=f"{name}, {phase}", unit="recording", leave=False):
        rows = np.flatnonzero(files == file)
        windows[rows] = prepared_windows(paths[file], extractor, onsets[rows], phase)
    predicted = np.empty(len(test), dtype=int)
    for group in np.unique(groups):
        rows = np.flatnonzero(groups == group)
        alignment = extractor.start_session().update(windows[rows]).alignment
        aligned = torch.from_numpy(alignment.transform(windows[rows]))
        predicted[rows] = model(aligned).logits.argmax(1).numpy()
    raw = read_recording(paths[files[0]])
    delay = StreamPreparation(extractor, raw.ch_names, raw.info["sfreq"], phase=phase).delay
    return float(balanced_accuracy_score(labels, predicted)), delay, len(test)


def main(argv: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data_dir", default=os.environ.get("DLINK_DATA_DIR", "."), help="holds the sets")
    parser.add_argument("--cache_dir", default=None, help="where prepared windows are kept")
    parser.add_argument("--output", help="JSON file")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    found = {
        name: {phase: score(name, phase, args.data_dir, args.cache_dir) for phase in PHASES}
        for name in tqdm(SETS, desc="sets", unit="set")
    }
    print("| set | windows | linear phase | waits (s) | minimum phase | waits (s) |\n|---|---:|---:|---:|---:|---:|")
    for name, rows in found.items():
        (linear, wait, n_windows), (minimum, short_wait, _) = (rows[phase] for phase in PHASES)
        print(f"| {name} | {n_windows} | {linear:.3f} | {wait:.2f} | {minimum:.3f} | {short_wait:.2f} |")
    if args.output:
        keys = ("balanced_accuracy", "delay_seconds", "n_windows")
        table = {
            name: {phase: dict(zip(keys, row, strict=True)) for phase, row in rows.items()}
            for name, rows in found.items()
        }
        partial = Path(f"{args.output}.partial")
        partial.write_text(json.dumps(table, indent=2) + "\n", encoding="utf-8")
        partial.replace(args.output)


if __name__ == "__main__":
    main()
