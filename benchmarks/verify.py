"""Verification of a whole ledger with its payloads of 1 KB, against a bare binary read of the same rows.

The ledger is filled by the service's own store. PostgreSQL, the verifying processes and their parent share this
machine. The baseline is one COPY in binary format of the same rows of both tables, joined and in the same order, whose
bytes are thrown away. Processor time is measured too, because it does not depend on what else the machine does.
"""

import asyncio
import os
import resource
import statistics
import sys
import time
from datetime import UTC, datetime

import asyncpg
from prometheus_client import CollectorRegistry

from benchmarks.__main__ import machine
from benchmarks.ingest import bodies, create_database, events, folder_for_all
from kubernaut.api.events import VerifyRequest
from kubernaut.datastorage import intake
from kubernaut.datastorage.config import DatabaseConfig, DataStorageConfig
from kubernaut.datastorage.ledger_verification import LedgerVerification
from kubernaut.datastorage.metrics import Metrics
from kubernaut.datastorage.migrate import migrate
from kubernaut.datastorage.store import open_store
from kubernaut.embedded.postgres import PostgresConfig, open_postgres
from kubernaut.ops import logs
from kubernaut.ops.logs import LogLevel

EVENTS = int(sys.argv[1]) if len(sys.argv) > 1 else 300_000
STEP = 20_000
ROUNDS = 3
BARE = """
SELECT row.*, events.* FROM (SELECT * FROM audit_ledger ORDER BY shard, sequence) AS row
  LEFT JOIN audit_events AS events USING (event_timestamp, event_id) ORDER BY row.shard, row.sequence
"""


async def fill(config: DataStorageConfig) -> None:
    """Append the events."""
    async with open_store(config, Metrics(CollectorRegistry())) as store:
        for first in range(0, EVENTS, STEP):
            batches = bodies(events(min(STEP, EVENTS - first), seed=first))
            now = datetime.now(UTC)
            async with asyncio.TaskGroup() as tasks:
                for body in batches:
                    tasks.create_task(store.append(intake.admit(body, now, 1000)))


async def bare_read(url: str) -> float:
    """Rows per second of reading alone."""

    async def discard(_: bytes) -> None:
        pass

    connection = await asyncpg.connect(url, server_settings={"enable_hashjoin": "off", "enable_mergejoin": "off"})
    started = time.perf_counter()
    await connection.copy_from_query(BARE, output=discard, format="binary")
    took = time.perf_counter() - started
    await connection.close()
    return EVENTS / took


async def verify(config: DatabaseConfig, processes: int) -> float:
    """Events per second of one verification."""
    started = time.perf_counter()
    verification = await LedgerVerification(config, processes).verify(VerifyRequest())
    took = time.perf_counter() - started
    if not verification.is_valid or verification.total_events != EVENTS:
        raise RuntimeError(f"the ledger does not verify: {verification}")
    return EVENTS / took


def processor_seconds() -> float:
    """Of this process and the verifying ones that have ended; PostgreSQL is not among them."""
    return sum(
        usage.ru_utime + usage.ru_stime
        for usage in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


async def run() -> None:
    """Measure a few rounds and print the median."""
    logs.configure(LogLevel.WARN)
    with folder_for_all() as folder:
        async with open_postgres(PostgresConfig(directory=folder / "postgres", env=os.environ)) as server:
            await create_database(server, "ledger")
            url = server.url("ledger")
            await migrate(url)
            config = DataStorageConfig(database=DatabaseConfig.from_url(url))
            await fill(config)
            connection = await asyncpg.connect(url)
            await connection.execute("VACUUM (ANALYZE)")
            await connection.close()
            rates, baselines = [], []
            before = processor_seconds()
            for _ in range(ROUNDS):
                baselines.append(await bare_read(url))
                rates.append(await verify(config.database, 0))
            cost = (processor_seconds() - before) / ROUNDS / EVENTS * 1e6
            alone = await verify(config.database, 1)
    rate, baseline = statistics.median(rates), statistics.median(baselines)
    print(
        f"{machine()}; {EVENTS} events of 1 KB; verified {', '.join(f'{rate:.0f}' for rate in rates)} events/s; bare"
        f" read {', '.join(f'{rate:.0f}' for rate in baselines)} rows/s; one process {alone:.0f} events/s;"
        f" processor time without PostgreSQL {cost:.1f} µs per event, the bare reads included;"
        f" load {os.getloadavg()[0]:.1f}",
        file=sys.stderr,
    )
    print(f"verify {rate:.0f} events/s ratio={rate / baseline:.2f}")


def main() -> None:
    asyncio.run(run())


if __name__ == "__main__":
    main()
