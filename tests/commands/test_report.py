# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""`dlink report`: one page that holds what the run's files say, opens offline, and obeys no name in them."""

from __future__ import annotations

import base64
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from chromium import open_page
from toy_training import toy_dataset

from dlink_hf import EEGFeatureExtractor, SignalInfo, set_signal_info
from dlink_hf.commands import main
from dlink_hf.commands.report import build_report
from dlink_hf.commands.report_scores import read_predictions
from dlink_hf.commands.run_results import ALONE, DISTILLED, TEACHER
from dlink_hf.evaluation.comparison import distillation_verdict, subject_scores
from dlink_hf.evaluation.html_page import MOST_BYTES, escaped, page, paragraph, picture
from dlink_hf.evaluation.metrics import classification_scores
from dlink_hf.evaluation.plots import plot_montage
from dlink_hf.evaluation.predict import write_predictions


HOSTILE = "<script>document.title='owned'</script>\"'><img src=x onerror=alert(1)>$\\frac{}$\x1b[2J=1+1"
ALLOWED = set(
    "html head meta title style body main h1 h2 h3 div nav a section p strong table caption thead tbody tr th td "
    "figure img figcaption pre".split()
)


class Reader(HTMLParser):
    """Tags, attributes and text of a page."""

    def __init__(self, text: str):
        super().__init__()
        self.tags, self.attributes, self.words = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def make_run(folder, labels=("rest", "task"), subjects=("S1", "S2", "S3"), source="my recordings", card="# A card"):
    """The files of a distillation, of random answers."""
    rng = np.random.default_rng(0)
    names = [TEACHER, DISTILLED, ALONE]
    true = np.tile([0, 1], 10 * len(subjects))
    groups = np.repeat(list(subjects), 20)
    (folder / "student" / "plots").mkdir(parents=True)
    scores, by_model = {}, {}
    for split in ("validation", "test"):
        for name in names:
            right = rng.random(len(true)) < 0.8
            first = np.where((true == 0) == right, 0.7, 0.2)
            probabilities = np.stack([first, 1 - first], 1)
            columns = {"subject": groups, "recording": groups, "onset": np.arange(len(true)) * 5.0}
            columns["label"] = [labels[index] for index in true]
            file = folder / "predictions" / f"{split}_{name.replace(' ', '_')}.csv"
            write_predictions(file, columns, probabilities, list(labels))
            scores.setdefault(split, {})[name] = classification_scores(true, probabilities, groups.tolist(), labels)
            by_model.setdefault(name, {})[split] = subject_scores(true, probabilities, groups)
    results = {
        "source": source,
        "labels": list(labels),
        "scores": scores,
        "cost": {name: {"parameters": 97460, "mflop": 22.0, "ms": 1.5} for name in names},
        "minutes": {DISTILLED: 1.25},
        "steps": 40,
        "teacher": f"trained on {source}",
        "teacher_verdict": None,
        "verdict": distillation_verdict(by_model[DISTILLED], by_model[ALONE], by_model[TEACHER], 2),
        "subjects": {"train": ["T1"], "validation": list(subjects), "test": list(subjects)},
        "windows": {"train": 9, "validation": len(true), "test": len(true)},
        "versions": {"dlink_hf": "9.9", "torch": source},
    }
    (folder / "results.json").write_text(json.dumps(results))
    history = [{"step": step, "loss": 1 / step, "eval_auroc": 0.5 + step / 100} for step in (10, 20)]
    (folder / "trainer_state.json").write_text(json.dumps({"log_history": history}))
    (folder / "student" / "README.md").write_text(card)
    (folder / "student" / "training_args.json").write_text(json.dumps({"seed": 7, "optim": source}))
    plot_montage(np.array([[0, 0, 0.1], [0, 0.1, 0.05]]), ["Cz", "Fz"], folder / "student" / "plots" / "montage.png")
    return results, by_model


def test_the_page_says_what_the_run_found(tmp_path, capsys):
    results, by_model = make_run(tmp_path / "run")
    assert main(["report", str(tmp_path / "run"), "--output", str(tmp_path / "out" / "report.html")]) == 0
    path = tmp_path / "out" / "report.html"
    assert str(path) in capsys.readouterr().out and path.stat().st_size < MOST_BYTES
    assert list(path.parent.iterdir()) == [path]
    shown = Reader(path.read_text("utf-8"))
    assert results["verdict"]["text"] in shown.text
    for name in by_model:
        assert f"{results['scores']['test'][name]['balanced_accuracy']:.3f}" in shown.text
    for subject in ("S1", "S2", "S3"):
        row = " ".join(f"{by_model[name]['test'][subject]:.3f}" for name in by_model)
        assert f"{subject} {row}" in shown.text
    for words in ("97,460", "trained on my recordings", "T1", "9.9", "# A card", "seed 7", "1.25"):
        assert words in shown.text, words
    pictures = [value for name, value in shown.attributes if name == "src"]
    assert all(value.startswith("data:image/png;base64,") for value in pictures)
    # subjects, reliability, three confusions, curves of the scores, montage
    assert len(pictures) == len([value for name, value in shown.attributes if name == "alt" and value]) == 7
    assert base64.b64decode(pictures[-1].split(",")[1]) == (tmp_path / "run/student/plots/montage.png").read_bytes()


