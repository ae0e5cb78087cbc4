"""No import circles, and no import inside a function without a reason.

The layers between packages are import-linter's business (`.importlinter`); this looks at single modules.
Every import counts for a circle, wherever it is written: at the top of a module, inside a function, or under
`TYPE_CHECKING`. An import that is hidden to break a circle does not remove it: the modules still cannot be understood,
tested or moved without each other.
A function may import only for a reason, such as the speed of `--help` or an optional dependency; the reason is a
comment on the line of the import or above it, once for imports that follow each other.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = {
    "kubernaut": ROOT / "src",
    "pocketkube": ROOT / "pocketkube/src",
    "pytest_muster": ROOT / "pytest-muster/src",
}


def modules(package: str) -> dict[str, Path]:
    """Every module of a package by its dotted name."""
    source = SOURCES[package]
    found = {}
    for path in sorted((source / package).rglob("*.py")):
        parts = path.relative_to(source).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(tree: ast.AST, known: dict[str, Path]) -> Iterator[str]:
    """The modules of `known` that a module imports, wherever the import is written."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, "imports are absolute"
            for alias in node.names:
                submodule = f"{node.module}.{alias.name}"
                if submodule in known:
                    yield submodule
                elif node.module in known:
                    yield node.module


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Every strongly connected group of more than one module (Tarjan), and modules that import themselves."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found = []

    def visit(module: str) -> None:
        index[module] = low[module] = len(index)
        stack.append(module)
        for other in sorted(graph[module]):
            if other not in index:
                visit(other)
                low[module] = min(low[module], low[other])
            elif other in stack:
                low[module] = min(low[module], index[other])
        if low[module] == index[module]:
            group = stack[stack.index(module) :]
            del stack[stack.index(module) :]
            if len(group) > 1 or module in graph[module]:
                found.append(sorted(group))

    for module in sorted(graph):
        if module not in index:
            visit(module)
    return found


def unexplained(path: Path) -> list[str]:
    """The function-level imports of a file that have no comment: `file:line`."""
    lines = path.read_text().splitlines()
    found = []
    for function in ast.walk(ast.parse(path.read_text())):
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        for block in blocks_of(function):
            before: ast.stmt | None = None
            for statement in block:
                if isinstance(statement, ast.Import | ast.ImportFrom):
                    follows = before is not None and before.end_lineno == statement.lineno - 1
                    own = lines[statement.lineno - 2].lstrip().startswith("#") or any(
                        "#" in line for line in lines[statement.lineno - 1 : statement.end_lineno]
                    )
                    if own or follows:
                        before = statement
                        continue
                    found.append(f"{path.relative_to(ROOT)}:{statement.lineno}")
                before = None
    return sorted(set(found))


def blocks_of(function: ast.AST) -> Iterator[list[ast.stmt]]:
    """Every list of statements inside a function."""
    for node in ast.walk(function):
        for name in ("body", "orelse", "finalbody"):
            block = getattr(node, name, None)
            if isinstance(block, list) and block and isinstance(block[0], ast.stmt):
                yield block


@pytest.mark.parametrize("package", ["kubernaut", "pocketkube", "pytest_muster"])
def test_no_import_circle(package):
    known = modules(package)
    graph = {name: set(imports(ast.parse(path.read_text()), known)) for name, path in known.items()}

    assert circles(graph) == []


@pytest.mark.parametrize("package", ["kubernaut", "pocketkube", "pytest_muster"])
def test_imports_inside_functions_say_why(package):
    assert [place for path in modules(package).values() for place in unexplained(path)] == []


def test_a_circle_is_found_wherever_the_import_is_written():
    sources = {
        "p.a": "def f():\n    from p import b",
        "p.b": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from p.c import C",
        "p.c": "import p.a",
        "p.d": "from p.a import f",
    }
    known = dict.fromkeys(sources, Path())

    graph = {name: set(imports(ast.parse(text), known)) for name, text in sources.items()}

    assert circles(graph) == [["p.a", "p.b", "p.c"]]


def test_a_function_level_import_needs_a_comment(tmp_path, monkeypatch):
    monkeypatch.setattr(f"{__name__}.ROOT", tmp_path)
    path = tmp_path / "module.py"
    path.write_text(
        "def f():\n    import os\n"
        "def g():\n    # slow\n    import os\n    import re\n"
        "def h():\n    import os  # slow\n"
        "def i():\n    import os  # slow\n    x = 1\n    import re\n"
    )

    assert unexplained(path) == ["module.py:12", "module.py:2"]
