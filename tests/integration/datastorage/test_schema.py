"""Migrations, and what they leave behind."""

import asyncio
import re
from datetime import UTC, datetime, timedelta
from importlib import resources
from pathlib import Path
from uuid import UUID

import asyncpg
import pytest

from kubernaut.datastorage import migrate as migrations
from kubernaut.datastorage.errors import DatabaseUnavailable, EditedMigration
from kubernaut.datastorage.migrate import Migration, Stage, migrate
from kubernaut.datastorage.queries import QUERIES
from support.services import NewDatabase

CATALOGUE = """
SELECT 'column', concat_ws(' ', c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
                           a.attgenerated, a.attidentity, l.collname, pg_get_expr(d.adbin, d.adrelid))
  FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
  LEFT JOIN pg_attrdef d ON (d.adrelid, d.adnum) = (a.attrelid, a.attnum)
  LEFT JOIN pg_collation l ON l.oid = a.attcollation
 WHERE c.relnamespace = 'public'::regnamespace AND a.attnum > 0 AND NOT a.attisdropped
UNION ALL SELECT 'relation', concat_ws(' ', relname, relkind, pg_get_expr(relpartbound, oid), pg_get_partkeydef(oid))
  FROM pg_class WHERE relnamespace = 'public'::regnamespace
UNION ALL SELECT 'index', indexdef FROM pg_indexes WHERE schemaname = 'public'
UNION ALL SELECT 'constraint', concat_ws(' ', conrelid::regclass, conname, pg_get_constraintdef(oid))
  FROM pg_constraint WHERE connamespace = 'public'::regnamespace
UNION ALL SELECT 'function', pg_get_functiondef(oid) FROM pg_proc WHERE pronamespace = 'public'::regnamespace
UNION ALL SELECT 'trigger', concat_ws(' ', tgrelid::regclass, pg_get_triggerdef(oid)) FROM pg_trigger
ORDER BY 1, 2
"""


async def catalogue(url: str) -> list[tuple[str, str]]:
    connection = await asyncpg.connect(url)
    try:
        return [tuple(row) for row in await connection.fetch(CATALOGUE)]
    finally:
        await connection.close()


async def test_schema_and_migrations_build_the_same_database(new_database: NewDatabase):
    migrated, created = await new_database(), await new_database()
    schema = resources.files("kubernaut.datastorage").joinpath("sql/schema.sql").read_text()
    connection = await asyncpg.connect(created)
    await connection.execute(schema)
    await connection.close()

    await migrate(migrated)

    assert await catalogue(migrated) == await catalogue(created)


def test_every_migration_has_a_number_of_its_own():
    versions = [migration.version for migration in migrations.known()]

    assert versions == list(range(1, len(versions) + 1))


async def test_down_removes_everything_that_up_made(postgres_database: str):
    await migrate(postgres_database)
    connection = await asyncpg.connect(postgres_database)
    for migration in reversed(migrations.known()):
        await connection.execute(migration.text.split("-- +goose Down", 1)[1])
    await connection.close()

    left = {text.split(" ")[0] for kind, text in await catalogue(postgres_database) if kind == "relation"}

    assert left == {"schema_migrations", "schema_migrations_pkey"}


async def test_several_migrators_at_once_apply_each_file_once(postgres_database: str):
    applied = await asyncio.gather(*(migrate(postgres_database) for _ in range(4)))

    assert sorted(applied) == [[], [], [], [migration.name for migration in migrations.known()]]


async def test_edited_migration_is_refused_and_named(postgres_database: str):
    await migrate(postgres_database)
    first, *others = migrations.known()
    edited = Migration(version=first.version, stage=first.stage, name=first.name, text=first.text + "-- more\n")

    with pytest.raises(EditedMigration, match="00001 audit_events was applied with another text"):
        await migrate(postgres_database, migrations=[edited, *others])


async def test_failing_migration_leaves_nothing_behind(postgres_database: str):
    bad = Migration(
        version=1,
        stage=Stage.PRE,
        name="bad",
        text="-- +goose Up\nCREATE TABLE half (id int);\nSELECT 1 / 0;\n-- +goose Down\n",
    )

    with pytest.raises(asyncpg.DivisionByZeroError):
        await migrate(postgres_database, migrations=[bad])

    assert ("relation", "half r") not in await catalogue(postgres_database)
    assert await migrate(postgres_database)


