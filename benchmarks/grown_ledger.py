"""A database with millions of events in a ledger that verifies, made inside PostgreSQL.

The events lie in the 60 days before now. Their hashes are computed in SQL as `datastorage.chain` does, the tree is
built by DataStorage's own code, and `require_sound` has DataStorage verify some of it. The payloads are small, so that
the load takes minutes; the indexes are those of any other event. EVENTS in the environment is how many (5 million).

Benchmarks of one run share the database: the folder that they get from `benchmarks.__main__` outlives each of them.
"""

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
import httpx2

from benchmarks.__main__ import FOLDER_VARIABLE
from benchmarks.ingest import create_database, folder_for_all
from kubernaut.datastorage import ledger_tree
from kubernaut.datastorage.migrate import migrate
from kubernaut.datastorage.partitions import months_ahead, name_of
from kubernaut.embedded.postgres import Postgres, PostgresConfig, open_postgres

EVENTS = int(os.environ.get("EVENTS", "5_000_000"))
SPAN = timedelta(days=60)
DATABASE = "grown"
PARENT = "00000000-0000-0000-0000-000000000007"
PER_CORRELATION = 9
STATEMENT_TIMEOUT = 900  # seconds

_CREATE = "CREATE TABLE {} (LIKE audit_events INCLUDING DEFAULTS INCLUDING GENERATED INCLUDING CONSTRAINTS)"
_ATTACH = "ALTER TABLE audit_events ATTACH PARTITION {} FOR VALUES FROM ('{}') TO ('{}')"
# Every time has a fraction, so that its text always has six digits; two events never have the same.
_ROWS = f"""
INSERT INTO {{}} (event_id, event_timestamp, event_type, event_category, event_action, event_outcome, actor_type,
       actor_id, resource_type, resource_id, resource_name, correlation_id, parent_event_id, namespace, event_data,
       severity)
SELECT gen_random_uuid(), date_trunc('milliseconds', $1::timestamptz + n * $2::interval) + interval '1 microsecond',
       CASE WHEN n % 2000 = 0 THEN 'gateway.signal.received'
            WHEN n % 3 = 0 THEN 'signalprocessing.classification.decision' ELSE 'signalprocessing.phase.transition' END,
       CASE WHEN n % 2000 = 0 THEN 'gateway' ELSE 'signalprocessing' END, 'phase_transition',
       CASE WHEN n % 1000 = 0 THEN 'failure' ELSE 'success' END, 'service',
       CASE WHEN n % 50000 = 0 THEN 'mary' ELSE 'signalprocessing-controller' END, 'Pod', 'pod-' || n % 20000,
       'pod-' || n % 20000, 'rr-' || n / {PER_CORRELATION}, CASE WHEN n % 100000 = 0 THEN '{PARENT}'::uuid END,
       'ns-' || n % 500, jsonb_build_object('attempt', n, 'phase', 'Classifying', 'signal', 'HighCPU'),
       (ARRAY['critical', 'high', 'warning', 'info'])[1 + n % 4]
  FROM generate_series($3::bigint, $4::bigint) AS n
"""  # noqa: S608 - constants of this module
_CHAIN = r"""
CREATE FUNCTION benchmark_link(bytea, bytea) RETURNS bytea LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$ SELECT sha256('kubernaut.event.v1\012'::bytea || $1 || $2) $$;
CREATE AGGREGATE benchmark_chain(bytea) (
    SFUNC = benchmark_link, STYPE = bytea,
    INITCOND = '\x0000000000000000000000000000000000000000000000000000000000000000');
CREATE FUNCTION benchmark_time(timestamptz) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$ SELECT to_char($1 AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') $$;
"""
_LEDGER = r"""
INSERT INTO audit_ledger (sequence, event_timestamp, received_at, event_id, late, content_hash, previous_event_hash,
       event_hash, correlation_id, format, leaf_hash)
WITH content AS (
    SELECT event_id, event_timestamp, correlation_id, row_number() OVER (ORDER BY event_timestamp) AS sequence,
           sha256('kubernaut.content.v1\012'::bytea || convert_to(concat(
               '{"actor_id":"', actor_id, '","actor_ip":null,"actor_type":"', actor_type, '","cluster_id":null,',
               '"correlation_id":"', correlation_id, '","duration_ms":null,"error_code":null,"error_message":null,',
               '"event_action":"', event_action, '","event_category":"', event_category, '",',
               '"event_data":{"attempt":', event_data ->> 'attempt', ',"phase":"Classifying","signal":"HighCPU"},',
               '"event_id":"', event_id, '","event_outcome":"', event_outcome, '",',
               '"event_timestamp":"', benchmark_time(event_timestamp), '","event_type":"', event_type, '",',
               '"is_sensitive":false,"namespace":"', namespace, '",',
               '"parent_event_id":', coalesce('"' || parent_event_id::text || '"', 'null'), ',"resource_id":"',
               resource_id, '","resource_name":"', resource_name, '","resource_type":"', resource_type, '",',
               '"retention_days":2555,"severity":"', severity, '","span_id":null,"trace_id":null,"version":"1.0"}'),
               'UTF8')) AS content_hash
      FROM audit_events),
linked AS (
    SELECT *, benchmark_chain(content_hash) OVER (PARTITION BY correlation_id ORDER BY sequence) AS event_hash
      FROM content),
placed AS (
    SELECT *, lag(event_hash, 1, decode(repeat('00', 32), 'hex')) OVER (PARTITION BY correlation_id ORDER BY sequence)
                  AS previous, event_timestamp + interval '1 millisecond' AS received_at
      FROM linked)
SELECT sequence, event_timestamp, received_at, event_id, false, content_hash, previous, event_hash, correlation_id, 2,
       sha256('\x00'::bytea || convert_to(concat(
           '{"content_hash":"', encode(content_hash, 'base64'), '","correlation_id":"', correlation_id,
           '","event_hash":"', encode(event_hash, 'base64'), '","event_id":"', event_id,
           '","event_timestamp":"', benchmark_time(event_timestamp), '","format":2,"late":false,',
           '"previous_event_hash":"', encode(previous, 'base64'), '","received_at":"', benchmark_time(received_at),
           '","sequence":', sequence, ',"shard":0}'), 'UTF8'))
  FROM placed ORDER BY sequence
"""