def test_predictions_come_back_as_they_were(tmp_path):
    probabilities = np.array([[0.25, 0.75], [0.5, 0.5], [1.0, 0.0]])
    columns = {"subject": ["=1", "b", "b"], "label": ["-x", "p_y", "-x"]}
    path = write_predictions(
        tmp_path / "p.csv", columns, probabilities, ["-x", "p_y"], reasons=[None, "too large", None], label_all=True
    )
    found = read_predictions(path)
    assert found.names == ["-x", "p_y"] and found.groups.tolist() == ["=1", "b"] and found.labels.tolist() == [0, 0]
    np.testing.assert_allclose(found.outputs, probabilities[[0, 2]])
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match=r"other\.csv does not hold predictions"):
        read_predictions(tmp_path / "other.csv")


def hostile_run(folder):
    make_run(folder, ("rest", HOSTILE), ("S1", HOSTILE), HOSTILE, f"</pre>{HOSTILE}<!-- ")
    (folder / "student" / "plots" / "spectra.png").write_text(HOSTILE)
    return folder


def test_hostile_names_are_text(tmp_path):
    text = build_report(hostile_run(tmp_path / "run"))
    shown = Reader(text)
    assert set(shown.tags) <= ALLOWED
    assert not [name for name, _ in shown.attributes if name.startswith("on")]
    assert all(
        value.startswith(("data:image/png", "#")) for name, value in shown.attributes if name in ("src", "href")
    )
    assert "<script>document.title='owned'</script>" in shown.text and "\x1b" not in text
    assert "the picture is no PNG" in shown.text
    assert "default-src 'none'" in text


@pytest.mark.slow
def test_a_browser_runs_nothing_and_loads_nothing(tmp_path):
    (tmp_path / "report.html").write_text(build_report(hostile_run(tmp_path / "run")), "utf-8")
    with open_page(1280) as tab:
        asked, dialogs = [], []
        tab.on("request", lambda request: asked.append(request.url))
        tab.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
        tab.goto((tmp_path / "report.html").as_uri())
        assert tab.title().startswith("Distillation") and not dialogs
        assert all(url.startswith(("file:", "data:")) for url in asked)
        assert tab.evaluate("[...document.images].every(image => image.naturalWidth > 0)")
        for width in (1280, 390):
            tab.set_viewport_size({"width": width, "height": 900})
            assert tab.evaluate("document.documentElement.scrollWidth") <= width


def test_a_page_stays_small_and_a_picture_is_a_png(tmp_path):
    (tmp_path / "large.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(600_000))
    assert "no PNG of at most 500 kB" in picture(tmp_path / "large.png", "large")
    assert escaped("<i>") == "&lt;i&gt;" and escaped(paragraph("<i>")) == "<p>&lt;i&gt;</p>"
    with pytest.raises(ValueError, match=r"3\.1 MB"):
        page("large", [("all", [paragraph("x" * 3_100_000)])])


def test_an_evaluation_and_a_profile_have_pages_too(tmp_path):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 40)
    given = rng.dirichlet([1, 1], 40)
    subjects = np.repeat(["A", "B"], 20)
    scores = classification_scores(labels, given, subjects.tolist(), ["rest", "task"])
    (tmp_path / "scores.json").write_text(json.dumps(scores))
    columns = {"subject": subjects, "label": [["rest", "task"][label] for label in labels]}
    write_predictions(tmp_path / "predictions.csv", columns, given, ["rest", "task"])
    text = Reader(build_report(tmp_path)).text
    assert f"{scores['balanced_accuracy']:.3f}" in text and f"{scores['per_class']['rest']['recall']:.3f}" in text


def test_what_is_no_run_is_refused_by_name(tmp_path, capsys):
    assert main(["report"]) == 1
    assert main(["report", str(tmp_path)]) == 1
    assert "holds none of demo.json, results.json" in capsys.readouterr().err
    (tmp_path / "results.json").write_text('{"scores": {"test": {"student": 3}}, "labels": ["a"]}')
    assert main(["report", str(tmp_path)]) == 1
    assert "results.json is damaged" in capsys.readouterr().err
    assert not (tmp_path / "report.html").exists()


@pytest.mark.slow
def test_the_run_of_a_distillation_has_all_parts(tmp_path, capsys):
    data = toy_dataset([f"S{number}" for number in range(6)], n_windows=6)
    set_signal_info(data, SignalInfo(("C3", "Cz", "C4", "Pz"), 200.0, 400)).save_to_disk(tmp_path / "windows")
    EEGFeatureExtractor(ch_names=["C3", "Cz", "C4", "Pz"], n_times=400).save_pretrained(tmp_path / "windows")
    words = ["--max_steps", "4", "--teacher_steps", "2", "--use_cpu", "True", "--student_size", "tiny"]
    words += [
        "--route_weight",
        "0.2",
        "--spectral_weight",
        "0.1",
        "--teacher_checkpoint",
        "none",
        "--logging_steps",
        "1",
    ]
    run = tmp_path / "run"
    assert main(["distill", "--dataset", str(tmp_path / "windows"), "--output_dir", str(run), *words]) == 0
    assert main(["report", str(run)]) == 0
    shown = Reader((run / "report.html").read_text("utf-8")).text
    for words in ("Router weights", "Spectra", "Reliability", "Confusions of: DLink student", "transformers"):
        assert words in shown, words
    assert re.search(r"Scores of the student on the validation split", shown)
