"""Rules about the names of things in systems that more than one test uses."""

import ast
import re
from collections.abc import Iterator

from pytest_muster.checking.rules import Hit, Level, Rule
from pytest_muster.checking.source import WIDE, Function, Role, Source, root_name, walk

_CREATE = re.compile(
    r"^\s*CREATE\s+(?:OR\s+REPLACE\s+)?(?:UNLOGGED\s+)?(DATABASE|SCHEMA|ROLE|USER|TABLESPACE|PUBLICATION|TABLE)\s+"
    r'(?:IF\s+NOT\s+EXISTS\s+)?["`\[]?([A-Za-z_][\w.$-]*)',
    re.IGNORECASE,
)
_MAKERS = re.compile(
    r"^(?:a?create|ensure|declare|make|new)_?(namespace|topic|queue|bucket|database|schema|index|collection|stream"
    r"|exchange|user|role|table|vhost|repository)s?$",
    re.IGNORECASE,
)
_NAME_WORDS = {"name", "bucket", "Bucket", "QueueName", "TableName", "topic", "queue", "index", "Name", "namespace"}
_TEMPORARY = re.compile(r"^(/tmp|/var/tmp|/dev/shm)/[^\s{}]+$")  # what the rule looks for
_CLOCK = re.compile(
    r"^(time\.(time|time_ns|monotonic|monotonic_ns|perf_counter)|datetime\.(datetime\.)?(now|utcnow|today))$"
)
_DICE = re.compile(r"^random\.(randint|randrange|choice)$")
_SHOWS = re.compile(r"(print|log|debug|info|warning|error|exception|fail|skip|write|Error|Exception)$")


# --- names of shared things ------------------------------------------------------------------------------------------


def _acts(function: Function | None) -> bool:
    return function is not None and function.runs_in_tests and function.role is not Role.SHARED


def _is_shared(source: Source, function: Function, node: ast.AST) -> bool:
    """Whether a thing that a call is made on belongs to more than one test."""
    name = root_name(node)
    if name in source.constants:
        return True
    if name in function.arguments:
        given = source.fixtures.get(name)
        return given is not None and _reaches_wide(source, given)
    return False


def _reaches_wide(source: Source, fixture: Function) -> bool:
    return fixture.scope in WIDE or fixture.role is Role.SHARED


def _own_place(source: Source, function: Function) -> bool:
    """Whether what a function sets up is told apart by worker, run or test."""
    asked = source.asked_by(function)
    return any(
        name in {"worker_id", "testrun_uid", "request"} or name.startswith(("muster_", "tmp_path")) for name in asked
    )


def _fixed_names(source: Source) -> Iterator[Hit]:
    for call in source.all(ast.Call):
        function = source.function_of(call)
        if function is None or not _acts(function) or source.in_claim(call):
            continue
        wide = function.role is not Role.TEST and function.scope in WIDE
        if not isinstance(call.func, ast.Attribute) or not (wide or _is_shared(source, function, call.func)):
            continue
        if wide and _own_place(source, function):
            continue
        statement = source.text_of(call.args[0]) if call.args else None
        if statement and (match := _CREATE.match(statement)):
            yield call, f"the {match[1].lower()} `{match[2]}` has a fixed name in something that others use as well"
        elif maker := _MAKERS.match(call.func.attr):
            given = [*call.args[:1], *(word.value for word in call.keywords if word.arg in _NAME_WORDS)]
            name = next(filter(None, map(source.text_of, given)), None)
            if name:
                yield call, f"the {maker[1].lower()} `{name}` has a fixed name in something that others use as well"


# --- files -----------------------------------------------------------------------------------------------------------


def _fixed_files(source: Source) -> Iterator[Hit]:
    for text in source.all(ast.Constant):
        if not isinstance(text.value, str) or not _TEMPORARY.match(text.value) or source.in_claim(text):
            continue
        if _accesses(source, text):
            yield text, f"`{text.value}` is the same file for every worker and every run"
    for operation in source.all(ast.BinOp):
        if isinstance(operation.op, ast.Div) and "tempfile.gettempdir" in ast.unparse(operation.left):
            name = source.text_of(operation.right)
            if name:
                yield operation, f"`{name}` in the temporary directory is the same file for every worker and every run"


_FILE_CALLS = {
    "open", "mkdir", "makedirs", "write_text", "write_bytes", "read_text", "read_bytes", "access", "unlink", "rmtree",
    "copy", "copyfile", "move", "connect", "exists", "FileLock", "FileHandler", "remove", "symlink", "rename",
    "iterdir", "bind", "listen", "NamedTemporaryFile", "mkdtemp", "mkstemp", "copytree",
}  # fmt: skip


