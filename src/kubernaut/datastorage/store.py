"""The only place that opens transactions: appending to the ledger, and reading it back.

One writer per process takes whatever requests wait, decides them together and commits them in one transaction under
the ledger's lock (group commit), so that a commit's disk flush is shared by all who wait for it. Several processes may
do this on one database; the lock puts them in a row. `append` returns when the rows are on disk, or raises.
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from uuid import UUID

import asyncpg
import structlog

from kubernaut.datastorage import chain, database, ledger, partitions, rows
from kubernaut.datastorage.config import DataStorageConfig
from kubernaut.datastorage.errors import Busy, CannotStart, DataStorageError, Unreachable
from kubernaut.datastorage.intake import Entry
from kubernaut.datastorage.ledger import Head, Outcome, Plan, Request
from kubernaut.datastorage.metrics import Metrics
from kubernaut.datastorage.migrate import require_migrated
from kubernaut.datastorage.queries import QUERIES
from kubernaut.datastorage.reading import Reader

log = structlog.get_logger("datastorage")

GROUP = 800
"""Events after which a group takes no further request."""

REMEMBERED = 100_000
"""Correlations whose newest hash is kept in memory."""

RETRIES = 3
"""Attempts after a deadlock or a serialisation failure, or after another process stored one of our events."""

PARTITIONS_EVERY = 3600.0
"""Seconds between looks whether the next months have partitions."""

_AGAIN = (asyncpg.DeadlockDetectedError, asyncpg.SerializationError, asyncpg.UniqueViolationError)


@dataclass(kw_only=True, slots=True)
class _Waiting:
    request: Request
    answer: asyncio.Future[list[Outcome]]


@dataclass(kw_only=True, slots=True)
class _Remembered:
    """What this process knows of one ledger, true as long as the head in the database is still `head`."""

    head: Head = field(default_factory=Head)
    heads: OrderedDict[str, bytes] = field(default_factory=OrderedDict)


class Store:
    """Appends in groups; see `open_store`."""

    def __init__(self, config: DataStorageConfig, reader: Reader, metrics: Metrics) -> None:
        self.read = reader
        self._config = config
        self._metrics = metrics
        self._waiting: deque[_Waiting] = deque()
        self._waiting_events = 0
        self._wake = asyncio.Event()
        self._closing = False
        self._connection: asyncpg.Connection | None = None
        self._months: set[date] = set()
        self._remembered: dict[int, _Remembered] = {}

    async def append(self, entries: Sequence[Entry], *, strict: bool = True) -> list[Outcome]:
        """Store the events and answer for each of them: None when it is on disk, or why it is not.

        A strict request stores all or nothing. Raises Busy when too much is waiting and Unreachable when PostgreSQL
        does not answer; then sending the same events again is right, because ids make it harmless.
        """
        if self._closing:
            raise Unreachable("the store is closing")
        if self._waiting and self._waiting_events + len(entries) > self._config.server.max_waiting:
            raise Busy(f"{self._waiting_events} events are waiting to be written")
        answer: asyncio.Future[list[Outcome]] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(request=Request(entries=entries, strict=strict), answer=answer))
        self._count(len(entries))
        self._wake.set()
        return await answer

    def _count(self, events: int) -> None:
        self._waiting_events += events
        self._metrics.waiting.set(self._waiting_events)

    async def _write(self) -> None:
        """Commit one group after the other until the store closes and nothing waits."""
        while self._waiting or not self._closing:
            if not self._waiting:
                self._wake.clear()
                await self._wake.wait()
                continue
            group = self._take()
            try:
                await self._serve(group)
            except BaseException:
                self._fail(group, Unreachable("the store was stopped while it wrote"))
                raise

    async def _serve(self, group: list[_Waiting]) -> None:
        """Commit a group and answer each of its requests; never raises because of them."""
        try:
            outcomes = await self._commit_or_retry([waiting.request for waiting in group])
        except (Unreachable, CannotStart) as error:
            self._fail(group, error)
            self._disconnect()
        except Exception as error:  # noqa: BLE001 - the loop outlives its groups; each request gets its answer
            self._disconnect()
            if len(group) == 1:
                log.error("a request cannot be written", error=repr(error))
                self._fail(group, error)
                return
            # What PostgreSQL refuses of one request must not stand in the way of the others.
            for waiting in group:
                await self._serve([waiting])
        else:
            for waiting, outcome in zip(group, outcomes, strict=True):
                if not waiting.answer.done():
                    waiting.answer.set_result(outcome)

    def _take(self) -> list[_Waiting]:
        group: list[_Waiting] = []
        events = 0
        while self._waiting and (not group or events + len(self._waiting[0].request.entries) <= GROUP):
            waiting = self._waiting.popleft()
            events += len(waiting.request.entries)
            group.append(waiting)
        self._count(-events)
        return group

    def _fail(self, group: list[_Waiting], error: Exception) -> None:
        for waiting in group:
            if not waiting.answer.done():
                waiting.answer.set_exception(error)

    async def _commit_or_retry(self, requests: list[Request]) -> list[list[Outcome]]:
        for attempt in range(RETRIES + 1):
            try:
                with database.translated():
                    return await self._commit(requests)
            except _AGAIN:
                if attempt == RETRIES:
                    raise
                await asyncio.sleep(0.001 * 2**attempt)
        raise AssertionError("unreachable: the last attempt returns or raises")

    async def _commit(self, requests: list[Request]) -> list[list[Outcome]]:
        connection = await self._connected()
        entries = [entry for request in requests for entry in request.entries]
        await self._ensure_months(
            connection, partitions.missing([e.event.event_timestamp for e in entries], self._months)
        )
        shards = self._by_shard(entries)
        with self._metrics.write_seconds.labels("audit_events_batch").time():
            async with connection.transaction():
                # Sorted: two groups locking the same ledgers in different orders would deadlock.
                for shard in sorted(shards):
                    await _execute(connection, "lock_ledger", shard=shard)
                plan = ledger.decide(requests, await _stored(connection, entries))
                moved = await self._append(connection, plan)
                await _keep_evidence(connection, plan)
        # Only now: a transaction that failed must leave no trace in memory either.
        for shard, remembered in moved.items():
            self._remembered[shard] = remembered
        self._metrics.group_events.observe(len(plan.new))
        return plan.outcomes

    def _by_shard(self, entries: Sequence[Entry]) -> dict[int, list[Entry]]:
        if self._config.ledger.shards == 1:
            return {0: list(entries)} if entries else {}
        shards: dict[int, list[Entry]] = {}
        for entry in entries:
            shard = chain.shard_of(entry.event.correlation_id, self._config.ledger.shards)
            shards.setdefault(shard, []).append(entry)
        return shards

    async def _append(self, connection: asyncpg.Connection, plan: Plan) -> dict[int, _Remembered]:
        moved: dict[int, _Remembered] = {}
        links: list[chain.Row] = []
        for shard, entries in sorted(self._by_shard(plan.new).items()):
            remembered = await self._current(connection, shard, {entry.event.correlation_id for entry in entries})
            added, head = ledger.extend(shard, remembered.head, remembered.heads, entries)
            links += added
            moved[shard] = _Remembered(head=head, heads=remembered.heads)
        if links:
            await connection.copy_records_to_table("audit_ledger", records=links, columns=chain.Row._fields)
            records = [rows.record(entry.event) for entry in plan.new]
            await connection.copy_records_to_table("audit_events", records=records, columns=rows.EVENT_COLUMNS)
        return moved

    async def _current(self, connection: asyncpg.Connection, shard: int, correlations: set[str]) -> _Remembered:
        """The head of a ledger and of these correlations, from memory as far as nobody else has appended."""
        row = await _row(connection, "ledger_head", shard=shard)
        head = Head(sequence=row["sequence"], link_hash=row["link_hash"]) if row else Head()
        remembered = self._remembered.pop(shard, None) or _Remembered()
        if head.sequence < remembered.head.sequence:
            log.error("the ledger was cut", shard=shard, expected=remembered.head.sequence, found=head.sequence)
        if head != remembered.head:
            remembered = _Remembered(head=head)
        unknown = sorted(correlations - remembered.heads.keys())
        if unknown and head.sequence:
            for found in await _rows(connection, "correlation_heads", correlation_ids=unknown):
                remembered.heads[found["correlation_id"]] = found["event_hash"]
        while len(remembered.heads) > REMEMBERED + len(correlations):
            remembered.heads.popitem(last=False)
        return remembered

    async def _connected(self) -> asyncpg.Connection:
        if self._connection is None or self._connection.is_closed():
            self._remembered.clear()
            self._connection = await database.connect_writer(self._config.database)
        return self._connection

    def _disconnect(self) -> None:
        # After an error the state of the connection is unknown, and of what we remember as well.
        self._remembered.clear()
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()

    async def _ensure_months(self, connection: asyncpg.Connection, months: Sequence[date]) -> None:
        for month in months:
            made = await _row(connection, "ensure_month", month=month)
            if made and made[0]:
                log.info("partition made", month=month.isoformat())
            self._months.add(month)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Write what is appended; at the end everything that waits is still written, unless PostgreSQL is gone."""
        try:
            await self._prepare()
            async with asyncio.TaskGroup() as tasks:
                writer = tasks.create_task(self._write(), name="ledger-writer")
                keeper = tasks.create_task(self._keep_partitions(), name="partitions")
                try:
                    yield
                finally:
                    self._closing = True
                    self._wake.set()
                    keeper.cancel()
                    await asyncio.wait([writer], timeout=self._config.database.statement_timeout)
                    writer.cancel()
        except BaseExceptionGroup as group:
            # What ends the block reaches its owner as it was raised.
            if len(group.exceptions) > 1:
                raise
            raise group.exceptions[0] from None
        finally:
            self._disconnect()

    async def _prepare(self) -> None:
        """Connect, check the schema and make the next months. Raises CannotStart."""
        self._connection = await database.wait_for_database(self._config.database)
        with database.translated():
            await require_migrated(self._connection)
            self._months = {row["month"] for row in await _rows(self._connection, "months")}
            months = partitions.months_ahead(datetime.now(UTC))
            await self._ensure_months(self._connection, [month for month in months if month not in self._months])

    async def _keep_partitions(self) -> None:
        """Make the next months' partitions in time, on a connection of their own, for as long as the service runs."""
        while True:
            await asyncio.sleep(PARTITIONS_EVERY)
            try:
                for month in partitions.months_ahead(datetime.now(UTC)):
                    if await self.read.ensure_month(month):
                        log.info("partition made", month=month.isoformat())
                    self._months.add(month)
            except DataStorageError as error:
                log.warning("partitions could not be made; trying again later", error=str(error))


