"""The leak detector: what a test leaves behind is written down, and fails that test.

Compared are the moment before the fixtures of the test are set up and the moment after they are torn down: threads,
child processes, sockets, open files, pending tasks of a longer event loop, environment variables, the working
directory, and files in the temporary directory. What fixtures of a wider scope make is theirs, whether they make it in
their own set-up, or later, if it can be reached from their values. What is just closing gets a moment for it.

A leak is an error of the test's teardown. A suite that is not there yet lists them at the end of the run instead, with
`muster_leaks = warn` in the settings of pytest; a test that has to leave something says so: `@muster.allow_leaks`.

Not noticed are a descriptor that takes the number of one that was open before and closed in the test, processes that
have left their parent, and files below directories that existed before.
"""

import asyncio
import functools
import gc
import os
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Callable, Generator
from dataclasses import dataclass
from types import FrameType
from typing import Any

import pytest

from pytest_muster.leaks.snapshot import (
    Held,
    Kind,
    command_of,
    descriptor_kind,
    held,
    owned_by,
    without_harmless,
    words_of,
)
from pytest_muster.records.errors import Project
from pytest_muster.records.run import Run, run_of

GRACE = 0.3
"""Seconds in which a thread, a process or a socket may end after the test has."""

_WRITES = os.O_CREAT | os.O_WRONLY | os.O_RDWR
_watch: "Watch | None" = None


def pytest_addoption(parser: pytest.Parser) -> None:
    words = "what tests leave behind (threads, processes, sockets, …): off, warn (listed at the end), or fail"
    parser.getgroup("muster").addoption("--muster-leaks", choices=("off", "warn", "fail"), help=words)
    parser.addini("muster_leaks", f"{words} (default: fail)", default="fail")


def pytest_configure(config: pytest.Config) -> None:
    global _watch  # an audit hook is the interpreter's and cannot be taken out again
    config.addinivalue_line(
        "markers",
        "muster_leaks(*kinds, why): the test may leave things of these kinds behind; all kinds if none is named",
    )
    mode = config.getoption("--muster-leaks") or config.getini("muster_leaks")
    if mode not in {"off", "warn", "fail"}:
        raise pytest.UsageError(f"muster_leaks is {mode!r}; it must be off, warn or fail")
    run = run_of(config)
    if mode == "off":
        return
    if run.runs_tests:
        if _watch is None:
            sys.addaudithook(_hear)
            _hear_threads()
        _watch = Watch(Project(config.rootpath), _own_directories(config))
        config.pluginmanager.register(_Detector(run, _watch, fails=mode == "fail"), "muster-leaks")
    if run.owns_shared:
        config.pluginmanager.register(_Told(), "muster-leaks-told")


def pytest_unconfigure() -> None:
    global _watch
    _watch = None


def _own_directories(config: pytest.Config) -> tuple[str, ...]:
    given = config.getoption("basetemp", None)
    return ("/pytest-of-", "/muster-", *([str(given)] if given else []))


def allow_leaks(*kinds: str, why: str) -> pytest.MarkDecorator:
    """Say that a test may leave things of these kinds behind, and why; all kinds if none is named."""
    return pytest.mark.muster_leaks(*kinds, why=why)


class LeftBehind(pytest.fail.Exception):  # type: ignore[name-defined,misc]  # the only public way to its class
    """A test has left something behind."""


@dataclass(frozen=True, kw_only=True)
class Leak:
    kind: Kind
    what: str
    where: str | None = None
    """`file:line` where the project made it, as far as that was heard."""

    def plain(self) -> dict[str, str | None]:
        """As it travels from a worker to the controller, and into the record."""
        return {"kind": str(self.kind), "what": self.what, "where": self.where}

    def __str__(self) -> str:
        return f"{self.kind}: {self.what}" + (f", made at {self.where}" if self.where else "")


# --- who made what ---------------------------------------------------------------------------------------------------


