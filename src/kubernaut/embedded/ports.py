"""Ports of 127.0.0.1 for servers that must be told a number."""

import contextlib
import errno
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager

import structlog

from kubernaut.embedded.errors import NoFreePort, ProcessFailed
from kubernaut.embedded.process import Process, ProcessSpec, open_process

HOST = "127.0.0.1"
_MAX_ATTEMPTS = 5

log = structlog.get_logger("embedded")


def free_port(preferred: Iterable[int] = ()) -> int:
    """A port that is free at this moment: the first free one of `preferred`, else any.

    Another process may bind it before the caller does, so a caller tries again with a new one on a clash.
    """
    for port in (*preferred, 0):
        with contextlib.suppress(OSError):
            return _bind(port)
    raise OSError(f"no free port on {HOST}")


@contextlib.contextmanager
def reserved_port(preferred: int = 0) -> Iterator[int]:
    """A port that no program gets by chance while the block runs; a child that is told it can listen on it.

    Only Linux lets two sockets have one address as long as none listens; elsewhere the port is free at this moment.
    """
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            holder.bind((HOST, preferred))
        except OSError:
            holder.bind((HOST, 0))
        port: int = holder.getsockname()[1]
        if sys.platform != "linux":
            holder.close()
        yield port


def is_in_use(port: int) -> bool:
    """Whether another process has bound the port.

    This, and no sentence in a log, tells why a server exited that was to listen there.
    """
    try:
        _bind(port)
    except OSError as error:
        return error.errno == errno.EADDRINUSE
    return False


def _bind(port: int) -> int:
    with socket.socket() as probe:
        # As servers do after a restart: an address in TIME_WAIT is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((HOST, port))
        bound: int = probe.getsockname()[1]
        return bound


@asynccontextmanager
async def open_on_free_port(
    spec: Callable[[int], ProcessSpec], preferred: int = 0
) -> AsyncIterator[tuple[Process, int]]:
    """Run a server that is told its port: `preferred` if it is free, else another one.

    A server that exits because another process has bound its port meanwhile is started again on another port, five
    times in all.
    """
    async with contextlib.AsyncExitStack() as stack:
        for attempt in range(_MAX_ATTEMPTS):
            port = free_port([preferred] if attempt == 0 and preferred else [])
            attempted = spec(port)
            try:
                process = await stack.enter_async_context(open_process(attempted))
                break
            except ProcessFailed:
                if not is_in_use(port):
                    raise
                log.info("port in use, retrying on another", process=attempted.name, port=port)
        else:
            raise NoFreePort(f"cannot start {attempted.name}: {_MAX_ATTEMPTS} ports of {HOST} in a row were in use")
        yield process, port
