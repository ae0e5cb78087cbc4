"""Rules about what belongs to the whole process: imported modules, os.environ, the working directory, sys.path."""

import ast
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from pytest_muster.checking.rules import Hit, Rule
from pytest_muster.checking.source import (
    Function,
    Role,
    Source,
    is_after,
    local_names,
    root_name,
    walk,
    yield_of,
)
from pytest_muster.checking.state import asks_which_worker

_ENVIRON = {"update", "pop", "popitem", "setdefault", "clear"}
_TAKES_BACK = {"pop", "popitem", "clear", "remove", "unsetenv"}
_BLOCKS = re.compile(
    r"patch|chdir|environ|raises|assertRaises|EnvironmentVarGuard|swap|override|restore", re.IGNORECASE
)
"""Blocks that put things back at their end, or in which the change is refused."""
_CASES = {"TestCase", "IsolatedAsyncioTestCase", "object"}


@dataclass(frozen=True, kw_only=True)
class _Change:
    name: str
    node: ast.AST
    takes_back: bool
    """Whether it looks as if it put back what was before."""


def _attribute_changes(source: Source, function: Function) -> Iterator[_Change]:
    """Assignments to attributes of what the file imports."""
    imported_here = {
        one.asname or one.name.partition(".")[0]
        for node in walk(function.node)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for one in node.names
    }
    own = local_names(function.node) | imported_here
    for node in walk(function.node):
        if not isinstance(node, ast.Attribute) or isinstance(node.ctx, ast.Load):
            continue
        plain = all(isinstance(one, ast.Attribute | ast.Name | ast.expr_context) for one in walk(node))
        root = root_name(node)
        if plain and root in source.imports and root not in own:
            statement = source.statement(node)
            value = statement.value if isinstance(statement, ast.Assign) else None
            saved = isinstance(value, ast.Name | ast.Attribute | ast.Subscript | ast.Tuple) or isinstance(
                node.ctx, ast.Del
            )
            yield _Change(name=ast.unparse(node), node=node, takes_back=saved)


def _process_changes(source: Source, function: Function) -> Iterator[_Change]:
    """Changes of the environment, the working directory and sys.path."""
    for node in walk(function.node):
        if isinstance(node, ast.Subscript) and not isinstance(node.ctx, ast.Load):
            if source.dotted(node.value) == "os.environ":
                yield _Change(name="os.environ", node=node, takes_back=isinstance(node.ctx, ast.Del))
        elif isinstance(node, ast.Call):
            name = _what_a_call_changes(source.called(node))
            if name:
                saved = bool(node.args) and isinstance(node.args[0], ast.Name | ast.Attribute)
                last = source.called(node).rpartition(".")[2]
                yield _Change(
                    name=name, node=node, takes_back=last in _TAKES_BACK or (saved and last.endswith("chdir"))
                )


def _what_a_call_changes(called: str) -> str:
    start, _, last = called.rpartition(".")
    if called in {"os.chdir", "os.fchdir"}:
        return "the working directory"
    if called in {"os.putenv", "os.unsetenv"} or (start == "os.environ" and last in _ENVIRON):
        return "os.environ"
    return "sys.path" if start == "sys.path" and last in {"append", "insert", "extend", "remove", "pop"} else ""


_Kind = Callable[[Source, Function], Iterator[_Change]]


def _lasting(source: Source, function: Function, kind: _Kind) -> Iterator[_Change]:
    """The changes of a function that nothing takes back."""
    changes = [one for one in kind(source, function) if not _in_block(source, one)]
    if not changes or _cleans_up(source, function):
        return
    undone = _undone_within(function, changes) | _undone_around(source, function, kind)
    patched = ast.unparse(function.node) if "monkeypatch" in function.arguments else ""
    for one in changes:
        attribute = one.name.rpartition(".")[2]
        if one.name not in undone and not re.search(rf"setattr\([^)]*\b{re.escape(attribute)}\b", patched):
            yield one


def _in_block(source: Source, change: _Change) -> bool:
    if source.is_nested(change.node):
        return True  # it runs when somebody calls it, often to put things back
    root = root_name(change.node)
    for around in source.around(change.node):
        if isinstance(around, ast.If) and asks_which_worker(source, around.test):
            return True  # that is another rule's
        if isinstance(around, ast.With | ast.AsyncWith):
            texts = [ast.unparse(item.context_expr) for item in around.items]
            if any(_BLOCKS.search(text) or (root and re.match(rf"{re.escape(root)}\b", text)) for text in texts):
                return True
    return False


