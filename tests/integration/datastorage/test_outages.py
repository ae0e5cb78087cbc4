"""PostgreSQL that takes no writes: one word in the problem document and in readiness, and recovery by itself."""

import asyncio
import dataclasses
import os
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import httpx2
import pytest

from kubernaut.datastorage.config import DatabaseConfig, DataStorageConfig
from kubernaut.datastorage.service import open_service
from support.datastorage import BATCH, EVENTS, JSON, VERIFY, config_for
from support.eventually import eventually
from support.ledger_events import a_body, a_wire_event


@pytest.fixture
async def role(database: str, sql: asyncpg.Connection) -> AsyncIterator[str]:
    """A role that may log in and use the tables, and is no superuser; its password is its name."""
    name = f"writer_{uuid4().hex}"
    await sql.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{name}'")
    await sql.execute(f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {name}; GRANT ALL ON SCHEMA public TO {name}")
    await sql.execute(f"ALTER TABLE audit_events OWNER TO {name}")
    yield name
    await drop_connections(sql)
    await sql.execute(f"REASSIGN OWNED BY {name} TO CURRENT_USER; DROP OWNED BY {name}; DROP ROLE {name}")


@pytest.fixture
def password_file(role: str, tmp_path: Path) -> Path:
    path = tmp_path / "password"
    path.write_text(f"{role}\n")
    return path


@pytest.fixture
def config(database: str, role: str, password_file: Path) -> DataStorageConfig:
    config = config_for(database)
    return dataclasses.replace(config, database=as_role(config.database, role, password_file))


def as_role(database: DatabaseConfig, role: str, password_file: Path) -> DatabaseConfig:
    return dataclasses.replace(
        database, user=role, password=None, password_file=password_file, statement_timeout=1, lock_timeout=0.5
    )


@pytest.fixture
async def client(config: DataStorageConfig) -> AsyncIterator[httpx2.AsyncClient]:
    async with (
        open_service(config) as server,
        httpx2.AsyncClient(base_url=server.url, timeout=20) as client,
    ):
        yield client


async def drop_connections(sql: asyncpg.Connection) -> None:
    await sql.execute(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )


async def write(client: httpx2.AsyncClient) -> httpx2.Response:
    return await client.post(BATCH, content=a_body(a_wire_event()), headers=JSON)


async def assert_unavailable(client: httpx2.AsyncClient, reason: str) -> None:
    """Writes are answered with the reason, and readiness has the same word."""

    async def says_so() -> bool:
        answer = await write(client)
        return answer.status_code == 503 and answer.json().get("reason") == reason

    await eventually(says_so)
    answer = await write(client)
    assert answer.headers["content-type"] == "application/problem+json"
    assert (answer.json()["retry"], int(answer.headers["retry-after"]) > 0) == (True, True)
    ready = await client.get("/readyz")
    assert (ready.status_code, ready.json()["reason"]) == (503, reason)
    assert (await client.get("/livez")).status_code == 200


async def assert_recovers(client: httpx2.AsyncClient) -> None:
    async def works() -> bool:
        written, read, ready = await write(client), await client.get(EVENTS), await client.get("/readyz")
        return (written.status_code, read.status_code, ready.status_code) == (201, 200, 200)

    await eventually(works)


async def test_read_only_database(client: httpx2.AsyncClient, sql: asyncpg.Connection, database: str):
    name = database.rpartition("/")[2].partition("?")[0]
    await sql.execute(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
    await drop_connections(sql)

    await assert_unavailable(client, "database_read_only")
    assert (await client.get(EVENTS)).status_code == 200

    await sql.execute(f'ALTER DATABASE "{name}" RESET default_transaction_read_only')
    await drop_connections(sql)
    await assert_recovers(client)


@pytest.mark.parametrize("table", ["audit_events", "audit_ledger", "audit_trees"])
async def test_table_that_an_administrator_locked(client: httpx2.AsyncClient, sql: asyncpg.Connection, table: str):
    async with sql.transaction():
        await sql.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")

        await assert_unavailable(client, "database_locked")

    await assert_recovers(client)


async def test_lock_on_a_partition_of_another_month_leaves_the_service_ready(
    client: httpx2.AsyncClient, sql: asyncpg.Connection
):
    await assert_recovers(client)
    async with sql.transaction():
        await sql.execute("LOCK TABLE audit_events_before_2020 IN ACCESS EXCLUSIVE MODE")

        assert (await client.get("/readyz")).status_code == 200
        assert (await write(client)).status_code == 201


async def test_connections_of_the_role_are_exhausted(client: httpx2.AsyncClient, sql: asyncpg.Connection, role: str):
    await sql.execute(f"ALTER ROLE {role} CONNECTION LIMIT 0")
    await drop_connections(sql)

    await assert_unavailable(client, "database_connections_exhausted")
    assert (await client.get(EVENTS)).json()["reason"] == "database_connections_exhausted"

    await sql.execute(f"ALTER ROLE {role} CONNECTION LIMIT -1")
    await assert_recovers(client)


async def test_password_that_was_rotated_is_read_again(
    client: httpx2.AsyncClient, sql: asyncpg.Connection, role: str, password_file: Path
):
    await assert_recovers(client)
    await sql.execute(f"ALTER ROLE {role} PASSWORD 'rotated'")
    await drop_connections(sql)
    await assert_unavailable(client, "database_auth_failed")
    assert (await client.get(EVENTS)).json()["reason"] == "database_auth_failed"

    await asyncio.to_thread(password_file.write_text, "rotated")

    await assert_recovers(client)


async def test_password_file_that_vanished_for_a_while(
    client: httpx2.AsyncClient, sql: asyncpg.Connection, role: str, password_file: Path
):
    await assert_recovers(client)
    await asyncio.to_thread(password_file.unlink)
    await drop_connections(sql)
    await assert_unavailable(client, "database_credentials_unreadable")

    await asyncio.to_thread(password_file.write_text, role)

    await assert_recovers(client)


async def test_login_that_was_forbidden_for_a_while(client: httpx2.AsyncClient, sql: asyncpg.Connection, role: str):
    await sql.execute(f"ALTER ROLE {role} NOLOGIN")
    await drop_connections(sql)

    await assert_unavailable(client, "database_auth_failed")

    await sql.execute(f"ALTER ROLE {role} LOGIN")
    await assert_recovers(client)


async def test_privilege_that_was_taken_away_for_a_while(
    client: httpx2.AsyncClient, sql: asyncpg.Connection, role: str
):
    await sql.execute(f"REVOKE INSERT ON audit_ledger FROM {role}")

    await assert_unavailable(client, "database_permission_denied")

    await sql.execute(f"GRANT INSERT ON audit_ledger TO {role}")
    await assert_recovers(client)


async def test_statement_that_takes_too_long(client: httpx2.AsyncClient, sql: asyncpg.Connection):
    await sql.execute(
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(30); RETURN NEW; END $$;"
        "CREATE TRIGGER slow BEFORE INSERT ON audit_ledger FOR EACH STATEMENT EXECUTE FUNCTION slow()"
    )

    await assert_unavailable(client, "database_timeout")

    await sql.execute("DROP TRIGGER slow ON audit_ledger")
    await assert_recovers(client)


@pytest.fixture
async def small_disk(
    sql: asyncpg.Connection, postgres_server: dict[str, Any], own_directory: Path
) -> AsyncIterator[Callable[[int], Awaitable[None]]]:
    """The ledger on a file system of 1 MiB; the value makes it larger."""
    place, name = own_directory / "disk", f"disk_{uuid4().hex}"
    await asyncio.to_thread(place.mkdir)
    if await run("mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)):
        pytest.skip("file systems can be mounted by root only")
    try:
        owner = (await asyncio.to_thread(Path(f"/proc/{postgres_server['pid']}").stat)).st_uid
        await asyncio.to_thread(os.chown, place, owner, owner)
        await sql.execute(f"CREATE TABLESPACE {name} LOCATION '{place}'")
        await sql.execute(f"ALTER TABLE audit_ledger SET TABLESPACE {name}")

        async def enlarge(megabytes: int) -> None:
            assert await run("mount", "-o", f"remount,size={megabytes}m", str(place)) == 0

        yield enlarge
        await enlarge(64)
        await sql.execute("ALTER TABLE audit_ledger SET TABLESPACE pg_default")
        await sql.execute(f"DROP TABLESPACE {name}")
    finally:
        assert await run("umount", str(place)) == 0


async def run(*command: str) -> int:
    process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.DEVNULL)
    return await asyncio.wait_for(process.wait(), 20)


async def test_file_system_that_is_full(
    small_disk: Callable[[int], Awaitable[None]], client: httpx2.AsyncClient, sql: asyncpg.Connection
):
    acknowledged = 0
    for _ in range(20):
        answer = await client.post(BATCH, content=a_body(*(a_wire_event() for _ in range(500))), headers=JSON)
        if answer.status_code != 201:
            break
        acknowledged += 500

    await assert_unavailable_in_large(client, "database_full")

    await small_disk(64)
    await assert_recovers(client)
    assert 0 < acknowledged < await sql.fetchval("SELECT count(*) FROM audit_ledger")
    assert (await client.post(VERIFY)).json()["is_valid"]


async def assert_unavailable_in_large(client: httpx2.AsyncClient, reason: str) -> None:
    """As above, with as many events as no page of the table has room for."""
    answer = await client.post(BATCH, content=a_body(*(a_wire_event() for _ in range(500))), headers=JSON)
    assert (answer.status_code, answer.json()["reason"]) == (503, reason)
    ready = await client.get("/readyz")
    assert (ready.status_code, ready.json()["reason"]) == (503, reason)


async def test_disk_that_is_full(client: httpx2.AsyncClient, sql: asyncpg.Connection):
    await sql.execute(
        "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "RAISE EXCEPTION 'could not extend file' USING ERRCODE = 'disk_full'; END $$;"
        "CREATE TRIGGER full_disk BEFORE INSERT ON audit_ledger FOR EACH STATEMENT EXECUTE FUNCTION full_disk()"
    )

    await assert_unavailable(client, "database_full")

    await sql.execute("DROP TRIGGER full_disk ON audit_ledger")
    await assert_recovers(client)


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER TABLE audit_ledger RENAME TO moved",
        "ALTER TABLE audit_events RENAME COLUMN actor_ip TO ip",
        "ALTER TABLE audit_ledger RENAME COLUMN leaf_hash TO leaf",
        "ALTER TABLE audit_trees RENAME COLUMN root TO top",
    ],
)
async def test_schema_that_is_another_for_a_while(client: httpx2.AsyncClient, sql: asyncpg.Connection, statement: str):
    await assert_recovers(client)
    table, before, after = re.fullmatch(r"ALTER TABLE (\w+) RENAME (?:COLUMN )?(.*)TO (\w+)", statement).groups()
    await sql.execute(statement)

    await assert_unavailable(client, "database_schema_changed")
    for answer in (await client.get(EVENTS), await client.post(VERIFY)):
        assert answer.status_code == 200 or answer.json()["reason"] == "database_schema_changed"
        assert "Send the same events" not in answer.text

    undo = f"COLUMN {after} TO {before}" if before else f"TO {table}"
    await sql.execute(f"ALTER TABLE {table if before else after} RENAME {undo}")
    await assert_recovers(client)


