"""The first page of every single filter on 5 million events, over HTTP.

The rows are made inside PostgreSQL, two months of them, apart from the tables and attached with their indexes. The
value is the worst p95; details name each filter. `detail_key` without a match reads every row, and stands apart.
"""

import asyncio
import os
import statistics
import sys
import time

import asyncpg
import httpx2

from benchmarks.__main__ import machine
from benchmarks.ingest import create_database, folder_for_all, service
from kubernaut.datastorage.migrate import migrate
from kubernaut.embedded.postgres import PostgresConfig, open_postgres
from kubernaut.ops import logs
from kubernaut.ops.logs import LogLevel

EVENTS = int(sys.argv[1]) if len(sys.argv) > 1 else 5_000_000
ROUNDS = 20
TARGET = 50.0  # ms
MONTHS = ("2026-05-01", "2026-06-01")
LOAD_TIMEOUT = 280  # seconds
PARENT = "00000000-0000-0000-0000-000000000007"
FILTERS: dict[str, dict[str, str]] = {
    "nothing": {},
    "correlation_id": {"correlation_id": "rr-7"},
    "event_type": {"event_type": "signalprocessing.classification.decision"},
    "event_type, rare": {"event_type": "gateway.signal.received"},
    "event_category": {"event_category": "signalprocessing"},
    "event_category, absent": {"event_category": "security"},
    "event_outcome": {"event_outcome": "success"},
    "event_outcome, rare": {"event_outcome": "failure"},
    "event_outcome, absent": {"event_outcome": "pending"},
    "severity": {"severity": "critical"},
    "severity, absent": {"severity": "none"},
    "resource": {"resource_type": "Pod", "resource_id": "pod-7"},
    "actor": {"actor_type": "service", "actor_id": "signalprocessing-controller"},
    "actor, rare": {"actor_id": "mary"},
    "namespace": {"namespace": "ns-7"},
    "namespace, absent": {"namespace": "none"},
    "parent_event_id": {"parent_event_id": PARENT},
    "since": {"since": "2026-06-29"},
    "until": {"until": "2026-05-02"},
    "detail_key": {"detail_key": "phase", "detail_value": "Completed"},
}
UNINDEXED = {"detail_key, no match": {"detail_key": "phase", "detail_value": "none"}}
COLUMNS = (
    "event_id, event_timestamp, event_type, event_category, event_action, event_outcome, actor_type, actor_id, "
    "resource_type, resource_id, resource_name, correlation_id, parent_event_id, namespace, event_data, severity"
)
ROWS = f"""
INSERT INTO loading ({COLUMNS})
SELECT gen_random_uuid(), $1::timestamptz + n * (interval '29 days' / $2::bigint),
       CASE WHEN n % 2000 = 0 THEN 'gateway.signal.received'
            WHEN n % 3 = 0 THEN 'signalprocessing.classification.decision' ELSE 'signalprocessing.phase.transition' END,
       CASE WHEN n % 2000 = 0 THEN 'gateway' ELSE 'signalprocessing' END, 'phase_transition',
       CASE WHEN n % 1000 = 0 THEN 'failure' ELSE 'success' END, 'service',
       CASE WHEN n % 50000 = 0 THEN 'mary' ELSE 'signalprocessing-controller' END, 'Pod', 'pod-' || n % 20000,
       'pod-' || n % 20000, 'rr-' || n / 9, CASE WHEN n % 100000 = 0 THEN '{PARENT}'::uuid END, 'ns-' || n % 500,
       jsonb_build_object('phase', 'Completed', 'signal', 'HighCPU', 'attempt', n),
       (ARRAY['critical', 'high', 'warning', 'info'])[1 + n % 4]
  FROM generate_series(1, $2::bigint) AS n
"""  # noqa: S608 - constants of this module
LEDGER = """
INSERT INTO audit_ledger (sequence, event_timestamp, received_at, event_id, late, content_hash, previous_event_hash,
       event_hash, correlation_id, format, leaf_hash)
SELECT row_number() OVER (ORDER BY event_timestamp), event_timestamp, event_timestamp, event_id, false, sha256('1'),
       sha256('2'), sha256('3'), correlation_id, 2, sha256('4') FROM audit_events
"""


