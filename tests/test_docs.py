# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""The documentation: its code runs page by page, commands have the flags that it names, links lead somewhere."""

from __future__ import annotations

import contextlib
import html
import re
import shlex
import sys
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote

import pytest
import yaml
from chromium import open_page
from doc_blocks import make_folder, read_blocks, run

import dlink_hf
from dlink_hf.commands import COMMANDS


ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.glob("*.md"))
# what is run, and what is shown only: it needs a network, a GPU, an amplifier, or recordings of yours
LANGUAGES = {"bash", "python", "console", "text"}
# a few steps in place of the recipe's hundreds
SHORT = ["--max_steps", "20", "--teacher_steps", "10"]


def steps_of(page: Path) -> list[list[str]]:
    """What a reader runs: the commands, and the Python blocks between them as one script each."""
    steps, script = [], ""
    for language, code in read_blocks(page):
        if language == "python":
            script += code
        elif language == "bash":
            steps += [["python", script]] if script else []
            script = ""
            steps += [shlex.split(line, comments=True) for line in code.splitlines()]
    return [*steps, *([["python", script]] if script else [])]


# a page takes a minute; on a machine that is busy, many
@pytest.mark.timeout(1800)
@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if steps_of(page)], ids=lambda page: page.stem)
def test_the_code_of_a_page_runs_from_top_to_bottom(page, tmp_path):
    folder = make_folder(tmp_path)
    for step in steps_of(page):
        if step[0] == "python":
            (folder / "block.py").write_text(step[1], encoding="utf-8")
            step = [sys.executable, "block.py"]
        elif step[:2] == ["dlink", "distill"] and "--max_steps" not in step:
            step = [*step, *SHORT]
        run(step, folder)


def test_pages_say_what_is_run():
    assert len(PAGES) >= 14
    assert {language for page in PAGES for language, _ in read_blocks(page)} <= LANGUAGES


def test_every_flag_of_a_command_is_one(capsys):
    shown: dict[str, str] = {}
    for page in PAGES:
        for language, code in read_blocks(page):
            if language not in ("bash", "console"):
                continue
            for line in code.splitlines():
                words = shlex.split(line, comments=True)
                if words[:1] != ["dlink"]:
                    continue
                assert words[1] in COMMANDS, line
                if words[1] not in shown:
                    with pytest.raises(SystemExit):
                        dlink_hf.commands.main([words[1], "--help"])
                    shown[words[1]] = capsys.readouterr().out
                for flag in (word for word in words if word.startswith("--")):
                    assert re.search(rf"{flag}\b", shown[words[1]]), line


def test_every_page_is_in_the_contents_and_every_public_name_in_the_reference():
    text = (ROOT / "mkdocs.yml").read_text("utf-8")
    listed = re.findall(r": ([\w/]+\.md)$", text, re.M)
    assert sorted(listed) == sorted(str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md"))
    reference = "\n".join(path.read_text("utf-8") for path in (DOCS / "api").glob("*.md"))
    described = re.findall(r"^::: dlink_hf\.[\w.]+\.(\w+)$", reference, re.M)
    assert sorted(described) == sorted(set(dlink_hf.__all__) - {"__version__"})


def test_nothing_of_a_page_is_loaded_from_elsewhere():
    config = yaml.safe_load((ROOT / "mkdocs.yml").read_text("utf-8"))
    assert config["theme"]["font"] is False and not {"extra_javascript", "extra_css"} & set(config)


def check_links(site: Path, pages: list[Path]) -> None:
    """Every link of the built pages leads to a file of the site, and to something in it."""
    names = {page: set(re.findall(r"\bid=\"?([^\" >]+)", page.read_text("utf-8"))) for page in pages}
    dead = []
    for page in pages:
        # the page for what is not found is served from any place
        for link in (
            [] if page.name == "404.html" else re.findall(r"<a[^>]* href=\"?([^\" >]+)", page.read_text("utf-8"))
        ):
            path, _, anchor = html.unescape(link).partition("#")
            if re.match(r"[a-z]+:|//", path):
                continue
            target = (page.parent / unquote(path)).resolve() if path else page
            if not target.exists() or (anchor and target in names and unquote(anchor) not in names[target]):
                dead.append(f"{page.relative_to(site)}: {link}")
    assert not dead


def check_search(site: Path) -> None:
    """Pages that are opened from a folder can be searched; skipped where there is no browser."""
    with contextlib.suppress(pytest.skip.Exception), open_page() as tab:
        asked = []
        tab.on("request", lambda request: asked.append(request.url))
        for page in ("index.html", "api/data.html"):
            tab.goto((site / page).as_uri())
            tab.wait_for_selector(".md-search__input", state="attached")
            tab.keyboard.press("f")
            tab.keyboard.type("euclidean alignment")
            tab.wait_for_selector(".md-search-result__item >> text=what it uses, and when not to", timeout=120_000)
        assert all(url.startswith(("file:", "data:", "blob:", "about:")) for url in asked)


@pytest.mark.timeout(900)
@pytest.mark.slow
@pytest.mark.skipif(find_spec("mkdocs") is None, reason="mkdocs is not installed (extra docs)")
def test_the_site_builds_without_a_warning_and_loads_nothing(tmp_path):
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--config-file", str(ROOT / "mkdocs.yml")]
    run([*build, "--site-dir", str(tmp_path / "site")], ROOT)
    pages = sorted((tmp_path / "site").rglob("*.html"))
    assert len(pages) > len(PAGES)
    for page in pages:
        text = page.read_text("utf-8")
        loaded = re.findall(r"<(?:script|img|iframe)[^>]* src=\"?([^\" >]+)", text)
        loaded += re.findall(r"<link[^>]* rel=\"?stylesheet\"?[^>]* href=\"?([^\" >]+)", text)
        assert not [address for address in loaded if re.match(r"(https?:)?//", address)], page
    check_links(tmp_path / "site", pages)
    check_search(tmp_path / "site")
    # a name in brackets is a link to its description
    assert (tmp_path / "site" / "api" / "training.html").is_file()
    assert "[<code>" not in (tmp_path / "site" / "api" / "training.html").read_text("utf-8")
