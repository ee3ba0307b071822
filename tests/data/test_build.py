# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Recordings of every kind become the right windows, once, and bad ones clear errors."""

import logging
import os
import signal
import subprocess
import sys
import textwrap
import time

import mne
import numpy as np
import pytest
import torch
from data_recordings import CHANNELS, SFREQ, make_raw, save_raw
from datasets import concatenate_datasets, load_from_disk

from dlink_hf.data.build import build_dataset
from dlink_hf.data.description import SignalInfo, build_report, concatenate_windows, set_signal_info, signal_info
from dlink_hf.data.labels import AnnotationLabels, PathLabels
from dlink_hf.preprocessing.feature_extraction_eeg import EEGFeatureExtractor


@pytest.fixture
def extractor():
    return EEGFeatureExtractor(sfreq=SFREQ, n_times=400)


@pytest.fixture
def build(tmp_path, extractor):
    def call(source, labels=None, extractor=extractor, **options):
        return build_dataset(source, extractor, labels, cache_dir=tmp_path / "cache", progress=False, **options)

    return call


def test_windows_are_the_samples_between_the_annotations(build):
    raw = make_raw()
    dataset = build(raw)
    rows = dataset.with_format("numpy")[:]
    assert dataset.features["labels"].names == ["rest", "task"]
    assert rows["labels"].tolist() == [0, 0, 0, 1, 1, 1]
    np.testing.assert_allclose(rows["onset"], [0, 2, 4, 6, 8, 10])
    expected = np.stack([raw.get_data()[:, start : start + 400] * 1e6 for start in range(0, 2400, 400)])
    np.testing.assert_allclose(rows["input_values"], expected, rtol=1e-6)
    assert set(rows["subject"]) == {"S01"}
    assert signal_info(dataset) == SignalInfo(tuple(CHANNELS), SFREQ, 400)
    assert signal_info(dataset).duration == 2.0
    row = dataset[0]
    assert isinstance(row["input_values"], torch.Tensor) and row["input_values"].dtype == torch.float32


def test_overlapping_windows_follow_the_stride(build):
    dataset = build(make_raw(), extractor=EEGFeatureExtractor(sfreq=SFREQ, n_times=400, stride=200))
    onsets = dataset.with_format("numpy")[:]["onset"]
    np.testing.assert_allclose(onsets, [0, 1, 2, 3, 4, 6, 7, 8, 9, 10])


def test_annotations_of_a_cropped_recording_keep_their_place(build):
    raw = make_raw(duration=16.0, annotations=((4.0, 4.0, "rest"), (10.0, 4.0, "task")))
    reference = raw.get_data() * 1e6
    for date in (None, 1_600_000_000):
        cropped = raw.copy().set_meas_date(date).crop(2.0)
        rows = build(cropped).with_format("numpy")[:]
        np.testing.assert_allclose(rows["onset"], [2, 4, 8, 10])
        np.testing.assert_allclose(rows["input_values"][0], reference[:, 800:1200], rtol=1e-5)


def test_windows_in_bad_spans_are_left_out_and_counted(build):
    notes = ((0.0, 6.0, "rest"), (6.0, 6.0, "task"), (2.5, 0.5, "BAD blink"))
    dataset = build(make_raw(notes))
    assert dataset.with_format("numpy")[:]["onset"].tolist() == [0, 4, 6, 8, 10]
    assert build_report(dataset)["rejected_bad"] == 1


def test_large_windows_are_rejected_and_counted(build, caplog):
    raw = make_raw()
    raw._data[1, 900] = 500e-6
    with caplog.at_level(logging.WARNING):
        dataset = build(raw, max_abs_uv=300.0)
    assert len(dataset) == 5 and 4.0 not in dataset.with_format("numpy")[:]["onset"]
    assert build_report(dataset)["rejected_amplitude"] == 1
    assert "'rejected_amplitude': 1" in caplog.text
    with pytest.raises(ValueError, match="exceed max_abs_uv"):
        build(raw, max_abs_uv=1.0)


