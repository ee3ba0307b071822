# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""`dlink stream`: classify live EEG: of LSL, of a board of BrainFlow, or of a recording sent as if it were live."""

from __future__ import annotations

import contextlib
import csv
import os
import sys
import time
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from ..core.atomic_files import write_json
from ..core.checks import int_at_least
from ..core.config_checks import TOKENS
from ..core.fetch import read_json
from ..core.model_facts import label_names, label_samples, task_of
from ..core.text import for_csv
from ..export.loading import load_exported
from ..inference.loading import pipeline
from ..preprocessing.recordings import read_recording
from ..streaming.classifier import StreamClassifier, StreamPrediction
from ..streaming.outlets import LslReplay, PredictionOutlet, start_replay
from ..streaming.screen import StreamScreen
from ..streaming.sources import BrainFlowSource, LslSource, import_pylsl, stream_clock
from .flags import arg, named, parse
from .predict import backend_of
from .reading import ReadingArguments, with_reading
from .terminal import quiet_transformers


DESCRIPTION = (
    "Classify live EEG: `dlink stream MODEL` reads the LSL stream of type EEG in this network; --brainflow BOARD an "
    "amplifier; --replay FILE a recording, sent over LSL in real time. Without a model, `dlink stream --replay FILE` "
    "only sends it, for any program. Ctrl-C ends it."
)

# latencies of the last minute are shown, those of all windows at the end
RECENT = 600
PULL_SECONDS = 0.05


@dataclass
class StreamArguments(ReadingArguments):
    """Where the samples come from, which model answers, and where its answers go."""

    model: str = arg("", "Folder, Hub id or short name of a model, or a folder of `dlink export`; the first word too.")
    name: str | None = arg(None, "Name of the LSL stream; with --replay, the name that it gets.")
    type: str = arg("EEG", "Type of the LSL stream; '' for any.")
    source_id: str | None = arg(None, "Source id of the LSL stream.")
    timeout: float = arg(10.0, "Seconds to look for the LSL stream.")
    brainflow: str | None = arg(None, "Board of BrainFlow, such as CYTON_BOARD or SYNTHETIC_BOARD.")
    serial_port: str | None = arg(None, "Serial port of that board.")
    mac_address: str | None = arg(None, "Bluetooth address of that board.")
    replay: str | None = arg(None, "Recording to send over LSL in real time.")
    speed: float = arg(1.0, "Factor from the recording's time to real time.")
    repeat: bool = arg(False, "Begin the recording again at its end.")
    ch_names: str | None = arg(None, "Names of the source's channels, comma separated, where it has none.")
    unit: str | None = arg(None, "Unit that the numbers really have, of stream or files: uV, mV or V.")
    hop: float | None = arg(
        None, "Seconds from one window to the next; 0.1, or one label of a model that labels patches."
    )
    smoothing: float | None = arg(
        None, "Time constant, in seconds, of the average over predictions; 1, of a model of patches 0, which is none."
    )
    reject: float = arg(0.0, "Least probability of a label; below, it is `reject`.")
    phase: str = arg("linear", "Filters as in training, which wait (`linear`), or hardly any wait (`minimum`).")
    allow_missing: bool = arg(False, "Go on where the stream lacks channels of the model.")
    session: list[str] | None = arg(
        None,
        "Recordings of the same subject, to fit the model's alignment on; else it is fitted as the stream goes on.",
    )
    alignment: str | None = arg(None, "The alignment itself: a file of --save_alignment.")
    save_alignment: str | None = arg(None, "Write the subject's alignment to this file (JSON).")
    csv: str | None = arg(None, "Write one row per window to this file, as they come; added to one that is there.")
    outlet: str | None = arg(None, "Send the probabilities as LSL stream dlink-NAME, type Classification.")
    duration: float | None = arg(None, "Seconds after which it ends.")
    backend: str | None = arg(
        None, "torch, onnx or executorch; that of a folder of `dlink export`, or torch, if left out."
    )
    precision: str | None = arg(None, "Of the export, where there are several: float32, float16 or int8.")
    n_threads: int = arg(1, "Threads of the model.")


