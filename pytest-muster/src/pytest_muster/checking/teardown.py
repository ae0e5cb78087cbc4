"""Rules about the end of fixtures: who may tear down what, and what is there by then."""

import ast
import re
from collections.abc import Iterator

from pytest_muster.checking.rules import Hit, Level, Rule
from pytest_muster.checking.source import WIDE, Function, Role, Source, is_after, walk, yield_of
from pytest_muster.checking.unbound import possibly_unbound_attributes, possibly_unbound_names

_TOOLS = re.compile(
    r"\b(docker|podman|nerdctl|docker-compose|podman-compose|kind|k3d|minikube|kubectl|helm|terraform|tofu|vagrant"
    r"|systemctl|service|dropdb|redis-cli|aws|gcloud|compose)\b"
)
_TEARS = re.compile(
    r"\b(down|rm|stop|kill|delete|destroy|uninstall|prune|dropdb|flushall|flushdb|halt|force-delete)\b", re.IGNORECASE
)
_DROP = re.compile(r"^\s*(?:DROP\s+(?:DATABASE|SCHEMA|TABLE|ROLE|USER|OWNED)|TRUNCATE|DELETE\s+FROM)\b", re.IGNORECASE)
_DROP_CALLS = {"drop_all", "drop_database", "flushall", "flushdb", "delete_topics", "drop_collection", "delete_index"}
_RUNS = re.compile(r"(?:^|\.)(run|call|check_call|check_output|Popen|system|create_subprocess_exec|execute)$")


def _late_calls(source: Source, function: Function) -> Iterator[ast.Call]:
    """The calls of the part that runs at the end of a fixture, of a tear-down, or of a hook at the end of a run."""
    if function.role is Role.TEAR_DOWN or (
        function.role is Role.HOOK and function.node.name in {"pytest_sessionfinish", "pytest_unconfigure"}
    ):
        yield from (one for one in walk(function.node) if isinstance(one, ast.Call))
        return
    pause = yield_of(function.node)
    if pause and function.role is Role.FIXTURE:
        yield from (one for one in walk(function.node) if isinstance(one, ast.Call) and is_after(one, pause))


def _shared_torn_down(source: Source) -> Iterator[Hit]:
    for function in source.functions.values():
        if function.scope not in WIDE or _is_guarded(source, function):
            continue
        for call in _late_calls(source, function):
            what = _tears_down(source, function, call)
            if what:
                who = f"`{function.name}`"
                yield call, f"{who} runs in every worker, and the first one that is done ends {what} for all"
                break


def _is_guarded(source: Source, function: Function) -> bool:
    """Whether the function asks who it is, or works on something of its own."""
    asked = source.asked_by(function)
    if any(name in {"worker_id", "testrun_uid"} or name.startswith(("muster_", "tmp_path")) for name in asked):
        return True
    text = ast.unparse(function.node)
    return any(word in text for word in ("workerinput", "PYTEST_XDIST", "is_xdist", "sqlite", "uuid", "getpid"))


def _tears_down(source: Source, function: Function, call: ast.Call) -> str:
    name = source.called(call)
    last = call.func.attr if isinstance(call.func, ast.Attribute) else name
    if re.search(r"compose\.(down|stop|rm|kill)$", name or ast.unparse(call.func)):
        return f"`{ast.unparse(call.func)}`"
    if last in _DROP_CALLS:
        return f"what `{ast.unparse(call)}` removes"
    texts = [source.text_of(one) for given in call.args for one in _words(given)]
    fixed = " ".join(one for one in texts if one)
    if texts and texts[0] and _DROP.match(texts[0]):
        return f"what `{texts[0].strip()}` removes"
    everything_fixed = all(text is not None for text in texts)
    if _RUNS.search(name) and everything_fixed and _TOOLS.search(fixed) and _TEARS.search(fixed):
        return f"what `{fixed}` stops"
    return ""


def _words(given: ast.expr) -> list[ast.expr]:
    return list(given.elts) if isinstance(given, ast.List | ast.Tuple) else [given]


def _unguarded(source: Source) -> Iterator[Hit]:
    for function in source.functions.values():
        if function.role in {Role.FIXTURE, Role.SHARED} and yield_of(function.node):
            for node, name in possibly_unbound_names(function.node):
                yield node, f"`{name}` may not have a value here, when the set-up stopped half-way or went another way"
    for node in source.all(ast.ClassDef):
        yield from _unguarded_class(source, node)


def _unguarded_class(source: Source, node: ast.ClassDef) -> Iterator[Hit]:
    known = {"TestCase", "IsolatedAsyncioTestCase", "object"}
    if any(source.dotted(base).rpartition(".")[2] not in known for base in node.bases):
        return  # what the bases set is not known
    functions = [one for part in node.body if (one := source.functions.get(part))]
    set_ups = [one.node for one in functions if one.role is Role.SET_UP]
    tests = [one.node for one in functions if one.role is Role.TEST]
    own = {
        target.id
        for part in node.body
        if isinstance(part, ast.Assign)
        for target in part.targets
        if isinstance(target, ast.Name)
    }
    own |= {
        part.target.id
        for part in node.body
        if isinstance(part, ast.AnnAssign) and part.value and isinstance(part.target, ast.Name)
    }
    for tear_down in functions:
        if tear_down.role is Role.TEAR_DOWN:
            for place, name in possibly_unbound_attributes(set_ups, tests, tear_down.node):
                if name not in own:
                    yield place, f"`self.{name}` is only set when the set-up or the test got that far"


RULES = (
    Rule(
        id="M401",
        name="shared-torn-down",
        level=Level.ERROR,
        title="A fixture of more than one test, or a hook at the end of the run, tears down something shared.",
        reason="Every worker has session fixtures of its own. The first worker that runs out of tests tears the thing "
        "down, while the others still use it.",
        remedy="Make the thing a `@muster.shared` resource: it is stopped once, after the last worker.",
        bad='import subprocess\n\nimport pytest\n\n\n@pytest.fixture(scope="session")\ndef stack():\n'
        '    subprocess.run(["docker", "compose", "up", "-d"], check=True)\n    yield\n'
        '    subprocess.run(["docker", "compose", "down", "-v"], check=True)\n',
        good="import subprocess\n\nimport pytest_muster as muster\n\n\n@muster.shared\ndef stack():\n"
        '    subprocess.run(["docker", "compose", "up", "-d"], check=True)\n    yield {}\n'
        '    subprocess.run(["docker", "compose", "down", "-v"], check=True)\n',
        file="conftest.py",
        check=_shared_torn_down,
    ),
    Rule(
        id="M402",
        name="unguarded-teardown",
        title="Code after a `yield`, in a `finally` or in a tear-down uses a name that may not have a value.",
        reason="When the set-up fails half-way, the tear-down fails as well, with an error of its own that hides the "
        "first one; and what came after it in the tear-down is never cleaned up.",
        remedy="Give the name a value before the `try`, or open the thing in a `with` block.",
        bad="import pytest\nfrom product import connect\n\n\n@pytest.fixture\ndef client(url):\n    try:\n"
        "        client = connect(url)\n        yield client\n    finally:\n        client.close()\n",
        good="import pytest\nfrom product import connect\n\n\n@pytest.fixture\ndef client(url):\n"
        "    client = connect(url)\n    try:\n        yield client\n    finally:\n        client.close()\n",
        check=_unguarded,
    ),
)
