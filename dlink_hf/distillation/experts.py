# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Experts: models of several kinds that give probabilities, or numbers, for windows of subjects they have not seen.

A student learns from these in addition to, or instead of, a teacher's layers ([`DLinkTrainer`] and the column
`soft_targets`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import datasets
import numpy as np
import torch
from torch.nn import functional as F
from tqdm.auto import tqdm

from ..core.config_checks import REGRESSION, SINGLE_LABEL
from ..data.description import signal_fields
from ..data.missing_labels import EVALUATED_WITHOUT_LABEL, check_all_labelled, is_labelled, labelled_rows, labels_of
from ..data.targets import settle_target_scale
from ..evaluation.comparison import Measure, measure_for
from ..evaluation.predict import predict_outputs
from ..models.mic.configuration_mic import MiCConfig
from ..models.mic.modeling_mic import MiCWithHead, student_class
from ..models.task_losses import head_loss
from ..training.augmentation import EEGAugmentation
from ..training.base_trainer import class_weights_of
from ..training.linear_experts import MEASURES, fit_linear
from ..training.linear_models import check_every_class, problem_of
from ..training.recipe import BATCH_SIZE, LABEL_SMOOTHING, LEARNING_RATE, WARMUP, WEIGHT_DECAY, default_steps
from .mixtures import mixture_weights_for
from .soft_targets import Predict, add_soft_targets, fold_shares, person_folds
from .teacher_windows import Augment, augmented


logger = logging.getLogger(__name__)

EXPERTS = ("student", *MEASURES)
# windows that are read, and that an expert is asked about, at a time
_PORTION = 256

# a kind by name, or a function that fits a model of one's own on labelled windows
Kind = str | Callable[[datasets.Dataset], Predict]


class StudentExpert:
    """A trained student, called with a dataset it gives probabilities, or numbers (N, num_labels).

    Args:
        model: the student.
    """

    reads_views = True

    def __init__(self, model: MiCWithHead):
        self.model = model

    def __call__(self, dataset: datasets.Dataset) -> np.ndarray:
        """(N, num_labels) probabilities, or numbers."""
        return predict_outputs(self.model, dataset)

    def of_windows(self, windows: np.ndarray) -> np.ndarray:
        """(N, num_labels) probabilities, or numbers, of windows (N, C, T) in microvolts."""
        return predict_outputs(self.model, windows)


def fit_student(
    train: datasets.Dataset,
    seed: int = 0,
    steps: int | None = None,
    augmentation: EEGAugmentation | None = None,
    size: str = "small",
    progress: bool = True,
) -> StudentExpert:
    """Train a student of the usual design on labelled windows, and keep its last weights.

    A loop of its own rather than a `Trainer`: nothing is written, watched or resumed.

    Args:
        train: windows; those without a label are left out.
        seed: of weights, order and dropout.
        steps: optimizer steps; the recipe's by default.
        augmentation: changes to the windows of each step.
        size: of the student, as [`MiCConfig.from_size`] takes it.
        progress: whether to show a progress bar.

    Raises:
        ValueError: a class is absent.
    """
    train = labelled_rows(train)
    check_every_class(train, "The expert 'student'")
    steps = default_steps(len(train)) if steps is None else steps
    labels, problem_type = torch.from_numpy(labels_of(train)), problem_of(train)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    # the caller's random numbers go on as if nothing had happened
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        config = MiCConfig.from_size(size, **signal_fields(train))
        model = student_class(problem_type)(config).to(device).train()
        settle_target_scale(model, train)
        weights = None if problem_type == REGRESSION else class_weights_of(model, train).to(device)
        optimiser = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
        warmup = max(1.0, WARMUP * steps)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimiser, lambda step: min(1.0, (step + 1) / warmup) * 0.5 * (1 + np.cos(np.pi * min(1.0, step / steps)))
        )
        windows = train.select_columns(["input_values"]).with_format("torch")
        bar = tqdm(_batches(len(train), steps, seed), "student", steps, False, unit="step", disable=not progress)
        for step, rows in enumerate(bar):
            batch = windows[rows.tolist()]["input_values"].float()
            if augmentation is not None:
                batch = augmentation(batch, step)
            logits = model(batch.to(device)).logits.float()
            wanted = labels[rows].to(device)
            if problem_type == SINGLE_LABEL:
                loss = F.cross_entropy(logits, wanted, weights, label_smoothing=LABEL_SMOOTHING)
            else:
                loss = head_loss(config, logits, wanted, weights)
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            schedule.step()
    return StudentExpert(model.eval())


