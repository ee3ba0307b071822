# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Checkpoints as braindecode saves them, and what its own models give, by plain forward hooks."""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from pathlib import Path
from typing import Any

import torch

from dlink_hf import DLinkTeacherConfig, DLinkTeacherModel
from dlink_hf.core.electrodes import ELECTRODE_POSITIONS
from dlink_hf.models.teacher.backbones import BACKBONES
from dlink_hf.models.teacher.building import braindecode_models, channel_infos


# options that make every backbone small
SMALL: dict[str, dict[str, Any]] = {
    "CBraMod": {"n_layer": 2, "dim_feedforward": 80, "drop_prob": 0.2},
    "Labram": {"num_layers": 2, "init_values": 0.3},
    "BIOT": {"num_layers": 2, "embed_dim": 32, "num_heads": 4},
    "EEGPT": {"depth": 2, "embed_dim": 32, "num_heads": 4},
    "BENDR": {"transformer_layers": 2, "encoder_h": 32, "contextualizer_hidden": 48},
    "SignalJEPA": {"transformer__num_encoder_layers": 2, "transformer__num_decoder_layers": 1},
    "REVE": {"depth": 2, "embed_dim": 64, "heads": 2, "head_dim": 32},
    "LUNA": {"depth": 2, "embed_dim": 32, "activation": torch.nn.ReLU},
    "CodeBrain": {"num_res_layers": 2, "s4_d_state": 8, "codebook_size_t": 16, "codebook_size_f": 16},
    "EEGDINO": {"n_layer": 2, "dim_feedforward": 64},
    "STEEGFormer": {"depth": 2, "embed_dim": 64, "num_heads": 4},
    "MVPFormer": {"n_layers": 2, "d_model": 64, "d_inner": 64, "segment_len": 200},
    "PBT": {"num_layers": 2, "embed_dim": 64},
    "MEDFormer": {"num_layers": 2, "embed_dim": 32, "patch_len_list": (2, 4)},
    "ZUNA": {"n_layers": 2, "dim": 64},
}


def write_reve_positions(folder: Path) -> Path:
    """REVE's bank of positions, which it would download: name -> place in metres. `REVE_POSITIONS_PATH` names it."""
    (folder / "reve_positions.json").write_text(json.dumps(ELECTRODE_POSITIONS))
    return folder


def small_config(backbone: str, ch_names: list[str], **fields: Any) -> DLinkTeacherConfig:
    """Config of a small backbone."""
    options = {
        key: f"torch.nn.{value.__name__}" if isinstance(value, type) else value
        for key, value in SMALL[backbone].items()
    }
    return DLinkTeacherConfig(backbone=backbone, ch_names=ch_names, backbone_kwargs=options, **fields)


def save(folder: Path, config: DLinkTeacherConfig, named: bool = True, **options: Any) -> Path:
    """A braindecode model with random weights and a head of its own, saved by braindecode itself.

    Args:
        folder: where it goes.
        config: names the class, channels, window and rate.
        named: save the names and places of the channels too.
        options: of the class; [`SMALL`] has some.
    """
    torch.manual_seed(len(config.backbone))
    if config.backbone == "STEEGFormer":
        options = {"chan_pos_idx": [3 * slot for slot in range(config.n_chans)], **options}
    # BENDR takes no names but those of its own 20 channels
    infos = channel_infos(config.ch_names, None, places=True) if named and config.backbone != "BENDR" else None
    model = getattr(braindecode_models(), config.backbone)(
        n_outputs=3,
        n_chans=config.n_chans,
        chs_info=infos,
        n_times=config.n_times,
        sfreq=config.sfreq,
        **options,
    )
    with torch.no_grad():  # zeros and ones, as many start, would hide what is not loaded
        for parameter in model.parameters():
            parameter += 0.02 * torch.randn_like(parameter)
    model.save_pretrained(folder)
    return folder


def save_set(whole: Any, folder: Path) -> Path:
    """Write what braindecode's `push_to_hub` uploads of a data set, by braindecode itself."""
    import braindecode

    folder.mkdir(parents=True)
    facts = {"pipeline_name": "braindecode", "compression": "blosc", "compression_level": 5, "chunk_size": 3000}
    facts = {"format": "zarr", **facts, "braindecode_version": braindecode.__version__}
    whole._build_local_cache(folder, {**facts, **whole._get_format_info_inline()})
    return folder


def windows(n_chans: int, n_times: int) -> torch.Tensor:
    """Two windows (2, C, T) of noise, in microvolts; the same in every process."""
    return 20 * torch.randn(2, n_chans, n_times, generator=torch.Generator().manual_seed(7))


def digest(tensors: list[torch.Tensor]) -> str:
    """The same for the same bits alone."""
    joined = hashlib.sha256()
    for tensor in tensors:
        joined.update(f"{tuple(tensor.shape)} {tensor.dtype}".encode() + tensor.contiguous().numpy().tobytes())
    return joined.hexdigest()


@torch.no_grad()
def states_of_ours(model: DLinkTeacherModel) -> list[torch.Tensor]:
    """All hidden states, then the features."""
    output = model(windows(model.config.n_chans, model.config.n_times), output_hidden_states=True)
    return [*output.hidden_states, output.last_hidden_state]


@torch.no_grad()
def states_of_braindecode(config: DLinkTeacherConfig, name: str | os.PathLike, **hub: Any) -> list[torch.Tensor]:
    """The same of the model that braindecode's own `from_pretrained` makes, whole, by plain forward hooks."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = getattr(braindecode_models(), config.backbone).from_pretrained(name, **hub)
    layers, last = config.taps()
    states: dict[int, torch.Tensor] = {}
    for index, tap in enumerate([*layers, last]):

        def keep(module: torch.nn.Module, inputs: Any, output: Any, index: int = index, tap: Any = tap) -> None:
            states[index] = tap.layout.apply(tap.pick(inputs, output), 2, config.token_chans).clone()

        model.get_submodule(tap.module).register_forward_hook(keep)
    known = {"ch_names": config.ch_names} if config.backbone == "Labram" else {}
    arguments = BACKBONES[config.backbone].forward
    model(windows(config.n_chans, config.n_times) * config.input_scale, **known, **arguments)
    return [states[index] for index in range(len(layers) + 1)]
