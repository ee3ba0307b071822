# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""What a test can make the test Hub do wrong, and what it can look up afterwards."""

from __future__ import annotations

import base64
import json
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


# of every body that comes in, this much is kept
KEPT_BYTES = 1 << 20


class CutError(Exception):
    """The connection is to be cut now."""


@dataclass
class Fault:
    """Something that goes wrong with the next requests that match.

    Args:
        kind: `"answer"` (with a status, without doing anything), `"cut upload"` or `"cut download"` (the connection
            ends after `after` bytes of the body), `"damage"` (the body of a file has another first byte) or
            `"shorten"` (it lacks the last byte, and its length says so).
        method: `"GET"`, `"POST"`, ...; `"*"` for every one.
        path: pattern that is searched for in the path, which is not quoted and has no query.
        times: how many requests it befalls.
        after: bytes of the body that get through.
        status: HTTP status of the answer.
        headers: of the answer.
        body: of the answer; the name of the status by default.
    """

    kind: str
    method: str
    path: str
    times: int = 1
    after: int = 0
    status: int = 500
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str = ""


class Faults:
    """The faults that are still to come, which a test adds while the server runs."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []
        self._lock = threading.Lock()

    def add(self, fault: Fault) -> None:
        """Have this go wrong, after the faults that were added before it."""
        with self._lock:
            self._faults.append(fault)

    def take(self, method: str, path: str, *kinds: str) -> Fault | None:
        """The fault of one of these kinds that befalls this request, if there is one; it is counted."""
        with self._lock:
            for fault in self._faults:
                matches = fault.kind in kinds and fault.method in (method, "*") and re.search(fault.path, path)
                if matches and fault.times > 0:
                    fault.times -= 1
                    return fault
        return None


@dataclass
class Exchange:
    """A request and its answer, as far as they are text.

    Attributes:
        method: `"GET"`, ...
        path: with its query, as it was sent.
        headers: of the request, names in small letters.
        body: of the request, each byte a character; the first MiB of it.
        status: of the answer; 0 where there was none.
        answer_headers: names as they were sent.
        answer: body of the answer, "" where it is a file's.
    """

    method: str
    path: str
    headers: dict[str, str]
    body: str = ""
    status: int = 0
    answer_headers: dict[str, str] = field(default_factory=dict)
    answer: str = ""

    def texts(self) -> dict[str, str]:
        """All of it but the header `Authorization`, by where it was; files of a commit decoded."""
        headers = {name: value for name, value in self.headers.items() if name != "authorization"}
        decoded = []
        if "ndjson" in headers.get("content-type", ""):
            for line in self.body.splitlines():
                try:
                    content = json.loads(line)["value"].get("content", "")
                    decoded.append(base64.b64decode(content).decode("latin-1"))
                except (ValueError, KeyError):  # the rest of a line that was cut
                    continue
        return {
            "path": self.path,
            "headers": json.dumps(headers),
            "body": "\n".join([self.body, *decoded]),
            "answer": self.answer,
            "answer headers": json.dumps(self.answer_headers),
        }


def find_text(text: str, exchanges: list[Exchange], root: Path) -> list[str]:
    """Where a text, of Latin letters, is found: in which part of which request, or in which file under `root`."""
    found = [
        f"{exchange.method} {exchange.path}: {part}"
        for exchange in exchanges
        for part, value in exchange.texts().items()
        if text in value
    ]
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return found + [str(path.relative_to(root)) for path in files if text.encode() in path.read_bytes()]
