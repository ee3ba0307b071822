# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""The test Hub as the real `huggingface_hub` client sees it: what is written is read, what may not be is refused."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from fake_hub.process import ClientError, HubProcess, answer_requests, ask_client
from fake_hub.server import HubServer


CARD = "---\nlicense: apache-2.0\ntags: [eeg]\nlibrary_name: transformers\n---\n# A student\n"
PART = 100_000


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the Hub."""
    return tmp_path_factory.mktemp("hub")


@pytest.fixture(scope="module")
def session(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubProcess]:
    """One process and one Hub for all tests; the last test takes the Hub away."""
    hub = HubServer(
        root,
        token="hf_mine",
        tokens={"hf_reads": ("me", "read"), "hf_yours": ("you", "write")},
        organizations={"lab": ["me"]},
        part_size=PART,
    )
    home = tmp_path_factory.mktemp("home")
    running = HubProcess(hub, __file__, home, HF_TOKEN="hf_mine", HF_HUB_DISABLE_PROGRESS_BARS="1")
    yield running
    running.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A checkpoint: small files, a large one, and a folder."""
    folder = tmp_path / "checkpoint"
    (folder / "more").mkdir(parents=True)
    (folder / "README.md").write_text(CARD)
    (folder / "config.json").write_text('{"n_times": 400}')
    (folder / "model.safetensors").write_bytes(bytes(range(256)) * 40)
    (folder / "more/notes.txt").write_text("one")
    return folder


@pytest.fixture
def repo(session: HubProcess, folder: Path, request: pytest.FixtureRequest) -> str:
    """A repository of its own for the test, which holds the checkpoint."""
    name = "me/" + re.sub(r"[^a-z0-9]+", "-", request.node.name).strip("-")[:80]
    session.call("create_repo", repo_id=name)
    session.call("upload_folder", repo_id=name, folder_path=str(folder))
    return name


def read(session: HubProcess, repo: str, path: str, **arguments: Any) -> str:
    """A file as the client downloads it."""
    return Path(session.call("hf_hub_download", repo_id=repo, filename=path, **arguments)).read_text()


def write(tmp_path: Path, text: str) -> str:
    (tmp_path / "written.txt").write_text(text)
    return str(tmp_path / "written.txt")


def head(session: HubProcess, repo: str, **arguments: Any) -> str:
    return session.call("model_info", repo_id=repo, **arguments)["sha"]


# --- repositories -------------------------------------------------------------------------------------------------


def test_a_repository_is_made_once(session: HubProcess) -> None:
    made = session.call("create_repo", repo_id="me/once", private=True)
    assert made["repo_id"] == "me/once"
    with pytest.raises(ClientError, match="409.*You already created this model repo"):
        session.call("create_repo", repo_id="me/once")
    assert session.call("create_repo", repo_id="me/once", exist_ok=True) == made
    assert session.call("list_repo_files", repo_id="me/once") == [".gitattributes"]
    assert session.call("model_info", repo_id="me/once")["private"] is True
    session.call("create_repo", repo_id="lab/once")
    session.call("create_repo", repo_id="me/once", repo_type="dataset")
    session.call("delete_repo", repo_id="me/once")
    assert not session.call("repo_exists", repo_id="me/once")
    assert session.call("repo_exists", repo_id="me/once", repo_type="dataset")


@pytest.mark.parametrize(
    ("name", "token", "message"),
    [
        ("you/mine", "hf_mine", '403.*have the rights to create a model under the namespace "you"'),
        ("me/new", "hf_reads", '403.*have the rights to create a model under the namespace "me"'),
        ("me/new", False, "401.*Invalid username or password"),
        ("me/new", "hf_nobodys", "401.*Invalid username or password"),
    ],
)
def test_who_may_not_make_one_is_told(session: HubProcess, name: str, token: Any, message: str) -> None:
    with pytest.raises(ClientError, match=message):
        session.call("create_repo", repo_id=name, token=token)
    assert not session.call("repo_exists", repo_id=name)