class PredictionLog:
    """Write one row per window to a CSV file, each at once.

    Args:
        path: of the file; rows are added where it is one of the same columns.
        labels: the classes.

    Raises:
        ValueError: the file has other columns.
    """

    def __init__(self, path: str | os.PathLike, labels: Sequence[str]) -> None:
        path = Path(path)
        columns = ["time", "onset", "label", *(for_csv(f"p_{label}") for label in labels), "latency_ms", "reason"]
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = open(path, "a+", newline="", encoding="utf-8")  # noqa: SIM115 - open until `close`
        self._file.seek(0)
        found = next(csv.reader(self._file), None)
        if found not in (None, columns):
            self._file.close()
            raise ValueError(f"{path} has other columns, {', '.join(found)}: name a new file.")
        self._writer, self._n_labels = csv.writer(self._file), len(labels)
        if found is None:
            self._writer.writerow(columns)

    def write(self, prediction: StreamPrediction, latency: float) -> None:
        """Write one prediction; `latency` in seconds. Probabilities are those that the label was chosen by."""
        shares = [""] * self._n_labels
        if prediction.smoothed is not None:
            shares = [f"{share:.6f}" for share in prediction.smoothed]
        row = [f"{prediction.time:.6f}", f"{prediction.onset:.4f}", for_csv(prediction.label or ""), *shares]
        self._writer.writerow([*row, f"{1e3 * latency:.2f}", for_csv(prediction.reason or "")])
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def load_model(name: str, backend: str | None, precision: str | None = None, n_threads: int = 1) -> tuple[Any, Any]:
    """Return a model and its feature extractor, on the CPU.

    Args:
        name: folder, Hub id or short name, or a folder of `dlink export`.
        backend: one of [`dlink_hf.backends.BACKENDS`]; by default, that of a folder of `dlink export`, else torch.
        precision: of the export, where there are several.
        n_threads: of the model.

    Raises:
        ValueError: an argument is out of range, or as [`dlink_hf.pipeline`] does.
    """
    int_at_least("--n_threads", n_threads)
    backend = backend_of(name) if backend is None else backend
    if backend != "onnx":
        quiet_transformers()
        import_module("torch").set_num_threads(n_threads)
    if backend == "torch":
        pipe = pipeline(model=name, precision=precision, device="cpu")
    else:
        student = load_exported(name, backend, precision=precision, n_threads=n_threads)
        # an export for another montage has its own
        has_own = student.folder is not None and (student.folder / "preprocessor_config.json").is_file()
        pipe = pipeline(model=student, feature_extractor=student.folder if has_own else name)
    return pipe.model, pipe.feature_extractor


def settle_times(args: StreamArguments, model: Any) -> None:
    """Set hop and smoothing, where they were not given, to what fits the model: a label for each place once."""
    of_patches = task_of(model) == TOKENS
    if args.hop is None:
        args.hop = label_samples(model.config) / model.config.sfreq if of_patches else 0.1
    if args.smoothing is None:
        args.smoothing = 0.0 if of_patches else 1.0


def find_alignment(args: StreamArguments, extractor: Any) -> Any:
    """Return the subject's alignment as the arguments have it; None where it is fitted live, or there is none."""
    asked = [flag for flag in ("session", "alignment", "save_alignment") if getattr(args, flag)]
    if extractor.alignment is None:
        if asked:
            raise ValueError(f"--{asked[0]} is for a model with an alignment; this one has none.")
        return None
    if args.session and args.alignment:
        raise ValueError("--session and --alignment contradict each other: give one of them.")
    if args.alignment:
        try:
            return read_json(Path(args.alignment))
        except ValueError as error:
            raise ValueError(
                f"--alignment {args.alignment} is not a JSON file: {error}. Make one by --session."
            ) from error
    if args.session:
        return extractor.fit_alignment(list(args.session), unit=args.unit)
    return None


