# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Foundation models of time series that can be teachers: every channel of a window is one series."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .backbone import ANY_CHANNELS, Arguments, Backbone, argument_of


if TYPE_CHECKING:
    from torch import nn


_SCALED = "any: every channel of a window is brought to mean 0 and standard deviation 1 first"


def _make_chronos2(arguments: Arguments) -> nn.Module:
    from .time_series_networks import Chronos2Windows, chronos2_network

    return Chronos2Windows(chronos2_network(arguments))


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
        architecture="Chronos2Model",
        make=_make_chronos2,
        saved_options=_options_of_chronos2,
    ),
}

__all__ = ["TIME_SERIES"]
