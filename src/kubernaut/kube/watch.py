"""List and watch of one kind, for ever: a reflector in the words of client-go.

A watch ends often, and mostly that means nothing. When it ends by itself or its connection breaks, it is resumed from
the last resourceVersion; bookmarks keep that fresh while nothing changes. When that resourceVersion has expired
(410 Gone), everything is listed again and compared with the store, so that whatever vanished meanwhile is reported as
deleted; a watch begun anew would never tell.

A watch on which nothing arrives may be a dead connection, hence the idle timeout.

An outage is logged once when it begins and once when it ends, for all watches of a client together.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Generic, NamedTuple, TypeVar

import structlog

from kubernaut.kube.client import EVERYTHING, Client, ListOptions
from kubernaut.kube.errors import ApiServerUnreachable, Gone, IdleTimeout, KubeError, ServerError, TooManyRequests
from kubernaut.kube.objects import Key, Kind, KubeObject, is_older, key_of
from kubernaut.kube.wire import ObjectList
from kubernaut.ops.backoff import Backoff, spread

O = TypeVar("O", bound=KubeObject)  # noqa: E741 - an object
log = structlog.get_logger("kube")


class DeltaType(StrEnum):
    ADDED = "ADDED"
    MODIFIED = "MODIFIED"
    DELETED = "DELETED"
    SYNCED = "SYNCED"
    """Everything in the first list has been reported; comes once."""


class Delta(NamedTuple, Generic[O]):
    """One change of one object."""

    type: DeltaType
    object: O | None
    """The new state, or the last known one of a deleted object; None only for SYNCED."""


@dataclass(frozen=True, kw_only=True)
class WatchConfig:
    timeout: float = 300.0  # seconds
    """For one watch request: the server ends it then, and the next one resumes."""
    idle_timeout: float = 75.0  # seconds
    """A watch on which nothing arrives for so long counts as broken. Servers send a bookmark each minute."""
    backoff: Backoff = Backoff(initial_delay=0.5, max_delay=30.0, jitter=0.25)  # noqa: RUF009 - it is frozen


async def list_and_watch(
    client: Client,
    kind: Kind[O],
    options: ListOptions = EVERYTHING,
    config: WatchConfig = WatchConfig(),
    transform: Callable[[O], O] | None = None,
) -> AsyncGenerator[Delta[O], None]:
    """Every change of the selected objects, none lost and none out of order; never ends and never raises `KubeError`.

    The last state of each object, after `transform`, is held as long as the generator lives. Close it with `aclosing`.
    """
    reflector = Reflector(client, kind, options, config, transform)
    while True:
        try:
            async with aclosing(reflector.run_once()) as deltas:
                async for delta in deltas:
                    yield delta
        except Gone:
            reflector.expire()
        except IdleTimeout:
            reflector.idle_timed_out()
        except KubeError as error:
            reflector.fail(error)
        await reflector.back_off()


def watch_name(kind: Kind[Any], options: ListOptions) -> str:
    """Names a list and watch in logs, metrics and readiness reports."""
    return f"{kind} in {options.namespace}" if options.namespace else str(kind)


class Reflector(Generic[O]):
    """The state of one list-and-watch: last known objects, resourceVersion and failures in a row."""

    def __init__(
        self,
        client: Client,
        kind: Kind[O],
        options: ListOptions,
        config: WatchConfig,
        transform: Callable[[O], O] | None,
    ) -> None:
        self._client = client
        self._kind = kind
        self._options = options
        self._config = config
        self._transform = transform or (lambda obj: obj)
        self._store: dict[Key, O] = {}
        self._resume_from = ""
        """The resourceVersion to watch from; empty when everything must be listed."""
        self._last_resource_version = ""
        self._synced = False
        self._failures = 0
        self._retry_after = 0.0
        self._log = log.bind(kind=str(kind), namespace=options.namespace or None)
        self._is_failing = False
        self._name = watch_name(kind, options)
        self._reachability = client.reachability
        self._watch_opened_at: float | None = None

    async def run_once(self) -> AsyncGenerator[Delta[O], None]:
        """One list if need be, then one watch until it ends."""
        if not self._resume_from:
            listed = await self._client.list(self._kind, self._options)
            self._reachability.heard(self._name)
            for delta in self._replace(listed):
                yield delta
            self._resume_from = listed.resource_version
            if not self._synced:
                self._synced = True
                yield Delta(DeltaType.SYNCED, None)
        # Spread, so that the watches of many processes do not all end at once.
        timeout = self._config.timeout * spread(0.8, 1.0)
        watch = self._client.watch(
            self._kind, self._resume_from, self._options, timeout=timeout, idle_timeout=self._config.idle_timeout
        )
        async with aclosing(watch) as events:
            async for event in events:
                self._reachability.heard(self._name)
                if self._watch_opened_at is None:
                    self._watch_opened_at = time.monotonic()
                    self._is_failing = False
                else:
                    self._failures = 0
                if event.object is not None:
                    yield self._apply(event.type, event.object)
                if event.resource_version:
                    self._resume_from = self._last_resource_version = event.resource_version
        if not self._was_open(for_at_least=min(1.0, timeout / 2)):
            raise ApiServerUnreachable(f"WATCH {self._kind.collection(self._options.namespace)}: closed immediately")
        self._watch_opened_at = None
        self._failures = 0

    def expire(self) -> None:
        """The resourceVersion has expired: list again, at once if that is the first time."""
        self._log.info("resourceVersion expired, relisting", resource_version=self._resume_from or None)
        self._resume_from = ""
        self._count_failure(0.0)

    def idle_timed_out(self) -> None:
        """Nothing arrived. An idle cluster looks the same as a dead connection: open a new watch, at once."""
        self._log.debug("watch idle timeout, reconnecting", resource_version=self._resume_from)
        self._watch_opened_at = None

    def fail(self, error: KubeError) -> None:
        self._is_failing = True
        if isinstance(error, ApiServerUnreachable | ServerError):
            self._reachability.failed(self._name, str(error))
        else:
            self._reachability.rejected(self._name, str(error))
        self._log.debug("list or watch failed", error=str(error), synced=self._synced)
        if not isinstance(error, ApiServerUnreachable | TooManyRequests):
            self._resume_from = ""  # The server rejects this watch, so a fresh list is the only way forward.
        self._count_failure(error.retry_after or 0.0)

    async def back_off(self) -> None:
        if self._failures == 0 or (self._failures == 1 and not self._is_failing):
            return
        delay = self._config.backoff.delay(self._failures)
        await asyncio.sleep(max(delay, min(self._retry_after, self._config.backoff.max_delay)))

    def _was_open(self, for_at_least: float) -> bool:
        # A watch that is accepted and closed at once is a failure in disguise; without this it were a hot loop.
        return self._watch_opened_at is not None and time.monotonic() - self._watch_opened_at >= for_at_least

    def _count_failure(self, retry_after: float) -> None:
        self._failures = 1 if self._was_open(for_at_least=10.0) else self._failures + 1
        self._watch_opened_at = None
        self._retry_after = retry_after

    def _apply(self, event_type: str, received: O) -> Delta[O]:
        obj = self._transform(received)
        key = key_of(obj)
        if event_type == "DELETED":
            self._store.pop(key, None)
            return Delta(DeltaType.DELETED, obj)
        is_known = key in self._store
        self._store[key] = obj
        return Delta(DeltaType.MODIFIED if is_known else DeltaType.ADDED, obj)

    def _replace(self, listed: ObjectList[O]) -> list[Delta[O]]:
        """Replace the store by a list; returns what must have changed in between."""
        deltas: list[Delta[O]] = []
        if self._last_resource_version and is_older(listed.resource_version, self._last_resource_version):
            # Only a server restored from a backup goes back; nothing that was known about it holds.
            self._log.error(
                "resourceVersion went backwards, dropping all known objects",
                last=self._last_resource_version,
                listed=listed.resource_version,
            )
            deltas += [Delta(DeltaType.DELETED, obj) for obj in self._store.values()]
            self._store.clear()
        present = {key_of(obj): obj for obj in map(self._transform, listed.items)}
        deltas += [Delta(DeltaType.DELETED, old) for key, old in self._store.items() if key not in present]
        for key, new in present.items():
            old = self._store.get(key)
            if old is None:
                deltas.append(Delta(DeltaType.ADDED, new))
            elif old.metadata.uid != new.metadata.uid:
                deltas += [Delta(DeltaType.DELETED, old), Delta(DeltaType.ADDED, new)]
            elif old.metadata.resource_version != new.metadata.resource_version:
                deltas.append(Delta(DeltaType.MODIFIED, new))
        self._store = present
        self._last_resource_version = listed.resource_version
        return deltas
