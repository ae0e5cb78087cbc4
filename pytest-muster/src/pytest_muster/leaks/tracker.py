"""Where things are created while a test runs: threads, processes, sockets, files, variables of the environment."""

import contextlib
import functools
import os
import subprocess
import sys
import tempfile
import threading
import weakref
from types import FrameType
from typing import Any

from pytest_muster.records import audit_hook
from pytest_muster.records.audit_hook import Observers, location_of

_WRITES = os.O_CREAT | os.O_WRONLY | os.O_RDWR
_MAX_FILES = 1000
_MAX_SOCKETS = 1000


class CreationTracker:
    """Remembers which line of the project created what, from `begin` to `end`."""

    def __init__(self, observers: Observers, own_directories: tuple[str, ...]) -> None:
        self.project = observers.project
        self._own = own_directories
        self._roots = {os.path.realpath(tempfile.gettempdir()), tempfile.gettempdir(), "/tmp"}  # noqa: S108
        self.background_threads: frozenset[int | None] = frozenset()
        """The threads that were there before the test: what they do is not the test's doing."""
        self.begin(frozenset())
        self.active = False
        observers.subscribe_with_frame({event: getattr(self, method) for event, method in _METHODS.items()})
        _audit_threads()

    def begin(self, threads: frozenset[threading.Thread]) -> None:
        main = threading.main_thread()
        self.background_threads = frozenset(one.ident for one in threads if one is not main)
        self.threads: weakref.WeakKeyDictionary[threading.Thread, str | None] = weakref.WeakKeyDictionary()
        self._sockets: list[tuple[weakref.ref[Any], str | None, bool]] = []
        self.of_background: weakref.WeakSet[threading.Thread] = weakref.WeakSet()
        """Threads that background threads started."""
        self.children: list[tuple[weakref.ref[subprocess.Popen[Any]] | None, str | None]] = []
        self.files: dict[str, str | None] = {}
        self.temporary: dict[str, str | None] = {}
        self.environment: dict[str, tuple[str | None, str | None]] = {}
        """Names that were set or unset: what they held before, and where that was."""
        self.directory: str | None = None
        self.active = True

    def source_of_process(self, pid: int) -> str | None:
        """Where a child process was started, as far as that is known."""
        for child, source in self.children:
            popen = child() if child else None
            if popen is not None and getattr(popen, "pid", None) == pid:
                return source
        return self.children[0][1] if len(self.children) == 1 else None

    def _source(self, frame: FrameType) -> str | None:
        return location_of(frame, self.project)[0]

    def thread(self, args: tuple[Any, ...], frame: FrameType) -> None:
        if not self.active:
            return
        thread = getattr(args[0], "__self__", None)
        if isinstance(thread, threading.Thread):
            self.threads[thread] = self._source(frame)
            if threading.get_ident() in self.background_threads:
                self.of_background.add(thread)

    def socket(self, args: tuple[Any, ...], frame: FrameType) -> None:
        if not self.active:
            return
        if len(self._sockets) > _MAX_SOCKETS:
            self._sockets = [known for known in self._sockets if known[0]() is not None]
        is_of_background = threading.get_ident() in self.background_threads
        self._sockets.append((weakref.ref(args[0]), self._source(frame), is_of_background))

    def sockets(self) -> dict[str, tuple[str | None, bool]]:
        """Number of the descriptor → where the socket was created, and whether a background thread did it."""
        found: dict[str, tuple[str | None, bool]] = {}
        for reference, source, is_of_background in self._sockets:
            created: Any = reference()  # None if it is gone
            with contextlib.suppress(OSError, ValueError, AttributeError):
                found[str(created.fileno())] = (source, is_of_background)
        return found

    def process(self, args: tuple[Any, ...], frame: FrameType) -> None:
        if not self.active:
            return
        caller = frame.f_locals.get("self")
        popen = weakref.ref(caller) if isinstance(caller, subprocess.Popen) else None
        if popen is None or popen not in (known for known, _ in self.children):
            self.children.append((popen, self._source(frame)))

    def open(self, args: tuple[Any, ...], frame: FrameType) -> None:
        if not self.active:
            return
        path, flags = args[0], args[2]
        if isinstance(path, int) or path is None or not isinstance(flags, int):
            return
        name = path if type(path) is str else os.fsdecode(path)
        if name.endswith((".pyc", ".py", ".so")) or len(self.files) > _MAX_FILES:
            return
        self.files[name] = self._source(frame)
        if flags & _WRITES:
            self._add_temporary(name, frame)

    def path(self, args: tuple[Any, ...], frame: FrameType) -> None:
        if not self.active:
            return
        if isinstance(args[0], str | bytes | os.PathLike):
            self._add_temporary(os.fsdecode(args[0]), frame)

    def _add_temporary(self, path: str, frame: FrameType) -> None:
        """Something new directly in the temporary directory."""
        if os.path.dirname(path) not in self._roots:  # noqa: PTH120  # an audit hook must be quick
            return
        if path in self.temporary or threading.get_ident() in self.background_threads:
            return
        if not any(one in path for one in self._own) and not os.path.lexists(path):
            self.temporary[path] = self._source(frame)

    def variable(self, args: tuple[Any, ...], frame: FrameType) -> None:
        if not self.active:
            return
        name = os.fsdecode(args[0])
        if name != "PYTEST_CURRENT_TEST" and name not in self.environment:
            self.environment[name] = (os.environ.get(name), self._source(frame))  # os.environ changes after the event

    def chdir(self, args: tuple[Any, ...], frame: FrameType) -> None:
        if not self.active:
            return
        self.directory = self._source(frame)


_METHODS = {
    "_thread.start_new_thread": "thread",
    "_thread.start_joinable_thread": "thread",
    "socket.__new__": "socket",
    "subprocess.Popen": "process",
    "os.posix_spawn": "process",
    "os.fork": "process",
    "open": "open",
    "os.mkdir": "path",
    "sqlite3.connect": "path",
    "tempfile.mkstemp": "path",
    "tempfile.mkdtemp": "path",
    "os.putenv": "variable",
    "os.unsetenv": "variable",
    "os.chdir": "chdir",
}

_is_patched = False


def _audit_threads() -> None:
    """Before Python 3.12 the interpreter does not audit new threads."""
    global _is_patched
    if sys.version_info >= (3, 12) or _is_patched:
        return
    _is_patched = True
    original = threading.Thread.start

    @functools.wraps(original)
    def start(self: threading.Thread) -> None:
        audit_hook.relay("_thread.start_new_thread", self.run)
        original(self)

    threading.Thread.start = start  # type: ignore[method-assign]  # there is no other way to know where it was started
