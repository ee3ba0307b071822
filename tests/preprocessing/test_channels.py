# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Channels of recordings as they are: units, references, sockets, duplicates, rates. One test a kind of fault."""

import logging
from pathlib import Path

import mne
import numpy as np
import pytest

from dlink_hf.core.channel_names import read_names
from dlink_hf.core.electrodes import canonical_name, is_known_non_eeg
from dlink_hf.preprocessing import channels
from dlink_hf.preprocessing.feature_extraction_eeg import EEGFeatureExtractor
from dlink_hf.preprocessing.recording_windows import RecordingWindows
from dlink_hf.preprocessing.recordings import read_recording


SFREQ = 200
CAP = ["Fp1", "Fp2", "F3", "F4", "C3", "C4", "P3", "P4", "O1", "O2", "Fz", "Cz", "Pz", "Oz"]
SOCKETS = [f"{letter}{number}" for letter in "AB" for number in range(1, 33)]


@pytest.fixture(autouse=True)
def said_again(monkeypatch):
    """What is said once a process is said in each test."""
    monkeypatch.setattr(channels, "_SAID", set())


def noise(n_chans: int, seconds: float = 20.0, sfreq: float = SFREQ) -> np.ndarray:
    """(C, T) microvolts."""
    return np.random.default_rng(0).normal(scale=20.0, size=(n_chans, round(seconds * sfreq)))


def raw_of(names, values_uv=None, sfreq: float = SFREQ) -> mne.io.RawArray:
    values_uv = noise(len(names)) if values_uv is None else values_uv
    return mne.io.RawArray(values_uv * 1e-6, mne.create_info(list(names), sfreq, "eeg"), verbose="error")


def write_edf(path: Path, labels, values, rates=None, units=None, physical=None, seconds: int = 20) -> Path:
    """A plain EDF file of records of 1 s: rows of `values` (T_i,) are digital numbers of 16 bits."""
    n = len(labels)
    rates = [SFREQ] * n if rates is None else rates
    units = ["uV"] * n if units is None else units
    physical = [(-3276.8, 3276.7)] * n if physical is None else physical

    def column(texts, width):
        return "".join(str(text).ljust(width)[:width] for text in texts)

    header = (
        "0".ljust(8)
        + "X X X X".ljust(80)
        + "Startdate X X X X".ljust(80)
        + "01.01.01"
        + "00.00.00"
        + str(256 * (n + 1)).ljust(8)
        + " " * 44
        + str(seconds).ljust(8)
        + "1".ljust(8)
        + str(n).ljust(4)
        + column(labels, 16)
        + column([""] * n, 80)
        + column(units, 8)
        + column([low for low, _ in physical], 8)
        + column([high for _, high in physical], 8)
        + column([-32768] * n, 8)
        + column([32767] * n, 8)
        + column([""] * n, 80)
        + column(rates, 8)
        + column([""] * n, 32)
    )
    data = header.encode("latin-1")
    for record in range(seconds):
        for row, rate in zip(values, rates, strict=True):
            data += np.asarray(row[record * rate : (record + 1) * rate]).astype("<i2").tobytes()
    path.write_bytes(data)
    return path


# -- units ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("unit", "factor"), [("mV", 1e3), ("V", 1e6), ("", 1e6)])
def test_two_of_fourteen_channels_of_another_unit(tmp_path, unit, factor):
    values = noise(14) * 10  # tenths of a microvolt
    units = ["uV"] * 12 + [unit] * 2
    path = write_edf(tmp_path / "mixed.edf", CAP, values, units=units)
    with pytest.raises(ValueError, match=r"'mixed.edf'.*Pz \(.*Oz \(.*the others 15.9 uV.*outlying_channels='drop'"):
        EEGFeatureExtractor()(path)
    batch = EEGFeatureExtractor(outlying_channels="drop")(path)
    assert batch["ch_names"] == CAP[:12]
    np.testing.assert_allclose(batch["input_values"][0], np.round(values[:12, :1000]) / 10, atol=0.11)


