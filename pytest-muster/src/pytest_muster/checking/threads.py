"""Rules about threads in tests: with pytest's own checks they stand in for a race detector, which Python lacks."""

import ast
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from pytest_muster.checking.rules import Hit, Rule
from pytest_muster.checking.source import Def, Source, declared_global, local_names, root_name, walk
from pytest_muster.checking.text_file import FileKind, TextFile

_POOLS = ("ThreadPoolExecutor", "ThreadPool")
_EXECUTORS = (*_POOLS, "ProcessPoolExecutor")
_GUARDS = re.compile(r"lock|mutex|semaphore|condition", re.IGNORECASE)
_LOOPS = (ast.For, ast.AsyncFor, ast.While, ast.ListComp, ast.SetComp, ast.GeneratorExp, ast.DictComp)
_CHECKS_OFF = re.compile(
    r"\bno:(threadexception|unraisableexception|faulthandler)\b"
    r"|\bignore:[^\n:]*:[\w.]*(PytestUnhandledThreadExceptionWarning|PytestUnraisableExceptionWarning)\b"
    r"|\bfaulthandler_timeout\s*=\s*0\b"
)

_SETTING = {"filterwarnings", "addinivalue_line"}


@dataclass(frozen=True, kw_only=True)
class _Start:
    """A call that runs a function of the file in a thread."""

    call: ast.Call
    function: Def
    is_thread: bool
    """`threading.Thread`, whose errors nobody gets."""
    is_several: bool


def _starts(source: Source) -> Iterator[_Start]:
    for call in source.all(ast.Call):
        name = source.called(call)
        is_thread = name in {"threading.Thread", "Thread"}
        given, several = _given(source, call, name, is_thread=is_thread)
        function = _function_named(source, call, given)
        if function is not None:
            in_loop = any(isinstance(around, _LOOPS) for around in _within(source, call))
            yield _Start(call=call, function=function, is_thread=is_thread, is_several=several or in_loop)


def _given(source: Source, call: ast.Call, name: str, *, is_thread: bool) -> tuple[ast.expr | None, bool]:
    """The function that a call runs in a thread, and whether it runs it in several at once."""
    if is_thread:
        return next((word.value for word in call.keywords if word.arg == "target"), None), False
    if name == "asyncio.to_thread":
        return next(iter(call.args), None), False
    if isinstance(call.func, ast.Attribute) and call.func.attr == "run_in_executor":
        return next(iter(call.args[1:]), None), False
    is_handed = isinstance(call.func, ast.Attribute) and call.func.attr in {"submit", "map"}
    if is_handed and _made_by(source, call, _POOLS):
        return next(iter(call.args), None), name.endswith(".map")
    return None, False


def _made_by(source: Source, call: ast.Call, classes: tuple[str, ...]) -> bool:
    """Whether the thing whose method is called was made by one of these classes, as far as the file says so."""
    name = ast.unparse(call.func.value) if isinstance(call.func, ast.Attribute) else ""
    for made in source.all(ast.Call):
        if not source.called(made).endswith(classes):
            continue
        parent = source.parents[made]
        targets: list[ast.AST | None] = list(parent.targets) if isinstance(parent, ast.Assign) else []
        targets += [parent.optional_vars] if isinstance(parent, ast.withitem) else []
        if any(target is not None and ast.unparse(target) == name for target in targets):
            return True
    return False


