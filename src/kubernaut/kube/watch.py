"""All changes of a kind, for ever: list once, then watch from there.

A watch ends often, and mostly that means nothing. When it ends by itself or its connection breaks, it goes on from the
last resourceVersion it saw; bookmarks keep that fresh while nothing happens. When the server no longer keeps that much
history (410 Gone), everything is listed again and compared with what was known, so that whatever vanished meanwhile is
reported as deleted; a watch begun anew would never tell.

A watch that says nothing at all may be a connection that died without a word, so silence has a limit too.

An outage is logged once when it begins and once when it ends, however many attempts lie between.
"""

import asyncio
import random
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, NamedTuple, TypeVar

import structlog

from kubernaut.kube.client import EVERYTHING, Client, Selection
from kubernaut.kube.errors import Gone, KubeError, Silent, Throttled, Unreachable
from kubernaut.kube.objects import Key, Kind, KubeObject, is_older, key_of
from kubernaut.kube.wire import Listing
from kubernaut.ops.backoff import Backoff

O = TypeVar("O", bound=KubeObject)  # noqa: E741 - an object
log = structlog.get_logger("kube")


class ChangeType(StrEnum):
    ADDED = "ADDED"
    MODIFIED = "MODIFIED"
    DELETED = "DELETED"
    SYNCED = "SYNCED"
    """Everything that existed when we began has been reported; comes once."""


class Change(NamedTuple, Generic[O]):
    type: ChangeType
    object: O | None
    """The new state, or the last known one of what was deleted; None only for SYNCED."""


@dataclass(frozen=True, kw_only=True)
class WatchConfig:
    lasts: float = 300.0  # seconds
    """How long one watch request may last; the server ends it then, and the next one goes on."""
    silence: float = 75.0  # seconds
    """Without a word for that long a watch counts as broken. Servers send bookmarks each minute."""
    backoff: Backoff = Backoff(initial_delay=0.5, max_delay=30.0, jitter=0.25)  # noqa: RUF009 - it is frozen


async def changes(
    client: Client,
    kind: Kind[O],
    selection: Selection = EVERYTHING,
    config: WatchConfig = WatchConfig(),
    narrow: Callable[[O], O] | None = None,
) -> AsyncGenerator[Change[O], None]:
    """Every change of the selected objects, none lost and none out of order; never ends and never raises `KubeError`.

    The last state of each object, after `narrow`, is held as long as the generator lives. Close it with `aclosing`.
    """
    follower = _Follower(client, kind, selection, config, narrow)
    while True:
        try:
            async with aclosing(follower.advance()) as found:
                async for change in found:
                    yield change
        except Gone:
            follower.start_over()
        except Silent:
            follower.silent()
        except KubeError as error:
            follower.failed(error)
        await follower.pause()


