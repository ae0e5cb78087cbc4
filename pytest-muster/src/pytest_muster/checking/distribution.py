"""Rules about how tests are collected and dealt out to workers."""

import ast
import re
from collections.abc import Iterable, Iterator

from pytest_muster.checking.rules import Hit, Level, Rule
from pytest_muster.checking.source import Source, walk

_CHANCE = re.compile(
    r"^(random\.(?!seed|Random)\w+|secrets\.\w+|uuid\.uuid[14]|os\.urandom|time\.(time|monotonic|perf_counter)(_ns)?"
    r"|datetime\.(datetime\.|date\.)?(now|utcnow|today)|tempfile\.\w+|os\.getpid|id)$"
)
_LISTING = re.compile(r"^(os\.(listdir|scandir)|glob\.i?glob)$")
_ALONE = re.compile(r"serial|sequen|exclusive|alone|isolat|single|one_by_one|no_?parallel|not_?parallel", re.IGNORECASE)
_WALKS = {"glob", "rglob", "iterdir"}
_ORDERING = {"sorted", "len", "sum", "min", "max", "any", "all"}


def _parameters(source: Source) -> Iterator[ast.expr]:
    """The expressions that decide which tests there are, and what they are called."""
    for call in source.all(ast.Call):
        name = source.called(call)
        if name.endswith(("mark.parametrize", "metafunc.parametrize")):
            yield from call.args[1:3]
            yield from (word.value for word in call.keywords if word.arg in {"argvalues", "ids"})
        elif name in {"pytest.fixture", "pytest_asyncio.fixture"}:
            yield from (word.value for word in call.keywords if word.arg in {"params", "ids"})


_SET = "a set has another order in each worker"


def _unsteady(source: Source, value: ast.expr, through: int = 2) -> str:
    """What about a value differs from process to process; empty if nothing does."""
    if isinstance(value, ast.Name) and value.id in source.constants and through:
        return _unsteady(source, source.constants[value.id], through - 1)
    if isinstance(value, ast.Call):
        return _unsteady_call(source, value, through)
    if isinstance(value, ast.Set | ast.SetComp):
        return "" if _all_numbers(value) else _SET
    if isinstance(value, ast.BinOp) and isinstance(value.op, ast.BitOr | ast.BitAnd | ast.Sub):
        return _first(_unsteady(source, one, through) for one in (value.left, value.right))
    if isinstance(value, ast.List | ast.Tuple):  # a set within a list is one value, not an order
        return _first(_chance_within(source, one) for one in value.elts)
    if isinstance(value, ast.ListComp | ast.GeneratorExp):
        over = _first(_unsteady(source, one.iter, through) for one in value.generators)
        return over or _chance_within(source, value.elt)
    return _unsteady(source, value.value, through) if isinstance(value, ast.Starred) else ""


def _unsteady_call(source: Source, call: ast.Call, through: int) -> str:
    name = source.called(call)
    if _CHANCE.match(name):
        return f"{name}() gives another value in each worker"
    if _LISTING.match(name) or (isinstance(call.func, ast.Attribute) and call.func.attr in _WALKS):
        return "files come in no particular order"
    if name in {"set", "frozenset"}:
        return "" if not call.args or _all_numbers(call.args[0]) else _SET
    if name in _ORDERING:
        return _first(_chance_within(source, one) for one in call.args)
    return _first(_unsteady(source, one, through) for one in call.args)


def _first(answers: Iterable[str]) -> str:
    return next(filter(None, answers), "")


def _chance_within(source: Source, value: ast.expr) -> str:
    for one in walk(value):
        if isinstance(one, ast.Lambda):
            return ""
        if isinstance(one, ast.Call) and _CHANCE.match(source.called(one)):
            return f"{source.called(one)}() gives another value in each worker"
    return ""


def _all_numbers(value: ast.expr) -> bool:
    if isinstance(value, ast.List | ast.Tuple | ast.Set):
        return all(isinstance(one, ast.Constant) and not isinstance(one.value, str | bytes) for one in value.elts)
    return isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id == "range"


def _unsteady_collection(source: Source) -> Iterator[Hit]:
    for value in _parameters(source):
        why = _unsteady(source, value)
        if why:
            yield value, f"tests are made from a value that is not the same in every worker: {why}"
    for call in source.all(ast.Call):
        unseeded = source.called(call) in {"random.seed", "numpy.random.seed"} and source.function_of(call) is None
        if unseeded and (not call.args or _chance_within(source, call.args[0])):
            yield call, "the seed that is set on import is another one in each worker"