def _within(source: Source, node: ast.AST) -> Iterator[ast.AST]:
    """What a node stands in, up to the function that it is in."""
    for around in source.around(node):
        if isinstance(around, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            return
        yield around


def _function_named(source: Source, call: ast.Call, given: ast.expr | None) -> Def | None:
    """The function of this name that is nearest around the call."""
    if not isinstance(given, ast.Name):
        return None
    around = [*source.around(call)]
    known: list[Def] = [*source.all(ast.FunctionDef), *source.all(ast.AsyncFunctionDef)]
    found = [one for one in known if one.name == given.id and source.parents[one] in around]
    return min(found, key=lambda one: around.index(source.parents[one]), default=None)


def _unlocked_change(source: Source) -> Iterator[Hit]:
    starts = list(_starts(source))
    times = Counter(id(start.function) for start in starts)
    seen: set[int] = set()
    for start in starts:
        if id(start.function) in seen or not (start.is_several or times[id(start.function)] > 1):
            continue
        seen.add(id(start.function))
        if any(isinstance(one, ast.Attribute) and one.attr == "acquire" for one in walk(start.function)):
            continue
        for node, name in _outer_changes(start.function):
            guards = [
                ast.unparse(item.context_expr)
                for around in _within(source, node)
                if isinstance(around, ast.With | ast.AsyncWith)
                for item in around.items
            ]
            if not any(map(_GUARDS.search, guards)):
                yield node, f"several threads read `{name}` and write it back, and none of them holds a lock"


def _outer_changes(function: Def) -> Iterator[tuple[ast.AST, str]]:
    """Where a function computes an outer variable from its own value."""
    outer = {name for one in walk(function) if isinstance(one, ast.Nonlocal) for name in one.names}
    outer |= declared_global(function)
    own = local_names(function) - outer
    for node in walk(function):
        if isinstance(node, ast.AugAssign):
            target: ast.expr = node.target
        elif isinstance(node, ast.Assign) and len(node.targets) == 1:
            target = node.targets[0]
            if ast.unparse(target) not in {ast.unparse(one) for one in walk(node.value) if isinstance(one, ast.expr)}:
                continue
        else:
            continue
        name = ast.unparse(target)
        is_outer = (
            name in outer if isinstance(target, ast.Name) else bool(root_name(target)) and root_name(target) not in own
        )
        if is_outer:
            yield node, name


def _lost_failure(source: Source) -> Iterator[Hit]:
    for start in _starts(source):
        if start.is_thread:
            for node in walk(start.function):
                if isinstance(node, ast.Assert):
                    yield node, f"`{start.function.name}` runs in a thread, and what it asserts fails no test"
    for call in source.all(ast.Call):
        is_submitted = isinstance(call.func, ast.Attribute) and call.func.attr == "submit"
        if is_submitted and isinstance(source.parents[call], ast.Expr) and _made_by(source, call, _EXECUTORS):
            yield call, "nobody asks for the result, so an error in it is lost"


def _checks_off(source: Source) -> Iterator[Hit]:
    for call in source.all(ast.Call):
        if source.called(call).rpartition(".")[2] not in _SETTING and source.called(call) != "pytest.main":
            continue
        for node in (part for given in call.args for part in walk(given)):
            text = node.value if isinstance(node, ast.Constant) else None
            if isinstance(text, str) and (found := _CHECKS_OFF.search(text)):
                yield node, f"`{found[0]}` turns off a check of pytest"


def _checks_off_in_settings(file: TextFile) -> Iterator[Hit]:
    if file.kind is FileKind.SETTINGS:
        for number, line in enumerate(file.lines, 1):
            if not line.lstrip().startswith("#") and (found := _CHECKS_OFF.search(line)):
                yield file.span(number, found.start(), found.end()), f"`{found[0]}` turns off a check of pytest"


RULES = (
    Rule(
        id="M601",
        name="unlocked-change",
        title="A function that several threads run computes an outer variable from its own value, without a lock.",
        reason="Between reading and writing another thread may write, whose change is then lost: the count is right "
        "on most days. Python has no race detector that would tell.",
        remedy="Let each thread return its part and add them up when all have ended, or hold a `threading.Lock`.",
        bad="from concurrent.futures import ThreadPoolExecutor\n\n\ndef test_orders(shop):\n    sold = 0\n\n"
        "    def buy(number):\n        nonlocal sold\n        sold += shop.buy(number)\n\n"
        "    with ThreadPoolExecutor() as pool:\n        list(pool.map(buy, range(9)))\n    assert sold == 9\n",
        good="from concurrent.futures import ThreadPoolExecutor\n\n\ndef test_orders(shop):\n"
        "    with ThreadPoolExecutor() as pool:\n        sold = sum(pool.map(shop.buy, range(9)))\n"
        "    assert sold == 9\n",
        check=_unlocked_change,
    ),
    Rule(
        id="M602",
        name="failure-in-thread-lost",
        title="A test asserts in a thread, or never asks for the result of what it submitted.",
        reason="An exception ends its thread and not the test; pytest makes a warning of it, an executor nothing.",
        remedy="Use an executor and ask each future for its `result()`, or assert when the thread has been joined.",
        bad="import threading\n\n\ndef test_notice(shop):\n    def wait():\n        assert shop.notice(timeout=1)\n\n"
        "    waiting = threading.Thread(target=wait)\n    waiting.start()\n    shop.close()\n    waiting.join()\n",
        good="from concurrent.futures import ThreadPoolExecutor\n\n\ndef test_notice(shop):\n"
        "    with ThreadPoolExecutor() as pool:\n        notice = pool.submit(shop.notice, timeout=1)\n"
        "        shop.close()\n        assert notice.result()\n",
        check=_lost_failure,
    ),
    Rule(
        id="M603",
        name="thread-checks-off",
        title="A check of pytest that tells of errors in threads, in destructors or in native code is turned off.",
        reason="These checks are what Python has in place of a race detector; what they tell of fails another test "
        "later, or ends the worker without a word.",
        remedy="Leave them on, and repair or expect what they tell of where it happens.",
        bad="[pytest]\naddopts = -p no:threadexception\n",
        good="[pytest]\nfilterwarnings = error\n",
        file="pytest.ini",
        check=_checks_off,
        check_text=_checks_off_in_settings,
    ),
)