@dataclass(frozen=True, kw_only=True)
class GrownLedger:
    """The server with the database `grown`, and the folder of the service on it, with the key that signs it."""

    server: Postgres
    folder: Path


@asynccontextmanager
async def open_grown() -> AsyncIterator[GrownLedger]:
    """PostgreSQL with a ledger of EVENTS events, loaded unless a benchmark before did that."""
    shared = os.environ.get(FOLDER_VARIABLE)
    with folder_for_all() as own:
        folder = Path(shared or own) / f"grown-{EVENTS}"
        folder.mkdir(exist_ok=True, mode=0o711)
        async with open_postgres(PostgresConfig(directory=folder / "postgres", env=os.environ)) as server:
            marker = folder / "loaded"
            if not marker.exists():
                started = time.perf_counter()
                await create_database(server, DATABASE)
                await migrate(server.url(DATABASE))
                await _load(server.url(DATABASE))
                print(f"{EVENTS} events loaded in {time.perf_counter() - started:.0f} s", file=sys.stderr)
                marker.touch()
            yield GrownLedger(server=server, folder=folder)


async def require_sound(url: str) -> None:
    """Raise RuntimeError unless DataStorage finds some correlations of the ledger whole, and in its tree."""
    async with httpx2.AsyncClient(base_url=url, timeout=120) as client:
        for number in (1, EVENTS // PER_CORRELATION // 2, EVENTS // PER_CORRELATION - 1):
            body = {"correlation_id": f"rr-{number}"}
            answer = (await client.post("/api/v1/audit/verify-chain", json=body)).json()
            if not answer["is_valid"] or answer["total_events"] != PER_CORRELATION:
                raise RuntimeError(f"the loaded ledger does not verify: {answer}")


async def _load(url: str) -> None:
    """Tables first and indexes afterwards, each month by a connection of its own."""
    end = datetime.now(UTC) - timedelta(hours=1)
    start = end - SPAN
    step = SPAN / EVENTS
    first_months = months_ahead(start, ahead=12)
    bounds = [datetime(month.year, month.month, 1, tzinfo=UTC) for month in first_months]
    jobs = []
    for month, since, until in zip(first_months, bounds, bounds[1:], strict=False):
        # In microseconds: `step` itself is rounded to them.
        numbers = [max(1, -(-(bound - start) // step)) for bound in (since, until)]
        if since <= end:
            jobs.append(_load_month(url, name_of(month), (since, until), (start, step), (numbers[0], numbers[1] - 1)))
    await asyncio.gather(*jobs)
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("SET work_mem = '1GB'; SET maintenance_work_mem = '1GB'; SET timezone = 'UTC'")
        await connection.execute(_CHAIN)
        indexes = await _drop_indexes(connection)
        await connection.execute(_LEDGER, timeout=STATEMENT_TIMEOUT)
        for statement in indexes:
            await connection.execute(statement, timeout=STATEMENT_TIMEOUT)
        await connection.execute("DROP AGGREGATE benchmark_chain(bytea)")
        await connection.execute("DROP FUNCTION benchmark_link, benchmark_time")
        await connection.execute("VACUUM (ANALYZE) audit_ledger", timeout=STATEMENT_TIMEOUT)
        await ledger_tree.build(connection, 0)
        await connection.execute("CHECKPOINT", timeout=STATEMENT_TIMEOUT)
    finally:
        await connection.close()


async def _load_month(
    url: str,
    name: str,
    bounds: tuple[datetime, datetime],
    times: tuple[datetime, timedelta],
    numbers: tuple[int, int],
) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("SET synchronous_commit = off; SET maintenance_work_mem = '512MB'")
        await connection.execute(_CREATE.format(name))
        last = min(numbers[1], EVENTS)
        await connection.execute(_ROWS.format(name), *times, numbers[0], last, timeout=STATEMENT_TIMEOUT)
        await connection.execute(_ATTACH.format(name, *bounds), timeout=STATEMENT_TIMEOUT)
        await connection.execute(f"VACUUM (ANALYZE) {name}", timeout=STATEMENT_TIMEOUT)
    finally:
        await connection.close()


async def _drop_indexes(connection: asyncpg.Connection) -> list[str]:
    """Drop the indexes and keys of the ledger; the statements that make them again."""
    constraints = await connection.fetch(
        "SELECT conname, pg_get_constraintdef(oid) AS definition FROM pg_constraint"
        " WHERE conrelid = 'audit_ledger'::regclass AND contype IN ('p', 'u', 'x') ORDER BY contype"
    )
    for row in constraints:
        await connection.execute(f"ALTER TABLE audit_ledger DROP CONSTRAINT {row['conname']}")
    indexes = await connection.fetch(
        "SELECT indexname, indexdef FROM pg_indexes WHERE tablename = 'audit_ledger' ORDER BY indexname"
    )
    for row in indexes:
        await connection.execute(f"DROP INDEX {row['indexname']}")
    return [
        *(f"ALTER TABLE audit_ledger ADD CONSTRAINT {row['conname']} {row['definition']}" for row in constraints),
        *(row["indexdef"] for row in indexes),
    ]
