# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""The feature extractor: the same numbers by every path, and errors that teach for bad input."""

import json
import os
import re
import tempfile
from pathlib import Path

import mne
import numpy as np
import pytest
import torch
from transformers import AutoFeatureExtractor, PretrainedConfig

from dlink_hf.core.electrodes import channel_positions
from dlink_hf.preprocessing.feature_extraction_eeg import EEGFeatureExtractor


CH_NAMES = ["Fp1", "C3", "Cz", "C4", "O2"]
SECONDS = 20
# away from the ends: half of the longest filter in use here, at 0.5 Hz
INNER = slice(4 * 200, -4 * 200)


def brain(sfreq: float, seconds: float = SECONDS, highest: float = 85.0) -> np.ndarray:
    """(C, T) microvolts: a sum of sines below `highest` Hz, known at every instant, whatever the rate."""
    rng = np.random.default_rng(3)
    freqs = rng.uniform(1.0, highest, size=40)
    phases = rng.uniform(0, 2 * np.pi, size=(len(CH_NAMES), 40, 1))
    gains = 60 / np.sqrt(40) * rng.uniform(0.2, 1, size=(len(CH_NAMES), 40, 1))
    times = np.arange(round(seconds * sfreq)) / sfreq
    return (gains * np.sin(2 * np.pi * freqs[None, :, None] * times + phases)).sum(axis=1)


def raw_of(values_uv: np.ndarray, sfreq: float, names=CH_NAMES, types="eeg") -> mne.io.RawArray:
    return mne.io.RawArray(values_uv * 1e-6, mne.create_info(list(names), sfreq, types), verbose="error")


def windows(extractor: EEGFeatureExtractor, values: np.ndarray, sfreq=200.0, unit="uV", names=CH_NAMES, **kwargs):
    return extractor(values, sfreq=sfreq, ch_names=names, unit=unit, **kwargs)["input_values"]


def relative_error(values: np.ndarray, expected: np.ndarray) -> float:
    return float(np.abs(values - expected).max() / expected.std())


def test_whole_output():
    values = brain(200)
    batch = EEGFeatureExtractor(n_times=1000)(raw_of(values, 200))
    assert batch["input_values"].dtype == np.float32 and batch["input_values"].shape == (4, 5, 1000)
    np.testing.assert_allclose(np.concatenate(batch["input_values"], axis=-1), values, rtol=1e-5, atol=1e-4)
    assert batch["ch_names"] == CH_NAMES
    assert batch["channel_positions"].dtype == np.float32
    np.testing.assert_allclose(batch["channel_positions"], channel_positions(CH_NAMES), atol=1e-8)
    np.testing.assert_array_equal(batch["onset"], [0, 5, 10, 15])


@pytest.mark.parametrize("return_tensors", ["pt", "np", None])
def test_return_tensors(return_tensors):
    batch = EEGFeatureExtractor()(raw_of(brain(200), 200), return_tensors=return_tensors)
    expected = torch.Tensor if return_tensors == "pt" else np.ndarray
    for key in ("input_values", "channel_positions", "onset"):
        assert isinstance(batch[key], expected), key
    assert batch["ch_names"] == CH_NAMES
    if return_tensors == "pt":
        assert batch["input_values"].dtype == batch["channel_positions"].dtype == torch.float32


@pytest.mark.parametrize("filters", [{}, {"l_freq": 0.5, "h_freq": 75.0}, {"h_freq": 40.0, "notch_freq": [50, 60]}])
@pytest.mark.parametrize("sfreq", [400.0, 500.0, 256.0, 250.0, 1000.0, 222.2])
def test_another_rate_agrees_with_the_direct_path(sfreq, filters):
    extractor = EEGFeatureExtractor(n_times=200 * SECONDS - 1, **filters)
    direct = windows(extractor, brain(200))[0]
    other = windows(extractor, brain(sfreq, SECONDS + 0.01), sfreq=sfreq)[0]
    assert relative_error(other[:, INNER], direct[:, INNER]) < 1e-3


