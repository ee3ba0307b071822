# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Tokens on another grid: what teachers of other channels, patches and rates share with each other and the student.

The rules, all of them fixed and linear:

- time, to fewer patches: each new patch is the mean of the old ones over the time that it spans, in parts where one is
  cut; to more patches: linear interpolation between the middles of the old ones, the outermost held at the ends.
- channels: as many are kept as they are; one is given to all; any other number is averaged, and the mean given to all.
- student and teacher meet on the coarser of their two grids, so that neither is asked for what it does not resolve:
  the fewer patches of both, and their channels where there are as many, else the mean over the channels.
- a teacher that sees more than its student (`shared_tokens`), before the two meet: of its channels those that the
  student has, picked by name in the student's order, where its tokens are per channel; of its patches those of the
  student's window, which is the last part of the teacher's. Where a patch is cut by the window's beginning, the rule
  of time is followed only along the student's window. Patches are taken to share their window evenly.
- a window, for a teacher of another rate or of some of its channels: the teacher's channels are picked by name, and
  the rate is changed by torchaudio's `resample` (windowed sinc).
"""

from __future__ import annotations

import functools
import math
from fractions import Fraction
from typing import Any

import torch

from ..core.electrodes import canonical_name


@functools.cache
def time_weights(n_patches: int, n_new: int, tail: Fraction | int = 1) -> torch.Tensor:
    """Matrix (n_new, n_patches) float64 that brings `n_patches` patches to `n_new`; its rows sum to one.

    Args:
        n_patches, n_new: old and new number.
        tail: part of the time that the new patches span, its end; 1 for all of it.
    """
    spanned = float(n_patches * tail)
    if n_new <= spanned:
        old = torch.arange(n_patches + 1, dtype=torch.float64) / n_patches
        new = 1 - float(tail) + float(tail) * torch.arange(n_new + 1, dtype=torch.float64) / n_new
        overlap = torch.minimum(new[1:, None], old[1:]) - torch.maximum(new[:-1, None], old[:-1])
        return overlap.clamp_min(0) * n_new / float(tail)
    place = (torch.arange(n_new, dtype=torch.float64) + 0.5) * spanned / n_new - 0.5 + n_patches - spanned
    distance = place.clamp(0, n_patches - 1)[:, None] - torch.arange(n_patches, dtype=torch.float64)
    return (1 - distance.abs()).clamp_min(0)


def to_grid(state: torch.Tensor, n_chans: int, n_patches: int) -> torch.Tensor:
    """Bring tokens to another grid by the rules above.

    Args:
        state: (B, C, P, D).
        n_chans, n_patches: of the new grid.

    Returns:
        (B, n_chans, n_patches, D).
    """
    if state.shape[1] not in (1, n_chans):
        state = state.mean(1, keepdim=True)
    if state.shape[2] != n_patches:
        state = torch.matmul(time_weights(state.shape[2], n_patches).to(state), state)
    return state if state.shape[1] == n_chans else state.expand(-1, n_chans, -1, -1)


def common_grid(student: torch.Size, teacher: torch.Size) -> tuple[int, int]:
    """Return the channels and patches on which a student's state (B, C, P, D) and a teacher's are compared."""
    return (student[1] if student[1] == teacher[1] else 1), min(student[2], teacher[2])


def sees_more(teacher: Any, student: Any) -> bool:
    """Tell whether a teacher reads other channels, or a longer window, than its student.

    Both then need windows of their own.

    Args:
        teacher, student: configs with `ch_names`, `sfreq` (Hz) and `n_times`.
    """
    names = [[canonical_name(name) or name for name in config.ch_names] for config in (teacher, student)]
    return names[0] != names[1] or (teacher.n_times, teacher.sfreq) != (student.n_times, student.sfreq)


def shared_tokens(state: torch.Tensor, teacher: Any, student: Any, n_patches: int) -> torch.Tensor:
    """Pick a teacher's tokens of the electrodes and the time that its student sees, by the rules above.

    Args:
        state: (B, C_t, P_t, D), the teacher's.
        teacher, student: configs with `ch_names`, `sfreq` (Hz) and `n_times`.
        n_patches: P of the student's tokens.

    Returns:
        (B, C, P', D): C the student's channels, where C_t were the teacher's, else C_t; P' the patches of the
        student's window, no more than P where one of them is cut.
    """
    if not sees_more(teacher, student):
        return state
    known, wanted = ([canonical_name(name) or name for name in config.ch_names] for config in (teacher, student))
    if state.shape[1] == len(known) and known != wanted:
        state = state[:, [known.index(name) for name in wanted]]
    tail = Fraction(student.n_times, teacher.n_times) * _ratio(student.sfreq, teacher.sfreq)
    if tail == 1:
        return state
    spanned = state.shape[2] * tail
    if spanned.denominator == 1:
        return state[:, :, -int(spanned) :]
    n_new = max(1, min(n_patches, math.floor(spanned)))
    return torch.matmul(time_weights(state.shape[2], n_new, tail).to(state), state)


def student_fields(teacher: Any, n_times: int | None = None) -> dict[str, Any]:
    """Fields of a fresh student's config that follow from a teacher's: width, and patches of about a second.

    Args:
        teacher: [`DLinkTeacherConfig`].
        n_times: samples of the student's window, where it is shorter than the teacher's.
    """
    n_times = teacher.n_times if n_times is None else n_times
    size: int | None = teacher.patch_size
    if size is None or n_times % size or size < teacher.sfreq / 2 or size * teacher.n_patches != teacher.n_times:
        size = None
    return {"mimic_size": teacher.hidden_size, **patch_fields(n_times, teacher.sfreq, size)}


def patch_fields(n_times: int, sfreq: float, size: int | None = None) -> dict[str, Any]:
    """Fields of a fresh student's config that follow from its patches.

    Args:
        n_times: samples of a window.
        sfreq: sampling rate in Hz.
        size: samples of a patch; by default the divisor of the window that is nearest to a second.
    """
    if size is None:
        divisors = [size for size in range(1, n_times + 1) if n_times % size == 0]
        size = min(divisors, key=lambda divisor: abs(math.log(divisor / sfreq)))
    fields = {"patch_size": size}
    slow = max(number for number in range(1, min(20, size) + 1) if size % number == 0)
    if slow != 20:
        fields["num_slow_features"] = slow
    if size < 100:
        fields |= {"filter_size": size, "filter_stride": max(1, size // 2)}
    return fields


def resampled_length(n_times: int, sfreq: float, new_sfreq: float) -> int:
    """Return the samples of a window after `resample`."""
    return math.ceil(n_times * _ratio(sfreq, new_sfreq))


def _ratio(sfreq: float, new_sfreq: float) -> Fraction:
    return (Fraction(new_sfreq).limit_denominator(1000) / Fraction(sfreq).limit_denominator(1000)).limit_denominator(
        10_000
    )


def missing_channels(source: Any, teacher: Any) -> list[str]:
    """Return the channels that a teacher's config names and a window's config has not."""
    known = {canonical_name(name) or name for name in source.ch_names}
    return [name for name in teacher.ch_names if (canonical_name(name) or name) not in known]


def windows_for(input_values: torch.Tensor, source: Any, teacher: Any) -> torch.Tensor:
    """Return the windows as a teacher of other channels or another rate reads them.

    Args:
        input_values: (B, C, T), microvolts.
        source: config that says their `ch_names` and `sfreq` (Hz).
        teacher: config of the teacher, with the same fields.

    Returns:
        (B, C_k, T_k), microvolts; the windows themselves where nothing differs.

    Raises:
        ImportError: the rates differ and torchaudio does not load.
        ValueError: the windows lack channels that the teacher reads; the message names them.
    """
    missing = missing_channels(source, teacher)
    if missing:
        raise ValueError(
            f"The windows lack {', '.join(missing)}, which the teacher reads; they have {', '.join(source.ch_names)}. "
            "Nothing is filled in: choose a teacher of these channels, or windows with its channels."
        )
    names = [canonical_name(name) or name for name in source.ch_names]
    picks = [names.index(canonical_name(name) or name) for name in teacher.ch_names]
    if picks != list(range(len(names))):
        input_values = input_values[:, picks]
    if source.sfreq == teacher.sfreq:
        return input_values
    try:
        from torchaudio.functional import resample
    except (ImportError, OSError) as error:
        raise ImportError(
            f"A teacher at {teacher.sfreq:g} Hz with windows at {source.sfreq:g} Hz needs torchaudio, which does "
            f'not load: install it with `pip install "dlink-hf[teachers]"`, built for your torch. The reason: {error}'
        ) from error
    ratio = _ratio(source.sfreq, teacher.sfreq)
    return resample(input_values.float(), ratio.denominator, ratio.numerator)


__all__ = [
    "common_grid",
    "missing_channels",
    "patch_fields",
    "resampled_length",
    "sees_more",
    "shared_tokens",
    "student_fields",
    "time_weights",
    "to_grid",
    "windows_for",
]
