"""Somebody with the database's password goes around the service; verification names the first bad row."""

import asyncpg
import pytest

from kubernaut.api.events import VerifyRequest
from kubernaut.datastorage import chain, rows
from kubernaut.datastorage.store import Store
from kubernaut.datastorage.tree import Tree
from support.datastorage import OpenStore
from support.ledger_events import an_entry

BAD = 5


@pytest.fixture
async def filled(store: Store) -> Store:
    """Nine events of three correlations; row 5 belongs to rr-1."""
    for number in range(9):
        await store.append([an_entry(correlation_id=f"rr-{number % 3}", event_data={"n": number}, duration_ms=number)])
    return store


async def tamper(sql: asyncpg.Connection, *statements: str, edit: str = "") -> None:
    async with sql.transaction():
        for template in statements:
            statement = template.replace("<edit>", edit).replace("<its event>", ITS_EVENT)
            table = "audit_ledger" if "audit_ledger" in statement.split("WHERE")[0] else "audit_events"
            await sql.execute(f"SET LOCAL kubernaut.allow_change = '{table}'")
            assert not (await sql.execute(statement)).endswith(" 0")


ITS_EVENT = "(event_id, event_timestamp) = (SELECT event_id, event_timestamp FROM audit_ledger WHERE sequence = 5)"

PAYLOAD = [
    "event_data = '{\"n\": 100}'",
    'event_data = \'{"n": 4, "m": null}\'',
    "event_data = 'null'",
    "event_data = ('{\"n\": 1' || repeat('0', 5000) || '}')::jsonb",
    "event_version = '2'",
    "event_type = 'x'",
    "event_category = 'x'",
    "event_action = 'x'",
    "event_outcome = 'failure'",
    "actor_type = 'user'",
    "actor_id = 'mallory'",
    "actor_ip = '10.0.0.1'",
    "resource_type = 'x'",
    "resource_id = 'x'",
    "resource_name = ''",
    "correlation_id = 'rr-0'",
    "parent_event_id = event_id",
    "trace_id = 'x'",
    "span_id = 'x'",
    "namespace = 'x'",
    "cluster_id = 'x'",
    "severity = 'low'",
    "duration_ms = NULL",
    "error_code = 'x'",
    "error_message = 'x'",
    "retention_days = 1",
    "is_sensitive = true",
    "event_timestamp = event_timestamp + interval '1 microsecond'",
    "event_id = gen_random_uuid()",
]


async def test_edited_payload_is_found_in_every_column(filled: Store, sql: asyncpg.Connection):
    columns = ", ".join(rows.EVENT_COLUMNS)
    await sql.execute("CREATE TABLE saved AS SELECT * FROM audit_events")
    for edit in PAYLOAD:
        await tamper(sql, "UPDATE audit_events SET <edit> WHERE <its event>", edit=edit)

        for request in (VerifyRequest(), VerifyRequest(correlation_id="rr-1")):
            verification = await filled.read.verify(request)

            rows_found = [finding.sequence for finding in verification.findings if finding.sequence]
            assert rows_found == [BAD], edit
            assert verification.verified_events == verification.total_events - 1
        assert (await filled.read.verify(VerifyRequest(correlation_id="rr-0"))).is_valid

        await tamper(sql, "DELETE FROM audit_events")
        await sql.execute(f"INSERT INTO audit_events ({columns}) SELECT {columns} FROM saved")  # noqa: S608 - our columns
        assert (await filled.read.verify(VerifyRequest())).is_valid


async def test_deleted_payload_is_found(filled: Store, sql: asyncpg.Connection):
    await tamper(sql, "DELETE FROM audit_events WHERE <its event>")

    verification = await filled.read.verify(VerifyRequest())

    assert [(finding.sequence, finding.correlation_id) for finding in verification.findings] == [(BAD, "rr-1")]
    assert "missing" in verification.findings[0].message


LEDGER = [
    "shard = 1",
    "event_id = gen_random_uuid()",
    "event_timestamp = event_timestamp + interval '1 second'",
    "received_at = received_at - interval '1 microsecond'",
    "late = NOT late",
    "content_hash = sha256('x')",
    "previous_event_hash = sha256('x')",
    "event_hash = sha256('x')",
    "link_hash = sha256('x')",
    "leaf_hash = sha256('x')",
    "format = 1, link_hash = sha256('x')",
    "correlation_id = 'rr-0'",
    "sequence = 50",
]


async def test_edited_row_of_the_ledger_is_found_in_every_column(filled: Store, sql: asyncpg.Connection):
    await sql.execute("CREATE TABLE saved AS SELECT * FROM audit_ledger")
    for edit in LEDGER:
        await tamper(sql, "UPDATE audit_ledger SET <edit> WHERE sequence = 5", edit=edit)

        assert (await filled.read.verify(VerifyRequest())).findings[0].sequence == BAD, edit

        await tamper(sql, "DELETE FROM audit_ledger")
        await sql.execute("INSERT INTO audit_ledger SELECT * FROM saved")
        assert (await filled.read.verify(VerifyRequest())).is_valid


