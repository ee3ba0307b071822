# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Whether a published student scores on people's recordings, taken as they are, what its card says of windows.

    python benchmarks/deployment.py --data_dir DATA --output benchmarks/results/deployment.json
    python benchmarks/deployment.py --data_dir DATA --sets eyes_gnb --live eyes_gnb

The recordings of the test people go through `dlink_hf.pipeline` as files, all recordings of a person as one session;
with `--live` the samples of the files also go through `StreamClassifier`, as they would come from an amplifier: the
alignment fitted as the session goes on (`live`), and fitted on the session beforehand (`session`).
Labels are those of the recordings' annotations or event files. Scored are

- `all`: every window that lies in a labelled stretch;
- `judged`: those that the package gives a label;
- `clean`: those whose peak, measured here, lies below the set's rejection threshold (all, where it has none): the
  same windows whatever version of the package is benchmarked;
- `card`: the `clean` windows of the people in the card's test row, whom training did not leave out.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from grid_cells import PEOPLE
from sklearn.metrics import balanced_accuracy_score

import dlink_hf
from dlink_hf.data import EEG_SETS
from dlink_hf.preprocessing.recordings import find_recordings, read_recording
from dlink_hf.streaming.classifier import StreamClassifier


ROOT = Path(__file__).resolve().parent.parent
# windows of trials begin within half of this of the trial
TRIAL_STRIDE = 0.25


def recordings_of(name: str, data_dir: Path, part: str) -> dict[str, list[Path]]:
    """The recordings of each person of a part of the benchmarks' split."""
    import re

    eeg_set, people = EEG_SETS[name], json.loads(PEOPLE.read_text("utf-8"))[name][part]
    task = next(iter(eeg_set.tasks.values()))
    found: dict[str, list[Path]] = {}
    for path in find_recordings(data_dir / eeg_set.folder):
        match = re.search(eeg_set.subject_pattern, path.as_posix())
        if match and match.group(1) in people and any(path.match(pattern) for pattern in task.files):
            found.setdefault(match.group(1), []).append(path)
    return found


def truth_of(name: str, path: Path, onsets: np.ndarray, duration: float) -> np.ndarray:
    """(N,) the label of each window that lies in a labelled stretch, else None; of trials, the nearest window."""
    source = next(iter(EEG_SETS[name].tasks.values())).labels
    labels = np.full(len(onsets), None, dtype=object)
    for segment in source.segments(read_recording(path), path.name, path):
        if segment.duration is not None and segment.duration < 2 * duration:
            nearest = int(np.abs(onsets - segment.onset).argmin())
            if abs(onsets[nearest] - segment.onset) <= TRIAL_STRIDE:
                labels[nearest] = segment.label
            continue
        end = np.inf if segment.duration is None else segment.onset + segment.duration
        labels[(onsets >= segment.onset - 0.01) & (onsets + duration <= end + 0.01)] = segment.label
    return labels


def peaks_of(pipe: Any, path: Path, onsets: np.ndarray) -> np.ndarray:
    """(N,) the largest absolute sample of each window after filtering, in microvolts."""
    raw = pipe.feature_extractor.without_alignment().prepare_raw(read_recording(path))
    values, length = np.abs(raw.get_data()).max(axis=0) * 1e6, pipe.feature_extractor.n_times
    starts = np.round(onsets * pipe.feature_extractor.sfreq).astype(int)
    return np.array([values[start : start + length].max() for start in starts])


def classify_files(name: str, pipe: Any, files: Sequence[Path]) -> list[dict[str, Any]]:
    """Windows of a person's recordings as the pipeline has them: subject's truth, answer, judged or not, peak."""
    trials = name == "ssvep_exo"
    options: dict[str, Any] = {"session_recordings": files}
    if trials:
        options = {"alignment_state": pipe.fit_session(files), "stride_seconds": TRIAL_STRIDE}
    # versions that know windows without a label tell what they would have said, too
    knows = "label_all" in (type(pipe).__call__.__doc__ or "")
    rows = []
    for path in files:
        windows = pipe(str(path), **options, **({"label_all": True} if knows else {}))
        onsets = np.array([window["onset"] for window in windows])
        truth = truth_of(name, path, onsets, windows[0]["duration"])
        peaks = peaks_of(pipe, path, onsets)
        for window, label, peak in zip(windows, truth, peaks, strict=True):
            if label is not None:
                judged = window.get("reason") is None
                rows.append({"truth": label, "answer": window["label"], "judged": judged, "peak": float(peak)})
    return rows


def classify_session(name: str, pipe: Any, files: Sequence[Path]) -> list[dict[str, Any]]:
    """As `classify_live`, with the alignment that the pipeline fits on the person's recordings."""
    return classify_live(name, pipe, files, pipe.fit_session(files))


