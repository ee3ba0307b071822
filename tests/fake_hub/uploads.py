# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""How files come to the test Hub: which way they are to be sent, large objects, commits."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from http import HTTPStatus
from typing import NamedTuple

from fake_hub.api import HubApi
from fake_hub.files import CHUNK, HubError, bad_request, is_large
from fake_hub.http_server import ID, REVISION, route


_LFS = r"/(?P<repo>(?:datasets/)?[^/]+/[^/]+)\.git/info/lfs/objects"
_NO_RIGHTS = "Forbidden: pass `create_pr=1` as a query parameter to create a Pull Request"


class Upload(NamedTuple):
    """Bytes that came in for the large file storage.

    Attributes:
        repo: the repository they are meant for.
        oid: SHA-256 of the whole object.
        size: how many bytes came.
        whole: whether they are all there and were kept; of an object in parts, that part.
    """

    repo: str
    oid: str
    size: int
    whole: bool


def is_ignored(path: str, rules: str) -> bool:
    """Whether a `.gitignore` with these rules leaves a file out."""
    parts, ignored = path.split("/"), False
    for rule in filter(None, map(str.strip, rules.splitlines())):
        pattern = rule.removeprefix("!").rstrip("/")
        names = ["/".join(parts[:n]) for n in range(1, len(parts) + 1)] if "/" in pattern else parts
        if not rule.startswith("#") and any(fnmatchcase(name, pattern.lstrip("/")) for name in names):
            ignored = not rule.startswith("!")
    return ignored


