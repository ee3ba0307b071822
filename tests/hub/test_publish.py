# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Students published on a Hub on loopback and loaded again: one commit, cards that keep, faults that lose nothing."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_hub.process import HubProcess, answer_requests
from fake_hub.server import HubServer
from huggingface_hub import ModelCard
from safetensors.numpy import load_file, save_file


PROJECT = Path(__file__).resolve().parents[2]
TOKEN = "hf_secretOfMine0123"
WINDOW = {"n_windows": 2, "n_chans": 4, "n_times": 400}


def answer(question: list[Any]) -> dict[str, Any]:
    """In the process that knows the Hub: what is asked, by its name."""
    import dlink_hf

    name, arguments = question
    try:
        return {"value": _ANSWERS[name](dlink_hf, **arguments)}
    except Exception as error:
        return {"error": type(error).__name__, "message": str(error)}


def _publish(dl: Any, folder: str, repo_id: str, **options: Any) -> str:
    return dl.publish_folder(folder, repo_id, **options).oid


def _push(dl: Any, what: str, folder: str, repo_id: str, **options: Any) -> str:
    saved = {"model": dl.MiCForEEGClassification, "extractor": dl.EEGFeatureExtractor}[what].from_pretrained(folder)
    return saved.push_to_hub(repo_id, **options).oid


def _part(dl: Any, what: str, repo_id: str, **options: Any) -> str:
    from toy_training import toy_student, toy_studio

    studio = toy_studio()
    parts = {"teacher": studio.teacher, "router": studio.router, "studio": studio}
    parts["backbone"] = dl.MiCModel(toy_student().config)
    return parts[what].push_to_hub(repo_id, **options).oid


def _logits(dl: Any, name: str, **options: Any) -> list[list[float]]:
    import torch

    model = dl.MiCForEEGClassification.from_pretrained(name, **options).eval()
    with torch.inference_mode():
        return model(torch.from_numpy(windows())).logits.tolist()


def _classify(dl: Any, name: str, recording: str) -> list[dict[str, Any]]:
    return dl.pipeline("eeg-classification", model=name)(recording)


def _train(dl: Any, folder: str, repo_id: str, user_text: str | None = None) -> dict[str, Any]:
    from toy_training import arguments, toy_dataset, toy_studio

    args = arguments(folder, max_steps=4, mimic_epochs=0.3, push_to_hub=False, hub_model_id=repo_id)
    extractor = dl.EEGFeatureExtractor(n_times=400)
    splits = {"train_dataset": toy_dataset(["a", "b"]), "eval_dataset": toy_dataset(["c"], seed=1)}
    trainer = dl.DLinkTrainer(toy_studio(), args, processing_class=extractor, **splits)
    trainer.train()
    scores = trainer.evaluate(toy_dataset(["d", "e"], seed=2), metric_key_prefix="test")
    commit = trainer.push_to_hub(dataset={"name": "tones", "license": "cc0-1.0"}, tags=["tones"])
    return {"oid": commit.oid, "scores": scores}


def _finetune(dl: Any, folder: str, repo_id: str, token: str) -> list[str]:
    from toy_training import arguments, toy_dataset, toy_student
    from transformers import TrainingArguments

    saving = {"save_strategy": "steps", "save_steps": 2, "push_to_hub": True, "hub_strategy": "every_save"}
    args = arguments(folder, TrainingArguments, max_steps=4, hub_model_id=repo_id, hub_token=token, **saving)
    extractor = dl.EEGFeatureExtractor(n_times=400)
    trainer = dl.make_trainer(toy_student(), {"train": toy_dataset(["a", "b"])}, args, processing_class=extractor)
    trainer.train()
    return sorted(path.relative_to(folder).as_posix() for path in Path(folder).rglob("*") if path.is_file())


_ANSWERS = {
    "publish": _publish,
    "push": _push,
    "part": _part,
    "logits": _logits,
    "classify": _classify,
    "train": _train,
    "finetune": _finetune,
}


