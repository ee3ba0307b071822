# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Windows with artefacts: left out of alignments, given a reason; spans and joins as MNE itself takes them."""

import mne
import numpy as np
import pytest
from data_recordings import make_raw

from dlink_hf import EEGFeatureExtractor, align_dataset, build_dataset
from dlink_hf.preprocessing.artefacts import clean_windows, marked_spans, overlapping_spans, unjudged_reasons


SETTINGS = {"n_times": 400}


def loud(raw: mne.io.BaseRaw, begin: float, end: float, volts: float = 2e-3) -> mne.io.BaseRaw:
    """The recording with a slow wave of that amplitude, all electrodes alike, between two times in seconds."""
    chosen = (raw.times >= begin) & (raw.times < end)
    values = raw.get_data()
    values[:, chosen] += volts * np.sin(2 * np.pi * 3 * raw.times[chosen])
    result = mne.io.RawArray(values, raw.info, first_samp=raw.first_samp, verbose="error")
    return result.set_annotations(raw.annotations)


def test_clean_windows_are_those_within_2_5_times_the_median_peak():
    peaks = np.array([10.0, 12, 8, 11, 9, 26, 24, 5000])
    # the median is 11.5
    assert clean_windows(peaks).tolist() == [True] * 7 + [False]
    assert clean_windows(np.array([10.0, 10, 10, 24, 26])).tolist() == [True, True, True, True, False]
    # marked windows neither enter nor move the median
    bad = np.array([False] * 5 + [True] * 3)
    assert clean_windows(peaks, bad).tolist() == [True] * 5 + [False] * 3
    # what training rejects goes first: 300 of them would be within 2.5 times their own median
    peaks = np.array([100.0] * 4 + [320.0] * 6)
    assert clean_windows(peaks).all()
    assert clean_windows(peaks, reject_uv=300, min_windows=4).tolist() == [True] * 4 + [False] * 6
    assert clean_windows(peaks, reject_uv=300, min_windows=5).all()
    with pytest.raises(ValueError, match="all 3 windows are marked bad.*none is left to fit"):
        clean_windows(np.ones(3), np.ones(3, dtype=bool))


def joined(sfreq: float = 200.0) -> mne.io.BaseRaw:
    return mne.concatenate_raws([make_raw([], 7.0, sfreq=sfreq, seed=seed) for seed in (0, 1)], verbose="error")


@pytest.mark.parametrize("crop", [0.0, 1.3])
def test_spans_and_joins_leave_out_the_windows_whose_epochs_mne_drops(crop):
    raw = joined()
    raw.annotations.append([1.0, 9.99, 10.5], [0.4, 0.0, 0.25], ["BAD_blink", "rest", "bad"])
    raw = raw.crop(crop)
    extractor = EEGFeatureExtractor(n_times=200, stride=20)
    onsets = extractor(raw)["onset"]
    events = np.column_stack([raw.first_samp + np.round(onsets * 200).astype(int), *np.zeros((2, len(onsets)), int)])
    events[:, 2] = 1
    kept = mne.Epochs(raw, events, tmin=0, tmax=199 / 200, baseline=None, preload=True, verbose="error").selection
    found = overlapping_spans(onsets, 1.0, marked_spans(raw), 200.0)
    np.testing.assert_array_equal(np.flatnonzero(found < 0), kept)
    assert 0 < len(kept) < len(onsets)


def test_a_boundary_of_eeglab_is_a_point_however_much_was_cut_out():
    raw = make_raw([(5.0, 30.0, "boundary"), (0.0, 4.0, "rest")])
    spans = marked_spans(raw)
    assert [tuple(span) for span in spans] == [(5.0, 5.0, "boundary")]
    reasons = unjudged_reasons(np.ones((3, 1, 400)), [2.0, 4.0, 5.0], sfreq=200.0, spans=spans)
    assert reasons == [None, "lies across a join (boundary)", None]


def test_reasons_name_the_mark_or_the_peak():
    windows = np.ones((4, 2, 400), dtype=np.float32)
    windows[1, 0, 7], windows[2, 1, 9] = -301.5, 300.0
    spans = marked_spans(make_raw([(6.5, 1.0, "BAD_movement")]))
    reasons = unjudged_reasons(windows, [0.0, 2.0, 4.0, 6.0], sfreq=200.0, spans=spans, reject_uv=300.0)
    assert reasons == [None, "a peak of 301.5 uV, beyond the 300 uV of training", None, "marked BAD_movement"]
    assert unjudged_reasons(windows, [np.nan] * 4, sfreq=200.0) == [None] * 4


