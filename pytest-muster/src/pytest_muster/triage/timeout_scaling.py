"""A rerun with longer time limits: whatever waits with a limit waits several times as long.

A test that passes then was stopped by its limit. So was one that fails again and took so much longer in doing so: it
waits for what never comes. Waits of threads, queues, processes, sockets and tasks are scaled, and the clocks as the
project's own code reads them, so that its loops with a deadline go on. Nothing is made slower that does not wait.
"""

import asyncio
import functools
import inspect
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def apply(factor: float, root: Path) -> None:
    """From now on, for the rest of this process."""
    for owner, name in _WAITS:
        setattr(owner, name, _scaled(getattr(owner, name), factor))
    socket.socket.settimeout = _settimeout(socket.socket.settimeout, factor)  # type: ignore[method-assign]
    for name in ("monotonic", "time", "perf_counter"):
        setattr(time, name, _slowed(getattr(time, name), factor, f"{root}/"))


_WAITS: tuple[tuple[Any, str], ...] = (
    (threading.Condition, "wait"),
    (threading.Condition, "wait_for"),
    (threading.Event, "wait"),
    (threading.Semaphore, "acquire"),
    (threading.Thread, "join"),
    (subprocess.Popen, "wait"),
    (subprocess.Popen, "communicate"),
    (asyncio, "wait_for"),
    (asyncio, "wait"),
    (asyncio, "timeout"),
)
"""What takes a `timeout`, or a `delay` until one."""

_depth = threading.local()
_TIMER = threading.Timer.run.__code__


def _scaled(original: Callable[..., Any], factor: float) -> Callable[..., Any]:
    names = inspect.getfullargspec(original).args
    name = "delay" if "delay" in names else "timeout"
    place = names.index(name) if name in names else None

    @functools.wraps(original)
    def wait(*args: Any, **kwargs: Any) -> Any:
        if getattr(_depth, "inside", False):  # one wait is made of others
            return original(*args, **kwargs)
        if sys._getframe(1).f_code is _TIMER:  # noqa: SLF001  # it waits for its time, not for something
            pass
        elif kwargs.get(name) is not None:
            kwargs[name] *= factor
        elif place is not None and len(args) > place and args[place] is not None:
            args = (*args[:place], args[place] * factor, *args[place + 1 :])
        _depth.inside = True
        try:
            return original(*args, **kwargs)
        finally:
            _depth.inside = False

    return wait


def _settimeout(original: Callable[..., Any], factor: float) -> Callable[..., Any]:
    def settimeout(self: socket.socket, value: float | None, /) -> None:
        original(self, value * factor if value else value)

    return settimeout


def _slowed(original: Callable[[], float], factor: float, root: str) -> Callable[[], float]:
    began = original()

    @functools.wraps(original)
    def clock() -> float:
        now = original()
        file = sys._getframe(1).f_code.co_filename  # noqa: SLF001  # whose code reads the clock
        if file.startswith(root) and "/site-packages/" not in file:
            return began + (now - began) / factor
        return now

    return clock
