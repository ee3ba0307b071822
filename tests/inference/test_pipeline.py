# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""The pipeline against the extractor and the model by hand: kinds of input, streaming, sessions, errors."""

from __future__ import annotations

import tracemalloc

import mne
import numpy as np
import pytest
import torch
import transformers

import dlink_hf
from dlink_hf import EEGFeatureExtractor, MiCConfig, MiCForEEGClassification, MiCModel, make_synthetic_recordings


NAMES = ["F3", "C3", "Cz", "C4", "Pz"]
LABELS = ["left", "right", "rest"]
SIGNAL = {"ch_names": NAMES, "n_times": 400, "id2label": dict(enumerate(LABELS))}


def save_student(folder, **extractor):
    """A tiny student of random weights, with its feature extractor."""
    torch.manual_seed(0)
    model = MiCForEEGClassification(MiCConfig.from_size("tiny", **SIGNAL))
    model.save_pretrained(folder)
    EEGFeatureExtractor(ch_names=NAMES, sfreq=200.0, n_times=400, l_freq=0.5, **extractor).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def student(tmp_path_factory):
    return save_student(tmp_path_factory.mktemp("student"))


@pytest.fixture(scope="module")
def aligned(tmp_path_factory):
    return save_student(tmp_path_factory.mktemp("aligned"), alignment="euclidean")


@pytest.fixture(scope="module")
def pipe(student):
    return dlink_hf.pipeline("eeg-classification", model=student, device="cpu")


@pytest.fixture(scope="module")
def raws():
    """Three people, 50 s each, 19 channels at 200 Hz."""
    return make_synthetic_recordings(n_subjects=3, n_trials=8, progress=False)


@torch.no_grad()
def by_hand(folder, recording, stride=None, **options):
    """Onsets (N,) and probabilities (N, 3), by extractor, model and a softmax in NumPy."""
    extractor = EEGFeatureExtractor.from_pretrained(folder)
    extractor.stride = stride
    batch = extractor(recording, **options)
    positions = torch.tensor(batch["channel_positions"])
    model = MiCForEEGClassification.from_pretrained(folder).eval()
    logits = model(torch.tensor(batch["input_values"]), positions).logits.numpy().astype(np.float64)
    exponentials = np.exp(logits - logits.max(1, keepdims=True))
    return batch["onset"], exponentials / exponentials.sum(1, keepdims=True)


def probabilities_of(windows):
    scores = [{row["label"]: row["score"] for row in window["scores"]} for window in windows]
    return np.array([[row[name] for name in LABELS] for row in scores])


def check(windows, expected, atol=1e-5):
    """Windows, told with top_k=None, against onsets and probabilities."""
    onsets, probabilities = expected
    assert len(windows) == len(onsets) > 5 and probabilities.std(0).min() > 3e-4
    np.testing.assert_allclose(probabilities_of(windows), probabilities, atol=atol)
    np.testing.assert_array_equal([window["onset"] for window in windows], onsets)
    assert [window["label"] for window in windows] == [LABELS[index] for index in probabilities.argmax(1)]
    np.testing.assert_allclose([window["score"] for window in windows], probabilities.max(1), atol=atol)
    assert {window["duration"] for window in windows} == {2.0}


# --- numbers ----------------------------------------------------------------------------------------------------


def test_a_real_file_a_raw_and_an_array_give_the_same(student, pipe, data_dir):
    path = data_dir / "eegmat" / "Subject35_2.edf"
    windows = pipe(path, top_k=None)
    check(windows, by_hand(student, path))
    raw = mne.io.read_raw_edf(path, verbose="ERROR")
    eeg = [name for name in raw.ch_names if name.startswith("EEG ") and "A2-A1" not in name]
    array = {"array": raw.get_data(picks=eeg) * 1e6, "ch_names": eeg, "sfreq": 200.0, "unit": "uV"}
    for same in (str(path), raw, array, {"input": path}, {**array, "array": torch.tensor(array["array"])}):
        np.testing.assert_allclose(probabilities_of(pipe(same, top_k=None)), probabilities_of(windows), atol=1e-5)


def test_windows_overlap_where_a_stride_says_so(student, pipe, raws):
    check(pipe(raws[0], top_k=None, stride_seconds=0.5), by_hand(student, raws[0], stride=100))
    check(pipe(raws[0], top_k=None), by_hand(student, raws[0]))
    # the extractor that was loaded is as it was
    assert pipe.feature_extractor.stride is None


