"""How rows are verified: by their texts, by several processes, and from where an earlier verification ended."""

import asyncio

import asyncpg
import pytest

from kubernaut.api.events import LedgerHead, VerifyRequest
from kubernaut.datastorage import ledger_lines, queries, rows
from kubernaut.datastorage.config import DatabaseConfig
from kubernaut.datastorage.errors import DatabaseUnavailable
from kubernaut.datastorage.range_verification import Access, Range, RangeVerifier, connect, open_snapshot, ranges
from kubernaut.datastorage.store import Store
from kubernaut.datastorage.verification_processes import open_processes
from support.ledger_events import an_entry

COUNT = 600
"""Two full tiles, and a part of one."""

TEXTS = ["plain", "Grüße 🚀", "two\nlines", "tab\t", "it's", "null", "t", "\x7f", "x" * 50]
ESCAPED = ['say "x"', "C:\\x", "\x01", "\x02null\x02"]
"""Texts that JSON or COPY escape: where a column is never absent, its row is verified by itself then."""

COLUMNS = ["actor_id", "resource_id", "resource_type", "event_action", "correlation_id"]
OPTIONAL = ["cluster_id", "error_code", "error_message", "namespace", "resource_name", "span_id", "trace_id"]


@pytest.fixture
async def verifying(database: str):
    """A connection in a snapshot, as verification has it."""
    connection = await connect(Access.of(DatabaseConfig.from_url(database)))
    yield connection
    connection.terminate()


async def filled(store: Store, count: int = COUNT) -> None:
    entries = [an_entry(correlation_id=f"rr-{number % 7}", event_data={"n": number}) for number in range(count)]
    assert await store.append(entries) == [None] * count


async def lines(connection: asyncpg.Connection, first: int, last: int) -> list[bytes]:
    content = bytearray()

    async def take(data: bytes) -> None:
        content.extend(data)

    statement = queries.QUERIES["ledger_lines"]
    await connection.copy_from_query(
        statement.sql,
        *statement.bind(shard=0, after=first - 1, until=last),
        output=take,
        format="csv",
        delimiter=ledger_lines.SEPARATOR,
        quote=ledger_lines.QUOTE,
        null=ledger_lines.NULL,
    )
    return bytes(content).split(b"\n")[:-1]


ODD = [
    *({column: text} for column in OPTIONAL for text in [*TEXTS, *ESCAPED]),
    *({"actor_id": text} for text in TEXTS if text.isprintable() and text != "null"),
    *({"event_data": data} for data in ({}, {"b": 1, "aa": {"z": [1.50, 1e-7, -0.0, 10**30]}, "é": '"\\\n\x01'})),
    {"actor_ip": "2001:db8::1", "duration_ms": 0, "is_sensitive": True, "retention_days": 1},
    {"actor_ip": "10.0.0.1", "parent_event_id": None},
    *({"event_timestamp": f"2026-11-22T20:00:00{fraction}Z"} for fraction in ("", ".1", ".12", ".120000", ".000001")),
]


async def test_rows_are_recognised_by_their_texts(store: Store, verifying: asyncpg.Connection):
    entries = [an_entry(**fields) for fields in ODD]
    await store.append(entries)
    stored = await verifying.fetch("SELECT leaf_hash FROM audit_ledger ORDER BY sequence")

    for number, leaf in enumerate(stored, start=1):
        found = ledger_lines.recognise(await lines(verifying, number, number), 0, number)

        assert found == ([leaf["leaf_hash"]], {}), ODD[number - 1]


@pytest.mark.parametrize("column", [*COLUMNS, *OPTIONAL])
async def test_a_value_that_reads_like_the_canonical_form_of_another_is_found(
    store: Store, sql: asyncpg.Connection, column: str
):
    await store.append([an_entry(**{column: "C:\\x"})])
    assert (await store.read.verify(VerifyRequest())).is_valid

    async with sql.transaction():
        await sql.execute("SET LOCAL kubernaut.allow_change = 'audit_events'")
        await sql.execute(f"UPDATE audit_events SET {column} = $1", "C:\\\\x")  # noqa: S608 - a column of ours

    assert [finding.sequence for finding in (await store.read.verify(VerifyRequest())).findings] == [1]


async def test_processes_find_what_one_finds(store: Store, sql: asyncpg.Connection, database: str):
    await filled(store)
    await sql.execute("SET kubernaut.allow_change = 'audit_events'")
    await sql.execute(
        "UPDATE audit_events SET severity = 'low' WHERE event_id = "
        "(SELECT event_id FROM audit_ledger WHERE sequence = 300)"
    )
    await sql.execute("SET kubernaut.allow_change = 'audit_ledger'")
    await sql.execute("DELETE FROM audit_ledger WHERE sequence BETWEEN 500 AND 520")
    wanted = [
        Range(shard=0, first=tile, end=tile + 1, size=COUNT, cuts=[cut]) for tile, cut in enumerate([10, 300, COUNT])
    ]
    access = Access.of(DatabaseConfig.from_url(database))
    connection = await connect(access)
    async with open_snapshot(connection) as snapshot, open_processes(2, access, snapshot) as processes:
        alone = [await RangeVerifier(connection).verify(each) for each in wanted]
        together = [result async for result in processes.verify(wanted)]
    await connection.close()

    assert together == alone
    assert [finding.sequence for result in together for finding in result.findings] == [300]
    assert [gap for result in together for gap in result.gaps] == [(500, 13), (513, 8)]


