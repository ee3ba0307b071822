# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""A general student is distilled from recordings of many montages and tasks at once, most of them without labels."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers.utils import ModelOutput

from ...core.electrodes import channel_positions
from ...core.licences import join_licences
from ...models.mic.modeling_mic import MiCModel
from ...models.task_losses import check_labels
from ...models.teacher.backbones import ANY_CHANNELS
from ...models.teacher.configuration_teacher import BACKBONES, DLinkTeacherConfig
from ...models.teacher.modeling_teacher import DLinkTeacherModel
from ...models.token_grid import common_grid, to_grid
from ..configuration_router import DLinkRouterConfig
from ..configuration_studio import DLinkStudioConfig
from ..losses import classification_loss, router_balance_loss, router_entropy
from ..modeling_router import DLinkRouter, normalise_layers
from ..modeling_studio import MiCDecoder
from ..objective import mimic_terms


# of a window's channels, at least this share is left where the student sees a part of them
_LEAST_CHANNELS = 0.25
# the terms of the layers, on by default: they need no label
LAYERS = {"route_weight": 1.0, "spectral_weight": 0.5}


@dataclass(frozen=True)
class LabelledSet:
    """What the heads of one labelled set depend on.

    Args:
        n_chans: channels of its windows.
        num_labels: its classes.
    """

    n_chans: int
    num_labels: int


@dataclass
class BackboneStudioOutput(ModelOutput):
    """Output of [`BackboneStudio`]. Where the student saw a part of the channels, C is their number.

    Args:
        loss (`torch.Tensor`, scalar): the weighted sum of the terms.
        losses (`dict[str, torch.Tensor]`): every term before its weight, by name, detached.
        logits (`torch.Tensor`, (B, num_labels)): of the student's head of this set; None for windows of no set.
        router_logits (`torch.Tensor`, (B, num_labels)): of the router's head of this set.
        router_weights (`torch.Tensor`, (B, L)): how much each of the teacher's layers counts.
        routed_state (`torch.Tensor`, (B, C, P, D)): the student's target, detached.
        mimic_state (`torch.Tensor`, (B, C, P, D)): the student's reply to it.
    """

    loss: torch.Tensor | None = None
    losses: dict[str, torch.Tensor] | None = None
    logits: torch.Tensor | None = None
    router_logits: torch.Tensor | None = None
    router_weights: torch.Tensor | None = None
    routed_state: torch.Tensor | None = None
    mimic_state: torch.Tensor | None = None


