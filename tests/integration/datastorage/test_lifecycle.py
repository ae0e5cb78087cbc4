"""What is removed, what never is, and that the ledger verifies afterwards and still shows a deletion by hand."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

import asyncpg
import pytest

from kubernaut.api.events import Verification, VerifyRequest
from kubernaut.api.lifecycle import EraseEvents
from kubernaut.datastorage.config import DatabaseConfig
from kubernaut.datastorage.erasure import ErasureRefused, UnknownEvents
from kubernaut.datastorage.errors import RowsDiscarded
from kubernaut.datastorage.legal_holds import AlreadyHeld, UnknownCorrelation
from kubernaut.datastorage.queries import QUERIES
from kubernaut.datastorage.range_verification import Access, Range, RangeVerifier, connect, open_snapshot
from kubernaut.datastorage.store import Store
from support.datastorage import OpenStore
from support.eventually import eventually
from support.ledger_events import NOW, an_entry
from support.lifecycle import Lifecycle

ERASE = EraseEvents(order="GDPR-17", correlation_id="rr-1")


@pytest.fixture
def lifecycle(database: str) -> Lifecycle:
    return Lifecycle(database, now=NOW + timedelta(days=40))


@pytest.fixture
async def filled(store: Store) -> Store:
    """Nine events of three correlations; those of rr-0 and rr-1 expire after 30 days."""
    for number in range(9):
        days = 2555 if number % 3 == 2 else 30
        await store.append([an_entry(correlation_id=f"rr-{number % 3}", event_data={"n": number}, retention_days=days)])
    return store


async def payloads(sql: asyncpg.Connection) -> list[int]:
    """The numbers of the events whose payload is there."""
    found = await sql.fetch("SELECT (event_data ->> 'n')::int FROM audit_events WHERE event_data ? 'n' ORDER BY 1")
    return [row[0] for row in found]


async def operations(sql: asyncpg.Connection) -> list[str]:
    found = await sql.fetch(
        "SELECT event_type FROM audit_events JOIN audit_ledger USING (event_id) WHERE event_type LIKE 'datastorage.%' "
        "ORDER BY shard, sequence"
    )
    return [row[0] for row in found]


async def verified(store: Store, correlation_id: str | None = None) -> Verification:
    verification = await store.read.verify(VerifyRequest(correlation_id=correlation_id))
    assert verification.is_valid, verification.findings
    return verification


async def _change(sql: asyncpg.Connection, table: str, statement: str) -> None:
    """Somebody with the database's password."""
    async with sql.transaction():
        await sql.execute(f"SET LOCAL kubernaut.allow_change = '{table}'")
        assert not (await sql.execute(statement)).endswith(" 0")


async def _delete_payload(sql: asyncpg.Connection, sequence: int) -> None:
    event_id = await sql.fetchval("SELECT event_id FROM audit_ledger WHERE sequence = $1", sequence)
    await _change(sql, "audit_events", f"DELETE FROM audit_events WHERE event_id = '{event_id}'")  # noqa: S608 - an id


async def test_nothing_is_removed_before_its_time(filled: Store, lifecycle: Lifecycle, sql: asyncpg.Connection):
    lifecycle.now = NOW + timedelta(days=30)

    assert await lifecycle.retention.apply() == 0
    assert await payloads(sql) == list(range(9))
    assert await operations(sql) == []


async def test_retention_counts_from_arrival(store: Store, lifecycle: Lifecycle, sql: asyncpg.Connection):
    late = an_entry(event_timestamp="2020-01-01T00:00:00Z", event_data={"n": 1}, retention_days=30)
    very_old = an_entry(event_timestamp="1999-01-01T00:00:00Z", event_data={"n": 2}, retention_days=30)
    await store.append([late, very_old])
    lifecycle.now = NOW + timedelta(days=29)
    assert await lifecycle.retention.apply() == 0

    lifecycle.now = NOW + timedelta(days=31)

    assert await lifecycle.retention.apply() == 2
    assert await payloads(sql) == []
    await verified(store)


