"""Rules about waiting: for a state, within a time, never for a time."""

import ast
import re
from collections.abc import Iterator

from pytest_muster.checking.rules import Hit, Rule
from pytest_muster.checking.source import Role, Source, walk

_SLEEPS = {"time.sleep", "asyncio.sleep", "anyio.sleep", "trio.sleep", "gevent.sleep", "eventlet.sleep"}
_CLOCKS = re.compile(
    r"monotonic|perf_counter|time\.time|\.time\(\)|deadline|timeout|wait_for|fail_after|move_on_after|datetime\.now"
    r"|stop_after|expires"
)
_FLAG = re.compile(r"stop|clos|cancel|running|shutdown|is_set", re.IGNORECASE)
"""Somebody else ends such a loop, and it waits for nothing."""
_SUBJECT = re.compile(r"\b(raises|timeout|timeout_at|fail_after|move_on_after|freeze_time)\b")


def _sleeps(source: Source) -> Iterator[ast.Call]:
    """The calls that really stand still."""
    for call in source.all(ast.Call):
        name = source.called(call)
        if name not in _SLEEPS or not call.args:
            continue
        amount = call.args[0]
        if isinstance(amount, ast.Constant) and amount.value == 0:
            continue  # only lets others run
        if name not in {"time.sleep", "gevent.sleep", "eventlet.sleep"} and not isinstance(
            source.parents[call], ast.Await
        ):
            continue  # something that takes long, for others to cancel or to wait for
        yield call


def _loop_around(source: Source, node: ast.AST) -> ast.For | ast.AsyncFor | ast.While | None:
    for around in source.around(node):
        if isinstance(around, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            return None
        if isinstance(around, ast.For | ast.AsyncFor | ast.While):
            return around
    return None


def _looks(loop: ast.For | ast.AsyncFor | ast.While) -> bool:
    """Whether a loop ends when something has become true."""
    if isinstance(loop, ast.While) and not isinstance(loop.test, ast.Constant):
        return True
    return any(isinstance(one, ast.Break | ast.Return | ast.Raise) for one in walk(loop))


def _is_bounded(source: Source, loop: ast.For | ast.AsyncFor | ast.While) -> bool:
    if not isinstance(loop, ast.While):
        return True
    if (
        _FLAG.search(ast.unparse(loop.test))
        or _CLOCKS.search(ast.unparse(loop))
        or re.search(r"[<>]", ast.unparse(loop.test))
    ):
        return True
    return any(
        isinstance(around, ast.With | ast.AsyncWith) and _CLOCKS.search(" ".join(map(ast.unparse, around.items)))
        for around in source.around(loop)
    )


def _is_subject(source: Source, call: ast.Call) -> bool:
    """Whether the sleep is what a time-out is to end."""
    return any(
        isinstance(around, ast.With | ast.AsyncWith) and _SUBJECT.search(" ".join(map(ast.unparse, around.items)))
        for around in source.around(call)
    )


def _sleep_in(source: Source, roles: set[Role]) -> Iterator[ast.Call]:
    for call in _sleeps(source):
        function = source.function_of(call)
        if function is None or function.role not in roles or source.is_nested(call) or _is_subject(source, call):
            continue
        loop = _loop_around(source, call)
        if loop is None or not _looks(loop):
            yield call


def _sleep_in_test(source: Source) -> Iterator[Hit]:
    for call in _sleep_in(source, {Role.TEST}):
        yield call, f"the test waits {_amount(call)} and hopes that this is enough"


def _sleep_in_fixture(source: Source) -> Iterator[Hit]:
    for call in _sleep_in(source, {Role.FIXTURE, Role.SHARED, Role.SET_UP, Role.TEAR_DOWN}):
        function = source.function_of(call)
        name = function.name if function else ""
        yield call, f"`{name}` takes {_amount(call)} for a sign that something is ready or over"


def _amount(call: ast.Call) -> str:
    amount = call.args[0]
    return f"{ast.unparse(amount)} s" if isinstance(amount, ast.Constant) else f"`{ast.unparse(amount)}` seconds"


def _endless(source: Source) -> Iterator[Hit]:
    for call in _sleeps(source):
        function = source.function_of(call)
        loop = _loop_around(source, call)
        if function is None or loop is None or not _looks(loop) or _is_bounded(source, loop):
            continue
        if source.is_nested(call):
            continue  # a part played for the test, which ends it
        yield loop, f"`{function.name}` polls without an end"


RULES = (
    Rule(
        id="M301",
        name="sleep-in-test",
        title="A test sleeps for a fixed time.",
        reason="On a machine that is busy with other workers the time is too short, and everywhere else it is wasted.",
        remedy="Wait for the state itself, within a limit: `muster_test.wait_until(check, timeout=10, description=...)"
        "`, an event, or a future.",
        bad='import time\n\n\ndef test_job_ends(queue):\n    queue.put("job")\n    time.sleep(0.5)\n'
        '    assert queue.done == ["job"]\n',
        good='def test_job_ends(queue, muster_test):\n    queue.put("job")\n'
        '    muster_test.wait_until(lambda: queue.done == ["job"], timeout=10, description="the job is done")\n',
        check=_sleep_in_test,
    ),
    Rule(
        id="M302",
        name="ready-by-sleep",
        title="A fixture sleeps for a fixed time instead of asking whether what it started is ready.",
        reason="When it is not ready yet, tests fail that have nothing to do with it, and none of them says what was "
        "late.",
        remedy='Ask the thing itself: `muster_run.wait_until(lambda: answers(port), timeout=30, description="the '
        'server answers")`, which names what was late and shows the end of its log.',
        bad="import subprocess\nimport time\n\nimport pytest\n\n\n@pytest.fixture\ndef server():\n"
        '    with subprocess.Popen(["product", "serve"]) as process:\n        time.sleep(2)\n        yield process\n'
        "        process.terminate()\n",
        good="import pytest\nfrom product import answers\n\n\n@pytest.fixture\ndef server(muster_test):\n"
        "    port = muster_test.port()\n"
        '    process = muster_test.start(["product", "serve", f"--port={port}"], log="server.log")\n'
        '    muster_test.wait_until(lambda: answers(port), timeout=10, description="the server answers")\n'
        "    yield port\n    process.stop()\n",
        check=_sleep_in_fixture,
    ),
    Rule(
        id="M303",
        name="polls-without-end",
        title="A loop waits for a state without a limit.",
        reason="When the state never comes, the worker hangs until something outside kills it, and nothing says what "
        "it was waiting for.",
        remedy="Give it a deadline and an error that names what was late, or use `wait_until`.",
        bad="import time\n\n\ndef wait_for(server):\n    while not server.is_ready():\n        time.sleep(0.1)\n",
        good="import time\n\n\ndef wait_for(server):\n    deadline = time.monotonic() + 10\n"
        "    while not server.is_ready():\n        if time.monotonic() > deadline:\n"
        '            raise TimeoutError("the server is not ready within 10 s")\n        time.sleep(0.1)\n',
        check=_endless,
    ),
)
