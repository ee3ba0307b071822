# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""The layers of the MiC student: filter bank, places of the electrodes, blocks, compression.

B windows, C channels, P patches, d encoder width, D mimic (teacher) width, K spatial and Q temporal slots,
c compressed width.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.utils import ModelOutput

from ...core.batch_statistics import GlobalBatchNorm1d
from ..modeling_base import at_least_single
from .configuration_mic import MiCConfig


@dataclass
class MiCModelOutput(ModelOutput):
    """Output of [`MiCModel`].

    Args:
        last_hidden_state (`torch.Tensor`, (B, C, P, d)): tokens of the encoder.
        mimic_state (`torch.Tensor`, (B, C, P, D)): the tokens at the teacher's width, which mimic the routed target.
        compressed_state (`torch.Tensor`, (B, K, Q, c)): after the compression over space, time and features.
        spatial_weights (`torch.Tensor`, (B, K, C)): how much each slot takes of each channel; rows sum to one.
        temporal_weights (`torch.Tensor`, (Q, P)): how much each slot takes of each patch; rows sum to one.
        hidden_states (`tuple[torch.Tensor]`, each (B, C, P, d)): the embedding, then the output of every block.
        signed_state (`torch.Tensor`, (B, K, Q, c)): the signed path's part of the compressed state, where there is
            one.
    """

    last_hidden_state: torch.Tensor | None = None
    mimic_state: torch.Tensor | None = None
    compressed_state: torch.Tensor | None = None
    spatial_weights: torch.Tensor | None = None
    temporal_weights: torch.Tensor | None = None
    hidden_states: tuple[torch.Tensor, ...] | None = None
    signed_state: torch.Tensor | None = None


@dataclass
class MiCClassifierOutput(ModelOutput):
    """Output of [`MiCForEEGClassification`].

    Args:
        loss (`torch.Tensor`, scalar): cross-entropy, where `labels` were given.
        logits (`torch.Tensor`, (B, num_labels)): before the softmax.
        hidden_states (`tuple[torch.Tensor]`, each (B, C, P, d)): the embedding, then the output of every block.
    """

    loss: torch.Tensor | None = None
    logits: torch.Tensor | None = None
    hidden_states: tuple[torch.Tensor, ...] | None = None


def is_plain_inference() -> bool:
    """Return whether operators run one by one and nothing will be differentiated: what is fast then differs."""
    return not torch.is_grad_enabled() and not torch.compiler.is_compiling()


class GaborConv1d(nn.Conv1d):
    """A strided convolution whose kernels start as Hann-windowed Gabor atoms, log-spaced in frequency."""

    def __init__(self, config: MiCConfig):
        super().__init__(1, 2 * config.num_filters, config.filter_size, stride=config.filter_stride, bias=False)
        self.sfreq, self.min_freq, self.max_freq = config.sfreq, config.min_freq, config.max_freq

    def initial_weight(self) -> torch.Tensor:
        """Return the kernels (2 * num_filters, 1, filter_size): the cosines, then the sines."""
        n_filters, size = self.out_channels // 2, self.kernel_size[0]
        freqs = torch.logspace(math.log10(self.min_freq), math.log10(self.max_freq), n_filters)
        time = (torch.arange(size) - (size - 1) / 2) / self.sfreq
        window = torch.hann_window(size, periodic=False)
        phase = 2 * math.pi * freqs[:, None] * time
        return (torch.cat([phase.cos(), phase.sin()]) * window / window.sum())[:, None]

    def forward(self, patches: torch.Tensor) -> torch.Tensor:
        """Filter patches (N, patch_size) to (N, positions, 2 * num_filters)."""
        # as a matrix product: half the time of a convolution of one input channel on a CPU
        size, stride = self.kernel_size[0], self.stride[0]
        if torch.compiler.is_exporting():
            # ONNX Runtime would pick frames that are unfolded number by number
            starts = range(0, patches.shape[-1] - size + 1, stride)
            return F.linear(torch.stack([patches[:, start : start + size] for start in starts], 1), self.weight[:, 0])
        frames = patches.unfold(-1, size, stride)
        if is_plain_inference():
            # one product of copied frames, where frames that overlap would make one product for each patch
            frames = frames.contiguous()
        return F.linear(frames, self.weight[:, 0])


