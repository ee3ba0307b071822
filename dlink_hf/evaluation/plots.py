# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Plots of a distillation: router weights, spectra of representations, loss curves, confusions, the montage.

Every function writes one file (PNG, SVG or PDF, by its ending) and returns its path. No window is opened and the
global state of matplotlib is not touched.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..core.checks import one_of
from ..core.text import for_plot
from .style import COLOURS, SEQUENTIAL, new_figure, plain_axes, save_figure


# centre of the sphere that fits MNE's standard_1005 positions best (least squares), metres
_HEAD_CENTRE = (0.0008, -0.0162, -0.0012)
# axes of a representation (B, C, P, D) along which spectra are taken
_AXES = {"time": 2, "features": 3}
# a bin below this share of the teacher's largest one holds rounding errors of float32, no signal
_EMPTY = 1e-5


def _array(values: Any, ndim: int, name: str) -> np.ndarray:
    """`values` (tensor, array or list) as a finite float array of `ndim` axes."""
    if hasattr(values, "detach"):
        values = values.detach().float().cpu().numpy()
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != ndim or values.size == 0:
        raise ValueError(f"`{name}` must be a non-empty array of {ndim} axes, got shape {values.shape}.")
    if not np.isfinite(values).all():
        raise ValueError(f"`{name}` holds NaN or Inf, which can't be drawn.")
    return values


def _labels(labels: Any, n: int, label_names: Sequence[str], name: str = "labels") -> np.ndarray:
    labels = np.asarray(labels.cpu() if hasattr(labels, "cpu") else labels)
    if labels.shape != (n,):
        raise ValueError(f"`{name}` must hold one label for each of the {n} windows, got shape {labels.shape}.")
    if labels.min() < 0 or labels.max() >= len(label_names):
        raise ValueError(
            f"`{name}` goes from {labels.min()} to {labels.max()}, but `label_names` names {len(label_names)}."
        )
    return labels.astype(int)


def plot_router_weights(
    weights: Any, labels: Any, label_names: Sequence[str], path: str | os.PathLike, layer_names: Sequence[str] = ()
) -> Path:
    """Plot which of the teacher's layers the router reads: mean by class with its spread, and every input.

    Args:
        weights: (N, L) router weights, rows summing to 1, no unit.
        labels: (N,) integers.
        label_names: names of the labels.
        path: file to write.
        layer_names: L names; default 1 to L.

    Returns:
        `path`.

    Raises:
        ValueError: shapes do not agree.
    """
    weights = _array(weights, 2, "weights")
    n, n_layers = weights.shape
    labels = _labels(labels, n, label_names)
    label_names = [for_plot(name) for name in label_names]
    layers = [for_plot(name) for name in layer_names] or [str(layer + 1) for layer in range(n_layers)]
    if len(layers) != n_layers:
        raise ValueError(f"`layer_names` must name the {n_layers} layers, got {len(layers)}.")
    present = [label for label in range(len(label_names)) if (labels == label).any()]

    figure = new_figure(11, 4.2)
    bars, heat = figure.subplots(1, 2, width_ratios=(1.15, 1))
    width = 0.8 / len(present)
    for position, label in enumerate(present):
        rows = weights[labels == label]
        bars.bar(
            np.arange(n_layers) + (position - (len(present) - 1) / 2) * width,
            rows.mean(0),
            width,
            yerr=rows.std(0),
            color=COLOURS[label % len(COLOURS)],
            error_kw={"elinewidth": 0.9, "capsize": 2},
            label=f"{label_names[label]} (n = {len(rows)})",
        )
    bars.axhline(1 / n_layers, color="0.4", linewidth=1, linestyle="--", label="even")
    bars.set(
        xticks=range(n_layers), xticklabels=layers, xlabel="teacher layer", ylabel="router weight (mean, bar: 1 SD)"
    )
    bars.set_ylim(0, 1.2 * bars.get_ylim()[1])
    bars.set_title("Mean weight by class")
    bars.legend(fontsize=8, frameon=False)
    plain_axes(bars)

    # within a class, inputs that lean on the same layers are drawn together
    order = np.lexsort((weights @ np.arange(n_layers), labels))
    # colours span the weights there are, but never less than 0.05: equal weights are not to look different
    low, high = weights.min(), weights.max()
    spare = max(0.0, 0.05 - (high - low)) / 2
    image = heat.imshow(
        weights[order], aspect="auto", cmap=SEQUENTIAL, vmin=low - spare, vmax=high + spare, interpolation="nearest"
    )
    edges = np.concatenate([[0], np.cumsum([(labels == label).sum() for label in present])])
    for edge in edges[1:-1]:
        heat.axhline(edge - 0.5, color="white", linewidth=1.5)
    heat.set(xticks=range(n_layers), xticklabels=layers, xlabel="teacher layer")
    names = [label_names[label] for label in present]
    # upright names of many classes would run into each other
    heat.set_yticks(
        (edges[:-1] + edges[1:]) / 2 - 0.5, names, rotation=90 if len(names) <= 3 else 0, va="center", fontsize=9
    )
    heat.tick_params(axis="y", length=0)
    heat.set_ylabel("window, by class", labelpad=9)
    heat.set_title(f"Weight of each of the {n} windows")
    figure.colorbar(image, ax=heat, label="router weight")
    return save_figure(figure, path)


