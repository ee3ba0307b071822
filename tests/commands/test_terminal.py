# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Names of others are data in a terminal: shown, not obeyed."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from tqdm import tqdm

from dlink_hf import MiCConfig, MiCForEEGClassification
from dlink_hf.commands import main
from dlink_hf.commands.terminal import escaped_output
from dlink_hf.core.text import for_terminal
from dlink_hf.streaming.screen import StreamScreen


HOSTILE = "rest\x1b[2J\x9b31m\u202eevil\ud800\r"
SHOWN = "rest\\x1b[2J\\x9b31m\\u202eevil\\ud800\\r"


def test_control_characters_are_shown() -> None:
    assert for_terminal(HOSTILE) == SHOWN
    assert for_terminal("Fp1 \N{MICRO SIGN}V é 脑\n", keep="\n") == "Fp1 \N{MICRO SIGN}V é 脑\n"


def test_what_a_command_prints_is_escaped_on_both_streams(capsys: pytest.CaptureFixture) -> None:
    with escaped_output():
        print(HOSTILE.strip("\r"), "two\nlines\tand a tab")
        print("hf_secretOfMine0123", HOSTILE.strip("\r"), file=sys.stderr)
        kept = sys.stderr
    print("later", file=kept)
    out, err = capsys.readouterr()
    assert out == f"{SHOWN.removesuffix(chr(92) + 'r')} two\nlines\tand a tab\n"
    assert err == f"<token> {SHOWN.removesuffix(chr(92) + 'r')}\nlater\n"


def test_bars_still_move(capsys: pytest.CaptureFixture) -> None:
    with escaped_output():
        for _ in tqdm(range(2), desc="outer\x1b[2J"):
            for _ in tqdm(range(2), desc="inner", leave=False, position=1):
                pass
    err = capsys.readouterr().err
    assert "\x1b[A" in err and "\r" in err and "\x1b[2J" not in err and "outer\\x1b[2J" in err


def test_labels_and_channels_of_a_checkpoint_are_shown(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    config = MiCConfig.from_size("tiny", ch_names=["C3", "Cz"], id2label={0: "a\x1b[31m", 1: "b"})
    MiCForEEGClassification(config).save_pretrained(tmp_path)
    assert main(["info", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "a\\x1b[31m, b" in out and "\x1b" not in out
    fields = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**fields, "model_type": "\x1b]0;title\x07"}))
    assert main(["info", str(tmp_path)]) == 1
    assert "\x1b" not in capsys.readouterr().err


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_live_view_moves_the_cursor_and_its_labels_do_not() -> None:
    out = Terminal()
    screen = StreamScreen([HOSTILE, "task"], out)
    for second in range(3):
        screen._last_drawn = -np.inf
        screen.show(float(second), HOSTILE, np.array([0.9, 0.1]), None, "fine")
    screen.show(3.0, None, None, "bad\x1b[2J", "fine")
    screen.close()
    text = out.getvalue()
    assert "> rest\\x1b[2J" in text and "\x1b[3F\x1b[J" in text and "\x1b[2J" not in text and "\ud800" not in text
