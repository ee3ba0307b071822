# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Splits keep people apart, keep the classes balanced, and refuse to do anything else."""

import logging

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, Features, Value

from dlink_hf.data.splits import check_no_shared_subjects, split_by_column, split_by_subject, subject_kfold


def make_table(subjects_per_label, n_windows=4, runs=2):
    """Rows of subjects; `subjects_per_label` maps subject to the labels of its windows."""
    rows = [
        {"labels": label, "subject": subject, "recording": f"{subject}-run{run}", "row": run}
        for subject, labels in subjects_per_label.items()
        for label in labels
        for run in range(runs)
        for _ in range(n_windows)
    ]
    features = Features(
        labels=ClassLabel(names=["rest", "task"]),
        subject=Value("string"),
        recording=Value("string"),
        row=Value("int32"),
    )
    return Dataset.from_list(rows, features=features)


@pytest.fixture
def table():
    return make_table({f"s{number:02d}": (0, 1) for number in range(20)})


def subjects_of(split, column="subject"):
    return set(split[column])


def test_shares_become_subjects(table):
    splits = split_by_subject(table, validation=0.2, test=0.1, seed=0)
    assert list(splits) == ["train", "validation", "test"]
    sets = [subjects_of(split) for split in splits.values()]
    assert [len(names) for names in sets] == [14, 4, 2] and len(set.union(*sets)) == 20
    assert sum(map(len, splits.values())) == len(table)
    counted = split_by_subject(table, validation=3, test=0)
    assert list(counted) == ["train", "validation"] and len(subjects_of(counted["validation"])) == 3


def test_the_seed_decides(table):
    first, again, other = (
        [sorted(subjects_of(split)) for split in split_by_subject(table, seed=seed).values()] for seed in (1, 1, 2)
    )
    assert first == again and first != other


def test_explicit_subjects(table):
    splits = split_by_subject(table, validation=["s01"], test=["s02", "s03"])
    assert subjects_of(splits["validation"]) == {"s01"} and subjects_of(splits["test"]) == {"s02", "s03"}
    assert len(subjects_of(splits["train"])) == 17
    splits = split_by_subject(table, validation=0, test=["s02"], train=["s05", "s06"])
    assert subjects_of(splits["train"]) == {"s05", "s06"}
    mixed = split_by_subject(table, validation=0.1, test=["s02"])
    assert "s02" not in subjects_of(mixed["train"]) | subjects_of(mixed["validation"])
    with pytest.raises(ValueError, match="does not have: s99"):
        split_by_subject(table, test=["s99"])
    with pytest.raises(ValueError, match="'s01' is asked for in both 'validation' and 'test'"):
        split_by_subject(table, validation=["s01"], test=["s01"])
    with pytest.raises(ValueError, match="give a list"):
        split_by_subject(table, test="s01")


def test_shared_subject_is_refused(table):
    splits = {"train": table.select(range(20)), "test": table.select(range(18, 40))}
    with pytest.raises(ValueError, match="'train' and 'test' share 1 subject: s01"):
        check_no_shared_subjects(splits)
    check_no_shared_subjects(split_by_subject(table))


def test_rare_class_reaches_every_split():
    """Only 6 of 24 subjects have the second class; each split must get some of them."""
    table = make_table({f"s{number:02d}": (0, 1) if number < 6 else (0,) for number in range(24)})
    for seed in range(5):
        for split in split_by_subject(table, validation=0.25, test=0.25, seed=seed).values():
            assert set(split["labels"]) == {0, 1}


def test_one_class_per_subject_is_balanced():
    """Labels that belong to people (patients, controls): shares stay close to the whole's."""
    table = make_table({f"s{number:02d}": (number % 2,) for number in range(40)})
    for fold in subject_kfold(table, 5, seed=3):
        assert 0.3 < np.mean(fold["test"]["labels"]) < 0.7


def test_class_missing_in_training_is_refused():
    table = make_table({"a": (0, 1), "b": (0,), "c": (0,), "d": (0,)})
    with pytest.raises(ValueError, match="no window of the class task"):
        split_by_subject(table, validation=["b"], test=["a"])
    assert split_by_subject(table, validation=["b"], test=["a"], allow_one_class=True)


def test_class_missing_elsewhere_is_warned_of(caplog):
    table = make_table({"a": (0, 1), "b": (0,), "c": (0, 1), "d": (0,)})
    with caplog.at_level(logging.WARNING):
        split_by_subject(table, validation=["b"], test=["c"])
    assert "validation split has no window of task" in caplog.text


def test_one_class_only_is_refused():
    table = make_table(dict.fromkeys("abcdef", (0,)))
    with pytest.raises(ValueError, match="one class only"):
        split_by_subject(table)


def test_too_few_subjects(table):
    pair = make_table({"a": (0, 1), "b": (0, 1)})
    with pytest.raises(ValueError, match="too few"):
        split_by_subject(pair)
    with pytest.raises(ValueError, match=r"share of the subjects in \[0, 1\)"):
        split_by_subject(table, test=1.5)
    with pytest.raises(ValueError, match="no subject is left"):
        split_by_subject(pair, validation=["a"], test=["b"])
    with pytest.raises(ValueError, match="no rows"):
        split_by_subject(table.select([]))


def test_kfold_tests_everybody_once(table):
    folds = list(subject_kfold(table, 5, seed=0))
    tested = [sorted(subjects_of(fold["test"])) for fold in folds]
    assert sorted(sum(tested, [])) == sorted(subjects_of(table)) and {len(names) for names in tested} == {4}
    for fold in folds:
        check_no_shared_subjects(fold)
        assert sum(map(len, fold.values())) == len(table)
        assert len(subjects_of(fold["validation"])) == 3
    again = [sorted(subjects_of(fold["test"])) for fold in subject_kfold(table, 5, seed=0)]
    assert again == tested
    assert list(next(subject_kfold(table, 5, validation=0))) == ["train", "test"]
    assert len(list(subject_kfold(table, 20))) == 20
    with pytest.raises(ValueError, match="n_splits=21"):
        next(subject_kfold(table, 21))


def test_one_subject_is_split_by_run():
    table = make_table({"only": (0, 1)}, runs=4)
    folds = list(subject_kfold(table, 4, validation=1, group_column="recording"))
    assert len(folds) == 4 and all(len(subjects_of(fold["test"], "recording")) == 1 for fold in folds)
    with pytest.raises(ValueError, match="group_column='recording'"):
        next(subject_kfold(table, 4))
    with pytest.raises(ValueError, match="share 1 subject"):
        check_no_shared_subjects(folds[0])
    with pytest.raises(ValueError, match="no column 'run'"):
        next(subject_kfold(table, 4, group_column="run"))


def test_published_split(table):
    names = ["train" if subject < "s14" else "test" for subject in table["subject"]]
    splits = split_by_column(table.add_column("split", names))
    assert list(splits) == ["train", "test"] and "s14" in subjects_of(splits["test"])
    with pytest.raises(ValueError, match="share"):
        split_by_column(table.add_column("split", ["train", "test"] * (len(table) // 2)))
    with pytest.raises(ValueError, match="no column 'split'"):
        split_by_column(table)
