# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Labels from annotations, event files, tables and file names, and what is said about bad ones."""

import logging

import mne
import numpy as np
import pytest
from data_recordings import SFREQ, make_raw, save_raw

from dlink_hf.data.build import build_dataset
from dlink_hf.data.description import build_report
from dlink_hf.data.labels import AnnotationLabels, EventLabels, PathLabels, TableLabels
from dlink_hf.preprocessing.feature_extraction_eeg import EEGFeatureExtractor


@pytest.fixture
def rows(tmp_path):
    """Builds, and returns (label, onset, recording, subject) of every window."""

    def call(source, labels, **options):
        extractor = EEGFeatureExtractor(sfreq=SFREQ, n_times=400)
        dataset = build_dataset(source, extractor, labels, cache_dir=tmp_path / "cache", progress=False, **options)
        columns = dataset.with_format(None).remove_columns("input_values")[:]
        names = [dataset.features["labels"].names[label] for label in columns["labels"]]
        call.report = build_report(dataset)
        return list(zip(names, columns["onset"], columns["recording"], columns["subject"], strict=True))

    return call


def test_annotation_start_and_duration(rows):
    raw = make_raw(((0.0, 0.0, "T1"), (4.0, 0.0, "T2")))
    found = rows(raw, AnnotationLabels({"T1": "left", "T2": "right"}, start=0.5, duration=2.0))
    assert [row[:2] for row in found] == [("left", 0.5), ("right", 4.5)]
    with pytest.raises(ValueError, match="can't hold a window"):
        rows(raw, AnnotationLabels({"T1": "left", "T2": "right"}))


def test_mapping_may_join_annotations(rows):
    raw = make_raw(((0.0, 4.0, "rest"), (4.0, 4.0, "T1"), (8.0, 4.0, "T2")))
    found = rows(raw, AnnotationLabels({"rest": "rest", "T1": "move", "T2": "move"}))
    assert [row[0] for row in found] == ["rest"] * 2 + ["move"] * 4


@pytest.mark.parametrize("first_sample", [0, 777])
def test_mne_event_file(rows, tmp_path, first_sample):
    raw = make_raw(annotations=())
    raw = mne.io.RawArray(raw.get_data(), raw.info, first_samp=first_sample, verbose="ERROR")
    (tmp_path / "in").mkdir()
    raw.save(tmp_path / "in" / "a_raw.fif", fmt="double", verbose="ERROR")
    events = np.array([[first_sample + start, 0, code] for start, code in [(200, 1), (1000, 4), (1600, 1)]])
    mne.write_events(tmp_path / "in" / "a-eve.fif", events, verbose="ERROR")
    found = rows(tmp_path / "in", EventLabels({1: "rest", 4: "flicker"}, duration=2.0))
    assert [row[:2] for row in found] == [("rest", 1.0), ("flicker", 5.0), ("rest", 8.0)]
    with pytest.raises(ValueError, match="how long a trial lasts"):
        rows(tmp_path / "in", EventLabels({1: "rest", 4: "flicker"}))
    with pytest.raises(ValueError, match=r"'4' \(1 times\)"):
        rows(tmp_path / "in", EventLabels({1: "rest", 2: "other"}, duration=2.0))


def test_event_table(rows, tmp_path):
    path = save_raw(tmp_path, "a_eeg.fif", annotations=())
    (tmp_path / "a_events.tsv").write_text("onset\tduration\ttrial_type\n0.5\t4\tx\n6\t2.5\ty\n")
    found = rows([path], EventLabels(suffix="events.tsv"))
    assert [row[:2] for row in found] == [("x", 0.5), ("x", 2.5), ("y", 6.0)]
    (tmp_path / "a_events.tsv").write_text("onset\tduration\n0.5\t4\n")
    with pytest.raises(ValueError, match="lacks the column trial_type"):
        rows([path], EventLabels(suffix="events.tsv"))
    (tmp_path / "a_events.tsv").write_text("onset\tduration\ttrial_type\n0.5\tn/a\tx\n")
    with pytest.raises(ValueError, match="line 2: duration is 'n/a'"):
        rows([path], EventLabels(suffix="events.tsv"))


def test_event_file_that_is_not_there(rows, tmp_path):
    path = save_raw(tmp_path, "a_raw.fif")
    with pytest.raises(FileNotFoundError, match="a-eve.fif"):
        rows([path], EventLabels({1: "x"}, duration=2.0))
    with pytest.raises(ValueError, match="set_annotations"):
        rows(make_raw(), EventLabels({1: "x"}, duration=2.0))


