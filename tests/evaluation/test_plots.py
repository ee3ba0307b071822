# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Plots are whole files of the right kind; the numbers behind them are checked against SciPy and MNE."""

from __future__ import annotations

import mne
import numpy as np
import pytest
import torch
from PIL import Image

from dlink_hf.core.electrodes import channel_positions
from dlink_hf.evaluation import plots as visualization
from dlink_hf.evaluation.plots import (
    head_coordinates,
    plot_confusion_matrix,
    plot_loss_curves,
    plot_montage,
    plot_representation_spectra,
    plot_router_weights,
    representation_spectra,
)


def check_image(path, given):
    """A PNG that opens, holds more than background, and has an empty border: nothing is cut off."""
    assert path == given and path.is_file()
    pixels = np.asarray(Image.open(path).convert("L"))
    assert min(pixels.shape) > 300 and (pixels < 128).mean() > 0.001
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    assert (border == 255).all()
    assert sorted(path.parent.iterdir()) == [path]


@pytest.fixture
def drawn(monkeypatch):
    """The figures as they are saved, to look inside."""
    figures = []
    save = visualization.save_figure

    def keep(figure, path):
        figures.append(figure)
        return save(figure, path)

    monkeypatch.setattr(visualization, "save_figure", keep)
    return figures


def test_router_weights_show_the_mean_and_spread_of_each_class(tmp_path, drawn):
    weights = torch.rand(40, 6).softmax(-1)
    labels = torch.arange(40) % 3
    path = tmp_path / "router.png"
    check_image(plot_router_weights(weights, labels, ["rest", "left", "right"], path), path)
    bars = drawn[0].axes[0]
    heights = [[bar.get_height() for bar in container] for container in bars.containers if len(container) == 6]
    np.testing.assert_allclose(heights, [weights[labels == label].mean(0) for label in range(3)], rtol=1e-6)
    assert bars.get_xlabel() and bars.get_ylabel()
    # every window is a row of the heat map, and its colours span the weights there are
    image = drawn[0].axes[1].images[0]
    np.testing.assert_allclose(image.get_clim(), (weights.min(), weights.max()), rtol=1e-6)
    rows = np.asarray(image.get_array())
    np.testing.assert_allclose(np.sort(rows, 0), np.sort(weights.double().numpy(), 0), rtol=1e-6)


def test_router_weights_of_one_class(tmp_path, drawn):
    path = tmp_path / "new" / "router.png"
    check_image(plot_router_weights(np.full((5, 2), 0.5), np.zeros(5, int), ["rest", "task"], path), path)
    # equal weights get one colour, not the two ends of the scale for their rounding errors
    assert drawn[0].axes[1].images[0].get_clim() == pytest.approx((0.475, 0.525))


def test_names_of_classes_keep_off_each_other(tmp_path, drawn):
    names = [f"imagined movement {label}" for label in range(6)]
    plot_router_weights(torch.rand(60, 4).softmax(-1), torch.arange(60) % 6, names, tmp_path / "six.png")
    plot_router_weights(torch.rand(60, 4).softmax(-1), torch.arange(60) % 2, names[:2], tmp_path / "two.png")
    for figure in drawn:
        figure.canvas.draw()
        heat = figure.axes[1]
        boxes = [label.get_window_extent() for label in heat.get_yticklabels()]
        boxes.append(heat.yaxis.label.get_window_extent())
        pairs = [(a, b) for i, a in enumerate(boxes) for b in boxes[i + 1 :]]
        assert len(pairs) > 2 and not any(a.overlaps(b) for a, b in pairs)


def test_spectra_know_gain_from_delay():
    rng = np.random.default_rng(0)
    teacher = rng.normal(size=(3, 2, 16, 5))
    louder = representation_spectra(teacher, 2 * teacher)
    np.testing.assert_allclose(louder["student"], 2 * louder["teacher"])
    np.testing.assert_allclose(louder["phase_error"], 0, atol=1e-6)
    later = representation_spectra(teacher, np.roll(teacher, 1, axis=2))
    np.testing.assert_allclose(later["student"], later["teacher"])
    # a circular delay of one token turns bin k by 360 k / 16 degrees
    np.testing.assert_allclose(later["phase_error"], 360 * np.arange(9) / 16, atol=1e-6)
    unrelated = representation_spectra(rng.normal(size=(200, 4, 8, 8)), rng.normal(size=(200, 4, 8, 8)))
    np.testing.assert_allclose(unrelated["phase_error"], 90, atol=5)


