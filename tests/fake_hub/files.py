# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""The bytes of the test Hub: blobs by their hash, the folders in which branches lie, and what both are told by."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO


# what the real Hub keeps in its large file storage and hands out by a redirect to another host
LARGE = (".safetensors", ".bin", ".pth", ".pt", ".ckpt", ".arrow", ".parquet")
LARGE_SIZE = 10_000_000
CHUNK = 1 << 20

# by path; a file is {"sha256", "oid", "size", "lfs"}: its hashes (`oid` is git's own; that of the pointer for a large
# file), its size in bytes, and whether it is in the large file storage
Files = dict[str, dict[str, Any]]


class HubError(Exception):
    """An answer that the client turns into one of its own exceptions.

    Args:
        status: HTTP status.
        code: the header `X-Error-Code`, by which the client tells errors apart; "" for none.
        message: the header `X-Error-Message`.
        **more: further fields of the body.
    """

    def __init__(self, status: HTTPStatus, code: str, message: str, **more: Any):
        super().__init__(message)
        self.status, self.code, self.message, self.more = status, code, message, more


def bad_request(message: str) -> HubError:
    """The answer to what can't be done as it was asked for."""
    return HubError(HTTPStatus.BAD_REQUEST, "", message)


def is_large(name: str, size: int) -> bool:
    """Whether a file goes to the large file storage."""
    return name.endswith(LARGE) or size > LARGE_SIZE


def now() -> str:
    """The time, as the Hub writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def is_hidden(path: str) -> bool:
    """Whether a file lies in a hidden folder, such as `.cache` or `.git`."""
    return any(part.startswith(".") for part in PurePosixPath(path).parts[:-1])


class HubFiles:
    """Bytes of repositories: blobs under `.hub/REPO/blobs/SHA256`, and the folders that branches are checked out in.

    Args:
        root: folder of the repositories.
    """

    def __init__(self, root: str | os.PathLike):
        self.root = Path(root)
        self._digests: dict[tuple[str, int, int], tuple[str, str]] = {}

    def home(self, repo: str) -> Path:
        """Folder of a repository's history."""
        return self.root / ".hub" / repo

    def blob(self, repo: str, sha256: str) -> Path:
        """Where the bytes of that hash lie, whether or not they are there."""
        return self.home(repo) / "blobs" / sha256

    def put(self, repo: str, data: bytes) -> dict[str, Any]:
        """Keep the bytes of a small file."""
        self.receive(repo, hashlib.sha256(data).hexdigest(), [data])
        oid = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
        return {"sha256": hashlib.sha256(data).hexdigest(), "oid": oid, "size": len(data), "lfs": False}

    def receive(self, repo: str, sha256: str, chunks: Iterable[bytes]) -> None:
        """Keep bytes under their hash.

        Raises:
            HubError: 400, they have another one; nothing is kept, nor where the bytes break off.
        """
        made = hashlib.sha256()
        with self.new_file(self.blob(repo, sha256)) as file:
            for block in chunks:
                file.write(block)
                made.update(block)
            if made.hexdigest() != sha256:
                raise bad_request(f"The object's SHA-256 is {made.hexdigest()}, not {sha256}")

    def large(self, repo: str, oid: str) -> dict[str, Any]:
        """The large file whose object was uploaded before.

        Raises:
            HubError: 404, it wasn't.
        """
        blob = self.blob(repo, oid)
        if not re.fullmatch(r"[0-9a-f]{64}", oid) or not blob.is_file():
            raise HubError(HTTPStatus.NOT_FOUND, "", f"LFS object {oid} was not uploaded")
        return self.as_large(oid, blob.stat().st_size)

    @staticmethod
    def as_large(sha256: str, size: int) -> dict[str, Any]:
        """A file in the large file storage, where git keeps a pointer to it."""
        pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n".encode()
        oid = hashlib.sha1(b"blob %d\0" % len(pointer) + pointer).hexdigest()
        return {"sha256": sha256, "oid": oid, "size": size, "lfs": True}

    def scan(self, repo: str, folder: Path, known: Files) -> Files:
        """The files of a branch's folder; where they were known before, as they were, and so are hidden folders."""
        files = {path: file for path, file in known.items() if is_hidden(path)}
        for path in folder.rglob("*"):
            name = path.relative_to(folder).as_posix()
            if is_hidden(name) or not path.is_file():
                continue
            stat = path.stat()
            key = (str(path), stat.st_mtime_ns, stat.st_size)
            if key not in self._digests:
                self._digests[key] = self._hashes(path, stat.st_size)
            sha256, oid = self._digests[key]
            if known.get(name, {}).get("sha256") == sha256:
                files[name] = known[name]
                continue
            files[name] = {"sha256": sha256, "oid": oid, "size": stat.st_size, "lfs": False}
            if is_large(name, stat.st_size):
                files[name] = self.as_large(sha256, stat.st_size)
            if not self.blob(repo, sha256).is_file():
                with self.new_file(self.blob(repo, sha256)) as copy, path.open("rb") as source:
                    shutil.copyfileobj(source, copy, CHUNK)
        return dict(sorted(files.items()))

    @staticmethod
    def _hashes(path: Path, size: int) -> tuple[str, str]:
        """SHA-256 of a file, and the hash that git gives it."""
        sha256, oid = hashlib.sha256(), hashlib.sha1(b"blob %d\0" % size)
        with path.open("rb") as file:
            while block := file.read(CHUNK):
                sha256.update(block)
                oid.update(block)
        return sha256.hexdigest(), oid.hexdigest()

    def check_out(self, folder: Path, repo: str, files: Files) -> None:
        """Make a branch's folder hold these files."""
        before = self.scan(repo, folder, {})
        for name in before.keys() - files.keys():
            (folder / name).unlink()
            for parent in list(Path(name).parents)[:-1]:
                if not any((folder / parent).iterdir()):
                    (folder / parent).rmdir()
        for name, file in files.items():
            if before.get(name, {}).get("sha256") != file["sha256"]:
                with self.new_file(folder / name) as copy, self.blob(repo, file["sha256"]).open("rb") as source:
                    shutil.copyfileobj(source, copy, CHUNK)

    def write_json(self, path: Path, value: Any) -> None:
        """Write a value as JSON."""
        with self.new_file(path) as file:
            file.write(json.dumps(value, indent=1).encode())

    @contextmanager
    def new_file(self, path: Path) -> Iterator[BinaryIO]:
        """A file that has its name once the block has ended well, and isn't there otherwise."""
        home = self.root / ".hub"
        for folder in (home, path.parent):
            folder.mkdir(parents=True, exist_ok=True)
        # written outside every repository, where nobody sees it half written
        with tempfile.NamedTemporaryFile(dir=home, prefix="writing-", delete=False) as file:
            try:
                yield file
            except BaseException:
                Path(file.name).unlink()
                raise
        Path(file.name).replace(path)
