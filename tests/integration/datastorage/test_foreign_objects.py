"""Triggers, rules, policies and other types of columns that somebody has put on our tables."""

import asyncpg
import httpx2
import pytest

from kubernaut.datastorage import migrate
from kubernaut.datastorage.service import open_service
from support.datastorage import BATCH, JSON, VERIFY, config_for
from support.eventually import eventually
from support.ledger_events import a_body, a_wire_event

_ZEROS = "decode(repeat('00', {count}), 'hex')"
_CHANGES = {
    "audit_events": ("error_message", "'edited'", "event_id = NEW.event_id"),
    "audit_ledger": ("received_at", "NEW.received_at + interval '1 s'", "event_id = NEW.event_id"),
    "audit_trees": ("root", _ZEROS.format(count=32), "shard = NEW.shard"),
    "audit_tiles": ("hashes", _ZEROS.format(count=8192), "root = NEW.root"),
}
"""A column of each table that an append writes, its other value, and the row that was just written."""

_UNDO = "DROP TRIGGER edit ON {table}; DROP FUNCTION edit()"


def _trigger(table: str, kind: str, body: str) -> str:
    """A trigger of a kind (`BEFORE`, `AFTER`, `DEFERRED`) on each row that is written."""
    deferred = kind == "DEFERRED"
    return (
        f"CREATE FUNCTION edit() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body}; RETURN NEW; END $$;"
        f"CREATE {'CONSTRAINT ' if deferred else ''}TRIGGER edit {'AFTER' if deferred else kind} INSERT OR UPDATE "
        f"ON {table} {'DEFERRABLE INITIALLY DEFERRED' if deferred else ''} FOR EACH ROW EXECUTE FUNCTION edit()"
    )


def _editing(table: str, kind: str) -> str:
    """A trigger that changes each row."""
    column, value, which = _CHANGES[table]
    if kind == "BEFORE":
        return _trigger(table, kind, f"NEW.{column} := {value}")
    update = f"UPDATE {table} SET {column} = {value} WHERE {which}"  # noqa: S608 - of a test
    allow = f"PERFORM set_config('kubernaut.allow_change', '{table}', true)"
    return _trigger(table, kind, f"{allow}; IF pg_trigger_depth() < 2 THEN {update}; END IF")


async def _write(http: httpx2.AsyncClient, count: int = 1) -> httpx2.Response:
    return await http.post(BATCH, content=a_body(*(a_wire_event() for _ in range(count))), headers=JSON)


async def _is_stored(http: httpx2.AsyncClient) -> bool:
    return (await _write(http)).status_code == 201


async def _assert_refused(http: httpx2.AsyncClient, count: int, reason: str) -> None:
    for _ in range(2):
        answer = await _write(http, count)
        assert (answer.status_code, answer.json().get("reason")) == (503, reason)
    assert (await http.get("/readyz")).json()["reason"] == reason


@pytest.mark.parametrize("count", [1, 500])
@pytest.mark.parametrize("table", _CHANGES)
@pytest.mark.parametrize("kind", ["BEFORE", "AFTER", "DEFERRED"])
async def test_nothing_is_acknowledged_that_a_trigger_changes(
    http: httpx2.AsyncClient, sql: asyncpg.Connection, kind: str, table: str, count: int
):
    assert (await _write(http, 255)).status_code == 201
    await sql.execute(_editing(table, kind))

    await _assert_refused(http, count, "database_rows_changed")

    await sql.execute(_UNDO.format(table=table))
    await eventually(lambda: _is_stored(http))
    assert (await http.post(VERIFY)).json()["is_valid"]


@pytest.mark.parametrize("count", [1, 500])
@pytest.mark.parametrize(
    "column",
    [
        ("audit_ledger", "received_at", "timestamptz", "timestamptz(0)"),
        ("audit_events", "event_action", "varchar(50)", "char(50)"),
    ],
    ids=lambda column: column[-1],
)
async def test_nothing_is_acknowledged_that_a_column_rounds_or_pads(
    http: httpx2.AsyncClient, sql: asyncpg.Connection, column: tuple[str, str, str, str], count: int
):
    table, name, before, after = column
    assert (await _write(http)).status_code == 201
    (stored_at,) = await sql.fetchrow("SELECT received_at FROM audit_ledger")
    await sql.execute(f"ALTER TABLE {table} ALTER {name} TYPE {after}")

    await _assert_refused(http, count, "database_rows_changed")

    await sql.execute(f"ALTER TABLE {table} ALTER {name} TYPE {before}")
    await sql.execute("SET kubernaut.allow_change = 'audit_ledger'")
    await sql.execute("UPDATE audit_ledger SET received_at = $1", stored_at)  # the DBA's own change of what was there
    await eventually(lambda: _is_stored(http))
    assert (await http.post(VERIFY)).json()["is_valid"]


