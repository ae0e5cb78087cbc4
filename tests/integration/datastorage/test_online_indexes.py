"""Indexes that a migration adds to tables with rows, while others write."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import pytest

from kubernaut.datastorage import migrate as migrations
from kubernaut.datastorage.errors import DatabaseUnavailable
from kubernaut.datastorage.migrate import Migration, Stage, migrate
from support.eventually import eventually
from support.services import NewDatabase

BEFORE = [migration for migration in migrations.known() if migration.version < 5]
INDEXES = [migration.name for migration in migrations.known() if migration.version in {5, 6, 7}]
WRITE = """
WITH event AS (
    INSERT INTO audit_events (event_id, event_timestamp, event_type, event_category, event_action, event_outcome,
           actor_type, actor_id, resource_type, resource_id, correlation_id, event_data, severity)
    SELECT gen_random_uuid(), '2026-11-01Z'::timestamptz + n * interval '1 second', 't', 'c', 'a', 'success', 'service',
           'a', 'Pod', 'p', 'rr-1', jsonb_build_object('n', n), 'info' FROM generate_series(1, $1::integer) AS n
    RETURNING event_id, event_timestamp)
INSERT INTO audit_ledger (sequence, event_timestamp, received_at, event_id, late, content_hash, previous_event_hash,
       event_hash, correlation_id, format, leaf_hash)
SELECT (SELECT count(*) FROM audit_ledger) + row_number() OVER (), event_timestamp, now(), event_id, false, sha256('1'),
       sha256('2'), sha256('3'), 'rr-1', 2, sha256('4') FROM event
"""
LOCK_OF_A_WRITER = "LOCK TABLE audit_events IN ROW EXCLUSIVE MODE"
BUILDING = """
SELECT pid FROM pg_stat_progress_create_index WHERE datname = current_database() AND phase LIKE 'waiting%'
"""
INDEX_STATES = """
SELECT indexrelid::regclass::text, indisvalid FROM pg_index
 WHERE indexrelid::regclass::text ~ '(time_index|event_timestamp|parent|event_data)' ORDER BY 1
"""


@pytest.fixture
async def old(postgres_database: str) -> str:
    """A database with some rows and without the newer indexes."""
    await migrate(postgres_database, migrations=BEFORE)
    async with connected(postgres_database) as connection:
        await connection.execute(
            "SELECT audit_events_ensure_month('2026-11-01'), audit_events_ensure_month('2026-12-01')"
        )
        await connection.execute(WRITE, 100)
    return postgres_database


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(url, server_settings={"lock_timeout": "10s"})
    try:
        yield connection
    finally:
        await connection.close()


@asynccontextmanager
async def old_transaction(url: str) -> AsyncIterator[None]:
    """A transaction with a snapshot, for whose end an index that is built beside it waits."""
    async with connected(url) as connection, connection.transaction(isolation="repeatable_read"):
        await connection.fetchval("SELECT count(*) FROM audit_ledger")
        yield


async def is_building(connection: asyncpg.Connection) -> bool:
    return bool(await connection.fetch(BUILDING))


async def test_writers_go_on_while_each_index_is_built(old: str, new_database: NewDatabase):
    fresh = await new_database()
    async with connected(old) as writer:
        async with old_transaction(old):
            running = asyncio.create_task(migrate(old))
            await eventually(lambda: is_building(writer))

            for _ in range(20):
                await writer.execute(WRITE, 10)

            assert not running.done()
        while not running.done():
            await writer.execute(WRITE, 10)

        assert await running == INDEXES
        written = await writer.fetchval("SELECT count(*) FROM audit_events")
        await writer.execute("SET enable_seqscan = off")
        found = "SELECT count(*) FROM audit_events WHERE event_data @> '{\"n\": 7}'"
        assert await writer.fetchval(found) == await writer.fetchval("SELECT count(*) FROM audit_ledger") // 10 - 9
        assert written == await writer.fetchval("SELECT count(*) FROM audit_ledger")
        states = {tuple(row) for row in await writer.fetch(INDEX_STATES)}
    await migrate(fresh)
    async with connected(fresh) as connection:
        await connection.execute(
            "SELECT audit_events_ensure_month('2026-11-01'), audit_events_ensure_month('2026-12-01')"
        )
        assert states == {tuple(row) for row in await connection.fetch(INDEX_STATES)}
    assert {is_valid for _, is_valid in states} == {True}


@pytest.mark.parametrize("name", INDEXES)
async def test_an_interrupted_build_is_finished_by_the_next(name: str, old: str):
    upto = next(migration.version for migration in migrations.known() if migration.name == name)
    known = [migration for migration in migrations.known() if migration.version <= upto]
    await migrate(old, migrations=known[:-1])
    async with connected(old) as other:
        async with old_transaction(old):
            running = asyncio.create_task(migrate(old, migrations=known))
            await eventually(lambda: is_building(other))
            for row in await other.fetch(BUILDING):
                await other.execute("SELECT pg_terminate_backend($1)", row["pid"])
            with pytest.raises(DatabaseUnavailable):
                await running
        assert False in {row["indisvalid"] for row in await other.fetch(INDEX_STATES)}

        assert await migrate(old, migrations=known) == [name]

        assert {row["indisvalid"] for row in await other.fetch(INDEX_STATES)} == {True}
        numbered = [row[0] for row in await other.fetch(INDEX_STATES) if row[0][-1].isdigit()]
        assert numbered == []


async def test_migrators_beside_each_other_do_not_wait_for_ever(old: str):
    applied = await asyncio.gather(*(migrate(old) for _ in range(4)))

    assert sorted(applied) == [[], [], [], INDEXES]


async def test_a_partition_that_comes_meanwhile_has_the_index(old: str):
    async with connected(old) as other:
        async with old_transaction(old):
            running = asyncio.create_task(migrate(old))
            await eventually(lambda: is_building(other))
            await other.execute("SELECT audit_events_ensure_month('2027-05-01')")
        await running

        names = {row[0] for row in await other.fetch(INDEX_STATES)}
        assert {
            "audit_events_2027_05_event_data_idx",
            "audit_events_2027_05_parent_event_id_event_timestamp_idx",
        } <= names


async def test_a_migration_that_waits_for_a_lock_lets_writers_pass(old: str):
    only = Migration(
        version=5, stage=Stage.PRE, name="one", text="-- +goose Up\nCREATE INDEX one ON audit_events (trace_id);\n"
    )
    async with connected(old) as blocker, connected(old) as writer:
        async with blocker.transaction():
            await blocker.execute(LOCK_OF_A_WRITER)
            running = asyncio.create_task(migrate(old, migrations=[*BEFORE, only]))
            waiting = """
                SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'audit_events'::regclass
                   AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
            """
            await eventually(lambda: writer.fetchval(waiting))

            async with writer.transaction():
                await writer.execute(LOCK_OF_A_WRITER)

            assert not running.done()
        assert await running == ["one"]
