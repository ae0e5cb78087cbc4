"""What a process holds at a moment, so that two moments can be compared: threads, children, descriptors, tasks.

Taking a snapshot costs some ten microseconds: descriptors are compared by their numbers, and what a new one is, is
only looked up when there is one. Children are only listed if the kernel says that there are any.
"""

import asyncio
import contextlib
import os
import re
import sys
import threading
from collections.abc import Iterable
from dataclasses import dataclass

import psutil

from pytest_muster.leaks import descriptors

_TASKS = "/proc/self/task"

_IDLE = re.compile(r"^(asyncio_\d+|AnyIO worker thread|waitpid-\d+|pytest_timeout .*|tmon|pydevd\..*)$")
"""Threads that a library keeps for the next use, and that end with the process or with their event loop."""

_COMPANIONS = ("multiprocessing.resource_tracker", "multiprocessing.forkserver", "pytest_muster")
"""Processes that a library starts once for the whole life of its process."""


@dataclass(frozen=True, kw_only=True)
class ProcessSnapshot:
    """What the process holds at one moment."""

    threads: frozenset[threading.Thread]
    processes: frozenset[int]
    descriptors: frozenset[str]
    tasks: frozenset[asyncio.Task[object]]

    def __sub__(self, other: "ProcessSnapshot") -> "ProcessSnapshot":
        return ProcessSnapshot(
            threads=self.threads - other.threads,
            processes=self.processes - other.processes,
            descriptors=self.descriptors - other.descriptors,
            tasks=self.tasks - other.tasks,
        )

    def __or__(self, other: "ProcessSnapshot") -> "ProcessSnapshot":
        return ProcessSnapshot(
            threads=self.threads | other.threads,
            processes=self.processes | other.processes,
            descriptors=self.descriptors | other.descriptors,
            tasks=self.tasks | other.tasks,
        )

    def __bool__(self) -> bool:
        return bool(self.threads or self.processes or self.descriptors or self.tasks)


def take_snapshot(
    loops: Iterable[asyncio.AbstractEventLoop] = (), *, last: ProcessSnapshot | None = None
) -> ProcessSnapshot:
    """What is held now; tasks of these loops only.

    With `last`, the descriptors are those of that snapshot if there are as many. That is for moments between which no
    test runs: it is not seen if one was closed and another one opened.
    """
    tasks: set[asyncio.Task[object]] = set()
    for loop in loops:
        if not loop.is_closed():
            tasks |= asyncio.all_tasks(loop)
    return ProcessSnapshot(
        threads=frozenset(threading.enumerate()),
        processes=frozenset(children()),
        descriptors=last.descriptors if last and len(last.descriptors) == _count() else frozenset(_descriptors()),
        tasks=frozenset(tasks),
    )


def _descriptors() -> list[str]:
    try:
        found = os.listdir(descriptors.DIRECTORY)  # noqa: PTH208  # runs twice for each test
        lowest = os.dup(1)  # the number that was free for the listing itself
    except OSError:
        return []
    os.close(lowest)
    return [one for one in found if one != str(lowest)]


def _count() -> int:
    """How many descriptors are open, if the kernel tells (Linux 6.2), else -1."""
    try:
        return os.stat(descriptors.DIRECTORY).st_size or -1 if sys.platform == "linux" else -1  # noqa: PTH116
    except OSError:
        return -1


def children() -> list[int]:
    """The child processes of this one, ended ones included until somebody waits for them."""
    if hasattr(os, "waitid"):
        try:
            os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return []
    if sys.platform != "linux":
        return [child.pid for child in psutil.Process().children()]
    # The kernel's own list: `psutil` reads the status of every process of the machine for it, which takes milliseconds.
    found: list[int] = []
    for task in os.listdir(_TASKS):  # noqa: PTH208
        with contextlib.suppress(OSError):
            file = os.open(f"{_TASKS}/{task}/children", os.O_RDONLY)
            try:
                found += map(int, os.read(file, 1 << 16).split())
            finally:
                os.close(file)
    return found


def without_harmless(new: ProcessSnapshot) -> ProcessSnapshot:
    """What is left when what libraries keep for themselves, what has ended, and what is no leak is taken out."""
    return ProcessSnapshot(
        threads=frozenset(one for one in new.threads if one.is_alive() and not _is_idle(one)),
        processes=frozenset(pid for pid in new.processes if _is_running(pid)),
        descriptors=frozenset(one for one in new.descriptors if descriptors.kind_of(one) is not None),
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
    try:
        process = psutil.Process(pid)
        # Empty for a moment after the start of any.
        return "" if process.status() == psutil.STATUS_ZOMBIE else " ".join(process.cmdline()) or process.name()
    except psutil.Error:
        return ""
