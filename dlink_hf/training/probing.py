# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Start a teacher's head from a linear model of what the frozen backbone says."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
import torch
from datasets import Dataset
from torch.utils.data import DataLoader
from tqdm.auto import tqdm

from ..data.collator import EEGDataCollator
from ..data.missing_labels import EVALUATED_WITHOUT_LABEL, check_all_labelled, labelled_rows, labels_of
from ..data.model_contract import check_training_windows
from ..data.targets import check_targets, is_single_label, settle_target_scale
from ..models.teacher.modeling_teacher import DLinkTeacherWithHead
from .linear_models import LinearModel


logger = logging.getLogger(__name__)

STRENGTHS = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)


@torch.no_grad()
def pooled_features(model: DLinkTeacherWithHead, dataset: Dataset, batch_size: int = 64) -> np.ndarray:
    """Return what the head's last layer reads of every window: (N, features) float32, without dropout.

    Args:
        model: a teacher with a head.
        dataset: with `input_values` (C, T), microvolts.
        batch_size: windows a forward pass.
    """
    was_training, device = model.training, next(model.parameters()).device
    model.eval()
    batches = DataLoader(dataset.select_columns(["input_values"]), batch_size, collate_fn=EEGDataCollator())
    bar = tqdm(batches, desc="teacher's features", unit="batch", leave=False, delay=2)
    try:
        found = []
        for batch in bar:
            tokens = model.teacher(batch["input_values"].to(device)).last_hidden_state
            found.append(model.head.pool(tokens).float().cpu().numpy())
    finally:
        model.train(was_training)
    return np.concatenate(found)


def fit_probe(
    model: DLinkTeacherWithHead,
    train: Dataset,
    validation: Dataset | None = None,
    strengths: Sequence[float] = STRENGTHS,
    batch_size: int = 64,
) -> dict[float, float]:
    """Set the last layer of a teacher's head to a logistic regression on the frozen backbone's features.

    Features are standardised on the training windows, classes count alike (`class_weight="balanced"`), and of the
    strengths the one with the least cross-entropy on the validation subjects is taken. Of several labels at once there
    is one regression for each; of numbers it is ridge regression, judged by its squared error. The standardisation is
    folded into the layer's weights, so that the teacher is an ordinary one. Fine-tuning from here rather than from a
    random head changes a pre-trained backbone less, and holds better on other subjects (Kumar et al. 2022, arXiv
    2202.10054).

    Args:
        model: a teacher whose head has `head_size=None`: its last layer reads the pooled tokens themselves.
        train: windows to fit on.
        validation: windows of other subjects, to choose the strength by; without them the first of `strengths` is
            taken.
        strengths: inverse regularisations C, as in scikit-learn; ridge regression takes 1 / C.
        batch_size: windows a forward pass.

    Returns:
        strength -> cross-entropy on the validation subjects, classes counting alike, or squared error in standard
        deviations of the targets; empty without them.

    Raises:
        ValueError: the head has layers of its own before the last one, or the labels are not the model's.
    """
    if model.head is None or model.config.head_size is not None:
        raise ValueError(
            "A probe needs a head that is one linear layer on the pooled tokens: make the teacher with head_size=None."
        )
    if not strengths or min(strengths) <= 0:
        raise ValueError(f"`strengths` must be positive numbers, got {list(strengths)}.")
    for name, split in (("train", train), ("validation", validation)):
        if split is not None:
            check_training_windows(model, split)
            if not is_single_label(model):
                check_targets(model, split, name)
    if validation is not None and is_single_label(model):
        check_all_labelled(validation, "validation", EVALUATED_WITHOUT_LABEL)
    train = labelled_rows(train)
    labels = labels_of(train)
    if is_single_label(model):
        missing = sorted(set(range(model.config.num_labels)) - set(labels.tolist()))
        if missing:
            raise ValueError(f"The training windows hold none of class {missing}; a probe needs every class.")
    settle_target_scale(model, train)
    features = pooled_features(model, train, batch_size).astype(np.float64)
    others = targets = None
    if validation is not None:
        others = pooled_features(model, validation, batch_size).astype(np.float64)
        targets = labels_of(validation)
    losses: dict[float, float] = {}
    best: LinearModel | None = None
    for strength in tqdm(strengths, desc="probe", unit="strength", leave=False, delay=2):
        regression = LinearModel(model.config.problem_type, strength, max_iter=500).fit(features, labels)
        if others is None:
            best = regression
            break
        losses[strength] = regression.loss(others, targets)
        if losses[strength] == min(losses.values()):
            best = regression
    assert best is not None
    weight, bias = best.layer()
    layer = model.head.classifier
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(weight))
        layer.bias.copy_(torch.from_numpy(bias))
    logger.info("probe: C=%g of %s", best.strength, losses)
    return losses


__all__ = ["STRENGTHS", "fit_probe", "pooled_features"]
