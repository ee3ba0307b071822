# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Is one model better than another? Scores by subject, paired bootstrap intervals, and what they allow one to say.

Classes are compared by balanced accuracy, several labels at once by macro F1, numbers by the mean absolute error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ..core.config_checks import MULTI_LABEL, REGRESSION, TOKENS
from ..core.unlabelled import IGNORED


RESAMPLES = 10_000


@dataclass(frozen=True)
class Interval:
    """A mean over subjects and its 95 % interval.

    Args:
        mean: in units of the score (balanced accuracy: 0 to 1), or of a difference of two.
        low, high: percentiles 2.5 and 97.5 over the resamples; NaN of a single subject.
        n_subjects: how many subjects it rests on.
    """

    mean: float
    low: float
    high: float
    n_subjects: int

    def points(self) -> str:
        """Return a difference in points: `+4.4 (+1.0 to +7.9)`."""
        if np.isnan(self.low):
            return f"{100 * self.mean:+.1f} (one subject, no interval)"
        return f"{100 * self.mean:+.1f} ({100 * self.low:+.1f} to {100 * self.high:+.1f})"

    def score(self) -> str:
        """Return a score: `0.812 (0.774 to 0.851)`."""
        if np.isnan(self.low):
            return f"{self.mean:.3f} (one subject, no interval)"
        return f"{self.mean:.3f} ({self.low:.3f} to {self.high:.3f})"

    def to_dict(self) -> dict[str, float]:
        """As JSON values."""
        return asdict(self)


def subject_scores(
    labels: Sequence[int] | np.ndarray, probabilities: np.ndarray, subjects: Sequence[Any]
) -> dict[str, float]:
    """Return the balanced accuracy of every subject.

    Args:
        labels: (N,) class indices.
        probabilities: (N, num_labels).
        subjects: (N,) whose windows they are.

    Returns:
        subject -> mean recall over the classes that the subject has. Subjects of one class only are left out: their
        recall is not a balanced accuracy.
    """
    labels, predicted, subjects = np.asarray(labels), np.asarray(probabilities).argmax(1), np.asarray(subjects)
    found = {}
    for subject in np.unique(subjects):
        rows = subjects == subject
        classes = np.unique(labels[rows])
        if len(classes) > 1:
            recalls = [(predicted[rows & (labels == label)] == label).mean() for label in classes]
            found[str(subject)] = float(np.mean(recalls))
    return found


def subject_kappas(
    labels: Sequence[Any] | np.ndarray, probabilities: np.ndarray, subjects: Sequence[Any]
) -> dict[str, float]:
    """Return Cohen's kappa (1960) of every subject over all places that have a label.

    Args:
        labels: (N, S) class indices, -100 where a place has none; or of places in a row, (M,).
        probabilities: (N, S, num_labels), or (M, num_labels).
        subjects: (N,) or (M,), whose stretches or places they are.

    Returns:
        subject -> kappa; subjects of whom it is not defined, as only one label occurs and is told, are left out.
    """
    labels, told = np.asarray(labels), np.asarray(probabilities).argmax(-1)
    owners = np.asarray([str(subject) for subject in subjects])
    if labels.ndim == 2:
        owners = np.repeat(owners, labels.shape[1])
    labels, told, found = labels.ravel(), told.ravel(), {}
    for subject in np.unique(owners):
        rows = (owners == subject) & (labels != IGNORED)
        true, said = labels[rows], told[rows]
        if not len(true):
            continue
        by_chance = sum((true == one).mean() * (said == one).mean() for one in np.union1d(true, said))
        if by_chance < 1:
            found[str(subject)] = float(((true == said).mean() - by_chance) / (1 - by_chance))
    return found


