"""Real processes that are killed, doubled and stopped: what was acknowledged is there, once, in order."""

import asyncio
import dataclasses
import json
import os
from collections import defaultdict
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import httpx2
import pytest

from kubernaut.datastorage.errors import CannotStart, NotMigrated
from kubernaut.datastorage.migrate import migrate
from kubernaut.datastorage.service import open_service
from kubernaut.embedded.postgres import PostgresConfig, open_postgres
from kubernaut.ops.http.server import PortInUse
from kubernaut.ops.settings import Secret
from support.datastorage import BATCH, EVENTS, JSON, VERIFY, Service, config_for, ledger_of, open_process
from support.eventually import eventually
from support.ledger_events import a_body, a_wire_event

SqlOf = Callable[[str], Awaitable[asyncpg.Connection]]


class Writer:
    """Sends one batch after the other to any of the services, each until it is acknowledged."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.acknowledged: list[str] = []
        self.stopping = False

    async def write(self, urls: list[str], *, batches: int = 10**6) -> None:
        async with httpx2.AsyncClient(timeout=10) as client:
            for _ in range(batches):
                events = [a_wire_event(correlation_id=self.name) for _ in range(5)]
                if not await self._until_acknowledged(client, urls, events):
                    return
                self.acknowledged += [event["event_id"] for event in events]

    async def _until_acknowledged(
        self, client: httpx2.AsyncClient, urls: list[str], events: list[dict[str, Any]]
    ) -> bool:
        attempt = 0
        while not self.stopping:
            try:
                answer = await client.post(urls[attempt % len(urls)] + BATCH, content=a_body(*events), headers=JSON)
            except httpx2.TransportError:
                attempt += 1
                await asyncio.sleep(0.02)
                continue
            if answer.status_code == 201:
                return True
            assert answer.status_code == 503, answer.text
            attempt += 1
            await asyncio.sleep(0.02)
        return False


async def assert_nothing_is_missing(sql: asyncpg.Connection, url: str, writers: list[Writer]) -> None:
    async with httpx2.AsyncClient(base_url=url, timeout=30) as client:
        verification = (await client.post(VERIFY)).json()
    assert verification["is_valid"], verification["findings"]
    rows = await ledger_of(sql)
    assert [row["sequence"] for row in rows] == list(range(1, len(rows) + 1))
    order: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        order[row["correlation_id"]].append(str(row["event_id"]))
    for writer in writers:
        # Behind the acknowledged ones at most the batch whose answer got lost.
        assert order[writer.name][: len(writer.acknowledged)] == writer.acknowledged
        assert len(order[writer.name]) - len(writer.acknowledged) in (0, 5)


async def test_killed_service_has_stored_what_it_acknowledged(database: str, sql: asyncpg.Connection, tmp_path: Path):
    writers = [Writer(f"w-{number}") for number in range(6)]
    async with asyncio.TaskGroup() as tasks:
        urls = [""]
        for round_ in range(3):
            async with open_process(database, tmp_path, f"ds-{round_}") as service:
                urls[0] = service.url
                if round_ == 0:
                    for writer in writers:
                        tasks.create_task(writer.write(urls))
                before = sum(len(writer.acknowledged) for writer in writers)
                await eventually(lambda before=before: sum(len(w.acknowledged) for w in writers) > before + 300)
                service.process.kill()
        for writer in writers:
            writer.stopping = True

    async with open_process(database, tmp_path, "last") as service:
        await assert_nothing_is_missing(sql, service.url, writers)


async def test_two_services_on_one_database_keep_one_ledger(database: str, sql: asyncpg.Connection, tmp_path: Path):
    writers = [Writer(f"w-{number}") for number in range(8)]
    async with open_process(database, tmp_path, "a") as first, open_process(database, tmp_path, "b") as second:
        async with asyncio.TaskGroup() as tasks:
            for number, writer in enumerate(writers):
                urls = [first.url, second.url] if number % 2 else [second.url, first.url]
                tasks.create_task(writer.write(urls, batches=15))
        await assert_nothing_is_missing(sql, first.url, writers)

    assert len(await ledger_of(sql)) == 8 * 15 * 5


async def test_stopped_service_answers_what_it_has_begun(database: str, sql: asyncpg.Connection, tmp_path: Path):
    async with open_process(database, tmp_path, endpointPropagationDelay="300ms") as service:
        async with httpx2.AsyncClient(base_url=service.url, timeout=10) as client:
            async with sql.transaction():
                await sql.execute("SELECT pg_advisory_xact_lock(hashtext('kubernaut.audit_ledger'), 0)")
                writing = asyncio.create_task(client.post(BATCH, content=a_body(a_wire_event()), headers=JSON))
                await eventually(lambda: sql.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"))
                stopped = asyncio.create_task(service.stop())
                ready = await eventually(lambda: not_ready(client))
            assert (await writing).status_code == 201
        assert await stopped == 0

    assert ready.json()["reason"] == "shutting_down"
    assert len(await ledger_of(sql)) == 1


async def not_ready(client: httpx2.AsyncClient) -> httpx2.Response | None:
    answer = await client.get("/readyz")
    assert (await client.get("/livez")).status_code == 200
    return answer if answer.status_code == 503 else None


async def test_outage_of_postgresql_is_503_and_ends_by_itself(own_directory: Path, tmp_path: Path):
    config = PostgresConfig(directory=own_directory, env=os.environ)
    async with open_postgres(config) as server:
        port = server.port
        url = server.url("postgres")
        await migrate(url)
        service_of = open_process(url, tmp_path)
        service = await service_of.__aenter__()
    try:
        await assert_unavailable(service)
        async with open_postgres(PostgresConfig(directory=own_directory, env=os.environ, port=port)) as server:
            assert server.port == port
            await assert_works_again(service)
    finally:
        await service_of.__aexit__(None, None, None)


async def assert_unavailable(service: Service) -> None:
    async with httpx2.AsyncClient(base_url=service.url, timeout=10) as client:
        for answer in (
            await client.post(BATCH, content=a_body(a_wire_event()), headers=JSON),
            await client.get(EVENTS),
            await client.post(VERIFY),
        ):
            assert answer.status_code == 503, answer.text
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.json()["type"] == "https://kubernaut.ai/problems/service-unavailable"
            assert int(answer.headers["retry-after"]) > 0
            assert "postgres" not in answer.text.lower()
        ready = await client.get("/readyz")
        assert (ready.status_code, ready.json()["reason"]) == (503, "database_unreachable")
        assert (await client.get("/livez")).status_code == 200


async def assert_works_again(service: Service) -> None:
    async with httpx2.AsyncClient(base_url=service.url, timeout=10) as client:
        answer = await client.post(BATCH, content=a_body(a_wire_event()), headers=JSON)
        assert answer.status_code == 201, answer.text
        assert (await client.get(EVENTS)).json()["pagination"]["total"] == 1
        assert (await client.get("/readyz")).status_code == 200


async def test_killed_connections_are_replaced(http: httpx2.AsyncClient, sql: asyncpg.Connection):
    await http.get(EVENTS)
    await sql.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )

    async def stored() -> bool:
        answer = await http.post(BATCH, content=a_body(a_wire_event()), headers=JSON)
        read = await http.get(EVENTS)
        assert {answer.status_code, read.status_code} <= {201, 200, 503}
        return (answer.status_code, read.status_code) == (201, 200)

    await eventually(stored)


async def test_database_that_is_not_migrated_is_named_with_the_command(postgres_database: str):
    with pytest.raises(NotMigrated, match="run: kubernaut migrate"):
        async with open_service(config_for(postgres_database)):
            pass


def replaced(url: str, **database: Any) -> Any:
    config = config_for(url)
    return dataclasses.replace(config, database=dataclasses.replace(config.database, **database))


async def test_database_of_another_encoding_stops_at_once(postgres_database: str, sql_of: SqlOf):
    name = f"latin_{uuid4().hex}"
    sql = await sql_of(postgres_database)
    await sql.execute(f"CREATE DATABASE {name} ENCODING 'LATIN1' TEMPLATE template0 LOCALE 'C'")

    try:
        with pytest.raises(CannotStart, match="encoding LATIN1"):
            async with open_service(replaced(postgres_database, name=name)):
                pass
    finally:
        await sql.execute(f"DROP DATABASE {name} WITH (FORCE)")


async def test_refused_password_stops_at_once(postgres_database: str):
    with pytest.raises(CannotStart, match="check user, password and database name"):
        async with open_service(replaced(postgres_database, password=Secret("wrong"))):
            pass


async def test_missing_database_stops_at_once(postgres_database: str):
    with pytest.raises(CannotStart, match='"nowhere" does not exist'):
        async with open_service(replaced(postgres_database, name="nowhere")):
            pass


async def test_port_in_use_stops_at_once(database: str):
    async with open_service(config_for(database)) as server:
        config = config_for(database)
        with pytest.raises(PortInUse, match="choose another port"):
            async with open_service(replace_server(config, port=server.port)):
                pass


def replace_server(config: Any, **server: Any) -> Any:
    return dataclasses.replace(config, server=dataclasses.replace(config.server, **server))


async def test_absent_server_is_tried_as_often_as_configured(postgres_database: str):
    config = replaced(postgres_database, port=1, connect_attempts=3, connect_interval=0.01)

    with pytest.raises(CannotStart, match=r"gave up on 127\.0\.0\.1:1 after 3 attempts"):
        async with open_service(config):
            pass


async def test_service_waits_for_a_server_that_comes_later(own_directory: Path, tmp_path: Path):
    async with open_postgres(PostgresConfig(directory=own_directory, env=os.environ)) as server:
        port, url = server.port, server.url("postgres")
        await migrate(url)
    opening = open_process(url, tmp_path)
    starting = asyncio.create_task(opening.__aenter__())
    log = tmp_path / "ds.log"
    await eventually(lambda: log.exists() and "PostgreSQL not ready" in log.read_text(), timeout=20)

    async with open_postgres(PostgresConfig(directory=own_directory, env=os.environ, port=port)):
        service = await starting
        await assert_works_again(service)
        assert await service.stop() == 0
        await opening.__aexit__(None, None, None)
    lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    assert lines == sorted(lines, key=lambda line: line["timestamp"])
