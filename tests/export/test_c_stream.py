# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Raw samples to labels in C: prepared samples beside StreamPreparation's, labels beside StreamClassifier's."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from test_c import ARM_TOOLS, SANITIZED, needs_compiler
from toy_training import N_TIMES, NAMES

from dlink_hf import EEGFeatureExtractor, MiCConfig, MiCForEEGClassification, StreamClassifier, StreamPreparation
from dlink_hf.commands import main
from dlink_hf.export.c_student import find_compiler


# prints prepared samples as they come, or what each window got
PREPARE = """
#include <stdio.h>
#include "mic_stream.h"
int main(void)
{
    float x[MIC_CHANNELS], y[MIC_FILTER_MOST][MIC_CHANNELS];
    while (fread(x, sizeof x, 1, stdin) == 1)
        fwrite(y, sizeof y[0], (size_t)mic_filter_push(x, y), stdout);
    return 0;
}
"""
CLASSIFY = """
#include <stdio.h>
#include "mic_stream.h"
int main(void)
{
    struct { float number; float x[MIC_CHANNELS]; } in;
    struct { float number, status, label, logits[MIC_LABELS]; } out;
    int label;
    while (fread(&in, sizeof in, 1, stdin) == 1) {
        out.number = in.number;
        out.status = (float)mic_stream_push(in.x, (uint32_t)in.number, &label, out.logits);
        out.label = (float)label;
        if (out.status != (float)MIC_MORE)
            fwrite(&out, sizeof out, 1, stdout);
    }
    return 0;
}
"""
OK, NOT_FINITE, FLAT, MISSING = 0, 1, 2, 5


def raw_samples(sfreq: float, seconds: float = 20.0) -> np.ndarray:
    """Samples (4, n), microvolts: noise with slow drifts, and an amplifier's offset of some millivolts."""
    rng = np.random.default_rng(3)
    n = int(seconds * sfreq)
    drift = 100 * np.sin(2 * np.pi * 0.1 * np.arange(n) / sfreq + rng.uniform(0, 6, (4, 1)))
    offset = np.array([[4000.0], [-20000.0], [0.0], [150.0]])
    return (20 * rng.standard_normal((4, n)) + drift + offset).astype("f4")


