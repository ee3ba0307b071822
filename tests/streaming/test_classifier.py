# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Predictions of a live stream: those of the recording; and what is said, not guessed, when the stream is broken."""

import numpy as np
import pytest
import torch
from toy_training import NAMES

from dlink_hf import (
    EEGFeatureExtractor,
    MiCConfig,
    MiCForEEGClassification,
    OnnxStudent,
    StreamClassifier,
    export_onnx,
)


SFREQ = 128.0
SECONDS = 32
LABELS = ["left", "right"]


@pytest.fixture(scope="module")
def recording():
    """(C, T) microvolts whose alpha comes and goes, and times in seconds."""
    rng = np.random.default_rng(0)
    times = 1000 + np.arange(int(SECONDS * SFREQ)) / SFREQ
    alpha = 30 * np.sin(2 * np.pi * 10 * times) * (np.sin(2 * np.pi * times / 9) > 0)
    return 10 * rng.standard_normal((len(NAMES), len(times))) + alpha, times


@pytest.fixture(scope="module")
@torch.no_grad()
def model(recording):
    """A student that is now sure of the one class, now of the other."""
    torch.manual_seed(0)
    config = MiCConfig.from_size("tiny", ch_names=NAMES, n_times=400, id2label=dict(enumerate(LABELS)))
    model = MiCForEEGClassification(config).eval()
    windows = extractor_with(stride=20)(recording[0], sfreq=SFREQ, ch_names=NAMES, unit="uV", return_tensors="pt")
    odds = model(windows["input_values"]).logits.diff().ravel()
    head = model.classifier
    head.weight *= 2 / odds.std()
    head.bias.copy_(torch.tensor([odds.mean() * 2 / odds.std(), 0.0]))
    return model


def extractor_with(**settings) -> EEGFeatureExtractor:
    return EEGFeatureExtractor(ch_names=NAMES, n_times=400, l_freq=1.0, h_freq=45.0, **settings)


def classifier(model, said=None, **options) -> StreamClassifier:
    say = (lambda text: None) if said is None else said.append
    settings = {"ch_names": NAMES, "sfreq": SFREQ, "unit": "uV", "hop_seconds": 0.1, "say": say, **options}
    return StreamClassifier(model, settings.pop("extractor", extractor_with()), **settings)


def run(live: StreamClassifier, values: np.ndarray, times: np.ndarray, size: int = 13) -> list:
    return [
        prediction
        for first in range(0, len(times), size)
        for prediction in live.push(values[:, first : first + size], times[first : first + size])
    ]


@torch.no_grad()
def offline(model, values: np.ndarray, stride: int = 20, **settings) -> dict[float, np.ndarray]:
    """Probabilities of the recording's windows by their onset."""
    extractor = extractor_with(stride=stride)
    batch = extractor(values, sfreq=SFREQ, ch_names=NAMES, unit="uV", return_tensors="pt")
    rows = model(batch["input_values"]).logits.double().softmax(-1).numpy()
    return {round(float(onset), 6): row for onset, row in zip(batch["onset"], rows, strict=True)}


def test_predictions_are_those_of_the_recording(model, recording):
    values, times = recording
    live = classifier(model)
    predictions, expected = run(live, values, times), offline(model, values)
    assert [round(p.onset, 6) for p in predictions] == list(expected)[: len(predictions)]
    found = np.array([p.probabilities for p in predictions])
    wanted = np.array(list(expected.values())[: len(predictions)])
    np.testing.assert_allclose(found, wanted, atol=1e-4)
    assert np.ptp(wanted[:, 0]) > 0.1
    assert [p.label for p in predictions] == [LABELS[row.argmax()] for row in wanted]
    # each as soon as its filters have seen its last sample
    waits = [p.time - times[0] - p.onset - p.duration - live.delay for p in predictions]
    assert max(waits) < 13 / SFREQ + 2 / 128
    assert len(predictions) == len([o for o in expected if o + 2 + live.delay <= times[-1] - times[0]])


