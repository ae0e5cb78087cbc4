"""Batches of 100 events of 1 KB over HTTP into DataStorage, against a bare COPY of the same rows into the same table.

PostgreSQL, the service and the client are three processes on this machine. fsync and synchronous_commit are on, every
event is deduplicated, linked, indexed, and in a tree whose checkpoints are signed. The baseline writes the rows of the
same events with one connection and one COPY per 2,000 rows, each committed durably, into the same partitioned table
with the same indexes, in the same run.
"""

import asyncio
import contextlib
import json
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit
from uuid import NAMESPACE_OID, uuid5

import asyncpg
import httpx2
import yaml

from benchmarks.__main__ import machine
from kubernaut.datastorage import intake, rows
from kubernaut.datastorage.config import DatabaseConfig
from kubernaut.datastorage.migrate import migrate
from kubernaut.embedded.postgres import Postgres, PostgresConfig, open_postgres
from kubernaut.embedded.secret_files import ensure_signing_key
from kubernaut.ops import logs
from kubernaut.ops.logs import LogLevel

EVENTS = 60_000
BATCH = 100
WARM_UP = 5_000
CLIENTS = 16
COPY_ROWS = 2_000
PER_CORRELATION = 6
EVENT_BYTES = 1024
KUBERNAUT = (sys.executable, "-c", "import sys; from kubernaut.cli import main; sys.exit(main())")
REQUEST = (
    b"POST /api/v1/audit/events/batch HTTP/1.1\r\nHost: datastorage\r\n"
    b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n"
)
TYPES = (
    "signalprocessing.phase.transition",
    "signalprocessing.enrichment.completed",
    "signalprocessing.classification.decision",
    "signalprocessing.business.classified",
    "signalprocessing.signal.processed",
    "gateway.signal.received",
)


def events(count: int, seed: int) -> list[dict[str, object]]:
    """Events as the controller sends them: ids given, six per correlation, 1 KB of JSON each."""
    chance = random.Random(seed)
    start = datetime.now(UTC) - timedelta(minutes=1)
    made = []
    for number in range(count):
        signal_name = f"sp-{seed}-{number // PER_CORRELATION}"
        event: dict[str, object] = {
            "version": "1.0",
            "event_id": str(uuid5(NAMESPACE_OID, f"{seed}-{number}")),
            "event_type": TYPES[number % len(TYPES)],
            "event_timestamp": (start + timedelta(microseconds=50 * number)).isoformat(),
            "event_category": "signalprocessing",
            "event_action": "phase_transition",
            "event_outcome": chance.choice(("success", "success", "success", "failure")),
            "correlation_id": f"rr-{seed}-{number // PER_CORRELATION}",
            "actor_type": "service",
            "actor_id": "signalprocessing-controller",
            "resource_type": "SignalProcessing",
            "resource_id": signal_name,
            "namespace": f"team-{number % 40}",
            "severity": chance.choice(("critical", "high", "warning", "info")),
            "event_data": {
                "event_type": TYPES[number % len(TYPES)],
                "phase": "Classifying",
                "signal": signal_name,
                "environment": "production",
                "priority": "P1",
                "policy_hash": f"{chance.getrandbits(256):064x}",
                "has_owner_chain": True,
                "owner_chain_length": 2,
                "duration_ms": chance.randrange(2000),
                "note": "",
            },
        }
        missing = EVENT_BYTES - len(json.dumps(event, separators=(",", ":")))
        event["event_data"]["note"] = f"{chance.getrandbits(4 * missing):0{missing}x}"  # type: ignore[index]
        made.append(event)
    return made


def bodies(made: list[dict[str, object]]) -> list[bytes]:
    """The batches as they travel."""
    return [json.dumps(made[at : at + BATCH], separators=(",", ":")).encode() for at in range(0, len(made), BATCH)]


async def send(url: str, batches: list[bytes], clients: int) -> list[float]:
    """Post every batch through `clients` connections; the seconds each took.

    Plain sockets, because the machine's two cores belong to the service and PostgreSQL.
    """
    where = urlsplit(url)
    waiting = iter(batches)
    took: list[float] = []

    async def post() -> None:
        reader, writer = await asyncio.open_connection(where.hostname, where.port)
        for body in waiting:
            started = time.perf_counter()
            writer.write(REQUEST % len(body))
            writer.write(body)
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30)
            length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
            answer = await reader.readexactly(length)
            took.append(time.perf_counter() - started)
            if not head.startswith(b"HTTP/1.1 201"):
                raise RuntimeError(f"{head!r} {answer[:500]!r}")
        writer.close()
        await writer.wait_closed()

    async with asyncio.TaskGroup() as tasks:
        for _ in range(clients):
            tasks.create_task(post())
    return took


