"""Which names surely have a value when the end of a fixture runs.

The statements are walked in order with the set of names that every way to this point has bound. A name that only
some way binds is unsure; a name that nothing here binds is somebody else's and no concern of this module.
"""

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from pytest_muster.checking.source import Def

_ENDS = {"pytest.skip", "pytest.fail", "pytest.exit", "pytest.xfail", "sys.exit", "self.skipTest", "self.fail"}


@dataclass
class _Walk:
    """One walk through a function."""

    paused: bool = False
    """Whether the `yield` was passed."""
    maybe: set[str] = field(default_factory=set)
    under: dict[str, set[str]] = field(default_factory=dict)
    """Condition → the names that are bound wherever it held."""
    found: list[tuple[ast.AST, str]] = field(default_factory=list)
    conditions: list[str] = field(default_factory=list)

    def block(self, statements: Iterable[ast.stmt], sure: set[str]) -> tuple[set[str], bool]:
        """The names that are sure after the statements, and whether the end of them is ever reached."""
        for statement in statements:
            sure, goes_on = self.one(statement, sure)
            if not goes_on:
                return sure, False
        return sure, True

    def one(self, statement: ast.stmt, sure: set[str]) -> tuple[set[str], bool]:
        if isinstance(statement, ast.If):
            return self.branch(statement, sure)
        if isinstance(statement, ast.Try | ast.TryStar):
            return self.attempt(statement, sure)
        if isinstance(statement, ast.For | ast.AsyncFor | ast.While):
            return self.loop(statement, sure)
        if isinstance(statement, ast.With | ast.AsyncWith):
            self.see(*[item.context_expr for item in statement.items], sure=sure)
            bound = sure | self.bind(*[item.optional_vars for item in statement.items if item.optional_vars])
            inner, goes_on = self.block(statement.body, set(bound))
            swallows = any("suppress" in ast.unparse(item.context_expr) for item in statement.items)
            return (bound, True) if swallows else (inner, goes_on)
        if isinstance(statement, ast.Match):
            for case in statement.cases:
                self.block(case.body, sure | self.bind(case.pattern))
            return sure, True
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            return sure | {statement.name}, True
        if isinstance(statement, ast.Import | ast.ImportFrom):
            return sure | {one.asname or one.name.partition(".")[0] for one in statement.names}, True
        self.see(statement, sure=sure)
        bound = sure | self.bind(statement)
        if any(isinstance(node, ast.Yield) for node in ast.walk(statement)):
            self.paused = True
        ends = isinstance(statement, ast.Return | ast.Raise | ast.Continue | ast.Break) or _ends(statement)
        return bound, not ends

    def branch(self, statement: ast.If, sure: set[str]) -> tuple[set[str], bool]:
        self.see(statement.test, sure=sure)
        condition = ast.unparse(statement.test)
        given = sure | self.bind(statement.test)
        self.conditions.append(condition)
        yes, yes_goes_on = self.block(statement.body, given | self.under.get(condition, set()))
        self.conditions.pop()
        self.under.setdefault(condition, set()).update(yes - sure)
        no, no_goes_on = self.block(statement.orelse, set(given))
        if yes_goes_on and no_goes_on:
            return yes & no, True
        return (yes if yes_goes_on else no), yes_goes_on or no_goes_on

    def loop(self, statement: ast.For | ast.AsyncFor | ast.While, sure: set[str]) -> tuple[set[str], bool]:
        endless = False
        if isinstance(statement, ast.While):
            self.see(statement.test, sure=sure)
            endless = isinstance(statement.test, ast.Constant) and bool(statement.test.value)
            inner = set(sure)
        else:
            self.see(statement.iter, sure=sure)
            inner = sure | self.bind(statement.target)
        after, _ = self.block(statement.body, inner)
        rest, goes_on = self.block(statement.orelse, set(sure))
        return (after, True) if endless else (rest, goes_on)

    def attempt(self, statement: ast.Try | ast.TryStar, sure: set[str]) -> tuple[set[str], bool]:
        early = sure | self.harmless(statement.body)
        body, body_goes_on = self.block(statement.body, set(sure))
        body, body_goes_on = self.block(statement.orelse, body) if body_goes_on else (body, False)
        ends = [(body, body_goes_on)]
        ends += [self.block(one.body, early | ({one.name} if one.name else set())) for one in statement.handlers]
        reached = [names for names, goes_on in ends if goes_on]
        after = set.intersection(*reached) if reached else set(body)
        self.block(statement.finalbody, set(early))
        added = self.bind(*statement.finalbody) if statement.finalbody else set()
        return after | added, bool(reached)

    def harmless(self, statements: list[ast.stmt]) -> set[str]:
        """What the first statements bind that cannot raise."""
        found: set[str] = set()
        for statement in statements:
            value = getattr(statement, "value", None)
            if not isinstance(statement, ast.Assign | ast.AnnAssign) or not _cannot_raise(value):
                break
            found |= self.bind(statement)
        return found

    def bind(self, *nodes: ast.AST) -> set[str]:
        found = {
            name
            for node in nodes
            for one in ast.walk(node)
            if isinstance(one, ast.Name | ast.Attribute) and isinstance(one.ctx, ast.Store) and (name := key(one))
        }
        self.maybe |= found
        return found

    def see(self, *nodes: ast.AST, sure: set[str]) -> None:
        if not self.paused:
            return
        for node in nodes:
            for one in _now(node):
                if isinstance(one, ast.Name | ast.Attribute) and isinstance(one.ctx, ast.Load):
                    name = key(one)
                    if name in self.maybe and name not in sure and name not in {seen for _, seen in self.found}:
                        self.found.append((one, name))


