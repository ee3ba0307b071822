# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""What a step takes of the whole batch, where several processes hold a part of it each.

DistributedDataParallel averages the gradients of the processes' own losses. That is the gradient of the loss of the
whole batch if the loss is a mean over windows; statistics of the batch, and sums that a term is divided by, must be
those of all processes. They are exchanged while a model is called through DistributedDataParallel and nowhere else, so
that processes which train models of their own never wait for one another.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import distributed, nn
from torch.autograd.function import once_differentiable
from torch.nn.parallel import DistributedDataParallel


def is_shared() -> bool:
    """Return whether the model that is running now runs in several processes, each on its part of a batch."""
    if not (distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1):
        return False
    return getattr(DistributedDataParallel, "_active_ddp_module", None) is not None and torch.is_grad_enabled()


@torch.no_grad()
def process_mean(values: torch.Tensor) -> torch.Tensor:
    """Return the mean over the processes of a constant, of any shape. All of them must call it: see [`is_shared`].

    A term whose sum is divided by the mean of the processes' divisors is, averaged over the processes, the sum of all
    over the divisor of all.
    """
    values = values.detach().clone()
    distributed.all_reduce(values)
    return values / distributed.get_world_size()


class _SumOverProcesses(torch.autograd.Function):
    """Sum of the processes' tensors; each of them gets the sum of the gradients with regard to it."""

    @staticmethod
    def forward(ctx: Any, values: torch.Tensor) -> torch.Tensor:
        total = values.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> torch.Tensor:
        grad = grad.contiguous().clone()
        distributed.all_reduce(grad)
        return grad


class GlobalBatchNorm1d(nn.BatchNorm1d):
    """[`torch.nn.BatchNorm1d`] of features (N, F) that takes its statistics of all processes' parts of the batch.

    The same as `torch.nn.SyncBatchNorm`, which runs on GPUs only; on one process it is `BatchNorm1d`, bit for bit.
    """

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Normalise (N, F); N may differ between the processes."""
        if not (self.training and is_shared()):
            return super().forward(features)
        count = features.new_full((1,), features.shape[0])
        *sums, total = _SumOverProcesses.apply(torch.cat([features.sum(0), count])).split([features.shape[1], 1])
        mean = sums[0] / total.detach()
        # in two passes: the difference of two large sums would lose the small variances
        centred = features - mean
        variance = _SumOverProcesses.apply(centred.square().sum(0)) / total.detach()
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean.to(self.running_mean), self.momentum)
            unbiased = variance * (total / (total - 1))
            self.running_var.lerp_(unbiased.to(self.running_var), self.momentum)
        return centred * (variance + self.eps).rsqrt() * self.weight + self.bias


__all__ = ["GlobalBatchNorm1d", "is_shared", "process_mean"]
