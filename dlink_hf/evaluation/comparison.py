# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Is one model better than another? Scores by subject, paired bootstrap intervals, and what they allow one to say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np


RESAMPLES = 10_000


@dataclass(frozen=True)
class Interval:
    """A mean over subjects and its 95 % interval.

    Args:
        mean: in units of balanced accuracy, 0 to 1, or of a difference of two.
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
    teacher: Mapping[str, float], band_power: Mapping[str, float] | None, n_labels: int
) -> dict[str, Any]:
    """Does a teacher know anything worth distilling?

    Args:
        teacher, band_power: subject -> balanced accuracy on validation subjects; band power may be missing.
        n_labels: number of classes, for chance.

    Returns:
        `teacher`, `chance` and, where given, `band_power`, `above_band_power` (intervals as dicts); `is_above_chance`;
        `text`, one or two sentences; `advice`, what to do, empty where nothing needs to be done.
    """
    chance = 1.0 / n_labels
    own = interval(list(teacher.values()))
    above = paired_difference(teacher, dict.fromkeys(teacher, chance))
    is_above = above.low > 0 if above.n_subjects > 1 else above.mean > 0
    text = (
        f"The teacher scores {own.score()} on {_count(own.n_subjects)} of the validation split (chance {chance:.3f})"
    )
    found: dict[str, Any] = {"teacher": own.to_dict(), "chance": chance, "is_above_chance": bool(is_above)}
    advice = ""
    if band_power:
        linear, difference = interval(list(band_power.values())), paired_difference(teacher, band_power)
        found |= {"band_power": linear.to_dict(), "above_band_power": difference.to_dict()}
        text += f", band power with a logistic regression {linear.mean:.3f}"
        if is_above and difference.mean < 0:
            advice = (
                "Band power does better than this teacher. Distil from an expert as well (--experts bandpower), train "
                "the teacher for longer, or start it from pre-trained weights (--teacher_checkpoint)."
            )
    text += "."
    if not is_above:
        advice = (
            "That can't be told from chance: this teacher has nothing to teach. Check the labels and the channels, "
            "give it more subjects or more steps (--teacher_steps), align the subjects (--alignment euclidean), or "
            "start it from pre-trained weights (--teacher_checkpoint)."
        )
    return {**found, "text": text, "advice": advice}


def distillation_verdict(
    student: Mapping[str, Mapping[str, float]],
    alone: Mapping[str, Mapping[str, float]],
    teacher: Mapping[str, Mapping[str, float]],
    n_labels: int,
) -> dict[str, Any]:
    """Did the distillation help?

    Args:
        student: split (`validation`, `test`) -> subject -> balanced accuracy of the distilled student.
        alone: the same of the control, the student alone, at its best budget.
        teacher: the same of the teacher, on its own view of the windows.
        n_labels: number of classes.

    Returns:
        `split` on which it is judged (test where there is one); `difference` (interval as a dict);
        `better_on_validation` (`"distilled"` or `"alone"`), the one to use; `helped` (True, False, or None where it
        can't be told); `text`, one sentence or two; and `advice`, what to try next.
    """
    split = "test" if "test" in student else "validation"
    difference = paired_difference(student[split], alone[split])
    chosen_by = "validation" if "validation" in student else split
    mean = {name: interval(list(scores[chosen_by].values())).mean for name, scores in (("d", student), ("a", alone))}
    better = "distilled" if mean["d"] >= mean["a"] else "alone"
    helped = None if np.isnan(difference.low) or difference.low <= 0 <= difference.high else difference.mean > 0
    where = f"on {_count(difference.n_subjects)} of the {split} split"
    told = f"{difference.points()} points of balanced accuracy {where}, against the student alone"
    if helped is None:
        text = f"Whether distillation helped can't be told: {told}."
    else:
        text = f"Distillation {'helped' if helped else 'did harm'}: {told}."
    first, second = ("d", "a") if better == "distilled" else ("a", "d")
    if mean["d"] == mean["a"]:
        text += f" On the {chosen_by} subjects both score {mean['d']:.3f}: use either."
    else:
        scores = f"{mean[first]:.3f} against {mean[second]:.3f}"
        text += f" On the {chosen_by} subjects the {_NAMES[better]} does better ({scores}): use that one."
    return {
        "split": split,
        "difference": difference.to_dict(),
        "better_on_validation": better,
        "helped": helped,
        "text": text,
        "advice": _what_next(helped, student[split], alone[split], teacher.get(split, {}), n_labels),
    }


_NAMES = {"distilled": "distilled student", "alone": "student alone"}


def _what_next(
    helped: bool | None,
    student: Mapping[str, float],
    alone: Mapping[str, float],
    teacher: Mapping[str, float],
    n_labels: int,
) -> str:
    chance = 1.0 / n_labels
    above_chance = interval([score - chance for score in alone.values()])
    if helped:
        return ""
    if max(above_chance.mean, interval([s - chance for s in student.values()]).mean) < 0.05:
        return (
            "Both students are near chance. More labelled subjects help most; then the alignment of subjects "
            "(--alignment euclidean), longer windows, and a look at the labels: does band power find them?"
        )
    if teacher and set(teacher) & set(alone):
        over = paired_difference(teacher, alone)
        if over.mean < 0.02:
            told = f"only {over.points()} points better" if over.mean > 0 else f"no better ({over.points()} points)"
            return (
                f"The teacher is {told} than the student alone: it knows no more, so there is little to teach. A "
                "teacher helps where it sees or knows more: a student of fewer electrodes "
                "(--student_ch_names) or shorter windows (--student_window_seconds), unlabelled recordings "
                "(--unlabelled FOLDER), several teachers (--teachers 3), or better pre-trained weights."
            )
        return (
            f"The teacher is {over.points()} points better than the student alone, so there is something to teach: "
            "try unlabelled recordings (--unlabelled FOLDER), several teachers (--teachers 3), or more test subjects, "
            "for a small gain to show."
        )
    return "Try unlabelled recordings (--unlabelled FOLDER) or several teachers (--teachers 3)."


def _count(number: int) -> str:
    return f"{number} subject{'s' if number != 1 else ''}"


__all__ = [
    "RESAMPLES",
    "Interval",
    "distillation_verdict",
    "interval",
    "paired_difference",
    "subject_scores",
    "teacher_verdict",
]
