# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Labels as people's files have them: markers, hypnograms, encodings, broken tables. One test a kind of fault."""

import logging
from pathlib import Path

import mne
import numpy as np
import pytest
from data_recordings import SFREQ, make_raw, save_raw

from dlink_hf.data.build import build_dataset
from dlink_hf.data.labels import AnnotationLabels, EventLabels, TableLabels
from dlink_hf.preprocessing.feature_extraction_eeg import EEGFeatureExtractor
from dlink_hf.preprocessing.recordings import find_recordings, read_recording


@pytest.fixture
def rows(tmp_path):
    """Builds windows of 2 s, and returns (label, onset) of each."""

    def call(source, labels, **options):
        extractor = EEGFeatureExtractor(sfreq=SFREQ, n_times=400)
        dataset = build_dataset(source, extractor, labels, cache_dir=tmp_path / "cache", progress=False, **options)
        names = dataset.features["labels"].names
        columns = dataset.with_format(None).remove_columns("input_values")[:]
        return [(names[label], onset) for label, onset in zip(columns["labels"], columns["onset"], strict=True)]

    return call


# -- markers --------------------------------------------------------------------------------------------------------


def test_markers_without_a_length_say_what_to_give(rows):
    raw = make_raw(((0.0, 0.0, "S 1"), (6.0, 0.0, "S 2")))
    with pytest.raises(ValueError, match="markers.*--trial_duration 5.*--trial_start.*tmin and tmax"):
        rows(raw, AnnotationLabels())
    expected = [("S 1", 1.0), ("S 2", 7.0)]
    assert rows(raw, AnnotationLabels(start=1.0, duration=2.0)) == expected
    assert rows(raw, AnnotationLabels(tmin=1.0, tmax=3.0)) == expected


@pytest.mark.parametrize("kind", [AnnotationLabels, EventLabels])
def test_tmin_and_tmax_are_another_way_to_say_start_and_duration(kind):
    assert kind(tmin=0.5, tmax=2.5) == kind(start=0.5, duration=2.0)
    assert kind(tmax=2.0) == kind(duration=2.0)
    with pytest.raises(ValueError, match="not some of each"):
        kind(start=0.5, tmax=2.0)
    with pytest.raises(ValueError, match="more than 0 s"):
        kind(tmin=2.0, tmax=1.0)


def test_a_trial_that_begins_before_the_recording(rows):
    raw = make_raw(((0.5, 0.0, "S 1"), (6.0, 0.0, "S 2")))
    labels = AnnotationLabels(tmin=-1.0, tmax=1.0)
    with pytest.raises(ValueError, match="'S 1' from -0.5 s.*begins before the recording's first sample"):
        rows(raw, labels)
    assert rows(raw, labels, short="skip", allow_one_class=True) == [("S 2", 5.0)]


def test_events_beside_the_recording(rows, tmp_path):
    path = save_raw(tmp_path, "a_raw.fif", annotations=())
    events = np.array([[200, 0, 1], [1200, 0, 2]])
    for name in ("a-eve.fif", "a_raw-eve.fif", "a_eve.fif", "a_eve.txt"):
        mne.write_events(tmp_path / name, events, overwrite=True, verbose="ERROR")
        assert rows(path, EventLabels({1: "rest", 2: "task"}, duration=2.0)) == [("rest", 1.0), ("task", 6.0)], name
        (tmp_path / name).unlink()
    (tmp_path / "a_events.tsv").write_text("onset\tduration\ttrial_type\n1\t2\trest\n6\t2\ttask\n")
    assert rows(path, EventLabels()) == [("rest", 1.0), ("task", 6.0)]


@pytest.mark.parametrize("content", [b"", b"hello", bytes(range(256)) * 8])
@pytest.mark.parametrize("name", ["a-eve.fif", "a_eve.txt"])
def test_a_broken_event_file_is_named(tmp_path, name, content):
    path = save_raw(tmp_path, "a_raw.fif", annotations=())
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=f"event file {name} could not be read"):
        EventLabels(duration=2.0).segments(read_recording(path), "a_raw.fif", path)


