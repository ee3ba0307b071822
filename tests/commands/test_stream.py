# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""`dlink stream`, over real LSL on this machine: answers as for the recording, files, screen, what is refused."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import threading

import mne
import numpy as np
import pytest
import torch
from lsl_streams import outlets, stay_on_this_machine, unique_name

from dlink_hf import EEGFeatureExtractor, MiCConfig, MiCForEEGClassification, export_onnx
from dlink_hf.streaming.screen import StreamScreen


stay_on_this_machine()
pylsl = pytest.importorskip("pylsl", reason="streams of LSL need the extra `stream` (pylsl)")

from dlink_hf.commands.stream import PredictionLog, run  # noqa: E402
from dlink_hf.streaming.classifier import StreamPrediction  # noqa: E402


NAMES, LABELS, N_TIMES, SECONDS = ["C3", "Cz", "C4", "Pz"], ["rest", "task"], 200, 4


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny student of random weights, one that aligns, and a recording of 250 Hz whose channels are turned round."""
    folder = tmp_path_factory.mktemp("stream")
    config = MiCConfig.from_size("tiny", ch_names=NAMES, n_times=N_TIMES, id2label=dict(enumerate(LABELS)))
    torch.manual_seed(0)
    model = MiCForEEGClassification(config)
    for name, settings in {"plain": {}, "aligned": {"alignment": "zscore", "alignment_min_seconds": 2.0}}.items():
        model.save_pretrained(folder / name)
        EEGFeatureExtractor(ch_names=NAMES, n_times=N_TIMES, stride=100, h_freq=40.0, **settings).save_pretrained(
            folder / name
        )
    volts = 2e-5 * np.random.default_rng(0).standard_normal((4, 250 * SECONDS))
    raw = mne.io.RawArray(volts, mne.create_info(NAMES[::-1], 250.0, "eeg"), verbose="error")
    raw.save(folder / "a_raw.fif", fmt="double", verbose="error")
    return folder


def rows_of(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_replayed_recording_is_answered_live_as_it_is_offline(folder, tmp_path, capsys):
    path, out = folder / "a_raw.fif", tmp_path / "rows.csv"
    state = tmp_path / "alignment.json"
    run(
        f"{folder / 'aligned'} --replay {path} --session {path} --hop 0.5 --smoothing 0 --csv {out} "
        f"--save_alignment {state} --name {unique_name()}".split()
    )
    rows = rows_of(out)
    assert list(rows[0]) == ["time", "onset", "label", "p_rest", "p_task", "latency_ms", "reason"]
    extractor = EEGFeatureExtractor.from_pretrained(folder / "aligned")
    fitted = extractor.fit_alignment([path])
    assert json.loads(state.read_text()) == fitted.to_dict()
    onsets = [float(row["onset"]) for row in rows]
    np.testing.assert_allclose(onsets, 0.5 * np.arange(len(rows)), atol=1e-9)
    # the filter of 40 Hz waits less than half a second
    assert SECONDS - 1 - 1 < onsets[-1] <= SECONDS - 1
    windows = extractor(path, onsets=onsets, alignment_state=fitted, return_tensors="pt")["input_values"]
    with torch.inference_mode():
        expected = (
            MiCForEEGClassification.from_pretrained(folder / "aligned").eval()(windows).logits.softmax(1).numpy()
        )
    found = np.array([[float(row["p_rest"]), float(row["p_task"])] for row in rows])
    np.testing.assert_allclose(found, expected, atol=2e-5)
    assert [row["label"] for row in rows] == [LABELS[k] for k in expected.argmax(1)]
    assert all(float(row["latency_ms"]) > 0 and not row["reason"] for row in rows)
    said = capsys.readouterr().out
    assert "4 of 4 channels, 250 Hz, uV" in said and f"{len(rows)} windows" in said
    assert f"{250 * SECONDS} samples came, 0 were lost" in said and "(p50/p95/p99)" in said


@pytest.fixture
def ctrl_c():
    """Ctrl-C interrupts, also where the tests run in the background, whose processes start with SIGINT ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("ctrl_c")
def test_a_live_stream_is_shown_written_and_sent_on_until_ctrl_c(folder, tmp_path, capsys):
    name, out, received = unique_name(), tmp_path / "rows.csv", []

    def receive_and_interrupt():
        try:
            found = pylsl.resolve_byprop("name", f"dlink-{name}", timeout=120)[0]
            inlet = pylsl.StreamInlet(found)
            # the rows of those before the last one have been written
            received.extend(inlet.pull_sample(10) for _ in range(4))
        finally:
            os.kill(os.getpid(), signal.SIGINT)

    start = pylsl.local_clock()
    with outlets({"name": name, "source_id": "a"}):
        threading.Thread(target=receive_and_interrupt).start()
        run(f"{folder / 'plain'} --name {name} --unit uV --reject 0.99 --outlet {name} --csv {out}".split())
    values, stamp = received[0]
    assert sum(values) == pytest.approx(1, abs=1e-5) and start < stamp < pylsl.local_clock() + 1
    rows, said = rows_of(out), capsys.readouterr().out
    assert rows and {row["label"] for row in rows} == {"reject"} and f"{len(rows)} reject" in said
    assert "reject  rest 0." in said


