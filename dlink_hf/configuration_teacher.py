# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Configuration of the teacher: which EEG foundation model is wrapped, and where its layers can be read."""

import math
from dataclasses import dataclass

from huggingface_hub.dataclasses import strict

from .configuration_base import (
    DEFAULT_CH_NAMES,
    DLinkPreTrainedConfig,
    check_signal_fields,
    reject_unknown_fields,
    require,
    settle_labels,
)


@dataclass(frozen=True)
class Backbone:
    """What the wrapper must know of one foundation model of braindecode.

    Args:
        layers: name of the module whose output is layer i, with `{}` for i.
        layout: einops pattern of that output; `b` batch, `c` channels, `p` patches, `d` width.
        prefix_tokens: tokens before those of the patches (a class token), which are cut off.
        depth_argument, width_argument: constructor arguments that hold the number of layers and their width; None
            where the class fixes it.
        depth, width: their defaults.
        sfreq: rate in Hz that the model was made for.
        patch_size: samples in a patch.
        input_scale: factor from microvolts to the numbers that the model was trained on.
        passes_ch_names: `forward` takes `ch_names=` and knows a closed list of names.
        without_head: constructor arguments that leave the classification head away.
        fixed: constructor arguments on which the layout rests, with the one value that they may have.
    """

    layers: str
    layout: str
    depth_argument: str
    depth: int
    width: int
    patch_size: int
    sfreq: float
    input_scale: float
    width_argument: str | None = None
    prefix_tokens: int = 0
    passes_ch_names: bool = False
    without_head: tuple[tuple[str, bool], ...] = ()
    fixed: tuple[tuple[str, int | bool], ...] = ()


# one row a model; arguments and layouts were read off braindecode 1.8
BACKBONES: dict[str, Backbone] = {
    "CBraMod": Backbone(
        layers="encoder.layers.{}",
        layout="b c p d",
        depth_argument="n_layer",
        depth=12,
        width=200,
        patch_size=200,
        sfreq=200.0,
        input_scale=0.01,
        without_head=(("return_encoder_output", True),),
        fixed=(("patch_size", 200), ("emb_dim", 200)),
    ),
    "Labram": Backbone(
        layers="blocks.{}",
        layout="b (c p) d",
        prefix_tokens=1,
        depth_argument="num_layers",
        depth=12,
        width_argument="embed_dim",
        width=200,
        patch_size=200,
        sfreq=200.0,
        input_scale=0.01,
        passes_ch_names=True,
        fixed=(("patch_size", 200), ("neural_tokenizer", True)),
    ),
}

# constructor arguments that the config's own fields decide
_RESERVED = {"n_outputs", "n_chans", "chs_info", "n_times", "input_window_seconds", "sfreq", "return_encoder_output"}


@strict
class DLinkTeacherConfig(DLinkPreTrainedConfig):
    r"""
    Configuration of [`DLinkTeacherModel`] and [`DLinkTeacherForEEGClassification`].

    Args:
        backbone (`str`, *optional*, defaults to `"CBraMod"`):
            Class name in `braindecode.models`: one of `BACKBONES`.
        backbone_kwargs (`dict`, *optional*):
            Further arguments of that class, such as `{"n_layer": 4}`.
        ch_names (`list[str]`, *optional*, defaults to the 19 electrodes of the 10-20 system):
            Names of the channels, in the order of the input's channel axis.
        sfreq (`float`, *optional*, defaults to 200.0):
            Sampling rate in Hz: the one that the backbone was made for.
        n_times (`int`, *optional*, defaults to 1000):
            Samples in a window; a multiple of the backbone's patch.
        input_scale (`float`, *optional*):
            Factor from microvolts to the backbone's own numbers; the backbone's default where left out.
        head_size (`int`, *optional*, defaults to 32):
            Features of each channel in the classification head.
        head_dropout (`float`, *optional*, defaults to 0.2):
            Dropout before the last linear layer.

    Raises:
        ValueError: a field is unknown, out of range, or contradicts another; the message names it.

    Example:

    ```python
    >>> from dlink_hf import DLinkTeacherConfig

    >>> config = DLinkTeacherConfig(backbone="CBraMod", backbone_kwargs={"n_layer": 4}, ch_names=["C3", "Cz", "C4"])
    >>> config.num_hidden_layers
    4
    ```
    """

    model_type = "dlink_teacher"

    backbone: str = "CBraMod"
    backbone_kwargs: dict | None = None
    ch_names: list[str] | None = None
    sfreq: float | int = 200.0
    n_times: int = 1000
    input_scale: float | int | None = None
    head_size: int = 32
    head_dropout: float | int = 0.2

    def __post_init__(self, **kwargs):
        reject_unknown_fields(self, kwargs)
        settle_labels(self, kwargs)
        require(self.backbone in BACKBONES, "backbone", self.backbone, f"one of {', '.join(BACKBONES)}")
        spec = BACKBONES[self.backbone]
        self.backbone_kwargs = dict(self.backbone_kwargs or {})
        if self.ch_names is None:
            self.ch_names = list(DEFAULT_CH_NAMES)
        if self.input_scale is None:
            self.input_scale = spec.input_scale
        check_signal_fields(self)
        reserved = sorted(_RESERVED & set(self.backbone_kwargs))
        require(not reserved, "backbone_kwargs", reserved, "free of what the config's own fields decide")
        for argument, value in ((spec.depth_argument, spec.depth), (spec.width_argument, spec.width)):
            given = self.backbone_kwargs.get(argument, value)
            require(
                type(given) is int and given > 0, f"backbone_kwargs[{argument!r}]", given, "a positive whole number"
            )
        for argument, value in spec.fixed:
            given = self.backbone_kwargs.get(argument, value)
            require(given == value, f"backbone_kwargs[{argument!r}]", given, f"{value}")
        require(
            self.sfreq == spec.sfreq,
            "sfreq",
            self.sfreq,
            f"{spec.sfreq} Hz, the rate that {self.backbone} was made for (EEGFeatureExtractor resamples)",
        )
        require(
            self.n_times % spec.patch_size == 0,
            "n_times",
            self.n_times,
            f"a multiple of {self.backbone}'s patch of {spec.patch_size} samples",
        )
        require(0 < self.input_scale < math.inf, "input_scale", self.input_scale, "positive")
        require(self.head_size > 0, "head_size", self.head_size, "a positive integer")
        require(0 <= self.head_dropout < 1, "head_dropout", self.head_dropout, "in [0, 1)")
        super().__post_init__(**kwargs)

    @property
    def patch_size(self) -> int:
        """Samples in a patch."""
        return BACKBONES[self.backbone].patch_size

    @property
    def n_chans(self) -> int:
        """Number C of channels."""
        return len(self.ch_names)

    @property
    def n_patches(self) -> int:
        """Number P of patches in a window of `n_times` samples."""
        return self.n_times // self.patch_size

    @property
    def num_hidden_layers(self) -> int:
        """Number L of layers that can be read."""
        spec = BACKBONES[self.backbone]
        return self.backbone_kwargs.get(spec.depth_argument, spec.depth)

    @property
    def hidden_size(self) -> int:
        """Width D of a layer."""
        spec = BACKBONES[self.backbone]
        return self.backbone_kwargs.get(spec.width_argument, spec.width)


__all__ = ["BACKBONES", "Backbone", "DLinkTeacherConfig"]