@pytest.mark.parametrize("name", ["a--b", "a b", ".a", "a.git", "../a", ""])
def test_what_is_no_name_is_refused(session: HubProcess, name: str) -> None:
    body = json.dumps({"name": name, "type": "model"}).encode()
    asked = Request(f"{session.hub.url}/api/repos/create", body, {"Authorization": "Bearer hf_mine"})
    with pytest.raises(HTTPError, match="400"):
        urlopen(asked)


def test_whoami_tells_user_role_and_organizations(session: HubProcess) -> None:
    answer = session.call("whoami", token="hf_reads")
    assert (answer["name"], answer["auth"]["accessToken"]["role"]) == ("me", "read")
    assert [each["name"] for each in answer["orgs"]] == ["lab"]
    with pytest.raises(ClientError, match="401.*Invalid user token"):
        session.call("whoami", token="hf_nobodys")


def test_a_moved_repository_answers_to_both_names(session: HubProcess, repo: str) -> None:
    before = head(session, repo)
    session.call("move_repo", from_id=repo, to_id="lab/moved")
    assert head(session, "lab/moved") == head(session, repo) == before
    assert read(session, repo, "more/notes.txt") == "one"
    with pytest.raises(ClientError, match="409"):
        session.call("move_repo", from_id="lab/moved", to_id="lab/moved")
    with pytest.raises(ClientError, match="403"):
        session.call("move_repo", from_id="lab/moved", to_id="you/moved")


def test_private_ones_are_not_there_for_others(session: HubProcess, repo: str) -> None:
    session.call("update_repo_settings", repo_id=repo, private=True)
    for token in ("hf_yours", False):
        assert not session.call("repo_exists", repo_id=repo, token=token)
        with pytest.raises(ClientError, match="RepositoryNotFoundError 40[14]"):
            session.call("hf_hub_download", repo_id=repo, filename="config.json", token=token)
        found = session.call("list_models", author="me", token=token)
        assert repo not in [each["id"] for each in found]
    assert session.call("auth_check", repo_id=repo, token="hf_reads") is None
    session.call("update_repo_settings", repo_id=repo, visibility="public")
    assert session.call("file_exists", repo_id=repo, filename="config.json", token=False)


def test_gated_ones_show_no_files(session: HubProcess, repo: str) -> None:
    session.call("update_repo_settings", repo_id=repo, gated="manual")
    assert session.call("model_info", repo_id=repo, token="hf_yours")["gated"] == "manual"
    with pytest.raises(ClientError, match="GatedRepoError 403"):
        session.call("hf_hub_download", repo_id=repo, filename="config.json", token="hf_yours")
    assert read(session, repo, "config.json")


def test_models_and_datasets_are_listed(session: HubProcess, repo: str, folder: Path) -> None:
    found = session.call("list_models", author="me", search="are-listed", filter="license:apache-2.0")
    assert [(each["id"], each["library_name"]) for each in found] == [(repo, "transformers")]
    assert not session.call("list_models", author="me", search="are-listed", filter="license:mit")
    assert len(session.call("list_models", author="me", limit=1)) == 1
    session.call("create_repo", repo_id="lab/rest", repo_type="dataset")
    session.call("upload_folder", repo_id="lab/rest", folder_path=str(folder), repo_type="dataset")
    assert [each["id"] for each in session.call("list_datasets", author="lab")] == ["lab/rest"]
    assert read(session, "lab/rest", "more/notes.txt", repo_type="dataset") == "one"
    info = session.call("dataset_info", repo_id="lab/rest", files_metadata=True)
    assert info["tags"] == ["eeg", "transformers", "license:apache-2.0"]
    large = {each["rfilename"]: each["size"] for each in info["siblings"] if each["lfs"]}
    assert large == {"model.safetensors": 256 * 40}


# --- files --------------------------------------------------------------------------------------------------------


