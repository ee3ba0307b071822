# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""An exported student compared with the PyTorch model that it was made of."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ..core.config_checks import MULTI_LABEL, REGRESSION, SINGLE_LABEL
from ..core.electrodes import channel_positions
from ..core.requires import require
from ..core.unlabelled import IGNORED
from ..models.mic.modeling_mic import MiCWithHead
from ..models.mic.token_classification import MiCForEEGTokenClassification
from .exported_student import Runner, check_montage


NOISE_UV = 20.0
# a head that tells nothing apart must not turn rounding into a refusal
MIN_SPREAD = 0.1
# an export for any montage is compared on these channels too, with one patch more than the student's window
OTHER_MONTAGE = ("Fz", "C3", "Cz", "C4", "Oz")


@torch.no_grad()
def compare(
    student: MiCWithHead | MiCForEEGTokenClassification,
    backend: str,
    run: Runner,
    windows: np.ndarray,
    labels: np.ndarray | None,
    any_montage: bool,
) -> dict[str, Any]:
    """Return the differences of a runtime's logits from PyTorch's.

    Args:
        student: on the CPU, in float32 and evaluation mode.
        backend: name of the runtime.
        run: the exported student.
        windows: (N, C, T) float32, microvolts.
        labels: (N,), or (N, S) of a student of patches, -100 where there is none; None without labels.
        any_montage: also compare on another montage.

    Returns:
        what deploy.json says of the comparison.
    """

    def places(batch: np.ndarray, given: np.ndarray | None = None) -> np.ndarray | None:
        return check_montage(batch, given, student.config) if any_montage else None

    # one window, then batches
    edges = [0, *range(1, len(windows), 64), len(windows)]
    batches = [windows[first:last] for first, last in zip(edges, edges[1:], strict=False) if last > first]
    expected = np.concatenate([student(torch.from_numpy(batch)).logits.numpy() for batch in batches])
    found = np.concatenate([run(batch, places(batch)) for batch in batches])
    difference = float(np.abs(found - expected).max())
    other: dict[str, Any] = {}
    if any_montage:
        shape = (3, len(OTHER_MONTAGE), student.config.n_times + student.config.patch_size)
        noise = np.random.default_rng(1).standard_normal(shape, dtype=np.float32) * np.float32(NOISE_UV)
        # each window with places of its own, a millimetre apart
        positions = places(noise, np.array(channel_positions(OTHER_MONTAGE)) + 1e-3 * np.arange(3)[:, None, None])
        apart = run(noise, positions) - student(torch.from_numpy(noise), torch.from_numpy(positions)).logits.numpy()
        other = {
            "ch_names": list(OTHER_MONTAGE),
            "n_times": shape[2],
            "largest_difference": float(np.abs(apart).max()),
        }
        difference = max(difference, other["largest_difference"])
    spread = max(float(np.ptp(expected)), MIN_SPREAD)
    result: dict[str, Any] = {
        "largest_difference": difference,
        "relative_difference": difference / spread,
        "same_labels": _share_of_same(student.config.problem_type, found, expected),
    }
    if other:
        result["other_montage"] = other
    if labels is not None and student.config.problem_type in (None, SINGLE_LABEL):
        score = require("sklearn.metrics", "Comparing balanced accuracies").balanced_accuracy_score
        known = labels != IGNORED
        if not known.any():
            return result
        before, after = (float(score(labels[known], logits.argmax(-1)[known])) for logits in (expected, found))
        result["balanced_accuracy"] = {"pytorch": before, backend: after, "change": after - before}
    return result


def _share_of_same(problem_type: str | None, found: np.ndarray, expected: np.ndarray) -> float:
    """Share of windows (or places) that both sets of outputs (N, L) or (N, S, L) say the same of; of numbers all."""
    if problem_type == REGRESSION:
        return 1.0
    if problem_type == MULTI_LABEL:
        return float(((found > 0) == (expected > 0)).all(1).mean())
    return float((found.argmax(-1) == expected.argmax(-1)).mean())


__all__ = ["NOISE_UV", "compare"]
