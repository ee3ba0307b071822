# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""A page of HTML in one file: text of others escaped, pictures inside, no script, nothing from the network."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ..core.text import for_terminal, without_tokens


# largest page that is written, and largest picture that is put into one, bytes
MOST_BYTES = 3_000_000
MOST_PICTURE_BYTES = 500_000
_PNG = b"\x89PNG\r\n\x1a\n"

_STYLE = """
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { font: 16px/1.5 system-ui, sans-serif; color: #111; background: #fff; max-width: 62rem; margin: 0 auto;
  padding: 1rem 1.25rem 4rem; overflow-wrap: break-word; }
h1 { font-size: 1.7rem; line-height: 1.25; } h2 { font-size: 1.25rem; margin-top: 2.4rem;
  border-bottom: 1px solid #bbb; padding-bottom: .2rem; }
nav a { margin-right: 1rem; white-space: nowrap; } a { color: #004f80; }
.verdict { border: 2px solid #111; border-left-width: .6rem; padding: .7rem 1rem; margin: 1rem 0; }
.verdict p { margin: .3rem 0; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; margin: .8rem 0; font-size: .92rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; font-weight: 600; padding-bottom: .3rem; }
th, td { padding: .25rem .7rem .25rem 0; text-align: left; vertical-align: top; border-bottom: 1px solid #ddd; }
td.text { min-width: 6rem; max-width: 34rem; }
th { border-bottom: 2px solid #555; } th { vertical-align: bottom; }
td.number, th.number { text-align: right; } td.number { white-space: nowrap; } th.number { max-width: 11rem; }
figure { margin: 1.2rem 0; } .side { display: flex; flex-wrap: wrap; gap: 0 1.5rem; }
.side figure { flex: 1 1 17rem; max-width: 28rem; } img { max-width: 100%; height: auto; display: block; }
figcaption { font-size: .9rem; color: #333; margin-top: .3rem; }
pre { white-space: pre-wrap; font-size: .82rem; background: #f4f4f4; border: 1px solid #ddd; padding: .8rem; }
.missing { color: #333; font-style: italic; }
@media print {
  body { max-width: none; font-size: 11pt; padding: 0; } nav { display: none; }
  h2 { break-after: avoid; } figure, tr, .verdict { break-inside: avoid; } .scroll { overflow: visible; }
  pre { background: none; }
}
"""


class Html(str):
    """Text that is HTML of this package's own."""


def escaped(value: Any) -> Html:
    """Return a value as HTML that shows it letter by letter; [`Html`] is returned as it is.

    Example:

    ```python
    >>> escaped("<b>rest & task")
    '&lt;b&gt;rest &amp; task'
    ```
    """
    if isinstance(value, Html):
        return value
    return Html(html.escape(for_terminal(without_tokens(str(value)), keep="\n\t"), quote=True))


def paragraph(text: Any, kind: str | None = None) -> Html:
    """Return a paragraph; `kind` is a class of the style sheet."""
    return Html(f'<p class="{kind}">{escaped(text)}</p>' if kind else f"<p>{escaped(text)}</p>")


def preformatted(text: Any) -> Html:
    """Return text that keeps its lines."""
    return Html(f"<pre>{escaped(text)}</pre>")


def table(caption: str, headings: Sequence[str], rows: Iterable[Sequence[Any]], is_text: int = 1) -> Html:
    """Return a table whose first columns are text and whose other columns are numbers.

    Args:
        caption: what it shows.
        headings: of the columns.
        rows: one cell for each heading; None is shown as a dash.
        is_text: how many columns are text.
    """

    def cell(value: Any, column: int, tag: str) -> str:
        kind = ' class="number"' if column >= is_text else ' class="text"'
        return f"<{tag}{kind}>{escaped('–' if value is None else value)}</{tag}>"

    def line(cells: Sequence[Any], tag: str) -> str:
        return f"<tr>{''.join(cell(value, column, tag) for column, value in enumerate(cells))}</tr>"

    body = "".join(line(row, "td") for row in rows)
    return Html(
        f'<div class="scroll"><table><caption>{escaped(caption)}</caption><thead>{line(headings, "th")}</thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def facts(caption: str, values: Sequence[tuple[str, Any]]) -> Html:
    """Return a table of two columns, name and value; what is None is left out."""
    return table(caption, ("what", "value"), [(name, value) for name, value in values if value is not None], 2)


def picture(path: Path, caption: str) -> Html:
    """Return a PNG inside the page, with its caption; a sentence where the file is no PNG or too large."""
    data = path.read_bytes() if path.is_file() and path.stat().st_size <= MOST_PICTURE_BYTES else b""
    if not data.startswith(_PNG):
        return paragraph(f"{caption}: the picture is no PNG of at most {MOST_PICTURE_BYTES // 1000} kB.", "missing")
    text = base64.b64encode(data).decode("ascii")
    shown = escaped(caption)
    return Html(
        f'<figure><img alt="{shown}" src="data:image/png;base64,{text}"><figcaption>{shown}</figcaption></figure>'
    )


def side_by_side(pictures: Sequence[Html]) -> Html:
    """Return pictures next to each other, as many as the width has room for."""
    return Html(f'<div class="side">{"".join(pictures)}</div>')


def page(title: str, sections: Sequence[tuple[str, Sequence[Html]]], lead: Sequence[Html] = ()) -> str:
    """Return a whole page.

    Args:
        title: of the page.
        sections: heading and content; those without content are left out.
        lead: what comes before the first of them.

    Returns:
        HTML that opens offline: no script can run in it, and nothing is loaded.

    Raises:
        ValueError: the page would be larger than 3 MB.
    """
    filled = [(heading, content) for heading, content in sections if content]
    links = "".join(f'<a href="#part-{index}">{escaped(heading)}</a>' for index, (heading, _) in enumerate(filled))
    body = "\n".join(
        f'<section id="part-{index}"><h2>{escaped(heading)}</h2>\n{"".join(content)}</section>'
        for index, (heading, content) in enumerate(filled)
    )
    text = (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">\n'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
        "style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'\">\n"
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escaped(title)}</title><style>{_STYLE}</style></head>\n<body><main><h1>{escaped(title)}</h1>\n"
        f"{''.join(lead)}<nav>{links}</nav>\n{body}\n</main></body></html>\n"
    )
    size = len(text.encode("utf-8"))
    if size > MOST_BYTES:
        raise ValueError(f"The page would have {size / 1e6:.1f} MB; at most {MOST_BYTES / 1e6:g} MB are written.")
    return text


__all__ = ["Html", "escaped", "facts", "page", "paragraph", "picture", "preformatted", "side_by_side", "table"]