def test_only_what_changed_is_sent(session: HubProcess, repo: str, folder: Path, root: Path) -> None:
    hub, first = session.hub, head(session, repo)
    assert {path.name for path in (root / repo).iterdir()} == {
        *(path.name for path in folder.iterdir()),
        ".gitattributes",
    }
    uploads, commits = len(hub.uploads), len(hub.commits)
    assert hub.commits[-1]["operations"]["model.safetensors"] == "lfsFile"
    assert hub.commits[-1]["operations"]["config.json"] == "file"
    assert session.call("upload_folder", repo_id=repo, folder_path=str(folder))["oid"] == first
    assert (len(hub.uploads), len(hub.commits)) == (uploads, commits)
    (folder / "config.json").write_text("{}")
    session.call("upload_folder", repo_id=repo, folder_path=str(folder))
    assert hub.commits[-1]["operations"] == {"config.json": "file"} and len(hub.uploads) == uploads
    weights = b"\1" * 500
    (folder / "model.safetensors").write_bytes(weights)
    session.call("upload_folder", repo_id=repo, folder_path=str(folder))
    assert hub.commits[-1]["operations"] == {"model.safetensors": "lfsFile"}
    assert [(each.repo, each.size, each.whole) for each in hub.uploads[uploads:]] == [(repo, 500, True)]
    assert (root / repo / "model.safetensors").read_bytes() == weights
    # an object that was there before is not sent again
    (folder / "model.safetensors").write_bytes(bytes(range(256)) * 40)
    session.call("upload_folder", repo_id=repo, folder_path=str(folder))
    assert len(hub.uploads) == uploads + 1


def test_large_objects_may_come_in_parts(session: HubProcess, repo: str, tmp_path: Path) -> None:
    before, data = len(session.hub.uploads), b"0123456789" * 25_000
    (tmp_path / "large.bin").write_bytes(data)
    session.call("upload_file", repo_id=repo, path_or_fileobj=str(tmp_path / "large.bin"), path_in_repo="large.bin")
    assert [each.size for each in session.hub.uploads[before:]] == [PART, PART, len(data) - 2 * PART]
    path = session.call("hf_hub_download", repo_id=repo, filename="large.bin")
    assert Path(path).read_bytes() == data


def test_every_revision_stays(session: HubProcess, repo: str, tmp_path: Path) -> None:
    first = head(session, repo)
    session.call("create_tag", repo_id=repo, tag="v1", tag_message="first")
    new = {"repo_id": repo, "path_or_fileobj": write(tmp_path, "two"), "path_in_repo": "more/notes.txt"}
    second = session.call("upload_file", **new)["oid"]
    assert head(session, repo) == second != first
    assert head(session, repo, revision="v1") == first
    for revision, text in {"main": "two", second: "two", second[:8]: "two", first: "one", "v1": "one"}.items():
        assert read(session, repo, "more/notes.txt", revision=revision) == text
    listed = session.call("list_repo_commits", repo_id=repo)
    assert [each["commit_id"] for each in listed][:2] == [second, first] and listed[0]["authors"] == ["me"]
    assert [each["title"] for each in listed[1:]] == ["Upload folder using huggingface_hub", "initial commit"]
    paths = ["more/notes.txt", "more", "config.json", "nothing"]
    infos = session.call("get_paths_info", repo_id=repo, paths=paths, expand=True)
    assert [each["path"] for each in infos] == paths[:3]
    assert [each["last_commit"]["oid"] for each in infos[::2]] == [second, first]
    tree = session.call("list_repo_tree", repo_id=repo, path_in_repo="more")
    assert [each["path"] for each in tree] == ["more/notes.txt"]
    for path, revision in (("nothing.txt", "main"), ("config.json", "v9")):
        with pytest.raises(ClientError, match="NotFoundError 404"):
            session.call("hf_hub_download", repo_id=repo, filename=path, revision=revision)


def test_a_commit_is_whole_or_nothing(session: HubProcess, repo: str, tmp_path: Path, root: Path) -> None:
    before, text = head(session, repo), write(tmp_path, "new")
    operations = [{"add": "new.txt", "file": text}, {"delete": "nothing.txt"}]
    commit = {"repo_id": repo, "commit_message": "both"}
    with pytest.raises(ClientError, match="EntryNotFound.*A file with this name doesn't exist"):
        session.call("create_commit", operations=operations, **commit)
    with pytest.raises(ClientError, match="400.*config.json/new.txt can't be a file"):
        session.call("create_commit", operations=[{"add": "config.json/new.txt", "file": text}], **commit)
    assert head(session, repo) == before and not (root / repo / "new.txt").exists()
    operations = [
        {"add": "new.txt", "file": text},
        {"delete": "more/"},
        {"copy": "model.safetensors", "to": "b.safetensors"},
    ]
    session.call("create_commit", operations=operations, **commit)
    left = ["README.md", "b.safetensors", "config.json", "model.safetensors", "new.txt"]
    assert session.call("list_repo_files", repo_id=repo) == [".gitattributes", *left]
    assert sorted(path.name for path in (root / repo).iterdir()) == [".gitattributes", *left]
    session.call("delete_file", repo_id=repo, path_in_repo="new.txt")
    assert not session.call("file_exists", repo_id=repo, filename="new.txt")


