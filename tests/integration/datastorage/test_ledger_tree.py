"""The tree over a ledger: it grows with every append, and over rows that were there before it."""

from itertools import pairwise

import asyncpg
import pytest

from kubernaut.api.events import VerifyRequest
from kubernaut.api.ledger import entries, merkle, tiles
from kubernaut.datastorage import chain, migrate, rows
from kubernaut.datastorage.errors import CannotStart
from kubernaut.datastorage.store import Store
from support.datastorage import OpenStore
from support.ledger_events import an_entry


async def leaves(sql: asyncpg.Connection) -> list[bytes]:
    return [row["leaf_hash"] for row in await sql.fetch("SELECT leaf_hash FROM audit_ledger ORDER BY sequence")]


async def append(store: Store, count: int) -> None:
    assert await store.append([an_entry(event_data={"n": number}) for number in range(count)]) == [None] * count


@pytest.mark.parametrize("steps", [[1], [256], [255, 1, 1], [300, 700], [600, 600, 600]])
async def test_every_append_moves_the_root_and_fills_tiles(store: Store, sql: asyncpg.Connection, steps: list[int]):
    for step in steps:
        await append(store, step)

        head = await store.read.ledger.head(0)
        assert head.size == len(await leaves(sql))
        assert head.root == merkle.root_of(await leaves(sql))
    size = sum(steps)
    for tile in tiles.tiles_of(size):
        content = await store.read.ledger.tile(0, tile)
        assert content is not None
        if tile.level == 0:
            first = tile.index * 256
            assert tiles.split_hashes(content) == (await leaves(sql))[first : first + tile.width]
    assert (await store.read.verify(VerifyRequest())).is_valid


async def test_entries_hash_to_the_leaves(store: Store, sql: asyncpg.Connection):
    await append(store, 300)

    found = []
    for index, width in ((0, 256), (1, 44)):
        bundle = await store.read.ledger.bundle(0, index, width)
        assert bundle is not None
        found += tiles.decode_bundle(bundle)
    assert [merkle.leaf_hash(entry) for entry in found] == await leaves(sql)
    assert [entries.decode(entry).sequence for entry in found] == list(range(1, 301))
    assert await store.read.ledger.bundle(0, 1, 45) is None


async def test_rows_and_older_heads_are_proven(store: Store, sql: asyncpg.Connection):
    sizes, roots = [], []
    for step in (1, 254, 3, 300):
        await append(store, step)
        head = await store.read.ledger.head(0)
        sizes.append(head.size)
        roots.append(head.root)
    stored = await leaves(sql)
    for index in (0, 200, 255, 256, 557):
        hashes = await store.read.ledger.inclusion_proof(0, index, sizes[-1])
        merkle.verify_inclusion(stored[index], index, sizes[-1], hashes, roots[-1])
    for (old, old_root), (new, new_root) in pairwise(zip(sizes, roots, strict=True)):
        hashes = await store.read.ledger.consistency_proof(0, old, new)
        merkle.verify_consistency(old, old_root, new, new_root, hashes)


async def test_two_processes_grow_one_tree(another_store: OpenStore, sql: asyncpg.Connection):
    async with another_store() as first, another_store() as second:
        for count in (1, 200, 100, 3):
            await append(first, count)
            await append(second, count)

        assert (await first.read.ledger.head(0)).root == merkle.root_of(await leaves(sql))
        assert (await second.read.verify(VerifyRequest())).is_valid


async def test_rows_from_before_the_tree_get_leaves_and_verify(postgres_database: str, sql_of, open_store_on):
    await migrate.migrate(postgres_database, migrations=migrate.known()[:2])
    admitted = [an_entry(event_data={"n": number}, correlation_id=f"rr-{number % 3}") for number in range(600)]
    link, old = chain.ORIGIN, []
    for row in chain.link(0, 0, {}, admitted):
        link = chain.link_hash(link, row)
        old.append(row._replace(format=1, leaf_hash=None, link_hash=link))
    sql = await sql_of(postgres_database)
    await sql.execute("SELECT audit_events_ensure_month('2026-11-01')")
    columns = chain.Row._fields[:-2]
    await sql.copy_records_to_table("audit_ledger", records=[row[:-2] for row in old], columns=columns)
    records = [rows.record(entry.event) for entry in admitted]
    await sql.copy_records_to_table("audit_events", records=records, columns=rows.EVENT_COLUMNS)
    await migrate.migrate(postgres_database)

    async with open_store_on(postgres_database) as store:
        assert (await store.read.ledger.head(0)).size == 600
        await append(store, 10)

        verification = await store.read.verify(VerifyRequest())
        assert (verification.is_valid, verification.total_events) == (True, 610)
        assert (await store.read.verify(VerifyRequest(correlation_id="rr-1"))).is_valid
        await sql.execute("SET kubernaut.allow_change = 'audit_ledger'")
        await sql.execute("UPDATE audit_ledger SET late = true WHERE sequence = 300")
        assert (await store.read.verify(VerifyRequest())).findings[0].sequence == 300


async def test_another_number_of_ledgers_is_refused_at_start(another_store: OpenStore):
    async with another_store(shards=4) as store:
        await append(store, 3)
    for shards in (1, 8):
        with pytest.raises(CannotStart, match=rf"ledger.shards is {shards}, but this database was started with 4"):
            async with another_store(shards=shards):
                pass
    async with another_store(shards=4) as store:
        assert (await store.read.verify(VerifyRequest())).is_valid