def test_table(rows, tmp_path, caplog):
    for name in ("a", "b", "c"):
        save_raw(tmp_path / "in", f"{name}_raw.fif", subject=None, annotations=())
    table = tmp_path / "labels.csv"
    table.write_text(
        "recording,onset,duration,label,subject\n"
        "a_raw.fif,0,4,calm,anna\na,6,2,calm,anna\nb_raw,1,3,tense,ben\nb_raw,5,,calm,ben\nc_raw,,,tense,carl\nz,0,1,calm,zoe\n"
    )
    with pytest.raises(ValueError, match="no row for the recording 'c_raw.fif'"):
        rows(tmp_path / "in", TableLabels(_write(table, table.read_text().replace("c_raw", "d_raw"))))
    table.write_text(table.read_text().replace("d_raw", "c_raw"))
    with caplog.at_level(logging.WARNING):
        found = rows(tmp_path / "in", TableLabels(table))
    # One recording may be spelled in two ways.
    assert [row[:2] for row in found if row[2] == "a_raw.fif"] == [("calm", onset) for onset in (0.0, 2.0, 6.0)]
    assert [row for row in found if row[3] == "ben"] == [
        ("tense", 1.0, "b_raw.fif", "ben"),
        *[("calm", onset, "b_raw.fif", "ben") for onset in (5.0, 7.0, 9.0)],
    ]
    assert sum(row[3] == "carl" for row in found) == 6
    assert "'z'" in caplog.text


def _write(path, text):
    path.write_text(text)
    return path


def test_table_by_folder_and_missing_rows(rows, tmp_path):
    for subject in ("p1", "p2", "p3"):
        save_raw(tmp_path / "in" / subject, "run_raw.fif", subject=None, annotations=())
    table = _write(tmp_path / "labels.csv", "recording,label\np1/run_raw.fif,x\np2/run_raw,y\n")
    found = rows(tmp_path / "in", TableLabels(table, missing="skip"), subject_pattern=r"(p\d)/")
    assert {(row[0], row[3]) for row in found} == {("x", "p1"), ("y", "p2")}
    assert rows.report["unlabelled_recordings"] == 1
    _write(table, "recording,label\nrun_raw.fif,x\n")
    with pytest.raises(ValueError, match="fits both"):
        rows(tmp_path / "in", TableLabels(table), subject_pattern=r"(p\d)/")


def test_bad_tables(tmp_path):
    for text, message in [
        ("file,label\na,x\n", "lacks the column recording"),
        ("recording;label\na;x\n", "lacks the columns recording, label"),
        ("recording,label\n", "no rows"),
        ("recording,label\na,\n", "line 2"),
    ]:
        with pytest.raises(ValueError, match=message):
            TableLabels(_write(tmp_path / "labels.csv", text))
    with pytest.raises(FileNotFoundError, match="does not exist"):
        TableLabels(tmp_path / "none.csv")
    with pytest.raises(ValueError, match="missing='guess'"):
        TableLabels(tmp_path / "labels.csv", missing="guess")


def test_table_with_a_bad_number_or_two_subjects(rows, tmp_path):
    path = save_raw(tmp_path, "a_raw.fif", annotations=())
    table = _write(tmp_path / "labels.csv", "recording,onset,duration,label\na,zero,4,x\n")
    with pytest.raises(ValueError, match="line 2: onset is 'zero'"):
        rows([path], TableLabels(table))
    _write(table, "recording,label,subject\na,x,anna\na,y,ben\n")
    with pytest.raises(ValueError, match="several subjects"):
        rows([path], TableLabels(table))


def test_changed_table_is_a_new_build(rows, tmp_path):
    paths = [save_raw(tmp_path, f"{name}_raw.fif", annotations=()) for name in "ab"]
    table = _write(tmp_path / "labels.csv", "recording,label\na,x\nb,y\n")
    assert rows(paths, TableLabels(table))[0][0] == "x"
    _write(table, "recording,label\na,y\nb,x\n")
    assert rows(paths, TableLabels(table))[0][0] == "y"


def test_labels_from_paths(rows, tmp_path):
    for name in ("s1_1", "s1_2"):
        save_raw(tmp_path / "in", f"{name}_raw.fif", annotations=())
    found = rows(tmp_path / "in", PathLabels(r"s1_(\d)_raw", {"1": "rest", "2": "task"}))
    assert [row[0] for row in found] == ["rest"] * 6 + ["task"] * 6
    with pytest.raises(ValueError, match="is not found in"):
        rows(tmp_path / "in", PathLabels(r"cond-(?P<label>\w+)"))
    with pytest.raises(ValueError, match=r"'2' \(1 times\)"):
        rows(tmp_path / "in", PathLabels(r"s1_(\d)_raw", {"1": "rest"}))
