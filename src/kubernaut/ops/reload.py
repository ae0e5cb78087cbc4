"""Reading configuration again on SIGHUP."""

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import structlog

from kubernaut.ops.tasks import background

log = structlog.get_logger("reload")


def ignore_hangups() -> None:
    """SIGHUP, which ends a process by default, does nothing until `reload_requested` waits for it."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


@asynccontextmanager
async def reload_requested(reload: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    """Call `reload` for each SIGHUP while the block runs; several that come during one call are one more call.

    What it raises is logged and ends nothing. After the block SIGHUP does nothing, because it would end the process
    while everything is being closed.
    """
    loop = asyncio.get_running_loop()
    requested = asyncio.Event()

    async def follow() -> None:
        while True:
            await requested.wait()
            requested.clear()
            try:
                await reload()
            except Exception:  # whatever is wrong with the new configuration, the old one goes on
                log.exception("reload failed, keeping what is in force")

    loop.add_signal_handler(signal.SIGHUP, requested.set)
    try:
        async with background(follow(), name="reload"):
            yield
    finally:
        loop.remove_signal_handler(signal.SIGHUP)
        ignore_hangups()
