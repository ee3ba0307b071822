# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Checkpoints made to do harm, or damaged: an error that names file and field, and nothing else."""

from __future__ import annotations

import json
import logging
import math
import pickle
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from dlink_hf import (
    AutoModelForEEGClassification,
    DLinkRouterConfig,
    DLinkStudioConfig,
    DLinkTeacherConfig,
    EEGFeatureExtractor,
    MiCConfig,
    MiCForEEGClassification,
)
from dlink_hf.commands import main
from dlink_hf.evaluation.predict import load_classifier


NAMES = ["C3", "Cz", "C4"]
WRONG = [None, True, "64", "", [], [1], ["a"], {}, {"a": 1}, -1, 0, 1e308, math.nan, math.inf, 10**9, 10**30] + [
    [[]],
    "\ud800",
    "x" * 1000,
    0.5,
]


@pytest.fixture
def student(tmp_path: Path) -> Path:
    """A small student and its extractor."""
    folder = tmp_path / "student"
    MiCForEEGClassification(MiCConfig.from_size("tiny", ch_names=NAMES)).save_pretrained(folder)
    EEGFeatureExtractor(ch_names=NAMES, l_freq=0.5, h_freq=45, alignment="monge").save_pretrained(folder)
    return folder


def edit(path: Path, **fields: Any) -> None:
    """Change fields of a JSON file."""
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


