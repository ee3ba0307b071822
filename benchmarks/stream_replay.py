# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Whether a stream of minutes is classified whole, in time, in steady memory, and as the recording would be.

    python benchmarks/stream_replay.py --minutes 10 --output stream_replay.json
    python benchmarks/stream_replay.py --minutes 2 --kill

Recordings of one subject of ssvep_exo (8 channels, 256 Hz), one after the other, are sent over real LSL on this
machine by a process of its own, 20 ms a chunk; a student reads the stream and answers ten times a second, by filters
as in training (linear) or of minimum phase. Counted are: windows that are missing, samples that are lost, the time
from the newest sample to the prediction, the resident memory after a minute and at the end, and (for linear filters)
how many labels differ from those of the recording on the same windows. With `--kill` the sending process is killed in
the middle and started anew, from the recording's beginning.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mne
import numpy as np
import psutil
import torch

from dlink_hf import EEGFeatureExtractor
from dlink_hf.commands.stream import load_model
from dlink_hf.preprocessing.recordings import find_recordings, read_recording
from dlink_hf.streaming.classifier import StreamClassifier, StreamPrediction
from dlink_hf.streaming.outlets import start_replay
from dlink_hf.streaming.sources import LslSource, stream_clock


ROOT = Path(__file__).resolve().parent.parent
PERCENTS = (50, 95, 99, 100)
TARGET_MS = 25.0


def make_recording(files: Sequence[Path], seconds: float, path: Path) -> Path:
    """One recording of so many seconds, of several that follow each other."""
    raw = mne.concatenate_raws([read_recording(file) for file in files], verbose="error")
    if raw.n_times / raw.info["sfreq"] < seconds:
        raise ValueError(f"the subject's recordings last {raw.n_times / raw.info['sfreq']:.0f} s, {seconds:g} wanted")
    raw.crop(0, seconds, include_tmax=False)
    # MNE would filter each side of a seam alone, which a stream does not know of
    raw.set_annotations(None)
    raw.save(path, fmt="double", verbose="error")
    return path


def run_live(
    recording: Path, classifier_of: Any, seconds: float, is_killed: bool, warm_up: int
) -> tuple[StreamClassifier, list[StreamPrediction], dict[str, Any]]:
    """Send and classify; the predictions, and what was counted."""
    said: list[str] = []

    def say(text: str) -> None:
        said.append(text)
        print(f"  {time.monotonic() - begin:7.1f} s  {text}", flush=True)

    begin = time.monotonic()
    sent = {"recording": recording, "unit": "mV", "name": f"benchmark-{os.getpid()}", "source_id": f"{os.getpid()}"}
    replay = start_replay(**sent)
    begin_at = [0.0]
    latencies, predictions, memory, firsts = [], [], {}, []
    with LslSource(sent["name"], timeout=60, say=say) as source:
        classifier = classifier_of(source.info, say)
        sizes, last_time = 0, None
        begin, restart_at, n_end = time.monotonic(), None, round(seconds * source.info.sfreq)
        while sizes < n_end and (replay.is_alive() or restart_at is not None):
            chunk = source.pull(0.05)
            now = time.monotonic() - begin
            if is_killed and restart_at is None and len(firsts) == 1 and now > seconds / 2:
                replay.kill()
                restart_at = now + 2
            if restart_at is not None and now > restart_at and not replay.is_alive():
                replay = start_replay(**sent)
            if chunk is None:
                continue
            if last_time is None or (restart_at is not None and chunk.times[0] - last_time > 1):
                firsts.append(chunk.times[0])
                if restart_at is not None:
                    begin_at.append(chunk.times[0] - firsts[0])
                    gap = round((chunk.times[0] - last_time) * source.info.sfreq) - 1
                    # the second half is as long as the first was
                    sizes, restart_at = n_end - round(seconds / 2 * source.info.sfreq), None
            sizes, last_time = sizes + len(chunk.times), chunk.times[-1]
            for prediction in classifier.push(chunk.values, chunk.times):
                latencies.append(stream_clock() - prediction.time)
                predictions.append(prediction)
            if now >= 60 and "after a minute" not in memory:
                memory["after a minute"] = psutil.Process().memory_info().rss / 2**20
        memory["at the end"] = psutil.Process().memory_info().rss / 2**20
    replay.kill()
    replay.join()
    values = 1e3 * np.array(latencies[warm_up:])
    facts = {
        "windows": len(predictions),
        "without_label": sum(one.label is None for one in predictions),
        "samples": classifier.n_samples,
        "samples_lost": classifier.n_lost,
        "latency_ms": {f"p{p}" if p < 100 else "max": float(np.percentile(values, p)) for p in PERCENTS},
        "above_target": float((values > TARGET_MS).mean()),
        "memory_mib": memory,
        "begins": begin_at,
        "said": said,
    }
    if is_killed:
        facts["gap_samples"] = gap
    return classifier, predictions, facts


