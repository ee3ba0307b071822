# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""A connection to the test Hub: requests, their bodies, answers; and the routes by which files are read."""

from __future__ import annotations

import hashlib
import json
import re
import socket
import traceback
from collections.abc import Callable, Iterator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

from fake_hub.faults import KEPT_BYTES, CutError, Exchange
from fake_hub.files import CHUNK, Files, HubError, bad_request


if TYPE_CHECKING:
    from fake_hub.server import HubServer

ID = r"(?P<kind>models|datasets)/(?P<name>[^/]+/[^/]+)"
REVISION = r"(?P<revision>refs/pr/\d+|[^/]+)"

_ROUTES: list[tuple[str, re.Pattern[str], Callable[..., None]]] = []


def route(method: str, pattern: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Have a method of the handler answer what matches; the groups of the pattern are its arguments."""

    def add(function: Callable[..., None]) -> Callable[..., None]:
        _ROUTES.append((method, re.compile(pattern), function))
        return function

    return add


class HubConnection(BaseHTTPRequestHandler):
    """One connection of a client."""

    hub: HubServer
    protocol_version = "HTTP/1.1"
    # head and body of an answer go out one after the other, and neither waits for the other's receipt
    disable_nagle_algorithm = True

    def setup(self) -> None:
        super().setup()
        self.hub.connections.add(self.connection)

    def finish(self) -> None:
        self.hub.connections.discard(self.connection)
        super().finish()

    def log_message(self, *values: object) -> None:
        """Silent; `HubServer.requests` keeps what was asked."""

    def _answer(self) -> None:
        raw = urlsplit(self.path)
        path, self.query = unquote(raw.path), parse_qs(raw.query)
        self.authorization = self.headers["Authorization"]
        self.exchange = Exchange(self.command, self.path, {key.lower(): text for key, text in self.headers.items()})
        self.hub.requests.append(f"{self.command} {path}")
        self.hub.exchanges.append(self.exchange)
        self.body = self._blocks(path)
        try:
            if fault := self.hub.faults.take(self.command, path, "answer"):
                message = fault.body or HTTPStatus(fault.status).phrase
                return self.send(HTTPStatus(fault.status), message.encode(), dict(fault.headers))
            self._dispatch(raw.path)
        except HubError as error:
            # a header is one line of Latin letters
            told = " ".join(error.message.encode("ascii", "replace").decode().split())
            headers = {"X-Error-Code": error.code, "X-Error-Message": told, "Content-Type": "application/json"}
            body = json.dumps({"error": error.message, **error.more}).encode()
            self.send(error.status, body, {name: text for name, text in headers.items() if text})
        except CutError:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
        except Exception:
            traceback.print_exc()
            # a status that the client doesn't wait for and ask again
            self.send(HTTPStatus.NOT_IMPLEMENTED, b"an error in the test Hub: see its output", {})
        finally:
            if not self.close_connection:
                self._read_rest()

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = _answer

    def _dispatch(self, path: str) -> None:
        method = "GET" if self.command == "HEAD" else self.command
        for wanted, pattern, function in _ROUTES:
            if wanted == method and (match := pattern.fullmatch(path)):
                groups = {key: text and unquote(text) for key, text in match.groupdict().items()}
                if "name" in groups:
                    name, kind = groups.pop("name"), groups.pop("kind")
                    groups["repo"] = name if kind == "models" else f"{kind}/{name}"
                if (repo := groups.get("repo")) and (target := self.hub.store.moved_to(repo)):
                    self.hub.admit(target, self.authorization)
                    old, new = (quote(each.removeprefix("datasets/")) for each in (repo, target))
                    headers = {"Location": self.path.replace(f"/{old}", f"/{new}", 1)}
                    return self.send(HTTPStatus.TEMPORARY_REDIRECT, b"", headers)
                return function(self, **groups)
        raise HubError(HTTPStatus.NOT_FOUND, "NotFound", f"No such route: {method} {unquote(path)}")

    # --- bodies ----------------------------------------------------------------------------------------------------

    def _frames(self) -> Iterator[bytes]:
        """The body as it comes in, whichever way its length is told."""
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            while left := int(self._received(self.rfile.readline()).split(b";")[0], 16):
                yield self._received(self.rfile.read(left))
                self.rfile.readline()
            self.rfile.readline()
            return
        left = int(self.headers.get("Content-Length", 0))
        while left:
            block = self._received(self.rfile.read(min(CHUNK, left)))
            left -= len(block)
            yield block

    @staticmethod
    def _received(data: bytes) -> bytes:
        if not data:
            raise ConnectionResetError("the client went away")
        return data

    def _blocks(self, path: str) -> Iterator[bytes]:
        """The body, noted; cut where the test asked for that."""
        fault = None
        if self.command in ("POST", "PUT"):
            fault = self.hub.faults.take(self.command, path, "cut upload")
        left = fault.after if fault else 0
        for block in self._frames():
            block = block[:left] if fault else block
            self.exchange.body += block[: KEPT_BYTES - len(self.exchange.body)].decode("latin-1")
            yield block
            left -= len(block)
            if fault and not left:
                break
        if fault:
            raise CutError

    def _read_rest(self) -> None:
        """Leave the connection where the next request begins."""
        try:
            for _ in self.body:
                pass
        except (CutError, ConnectionResetError):
            self.close_connection = True

    def read_json(self) -> Any:
        """The body as JSON.

        Raises:
            HubError: 400, it is none.
        """
        try:
            return json.loads(b"".join(self.body) or b"{}")
        except ValueError as error:
            raise bad_request(f"The body is no JSON: {error}") from error

    def asked(self, name: str) -> bool:
        """Whether the query sets a switch."""
        return self.query.get(name, [""])[0].lower() in ("1", "true")

    def send_json(self, value: Any) -> None:
        """Answer with a value."""
        body = json.dumps(value, default=str).encode()
        self.send(HTTPStatus.OK, body, {"Content-Type": "application/json"})

    def send(self, status: HTTPStatus, body: bytes | None, headers: dict[str, str]) -> None:
        """Send a whole answer, or where `body` is None only its head."""
        self.exchange.status, self.exchange.answer_headers = int(status), headers
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if body is not None:
            self.exchange.answer = body.decode("latin-1")
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if body and self.command != "HEAD":
            self.wfile.write(body)

    # --- files -----------------------------------------------------------------------------------------------------

    def _file(self, repo: str, commit: str, path: str) -> dict[str, Any]:
        files = self.hub.store.commit(repo, commit)["files"]
        if path not in files:
            raise HubError(HTTPStatus.NOT_FOUND, "EntryNotFound", f"Entry not found: {path}")
        return files[path]

    @route("GET", rf"/(?P<repo>(?:datasets/)?[^/]+(?:/[^/]+)?)/resolve/{REVISION}/(?P<path>.+)")
    def _resolve(self, repo: str, revision: str, path: str) -> None:
        """A file by name: a redirect, to the same host for small files, to another one (`localhost`) for large."""
        self.hub.admit(repo, self.authorization, reads_files=True)
        commit = self.hub.store.resolve(repo, revision)
        file = self._file(repo, commit, path)
        headers = {"X-Repo-Commit": commit}
        where = f"{quote(repo)}/-/{commit}/{quote(path)}"
        if file["lfs"]:
            headers["X-Linked-Etag"] = f'"{file["sha256"]}"'
            headers["X-Linked-Size"] = str(file["size"])
            headers["Location"] = f"http://localhost:{self.hub.port}/cdn/{where}"
            self.send(HTTPStatus.FOUND, b"", headers)
            return
        headers["Location"] = f"/api/resolve-cache/{where}"
        self.send(HTTPStatus.TEMPORARY_REDIRECT, b"", headers)

    @route("GET", r"/(?P<host>api/resolve-cache|cdn)/(?P<repo>.+)/-/(?P<commit>[0-9a-f]{40})/(?P<path>.+)")
    def _content(self, host: str, repo: str, commit: str, path: str) -> None:
        """The bytes of a file, or a range of them; the storage (`cdn`) gets no token, as its links are signed."""
        if host != "cdn":
            self.hub.admit(repo, self.authorization, reads_files=True)
        self.hub.store.resolve(repo, commit)
        file = self._file(repo, commit, path)
        size, first, last = file["size"], 0, file["size"] - 1
        fault = None
        if self.command == "GET":
            kinds = "cut download", "damage", "shorten"
            fault = self.hub.faults.take("GET", unquote(urlsplit(self.path).path), *kinds)
        last -= bool(fault and fault.kind == "shorten")
        etag = file["sha256"] if file["lfs"] else file["oid"]
        headers = {"ETag": f'"{etag}"', "X-Repo-Commit": commit, "Accept-Ranges": "bytes"}
        status = HTTPStatus.OK
        if asked := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers["Range"] or ""):
            first, last = int(asked[1]), min(int(asked[2] or last), last)
            if first > last:
                self.send(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, b"", {"Content-Range": f"bytes */{size}"})
                return
            status, headers["Content-Range"] = HTTPStatus.PARTIAL_CONTENT, f"bytes {first}-{last}/{size}"
        left = last - first + 1
        self.send(status, None, {**headers, "Content-Length": str(left)})
        if self.command == "GET":
            with self.hub.store.blob(repo, file["sha256"]).open("rb") as stream:
                stream.seek(first)
                if fault and fault.kind == "cut download":
                    self.wfile.write(stream.read(min(fault.after, left)))
                    raise CutError
                while left and (block := stream.read(min(CHUNK, left))):
                    if fault and fault.kind == "damage" and stream.tell() == first + len(block):
                        block = bytes([block[0] ^ 1]) + block[1:]
                    self.wfile.write(block)
                    left -= len(block)

    def entry(self, repo: str, sha: str, path: str, details: bool) -> dict[str, Any]:
        """A file or a folder as `tree` and `paths-info` list it; the last commit of a file with the details."""
        file = self.hub.store.commit(repo, sha)["files"].get(path)
        if file is None:
            return {"type": "directory", "oid": hashlib.sha1(path.encode()).hexdigest(), "size": 0, "path": path}
        entry = {"type": "file", "oid": file["oid"], "size": file["size"], "path": path}
        if file["lfs"]:
            entry["lfs"] = {"oid": file["sha256"], "size": file["size"], "pointerSize": 134}
        if details:
            for commit in self.hub.store.history(repo, sha):
                if commit["files"].get(path) != file:
                    break
                entry["lastCommit"] = {key: commit[key] for key in ("id", "title", "date")}
        return entry

    def _folders(self, files: Files) -> set[str]:
        return {"/".join(path.split("/")[:n]) for path in files for n in range(1, path.count("/") + 1)}

    @route("GET", rf"/api/{ID}/tree/{REVISION}(?:/(?P<path>.*))?")
    def _tree(self, repo: str, revision: str, path: str | None) -> None:
        """What a folder holds, or with `recursive=true` what lies below it."""
        self.hub.admit(repo, self.authorization, reads_files=True)
        sha = self.hub.store.resolve(repo, revision)
        files = self.hub.store.commit(repo, sha)["files"]
        top = f"{path.strip('/')}/" if path else ""
        deep = self.asked("recursive")
        names = {each for each in {*files, *self._folders(files)} if each.startswith(top)}
        if top and not names:
            raise HubError(HTTPStatus.NOT_FOUND, "EntryNotFound", f"{path} does not exist on {revision}")
        names = sorted(each for each in names if deep or "/" not in each.removeprefix(top))
        self.send_json([self.entry(repo, sha, each, self.asked("expand")) for each in names])

    @route("POST", rf"/api/{ID}/paths-info/{REVISION}")
    def _paths_info(self, repo: str, revision: str) -> None:
        self.hub.admit(repo, self.authorization, reads_files=True)
        form = parse_qs(b"".join(self.body).decode())
        sha = self.hub.store.resolve(repo, revision)
        files = self.hub.store.commit(repo, sha)["files"]
        known = {*files, *self._folders(files)}
        found = [path for path in (each.strip("/") for each in form.get("paths", [])) if path in known]
        self.send_json([self.entry(repo, sha, path, form.get("expand") == ["true"]) for path in found])
