"""Which notifications are processed at the same time: bounded in number and bytes, and fair between groups.

A notification that cannot be processed soon is refused, and its sender sends it again; one that waited for its whole
time limit would be sent again as well, and would have cost memory until then. A group is processed one notification at
a time, so that one which sends all the time leaves room to the others.
"""

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

MAX_ACTIVE = 32
"""Notifications that are processed at the same time."""

MAX_ACTIVE_OF_GROUP = 24
"""Of these, notifications of one group."""

MAX_WAITING = 1000
"""Notifications that wait for their turn."""

MAX_WAITING_OF_GROUP = 250
"""Of these, notifications of one group."""

MAX_BYTES = 64 * 2**20
"""Bytes of all bodies that are processed or wait. A body is never refused because of its own size."""


class Busy(Exception):
    """There is no place for a notification now; the text says why."""


class AdmissionQueue:
    """Admits notifications, those of quiet groups first."""

    def __init__(self) -> None:
        self._active: Counter[str] = Counter()
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}
        """By group, those that wait, in the order of their arrival."""
        self._bytes = 0

    def __len__(self) -> int:
        """How many wait."""
        return sum(map(len, self._waiting.values()))

    @asynccontextmanager
    async def admitted(self, group: str, size: int, timeout: float) -> AsyncIterator[None]:
        """Hold a place for a notification of `size` bytes; wait for it for at most `timeout` seconds. Raises Busy."""
        if self._bytes and self._bytes + size > MAX_BYTES:
            raise Busy("other notifications take all memory that is reserved for them")
        self._bytes += size
        try:
            await self._enter(group, timeout)
            try:
                yield
            finally:
                self._leave(group)
        finally:
            self._bytes -= size

    async def _enter(self, group: str, timeout: float) -> None:
        if len(self._waiting.get(group, ())) >= MAX_WAITING_OF_GROUP:
            raise Busy(f"{MAX_WAITING_OF_GROUP} other notifications of this group wait already")
        if len(self) >= MAX_WAITING:
            raise Busy(f"{MAX_WAITING} other notifications wait already")
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(group, deque()).append(place)
        self._admit()
        try:
            async with asyncio.timeout(timeout):
                await place
        except BaseException as error:
            if place.done() and not place.cancelled():
                self._leave(group)  # admitted in the moment in which it gave up
            elif place in self._waiting.get(group, ()):
                self._remove(group, place)
            if isinstance(error, TimeoutError):
                raise Busy(f"no place became free within {timeout:g} s") from None
            raise

    def _leave(self, group: str) -> None:
        self._active[group] -= 1
        if not self._active[group]:
            del self._active[group]
        self._admit()

    def _remove(self, group: str, place: asyncio.Future[None]) -> None:
        waiting = self._waiting[group]
        waiting.remove(place)
        if not waiting:
            del self._waiting[group]

    def _admit(self) -> None:
        while self._waiting and self._active.total() < MAX_ACTIVE:
            group = min(self._waiting, key=lambda group: self._active[group])
            if self._active[group] >= MAX_ACTIVE_OF_GROUP:
                return
            place = self._waiting[group][0]
            self._remove(group, place)
            if not place.cancelled():  # others have given up, and have not run since
                self._active[group] += 1
                place.set_result(None)
