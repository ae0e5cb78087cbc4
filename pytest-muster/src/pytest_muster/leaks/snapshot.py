"""What a process holds at a moment, so that two moments can be compared: threads, children, descriptors, tasks.

Taking a snapshot costs some ten microseconds: descriptors are compared by their numbers, and what a new one is, is
only looked up when there is one. Children are only listed if the kernel says that there are any.
"""

import asyncio
import contextlib
import functools
import gc
import io
import os
import re
import socket
import stat
import subprocess
import sys
import threading
import types
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

MOST_OBJECTS = 300_000
"""So many objects are looked at, at most, to find whether something belongs to a fixture of a wider scope."""

_DESCRIPTORS = "/proc/self/fd" if sys.platform == "linux" else "/dev/fd"
_TASKS = "/proc/self/task"

_IDLE = re.compile(r"^(asyncio_\d+|AnyIO worker thread|waitpid-\d+|pytest_timeout .*|tmon|pydevd\..*)$")
"""Threads that a library keeps for the next use, and that end with the process or with their event loop."""

_COMPANIONS = ("multiprocessing.resource_tracker", "multiprocessing.forkserver", "pytest_muster")
"""Processes that a library starts once for the whole life of its process."""


class Kind(StrEnum):
    THREADS = "threads"
    PROCESSES = "processes"
    SOCKETS = "sockets"
    FILES = "files"
    TASKS = "tasks"
    ENVIRONMENT = "environment"
    DIRECTORY = "directory"
    TEMPORARY = "temporary"


@dataclass(frozen=True, kw_only=True)
class Held:
    """What the process holds at one moment."""

    threads: frozenset[threading.Thread]
    processes: frozenset[int]
    descriptors: frozenset[str]
    tasks: frozenset[asyncio.Task[object]]

    def __sub__(self, other: "Held") -> "Held":
        return Held(
            threads=self.threads - other.threads,
            processes=self.processes - other.processes,
            descriptors=self.descriptors - other.descriptors,
            tasks=self.tasks - other.tasks,
        )

    def __or__(self, other: "Held") -> "Held":
        return Held(
            threads=self.threads | other.threads,
            processes=self.processes | other.processes,
            descriptors=self.descriptors | other.descriptors,
            tasks=self.tasks | other.tasks,
        )

    def __bool__(self) -> bool:
        return bool(self.threads or self.processes or self.descriptors or self.tasks)


def held(loops: Iterable[asyncio.AbstractEventLoop] = ()) -> Held:
    """What is held now; tasks of these loops only."""
    tasks: set[asyncio.Task[object]] = set()
    for loop in loops:
        if not loop.is_closed():
            tasks |= asyncio.all_tasks(loop)
    return Held(
        threads=frozenset(threading.enumerate()),
        processes=frozenset(_children()),
        descriptors=frozenset(_descriptors()),
        tasks=frozenset(tasks),
    )


def _descriptors() -> list[str]:
    try:
        found = os.listdir(_DESCRIPTORS)  # noqa: PTH208  # runs twice for each test
        lowest = os.dup(1)  # the number that was free for the listing itself
    except OSError:
        return []
    os.close(lowest)
    return [one for one in found if one != str(lowest)]


def _children() -> list[int]:
    if not hasattr(os, "waitid"):
        return _children_by_ps()
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return []
    if sys.platform != "linux":
        return _children_by_ps()
    found: list[int] = []
    for task in os.listdir(_TASKS):  # noqa: PTH208
        with contextlib.suppress(OSError):
            file = os.open(f"{_TASKS}/{task}/children", os.O_RDONLY)
            try:
                found += map(int, os.read(file, 1 << 16).split())
            finally:
                os.close(file)
    return found


def _children_by_ps() -> list[int]:
    try:
        done = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.SubprocessError):
        return []
    pairs = [line.split() for line in done.stdout.splitlines()]
    return [int(pid) for pid, parent in pairs if int(parent) == os.getpid()]


def without_harmless(new: Held) -> Held:
    """What is left when what libraries keep for themselves, what has ended, and what is no leak is taken out."""
    return Held(
        threads=frozenset(one for one in new.threads if one.is_alive() and not _is_idle(one)),
        processes=frozenset(pid for pid in new.processes if _is_running(pid)),
        descriptors=frozenset(one for one in new.descriptors if descriptor_kind(one) is not None),
        tasks=frozenset(one for one in new.tasks if not one.done()),
    )


def _is_idle(thread: threading.Thread) -> bool:
    # A dummy stands for a thread that Python has not started, and never goes.
    return type(thread).__name__ == "_DummyThread" or bool(_IDLE.match(thread.name))


def _is_running(pid: int) -> bool:
    command = command_of(pid)
    return bool(command) and not any(one in command for one in _COMPANIONS)


def command_of(pid: int) -> str:
    """The command line of a process; empty if it has ended, also if nobody has collected it yet."""
    if sys.platform == "linux":
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
            # Empty for one that has ended, and for a moment after the start of any.
            name, _, rest = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")
        except OSError:
            return ""
        return words or ("" if rest.split()[0] in "ZX" else name.partition("(")[2])
    done = subprocess.run(
        ["ps", "-o", "stat=,command=", "-p", str(pid)], capture_output=True, text=True, timeout=5, check=False
    )
    state, _, command = done.stdout.strip().partition(" ")
    return "" if state.startswith("Z") else command.strip()


