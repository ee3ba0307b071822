# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Unsupervised alignment of a subject: statistics of a subject's unlabelled windows bring subjects onto common ground.

Four methods with one interface: z-scores of each channel, Euclidean alignment of the channels' covariance, Monge
mapping of each channel's spectrum, and the last two one after the other. What a method is fitted on is the
whole of a subject's session: fitted on a file or block that holds only one class, it would see the label. Scores with
alignment use the test subject's unlabelled data and are to be reported apart from those without.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..core.checks import one_of
from .alignment_methods import (
    REFERENCE_UV,
    Alignment,
    EuclideanAlignment,
    EuclideanMongeAlignment,
    MongeAlignment,
    ZScoreAlignment,
)
from .artefacts import clean_windows, window_peaks


# Less than this of a subject's session says too little of it.
MIN_SECONDS = 30.0
# The running median of a session is that of so many windows.
_MEDIAN_OF = 1000


class AlignmentSession:
    """A subject's session while it is going on: windows come in, statistics follow, aligned windows go out.

    Artefacts stay out of the statistics, by the rule of whole sessions (`dlink_hf.preprocessing.artefacts`): the first
    windows are compared with each other until enough are clean, each later one with those before it.

    Args:
        alignment: One that has seen nothing yet, or the state of an earlier part of the session.
        min_windows: Clean windows (that do not overlap) before the first can be aligned.
        reject_uv: Windows with a sample beyond this, in microvolts, are artefacts; None judges by the median alone.

    Attributes:
        alignment: The running statistics; an `alignment_state` of the feature extractor at any time.
        n_left_out: Windows that were left out of them, once enough were seen.
    """

    def __init__(self, alignment: Alignment, min_windows: int, reject_uv: float | None = None) -> None:
        self.alignment = alignment
        self.min_windows = int(min_windows)
        self.reject_uv = reject_uv
        self.n_left_out = 0
        self._peaks: list[float] = []
        # judged again with every window until there are enough
        self._first: list[np.ndarray] | None = None if alignment.n_windows else []

    @property
    def n_windows(self) -> int:
        """Clean windows seen so far."""
        return self.alignment.n_windows

    @property
    def is_ready(self) -> bool:
        """Whether enough windows were seen to align by."""
        return self.n_windows >= self.min_windows

    def update(self, windows: Any) -> AlignmentSession:
        """Add the clean of windows (N, C, T) in microvolts, not aligned; raises as `Alignment.fit` does."""
        for window in self.alignment._check(windows):
            self._add(window[None])
        return self

    def _add(self, window: np.ndarray) -> None:
        peak = float(window_peaks(window)[0])
        if self.reject_uv is not None and peak > self.reject_uv:
            self.n_left_out += 1
            return
        self._peaks = [*self._peaks[-(_MEDIAN_OF - 1) :], peak]
        clean = clean_windows(np.array(self._peaks))
        if self._first is None:
            if clean[-1]:
                self.alignment.partial_fit(window)
            else:
                self.n_left_out += 1
            return
        self._first.append(window)
        chosen = [first for first, is_clean in zip(self._first, clean[-len(self._first) :], strict=True) if is_clean]
        self.alignment.fit(np.concatenate(chosen))
        if self.is_ready or len(self._first) == _MEDIAN_OF:
            self.n_left_out += len(self._first) - len(chosen)
            self._first = None

    def transform(self, windows: Any) -> np.ndarray:
        """Return the windows (N, C, T) aligned by all that was seen so far; float32.

        Raises:
            ValueError: If fewer than `min_windows` were seen; otherwise as `Alignment.transform` does.
        """
        if not self.is_ready:
            raise ValueError(
                f"the session has seen {self.n_windows} windows, an alignment needs {self.min_windows}: update() with "
                "the subject's first windows, and transform() once is_ready."
            )
        return self.alignment.transform(windows)


_METHODS = {cls.method: cls for cls in (ZScoreAlignment, EuclideanAlignment, MongeAlignment, EuclideanMongeAlignment)}
ALIGNMENTS = tuple(_METHODS)


def make_alignment(
    method: str,
    *,
    sfreq: float = 200.0,
    ch_names: Sequence[str] | None = None,
    reference: str | Mapping[str, Any] | None = None,
    half_life: float | None = None,
) -> Alignment:
    """Return an alignment that has seen nothing yet.

    Args:
        method: "zscore", "euclidean", "monge" or "euclidean_monge".
        sfreq: Sampling rate of the windows in hertz.
        ch_names: Their C channels.
        reference: For "monge" as in `MongeAlignment`; None takes "1/f". The others have none.
        half_life: As in `Alignment`.

    Returns:
        The alignment.

    Raises:
        ValueError: If the method is unknown, or has no reference and is given one.
    """
    one_of("alignment", method, ALIGNMENTS)
    if method == "monge":
        own = {} if reference is None else {"reference": reference}
        # a measured reference says by which filter it was measured
        if isinstance(reference, Mapping) and "filter_length" in reference:
            own["filter_length"] = reference["filter_length"]
        return MongeAlignment(sfreq=sfreq, half_life=half_life, ch_names=ch_names, **own)
    if reference is not None:
        raise ValueError(f"the alignment {method!r} has no reference spectrum: that is for 'monge'.")
    own = {"sfreq": sfreq} if method == "euclidean_monge" else {}
    return _METHODS[method](half_life=half_life, ch_names=ch_names, **own)


def alignment_from_dict(state: Mapping[str, Any]) -> Alignment:
    """Return the alignment whose `to_dict()` this is.

    Raises:
        ValueError: If it is of no known method, or incomplete.
    """
    if not isinstance(state, Mapping) or state.get("method") not in _METHODS:
        raise ValueError(f"this is not the state of an alignment: a mapping with a method of {', '.join(ALIGNMENTS)}.")
    return _METHODS[state["method"]].from_dict(state)


def alignment_facts(method: str, reference: str | Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return what must be alike of the windows a model was trained on and those that it reads: method and reference.

    Args:
        method: "zscore", "euclidean" or "monge".
        reference: Of "monge".

    Returns:
        `method` and `reference`, a measured one by the hash of its numbers; JSON values.
    """
    if method == "monge":
        reference = reference or "1/f"
    if isinstance(reference, Mapping):
        text = json.dumps(reference, sort_keys=True)
        reference = f"sha256:{hashlib.sha256(text.encode()).hexdigest()[:16]}"
    return {"method": method, "reference": reference}


__all__ = [
    "ALIGNMENTS",
    "MIN_SECONDS",
    "REFERENCE_UV",
    "Alignment",
    "AlignmentSession",
    "EuclideanAlignment",
    "EuclideanMongeAlignment",
    "MongeAlignment",
    "ZScoreAlignment",
    "alignment_facts",
    "alignment_from_dict",
    "make_alignment",
]