def open_source(args: StreamArguments, say: Callable[[str], None]) -> Any:
    """Return the source that the arguments name."""
    names = [name.strip() for name in args.ch_names.split(",")] if args.ch_names else None
    if args.brainflow:
        ports = {"serial_port": args.serial_port, "mac_address": args.mac_address}
        return BrainFlowSource(args.brainflow, say=say, ch_names=names, **ports)
    if args.replay:
        return LslSource(args.name, "EEG", _replay_id(), timeout=60.0, say=say)
    return LslSource(args.name, args.type or None, args.source_id, args.timeout, say, names, args.unit)


def run(argv: Sequence[str]) -> None:
    """Entry of `dlink stream`.

    Raises:
        ImportError: an extra that is needed is not installed.
        ValueError: an argument is wrong, or the stream can't be used; the message says why.
    """
    (args,) = parse("stream", DESCRIPTION, (StreamArguments,), named(argv, "--model"))
    if args.replay and args.brainflow:
        raise ValueError("--replay and --brainflow are two sources: give one of them.")
    if not args.model and not args.replay:
        raise ValueError("say which model is to answer: dlink stream MODEL; or send a recording: --replay FILE.")
    if args.duration is not None and args.duration <= 0:
        raise ValueError(f"--duration must be above 0, got {args.duration:g}.")
    if not args.brainflow or args.outlet:
        import_pylsl()
    if not args.model:
        _only_replay(args)
        return
    n_samples = None
    if args.replay and not args.repeat:
        # opened here too, as an error of the other process would come late
        n_samples = read_recording(args.replay, preload=False).n_times
    model, extractor = load_model(args.model, args.backend, args.precision, args.n_threads)
    extractor = with_reading(extractor, args)
    settle_times(args, model)
    state = find_alignment(args, extractor)
    screen = StreamScreen(label_names(model), sys.stdout)
    replay = None
    try:
        if args.replay:
            options = {"name": args.name or "dlink-replay", "source_id": _replay_id(), "speed": args.speed}
            unit = args.unit or extractor.unit
            replay = start_replay(recording=args.replay, unit=unit, repeat=args.repeat, **options)
        with open_source(args, screen.say) as source:
            info = source.info
            classifier = StreamClassifier(
                model,
                extractor,
                info.ch_names,
                info.sfreq,
                info.unit,
                hop_seconds=args.hop,
                smoothing_seconds=args.smoothing,
                reject_below=args.reject,
                alignment_state=state,
                phase=args.phase,
                allow_missing=args.allow_missing,
                say=screen.say,
            )
            seconds = extractor.n_times / extractor.sfreq
            screen.say(
                f"{info.name}: {len(classifier.ch_names)} of {len(info.ch_names)} channels, {info.sfreq:g} Hz, "
                f"{info.unit}; windows of {seconds:g} s every {args.hop:g} s, {classifier.delay:.3g} s behind by the "
                f"filters: the first prediction in {seconds + classifier.delay:.3g} s"
            )
            _classify(args, source, classifier, screen, replay, n_samples)
        if args.save_alignment:
            _save_alignment(args.save_alignment, classifier, state)
    finally:
        if replay is not None:
            replay.kill()
            replay.join()


def _replay_id() -> str:
    return f"dlink-replay-{os.getpid()}"


def _only_replay(args: StreamArguments) -> None:
    """Send a recording until its end, or Ctrl-C."""
    options = {"unit": args.unit, "speed": args.speed, "repeat": args.repeat}
    replay = LslReplay(args.replay, args.name, args.source_id, **options)
    seconds = len(replay.samples) / replay.sfreq
    print(
        f"sending {Path(args.replay).name}: {len(replay.ch_names)} channels, {replay.sfreq:g} Hz, {seconds:g} s, "
        f"microvolts, as LSL stream {args.name or 'dlink-replay'!r} of type EEG; Ctrl-C ends it",
        flush=True,
    )
    with contextlib.suppress(KeyboardInterrupt):
        print(f"{replay.run()} samples were sent")


