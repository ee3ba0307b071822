# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""How all plots of the package look: colours, markers, hatches, sizes, axes, and how a figure becomes a file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.atomic_files import staged
from ..core.requires import require


if TYPE_CHECKING:
    from matplotlib.figure import Figure


# colour-blind safe (Okabe & Ito 2008)
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")
# one for each model or class, so that a print without colours can be read
MARKERS = ("s", "o", "^", "D", "v", "P")
LINES = ("-", "--", "-.", ":")
HATCHES = ("", "//", "..", "xx", "\\\\", "++", "oo", "--")
# values of one kind, from low to high; and of two signs, white at zero
SEQUENTIAL, DIVERGING = "viridis", "RdBu_r"
# inches: on a page, and on a phone held upright
WIDE, NARROW = 11.0, 4.4
DOTS_PER_INCH = 150


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure of a width and a height in inches, which no window shows.

    Raises:
        ImportError: matplotlib is not installed.
    """
    # a program that draws nothing is spared matplotlib
    figure: Any = require("matplotlib.figure", "A plot").Figure(figsize=(width, height), layout="constrained")
    # inches around a panel: the title of one row keeps off the label of the row above
    figure.get_layout_engine().set(w_pad=0.1, h_pad=0.1)
    require("matplotlib.backends.backend_agg", "A plot").FigureCanvasAgg(figure)
    return figure


def plain_axes(axes: Any) -> None:
    """Take the upper and right border off axes, and give them a pale grid."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.set_axisbelow(True)


def save_figure(figure: Figure, path: str | os.PathLike) -> Path:
    """Write a figure under a temporary name, then rename it.

    Raises:
        ValueError: the name ends neither in .png nor in .svg or .pdf.
    """
    path = Path(path)
    if path.suffix.lower() not in (".png", ".svg", ".pdf"):
        raise ValueError(f"A plot is written as .png, .svg or .pdf, got {path.name!r}.")
    with staged(path.parent) as partial:
        figure.savefig(partial / path.name, dpi=DOTS_PER_INCH)
    return path


__all__ = [
    "COLOURS",
    "DIVERGING",
    "DOTS_PER_INCH",
    "HATCHES",
    "LINES",
    "MARKERS",
    "NARROW",
    "SEQUENTIAL",
    "WIDE",
    "new_figure",
    "plain_axes",
    "save_figure",
]
