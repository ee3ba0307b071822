# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""What the label of one window of a recording rests on, for `dlink explain` and the web demo."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from ..core.electrodes import channel_positions
from ..core.model_facts import required_channels
from ..evaluation.explanation import Explanation, explain_window
from ..preprocessing.alignment import Alignment
from ..preprocessing.recording_windows import RecordingWindows


def recording_windows(
    pipe: Any, recording: Any, unit: str | None = None, stride: int | None = None
) -> RecordingWindows:
    """Prepare a recording as the model reads it; nothing is aligned yet.

    Args:
        pipe: of `dlink_hf.pipeline`.
        recording: path, or an `mne.io.Raw`.
        unit: unit of the file's numbers, if not volts.
        stride: samples from one window to the next; one after the other, without a gap, by default.

    Raises:
        ValueError: the recording can't be used; the message says why.
    """
    extractor = copy.copy(pipe.feature_extractor)
    extractor.stride = stride
    if not pipe.model.takes_positions:
        # a teacher knows its own channels only
        extractor.missing_channels = "error"
        extractor.ch_names = extractor.ch_names or required_channels(pipe.model.config)
    return RecordingWindows(extractor, recording, unit=unit)


def explain_recording_window(
    pipe: Any,
    windows: RecordingWindows,
    index: int,
    alignment: Alignment | None = None,
    n_draws: int = 8,
    session: Sequence[RecordingWindows] = (),
) -> Explanation:
    """Tell which electrodes, seconds and bands of one window its label rests on ([`explain_window`]).

    The windows that take the place of its parts are drawn from all recordings of the session, evenly over each of
    them; those that get no label are left out.

    Args:
        pipe: of `dlink_hf.pipeline`, of PyTorch.
        windows: of the recording, of [`recording_windows`].
        index: of the window.
        alignment: fitted on the session; None for a model without one.
        n_draws: how many other windows take a part's place.
        session: windows of the other recordings of the session, which may hold the other conditions.

    Raises:
        TypeError: the model is exported, or gives numbers.
        ValueError: there is no such window, or no other one to compare it with.
    """
    model = pipe.model
    if not isinstance(model, torch.nn.Module):
        raise TypeError("Explanations ask a model of PyTorch hundreds of times; give the checkpoint, not its export.")
    if not 0 <= index < len(windows):
        raise ValueError(f"There is no window {index}: the recording has {len(windows)}, counted from 0.")
    length = pipe.feature_extractor.n_times / pipe.feature_extractor.sfreq
    # windows that overlap the explained one share its samples
    apart = np.flatnonzero(np.abs(windows.onsets - windows.onsets[index]) >= length - 1e-6)
    candidates = [(windows, apart), *((item, np.arange(len(item))) for item in session)]
    others = np.concatenate([_spread(item, rows, 4 * n_draws) for item, rows in candidates])
    if not len(others):
        raise ValueError(
            "There is no other window of this recording, or none that gets a label, whose parts could take the place "
            "of this one's. Give a longer recording, or others of the session."
        )
    window = windows.cut(index, index + 1)
    if alignment is not None:
        window, others = (
            pipe.feature_extractor.align_windows({"input_values": one, "ch_names": windows.ch_names}, True, alignment)
            for one in (window, others)
        )
    kwargs = {}
    if model.takes_positions:
        positions = np.asarray(channel_positions(windows.ch_names), dtype=np.float32)
        kwargs["channel_positions"] = torch.from_numpy(positions).to(next(model.parameters()).device)
    return explain_window(model, window[0], others, pipe.feature_extractor.sfreq, n_draws=n_draws, **kwargs)


def _spread(windows: RecordingWindows, rows: np.ndarray, most: int) -> np.ndarray:
    """Cut at most so many of these windows, (N, C, T), evenly spread; those that get no label are left out."""
    if not len(rows):
        return windows.cut(0, 1)[:0]
    rows = rows[np.unique(np.linspace(0, len(rows) - 1, min(most, len(rows))).astype(int))]
    values = np.concatenate([windows.cut(row, row + 1) for row in rows])
    judged = [reason is None for reason in windows.unjudged(values, windows.onsets[rows])]
    return values[judged]


__all__ = ["explain_recording_window", "recording_windows"]
