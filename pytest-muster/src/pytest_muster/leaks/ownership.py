"""What belongs to a fixture of a wider scope, because it can be reached from the fixture's value."""

import asyncio
import contextlib
import functools
import gc
import io
import socket
import subprocess
import threading
import types
from collections.abc import Iterable

from pytest_muster.leaks.snapshot import ProcessSnapshot

MAX_OBJECTS = 300_000
"""So many objects are looked at, at most."""


def owned_by(roots: Iterable[object], snapshot: ProcessSnapshot) -> ProcessSnapshot:
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
    return ProcessSnapshot(
        threads=snapshot.threads & threads,
        processes=snapshot.processes & processes,
        descriptors=snapshot.descriptors & descriptors,
        tasks=snapshot.tasks & tasks,
    )


def _reachable(roots: Iterable[object]) -> list[object]:
    """The objects behind these, without what belongs to modules, classes, and pytest itself."""
    queue = [one for one in roots if _is_followed(one)]
    seen = {id(one) for one in queue}
    for one in queue:
        if len(queue) > MAX_OBJECTS:
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
