# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""The table of teachers, and the command that prints it."""

from __future__ import annotations

import json

import pytest
from teacher_files import write_position_bank
from teacher_packages import teachers


pytest.importorskip("braindecode", reason="teachers need braindecode: pip install 'dlink-hf[teachers]'")

from dlink_hf.commands import main  # noqa: E402
from dlink_hf.profiling.known_teachers import describe_teacher  # noqa: E402


@pytest.fixture(autouse=True)
def _position_bank(tmp_path, monkeypatch):
    monkeypatch.setenv("REVE_POSITIONS_PATH", str(write_position_bank(tmp_path)))


# parameters of the published sizes, as the classes have them without their heads (19 channels, 5 s)
PARAMETERS = {
    "CBraMod": 4_924_000,
    "BENDR": 157_139_000,
    "REVE": 69_189_120,
    "STEEGFormer": 25_303_552,
    "ZUNA": 172_101_664,
    "Chronos2": 115_824_384,
    # 8.10 and 4.19 million with the head of their pre-training
    "MantisV1": 8_037_632,
    "MantisV2": 4_122_368,
}


@pytest.mark.parametrize("backbone", teachers(["EEGPT", "CodeBrain", "REVE", "Chronos2", "MantisV1", "MantisV2"]))
def test_a_row(backbone):
    row = describe_teacher(backbone)
    assert row["loads"] and row["error"] is None and row["loads_bit_identical"] is True
    assert row["difference"] < 1e-5 and row["parameters"] > 0 and row["gflop"] > 0
    assert json.loads(json.dumps(row)) == row
    assert describe_teacher(backbone, check_loading=None)["loads_bit_identical"] is None
    seen = []
    describe_teacher(backbone, check_loading=lambda model, config, inputs: seen.append((model, config, inputs)))
    model, config, inputs = seen[0]
    assert type(model).__name__.startswith(backbone) and config.backbone == backbone
    assert inputs.shape == (1, config.n_chans, config.n_times)


def test_the_command_prints_a_table(capsys):
    assert main(["teachers", "--models", "CBraMod", "LUNA"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("| CBraMod | any number of channels") for line in lines) == 1
    table = [line for line in lines if line.startswith("| CBraMod | yes | 3 | 19 x 1000 | `b c p d` | 19 x 5 x 200 |")]
    assert len(table) == 1 and table[0].endswith("| yes |")
    assert [line for line in lines if line.startswith("| LUNA | yes | 3 | 19 x 1000 | `b p d` | 1 x 25 x 32 | any |")]
    assert "| CBraMod | weighting666/CBraMod | apache-2.0 | https://huggingface.co/weighting666/CBraMod |" in lines
    assert [line for line in lines if line.startswith("| LUNA | ") and "cc-by-nd-4.0" in line]
    assert not [line for line in lines if "BIOT" in line]


def test_the_command_prints_json_and_says_what_can_t_be_built(capsys, monkeypatch, tmp_path):
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.setenv("REVE_POSITIONS_PATH", str(empty))
    assert main(["teachers", "--models", "REVE", "PBT", "--json", "True"]) == 0
    reve, pbt = json.loads(capsys.readouterr().out)
    assert reve["loads"] is False and "REVE_POSITIONS_PATH" in reve["error"]
    assert pbt["loads"] is True and pbt["difference"] < 1e-5
    assert main(["teachers", "--models", "REVE"]) == 0
    assert "REVE could not be built: REVE looks its channels up" in capsys.readouterr().out
    assert main(["teachers", "--models", "EEGNet"]) == 1
    assert "there is no EEGNet" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("backbone", teachers())
def test_a_row_of_full_size(backbone):
    row = describe_teacher(backbone, full=True)
    assert row["loads"] and row["loads_bit_identical"] is True and row["difference"] < 1e-3
    if backbone in PARAMETERS:
        assert row["parameters"] == pytest.approx(PARAMETERS[backbone], rel=1e-3)
