"""Rows of legal holds, releases and removals that somebody edits, invents or deletes are named."""

from datetime import timedelta

import asyncpg
import pytest

from kubernaut.api.events import LedgerFinding, VerifyRequest
from kubernaut.datastorage.store import Store
from support.ledger_events import NOW, an_entry
from support.lifecycle import Lifecycle

HOLDS, RELEASES = "audit_legal_holds", "audit_legal_hold_releases"


@pytest.fixture
async def held(store: Store, database: str) -> Store:
    """A hold in force on rr-0, and one on rr-1 that has ended."""
    lifecycle = Lifecycle(database, now=NOW + timedelta(days=1))
    await store.append([an_entry(correlation_id=f"rr-{number}") for number in range(3)])
    await lifecycle.holds.place("rr-0", "lawsuit 7", "alice")
    await lifecycle.holds.place("rr-1", "lawsuit 8", "bob")
    await lifecycle.holds.release("rr-1", "settled", "carol")
    assert await findings(store) == []
    return store


async def findings(store: Store) -> list[LedgerFinding]:
    return (await store.read.verify(VerifyRequest())).findings


async def change(sql: asyncpg.Connection, table: str, statement: str) -> None:
    async with sql.transaction():
        await sql.execute(f"SET LOCAL kubernaut.allow_change = '{table}'")
        assert not (await sql.execute(statement)).endswith(" 0")


EDITS = [
    (HOLDS, "hold_id = gen_random_uuid()", 2),
    (HOLDS, "correlation_id = 'rr-2'", 1),
    (HOLDS, "reason = 'x'", 1),
    (HOLDS, "placed_by = 'mallory'", 1),
    (HOLDS, "placed_at = placed_at + interval '1 microsecond'", 1),
    (HOLDS, "placed_at = '20000-01-01'", 1),
    (HOLDS, "placed_at = '-infinity'", 1),
    (RELEASES, "released_at = '20000-01-01'", 1),
    (RELEASES, "released_at = 'infinity'", 1),
    (RELEASES, "hold_id = gen_random_uuid()", 1),
    (RELEASES, "hold_id = (SELECT hold_id FROM audit_legal_holds WHERE correlation_id = 'rr-0')", 1),
    (RELEASES, "release_id = gen_random_uuid()", 2),
    (RELEASES, "reason = 'x'", 1),
    (RELEASES, "released_by = 'mallory'", 1),
    (RELEASES, "released_at = released_at - interval '1 day'", 1),
]


@pytest.mark.parametrize(("table", "edit", "count"), EDITS)
async def test_edited_hold_is_named_in_every_column(
    held: Store, sql: asyncpg.Connection, table: str, edit: str, count: int
):
    where = "WHERE correlation_id = 'rr-0'" if table == HOLDS else ""
    await change(sql, table, f"UPDATE {table} SET {edit} {where}")  # noqa: S608 - of this module

    found = await findings(held)

    assert len(found) == count
    assert all(table in finding.message for finding in found)
    assert found[0].event_id is not None


@pytest.mark.parametrize("table", [HOLDS, RELEASES])
async def test_deleted_hold_is_named(held: Store, sql: asyncpg.Connection, table: str):
    where = "WHERE correlation_id = 'rr-0'" if table == HOLDS else ""
    await change(sql, table, f"DELETE FROM {table} {where}")  # noqa: S608 - of this module

    (finding,) = await findings(held)

    assert "its row" in finding.message and "was deleted" in finding.message
    assert finding.sequence > 3


async def test_invented_hold_and_release_are_named(held: Store, sql: asyncpg.Connection):
    await sql.execute(
        f"INSERT INTO {RELEASES} SELECT hold_id, gen_random_uuid(), 'x', 'mallory', now() FROM {HOLDS} "  # noqa: S608
        "WHERE correlation_id = 'rr-0'"
    )
    await sql.execute(f"INSERT INTO {HOLDS} VALUES (gen_random_uuid(), 'rr-2', 'x', 'mallory', now())")  # noqa: S608

    found = await findings(held)

    assert sorted(finding.correlation_id or "" for finding in found) == ["rr-0", "rr-2"]
    assert all("there is no ledger event" in finding.message for finding in found)


async def test_hold_that_claims_the_event_of_something_else_is_named(held: Store, sql: asyncpg.Connection):
    await sql.execute(
        f"INSERT INTO {HOLDS} SELECT event_id, 'rr-2', 'x', 'mallory', now() FROM audit_ledger WHERE sequence = 1"  # noqa: S608
    )

    (finding,) = await findings(held)

    assert "says something else" in finding.message


async def test_mark_beyond_the_ledger_is_named(held: Store, sql: asyncpg.Connection):
    await sql.execute(
        "INSERT INTO audit_expired VALUES (0, 999, gen_random_uuid(), gen_random_uuid(), now(), 'retention')"
    )

    (finding,) = await findings(held)

    assert "audit_expired belongs to no row" in finding.message


async def test_edited_time_of_a_removal_is_named(store: Store, sql: asyncpg.Connection, database: str):
    await store.append([an_entry(retention_days=1)])
    await Lifecycle(database).retention.apply()
    assert await findings(store) == []

    await change(sql, "audit_expired", "UPDATE audit_expired SET expired_at = now()")

    assert "another time" in (await findings(store))[0].message