@pytest.mark.parametrize(("batch_size", "events"), [(1, 6), (4, 1), (6, 1), (1000, 1)])
async def test_expired_payloads_are_removed_and_the_ledger_verifies(
    filled: Store, lifecycle: Lifecycle, sql: asyncpg.Connection, batch_size: int, events: int
):
    lifecycle.batch_size = batch_size

    assert await lifecycle.retention.apply() == 6

    assert await payloads(sql) == [2, 5, 8]
    assert await operations(sql) == ["datastorage.retention.applied"] * events
    verification = await verified(filled)
    assert verification.total_events == 9 + events
    assert sum(removed.count for removed in verification.removed) == 6
    assert {removed.reason for removed in verification.removed} == {"retention"}
    assert (await verified(filled, "rr-0")).removed[0].reason == "retention"
    assert (await verified(filled, "rr-2")).removed == []
    assert await lifecycle.retention.apply() == 0


async def test_appends_go_on_after_retention(filled: Store, lifecycle: Lifecycle):
    await lifecycle.retention.apply()

    assert await filled.append([an_entry(correlation_id="rr-0")]) == [None]
    await verified(filled)
    await verified(filled, "rr-0")


async def test_retention_over_several_ledgers(another_store: OpenStore, database: str, sql: asyncpg.Connection):
    lifecycle = Lifecycle(database, batch_size=10)
    async with another_store(shards=4) as store:
        await store.append([an_entry(correlation_id=f"rr-{n}", event_data={"n": n}) for n in range(20)])

        assert await lifecycle.retention.apply() == 20

        assert await payloads(sql) == []
        assert len(await operations(sql)) == 4
        await verified(store)


@pytest.mark.parametrize("batch_size", [1, 3, 1000])
async def test_held_correlation_is_never_removed(
    filled: Store, lifecycle: Lifecycle, sql: asyncpg.Connection, batch_size: int
):
    lifecycle.batch_size = batch_size
    placed = await lifecycle.holds.place("rr-0", "lawsuit 7", "alice")
    assert (placed.events_affected, placed.placed_by) == (3, "alice")
    await filled.append([an_entry(correlation_id="rr-0", event_data={"n": 100}, retention_days=1)])

    assert await lifecycle.retention.apply() == 3

    assert await payloads(sql) == [0, 2, 3, 5, 6, 8, 100]
    listed = (await lifecycle.holds.active()).holds
    assert [(hold.correlation_id, hold.events_affected) for hold in listed] == [("rr-0", 5)]
    await verified(filled)

    await lifecycle.holds.release("rr-0", "settled", "bob")

    assert await lifecycle.retention.apply() == 4
    assert await payloads(sql) == [2, 5, 8]
    assert (await lifecycle.holds.active()).total == 0
    await verified(filled)
    await verified(filled, "rr-0")


async def test_hold_is_placed_once(filled: Store, lifecycle: Lifecycle, sql: asyncpg.Connection):
    first = await lifecycle.holds.place("rr-0", "lawsuit 7", "alice")
    lifecycle.now += timedelta(days=1)

    assert (await lifecycle.holds.place("rr-0", "lawsuit 7", "alice")).placed_at == first.placed_at
    with pytest.raises(AlreadyHeld, match="placed by alice"):
        await lifecycle.holds.place("rr-0", "lawsuit 8", "bob")
    with pytest.raises(UnknownCorrelation):
        await lifecycle.holds.place("rr-9", "lawsuit 7", "alice")
    with pytest.raises(UnknownCorrelation):
        await lifecycle.holds.release("rr-1", "settled", "alice")
    assert await operations(sql) == ["datastorage.legal_hold.placed"]


async def test_hold_can_be_placed_again_after_its_release(filled: Store, lifecycle: Lifecycle, sql: asyncpg.Connection):
    for _ in range(2):
        await lifecycle.holds.place("rr-0", "lawsuit 7", "alice")
        await lifecycle.holds.release("rr-0", "settled", "alice")
        lifecycle.now += timedelta(seconds=1)

    assert await operations(sql) == ["datastorage.legal_hold.placed", "datastorage.legal_hold.released"] * 2
    await verified(filled)