def windows() -> np.ndarray:
    """(2, 4, 400) microvolts."""
    return 20 * np.random.default_rng(0).standard_normal(tuple(WINDOW.values())).astype(np.float32)


class Session(HubProcess):
    """A process with the package, and its Hub."""

    def ask(self, question: str, /, **arguments: Any) -> Any:
        """What it answers; an error there is one here, of the kind that it was."""
        found = self.request([question, arguments])
        if "error" in found:
            kinds = {"ValueError": ValueError, "OSError": OSError, "FileNotFoundError": FileNotFoundError}
            raise kinds.get(found["error"], RuntimeError)(found["message"])
        return found["value"]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the Hub."""
    return tmp_path_factory.mktemp("hub")


@pytest.fixture(scope="module")
def session(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    """One process and one Hub for all tests of this file."""
    tokens = {"hf_readsAlone0123": ("me", "read"), "hf_belongsToYou0123": ("you", "write")}
    hub = HubServer(root, token=TOKEN, tokens=tokens)
    home = tmp_path_factory.mktemp("home")
    paths = os.pathsep.join([str(Path(__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])])
    running = Session(
        hub, __file__, home, HF_TOKEN=TOKEN, HF_HUB_DISABLE_PROGRESS_BARS="1", PYTHONPATH=paths, HF_HOME=str(home)
    )
    yield running
    running.close()


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A student that `save_pretrained` and a training left, with things that are nobody else's business."""
    from toy_training import toy_student

    from dlink_hf import EEGFeatureExtractor, build_model_card, save_model_card

    folder = tmp_path_factory.mktemp("outputs") / "student"
    model = toy_student()
    model.save_pretrained(folder)
    EEGFeatureExtractor(ch_names=model.config.ch_names, n_times=400).save_pretrained(folder)
    save_model_card(build_model_card(model.config, name="toy", model_id=str(folder)), folder)
    (folder / "plots").mkdir()
    (folder / "plots" / "montage.png").write_bytes(b"\x89PNG not really")
    for stray in ("optimizer.pt", "notes.txt", "s01.edf", "checkpoint-5/optimizer.pt", "checkpoint-5/config.json"):
        (folder / stray).parent.mkdir(exist_ok=True)
        (folder / stray).write_bytes(b"stray")
    return folder


PUBLISHED = ["README.md", "config.json", "model.safetensors", "plots/montage.png", "preprocessor_config.json"]


def files_of(root: Path, repo: str) -> list[str]:
    folder = root / repo
    found = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return sorted(name for name in found if name != ".gitattributes")


def own_logits(folder: Path) -> np.ndarray:
    import torch

    from dlink_hf import MiCForEEGClassification

    with torch.inference_mode():
        return MiCForEEGClassification.from_pretrained(folder).eval()(torch.from_numpy(windows())).logits.numpy()


# --- what is published --------------------------------------------------------------------------------------------


def test_a_folder_becomes_one_commit_and_the_same_student(session: Session, root: Path, student: Path) -> None:
    before = {path: path.read_bytes() for path in student.rglob("*") if path.is_file()}
    commits = len(session.hub.commits)
    first = session.ask("publish", folder=str(student), repo_id="me/student")
    assert [c["repo"] for c in session.hub.commits[commits:]] == ["me/student"]
    assert files_of(root, "me/student") == PUBLISHED
    assert {path: path.read_bytes() for path in student.rglob("*") if path.is_file()} == before
    card = (root / "me/student/README.md").read_text()
    assert "from_pretrained('me/student')" in card and str(student) not in card
    np.testing.assert_allclose(session.ask("logits", name="me/student"), own_logits(student), rtol=1e-5, atol=1e-5)

    # the same again: nothing is uploaded; another bias: the weights alone
    uploads = len(session.hub.uploads)
    assert session.ask("publish", folder=str(student), repo_id="me/student") == first
    assert len(session.hub.uploads) == uploads and len(session.hub.commits) == commits + 1
    weights = load_file(student / "model.safetensors")
    weights["classifier.bias"] = weights["classifier.bias"] + 1
    save_file(weights, student / "model.safetensors", metadata={"format": "pt"})
    session.ask("publish", folder=str(student), repo_id="me/student", commit_message="Higher")
    assert session.hub.commits[-1]["operations"] == {"model.safetensors": "lfsFile"}
    assert len(session.hub.uploads) == uploads + 1
    now = np.array(session.ask("logits", name="me/student"))
    np.testing.assert_allclose(
        now, session.ask("logits", name="me/student", revision=first) + np.float32(1), atol=1e-5
    )


