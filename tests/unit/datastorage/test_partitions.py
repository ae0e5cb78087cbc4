"""Months, also at the end of long ones."""

from datetime import UTC, date, datetime

import pytest

from kubernaut.datastorage import partitions


@pytest.mark.parametrize("day", [1, 28, 29, 30, 31])
def test_no_short_month_is_skipped_at_the_end_of_a_long_one(day: int):
    now = datetime(2026, 12, day, 23, 59, tzinfo=UTC)

    assert partitions.months_ahead(now) == [date(2026, 12, 1), date(2027, 1, 1), date(2027, 2, 1), date(2027, 3, 1)]


def test_only_absent_months_are_missing_and_ancient_ones_share_a_partition():
    times = [datetime(year, 5, 31, 23, tzinfo=UTC) for year in (1, 2019, 2020, 2026, 2026, 2025)]

    assert partitions.missing(times, {date(2026, 5, 1)}) == [partitions.SHARED, date(2020, 5, 1), date(2025, 5, 1)]
    assert partitions.name_of(partitions.SHARED) == "audit_events_before_2020"