@pytest.mark.parametrize("table", ["audit_ledger", "audit_trees", "audit_tiles"])
async def test_row_level_security_of_somebody_else(client: httpx2.AsyncClient, sql: asyncpg.Connection, table: str):
    """Without a policy for us, a table looks empty and takes nothing; its owner is not subject to that."""
    assert (await client.post(BATCH, content=a_body(*(a_wire_event() for _ in range(255))))).status_code == 201
    await sql.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")

    for count in (1, 500):
        answer = await client.post(BATCH, content=a_body(*(a_wire_event() for _ in range(count))), headers=JSON)
        assert (answer.status_code, answer.json().get("retry")) == (503, True)

    await sql.execute(f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY")
    await assert_recovers(client)
    assert (await client.post(VERIFY)).json()["is_valid"]


@pytest.mark.parametrize("count", [1, 500])
@pytest.mark.parametrize("table", ["audit_events", "audit_ledger", "audit_trees", "audit_tiles"])
async def test_nothing_is_acknowledged_whose_rows_a_trigger_discards(
    client: httpx2.AsyncClient, sql: asyncpg.Connection, table: str, count: int
):
    """COPY and INSERT report success for rows that a trigger has discarded; only their numbers tell."""
    assert (await client.post(BATCH, content=a_body(*(a_wire_event() for _ in range(255))))).status_code == 201
    await sql.execute(
        "CREATE FUNCTION discard() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;"
        f"CREATE TRIGGER discard BEFORE INSERT OR UPDATE ON {table} FOR EACH ROW EXECUTE FUNCTION discard()"
    )

    for _ in range(2):
        answer = await client.post(BATCH, content=a_body(*(a_wire_event() for _ in range(count))))
        assert (answer.status_code, answer.json().get("reason")) == (503, "database_rows_discarded")
    assert (await client.get("/readyz")).json()["reason"] == "database_rows_discarded"

    await sql.execute(f"DROP TRIGGER discard ON {table}")
    await assert_recovers(client)
    assert await sql.fetchval("SELECT count(*) FROM audit_ledger") == await sql.fetchval(
        "SELECT count(*) FROM audit_events"
    )
    assert (await client.post(VERIFY)).json()["is_valid"]


async def test_evidence_of_a_conflict_is_kept_or_the_request_fails(client: httpx2.AsyncClient, sql: asyncpg.Connection):
    stored = a_wire_event()
    assert (await client.post(BATCH, content=a_body(stored))).status_code == 201
    await sql.execute(
        "CREATE FUNCTION discard() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;"
        "CREATE TRIGGER discard BEFORE INSERT ON audit_conflicts FOR EACH ROW EXECUTE FUNCTION discard()"
    )
    other = a_body(stored | {"event_action": "another"})

    answer = await client.post(BATCH, content=other)
    assert (answer.status_code, answer.json().get("reason")) == (503, "database_rows_discarded")

    await sql.execute("DROP TRIGGER discard ON audit_conflicts")
    assert (await client.post(BATCH, content=other)).status_code == 409