class BackboneStudio(nn.Module):
    """A frozen teacher without a head, a router, a student without a head, and heads that exist only in training.

    Each batch is of one montage. Every batch gives the terms that need no label: the student mimics the routed layers
    of the teacher, in their spectra too, and the router is kept from collapsing. A batch of a labelled set also gives
    two cross-entropies: of the student's head of that set, on the compressed state, and of the router's, from which
    the router learns which layers hold what tasks need. Nothing but the student is of use afterwards.

    A batch holds one montage. The student's batch normalisation would take out that montage's powers while it trains,
    and its running statistics would leave them in afterwards: over a long training the heads drift off. So the
    statistics are those of all montages together from the beginning ([`settle_normalisation`]), unless
    `fixed_normalisation` is False.

    Args:
        teacher: of a backbone that takes any channels (CBraMod, CodeBrain).
        student: its `mimic_size` is the teacher's width, its rate the teacher's.
        labelled_sets: of each set with labels, by name, the channels and classes.
        router_config: of the router; its `n_chans` and labels play no part.
        channel_subset: probability that the student sees a random part of a training batch's channels, a quarter of
            them or more; the teacher sees all, the target is that of the part.
        fixed_normalisation: keep the statistics of the student's batch normalisation fixed.
        **fields: fields of [`DLinkStudioConfig`], such as `spectral_weight=0.2`. `route_weight` is 1 and
            `spectral_weight` 0.5 unless given: layers are all that windows without labels teach.

    Raises:
        ValueError: the backbone's weights belong to one montage, the parts do not fit each other, or an argument is
            out of range; the message names it.
    """

    def __init__(
        self,
        teacher: DLinkTeacherModel,
        student: MiCModel,
        labelled_sets: Mapping[str, LabelledSet],
        router_config: DLinkRouterConfig | None = None,
        channel_subset: float = 0.0,
        fixed_normalisation: bool = True,
        **fields: Any,
    ):
        super().__init__()
        able = [name for name, backbone in BACKBONES.items() if backbone.channels == ANY_CHANNELS]
        if teacher.config.backbone not in able:
            raise ValueError(
                f"A teacher of mixed montages is one that takes any channels, {' or '.join(able)}; got "
                f"{teacher.config.backbone}."
            )
        if student.config.signed_path:
            raise ValueError(
                "A general student has no signed path: the potentials that it is for belong to one task's moment. "
                "Make the student with `signed_path=False`, and train one of the task's own for evoked potentials."
            )
        if not 0 <= channel_subset <= 1:
            raise ValueError(f"`channel_subset` is a probability, got {channel_subset}.")
        names = [name for name in labelled_sets if not name.isidentifier()]
        if names:
            raise ValueError(f"Names of labelled sets are made of letters, digits and _, got {names}.")
        neutral = student.config
        neutral.weights_licenses = join_licences(neutral.weights_licenses, teacher.config.weights_licenses)
        teacher_config = _config_for(teacher.config, neutral.ch_names, neutral.n_times, id2label=neutral.id2label)
        if router_config is None:
            router_config = DLinkRouterConfig.from_teacher(teacher_config)
        self.config = DLinkStudioConfig(
            teacher_config=teacher_config, router_config=router_config, student_config=neutral, **{**LAYERS, **fields}
        )
        self.channel_subset, self.fixed_normalisation = channel_subset, fixed_normalisation
        self.teacher, self.student = teacher, student
        self.router = DLinkRouter(router_config)
        # its features of every channel, which do not depend on the montage, serve the heads of all sets
        self.router.classifier = nn.Identity()
        self.decoder = MiCDecoder(neutral)
        self.dropout = nn.Dropout(neutral.classifier_dropout)
        size = neutral.num_spatial_slots * neutral.num_temporal_slots * neutral.compressed_size
        self.heads, self.router_heads = nn.ModuleDict(), nn.ModuleDict()
        for name, labelled in labelled_sets.items():
            self.heads[name] = nn.Linear(size, labelled.num_labels)
            self.router_heads[name] = nn.Linear(labelled.n_chans * router_config.router_size, labelled.num_labels)
        for layer in (self.decoder.features, *self.heads.values(), *self.router_heads.values()):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
        self._montages: dict[tuple[tuple[str, ...], int], tuple[DLinkTeacherConfig, torch.Tensor]] = {}
        self.teacher.requires_grad_(False)
        self.train()

    def train(self, mode: bool = True) -> BackboneStudio:
        """Switch all but the teacher, and the batch normalisation where it is fixed: these stay in evaluation mode."""
        super().train(mode)
        self.teacher.eval()
        if self.fixed_normalisation:
            self.student.filter_bank.norm.eval()
        return self

    def training_only_state_dict(self) -> dict[str, torch.Tensor]:
        """Return the weights that a training needs besides the student's to be resumed: router, decoder and heads."""
        return {k: v for k, v in self.state_dict().items() if not k.startswith(("teacher.", "student."))}

    @torch.no_grad()
    def settle_normalisation(self, batches: Iterable[torch.Tensor]) -> None:
        """Set the statistics of the student's batch normalisation to those of batches of all montages together.

        Args:
            batches: windows (B, C, T) in microvolts; each batch counts alike.
        """
        bank, config = self.student.filter_bank, self.student.config
        moments: list[torch.Tensor] = []
        handle = bank.norm.register_forward_pre_hook(
            lambda module, inputs: moments.append(
                torch.stack([inputs[0].double().mean(0), inputs[0].double().square().mean(0)])
            )
        )
        try:
            for windows in batches:
                scaled = windows.to(self.student.device, self.student.dtype) * config.input_scale
                bank(scaled.reshape(-1, config.patch_size))
        finally:
            handle.remove()
        mean, square = torch.stack(moments).mean(0)
        bank.norm.running_mean.copy_(mean)
        bank.norm.running_var.copy_((square - mean.square()).clamp_min(bank.norm.eps))

    def montage(self, ch_names: Sequence[str], n_times: int) -> tuple[DLinkTeacherConfig, torch.Tensor]:
        """The teacher's config for windows of a montage and length, and the positions (C, 3) of the channels, metres.

        Raises:
            ValueError: a name is unknown, or the length does not fit the teacher.
        """
        key = (tuple(ch_names), n_times)
        if key not in self._montages:
            config = _config_for(self.teacher.config, ch_names, n_times)
            self._montages[key] = config, torch.tensor(channel_positions(ch_names))
        return self._montages[key]

    def forward(
        self,
        input_values: torch.Tensor,
        ch_names: Sequence[str],
        set_name: str | None = None,
        labels: torch.Tensor | None = None,
        class_weights: torch.Tensor | None = None,
    ) -> BackboneStudioOutput:
        r"""
        Args:
            input_values (`torch.Tensor`, (B, C, T)): windows of one montage in microvolts.
            ch_names (`Sequence[str]`): their C channels.
            set_name (`str`, *optional*): the labelled set that they are of; None for windows without labels.
            labels (`torch.Tensor`, (B,), *optional*): class indices, with `set_name`.
            class_weights (`torch.Tensor`, (num_labels,), *optional*): weights of the classes in both cross-entropies.

        Returns:
            [`BackboneStudioOutput`].

        Raises:
            TypeError, ValueError: the input does not fit the montage, or the labels the set.
        """
        if (set_name is None) != (labels is None) or not (set_name is None or set_name in self.heads):
            raise ValueError(
                f"`labels` come with the `set_name` of one of {', '.join(self.heads) or 'no sets'}; got {set_name!r} "
                f"and {'no ' if labels is None else ''}labels."
            )
        config = self.config
        self.teacher.config, positions = self.montage(ch_names, input_values.shape[-1])
        with torch.no_grad():
            states, pooled = normalise_layers(self.teacher(input_values, True, return_dict=True).hidden_states)
        weights = self.router.route(pooled.to(self.router.channel_features.weight.dtype))
        routed = self.router.mix(weights, [states])
        target = routed.detach()
        picks = self._draw_channels(len(ch_names))
        if picks is not None:
            input_values, positions, target = input_values[:, picks], positions[picks], target[:, picks]
        student = self.student(input_values, positions, return_dict=True)
        mimic_state, decoded = student.mimic_state, self.decoder(student)
        grid = common_grid(mimic_state.shape, target.shape)
        target, mimic_state, decoded = (to_grid(state, *grid) for state in (target, mimic_state, decoded))
        terms = mimic_terms(config, target, mimic_state, decoded)
        terms["router_balance_loss"] = (config.router_balance_weight, router_balance_loss(weights))
        terms["router_entropy"] = (config.router_entropy_weight, router_entropy(weights))
        logits = router_logits = None
        if set_name is not None:
            logits = self.heads[set_name](self.dropout(student.compressed_state.flatten(1)))
            router_logits = self.router_heads[set_name](self.router.classify(routed))
            check_labels(labels, logits)
            for name, weight, given in (
                ("task_loss", config.task_weight, logits),
                ("router_task_loss", config.router_task_weight, router_logits),
            ):
                terms[f"{name}_{set_name}"] = (weight, classification_loss(given, labels, class_weights))
        return BackboneStudioOutput(
            loss=sum(weight * term for weight, term in terms.values() if weight > 0),
            losses={name: term.detach() for name, (_, term) in terms.items()},
            logits=logits,
            router_logits=router_logits,
            router_weights=weights,
            routed_state=target,
            mimic_state=mimic_state,
        )

    def _draw_channels(self, n_chans: int) -> torch.Tensor | None:
        """Channels that the student sees of a training batch; None for all."""
        if not self.training or self.channel_subset == 0 or torch.rand(()).item() >= self.channel_subset:
            return None
        n_kept = int(torch.randint(max(1, math.ceil(_LEAST_CHANNELS * n_chans)), n_chans + 1, ()))
        return torch.randperm(n_chans)[:n_kept].sort().values


def _config_for(
    config: DLinkTeacherConfig, ch_names: Sequence[str], n_times: int, **fields: Any
) -> DLinkTeacherConfig:
    """A teacher's config for another montage and window."""
    return type(config).from_dict(config.to_dict(), ch_names=list(ch_names), n_times=n_times, **fields)


__all__ = ["BackboneStudio", "BackboneStudioOutput", "LabelledSet"]