def representation_spectra(teacher: Any, student: Any, axis: str = "time") -> dict[str, np.ndarray]:
    """Magnitude spectra of two representations and their phase error, by frequency.

    The phase error is the angle of the cross-spectrum S conj(T), its absolute value averaged with weight |T|^2: 0
    where the student keeps the teacher's timing, 90 degrees on average where it knows nothing of it.

    Args:
        teacher, student: (N, C, P, D), the same layout.
        axis: `"time"` (P) or `"features"` (D).

    Returns:
        `dict` of arrays, one value a frequency bin: `frequency` (cycles per token or per feature), `teacher` and
        `student` (root mean square magnitude of the orthonormal transform, units of the representation),
        `phase_error` (degrees; NaN where the teacher's bin is numerically empty, below 1e-5 of its largest: the angle
        of rounding errors means nothing).

    Raises:
        ValueError: shapes differ, or the axis is unknown.
    """
    one_of("`axis`", axis, _AXES)
    teacher, student = _array(teacher, 4, "teacher"), _array(student, 4, "student")
    if teacher.shape != student.shape:
        raise ValueError(f"Representations must have one layout, got {student.shape} and {teacher.shape}.")
    dim = _AXES[axis]
    others = tuple(other for other in range(4) if other != dim)
    teacher_bins = np.fft.rfft(teacher, axis=dim, norm="ortho")
    student_bins = np.fft.rfft(student, axis=dim, norm="ortho")
    power = np.abs(teacher_bins) ** 2
    angle = np.abs(np.angle(student_bins * teacher_bins.conj(), deg=True))
    weight, magnitude = power.sum(others), np.sqrt(power.mean(others))
    known = (weight > 0) & (magnitude >= _EMPTY * magnitude.max())
    error = np.divide((angle * power).sum(others), weight, out=np.full(len(weight), np.nan), where=known)
    return {
        "frequency": np.fft.rfftfreq(teacher.shape[dim]),
        "teacher": magnitude,
        "student": np.sqrt((np.abs(student_bins) ** 2).mean(others)),
        "phase_error": error,
    }


