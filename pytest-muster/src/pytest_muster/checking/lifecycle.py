"""Rules about processes, threads and locks that a test or fixture opens."""

import ast
import re
from collections.abc import Iterator

from pytest_muster.checking.rules import Hit, Rule
from pytest_muster.checking.source import WIDE, Def, Function, Role, Source, is_after, root_name, walk, yield_of

_PROCESSES = {"subprocess.Popen", "asyncio.create_subprocess_exec", "asyncio.create_subprocess_shell"}
_ENDS = {"terminate", "kill", "wait", "communicate", "send_signal"}
_LOCKS = re.compile(r"(?:^|\.)(FileLock|SoftFileLock|InterProcessLock|RedLock|flock|lockf)$")


def _does(function: Def | ast.AST, methods: set[str], name: str) -> bool:
    """Whether one of these methods of the thing is called or handed on, or the thing itself is."""
    for node in walk(function):
        if isinstance(node, ast.Attribute) and node.attr in methods and ast.unparse(node.value) == name:
            return True
        if isinstance(node, ast.Call):
            given = [*node.args, *(word.value for word in node.keywords)]
            if any(ast.unparse(one) == name for one in given):
                return True
        if isinstance(node, ast.withitem) and ast.unparse(node.context_expr) == name:
            return True
    return False


def _target(source: Source, call: ast.Call) -> str | None:
    """The name that a call's value gets; empty if it is thrown away, None if it goes elsewhere."""
    node: ast.AST = call
    parent = source.parents[node]
    if isinstance(parent, ast.Await):
        node, parent = parent, source.parents[parent]
    if isinstance(parent, ast.Assign) and len(parent.targets) == 1:
        return ast.unparse(parent.targets[0])
    if isinstance(parent, ast.AnnAssign):
        return ast.unparse(parent.target)
    if isinstance(parent, ast.Expr):
        return ""
    return None


def _scope_of(source: Source, function: Function, name: str) -> ast.AST:
    """Where the end of a thing may stand: in the function, or in the class if it is kept in `self`."""
    parent = source.parents[function.node]
    return parent if name.startswith(("self.", "cls.")) and isinstance(parent, ast.ClassDef) else function.node


def _left_processes(source: Source) -> Iterator[Hit]:
    for call in source.all(ast.Call):
        function = source.function_of(call)
        if source.called(call) not in _PROCESSES or function is None or not function.runs_in_tests:
            continue
        name = _target(source, call)
        if name is None and not isinstance(source.parents[call], ast.Return):
            continue  # in a `with`, or given to something that ends it
        if source.is_nested(call):
            continue
        if not name or not _does(_scope_of(source, function, name), _ENDS, name):
            yield call, f"nothing ends the process that `{function.name}` starts"


def _left_threads(source: Source) -> Iterator[Hit]:
    for call in source.all(ast.Call):
        function = source.function_of(call)
        if source.called(call) not in {"threading.Thread", "threading.Timer"} or function is None:
            continue
        if not function.runs_in_tests or source.is_nested(call):
            continue
        parent = source.parents[call]
        started_at_once = isinstance(parent, ast.Attribute) and parent.attr == "start"
        name = _target(source, call)
        if name is None and not started_at_once:
            if isinstance(parent, ast.ListComp) and not _joins(function.node):
                yield call, f"nothing waits for the threads that `{function.name}` starts"
            continue
        scope = _scope_of(source, function, name or "")
        stopped = _calls(scope, "shutdown")  # of a server whose loop the thread runs
        if (started_at_once or not name or not _does(scope, {"join", "cancel"}, name)) and not stopped:
            if name and not _does(scope, {"start"}, name):
                continue  # somebody else starts it
            yield call, f"nothing waits for the thread that `{function.name}` starts"


def _joins(function: ast.AST) -> bool:
    return any(
        isinstance(one, ast.Call)
        and isinstance(one.func, ast.Attribute)
        and one.func.attr == "join"
        and isinstance(one.func.value, ast.Name)
        and (not one.args or not isinstance(one.args[0], ast.List | ast.GeneratorExp | ast.ListComp))
        for one in walk(function)
    )


def _calls(scope: ast.AST, method: str) -> bool:
    return any(isinstance(one, ast.Attribute) and one.attr == method for one in walk(scope))