def test_the_size_of_the_pushes_does_not_matter(model, recording):
    values, times = recording[0][:, :1500], recording[1][:1500]
    one, other = (run(classifier(model), values, times, size) for size in (1, 1000))
    assert [p.onset for p in one] == [p.onset for p in other]
    found, wanted = (np.array([p.probabilities for p in each]) for each in (one, other))
    np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_channels_are_found_by_name_in_any_order(model, recording):
    values, times = recording
    order = list(reversed(range(len(NAMES))))
    names = [*[NAMES[i].upper() for i in order], "Trigger", "Fp1"]
    extra = np.concatenate([values[order], np.full((2, len(times)), np.nan)])
    found = run(classifier(model, ch_names=names), extra, times)
    wanted = run(classifier(model), values, times)
    np.testing.assert_allclose([p.probabilities for p in found], [p.probabilities for p in wanted], atol=1e-6)


def test_smoothing_and_rejection(model, recording):
    values, times = recording
    plain = np.array([p.probabilities for p in run(classifier(model), values, times)])
    predictions = run(classifier(model, smoothing_seconds=0.5, reject_below=0.6), values, times)
    memory, expected = np.exp(-0.1 / 0.5), [plain[0]]
    for row in plain[1:]:
        expected.append(memory * expected[-1] + (1 - memory) * row)
    np.testing.assert_allclose([p.smoothed for p in predictions], expected, atol=1e-6)
    wanted = [LABELS[row.argmax()] if row.max() >= 0.6 else "reject" for row in expected]
    assert [p.label for p in predictions] == wanted
    assert {"reject"} < set(wanted)


def test_a_fitted_alignment_gives_the_windows_of_the_session(model, recording):
    values, times = recording
    extractor = extractor_with(alignment="euclidean", alignment_min_seconds=10.0)
    state = extractor.fit_alignment(values, sfreq=SFREQ, ch_names=NAMES, unit="uV")
    live = classifier(model, extractor=extractor, alignment_state=state.to_dict())
    predictions = run(live, values, times)
    batch = EEGFeatureExtractor(**{**extractor.to_dict(), "stride": 20})(
        values, sfreq=SFREQ, ch_names=NAMES, unit="uV", alignment_state=state, return_tensors="pt"
    )
    with torch.no_grad():
        wanted = model(batch["input_values"]).logits.double().softmax(-1).numpy()
    np.testing.assert_allclose([p.probabilities for p in predictions], wanted[: len(predictions)], atol=1e-4)


def test_without_a_fitted_alignment_the_session_comes_first(model, recording):
    values, times = recording
    extractor = extractor_with(alignment="euclidean", alignment_min_seconds=10.0)
    live = classifier(model, extractor=extractor)
    predictions = run(live, values, times)
    without = [p for p in predictions if p.label is None]
    # five windows of two seconds
    assert without[0].reason == "the alignment has seen 1 of 5 windows of this subject"
    assert [p.onset for p in predictions if p.label][0] == pytest.approx(8.0)
    windows = extractor(values, sfreq=SFREQ, ch_names=NAMES, unit="uV", align=False)["input_values"]
    expected = extractor.start_session().update(windows[: live.alignment.n_windows]).alignment
    probe = windows[:1]
    np.testing.assert_allclose(live.alignment.transform(probe), expected.transform(probe), atol=1e-3)


def test_a_long_gap_starts_the_window_again(model, recording):
    values, times = recording
    kept = np.r_[0 : 15 * 128, 17 * 128 : len(times)]
    said: list[str] = []
    live = classifier(model, said)
    predictions = run(live, values[:, kept], times[kept])
    assert (live.n_lost, live.n_bridged, live.n_restarts) == (256, 0, 1)
    assert said == [
        f"256 samples (2 s) are missing: the window starts again, predictions resume in {live.delay + 2:.3g} s"
    ]
    after = [p for p in predictions if p.onset >= 15]
    # no window reaches over the gap, and those behind it are those of a recording that begins there
    assert all(p.onset + 2 <= 15 for p in predictions if p.onset < 15)
    assert after[0].onset == pytest.approx(17)
    wanted = list(offline(model, values[:, 17 * 128 :]).values())[: len(after)]
    np.testing.assert_allclose([p.probabilities for p in after], wanted, atol=1e-4)


