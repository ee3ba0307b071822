# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""A small Hub on loopback that serves folders to the real `huggingface_hub` client.

By hand: `python tests/hub_server.py FOLDER`. A repository is a folder: `FOLDER/user/name` holds its branch `main`,
`FOLDER/user/name@v1` its revision `v1`; data sets lie under `FOLDER/datasets/`. Point the client at the server with
`HF_ENDPOINT`, which it reads when it is imported.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import threading
from collections.abc import Collection
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit


# what the real Hub keeps in its large file storage and hands out by a redirect to another host
LARGE = (".safetensors", ".bin", ".pth", ".pt", ".ckpt", ".arrow", ".parquet")
CHUNK = 1 << 20

_RESOLVE = re.compile(r"/(?P<repo>(?:datasets/)?[^/]+(?:/[^/]+)?)/resolve/(?P<revision>[^/]+)/(?P<path>.+)")
_API = re.compile(
    r"/api/(?P<kind>models|datasets)/(?P<repo>[^/]+/[^/]+?|[^/]+?)(?:/(?P<verb>revision|tree)/(?P<revision>[^/]+)"
    r"(?:/(?P<path>.*))?)?"
)
_CONTENT = re.compile(r"/(?:api/resolve-cache|cdn)/(?P<repo>.+)/-/(?P<commit>[0-9a-f]{40})/(?P<path>.+)")


class HubError(Exception):
    """An answer that the client turns into one of its own exceptions.

    Args:
        status: HTTP status.
        code: the header `X-Error-Code`, by which the client tells errors apart.
        message: the header `X-Error-Message`.
    """

    def __init__(self, status: HTTPStatus, code: str, message: str):
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


