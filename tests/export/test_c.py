# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Students as C: built with the compiler's sanitizers, their logits against PyTorch's; bad windows; a chip in QEMU."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.special import erf
from toy_training import LABELS, N_TIMES, NAMES, toy_dataset

import dlink_hf
from dlink_hf import EEGFeatureExtractor, MiCConfig, MiCForEEGClassification
from dlink_hf.commands import main
from dlink_hf.core.export_record import weights_digest
from dlink_hf.export.c_student import SOURCES, C, CStudent, export_c, find_compiler, weights_header
from dlink_hf.export.onnx import write_export
from dlink_hf.preprocessing.alignment import Alignment, make_alignment


needs_compiler = pytest.mark.skipif(find_compiler() is None, reason="there is no C compiler: install gcc or clang")
CARD = Path(__file__).resolve().parents[2] / "model_cards" / "dlink-mic-small-eegmat"
STRICT = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-O1", "-g"]
SANITIZED = [*STRICT, "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
# students of several montages, windows and sizes; the labels are more than letters of ASCII
SHAPES = {
    "tiny": ("tiny", {"ch_names": NAMES, "n_times": N_TIMES}),
    "small": ("small", {}),
    "one channel, one patch": ("tiny", {"ch_names": ["Cz"], "n_times": 200}),
    "signed path": ("tiny", {"ch_names": NAMES, "n_times": N_TIMES, "signed_path": True}),
    "other sizes": (
        "tiny",
        {
            "ch_names": ["Fz", "Oz", "C3"],
            "sfreq": 128.0,
            "n_times": 384,
            "patch_size": 128,
            "filter_size": 50,
            "filter_stride": 31,
            "num_slow_features": 8,
            "hidden_size": 30,
            "num_attention_heads": 3,
            "intermediate_size": 41,
            "num_hidden_layers": 2,
            "mimic_size": 24,
            "num_spatial_slots": 3,
            "compressed_size": 7,
            "input_scale": 0.05,
        },
    ),
}


def student_of(size: str, fields: dict) -> MiCForEEGClassification:
    """A student of random weights, whose norms are not those of the beginning either."""
    torch.manual_seed(0)
    names = {0: "rest", 1: 'l\'œil "ouvert"??/\\', 2: "13 Hz"}
    model = MiCForEEGClassification(MiCConfig.from_size(size, id2label=names, **fields)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter) * parameter.abs().mean().clamp_min(0.1))
        model.mic.filter_bank.norm.running_mean.normal_()
        model.mic.filter_bank.norm.running_var.uniform_(0.5, 2.0)
    return model


def noise(model: MiCForEEGClassification, n_windows: int, seed: int = 1) -> np.ndarray:
    shape = (n_windows, len(model.config.ch_names), model.config.n_times)
    return 20 * np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


@torch.no_grad()
def logits_of(model: MiCForEEGClassification, values: np.ndarray) -> np.ndarray:
    return model(torch.from_numpy(values)).logits.numpy()


