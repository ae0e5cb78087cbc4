"""Comparing the rows of legal holds, releases and removals with the ledger events that say so.

These tables decide what is removed and what is kept, and have no hash of their own. Each row was written together with
its ledger event, whose id it has; so a row that was changed, invented or deleted no longer fits, and is named.
"""

from dataclasses import dataclass
from uuid import UUID

import asyncpg
import msgspec

from kubernaut.api.events import LedgerFinding
from kubernaut.datastorage import database, operations, proven_events, queries
from kubernaut.datastorage.ledger_reader import LedgerReader
from kubernaut.datastorage.operations import OperationType
from kubernaut.datastorage.verification import MAX_FINDINGS

MAX_ROWS = 100_000
"""Rows of each table that are compared."""


@dataclass(frozen=True, kw_only=True)
class _Table:
    """One table of holds, and the events that its rows follow from."""

    statement: str
    type: OperationType
    name: str
    description: str


_TABLES = (
    _Table(
        statement="recorded_holds",
        type=OperationType.HOLD_PLACED,
        name="audit_legal_holds",
        description="the legal hold",
    ),
    _Table(
        statement="recorded_releases",
        type=OperationType.HOLD_RELEASED,
        name="audit_legal_hold_releases",
        description="the release of a legal hold",
    ),
)


class HoldVerification:
    """One comparison, through one connection."""

    def __init__(self, connection: asyncpg.Connection, reader: LedgerReader) -> None:
        self._connection = connection
        self._reader = reader

    async def findings(self) -> list[LedgerFinding]:
        """Every row that does not fit, and every event whose row is gone."""
        found = [finding for table in _TABLES for finding in await self._table(table)]
        for mark in await self._rows("marks_beyond_ledger", limit=MAX_FINDINGS):
            message = f"the mark of row {mark['sequence']} in audit_expired belongs to no row of ledger {mark['shard']}"
            found.append(LedgerFinding(sequence=0, event_id=mark["event_id"], message=message))
        return found[:MAX_FINDINGS]

    async def _table(self, table: _Table) -> list[LedgerFinding]:
        rows = await self._rows(table.statement, limit=MAX_ROWS)
        events = await self._rows("operation_events", event_type=table.type, limit=MAX_ROWS)
        found: list[LedgerFinding] = []
        for row in rows:
            problem, sequence = await self._problem(table, row)
            if problem:
                which = f"{table.description} {row['operation_id']} in {table.name}"
                message = f"{which} is not what was recorded: {problem}"
                found.append(_finding(row["operation_id"], row["correlation_id"], message, sequence))
        known = {row["operation_id"] for row in rows}
        for event in events:
            if event["event_id"] not in known:
                message = f"{table.description} {event['event_id']} is missing: its row in {table.name} was deleted"
                found.append(_finding(event["event_id"], event["correlation_id"], message, event["sequence"]))
        return found

    async def _problem(self, table: _Table, row: asyncpg.Record) -> tuple[str, int]:
        """What does not fit, and the sequence of the ledger event, as far as there is one."""
        proven = await proven_events.read(self._reader, row["operation_id"])
        if isinstance(proven, str):
            return proven, 0
        event, sequence = proven.event, proven.row.sequence
        if event.event_type != table.type:
            return f"the event {event.event_id} says something else", sequence
        try:
            change = operations.decode_hold_change(event.event_data)
        except msgspec.MsgspecError as error:
            return f"the ledger event does not say what was done: {error}", sequence
        compared = {
            "correlation id": (row["correlation_id"], change.correlation_id),
            "reason": (row["reason"], change.reason),
            "actor": (row["actor_id"], event.actor_id),
            "time": (row["time"], event.event_timestamp),
            "hold": (row["hold_id"], change.hold_id),
        }
        different = [name for name, (stored, recorded) in compared.items() if stored != recorded]
        return (f"another {', '.join(different)}" if different else ""), sequence

    async def _rows(self, name: str, **values: object) -> list[asyncpg.Record]:
        with database.translated():
            return await queries.fetch(self._connection, name, **values)


def _finding(event_id: UUID, correlation_id: str | None, message: str, sequence: int) -> LedgerFinding:
    return LedgerFinding(sequence=sequence, event_id=event_id, correlation_id=correlation_id, message=message)