class Trap:
    """Leaves a file behind where it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return (open, (str(self.mark), "w"))


def loaders() -> list[Any]:
    return [MiCForEEGClassification.from_pretrained, AutoModelForEEGClassification.from_pretrained, load_classifier]


@pytest.mark.parametrize("load", loaders(), ids=["student", "auto", "commands"])
@pytest.mark.parametrize("named", ["w.bin", "../w.safetensors", "/tmp/w.safetensors", "sub/w.safetensors", 3, None])
def test_an_index_names_only_safetensors_files_of_its_folder(student: Path, load: Any, named: Any) -> None:
    weights, mark = student / "model.safetensors", student.parent / "unpickled"
    tensors = load_file(weights)
    (student / "w.bin").write_bytes(pickle.dumps(Trap(mark)))
    save_file(tensors, student.parent / "w.safetensors")
    weights.unlink()
    (student / "model.safetensors.index.json").write_text(json.dumps({"weight_map": dict.fromkeys(tensors, named)}))
    with pytest.raises(ValueError, match=r"index\.json.*weight_map"):
        load(student)
    assert not mark.exists()


def test_sharded_weights_are_still_read(tmp_path: Path) -> None:
    model = MiCForEEGClassification(MiCConfig.from_size("small", ch_names=NAMES))
    model.save_pretrained(tmp_path, max_shard_size="100KB")
    assert (tmp_path / "model.safetensors.index.json").is_file()
    loaded = MiCForEEGClassification.from_pretrained(tmp_path)
    assert all(torch.equal(value, loaded.state_dict()[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("load", loaders(), ids=["student", "auto", "commands"])
def test_an_adapter_is_not_applied_unasked(student: Path, tmp_path: Path, load: Any) -> None:
    mark = tmp_path / "unpickled"
    (student / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "base_model_name_or_path": "x/y"}))
    (student / "adapter_model.bin").write_bytes(pickle.dumps(Trap(mark)))
    with pytest.raises(ValueError, match=r"adapter_config\.json"):
        load(student)
    assert not mark.exists()


@pytest.mark.parametrize("named", ["w.bin", "w.safetensors.index.json"])
def test_a_config_does_not_name_the_weights(student: Path, named: str) -> None:
    edit(student / "config.json", transformers_weights=named)
    with pytest.raises(ValueError, match=r"config\.json.*transformers_weights"):
        MiCForEEGClassification.from_pretrained(student)


def check_every_wrong_value(cls: Any, folder: Path, file: str, fields: dict[str, Any]) -> None:
    path = folder / file
    kept = path.read_text()
    silent = []
    for field in fields:
        for value in WRONG:
            edit(path, **{field: value})
            try:
                cls.from_pretrained(folder)
            except ValueError as error:
                text = str(error)
                if file not in text or not (field in text or "label" in field and "label" in text):
                    silent.append((field, value if len(str(value)) < 50 else "long", text[:200]))
            except Exception as error:
                silent.append((field, value if len(str(value)) < 50 else "long", repr(error)[:200]))
            path.write_text(kept)
    assert not silent, "\n".join(map(str, silent))


@pytest.mark.parametrize(
    "config",
    [
        MiCConfig.from_size("tiny", ch_names=NAMES),
        DLinkTeacherConfig(ch_names=NAMES, backbone_kwargs={"n_layer": 2}),
        DLinkRouterConfig(),
        DLinkStudioConfig(
            teacher_config=DLinkTeacherConfig(ch_names=NAMES, backbone_kwargs={"n_layer": 2}),
            student_config=MiCConfig(ch_names=NAMES),
        ),
    ],
    ids=lambda config: config.model_type,
)
def test_every_field_of_a_config_is_checked(config: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    # transformers warns of each wrong type by its value, half characters too, which no report can be sent with
    caplog.set_level(logging.ERROR, logger="transformers")
    config.save_pretrained(tmp_path)
    check_every_wrong_value(type(config), tmp_path, "config.json", json.loads((tmp_path / "config.json").read_text()))


def test_every_setting_of_an_extractor_is_checked(student: Path) -> None:
    fields = json.loads((student / "preprocessor_config.json").read_text())
    check_every_wrong_value(EEGFeatureExtractor, student, "preprocessor_config.json", fields)


DEEP = "[" * 200_000 + "]" * 200_000
TEXTS = {
    "deep": '{"a": ' + DEEP + "}",
    "list": "[1]",
    "cut": '{"a": ',
    "text": '"x"',
    "binary": "\xff\xfe",
    "null": "null",
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())
@pytest.mark.parametrize("file", ["config.json", "preprocessor_config.json", "model.safetensors.index.json"])
def test_what_is_no_json_object_is_named(student: Path, text: str, file: str, capsys: pytest.CaptureFixture) -> None:
    (student / file).write_bytes(text.encode("latin-1"))
    if file == "model.safetensors.index.json":
        (student / "model.safetensors").unlink()
    load = EEGFeatureExtractor.from_pretrained if file.startswith("pre") else load_classifier
    with pytest.raises((ValueError, OSError), match=file.replace(".", r"\.")):
        load(student)
    if not file.startswith("pre"):
        assert main(["info", str(student)]) == 1
        assert file in capsys.readouterr().err


HUGE = {
    "hidden_size": {"hidden_size": 12_000, "intermediate_size": 24_000},
    "depth": {"num_hidden_layers": 250},
    "num_labels": {"num_labels": 10**9, "id2label": None, "label2id": None},
    "channels": {"ch_names": [f"E{number}" for number in range(200_000)], "channel_positions": None},
}


def load_in_limits(folder: str) -> None:
    """In a process of its own: load, and print the error and by how many MB the memory grew."""
    MiCForEEGClassification(MiCConfig.from_size("tiny", ch_names=NAMES))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for path in sorted(Path(folder).iterdir()):
        try:
            MiCForEEGClassification.from_pretrained(path)
            text = "loaded"
        except ValueError as error:
            text = str(error)
        print(json.dumps([path.name, text, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024]))


def test_shapes_are_checked_before_memory_is_taken(student: Path, tmp_path: Path) -> None:
    folder = tmp_path / "huge"
    for name, fields in HUGE.items():
        (folder / name).mkdir(parents=True)
        (folder / name / "model.safetensors").write_bytes((student / "model.safetensors").read_bytes())
        config = json.loads((student / "config.json").read_text())
        config = {key: value for key, value in {**config, **fields}.items() if value is not None}
        (folder / name / "config.json").write_text(json.dumps(config))
    done = subprocess.run([sys.executable, __file__, str(folder)], capture_output=True, text=True, timeout=1000)
    assert done.returncode == 0, done.stderr
    answers = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('["')]
    said = {name: text for name, text, _ in answers}
    assert set(said) == set(HUGE)
    assert "tensors of another shape" in said["hidden_size"]
    assert "lacks" in said["depth"]
    assert "num_labels" in said["num_labels"]
    assert "ch_names" in said["channels"]
    # the config alone of 200,000 channels is a few MB of JSON
    assert max(grown for _, _, grown in answers) < 300


if __name__ == "__main__":
    load_in_limits(sys.argv[1])
