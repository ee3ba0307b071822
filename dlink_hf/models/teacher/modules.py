# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Networks of the user's own as teachers: where they can be read, measured by passing one window through."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from .configuration_teacher import DLinkTeacherConfig
from .token_layout import TokenLayout


def _submodule(module: nn.Module, name: str) -> nn.Module:
    try:
        return module.get_submodule(name)
    except AttributeError:
        known = [known for known, _ in module.named_modules() if known]
        raise ValueError(
            f"`layers`: {type(module).__name__} has no module {name!r}. It has {', '.join(known[:20])}"
            f"{' ...' if len(known) > 20 else ''}."
        ) from None


@torch.no_grad()
def measure_module(
    module: nn.Module,
    layers: Sequence[str],
    layout: str,
    n_chans: int,
    n_times: int,
    prefix_tokens: int = 0,
    suffix_tokens: int = 0,
    token_chans: int | None = None,
) -> tuple[dict[str, Any], tuple[int, ...] | None]:
    """Pass two windows of zeros through a network and see what shapes its layers have.

    Args:
        module: the network; its mode and weights stay as they are.
        layers, layout, prefix_tokens, suffix_tokens, token_chans: as `DLinkTeacherModel.from_module` takes them.
        n_chans, n_times: of a window.

    Returns:
        `module_info` of the config without `own_logits`, and the shape of the network's own output (None where that is
        no tensor).

    Raises:
        TypeError, ValueError: as `from_module` raises them.
    """
    if not isinstance(module, nn.Module):
        raise TypeError(f"`module` must be a torch.nn.Module, got {type(module).__name__}.")
    if isinstance(layers, str) or not layers or not all(isinstance(name, str) for name in layers):
        raise ValueError(f"`layers` must be a list of names of modules, such as ['blocks.0'], got {layers!r}.")
    token_layout = TokenLayout(layout, prefix_tokens, suffix_tokens)
    axes = set(layout) & set("cp")
    if token_chans is None:
        token_chans = n_chans if "c" in axes else 1
    states: dict[str, Any] = {}
    parameter = next(module.parameters(), torch.zeros(()))
    windows = torch.zeros(2, n_chans, n_times, device=parameter.device, dtype=parameter.dtype)
    modes = {part: part.training for part in module.modules()}
    with contextlib.ExitStack() as stack:
        for name in layers:
            hook = _submodule(module, name).register_forward_hook(
                lambda part, inputs, output, name=name: states.__setitem__(name, output)
            )
            stack.callback(hook.remove)
        try:
            module.eval()
            output = module(windows)
        except Exception as error:
            raise ValueError(
                f"{type(module).__name__} does not take windows (B, C, T) of {n_chans} channels and {n_times} "
                f"samples: {error}"
            ) from error
        finally:
            for part, mode in modes.items():
                part.training = mode
    shapes = {}
    for name in layers:
        if not isinstance(states.get(name), torch.Tensor):
            what = "was not run" if name not in states else f"gives a {type(states[name]).__name__}, not a tensor"
            raise ValueError(f"`layers`: {name!r} of {type(module).__name__} {what}.")
        tokens = token_layout.apply(states[name], 2, token_chans)
        if tokens.shape[0] != 2 or tokens.numel() == 0:
            raise ValueError(
                f"`layout`: {layout!r} reads {tuple(states[name].shape)} of {name!r} as (windows, channels, patches, "
                f"width) {tuple(tokens.shape)}, where two windows were passed."
            )
        shapes[name] = tuple(tokens.shape[1:])
    if len(set(shapes.values())) > 1:
        rows = "; ".join(f"{name}: {shape}" for name, shape in shapes.items())
        raise ValueError(f"`layers` must have tokens of one shape (channels, patches, width), got {rows}.")
    found = shapes[layers[0]]
    info = {
        "name": type(module).__name__,
        "layers": list(layers),
        "layout": layout,
        "prefix_tokens": prefix_tokens,
        "suffix_tokens": suffix_tokens,
        "token_chans": found[0],
        "n_patches": found[1],
        "hidden_size": found[2],
    }
    return info, tuple(output.shape) if isinstance(output, torch.Tensor) else None


def check_module(config: DLinkTeacherConfig, module: nn.Module | None) -> nn.Module:
    """Return the network that a config of `from_module` needs.

    Raises:
        ValueError: it is not given, or has not the layers that the config names.
    """
    name = config.module_info["name"]
    if module is None:
        raise ValueError(
            f"This teacher is a network of your own ({name}); its weights are saved, its code is not. Give the "
            f"network again: from_pretrained(folder, module={name}(...))."
        )
    if not isinstance(module, nn.Module):
        raise TypeError(f"`module` must be a torch.nn.Module, got {type(module).__name__}.")
    for tap in config.taps()[0]:
        _submodule(module, tap.module)
    return module


__all__ = ["check_module", "measure_module"]
