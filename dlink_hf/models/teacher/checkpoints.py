# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Pretrained checkpoints as they are published, from the Hub or a folder, fitted to a new task and montage.

That is braindecode's own format, or, for networks of other packages, the one in which their authors publish them.

braindecode's `from_pretrained` loads what fits and leaves the rest as it was initialised. Here every tensor is loaded,
or its absence is one of a few that are known to be harmless and are reported, or the checkpoint is refused.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from transformers.utils import logging
from transformers.utils.hub import extract_commit_hash

from ...core.checks import MALFORMED, first_names, one_of
from ...core.electrodes import canonical_name
from ...core.fetch import HUB_OPTIONS, fetch, find_weights, read_json, read_tensors
from ...core.licences import is_known, read_licence
from .backbones import BACKBONES
from .building import option_defaults
from .configuration_teacher import DLinkTeacherConfig
from .licence_notes import warn_of_no_derivatives


logger = logging.get_logger(__name__)

CONFIG, WEIGHTS = "config.json", "model.safetensors"

# what braindecode's config.json says of the signal; the rest of it are options of the class
_SIGNAL = {"n_outputs", "n_chans", "chs_info", "n_times", "input_window_seconds", "sfreq"}
# options that say what a forward pass returns, which the wrapper decides itself
_OUTPUT = {"return_encoder_output", "return_features", "return_feature", "output_attention", "final_layer"}


@dataclass(frozen=True)
class Fit:
    """How the tensors of one backbone may differ between a checkpoint and the model that reads it.

    Args:
        mark: prefix of tensors that this backbone has and no other, or several; it tells whose checkpoint it is.
        cut: tensors whose axis 1 is a position in time, and which are cut to a shorter window.
        by_channel: prefixes of tensors whose rows belong to the checkpoint's channels, in their order.
        unless: an option and its value under which `by_channel` goes by name, and any channels will do.
        derived: tensors computed from the config, which are not loaded.
        options_by_channel: options of the class that list something for every channel, and may do so by name.
        channels: what is possible with other channels, for the message.
    """

    mark: str | tuple[str, ...]
    cut: tuple[str, ...] = ()
    by_channel: tuple[str, ...] = ()
    unless: tuple[str, str] | None = None
    derived: tuple[str, ...] = ()
    options_by_channel: tuple[str, ...] = ()
    channels: str = ""


# read off braindecode 1.8
FITS: dict[str, Fit] = {
    "CBraMod": Fit("encoder.layers.0.self_attn_s."),
    "Labram": Fit("patch_embed.temporal_conv.", cut=("temporal_embedding",)),
    "BIOT": Fit("encoder.channel_tokens.", by_channel=("encoder.channel_tokens.",)),
    "EEGPT": Fit(
        "target_encoder.",
        by_channel=("chan_proj.",),
        derived=("chans_id",),
        channels="With `backbone_kwargs={'chan_proj_type': 'none'}, drop=['chan_proj.']` EEGPT takes your channels by "
        "name.",
    ),
    "BENDR": Fit("encoder.encoder.Encoder_0.", by_channel=("encoder.encoder.Encoder_0.0.",)),
    "SignalJEPA": Fit(
        "feature_encoder.1.0.",
        by_channel=("pos_encoder.pos_encoder_spat.",),
        unless=("channel_embedding", "pretrain_aligned"),
        channels="A checkpoint of the 62 channels of its pre-training takes any of these by name, with "
        "`backbone_kwargs={'channel_embedding': 'pretrain_aligned'}`.",
    ),
    "REVE": Fit("to_patch_embedding."),
    "LUNA": Fit("cross_attn."),
    "CodeBrain": Fit("residual_layer."),
    "EEGDINO": Fit("encoder_layers.0.attn.", by_channel=("patch_embedding.channel_embedding.",)),
    "STEEGFormer": Fit("channel_pos.", options_by_channel=("chan_pos_idx",)),
    "MVPFormer": Fit("patch_embed.ln.", by_channel=("channel_embedding.",)),
    "PBT": Fit("patching_projection.", by_channel=("pos_embedding.",)),
    "MEDFormer": Fit("enc_embedding.", by_channel=("enc_embedding.",)),
    "ZUNA": Fit("encoder.layers.0.attention_norm."),
    "Chronos2": Fit("encoder.block.0.layer.1.self_attention."),
    # older checkpoints have the older name
    "MantisV1": Fit(("transf_unit.pos_encoder.", "vit_unit.pos_encoder.")),
    "MantisV2": Fit("transf_unit.transformer.layers.0.attention."),
}


