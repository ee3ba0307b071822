# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Files that contradict themselves, that take a package, or that a reader dies of. One test a kind of fault."""

import logging
import struct
import sys
from pathlib import Path

import mne
import numpy as np
import pytest
from scipy.io import savemat

from dlink_hf.preprocessing import file_checks
from dlink_hf.preprocessing.file_checks import check_set, missing_package
from dlink_hf.preprocessing.recordings import RECORDING_EXTENSIONS, find_recordings, read_recording


SFREQ = 128
NAMES = ["Fp1", "Cz", "O2"]


@pytest.fixture
def raw() -> mne.io.RawArray:
    values = np.random.default_rng(0).normal(scale=20e-6, size=(3, 10 * SFREQ))
    return mne.io.RawArray(values, mne.create_info(NAMES, SFREQ, "eeg"), verbose="error")


@pytest.fixture
def vhdr(raw, tmp_path) -> Path:
    (raw.get_data() * 1e6).T.astype("<f4").tofile(tmp_path / "subject.eeg")
    channels = "\n".join(f"Ch{i}={name},,1,uV" for i, name in enumerate(NAMES, start=1))
    path = tmp_path / "subject.vhdr"
    path.write_text(
        "Brain Vision Data Exchange Header File Version 1.0\n\n[Common Infos]\nCodepage=UTF-8\n"
        "DataFile=subject.eeg\nMarkerFile=subject.vmrk\nDataFormat=BINARY\nDataOrientation=MULTIPLEXED\n"
        f"NumberOfChannels=3\nDataPoints=1280\nSamplingInterval={1e6 / SFREQ}\n\n[Binary Infos]\n"
        f"BinaryFormat=IEEE_FLOAT_32\n\n[Channel Infos]\n{channels}\n\n[Comment]\nno = key\n%(x)s\n"
    )
    (tmp_path / "subject.vmrk").write_text(
        "Brain Vision Data Exchange Marker File, Version 1.0\n\n[Common Infos]\nCodepage=UTF-8\n"
        "DataFile=subject.eeg\n\n[Marker Infos]\nMk1=New Segment,,1,1,0,00000000000000000000\n"
    )
    return path


def write_set(path: Path, raw: mne.io.BaseRaw) -> Path:
    content = {
        "setname": "subject", "nbchan": 3.0, "trials": 1.0, "pnts": float(raw.n_times), "srate": float(SFREQ),
        "xmin": 0.0, "xmax": (raw.n_times - 1) / SFREQ, "data": raw.get_data() * 1e6,
        "chanlocs": np.array([(name,) for name in raw.ch_names], dtype=[("labels", "O")]),
        "event": np.array([]), "icawinv": np.array([]), "icaweights": np.array([]), "icasphere": np.array([]),
    }  # fmt: skip
    savemat(path, {"EEG": content})
    return path


# -- packages -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("extension", "content", "package"),
    [(".nedf", b"\0" * 20_000, "defusedxml"), (".mff", None, "mffpy"), (".set", b"v7.3", "pymatreader")],
)
def test_a_reader_that_lacks_a_package_says_what_to_install(tmp_path, monkeypatch, extension, content, package):
    monkeypatch.setitem(sys.modules, package, None)
    path = tmp_path / f"subject{extension}"
    if content is None:
        path.mkdir()
        (path / "info.xml").write_text("<fileInfo/>")
    elif content == b"v7.3":
        h5py = pytest.importorskip("h5py")
        with h5py.File(path, "w", userblock_size=512) as file:
            file["EEG"] = np.zeros(3)
        with open(path, "r+b") as file:
            file.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(116) + b" " * 8 + b"\x00\x02IM")
    else:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=f"'subject{extension}': reading {extension} .*pip install .*{package}"):
        read_recording(path)


def test_packages_of_errors():
    assert missing_package(ImportError("No module named 'antio'"), ".cnt") == "antio"
    text = "For reading ANT files to work, the module antio is needed, but it could not be imported due to the error:"
    assert missing_package(RuntimeError(text), ".cnt") == "antio"
    assert missing_package(ImportError("No module named 'foo.bar'"), ".eeg") == "foo"
    assert missing_package(ValueError("the file is short"), ".cnt") is None


def test_ant_files_name_their_package(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "antio", None)
    path = tmp_path / "subject.cnt"
    path.write_bytes(b"RIFF" + struct.pack("<i", 1000) + b"CNT " + b"\0" * 2000)
    with pytest.raises(ValueError, match="'subject.cnt': reading .cnt files of ANT .*pip install antio"):
        read_recording(path)