def classify_live(name: str, pipe: Any, files: Sequence[Path], state: Any = None) -> list[dict[str, Any]]:
    """Windows of a person's recordings as a stream has them, one after the other; the alignment fitted as it goes."""
    rows, chunk = [], 32
    for path in files:
        raw = read_recording(path)
        values, sfreq = raw.get_data(), raw.info["sfreq"]
        extractor = pipe.feature_extractor
        duration = extractor.n_times / extractor.sfreq
        live = StreamClassifier(
            pipe.model,
            extractor,
            raw.ch_names,
            sfreq,
            extractor.unit or "V",
            hop_seconds=duration,
            alignment_state=state,
            say=lambda text: None,
        )
        found = []
        for start in range(0, values.shape[1], chunk):
            part = values[:, start : start + chunk]
            found += live.push(part, (start + np.arange(part.shape[1])) / sfreq)
        onsets = np.array([one.onset for one in found])
        truth, peaks = truth_of(name, path, onsets, duration), peaks_of(pipe, path, onsets)
        for one, label, peak in zip(found, truth, peaks, strict=True):
            if label is not None:
                judged = one.label is not None
                rows.append({"truth": label, "answer": one.label, "judged": judged, "peak": float(peak)})
        state = live.alignment
    return rows


def score(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Windows and balanced accuracy; windows without an answer are not scored."""
    answered = [row for row in rows if row["answer"] is not None]
    if not answered:
        return {"n_windows": 0, "balanced_accuracy": None}
    accuracy = balanced_accuracy_score([row["truth"] for row in answered], [row["answer"] for row in answered])
    return {"n_windows": len(answered), "balanced_accuracy": float(accuracy)}


def summarise(name: str, people: dict[str, list[dict[str, Any]]], card_people: Sequence[str]) -> dict[str, Any]:
    """Scores of a set by kinds of windows, and of each person."""
    rows = [{**row, "subject": who} for who, found in people.items() for row in found]
    limit = EEG_SETS[name].max_abs_uv or np.inf
    clean = [row for row in rows if row["peak"] <= limit]
    return {
        "n_people": len(people),
        "n_labelled": len(rows),
        "all": score(rows),
        "judged": score([row for row in rows if row["judged"]]),
        "clean": score(clean),
        "card": score([row for row in clean if row["subject"] in card_people]),
        "per_person": {who: score(found)["balanced_accuracy"] for who, found in people.items()},
    }


def card_score(folder: Path) -> float:
    """Balanced accuracy of the test row of a card."""
    row = next(line for line in (folder / "README.md").read_text("utf-8").splitlines() if line.startswith("| test |"))
    return float(row.split("|")[4])


def main(argv: Sequence[str] | None = None) -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_dir", type=Path, required=True, help="folder that holds the sets")
    parser.add_argument("--models", type=Path, default=ROOT / "model_cards", help="folder of the students")
    parser.add_argument("--sets", nargs="+", default=["eyes_gnb", "ssvep_exo", "eegmat"])
    parser.add_argument("--live", nargs="*", default=["eyes_gnb"], help="sets that go through a stream too")
    parser.add_argument("--part", default="test", help="part of the benchmarks' split")
    parser.add_argument("--people", type=int, default=None, help="only so many of a set")
    parser.add_argument("--name", default="after", help="under which name the scores are written")
    parser.add_argument("--output", type=Path, default=None, help="JSON file; other names in it are kept")
    args = parser.parse_args(argv)
    found: dict[str, Any] = {}
    for name in args.sets:
        folder = args.models / f"dlink-mic-small-{name}"
        pipe = dlink_hf.pipeline(model=str(folder), device="cpu")
        card_people = json.loads((folder / "people.json").read_text("utf-8"))[args.part]
        files = dict(list(recordings_of(name, args.data_dir, args.part).items())[: args.people])
        ways = {"pipeline": classify_files}
        if name in args.live:
            ways |= {"live": classify_live, "session": classify_session}
        found[name] = {"card_says": card_score(folder)}
        for way, classify in ways.items():
            people = {who: classify(name, pipe, paths) for who, paths in files.items()}
            found[name][way] = summarise(name, people, card_people)
    print(
        f"\n{'set':<11}{'way':<10}{'card':>7}"
        + "".join(f"{kind:>16}" for kind in ("all", "judged", "clean", "card people"))
    )
    for name, ways in found.items():
        for way in [way for way in ways if way != "card_says"]:
            cells = [ways[way][kind] for kind in ("all", "judged", "clean", "card")]
            text = "".join(
                f"{cell['balanced_accuracy'] or float('nan'):>9.3f} ({cell['n_windows']:>4})" for cell in cells
            )
            print(f"{name:<11}{way:<10}{ways['card_says']:>7.3f}{text}")
    if args.output is not None:
        known = json.loads(args.output.read_text("utf-8")) if args.output.is_file() else {}
        known[args.name] = {**known.get(args.name, {}), **found}
        args.output.parent.mkdir(parents=True, exist_ok=True)
        args.output.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