class _Follower(Generic[O]):
    """How far the changes of one kind were followed."""

    def __init__(
        self,
        client: Client,
        kind: Kind[O],
        selection: Selection,
        config: WatchConfig,
        narrow: Callable[[O], O] | None,
    ) -> None:
        self._client = client
        self._kind = kind
        self._selection = selection
        self._config = config
        self._narrow = narrow or (lambda obj: obj)
        self._known: dict[Key, O] = {}
        self._since = ""
        """Where to go on; empty when everything must be listed."""
        self._newest = ""
        self._synced = False
        self._failures = 0
        self._retry_after = 0.0
        self._log = log.bind(kind=str(kind), namespace=selection.namespace or None)
        self._out_since: float | None = None
        self._began: float | None = None
        """When the current watch was agreed to."""

    async def advance(self) -> AsyncGenerator[Change[O], None]:
        """One list if need be, then one watch until it ends."""
        if not self._since:
            listing = await self._client.list(self._kind, self._selection)
            for change in self._compare(listing):
                yield change
            self._since = listing.resource_version
            if not self._synced:
                self._synced = True
                yield Change(ChangeType.SYNCED, None)
        # Spread, so that the watches of many processes do not all end at once.
        lasts = self._config.lasts * random.uniform(0.8, 1.0)  # noqa: S311
        watch = self._client.watch(self._kind, self._since, self._selection, lasts=lasts, silence=self._config.silence)
        async with aclosing(watch) as events:
            async for event in events:
                if self._began is None:
                    self._connected()
                else:
                    self._failures = 0
                if event.object is not None:
                    yield self._apply(event.type, event.object)
                if event.resource_version:
                    self._since = self._newest = event.resource_version
        if not self._was_healthy(for_at_least=min(1.0, lasts / 2)):
            raise Unreachable(f"WATCH {self._kind.collection(self._selection.namespace)}: ended at once")
        self._began = None
        self._failures = 0

    def start_over(self) -> None:
        """History is gone: list again, at once if that is the first time."""
        self._log.info("history is gone, listing again", since=self._since or None)
        self._since = ""
        self._count(0.0)

    def silent(self) -> None:
        """Nothing was heard for long. A quiet cluster looks the same as a dead connection: ask again, at once."""
        self._log.debug("watch was silent, going on with a new one", since=self._since)
        self._began = None

    def failed(self, error: KubeError) -> None:
        if self._out_since is None:
            self._out_since = time.monotonic()
            self._log.warning("lost the API server", error=str(error), synced=self._synced)
        else:
            self._log.debug("still without the API server", error=str(error))
        if not isinstance(error, Unreachable | Throttled):
            self._since = ""  # The server refuses to go on from here, so a fresh list is the only way forward.
        self._count(error.retry_after or 0.0)

    async def pause(self) -> None:
        if self._failures == 0 or (self._failures == 1 and self._out_since is None):
            return
        delay = self._config.backoff.delay(self._failures)
        await asyncio.sleep(max(delay, min(self._retry_after, self._config.backoff.max_delay)))

    def _connected(self) -> None:
        self._began = time.monotonic()
        if self._out_since is not None:
            seconds = round(time.monotonic() - self._out_since, 3)
            self._log.info("the API server is back", seconds=seconds, attempts=self._failures)
            self._out_since = None

    def _was_healthy(self, for_at_least: float) -> bool:
        # A watch that is agreed to and ends at once is a failure in disguise; without this it were a hot loop.
        return self._began is not None and time.monotonic() - self._began >= for_at_least

    def _count(self, retry_after: float) -> None:
        self._failures = 1 if self._was_healthy(for_at_least=10.0) else self._failures + 1
        self._began = None
        self._retry_after = retry_after

    def _apply(self, event_type: str, found: O) -> Change[O]:
        obj = self._narrow(found)
        key = key_of(obj)
        if event_type == "DELETED":
            self._known.pop(key, None)
            return Change(ChangeType.DELETED, obj)
        known = key in self._known
        self._known[key] = obj
        return Change(ChangeType.MODIFIED if known else ChangeType.ADDED, obj)

    def _compare(self, listing: Listing[O]) -> list[Change[O]]:
        """What must have happened between what is known and what is there now."""
        if self._newest and is_older(listing.resource_version, self._newest):
            # Only a server restored from a backup goes back; nothing that was known about it holds.
            self._log.error(
                "the API server went back in time, starting from nothing",
                known=self._newest,
                now=listing.resource_version,
            )
            found: list[Change[O]] = [Change(ChangeType.DELETED, obj) for obj in self._known.values()]
            self._known.clear()
        else:
            found = []
        present = {key_of(obj): obj for obj in map(self._narrow, listing.items)}
        found += [Change(ChangeType.DELETED, old) for key, old in self._known.items() if key not in present]
        for key, new in present.items():
            old = self._known.get(key)
            if old is None:
                found.append(Change(ChangeType.ADDED, new))
            elif old.metadata.uid != new.metadata.uid:
                found += [Change(ChangeType.DELETED, old), Change(ChangeType.ADDED, new)]
            elif old.metadata.resource_version != new.metadata.resource_version:
                found.append(Change(ChangeType.MODIFIED, new))
        self._known = present
        self._newest = listing.resource_version
        return found
