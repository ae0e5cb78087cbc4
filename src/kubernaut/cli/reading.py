"""Reading what a person or another program has yet to write; Ctrl-C and SIGTERM cancel the command meanwhile."""

import asyncio
import os
import select
import socket
from pathlib import Path

STANDARD_INPUT = Path("-")


async def read_line() -> str:
    """The next line of standard input; empty at its end."""
    line = b""
    while not line.endswith(b"\n") and (part := await _read(0)):
        line += part
    return line.decode(errors="replace")


async def read_all(path: Path) -> bytes:
    """The content of a file, a pipe, or standard input for `-`. Raises OSError."""
    if path == STANDARD_INPUT:
        return await _read_to_end(0)
    # Without O_NONBLOCK the open of a named pipe waits for somebody who writes.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        return await _read_to_end(descriptor)
    finally:
        os.close(descriptor)


async def _read_to_end(descriptor: int) -> bytes:
    parts = []
    while part := await _read(descriptor):
        parts.append(part)
    return b"".join(parts)


async def _read(descriptor: int) -> bytes:
    while True:
        await _wait_until_readable(descriptor)
        try:
            return os.read(descriptor, 1 << 20)
        except BlockingIOError:  # another process has read it
            continue


async def _wait_until_readable(descriptor: int) -> None:
    """In a thread: an event loop's reader would set O_NONBLOCK for all who share a terminal, and takes no files."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        loop = asyncio.get_running_loop()
        waiting = loop.run_in_executor(None, lambda: select.select([descriptor, ours.fileno()], [], []))
        try:
            await asyncio.shield(waiting)
        finally:
            theirs.send(b"x")  # ends the thread of a command that is cancelled
            await waiting
