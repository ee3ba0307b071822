# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Licences of teachers: from a page on a Hub on loopback into the student's config and card, and on to publishing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_hub.process import HubProcess, answer_requests
from fake_hub.server import HubServer
from huggingface_hub import ModelCard


TOKEN = "hf_secretOfMine0123"
NAMES = ["C3", "Cz", "C4", "Pz"]
# repository -> its card; None for a repository without one
CARDS = {
    "them/frozen": "---\nlicense: cc-by-nd-4.0\n---\n",
    "them/nc": "---\nlicense: cc-by-nc-4.0\n---\n",
    "them/agpl": "---\nlicense: agpl-3.0\n---\n",
    "them/free": "---\nlicense: mit\n---\n",
    "them/unnamed": None,
    # a page that names no licence, of weights that are known
    "PulpBio/LUNA": "# LUNA\n",
}


def answer(question: list[Any]) -> dict[str, Any]:
    """In the process that knows the Hub: what is asked, by its name."""
    name, arguments = question
    try:
        return {"value": _ANSWERS[name](**arguments)}
    except Exception as error:
        return {"error": type(error).__name__, "message": str(error)}


def _distil(teachers: list[str], folder: str, keep_teacher: str | None = None, **fields: Any) -> list[Any]:
    """Distil a student for a few steps from teachers that are loaded by name; its card is written."""
    from toy_training import arguments, toy_dataset, toy_student

    import dlink_hf as dl

    loaded = [
        dl.DLinkTeacherForEEGClassification.from_pretrained(
            name, ch_names=NAMES, n_times=400, id2label={0: "rest", 1: "task"}
        )
        for name in teachers
    ]
    if keep_teacher is not None:
        loaded[0].save_pretrained(keep_teacher)
    studio = dl.DLinkStudioModel.from_parts(loaded, toy_student(), **fields)
    args = arguments(folder, max_steps=2, mimic_epochs=0, push_to_hub=False)
    splits = {"train_dataset": toy_dataset(["a", "b"]), "eval_dataset": toy_dataset(["c"], seed=1)}
    trainer = dl.DLinkTrainer(studio, args, **splits)
    trainer.train()
    trainer.save_model(folder)
    trainer.create_model_card()
    return studio.student.config.weights_licenses


def _publish(folder: str, repo_id: str, **options: Any) -> list[str]:
    """What was logged while a folder was published."""
    import logging

    import dlink_hf as dl

    said: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger("dlink_hf.hub").addHandler(handler)
    try:
        dl.publish_folder(folder, repo_id, **options)
    finally:
        logging.getLogger("dlink_hf.hub").removeHandler(handler)
    return said


def _student_teaches(name: str) -> list[Any]:
    from dlink_hf.distillation.student_teacher import load_teacher

    return load_teacher(name).config.weights_licenses


_ANSWERS = {"distil": _distil, "publish": _publish, "student_teaches": _student_teaches}