async def bare_copy(server: Postgres, name: str, made: list[dict[str, object]]) -> float:
    """Rows per second of COPY alone."""
    await create_database(server, name)
    await migrate(server.url(name))
    now = datetime.now(UTC)
    connection = await asyncpg.connect(server.url(name))
    await connection.execute("SELECT audit_events_ensure_month($1::date)".replace("$1", f"'{now:%Y-%m-%d}'"))
    entries = [entry for body in bodies(made) for entry in intake.admit(body, now, BATCH)]
    records = [rows.record(entry.event) for entry in entries]
    started = time.perf_counter()
    for at in range(0, len(records), COPY_ROWS):
        await connection.copy_records_to_table(
            "audit_events", records=records[at : at + COPY_ROWS], columns=rows.EVENT_COLUMNS
        )
    took = time.perf_counter() - started
    await connection.close()
    return len(records) / took


async def create_database(server: Postgres, name: str) -> None:
    admin = await asyncpg.connect(server.url("postgres"))
    await admin.execute(f'CREATE DATABASE "{name}"')
    await admin.close()


@asynccontextmanager
async def service(server: Postgres, name: str, folder: Path, **sections: dict[str, object]) -> AsyncIterator[str]:
    """The service as a process of its own, with further sections of its configuration."""
    database = DatabaseConfig.from_url(server.url(name))
    port_file = folder / "port"
    port_file.unlink(missing_ok=True)
    config = folder / "datastorage.yaml"
    password = folder / "database-password"
    password.write_text(database.password.reveal() if database.password else "")
    config.write_text(
        yaml.safe_dump(
            {
                "server": {"port": 0, "portFile": str(port_file), "endpointPropagationDelay": "0s"},
                "database": {
                    "host": database.host,
                    "port": database.port,
                    "name": database.name,
                    "user": database.user,
                    "passwordFile": str(password),
                },
                "ledger": {"keyFile": str(ensure_signing_key(folder / "ledger.key", "benchmark/ledger"))},
                "logging": {"level": "WARN"},
                **sections,
            }
        )
    )
    process = await asyncio.create_subprocess_exec(*KUBERNAUT, "datastorage", "--config", str(config))
    try:
        while not port_file.exists():
            if process.returncode is not None:
                raise RuntimeError(f"the service ended with {process.returncode}")
            await asyncio.sleep(0.02)
        yield f"http://{port_file.read_text().strip()}"
    finally:
        process.terminate()
        await asyncio.wait_for(process.wait(), 30)


@contextlib.contextmanager
def folder_for_all() -> Iterator[Path]:
    """A folder that PostgreSQL may enter, which runs as another user when we are root."""
    with tempfile.TemporaryDirectory(prefix="kn-bench-") as name:
        Path(name).chmod(0o711)
        yield Path(name)


async def measure_rate(url: str, seed: int, count: int) -> tuple[float, list[float]]:
    """Events per second of `count` new events, after some to warm up, and the seconds that each request took."""
    batches = bodies(events(count, seed=seed))
    await send(url, bodies(events(WARM_UP, seed=seed + 1)), CLIENTS)
    started = time.perf_counter()
    took = await send(url, batches, CLIENTS)
    return count / (time.perf_counter() - started), took


async def run() -> None:
    """Measure once and print the result."""
    logs.configure(LogLevel.WARN)
    with folder_for_all() as folder:
        config = PostgresConfig(directory=folder / "postgres", env=os.environ)
        async with open_postgres(config) as server:
            made = events(EVENTS, seed=1)
            await bare_copy(server, "warm", events(WARM_UP, seed=3))
            before = await bare_copy(server, "bare_before", made)
            await create_database(server, "ledger")
            await migrate(server.url("ledger"))
            async with service(server, "ledger", folder) as url:
                rate, took = await measure_rate(url, seed=1, count=EVENTS)
                await _verify(url)
            after = await bare_copy(server, "bare_after", made)
    baseline = (before + after) / 2
    quantiles = statistics.quantiles(took, n=100)
    print(
        f"{machine()}; {EVENTS} events of {len(bodies(made[:BATCH])[0]) // BATCH} bytes,"
        f" {BATCH} per request, {CLIENTS} clients;"
        f" bare COPY {before:.0f} and {after:.0f} rows/s;"
        f" request p50 {quantiles[49]:.3f} s, p95 {quantiles[94]:.3f} s, p99 {quantiles[98]:.3f} s",
        file=sys.stderr,
    )
    print(f"ingest {rate:.0f} events/s ratio={rate / baseline:.2f}")


async def _verify(url: str) -> None:
    async with httpx2.AsyncClient(base_url=url, timeout=120) as client:
        started = time.perf_counter()
        answer = (await client.post("/api/v1/audit/verify-chain", json={})).json()
    took = time.perf_counter() - started
    if not answer["is_valid"] or answer["total_events"] != EVENTS + WARM_UP:
        raise RuntimeError(f"the ledger does not verify: {answer}")
    print(f"verified {answer['total_events'] / took:.0f} events/s", file=sys.stderr)


def main() -> None:
    asyncio.run(run())


if __name__ == "__main__":
    main()
