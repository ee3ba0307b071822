# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Random changes to training windows that leave their labels true; most of them are braindecode's."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch


def _functional() -> Any:
    """braindecode's augmentations as functions of tensors."""
    try:
        from braindecode.augmentation import functional
    except (ImportError, OSError) as error:
        raise ImportError(
            "Augmentations other than time_shift come from braindecode, which could not be imported. Install it with "
            f'`pip install "dlink-hf[teachers]"`, or choose only time_shift. The reason: {error}'
        ) from error
    return functional


def shift_in_time(windows: torch.Tensor, shifts: torch.Tensor) -> torch.Tensor:
    """Turn each window round in time, all channels alike: what leaves at one end enters at the other.

    Args:
        windows: (B, C, T).
        shifts: (B,) whole samples, later where positive.

    Returns:
        (B, C, T).
    """
    index = (torch.arange(windows.shape[-1], device=windows.device) - shifts[:, None]) % windows.shape[-1]
    return windows.gather(-1, index[:, None, :].expand_as(windows))


class EEGAugmentation:
    """Random changes to a batch of training windows, the same ones for the same seed and step.

    | name | change | strength |
    |---|---|---|
    | `time_shift` | the window is turned round in time, all channels alike | at most `max_shift` s either way |
    | `channel_dropout` | channels fall silent | each with probability `dropout` |
    | `noise` | white noise | `noise` times the channel's own standard deviation in the window |
    | `frequency_shift` | the whole spectrum moves, all channels alike | at most `max_frequency_shift` Hz either way |
    | `amplitude_scale` | each channel is scaled | a factor of 1 - `scale` ... 1 + `scale` |
    | `time_mask` | a stretch of all channels fades to zero | `mask` s |
    | `sign_flip` | the polarity is reversed | |

    All but the first are braindecode's (`braindecode.augmentation.functional`), with references there. Not every
    change leaves every label true: a frequency shift blurs SSVEP classes that lie close together.

    Args:
        names: augmentations, applied in this order, each to a window with `probability`; or a mapping of names to
            their own probabilities.
        sfreq: sampling rate of the windows in Hz.
        probability: of each augmentation for each window, where `names` is not a mapping.
        seed: of the random numbers.
        max_shift, dropout, noise, max_frequency_shift, scale, mask: strengths, see the table.

    Raises:
        ImportError: braindecode is needed and does not load.
        ValueError: a name is unknown, or a value is out of range; the message names it.

    Example:

    ```python
    >>> import torch
    >>> from dlink_hf import EEGAugmentation

    >>> augment = EEGAugmentation(["time_shift"], sfreq=200.0, seed=1)
    >>> windows = torch.randn(8, 19, 1000)
    >>> torch.equal(augment(windows, 3), augment(windows, 3))
    True
    ```
    """

    def __init__(
        self,
        names: Sequence[str] | Mapping[str, float],
        sfreq: float,
        probability: float = 0.5,
        seed: int = 0,
        max_shift: float = 0.5,
        dropout: float = 0.2,
        noise: float = 0.1,
        max_frequency_shift: float = 1.0,
        scale: float = 0.2,
        mask: float = 0.5,
    ):
        chosen = dict(names) if isinstance(names, Mapping) else dict.fromkeys(names, probability)
        unknown = [name for name in chosen if name not in AUGMENTATIONS]
        if unknown:
            raise ValueError(f"Augmentations are {', '.join(AUGMENTATIONS)}; got {', '.join(map(repr, unknown))}.")
        for name, value in chosen.items():
            if not 0 <= value <= 1:
                raise ValueError(f"The probability of {name} must lie in [0, 1], got {value}.")
        for name, value, most in (
            ("max_shift", max_shift, math.inf),
            ("dropout", dropout, 1.0),
            ("noise", noise, math.inf),
            ("max_frequency_shift", max_frequency_shift, sfreq / 2),
            ("scale", scale, 1.0),
            ("mask", mask, math.inf),
        ):
            if not 0 <= value < most:
                raise ValueError(f"`{name}` must lie in [0, {most:g}), got {value}.")
        if not 0 < sfreq < math.inf:
            raise ValueError(f"`sfreq` must be a positive sampling rate in Hz, got {sfreq}.")
        self.probabilities = {name: float(value) for name, value in chosen.items()}
        self.sfreq, self.seed = float(sfreq), int(seed)
        self.max_shift, self.dropout, self.noise = float(max_shift), float(dropout), float(noise)
        self.max_frequency_shift, self.scale, self.mask = float(max_frequency_shift), float(scale), float(mask)
        # said now, not an hour into a training
        self._functional = _functional() if set(self.probabilities) - {"time_shift"} else None

    def __call__(self, input_values: torch.Tensor, *step: int) -> torch.Tensor:
        """Change a batch of windows.

        Args:
            input_values: (B, C, T), microvolts; it stays as it is.
            step: whole numbers that tell this batch from all others: the training step, the part of the batch, the
                process. The same numbers give the same changes.

        Returns:
            (B, C, T), microvolts.

        Raises:
            ValueError: the batch has not three axes, or `mask` or `max_shift` is longer than its windows.
        """
        if input_values.ndim != 3:
            raise ValueError(
                f"EEGAugmentation takes windows (batch, channels, samples), got shape {tuple(input_values.shape)}."
            )
        seconds = input_values.shape[-1] / self.sfreq
        for name, length in (("time_shift", self.max_shift), ("time_mask", self.mask)):
            if name in self.probabilities and length > seconds:
                raise ValueError(f"{name} of {length:g} s does not fit windows of {seconds:g} s.")
        output = input_values
        for name, probability in self.probabilities.items():
            # numbers of its own for each augmentation: leaving one out changes nothing in the others
            rng = _seeded([self.seed, list(AUGMENTATIONS).index(name), *step])
            chosen, change = rng.uniform(size=len(output)) < probability, AUGMENTATIONS[name]
            if chosen.all():
                # picking rows takes longer than most changes, and windows often come one by one
                output = change(self, output, rng).to(output.dtype)
            elif chosen.any():
                rows = torch.from_numpy(chosen).to(output.device)
                output = output.clone()
                output[rows] = change(self, output[rows], rng).to(output.dtype)
        return output.clone() if output is input_values else output

    def _time_shift(self, windows: torch.Tensor, rng: np.random.RandomState) -> torch.Tensor:
        most = int(self.max_shift * self.sfreq)
        shifts = torch.from_numpy(rng.randint(-most, most + 1, size=len(windows)))
        return shift_in_time(windows, shifts.to(windows.device))

    def _channel_dropout(self, windows: torch.Tensor, rng: np.random.RandomState) -> torch.Tensor:
        return self._functional.channels_dropout(windows, None, self.dropout, random_state=rng)[0]

    def _noise(self, windows: torch.Tensor, rng: np.random.RandomState) -> torch.Tensor:
        std = self.noise * windows.std(-1, keepdim=True, correction=0)
        return self._functional.gaussian_noise(windows, None, std, random_state=rng)[0]

    def _frequency_shift(self, windows: torch.Tensor, rng: np.random.RandomState) -> torch.Tensor:
        most = self.max_frequency_shift
        shifts = torch.from_numpy(rng.uniform(-most, most, size=len(windows))).to(windows.device, torch.float32)
        return self._functional.frequency_shift(windows, None, shifts, self.sfreq)[0]

    def _amplitude_scale(self, windows: torch.Tensor, rng: np.random.RandomState) -> torch.Tensor:
        return self._functional.amplitude_scale(windows, None, (1 - self.scale, 1 + self.scale), random_state=rng)[0]

    def _time_mask(self, windows: torch.Tensor, rng: np.random.RandomState) -> torch.Tensor:
        length = int(self.mask * self.sfreq)
        starts = torch.from_numpy(rng.randint(0, windows.shape[-1] - length + 1, size=len(windows)))
        return self._functional.smooth_time_mask(windows, None, starts.to(windows.device), length)[0]

    def _sign_flip(self, windows: torch.Tensor, rng: np.random.RandomState) -> torch.Tensor:
        return self._functional.sign_flip(windows, None)[0]

    def __repr__(self) -> str:
        names = ("sfreq", "seed", "max_shift", "dropout", "noise", "max_frequency_shift", "scale", "mask")
        strengths = ", ".join(f"{name}={getattr(self, name):g}" for name in names)
        return f"EEGAugmentation({self.probabilities}, {strengths})"


