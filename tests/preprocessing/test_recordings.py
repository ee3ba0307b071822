# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Opening recordings of several formats, and the errors for files that are none."""

import shutil
from pathlib import Path

import mne
import numpy as np
import pytest
from scipy.io import savemat

from dlink_hf.preprocessing.channels import pick_channels
from dlink_hf.preprocessing.recordings import find_recordings, read_recording


SFREQ = 128


@pytest.fixture
def raw() -> mne.io.RawArray:
    rng = np.random.default_rng(0)
    values = rng.normal(scale=20e-6, size=(3, 10 * SFREQ))
    return mne.io.RawArray(values, mne.create_info(["Fp1", "Cz", "O2"], SFREQ, "eeg"), verbose="error")


@pytest.fixture
def edf(raw, tmp_path) -> Path:
    path = tmp_path / "subject.edf"
    mne.export.export_raw(path, raw, physical_range=(-200e-6 * 1e6, 200e-6 * 1e6), verbose="error")
    return path


def test_edf_round_trip(raw, edf):
    back = read_recording(edf)
    assert back.ch_names == raw.ch_names and back.info["sfreq"] == SFREQ
    # 16 bits over 400 uV
    np.testing.assert_allclose(back.get_data(), raw.get_data(), atol=4e-9)


@pytest.mark.parametrize("name", ["subject_raw.fif", "subject_raw.fif.gz", "odd name.fif", "SUBJECT_RAW.FIF"])
def test_fif_round_trip(raw, tmp_path, name):
    plain = tmp_path / ("x_raw.fif.gz" if name.endswith("gz") else "x_raw.fif")
    raw.save(plain, fmt="double", verbose="error")
    path = plain.rename(tmp_path / name)
    np.testing.assert_array_equal(read_recording(path).get_data(), raw.get_data())


def test_brainvision(raw, tmp_path):
    (raw.get_data() * 1e6).T.astype("<f4").tofile(tmp_path / "subject.eeg")
    channels = "\n".join(f"Ch{i}={name},,1,uV" for i, name in enumerate(raw.ch_names, start=1))
    (tmp_path / "subject.vhdr").write_text(
        "Brain Vision Data Exchange Header File Version 1.0\n\n[Common Infos]\nCodepage=UTF-8\n"
        "DataFile=subject.eeg\nMarkerFile=subject.vmrk\nDataFormat=BINARY\nDataOrientation=MULTIPLEXED\n"
        f"NumberOfChannels=3\nSamplingInterval={1e6 / SFREQ}\n\n[Binary Infos]\nBinaryFormat=IEEE_FLOAT_32\n\n"
        f"[Channel Infos]\n{channels}\n"
    )
    (tmp_path / "subject.vmrk").write_text(
        "Brain Vision Data Exchange Marker File, Version 1.0\n\n[Common Infos]\nCodepage=UTF-8\n"
        "DataFile=subject.eeg\n\n[Marker Infos]\nMk1=New Segment,,1,1,0,00000000000000000000\n"
    )
    assert find_recordings(tmp_path) == [tmp_path / "subject.vhdr"]
    np.testing.assert_allclose(read_recording(tmp_path / "subject.vhdr").get_data(), raw.get_data(), atol=1e-11)


def test_eeglab(raw, tmp_path):
    locations = np.array([(name,) for name in raw.ch_names], dtype=[("labels", "O")])
    content = {
        "setname": "subject",
        "nbchan": 3.0,
        "trials": 1.0,
        "pnts": float(raw.n_times),
        "srate": float(SFREQ),
        "xmin": 0.0,
        "xmax": (raw.n_times - 1) / SFREQ,
        "data": raw.get_data() * 1e6,
        "chanlocs": locations,
        "event": np.array([]),
        "icawinv": np.array([]),
        "icaweights": np.array([]),
        "icasphere": np.array([]),
    }
    savemat(tmp_path / "subject.set", {"EEG": content})
    back = read_recording(tmp_path / "subject.set")
    assert back.ch_names == raw.ch_names and back.info["sfreq"] == SFREQ
    np.testing.assert_allclose(back.get_data(), raw.get_data(), atol=1e-12)


def test_upper_case_extension(edf):
    assert read_recording(edf.rename(edf.with_suffix(".EDF"))).n_times == 10 * SFREQ


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="no recording at .*nowhere.edf"):
        read_recording(tmp_path / "nowhere.edf")


