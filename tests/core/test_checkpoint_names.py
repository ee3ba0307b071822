# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Short names: a folder, a packaged checkpoint, or one on the Hub; asked in a process, next to a Hub on loopback."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from fake_hub.process import HubProcess, answer_requests
from fake_hub.server import HubServer

import dlink_hf
from dlink_hf import EEGFeatureExtractor, MiCConfig, MiCForEEGClassification, MiCModel, resolve_checkpoint
from dlink_hf.core.checkpoint_names import HUB_ORG, KNOWN_CHECKPOINTS, packaged_checkpoints


ROOT = Path(__file__).resolve().parents[2]
NAMES = ["C3", "Cz", "C4"]
PATHS = [
    "/etc/passwd",
    "a/../../b",
    "../x",
    "dlink-mic-small/",
    "dlink-mic-small/../../..",
    "./dlink-mic-small",
    "./x",
]


def save(folder: Path, mark: float, **fields: Any) -> Path:
    """A tiny student of random weights that can be told from others by its mark; with labels it has a head."""
    config = MiCConfig.from_size("tiny", ch_names=NAMES, n_times=400, **fields)
    model = MiCForEEGClassification(config) if fields else MiCModel(config)
    (model.mic if fields else model).compressor.spatial_log_width.data.fill_(mark)
    model.save_pretrained(folder)
    EEGFeatureExtractor(n_times=400, stride=int(200 * mark)).save_pretrained(folder)
    return folder


class Session(HubProcess):
    """A copy of the package with checkpoints in it, a Hub, and a process that knows only these two."""

    def __init__(self, root: Path):
        self.package, self.here, hub_folder = root / "site" / "dlink_hf", root / "here", root / "hub"
        shutil.copytree(
            ROOT / "dlink_hf", self.package, ignore=lambda folder, names: {"__pycache__", "checkpoints"} & set(names)
        )
        packaged = self.package / "checkpoints"
        labels = {"id2label": {0: "rest", 1: "task"}}
        save(packaged / "dlink-mic-small", 1.0)
        save(packaged / "dlink-mic-small-eegmat", 2.0, **labels)
        save(packaged / "dlink-mic-small-eyes_gnb", 3.0, **labels)
        save(self.here / "dlink-mic-small-eyes_gnb", 4.0, **labels)
        save(hub_folder / HUB_ORG / "dlink-mic-base", 5.0)
        save(hub_folder / HUB_ORG / "dlink-mic-small", 6.0)
        save(hub_folder / HUB_ORG / "dlink-mic-small@v1", 7.0)
        save(hub_folder / HUB_ORG / "dlink-mic-small" / "inside", 8.0)
        save(hub_folder / HUB_ORG / "dlink-mic-tiny", 9.0)
        save(hub_folder / "others" / "dlink-mic-base", 10.0)
        save(root / "outside", 11.0)
        (packaged / "dlink-mic-base").symlink_to(root / "outside")
        (packaged / "notes").mkdir()
        teacher = "dlink-teacher-cbramod-4"
        shutil.copytree(ROOT / "dlink_hf/checkpoints" / teacher, hub_folder / HUB_ORG / teacher)
        hub = HubServer(hub_folder, private=[f"{HUB_ORG}/dlink-mic-tiny"], token="hf_right")
        paths = os.pathsep.join([str(self.package.parent), str(ROOT / "tests")])
        super().__init__(hub, __file__, root / "home", self.here, PYTHONPATH=paths)

    def ask(self, action: str, *words: Any, **arguments: Any) -> dict[str, Any]:
        """What the process answers: see `answer`."""
        return self.request([action, words, arguments])


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    """One process and one Hub for all tests; the last test takes the Hub away."""
    running = Session(tmp_path_factory.mktemp("names"))
    yield running
    running.close()


# --- names --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*PATHS, "user/name", Path("dlink-mic-small"), Path("/tmp")])
def test_paths_and_full_names_are_handed_on(name: str | Path) -> None:
    assert resolve_checkpoint(name) == os.fspath(name) == resolve_checkpoint(name, revision="v1")


@pytest.mark.parametrize(
    "name", ["", "  ", "a\0b", "..x", "a..b", "my model", "-x", ".hidden", "a\nb", "dlink-mic-small\n"]
)
def test_what_is_no_name_is_an_error_that_lists_the_known_ones(name: str) -> None:
    with pytest.raises(ValueError, match="Known names: dlink-mic-tiny, .*dlink-teacher-cbramod-4"):
        resolve_checkpoint(name)


