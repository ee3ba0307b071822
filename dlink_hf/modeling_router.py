# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""The router: one set of weights over the teacher's layers for every input."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F
from transformers.utils import ModelOutput

from .configuration_router import DLinkRouterConfig
from .modeling_base import DLinkPreTrainedModel


@dataclass
class DLinkRouterOutput(ModelOutput):
    """Output of [`DLinkRouter`].

    Args:
        weights (`torch.Tensor`, (B, L)): how much each layer counts; rows sum to one.
        routed_state (`torch.Tensor`, (B, C, P, D)): sum over l of w_l * LN(h_l), still attached to the weights.
        logits (`torch.Tensor`, (B, num_labels)): what the routed state says of the task.
    """

    weights: torch.Tensor | None = None
    routed_state: torch.Tensor | None = None
    logits: torch.Tensor | None = None


# values that are brought to single precision at a time on a CPU: what stays in its cache
_VALUES_AT_ONCE = 2**18


def normalise_layers(hidden_states: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """What the router reads of a teacher: its layers, each token normalised, and their means.

    Args:
        hidden_states: L of (B, C, P, D).

    Returns:
        the layer-normalised states (B, L, C, P, D), in memory patch by patch, as the student's are; and their means
        over channels and patches (B, L, D).
    """
    layers = [F.layer_norm(state, state.shape[-1:]).transpose(1, 2) for state in hidden_states]
    pooled = torch.stack([layer.mean((1, 2)) for layer in layers], dim=1)
    return torch.stack(layers, dim=1).transpose(2, 3), pooled


class _MixLayers(torch.autograd.Function):
    """Sums (B, N) of states (B, L, N), weighted by (B, L). The states may be stored in half precision.

    Window by window on a CPU: single-precision copies of all layers at once would cost more time than the sums.
    """

    @staticmethod
    def _parts(weights: torch.Tensor, states: torch.Tensor) -> list[tuple[torch.Tensor, slice]]:
        size = max(1, _VALUES_AT_ONCE // states[0].numel()) if states.device.type == "cpu" else len(states)
        return [slice(start, start + size) for start in range(0, len(states), size)]

    @staticmethod
    def forward(ctx: Any, weights: torch.Tensor, states: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(weights, states)
        mixed = weights.new_empty(len(states), 1, states.shape[-1])
        with torch.autocast(weights.device.type, enabled=False):
            for rows in _MixLayers._parts(weights, states):
                torch.bmm(weights[rows, None], states[rows].to(weights.dtype), out=mixed[rows])
        return mixed[:, 0]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, None]:
        weights, states = ctx.saved_tensors
        weights_grad = weights.new_empty(*weights.shape, 1)
        grad = grad.contiguous()
        for rows in _MixLayers._parts(weights, states):
            torch.bmm(states[rows].to(weights.dtype), grad[rows, :, None], out=weights_grad[rows])
        return weights_grad[..., 0], None


def mix_layers(weights: torch.Tensor, states: torch.Tensor) -> torch.Tensor:
    """Sum over l of w_l * state_l.

    Args:
        weights: (B, L); the sum can be differentiated with respect to them.
        states: (B, L, C, P, D), of any floating-point type.

    Returns:
        (B, C, P, D), of the weights' type.
    """
    if states.requires_grad:
        return torch.einsum("bl,blcpd->bcpd", weights, states.to(weights.dtype))
    patches_first = states.transpose(2, 3)
    mixed = _MixLayers.apply(weights, patches_first.flatten(2))
    return mixed.unflatten(1, patches_first.shape[2:]).transpose(1, 2)


class LayerScores(nn.Linear):
    """A linear layer that starts at zero: the first step of a training sees the plain average of the layers."""


class DLinkRouter(DLinkPreTrainedModel):
    """Weigh the teacher's layers by what the task needs of them.

    The router reads the layer-normalised hidden states, averaged over channels and patches, and gives a softmax over
    layers. It learns from the task alone: a small head on the routed state, pooled over patches, must predict the
    label, so that the weights find the layers in which the task's knowledge dominates. The head keeps the channels
    apart, for where on the scalp something happens is often all that tells two classes from each other.

    Args:
        config ([`DLinkRouterConfig`]): number and width of the layers, number of labels.
    """

    config_class = DLinkRouterConfig
    config: DLinkRouterConfig
    base_model_prefix = "router"
    main_input_name = "hidden_states"

    def __init__(self, config: DLinkRouterConfig):
        super().__init__(config)
        self.dropout = nn.Dropout(config.router_dropout)
        if config.routing == "input":
            self.reduce = nn.Linear(config.hidden_size, config.router_size)
            self.score = LayerScores(config.num_layers * config.router_size, config.num_layers)
        elif config.routing == "static":
            self.layer_scores = nn.Parameter(torch.zeros(config.num_layers))
        self.channel_features = nn.Linear(config.hidden_size, config.router_size)
        self.classifier = nn.Linear(config.n_chans * config.router_size, config.num_labels)
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, LayerScores):
            nn.init.zeros_(module.weight)
            nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            nn.init.zeros_(module.bias)
        elif isinstance(module, DLinkRouter) and self.config.routing == "static":
            nn.init.zeros_(module.layer_scores)

    def route(self, pooled: torch.Tensor) -> torch.Tensor:
        """Weights (B, L) of pooled, layer-normalised hidden states (B, L, D)."""
        config = self.config
        shape = pooled.shape[:2]
        if config.routing == "uniform":
            return pooled.new_full(shape, 1 / config.num_layers)
        if config.routing == "last":
            return F.one_hot(torch.full(shape[:1], config.num_layers - 1, device=pooled.device), shape[1]).to(pooled)
        if config.routing == "static":
            scores = self.layer_scores.expand(shape)
        else:
            features = self.dropout(F.gelu(self.reduce(F.layer_norm(pooled, pooled.shape[-1:]))))
            scores = self.score(features.flatten(1))
        return (scores.float() / config.temperature).softmax(-1)

    def classify(self, routed_state: torch.Tensor) -> torch.Tensor:
        """Logits (B, num_labels) of a routed state (B, C, P, D)."""
        features = F.gelu(self.channel_features(routed_state.transpose(1, 2))).mean(1)
        return self.classifier(self.dropout(features.flatten(1)))

    def forward(
        self,
        hidden_states: Sequence[torch.Tensor] | None = None,
        normalised_states: torch.Tensor | None = None,
        pooled_states: torch.Tensor | None = None,
    ) -> DLinkRouterOutput:
        r"""
        Args:
            hidden_states (`Sequence[torch.Tensor]`, L of (B, C, P, D)): every layer of the teacher, first to last.
            normalised_states (`torch.Tensor`, (B, L, C, P, D)): in their place, [`normalise_layers`] of them, which a
                [`TeacherCache`] holds in half precision.
            pooled_states (`torch.Tensor`, (B, L, D), *optional*): the means of `normalised_states` over channels and
                patches, computed where left out.

        Returns:
            [`DLinkRouterOutput`].

        Raises:
            ValueError: the number of layers, their channels or their width differ from the config's.
        """
        config = self.config
        if normalised_states is None:
            shapes = {(len(hidden_states or ()), state.shape[1], state.shape[-1]) for state in hidden_states or ()}
        else:
            shapes = {(normalised_states.shape[1], normalised_states.shape[2], normalised_states.shape[-1])}
        if shapes != {(config.num_layers, config.n_chans, config.hidden_size)}:
            raise ValueError(
                f"The router weighs {config.num_layers} layers of {config.n_chans} channels and width "
                f"{config.hidden_size}, got (layers, channels, width) {sorted(shapes)}."
            )
        if normalised_states is None:
            normalised_states, pooled_states = normalise_layers(hidden_states)
        elif pooled_states is None:
            pooled_states = normalised_states.float().mean((2, 3))
        dtype = self.channel_features.weight.dtype
        weights = self.route(pooled_states.to(dtype))
        routed_state = mix_layers(weights, normalised_states).to(dtype)
        return DLinkRouterOutput(weights, routed_state, self.classify(routed_state))


__all__ = ["DLinkRouter", "DLinkRouterOutput", "mix_layers", "normalise_layers"]