def _classify(
    args: StreamArguments,
    source: Any,
    classifier: StreamClassifier,
    screen: StreamScreen,
    replay: Any = None,
    n_samples: int | None = None,
) -> None:
    """Predict until the time is up, the recording of `n_samples` over, or Ctrl-C; show, write, send; sum up."""
    latencies, counts, n_came = array("d"), dict.fromkeys((*classifier.labels, "reject", "without a label"), 0), 0
    end = time.monotonic() + (args.duration or np.inf)
    with contextlib.ExitStack() as stack:
        log = stack.enter_context(contextlib.closing(PredictionLog(args.csv, classifier.labels))) if args.csv else None
        outlet = _outlet(args, classifier) if args.outlet else None
        stack.callback(screen.close)
        stack.enter_context(contextlib.suppress(KeyboardInterrupt))
        while time.monotonic() < end and (n_samples is None or n_came < n_samples):
            chunk = source.pull(PULL_SECONDS)
            if chunk is None:
                if replay is not None and not replay.is_alive():
                    break
                continue
            pulled = stream_clock()
            n_came += len(chunk.times)
            for prediction in classifier.push(chunk.values, chunk.times):
                if outlet is not None:
                    outlet.send(prediction.time, prediction.smoothed)
                # stamps of a recording that runs faster or slower are no time of day
                latency = stream_clock() - (prediction.time if args.speed == 1 else pulled)
                latencies.append(latency)
                counts["without a label" if prediction.label is None else prediction.label] += 1
                if log is not None:
                    log.write(prediction, latency)
                recent = _milliseconds(latencies[-RECENT:], (50, 99))
                state = f"latency {recent} ms (p50/p99), {classifier.n_lost} samples lost"
                screen.show(prediction.onset, prediction.label, prediction.smoothed, prediction.reason, state)
    found = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
    print(f"{len(latencies)} windows: {found or 'none, the stream was too short'}")
    print(f"{n_came} samples came, {classifier.n_lost} were lost")
    if latencies:
        print(f"from the newest sample to the prediction: {_milliseconds(latencies, (50, 95, 99))} ms (p50/p95/p99)")
    with contextlib.suppress(ImportError):
        process = import_module("psutil").Process()
        print(f"resident memory: {process.memory_info().rss / 2**20:.0f} MiB", flush=True)


def _milliseconds(latencies: Sequence[float], percents: tuple[int, ...]) -> str:
    return "/".join(f"{1e3 * value:.1f}" for value in np.percentile(np.asarray(latencies), percents))


def _outlet(args: StreamArguments, classifier: StreamClassifier) -> PredictionOutlet:
    facts = {
        "model": args.model,
        "hop_seconds": args.hop,
        "smoothing_seconds": args.smoothing,
        "reject_below": args.reject,
        "window_seconds": classifier.extractor.n_times / classifier.extractor.sfreq,
        "filter_delay_seconds": classifier.delay,
    }
    return PredictionOutlet(args.outlet, classifier.labels, facts)


def _save_alignment(path: str, classifier: StreamClassifier, given: Any) -> None:
    """Write the subject's alignment, where there is one."""
    seconds = classifier.alignment.n_windows * classifier.extractor.n_times / classifier.extractor.sfreq
    if given is None and seconds < classifier.extractor.alignment_min_seconds:
        print(f"no alignment is written: it has seen {seconds:g} s of the stream")
        return
    print(f"alignment written to {write_json(Path(path), classifier.alignment.to_dict())}")


__all__ = ["PredictionLog", "StreamArguments", "find_alignment", "load_model", "open_source", "run", "settle_times"]
