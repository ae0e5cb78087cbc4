"""TCP proxies between the processes of a history, whose links can be cut as networks are."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from enum import StrEnum

HOST = "127.0.0.1"
_CHUNK_BYTES = 2**16
_LINGER = struct.pack("ii", 1, 0)
"""Closing sends RST."""


class CutMode(StrEnum):
    """What happens to bytes while a link is cut."""

    HANG = "hang"
    """They wait, and arrive when the network is back."""

    DROP = "drop"
    """They are lost, and the connection ends when the network is back."""

    RESET = "reset"
    """The connection ends at once."""


class Direction(StrEnum):
    """Which bytes a cut concerns."""

    BOTH = "both"
    ANSWERS = "answers"


class LinkReset(Exception):
    """The connection ends here."""


@dataclass(kw_only=True)
class Link:
    """The way from one process to another; `port` says where the other one listens now, 0 if it does not."""

    port: Callable[[], int]
    mode: CutMode | None = None
    direction: Direction = Direction.BOTH
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    @contextmanager
    def cut(self, mode: CutMode, direction: Direction) -> Iterator[None]:
        """No network inside the block; a second cut replaces the first one."""
        self._switch(mode, direction)
        try:
            yield
        finally:
            self.restore()

    def restore(self) -> None:
        """The network is back."""
        self._switch(None, Direction.BOTH)

    def is_cut(self, *, is_answer: bool) -> bool:
        return self.mode is not None and (is_answer or self.direction is Direction.BOTH)

    async def until_change(self) -> None:
        await self._changed.wait()

    async def passes(self, *, is_answer: bool) -> None:
        """Return when a chunk may go on; raises LinkReset when it never will."""
        while self.is_cut(is_answer=is_answer):
            if self.mode is CutMode.RESET:
                raise LinkReset
            is_dropped = self.mode is CutMode.DROP
            await self._changed.wait()
            if is_dropped:
                raise LinkReset

    def _switch(self, mode: CutMode | None, direction: Direction) -> None:
        self.mode, self.direction = mode, direction
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()


@dataclass(kw_only=True)
class Proxy:
    """Listens on a port of its own and gives each connection to the next of its links, as a Service does."""

    links: Sequence[Link]
    max_lifetime: float | None = None
    """Seconds after which a connection is closed, so that the next one may lead elsewhere."""
    port: int = 0
    _turn: int = 0
    _connections: set[asyncio.Task[None]] = field(default_factory=set)

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101
        self._connections.add(task)
        try:
            await self._forward(reader, writer)
        except (OSError, LinkReset, asyncio.CancelledError):
            pass
        finally:
            self._connections.discard(task)
            _reset(writer)

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = self._next()
        if link is None:
            return
        await link.passes(is_answer=False)
        their_reader, their_writer = await asyncio.open_connection(HOST, link.port())
        try:
            async with asyncio.TaskGroup() as tasks:
                pumps = [
                    tasks.create_task(_pump(reader, their_writer, link, is_answer=False)),
                    tasks.create_task(_pump(their_reader, writer, link, is_answer=True)),
                    tasks.create_task(_watch(link)),
                ]
                await asyncio.wait(pumps, timeout=self.max_lifetime, return_when=asyncio.FIRST_COMPLETED)
                for pump in pumps:
                    pump.cancel()
        except* (OSError, LinkReset):
            pass
        finally:
            _reset(their_writer)

    def _next(self) -> Link | None:
        listening = [link for link in self.links if link.port()]
        self._turn += 1
        return listening[self._turn % len(listening)] if listening else None

    async def close(self) -> None:
        for task in list(self._connections):
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, link: Link, *, is_answer: bool) -> None:
    while chunk := await reader.read(_CHUNK_BYTES):
        await link.passes(is_answer=is_answer)
        writer.write(chunk)
        await writer.drain()
    # The other side has closed; what it closed about arrives when the network does.
    await link.passes(is_answer=is_answer)


async def _watch(link: Link) -> None:
    """Return when the network resets an idle connection."""
    while link.mode is not CutMode.RESET or link.direction is not Direction.BOTH:
        await link.until_change()


def _reset(writer: asyncio.StreamWriter) -> None:
    sock = writer.get_extra_info("socket")
    if sock is not None and not writer.transport.is_closing():
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER)
    writer.transport.abort()


@asynccontextmanager
async def open_proxy(*links: Link, max_lifetime: float | None = None) -> AsyncIterator[Proxy]:
    """A proxy on a free port."""
    proxy = Proxy(links=links, max_lifetime=max_lifetime)
    server = await asyncio.start_server(proxy.accept, HOST, 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        await proxy.close()