def test_a_channel_without_a_physical_range(tmp_path, caplog):
    physical = [(-3276.8, 3276.7)] * 13 + [(0, 0)]
    path = write_edf(tmp_path / "flat_range.edf", CAP, noise(14) * 10, physical=physical)
    assert EEGFeatureExtractor()(path)["ch_names"] == CAP[:13]
    assert "'flat_range.edf': the header gives no range for Oz" in caplog.text


@pytest.mark.parametrize("spelling", ["microV", "UV", "uVolt", "nV"])
def test_a_unit_that_mne_does_not_know_is_read_as_the_header_says(tmp_path, spelling, caplog):
    values = noise(14) * 10
    plain = read_recording(write_edf(tmp_path / "plain.edf", CAP, values)).get_data()
    factor = 1000 if spelling == "nV" else 1
    physical = [(-3276.8, 3276.7)] * 12 + [(-3276.8 * factor, 3276.7 * factor)] * 2
    path = write_edf(tmp_path / "odd.edf", CAP, values, units=["uV"] * 12 + [spelling] * 2, physical=physical)
    np.testing.assert_allclose(read_recording(path).get_data(), plain, rtol=1e-3, atol=2e-7)
    assert f"the unit of Pz, Oz is read as the header says it ({spelling!r})" in caplog.text


@pytest.mark.parametrize("kind", ["raw", "array", "windows"])
def test_one_electrode_a_thousand_times_the_others(kind):
    values = noise(5)
    values[2] *= 1000
    names = CAP[:5]
    given = {"raw": raw_of(names, values), "array": values, "windows": values.reshape(5, 4, 1000).swapaxes(0, 1)}[kind]
    facts = {} if kind == "raw" else {"sfreq": SFREQ, "ch_names": names, "unit": "uV"}
    with pytest.raises(ValueError, match=r"F3 \(1.55e\+04 uV.*the others 16"):
        EEGFeatureExtractor()(given, **facts)
    batch = EEGFeatureExtractor(outlying_channels="drop")(given, **facts)
    assert batch["ch_names"] == ["Fp1", "Fp2", "F4", "C3"]
    np.testing.assert_allclose(batch["input_values"][0], values[[0, 1, 3, 4], :1000], rtol=1e-5)


def test_a_dead_channel_is_a_warning(caplog):
    values = noise(5)
    values[2] /= 1e4
    assert EEGFeatureExtractor()(raw_of(CAP[:5], values))["ch_names"] == CAP[:5]
    assert "F3 says next to nothing" in caplog.text


def test_electrodes_of_unlike_contact_pass():
    """A factor of ten between electrodes, and an artefact of millivolts in one, are everyday."""
    values = noise(5)
    values[1] *= 10
    values[3, 1000:1400] *= 1000
    assert EEGFeatureExtractor()(raw_of(CAP[:5], values))["ch_names"] == CAP[:5]


@pytest.mark.parametrize("value", [1e39, 1e300, np.inf])
def test_infinite_values_never_leave(value):
    values = noise(3)
    values[1, 500] = value
    settings = {"min_abs_uv": None, "max_abs_uv": None}
    for given in (values, values.reshape(3, 4, 1000).swapaxes(0, 1)):
        with pytest.raises(ValueError, match="Fp2"):
            EEGFeatureExtractor(**settings)(given, sfreq=SFREQ, ch_names=CAP[:3], unit="uV")
    with pytest.raises(ValueError, match="Fp2"):
        windows = RecordingWindows(EEGFeatureExtractor(**settings), values, SFREQ, CAP[:3], "uV")
        list(windows.batches(2))


