# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Live sources, over real LSL on this machine: what they say of themselves, every sample in order, lost and back."""

from __future__ import annotations

import re
import signal
import time

import mne
import numpy as np
import pytest
from lsl_streams import outlets, stay_on_this_machine, unique_name

from dlink_hf.streaming.times import SteadyTimes


stay_on_this_machine()
pytest.importorskip("pylsl", reason="streams of LSL need the extra `stream` (pylsl)")

from dlink_hf.streaming.outlets import LINGER_SECONDS, LslReplay, PredictionOutlet, start_replay  # noqa: E402
from dlink_hf.streaming.sources import BrainFlowSource, LslSource, stream_clock  # noqa: E402


NAMES = ["C3", "Cz", "C4", "Pz"]
# Seconds before a test gives up on what must come.
PATIENCE = 120


def gather(source, enough):
    """Samples (C, n), times (n,), until there are enough; a machine that is busy may take long."""
    chunks, end = [], time.monotonic() + PATIENCE
    while time.monotonic() < end and sum(len(chunk.times) for chunk in chunks) < enough:
        chunk = source.pull(0.05)
        if chunk is not None:
            chunks.append(chunk)
    return np.concatenate([c.values for c in chunks], 1), np.concatenate([c.times for c in chunks])


def counted(n_chans, first, n):
    """What `lsl_streams.serve` sends from sample `first` on."""
    return n_chans * np.arange(first, first + n) + np.arange(n_chans)[:, None]


@pytest.fixture(scope="module")
def streams():
    """A process that sends a stream of each kind; their names by kind."""
    kinds = {
        "whole": {"source_id": "w", "units": "microvolts", "types": ["EEG", "EEG", "EEG", "trigger"]},
        "slow": {"sfreq": 0.0},
        "text": {"format": "string"},
        "unnamed": {"is_described": False, "format": "int16"},
        "units": {"units": ["uV", "uV", "uV", "mV"]},
        "twin": {"source_id": "a", "units": ["mV", "mV", "mV", "mV"]},
    }
    names = {kind: unique_name() for kind in kinds}
    options = [{"name": names[kind], **of_kind} for kind, of_kind in kinds.items()]
    with outlets(*options, {**options[-1], "source_id": "b"}):
        yield names


