# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Configuration of the MiC (Mimic-then-Compress) student."""

# no `from __future__ import annotations` here: `strict` checks types, not the text of an annotation
import math
from typing import Any

from huggingface_hub.dataclasses import strict

from ...core.checks import one_of
from ...core.config_checks import (
    check_licences_field,
    check_positions,
    check_signal_fields,
    check_targets_fields,
    in_bounds,
    require,
    settle_labels,
)
from ...core.electrodes import channel_positions as lookup_positions
from ..configuration_base import DEFAULT_CH_NAMES, DLinkPreTrainedConfig, reject_unknown_fields


# sizes: at most 25 k, 150 k and 600 k parameters with the default mimic width
_SIZES: dict[str, dict[str, int]] = {
    "tiny": {
        "hidden_size": 24,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_filters": 24,
        "num_spatial_slots": 4,
        "num_temporal_slots": 2,
        "compressed_size": 8,
    },
    "small": {
        "hidden_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_filters": 32,
        "num_spatial_slots": 8,
        "num_temporal_slots": 2,
        "compressed_size": 16,
    },
    "base": {
        "hidden_size": 128,
        "num_hidden_layers": 3,
        "num_attention_heads": 8,
        "num_filters": 48,
        "num_spatial_slots": 12,
        "num_temporal_slots": 4,
        "compressed_size": 32,
    },
}


# the largest values: far above any student's, and small enough that checking a file against them takes no memory
_MOST = {
    "patch_size": 65_536,
    "hidden_size": 16_384,
    "num_attention_heads": 1024,
    "intermediate_size": 65_536,
    "num_filters": 4096,
    "filter_size": 65_536,
    "filter_stride": 65_536,
    "num_slow_features": 65_536,
    "mimic_size": 16_384,
    "num_spatial_slots": 4096,
    "num_temporal_slots": 4096,
    "compressed_size": 16_384,
    "patches_per_label": 65_536,
    "context_size": 4096,
}


