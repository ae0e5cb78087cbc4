"""The life of one shared resource: its set-up, the time in which it is used, its teardown.

Each life has a thread of its own from set-up to teardown, or is a task of the one event loop that all asynchronous
resources of a process share. A thread, because a server that a thread started may die with that thread, and because
resources start side by side.
"""

import asyncio
import contextlib
import ctypes
import inspect
import itertools
import sys
import sysconfig
import threading
import time
import traceback
from collections.abc import Generator, Iterator, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from pytest_muster.records.run import RESOURCE_THREAD
from pytest_muster.resources.declarations import Declaration, short


class Cancelled(BaseException):
    """Raised inside a set-up or teardown that is no longer waited for."""


class ResourceTimeout(TimeoutError):
    """A set-up or teardown took longer than it may."""

    @classmethod
    def of(cls, declaration: Declaration, what: str, where: str) -> "ResourceTimeout":
        """`what` is `up` or `torn down`, `where` the line at which it still was."""
        return cls(f"not {what} within {declaration.timeout:g} s" + (f"; it was still at {where}" if where else ""))


class Loop:
    """One event loop in a thread, started on first use."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def __call__(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=self._loop.run_forever, name=RESOURCE_THREAD, daemon=True)
                self._thread.start()
            return self._loop

    def close(self) -> None:
        """Cancel what still runs and end the thread. Gives up after two seconds on a task that blocks the loop."""
        loop, thread = self._loop, self._thread
        if loop is None or thread is None:
            return
        closing = asyncio.run_coroutine_threadsafe(_end_tasks(loop), loop)
        with contextlib.suppress(TimeoutError):
            closing.result(timeout=1.0)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(timeout=1.0)
        if not thread.is_alive():
            loop.close()
        self._loop = self._thread = None


async def _end_tasks(loop: asyncio.AbstractEventLoop) -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    await loop.shutdown_asyncgens()


class Lifecycle:
    """One set-up and, if that finished, one teardown."""

    def __init__(self, declaration: Declaration, arguments: Mapping[str, object], loop: Loop) -> None:
        self.declaration = declaration
        self.ready: Future[Any] = Future()
        """Has the value when the set-up is over, or its error."""
        self.over: Future[None] = Future()
        """Has no error if the teardown went well. Also over when the set-up failed."""
        self.began = time.monotonic()
        self._arguments = dict(arguments)
        self._loop = loop
        self._lock = threading.Lock()
        self._busy = True
        self._cancelled = False
        self._may_end = threading.Event()
        self._thread: threading.Thread | None = None
        self._task: asyncio.Task[None] | None = None
        self._made: Any = None

    @property
    def is_async(self) -> bool:
        function = self.declaration.function
        return inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)

    def begin(self) -> None:
        if self.is_async:
            loop = self._loop()
            loop.call_soon_threadsafe(self._begin_task, loop)
        else:
            name = f"muster-{self.declaration.name}"
            self._thread = threading.Thread(target=self._run, name=name, daemon=True)
            self._thread.start()

    def end(self) -> None:
        """Let the teardown begin."""
        self._may_end.set()
        if self._task:
            self._loop().call_soon_threadsafe(self._wake.set)

    def cancel(self) -> None:
        """Raise inside the set-up or teardown that runs now, if one does.

        It ends at its next step in Python, which may be late or never. A set-up that is over by then stays up.
        """
        if self.is_async:
            self._loop().call_soon_threadsafe(self._cancel_task)
            return
        with self._lock:
            if self._thread and self._busy and not self._cancelled:
                self._cancelled = True
                raise_in(self._thread, Cancelled)

    def _cancel_task(self) -> None:
        if self._task and self._busy:
            self._task.cancel()

    def where(self) -> str:
        """What it is doing now: the innermost line of the project that declared it."""
        if self._task:
            return _where(_awaiting(self._made), self.declaration)
        return _where(_stack(self._thread), self.declaration) if self._thread else ""

    def _run(self) -> None:
        made: Any = None
        value: object = None
        try:
            try:
                made = self.declaration.function(**self._arguments)
                value = next(made) if isinstance(made, Generator) else made
            finally:
                self._now(busy=False)
        except BaseException as error:  # noqa: BLE001 - handed to whoever waits
            self._now(busy=False)
            if not (isinstance(error, Cancelled) and _yielded(made)):
                self._failed(error)
                return
        self.ready.set_result(value)
        self._may_end.wait()
        self._now(busy=True)
        failure: BaseException | None = None
        try:
            try:
                if isinstance(made, Generator):
                    exhaust(made, self.declaration)
            finally:
                self._now(busy=False)
        except BaseException as error:  # noqa: BLE001
            self._now(busy=False)
            failure = error
        if failure:
            self.over.set_exception(failure)
        else:
            self.over.set_result(None)

    def _now(self, *, busy: bool) -> None:
        """Say whether the user's code runs; only then is anything raised in this thread, and only once."""
        with self._lock:
            self._busy = busy
            cancelled, self._cancelled = self._cancelled, False
            if cancelled and not busy:
                take_back()

    def _begin_task(self, loop: asyncio.AbstractEventLoop) -> None:
        self._wake = asyncio.Event()
        self._task = loop.create_task(self._run_async(), name=f"muster-{self.declaration.name}")
        self._task.add_done_callback(self._never_began)
        if self._may_end.is_set():
            self._wake.set()

    def _never_began(self, task: asyncio.Task[None]) -> None:
        if not self.ready.done():
            self._failed(Cancelled())

    async def _run_async(self) -> None:
        made = self._made = self.declaration.function(**self._arguments)
        try:
            value = await (anext(made) if inspect.isasyncgen(made) else made)
        except BaseException as error:  # noqa: BLE001
            self._failed(error)
            return
        finally:
            self._busy = False
        self.ready.set_result(value)
        await self._wake.wait()
        self._busy = True
        try:
            if inspect.isasyncgen(made):
                await _aexhaust(made, self.declaration)
        except BaseException as error:  # noqa: BLE001
            self.over.set_exception(error)
        else:
            self.over.set_result(None)
        finally:
            self._busy = False

    def _failed(self, error: BaseException) -> None:
        if isinstance(error, StopIteration | StopAsyncIteration):
            error = RuntimeError(f"{self.declaration.name} at {self.declaration.location} ended without a yield")
        self.ready.set_exception(error)
        self.over.set_result(None)