# -- hypnograms -----------------------------------------------------------------------------------------------------


def write_hypnogram(path: Path, stages, encoding: str = "utf-8") -> Path:
    """An EDF+ file of annotations (onset s, duration s, text) and no signal."""
    notes = "".join(f"+{onset:g}\x15{length:g}\x14{text}\x14\0" for onset, length, text in stages)
    content = ("+0\x14\x14\0" + notes).encode(encoding)
    content += b"\0" * (-len(content) % 2)
    header = (
        "0".ljust(8) + "X X X X".ljust(80) + "Startdate X X X X".ljust(80) + "01.01.01" + "00.00.00"
        + "512".ljust(8) + "EDF+C".ljust(44) + "1".ljust(8) + "0".ljust(8) + "1".ljust(4)
        + "EDF Annotations".ljust(16) + " " * 80 + " " * 8 + "-1".ljust(8) + "1".ljust(8) + "-32768".ljust(8)
        + "32767".ljust(8) + " " * 80 + str(len(content) // 2).ljust(8) + " " * 32
    )  # fmt: skip
    path.write_bytes(header.encode() + content)
    return path


STAGES = [(0, 4, "Sleep stage W"), (4, 4, "Sleep stage 1"), (8, 40, "Sleep stage 2")]


@pytest.mark.parametrize(
    ("recording", "hypnogram"),
    [
        ("SC4001E0-PSG.edf", "SC4001EC-Hypnogram.edf"),
        ("ST7011J0-PSG.edf", "ST7011JP-Hypnogram.edf"),
        ("night.edf", "night-annotations.edf"),
    ],
)
def test_a_hypnogram_labels_the_recording_beside_it(rows, tmp_path, recording, hypnogram):
    folder = tmp_path / "nights"
    folder.mkdir()
    raw = make_raw((), duration=12.0)
    mne.export.export_raw(folder / recording, raw, physical_range=(-200, 200), verbose="error")
    write_hypnogram(folder / hypnogram, STAGES)
    assert find_recordings(folder) == [folder / recording]
    names = {"Sleep stage W": "W", "Sleep stage 1": "N1", "Sleep stage 2": "N2"}
    found = rows(folder, AnnotationLabels(names), subject_pattern="(nights)")
    assert found == [("W", 0.0), ("W", 2.0), ("N1", 4.0), ("N1", 6.0), ("N2", 8.0), ("N2", 10.0)]
    # another night's does not
    (folder / hypnogram).rename(folder / ("XX" + hypnogram[2:]))
    with pytest.raises(ValueError, match="no labelled segment"):
        rows(folder, AnnotationLabels(), subject_pattern="(nights)")


def test_a_file_of_annotations_only_says_what_it_is(tmp_path):
    path = write_hypnogram(tmp_path / "SC4001EC-Hypnogram.edf", STAGES)
    with pytest.raises(ValueError, match="'SC4001EC-Hypnogram.edf' holds annotations only.*labels of the recording"):
        read_recording(path)


def test_latin_1_annotations(rows, tmp_path, caplog):
    """A recording's own annotations, and those of a hypnogram."""
    path = tmp_path / "night.edf"
    mne.export.export_raw(path, make_raw((), duration=8.0), physical_range=(-200, 200), verbose="error")
    write_hypnogram(tmp_path / "night-hypnogram.edf", [(0, 4, "müde"), (4, 4, "wach")], encoding="latin-1")
    assert rows(path, AnnotationLabels(), subject_pattern="(night)") == [
        ("müde", 0.0), ("müde", 2.0), ("wach", 4.0), ("wach", 6.0)
    ]  # fmt: skip
    own = tmp_path / "own.edf"
    raw = make_raw(((0.0, 4.0, "m0de"), (4.0, 4.0, "wach")), duration=8.0)
    mne.export.export_raw(own, raw, physical_range=(-200, 200), verbose="error")
    own.write_bytes(own.read_bytes().replace(b"m0de", "müde".encode("latin-1")))
    assert rows(own, AnnotationLabels(), subject_pattern="(own)")[0] == ("müde", 0.0)
    assert "'own.edf': its annotations are not UTF-8" in caplog.text


# -- tables ---------------------------------------------------------------------------------------------------------


TABLE = "recording,label,onset,duration\na_raw.fif,müde,0,4\na_raw.fif,wach,4,4\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1", "cp1252", "utf-16", "utf-16-le", "utf-16-be"])
def test_tables_of_any_common_encoding(rows, tmp_path, encoding, caplog):
    path = save_raw(tmp_path, "a_raw.fif", annotations=())
    (tmp_path / "labels.csv").write_bytes(TABLE.encode(encoding))
    found = rows(path, TableLabels(tmp_path / "labels.csv"))
    assert found == [("müde", 0.0), ("müde", 2.0), ("wach", 4.0), ("wach", 6.0)]
    assert ("labels.csv is not UTF-8; read as cp1252" in caplog.text) == (encoding in ("latin-1", "cp1252"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("recording,label\na,rest\nb,task,extra\n", "line 3: 3 fields, but the header names 2"),
        ("recording,label\na,rest\nb\n", "line 3: 1 fields, so that label is missing"),
        ("recording,label\na," + "x" * 200_000 + "\n", "line 2: this is not a table of text"),
        ('recording,label\na,"rest\n' + "b,task\n" * 30_000, "not a table of text.*double quote"),
        ("recording,label,label\na,rest,task\n", "names the columns label more than once"),
        ("", "is empty"),
        ("\n\n", "is empty"),
        ("recording,label,onset\na_raw.fif,rest,-3\n", "line 2: onset is -3 s, before the recording's first sample"),
    ],
)
def test_broken_tables_are_named_with_the_line(tmp_path, content, message):
    (tmp_path / "labels.csv").write_text(content)
    with pytest.raises(ValueError, match=f"labels.csv.*{message}"):
        TableLabels(tmp_path / "labels.csv").segments(make_raw(), "a_raw.fif", None)