class HubServer:
    """Serve the repositories under a folder for as long as the block runs.

    Args:
        root: folder of the repositories; it may change while the server runs.
        private: ids that only a request with `token` sees.
        gated: ids that everyone sees, but whose files only a request with `token` gets.
        token: the one token that is let in.
        port: 0 takes a free one.

    Attributes:
        url: what `HF_ENDPOINT` must be.
        requests: `"GET /path"` of every request, in order.
    """

    def __init__(
        self,
        root: str | os.PathLike,
        private: Collection[str] = (),
        gated: Collection[str] = (),
        token: str = "hf_let_me_in",
        port: int = 0,
    ):
        self.root = Path(root)
        self.private, self.gated, self.token = set(private), set(gated), token
        self.requests: list[str] = []
        self._digests: dict[tuple[str, int, int], str] = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", port), type("Handler", (_Handler,), {"hub": self}))
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
        self._thread.join()

    def environment(self, home: str | os.PathLike, **more: str) -> dict[str, str]:
        """Environment of a client process: this server, a cache of its own under `home`, online."""
        own = {"HF_ENDPOINT": self.url, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1", "HF_HUB_OFFLINE": "0"}
        return {**{key: value for key, value in os.environ.items() if key != "HF_TOKEN"}, **own, **more}

    def digest(self, path: Path, kind: str = "sha1") -> str:
        """Hash of a file, which is its ETag: git's own for small files, SHA-256 for large ones."""
        stat = path.stat()
        key = (f"{kind} {path}", stat.st_mtime_ns, stat.st_size)
        if key not in self._digests:
            made = hashlib.new(kind)
            if kind == "sha1":
                made.update(f"blob {stat.st_size}\0".encode())
            with path.open("rb") as file:
                while block := file.read(CHUNK):
                    made.update(block)
            self._digests[key] = made.hexdigest()
        return self._digests[key]

    def etag(self, path: Path) -> str:
        """What the client names its copy of the file by."""
        return self.digest(path, "sha256" if path.suffix in LARGE else "sha1")

    def files(self, folder: Path) -> list[Path]:
        """Every file of a revision, in order; hidden folders left out."""
        found = (path for path in folder.rglob("*") if path.is_file())
        return sorted(
            path for path in found if not any(p.startswith(".") for p in path.relative_to(folder).parts[:-1])
        )

    def commit(self, folder: Path) -> str:
        """Commit hash of a revision: it changes when a file does."""
        rows = [f"{path.relative_to(folder).as_posix()} {self.etag(path)}" for path in self.files(folder)]
        return hashlib.sha1("\n".join(rows).encode()).hexdigest()

    def folder(self, repo: str, revision: str) -> Path:
        """Folder of a revision, given by name or by commit.

        Raises:
            HubError: there is no such repository or revision.
        """
        main = self.root / repo
        if ".." in Path(repo).parts or not main.is_dir():
            raise HubError(HTTPStatus.NOT_FOUND, "RepoNotFound", "Repository not found")
        if revision == "main":
            return main
        named = main.with_name(f"{main.name}@{revision}")
        if named.is_dir():
            return named
        for folder in (main, *main.parent.glob(f"{main.name}@*")):
            if self.commit(folder) == revision:
                return folder
        raise HubError(HTTPStatus.NOT_FOUND, "RevisionNotFound", f"Invalid rev id: {revision}")

    def admit(self, repo: str, authorization: str | None, reads_files: bool) -> None:
        """Let a request in, or not, as the real Hub does.

        Raises:
            HubError: private or gated, and the token is not the right one.
        """
        if authorization == f"Bearer {self.token}":
            return
        missing = repo in self.private or not (self.root / repo).is_dir()
        if missing and authorization is None:  # the Hub doesn't tell strangers what exists
            raise HubError(HTTPStatus.UNAUTHORIZED, "RepoNotFound", "Invalid username or password.")
        if missing:
            raise HubError(HTTPStatus.NOT_FOUND, "RepoNotFound", "Repository not found")
        if reads_files and repo in self.gated:
            status = HTTPStatus.UNAUTHORIZED if authorization is None else HTTPStatus.FORBIDDEN
            raise HubError(status, "GatedRepo", f"Access to model {repo} is restricted.")


class _Handler(BaseHTTPRequestHandler):
    hub: HubServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def log_message(self, *values: object) -> None:
        """Silent; `HubServer.requests` keeps what was asked."""

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append(f"{self.command} {path}")
        try:
            for pattern, route in ((_CONTENT, self._content), (_RESOLVE, self._resolve), (_API, self._api)):
                if match := pattern.fullmatch(path):
                    return route(**match.groupdict())
            raise HubError(HTTPStatus.NOT_FOUND, "NotFound", f"No such route: {path}")
        except HubError as error:
            headers = {"X-Error-Code": error.code, "X-Error-Message": error.message}
            self._send(error.status, json.dumps({"error": error.message}).encode(), headers)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def _resolve(self, repo: str, revision: str, path: str) -> None:
        """A file by name: a redirect, to the same host for small files, to another one (`localhost`) for large."""
        self.hub.admit(repo, self.headers["Authorization"], reads_files=True)
        folder = self.hub.folder(repo, revision)
        commit, file = self.hub.commit(folder), self._file(folder, path)
        headers = {"X-Repo-Commit": commit}
        where = f"{quote(repo)}/-/{commit}/{quote(path)}"
        if file.suffix in LARGE:
            headers["X-Linked-Etag"] = f'"{self.hub.etag(file)}"'
            headers["X-Linked-Size"] = str(file.stat().st_size)
            headers["Location"] = f"http://localhost:{self.hub.port}/cdn/{where}"
            return self._send(HTTPStatus.FOUND, b"", headers)
        headers["Location"] = f"/api/resolve-cache/{where}"
        self._send(HTTPStatus.TEMPORARY_REDIRECT, b"", headers)

    def _content(self, repo: str, commit: str, path: str) -> None:
        """The bytes of a file, or a range of them."""
        file = self._file(self.hub.folder(repo, commit), path)
        size, first, last = file.stat().st_size, 0, file.stat().st_size - 1
        headers = {"ETag": f'"{self.hub.etag(file)}"', "X-Repo-Commit": commit, "Accept-Ranges": "bytes"}
        status = HTTPStatus.OK
        if asked := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers["Range"] or ""):
            first, last = int(asked[1]), min(int(asked[2] or last), last)
            if first > last:
                return self._send(
                    HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, b"", {"Content-Range": f"bytes */{size}"}
                )
            status, headers["Content-Range"] = HTTPStatus.PARTIAL_CONTENT, f"bytes {first}-{last}/{size}"
        left = last - first + 1
        self._send(status, None, {**headers, "Content-Length": str(left)})
        if self.command == "GET":
            with file.open("rb") as stream:
                stream.seek(first)
                while left and (block := stream.read(min(CHUNK, left))):
                    self.wfile.write(block)
                    left -= len(block)

    def _api(self, kind: str, repo: str, verb: str | None, revision: str | None, path: str | None) -> None:
        """What a repository holds: `/api/models/ID`, `.../revision/REV`, `.../tree/REV[/FOLDER]`."""
        repo = repo if kind == "models" else f"datasets/{repo}"
        self.hub.admit(repo, self.headers["Authorization"], reads_files=verb == "tree")
        folder = self.hub.folder(repo, revision or "main")
        if verb == "tree":
            deep = "recursive=true" in urlsplit(self.path).query.lower()
            return self._send_json(self._tree(folder, path or "", deep))
        names = [file.relative_to(folder).as_posix() for file in self.hub.files(folder)]
        self._send_json(
            {
                "id": repo.removeprefix("datasets/"),
                "sha": self.hub.commit(folder),
                "private": repo in self.hub.private,
                "gated": "manual" if repo in self.hub.gated else False,
                "siblings": [{"rfilename": name} for name in names],
                "tags": [],
            }
        )

    def _tree(self, folder: Path, path: str, deep: bool) -> list[dict[str, Any]]:
        entries: dict[str, dict[str, Any]] = {}
        for file in self.hub.files(folder):
            name, inside = file.relative_to(folder).as_posix(), file.relative_to(folder / path)
            for parent in list(inside.parents)[:-1] if deep else list(inside.parents)[-2:-1]:
                below = (Path(path) / parent).as_posix()
                entries[below] = {"type": "directory", "oid": hashlib.sha1(below.encode()).hexdigest(), "path": below}
            if deep or len(inside.parts) == 1:
                size = file.stat().st_size
                entries[name] = {"type": "file", "oid": self.hub.digest(file), "size": size, "path": name}
                if file.suffix in LARGE:
                    entries[name]["lfs"] = {"oid": self.hub.etag(file), "size": size, "pointerSize": 134}
        return [entries[name] for name in sorted(entries)]

    def _file(self, folder: Path, path: str) -> Path:
        file = folder / path
        if ".." in Path(path).parts or not file.is_file():
            raise HubError(HTTPStatus.NOT_FOUND, "EntryNotFound", f"Entry not found: {path}")
        return file

    def _send_json(self, value: Any) -> None:
        self._send(HTTPStatus.OK, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _send(self, status: HTTPStatus, body: bytes | None, headers: dict[str, str]) -> None:
        """Send a whole answer, or where `body` is None only its head."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if body is not None:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if body and self.command != "HEAD":
            self.wfile.write(body)


def main() -> None:
    """Serve a folder until it is interrupted."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="folder of the repositories: FOLDER/user/name")
    parser.add_argument("--port", type=int, default=8080, help="on 127.0.0.1; 0 takes a free one")
    parser.add_argument("--private", nargs="*", default=[], help="ids that need the token")
    parser.add_argument("--gated", nargs="*", default=[], help="ids whose files need the token")
    parser.add_argument("--token", default="hf_let_me_in", help="the token that is let in")
    args = parser.parse_args()
    if not args.folder.is_dir():
        parser.error(f"{args.folder} is not a folder")
    with HubServer(args.folder, args.private, args.gated, args.token, args.port) as hub:
        print(f"HF_ENDPOINT={hub.url} HF_HUB_DISABLE_XET=1    (Ctrl+C ends it)", flush=True)
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            pass


if __name__ == "__main__":
    main()
