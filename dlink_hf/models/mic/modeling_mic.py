# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""The MiC (Mimic-then-Compress) student: any montage, any number of patches.

B windows, C channels, P patches, d encoder width, D mimic (teacher) width, K spatial and Q temporal slots,
c compressed width. The architecture is this project's own reading of the abstract of arXiv 2604.15016.
"""

from __future__ import annotations

import os
import warnings
from importlib import import_module
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from ...core.config_checks import REGRESSION
from ..modeling_base import DLinkPreTrainedModel, check_input_values
from ..task_losses import check_head, in_target_unit, mean_loss
from .configuration_mic import MiCConfig
from .mic_layers import (
    GaborConv1d,
    MiCBlock,
    MiCClassifierOutput,
    MiCCompressor,
    MiCFilterBank,
    MiCModelOutput,
    MiCPositionEmbedding,
    MiCSignedPath,
    signed_alone,
)


if TYPE_CHECKING:
    from .folded import MiCInference


class MiCPreTrainedModel(DLinkPreTrainedModel):
    """Weight initialisation and loading shared by the MiC models."""

    config_class = MiCConfig
    config: MiCConfig
    base_model_prefix = "mic"
    supports_gradient_checkpointing = True
    _no_split_modules = ["MiCBlock"]
    _supports_sdpa = True
    takes_positions = True
    _head_keys: tuple[str, ...] = ("classifier.",)

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, GaborConv1d):
            module.weight.copy_(module.initial_weight())
        elif isinstance(module, (nn.Linear, nn.Conv1d)):
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, (nn.LayerNorm, nn.BatchNorm1d)):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
            if isinstance(module, nn.BatchNorm1d):
                nn.init.zeros_(module.running_mean)
                nn.init.ones_(module.running_var)
                nn.init.zeros_(module.num_batches_tracked)
        elif isinstance(module, MiCCompressor):
            nn.init.normal_(module.spatial_query, std=0.02)
            nn.init.zeros_(module.spatial_log_width)
            nn.init.zeros_(module.temporal_log_width)
            module.spatial_anchor.copy_(module.initial_anchors())


class MiCModel(MiCPreTrainedModel):
    """The student without a head: encode, project to the teacher's width (mimic), compress.

    Args:
        config ([`MiCConfig`]): sizes and the default montage.
    """

    def __init__(self, config: MiCConfig):
        super().__init__(config)
        features = config.num_filters + config.num_slow_features
        self.filter_bank = MiCFilterBank(config)
        self.token_embedding = nn.Linear(features, config.hidden_size)
        self.position_embedding = MiCPositionEmbedding(config)
        self.blocks = nn.ModuleList(MiCBlock(config) for _ in range(config.num_hidden_layers))
        self.mimic_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.mimic_projection = nn.Linear(config.hidden_size, config.mimic_size)
        self.compressor = MiCCompressor(config)
        self.signed_path = MiCSignedPath(config) if config.signed_path else None
        self._kept_positions: tuple[list, torch.Tensor] | None = None
        self.post_init()

    def get_input_embeddings(self) -> None:
        """None: the input is a signal, there is no table of embeddings."""
        return None

    def resolve_positions(
        self, input_values: torch.Tensor, channel_positions: torch.Tensor | list | None
    ) -> torch.Tensor:
        """Return the positions of the channels of a batch.

        Args:
            input_values: (B, C, T).
            channel_positions: (C, 3) or (B, C, 3), metres; None for the montage of the config.

        Returns:
            (1, C, 3) or (B, C, 3), metres, of the weights' type and device.

        Raises:
            ValueError: the number of channels differs from the positions', or positions are not in metres.
        """
        n_chans = input_values.shape[1]
        dtype = self.token_embedding.weight.dtype
        if channel_positions is None:
            if n_chans != len(self.config.ch_names):
                raise ValueError(
                    f"`input_values` has {n_chans} channels, the model's montage has {len(self.config.ch_names)} "
                    f"({', '.join(self.config.ch_names)}). Pass `channel_positions`, (C, 3) in metres, to use another "
                    "montage or a subset; `EEGFeatureExtractor` returns them with `input_values`."
                )
            if not torch.compiler.is_compiling():
                return self._own_positions(dtype, input_values.device)
            channel_positions = self.config.channel_positions
        positions = torch.as_tensor(channel_positions, dtype=dtype, device=input_values.device)
        if positions.ndim == 2:
            positions = positions[None]
        if (
            positions.ndim != 3
            or positions.shape[1:] != (n_chans, 3)
            or positions.shape[0]
            not in (
                1,
                input_values.shape[0],
            )
        ):
            raise ValueError(
                f"`channel_positions` must be ({n_chans}, 3) or ({input_values.shape[0]}, {n_chans}, 3) for "
                f"`input_values` of shape {tuple(input_values.shape)}, got {tuple(positions.shape)}."
            )
        # values can't be looked at while a graph is traced
        if not torch.compiler.is_compiling():
            check_metres(positions)
        return positions

    def _own_positions(self, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
        """The config's positions (1, C, 3), made and checked once for as long as the config says the same."""
        rows, kept = self.config.channel_positions, self._kept_positions
        if kept is None or kept[0] != rows or kept[1].dtype != dtype or kept[1].device != device:
            # a tensor made in inference mode could not be used in a later training step
            with torch.inference_mode(False):
                positions = torch.tensor(rows, dtype=dtype, device=device)[None]
            check_metres(positions)
            kept = self._kept_positions = ([list(row) for row in rows], positions)
        return kept[1]

    def forward(
        self,
        input_values: torch.Tensor,
        channel_positions: torch.Tensor | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> MiCModelOutput | tuple[torch.Tensor, ...]:
        r"""
        Args:
            input_values (`torch.Tensor`, (B, C, T)): windows in microvolts; T is a multiple of `config.patch_size`.
            channel_positions (`torch.Tensor`, (C, 3) or (B, C, 3), *optional*): electrode positions in metres, in the
                frame of MNE's `standard_1005`; the montage of the config by default.
            output_hidden_states (`bool`, *optional*): also return the state after every block.
            return_dict (`bool`, *optional*): return a [`MiCModelOutput`] rather than a tuple.

        Returns:
            [`MiCModelOutput`].

        Raises:
            TypeError, ValueError: the input or the positions have the wrong shape or type.
        """
        return_dict = self.config.return_dict if return_dict is None else return_dict
        if output_hidden_states is None:
            output_hidden_states = self.config.output_hidden_states
        check_input_values(input_values, self.config.patch_size, type(self).__name__)
        positions = self.resolve_positions(input_values, channel_positions)

        batch, n_chans, n_times = input_values.shape
        n_patches = n_times // self.config.patch_size
        scaled = input_values.to(self.dtype) * self.config.input_scale
        features = self.filter_bank(scaled.reshape(-1, self.config.patch_size))
        tokens = self.token_embedding(features).reshape(batch, n_chans, n_patches, -1).transpose(1, 2)
        tokens = tokens + self.position_embedding(positions)[:, None]

        states = [tokens] if output_hidden_states else []
        for block in self.blocks:
            tokens = block(tokens)
            if output_hidden_states:
                states.append(tokens)

        mimic_state = self.mimic_projection(self.mimic_norm(tokens))
        compressed, spatial, temporal = self.compressor(mimic_state, tokens, positions)
        signed_state = None
        if self.signed_path is not None:
            slow = features[:, self.config.num_filters :].reshape(batch, n_chans, n_patches, -1)
            signed_state = self.signed_path(slow, positions, temporal)
            compressed = compressed + signed_state
        output = MiCModelOutput(
            last_hidden_state=tokens.transpose(1, 2),
            mimic_state=mimic_state.transpose(1, 2),
            compressed_state=compressed,
            spatial_weights=spatial,
            temporal_weights=temporal,
            hidden_states=tuple(state.transpose(1, 2) for state in states) if output_hidden_states else None,
            signed_state=signed_state,
        )
        return output if return_dict else output.to_tuple()


class MiCWithHead(MiCPreTrainedModel):
    """The student with one small linear layer on its K x Q x c compressed values.

    [`MiCForEEGClassification`] and [`MiCForEEGRegression`] say what that layer's outputs are.

    Args:
        config ([`MiCConfig`]): `num_labels` or `id2label` say how many outputs there are.
    """

    _is_regression = False

    def __init__(self, config: MiCConfig):
        check_head(type(self).__name__, self._is_regression, config)
        super().__init__(config)
        self.num_labels = config.num_labels
        self.mic = MiCModel(config)
        self.dropout = nn.Dropout(config.classifier_dropout)
        size = config.num_spatial_slots * config.num_temporal_slots * config.compressed_size
        self.classifier = nn.Linear(size, config.num_labels)
        self.post_init()

    def get_input_embeddings(self) -> None:
        """None: the input is a signal, there is no table of embeddings."""
        return None

    def classify(self, compressed_state: torch.Tensor, signed_state: torch.Tensor | None = None) -> torch.Tensor:
        """Return the outputs of the head for a compressed state: logits, or numbers in the targets' unit.

        In training, `config.signed_path_alone` of the windows are classified by the signed path alone.

        Args:
            compressed_state: (B, K, Q, c).
            signed_state: (B, K, Q, c), the signed path's part of it, where there is one.

        Returns:
            (B, num_labels).
        """
        if self.training and signed_state is not None:
            compressed_state = signed_alone(compressed_state, signed_state, self.config.signed_path_alone)
        return in_target_unit(self.config, self.classifier(self.dropout(compressed_state.flatten(1))))

    def for_inference(
        self, channel_positions: torch.Tensor | list | None = None, n_times: int | None = None
    ) -> MiCInference:
        """The same student folded for one montage and one length of window: the same logits in a fraction of the time.

        Weights are taken as they are now, in evaluation mode; what changes later is not followed. The folded student
        is compared with this one before it is returned.

        Args:
            channel_positions: (C, 3), metres; the montage of the config by default.
            n_times: samples in a window; that of the config by default.

        Returns:
            a module that takes `input_values` (B, C, T) in microvolts, and whose output has `logits`.

        Raises:
            ValueError: `n_times` or the positions do not fit, or the model does not compute what its layers' weights
                say (adapters that are not merged, hooks, numbers that are not finite).

        Example:

        ```python
        >>> student = model.for_inference()
        >>> with torch.inference_mode():
        ...     student(windows).logits
        ```
        """
        from .folded import MiCInference

        return MiCInference(self, channel_positions, n_times)

    def forward(
        self,
        input_values: torch.Tensor,
        channel_positions: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> MiCClassifierOutput | tuple[torch.Tensor, ...]:
        r"""
        Args:
            input_values (`torch.Tensor`, (B, C, T)): windows in microvolts; T is a multiple of `config.patch_size`.
            channel_positions (`torch.Tensor`, (C, 3) or (B, C, 3), *optional*): electrode positions in metres; the
                montage of the config by default.
            labels (`torch.Tensor`, *optional*): class indices (B,); or (B, num_labels) of zeros and ones for several
                labels at once, or of targets in their unit for a regression, (B,) where there is one.
            output_hidden_states (`bool`, *optional*): also return the state after every block.
            return_dict (`bool`, *optional*): return a [`MiCClassifierOutput`] rather than a tuple.

        Returns:
            [`MiCClassifierOutput`].

        Raises:
            TypeError, ValueError: the input, the positions or the labels do not fit the model.

        Example:

        ```python
        >>> import torch
        >>> from dlink_hf import MiCConfig, MiCForEEGClassification

        >>> model = MiCForEEGClassification(MiCConfig.from_size("tiny", num_labels=2)).eval()
        >>> model(torch.randn(4, 19, 1000)).logits.shape
        torch.Size([4, 2])
        ```
        """
        return_dict = self.config.return_dict if return_dict is None else return_dict
        outputs = self.mic(input_values, channel_positions, output_hidden_states, return_dict=True)
        logits = self.classify(outputs.compressed_state, outputs.signed_state)
        loss = None
        if labels is not None:
            loss = mean_loss(self.config, logits, labels)
        output = MiCClassifierOutput(loss=loss, logits=logits, hidden_states=outputs.hidden_states)
        return output if return_dict else output.to_tuple()


class MiCForEEGClassification(MiCWithHead):
    """The student with one small linear layer on its K x Q x c compressed values: logits of classes.

    With `problem_type="multi_label_classification"` several labels may hold at once: their probabilities are
    `logits.sigmoid()`, the loss is the binary cross-entropy of each, and `labels` are (B, num_labels) zeros and ones.

    Args:
        config ([`MiCConfig`]): `num_labels` or `id2label` say how many classes there are.
    """

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | os.PathLike | None,
        *model_args: Any,
        backend: str = "torch",
        **kwargs: Any,
    ) -> Any:
        """Load a student; see [`DLinkPreTrainedModel.from_pretrained`].

        Args:
            pretrained_model_name_or_path: short name, Hub id or folder.
            *model_args: passed to the constructor.
            backend: deprecated: another value than `"torch"` gives an [`ExportedStudent`], with a `FutureWarning`.
            **kwargs: as [`DLinkPreTrainedModel.from_pretrained`] takes them.

        Raises:
            ImportError: of another backend, a package is missing.
            OSError, ValueError: as [`DLinkPreTrainedModel.from_pretrained`].
        """
        if backend == "torch":
            return super().from_pretrained(pretrained_model_name_or_path, *model_args, **kwargs)
        warnings.warn(
            f"MiCForEEGClassification.from_pretrained(..., backend={backend!r}) will be removed in 0.3. Use "
            f"AutoModelForEEGClassification.from_pretrained(..., backend={backend!r}) or "
            f"dlink_hf.pipeline(model=..., backend={backend!r}).",
            FutureWarning,
            stacklevel=2,
        )
        try:
            # by its name: this file may travel with a checkpoint, where the rest of the package may be absent
            package = import_module("dlink_hf")
        except ModuleNotFoundError as error:
            raise ImportError(f"backend={backend!r} needs dlink_hf: pip install 'dlink-hf[export]'.") from error
        return package.load_exported(pretrained_model_name_or_path, backend, **kwargs)


class MiCForEEGRegression(MiCWithHead):
    """The student with one small linear layer on its K x Q x c compressed values: one number or more for a window.

    Targets are standardised inside, by `config.target_mean` and `config.target_std`, which a trainer takes from its
    training windows; `logits` are in the targets' own unit. The loss is `config.regression_loss`.

    Args:
        config ([`MiCConfig`]): of `problem_type="regression"`; `num_labels` or `id2label` say how many targets there
            are, one by default.

    Example:

    ```python
    >>> import torch
    >>> from dlink_hf import MiCConfig, MiCForEEGRegression

    >>> config = MiCConfig.from_size("tiny", problem_type="regression", id2label={0: "age (years)"})
    >>> MiCForEEGRegression(config).eval()(torch.randn(4, 19, 1000)).logits.shape
    torch.Size([4, 1])
    ```
    """

    _is_regression = True

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: str | os.PathLike | None, *model_args: Any, **kwargs: Any
    ) -> Any:
        """Load a student that gives numbers; a backbone gets a new head.

        See [`DLinkPreTrainedModel.from_pretrained`], whose arguments and errors these are.
        """
        if kwargs.get("config") is None:
            kwargs.setdefault("problem_type", REGRESSION)
        return super().from_pretrained(pretrained_model_name_or_path, *model_args, **kwargs)


def student_class(problem_type: str | None) -> type[MiCWithHead]:
    """Return the class of students with a head for a `problem_type` of transformers; None is one label a window."""
    return MiCForEEGRegression if problem_type == REGRESSION else MiCForEEGClassification


def check_metres(positions: torch.Tensor) -> None:
    """Check electrode positions of any shape.

    Raises:
        ValueError: a number is not finite or lies 0.5 m or more from zero.
    """
    if not bool((positions.abs() < 0.5).all()):
        raise ValueError(
            f"`channel_positions` must be finite and in metres, about 0.1 from the head's centre; the largest "
            f"number here is {positions.abs().max().item():.4g}. Divide millimetres by 1000."
        )


__all__ = [
    "MiCClassifierOutput",
    "MiCForEEGClassification",
    "MiCForEEGRegression",
    "MiCModel",
    "MiCModelOutput",
    "MiCPreTrainedModel",
    "MiCWithHead",
    "student_class",
]
