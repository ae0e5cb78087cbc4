"""Months of `audit_events`: created ahead while the service runs, and on demand for late events.

A month that has no partition and no events is made when it is needed. A month that has events in the ledger and no
partition was dropped or detached by somebody: making it anew would hide that its payloads are gone. It stays missing,
its events are not stored and readiness says so, until the partition is attached again.
"""

import asyncio
from collections.abc import Iterable
from datetime import UTC, date, datetime

import asyncpg
import structlog

from kubernaut.datastorage import database, queries
from kubernaut.datastorage.metrics import Metrics

log = structlog.get_logger("datastorage")

MONTHS_AHEAD = 3
"""Partitions that exist beyond the current month."""

CHECK_INTERVAL = 15.0
"""Seconds between checks which partitions are there, and whether the next months have theirs."""

SHARED_BEFORE = date(2020, 1, 1)
"""Older events share one partition that the migration made."""

SHARED = date(1, 1, 1)
"""Stands for the month of that partition."""


def month_of(time: datetime) -> date:
    """The first day of the month of a time in UTC."""
    return date(time.year, time.month, 1)


def partition_of(time: datetime) -> date:
    """The month by which the partition of a time in UTC is known."""
    return date(time.year, time.month, 1) if time.year >= SHARED_BEFORE.year else SHARED


def name_of(month: date) -> str:
    """The partition of a month."""
    return f"audit_events_{month:%Y_%m}" if month >= SHARED_BEFORE else f"audit_events_before_{SHARED_BEFORE.year}"


def months_ahead(now: datetime, ahead: int = MONTHS_AHEAD) -> list[date]:
    """The current month and those after it. Counts from the first day, so that no short month is skipped."""
    first = now.year * 12 + now.month - 1
    return [_month(number) for number in range(first, first + ahead + 1)]


def missing(times: Iterable[datetime], present: set[date]) -> list[date]:
    """The months that lack the partition that events of these times need, in order."""
    return sorted({partition_of(time) for time in times} - present)


def is_missing_partition(error: asyncpg.CheckViolationError) -> bool:
    """Whether a row found no partition, rather than violating a constraint, which would have a name."""
    return error.table_name == "audit_events" and error.constraint_name is None


class PartitionMaintainer:
    """Creates partitions, and knows which exist."""

    def __init__(self, metrics: Metrics | None = None) -> None:
        self._metrics = metrics
        self._present: set[date] = set()
        self._lost: frozenset[date] = frozenset()

    @property
    def lost(self) -> list[date]:
        """The months that have events in the ledger and no partition, in order."""
        return sorted(self._lost)

    async def load(self, connection: asyncpg.Connection) -> None:
        """Read from the database which partitions exist, and which are lost."""
        await self._read_present(connection)
        last = months_ahead(datetime.now(UTC))[-1]
        months = [_month(number) for number in range(SHARED_BEFORE.year * 12, last.year * 12 + last.month)]
        self._set_lost(await self._with_events(connection, {SHARED, *months} - self._present))

    async def ensure(self, connection: asyncpg.Connection, times: Iterable[datetime]) -> frozenset[date]:
        """Create what is missing for events of these times; the months among them that are lost."""
        absent = missing(times, self._present)
        return await self._ensure(connection, absent) if absent else frozenset()

    async def ensure_ahead(self, connection: asyncpg.Connection | asyncpg.Pool) -> None:
        """Look what is there, and create what is missing of the current month and the next ones."""
        before = self._present
        await self._read_present(connection)
        gone = await self._with_events(connection, (before | self._lost) - self._present)
        self._set_lost(gone)
        absent = [month for month in months_ahead(datetime.now(UTC)) if month not in self._present]
        if absent:
            await self._ensure(connection, absent)

    def forget(self) -> None:
        """Look again before the next event is stored: a partition that was there is not."""
        self._present = set()

    async def run(self, pool: asyncpg.Pool) -> None:
        """Create the next months' partitions in time, for as long as the service runs."""
        while True:
            await asyncio.sleep(CHECK_INTERVAL)
            try:
                with database.translated():
                    await self.ensure_ahead(pool)
            except Exception as error:  # noqa: BLE001 - the loop outlives whatever a check meets
                log.warning("partition check failed, retrying", retry_interval=CHECK_INTERVAL, error=repr(error))

    async def _ensure(self, connection: asyncpg.Connection | asyncpg.Pool, months: Iterable[date]) -> frozenset[date]:
        wanted = set(months)
        await self._read_present(connection)
        lost = await self._with_events(connection, wanted - self._present)
        for month in sorted(wanted - self._present - lost - {SHARED}):
            created = await queries.fetch_row(connection, "ensure_month", month=month)
            if created and created[0]:
                log.info("partition created", month=month.isoformat())
        # A detached table has the name of a partition and is none; so have all that another process made meanwhile.
        await self._read_present(connection)
        lost = frozenset(wanted - self._present)
        self._set_lost(self._lost - wanted | lost)
        return lost

    async def _read_present(self, connection: asyncpg.Connection | asyncpg.Pool) -> None:
        self._present = {row["month"] for row in await queries.fetch(connection, "partitions")}

    async def _with_events(self, connection: asyncpg.Connection | asyncpg.Pool, months: set[date]) -> frozenset[date]:
        spans = sorted(months)
        if not spans:
            return frozenset()
        found = await queries.fetch(
            connection, "spans_with_events", since=[_start(month) for month in spans], until=[_end(m) for m in spans]
        )
        return frozenset(spans[row["number"] - 1] for row in found)

    def _set_lost(self, lost: frozenset[date]) -> None:
        for month in sorted(lost - self._lost):
            log.error("partition with events is missing", partition=name_of(month))
        for month in sorted(self._lost - lost):
            log.info("partition is there again", partition=name_of(month))
        self._lost = lost
        if self._metrics:
            self._metrics.missing_partitions.set(len(lost))


def _month(number: int) -> date:
    """The month by its number since the year 0."""
    return date(number // 12, number % 12 + 1, 1)


def _start(month: date) -> datetime:
    return datetime(month.year, month.month, 1, tzinfo=UTC)


def _end(month: date) -> datetime:
    end = _month(month.year * 12 + month.month) if month >= SHARED_BEFORE else SHARED_BEFORE
    return _start(end)
