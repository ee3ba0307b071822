# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Plots of one recording: the signal with the labels of its windows, probabilities over time, maps of the head."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.signal import welch

from ..core.checks import first_names
from ..core.electrodes import canonical_name, channel_positions
from ..core.text import for_plot
from .explanation import Explanation
from .plots import head_coordinates
from .style import COLOURS, DIVERGING, HATCHES, LINES, SEQUENTIAL, WIDE, new_figure, plain_axes, save_figure


# hertz, lower edge included
BANDS = {"delta": (1, 4), "theta": (4, 8), "alpha": (8, 13), "beta": (13, 30), "gamma": (30, 45)}


def on_the_scalp(ch_names: Sequence[str]) -> list[int]:
    """Return the indices of the channels that a map of the head can show.

    A bipolar channel (`"A2-A1"`, `"Fp1-F7"`) is the difference of two places: what is drawn at their midpoint would
    be taken for the EEG there.

    Args:
        ch_names: names, in any spelling that `dlink_hf.core.electrodes.canonical_name` understands.

    Example:

    ```python
    >>> on_the_scalp(["C3", "A2-A1", "Cz"])
    [0, 2]
    ```
    """
    return [index for index, name in enumerate(ch_names) if "-" not in (canonical_name(name) or name)]


def band_power(values: np.ndarray, sfreq: float, bands: Mapping[str, tuple[float, float]] = BANDS) -> dict[str, Any]:
    """Return the power of every channel in every band, by Welch's method with segments of one second.

    Args:
        values: (C, T) microvolts.
        sfreq: Hz.
        bands: name -> edges in Hz; those beyond the Nyquist frequency are left out.

    Returns:
        name of the band -> (C,) decibels relative to 1 uV^2 in the band.
    """
    frequency, density = welch(values, sfreq, nperseg=min(values.shape[-1], round(sfreq)))
    step = frequency[1] - frequency[0]
    found = {}
    for name, (low, high) in bands.items():
        inside = (frequency >= low) & (frequency < high)
        if inside.any() and high <= sfreq / 2:
            found[name] = 10 * np.log10(np.maximum(density[:, inside].sum(-1) * step, 1e-6))
    return found


def plot_recording(
    values: np.ndarray,
    sfreq: float,
    ch_names: Sequence[str],
    start: float,
    windows: Sequence[Mapping[str, Any]],
    names: Sequence[str],
    path: str | os.PathLike,
    chosen: float | None = None,
    width: float = WIDE,
) -> Path:
    """Plot a stretch of a recording, channels from front to back, with the labels of its windows below.

    Args:
        values: (C, T) microvolts.
        sfreq: Hz.
        ch_names: C names.
        start: seconds at which the stretch begins.
        windows: `onset`, `duration` (seconds), `label` (None for none) and `reason` of the windows in it.
        names: of all labels, in their order.
        path: file to write.
        chosen: onset of the window to mark.
        width: of the figure, inches.

    Returns:
        `path`.
    """
    order = np.argsort(-np.asarray(channel_positions(list(ch_names)))[:, 1], kind="stable")
    step = max(1, int(values.shape[1] // 4000))
    shown = values[order][:, ::step] - np.median(values[order], axis=1, keepdims=True)
    spread = float(np.median(np.percentile(np.abs(shown), 95, axis=1))) or 1.0
    distance = 2.5 * spread
    times = start + np.arange(shown.shape[1]) * step / sfreq
    figure = new_figure(width, 1.9 + 0.24 * len(order))
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(max(2.0, 0.24 * len(order)), 0.55))
    for row, channel in enumerate(shown):
        upper.plot(times, np.clip(channel, -1.5 * distance, 1.5 * distance) - row * distance, color="0.15", lw=0.5)
    upper.set_yticks(-distance * np.arange(len(order)), [for_plot(ch_names[index]) for index in order], fontsize=8)
    upper.set_ylim(-distance * (len(order) - 0.2), 1.2 * distance)
    upper.set_title(f"{distance:.0f} µV between two channels; front at the top", fontsize=9)
    lower.set_ylim(0, 1)
    for window in windows:
        begin, duration, label = window["onset"], window["duration"], window["label"]
        index = None if label is None else list(names).index(label)
        colour = "white" if index is None else COLOURS[index % len(COLOURS)]
        hatch = "xxxx" if index is None else HATCHES[index % len(HATCHES)]
        style = {"facecolor": colour, "edgecolor": "0.5" if index is None else "white", "hatch": hatch}
        lower.broken_barh([(begin, duration)], (0.1, 0.8), linewidth=1.5, alpha=0.85, **style)
        if len(windows) <= 1.45 * width:
            text = "no label" if label is None else label
            text = text if len(text) <= 14 else f"{text[:13]}…"
            box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.9, "pad": 1}
            lower.text(
                begin + duration / 2, 0.5, for_plot(text), ha="center", va="center", fontsize=7, bbox=box, clip_on=True
            )
        if chosen is not None and abs(begin - chosen) < 1e-6:
            for axes in (upper, lower):
                axes.axvspan(begin, begin + duration, facecolor="none", edgecolor="black", lw=1.6, zorder=5)
    lower.set_yticks([])
    lower.set(xlabel="time (s)", ylabel="label", xlim=(start, start + values.shape[1] / sfreq))
    plain_axes(upper)
    lower.spines[["top", "right", "left"]].set_visible(False)
    return save_figure(figure, path)