@dataclass(frozen=True)
class Measure:
    """What models are compared by, subject by subject.

    Args:
        name: of the score, a key of what `scores_for` gives.
        title: the same in words.
        is_error: whether less of it is better.
        scales: (L,) of numbers: what the error of each target is divided by; None for errors in the target's unit.
    """

    name: str = "balanced_accuracy"
    title: str = "balanced accuracy"
    is_error: bool = False
    scales: Sequence[float] | None = None

    @property
    def of_classes(self) -> bool:
        """Whether it is that of one class a window."""
        return self.name == "balanced_accuracy"

    @property
    def of_places(self) -> bool:
        """Whether it is that of a label for every place of a stretch."""
        return self.name == "cohen_kappa"

    def by_subject(
        self, labels: Sequence[Any] | np.ndarray, predictions: np.ndarray, subjects: Sequence[Any]
    ) -> dict[str, float]:
        """Return the score of every subject; those of whom it is not defined are left out.

        Args:
            labels: (N,) class indices, or (N, L) zeros and ones or numbers.
            predictions: (N, num_labels) probabilities, or numbers.
            subjects: (N,) whose windows they are.
        """
        if self.of_classes:
            return subject_scores(labels, predictions, subjects)
        if self.of_places:
            return subject_kappas(labels, predictions, subjects)
        names = np.asarray([str(subject) for subject in subjects])
        labels, predictions = np.asarray(labels, dtype=float), np.asarray(predictions, dtype=float)
        labels = labels.reshape(predictions.shape)
        if self.name == "macro_f1":
            from .metrics.eeg_multi_label import multi_label_scores

            rows = multi_label_scores(labels, predictions, subjects=names.tolist())["per_subject"]
            return {who: row["macro_f1"] for who, row in rows.items() if np.isfinite(row["macro_f1"])}
        errors = np.abs(predictions - labels) / np.asarray(self.scales or 1.0)
        return {str(who): float(errors[names == who].mean()) for who in np.unique(names)}

    def guessed(
        self, train_labels: np.ndarray, labels: np.ndarray, subjects: Sequence[Any], n_labels: int
    ) -> dict[str, float]:
        """Return what every subject scores by a guess that reads no EEG.

        Of classes that is chance, 1 / `n_labels`, of places a kappa of 0; of several labels to name all of them in
        every window; of numbers the median of the training targets.

        Args:
            train_labels: of the training windows, NaN where there is none.
            labels, subjects: as in `by_subject`.
            n_labels: number of outputs.
        """
        if self.of_classes:
            return dict.fromkeys(map(str, np.unique(np.asarray(subjects))), 1.0 / n_labels)
        if self.of_places:
            return dict.fromkeys(map(str, np.unique(np.asarray(subjects))), 0.0)
        return self.by_subject(labels, np.tile(self.guess(train_labels), (len(labels), 1)), subjects)

    def guess(self, train_labels: np.ndarray) -> np.ndarray:
        """Return what that guess says of every window, (L,), by the labels (N, L) of the training windows."""
        if self.is_error:
            return np.nanmedian(train_labels, axis=0)
        return np.ones(train_labels.shape[1])

    @property
    def guess_name(self) -> str:
        """What that guess is called in tables."""
        named = {"balanced_accuracy": "chance", "cohen_kappa": "chance", "macro_f1": "every label named"}
        return named.get(self.name, "median of the training targets")

    def lead(self, first: Mapping[str, float], second: Mapping[str, float]) -> Interval:
        """Return by how much the first is better than the second, over the subjects that both have."""
        return paired_difference(second, first) if self.is_error else paired_difference(first, second)

    def score(self, found: Interval) -> str:
        """Return a score with its interval, in words of the measure's own precision."""
        if not self.is_error:
            return found.score()
        if np.isnan(found.low):
            return f"{found.mean:.3g} (one subject, no interval)"
        return f"{found.mean:.3g} ({found.low:.3g} to {found.high:.3g})"

    def value(self, mean: float) -> str:
        """Return a single score as text."""
        return f"{mean:.3g}" if self.is_error else f"{mean:.3f}"

    def amount(self, lead: Interval) -> str:
        """Say a lead: `+4.4 (+1.0 to +7.9) points of macro F1`, `a mean absolute error smaller by 1.2 (0.3 to 2)`."""
        if not self.is_error:
            return _with_points(lead, f" of {self.title}")
        sign = 1.0 if lead.mean >= 0 else -1.0
        text = f"a {self.title} {'smaller' if sign > 0 else 'larger'} by {abs(lead.mean):.3g}"
        if np.isnan(lead.low):
            return f"{text} (one subject, no interval)"
        low, high = sorted((sign * lead.low, sign * lead.high))
        return f"{text} ({low:.3g} to {high:.3g})"

    def share(self, lead: Interval, reference: float) -> float:
        """Return a lead as a share: of 1 for scores between 0 and 1, of a reference for errors."""
        return lead.mean / reference if self.is_error and reference > 0 else lead.mean

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)


BALANCED_ACCURACY = Measure()


def measure_for(problem_type: str | None, target_std: Sequence[float] | None = None) -> Measure:
    """Return what models of a problem type are compared by.

    Args:
        problem_type: as transformers names it, or `"token_classification"`; None is one label a window.
        target_std: of a regression, standard deviations of the training targets. Several targets have units of their
            own, so their errors are counted in these; the error of a single one is in its unit.
    """
    if problem_type == MULTI_LABEL:
        return Measure("macro_f1", "macro F1")
    if problem_type == TOKENS:
        return Measure("cohen_kappa", "Cohen's kappa")
    if problem_type != REGRESSION:
        return BALANCED_ACCURACY
    if target_std is None or len(target_std) == 1:
        return Measure("mae", "mean absolute error", is_error=True)
    title = "mean absolute error (standardised)"
    return Measure("mae", title, is_error=True, scales=[float(scale) for scale in target_std])


