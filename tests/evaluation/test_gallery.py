# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Every plot of the package on known data: it is drawn, nothing is cut off, and the gallery shows it."""

from __future__ import annotations

import ast
import runpy
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dlink_hf.distillation.general import backbone_report
from dlink_hf.training import pretraining_report


ROOT = Path(__file__).resolve().parents[2]
GALLERY = runpy.run_path(str(ROOT / "tools" / "gallery.py"))
PICTURES = ROOT / "docs" / "pictures" / "gallery"


@pytest.mark.parametrize("name", GALLERY["PLOTS"])
def test_a_plot_has_an_empty_border_and_is_small_enough(name, tmp_path):
    if name == "reconstruction":
        pytest.importorskip("braindecode", reason="braindecode is not installed (extra teachers)")
    GALLERY["PLOTS"][name](tmp_path / "whole.png")
    pixels = np.asarray(Image.open(tmp_path / "whole.png").convert("L"))
    assert min(pixels.shape) > 300 and (pixels < 128).mean() > 0.001
    # nothing is cut off
    assert (np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]]) == 255).all()
    GALLERY["write_small"](tmp_path / "whole.png", tmp_path / "small.png")
    small = Image.open(tmp_path / "small.png")
    # the committed picture is of this plot
    assert small.size == Image.open(PICTURES / f"{name}.png").size


def test_the_page_shows_every_plot_of_the_package():
    page = (ROOT / "docs" / "gallery.md").read_text("utf-8")
    defined = {
        node.name
        for path in (ROOT / "dlink_hf").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.FunctionDef) and node.name.startswith("plot_")
    }
    assert not [name for name in sorted(defined) if f"`{name}`" not in page]
    assert all(f"pictures/gallery/{name}.png)" in page for name in GALLERY["PLOTS"])
    pictures = list(PICTURES.iterdir())
    assert {path.stem for path in pictures} == set(GALLERY["PLOTS"])
    assert sum(path.stat().st_size for path in pictures) < 1_500_000


@pytest.fixture
def drawn(monkeypatch):
    """The figures as they are saved, to look inside."""
    figures = []
    for module in (backbone_report, pretraining_report):
        save = module.save_figure
        monkeypatch.setattr(
            module, "save_figure", lambda figure, path, save=save: figures.append(figure) or save(figure, path)
        )
    return figures


def lines_of(axes):
    return {line.get_label(): np.asarray(line.get_ydata(), float) for line in axes.get_lines()}


def test_errors_of_a_pretraining_are_drawn_as_logged(tmp_path, drawn):
    log = [{"step": 0, "eval_reconstruction_error": 9.0, "eval_spectral_error": 9.0}]
    log += [{"step": s, "eval_reconstruction_error": 1 / s, "eval_spectral_error": 2 / s} for s in (1, 2, 4)]
    # the errors before the first step are left out: they would squeeze the others
    pretraining_report.plot_held_out_error([*log, {"step": 4, "loss": 3.0}], tmp_path / "plot.png")
    lines = lines_of(drawn[0].axes[0])
    np.testing.assert_allclose(lines["hidden patches"], [1, 0.5, 0.25])
    np.testing.assert_allclose(lines["log-spectra"], [2, 1, 0.5])


def test_a_general_student_has_distances_left_and_scores_right(tmp_path, drawn):
    log = [
        {"step": s, "eval_route_error": 1 / s, "eval_hands_balanced_accuracy": 0.5 + s / 10, "loss": 7.0}
        for s in (1, 2)
    ]
    backbone_report.plot_backbone_curves(log, tmp_path / "plot.png")
    left, right = (lines_of(axes) for axes in drawn[0].axes[:2])
    np.testing.assert_allclose(left["distance, over power"], [1, 0.5])
    assert [list(map(float, values)) for values in right.values()] == [pytest.approx([0.6, 0.7])]
