# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""The classification head of a teacher."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from .configuration_teacher import DLinkTeacherConfig


class TeacherHead(nn.Module):
    """Classify tokens (B, C, P, D) with the channels kept apart: a mean over all tokens throws topography away."""

    def __init__(self, config: DLinkTeacherConfig):
        super().__init__()
        self.norm = nn.LayerNorm(config.hidden_size)
        self.features = nn.Linear(config.hidden_size, config.head_size)
        self.dropout = nn.Dropout(config.head_dropout)
        self.classifier = nn.Linear(config.head_size * config.token_chans, config.num_labels)
        for module in (self.norm, self.features, self.classifier):
            module.is_teacher_head = True

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Logits (B, num_labels) of tokens (B, C, P, D)."""
        features = F.gelu(self.features(self.norm(tokens))).mean(2)
        return self.classifier(self.dropout(features.flatten(1)))


__all__ = ["TeacherHead"]
