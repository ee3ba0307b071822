# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Exported students on devices: no torch, no transformers, little memory, and the answers of the other path."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import mne
import numpy as np
import pytest
import torch


pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

import dlink_hf  # noqa: E402
from dlink_hf import (  # noqa: E402
    EEGFeatureExtractor,
    EEGReader,
    MiCConfig,
    MiCForEEGClassification,
    RecordingClassifier,
    make_synthetic_recordings,
)
from dlink_hf.commands import main  # noqa: E402


NAMES = ["F3", "C3", "Cz", "C4", "Pz"]
SETTINGS = {"ch_names": NAMES, "sfreq": 200.0, "n_times": 400, "l_freq": 0.5, "h_freq": 40.0, "notch_freq": 50.0}
# the answer of a process, and what it has imported and holds by then
REPORT = """
import json, sys
status = dict(line.split(":", 1) for line in open("/proc/self/status")) if sys.platform == "linux" else {}
heavy = [name for name in ("torch", "transformers", "pandas", "scipy.signal", "matplotlib") if name in sys.modules]
print(json.dumps({"heavy": heavy, "kib": int(status.get("VmRSS", "0").split()[0]), "answer": answer}))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A student with its export, the same aligned, and a recording at another rate than theirs."""
    folder = tmp_path_factory.mktemp("light")
    torch.manual_seed(0)
    student = MiCForEEGClassification(MiCConfig.from_size("small", ch_names=NAMES, n_times=400, num_labels=3)).eval()
    torch.nn.init.normal_(student.classifier.weight)
    for name, own in (("plain", {}), ("aligned", {"alignment": "euclidean", "alignment_min_seconds": 4.0})):
        extractor = EEGFeatureExtractor(**SETTINGS, **own)
        student.save_pretrained(folder / name)
        extractor.save_pretrained(folder / name)
        dlink_hf.export_onnx(student, folder / name / "onnx", feature_extractor=extractor, progress=False)
    raw = make_synthetic_recordings(n_subjects=1, n_trials=4, seed=9, sfreq=256.0, progress=False)[0]
    mne.export.export_raw(folder / "recording.edf", raw, verbose="ERROR")
    return folder