def test_a_long_recording_is_streamed_in_batches(pipe, raws):
    expected, sizes = pipe(raws[0], stride_seconds=0.05, top_k=None), []
    hook = pipe.model.register_forward_hook(lambda module, args, output: sizes.append(len(args[0])))
    tracemalloc.start()
    windows = pipe(raws[0], stride_seconds=0.05, batch_size=8, top_k=None)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    hook.remove()
    assert sizes == [8] * (len(windows) // 8) + [len(windows) % 8] and len(sizes) > 100
    assert peak < 0.75 * len(windows) * len(NAMES) * 400 * 4  # bytes that all windows would take
    np.testing.assert_allclose(probabilities_of(windows), probabilities_of(expected), atol=1e-5)
    one_by_one = pipe(raws[0], batch_size=1, top_k=None)
    np.testing.assert_allclose(probabilities_of(one_by_one), probabilities_of(pipe(raws[0], top_k=None)), atol=1e-5)


def test_prepared_windows_do_not_know_their_onset(student, pipe, raws):
    extractor = EEGFeatureExtractor(ch_names=NAMES, n_times=400)
    windows = extractor(raws[1])["input_values"]
    facts = {"ch_names": NAMES, "sfreq": 200.0, "unit": "uV", "is_filtered": True}
    found = pipe(windows, top_k=None, **facts)
    expected = by_hand(student, windows, **facts)[1]
    np.testing.assert_allclose(probabilities_of(found), expected, atol=1e-5)
    assert {window["onset"] for window in found} == {None}
    epochs = mne.make_fixed_length_epochs(raws[1].copy().pick(NAMES), 2.0, preload=True, verbose="ERROR")
    found = pipe({"input": epochs, "is_filtered": True}, top_k=None)
    np.testing.assert_allclose(probabilities_of(found), by_hand(student, epochs, is_filtered=True)[1], atol=1e-5)
    with pytest.raises(ValueError, match="is_filtered=True"):
        pipe(epochs)


def test_top_k(pipe, raws):
    one, two, all_of_them = (pipe(raws[0], top_k=top_k) for top_k in (1, 2, None))
    assert pipe(raws[0]) == one and set(one[0]) == {"label", "score", "onset", "duration", "reason"}
    for first, second, third in zip(one, two, all_of_them, strict=True):
        assert {name: third[name] for name in first} == first
        assert second["scores"] == third["scores"][:2] and len(third["scores"]) == 3
        scores = [row["score"] for row in third["scores"]]
        assert scores == sorted(scores, reverse=True) and sum(scores) == pytest.approx(1.0)
        assert third["scores"][0] == {"label": first["label"], "score": first["score"]}
    assert pipe(raws[0], top_k=9) == all_of_them


# --- several recordings -----------------------------------------------------------------------------------------


def test_lists_hold_recordings_of_any_kind_and_montage(student, pipe, raws):
    fewer = raws[1].copy().pick(["C4", "C3", "Cz"])
    array = {"array": raws[2].get_data(), "ch_names": raws[2].ch_names, "sfreq": 200.0, "unit": "V"}
    expected = [by_hand(student, raw) for raw in (raws[0], fewer, raws[2])]
    for inputs in ([raws[0], fewer, array], (raws[0], fewer, array)):
        results = pipe(inputs, top_k=None)
        assert isinstance(results, list) and len(results) == 3
        for windows, of_one in zip(results, expected, strict=True):
            check(windows, of_one)
    assert pipe([]) == [] and pipe([raws[0]]) == [pipe(raws[0])]


@pytest.mark.parametrize("kind", ["generator", "map"])
def test_a_generator_is_read_as_far_as_it_is_asked(pipe, raws, kind):
    read = []

    def note(raw):
        read.append(raw)
        return raw

    results = pipe((note(raw) for raw in raws) if kind == "generator" else map(note, raws))
    assert len(read) <= 1
    assert next(results) == pipe(raws[0]) and len(read) == 1
    assert list(results) == [pipe(raws[1]), pipe(raws[2])] and len(read) == 3


# --- where it comes from ----------------------------------------------------------------------------------------


def test_transformers_own_pipeline_knows_the_task(student, pipe, raws, tmp_path):
    assert dlink_hf.EEGClassificationPipeline is type(pipe)
    theirs = transformers.pipeline("eeg-classification", model=str(student), device="cpu", batch_size=4)
    assert type(theirs) is type(pipe)
    found, expected = theirs(raws[0], top_k=None), pipe(raws[0], top_k=None)
    np.testing.assert_allclose(probabilities_of(found), probabilities_of(expected), atol=1e-5)
    # saved and loaded by either
    pipe.save_pretrained(tmp_path)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"config.json", "model.safetensors", "preprocessor_config.json"}
    assert dlink_hf.pipeline(model=str(tmp_path), device="cpu")(raws[0], top_k=None) == expected
    assert transformers.pipeline("eeg-classification", str(tmp_path), device="cpu")(raws[0], top_k=None) == expected


