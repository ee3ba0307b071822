# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""A student that labels every patch, or every few patches: events to the second, hypnograms of long stretches.

B stretches, C channels, P patches, S labels (P over `patches_per_label`), K spatial slots, c compressed width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional as F
from transformers.utils import ModelOutput

from ...core.config_checks import MULTI_LABEL, REGRESSION
from ...core.unlabelled import IGNORED
from .configuration_mic import MiCConfig
from .modeling_mic import MiCModel, MiCPreTrainedModel


if TYPE_CHECKING:
    from .folded import MiCTokenInference


@dataclass
class MiCTokenClassifierOutput(ModelOutput):
    """Output of [`MiCForEEGTokenClassification`].

    Args:
        loss (`torch.Tensor`, scalar): cross-entropy over all labels but -100, where `labels` were given.
        logits (`torch.Tensor`, (B, S, num_labels)): before the softmax, in order of time.
        hidden_states (`tuple[torch.Tensor]`, each (B, C, P, d)): the embedding, then the output of every block.
    """

    loss: torch.Tensor | None = None
    logits: torch.Tensor | None = None
    hidden_states: tuple[torch.Tensor, ...] | None = None


class MiCForEEGTokenClassification(MiCPreTrainedModel):
    """The student with a label for every patch, or for every `config.patches_per_label` patches.

    Each patch is described by the K spatial slots of its compressed features; patches of one label are averaged. With
    `config.token_context="gru"` a small recurrent network reads these descriptions in both directions, so that a label
    draws on the whole stretch: of a night, give several epochs of 30 s as one stretch.

    Args:
        config ([`MiCConfig`]): `num_labels`, `patches_per_label`, `token_context` and `context_size` say what the head
            is.

    Example:

    ```python
    >>> import torch
    >>> from dlink_hf import MiCConfig, MiCForEEGTokenClassification

    >>> config = MiCConfig.from_size("tiny", num_labels=5, patches_per_label=30, token_context="gru", n_times=24_000)
    >>> model = MiCForEEGTokenClassification(config).eval()
    >>> model(torch.randn(1, 19, 24_000)).logits.shape  # four epochs of 30 s at 200 Hz
    torch.Size([1, 4, 5])
    ```
    """

    _head_keys = ("classifier.", "context.", "token_norm.")

    def __init__(self, config: MiCConfig):
        check_tells_classes(type(self).__name__, config)
        super().__init__(config)
        self.num_labels = config.num_labels
        self.mic = MiCModel(config)
        size = config.num_spatial_slots * config.compressed_size
        self.token_norm = nn.LayerNorm(size, eps=config.layer_norm_eps)
        self.context = None
        if config.token_context == "gru":
            self.context = nn.GRU(size, config.context_size, batch_first=True, bidirectional=True)
            size += 2 * config.context_size
        self.dropout = nn.Dropout(config.classifier_dropout)
        self.classifier = nn.Linear(size, config.num_labels)
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, nn.GRU):
            for name, weight in module.named_parameters():
                (nn.init.zeros_ if "bias" in name else nn.init.xavier_uniform_)(weight)

    def get_input_embeddings(self) -> None:
        """None: the input is a signal, there is no table of embeddings."""
        return None

    def for_inference(
        self, channel_positions: torch.Tensor | list | None = None, n_times: int | None = None
    ) -> MiCTokenInference:
        """Return the same student folded for one montage and one length of stretch: the same logits in less time.

        Args:
            channel_positions: (C, 3), metres; the montage of the config by default.
            n_times: samples in a stretch, a whole number of labels; that of the config by default.

        Raises:
            ValueError: as [`MiCForEEGClassification.for_inference`].

        Example:

        ```python
        >>> student = model.for_inference()
        >>> with torch.inference_mode():
        ...     student(stretches).logits  # (B, S, num_labels)
        ```
        """
        from .folded import MiCTokenInference

        return MiCTokenInference(self, channel_positions, n_times)

    def forward(
        self,
        input_values: torch.Tensor,
        channel_positions: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> MiCTokenClassifierOutput | tuple[torch.Tensor, ...]:
        r"""
        Args:
            input_values (`torch.Tensor`, (B, C, T)): stretches in microvolts; T is a multiple of `config.patch_size`
                times `config.patches_per_label`.
            channel_positions (`torch.Tensor`, (C, 3) or (B, C, 3), *optional*): electrode positions in metres; the
                montage of the config by default.
            labels (`torch.Tensor`, (B, S), *optional*): class indices; -100 where there is no label.
            output_hidden_states (`bool`, *optional*): also return the state after every block.
            return_dict (`bool`, *optional*): return a [`MiCTokenClassifierOutput`] rather than a tuple.

        Returns:
            [`MiCTokenClassifierOutput`].

        Raises:
            TypeError, ValueError: the input, the positions or the labels do not fit the model.
        """
        config = self.config
        return_dict = config.return_dict if return_dict is None else return_dict
        outputs = self.mic(input_values, channel_positions, output_hidden_states, return_dict=True)
        n_patches = outputs.mimic_state.shape[2]
        if n_patches % config.patches_per_label:
            raise ValueError(
                f"The stretches have {n_patches} patches of {config.patch_size} samples, which "
                f"{config.patches_per_label} patches for each label do not divide. Cut them to whole labels; nothing "
                "is padded."
            )
        compressor = self.mic.compressor
        values = compressor.features(compressor.norm(outputs.mimic_state.transpose(1, 2)))  # (B, P, C, c)
        slots = torch.matmul(outputs.spatial_weights[:, None], values).flatten(2)  # (B, P, K * c)
        tokens = self.token_norm(slots.unflatten(1, (-1, config.patches_per_label)).mean(2))
        if self.context is not None:
            tokens = torch.cat([tokens, self.context(self.dropout(tokens))[0]], dim=-1)
        logits = self.classifier(self.dropout(tokens))
        loss = None
        if labels is not None:
            loss = token_loss(logits, labels)
        output = MiCTokenClassifierOutput(loss=loss, logits=logits, hidden_states=outputs.hidden_states)
        return output if return_dict else output.to_tuple()


def token_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return the cross-entropy of logits (B, S, num_labels) over all labels (B, S) but -100; 0 where there is none.

    Raises:
        ValueError: as [`check_token_labels`].
    """
    check_token_labels(labels, logits)
    flat = logits.float().flatten(0, 1)
    total = F.cross_entropy(flat, labels.flatten(), ignore_index=IGNORED, reduction="sum")
    # a batch without any label has no loss, not one that is not a number
    return total / (labels != IGNORED).sum().clamp_min(1)


def check_tells_classes(name: str, config: Any) -> None:
    """Refuse a config of numbers, or of several labels at once, for a model that tells one class of each place.

    Args:
        name: of the model's class.
        config: its `problem_type` says what is wanted.

    Raises:
        ValueError: naming the class that fits.
    """
    if config.problem_type in (REGRESSION, MULTI_LABEL):
        kind = "Regression" if config.problem_type == REGRESSION else "Classification"
        raise ValueError(
            f"{name} tells one class of each place, this config has problem_type={config.problem_type!r}. Labels of "
            f"that kind are told of whole windows, by {name.replace('TokenClassification', kind)}."
        )


def check_token_labels(labels: torch.Tensor, logits: torch.Tensor) -> None:
    """Check class indices (B, S) against logits (B, S, num_labels).

    Raises:
        ValueError: the shape differs, or an index is neither -100 nor in 0 ... num_labels - 1.
    """
    if labels.shape != logits.shape[:2] or labels.is_floating_point():
        per_window = " One label for each window is for MiCForEEGClassification." if labels.ndim == 1 else ""
        raise ValueError(
            f"`labels` must be class indices of shape {tuple(logits.shape[:2])}, one for each of {logits.shape[1]} "
            f"places of a stretch, got {labels.dtype} of shape {tuple(labels.shape)}.{per_window}"
        )
    good = (labels == IGNORED) | ((labels >= 0) & (labels < logits.shape[2]))
    if not bool(good.all()):
        raise ValueError(
            f"`labels` must lie in 0 ... {logits.shape[2] - 1}, or be -100 where there is none, got "
            f"{labels[~good].unique()[:5].tolist()}."
        )


__all__ = [
    "MiCForEEGTokenClassification",
    "MiCTokenClassifierOutput",
    "check_tells_classes",
    "check_token_labels",
    "token_loss",
]
