# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Configuration of the teacher: which EEG foundation model is wrapped, and where its layers can be read."""

import json
import math
from typing import Any

from huggingface_hub.dataclasses import strict
from transformers.utils import logging

from ...core.checks import MALFORMED
from ...core.config_checks import (
    MOST_SAMPLES,
    check_licences_field,
    check_signal_fields,
    check_targets_fields,
    require,
    settle_labels,
)
from ...core.electrodes import canonical_name, describe_unknown
from ..configuration_base import DEFAULT_CH_NAMES, DLinkPreTrainedConfig, reject_unknown_fields
from .backbones import BACKBONES, MODULE, PLACED_CHANNELS, Backbone
from .token_layout import Tap, TokenLayout


logger = logging.get_logger(__name__)

# constructor arguments that the config's own fields decide
_RESERVED = {"n_outputs", "n_chans", "chs_info", "n_times", "input_window_seconds", "sfreq", "return_encoder_output"}

# of a whole number in `backbone_kwargs`, and of layers: far above any foundation model's
_MOST_OF_AN_OPTION, _MOST_LAYERS = 100_000, 256

# what `from_module` stores of a network of the user's own
_MODULE_FIELDS = {
    "name": str,
    "layers": list,
    "layout": str,
    "prefix_tokens": int,
    "suffix_tokens": int,
    "token_chans": int,
    "n_patches": int,
    "hidden_size": int,
    "own_logits": bool,
}


