"""One file of test code as the rules see it: who is a test, who a fixture of which scope, what a name stands for."""

import ast
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import TypeVar

Def = ast.FunctionDef | ast.AsyncFunctionDef
N = TypeVar("N", bound=ast.AST)

WIDE = {"class", "module", "package", "session"}
"""Scopes of fixtures that several workers set up side by side, as the tests of a class or module are spread too."""

_MUTABLE = {"list", "dict", "set", "bytearray"} | {
    f"collections.{name}" for name in ("defaultdict", "Counter", "deque", "OrderedDict")
}


class Role(StrEnum):
    TEST = "test"
    FIXTURE = "fixture"
    SHARED = "shared resource"
    """Runs once per run, or once per worker with a place of its own: `@muster.shared`, `@muster.worker`."""
    SET_UP = "set-up"
    TEAR_DOWN = "tear-down"
    HOOK = "hook"
    OTHER = "function"


_XUNIT = {
    **dict.fromkeys(("setup_module", "setUpModule"), (Role.SET_UP, "module")),
    **dict.fromkeys(("teardown_module", "tearDownModule"), (Role.TEAR_DOWN, "module")),
    **dict.fromkeys(("setup_class", "setUpClass"), (Role.SET_UP, "class")),
    **dict.fromkeys(("teardown_class", "tearDownClass"), (Role.TEAR_DOWN, "class")),
    **dict.fromkeys(("setup_method", "setup_function", "setUp", "asyncSetUp"), (Role.SET_UP, "function")),
    **dict.fromkeys(
        ("teardown_method", "teardown_function", "tearDown", "asyncTearDown"), (Role.TEAR_DOWN, "function")
    ),
}


@dataclass(frozen=True, kw_only=True)
class Function:
    """A function that stands in no other function."""

    node: Def
    role: Role
    scope: str
    name: str
    """The name by which tests ask for it, if it is a fixture."""
    autouse: bool = False

    @property
    def arguments(self) -> tuple[str, ...]:
        given = self.node.args
        return tuple(one.arg for one in (*given.posonlyargs, *given.args, *given.kwonlyargs))

    @property
    def runs_in_tests(self) -> bool:
        return self.role not in {Role.HOOK, Role.OTHER}


