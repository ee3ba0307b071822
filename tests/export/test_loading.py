# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""`backend=`: exports next to a checkpoint's weights, here and on a Hub, and what is exported at once."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fake_hub.process import HubProcess, answer_requests
from fake_hub.server import HubServer


TOKEN = "hf_secretOfMine0123"


def windows() -> np.ndarray:
    """(3, 4, 400) microvolts."""
    return 20 * np.random.default_rng(0).standard_normal((3, 4, 400), dtype=np.float32)


def answer(question: list[Any]) -> dict[str, Any]:
    """In the process that knows the Hub: publish, or classify by a backend."""
    import dlink_hf as dl
    from dlink_hf.hub.download import download_folder

    what, arguments = question
    try:
        if what == "publish":
            return {"value": dl.publish_folder(**arguments).oid}
        if what == "push":
            return {
                "value": dl.MiCForEEGClassification.from_pretrained(arguments["name"]).push_to_hub("me/object").oid
            }
        if what == "pull":
            return {"value": download_folder(**arguments)}
        student = dl.AutoModelForEEGClassification.from_pretrained(**arguments)
        folder = None if student.folder is None else str(student.folder)
        return {"value": [type(student).__name__, folder, student(windows()).logits.tolist()]}
    except Exception as error:
        return {"error": type(error).__name__, "message": str(error)}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny student with its exports in float32 and int8 beside the weights."""
    from toy_training import LABELS, N_TIMES, NAMES, toy_dataset

    from dlink_hf import EEGFeatureExtractor, MiCConfig, MiCForEEGClassification, export_onnx

    folder = tmp_path_factory.mktemp("outputs") / "student"
    torch.manual_seed(0)
    config = MiCConfig.from_size("tiny", ch_names=NAMES, n_times=N_TIMES, id2label=dict(enumerate(LABELS)))
    MiCForEEGClassification(config).save_pretrained(folder)
    EEGFeatureExtractor(ch_names=NAMES, n_times=N_TIMES, l_freq=0.5, h_freq=40.0).save_pretrained(folder)
    for precision in ("float32", "int8"):
        export_onnx(folder, folder / "onnx" / precision, precision=precision, calibration=toy_dataset(["a"]))
    return folder


@pytest.fixture
def plain(checkpoint: Path, tmp_path: Path) -> Path:
    """The checkpoint without its exports."""
    return Path(shutil.copytree(checkpoint, tmp_path / "plain", ignore=shutil.ignore_patterns("onnx")))


@torch.no_grad()
def torch_logits(folder: Path) -> np.ndarray:
    from dlink_hf import MiCForEEGClassification

    return MiCForEEGClassification.from_pretrained(folder).eval()(torch.from_numpy(windows())).logits.numpy()


def test_the_export_beside_the_weights_is_loaded(checkpoint):
    import dlink_hf as dl

    expected = torch_logits(checkpoint)
    with pytest.warns(FutureWarning, match="removed in 0.3"):
        old = dl.MiCForEEGClassification.from_pretrained(checkpoint, backend="onnx")
    for student in (old, dl.AutoModelForEEGClassification.from_pretrained(checkpoint, backend="onnx")):
        assert isinstance(student, dl.OnnxStudent) and student.folder == checkpoint / "onnx" / "float32"
        np.testing.assert_allclose(student(windows()).logits, expected, atol=1e-4)
    narrow = dl.AutoModelForEEGClassification.from_pretrained(checkpoint, backend="onnx", precision="int8")
    assert narrow.folder == checkpoint / "onnx" / "int8"
    assert 0 < np.abs(narrow(windows()).logits - expected).max() < 0.1 * np.ptp(expected)
    # the folder of an export, and one that holds exports
    for folder in (checkpoint / "onnx" / "int8", checkpoint / "onnx"):
        student = dl.load_exported(folder, "onnx", precision="int8", n_threads=2)
        np.testing.assert_array_equal(student(windows()).logits, narrow(windows()).logits)
    by_torch = dl.MiCForEEGClassification.from_pretrained(checkpoint, backend="torch")
    assert isinstance(by_torch, torch.nn.Module)


def test_the_pipeline_takes_checkpoints_by_backend(checkpoint):
    import dlink_hf as dl

    raw = dl.make_synthetic_recordings(n_subjects=1, n_trials=2, progress=False)[0]
    expected = dl.pipeline(model=checkpoint, device="cpu")(raw)
    found = dl.pipeline(model=checkpoint, backend="onnx")(raw)
    assert [(w["label"], w["onset"]) for w in found] == [(w["label"], w["onset"]) for w in expected]
    assert [w["score"] for w in found] == pytest.approx([w["score"] for w in expected], abs=1e-4)
    narrow = dl.pipeline(model=checkpoint, backend="onnx", precision="int8")
    assert narrow.model.deploy["precision"] == "int8"
    with pytest.raises(ValueError, match="dtype"):
        dl.pipeline(model=checkpoint, precision="int8")
    with pytest.raises(ValueError, match="loaded already"):
        dl.pipeline(model=dl.MiCForEEGClassification.from_pretrained(checkpoint), backend="onnx")


def test_a_checkpoint_without_an_export_is_exported_at_once(plain, caplog):
    import dlink_hf as dl

    before = sorted(plain.rglob("*"))
    student = dl.AutoModelForEEGClassification.from_pretrained(plain, backend="onnx")
    np.testing.assert_allclose(student(windows()).logits, torch_logits(plain), atol=1e-4)
    assert "--output_dir CHECKPOINT/onnx" in caplog.text and f"dlink export {plain}" in caplog.text
    assert sorted(plain.rglob("*")) == before and student.folder is None
    with pytest.raises(ValueError, match="not int8.*dlink export .* --precision int8"):
        dl.AutoModelForEEGClassification.from_pretrained(plain, backend="onnx", precision="int8")


@pytest.mark.parametrize("change", ["weights", "labels", "unsaid", "damage"])
def test_an_export_that_does_not_belong_to_the_weights_is_refused(checkpoint, tmp_path, change):
    from dlink_hf import MiCForEEGClassification, load_exported
    from dlink_hf.hub.publish import publish_folder

    folder = Path(shutil.copytree(checkpoint, tmp_path / "student"))
    model = MiCForEEGClassification.from_pretrained(folder)
    file = folder / "onnx" / "float32" / "deploy.json"
    reason = "other weights.*Export it again: dlink export .*/student --format onnx"
    if change == "weights":
        with torch.no_grad():
            model.classifier.bias[0] += 1e-3
        model.save_pretrained(folder)
    elif change == "labels":
        model.config.id2label = {0: "rest", 1: "arithmetic"}
        model.save_pretrained(folder)
        reason = "has the labels rest, task, the checkpoint rest, arithmetic"
    elif change == "unsaid":
        file.write_text(json.dumps({k: v for k, v in json.loads(file.read_text()).items() if k != "weights_sha256"}))
    else:
        (folder / "onnx/float32/model.onnx").write_bytes((folder / "onnx/int8/model.onnx").read_bytes())
        reason = "is not the file that deploy.json describes"
    with pytest.raises(ValueError, match=reason):
        load_exported(folder, "onnx")
    if change in ("weights", "unsaid"):
        # refused before a Hub is asked anything
        with pytest.raises(ValueError, match=reason):
            publish_folder(folder, "me/student")


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"backend": "tflite"}, "'torch', 'onnx', 'executorch', got 'tflite'"),
        ({"backend": "onnx", "torch_dtype": torch.float16, "device_map": "auto"}, "device_map, torch_dtype can't go"),
        ({"backend": "onnx", "dtype": "float16"}, "dtype can't go"),
        ({"backend": "onnx", "num_labels": 3}, "num_labels can't go"),
        ({"backend": "onnx", "output_loading_info": True}, "output_loading_info can't go"),
        ({"backend": "onnx", "precision": "int4"}, "'float32', 'float16', 'int8', got 'int4'"),
        ({"backend": "onnx", "precision": "float16"}, "no onnx export in float16; it has float32, int8"),
        ({"backend": "onnx", "n_threads": 0}, "n_threads"),
    ],
)
def test_what_makes_no_sense_is_refused(checkpoint, options, reason):
    from dlink_hf import AutoModelForEEGClassification, MiCForEEGClassification

    for kind in (AutoModelForEEGClassification, MiCForEEGClassification):
        with pytest.raises(ValueError, match=reason):
            kind.from_pretrained(checkpoint, **options)


def test_only_students_with_a_head_have_backends(checkpoint, plain, tmp_path, monkeypatch):
    from toy_training import toy_teacher

    from dlink_hf import AutoModelForEEGClassification, MiCModel

    with pytest.raises(TypeError, match="students with a head.*MiCModel"):
        MiCModel.from_pretrained(checkpoint, backend="onnx")
    toy_teacher().save_pretrained(tmp_path / "teacher")
    with pytest.raises(TypeError, match="Only students are exported"):
        AutoModelForEEGClassification.from_pretrained(tmp_path / "teacher", backend="onnx")
    with pytest.raises(OSError, match="nowhere"):
        AutoModelForEEGClassification.from_pretrained(tmp_path / "nowhere", backend="onnx")
    # None in sys.modules is what Python takes for a package that is not there
    monkeypatch.setitem(sys.modules, "torchao", None)
    with pytest.raises(ImportError, match=r"pip install 'dlink-hf\[executorch\]'"):
        AutoModelForEEGClassification.from_pretrained(plain, backend="executorch")


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubProcess]:
    """A process with the package, and its Hub."""
    home = tmp_path_factory.mktemp("home")
    paths = os.pathsep.join([str(Path(__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])])
    hub = HubServer(tmp_path_factory.mktemp("hub"), token=TOKEN)
    running = HubProcess(
        hub, __file__, home, HF_TOKEN=TOKEN, HF_HUB_DISABLE_PROGRESS_BARS="1", PYTHONPATH=paths, HF_HOME=str(home)
    )
    yield running
    running.close()


def test_exports_are_published_beside_the_weights_and_loaded_from_there(session, checkpoint, tmp_path):
    import dlink_hf as dl

    def ask(what: str, **arguments: Any) -> Any:
        found = session.request([what, arguments])
        assert "error" not in found, found
        return found["value"]

    # what else lies there is nobody's business
    folder = Path(shutil.copytree(checkpoint, tmp_path / "student"))
    (folder / "onnx" / "notes.txt").write_text("mine")
    ask("publish", folder=str(folder), repo_id="me/folder")
    ask("push", name=str(folder))
    for repo in ("me/folder", "me/object"):
        for precision in ("float32", "int8"):
            # the export, not PyTorch: int8 is told from it
            expected = dl.OnnxStudent.from_pretrained(checkpoint / "onnx" / precision)(windows()).logits
            kind, where, found = ask(
                "load", pretrained_model_name_or_path=repo, backend="onnx", precision=precision, revision="main"
            )
            assert kind == "OnnxStudent" and where.endswith(f"onnx/{precision}")
            np.testing.assert_array_equal(np.float32(found), expected)
    cached = ask("load", pretrained_model_name_or_path="me/folder", backend="onnx", local_files_only=True)
    assert cached[1].endswith("onnx/float32")

    names = ask("pull", repo_id="me/folder", folder=str(tmp_path / "pulled"))
    assert "onnx/int8/model.onnx" in names and "onnx/notes.txt" not in names
    # onto one that is there, whose exports are of other weights
    model = dl.MiCForEEGClassification.from_pretrained(folder)
    torch.nn.init.ones_(model.classifier.weight)
    model.save_pretrained(folder)
    ask("pull", repo_id="me/folder", folder=str(folder))
    for pulled in (tmp_path / "pulled", folder):
        student = dl.load_exported(pulled, "onnx")
        np.testing.assert_allclose(student(windows()).logits, torch_logits(checkpoint), atol=1e-4)

    # newer weights alone make the exports on the Hub old ones
    newer = tmp_path / "newer"
    model.save_pretrained(newer)
    ask("publish", folder=str(newer), repo_id="me/folder")
    answered = session.request(["load", {"pretrained_model_name_or_path": "me/folder", "backend": "onnx"}])
    assert answered["error"] == "ValueError" and "other weights" in answered["message"]


if __name__ == "__main__":
    answer_requests(answer)
