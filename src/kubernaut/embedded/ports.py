"""Ports of 127.0.0.1 for servers that must be told a number."""

import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager

import structlog

from kubernaut.embedded.errors import PortTaken, ProcessDied
from kubernaut.embedded.process import Process, ProcessSpec, open_process

HOST = "127.0.0.1"
_ATTEMPTS = 5

log = structlog.get_logger("embedded")


def free_port(wanted: Iterable[int] = ()) -> int:
    """A port nobody listens on at this moment: the first free one of `wanted`, else any.

    Another process may take it before the caller does, so a caller tries again with a new one on a clash.
    """
    for port in (*wanted, 0):
        with contextlib.suppress(OSError), socket.socket() as probe:
            # What a restarted server does too: an address in TIME_WAIT is free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((HOST, port))
            chosen: int = probe.getsockname()[1]
            return chosen
    raise OSError(f"no free port on {HOST}")


@asynccontextmanager
async def open_on_free_port(spec: Callable[[int], ProcessSpec], wanted: int = 0) -> AsyncIterator[tuple[Process, int]]:
    """Run a server that is told its port: `wanted` if it is free, else another one.

    A server that ends because its port was taken meanwhile is started again on another port, five times in all.
    """
    async with contextlib.AsyncExitStack() as stack:
        for attempt in range(_ATTEMPTS):
            port = free_port([wanted] if attempt == 0 and wanted else [])
            attempted = spec(port)
            try:
                process = await stack.enter_async_context(open_process(attempted))
                break
            except ProcessDied as died:
                if "address already in use" not in died.said.lower():
                    raise
                log.info("port was taken, trying another", process=attempted.name, port=port)
        else:
            raise PortTaken(f"{attempted.name} found {_ATTEMPTS} ports of {HOST} taken, one after the other")
        yield process, port
