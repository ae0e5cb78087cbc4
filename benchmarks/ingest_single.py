"""Single events of 1 KB by 64 clients that each wait for the answer, against inserts straight into PostgreSQL.

The baseline has as many connections, each inserting the row of one event per transaction into the same table with the
same indexes: what a service without group commit would do, without HTTP, hashes, deduplication and tree.
"""

import asyncio
import json
import os
import statistics
import sys
import time
from datetime import UTC, datetime

import asyncpg
import httpx2

from benchmarks.__main__ import machine
from benchmarks.ingest import create_database, events, folder_for_all, service
from kubernaut.datastorage import intake, rows
from kubernaut.datastorage.migrate import migrate
from kubernaut.embedded.postgres import Postgres, PostgresConfig, open_postgres
from kubernaut.ops import logs
from kubernaut.ops.logs import LogLevel

EVENTS = 20_000
WARM_UP = 2_000
CLIENTS = 64
BARE_EVENTS = 10_000
REQUEST = (
    b"POST /api/v1/audit/events HTTP/1.1\r\nHost: datastorage\r\n"
    b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n"
)


def requests(made: list[dict[str, object]]) -> list[bytes]:
    """Each event as it travels."""
    written = [json.dumps(event, separators=(",", ":")).encode() for event in made]
    return [REQUEST % len(body) + body for body in written]


async def send_each(url: str, waiting: list[bytes]) -> list[float]:
    """Post each request through one of the clients; the seconds each took.

    Protocols instead of streams, because the machine's two cores belong to the service and PostgreSQL.
    """
    host, port = url.removeprefix("http://").split(":")
    loop = asyncio.get_running_loop()
    sender = iter(waiting)
    took: list[float] = []
    closed = [loop.create_future() for _ in range(CLIENTS)]

    class Client(asyncio.Protocol):
        def __init__(self, done: asyncio.Future[None]) -> None:
            self._done = done
            self._answer = b""
            self._started = 0.0

        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self._transport: asyncio.WriteTransport = transport  # type: ignore[assignment]  # of a TCP connection
            self._next()

        def data_received(self, data: bytes) -> None:
            self._answer += data
            head, _, body = self._answer.partition(b"\r\n\r\n")
            if not body or len(body) < int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]):
                return
            if not head.startswith(b"HTTP/1.1 201"):
                self._done.set_exception(RuntimeError(f"{self._answer[:800]!r}"))
                return
            took.append(time.perf_counter() - self._started)
            self._answer = b""
            self._next()

        def connection_lost(self, error: Exception | None) -> None:
            if not self._done.done():
                self._done.set_exception(error or RuntimeError("the service closed the connection"))

        def _next(self) -> None:
            request = next(sender, None)
            if request is None:
                self._done.set_result(None)
                self._transport.close()
                return
            self._started = time.perf_counter()
            self._transport.write(request)

    for done in closed:
        await loop.create_connection(lambda done=done: Client(done), host, int(port))  # type: ignore[misc]
    await asyncio.gather(*closed)
    return took


async def bare_inserts(server: Postgres, name: str, made: list[dict[str, object]]) -> float:
    """Rows per second of one INSERT per transaction by as many connections."""
    await create_database(server, name)
    await migrate(server.url(name))
    now = datetime.now(UTC)
    connections = [await asyncpg.connect(server.url(name)) for _ in range(CLIENTS)]
    await connections[0].execute("SELECT audit_events_ensure_month($1::date)".replace("$1", f"'{now:%Y-%m-%d}'"))
    waiting = iter([rows.record(intake.admit_one(json.dumps(event).encode(), now).event) for event in made])
    places = ", ".join(f"${number}" for number in range(1, len(rows.EVENT_COLUMNS) + 1))
    insert = f"INSERT INTO audit_events ({', '.join(rows.EVENT_COLUMNS)}) VALUES ({places})"  # noqa: S608 - constants

    async def write(connection: asyncpg.Connection) -> None:
        statement = await connection.prepare(insert)
        for row in waiting:
            await statement.fetch(*row)

    started = time.perf_counter()
    await asyncio.gather(*[write(connection) for connection in connections])
    took = time.perf_counter() - started
    for connection in connections:
        await connection.close()
    return len(made) / took


async def run() -> None:
    """Measure once and print the result."""
    logs.configure(LogLevel.WARN)
    with folder_for_all() as folder:
        async with open_postgres(PostgresConfig(directory=folder / "postgres", env=os.environ)) as server:
            before = await bare_inserts(server, "bare_before", events(BARE_EVENTS, seed=5))
            await create_database(server, "ledger")
            await migrate(server.url("ledger"))
            measured, warm = requests(events(EVENTS, seed=1)), requests(events(WARM_UP, seed=2))
            async with service(server, "ledger", folder) as url:
                await send_each(url, warm)
                started = time.perf_counter()
                took = await send_each(url, measured)
                rate = EVENTS / (time.perf_counter() - started)
                async with httpx2.AsyncClient(base_url=url, timeout=120) as client:
                    answer = (await client.post("/api/v1/audit/verify-chain", json={})).json()
                if not answer["is_valid"] or answer["total_events"] != EVENTS + WARM_UP:
                    raise RuntimeError(f"the ledger does not verify: {answer}")
            after = await bare_inserts(server, "bare_after", events(BARE_EVENTS, seed=6))
    quantiles = statistics.quantiles(took, n=100)
    print(
        f"{machine()}; {EVENTS} events, {CLIENTS} clients; bare INSERT {before:.0f} and {after:.0f} rows/s;"
        f" p50 {1000 * quantiles[49]:.0f} ms, p95 {1000 * quantiles[94]:.0f} ms, p99 {1000 * quantiles[98]:.0f} ms",
        file=sys.stderr,
    )
    print(f"ingest-single {rate:.0f} events/s ratio={2 * rate / (before + after):.2f}")


def main() -> None:
    asyncio.run(run())


if __name__ == "__main__":
    main()