@pytest.mark.slow
def test_an_exported_student_answers_as_the_one_it_was_made_of(folder, tmp_path):
    pytest.importorskip("onnxscript")
    export_onnx(folder / "plain", tmp_path / "onnx")
    answers = {}
    for name in (folder / "plain", tmp_path / "onnx"):
        out = tmp_path / f"{name.name}.csv"
        run(f"{name} --replay {folder / 'a_raw.fif'} --hop 0.5 --csv {out} --name {unique_name()}".split())
        answers[name.name] = [(row["onset"], float(row["p_rest"])) for row in rows_of(out)]
    assert [onset for onset, _ in answers["onnx"]] == [onset for onset, _ in answers["plain"]]
    np.testing.assert_allclose([p for _, p in answers["onnx"]], [p for _, p in answers["plain"]], atol=2e-6)


def test_without_a_model_a_recording_is_only_sent(folder, capsys):
    name = unique_name()
    run(f"--replay {folder / 'a_raw.fif'} --name {name} --speed 10".split())
    said = capsys.readouterr().out
    assert f"4 channels, 250 Hz, 4 s, microvolts, as LSL stream {name!r} of type EEG" in said
    assert f"{250 * SECONDS} samples were sent" in said


@pytest.mark.parametrize(
    ("words", "match"),
    [
        ("", "which model is to answer"),
        ("{plain} --replay {raw} --brainflow SYNTHETIC_BOARD", "two sources"),
        ("{plain} --replay {raw}.edf", "no recording at"),
        ("{plain} --backend tflite --replay {raw}", "backend must be one of 'torch', 'onnx'"),
        ("{plain} --session {raw} --replay {raw}", "--session is for a model with an alignment"),
        ("{aligned} --session {raw} --alignment {raw} --replay {raw}", "contradict each other"),
        ("{aligned} --alignment {raw} --replay {raw}", "is not a JSON file"),
        ("{plain} --duration 0 --replay {raw}", "--duration must be above 0"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(folder, words, match):
    paths = {"plain": folder / "plain", "aligned": folder / "aligned", "raw": folder / "a_raw.fif"}
    with pytest.raises((ValueError, OSError), match=match):
        run(words.format(**paths).split())


def test_rows_are_added_to_a_file_of_the_same_columns_only(tmp_path):
    path = tmp_path / "rows.csv"
    unknown = StreamPrediction(1.5, 0.25, 1.0, reason="Cz flat")
    for _ in range(2):
        log = PredictionLog(path, LABELS)
        log.write(unknown, 0.0125)
        # at once, not when it is closed
        assert rows_of(path)[-1] == {
            "time": "1.500000",
            "onset": "0.2500",
            "label": "",
            "p_rest": "",
            "p_task": "",
            "latency_ms": "12.50",
            "reason": "Cz flat",
        }
        log.close()
    assert len(rows_of(path)) == 2
    with pytest.raises(ValueError, match="has other columns.*name a new file"):
        PredictionLog(path, ["left", "right"])


def test_a_terminal_shows_bars_that_are_redrawn_in_place(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setenv("COLUMNS", "60")
    out = Terminal()
    screen = StreamScreen(LABELS, out)
    screen.show(0.0, "task", np.array([0.25, 0.75]), None, "latency 5 ms")
    screen.say("Cz went flat")
    screen.show(0.1, None, None, "Cz flat", "latency 5 ms")
    screen.close()
    lines = rendered(out.getvalue())
    assert lines[0] == "Cz went flat" and len(lines) == 4
    assert lines[1].split() == ["rest", "..."] and "no label: Cz flat" in lines[3]
    full = rendered(out.getvalue().split("\x1b")[0])
    assert full[1].startswith("> task  0.75") and 2.5 < full[1].count("\u2588") / full[0].count("\u2588") < 3.5


def rendered(text):
    """What a terminal shows of lines, "n lines up" and "clear from here"."""
    lines, row = [""], 0
    k = 0
    while k < len(text):
        if text.startswith("\x1b[", k):
            end = next(j for j in range(k + 2, len(text)) if text[j].isalpha())
            if text[end] == "F":
                row -= int(text[k + 2 : end])
            elif text[end] == "J":
                lines[row:] = [""]
            k = end + 1
            continue
        if text[k] == "\n":
            row += 1
            lines += [""] * (row + 1 - len(lines))
        else:
            lines[row] += text[k]
        k += 1
    return lines[:-1] if not lines[-1] else lines