def test_what_can_not_be_read_is_not_listed(tmp_path):
    assert ".data" not in RECORDING_EXTENSIONS
    path = tmp_path / "OpenBCI-RAW-2024-01-01.csv"
    path.write_text("1,2,3\n")
    with pytest.raises(ValueError, match="'.csv' is not one of an EEG recording.*pandas.read_csv.*'sfreq': 250.0"):
        read_recording(path)


# -- XDF ------------------------------------------------------------------------------------------------------------


def write_xdf(path: Path, values, names, sfreq=SFREQ, unit="microvolts", markers=(), kind="EEG", times=None) -> Path:
    """An XDF file of one stream of samples (C, T) and one of markers (s, text), as its specification says."""

    def chunk(tag: int, content: bytes) -> bytes:
        return b"\x04" + struct.pack("<I", len(content) + 2) + struct.pack("<H", tag) + content

    def count(number: int) -> bytes:
        return b"\x04" + struct.pack("<I", number)

    start = 1000.0
    times = start + np.arange(values.shape[1]) / sfreq if times is None else np.asarray(times)
    listed = "".join(f"<channel><label>{n}</label><unit>{unit}</unit><type>EEG</type></channel>" for n in names)
    header = (
        f"<?xml version='1.0'?><info><name>amp</name><type>{kind}</type><channel_count>{len(names)}</channel_count>"
        f"<nominal_srate>{sfreq}</nominal_srate><channel_format>float32</channel_format>"
        f"<created_at>0</created_at><desc><channels>{listed}</channels></desc></info>"
    )
    data = b"XDF:" + chunk(1, b"<?xml version='1.0'?><info><version>1.0</version></info>")
    data += chunk(2, struct.pack("<I", 1) + header.encode())
    marker_header = (
        "<?xml version='1.0'?><info><name>task</name><type>Markers</type><channel_count>1</channel_count>"
        "<nominal_srate>0</nominal_srate><channel_format>string</channel_format><created_at>0</created_at></info>"
    )
    data += chunk(2, struct.pack("<I", 2) + marker_header.encode())
    samples = b"".join(
        b"\x08" + struct.pack("<d", time) + column.astype("<f4").tobytes()
        for time, column in zip(times, values.T, strict=True)
    )
    data += chunk(3, struct.pack("<I", 1) + count(values.shape[1]) + samples)
    notes = b"".join(
        b"\x08" + struct.pack("<d", start + onset) + b"\x01" + bytes([len(text)]) + text.encode()
        for onset, text in markers
    )
    if markers:
        data += chunk(3, struct.pack("<I", 2) + count(len(markers)) + notes)
    footer = f"<?xml version='1.0'?><info><first_timestamp>{times[0]}</first_timestamp></info>"
    data += chunk(6, struct.pack("<I", 1) + footer.encode()) + chunk(6, struct.pack("<I", 2) + footer.encode())
    path.write_bytes(data)
    return path


def test_xdf(raw, tmp_path, caplog):
    pytest.importorskip("pyxdf")
    values = raw.get_data() * 1e6
    path = write_xdf(tmp_path / "session.xdf", values, NAMES, markers=[(1.0, "left"), (4.5, "right")])
    assert find_recordings(tmp_path) == [path]
    back = read_recording(path)
    assert back.ch_names == NAMES and back.info["sfreq"] == SFREQ
    np.testing.assert_allclose(back.get_data(), raw.get_data(), rtol=1e-5, atol=1e-12)
    np.testing.assert_allclose(back.annotations.onset, [1.0, 4.5], atol=2e-3)
    assert back.annotations.description.tolist() == ["left", "right"]
    write_xdf(path, values / 1000, NAMES, unit="millivolts")
    np.testing.assert_allclose(read_recording(path).get_data(), raw.get_data(), rtol=1e-5, atol=1e-12)
    write_xdf(path, values, NAMES, unit="")
    np.testing.assert_allclose(read_recording(path).get_data(), raw.get_data(), rtol=1e-5, atol=1e-12)
    assert "'session.xdf' says no unit" in caplog.text


def test_xdf_that_can_not_be_used(raw, tmp_path):
    pytest.importorskip("pyxdf")
    values, times = raw.get_data() * 1e6, 1000 + np.arange(raw.n_times) / SFREQ
    path = tmp_path / "session.xdf"
    write_xdf(path, values, NAMES, kind="Audio")
    with pytest.raises(ValueError, match=r"'session.xdf' holds 0 streams of type EEG.*amp \(Audio\)"):
        read_recording(path)
    times[600:] += 3
    write_xdf(path, values, NAMES, times=times)
    with pytest.raises(ValueError, match=r"'session.xdf': 1 gap.*after 4.6"):
        read_recording(path)
    write_xdf(path, values, NAMES, times=1000 + np.arange(raw.n_times) / (0.9 * SFREQ))
    with pytest.raises(ValueError, match="'session.xdf'.*names 128 Hz, and its stamps tell 115.2 Hz"):
        read_recording(path)
    path.write_bytes(b"no XDF at all" * 10)
    with pytest.raises(ValueError, match="'session.xdf' could not be read"):
        read_recording(path)