@pytest.mark.parametrize("kind", ["missing", "not finite"])
def test_a_short_gap_is_bridged_and_said(model, recording, kind):
    values, times = recording
    said: list[str] = []
    live = classifier(model, said)
    gap = np.arange(1500, 1505)
    if kind == "missing":
        predictions = run(live, np.delete(values, gap, axis=1), np.delete(times, gap))
    else:
        broken = values.copy()
        broken[2, gap] = np.nan
        predictions = run(live, broken, times)
        assert said.pop(0) == f"{NAMES[2]}: samples that are not finite, taken as missing"
    assert said == ["5 samples (0.0391 s) are missing, bridged by a straight line"]
    assert (live.n_lost, live.n_bridged, live.n_restarts) == (5, 5, 0)
    bridged = values.copy()
    for row in bridged:
        row[gap] = np.interp(gap, [1499, 1505], row[[1499, 1505]])
    wanted = list(offline(model, bridged).values())[: len(predictions)]
    np.testing.assert_allclose([p.probabilities for p in predictions], wanted, atol=1e-4)


def test_a_channel_that_stays_broken_gives_no_prediction(model, recording):
    values, times = recording
    broken = values.copy()
    broken[0, 2000:] = np.inf
    said: list[str] = []
    predictions = run(classifier(model, said), broken, times)
    assert predictions[-1].time <= times[2000]
    assert set(said) == {f"{NAMES[0]}: samples that are not finite, taken as missing"}
    # seldom enough to be read
    assert 2 <= len(said) <= 3


def test_a_flat_channel_gives_no_label(model, recording):
    values, times = recording
    still = values.copy()
    still[1, 15 * 128 : 20 * 128] = still[1, 15 * 128]
    said: list[str] = []
    predictions = run(classifier(model, said), still, times)
    assert said == [f"{NAMES[1]} went flat: has the electrode come off?"]
    silent = [p for p in predictions if p.label is None]
    assert {p.reason for p in silent} == {f"{NAMES[1]} flat"}
    assert silent[0].time - times[0] == pytest.approx(16, abs=0.2)
    assert [p.onset for p in predictions if p.label and p.onset > 15][0] == pytest.approx(20, abs=0.11)


def test_a_wrong_rate_gives_no_label(model, recording):
    values, times = recording
    said: list[str] = []
    live = classifier(model, said, sfreq=125.0)
    predictions = run(live, values, times)
    assert "128 samples come in a second, 125 were announced" in said[0]
    assert all(p.label is None for p in predictions if p.time - times[0] > 5)
    # two per mille, as clocks of amplifiers have, is no matter
    assert all(p.label for p in run(classifier(model, sfreq=127.8), values, times))


def test_a_clock_that_goes_back_starts_the_window_again(model, recording):
    values, times = recording
    said: list[str] = []
    live = classifier(model, said)
    run(live, values, np.where(np.arange(len(times)) < 2000, times, times - 5))
    assert live.n_restarts == 1
    assert "clock went back by 4.99 s" in said[0]


def test_a_wrong_unit_is_refused(model, recording):
    values, times = recording
    with pytest.raises(ValueError, match="typical amplitude .* pass unit='uV'"):
        run(classifier(model, unit="V"), values, times)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"unit": None}, "does not say its unit"),
        ({"ch_names": NAMES[:-1]}, f"lacks 1 of the {len(NAMES)} channels asked for: {NAMES[-1]}.*allow_missing"),
        ({"ch_names": ["EEG 1", *NAMES[1:]]}, "The stream's channels are: EEG 1"),
        ({"hop_seconds": 0}, "hop_seconds must be a number of seconds, at least 0.005"),
        ({"smoothing_seconds": -1}, "smoothing_seconds must be"),
        ({"reject_below": 1.0}, "reject_below must be a probability"),
    ],
)
def test_what_is_refused(model, options, message):
    with pytest.raises(ValueError, match=message):
        classifier(model, **options)


def test_shapes_and_times_are_checked(model, recording):
    values, times = recording
    live = classifier(model)
    with pytest.raises(ValueError, match="other channels needs a new classifier"):
        live.push(values[:-1, :10], times[:10])
    with pytest.raises(ValueError, match="time stamps hold numbers that are not finite"):
        live.push(values[:, :2], np.array([np.nan, np.nan]))