@pytest.fixture(scope="module")
def student(tmp_path_factory):
    folder = tmp_path_factory.mktemp("student")
    torch.manual_seed(0)
    config = MiCConfig.from_size("tiny", ch_names=NAMES, n_times=N_TIMES, num_labels=3)
    model = MiCForEEGClassification(config).eval()
    extractor = EEGFeatureExtractor(ch_names=NAMES, n_times=N_TIMES, l_freq=1.0, h_freq=40.0)
    prepared = StreamPreparation(extractor, NAMES, 256.0).push(raw_samples(256.0)).astype("f4")
    windows = np.stack(np.split(prepared[:, : len(prepared[0]) // N_TIMES * N_TIMES], len(prepared[0]) // N_TIMES, 1))
    with torch.no_grad():
        # a head whose answers differ between these windows
        model.classifier.weight.mul_(20)
        model.classifier.bias.sub_(model(torch.from_numpy(windows)).logits.mean(0))
    model.save_pretrained(folder)
    return folder


def export(student: Path, folder: Path, sfreq: float, phase: str = "linear", **settings) -> EEGFeatureExtractor:
    """The student as C, with the filters for a device of `sfreq` Hz."""
    extractor = EEGFeatureExtractor(ch_names=NAMES, n_times=N_TIMES, **settings)
    extractor.save_pretrained(student)
    command = ["export", str(student), "--format", "c", "--output_dir", str(folder)]
    main([*command, "--source_sfreq", str(sfreq), "--phase", phase])
    return extractor


def build(folder: Path, source: str) -> Path:
    (folder / "program.c").write_text(source)
    command = [find_compiler(), *SANITIZED, "-o", "program", "program.c", "mic.c", "mic_stream.c", "-lm"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder / "program"


@needs_compiler
@pytest.mark.parametrize(
    ("sfreq", "phase", "settings"),
    [
        (256.0, "linear", {"l_freq": 0.5, "h_freq": 40.0}),
        (128.0, "linear", {"l_freq": 1.0, "h_freq": None, "notch_freq": 50.0}),
        (200.0, "minimum", {"l_freq": 1.0, "h_freq": 40.0}),
        (500.0, "linear", {"l_freq": None, "h_freq": None}),
        (200.0, "linear", {"l_freq": None, "h_freq": 30.0}),
    ],
)
def test_prepared_samples_are_those_of_the_stream(student, tmp_path, sfreq, phase, settings):
    extractor = export(student, tmp_path, sfreq, phase, **settings)
    values = raw_samples(sfreq)
    expected = StreamPreparation(extractor, NAMES, sfreq, phase=phase).push(values)
    program = build(tmp_path / "float32", PREPARE)
    done = subprocess.run([program], input=values.T.tobytes(), capture_output=True, check=True, timeout=1000)
    found = np.frombuffer(done.stdout, "f4").reshape(-1, len(NAMES)).T
    assert found.shape == expected.shape and found.shape[1] > 2000
    # an offset that stays is as coarse as float32 is at 20 mV: 0.002 uV
    tolerance = 1e-3 if settings["l_freq"] else 4e-3
    assert np.abs(found - expected).max() < tolerance


@needs_compiler
def test_labels_are_those_of_the_stream_and_breaks_get_a_status(student, tmp_path):
    extractor = export(student, tmp_path, 256.0, l_freq=1.0, h_freq=40.0)
    program = build(tmp_path / "float32", CLASSIFY)

    def run(values: np.ndarray, numbers: np.ndarray) -> np.ndarray:
        given = np.concatenate([numbers[None], values]).T.astype("f4").tobytes()
        done = subprocess.run([program], input=given, capture_output=True, check=True, timeout=1000)
        return np.frombuffer(done.stdout, "f4").reshape(-1, 6)

    values = raw_samples(256.0)
    numbers = np.arange(values.shape[1])
    model = MiCForEEGClassification.from_pretrained(student).eval()

    def live() -> StreamClassifier:
        return StreamClassifier(model, extractor, NAMES, 256.0, "uV", hop_seconds=1.0)

    expected = live().push(values, numbers / 256.0)
    found = run(values, numbers)
    assert len(found) == len(expected) > 10 and (found[:, 1] == OK).all()
    assert [live().labels[int(label)] for label in found[:, 2]] == [prediction.label for prediction in expected]
    assert len(set(found[:, 2])) > 1
    shares = torch.tensor(found[:, 3:]).softmax(-1).numpy()
    np.testing.assert_allclose(shares, np.stack([p.probabilities for p in expected]), rtol=0, atol=1e-3)

    # a flat channel: the same windows without a label as the stream's
    flat = values.copy()
    flat[2, 1500:2100] = flat[2, 1499]
    classifier, expected, found = live(), [], run(flat, numbers)
    for first in range(0, len(numbers), 4):
        # a chunk at a time: what comes later must not be known
        expected += classifier.push(flat[:, first : first + 4], numbers[first : first + 4] / 256.0)
    assert [status == FLAT for status in found[:, 1]] == [prediction.label is None for prediction in expected]
    assert 0 < (found[:, 1] == FLAT).sum() < len(found)

    # 100 samples are missing, or one is not finite: all begins again
    kept = np.r_[:2000, 2100 : values.shape[1]]
    found = run(values[:, kept], numbers[kept])
    (place,) = np.flatnonzero(found[:, 1] == MISSING)
    again = run(values[:, 2100:], numbers[2100:])
    assert found[place, 0] == 2100 and found[place, 2] == -1
    np.testing.assert_array_equal(found[place + 1 :], again)
    broken = values.copy()
    broken[1, 2099] = np.nan
    found = run(broken, numbers)
    (place,) = np.flatnonzero(found[:, 1] == NOT_FINITE)
    assert found[place, 0] == 2099 and found[place, 2] == -1
    np.testing.assert_array_equal(found[place + 1 :], again)


@needs_compiler
def test_a_stream_of_an_aligned_student(student, tmp_path):
    settings = {"l_freq": 1.0, "h_freq": 40.0, "alignment": "euclidean_monge", "alignment_min_seconds": 4.0}
    extractor = EEGFeatureExtractor(ch_names=NAMES, n_times=N_TIMES, **settings)
    raw = raw_samples(200.0)
    state = extractor.fit_alignment(raw, sfreq=200.0, ch_names=NAMES, unit="uV")
    (tmp_path / "state.json").write_text(json.dumps(state.to_dict()))
    extractor.save_pretrained(student)
    words = ["export", str(student), "--format", "c", "--output_dir", str(tmp_path), "--source_sfreq", "200"]
    assert main([*words, "--alignment", str(tmp_path / "state.json")]) == 0
    numbers = np.concatenate([np.arange(raw.shape[1], dtype="f4")[None], raw]).T.tobytes()
    program = build(tmp_path / "float32", CLASSIFY)
    found = np.frombuffer(subprocess.run([program], input=numbers, capture_output=True, check=True).stdout, "f4")
    found = found.reshape(-1, 3 + 3)
    model = MiCForEEGClassification.from_pretrained(student)
    live = StreamClassifier(model, extractor, NAMES, 200.0, "uV", hop_seconds=1.0, alignment_state=state)
    expected = live.push(raw, np.arange(raw.shape[1]) / 200.0)
    assert len(found) == len(expected) and (found[:, 1] == OK).all()
    assert [live.labels[int(row[2])] for row in found] == [p.label for p in expected]
    shares = np.exp(found[:, 3:]) / np.exp(found[:, 3:]).sum(1, keepdims=True)
    np.testing.assert_allclose(shares, [p.probabilities for p in expected], atol=1e-3)


@pytest.mark.slow
@pytest.mark.skipif(
    any(shutil.which(name) is None for name in ARM_TOOLS), reason=f"one of {', '.join(ARM_TOOLS)} is not installed"
)
def test_a_chip_gives_the_labels_of_the_stream(student, tmp_path):
    extractor = export(student, tmp_path, 256.0, l_freq=1.0, h_freq=40.0)
    values = raw_samples(256.0)
    values.T.astype("<f4").tofile(tmp_path / "float32" / "samples.f32")
    command = ["make", "-s", "run_stream", "ARM_FLAGS=-O2 -Wall -Wextra -Werror"]
    done = subprocess.run(command, cwd=tmp_path / "float32", capture_output=True, text=True, timeout=1000)
    assert done.returncode == 0, done.stderr
    row = np.dtype([("status", "<i4"), ("label", "<i4"), ("ticks", "<u4"), ("logits", "<f4", 3)])
    results = np.fromfile(tmp_path / "float32" / "results.bin", dtype=row)
    model = MiCForEEGClassification.from_pretrained(student).eval()
    live = StreamClassifier(model, extractor, NAMES, 256.0, "uV", hop_seconds=1.0)
    expected = live.push(values, np.arange(values.shape[1]) / 256.0)
    assert (results["status"] == OK).all() and len(results) == len(expected) > 10
    assert [live.labels[label] for label in results["label"]] == [prediction.label for prediction in expected]