async def test_all_processes_see_the_state_of_the_first(store: Store, database: str):
    await filled(store, 10)
    access = Access.of(DatabaseConfig.from_url(database))
    connection = await connect(access)
    async with open_snapshot(connection) as snapshot:
        await filled(store, 10)
        async with open_processes(1, access, snapshot) as processes:
            (result,) = [each async for each in processes.verify(ranges(0, 0, 20, [20]))]
    await connection.close()

    assert (result.total_count, result.gaps) == (10, [(11, 10)])


async def test_a_process_without_its_database_is_an_outage(store: Store, database: str, sql: asyncpg.Connection):
    await filled(store, 10)
    access = Access.of(DatabaseConfig.from_url(database))
    connection = await connect(access)
    async with open_snapshot(connection) as snapshot, open_processes(1, access, snapshot) as processes:
        assert [each.total_count async for each in processes.verify(ranges(0, 0, 10, [10]))] == [10]
        own = connection.get_server_pid()
        await sql.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() "
            "AND backend_xmin IS NOT NULL AND pid NOT IN ($1, pg_backend_pid())",
            own,
        )
        with pytest.raises(DatabaseUnavailable):
            async with asyncio.timeout(20):
                _ = [each async for each in processes.verify(ranges(0, 0, 10, [10]))]
    connection.terminate()


async def heads_of(store: Store) -> list[LedgerHead]:
    verification = await store.read.verify(VerifyRequest())
    assert verification.is_valid
    return verification.heads


@pytest.mark.parametrize("size", [1, 255, 256, 300, 511, 512, 599])
async def test_only_rows_behind_a_verified_head_are_read_again(store: Store, size: int):
    await filled(store, size)
    known = await heads_of(store)
    await filled(store, COUNT - size)

    verification = await store.read.verify(VerifyRequest(verified_heads=known))

    assert verification.is_valid
    start = size // 256 * 256
    assert verification.total_events == COUNT - start
    assert [(head.head_sequence, head.verified_after) for head in verification.heads] == [(COUNT, start)]


async def test_an_edit_of_a_row_that_was_verified_before_is_found_by_a_full_verification_only(
    store: Store, sql: asyncpg.Connection
):
    await filled(store, 300)
    known = await heads_of(store)
    await sql.execute("SET kubernaut.allow_change = 'audit_events'")
    await sql.execute(
        "UPDATE audit_events SET severity = 'low' WHERE event_id = "
        "(SELECT event_id FROM audit_ledger WHERE sequence = 7)"
    )

    assert (await store.read.verify(VerifyRequest(verified_heads=known))).is_valid
    assert [finding.sequence for finding in (await store.read.verify(VerifyRequest())).findings] == [7]


async def test_a_ledger_that_does_not_extend_the_verified_head_is_verified_in_full(store: Store):
    await filled(store, 300)
    (known,) = await heads_of(store)
    other = LedgerHead(shard=0, head_sequence=known.head_sequence, head_hash="00" * 32)

    verification = await store.read.verify(VerifyRequest(verified_heads=[other]))

    assert verification.total_events == 300
    assert [head.verified_after for head in verification.heads] == [0]
    assert "were rewritten" in verification.findings[0].message


async def test_a_new_row_that_is_wrong_is_named_by_an_incremental_verification(store: Store, sql: asyncpg.Connection):
    await filled(store, 300)
    known = await heads_of(store)
    await filled(store, 10)
    await sql.execute("SET kubernaut.allow_change = 'audit_events'")
    await sql.execute(
        "DELETE FROM audit_events WHERE event_id = (SELECT event_id FROM audit_ledger WHERE sequence = 305)"
    )

    verification = await store.read.verify(VerifyRequest(verified_heads=known))

    assert [finding.sequence for finding in verification.findings] == [305]


TREE = [
    ("audit_trees", "frontier = sha256('x') || substr(frontier, 33)"),
    ("audit_trees", "root = sha256('x')"),
    ("audit_tiles", "root = sha256('x')"),
    ("audit_tiles", "hashes = sha256('x') || substr(hashes, 33)"),
]


@pytest.mark.parametrize(("table", "edit"), TREE)
async def test_edited_tree_is_found_in_every_column(store: Store, sql: asyncpg.Connection, table: str, edit: str):
    await filled(store)
    await sql.execute(f"SET kubernaut.allow_change = '{table}'")
    await sql.execute(f"UPDATE {table} SET {edit}")  # noqa: S608 - of this module

    assert not (await store.read.verify(VerifyRequest())).is_valid


def test_every_column_of_an_event_is_among_the_texts():
    statement = queries.QUERIES["ledger_lines"].sql

    assert [column for column in rows.EVENT_COLUMNS if column not in statement] == []
