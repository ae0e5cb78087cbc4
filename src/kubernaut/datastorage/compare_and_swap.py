"""Appending a small group in two statements: a compare-and-swap of the ledger's head.

A transaction that locks the ledger, reads its head and writes table after table takes eleven round trips, which for a
few events cost more than everything else. Whoever has appended last knows the head. One statement then reads what else
decides a group, and one, a transaction of its own, writes it, provided that the head in the database is still the known
one: heads only grow, so that nothing was appended since it was read. Otherwise nothing is written, and the group takes
the long way.
"""

from collections.abc import Sequence
from uuid import UUID

import asyncpg

from kubernaut.datastorage import chain, queries, rows
from kubernaut.datastorage.chain import Entry
from kubernaut.datastorage.errors import RowsDiscarded
from kubernaut.datastorage.head_cache import LedgerHead

MAX_EVENTS = 100
"""Events of a group above which COPY is faster."""

_SHARED = {"event_id", "event_timestamp", "correlation_id"}
_LEDGER_COLUMNS = [column for column in chain.Row._fields if column not in {"shard", "link_hash", *_SHARED}]


async def read_stored(
    connection: asyncpg.Connection, event_ids: Sequence[UUID], correlation_ids: Sequence[str]
) -> tuple[dict[UUID, bytes], dict[str, bytes]]:
    """Content hashes of those events that are in a ledger, and the newest hashes of those correlations that are."""
    contents: dict[UUID, bytes] = {}
    heads: dict[str, bytes] = {}
    for row in await queries.fetch(
        connection, "stored_ids_and_correlation_heads", event_ids=event_ids, correlation_ids=correlation_ids
    ):
        if row["event_id"] is not None:
            contents[row["event_id"]] = row["hash"]
        else:
            heads[row["correlation_id"]] = row["hash"]
    return contents, heads


async def append(connection: asyncpg.Connection, shard: int, head: LedgerHead, entries: Sequence[Entry]) -> bool:
    """Append new events whose correlations `head` knows, and commit; False when the ledger has another head by now.

    `head` is the new one afterwards. Raises UniqueViolationError when an event was stored meanwhile, and RowsDiscarded.
    """
    expected_size, expected_frontier = head.tree.size, head.tree.frontier
    added = chain.link(shard, expected_size, head.correlations, entries)
    full = head.tree.extend([row.leaf_hash for row in added if row.leaf_hash])
    events = dict(
        zip(rows.EVENT_COLUMNS, zip(*(rows.record(entry.event) for entry in entries), strict=True), strict=True)
    )
    ledger = {column: [getattr(row, column) for row in added] for column in _LEDGER_COLUMNS}
    statement = queries.fetch(
        connection,
        "append_if_head",
        shard=shard,
        expected_size=expected_size,
        expected_frontier=expected_frontier,
        size=head.tree.size,
        root=head.tree.root,
        frontier=head.tree.frontier,
        tile_level=[tile.level for tile in full],
        tile_index=[tile.index for tile in full],
        tile_hashes=[tile.hashes for tile in full],
        tile_root=[tile.root for tile in full],
        **events,
        **ledger,
    )
    try:
        found = await statement
    except asyncpg.InvalidTextRepresentationError as error:
        # What it did store is the text that is no boolean; JSON and addresses were checked before.
        raise RowsDiscarded(f"did not store {len(entries)} events: {error}") from error
    return bool(found[0]["is_appended"])
