# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""What `profile_models` measured, for readers: tables, a plot; and the scores that belong with the costs."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..core.checks import MALFORMED
from ..core.requires import require
from ..core.text import for_markdown, for_plot
from ..evaluation.style import COLOURS, MARKERS, new_figure, plain_axes, save_figure
from .models import SIZES, card_score


BACKENDS = ("eager", "folded", "compiled", "onnx", "int8", "executorch")
WITH_SCORES = "balanced accuracy"


def _number(digits: int, factor: float = 1.0) -> Callable[[Any], str]:
    """Text of a number to so many significant digits, without an exponent; `-` where there is none."""

    def text(value: Any) -> str:
        if value is None:
            return "-"
        value *= factor
        if not value:
            return "0"
        after = max(digits - 1 - math.floor(math.log10(abs(value))), 0)
        return f"{value:,.{after}f}"

    return text


def _times(value: Any) -> str:
    return "-" if value is None else f"{_number(3)(value)} x"


def _memory(field: str) -> Callable[[Any], str]:
    return lambda value: "-" if value is None else f"{value[field] / 1e6:.0f}"


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table whose columns are aligned in a terminal too; all but the first two to the right."""
    rows = [list(headings), *map(list, rows)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(headings))]
    left = [i < 2 for i in range(len(headings))]

    def line(row: Sequence[str]) -> str:
        cells = [c.ljust(w) if is_left else c.rjust(w) for c, w, is_left in zip(row, widths, left, strict=True)]
        return f"| {' | '.join(cells)} |"

    rule = ["-" * (w + 2) if is_left else "-" * (w + 1) + ":" for w, is_left in zip(widths, left, strict=True)]
    return "\n".join([line(rows[0]), f"|{'|'.join(rule)}|", *map(line, rows[1:])])


def format_profile(profile: Mapping[str, Any]) -> str:
    """Markdown of a profile: speed, size and memory, what the columns mean, and what could not be measured.

    Args:
        profile: as `profile_models` gives it.

    Returns:
        text that is readable in a terminal as it is.
    """
    rows, machine, window = profile["rows"], profile["machine"], profile["window"]
    settings, reference = profile["settings"], profile["reference"]
    speed = {
        "p50 ms": ("p50_ms", _number(3)),
        "p95 ms": ("p95_ms", _number(3)),
        "p99 ms": ("p99_ms", _number(3)),
        "least ms": ("min_ms", _number(3)),
        f"faster than {reference}": ("times_faster", _times),
        "by the least": ("times_faster_min", _times),
    }
    sizes = [str(n) for n in settings["batch_sizes"]]
    speed |= {f"windows/s by {n}": (f"windows_per_s/{n}", _number(3)) for n in sizes}
    speed |= {"floor ms": ("floor_ms", _number(2)), "over floor": ("times_floor", _times)}
    if profile["energy"] is None:
        speed["mJ a window"] = ("energy_mj", _number(3))
    size = {
        "parameters": ("parameters", "{:,}".format),
        "MFLOP": ("mflop", _number(3)),
        "file MB": ("file_mb", _number(3)),
        "MB beyond Python": ("memory", _memory("beyond_interpreter")),
        "MB beyond imports": ("memory", _memory("beyond_imports")),
        "logits differ by": ("largest_difference", lambda value: f"{value:.1g}"),
        "window": ("n_times", None),
    }
    if any(row.get("score") is not None for row in rows):
        size[WITH_SCORES] = ("score", _number(3))

    def cells(row: Mapping[str, Any], columns: Mapping[str, Any]) -> list[str]:
        found = [for_markdown(row["model"]), row["backend"]]
        for field, text in columns.values():
            outer, _, inner = field.partition("/")
            if outer == "n_times":
                found.append(f"{row['n_chans']} x {row['n_times']} at {row['sfreq']:g} Hz")
            else:
                found.append(text(row[outer].get(inner) if inner else row.get(outer)))
        return found

    threads = f"{settings['n_threads']} thread" + "s" * (settings["n_threads"] > 1)
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    load = f"load {machine['load_before']} before, {machine['load_after']} after, " if machine["load_before"] else ""
    lines = [
        f"# Costs of a window of {window['n_chans']} channels x {window['seconds']:g} s x {window['sfreq']:g} Hz",
        "",
        f"{machine['processor']}, {machine['cores']} cores, {load}{machine['system']}; {versions}. {threads}, "
        f"{settings['n_runs']} runs; models and backends took turns.",
        "",
        _table(["model", "backend", *speed], [cells(row, speed) for row in rows]),
        "",
        _table(["model", "backend", *size], [cells(row, size) for row in rows]),
        "",
        *_legend(profile),
    ]
    if profile["not_measured"]:
        lines += ["", "Not measured:", ""]
        lines += [
            f"- {for_markdown(one['model'])}, {one['backend']}: {for_markdown(one['reason'])}"
            for one in profile["not_measured"]
        ]
    return "\n".join(lines) + "\n"


def _legend(profile: Mapping[str, Any]) -> list[str]:
    """What the columns mean, a line each."""
    machine, rows = profile["machine"], profile["rows"]
    loads = [load for load in (machine["load_before"], machine["load_after"]) if load is not None]
    lines = []
    if loads and max(loads) > machine["cores"]:
        lines.append(
            f"- the load of {max(loads):g} is above the {machine['cores']} cores: a long call is interrupted more "
            "often than a short one, which flatters the short ones. By the least is the fairer ratio; best, measure "
            "on an idle machine."
        )
    lines += [
        f"- p50, p95, p99: milliseconds of one window at a time; the least is what other programs disturbed least. "
        f"Faster than {profile['reference']}: on the same backend (folded: than eager), by the p50. windows/s by n: n "
        "at a time.",
        f"- floor: the longer of MFLOP at {machine['matrix_gflops']:.0f} GFLOP/s, the best float32 matrix product "
        f"here, and the weights at {machine['memory_gbs']:.0f} GB/s, the best reading of memory. Weights "
        "that stay in a cache and products in 8 bits can go below it.",
        "- MFLOP: 2 x MAC of matrix products, convolutions, attention, recurrences. file: weights as safetensors, or "
        "what was exported.",
        "- MB beyond Python: the most resident of a fresh process that builds or loads the model and runs "
        "windows, less the bare interpreter; beyond imports: less all that it imported. With ONNX Runtime that "
        "process imports only numpy and onnxruntime, as a device does.",
        "- logits differ by: the largest difference from PyTorch, on noise.",
    ]
    if profile["energy"] is None:
        lines.append("- mJ a window: RAPL, all that the processors' packages took meanwhile, at rest too.")
    else:
        lines.append(f"- energy was not measured: {profile['energy']}.")
    scored = sorted({row["score_of"] for row in rows if row.get("score") is not None})
    if scored:
        lines.append(f"- {WITH_SCORES}: {'; '.join(scored)}. Of different data they can't be compared.")
    notes: dict[str, list[str]] = {}
    for row in rows:
        for note in row["notes"]:
            name = row["model"] if note == "random weights" else f"{row['model']} ({row['backend']})"
            notes.setdefault(note, []).append(name)
    lines += [f"- {', '.join(dict.fromkeys(names))}: {note}." for note, names in notes.items()]
    return lines


def add_scores(profile: dict[str, Any], given: Mapping[str, tuple[float, str]] | None = None) -> None:
    """Add balanced accuracies to the costs: those given, and for the rest those of model cards.

    Args:
        profile: as `profile_models` gives it; its rows get `score` and `score_of` (text), None where nothing is known.
            Figures of 8 bits calibrated on noise get none.
        given: as `read_scores` gives it.
    """
    found = dict(given or {})
    for row in profile["rows"]:
        if row["model"] not in found:
            found[row["model"]] = card_score(row["name"])
        known = found[row["model"]] if row["backend"] != "int8" else None
        row["score"], row["score_of"] = known or (None, None)


def read_scores(path: str | os.PathLike, names: Iterable[str]) -> dict[str, tuple[float, str]]:
    """Return the balanced accuracies from a file.

    Args:
        path: JSON, name of the model -> balanced accuracy; or JSON lines (.jsonl) of results, each with `model`,
            `set`, `alignment` and `scores`: {`test`: {`balanced_accuracy`}}. Of these the mean over seeds and then
            over the sets that all of the models have counts; of a size of student those of `dlink_SIZE` too.
        names: the models.

    Returns:
        model -> (score, what it is of), of those that the file knows.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it holds something else, or none of the models.
    """
    path, names = Path(path), list(names)
    if not path.is_file():
        raise FileNotFoundError(f"There is no file of scores {path}.")
    text, expected = path.read_text(encoding="utf-8"), "a JSON object of model -> balanced accuracy from 0 to 1"
    try:
        if path.suffix == ".jsonl":
            found = _mean_scores([json.loads(line) for line in text.splitlines() if line.strip()], names, path.name)
        else:
            values = json.loads(text)
            good = isinstance(values, dict) and all(type(v) in (int, float) and 0 <= v <= 1 for v in values.values())
            if not good:
                raise ValueError("other values")
            found = {name: (float(values[name]), path.name) for name in names if name in values}
    except MALFORMED as error:
        raise ValueError(
            f"{path} must hold {expected}, such as {{'small': 0.85}}, or (.jsonl) lines of results: {error!r}."
        ) from error
    if not found:
        raise ValueError(f"{path} knows none of the models {', '.join(names)}: name them there as they are here.")
    return found


def _mean_scores(
    lines: Sequence[Mapping[str, Any]], labels: Sequence[str], source: str
) -> dict[str, tuple[float, str]]:
    """Mean over seeds, then over the sets that all of these models have; whole sets, the most frequent alignment."""
    names = {label: {label, f"dlink_{label}"} if label in SIZES else {label} for label in labels}
    whole = [line for line in lines if line.get("share", 1.0) == 1.0]
    wanted = [line for line in whole if any(line["model"] in one for one in names.values())]
    if not wanted:
        return {}
    alignments = [line["alignment"] for line in wanted]
    alignment = max(sorted(set(alignments)), key=alignments.count)
    found: dict[str, dict[str, list[float]]] = {}
    for label, own in names.items():
        for line in wanted:
            if line["model"] in own and line["alignment"] == alignment:
                score = float(line["scores"]["test"]["balanced_accuracy"])
                found.setdefault(label, {}).setdefault(line["set"], []).append(score)
    shared = sorted(set.intersection(*(set(sets) for sets in found.values())))
    if not shared:
        return {}
    text = f"{source}: mean over {', '.join(shared)} ({alignment})"
    return {label: (float(np.mean([np.mean(sets[one]) for one in shared])), text) for label, sets in found.items()}


def plot_profile(profile: Mapping[str, Any], path: str | os.PathLike) -> Path:
    """Milliseconds of a window against score, or, where fewer than two are known, against MFLOP; the axes say which.

    A point is a model on a backend, larger with more parameters; a line joins those of a model.

    Args:
        profile: as `profile_models` gives it, with or without `add_scores`.
        path: PNG to write.

    Returns:
        the path.

    Raises:
        ImportError: matplotlib is not installed.
    """
    figure = new_figure(8.6, 5.4)
    ticker = require("matplotlib.ticker", "A plot")

    # a single score compares nothing
    with_score = {row["model"] for row in profile["rows"] if row.get("score") is not None}
    scored = len(with_score) > 1
    field = "score" if scored else "mflop"
    rows = [row for row in profile["rows"] if row.get(field) is not None]
    window = profile["window"]
    axis = figure.add_subplot()
    slowest: dict[str, tuple[float, float]] = {}
    on_lines: list[tuple[float, float]] = []
    for name in dict.fromkeys(row["model"] for row in rows):
        line = sorted((row["p50_ms"], row[field]) for row in rows if row["model"] == name)
        axis.plot(*zip(*line, strict=True), color="#bbbbbb", linewidth=0.8, zorder=1)
        slowest[for_plot(name)] = line[-1]
        on_lines += [(float(x), line[0][1]) for x in np.geomspace(line[0][0], line[-1][0], 60)]
    for backend, colour, marker in zip(BACKENDS, COLOURS, MARKERS, strict=False):
        own = [row for row in rows if row["backend"] == backend]
        if own:
            places = [row["p50_ms"] for row in own], [row[field] for row in own]
            areas = [20 + 12 * math.log10(max(row["parameters"], 10)) for row in own]
            axis.scatter(
                *places, s=areas, color=colour, marker=marker, alpha=0.85, label=backend, linewidths=0, zorder=2
            )
    axis.set_xscale("log")
    threads = "one thread" if profile["settings"]["n_threads"] == 1 else f"{profile['settings']['n_threads']} threads"
    axis.set_xlabel(f"milliseconds a window (median, one at a time, {threads})")
    axis.set_ylabel(WITH_SCORES if scored else "MFLOP a window (2 x MAC)")
    if not scored:
        axis.set_yscale("log")
    for one in (axis.xaxis, *([] if scored else [axis.yaxis])):
        one.set_major_formatter("{x:g}")
        low, high = one.get_view_interval()
        if high / max(low, 1e-12) < 300:
            one.set_minor_locator(ticker.LogLocator(subs=(2, 5)))
            one.set_minor_formatter("{x:g}")
        else:
            one.set_minor_formatter(ticker.NullFormatter())
    shape = f"{window['n_chans']} channels x {window['seconds']:g} s x {window['sfreq']:g} Hz"
    axis.set_title(f"{shape}, {for_plot(profile['machine']['processor'])}", fontsize=10)
    plain_axes(axis)
    axis.margins(x=0.12, y=0.12)
    axis.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
    figure.canvas.draw()
    name_points(axis, slowest, [(row["p50_ms"], row[field]) for row in rows], on_lines)
    return save_figure(figure, path)


def name_points(
    axis: Any,
    named: Mapping[str, tuple[float, float]],
    points: Sequence[tuple[float, float]],
    on_lines: Sequence[tuple[float, float]] = (),
) -> None:
    """Write each name near its place, where it covers no point, no line and no other name; a thin line leads to one
    far off.

    Args:
        axis: of matplotlib, drawn already.
        named: name -> place in the units of the data.
        points: places of all points.
        on_lines: places on the lines.
    """
    renderer = axis.figure.canvas.get_renderer()
    centres = [axis.transData.transform(point) for point in points]
    crossed = [axis.transData.transform(point) for point in on_lines]
    radius = 6 * axis.figure.dpi / 72
    taken: list[Any] = []
    angles = [2 * math.pi * step / 16 for step in range(16)]
    offsets = [(reach * math.cos(a), reach * math.sin(a)) for reach in (8, 14, 22, 32, 44, 58) for a in angles]
    line = {"arrowstyle": "-", "lw": 0.5, "color": "#888888", "shrinkA": 0, "shrinkB": 3}
    for name, place in named.items():
        # the last offset is for where nothing is free
        for number, (x, y) in enumerate([*offsets, (8, 0)]):
            text = axis.annotate(
                name,
                place,
                xytext=(x, y),
                textcoords="offset points",
                fontsize=8,
                ha="center" if abs(x) < 4 else "left" if x > 0 else "right",
                va="center",
                arrowprops=line if math.hypot(x, y) > 12 else None,
            )
            box = _text_box(text, renderer)
            inside = axis.bbox.containsx(box.x0) and axis.bbox.containsx(box.x1)
            inside = inside and axis.bbox.containsy(box.y0) and axis.bbox.containsy(box.y1)
            around, close = box.padded(radius), box.padded(1)
            free = not any(around.contains(*centre) for centre in centres)
            free = free and not any(close.contains(*point) for point in crossed)
            free = free and not any(close.overlaps(other) for other in taken)
            if number == len(offsets) or (inside and free):
                taken.append(box)
                break
            text.remove()


def _text_box(text: Any, renderer: Any) -> Any:
    """Extent of an annotation's words, without its line."""
    from matplotlib.text import Text

    text.update_positions(renderer)
    return Text.get_window_extent(text, renderer)


__all__ = ["add_scores", "format_profile", "name_points", "plot_profile", "read_scores"]
