# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""The classification head of a teacher."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from .configuration_teacher import DLinkTeacherConfig


class TeacherHead(nn.Module):
    """Classify tokens (B, C_t, P_t, D) with the channels kept apart: a mean over all tokens throws topography away.

    With `head_size` each token becomes that many features, through a GELU, before the mean over patches; with
    `head_size=None` the tokens' own mean is read by one linear layer, for a probe.
    """

    def __init__(self, config: DLinkTeacherConfig):
        super().__init__()
        self.norm = nn.LayerNorm(config.hidden_size)
        self.features = None if config.head_size is None else nn.Linear(config.hidden_size, config.head_size)
        self.dropout = nn.Dropout(config.head_dropout)
        width = config.hidden_size if config.head_size is None else config.head_size
        self.classifier = nn.Linear(width * config.token_chans, config.num_labels)
        for module in (self.norm, self.features, self.classifier):
            if module is not None:
                module.is_teacher_head = True

    def pool(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return the features (B, C_t * width) of tokens (B, C_t, P_t, D), as the last layer reads them."""
        return self.describe(tokens).mean(2).flatten(1)

    def describe(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return the features (B, C_t, P_t, width) of each token (B, C_t, P_t, D)."""
        tokens = self.norm(tokens)
        return tokens if self.features is None else F.gelu(self.features(tokens))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return the logits (B, num_labels) of tokens (B, C_t, P_t, D)."""
        return self.classifier(self.dropout(self.pool(tokens)))


__all__ = ["TeacherHead"]