@strict
class DLinkTeacherConfig(DLinkPreTrainedConfig):
    r"""
    Configuration of [`DLinkTeacherModel`], [`DLinkTeacherForEEGClassification`] and [`DLinkTeacherForEEGRegression`].

    Args:
        backbone (`str`, *optional*, defaults to `"CBraMod"`):
            A row of `BACKBONES`, under the name of its class in `braindecode.models` or of its own (`"Chronos2"`); or
            `"module"`, as `from_module` writes it.
        backbone_kwargs (`dict`, *optional*):
            Further arguments of that class under the names that it gives them, such as `{"n_layer": 4}` or
            `{"transformer__num_encoder_layers": 2}`. Classes are given as text: `"torch.nn.ELU"`.
        ch_names (`list[str]`, *optional*, defaults to the 19 electrodes of the 10-20 system):
            Names of the channels, in the order of the input's channel axis.
        sfreq (`float`, *optional*):
            Sampling rate in Hz: the one that the backbone was made for, which is the default; 200 where it takes any.
        n_times (`int`, *optional*):
            Samples in a window, such that patches fit; the longest such window of up to 5 s by default.
        input_scale (`float`, *optional*):
            Factor from microvolts to the backbone's own numbers; the backbone's default by default.
        head_size (`int`, *optional*, defaults to 32):
            Features of each channel in the classification head; `None` for one linear layer on the tokens' mean over
            patches, which a probe needs.
        head_dropout (`float`, *optional*, defaults to 0.2):
            Dropout before the last linear layer.
        patches_per_label (`int`, *optional*, defaults to 1):
            Of [`DLinkTeacherForEEGTokenClassification`]: the teacher's patches that one label is for.
        module_info (`dict`, *optional*):
            Where a network of the user's own is read, as `from_module` measured it; None otherwise.
        target_mean, target_std (`list[float]`, *optional*):
            Of a regression (`problem_type="regression"`): mean and standard deviation of each target, in its unit, by
            which targets are standardised inside. A trainer takes those of its training windows; without them the
            head gives the target itself.
        regression_loss (`str`, *optional*, defaults to `"mse"`):
            `"mse"`, `"mae"` or `"huber"`, on standardised targets.
        weights_licenses (`list[dict]`, *optional*):
            Licences of the published weights that this model goes back to: `weights` (Hub id), `license` (identifier)
            and `source` (page) of each. Loading a teacher fills it in, and what is distilled or fine-tuned keeps it.

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
    sfreq: float | int | None = None
    n_times: int | None = None
    input_scale: float | int | None = None
    head_size: int | None = 32
    head_dropout: float | int = 0.2
    patches_per_label: int = 1
    module_info: dict | None = None
    target_mean: list | None = None
    target_std: list | None = None
    regression_loss: str = "mse"
    weights_licenses: list | None = None

    def __post_init__(self, **kwargs):
        reject_unknown_fields(self, kwargs)
        settle_labels(self, kwargs)
        require(
            self.backbone in BACKBONES or self.backbone == MODULE,
            "backbone",
            self.backbone,
            f"one of {', '.join(BACKBONES)} (or a network of your own: `DLinkTeacherModel.from_module`)",
        )
        self.backbone_kwargs = dict(self.backbone_kwargs or {})
        if self.ch_names is None:
            self.ch_names = list(DEFAULT_CH_NAMES)
        if self.backbone == MODULE:
            self._check_module()
        else:
            self._settle_backbone(BACKBONES[self.backbone])
        check_signal_fields(self)
        check_licences_field(self)
        if self.backbone != MODULE:
            self._check_window(BACKBONES[self.backbone])
            self._check_channels(BACKBONES[self.backbone])
        require(0 < self.input_scale < math.inf, "input_scale", self.input_scale, "positive")
        require(
            self.head_size is None or 0 < self.head_size <= 16_384,
            "head_size",
            self.head_size,
            "a positive integer, at most 16,384, or None",
        )
        require(0 <= self.head_dropout < 1, "head_dropout", self.head_dropout, "in [0, 1)")
        require(self.patches_per_label >= 1, "patches_per_label", self.patches_per_label, "one patch or more")
        super().__post_init__(**kwargs)
        check_targets_fields(self)

    def _check_module(self) -> None:
        require(
            isinstance(self.module_info, dict)
            and set(self.module_info) == set(_MODULE_FIELDS)
            and all(type(self.module_info[name]) is kind for name, kind in _MODULE_FIELDS.items()),
            "module_info",
            self.module_info,
            f"what `from_module` writes: {', '.join(_MODULE_FIELDS)}",
        )
        for name, kind in _MODULE_FIELDS.items():
            value = self.module_info[name]
            if kind is int:
                good = 0 <= value <= MOST_SAMPLES
                require(good, f"module_info[{name!r}]", value, f"a whole number from 0 to {MOST_SAMPLES:,}")
        layers = self.module_info["layers"]
        good = 0 < len(layers) <= _MOST_LAYERS and all(isinstance(name, str) for name in layers)
        require(good, "module_info['layers']", layers, f"names of 1 to {_MOST_LAYERS} modules")
        require(not self.backbone_kwargs, "backbone_kwargs", self.backbone_kwargs, "empty for a network of your own")
        require(self.sfreq is not None, "sfreq", self.sfreq, "given for a network of your own")
        require(self.n_times is not None, "n_times", self.n_times, "given for a network of your own")
        self.input_scale = 1.0 if self.input_scale is None else self.input_scale

    def _settle_backbone(self, spec: Backbone) -> None:
        """Check the constructor's arguments and fill in what the backbone decides."""
        require(self.module_info is None, "module_info", self.module_info, f"None for {self.backbone}")
        given = self.backbone_kwargs
        reserved = sorted(_RESERVED & set(given))
        require(not reserved, "backbone_kwargs", reserved, "free of what the config's own fields decide")
        for argument, value in given.items():
            try:
                json.dumps(value)
            except TypeError:
                expected = "a JSON value, so that it can be saved (classes as text: 'torch.nn.ELU')"
                require(False, f"backbone_kwargs[{argument!r}]", value, expected)
        for argument, value in spec.arguments(given).items():
            default = spec.defaults.get(argument)
            if type(default) is int:
                # there may be no overlap and no resizing; every other number counts something
                least = 0 if argument in ("patch_overlap", "resize_to") else 1
                good = type(value) is int and least <= value <= _MOST_OF_AN_OPTION
                expected = f"a whole number from {least} to {_MOST_OF_AN_OPTION:,}"
                require(good, f"backbone_kwargs[{argument!r}]", value, expected)
        depth = spec.arguments(given).get(spec.depth_argument)
        few = type(depth) is not int or depth <= _MOST_LAYERS
        require(few, f"backbone_kwargs[{spec.depth_argument!r}]", depth, f"at most {_MOST_LAYERS} layers")
        for argument, value in spec.fixed.items():
            require(
                given.get(argument, value) == value, f"backbone_kwargs[{argument!r}]", given.get(argument), f"{value}"
            )
        try:
            problem = spec.check(spec.arguments(given))
            if problem is None:
                spec.grid(given, len(self.ch_names), self.n_times or 1)
                spec.width(spec.arguments(given))
                spec.taps(given)
        except MALFORMED as error:
            raise ValueError(f"`backbone_kwargs` {given} do not fit {self.backbone}: {error}") from error
        require(problem is None, "backbone_kwargs", given, f"such that {problem}")
        if self.sfreq is None:
            self.sfreq = spec.sfreq or 200.0
        if self.n_times is None:
            self.n_times = spec.longest(given, round(5 * self.sfreq))
        if self.input_scale is None:
            self.input_scale = spec.input_scale

    def _check_window(self, spec: Backbone) -> None:
        if spec.sfreq is not None:
            require(
                self.sfreq == spec.sfreq,
                "sfreq",
                self.sfreq,
                f"{spec.sfreq} Hz, the rate that {self.backbone} was made for (EEGFeatureExtractor resamples)",
            )
        arguments = spec.arguments(self.backbone_kwargs)
        first, step = spec.window(arguments)
        shorter = spec.longest(self.backbone_kwargs, self.n_times)
        nearest = f"{shorter} or {shorter + step}" if shorter < self.n_times else f"{first}"
        rule = spec.window_rule or (
            f"a multiple of {self.backbone}'s patch of {step} samples"
            if first == step
            else f"{first} samples, or {first} and a multiple of {step} more, for {self.backbone}'s patches of "
            f"{first} samples every {step}"
        )
        fits = self.n_times >= first and (spec.reads_tail or (self.n_times - first) % step == 0)
        require(fits, "n_times", self.n_times, f"{rule} (nearest: {nearest})")
        most = spec.max_patches(arguments) if spec.max_patches else math.inf
        require(self.n_patches <= most, "n_times", self.n_times, f"at most {most} patches long for {self.backbone}")
        require(
            self.n_times <= (spec.max_times or math.inf),
            "n_times",
            self.n_times,
            f"at most {spec.max_times} samples for {self.backbone}",
        )
        if self.unread_samples:
            logger.warning_once(
                f"{self.backbone} reads patches of {first} samples every {step}: of a window of {self.n_times} "
                f"samples the last {self.unread_samples} are not read. Windows of {nearest} samples are read whole."
            )

    def _check_channels(self, spec: Backbone) -> None:
        if spec.max_chans_argument:
            most = spec.arguments(self.backbone_kwargs)[spec.max_chans_argument]
            beyond = self.ch_names[most:]
            require(
                not beyond,
                "ch_names",
                beyond,
                f"at most {most} channels for {self.backbone}, which has no embedding for those beyond (leave them "
                f"out, or raise backbone_kwargs[{spec.max_chans_argument!r}])",
            )
        if spec.channels == PLACED_CHANNELS:
            unknown = [name for name in self.ch_names if canonical_name(name) is None]
            if unknown:
                raise ValueError(
                    f"`ch_names`: {self.backbone} must know where every channel sits on the head, and no position is "
                    f"known for {describe_unknown(unknown)} Leave the others out of `ch_names`."
                )

    def taps(self) -> tuple[list[Tap], Tap]:
        """Return where the backbone is read: each layer, the first layer first; and the last hidden state."""
        if self.backbone != MODULE:
            return BACKBONES[self.backbone].taps(self.backbone_kwargs)
        info = self.module_info
        layout = TokenLayout(info["layout"], info["prefix_tokens"], info["suffix_tokens"])
        taps = [Tap(name, layout) for name in info["layers"]]
        return taps, taps[-1]

    def _grid(self) -> tuple[int, int]:
        if self.backbone == MODULE:
            return self.module_info["token_chans"], self.module_info["n_patches"]
        return BACKBONES[self.backbone].grid(self.backbone_kwargs, len(self.ch_names), self.n_times)

    def _arguments(self) -> dict[str, Any]:
        return BACKBONES[self.backbone].arguments(self.backbone_kwargs)

    @property
    def patch_size(self) -> int:
        """Samples that a token spans; with overlapping patches more than from one token to the next."""
        if self.backbone == MODULE:
            return max(self.n_times // self.n_patches, 1)
        return BACKBONES[self.backbone].patch(self._arguments()) or self.n_times // self.n_patches

    @property
    def n_chans(self) -> int:
        """Number C of channels of the input."""
        return len(self.ch_names)

    @property
    def token_chans(self) -> int:
        """Number C_t of channels that the tokens have: 1 where the backbone has mixed them all."""
        return self._grid()[0]

    @property
    def n_patches(self) -> int:
        """Number P_t of patches that the tokens have in a window of `n_times` samples."""
        return self._grid()[1]

    @property
    def unread_samples(self) -> int:
        """Samples at the end of a window that the backbone does not read."""
        if self.backbone == MODULE or not BACKBONES[self.backbone].reads_tail:
            return 0
        return self.n_times - BACKBONES[self.backbone].longest(self.backbone_kwargs, self.n_times)

    @property
    def num_hidden_layers(self) -> int:
        """Number L of layers that can be read."""
        if self.backbone == MODULE:
            return len(self.module_info["layers"])
        return BACKBONES[self.backbone].depth(self.backbone_kwargs)

    @property
    def hidden_size(self) -> int:
        """Width D of a layer."""
        if self.backbone == MODULE:
            return self.module_info["hidden_size"]
        return BACKBONES[self.backbone].width(self._arguments())


__all__ = ["BACKBONES", "Backbone", "DLinkTeacherConfig"]