async def test_post_migrations_wait_until_asked_for(postgres_database: str):
    late = Migration(version=99999, stage=Stage.POST, name="late", text="-- +goose Up\nSELECT 1;\n-- +goose Down\n")
    files = [*migrations.known(), late]

    assert "late" not in await migrate(postgres_database, upto=Stage.PRE, migrations=files)
    assert await migrate(postgres_database, migrations=files) == ["late"]


LITERALS = {"use_snapshot"}
"""Statements in which PostgreSQL takes a quoted literal and no parameter."""


async def test_every_statement_is_accepted_by_postgresql(sql: asyncpg.Connection):
    for name, statement in QUERIES.items():
        if name in LITERALS:
            await sql.prepare(statement.sql.replace("$1", "'00000003-1'"))
            continue
        prepared = await sql.prepare(statement.sql)
        assert len(prepared.get_parameters()) == len(statement.parameters), name


PARENT = UUID(int=7)
RARE = {
    "correlation_id": "rr-7",
    "event_type": "rare",
    "event_category": "rare",
    "event_outcome": "failure",
    "severity": "rare",
    "resource_id": "rare",
    "actor_id": "rare",
    "namespace": "rare",
    "parent_event_id": PARENT,
}
COMMON = {name: "success" if name == "event_outcome" else "common" for name in RARE} | {"parent_event_id": None}
ABSENT = dict.fromkeys(RARE, "none") | {"parent_event_id": UUID(int=1), "event_outcome": "pending"}
NEWEST = {"since": datetime(2026, 11, 15, tzinfo=UTC)}
PAIRS = {
    "resource_type": {"resource_type": "Pod", "resource_id": "common"},
    "actor_type": {"actor_type": "service", "actor_id": "common"},
}
DETAILS = [
    {"detail_key": "phase", "detail_value": value, "detail_text": document, "detail_json": document}
    for value in ("rare", "none")
    for document in [f'{{"phase":"{value}"}}']
]
SINGLE_FILTERS = [
    *DETAILS,
    *({name: value} for values in (RARE, COMMON, ABSENT) for name, value in values.items()),
    *PAIRS.values(),
    NEWEST,
    {"until": datetime(2026, 10, 25, tzinfo=UTC)},
    {},
]


FILL = """
WITH added AS (
    INSERT INTO audit_events (event_id, event_timestamp, event_type, event_category, event_action, event_outcome,
           actor_type, actor_id, resource_type, resource_id, correlation_id, event_data, severity, namespace,
           parent_event_id)
    SELECT gen_random_uuid(), $1::timestamptz + n * $2::interval, v, v, 'a',
           CASE v WHEN 'rare' THEN 'failure' ELSE 'success' END, 'service', v, 'Pod', v,
           CASE WHEN n % 2 = 0 THEN 'common' ELSE 'rr-' || n % 5000 END, jsonb_build_object('phase', v), v, v,
           CASE v WHEN 'rare' THEN '00000000-0000-0000-0000-000000000007'::uuid END
      FROM (SELECT n, CASE WHEN n % 4000 = 1 THEN 'rare' ELSE 'common' END AS v
              FROM generate_series(1, 40000) AS n) AS x
    RETURNING event_id, event_timestamp, correlation_id)
INSERT INTO audit_ledger (sequence, event_timestamp, received_at, event_id, late, content_hash,
       previous_event_hash, event_hash, correlation_id, format, leaf_hash)
SELECT (SELECT count(*) FROM audit_ledger) + row_number() OVER (ORDER BY event_timestamp), event_timestamp,
       now(), event_id, false, sha256('1'), sha256('2'), sha256('3'), correlation_id, 2, sha256('4') FROM added
"""
OLD = (datetime(2026, 10, 20, tzinfo=UTC), timedelta(minutes=1))
NEW = (datetime(2026, 11, 17, tzinfo=UTC), timedelta(seconds=1))


async def fill_events(sql: asyncpg.Connection, times: tuple[datetime, timedelta]) -> None:
    """40,000 events from a time on, of which one in 4,000 is rare in every column."""
    await sql.execute("SELECT audit_events_ensure_month('2026-10-01'), audit_events_ensure_month('2026-11-01')")
    await sql.execute(FILL, *times)


async def fill_with_outdated_statistics(sql: asyncpg.Connection) -> None:
    """As many events again after the planner's statistics were made."""
    await fill_events(sql, OLD)
    await sql.execute("ANALYZE audit_events, audit_ledger")
    await fill_events(sql, NEW)
    await sql.execute("SET plan_cache_mode = force_custom_plan")