def test_a_model_in_training_is_used_without_dropout_and_left_so(student, pipe, raws):
    model = MiCForEEGClassification.from_pretrained(student, hidden_dropout=0.5).train()
    extractor = EEGFeatureExtractor.from_pretrained(student)
    made = dlink_hf.pipeline(model=model, feature_extractor=extractor, device="cpu", top_k=None)
    assert made(raws[0]) == pipe(raws[0], top_k=None) and model.training


def test_dtype(student, pipe, raws):
    half = dlink_hf.pipeline(model=student, dtype="bfloat16", device="cpu")
    assert half.dtype == torch.bfloat16 and pipe.dtype == torch.float32
    found, expected = half(raws[0], top_k=None), pipe(raws[0], top_k=None)
    np.testing.assert_allclose(probabilities_of(found), probabilities_of(expected), atol=0.1)
    assert probabilities_of(found).tolist() != probabilities_of(expected).tolist()


def test_a_teacher_reads_its_own_channels_alone(raws):
    pytest.importorskip("braindecode", reason="teachers need braindecode: pip install 'dlink-hf[teachers]'")
    from toy_training import NAMES as OWN, toy_teacher

    teacher = toy_teacher()
    made = dlink_hf.pipeline(model=teacher, feature_extractor=EEGFeatureExtractor(n_times=400), device="cpu")
    windows = made(raws[0], top_k=None)
    values = EEGFeatureExtractor(ch_names=OWN, n_times=400)(raws[0])["input_values"]
    with torch.no_grad():
        expected = teacher.eval()(torch.tensor(values)).logits.double().softmax(-1).numpy()
    found = [
        [next(r["score"] for r in w["scores"] if r["label"] == name) for name in ("rest", "task")] for w in windows
    ]
    np.testing.assert_allclose(found, expected, atol=1e-5)
    with pytest.raises(ValueError, match="lacks 1 .*: Pz"):
        made(raws[0].copy().drop_channels("Pz"))
    other = dlink_hf.pipeline(
        model=teacher, feature_extractor=EEGFeatureExtractor(ch_names=OWN[::-1], n_times=400), device="cpu"
    )
    with pytest.raises(ValueError, match="in this order"):
        other(raws[0])


# --- alignment --------------------------------------------------------------------------------------------------


def test_an_alignment_is_fitted_on_the_whole_session(aligned, raws, tmp_path):
    first, second = raws[0].copy().crop(0, 20), raws[0].copy().crop(20, 45)
    files = [tmp_path / "first_raw.fif", tmp_path / "second_raw.fif"]
    for raw, file in zip((first, second), files, strict=True):
        raw.save(file, fmt="double", verbose="ERROR")
    pipe = dlink_hf.pipeline(model=aligned, device="cpu", top_k=None)
    extractor = EEGFeatureExtractor.from_pretrained(aligned)
    state = extractor.fit_alignment(files)
    expected = by_hand(aligned, files[0], alignment_state=state)
    check(pipe(files[0], session_recordings=[files[1]], batch_size=3), expected)
    # the whole session may be named: what is classified counts once
    check(pipe(files[0], session_recordings=files), expected)
    check(pipe({"input": files[0], "session_recordings": files[1]}), expected)
    for fitted in (pipe.fit_session(files), pipe.fit_session(files).to_dict()):
        check(pipe(files, alignment_state=fitted)[0], expected)
    # alone, a recording is its own session, if it is long enough
    check(pipe(raws[1]), by_hand(aligned, raws[1]))
    assert np.abs(probabilities_of(pipe(raws[1])) - by_hand(aligned, raws[1], alignment_state=state)[1]).max() > 1e-3
    windows = extractor(raws[1], align=False)["input_values"]
    prepared = {"array": windows, "ch_names": NAMES, "sfreq": 200.0, "unit": "uV", "is_filtered": True}
    found = pipe.fit_session([prepared]).transform(windows)
    np.testing.assert_allclose(found, extractor(raws[1])["input_values"], rtol=1e-4, atol=1e-4)
    with pytest.raises(ValueError, match="20 s of signal are too few .* session_recordings="):
        pipe(files[0])
    with pytest.raises(ValueError, match="leave session_recordings out"):
        pipe(files[0], session_recordings=files, alignment_state=state)


