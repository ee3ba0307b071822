# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""What commands print: names of others are shown with their control characters escaped, and no token is."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ..core.text import for_terminal, without_tokens


# what progress bars move the cursor with; nothing else is written in the same call
_MOVES = re.compile(r"(?:\n|\x1b\[A)+")


class EscapingStream:
    """A text stream that writes control characters, other than those of lines and tabs, as escapes.

    Args:
        name: of the stream, `"stdout"` or `"stderr"`.
        stream: what it writes to, until it is closed; then to whatever has that name in `sys`.

    Attributes:
        unescaped: what it writes to, for a program's own control sequences.
    """

    def __init__(self, name: str, stream: Any) -> None:
        self._name, self._stream = name, stream

    @property
    def unescaped(self) -> Any:
        """The stream itself."""
        return self._stream if self._stream is not None else getattr(sys, self._name)

    def write(self, text: str) -> int:
        """Write a text, escaped."""
        if not _MOVES.fullmatch(text):
            text = for_terminal(without_tokens(text), keep="\n\t\r")
        return self.unescaped.write(text)

    def writelines(self, lines: Any) -> None:
        """Write lines, escaped."""
        for line in lines:
            self.write(line)

    def end(self) -> None:
        """Hold the stream no longer: a logger may keep this object for good."""
        self._stream = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.unescaped, name)


@contextmanager
def escaped_output() -> Iterator[None]:
    """Have all that the block prints, on both streams, go through an [`EscapingStream`]."""
    before = sys.stdout, sys.stderr
    streams = [EscapingStream(name, stream) for name, stream in zip(("stdout", "stderr"), before, strict=True)]
    sys.stdout, sys.stderr = streams
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before
        for stream in streams:
            stream.end()


def quiet_transformers() -> None:
    """Leave out the bars of single saves and loads, and reports of keys that a head does not need: a checkpoint that
    does not fit is an error of ours anyway."""
    # not at the top: a student as ONNX runs without transformers
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()


__all__ = ["EscapingStream", "escaped_output", "quiet_transformers"]