def key(node: ast.AST) -> str:
    """`name`, or `self.name` for an attribute of the test's object."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in {"self", "cls"}:
        return f"self.{node.attr}"
    return ""


def _now(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes that are evaluated here, not in a function that is only made here."""
    queue = [node]
    for one in queue:
        yield one
        if not isinstance(one, ast.Lambda | ast.FunctionDef | ast.AsyncFunctionDef):
            queue.extend(ast.iter_child_nodes(one))


def _cannot_raise(value: ast.expr | None) -> bool:
    if isinstance(value, ast.List | ast.Tuple | ast.Set):
        return all(map(_cannot_raise, value.elts))
    if isinstance(value, ast.Dict):
        return not value.keys
    return isinstance(value, ast.Constant)


def _ends(statement: ast.stmt) -> bool:
    call = statement.value if isinstance(statement, ast.Expr) else None
    return isinstance(call, ast.Call) and ast.unparse(call.func) in _ENDS


def possibly_unbound_names(function: Def) -> list[tuple[ast.AST, str]]:
    """The names in the part after the `yield` that the set-up may have left without a value; each once."""
    if "locals()" in ast.unparse(function):
        return []
    arguments = {one.arg for one in ast.walk(function.args) if isinstance(one, ast.arg)}
    elsewhere = {name for one in ast.walk(function) if isinstance(one, ast.Global | ast.Nonlocal) for name in one.names}
    walk = _Walk()
    walk.block(function.body, arguments | elsewhere)
    return [(node, name) for node, name in walk.found if not name.startswith("self.")]


def possibly_unbound_attributes(set_ups: list[Def], tests: list[Def], tear_down: Def) -> Iterator[tuple[ast.AST, str]]:
    """The attributes that a tear-down uses, and that only some way through set-up and tests has set; each once."""
    sure: set[str] = set()
    walk = _Walk()
    for set_up in set_ups:
        sure, _ = walk.block(set_up.body, sure)
    for test in tests:
        walk.bind(test)
    text = ast.unparse(tear_down)
    if "hasattr" in text or "getattr" in text or "AttributeError" in text:
        return
    walk.paused = True
    walk.block(tear_down.body, sure)
    for node, name in walk.found:
        if name.startswith("self."):
            yield node, name.removeprefix("self.")
