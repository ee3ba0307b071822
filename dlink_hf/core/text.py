# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Text of others (labels, channels, subjects, messages of a server) is data, wherever it is written.

Each place has its own danger: a terminal obeys escape sequences, a spreadsheet takes `=` for a formula, Markdown and
HTML take bars, fences and tags for their own, and a token must stay secret.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Any


_TOKEN = re.compile(r"\bhf_[A-Za-z0-9]{6,}|(?i:bearer)\s+\S+")
# C0 and C1 controls, and what turns the direction of text or hides it
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")
# what a spreadsheet takes for the beginning of a formula, and the quote that says it is none
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_MARKDOWN = {**{sign: f"\\{sign}" for sign in "\\`*|[]"}, "<": "&lt;", ">": "&gt;"}


class Markup(str):
    """Text of this package's own, whose Markdown is meant."""


def without_tokens(text: str, *tokens: Any) -> str:
    """Return a text in which nothing looks like a token any more, nor is one.

    Args:
        text: Such as what a server says.
        *tokens: Those that were given in a call; that of the user who is logged in is known.
    """
    from huggingface_hub import get_token

    for token in (*tokens, get_token()):
        if isinstance(token, str) and len(token) >= 6:
            text = text.replace(token, "<token>")
    return _TOKEN.sub("<token>", text)


def without_surrogates(text: str) -> str:
    """Return a text that every encoding can write: half a character, as damaged files hold, becomes U+FFFD."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def for_terminal(text: Any, keep: str = "") -> str:
    r"""Return a text that a terminal shows and does not obey: control characters as `\x1b`.

    Args:
        text: Anything; `str` of it is taken.
        keep: Control characters that are meant, such as `"\n\t"`.

    Example:

    ```python
    >>> for_terminal("rest\x1b[2J")
    'rest\\x1b[2J'
    ```
    """
    text = str(text)
    return _UNSAFE.sub(lambda found: found[0] if found[0] in keep else _escaped(found[0]), text)


def _escaped(sign: str) -> str:
    return sign.encode("unicode_escape").decode("ascii")


def for_csv(value: Any) -> Any:
    """Return a cell that no spreadsheet takes for a formula, as OWASP advises: a quote before `= + - @`.

    Only text gets one, and text that has one already gets another, so that [`from_csv`] gives back what it was.

    Example:

    ```python
    >>> for_csv("=1+1"), for_csv("'a"), for_csv("rest"), for_csv(-1.5)
    ("'=1+1", "''a", 'rest', -1.5)
    ```
    """
    if not isinstance(value, str):
        return value
    value = without_surrogates(value)
    return f"'{value}" if value.startswith((*_FORMULA, "'")) else value


def from_csv(cell: str) -> str:
    """Return the text that [`for_csv`] made a cell of."""
    return cell[1:] if cell[:1] == "'" and cell[1:2] in (*_FORMULA, "'") and len(cell) > 1 else cell


def for_markdown(text: Any) -> str:
    r"""Return a text that Markdown and HTML show as it is, on one line: no fence, bar, tag, link or comment.

    Example:

    ```python
    >>> for_markdown("a|b\n<!-- c -->")
    'a\\|b &lt;!-- c --&gt;'
    ```
    """
    if isinstance(text, Markup):
        return text
    line = " ".join(without_surrogates(str(text)).split())
    line = "".join("\ufffd" if unicodedata.category(sign) == "Cc" or _UNSAFE.match(sign) else sign for sign in line)
    return "".join(_MARKDOWN.get(sign, sign) for sign in line)


def as_code(text: str) -> str:
    """Return a line of text as a code span of Markdown; one that a span can't hold, as [`for_markdown`] does.

    Example:

    ```python
    >>> as_code("dlink distill --dataset eegmat")
    '`dlink distill --dataset eegmat`'
    ```
    """
    return for_markdown(text) if re.search(r"[`|<>]|[^ -~]", text) else Markup(f"`{text}`")


def for_plot(name: Any) -> str:
    r"""Return a name as matplotlib draws it letter by letter: a dollar is one, and begins no formula.

    Example:

    ```python
    >>> for_plot("$\alpha$")
    '\$\alpha\$'
    ```
    """
    return for_terminal(name).replace("$", "\\$")


def literal(value: Any) -> str:
    """Return Python's text of a value for a code block of Markdown, which can't end the block or open a comment."""
    return for_terminal(repr(value)).replace("`", "\\x60").replace("<!--", "\\x3c!--").replace("-->", "--\\x3e")


__all__ = [
    "Markup",
    "as_code",
    "for_csv",
    "for_markdown",
    "for_plot",
    "for_terminal",
    "from_csv",
    "literal",
    "without_surrogates",
    "without_tokens",
]
