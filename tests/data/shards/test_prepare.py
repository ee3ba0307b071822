# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Recordings become shards: the right windows, the same files whatever happens on the way, bad files never silent."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import datasets
import numpy as np
import pytest
from data_recordings import CHANNELS, SFREQ, make_raw, save_raw
from filelock import FileLock

from dlink_hf import EEGFeatureExtractor, PathLabels, load_shards, prepare_shards, signal_fields, split_by_subject
from dlink_hf.commands import main
from dlink_hf.data.build import build_dataset


# 9 windows of 400 samples a recording, 4 channels: 58 kB of them
SHARD_MB = 0.15


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Six people of two recordings each."""
    folder = tmp_path_factory.mktemp("corpus")
    for person in range(6):
        for run in range(2):
            options = {"subject": f"S{person}", "seed": 10 * person + run, "duration": 18.0}
            notes = ((0.0, 8.0, "rest"), (8.0, 10.0, "task"))
            save_raw(folder, f"s{person}_run{run}_raw.fif", annotations=notes, **options)
    return folder


@pytest.fixture(scope="module")
def extractor():
    return EEGFeatureExtractor(sfreq=SFREQ, n_times=400, l_freq=0.5, h_freq=75.0)


def prepare(source, folder, extractor, labels=None, **options):
    options = {"shard_mb": SHARD_MB, "progress": False, **options}
    return prepare_shards(source, folder, extractor, labels, **options)


@pytest.fixture(scope="module")
def prepared(corpus, extractor, tmp_path_factory):
    folder = tmp_path_factory.mktemp("prepared")
    prepare(corpus, folder, extractor, validation=1, test=1, seed=3)
    return folder


def hashes(folder):
    """SHA-256 of every file that a finished run leaves, but of the progress."""
    files = [path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".")]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def rows_of(dataset):
    """Row by (recording, onset)."""
    rows = dataset.with_format("numpy")
    return {(str(row["recording"]), float(row["onset"])): row for row in rows}


def test_windows_are_those_of_build_dataset_bit_for_bit(corpus, extractor, prepared, tmp_path):
    built = build_dataset(corpus, extractor, cache_dir=tmp_path, progress=False)
    expected, found = rows_of(built), {}
    for split in ("train", "validation", "test"):
        stream = load_shards(prepared, split)
        assert signal_fields(stream) == signal_fields(built)
        found |= rows_of(stream)
    assert set(found) == set(expected) and len(found) == 6 * 2 * 9
    for key, row in found.items():
        assert np.array_equal(row["input_values"], expected[key]["input_values"]) and row["input_values"].any()
        assert row["input_values"].dtype == np.float32
        assert (row["labels"], row["subject"]) == (expected[key]["labels"], expected[key]["subject"])
    # the number of a window is its place in the dataset of all
    order = [(row["recording"], float(row["onset"])) for row in built.with_format("numpy")]
    assert {key: int(row["row"]) for key, row in found.items()} == {key: place for place, key in enumerate(order)}


def test_people_stand_in_one_split_that_of_split_by_subject(corpus, extractor, prepared, tmp_path):
    built = build_dataset(corpus, extractor, cache_dir=tmp_path, progress=False)
    expected = split_by_subject(built, validation=1, test=1, seed=3)
    for split, rows in expected.items():
        assert {row["subject"] for row in load_shards(prepared, split)} == set(rows["subject"])


def test_manifest_card_and_files_agree(prepared, extractor):
    manifest = json.loads((prepared / "manifest.json").read_text())
    assert manifest["label_names"] == ["rest", "task"] and manifest["ch_names"] == CHANNELS
    assert manifest["totals"]["train"]["labels"] == {"rest": 32, "task": 40}
    assert [len(manifest["splits"][split]) for split in ("train", "validation", "test")] == [3, 1, 1]
    for shards in manifest["splits"].values():
        for number, shard in enumerate(shards):
            assert f"-{number:05d}-of-{len(shards):05d}.parquet" in shard["name"]
            content = (prepared / shard["name"]).read_bytes()
            assert (len(content), hashlib.sha256(content).hexdigest()) == (shard["bytes"], shard["sha256"])
    # of several people each, though people have several recordings
    assert all(len(shard["subjects"]) > 1 for shard in manifest["splits"]["train"])
    # rows are mixed
    recordings = [row["recording"] for row in load_shards(prepared)]
    assert sum(a != b for a, b in zip(recordings, recordings[1:], strict=False)) > len(recordings) / 2
    kept = EEGFeatureExtractor.from_pretrained(prepared)
    assert kept.ch_names == CHANNELS and kept.l_freq == extractor.l_freq
    assert "| train | 3 |" in (prepared / "README.md").read_text()


def test_datasets_alone_reads_the_folder(prepared, tmp_path):
    plain = datasets.load_dataset(str(prepared), cache_dir=str(tmp_path))
    expected = {int(row["row"]): row["input_values"] for row in load_shards(prepared)}
    assert {split: len(rows) for split, rows in plain.items()} == {"train": 72, "validation": 18, "test": 18}
    assert plain["train"].features["labels"].names == ["rest", "task"]
    for row in plain["train"].with_format("numpy"):
        assert np.array_equal(row["input_values"], expected[int(row["row"])])


def test_two_processes_write_the_same_bytes(corpus, extractor, prepared, tmp_path):
    prepare(corpus, tmp_path, extractor, validation=1, test=1, seed=3, num_proc=2)
    assert hashes(tmp_path) == hashes(prepared)


def test_another_seed_gives_other_orders(corpus, extractor, prepared, tmp_path):
    prepare(corpus, tmp_path, extractor, validation=1, test=1, seed=4)
    rows = [[int(row["row"]) for row in load_shards(folder)] for folder in (prepared, tmp_path)]
    assert len(rows[0]) == len(rows[1]) and rows[0] != rows[1]


def test_a_finished_folder_is_left_alone_and_what_is_lost_made_anew(corpus, extractor, prepared, tmp_path):
    options = {"validation": 1, "test": 1, "seed": 3}
    manifest = prepare(corpus, tmp_path, extractor, **options)
    times = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.parquet")}
    assert prepare(corpus, tmp_path, extractor, **options) == manifest
    lost, short = sorted(times)[:2]
    lost.unlink()
    os.truncate(short, 100)
    prepare(corpus, tmp_path, extractor, **options)
    assert hashes(tmp_path) == hashes(prepared)
    assert {path for path in times if path.stat().st_mtime_ns != times[path]} == {lost, short}


def test_other_settings_are_refused_and_named(corpus, extractor, prepared):
    before = hashes(prepared)
    options = {"validation": 1, "test": 1, "seed": 3}
    with pytest.raises(ValueError, match=r"differs: seed \(then 3, now 5\)"):
        prepare(corpus, prepared, extractor, **{**options, "seed": 5})
    other = EEGFeatureExtractor(**{**extractor.to_dict(), "h_freq": 40.0})
    with pytest.raises(ValueError, match=r"extractor.h_freq \(then 75.0, now 40.0\)"):
        prepare(corpus, prepared, other, **options)
    with pytest.raises(ValueError, match=r"number of recordings \(then 12, now 4\)"):
        prepare(sorted(corpus.iterdir())[:4], prepared, extractor, **options)
    assert hashes(prepared) == before


def test_a_second_run_at_once_is_refused(corpus, extractor, tmp_path):
    with FileLock(tmp_path / ".prepare.lock"), pytest.raises(RuntimeError, match="another run writes into"):
        prepare(corpus, tmp_path, extractor)


def test_arguments_out_of_range_are_refused(corpus, extractor, tmp_path):
    for options, words in (
        ({"format": "zarr"}, "format='zarr'"),
        ({"bad_files": "ignore"}, "bad_files='ignore'"),
        ({"dtype": "int16"}, "dtype='int16'"),
        ({"shard_mb": 0}, "shard_mb=0"),
        ({"seed": -1}, "seed=-1"),
        ({"num_proc": 0}, "num_proc=0"),
        ({"validation": 3, "test": 3}, "6 subjects are too few"),
    ):
        with pytest.raises(ValueError, match=words):
            prepare(corpus, tmp_path, extractor, **options)
    with pytest.raises(ValueError, match="without alignment"):
        prepare(corpus, tmp_path, EEGFeatureExtractor(sfreq=SFREQ, n_times=400, alignment="zscore"))
    with pytest.raises(TypeError, match="in memory"):
        prepare([make_raw()], tmp_path, extractor)
    with pytest.raises(TypeError, match="labels come from"):
        prepare(corpus, tmp_path, extractor, "annotations")


def test_windows_without_labels(corpus, extractor, tmp_path):
    manifest = prepare(corpus, tmp_path, extractor, "none")
    stream = load_shards(tmp_path)
    assert "labels" not in stream.features and manifest.label_names is None and manifest.label_counts() == {}
    assert sum(1 for _ in stream) == manifest.n_windows() == 108


def test_halves_take_half_the_room_and_come_back_as_singles(corpus, extractor, prepared, tmp_path):
    options = {"validation": 1, "test": 1, "seed": 3}
    manifest = prepare(corpus, tmp_path, extractor, dtype="float16", **options)
    assert {path.suffix for path in (tmp_path / "data").iterdir()} == {".parquet"}
    exact = {int(row["row"]): row["input_values"].numpy() for row in load_shards(prepared)}
    for row in load_shards(tmp_path):
        values = row["input_values"].numpy()
        assert values.dtype == np.float32 and not np.array_equal(values, exact[int(row["row"])])
        np.testing.assert_allclose(values, exact[int(row["row"])], rtol=2**-11, atol=1e-6)
    whole = sum(shard["bytes"] for shard in json.loads((prepared / "manifest.json").read_text())["splits"]["train"])
    assert manifest.totals()["train"]["bytes"] < 0.65 * whole


def test_rejected_windows_are_counted_and_keep_the_others_numbers(corpus, extractor, prepared, tmp_path):
    """A limit that rejects some: the rows that are left have the numbers that they had."""
    options = {"validation": 1, "test": 1, "seed": 3}
    every = {int(row["row"]): row["input_values"] for row in load_shards(prepared)}
    limit = float(np.median([window.abs().max() for window in every.values()]))
    manifest = prepare(corpus, tmp_path, extractor, max_abs_uv=limit, **options)
    left = {int(row["row"]): row["input_values"] for row in load_shards(tmp_path)}
    assert 0 < len(left) < len(every) and manifest.report["rejected_amplitude"] > 0
    assert set(left) == {row for row, window in every.items() if window.abs().max() <= limit}
    assert all(np.array_equal(left[row], every[row]) for row in left)


@pytest.fixture
def bad_corpus(corpus, tmp_path):
    """The corpus with four recordings that can't be used beside it."""
    folder = tmp_path / "bad"
    folder.mkdir()
    for path in corpus.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    whole = (corpus / "s0_run0_raw.fif").read_bytes()
    (folder / "t0_cut_raw.fif").write_bytes(whole[: len(whole) // 2])
    (folder / "t1_text_raw.fif").write_text("not a recording")
    save_raw(folder, "t2_montage_raw.fif", ch_names=["C3", "Cz", "C4", "Pz"], subject="T2")
    raw = make_raw(subject="T3")
    raw._data[1, 100] = np.nan
    raw.save(folder / "t3_nan_raw.fif", fmt="double", verbose="ERROR")
    return folder


BAD = {"t0_cut_raw.fif", "t1_text_raw.fif", "t2_montage_raw.fif", "t3_nan_raw.fif"}


def test_a_bad_recording_stops_the_run_by_name_and_what_is_whole_is_kept(bad_corpus, corpus, extractor, tmp_path):
    out = tmp_path / "out"
    for name in ("t0_cut_raw.fif", "t1_text_raw.fif", "t2_montage_raw.fif"):
        with pytest.raises(ValueError, match=f"{name}(.|\n)*--bad_files skip"):
            prepare(bad_corpus, out, extractor)
        (bad_corpus / name).unlink()
        assert not list(out.rglob("*.parquet"))
    # NaN shows when samples are read: other shards are done by then
    with pytest.raises(ValueError, match="t3_nan_raw.fif(.|\n)*NaN"):
        prepare(bad_corpus, out, extractor, num_proc=2)
    kept = {path: path.stat().st_mtime_ns for path in out.rglob("*.parquet")}
    assert not (out / "manifest.json").exists() and kept
    # the same run that may leave it out goes on from there
    manifest = prepare(bad_corpus, out, extractor, bad_files="skip")
    assert all(path.stat().st_mtime_ns == kept[path] for path in kept)
    assert [entry["recording"] for entry in manifest.skipped] == ["t3_nan_raw.fif"]
    with pytest.raises(ValueError, match="t3_nan_raw.fif"):
        prepare(bad_corpus, out, extractor)


def test_bad_recordings_that_are_left_out_are_listed(bad_corpus, corpus, extractor, prepared, tmp_path, caplog):
    manifest = prepare(bad_corpus, tmp_path / "out", extractor, bad_files="skip")
    prepare(bad_corpus, tmp_path / "two", extractor, bad_files="skip", num_proc=2)
    assert hashes(tmp_path / "out") == hashes(tmp_path / "two")
    assert {entry["recording"] for entry in manifest.skipped} == BAD
    reasons = {entry["recording"]: entry["reason"] for entry in manifest.skipped}
    assert "['Oz']" in reasons["t2_montage_raw.fif"] and "NaN" in reasons["t3_nan_raw.fif"]
    assert all(name in caplog.text for name in BAD)
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["skipped"] == manifest.skipped
    # the others are all there
    expected = {key: row["input_values"] for split in ("train", "validation", "test") for key, row in
                rows_of(load_shards(prepared, split)).items()}  # fmt: skip
    found = rows_of(load_shards(tmp_path / "out"))
    assert set(found) == set(expected)
    assert all(np.array_equal(found[key]["input_values"], expected[key]) for key in found)


def test_nothing_but_bad_recordings_is_an_error(tmp_path, extractor):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a_raw.fif").write_text("nothing")
    with pytest.raises(ValueError, match="none of the 1 recordings can be used; the first: 'a_raw.fif'"):
        prepare(tmp_path / "in", tmp_path / "out", extractor, bad_files="skip")


def test_full_disk_says_so_and_leaves_nothing_half(corpus, extractor, prepared, tmp_path):
    """The system refuses files beyond 30 kB: no shard fits."""
    script = f"""
        import resource
        from dlink_hf import EEGFeatureExtractor, prepare_shards

        resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000))
        extractor = EEGFeatureExtractor(sfreq={SFREQ}, n_times=400, l_freq=0.5, h_freq=75.0)
        prepare_shards({str(corpus)!r}, {str(tmp_path)!r}, extractor, validation=1, test=1, seed=3,
                       shard_mb={SHARD_MB}, progress=False)
    """
    result = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True)
    assert result.returncode == 1 and "there is no room for data/train-00000-of-00003.parquet" in result.stderr
    assert "it takes up to 0.2 MB" in result.stderr and "MB are free" in result.stderr
    assert list((tmp_path / "data").iterdir()) == []
    prepare(corpus, tmp_path, extractor, validation=1, test=1, seed=3)
    assert hashes(tmp_path) == hashes(prepared)


def kill_while_it_runs(corpus, folder, shard_mb, seconds=0.0):
    """Start a run of two processes; SIGKILL all of it so long after it first writes. Whether it was still running."""
    script = f"""
        from dlink_hf import EEGFeatureExtractor, prepare_shards

        if __name__ == "__main__":
            extractor = EEGFeatureExtractor(sfreq={SFREQ}, n_times=400, l_freq=0.5, h_freq=75.0)
            prepare_shards({str(corpus)!r}, {str(folder)!r}, extractor, validation=1, test=1, seed=3, num_proc=2,
                           shard_mb={shard_mb}, progress=False)
    """
    path = folder.with_suffix(".py")
    path.write_text(textwrap.dedent(script))
    before = set(folder.glob(".progress/[tv]*.json"))
    process = subprocess.Popen([sys.executable, str(path)], start_new_session=True)
    while process.poll() is None and set(folder.glob(".progress/[tv]*.json")) == before:
        time.sleep(0.002)
    time.sleep(seconds)
    alive = process.poll() is None
    if alive:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return alive


def test_a_run_killed_behind_its_first_shard_goes_on(corpus, extractor, prepared, tmp_path):
    out = tmp_path / "out"
    assert kill_while_it_runs(corpus, out, SHARD_MB)
    there = {path: path.stat().st_mtime_ns for path in out.glob(".progress/[tv]*.json")}
    assert there and not (out / "manifest.json").exists()
    prepare(corpus, out, extractor, validation=1, test=1, seed=3)
    assert hashes(out) == hashes(prepared) and not list(out.rglob(".saving-*"))
    assert all(path.stat().st_mtime_ns == there[path] for path in there)


@pytest.mark.slow
def test_ten_kills_at_random_moments_change_nothing(extractor, tmp_path):
    rng = np.random.default_rng(0)
    for person in range(60):
        notes = ((0.0, 8.0, "rest"), (8.0, 10.0, "task"))
        options = {"subject": f"S{person}", "seed": person, "duration": 18.0, "annotations": notes}
        save_raw(tmp_path / "in", f"s{person}_raw.fif", **options)
    small = 0.05  # a recording a shard
    interrupted = sum(
        kill_while_it_runs(tmp_path / "in", tmp_path / "out", small, rng.random() / 4) for _ in range(10)
    )
    assert interrupted >= 5
    for folder in ("out", "whole"):
        prepare(tmp_path / "in", tmp_path / folder, extractor, validation=1, test=1, seed=3, shard_mb=small)
    assert hashes(tmp_path / "out") == hashes(tmp_path / "whole")
    assert len(list((tmp_path / "out").rglob("*.parquet"))) == 60
    assert not list((tmp_path / "out").rglob(".saving-*"))


def test_no_process_is_left_behind_when_only_the_first_is_killed(corpus, tmp_path):
    """Workers end with the process that started them, however it ends."""
    script = f"""
        import os, time
        from dlink_hf.data.shards.pool import worker_pool

        def work(folder):
            open(os.path.join(folder, str(os.getpid())), "w").close()
            time.sleep(600)

        if __name__ == "__main__":
            with worker_pool(2) as run:
                list(run(work, [({str(tmp_path)!r},)] * 2))
    """
    path = tmp_path / "script.py"
    path.write_text(textwrap.dedent(script))
    process = subprocess.Popen([sys.executable, str(path)])
    while len(workers := [int(entry.name) for entry in tmp_path.iterdir() if entry.name.isdigit()]) < 2:
        assert process.poll() is None
        time.sleep(0.05)
    process.kill()
    process.wait()
    deadline = time.monotonic() + 120
    while any(Path(f"/proc/{worker}/cmdline").exists() for worker in workers) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(Path(f"/proc/{worker}/cmdline").exists() for worker in workers)


def test_the_command_prepares_and_verifies(corpus, tmp_path, capsys):
    out = tmp_path / "out"
    flags = ["prepare", str(corpus), "--output_dir", str(out), "--shard_mb", str(SHARD_MB), "--validation", "2"]
    flags += ["--label_map", "rest=pause,task=sums", "--window_seconds", "2", "--num_proc", "1"]
    assert main(flags) == 0
    text = capsys.readouterr().out
    assert "72 windows" in text.replace("  ", " ") or "72" in text
    assert "pause" in text and "sums" in text and "hours of EEG per second" in text
    assert load_shards(out, "validation").features["labels"].names == ["pause", "sums"]
    assert main(["prepare", "--verify", str(out)]) == 0
    assert "as they were written" in capsys.readouterr().out
    path = next(out.rglob("*.parquet"))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert main(["prepare", "--verify", str(out)]) == 1
    assert path.name in capsys.readouterr().err
    assert main(["prepare", "--output_dir", str(out)]) == 1
    assert "which recordings" in capsys.readouterr().err


def test_real_recordings(data_dir, tmp_path):
    """Four people of eegmat: EDF, other channels beside EEG, labels and people from the file names."""
    files = sorted((data_dir / "eegmat").glob("Subject0[0-3]_?.edf"))
    extractor = EEGFeatureExtractor(n_times=1000, l_freq=0.5, h_freq=75.0, unknown_channels="drop")
    labels = PathLabels(r"_(1|2)\.edf$", {"1": "rest", "2": "task"})
    options = {"subject_pattern": r"(Subject\d+)", "progress": False}
    prepare_shards(files, tmp_path / "out", extractor, labels, shard_mb=8, **options)
    built = rows_of(build_dataset(files, extractor, labels, cache_dir=tmp_path / "cache", **options))
    found = rows_of(load_shards(tmp_path / "out"))
    assert set(found) == set(built) and len(found) > 150
    assert all(np.array_equal(found[key]["input_values"], built[key]["input_values"]) for key in found)
