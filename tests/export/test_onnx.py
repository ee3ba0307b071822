# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Students as ONNX: their logits against PyTorch's, what is refused, what a device is told, the command."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from toy_training import LABELS, N_TIMES, NAMES, toy_dataset, toy_teacher

import dlink_hf
from dlink_hf import (
    EEGFeatureExtractor,
    MiCConfig,
    MiCForEEGClassification,
    OnnxStudent,
    channel_positions,
    export_onnx,
    filter_coefficients,
    make_synthetic_recordings,
)
from dlink_hf.commands import main


CARD = Path(__file__).resolve().parents[2] / "model_cards" / "dlink-mic-small-eegmat"
SETTINGS = {"ch_names": NAMES, "n_times": N_TIMES, "l_freq": 0.5, "h_freq": 40.0}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A tiny student of random weights and its feature extractor, saved."""
    folder = tmp_path_factory.mktemp("student")
    torch.manual_seed(0)
    config = MiCConfig.from_size("tiny", ch_names=NAMES, n_times=N_TIMES, id2label=dict(enumerate(LABELS)))
    MiCForEEGClassification(config).save_pretrained(folder)
    EEGFeatureExtractor(**SETTINGS).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def model(checkpoint):
    return MiCForEEGClassification.from_pretrained(checkpoint).eval()


@pytest.fixture(scope="module")
def windows():
    return toy_dataset(["a", "b"], 24)


@pytest.fixture(scope="module")
def exported(checkpoint, windows, tmp_path_factory):
    """The student in each precision: folders by its name."""
    folder = tmp_path_factory.mktemp("exported")
    for precision in ("float32", "float16", "int8"):
        calibration = windows if precision == "int8" else None
        path = export_onnx(checkpoint, folder / precision, precision=precision, calibration=calibration)
        assert path == folder / precision / "model.onnx"
    return folder


@torch.no_grad()
def logits_of(model, values: np.ndarray, **kwargs) -> np.ndarray:
    return model(torch.from_numpy(values), **kwargs).logits.numpy()


def noise(n_windows: int, n_chans: int, n_times: int, seed: int = 1, scale: float = 20.0) -> np.ndarray:
    return scale * np.random.default_rng(seed).standard_normal((n_windows, n_chans, n_times), dtype=np.float32)


@pytest.mark.parametrize("n_windows", [1, 7])
def test_float32_gives_the_logits_of_pytorch(exported, model, n_windows):
    student = OnnxStudent.from_pretrained(exported / "float32")
    values = noise(n_windows, len(NAMES), N_TIMES)
    found = student(values).logits
    assert found.shape == (n_windows, len(LABELS)) and found.dtype == np.float32
    np.testing.assert_allclose(found, logits_of(model, values), atol=1e-4)
    from_tensor = student(torch.from_numpy(values).double()).logits
    assert isinstance(from_tensor, torch.Tensor)
    np.testing.assert_array_equal(from_tensor.numpy(), found)


@pytest.mark.parametrize(("precision", "share"), [("float16", 0.01), ("int8", 0.05)])
def test_narrow_precisions_stay_near_pytorch(exported, model, windows, precision, share):
    values = np.asarray(windows["input_values"][:], dtype=np.float32)
    expected, found = logits_of(model, values), OnnxStudent.from_pretrained(exported / precision)(values).logits
    assert np.abs(found - expected).max() < share * np.ptp(expected)
    assert np.abs(found - expected).max() > 0


def test_float16_bears_an_artefact_of_many_millivolts(exported, model):
    values = noise(3, len(NAMES), N_TIMES, scale=20_000.0)
    found = OnnxStudent.from_pretrained(exported / "float16")(values).logits
    np.testing.assert_allclose(found, logits_of(model, values), atol=0.02)


def test_a_published_student_in_float32(tmp_path):
    model = MiCForEEGClassification.from_pretrained(CARD).eval()
    path = export_onnx(CARD, tmp_path / "onnx")
    student = OnnxStudent.from_pretrained(tmp_path / "onnx")
    for n_windows in (1, 7):
        values = noise(n_windows, 20, 1000)
        np.testing.assert_allclose(student(values).logits, logits_of(model, values), atol=1e-4)
    assert path.stat().st_size < 0.5e6
    deploy = json.loads((tmp_path / "onnx" / "deploy.json").read_text("utf-8"))
    assert deploy["labels"] == ["rest", "arithmetic"] and deploy["ch_names"] == model.config.ch_names
    assert deploy["alignment"]["method"] == "euclidean_monge" and "before" in deploy["alignment"]["note"]


def test_int8_agrees_on_real_windows(data_dir, tmp_path):
    """Calibrated on a person of the training, compared on one whom the student has not seen."""
    extractor = EEGFeatureExtractor.from_pretrained(CARD)

    def person(number: str) -> np.ndarray:
        recordings = [str(data_dir / "eegmat" / f"Subject{number}_{part}.edf") for part in (1, 2)]
        state = extractor.fit_alignment(recordings)
        return np.concatenate([extractor(item, alignment_state=state)["input_values"] for item in recordings])

    unseen = person("35")
    path = export_onnx(CARD, tmp_path, precision="int8", calibration=person("00"), windows=unseen)
    expected = logits_of(MiCForEEGClassification.from_pretrained(CARD).eval(), unseen)
    found = OnnxStudent.from_pretrained(tmp_path)(unseen).logits
    same = (found.argmax(1) == expected.argmax(1)).mean()
    check = json.loads((tmp_path / "deploy.json").read_text("utf-8"))["check"]
    assert same > 0.9 and check["same_labels"] == pytest.approx(same)
    assert check["largest_difference"] == pytest.approx(np.abs(found - expected).max(), rel=0.2)
    assert check["windows"] == "given" and check["n_windows"] == len(unseen)
    assert path.stat().st_size < 0.25e6


def test_another_montage_is_that_of_the_positions(checkpoint, model, tmp_path):
    names = ["Fz", "C3", "Oz"]
    export_onnx(checkpoint, tmp_path, ch_names=names)
    values = noise(4, 3, N_TIMES)
    expected = logits_of(model, values, channel_positions=torch.tensor(channel_positions(names)))
    student = OnnxStudent.from_pretrained(tmp_path)
    np.testing.assert_allclose(student(values).logits, expected, atol=1e-4)
    assert student.deploy["ch_names"] == student.config.ch_names == names
    assert EEGFeatureExtractor.from_pretrained(tmp_path).ch_names == names


def test_an_export_for_any_montage_reads_channels_by_their_places(checkpoint, model, tmp_path):
    export_onnx(checkpoint, tmp_path, any_montage=True)
    onnx.checker.check_model(onnx.load(tmp_path / "model.onnx"), full_check=True)
    student = OnnxStudent.from_pretrained(tmp_path)
    for n_windows, names, n_times in ((1, ["Oz"], 200), (5, ["Fz", "F3", "T7", "Oz", "P4", "O1"], 600)):
        values, places = noise(n_windows, len(names), n_times), np.array(channel_positions(names), dtype=np.float32)
        expected = logits_of(model, values, channel_positions=torch.from_numpy(places))
        np.testing.assert_allclose(student(values, places).logits, expected, atol=1e-4)
    # windows of different people, each with places of its own
    moved = places + 0.01 * np.random.default_rng(2).standard_normal((5, 6, 3), dtype=np.float32)
    expected = logits_of(model, values, channel_positions=torch.from_numpy(moved))
    np.testing.assert_allclose(student(values, moved).logits, expected, atol=1e-4)
    assert np.abs(student(values, moved).logits - student(values, places).logits).max() > 1e-3
    own = noise(2, len(NAMES), N_TIMES)
    np.testing.assert_allclose(student(own).logits, logits_of(model, own), atol=1e-4)

    assert student.deploy["input"]["shape"] == ["batch", "channels", "200 * patches"]
    assert student.deploy["channel_positions"]["unit"] == "m"
    assert student.deploy["check"]["other_montage"]["largest_difference"] < 1e-4
    raw = make_synthetic_recordings(n_subjects=1, n_trials=2, progress=False)[0].drop_channels(["Pz"])
    found, expected = (
        dlink_hf.pipeline(model=name, backend=backend)(raw)[0]
        for name, backend in ((tmp_path, "onnx"), (checkpoint, "torch"))
    )
    assert found["score"] == pytest.approx(expected["score"], abs=1e-4)

    with pytest.raises(ValueError, match="in metres.*87.*Divide millimetres"):
        student(own, np.full((4, 3), 87.0))
    with pytest.raises(ValueError, match="3 channels.*montage has 4.*channel_positions"):
        student(own[:, :3])
    with pytest.raises(ValueError, match=r"must be \(4, 3\) or \(2, 4, 3\).*got \(3, 3\)"):
        student(own, places[:3])
    with pytest.raises(ValueError, match="whole number of 200-sample patches"):
        student(own[..., :300])
    with pytest.raises(ValueError, match="float32 only"):
        export_onnx(checkpoint, tmp_path / "other", any_montage=True, precision="float16")


def test_deploy_json_says_what_a_device_must_know(exported, model, windows):
    deploy = json.loads((exported / "int8" / "deploy.json").read_text("utf-8"))
    config = model.config
    assert (deploy["ch_names"], deploy["sfreq"], deploy["n_times"]) == (config.ch_names, config.sfreq, config.n_times)
    assert (deploy["unit"], deploy["labels"], deploy["precision"]) == ("uV", LABELS, "int8")
    assert deploy["input"]["shape"] == ["batch", len(NAMES), N_TIMES]
    assert deploy["preprocessing"]["l_freq"] == 0.5 and deploy["preprocessing"]["h_freq"] == 40.0
    assert deploy["alignment"] is None
    weights = (exported / "int8" / "model.onnx").read_bytes()
    assert deploy["sha256"] == hashlib.sha256(weights).hexdigest()
    graph = onnx.load_from_string(weights)
    onnx.checker.check_model(graph, full_check=True)
    assert graph.opset_import[0].version == deploy["opset"]
    assert "QuantizeLinear" in {node.op_type for node in graph.graph.node}
    check = deploy["check"]
    assert check["windows"] == "those of the calibration" and check["n_windows"] == len(windows)
    assert 0 < check["relative_difference"] < check["tolerance"] == 0.05
    scores = check["balanced_accuracy"]
    assert scores["change"] == pytest.approx(scores["onnx"] - scores["pytorch"])
    noise_check = json.loads((exported / "float32" / "deploy.json").read_text("utf-8"))["check"]
    assert noise_check["windows"] == "noise of 20 uV" and "balanced_accuracy" not in noise_check


@pytest.mark.parametrize("precision", ["float32", "float16", "int8"])
def test_the_file_is_valid_and_tells_nothing_of_the_machine(exported, precision):
    weights = (exported / precision / "model.onnx").read_bytes()
    onnx.checker.check_model(onnx.load_from_string(weights), full_check=True)
    for word in (str(Path(dlink_hf.__file__).parent), "dlink_hf", "modeling_mic"):
        assert word.encode() not in weights


def test_one_channel_of_one_patch(tmp_path):
    model = MiCForEEGClassification(MiCConfig.from_size("tiny", ch_names=["Cz"], n_times=200, num_labels=3)).eval()
    export_onnx(model, tmp_path)
    for n_windows in (1, 5):
        values = noise(n_windows, 1, 200)
        found = OnnxStudent.from_pretrained(tmp_path)(values).logits
        np.testing.assert_allclose(found, logits_of(model, values), atol=1e-4)


@pytest.mark.parametrize("action", ["export_onnx({student!r}, {out!r})", "OnnxStudent.from_pretrained({exported!r})"])
def test_without_onnx_runtime_the_message_names_the_extra(checkpoint, exported, tmp_path, action):
    words = {"student": str(checkpoint), "out": str(tmp_path / "out"), "exported": str(exported / "float32")}
    # None in sys.modules is what Python takes for a package that is not there
    imports = "import sys; sys.modules['onnxruntime'] = None; from dlink_hf import OnnxStudent, export_onnx; "
    code = imports + action.format(**words)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1 and "ImportError" in done.stderr and "pip install 'dlink-hf[export]'" in done.stderr
    assert not (tmp_path / "out").exists()


def test_the_students_own_object_is_left_as_it_was(model, tmp_path):
    model.train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    try:
        export_onnx(model, tmp_path, ch_names=["C3", "C4"], progress=False)
        assert model.training and model.config.ch_names == NAMES
        assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    finally:
        model.eval()
    assert not (tmp_path / "preprocessor_config.json").exists()
    assert OnnxStudent.from_pretrained(tmp_path).deploy["preprocessing"] is None


def test_beyond_the_tolerance_nothing_is_written(checkpoint, windows, tmp_path):
    folder = tmp_path / "out"
    with pytest.raises(ValueError, match="beyond the tolerance of 1e-09.*--tolerance"):
        export_onnx(checkpoint, folder, precision="int8", calibration=windows, tolerance=1e-9)
    assert not folder.exists()


def test_what_cannot_be_exported_is_refused(checkpoint, model, windows, tmp_path):
    def refused(match, kind=ValueError, given=checkpoint, folder=tmp_path / "out", **kwargs):
        with pytest.raises(kind, match=match):
            export_onnx(given, folder, **kwargs)
        assert not (tmp_path / "out").exists()

    refused("'float32', 'float16', 'int8', got 'int4'", precision="int4")
    refused("int8 needs windows", precision="int8")
    refused("tolerance", tolerance=0)
    refused("folder of its own", folder=checkpoint)
    refused("DLinkTeacherForEEGClassification", TypeError, given=toy_teacher())
    refused("3 channels.*reads 4", windows=noise(2, 3, N_TIMES))
    refused("300 samples.*reads 400", windows=noise(2, 4, 300))
    refused("at least one", windows=noise(0, 4, N_TIMES))
    refused("input_values", windows=windows.remove_columns("input_values"))
    refused("labels", windows=toy_dataset(["a"], 6, names=["left", "right"]))
    refused("reads windows of 400.*delivers 500", feature_extractor=EEGFeatureExtractor(n_times=500))
    refused("list of channel names", ch_names="C3")


def test_bad_windows_are_refused_by_name(exported):
    student = OnnxStudent.from_pretrained(exported / "float32")
    good = noise(2, len(NAMES), N_TIMES)
    with pytest.raises(ValueError, match="5 channels.*reads 4: C3, Cz, C4, Pz"):
        student(noise(2, 5, N_TIMES))
    with pytest.raises(ValueError, match="200 samples.*reads 400, 2 s at 200 Hz"):
        student(good[..., :200])
    with pytest.raises(ValueError, match="windows\\[None\\]"):
        student(good[0])
    with pytest.raises(ValueError, match="at least one"):
        student(good[:0])
    good[1, 2, 3] = np.nan
    with pytest.raises(ValueError, match="not finite, the first is number 1"):
        student(good)
    with pytest.raises(TypeError, match="microvolts"):
        student(np.zeros((1, 4, N_TIMES), dtype=np.int16))
    with pytest.raises(ValueError, match="--any_montage.*only for C3, Cz, C4, Pz"):
        student(noise(2, len(NAMES), N_TIMES), np.zeros((4, 3)))
    with pytest.raises(ValueError, match="cannot train"):
        student.train()
    with pytest.raises(ValueError, match="n_threads"):
        OnnxStudent.from_pretrained(exported / "float32", n_threads=0)


@pytest.mark.parametrize("damage", ["cut short", "one bit", "of another export", "deploy.json"])
def test_a_damaged_folder_is_refused(exported, tmp_path, damage):
    folder = tmp_path / "copy"
    shutil.copytree(exported / "float32", folder)
    file, weights = folder / "model.onnx", (folder / "model.onnx").read_bytes()
    if damage == "cut short":
        file.write_bytes(weights[: len(weights) // 2])
    elif damage == "one bit":
        file.write_bytes(weights[:5000] + bytes([weights[5000] ^ 1]) + weights[5001:])
    elif damage == "of another export":
        shutil.copy(exported / "int8" / "model.onnx", file)
    else:
        (folder / "deploy.json").write_text('{"sha256": ')
    with pytest.raises(ValueError, match="dlink export MODEL"):
        OnnxStudent.from_pretrained(folder)
    file.unlink()
    with pytest.raises(FileNotFoundError, match="model.onnx"):
        OnnxStudent.from_pretrained(folder)


def test_the_pipeline_runs_it_as_it_runs_the_checkpoint(exported, checkpoint):
    raw = make_synthetic_recordings(n_subjects=1, n_trials=4, progress=False)[0]
    by_onnx = dlink_hf.pipeline(model=exported / "float32", backend="onnx")(raw, top_k=None)
    by_torch = dlink_hf.pipeline(model=checkpoint, device="cpu")(raw, top_k=None)
    assert len(by_onnx) == len(by_torch) > 5
    for one, other in zip(by_onnx, by_torch, strict=True):
        assert one["label"] == other["label"] and one["onset"] == other["onset"]
        assert one["score"] == pytest.approx(other["score"], abs=1e-4)
    # a model of one montage: what lacks a channel of it is refused
    with pytest.raises(ValueError, match="Pz"):
        dlink_hf.pipeline(model=exported / "float32", backend="onnx")(raw.copy().drop_channels(["Pz"]))
    with pytest.raises(ValueError, match="backend"):
        dlink_hf.pipeline(model=exported / "float32", backend="tflite")
    with pytest.raises(ValueError, match="dtype"):
        dlink_hf.pipeline(model=exported / "float32", backend="onnx", dtype="float16")
    with pytest.raises(ValueError, match="device='cpu'"):
        dlink_hf.pipeline(model=exported / "float32", backend="onnx", device="meta")


def test_the_command_writes_a_folder_for_each_precision(checkpoint, windows, tmp_path, capsys):
    windows.save_to_disk(tmp_path / "windows")
    out = tmp_path / "out"
    words = ["export", str(checkpoint), "--output_dir", str(out), "--calibration", str(tmp_path / "windows")]
    assert main([*words, "--precision", "float32", "int8", "--source_sfreq", "256"]) == 0
    printed = capsys.readouterr().out
    told = json.loads((out / "filters.json").read_text("utf-8"))
    assert told == filter_coefficients(EEGFeatureExtractor(**SETTINGS), 256.0)
    assert f"256 to 200 Hz, linear phase, {told['delay_seconds']:.3g} s behind" in printed
    assert "compared with PyTorch on 48 windows: those of the calibration" in printed
    values = np.asarray(windows["input_values"][:], dtype=np.float32)
    for precision in ("float32", "int8"):
        student = OnnxStudent.from_pretrained(out / precision)
        assert student(values).logits.shape == (len(windows), 2)
        (row,) = (line for line in printed.splitlines() if line.startswith(str(out / precision)))
        check = student.deploy["check"]
        assert f"{check['same_labels']:.1%}" in row and f"{check['largest_difference']:.2g}" in row
        assert f"{check['balanced_accuracy']['onnx']:.3f}" in row


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--output_dir", "out"], "dlink export MODEL"),
        (["student", "--output_dir", "out", "--precision", "int4"], "int4"),
        (["student", "--output_dir", "out", "--precision", "int8"], "--calibration"),
        (["student", "--output_dir", "out", "--format", "tflite"], "onnx or executorch"),
        (["student", "--output_dir", "out", "--format", "executorch", "--precision", "float16"], "float32, int8"),
        (["student", "--output_dir", "out", "--phase", "zero"], "linear or minimum"),
        (["student", "--output_dir", "out", "--any_montage", "--precision", "float16"], "--any_montage"),
        (["student", "--output_dir", "out", "--windows", "nowhere"], "--windows 'nowhere'"),
        (["nowhere/at/all", "--output_dir", "out"], "nowhere/at/all"),
    ],
)
def test_the_command_refuses_what_it_cannot_do(words, reason, checkpoint, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "student").symlink_to(checkpoint)
    assert main(["export", *words]) == 1
    assert reason in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
