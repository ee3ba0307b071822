# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""A process that talks to a Hub on loopback, and answers a test's questions.

The client of the Hub reads `HF_ENDPOINT` when it is imported, so it needs a process of its own. That one runs the
test's file as a script, which calls [`answer_requests`]: one question a line, one line of JSON for each answer. With
[`ask_client`] as what it answers by, [`HubProcess.call`] calls the client's own functions.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from fake_hub.server import HubServer


_MARK = "ANSWER "


class ClientError(Exception):
    """What the client raised in its process: `kind` is the name of the error, `status` the Hub's answer or None."""

    def __init__(self, kind: str, status: int | None, message: str):
        super().__init__(f"{kind} {status}: {' '.join(message.split())}")
        self.kind, self.status = kind, status


class HubProcess:
    """The Hub, and a process that asks it; both run until `close`.

    Args:
        hub: not started yet.
        script: what the process runs.
        home: its `HF_HOME`.
        cwd: its folder; that of this process by default.
        **environment: more variables of its own.
    """

    def __init__(self, hub: HubServer, script: str, home: Path, cwd: Path | None = None, **environment: str):
        self.hub: HubServer | None = hub
        hub.__enter__()
        variables = hub.environment(home, **environment)
        # names are looked up where they are by default
        variables.pop("DLINK_HUB_ORG", None)
        self.process = subprocess.Popen(
            [sys.executable, script],
            env=variables,
            cwd=cwd,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def request(self, question: Any) -> dict[str, Any]:
        """What the process answers.

        Raises:
            RuntimeError: it has ended.
        """
        self.process.stdin.write(json.dumps(question) + "\n")
        self.process.stdin.flush()
        for line in self.process.stdout:
            if line.startswith(_MARK):
                return json.loads(line.removeprefix(_MARK))
        raise RuntimeError(f"the process ended with {self.process.wait()}")

    def call(self, name: str, **arguments: Any) -> Any:
        """What a function of the client gives, where the process answers by `ask_client`.

        Args:
            name: a method of `HfApi`, such as `"upload_folder"`.
            **arguments: its arguments; operations of a commit as `{"add": path, "file": local path}`,
                `{"delete": path}` or `{"copy": path, "to": path}`.

        Raises:
            ClientError: the client raised an error.
        """
        answer = self.request([name, arguments])
        if "error" in answer:
            raise ClientError(answer["error"], answer["status"], answer["message"])
        return answer["value"]

    def stop_hub(self) -> None:
        """Take the Hub away; the process goes on."""
        if self.hub is not None:
            self.hub.__exit__()
            self.hub = None

    def close(self) -> None:
        """End both."""
        self.process.kill()
        self.process.wait()
        self.stop_hub()


def answer_requests(answer: Callable[[Any], dict[str, Any]]) -> None:
    """In the process: answer each line of the input by one of the output."""
    for line in sys.stdin:
        print(_MARK + json.dumps(answer(json.loads(line))), flush=True)


def ask_client(question: tuple[str, dict[str, Any]]) -> dict[str, Any]:
    """In the process: what `HubProcess.call` asks of the client; objects become mappings of their fields."""
    from huggingface_hub import CommitOperationAdd, CommitOperationCopy, CommitOperationDelete, HfApi

    def operation(value: dict[str, str]) -> Any:
        if "add" in value:
            return CommitOperationAdd(value["add"], value["file"])
        if "delete" in value:
            return CommitOperationDelete(value["delete"])
        return CommitOperationCopy(value["copy"], value["to"])

    def plain(value: Any) -> Any:
        if value is None or isinstance(value, bool | int | float):
            return value
        if isinstance(value, dict):
            return {str(key): plain(each) for key, each in value.items()}
        if isinstance(value, Iterable) and not isinstance(value, str):
            return [plain(each) for each in value]
        if hasattr(value, "__dict__"):
            return {key: plain(each) for key, each in vars(value).items() if not key.startswith("_")}
        return str(value)

    name, arguments = question
    if "operations" in arguments:
        arguments["operations"] = [operation(each) for each in arguments["operations"]]
    try:
        return {"value": plain(getattr(HfApi(), name)(**arguments))}
    except Exception as error:
        status = getattr(getattr(error, "response", None), "status_code", None)
        return {"error": type(error).__name__, "status": status, "message": str(error)}