def test_what_users_wrote_in_the_card_stays(session: Session, root: Path, student: Path) -> None:
    session.ask("publish", folder=str(student), repo_id="me/card")
    path = root / "me/card/README.md"
    path.write_text(
        path.read_text().replace("license: apache-2.0", "license: mit\nlanguage: de") + "\nMy own words.\n"
    )
    session.ask("publish", folder=str(student), repo_id="me/card", tags=["sleep"])
    card = ModelCard(path.read_text())
    assert card.text.rstrip().endswith("My own words.") and card.data.language == "de" and "sleep" in card.data.tags
    assert card.text.count("# toy\n") == 1 and card.data.library_name == "dlink_hf"
    # marks that were broken are not guessed at
    path.write_text(path.read_text().replace("<!-- dlink_hf: end", "<!-- the end"))
    kept = path.read_bytes()
    with pytest.raises(ValueError, match="marks of the generated part.*Mend README.md of me/card"):
        session.ask("publish", folder=str(student), repo_id="me/card")
    assert path.read_bytes() == kept


def test_models_and_extractors_push_themselves(session: Session, root: Path, student: Path) -> None:
    session.ask("push", what="model", folder=str(student), repo_id="me/parts", private=True)
    assert files_of(root, "me/parts") == ["README.md", "config.json", "model.safetensors"]
    assert session.hub.settings("me/parts")["private"] is True
    card = (root / "me/parts/README.md").read_text()
    assert "# parts" in card and "from_pretrained('me/parts')" in card
    session.ask("push", what="extractor", folder=str(student), repo_id="me/parts")
    assert files_of(root, "me/parts") == [*files_of(root, "me/parts")[:3], "preprocessor_config.json"]
    assert (root / "me/parts/README.md").read_text() == card
    # a pull request leaves the branch alone; a branch of one's own is made
    main = sorted((root / "me/parts").rglob("*"))
    oid = session.ask("push", what="model", folder=str(student), repo_id="me/parts", create_pr=True, tags=["x"])
    assert sorted((root / "me/parts").rglob("*")) == main
    assert session.ask("logits", name="me/parts", revision="refs/pr/1") == session.ask(
        "logits", name="me/parts", revision=oid
    )
    session.ask("push", what="model", folder=str(student), repo_id="me/parts", revision="next", tags=["y"])
    session.ask("logits", name="me/parts", revision="next")
    assert "- y" not in card


@pytest.mark.parametrize(
    ("what", "class_name", "says"),
    [
        ("teacher", "DLinkTeacherForEEGClassification", "A teacher of"),
        ("router", "DLinkRouter", "A router of"),
        ("studio", "DLinkStudioModel", "A studio of"),
        ("backbone", "MiCModel", "without a head"),
    ],
)
def test_what_is_no_classifier_gets_a_card_of_its_own(
    session: Session, root: Path, what: str, class_name: str, says: str
) -> None:
    repo = f"me/{what}"
    session.ask("part", what=what, repo_id=repo)
    text = (root / repo / "README.md").read_text()
    assert f"# {what}" in text and says in text and f"model = {class_name}.from_pretrained({repo!r})" in text
    card = ModelCard(text)
    # whose weights they are is not known: no licence is claimed
    assert card.data.library_name == "dlink_hf" and card.data.license is None
    (root / repo / "README.md").write_text(text + "\nMine.\n")
    session.ask("part", what=what, repo_id=repo, tags=["again"])
    again = (root / repo / "README.md").read_text()
    assert again.endswith("\nMine.\n") and "- again" in again and again.count(says) == 1