def _with_points(lead: Interval, of: str = "") -> str:
    """A lead in points: `+4.4 (+1.0 to +7.9) points`."""
    return f"{lead.points()} points{of}"


def interval(values: Sequence[float] | np.ndarray, seed: int = 0) -> Interval:
    """Return the mean over subjects with its bootstrap interval (percentiles; Efron and Tibshirani, 1993).

    Args:
        values: (subjects,), or (subjects, seeds): then both are drawn with replacement.
        seed: of the resampling.

    Raises:
        ValueError: there are no values, or some are not finite.
    """
    values = np.asarray(values, dtype=float)
    values = values[:, None] if values.ndim == 1 else values
    if values.ndim != 2 or not values.size or not np.isfinite(values).all():
        raise ValueError(f"An interval needs finite scores of at least one subject, got an array of {values.shape}.")
    n_subjects, n_seeds = values.shape
    if n_subjects == 1:
        return Interval(float(values.mean()), float("nan"), float("nan"), 1)
    rng = np.random.default_rng(seed)
    rows = rng.integers(n_subjects, size=(RESAMPLES, n_subjects))
    columns = rng.integers(n_seeds, size=(RESAMPLES, n_seeds))
    means = values[rows[:, :, None], columns[:, None, :]].mean((1, 2))
    low, high = np.percentile(means, [2.5, 97.5])
    return Interval(float(values.mean()), float(low), float(high), n_subjects)


def paired_difference(first: Mapping[str, float], second: Mapping[str, float], seed: int = 0) -> Interval:
    """First less second, over the subjects that both have, with its interval.

    Args:
        first, second: subject -> score, of [`subject_scores`].
        seed: of the resampling.

    Raises:
        ValueError: they have no subject in common.
    """
    common = sorted(set(first) & set(second))
    if not common:
        raise ValueError("The two models have no scored subject in common: nothing can be compared.")
    return interval([first[subject] - second[subject] for subject in common], seed)


def teacher_verdict(
    teacher: Mapping[str, float],
    band_power: Mapping[str, float] | None,
    n_labels: int,
    measure: Measure = BALANCED_ACCURACY,
    guessed: Mapping[str, float] | None = None,
) -> dict[str, Any]:
    """Does a teacher know anything worth distilling?

    Args:
        teacher, band_power: subject -> score on validation subjects; band power may be missing.
        n_labels: number of classes, for chance.
        measure: what the scores are.
        guessed: subject -> what a guess scores, of [`Measure.guessed`]; chance by default.

    Returns:
        `teacher`, `chance` and, where given, `band_power`, `above_band_power` (intervals as dicts); `is_above_chance`;
        `text`, one or two sentences; `advice`, what to do, empty where nothing needs to be done.
    """
    guessed = dict.fromkeys(teacher, 1.0 / n_labels) if guessed is None else guessed
    chance = float(np.mean([guessed[subject] for subject in teacher]))
    own = interval(list(teacher.values()))
    above = measure.lead(teacher, guessed)
    is_above = above.low > 0 if above.n_subjects > 1 else above.mean > 0
    who = f"on {_count(own.n_subjects)} of the validation split ({measure.guess_name} {measure.value(chance)})"
    linear_name = "band power with a logistic regression"
    if measure.is_error:
        text, linear_name = f"The teacher has a {measure.title} of {measure.score(own)} {who}", "ridge on band power"
    else:
        scored = "scores" if measure.of_classes else f"has a {measure.title} of"
        text = f"The teacher {scored} {measure.score(own)} {who}"
    found = {"teacher": own.to_dict(), "chance": chance, "is_above_chance": bool(is_above)}
    advice = ""
    if band_power:
        linear, difference = interval(list(band_power.values())), measure.lead(teacher, band_power)
        found |= {"band_power": linear.to_dict(), "above_band_power": difference.to_dict()}
        text += f", {linear_name} {measure.value(linear.mean)}"
        if is_above and difference.mean < 0:
            advice = (
                "Band power does better than this teacher. Distil from an expert as well (--experts bandpower), train "
                "the teacher for longer, or start it from pre-trained weights (--teacher_checkpoint)."
            )
    text += "."
    if not is_above:
        align = "align the subjects (--alignment euclidean), " if measure.of_classes else ""
        advice = (
            f"That can't be told from {'chance' if measure.of_classes else 'a guess'}: this teacher has "
            "nothing to teach. Check the labels and the channels, give it more subjects or more steps "
            f"(--teacher_steps), {align}or start it from pre-trained weights (--teacher_checkpoint)."
        )
    return {**found, "text": text, "advice": advice}


