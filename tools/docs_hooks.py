# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Hooks of mkdocs: [`Name`] in a docstring becomes a link to where the reference describes that name."""

from __future__ import annotations

import re
from typing import Any


_DESCRIBED = re.compile(r"^::: (dlink_hf\.[\w.]+\.(\w+))$", re.M)
_MENTIONED = re.compile(r"\[<code>([\w.]+)</code>\]")
# name -> (page, anchor)
_PLACES: dict[str, tuple[Any, str]] = {}


def on_config(config: Any) -> Any:
    """Load nothing from elsewhere: the offline plugin would fetch a script for searching from a folder; ours does."""
    own = [url for url in config.extra.get("polyfills") or [] if "//" not in str(url)]
    config.extra["polyfills"] = [*own, "javascripts/offline_search.js"]
    return config


def on_files(files: Any, config: Any) -> Any:
    """Find out which page describes which name."""
    for file in files.documentation_pages():
        if file.src_uri.startswith("api/"):
            for anchor, name in _DESCRIBED.findall(file.content_string):
                _PLACES[name] = (file, anchor)
    return files


def on_page_content(html: str, page: Any, config: Any, files: Any) -> str:
    """Link what is described, and take the brackets off the rest."""

    def link(found: re.Match[str]) -> str:
        code = f"<code>{found[1]}</code>"
        place = _PLACES.get(found[1].rpartition(".")[2])
        return code if place is None else f'<a href="{place[0].url_relative_to(page.file)}#{place[1]}">{code}</a>'

    return _MENTIONED.sub(link, html)
