# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Linear models that take seconds, on log band power or in the tangent space of covariances.

Logistic regression of classes, one of each label where several may hold at once, ridge regression of numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from datasets import Dataset
from scipy.signal import butter, sosfiltfilt, welch
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.model_selection import GroupKFold
from sklearn.preprocessing import FunctionTransformer

from ..data.description import signal_info
from ..data.missing_labels import labelled_rows, labels_of
from .linear_models import LinearModel, all_vary, check_every_class, problem_of


# Hz: delta, theta, two halves of alpha, two of beta, gamma
BANDS = ((1, 4), (4, 8), (8, 10), (10, 13), (13, 20), (20, 30), (30, 44))
# 1 Hz each, up to 45 Hz: rhythms that differ by less than a band, as those of flickering lights
FINE_BANDS = tuple((low, low + 1) for low in range(1, 45))
# Hz, of the covariances: the whole, and rhythms apart
BROADBAND = ((1, 45),)
FILTER_BANK = ((4, 8), (8, 13), (13, 30))
STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0)
# windows that are measured at a time
_PORTION = 256
_INNER_FOLDS = 3


def log_band_power(windows: np.ndarray, sfreq: float, bands: Sequence[tuple[float, float]] = BANDS) -> np.ndarray:
    """Log power spectral density in bands, every channel by itself.

    Welch's method with stretches of 2 s, or of the whole window where that is shorter. Bands that hold no frequency of
    the spectrum, above half the rate or narrower than the resolution, are left out.

    Args:
        windows: (N, C, T), microvolts.
        sfreq: Hz.
        bands: (low, high) in Hz, high excluded.

    Returns:
        (N, C * bands), the logarithm of uV^2/Hz.

    Raises:
        ValueError: no band is left.
    """
    freqs, power = welch(windows, sfreq, nperseg=min(windows.shape[-1], round(2 * sfreq)), axis=-1)
    chosen = [mask for mask in ((freqs >= low) & (freqs < high) for low, high in bands) if mask.any()]
    if not chosen:
        raise ValueError(
            f"Windows of {windows.shape[-1] / sfreq:g} s at {sfreq:g} Hz hold no frequency of the bands {list(bands)} "
            "(Hz). Take longer windows, or wider bands."
        )
    means = np.stack([power[..., mask].mean(-1) for mask in chosen], axis=-1)
    return np.log(means + 1e-6).reshape(len(windows), -1)


def band_covariances(windows: np.ndarray, sfreq: float, bands: Sequence[tuple[float, float]]) -> np.ndarray:
    """Covariances of the channels in frequency bands, shrunk (oracle approximating shrinkage) to have full rank.

    Args:
        windows: (N, C, T), microvolts.
        sfreq: Hz.
        bands: (low, high) in Hz; those that begin above half the rate are left out.

    Returns:
        (N, bands, C, C), uV^2.
    """
    covariances = _pyriemann("pyriemann.estimation").Covariances(estimator="oas")
    found = []
    for low, high in bands:
        high = min(high, 0.45 * sfreq)
        if low < high:
            sos = butter(4, (low, high), btype="bandpass", fs=sfreq, output="sos")
            found.append(covariances.transform(sosfiltfilt(sos, windows.astype(np.float64), axis=-1)))
    return np.stack(found, axis=1)


def _pyriemann(module: str) -> Any:
    from importlib import import_module

    try:
        return import_module(module)
    except ImportError as error:
        raise ImportError(
            "The expert 'riemann' comes from pyriemann, which could not be imported. Install it with `pip install "
            f"\"dlink-hf[teachers]\"`, or choose 'bandpower' or 'student'. The reason: {error}"
        ) from error


class BandTangentSpace(TransformerMixin, BaseEstimator):
    """Covariances (N, bands, C, C) to the tangent space at their Riemannian mean, band by band.

    Barachant et al. 2012, "Multiclass brain-computer interface classification by Riemannian geometry".
    """

    def fit(self, covariances: np.ndarray, labels: Any = None) -> BandTangentSpace:
        """Find the mean of each band. No label is read."""
        tangent_space = _pyriemann("pyriemann.tangentspace").TangentSpace
        self.spaces_ = [tangent_space(metric="riemann").fit(covariances[:, i]) for i in range(covariances.shape[1])]
        return self

    def transform(self, covariances: np.ndarray) -> np.ndarray:
        """(N, bands * C (C + 1) / 2)."""
        parts = [space.transform(covariances[:, band]) for band, space in enumerate(self.spaces_)]
        return np.concatenate(parts, axis=1)


@dataclass(frozen=True)
class Measure:
    """What is measured of each window, and how that becomes a vector.

    Args:
        name: what it is called.
        of_windows: windows (N, C, T) and the rate in Hz to numbers (N, ...).
        vectors: makes a transformer of these numbers to (N, D); it may learn from them, without labels.
    """

    name: str
    of_windows: Callable[[np.ndarray, float], np.ndarray]
    vectors: Callable[[], Any]

    def of_dataset(self, dataset: Dataset) -> np.ndarray:
        """(N, ...) of a dataset's windows, read in portions."""
        sfreq, rows = signal_info(dataset).sfreq, dataset.select_columns(["input_values"]).with_format("numpy")
        portions = range(0, len(dataset), _PORTION)
        return np.concatenate([self.of_windows(rows[i : i + _PORTION]["input_values"], sfreq) for i in portions])


def _band_power(bands: Sequence[tuple[float, float]], name: str) -> Measure:
    return Measure(name, lambda windows, sfreq: log_band_power(windows, sfreq, bands), FunctionTransformer)