def test_another_type_is_an_error() -> None:
    with pytest.raises(TypeError, match="named by text or a path, got int: 3"):
        resolve_checkpoint(3)


def test_unpackaged_names_are_those_of_the_organisation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DLINK_HUB_ORG", raising=False)
    for name in {*KNOWN_CHECKPOINTS, "anything"} - set(packaged_checkpoints()):
        assert resolve_checkpoint(name) == f"{HUB_ORG}/{name}"
    monkeypatch.setenv("DLINK_HUB_ORG", "others")
    assert resolve_checkpoint("anything") == "others/anything"
    for organisation in ("../x", "/tmp", "a/b", ".."):
        monkeypatch.setenv("DLINK_HUB_ORG", organisation)
        with pytest.raises(ValueError, match="DLINK_HUB_ORG must be the name"):
            resolve_checkpoint("anything")


def test_what_is_packaged_is_known_and_small() -> None:
    assert set(packaged_checkpoints()) <= set(KNOWN_CHECKPOINTS)
    assert "dlink-teacher-cbramod-4" in packaged_checkpoints()
    for name, folder in packaged_checkpoints().items():
        files = {path.name: path.stat().st_size for path in folder.iterdir()}
        assert {"model.safetensors", "config.json", "README.md"} <= set(files)
        # a teacher takes windows of any montage, and brings no extractor of its own
        is_teacher = "teacher" in name
        assert is_teacher or "preprocessor_config.json" in files
        assert sum(files.values()) < (4_000_000 if is_teacher else 800_000)


def test_without_a_network_the_known_names_are_listed(tmp_path: Path) -> None:
    expected = r"'dlink-mic-smal' was looked for on the Hub as .*/dlink-mic-smal: there is no such folder here.*Known"
    for loader in (MiCModel, MiCForEEGClassification, MiCConfig, EEGFeatureExtractor):
        with pytest.raises(OSError, match=f"{expected} names: dlink-mic-tiny"):
            loader.from_pretrained("dlink-mic-smal", cache_dir=tmp_path)


def test_a_config_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="holds no config.json"):
        MiCConfig.from_pretrained(tmp_path)


# --- packaged checkpoints and the Hub -----------------------------------------------------------------------------


def test_a_packaged_checkpoint_needs_no_network(session: Session) -> None:
    packaged = session.package / "checkpoints" / "dlink-mic-small"
    assert session.ask("resolve", "dlink-mic-small") == {"value": str(packaged)}
    answer = session.ask("load", "MiCModel", "dlink-mic-small")
    assert answer == {"type": "MiCModel", "file": str(session.package / "__init__.py"), "mark": 1.0, "log": ""}
    assert session.ask("load", "MiCConfig", "dlink-mic-small")["n_times"] == 400
    assert session.ask("load", "EEGFeatureExtractor", "dlink-mic-small")["mark"] == 1.0
    assert session.ask("load", "AutoModelForEEGClassification", "dlink-mic-small-eegmat")["mark"] == 2.0
    assert session.ask("load", "MiCModel", str(packaged))["mark"] == 1.0
    assert session.hub.requests == []


@pytest.mark.parametrize("loader", ["MiCForEEGClassification", "AutoModelForEEGClassification"])
def test_a_backbone_gets_a_new_head_without_a_warning(session: Session, loader: str) -> None:
    fields = {"num_labels": 3, "ch_names": ["Fp1", "Fp2", "O1", "Oz"]}
    answer = session.ask("load", loader, "dlink-mic-small", **fields)
    assert (answer["mark"], answer["labels"], answer["ch_names"]) == (1.0, 3, fields["ch_names"])
    assert answer["logits"] == [2, 3] and answer["log"] == ""


def test_a_folder_here_comes_first(session: Session) -> None:
    assert session.ask("load", "MiCForEEGClassification", "dlink-mic-small-eyes_gnb")["mark"] == 4.0
    (session.here / "dlink-mic-small-eegmat").mkdir()
    answer = session.ask("load", "MiCForEEGClassification", "dlink-mic-small-eegmat")
    (session.here / "dlink-mic-small-eegmat").rmdir()
    assert "holds no config.json" in answer["message"]
    assert "'dlink-mic-small-eegmat' here comes before the published checkpoint" in answer["message"]


