# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""A small Hub on loopback, which the real `huggingface_hub` client reads from and writes to.

By hand: `PYTHONPATH=tests python -m fake_hub.server FOLDER --token me:write:hf_me you:read:hf_you`; in another shell

    export HF_ENDPOINT=http://127.0.0.1:8080 HF_HUB_DISABLE_XET=1 HF_TOKEN=hf_me HF_HOME=$(mktemp -d)
    hf upload me/first outputs/demo/student --private
    hf download me/first

A repository is a folder: `FOLDER/user/name` holds its branch `main`, `FOLDER/user/name@v1` its revision `v1`; data
sets lie under `FOLDER/datasets/`. A folder made by hand is served as it is; the history of all of them is kept in
`FOLDER/.hub` (see `store`). Point the client at the server with `HF_ENDPOINT`, which it reads when it is imported.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import socket
import threading
from collections.abc import Collection, Mapping
from contextlib import suppress
from http import HTTPStatus
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

from fake_hub.faults import Exchange, Fault, Faults, find_text
from fake_hub.files import HubError
from fake_hub.store import HubStore
from fake_hub.uploads import HubHandler, Upload


class HubServer:
    """Serve the repositories under a folder for as long as the block runs.

    Args:
        root: folder of the repositories; it may change while the server runs.
        private: ids that only their owner sees, and a request with `token`.
        gated: ids that everyone sees, but whose files only their owner gets, and a request with `token`.
        token: of the user `me`, who may write.
        port: 0 takes a free one.
        tokens: more of them: token -> (user, `"read"` or `"write"`).
        organizations: name -> its members, who may write there as they do at home.
        part_size: bytes above which a large object comes in parts of that size; None never asks for parts.

    Attributes:
        url: what `HF_ENDPOINT` must be.
        requests: `"GET /path"` of every request, in order.
        exchanges: every request with its answer, as far as they are text.
        uploads: the bytes that came for the large file storage: (repo, oid, size, whole).
        commits: what was committed: `{"repo", "revision", "commit", "operations": {path: "file", "lfsFile", ...}}`.
        store: the repositories.
    """

    def __init__(
        self,
        root: str | os.PathLike,
        private: Collection[str] = (),
        gated: Collection[str] = (),
        token: str = "hf_let_me_in",
        port: int = 0,
        tokens: Mapping[str, tuple[str, str]] | None = None,
        organizations: Mapping[str, Collection[str]] | None = None,
        part_size: int | None = None,
    ):
        self.store, self.faults = HubStore(root), Faults()
        self.private, self.gated, self.token = set(private), set(gated), token
        self.tokens = {token: ("me", "write"), **(tokens or {})}
        self.organizations, self.part_size = dict(organizations or {}), part_size
        self.requests: list[str] = []
        self.exchanges: list[Exchange] = []
        self.uploads: list[Upload] = []
        self.commits: list[dict[str, Any]] = []
        self.connections: set[socket.socket] = set()
        self._server = ThreadingHTTPServer(("127.0.0.1", port), type("Handler", (HubHandler,), {"hub": self}))
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> HubServer:
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        for connection in list(self.connections):  # those that a client keeps open
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._thread.join()

    def environment(self, home: str | os.PathLike, **more: str) -> dict[str, str]:
        """Environment of a client process: this server, a cache of its own under `home`, online."""
        own = {"HF_ENDPOINT": self.url, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1", "HF_HUB_OFFLINE": "0"}
        return {**{key: value for key, value in os.environ.items() if key != "HF_TOKEN"}, **own, **more}

    # --- what goes wrong, and what was seen ------------------------------------------------------------------------

    def answer(
        self,
        method: str,
        path: str,
        status: int,
        headers: Mapping[str, str] | None = None,
        times: int = 1,
        body: str = "",
    ) -> None:
        """Give the next requests this answer and do nothing, e.g. `answer("POST", "/preupload/", 500, times=2)`.

        Args:
            method: `"GET"`, `"PUT"`, ...; `"*"` for every one.
            path: pattern that is searched for in the path (not quoted, without the query).
            status: HTTP status.
            headers: e.g. `{"Retry-After": "0"}`, after which the client waits for 1 s.
            times: how many requests.
            body: text of the answer; the name of the status by default.
        """
        self.faults.add(Fault("answer", method, path, times, status=status, headers=headers or {}, body=body))

    def cut_upload(self, path: str, after: int = 0, times: int = 1, method: str = "*") -> None:
        """End the connection after so many bytes of the body: `"/lfs/"` for a large object, `"/commit/"`, ..."""
        self.faults.add(Fault("cut upload", method, path, times, after))

    def cut_download(self, path: str, after: int = 0, times: int = 1) -> None:
        """End the connection after so many bytes of a file; the client goes on from there a second later."""
        self.faults.add(Fault("cut download", "GET", path, times, after))

    def damage(self, path: str, shorten: bool = False, times: int = 1) -> None:
        """Send another first byte of a file, or with `shorten` all but the last.

        The client refuses a file that is too short; that the bytes are others only their hash tells.
        """
        self.faults.add(Fault("shorten" if shorten else "damage", "GET", path, times))

    def recover(self) -> None:
        """Have nothing go wrong any more."""
        self.faults = Faults()

    def find(self, text: str) -> list[str]:
        """Where a text (say a token) is found: in requests but for their header `Authorization`, answers, files."""
        return find_text(text, self.exchanges, self.store.root)

    # --- who may do what -------------------------------------------------------------------------------------------

    def user(self, authorization: str | None) -> tuple[str, str] | None:
        """Whose token a header `Authorization` holds: the user's name and the token's role."""
        return self.tokens.get((authorization or "").removeprefix("Bearer "))

    def namespaces(self, user: str) -> set[str]:
        """Where a user may have repositories: at home and in organizations."""
        return {user, *(name for name, members in self.organizations.items() if user in members)}

    def owns(self, repo: str, user: str) -> bool:
        """Whether a repository is the user's, or of an organization of the user."""
        return repo.removeprefix("datasets/").split("/")[0] in self.namespaces(user)

    def settings(self, repo: str) -> dict[str, Any]:
        """`"private"` and `"gated"` of a repository."""
        state = self.store.state(repo)
        gated = "manual" if repo in self.gated else state["gated"]
        return {"private": repo in self.private or state["private"], "gated": gated}

    def _is_let_in(self, repo: str, authorization: str | None, names: set[str]) -> bool:
        user = self.user(authorization)
        known = authorization == f"Bearer {self.token}" and repo in names
        return known or (user is not None and self.owns(repo, user[0]))

    def sees(self, repo: str, authorization: str | None) -> bool:
        """Whether a repository is there for who asks."""
        if not self.store.exists(repo):
            return False
        return not self.settings(repo)["private"] or self._is_let_in(repo, authorization, self.private)

    def admit(self, repo: str, authorization: str | None, reads_files: bool = False) -> None:
        """Let a request in, or not, as the real Hub does.

        Raises:
            HubError: missing, private or gated, and the token is not one that opens it.
        """
        if not self.sees(repo, authorization):
            if authorization is None:  # the Hub doesn't tell strangers what exists
                raise HubError(HTTPStatus.UNAUTHORIZED, "RepoNotFound", "Invalid username or password.")
            raise HubError(HTTPStatus.NOT_FOUND, "RepoNotFound", "Repository not found")
        if reads_files and self.settings(repo)["gated"] and not self._is_let_in(repo, authorization, self.gated):
            status = HTTPStatus.UNAUTHORIZED if authorization is None else HTTPStatus.FORBIDDEN
            raise HubError(status, "GatedRepo", f"Access to model {repo} is restricted.")

    def admit_writer(
        self, repo: str, authorization: str | None, message: str = "Authorization error.", opens: bool = False
    ) -> str:
        """Let a request change a repository, or not; gives the user.

        Args:
            repo: the repository.
            authorization: header of the request.
            message: of the answer 403.
            opens: whether everyone who may write at home may do this, such as to open a pull request.

        Raises:
            HubError: it isn't there for the user, the token only reads, or the repository is somebody else's.
        """
        self.admit(repo, authorization)
        user = self.user(authorization)
        if user is None:
            raise HubError(HTTPStatus.UNAUTHORIZED, "RepoNotFound", "Invalid username or password.")
        if user[1] != "write" or not (opens or self.owns(repo, user[0])):
            raise HubError(HTTPStatus.FORBIDDEN, "", message)
        return user[0]

    def admit_owner(self, repo: str, authorization: str | None) -> str:
        """Let a request make a repository of this name, or not; gives the user.

        Raises:
            HubError: no token, one that only reads, or the name belongs to somebody else.
        """
        user = self.user(authorization)
        if user is None:
            raise HubError(HTTPStatus.UNAUTHORIZED, "", "Invalid username or password.")
        if user[1] != "write" or not self.owns(repo, user[0]):
            kind, name = (
                ("dataset", repo.split("/")[1]) if repo.startswith("datasets/") else ("model", repo.split("/")[0])
            )
            message = f'You don\'t have the rights to create a {kind} under the namespace "{name}"'
            raise HubError(HTTPStatus.FORBIDDEN, "", message)
        return user[0]


def main() -> None:
    """Serve a folder until it is interrupted."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="folder of the repositories: FOLDER/user/name")
    parser.add_argument("--port", type=int, default=8080, help="on 127.0.0.1; 0 takes a free one")
    parser.add_argument("--private", nargs="*", default=[], help="ids that need the token")
    parser.add_argument("--gated", nargs="*", default=[], help="ids whose files need the token")
    parser.add_argument(
        "--token",
        nargs="*",
        default=["hf_let_me_in"],
        help="tokens: USER:read:TOKEN, USER:write:TOKEN, or one TOKEN of the user me, who may write",
    )
    args = parser.parse_args()
    if not args.folder.is_dir():
        parser.error(f"{args.folder} is not a folder")
    plain = [text for text in args.token if ":" not in text] or ["hf_let_me_in"]
    named = [text.split(":", 2) for text in args.token if ":" in text]
    if len(plain) > 1 or any(len(each) != 3 or each[1] not in ("read", "write") for each in named):
        parser.error(f"--token takes USER:read:TOKEN, USER:write:TOKEN or one TOKEN, got {' '.join(args.token)}")
    tokens = {token: (user, role) for user, role, token in named}
    with HubServer(args.folder, args.private, args.gated, plain[0], args.port, tokens) as hub:
        print(f"HF_ENDPOINT={hub.url} HF_HUB_DISABLE_XET=1    (Ctrl+C ends it)", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()


if __name__ == "__main__":
    main()
