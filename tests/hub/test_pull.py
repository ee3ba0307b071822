# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""A pull gives all that was published or nothing, whatever the Hub does; nobody's token and nobody's files get out."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_hub.process import HubProcess, answer_requests
from fake_hub.server import HubServer


TOKEN = "hf_secretOfMine0123"
# no longer the form that the Hub gives today
ODD_TOKEN = "api_org_secret.of-mine"


def answer(question: list[Any]) -> dict[str, Any]:
    """In the process that knows the Hub: a command, or what happens where a call fails."""
    import huggingface_hub.constants

    from dlink_hf.commands import main

    words, cache = question
    # a pull must not find what an earlier test left
    huggingface_hub.constants.HF_HUB_CACHE = cache
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = main(words)
        except BaseException as error:
            return {"status": repr(error), "out": out.getvalue(), "err": err.getvalue()}
    return {"status": status, "out": out.getvalue(), "err": err.getvalue()}


class Session(HubProcess):
    """A process that runs commands, and its Hub."""

    def run(self, *words: str, cache: Path) -> tuple[Any, str, str]:
        found = self.request([list(words), str(cache)])
        return found["status"], found["out"], found["err"]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hub")


@pytest.fixture(scope="module")
def shared(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    hub = HubServer(root, token=TOKEN, tokens={ODD_TOKEN: ("odd", "write")})
    home = tmp_path_factory.mktemp("home")
    paths = os.pathsep.join([str(Path(__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])])
    running = Session(
        hub, __file__, home, HF_TOKEN=TOKEN, HF_HUB_DISABLE_PROGRESS_BARS="1", PYTHONPATH=paths, HF_HOME=str(home)
    )
    yield running
    running.close()


@pytest.fixture
def session(shared: Session) -> Iterator[Session]:
    """A Hub with nothing wrong yet."""
    yield shared
    shared.hub.recover()


@pytest.fixture(scope="module")
def student(root: Path) -> Path:
    """A published student, by hand."""
    from toy_training import toy_student

    from dlink_hf import EEGFeatureExtractor, build_model_card, save_model_card

    folder = root / "me" / "student"
    model = toy_student()
    model.save_pretrained(folder)
    EEGFeatureExtractor(ch_names=model.config.ch_names, n_times=400).save_pretrained(folder)
    card = build_model_card(model.config, name="toy", model_id="me/student", tags=["dlink_hf"])
    save_model_card(card, folder)
    return folder


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


API = r"/api/models/me/student"
FAULTS = {
    "the list is refused": lambda hub: hub.answer("*", API, 503, {"Retry-After": "0"}, times=99),
    "the list is a page": lambda hub: hub.answer("*", API, 200, times=99, body="<html>maintenance</html>"),
    "the list is nonsense": lambda hub: hub.answer("*", API, 200, times=99, body='{"siblings": 3}'),
    "weights break off": lambda hub: hub.cut_download("model.safetensors", after=5000, times=99),
    "weights are refused": lambda hub: hub.answer("*", "model.safetensors$", 503, {"Retry-After": "0"}, times=99),
    "weights are others": lambda hub: hub.damage("model.safetensors", times=99),
    "weights are short": lambda hub: hub.damage("model.safetensors", shorten=True, times=99),
    "a config is another": lambda hub: hub.damage("preprocessor_config.json", times=99),
    "a config is refused": lambda hub: hub.answer("*", "preprocessor_config.json$", 404, times=99),
    "a card is refused": lambda hub: hub.answer("*", "README.md$", 403, times=99),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
def test_a_pull_gives_nothing_where_something_is_missing(
    session: Session, student: Path, fault: Any, tmp_path: Path
) -> None:
    there = tmp_path / "there"
    fault(session.hub)
    status, out, err = session.run("pull", "me/student", str(there), cache=tmp_path / "cache")
    assert status == 1, (status, out, err)
    assert err.startswith("dlink pull: ") or "\ndlink pull: " in err
    assert "me/student" in err and "Traceback" not in err and TOKEN not in err + out
    assert not there.exists() or not files(there)
    # and once the Hub is well again, all of it
    session.hub.recover()
    status, out, err = session.run("pull", "me/student", str(there), cache=tmp_path / "cache")
    assert status == 0, err
    assert files(there) == files(student)
    assert f"{len(files(student))} files" in out


def test_a_file_that_arrives_damaged_once_is_asked_for_again(session: Session, student: Path, tmp_path: Path) -> None:
    for name in ("model.safetensors", "config.json", "README.md"):
        session.hub.damage(name)
    status, _, err = session.run("pull", "me/student", str(tmp_path / "there"), cache=tmp_path / "cache")
    assert status == 0, err
    assert files(tmp_path / "there") == files(student)


def test_the_time_of_a_pull_is_bounded(session: Session, student: Path, tmp_path: Path) -> None:
    # the client waits as long as the Hub asks it to
    session.hub.answer("*", "model.safetensors$", 429, {"Retry-After": "50"}, times=99)
    start = time.monotonic()
    words = ("pull", "me/student", str(tmp_path / "there"), "--timeout", "3")
    status, _, err = session.run(*words, cache=tmp_path / "cache")
    assert status == 1 and "within 3 s" in err and "--timeout" in err
    assert time.monotonic() - start < 45
    assert not (tmp_path / "there").exists()


@pytest.mark.parametrize("what", ["config.json", "model.safetensors", "plots", "README.md"])
def test_a_push_follows_no_link_out_of_the_folder(
    session: Session, root: Path, student: Path, tmp_path: Path, what: str
) -> None:
    secret = tmp_path / "secret"
    if what == "plots":
        secret.mkdir()
        (secret / "private.png").write_bytes(b"top secret")
    else:
        secret.write_bytes(b'{"top": "secret"}')
    folder = shutil.copytree(student, tmp_path / "mine")
    if what != "plots":
        (folder / what).unlink()
    (folder / what).symlink_to(secret)
    name = f"linked-{what.split('.')[0].lower()}"
    status, _, err = session.run("push", str(folder), f"me/{name}", cache=tmp_path / "cache")
    assert "leads out of the folder" in err or status == 1, err
    assert not session.hub.find("top secret")
    published = files(root / "me" / name) if (root / "me" / name).exists() else {}
    assert b'"secret"' not in b"".join(published.values())


def test_a_link_within_the_folder_is_followed(session: Session, root: Path, student: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(student, tmp_path / "mine")
    (folder / "model.safetensors").rename(folder / "weights")
    (folder / "model.safetensors").symlink_to("weights")
    status, _, err = session.run("push", str(folder), "me/linked-inside", cache=tmp_path / "cache")
    assert status == 0, err
    published = (root / "me" / "linked-inside" / "model.safetensors").read_bytes()
    assert published == (student / "model.safetensors").read_bytes()


@pytest.mark.parametrize("command", ["pull", "push", "models"])
@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 500])
def test_no_message_tells_a_token(session: Session, student: Path, tmp_path: Path, command: str, status: int) -> None:
    said = f"no: token {TOKEN} (Authorization: Bearer {TOKEN}) \x1b[2J is not welcome"
    body = json.dumps({"error": said})
    headers = {"Content-Type": "application/json", "X-Error-Message": f"Bearer {TOKEN}", "Retry-After": "0"}
    session.hub.answer("*", "/", status, headers, times=99, body=body)
    words = {"pull": ["me/student", str(tmp_path / "x")], "push": [str(student), "me/x"], "models": []}[command]
    code, out, err = session.run(command, *words, cache=tmp_path / "cache")
    assert code == 1 and TOKEN not in out + err and "\x1b" not in out + err, err


def test_a_malformed_repository_is_left_out_of_the_list_and_counted(
    session: Session, root: Path, student: Path, tmp_path: Path
) -> None:
    card = (student / "README.md").read_bytes()
    deep = b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    config = json.loads((student / "config.json").read_text())
    broken = {
        "list": b"[1]",
        "binary": b"\xff\xfe",
        "deep": deep,
        "labels": json.dumps({**config, "id2label": [1]}).encode(),
        "keys": json.dumps({**config, "id2label": {"a": "b", "c": "d"}}).encode(),
        "rate": json.dumps({**config, "sfreq": "fast"}).encode(),
        "names": json.dumps({**config, "ch_names": 7}).encode(),
        "classes": json.dumps({**config, "architectures": [3]}).encode(),
    }
    for name, text in broken.items():
        folder = root / "bad" / name
        folder.mkdir(parents=True)
        (folder / "config.json").write_bytes(text)
        (folder / "README.md").write_bytes(card)
        (folder / "model.safetensors").write_bytes(b"\xff" * 50)
    status, out, err = session.run("models", "--author", "bad", cache=tmp_path / "cache")
    assert status == 0, err
    assert f"{len(broken)} malformed repositories are left out" in err and "Traceback" not in err
    assert all(f"bad/{name}" in err for name in broken)
    # the others are listed all the same
    status, out, err = session.run("models", "--json", "--limit", "100", cache=tmp_path / "cache")
    assert status == 0 and "me/student" in [row["name"] for row in json.loads(out)]


def test_a_listed_repository_cannot_command_the_terminal(
    session: Session, root: Path, student: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(student, root / "tricky" / "escape")
    config = json.loads((folder / "config.json").read_text())
    config["id2label"] = {"0": "rest\x1b[2J", "1": "task\nforged line"}
    config["label2id"] = {"rest\x1b[2J": 0, "task\nforged line": 1}
    (folder / "config.json").write_text(json.dumps(config))
    status, out, err = session.run("models", "--author", "tricky", cache=tmp_path / "cache")
    assert status == 0, err
    assert "rest\\x1b[2J, task\\nforged line" in out and "\x1b" not in out


def test_a_token_of_another_form_is_known_by_what_it_is() -> None:
    code = "from dlink_hf.core.text import without_tokens; print(without_tokens('no: api_org_secret.of-mine!'))"
    environment = {**os.environ, "HF_TOKEN": ODD_TOKEN}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.stdout.strip() == "no: <token>!", done.stderr


if __name__ == "__main__":
    answer_requests(answer)