def test_a_slower_recording_agrees_below_nine_tenths_of_its_nyquist_frequency():
    extractor = EEGFeatureExtractor(n_times=200 * SECONDS)
    direct = windows(extractor, brain(200, highest=0.9 * 64))[0]
    other = windows(extractor, brain(128, highest=0.9 * 64), sfreq=128)[0]
    assert relative_error(other[:, INNER], direct[:, INNER]) < 1e-3


def test_resampling_suppresses_what_the_new_rate_cannot_hold():
    """130 Hz would come back as 70 Hz."""
    times = np.arange(400 * SECONDS) / 400
    values = brain(400) + 50 * np.sin(2 * np.pi * 130 * times)
    extractor = EEGFeatureExtractor(n_times=200 * SECONDS)
    with_tone, without = windows(extractor, values, sfreq=400)[0], windows(extractor, brain(400), sfreq=400)[0]
    assert relative_error(with_tone[:, INNER], without[:, INNER]) < 1e-3


def test_the_clock_keeps_over_an_hour():
    times = np.arange(3600 * 250) / 250
    values = 30 * np.sin(2 * np.pi * 40 * times)[None]
    extractor = EEGFeatureExtractor(n_times=200)
    last = windows(extractor, values, sfreq=250, names=["Cz"], onsets=[3598.0])[0, 0]
    expected = 30 * np.sin(2 * np.pi * 40 * (3598 + np.arange(200) / 200))
    assert np.abs(last - expected).max() < 0.03


def test_filters_equal_mne_at_the_output_rate():
    values = brain(200)
    expected = mne.filter.notch_filter(values, 200, 50, verbose="error")
    expected = mne.filter.filter_data(expected, 200, 1.0, 40.0, verbose="error")
    extractor = EEGFeatureExtractor(n_times=200 * SECONDS, l_freq=1.0, h_freq=40.0, notch_freq=50)
    assert relative_error(windows(extractor, values)[0], expected) < 1e-5
    assert relative_error(windows(extractor, values[None])[0], expected) < 1e-5
    assert relative_error(windows(extractor, values, is_filtered=True)[0], values) < 1e-5


def test_a_large_offset_goes_with_the_high_pass():
    extractor = EEGFeatureExtractor(n_times=200 * SECONDS, l_freq=0.5)
    plain, shifted = (windows(extractor, brain(128) + offset, sfreq=128)[0] for offset in (0, 4100))
    assert relative_error(shifted, plain) < 1e-3


