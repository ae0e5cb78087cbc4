"""The only place that opens transactions: appending to the ledger, and reading it back.

A writer takes whatever requests wait, decides them together and commits them in one transaction under the ledger's
lock (group commit), so that a commit's disk flush is shared by all who wait for it. Several processes may do this on
one database; the lock puts them in a row. `append` returns when the rows are on disk, or raises.

Payloads carry no hash, so they need no lock. Two lanes per process use that: one fills its payloads in while the other
holds the lock. This is a bet that no event of the group is being stored by somebody else at the same moment; the
constraints notice a lost bet, and the group is done again with the lock taken first.
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
from kubernaut.datastorage.errors import CannotStart, DatabaseUnavailable, DataStorageError, ParentMissing, QueueFull
from kubernaut.datastorage.intake import Entry
from kubernaut.datastorage.ledger import Head, Outcome, Plan, Request
from kubernaut.datastorage.metrics import Metrics
from kubernaut.datastorage.migrate import require_migrated
from kubernaut.datastorage.queries import QUERIES
from kubernaut.datastorage.reader import Reader

log = structlog.get_logger("datastorage")

GROUP = 800
"""Events after which a group takes no further request."""

WORTH_A_LANE = 400
"""Events that must wait before a second group is written beside the first."""

REMEMBERED = 100_000
"""Correlations whose newest hash is kept in memory."""

RETRIES = 3
"""Attempts after a deadlock or a serialisation failure, or after another process stored one of our events."""

PARTITIONS_EVERY = 3600.0
"""Seconds between looks whether the next months have partitions."""

LANES = database.WRITERS
"""Groups that one process writes at a time; one connection each."""

TURN = 1.0
"""Seconds that a filled-in group waits for the one before it; longer might be a deadlock through another process."""


class _LostBet(Exception):
    """Filling in before taking the lock did not work out; nothing was stored."""


_AGAIN = (_LostBet, asyncpg.DeadlockDetectedError, asyncpg.SerializationError, asyncpg.UniqueViolationError)


@dataclass(kw_only=True, slots=True)
class _Waiting:
    request: Request
    answer: asyncio.Future[list[Outcome]]


@dataclass(kw_only=True, slots=True, eq=False)
class _Group:
    """Requests that are written together."""

    waiting: list[_Waiting]
    ids: set[int]
    before: asyncio.Event
    """Set when the group before this one is done; the ledger is appended to in that order."""

    bet: bool
    """Whether to fill in before taking the lock."""

    done: asyncio.Event = field(default_factory=asyncio.Event)


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
        self._connections: list[asyncpg.Connection | None] = [None] * LANES
        self._writing: set[_Group] = set()
        self._last = asyncio.Event()
        self._last.set()
        self._months: set[date] = set()
        self._remembered: dict[int, _Remembered] = {}

    async def append(self, entries: Sequence[Entry], *, strict: bool = True) -> list[Outcome]:
        """Store the events and answer for each of them: None when it is on disk, or why it is not.

        A strict request stores all or nothing. Raises QueueFull when too much is waiting and DatabaseUnavailable when
        PostgreSQL does not answer; then sending the same events again is right, because ids make it harmless.
        """
        if self._closing:
            raise DatabaseUnavailable("the store is closing")
        if self._waiting and self._waiting_events + len(entries) > self._config.server.max_waiting_events:
            raise QueueFull(f"{self._waiting_events} events are waiting to be written")
        answer: asyncio.Future[list[Outcome]] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(request=Request(entries=entries, strict=strict), answer=answer))
        self._count(len(entries))
        self._wake.set()
        return await answer

    def _count(self, events: int) -> None:
        self._waiting_events += events
        self._metrics.waiting.set(self._waiting_events)

    async def _write(self, lane: int) -> None:
        """Commit one group after the other until the store closes and nothing waits."""
        while self._waiting or not self._closing:
            # Beside a group that is being written another one pays only when it is a large one; a small one would
            # cost a commit of its own, and the requests behind it would wait for two.
            if not self._waiting or (self._writing and self._waiting_events < WORTH_A_LANE):
                self._wake.clear()
                await self._wake.wait()
                continue
            group = self._take()
            try:
                await self._serve(lane, group)
            except BaseException:
                self._fail(group.waiting, DatabaseUnavailable("the store was stopped while it wrote"))
                raise
            finally:
                self._writing.discard(group)
                group.done.set()
                self._wake.set()

    def _take(self) -> _Group:
        waiting: list[_Waiting] = []
        ids: set[int] = set()
        events = 0
        while self._waiting and (not waiting or events + len(self._waiting[0].request.entries) <= GROUP):
            one = self._waiting.popleft()
            waiting.append(one)
            events += len(one.request.entries)
            ids.update([entry.event.event_id.int for entry in one.request.entries])
        self._count(-events)
        # An event that the other lane is writing would make us wait for it, and it for its turn behind us.
        bet = all(ids.isdisjoint(other.ids) for other in self._writing)
        group = _Group(waiting=waiting, ids=ids, before=self._last, bet=bet)
        self._last = group.done
        self._writing.add(group)
        return group

    async def _serve(self, lane: int, group: _Group) -> None:
        """Commit a group and answer each of its requests; never raises because of them."""
        try:
            outcomes = await self._commit_or_retry(lane, group)
        except (DatabaseUnavailable, CannotStart) as error:
            self._fail(group.waiting, error)
            self._disconnect(lane)
        except Exception as error:  # noqa: BLE001 - the loop outlives its groups; each request gets its answer
            self._disconnect(lane)
            if len(group.waiting) == 1:
                log.error("a request cannot be written", error=repr(error))
                self._fail(group.waiting, error)
                return
            # What PostgreSQL refuses of one request must not stand in the way of the others.
            for waiting in group.waiting:
                await self._serve(lane, _Group(waiting=[waiting], ids=group.ids, before=group.before, bet=False))
        else:
            for waiting, outcome in zip(group.waiting, outcomes, strict=True):
                if not waiting.answer.done():
                    waiting.answer.set_result(outcome)

    def _fail(self, group: list[_Waiting], error: Exception) -> None:
        for waiting in group:
            if not waiting.answer.done():
                waiting.answer.set_exception(error)

    async def _commit_or_retry(self, lane: int, group: _Group) -> list[list[Outcome]]:
        requests = [waiting.request for waiting in group.waiting]
        for attempt in range(RETRIES + 1):
            try:
                with database.translated():
                    connection = await self._connected(lane)
                    entries = [entry for request in requests for entry in request.entries]
                    times = [entry.event.event_timestamp for entry in entries]
                    await self._ensure_months(connection, partitions.missing(times, self._months))
                    with self._metrics.write_seconds.labels("audit_events_batch").time():
                        if group.bet and attempt == 0:
                            return await self._fill_in_then_lock(connection, group, requests, entries)
                        await group.before.wait()
                        return await self._lock_then_fill_in(connection, requests, entries)
            except _AGAIN:
                if attempt == RETRIES:
                    raise
                await asyncio.sleep(0.001 * 2**attempt)
        raise AssertionError("unreachable: the last attempt returns or raises")

    async def _fill_in_then_lock(
        self, connection: asyncpg.Connection, group: _Group, requests: list[Request], entries: list[Entry]
    ) -> list[list[Outcome]]:
        plan = ledger.decide(requests, await _stored(connection, entries))
        if any(isinstance(outcome, ParentMissing) for outcomes in plan.outcomes for outcome in outcomes):
            # The parent may be in the group before this one.
            raise _LostBet
        async with connection.transaction():
            await _fill_in(connection, plan)
            try:
                await asyncio.wait_for(group.before.wait(), TURN)
            except TimeoutError:
                raise _LostBet from None
            await self._lock(connection, plan.new)
            moved = await self._link(connection, plan)
            await _keep_evidence(connection, plan)
        return self._committed(plan, moved)

    async def _lock_then_fill_in(
        self, connection: asyncpg.Connection, requests: list[Request], entries: list[Entry]
    ) -> list[list[Outcome]]:
        async with connection.transaction():
            await self._lock(connection, entries)
            plan = ledger.decide(requests, await _stored(connection, entries))
            moved = await self._link(connection, plan)
            await _fill_in(connection, plan)
            await _keep_evidence(connection, plan)
        return self._committed(plan, moved)

    async def _lock(self, connection: asyncpg.Connection, entries: Sequence[Entry]) -> None:
        # Sorted: two groups locking the same ledgers in different orders would deadlock.
        for shard in sorted(self._by_shard(entries)):
            await _execute(connection, "lock_ledger", shard=shard)

    def _committed(self, plan: Plan, moved: dict[int, _Remembered]) -> list[list[Outcome]]:
        # Only now: a transaction that failed must leave no trace in memory either.
        self._remembered.update(moved)
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

    async def _link(self, connection: asyncpg.Connection, plan: Plan) -> dict[int, _Remembered]:
        """Append the new events to their ledgers, whose locks are held; what to remember once this is committed."""
        moved: dict[int, _Remembered] = {}
        links: list[chain.Row] = []
        for shard, entries in sorted(self._by_shard(plan.new).items()):
            remembered = await self._current(connection, shard, {entry.event.correlation_id for entry in entries})
            added, head = ledger.extend(shard, remembered.head, remembered.heads, entries)
            links += added
            moved[shard] = _Remembered(head=head, heads=remembered.heads)
        if links:
            await connection.copy_records_to_table("audit_ledger", records=links, columns=chain.Row._fields)
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

    async def _connected(self, lane: int) -> asyncpg.Connection:
        connection = self._connections[lane]
        if connection is None or connection.is_closed():
            connection = await database.connect_writer(self._config.database)
            self._connections[lane] = connection
        return connection

    def _disconnect(self, lane: int) -> None:
        # After an error the state of the connection is unknown, and of what we remember as well.
        self._remembered.clear()
        connection, self._connections[lane] = self._connections[lane], None
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
                writers = [tasks.create_task(self._write(lane), name=f"ledger-writer-{lane}") for lane in range(LANES)]
                keeper = tasks.create_task(self._keep_partitions(), name="partitions")
                try:
                    yield
                finally:
                    self._closing = True
                    self._wake.set()
                    keeper.cancel()
                    await asyncio.wait(writers, timeout=self._config.database.statement_timeout)
                    for writer in writers:
                        writer.cancel()
        except BaseExceptionGroup as group:
            # What ends the block reaches its owner as it was raised.
            if len(group.exceptions) > 1:
                raise
            raise group.exceptions[0] from None
        finally:
            for lane in range(LANES):
                self._disconnect(lane)

    async def _prepare(self) -> None:
        """Connect, check the schema and make the next months. Raises CannotStart."""
        self._connections[0] = connection = await database.wait_for_database(self._config.database)
        with database.translated():
            await require_migrated(connection)
            self._months = {row["month"] for row in await _rows(connection, "months")}
            months = partitions.months_ahead(datetime.now(UTC))
            await self._ensure_months(connection, [month for month in months if month not in self._months])

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


async def _fill_in(connection: asyncpg.Connection, plan: Plan) -> None:
    if plan.new:
        records = [rows.record(entry.event) for entry in plan.new]
        await connection.copy_records_to_table("audit_events", records=records, columns=rows.EVENT_COLUMNS)


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