@pytest.mark.parametrize("content", [b"\x81\x8d\x8f,\xff\n", b"\xff\xfea"])
def test_a_table_of_no_encoding_is_named(tmp_path, content):
    (tmp_path / "labels.csv").write_bytes(content)
    with pytest.raises(ValueError, match="labels.csv .*save it again as UTF-8"):
        TableLabels(tmp_path / "labels.csv")


# -- times ----------------------------------------------------------------------------------------------------------


def test_overlapping_segments_of_two_labels_are_warned_of(rows, caplog):
    rows(make_raw(((0.0, 6.0, "rest"), (4.0, 8.0, "task"))), AnnotationLabels())
    assert "1 stretches have two labels" in caplog.text
    assert "'rest' and 'task' from 4 s for 2 s in recording-000" in caplog.text
    caplog.clear()
    caplog.set_level(logging.WARNING)
    rows(make_raw(((0.0, 6.0, "rest"), (6.0, 6.0, "task"), (1.0, 2.0, "rest"))), AnnotationLabels())
    assert "two labels" not in caplog.text


@pytest.mark.parametrize("dated", [True, False])
@pytest.mark.parametrize("sfreq", [100.0, 200.0])
def test_annotations_of_a_cropped_recording_stay_where_they_are(dated, sfreq):
    raw = make_raw(((2.0, 2.0, "rest"), (8.0, 2.0, "task")))
    raw.set_meas_date(1_000_000_000 if dated else None)
    raw.crop(4.0, None)
    prepared = EEGFeatureExtractor(sfreq=sfreq, n_times=100).prepare_raw(raw)
    for one in (raw, prepared):
        onsets = one.annotations.onset - one.first_time
        np.testing.assert_allclose(onsets[one.annotations.description == "task"], [4.0])