async def test_hold_placed_while_retention_runs_holds_what_is_left(
    filled: Store, lifecycle: Lifecycle, sql: asyncpg.Connection
):
    lifecycle.batch_size = 1
    # Retention has chosen its batch and waits behind whoever changes what is kept.
    async with sql.transaction():
        await sql.execute("SELECT pg_advisory_xact_lock(hashtext('kubernaut.lifecycle'))")
        hold = asyncio.create_task(lifecycle.holds.place("rr-0", "lawsuit 7", "alice"))
        await _waiting(sql, 1)
        run = asyncio.create_task(lifecycle.retention.apply())
        await _waiting(sql, 2)
    await hold

    assert await run == 3
    assert await payloads(sql) == [0, 2, 3, 5, 6, 8]
    await verified(filled)


async def _waiting(sql: asyncpg.Connection, count: int) -> None:
    """Until so many sessions wait for a lock."""

    async def is_so() -> bool:
        statement = "SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'advisory'"
        return bool(await sql.fetchval(statement) == count)

    await eventually(is_so)


async def test_only_one_process_applies_retention(filled: Store, lifecycle: Lifecycle, sql: asyncpg.Connection):
    await sql.execute("SELECT pg_advisory_lock(hashtext('kubernaut.retention'))")

    assert await lifecycle.retention.apply() is None
    assert len(await payloads(sql)) == 9


@pytest.mark.parametrize("batch_size", [3, 1000])
@pytest.mark.parametrize("table", ["audit_expired", "audit_ledger", "audit_events"])
async def test_failure_at_any_step_leaves_nothing_half_done(
    filled: Store, lifecycle: Lifecycle, sql: asyncpg.Connection, table: str, batch_size: int
):
    lifecycle.batch_size = batch_size
    await sql.execute(
        "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NEW; END $$"
    )
    operation = "DELETE OR INSERT" if table == "audit_events" else "INSERT"
    await sql.execute(f"CREATE TRIGGER fail AFTER {operation} ON {table} FOR EACH ROW EXECUTE FUNCTION fail()")

    with pytest.raises(Exception, match=r"."):
        await lifecycle.retention.apply()

    assert await payloads(sql) == list(range(9))
    assert await sql.fetchval("SELECT count(*) FROM audit_expired") == 0
    await verified(filled)
    await sql.execute(f"DROP TRIGGER fail ON {table}")
    assert await lifecycle.retention.apply() == 6
    await verified(filled)


async def test_payload_deleted_by_hand_is_found_after_retention(
    filled: Store, lifecycle: Lifecycle, sql: asyncpg.Connection
):
    await lifecycle.retention.apply()
    await _delete_payload(sql, 9)

    for request in (VerifyRequest(), VerifyRequest(correlation_id="rr-2")):
        findings = (await filled.read.verify(request)).findings
        assert [finding.sequence for finding in findings] == [9]
        assert "the event is missing" in findings[0].message


async def test_forged_mark_is_a_finding(filled: Store, lifecycle: Lifecycle, sql: asyncpg.Connection):
    await lifecycle.retention.apply()
    await _delete_payload(sql, 9)
    for operation, reason in (
        ("(SELECT operation_id FROM audit_expired LIMIT 1)", "does not name it"),
        ("gen_random_uuid()", "there is no ledger event"),
        ("(SELECT event_id FROM audit_ledger WHERE sequence = 3)", "removes nothing"),
    ):
        await sql.execute(
            f"INSERT INTO audit_expired SELECT shard, sequence, event_id, {operation}, "  # noqa: S608 - ours
            "now(), 'retention' FROM audit_ledger WHERE sequence = 9"
        )

        for request in (VerifyRequest(), VerifyRequest(correlation_id="rr-2")):
            findings = (await filled.read.verify(request)).findings
            assert [finding.sequence for finding in findings] == [9]
            assert reason in findings[0].message
        await _change(sql, "audit_expired", "DELETE FROM audit_expired WHERE sequence = 9")


async def test_forged_mark_on_a_payload_that_is_there_is_a_finding(filled: Store, sql: asyncpg.Connection):
    await sql.execute(
        "INSERT INTO audit_expired SELECT shard, sequence, event_id, gen_random_uuid(), now(), 'retention' "
        "FROM audit_ledger WHERE sequence = 4"
    )

    assert [finding.sequence for finding in (await filled.read.verify(VerifyRequest())).findings] == [4]


