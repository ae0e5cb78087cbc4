"""Partitions that somebody dropped or detached: their events are named and wait, all others go on."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import httpx2
import pytest

from kubernaut.datastorage import partitions, queries
from kubernaut.datastorage.partitions import PartitionMaintainer
from kubernaut.datastorage.service import open_service
from support.datastorage import BATCH, EVENTS, JSON, config_for
from support.eventually import eventually
from support.ledger_events import a_body, a_wire_event

OLD = "2023-05-17T00:00:00Z"
OLD_PARTITION = "audit_events_2023_05"
LENIENT = {**JSON, "prefer": "handling=lenient"}
DETACH = f"ALTER TABLE audit_events DETACH PARTITION {OLD_PARTITION}"
ATTACH = (
    f"ALTER TABLE audit_events ATTACH PARTITION {OLD_PARTITION} "
    "FOR VALUES FROM ('2023-05-01 00:00:00+00') TO ('2023-06-01 00:00:00+00')"
)


async def write(http: httpx2.AsyncClient, *events: dict[str, Any], lenient: bool = False) -> httpx2.Response:
    return await http.post(BATCH, content=a_body(*events), headers=LENIENT if lenient else JSON)


def of_the_old_month(**fields: Any) -> dict[str, Any]:
    return a_wire_event(event_timestamp=OLD, **fields)


async def readiness(http: httpx2.AsyncClient) -> dict[str, Any]:
    answer = await http.get("/readyz")
    assert answer.status_code == 200
    document: dict[str, Any] = answer.json()
    return document


@pytest.mark.parametrize("statement", [DETACH, f"DROP TABLE {OLD_PARTITION}"])
async def test_events_of_a_month_that_is_gone_fail_alone(
    http: httpx2.AsyncClient, sql: asyncpg.Connection, statement: str
):
    stored = of_the_old_month()
    assert (await write(http, stored)).status_code == 201
    await sql.execute(statement)

    strict = await write(http, a_wire_event(), of_the_old_month())
    other = await write(http, a_wire_event())
    parent = of_the_old_month()
    child = a_wire_event(parent_event_id=parent["event_id"])
    lenient = await write(http, a_wire_event(), parent, child, stored, lenient=True)

    problem = strict.json()
    assert (strict.status_code, problem["reason"], problem["retry"]) == (503, "partition_missing", True)
    assert problem["index"] == 1
    assert problem["field_errors"] == {"[1].event_timestamp": f"the partition {OLD_PARTITION} is missing"}
    assert OLD_PARTITION in problem["detail"]
    assert other.status_code == 201
    assert [result["status"] for result in lenient.json()["results"]] == [201, 503, 503, 201]
    assert [result.get("reason") for result in lenient.json()["results"]] == [
        None,
        "partition_missing",
        "partition_missing",
        None,
    ]
    assert (await readiness(http))["degraded"] == {"partitions": f"partition_missing: {OLD_PARTITION}"}
    assert "kubernaut_datastorage_missing_partitions 1.0" in (await http.get("/metrics")).text
    attached = await sql.fetch("SELECT inhrelid::regclass::text FROM pg_inherits")
    assert OLD_PARTITION not in {row[0] for row in attached}


async def test_month_that_is_attached_again_takes_events_again(http: httpx2.AsyncClient, sql: asyncpg.Connection):
    await write(http, of_the_old_month())
    await sql.execute(DETACH)
    assert (await write(http, of_the_old_month())).status_code == 503
    await sql.execute(ATTACH)

    assert (await write(http, of_the_old_month())).status_code == 201
    assert "degraded" not in await readiness(http)


async def test_month_without_events_is_made_again(http: httpx2.AsyncClient, sql: asyncpg.Connection):
    maintainer = PartitionMaintainer()
    await maintainer.ensure(sql, [datetime(2023, 5, 17, tzinfo=UTC)])
    await sql.execute(f"DROP TABLE {OLD_PARTITION}")

    assert (await write(http, of_the_old_month())).status_code == 201
    assert "degraded" not in await readiness(http)


async def test_table_that_is_in_the_way_of_a_partition_is_named(http: httpx2.AsyncClient, sql: asyncpg.Connection):
    await sql.execute(f"CREATE TABLE {OLD_PARTITION} (LIKE audit_events)")

    answer = await write(http, of_the_old_month())

    assert (answer.status_code, answer.json()["reason"]) == (503, "partition_missing")
    await sql.execute(f"DROP TABLE {OLD_PARTITION}")
    assert (await write(http, of_the_old_month())).status_code == 201


async def test_partition_of_ancient_events_counts_as_one_month(http: httpx2.AsyncClient, sql: asyncpg.Connection):
    await write(http, a_wire_event(event_timestamp="1999-01-01T00:00:00Z"))
    await sql.execute("DROP TABLE audit_events_before_2020")

    answer = await write(http, a_wire_event(event_timestamp="1970-01-01T00:00:00Z"))

    assert "audit_events_before_2020" in answer.json()["detail"]
    assert (await write(http, of_the_old_month())).status_code == 201


@pytest.fixture
async def lost_month(database: str, sql: asyncpg.Connection) -> AsyncIterator[str]:
    """The URL of a database that lost a month before the service started."""
    async with (
        open_service(config_for(database)) as server,
        httpx2.AsyncClient(base_url=server.url, timeout=10) as client,
    ):
        assert (await write(client, of_the_old_month(), a_wire_event())).status_code == 201
    await sql.execute(DETACH)
    yield database


async def test_month_that_was_lost_before_the_start_is_named(lost_month: str, sql: asyncpg.Connection):
    async with (
        open_service(config_for(lost_month)) as server,
        httpx2.AsyncClient(base_url=server.url, timeout=10) as client,
    ):
        assert (await readiness(client))["degraded"] == {"partitions": f"partition_missing: {OLD_PARTITION}"}
        assert (await write(client, a_wire_event())).status_code == 201

        await sql.execute(ATTACH)

        assert (await write(client, of_the_old_month())).status_code == 201
        assert "degraded" not in await readiness(client)


async def test_service_without_the_partition_of_this_month_is_not_ready(
    http: httpx2.AsyncClient, sql: asyncpg.Connection
):
    now = datetime.now(UTC)
    assert (await write(http, a_wire_event(event_timestamp=now.isoformat()))).status_code == 201
    await sql.execute(f"DROP TABLE {partitions.name_of(partitions.month_of(now))}")

    assert (await write(http, a_wire_event(event_timestamp=now.isoformat()))).status_code == 503

    ready = await http.get("/readyz")
    assert (ready.status_code, ready.json()["reason"]) == (503, "partition_missing")
    assert (await http.get(EVENTS)).status_code == 200


async def test_check_finds_what_was_dropped_and_what_came_back(sql: asyncpg.Connection, http: httpx2.AsyncClient):
    await write(http, of_the_old_month())
    maintainer = PartitionMaintainer()
    await maintainer.load(sql)
    await sql.execute(DETACH)

    await maintainer.ensure_ahead(sql)
    found = maintainer.lost
    await sql.execute(ATTACH)
    await maintainer.ensure_ahead(sql)

    assert [partitions.name_of(month) for month in found] == [OLD_PARTITION]
    assert maintainer.lost == []


async def test_check_survives_any_error(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(partitions, "CHECK_INTERVAL", timedelta(milliseconds=1).total_seconds())
    attempts = 0

    class Broken:
        async def fetch(self, *_: object) -> None:
            nonlocal attempts
            attempts += 1
            raise asyncpg.UndefinedTableError("gone")

    task = asyncio.create_task(PartitionMaintainer().run(Broken()))  # type: ignore[arg-type]
    await eventually(lambda: attempts > 2)

    assert not task.done()
    task.cancel()


async def test_search_for_events_of_a_month_uses_the_small_index(sql: asyncpg.Connection):
    await sql.execute(
        "INSERT INTO audit_ledger (sequence, event_timestamp, received_at, event_id, late, content_hash, "
        "previous_event_hash, event_hash, correlation_id, format, leaf_hash) "
        "SELECT n, timestamptz '2026-01-01' + n * interval '1 minute', now(), gen_random_uuid(), false, h, h, h, "
        "'rr-' || n, 2, h FROM generate_series(1, 100000) AS n, decode(repeat('ab', 32), 'hex') AS h"
    )
    await sql.execute("ANALYZE audit_ledger")
    statement = queries.QUERIES["spans_with_events"]
    spans = [datetime(2023, month, 1, tzinfo=UTC) for month in range(1, 11)]

    rows = await sql.fetch(f"EXPLAIN {statement.sql}", spans, [time + timedelta(days=28) for time in spans])

    plan = "\n".join(row[0] for row in rows)
    assert "Bitmap Index Scan on idx_audit_ledger_event_timestamp" in plan, plan
