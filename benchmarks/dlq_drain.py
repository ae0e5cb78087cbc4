"""10,000 events of 1 KB that wait in the dead-letter queue, from the end of PostgreSQL's outage to the last commit.

PostgreSQL, Valkey (append-only file, `appendfsync always`), the service and the client are processes on this machine.
PostgreSQL is read-only while the events are sent, one batch of 100 after the other. The clock starts when it may be
written again; the service notices that by itself. The ledger must then hold every event once, in the order sent.
The baseline sends as many events in the same way straight into PostgreSQL, in the same run.
"""

import asyncio
import os
import sys
import time
from uuid import UUID

import asyncpg
import httpx2
import valkey.asyncio

from benchmarks.__main__ import machine
from benchmarks.ingest import bodies, events, folder_for_all, service
from kubernaut.datastorage.dead_letter.stream import QUEUE
from kubernaut.datastorage.migrate import migrate
from kubernaut.embedded.postgres import Postgres, PostgresConfig, open_postgres
from kubernaut.embedded.valkey import ValkeyConfig, open_valkey
from kubernaut.ops import logs
from kubernaut.ops.logs import LogLevel

EVENTS = 10_000
DATABASE = "postgres"
TIMEOUT = 60.0  # seconds
PATH = "/api/v1/audit/events/batch"


async def send(url: str, batches: list[bytes], status: int) -> float:
    """Seconds to have every batch acknowledged with this status, one after the other."""
    started = time.perf_counter()
    async with httpx2.AsyncClient(base_url=url, timeout=30) as client:
        for body in batches:
            answer = await client.post(PATH, content=body, headers={"content-type": "application/json"})
            if answer.status_code != status:
                raise RuntimeError(f"{answer.status_code}: {answer.text[:500]}")
    return time.perf_counter() - started


async def read_only(admin: asyncpg.Connection, value: str) -> None:
    """Switch the mode of the database, for connections that exist too."""
    await admin.execute(f"ALTER DATABASE {DATABASE} SET default_transaction_read_only = {value}")
    await admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'kuber%'")


async def drained(admin: asyncpg.Connection, expected: int) -> None:
    """Return when the ledger has that many events."""
    deadline = time.monotonic() + TIMEOUT
    while await admin.fetchval("SELECT max(sequence) FROM audit_ledger") != expected:
        if time.monotonic() > deadline:
            raise RuntimeError(f"not drained after {TIMEOUT:g} s")
        await asyncio.sleep(0.005)


async def measure(server: Postgres, url: str, queue: valkey.asyncio.Valkey) -> tuple[float, float, float]:
    """Seconds to send directly, to queue, and to drain."""
    await send(url, bodies(events(1_000, seed=2)), 201)
    direct = await send(url, bodies(events(EVENTS, seed=3)), 201)
    made = events(EVENTS, seed=1)
    admin = await asyncpg.connect(server.url(DATABASE), server_settings={"default_transaction_read_only": "off"})
    await read_only(admin, "on")
    enqueue = await send(url, bodies(made), 202)
    if await queue.xlen(QUEUE) != EVENTS:
        raise RuntimeError(f"{await queue.xlen(QUEUE)} of {EVENTS} events are in the queue")
    before = await admin.fetchval("SELECT max(sequence) FROM audit_ledger")
    await read_only(admin, "off")
    started = time.perf_counter()
    await drained(admin, before + EVENTS)
    took = time.perf_counter() - started
    rows = await admin.fetch("SELECT event_id FROM audit_ledger WHERE sequence > $1 ORDER BY sequence", before)
    if [row["event_id"] for row in rows] != [UUID(str(event["event_id"])) for event in made]:
        raise RuntimeError("the ledger does not have the events in the order in which they were sent")
    await admin.close()
    return direct, enqueue, took


async def run() -> None:
    """Measure once and print the result."""
    logs.configure(LogLevel.WARN)
    with folder_for_all() as folder:
        async with (
            open_postgres(PostgresConfig(directory=folder / "postgres", env=os.environ)) as server,
            open_valkey(ValkeyConfig(directory=folder / "valkey", env=os.environ)) as store,
            valkey.asyncio.from_url(store.url()) as queue,
        ):
            await migrate(server.url(DATABASE))
            settings = {"host": store.host, "port": store.port, "password": store.password}
            async with service(server, DATABASE, folder, deadLetterQueue=settings) as url:
                direct, enqueue, took = await measure(server, url, queue)
    print(
        f"{machine()}; {EVENTS} events, 100 per request, one client: direct {direct:.2f} s, queued {enqueue:.2f} s,"
        f" drained {took:.2f} s",
        file=sys.stderr,
    )
    print(f"dlq-drain {took:.2f} s ratio={took / direct:.2f}")


def main() -> None:
    asyncio.run(run())


if __name__ == "__main__":
    main()
