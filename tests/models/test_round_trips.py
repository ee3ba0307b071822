# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Every public class of models and every way it may go: the same outputs after the trip, or a refusal by name.

The ways are a folder, a Hub (on loopback), code that travels with the weights, ONNX, and a live stream. The table of
`docs/publish.md` is this one.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mne
import numpy as np
import pytest
import torch
from fake_hub.process import HubProcess, answer_requests
from fake_hub.server import HubServer
from head_tasks import multi_label_teacher, regression_teacher, regressor
from toy_training import NAMES, toy_student, toy_studio, toy_teacher

import dlink_hf
from dlink_hf import (
    BraindecodeStudent,
    DLinkRouter,
    DLinkRouterConfig,
    DLinkTeacherForEEGTokenClassification,
    DLinkTeacherForPretraining,
    EEGFeatureExtractor,
    MiCForEEGTokenClassification,
    OnnxStudent,
    StreamClassifier,
    export_onnx,
)
from dlink_hf.core.model_facts import predictions_of
from dlink_hf.hub.remote_code import add_remote_code


SAME = "same"
ONLY_STUDENTS = "Only students are exported"
ONLY_CODE_OF_STUDENTS = "Code can travel only with a student"
NO_HEAD = "with a trained head, or by an export"
MULTI_LABEL = {"problem_type": "multi_label_classification"}


def of_logits(model: Any) -> torch.Tensor:
    return model(windows()).logits


def of_braindecode(model: Any) -> torch.Tensor:
    return model(windows())


def of_router(model: Any) -> torch.Tensor:
    torch.manual_seed(3)
    states = [torch.randn(2, model.config.n_chans, 2, model.config.hidden_size) for _ in range(2)]
    return model(states).logits


def of_studio(model: Any) -> torch.Tensor:
    output = model(windows())
    return torch.cat([output.logits, output.teacher_logits, output.routed_state.flatten(1)], dim=1)


def of_loss(model: Any) -> torch.Tensor:
    return model(windows()).loss[None]


def of_state(model: Any) -> torch.Tensor:
    return model(windows()).last_hidden_state


def fresh(kind: type, like: Any) -> Any:
    torch.manual_seed(0)
    return kind(like.config)


def braindecode_student() -> BraindecodeStudent:
    torch.manual_seed(0)
    signal = {"chs_info": mne.create_info(NAMES, 200.0, "eeg")["chs"], "n_times": 400, "sfreq": 200.0}
    return BraindecodeStudent(**signal, n_outputs=2, size="tiny")


@dataclass(frozen=True)
class Row:
    """A class of models.

    Args:
        name: of the class, as the documentation has it.
        make: a model of it.
        outputs: what it says of given windows.
        remote, onnx, stream: `SAME`, or words of the refusal.
    """

    name: str
    make: Callable[[], Any]
    outputs: Callable[[Any], torch.Tensor]
    remote: str = SAME
    onnx: str = SAME
    stream: str = SAME