def test_folder_of_files_other_rate_and_channel_order(build, tmp_path):
    """Two files whose channels stand in another order, at another rate: one dataset, one order."""
    save_raw(tmp_path / "in", "a_raw.fif", subject="A")
    raw = make_raw(subject="B", sfreq=400.0)
    raw.filter(None, 60.0, verbose="ERROR")
    raw.copy().reorder_channels(CHANNELS[::-1]).save(tmp_path / "in" / "b_raw.fif", fmt="double", verbose="ERROR")
    dataset = build(tmp_path / "in")
    assert dataset.with_format(None)["recording"][:] == ["a_raw.fif"] * 6 + ["b_raw.fif"] * 6
    assert dataset.with_format(None)["subject"][:] == ["A"] * 6 + ["B"] * 6
    window = dataset.with_format("numpy")[8]["input_values"]
    expected = raw.get_data()[:, ::2][:, 800:1200] * 1e6
    assert np.corrcoef(window.ravel(), expected.ravel())[0, 1] > 0.99


def test_arrays_and_epochs_agree_with_the_recording(build):
    raw = make_raw()
    reference = build(raw).with_format("numpy")[:]
    values = np.stack([raw.get_data()[:, start : start + 400] for start in range(0, 2400, 400)])
    of_array = build(
        values, [0, 0, 0, 1, 1, 1], subjects=list("aabbcc"), label_names=["rest", "task"],
        sfreq=SFREQ, ch_names=CHANNELS, unit="V",
    )  # fmt: skip
    rows = of_array.with_format("numpy")[:]
    np.testing.assert_allclose(rows["input_values"], reference["input_values"], rtol=1e-5)
    assert list(rows["subject"]) == list("aabbcc")
    events = np.array([[start, 0, 1 if start < 1200 else 2] for start in range(0, 2400, 400)])
    epochs = mne.Epochs(
        raw, events, {"rest": 1, "task": 2}, tmin=0, tmax=399 / SFREQ, baseline=None, preload=True, verbose="ERROR"
    )
    rows = build(epochs).with_format("numpy")[:]
    np.testing.assert_allclose(rows["input_values"], reference["input_values"], rtol=1e-5)
    np.testing.assert_allclose(rows["onset"], reference["onset"])
    assert rows["labels"].tolist() == reference["labels"].tolist() and set(rows["subject"]) == {"S01"}
    assert len(build([epochs, epochs.copy()], subjects=["a", "b"])) == 12


def test_array_mistakes(build):
    values = np.random.default_rng(0).standard_normal((4, 4, 400)) * 10
    facts = {"sfreq": SFREQ, "ch_names": CHANNELS, "unit": "uV"}
    with pytest.raises(ValueError, match="give sfreq"):
        build(values, [0, 1, 0, 1], subjects="a")
    with pytest.raises(ValueError, match="needs labels"):
        build(values, subjects="a", **facts)
    with pytest.raises(ValueError, match="3 labels were given for 4 windows"):
        build(values, [0, 1, 0], subjects="a", **facts)
    with pytest.raises(ValueError, match="give subjects"):
        build(values, [0, 1, 0, 1], **facts)
    with pytest.raises(ValueError, match="label 7 is not a number of label_names"):
        build(values, [0, 1, 0, 7], subjects="a", label_names=["x", "y"], **facts)
    with pytest.raises(ValueError, match="is longer. Nothing is padded"):
        build(values[..., :300], [0, 1, 0, 1], subjects="a", **facts)
    with pytest.raises(ValueError, match=r"\(N windows, C channels, T samples\)"):
        build(values[0], [0], subjects="a", **facts)


def test_bids(build, tmp_path):
    mne_bids = pytest.importorskip("mne_bids")
    for subject in ("01", "02"):
        raw = make_raw(subject=None, seed=int(subject))
        raw.info["line_freq"] = 50
        path = mne_bids.BIDSPath(subject=subject, task="imagery", root=tmp_path / "bids", datatype="eeg")
        mne_bids.write_raw_bids(raw, path, allow_preload=True, format="EDF", verbose="ERROR")
    dataset = build(tmp_path / "bids", AnnotationLabels({"rest": "rest", "task": "task"}))
    assert len(dataset) == 12
    assert sorted(set(dataset.with_format(None)["subject"])) == ["sub-01", "sub-02"]
    expected = make_raw(seed=2).get_data()[:, :400] * 1e6
    np.testing.assert_allclose(dataset.with_format("numpy")[6]["input_values"], expected, atol=0.1)
    assert len(build(tmp_path / "bids", bids_entities={"subjects": "02"})) == 6
    with pytest.raises(FileNotFoundError, match="holds no EEG recording"):
        build(tmp_path / "bids", bids_entities={"tasks": "sleep"})


