# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Students as ExecuTorch programs: their logits against PyTorch's, what is refused. Skipped without ExecuTorch."""

from __future__ import annotations

import gc
import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from toy_training import LABELS, N_TIMES, NAMES, toy_dataset

import dlink_hf
from dlink_hf import EEGFeatureExtractor, MiCConfig, MiCForEEGClassification
from dlink_hf.commands import main
from dlink_hf.export.executorch import export_executorch
from dlink_hf.export.executorch_student import ExecutorchStudent


pytest.importorskip("executorch", reason="ExecuTorch is not installed: pip install 'dlink-hf[executorch]'")

CARD = Path(__file__).resolve().parents[2] / "model_cards" / "dlink-mic-small-eegmat"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A tiny student of random weights with its float32 program beside the weights."""
    folder = tmp_path_factory.mktemp("student")
    torch.manual_seed(0)
    config = MiCConfig.from_size("tiny", ch_names=NAMES, n_times=N_TIMES, id2label=dict(enumerate(LABELS)))
    MiCForEEGClassification(config).save_pretrained(folder)
    EEGFeatureExtractor(ch_names=NAMES, n_times=N_TIMES, l_freq=0.5, h_freq=40.0).save_pretrained(folder)
    path = export_executorch(folder, folder / "executorch" / "float32", windows=toy_dataset(["a"]), progress=False)
    assert path == folder / "executorch" / "float32" / "model.pte"
    return folder


@pytest.fixture(scope="module")
def exported(checkpoint):
    return checkpoint / "executorch" / "float32"


def noise(n_windows: int, seed: int = 1) -> np.ndarray:
    return 20 * np.random.default_rng(seed).standard_normal((n_windows, len(NAMES), N_TIMES), dtype=np.float32)


@torch.no_grad()
def logits_of(name, values: np.ndarray) -> np.ndarray:
    return MiCForEEGClassification.from_pretrained(name).eval()(torch.from_numpy(values)).logits.numpy()


@pytest.mark.parametrize("n_windows", [1, 7])
def test_float32_gives_the_logits_of_pytorch(checkpoint, exported, n_windows):
    student, values = ExecutorchStudent.from_pretrained(exported), noise(n_windows)
    # the program reads its bytes while it runs: they must outlive what loaded them
    gc.collect()
    found = student(values).logits
    assert found.shape == (n_windows, len(LABELS)) and found.dtype == np.float32
    np.testing.assert_allclose(found, logits_of(checkpoint, values), atol=1e-4)
    # what was answered before is not overwritten by the next answer
    kept = found.copy()
    student(noise(2, seed=5))
    np.testing.assert_array_equal(found, kept)
    from_tensor = student(torch.from_numpy(values).double()).logits
    assert isinstance(from_tensor, torch.Tensor)
    np.testing.assert_array_equal(from_tensor.numpy(), found)


def test_deploy_json_says_what_a_device_must_know(exported):
    deploy = json.loads((exported / "deploy.json").read_text("utf-8"))
    assert (deploy["file"], deploy["format"], deploy["delegate"]) == ("model.pte", "executorch", "XNNPACK")
    assert deploy["input"]["shape"] == [1, len(NAMES), N_TIMES] and deploy["output"]["shape"] == [1, 2]
    weights = (exported / "model.pte").read_bytes()
    assert deploy["sha256"] == hashlib.sha256(weights).hexdigest()
    assert deploy["preprocessing"]["h_freq"] == 40.0 and deploy["labels"] == LABELS
    assert deploy["check"]["n_windows"] == 12 and deploy["check"]["relative_difference"] < 1e-4
    scores = deploy["check"]["balanced_accuracy"]
    assert scores["change"] == pytest.approx(scores["executorch"] - scores["pytorch"])
    for word in (str(Path(dlink_hf.__file__).parent), "modeling_mic"):
        assert word.encode() not in weights


def test_the_checkpoint_loads_by_backend_and_so_does_the_pipeline(checkpoint):
    student = MiCForEEGClassification.from_pretrained(checkpoint, backend="executorch")
    assert isinstance(student, ExecutorchStudent) and student.folder.parent == checkpoint / "executorch"
    raw = dlink_hf.make_synthetic_recordings(n_subjects=1, n_trials=2, progress=False)[0]
    found = dlink_hf.pipeline(model=checkpoint, backend="executorch")(raw)
    expected = dlink_hf.pipeline(model=checkpoint, device="cpu")(raw)
    assert [window["label"] for window in found] == [window["label"] for window in expected]
    assert [w["score"] for w in found] == pytest.approx([w["score"] for w in expected], abs=1e-4)


def test_bad_windows_and_folders_are_refused(checkpoint, exported, tmp_path):
    student = ExecutorchStudent.from_pretrained(exported)
    with pytest.raises(ValueError, match="3 channels.*reads 4: C3, Cz, C4, Pz"):
        student(noise(2)[:, :3])
    with pytest.raises(ValueError, match="200 samples.*reads 400"):
        student(noise(2)[..., :200])
    with pytest.raises(ValueError, match="at least 1, got 0"):
        ExecutorchStudent.from_pretrained(exported, n_threads=0)
    with pytest.raises(ValueError, match="one pool of threads.*n_threads=77 to the first"):
        ExecutorchStudent.from_pretrained(exported, n_threads=77)
    with pytest.raises(ValueError, match="'float32', 'int8', got 'float16'"):
        export_executorch(checkpoint, tmp_path / "out", precision="float16")
    with pytest.raises(ValueError, match="model.pte, an export of another format"):
        dlink_hf.export_onnx(checkpoint, exported)
    folder = Path(shutil.copytree(exported, tmp_path / "copy"))
    weights = (folder / "model.pte").read_bytes()
    (folder / "model.pte").write_bytes(weights[: len(weights) // 2])
    with pytest.raises(ValueError, match="dlink export MODEL"):
        ExecutorchStudent.from_pretrained(folder)
    # a file that deploy.json describes, but that is no program
    deploy = json.loads((folder / "deploy.json").read_text("utf-8"))
    deploy["sha256"] = hashlib.sha256(weights[:100]).hexdigest()
    (folder / "model.pte").write_bytes(weights[:100])
    (folder / "deploy.json").write_text(json.dumps(deploy))
    with pytest.raises(ValueError, match="cannot run the program"):
        ExecutorchStudent.from_pretrained(folder)
    (folder / "model.pte").unlink()
    with pytest.raises(FileNotFoundError, match="model.pte.*--format executorch"):
        ExecutorchStudent.from_pretrained(folder)


@pytest.mark.slow
def test_the_first_student_of_a_process_sets_the_threads(exported):
    code = "import sys, numpy as np; from dlink_hf.export.executorch_student import ExecutorchStudent as Student; "
    code += "one, other = (Student.from_pretrained(sys.argv[1], n_threads=n) for n in (3, None)); "
    code += (
        "from executorch.extension.pybindings import portable_lib as lib; print(lib._threadpool_get_thread_count()); "
    )
    code += "print(one(np.ones((2, 4, 400))).logits.shape == other(np.ones((2, 4, 400))).logits.shape)"
    done = subprocess.run([sys.executable, "-c", code, str(exported)], capture_output=True, text=True, timeout=1000)
    assert done.stdout.split() == ["3", "True"], done.stderr


@pytest.mark.slow
def test_the_command_writes_int8(checkpoint, tmp_path, capsys):
    toy_dataset(["a", "b"]).save_to_disk(tmp_path / "windows")
    words = ["export", str(checkpoint), "--format", "executorch", "--precision", "int8"]
    words += ["--output_dir", str(tmp_path / "out"), "--calibration", str(tmp_path / "windows")]
    assert main(words) == 0
    assert str(tmp_path / "out" / "int8" / "model.pte") in capsys.readouterr().out
    values = np.asarray(toy_dataset(["a", "b"])["input_values"][:], dtype=np.float32)
    found, expected = (
        ExecutorchStudent.from_pretrained(tmp_path / "out" / "int8")(values),
        logits_of(checkpoint, values),
    )
    assert 0 < np.abs(found.logits - expected).max() < 0.05 * np.ptp(expected)


@pytest.mark.slow
def test_int8_agrees_on_real_windows(data_dir, tmp_path):
    """Calibrated on a person of the training, compared on one whom the student has not seen."""
    extractor = EEGFeatureExtractor.from_pretrained(CARD)

    def person(number: str) -> np.ndarray:
        recordings = [str(data_dir / "eegmat" / f"Subject{number}_{part}.edf") for part in (1, 2)]
        state = extractor.fit_alignment(recordings)
        return np.concatenate([extractor(item, alignment_state=state)["input_values"] for item in recordings])

    unseen = person("35")
    path = export_executorch(CARD, tmp_path, precision="int8", calibration=person("00"), windows=unseen)
    found, expected = ExecutorchStudent.from_pretrained(tmp_path)(unseen).logits, logits_of(CARD, unseen)
    same = (found.argmax(1) == expected.argmax(1)).mean()
    check = json.loads((tmp_path / "deploy.json").read_text("utf-8"))["check"]
    assert same > 0.9 and check["same_labels"] == pytest.approx(same)
    # a quarter of the weights' size, and the graph
    assert path.stat().st_size < 0.25e6