def test_no_name_leads_out_of_the_packaged_checkpoints(session: Session) -> None:
    for name in PATHS:
        assert session.ask("resolve", name) == {"value": name}
    for name in ("..", "."):  # folders as any others: seen from here, not from the packaged checkpoints
        assert session.ask("resolve", name) == {"value": name}
    for name in ("dlink-mic-base", "notes"):  # a link, and a folder without a checkpoint
        assert session.ask("resolve", name) == {"value": f"{HUB_ORG}/{name}"}
    for name in ("dlink-mic-small/../../..", "dlink-mic-small/../dlink-mic-small-eegmat"):
        assert session.ask("load", "MiCModel", name)["error"] == "OSError"
    assert "error" in session.ask("load", "MiCModel", "dlink-mic-small", subfolder="../../..")


def test_names_that_are_not_packaged_come_from_the_hub(session: Session, tmp_path: Path) -> None:
    before = len(session.hub.requests)
    assert session.ask("load", "MiCModel", "dlink-mic-base", cache_dir=str(tmp_path))["mark"] == 5.0
    assert len(session.hub.requests) > before
    kept = {"cache_dir": str(tmp_path), "local_files_only": True}
    assert session.ask("load", "MiCModel", "dlink-mic-base", **kept)["mark"] == 5.0
    assert session.ask("load", "EEGFeatureExtractor", "dlink-mic-base")["mark"] == 5.0
    assert session.ask("load", "MiCModel", "dlink-mic-base", org="others")["mark"] == 10.0
    refused = session.ask("load", "MiCModel", "dlink-mic-tiny")
    assert refused["error"] == "OSError" and "pass a token" in refused["message"]
    assert session.ask("load", "MiCModel", "dlink-mic-tiny", token="hf_right")["mark"] == 9.0
    empty = session.ask("load", "MiCModel", "dlink-mic-base", local_files_only=True, cache_dir=str(tmp_path / "other"))
    assert (
        empty["error"] == "OSError" and "Known names: dlink-mic-tiny, dlink-mic-small (packaged)" in empty["message"]
    )


def test_a_revision_or_a_subfolder_of_a_packaged_name_is_the_hubs(session: Session) -> None:
    for loader in ("MiCModel", "EEGFeatureExtractor"):
        assert session.ask("load", loader, "dlink-mic-small", revision="v1")["mark"] == 7.0
        assert session.ask("load", loader, "dlink-mic-small", revision="main")["mark"] == 6.0
        assert session.ask("load", loader, "dlink-mic-small", subfolder="inside")["mark"] == 8.0
    answer = session.ask("load", "AutoModelForEEGClassification", "dlink-mic-small", revision="v1", num_labels=2)
    assert (answer["mark"], answer["log"]) == (7.0, "")
    missing = session.ask("load", "MiCModel", "dlink-mic-small", revision="v9")
    assert missing["error"] == "OSError" and "v9" in missing["message"]
    assert "a packaged copy has neither revisions nor subfolders" in missing["message"]


@pytest.mark.slow
def test_the_teacher_has_a_short_name_too(session: Session) -> None:
    answer = session.ask("load", "DLinkTeacherForEEGClassification", "dlink-teacher-cbramod-4", num_labels=3)
    assert (answer["type"], answer["labels"], answer["log"]) == ("DLinkTeacherForEEGClassification", 3, "")


@pytest.mark.parametrize("loader", ["MiCModel", "EEGFeatureExtractor", "DLinkTeacherModel", "load_classifier"])
def test_an_unknown_name_lists_the_known_ones(session: Session, loader: str) -> None:
    answer = session.ask("load", loader, "dlink-mic-smal")
    assert answer["error"] == "OSError"
    assert f"'dlink-mic-smal' was looked for on the Hub as {HUB_ORG}/dlink-mic-smal" in answer["message"]
    assert all(name in answer["message"] for name in KNOWN_CHECKPOINTS)


# --- commands -----------------------------------------------------------------------------------------------------


