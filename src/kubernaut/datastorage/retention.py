"""Retention: the payloads of events whose `retention_days` have passed since their arrival are removed.

The rows of the ledger stay, so that it verifies as before; what was removed is a ledger event of its own and a mark for
each row, all in one transaction. Where nearly everything of a month has expired, its partition is truncated and the few
rows that must stay are put back; elsewhere rows are deleted, some in each transaction. One process does this at a time.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime

import asyncpg
import structlog

from kubernaut.datastorage import database, lifecycle_transaction, queries
from kubernaut.datastorage.config import DatabaseConfig, RetentionConfig
from kubernaut.datastorage.errors import DataStorageError
from kubernaut.datastorage.lifecycle_metrics import LifecycleMetrics
from kubernaut.datastorage.operations import MAX_ROWS, Operation, OperationType, RemovedRow
from kubernaut.datastorage.partitions import SHARED_BEFORE, months_ahead
from kubernaut.ops.tasks import background

log = structlog.get_logger("datastorage")

Clock = Callable[[], datetime]

RETRY_INTERVAL = 300.0
"""Seconds after which a run that failed is tried again, where `interval` is longer."""

_FIRST_TIME = datetime(1, 1, 2, tzinfo=UTC)


def utc_now() -> datetime:
    """The time of this machine."""
    return datetime.now(UTC)


@dataclass(frozen=True, kw_only=True)
class _Period:
    """A partition, and the times that belong to it."""

    since: datetime
    until: datetime
    month: date | None
    """None for the partition of everything before the system."""


class Retention:
    """Removes expired payloads from one database."""

    def __init__(
        self,
        database_config: DatabaseConfig,
        config: RetentionConfig,
        metrics: LifecycleMetrics,
        clock: Clock = utc_now,
    ) -> None:
        self._database = database_config
        self._config = config
        self._metrics = metrics
        self._clock = clock

    async def run(self) -> None:
        """Apply retention at once and after each interval, for as long as the service runs."""
        while True:
            pause = self._config.interval
            try:
                await self.apply()
            except (DataStorageError, asyncpg.PostgresError) as error:
                pause = min(pause, RETRY_INTERVAL)
                self._metrics.failed()
                log.warning("retention failed, retrying", retry_interval=pause, error=str(error))
            await asyncio.sleep(pause)

    async def apply(self) -> int | None:
        """Remove what has expired; how many payloads, or None when another process is at it."""
        async with lifecycle_transaction.open_connection(self._database) as connection:
            with database.translated():
                lock = await queries.fetch_row(connection, "try_lock_retention")
                if lock is None or not lock["locked"]:
                    return None
                removed = 0
                for period in await self._periods(connection):
                    removed += await self._apply_to(connection, period)
                self._metrics.held.set(len(await queries.fetch(connection, "active_holds")))
        self._metrics.succeeded(self._clock())
        if removed:
            log.info("retention applied", removed=removed)
        return removed

    async def _periods(self, connection: asyncpg.Connection) -> list[_Period]:
        months = sorted(row["month"] for row in await queries.fetch(connection, "months"))
        shared_until = _start(SHARED_BEFORE)
        periods = [_Period(since=_FIRST_TIME, until=shared_until, month=None)]
        now = self._clock()
        for month in months:
            since = _start(month)
            if since < now:
                until = _start(months_ahead(since, 1)[1])
                periods.append(_Period(since=since, until=until, month=month))
        return periods

    async def _apply_to(self, connection: asyncpg.Connection, period: _Period) -> int:
        removed = 0
        while True:
            operation = self._operation()
            window = {"since": period.since, "until": period.until, "now": operation.time}
            found = await queries.fetch(connection, "removable", **window, limit=self._config.batch_size)
            if not found:
                return removed
            count = None
            if len(found) == self._config.batch_size and period.month is not None:
                count = await self._truncate(connection, period.month, operation, window)
            if count is None:
                count = await self._delete(connection, operation, window)
            removed += count
            self._metrics.removed.inc(count)

    async def _delete(self, connection: asyncpg.Connection, operation: Operation, window: dict[str, datetime]) -> int:
        """Remove some payloads by rows."""
        async with lifecycle_transaction.open_transaction(connection, operation) as transaction:
            # Only now nobody can place a hold on what is found.
            found = await queries.fetch(connection, "removable", **window, limit=self._config.batch_size)
            rows = sorted(RemovedRow(*row) for row in found)
            if rows:
                await transaction.mark(operation, rows)
                await transaction.delete(rows)
        return len(rows)

    async def _truncate(
        self, connection: asyncpg.Connection, month: date, operation: Operation, window: dict[str, datetime]
    ) -> int | None:
        """Remove a month but for few rows; None, and nothing is removed, where too much must stay or is written."""
        if await self._kept_count(connection, window) > self._config.batch_size:
            return None
        try:
            return await self._truncate_now(connection, month, operation, window)
        except (asyncpg.SerializationError, asyncpg.DeadlockDetectedError) as error:
            log.info("month not truncated, removing rows instead", month=month.isoformat(), error=str(error))
            return None

    async def _truncate_now(
        self, connection: asyncpg.Connection, month: date, operation: Operation, window: dict[str, datetime]
    ) -> int:
        removed = 0
        async with lifecycle_transaction.open_transaction(connection, operation) as transaction:
            kept = [row["event_id"] for row in await queries.fetch(connection, "kept_of_period", **window)]
            statement = queries.QUERIES["removable_in_order"]
            part: list[RemovedRow] = []
            async for row in connection.cursor(statement.sql, *statement.bind(**window), prefetch=MAX_ROWS):
                if part and (len(part) == MAX_ROWS or part[-1].shard != row["shard"]):
                    await transaction.mark(operation, part)
                    removed += len(part)
                    part = []
                part.append(RemovedRow(*row))
            if part:
                await transaction.mark(operation, part)
                removed += len(part)
            await queries.execute(connection, "allow_change_of_events")
            await queries.fetch(connection, "truncate_month", month=month, kept=kept, removed=removed)
        return removed

    async def _kept_count(self, connection: asyncpg.Connection, window: dict[str, datetime]) -> int:
        counts = await queries.fetch_row(connection, "count_period", **window)
        if counts is None:
            raise AssertionError("unreachable: the statement returns one row")
        kept: int = counts["total"] - counts["removable"]
        return kept

    def _operation(self) -> Operation:
        now = self._clock()
        return Operation(
            type=OperationType.RETENTION_APPLIED, correlation_id=f"datastorage-retention-{now:%Y-%m}", time=now
        )


def _start(month: date) -> datetime:
    return datetime(month.year, month.month, 1, tzinfo=UTC)


@asynccontextmanager
async def open_retention(retention: Retention, config: RetentionConfig) -> AsyncIterator[None]:
    """Apply retention while the block runs, unless it is switched off."""
    if not config.enabled:
        log.info("retention is disabled: retention.enabled is false")
        yield
        return
    async with background(retention.run(), "retention"):
        yield