def _batches(n_windows: int, steps: int, seed: int) -> Iterator[np.ndarray]:
    """Rows of each step: every epoch in another order, in parts as even as can be of at most a batch."""
    generator, left = np.random.default_rng(seed), steps
    while left > 0:
        for rows in np.array_split(generator.permutation(n_windows), -(-n_windows // BATCH_SIZE))[:left]:
            left -= 1
            yield rows


def fit_expert(
    kind: Kind,
    train: datasets.Dataset,
    validation: datasets.Dataset | None = None,
    seed: int = 0,
    steps: int | None = None,
    augmentation: EEGAugmentation | None = None,
    *,
    group_column: str = "subject",
    size: str = "small",
    progress: bool = True,
) -> Predict:
    """Fit an expert on the labelled windows.

    | kind | what it is |
    |---|---|
    | `student` | a student of the usual design on these windows, which may be a fuller view than the student has |
    | `bandpower` | logistic regression on log band power; of numbers, ridge regression |
    | `riemann` | the same in the tangent space of the channels' covariances; needs pyriemann |

    Args:
        kind: one of these; or a function that takes labelled windows and returns a `predict(dataset)`.
        train: windows; those without a label (-1) are left out.
        validation: labelled windows of other subjects, by which `bandpower` and `riemann` choose their settings.
        seed, steps, augmentation, size, progress: of the `student`, see [`fit_student`].
        group_column: column that tells subjects apart.

    Returns:
        `predict(dataset)` -> (N, num_labels) probabilities, or numbers.

    Raises:
        ImportError: the kind needs pyriemann, which is absent.
        ValueError: the kind is unknown, or a class is absent.
    """
    if callable(kind):
        return kind(labelled_rows(train))
    if kind == "student":
        return fit_student(train, seed, steps, augmentation, size, progress)
    if kind in MEASURES:
        return fit_linear(kind, train, validation, group_column)
    raise ValueError(f"Experts are {', '.join(map(repr, EXPERTS))}, or a function; got {kind!r}.")


@dataclass
class ExpertEnsemble:
    """Experts, cross-fitted by subjects, and what each has to say in their mixture.

    Args:
        names: of the M experts.
        weights: (M,) of sum 1.
        models: for each expert the models of the F folds.
        folds: the subjects of each fold; its models have not seen them. One empty fold: models of all subjects.
        group_column: column that tells subjects apart.
        measure: what they are compared by.
        scores: expert -> mean over subjects of that measure, on subjects it has not seen.
    """

    names: list[str]
    weights: np.ndarray
    models: list[list[Predict]]
    folds: list[set[Any]]
    group_column: str = "subject"
    measure: Measure = field(default_factory=Measure)
    scores: dict[str, float] = field(default_factory=dict)

    def __call__(self, dataset: datasets.Dataset) -> np.ndarray:
        """(N, num_labels) probabilities, or numbers, of windows of subjects no model has seen: validation and test."""
        return np.einsum("m,mnk->nk", self.weights, self._by_expert(dataset))

    def _by_expert(self, dataset: datasets.Dataset) -> np.ndarray:
        """(M, N, num_labels), the mean of each expert's folds."""
        return np.stack([np.mean([model(dataset) for model in models], axis=0) for models in self.models])

    def soft_targets(
        self,
        dataset: datasets.Dataset,
        n_views: int = 1,
        augmentation: Augment | None = None,
        progress: bool = True,
    ) -> datasets.Dataset:
        """Add the column `soft_targets`: of each subject, what the models say that have not seen that subject.

        Of subjects without any labelled window all models are asked, and their mean is taken.

        With several views the experts that are networks are asked about every augmented view that the student will
        see, which is worth more than what they say of the window as it is. Linear experts are asked about the window
        only, and say the same of all its views: a channel that an augmentation silences is far from all they know.

        Args:
            dataset: the training windows, the rows in the order in which they are trained on.
            n_views: views of each window, `augmented_views` of [`DLinkTrainingArguments`]; view 0 is the window.
            augmentation: the one that the trainer is given: it draws the same numbers for the same view and row.
            progress: whether to show a progress bar.

        Returns:
            the dataset with `soft_targets`, (num_labels,) a window, or (n_views, num_labels) of several views.

        Raises:
            ValueError: several views are asked for without an augmentation.
        """
        check_views(n_views, augmentation)
        groups = np.asarray(dataset[self.group_column][:])
        shares = fold_shares(groups, self.folds)
        found: np.ndarray | None = None
        total = len(self.models) * int((shares > 0).sum())
        with tqdm(total=total, desc="asking experts", unit="window", disable=not progress, delay=2) as bar:
            for weight, models in zip(self.weights, self.models, strict=True):
                for share, model in zip(shares, models, strict=True):
                    rows = np.flatnonzero(share)
                    for start in range(0, len(rows), _PORTION):
                        part = rows[start : start + _PORTION]
                        said = _ask(model, dataset, part, n_views, augmentation)
                        if found is None:
                            found = np.zeros((len(dataset), *said.shape[1:]), dtype=np.float64)
                        found[part] += weight * share[part, None, None] * said
                        bar.update(len(part))
        assert found is not None
        return add_soft_targets(dataset, found[:, 0] if n_views == 1 else found)


def check_views(n_views: int, augmentation: Augment | None) -> None:
    """Refuse views that nothing makes.

    Raises:
        ValueError: `n_views` is less than 1, or more than 1 without an augmentation.
    """
    if n_views < 1 or (n_views > 1 and augmentation is None):
        raise ValueError(
            f"`n_views={n_views}` needs the augmentation that makes the views, and is 1 or more. Give the trainer's, "
            "or ask about the windows as they are (`n_views=1`)."
        )


def _ask(
    model: Any, dataset: datasets.Dataset, rows: np.ndarray, n_views: int, augmentation: Augment | None
) -> np.ndarray:
    """(N, n_views, num_labels): what a model says of the views of some rows."""
    chosen = dataset.select(rows)
    if n_views == 1 or not getattr(model, "reads_views", False):
        return np.repeat(np.asarray(model(chosen))[:, None], n_views, axis=1)
    windows = chosen.select_columns(["input_values"]).with_format("torch")[:]["input_values"].float()
    of_views = (augmented(windows, rows.tolist(), view, augmentation) for view in range(n_views))
    return np.stack([model.of_windows(view.numpy()) for view in of_views], axis=1)


def fit_experts(
    kinds: Sequence[Kind],
    train: datasets.Dataset,
    validation: datasets.Dataset | None = None,
    *,
    n_folds: int = 3,
    seeds: Sequence[int] = (0,),
    steps: int | None = None,
    augmentation: EEGAugmentation | None = None,
    group_column: str = "subject",
    size: str = "small",
    progress: bool = True,
) -> ExpertEnsemble:
    """Cross-fit experts on the subjects who have labels, and weigh them.

    They are weighed ([`mixture_weights`]) by what each says of subjects it has not seen: the validation subjects, and
    each training subject by the model fitted without that subject. Linear experts choose their settings within their
    own training subjects where these are several, so the subjects that weigh them are new to them.

    Args:
        kinds: see [`fit_expert`]; a name twice is an error.
        train: windows, labels of -1 where there are none.
        validation: labelled windows of other subjects, which weigh the experts too.
        n_folds: of subjects; as many as subjects who have labels, where these are fewer. 1: no cross-fitting, the
            models are fitted on all subjects who have labels. Of these they say little beyond the labels, of the
            others more than models of a part would: with labels of two or four subjects that was worth 1 to 3 points
            of balanced accuracy (benchmarks/NOTES.md). Validation subjects alone weigh them then.
        seeds: a `student` is trained once a seed; other kinds once.
        steps, augmentation, size, progress: see [`fit_student`].
        group_column: column that tells subjects apart.

    Returns:
        the ensemble; `ensemble.soft_targets(train)` adds the column, `ensemble(validation)` gives probabilities.

    Raises:
        ImportError: a kind needs pyriemann, which is absent.
        ValueError: a kind is unknown or given twice, fewer than two subjects have labels, or a class is absent.
    """
    if validation is not None:
        check_all_labelled(validation, "validation", EVALUATED_WITHOUT_LABEL)
    names, members = _members(kinds, seeds)
    people = set(np.asarray(train[group_column][:])[is_labelled(train)].tolist()) if len(train) else set()
    if len(people) < min(2, n_folds):
        raise ValueError(
            f"{len(people)} {group_column}(s) have labels: an expert is asked about subjects it has not seen, "
            "which takes at least two. Label another one, or distil from a teacher only."
        )
    # a fold of nobody: its models are fitted on everybody
    folds = [set()] if n_folds == 1 else person_folds(train, min(n_folds, len(people)), group_column)
    groups, known = np.asarray(train[group_column][:]), is_labelled(train)
    parts = [train.select(np.flatnonzero(known & ~np.isin(groups, list(fold)))) for fold in folds]
    models: list[list[Predict]] = [[] for _ in members]
    fields: dict[str, Any] = {"steps": steps, "augmentation": augmentation, "group_column": group_column, "size": size}
    with tqdm(total=len(members) * len(folds), desc="experts", unit="model", disable=not progress) as bar:
        for name, (kind, seed), fitted in zip(names, members, models, strict=True):
            bar.set_postfix_str(name)
            for part in parts:
                # a single subject has no folds to choose by
                chosen_by = validation if len(set(part[group_column][:])) < 2 else None
                fitted.append(fit_expert(kind, part, chosen_by, seed, **fields, progress=progress))
                bar.update()
    labelled, problem_type = labelled_rows(train), problem_of(train)
    measure = measure_for(problem_type, labels_of(labelled).std(0) if problem_type == REGRESSION else None)
    equal = np.full(len(names), 1.0 / len(names))
    return _weighed(ExpertEnsemble(names, equal, models, folds, group_column, measure), labelled, validation)


def _weighed(ensemble: ExpertEnsemble, train: datasets.Dataset, validation: datasets.Dataset | None) -> ExpertEnsemble:
    """Set the weights and scores of an ensemble by subjects its models have not seen."""
    parts, watched = [], []
    if any(ensemble.folds):
        parts.append(_out_of_fold(ensemble, train))
        watched.append(train)
    if validation is not None and len(validation):
        parts.append(ensemble._by_expert(validation))
        watched.append(validation)
    if not watched:
        return ensemble
    said = np.concatenate(parts, axis=1)
    labels = np.concatenate([labels_of(dataset) for dataset in watched])
    groups = np.concatenate([np.asarray(dataset[ensemble.group_column][:]) for dataset in watched])
    ensemble.weights = mixture_weights_for(problem_of(train), said, labels, groups)
    for name, weight, one in zip(ensemble.names, ensemble.weights, said, strict=True):
        ensemble.scores[name] = float(np.mean(list(ensemble.measure.by_subject(labels, one, groups).values())))
        logger.info("expert %s: %s %.3f, weight %.2f", name, ensemble.measure.title, ensemble.scores[name], weight)
    return ensemble


def _out_of_fold(ensemble: ExpertEnsemble, train: datasets.Dataset) -> np.ndarray:
    """(M, N, num_labels): what each expert says of the training subjects by the model that has not seen them."""
    shares, said = fold_shares(np.asarray(train[ensemble.group_column][:]), ensemble.folds), []
    for models in ensemble.models:
        found: np.ndarray | None = None
        for share, model in zip(shares, models, strict=True):
            rows = np.flatnonzero(share)
            one = np.asarray(model(train.select(rows)))
            found = np.zeros((len(train), one.shape[1])) if found is None else found
            found[rows] += share[rows, None] * one
        said.append(found)
    return np.stack(said)


def _members(kinds: Sequence[Kind], seeds: Sequence[int]) -> tuple[list[str], list[tuple[Kind, int]]]:
    """Names, and kinds with their seeds, of all experts."""
    kinds = [kinds] if isinstance(kinds, str) or callable(kinds) else list(kinds)
    unknown = [kind for kind in kinds if not callable(kind) and kind not in EXPERTS]
    twice = [kind for kind in kinds if kinds.count(kind) > 1]
    if not kinds or not len(seeds) or unknown or twice:
        problem = f"{unknown[0]!r} is none" if unknown else f"{twice[0]!r} comes twice" if twice else "none is given"
        raise ValueError(f"Experts are {', '.join(map(repr, EXPERTS))}, or functions, each once; {problem}.")
    members = [(kind, seed) for kind in kinds for seed in (seeds if kind == "student" else seeds[:1])]
    names = []
    for kind, seed in members:
        name = getattr(kind, "__name__", type(kind).__name__) if callable(kind) else kind
        names.append(f"{name} {seed}" if kind == "student" and len(seeds) > 1 else name)
    return [f"{name} {i}" if names.count(name) > 1 else name for i, name in enumerate(names)], members


def expert_soft_targets(
    kinds: Sequence[Kind],
    train: datasets.Dataset,
    validation: datasets.Dataset | None = None,
    n_folds: int = 3,
    seeds: Sequence[int] = (0,),
    group_column: str = "subject",
    n_views: int = 1,
    augmentation: EEGAugmentation | None = None,
    **fields: Any,
) -> datasets.Dataset:
    """The training windows with soft targets of experts: [`fit_experts`], then [`ExpertEnsemble.soft_targets`].

    Args:
        kinds, train, validation, n_folds, seeds, group_column: see [`fit_experts`].
        n_views: see [`ExpertEnsemble.soft_targets`].
        augmentation: the `student` experts are trained with it, and asked about the views that it makes.
        **fields: `steps`, `size`, `progress` of [`fit_experts`].

    Returns:
        the dataset with the column `soft_targets`.
    """
    # said now, not after the training of experts
    check_views(n_views, augmentation)
    ensemble = fit_experts(
        kinds,
        train,
        validation,
        n_folds=n_folds,
        seeds=seeds,
        augmentation=augmentation,
        group_column=group_column,
        **fields,
    )
    return ensemble.soft_targets(train, n_views, augmentation, fields.get("progress", True))


__all__ = [
    "EXPERTS",
    "ExpertEnsemble",
    "StudentExpert",
    "expert_soft_targets",
    "fit_expert",
    "fit_experts",
    "fit_student",
]
