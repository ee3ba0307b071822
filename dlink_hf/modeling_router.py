# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""The router: one set of weights over the teacher's layers for every input."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn
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
        features = F.gelu(self.channel_features(routed_state)).mean(2)
        return self.classifier(self.dropout(features.flatten(1)))

    def forward(self, hidden_states: Sequence[torch.Tensor]) -> DLinkRouterOutput:
        r"""
        Args:
            hidden_states (`Sequence[torch.Tensor]`, L of (B, C, P, D)): every layer of the teacher, first to last.

        Returns:
            [`DLinkRouterOutput`].

        Raises:
            ValueError: the number of layers, their channels or their width differ from the config's.
        """
        config = self.config
        shapes = {(state.shape[1], state.shape[-1]) for state in hidden_states}
        if len(hidden_states) != config.num_layers or shapes != {(config.n_chans, config.hidden_size)}:
            raise ValueError(
                f"The router weighs {config.num_layers} layers of {config.n_chans} channels and width "
                f"{config.hidden_size}, got {len(hidden_states)} of (channels, width) {sorted(shapes)}."
            )
        width = (config.hidden_size,)
        normalised = torch.stack([F.layer_norm(state, width) for state in hidden_states], dim=1)
        weights = self.route(normalised.mean((2, 3)))
        routed_state = torch.einsum("bl,blcpd->bcpd", weights.to(normalised.dtype), normalised)
        return DLinkRouterOutput(weights, routed_state, self.classify(routed_state))


__all__ = ["DLinkRouter", "DLinkRouterOutput"]