def test_commands_take_short_names(session: Session, tmp_path: Path) -> None:
    info = session.ask("command", "info", "dlink-mic-small-eegmat")
    assert info["status"] == 0 and "rest, task" in info["out"]
    assert "none yet: a backbone" in session.ask("command", "info", "dlink-mic-small")["out"]
    recording = dlink_hf.make_synthetic_recordings(n_subjects=1, n_trials=2, seed=9, progress=False)[0]
    recording.save(tmp_path / "recording_raw.fif", verbose="ERROR")
    words = ["predict", str(tmp_path / "recording_raw.fif"), "--output", str(tmp_path / "out.csv"), "--model"]
    assert session.ask("command", *words, "dlink-mic-small-eegmat")["status"] == 0
    assert (tmp_path / "out.csv").read_text().startswith("onset,label,p_rest,p_task,reason\n")


def test_a_backbone_predicts_nothing(session: Session) -> None:
    answer = session.ask("load", "load_classifier", "dlink-mic-small")
    assert answer["error"] == "ValueError" and "dlink finetune --student" in answer["message"]


@pytest.mark.slow
def test_a_packaged_student_is_fine_tuned(session: Session, tmp_path: Path) -> None:
    words = ["finetune", "--student", "dlink-mic-small", "--dataset", "synthetic", "--output_dir", str(tmp_path)]
    answer = session.ask("command", *words, "--num_train_epochs", "1", "--use_cpu")
    assert answer["status"] == 0 and (tmp_path / "student" / "model.safetensors").is_file(), answer


def test_without_the_hub_the_packaged_names_still_load(session: Session) -> None:
    session.stop_hub()
    assert session.ask("load", "MiCModel", "dlink-mic-small")["mark"] == 1.0


@pytest.mark.slow  # the client tries again and again
def test_without_the_hub_a_name_of_the_hub_is_an_error(session: Session, tmp_path: Path) -> None:
    session.stop_hub()
    answer = session.ask("load", "MiCModel", "dlink-mic-tiny", cache_dir=str(tmp_path))
    assert answer["error"] == "OSError" and "Known names:" in answer["message"]


# --- the process that is asked ------------------------------------------------------------------------------------


def load(loader: str, name: str, org: str | None = None, **arguments: Any) -> dict[str, Any]:
    """Load a checkpoint, and say what it is."""
    log = io.StringIO()
    handler = logging.StreamHandler(log)
    os.environ.update({} if org is None else {"DLINK_HUB_ORG": org})
    for library in ("transformers", "dlink_hf"):
        logging.getLogger(library).addHandler(handler)
    try:
        thing = getattr(dlink_hf, loader)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            loaded = (thing if loader == "load_classifier" else thing.from_pretrained)(name, **arguments)
    except (OSError, ValueError) as error:
        return {"error": type(error).__name__, "message": str(error)}
    finally:
        os.environ.pop("DLINK_HUB_ORG", None)
        for library in ("transformers", "dlink_hf"):
            logging.getLogger(library).removeHandler(handler)
    # what libraries tell developers is not shown to users
    shown = [str(warning.message) for warning in caught if not issubclass(warning.category, DeprecationWarning)]
    said = log.getvalue() + "".join(shown)
    facts = {"type": type(loaded).__name__, "file": dlink_hf.__file__, "log": said}
    if isinstance(loaded, EEGFeatureExtractor):
        return {**facts, "mark": loaded.stride / 200}
    if isinstance(loaded, MiCConfig):
        return {**facts, "n_times": loaded.n_times}
    marks = [value for key, value in loaded.state_dict().items() if key.endswith("spatial_log_width")]
    facts.update({"mark": marks[0][0].item()} if marks else {})
    if loader == "MiCModel":
        return facts
    config = loaded.config
    logits = loaded(torch.randn(2, len(config.ch_names), config.n_times)).logits
    return {**facts, "labels": config.num_labels, "ch_names": config.ch_names, "logits": list(logits.shape)}


def run_command(*words: str) -> dict[str, Any]:
    """Run a `dlink` command, and say what it said."""
    from dlink_hf.commands import main

    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        status = main(list(words))
    return {"status": status, "out": out.getvalue()}


def answer(question: list[Any]) -> dict[str, Any]:
    """Do what is asked: an action, its words and its arguments."""
    action, words, arguments = question
    actions = {"load": load, "command": run_command, "resolve": lambda name: {"value": resolve_checkpoint(name)}}
    return actions[action](*words, **arguments)


if __name__ == "__main__":
    answer_requests(answer)