class Watch:
    """Hears from the interpreter where things are made, while a test runs."""

    def __init__(self, project: Project, own_directories: tuple[str, ...]) -> None:
        self.project = project
        self._own = own_directories
        self._roots = {os.path.realpath(tempfile.gettempdir()), tempfile.gettempdir(), "/tmp"}  # noqa: S108
        self.active = False
        self.others: frozenset[int | None] = frozenset()
        """The threads that were there before the test: what they do is not the test's doing."""
        self.begin(frozenset())
        self.active = False

    def begin(self, threads: frozenset[threading.Thread]) -> None:
        main = threading.main_thread()
        self.others = frozenset(one.ident for one in threads if one is not main)
        self.threads: weakref.WeakKeyDictionary[threading.Thread, str | None] = weakref.WeakKeyDictionary()
        self.sockets: weakref.WeakKeyDictionary[Any, str | None] = weakref.WeakKeyDictionary()
        self.of_others: weakref.WeakSet[Any] = weakref.WeakSet()
        self.processes: list[tuple[str, str | None]] = []
        self.files: dict[str, str | None] = {}
        self.temporary: dict[str, str | None] = {}
        self.environment: dict[str, tuple[str | None, str | None]] = {}
        self.directory: str | None = None
        self.active = True

    def where(self) -> str | None:
        frame: FrameType | None = sys._getframe(3)  # noqa: SLF001  # `inspect.stack` would read files
        while frame is not None:
            file = self.project.relative(frame.f_code.co_filename)
            if file is not None:
                return f"{file}:{frame.f_lineno}"
            frame = frame.f_back
        return None

    def thread(self, args: tuple[Any, ...]) -> None:
        thread = getattr(args[0], "__self__", None)
        if isinstance(thread, threading.Thread):
            self.threads[thread] = self.where()
            if threading.get_ident() in self.others:
                self.of_others.add(thread)

    def socket(self, args: tuple[Any, ...]) -> None:
        self.sockets[args[0]] = self.where()
        if threading.get_ident() in self.others:
            self.of_others.add(args[0])

    def process(self, args: tuple[Any, ...]) -> None:
        argv = args[1] if len(args) > 1 else ()
        words = argv if isinstance(argv, str | bytes) else " ".join(os.fsdecode(one) for one in argv or ())
        self.processes.append((os.fsdecode(words), self.where()))

    def open(self, args: tuple[Any, ...]) -> None:
        path, flags = args[0], args[2]
        if isinstance(path, int) or path is None or not isinstance(flags, int):
            return
        name = os.fsdecode(path)
        if name.endswith((".pyc", ".py", ".so")) or len(self.files) > 1000:
            return
        self.files[name] = where = self.where()
        if flags & _WRITES:
            self.make(name, where)

    def path(self, args: tuple[Any, ...]) -> None:
        if isinstance(args[0], str | bytes | os.PathLike):
            self.make(os.fsdecode(args[0]), self.where())

    def make(self, path: str, where: str | None) -> None:
        """Something new directly in the temporary directory."""
        if os.path.dirname(path) not in self._roots or threading.get_ident() in self.others:  # noqa: PTH120
            return
        if not any(one in path for one in self._own) and not os.path.lexists(path):
            self.temporary.setdefault(path, where)

    def variable(self, args: tuple[Any, ...]) -> None:
        name = os.fsdecode(args[0])
        if name != "PYTEST_CURRENT_TEST" and name not in self.environment:
            self.environment[name] = (os.environ.get(name), self.where())  # os.environ changes after the event

    def chdir(self, args: tuple[Any, ...]) -> None:
        self.directory = self.where()


_HEARD: dict[str, Callable[[Watch, tuple[Any, ...]], None]] = {
    "_thread.start_new_thread": Watch.thread,
    "_thread.start_joinable_thread": Watch.thread,
    "socket.__new__": Watch.socket,
    "subprocess.Popen": Watch.process,
    "os.posix_spawn": Watch.process,
    "os.fork": Watch.process,
    "open": Watch.open,
    "os.mkdir": Watch.path,
    "sqlite3.connect": Watch.path,
    "tempfile.mkstemp": Watch.path,
    "tempfile.mkdtemp": Watch.path,
    "os.putenv": Watch.variable,
    "os.unsetenv": Watch.variable,
    "os.chdir": Watch.chdir,
}


def _hear(event: str, args: tuple[Any, ...]) -> None:
    """Called by the interpreter for each audited event, in whichever thread it happens."""
    watch = _watch
    if watch is None or not watch.active:
        return
    note = _HEARD.get(event)
    if note is None:
        return
    try:  # noqa: SIM105  # `contextlib.suppress` costs more than what it would protect
        note(watch, args)
    except Exception:  # noqa: BLE001, S110  # what is raised here would break the tested code
        pass


def _hear_threads() -> None:
    """Before Python 3.12 the interpreter does not tell of new threads."""
    if sys.version_info >= (3, 12):
        return
    start = threading.Thread.start

    @functools.wraps(start)
    def heard(self: threading.Thread) -> None:
        _hear("_thread.start_new_thread", (self.run,))
        start(self)

    threading.Thread.start = heard  # type: ignore[method-assign]  # there is no other way to know where it was started


