# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Published networks of time series, run on windows (B, C, T): every channel is one series.

A class here holds the parts of a published network under the names that these have there, so that its checkpoints load
by name, and calls them in the published order. What the network does with its output, such as a forecast, is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from ...core.requires import naming_the_extra


# of Chronos-2's own options, those that say how a series is cut; one quantile is enough for a head that is left out
_CUTTING = ("context_length", "input_patch_size", "time_encoding_scale", "use_reg_token", "use_arcsinh")
_REGISTER = 1


def chronos2_network(arguments: Mapping[str, Any]) -> nn.Module:
    """Return a `Chronos2Model` of the package chronos-forecasting, with random weights.

    Args:
        arguments: options of `Chronos2CoreConfig` and of its `chronos_config`, on one level.

    Raises:
        MissingExtraError: the package is not installed.
    """
    with naming_the_extra("The teacher Chronos2"):
        from chronos.chronos2 import Chronos2CoreConfig, Chronos2Model

    cutting = {name: arguments[name] for name in _CUTTING}
    if cutting["time_encoding_scale"] is None:
        cutting["time_encoding_scale"] = cutting["context_length"]
    size = cutting["input_patch_size"]
    cutting |= {"input_patch_stride": size, "output_patch_size": size, "quantiles": [0.5]}
    core = {name: value for name, value in arguments.items() if name not in _CUTTING}
    return Chronos2Model(Chronos2CoreConfig(**core, chronos_config=cutting))


class Chronos2Windows(nn.Module):
    """The encoder of Chronos-2 on windows; the channels of a window are a group, and attend to each other.

    The published forward pass masks every series of a batch against every other, which takes memory by the square of
    their number. Here the attention of a group is computed window by window, with the same result.

    Args:
        network: a `Chronos2Model`.

    Example:

    ```python
    >>> from dlink_hf import DLinkTeacherConfig, DLinkTeacherModel

    >>> config = DLinkTeacherConfig(backbone="Chronos2", ch_names=["C3", "C4"], sfreq=250, n_times=1024)
    >>> config.token_chans, config.n_patches, config.hidden_size
    (2, 64, 768)
    ```
    """

    def __init__(self, network: nn.Module):
        super().__init__()
        self.patch_size = network.chronos_config.input_patch_size
        self.time_scale = network.chronos_config.time_encoding_scale
        self.has_register = network.chronos_config.use_reg_token
        self.instance_norm = network.instance_norm
        self.input_patch_embedding = network.input_patch_embedding
        self.shared = network.shared
        self.encoder = network.encoder
        # the forecast, which the wrapper of all teachers cuts off by this name
        self.output_patch_embedding = nn.Identity()

    def forward(self, windows: torch.Tensor) -> torch.Tensor:
        """Return the tokens (B * C, P + 2, D) of windows (B, C, T): P patches, a register, the patch to be forecast.

        Without a register there are P + 1.
        """
        batch, n_chans, n_times = windows.shape
        series, _ = self.instance_norm(windows.flatten(0, 1))
        values = F.pad(series.unflatten(-1, (-1, self.patch_size)), (0, 0, 0, 1))
        is_known = torch.ones_like(values)
        is_known[:, -1] = 0
        steps = torch.arange(-n_times, self.patch_size, device=windows.device, dtype=torch.float32) / self.time_scale
        steps = steps.to(values.dtype).view(1, -1, self.patch_size).expand_as(values)
        tokens = self.input_patch_embedding(torch.cat([steps, values, is_known], dim=-1))
        if self.has_register:
            register = self.shared.weight[_REGISTER].expand(len(tokens), 1, -1)
            tokens = torch.cat([tokens[:, :-1], register, tokens[:, -1:]], dim=1)
        places = torch.arange(tokens.shape[1], device=windows.device)[None]
        tokens = self.encoder.dropout(tokens)
        for block in self.encoder.block:
            in_time, among_channels, feed_forward = block.layer
            tokens = in_time(tokens, attention_mask=None, position_ids=places)[0]
            # this part attends along the first axis, at every place of the second by itself
            tokens = tokens.unflatten(0, (batch, n_chans)).transpose(0, 1).flatten(1, 2)
            tokens = among_channels(tokens, attention_mask=None)[0]
            tokens = tokens.unflatten(1, (batch, -1)).transpose(0, 1).flatten(0, 1)
            tokens = feed_forward(tokens)
        return self.encoder.final_layer_norm(tokens)


def mantis_network(version: str, arguments: Mapping[str, Any]) -> nn.Module:
    """Return a `MantisV1` or `MantisV2` of the package mantis-tsfm, with random weights.

    Args:
        version: which of them.
        arguments: options of its class, and `resize_to`, which is not.

    Raises:
        MissingExtraError: the package is not installed.
    """
    with naming_the_extra(f"The teacher {version}"):
        from mantis import architecture

    options = {name: value for name, value in arguments.items() if name != "resize_to"}
    return getattr(architecture, version)(device="cpu", **options)


class MantisWindows(nn.Module):
    """Mantis on windows, whose channels are read each by itself.

    Args:
        network: a `MantisV1` or `MantisV2`.
        resize_to: samples to which a window is interpolated first, as its authors recommend; 0 to leave it as it is.
    """

    def __init__(self, network: nn.Module, resize_to: int):
        super().__init__()
        self.resize_to = resize_to
        self.tokgen_unit = network.tokgen_unit
        self.transf_unit = network.transf_unit
        # of the pre-training, which the wrapper of all teachers cuts off by this name
        self.prj = nn.Identity()

    @property
    def mapping(self) -> dict[str, str]:
        """Names of tensors in older checkpoints -> their names here."""
        ours = [name for name in self.state_dict() if name.startswith("transf_unit.")]
        return {f"vit_unit.{name.removeprefix('transf_unit.')}": name for name in ours}

    def forward(self, windows: torch.Tensor) -> torch.Tensor:
        """Return the class tokens (B * C, D) of windows (B, C, T)."""
        series = windows.flatten(0, 1)[:, None]
        if self.resize_to and series.shape[-1] != self.resize_to:
            series = F.interpolate(series, size=self.resize_to, mode="linear", align_corners=False)
        return self.transf_unit(self.tokgen_unit(series))


__all__ = ["Chronos2Windows", "MantisWindows", "chronos2_network", "mantis_network"]
