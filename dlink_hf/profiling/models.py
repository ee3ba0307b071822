# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Models to be profiled, by name and for one window: checkpoints, sizes of students, foundation models, networks."""

from __future__ import annotations

import contextlib
import difflib
import inspect
import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedConfig

from ..core.checkpoint_names import found_checkpoint
from ..core.electrodes import ELECTRODE_POSITIONS, channel_positions
from ..core.fetch import fetch
from ..evaluation.predict import load_classifier
from ..export.graph import Logits
from ..models.mic.configuration_mic import DEFAULT_CH_NAMES, MiCConfig
from ..models.mic.modeling_mic import MiCForEEGClassification, MiCWithHead
from ..models.teacher.backbones import BACKBONES
from ..models.teacher.building import braindecode_models, channel_infos
from ..models.teacher.modeling_teacher import DLinkTeacherForEEGClassification, DLinkTeacherWithHead
from .known_teachers import example_config


SIZES = ("tiny", "small", "base")
NUM_LABELS = 2


@dataclass(frozen=True)
class Window:
    """What every model reads: a window of EEG.

    Args:
        n_chans: number C of channels.
        seconds: its length.
        sfreq: samples a second; a model that is bound to a rate of its own reads the same seconds at that rate.
    """

    n_chans: int = 20
    seconds: float = 5.0
    sfreq: float = 200.0


@dataclass
class ProfiledModel:
    """A model, and the window that it reads.

    Args:
        name: as it was asked for.
        kind: `"student"`, `"teacher"` or `"network"`.
        module: (B, C, T) as `input_values` -> logits (B, labels), in evaluation mode, on the CPU, in float32.
        source: the student, teacher or network itself.
        n_chans, n_times, sfreq: channels, samples and rate (Hz) of its window.
        trained: whether the weights come from a checkpoint.
    """

    name: str
    kind: str
    module: nn.Module
    source: nn.Module
    n_chans: int
    n_times: int
    sfreq: float
    trained: bool


def kind_of(name: str) -> tuple[str, str]:
    """Return what a name means, and how that is spelled where it is defined.

    A folder comes first, then sizes, the foundation models of `dlink teachers`, braindecode's networks (capitals do
    not matter), and else it is a checkpoint.

    Args:
        name: as given.

    Returns:
        `"checkpoint"`, `"size"`, `"backbone"` or `"network"`; and the name.
    """
    if "/" in name or os.sep in name or os.path.isdir(name):
        return "checkpoint", name
    lists = {"size": list(SIZES), "backbone": list(BACKBONES), "network": _networks()}
    for kind, names in lists.items():
        for known in names:
            if known.lower() == name.lower():
                return kind, known
    return "checkpoint", name


def _networks() -> list[str]:
    """Networks of braindecode, none where it is not installed."""
    try:
        models = braindecode_models()
    except ImportError:
        return []
    from braindecode.models.base import EEGModuleMixin

    found = {
        name: value for name, value in vars(models).items() if inspect.isclass(value) and not name.startswith("_")
    }
    return [name for name, cls in found.items() if issubclass(cls, EEGModuleMixin) and cls is not EEGModuleMixin]


def import_parts(name: str, backend: str) -> None:
    """Import what building a model needs, so that it does not count as the model's own memory.

    Args:
        name: of the model.
        backend: that it will run on.
    """
    if kind_of(name)[0] != "size":
        with contextlib.suppress(ImportError):
            braindecode_models()
    if backend == "compiled":
        import torch._inductor.compile_fx  # noqa: F401
    if backend == "executorch":
        from ..export.executorch_student import import_runtime

        import_runtime()


