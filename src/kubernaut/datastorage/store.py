"""The only place that opens transactions: appending to the ledger.

A group of requests is decided together and committed in one transaction under the ledger's lock. Several processes may
do this on one database; the lock serialises them. `append` returns when the rows are on disk, or raises.

Payloads carry no hash, so they need no lock. Two writers per process use that: one writes its payloads while the other
holds the lock. This is optimistic: no event of the group is being stored by another process at the same moment. The
constraints notice when one is, and the group is written again with the lock taken first. A small group is optimistic in
all: it is written by one statement, if nobody else has appended since this process did.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import date
from uuid import UUID

import asyncpg
import structlog

from kubernaut.datastorage import (
    append_plan,
    chain,
    compare_and_swap,
    database,
    ledger_append,
    ledger_tree,
    queries,
    rows,
    settings,
)
from kubernaut.datastorage.append_plan import AppendPlan, AppendRequest, AppendResult
from kubernaut.datastorage.chain import Entry
from kubernaut.datastorage.config import DataStorageConfig
from kubernaut.datastorage.database import WRITERS, DatabaseProbe
from kubernaut.datastorage.errors import DatabaseUnavailable, DataStorageError, ParentMissing, Reason
from kubernaut.datastorage.foreign_objects import ForeignObject, ForeignObjectWatch
from kubernaut.datastorage.group_commit import Group, GroupCommit
from kubernaut.datastorage.head_cache import HeadCache, LedgerHead
from kubernaut.datastorage.ledger_verification import LedgerVerification
from kubernaut.datastorage.metrics import Metrics
from kubernaut.datastorage.migrate import require_migrated
from kubernaut.datastorage.partitions import PartitionMaintainer, is_missing_partition
from kubernaut.datastorage.reader import Reader
from kubernaut.datastorage.settings import DatabaseSettings
from kubernaut.ops import tracing
from kubernaut.ops.tasks import background

log = structlog.get_logger("datastorage")

MAX_RETRIES = 3
"""Further attempts after a deadlock, a serialisation failure, or a failed optimistic write."""

FAILURE_MEMORY = 5.0
"""Seconds that a failed append keeps the service from being ready, unless one succeeds; then it is tried again."""

PREDECESSOR_TIMEOUT = 1.0
"""Seconds that an optimistic write waits for its predecessor; longer might be a deadlock through another process."""


class OptimisticWriteFailed(Exception):
    """Writing before taking the lock was not possible; nothing was stored."""


_RETRYABLE = (
    OptimisticWriteFailed,
    asyncpg.DeadlockDetectedError,
    asyncpg.SerializationError,
    asyncpg.UniqueViolationError,
)


class Store:
    """Appends to the ledger; see `open_store`."""

    def __init__(self, config: DataStorageConfig, reader: Reader, metrics: Metrics) -> None:
        self.read = reader
        self._config = config
        self._metrics = metrics
        self._queue = GroupCommit(self._commit, config.server.max_waiting_events, metrics)
        self._connections: list[asyncpg.Connection | None] = [None] * WRITERS
        self._partitions = PartitionMaintainer(metrics)
        self._foreign_objects = ForeignObjectWatch(metrics)
        self._heads = HeadCache()
        self._probe = DatabaseProbe(config.database)
        self._failure: tuple[Reason, float] | None = None
        self._preparing = asyncio.Lock()
        self._is_prepared = False
        self.settings = DatabaseSettings(shards=config.ledger.shards, origin="")
        """Those of the configuration until PostgreSQL has answered."""

    async def append(self, entries: Sequence[Entry], *, strict: bool = True) -> list[AppendResult]:
        """Store the events. The result of each is None when it is on disk, or why it is not.

        A strict request stores all or nothing. Raises QueueFull when too much is waiting and DatabaseUnavailable when
        PostgreSQL does not answer; sending the same events again is safe, because ids make it idempotent.
        """
        with tracing.span("append group", events=len(entries)):
            request = AppendRequest(entries=entries, strict=strict, trace=tracing.current())
            return await self._queue.append(request)

    @asynccontextmanager
    async def running(self, pool: asyncpg.Pool) -> AsyncIterator[None]:
        """Write what is appended; at the end everything that waits is still written, unless PostgreSQL is gone."""
        try:
            await self._connect_at_start()
            async with AsyncExitStack() as tasks:
                await tasks.enter_async_context(background(self._partitions.run(pool), "partition-maintainer"))
                await tasks.enter_async_context(background(self._foreign_objects.run(pool), "foreign-object-watch"))
                if not self._is_prepared:
                    await tasks.enter_async_context(background(self._prepare_later(), "database-preparation"))
                writers = [
                    await tasks.enter_async_context(background(self._queue.run(writer), f"ledger-writer-{writer}"))
                    for writer in range(WRITERS)
                ]
                try:
                    yield
                finally:
                    self._queue.close()
                    await asyncio.wait(writers, timeout=self._config.database.statement_timeout)
        finally:
            self._probe.close()
            for writer in range(WRITERS):
                self._disconnect(writer)

    async def probe(self) -> Reason | None:
        """What would keep an append from succeeding now; None when nothing is known."""
        return await self._probe.obstacle()

    async def obstacle(self) -> Reason | None:
        """Why an append would fail now, or why the last one did just now; None when nothing is known."""
        obstacle = await self.probe()
        if obstacle is None and self._failure and time.monotonic() - self._failure[1] < FAILURE_MEMORY:
            return self._failure[0]
        return obstacle

    @property
    def lost_months(self) -> list[date]:
        """The months that have events in the ledger and no partition."""
        return self._partitions.lost

    @property
    def foreign_objects(self) -> Sequence[ForeignObject]:
        """What somebody else has put on our tables, as of some seconds ago."""
        return self._foreign_objects.found

    async def _connect_at_start(self) -> None:
        """The first connection. Raises CannotStart; with a dead-letter queue PostgreSQL may come later."""
        if not self._config.dead_letter_queue.is_enabled:
            self._connections[0] = connection = await database.wait_for_database(self._config.database)
            await self._prepare(connection)
            return
        try:
            await self._connected(0)
        except DatabaseUnavailable as error:
            log.warning("PostgreSQL not reachable, starting without it", error=str(error))

    async def _prepare_later(self) -> None:
        """Prepare the database as soon as it answers, whether or not somebody writes."""
        reported = ""
        while not self._is_prepared:
            await asyncio.sleep(self._config.database.connect_interval)
            try:
                connection = await database.connect_writer(self._config.database)
                try:
                    await self._prepare(connection)
                finally:
                    connection.terminate()
            except DataStorageError as error:
                if str(error) != reported:
                    log.error("PostgreSQL not usable, retrying", error=str(error))
                reported = str(error)

    async def _prepare(self, connection: asyncpg.Connection) -> None:
        """Check schema and settings, create the next partitions, give old rows a leaf. Raises CannotStart."""
        async with self._preparing:
            if self._is_prepared:
                return
            with database.translated():
                await database.require_utf8(connection)
                await require_migrated(connection)
                await self._partitions.load(connection)
                await self._partitions.ensure_ahead(connection)
                await self._foreign_objects.check(connection)
                self.settings = await settings.bind(connection, self._config.ledger)
                for shard in range(self.settings.shards):
                    await ledger_tree.build(connection, shard)
            self._is_prepared = True

    async def _connected(self, writer: int) -> asyncpg.Connection:
        connection = self._connections[writer]
        if connection is None or connection.is_closed():
            connection = await database.connect_writer(self._config.database)
            self._connections[writer] = connection
        if not self._is_prepared:
            await self._prepare(connection)
        return connection

    def _disconnect(self, writer: int) -> None:
        # After an error the state of the connection is unknown, and with it what the heads are.
        self._heads.clear()
        connection, self._connections[writer] = self._connections[writer], None
        if connection is not None:
            connection.terminate()

    async def _commit(self, writer: int, group: Group) -> list[list[AppendResult]]:
        try:
            causes = [request.trace for request in group.requests]
            with tracing.span_of(causes, "PostgreSQL commit", requests=len(causes)):
                results = await self._commit_or_retry(writer, group)
        except Exception as error:
            self._disconnect(writer)
            if isinstance(error, DataStorageError) and error.reason:
                self._failure = (error.reason, time.monotonic())
            raise
        self._failure = None
        return results

    async def _commit_or_retry(self, writer: int, group: Group) -> list[list[AppendResult]]:
        entries = [entry for request in group.requests for entry in request.entries]
        for attempt in range(MAX_RETRIES + 1):
            try:
                with database.translated():
                    connection = await self._connected(writer)
                    times = [entry.event.event_timestamp for entry in entries]
                    lost = await self._partitions.ensure(connection, times)
                    with self._metrics.commit_seconds.time():
                        is_small = len(entries) <= compare_and_swap.MAX_EVENTS
                        if attempt == 0 and is_small and not self._foreign_objects.found:
                            await group.predecessor_done.wait()
                            return await self._compare_and_swap(connection, group, entries, lost)
                        if group.is_optimistic and attempt == 0:
                            return await self._write_then_lock(connection, group, entries, lost)
                        await group.predecessor_done.wait()
                        return await self._lock_then_write(connection, group, entries, lost)
            except asyncpg.CheckViolationError as error:
                if attempt == MAX_RETRIES or not is_missing_partition(error):
                    raise
                self._partitions.forget()
            except _RETRYABLE:
                if attempt == MAX_RETRIES:
                    raise
                await asyncio.sleep(0.001 * 2**attempt)
        raise AssertionError("unreachable: the last attempt returns or raises")

    async def _compare_and_swap(
        self, connection: asyncpg.Connection, group: Group, entries: list[Entry], lost: frozenset[date]
    ) -> list[list[AppendResult]]:
        shards = self._by_shard(entries)
        head = self._heads.take_known(next(iter(shards))) if len(shards) == 1 else None
        if head is None:
            raise OptimisticWriteFailed
        (shard,) = shards
        unknown = head.unknown({entry.event.correlation_id for entry in entries})
        stored, known_heads = await compare_and_swap.read_stored(connection, _ids(entries), unknown)
        plan = append_plan.decide(group.requests, stored, lost)
        if plan.conflicts:
            raise OptimisticWriteFailed
        head.correlations.update(known_heads)
        if plan.new and not await compare_and_swap.append(connection, shard, head, plan.new):
            raise OptimisticWriteFailed
        return self._committed(plan, {shard: head})

    async def _write_then_lock(
        self, connection: asyncpg.Connection, group: Group, entries: list[Entry], lost: frozenset[date]
    ) -> list[list[AppendResult]]:
        plan = await self._plan(connection, group, entries, lost)
        if any(isinstance(result, ParentMissing) for results in plan.results for result in results):
            # The parent may be in the group before this one.
            raise OptimisticWriteFailed
        async with connection.transaction():
            await _write_payloads(connection, plan)
            try:
                await asyncio.wait_for(group.predecessor_done.wait(), PREDECESSOR_TIMEOUT)
            except TimeoutError:
                raise OptimisticWriteFailed from None
            await self._lock(connection, plan.new)
            appended = await ledger_append.append(connection, self._by_shard(plan.new), self._heads)
            await _write_conflicts(connection, plan)
            await ledger_append.require_as_sent(connection, appended, plan.new)
        return self._committed(plan, appended.heads)

    async def _lock_then_write(
        self, connection: asyncpg.Connection, group: Group, entries: list[Entry], lost: frozenset[date]
    ) -> list[list[AppendResult]]:
        async with connection.transaction():
            await self._lock(connection, entries)
            plan = await self._plan(connection, group, entries, lost)
            appended = await ledger_append.append(connection, self._by_shard(plan.new), self._heads)
            await _write_payloads(connection, plan)
            await _write_conflicts(connection, plan)
            await ledger_append.require_as_sent(connection, appended, plan.new)
        return self._committed(plan, appended.heads)

    async def _plan(
        self, connection: asyncpg.Connection, group: Group, entries: list[Entry], lost: frozenset[date]
    ) -> AppendPlan:
        plan = append_plan.decide(group.requests, await _stored(connection, entries), lost)
        if plan.conflicts:
            events = [conflict.event for conflict in plan.conflicts]
            recorded = await _stored(connection, events)
            lost = await self._partitions.ensure(connection, [entry.event.event_timestamp for entry in events])
            plan.add_conflicts(recorded, lost)
        return plan

    async def _lock(self, connection: asyncpg.Connection, entries: Sequence[Entry]) -> None:
        # Sorted: two groups locking the same ledgers in different orders would deadlock.
        for shard in sorted(self._by_shard(entries)):
            await queries.execute(connection, "lock_ledger", shard=shard)

    def _committed(self, plan: AppendPlan, heads: dict[int, LedgerHead]) -> list[list[AppendResult]]:
        # Only now: a transaction that failed must leave no trace in memory either.
        self._heads.update(heads)
        self._metrics.group_events.observe(len(plan.new))
        return plan.results

    def _by_shard(self, entries: Sequence[Entry]) -> dict[int, list[Entry]]:
        if self._config.ledger.shards == 1:
            return {0: list(entries)} if entries else {}
        shards: dict[int, list[Entry]] = {}
        for entry in entries:
            shard = chain.shard_of(entry.event.correlation_id, self._config.ledger.shards)
            shards.setdefault(shard, []).append(entry)
        return shards


@asynccontextmanager
async def open_store(config: DataStorageConfig, metrics: Metrics) -> AsyncIterator[Store]:
    """A store on a migrated database; at the end everything that waits is still written.

    Raises CannotStart when PostgreSQL rejects the connection, is not migrated, or is not ready in time.
    """
    async with database.open_readers(config.database) as pool:
        verification = LedgerVerification(config.database, config.verification.processes)
        store = Store(config, Reader(pool, metrics, verification), metrics)
        async with store.running(pool):
            yield store


def _ids(entries: Sequence[Entry]) -> list[UUID]:
    """The events that a group names or refers to."""
    ids = [entry.event.event_id for entry in entries]
    return ids + [entry.event.parent_event_id for entry in entries if entry.event.parent_event_id]


async def _stored(connection: asyncpg.Connection, entries: Sequence[Entry]) -> dict[UUID, bytes]:
    return {row[0]: row[1] for row in await queries.fetch(connection, "stored_ids", event_ids=_ids(entries))}


async def _write_payloads(connection: asyncpg.Connection, plan: AppendPlan) -> None:
    if plan.new:
        records = [rows.record(entry.event) for entry in plan.new]
        await queries.copy(connection, "audit_events", rows.EVENT_COLUMNS, records)


async def _write_conflicts(connection: asyncpg.Connection, plan: AppendPlan) -> None:
    for conflict in plan.conflicts:
        event = conflict.entry.event
        await queries.store(
            connection,
            "keep_conflict",
            received_at=conflict.entry.received_at,
            event_id=event.event_id,
            correlation_id=event.correlation_id,
            stored_content_hash=conflict.stored_content_hash,
            refused_content_hash=conflict.entry.content_hash,
            refused_event=chain.canonical(event).decode(),
        )
