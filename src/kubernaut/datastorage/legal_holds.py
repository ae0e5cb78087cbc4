"""Legal holds: what has a correlation id under hold is never removed, events that arrive later included."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from kubernaut.api.lifecycle import HoldList, HoldPlaced, HoldReleased, LegalHold
from kubernaut.datastorage import database, lifecycle_transaction, operations, queries
from kubernaut.datastorage.config import DatabaseConfig
from kubernaut.datastorage.errors import DataStorageError
from kubernaut.datastorage.lifecycle_metrics import LifecycleMetrics
from kubernaut.datastorage.operations import HoldChange, Operation, OperationType
from kubernaut.datastorage.retention import utc_now


class UnknownCorrelation(DataStorageError):
    """No event has the correlation id, or it has no hold that could be released."""


class AlreadyHeld(DataStorageError):
    """The correlation is under another hold."""


@dataclass(frozen=True, kw_only=True)
class LegalHolds:
    """The holds of one database."""

    database: DatabaseConfig
    metrics: LifecycleMetrics
    clock: Callable[[], datetime] = utc_now

    async def place(self, correlation_id: str, reason: str, actor: str) -> HoldPlaced:
        """Hold a correlation. The same again by the same person changes nothing.

        Raises UnknownCorrelation, and AlreadyHeld where another hold is in force.
        """
        operation = self._operation(OperationType.HOLD_PLACED, correlation_id, actor)
        async with (
            lifecycle_transaction.open_connection(self.database) as connection,
            lifecycle_transaction.open_transaction(connection, operation) as transaction,
        ):
            counted = await queries.fetch(connection, "count_correlation", correlation_id=correlation_id)
            count: int = counted[0]["total"]
            if not count:
                raise UnknownCorrelation(f"there are no events with correlation id {correlation_id!r}")
            hold = await queries.fetch_row(connection, "active_hold", correlation_id=correlation_id)
            if hold is not None and (hold["reason"], hold["placed_by"]) != (reason, actor):
                raise AlreadyHeld(
                    f"{correlation_id!r} is under a legal hold already, placed by {hold['placed_by']} "
                    f"at {hold['placed_at'].isoformat()}; release that one first"
                )
            placed_at = hold["placed_at"] if hold is not None else operation.time
            if hold is None:
                data = HoldChange(
                    event_type=operation.type, correlation_id=correlation_id, reason=reason, events_affected=count
                )
                identity = f"{correlation_id}\n{operation.time.isoformat()}"
                hold_id = transaction.record(operations.entry(operation, data, identity=identity))
                await queries.store(
                    connection,
                    "add_hold",
                    hold_id=hold_id,
                    correlation_id=correlation_id,
                    reason=reason,
                    placed_by=actor,
                    placed_at=operation.time,
                )
        return HoldPlaced(
            correlation_id=correlation_id, events_affected=count, placed_by=actor, placed_at=placed_at, reason=reason
        )

    async def release(self, correlation_id: str, reason: str, actor: str) -> HoldReleased:
        """End the hold on a correlation. Raises UnknownCorrelation where there is none."""
        operation = self._operation(OperationType.HOLD_RELEASED, correlation_id, actor)
        async with (
            lifecycle_transaction.open_connection(self.database) as connection,
            lifecycle_transaction.open_transaction(connection, operation) as transaction,
        ):
            hold = await queries.fetch_row(connection, "active_hold", correlation_id=correlation_id)
            if hold is None:
                raise UnknownCorrelation(f"{correlation_id!r} is not under a legal hold")
            counted = await queries.fetch(connection, "count_correlation", correlation_id=correlation_id)
            count: int = counted[0]["total"]
            data = HoldChange(
                event_type=operation.type,
                correlation_id=correlation_id,
                reason=reason,
                events_affected=count,
                hold_id=hold["hold_id"],
            )
            release_id = transaction.record(operations.entry(operation, data, identity=str(hold["hold_id"])))
            await queries.store(
                connection,
                "add_release",
                hold_id=hold["hold_id"],
                release_id=release_id,
                reason=reason,
                released_by=actor,
                released_at=operation.time,
            )
        return HoldReleased(
            correlation_id=correlation_id, events_released=count, released_by=actor, released_at=operation.time
        )

    async def active(self) -> HoldList:
        """Every hold in force, oldest first."""
        async with lifecycle_transaction.open_connection(self.database) as connection:
            with database.translated():
                found = await queries.fetch(connection, "active_holds")
        self.metrics.held.set(len(found))
        return HoldList(holds=[LegalHold(**dict(row)) for row in found], total=len(found))

    def _operation(self, type: OperationType, correlation_id: str, actor: str) -> Operation:
        return Operation(type=type, correlation_id=correlation_id, time=self.clock(), actor_id=actor, actor_type="user")
