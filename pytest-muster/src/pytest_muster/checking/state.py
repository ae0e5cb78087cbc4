"""Rules about the state that tests share: of one worker only, in globals, in values of the module."""

import ast
import re
from collections.abc import Iterable, Iterator

from pytest_muster.checking.rules import Hit, Level, Rule
from pytest_muster.checking.source import (
    Def,
    Function,
    Role,
    Source,
    declared_global,
    is_after,
    local_names,
    root_name,
    walk,
    yield_of,
)

_WORKER = re.compile(r"^(gw\d+|master|main)$")
_CHANGES = {
    "append", "add", "update", "extend", "insert", "setdefault", "pop", "popitem", "remove", "discard", "clear",
    "appendleft", "extendleft", "popleft", "subtract", "sort", "reverse",
}  # fmt: skip
_RESETS = {"clear", "pop", "popitem", "popleft", "remove", "discard", "update"}


# --- state of one worker ---------------------------------------------------------------------------------------------


def asks_which_worker(source: Source, test: ast.expr) -> bool:
    """Whether a condition holds in one worker only."""
    for compare in (one for one in walk(test) if isinstance(one, ast.Compare)):
        sides = [compare.left, *compare.comparators]
        literal = any(
            isinstance(part, ast.Constant) and isinstance(part.value, str) and _WORKER.match(part.value)
            for side in sides
            for part in (side.elts if isinstance(side, ast.Tuple | ast.List | ast.Set) else [side])
        )
        if literal and any(_names_worker(one) for one in sides):
            return True
    return False


def _names_worker(node: ast.AST) -> bool:
    for one in walk(node):
        if isinstance(one, ast.Name) and "worker" in one.id.lower():
            return True
        if isinstance(one, ast.Attribute) and one.attr in {"workerid", "worker_id", "worker"}:
            return True
        if isinstance(one, ast.Constant) and one.value in {"workerid", "PYTEST_XDIST_WORKER"}:
            return True
    return False


def _shared_names(source: Source, function: Function | None, statements: Iterable[ast.stmt]) -> dict[str, ast.AST]:
    """The names beyond a function that statements set, and where."""
    found: dict[str, ast.AST] = {}
    outer = declared_global(function.node) if function else set(source.constants)
    mine = local_names(function.node) if function else set()
    for statement in statements:
        for node in walk(statement):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and (node.id in outer or not function):
                found.setdefault(node.id, node)
            elif isinstance(node, ast.Attribute | ast.Subscript) and isinstance(node.ctx, ast.Store):
                root = root_name(node)
                if root not in mine and (root in source.constants or root in source.imports) and root != "os":
                    found.setdefault(ast.unparse(node), node)
    return found


def _one_worker_only(source: Source) -> Iterator[Hit]:
    for branch in source.all(ast.If):
        if not asks_which_worker(source, branch.test):
            continue
        function = source.function_of(branch)
        body, other = (_shared_names(source, function, part) for part in (branch.body, branch.orelse))
        for name, node in (body | other).items():
            if (name in body) != (name in other):
                yield node, f"`{name}` is set in one worker only, and in the others it stays as it is on import"
        if function and function.role is Role.FIXTURE and not (body or other):
            yield from _nothing_for_others(function, branch)


def _nothing_for_others(function: Function, branch: ast.If) -> Iterator[Hit]:
    """A fixture whose value is None in all workers but one."""
    inside = {id(node) for part in (branch.body, branch.orelse) for one in part for node in walk(one)}
    answers = [one for one in walk(function.node) if isinstance(one, ast.Return | ast.Yield)]
    nothing = [one for one in answers if _is_none(one.value) and id(one) in inside]
    something = [one for one in answers if not _is_none(one.value)]
    if nothing and something:
        yield nothing[0], f"the fixture `{function.name}` has a value in one worker only, and is None in the others"


def _is_none(node: ast.expr | None) -> bool:
    return node is None or (isinstance(node, ast.Constant) and node.value is None)