@dataclass
class Checkpoint:
    """A published checkpoint that has been found, its weights not read yet.

    Args:
        name: folder or Hub id.
        saved: its config.json, in the format of its package or of transformers; empty where there is none.
        hub: arguments by which its files are fetched.
    """

    name: str
    saved: dict[str, Any]
    hub: dict[str, Any] = field(default_factory=dict)


def find_checkpoint(name_or_path: str | os.PathLike | None, kwargs: dict[str, Any]) -> Checkpoint | None:
    """Look whether a folder or Hub repository holds a checkpoint in a published format.

    Args:
        name_or_path: folder or Hub id.
        kwargs: keyword arguments of `from_pretrained`: of these `HUB_OPTIONS` and `backbone` are read.

    Returns:
        The checkpoint, or None where it is in the format of this package (or no name was given).

    Raises:
        OSError: no such folder or repository, no access, no such revision, or no network and nothing cached.
        ValueError: a config.json that is neither of this package nor of a known teacher, or none at all.
    """
    if name_or_path is None:
        return None
    name = str(name_or_path)
    hub = {key: kwargs[key] for key in HUB_OPTIONS if kwargs.get(key) is not None}
    path = fetch(name, CONFIG, hub)
    if path is None and not (kwargs.get("backbone") or is_known(name)):
        raise ValueError(
            f"{name} holds no {CONFIG}. Is it a model? For bare weights say which teacher they belong to "
            f'(`backbone="CBraMod"`) and, if need be, how the file is called (`filename="..."`).'
        )
    saved = read_json(path) if path is not None else {}
    kind = saved.get("model_type")
    if isinstance(kind, str) and kind.startswith("dlink"):
        return None
    # some authors keep transformers' own format, under the name of the backbone and with its options
    named = str(kind).lower() in {backbone.lower() for backbone in BACKBONES}
    named = named or any(spec.is_saved(saved) for spec in BACKBONES.values())
    foreign = path is not None and (kind is not None or not _SIGNAL & set(saved))
    if foreign and not named and not kwargs.get("backbone"):
        what = f"a model of type {kind!r}" if kind else "no model of braindecode"
        raise ValueError(
            f"{name}: its {CONFIG} describes {what}, which is not an EEG teacher. Give a checkpoint of this package "
            f"or of a known teacher ({', '.join(BACKBONES)}); `backbone=` names the class of bare weights."
        )
    if path is not None and (commit := extract_commit_hash(str(path), None)):
        hub["revision"] = commit  # the weights come from the same commit as the config
    return Checkpoint(name, saved, hub)


def load_checkpoint(
    cls: type[nn.Module], checkpoint: Checkpoint, kwargs: dict[str, Any]
) -> tuple[Any, dict[str, Any]]:
    """Build a teacher for a new task, montage and window, and load a published checkpoint into it, whole.

    Args:
        cls: `DLinkTeacherModel` or a class that holds one.
        checkpoint: what [`find_checkpoint`] returned.
        kwargs: keyword arguments of `from_pretrained`: fields of [`DLinkTeacherConfig`], which take precedence over
            what the checkpoint says; `dtype`; and

            - `filename`: name of the safetensors file;
            - `key_prefix`: taken off the front of every tensor's name;
            - `drop`: prefixes of further tensors of the file that are left out;
            - `start_anew`: prefixes of tensors that keep their random initialisation.

    Returns:
        The model in evaluation mode, and the loading information of transformers (`missing_keys` are those of the new
        head) with `backbone`, `dropped_keys`, `cut_keys` (name -> rows before and after), `new_keys` and
        `ignored_options`.

    Raises:
        OSError: the weights can't be fetched.
        ValueError: pickled, damaged or foreign weights, a tensor that is missing, left over or of another shape, or
            channels, a window or a rate that the model can't take. The message names them.
    """
    kwargs = {key: value for key, value in kwargs.items() if key not in (*HUB_OPTIONS, "ignore_mismatched_sizes")}
    filename, prefix = kwargs.pop("filename", WEIGHTS), kwargs.pop("key_prefix", "")
    drop, start_anew = _prefixes("drop", kwargs), _prefixes("start_anew", kwargs)
    dtype = kwargs.pop("dtype", kwargs.pop("torch_dtype", None))
    dtype = getattr(torch, dtype, dtype) if isinstance(dtype, str) else dtype
    if not (dtype in (None, "auto") or isinstance(dtype, torch.dtype)):
        raise ValueError(f"`dtype` must be a torch dtype or its name, got {dtype!r}.")
    name = checkpoint.name
    tensors = read_tensors(find_weights(name, filename, checkpoint.hub), name, prefix)
    backbone_name = _settle_backbone(name, kwargs.pop("backbone", None), tensors)
    fields, ignored = settle_fields(checkpoint, backbone_name, kwargs)
    fields.setdefault("weights_licenses", [read_licence(name, checkpoint.hub)])
    config = DLinkTeacherConfig(backbone=backbone_name, **fields)
    config.name_or_path = name
    model = cls(config)
    backbone = getattr(model, cls.base_model_prefix, model).backbone
    info = fit_tensors(checkpoint, config, backbone, tensors, drop, start_anew)
    backbone.load_state_dict(tensors)
    info["ignored_options"] = ignored
    info["missing_keys"] |= {key for key in model.state_dict() if cls.is_head(key)}
    _say(name, info)
    warn_of_no_derivatives(config)
    if dtype not in (None, "auto"):
        model.to(dtype)
    return model.eval(), info