@strict
class MiCConfig(DLinkPreTrainedConfig):
    r"""
    Configuration of [`MiCModel`], [`MiCForEEGClassification`] and [`MiCForEEGRegression`].

    The signal fields (`ch_names`, `channel_positions`, `sfreq`, `n_times`) say what the model was trained on and are
    the default montage of its forward pass. The weights depend on none of them: another montage or another number of
    patches needs no change of the config.

    Args:
        ch_names (`list[str]`, *optional*, defaults to the 19 electrodes of the 10-20 system):
            Names of the channels, in the order of the input's channel axis.
        channel_positions (`list[list[float]]`, *optional*):
            (C, 3) positions in metres in the frame of MNE's `standard_1005`; looked up from `ch_names` by default.
        sfreq (`float`, *optional*, defaults to 200.0):
            Sampling rate in Hz.
        n_times (`int`, *optional*, defaults to 1000):
            Samples in a window; a multiple of `patch_size`.
        patch_size (`int`, *optional*, defaults to 200):
            Samples in a patch, the time token of teacher and student.
        input_scale (`float`, *optional*, defaults to 0.1):
            Factor from microvolts to the numbers that the first convolution reads.
        hidden_size (`int`, *optional*, defaults to 64):
            Width d of the encoder's tokens.
        num_hidden_layers (`int`, *optional*, defaults to 2):
            Number of encoder blocks.
        num_attention_heads (`int`, *optional*, defaults to 4):
            Heads of the attention over channels.
        intermediate_size (`int`, *optional*):
            Width of the MLP inside a block; `2 * hidden_size` by default.
        num_filters (`int`, *optional*, defaults to 32):
            Quadrature pairs in the filter bank, initialised as Gabor filters between `min_freq` and `max_freq`.
        filter_size (`int`, *optional*, defaults to 100):
            Length of a filter in samples, at most `patch_size`.
        filter_stride (`int`, *optional*, defaults to 50):
            Hop in samples between the positions at which a patch is filtered; their powers are averaged.
        num_slow_features (`int`, *optional*, defaults to 20):
            Box-averaged samples of a patch that enter with the band powers, for evoked and slow activity.
        signed_path (`bool`, *optional*, defaults to `False`):
            Whether the box-averaged samples also reach the compressed state by a linear map alone, each spatial slot
            through a signed pattern over the scalp: for potentials that are locked to a moment.
        signed_path_alone (`float`, *optional*, defaults to 0.5):
            Share of the training windows that are classified by the signed path alone, where there is one. The other
            path memorises single windows sooner, and would leave it nothing to learn.
        min_freq, max_freq (`float`, *optional*, default to 1.0 and 45.0):
            Range in Hz of the initial filters; `max_freq` is below `sfreq / 2`.
        mimic_size (`int`, *optional*, defaults to 200):
            Width D_t of the mimic state: the teacher's width.
        num_spatial_slots, num_temporal_slots, compressed_size (`int`, *optional*, default to 8, 2 and 16):
            K, Q and d_c of the compressed state.
        hidden_dropout (`float`, *optional*, defaults to 0.1):
            Dropout in the blocks.
        classifier_dropout (`float`, *optional*, defaults to 0.2):
            Dropout before the linear classifier.
        layer_norm_eps (`float`, *optional*, defaults to 1e-5):
            Epsilon of the layer normalisations.
        target_mean, target_std (`list[float]`, *optional*):
            Of a regression (`problem_type="regression"`): mean and standard deviation of each target, in its unit, by
            which targets are standardised inside. A trainer takes those of its training windows; without them the
            head gives the target itself.
        regression_loss (`str`, *optional*, defaults to `"mse"`):
            `"mse"`, `"mae"` or `"huber"`, on standardised targets.
        patches_per_label (`int`, *optional*, defaults to 1):
            Of [`MiCForEEGTokenClassification`]: patches that one label is for, such as 30 of a second for an epoch of
            sleep.
        token_context (`str`, *optional*, defaults to `"none"`):
            `"none"`: each label by its own patches; `"gru"`: a recurrent network reads the whole stretch.
        context_size (`int`, *optional*, defaults to 32):
            Width of that network, in each direction.
        weights_licenses (`list[dict]`, *optional*):
            Licences of the published weights that this model goes back to: `weights` (Hub id), `license` (identifier)
            and `source` (page) of each. Loading a teacher fills it in, and what is distilled or fine-tuned keeps it.

    Raises:
        ValueError: a field is unknown, out of range, or contradicts another; the message names it.

    Example:

    ```python
    >>> from dlink_hf import MiCConfig, MiCForEEGClassification

    >>> config = MiCConfig.from_size("small", ch_names=["C3", "Cz", "C4"], num_labels=2)
    >>> model = MiCForEEGClassification(config)
    ```
    """

    model_type = "dlink_mic"

    ch_names: list[str] | None = None
    channel_positions: list | None = None
    sfreq: float | int = 200.0
    n_times: int = 1000
    patch_size: int = 200
    input_scale: float | int = 0.1
    hidden_size: int = 64
    num_hidden_layers: int = 2
    num_attention_heads: int = 4
    intermediate_size: int | None = None
    num_filters: int = 32
    filter_size: int = 100
    filter_stride: int = 50
    num_slow_features: int = 20
    signed_path: bool = False
    signed_path_alone: float | int = 0.5
    min_freq: float | int = 1.0
    max_freq: float | int = 45.0
    mimic_size: int = 200
    num_spatial_slots: int = 8
    num_temporal_slots: int = 2
    compressed_size: int = 16
    hidden_dropout: float | int = 0.1
    classifier_dropout: float | int = 0.2
    layer_norm_eps: float = 1e-5
    target_mean: list | None = None
    target_std: list | None = None
    regression_loss: str = "mse"
    patches_per_label: int = 1
    token_context: str = "none"
    context_size: int = 32
    weights_licenses: list | None = None

    def __post_init__(self, **kwargs):
        reject_unknown_fields(self, kwargs)
        settle_labels(self, kwargs)
        if self.ch_names is None:
            self.ch_names = list(DEFAULT_CH_NAMES)
        if self.intermediate_size is None:
            self.intermediate_size = 2 * self.hidden_size
        check_signal_fields(self)
        check_licences_field(self)
        if self.channel_positions is None:
            self.channel_positions = lookup_positions(self.ch_names)
        check_positions(self)
        self._check_sizes()
        super().__post_init__(**kwargs)
        check_targets_fields(self)

    def _check_sizes(self) -> None:
        in_bounds(self, 1, **_MOST)
        in_bounds(self, 0, num_hidden_layers=256)
        require(self.token_context in ("none", "gru"), "token_context", self.token_context, "'none' or 'gru'")
        require(
            self.n_times % self.patch_size == 0,
            "n_times",
            self.n_times,
            f"a multiple of `patch_size` ({self.patch_size})",
        )
        require(
            self.hidden_size % self.num_attention_heads == 0,
            "hidden_size",
            self.hidden_size,
            f"a multiple of `num_attention_heads` ({self.num_attention_heads})",
        )
        require(
            self.filter_size <= self.patch_size,
            "filter_size",
            self.filter_size,
            f"at most `patch_size` ({self.patch_size})",
        )
        require(
            self.patch_size % self.num_slow_features == 0,
            "num_slow_features",
            self.num_slow_features,
            f"a divisor of `patch_size` ({self.patch_size})",
        )
        require(
            0 < self.min_freq < self.max_freq < self.sfreq / 2,
            "max_freq",
            (self.min_freq, self.max_freq),
            f"0 < min_freq < max_freq < sfreq / 2 ({self.sfreq / 2} Hz)",
        )
        for field in ("hidden_dropout", "classifier_dropout", "signed_path_alone"):
            require(0 <= getattr(self, field) < 1, field, getattr(self, field), "in [0, 1)")
        require(0 < self.input_scale < math.inf, "input_scale", self.input_scale, "positive")
        require(0 < self.layer_norm_eps < 1, "layer_norm_eps", self.layer_norm_eps, "in (0, 1)")

    @property
    def n_patches(self) -> int:
        """Number P of patches in a window of `n_times` samples."""
        return self.n_times // self.patch_size

    @classmethod
    def from_size(cls, size: str, **fields: Any) -> "MiCConfig":
        """Build the config of one of the three published sizes.

        Args:
            size: `"tiny"` (at most 25 k parameters), `"small"` (150 k) or `"base"` (600 k).
            **fields: any field of the config; they win over those of the size.

        Raises:
            ValueError: the size is unknown.
        """
        one_of("`size`", size, _SIZES)
        return cls(**{**_SIZES[size], **fields})


__all__ = ["MiCConfig"]
