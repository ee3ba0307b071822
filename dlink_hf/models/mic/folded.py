# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""A trained student folded for inference: one montage, one length of window, the same logits in fewer operations.

What follows from the weights and the montage only is computed once, in double precision: the embedding of the
places, the distances to the slots, the weights of the patches. Normalisations' scales and shifts go into the linear
maps behind them, and the mimic state, as wide as the teacher is, is never made.

B windows, C channels, P patches of L samples, d encoder width, K spatial and Q temporal slots, c compressed width.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F

from ..modeling_base import DLinkPreTrainedModel, at_least_single, check_input_values
from .mic_layers import MiCBlock, MiCClassifierOutput, MiCCompressor, MiCFilterBank


# of the folded logits from the model's, both in double precision, as a share of the largest logit
_TOLERANCE = 1e-6


class _Folded(nn.Module):
    """Constants that are no parameters: a folded student does not learn."""

    def keep(self, **tensors: torch.Tensor) -> None:
        for name, tensor in tensors.items():
            self.register_buffer(name, tensor.detach().contiguous())


class FoldedFilterBank(_Folded):
    """Log band powers and box averages of patches, before their normalisation, which goes into the embedding."""

    def __init__(self, bank: MiCFilterBank, patch_size: int, input_scale: float):
        super().__init__()
        kernels = bank.filters.weight[:, 0] * input_scale
        self.size, self.stride = kernels.shape[1], bank.filters.stride[0]
        self.n_positions = (patch_size - self.size) // self.stride + 1
        half = torch.eye(len(kernels) // 2, dtype=kernels.dtype) / self.n_positions
        boxes = torch.eye(patch_size // bank.slow_size, dtype=kernels.dtype).repeat_interleave(bank.slow_size, 0)
        self.keep(kernels=kernels.T, pairs=torch.cat([half, half]), boxes=boxes * (input_scale / bank.slow_size))
        self.keep(floor=torch.full((len(half),), 1e-4, dtype=kernels.dtype))

    def forward(self, patches: torch.Tensor) -> torch.Tensor:
        """Describe patches (N, L) in microvolts as (N, num_filters + num_slow_features)."""
        power = None
        # one product for each position: frames that overlap would have to be copied
        for first in range(0, self.n_positions * self.stride, self.stride):
            quadrature = at_least_single(torch.mm(patches[:, first : first + self.size], self.kernels))
            power = quadrature * quadrature if power is None else power + quadrature * quadrature
        logs = torch.addmm(self.floor.to(power), power, self.pairs.to(power)).log()
        return torch.cat([logs.to(patches), torch.mm(patches, self.boxes)], dim=1)


class FoldedBlock(_Folded):
    """A [`MiCBlock`] on tokens (B * C * P, d), channel by channel."""

    def __init__(self, block: MiCBlock, n_chans: int, n_patches: int):
        super().__init__()
        self.n_chans, self.n_patches, self.num_heads = n_chans, n_patches, block.num_heads
        self.eps = block.attention_norm.eps
        width = block.qkv.in_features
        weight, bias = behind_norm(block.attention_norm, block.qkv)
        # the scale of the scores goes into the queries
        scale = torch.ones(3 * width, dtype=weight.dtype)
        scale[:width] = 1 / math.sqrt(width // self.num_heads)
        self.keep(qkv=(weight * scale[:, None]).T, qkv_bias=bias * scale)
        self.keep(out=block.attention_out.weight.T, out_bias=block.attention_out.bias)
        self.keep(time_scale=block.time_norm.weight, time_shift=block.time_norm.bias)
        self.keep(taps=block.time_conv.weight[:, 0].T, taps_bias=block.time_conv.bias)
        weight, bias = behind_norm(block.mlp_norm, block.mlp_in)
        self.keep(mlp_in=weight.T, mlp_in_bias=bias)
        self.keep(mlp_out=block.mlp_out.weight.T, mlp_out_bias=block.mlp_out.bias)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Map tokens (B * C * P, d) to (B * C * P, d)."""
        width = tokens.shape[1:]
        tokens = tokens + torch.addmm(self.out_bias, self.mix(F.layer_norm(tokens, width, eps=self.eps)), self.out)
        normed = F.layer_norm(tokens, width, self.time_scale, self.time_shift, self.eps)
        tokens = tokens + F.gelu(self.over_time(normed.view(-1, self.n_chans, self.n_patches, *width)))
        inner = torch.addmm(self.mlp_in_bias, F.layer_norm(tokens, width, eps=self.eps), self.mlp_in)
        return tokens + torch.addmm(self.mlp_out_bias, F.gelu(inner), self.mlp_out)

    def mix(self, normed: torch.Tensor) -> torch.Tensor:
        """Attention over the channels of a patch, heads side by side: (B * C * P, d) to the same."""
        n_chans, n_patches, heads, size = self.n_chans, self.n_patches, self.num_heads, normed.shape[1]
        size = size // heads
        qkv = torch.addmm(self.qkv_bias, normed, self.qkv)
        if torch.compiler.is_compiling():
            # axes that move one at a time, and a softmax along the last: what ONNX Runtime is quick at
            parts = qkv.view(-1, n_chans, n_patches, 3 * heads, size).split(heads, 3)
            query, key, value = (part.permute(0, 2, 3, 1, 4) for part in parts)
            mixed = torch.matmul(torch.matmul(query, key.transpose(-1, -2)).softmax(-1), value)
        else:
            parts = qkv.view(-1, n_chans, n_patches, 3, heads, size).permute(3, 0, 2, 4, 1, 5).contiguous()
            query, key, value = parts.view(3, -1, n_chans, size).unbind(0)
            # keys first: PyTorch's softmax takes less time along an axis that is not the last
            shares = torch.bmm(key, query.transpose(1, 2)).softmax(1)
            mixed = torch.bmm(shares.transpose(1, 2), value).view(-1, n_patches, heads, n_chans, size)
        return mixed.permute(0, 3, 1, 2, 4).reshape(-1, heads * size)

    def over_time(self, normed: torch.Tensor) -> torch.Tensor:
        """Return the convolution over patches: (B, C, P, d) to (B * C * P, d)."""
        width = normed.shape[-1]
        if torch.compiler.is_compiling():
            image, kernel = normed.permute(0, 3, 1, 2), self.taps.T.reshape(width, 1, 1, 3)
            series = F.conv2d(image, kernel, self.taps_bias, padding=(0, 1), groups=width)
            return series.permute(0, 2, 3, 1).reshape(-1, width)
        before, here, after = self.taps.unbind(0)
        series = torch.addcmul(self.taps_bias, normed, here)
        if self.n_patches > 1:
            series[:, :, 1:].addcmul_(normed[:, :, :-1], before)
            series[:, :, :-1].addcmul_(normed[:, :, 1:], after)
        return series.view(-1, width)


class MiCInference(_Folded):
    """A trained student folded for inference; made by [`MiCWithHead.for_inference`].

    It holds the weights as they were when it was made, follows no later training, and gives only logits.

    Args:
        model ([`MiCForEEGClassification`] or [`MiCForEEGRegression`]): the student; it is left as it is.
        channel_positions (`Sequence`, (C, 3), *optional*): positions in metres; the montage of the config where left
            out.
        n_times (`int`, *optional*): samples in a window; that of the config by default.

    Raises:
        ValueError: `n_times` or the positions do not fit, or the model computes something else than its own layers'
            weights say (an adapter, a hook, another forward pass).
    """

    def __init__(
        self,
        model: DLinkPreTrainedModel,
        channel_positions: Sequence[Sequence[float]] | torch.Tensor | None = None,
        n_times: int | None = None,
    ):
        super().__init__()
        self.config = config = copy.deepcopy(model.config)
        n_times = config.n_times if n_times is None else n_times
        if isinstance(n_times, bool) or not isinstance(n_times, int) or n_times < 1 or n_times % config.patch_size:
            raise ValueError(
                f"`n_times` must be a whole number of {config.patch_size}-sample patches, got {n_times!r}."
            )
        source = copy.deepcopy(model).cpu().double().eval()
        given = config.channel_positions if channel_positions is None else channel_positions
        positions = torch.as_tensor(given, dtype=torch.float64, device="cpu")
        if positions.ndim != 2:
            raise ValueError(f"`channel_positions` must be (C, 3), one montage, got {tuple(positions.shape)}.")
        self.n_chans, self.n_times, self.patch_size = len(positions), n_times, config.patch_size
        checked = torch.randn(
            3, self.n_chans, n_times, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
        )
        checked *= torch.tensor([20.0, 0.0, 1000.0], dtype=torch.float64)[:, None, None]
        with torch.no_grad():
            # refuses positions that do not fit, too
            expected = source(checked, channel_positions=positions).logits
            self._fold(source, positions)
            found = self(checked).logits
        if not (found - expected).abs().max() <= _TOLERANCE * expected.abs().max().clamp_min(1):
            raise ValueError(
                "The folded student does not give the model's logits (largest difference "
                f"{(found - expected).abs().max().item():.3g}): its weights are not finite, or its forward pass is no "
                "longer that of its layers. Merge adapters and take off hooks and parametrizations first."
            )
        self.to(model.device, torch.promote_types(model.dtype, torch.float32)).eval()

    def _fold(self, source: DLinkPreTrainedModel, positions: torch.Tensor) -> None:
        config, mic = self.config, source.mic
        compressor: MiCCompressor = mic.compressor
        self.n_patches = n_patches = self.n_times // config.patch_size
        self.eps = config.layer_norm_eps
        self.filter_bank = FoldedFilterBank(mic.filter_bank, config.patch_size, config.input_scale)
        norm, embedding = mic.filter_bank.norm, mic.token_embedding
        scale = norm.weight / (norm.running_var + norm.eps).sqrt()
        shift = norm.bias - norm.running_mean * scale
        place = mic.position_embedding(positions) + embedding.weight @ shift + embedding.bias
        self.keep(embedding=(embedding.weight * scale).T, place=place.repeat_interleave(n_patches, 0))
        self.blocks = nn.ModuleList(FoldedBlock(block, self.n_chans, n_patches) for block in mic.blocks)

        weight, bias = behind_norm(mic.mimic_norm, mic.mimic_projection)
        feature_weight, feature_bias = behind_norm(compressor.norm, compressor.features)
        narrow, feature_weight = narrow_mimic(torch.cat([weight, bias[:, None]], dim=1), feature_weight)
        self.keep(mimic=narrow[:, :-1].T, mimic_bias=narrow[:, -1], features=feature_weight.T)

        match = compressor.spatial_query @ compressor.key.weight / math.sqrt(config.compressed_size)
        squared_distance = (compressor.spatial_anchor[:, None] - positions).square().sum(-1)
        width = 0.04 * compressor.spatial_log_width.exp()
        # side by side for all patches: their mean comes with the product
        self.keep(match=match.repeat(1, n_patches) / n_patches)
        self.keep(near=-squared_distance / (2 * width.square()[:, None]))

        self._fold_head(source, feature_bias, positions, shift, scale)

    def _fold_head(
        self,
        source: DLinkPreTrainedModel,
        feature_bias: torch.Tensor,
        positions: torch.Tensor,
        shift: torch.Tensor,
        scale: torch.Tensor,
    ) -> None:
        """Keep what comes after the spatial slots; `shift` and `scale` are those of the filter bank's features."""
        config, mic = self.config, source.mic
        slots = (config.num_spatial_slots, config.num_temporal_slots, config.compressed_size)
        head = source.classifier.weight.view(-1, *slots)
        over_patches = torch.einsum("lkqf,qp->lkpf", head, mic.compressor.temporal_weights(self.n_patches))
        # weighted means leave the features' bias as it is: it goes into the head's
        bias = source.classifier.bias + torch.einsum("lkqf,f->l", head, feature_bias)
        self.num_filters = config.num_filters
        self.register_buffer("signed", None)
        if mic.signed_path is not None:
            patterns, features = mic.signed_path.spatial_weights(positions[None])[0], mic.signed_path.features.weight
            signed = torch.einsum("lkpf,kc,fs->lcps", over_patches, patterns, features)
            bias = bias + torch.einsum("lcps,s->l", signed, shift[self.num_filters :])
            self.keep(signed=(signed * scale[self.num_filters :]).flatten(1).T)
        # the head's numbers in the unit of a regression's targets
        scale, shift = (1.0, 0.0) if config.target_std is None else (config.target_std, config.target_mean)
        scale, shift = torch.as_tensor(scale).to(bias), torch.as_tensor(shift).to(bias)
        if self.signed is not None:
            self.signed = self.signed * scale
        self.keep(head=over_patches.flatten(1).T * scale, head_bias=bias * scale + shift)

    def logits_of(self, slots: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
        """Return the logits of slots (B, K, P * c) and the filter bank's features (B * C * P, F)."""
        batch = slots.shape[0]
        logits = torch.addmm(self.head_bias, slots.view(batch, -1), self.head)
        if self.signed is not None:
            logits = torch.addmm(logits, features[:, self.num_filters :].reshape(batch, -1), self.signed)
        return logits

    def forward(self, input_values: torch.Tensor) -> MiCClassifierOutput:
        r"""
        Args:
            input_values (`torch.Tensor`, (B, C, T)): windows in microvolts, of the montage and the length that the
                student was folded for.

        Returns:
            [`MiCClassifierOutput`] with only `logits` (B, num_labels).

        Raises:
            TypeError, ValueError: the input has the wrong shape or type.
        """
        check_input_values(input_values, self.patch_size, type(self).__name__)
        batch, *shape = input_values.shape
        if shape != [self.n_chans, self.n_times]:
            raise ValueError(
                f"This student was folded for windows of {self.n_chans} channels and {self.n_times} samples, got "
                f"{tuple(input_values.shape)}. Fold the model for others: "
                "model.for_inference(channel_positions=..., n_times=...)."
            )
        patches = input_values.to(self.embedding.dtype).reshape(-1, self.patch_size)
        width = self.place.shape[1:]
        features = self.filter_bank(patches)
        tokens = torch.mm(features, self.embedding).view(batch, -1, *width)
        tokens = (tokens + self.place).view(-1, *width)
        for block in self.blocks:
            tokens = block(tokens)

        mimic = torch.addmm(self.mimic_bias, F.layer_norm(tokens, width, eps=self.eps), self.mimic)
        values = torch.mm(F.layer_norm(mimic, mimic.shape[1:], eps=self.eps), self.features)
        channels = tokens.view(batch, self.n_chans, -1).transpose(1, 2)
        spatial = (torch.matmul(self.match, channels) + self.near).softmax(-1)
        slots = torch.bmm(spatial, values.view(batch, self.n_chans, -1))
        return MiCClassifierOutput(logits=self.logits_of(slots, features))


class MiCTokenInference(MiCInference):
    """A trained student of patches folded for inference: logits (B, S, num_labels) of S places.

    Made by [`MiCForEEGTokenClassification.for_inference`]; what [`MiCInference`] says holds for it.
    """

    def _fold_head(
        self,
        source: DLinkPreTrainedModel,
        feature_bias: torch.Tensor,
        positions: torch.Tensor,
        shift: torch.Tensor,
        scale: torch.Tensor,
    ) -> None:
        self.keep(feature_bias=feature_bias)
        self.token_norm, self.classifier = source.token_norm, source.classifier
        self.context = source.context
        self.requires_grad_(False)

    def logits_of(self, slots: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
        """Return the logits (B, S, num_labels) of slots (B, K, P * c); the features are not read."""
        config, batch = self.config, slots.shape[0]
        of_patches = slots.view(batch, config.num_spatial_slots, self.n_patches, -1) + self.feature_bias
        tokens = of_patches.transpose(1, 2).reshape(
            batch, -1, config.patches_per_label, self.token_norm.weight.numel()
        )
        tokens = self.token_norm(tokens.mean(2))
        if self.context is not None:
            tokens = torch.cat([tokens, self.context(tokens)[0]], dim=-1)
        return self.classifier(tokens)


def behind_norm(norm: nn.LayerNorm, linear: nn.Linear) -> tuple[torch.Tensor, torch.Tensor]:
    """Weight (out, in) and bias (out,) of a linear map that does a normalisation's scale and shift too."""
    bias = linear.weight @ norm.bias
    return linear.weight * norm.weight, bias if linear.bias is None else bias + linear.bias


def narrow_mimic(to_mimic: torch.Tensor, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return a narrow mimic state whose normalised values give the same features.

    With y = A [x; 1], the normalisation of y takes only its mean and its variance. The mean is taken out of A; the
    variance is that of z = s H R [x; 1], where A = Q R with orthonormal Q, H has orthonormal columns that sum to zero,
    and s = sqrt(width of z / width of y). So features(norm(y)) = features Q H' norm(z) / s.

    Args:
        to_mimic: A, (D, d + 1), the last column the bias.
        features: (c, D).

    Returns:
        A and the features for the narrow state; as they were, where it would not be narrower.
    """
    to_mimic = to_mimic - to_mimic.mean(0)
    wide, rank = to_mimic.shape[0], min(to_mimic.shape)
    # whole registers of 16 numbers
    narrow = 16 * math.ceil((rank + 1) / 16)
    if narrow >= wide:
        return to_mimic, features
    basis, triangle = torch.linalg.qr(to_mimic)
    start = torch.cat([torch.ones(narrow, 1).to(features), torch.eye(narrow, rank).to(features)], dim=1)
    spread = math.sqrt(narrow / wide) * torch.linalg.qr(start)[0][:, 1:]
    return spread @ triangle, features @ basis @ spread.T * (wide / narrow)


__all__ = ["MiCInference", "MiCTokenInference"]