def plot_probabilities(
    onsets: np.ndarray,
    duration: float,
    probabilities: np.ndarray,
    names: Sequence[str],
    is_judged: Sequence[bool],
    path: str | os.PathLike,
    chosen: float | None = None,
    width: float = WIDE,
) -> Path:
    """Plot the probability of every class over the recording; windows without a label are shaded and left out.

    Args:
        onsets: (N,) seconds.
        duration: of a window, seconds.
        probabilities: (N, num_labels).
        names: of the labels.
        is_judged: N, whether a window gets a label.
        path: file to write.
        chosen: onset of the window to mark.
        width: of the figure, inches.

    Returns:
        `path`.
    """
    figure = new_figure(width, 3.0)
    axes = figure.subplots()
    judged = np.asarray(is_judged)
    edges = np.append(onsets, onsets[-1] + duration)
    for index, name in enumerate(names):
        heights = np.where(judged, probabilities[:, index], np.nan)
        colour, style = COLOURS[index % len(COLOURS)], LINES[index % len(LINES)]
        axes.stairs(heights, edges, color=colour, linestyle=style, linewidth=1.8, baseline=None, label=for_plot(name))
    for onset in onsets[~judged]:
        axes.axvspan(onset, onset + duration, facecolor="0.85", edgecolor="0.6", hatch="///", lw=0)
    if chosen is not None:
        axes.axvspan(chosen, chosen + duration, facecolor="none", edgecolor="black", lw=1.6)
    if not judged.all():
        axes.fill_between([], [], facecolor="0.85", edgecolor="0.6", hatch="///", label="no label")
    axes.set(xlabel="time (s)", ylabel="probability", ylim=(0, 1.02), xlim=(edges[0], edges[-1]))
    figure.legend(loc="outside upper center", ncols=max(1, int(width / 2)), fontsize=9, frameon=False)
    plain_axes(axes)
    return save_figure(figure, path)


def draw_topomap(
    figure: Any,
    axes: Any,
    values: np.ndarray,
    positions: Any,
    label: str,
    names: Sequence[str] = (),
    **limits: Any,
) -> None:
    """Draw values at electrodes as MNE's topographic map, with its colour bar.

    Args:
        figure, axes: to draw on.
        values: (C,).
        positions: (C, 3) metres, frame of MNE's `standard_1005`.
        label: of the colour bar, with the unit.
        names: C names, written under the electrodes; none by default.
        **limits: `vlim` and `cmap` of `mne.viz.plot_topomap`.
    """
    import mne

    # MNE's head has a radius of 0.095 m; the circle Fpz-T7-Oz is 1 here
    points = 0.079 * head_coordinates(positions)
    image, _ = mne.viz.plot_topomap(
        np.asarray(values, float), points, axes=axes, show=False, contours=4, sphere=0.095, **limits
    )
    for name, (x, y) in zip(names, points, strict=False):
        # MNE would write it on top of the electrode
        axes.annotate(name, (x, y), xytext=(0, -3), textcoords="offset points", ha="center", va="top", fontsize=6.5)
    figure.colorbar(image, ax=axes, label=label, shrink=0.7, pad=0.02)