def identify(names: Sequence[str]) -> str | None:
    """Return which backbone has tensors of these names; None where it is none of them."""
    marked = [backbone for backbone, fit in FITS.items() if any(key.startswith(fit.mark) for key in names)]
    return marked[0] if len(marked) == 1 else None


def settle_fields(
    checkpoint: Checkpoint, backbone: str, given: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the fields of the config: what was given, else what the checkpoint says.

    Returns:
        the fields, and the options of the checkpoint that this braindecode does not know.

    Raises:
        ValueError: the channels are neither given nor saved, or an option can't be taken over.
    """
    # None stands for what the checkpoint says, but for the head, of which it says nothing
    fields = {key: value for key, value in given.items() if value is not None or key == "head_size"}
    saved = checkpoint.saved
    if "ch_names" not in fields:
        fields["ch_names"] = saved_ch_names(saved)
    if fields["ch_names"] is None:
        count = f" (there are {saved['n_chans']})" if saved.get("n_chans") else ""
        raise ValueError(
            f"{checkpoint.name} does not say which channels it reads{count}. Give `ch_names=`, in the order of the "
            "input's channel axis."
        )
    given_options = fields.get("backbone_kwargs", {})
    options, ignored = _saved_options(checkpoint, backbone, set(given_options))
    for key in set(options) & set(FITS[backbone].options_by_channel):
        names, values = saved_ch_names(saved) or [], options.pop(key)
        if isinstance(values, list) and len(values) == len(names):
            options[key] = dict(zip(names, values, strict=True))
    fields["backbone_kwargs"] = {**options, **given_options}
    seconds, sfreq = saved.get("input_window_seconds"), saved.get("sfreq")
    n_times = saved.get("n_times") or (round(seconds * sfreq) if seconds and sfreq else None)
    for key, value in (("n_times", n_times), ("sfreq", sfreq)):
        if value is not None:
            fields.setdefault(key, value)
    return fields, ignored


def saved_ch_names(saved: dict[str, Any]) -> list[str] | None:
    """Return the names of the channels in braindecode's config.json; None where it holds none."""
    names = [channel.get("ch_name") for channel in saved.get("chs_info") or []]
    return names if names and all(names) else None


def fit_tensors(
    checkpoint: Checkpoint,
    config: DLinkTeacherConfig,
    backbone: nn.Module,
    tensors: dict[str, torch.Tensor],
    drop: tuple[str, ...] = (),
    start_anew: tuple[str, ...] = (),
) -> dict[str, Any]:
    """Bring the tensors of a checkpoint, in place, to those that the backbone has; nothing is left open.

    Args:
        checkpoint: where they come from.
        config: of the new model.
        backbone: the braindecode model, its head taken off.
        tensors: name -> tensor; afterwards exactly those of `backbone.state_dict()`.
        drop: prefixes of tensors that are left out besides those of the head.
        start_anew: prefixes of tensors that keep their initialisation.

    Returns:
        Loading information.

    Raises:
        ValueError: a tensor is missing, left over, of another shape, or belongs to other channels.
    """
    fit, name = FITS[config.backbone], checkpoint.name
    renamed = getattr(backbone, "mapping", None) or {}
    for old in [key for key in tensors if key in renamed]:
        tensors[renamed[old]] = tensors.pop(old)
    own = backbone.state_dict()
    unmatched = [prefix for prefix in start_anew if not any(key.startswith(prefix) for key in own)]
    unmatched += [prefix for prefix in drop if not any(key.startswith(prefix) for key in tensors)]
    if unmatched:
        raise ValueError(f"{name}: no tensor begins with {first_names(unmatched)}, named in `start_anew` or `drop`.")
    anew = {key for key in own if start_anew and key.startswith(start_anew)}
    heads = (*(f"{head}." for head in BACKBONES[config.backbone].heads), *drop)
    left_out = {key for key in tensors if key not in own and key.startswith(heads)}
    cut: dict[str, tuple[int, int]] = {}
    for key in fit.cut:
        if key in own and key not in anew and key in tensors and tensors[key].ndim == own[key].ndim > 1:
            rows, wanted = tensors[key].shape[1], own[key].shape[1]
            if rows < wanted:
                raise ValueError(
                    f"{name} was trained on windows of at most {(rows - 1) * config.patch_size} samples; `n_times` is "
                    f"{config.n_times}. Cut shorter windows."
                )
            if rows > wanted:
                tensors[key] = tensors[key][:, :wanted].contiguous()
                cut[key] = (rows, wanted)
    for key in left_out:
        del tensors[key]
    _check_channels(checkpoint, config, own, tensors, anew)
    for key in {key for key in own if key in anew or key in fit.derived}:
        tensors[key] = own[key]
    _check_complete(checkpoint, config, own, tensors)
    return {
        "backbone": config.backbone,
        "dropped_keys": left_out,
        "cut_keys": cut,
        "new_keys": anew,
        "missing_keys": set(anew),
        "unexpected_keys": set(),
        "mismatched_keys": set(),
        "error_msgs": [],
    }


def _check_channels(
    checkpoint: Checkpoint,
    config: DLinkTeacherConfig,
    own: dict[str, torch.Tensor],
    tensors: dict[str, torch.Tensor],
    anew: set[str],
) -> None:
    """Tensors whose rows are channels must meet the same channels, in the same order."""
    fit, saved = FITS[config.backbone], checkpoint.saved
    bound = [key for key in own if fit.by_channel and key.startswith(fit.by_channel) and key not in anew]
    if not bound or (fit.unless and config.backbone_kwargs.get(fit.unless[0]) == fit.unless[1]):
        return
    names = saved_ch_names(saved)
    if names is None:
        fits = all(key in tensors and tensors[key].shape == own[key].shape for key in bound)
        if not fits and saved.get("n_chans") not in (None, len(config.ch_names)):
            raise ValueError(_other_channels(checkpoint, config, f"{saved['n_chans']} channels", bound))
        logger.warning_once(
            f"{checkpoint.name} does not name its channels. {config.backbone} tells channels by their place, so yours "
            f"({', '.join(config.ch_names)}) must be those that it was trained on, in the same order."
        )
        return
    same = [canonical_name(name) or name for name in names[: len(config.ch_names)]]
    if same != [canonical_name(name) or name for name in config.ch_names]:
        raise ValueError(_other_channels(checkpoint, config, f"the channels {', '.join(names)}", bound))


def _other_channels(checkpoint: Checkpoint, config: DLinkTeacherConfig, theirs: str, bound: list[str]) -> str:
    prefixes = [prefix for prefix in FITS[config.backbone].by_channel if any(key.startswith(prefix) for key in bound)]
    return (
        f"{checkpoint.name} was trained on {theirs}, and {config.backbone} tells channels by their place; `ch_names` "
        f"is {', '.join(config.ch_names)}. Give the checkpoint's channels in their order, or let what belongs to "
        f"channels start from random weights: `start_anew={prefixes}`. {FITS[config.backbone].channels}".strip()
    )


def _check_complete(
    checkpoint: Checkpoint, config: DLinkTeacherConfig, own: dict[str, torch.Tensor], tensors: dict[str, torch.Tensor]
) -> None:
    """Names and shapes must agree, every one of them."""
    missing, unexpected = sorted(set(own) - set(tensors)), sorted(set(tensors) - set(own))
    shapes = [
        f"{key} (checkpoint {tuple(tensors[key].shape)}, model {tuple(own[key].shape)})"
        for key in sorted(set(own) & set(tensors))
        if tensors[key].shape != own[key].shape
    ]
    if not (missing or unexpected or shapes):
        return
    parts = [
        f"{words}: {first_names(keys)}"
        for words, keys in (("missing", missing), ("left over", unexpected), ("of another shape", shapes))
        if keys
    ]
    bound = [prefix for prefix in FITS[config.backbone].by_channel if any(key.startswith(prefix) for key in shapes)]
    advice = (
        f" What depends on channels or window can start from random weights: `start_anew={bound}`."
        if bound and all(key.startswith(tuple(bound)) for key in (*shapes, *missing, *unexpected))
        else f" Options of the class that differ from the checkpoint's go into `backbone_kwargs` (now "
        f"{config.backbone_kwargs}); tensors of a foreign head can be left out with `drop=[...]`."
    )
    raise ValueError(
        f"{checkpoint.name} does not fit {config.backbone} with {len(config.ch_names)} channels and {config.n_times} "
        f"samples; tensors {'; '.join(parts)}. A partly loaded model would give wrong answers.{advice}"
    )


def _saved_options(checkpoint: Checkpoint, backbone: str, given: set[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Options of the class in config.json that differ from its defaults, and those that the class does not know."""
    saved = checkpoint.saved
    if not set(saved) - _SIGNAL - {"braindecode_version"}:
        return {}, {}
    defaults, read = option_defaults(backbone), BACKBONES[backbone].saved_options
    if read is not None:
        try:
            found = read(saved)
        except MALFORMED as error:
            raise ValueError(f"{checkpoint.name}: {error}") from error
        known = {key: value for key, value in found.items() if key in defaults and key not in given}
        return {key: value for key, value in known.items() if _plain(value) != _plain(defaults[key])}, {}
    decided = _SIGNAL | _OUTPUT | {"braindecode_version"} | given
    options, ignored = {}, {}
    for key, value in saved.items():
        if key in decided:
            continue
        if key not in defaults:
            if "model_type" not in saved:  # transformers' format has many more fields
                ignored[key] = value
            continue
        default = defaults[key]
        if isinstance(default, type):  # such as an activation, saved as the path of its class
            default = f"{default.__module__}.{default.__qualname__}"
            if not str(value).startswith("torch.nn."):
                raise ValueError(
                    f"{checkpoint.name} was made with {key}={value!r}. Of the classes that a file names only those of "
                    f"torch.nn are taken; say which one is meant with `backbone_kwargs={{{key!r}: 'torch.nn...'}}`."
                )
        if _plain(value) != _plain(default):
            options[key] = value
    return options, ignored


def _settle_backbone(name: str, asked: str | None, tensors: dict[str, torch.Tensor]) -> str:
    found = identify(list(tensors))
    if asked is not None:
        one_of("`backbone`", asked, BACKBONES)
    if asked and found and asked != found:
        raise ValueError(
            f"{name} holds the tensors of {found}, not of {asked}. Leave `backbone=` out, or give a checkpoint of "
            f"{asked}."
        )
    if not (asked or found):
        raise ValueError(
            f"{name}: its tensors ({first_names(sorted(tensors))}) are those of none of {', '.join(BACKBONES)}. "
            "If it is one of them under other names, say which with `backbone=` and what precedes the names with "
            "`key_prefix=`."
        )
    chosen = asked or found
    if chosen not in BACKBONES:
        raise ValueError(f"{name} is a {chosen}, which is not a teacher here. Teachers are: {', '.join(BACKBONES)}.")
    return chosen


def _say(name: str, info: dict[str, Any]) -> None:
    """Report, once, what was not loaded as it is."""
    parts = []
    if info["dropped_keys"]:
        heads = sorted({key.rpartition(".")[0].split(".")[0] for key in info["dropped_keys"]})
        parts.append(f"left out {', '.join(heads)} ({len(info['dropped_keys'])} tensors; the head here is another)")
    parts += [f"cut {key} from {old} to {new} rows" for key, (old, new) in info["cut_keys"].items()]
    if info["new_keys"]:
        parts.append(f"started from random weights: {first_names(sorted(info['new_keys']))}")
    if info["ignored_options"]:
        parts.append(f"ignored options that this braindecode does not know: {info['ignored_options']}")
    if parts:
        of = BACKBONES[info["backbone"]].package
        logger.warning_once(f"{name}, read as {info['backbone']} of {of}: {'; '.join(parts)}.")


def _prefixes(argument: str, kwargs: dict[str, Any]) -> tuple[str, ...]:
    given = kwargs.pop(argument, ())
    if isinstance(given, str) or not all(isinstance(prefix, str) and prefix for prefix in given):
        raise ValueError(f"`{argument}` must be a list of names of tensors, or of their beginnings, got {given!r}.")
    return tuple(given)


def _plain(value: Any) -> Any:
    """A value as JSON gives it back: tuples are lists."""
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


__all__ = [
    "FITS",
    "Checkpoint",
    "Fit",
    "find_checkpoint",
    "fit_tensors",
    "identify",
    "load_checkpoint",
]