class MiCFilterBank(nn.Module):
    """Log band power of learned quadrature filters, and box-averaged samples, of every patch.

    A filter is a pair of kernels, at first the cosine and the sine of a Gabor atom; the power of its band is the sum
    of the squares of the two outputs, averaged over the positions inside the patch.
    """

    def __init__(self, config: MiCConfig):
        super().__init__()
        self.filters = GaborConv1d(config)
        self.slow_size = config.patch_size // config.num_slow_features
        # log powers keep their differences between windows, which a normalisation inside a window would throw away
        self.norm = GlobalBatchNorm1d(config.num_filters + config.num_slow_features)

    def forward(self, patches: torch.Tensor) -> torch.Tensor:
        """Describe every patch.

        Args:
            patches: (N, patch_size), scaled.

        Returns:
            (N, num_filters + num_slow_features).
        """
        quadrature = at_least_single(self.filters(patches))
        power = quadrature.square().mean(1).unflatten(1, (2, -1)).sum(1)
        slow = patches.unflatten(1, (-1, self.slow_size)).mean(-1)
        features = torch.cat([torch.log(power + 1e-4), at_least_single(slow)], dim=-1)
        return self.norm(features.to(self.norm.weight.dtype))


class MiCPositionEmbedding(nn.Module):
    """Embedding of a 3-D electrode position: Fourier features, then a linear map."""

    def __init__(self, config: MiCConfig, num_frequencies: int = 3, size: int | None = None):
        super().__init__()
        self.num_frequencies = num_frequencies
        self.linear = nn.Linear(3 + 6 * num_frequencies, config.hidden_size if size is None else size)

    def forward(self, positions: torch.Tensor) -> torch.Tensor:
        """Embed positions (..., 3), metres, as (..., d)."""
        unit = positions / 0.1  # the head's radius is about 0.1 m
        waves = torch.cat([unit * (2**k * math.pi / 2) for k in range(self.num_frequencies)], dim=-1)
        return self.linear(torch.cat([unit, waves.sin(), waves.cos()], dim=-1))


class TimeConv1d(nn.Conv1d):
    """A depthwise convolution of three taps over patches, which leaves tokens in their order in memory."""

    def __init__(self, width: int):
        super().__init__(width, width, 3, padding=1, groups=width)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Map tokens (B, P, C, d) to (B, P, C, d)."""
        if is_plain_inference() and at_least_single(tokens) is tokens:
            # four operations over whole tensors take a quarter of the time of a depthwise convolution
            before, here, after = self.weight[:, 0].unbind(-1)
            series = torch.addcmul(self.bias, tokens, here)
            series[:, 1:].addcmul_(tokens[:, :-1], before)
            series[:, :-1].addcmul_(tokens[:, 1:], after)
            return series
        # tokens are an image of P x C pixels whose channels come last: nothing is copied
        image = tokens.permute(0, 3, 1, 2)
        series = F.conv2d(image, self.weight[..., None], self.bias, padding=(1, 0), groups=self.groups)
        return series.permute(0, 2, 3, 1)


class MiCBlock(GradientCheckpointingLayer):
    """Attention over the channels of a patch, depthwise convolution over patches, MLP; pre-norm residuals."""

    def __init__(self, config: MiCConfig):
        super().__init__()
        width = config.hidden_size
        self.num_heads = config.num_attention_heads
        self.attention_norm = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.qkv = nn.Linear(width, 3 * width)
        self.attention_out = nn.Linear(width, width)
        self.time_norm = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.time_conv = TimeConv1d(width)
        self.mlp_norm = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.mlp_in = nn.Linear(width, config.intermediate_size)
        self.mlp_out = nn.Linear(config.intermediate_size, width)
        self.dropout = nn.Dropout(config.hidden_dropout)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Map tokens (B, P, C, d) to (B, P, C, d)."""
        batch, n_patches, n_chans, width = hidden_states.shape
        qkv = self.qkv(self.attention_norm(hidden_states)).reshape(
            batch * n_patches, n_chans, 3, self.num_heads, width // self.num_heads
        )
        query, key, value = qkv.permute(2, 0, 3, 1, 4).contiguous()
        # a few electrodes: on a CPU, plain products take less time than fused kernels for long sequences
        scores = torch.matmul(query, key.transpose(-1, -2)) / math.sqrt(query.shape[-1])
        mixed = torch.matmul(scores.softmax(-1), value)
        mixed = mixed.transpose(1, 2).reshape(batch, n_patches, n_chans, width)
        hidden_states = hidden_states + self.dropout(self.attention_out(mixed))

        hidden_states = hidden_states + self.dropout(F.gelu(self.time_conv(self.time_norm(hidden_states))))

        return hidden_states + self.dropout(self.mlp_out(F.gelu(self.mlp_in(self.mlp_norm(hidden_states)))))


