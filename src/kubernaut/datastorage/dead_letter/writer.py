"""Where admitted events go: into PostgreSQL, or into the queue while it is unavailable.

Once the queue holds an event, every later one goes through the queue too, in every process, until it is empty: so the
events of a correlation stay in the order in which they were acknowledged. The queue is looked at before each direct
write, and holds an event until it is committed. While it is being drained requests wait for its end, because otherwise
writers that are faster than the drain would keep it full for ever.

Without Valkey writes go on, unless this process has seen events in the queue, or the client says that earlier events of
its own were queued: they must be stored first.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import structlog
from prometheus_client import CollectorRegistry

from kubernaut.datastorage.append_plan import AppendResult
from kubernaut.datastorage.chain import Entry
from kubernaut.datastorage.dead_letter.config import DeadLetterConfig
from kubernaut.datastorage.dead_letter.drain import Drain
from kubernaut.datastorage.dead_letter.errors import NotDurable, QueueUnavailable
from kubernaut.datastorage.dead_letter.metrics import DeadLetterMetrics
from kubernaut.datastorage.dead_letter.queue import DeadLetterQueue
from kubernaut.datastorage.dead_letter.seals import Seals
from kubernaut.datastorage.dead_letter.stream import open_stream
from kubernaut.datastorage.errors import CannotStart, DatabaseUnavailable, Reason
from kubernaut.datastorage.signing_keys import SigningKeys
from kubernaut.datastorage.store import Store
from kubernaut.ops.tasks import background

log = structlog.get_logger("datastorage")

DRAIN_POLL_INTERVAL = 0.02
"""Seconds between looks at a queue that another process may be draining."""

MIN_DIRECT_TIMEOUT = 1.0
"""Seconds that PostgreSQL gets even if waiting for the queue has taken up the time."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Acceptance:
    """What became of the events of one request."""

    results: Sequence[AppendResult]
    is_queued: bool = False
    """They are on disk in the queue; whether PostgreSQL takes each of them will turn out later."""


class Writer:
    """The way into the ledger for requests."""

    def __init__(self, store: Store, queue: DeadLetterQueue | None, write_timeout: float) -> None:
        self._store = store
        self._queue = queue
        self._write_timeout = write_timeout

    @property
    def queue_problem(self) -> str | None:
        """Why the queue cannot take events, or None when it can or there is none."""
        return self._queue.unavailable if self._queue else None

    @property
    def has_queue(self) -> bool:
        """Whether events can be acknowledged without PostgreSQL."""
        return self._queue is not None and self._queue.unavailable is None

    async def append(self, entries: Sequence[Entry], *, strict: bool = True, after_queued: bool = False) -> Acceptance:
        """Return when the events are on disk, here or there. Raises DataStorageError when they are nowhere.

        After events that were queued, perhaps by another process, nothing is written unless the queue can be looked at.
        Sending the same events again is safe, because ids make it idempotent.
        """
        if self._queue is None:
            return Acceptance(results=await self._store.append(entries, strict=strict))
        deadline = asyncio.get_running_loop().time() + self._write_timeout
        unavailable: Exception | None = None
        if await self._may_write_directly(self._queue, deadline, after_queued=after_queued):
            try:
                remaining = deadline - asyncio.get_running_loop().time()
                async with asyncio.timeout(max(remaining, MIN_DIRECT_TIMEOUT)):
                    return Acceptance(results=await self._store.append(entries, strict=strict))
            except (DatabaseUnavailable, CannotStart) as error:
                unavailable = error
            except TimeoutError:
                unavailable = DatabaseUnavailable(
                    f"PostgreSQL took longer than {self._write_timeout:g} s", Reason.TIMEOUT
                )
        if unavailable and not self._queue.may_hold_events:
            log.warning("PostgreSQL unavailable, queueing events", error=str(unavailable))
        try:
            await self._queue.enqueue(entries)
        except (QueueUnavailable, NotDurable) as error:
            raise (unavailable or error) from error
        return Acceptance(results=[None] * len(entries), is_queued=True)

    async def _may_write_directly(self, queue: DeadLetterQueue, deadline: float, *, after_queued: bool) -> bool:
        while True:
            try:
                state = await queue.state()
            except QueueUnavailable:
                if queue.may_hold_events or after_queued:
                    raise
                return True
            if not state.depth:
                return True
            if not state.is_draining or asyncio.get_running_loop().time() > deadline:
                return False
            # The process that drains may be another one, which has no other way to tell us.
            await asyncio.sleep(DRAIN_POLL_INTERVAL)


@asynccontextmanager
async def open_writer(
    store: Store, config: DeadLetterConfig, keys: SigningKeys, registry: CollectorRegistry
) -> AsyncIterator[Writer]:
    """The writer with its queue and drain; at the end the queue is drained for at most `drain_timeout`.

    Raises NotDurable. A Valkey that does not answer is waited for while the service runs.
    """
    if not config.is_enabled:
        yield Writer(store, None, config.write_timeout)
        return
    metrics = DeadLetterMetrics(registry)
    async with AsyncExitStack() as stack:
        stream = await stack.enter_async_context(open_stream(config))
        queue = DeadLetterQueue(stream, Seals(keys), config, metrics)
        try:
            await queue.look()
        except QueueUnavailable:
            log.warning("dead-letter queue not reachable, starting without it", host=config.host, port=config.port)
        drain = Drain(store, queue, config, metrics)
        await stack.enter_async_context(background(queue.run(), "dead-letter-queue-state"))
        draining = await stack.enter_async_context(background(drain.run(), "dead-letter-queue-drain"))
        try:
            yield Writer(store, queue, config.write_timeout)
        finally:
            drain.close()
            await asyncio.wait([draining], timeout=config.drain_timeout)