# --- what is refused --------------------------------------------------------------------------------------------


ARRAY = {"array": np.random.default_rng(0).normal(0, 20, (5, 1000)), "ch_names": NAMES, "sfreq": 200.0, "unit": "uV"}


@pytest.mark.parametrize(
    ("given", "error", "reason"),
    [
        (ARRAY["array"], ValueError, "ch_names, sfreq, unit is missing"),
        ({"array": ARRAY["array"], "ch_names": NAMES}, ValueError, "sfreq, unit is missing"),
        ({**ARRAY, "unit": "nV"}, ValueError, "unit must be one of 'uV', 'mV', 'V', got 'nV'"),
        ({**ARRAY, "unit": "V"}, ValueError, "pass unit='uV'"),
        ({**ARRAY, "sfreq": -1}, ValueError, "sfreq must be a number of hertz above 0"),
        ({**ARRAY, "array": ARRAY["array"][:, :300]}, ValueError, "lasts 1.5 s, less than one window of 2 s"),
        ({**ARRAY, "array": ARRAY["array"].T}, ValueError, "pass its transpose"),
        ({**ARRAY, "ch_names": NAMES[:4]}, ValueError, "4 ch_names for an array of 5 channels"),
        ({**ARRAY, "ch_names": ["C3", *NAMES[1:]]}, ValueError, "C3 more than once"),
        ({**ARRAY, "ch_names": ["XY", "XZ", "EX", "EY", "EZ"]}, ValueError, "XY"),
        ({**ARRAY, "ch_names": "Cz"}, TypeError, "list of channel names"),
        ({**ARRAY, "rate": 3}, ValueError, "this one has array, ch_names, sfreq, unit, rate"),
        ({"ch_names": NAMES}, ValueError, "one of 'array' and 'input'"),
        ({**ARRAY, "array": ARRAY["array"] * np.nan}, ValueError, "NaN"),
        ({**ARRAY, "array": np.zeros((5, 0))}, ValueError, "."),
        ("nowhere.edf", FileNotFoundError, "nowhere.edf"),
        ([["a.edf"]], TypeError, "flat list"),
        ([1.0, 2.0], TypeError, "got float"),
        (None, TypeError, "got NoneType"),
    ],
)
def test_recordings_that_can_not_be_used(pipe, given, error, reason):
    with pytest.raises(error, match=reason):
        pipe(given)


@pytest.mark.parametrize(
    ("options", "error", "reason"),
    [
        ({"top_k": 0}, ValueError, "top_k"),
        ({"stride_seconds": 0}, ValueError, "stride_seconds"),
        ({"batch_size": 0}, ValueError, "batch_size"),
        ({"unit": "volt"}, ValueError, "unit"),
        ({"window_seconds": 2}, TypeError, "no option window_seconds"),
        ({"session_recordings": ["a.edf"]}, ValueError, "model with an alignment"),
        ({"sfreq": 200.0}, ValueError, "knows its own"),
    ],
)
def test_options_that_can_not_be_used(pipe, raws, options, error, reason):
    with pytest.raises(error, match=reason):
        pipe(raws[0], **options)