def test_spectra_keep_energy():
    rng = np.random.default_rng(1)
    states = rng.normal(size=(2, 3, 4, 9))
    for axis, n in (("time", 4), ("features", 9)):
        spectra = representation_spectra(states, states, axis)
        twice = np.array([1 if f in (0, 0.5) else 2 for f in spectra["frequency"]])
        assert (twice * spectra["teacher"] ** 2).sum() / n == pytest.approx((states**2).mean())


def test_spectra_plot_in_hertz(tmp_path, drawn):
    rng = np.random.default_rng(0)
    teacher, student = rng.normal(size=(2, 3, 2, 10, 8))
    path = tmp_path / "spectra.png"
    students = {"mimicked": student, "decoded": torch.tensor(teacher)}
    check_image(plot_representation_spectra(teacher, students, path, token_rate=2.0), path)
    first = drawn[0].axes[0]
    np.testing.assert_allclose(first.get_lines()[0].get_xdata(), np.arange(6) / 5)
    legend = [text.get_text() for text in drawn[0].legends[0].get_texts()]
    assert legend == ["teacher, routed", "mimicked", "decoded", "no relation"]
    assert "Hz" in first.get_xlabel() and "degrees" in drawn[0].axes[1].get_ylabel()
    with pytest.raises(ValueError, match="one layout"):
        plot_representation_spectra(teacher, student[:, :1], path)
    with pytest.raises(ValueError, match="'time', 'features'"):
        plot_representation_spectra(teacher, student, path, axes=["space"])


def test_numerically_empty_bins_are_left_out(tmp_path, drawn):
    teacher = torch.nn.functional.layer_norm(torch.randn(4, 3, 5, 16), (16,))
    student = teacher + 0.1 * torch.randn(teacher.shape)
    spectra = representation_spectra(teacher, student, "features")
    # rounding errors alone: the mean of a normalised state is zero
    assert 0 < spectra["teacher"][0] < 1e-6 and spectra["student"][0] > 0.01
    np.testing.assert_array_equal(np.isnan(spectra["phase_error"]), [True] + [False] * 8)
    path = tmp_path / "spectra.png"
    check_image(plot_representation_spectra(teacher, student, path, axes=["features"]), path)
    left = drawn[0].axes[0]
    target, reply = (np.asarray(line.get_ydata()) for line in left.get_lines())
    np.testing.assert_array_equal(np.isnan(target), [True] + [False] * 8)
    np.testing.assert_array_equal(target[1:], spectra["teacher"][1:])
    np.testing.assert_array_equal(reply, spectra["student"])
    assert left.get_ylim()[0] > 1e-3 or left.get_yscale() == "linear"
    nothing = torch.zeros(1, 1, 4, 4)
    assert np.isnan(representation_spectra(nothing, nothing)["phase_error"]).all()
    plot_representation_spectra(nothing, nothing, path)


def test_validation_loss_stands_beside_the_same_term(tmp_path, drawn):
    history = [{"loss": 9 / step, "task_loss": 2 / step, "step": step} for step in (10, 20)]
    history.append({"eval_loss": 0.3, "step": 20})
    plot_loss_curves(history, tmp_path / "loss.png", stages={"compress": 0})
    shown = {
        panel.get_title(): [(line.get_label(), *line.get_ydata()) for line in panel.get_lines()[:-1]]
        for panel in drawn[0].axes
    }
    assert shown == {
        "loss (weighted sum of all terms)": [("training", 0.9, 0.45)],
        "task_loss": [("training", 0.2, 0.1), ("validation", 0.3)],
    }


def test_loss_curves_show_every_component_and_the_stages(tmp_path, drawn):
    history = []
    for step in range(10, 110, 10):
        mimic = step <= 50
        history.append({"loss": 100 / step, "route_loss": 1 / step, "router_entropy": 1.5, "learning_rate": 0.1})
        history[-1] |= {"mimic_stage": float(mimic), "step": step} | ({} if mimic else {"kd_loss": 2 / step})
        history.append({"eval_loss": 90 / step, "eval_balanced_accuracy": 0.5, "step": step})
    history.append({"train_loss": 3.0, "train_runtime": 5.0, "step": 100})
    path = tmp_path / "loss.png"
    check_image(plot_loss_curves(history, path), path)
    shown = {panel.get_title(): panel for panel in drawn[0].axes if panel.get_visible()}
    assert set(shown) == {"loss", "route_loss", "router_entropy", "kd_loss"}
    for panel in shown.values():
        assert [(text.get_text(), text.xy[0]) for text in panel.texts] == [("mimic", 0), ("compress", 50)]
    training, validation = shown["loss"].get_lines()[:2]
    np.testing.assert_allclose(training.get_ydata(), 100 / np.arange(10, 110, 10))
    np.testing.assert_allclose(validation.get_ydata(), 90 / np.arange(10, 110, 10))
    plot_loss_curves(history, path, components=["balanced_accuracy"], stages={"all": 0})
    assert [panel.get_title() for panel in drawn[1].axes if panel.get_visible()] == ["balanced_accuracy"]
    with pytest.raises(ValueError, match="learning_rate"):
        plot_loss_curves([{"learning_rate": 0.1, "step": 1}], path)


