"""Erasure of personal data by order: the payload goes, the ledger row stays, and a ledger event says who and why."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from kubernaut.api.lifecycle import EraseEvents, EventsErased
from kubernaut.datastorage import lifecycle_transaction, queries
from kubernaut.datastorage.config import DatabaseConfig
from kubernaut.datastorage.errors import DataStorageError, RowsDiscarded
from kubernaut.datastorage.lifecycle_metrics import LifecycleMetrics
from kubernaut.datastorage.operations import Operation, OperationType, RemovedRow
from kubernaut.datastorage.retention import utc_now


class UnknownEvents(DataStorageError):
    """Events of an order that the ledger does not have."""


class ErasureRefused(DataStorageError):
    """Events of an order that must stay."""


@dataclass(frozen=True, kw_only=True)
class Erasure:
    """The erasures of one database."""

    database: DatabaseConfig
    metrics: LifecycleMetrics
    clock: Callable[[], datetime] = utc_now

    async def erase(self, request: EraseEvents, actor: str) -> EventsErased:
        """Erase all that is ordered, or nothing. What is gone already is left alone.

        Raises UnknownEvents and ErasureRefused.
        """
        operation = Operation(
            type=OperationType.ERASURE_APPLIED,
            correlation_id=f"datastorage-erasure-{request.order}",
            time=self.clock(),
            actor_id=actor,
            actor_type="user",
        )
        async with (
            lifecycle_transaction.open_connection(self.database) as connection,
            lifecycle_transaction.open_transaction(connection, operation) as transaction,
        ):
            found = await queries.fetch(
                connection, "rows_to_erase", event_ids=request.event_ids, correlation_id=request.correlation_id
            )
            unknown = set(request.event_ids) - {row["event_id"] for row in found}
            if unknown or not found:
                which = ", ".join(sorted(map(str, unknown))[:10]) or request.correlation_id
                raise UnknownEvents(f"there are no such events: {which}")
            for row in found:
                if row["is_held"]:
                    raise ErasureRefused(f"{row['correlation_id']!r} is under a legal hold; release it first")
                if row["event_type"] in set(OperationType):
                    raise ErasureRefused(
                        f"event {row['event_id']} is the record of a removal or a hold and cannot be erased"
                    )
            rows = [
                RemovedRow(row["shard"], row["sequence"], row["event_id"], row["event_timestamp"])
                for row in found
                if row["event_type"] is not None
            ]
            operations: list[UUID] = []
            if rows:
                operations = await transaction.mark(operation, rows, order=request.order, reason=request.reason)
                await transaction.delete(rows)
                await queries.execute(connection, "allow_change_of_conflicts")
                event_ids = [row.event_id for row in rows]
                blanked = await queries.fetch(connection, "blank_conflicts", event_ids=event_ids)
                if blanked[0]["refused"] != blanked[0]["blanked"]:
                    raise RowsDiscarded("kept what audit_conflicts has of erased events")
        self.metrics.erased.inc(len(rows))
        return EventsErased(
            order=request.order,
            events_erased=len(rows),
            erased_by=actor,
            erased_at=operation.time,
            operation_ids=operations,
        )