async def load(url: str) -> None:
    """Both tables with `EVENTS` rows; indexes are built once the rows are there."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("SET synchronous_commit = off; SET maintenance_work_mem = '512MB'")
        for month in MONTHS:
            name = f"audit_events_{month[:7].replace('-', '_')}"
            await connection.execute(
                "CREATE TABLE loading (LIKE audit_events INCLUDING DEFAULTS INCLUDING GENERATED INCLUDING CONSTRAINTS)"
            )
            start = f"{month} 00:00:00+00"
            at = await connection.fetchval("SELECT $1::text::timestamptz", start)
            await connection.execute(ROWS, at, EVENTS // len(MONTHS), timeout=LOAD_TIMEOUT)
            await connection.execute(f"ALTER TABLE loading RENAME TO {name}")
            await connection.execute(
                f"ALTER TABLE audit_events ATTACH PARTITION {name} FOR VALUES FROM ('{start}')"
                f" TO ('{month[:5]}{int(month[5:7]) + 1:02d}-01 00:00:00+00')",
                timeout=LOAD_TIMEOUT,
            )
        await connection.execute(
            "ALTER TABLE audit_ledger DROP CONSTRAINT audit_ledger_event_id_key, DROP CONSTRAINT audit_ledger_pkey;"
            "DROP INDEX idx_audit_ledger_correlation_id"
        )
        await connection.execute(LEDGER, timeout=LOAD_TIMEOUT)
        await connection.execute(
            "ALTER TABLE audit_ledger ADD CONSTRAINT audit_ledger_pkey PRIMARY KEY (shard, sequence),"
            " ADD CONSTRAINT audit_ledger_event_id_key UNIQUE (event_id);"
            "CREATE INDEX idx_audit_ledger_correlation_id ON audit_ledger (correlation_id, sequence);",
            timeout=LOAD_TIMEOUT,
        )
        await connection.execute("VACUUM (ANALYZE) audit_events", timeout=LOAD_TIMEOUT)
        await connection.execute("VACUUM (ANALYZE) audit_ledger", timeout=LOAD_TIMEOUT)
    finally:
        await connection.close()


async def measure(client: httpx2.AsyncClient, filters: dict[str, str], rounds: int) -> tuple[float, int]:
    """p95 in milliseconds, and the total of the page."""
    took, total = [], 0
    for _ in range(rounds):
        started = time.perf_counter()
        answer = await client.get("/api/v1/audit/events", params=filters)
        took.append((time.perf_counter() - started) * 1000)
        total = answer.raise_for_status().json()["pagination"]["total"]
    return statistics.quantiles(took, n=20)[18] if rounds > 1 else took[0], total


async def run() -> None:
    """Load, measure once, and print the result."""
    logs.configure(LogLevel.WARN)
    with folder_for_all() as folder:
        async with open_postgres(PostgresConfig(directory=folder / "postgres", env=os.environ)) as server:
            await create_database(server, "ledger")
            await migrate(server.url("ledger"))
            started = time.perf_counter()
            await load(server.url("ledger"))
            print(f"{machine()}; {EVENTS} events loaded in {time.perf_counter() - started:.0f} s", file=sys.stderr)
            worst = 0.0
            async with (
                service(server, "ledger", folder) as url,
                httpx2.AsyncClient(base_url=url, timeout=120) as client,
            ):
                for name, filters in FILTERS.items():
                    await measure(client, filters, 2)
                    p95, total = await measure(client, filters, ROUNDS)
                    worst = max(worst, p95)
                    print(f"{name}: p95 {p95:.1f} ms, total {total}", file=sys.stderr)
                for name, filters in UNINDEXED.items():
                    alone, _ = await measure(client, filters, 1)
                    print(f"{name}: {alone:.0f} ms, not indexed", file=sys.stderr)
    print(f"query-5m {worst:.1f} ms ratio={worst / TARGET:.2f}")


def main() -> None:
    asyncio.run(run())


if __name__ == "__main__":
    main()