@asynccontextmanager
async def open_store(config: DataStorageConfig, metrics: Metrics) -> AsyncIterator[Store]:
    """A store on a migrated database; at the end everything that waits is still written.

    Raises CannotStart when the database refuses us, is not migrated, or does not come up in time.
    """
    async with database.open_readers(config.database) as pool:
        store = Store(config, Reader(pool, metrics), metrics)
        async with store.running():
            yield store


async def _stored(connection: asyncpg.Connection, entries: Sequence[Entry]) -> dict[UUID, bytes]:
    ids = [entry.event.event_id for entry in entries]
    ids += [entry.event.parent_event_id for entry in entries if entry.event.parent_event_id]
    return {row[0]: row[1] for row in await _rows(connection, "stored_ids", event_ids=ids)}


async def _keep_evidence(connection: asyncpg.Connection, plan: Plan) -> None:
    for item in plan.evidence:
        event = item.entry.event
        await _execute(
            connection,
            "keep_conflict",
            received_at=item.entry.received_at,
            event_id=event.event_id,
            correlation_id=event.correlation_id,
            stored_content_hash=item.stored_content_hash,
            refused_content_hash=item.entry.content_hash,
            refused_event=chain.canonical(event).decode(),
        )


async def _execute(connection: asyncpg.Connection, name: str, **values: object) -> None:
    statement = QUERIES[name]
    await connection.execute(statement.sql, *statement.bind(**values))


async def _rows(connection: asyncpg.Connection, name: str, **values: object) -> list[asyncpg.Record]:
    statement = QUERIES[name]
    return await connection.fetch(statement.sql, *statement.bind(**values))


async def _row(connection: asyncpg.Connection, name: str, **values: object) -> asyncpg.Record | None:
    statement = QUERIES[name]
    return await connection.fetchrow(statement.sql, *statement.bind(**values))