@pytest.mark.parametrize("n_labels", [2, 6])
def test_confusion_matrix_counts(tmp_path, drawn, n_labels):
    from sklearn.metrics import confusion_matrix

    rng = np.random.default_rng(0)
    labels, predictions = rng.integers(0, n_labels, (2, 150))
    path = tmp_path / "confusion.png"
    names = [f"a rather long name {label}" for label in range(n_labels)]
    check_image(plot_confusion_matrix(labels, predictions, names, path), path)
    counts = [int(text.get_text().split("\n")[0]) for text in drawn[0].axes[0].texts]
    np.testing.assert_array_equal(np.reshape(counts, (n_labels, n_labels)), confusion_matrix(labels, predictions))
    with pytest.raises(ValueError, match="names 1"):
        plot_confusion_matrix(labels, predictions, ["rest"], path)


def test_head_coordinates_are_where_electrodes_are():
    names = ["Cz", "Fpz", "Oz", "T7", "T8", "C3", "C4", "Fz", "Pz"]
    points = dict(zip(names, head_coordinates(channel_positions(names)), strict=True))
    assert np.hypot(*points["Cz"]) < 0.1
    assert points["Fpz"] == pytest.approx([0, 1], abs=0.05)
    assert points["Oz"] == pytest.approx([0, -0.9], abs=0.05)
    assert points["T7"] == pytest.approx([-1.06, 0], abs=0.05)
    assert points["T8"] == pytest.approx([1.06, 0], abs=0.05)
    assert points["C3"][0] == pytest.approx(-points["C4"][0], abs=0.05)


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_head_centre_is_the_sphere_through_mnes_positions():
    positions = mne.channels.make_standard_montage("standard_1005").get_positions()["ch_pos"]
    points = np.array(list(positions.values()))
    # |p|^2 = 2 p.c + (r^2 - |c|^2) is linear in the centre c
    solution = np.linalg.lstsq(np.c_[2 * points, np.ones(len(points))], (points**2).sum(1), rcond=None)[0]
    assert visualization._HEAD_CENTRE == pytest.approx(solution[:3], abs=1e-3)


def test_montage(tmp_path, drawn):
    names = ["Fp1", "Cz", "O2", "A2-A1"]
    path = tmp_path / "montage.png"
    check_image(
        plot_montage(channel_positions(names), names, path, values=[0, 1, 2, 3], value_name="power (dB)"), path
    )
    axes = drawn[0].axes[0]
    assert [text.get_text() for text in axes.texts] == names
    assert "below" in axes.get_title()
    with pytest.raises(ValueError, match="4 positions, but 1"):
        plot_montage(channel_positions(names), ["Cz"], path)


def test_bad_input_is_a_clear_error_and_leaves_the_old_plot(tmp_path):
    path = tmp_path / "plot.png"
    plot_router_weights([[0.5, 0.5]], [0], ["rest"], path)
    before = path.read_bytes()
    with pytest.raises(ValueError, match="NaN or Inf"):
        plot_router_weights([[np.nan, 0.5]], [0], ["rest"], path)
    with pytest.raises(ValueError, match="one label for each of the 1 windows"):
        plot_router_weights([[0.5, 0.5]], [0, 1], ["rest", "task"], path)
    with pytest.raises(ValueError, match="'plot.xyz'"):
        plot_router_weights([[0.5, 0.5]], [0], ["rest"], tmp_path / "plot.xyz")
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]
    for suffix, start in ((".svg", b"<?xml"), (".pdf", b"%PDF")):
        assert (
            plot_router_weights([[0.5, 0.5]], [0], ["rest"], path.with_suffix(suffix)).read_bytes().startswith(start)
        )