async def test_deleted_row_is_found_together_with_its_payload(filled: Store, sql: asyncpg.Connection):
    await tamper(sql, "DELETE FROM audit_events WHERE <its event>", "DELETE FROM audit_ledger WHERE sequence = 5")

    whole = await filled.read.verify(VerifyRequest())
    alone = await filled.read.verify(VerifyRequest(correlation_id="rr-1"))

    assert whole.findings[0].sequence == BAD
    assert whole.findings[0].message == "the row is missing"
    assert [finding.sequence for finding in alone.findings] == [0, 0, 8]
    assert alone.findings[1].message == "1 rows are missing: the ledger has 8, its tree 9 leaves"


async def test_deleted_correlation_is_found(filled: Store, sql: asyncpg.Connection):
    await tamper(
        sql,
        "DELETE FROM audit_events WHERE correlation_id = 'rr-1'",
        "DELETE FROM audit_ledger WHERE correlation_id = 'rr-1'",
    )

    assert (await filled.read.verify(VerifyRequest())).findings[0].sequence == 2


async def test_swapped_rows_are_found(filled: Store, sql: asyncpg.Connection):
    await tamper(
        sql,
        "UPDATE audit_ledger SET sequence = 100 WHERE sequence = 5",
        "UPDATE audit_ledger SET sequence = 5 WHERE sequence = 7",
        "UPDATE audit_ledger SET sequence = 7 WHERE sequence = 100",
    )

    assert (await filled.read.verify(VerifyRequest())).findings[0].sequence == BAD


async def test_inserted_payload_without_a_row_is_never_shown_and_is_a_finding(filled: Store, sql: asyncpg.Connection):
    await sql.execute(
        "INSERT INTO audit_events (event_id, event_timestamp, event_type, event_category, event_action, event_outcome, "
        "actor_type, actor_id, resource_type, resource_id, correlation_id, event_data, severity) "
        "SELECT gen_random_uuid(), event_timestamp, event_type, event_category, event_action, event_outcome, "
        "actor_type, actor_id, resource_type, resource_id, correlation_id, event_data, severity "
        "FROM audit_events WHERE correlation_id = 'rr-1'"
    )

    assert len((await filled.read.timeline("rr-1")).events) == 3
    verification = await filled.read.verify(VerifyRequest())
    assert [finding.correlation_id for finding in verification.findings] == ["rr-1"] * 3
    assert "audit_events_2026_11 has no row in the ledger" in verification.findings[0].message


async def test_inserted_row_of_the_ledger_is_a_finding(filled: Store, sql: asyncpg.Connection):
    await sql.execute(
        "INSERT INTO audit_ledger SELECT 10, event_timestamp, received_at, gen_random_uuid(), shard, late, "
        "content_hash, previous_event_hash, event_hash, link_hash, correlation_id, format, leaf_hash "
        "FROM audit_ledger WHERE sequence = 9"
    )

    verification = await filled.read.verify(VerifyRequest())

    assert [finding.sequence for finding in verification.findings] == [10]
    assert "not appended by this service" in verification.findings[0].message


async def test_doubled_row_of_the_ledger_is_a_finding(filled: Store, sql: asyncpg.Connection):
    await sql.execute("ALTER TABLE audit_ledger DROP CONSTRAINT audit_ledger_pkey")
    await sql.execute("ALTER TABLE audit_ledger DROP CONSTRAINT audit_ledger_event_id_key")
    await sql.execute("INSERT INTO audit_ledger SELECT * FROM audit_ledger WHERE sequence = 5")

    verification = await filled.read.verify(VerifyRequest())

    assert [finding.sequence for finding in verification.findings][:1] == [BAD]
    assert "the same sequence" in verification.findings[0].message


async def test_tile_of_another_length_is_a_finding(store: Store, sql: asyncpg.Connection):
    await store.append([an_entry(event_data={"n": number}) for number in range(300)])
    await sql.execute("ALTER TABLE audit_tiles DROP CONSTRAINT chk_tile_hashes")
    await sql.execute("SET kubernaut.allow_change = 'audit_tiles'")
    for hashes in ("''", "hashes || sha256('x')", "substr(hashes, 2)"):
        async with sql.transaction():
            await sql.execute("CREATE TABLE saved AS SELECT * FROM audit_tiles")
            await sql.execute(f"UPDATE audit_tiles SET hashes = {hashes}")  # noqa: S608 - ours

        findings = (await store.read.verify(VerifyRequest())).findings
        assert "the tile 0/0 has another length" in [finding.message for finding in findings]

        await sql.execute("UPDATE audit_tiles SET hashes = (SELECT hashes FROM saved)")
        await sql.execute("DROP TABLE saved")