async def test_every_single_filter_is_served_by_an_index(sql: asyncpg.Connection):
    await fill_events(sql, OLD)
    await sql.execute("ANALYZE audit_events, audit_ledger")
    await sql.execute("SET plan_cache_mode = force_custom_plan")
    for name in ("events_page", "events_exceed", "events_count"):
        statement = QUERIES[name]
        page = {"limit": 51, "offset": 0, "max_count": 1000, "window": 1051}
        nothing = {parameter: page.get(parameter) for parameter in statement.parameters}
        for filters in SINGLE_FILTERS:
            plan = await sql.fetch("EXPLAIN " + statement.sql, *statement.bind(**nothing | filters))

            text = "\n".join(row[0] for row in plan)
            assert "Seq Scan on audit_ledger" not in text, f"{name} {filters}:\n{text}"
            assert "Hash Join" not in text, f"{name} {filters}:\n{text}"
            if name == "events_count":
                continue  # it counts the first rows it finds
            assert not re.search("Seq Scan on audit_events_2026", text), f"{filters}:\n{text}"
            if filters in DETAILS:
                assert "Bitmap Index Scan on audit_events_2026_11_event_data_idx" in text, f"{filters}:\n{text}"
            if list(filters.values())[:1] == ["common"]:
                assert not re.search(r"(?<!Incremental )Sort  ", text), f"{filters}:\n{text}"


async def test_a_page_looks_up_no_more_ledger_rows_than_it_shows(sql: asyncpg.Connection):
    """Whatever the filters, and also for events that came after the planner's statistics were made."""
    await fill_with_outdated_statistics(sql)
    statement = QUERIES["events_page"]
    nothing = {name: {"limit": 51, "offset": 0, "window": 1051}.get(name) for name in statement.parameters}
    common_detail = {"detail_key": "phase", "detail_value": "common"}
    recent = {"since": NEW[0]}
    for filters in [*SINGLE_FILTERS, common_detail, *(each | recent for each in (*SINGLE_FILTERS, common_detail))]:
        values = statement.bind(**nothing | filters)

        plan = await sql.fetch("EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF) " + statement.sql, *values)

        text = "\n".join(row[0] for row in plan)
        looked_up = re.findall(r"Index Scan using audit_ledger_event_id_key .*loops=(\d+)|\(never executed\)", text)
        assert looked_up, f"{filters}:\n{text}"
        assert max(int(loops or 0) for loops in looked_up) <= 51, f"{filters}:\n{text}"


async def test_a_detail_is_looked_for_in_no_more_events_than_the_window_has(sql: asyncpg.Connection):
    await fill_with_outdated_statistics(sql)
    for name in ("events_page", "newest_events_count"):
        statement = QUERIES[name]
        page = {"limit": 51, "offset": 0, "window": 1000, "detail_key": "phase", "detail_value": "none"}
        values = statement.bind(**{parameter: page.get(parameter) for parameter in statement.parameters})

        plan = await sql.fetch("EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF) " + statement.sql, *values)

        text = "\n".join(row[0] for row in plan)
        read = re.findall(r"Scan .* on audit_events_\S+ .*\(actual rows=([\d.]+)", text)
        assert sum(float(rows) for rows in read) == 1000, text
        assert "Sort" not in text, text


def test_migration_files_are_named_by_the_rule():
    folder = Path(str(resources.files("kubernaut.datastorage").joinpath("migrations")))

    assert {path.name for path in folder.iterdir() if path.suffix == ".sql"} == {
        f"{m.version:05d}_{m.stage}_{m.name}.sql" for m in migrations.known()
    }


async def test_a_long_statement_is_waited_for_and_a_lock_is_not(migrated_database: str):
    slow = Migration(
        version=99998, stage=Stage.PRE, name="slow", text="-- +goose Up\nSELECT pg_sleep(1.5);\n-- +goose Down\n"
    )
    locked = Migration(
        version=99999, stage=Stage.PRE, name="locked", text="-- +goose Up\nLOCK TABLE audit_ledger;\n-- +goose Down\n"
    )
    assert await migrate(migrated_database, migrations=[*migrations.known(), slow], timeout=1.0) == ["slow"]
    other = await asyncpg.connect(migrated_database)
    async with other.transaction():
        await other.execute("LOCK TABLE audit_ledger")
        with pytest.raises(DatabaseUnavailable, match="lock"):
            await migrate(migrated_database, migrations=[*migrations.known(), slow, locked], timeout=1.0)
    await other.close()