@pytest.mark.parametrize(("unit", "factor"), [("uV", 1.0), ("mV", 1e-3), ("V", 1e-6)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_units_agree(unit, factor, dtype):
    extractor = EEGFeatureExtractor()
    direct = extractor(raw_of(brain(200), 200))["input_values"]
    for values in (brain(200), brain(200).reshape(5, 4, 1000).swapaxes(0, 1)):
        other = windows(extractor, (values * factor).astype(dtype), unit=unit)
        assert relative_error(other, direct) < 1e-5


def test_a_file_that_holds_millivolts_labelled_volts():
    values = brain(200)
    wrong = raw_of(values * 1e3, 200)
    right = EEGFeatureExtractor()(raw_of(values, 200))["input_values"]
    with pytest.raises(ValueError, match="typical amplitude is .* read as V.*pass unit='mV'"):
        EEGFeatureExtractor()(wrong)
    for batch in (EEGFeatureExtractor()(wrong, unit="mV"), EEGFeatureExtractor(unit="mV")(wrong)):
        assert relative_error(batch["input_values"], right) < 1e-5
    assert relative_error(EEGFeatureExtractor(unit="mV").prepare_raw(wrong).get_data() * 1e6, values) < 1e-6


@pytest.mark.parametrize(("unit", "advice"), [("V", "unit='uV'"), ("mV", "unit='uV'")])
def test_array_in_the_wrong_unit(unit, advice):
    with pytest.raises(ValueError, match=f"read as {unit}.*{advice}"):
        windows(EEGFeatureExtractor(), brain(200), unit=unit)


def test_volts_called_microvolts():
    with pytest.raises(ValueError, match="read as uV.*unit='V'"):
        windows(EEGFeatureExtractor(), brain(200) * 1e-6, unit="uV")
    with pytest.raises(ValueError, match="read as uV.*unit='V'"):
        windows(EEGFeatureExtractor(), (brain(200) * 1e-6)[None, :, :1000], unit="uV")


def test_plausibility_bounds_can_be_moved():
    extractor = EEGFeatureExtractor(min_abs_uv=None, max_abs_uv=None)
    assert windows(extractor, brain(200) * 1e6).std() > 1e6


def test_order_of_channels_and_their_spelling_do_not_matter():
    extractor = EEGFeatureExtractor(ch_names=CH_NAMES, l_freq=1.0)
    direct = extractor(raw_of(brain(256), 256))
    order = [3, 0, 4, 2, 1]
    names = [["FP1-REF", "EEG C3", "Cz..", "c4", "EEG O2-LE"][i] for i in order]
    turned = extractor(raw_of(brain(256)[order], 256, names))
    assert turned["ch_names"] == CH_NAMES
    np.testing.assert_array_equal(turned["input_values"], direct["input_values"])
    np.testing.assert_array_equal(turned["channel_positions"], direct["channel_positions"])
    array = windows(extractor, brain(256)[order], sfreq=256, names=names)
    assert relative_error(array, direct["input_values"]) < 1e-5


def test_without_ch_names_the_order_is_the_recordings():
    names = ["O2", "Fp1", "Cz", "C4", "C3"]
    assert EEGFeatureExtractor()(raw_of(brain(200), 200, names))["ch_names"] == names


def test_a_subset_of_channels(caplog):
    extractor = EEGFeatureExtractor(ch_names=["Fp1", "Pz", "O2", "C3"])
    batch = extractor(raw_of(brain(200), 200))
    assert batch["ch_names"] == ["Fp1", "O2", "C3"]
    assert "lacks Pz" in caplog.text
    direct = EEGFeatureExtractor()(raw_of(brain(200), 200))["input_values"]
    np.testing.assert_array_equal(batch["input_values"], direct[:, [0, 4, 1]])
    with pytest.raises(ValueError, match="lacks 1 of the 4 channels asked for: Pz"):
        EEGFeatureExtractor(ch_names=["Fp1", "Pz", "O2", "C3"], missing_channels="error")(raw_of(brain(200), 200))
    with pytest.raises(ValueError, match="lacks 2 of the 2 channels asked for: Pz, Oz"):
        EEGFeatureExtractor(ch_names=["Pz", "Oz"])(raw_of(brain(200), 200))


def test_channels_that_are_not_eeg_are_left_out(caplog):
    caplog.set_level("INFO")
    raw = raw_of(brain(200), 200, ["Fp1", "ECG", "Cz", "aux", "O2"], ["eeg", "eeg", "eeg", "misc", "eeg"])
    assert EEGFeatureExtractor()(raw)["ch_names"] == ["Fp1", "Cz", "O2"]
    assert "not EEG: ECG, aux (misc)" in caplog.text


def test_unknown_channels():
    raw = raw_of(brain(200), 200, ["Fp1", "C3", "Cz", "E17", "Xz"])
    with pytest.raises(ValueError, match="'E17'.*'Xz'.*unknown_channels='drop'"):
        EEGFeatureExtractor()(raw)
    assert EEGFeatureExtractor(unknown_channels="drop")(raw)["ch_names"] == ["Fp1", "C3", "Cz"]


def test_no_known_channel():
    raw = raw_of(brain(200), 200, ["E1", "E2", "E3", "ECG", "Status"])
    for unknown in ("error", "drop"):
        with pytest.raises(ValueError, match="no known EEG channel.*ECG, Status.*'E1'"):
            EEGFeatureExtractor(unknown_channels=unknown)(raw)


@pytest.mark.parametrize("names", [["T3", "T7"], ["EEG Fp1", "FP1-REF"], ["T8-P8-0", "T8-P8-1"], ["Cz", "Cz"]])
def test_duplicate_channels(names):
    with pytest.raises(ValueError, match=f"duplicate channels: '{names[0]}' and '{names[1]}'"):
        windows(EEGFeatureExtractor(), brain(200)[:3], names=[*names, "O1"])
    if names[0] != names[1]:
        with pytest.raises(ValueError, match="duplicate channels"):
            EEGFeatureExtractor()(raw_of(brain(200)[:3], 200, [*names, "O1"]))


def test_bad_channels_are_left_out(caplog):
    raw = raw_of(brain(200), 200)
    raw.info["bads"] = ["Cz"]
    assert EEGFeatureExtractor()(raw)["ch_names"] == ["Fp1", "C3", "C4", "O2"]
    assert "marked bad: Cz" in caplog.text


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_samples_that_are_no_numbers(value):
    values = brain(200)
    values[1, 1000:1010] = value
    with pytest.raises(ValueError, match="10 samples that are NaN or infinite, in C3, from 5 s on"):
        windows(EEGFeatureExtractor(), values)
    with pytest.raises(ValueError, match="NaN or infinite, in C3"):
        windows(EEGFeatureExtractor(), values.reshape(5, 4, 1000).swapaxes(0, 1))
    with pytest.raises(ValueError, match="NaN or infinite, in C3"):
        EEGFeatureExtractor()(raw_of(values, 200))
    # a broken channel that isn't asked for does no harm
    assert windows(EEGFeatureExtractor(ch_names=["Fp1", "O2"]), values).shape == (4, 2, 1000)


@pytest.mark.parametrize("level", [0.0, 4100.0, 0.1])
def test_flat_recording(level):
    with pytest.raises(ValueError, match="is flat: none of its 5 channels"):
        EEGFeatureExtractor()(raw_of(np.full((5, 4000), level), 200))


def test_a_flat_channel_is_named(caplog):
    values = brain(200)
    values[2] = 4100.0
    EEGFeatureExtractor()(raw_of(values, 200))
    assert re.search("Cz never change", caplog.text)


def test_window_longer_than_the_recording():
    with pytest.raises(ValueError, match="lasts 4 s .*less than one window of 5 s.*Nothing is padded"):
        windows(EEGFeatureExtractor(), brain(200, seconds=4))
    assert windows(EEGFeatureExtractor(), brain(200, seconds=5)).shape == (1, 5, 1000)


def test_stride():
    values = brain(200)
    batch = EEGFeatureExtractor(n_times=1000, stride=300)(raw_of(values, 200))
    np.testing.assert_allclose(batch["onset"], np.arange(0, 3001, 300) / 200)
    np.testing.assert_allclose(batch["input_values"][3], values[:, 900:1900], rtol=1e-5, atol=1e-4)


def test_onsets():
    values = brain(200)
    batch = EEGFeatureExtractor(n_times=400)(raw_of(values, 200), onsets=[3.001, 18.0])
    np.testing.assert_array_equal(batch["onset"], [3.0, 18.0])
    np.testing.assert_allclose(batch["input_values"][0], values[:, 600:1000], rtol=1e-5, atol=1e-4)
    with pytest.raises(ValueError, match=r"1 of 2 windows leave .* can't begin at 18.1 s"):
        EEGFeatureExtractor(n_times=400)(raw_of(values, 200), onsets=[3.0, 18.1])
    with pytest.raises(ValueError, match=r"can't begin at -1 s"):
        EEGFeatureExtractor(n_times=400)(raw_of(values, 200), onsets=[-1.0])
    with pytest.raises(ValueError, match="finite number of seconds"):
        EEGFeatureExtractor(n_times=400)(raw_of(values, 200), onsets=[])


def test_onsets_count_from_the_first_sample_of_a_cropped_recording():
    values = brain(200)
    cropped = raw_of(values, 200).crop(tmin=2.0)
    batch = EEGFeatureExtractor(n_times=400)(cropped, onsets=[1.0])
    np.testing.assert_allclose(batch["input_values"][0], values[:, 600:1000], rtol=1e-5, atol=1e-4)


def test_prepared_windows_pass_bit_for_bit():
    values = np.random.default_rng(0).normal(scale=20, size=(6, 5, 1000)).astype(np.float32)
    before = values.copy()
    batch = EEGFeatureExtractor()(values, sfreq=200, ch_names=CH_NAMES, unit="uV", onsets=np.arange(6))
    np.testing.assert_array_equal(batch["input_values"], before)
    np.testing.assert_array_equal(batch["onset"], np.arange(6))
    batch["input_values"][:] = 0
    np.testing.assert_array_equal(values, before)
    tensor = EEGFeatureExtractor()(torch.from_numpy(values), sfreq=200, ch_names=CH_NAMES, unit="uV")
    np.testing.assert_array_equal(tensor["input_values"], before)
    assert np.isnan(tensor["onset"]).all()


def test_prepared_windows_of_another_length_or_too_short_for_a_filter():
    values = brain(200).reshape(5, 4, 1000).swapaxes(0, 1)
    with pytest.raises(ValueError, match="last 5 s .* expected are 2 s"):
        windows(EEGFeatureExtractor(n_times=400), values)
    with pytest.raises(ValueError, match="too short to be filtered.*is_filtered=True"):
        windows(EEGFeatureExtractor(l_freq=0.5), values)
    with pytest.raises(ValueError, match="too short to be filtered"):
        windows(EEGFeatureExtractor(notch_freq=50.0), values)
    with pytest.raises(ValueError, match="too short to be filtered"):
        windows(EEGFeatureExtractor(l_freq=0.5), values[0])
    with pytest.raises(ValueError, match="4 prepared windows need as many onsets; got 3"):
        windows(EEGFeatureExtractor(), values, onsets=[0, 1, 2])


@pytest.mark.parametrize("sfreq", [200, 400])
def test_epochs(sfreq):
    raw = raw_of(brain(sfreq), sfreq)
    events = np.array([[2 * sfreq, 0, 1], [9 * sfreq, 0, 1]])
    epochs = mne.Epochs(raw, events, tmin=0, tmax=5, baseline=None, preload=True, verbose="error")
    batch = EEGFeatureExtractor(ch_names=CH_NAMES[::-1])(epochs)
    assert batch["input_values"].shape == (2, 5, 1000) and batch["ch_names"] == CH_NAMES[::-1]
    expected = brain(200)[::-1, 400:1400]
    edge = slice(51, -51)
    assert relative_error(batch["input_values"][0][:, edge], expected[:, edge]) < 1e-3


def test_prepare_raw_leaves_the_original_alone():
    raw = raw_of(brain(400), 400, ["EEG Fp1", "T3", "Cz..", "ECG", "O2-REF"])
    raw.set_annotations(mne.Annotations([3.0], [2.0], ["left"]))
    before, names = raw.get_data(), list(raw.ch_names)
    prepared = EEGFeatureExtractor(ch_names=["O2", "T7", "Fp1"], l_freq=1.0).prepare_raw(raw)
    assert raw.ch_names == names and raw.info["sfreq"] == 400
    np.testing.assert_array_equal(raw.get_data(), before)
    assert prepared.ch_names == ["O2", "T7", "Fp1"] and prepared.info["sfreq"] == 200
    assert prepared.n_times == 4000
    assert list(prepared.annotations.description) == ["left"] and prepared.annotations.onset[0] == 3.0
    with pytest.raises(TypeError, match="takes an mne.io.Raw"):
        EEGFeatureExtractor().prepare_raw(before)


def test_annotations_stay_on_the_signal_when_a_cropped_recording_is_resampled():
    raw = raw_of(brain(400), 400)
    raw.set_meas_date(1_600_000_000)
    raw.set_annotations(mne.Annotations([3.0, 12.0], [2.0, 1.0], ["a", "b"], orig_time=raw.info["meas_date"]))
    raw.crop(tmin=10.0)
    prepared = EEGFeatureExtractor().prepare_raw(raw)
    events, _ = mne.events_from_annotations(prepared, verbose="error")
    assert (events[:, 0] - prepared.first_samp).tolist() == [400]


def test_a_list_of_recordings():
    extractor = EEGFeatureExtractor(ch_names=CH_NAMES)
    first, second = raw_of(brain(200), 200), raw_of(brain(400, seconds=10), 400)
    batch = extractor([first, second], return_tensors="pt")
    assert batch["input_values"].shape == (6, 5, 1000)
    assert batch["recording_index"].tolist() == [0, 0, 0, 0, 1, 1]
    np.testing.assert_array_equal(batch["input_values"][4:], extractor(second)["input_values"])
    batch = extractor([first, second], onsets=[[1.0], [2.0, 3.0]])
    assert batch["onset"].tolist() == [1.0, 2.0, 3.0]
    with pytest.raises(ValueError, match="need as many lists of onsets"):
        extractor([first, second], onsets=[[1.0]])
    with pytest.raises(ValueError, match="recordings 0 and 1 deliver different channels"):
        EEGFeatureExtractor()([first, raw_of(brain(200)[:2], 200, ["Cz", "C3"])])
    with pytest.raises(ValueError, match="list of recordings is empty"):
        extractor([])
    with pytest.raises(TypeError, match="must hold recordings"):
        extractor([[1.0, 2.0]])


def test_a_path(tmp_path):
    path = tmp_path / "subject_raw.fif"
    raw_of(brain(200), 200).save(path, fmt="double", verbose="error")
    expected = EEGFeatureExtractor()(raw_of(brain(200), 200))["input_values"]
    np.testing.assert_array_equal(EEGFeatureExtractor()(path)["input_values"], expected)
    np.testing.assert_array_equal(EEGFeatureExtractor()(str(path))["input_values"], expected)
    with pytest.raises(FileNotFoundError, match="no recording at"):
        EEGFeatureExtractor()(tmp_path / "nowhere.edf")
    path.write_bytes(b"no EEG " * 1000)
    with pytest.raises(ValueError, match="'subject_raw.fif' could not be read as an EEG recording"):
        EEGFeatureExtractor()(path)


def test_arrays_must_say_what_they_are():
    extractor, values = EEGFeatureExtractor(), brain(200)
    with pytest.raises(ValueError, match="give sfreq, ch_names, unit too"):
        extractor(values)
    with pytest.raises(ValueError, match="give unit too"):
        extractor(values, sfreq=200, ch_names=CH_NAMES)
    assert EEGFeatureExtractor(unit="uV")(values, sfreq=200, ch_names=CH_NAMES)["input_values"].shape == (4, 5, 1000)
    with pytest.raises(ValueError, match="unit must be one of.*got 'microvolts'"):
        windows(extractor, values, unit="microvolts")
    with pytest.raises(ValueError, match="5 ch_names for an array of 4000 channels.*transpose"):
        windows(extractor, values.T)
    with pytest.raises(ValueError, match="4 ch_names for an array of 5 channels"):
        windows(extractor, values, names=CH_NAMES[:4])
    with pytest.raises(ValueError, match="got shape"):
        windows(extractor, values[0])
    with pytest.raises(TypeError, match="real numbers"):
        windows(extractor, values + 1j)
    with pytest.raises(TypeError, match="got dict"):
        extractor({"values": values})
    with pytest.raises(TypeError, match="list of channel names"):
        windows(extractor, values, names="Fp1")


def test_recordings_know_themselves():
    raw = raw_of(brain(200), 200)
    with pytest.raises(ValueError, match="knows its channel names"):
        EEGFeatureExtractor()(raw, ch_names=CH_NAMES)
    with pytest.raises(ValueError, match="says 200 Hz, the call 256 Hz"):
        EEGFeatureExtractor()(raw, sfreq=256)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"h_freq": 100.0}, ValueError, r"h_freq \(100 Hz\) must be below the Nyquist"),
        ({"l_freq": 120.0}, ValueError, r"l_freq \(120 Hz\) must be below the Nyquist"),
        ({"notch_freq": [50, 100]}, ValueError, r"notch_freq \(100 Hz\) must be below the Nyquist"),
        ({"l_freq": 40.0, "h_freq": 30.0}, ValueError, "l_freq .* must be below h_freq"),
        ({"l_freq": -1.0}, ValueError, "l_freq must be finite and above 0"),
        ({"sfreq": 0}, ValueError, "sfreq must be finite and above 0"),
        ({"sfreq": "200"}, TypeError, "sfreq is a number; got str"),
        ({"n_times": 10.5}, TypeError, "n_times is a whole number"),
        ({"n_times": 0}, ValueError, "n_times must be at least 1"),
        ({"stride": 0}, ValueError, "stride must be at least 1"),
        ({"unit": "volt"}, ValueError, "unit must be one of"),
        ({"missing_channels": "pad"}, ValueError, "missing_channels must be one of 'subset', 'error'"),
        ({"unknown_channels": "keep"}, ValueError, "unknown_channels must be one of"),
        ({"min_abs_uv": 5.0, "max_abs_uv": 1.0}, ValueError, "min_abs_uv .* must be below max_abs_uv"),
        ({"ch_names": ["Fp1", "T3", "T7"]}, ValueError, "ch_names holds duplicates.*'T3', 'T7'"),
        ({"ch_names": ["Fp1", "E3"]}, ValueError, "ch_names has channels whose place is unknown.*'E3'"),
        ({"ch_names": "Fp1"}, ValueError, "list of at least one channel name"),
        ({"ch_names": []}, ValueError, "list of at least one channel name"),
        ({"alignment": "riemann"}, ValueError, "alignment must be one of None, 'zscore', 'euclidean', 'monge'"),
        ({"alignment": "zscore", "alignment_reference": {}}, ValueError, "'zscore' has no reference"),
        ({"alignment_reference": {}}, ValueError, "alignment='monge'"),
        ({"alignment": "monge", "alignment_reference": {}}, ValueError, "monge_reference"),
        ({"alignment_min_seconds": 0}, ValueError, "alignment_min_seconds must be finite and above 0"),
        ({"sampling_rate": 200, "highpass": 1}, TypeError, "no setting named 'highpass', 'sampling_rate'; it has"),
    ],
)
def test_contradictory_settings(settings, error, message):
    with pytest.raises(error, match=message):
        EEGFeatureExtractor(**settings)