def test_a_commit_on_what_is_no_longer_the_head_is_refused(session: HubProcess, repo: str, tmp_path: Path) -> None:
    first = head(session, repo)
    new = {"repo_id": repo, "path_or_fileobj": write(tmp_path, "two"), "path_in_repo": "more/notes.txt"}
    session.call("upload_file", parent_commit=first, **new)
    new["path_in_repo"] = "other.txt"
    with pytest.raises(ClientError, match="412.*A commit has happened since"):
        session.call("upload_file", parent_commit=first[:7], **new)
    assert not session.call("file_exists", repo_id=repo, filename="other.txt")


def test_ignored_files_stay_at_home(session: HubProcess, repo: str, folder: Path) -> None:
    (folder / ".gitignore").write_text("# left out\n*.log\nmore/\n!kept.log\n")
    for name in ("a.log", "kept.log", "more/b.txt"):
        (folder / name).write_text("new")
    session.call("upload_folder", repo_id=repo, folder_path=str(folder))
    assert set(session.hub.commits[-1]["operations"]) == {".gitignore", "kept.log"}


# --- branches and pull requests -----------------------------------------------------------------------------------


def test_branches_go_their_own_way(session: HubProcess, repo: str, tmp_path: Path) -> None:
    first = head(session, repo)
    new = {"repo_id": repo, "path_or_fileobj": write(tmp_path, "two"), "path_in_repo": "more/notes.txt"}
    with pytest.raises(ClientError, match="RevisionNotFoundError 404"):
        session.call("upload_file", revision="runs/2", **new)
    session.call("create_branch", repo_id=repo, branch="runs/2")
    with pytest.raises(ClientError, match="409.*Reference already exists"):
        session.call("create_branch", repo_id=repo, branch="runs/2")
    session.call("create_branch", repo_id=repo, branch="runs/2", exist_ok=True)
    second = session.call("upload_file", revision="runs/2", **new)["oid"]
    assert read(session, repo, "more/notes.txt", revision="runs/2") == "two"
    assert read(session, repo, "more/notes.txt") == "one"
    session.call("create_branch", repo_id=repo, branch="again", revision=second)
    session.call("create_tag", repo_id=repo, tag="v2", revision="runs/2")
    with pytest.raises(ClientError, match="409"):
        session.call("create_tag", repo_id=repo, tag="v2")
    refs = session.call("list_repo_refs", repo_id=repo)
    assert {each["name"]: each["target_commit"] for each in refs["branches"]} == {
        "main": first,
        "again": second,
        "runs/2": second,
    }
    assert [(each["ref"], each["target_commit"]) for each in refs["tags"]] == [("refs/tags/v2", second)]
    session.call("delete_branch", repo_id=repo, branch="again")
    session.call("delete_tag", repo_id=repo, tag="v2")
    for name in ("delete_branch", "delete_tag"):
        with pytest.raises(ClientError, match="RevisionNotFoundError 404"):
            session.call(name, repo_id=repo, **{name.removeprefix("delete_"): "gone"})
    assert len(session.call("list_repo_refs", repo_id=repo)["branches"]) == 2


