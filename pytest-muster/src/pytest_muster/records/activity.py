"""What a process did that can be seen from outside, so that causes can be found although an error's words say nothing.

An audit hook of the interpreter hears what the process does, whichever library does it. One `fact` line is written per
thing, test and phase (setup, call, teardown; `session` outside of tests), when the phase ends, with a `count` and the
moment of the first time. `source` and `function` name the innermost frame of the project.

    resolve  host                           connect  family: inet | inet6 | unix, host and port, or path
    write    path                           listen   family, host and port, or path
    remove   path                           rename   path, to
    mkdir    path                           chdir    path
    spawn    argv, pids                     kill     pid, signal, group: whether pid is a process group
    env      name, action: set | unset      sqlite   path
    child    pid, name, status or signal: a child process that has ended, and nobody has waited for it yet
    more     what else happened in this phase, beyond the bound on facts in one phase

What a test left changed, compared with the moment before it (`phase` is `session`):

    global   module, name, was, now, since  environ  name, was and now: set | unset | changed
    cwd      was, now

`since` is the first of the tests that may have changed a global; it is the test itself unless the project is so big
that looking after each test would take too long (see `surroundings`).
Not written are files in pytest's own temporary directories of one test, caches, installed packages and `.muster`.
What C libraries do without Python (uvloop, database drivers in C) is not heard.
"""

import os
import re
import socket
import subprocess
import sys
import time
import weakref
from collections.abc import Callable, Generator
from types import FrameType
from typing import Any

import pytest

from pytest_muster.records.errors import LAST_ADDRESS, Project
from pytest_muster.records.module_state import Looking, Surroundings
from pytest_muster.records.run import Role, Run, run_of

MOST_FACTS = 300
"""So many different facts are kept per phase."""

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND

_NOISE = re.compile(
    r"/__pycache__/|/site-packages/|/\.pytest_cache/|/\.muster/|/\.hypothesis/|\.pyc(\.\d+)?$|/\.coverage"
    r"|^/dev/(?!shm/)|^/proc/|^/sys/"
)
_TEMPORARY = re.compile(  # of pytest: what is one test's own
    r"/pytest-of-[^/]+(?:/pytest-\d+)?(?:/popen-gw\d+)?(?:$|/(?:\.lock|[^/]*current)$|/test[^/]*\d+(?:/|$))"
)

_OURS = f"{os.path.dirname(os.path.dirname(__file__))}/"  # noqa: PTH120  # compared with file names as the interpreter writes them
_OF_PATHS = {"write", "remove", "mkdir", "rename", "sqlite"}

_MINE = pytest.StashKey["Listener"]()
_BEFORE = pytest.StashKey["Listener | None"]()

