"""Whatever is changed in a ledger is found, and the first bad row is named."""

from collections.abc import Sequence
from datetime import timedelta
from functools import cache
from uuid import UUID

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kubernaut.api.ledger import merkle
from kubernaut.api.ledger.checkpoints import TreeHead
from kubernaut.api.ledger.tiles import WIDTH
from kubernaut.datastorage import chain
from kubernaut.datastorage.tree import Tree
from kubernaut.datastorage.tree_verification import (
    RangeResult,
    StoredTile,
    TileVerifier,
    TreeVerifier,
    check_root,
)
from kubernaut.datastorage.verification import MAX_FINDINGS, CorrelationVerifier, Findings, StoredRow
from support.ledger_events import an_entry

COUNT = 9
LONG = 600
"""Rows of a ledger with two full tiles."""


class Ledger:
    """Rows, tiles and head as the database has them."""

    def __init__(self, rows: list[StoredRow]) -> None:
        self.rows = list(rows)
        tree = Tree()
        full = tree.extend([row.row.leaf_hash for row in rows])
        self.tiles = {(tile.level, tile.index): StoredTile(tile.hashes, tile.root) for tile in full}
        self.head = TreeHead(size=tree.size, root=tree.root)

    async def stored_tile(self, level: int, index: int) -> StoredTile | None:
        return self.tiles.get((level, index))

    async def verified(self, *trusted: TreeHead, edges: Sequence[Sequence[bytes]] = ()) -> TreeVerifier:
        tree = TreeVerifier(0, self.stored_tile, self.head, trusted, edges)
        link = chain.ORIGIN
        for index in range(tree.start // WIDTH, -(-self.head.size // WIDTH)):
            findings = Findings()
            width = min(WIDTH, self.head.size - index * WIDTH)
            stored = self.tiles.get((0, index))
            tile = TileVerifier(index=index, width=width, stored=stored, link=link, findings=findings)
            for row in self.rows:
                if index * WIDTH < row.row.sequence <= index * WIDTH + width:
                    tile.check(row)
            link = tile.link
            result = RangeResult(
                findings=findings.rows,
                bad_count=findings.bad_count,
                total_count=tile.total_count,
                gaps=tile.gaps,
            )
            leaves = tile.finish()
            result.add_leaves(index, leaves, tree.cuts)
            if width == WIDTH:
                check_root(findings, index, stored, result.roots[-1])
            result.bad_count = findings.bad_count
            await tree.add(result)
        await tree.finish()
        return tree

    async def findings(self, *trusted: TreeHead) -> list[int]:
        return [finding.sequence for finding in (await self.verified(*trusted)).findings.in_order()]


@cache
def rows_of(count: int) -> tuple[StoredRow, ...]:
    entries = [
        an_entry(event_id=str(UUID(int=number)), correlation_id=f"rr-{number % 3}", event_data={"n": number})
        for number in range(count)
    ]
    rows = chain.link(0, 0, {}, entries)
    return tuple(StoredRow(row=row, payload=entry.event) for row, entry in zip(rows, entries, strict=True))


def a_ledger(count: int = COUNT) -> Ledger:
    return Ledger(rows_of(count))


def changed(stored: StoredRow, **columns: object) -> StoredRow:
    return StoredRow(row=stored.row._replace(**columns), payload=stored.payload)


def consistent(stored: StoredRow, **columns: object) -> StoredRow:
    """Changed by somebody who knows how the leaf is made."""
    row = stored.row._replace(**columns)
    return StoredRow(row=row._replace(leaf_hash=chain.leaf_hash(row)), payload=stored.payload)


def head_at(size: int) -> TreeHead:
    return TreeHead(size=size, root=merkle.root_of(row.row.leaf_hash for row in rows_of(LONG)[:size]))


@pytest.mark.parametrize("count", [0, 1, COUNT, 256, LONG])
async def test_untouched_ledger_verifies_and_tells_its_head(count):
    verifier = await a_ledger(count).verified()

    assert verifier.findings.rows == []
    assert (verifier.total_count, verifier.findings.bad_count) == (count, 0)
    assert verifier.head == head_at(count)


def test_one_correlation_verifies_alone():
    rows = [row for row in rows_of(COUNT) if row.row.correlation_id == "rr-1"]
    verifier = CorrelationVerifier((rows[-1].row.sequence, rows[-1].row.event_hash))
    for row in rows:
        verifier.check(row)
    verifier.finish()

    assert verifier.findings.rows == []
    assert (verifier.sequence, verifier.event_hash) == (rows[-1].row.sequence, rows[-1].row.event_hash)


COLUMNS = {
    "shard": 1,
    "event_id": UUID(int=9999),
    "correlation_id": "rr-9",
    "content_hash": b"x" * 32,
    "previous_event_hash": b"x" * 32,
    "event_hash": b"x" * 32,
    "link_hash": b"x" * 32,
    "leaf_hash": b"x" * 32,
    "format": 3,
    "late": True,
}
PLACES = st.sampled_from([0, 1, 254, 255, 256, 300, 511, 512, 513, LONG - 1])


@settings(max_examples=60)
@given(PLACES, st.sampled_from(sorted(COLUMNS)))
async def test_edited_column_of_the_ledger_is_exactly_one_finding(place: int, column: str):
    ledger = a_ledger(LONG)
    ledger.rows[place] = changed(ledger.rows[place], **{column: COLUMNS[column]})

    verifier = await ledger.verified(head_at(LONG))

    assert [finding.sequence for finding in verifier.findings.rows] == [place + 1]
    assert verifier.findings.bad_count == 1


@settings(max_examples=30)
@given(PLACES, st.integers(-5, 5).filter(bool), st.sampled_from(["event_timestamp", "received_at"]))
async def test_edited_time_is_exactly_one_finding(place: int, seconds: int, column: str):
    ledger = a_ledger(LONG)
    moved = getattr(ledger.rows[place].row, column) + timedelta(seconds=seconds)
    ledger.rows[place] = changed(ledger.rows[place], **{column: moved})

    assert await ledger.findings(head_at(LONG)) == [place + 1]


@settings(max_examples=30)
@given(PLACES)
async def test_row_rewritten_with_a_fitting_leaf_is_named_where_its_tile_is_full(place: int):
    ledger = a_ledger(LONG)
    ledger.rows[place] = consistent(ledger.rows[place], correlation_id="rr-9")

    # In the tile that is not full yet only the root tells, and so nothing nearer than the head it leads to.
    assert await ledger.findings() == ([place + 1] if place < 512 else [1])
    assert await ledger.findings(head_at(512)) == ([place + 1] if place < 512 else [513])


@settings(max_examples=30)
@given(PLACES)
async def test_rows_tiles_and_head_rewritten_alike_differ_from_what_was_signed(place: int):
    honest = a_ledger(LONG)
    rows = list(honest.rows)
    rows[place] = consistent(rows[place], correlation_id="rr-9")
    forged = Ledger(rows)

    assert await forged.findings() == []
    signed = [head_at(size) for size in (100, 256, 300, 550, LONG)]
    newest_good = max([head.size for head in signed if head.size <= place], default=0)
    assert (await forged.findings(*signed))[0] == newest_good + 1


@given(st.integers(0, COUNT - 1))
async def test_edited_payload_is_exactly_one_finding(place: int):
    ledger = a_ledger()
    payload = ledger.rows[place].payload
    assert payload is not None
    edited = msgspec.structs.replace(payload, event_data=msgspec.Raw(b'{"n":100}'))
    ledger.rows[place] = StoredRow(row=ledger.rows[place].row, payload=edited)

    verifier = await ledger.verified()

    found = verifier.findings.rows
    assert [(finding.sequence, finding.event_id) for finding in found] == [(place + 1, payload.event_id)]
    assert "changed" in found[0].message
    assert found[0].expected_hash == ledger.rows[place].row.content_hash.hex()


@given(st.integers(0, COUNT - 1))
async def test_missing_payload_is_exactly_one_finding(place: int):
    ledger = a_ledger()
    ledger.rows[place] = StoredRow(row=ledger.rows[place].row, payload=None)

    assert await ledger.findings() == [place + 1]


@settings(max_examples=30)
@given(PLACES.filter(lambda place: place < LONG - 2), st.integers(1, 300))
@example(254, 259)
async def test_deleted_rows_are_named_by_the_first(place: int, count: int):
    ledger = a_ledger(LONG)
    del ledger.rows[place : min(place + count, LONG - 1)]

    verifier = await ledger.verified(head_at(256), head_at(LONG))

    assert verifier.findings.rows[0].sequence == place + 1
    assert "missing" in verifier.findings.rows[0].message


@given(st.permutations(range(COUNT)).filter(lambda order: order != list(range(COUNT))))
async def test_reordered_rows_are_found(order: list[int]):
    ledger = a_ledger()
    # Somebody renumbers the rows, so that the sequence alone looks right.
    ledger.rows = [changed(ledger.rows[old], sequence=new + 1) for new, old in enumerate(order)]

    assert (await ledger.findings())[0] == next(new for new, old in enumerate(order) if new != old) + 1


@pytest.mark.parametrize("length", [0, 5, 255, 256, 300, 512, LONG - 1])
async def test_truncated_tail_is_named_by_the_head_or_by_what_was_signed(length: int):
    ledger = a_ledger(LONG)
    del ledger.rows[length:]

    verifier = await ledger.verified()
    assert verifier.findings.rows[-1].sequence == length + 1
    assert verifier.findings.rows[-1].message == f"ledger truncated: the rows up to {LONG} are missing"

    shortened = Ledger(ledger.rows)
    assert await shortened.findings() == []
    assert await shortened.findings(head_at(LONG)) == [length + 1]


@pytest.mark.parametrize("tile", [(0, 0), (0, 1)])
async def test_a_tile_that_is_gone_is_a_finding(tile):
    ledger = a_ledger(LONG)
    del ledger.tiles[tile]

    assert await ledger.findings() == [tile[1] * 256 + 1]


async def test_a_tile_that_was_changed_is_a_finding_at_the_row_of_the_hash():
    ledger = a_ledger(LONG)
    content = bytearray(ledger.tiles[0, 1].hashes)
    content[32 * 7] ^= 1
    ledger.tiles[0, 1] = ledger.tiles[0, 1]._replace(hashes=bytes(content))

    assert (await ledger.findings())[0] == 256 + 7 + 1


async def test_a_signed_head_inside_the_ledger_is_compared_too():
    ledger = a_ledger(LONG)

    assert await ledger.findings(head_at(4), head_at(256), head_at(512)) == []
    assert await ledger.findings(head_at(4), TreeHead(size=300, root=b"y" * 32)) == [5]


async def test_rows_of_the_format_before_the_tree_verify_and_show_an_edit():
    entries = [an_entry(event_id=str(UUID(int=number)), event_data={"n": number}) for number in range(COUNT)]
    link, rows = chain.ORIGIN, []
    for row, entry in zip(chain.link(0, 0, {}, entries), entries, strict=True):
        link = chain.link_hash(link, row)
        rows.append(StoredRow(row=row._replace(format=1, leaf_hash=None, link_hash=link), payload=entry.event))
    ledger = a_ledger()
    tree = Tree()
    tree.extend([chain.leaf_hash(row.row) for row in rows])
    ledger.rows, ledger.head = rows, TreeHead(size=tree.size, root=tree.root)

    assert await ledger.findings() == []
    ledger.rows[4] = changed(rows[4], late=True)
    assert (await ledger.findings())[0] == 5


async def test_list_of_findings_is_bounded_and_the_count_is_not():
    ledger = a_ledger(LONG)
    ledger.rows = [StoredRow(row=row.row, payload=None) for row in ledger.rows]

    verifier = await ledger.verified()

    assert len(verifier.findings.rows) == MAX_FINDINGS
    assert verifier.findings.bad_count == LONG
