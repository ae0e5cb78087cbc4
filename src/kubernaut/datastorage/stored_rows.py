"""Rows of the ledger with their payloads as verification sees them: also those that cannot be read, and why not."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from typing import Any

import asyncpg
import structlog

from kubernaut.datastorage import database, partitions, queries, rows
from kubernaut.datastorage.removals import Removals
from kubernaut.datastorage.verification import StoredRow

log = structlog.get_logger("datastorage")


@dataclass(frozen=True, kw_only=True)
class Unreadable:
    """A row that PostgreSQL has and Python cannot hold, such as one of the year 10000."""

    sequence: int
    reason: str


@dataclass(frozen=True, kw_only=True)
class _Statements:
    """Rows, and their sequences alone for when a row cannot be read."""

    rows: str
    sequences: str


_OF_LEDGER = _Statements(rows="ledger_rows", sequences="ledger_sequences")
_OF_CORRELATION = _Statements(rows="correlation_rows", sequences="correlation_sequences")


class StoredRows:
    """Reads through a connection or a pool; what was removed is known by `removals`."""

    def __init__(self, connection: asyncpg.Connection | asyncpg.Pool, removals: Removals) -> None:
        self._connection = connection
        self._removals = removals
        self._months: set[date] | None = None

    async def of_ledger(self, shard: int, after: int, until: int) -> list[StoredRow | Unreadable]:
        """Those behind the sequence `after`, up to `until`."""

        def one(sequence: int) -> dict[str, object]:
            return {"shard": shard, "after": sequence - 1, "until": sequence}

        return await self._batch(_OF_LEDGER, {"shard": shard, "after": after, "until": until}, one)

    async def of_correlation(self, correlation_id: str, after: int, limit: int) -> list[StoredRow | Unreadable]:
        """The next ones behind the sequence `after`."""

        def one(sequence: int) -> dict[str, object]:
            return {"correlation_id": correlation_id, "after": sequence - 1, "limit": 1}

        which = {"correlation_id": correlation_id, "after": after, "limit": limit}
        return await self._batch(_OF_CORRELATION, which, one)

    async def _batch(
        self, statements: _Statements, which: dict[str, object], one: Callable[[int], dict[str, object]]
    ) -> list[StoredRow | Unreadable]:
        """Where one of the rows cannot be read, each is read alone."""
        try:
            return [*await self._read(statements.rows, which)]
        except (ValueError, OverflowError) as error:
            log.warning("ledger rows cannot be read", error=str(error), **which)
        sequences = [place["sequence"] for place in await self._rows(statements.sequences, which)]
        return [await self._one(statements.rows, sequence, one(sequence)) for sequence in sequences]

    async def _one(self, statement: str, sequence: int, which: dict[str, object]) -> StoredRow | Unreadable:
        try:
            return (await self._read(statement, which))[0]
        except (ValueError, OverflowError) as error:
            return Unreadable(sequence=sequence, reason=str(error))

    async def _read(self, statement: str, which: dict[str, object]) -> list[StoredRow]:
        if self._months is None:
            self._months = {row["month"] for row in await self._rows("months", {})}
        found = await self._rows(statement, which)
        return await self._removals.explain([self._stored(row, self._months) for row in found])

    def _stored(self, record: Any, months: set[date]) -> StoredRow:
        stored = rows.stored_row(record)
        if stored.payload is None:
            month = partitions.month_of(stored.row.event_timestamp)
            if month >= partitions.SHARED_BEFORE and month not in months:
                reason = f"the event is missing: the partition {partitions.name_of(month)} was dropped or detached"
                return StoredRow(row=stored.row, payload=None, missing_reason=reason)
        return stored

    async def _rows(self, name: str, which: dict[str, object]) -> list[asyncpg.Record]:
        with database.translated():
            return await queries.fetch(self._connection, name, **which)