def _covariances(bands: Sequence[tuple[float, float]], name: str) -> Measure:
    return Measure(name, lambda windows, sfreq: band_covariances(windows, sfreq, bands), BandTangentSpace)


MEASURES = {
    "bandpower": (_band_power(BANDS, "seven bands"), _band_power(FINE_BANDS, "bands of 1 Hz")),
    "riemann": (_covariances(BROADBAND, "1 to 45 Hz"), _covariances(FILTER_BANK, "three bands")),
}


class LinearExpert:
    """A fitted linear model of windows; called with a dataset it gives probabilities, or numbers (N, num_labels).

    Args:
        kind: a key of `MEASURES`.
        measure: what it reads of a window.
        vectors: the measure's transformer, fitted.
        model: of these vectors.
        sfreq: Hz, of the windows it was fitted on.
    """

    # silent channels, an augmentation, are far from all that it has seen: it says more of the window as it is
    reads_views = False

    def __init__(self, kind: str, measure: Measure, vectors: Any, model: LinearModel, sfreq: float):
        self.kind, self.measure, self.vectors, self.model, self.sfreq = kind, measure, vectors, model, sfreq

    def __call__(self, dataset: Dataset) -> np.ndarray:
        """(N, num_labels) probabilities, or numbers."""
        return self.model.predict(self.vectors.transform(self.measure.of_dataset(dataset)))

    def of_windows(self, windows: np.ndarray) -> np.ndarray:
        """(N, num_labels) probabilities, or numbers, of windows (N, C, T) in microvolts."""
        return self.model.predict(self.vectors.transform(self.measure.of_windows(windows, self.sfreq)))


def fit_linear(
    kind: str,
    train: Dataset,
    validation: Dataset | None = None,
    group_column: str = "subject",
    strengths: Sequence[float] = STRENGTHS,
) -> LinearExpert:
    """Fit a [`LinearModel`] on measures of the windows: logistic regressions, or ridge regression of numbers.

    What is measured (of `bandpower`: seven bands, or bands of 1 Hz; of `riemann`: one band, or three) and the strength
    of the regularisation are chosen by the least cross-entropy (of numbers, squared error) on the validation subjects;
    without them, on folds of the training subjects; of a single subject, the first measure and a strength of 0.01 are
    taken.

    Args:
        kind: `"bandpower"` or `"riemann"` (needs pyriemann).
        train: windows; those without a label are left out.
        validation: labelled windows of other subjects.
        group_column: column that tells subjects apart.
        strengths: C of the logistic regression, each above 0; ridge regression takes 1 / C.

    Returns:
        the expert: `expert(dataset)` gives (N, num_labels) probabilities, or numbers.

    Raises:
        ImportError: pyriemann is needed and absent.
        ValueError: the kind is unknown, or a class is absent.
    """
    if kind not in MEASURES:
        raise ValueError(f"Linear experts are {', '.join(map(repr, MEASURES))}; got {kind!r}.")
    train = labelled_rows(train)
    check_every_class(train, f"The expert {kind!r}")
    labels, watched = labels_of(train), None if validation is None else labelled_rows(validation)
    problem_type = problem_of(train)
    splits = [] if watched is not None and len(watched) else _inner_folds(train, labels, group_column, problem_type)
    best: tuple[float, Measure, Any, np.ndarray, float] | None = None
    for measure in MEASURES[kind]:
        vectors = measure.vectors()
        numbers = vectors.fit_transform(measure.of_dataset(train))
        if watched is not None and len(watched):
            tried = [(numbers, labels, vectors.transform(measure.of_dataset(watched)), labels_of(watched))]
        else:
            tried = [(numbers[rest], labels[rest], numbers[fold], labels[fold]) for rest, fold in splits]
        for strength in strengths if tried else (1e-2,):
            losses = [LinearModel(problem_type, strength).fit(*part[:2]).loss(*part[2:]) for part in tried]
            loss = float(np.mean(losses)) if losses else 0.0
            if best is None or loss < best[0]:
                best = loss, measure, vectors, numbers, strength
    assert best is not None
    _, measure, vectors, numbers, strength = best
    model = LinearModel(problem_type, strength).fit(numbers, labels)
    return LinearExpert(kind, measure, vectors, model, signal_info(train).sfreq)


def _inner_folds(
    train: Dataset, labels: np.ndarray, group_column: str, problem_type: str
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Folds of subjects, those whose rest has every class; none where that can't be had."""
    if group_column not in train.column_names:
        return []
    groups = np.asarray(train[group_column][:]).astype(str)
    n_folds = min(_INNER_FOLDS, len(set(groups)))
    if n_folds < 2:
        return []
    folds = GroupKFold(n_folds).split(groups, groups=groups)
    return [(rest, fold) for rest, fold in folds if all_vary(labels[rest], labels, problem_type)]


def band_power_probabilities(
    train: Dataset, test: Dataset, validation: Dataset | None = None, group_column: str = "subject"
) -> np.ndarray:
    """What band power says of windows: the least that a teacher should beat.

    Args:
        train: windows to fit on; those without a label are left out.
        test: windows to classify.
        validation: see [`fit_linear`].
        group_column: column that tells subjects apart.

    Returns:
        (N, num_labels) probabilities of the windows of `test`; numbers, where the labels are.
    """
    return fit_linear("bandpower", train, validation, group_column)(test)


__all__ = [
    "BANDS",
    "FINE_BANDS",
    "MEASURES",
    "LinearExpert",
    "band_covariances",
    "band_power_probabilities",
    "fit_linear",
    "log_band_power",
]