@pytest.mark.parametrize("count", [1, 500])
@pytest.mark.parametrize("table", _CHANGES)
async def test_a_trigger_that_changes_nothing_keeps_nothing_from_being_stored(
    http: httpx2.AsyncClient, sql: asyncpg.Connection, table: str, count: int
):
    await sql.execute(_trigger(table, "AFTER", "PERFORM pg_notify('rows', TG_TABLE_NAME)"))

    for _ in range(3):
        assert (await _write(http, count)).status_code == 201

    assert (await http.post(VERIFY)).json()["is_valid"]


@pytest.mark.parametrize("count", [1, 500])
@pytest.mark.parametrize("table", _CHANGES)
@pytest.mark.parametrize("action", ["ALSO NOTIFY rows", "INSTEAD NOTHING"])
async def test_a_rule_lets_events_be_stored_or_refused_as_unavailable(
    http: httpx2.AsyncClient, sql: asyncpg.Connection, table: str, count: int, action: str
):
    assert (await _write(http, 255)).status_code == 201
    await sql.execute(f"CREATE RULE edit AS ON INSERT TO {table} DO {action}")

    answers = [await _write(http, count) for _ in range(2)]
    assert {answer.status_code for answer in answers} <= {201, 503}

    await sql.execute(f"DROP RULE edit ON {table}")
    await eventually(lambda: _is_stored(http))
    stored = sum(count for answer in answers if answer.status_code == 201)
    assert await sql.fetchval("SELECT count(*) FROM audit_ledger") >= 255 + stored + 1
    assert (await http.post(VERIFY)).json()["is_valid"]


_NAMED = {
    "trigger edit on audit_events": "CREATE TRIGGER edit BEFORE INSERT ON audit_events FOR EACH ROW "
    "EXECUTE FUNCTION suppress_redundant_updates_trigger()",
    "trigger edit on audit_events_before_2020": "CREATE TRIGGER edit AFTER UPDATE ON audit_events_before_2020 "
    "FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()",
    "trigger edit on audit_legal_holds": "CREATE TRIGGER edit BEFORE INSERT ON audit_legal_holds FOR EACH STATEMENT "
    "EXECUTE FUNCTION suppress_redundant_updates_trigger()",
    "rule edit on audit_trees": "CREATE RULE edit AS ON UPDATE TO audit_trees DO ALSO NOTIFY rows",
    "row-level security audit_conflicts": "ALTER TABLE audit_conflicts ENABLE ROW LEVEL SECURITY",
    "row-level security tenants on audit_ledger": "CREATE POLICY tenants ON audit_ledger USING (true);"
    "ALTER TABLE audit_ledger ENABLE ROW LEVEL SECURITY",
    "column type timestamp(3) with time zone of signed_at on audit_checkpoints": "ALTER TABLE audit_checkpoints "
    "ALTER signed_at TYPE timestamptz(3)",
    "unlogged table audit_tiles": "ALTER TABLE audit_tiles SET UNLOGGED",
}
"""How each is named, and the statement that makes it."""


@pytest.mark.parametrize("name", _NAMED)
async def test_start_readiness_metric_and_status_name_what_is_not_ours(
    database: str, sql: asyncpg.Connection, name: str, capsys: pytest.CaptureFixture[str]
):
    await sql.execute(_NAMED[name])

    status = await migrate.status(database)
    async with open_service(config_for(database)) as server, httpx2.AsyncClient(base_url=server.url) as client:
        ready, metrics = await client.get("/readyz"), await client.get("/metrics")

    assert [str(each) for each in status.foreign_objects] == [name]
    assert (ready.status_code, ready.json()["degraded"]) == (200, {"foreign_objects": name})
    assert "\nkubernaut_datastorage_foreign_objects 1.0\n" in metrics.text
    assert "foreign object on a table of the ledger" in capsys.readouterr().out


async def test_our_own_triggers_are_not_named(database: str, http: httpx2.AsyncClient):
    assert (await migrate.status(database)).foreign_objects == []
    assert "degraded" not in (await http.get("/readyz")).json()
