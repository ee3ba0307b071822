# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""The table of `dlink teachers` at its published sizes, every checkpoint loaded from a Hub on loopback.

Each model is built with random weights and saved by its own class, served over HTTP by `tests/fake_hub`, and loaded by
`DLinkTeacherModel.from_pretrained` and by that class's `from_pretrained`, with the real client and an empty cache.
"Bit-identical" is every tensor of the backbone and, for braindecode's models, every hidden state, the latter from
forward hooks on the model itself; a network of another package may sum in another order, by up to 1e-5. At the
published sizes each model has a process of its own, so that memory is given back.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm


ROOT = Path(__file__).resolve().parent.parent


def loads_from_the_hub(folder: Path, plain: Any, config: Any, input_values: Any) -> bool:
    """Whether both libraries read the same bits of one checkpoint over HTTP.

    Args:
        folder: of the Hub.
        plain: the unwrapped model; it is saved there for as long as this runs.
        config: of the teacher that is to hold it.
        input_values: (B, C, T), microvolts, to compare the hidden states on.
    """
    import torch

    from dlink_hf import DLinkTeacherModel
    from dlink_hf.models.teacher.backbone import BRAINDECODE
    from dlink_hf.models.teacher.backbones import BACKBONES
    from dlink_hf.profiling.known_teachers import plain_hidden_states

    name = f"braindecode/{config.backbone.lower()}"
    # slots saved without the channels' names could belong to any channels
    slots = {key: value for key, value in config.backbone_kwargs.items() if key == "chan_pos_idx"}
    try:
        plain.save_pretrained(folder / name)
        ours = DLinkTeacherModel.from_pretrained(name, ch_names=config.ch_names, backbone_kwargs=slots)
        theirs = plain.from_pretrained(name)
    finally:
        shutil.rmtree(folder / name, ignore_errors=True)
    weights = theirs.state_dict()
    if not all(torch.equal(weights[key], tensor) for key, tensor in ours.backbone.state_dict().items()):
        return False
    with torch.no_grad():
        states = ours(input_values, output_hidden_states=True).hidden_states
    hooked = plain_hidden_states(ours.config, theirs, input_values, config.token_chans, config.n_patches)
    bits = BACKBONES[config.backbone].package == BRAINDECODE
    close = torch.equal if bits else functools.partial(torch.allclose, rtol=1e-5, atol=1e-5)
    return len(states) == len(hooked) and all(close(a, b) for a, b in zip(states, hooked, strict=True))


def measure(model: str, small: bool, folder: Path) -> dict[str, Any]:
    """One row of the table; in a process that finds the Hub in `HF_ENDPOINT`."""
    warnings.simplefilter("ignore")
    from dlink_hf.profiling.known_teachers import describe_teacher

    return describe_teacher(model, full=not small, check_loading=lambda *parts: loads_from_the_hub(folder, *parts))


def measure_in_fresh_process(
    models: Sequence[str], small: bool, folder: Path, environment: dict[str, str]
) -> list[dict[str, Any]]:
    """[`measure`] of some models in one process of their own.

    Raises:
        RuntimeError: that process failed; the message ends with what it said.
    """
    command = [sys.executable, str(Path(__file__).resolve()), "--hub_folder", str(folder), "--models", *models]
    done = subprocess.run(command + ["--small"] * small, env=environment, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"Measuring {', '.join(models)} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def describe_run(small: bool) -> str:
    """What the table is of, and what it was made with."""
    from importlib.metadata import distributions, version

    installed = {one.metadata["Name"].lower() for one in distributions()}
    named = ("torch", "braindecode", "chronos-forecasting", "mantis-tsfm", "transformers")
    packages = ", ".join(f"{name} {version(name)}" for name in named if name in installed)
    hub = version("huggingface_hub")
    return (
        "# Teachers\n\n"
        f"Made by `python benchmarks/teacher_table.py{' --small' if small else ''}` on a CPU "
        f"(Python {platform.python_version()}, {packages}, huggingface_hub {hub}). "
        f"{'Small variants' if small else 'Published sizes'}, random weights, one window. The last column: a "
        "checkpoint that the model's own class saved, loaded over HTTP from a Hub on loopback by "
        "`DLinkTeacherModel.from_pretrained`, has the tensors and the hidden states of that class's own "
        "`from_pretrained`, to the last bit (hidden states of networks that are not braindecode's: to 1e-5)."
    )


def read_arguments(argv: Sequence[str]) -> argparse.Namespace:
    """Read the flags."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="*", help="which of them; all if left out")
    parser.add_argument("--small", action="store_true", help="small variants: seconds a model rather than minutes")
    parser.add_argument("--output", type=Path, help="Markdown file to write")
    parser.add_argument("--hub_folder", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def main(argv: Sequence[str]) -> None:
    """Serve, measure, print, write."""
    args = read_arguments(argv)
    if args.hub_folder is not None:
        print(json.dumps([measure(model, args.small, args.hub_folder) for model in args.models]))
        return
    sys.path.insert(0, str(ROOT / "tests"))
    from fake_hub.server import HubServer

    from dlink_hf.commands.teachers import format_teachers
    from dlink_hf.core.atomic_files import staged
    from dlink_hf.core.electrodes import ELECTRODE_POSITIONS
    from dlink_hf.models.teacher.backbones import BACKBONES

    unknown = sorted(set(args.models or []) - set(BACKBONES))
    if unknown:
        raise SystemExit(f"--models: there is no {', '.join(unknown)}; the teachers are {', '.join(BACKBONES)}.")
    rows = []
    with tempfile.TemporaryDirectory() as scratch, HubServer(Path(scratch, "hub")) as hub:
        folder, positions = Path(scratch, "hub"), Path(scratch, "positions")
        positions.mkdir()
        # REVE downloads a bank of positions; this is one of the same form
        (positions / "reve_positions.json").write_text(json.dumps(ELECTRODE_POSITIONS))
        reve = os.environ.get("REVE_POSITIONS_PATH", str(positions))
        models = args.models or list(BACKBONES)
        with tqdm([models] if args.small else [[model] for model in models], unit="process") as bar:
            for group in bar:
                bar.set_description(", ".join(group))
                with tempfile.TemporaryDirectory(dir=scratch) as home:
                    environment = hub.environment(home, REVE_POSITIONS_PATH=reve)
                    rows += measure_in_fresh_process(group, args.small, folder, environment)
    text = f"{describe_run(args.small)}\n\n{format_teachers(rows)}\n"
    print(text)
    if args.output is not None:
        with staged(args.output.parent) as partial:
            (partial / args.output.name).write_text(text, "utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