def test_anyone_may_open_a_pull_request(session: HubProcess, repo: str, folder: Path, tmp_path: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"\2" * 900)
    upload = {"repo_id": repo, "folder_path": str(folder), "token": "hf_yours"}
    with pytest.raises(ClientError, match="403 Forbidden.*pass `create_pr=1` as a query parameter"):
        session.call("upload_folder", **upload)
    opened = session.call("upload_folder", create_pr=True, commit_message="Better weights", **upload)
    assert (opened["pr_num"], opened["pr_revision"]) == (1, "refs/pr/1")
    more = {"repo_id": repo, "path_or_fileobj": write(tmp_path, "two"), "path_in_repo": "more/notes.txt"}
    session.call("upload_file", revision="refs/pr/1", token="hf_yours", **more)
    assert read(session, repo, "more/notes.txt", revision="refs/pr/1") == "two"
    assert read(session, repo, "more/notes.txt") == "one"
    details = session.call("get_discussion_details", repo_id=repo, discussion_num=1)
    assert (details["title"], details["status"], details["author"]) == ("Better weights", "open", "you")
    assert (details["target_branch"], details["conflicting_files"]) == ("refs/heads/main", [])
    assert [each["type"] for each in details["events"]] == ["comment", "commit", "commit"]
    refs = session.call("list_repo_refs", repo_id=repo, include_pull_requests=True)
    assert [each["ref"] for each in refs["pull_requests"]] == ["refs/pr/1"]
    with pytest.raises(ClientError, match="403"):
        session.call("merge_pull_request", repo_id=repo, discussion_num=1, token="hf_yours")
    # main goes on in the meantime
    session.call("upload_file", **{**more, "path_in_repo": "other.txt"})
    session.call("comment_discussion", repo_id=repo, discussion_num=1, comment="thanks", token="hf_yours")
    session.call("merge_pull_request", repo_id=repo, discussion_num=1)
    assert read(session, repo, "more/notes.txt") == read(session, repo, "other.txt") == "two"
    details = session.call("get_discussion_details", repo_id=repo, discussion_num=1)
    assert (details["status"], details["merge_commit_oid"]) == ("merged", head(session, repo))
    assert [each["num"] for each in session.call("get_repo_discussions", repo_id=repo)] == [1]


def test_a_pull_request_that_conflicts_is_not_merged(session: HubProcess, repo: str, tmp_path: Path) -> None:
    new = {"repo_id": repo, "path_or_fileobj": write(tmp_path, "two"), "path_in_repo": "more/notes.txt"}
    session.call("upload_file", create_pr=True, **new)
    new["path_or_fileobj"] = write(tmp_path, "three")
    session.call("upload_file", **new)
    details = session.call("get_discussion_details", repo_id=repo, discussion_num=1)
    assert details["conflicting_files"] == ["more/notes.txt"]
    with pytest.raises(ClientError, match="409"):
        session.call("merge_pull_request", repo_id=repo, discussion_num=1)
    session.call("change_discussion_status", repo_id=repo, discussion_num=1, new_status="closed")
    with pytest.raises(ClientError, match="400.*it is closed"):
        session.call("merge_pull_request", repo_id=repo, discussion_num=1)
    assert read(session, repo, "more/notes.txt") == "three"


@pytest.mark.parametrize("token", ["hf_reads", False])
def test_a_token_that_only_reads_changes_nothing(session: HubProcess, repo: str, token: Any, tmp_path: Path) -> None:
    before, message = head(session, repo), "403" if token else "RepositoryNotFoundError 401"
    new = {"repo_id": repo, "path_or_fileobj": write(tmp_path, "two"), "path_in_repo": "more/notes.txt"}
    for name, arguments in {
        "upload_file": new,
        "delete_repo": {"repo_id": repo},
        "create_branch": {"repo_id": repo, "branch": "b"},
        "create_tag": {"repo_id": repo, "tag": "t"},
        "update_repo_settings": {"repo_id": repo, "private": True},
    }.items():
        with pytest.raises(ClientError, match=message):
            session.call(name, token=token, **arguments)
    with pytest.raises(ClientError, match="Authorization error" if token else message):
        session.call("upload_file", token=token, create_pr=True, **new)
    assert head(session, repo) == before and not session.call("model_info", repo_id=repo)["private"]
    assert not session.call("get_repo_discussions", repo_id=repo)


# --- faults -------------------------------------------------------------------------------------------------------


