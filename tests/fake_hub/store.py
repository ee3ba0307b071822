# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Repositories of the test Hub on disk: files, commits, branches, tags and pull requests.

A repository goes by `user/name`, a data set's by `datasets/user/name`. Under the store's root, the folder of that name
holds the files of its branch `main`, and `user/name@v1`, where somebody made one, those of its branch `v1`. What is
changed there by hand is a commit of its own the next time the branch is asked for. The history lies under
`.hub/user/name/`: `state.json` (settings, branches, tags, discussions), `commits/SHA.json` and `blobs/SHA256`.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import os
import re
import shutil
import threading
from collections.abc import Iterable, Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any

from fake_hub.files import LARGE, Files, HubError, HubFiles, bad_request, now


_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9])?"
_REPO = re.compile(rf"(?:datasets/)?(?!(?:datasets|models|spaces|api)/){_NAME}/{_NAME}")
_BRANCH = re.compile(r"(?!refs/|/)[\w./-]{1,200}(?<![/.])")
_PULL = re.compile(r"refs/pr/(\d+)")


class HubStore(HubFiles):
    """The repositories under a folder. Every method may be called from several threads.

    Args:
        root: folder of the repositories; it may change at any time.
    """

    def __init__(self, root: str | os.PathLike):
        super().__init__(root)
        self.lock = threading.RLock()
        self._commits: dict[tuple[str, str], dict[str, Any]] = {}

    # --- repositories ----------------------------------------------------------------------------------------------

    def exists(self, repo: str) -> bool:
        """Whether there is such a repository: a folder is enough."""
        return bool(_REPO.fullmatch(repo)) and (self.root / repo).is_dir()

    def repos(self, kind: str) -> list[str]:
        """Every repository: of `"models"`, or of `"datasets"`."""
        top, prefix = (self.root, "") if kind == "models" else (self.root / kind, f"{kind}/")
        found = (f"{prefix}{path.parent.name}/{path.name}" for path in top.glob("*/*"))
        return sorted(repo for repo in found if self.exists(repo))

    def create(self, repo: str, author: str, private: bool = False) -> None:
        """Make a repository that holds a `.gitattributes`.

        Raises:
            HubError: 400 for a name that is none, 409 where it is there already.
        """
        with self.lock:
            self._check_new(repo)
            shutil.rmtree(self.home(repo), ignore_errors=True)  # of one whose folder was removed by hand
            (self.root / repo).mkdir(parents=True)
            lines = [f"*{suffix} filter=lfs diff=lfs merge=lfs -text\n" for suffix in LARGE]
            files = {".gitattributes": self.put(repo, "".join(lines).encode())}
            sha = self._record(repo, None, files, "initial commit", "", author)
            self.check_out(self.root / repo, repo, files)
            self.save_state(repo, {**self.state(repo), "private": private, "branches": {"main": sha}})

    def delete(self, repo: str) -> None:
        """Remove a repository and its history."""
        with self.lock:
            for folder in (self.root / repo, *(self.root / repo).parent.glob(f"{Path(repo).name}@*")):
                shutil.rmtree(folder)
            shutil.rmtree(self.home(repo), ignore_errors=True)

    def move(self, repo: str, target: str) -> None:
        """Rename a repository; `moved_to` knows it from then on.

        Raises:
            HubError: 400 for a name that is none, 409 where there is a repository of that name.
        """
        with self.lock:
            self._check_new(target)
            old, new = self.root / repo, self.root / target
            new.parent.mkdir(parents=True, exist_ok=True)
            for folder in (old, *old.parent.glob(f"{old.name}@*")):
                folder.rename(new.with_name(new.name + folder.name.removeprefix(old.name)))
            if self.home(repo).is_dir():
                self.home(target).parent.mkdir(parents=True, exist_ok=True)
                self.home(repo).rename(self.home(target))
            self.write_json(self.root / ".hub/moved.json", {**self._moved(), repo: target})

    def _check_new(self, repo: str) -> None:
        if not _REPO.fullmatch(repo) or "--" in repo or ".." in repo or repo.endswith(".git"):
            raise bad_request(f"Invalid repo name: {repo} - it must be user/name of letters, digits, '-', '_', '.'")
        if self.exists(repo):
            kind = "dataset" if repo.startswith("datasets/") else "model"
            raise HubError(HTTPStatus.CONFLICT, "", f"You already created this {kind} repo: {repo}")

    def moved_to(self, repo: str) -> str | None:
        """The name that a repository has by now, where it was moved."""
        moved, target = self._moved(), repo
        while not self.exists(target):
            if target not in moved:
                return None
            target = moved.pop(target)
        return target if target != repo else None

    def state(self, repo: str) -> dict[str, Any]:
        """Settings of a repository, and where its branches, tags and pull requests (in "discussions") are."""
        blank = {"private": False, "gated": False, "created": now(), "branches": {}, "tags": {}, "discussions": []}
        try:
            return {**blank, **json.loads((self.home(repo) / "state.json").read_text())}
        except FileNotFoundError:
            return blank

    def save_state(self, repo: str, state: dict[str, Any]) -> None:
        """Write what `state` reads."""
        self.write_json(self.home(repo) / "state.json", state)

    # --- commits ---------------------------------------------------------------------------------------------------

    def branches(self, repo: str) -> dict[str, str]:
        """The commit that each branch is at, by the branch's name."""
        with self.lock:
            folders = (self.root / repo).parent.glob(f"{Path(repo).name}@*")
            names = {"main", *self.state(repo)["branches"], *(path.name.partition("@")[2] for path in folders)}
            heads = {name: self.head(repo, name) for name in sorted(names)}
            return {name: sha for name, sha in heads.items() if sha}

    def head(self, repo: str, branch: str) -> str | None:
        """The commit that a branch is at; None where there is no such branch."""
        with self.lock:
            state = self.state(repo)
            sha, folder = state["branches"].get(branch), self._folder(repo, branch)
            if folder is None:
                return sha
            known = self.commit(repo, sha)["files"] if sha else {}
            files = self.scan(repo, folder, known)
            if sha is None or files != known:
                sha = self._record(repo, sha, files, "Files changed by hand", "", "")
                state["branches"][branch] = sha
                self.save_state(repo, state)
            return sha

    def resolve(self, repo: str, revision: str) -> str:
        """The commit that a branch, a tag, a pull request (`refs/pr/1`) or a hash names.

        Raises:
            HubError: there is no such revision.
        """
        with self.lock:
            state = self.state(repo)
            if pull := _PULL.fullmatch(revision):
                found = [each.get("head") for each in state["discussions"] if each["num"] == int(pull[1])]
            else:
                found = [self.head(repo, revision), state["tags"].get(revision)]
            if not any(found) and re.fullmatch(r"[0-9a-f]{7,40}", revision):
                commits = self.home(repo) / "commits"
                if not any(commits.glob(f"{revision}*.json")):
                    self.branches(repo)  # notes what was made by hand
                found = [path.stem for path in commits.glob(f"{revision}*.json")]
            for sha in found:
                if sha:
                    return sha
        raise HubError(HTTPStatus.NOT_FOUND, "RevisionNotFound", f"Invalid rev id: {revision}")

    def commit(self, repo: str, sha: str) -> dict[str, Any]:
        """A commit: "id", "parent", "files", "title", "message", "author", "date"."""
        if (repo, sha) not in self._commits:
            text = (self.home(repo) / "commits" / f"{sha}.json").read_text()
            self._commits[repo, sha] = json.loads(text)
        return self._commits[repo, sha]

    def history(self, repo: str, sha: str | None) -> Iterator[dict[str, Any]]:
        """A commit and what came before it, the last one first."""
        while sha:
            commit = self.commit(repo, sha)
            yield commit
            sha = commit["parent"]

    def apply(self, repo: str, files: Files, operations: Iterable[dict[str, Any]]) -> Files:
        """The files of a commit: those before it, changed by the operations of its body.

        Raises:
            HubError: 400 for what can't be read and for paths that can't be, 404 for a file that is to be deleted and
                isn't there, or whose large object was never uploaded.
        """
        files = dict(files)
        for operation in operations:
            try:
                key, value = operation["key"], operation["value"]
                path = value["path"].removesuffix("/")
                data = base64.b64decode(value["content"], validate=True) if key == "file" else b""
            except (KeyError, TypeError, AttributeError, binascii.Error) as error:
                raise bad_request(f"Invalid operation of a commit: {error!r}") from error
            parts = path.split("/")
            if not path or {"", ".", "..", ".git"} & set(parts):
                raise bad_request(f"Invalid path in the repository: {path!r}")
            below = [name for name in files if name.startswith(f"{path}/")]
            if key in ("file", "lfsFile"):
                taken = [
                    parent for parent in map("/".join, (parts[:n] for n in range(1, len(parts)))) if parent in files
                ]
                if below or taken:
                    raise bad_request(f"{path} can't be a file beside {(below or taken)[0]}")
                files[path] = self.put(repo, data) if key == "file" else self.large(repo, value["oid"])
            elif key == "deletedFolder" and below:
                files = {name: file for name, file in files.items() if name not in below}
            elif key == "deletedFile" and path in files:
                del files[path]
            elif key in ("deletedFile", "deletedFolder"):
                raise HubError(HTTPStatus.NOT_FOUND, "EntryNotFound", f"A file with this name doesn't exist: {path}")
            else:
                raise bad_request(f"Unknown operation of a commit: {key}")
        return dict(sorted(files.items()))

    def add_commit(self, repo: str, branch: str, files: Files, title: str, message: str, author: str) -> str:
        """Put a commit on a branch or a pull request, whole or not at all; gives its hash."""
        with self.lock:
            sha = self._record(repo, self.resolve(repo, branch), files, title, message, author)
            if pull := _PULL.fullmatch(branch):
                self.add_event(repo, int(pull[1]), "commit", author, {"subject": title, "oid": sha}, head=sha)
                return sha
            if folder := self._folder(repo, branch):
                self.check_out(folder, repo, files)
            state = self.state(repo)
            state["branches"][branch] = sha
            self.save_state(repo, state)
            return sha

    # --- references ------------------------------------------------------------------------------------------------

    def add_reference(self, repo: str, kind: str, name: str, sha: str) -> None:
        """Make a branch or a tag: `kind` is "branches" or "tags".

        Raises:
            HubError: 400 for a name that is none, 409 where it is there already.
        """
        with self.lock:
            state = self.state(repo)
            if not _BRANCH.fullmatch(name) or ".." in name:
                raise bad_request(f"Invalid reference name: {name!r}")
            if name in state[kind] or (kind == "branches" and self.head(repo, name)):
                raise HubError(HTTPStatus.CONFLICT, "", f"Reference already exists: {name}")
            state[kind][name] = sha
            self.save_state(repo, state)

    def delete_reference(self, repo: str, kind: str, name: str) -> None:
        """Remove a branch or a tag; its commits stay.

        Raises:
            HubError: 400 for `main`, 404 where there is none.
        """
        with self.lock:
            if kind == "branches" and name == "main":
                raise bad_request("The default branch can't be deleted")
            folder = self._folder(repo, name) if kind == "branches" else None
            state = self.state(repo)
            if name not in state[kind] and folder is None:
                raise HubError(HTTPStatus.NOT_FOUND, "RevisionNotFound", f"Invalid rev id: {name}")
            state[kind].pop(name, None)
            self.save_state(repo, state)
            if folder:
                shutil.rmtree(folder)

    def add_discussion(self, repo: str, author: str, title: str, **fields: Any) -> int:
        """Open a discussion, or with "base", "start" and "head" a pull request; gives its number."""
        with self.lock:
            state = self.state(repo)
            num = len(state["discussions"]) + 1
            opened = {"num": num, "title": title, "author": author, "createdAt": now(), "status": "open", "events": []}
            state["discussions"].append({**opened, **fields})
            self.save_state(repo, state)
            return num

    def add_event(
        self, repo: str, num: int, kind: str, author: str, data: dict[str, Any], **fields: Any
    ) -> dict[str, Any]:
        """Note what happened in a discussion, and change fields of it; gives the event as the client reads it."""
        with self.lock:
            state = self.state(repo)
            discussion = state["discussions"][num - 1]
            event = {"id": f"{len(discussion['events']):024x}", "type": kind, "createdAt": now()}
            event |= {"author": {"name": author}, "data": data}
            discussion |= fields
            discussion["events"].append(event)
            self.save_state(repo, state)
            return event

    def conflicts(self, repo: str, discussion: dict[str, Any]) -> list[str]:
        """Files that a pull request and its target both changed, and not alike."""
        start, theirs, ours = (
            self.commit(repo, sha)["files"]
            for sha in (discussion["start"], discussion["head"], self.resolve(repo, discussion["base"]))
        )
        return sorted(
            path
            for path in {*theirs, *ours}
            if theirs.get(path) != ours.get(path) and start.get(path) not in (theirs.get(path), ours.get(path))
        )

    def merge(self, repo: str, num: int, author: str) -> str:
        """Bring what a pull request changed into its target; gives the hash of the commit.

        Raises:
            HubError: 409, the target has changed the same files.
        """
        with self.lock:
            discussion = self.state(repo)["discussions"][num - 1]
            if found := self.conflicts(repo, discussion):
                raise HubError(HTTPStatus.CONFLICT, "", f"The pull request has conflicts: {', '.join(found)}")
            start, theirs = (self.commit(repo, discussion[key])["files"] for key in ("start", "head"))
            files = dict(self.commit(repo, self.resolve(repo, discussion["base"]))["files"])
            for path in {*start, *theirs}:
                if start.get(path) != theirs.get(path):
                    files[path] = theirs.get(path)
            files = {path: file for path, file in sorted(files.items()) if file}
            sha = self.add_commit(repo, discussion["base"], files, f"{discussion['title']} (#{num})", "", author)
            self.add_event(repo, num, "status-change", author, {"status": "merged"}, status="merged", merged=sha)
            return sha

    def _record(self, repo: str, parent: str | None, files: Files, title: str, message: str, author: str) -> str:
        body = {"parent": parent, "files": files, "title": title, "message": message, "author": author}
        sha = hashlib.sha1(json.dumps(body, sort_keys=True).encode()).hexdigest()
        self.write_json(self.home(repo) / "commits" / f"{sha}.json", {"id": sha, **body, "date": now()})
        return sha

    def _folder(self, repo: str, branch: str) -> Path | None:
        if branch == "main":
            return self.root / repo
        named = self.root / f"{repo}@{branch}"
        return named if "/" not in branch and named.is_dir() else None

    def _moved(self) -> dict[str, str]:
        path = self.root / ".hub/moved.json"
        return json.loads(path.read_text()) if path.is_file() else {}