TABLE = {
    "classes": Row("MiCForEEGClassification", toy_student, of_logits),
    "several labels": Row("MiCForEEGClassification, several labels", lambda: toy_student(**MULTI_LABEL), of_logits),
    "numbers": Row("MiCForEEGRegression", lambda: regressor(target_mean=[40.0], target_std=[12.0]), of_logits),
    "patches": Row(
        "MiCForEEGTokenClassification",
        lambda: fresh(MiCForEEGTokenClassification, toy_student()),
        of_logits,
    ),
    "backbone": Row("MiCModel", lambda: toy_student().mic, of_state, onnx=ONLY_STUDENTS, stream=NO_HEAD),
    "teacher of classes": Row(
        "DLinkTeacherForEEGClassification", toy_teacher, of_logits, ONLY_CODE_OF_STUDENTS, ONLY_STUDENTS
    ),
    "teacher of several labels": Row(
        "DLinkTeacherForEEGClassification, several labels",
        multi_label_teacher,
        of_logits,
        ONLY_CODE_OF_STUDENTS,
        ONLY_STUDENTS,
    ),
    "teacher of numbers": Row(
        "DLinkTeacherForEEGRegression", regression_teacher, of_logits, ONLY_CODE_OF_STUDENTS, ONLY_STUDENTS
    ),
    "teacher of patches": Row(
        "DLinkTeacherForEEGTokenClassification",
        lambda: fresh(DLinkTeacherForEEGTokenClassification, toy_teacher()),
        of_logits,
        ONLY_CODE_OF_STUDENTS,
        ONLY_STUDENTS,
    ),
    "teacher's backbone": Row(
        "DLinkTeacherModel", lambda: toy_teacher().teacher, of_state, ONLY_CODE_OF_STUDENTS, ONLY_STUDENTS, NO_HEAD
    ),
    "pre-training": Row(
        "DLinkTeacherForPretraining",
        lambda: fresh(DLinkTeacherForPretraining, toy_teacher()),
        of_loss,
        ONLY_CODE_OF_STUDENTS,
        ONLY_STUDENTS,
        NO_HEAD,
    ),
    "router": Row(
        "DLinkRouter",
        lambda: DLinkRouter(DLinkRouterConfig.from_teacher(toy_teacher().config)),
        of_router,
        ONLY_CODE_OF_STUDENTS,
        ONLY_STUDENTS,
        NO_HEAD,
    ),
    "studio": Row("DLinkStudioModel", toy_studio, of_studio, ONLY_CODE_OF_STUDENTS, ONLY_STUDENTS, NO_HEAD),
    "braindecode": Row(
        "BraindecodeStudent", braindecode_student, of_braindecode, ONLY_CODE_OF_STUDENTS, ONLY_STUDENTS, NO_HEAD
    ),
}


def windows(n: int = 2) -> torch.Tensor:
    return torch.from_numpy(20 * np.random.default_rng(0).standard_normal((n, len(NAMES), 400), dtype=np.float32))


def told(row: Row, model: Any) -> np.ndarray:
    with torch.inference_mode():
        return row.outputs(model.eval()).float().numpy()


def same(found: Any, expected: np.ndarray, tolerance: float = 1e-4) -> None:
    np.testing.assert_allclose(np.asarray(found), expected, rtol=tolerance, atol=tolerance)


def or_refused(words: str) -> Any:
    """The context of a trip: nothing special, or the refusal that the table says."""
    if words == SAME:
        return contextlib.nullcontext()
    return pytest.raises((TypeError, ValueError), match=words)


@pytest.mark.parametrize("kind", TABLE)
def test_through_a_folder(kind: str, tmp_path: Path) -> None:
    row = TABLE[kind]
    model = row.make()
    expected = told(row, model)
    model.save_pretrained(tmp_path)
    same(told(row, type(model).from_pretrained(tmp_path)), expected, 1e-6)


@pytest.mark.parametrize("kind", TABLE)
def test_through_a_stream(kind: str) -> None:
    row = TABLE[kind]
    model, extractor = row.make().eval(), EEGFeatureExtractor(ch_names=NAMES, n_times=400)
    with or_refused(row.stream):
        live = StreamClassifier(model, extractor, ch_names=NAMES, sfreq=200.0, unit="uV", hop_seconds=2.0)
        values = windows().numpy().swapaxes(0, 1).reshape(len(NAMES), -1)
        predictions = live.push(values, np.arange(values.shape[1]) / 200.0)
        expected = predictions_of(model.config, told(row, model))
        # of every place of the stretches, where each has a label
        expected = expected.reshape(-1, expected.shape[-1])
        same([prediction.probabilities for prediction in predictions], expected)


@pytest.mark.parametrize("kind", [kind for kind, row in TABLE.items() if row.onnx != SAME])
def test_what_is_not_exported(kind: str, tmp_path: Path) -> None:
    with or_refused(TABLE[kind].onnx):
        export_onnx(TABLE[kind].make(), tmp_path / "onnx", progress=False)
    assert not (tmp_path / "onnx").exists()