class MiCCompressor(nn.Module):
    """Structured compression of the mimic state: D to c features, C electrodes to K slots, P patches to Q slots.

    A spatial slot is a learned query with a learned anchor on the scalp: it prefers the channels that match its query
    and lie near its anchor. A temporal slot is a Gaussian around its place in the window. Both are weighted means, so
    that any number of channels and patches, in any order of the channels, gives K x Q slots.
    """

    def __init__(self, config: MiCConfig):
        super().__init__()
        self.norm = nn.LayerNorm(config.mimic_size, eps=config.layer_norm_eps)
        self.features = nn.Linear(config.mimic_size, config.compressed_size)
        # no bias: it would add the same to every channel before the softmax
        self.key = nn.Linear(config.hidden_size, config.compressed_size, bias=False)
        self.spatial_query = nn.Parameter(torch.zeros(config.num_spatial_slots, config.compressed_size))
        self.spatial_anchor = nn.Parameter(torch.zeros(config.num_spatial_slots, 3))
        self.spatial_log_width = nn.Parameter(torch.zeros(config.num_spatial_slots))
        self.temporal_log_width = nn.Parameter(torch.zeros(config.num_temporal_slots))

    def initial_anchors(self) -> torch.Tensor:
        """(K, 3) metres: a Fibonacci lattice on the upper three quarters of a head of 0.1 m radius."""
        n_slots = self.spatial_anchor.shape[0]
        index = torch.arange(n_slots) + 0.5
        height = 1 - 1.5 * index / n_slots
        angle = math.pi * (1 + 5**0.5) * index
        radius = (1 - height.square()).clamp_min(0).sqrt()
        # 0.02 m forward and 0.035 m up: the frame's origin lies behind and below the middle of the electrodes
        centre = torch.tensor([0.0, -0.02, 0.035])
        return 0.1 * torch.stack([radius * angle.cos(), radius * angle.sin(), height], dim=-1) + centre

    def spatial_weights(self, hidden_states: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """Return the weights (B, K, C) of encoder tokens (B, P, C, d) at positions (B or 1, C, 3) in metres."""
        keys = self.key(hidden_states.mean(1))
        match = torch.matmul(self.spatial_query, keys.transpose(1, 2)) / math.sqrt(keys.shape[-1])
        squared_distance = (self.spatial_anchor[:, None] - positions[:, None]).square().sum(-1)
        width = 0.04 * self.spatial_log_width.exp()
        return (match - squared_distance / (2 * width.square()[:, None])).softmax(-1)

    def temporal_weights(self, n_patches: int) -> torch.Tensor:
        """Return the weights (Q, P) of `n_patches` patches."""
        log_width = self.temporal_log_width
        n_slots = log_width.shape[0]
        slots = (torch.arange(n_slots, device=log_width.device, dtype=log_width.dtype) + 0.5) / n_slots
        patches = (torch.arange(n_patches, device=log_width.device, dtype=log_width.dtype) + 0.5) / n_patches
        width = (0.5 / n_slots) * log_width.exp()
        return (-(slots[:, None] - patches).square() / (2 * width.square()[:, None])).softmax(-1)

    def forward(
        self, mimic_state: torch.Tensor, hidden_states: torch.Tensor, positions: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Compress.

        Args:
            mimic_state: (B, P, C, D).
            hidden_states: (B, P, C, d), the encoder's tokens.
            positions: (B or 1, C, 3), metres.

        Returns:
            compressed state (B, K, Q, c), spatial weights (B, K, C), temporal weights (Q, P).
        """
        values = self.features(self.norm(mimic_state))
        spatial = self.spatial_weights(hidden_states, positions)
        temporal = self.temporal_weights(values.shape[1])
        slots = torch.matmul(spatial[:, None], values)  # (B, P, K, c)
        compressed = torch.matmul(temporal, slots.permute(0, 2, 1, 3))  # (B, K, Q, c)
        return compressed, spatial, temporal


class MiCSignedPath(nn.Module):
    """Signed amplitudes as the compressed state takes them: a linear map of the box-averaged samples.

    Log powers know no sign, and attention and normalisations keep little of an amplitude's pattern over the scalp; a
    potential that is locked to a moment has nothing else. Every spatial slot has a pattern of its own, a smooth signed
    function of the electrode's place, so that any montage will do. For one montage all of it is one linear map.
    """

    def __init__(self, config: MiCConfig):
        super().__init__()
        self.features = nn.Linear(config.num_slow_features, config.compressed_size, bias=False)
        self.pattern = MiCPositionEmbedding(config, size=config.num_spatial_slots)

    def spatial_weights(self, positions: torch.Tensor) -> torch.Tensor:
        """Return the signed weights (B or 1, K, C) of channels at positions (B or 1, C, 3) in metres."""
        return self.pattern(positions).transpose(1, 2) / math.sqrt(positions.shape[1])

    def forward(self, slow: torch.Tensor, positions: torch.Tensor, temporal_weights: torch.Tensor) -> torch.Tensor:
        """Map the signed amplitudes of windows.

        Args:
            slow: (B, C, P, S), the box-averaged samples, normalised.
            positions: (B or 1, C, 3), metres.
            temporal_weights: (Q, P).

        Returns:
            (B, K, Q, c).
        """
        values = self.features(torch.matmul(temporal_weights, slow))  # (B, C, Q, c)
        return torch.matmul(self.spatial_weights(positions), values.flatten(2)).unflatten(2, values.shape[2:])


def signed_alone(compressed_state: torch.Tensor, signed_state: torch.Tensor, share: float) -> torch.Tensor:
    """Leave a share of the training windows to the signed path alone.

    Args:
        compressed_state: (B, K, Q, c), both paths together.
        signed_state: (B, K, Q, c), the signed path's part of it.
        share: of the windows, in [0, 1).

    Returns:
        (B, K, Q, c); the other path is scaled up, as dropout does it, so that its mean over the windows stays.
    """
    if share <= 0:
        return compressed_state
    kept = torch.rand(len(compressed_state), 1, 1, 1, device=compressed_state.device) >= share
    return signed_state + (compressed_state - signed_state) * kept.to(compressed_state.dtype) / (1 - share)


__all__ = [
    "GaborConv1d",
    "MiCBlock",
    "MiCCompressor",
    "MiCFilterBank",
    "MiCPositionEmbedding",
    "MiCSignedPath",
    "TimeConv1d",
]