# --- globals ---------------------------------------------------------------------------------------------------------


def _global_of_fixture(source: Source) -> Iterator[Hit]:
    tests = [one for one in source.functions.values() if one.role is Role.TEST]
    used = _used_fixtures(source)
    for function in source.functions.values():
        if function.role is not Role.FIXTURE or function.autouse or function.name in used:
            continue
        for name in sorted(declared_global(function.node)):
            setting = next((one for one in walk(function.node) if _stores(one, name)), None)
            if setting is None:
                continue
            readers = [
                one.name for one in tests if function.name not in source.asked_by(one) and _reads(one.node, name)
            ]
            if readers:
                yield setting, f"`{readers[0]}` reads `{name}`, but does not ask for `{function.name}`, which sets it"
            elif not tests:
                yield setting, f"the fixture `{function.name}` hands out its value through the global `{name}`"


def _used_fixtures(source: Source) -> set[str]:
    """What `usefixtures` names in this file."""
    return {
        one.value
        for call in source.all(ast.Call)
        if source.called(call).endswith("mark.usefixtures")
        for one in call.args
        if isinstance(one, ast.Constant) and isinstance(one.value, str)
    }


def _stores(node: ast.AST, name: str) -> bool:
    return isinstance(node, ast.Name) and node.id == name and isinstance(node.ctx, ast.Store)


def _reads(function: Def, name: str) -> bool:
    if name in local_names(function):
        return False
    return any(isinstance(one, ast.Name) and one.id == name for one in walk(function))


def _changed_values(function: Def) -> Iterator[tuple[str, ast.AST, bool]]:
    """Name, place, and whether it may be a reset, of every change that a function makes to a value it was given."""
    for node in walk(function):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in _CHANGES:
            yield _owner(node.func.value), node, node.func.attr in _RESETS
        elif isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store | ast.Del):
            yield _owner(node.value), node, isinstance(node.ctx, ast.Del) or isinstance(node.slice, ast.Slice)
        elif isinstance(node, ast.AugAssign):
            yield _owner(node.target), node, False


def _owner(node: ast.AST) -> str:
    """`NAME` or `self.NAME`; empty for anything else."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in {"self", "cls"}:
        return f"self.{node.attr}"
    return ""


def _changed_by_tests(source: Source) -> Iterator[Hit]:
    mutable = {name for name, value in source.constants.items() if source.is_mutable(value)}
    reset = _reset_between(source)
    for function in source.functions.values():
        if function.role not in {Role.TEST, Role.FIXTURE, Role.SET_UP} or function.scope != "function":
            continue
        own = local_names(function.node)
        names = (mutable - own - reset) | _class_values(source, function)
        pause = yield_of(function.node)
        undone = {
            name for name, node, resets in _changed_values(function.node) if pause and resets and is_after(node, pause)
        } | _undone_in_finally(function.node)
        seen: set[str] = set()
        for name, node, _ in _changed_values(function.node):
            if name in names and name not in undone | seen:
                seen.add(name)
                yield node, f"`{name}` outlives the test, and `{function.name}` changes it"
        if function.role is Role.TEST:
            for name in sorted(declared_global(function.node) & set(source.constants) - reset):
                setting = next((one for one in walk(function.node) if _stores(one, name)), None)
                if setting and name not in undone | seen:
                    yield setting, f"`{name}` outlives the test, and `{function.name}` sets it"


def _undone_in_finally(function: Def) -> set[str]:
    found: set[str] = set()
    for one in walk(function):
        if isinstance(one, ast.Try):
            wrapper = ast.Module(body=one.finalbody, type_ignores=[])
            found |= {name for name, _, _ in _changed_values(wrapper)}  # type: ignore[arg-type]  # it only walks
            found |= {
                node.id for node in walk(wrapper) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
            }
    return found


def _reset_between(source: Source) -> set[str]:
    """The names that a set-up, a tear-down or an autouse fixture of this file puts right for each test."""
    found: set[str] = set()
    for function in source.functions.values():
        each = function.role in {Role.SET_UP, Role.TEAR_DOWN} or (function.role is Role.FIXTURE and function.autouse)
        if each and function.scope == "function":
            found |= {name for name, _, resets in _changed_values(function.node) if resets}
            found |= {
                name
                for name in declared_global(function.node)
                if any(_stores(one, name) for one in walk(function.node))
            }
    return found


def _class_values(source: Source, function: Function) -> set[str]:
    """`self.x` for the mutable values in the body of the function's class that no set-up makes anew."""
    parent = source.parents[function.node]
    if not isinstance(parent, ast.ClassDef) or function.role is not Role.TEST:
        return set()
    found = {
        f"self.{target.id}"
        for one in parent.body
        if isinstance(one, ast.Assign) and source.is_mutable(one.value)
        for target in one.targets
        if isinstance(target, ast.Name)
    }
    made_anew = {
        f"self.{node.attr}"
        for node in walk(parent)
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and root_name(node) == "self"
    }
    return found - made_anew


