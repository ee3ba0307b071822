# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Making the network that a teacher's config names, its channels checked by name first."""

from __future__ import annotations

import contextlib
import difflib
import inspect
import warnings
from collections.abc import Iterable, Sequence
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import initialization

from ...core.electrodes import canonical_name, channel_positions
from .backbones import BACKBONES, PLACED_CHANNELS, Backbone
from .configuration_teacher import DLinkTeacherConfig


# a module keeps the buffers that no checkpoint holds under this name
CONSTANTS = "dlink_constants"


def braindecode_models() -> ModuleType:
    """Return the module `braindecode.models`.

    Raises:
        ImportError: braindecode, or the torchaudio that it needs, is missing or does not load.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            import braindecode.models
    except OSError as error:
        raise ImportError(
            "braindecode needs torchaudio, which is installed but does not load: it was built for another PyTorch "
            "(often one is a CUDA build and the other a CPU build). Install torch and torchaudio from the same index."
        ) from error
    except ImportError as error:
        raise ImportError(
            "Teachers wrap models of braindecode, which could not be imported. Install it with `pip install "
            f'"dlink-hf[teachers]"`. The reason: {error}'
        ) from error
    return braindecode.models


def match_names(backbone: str, ch_names: Sequence[str], known: Iterable[str], source: str) -> list[str]:
    """Spell channels as a closed list of names does.

    Args:
        backbone: for the message.
        ch_names: any spelling that `canonical_name` understands, or the list's own in upper or lower case.
        known: the list.
        source: what the list is, for the message.

    Raises:
        ValueError: naming every channel that is not in the list, with the closest that are, or two channels that
            would get the same entry.
    """
    spelled = {name.upper(): name for name in known}
    # the older names of four electrodes are in some lists, the newer ones in others
    for old, new in (("T3", "T7"), ("T4", "T8"), ("T5", "P7"), ("T6", "P8")):
        if old in spelled:
            spelled.setdefault(new, spelled[old])
    found = [spelled.get(name.upper()) or spelled.get((canonical_name(name) or name).upper()) for name in ch_names]
    unknown = [name for name, entry in zip(ch_names, found, strict=True) if entry is None]
    if unknown:
        close = {name: difflib.get_close_matches(name.upper(), spelled, n=2) for name in unknown}
        described = ", ".join(
            f"{name} (close: {', '.join(spelled[entry] for entry in near)})" if near else name
            for name, near in close.items()
        )
        raise ValueError(
            f"`ch_names`: {backbone} has no embedding for {described}. It knows the {len(set(spelled.values()))} "
            f"names of {source}; leave the others out of `ch_names`."
        )
    twice = [name for name, entry in zip(ch_names, found, strict=True) if found.count(entry) > 1]
    if twice:
        raise ValueError(f"`ch_names`: {', '.join(twice)} are the same channel of {source} for {backbone}.")
    return found


def known_names(config: DLinkTeacherConfig) -> list[str] | None:
    """Return the channels as the backbone's own list of names spells them; None where it has no such list.

    Raises:
        ValueError: a channel is not in the list.
        OSError: the list is a file that is neither here nor can be downloaded; the message says how to bring it.
    """
    name, kwargs = config.backbone, config.backbone_kwargs
    if name == "Labram":
        from braindecode.models.labram import LABRAM_CHANNEL_ORDER

        return match_names(name, config.ch_names, LABRAM_CHANNEL_ORDER, "LABRAM_CHANNEL_ORDER")
    if name == "EEGPT" and kwargs.get("chan_proj_type") == "none":
        from braindecode.models.eegpt import EEGPT_CHANNELS

        return match_names(name, config.ch_names, EEGPT_CHANNELS, "EEGPT_CHANNELS")
    if name == "SignalJEPA" and kwargs.get("channel_embedding") == "pretrain_aligned":
        from braindecode.models.signal_jepa import _PRETRAIN_CHS_INFO

        known = [channel["ch_name"] for channel in _PRETRAIN_CHS_INFO]
        return match_names(name, config.ch_names, known, "Signal-JEPA's pre-training electrodes")
    if name == "REVE":
        return match_names(name, config.ch_names, _reve_names(), "REVE's bank of positions")
    return None


def _reve_names() -> list[str]:
    from braindecode.models.reve import RevePositionBank

    try:
        return list(RevePositionBank().get_all_positions())
    except (OSError, RuntimeError) as error:
        raise OSError(
            "REVE looks its channels up in a bank of positions, a file that is neither here nor can be downloaded. On "
            "a machine with a network fetch https://huggingface.co/brain-bzh/reve-positions/resolve/main/"
            "positions.json, save it as FOLDER/reve_positions.json here, and set the environment variable "
            f"REVE_POSITIONS_PATH=FOLDER. The reason: {error}"
        ) from error


def _slots(config: DLinkTeacherConfig) -> list[int]:
    """STEEGFormer's slot of every channel: as the config gives it, else from the published vocabulary.

    What the vocabulary says is kept in the config, under the channels' names, so that a saved teacher needs no
    download, and another montage can't take over the slots of the first.
    """
    given, size = config.backbone_kwargs.get("chan_pos_idx"), config.backbone_kwargs.get("n_chans_pos", 145)
    if isinstance(given, dict) and all(name in given for name in config.ch_names):
        slots = [given[name] for name in config.ch_names]
    elif given is not None and not isinstance(given, dict):
        slots = list(given)
    else:
        vocabulary = _steegformer_vocabulary()
        if size != len(vocabulary):
            raise ValueError(
                f"`backbone_kwargs`: the published vocabulary has {len(vocabulary)} slots, this STEEGFormer "
                f"n_chans_pos={size}: give the slot of every channel in chan_pos_idx."
            )
        names = match_names("STEEGFormer", config.ch_names, vocabulary, "the published vocabulary")
        slots = [vocabulary.index(name) for name in names]
        config.backbone_kwargs["chan_pos_idx"] = dict(zip(config.ch_names, slots, strict=True))
    good = len(slots) == len(config.ch_names) and all(type(slot) is int and 0 <= slot < size for slot in slots)
    if not good or len(set(slots)) < len(slots):
        raise ValueError(
            f"`backbone_kwargs['chan_pos_idx']` must give each of the {len(config.ch_names)} channels "
            f"({', '.join(config.ch_names)}) a slot of its own in 0 ... {size - 1}, got {given}."
        )
    return slots


def _steegformer_vocabulary() -> list[str]:
    from braindecode.models import steegformer

    try:
        return list(steegformer.STEEGFORMER_CHANNEL_ORDER)
    except Exception as error:  # whatever the Hub's client raises: offline, not found, timeout
        raise OSError(
            "STEEGFormer looks its channels up in a vocabulary, the file steegformer_channels.json of "
            "braindecode/STEEGFormer-small, which is neither in the cache nor can be downloaded. Fetch it where there "
            "is a network (`hf download braindecode/STEEGFormer-small steegformer_channels.json`), or give the slot "
            "of every channel yourself: backbone_kwargs={'chan_pos_idx': [...]}. For weights that start at random, "
            f"list(range(n_chans)) will do. The reason: {error}"
        ) from error


def channel_infos(ch_names: Sequence[str], spelled: Sequence[str] | None, places: bool) -> list[dict[str, Any]]:
    """Return the channels as MNE describes them (`chs_info`).

    Args:
        ch_names: as the config has them.
        spelled: as the backbone has them.
        places: also give their places on the head, metres: those of MNE's template, as Signal-JEPA's own table has
            them. `mne.Info` holds them in another frame, some 5 cm away.
    """
    infos = [{"ch_name": name, "kind": "eeg"} for name in spelled or ch_names]
    if places:
        for info, place in zip(infos, channel_positions(ch_names), strict=True):
            info["loc"] = np.array(place)
    return infos


def _as_python(value: Any) -> Any:
    """A JSON value as a constructor wants it: lists as tuples, `"torch.nn.ELU"` as that class."""
    if isinstance(value, str) and value.startswith("torch.nn."):
        found = nn
        for part in value.removeprefix("torch.nn.").split("."):
            found = getattr(found, part, None)
        if not (isinstance(found, type) and issubclass(found, nn.Module)):
            raise ValueError(f"{value!r} is not a class of torch.nn.")
        return found
    return tuple(_as_python(item) for item in value) if isinstance(value, list | tuple) else value


def option_defaults(backbone: str) -> dict[str, Any]:
    """Return the options that a backbone takes, with their defaults; `inspect.Parameter.empty` where there is none.

    Raises:
        ImportError: braindecode, or the torchaudio that it needs, is missing or does not load.
    """
    spec = BACKBONES[backbone]
    if spec.make is not None:
        return dict(spec.defaults)
    parameters = inspect.signature(getattr(braindecode_models(), backbone).__init__).parameters
    return {name: parameter.default for name, parameter in parameters.items() if name != "self"}


def build_backbone(config: DLinkTeacherConfig) -> nn.Module:
    """Make the network that a config names, without its classification head.

    Raises:
        ImportError: the package that has the network, or the torchaudio that braindecode needs, is missing or does not
            load.
        OSError: a file that the model looks its channels up in is neither here nor can be downloaded.
        ValueError: the class refuses the arguments, or a channel is not among those that the model knows.
    """
    spec, own = BACKBONES[config.backbone], option_defaults(config.backbone)
    unknown = sorted(set(config.backbone_kwargs) - set(own))
    if unknown:
        raise ValueError(
            f"`backbone_kwargs`: {config.backbone} takes no {', '.join(unknown)}. Its arguments are {', '.join(own)}."
        )
    spelled = known_names(config)
    signal = {} if spec.make else _signal_arguments(config, spec, spelled)
    # Buffers that no checkpoint holds must be real even where transformers builds a model without memory, to fill it
    # from a file: so this part is always built in memory, and only then without drawing the weights.
    loading = torch.get_default_device().type == "meta"
    try:
        given = {key: _as_python(value) for key, value in config.backbone_kwargs.items() if key != "chan_pos_idx"}
        with warnings.catch_warnings(), contextlib.ExitStack() as stack:
            if loading:
                stack.enter_context(torch.device("cpu"))
                stack.enter_context(initialization.no_init_weights())
            # remarks of PBT and LUNA on their own layers, that no user can act on
            warnings.filterwarnings("ignore", message="dim_feedforward is set to|enable_nested_tensor is True")
            if spec.make is not None:
                backbone = spec.make(spec.arguments(given))
            else:
                backbone = getattr(braindecode_models(), config.backbone)(**signal, **given)
    except (
        ArithmeticError,
        AssertionError,
        AttributeError,
        LookupError,
        RuntimeError,
        TypeError,
        ValueError,
    ) as error:
        raise ValueError(
            f"`backbone_kwargs` {config.backbone_kwargs} do not fit {config.backbone}: {error}"
        ) from error
    for head in spec.heads:
        backbone.set_submodule(head, nn.Identity())
    if spec.passes_ch_names:
        backbone.dlink_ch_names = spelled
    return backbone


def _signal_arguments(config: DLinkTeacherConfig, spec: Backbone, spelled: list[str] | None) -> dict[str, Any]:
    """What a class of braindecode is told of the signal, and that it needs no head."""
    arguments: dict[str, Any] = {
        "n_outputs": 1,
        "n_chans": len(config.ch_names),
        "n_times": config.n_times,
        "sfreq": config.sfreq,
        **spec.build,
    }
    places = spec.channels == PLACED_CHANNELS
    if places or (spelled is not None and not spec.passes_ch_names):
        arguments["chs_info"] = channel_infos(config.ch_names, spelled, places)
    if config.backbone == "STEEGFormer":
        arguments["chan_pos_idx"] = _slots(config)
    return arguments


def keep_constants(network: nn.Module) -> None:
    """Note the buffers that no checkpoint holds (positions, filters ...): loading one would leave them empty."""
    for module in network.modules():
        names = module._non_persistent_buffers_set
        kept = {name: module._buffers[name].clone() for name in names if module._buffers.get(name) is not None}
        if kept:
            setattr(module, CONSTANTS, kept)


def restore_constants(module: nn.Module) -> None:
    """Put a module's noted buffers back."""
    for name, value in getattr(module, CONSTANTS, {}).items():
        module._buffers[name].copy_(value)


__all__ = [
    "braindecode_models",
    "build_backbone",
    "channel_infos",
    "keep_constants",
    "known_names",
    "match_names",
    "option_defaults",
    "restore_constants",
]
