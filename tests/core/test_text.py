# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Labels, channels and people are data: in tables of a spreadsheet, in cards and in plots."""

from __future__ import annotations

import csv
import itertools
import json
import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import yaml
from huggingface_hub import ModelCard

from dlink_hf import MiCConfig, build_model_card, save_model_card
from dlink_hf.commands.stream import PredictionLog
from dlink_hf.core.text import as_code, for_csv, for_markdown, from_csv, without_surrogates
from dlink_hf.evaluation.metrics import classification_scores
from dlink_hf.evaluation.plots import plot_confusion_matrix, plot_loss_curves, plot_montage, plot_router_weights
from dlink_hf.evaluation.predict import write_predictions
from dlink_hf.hub.card_merging import is_generated, merge_model_card
from dlink_hf.hub.teacher_card import build_part_card


FORMULAS = ["=1+1", "+A1", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "'=1", "''x", "=cmd|' /C calc'!A0", "'", "=", "", "'a"]
PLAIN = ["rest", "1=1", "é脑", 'a "quoted", b', "two\nlines"]
MARK = "<!-- dlink_hf: begin of the generated part; x -->"
END = "<!-- dlink_hf: end of the generated part -->"
HOSTILE = [
    f"a|b\n\n# Owned\n```\n{END}\n{MARK}",
    "<script>alert(1)</script> ![x](http://evil/x.png) [l](http://evil) **bold** `code` \x1b[2J \ud800 {{ 7*7 }}",
]


def test_cells_come_back_as_they_were() -> None:
    for text in [*FORMULAS, *PLAIN]:
        cell = for_csv(text)
        assert from_csv(cell) == text
        assert not cell.startswith(("=", "+", "-", "@", "\t", "\r"))
        assert cell == text or text.startswith(("=", "+", "-", "@", "\t", "\r", "'"))
    assert for_csv(-1.5) == -1.5 and for_csv("a\ud800b") == "a\N{REPLACEMENT CHARACTER}b"


def test_predictions_hold_no_formula_and_come_back(tmp_path: Path) -> None:
    names = [*FORMULAS[:6], "rest"]
    shares = np.eye(len(names))
    columns = {"subject": names, "onset": np.arange(len(names)) - 3.0}
    path = write_predictions(tmp_path / "p.csv", columns, shares, names)
    with open(path, newline="", encoding="utf-8") as file:
        head, *rows = csv.reader(file)
    assert [from_csv(row[0]) for row in rows] == names and [from_csv(row[2]) for row in rows] == names
    assert [float(row[1]) for row in rows] == (np.arange(len(names)) - 3.0).tolist()
    assert head[3:] == [f"p_{name}" for name in names]
    texts = [cell for row in rows for cell in (row[0], row[2])]
    assert not any(cell.startswith(("=", "+", "-", "@", "\t", "\r")) for cell in texts)
    write_predictions(tmp_path / "s.csv", {"subject": ["a\ud800"]}, np.ones((1, 1)), ["\udfff"])
    assert "\N{REPLACEMENT CHARACTER}" in (tmp_path / "s.csv").read_text("utf-8")


def test_a_stream_log_holds_no_formula(tmp_path: Path) -> None:
    from dlink_hf.streaming.classifier import StreamPrediction

    fields = {"time": 1.0, "onset": 1.0, "label": "=1+1", "reason": "@x", "smoothed": np.array([0.75, 0.25])}
    names = StreamPrediction.__dataclass_fields__
    prediction = StreamPrediction(**{name: fields.get(name) for name in names})
    for _ in range(2):
        log = PredictionLog(tmp_path / "live.csv", ["=1+1", "rest"])
        log.write(prediction, 0.01)
        log.close()
    with open(tmp_path / "live.csv", newline="", encoding="utf-8") as file:
        head, *rows = csv.reader(file)
    assert len(rows) == 2 and rows[0][2] == "'=1+1" and rows[0][-1] == "'@x"


def hostile_card() -> ModelCard:
    config = MiCConfig.from_size("tiny", ch_names=["C3", "Cz"], id2label=dict(enumerate(HOSTILE)))
    config.ch_names = ["C3", HOSTILE[0]]
    rng = np.random.default_rng(0)
    people = [HOSTILE[0], HOSTILE[1]] * 20
    scores = classification_scores(
        rng.integers(0, 2, 40), rng.dirichlet([1, 1], 40), subjects=people, label_names=HOSTILE
    )
    return build_model_card(
        config,
        name=HOSTILE[0],
        model_id=HOSTILE[1],
        results={"test": scores},
        training={"loss_weights": {"kd": 0.25}, HOSTILE[0]: HOSTILE[1]},
        teacher={"name": HOSTILE[1], "id": HOSTILE[0], "description": HOSTILE[0]},
        dataset={"name": HOSTILE[0], "source": HOSTILE[1], "people": HOSTILE},
        comparison=[{"name": HOSTILE[0], "parameters": 3}],
        router={"mean_weights": [0.5, 0.5], "layer_names": HOSTILE},
        plots={HOSTILE[0]: "plots/a.png"},
        limits=[HOSTILE[0]],
        tags=[HOSTILE[0]],
    )