def exhaust(made: Generator[Any, None, Any], declaration: Declaration) -> None:
    """Run what comes after the yield. Raises RuntimeError if there is a second one."""
    try:
        next(made)
    except StopIteration:
        return
    made.close()
    raise RuntimeError(f"{declaration.name} at {declaration.location} yields a second time; it must yield once")


async def _aexhaust(made: Any, declaration: Declaration) -> None:
    try:
        await anext(made)
    except StopAsyncIteration:
        return
    await made.aclose()
    raise RuntimeError(f"{declaration.name} at {declaration.location} yields a second time; it must yield once")


def _yielded(made: object) -> bool:
    return isinstance(made, Generator) and inspect.getgeneratorstate(made) == inspect.GEN_SUSPENDED


@contextlib.contextmanager
def bounded(declaration: Declaration, what: str) -> Iterator[None]:
    """Let the body, which runs in this thread, take no longer than the resource may. Raises ResourceTimeout.

    It ends at its next step in Python: a call that blocks outside of Python is waited for.
    """
    thread = threading.current_thread()
    lock = threading.Lock()
    where: list[str] = []
    over = False

    def expire() -> None:
        with lock:
            if not over:
                where.append(_where(_stack(thread), declaration))
                raise_in(thread, Cancelled)

    def finish() -> None:
        nonlocal over
        with lock:
            over = True
            if where:
                take_back()

    timer = threading.Timer(declaration.timeout, expire)
    timer.daemon = True
    timer.start()
    try:
        try:
            yield
        finally:
            finish()
    except Cancelled:
        finish()
        raise ResourceTimeout.of(declaration, what, where[0] if where else "") from None
    finally:
        timer.cancel()


def _stack(thread: threading.Thread) -> traceback.StackSummary:
    frame = sys._current_frames().get(thread.ident or 0)  # noqa: SLF001 - documented, in spite of its name
    return traceback.extract_stack(frame) if frame else traceback.StackSummary()


def _awaiting(made: Any) -> traceback.StackSummary:
    """Where a coroutine or asynchronous generator waits, the innermost last; the task knows of its own frame only."""
    frames = []
    while made is not None:
        kind = next((kind for kind in ("cr", "ag", "gi") if hasattr(made, f"{kind}_frame")), None)
        if kind is None:
            break
        frame = getattr(made, f"{kind}_frame")
        if frame is not None:
            frames.append((frame, frame.f_lineno))
        made = getattr(made, "gi_yieldfrom" if kind == "gi" else f"{kind}_await")
    return traceback.StackSummary.extract(frames)


def _where(frames: traceback.StackSummary, declaration: Declaration) -> str:
    mine = [frame for frame in frames if frame.filename == str(declaration.file)]
    return f"{short(mine[-1].filename)}:{mine[-1].lineno}: {mine[-1].line}" if mine else ""


def raise_in(thread: threading.Thread, kind: type[BaseException]) -> None:
    """Let an exception appear in another thread at its next step in Python."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident or 0), ctypes.py_object(kind))


class _TakenBack(BaseException):
    pass


def take_back() -> None:
    """Let nothing appear any more that was raised in this thread from elsewhere."""
    # Python has a way to take it back, but then 3.11 looks for it before every step of every thread from then on, and
    # hangs under a tracer such as that of coverage. So it is replaced by one that is caught here.
    try:
        raise_in(threading.current_thread(), _TakenBack)
        while True:
            pass
    except _TakenBack:
        return


def error_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


def format_error(error: BaseException) -> str:
    """What people read of an error: the frames outside of this plugin, from the first one outside of Python, and the
    words."""
    ours, python = str(Path(__file__).parent.parent), (sysconfig.get_path("stdlib"), "<frozen")
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith(ours)]
    frames = [*itertools.dropwhile(lambda frame: frame.filename.startswith(python), frames)]
    lines = [f"{short(frame.filename)}:{frame.lineno}: in {frame.name}\n    {frame.line}" for frame in frames]
    return "\n".join([*lines, "".join(traceback.format_exception_only(error)).rstrip()])