def test_folder_instead_of_file(tmp_path):
    with pytest.raises(IsADirectoryError, match="find_recordings"):
        read_recording(tmp_path)


def test_unknown_extension(tmp_path):
    path = tmp_path / "notes.docx"
    path.write_text("hello")
    with pytest.raises(ValueError, match=r"'.docx' is not one of an EEG recording; known are .edf"):
        read_recording(path)


def test_empty_file(tmp_path):
    path = tmp_path / "empty.edf"
    path.touch()
    with pytest.raises(ValueError, match="0 bytes"):
        read_recording(path)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # MNE wonders about these files too
@pytest.mark.parametrize("extension", [".edf", ".bdf", ".gdf", ".fif", ".fif.gz", ".vhdr", ".set", ".cnt"])
@pytest.mark.parametrize("content", [b"this is a letter, no recording. " * 100, bytes(range(256)) * 40])
def test_not_an_eeg_file(tmp_path, extension, content):
    path = tmp_path / f"letter{extension}"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"'letter{extension}'.*(not|damaged)"):
        read_recording(path)


@pytest.mark.parametrize("kept", [0.95, 0.5, 0.3])
def test_truncated_edf(edf, kept):
    data = edf.read_bytes()
    edf.write_bytes(data[: int(len(data) * kept)])
    with pytest.raises(ValueError, match="'subject.edf' is truncated: its header promises 10 records of 1 s"):
        read_recording(edf)


@pytest.mark.parametrize("kept", [0.9, 0.5])
def test_truncated_fif(raw, tmp_path, kept):
    path = tmp_path / "x_raw.fif"
    raw.save(path, verbose="error")
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * kept)])
    with pytest.raises(ValueError, match="'x_raw.fif' could not be read .* damaged"):
        read_recording(path)


def test_edf_cut_inside_its_header(edf):
    edf.write_bytes(edf.read_bytes()[:400])
    with pytest.raises(ValueError, match="header is damaged or cut off"):
        read_recording(edf)


@pytest.mark.filterwarnings("ignore:Number of records from the header")
def test_edf_that_was_never_closed(raw, edf):
    """-1 records: the length follows from the file's size."""
    data = bytearray(edf.read_bytes())
    data[236:244] = b"-1      "
    edf.write_bytes(data)
    assert read_recording(edf).n_times == raw.n_times


def test_discontinuous_edf(raw, tmp_path):
    """Without gaps it is read; with a gap the annotations would be out of step."""
    raw.set_annotations(mne.Annotations([2.5], [1.0], ["left"]))
    path = tmp_path / "subject.edf"
    mne.export.export_raw(path, raw, physical_range=(-200, 200), verbose="error")
    data = path.read_bytes()
    assert data[192:197] == b"EDF+C" and b"+7\x14\x14" in data
    path.write_bytes(data.replace(b"EDF+C", b"EDF+D"))
    assert read_recording(path).n_times == raw.n_times
    for second in (7, 8, 9):
        data = data.replace(b"+%d\x14\x14\x00\x00" % second, b"+%d\x14\x14\x00" % (second + 30))
    path.write_bytes(data.replace(b"EDF+C", b"EDF+D"))
    with pytest.raises(ValueError, match=r"discontinuous \(EDF\+D\): 1 gap\(s\), the first after 7 s"):
        read_recording(path)


def test_truncated_bdf(tmp_path):
    n_signals, n_records = 1, 4
    fields = [b"\xffBIOSEMI", b"X" * 80, b"X" * 80, b"01.01.20", b"00.00.00", b"512", b"24BIT", b"4", b"1", b"1"]
    widths = [8, 80, 80, 8, 8, 8, 44, 8, 8, 4]
    header = b"".join(field.ljust(width) for field, width in zip(fields, widths, strict=True))
    signal = [b"Cz", b"", b"uV", b"-1000", b"1000", b"-8388608", b"8388607", b"", b"128", b""]
    widths = [16, 80, 8, 8, 8, 8, 8, 80, 8, 32]
    header += b"".join(field.ljust(width) for field, width in zip(signal, widths, strict=True)) * n_signals
    samples = np.random.default_rng(0).integers(0, 127, size=n_records * 128 * 3, dtype=np.uint8).tobytes()
    path = tmp_path / "subject.bdf"
    path.write_bytes(header + samples)
    assert read_recording(path).n_times == n_records * 128
    path.write_bytes(header + samples[:-500])
    with pytest.raises(ValueError, match="truncated: its header promises 4 records of 1 s, the file holds 2"):
        read_recording(path)