def compare(
    classifier: StreamClassifier,
    predictions: list[StreamPrediction],
    begins: list[float],
    recording: Path,
    extractor: EEGFeatureExtractor,
    state: Any,
) -> dict[str, float]:
    """Labels and probabilities beside those of the recording, prepared as a whole, on the same windows."""
    raw = extractor.prepare_raw(read_recording(recording), unit="mV")
    values = raw.get_data(picks=classifier.ch_names) * 1e6
    same, largest, total = 0, 0.0, 0
    labelled = [one for one in predictions if one.label is not None]
    for k in range(0, len(labelled), 64):
        batch = labelled[k : k + 64]
        onsets = [one.onset - max(begin for begin in begins if begin <= one.onset + 1e-3) for one in batch]
        starts = np.round(np.array(onsets) * extractor.sfreq).astype(int)
        windows = np.stack([values[:, start : start + extractor.n_times] for start in starts]).astype(np.float32)
        windows = windows if state is None else state.transform(windows)
        with torch.inference_mode():
            logits = classifier.model(torch.from_numpy(np.ascontiguousarray(windows))).logits.double()
        expected = logits.softmax(1).numpy()
        found = np.stack([one.probabilities for one in batch])
        same += int((expected.argmax(1) == found.argmax(1)).sum())
        largest, total = max(largest, float(np.abs(expected - found).max())), total + len(batch)
    return {"compared": total, "same_labels": same, "largest_difference": largest}


def missing_windows(
    predictions: list[StreamPrediction], hop: float, seconds: float, delay: float, begins: list[float]
) -> int:
    """Windows between the first and the last that the signal allows, that were not predicted."""
    missing = 0
    for begin, end in zip(begins, [*begins[1:], np.inf], strict=True):
        onsets = np.array([one.onset for one in predictions if begin - 1e-3 <= one.onset < end - 1e-3]) - begin
        missing += int(np.round(onsets[0] / hop)) + int((np.round(np.diff(onsets) / hop) - 1).sum())
        if end == np.inf and len(begins) == 1:
            # the last window that filters with this delay can finish
            missing += int((seconds - delay - predictions[-1].duration - onsets[-1]) / hop)
    return missing


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_dir", default=os.environ.get("DLINK_DATA_DIR", ROOT.parent / "shared" / "data"))
    parser.add_argument("--subject", default="subject12")
    parser.add_argument("--model", default=str(ROOT / "model_cards" / "dlink-mic-small-ssvep_exo"))
    parser.add_argument("--backend", default="torch")
    parser.add_argument("--phase", choices=("linear", "minimum"), default="linear")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--hop", type=float, default=0.1)
    parser.add_argument("--kill", action="store_true")
    parser.add_argument("--output", type=Path)
    return parser.parse_args()


def main() -> None:
    args = parse_arguments()
    seconds = 60 * args.minutes
    files = find_recordings(Path(args.data_dir, "ssvep_exo", args.subject))
    model, extractor = load_model(args.model, args.backend)
    state = None if extractor.alignment is None else extractor.fit_alignment(files, unit="mV")
    load_before = os.getloadavg()

    def classifier_of(info: Any, say: Any) -> StreamClassifier:
        options = {"hop_seconds": args.hop, "alignment_state": state, "phase": args.phase, "say": say}
        return StreamClassifier(model, extractor, info.ch_names, info.sfreq, info.unit, **options)

    with tempfile.TemporaryDirectory() as folder:
        recording = make_recording(files, seconds, Path(folder, "session_raw.fif"))
        # the first answer of a process pays for what is set up then
        classifier, predictions, facts = run_live(recording, classifier_of, seconds, args.kill, warm_up=1)
        facts["missing_windows"] = missing_windows(predictions, args.hop, seconds, classifier.delay, facts["begins"])
        if args.phase == "linear":
            facts["offline"] = compare(classifier, predictions, facts["begins"], recording, extractor, state)
    facts |= {
        "model": Path(args.model).name,
        "backend": args.backend,
        "minutes": args.minutes,
        "hop_seconds": args.hop,
        "phase": args.phase,
        "filter_delay_seconds": classifier.delay,
        "load_average": {"before": load_before, "after": os.getloadavg()},
        "machine": {"cores": os.cpu_count(), "python": platform.python_version(), "torch": torch.__version__},
    }
    latency, memory = facts["latency_ms"], facts["memory_mib"]
    rows = {
        "windows": f"{facts['windows']} predicted, {facts['missing_windows']} missing",
        "samples": f"{facts['samples']} came, {facts['samples_lost']} lost",
        "latency": " / ".join(f"{value:.1f}" for value in latency.values()) + f" ms ({' / '.join(latency)})",
        "beyond the target": f"{facts['above_target']:.2%} of windows above {TARGET_MS:g} ms",
        "memory": ", ".join(f"{value:.1f} MiB {when}" for when, value in memory.items()),
        "load average": ", ".join(f"{load[0]:.1f} {when}" for when, load in facts["load_average"].items()),
    }
    if "offline" in facts:
        offline = facts["offline"]
        same = f"{offline['same_labels']} of {offline['compared']} labels are the same"
        rows["recording"] = f"{same}, probabilities within {offline['largest_difference']:.1e}"
    if args.kill:
        rows["killed"] = f"{facts['gap_samples']} samples between the last before and the first after"
    print("\n".join(f"{name:<18}{text}" for name, text in rows.items()))
    if args.output:
        args.output.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
