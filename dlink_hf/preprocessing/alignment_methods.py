# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Methods of alignment: z-scores, Euclidean alignment, Monge mapping, and the last two one after the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np


# Aligned channels have this RMS amplitude: that of ordinary EEG, which the models' input scales are made for.
REFERENCE_UV = 10.0
# A channel whose variance is below this share of its power never changes, but for rounding.
_FLAT = 1e-12
# Directions with less variance than this share of the mean over directions hold no signal.
_EIGENVALUE_FLOOR = 1e-6
# Statistics are taken of this many windows at once, so that memory stays bounded.
_PORTION = 16


class Alignment:
    """What the methods have in common: running means of statistics of windows, and the map that follows from them.

    The statistics of N windows are the same numbers whether the windows come at once or in any portions.

    Args:
        half_life: Number of windows after which a window counts half, for signals that drift; None counts all alike.
        ch_names: The C channels; None takes windows of any, always in the same order.

    Attributes:
        n_windows: Windows seen so far.
    """

    method: ClassVar[str]
    # of the filters of `device_arrays`; 1 where there are none
    n_taps: int = 1

    def __init__(self, *, half_life: float | None = None, ch_names: Sequence[str] | None = None) -> None:
        if half_life is not None and not (np.isfinite(half_life) and half_life > 0):
            raise ValueError(
                f"half_life={half_life!r} must be a number of windows above 0, or None to count all alike."
            )
        self.half_life = None if half_life is None else float(half_life)
        self.ch_names = None if ch_names is None else list(ch_names)
        self.n_windows = 0
        self._weight = 0.0
        self._means: dict[str, np.ndarray] = {}
        self._map: Any = None

    def fit(self, windows: Any) -> Alignment:
        """Forget what was seen and fit on windows (N, C, T) in microvolts of one subject's whole session.

        Returns:
            Itself.

        Raises:
            TypeError: If the windows are no array of real numbers.
            ValueError: If their shape is another, or a number is NaN or infinite.
        """
        self.n_windows, self._weight, self._means, self._map = 0, 0.0, {}, None
        return self.partial_fit(windows)

    def partial_fit(self, windows: Any) -> Alignment:
        """Add windows (N, C, T) in microvolts, in the order of time, to those seen; as `fit` otherwise."""
        values = self._check(windows)
        decay = 1.0 if self.half_life is None else 0.5 ** (1.0 / self.half_life)
        for start in range(0, len(values), _PORTION):
            statistics = self._statistics(values[start : start + _PORTION])
            for rows in zip(*statistics.values(), strict=True):
                self._weight = decay * self._weight + 1.0
                for name, row in zip(statistics, rows, strict=True):
                    mean = self._means.get(name)
                    self._means[name] = np.array(row) if mean is None else mean + (row - mean) / self._weight
                self.n_windows += 1
        self._map = None
        return self

    def transform(self, windows: Any) -> np.ndarray:
        """Aligned windows.

        Args:
            windows: (N, C, T) in microvolts, of the subject that was fitted on.

        Returns:
            (N, C, T) float32, an RMS amplitude of about 10 uV a channel.

        Raises:
            TypeError: As in `fit`.
            ValueError: As in `fit`, if nothing was fitted yet, or if a channel never changed.
        """
        if not self.n_windows:
            raise ValueError("the alignment has seen no window yet: fit it on the subject's unlabelled windows first.")
        values = self._check(windows)
        if self._map is None:
            self._map = self._make_map()
        return self._apply(values).astype(np.float32)

    def settings(self) -> dict[str, Any]:
        """Return the arguments that it was made with, as JSON values."""
        return {"half_life": self.half_life, "ch_names": self.ch_names}

    def to_dict(self) -> dict[str, Any]:
        """Return the settings and state as JSON values, which `alignment_from_dict` reads back to the last bit."""
        return {
            "method": self.method,
            "settings": self.settings(),
            "n_windows": self.n_windows,
            "weight": self._weight,
            "means": {name: mean.tolist() for name, mean in self._means.items()},
        }

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> Alignment:
        """Return an alignment of this method as `to_dict` wrote it.

        Raises:
            ValueError: If the state is that of another method, or incomplete.
        """
        if state.get("method") != cls.method:
            raise ValueError(f"this is the state of {state.get('method')!r}, not of {cls.method!r}.")
        try:
            alignment = cls(**state["settings"])
            alignment.n_windows, alignment._weight = int(state["n_windows"]), float(state["weight"])
            alignment._means = {name: np.asarray(mean, dtype=np.float64) for name, mean in state["means"].items()}
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"the state of an alignment ({cls.method}) is incomplete: {error!r}.") from error
        return alignment

    def _check(self, windows: Any) -> np.ndarray:
        """(N, C, T) float64."""
        if hasattr(windows, "detach"):
            windows = windows.detach().cpu().numpy()
        values = np.asarray(windows)
        if values.dtype.kind not in "fiu":
            raise TypeError(f"windows are an array of real numbers; got {type(windows).__name__} of {values.dtype}.")
        if values.ndim != 3 or 0 in values.shape:
            raise ValueError(
                f"windows are (N windows, C channels, T samples), each at least 1; got shape {values.shape}. One "
                "window (C, T) is windows[None]."
            )
        known = len(next(iter(self._means.values()))) if self._means else len(self.ch_names or values[0])
        if values.shape[1] != known:
            raise ValueError(f"the windows have {values.shape[1]} channels, the alignment was made for {known}.")
        if not np.isfinite(values).all():
            broken = np.flatnonzero(~np.isfinite(values).all(axis=(1, 2)))
            raise ValueError(f"{len(broken)} windows hold NaN or infinite samples; the first is window {broken[0]}.")
        return values.astype(np.float64)

    def _channels(self, which: np.ndarray) -> str:
        return ", ".join(str(index if self.ch_names is None else self.ch_names[index]) for index in which)

    def _refuse_flat(self, flat: np.ndarray) -> None:
        if flat.any():
            raise ValueError(
                f"channel {self._channels(np.flatnonzero(flat))} never changes in the {self.n_windows} windows of "
                "this subject: it can't be brought to a common scale. Leave it out (ch_names), or the subject."
            )

    def _statistics(self, values: np.ndarray) -> dict[str, np.ndarray]:
        """Statistics (N, ...) of each window."""
        raise NotImplementedError

    def _make_map(self) -> Any:
        raise NotImplementedError

    def _apply(self, values: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def device_arrays(self) -> dict[str, np.ndarray]:
        """Return what a device needs to align windows (C, T) of microvolts.

        Returns:
            Float64: "matrix" (C, C), by which the channels are mixed first; "shift" (C,), which is added; "taps"
            (C, n), a symmetric filter for each channel, by which the window is filtered last, its ends mirrored by
            point reflection as far as half a filter. What a method does not have is left out.

        Raises:
            ValueError: Nothing was fitted yet, or a channel never changed.
        """
        if not self.n_windows:
            raise ValueError("the alignment has seen no window yet: fit it on the subject's unlabelled windows first.")
        if self._map is None:
            self._map = self._make_map()
        return self._arrays()

    def _arrays(self) -> dict[str, np.ndarray]:
        raise NotImplementedError


class ZScoreAlignment(Alignment):
    """Each channel less the subject's mean, divided by the subject's standard deviation, times 10 uV.

    Mean and standard deviation are those of all samples of the windows seen. Args: as in `Alignment`.
    """

    method = "zscore"

    def _statistics(self, values: np.ndarray) -> dict[str, np.ndarray]:
        return {"mean": values.mean(axis=-1), "square": (values**2).mean(axis=-1)}

    def _make_map(self) -> tuple[np.ndarray, np.ndarray]:
        mean, square = self._means["mean"], self._means["square"]
        variance = square - mean**2
        self._refuse_flat(variance <= _FLAT * square)
        return mean[:, None], REFERENCE_UV / np.sqrt(variance)[:, None]

    def _apply(self, values: np.ndarray) -> np.ndarray:
        mean, gain = self._map
        return (values - mean) * gain

    def _arrays(self) -> dict[str, np.ndarray]:
        mean, gain = (each[:, 0] for each in self._map)
        return {"matrix": np.diag(gain), "shift": -mean * gain}


class EuclideanAlignment(Alignment):
    r"""Euclidean alignment: x -> 10 uV * R^(-1/2) x, so that the mean covariance of every subject is alike.

    R is the mean over windows of x x^T / T (He & Wu 2020, doi:10.1109/TBME.2019.2913914), shrunk towards a multiple of
    the identity: (1 - shrinkage) R + shrinkage * tr(R) / C * I. Without shrinkage the mean covariance of the subject's
    aligned windows is (10 uV)^2 I. Eigenvalues below 1e-6 of their mean are raised to that: a direction without signal
    (after an average reference, between two copies of a channel) stays without signal instead of being blown up to
    noise. R is not centred: offsets and drift must be filtered out before (`l_freq`).

    Args:
        shrinkage: In [0, 1).
        half_life, ch_names: As in `Alignment`.
    """

    method = "euclidean"

    def __init__(self, *, shrinkage: float = 0.001, **common: Any) -> None:
        super().__init__(**common)
        if not 0 <= shrinkage < 1:
            raise ValueError(f"shrinkage={shrinkage!r} must lie in [0, 1).")
        self.shrinkage = float(shrinkage)

    def settings(self) -> dict[str, Any]:
        return {**super().settings(), "shrinkage": self.shrinkage}

    def _statistics(self, values: np.ndarray) -> dict[str, np.ndarray]:
        return {"covariance": values @ values.transpose(0, 2, 1) / values.shape[-1]}

    def _make_map(self) -> np.ndarray:
        covariance = self._means["covariance"]
        mean = np.trace(covariance) / len(covariance)
        if not mean > 0:
            raise ValueError(f"the {self.n_windows} windows of this subject hold nothing but zeros.")
        shrunk = (1 - self.shrinkage) * covariance + self.shrinkage * mean * np.eye(len(covariance))
        values, vectors = np.linalg.eigh((shrunk + shrunk.T) / 2)
        values = np.maximum(values, _EIGENVALUE_FLOOR * mean)
        return REFERENCE_UV * (vectors / np.sqrt(values)) @ vectors.T

    def _apply(self, values: np.ndarray) -> np.ndarray:
        return self._map @ values

    def _arrays(self) -> dict[str, np.ndarray]:
        return {"matrix": self._map}


class MongeAlignment(Alignment):
    """Each channel filtered by sqrt(reference PSD / the subject's PSD), so that spectra of all subjects are alike.

    Convolutional Monge mapping normalisation (Gnassounou, Flamary & Gramfort 2023, arXiv:2305.18831): the optimal
    transport between stationary Gaussian signals is that filter. The PSD is Welch's: segments of `filter_length`
    samples, half overlapping, Hann window, their means taken out, averaged over the windows seen. The filter is
    symmetric (zero phase), of `filter_length` + 1 taps, and has the wanted gain exactly at the frequencies of the PSD.
    Ends of a window are extended by half a filter by odd reflection, so that the outer half filter of a window is less
    exact. The mean, about which a PSD says nothing, gets the gain of the lowest frequency above it.

    Where a recording holds nothing (above a low-pass) the wanted gain would be without bound: it is kept within a
    factor of `max_gain` of the gain that equals the two signals' whole power.

    Args:
        sfreq: Sampling rate of the windows in hertz.
        filter_length: Samples of a segment, even; windows must be at least as long.
        reference: Whose spectrum all get: what `monge_reference` made of the training subjects, with its `ch_names`,
            `sfreq`, `filter_length` and `psd` (C, filter_length / 2 + 1) in uV^2/Hz; or "1/f": power falling as 1/f
            from 1 Hz on and even below, 10 uV RMS in all, the same for every channel.
        max_gain: At least 1.
        half_life, ch_names: As in `Alignment`; a measured reference needs `ch_names`, to be told whose is whose.

    Raises:
        ValueError: If an argument is out of range, or the reference is of another rate, filter or channels.
    """

    method = "monge"

    def __init__(
        self,
        *,
        sfreq: float = 200.0,
        filter_length: int = 256,
        reference: str | Mapping[str, Any] = "1/f",
        max_gain: float = 10.0,
        **common: Any,
    ) -> None:
        super().__init__(**common)
        if filter_length < 4 or filter_length % 2:
            raise ValueError(f"filter_length={filter_length!r} must be an even number of samples, at least 4.")
        if not max_gain >= 1:
            raise ValueError(f"max_gain={max_gain!r} must be at least 1.")
        self.sfreq, self.filter_length, self.max_gain = float(sfreq), int(filter_length), float(max_gain)
        self.reference = reference if isinstance(reference, str) else dict(reference)
        self._reference_psd = self._read_reference()
        self.n_taps = self.filter_length + 1

    def settings(self) -> dict[str, Any]:
        own = {name: getattr(self, name) for name in ("sfreq", "filter_length", "reference", "max_gain")}
        return {**super().settings(), **own}

    def _read_reference(self) -> np.ndarray:
        """(C or 1, F) in uV^2/Hz."""
        freqs = np.fft.rfftfreq(self.filter_length, 1 / self.sfreq)
        if self.reference == "1/f":
            shape = 1.0 / np.maximum(freqs, 1.0)
            # a one-sided density holds the lowest and the highest frequency once, all others twice
            shape[[0, -1]] /= 2
            return (REFERENCE_UV**2 * shape / (shape.sum() * freqs[1]))[None]
        if not isinstance(self.reference, dict) or {"ch_names", "sfreq", "filter_length", "psd"} - set(self.reference):
            raise ValueError(
                f"reference must be '1/f' or what monge_reference returns (ch_names, sfreq, filter_length, psd); got "
                f"{self.reference if isinstance(self.reference, str) else sorted(self.reference)!r}."
            )
        for name in ("sfreq", "filter_length"):
            if self.reference[name] != getattr(self, name):
                raise ValueError(
                    f"the reference was measured with {name}={self.reference[name]:g}, here it is "
                    f"{getattr(self, name):g}: measure it again, or take its {name}."
                )
        known = list(self.reference["ch_names"])
        psd = np.asarray(self.reference["psd"], dtype=np.float64)
        if psd.shape != (len(known), len(freqs)) or not (np.isfinite(psd).all() and (psd > 0).all()):
            raise ValueError(
                f"the reference's psd must be ({len(known)}, {len(freqs)}) positive numbers: {psd.shape}."
            )
        if self.ch_names is None:
            raise ValueError("a measured reference has channels of its own: give ch_names, those of the windows.")
        lacking = [name for name in self.ch_names if name not in known]
        if lacking:
            raise ValueError(f"the reference has no spectrum of {', '.join(lacking)}; it knows {', '.join(known)}.")
        return psd[[known.index(name) for name in self.ch_names]]

    def _statistics(self, values: np.ndarray) -> dict[str, np.ndarray]:
        if values.shape[-1] < self.filter_length:
            raise ValueError(
                f"windows of {values.shape[-1]} samples are shorter than filter_length={self.filter_length}: choose a "
                "shorter filter, or longer windows."
            )
        # imported where it is used: half a second and 80 MB
        from scipy import signal

        _, psd = signal.welch(values, self.sfreq, nperseg=self.filter_length, axis=-1)
        return {"psd": psd, "square": (values**2).mean(axis=-1)}

    def psd(self) -> np.ndarray:
        """Return the subject's PSD (C, filter_length / 2 + 1) in uV^2/Hz, as Welch's method has it."""
        if not self.n_windows:
            raise ValueError("the alignment has seen no window yet: fit it on the subject's unlabelled windows first.")
        return self._means["psd"].copy()

    def _make_map(self) -> np.ndarray:
        """(1, C, filter_length + 1) taps."""
        psd, reference = self._means["psd"], self._reference_psd
        power = psd[:, 1:].sum(axis=-1, keepdims=True)
        self._refuse_flat((power * self.sfreq / self.filter_length)[:, 0] <= _FLAT * self._means["square"])
        overall = np.sqrt(reference[:, 1:].sum(axis=-1, keepdims=True) / power)
        # a bin without any power gets the greatest gain allowed, of nothing
        wanted = np.sqrt(reference / np.maximum(psd, np.finfo(np.float64).tiny))
        gain = overall * np.clip(wanted / overall, 1 / self.max_gain, self.max_gain)
        gain[:, 0] = gain[:, 1]
        taps = np.fft.fftshift(np.fft.irfft(gain, self.filter_length, axis=-1), axes=-1)
        # the tap at minus half a length is shared by both ends: halved between them the filter is symmetric
        taps = np.concatenate([taps, taps[:, :1]], axis=-1)
        taps[:, [0, -1]] /= 2
        return taps[None]

    def _apply(self, values: np.ndarray) -> np.ndarray:
        half = self.filter_length // 2
        if values.shape[-1] <= half:
            raise ValueError(
                f"windows of {values.shape[-1]} samples are too short for a filter of {2 * half} samples."
            )
        from scipy import signal

        padded = np.pad(values, [(0, 0), (0, 0), (half, half)], mode="reflect", reflect_type="odd")
        return signal.oaconvolve(padded, self._map, mode="valid", axes=-1)

    def _arrays(self) -> dict[str, np.ndarray]:
        return {"taps": self._map[0]}


class EuclideanMongeAlignment(Alignment):
    """Euclidean alignment first, Monge mapping of what it gives second: channels' covariance and spectra are alike.

    Both maps follow from running statistics of the windows as they come in: their covariance, and Welch's cospectra
    (the real part of the cross-spectral densities), from which the spectra of any mixture of channels follow exactly.
    So the statistics are the same in whatever portions the windows come, as for the single methods.

    Args:
        sfreq, filter_length, max_gain: As in `MongeAlignment`, whose reference is "1/f" here: mixed channels have no
            names that a measured one could go by.
        shrinkage: As in `EuclideanAlignment`.
        half_life, ch_names: As in `Alignment`.
    """

    method = "euclidean_monge"

    def __init__(
        self,
        *,
        sfreq: float = 200.0,
        filter_length: int = 256,
        max_gain: float = 10.0,
        shrinkage: float = 0.001,
        **common: Any,
    ) -> None:
        super().__init__(**common)
        self._space = EuclideanAlignment(shrinkage=shrinkage, ch_names=self.ch_names)
        self._time = MongeAlignment(
            sfreq=sfreq, filter_length=filter_length, max_gain=max_gain, ch_names=self.ch_names
        )
        self.n_taps = self._time.n_taps

    def settings(self) -> dict[str, Any]:
        time = {name: getattr(self._time, name) for name in ("sfreq", "filter_length", "max_gain")}
        return {**super().settings(), **time, "shrinkage": self._space.shrinkage}

    def _statistics(self, values: np.ndarray) -> dict[str, np.ndarray]:
        length = self._time.filter_length
        if values.shape[-1] < length:
            raise ValueError(
                f"windows of {values.shape[-1]} samples are shorter than filter_length={length}: choose a shorter "
                "filter, or longer windows."
            )
        return {**self._space._statistics(values), "cospectrum": cospectra(values, self._time.sfreq, length)}

    def _make_map(self) -> tuple[np.ndarray, np.ndarray]:
        covariance = self._means["covariance"]
        self._space._means = {"covariance": covariance}
        self._space.n_windows = self._time.n_windows = self.n_windows
        mixing = self._space._make_map()
        spectra = np.einsum("ci,cj,ijf->cf", mixing, mixing, self._means["cospectrum"], optimize=True)
        self._time._means = {
            "psd": np.maximum(spectra, 0.0),
            "square": np.einsum("ci,cj,ij->c", mixing, mixing, covariance),
        }
        self._space._map, self._time._map = mixing, self._time._make_map()
        return self._space._map, self._time._map

    def _apply(self, values: np.ndarray) -> np.ndarray:
        return self._time._apply(self._space._apply(values))

    def _arrays(self) -> dict[str, np.ndarray]:
        return {**self._space._arrays(), **self._time._arrays()}


def cospectra(values: np.ndarray, sfreq: float, length: int) -> np.ndarray:
    """Welch's cospectra: the real part of what `scipy.signal.csd` gives for every pair of channels.

    Args:
        values: (N, C, T).
        sfreq: Sampling rate in hertz.
        length: Samples of a segment, even; segments overlap by half, Hann window, their means taken out.

    Returns:
        (N, C, C, length / 2 + 1), the square of the input's unit per hertz.
    """
    # periodic, as Welch's method takes it
    window = np.hanning(length + 1)[:-1]
    segments = np.lib.stride_tricks.sliding_window_view(values, length, axis=-1)[..., :: length // 2, :]
    bins = np.fft.rfft((segments - segments.mean(-1, keepdims=True)) * window)  # (N, C, segments, F)
    bins = np.moveaxis(bins, -1, 1)  # (N, F, C, segments)
    real = bins.real @ bins.real.swapaxes(-1, -2) + bins.imag @ bins.imag.swapaxes(-1, -2)
    real[:, 1 : (length + 1) // 2] *= 2
    return np.moveaxis(real, 1, -1) / (segments.shape[-2] * sfreq * (window**2).sum())


__all__ = [
    "REFERENCE_UV",
    "Alignment",
    "EuclideanAlignment",
    "EuclideanMongeAlignment",
    "MongeAlignment",
    "ZScoreAlignment",
    "cospectra",
]
