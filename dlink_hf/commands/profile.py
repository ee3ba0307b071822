# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""`dlink profile`: what models cost on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..core.atomic_files import staged, write_json
from ..profiling.report import add_scores, format_profile, plot_profile, read_scores
from ..profiling.run import profile_models, short_names
from ..profiling.runtimes import BACKENDS
from .flags import arg, parse


DESCRIPTION = (
    "What models cost on this machine for one window: `dlink profile MODEL MODEL ...`. A MODEL is a checkpoint "
    "(folder, Hub id, short name), a size of student (tiny, small, base), a foundation model (`dlink teachers` lists "
    "them) or a network of braindecode (EEGNet); the last three get random weights. All are timed in one run and take "
    "turns, so that their ratios hold on a busy machine too."
)


@dataclass
class ProfileArguments:
    """Which models, on what, for which window."""

    models: list[str] = arg([], "The models; also the first words after `profile`. The first is the reference.")
    backends: list[str] = arg(
        [],
        f"Some of {', '.join(BACKENDS)}; eager (PyTorch as it is) and, where ONNX Runtime is installed, onnx if left "
        "out. folded is for students, as for_inference() makes them. int8 is calibrated on noise: for its time, not "
        "for its answers.",
    )
    n_chans: int | None = arg(None, "Channels; those of the first checkpoint, or else 20, if left out.")
    seconds: float | None = arg(None, "Length of the window in seconds; the first checkpoint's, or else 5.")
    sfreq: float | None = arg(
        None,
        "Its rate in Hz; the first checkpoint's, or else 200. A model that is bound to another rate reads the same "
        "seconds at that.",
    )
    n_threads: int = arg(1, "Threads of each backend.")
    n_runs: int = arg(100, "Timed runs of each model on each backend.")
    batch_sizes: list[int] = arg([1, 8, 64], "Windows at a time, for the throughput.")
    reference: str | None = arg(None, "The model that the others are compared with, on the same backend.")
    memory: bool = arg(True, "Measure memory, each model and backend in a fresh process (seconds each).")
    scores: str | None = arg(
        None,
        "JSON of model -> balanced accuracy, for the table and the plot; or .jsonl, lines of results. Checkpoints "
        "whose cards tell a score need none.",
    )
    output: str | None = arg(None, "Folder for profile.md, profile.json and profile.png.")


def run(argv: Sequence[str]) -> None:
    """Entry of `dlink profile`.

    Raises:
        OSError: the file of scores is not there, or the folder can't be made.
        ImportError: the plot was asked for, and matplotlib is not installed.
        ValueError: an argument is out of range, or nothing could be measured.
    """
    words = list(argv)
    n_models = next((i for i, word in enumerate(words) if word.startswith("-")), len(words))
    if n_models and not words[0].endswith((".yaml", ".yml", ".json")):
        words = ["--models", *words]
    (args,) = parse("profile", DESCRIPTION, (ProfileArguments,), words)
    if not args.models:
        raise ValueError(
            "say which models: dlink profile MODEL [MODEL ...], such as dlink profile CBraMod small EEGNet."
        )
    # what can be wrong with these is reported before the minutes of measuring
    scores = None
    if args.scores is not None:
        scores = read_scores(args.scores, short_names(list(dict.fromkeys(args.models))).values())
    if args.output is not None:
        try:
            import matplotlib  # noqa: F401
        except ImportError as error:
            raise ImportError("--output: the plot needs matplotlib: pip install 'dlink-hf[demo]'.") from error
        Path(args.output).mkdir(parents=True, exist_ok=True)
    profile = profile_models(
        args.models,
        args.backends or None,
        n_chans=args.n_chans,
        seconds=args.seconds,
        sfreq=args.sfreq,
        n_threads=args.n_threads,
        n_runs=args.n_runs,
        batch_sizes=args.batch_sizes,
        reference=args.reference,
        memory=args.memory,
    )
    add_scores(profile, scores)
    text = format_profile(profile)
    print(text, end="")
    if args.output is None:
        return
    folder = Path(args.output)
    write_json(folder / "profile.json", profile)
    with staged(folder) as partial:
        (partial / "profile.md").write_text(text, encoding="utf-8")
    plot_profile(profile, folder / "profile.png")
    print(f"\nwritten: {', '.join(str(folder / f'profile.{kind}') for kind in ('md', 'json', 'png'))}")


__all__ = ["ProfileArguments", "run"]
