"""What a process did that can be seen from outside, so that causes can be found although an error's words say nothing.

An audit hook of the interpreter sees what the process does, whichever library does it. One `activity` line is written
per thing, test and phase (setup, call, teardown; `session` outside of tests), when the phase ends, with a `count` and
the moment of the first time. `source` and `function` name the innermost frame of the project.

    resolve  host                           connect  address_family: inet | inet6 | unix, host and port, or path
    write    path                           listen   address_family, host and port, or path
    remove   path                           rename   path, to
    mkdir    path                           chdir    path
    spawn    argv, pids                     kill     pid, signal, group: whether pid is a process group
    env      name, action: set | unset      sqlite   path
    child_exit  pid, name, status or signal: a child process has ended, and nobody has waited for it yet
    dropped  what else happened in this phase, beyond the bound on activities in one phase

What a test left changed, compared with the moment before it (`phase` is `session`):

    global   module, name, was, now, since  environ  name, was and now: set | unset | changed
    cwd      was, now

`since` is the first of the tests that may have changed a global; it is the test itself unless the project is so big
that comparing it after each test would take too long (see `module_state`).
Not written are files in pytest's own temporary directories of one test, caches, installed packages and `.muster`.
What C libraries do without Python (uvloop, database drivers in C) is not seen.
"""

import os
import re
import subprocess
import threading
import weakref
from collections.abc import Generator
from types import FrameType
from typing import Any

import pytest

from pytest_muster.records.activity_events import INTERPRETERS, Entry, Interpret
from pytest_muster.records.audit_hook import Handler, Observers, event_frame, location_of, observers_of
from pytest_muster.records.clock import now
from pytest_muster.records.errors import LAST_ADDRESS
from pytest_muster.records.module_state import ChangeDetector, ModuleState
from pytest_muster.records.project import Project
from pytest_muster.records.run import RESOURCE_THREAD, Role, Run, run_of

MAX_ACTIVITIES = 300
"""So many different activities are kept per phase."""

_TEMPORARY = re.compile(  # of pytest: what is one test's own
    r"/pytest-of-[^/]+(?:/pytest-\d+)?(?:/popen-gw\d+)?(?:$|/(?:\.lock|[^/]*current)$|/test[^/]*\d+(?:/|$))"
)

_OURS = f"{os.path.dirname(os.path.dirname(__file__))}/"  # noqa: PTH120  # compared with file names as the interpreter writes them
_WITH_PATH = {"write", "remove", "mkdir", "rename", "sqlite"}