@pytest.mark.parametrize("is_marked", [False, True])
@pytest.mark.parametrize("method", ["zscore", "euclidean", "monge", "euclidean_monge"])
def test_an_artefact_changes_nothing_of_an_alignment(method, is_marked):
    """Fitted with a loud stretch it is what it is without that stretch, unmarked or marked."""
    plain = make_raw([], 60.0)
    noisy = loud(plain, 20.0, 30.0)
    if is_marked:
        noisy.set_annotations(mne.Annotations([20.0], [10.0], ["BAD_movement"]))
    extractor = EEGFeatureExtractor(**SETTINGS, alignment=method)
    without = extractor.fit_alignment([plain.copy().crop(0, 20, include_tmax=False), plain.copy().crop(30)])
    fitted = extractor.fit_alignment(noisy)
    assert fitted.n_windows == without.n_windows == 25
    values = extractor(plain, align=False)["input_values"]
    np.testing.assert_allclose(fitted.transform(values), without.transform(values), atol=1e-3)
    # the call itself, and a session that goes on
    np.testing.assert_allclose(extractor(noisy)["input_values"][:10], without.transform(values)[:10], atol=1e-3)
    session = extractor.start_session(plain.ch_names)
    session.update(extractor(noisy, align=False)["input_values"])
    assert (session.n_windows, session.n_left_out) == (25, 5)
    np.testing.assert_allclose(session.transform(values), without.transform(values), atol=1e-3)


def test_a_quiet_artefact_that_is_marked_stays_out_too():
    raw = make_raw([(20.0, 10.0, "BAD_gel")], 60.0)
    fitted = EEGFeatureExtractor(**SETTINGS, alignment="euclidean").fit_alignment(raw)
    assert fitted.n_windows == 25
    raw = make_raw([(0.0, 40.0, "BAD_gel")], 60.0)
    with pytest.raises(
        ValueError, match=r"20 s of signal that are not marked bad \(20 of 30 windows are\) are too few"
    ):
        EEGFeatureExtractor(**SETTINGS, alignment="euclidean").fit_alignment(raw)


def test_a_session_that_begins_with_artefacts_recovers_from_them():
    extractor = EEGFeatureExtractor(**SETTINGS, alignment="euclidean", reject_uv=300.0)
    raw = loud(make_raw([], 80.0), 0.0, 8.0)
    windows = extractor(raw, align=False)["input_values"]
    session = extractor.start_session(raw.ch_names)
    for number, window in enumerate(windows):
        session.update(window[None])
        assert session.is_ready == (number + 1 >= 4 + 15)
    assert session.n_left_out == 4
    expected = extractor.fit_alignment(raw).transform(windows)
    np.testing.assert_allclose(session.transform(windows), expected, atol=1e-3)


def two_classes(seed: int) -> mne.io.RawArray:
    raw = make_raw([(0.0, 40.0, "rest"), (40.0, 40.0, "task")], 80.0, subject=f"S{seed}", seed=seed)
    raw.annotations.append(50.0, 4.0, "BAD_talk")
    return loud(raw, 10.0, 16.0)


def test_rejected_windows_can_be_kept_with_their_reason(tmp_path):
    raws = [two_classes(seed) for seed in range(2)]
    extractor = EEGFeatureExtractor(**SETTINGS, reject_uv=300.0)
    options = {"cache_dir": tmp_path, "progress": False}
    train, every = (
        build_dataset(raws, extractor, **options),
        build_dataset(raws, extractor, keep_rejected=True, **options),
    )
    assert "reason" not in train.column_names and len(train) == 2 * (40 - 3 - 2) and len(every) == 80
    reasons = every.with_format(None)["reason"][:]
    assert [reason for reason in reasons[:40] if reason][3:] == ["marked BAD_talk"] * 2
    assert all("beyond the 300 uV of training" in reason for reason in reasons[5:8])
    judged = [row for row, reason in enumerate(reasons) if reason is None]
    np.testing.assert_array_equal(every.select(judged)["input_values"][:], train["input_values"][:])
    # aligned by the same statistics
    of_train, of_every = (align_dataset(data, "euclidean", **options) for data in (train, every))
    np.testing.assert_allclose(of_every.select(judged)["input_values"][:], of_train["input_values"][:], atol=1e-4)
    # an explicit threshold goes before the extractor's
    assert len(build_dataset(raws, extractor, max_abs_uv=1e5, **options)) == 2 * (40 - 2)


def test_a_dataset_is_aligned_as_without_its_artefacts(tmp_path):
    options = {"cache_dir": tmp_path, "progress": False}
    raws = [two_classes(seed) for seed in range(2)]
    plain = EEGFeatureExtractor(**SETTINGS)
    noisy = build_dataset(raws, plain, **options)
    clean = build_dataset(raws, plain, max_abs_uv=300.0, **options)
    assert (len(noisy), len(clean)) == (76, 70)
    kept = np.abs(noisy["input_values"][:].numpy()).max((1, 2)) <= 300
    aligned = align_dataset(noisy, "euclidean", **options)["input_values"][:].numpy()
    np.testing.assert_allclose(
        aligned[kept], align_dataset(clean, "euclidean", **options)["input_values"][:], atol=1e-4
    )


def test_the_threshold_is_saved_and_older_files_have_none(tmp_path):
    EEGFeatureExtractor(reject_uv=300).save_pretrained(tmp_path)
    assert EEGFeatureExtractor.from_pretrained(tmp_path).reject_uv == 300.0
    path = tmp_path / "preprocessor_config.json"
    path.write_text("\n".join(line for line in path.read_text().splitlines() if "reject_uv" not in line))
    assert EEGFeatureExtractor.from_pretrained(tmp_path).reject_uv is None
    with pytest.raises(ValueError, match="reject_uv must be finite and above 0; got -1"):
        EEGFeatureExtractor(reject_uv=-1)