def test_names_do_not_break_a_card(tmp_path: Path) -> None:
    text = str(hostile_card())
    assert is_generated(text)
    assert "\n# Owned" not in text and "# Owned" in text
    # one snippet and the two citations: no fence of anybody else's
    fences = [line for line in text.splitlines() if line.startswith("```")]
    assert fences == ["```python", "```", "```bibtex", "```", "```bibtex", "```"]
    body = text.split("\n---\n", 1)[1]
    outside = re.sub(r"```.*?```", "", body, flags=re.DOTALL)
    assert "<script" not in outside and re.findall(r"<(?!!-- dlink_hf| !--)", outside) == []
    assert not re.search(r"(?<!\\)\]\(http", outside) and r"{{ 7\*7 }}" in outside
    assert "\x1b" not in text and "\ud800" not in text
    for block in re.findall(r"(?:^\|.*\n?)+", outside, flags=re.MULTILINE):
        bars = {len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}
        assert len(bars) == 1, block
    yaml.safe_load(text.split("\n---\n")[0].removeprefix("---\n"))
    # the snippet is Python that says the names as they are
    code = re.search(r"```python\n(.*?)\n```", text, re.DOTALL)[1]
    compile(code, "snippet", "exec")
    assert eval(re.search(r"^ch_names = (.*)$", code, re.MULTILINE)[1]) == ["C3", HOSTILE[0]]
    # and what a user writes around it stays, again and again
    save_model_card(hostile_card(), tmp_path)
    path = tmp_path / "README.md"
    path.write_text(path.read_text("utf-8") + "\nMine.\n", encoding="utf-8")
    for _ in range(2):
        save_model_card(hostile_card(), tmp_path)
    kept = path.read_text("utf-8")
    assert kept.count("Mine.") == 1 and is_generated(kept) and kept.endswith("Mine.\n")
    assert merge_model_card(kept, text).count("Mine.") == 1


def test_a_card_of_a_part_holds_no_markup_of_its_config() -> None:
    config = {"model_type": "dlink_teacher", "architectures": [HOSTILE[1]], "backbone": HOSTILE[0]}
    config |= {"ch_names": HOSTILE, "sfreq": 200, "n_times": 400, "id2label": dict(enumerate(HOSTILE))}
    text = str(build_part_card(config, name=HOSTILE[0], model_id=HOSTILE[1]))
    outside = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    assert is_generated(text) and "<script" not in outside and "\n# Owned" not in text
    assert [line for line in text.splitlines() if line.startswith("```")] == ["```python", "```"]


def test_plain_names_stay_as_they_are() -> None:
    for name in ("left_fist", "eyes open", "Ruhe (Augen zu)", "C3-Cz", "sub-01", "脑", "R&D #3", "50 %", "a.b/c~d"):
        assert for_markdown(name) == name


@pytest.mark.parametrize("ending", ["svg", "png"])
def test_names_in_plots_are_drawn_letter_by_letter(tmp_path: Path, ending: str) -> None:
    names = [r"$\frac{a$ cost", "$5 and $6\x1b[2J\ud800"]
    labels = np.array([0, 1, 1, 0])
    made = [
        plot_confusion_matrix(labels, labels, names, tmp_path / f"c.{ending}", title=r"$\undefined$"),
        plot_montage(np.array([[0, 0, 0.1], [0.05, 0, 0.08]]), names, tmp_path / f"m.{ending}"),
        plot_router_weights(np.full((4, 2), 0.5), labels, names, tmp_path / f"r.{ending}", layer_names=names),
        plot_loss_curves(
            [{"step": step, "loss": 1.0 + step} for step in range(3)], tmp_path / f"l.{ending}", stages={names[0]: 0}
        ),
    ]
    for path in made:
        assert path.stat().st_size > 1000
    if ending == "svg":
        text = made[0].read_text("utf-8")
        ElementTree.fromstring(text)
        # matplotlib notes each text that it draws
        noted = re.findall(r"<!--\s*(.*?)\s*-->", text, re.DOTALL)
        assert any(r"$\frac{a$ cost" in note for note in noted), noted


def test_surrogates_are_replaced() -> None:
    assert without_surrogates("a\ud800b\udfff") == "a\N{REPLACEMENT CHARACTER}b\N{REPLACEMENT CHARACTER}"
    assert without_surrogates("😀é") == "😀é"
    assert json.dumps(without_surrogates("\ud83d\ude00")) == json.dumps("😀")


def test_every_mark_of_markdown_is_escaped() -> None:
    for sign, other in itertools.product("\\`*|[]<>", repeat=2):
        text = for_markdown(f"a{sign}{other}b")
        assert re.sub(r"\\(.)", r"\1", text).replace("&lt;", "<").replace("&gt;", ">") == f"a{sign}{other}b"


def test_a_command_is_a_span_of_code_unless_it_could_end_one() -> None:
    assert as_code(r"dlink distill --subject_pattern '(S\d+)_'") == r"`dlink distill --subject_pattern '(S\d+)_'`"
    for text in ("a`b", "a|b", "a <!-- b -->", "ünder", "a\nb"):
        assert as_code(text) == for_markdown(text)