def _accesses(source: Source, text: ast.Constant) -> bool:
    """Whether a path leads to a call that works with files: directly, through `Path`, or through one name."""
    node: ast.AST = text
    for around in source.around(text):
        if isinstance(around, ast.Call):
            name = source.called(around) or (around.func.attr if isinstance(around.func, ast.Attribute) else "")
            if name.rpartition(".")[2] in _FILE_CALLS:
                return True
            if name.rpartition(".")[2] not in {"Path", "join", "str"} and node is not around.func:
                return False
        if isinstance(around, ast.stmt):
            break
        node = around
    statement = source.statement(text)
    if not isinstance(statement, ast.Assign | ast.AnnAssign):
        return False
    targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
    names = {one.id for one in targets if isinstance(one, ast.Name)}
    for call in source.all(ast.Call):
        last = call.func.attr if isinstance(call.func, ast.Attribute) else source.called(call)
        if last in _FILE_CALLS and any(isinstance(one, ast.Name) and one.id in names for one in walk(call)):
            return True
    return False


# --- names by the clock ----------------------------------------------------------------------------------------------


def _names_by_clock(source: Source) -> Iterator[Hit]:
    for text in source.all(ast.JoinedStr):
        chance = _drawn(source, text)
        if chance and _is_name(text) and not _shown(source, text):
            yield text, f"a name is made with {chance}(), and two tests can get the same one"
    for operation in source.all(ast.BinOp):
        left, right = operation.left, operation.right
        if isinstance(operation.op, ast.Add) and isinstance(left, ast.Constant) and isinstance(left.value, str):
            chance = _drawn(source, right)
            if chance and source.dotted(getattr(right, "func", None)) == "str" and not _shown(source, operation):
                yield operation, f"a name is made with {chance}(), and two tests can get the same one"


def _drawn(source: Source, node: ast.AST) -> str:
    """The clock or the die in an expression, if it is one that two workers can read alike."""
    for one in walk(node):
        if isinstance(one, ast.Call):
            name = source.called(one)
            if _CLOCK.match(name) or _DICE.match(name):
                around = source.parents[one]
                if isinstance(around, ast.BinOp | ast.Compare) and not isinstance(
                    around.op if isinstance(around, ast.BinOp) else None, ast.Mult
                ):
                    return ""  # a difference of times
                if isinstance(around, ast.Attribute) and around.attr in {"isoformat", "year", "hour", "timestamp"} - {
                    "timestamp"
                }:
                    return ""
                return name
    return ""


def _is_name(text: ast.JoinedStr) -> bool:
    """Whether it reads as one word with a changing part, such as `test-{…}`."""
    fixed = "".join(str(one.value) for one in text.values if isinstance(one, ast.Constant))
    return bool(re.fullmatch(r"[A-Za-z][\w./-]*", fixed)) and len(fixed) > 1


def _shown(source: Source, node: ast.AST) -> bool:
    if source.in_claim(node):
        return True
    for around in source.around(node):
        if isinstance(around, ast.Call) and _SHOWS.search(ast.unparse(around.func)):
            return True
        if isinstance(around, ast.stmt):
            return False
    return False


RULES = (
    Rule(
        id="M203",
        name="fixed-name",
        level=Level.ERROR,
        title="A database, schema, table, topic, bucket or namespace with a fixed name is made in something shared.",
        reason="The second worker that makes it is told that it exists already, or finds the rows of the first.",
        remedy='Take a name that nobody else gets: `muster_test.name("orders")`, `muster_worker.name("app")`.',
        bad='import pytest\n\n\n@pytest.fixture(scope="session")\ndef database(server):\n'
        '    server.execute("CREATE DATABASE app")\n    return "app"\n',
        good='import pytest\n\n\n@pytest.fixture(scope="session")\ndef database(server, muster_worker):\n'
        '    name = muster_worker.name("app")\n    server.execute(f\'CREATE DATABASE "{name}"\')\n    return name\n',
        check=_fixed_names,
    ),
    Rule(
        id="M204",
        name="fixed-file",
        title="A file or directory has a fixed path under the temporary directory.",
        reason="All workers, and all runs on the machine, write the same file.",
        remedy="Use `tmp_path`, `tmp_path_factory`, or `muster_worker.directory`.",
        bad='def test_export(product):\n    product.export("/tmp/report.csv")\n'
        '    with open("/tmp/report.csv") as file:\n        assert file.read()\n',
        good='def test_export(product, tmp_path):\n    product.export(tmp_path / "report.csv")\n'
        '    assert (tmp_path / "report.csv").read_text()\n',
        check=_fixed_files,
    ),
    Rule(
        id="M205",
        name="name-by-clock",
        title="A name is made from the time, or from a small random number.",
        reason="Workers start tests within the same instant, and clocks are coarser than they look; of 40 numbers "
        "below 1000, two are equal more often than not.",
        remedy="Use `muster_test.name(...)`, or `uuid.uuid4().hex`.",
        bad='import time\n\n\ndef test_order(shop):\n    customer = f"customer-{int(time.time())}"\n'
        "    assert shop.order(customer)\n",
        good='def test_order(shop, muster_test):\n    customer = muster_test.name("customer")\n'
        "    assert shop.order(customer)\n",
        check=_names_by_clock,
    ),
)