# --- around a test ---------------------------------------------------------------------------------------------------


class _Detector:
    def __init__(self, run: Run, watch: Watch, *, fails: bool) -> None:
        self.run = run
        self.watch = watch
        self.fails = fails
        self.wide: dict[int, pytest.FixtureDef[Any]] = {}
        """Fixtures of wider scope that are set up."""
        self.item: pytest.Item | None = None
        self.base = held()
        self.directory = ""
        self.compared = True
        self.failed = False
        self.found: list[Leak] = []

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        for item in items:
            for mark in item.iter_markers("muster_leaks"):
                _check_mark(item, mark)

    # The outermost wrappers, so that the fixtures of other plugins lie within.
    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> Generator[None, object, object]:
        self.item, self.found, self.compared, self.failed = item, [], True, False
        self.directory = _directory()
        self.base = held(self._loops())
        self.watch.begin(self.base.threads)
        result = yield
        self._compare_at_end()
        return result

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_fixture_setup(
        self, fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest
    ) -> Generator[None, object, object]:
        if self.item is None:
            return (yield)
        if fixturedef.scope == "function":
            self._compare_at_end()
            return (yield)
        before = held(self._loops())
        heard, self.watch.active = self.watch.active, False
        self.wide[id(fixturedef)] = fixturedef
        directory = _directory()
        try:
            return (yield)
        finally:
            self.watch.active = heard
            theirs = held(self._loops()) - before
            self.base |= theirs
            self.watch.others |= {one.ident for one in theirs.threads}
            if directory != (now := _directory()):
                self.directory = now

    def pytest_fixture_post_finalizer(self, fixturedef: pytest.FixtureDef[Any]) -> None:
        if self.wide.pop(id(fixturedef), None) and self.watch.active:
            # Torn down in the set-up of a test that needs it with another parameter.
            self.watch.environment.clear()
            self.directory = _directory()

    def _compare_at_end(self) -> None:
        """Registers the comparison first of all finalizers of the test, so that it runs last of them."""
        if self.compared and self.item is not None:
            self.compared = False
            self.item.addfinalizer(self._compare)

    def _loops(self) -> list[asyncio.AbstractEventLoop]:
        """The event loops among the values of wider fixtures."""
        found: list[asyncio.AbstractEventLoop] = []
        for value in self._values():
            if isinstance(value, asyncio.Runner):
                try:
                    found.append(value.get_loop())
                except RuntimeError:  # it is closed
                    continue
            elif isinstance(value, asyncio.AbstractEventLoop):
                found.append(value)
        return found

    def _values(self) -> list[object]:
        results = (one.cached_result for one in self.wide.values())
        return [result[0] for result in results if result is not None]

    def _compare(self) -> None:
        if self.compared or self.item is None:
            return
        self.compared = True
        self.watch.active = False
        leaks = self._left()
        leaks += self._changed()
        if leaks:
            allowed = _allowed(self.item)
            self.found = [one for one in leaks if one.kind not in allowed]

    def _left(self) -> list[Leak]:
        new = held(self._loops()) - self.base
        if new and (new := without_harmless(new)):
            gc.collect()
            new = self._settled(new)
        if not new:
            return []
        new = new - owned_by(self._values(), new)
        return [*self._in_words(new)] if new else []

    def _settled(self, new: Held) -> Held:
        """What is still there when what was just ending has had time for it."""
        deadline = time.monotonic() + GRACE
        pause = 0.002
        while new and time.monotonic() < deadline:
            time.sleep(pause)
            pause = min(pause * 2, 0.03)
            new = without_harmless(held(self._loops()) - self.base)
        return new

    def _in_words(self, new: Held) -> Generator[Leak, None, None]:
        watch = self.watch
        for thread in sorted(new.threads, key=lambda one: one.name):
            if thread not in watch.of_others:
                name = f"{thread.name}, a daemon" if thread.daemon else thread.name
                yield Leak(kind=Kind.THREADS, what=name, where=watch.threads.get(thread))
        for pid in sorted(new.processes):
            command = command_of(pid)
            where = next((place for words, place in watch.processes if words and words[:60] in command), None)
            if where is None and len(watch.processes) == 1:
                where = watch.processes[0][1]
            yield Leak(kind=Kind.PROCESSES, what=f"{pid} {command[:200]}", where=where)
        for task in new.tasks:
            code = getattr(task.get_coro(), "cr_code", None)
            words, where = task.get_name(), None
            if code is not None:
                words += f", {code.co_qualname}"
                file = watch.project.relative(code.co_filename)
                where = file and f"{file}:{code.co_firstlineno}"
            yield Leak(kind=Kind.TASKS, what=words, where=where)
        yield from self._descriptors(new)

    def _descriptors(self, new: Held) -> Generator[Leak, None, None]:
        made = _by_number(self.watch.sockets)
        others = _by_number(dict.fromkeys(self.watch.of_others))
        words = {one: words_of(one) for one in sorted(new.descriptors, key=int)}
        has_loop = any(text.startswith("an event loop") for text in words.values())
        for number, text in words.items():
            if number in others or (has_loop and text == "a socket pair"):  # how the loop is woken up
                continue
            kind = descriptor_kind(number)
            if kind is not None:
                where = made.get(number) if kind is Kind.SOCKETS else self.watch.files.get(text)
                yield Leak(kind=kind, what=text, where=where)

    def _changed(self) -> list[Leak]:
        watch = self.watch
        found: list[Leak] = []
        for name, (was, where) in sorted(watch.environment.items()):
            now = os.environ.get(name)
            if now != was:
                action = "set" if was is None else "unset" if now is None else "changed"
                found.append(Leak(kind=Kind.ENVIRONMENT, what=f"{name} is {action}", where=where))
        now = _directory()
        if now != self.directory:
            found.append(Leak(kind=Kind.DIRECTORY, what=f"{self.directory} → {now}", where=watch.directory))
        found += [
            Leak(kind=Kind.TEMPORARY, what=path, where=where)
            for path, where in watch.temporary.items()
            if os.path.lexists(path)
        ]
        return found

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> Generator[None, object, object]:
        try:
            result = yield
        finally:
            self.item = None
            self.watch.active = False
            for leak in self.found:
                self.run.journal.write("leak", test=item.nodeid, worker=self.run.worker, **leak.plain())
        if self.found and self.fails and not self.failed:
            lines = "".join(f"\n  {leak}" for leak in self.found)
            raise LeftBehind(f"the test left behind{lines}", pytrace=False)
        return result

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        self.failed = self.failed or report.failed
        if report.when == "teardown" and self.found:
            told = {"leaks": [leak.plain() for leak in self.found]}
            report.muster = {**getattr(report, "muster", {}), **told}  # type: ignore[attr-defined]  # travels with it
        return report


