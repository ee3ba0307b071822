# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Where a network's layer can be read, and how what is read there is brought to the layout (B, C, P, D)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any


if TYPE_CHECKING:
    import torch


_AXES = {"b": "batch", "c": "channels", "p": "patches", "d": "width"}


def _groups(pattern: str) -> list[list[str]]:
    """The axes of each dimension, `[["b"], ["c", "p"], ["d"]]`; empty where the text is not such a pattern."""
    words = re.findall(r"\(([^()]*)\)|([^\s()]+)|(\S)", pattern)
    if any(stray for _, _, stray in words):
        return []
    groups = [(inside or alone).split() for inside, alone, _ in words]
    axes = [axis for group in groups for axis in group]
    good = set(axes) <= set(_AXES) and len(set(axes)) == len(axes) and {"b", "d"} <= set(axes) and ["d"] in groups
    return groups if good and all(groups) else []


@dataclass(frozen=True)
class TokenLayout:
    """How the axes of a layer's state are ordered, and which of its tokens belong to the patches.

    Args:
        pattern: einops pattern of the state: `b` batch, `c` channels, `p` patches, `d` width. `c` or `p` may be
            missing where the network has no such axis (left): it is then 1.
        prefix_tokens, suffix_tokens: tokens before and after those of the patches, which are cut off.
        every: read each `every`-th token, the first of them first.

    Raises:
        ValueError: `pattern` is not such a pattern, or has no one axis of tokens to cut.
    """

    pattern: str
    prefix_tokens: int = 0
    suffix_tokens: int = 0
    every: int = 1

    def __post_init__(self) -> None:
        groups = _groups(self.pattern) if isinstance(self.pattern, str) else []
        if not groups:
            axes = ", ".join(f"{axis} ({name})" for axis, name in _AXES.items())
            raise ValueError(
                f"`layout` must be an einops pattern of the axes {axes}, each at most once, b and d always, d on its "
                f"own; such as 'b (c p) d' for tokens channel after channel, 'b (p c) d' for patch after patch, or "
                f"'b p d' where the channels are gone. Got {self.pattern!r}."
            )
        for name in ("prefix_tokens", "suffix_tokens"):
            if type(getattr(self, name)) is not int or getattr(self, name) < 0:
                raise ValueError(f"`{name}` must be 0 or a positive number of tokens, got {getattr(self, name)!r}.")
        if self._cuts and self._token_axis is None:
            raise ValueError(
                f"`prefix_tokens` and `suffix_tokens` need a layout with one axis of tokens; {self.pattern!r} has "
                "none or several."
            )

    @property
    def _cuts(self) -> bool:
        return bool(self.prefix_tokens or self.suffix_tokens or self.every != 1)

    @property
    def _token_axis(self) -> int | None:
        found = [index for index, group in enumerate(_groups(self.pattern)) if not {"b", "d"} & set(group)]
        return found[0] if len(found) == 1 else None

    def apply(self, state: torch.Tensor, batch: int, n_chans: int) -> torch.Tensor:
        """Bring a state to (B, C, P, D).

        Args:
            state: what a layer gave.
            batch: number B of windows.
            n_chans: number C of channels on the tokens; told apart from P where the pattern joins the two.

        Raises:
            ValueError: the state does not have this layout.
        """
        # a student's install has no einops
        from einops import EinopsError, rearrange

        groups = _groups(self.pattern)
        if state.ndim != len(groups):
            raise ValueError(
                f"The layout {self.pattern!r} has {len(groups)} axes, but the layer gave {tuple(state.shape)}."
            )
        shape = tuple(state.shape)
        if self._cuts:
            cut = [slice(None)] * state.ndim
            axis = self._token_axis
            cut[axis] = slice(self.prefix_tokens, state.shape[axis] - self.suffix_tokens, self.every)
            state = state[tuple(cut)]
        known = {"b": batch, "c": n_chans}
        lengths = {axis: known[axis] for group in groups if len(group) > 1 for axis in group if axis in known}
        axes = {axis for group in groups for axis in group}
        target = " ".join(axis if axis in axes else "1" for axis in "bcpd")
        try:
            return rearrange(state, f"{self.pattern} -> {target}", **lengths)
        except EinopsError as error:
            raise ValueError(
                f"The layout {self.pattern!r} does not fit a state of shape {shape} with {batch} windows and "
                f"{n_chans} channels ({self.prefix_tokens} tokens before the patches, {self.suffix_tokens} behind)."
            ) from error


@dataclass(frozen=True)
class Tap:
    """One place where a network is read.

    Args:
        module: name of the module inside the network.
        layout: of the tensor that is read.
        of_input: read what the module is given rather than what it gives.
        element: indices that lead to the state where the module gives a tuple, a list or one axis more.
    """

    module: str
    layout: TokenLayout
    of_input: bool = False
    element: tuple[Any, ...] = ()

    def pick(self, inputs: tuple[Any, ...], output: Any) -> torch.Tensor:
        """Return the tensor among what a hook sees."""
        value = inputs[0] if self.of_input else output
        for index in self.element:
            value = value[index]
        return value


__all__ = ["Tap", "TokenLayout"]
