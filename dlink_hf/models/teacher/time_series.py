# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Foundation models of time series that can be teachers: every channel of a window is one series."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from .backbone import ANY_CHANNELS, Arguments, Backbone, argument_of


if TYPE_CHECKING:
    from torch import nn


_SCALED = "any: every channel of a window is brought to mean 0 and standard deviation 1 first"


def _make_chronos2(arguments: Arguments) -> nn.Module:
    from .time_series_networks import Chronos2Windows, chronos2_network

    return Chronos2Windows(chronos2_network(arguments))


def _make_mantis(version: str) -> Callable[[Arguments], nn.Module]:
    def make(arguments: Arguments) -> nn.Module:
        from .time_series_networks import MantisWindows, mantis_network

        return MantisWindows(mantis_network(version, arguments), arguments["resize_to"])

    return make


def _check_mantis(arguments: Arguments) -> str | None:
    count, size = arguments["num_patches"], arguments["resize_to"]
    if size and (size % count or size < 2 * count):
        return f"`resize_to` is 0, or a multiple of `num_patches` ({count}) of at least {2 * count} samples"
    if arguments.get("seq_len", count) % count:
        return f"`seq_len` is a multiple of `num_patches` ({count})"
    return None


# options of both versions; all but `resize_to`, which is the wrapper's, are those of the published classes
_MANTIS = {
    "transf_depth": 6,
    "hidden_dim": 256,
    "num_patches": 32,
    "scalar_scales": None,
    "hidden_dim_scalar_enc": 32,
    "epsilon_scalar_enc": 1.1,
    "transf_num_heads": 8,
    "transf_mlp_dim": 512,
    "transf_dropout": 0.1,
    "resize_to": 512,
}
_MANTIS_ROW: dict[str, Any] = {
    "depth_argument": "transf_depth",
    "width": argument_of("hidden_dim"),
    # a window of any length has the same number of patches; of one sample there is no standard deviation
    "window": lambda arguments: (2 * arguments["num_patches"], arguments["num_patches"]),
    "n_patches": lambda arguments, n_times: arguments["num_patches"],
    "window_rule": "a multiple of Mantis's number of patches (`num_patches`, 32 in the published ones), two samples "
    "in each or more",
    "patch": lambda arguments: 0,
    "channels": ANY_CHANNELS,
    "channel_contract": "any number of channels, any names; each is read by itself",
    "sfreq": None,
    "input_scale": 1.0,
    "scale_note": "microvolts: every channel is standardised, and means and standard deviations of its patches are "
    "told, from 1e-4 to 1e4. Windows are interpolated to 512 samples (`resize_to`; 0 leaves them)",
    "forward": {},
    "heads": ("prj",),
    "check": _check_mantis,
    "package": "mantis",
    "saved_options": dict,
}


def _check_chronos2(arguments: Arguments) -> str | None:
    scale = arguments["time_encoding_scale"]
    if scale is not None and (type(scale) is not int or scale < 1):
        return "`time_encoding_scale` must be a positive number of samples, or None for `context_length`"
    if arguments["d_kv"] % 2:
        return "`d_kv` must be even: its positions turn pairs of numbers"
    return None


def _options_of_chronos2(saved: Mapping[str, Any]) -> dict[str, Any]:
    """The options in a config.json of Chronos-2, whose second level says how the series is cut."""
    options = {**saved, **(saved.get("chronos_config") or {})}
    size, stride = options.get("input_patch_size"), options.get("input_patch_stride")
    if size != stride:
        raise ValueError(f"its patches of {size} samples come every {stride}: only those side by side can be read.")
    if options.get("time_encoding_scale") == options.get("context_length"):
        options.pop("time_encoding_scale", None)
    return options


TIME_SERIES: dict[str, Backbone] = {
    # read off chronos-forecasting 2.3; the defaults are those of amazon/chronos-2
    "Chronos2": Backbone(
        # what the last of a block's three parts gives is the state: it holds its own residual connection
        layers="encoder.block.{}.layer.2",
        layout="(b c) p d",
        # the patch to be forecast, and before it a register
        suffix_tokens=lambda arguments: 1 + arguments["use_reg_token"],
        depth_argument="num_layers",
        defaults={
            "num_layers": 12,
            "d_model": 768,
            "d_kv": 64,
            "d_ff": 3072,
            "num_heads": 12,
            "dropout_rate": 0.1,
            "layer_norm_epsilon": 1e-6,
            "feed_forward_proj": "relu",
            "rope_theta": 10000.0,
            "input_patch_size": 16,
            "context_length": 8192,
            "time_encoding_scale": None,
            "use_reg_token": True,
            "use_arcsinh": True,
        },
        width=argument_of("d_model"),
        window=lambda arguments: (arguments["input_patch_size"], arguments["input_patch_size"]),
        patch=argument_of("input_patch_size"),
        channels=ANY_CHANNELS,
        channel_contract="any number of channels, any names; the channels of a window attend to each other",
        sfreq=None,
        input_scale=1.0,
        scale_note=_SCALED,
        final="encoder.final_layer_norm",
        final_layout="(b c) p d",
        max_patches=lambda arguments: arguments["context_length"] // arguments["input_patch_size"],
        forward={},
        heads=("output_patch_embedding",),
        check=_check_chronos2,
        package="chronos",
        is_saved=lambda saved: "Chronos2Model" in (saved.get("architectures") or ()),
        make=_make_chronos2,
        saved_options=_options_of_chronos2,
    ),
    # read off mantis-tsfm 1.1
    "MantisV1": Backbone(
        layers="transf_unit.transformer.layers.{}.0",
        last="transf_unit.transformer",
        layout="(b c) p d",
        prefix_tokens=lambda arguments, layer: 1,
        # the convolutions are as long as a patch of the series of the pre-training
        defaults={**_MANTIS, "transf_dim_head": 128, "seq_len": 512},
        is_saved=lambda saved: {"transf_depth", "seq_len"} <= set(saved),
        make=_make_mantis("MantisV1"),
        **_MANTIS_ROW,
    ),
    "MantisV2": Backbone(
        layers="transf_unit.transformer.layers.{}",
        layout="(b c) p d",
        # an axis of series that attend to each other, of which there is one
        element=lambda arguments: ((slice(None), 0),),
        suffix_tokens=lambda arguments: 1,
        defaults={**_MANTIS, "transf_dim_head": 32, "kernel_size": 41},
        is_saved=lambda saved: {"transf_depth", "kernel_size"} <= set(saved),
        make=_make_mantis("MantisV2"),
        **_MANTIS_ROW,
    ),
}

__all__ = ["TIME_SERIES"]