def _by_number(sockets: Any) -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for one, where in list(sockets.items()):
        try:
            found[str(one.fileno())] = where
        except (OSError, ValueError, AttributeError):
            continue
    return found


def _directory() -> str:
    try:
        return os.getcwd()  # noqa: PTH109  # runs for each test
    except OSError:
        return "(removed)"


def _check_mark(item: pytest.Item, mark: pytest.Mark) -> None:
    unknown = [one for one in mark.args if one not in list(Kind)]
    if unknown:
        raise pytest.UsageError(f"{item.nodeid}: there is no kind of leak {unknown[0]!r}; there are {', '.join(Kind)}")
    if not str(mark.kwargs.get("why", "")).strip():
        raise pytest.UsageError(f'{item.nodeid}: say why it may leave things behind: muster_leaks("threads", why="…")')


def _allowed(item: pytest.Item) -> set[Kind]:
    marks = list(item.iter_markers("muster_leaks"))
    if any(not mark.args for mark in marks):
        return set(Kind)
    return {Kind(one) for mark in marks for one in mark.args}


class _Told:
    """Lists at the end what tests have left behind, on whichever worker."""

    def __init__(self) -> None:
        self.leaks: dict[str, list[str]] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        for one in getattr(report, "muster", {}).get("leaks", ()):
            # What is made at one place is one thing to repair, whatever its number.
            text = f"{one['kind']}: {one['what']}" + (f", made at {one['where']}" if one["where"] else "")
            key = f"{one['kind']} {one['where'] or one['what']}"
            self.leaks.setdefault(key, [text]).append(report.nodeid)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if not self.leaks:
            return
        terminalreporter.section("left behind by tests", yellow=True)
        for text, *tests in self.leaks.values():
            more = len(set(tests)) - 1
            terminalreporter.write_line(text)
            terminalreporter.write_line(f"    by {tests[0]}" + (f" and {more} more" if more else ""))