def test_the_client_asks_again_after_500_and_429(session: HubProcess, repo: str, folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"\3" * 700)
    session.hub.answer("POST", f"{repo}/preupload/", 500, times=2, headers={"Retry-After": "0"})
    session.hub.answer("PUT", f"/lfs/{repo}/", 429, headers={"Retry-After": "0"})
    before = len(session.hub.requests)
    session.call("upload_folder", repo_id=repo, folder_path=str(folder))
    asked = session.hub.requests[before:]
    assert len([each for each in asked if "/preupload/" in each]) == 3
    assert len([each for each in asked if each.startswith("PUT")]) == 2
    assert session.hub.commits[-1]["operations"] == {"model.safetensors": "lfsFile"}


def test_a_commit_that_is_cut_off_or_refused_changes_nothing(
    session: HubProcess, repo: str, folder: Path, root: Path
) -> None:
    before = head(session, repo)
    (folder / "config.json").write_text("{}" * 50_000)
    session.hub.cut_upload(f"{repo}/commit/", after=1000)
    with pytest.raises(ClientError, match="(Read|Write|RemoteProtocol)Error None"):
        session.call("upload_folder", repo_id=repo, folder_path=str(folder))
    session.hub.answer("POST", f"{repo}/commit/", 503)
    with pytest.raises(ClientError, match="503"):
        session.call("upload_folder", repo_id=repo, folder_path=str(folder))
    assert head(session, repo) == before and (root / repo / "config.json").read_text() == '{"n_times": 400}'
    session.call("upload_folder", repo_id=repo, folder_path=str(folder))
    assert read(session, repo, "config.json") == "{}" * 50_000


def test_an_object_that_is_cut_off_is_not_kept(session: HubProcess, repo: str, folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"\4" * 60_000)
    before = len(session.hub.uploads)
    session.hub.cut_upload(f"/lfs/{repo}/", after=10_000)
    session.call("upload_folder", repo_id=repo, folder_path=str(folder))
    sent = [(each.size, each.whole) for each in session.hub.uploads[before:]]
    assert sent == [(10_000, False), (60_000, True)]
    path = session.call("hf_hub_download", repo_id=repo, filename="model.safetensors")
    assert Path(path).read_bytes() == b"\4" * 60_000


def test_a_download_that_is_cut_off_is_asked_for_again(session: HubProcess, repo: str, folder: Path) -> None:
    session.hub.cut_download(f"{repo}/.*/model.safetensors", after=1000)
    path = session.call("hf_hub_download", repo_id=repo, filename="model.safetensors")
    assert Path(path).read_bytes() == (folder / "model.safetensors").read_bytes()
    asked = [each for each in session.hub.requests if each.startswith(f"GET /cdn/{repo}/")]
    assert len(asked) == 2


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_a_damaged_download_is_refused(session: HubProcess, repo: str, folder: Path, name: str) -> None:
    session.hub.damage(f"{repo}/.*{name}", shorten=True)
    with pytest.raises(ClientError, match="OSError.*Consistency check failed"):
        session.call("hf_hub_download", repo_id=repo, filename=name)
    # the client looks at the length alone; that a byte is another one shows where the hashes are compared
    session.hub.damage(f"{repo}/.*{name}")
    path = Path(session.call("hf_hub_download", repo_id=repo, filename=name))
    assert path.stat().st_size == (folder / name).stat().st_size and path.read_bytes() != (folder / name).read_bytes()
    found = session.call("verify_repo_checksums", repo_id=repo)["mismatches"]
    assert [each["path"] for each in found] == [name]
    path = session.call("hf_hub_download", repo_id=repo, filename=name, force_download=True)
    assert Path(path).read_bytes() == (folder / name).read_bytes()


# --- by hand ------------------------------------------------------------------------------------------------------


def test_folders_made_by_hand_are_repositories(session: HubProcess, root: Path, tmp_path: Path) -> None:
    made, tagged = root / "me/by-hand", root / "me/by-hand@v1"
    for each in (made, tagged):
        (each / "inside").mkdir(parents=True)
        (each / "inside/a.txt").write_text("one")
    (tagged / "old.txt").write_text("old")
    first = head(session, "me/by-hand")
    assert session.call("list_repo_files", repo_id="me/by-hand", revision="v1") == ["inside/a.txt", "old.txt"]
    (made / "inside/a.txt").write_text("second")
    second = head(session, "me/by-hand")
    assert first != second
    new = {"repo_id": "me/by-hand", "path_or_fileobj": write(tmp_path, "third"), "path_in_repo": "inside/a.txt"}
    session.call("upload_file", **new)
    session.call("upload_file", revision="v1", **new)
    assert (made / "inside/a.txt").read_text() == (tagged / "inside/a.txt").read_text() == "third"
    (made / "b.txt").write_text("added")
    texts = {first: "one", second: "second", "main": "third", "v1": "third"}
    assert {each: read(session, "me/by-hand", "inside/a.txt", revision=each) for each in texts} == texts
    assert read(session, "me/by-hand", "b.txt") == "added"
    titles = [each["title"] for each in session.call("list_repo_commits", repo_id="me/by-hand")]
    assert titles == ["Files changed by hand", "Upload inside/a.txt with huggingface_hub", *titles[:1] * 2]


