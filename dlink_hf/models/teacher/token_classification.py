# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""A foundation model with a label for every patch, or every few: the teacher of [`MiCForEEGTokenClassification`].

B stretches, C_t channels and P_t patches of the tokens, D their width, S labels (P_t over `patches_per_label`).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from transformers.utils import ModelOutput

from ..mic.token_classification import check_tells_classes, token_loss
from .configuration_teacher import DLinkTeacherConfig
from .head import TeacherHead
from .modeling_teacher import DLinkTeacherModel, DLinkTeacherPreTrainedModel


@dataclass
class DLinkTeacherTokenClassifierOutput(ModelOutput):
    """Output of [`DLinkTeacherForEEGTokenClassification`].

    Args:
        loss (`torch.Tensor`, scalar): cross-entropy over all labels but -100, where `labels` were given.
        logits (`torch.Tensor`, (B, S, num_labels)): before the softmax, in order of time.
        hidden_states (`tuple[torch.Tensor]`, L of (B, C_t, P_t, D)): the output of every layer.
    """

    loss: torch.Tensor | None = None
    logits: torch.Tensor | None = None
    hidden_states: tuple[torch.Tensor, ...] | None = None


class TokenTeacherHead(TeacherHead):
    """The head of a teacher, applied to the patches of each label by themselves."""

    def __init__(self, config: DLinkTeacherConfig):
        super().__init__(config)
        self.patches_per_label = config.patches_per_label

    def pool(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return the features (B, S, C_t * width) of tokens (B, C_t, P_t, D)."""
        places = self.describe(tokens).unflatten(2, (-1, self.patches_per_label)).mean(3)
        return places.transpose(1, 2).flatten(2)


class DLinkTeacherForEEGTokenClassification(DLinkTeacherPreTrainedModel):
    """A foundation model with a label for every patch, or for every `config.patches_per_label` patches.

    Args:
        config ([`DLinkTeacherConfig`]): `num_labels` and `patches_per_label` say what the head is.

    Raises:
        ValueError: the config is one of numbers, or its window does not hold whole labels.

    Example:

    ```python
    >>> from dlink_hf import DLinkTeacherConfig, DLinkTeacherForEEGTokenClassification

    >>> config = DLinkTeacherConfig(ch_names=["C3", "Cz", "C4"], n_times=2000, num_labels=2, patches_per_label=2)
    >>> DLinkTeacherForEEGTokenClassification(config).num_places
    5
    ```
    """

    def __init__(self, config: DLinkTeacherConfig):
        check_tells_classes(type(self).__name__, config)
        if config.n_patches % config.patches_per_label:
            raise ValueError(
                f"The window has {config.n_patches} patches of {config.patch_size} samples, which "
                f"`patches_per_label` ({config.patches_per_label}) does not divide. Give whole labels."
            )
        super().__init__(config)
        self.num_labels, self.num_places = config.num_labels, config.n_patches // config.patches_per_label
        self.teacher = DLinkTeacherModel(config)
        self.head = TokenTeacherHead(config)
        self.post_init()

    def forward(
        self,
        input_values: torch.Tensor,
        labels: torch.Tensor | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> DLinkTeacherTokenClassifierOutput | tuple[torch.Tensor, ...]:
        r"""
        Args:
            input_values (`torch.Tensor`, (B, C, T)): stretches in microvolts, channels in the order of
                `config.ch_names`, T = `config.n_times`.
            labels (`torch.Tensor`, (B, S), *optional*): class indices; -100 where there is no label.
            output_hidden_states (`bool`, *optional*): also return the output of every layer.
            return_dict (`bool`, *optional*): return a [`DLinkTeacherTokenClassifierOutput`] rather than a tuple.

        Returns:
            [`DLinkTeacherTokenClassifierOutput`].

        Raises:
            TypeError, ValueError: the input or the labels do not fit the config.
        """
        return_dict = self.config.return_dict if return_dict is None else return_dict
        if output_hidden_states is None:
            output_hidden_states = self.config.output_hidden_states
        outputs = self.teacher(input_values, output_hidden_states, return_dict=True)
        logits = self.head(outputs.last_hidden_state)
        loss = None if labels is None else token_loss(logits, labels)
        output = DLinkTeacherTokenClassifierOutput(loss=loss, logits=logits, hidden_states=outputs.hidden_states)
        return output if return_dict else output.to_tuple()


__all__ = ["DLinkTeacherForEEGTokenClassification", "DLinkTeacherTokenClassifierOutput", "TokenTeacherHead"]