def _group_as_serial(source: Source) -> Iterator[Hit]:
    for call in source.all(ast.Call):
        if source.called(call).endswith("mark.xdist_group"):
            given = [*call.args, *(word.value for word in call.keywords if word.arg == "name")]
            name = source.text_of(given[0]) if given else None
            if name and _ALONE.search(name):
                yield call, f'xdist_group("{name}") does not run its tests alone'


def _number_of_worker(source: Source) -> Iterator[Hit]:
    for call in source.all(ast.Call):
        if source.called(call) != "int" or len(call.args) != 1:
            continue
        inner = call.args[0]
        subject: ast.AST | None = None
        if isinstance(inner, ast.Subscript) and isinstance(inner.slice, ast.Slice):
            subject = inner.value
        elif isinstance(inner, ast.Call) and isinstance(inner.func, ast.Attribute):
            words = [one.value for one in inner.args if isinstance(one, ast.Constant)]
            if inner.func.attr in {"replace", "removeprefix", "strip", "lstrip"} and words[:1] == ["gw"]:
                subject = inner.func.value
        elif isinstance(inner, ast.Subscript):
            subject = inner.value
        if subject is not None and _is_worker_id(source, subject):
            yield call, "the number in a worker's id is used as if it were a slot"


def _is_worker_id(source: Source, node: ast.AST) -> bool:
    for one in walk(node):
        if isinstance(one, ast.Name) and one.id in {"worker_id", "workerid"}:
            return True
        if isinstance(one, ast.Constant) and one.value in {"PYTEST_XDIST_WORKER", "workerid"}:
            return True
        if isinstance(one, ast.Name):
            function = source.function_of(one)
            for assigned in walk(function.node) if function else ():
                if (
                    isinstance(assigned, ast.Assign)
                    and any(isinstance(to, ast.Name) and to.id == one.id for to in assigned.targets)
                    and any(
                        isinstance(part, ast.Constant) and part.value == "PYTEST_XDIST_WORKER"
                        for part in walk(assigned.value)
                    )
                ):
                    return True
    return False


RULES = (
    Rule(
        id="M501",
        name="unsteady-collection",
        level=Level.ERROR,
        title="Tests are made from values that differ between processes: sets of strings, random values, clocks, "
        "unsorted directories.",
        reason="Every worker collects by itself, and pytest-xdist refuses to run when two workers find different "
        "tests or another order; without it, a failed test cannot be named and repeated.",
        remedy="Sort it, or write the values down; draw random values inside the test, from a seed that is printed.",
        bad='import pytest\n\n\n@pytest.mark.parametrize("name", {"first", "second"})\n'
        "def test_lookup(name):\n    assert name.islower()\n",
        good='import pytest\n\n\n@pytest.mark.parametrize("name", sorted({"first", "second"}))\n'
        "def test_lookup(name):\n    assert name.islower()\n",
        check=_unsteady_collection,
    ),
    Rule(
        id="M502",
        name="group-as-serial",
        title="Tests are put into an `xdist_group` as if they ran alone then.",
        reason="A group only keeps its tests on one worker, and only with `--dist loadgroup`; the other workers run "
        "tests beside it all the time.",
        remedy="Mark the tests `@muster.serial`: while such a test runs, no other one does.",
        bad='import pytest\n\n\n@pytest.mark.xdist_group("serial")\ndef test_restart(server):\n    server.restart()\n',
        good="import pytest_muster as muster\n\n\n@muster.serial\ndef test_restart(server):\n    server.restart()\n",
        check=_group_as_serial,
    ),
    Rule(
        id="M503",
        name="worker-id-as-number",
        title="A number is cut out of a worker's id, for a port or an index.",
        reason="The replacement of a crashed worker gets the next id, not the old one, so that the numbers run past "
        "the count of workers; a second run on the same machine has the same ids.",
        remedy="Take `muster_worker.slot`, which a replacement takes over, or `muster_worker.port()` for a port.",
        bad='import pytest\n\n\n@pytest.fixture(scope="session")\ndef port(worker_id):\n'
        "    return 5000 + int(worker_id[2:])\n",
        good='import pytest\n\n\n@pytest.fixture(scope="session")\ndef port(muster_worker):\n'
        "    return muster_worker.port()\n",
        check=_number_of_worker,
    ),
)
