# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""What each teacher is and costs, measured: one row per model, its hidden states held against plain forward hooks.

The reference here uses nothing of the wrapper's table: it hooks the unwrapped model of braindecode, or of the package
that has it, and picks every token by its index.
"""

from __future__ import annotations

import contextlib
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from ..models.teacher.backbones import BACKBONES, PLACED_CHANNELS
from ..models.teacher.building import braindecode_models, channel_infos
from ..models.teacher.configuration_teacher import DLinkTeacherConfig
from ..models.teacher.modeling_teacher import DLinkTeacherModel
from ..models.teacher.time_series_networks import chronos2_network, mantis_network
from .measure import count_flops, count_parameters


# variants that build in a moment
SMALL: dict[str, dict[str, Any]] = {
    "CBraMod": {"n_layer": 3, "dim_feedforward": 32, "nhead": 4},
    "Labram": {"num_layers": 3, "num_heads": 4, "mlp_ratio": 0.5},
    "BIOT": {"num_layers": 3, "embed_dim": 32, "num_heads": 4},
    "EEGPT": {"depth": 3, "embed_dim": 32, "num_heads": 4},
    "BENDR": {"transformer_layers": 3, "encoder_h": 16, "contextualizer_hidden": 32, "transformer_heads": 4},
    "SignalJEPA": {"transformer__num_encoder_layers": 3, "transformer__num_decoder_layers": 1},
    "REVE": {"depth": 3, "embed_dim": 32, "heads": 2, "head_dim": 16},
    "LUNA": {"depth": 3, "embed_dim": 16, "num_queries": 2},
    "CodeBrain": {
        "num_res_layers": 3,
        "res_channels": 16,
        "skip_channels": 16,
        "out_channels": 16,
        "codebook_size_t": 8,
        "codebook_size_f": 8,
        "mlp_hidden_multiplier": 1,
    },
    "EEGDINO": {"n_layer": 3, "dim_feedforward": 32, "nhead": 4},
    "STEEGFormer": {"depth": 3, "embed_dim": 32, "num_heads": 4},
    "MVPFormer": {"n_layers": 3, "d_model": 32, "d_inner": 32, "n_heads": 4, "n_head_kv": 2, "segment_len": 200},
    "PBT": {"num_layers": 3, "embed_dim": 32},
    "MEDFormer": {"num_layers": 3, "embed_dim": 32, "dim_feedforward": 32},
    **dict.fromkeys(
        ("MantisV1", "MantisV2"),
        {
            "transf_depth": 3,
            "hidden_dim": 32,
            "hidden_dim_scalar_enc": 8,
            "transf_num_heads": 4,
            "transf_dim_head": 8,
            "transf_mlp_dim": 48,
        },
    ),
    "Chronos2": {"num_layers": 3, "d_model": 32, "d_kv": 8, "d_ff": 48, "num_heads": 4},
    "ZUNA": {"n_layers": 3, "dim": 32, "n_heads": 2, "head_dim": 16, "multiple_of": 16},
}


@dataclass(frozen=True)
class PlainTaps:
    """Where to hook an unwrapped model, and which index each token has.

    Args:
        modules: model -> the modules whose outputs are the layers.
        token: (output, layer, channel, patch, C, P) -> that token of every window, (B, D).
        inputs: the inputs of these modules are the layers before them; the last output is that of `last`.
        last: model -> the module whose output is the last layer.
        make: config -> the unwrapped model, head and all, where it is not braindecode's.
        call: (model, windows (B, C, T) in the model's own numbers) runs it, where `model(windows)` does not.
    """

    modules: Callable[[Any], list[nn.Module]]
    token: Callable[[Any, int, int, int, int, int], torch.Tensor]
    inputs: bool = False
    last: Callable[[Any], nn.Module] | None = None
    make: Callable[[DLinkTeacherConfig], nn.Module] | None = None
    call: Callable[[Any, torch.Tensor], Any] | None = None


def _series(model: Any, windows: torch.Tensor) -> Any:
    """Run Mantis as its authors do: each channel a series, interpolated to 512 samples."""
    return model(F.interpolate(windows.flatten(0, 1)[:, None], size=512, mode="linear", align_corners=False))


def _channel_by_channel(before: int) -> Callable[..., torch.Tensor]:
    return lambda out, layer, c, p, n_chans, n_patches: out[:, before + c * n_patches + p]


PLAIN: dict[str, PlainTaps] = {
    "CBraMod": PlainTaps(lambda m: list(m.encoder.layers), lambda out, layer, c, p, *_: out[:, c, p]),
    "Labram": PlainTaps(lambda m: list(m.blocks), _channel_by_channel(1)),
    "BIOT": PlainTaps(
        lambda m: [block[0] for block in m.encoder.transformer.layers.layers][1:],
        _channel_by_channel(0),
        inputs=True,
        last=lambda m: m.encoder.transformer,
    ),
    "EEGPT": PlainTaps(
        lambda m: list(m.target_encoder.blocks),
        # windows and patches lie on the first axis, a window's patches together
        lambda out, layer, c, p, n_chans, n_patches: out[p::n_patches, c],
    ),
    "BENDR": PlainTaps(
        lambda m: list(m.contextualizer.transformer_layers), lambda out, layer, c, p, *_: out[1 + p, :]
    ),
    "SignalJEPA": PlainTaps(lambda m: list(m.transformer.encoder.layers), _channel_by_channel(0)),
    "REVE": PlainTaps(
        lambda m: [block[0] for block in m.transformer.layers][1:],
        _channel_by_channel(0),
        inputs=True,
        last=lambda m: m.transformer,
    ),
    "LUNA": PlainTaps(lambda m: list(m.blocks), lambda out, layer, c, p, *_: out[:, p]),
    "CodeBrain": PlainTaps(
        lambda m: list(m.residual_layer.residual_blocks),
        lambda out, layer, c, p, n_chans, n_patches: out[0][:, :, c * n_patches + p],
    ),
    "EEGDINO": PlainTaps(
        lambda m: list(m.encoder_layers),
        # the global token joins behind the first layer
        lambda out, layer, c, p, n_chans, n_patches: out[:, (layer > 0) + c * n_patches + p],
    ),
    "STEEGFormer": PlainTaps(
        lambda m: list(m.encoder), lambda out, layer, c, p, n_chans, n_patches: out[:, 1 + p * n_chans + c]
    ),
    "MVPFormer": PlainTaps(lambda m: list(m.blocks), lambda out, layer, c, p, *_: out[:, p, c]),
    "PBT": PlainTaps(lambda m: list(m.transformer_encoder.encoder_block), _channel_by_channel(1)),
    "MEDFormer": PlainTaps(lambda m: list(m.encoder.attn_layers), lambda out, layer, c, p, *_: out[0][0][:, c]),
    "Chronos2": PlainTaps(
        lambda m: list(m.encoder.block),
        # series on the first axis, a window's channels together
        lambda out, layer, c, p, n_chans, n_patches: out[0][c::n_chans, p],
        make=lambda config: chronos2_network(BACKBONES["Chronos2"].arguments(config.backbone_kwargs)),
        call=lambda m, windows: m.encode(
            windows.flatten(0, 1), group_ids=torch.arange(len(windows)).repeat_interleave(windows.shape[1])
        ),
    ),
    "MantisV1": PlainTaps(
        lambda m: [block[0] for block in m.transf_unit.transformer.layers][1:],
        lambda out, layer, c, p, n_chans, n_patches: out[c::n_chans, 1 + p],
        inputs=True,
        last=lambda m: m.transf_unit.transformer,
        make=lambda config: mantis_network("MantisV1", BACKBONES["MantisV1"].arguments(config.backbone_kwargs)),
        call=_series,
    ),
    "MantisV2": PlainTaps(
        lambda m: list(m.transf_unit.transformer.layers),
        lambda out, layer, c, p, n_chans, n_patches: out[c::n_chans, 0, p],
        make=lambda config: mantis_network("MantisV2", BACKBONES["MantisV2"].arguments(config.backbone_kwargs)),
        call=_series,
    ),
    "ZUNA": PlainTaps(
        lambda m: list(m.encoder.layers),
        lambda out, layer, c, p, n_chans, n_patches: out[:, 2 * (c * n_patches + p)],
    ),
}


def example_config(backbone: str, full: bool = False, **fields: Any) -> DLinkTeacherConfig:
    """Return a config that a teacher can be tried with: the 19 electrodes of the 10-20 system, up to 5 s.

    Args:
        backbone: one of `BACKBONES`.
        full: the published size rather than a small variant.
        **fields: of [`DLinkTeacherConfig`], in place of these.
    """
    kwargs = {} if full else dict(SMALL[backbone])
    if backbone == "STEEGFormer":  # random weights need no vocabulary of electrodes
        n_chans = len(fields.get("ch_names") or DLinkTeacherConfig().ch_names)
        kwargs["chan_pos_idx"] = list(range(n_chans))
    kwargs.update(fields.pop("backbone_kwargs", None) or {})
    return DLinkTeacherConfig(backbone=backbone, backbone_kwargs=kwargs, **fields)


def plain_model(config: DLinkTeacherConfig, weights: Mapping[str, torch.Tensor] | None = None) -> nn.Module:
    """Return the published class itself, head and all, in evaluation mode.

    Args:
        config: which class, and its arguments.
        weights: of a wrapped backbone; the head keeps its own.

    Raises:
        ValueError: the weights do not fit.
    """
    arguments: dict[str, Any] = {"n_outputs": 2, "n_chans": config.n_chans, "n_times": config.n_times}
    places = BACKBONES[config.backbone].channels == PLACED_CHANNELS
    if places or config.backbone == "REVE" or config.backbone_kwargs.get("chan_proj_type") == "none":
        arguments["chs_info"] = channel_infos(config.ch_names, None, places)
    kwargs = {key: tuple(v) if isinstance(v, list) else v for key, v in config.backbone_kwargs.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        if (make := PLAIN[config.backbone].make) is not None:
            model = make(config)
        else:
            model = getattr(braindecode_models(), config.backbone)(sfreq=config.sfreq, **arguments, **kwargs)
    model.eval()
    if weights is not None:
        result = model.load_state_dict(dict(weights), strict=False)
        heads = tuple(f"{head}." for head in BACKBONES[config.backbone].heads)
        missing = [key for key in result.missing_keys if not key.startswith(heads)]
        if missing or result.unexpected_keys:
            raise ValueError(f"the weights of {config.backbone} don't fit: {missing + list(result.unexpected_keys)}")
    return model


@contextlib.contextmanager
def _watched(taps: PlainTaps, model: nn.Module) -> Iterator[list[Any]]:
    seen: list[Any] = []
    modules = taps.modules(model)
    if taps.inputs:
        handles = [part.register_forward_pre_hook(lambda part, given: seen.append(given[0])) for part in modules]
        handles.append(taps.last(model).register_forward_hook(lambda part, given, out: seen.append(out)))
    else:
        handles = [part.register_forward_hook(lambda part, given, out: seen.append(out)) for part in modules]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


@torch.no_grad()
def plain_hidden_states(
    config: DLinkTeacherConfig, model: nn.Module, input_values: torch.Tensor, n_chans: int, n_patches: int
) -> list[torch.Tensor]:
    """Return the layers of an unwrapped model, token by token.

    Args:
        config: which class it is.
        model: as `plain_model` makes it.
        input_values: (B, C, T), microvolts.
        n_chans, n_patches: of the tokens, C_t and P_t.

    Returns:
        L of (B, C_t, P_t, D).
    """
    taps = PLAIN[config.backbone]
    names = {"ch_names": config.ch_names} if config.backbone == "Labram" else {}
    call = taps.call or (lambda model, windows: model(windows, **names))
    with _watched(taps, model) as seen:
        call(model, input_values * config.input_scale)
    states = []
    for layer, out in enumerate(seen):
        rows = [
            torch.stack([taps.token(out, layer, c, p, n_chans, n_patches) for p in range(n_patches)], dim=1)
            for c in range(n_chans)
        ]
        states.append(torch.stack(rows, dim=1))
    return states


@torch.no_grad()
def loads_its_own(plain: nn.Module, config: DLinkTeacherConfig, input_values: torch.Tensor) -> bool:
    """Return whether a checkpoint that the published class saves in a folder is loaded bit for bit.

    Every tensor must be equal. Hidden states may differ in the last bit, as the same weights at another place in
    memory can be summed in another order.

    Args:
        plain: an unwrapped model.
        config: of the teacher that is to hold it.
        input_values: (B, C, T), microvolts, to compare the hidden states on.
    """
    with tempfile.TemporaryDirectory() as folder:
        plain.save_pretrained(folder)
        loaded = DLinkTeacherModel.from_pretrained(
            folder,
            backbone=config.backbone,
            backbone_kwargs=config.backbone_kwargs,
            ch_names=config.ch_names,
            sfreq=config.sfreq,
            n_times=config.n_times,
        )
    loaded_weights = loaded.backbone.state_dict()
    if not all(torch.equal(plain.state_dict()[name], tensor) for name, tensor in loaded_weights.items()):
        return False
    states = loaded(input_values, output_hidden_states=True).hidden_states
    expected = plain_hidden_states(config, plain, input_values, config.token_chans, config.n_patches)
    return len(states) == len(expected) and all(
        torch.allclose(a, b, rtol=1e-5, atol=1e-5) for a, b in zip(states, expected, strict=True)
    )


def describe_teacher(
    backbone: str,
    full: bool = False,
    check_loading: Callable[[nn.Module, DLinkTeacherConfig, torch.Tensor], bool | None] | None = loads_its_own,
) -> dict[str, Any]:
    """Build one teacher with random weights and measure its row of the table.

    Args:
        backbone: one of `BACKBONES`.
        full: the published size rather than a small variant of one.
        check_loading: (unwrapped model, config, windows) -> whether `from_pretrained` loads a checkpoint bit for bit
            that the unwrapped model saved; None leaves it out. The default loads it from a folder; one
            that serves it over HTTP can take its place.

    Returns:
        `model`; `loads`, and `error` where it does not; `layers`, `layout` (einops pattern), `input` (channels x
        samples), `tokens` (C_t x P_t x D); `sfreq` (Hz, None: any), `patch_size` (samples), `window` (which lengths
        are allowed), `channels` (the contract), `input_scale` and `scale_note`; `parameters`; `gflop` (2 x MAC, one
        window); `difference` (largest absolute difference of a hidden state from plain forward hooks);
        `loads_bit_identical` (None: not checked).
    """
    spec = BACKBONES[backbone]
    row: dict[str, Any] = {
        "model": backbone,
        "loads": False,
        "error": None,
        "layout": spec.layout,
        "sfreq": spec.sfreq,
        "channels": spec.channel_contract,
        "input_scale": spec.input_scale,
        "scale_note": spec.scale_note,
    }
    torch.manual_seed(0)
    try:
        config = example_config(backbone, full)
        teacher = DLinkTeacherModel(config).eval()
    except (ImportError, OSError, ValueError) as error:
        row["error"] = str(error)
        return row
    first, step = spec.window(spec.arguments(config.backbone_kwargs))
    # torch's counter stumbles over normalised weights that want a gradient
    teacher.requires_grad_(False)
    windows = 20 * torch.randn(1, config.n_chans, config.n_times, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        states = teacher(windows, output_hidden_states=True).hidden_states
    row |= {
        "loads": True,
        "layers": len(states),
        "input": [config.n_chans, config.n_times],
        "tokens": list(states[0].shape[1:]),
        "patch_size": config.patch_size,
        "window": "any" if step == 1 else f"{step} k" if first == step else f"{first} + {step} k",
        "parameters": count_parameters(teacher),
        "gflop": count_flops(teacher, input_values=windows) / 1e9,
    }
    plain = plain_model(config, teacher.backbone.state_dict())
    expected = plain_hidden_states(config, plain, windows, states[0].shape[1], states[0].shape[2])
    row["difference"] = max((a - b).abs().max().item() for a, b in zip(states, expected, strict=True))
    del teacher, states, expected
    row["loads_bit_identical"] = check_loading(plain, config, windows) if check_loading else None
    return row


__all__ = [
    "SMALL",
    "describe_teacher",
    "example_config",
    "loads_its_own",
    "plain_hidden_states",
    "plain_model",
]
