# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""What of a teacher is trained, and how fast: the rate of each layer."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from .configuration_teacher import BACKBONES


def _check_is_teacher(model: nn.Module, what: str) -> None:
    if getattr(getattr(model, "base_model", None), "backbone", None) is None:
        raise ValueError(
            f"{what} is for teachers, whose layers are known; got {type(model).__name__}. A student trains whole."
        )


def layer_prefixes(model: PreTrainedModel) -> list[str]:
    """Names of the blocks whose outputs are the hidden states, the first first, as seen from the teacher's backbone.

    Args:
        model: a teacher.
    """
    # a tap may lie on a part of its block (`blocks.{}.attention`); the block is what the number belongs to
    pattern = BACKBONES[model.config.backbone].layers
    block = pattern[: pattern.index("{}") + 2]
    return [block.format(layer) for layer in range(model.config.num_hidden_layers)]


def _within(name: str, prefix: str) -> bool:
    return name == prefix or name.startswith(prefix + ".")


def called_modules(model: PreTrainedModel) -> list[str]:
    """Names of the backbone's modules whose `forward` a window passes through, in the order of their first call.

    A module that is absent holds weights that others read directly (the output projection of
    `torch.nn.MultiheadAttention`), or none that are used.

    Args:
        model: a teacher; its weights, its random numbers and its mode stay as they are.
    """
    backbone, config = model.base_model.backbone, model.config
    order: dict[str, None] = {}
    modes = {module: module.training for module in model.modules()}
    handles = [
        module.register_forward_pre_hook(lambda _, inputs, name=name: order.setdefault(name))
        for name, module in backbone.named_modules()
    ]
    # the fused path of torch's transformer layers calls none of their parts; hooks turn it off for the layers, this
    # for the attention
    fast_path = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.no_grad():
            model.eval()
            window = torch.randn(1, config.n_chans, config.n_times, generator=torch.Generator().manual_seed(0))
            model.base_model(20.0 * window.to(model.device))
    finally:
        torch.backends.mha.set_fastpath_enabled(fast_path)
        for handle in handles:
            handle.remove()
        for module, mode in modes.items():
            module.training = mode
    return list(order)


def parameter_depths(model: PreTrainedModel) -> dict[str, int]:
    """How deep each parameter of a teacher lies: 0 before the first layer, i in layer i, L + 1 behind the last.

    What lies outside the layers is sorted by when it is used: patch embedding and positions are 0, a projection or
    norm behind the last layer and the head L + 1.

    Args:
        model: a teacher of L layers.

    Returns:
        name of the parameter -> depth.
    """
    prefixes, order = layer_prefixes(model), {name: index for index, name in enumerate(called_modules(model))}
    last = min((index for name, index in order.items() if _within(name, prefixes[-1])), default=len(order))
    head = len(prefixes) + 1
    backbone_parameters = {id(parameter): name for name, parameter in model.base_model.backbone.named_parameters()}
    depths = {}
    for full_name, parameter in model.named_parameters():
        name = backbone_parameters.get(id(parameter))
        if name is None:
            depths[full_name] = head
            continue
        layer = next((index for index, prefix in enumerate(prefixes) if _within(name, prefix)), None)
        owner = name.rpartition(".")[0]
        while owner not in order and owner:
            owner = owner.rpartition(".")[0]
        behind = order.get(owner, 0) > last
        depths[full_name] = layer + 1 if layer is not None else head if behind else 0
    return depths


def parameter_groups(
    model: PreTrainedModel,
    learning_rate: float,
    weight_decay: float,
    decayed: Collection[str],
    layer_decay: float = 1.0,
    head_multiplier: float = 1.0,
) -> list[dict[str, Any]]:
    """Groups for an optimizer: the deeper a layer lies below the head, the slower it learns.

    The rate at depth i of `parameter_depths` is `learning_rate * layer_decay ** (L + 1 - i)`: the last layer learns
    with `layer_decay` times the full rate, the patch embedding with its (L + 1)-th power, as in ELECTRA (Clark et al.
    2020) and BEiT (Bao et al. 2022). The head has `head_multiplier` times the full rate.

    Args:
        model: a teacher; parameters that do not train are left out.
        learning_rate: the full rate.
        weight_decay: of the parameters named in `decayed`; that of the others is 0.
        decayed: names of parameters, such as `Trainer.get_decay_parameter_names` gives.
        layer_decay: in (0, 1]; 1 gives every layer the full rate.
        head_multiplier: positive.

    Returns:
        dicts of `params`, `lr` and `weight_decay`, the head first.

    Raises:
        ValueError: the model is no teacher, or a value is out of range.
    """
    check_rates(layer_decay, head_multiplier)
    _check_is_teacher(model, "A rate for each layer")
    depths = parameter_depths(model)
    deepest = model.config.num_hidden_layers + 1
    in_backbone = {id(parameter) for parameter in model.base_model.parameters()}
    groups: dict[tuple[float, bool], dict[str, Any]] = {}
    trained = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    for name, parameter in sorted(trained, key=lambda item: (id(item[1]) in in_backbone, -depths[item[0]])):
        scale = layer_decay ** (deepest - depths[name]) if id(parameter) in in_backbone else head_multiplier
        key = (learning_rate * scale, name in decayed)
        decay = weight_decay if name in decayed else 0.0
        groups.setdefault(key, {"params": [], "lr": key[0], "weight_decay": decay})["params"].append(parameter)
    return list(groups.values())


def check_rates(layer_decay: float, head_multiplier: float) -> None:
    """Refuse a decay outside (0, 1] and a multiplier that is not positive.

    Raises:
        ValueError: naming the argument.
    """
    if not 0 < layer_decay <= 1:
        raise ValueError(
            f"`learning_rate_decay` must lie in (0, 1], 1 for the same rate everywhere, got {layer_decay}."
        )
    if not 0 < head_multiplier < float("inf"):
        raise ValueError(f"`head_learning_rate_multiplier` must be positive, got {head_multiplier}.")


__all__ = ["called_modules", "check_rates", "layer_prefixes", "parameter_depths", "parameter_groups"]