_listener: "Listener | None" = None
_is_hooked = False


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.getgroup("muster").addoption(
        "--muster-facts",
        choices=("on", "off"),
        default="on",
        help="whether what tests do (connections, files, processes, environment) is recorded for the triage "
        "(default: %(default)s)",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """Listens from here on, so that what a conftest does when it is imported is heard."""
    global _listener, _is_hooked
    if early_config.known_args_namespace.muster_facts == "off":
        return
    if not _is_hooked:
        sys.addaudithook(_hear)  # there is no way to take it out again
        _is_hooked = True
    early_config.stash[_BEFORE] = _listener  # of the run that started this one within its process
    early_config.stash[_MINE] = _listener = Listener(Project(early_config.rootpath))


def pytest_configure(config: pytest.Config) -> None:
    global _listener
    run = run_of(config)
    listener = config.stash.get(_MINE, None)
    if listener is None:
        return
    if run.role is Role.CONTROLLER:
        _listener = config.stash[_BEFORE]
        return
    listener.join(run, config.getoption("basetemp", None))
    config.stash[LAST_ADDRESS] = lambda: listener.last_address
    config.pluginmanager.register(_Phases(listener, Surroundings(listener.project)), "muster-facts")


def pytest_unconfigure(config: pytest.Config) -> None:
    global _listener
    if _MINE in config.stash:
        _listener = config.stash[_BEFORE]


def _hear(event: str, args: tuple[Any, ...]) -> None:
    """Called by the interpreter for each audited event, in whichever thread it happens."""
    listener = _listener
    if listener is None:
        return
    understand = _UNDERSTOOD.get(event)
    if understand is None:
        return
    try:  # noqa: SIM105  # `contextlib.suppress` costs more than what it would protect
        listener.hear(understand, args)
    except Exception:  # noqa: BLE001, S110  # what is raised here would break the tested code
        pass


class Listener:
    """Collects the facts of the current phase."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.run: Run | None = None
        self.test: str | None = None
        self.phase = "session"
        self.last_address: str | None = None
        """Where the last connection of the current phase went to."""
        self.environ: dict[str, str | None] = {}
        """Names that were set or unset since the test began, and what they held before."""
        self.moved = False
        self._found: dict[tuple[Any, ...], list[Any]] = {}
        self._children: dict[tuple[Any, ...], list[weakref.ref[subprocess.Popen[Any]]]] = {}
        self._more = 0
        self._pid = os.getpid()
        self._mine: tuple[str, ...] = ()

    def join(self, run: Run, basetemp: str | None) -> None:
        """From now on it is known where to write, and which directories are this process's own."""
        self.run = run
        place = f"/muster-{os.getuid()}/"
        self._mine = (f"{run.directory}/", f"{place}{run.id[-6:]}-{run.worker[:12]}-", f"{place}ports")
        if basetemp:
            self._mine += (f"{basetemp}/test",)

    def hear(self, understand: "_Understand", args: tuple[Any, ...]) -> None:
        said = understand(self, args)
        if said is None:
            return
        known = self._found.get(said)
        if known is not None:
            known[0] += 1
        elif len(self._found) >= MOST_FACTS:
            self._more += 1
        else:
            if not self._is_worth(said):
                return
            source, function = self._where()
            if source is None and self.test is None:
                return  # what pytest and its plugins do for themselves
            self._found[said] = [1, time.time(), source, function]
            if said[0] == "kill" and os.getpid() == self._pid:
                self.flush()  # it may be the last thing that this process does

    def _is_worth(self, said: tuple[Any, ...]) -> bool:
        """Not what this plugin does itself, except that it starts processes for others; nor files of its places."""
        if said[0] in _OF_PATHS:
            path = said[2]
            if any(mine in path for mine in self._mine):
                return False
            if _TEMPORARY.search(path) and self.project.relative(path) is None:
                return False
        if said[0] == "spawn":
            return True
        frame: FrameType | None = sys._getframe(3)  # noqa: SLF001  # whoever did it
        for _ in range(3):
            if frame is None:
                break
            if frame.f_code.co_filename.startswith(_OURS):
                return False
            if self.project.relative(frame.f_code.co_filename) is not None:
                break  # this plugin only called what did it, such as the teardown of a resource
            frame = frame.f_back
        return True

    def _where(self) -> tuple[str | None, str | None]:
        """The innermost frame of the project, as `file:line` and a function's name."""
        frame: FrameType | None = sys._getframe(3)  # noqa: SLF001  # the frame that did it; `inspect.stack` would read files
        while frame is not None:
            file = self.project.relative(frame.f_code.co_filename)
            if file is not None:
                return f"{file}:{frame.f_lineno}", frame.f_code.co_qualname
            frame = frame.f_back
        return None, None

    def expect_pid(self, said: tuple[Any, ...], child: object) -> None:
        """The process is not there yet; its number is asked for when the facts are written."""
        if isinstance(child, subprocess.Popen):
            self._children.setdefault(said, []).append(weakref.ref(child))

    def _pids(self, children: list["weakref.ref[subprocess.Popen[Any]]"]) -> dict[str, list[int]]:
        alive = (child() for child in children)
        pids = [child.pid for child in alive if child is not None and hasattr(child, "pid")]
        return {"pids": pids} if pids else {}

    def enter(self, test: str | None, phase: str) -> None:
        """What is heard from now on belongs there; what was heard before is written."""
        self.flush()
        self.test, self.phase, self.last_address = test, phase, None

    def flush(self) -> None:
        if not self._found or self.run is None:
            return
        found, self._found = self._found, {}
        children, self._children = self._children, {}
        more, self._more = self._more, 0
        mine = {"worker": self.run.worker, "test": self.test, "phase": self.phase}
        for said, (count, at, source, function) in found.items():
            kind, *pairs = said
            fields = dict(zip(pairs[::2], pairs[1::2], strict=True)) | self._pids(children.get(said, []))
            self.run.journal.write(
                "fact", at=at, **mine, kind=kind, count=count, source=source, function=function, **fields
            )
        if more:
            self.run.journal.write("fact", **mine, kind="more", count=more)


class _Phases:
    """Tells the listener which test and phase it is, and writes what a test left changed."""

    def __init__(self, listener: Listener, surroundings: Surroundings) -> None:
        self.listener = listener
        self.surroundings = surroundings
        self.looking = Looking(surroundings)
        self.explained = False
        self.failed = False

    def pytest_collection_finish(self) -> None:
        self.listener.flush()
        self.surroundings.changes()  # from here on, changes are those of tests

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        global _listener
        # A run within this process that did not get as far as its end may have left its own.
        _listener = listener = self.listener
        listener.environ.clear()
        listener.moved = self.failed = False
        directory = _directory()
        try:
            return (yield)
        finally:
            listener.enter(None, "session")
            self._write_changes(item, directory)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> Generator[None, object, object]:
        self.listener.enter(item.nodeid, "setup")
        return (yield)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, object, object]:
        self.listener.enter(item.nodeid, "call")
        return (yield)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> Generator[None, object, object]:
        self.listener.enter(item.nodeid, "teardown")
        return (yield)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        if report.failed:
            self.failed = True
            if not self.explained:
                self.explained = True
                self._write_globals(item.nodeid)
        return report

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(self) -> Generator[None, object, object]:
        self._write_globals(None)
        result = yield
        self.listener.flush()
        return result

    def _write_globals(self, test: str | None) -> None:
        run = self.listener.run
        if run is not None:
            for module, names in self.surroundings.kinds():
                run.journal.write("globals", worker=run.worker, test=test, module=module, names=names)

    def _write_changes(self, item: pytest.Item, directory: str) -> None:
        run = self.listener.run
        if run is None:
            return
        mine = {"worker": run.worker, "test": item.nodeid, "phase": "session"}
        changes, since = self.looking.after(item.nodeid, failed=self.failed)
        for change in changes:
            run.journal.write("fact", **mine, kind="global", count=1, since=since, **change)
        for name, was in self.listener.environ.items():
            now = os.environ.get(name)
            if was != now:
                before, after = ("unset" if was is None else "set"), ("unset" if now is None else "set")
                after = "changed" if before == after else after
                run.journal.write("fact", **mine, kind="environ", count=1, name=name, was=before, now=after)
        if self.listener.moved and (now := _directory()) != directory:
            run.journal.write("fact", **mine, kind="cwd", count=1, was=directory, now=now)


