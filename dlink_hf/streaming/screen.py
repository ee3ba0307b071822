# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""A live view of predictions in a terminal: one bar per class, a line of state; plain lines if output is a file."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from typing import TextIO

import numpy as np

from ..core.text import for_terminal


REDRAW_SECONDS, LINE_SECONDS = 0.1, 1.0
_UP_AND_CLEAR = "\x1b[{}F\x1b[J"


class StreamScreen:
    """Show predictions as they come.

    On a terminal the lines are redrawn, ten times a second at most. Elsewhere there is one line per second, and one
    whenever the label changes.

    Args:
        labels: the classes.
        out: where to.
    """

    def __init__(self, labels: Sequence[str], out: TextIO) -> None:
        # a label is data: its own control characters are shown, those of the screen are obeyed
        self._labels, self._out = [for_terminal(label) for label in labels], getattr(out, "unescaped", out)
        self._is_terminal = out.isatty()
        self._n_drawn = 0
        self._last_drawn = -np.inf
        self._last_label: str | None = ""
        self._latest: list[str] = []

    def show(
        self, seconds: float, label: str | None, probabilities: np.ndarray | None, reason: str | None, state: str
    ) -> None:
        """Show one prediction.

        Args:
            seconds: from the stream's first sample to the first of the window.
            label: what it is taken for; None while there is no telling.
            probabilities: (num_labels,), or None.
            reason: why there is no label.
            state: latency, losses.
        """
        now = time.monotonic()
        label = None if label is None else for_terminal(label)
        says = label if label is not None else f"no label: {for_terminal(reason)}"
        state = for_terminal(state)
        if self._is_terminal:
            self._latest = [*self._bars(label, probabilities), f"{says}  |  {seconds:.1f} s  |  {state}"]
            if now - self._last_drawn >= REDRAW_SECONDS:
                self._last_drawn = now
                self._redraw()
            return
        if now - self._last_drawn >= LINE_SECONDS or label != self._last_label:
            self._last_drawn, self._last_label = now, label
            shares = "" if probabilities is None else "  " + _shares(self._labels, probabilities)
            self._out.write(f"{seconds:9.2f} s  {says}{shares}  |  {state}\n")
            self._out.flush()

    def say(self, text: str) -> None:
        """Write a line that stays, above the bars."""
        self._clear()
        self._out.write(f"{for_terminal(text)}\n")
        if self._latest:
            self._redraw()
        self._out.flush()

    def close(self) -> None:
        """Leave the last view where it is."""
        if self._latest:
            self._redraw()
        self._n_drawn, self._latest = 0, []

    def _bars(self, label: str | None, probabilities: np.ndarray | None) -> list[str]:
        width = max(map(len, self._labels))
        room = max(10, shutil.get_terminal_size().columns - width - 12)
        rows = []
        shares = np.zeros(len(self._labels)) if probabilities is None else probabilities
        for name, share in zip(self._labels, shares, strict=True):
            bar = "\N{FULL BLOCK}" * round(float(share) * room)
            number = "  ..." if probabilities is None else f"{share:5.2f}"
            rows.append(f"{'>' if name == label else ' '} {name:<{width}} {number} {bar}")
        return rows

    def _redraw(self) -> None:
        self._clear()
        # a line that wraps would be counted as one and leave its rest behind
        columns = shutil.get_terminal_size().columns - 1
        self._out.write("".join(f"{line[:columns]}\n" for line in self._latest))
        self._out.flush()
        self._n_drawn = len(self._latest)

    def _clear(self) -> None:
        if self._n_drawn:
            self._out.write(_UP_AND_CLEAR.format(self._n_drawn))
        self._n_drawn = 0


def _shares(labels: Sequence[str], probabilities: np.ndarray) -> str:
    return "  ".join(f"{name} {share:.2f}" for name, share in zip(labels, probabilities, strict=True))


__all__ = ["StreamScreen"]
