"""Stopping on SIGTERM and SIGINT."""

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import structlog

log = structlog.get_logger("shutdown")


@contextmanager
def stop_requested() -> Iterator[asyncio.Event]:
    """An event that SIGTERM or SIGINT sets, instead of ending the process.

    After the block further signals are ignored, because they would end the process before everything is closed.
    """
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    caught = (signal.SIGTERM, signal.SIGINT)
    for number in caught:
        loop.add_signal_handler(number, stop.set)
    try:
        yield stop
    finally:
        for number in caught:
            loop.add_signal_handler(number, log.info, "already stopping, signal ignored")