def test_xdf_without_its_package(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyxdf", None)
    (tmp_path / "session.xdf").write_bytes(b"XDF:")
    with pytest.raises(ValueError, match="pip install pyxdf"):
        read_recording(tmp_path / "session.xdf")


# -- nothing lost without a word ------------------------------------------------------------------------------------


def test_brainvision_as_it_is(vhdr, raw):
    np.testing.assert_allclose(read_recording(vhdr).get_data(), raw.get_data(), atol=1e-11)


@pytest.mark.parametrize(
    ("lost", "message"),
    [(12 * 100, "promises 1280 samples of 3 channels, the file holds 1180"), (5, "the file holds 1279")],
)
def test_brainvision_shorter_than_its_header(vhdr, lost, message):
    data = vhdr.with_suffix(".eeg")
    data.write_bytes(data.read_bytes()[:-lost])
    with pytest.raises(ValueError, match=f"'subject.vhdr': its data file 'subject.eeg' is truncated.*{message}"):
        read_recording(vhdr)


def test_brainvision_of_no_whole_number_of_samples(vhdr):
    vhdr.write_text(vhdr.read_text().replace("DataPoints=1280\n", ""))
    data = vhdr.with_suffix(".eeg")
    data.write_bytes(data.read_bytes()[:-5])
    with pytest.raises(ValueError, match="'subject.vhdr'.*not a whole number of samples: 15355 bytes.* takes 12"):
        read_recording(vhdr)


@pytest.mark.parametrize("replaced", ["SamplingInterval=1e300", "SamplingInterval=nan", "SamplingInterval=-1"])
def test_brainvision_of_an_absurd_rate(vhdr, replaced):
    vhdr.write_text(vhdr.read_text().replace(f"SamplingInterval={1e6 / SFREQ}", replaced))
    with pytest.raises(ValueError, match="'subject.vhdr'.*not a rate of EEG"):
        read_recording(vhdr)


def buffers(path: Path) -> list[tuple[int, int]]:
    """Place and size of the data buffers of a FIF file."""
    data, position, found = path.read_bytes(), 0, []
    while position + 16 <= len(data):
        kind, _, size, following = struct.unpack(">iiii", data[position : position + 16])
        if kind == 300:
            found.append((position, size))
        if following < 0:
            break
        position = position + 16 + size if following == 0 else following
    return found


def test_fif_with_skipped_stretches_says_so(raw, tmp_path, caplog):
    raw.set_annotations(mne.Annotations([3.0], [2.0], ["BAD_ACQ_SKIP"]))
    raw.save(tmp_path / "skip_raw.fif", buffer_size_sec=1.0, verbose="error")
    back = read_recording(tmp_path / "skip_raw.fif")
    assert back.n_times == raw.n_times
    assert "'skip_raw.fif': 1 stretches of 2" in caplog.text


def test_fif_with_a_shortened_buffer(raw, tmp_path, caplog):
    path = tmp_path / "short_raw.fif"
    raw.save(path, buffer_size_sec=1.0, fmt="single", verbose="error")
    caplog.set_level(logging.WARNING)
    read_recording(path)
    assert "shorter" not in caplog.text
    data, places = bytearray(path.read_bytes()), buffers(path)
    assert len(places) == 10
    position, size = places[4]
    # whole samples are gone: MNE reads on with all that follows a bit too early
    data[position + 8 : position + 12] = struct.pack(">i", size - 12 * 28)
    data[position + 12 : position + 16] = struct.pack(">i", position + 16 + size)
    path.write_bytes(data)
    assert read_recording(path).n_times == raw.n_times - 28
    assert "'short_raw.fif': 1 of 10 buffers are shorter than the others, the first is number 4" in caplog.text
    data[position + 8 : position + 12] = struct.pack(">i", size - 4)
    path.write_bytes(data)
    with pytest.raises(ValueError, match="'short_raw.fif' is damaged: buffer 4 of 10 has 1532 bytes"):
        read_recording(path)


def test_fif_whose_tags_lead_back(raw, tmp_path):
    for name in ("loop_raw.fif", "loop_raw.fif.gz"):
        path = tmp_path / name
        raw.save(tmp_path / "loop_raw.fif", buffer_size_sec=1.0, overwrite=True, verbose="error")
        data = bytearray((tmp_path / "loop_raw.fif").read_bytes())
        position = buffers(tmp_path / "loop_raw.fif")[4][0]
        data[position + 12 : position + 16] = struct.pack(">i", 16)
        if name.endswith("gz"):
            import gzip

            path.write_bytes(gzip.compress(bytes(data)))
        else:
            path.write_bytes(data)
        with pytest.raises(ValueError, match=f"'{name}' is damaged: the tag at byte {position}.*never end"):
            read_recording(path)


# -- absurd claims --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [0.01, 5e6])
def test_absurd_rates(raw, tmp_path, rate):
    path = tmp_path / "rate_raw.fif"
    slow = mne.io.RawArray(raw.get_data(), mne.create_info(NAMES, rate, "eeg"), verbose="error")
    slow.save(path, verbose="error")
    with pytest.raises(ValueError, match="'rate_raw.fif': a sampling rate of .* Hz is none of EEG"):
        read_recording(path)


@pytest.mark.parametrize("duration", ["nan", "inf", "1e300", "-1", "1e-9"])
def test_absurd_durations_of_records(raw, tmp_path, duration):
    path = tmp_path / "subject.edf"
    mne.export.export_raw(path, raw, physical_range=(-200, 200), verbose="error")
    data = bytearray(path.read_bytes())
    data[244:252] = duration.encode().ljust(8)
    path.write_bytes(data)
    with pytest.raises(ValueError, match="'subject.edf'"):
        read_recording(path)


def write_gdf(path: Path, n_records: int = 10, numerator: int = 1, denominator: int = 1) -> Path:
    """A GDF 1.25 file of 10 records of 1 s, two channels of 128 Hz of 16 bits."""
    n = 2
    head = b"GDF 1.25" + b"X X".ljust(80) + b"Y".ljust(80) + b"2020010112000000" + struct.pack("<q", 256 * (n + 1))
    head += b"\0" * 24 + b"\0" * 20 + struct.pack("<q", n_records) + struct.pack("<III", numerator, denominator, n)
    head = head.ljust(256, b"\0")
    head += b"C3".ljust(16) + b"C4".ljust(16) + b" " * 160 + b"uV".ljust(8) * 2
    head += struct.pack("<dd", -100, -100) + struct.pack("<dd", 100, 100) + struct.pack("<qq", -32768, -32768)
    head += struct.pack("<qq", 32767, 32767) + b" " * 160 + struct.pack("<ii", SFREQ, SFREQ) + struct.pack("<ii", 3, 3)
    head = head.ljust(256 * (n + 1), b"\0")
    values = np.random.default_rng(0).integers(-3000, 3000, size=10 * n * SFREQ).astype("<i2")
    # a table of no events ends the file
    path.write_bytes(head + values.tobytes() + b"\x01" + b"\0" * 7)
    return path


def test_gdf_sizes_beyond_the_file(tmp_path):
    assert read_recording(write_gdf(tmp_path / "good.gdf")).n_times == 10 * SFREQ
    for claims in ({"n_records": 10**9}, {"n_records": 11}, {"denominator": 0}, {"numerator": 2**31}):
        with pytest.raises(ValueError, match="'bad.gdf'"):
            read_recording(write_gdf(tmp_path / "bad.gdf", **claims))


# -- crashes --------------------------------------------------------------------------------------------------------


def test_a_folder_goes_on_where_a_reader_crashes_the_process(raw, tmp_path, monkeypatch):
    """What scipy does with some damaged files can't be had on purpose: the reader of one file kills its process."""
    good, bad = write_set(tmp_path / "good.set", raw), write_set(tmp_path / "crash.set", raw)
    crash = "import os, signal, sys\nif 'crash' in sys.argv[1]: os.kill(os.getpid(), signal.SIGSEGV)\n"
    monkeypatch.setattr(file_checks, "_READ_SET", crash + file_checks._READ_SET)
    with pytest.raises(ValueError, match="'crash.set' is damaged: the reader of MATLAB files crashes on it"):
        read_recording(bad)
    np.testing.assert_allclose(read_recording(good).get_data(), raw.get_data(), atol=1e-12)


def test_a_reader_that_never_comes_back(raw, tmp_path, monkeypatch):
    path = write_set(tmp_path / "slow.set", raw)
    monkeypatch.setattr(file_checks, "_READ_SET", "import time\ntime.sleep(60)\n")
    monkeypatch.setattr(file_checks, "_SET_SECONDS", 0.5)
    with pytest.raises(ValueError, match="'slow.set' is damaged: .*does not come to an end"):
        check_set(path)
