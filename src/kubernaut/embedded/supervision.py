"""Keeps the processes of a stack running: one that exits is started again, with the same command on the same port.

A process that keeps exiting ends the stack, with an error that names it and shows the end of its log.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import NoReturn

from kubernaut.embedded.errors import ProcessFailed
from kubernaut.embedded.process import Process

MAX_RESTARTS = 5
"""Restarts of one process within `RESTART_PERIOD`."""
RESTART_PERIOD = 60.0  # seconds
MIN_DELAY = 0.1  # seconds
"""Before the second attempt to start; it doubles."""
MAX_DELAY = 5.0  # seconds

Report = Callable[[str], None]


async def supervise(processes: Iterable[Process], report: Report) -> NoReturn:
    """Restart each process that exits, and report it; until cancelled.

    Raises a group with `ProcessFailed` for one that keeps exiting.
    """
    async with asyncio.TaskGroup() as tasks:
        for process in processes:
            tasks.create_task(_supervise_one(process, report), name=f"supervise {process.name}")
    raise AssertionError("a supervised process ends by an error only")


async def _supervise_one(process: Process, report: Report) -> NoReturn:
    restarts: deque[float] = deque(maxlen=MAX_RESTARTS)
    while True:
        await process.wait()
        report(f"{process.name} exited ({process.exit_description()}), restarting it")
        started = time.monotonic()
        await _restart(process, restarts)
        report(f"{process.name} runs again after {time.monotonic() - started:.1f} s")


async def _restart(process: Process, restarts: deque[float]) -> None:
    delay = MIN_DELAY
    while True:
        now = time.monotonic()
        if len(restarts) == MAX_RESTARTS and now - restarts[0] < RESTART_PERIOD:
            raise process.exit_error(f"exited {MAX_RESTARTS + 1} times within {RESTART_PERIOD:g} s")
        restarts.append(now)
        try:
            await process.restart()
        except ProcessFailed:
            # What it needs may be on its way back as well.
            await asyncio.sleep(delay)
            delay = min(2 * delay, MAX_DELAY)
        else:
            return