class Session(HubProcess):
    """A process with the package, and its Hub."""

    def ask(self, question: str, /, **arguments: Any) -> Any:
        found = self.request([question, arguments])
        if "error" in found:
            raise {"ValueError": ValueError}.get(found["error"], RuntimeError)(found["message"])
        return found["value"]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the Hub: one small CBraMod as braindecode saves it, under several names and licences."""
    from braindecode_hub import save, small_config

    root = tmp_path_factory.mktemp("hub")
    for name, card in CARDS.items():
        folder = save(root / name, small_config("CBraMod", NAMES, n_times=400), n_layer=2, dim_feedforward=80)
        (folder / "README.md").unlink()
        if card is not None:
            (folder / "README.md").write_text(card, encoding="utf-8")
    return root


@pytest.fixture(scope="module")
def session(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    """One process and one Hub for all tests of this file."""
    home = tmp_path_factory.mktemp("home")
    paths = os.pathsep.join([str(Path(__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])])
    variables = {"HF_TOKEN": TOKEN, "HF_HUB_DISABLE_PROGRESS_BARS": "1", "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    running = Session(HubServer(root, token=TOKEN), __file__, home, **variables)
    yield running
    running.close()


def record(name: str, license: str) -> dict[str, str]:
    return {"weights": name, "license": license, "source": f"https://huggingface.co/{name}"}


def card_of(folder: Path) -> ModelCard:
    return ModelCard.load(folder / "README.md")


def test_no_derivatives_are_refused_unless_the_user_says_otherwise(
    session: Session, root: Path, tmp_path: Path
) -> None:
    student, teacher = tmp_path / "student", tmp_path / "teacher"
    found = session.ask("distil", teachers=["them/frozen"], folder=str(student), keep_teacher=str(teacher))
    assert found == [record("them/frozen", "cc-by-nd-4.0")]
    assert json.loads((student / "config.json").read_text())["weights_licenses"] == found
    card = card_of(student)
    assert card.data.license == "cc-by-nd-4.0"
    assert "| licence of its weights | cc-by-nd-4.0, of them/frozen" in card.text
    told = card.text.split("## What you may do with it")[1].split("##")[0]
    assert "them/frozen" in told and "share neither it nor what is made from it" in told

    for folder in (student, teacher):
        with pytest.raises(ValueError, match=r"them/frozen, licence cc-by-nd-4\.0 \(https.*--despite_no_derivatives"):
            session.ask("publish", folder=str(folder), repo_id="me/refused")
    assert not (root / "me" / "refused").exists()
    session.ask("publish", folder=str(student), repo_id="me/permitted", private=True, despite_no_derivatives=True)
    assert card_of(root / "me" / "permitted").data.license == "cc-by-nd-4.0"


@pytest.mark.parametrize(
    ("name", "license", "warning"),
    [
        ("them/nc", "cc-by-nc-4.0", "not for commercial use"),
        ("them/agpl", "agpl-3.0", "share it only under the same licence"),
        ("them/unnamed", "unknown", "ask the authors"),
    ],
)
def test_conditions_are_said_and_stay_in_the_card(
    session: Session, root: Path, tmp_path: Path, name: str, license: str, warning: str
) -> None:
    session.ask("distil", teachers=[name], folder=str(tmp_path))
    said = session.ask("publish", folder=str(tmp_path), repo_id=f"me/from-{license}")
    assert any(name in line and license in line and warning in line for line in said)
    card = card_of(root / "me" / f"from-{license}")
    assert card.data.license == license and warning in card.text


def test_a_permissive_teacher_leaves_the_choice(session: Session, root: Path, tmp_path: Path) -> None:
    session.ask("distil", teachers=["them/free"], folder=str(tmp_path))
    assert not session.ask("publish", folder=str(tmp_path), repo_id="me/from-free")
    card = card_of(root / "me" / "from-free")
    assert card.data.license == "apache-2.0"
    assert "the notice of the authors goes along" in card.text


def test_several_teachers_are_all_named(session: Session, tmp_path: Path) -> None:
    found = session.ask("distil", teachers=["them/free", "them/nc"], folder=str(tmp_path))
    assert found == [record("them/free", "mit"), record("them/nc", "cc-by-nc-4.0")]
    assert card_of(tmp_path).data.license == "cc-by-nc-4.0"


def test_the_table_speaks_where_a_page_is_silent(session: Session, tmp_path: Path) -> None:
    found = session.ask("distil", teachers=["PulpBio/LUNA"], folder=str(tmp_path))
    assert found == [record("PulpBio/LUNA", "cc-by-nd-4.0")]


def test_a_licence_outlives_save_and_load_and_the_next_distillation(session: Session, tmp_path: Path) -> None:
    first, teacher, second = (tmp_path / name for name in ("first", "teacher", "second"))
    session.ask("distil", teachers=["them/nc"], folder=str(first), keep_teacher=str(teacher))
    expected = [record("them/nc", "cc-by-nc-4.0")]
    # the teacher from its folder, and the student as a teacher
    assert session.ask("distil", teachers=[str(teacher)], folder=str(second)) == expected
    assert session.ask("student_teaches", name=str(second)) == expected


def test_a_student_on_the_hub_teaches_under_the_licence_of_its_page(
    session: Session, root: Path, tmp_path: Path
) -> None:
    session.ask("distil", teachers=["them/free"], folder=str(tmp_path))
    config = tmp_path / "config.json"
    fields = json.loads(config.read_text())
    del fields["weights_licenses"]
    config.write_text(json.dumps(fields))
    (tmp_path / "README.md").write_text("---\nlicense: cc-by-nc-sa-4.0\n---\n", encoding="utf-8")
    session.ask("publish", folder=str(tmp_path), repo_id="me/noncommercial")
    assert session.ask("student_teaches", name="me/noncommercial") == [record("me/noncommercial", "cc-by-nc-sa-4.0")]


def test_the_command_refuses_and_has_the_flag(session: Session, root: Path, tmp_path: Path) -> None:
    session.ask("distil", teachers=["them/frozen"], folder=str(tmp_path / "student"))
    environment = session.hub.environment(tmp_path, HF_TOKEN=TOKEN)
    code = "import sys; from dlink_hf.commands import main; sys.exit(main())"
    words = [sys.executable, "-W", "ignore", "-c", code, "push", str(tmp_path / "student"), "me/commanded"]
    done = subprocess.run(words, capture_output=True, text=True, env=environment)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "licence cc-by-nd-4.0" in done.stderr and "Nothing was published" in done.stderr
    words.append("--despite_no_derivatives")
    done = subprocess.run(words, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert (root / "me" / "commanded" / "model.safetensors").is_file()


if __name__ == "__main__":
    answer_requests(answer)