def test_a_stream_says_what_it_is_and_every_sample_comes_in_order(streams):
    with LslSource(streams["whole"], say=pytest.fail) as source:
        info = source.info
        assert (info.name, info.ch_names, info.sfreq, info.unit) == (streams["whole"], NAMES[:3], 200.0, "uV")
        values, times = gather(source, enough=100)
        late = stream_clock() - times[-1]
    assert values.shape[1] >= 100 and 0 <= late < 2
    # the channel that is no EEG is left out
    np.testing.assert_array_equal(values, counted(4, values[0, 0] // 4, values.shape[1])[:3])
    np.testing.assert_allclose(np.diff(times), 1 / 200, atol=2e-4)


def test_several_streams_that_fit_are_listed_and_told_apart_by_their_ids(streams):
    with pytest.raises(ValueError, match=r"2 LSL streams fit[\s\S]*source_id 'a'[\s\S]*source_id 'b'"):
        LslSource(streams["twin"])
    with LslSource(streams["twin"], source_id="b", unit=None) as source:
        assert source.info.unit == "mV"


def test_without_a_fitting_stream_those_that_are_there_are_listed(streams):
    with pytest.raises(ValueError, match=rf"No LSL stream was found within 1 s[\s\S]*{streams['whole']}"):
        LslSource(unique_name(), timeout=1)


@pytest.mark.parametrize(
    ("kind", "match"),
    [
        ("slow", "irregular rate"),
        ("text", "texts, not numbers"),
        ("unnamed", "does not say which electrodes its 4 channels are"),
        ("units", "different units: mV, uV"),
    ],
)
def test_streams_that_cannot_be_classified_are_refused(streams, kind, match):
    with pytest.raises(ValueError, match=match):
        LslSource(streams[kind])


def test_names_can_be_given_to_a_stream_without(streams):
    with LslSource(streams["unnamed"], ch_names=NAMES, unit="uV", say=pytest.fail) as source:
        assert (source.info.ch_names, source.info.unit) == (NAMES, "uV")
        values, _ = gather(source, enough=10)
    np.testing.assert_array_equal(values, counted(4, values[0, 0] // 4, values.shape[1]))


def test_a_source_that_is_held_up_or_restarted_is_found_again_and_what_is_missing_is_said():
    name, said = unique_name(), []
    options = {"name": name, "source_id": "amplifier"}
    with outlets(options) as process:
        source = LslSource(name, say=said.append)
        gather(source, enough=20)
        process.send_signal(signal.SIGSTOP)
        read_until_said(source, said, 1)
        assert said == [f"the stream {name!r} is silent: waiting for it"]
        process.send_signal(signal.SIGCONT)
        values, times = gather(source, enough=200)
        # the burst: nothing was lost, nothing turned round
        np.testing.assert_array_equal(values, counted(4, values[0, 0] // 4, values.shape[1]))
        assert "is back after" in said[1] and "none is missing" in said[1]
        np.testing.assert_allclose(np.diff(times), 1 / 200, atol=2e-4)
    last = read_until_said(source, said, 3) or times[-1]
    # as a source that draws a new id at every start
    with outlets({**options, "source_id": "amplifier again"}):
        values, times = gather(source, enough=20)
    missing = round((times[0] - last) * 200) - 1
    assert missing > 0 and values[0, 0] % 4 == 0
    n_lost, seconds = map(float, re.search(r"(\d+) samples \((\S+) s\) are missing", said[3]).groups())
    assert n_lost == missing and seconds == pytest.approx(missing / 200, abs=0.0051)
    message = "came back with other channels: Pz, C4, Cz, C3, before: C3, Cz, C4, Pz"
    with (
        outlets({**options, "source_id": "amplifier again", "ch_names": NAMES[::-1]}),
        pytest.raises(ValueError, match=message),
    ):
        read_until_said(source, said, 99)
    source.close()
    with pytest.raises(ValueError, match="was closed"):
        source.pull(0)


def read_until_said(source, said, n_said):
    """Read until the source has said so many sentences; the time of the last sample that came, if any."""
    end, last = time.monotonic() + PATIENCE, None
    while len(said) < n_said and time.monotonic() < end:
        chunk = source.pull(0.05)
        last = last if chunk is None else chunk.times[-1]
    assert len(said) >= n_said, f"said was only {said}"
    return last


def test_a_replayed_recording_arrives_bit_for_bit_on_schedule(tmp_path):
    rng = np.random.default_rng(0)
    millivolts = 1e-2 * rng.standard_normal((3, 133))
    info = mne.create_info(["Oz", "O1", "STI"], 128.0, ["eeg", "eeg", "stim"])
    mne.io.RawArray(millivolts, info, verbose="error").save(tmp_path / "a_raw.fif", fmt="double", verbose="error")
    name = unique_name()
    process = start_replay(recording=tmp_path / "a_raw.fif", name=name, unit="mV")
    with LslSource(name, timeout=60, say=pytest.fail) as source:
        assert (source.info.ch_names, source.info.sfreq, source.info.unit) == (["Oz", "O1"], 128.0, "uV")
        values, times = gather(source, enough=133)
        late = stream_clock() - times[-1]
    process.join(PATIENCE)
    assert process.exitcode == 0
    np.testing.assert_array_equal(values, (1e3 * millivolts[:2]).astype(np.float32))
    np.testing.assert_allclose(times - times[0], np.arange(133) / 128, atol=2e-3)
    # not before it would have been measured
    assert late > -5e-3


@pytest.mark.parametrize("speed", [0.5, 1000.0])
def test_a_replay_takes_no_less_than_its_speed_asks_for(speed, tmp_path):
    """A lower bound, which holds on any machine: a replay waits for what has not been measured yet."""
    info = mne.create_info(["Oz"], 128.0, "eeg")
    mne.io.RawArray(np.ones((1, 128)), info, verbose="error").save(tmp_path / "a_raw.fif", verbose="error")
    replay = LslReplay(tmp_path / "a_raw.fif", unique_name(), speed=speed)
    start = stream_clock()
    assert replay.run() == 128
    assert stream_clock() - start >= 127 / 128 / speed + LINGER_SECONDS - 5e-3


def test_predictions_go_out_with_their_labels_and_stamps():
    import pylsl

    outlet = PredictionOutlet(unique_name(), ["rest", "task"], {"hop_seconds": 0.1})
    found = pylsl.resolve_byprop("name", outlet.name, timeout=5)[0]
    inlet = pylsl.StreamInlet(found)
    inlet.open_stream(5)
    outlet.send(12.5, np.array([0.25, 0.75]))
    outlet.send(12.6, None)
    assert inlet.pull_sample(5) == ([0.25, 0.75], 12.5)
    values, stamp = inlet.pull_sample(5)
    assert np.isnan(values).all() and stamp == 12.6
    info = inlet.info(5)
    assert (info.type(), info.nominal_srate(), info.get_channel_labels()) == ("Classification", 0, ["rest", "task"])
    assert info.desc().child_value("hop_seconds") == "0.1" and outlet.name.startswith("dlink-")


def test_even_stamps_stay_and_jitter_is_smoothed():
    even = 100 + np.arange(256 * 30) / 256
    np.testing.assert_array_equal(smoothed(even, 256, 7), even)
    # an amplifier whose clock is 0.3 % slow, stamped on arrival
    slow = 100 + 1.003 * np.arange(256 * 30) / 256
    arrived = slow + np.repeat(np.random.default_rng(0).uniform(0, 0.02, 256 * 30 // 12), 12)
    times = smoothed(arrived, 256, 12)
    error = (times - arrived.mean() + slow.mean() - slow)[256 * 10 :]
    assert np.abs(error - error.mean()).max() < 2e-3 < 0.2 * np.ptp(arrived - slow)


def smoothed(stamps, sfreq, size):
    steady = SteadyTimes(sfreq)
    return np.concatenate([steady(stamps[k : k + size]) for k in range(0, len(stamps), size)])


@pytest.mark.parametrize("jitter", [0.0, 0.004])
@pytest.mark.parametrize("n_lost", [20, 300])
def test_lost_samples_stay_visible_in_the_times_and_late_bursts_are_no_loss(jitter, n_lost):
    true = 100 + np.arange(256 * 30) / 256
    noise = np.repeat(np.random.default_rng(0).uniform(0, jitter, len(true) // 12), 12)
    kept = np.r_[0:4800, 4800 + n_lost : len(true)]
    steps = np.diff(smoothed((true + noise)[kept], 256, 12)) * 256 - 1
    where = np.flatnonzero(np.abs(steps) > 0.5)
    # said once, within the half second after
    assert len(where) == 1 and 4800 <= where[0] < 4800 + 128
    assert steps[where[0]] == pytest.approx(n_lost, abs=0.1 + 256 * jitter)
    stamps = true + noise
    stamps[4800 : 4800 + n_lost] = np.maximum(stamps[4800 : 4800 + n_lost], stamps[4800 + n_lost])
    assert np.abs(np.diff(smoothed(stamps, 256, 12)) * 256 - 1).max() < 0.5


def test_a_board_of_brainflow_is_a_source_too():
    pytest.importorskip("brainflow", reason="boards need the extra `brainflow`")
    with BrainFlowSource("SYNTHETIC_BOARD", say=pytest.fail) as source:
        assert source.info.ch_names[:5] == ["Fz", "C3", "Cz", "C4", "Pz"]
        assert (source.info.sfreq, source.info.unit) == (250.0, "uV")
        values, times = gather(source, enough=150)
        late = stream_clock() - times[-1]
    assert values.shape == (16, len(times)) and len(times) >= 150 and -0.05 < late < 2
    assert (np.diff(times) > 0).all() and (values.std(1) > 0).all()
    with pytest.raises(ValueError, match="no board 'CYTON'.*CYTON_BOARD"):
        BrainFlowSource("CYTON")
    with pytest.raises(ValueError, match="no 'port' of a board.*serial_port"):
        BrainFlowSource(port=3)