def test_cards_of_teachers_and_general_students_name_where_they_lie_and_keep_what_users_write(
    session: Session, root: Path
) -> None:
    for name, command in (
        ("dlink-teacher-cbramod-4", "--teacher_checkpoint me/published"),
        ("dlink-mic-tiny", "--student me/published"),
    ):
        places = [PROJECT / "model_cards" / name, PROJECT / "dlink_hf" / "checkpoints" / name]
        folder = next(place for place in places if place.is_dir())
        repo = f"me/published-{name}"
        session.ask("publish", folder=str(folder), repo_id=repo)
        names, text = files_of(root, repo), (root / repo / "README.md").read_text()
        pictures = re.findall(r"!\[.*?\]\((.*?)\)", text)
        assert pictures and set(pictures) <= set(names)
        assert command.replace("me/published", repo) in text and f"'{repo}', ch_names=" in text
        changed = text.replace("license: other", "license: cc-by-4.0") + "\nMine.\n"
        (root / repo / "README.md").write_text(changed)
        session.ask("publish", folder=str(folder), repo_id=repo)
        assert (root / repo / "README.md").read_text().endswith("\nMine.\n")


def test_a_card_without_a_generated_part_never_replaces_the_one_on_the_hub(
    session: Session, root: Path, student: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "own"
    shutil.copytree(student, folder)
    (folder / "README.md").write_text("# My own words\n")
    session.ask("publish", folder=str(folder), repo_id="me/own")
    text = (root / "me/own/README.md").read_text()
    assert text.endswith("---\n# My own words\n") and ModelCard(text).data.tags == ["dlink_hf"]
    (root / "me/own/README.md").write_text("# Newer words, on the Hub\n")
    session.ask("publish", folder=str(folder), repo_id="me/own")
    assert (root / "me/own/README.md").read_text() == "# Newer words, on the Hub\n"


def test_a_trainer_tells_in_the_card_what_it_has_seen(session: Session, root: Path, tmp_path: Path) -> None:
    found = session.ask("train", folder=str(tmp_path / "run"), repo_id="me/trained")
    names = files_of(root, "me/trained")
    assert {"training_args.json", "preprocessor_config.json", "plots/confusion_matrix.png"} <= set(names)
    assert {"plots/loss_curves.png", "plots/montage.png"} <= set(names)
    text = (root / "me/trained/README.md").read_text()
    card = ModelCard(text)
    result = {(r.dataset_split, r.metric_type): r.metric_value for r in card.data.eval_results}
    score = found["scores"]["test_balanced_accuracy"]
    assert result["test", "balanced_accuracy"] == pytest.approx(score, abs=1e-6)
    assert "tones" in card.data.tags and card.data.eval_results[0].dataset_name == "tones"
    for line in (
        "| test | 24 | 2 |",
        "| teacher |",
        "| student |",
        "| spectral_weight |",
        "| train windows | 24 |",
        "| license | cc0-1.0 |",
        "By label (test):",
        "![Confusion matrix of the student (test windows)](plots/confusion_matrix.png)",
        "## What the router read",
        "from_pretrained('me/trained')",
    ):
        assert line in text, line
    assert str(tmp_path) not in text and "{{ " not in text and "n/a" not in text
    for name in names:
        assert TOKEN.encode() not in (root / "me/trained" / name).read_bytes()


# --- those who lack this package -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Python of an environment that has transformers and torch, but not this package."""
    folder = tmp_path_factory.mktemp("stranger")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    python = folder / "bin" / "python"
    where = "import sysconfig; print(sysconfig.get_path('purelib'))"
    packages = subprocess.run([python, "-c", where], check=True, capture_output=True, text=True).stdout.strip()
    # a path that a .pth file adds has its own .pth files ignored: the editable install stays out
    Path(packages, "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python


STRANGER = """
import importlib.util, json, sys
import numpy as np, torch
from transformers import AutoConfig, AutoModel, AutoModelForAudioClassification
assert importlib.util.find_spec("dlink_hf") is None
name, path = sys.argv[1:]
windows = torch.from_numpy(np.load(path))
found = {}
for auto in (AutoModel, AutoModelForAudioClassification):
    model = auto.from_pretrained(name, trust_remote_code=True).eval()
    with torch.inference_mode():
        found[auto.__name__] = model(windows).logits.tolist()
config = AutoConfig.from_pretrained(name, trust_remote_code=True)
print(json.dumps({"logits": found, "labels": config.id2label, "channels": config.ch_names}))
model.save_pretrained(path + "-again")
"""


def test_a_student_loads_where_the_package_is_not(
    session: Session, root: Path, student: Path, stranger: Path, tmp_path: Path
) -> None:
    session.ask("publish", folder=str(student), repo_id="me/travels", remote_code=True)
    config = json.loads((root / "me/travels/config.json").read_text())
    assert config["auto_map"]["AutoModel"] == "modeling_mic.MiCForEEGClassification"
    np.save(tmp_path / "windows.npy", windows())
    environment = session.hub.environment(tmp_path / "home", HF_MODULES_CACHE=str(tmp_path / "modules"))
    environment.pop("PYTHONPATH", None)
    done = subprocess.run(
        [stranger, "-c", STRANGER, "me/travels", str(tmp_path / "windows.npy")],
        capture_output=True, text=True, env=environment, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(done.stdout.splitlines()[-1])
    for logits in told["logits"].values():
        np.testing.assert_allclose(logits, own_logits(student), atol=1e-6)
    assert list(told["labels"].values()) == ["rest", "task"] and told["channels"] == ["C3", "Cz", "C4", "Pz"]
    # a repository with code keeps it; and with the package, the package's own classes are taken
    session.ask("publish", folder=str(student), repo_id="me/travels", commit_message="again")
    assert "modeling_mic.py" in files_of(root, "me/travels")
    np.testing.assert_allclose(session.ask("logits", name="me/travels"), own_logits(student), rtol=1e-5, atol=1e-5)
    # a local copy that lost its code is published without the mention of it
    other = tmp_path / "copy"
    other.mkdir()
    for name in ("config.json", "model.safetensors"):
        (other / name).write_bytes((root / "me/travels" / name).read_bytes())
    session.ask("publish", folder=str(other), repo_id="me/settled")
    assert "auto_map" not in json.loads((root / "me/settled/config.json").read_text())


# --- what goes wrong ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("repo", "token", "message"),
    [
        ("you/theirs", None, "may not write to you/theirs.*role `write`.*Nothing was published"),
        ("me/read-only", "hf_readsAlone0123", "may not write to me/read-only.*Nothing was published"),
        ("me/nobody", "hf_nobodysToken0123", "token is missing, wrong or expired.*hf auth login"),
        ("me/not a name", None, "'me/not a name' is not a name for a repository: give `user/name`"),
        ("me//x", None, "not a name for a repository"),
    ],
)
def test_who_may_not_publish_is_told_what_to_do(
    session: Session, root: Path, student: Path, repo: str, token: str | None, message: str
) -> None:
    with pytest.raises((OSError, ValueError), match=message) as caught:
        session.ask("publish", folder=str(student), repo_id=repo, token=token)
    assert "hf_" not in str(caught.value).replace("hf auth", "")
    assert not (root / repo / "model.safetensors").exists()


def test_a_repository_private_to_another_is_not_written_to(session: Session, student: Path) -> None:
    session.ask("publish", folder=str(student), repo_id="you/private", token="hf_belongsToYou0123", private=True)
    with pytest.raises(OSError, match="you/private"):
        session.ask("publish", folder=str(student), repo_id="you/private")
    with pytest.raises(OSError, match=r"neither a folder here nor a repository|not a local folder"):
        session.ask("logits", name="you/private")


def test_what_is_no_checkpoint_is_not_published(session: Session, tmp_path: Path, student: Path) -> None:
    with pytest.raises(FileNotFoundError, match="is not a folder"):
        session.ask("publish", folder=str(tmp_path / "none"), repo_id="me/none")
    with pytest.raises(FileNotFoundError, match=r"neither config.json nor preprocessor_config.json"):
        session.ask("publish", folder=str(tmp_path), repo_id="me/none")
    (tmp_path / "config.json").write_text('{"model_type": "dlink_teacher"}')
    with pytest.raises(ValueError, match=r"holds a model of type 'dlink_teacher'. Code can travel only with"):
        session.ask("publish", folder=str(tmp_path), repo_id="me/none", remote_code=True)


def test_a_hub_that_stumbles_is_asked_again(session: Session, root: Path, student: Path) -> None:
    session.hub.answer("POST", "/preupload/", 500, times=2)
    session.hub.answer("POST", "/commit/", 429, {"Retry-After": "0"})
    session.ask("publish", folder=str(student), repo_id="me/stumbles")
    assert files_of(root, "me/stumbles") == PUBLISHED


def test_an_upload_that_breaks_off_leaves_the_repository_as_it_was(
    session: Session, root: Path, student: Path, tmp_path: Path
) -> None:
    session.ask("publish", folder=str(student), repo_id="me/cut")
    before = {name: (root / "me/cut" / name).read_bytes() for name in files_of(root, "me/cut")}
    changed = tmp_path / "changed"
    changed.mkdir()
    for name in ("config.json", "README.md", "model.safetensors"):
        (changed / name).write_bytes((student / name).read_bytes())
    weights = load_file(student / "model.safetensors")
    save_file(
        {k: np.array(v + 1) for k, v in weights.items()}, changed / "model.safetensors", metadata={"format": "pt"}
    )
    # refused for good: by the storage of large files, then by the commit itself
    session.hub.answer("PUT", "/lfs/", 400)
    with pytest.raises(OSError, match="Nothing was published"):
        session.ask("publish", folder=str(changed), repo_id="me/cut")
    session.hub.answer("POST", "/commit/", 412)
    with pytest.raises(OSError, match="somebody else changed me/cut in the meantime. Push again"):
        session.ask("publish", folder=str(changed), repo_id="me/cut")
    assert {name: (root / "me/cut" / name).read_bytes() for name in files_of(root, "me/cut")} == before
    # cut in the middle of the weights, once: the client sends them anew
    weights = {k: np.array(v + 2) for k, v in weights.items()}
    save_file(weights, changed / "model.safetensors", metadata={"format": "pt"})
    session.hub.cut_upload("/lfs/", after=1000)
    session.ask("publish", folder=str(changed), repo_id="me/cut")
    assert (root / "me/cut/model.safetensors").read_bytes() == (changed / "model.safetensors").read_bytes()


# --- the command ----------------------------------------------------------------------------------------------------


def dlink(session: Session, home: Path, *words: str, **variables: str) -> subprocess.CompletedProcess:
    environment = session.hub.environment(home, HF_TOKEN=TOKEN, **variables)
    command = [
        sys.executable,
        "-W",
        "ignore",
        "-c",
        "import sys; from dlink_hf.commands import main; sys.exit(main())",
    ]
    return subprocess.run([*command, *words], capture_output=True, text=True, env=environment, cwd=home)


def test_the_commands_push_list_and_pull(session: Session, root: Path, student: Path, tmp_path: Path) -> None:
    done = dlink(session, tmp_path, "push", str(student), "me/commanded", "--remote_code")
    assert done.returncode == 0, done.stderr
    assert "published" in done.stdout and "/me/commanded/commit/" in done.stdout
    done = dlink(session, tmp_path, "models", "--author", "me", "--search", "commanded", "--json")
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(done.stdout)
    from toy_training import toy_student

    count = sum(parameter.numel() for parameter in toy_student().parameters())
    assert (row["name"], row["parameters"], row["channels"]) == ("me/commanded", count, 4)
    assert row["classes"] == ["rest", "task"] and row["balanced accuracy"] is None
    done = dlink(session, tmp_path, "pull", "me/commanded", "here")
    assert done.returncode == 0, done.stderr
    assert {"config.json", "model.safetensors", "plots/montage.png", "modeling_mic.py"} <= set(
        files_of(tmp_path, "here")
    )
    np.testing.assert_allclose(own_logits(tmp_path / "here"), own_logits(student), rtol=1e-5, atol=1e-5)
    # without the Hub: what is here
    done = dlink(session, tmp_path, "models", "--offline")
    assert done.returncode == 0 and "dlink-mic-small" in done.stdout
    done = dlink(session, tmp_path, "push", str(student), "me/again", HF_HUB_OFFLINE="1")
    assert done.returncode == 1 and "HF_HUB_OFFLINE is set" in done.stderr
    for words, message in (
        (["push", str(student)], "dlink push DIR user/name"),
        (["pull", "me/nothing-there"], "me/nothing-there is neither a folder here nor a repository"),
    ):
        done = dlink(session, tmp_path, *words)
        assert done.returncode == 1 and message in done.stderr and "Traceback" not in done.stderr
        assert TOKEN not in done.stdout + done.stderr


def test_a_full_disk_or_damaged_weights_leave_no_half_student(
    session: Session, root: Path, student: Path, tmp_path: Path
) -> None:
    session.ask("publish", folder=str(student), repo_id="me/pulled")
    small = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096)); "
    code = f"{small}import sys, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
    code += "from dlink_hf.commands import main; sys.exit(main())"
    environment = session.hub.environment(tmp_path / "full", HF_TOKEN=TOKEN)
    words = [sys.executable, "-W", "ignore", "-c", code, "pull", "me/pulled", str(tmp_path / "there")]
    done = subprocess.run(words, capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    assert not (tmp_path / "there").exists() or not list((tmp_path / "there").iterdir())


def test_damaged_weights_are_never_computed_with(session: Session, student: Path, tmp_path: Path) -> None:
    session.ask("publish", folder=str(student), repo_id="me/damaged")
    session.hub.damage("model.safetensors", shorten=False)
    with pytest.raises(OSError, match="me/damaged: its weights arrived damaged"):
        session.ask("logits", name="me/damaged", cache_dir=str(tmp_path / "cache"))
    # a bit in the middle of the weights, which still are a safetensors file
    session.ask("logits", name="me/damaged", cache_dir=str(tmp_path / "other"))
    (blob,) = (path for path in (tmp_path / "other").rglob("blobs/*") if len(path.name) == 64)
    content = bytearray(blob.read_bytes())
    content[-5] ^= 64
    blob.write_bytes(content)
    with pytest.raises(OSError, match="me/damaged: its weights arrived damaged.*force_download=True"):
        session.ask("logits", name="me/damaged", cache_dir=str(tmp_path / "other"))
    session.ask("logits", name="me/damaged", cache_dir=str(tmp_path / "other"), force_download=True)


def test_a_finetuning_that_publishes_its_checkpoints_leaves_no_token(
    session: Session, root: Path, tmp_path: Path
) -> None:
    written = session.ask("finetune", folder=str(tmp_path), repo_id="me/tuned", token=TOKEN)
    assert {"checkpoint-4/training_args.json", "checkpoint-4/optimizer.pt"} <= set(written)
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and TOKEN.encode() in path.read_bytes()]
    names = files_of(root, "me/tuned")
    assert {"config.json", "model.safetensors", "training_args.json"} <= set(names)
    assert not [name for name in names if name.endswith((".bin", ".pt", ".pth"))]
    assert session.hub.find(TOKEN) == []


def test_no_token_is_anywhere(session: Session) -> None:
    for token in session.hub.tokens:
        assert session.hub.find(token) == []


if __name__ == "__main__":
    answer_requests(answer)
