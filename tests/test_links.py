# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""No link inside the repository is dead: files, and headings within them, of every Markdown page."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest


ROOT = Path(__file__).resolve().parents[1]
LINK = re.compile(r"\[[^\]]*\]\(\s*<?([^)\s>]+)>?[^)]*\)|<(?:img|a)[^>]* (?:src|href)=\"([^\"]+)\"")


def listed_pages() -> list[Path]:
    """Markdown files that belong to the repository."""
    try:
        words = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"]
        done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        folders = (
            ROOT,
            *(ROOT / name for name in ("docs", "docs/api", "model_cards", "benchmarks", "examples/space")),
        )
        return [page for folder in folders for page in sorted(folder.glob("*.md"))]
    return [ROOT / line for line in done.stdout.splitlines()]


# a template's links are filled in later
PAGES = [page for page in listed_pages() if not page.name.endswith("_template.md")]


def without_code(text: str) -> str:
    """Take blocks and spans of code out: what looks like a link in them is none."""
    return re.sub(r"`[^`\n]*`", "", re.sub(r"^(```|~~~).*?^\1", "", text, flags=re.M | re.S))


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub and mkdocs give to the headings of a page."""
    found: dict[str, int] = {}
    text = re.sub(r"^(```|~~~).*?^\1", "", page.read_text("utf-8"), flags=re.M | re.S)
    names = set(re.findall(r"(?:id|name)=\"([^\"]+)\"", text)) | set(re.findall(r"\{#([\w-]+)\}", text))
    # a description of the reference has its full name for an anchor
    names |= set(re.findall(r"^::: ([\w.]+)$", text, re.M))
    for heading in re.findall(r"^#+ +(.+?) *#*$", text, re.M):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        slug = re.sub(r"[^\w\- ]", "", plain).strip().replace(" ", "-")
        count = found.get(slug, 0)
        found[slug] = count + 1
        names |= {f"{slug}-{count}", f"{slug}_{count}"} if count else {slug, re.sub("-+", "-", slug)}
    return names


def dead_links(page: Path) -> list[str]:
    dead = []
    for match in LINK.finditer(without_code(page.read_text("utf-8"))):
        link = match[1] or match[2]
        if re.match(r"[a-z]+:|//", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists():
            dead.append(f"{link}: no such file")
        elif anchor and target.suffix == ".md" and anchor not in anchors(target):
            dead.append(f"{link}: no such heading")
    return dead


def test_there_are_pages_and_a_dead_link_is_found(tmp_path):
    assert len(PAGES) > 25 and ROOT / "README.md" in PAGES and ROOT / "docs" / "index.md" in PAGES
    page = tmp_path / "page.md"
    page.write_text(
        "# One `two`, three\n\n[good](#one-two-three) [dead](#four) ![dead](none.png) `[code](none.md)`\n\n"
        '```\n[code](none.md)\n# no heading\n```\n\n[dead](page.md#no-heading) <img alt="" src="other.png">\n'
    )
    assert [link.partition(":")[0] for link in dead_links(page)] == [
        "#four",
        "none.png",
        "page.md#no-heading",
        "other.png",
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_link_is_dead(page):
    assert not dead_links(page)
