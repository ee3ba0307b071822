# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""The part of the feature extractor that aligns subjects: fitted on a session, in one call, or online."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Self

import numpy as np

from ..core.electrodes import canonical_name
from .alignment import (
    ALIGNMENTS,
    Alignment,
    AlignmentSession,
    alignment_facts,
    alignment_from_dict,
    make_alignment,
)
from .artefacts import clean_windows, window_peaks


logger = logging.getLogger(__name__)


class AlignmentMixin:
    """What `EEGFeatureExtractor` does with its `alignment`, `alignment_reference` and `alignment_min_seconds`."""

    def fit_alignment(self, recordings: Any, **options: Any) -> Alignment:
        """Fit the alignment on a subject's session.

        Windows that annotations mark bad are left out, and so are artefacts; see `dlink_hf.preprocessing.artefacts`.

        Args:
            recordings: All recordings of one subject's session, labelled or not: anything that the call takes.
            **options: `sfreq`, `ch_names`, `unit`, `onsets` and `is_filtered`, as in the call.

        Returns:
            `Alignment`: the `alignment_state` of the call. Its `to_dict()` can be kept as JSON.

        Raises:
            ValueError: Where the extractor has no alignment, the recordings last less than `alignment_min_seconds`, or
                as in the call.
        """
        return self._fit(self._collect(recordings, **options))

    def start_session(self, ch_names: Sequence[str] | None = None, half_life: float | None = None) -> AlignmentSession:
        """Begin a session whose windows come one after the other, as in an online BCI.

        Feed it the extractor's windows with `align=False`: `update(windows)` adds them to the running statistics,
        `transform(windows)` aligns.

        Args:
            ch_names (`Sequence[str]`, *optional*): The channels of the windows; those of the extractor when `None`.
            half_life (`float`, *optional*): Windows after which one counts half; all count alike when `None`.

        Returns:
            `AlignmentSession`, ready after `alignment_min_seconds` of clean windows that do not overlap.

        Raises:
            ValueError: Where the extractor has no alignment, or an argument is out of range.
        """
        names = self.ch_names if ch_names is None else [canonical_name(name) or name for name in ch_names]
        return AlignmentSession(self._new_alignment(names, half_life), self._min_windows, self.reject_uv)

    @property
    def _min_windows(self) -> int:
        """Windows, which do not overlap, that an alignment needs."""
        return int(np.ceil(self.alignment_min_seconds * self.sfreq / self.n_times - 1e-9))

    def without_alignment(self) -> Self:
        """Return the same extractor, but for the alignment."""
        settings = {name: value for name, value in self.to_dict().items() if not name.startswith("alignment")}
        return type(self)(**settings)

    def new_alignment(self) -> Alignment:
        """Return an alignment of the extractor's own channels that has seen nothing yet; see [`fit_alignment`].

        Raises:
            ValueError: Where the extractor has no alignment.
        """
        return self._new_alignment(self.ch_names)

    def _new_alignment(self, names: Sequence[str] | None, half_life: float | None = None) -> Alignment:
        if self.alignment is None:
            raise ValueError(
                f"this extractor aligns nothing: make it with alignment= one of {', '.join(map(repr, ALIGNMENTS))}, "
                "and train the model on windows aligned that way"
            )
        options = {"sfreq": self.sfreq, "ch_names": names, "reference": self.alignment_reference}
        return make_alignment(self.alignment, half_life=half_life, **options)

    def _fit(self, data: Mapping[str, Any]) -> Alignment:
        """The alignment of a subject whose session these windows are."""
        alignment = self._new_alignment(data["ch_names"])
        windows, is_bad = (
            data["input_values"],
            np.asarray(data.get("is_bad", np.zeros(len(data["input_values"]))), bool),
        )
        seconds = _covered(data, ~is_bad, self.n_times / self.sfreq)
        if seconds < self.alignment_min_seconds:
            marked = f" that are not marked bad ({is_bad.sum()} of {len(is_bad)} windows are)" if is_bad.any() else ""
            raise ValueError(
                f"{seconds:g} s of signal{marked} are too few to fit the alignment ({self.alignment}) of a subject "
                f"on, needed are {self.alignment_min_seconds:g} s (alignment_min_seconds): give all recordings of the "
                "subject's session in one list, or what was fitted on them, "
                "alignment_state=extractor.fit_alignment([...])"
            )
        clean = clean_windows(window_peaks(windows), is_bad, self.reject_uv, self._min_windows)
        if not clean.all():
            logger.info("%d of %d windows are left out of the alignment's fit", np.sum(~clean), len(clean))
        return alignment.fit(windows[clean])

    def align_windows(self, data: Mapping[str, Any], align: bool, state: Any) -> np.ndarray:
        """The windows, aligned where that is wanted."""
        if self.alignment is None and state is None:
            return data["input_values"]
        if not align:
            raise ValueError("align=False and an alignment_state contradict each other: leave one of them out")
        expected = self._new_alignment(data["ch_names"])
        if state is None:
            state = self._fit(data)
            _say_once(
                f"the alignment ({self.alignment}) is fitted only on the windows of each call: they should be all of "
                "one subject's session. If they are of one class or block only, give alignment_state=extractor."
                "fit_alignment(all recordings of the session)."
            )
        if not isinstance(state, (Alignment, AlignmentSession)):
            state = alignment_from_dict(state)
        fitted = state.alignment if isinstance(state, AlignmentSession) else state
        for name, wanted in (("method", expected.method), ("ch_names", expected.ch_names)):
            if getattr(fitted, name) not in (wanted, None):
                raise ValueError(
                    f"the alignment_state has {name} {getattr(fitted, name)!r}, needed is {wanted!r}: fit it with "
                    "this extractor on recordings of the same subject and channels"
                )
        if alignment_facts(fitted.method, getattr(fitted, "reference", None)) != self.alignment_facts():
            raise ValueError("the alignment_state was fitted to another reference spectrum than this extractor's")
        return state.transform(data["input_values"])

    def alignment_facts(self) -> dict[str, Any] | None:
        """Method and reference of the alignment, as `alignment_info` has them of a dataset; `None` without one."""
        return None if self.alignment is None else alignment_facts(self.alignment, self.alignment_reference)


@lru_cache
def _say_once(message: str) -> None:
    logger.warning(message)


def _covered(data: Mapping[str, Any], chosen: np.ndarray, duration: float) -> float:
    """Seconds of signal in the chosen windows, of `duration` s, what they share counted once."""
    onsets = np.asarray(data["onset"])
    recordings = np.asarray(data.get("recording_index", np.zeros(len(onsets))))[chosen]
    onsets = onsets[chosen]
    seconds = 0.0
    for recording in np.unique(recordings):
        starts = np.sort(onsets[recordings == recording])
        # prepared windows (onset NaN) are taken not to overlap
        steps = np.nan_to_num(np.diff(starts), nan=duration)
        seconds += duration + np.minimum(steps, duration).sum()
    return float(seconds)


__all__ = ["AlignmentMixin"]