@pytest.mark.parametrize(
    "kind",
    ["numbers", "patches", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("classes", "several labels"))],
)
def test_through_onnx(kind: str, tmp_path: Path) -> None:
    row = TABLE[kind]
    model = row.make().eval()
    export_onnx(model, tmp_path, windows=windows(4).numpy(), progress=False)
    same(OnnxStudent.from_pretrained(tmp_path)(windows()).logits, told(row, model), 1e-3)


@pytest.mark.parametrize("kind", [kind for kind, row in TABLE.items() if row.remote != SAME])
def test_whose_code_does_not_travel(kind: str, tmp_path: Path) -> None:
    TABLE[kind].make().save_pretrained(tmp_path)
    with or_refused(TABLE[kind].remote):
        add_remote_code(tmp_path)


@pytest.mark.slow
def test_through_code_that_travels(tmp_path: Path) -> None:
    """One process without this package loads every class whose code travels."""
    torch.save(windows(), tmp_path / "windows.pt")
    kinds = [kind for kind, row in TABLE.items() if row.remote == SAME]
    for kind in kinds:
        TABLE[kind].make().save_pretrained(tmp_path / kind)
        add_remote_code(tmp_path / kind)
    code = (
        "import sys, json, torch\n"
        "from transformers import AutoModel\n"
        "windows, found = torch.load('windows.pt'), {}\n"
        f"for kind in {kinds!r}:\n"
        "    model = AutoModel.from_pretrained(kind, trust_remote_code=True).eval()\n"
        "    with torch.inference_mode():\n"
        "        output = model(windows)\n"
        "    values = output.logits if hasattr(output, 'logits') else output.last_hidden_state\n"
        "    found[kind] = [type(model).__name__, values.tolist()]\n"
        "assert 'dlink_hf' not in sys.modules\n"
        "print(json.dumps(found))\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=True)
    for kind, (name, values) in json.loads(ran.stdout.strip().splitlines()[-1]).items():
        model = TABLE[kind].make()
        assert name == type(model).__name__
        same(values, told(TABLE[kind], model), 1e-5)


def answer(question: list[str]) -> dict[str, Any]:
    """In the process that knows the Hub: push the model of a folder, and load it again from the Hub."""
    kind, folder = question
    row = TABLE[kind]
    model = type(row.make()).from_pretrained(folder)
    name = f"me/{kind.replace(' ', '-').replace(chr(39), '')}"
    model.push_to_hub(name)
    return {"outputs": told(row, type(model).from_pretrained(name)).tolist()}


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubProcess]:
    root = tmp_path_factory.mktemp("hub")
    server = HubServer(root / "hub", token="hf_secretOfMine0123")
    words = {"HF_TOKEN": "hf_secretOfMine0123", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    session = HubProcess(server, __file__, root / "home", **words)
    yield session
    session.close()


@pytest.mark.slow
@pytest.mark.parametrize("kind", TABLE)
def test_through_a_hub(kind: str, hub: HubProcess, tmp_path: Path) -> None:
    row = TABLE[kind]
    model = row.make()
    model.save_pretrained(tmp_path)
    same(hub.request([kind, str(tmp_path)])["outputs"], told(row, model), 1e-5)


def test_every_public_model_is_in_the_table() -> None:
    public = {
        name
        for name in dlink_hf.__all__
        if (name.startswith(("MiC", "DLink")) or name == "BraindecodeStudent")
        and not name.endswith(("Config", "Trainer", "Arguments", "Classifier", "Regressor", "Inference"))
    }
    assert public == {row.name.split(",")[0] for row in TABLE.values()}


def test_the_documentation_has_the_same_table() -> None:
    text = (Path(__file__).parents[2] / "docs" / "publish.md").read_text("utf-8")
    for row in TABLE.values():
        cells = ["yes" if way == SAME else "no" for way in (row.remote, row.onnx, row.stream)]
        name, _, of_what = row.name.partition(", ")
        shown = f"`{name}`" + (f", {of_what}" if of_what else "")
        assert f"| {shown} | yes | yes | {' | '.join(cells)} |" in text, row.name


if __name__ == "__main__":
    answer_requests(answer)