# -- names ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reference", ["CPz", "FCz", "Cz", "TP9", "Nz", "NOSE", "LM", "avgRef"])
@pytest.mark.parametrize("dress", ["{}-{}", "EEG {}-{}", "{} - {}"])
def test_a_reference_in_every_name(reference, dress, caplog):
    names = ["Fp1", "O2", "C3", "C4", "P3"]
    raw = raw_of([dress.format(name, reference) for name in names])
    batch = EEGFeatureExtractor()(raw)
    assert batch["ch_names"] == names
    assert f"end in {reference.upper()}: it is taken for the common reference" in caplog.text
    # those asked for by their electrode
    assert EEGFeatureExtractor(ch_names=["C3", "O2"])(raw)["ch_names"] == ["C3", "O2"]


def test_a_reference_in_nearly_every_name():
    names = ["Fp1-CPz", "Fp2-CPz", "C3-CPz", "C4-CPz", "O1-CPz", "M1-M2", "ECG-CPz"]
    assert EEGFeatureExtractor()(raw_of(names))["ch_names"] == ["Fp1", "Fp2", "C3", "C4", "O1", "M1-M2"]


def test_pairs_stay_pairs(caplog):
    banana = ["FP1-F7", "F7-T7", "T7-P7", "P7-O1", "FP1-F3", "F3-C3", "C3-P3", "P3-O1", "FZ-CZ", "CZ-PZ"]
    read = read_names(banana)
    assert read.names == tuple(canonical_name(name) for name in banana) and read.reference is None
    assert read_names(["EEG Fpz-Cz", "EEG Pz-Oz"]).names == ("Fpz-Cz", "Pz-Oz")
    assert read_names(["C3-M2", "C4-M1", "O1-M2"]).names == ("C3", "C4", "O1")
    assert read_names(["C3-Cz"]).names == ("C3-Cz",)


def test_pairs_that_are_asked_for_stay_pairs(caplog):
    raw = raw_of(["C3-Cz", "C4-Cz", "Fz-Cz"])
    assert EEGFeatureExtractor(ch_names=["C3-Cz", "C4-Cz"])(raw)["ch_names"] == ["C3-Cz", "C4-Cz"]
    assert "read as bipolar" in caplog.text


OTHERS = ["EXG1", "POL E", "POL $A1", "Right AUX", "HEO", "VEO", "BIP1", "OSAT", "ECG", "AUX1"]


@pytest.mark.parametrize("name", OTHERS)
def test_inputs_that_are_no_eeg_by_name(name):
    assert is_known_non_eeg(name)
    assert EEGFeatureExtractor()(raw_of(["C3", name, "C4"]))["ch_names"] == ["C3", "C4"]


@pytest.mark.parametrize("name", ["20-REF", "EEG 101-REF", "Foo", "E17", "PG1"])
def test_inputs_that_were_not_asked_for_never_stop_a_run(name):
    raw = raw_of(["C3", name, "C4"])
    with pytest.raises(ValueError, match=rf"'{name}'.*--ch_names.*--unknown_channels drop"):
        EEGFeatureExtractor()(raw)
    assert EEGFeatureExtractor(ch_names=["C4", "C3"])(raw)["ch_names"] == ["C4", "C3"]
    assert EEGFeatureExtractor(unknown_channels="drop")(raw)["ch_names"] == ["C3", "C4"]


def test_t1_and_t2_are_the_anterior_temporal_electrodes(caplog):
    batch = EEGFeatureExtractor()(raw_of(["EEG T1-REF", "EEG T2-REF", "EEG T3-REF"]))
    assert batch["ch_names"] == ["FT9", "FT10", "T7"]
    assert "EEG T1-REF and EEG T2-REF read as FT9 and FT10, by common use" in caplog.text
    # where FT9 is there by its own name, T1 is not another one of it
    assert read_names(["FT9", "T1", "Cz"]).names == ("FT9", None, "Cz")


