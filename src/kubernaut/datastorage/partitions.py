"""Months of `audit_events`: made ahead while the service runs, and on demand for late events."""

from collections.abc import Iterable
from datetime import date, datetime

MONTHS_AHEAD = 3
"""Partitions that exist beyond the current month."""

SHARED_BEFORE = date(2020, 1, 1)
"""Older events share one partition that the migration made."""


def month_of(time: datetime) -> date:
    """The first day of the month of a time in UTC."""
    return date(time.year, time.month, 1)


def months_ahead(now: datetime, ahead: int = MONTHS_AHEAD) -> list[date]:
    """The current month and those after it. Counts from the first day, so that no short month is skipped."""
    first = now.year * 12 + now.month - 1
    return [date(number // 12, number % 12 + 1, 1) for number in range(first, first + ahead + 1)]


def missing(times: Iterable[datetime], present: set[date]) -> list[date]:
    """The months that must be made before events of these times can be stored, in order."""
    wanted = {month_of(time) for time in times}
    return sorted(month for month in wanted - present if month >= SHARED_BEFORE)