def plot_representation_spectra(
    teacher: Any,
    students: Any,
    path: str | os.PathLike,
    token_rate: float | None = None,
    axes: Sequence[str] = ("time", "features"),
) -> Path:
    """Plot how well a student keeps the spectrum of what it mimics: magnitude and phase error by frequency.

    A magnitude below 1e-5 of the teacher's largest is left out, as is the phase error where the teacher's is: such a
    bin is empty but for rounding errors of float32. A teacher that ends in a layer normalisation, say, has a mean of
    zero over the features, thus nothing at frequency 0 along them; on a logarithmic axis that bin would squeeze all
    the others.

    Args:
        teacher: (N, C, P, D), the routed target.
        students: (N, C, P, D), or several as name -> such an array, e.g. what is mimicked and what is left of it after
            compression.
        path: file to write.
        token_rate: tokens a second (`sfreq / patch_size`); the time axis is then in hertz.
        axes: along which of `"time"` (P) and `"features"` (D) spectra are taken; one row of plots each.

    Returns:
        `path`.

    Raises:
        ValueError: shapes differ, or an axis is unknown.
    """
    named = {"student": students}
    if isinstance(students, Mapping):
        named = {for_plot(name): states for name, states in students.items()}
    figure = new_figure(10, 3.4 * len(axes))
    panels = figure.subplots(len(axes), 2, squeeze=False)
    for (left, right), axis in zip(panels, axes, strict=True):
        scale, unit = (1.0, "cycles per feature") if axis == "features" else (1.0, "cycles per patch")
        if axis == "time" and token_rate is not None:
            scale, unit = token_rate, "Hz"
        for index, (name, states) in enumerate(named.items()):
            spectra = representation_spectra(teacher, states, axis)
            frequency = spectra["frequency"] * scale
            marker = "o" if len(frequency) < 30 else None
            style = {"marker": marker, "markersize": 4, "linewidth": 1.6 if marker else 1.1}
            least = _EMPTY * spectra["teacher"].max()
            # a NaN is not drawn
            shown = {key: np.where(spectra[key] >= least, spectra[key], np.nan) for key in ("teacher", "student")}
            if index == 0:
                left.plot(frequency, shown["teacher"], color="black", label="teacher, routed", **style)
            colour = COLOURS[index % len(COLOURS)]
            left.plot(frequency, shown["student"], color=colour, label=name, **style)
            right.plot(frequency, spectra["phase_error"], color=colour, label=name, **style)
        heights = np.concatenate([line.get_ydata() for line in left.get_lines()])
        heights = heights[np.isfinite(heights)]
        if heights.size and heights.min() > 0 and heights.max() > 30 * heights.min():
            left.set_yscale("log")
        else:
            left.set_ylim(bottom=0)
        left.set(xlabel=f"frequency along {axis} ({unit})", ylabel="magnitude, RMS (units of the state)")
        left.set_title(f"Magnitude along {axis}")
        right.axhline(90, color="0.4", linewidth=1, linestyle="--", label="no relation")
        right.set(xlabel=f"frequency along {axis} ({unit})", ylabel="phase error (degrees)", ylim=(0, 185))
        right.set_yticks(range(0, 181, 45))
        right.set_title(f"Phase error along {axis}")
        plain_axes(left)
        plain_axes(right)
    # one legend for all panels, above them: spectra of many bins leave no room inside
    handles = [*panels[0, 0].get_lines(), panels[0, 1].get_lines()[-1]]
    figure.legend(handles=handles, loc="outside upper center", ncols=min(4, len(handles)), fontsize=9, frameon=False)
    return save_figure(figure, path)


def _base_name(key: str) -> str:
    return key.removeprefix("eval_").removeprefix("train_")