def plot_band_maps(
    values: np.ndarray,
    sfreq: float,
    ch_names: Sequence[str],
    path: str | os.PathLike,
    title: str = "",
    width: float = WIDE,
) -> Path:
    """Plot the power of a window in the common bands as topographic maps; with fewer than four channels, as bars.

    Bipolar channels are left out of the maps, which say so.

    Args:
        values: (C, T) microvolts.
        sfreq: Hz.
        ch_names: C names.
        path: file to write.
        title: a line above.
        width: of the figure, inches.

    Returns:
        `path`.
    """
    shown = on_the_scalp(ch_names)
    as_maps = len(shown) > 3
    powers = band_power(values[shown] if as_maps else values, sfreq)
    columns = len(powers) if width > 8 else 2
    rows = -(-len(powers) // columns)
    figure = new_figure(width, (2.8 if columns > 2 else 2.3) * rows)
    panels = figure.subplots(rows, columns, squeeze=False).flatten()
    for axes in panels[len(powers) :]:
        axes.set_axis_off()
    for axes, (name, power) in zip(panels, powers.items(), strict=False):
        low, high = BANDS[name]
        if as_maps:
            limits = (float(power.min()), float(power.max()))
            positions = channel_positions([ch_names[index] for index in shown])
            draw_topomap(figure, axes, power, positions, "dB re 1 µV²", cmap=SEQUENTIAL, vlim=limits)
        else:
            axes.bar([for_plot(one) for one in ch_names], power - min(0, power.min()), color=COLOURS[0])
            axes.set_ylabel("dB re 1 µV²")
        axes.set_title(f"{name}, {low}-{high} Hz", fontsize=9)
    told = [title, *([_left_out(ch_names)] if as_maps and len(shown) < len(ch_names) else [])]
    figure.suptitle("\n".join(for_plot(line) for line in told if line), fontsize=10)
    return save_figure(figure, path)


def _left_out(ch_names: Sequence[str]) -> str:
    """Say which channels a map of the head does not show."""
    shown = on_the_scalp(ch_names)
    names = [name for index, name in enumerate(ch_names) if index not in shown]
    return f"not on the head, being differences of two places: {first_names(names)}"


def plot_explanation(
    explanation: Explanation,
    ch_names: Sequence[str],
    positions: Any,
    path: str | os.PathLike,
    title: str = "",
    width: float = WIDE,
) -> Path:
    """Plot what a window's label rests on: electrodes on the head, bands, seconds, and electrodes by bands.

    Bipolar channels are left out of the map of the head, which says so; the panel of electrodes by bands has them.

    Args:
        explanation: of [`explain_window`].
        ch_names: C names.
        positions: (C, 3) metres, frame of MNE's `standard_1005`.
        path: file to write.
        title: a line above.
        width: of the figure, inches.

    Returns:
        `path`.
    """
    unit = "fall of the log-odds"
    narrow, rows = width < 8, max(3.0, 0.2 * len(ch_names))
    figure = new_figure(width, 3.2 + 2 * 2.8 + rows if narrow else 3.9 + rows)
    ratios = (3.2, 2.8, 2.8, rows) if narrow else (3.9, rows)
    grid = figure.subplots(len(ratios), 1 if narrow else 2, height_ratios=ratios)
    head, by_band, by_second, both = grid.flatten()
    reach = float(np.abs(explanation.channels).max()) or 1.0
    shown = on_the_scalp(ch_names)
    told = ["Electrodes"]
    if len(shown) > 3:
        places, names = np.asarray(positions)[shown], [for_plot(ch_names[index]) for index in shown]
        options = {"cmap": DIVERGING, "vlim": (-reach, reach)}
        draw_topomap(figure, head, explanation.channels[shown], places, unit, names, **options)
        if len(shown) < len(ch_names):
            told.append(_left_out(ch_names))
    else:
        head.bar([for_plot(name) for name in ch_names], explanation.channels, color=COLOURS[0])
        head.set_ylabel(unit)
        plain_axes(head)
    head.set_title("\n".join(map(for_plot, told)), fontsize=8 if len(told) > 1 else 10)
    by_band.bar(list(explanation.bands), list(explanation.bands.values()), color=COLOURS[0])
    by_band.set_xticks(range(len(explanation.bands)), list(explanation.bands), rotation=45, ha="right", fontsize=8)
    by_band.set(ylabel=unit)
    by_band.set_title("Frequency bands", fontsize=10)
    by_second.bar(np.arange(len(explanation.seconds)) + 0.5, explanation.seconds, 0.9, color=COLOURS[0])
    by_second.set(xlabel="seconds of the window", ylabel=unit)
    by_second.set_title("Seconds", fontsize=10)
    reach = float(np.abs(explanation.channel_bands).max()) or 1.0
    image = both.imshow(explanation.channel_bands, aspect="auto", cmap=DIVERGING, vmin=-reach, vmax=reach)
    both.set_xticks(range(len(explanation.bands)), list(explanation.bands), rotation=45, ha="right", fontsize=8)
    both.set_yticks(range(len(ch_names)), [for_plot(name) for name in ch_names], fontsize=7)
    both.set_title("Electrodes by bands", fontsize=10)
    figure.colorbar(image, ax=both, label=unit)
    plain_axes(by_band)
    plain_axes(by_second)
    figure.suptitle(for_plot(title), fontsize=11)
    return save_figure(figure, path)


__all__ = [
    "BANDS",
    "band_power",
    "draw_topomap",
    "on_the_scalp",
    "plot_band_maps",
    "plot_explanation",
    "plot_probabilities",
    "plot_recording",
]