async def test_dropped_partition_is_named(filled: Store, sql: asyncpg.Connection):
    await sql.execute("ALTER TABLE audit_events DETACH PARTITION audit_events_2026_11")

    verification = await filled.read.verify(VerifyRequest())

    assert [finding.sequence for finding in verification.findings] == list(range(1, 10))
    assert "partition audit_events_2026_11 was dropped or detached" in verification.findings[0].message


async def test_row_that_python_cannot_hold_is_a_finding(filled: Store, sql: asyncpg.Connection):
    await tamper(sql, "UPDATE audit_ledger SET received_at = '20000-01-01' WHERE sequence = 5")

    for request, total in ((VerifyRequest(), 9), (VerifyRequest(correlation_id="rr-1"), 3)):
        verification = await filled.read.verify(request)

        assert [finding.sequence for finding in verification.findings][:1] == [BAD]
        assert "cannot be read" in verification.findings[0].message
        assert verification.total_events == total


async def test_row_that_python_cannot_hold_stops_no_append(
    filled: Store, another_store: OpenStore, sql: asyncpg.Connection
):
    await tamper(sql, "UPDATE audit_ledger SET received_at = '20000-01-01' WHERE sequence = 5")

    async with another_store() as restarted:
        assert await restarted.append([an_entry()]) == [None]


async def test_rewritten_row_with_its_hashes_is_found_by_its_leaf(filled: Store, sql: asyncpg.Connection):
    record = await sql.fetchrow("SELECT * FROM audit_ledger WHERE sequence = 5")
    row = chain.Row(**{column: record[column] for column in chain.Row._fields})._replace(late=True)
    await sql.execute("SET kubernaut.allow_change = 'audit_ledger'")
    await sql.execute("UPDATE audit_ledger SET late = true, leaf_hash = $1 WHERE sequence = 5", chain.leaf_hash(row))

    whole = await filled.read.verify(VerifyRequest())
    alone = await filled.read.verify(VerifyRequest(correlation_id="rr-1"))

    assert [finding.sequence for finding in whole.findings] == [1]
    assert "rewritten" in whole.findings[0].message
    assert BAD in [finding.sequence for finding in alone.findings]


async def test_cut_tail_is_found(filled: Store, sql: asyncpg.Connection):
    kept = await filled.read.verify(VerifyRequest())
    head = VerifyRequest(head_sequence=kept.head_sequence, head_hash=kept.head_hash)
    assert (await filled.read.verify(head)).is_valid

    await tamper(
        sql,
        "DELETE FROM audit_events WHERE event_id IN (SELECT event_id FROM audit_ledger WHERE sequence > 7)",
        "DELETE FROM audit_ledger WHERE sequence > 7",
    )

    for request in (VerifyRequest(), head):
        findings = (await filled.read.verify(request)).findings
        assert [finding.sequence for finding in findings] == [8]
        assert findings[0].message == "ledger truncated: the rows up to 9 are missing"


async def test_cut_tail_is_found_with_a_kept_head_although_the_tree_was_cut_too(filled: Store, sql: asyncpg.Connection):
    kept = await filled.read.verify(VerifyRequest())
    head = VerifyRequest(head_sequence=kept.head_sequence, head_hash=kept.head_hash)
    await tamper(
        sql,
        "DELETE FROM audit_events WHERE event_id IN (SELECT event_id FROM audit_ledger WHERE sequence > 7)",
        "DELETE FROM audit_ledger WHERE sequence > 7",
    )
    rows = await sql.fetch("SELECT leaf_hash FROM audit_ledger ORDER BY sequence")
    tree = Tree()
    tree.extend([row["leaf_hash"] for row in rows])
    await sql.execute("UPDATE audit_trees SET size = 7, root = $1, frontier = $2", tree.root, tree.frontier)

    assert (await filled.read.verify(VerifyRequest())).is_valid
    assert [finding.sequence for finding in (await filled.read.verify(head)).findings] == [8]


async def test_cut_tail_of_one_correlation_is_found_with_its_head(filled: Store, sql: asyncpg.Connection):
    kept = await filled.read.verify(VerifyRequest(correlation_id="rr-1"))
    head = VerifyRequest(correlation_id="rr-1", head_sequence=kept.head_sequence, head_hash=kept.head_hash)
    assert (await filled.read.verify(head)).is_valid

    await tamper(sql, "DELETE FROM audit_ledger WHERE sequence = 8")

    assert [finding.sequence for finding in (await filled.read.verify(head)).findings] == [0, 0, 8]


async def test_head_stays_valid_while_the_ledger_grows(filled: Store):
    kept = await filled.read.verify(VerifyRequest())
    await filled.append([an_entry()])

    grown = await filled.read.verify(VerifyRequest(head_sequence=kept.head_sequence, head_hash=kept.head_hash))

    assert grown.is_valid
    assert grown.total_events == kept.total_events + 1