def distillation_verdict(
    student: Mapping[str, Mapping[str, float]],
    alone: Mapping[str, Mapping[str, float]],
    teacher: Mapping[str, Mapping[str, float]],
    n_labels: int,
    measure: Measure = BALANCED_ACCURACY,
    guessed: Mapping[str, Mapping[str, float]] | None = None,
) -> dict[str, Any]:
    """Did the distillation help?

    Args:
        student: split (`validation`, `test`) -> subject -> score of the distilled student.
        alone: the same of the control, the student alone, at its best budget.
        teacher: the same of the teacher, on its own view of the windows.
        n_labels: number of classes.
        measure: what the scores are.
        guessed: split -> subject -> what a guess scores; chance by default.

    Returns:
        `split` on which it is judged (test where there is one); `difference` (interval as a dict), by how much the
        distilled student is better, also where less is better; `better_on_validation` (`"distilled"` or `"alone"`),
        the one to use; `helped` (True, False, or None where it can't be told); `text`, one sentence or two; and
        `advice`, what to try next.
    """
    split = "test" if "test" in student else "validation"
    difference = measure.lead(student[split], alone[split])
    chosen_by = "validation" if "validation" in student else split
    mean = {name: interval(list(scores[chosen_by].values())).mean for name, scores in (("d", student), ("a", alone))}
    is_better = mean["d"] <= mean["a"] if measure.is_error else mean["d"] >= mean["a"]
    better = "distilled" if is_better else "alone"
    helped = None if np.isnan(difference.low) or difference.low <= 0 <= difference.high else difference.mean > 0
    where = f"on {_count(difference.n_subjects)} of the {split} split"
    told = f"{measure.amount(difference)} {where}, against the student alone"
    if helped is None:
        text = f"Whether distillation helped can't be told: {told}."
    else:
        text = f"Distillation {'helped' if helped else 'did harm'}: {told}."
    first, second = ("d", "a") if better == "distilled" else ("a", "d")
    if mean["d"] == mean["a"]:
        text += f" On the {chosen_by} subjects both score {measure.value(mean['d'])}: use either."
    else:
        scores = f"{measure.value(mean[first])} against {measure.value(mean[second])}"
        text += f" On the {chosen_by} subjects the {_NAMES[better]} does better ({scores}): use that one."
    guess = dict.fromkeys(student[split], 1.0 / n_labels) if guessed is None else guessed[split]
    return {
        "split": split,
        "difference": difference.to_dict(),
        "better_on_validation": better,
        "helped": helped,
        "text": text,
        "advice": _what_next(helped, student[split], alone[split], teacher.get(split, {}), guess, measure),
    }


_NAMES = {"distilled": "distilled student", "alone": "student alone"}


def _what_next(
    helped: bool | None,
    student: Mapping[str, float],
    alone: Mapping[str, float],
    teacher: Mapping[str, float],
    guessed: Mapping[str, float],
    measure: Measure,
) -> str:
    if helped:
        return ""
    guess = float(np.mean(list(guessed.values())))
    if max(measure.share(measure.lead(one, guessed), guess) for one in (alone, student)) < 0.05:
        align = "the alignment of subjects (--alignment euclidean), " if measure.of_classes else ""
        return (
            f"Both students are near {'chance' if measure.of_classes else 'a guess'}. More labelled subjects help "
            f"most; then {align}longer windows, and a look at the labels: does band power find them?"
        )
    if teacher and set(teacher) & set(alone):
        over = measure.lead(teacher, alone)
        by = _with_points(over) if measure.of_classes else measure.amount(over)
        if measure.share(over, float(np.mean(list(alone.values())))) < 0.02:
            told = f"only {over.points()} points better" if over.mean > 0 else f"no better ({over.points()} points)"
            if not measure.of_classes:
                told = f"hardly better ({by})" if over.mean > 0 else f"no better ({by})"
            return (
                f"The teacher is {told} than the student alone: it knows no more, so there is little to teach. "
                "What has paid is a teacher of other subjects (--teacher FOLDER), best with unlabelled recordings of "
                "more subjects (--unlabelled FOLDER); else try better pre-trained weights (--teacher_checkpoint)."
            )
        told = f"{by} better" if measure.of_classes else f"better ({by})"
        return (
            f"The teacher is {told} than the student alone, so there is something to teach: "
            "try unlabelled recordings of more subjects (--unlabelled FOLDER), or more test subjects, for a small "
            "gain to show."
        )
    return "Try a teacher of other subjects (--teacher FOLDER), or better pre-trained weights (--teacher_checkpoint)."


def _count(number: int) -> str:
    return f"{number} subject{'s' if number != 1 else ''}"


__all__ = [
    "BALANCED_ACCURACY",
    "RESAMPLES",
    "Interval",
    "Measure",
    "distillation_verdict",
    "interval",
    "measure_for",
    "paired_difference",
    "subject_kappas",
    "subject_scores",
    "teacher_verdict",
]