def test_subjects(build, tmp_path):
    paths = [save_raw(tmp_path / f"p{k}", f"run{k}_raw.fif", subject=None) for k in (1, 2)]

    def subjects(**options):
        return list(dict.fromkeys(build(paths, **options).with_format(None)["subject"][:]))

    assert subjects(subject_pattern=r"/(p\d)/") == ["p1", "p2"]
    assert subjects(subjects=lambda path: path.parent.name.upper()) == ["P1", "P2"]
    assert subjects(subjects=["x", "y"]) == ["x", "y"]
    assert subjects(subjects={"run1_raw.fif": "m", "run2_raw.fif": "n"}) == ["m", "n"]
    with pytest.raises(ValueError, match="whose recording is 'run1_raw.fif'"):
        build(paths)
    with pytest.raises(ValueError, match="not found in"):
        build(paths, subject_pattern=r"sub-(\d+)")
    with pytest.raises(ValueError, match="1 subjects were given for 2 recordings"):
        build(paths, subjects=["x"])


def test_subject_columns(build):
    dataset = build(make_raw(), subject_columns={"split": {"S01": "train"}})
    assert set(dataset.with_format(None)["split"]) == {"train"}
    with pytest.raises(ValueError, match="has no entry for the subjects"):
        build(make_raw(), subject_columns={"split": {"S02": "train"}})


def test_unknown_label_is_named(build, caplog):
    raw = make_raw(((0.0, 4.0, "rest"), (4.0, 4.0, "task"), (8.0, 4.0, "noise")))
    mapping = AnnotationLabels({"rest": "rest", "task": "task"})
    with pytest.raises(ValueError, match=r"'noise' \(1 times\)"):
        build(raw, mapping)
    with pytest.raises(ValueError, match="'noise'"):
        build(raw, label_names=["rest", "task"])
    dataset = build(raw, mapping, ignore_labels=["noise"])
    assert len(dataset) == 4 and build_report(dataset)["ignored_segments"] == {"noise": 1}
    assert len(build(raw, label_names=["task", "rest"], ignore_labels="others")) == 4
    with caplog.at_level(logging.WARNING):
        build(raw, ignore_labels=["sleep"])
    assert "'sleep', which no recording has" in caplog.text
    assert build(raw, ignore_labels=["rest"]).features["labels"].names == ["noise", "task"]


def test_one_class_is_refused(build):
    raw = make_raw(((0.0, 12.0, "rest"),))
    with pytest.raises(ValueError, match="only one class"):
        build(raw)
    assert len(build(raw, allow_one_class=True)) == 6


def test_no_label_at_all(build):
    with pytest.raises(ValueError, match="no labelled segment"):
        build(make_raw(annotations=()))


def test_empty_folder_and_missing_file(build, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="no EEG recording"):
        build(tmp_path / "empty")
    with pytest.raises(FileNotFoundError, match="nowhere.edf"):
        build(tmp_path / "nowhere.edf")
    with pytest.raises(ValueError, match="empty"):
        build([])
    with pytest.raises(TypeError, match="can't read"):
        build(3)


def test_window_longer_than_the_recording(build):
    long = make_raw(subject="A")
    brief = make_raw(((0.0, 1.0, "rest"), (1.0, 0.5, "task")), duration=1.5, subject="B")
    with pytest.raises(ValueError, match="can't hold a window of 2 s"):
        build([long, brief])
    dataset = build([long, brief], short="skip")
    assert len(dataset) == 6 and build_report(dataset)["skipped_short"] == 2
    with pytest.raises(ValueError, match="no window is left"):
        build(brief, short="skip")
    with pytest.raises(ValueError, match="can't hold a window"):  # runs beyond the end
        build(make_raw(((0.0, 2.0, "rest"), (11.0, 1.0, "task"))), AnnotationLabels(duration=2.0))


