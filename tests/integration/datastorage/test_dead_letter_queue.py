"""The dead-letter queue with a real Valkey, while a real PostgreSQL is read-only, locked, stopped and back."""

import dataclasses
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import asyncpg
import httpx2
import pytest
import valkey.asyncio

from kubernaut.datastorage.config import DataStorageConfig
from kubernaut.datastorage.dead_letter.config import DeadLetterConfig
from kubernaut.datastorage.dead_letter.errors import NotDurable
from kubernaut.datastorage.dead_letter.stream import DEAD_LETTERS, QUEUE
from kubernaut.datastorage.migrate import migrate
from kubernaut.datastorage.service import open_service
from kubernaut.ops.settings import Secret
from support.datastorage import BATCH, EVENTS, JSON, VERIFY, config_for, ledger_of
from support.eventually import eventually
from support.ledger_events import a_body, a_wire_event
from support.logs import capture_logs
from support.restartable import Restartable, restartable_postgres, restartable_valkey

Client = httpx2.AsyncClient


def queue_at(url: str, **settings: Any) -> DeadLetterConfig:
    parts = urlsplit(url)
    return DeadLetterConfig(
        host=parts.hostname or "",
        port=parts.port or 0,
        database=int(parts.path.lstrip("/") or 0),
        password=Secret(parts.password or ""),
        **{"retry_interval": 0.05, "timeout": 1.0, "write_timeout": 1.0} | settings,
    )


def config_with(database: str, queue: DeadLetterConfig) -> DataStorageConfig:
    return dataclasses.replace(config_for(database), dead_letter_queue=queue)


@asynccontextmanager
async def client_of(database: str, queue: DeadLetterConfig) -> AsyncIterator[Client]:
    async with (
        open_service(config_with(database, queue)) as server,
        Client(base_url=server.url, timeout=10) as client,
    ):
        yield client


@pytest.fixture
def queue(valkey_url: str) -> DeadLetterConfig:
    """The test's own database of the run's Valkey, which is not durable."""
    return queue_at(valkey_url, require_durability=False)


@pytest.fixture
async def stream(valkey_url: str) -> AsyncIterator[valkey.asyncio.Valkey]:
    client = valkey.asyncio.from_url(valkey_url)
    yield client
    await client.aclose()


@pytest.fixture
async def read_only(database: str, postgres: Any) -> AsyncIterator[Callable[[bool], Awaitable[None]]]:
    """Turns the test's database read-only for everybody, and back."""
    name = urlsplit(database).path.lstrip("/")
    admin = await asyncpg.connect(postgres.url("postgres"))

    async def switch(on: bool) -> None:
        await admin.execute(f'ALTER DATABASE "{name}" SET default_transaction_read_only = {"on" if on else "off"}')
        await admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1 AND application_name <> ''", name
        )

    yield switch
    await admin.close()


async def post(client: Client, *events: dict[str, Any], **headers: str) -> httpx2.Response:
    return await client.post(BATCH, content=a_body(*events), headers=JSON | headers)


async def queued(client: Client, *events: dict[str, Any]) -> None:
    """Send until the answer is 202; a connection that was just lost may cost one attempt."""
    answer = await post(client, *events)
    assert answer.status_code == 202, answer.text
    assert answer.json()["queued"] is True
    assert answer.json()["event_ids"] == [event["event_id"] for event in events]


async def ids_in_ledger(sql: asyncpg.Connection) -> list[str]:
    return [str(row["event_id"]) for row in await ledger_of(sql)]


async def is_empty(stream: valkey.asyncio.Valkey) -> bool:
    return not await stream.xlen(QUEUE)


async def test_events_of_an_outage_reach_the_ledger_in_order(
    database: str, queue: DeadLetterConfig, stream: Any, sql: asyncpg.Connection, read_only: Any
):
    events = [a_wire_event() for _ in range(7)]
    async with client_of(database, queue) as client:
        assert (await post(client, events[0])).status_code == 201
        await read_only(True)
        await queued(client, *events[1:4])
        await queued(client, events[4])
        single = await client.post(EVENTS, json=events[5])
        assert await stream.xlen(QUEUE) == 5
        await read_only(False)
        await eventually(lambda: is_empty(stream))
        last = await post(client, events[6])
        verification = (await client.post(VERIFY)).json()

    assert (single.status_code, single.json()["queued"]) == (202, True)
    assert (last.status_code, "queued" in last.json()) == (201, False)
    assert await ids_in_ledger(sql) == [event["event_id"] for event in events]
    assert verification["is_valid"], verification


async def test_lenient_batch_is_queued_event_by_event(
    database: str, queue: DeadLetterConfig, stream: Any, sql: asyncpg.Connection, read_only: Any
):
    good = a_wire_event()
    async with client_of(database, queue) as client:
        await read_only(True)
        answer = await post(client, good, a_wire_event(event_outcome="maybe"), prefer="handling=lenient")
        await read_only(False)
        await eventually(lambda: is_empty(stream))

    assert answer.status_code == 207
    assert [result["status"] for result in answer.json()["results"]] == [202, 400]
    assert (answer.json()["stored"], answer.json()["queued"], answer.json()["rejected"]) == (0, 1, 1)
    assert await ids_in_ledger(sql) == [good["event_id"]]