def plot_loss_curves(
    log_history: Sequence[Mapping[str, Any]],
    path: str | os.PathLike,
    components: Sequence[str] | None = None,
    stages: Mapping[str, int] | None = None,
) -> Path:
    """Plot every component of the loss over the steps of a training.

    [`DLinkTrainer`] evaluates the student by itself: its `eval_loss` is a cross-entropy, drawn with `task_loss`, the
    same term in training, rather than with the weighted sum of all terms.

    Args:
        log_history: `trainer.state.log_history`.
        path: file to write.
        components: keys to draw, without `eval_`; default every one with `loss` or `entropy` in its name. A component
            is drawn as logged in training and, in the same panel, as `eval_` of it.
        stages: name of a stage -> its first step; default: from `mimic_stage`, which [`DLinkTrainer`] logs (1 while
            mimicking, 0 while compressing).

    Returns:
        `path`.

    Raises:
        ValueError: nothing of that name was logged.
    """
    curves: dict[str, dict[str, list[tuple[float, float]]]] = {}
    starts: list[tuple[float, str]] = [(step, for_plot(name)) for name, step in (stages or {}).items()]
    previous = 0
    distilled = any("task_loss" in entry for entry in log_history)
    for entry in log_history:
        step = entry.get("step")
        if step is None:
            continue
        if stages is None and "mimic_stage" in entry:
            stage = "mimic" if entry["mimic_stage"] else "compress"
            if stage not in [name for _, name in starts]:
                starts.append((previous, stage))
            previous = step
        for key, value in entry.items():
            base = "task_loss" if distilled and key == "eval_loss" else _base_name(key)
            # `train_loss` is the mean of the whole run, logged once at its end: no curve
            if components is not None:
                wanted = base in components
            else:
                wanted = ("loss" in base or "entropy" in base) and key != "train_loss"
            if wanted and isinstance(value, int | float) and np.isfinite(value):
                split = "validation" if key.startswith("eval_") else "training"
                curves.setdefault(base, {}).setdefault(split, []).append((step, float(value)))
    if not curves:
        logged = sorted({key for entry in log_history for key in entry})
        raise ValueError(
            f"The log holds no {components or 'loss'} to draw, it holds {logged}. Log at least once (`logging_steps`)."
        )
    names = [name for name in components if name in curves] if components is not None else list(curves)
    n_columns = min(3, len(names))
    n_rows = -(-len(names) // n_columns)
    figure = new_figure(4.2 * n_columns, 3.0 * n_rows)
    panels = figure.subplots(n_rows, n_columns, squeeze=False).ravel()
    for panel, name in zip(panels, names, strict=False):
        values = []
        for split, points in curves[name].items():
            steps, heights = zip(*points, strict=True)
            values.extend(heights)
            colour, style = (COLOURS[1], "--") if split == "validation" else (COLOURS[0], "-")
            marker = "o" if len(points) < 30 else None
            panel.plot(steps, heights, style, color=colour, marker=marker, markersize=3, label=split, linewidth=1.4)
        if min(values) > 0 and max(values) / min(values) > 30:
            panel.set_yscale("log")
        for step, stage in starts:
            panel.axvline(step, color="0.5", linewidth=0.9, linestyle=":")
            panel.annotate(
                stage,
                (step, 0.02),
                xycoords=("data", "axes fraction"),
                xytext=(3, 0),
                textcoords="offset points",
                fontsize=7,
                color="0.35",
                va="bottom",
            )
        title = "loss (weighted sum of all terms)" if distilled and name == "loss" else for_plot(name)
        panel.set(xlabel="step", ylabel="value (no unit)")
        panel.set_title(title, fontsize=11)
        panel.margins(y=0.15)
        plain_axes(panel)
        panel.legend(fontsize=8, frameon=False)
    for panel in panels[len(names) :]:
        panel.set_visible(False)
    return save_figure(figure, path)


def plot_confusion_matrix(
    labels: Any, predictions: Any, label_names: Sequence[str], path: str | os.PathLike, title: str = ""
) -> Path:
    """Confusion matrix: colours are shares of the true class, numbers are windows and shares.

    Args:
        labels: (N,) true labels, integers.
        predictions: (N,) predicted labels, integers.
        label_names: names of the labels.
        path: file to write.
        title: a line above.

    Returns:
        `path`.

    Raises:
        ValueError: shapes do not agree, or a label has no name.
    """
    n = len(labels)
    if n == 0:
        raise ValueError("There are no windows to draw: `labels` is empty.")
    labels = _labels(labels, n, label_names)
    predictions = _labels(predictions, n, label_names, "predictions")
    label_names = [for_plot(name) for name in label_names]
    n_labels = len(label_names)
    counts = np.zeros((n_labels, n_labels), dtype=int)
    np.add.at(counts, (labels, predictions), 1)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    size = 3.2 + 0.75 * n_labels
    figure = new_figure(size + 0.8, size)
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row in range(n_labels):
        for column in range(n_labels):
            colour = "white" if shares[row, column] > 0.6 else "black"
            text = f"{counts[row, column]}\n{100 * shares[row, column]:.0f} %"
            axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=9)
    axes.set_xticks(
        range(n_labels), label_names, rotation=30 if n_labels > 3 else 0, ha="right" if n_labels > 3 else "center"
    )
    axes.set_yticks(range(n_labels), [f"{name}\n(n = {counts[row].sum()})" for row, name in enumerate(label_names)])
    axes.set(xlabel="predicted", ylabel="true", title=for_plot(title) or f"{n} windows")
    figure.colorbar(image, ax=axes, label="share of the true class", shrink=0.8)
    return save_figure(figure, path)