def default_window(names: Sequence[str], n_chans: int | None, seconds: float | None, sfreq: float | None) -> Window:
    """Return the window to profile for: what is given, and for the rest that of the first checkpoint among the names.

    Args:
        names: models as given; without a checkpoint among them 20 channels x 5 s x 200 Hz.
        n_chans, seconds, sfreq: None where not given.

    Raises:
        ValueError: a number is out of range.
    """
    found = Window()
    for name in names:
        if kind_of(name)[0] == "checkpoint" and None in (n_chans, seconds, sfreq):
            try:
                with found_checkpoint(name) as resolved:
                    fields, _ = PreTrainedConfig.get_config_dict(resolved)
                rate = float(fields["sfreq"])
                found = Window(len(fields["ch_names"]), fields["n_times"] / rate, rate)
                break
            except (OSError, KeyError, TypeError, ValueError):
                # what is wrong with it is reported when it is built
                continue
    window = Window(
        found.n_chans if n_chans is None else n_chans,
        found.seconds if seconds is None else float(seconds),
        found.sfreq if sfreq is None else float(sfreq),
    )
    if not 1 <= window.n_chans <= len(ELECTRODE_POSITIONS):
        raise ValueError(f"n_chans must be from 1 to {len(ELECTRODE_POSITIONS)}, got {window.n_chans}.")
    if not 0 < window.seconds < 3600 or not 1 <= window.sfreq <= 1e5:
        raise ValueError(
            f"A window is up to an hour long, at 1 Hz to 100 kHz; got {window.seconds:g} s at {window.sfreq:g} Hz."
        )
    return window


def channel_names(n_chans: int) -> list[str]:
    """Names of the 10-05 system: the 19 electrodes of the 10-20 system first. Which they are costs nothing."""
    return list(dict.fromkeys([*DEFAULT_CH_NAMES, *ELECTRODE_POSITIONS]))[:n_chans]


def build_model(name: str, window: Window) -> ProfiledModel:
    """Build a model for a window; weights that no checkpoint holds are random, and the same every time.

    Args:
        name: folder, Hub id or short name of a student or teacher; a size of student; a foundation model; a network
            of braindecode.
        window: what it is to read.

    Raises:
        ImportError: braindecode is not installed, and is needed.
        OSError: there is no such checkpoint.
        ValueError: the model can't read such a window.
    """
    kind, known = kind_of(name)
    make = {"checkpoint": _checkpoint, "size": _student, "backbone": _teacher, "network": _network}[kind]
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        source, n_chans, n_times, sfreq = make(known, window)
    source = source.float().cpu().eval()
    kind_name = "student" if isinstance(source, MiCWithHead) else "network"
    kind_name = "teacher" if isinstance(source, DLinkTeacherWithHead) else kind_name
    return ProfiledModel(
        name,
        kind_name,
        Logits(source).eval(),
        source,
        n_chans,
        n_times,
        sfreq,
        kind == "checkpoint",
    )


def _samples(name: str, window: Window, sfreq: float) -> int:
    n_times = window.seconds * sfreq
    if abs(n_times - round(n_times)) > 1e-6 or round(n_times) < 1:
        raise ValueError(f"{name} reads {sfreq:g} Hz, where {window.seconds:g} s are not a whole number of samples.")
    return round(n_times)