async def test_ledger_that_somebody_has_locked_is_an_outage(
    database: str, queue: DeadLetterConfig, stream: Any, sql: asyncpg.Connection
):
    events = [a_wire_event() for _ in range(2)]
    async with client_of(database, dataclasses.replace(queue, write_timeout=0.2)) as client:
        async with sql.transaction():
            await sql.execute("LOCK TABLE audit_ledger")
            await queued(client, events[0])
            await queued(client, events[1])
        await eventually(lambda: is_empty(stream))

    # The first one was waiting for the lock as well, and is stored once all the same.
    assert await ids_in_ledger(sql) == [event["event_id"] for event in events]


async def test_same_event_queued_twice_is_one_row(
    database: str, queue: DeadLetterConfig, stream: Any, sql: asyncpg.Connection, read_only: Any
):
    event = a_wire_event()
    async with client_of(database, queue) as client:
        await read_only(True)
        await queued(client, event)
        await queued(client, event)
        await read_only(False)
        await eventually(lambda: is_empty(stream))

    assert await ids_in_ledger(sql) == [event["event_id"]]
    assert await stream.xlen(DEAD_LETTERS) == 0


async def test_what_cannot_be_stored_ends_among_the_dead_letters(
    database: str, queue: DeadLetterConfig, stream: Any, sql: asyncpg.Connection, read_only: Any
):
    first, child, parent = a_wire_event(), a_wire_event(parent_event_id=str(uuid4())), a_wire_event()
    late_child = a_wire_event(parent_event_id=parent["event_id"])
    async with client_of(database, queue) as client:
        await post(client, first)
        await read_only(True)
        await queued(client, first | {"event_action": "other"})
        await queued(client, child)
        await queued(client, late_child)
        await queued(client, parent)
        await stream.xadd(QUEUE, {"message": b"no message of ours"})
        await read_only(False)
        await eventually(lambda: is_empty(stream))
        metrics = (await client.get("/metrics")).text

    stored = set(await ids_in_ledger(sql))
    assert stored >= {first["event_id"], parent["event_id"], late_child["event_id"]}
    assert len(stored) == 4  # and the event that keeps the conflict
    letters = [fields for _, fields in await stream.xrange(DEAD_LETTERS)]
    reasons = sorted(fields[b"reason"].decode().partition(":")[0] for fields in letters)
    assert reasons == [
        f"event {first['event_id']} is stored with other content",
        "invalid message",
        f"parent event {child['parent_event_id']} does not exist",
    ]
    assert all({b"message", b"original_id", b"moved_at", b"final_retry_count"} <= fields.keys() for fields in letters)
    assert 'datastorage_dlq_dead_letter_total{reason="parent_missing"} 1.0' in metrics


async def test_full_queue_is_503_and_says_so_before(
    database: str, queue: DeadLetterConfig, stream: Any, sql: asyncpg.Connection, read_only: Any
):
    events = [a_wire_event() for _ in range(100)]
    with capture_logs() as logs:
        async with client_of(database, dataclasses.replace(queue, max_events=100, drain_timeout=0)) as client:
            await read_only(True)
            for count in (79, 1, 5, 5, 5, 4):
                sent, events = events[:count], events[count:]
                await queued(client, *sent)
            refused = await post(client, a_wire_event(), a_wire_event())
            assert await stream.xlen(QUEUE) == 99
            await queued(client, *events)
            metrics = (await client.get("/metrics")).text
            await read_only(False)
            await eventually(lambda: is_empty(stream))

    assert (refused.status_code, int(refused.headers["retry-after"]) > 0) == (503, True)
    assert len(await ids_in_ledger(sql)) == 100
    assert 'datastorage_dlq_capacity_ratio{stream="audit_events"} 1.0' in metrics
    assert 'datastorage_dlq_overflow_imminent{stream="audit_events"} 1.0' in metrics
    said = [line["event"] for line in logs if "dead-letter queue" in line["event"] and "ratio" in line]
    assert said == [
        "dead-letter queue approaching capacity",
        "dead-letter queue capacity critical",
        "dead-letter queue overflow imminent",
    ]


async def test_maxmemory_of_valkey_is_a_full_queue(
    database: str, own_directory: Path, sql: asyncpg.Connection, read_only: Any
):
    async with (
        restartable_valkey(own_directory) as server,
        client_of(database, queue_at(server.server.url())) as client,
    ):
        admin = valkey.asyncio.from_url(server.server.url())
        await read_only(True)
        await admin.config_set("maxmemory", "1")
        refused = await post(client, a_wire_event())
        await admin.config_set("maxmemory", "0")
        await queued(client, a_wire_event())
        await admin.aclose()
        await read_only(False)

    assert refused.status_code == 503