def test_the_history_outlives_the_server(session: HubProcess, repo: str, root: Path, tmp_path: Path) -> None:
    first = head(session, repo)
    new = {"repo_id": repo, "path_or_fileobj": write(tmp_path, "two"), "path_in_repo": "more/notes.txt"}
    session.call("upload_file", create_pr=True, **new)
    session.call("delete_file", repo_id=repo, path_in_repo="more/notes.txt")
    session.call("update_repo_settings", repo_id=repo, private=True)
    with HubServer(root, token="hf_mine") as again:
        for revision, text in ((first, b"one"), ("refs%2Fpr%2F1", b"two")):
            url = f"{again.url}/{repo}/resolve/{revision}/more/notes.txt"
            with urlopen(Request(url, headers={"Authorization": "Bearer hf_mine"})) as answer:
                assert answer.read() == text
        with pytest.raises(HTTPError, match="401"):
            urlopen(f"{again.url}/api/models/{repo}")


def test_it_runs_by_hand(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "hub").mkdir()
    command = [
        sys.executable,
        "-m",
        "fake_hub.server",
        tmp_path / "hub",
        "--port",
        "0",
        "--token",
        "hf_me",
        "you:write:hf_you",
    ]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        url = server.stdout.readline().split()[0].removeprefix("HF_ENDPOINT=")
        variables = {**HubServer(tmp_path / "hub").environment(tmp_path / "home"), "HF_ENDPOINT": url}
        upload = [Path(sys.executable).with_name("hf"), "upload", "you/first", folder, "--private"]
        run = {"env": {**variables, "HF_TOKEN": "hf_you"}, "capture_output": True, "text": True, "timeout": 60}
        answer = subprocess.run(upload, **run)
        assert answer.returncode == 0 and f"{url}/you/first" in answer.stdout, answer.stderr
    finally:
        server.terminate()
        server.wait()
    assert (tmp_path / "hub/you/first/more/notes.txt").read_text() == "one"


def test_where_a_token_was_seen_can_be_found(session: HubProcess, repo: str, folder: Path) -> None:
    hub = session.hub
    assert hub.find("hf_mine") == hub.find("hf_yours") == []
    sent = [each.headers.get("authorization") for each in hub.exchanges if each.path.startswith(("/lfs/", "/cdn/"))]
    assert sent and set(sent) == {None}  # the storage is another host
    (folder / "config.json").write_text('{"key": "hf_secret"}')
    hub.cut_upload(f"{repo}/commit/", after=100_000)
    with pytest.raises(ClientError, match="Error None"):
        session.call("upload_folder", repo_id=repo, folder_path=str(folder))
    assert hub.find("hf_secret") == [f"POST /api/models/{repo}/commit/main: body"]
    session.call("upload_folder", repo_id=repo, folder_path=str(folder))
    assert f"{repo}/config.json" in hub.find("hf_secret")


def test_what_was_downloaded_is_there_offline(session: HubProcess, repo: str, folder: Path) -> None:
    online = Path(session.call("snapshot_download", repo_id=repo))
    session.stop_hub()
    assert session.call("snapshot_download", repo_id=repo) == str(online)
    for path in ("model.safetensors", "more/notes.txt"):
        assert (online / path).read_bytes() == (folder / path).read_bytes()
    with pytest.raises(ClientError, match="ConnectError"):
        session.call("upload_folder", repo_id=repo, folder_path=str(folder))


if __name__ == "__main__":
    answer_requests(ask_client)
