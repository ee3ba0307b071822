# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""The web demo without its web: uploads are judged, predictions are those of `dlink predict`, nothing is left."""

from __future__ import annotations

import mne
import numpy as np
import pytest
import torch
from PIL import Image

from dlink_hf import EEGFeatureExtractor, MiCConfig, MiCForEEGClassification, make_synthetic_recordings
from dlink_hf.commands import main
from dlink_hf.evaluation.recording_plots import (
    band_power,
    on_the_scalp,
    plot_band_maps,
    plot_probabilities,
    plot_recording,
)
from dlink_hf.evaluation.style import NARROW
from dlink_hf.inference.web_session import WebSession, find_model, find_students, take_upload


NAMES = ["F3", "C3", "Cz", "C4", "Pz"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A student, and a recording one of whose windows is too large to be judged."""
    folder = tmp_path_factory.mktemp("web")
    torch.manual_seed(0)
    config = MiCConfig.from_size("tiny", ch_names=NAMES, n_times=400, id2label={0: "rest", 1: "<b>task</b>"})
    MiCForEEGClassification(config).save_pretrained(folder / "student")
    extractor = EEGFeatureExtractor(ch_names=NAMES, n_times=400, l_freq=0.5, reject_uv=200.0, alignment="euclidean")
    extractor.save_pretrained(folder / "student")
    raw = make_synthetic_recordings(n_subjects=1, n_trials=8, seed=9, progress=False)[0].set_annotations(None)
    raw._data[:, 3000:3010] += 900e-6
    mne.export.export_raw(folder / "recording.edf", raw, verbose="ERROR")
    raw.save(folder / "other_raw.fif", verbose="ERROR")
    return folder


def open_session(folder, root, **options):
    root.mkdir(exist_ok=True)
    return WebSession.open(str(folder / "student"), [folder / "recording.edf"], root=root, **options)


def test_students_are_found_by_their_head(folder):
    assert find_students([folder])["student"] == str(folder / "student")
    assert "dlink-mic-small" not in find_students([folder])


def test_downloads_are_those_of_dlink_predict(folder, tmp_path):
    session = open_session(folder, tmp_path / "root", session=[folder / "other_raw.fif"])
    table, annotations = session.write()
    words = ["predict", str(folder / "recording.edf"), "--model", str(folder / "student")]
    words += ["--session_recordings", str(folder / "other_raw.fif")]
    assert main([*words, "--output", str(tmp_path / "p.csv")]) == 0
    assert main([*words, "--output", str(tmp_path / "p_annot.fif"), "--format", "annotations"]) == 0
    assert table.read_bytes() == (tmp_path / "p.csv").read_bytes()
    ours, theirs = mne.read_annotations(annotations), mne.read_annotations(tmp_path / "p_annot.fif")
    assert ours.description.tolist() == theirs.description.tolist() and np.array_equal(ours.onset, theirs.onset)
    assert any(text.startswith("BAD_unjudged") for text in ours.description)
    assert "have no label" in session.summary() and "2 files" in session.summary()


def test_pictures_follow_the_chosen_window(folder, tmp_path):
    session = open_session(folder, tmp_path / "root")
    flagged = next(i for i, reason in enumerate(session.predictions.reasons) if reason)
    assert "no label" in session.describe(flagged) and "no label" not in session.describe(0)
    seen = []
    for number in (0, flagged):
        drawn = [session.draw_recording(0, 20, number), session.draw_probabilities(number), session.draw_maps(number)]
        seen.append([np.asarray(Image.open(path).convert("L")) for path in drawn])
    assert all(np.any(first != second) for first, second in zip(*seen, strict=True))
    # beyond the ends the last window is shown
    assert session.window_at(10_000) == len(session.predictions.onsets) - 1
    session.draw_recording(1e6, 30, 10_000)


def test_another_model_reads_the_same_recording(folder, tmp_path):
    told = []
    session = open_session(
        folder, tmp_path / "root", beside=str(folder / "student"), tell=lambda done, text: told.append((done, text))
    )
    n = len(session.predictions.onsets)
    assert f"the same label to {n} of {n} windows" in session.summary()
    assert session.costs["student"]["parameters"] == session.costs["other"]["parameters"] > 0
    assert session.draw_beside(0).is_file() and session.draw_explanation(1, narrow=True).is_file()
    assert [done for done, _ in told] == sorted(done for done, _ in told) and len(told) == 4
    assert open_session(folder, tmp_path / "root").draw_beside(0) is None


def test_only_known_models_and_names_of_the_hub_are_taken(folder, tmp_path, monkeypatch):
    known = find_students([folder])
    assert find_model("student", known) == known["student"]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here" / "student").mkdir(parents=True)
    for name in ("", "/etc/passwd", "../student", "here/student", "a/b/c", str(folder / "student")):
        with pytest.raises(ValueError, match="There is no model"):
            find_model(name, known)


def test_nothing_is_left_behind(folder, tmp_path):
    root = tmp_path / "root"
    session = open_session(folder, root)
    assert not list(session.folder.rglob("*.edf"))
    session.close()
    assert not list(root.iterdir())
    (tmp_path / "broken.edf").write_bytes(b"0       broken")
    with pytest.raises(ValueError):
        WebSession.open(str(folder / "student"), [tmp_path / "broken.edf"], root=root)
    assert not list(root.iterdir())


def test_uploads_are_judged_by_type_size_and_number(folder, tmp_path):
    (tmp_path / "model.pkl").write_bytes(b"x")
    for files, words in (
        ([], "No file has arrived"),
        ([tmp_path / "model.pkl"], "not a type of EEG recording"),
        ([folder / "recording.edf", folder / "other_raw.fif"], "one recording at a time"),
    ):
        with pytest.raises(ValueError, match=words):
            take_upload(files, tmp_path / "out")
    with pytest.raises(ValueError, match=r"at most 0 MB are taken"):
        take_upload([folder / "recording.edf"], tmp_path / "out", most_bytes=1000)
    assert not (tmp_path / "out").exists()


def test_the_sample_needs_no_file(folder, tmp_path):
    session = WebSession.open(str(folder / "student"), None, root=tmp_path)
    assert session.ch_names == NAMES and session.seconds == 120 and not any(session.predictions.reasons)


def test_band_power_finds_a_rhythm_where_it_is(tmp_path):
    times = np.arange(1000) / 200
    values = np.random.default_rng(0).normal(size=(5, 1000))
    values[1] += 20 * np.sin(2 * np.pi * 10 * times)
    powers = band_power(values, 200.0)
    assert max(powers, key=lambda name: powers[name][1]) == "alpha" and powers["alpha"].argmax() == 1
    # a sine of amplitude 20 uV has 200 uV^2
    assert powers["alpha"][1] == pytest.approx(10 * np.log10(200), abs=0.3)
    few = plot_band_maps(values[:2], 200.0, NAMES[:2], tmp_path / "few.png")
    window = {"onset": 0.0, "duration": 5.0, "label": "$x$", "reason": None}
    strip = plot_recording(values, 200.0, NAMES, 0.0, [window], ["$x$"], tmp_path / "strip.png")
    assert all(Image.open(path).size[0] > 300 for path in (few, strip))


def test_maps_leave_out_what_has_no_place_of_its_own(tmp_path):
    names = [*NAMES, "A2-A1", "EEG Fp1-F7", "C3-LE"]
    assert on_the_scalp(names) == [0, 1, 2, 3, 4, 7]
    values = np.random.default_rng(0).normal(size=(6, 1000))
    drawn = []
    for scale in (1, 100):
        # a bipolar channel of any size changes neither the maps nor their colours
        pair = values * np.array([1, 1, 1, 1, 1, scale])[:, None]
        path = plot_band_maps(pair, 200.0, names[:6], tmp_path / f"{scale}.png", width=NARROW)
        drawn.append(np.asarray(Image.open(path)))
    assert np.array_equal(*drawn) and drawn[0].shape[0] > drawn[0].shape[1] * 0.9


def test_probabilities_of_windows_without_a_label_are_left_out(tmp_path):
    onsets, judged = np.arange(4) * 5.0, [True, True, False, True]
    for first, path in ((0.1, "a.png"), (0.9, "b.png")):
        values = np.array([[0.5, 0.5], [0.2, 0.8], [first, 1 - first], [0.3, 0.7]])
        plot_probabilities(onsets, 5.0, values, ["rest", "$x$"], judged, tmp_path / path)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