@pytest.mark.parametrize("is_exported", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_student_goes_on_with_fewer_channels_where_it_may(model, recording, is_exported, tmp_path):
    values, times = recording
    reader = model
    if is_exported:
        export_onnx(model, tmp_path / "onnx", any_montage=True)
        reader = OnnxStudent.from_pretrained(tmp_path / "onnx")
    live = classifier(reader, ch_names=NAMES[1:], allow_missing=True)
    predictions = run(live, values[1:], times)
    assert live.ch_names == NAMES[1:]
    batch = EEGFeatureExtractor(n_times=400, l_freq=1.0, h_freq=45.0, stride=20)(
        values[1:], sfreq=SFREQ, ch_names=NAMES[1:], unit="uV", return_tensors="pt"
    )
    with torch.no_grad():
        wanted = model(batch["input_values"], batch["channel_positions"]).logits.double().softmax(-1).numpy()
    np.testing.assert_allclose([p.probabilities for p in predictions], wanted[: len(predictions)], atol=1e-4)


def test_an_amplitude_that_grows_later_gives_no_label(model, recording):
    values, times = recording
    said = []
    grown = np.where(times >= times[0] + 10, 1000 * values, values)
    predictions = run(classifier(model, said, hop_seconds=1.0), grown, times)
    before = [one for one in predictions if one.onset + one.duration <= 10]
    assert len(before) >= 8 and len(predictions) - len(before) >= 18
    assert all(one.label in LABELS for one in before[:-4])
    after = predictions[len(before) :]
    assert {one.label for one in after} == {None}
    assert all("an amplitude of" in one.reason and "between 0.1 and 1000 uV" in one.reason for one in after)
    assert any("such windows get no label" in text for text in said)


def test_windows_beyond_the_rejection_of_training_get_no_label(model, recording):
    values, times = recording
    loud = values.copy()
    loud[3, int(15 * SFREQ)] += 3000
    predictions = run(classifier(model, extractor=extractor_with(reject_uv=300.0), hop_seconds=1.0), loud, times)
    for one in predictions:
        touched = one.onset <= 15 <= one.onset + one.duration
        assert (one.label is None) == touched, one
        assert (one.reason is not None) == touched and (not touched or "beyond the 300 uV of training" in one.reason)
    # without a threshold the model is asked
    assert all(one.label for one in run(classifier(model, hop_seconds=1.0), loud, times))


def test_artefacts_stay_out_of_the_alignment_of_a_session(model, recording):
    values, times = recording
    loud = values.copy()
    inside = (times - times[0] >= 20) & (times - times[0] < 24)
    loud[:, inside] += 250 * np.sin(2 * np.pi * 3 * times[inside])
    extractor = extractor_with(alignment="euclidean", alignment_min_seconds=12.0)
    clean, disturbed = (classifier(model, extractor=extractor, hop_seconds=2.0) for _ in range(2))
    run(clean, values, times), run(disturbed, loud, times)
    assert disturbed.alignment.n_windows < clean.alignment.n_windows
    windows = extractor_with()(values, sfreq=SFREQ, ch_names=NAMES, unit="uV")["input_values"]
    difference = clean.alignment.transform(windows) - disturbed.alignment.transform(windows)
    assert np.abs(difference).max() < 0.3 * windows.std()


def test_doubled_samples_and_broken_stamps_change_nothing_and_are_reported(model, recording):
    values, times = recording
    expected = run(classifier(model), values, times)
    said = []
    live = classifier(model, said)
    order = np.r_[0:2000, 1950:2000, 2000 : len(times)]
    stamps = times[order]
    stamps[[500, 501, 3000]] = np.nan
    found = run(live, values[:, order], stamps)
    assert [one.label for one in found] == [one.label for one in expected]
    np.testing.assert_allclose([one.onset for one in found], [one.onset for one in expected], atol=1e-6)
    assert (live.n_doubled, live.n_unstamped, live.n_restarts, live.n_lost) == (50, 3, 0, 0)
    assert any("samples came twice" in text for text in said)
    assert any("time stamps are not finite" in text for text in said)
    # a little back is said, much back begins the window again
    said.clear()
    wavering = times.copy()
    wavering[1000] -= 0.015
    run(classifier(model, said), values, wavering)
    assert said == ["time stamps go back by up to 7.19 ms"]