_RECORDER = pytest.StashKey["ActivityRecorder"]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.getgroup("muster").addoption(
        "--muster-activity",
        choices=("on", "off"),
        default="on",
        help="whether what tests do (connections, files, processes, environment) is recorded for the triage "
        "(default: %(default)s)",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """Observes from here on, so that what a conftest does when it is imported is recorded."""
    if early_config.known_args_namespace.muster_activity == "off":
        return
    observers = observers_of(early_config)
    recorder = early_config.stash[_RECORDER] = ActivityRecorder(observers.project)
    observers.subscribe({event: recorder.handler(event, interpret) for event, interpret in INTERPRETERS.items()})


def pytest_configure(config: pytest.Config) -> None:
    run = run_of(config)
    recorder = config.stash.get(_RECORDER, None)
    if recorder is None:
        return
    observers = observers_of(config)
    if run.role is Role.CONTROLLER:
        observers.close()
        return
    recorder.join(run, config.getoption("basetemp", None))
    config.stash[LAST_ADDRESS] = lambda: recorder.last_address
    config.pluginmanager.register(_Phases(recorder, observers), "muster-activity")


class ActivityRecorder:
    """Collects the activities of the current phase."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.run: Run | None = None
        self.test: str | None = None
        self.phase = "session"
        self.last_address: str | None = None
        """Where the last connection of the current phase went to."""
        self.environ: dict[str, str | None] = {}
        """Names that were set or unset since the test began, and what they held before."""
        self.is_moved = False
        """Whether the working directory was changed since the test began."""
        self._entries: dict[Entry, list[Any]] = {}
        self._irrelevant: set[Entry] = set()
        self._children: dict[Entry, list[weakref.ref[subprocess.Popen[Any]]]] = {}
        self._dropped = 0
        self._pid = os.getpid()
        self._own_paths: tuple[str, ...] = ()

    def join(self, run: Run, basetemp: str | None) -> None:
        """From now on it is known where to write, and which directories are this process's own."""
        self.run = run
        temporary = f"/muster-{os.getuid()}/"
        self._own_paths = (f"{run.directory}/", f"{temporary}{run.id[-6:]}-{run.worker[:12]}-", f"{temporary}ports")
        if basetemp:
            self._own_paths += (f"{basetemp}/test",)

    def handler(self, event: str, interpret: Interpret) -> Handler:
        """What takes in an event of one kind."""
        is_connection = event == "socket.connect"

        def handle(args: tuple[Any, ...]) -> None:
            # What a resource of this worker asks in the background says nothing of the test that happens to run.
            if is_connection and threading.current_thread().name == RESOURCE_THREAD:
                return
            entry = interpret(self, args)
            if entry is None:
                return
            known = self._entries.get(entry)
            if known is not None:
                known[0] += 1
            elif entry not in self._irrelevant:
                self._add(entry, event_frame())

        return handle

    def _add(self, entry: Entry, frame: FrameType) -> None:
        if len(self._entries) >= MAX_ACTIVITIES:
            self._dropped += 1
            return
        if not self._is_relevant(entry, frame):
            self._irrelevant.add(entry)
            return
        source, function = location_of(frame, self.project)
        if source is None and self.test is None:
            return  # what pytest and its plugins do for themselves
        self._entries[entry] = [1, now(), source, function]
        if entry[0] == "kill" and os.getpid() == self._pid:
            self.flush()  # it may be the last thing that this process does

    def _is_relevant(self, entry: Entry, frame: FrameType | None) -> bool:
        """Not what this plugin does itself, except that it starts processes for others; nor files of its own."""
        if entry[0] in _WITH_PATH:
            path = entry[2]
            if any(own in path for own in self._own_paths):
                return False
            if _TEMPORARY.search(path) and self.project.relative(path) is None:
                return False
        if entry[0] == "spawn":
            return True
        for _ in range(3):
            if frame is None:
                break
            if frame.f_code.co_filename.startswith(_OURS):
                return False
            if self.project.relative(frame.f_code.co_filename) is not None:
                break  # this plugin only called what did it, such as the teardown of a resource
            frame = frame.f_back
        return True

    def expect_pid(self, entry: Entry, child: object) -> None:
        """The process is not there yet; its number is asked for when the activities are written."""
        if isinstance(child, subprocess.Popen):
            self._children.setdefault(entry, []).append(weakref.ref(child))

    def _pids(self, children: list["weakref.ref[subprocess.Popen[Any]]"]) -> dict[str, list[int]]:
        alive = (child() for child in children)
        pids = [child.pid for child in alive if child is not None and hasattr(child, "pid")]
        return {"pids": pids} if pids else {}

    def enter(self, test: str | None, phase: str) -> None:
        """What is observed from now on belongs there; what was observed before is written."""
        self.flush()
        self.test, self.phase, self.last_address = test, phase, None

    def flush(self) -> None:
        self._irrelevant.clear()
        if not self._entries or self.run is None:
            return
        entries, self._entries = self._entries, {}
        children, self._children = self._children, {}
        dropped, self._dropped = self._dropped, 0
        common = {"worker": self.run.worker, "test": self.test, "phase": self.phase}
        for entry, (count, at, source, function) in entries.items():
            kind, *pairs = entry
            fields = dict(zip(pairs[::2], pairs[1::2], strict=True)) | self._pids(children.get(entry, []))
            self.run.journal.write(
                "activity", at=at, **common, kind=kind, count=count, source=source, function=function, **fields
            )
        if dropped:
            self.run.journal.write("activity", **common, kind="dropped", count=dropped)


class _Phases:
    """Tells the recorder which test and phase it is, and writes what a test left changed."""

    def __init__(self, recorder: ActivityRecorder, observers: Observers) -> None:
        self.recorder = recorder
        self.observers = observers
        self.module_state = ModuleState(recorder.project)
        self.changes = ChangeDetector(self.module_state)
        self.are_globals_written = False
        self.failed = False

    def pytest_collection_finish(self) -> None:
        self.recorder.flush()
        self.module_state.changes()  # from here on, changes are those of tests

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        __tracebackhide__ = True
        # A run within this process that did not get as far as its end may have left its own.
        self.observers.activate()
        recorder = self.recorder
        recorder.environ.clear()
        recorder.is_moved = self.failed = False
        directory = _directory()
        try:
            return (yield)
        finally:
            recorder.enter(None, "session")
            self._write_changes(item, directory)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> Generator[None, object, object]:
        __tracebackhide__ = True
        self.recorder.enter(item.nodeid, "setup")
        return (yield)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, object, object]:
        __tracebackhide__ = True
        self.recorder.enter(item.nodeid, "call")
        return (yield)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> Generator[None, object, object]:
        __tracebackhide__ = True
        self.recorder.enter(item.nodeid, "teardown")
        return (yield)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        if report.failed:
            self.failed = True
            if not self.are_globals_written:
                self.are_globals_written = True
                self._write_globals(item.nodeid)
        return report

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(self) -> Generator[None, object, object]:
        self._write_globals(None)
        result = yield
        self.recorder.flush()
        return result

    def _write_globals(self, test: str | None) -> None:
        run = self.recorder.run
        if run is not None:
            for module, names in self.module_state.kinds():
                run.journal.write("globals", worker=run.worker, test=test, module=module, names=names)

    def _write_changes(self, item: pytest.Item, directory: str) -> None:
        run = self.recorder.run
        if run is None:
            return
        common = {"worker": run.worker, "test": item.nodeid, "phase": "session"}
        changes, since = self.changes.after_test(item.nodeid, failed=self.failed)
        for change in changes:
            run.journal.write("activity", **common, kind="global", count=1, since=since, **change)
        for name, was in self.recorder.environ.items():
            now = os.environ.get(name)
            if was != now:
                before, after = ("unset" if was is None else "set"), ("unset" if now is None else "set")
                after = "changed" if before == after else after
                run.journal.write("activity", **common, kind="environ", count=1, name=name, was=before, now=after)
        if self.recorder.is_moved and (now := _directory()) != directory:
            run.journal.write("activity", **common, kind="cwd", count=1, was=directory, now=now)


def _directory() -> str:
    try:
        return os.getcwd()  # noqa: PTH109  # runs for each test
    except OSError:
        return "(removed)"