def _student(size: str, window: Window) -> tuple[nn.Module, int, int, float]:
    n_times = _samples(size, window, window.sfreq)
    # patches as near to a second as divides the window; filters keep their length in seconds, as far as they can
    divisors = [n for n in range(1, n_times + 1) if n_times % n == 0]
    patch = min(divisors, key=lambda n: abs(n - window.sfreq))
    if not 0.5 <= patch / window.sfreq <= 2:
        raise ValueError(
            f"a student reads patches of about 1 s that divide the window, and {n_times} samples at "
            f"{window.sfreq:g} Hz have no such divisor. Give whole seconds."
        )
    filter_size = min(max(round(window.sfreq / 2), 1), patch)
    fields = {
        "ch_names": channel_names(window.n_chans),
        "sfreq": window.sfreq,
        "n_times": n_times,
        "patch_size": patch,
        "filter_size": filter_size,
        "filter_stride": max(filter_size // 2, 1),
        "num_slow_features": min((n for n in range(1, patch + 1) if patch % n == 0), key=lambda n: abs(n - 20)),
        "max_freq": min(45.0, 0.45 * window.sfreq),
    }
    config = MiCConfig.from_size(size, num_labels=NUM_LABELS, **fields)
    return MiCForEEGClassification(config), window.n_chans, n_times, window.sfreq


def _teacher(backbone: str, window: Window) -> tuple[nn.Module, int, int, float]:
    sfreq = BACKBONES[backbone].sfreq or window.sfreq
    config = example_config(
        backbone,
        full=True,
        ch_names=channel_names(window.n_chans),
        sfreq=sfreq,
        n_times=_samples(backbone, window, sfreq),
        num_labels=NUM_LABELS,
    )
    return DLinkTeacherForEEGClassification(config), window.n_chans, config.n_times, sfreq


def _network(name: str, window: Window) -> tuple[nn.Module, int, int, float]:
    n_times = _samples(name, window, window.sfreq)
    network = getattr(braindecode_models(), name)(
        n_outputs=NUM_LABELS,
        n_chans=window.n_chans,
        n_times=n_times,
        sfreq=window.sfreq,
        # some place their channels on the head
        chs_info=channel_infos(channel_names(window.n_chans), None, True),
    )
    return network, window.n_chans, n_times, window.sfreq


def _checkpoint(name: str, window: Window) -> tuple[nn.Module, int, int, float]:
    try:
        model = load_classifier(name, allow_backbone=True)
    except OSError as error:
        known = [*SIZES, *BACKBONES, *_networks()]
        near = difflib.get_close_matches(name.lower(), [one.lower() for one in known], 3)
        if "/" in name or not near:
            raise
        near = [one for one in known if one.lower() in near]
        raise OSError(
            f"there is no checkpoint {name!r}, nor a model of that name; near are {', '.join(near)}."
        ) from error
    config = model.config
    n_times = _samples(name, window, config.sfreq)
    if isinstance(model, MiCWithHead):
        if n_times % config.patch_size:
            raise ValueError(
                f"{name} reads whole patches of {config.patch_size} samples at {config.sfreq:g} Hz; "
                f"{window.seconds:g} s are {n_times} samples. Give --seconds that are a multiple of "
                f"{config.patch_size / config.sfreq:g}."
            )
        if window.n_chans != len(config.ch_names):
            config.ch_names = channel_names(window.n_chans)
            config.channel_positions = channel_positions(config.ch_names)
        config.n_times = n_times
    elif (len(config.ch_names), config.n_times) != (window.n_chans, n_times):
        raise ValueError(
            f"{name} is a teacher of exactly {len(config.ch_names)} channels and {config.n_times} samples at "
            f"{config.sfreq:g} Hz, asked for are {window.n_chans} and {n_times}. Give --n_chans "
            f"{len(config.ch_names)} --seconds {config.n_times / config.sfreq:g}."
        )
    return model, window.n_chans, n_times, float(config.sfreq)


def card_score(name: str) -> tuple[float, str] | None:
    """Return the balanced accuracy on the test subjects that the model card of a checkpoint tells, and the data.

    Args:
        name: as given; None is the answer where it is not a checkpoint, or has no such card.
    """
    if kind_of(name)[0] != "checkpoint":
        return None
    from huggingface_hub import ModelCard

    try:
        with found_checkpoint(name) as resolved:
            path = fetch(resolved, "README.md", {})
        results = [] if path is None else ModelCard.load(Path(path)).data.eval_results or []
    except (OSError, ValueError):
        return None
    for result in results:
        value: Any = result.metric_value
        if result.metric_type == "balanced_accuracy" and result.dataset_split == "test" and isinstance(value, float):
            return value, str(result.dataset_name)
    return None


__all__ = [
    "SIZES",
    "ProfiledModel",
    "Window",
    "build_model",
    "card_score",
    "channel_names",
    "default_window",
    "import_parts",
    "kind_of",
]