# --- descriptors -----------------------------------------------------------------------------------------------------


def target_of(descriptor: str) -> str:
    """What the kernel says that a descriptor is; empty if it is closed."""
    if sys.platform == "linux":
        try:
            return os.readlink(f"{_DESCRIPTORS}/{descriptor}")  # noqa: PTH115
        except OSError:
            return ""
    try:
        mode = os.fstat(int(descriptor)).st_mode
    except OSError:
        return ""
    return "socket:" if stat.S_ISSOCK(mode) else "(a file)" if stat.S_ISREG(mode) else "pipe:"


def descriptor_kind(descriptor: str) -> Kind | None:
    """Sockets and files; None for what is closed, for pipes (what is at their other end counts) and for devices."""
    target = target_of(descriptor)
    if target.startswith("socket:"):
        return Kind.SOCKETS
    if target == "anon_inode:[eventpoll]":
        return Kind.SOCKETS
    if not target or target.startswith(("pipe:", "anon_inode:", "/proc/", "/sys/", "/memfd:")):
        return None
    if target.startswith("/dev/") and not target.startswith("/dev/shm/"):  # noqa: S108
        return None
    if re.search(r"/\.muster/|/muster-\d+/|/\.coverage|/\.hypothesis/|/site-packages/", target):
        return None
    return Kind.FILES


def words_of(descriptor: str) -> str:
    """A descriptor in words: an address, or a path."""
    target = target_of(descriptor)
    if target == "anon_inode:[eventpoll]":
        return "an event loop or selector that is still open"
    if not target.startswith("socket:"):
        return target
    try:
        found = socket.socket(fileno=int(descriptor))
    except OSError:
        return f"a socket ({target})"
    try:
        return _socket_words(found)
    finally:
        found.detach()


def _socket_words(found: socket.socket) -> str:
    here = there = ""
    with contextlib.suppress(OSError):
        here = _address(found.getsockname())
    with contextlib.suppress(OSError):
        there = _address(found.getpeername())
    listens = False
    with contextlib.suppress(OSError):
        listens = bool(found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
    if found.family == socket.AF_UNIX:
        name = here or there
        return f"Unix socket {name}, listening" if listens else f"Unix socket {name}" if name else "a socket pair"
    protocol = "UDP" if found.type == socket.SOCK_DGRAM else "TCP"
    if listens:
        return f"{protocol} {here}, listening"
    return f"{protocol} {here} → {there}" if there else f"{protocol} {here}, not connected"


def _address(address: object) -> str:
    if isinstance(address, tuple) and len(address) >= 2:
        return f"[{address[0]}]:{address[1]}" if ":" in str(address[0]) else f"{address[0]}:{address[1]}"
    return os.fsdecode(address) if isinstance(address, str | bytes) else ""


# --- whose it is -----------------------------------------------------------------------------------------------------


def owned_by(roots: Iterable[object], what: Held) -> Held:
    """The part of it that can be reached from these objects, such as the values of session fixtures.

    A connection pool of a session fixture opens its connections in the test that first needs them: they are not the
    test's.
    """
    threads: set[threading.Thread] = set()
    processes: set[int] = set()
    descriptors: set[str] = set()
    tasks: set[asyncio.Task[object]] = set()
    for one in _reachable(roots):
        if isinstance(one, threading.Thread):
            threads.add(one)
        elif isinstance(one, asyncio.Task):
            tasks.add(one)
        elif isinstance(one, subprocess.Popen):
            processes.add(one.pid)
        elif isinstance(one, socket.socket | io.IOBase):
            with contextlib.suppress(OSError, ValueError):
                descriptors.add(str(one.fileno()))
        elif isinstance(one, dict):
            pid = one.get("_pid")  # of a transport of asyncio
            if isinstance(pid, int):
                processes.add(pid)
    return Held(
        threads=what.threads & threads,
        processes=what.processes & processes,
        descriptors=what.descriptors & descriptors,
        tasks=what.tasks & tasks,
    )


def _reachable(roots: Iterable[object]) -> list[object]:
    """The objects behind these, without what belongs to modules, classes, and pytest itself."""
    queue = [one for one in roots if _is_followed(one)]
    seen = {id(one) for one in queue}
    for one in queue:
        if len(queue) > MOST_OBJECTS:
            break
        for inner in _behind(one):
            if id(inner) not in seen and _is_followed(inner):
                seen.add(id(inner))
                queue.append(inner)
    return queue


def _behind(one: object) -> Iterable[object]:
    if isinstance(one, types.FunctionType):  # not its globals
        return (one.__closure__, one.__defaults__, one.__kwdefaults__)
    if isinstance(one, types.FrameType):
        return one.f_locals.values()
    if isinstance(one, functools.partial):
        return (one.func, one.args, one.keywords)
    return gc.get_referents(one)


_NOT_FOLLOWED = (
    *(int, float, complex, str, bytes, bool, type(None), type, types.ModuleType, types.CodeType),
    *(asyncio.AbstractEventLoop, asyncio.Runner),  # what a loop runs is not all its owner's
)


def _is_followed(one: object) -> bool:
    if isinstance(one, _NOT_FOLLOWED):
        return False
    if isinstance(one, dict):
        return "__builtins__" not in one
    return not type(one).__module__.startswith(("_pytest.", "pluggy.", "xdist."))
