"""Moves the queue into PostgreSQL: in order, one group after the other, as soon as PostgreSQL answers.

A group is what stands at the head of the stream. It is committed, then deleted; after a crash in between it is
committed again, which the ids make harmless. Of several processes one drains, under a lock that expires. Order does not
depend on that lock: whoever reads the head has everything before it committed, also a process that wakes up late.

What PostgreSQL can never take must not hold up the rest: it goes to the dead letters, with the reason. An event whose
parent is missing is tried once more behind everything that is in the queue.
"""

import asyncio
import uuid
from dataclasses import dataclass

import asyncpg
import structlog

from kubernaut.datastorage.chain import Entry
from kubernaut.datastorage.dead_letter import messages
from kubernaut.datastorage.dead_letter.config import DeadLetterConfig
from kubernaut.datastorage.dead_letter.messages import InvalidMessage, Message
from kubernaut.datastorage.dead_letter.metrics import DeadLetterMetrics
from kubernaut.datastorage.dead_letter.queue import DeadLetterQueue
from kubernaut.datastorage.dead_letter.stream import QueuedMessage
from kubernaut.datastorage.errors import DatabaseUnavailable, EventConflict, ParentMissing, PartitionMissing
from kubernaut.datastorage.group_commit import MAX_GROUP_EVENTS
from kubernaut.datastorage.store import Store

log = structlog.get_logger("datastorage")

MAX_PARENT_RETRIES = 1
"""Further attempts for an event whose parent is missing."""

MAX_ATTEMPTS_AT_SHUTDOWN = 2
"""The first one may find a connection that was lost long ago."""

_REJECTED = (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError, asyncpg.ProgramLimitExceededError)
"""What PostgreSQL says of one event that it can never store."""

Rejection = asyncpg.PostgresError | EventConflict | ParentMissing | PartitionMissing


@dataclass(frozen=True, kw_only=True, slots=True)
class _Decoded:
    queued: QueuedMessage
    message: Message
    entry: Entry


class Drain:
    """The worker of one process."""

    def __init__(
        self, store: Store, queue: DeadLetterQueue, config: DeadLetterConfig, metrics: DeadLetterMetrics
    ) -> None:
        self._store = store
        self._queue = queue
        self._stream = queue.stream
        self._config = config
        self._metrics = metrics
        self._token = uuid.uuid4().hex
        self._wake = asyncio.Event()
        self._is_closing = False
        self._outage: str | None = None

    def close(self) -> None:
        """Drain what the queue holds, as far as PostgreSQL answers; then `run` ends."""
        self._is_closing = True
        self._wake.set()

    async def run(self) -> None:
        """Watch the queue, and drain it whenever it holds events."""
        attempts_at_shutdown = 0
        while True:
            try:
                drained = await self._drain()
                self._outage = None
            except Exception as error:  # noqa: BLE001 - the loop outlives its groups, and the queue keeps their events
                self._note_outage(error)
                drained = False
            if self._is_closing:
                attempts_at_shutdown += 1
                if not drained and attempts_at_shutdown < MAX_ATTEMPTS_AT_SHUTDOWN:
                    continue
                if not drained:
                    self._metrics.shutdown_errors.inc()
                    log.warning("dead-letter queue not empty at shutdown, its events wait for the next start")
                return
            try:
                await asyncio.wait_for(self._wake.wait(), self._config.retry_interval)
            except TimeoutError:
                continue

    async def _drain(self) -> bool:
        """False when the queue still holds events and no process drains it."""
        state = await self._queue.look()
        if not state.depth:
            return True
        if reason := await self._store.probe():
            raise DatabaseUnavailable(f"PostgreSQL takes no writes: {reason}", reason)
        if not await self._stream.acquire_lock(self._token):
            return True
        moved = 0
        try:
            while True:
                queued = await self._stream.head(state, MAX_GROUP_EVENTS)
                if not queued:
                    break
                moved += await self._move(queued)
                if not await self._stream.extend_lock(self._token):
                    return True
                state = await self._queue.look()
            log.info("dead-letter queue drained", events=moved)
            return True
        finally:
            await self._stream.release_lock(self._token)

    async def _move(self, queued: list[QueuedMessage]) -> int:
        """Store one group and settle each of its entries; how many are stored."""
        decoded: list[_Decoded] = []
        for each in queued:
            try:
                message = messages.decode(each.message)
                self._queue.seals.check(message)
                decoded.append(_Decoded(queued=each, message=message, entry=message.entry()))
            except InvalidMessage as error:
                await self._give_up(each, f"invalid message: {error}", 0, "invalid")
        results = await self._append([item.entry for item in decoded])
        stored = [item.queued for item, result in zip(decoded, results, strict=True) if result is None]
        await self._stream.remove(stored)
        self._metrics.drained.inc(len(stored))
        self._metrics.drain_batches.inc()
        for item, result in zip(decoded, results, strict=True):
            if result is not None:
                await self._settle_rejected(item, result)
        return len(stored)

    async def _append(self, entries: list[Entry]) -> list[Rejection | None]:
        """The result of each event. Raises what is no fault of a single event."""
        if not entries:
            return []
        try:
            return list[Rejection | None](await self._store.append(entries, strict=False))
        except _REJECTED as error:
            if len(entries) == 1:
                return [error]
            results: list[Rejection | None] = []
            for entry in entries:
                results += await self._append([entry])
            return results

    async def _settle_rejected(self, item: _Decoded, result: Rejection) -> None:
        if isinstance(result, ParentMissing) and item.message.retry_count < MAX_PARENT_RETRIES:
            await self._stream.requeue(item.queued, messages.retried(item.message, _reason(result)))
            return
        kind = "conflict" if isinstance(result, EventConflict) else "rejected"
        kind = "parent_missing" if isinstance(result, ParentMissing) else kind
        kind = "partition_missing" if isinstance(result, PartitionMissing) else kind
        await self._give_up(item.queued, _reason(result), item.message.retry_count, kind)

    async def _give_up(self, queued: QueuedMessage, reason: str, retry_count: int, kind: str) -> None:
        await self._stream.give_up(queued, reason, retry_count)
        self._metrics.moved_to_dead_letters.labels(kind).inc()
        log.error("event moved to dead letters", id=queued.id, reason=reason)

    def _note_outage(self, error: Exception) -> None:
        if self._outage is None and not self._queue.unavailable:
            log.warning("draining failed, retrying", retry_interval=self._config.retry_interval, error=str(error))
        self._outage = str(error)


def _reason(result: Rejection) -> str:
    if isinstance(result, EventConflict):
        return f"event {result.event_id} is stored with other content"
    if isinstance(result, ParentMissing):
        return f"parent event {result.parent} does not exist"
    if isinstance(result, PartitionMissing):
        return f"the partition {result.partition} is missing; attach it, and replay the event"
    return f"PostgreSQL rejected the event: {result}"