def _cleans_up(source: Source, function: Function) -> bool:
    """Whether a clean-up is registered, or whether base classes that this file does not show may do it."""
    text = ast.unparse(function.node)
    if "addfinalizer" in text or "addCleanup" in text or ".callback(" in text:
        return True
    parent = source.parents[function.node]
    return isinstance(parent, ast.ClassDef) and any(
        source.dotted(base).rpartition(".")[2] not in _CASES for base in parent.bases
    )


def _undone_within(function: Function, changes: list[_Change]) -> set[str]:
    """What the function itself sets back: after the `yield`, in a `finally`, or simply later."""
    pause = yield_of(function.node)
    late = {
        id(node)
        for one in walk(function.node)
        if isinstance(one, ast.Try)
        for part in one.finalbody
        for node in walk(part)
    }
    found = {one.name for one in changes if id(one.node) in late or (pause and is_after(one.node, pause))}
    first: dict[str, _Change] = {}
    for one in sorted(changes, key=lambda change: getattr(change.node, "lineno", 0)):
        if one.name in first and one.takes_back:
            found.add(one.name)
        first.setdefault(one.name, one)
    return found


def _undone_around(source: Source, function: Function, kind: _Kind) -> set[str]:
    """What the tear-down beside the function, or a fixture that may be around it, sets back."""
    asked = source.asked_by(function)
    found: set[str] = set()
    for one in source.functions.values():
        if one.role is Role.TEAR_DOWN and source.parents[one.node] is source.parents[function.node]:
            found |= _undone_late(source, one, kind)
    for owner in (*source.above, source):
        for one in owner.functions.values():
            around = owner is source or one.autouse or one.name in asked
            if one.role is Role.FIXTURE and around and one.node is not function.node:
                found |= _undone_late(owner, one, kind)
    return found


def _undone_late(source: Source, function: Function, kind: _Kind) -> set[str]:
    """What the end of a fixture or a tear-down sets, also through a function of the same file that it calls."""
    pause = yield_of(function.node)
    if pause is None and function.role is not Role.TEAR_DOWN:
        return set()
    late = [node for node in walk(function.node) if pause is None or is_after(node, pause)]
    called = {node.func.id for node in late if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    here = {id(node) for node in late}
    found = {change.name for change in kind(source, function) if id(change.node) in here}
    for other in source.functions.values():
        if other.role is Role.OTHER and other.node.name in called:
            found |= {change.name for change in kind(source, other)}
    return found


def _imported_changed(source: Source) -> Iterator[Hit]:
    for function in source.functions.values():
        if function.role in {Role.TEST, Role.FIXTURE, Role.SET_UP}:
            for one in _lasting(source, function, _attribute_changes):
                yield one.node, f"`{one.name}` is set for every later test of this worker"


def _environment_changed(source: Source) -> Iterator[Hit]:
    for function in source.functions.values():
        if function.role in {Role.TEST, Role.FIXTURE, Role.SET_UP}:
            for one in _lasting(source, function, _process_changes):
                yield one.node, f"{one.name} is changed for every later test of this worker"
                break


RULES = (
    Rule(
        id="M104",
        name="imported-thing-changed",
        title="A test sets an attribute of something that it imported, and does not put it back.",
        reason="The module or class is the same object for all later tests of this worker.",
        remedy="Use `monkeypatch.setattr(...)`, or set it back after `yield` or in a `finally`.",
        bad="from product import settings\n\n\ndef test_short_timeout():\n    settings.TIMEOUT = 1\n"
        "    assert settings.total() == 3\n",
        good="from product import settings\n\n\ndef test_short_timeout(monkeypatch):\n"
        '    monkeypatch.setattr(settings, "TIMEOUT", 1)\n    assert settings.total() == 3\n',
        check=_imported_changed,
    ),
    Rule(
        id="M105",
        name="environment-changed",
        title="A test or fixture changes os.environ, the working directory or sys.path, and does not put it back.",
        reason="They belong to the process, and all later tests of this worker see the change.",
        remedy="Use `monkeypatch.setenv`, `monkeypatch.chdir`, `monkeypatch.syspath_prepend`, or give the variables "
        "to the child process only.",
        bad='import os\n\n\ndef test_verbose(product):\n    os.environ["VERBOSE"] = "1"\n'
        "    assert product.is_verbose()\n",
        good='def test_verbose(product, monkeypatch):\n    monkeypatch.setenv("VERBOSE", "1")\n'
        "    assert product.is_verbose()\n",
        check=_environment_changed,
    ),
)