AUGMENTATIONS: dict[str, Callable[[EEGAugmentation, torch.Tensor, np.random.RandomState], torch.Tensor]] = {
    "time_shift": EEGAugmentation._time_shift,
    "channel_dropout": EEGAugmentation._channel_dropout,
    "noise": EEGAugmentation._noise,
    "frequency_shift": EEGAugmentation._frequency_shift,
    "amplitude_scale": EEGAugmentation._amplitude_scale,
    "time_mask": EEGAugmentation._time_mask,
    "sign_flip": EEGAugmentation._sign_flip,
}


# one generator for each thread: to seed it anew takes a tenth of the time of making another
_THREAD = threading.local()


def _seeded(key: Sequence[int]) -> np.random.RandomState:
    """The thread's generator, at the beginning of the numbers that belong to a key."""
    if not hasattr(_THREAD, "rng"):
        _THREAD.rng = np.random.RandomState(0)
    _THREAD.rng.seed(np.random.SeedSequence(list(key)).generate_state(8))
    return _THREAD.rng


def parse_augmentations(text: str, probability: float = 0.5) -> dict[str, float]:
    """Read `time_shift,noise=0.3` as names and probabilities.

    Args:
        text: names, comma separated, each optionally with a probability.
        probability: of the names without one.

    Raises:
        ValueError: a name is unknown or given twice, or its probability is not a number.
    """
    chosen: dict[str, float] = {}
    for part in filter(None, map(str.strip, text.split(","))):
        name, equals, value = (word.strip() for word in part.partition("="))
        try:
            number = float(value) if equals else probability
        except ValueError:
            raise ValueError(f"Augmentations are given as 'time_shift,noise=0.3', got {part!r}.") from None
        if name in chosen or name not in AUGMENTATIONS:
            problem = "is given twice" if name in chosen else f"is none of {', '.join(AUGMENTATIONS)}"
            raise ValueError(f"Augmentation {name!r} {problem}.")
        chosen[name] = number
    return chosen


__all__ = ["AUGMENTATIONS", "EEGAugmentation", "parse_augmentations", "shift_in_time"]