def _lock_without_owner(source: Source) -> Iterator[Hit]:
    for function in source.functions.values():
        if function.role is not Role.FIXTURE or function.scope not in WIDE:
            continue
        locks = [
            node for node in walk(function.node) if isinstance(node, ast.Call) and _LOCKS.search(source.called(node))
        ]
        if not locks:
            continue
        pause = yield_of(function.node)
        starts = [
            node for node in walk(function.node) if isinstance(node, ast.Call) and _starts_something(source, node)
        ]
        if pause is None and starts:
            yield locks[0], f"under the lock, `{function.name}` starts something that nobody stops"
        elif pause is not None and starts and _acts_after(function.node, pause, locks):
            yield locks[0], f"the lock lets one worker set up `{function.name}`, but each of them tears it down"


def _starts_something(source: Source, call: ast.Call) -> bool:
    last = call.func.attr if isinstance(call.func, ast.Attribute) else source.called(call)
    return (
        source.called(call).startswith("subprocess.")
        or last in {"start", "up", "launch", "Popen"}
        or last.startswith(("start_", "launch_", "create_database", "spawn"))
    )


def _acts_after(function: Def, pause: ast.Yield, locks: list[ast.Call]) -> bool:
    """Whether something is done after the `yield` without asking under a lock who is the last."""
    after = [one for one in walk(function) if isinstance(one, ast.Call) and is_after(one, pause)]
    names = {root_name(one.func) for one in locks} | {"lock"}
    asks = any(
        isinstance(one, ast.With)
        and is_after(one, pause)
        and any("lock" in ast.unparse(item).lower() for item in one.items)
        for one in walk(function)
    )
    return bool(after) and not asks and not all(root_name(one.func) in names for one in after)


RULES = (
    Rule(
        id="M403",
        name="process-left",
        title="A process is started in a test or fixture, and nothing there ends it.",
        reason="It keeps its port and its files, and goes on beside later tests and after the run.",
        remedy="Start it with `muster_test.start([...])`, which ends with its owner even if that is killed; or stop "
        "and wait for it after the `yield`.",
        bad="import subprocess\n\nimport pytest\n\n\n@pytest.fixture\ndef server():\n"
        '    process = subprocess.Popen(["product", "serve"])\n    return process.pid\n',
        good="import subprocess\n\nimport pytest\n\n\n@pytest.fixture\ndef server():\n"
        '    process = subprocess.Popen(["product", "serve"])\n    yield process.pid\n    process.terminate()\n'
        "    process.wait(10)\n",
        check=_left_processes,
    ),
    Rule(
        id="M404",
        name="thread-left",
        title="A thread is started in a test or fixture, and nothing waits for its end.",
        reason="It runs on into other tests, and its error is reported in one of them, if at all.",
        remedy="Join it before the test ends, with a time limit, or use a `ThreadPoolExecutor` in a `with` block.",
        bad="import threading\n\n\ndef test_writers(store):\n    writer = threading.Thread(target=store.fill)\n"
        "    writer.start()\n    assert store.is_open()\n",
        good="import threading\n\n\ndef test_writers(store):\n    writer = threading.Thread(target=store.fill)\n"
        "    writer.start()\n    assert store.is_open()\n    writer.join(10)\n",
        check=_left_threads,
    ),
    Rule(
        id="M405",
        name="lock-without-owner",
        title="A file lock makes one worker set up something, and nobody owns its end.",
        reason="The lock says who is first, but not who is last: either nothing stops the thing, or the first worker "
        "that is done stops it for all others.",
        remedy="Make it a `@muster.shared` resource: started once, stopped once, after the last worker.",
        bad='import subprocess\n\nimport pytest\nfrom filelock import FileLock\n\n\n@pytest.fixture(scope="session")\n'
        'def stack(root):\n    with FileLock(root / "lock"):\n        if not (root / "up").exists():\n'
        '            subprocess.run(["compose", "up"], check=True)\n            (root / "up").touch()\n    yield\n'
        '    subprocess.run(["compose", "stop"], check=True)\n',
        good="import pytest_muster as muster\n\n\n@muster.shared\ndef stack(muster_run):\n"
        '    process = muster_run.start(["product", "serve"], log="product.log")\n    yield {"pid": process.pid}\n'
        "    process.stop()\n",
        file="conftest.py",
        check=_lock_without_owner,
    ),
)