def test_pass_band_beyond_the_recordings_own_nyquist_frequency(caplog):
    values = brain(100, highest=40)
    with pytest.raises(ValueError, match=r"l_freq \(60 Hz\) lies beyond the Nyquist frequency of .* \(50 Hz\)"):
        windows(EEGFeatureExtractor(l_freq=60.0), values, sfreq=100)
    windows(EEGFeatureExtractor(h_freq=75.0), values, sfreq=100)
    assert "holds nothing between 50 Hz and h_freq (75 Hz)" in caplog.text


class _EEGConfig(PretrainedConfig):
    model_type = "dlink-feature-extraction-test"


def test_save_and_load(tmp_path):
    settings = {
        "ch_names": ["Fp1", "Cz", "A2-A1"], "sfreq": 250.0, "n_times": 500, "stride": 100,
        "l_freq": 0.3, "h_freq": 75.0, "notch_freq": [50.0, 100.0], "unit": "mV",
        "missing_channels": "error", "unknown_channels": "drop",
        "duplicate_channels": "first", "outlying_channels": "drop", "min_abs_uv": 0.2, "max_abs_uv": None,
        "reject_uv": 250.0,
        "alignment": "euclidean", "alignment_reference": None, "alignment_min_seconds": 20.0,
    }  # fmt: skip
    extractor = EEGFeatureExtractor(**settings)
    extractor.save_pretrained(tmp_path)
    assert os.listdir(tmp_path) == ["preprocessor_config.json"]
    saved = json.loads((tmp_path / "preprocessor_config.json").read_text())
    assert saved == {**settings, "feature_extractor_type": "EEGFeatureExtractor"}
    loaded = EEGFeatureExtractor.from_pretrained(tmp_path)
    assert loaded.to_dict() == extractor.to_dict()
    assert EEGFeatureExtractor.from_pretrained(tmp_path, n_times=250).n_times == 250
    AutoFeatureExtractor.register(_EEGConfig, EEGFeatureExtractor, exist_ok=True)
    automatic = AutoFeatureExtractor.from_pretrained(tmp_path)
    assert type(automatic) is EEGFeatureExtractor and automatic.to_dict() == extractor.to_dict()


