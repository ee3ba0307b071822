# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""What a row of the table of teachers says of one foundation model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .token_layout import Tap, TokenLayout


if TYPE_CHECKING:
    from torch import nn


Arguments = Mapping[str, Any]

# the package that most teachers are from
BRAINDECODE = "braindecode"

# what the channels of a model must be
ANY_CHANNELS = "any"  # told apart only by their place in the array, any number
FIXED_CHANNELS = "fixed"  # number and order belong to the weights
NAMED_CHANNELS = "names"  # a closed list of names
PLACED_CHANNELS = "positions"  # every channel needs a place on the head


@dataclass(frozen=True)
class Backbone:
    """What the wrapper must know of one foundation model.

    `arguments` in the formulas below are the constructor's, those of `defaults` where none are given.

    Args:
        layers: name of the module whose output is layer i, with `{}` for i. Where `last` is given, the module whose
            input is layer i - 1.
        layout: einops pattern of that state; `b` batch, `c` channels, `p` patches, `d` width.
        depth_argument: constructor argument that holds the number of layers.
        defaults: the constructor's defaults of the arguments that the formulas read; of all where `make` is given.
        width: arguments -> width D of a layer.
        window: arguments -> (first, step), samples: a window of `first + k * step` has k + 1 patches.
        window_rule: that in words, where patches are not of `step` samples.
        patch: arguments -> samples that a token spans; 0 where it is the window's share.
        channels: one of `ANY_CHANNELS`, `FIXED_CHANNELS`, `NAMED_CHANNELS`, `PLACED_CHANNELS`.
        channel_contract: that requirement in words, for errors and tables.
        sfreq: rate in Hz that the model was made for; None where any will do.
        input_scale: factor from microvolts to the numbers that the model wants.
        scale_note: what these are, as far as its package says it.
        last: module whose output is the last layer's state, for models that only show the inputs of their blocks.
        element: arguments -> indices of the state in what the module gives, where that is a tuple or a list.
        prefix_tokens: (arguments, layer) -> tokens before those of the patches (class tokens), which are cut off.
        suffix_tokens: arguments -> tokens behind them, in the layers and in `final`.
        every: read every so many tokens.
        final, final_layout, final_prefix: module whose output is `last_hidden_state`, its layout and class tokens; the
            last layer's state where None.
        token_chans: (arguments, channels) -> channels that the tokens have.
        n_patches: (arguments, samples) -> patches, where `window` does not say it.
        reads_tail: samples behind the last whole patch are allowed, though the model does not read them.
        max_patches: arguments -> most patches that a window may have.
        max_times: most samples that a window may have.
        max_chans_argument: argument that holds the most channels.
        passes_ch_names: `forward` takes `ch_names=`.
        forward: arguments of `forward` that leave the classification head out.
        heads: modules that a teacher has no use for; they are cut off.
        build: constructor arguments that leave the head away.
        fixed: constructor arguments on which the layout rests, with the one value that they may have.
        check: arguments -> what is wrong with them, or None.
        package: the package, by the name it is imported under, that has the network.
        make: arguments -> the network, which takes windows (B, C, T), for packages other than braindecode.
        is_saved: config.json -> whether it is that of a published checkpoint of this model.
        saved_options: config.json of such a checkpoint -> arguments; further entries are left aside.
    """

    layers: str
    layout: str
    depth_argument: str
    defaults: Arguments
    width: Callable[[Arguments], int]
    window: Callable[[Arguments], tuple[int, int]]
    patch: Callable[[Arguments], int]
    channels: str
    channel_contract: str
    sfreq: float | None
    input_scale: float
    scale_note: str
    last: str | None = None
    element: Callable[[Arguments], tuple[Any, ...]] = lambda arguments: ()
    prefix_tokens: Callable[[Arguments, int], int] = lambda arguments, layer: 0
    suffix_tokens: Callable[[Arguments], int] = lambda arguments: 0
    window_rule: str | None = None
    every: int = 1
    final: str | None = None
    final_layout: str = "b (c p) d"
    final_prefix: int = 0
    token_chans: Callable[[Arguments, int], int] = lambda arguments, n_chans: n_chans
    n_patches: Callable[[Arguments, int], int] | None = None
    reads_tail: bool = False
    max_patches: Callable[[Arguments], int] | None = None
    max_times: int | None = None
    max_chans_argument: str | None = None
    passes_ch_names: bool = False
    forward: Arguments = field(default_factory=lambda: {"return_features": True})
    heads: tuple[str, ...] = ("final_layer",)
    build: Arguments = field(default_factory=dict)
    fixed: Arguments = field(default_factory=dict)
    check: Callable[[Arguments], str | None] = lambda arguments: None
    package: str = BRAINDECODE
    make: Callable[[Arguments], nn.Module] | None = None
    is_saved: Callable[[Arguments], bool] = lambda saved: False
    saved_options: Callable[[Arguments], dict[str, Any]] | None = None

    def arguments(self, given: Arguments) -> dict[str, Any]:
        """Return the constructor's arguments: those given, and the defaults that the formulas read."""
        return {**self.defaults, **given}

    def depth(self, given: Arguments) -> int:
        """Return the number L of layers."""
        return self.arguments(given)[self.depth_argument]

    def grid(self, given: Arguments, n_chans: int, n_times: int) -> tuple[int, int]:
        """Channels C_t and patches P_t of the tokens of a window of `n_chans` channels and `n_times` samples."""
        arguments = self.arguments(given)
        first, step = self.window(arguments)
        patches = self.n_patches(arguments, n_times) if self.n_patches else (n_times - first) // step + 1
        return self.token_chans(arguments, n_chans), patches

    def longest(self, given: Arguments, n_times: int) -> int:
        """Return the longest window that is allowed and has at most `n_times` samples; the shortest where none has."""
        first, step = self.window(self.arguments(given))
        return first + max(n_times - first, 0) // step * step

    def taps(self, given: Arguments) -> tuple[list[Tap], Tap]:
        """Return where each layer is read, the first layer first; and where the last hidden state is."""
        arguments = self.arguments(given)
        depth, element, suffix = self.depth(given), self.element(arguments), self.suffix_tokens(arguments)
        layers = []
        for layer in range(depth):
            layout = TokenLayout(self.layout, self.prefix_tokens(arguments, layer), suffix, self.every)
            if self.last is None:
                layers.append(Tap(self.layers.format(layer), layout, element=element))
            elif layer + 1 < depth:
                layers.append(Tap(self.layers.format(layer + 1), layout, of_input=True))
            else:
                layers.append(Tap(self.last, layout))
        if self.final is None:
            return layers, layers[-1]
        return layers, Tap(self.final, TokenLayout(self.final_layout, self.final_prefix, suffix))


def whole_patches(argument: str) -> dict[str, Callable[[Arguments], Any]]:
    """Patches of `argument` samples, without overlap or gap."""
    return {
        "window": lambda arguments: (arguments[argument], arguments[argument]),
        "patch": lambda arguments: arguments[argument],
    }


def argument_of(argument: str) -> Callable[[Arguments], Any]:
    return lambda arguments: arguments[argument]


# a teacher made by `from_module` of a network of the user's own
MODULE = "module"

__all__ = [
    "ANY_CHANNELS",
    "BRAINDECODE",
    "FIXED_CHANNELS",
    "MODULE",
    "NAMED_CHANNELS",
    "PLACED_CHANNELS",
    "Arguments",
    "Backbone",
    "argument_of",
    "whole_patches",
]