def test_models_that_can_not_be_used(student, pipe, raws, tmp_path):
    make, extractor = dlink_hf.pipeline, pipe.feature_extractor
    with pytest.raises(ValueError, match="has the tasks .eeg-classification."):
        make("text-classification", model=student)
    with pytest.raises(ValueError, match="Which model"):
        make("eeg-classification")
    with pytest.raises(OSError, match="config.json"):
        make(model=tmp_path)
    with pytest.raises(ValueError, match="loaded already"):
        make(model=pipe.model, feature_extractor=extractor, dtype="float16")
    with pytest.raises(TypeError, match="needs the EEGFeatureExtractor"):
        make(model=pipe.model)
    with pytest.raises(ValueError, match="128 Hz"):
        make(model=pipe.model, feature_extractor=EEGFeatureExtractor(sfreq=128.0, n_times=256))
    # a general backbone would guess, whoever loads it
    MiCModel(MiCConfig.from_size("tiny", **SIGNAL)).save_pretrained(tmp_path / "backbone")
    extractor.save_pretrained(tmp_path / "backbone")
    with pytest.raises(ValueError, match="fine-tune it first"):
        make(model=tmp_path / "backbone")
    with pytest.raises(ValueError, match="fine-tune it first"):
        transformers.pipeline("eeg-classification", model=str(tmp_path / "backbone"))
    with pytest.raises(TypeError, match="MiCModel has no classification head"):
        make(model=MiCModel.from_pretrained(tmp_path / "backbone"), feature_extractor=extractor)
    # without its preprocessing a model is of no use
    pipe.model.save_pretrained(tmp_path / "bare")
    with pytest.raises(ValueError, match="no preprocessor_config.json"):
        make(model=tmp_path / "bare")
    assert make(model=tmp_path / "bare", feature_extractor=student, device="cpu")(raws[0]) == pipe(raws[0])
    broken = MiCForEEGClassification.from_pretrained(student)
    torch.nn.init.constant_(broken.classifier.bias, float("nan"))
    with pytest.raises(ValueError, match="not finite"):
        make(model=broken, feature_extractor=extractor, device="cpu")(raws[0])


def test_what_training_rejects_gets_a_reason_in_place_of_a_label(tmp_path, raws):
    pipe = dlink_hf.pipeline(model=save_student(tmp_path, reject_uv=300.0), device="cpu")
    values = raws[0].get_data()
    values[:, 1000] += 2e-3
    raw = mne.io.RawArray(values, raws[0].info, verbose="error")
    raw.set_annotations(mne.Annotations([10.5, 20.0], [0.5, 0.0], ["BAD_movement", "BAD boundary"]))
    windows, forced = pipe(raw), pipe(raw, label_all=True, top_k=None)
    reasons = {window["onset"]: window["reason"] for window in windows if window["reason"] is not None}
    # the peak lies in the window from 4 s on, the join between two
    assert list(reasons) == [4.0, 10.0]
    assert "uV, beyond the 300 uV of training" in reasons[4.0] and reasons[10.0] == "marked BAD_movement"
    for window, answer in zip(windows, forced, strict=True):
        assert window["reason"] == answer["reason"] and answer["label"] in LABELS and len(answer["scores"]) == 3
        expected = (None, None) if window["reason"] else (answer["label"], answer["score"])
        assert (window["label"], window["score"]) == expected
    assert pipe(raw, top_k=2)[2]["scores"] == []
    # across the join
    across = pipe(raw, stride_seconds=1.0)
    assert [one["reason"] for one in across if one["onset"] == 19.0] == ["lies across a join (BAD boundary)"]


def test_a_marked_stretch_stays_out_of_the_alignment_of_the_pipeline(aligned, raws):
    pipe = dlink_hf.pipeline(model=aligned, device="cpu")
    plain = pipe(raws[0])
    values = raws[0].get_data()
    values[:, 4000:6000] += 1e-4 * np.sin(2 * np.pi * 3 * np.arange(2000) / 200)
    raw = mne.io.RawArray(values, raws[0].info, verbose="error")
    raw.set_annotations(mne.Annotations([18.0], [14.0], ["BAD_movement"]))
    marked = pipe.fit_session(raw)
    assert marked.n_windows == sum(window["reason"] is None for window in pipe(raw))
    # what is outside is classified by the statistics of what is outside
    state = EEGFeatureExtractor.from_pretrained(aligned).fit_alignment(raw)
    assert [one["label"] for one in pipe(raw, alignment_state=state)] == [one["label"] for one in pipe(raw)]
    assert len(plain) == len(pipe(raw))
