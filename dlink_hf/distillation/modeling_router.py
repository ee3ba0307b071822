# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""The router: one set of weights over the teacher's layers for every input."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F
from transformers.utils import ModelOutput

from ..models.modeling_base import DLinkPreTrainedModel, at_least_single
from ..models.token_grid import to_grid
from .configuration_router import DLinkRouterConfig


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


def normalise_layers(hidden_states: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return what the router reads of a teacher: its layers, each token normalised, and their means.

    Args:
        hidden_states: L of (B, C, P, D).

    Returns:
        the layer-normalised states (B, L, C, P, D), in memory patch by patch, as the student's are; and their means
        over channels and patches (B, L, D).
    """
    layers = [F.layer_norm(state, state.shape[-1:]).transpose(1, 2) for state in hidden_states]
    pooled = torch.stack([layer.mean((1, 2)) for layer in layers], dim=1)
    return torch.stack(layers, dim=1).transpose(2, 3), pooled


def mix_layers(weights: torch.Tensor, states: torch.Tensor) -> torch.Tensor:
    """Sum over l of w_l * state_l.

    Args:
        weights: (B, L); the sum can be differentiated with respect to them.
        states: (B, L, C, P, D), of any floating-point type.

    Returns:
        (B, C, P, D), of the weights' type.
    """
    # patches first, as they lie in memory: nothing is copied
    patches_first = states.transpose(2, 3)
    with torch.autocast(weights.device.type, enabled=False):
        mixed = torch.einsum("bl,bln->bn", weights, patches_first.flatten(2).to(weights.dtype))
    return mixed.unflatten(1, patches_first.shape[2:]).transpose(1, 2)


class LayerScores(nn.Linear):
    """A linear layer that starts at zero: the first step of a training sees the plain average of the layers."""


class Bridge(nn.Linear):
    """Another teacher's width to that of the first; it starts as an isometry, and as the identity for equal widths."""


class DLinkRouter(DLinkPreTrainedModel):
    """Weigh the teacher's layers by what the task needs of them.

    The router reads the layer-normalised hidden states, averaged over channels and patches, and gives a softmax over
    layers. It learns only from the task: a small head on the routed state, pooled over patches, must predict the
    label, so that the weights find the layers in which the task's knowledge dominates. The head keeps the channels
    apart, for where on the scalp something happens is often all that tells two classes from each other.

    Several teachers: one softmax runs over the layers of all. The weighted sum of each teacher's layers is brought to
    the width of the first by a linear map without bias, which learns from the task as the weights do, and to its grid
    by the fixed rules of `token_grid`; then they are added up. Both steps are linear, so that this is the weighted sum
    over all layers, each brought there by itself.

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
            if len(config.teacher_layers) > 1:
                more = (nn.Linear(width, config.router_size) for _, width in config.teacher_layers[1:])
                self.more_reduces = nn.ModuleList(more)
            self.score = LayerScores(config.num_layers * config.router_size, config.num_layers)
        elif config.routing == "static":
            self.layer_scores = nn.Parameter(torch.zeros(config.num_layers))
        if len(config.teacher_layers) > 1:
            others = config.teacher_layers[1:]
            self.bridges = nn.ModuleList(Bridge(width, config.hidden_size, bias=False) for _, width in others)
        self.channel_features = nn.Linear(config.hidden_size, config.router_size)
        self.classifier = nn.Linear(config.n_chans * config.router_size, config.num_labels)
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, LayerScores):
            nn.init.zeros_(module.weight)
            nn.init.zeros_(module.bias)
        elif isinstance(module, Bridge):
            nn.init.eye_(module.weight) if module.in_features == module.out_features else nn.init.orthogonal_(
                module.weight
            )
        elif isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            nn.init.zeros_(module.bias)
        elif isinstance(module, DLinkRouter) and self.config.routing == "static":
            nn.init.zeros_(module.layer_scores)

    def route(self, pooled: torch.Tensor | Sequence[torch.Tensor]) -> torch.Tensor:
        """Return the weights (B, L) of pooled, layer-normalised hidden states (B, L, D); one such tensor a teacher."""
        config = self.config
        pooled = [pooled] if isinstance(pooled, torch.Tensor) else pooled
        shape = (len(pooled[0]), config.num_layers)
        if config.routing == "uniform":
            return pooled[0].new_full(shape, 1 / config.num_layers)
        if config.routing == "last":
            last = torch.full(shape[:1], config.num_layers - 1, device=pooled[0].device)
            return F.one_hot(last, shape[1]).to(pooled[0])
        if config.routing == "static":
            scores = self.layer_scores.expand(shape)
        else:
            reduces = [self.reduce, *getattr(self, "more_reduces", ())]
            features = [
                self.dropout(F.gelu(reduce(F.layer_norm(layers, layers.shape[-1:]))))
                for reduce, layers in zip(reduces, pooled, strict=True)
            ]
            scores = self.score(torch.cat(features, dim=1).flatten(1))
        return (at_least_single(scores) / config.temperature).softmax(-1)

    def mix(self, weights: torch.Tensor, states: Sequence[torch.Tensor]) -> torch.Tensor:
        """Routed state (B, C, P, D) of weights (B, L) and each teacher's normalised states (B, L_k, C_k, P_k, D_k)."""
        dtype = self.channel_features.weight.dtype
        parts = weights.split([n_layers for n_layers, _ in self.config.teacher_layers], dim=1)
        routed, *others = (mix_layers(part, layers).to(dtype) for part, layers in zip(parts, states, strict=True))
        for bridge, other in zip(getattr(self, "bridges", ()), others, strict=True):
            routed = routed + to_grid(bridge(other), *routed.shape[1:3])
        return routed

    def classify(self, routed_state: torch.Tensor) -> torch.Tensor:
        """Return the logits (B, num_labels) of a routed state (B, C, P, D)."""
        features = F.gelu(self.channel_features(routed_state.transpose(1, 2))).mean(1)
        return self.classifier(self.dropout(features.flatten(1)))

    def forward(
        self,
        hidden_states: Sequence[torch.Tensor] | Sequence[Sequence[torch.Tensor]] | None = None,
        normalised_states: torch.Tensor | Sequence[torch.Tensor] | None = None,
        pooled_states: torch.Tensor | Sequence[torch.Tensor] | None = None,
    ) -> DLinkRouterOutput:
        r"""
        Several teachers give a sequence, in the order of the config, of what is described for one below.

        Args:
            hidden_states (`Sequence[torch.Tensor]`, L of (B, C, P, D)): every layer of the teacher, first to last.
            normalised_states (`torch.Tensor`, (B, L, C, P, D)): in their place, [`normalise_layers`] of them, which a
                [`TeacherCache`] holds in half precision.
            pooled_states (`torch.Tensor`, (B, L, D), *optional*): the means of `normalised_states` over channels and
                patches, computed by default.

        Returns:
            [`DLinkRouterOutput`].

        Raises:
            ValueError: the number of layers, the (first) teacher's channels, or a width differ from the config's.
        """
        config = self.config
        single = len(config.teacher_layers) == 1
        if normalised_states is None:
            layers = [hidden_states or ()] if single else hidden_states or ()
            given = [(len(one), {(state.shape[1], state.shape[-1]) for state in one}) for one in layers]
        else:
            states = [normalised_states] if single else normalised_states
            given = [(one.shape[1], {(one.shape[2], one.shape[-1])}) for one in states]
        expected = [(n_layers, width) for n_layers, width in config.teacher_layers]
        found = [(n_layers, shape[1]) for n_layers, shapes in given for shape in shapes]
        if found != expected or {chans for chans, _ in given[0][1]} != {config.n_chans}:
            wanted = " and ".join(f"{n_layers} layers of width {width}" for n_layers, width in expected[1:])
            raise ValueError(
                f"The router weighs {expected[0][0]} layers of {config.n_chans} channels and width {expected[0][1]}"
                f"{f', then {wanted}' if wanted else ''}; got (layers, (channels, width)) "
                f"{[(n_layers, *sorted(shapes)) for n_layers, shapes in given]}."
            )
        if normalised_states is None:
            states, pooled = zip(*map(normalise_layers, layers), strict=True)
        elif pooled_states is None:
            pooled = [at_least_single(one).mean((2, 3)) for one in states]
        else:
            pooled = [pooled_states] if single else pooled_states
        dtype = self.channel_features.weight.dtype
        weights = self.route([one.to(dtype) for one in pooled])
        routed_state = self.mix(weights, states)
        return DLinkRouterOutput(weights, routed_state, self.classify(routed_state))


__all__ = ["DLinkRouter", "DLinkRouterOutput", "mix_layers", "normalise_layers"]