class Source:
    """A parsed file, and the conftest files above it. Raises `SyntaxError` if it is not Python."""

    def __init__(self, path: Path, text: str, above: tuple["Source", ...] = ()) -> None:
        self.path = path
        self.text = text
        self.above = above
        self.tree = ast.parse(text, filename=str(path))
        self.parents: dict[ast.AST, ast.AST] = {}
        self._nodes: dict[type[ast.AST], list[ast.AST]] = defaultdict(list)
        queue: list[ast.AST] = [self.tree]
        for node in queue:
            self._nodes[type(node)].append(node)
            for child in ast.iter_child_nodes(node):
                self.parents[child] = node
                queue.append(child)

    def all(self, kind: type[N]) -> Iterator[N]:
        """Every node of this type."""
        yield from self._nodes.get(kind, ())  # type: ignore[misc]  # kept by their type

    @cached_property
    def lines(self) -> list[str]:
        return self.text.splitlines()

    @cached_property
    def imports(self) -> dict[str, str]:
        """Name in this file → the dotted name of what was imported."""
        found: dict[str, str] = {}
        for plain in self.all(ast.Import):
            for one in plain.names:
                found[one.asname or one.name.partition(".")[0]] = one.name if one.asname else one.name.partition(".")[0]
        for chosen in self.all(ast.ImportFrom):
            for one in chosen.names:
                found[one.asname or one.name] = f"{'.' * chosen.level}{chosen.module or ''}.{one.name}"
        return found

    def dotted(self, node: ast.AST | None) -> str:
        """`time.sleep` for whatever name that has here; empty if it is no name with attributes."""
        if isinstance(node, ast.Name):
            return self.imports.get(node.id, node.id)
        if isinstance(node, ast.Attribute):
            inner = self.dotted(node.value)
            return f"{inner}.{node.attr}" if inner else ""
        return ""

    def called(self, call: ast.Call) -> str:
        return self.dotted(call.func)

    @cached_property
    def functions(self) -> dict[ast.AST, Function]:
        """The functions of the file and of its classes, by their nodes."""
        found: dict[ast.AST, Function] = {}
        definitions: list[Def] = [*self.all(ast.FunctionDef), *self.all(ast.AsyncFunctionDef)]
        for node in definitions:
            parent = self.parents[node]
            while isinstance(parent, ast.If | ast.Try | ast.ClassDef):
                parent = self.parents[parent]
            if isinstance(parent, ast.Module):
                found[node] = self._function(node)
        return found

    def _function(self, node: Def) -> Function:
        for decorator in node.decorator_list:
            call = decorator if isinstance(decorator, ast.Call) else None
            name = self.dotted(call.func if call else decorator)
            if name.endswith(("muster.shared", "muster.worker")):
                return Function(node=node, role=Role.SHARED, scope="session", name=node.name)
            if name in {"pytest.fixture", "pytest_asyncio.fixture", "fixture"}:
                options = {word.arg: word.value for word in call.keywords} if call else {}
                return Function(
                    node=node,
                    role=Role.FIXTURE,
                    scope=_constant(options.get("scope"), "function"),
                    name=_constant(options.get("name"), node.name),
                    autouse=_constant(options.get("autouse"), "") == "True",
                )
        if node.name in _XUNIT:
            role, scope = _XUNIT[node.name]
            return Function(node=node, role=role, scope=scope, name=node.name)
        if node.name.startswith("test") and self.is_test_file:
            return Function(node=node, role=Role.TEST, scope="function", name=node.name)
        role = Role.HOOK if node.name.startswith("pytest_") else Role.OTHER
        return Function(node=node, role=role, scope="session" if role is Role.HOOK else "function", name=node.name)

    @property
    def is_test_file(self) -> bool:
        return self.path.name.startswith("test") or self.path.stem.endswith("test")

    @cached_property
    def fixtures(self) -> dict[str, Function]:
        """The fixtures that tests of this file can ask for, as far as files say so."""
        found: dict[str, Function] = {}
        for source in (*self.above, self):
            found |= {one.name: one for one in source.functions.values() if one.role in {Role.FIXTURE, Role.SHARED}}
        return found

    def asked_by(self, function: Function) -> set[str]:
        """The fixtures that a function gets: those it names, those that these name, and so on."""
        found: set[str] = set()
        fresh = set(function.arguments)
        while fresh:
            found |= fresh
            fresh = {name for one in fresh if one in self.fixtures for name in self.fixtures[one].arguments} - found
        return found

    def function_of(self, node: ast.AST) -> Function | None:
        """The outermost function around a node; None at the level of the module or of a class."""
        found = None
        while node in self.parents:
            node = self.parents[node]
            found = self.functions.get(node, found)
        return found

    def is_nested(self, node: ast.AST) -> bool:
        """Whether it runs in a function within the outermost one, so perhaps later and in another thread."""
        for around in self.around(node):
            if around in self.functions:
                return False
            if isinstance(around, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
                return True
        return False

    def around(self, node: ast.AST) -> Iterator[ast.AST]:
        """What a node stands in, from the innermost."""
        while node in self.parents:
            node = self.parents[node]
            yield node

    def statement(self, node: ast.AST) -> ast.stmt:
        for one in (node, *self.around(node)):
            if isinstance(one, ast.stmt):
                return one
        raise ValueError(f"{node} stands in no statement")

    def in_claim(self, node: ast.AST) -> bool:
        """Whether a value is only compared, shown or raised, not used to do something."""
        for around in self.around(node):
            if isinstance(around, ast.Assert | ast.Raise | ast.Compare):
                return True
            if isinstance(around, ast.Call) and not isinstance(self.parents[around], ast.Raise):
                return False
            if isinstance(around, ast.stmt):
                return False
        return False

    @cached_property
    def constants(self) -> dict[str, ast.expr]:
        """What the names of the module are first set to."""
        found: dict[str, ast.expr] = {}
        for node in self.tree.body:
            if isinstance(node, ast.Assign):
                for target in node.targets:
                    if isinstance(target, ast.Name):
                        found.setdefault(target.id, node.value)
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value:
                found.setdefault(node.target.id, node.value)
        return found

    def is_mutable(self, value: ast.expr) -> bool:
        if isinstance(value, ast.Call):
            return self.called(value) in _MUTABLE
        return isinstance(value, ast.List | ast.Dict | ast.Set | ast.ListComp | ast.DictComp | ast.SetComp)

    def text_of(self, node: ast.AST | None) -> str | None:
        """The string that an expression is, seen through one constant of the module; None if it is not constant."""
        if isinstance(node, ast.Name):
            node = self.constants.get(node.id)
        return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def _constant(node: ast.expr | None, otherwise: str) -> str:
    return str(node.value) if isinstance(node, ast.Constant) else otherwise


def walk(node: ast.AST) -> list[ast.AST]:
    """`ast.walk`, once per node: rule after rule looks through the same functions."""
    kept: list[ast.AST] | None = getattr(node, "muster_nodes", None)
    if kept is None:
        kept = [node]
        for one in kept:
            kept.extend(ast.iter_child_nodes(one))
        node.muster_nodes = kept  # type: ignore[attr-defined]  # a node takes any attribute
    return kept


def local_names(function: Def) -> set[str]:
    """The names that are the function's own."""
    kept: set[str] | None = getattr(function, "muster_names", None)
    if kept is None:
        bound = {one.id for one in walk(function) if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store)}
        arguments = {one.arg for one in walk(function.args) if isinstance(one, ast.arg)}
        kept = (bound | arguments) - declared_global(function)
        function.muster_names = kept  # type: ignore[union-attr]
    return kept


def declared_global(function: Def) -> set[str]:
    return {name for one in walk(function) if isinstance(one, ast.Global) for name in one.names}


def yield_of(function: Def) -> ast.Yield | None:
    """The `yield` that parts set-up from teardown in a fixture."""
    if not any(isinstance(one, ast.Yield) for one in walk(function)):
        return None
    queue: list[ast.AST] = list(function.body)
    for node in queue:
        if isinstance(node, ast.Yield):
            return node
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef):
            queue.extend(ast.iter_child_nodes(node))
    return None


def is_after(node: ast.AST, other: ast.AST) -> bool:
    mine, theirs = node, other
    return (getattr(mine, "lineno", 0), getattr(mine, "col_offset", 0)) > (
        getattr(theirs, "end_lineno", 0),
        getattr(theirs, "end_col_offset", 0),
    )


def root_name(node: ast.AST) -> str:
    """`a` of `a.b(c).d[e]`; empty if it does not begin with a name."""
    while isinstance(node, ast.Attribute | ast.Subscript | ast.Call | ast.Await):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else ""