def build(
    model: MiCForEEGClassification, folder: Path, precision: str = "float32", alignment: Alignment | None = None
) -> Path:
    """The program of a student, with the sanitizers of the compiler."""
    shutil.copytree(SOURCES, folder)
    (folder / "mic_weights.h").write_text(weights_header(model, precision, alignment), "utf-8")
    done = subprocess.run(
        [find_compiler(), *SANITIZED, "-o", "mic", "main.c", "mic.c", "-lm"],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return folder / "mic"


def run(program: Path, given: bytes, *words: str) -> list[list[str]]:
    """What the program prints for the windows in its input: the fields of each line."""
    done = subprocess.run([program, *words], input=given, capture_output=True, timeout=1000)
    assert done.returncode == 0, done.stderr.decode()
    return [line.split("\t") for line in done.stdout.decode("utf-8").splitlines()]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A tiny student and its program."""
    model = student_of(*SHAPES["tiny"])
    return model, build(model, tmp_path_factory.mktemp("c") / "tiny")


@needs_compiler
@pytest.mark.parametrize("shape", SHAPES)
def test_float32_gives_the_logits_of_pytorch(shape, tmp_path):
    model = student_of(*SHAPES[shape])
    values = noise(model, 6)
    # quiet and loud windows, and one with a drift
    values[1] *= 0.01
    values[2] *= 20
    values[3] += np.linspace(-200, 200, values.shape[2], dtype=np.float32)
    expected = logits_of(model, values)
    lines = run(build(model, tmp_path / "c"), values.tobytes())
    assert [line[0] for line in lines] == ["MIC_OK"] * len(values)
    assert [line[1] for line in lines] == [model.config.id2label[i] for i in expected.argmax(1)]
    found = np.array([line[2::2] for line in lines], dtype=float)
    assert np.ptp(expected, axis=0).max() > 0.1
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * np.abs(expected).max())
    shares = np.array([line[3::2] for line in lines], dtype=float)
    np.testing.assert_allclose(shares, torch.from_numpy(expected).softmax(-1), rtol=0, atol=1e-4)


@needs_compiler
@pytest.mark.parametrize("shape", ["tiny", "other sizes"])
def test_int8_is_near_and_smaller(shape, tmp_path):
    model = student_of(*SHAPES[shape])
    values = noise(model, 12)
    expected = logits_of(model, values)
    found = np.array([line[2::2] for line in run(build(model, tmp_path / "c", "int8"), values.tobytes())], dtype=float)
    difference = np.abs(found - expected).max()
    assert 0 < difference < 0.05 * max(np.ptp(expected), 0.1)


@needs_compiler
def test_bad_windows_get_a_status_and_no_label(tiny):
    model, program = tiny
    good = noise(model, 1)[0]
    windows = {"MIC_OK": [good], "MIC_NOT_FINITE": [], "MIC_FLAT_CHANNEL": [], "MIC_SATURATED": []}
    for value in (np.nan, np.inf, -np.inf):
        for place in ((0, 0), (3, N_TIMES - 1)):
            windows["MIC_NOT_FINITE"].append(good.copy())
            windows["MIC_NOT_FINITE"][-1][place] = value
    for value in (0.0, -37.5):
        windows["MIC_FLAT_CHANNEL"].append(good.copy())
        windows["MIC_FLAT_CHANNEL"][-1][2] = value
    # far from zero; or 0.1 s at the upper or lower end
    for value in (10_000.0, -10_000.0):
        windows["MIC_SATURATED"].append(good.copy())
        windows["MIC_SATURATED"][-1][1, 7] = value
    for value in (200.0, -200.0):
        for first in (0, N_TIMES - 20):
            windows["MIC_SATURATED"].append(good.copy())
            windows["MIC_SATURATED"][-1][1, first : first + 20] = value
    # not yet: 19 samples; 20 with a gap; 20 that are equal, but not at an end
    for places in (range(19), [*range(15), *range(16, 21)]):
        windows["MIC_OK"].append(good.copy())
        windows["MIC_OK"][-1][1, list(places)] = 200.0
    windows["MIC_OK"].append(good.copy())
    windows["MIC_OK"][-1][1, :20] = 1.0
    for status, rows in windows.items():
        lines = run(program, np.stack(rows).tobytes())
        assert [line[0] for line in lines] == [status] * len(rows)
        assert all((line[1:] == ["-"]) == (status != "MIC_OK") for line in lines)


@pytest.fixture
def session() -> dict[str, Alignment]:
    """Alignments of a subject whose channels are of unlike size, mixed, and off zero."""
    rng = np.random.default_rng(5)
    windows = np.einsum("dc,nct->ndt", rng.normal(size=(len(NAMES),) * 2), 30 * rng.normal(size=(9, len(NAMES), 300)))
    methods = ("zscore", "euclidean", "monge", "euclidean_monge")
    return {method: make_alignment(method, ch_names=NAMES).fit(windows + 20) for method in methods}


@needs_compiler
@pytest.mark.parametrize("method", ["zscore", "euclidean", "monge", "euclidean_monge"])
def test_windows_are_aligned_as_in_python(method, session, tmp_path):
    model = student_of(*SHAPES["tiny"])
    values = 3 * noise(model, 5) + 20
    expected = logits_of(model, session[method].transform(values))
    assert np.abs(expected - logits_of(model, values)).max() > 0.1
    lines = run(build(model, tmp_path / "given", alignment=session[method]), values.tobytes())
    found = np.array([line[2::2] for line in lines], dtype=float)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * np.abs(expected).max())
    # checks are of the microvolts that were measured
    values[1, 2], values[2, 0, 3] = 7.0, np.nan
    assert [line[0] for line in run(tmp_path / "given" / "mic", values.tobytes())][1:3] == [
        "MIC_FLAT_CHANNEL",
        "MIC_NOT_FINITE",
    ]


@needs_compiler
def test_an_alignment_is_told_while_it_runs(session, tmp_path):
    model = student_of(*SHAPES["tiny"])
    values = 3 * noise(model, 2)
    program = build(model, tmp_path / "later", alignment=make_alignment("euclidean_monge", ch_names=NAMES))
    assert [line[:2] for line in run(program, values.tobytes())] == [["MIC_NOT_ALIGNED", "-"]] * 2
    arrays = session["euclidean_monge"].device_arrays()
    assert {name: array.shape[0] for name, array in arrays.items()} == {"matrix": len(NAMES), "taps": len(NAMES)}
    matrix, taps = (f"{{{', '.join(f'{x:.9e}f' for x in array.ravel())}}}" for array in arrays.values())
    (tmp_path / "later" / "told.c").write_text(
        '#define main told_main\n#include "main.c"\n#undef main\n'
        f"static const float matrix[] = {matrix}, taps[] = {taps};\n"
        "static const mic_alignment own = {matrix, NULL, taps};\n"
        "int main(int n, char **words) { mic_set_alignment(&own); return told_main(n, words); }\n"
    )
    command = [find_compiler(), *SANITIZED, "-o", "told", "told.c", "mic.c", "-lm"]
    done = subprocess.run(command, cwd=tmp_path / "later", capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = np.array([line[2::2] for line in run(tmp_path / "later" / "told", values.tobytes())], dtype=float)
    expected = logits_of(model, session["euclidean_monge"].transform(values))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


@needs_compiler
def test_the_folder_of_an_aligned_student(session, tmp_path):
    model = student_of(*SHAPES["tiny"])
    extractor = EEGFeatureExtractor(ch_names=NAMES, n_times=N_TIMES, alignment="euclidean")
    options = {"feature_extractor": extractor, "progress": False}
    export_c(model, tmp_path / "none", **options)
    export_c(model, tmp_path / "own", alignment_state=session["euclidean"], **options)
    for name, text, note in (
        ("none", "MIC_ALIGNMENT_GIVEN 0", "mic_set_alignment"),
        ("own", "MIC_ALIGNMENT_GIVEN 1", "own is in the file"),
    ):
        assert text in (tmp_path / name / "mic_weights.h").read_text("utf-8")
        assert note in json.loads((tmp_path / name / "deploy.json").read_text("utf-8"))["alignment"]["note"]
    with pytest.raises(ValueError, match="state of zscore"):
        export_c(model, tmp_path / "other", alignment_state=session["zscore"], **options)
    with pytest.raises(ValueError, match="of aligned windows"):
        export_c(model, tmp_path / "other", alignment_state=session["zscore"], progress=False)


@needs_compiler
def test_a_rule_can_be_set(tmp_path, tiny):
    model, program = tiny
    values = noise(model, 1)
    values[0, 2] *= 0.01
    (tmp_path / "mic.c").write_text('#define MIC_FLAT_UV 5.0f\n#include "%s"\n' % (program.parent / "mic.c"))
    command = [find_compiler(), *STRICT, f"-I{program.parent}", "-o", "mic", program.parent / "main.c", "mic.c", "-lm"]
    subprocess.run(command, cwd=tmp_path, check=True)
    assert run(program, values.tobytes())[0][0] == "MIC_OK"
    assert run(tmp_path / "mic", values.tobytes()) == [["MIC_FLAT_CHANNEL", "-"]]


@needs_compiler
def test_the_program_reads_text_and_refuses_half_a_window(tiny, tmp_path):
    model, program = tiny
    values = noise(model, 2)
    np.savetxt(tmp_path / "windows.txt", values.reshape(2, -1), fmt="%.9g")
    values.tofile(tmp_path / "windows.f32")
    expected = run(program, values.tobytes())
    assert run(program, b"", "--text", str(tmp_path / "windows.txt")) == expected
    assert run(program, b"", str(tmp_path / "windows.f32")) == expected
    for given, words, code, told in (
        (values.tobytes()[:-4], [], 1, "ends after 1599 of the 1600 numbers"),
        (b"1 2 three", ["--text"], 1, "ends after 2 of the 1600 numbers"),
        (b"", ["missing.f32"], 2, "no file missing.f32"),
    ):
        done = subprocess.run([program, *words], input=given, capture_output=True, cwd=tmp_path)
        assert done.returncode == code and told in done.stderr.decode()


@needs_compiler
def test_exp_log_and_gelu_have_the_errors_that_they_tell(tiny, tmp_path):
    lines = ['#include "mic.c"', "#include <stdio.h>", "int main(void) { float x[3];"]
    lines += ["while (fread(x, 4, 3, stdin) == 3) { x[0] = exp_(x[0]); x[1] = log_(x[1]); x[2] = gelu(x[2]);"]
    lines += ["fwrite(x, 4, 3, stdout); } return 0; }"]
    (tmp_path / "functions.c").write_text("\n".join(lines))
    command = [find_compiler(), *SANITIZED, f"-I{tiny[1].parent}", "-o", "functions", "functions.c", "-lm"]
    subprocess.run(command, cwd=tmp_path, check=True)
    n = 200_001
    given = np.stack([np.linspace(-87, 0, n), np.geomspace(1e-5, 1e20, n), np.linspace(-9, 9, n)], 1).astype("f4")
    done = subprocess.run([tmp_path / "functions"], input=given.tobytes(), capture_output=True, check=True)
    found = np.frombuffer(done.stdout, "f4").reshape(-1, 3).astype(float)
    x = given.astype(float)
    assert np.abs(found[:, 0] / np.exp(x[:, 0]) - 1).max() < 2e-7
    assert (np.abs(found[:, 1] - np.log(x[:, 1])) / np.maximum(1, np.abs(np.log(x[:, 1])))).max() < 2e-7
    assert np.abs(found[:, 2] - x[:, 2] * (1 + erf(x[:, 2] / np.sqrt(2))) / 2).max() < 5e-7


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("student")
    torch.manual_seed(0)
    config = MiCConfig.from_size("tiny", ch_names=NAMES, n_times=N_TIMES, id2label=dict(enumerate(LABELS)))
    MiCForEEGClassification(config).save_pretrained(folder)
    EEGFeatureExtractor(ch_names=NAMES, n_times=N_TIMES, l_freq=0.5, h_freq=40.0).save_pretrained(folder)
    return folder


@needs_compiler
def test_the_folder_of_an_export(checkpoint, tmp_path, capsys):
    toy_dataset(["a"]).save_to_disk(tmp_path / "windows")
    command = ["export", str(checkpoint), "--format", "c", "--output_dir", str(tmp_path), "--precision", "float32"]
    main([*command, "int8", "--windows", str(tmp_path / "windows")])
    assert "compared with PyTorch on 12 windows: given" in capsys.readouterr().out
    model = MiCForEEGClassification.from_pretrained(checkpoint).eval()
    for precision, tolerance in (("float32", 1e-4), ("int8", 0.05)):
        folder = tmp_path / precision
        names = {"mic.c", "mic.h", "mic_stream.c", "mic_stream.h", "main.c", "chip.c", "chip.ld", "Makefile"}
        about = {"deploy.json", "config.json", "preprocessor_config.json"}
        assert {path.name for path in folder.iterdir()} == names | about | {"mic_weights.h"}
        deploy = json.loads((folder / "deploy.json").read_text("utf-8"))
        assert (deploy["format"], deploy["precision"], deploy["file"]) == ("c", precision, "mic_weights.h")
        assert deploy["sha256"] == hashlib.sha256((folder / "mic_weights.h").read_bytes()).hexdigest()
        assert deploy["sources"] == {
            name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in sorted(names)
        }
        assert deploy["weights_sha256"] == weights_digest(model.state_dict())
        assert (deploy["ch_names"], deploy["n_times"], deploy["sfreq"]) == (NAMES, N_TIMES, 200.0)
        assert deploy["labels"] == LABELS and deploy["input"]["shape"] == [1, len(NAMES), N_TIMES]
        assert 0 < deploy["check"]["relative_difference"] < tolerance and "balanced_accuracy" in deploy["check"]
        with pytest.raises(ValueError, match="is compiled, not loaded"):
            CStudent.from_pretrained(folder)
    # int8 holds the same numbers in fewer characters
    assert (tmp_path / "int8" / "mic_weights.h").stat().st_size < (tmp_path / "float32/mic_weights.h").stat().st_size
    subprocess.run(["make", "-s"], cwd=tmp_path / "int8", check=True)
    values = noise(model, 1)
    assert run(tmp_path / "int8" / "mic", values.tobytes())[0][1] in LABELS


def test_the_same_student_gives_the_same_header():
    first, second = (weights_header(student_of(*SHAPES["tiny"]), "int8") for _ in range(2))
    assert first == second
    assert "#define MIC_INT8 1" in first and re.search(r'mic_channel_names.* = \{"C3", "Cz", "C4", "Pz"\};', first)


def test_without_a_compiler_an_export_says_so(checkpoint, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    main(["export", str(checkpoint), "--format", "c", "--output_dir", str(tmp_path / "out")])
    check = json.loads((tmp_path / "out" / "float32" / "deploy.json").read_text("utf-8"))["check"]
    assert check["n_windows"] == 0 and check["not_compared"] == "no C compiler (CC, cc, gcc, clang)"
    printed = capsys.readouterr().out
    assert "not compared: no C compiler" in printed and "compared with PyTorch on" not in printed
    with pytest.raises(ImportError, match="install gcc or clang"):
        CStudent.make_runner(b"")


def test_what_is_refused(checkpoint, tmp_path):
    with pytest.raises(ValueError, match="num_hidden_layers 0"):
        weights_header(student_of("tiny", {"num_hidden_layers": 0, "n_times": 200}), "float32")
    with pytest.raises(ValueError, match="'float32', 'int8', got 'float16'"):
        export_c(checkpoint, tmp_path, precision="float16")
    with pytest.raises(ValueError, match="montage of its own"):
        write_export(C, checkpoint, tmp_path, any_montage=True, progress=False)
    (tmp_path / "mic_weights.h").touch()
    with pytest.raises(ValueError, match="mic_weights.h, an export of another format"):
        dlink_hf.export_onnx(checkpoint, tmp_path)


@needs_compiler
def test_an_export_that_is_too_far_off_is_not_written(checkpoint, tmp_path):
    with pytest.raises(ValueError, match="Nothing was written"):
        export_c(checkpoint, tmp_path / "out", precision="int8", windows=toy_dataset(["a"]), tolerance=1e-6)
    assert not (tmp_path / "out").exists()


ARM_TOOLS = ("arm-none-eabi-gcc", "arm-none-eabi-size", "qemu-system-arm", "make")
_MISSING = [name for name in ARM_TOOLS if shutil.which(name) is None]


@pytest.mark.slow
@pytest.mark.skipif(
    bool(_MISSING),
    reason=f"not installed: {', '.join(_MISSING)} (of gcc-arm-none-eabi, libnewlib-arm-none-eabi, qemu-system-arm)",
)
@pytest.mark.parametrize(
    ("precision", "chip"), [("float32", "cortex-m7"), ("float32", "cortex-m4"), ("int8", "cortex-m7")]
)
def test_a_chip_gives_the_labels_of_pytorch_on_real_windows(precision, chip, data_dir, tmp_path):
    import mne

    extractor = EEGFeatureExtractor.from_pretrained(CARD)
    model = MiCForEEGClassification.from_pretrained(CARD).eval()
    recordings = [f"Subject{number:02d}_{run}.edf" for number in (33, 34, 35) for run in (1, 2)]
    parts = []
    for name in recordings:
        raw = mne.io.read_raw_edf(data_dir / "eegmat" / name, preload=True, verbose="ERROR")
        parts.append(np.asarray(extractor(raw)["input_values"], dtype=np.float32))
    values = np.concatenate(parts)
    values = values[np.linspace(0, len(values) - 1, 60).astype(int)]
    # the network without its extractor: the windows are aligned already
    export_c(model, tmp_path, precision=precision, windows=values, progress=False)
    values.tofile(tmp_path / "windows.f32")
    fpu = {"cortex-m7": "fpv5-d16", "cortex-m4": "fpv4-sp-d16"}[chip]
    command = ["make", "-s", "run", f"CPU={chip}", f"FPU={fpu}", "ARM_FLAGS=-O2 -Wall -Wextra -Werror"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=1000, env=os.environ)
    assert done.returncode == 0, done.stderr
    row = np.dtype([("status", "<i4"), ("label", "<i4"), ("ticks", "<u4"), ("logits", "<f4", model.config.num_labels)])
    results = np.fromfile(tmp_path / "results.bin", dtype=row)
    expected = logits_of(model, values)
    assert len(results) == len(values) and (results["status"] == 0).all()
    difference, spread = np.abs(results["logits"] - expected).max(), np.ptp(expected)
    assert spread > 1 and difference < {"float32": 1e-4, "int8": 0.05}[precision] * spread
    if precision == "float32":
        assert (results["label"] == expected.argmax(1)).all()
    # work does not depend on what a window holds: 40 instructions a tick
    assert np.ptp(results["ticks"]) < 0.01 * results["ticks"].mean() and results["ticks"].min() > 10_000