def test_loaded_extractor_gives_the_same_windows(tmp_path):
    extractor = EEGFeatureExtractor(ch_names=["O2", "Cz"], l_freq=1.0, stride=500)
    extractor.save_pretrained(tmp_path)
    raw = raw_of(brain(256), 256)
    loaded = EEGFeatureExtractor.from_pretrained(tmp_path)
    np.testing.assert_array_equal(loaded(raw)["input_values"], extractor(raw)["input_values"])


def test_a_failed_save_keeps_the_old_file(tmp_path):
    EEGFeatureExtractor(n_times=400).save_pretrained(tmp_path)
    broken = EEGFeatureExtractor(n_times=800)
    broken.stride = {1, 2}  # no JSON can hold a set
    with pytest.raises(TypeError):
        broken.save_pretrained(tmp_path)
    assert EEGFeatureExtractor.from_pretrained(tmp_path).n_times == 400
    assert os.listdir(tmp_path) == ["preprocessor_config.json"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full, a disk that is always full")
def test_a_full_disk_keeps_the_old_file(tmp_path, monkeypatch):
    EEGFeatureExtractor(n_times=400).save_pretrained(tmp_path)
    # the temporary file is a link to a device without space; what the extractor does with it is real
    make_folder = tempfile.mkdtemp

    def full_folder(*args, **kwargs):
        folder = make_folder(*args, **kwargs)
        Path(folder, "preprocessor_config.json").symlink_to("/dev/full")
        return folder

    monkeypatch.setattr(tempfile, "mkdtemp", full_folder)
    with pytest.raises(OSError, match="No space left"):
        EEGFeatureExtractor(n_times=800).save_pretrained(tmp_path)
    assert EEGFeatureExtractor.from_pretrained(tmp_path).n_times == 400
    assert os.listdir(tmp_path) == ["preprocessor_config.json"]


@pytest.mark.parametrize(
    ("name", "settings", "n_channels", "typical"),
    [
        ("eegmat/Subject00_1.edf", {}, 20, (3, 30)),
        ("eyes_gnb/sub-001.edf", {"l_freq": 0.5}, 14, (3, 100)),
        ("eegmmidb_s001/S001R03.edf", {"l_freq": 0.5, "notch_freq": 60}, 64, (3, 100)),
    ],
)
def test_real_recordings(data_dir, name, settings, n_channels, typical):
    batch = EEGFeatureExtractor(**settings)(data_dir / name, return_tensors="pt")
    assert batch["input_values"].shape[1:] == (n_channels, 1000)
    assert torch.isfinite(batch["input_values"]).all()
    assert typical[0] < batch["input_values"].abs().median() < typical[1]
    assert len(set(batch["ch_names"])) == n_channels == len(batch["channel_positions"])
    assert batch["channel_positions"].norm(dim=-1).max() < 0.15


def test_eegmat_equals_what_mne_reads(data_dir):
    path = data_dir / "eegmat" / "Subject00_1.edf"
    batch = EEGFeatureExtractor()(path)
    volts = mne.io.read_raw_edf(path, preload=True, verbose="error").get_data()
    assert batch["ch_names"][-1] == "A2-A1" and batch["ch_names"][6] == "T7"
    n = len(batch["input_values"])
    assert n == volts.shape[1] // 1000
    np.testing.assert_allclose(
        np.concatenate(batch["input_values"], axis=-1), volts[:, : n * 1000] * 1e6, rtol=1e-5, atol=1e-4
    )


def test_ssvep_exo_needs_its_unit(data_dir):
    path = sorted((data_dir / "ssvep_exo").rglob("*_raw.fif"))[0]
    with pytest.raises(ValueError, match="read as V.*pass unit='mV'"):
        EEGFeatureExtractor()(path)
    batch = EEGFeatureExtractor(l_freq=1.0)(path, unit="mV")
    assert batch["ch_names"] == ["Oz", "O1", "O2", "PO3", "POz", "PO7", "PO8", "PO4"]
    assert 1 < np.median(np.abs(batch["input_values"])) < 50
