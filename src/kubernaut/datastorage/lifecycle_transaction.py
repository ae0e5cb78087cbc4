"""Transactions that change what the database keeps, each with the ledger event that says so.

One at a time over all processes: a hold and a removal never pass each other. The connection is opened for the work and
closed after it, because such work is rare and may take longer than a request.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from uuid import UUID

import asyncpg

from kubernaut.datastorage import chain, database, ledger_append, operations, queries, rows
from kubernaut.datastorage.chain import Entry
from kubernaut.datastorage.config import DatabaseConfig
from kubernaut.datastorage.errors import DatabaseUnavailable, RowsDiscarded
from kubernaut.datastorage.head_cache import HeadCache
from kubernaut.datastorage.operations import MAX_ROWS, Operation, RemovedRow
from kubernaut.datastorage.partitions import PartitionMaintainer

STATEMENT_TIMEOUT = 600.0
"""Seconds for one statement; to look through a month takes longer than a request may."""

_MARK_COLUMNS = ("shard", "sequence", "event_id", "operation_id", "expired_at", "reason")


@asynccontextmanager
async def open_connection(config: DatabaseConfig) -> AsyncIterator[asyncpg.Connection]:
    """A connection for such work. Raises CannotStart or DatabaseUnavailable."""
    connection = await database.connect_writer(replace(config, statement_timeout=STATEMENT_TIMEOUT))
    try:
        yield connection
    finally:
        await connection.close(timeout=5)


class LifecycleTransaction:
    """Changes and their ledger events; see `open_transaction`."""

    def __init__(self, connection: asyncpg.Connection, shards: int) -> None:
        self.connection = connection
        self._shards = shards
        self._entries: list[Entry] = []

    def record(self, entry: Entry) -> UUID:
        """Append the event when the transaction ends; returns its id."""
        self._entries.append(entry)
        return entry.event.event_id

    async def mark(
        self, operation: Operation, removed: Sequence[RemovedRow], *, order: str = "", reason: str = ""
    ) -> list[UUID]:
        """Mark rows, in the order of the ledgers, as removed, with an event for each ledger and MAX_ROWS rows."""
        events: list[UUID] = []
        for part in _parts(removed):
            event_id = self.record(operations.removal(operation, part, order=order, reason=reason))
            why = operations.REMOVALS[operation.type]
            marks = [(row.shard, row.sequence, row.event_id, event_id, operation.time, why) for row in part]
            await queries.copy(self.connection, "audit_expired", _MARK_COLUMNS, marks)
            events.append(event_id)
        return events

    async def delete(self, removed: Sequence[RemovedRow]) -> None:
        """Remove the payloads of rows, which must be there. Raises RowsDiscarded when one of them stays."""
        times = [row.event_timestamp for row in removed]
        await queries.execute(self.connection, "allow_change_of_events")
        deleted = await queries.fetch(
            self.connection,
            "delete_payloads",
            times=times,
            event_ids=[row.event_id for row in removed],
            since=min(times),
            until=max(times),
        )
        if len(deleted) != len(removed):
            raise RowsDiscarded(f"removed {len(deleted)} of {len(removed)} rows of audit_events")

    async def append(self) -> None:
        """Append what was recorded. Last, because the locks of the ledgers are held from here to the commit."""
        shards: dict[int, list[Entry]] = {}
        for entry in self._entries:
            shards.setdefault(chain.shard_of(entry.event.correlation_id, self._shards), []).append(entry)
        for shard in sorted(shards):  # Sorted: two transactions locking them in different orders would deadlock.
            await queries.execute(self.connection, "lock_ledger", shard=shard)
        appended = await ledger_append.append(self.connection, shards, HeadCache())
        if self._entries:
            payloads = [rows.record(entry.event) for entry in self._entries]
            await queries.copy(self.connection, "audit_events", rows.EVENT_COLUMNS, payloads)
            await ledger_append.require_as_sent(self.connection, appended, self._entries)


@asynccontextmanager
async def open_transaction(connection: asyncpg.Connection, operation: Operation) -> AsyncIterator[LifecycleTransaction]:
    """All of the block and the events that it recorded, or nothing. Raises DatabaseUnavailable."""
    with database.translated():
        await PartitionMaintainer().ensure(connection, [operation.time])
        async with connection.transaction():
            await queries.execute(connection, "lock_lifecycle")
            settings = await queries.fetch_row(connection, "settings")
            if settings is None:
                raise DatabaseUnavailable("no DataStorage has been started on this database")
            transaction = LifecycleTransaction(connection, settings["ledger_shards"])
            yield transaction
            await transaction.append()


def _parts(removed: Sequence[RemovedRow]) -> list[list[RemovedRow]]:
    parts: list[list[RemovedRow]] = []
    for row in removed:
        if not parts or parts[-1][0].shard != row.shard or len(parts[-1]) == MAX_ROWS:
            parts.append([])
        parts[-1].append(row)
    return parts
