# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Linear experts against what they are made of, on windows whose classes differ in one rhythm."""

from __future__ import annotations

import builtins
import sys

import numpy as np
import pytest
from scipy.linalg import logm, sqrtm
from toy_training import toy_dataset

from dlink_hf import SignalInfo, set_signal_info
from dlink_hf.training.linear_experts import (
    BANDS,
    FINE_BANDS,
    MEASURES,
    band_covariances,
    band_power_probabilities,
    fit_linear,
    log_band_power,
)


def told(dataset):
    return set_signal_info(dataset, SignalInfo(("C3", "Cz", "C4", "Pz"), 200.0, 400))


@pytest.fixture(scope="module")
def train_set():
    return told(toy_dataset(["S1", "S2", "S3"], n_windows=9))


@pytest.fixture(scope="module")
def test_set():
    return told(toy_dataset(["S8", "S9"], n_windows=9, seed=4))


def accuracy(probabilities, dataset) -> float:
    return float((probabilities.argmax(1) == dataset["labels"][:]).mean())


def test_band_power_is_that_of_a_sine():
    """A sine of amplitude a at 11 Hz has the power a^2 / 2, all of it in 10-13 Hz and in the bin of 11 Hz."""
    time = np.arange(800) / 200.0
    windows = np.stack([np.stack([a * np.sin(2 * np.pi * 11 * time), np.zeros(800)]) for a in (4.0, 8.0)])
    found = np.exp(log_band_power(windows, 200.0)).reshape(2, 2, len(BANDS))
    # bins of 0.5 Hz: the mean density over 10, 10.5 ... 12.5 Hz
    np.testing.assert_allclose(found[:, 0, 3] * 6 * 0.5, [8.0, 32.0], rtol=0.01)
    assert (found[:, 0].argmax(-1) == 3).all() and found[:, 1].max() < 2e-6
    fine = log_band_power(windows, 200.0, FINE_BANDS).reshape(2, 2, len(FINE_BANDS))
    assert [FINE_BANDS[i][0] for i in fine[:, 0].argmax(-1)] == [11, 11]


def test_bands_that_short_windows_do_not_resolve_are_left_out():
    windows = np.random.default_rng(0).normal(size=(2, 3, 50))
    # 0.25 s resolve 0, 4, 8, 12 ... Hz, none of them in 1-4 Hz
    assert log_band_power(windows, 200.0).shape == (2, 3 * 6)
    with pytest.raises(ValueError, match="0.25 s at 200 Hz hold no frequency"):
        log_band_power(windows, 200.0, [(5, 6)])


@pytest.mark.parametrize("kind", ["bandpower", "riemann"])
def test_an_expert_tells_the_classes_of_new_people(kind, train_set, test_set):
    if kind == "riemann":
        pytest.importorskip("pyriemann")
    expert = fit_linear(kind, train_set)
    found = expert(test_set)
    assert found.shape == (18, 2) and accuracy(found, test_set) > 0.8
    np.testing.assert_allclose(found.sum(1), 1.0)
    np.testing.assert_allclose(expert.of_windows(test_set["input_values"][:]), found)
    # labels that belong to other windows teach nothing
    labels = np.random.default_rng(1).permutation(train_set["labels"][:]).tolist()
    mixed = train_set.remove_columns("labels").add_column("labels", labels, feature=train_set.features["labels"])
    assert accuracy(fit_linear(kind, told(mixed))(test_set), test_set) < accuracy(found, test_set)


def test_the_tangent_space_is_that_of_its_definition(train_set):
    pytest.importorskip("pyriemann")
    measure = MEASURES["riemann"][0]
    covariances = measure.of_dataset(train_set)
    space = measure.vectors().fit(covariances)
    found = space.transform(covariances[:3])
    mean = space.spaces_[0].reference_
    whiten = np.linalg.inv(sqrtm(mean).real)
    for one, vector in zip(covariances[:3, 0], found, strict=True):
        tangent = logm(whiten @ one @ whiten).real
        upper = np.triu_indices(4)
        np.testing.assert_allclose(vector, tangent[upper] * np.where(upper[0] == upper[1], 1, np.sqrt(2)), atol=1e-6)
    assert band_covariances(train_set["input_values"][:2], 200.0, [(1, 45), (95, 99)]).shape == (2, 1, 4, 4)


def test_fine_bands_are_chosen_where_coarse_ones_can_not_tell():
    """Two classes, 14 and 18 Hz: within one band of seven."""
    generator, time = np.random.default_rng(0), np.arange(400) / 200.0
    base = toy_dataset(["S1", "S2", "S3", "S4"], n_windows=12)
    windows = generator.normal(scale=5.0, size=(48, 4, 400))
    for window, label in zip(windows, base["labels"][:], strict=True):
        window += 4.0 * np.sin(2 * np.pi * (14, 18)[label] * time + generator.uniform(0, 6))
    made = base.remove_columns("input_values").add_column(
        "input_values", windows.astype(np.float32).tolist(), feature=base.features["input_values"]
    )
    made = told(made.with_format("numpy"))
    assert fit_linear("bandpower", made).measure.name == "bands of 1 Hz"
    by_validation = fit_linear("bandpower", made.select(range(24)), made.select(range(24, 48)))
    assert by_validation.measure.name == "bands of 1 Hz"


def test_windows_without_a_label_are_not_fitted_on(train_set, test_set):
    labels = train_set["labels"][:].copy()
    labels[9:] = -1
    feature = train_set.features["labels"]
    partly = told(train_set.remove_columns("labels").add_column("labels", labels.tolist(), feature=feature))
    expected = band_power_probabilities(train_set.select(range(9)), test_set)
    np.testing.assert_allclose(band_power_probabilities(partly, test_set), expected)
    none = [i for i in range(9) if labels[i] == 0]
    with pytest.raises(ValueError, match="none of 'task' among"):
        fit_linear("bandpower", train_set.select(none))


def test_the_remedy_for_a_missing_package_is_named(train_set, monkeypatch):
    real = builtins.__import__

    def refuse(name, *args, **kwargs):
        if name.startswith("pyriemann"):
            raise ModuleNotFoundError(f"No module named {name!r}")
        return real(name, *args, **kwargs)

    for name in [name for name in sys.modules if name.startswith("pyriemann")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr("importlib.import_module", refuse)
    with pytest.raises(ImportError, match=r"dlink-hf\[teachers\]"):
        fit_linear("riemann", train_set)
