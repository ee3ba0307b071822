# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""The API of the test Hub: repositories, their settings, branches, tags, discussions and pull requests."""

from __future__ import annotations

import contextlib
import hashlib
import re
from http import HTTPStatus
from typing import Any

import yaml

from fake_hub.files import HubError, bad_request
from fake_hub.http_server import ID, REVISION, HubConnection, route


def card_data(text: str) -> dict[str, Any]:
    """The YAML block at the top of a README.

    Raises:
        ValueError: it is none.
    """
    block = re.match(r"---\s*\n(.*?)\n---\s*(?:\n|$)", text, re.DOTALL)
    try:
        value = yaml.safe_load(block[1]) if block else {}
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error
    if not isinstance(value, dict | None):
        raise ValueError(f"the metadata is a {type(value).__name__}, not a mapping")
    return value or {}


class HubApi(HubConnection):
    """One connection of a client: what it asks about repositories, and how it changes them but for their files."""

    # --- repositories ----------------------------------------------------------------------------------------------

    @route("GET", r"/api/whoami-v2")
    def _whoami(self) -> None:
        user = self.hub.user(self.authorization)
        if user is None:
            told = (
                "Invalid username or password."
                if self.authorization is None
                else "Invalid credentials in Authorization header"
            )
            raise HubError(HTTPStatus.UNAUTHORIZED, "", told)
        name, role = user
        orgs = [
            {"type": "org", "name": org, "fullname": org, "roleInOrg": "write"}
            for org in sorted(self.hub.namespaces(name) - {name})
        ]
        access = {"type": "access_token", "accessToken": {"displayName": "test", "role": role}}
        self.send_json({"type": "user", "id": name, "name": name, "fullname": name, "orgs": orgs, "auth": access})

    def _named(self, value: dict[str, Any]) -> str:
        """The repository that a body names, and who may make it."""
        kind = value.get("type") or "model"
        if kind not in ("model", "dataset"):
            raise bad_request(f"This Hub holds models and datasets, not {kind}s")
        owner = value.get("organization") or (self.hub.user(self.authorization) or [""])[0]
        return f"{'datasets/' if kind == 'dataset' else ''}{owner}/{value['name']}"

    @route("POST", r"/api/repos/create")
    def _create(self) -> None:
        value = self.read_json()
        repo = self._named(value)
        user = self.hub.admit_owner(repo, self.authorization)
        private = value.get("private", value.get("visibility") == "private")
        try:
            self.hub.store.create(repo, user, bool(private))
        except HubError as error:
            error.more["url"] = f"{self.hub.url}/{repo}"
            raise
        self.send_json({"url": f"{self.hub.url}/{repo}", "name": repo.removeprefix("datasets/"), "id": repo})

    @route("DELETE", r"/api/repos/delete")
    def _delete(self) -> None:
        repo = self._named(self.read_json())
        self.hub.admit_writer(repo, self.authorization)
        self.hub.store.delete(repo)
        self.send_json({})

    @route("POST", r"/api/repos/move")
    def _move(self) -> None:
        value = self.read_json()
        prefix = "datasets/" if value.get("type") == "dataset" else ""
        repo, target = f"{prefix}{value['fromRepo']}", f"{prefix}{value['toRepo']}"
        self.hub.admit_writer(repo, self.authorization)
        self.hub.admit_owner(target, self.authorization)
        self.hub.store.save_state(repo, {**self.hub.store.state(repo), **self.hub.settings(repo)})
        self.hub.store.move(repo, target)
        self.send_json({})

    @route("PUT", rf"/api/{ID}/settings")
    def _settings(self, repo: str) -> None:
        self.hub.admit_writer(repo, self.authorization)
        value = self.read_json()
        with self.hub.store.lock:
            settings = self.hub.settings(repo)
            if "visibility" in value or "private" in value:
                settings["private"] = value.get("private", value.get("visibility") == "private")
                self.hub.private.discard(repo)
            if "gated" in value:
                settings["gated"] = value["gated"]
                self.hub.gated.discard(repo)
            self.hub.store.save_state(repo, {**self.hub.store.state(repo), **settings})
        self.send_json(settings)

    @route("GET", rf"/api/{ID}/auth-check(?P<write>/write)?")
    def _auth_check(self, repo: str, write: str | None) -> None:
        self.hub.admit(repo, self.authorization, reads_files=True)
        if write:
            self.hub.admit_writer(repo, self.authorization)
        self.send_json({})

    @route("POST", r"/api/validate-yaml")
    def _validate_yaml(self) -> None:
        try:
            data = card_data(self.read_json().get("content", ""))
        except ValueError as error:
            raise HubError(HTTPStatus.BAD_REQUEST, "", "Invalid metadata", errors=[{"message": str(error)}]) from error
        empty = [] if data else [{"message": "empty or missing yaml metadata in repo card"}]
        self.send_json({"errors": [], "warnings": empty})

    def _describe(self, repo: str, sha: str) -> dict[str, Any]:
        """What `model_info` and `dataset_info` tell about a repository."""
        store, name = self.hub.store, repo.removeprefix("datasets/")
        commit, state = store.commit(repo, sha), store.state(repo)
        files, card = commit["files"], {}
        if "README.md" in files:
            with contextlib.suppress(ValueError):
                card = card_data(store.blob(repo, files["README.md"]["sha256"]).read_text(errors="replace"))
        tags = card.get("tags") or []
        tags = [tags] if isinstance(tags, str) else [*tags]
        tags += [str(card[key]) for key in ("library_name", "pipeline_tag") if card.get(key)]
        tags += [f"license:{card['license']}"] if card.get("license") else []
        siblings = []
        for path, file in files.items():
            siblings.append({"rfilename": path})
            if self.asked("blobs"):
                siblings[-1] |= {"size": file["size"], "blobId": file["oid"]}
                if file["lfs"]:
                    large = {"size": file["size"], "sha256": file["sha256"], "pointerSize": 134}
                    siblings[-1]["lfs"] = large
        value = {"_id": hashlib.sha1(repo.encode()).hexdigest()[:24], "id": name, "author": name.split("/")[0]}
        value |= {"sha": sha, "lastModified": commit["date"], "createdAt": state["created"], "disabled": False}
        value |= {**self.hub.settings(repo), "downloads": 0, "likes": 0, "tags": list(dict.fromkeys(tags))}
        value |= {"cardData": card, "siblings": siblings, "usedStorage": sum(file["size"] for file in files.values())}
        if repo == name:
            value |= {key: card.get(key) for key in ("library_name", "pipeline_tag")} | {"modelId": name}
        if expand := self.query.get("expand"):
            value = {key: text for key, text in value.items() if key in ("_id", "id", *expand)}
        return value

    @route("GET", rf"/api/(?P<kind>models|datasets)/(?P<name>[^/]+(?:/[^/]+)?)(?:/revision/{REVISION})?")
    def _info(self, repo: str, revision: str | None) -> None:
        self.hub.admit(repo, self.authorization)
        self.send_json(self._describe(repo, self.hub.store.resolve(repo, revision or "main")))

    @route("GET", r"/api/(?P<kind>models|datasets)")
    def _list(self, kind: str) -> None:
        """Every repository that the user may see: `author`, `search`, `filter` and `limit` choose."""
        asked = {key: self.query[key][0].lower() for key in ("author", "search", "pipeline_tag") if key in self.query}
        found = []
        for repo in self.hub.store.repos(kind):
            name = repo.removeprefix("datasets/").lower()
            if not self.hub.sees(repo, self.authorization) or asked.get("search", "") not in name:
                continue
            if "author" in asked and name.split("/")[0] != asked["author"]:
                continue
            info = self._describe(repo, self.hub.store.resolve(repo, "main"))
            wanted = [*self.query.get("filter", []), *self.query.get("pipeline_tag", [])]
            if set(wanted) <= set(info.get("tags", [])):
                found.append(info)
        limit = self.query.get("limit")
        self.send_json(found[: int(limit[0])] if limit else found)

    @route("GET", rf"/api/{ID}/commits/{REVISION}")
    def _commits(self, repo: str, revision: str) -> None:
        self.hub.admit(repo, self.authorization)
        commits = self.hub.store.history(repo, self.hub.store.resolve(repo, revision))
        self.send_json(
            [
                {
                    **{key: commit[key] for key in ("id", "title", "message", "date")},
                    "authors": [{"user": commit["author"]}],
                }
                for commit in commits
            ]
        )

    # --- references ------------------------------------------------------------------------------------------------

    @route("GET", rf"/api/{ID}/refs")
    def _refs(self, repo: str) -> None:
        self.hub.admit(repo, self.authorization)
        state = self.hub.store.state(repo)
        pulls = {str(each["num"]): each["head"] for each in state["discussions"] if "head" in each}
        found = [("branches", "heads", self.hub.store.branches(repo)), ("tags", "tags", state["tags"])]
        found += [("converts", "convert", {}), ("pullRequests", "pr", pulls)]
        self.send_json(
            {
                key: [{"name": name, "ref": f"refs/{kind}/{name}", "targetCommit": sha} for name, sha in refs.items()]
                for key, kind, refs in found
            }
        )

    @route("POST", rf"/api/{ID}/branch/(?P<branch>[^/]+)")
    def _create_branch(self, repo: str, branch: str) -> None:
        self.hub.admit_writer(repo, self.authorization)
        start = self.hub.store.resolve(repo, self.read_json().get("startingPoint") or "main")
        self.hub.store.add_reference(repo, "branches", branch, start)
        self.send_json({})

    @route("POST", rf"/api/{ID}/tag/{REVISION}")
    def _create_tag(self, repo: str, revision: str) -> None:
        self.hub.admit_writer(repo, self.authorization)
        sha = self.hub.store.resolve(repo, revision)
        self.hub.store.add_reference(repo, "tags", self.read_json().get("tag", ""), sha)
        self.send_json({})

    @route("DELETE", rf"/api/{ID}/(?P<which>branch|tag)/(?P<reference>[^/]+)")
    def _delete_reference(self, repo: str, which: str, reference: str) -> None:
        self.hub.admit_writer(repo, self.authorization)
        self.hub.store.delete_reference(repo, {"branch": "branches", "tag": "tags"}[which], reference)
        self.send_json({})

    # --- discussions -----------------------------------------------------------------------------------------------

    def discussion(self, repo: str, num: int) -> dict[str, Any]:
        """A discussion by its number.

        Raises:
            HubError: 404, there is none.
        """
        for each in self.hub.store.state(repo)["discussions"]:
            if each["num"] == num:
                return each
        raise HubError(HTTPStatus.NOT_FOUND, "", f"Discussion {num} not found")

    def open(self, repo: str, user: str, title: str, text: str, fields: dict[str, Any]) -> int:
        """Begin a discussion with a comment; gives its number."""
        num = self.hub.store.add_discussion(repo, user, title, **fields)
        self._comment_event(repo, num, user, text)
        return num

    def _comment_event(self, repo: str, num: int, user: str, text: str) -> dict[str, Any]:
        data = {"edited": False, "hidden": False, "latest": {"raw": text, "html": text}, "history": []}
        return self.hub.store.add_event(repo, num, "comment", user, data)

    def _summary(self, repo: str, discussion: dict[str, Any]) -> dict[str, Any]:
        """A discussion as it is listed."""
        kind = "dataset" if repo.startswith("datasets/") else "model"
        value = {key: discussion[key] for key in ("num", "title", "status", "createdAt")}
        value |= {"author": {"name": discussion["author"]}, "isPullRequest": "head" in discussion}
        return value | {"repo": {"name": repo.removeprefix("datasets/"), "type": kind}}

    @route("GET", rf"/api/{ID}/discussions")
    def _discussions(self, repo: str) -> None:
        self.hub.admit(repo, self.authorization)
        found = [self._summary(repo, each) for each in reversed(self.hub.store.state(repo)["discussions"])]
        asked = {key: self.query.get(key, ["all"])[0] for key in ("type", "status", "author")}
        if asked["type"] != "all":
            found = [each for each in found if each["isPullRequest"] == (asked["type"] == "pull_request")]
        if asked["status"] != "all":
            wanted = ("open", "draft") if asked["status"] == "open" else ("closed", "merged")
            found = [each for each in found if each["status"] in wanted]
        if asked["author"] != "all":
            found = [each for each in found if each["author"]["name"] == asked["author"]]
        self.send_json({"discussions": found, "count": len(found), "start": 0})

    @route("POST", rf"/api/{ID}/discussions")
    def _create_discussion(self, repo: str) -> None:
        user = self.hub.admit_writer(repo, self.authorization, opens=True)
        value, fields = self.read_json(), {}
        if value.get("pullRequest"):
            head = self.hub.store.resolve(repo, "main")
            fields = {"base": "main", "start": head, "head": head, "status": "draft"}
        num = self.open(repo, user, value["title"], value.get("description", ""), fields)
        self.send_json({"num": num, "url": f"{self.hub.url}/{repo}/discussions/{num}"})

    @route("GET", rf"/api/{ID}/discussions/(?P<num>\d+)")
    def _details(self, repo: str, num: str) -> None:
        self.hub.admit(repo, self.authorization)
        discussion = self.discussion(repo, int(num))
        value = {**self._summary(repo, discussion), "events": discussion["events"]}
        if value["isPullRequest"]:
            start, head = (self.hub.store.commit(repo, discussion[key])["files"] for key in ("start", "head"))
            changed = sorted(path for path in {*start, *head} if start.get(path) != head.get(path))
            value["diff"] = "\n".join(f"diff --git a/{path} b/{path}" for path in changed)
            value["filesWithConflicts"] = self.hub.store.conflicts(repo, discussion)
            value["changes"] = {"base": f"refs/heads/{discussion['base']}"}
            if "merged" in discussion:
                value["changes"]["mergeCommitId"] = discussion["merged"]
        self.send_json(value)

    @route("POST", rf"/api/{ID}/discussions/(?P<num>\d+)/(?P<action>comment|status|merge)")
    def _change_discussion(self, repo: str, num: str, action: str) -> None:
        user = self.hub.admit_writer(repo, self.authorization, opens=action == "comment")
        discussion, value = self.discussion(repo, int(num)), self.read_json() or {}
        if action == "merge":
            if discussion["status"] != "open" or "head" not in discussion:
                raise bad_request(f"Discussion {num} is no open pull request: it is {discussion['status']}")
            self.hub.store.merge(repo, int(num), user)
        told = self._comment_event(repo, int(num), user, value["comment"]) if value.get("comment") else None
        if action == "status":
            status = {"status": value["status"]}
            told = self.hub.store.add_event(repo, int(num), "status-change", user, status, **status)
        self.send_json({"newStatus": told, "newMessage": told})
