"""A rerun that retries calls: a call that raised is repeated at once, and once more after a pause.

What raises at once again and returns after the pause was called too early, even if the caller went on with a default
and the failure came much later. What returns at once was changed by the test itself, as in a cache that is filled on
demand; what raises after the pause too is wrong for other reasons. Calls of the project's functions are watched in the
thread of the test, from its set-up to the end of its body; a function that also returned meanwhile is left alone.
"""

import inspect
import sys
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import pytest

from pytest_muster.records.run import Run

MAX_CALLS = 10
"""So many different calls are repeated after one test."""

_SKIPPED = inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR
_Tracer = Callable[[FrameType, str, Any], Any]


@dataclass(frozen=True, kw_only=True)
class _Call:
    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    error: str
    source: str
    phase: str


class RetryProbe:
    """Watches a test, and retries after it."""

    def __init__(self, run: Run, root: Path, pause: float) -> None:
        self.run = run
        self.root = f"{root}/"
        self.pause = pause
        self.phase = "setup"
        self.raised: dict[CodeType, _Call] = {}
        self.returned: set[CodeType] = set()

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_setup(self) -> Generator[None, object, object]:
        __tracebackhide__ = True
        self.phase = "setup"
        self.raised.clear()
        self.returned.clear()
        return (yield from self._watched())

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_call(self) -> Generator[None, object, object]:
        __tracebackhide__ = True
        self.phase = "call"
        return (yield from self._watched())

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> None:
        still = [call for code, call in self.raised.items() if code not in self.returned][:MAX_CALLS]
        still = [call for call in still if _retry(call) == call.error]
        if not still:
            return
        time.sleep(self.pause)
        for call in still:
            if _retry(call) is None:
                self.run.journal.write(
                    "activity",
                    worker=self.run.worker,
                    test=item.nodeid,
                    phase=call.phase,
                    kind="retry_succeeded",
                    count=1,
                    source=call.source,
                    function=call.function.__qualname__,
                    error=call.error,
                    pause=self.pause,
                )

    def _watched(self) -> Generator[None, object, object]:
        before = sys.gettrace()
        sys.settrace(self._enter)
        try:
            return (yield)
        finally:
            sys.settrace(before)

    def _enter(self, frame: FrameType, event: str, argument: Any) -> _Tracer | None:
        code = frame.f_code
        ours = code.co_filename.startswith(self.root) and "/site-packages/" not in code.co_filename
        if not ours or code.co_flags & _SKIPPED or code.co_name.startswith(("test", "<")):
            return None
        frame.f_trace_lines = False
        arguments = tuple(frame.f_locals.get(name) for name in code.co_varnames[: code.co_argcount])
        failed = False

        def inside(frame: FrameType, event: str, argument: Any) -> _Tracer:
            nonlocal failed
            if event == "exception" and code not in self.raised and argument[2].tb_next is None:
                call = self._call(frame, arguments, argument[0])
                if call is not None:
                    self.raised[code] = call
                    failed = True
            elif event == "return" and not failed and code in self.raised:
                self.returned.add(code)
            return inside

        return inside

    def _call(self, frame: FrameType, arguments: tuple[Any, ...], error: type[BaseException]) -> _Call | None:
        function = _function(frame, arguments)
        if function is None or not issubclass(error, Exception):
            return None
        source = f"{frame.f_code.co_filename.removeprefix(self.root)}:{frame.f_lineno}"
        return _Call(function=function, arguments=arguments, error=error.__name__, source=source, phase=self.phase)


def _function(frame: FrameType, arguments: tuple[Any, ...]) -> Callable[..., Any] | None:
    """The function that a frame runs: a global of its module, or a method of its first argument."""
    code = frame.f_code
    places = [frame.f_globals.get(code.co_name)]
    if arguments:
        places.append(inspect.getattr_static(type(arguments[0]), code.co_name, None))
    return next((one for one in places if getattr(one, "__code__", None) is code), None)


def _retry(call: _Call) -> str | None:
    """The class of the error that the call raises now; None if it returns."""
    try:
        call.function(*call.arguments)
    except Exception as error:  # noqa: BLE001  # whatever it raises is the result
        return type(error).__name__
    return None