class HubHandler(HubApi):
    """One connection of a client, with everything that the Hub answers."""

    def _admit_upload(self, repo: str, revision: str | None, opens: bool) -> str:
        """Who may change a branch, or open or change a pull request; gives the user."""
        pull = re.fullmatch(r"refs/pr/(\d+)", revision or "")
        pulls = opens or bool(pull)
        message = "Authorization error." if pulls else _NO_RIGHTS
        user = self.hub.admit_writer(repo, self.authorization, message, opens=pulls)
        if pull and not self.hub.owns(repo, user) and self.discussion(repo, int(pull[1]))["author"] != user:
            raise HubError(HTTPStatus.FORBIDDEN, "", "Authorization error.")
        return user

    def _head(self, repo: str, revision: str) -> str:
        """Where a branch or a pull request is: what a commit goes on."""
        is_branch = revision.startswith("refs/pr/") or self.hub.store.head(repo, revision)
        if not is_branch:
            raise HubError(HTTPStatus.NOT_FOUND, "RevisionNotFound", f"Invalid rev id: {revision}")
        return self.hub.store.resolve(repo, revision)

    @route("POST", rf"/api/{ID}/preupload/{REVISION}")
    def _preupload(self, repo: str, revision: str) -> None:
        """How each file is to be sent, and the hash of the one that is there."""
        self._admit_upload(repo, revision, self.asked("create_pr"))
        files = self.hub.store.commit(repo, self._head(repo, revision))["files"]
        value = self.read_json()
        rules = value.get("gitIgnore")
        if rules is None and ".gitignore" in files:
            rules = self.hub.store.blob(repo, files[".gitignore"]["sha256"]).read_text()
        answers = []
        for each in value["files"]:
            path, here = each["path"], files.get(each["path"])
            large = is_large(path, each["size"]) or b"\0" in base64.b64decode(each.get("sample", ""))
            answer = {"path": path, "uploadMode": "lfs" if large else "regular"}
            answer["shouldIgnore"] = is_ignored(path, rules or "")
            if here and (large or not here["lfs"]):
                answer["oid"] = here["sha256" if large else "oid"]
            answers.append(answer)
        self.send_json({"files": answers})

    @route("POST", rf"{_LFS}/batch")
    def _batch(self, repo: str) -> None:
        """Where large objects go; those that are here already go nowhere."""
        value = self.read_json()
        branch = value.get("ref", {}).get("name")
        self.hub.admit_writer(repo, self.authorization, opens=branch is None or branch.startswith("refs/pr/"))
        objects = []
        for each in value["objects"]:
            oid, size = each["oid"], each["size"]
            objects.append({"oid": oid, "size": size})
            if self.hub.store.blob(repo, oid).is_file():
                continue
            # another host, as the storage of the real Hub is one: the client sends it no token
            href, parts = f"http://localhost:{self.hub.port}/lfs/{repo}/-/{oid}", {}
            if self.hub.part_size and size > self.hub.part_size:
                count = -(-size // self.hub.part_size)
                parts = {str(n): f"{href}/{n}" for n in range(1, count + 1)} | {"chunk_size": str(self.hub.part_size)}
            verify = {"href": f"{self.hub.url}/{repo}.git/info/lfs/objects/verify"}
            objects[-1]["actions"] = {"upload": {"href": href, "header": parts}, "verify": verify}
        self.send_json({"transfer": "basic", "objects": objects})

    @route("PUT", r"/lfs/(?P<repo>.+)/-/(?P<oid>[0-9a-f]{64})(?:/(?P<part>\d+))?")
    def _put(self, repo: str, oid: str, part: str | None) -> None:
        store, count, whole = self.hub.store, 0, False

        def counted() -> Iterator[bytes]:
            nonlocal count
            for block in self.body:
                count += len(block)
                yield block

        try:
            if part is None:
                store.receive(repo, oid, counted())
            else:
                with store.new_file(store.blob(repo, f"{oid}.{part}")) as file:
                    file.writelines(counted())
            whole = True
        finally:
            self.hub.uploads.append(Upload(repo, oid, count, whole))
        self.send(HTTPStatus.OK, b"", {"ETag": f'"{part or oid}"'})

    @route("POST", r"/lfs/(?P<repo>.+)/-/(?P<oid>[0-9a-f]{64})")
    def _join(self, repo: str, oid: str) -> None:
        """Make one object of its parts."""
        numbers = [each["partNumber"] for each in self.read_json()["parts"]]
        paths = [self.hub.store.blob(repo, f"{oid}.{number}") for number in sorted(numbers)]
        if not all(path.is_file() for path in paths):
            raise bad_request(f"Parts of {oid} are missing")

        def joined() -> Iterator[bytes]:
            for path in paths:
                with path.open("rb") as file:
                    yield from iter(lambda: file.read(CHUNK), b"")

        self.hub.store.receive(repo, oid, joined())
        for path in paths:
            path.unlink()
        self.send_json({})

    @route("POST", rf"{_LFS}/verify")
    def _verify(self, repo: str) -> None:
        self.hub.admit_writer(repo, self.authorization, opens=True)
        value = self.read_json()
        if self.hub.store.large(repo, value["oid"])["size"] != value["size"]:
            raise bad_request(f"{value['oid']} has another size than {value['size']}")
        self.send_json({})

    @route("POST", rf"/api/{ID}/commit/{REVISION}")
    def _commit(self, repo: str, revision: str) -> None:
        store, opens = self.hub.store, self.asked("create_pr")
        user = self._admit_upload(repo, revision, opens)
        try:
            lines = [json.loads(line) for line in b"".join(self.body).splitlines() if line.strip()]
            header = next(line["value"] for line in lines if line["key"] == "header")
            title, message = header["summary"], header.get("description", "")
        except (ValueError, KeyError, TypeError, StopIteration) as error:
            raise bad_request(f"The body is no commit, a header and its operations: {error!r}") from error
        operations = [line for line in lines if line["key"] != "header"]
        parent = header.get("parentCommit")
        with store.lock:
            head = self._head(repo, revision)
            if parent and not opens and not head.startswith(parent):
                raise HubError(
                    HTTPStatus.PRECONDITION_FAILED, "", "A commit has happened since. Please refresh and try again."
                )
            start = store.resolve(repo, parent) if parent and opens else head
            files = store.apply(repo, store.commit(repo, start)["files"], operations)
            num, branch = None, revision
            if opens:
                num = self.open(repo, user, title, message, {"base": revision, "start": start, "head": start})
                branch = f"refs/pr/{num}"
            sha = store.add_commit(repo, branch, files, title, message, user)
        done = {operation["value"]["path"]: operation["key"] for operation in operations}
        self.hub.commits.append({"repo": repo, "revision": branch, "commit": sha, "operations": done})
        answer = {"success": True, "commitOid": sha, "commitUrl": f"{self.hub.url}/{repo}/commit/{sha}"}
        if opens:
            answer["pullRequestUrl"] = f"{self.hub.url}/{repo}/discussions/{num}"
        self.send_json(answer)
