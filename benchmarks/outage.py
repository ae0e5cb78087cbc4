"""Events recorded while DataStorage is down, then delivered: how many are lost, doubled or out of order. Should be 0.

PostgreSQL and DataStorage are processes of their own; the service is stopped, the events are recorded evenly over the
outage, the service is started again, and the ledger is compared with what was recorded, row by row. The ratio is the
rate of delivery after the outage to the rate of recording during it. `KUBERNAUT_OUTAGE=25000,6` records 25,000 events
in 6 seconds instead of 250,000 in 60.
"""

import asyncio
import itertools
import os
import sys
import tempfile
import time
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path
from uuid import NAMESPACE_OID, uuid5

import asyncpg
import msgspec

from benchmarks.__main__ import machine
from benchmarks.ingest import create_database, service
from kubernaut.api.events import AuditEvent
from kubernaut.api.vocabulary import EventOutcome
from kubernaut.audit import AuditConfig, AuditStore, ClientConfig, RetryConfig, SpoolConfig, open_audit
from kubernaut.datastorage.migrate import migrate
from kubernaut.embedded.postgres import PostgresConfig, open_postgres
from kubernaut.ops import logs

EVENTS, SECONDS = 250_000, 60.0
TICK = 0.05  # seconds
PER_CORRELATION = 50
DELIVERY_TIMEOUT = 200.0  # seconds
NOTE = "x" * 600


def an_event(number: int) -> AuditEvent:
    """Event number `number`, of about 1 KB."""
    return AuditEvent(
        event_type="signalprocessing.phase.transition",
        event_timestamp=datetime.now(UTC),
        event_category="signalprocessing",
        event_action="phase_transition",
        event_outcome=EventOutcome.SUCCESS,
        correlation_id=f"rr-outage-{number // PER_CORRELATION}",
        event_data=msgspec.Raw(b'{"number":%d,"note":"%s"}' % (number, NOTE.encode())),
        event_id=uuid5(NAMESPACE_OID, f"outage-{number}"),
    )


async def record(store: AuditStore, count: int, seconds: float) -> None:
    """Record the events evenly over that time, and wait until they are on disk."""
    started, done = time.perf_counter(), 0
    while done < count:
        due = min(count, int(count * (time.perf_counter() - started + TICK) / seconds))
        for start in range(done, due, 100):
            store.record([an_event(number) for number in range(start, min(start + 100, due))])
        done = max(done, due)
        await asyncio.sleep(TICK)
    await store.committed()


async def compare(dsn: str, count: int) -> tuple[int, int, int]:
    """How many events are lost, doubled and out of order in the ledger."""
    connection = await asyncpg.connect(dsn)
    rows = await connection.fetch(
        "SELECT l.sequence, e.event_data->>'number' AS number FROM audit_ledger l JOIN audit_events e USING (event_id)"
        " WHERE e.correlation_id LIKE 'rr-outage-%' ORDER BY l.sequence"
    )
    await connection.close()
    numbers = [int(row["number"]) for row in rows]
    of_correlation = defaultdict(list)
    for number in numbers:
        of_correlation[number // PER_CORRELATION].append(number)
    unordered = sum(a > b for seen in of_correlation.values() for a, b in itertools.pairwise(seen))
    return count - len(set(numbers)), len(numbers) - len(set(numbers)), unordered


async def run(folder: Path, count: int, seconds: float) -> None:
    """Measure once and print the result."""
    async with open_postgres(PostgresConfig(directory=folder / "postgres", env=os.environ)) as server:
        await create_database(server, "ledger")
        await migrate(server.url("ledger"))
        (folder / "down").mkdir()
        async with service(server, "ledger", folder / "down") as url:
            pass
        config = AuditConfig(
            spool=SpoolConfig(directory=folder / "spool"),
            client=ClientConfig(url=url),
            retry=RetryConfig(max_delay=2),
            drain_timeout=0,
        )
        async with open_audit(config, "benchmark") as store:
            await record(store, count, seconds)
            waiting = store.waiting
        # DataStorage comes back under another port, and the recorder after it as a new process would.
        (folder / "up").mkdir()
        async with service(server, "ledger", folder / "up") as url:
            config = AuditConfig(spool=config.spool, client=ClientConfig(url=url))
            started = time.perf_counter()
            async with open_audit(config, "benchmark") as store:
                flushed = await store.flush(DELIVERY_TIMEOUT)
            took = time.perf_counter() - started
        lost, doubled, unordered = await compare(server.url("ledger"), count)
    print(
        f"{machine()}; {count} events recorded in {seconds:g} s of outage, {waiting} waited, delivered in {took:.1f} s"
        f" ({flushed.delivered / took:.0f} events/s), {flushed.quarantined} quarantined;"
        f" lost {lost}, doubled {doubled}, out of order {unordered}",
        file=sys.stderr,
    )
    print(f"outage {lost + doubled + unordered} events ratio={flushed.delivered / took / (count / seconds):.2f}")


def main() -> None:
    count, _, seconds = os.environ.get("KUBERNAUT_OUTAGE", f"{EVENTS},{SECONDS}").partition(",")
    logs.configure(logs.LogLevel.ERROR, stream=sys.stderr)
    with tempfile.TemporaryDirectory(prefix="kn-bench-") as name:
        Path(name).chmod(0o711)
        asyncio.run(run(Path(name), int(count), float(seconds)))


if __name__ == "__main__":
    main()