def test_fif_of_events_or_epochs_is_no_recording(raw, tmp_path):
    events = np.array([[0, 0, 1], [2 * SFREQ, 0, 1]])
    epochs = mne.Epochs(raw, events, tmin=0, tmax=1, baseline=None, preload=True, verbose="error")
    epochs.save(tmp_path / "x-epo.fif", verbose="error")
    with pytest.raises(ValueError, match="mne.read_epochs"):
        read_recording(tmp_path / "x-epo.fif")
    mne.write_events(tmp_path / "x-eve.fif", events, verbose="error")
    with pytest.raises(ValueError, match="could not be read as an EEG recording"):
        read_recording(tmp_path / "x-eve.fif")


def test_brainvision_data_part_points_to_its_header(tmp_path):
    for extension in (".vhdr", ".eeg"):
        (tmp_path / f"subject{extension}").write_text("x")
    with pytest.raises(ValueError, match="open 'subject.vhdr'"):
        read_recording(tmp_path / "subject.eeg")


def test_find_recordings(raw, edf, tmp_path):
    (tmp_path / "sub-02").mkdir()
    raw.save(tmp_path / "sub-02" / "task_raw.fif", verbose="error")
    mne.write_events(tmp_path / "sub-02" / "task-eve.fif", np.array([[0, 0, 1]]), verbose="error")
    (tmp_path / ".hidden").mkdir()
    for extra in ("notes.txt", "._subject.edf", ".hidden/x.edf"):
        shutil.copy(edf, tmp_path / extra)
    assert find_recordings(tmp_path) == sorted([edf, tmp_path / "sub-02" / "task_raw.fif"])
    assert find_recordings(tmp_path, extensions=(".edf",)) == [edf]


def test_parts_of_a_split_fif_are_one_recording(raw, tmp_path):
    long = mne.io.RawArray(np.tile(raw.get_data(), 300), raw.info, verbose="error")
    long.save(tmp_path / "x_raw.fif", split_size="2MB", verbose="error")
    assert len(list(tmp_path.glob("*.fif"))) > 1
    assert find_recordings(tmp_path) == [tmp_path / "x_raw.fif"]
    assert read_recording(tmp_path / "x_raw.fif").n_times == long.n_times


def test_empty_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match="no EEG recording in .*0 other files.*looked for .edf"):
        find_recordings(tmp_path)


def test_folders_that_are_none(edf, tmp_path):
    with pytest.raises(FileNotFoundError, match="no folder"):
        find_recordings(tmp_path / "nowhere")
    with pytest.raises(NotADirectoryError, match="is a file"):
        find_recordings(edf)
    with pytest.raises(ValueError, match="unknown extensions"):
        find_recordings(tmp_path, extensions=(".docx",))


def test_pick_channels_orders_and_drops(caplog):
    caplog.set_level("INFO")
    names = ["EEG O2-REF", "ECG", "T3", "Foo", "Status", "Fp1"]
    types = ["eeg", "eeg", "eeg", "eeg", "stim", "eeg"]
    assert pick_channels(names, types, unknown="drop") == ([0, 2, 5], ["O2", "T7", "Fp1"])
    assert "not EEG: ECG, Status (stim)" in caplog.text and "as unknown: Foo" in caplog.text
    assert pick_channels(names, types, wanted=["Fp1", "T7"], unknown="drop") == ([5, 2], ["Fp1", "T7"])
    assert pick_channels(names, types, bads=["Fp1"], unknown="drop")[1] == ["O2", "T7"]


@pytest.mark.parametrize(
    ("name", "count"), [("eegmat", 72), ("ssvep_exo", 27), ("eyes_gnb", 73), ("eegmmidb_s001", 12)]
)
def test_real_folders(data_dir, name, count):
    paths = find_recordings(data_dir / name)
    assert len(paths) == count
    raw = read_recording(paths[0], preload=False)
    assert raw.n_times > 0


def test_truncated_real_edf(data_dir, tmp_path):
    path = tmp_path / "Subject00_1.edf"
    data = (data_dir / "eegmat" / path.name).read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(ValueError, match="truncated: its header promises"):
        read_recording(path)
