# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""The rooms of the package: what lies at the top, who imports whom, and old module paths that go on working."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import dlink_hf
from dlink_hf.core.old_paths import MOVED_INTO_ROOMS, MOVED_MODULES


PACKAGE = Path(dlink_hf.__file__).parent
ROOMS = dlink_hf._ROOMS
# import modules by their names when they are asked for: the public names, the old paths, the sub-commands
LAZY = {"dlink_hf", "dlink_hf.data", "dlink_hf.core.old_paths"}


def modules() -> dict[str, Path]:
    """Dotted name -> file, of every module of the package."""
    found = {}
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(name: str, path: Path, known: dict[str, Path]) -> Iterator[str]:
    """Modules of the package that a module imports, inside functions and by strings too."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom):
            start = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            target = ".".join([*start, *([node.module] if node.module else [])])
            for alias in node.names:
                yield f"{target}.{alias.name}" if f"{target}.{alias.name}" in known else target
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in known:
            yield node.value


def graph() -> dict[str, set[str]]:
    known = modules()
    return {
        name: {target for target in imports(name, path, known) if target in known and target != name} - LAZY
        for name, path in known.items()
        if name not in LAZY
    }


def test_only_rooms_lie_at_the_top():
    assert sorted(path.name for path in PACKAGE.glob("*.py")) == ["__init__.py", "_version.py"]
    folders = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").is_file()}
    assert folders == set(ROOMS)


def test_a_room_imports_from_rooms_above_it_only():
    upwards = [
        f"{name} imports {target}"
        for name, targets in graph().items()
        for target in targets
        if name.count(".") and target.split(".")[1] in ROOMS
        if ROOMS.index(target.split(".")[1]) > ROOMS.index(name.split(".")[1])
    ]
    assert not upwards


def test_the_linter_holds_the_same_order():
    settings = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]
    (contract,) = settings["contracts"]
    assert contract["type"] == "layers" and contract["layers"] == list(reversed(ROOMS))


def test_no_modules_import_each_other_in_a_circle():
    edges, done, path = graph(), set(), []

    def visit(name: str) -> None:
        if name in done:
            return
        assert name not in path, " -> ".join([*path[path.index(name) :], name])
        path.append(name)
        for target in sorted(edges.get(name, ())):
            # a package's own `__init__` is imported with each of its modules
            if not name.startswith(f"{target}."):
                visit(target)
        path.pop()
        done.add(name)

    for name in sorted(edges):
        visit(name)


@pytest.fixture(scope="module")
def old_imports() -> dict[str, list[str]]:
    """Old path -> whether it gives the new module, and the warnings of two imports; in a process of its own."""
    code = (
        "import importlib, json, sys, warnings\n"
        "told = {}\n"
        "for old, new in json.loads(sys.argv[1]).items():\n"
        "    with warnings.catch_warnings(record=True) as caught:\n"
        "        warnings.simplefilter('always')\n"
        "        module = importlib.import_module(f'dlink_hf.{old}')\n"
        "        importlib.import_module(f'dlink_hf.{old}')\n"
        "    texts = [str(w.message) for w in caught if 'dlink_hf' in str(w.message)]\n"
        "    told[old] = [module is importlib.import_module(f'dlink_hf.{new}'), texts]\n"
        "print(json.dumps(told))\n"
    )
    done = subprocess.run([sys.executable, "-c", code, json.dumps(MOVED_MODULES)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("old", sorted(MOVED_MODULES))
def test_an_old_path_gives_the_new_module_and_warns_once(old_imports, old):
    is_same, warned = old_imports[old]
    assert is_same
    assert len(warned) == 1 and f"dlink_hf.{old} is now dlink_hf.{MOVED_MODULES[old]}" in warned[0]


@pytest.mark.parametrize(
    ("old", "name"),
    [
        ("hub", "publish_folder"),
        ("profiling", "cost_of"),
        ("evaluation", "load_classifier"),
        ("data.shards", "load_shards"),
    ],
)
def test_a_room_named_as_an_old_module_gives_its_names(old, name):
    assert set(MOVED_INTO_ROOMS) == {"hub", "profiling", "evaluation", "data.shards"}
    code = (
        "import importlib, warnings\n"
        "warnings.simplefilter('error')\n"
        f"new = importlib.import_module('dlink_hf.{MOVED_INTO_ROOMS[old]}')\n"
        "with warnings.catch_warnings(record=True) as caught:\n"
        "    warnings.simplefilter('always')\n"
        f"    from dlink_hf.{old} import {name}\n"
        f"    from dlink_hf.{old} import {name}\n"
        f"assert {name} is new.{name} and len(caught) == 1, caught\n"
        f"assert not hasattr(importlib.import_module('dlink_hf.{old}'), 'nothing_of_this_name')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_public_names_of_the_first_release_are_all_there():
    first = (Path(__file__).parent / "public_names_0.1.txt").read_text().split()
    assert set(first) <= set(dlink_hf.__all__)