def _directory() -> str:
    try:
        return os.getcwd()  # noqa: PTH109  # runs for each test
    except OSError:
        return "(removed)"


_Understand = Callable[[Listener, tuple[Any, ...]], tuple[Any, ...] | None]
"""What an event says as (kind, name, value, …), or None if it is of no interest."""


def _text(value: object) -> str:
    return os.fsdecode(value) if isinstance(value, bytes) else str(value)


def _path(value: object) -> str | None:
    """An absolute path, or None for what is no path or of no interest."""
    if isinstance(value, int) or value is None:
        return None
    path = os.path.abspath(os.fsdecode(value))  # type: ignore[arg-type]  # noqa: PTH100  # an audit hook must be quick
    return None if _NOISE.search(path) else path


def _open(listener: Listener, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
    if not isinstance(args[2], int) or not args[2] & WRITING:
        return None
    path = _path(args[0])
    return (path and ("write", "path", path)) or None


def _on_path(kind: str, *, directory_argument: int | None = None) -> _Understand:
    def understand(listener: Listener, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
        if directory_argument is not None and args[directory_argument] not in {-1, None}:
            return None  # relative to an open directory: `shutil.rmtree`, which is heard itself
        path = _path(args[0])
        return (path and (kind, "path", path)) or None

    return understand


def _rename(listener: Listener, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
    path, to = _path(args[0]), _path(args[1])
    return ("rename", "path", path, "to", to) if path and to else None


def _address(kind: str, sock: socket.socket, address: Any) -> tuple[Any, ...] | None:
    if sock.family == socket.AF_UNIX:
        return (kind, "family", "unix", "path", _text(address))
    if sock.family in {socket.AF_INET, socket.AF_INET6} and isinstance(address, tuple):
        family = "inet" if sock.family == socket.AF_INET else "inet6"
        return (kind, "family", family, "host", _text(address[0]), "port", address[1])
    return None


def _connect(listener: Listener, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
    said = _address("connect", args[0], args[1])
    if said is not None:
        listener.last_address = said[4] if said[2] == "unix" else f"{said[4]}:{said[6]}"
    return said


def _bind(listener: Listener, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
    return _address("listen", args[0], args[1])


def _resolve(listener: Listener, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
    return ("resolve", "host", _text(args[0])) if args[0] else None


def _spawn(listener: Listener, args: tuple[Any, ...]) -> tuple[Any, ...]:
    argv = args[1] if isinstance(args[1], list | tuple) else [args[1]]
    said = ("spawn", "argv", tuple(_text(one) for one in argv))
    listener.expect_pid(said, sys._getframe(3).f_locals.get("self"))  # noqa: SLF001  # `Popen` that raises the event
    return said


def _posix_spawn(listener: Listener, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
    caller = sys._getframe(3).f_locals.get("self")  # noqa: SLF001  # since Python 3.13 `Popen` often does it this way
    return None if isinstance(caller, subprocess.Popen) else _spawn(listener, args)


def _system(listener: Listener, args: tuple[Any, ...]) -> tuple[Any, ...]:
    return ("spawn", "argv", ("sh", "-c", _text(args[0])))


def _fork(listener: Listener, args: tuple[Any, ...]) -> tuple[Any, ...]:
    return ("spawn", "argv", ("(fork)",))


def _kill(*, group: bool) -> _Understand:
    def understand(listener: Listener, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
        return ("kill", "pid", args[0], "signal", int(args[1]), "group", group) if args[1] else None

    return understand


def _env(action: str) -> _Understand:
    def understand(listener: Listener, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
        name = _text(args[0])
        if name == "PYTEST_CURRENT_TEST":
            return None
        listener.environ.setdefault(name, os.environ.get(name))  # os.environ changes after the event
        return ("env", "name", name, "action", action)

    return understand


def _chdir(listener: Listener, args: tuple[Any, ...]) -> tuple[Any, ...]:
    listener.moved = True
    return ("chdir", "path", _text(args[0]))


def _sqlite(listener: Listener, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
    name = _text(args[0])
    if name == ":memory:" or not name:
        return None
    path = name if name.startswith("file:") else _path(name)
    return (path and ("sqlite", "path", path)) or None


_UNDERSTOOD: dict[str, _Understand] = {
    "open": _open,
    "os.truncate": _on_path("write"),
    "os.remove": _on_path("remove", directory_argument=1),
    "os.rmdir": _on_path("remove", directory_argument=1),
    "shutil.rmtree": _on_path("remove"),
    "os.rename": _rename,
    "os.link": lambda listener, args: _on_path("write")(listener, args[1:]),
    "os.symlink": lambda listener, args: _on_path("write")(listener, args[1:]),
    "os.mkdir": _on_path("mkdir", directory_argument=2),
    "os.chdir": _chdir,
    "sqlite3.connect": _sqlite,
    "socket.connect": _connect,
    "socket.bind": _bind,
    "socket.getaddrinfo": _resolve,
    "socket.gethostbyname": _resolve,
    "subprocess.Popen": _spawn,
    "os.posix_spawn": _posix_spawn,
    "os.exec": _spawn,
    "os.system": _system,
    "os.fork": _fork,
    "os.forkpty": _fork,
    "os.kill": _kill(group=False),
    "os.killpg": _kill(group=True),
    "os.putenv": _env("set"),
    "os.unsetenv": _env("unset"),
}
