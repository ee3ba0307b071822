# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Start a teacher's head from a logistic regression on what the frozen backbone says."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence

import numpy as np
import torch
from datasets import Dataset
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.preprocessing import StandardScaler
from torch.utils.data import DataLoader
from tqdm.auto import tqdm

from ..data.collator import EEGDataCollator
from ..data.missing_labels import EVALUATED_WITHOUT_LABEL, check_all_labelled, labelled_rows, labels_of
from ..data.model_contract import check_training_windows
from ..models.teacher.modeling_teacher import DLinkTeacherForEEGClassification


logger = logging.getLogger(__name__)

STRENGTHS = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)


@torch.no_grad()
def pooled_features(model: DLinkTeacherForEEGClassification, dataset: Dataset, batch_size: int = 64) -> np.ndarray:
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
    model: DLinkTeacherForEEGClassification,
    train: Dataset,
    validation: Dataset | None = None,
    strengths: Sequence[float] = STRENGTHS,
    batch_size: int = 64,
) -> dict[float, float]:
    """Set the last layer of a teacher's head to a logistic regression on the frozen backbone's features.

    Features are standardised on the training windows, classes count alike (`class_weight="balanced"`), and of the
    strengths the one with the least cross-entropy on the validation subjects is taken. The standardisation is folded
    into the layer's weights, so that the teacher is an ordinary one. Fine-tuning from here rather than from a random
    head changes a pre-trained backbone less, and holds better on other subjects (Kumar et al. 2022, arXiv 2202.10054).

    Args:
        model: a teacher whose head has `head_size=None`: its last layer reads the pooled tokens themselves.
        train: windows to fit on.
        validation: windows of other subjects, to choose the strength by; without them the first of `strengths` is
            taken.
        strengths: inverse regularisations C, as in scikit-learn.
        batch_size: windows a forward pass.

    Returns:
        strength -> cross-entropy on the validation subjects, classes counting alike; empty without them.

    Raises:
        ValueError: the head has layers of its own before the last one, or the labels are not the model's.
    """
    if model.head is None or model.config.head_size is not None:
        raise ValueError(
            "A probe needs a head that is one linear layer on the pooled tokens: make the teacher with head_size=None."
        )
    if not strengths or min(strengths) <= 0:
        raise ValueError(f"`strengths` must be positive numbers, got {list(strengths)}.")
    for split in (train, validation):
        if split is not None:
            check_training_windows(model, split)
    if validation is not None:
        check_all_labelled(validation, "validation", EVALUATED_WITHOUT_LABEL)
    train = labelled_rows(train)
    labels = labels_of(train)
    missing = sorted(set(range(model.config.num_labels)) - set(labels.tolist()))
    if missing:
        raise ValueError(f"The training windows hold none of class {missing}; a probe needs every class.")
    scaler = StandardScaler()
    features = scaler.fit_transform(pooled_features(model, train, batch_size).astype(np.float64))
    others = weights = None
    if validation is not None:
        others = scaler.transform(pooled_features(model, validation, batch_size).astype(np.float64))
        targets = np.asarray(validation["labels"][:])
        weights = 1.0 / np.bincount(targets, minlength=model.config.num_labels)[targets]
    losses: dict[float, float] = {}
    best: LogisticRegression | None = None
    for strength in tqdm(strengths, desc="probe", unit="strength", leave=False, delay=2):
        regression = LogisticRegression(C=strength, class_weight="balanced", max_iter=500)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            regression.fit(features, labels)
        if others is None:
            best = regression
            break
        probabilities = regression.predict_proba(others)
        losses[strength] = float(
            log_loss(targets, probabilities, sample_weight=weights, labels=np.arange(model.config.num_labels))
        )
        if losses[strength] == min(losses.values()):
            best = regression
    weight, bias = best.coef_ / scaler.scale_, best.intercept_ - best.coef_ @ (scaler.mean_ / scaler.scale_)
    if len(weight) == 1:
        # two classes: scikit-learn has one logit, that of the second over the first
        weight, bias = np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
    layer = model.head.classifier
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(weight))
        layer.bias.copy_(torch.from_numpy(bias))
    logger.info("probe: C=%g of %s", best.C, losses)
    return losses


__all__ = ["STRENGTHS", "fit_probe", "pooled_features"]
