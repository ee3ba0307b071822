# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Print the test files that belong to a module: the one of its name first, then those that import it.

    python tools/tests_of.py dlink_hf/hub/publish.py
    python -m pytest $(python tools/tests_of.py dlink_hf/hub/publish.py)

A test imports a module by its path, or a name that `from dlink_hf import` gives of it.
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path


ROOT = Path(__file__).resolve().parent.parent
TESTS = ROOT / "tests"


def imported(path: Path) -> set[str]:
    """Collect the dotted names that a file imports, inside functions too; `from a import b` gives a and a.b."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def public_names(module: str) -> set[str]:
    """Collect what `from dlink_hf import ...` gives of a module, as dotted names."""
    for node in ast.parse((ROOT / "dlink_hf" / "__init__.py").read_text("utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "_PUBLIC_NAMES":
            return {f"dlink_hf.{name}" for name in ast.literal_eval(node.value).get(module, ())}
    return set()


def tests_of(path: Path) -> list[Path]:
    """Find the test files of a module.

    Args:
        path: of the module, below `dlink_hf/`.

    Raises:
        ValueError: there is no such module.
    """
    path = path.resolve()
    if not path.is_file() or not path.is_relative_to(ROOT / "dlink_hf") or path.suffix != ".py":
        raise ValueError(f"{path} is not a module of the package; give a path such as dlink_hf/hub/publish.py.")
    inner = path.relative_to(ROOT / "dlink_hf").with_suffix("")
    module = ".".join(inner.parts).removesuffix(".__init__")
    own = TESTS / inner.parent / f"test_{inner.name}.py"
    wanted = {f"dlink_hf.{module}", *public_names(module)}
    importing = [test for test in sorted(TESTS.rglob("test_*.py")) if test != own and imported(test) & wanted]
    return [own] * own.is_file() + importing


def main(paths: list[str]) -> int:
    """Print one path a line; 1 where no test belongs to the modules."""
    try:
        found = dict.fromkeys(test for path in paths for test in tests_of(Path(path)))
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    for test in found:
        print(test.relative_to(ROOT))
    return 0 if found else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
