"""Events by a detail of their data, common or rare, in more events than are looked through one by one."""

from datetime import UTC, datetime

import asyncpg
import pytest

from kubernaut.datastorage.event_pages import MAX_UNKNOWN_ROWS, WINDOWS, Filters, PageRequest
from kubernaut.datastorage.store import Store

EVENTS = WINDOWS[-1] + 500
ROWS = """
WITH event AS (
    INSERT INTO audit_events (event_id, event_timestamp, event_type, event_category, event_action, event_outcome,
           actor_type, actor_id, resource_type, resource_id, correlation_id, event_data, severity)
    SELECT gen_random_uuid(), '2026-11-01Z'::timestamptz + n * interval '1 second', 't', 'c', 'a', 'success', 'service',
           'a', 'Pod', 'p', 'rr-1', jsonb_build_object('n', n, 'phase', CASE WHEN n <= 300 THEN 'old' ELSE 'new' END)
               || CASE n WHEN 7 THEN '{"mixed": true}' WHEN 8 THEN '{"mixed": "true"}' WHEN 9 THEN '{"mixed": 1.5}'
                  WHEN 10 THEN '{"mixed": {"a": 1}}' ELSE '{}' END::jsonb, 'info'
      FROM generate_series(1, $1::integer) AS n
    RETURNING event_id, event_timestamp, correlation_id)
INSERT INTO audit_ledger (sequence, event_timestamp, received_at, event_id, late, content_hash, previous_event_hash,
       event_hash, correlation_id, format, leaf_hash)
SELECT row_number() OVER (ORDER BY event_timestamp), event_timestamp, now(), event_id, false, sha256('1'), sha256('2'),
       sha256('3'), correlation_id, 2, sha256('4') FROM event
"""


@pytest.fixture
async def many(store: Store, sql: asyncpg.Connection) -> Store:
    await sql.execute("SELECT audit_events_ensure_month('2026-11-01')")
    await sql.execute(ROWS, EVENTS)
    return store


async def test_details_are_found_wherever_they_are(many: Store):
    async def numbers(value: str, key: str = "mixed", **filters: datetime) -> tuple[list[int], int, bool]:
        page = await many.read.page(Filters(detail_key=key, detail_value=value, **filters), PageRequest())
        times = [
            int((event.event_timestamp - datetime(2026, 11, 1, tzinfo=UTC)).total_seconds()) for event in page.data
        ]
        return times, page.pagination.total, page.pagination.total_is_exact

    newest = list(range(EVENTS, EVENTS - 50, -1))
    assert await numbers("new", "phase") == (newest, 10_000, False)
    assert await numbers("old", "phase") == (list(range(300, 250, -1)), 300, True)
    assert await numbers("none", "phase") == ([], 0, True)
    assert await numbers("17", "n") == ([17], 1, True)
    assert await numbers("17.0", "n") == ([], 0, True)
    assert await numbers("true") == ([8, 7], 2, True)
    assert await numbers("1.5") == ([9], 1, True)
    assert await numbers('{"a": 1}') == ([10], 1, True)
    assert await numbers("1e999999999") == ([], 0, True)
    assert await numbers("old", "phase", until=datetime(2026, 11, 1, 0, 0, 20, tzinfo=UTC)) == (
        list(range(20, 0, -1)),
        20,
        True,
    )


async def test_pages_of_a_detail_continue_beyond_recent_events(many: Store):
    found: list[str] = []
    page = await many.read.page(Filters(detail_key="phase", detail_value="old"), PageRequest(limit=70))
    found += [str(event.event_id) for event in page.data]
    while page.pagination.cursor:
        request = PageRequest(limit=70, cursor=page.pagination.cursor)
        page = await many.read.page(Filters(detail_key="phase", detail_value="old"), request)
        found += [str(event.event_id) for event in page.data]

    assert len(found) == len(set(found)) == 300


async def test_a_detail_and_another_filter_are_counted_to_the_last(many: Store, sql: asyncpg.Connection):
    since = datetime(2026, 11, 1, 0, 3, 20, tzinfo=UTC)
    wanted = Filters(detail_key="phase", detail_value="old", correlation_id="rr-1", since=since)
    until = Filters(detail_key="phase", detail_value="new", until=datetime(2026, 11, 1, 0, 10, tzinfo=UTC))

    first = await many.read.page(wanted, PageRequest(limit=70))
    second = await many.read.page(wanted, PageRequest(limit=70, cursor=first.pagination.cursor))
    few = await many.read.page(until, PageRequest(limit=70))

    assert (len(first.data), first.pagination.total, first.pagination.total_is_exact) == (70, 101, True)
    assert (len(second.data), second.pagination.total, second.pagination.has_more) == (31, 101, False)
    assert (len(few.data), few.pagination.total, few.pagination.total_is_exact) == (70, 300, True)


@pytest.mark.parametrize("filters", [Filters(severity="info"), Filters(detail_key="phase", detail_value="old")])
async def test_rows_that_no_ledger_knows_hide_no_event(filters: Filters, many: Store, sql: asyncpg.Connection):
    expected = await many.read.page(filters, PageRequest())
    await sql.execute(
        """
        INSERT INTO audit_events (event_id, event_timestamp, event_type, event_category, event_action, event_outcome,
               actor_type, actor_id, resource_type, resource_id, correlation_id, event_data, severity)
        SELECT gen_random_uuid(), '2026-11-20Z'::timestamptz + n * interval '1 second', 't', 'c', 'a', 'success',
               'service', 'a', 'Pod', 'p', 'rr-1', '{"phase": "old"}', 'info'
          FROM generate_series(1, $1::integer) AS n
        """,
        MAX_UNKNOWN_ROWS + 100,
    )

    found = await many.read.page(filters, PageRequest())

    assert found.data == expected.data