RULES = (
    Rule(
        id="M101",
        name="state-of-one-worker",
        level=Level.ERROR,
        title="A global or a fixture gets its value under a condition that one worker fulfils.",
        reason="Workers are processes and share no memory: whatever the first one makes, the others do not have. "
        "Their tests fail within milliseconds, and as they are the fastest, they get most of the tests.",
        remedy="Make the shared thing once with `@muster.shared` and hand out plain data (a URL, a path); "
        "make clients of it in every worker, with a session fixture or `@muster.worker`.",
        bad="import pytest\nfrom product import connect\n\nCLIENT = None\n\n\n"
        '@pytest.fixture(scope="session", autouse=True)\ndef client(worker_id):\n    global CLIENT\n'
        '    if worker_id == "gw0":\n        CLIENT = connect()\n',
        good='import pytest\nfrom product import connect\n\n\n@pytest.fixture(scope="session")\n'
        "def client(server):  # `server` is shared, and what it gives is a URL\n    return connect(server)\n",
        check=_one_worker_only,
    ),
    Rule(
        id="M102",
        name="value-through-a-global",
        title="A fixture hands out its value through a global, and tests read that without asking for the fixture.",
        reason="Such a test passes only after another one that asked for the fixture in the same worker, and which "
        "tests share a worker is another matter in every run.",
        remedy="Return the value from the fixture, and let every test that needs it name the fixture.",
        bad='import pytest\nfrom product import connect\n\nCLIENT = None\n\n\n@pytest.fixture(scope="module")\n'
        "def client():\n    global CLIENT\n    CLIENT = connect()\n\n\n"
        "def test_first(client):\n    assert CLIENT.ping()\n\n\ndef test_second():\n    assert CLIENT.ping()\n",
        good='import pytest\nfrom product import connect\n\n\n@pytest.fixture(scope="module")\n'
        "def client():\n    return connect()\n\n\n"
        "def test_first(client):\n    assert client.ping()\n\n\ndef test_second(client):\n    assert client.ping()\n",
        check=_global_of_fixture,
    ),
    Rule(
        id="M103",
        name="module-value-changed",
        title="A test changes a list, dict, set or global of its module or class.",
        reason="The next test of the same worker finds what this one left; with another order or another number of "
        "workers, that is another test.",
        remedy="Make the value in a fixture or in the test; or put it right in an autouse fixture.",
        bad='SEEN = []\n\n\ndef test_events_arrive(bus):\n    bus.subscribe(SEEN.append)\n    SEEN.append("start")\n'
        '    bus.send("a")\n    assert SEEN == ["start", "a"]\n',
        good='def test_events_arrive(bus):\n    seen = ["start"]\n    bus.subscribe(seen.append)\n'
        '    bus.send("a")\n    assert seen == ["start", "a"]\n',
        check=_changed_by_tests,
    ),
)