def test_other_channels_are_an_error_that_names_them(build):
    with pytest.raises(ValueError, match=r"lacks \['Oz'\] and adds \['Pz'\]"):
        build([make_raw(subject="A"), make_raw(subject="B", ch_names=["C3", "Cz", "C4", "Pz"])])


def test_wrong_unit_names_the_recording(build, tmp_path):
    path = save_raw(tmp_path, "volts_raw.fif")
    with pytest.raises(ValueError, match="volts_raw.fif"):
        build([path], unit="uV")


def test_cache_is_found_again_until_something_changes(build, tmp_path):
    path = save_raw(tmp_path / "in", "a_raw.fif")
    cache = tmp_path / "cache"

    def folders():
        return sorted(cache.iterdir())

    build(tmp_path / "in")
    first = folders()
    stamp = (first[0] / "windows.arrow").stat().st_mtime_ns
    again = build(tmp_path / "in")
    assert folders() == first and (first[0] / "windows.arrow").stat().st_mtime_ns == stamp
    assert signal_info(again).sfreq == SFREQ and again.format["type"] == "torch"
    build(tmp_path / "in", overwrite_cache=True)
    assert folders() == first and (first[0] / "windows.arrow").stat().st_mtime_ns > stamp
    build(tmp_path / "in", extractor=EEGFeatureExtractor(sfreq=SFREQ, n_times=200))
    assert len(folders()) == 2
    build(tmp_path / "in", AnnotationLabels({"rest": "a", "task": "b"}))
    assert len(folders()) == 3
    os.utime(path, ns=(stamp, stamp))
    build(tmp_path / "in")
    assert len(folders()) == 4
    raw = make_raw(seed=3)
    build(raw)
    assert len(folders()) == 5
    raw._data[0, 0] += 1e-6
    build(raw)
    assert len(folders()) == 6


def test_damaged_cache_says_so(build, tmp_path):
    build(make_raw())
    (folder,) = (tmp_path / "cache").iterdir()
    (folder / "windows.arrow").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="overwrite_cache=True"):
        build(make_raw())
    assert len(build(make_raw(), overwrite_cache=True)) == 6


def test_failed_build_leaves_nothing(build, tmp_path):
    save_raw(tmp_path / "in", "a_raw.fif", subject="A")
    raw = make_raw(subject="B")
    raw._data[:, 100] = np.nan
    raw.save(tmp_path / "in" / "b_raw.fif", fmt="double", verbose="ERROR")
    with pytest.raises(ValueError, match="b_raw.fif"):
        build(tmp_path / "in")
    assert list((tmp_path / "cache").iterdir()) == []


def test_killed_build_leaves_no_half_cache(build, tmp_path):
    """A process killed while it writes: the next build starts anew and is whole."""
    for number in range(3):
        save_raw(tmp_path / "in", f"r{number}_raw.fif", subject=f"S{number}")
    script = f"""
        import time
        from dlink_hf.data import dataset
        from dlink_hf.preprocessing.feature_extraction_eeg import EEGFeatureExtractor

        inner = dataset.align_channels
        def slow(*arguments):
            if arguments[3] == "r2_raw.fif":
                print("writing", flush=True)
                time.sleep(60)
            return inner(*arguments)
        dataset.align_channels = slow
        dataset.build_dataset({str(tmp_path / "in")!r}, EEGFeatureExtractor(sfreq=200.0, n_times=400),
                              cache_dir={str(tmp_path / "cache")!r}, progress=False)
    """
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE)
    assert process.stdout.readline().strip() == b"writing"
    process.send_signal(signal.SIGKILL)
    process.wait()
    left = list((tmp_path / "cache").iterdir())
    assert len(left) == 1 and left[0].name.startswith(".")
    assert len(build(tmp_path / "in")) == 18
    # Leftovers go once they can't belong to a running build.
    old = time.time() - 2 * 24 * 3600
    for path in [*left[0].iterdir(), left[0]]:
        os.utime(path, (old, old))
    build(tmp_path / "in", overwrite_cache=True)
    assert not left[0].exists()


