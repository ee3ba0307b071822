# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""A process that talks to a Hub on loopback, and answers a test's questions.

The client of the Hub reads `HF_ENDPOINT` when it is imported, so it needs a process of its own. That one runs the
test's file as a script, which calls [`answer_requests`]: one question a line, one line of JSON for each answer.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hub_server import HubServer


_MARK = "ANSWER "


class HubProcess:
    """The Hub, and a process that asks it; both run until `close`.

    Args:
        hub: not started yet.
        script: what the process runs.
        home: its `HF_HOME`.
        cwd: its folder; that of this process where left out.
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
