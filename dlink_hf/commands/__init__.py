# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""The `dlink` command: one small file a sub-command."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module

from ..core.requires import naming_the_extra


# sub-command -> (module, what it does); imported when asked for, so that `dlink --help` answers at once
COMMANDS = {
    "demo": ("demo", "distil a student from synthetic EEG in a few minutes, start to finish"),
    "distill": ("distill", "teach a student by a fine-tuned EEG foundation model, on recordings of yours"),
    "pretrain-teacher": ("pretrain_teacher", "pre-train an EEG foundation model on unlabelled recordings"),
    "distill-backbone": ("distill_backbone", "distil a general student from recordings of many montages and tasks"),
    "prepare": ("prepare", "cut a corpus of any size into shards of windows, to be streamed"),
    "finetune-teacher": ("finetune_teacher", "fine-tune an EEG foundation model for a task"),
    "finetune": ("finetune", "train a student, fresh or published, without a teacher"),
    "evaluate": ("evaluate", "score a trained model on labelled recordings"),
    "report": ("report", "show a run as one HTML file: verdict, scores, subjects, curves, pictures, card"),
    "predict": ("predict", "classify a recording window by window: CSV or MNE annotations"),
    "explain": ("explain", "which electrodes, seconds and bands the label of a window rests on, as a picture"),
    "embed": ("embed", "describe every window of a folder of recordings by one vector, as a Parquet table"),
    "export": ("export", "write a student as ONNX or for ExecuTorch, compared with PyTorch, for a device"),
    "profile": ("profile", "what models cost on this machine: time, memory, size, on several backends"),
    "stream": ("stream", "classify live EEG: of LSL, of an amplifier, or a recording sent as if it were live"),
    "push": ("push", "publish a checkpoint on the Hub, with its card"),
    "pull": ("pull", "bring a checkpoint from the Hub into a folder"),
    "models": ("models", "the checkpoints there are, in the package and on the Hub"),
    "info": ("info", "what a checkpoint is: montage, rate, labels, size, cost"),
    "teachers": ("teachers", "every foundation model that can be a teacher: what it takes, what it costs"),
    "env": ("env", "what runs here: versions, backends that load, extras; to be pasted into an issue"),
}
# these may run an exported student, which takes neither torch nor transformers; they quieten transformers themselves
LIGHT = ("predict", "stream")


def usage() -> str:
    """Return the text of `dlink --help`."""
    width = max(map(len, COMMANDS))
    rows = "\n".join(f"  {name:<{width}}  {text}" for name, (_, text) in COMMANDS.items())
    return (
        "usage: dlink COMMAND [--flags | FILE.yaml | FILE.json]\n\n"
        "Distil EEG foundation models into students small enough for a headset.\n\n"
        f"commands:\n{rows}\n\n"
        "`dlink COMMAND --help` lists a command's flags. Start with `dlink demo`; then, on recordings of your own:\n"
        "  dlink distill --dataset my_recordings/ --labels labels.csv --output_dir outputs/mine"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the `dlink` command.

    Args:
        argv: the words after `dlink`; those of the process by default.

    Returns:
        the exit status: 0 done, 1 the input was refused (the reason is printed), 2 the words were not understood.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in ("-h", "--help", "help"):
        print(usage())
        return 0 if words else 2
    if words[0] in ("-V", "--version"):
        from .._version import __version__

        print(f"dlink_hf {__version__}")
        return 0
    if words[0] not in COMMANDS:
        print(f"dlink: there is no command {words[0]!r}\n\n{usage()}", file=sys.stderr)
        return 2
    module, _ = COMMANDS[words[0]]
    # threads that spin while they wait cost several times their work on a machine where anything else runs
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from .terminal import escaped_output

    with escaped_output():
        return _run(words, module)


def _run(words: list[str], module: str) -> int:
    """Run the command `words[0]`; returns the exit status."""
    try:
        if words[0] not in LIGHT:
            from .terminal import quiet_transformers

            quiet_transformers()
        with naming_the_extra(f"`dlink {words[0]}`"):
            import_module(f"{__name__}.{module}").run(words[1:])
    except (ValueError, OSError, ImportError) as error:
        # errors of these kinds are about what was given; the traceback would hide the sentence that helps
        print(f"dlink {words[0]}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"dlink {words[0]}: interrupted", file=sys.stderr)
        return 130
    return 0


__all__ = ["COMMANDS", "main", "usage"]