async def test_server_that_is_not_durable_is_refused(database: str, valkey_url: str):
    with pytest.raises(NotDurable, match=r"appendfsync is 'no' and must be 'always'"):
        async with open_service(config_with(database, queue_at(valkey_url))):
            pass


async def test_server_that_hides_its_settings_is_refused(database: str, stream: Any, queue: DeadLetterConfig):
    await stream.acl_setuser(
        "writer", enabled=True, passwords=["+w"], keys=["*"], commands=["+@all", "-config"], reset=True
    )
    hidden = dataclasses.replace(queue, username="writer", password=Secret("w"), require_durability=True)

    with pytest.raises(NotDurable, match="allow CONFIG GET"):
        async with open_service(config_with(database, hidden)):
            pass


async def test_shutdown_drains_the_queue(
    database: str, queue: DeadLetterConfig, stream: Any, sql: asyncpg.Connection, read_only: Any
):
    events = [a_wire_event() for _ in range(3)]
    async with client_of(database, dataclasses.replace(queue, retry_interval=30)) as client:
        await read_only(True)
        await queued(client, *events)
        await read_only(False)

    assert await ids_in_ledger(sql) == [event["event_id"] for event in events]
    assert await is_empty(stream)


async def test_while_valkey_is_down_postgresql_is_written_directly(
    database: str, own_directory: Path, sql: asyncpg.Connection, read_only: Any
):
    async with (
        restartable_valkey(own_directory) as server,
        client_of(database, queue_at(server.server.url())) as client,
    ):
        await server.kill()
        direct = await post(client, a_wire_event())
        ready = await client.get("/readyz")
        await read_only(True)
        both = await post(client, a_wire_event())
        not_ready = await client.get("/readyz")
        await server.start()
        await eventually(lambda: returns(client, 202))
        await read_only(False)
        await eventually(lambda: returns(client, 201))

    assert direct.status_code == 201
    assert (ready.status_code, ready.json()["degraded"]) == (
        200,
        {"dead_letter_queue": "dead_letter_queue_unreachable"},
    )
    assert (both.status_code, both.json()["type"]) == (503, "https://kubernaut.ai/problems/service-unavailable")
    assert (not_ready.status_code, not_ready.json()["reason"]) == (503, "database_read_only")


async def returns(client: Client, status: int) -> bool:
    answer = await post(client, a_wire_event())
    assert answer.status_code in (201, 202, 503), answer.text
    return answer.status_code == status


async def test_nothing_passes_by_a_queue_that_is_out_of_reach(
    database: str, own_directory: Path, sql: asyncpg.Connection, read_only: Any
):
    first, second = a_wire_event(), a_wire_event()
    async with (
        restartable_valkey(own_directory) as server,
        client_of(database, queue_at(server.server.url())) as client,
    ):
        await read_only(True)
        await queued(client, first)
        await server.kill()
        await read_only(False)
        refused = await post(client, second)
        await server.start()
        await eventually(lambda: stored(client, second))

    assert refused.status_code == 503
    assert await ids_in_ledger(sql) == [first["event_id"], second["event_id"]]


async def stored(client: Client, event: dict[str, Any]) -> bool:
    return (await post(client, event)).status_code in (201, 202)


async def test_stopped_postgresql_at_start_and_later(own_directory: Path):
    async with (
        restartable_postgres(own_directory / "postgres") as postgres,
        restartable_valkey(own_directory / "valkey") as server,
    ):
        url = postgres.server.url("postgres")
        await migrate(url)
        await postgres.stop()
        events = [a_wire_event() for _ in range(6)]
        async with client_of(url, queue_at(server.server.url())) as client:
            await queued(client, *events[:2])
            ready = await client.get("/readyz")
            await server.kill()  # between two acknowledgements
            await server.start()
            await eventually(lambda: stored(client, events[2]))
            await start_and_wait(postgres, client)
            await queued_after_kill(postgres, client, events[3:5])
            await start_and_wait(postgres, client)
            assert (await post(client, events[5])).status_code == 201
            verification = (await client.post(VERIFY)).json()
        sql = await asyncpg.connect(url)
        ids = await ids_in_ledger(sql)
        await sql.close()

    assert (ready.status_code, ready.json()) == (
        200,
        {"status": "ready", "degraded": {"database": "database_unreachable"}},
    )
    assert ids == [event["event_id"] for event in events]
    assert verification["is_valid"], verification


async def queued_after_kill(postgres: Restartable, client: Client, events: list[dict[str, Any]]) -> None:
    await postgres.kill()
    await queued(client, *events)


async def start_and_wait(postgres: Restartable, client: Client) -> None:
    await postgres.start()

    async def drained() -> bool:
        return 'datastorage_dlq_depth{stream="audit_events"} 0.0' in (await client.get("/metrics")).text

    await eventually(drained, timeout=30)
