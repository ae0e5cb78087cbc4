"""Months of `audit_events`: created ahead while the service runs, and on demand for late events."""

import asyncio
from collections.abc import Iterable
from datetime import UTC, date, datetime

import asyncpg
import structlog

from kubernaut.datastorage import database, queries

log = structlog.get_logger("datastorage")

MONTHS_AHEAD = 3
"""Partitions that exist beyond the current month."""

CHECK_INTERVAL = 3600.0
"""Seconds between checks whether the next months have partitions."""

SHARED_BEFORE = date(2020, 1, 1)
"""Older events share one partition that the migration made."""


def month_of(time: datetime) -> date:
    """The first day of the month of a time in UTC."""
    return date(time.year, time.month, 1)


def name_of(month: date) -> str:
    """The partition of a month."""
    return f"audit_events_{month:%Y_%m}"


def months_ahead(now: datetime, ahead: int = MONTHS_AHEAD) -> list[date]:
    """The current month and those after it. Counts from the first day, so that no short month is skipped."""
    first = now.year * 12 + now.month - 1
    return [date(number // 12, number % 12 + 1, 1) for number in range(first, first + ahead + 1)]


def missing(times: Iterable[datetime], present: set[date]) -> list[date]:
    """The months that must be created before events of these times can be stored, in order."""
    wanted = {month_of(time) for time in times}
    return sorted(month for month in wanted - present if month >= SHARED_BEFORE)


class PartitionMaintainer:
    """Creates partitions, and knows which exist."""

    def __init__(self) -> None:
        self._present: set[date] = set()

    async def load(self, connection: asyncpg.Connection) -> None:
        """Read from the database which partitions exist."""
        self._present = {row["month"] for row in await queries.fetch(connection, "months")}

    async def ensure(self, connection: asyncpg.Connection, times: Iterable[datetime]) -> None:
        """Create what is missing for events of these times."""
        for month in missing(times, self._present):
            await self._create(connection, month)

    async def ensure_ahead(self, connection: asyncpg.Connection | asyncpg.Pool) -> None:
        """Create what is missing of the current month and the next ones, whatever was there before."""
        for month in months_ahead(datetime.now(UTC)):
            await self._create(connection, month)

    async def run(self, pool: asyncpg.Pool) -> None:
        """Create the next months' partitions in time, for as long as the service runs."""
        while True:
            await asyncio.sleep(CHECK_INTERVAL)
            try:
                with database.translated():
                    await self.ensure_ahead(pool)
            except Exception as error:  # noqa: BLE001 - the loop outlives whatever a check meets
                log.warning("partition check failed, retrying", retry_interval=CHECK_INTERVAL, error=repr(error))

    async def _create(self, connection: asyncpg.Connection | asyncpg.Pool, month: date) -> None:
        created = await queries.fetch_row(connection, "ensure_month", month=month)
        if created and created[0]:
            log.info("partition created", month=month.isoformat())
        self._present.add(month)