async def test_edited_removal_explains_nothing(filled: Store, lifecycle: Lifecycle, sql: asyncpg.Connection):
    await lifecycle.retention.apply()
    await _delete_payload(sql, 9)
    await _change(
        sql,
        "audit_events",
        "UPDATE audit_events SET event_data = jsonb_set(event_data, '{sequences}', '[[1, 9]]') "
        "WHERE event_type = 'datastorage.retention.applied'",
    )

    findings = (await filled.read.verify(VerifyRequest())).findings

    assert [finding.sequence for finding in findings] == [1, 2, 4, 5, 7, 8, 9, 10]


async def test_deleted_mark_is_a_finding(filled: Store, lifecycle: Lifecycle, sql: asyncpg.Connection):
    await lifecycle.retention.apply()
    await _change(sql, "audit_expired", "DELETE FROM audit_expired WHERE sequence = 4")

    assert [finding.sequence for finding in (await filled.read.verify(VerifyRequest())).findings] == [4]


@pytest.mark.parametrize("table", ["audit_expired", "audit_legal_holds", "audit_legal_hold_releases"])
async def test_tables_are_append_only(filled: Store, lifecycle: Lifecycle, sql: asyncpg.Connection, table: str):
    await lifecycle.holds.place("rr-0", "lawsuit 7", "alice")
    await lifecycle.holds.release("rr-0", "settled", "alice")
    await lifecycle.retention.apply()

    for statement in (f"DELETE FROM {table}", f"TRUNCATE {table} CASCADE"):  # noqa: S608 - our tables
        with pytest.raises(asyncpg.CheckViolationError, match="append-only"):
            await sql.execute(statement)


async def test_erasure_removes_payloads_and_says_by_which_order(
    filled: Store, lifecycle: Lifecycle, sql: asyncpg.Connection
):
    event_id = await sql.fetchval("SELECT event_id FROM audit_ledger WHERE sequence = 6")
    other = an_entry(event_id=str(event_id), correlation_id="rr-2", event_data={"name": "Bob"})
    assert await filled.append([other]) != [None]

    erased = await lifecycle.erasure.erase(EraseEvents(order="GDPR-17", event_ids=[event_id]), "alice")

    assert erased.events_erased == 1
    assert await payloads(sql) == [0, 1, 2, 3, 4, 6, 7, 8]
    assert await sql.fetchval("SELECT refused_event FROM audit_conflicts") == "null"
    for correlation_id in (None, "rr-2"):
        (removed,) = (await verified(filled, correlation_id)).removed
        assert (removed.reason, removed.order, removed.count) == ("erasure", "GDPR-17", 1)
    again = await lifecycle.erasure.erase(EraseEvents(order="GDPR-17", event_ids=[event_id]), "alice")
    assert (again.events_erased, again.operation_ids) == (0, [])


DISCARDED: list[tuple[str, Callable[[Lifecycle], Awaitable[object]]]] = [
    ("DELETE ON audit_events", lambda lifecycle: lifecycle.erasure.erase(ERASE, "alice")),
    ("UPDATE ON audit_conflicts", lambda lifecycle: lifecycle.erasure.erase(ERASE, "alice")),
    ("INSERT ON audit_expired", lambda lifecycle: lifecycle.erasure.erase(ERASE, "alice")),
    ("DELETE ON audit_events", lambda lifecycle: lifecycle.retention.apply()),
    ("INSERT ON audit_legal_holds", lambda lifecycle: lifecycle.holds.place("rr-0", "lawsuit 7", "alice")),
    ("INSERT ON audit_legal_hold_releases", lambda lifecycle: lifecycle.holds.release("rr-2", "settled", "alice")),
]
"""What a trigger discards, and an operation that needs it."""