@pytest.mark.parametrize("names", [SOCKETS[:32], SOCKETS, ["A1", "C3", "F4", "A5", "A7", "A9", "A11", "A20"]])
@pytest.mark.parametrize("options", [{}, {"unknown_channels": "drop"}, {"ch_names": ["C3", "F4", "A1"]}])
def test_sockets_of_a_cap(names, options):
    with pytest.raises(ValueError, match=r"sockets of a cap.*A1.*rename_channels.*make_standard_montage"):
        EEGFeatureExtractor(**options)(raw_of([*names, "EXG1"]))


def test_sockets_that_were_renamed():
    raw = raw_of(SOCKETS[:4])
    raw.rename_channels(dict(zip(SOCKETS[:4], CAP, strict=False)))
    assert EEGFeatureExtractor()(raw)["ch_names"] == CAP[:4]


def test_ears_beside_a_few_numbered_inputs_are_ears():
    raw = raw_of([*CAP, "A1", "A2", "B1", "B2", "B3"])
    assert EEGFeatureExtractor(unknown_channels="drop")(raw)["ch_names"] == [*CAP, "A1", "A2"]


# -- duplicates -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["raw", "array", "windows"])
def test_duplicates(kind, caplog):
    names, values = ["T8-P8-0", "FP1-F7", "T8-P8-1"], noise(3)

    def given():
        if kind == "raw":
            return raw_of(names, values), {}
        shaped = values if kind == "array" else values.reshape(3, 4, 1000).swapaxes(0, 1)
        return shaped, {"sfreq": SFREQ, "ch_names": names, "unit": "uV"}

    recording, facts = given()
    with pytest.raises(ValueError, match="duplicate channels: 'T8-P8-0' and 'T8-P8-1'.*--duplicate_channels first"):
        EEGFeatureExtractor()(recording, **facts)
    for choice, place in (("first", 0), ("last", 2)):
        batch = EEGFeatureExtractor(duplicate_channels=choice)(recording, **facts)
        assert batch["ch_names"] == ["T8-P8", "Fp1-F7"]
        np.testing.assert_allclose(batch["input_values"][0], values[[place, 1], :1000], rtol=1e-5)
    assert f"the {choice} is taken" in caplog.text
    values[2] = values[0]
    recording, facts = given()
    assert EEGFeatureExtractor()(recording, **facts)["ch_names"] == ["T8-P8", "Fp1-F7"]
    assert "'T8-P8-0' and 'T8-P8-1' hold the same samples of T8-P8; one is taken" in caplog.text


# -- rates ----------------------------------------------------------------------------------------------------------


def test_a_faster_channel_beside_the_eeg(tmp_path, caplog):
    values = noise(3, sfreq=256) * 10
    ecg = noise(1, sfreq=512)[0]
    alone = write_edf(tmp_path / "alone.edf", ["C3", "Cz", "C4"], values, [256] * 3)
    path = write_edf(
        tmp_path / "both.edf", ["C3", "ECG", "Cz", "C4"], [values[0], ecg, *values[1:]], [256, 512, 256, 256]
    )
    raw = read_recording(path)
    assert raw.ch_names == ["C3", "Cz", "C4"] and raw.info["sfreq"] == 256
    np.testing.assert_array_equal(raw.get_data(), read_recording(alone).get_data())
    one, other = (EEGFeatureExtractor(l_freq=0.5)(file)["input_values"] for file in (path, alone))
    np.testing.assert_array_equal(one, other)
    assert "'both.edf' is read without ECG, faster than the EEG, which keeps its own 256 Hz" in caplog.text


def test_a_slower_channel_beside_the_eeg_stays(tmp_path, caplog):
    caplog.set_level(logging.WARNING)
    path = write_edf(tmp_path / "slow.edf", ["C3", "C4", "EMG"], [*noise(2), noise(1, sfreq=1)[0]], [200, 200, 1])
    assert read_recording(path).info["sfreq"] == 200
    assert "faster" not in caplog.text