def test_two_builds_at_once_agree(tmp_path):
    for number in range(3):
        save_raw(tmp_path / "in", f"r{number}_raw.fif", subject=f"S{number}")
    script = f"""
        from dlink_hf.data.build import build_dataset
        from dlink_hf.preprocessing.feature_extraction_eeg import EEGFeatureExtractor

        input()
        print(len(build_dataset({str(tmp_path / "in")!r}, EEGFeatureExtractor(sfreq=200.0, n_times=400),
                                cache_dir={str(tmp_path / "cache")!r}, progress=False)))
    """
    command = [sys.executable, "-c", textwrap.dedent(script)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen(command, **pipes) for _ in range(2)]
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    assert [process.communicate()[0].strip() for process in processes] == ["18", "18"]
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_full_disk_leaves_nothing_and_keeps_the_old_windows(build, tmp_path):
    """The system refuses to write more than 100 kB a file: the error says what to do, what was there stays."""
    save_raw(tmp_path / "in", "a_raw.fif", duration=60.0, annotations=((0.0, 30.0, "rest"), (30.0, 30.0, "task")))
    build(tmp_path / "in")
    before = sorted((tmp_path / "cache").rglob("*"))
    script = f"""
        import resource
        from dlink_hf.data.build import build_dataset
        from dlink_hf.preprocessing.feature_extraction_eeg import EEGFeatureExtractor

        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        build_dataset({str(tmp_path / "in")!r}, EEGFeatureExtractor(sfreq=200.0, n_times=400),
                      cache_dir={str(tmp_path / "cache")!r}, overwrite_cache=True, progress=False)
    """
    result = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True)
    assert result.returncode == 1 and "no room for the windows" in result.stderr
    assert sorted((tmp_path / "cache").rglob("*")) == before
    assert len(build(tmp_path / "in")) == 30


def test_signal_info_survives_what_datasets_does(build, tmp_path):
    dataset = build([make_raw(subject="A"), make_raw(subject="B", seed=1)])
    info = signal_info(dataset)
    assert signal_info(dataset.select([0, 3])) == info
    assert signal_info(dataset.filter(lambda row: row["onset"] > 3)) == info
    assert signal_info(dataset.map(lambda row: {"extra": 1})) == info
    assert signal_info(dataset.train_test_split(0.5, seed=0)["test"]) == info
    dataset.save_to_disk(tmp_path / "saved")
    loaded = load_from_disk(tmp_path / "saved")
    assert signal_info(loaded) == info and loaded.features["labels"].names == ["rest", "task"]
    other = build([make_raw(subject="C", seed=2)])
    both = concatenate_datasets([loaded, other])
    assert signal_info(both) == info and len(concatenate_windows([dataset, other])) == 18
    again = signal_info(set_signal_info(dataset.remove_columns("onset"), info))
    assert again == info
    with pytest.raises(ValueError, match="shape"):
        set_signal_info(dataset, SignalInfo(("C3",), 200.0, 400))


def test_mixing_montages_names_them(build):
    first = build([make_raw()])
    second = build([make_raw(ch_names=["C3", "Cz", "C4", "Pz"])])
    turned = build([make_raw(ch_names=CHANNELS[::-1])])
    for call in (
        lambda: signal_info(concatenate_datasets([first, second])),
        lambda: concatenate_windows([first, second]),
    ):
        with pytest.raises(ValueError, match=r"channels in one only: \['Oz', 'Pz'\]"):
            call()
    with pytest.raises(ValueError, match="another order"):
        signal_info(concatenate_datasets([first, turned]))
    names = [["rest", "task"], ["task", "rest"]]
    with pytest.raises(ValueError, match="different label names"):
        concatenate_windows([build([make_raw()], label_names=order) for order in names])


def test_signal_info_of_a_foreign_dataset(build):
    dataset = build([make_raw()])
    dataset.info.description = "rows from elsewhere"
    with pytest.raises(ValueError, match="set_signal_info"):
        signal_info(dataset)


def test_labels_of_the_wrong_kind(build):
    with pytest.raises(TypeError, match="AnnotationLabels"):
        build(make_raw(), ["rest", "task"])
    with pytest.raises(ValueError, match="short='pad'"):
        build(make_raw(), short="pad")
    with pytest.raises(ValueError, match="needs a group"):
        PathLabels(r"_1\.edf")