@pytest.mark.parametrize(("change", "act"), DISCARDED)
async def test_no_operation_is_done_that_a_trigger_discards(
    filled: Store,
    lifecycle: Lifecycle,
    sql: asyncpg.Connection,
    change: str,
    act: Callable[[Lifecycle], Awaitable[object]],
):
    event_id = await sql.fetchval("SELECT event_id FROM audit_ledger WHERE sequence = 5")
    await filled.append([an_entry(event_id=str(event_id), correlation_id="rr-1", event_data={"name": "Bob"})])
    await lifecycle.holds.place("rr-2", "lawsuit 6", "alice")
    before, operated = await payloads(sql), await operations(sql)
    await sql.execute(
        "CREATE FUNCTION discard() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;"
        f"CREATE TRIGGER discard BEFORE {change} FOR EACH ROW EXECUTE FUNCTION discard()"
    )

    with pytest.raises(RowsDiscarded):
        await act(lifecycle)

    await sql.execute(f"DROP TRIGGER discard ON {change.split()[-1]}")
    assert (await payloads(sql), await operations(sql)) == (before, operated)
    await act(lifecycle)
    await verified(filled)


async def test_erasure_of_a_correlation(filled: Store, lifecycle: Lifecycle, sql: asyncpg.Connection):
    erased = await lifecycle.erasure.erase(EraseEvents(order="GDPR-17", correlation_id="rr-1"), "alice")

    assert erased.events_erased == 3
    assert await payloads(sql) == [0, 2, 3, 5, 6, 8]
    assert await lifecycle.retention.apply() == 3
    assert {removed.reason for removed in (await verified(filled)).removed} == {"retention", "erasure"}


async def test_erasure_is_refused_while_on_hold_and_changes_nothing(
    filled: Store, lifecycle: Lifecycle, sql: asyncpg.Connection
):
    await lifecycle.holds.place("rr-0", "lawsuit 7", "alice")
    ids = [row[0] for row in await sql.fetch("SELECT event_id FROM audit_ledger WHERE sequence < 3")]

    with pytest.raises(ErasureRefused, match="'rr-0' is under a legal hold"):
        await lifecycle.erasure.erase(EraseEvents(order="GDPR-17", event_ids=ids), "alice")

    assert await payloads(sql) == list(range(9))
    assert "datastorage.erasure.applied" not in await operations(sql)


async def test_records_of_removals_are_neither_erased_nor_expire(
    filled: Store, lifecycle: Lifecycle, sql: asyncpg.Connection
):
    await lifecycle.retention.apply()
    record = await sql.fetchval("SELECT operation_id FROM audit_expired LIMIT 1")
    lifecycle.now += timedelta(days=3000)

    with pytest.raises(ErasureRefused, match="cannot be erased"):
        await lifecycle.erasure.erase(EraseEvents(order="GDPR-17", event_ids=[record]), "alice")
    assert await lifecycle.retention.apply() == 3

    assert await operations(sql) == ["datastorage.retention.applied"] * 2
    await verified(filled)


async def test_unknown_events_are_named(filled: Store, lifecycle: Lifecycle):
    entry = an_entry()

    with pytest.raises(UnknownEvents, match=str(entry.event.event_id)):
        await lifecycle.erasure.erase(EraseEvents(order="GDPR-17", event_ids=[entry.event.event_id]), "alice")
    with pytest.raises(UnknownEvents, match="rr-9"):
        await lifecycle.erasure.erase(EraseEvents(order="GDPR-17", correlation_id="rr-9"), "alice")


async def test_rows_without_their_payloads_are_recognised_by_their_texts(
    filled: Store, lifecycle: Lifecycle, database: str
):
    """Reading them one by one takes several times as long, and after some years nearly all rows are of this kind."""
    assert await lifecycle.retention.apply() == 6
    connection = await connect(Access.of(DatabaseConfig.from_url(database)))
    sent: list[str] = []
    connection.add_query_logger(lambda record: sent.append(record.query))
    async with open_snapshot(connection):
        size = await connection.fetchval("SELECT size FROM audit_trees")

        result = await RangeVerifier(connection).verify(Range(shard=0, first=0, end=1, size=size, cuts=[]))
    await connection.close()

    assert (result.findings, sum(removed.count for removed in result.removed)) == ([], 6)
    assert result.payload_count == result.total_count - 6 == size - 6
    assert QUERIES["marked_tiles"].sql in sent
    assert QUERIES["ledger_rows"].sql not in sent
