# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""An export's deploy.json is a claim: it is checked field by field, against the config and against the ONNX file."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest


pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

from dlink_hf import MiCConfig, MiCForEEGClassification, OnnxStudent, export_onnx  # noqa: E402
from dlink_hf.commands import main  # noqa: E402


NAMES = ["C3", "Cz", "C4"]


@pytest.fixture(scope="module")
def exports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    model = MiCForEEGClassification(MiCConfig.from_size("tiny", ch_names=NAMES, n_times=400))
    made = {}
    for name, any_montage in (("fixed", False), ("any", True)):
        made[name] = tmp_path_factory.mktemp("exports") / name
        export_onnx(model, made[name], any_montage=any_montage, progress=False)
    return made


@pytest.fixture
def copy(exports: dict[str, Path], tmp_path: Path) -> Any:
    return lambda name: shutil.copytree(exports[name], tmp_path / name)


def edit(path: Path, **fields: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), **fields}))


def test_what_was_written_is_loaded(exports: dict[str, Path]) -> None:
    fixed, free = OnnxStudent.from_pretrained(exports["fixed"]), OnnxStudent.from_pretrained(exports["any"])
    assert fixed(np.zeros((2, 3, 400), np.float32)).logits.shape == (2, 2) and not fixed.takes_positions
    assert free(np.zeros((1, 3, 800), np.float32)).logits.shape == (1, 2) and free.takes_positions


CONTRADICTIONS = {
    "another order of channels": ("fixed", "ch_names", {"ch_names": ["C4", "Cz", "C3"]}),
    "fewer channels": ("fixed", "ch_names", {"ch_names": ["C3", "Cz"]}),
    "another length": ("fixed", "n_times", {"n_times": 600}),
    "another rate": ("fixed", "sfreq", {"sfreq": 250.0}),
    "other labels": ("fixed", "labels", {"labels": ["LABEL_1", "LABEL_0"]}),
    "positions that it does not take": ("fixed", "channel_positions", {"channel_positions": {"unit": "m"}}),
    "no positions though it takes them": ("any", "channel_positions", {"channel_positions": None}),
}


@pytest.mark.parametrize(("export", "field", "change"), CONTRADICTIONS.values(), ids=CONTRADICTIONS.keys())
def test_a_record_that_contradicts_the_export_is_refused_by_field(
    copy: Any, export: str, field: str, change: dict[str, Any]
) -> None:
    folder = copy(export)
    edit(folder / "deploy.json", **change)
    with pytest.raises(ValueError, match=rf"deploy\.json contradicts .*`{field}`"):
        OnnxStudent.from_pretrained(folder)


@pytest.mark.parametrize("field", ["ch_names", "n_times"])
def test_a_record_and_config_that_agree_on_a_lie_are_refused_by_the_onnx_file(copy: Any, field: str) -> None:
    folder = copy("fixed")
    change = {"ch_names": ["C3", "Cz"], "n_times": 600}[field]
    edit(folder / "deploy.json", **{field: change})
    edit(folder / "config.json", **{field: change}, channel_positions=None)
    with pytest.raises(ValueError, match=rf"deploy\.json contradicts model\.onnx.*`{field}`"):
        OnnxStudent.from_pretrained(folder)


def test_every_field_of_a_record_is_checked(copy: Any) -> None:
    folder = copy("fixed")
    whole = (folder / "deploy.json").read_text("utf-8")
    for field in ("sha256", "ch_names", "n_times", "sfreq", "labels", "channel_positions", "alignment", "check"):
        for value in (None, True, 7, "x", [], [1], {}, {"a": 1}, -1, 1e308, math.nan, 10**30):
            edit(folder / "deploy.json", **{field: value})
            try:
                OnnxStudent.from_pretrained(folder)
            except ValueError as error:
                assert "deploy.json" in str(error), (field, value)
            (folder / "deploy.json").write_text(whole, encoding="utf-8")


@pytest.mark.parametrize("text", ["[1]", "null", "{", '{"a": ' + "[" * 200_000 + "]" * 200_000 + "}", "\xff"])
def test_what_is_no_record_is_refused(copy: Any, text: str) -> None:
    folder = copy("fixed")
    (folder / "deploy.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError, match=r"deploy\.json"):
        OnnxStudent.from_pretrained(folder)


@pytest.mark.parametrize(
    ("people", "field"),
    [
        ("[1]", "people.json"),
        ('{"train": "S1"}', "train"),
        ('{"validation": [1]}', "validation"),
        ('{"source": 3, "group_column": "subject"}', "source"),
        ('{"pretraining": {"a": 1}}', "pretraining"),
        ('{"pretraining": [3]}', "pretraining"),
        ('{"pretraining": [{"source": "a", "people": 7}]}', "people"),
        ('{"pretraining": [{"source": "a"}]}', "people"),
        ('{"a": ' + "[" * 200_000 + "]" * 200_000 + "}", "people.json"),
    ],
)
def test_a_file_of_people_is_checked(tmp_path: Path, people: str, field: str) -> None:
    from dlink_hf.commands.windows import seen_before

    (tmp_path / "people.json").write_text(people)
    with pytest.raises(ValueError, match=rf"people\.json.*{field}" if field != "people.json" else r"people\.json"):
        seen_before(str(tmp_path))


def test_packaged_files_of_people_are_read() -> None:
    from dlink_hf.core.checkpoint_names import packaged_checkpoints
    from dlink_hf.core.people_file import read_people

    found = [folder / "people.json" for folder in packaged_checkpoints().values()]
    assert all(read_people(path) for path in found if path.is_file()) and any(path.is_file() for path in found)


def test_lists_of_people_are_checked_by_the_command(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    lists = tmp_path / "lists.json"
    lists.write_text("[1]")
    words = ["pretrain-teacher", "--recordings", str(tmp_path), "--people", str(lists), "--output_dir", str(tmp_path)]
    assert main(words) == 1
    assert "lists.json must hold a JSON object" in capsys.readouterr().err