def head_coordinates(positions: Any) -> np.ndarray:
    """Electrode positions seen from above: azimuthal equidistant projection about the vertex.

    Args:
        positions: (C, 3) metres, in the frame of MNE's `standard_1005` (x right, y front, z up).

    Returns:
        (C, 2): x to the right, y to the front; length 1 is 90 degrees from the vertex, the circle Fpz-T7-Oz.
    """
    centred = _array(positions, 2, "positions") - np.asarray(_HEAD_CENTRE)
    horizontal = np.hypot(centred[:, 0], centred[:, 1])
    polar = np.arctan2(horizontal, centred[:, 2]) / (np.pi / 2)
    return centred[:, :2] / np.maximum(horizontal, 1e-9)[:, None] * polar[:, None]


def plot_montage(
    positions: Any,
    ch_names: Sequence[str],
    path: str | os.PathLike,
    values: Any = None,
    value_name: str = "value",
) -> Path:
    """Plot the electrodes on a head seen from above, nose up.

    Args:
        positions: (C, 3) metres, frame of MNE's `standard_1005`.
        ch_names: C names.
        path: file to write.
        values: (C,) values to colour the electrodes by, optional.
        value_name: what they are, with their unit.

    Returns:
        `path`.

    Raises:
        ValueError: shapes do not agree.
    """
    points = head_coordinates(positions)
    if len(points) != len(ch_names):
        raise ValueError(f"{len(points)} positions, but {len(ch_names)} channel names.")
    # the midpoint of a bipolar pair can lie inside or under the head: drawn at its edge
    distance = np.hypot(*points.T)
    below = distance > 1.4
    points[below] *= (1.4 / distance[below])[:, None]
    figure = new_figure(5.6 if values is None else 6.6, 5.5)
    axes = figure.subplots()
    # the outline lies a little below the circle Fpz-T7-Oz, as a head does
    angle, rim = np.linspace(0, 2 * np.pi, 200), 1.2
    axes.plot(rim * np.cos(angle), rim * np.sin(angle), color="0.3", linewidth=1.4)
    axes.plot([-0.13, 0, 0.13], [1.193, 1.35, 1.193], color="0.3", linewidth=1.4)
    for side in (-1, 1):
        axes.plot(
            side * np.array([1.19, 1.25, 1.28, 1.265, 1.28, 1.25, 1.175]),
            [0.15, 0.2, 0.13, 0, -0.13, -0.24, -0.19],
            color="0.3",
            linewidth=1.4,
        )
    size = 190 if len(points) <= 40 else 90
    if values is None:
        axes.scatter(*points.T, s=size, color="#cfe3f1", edgecolors=COLOURS[0], zorder=3)
    else:
        values = _array(values, 1, "values")
        if len(values) != len(points):
            raise ValueError(
                f"`values` must hold one value for each of the {len(points)} channels, got {len(values)}."
            )
        drawn = axes.scatter(*points.T, s=size, c=values, cmap=SEQUENTIAL, edgecolors="0.3", zorder=3)
        figure.colorbar(drawn, ax=axes, label=for_plot(value_name), shrink=0.75)
    for (x, y), name in zip(points, ch_names, strict=True):
        axes.annotate(
            for_plot(name),
            (x, y),
            xytext=(0, -8 if size > 100 else -6),
            textcoords="offset points",
            ha="center",
            va="top",
            fontsize=8 if size > 100 else 6,
            zorder=4,
        )
    reach = max(1.4, float(np.abs(points).max()) + 0.15)
    bottom = min(-1.25, float(points[:, 1].min()) - 0.15)
    axes.set(xlim=(-reach, reach), ylim=(bottom, reach), aspect="equal")
    axes.set_axis_off()
    note = "; those below it are drawn around it" if below.any() else ""
    axes.set_title(f"{len(points)} channels on the head, from above{note}", fontsize=9)
    return save_figure(figure, path)