def in_fresh_process(code: str) -> dict[str, Any]:
    done = subprocess.run([sys.executable, "-c", code + REPORT], capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("model", ["plain/onnx", "plain", "aligned/onnx"])
def test_the_pipeline_of_an_export_needs_neither_torch_nor_transformers(folder: Path, model: str) -> None:
    code = f"import dlink_hf\npipe = dlink_hf.pipeline(model={str(folder / model)!r}, backend='onnx')\n"
    code += f"answer = pipe({str(folder / 'recording.edf')!r}, top_k=None)"
    found = in_fresh_process(code)
    assert found["heavy"] == []
    assert found["kib"] < 150 * 1024
    checkpoint = folder / model.partition("/")[0]
    expected = dlink_hf.pipeline(model=checkpoint, device="cpu")(folder / "recording.edf", top_k=None)
    assert [window["label"] for window in found["answer"]] == [window["label"] for window in expected]
    scores = [[window["score"] for window in windows] for windows in (found["answer"], expected)]
    np.testing.assert_allclose(*scores, atol=1e-4)


def test_the_commands_need_neither_for_an_export(folder: Path, tmp_path: Path) -> None:
    words = ["predict", str(folder / "recording.edf"), "--model", str(folder / "plain" / "onnx")]
    code = f"from dlink_hf.commands import main\nanswer = main({[*words, '--output', str(tmp_path / 'light.csv')]!r})"
    found = in_fresh_process(code)
    assert found["heavy"] == [] and found["answer"] == 0 and found["kib"] < 150 * 1024
    assert main(["predict", words[1], "--model", str(folder / "plain"), "--output", str(tmp_path / "torch.csv")]) == 0
    texts = [(tmp_path / f"{name}.csv").read_text("utf-8").splitlines() for name in ("light", "torch")]
    light, heavy = ([row[:5] for row in csv.reader(lines)] for lines in texts)
    assert [row[:2] for row in light] == [row[:2] for row in heavy]
    shares = [np.float64([row[2:] for row in rows[1:]]) for rows in (light, heavy)]
    np.testing.assert_allclose(*shares, atol=1e-4)
    code = "from dlink_hf.commands.stream import load_model\n"
    code += f"model, reader = load_model({str(folder / 'plain' / 'onnx')!r}, None)\nanswer = type(model).__name__"
    found = in_fresh_process(code)
    assert found["heavy"] == [] and found["answer"] == "OnnxStudent"


def test_a_stream_of_an_export_needs_neither_and_says_the_same(folder: Path) -> None:
    code = f"""
import mne, numpy as np
from dlink_hf import EEGReader, OnnxStudent, StreamClassifier
folder = {str(folder / "plain" / "onnx")!r}
raw = mne.io.read_raw({str(folder / "recording.edf")!r}, verbose="error")
live = StreamClassifier(
    OnnxStudent.from_pretrained(folder), EEGReader.from_pretrained(folder), raw.ch_names, raw.info["sfreq"], "V",
    hop_seconds=2.0,
)
answer = []
for start in range(0, raw.n_times, 64):
    values, times = raw[:, start : start + 64]
    answer += [[p.onset, p.probabilities.tolist()] for p in live.push(values, times)]
"""
    found = in_fresh_process(code)
    assert found["heavy"] == [] and found["kib"] < 150 * 1024
    offline = dlink_hf.pipeline(model=folder / "plain", device="cpu")(folder / "recording.edf", top_k=None)
    names = sorted({score["label"] for score in offline[0]["scores"]})
    expected = [[{s["label"]: s["score"] for s in w["scores"]}[name] for name in names] for w in offline]
    # the last windows wait for samples that never come
    assert len(found["answer"]) >= len(expected) - 4
    np.testing.assert_allclose([p for _, p in found["answer"]], expected[: len(found["answer"])], atol=1e-3)


def test_the_reader_gives_the_windows_of_the_feature_extractor(folder: Path) -> None:
    for name in ("plain", "aligned"):
        reader, extractor = (
            EEGReader.from_pretrained(folder / name),
            EEGFeatureExtractor.from_pretrained(folder / name),
        )
        assert reader.to_dict().items() <= extractor.to_dict().items()
        one, other = reader(folder / "recording.edf"), extractor(folder / "recording.edf")
        assert set(one) == set(other) and one["ch_names"] == other["ch_names"]
        for field in ("input_values", "channel_positions", "onset"):
            np.testing.assert_array_equal(one[field], other[field])


def test_the_reader_refuses_what_the_feature_extractor_refuses(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="EEGReader has no setting named 'highpass'"):
        EEGReader(highpass=1.0)
    with pytest.raises(OSError, match=r"preprocessor_config\.json"):
        EEGReader.from_pretrained(tmp_path)
    for text, reason in (("[1]", "JSON object"), ('{"sfreq": -1}', "sfreq"), ('{"ch_names": 3}', "ch_names")):
        (tmp_path / "preprocessor_config.json").write_text(text)
        with pytest.raises(ValueError, match=reason):
            EEGReader.from_pretrained(tmp_path)


def test_calls_of_the_light_classifier(folder: Path) -> None:
    pipe = dlink_hf.pipeline(model=folder / "plain" / "onnx", backend="onnx", top_k=2)
    assert isinstance(pipe, RecordingClassifier)
    path = folder / "recording.edf"
    (one,), generated = pipe([path]), pipe(item for item in (path, path))
    assert len(one[0]["scores"]) == 2 and next(generated) == one == next(generated)
    assert pipe([]) == [] and len(pipe(path, stride_seconds=1.0, batch_size=3)) > len(one)
    with pytest.raises(TypeError, match="no option colour"):
        pipe(path, colour=1)
    with pytest.raises(ValueError, match="num_workers"):
        dlink_hf.pipeline(model=folder / "plain" / "onnx", backend="onnx", num_workers=1)
    with pytest.raises(TypeError, match="not an exported student"):
        RecordingClassifier(MiCForEEGClassification.from_pretrained(folder / "plain"), EEGReader())
