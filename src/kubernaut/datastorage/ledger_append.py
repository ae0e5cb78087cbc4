"""Rows, tiles and heads of one transaction: written by who holds the locks of the ledgers, and read back when needed.

PostgreSQL reports success also for rows that a trigger has changed, and for times that a column rounds. Where something
is on our tables that could do so, the transaction compares what it has stored with what it was given; otherwise that
costs one look into the catalog.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import asyncpg

from kubernaut.datastorage import chain, foreign_objects, ledger_tree, queries, rows
from kubernaut.datastorage.chain import Entry
from kubernaut.datastorage.errors import RowsChanged
from kubernaut.datastorage.head_cache import HeadCache, LedgerHead
from kubernaut.datastorage.tree import FullTile


@dataclass(kw_only=True, slots=True)
class Appended:
    """What a transaction has written beside the payloads."""

    heads: dict[int, LedgerHead] = field(default_factory=dict)
    """Those of the ledgers that it appended to, once it is committed."""

    rows: list[chain.Row] = field(default_factory=list)
    tiles: dict[int, list[FullTile]] = field(default_factory=dict)
    """The tiles that became full, by ledger."""


async def append(connection: asyncpg.Connection, shards: Mapping[int, Sequence[Entry]], heads: HeadCache) -> Appended:
    """Append new events, without their payloads, to their ledgers, whose locks are held. Raises RowsDiscarded."""
    done = Appended()
    for shard, entries in sorted(shards.items()):
        head = await heads.take(connection, shard, {entry.event.correlation_id for entry in entries})
        added = chain.link(shard, head.tree.size, head.correlations, entries)
        leaves = [row.leaf_hash for row in added if row.leaf_hash]
        done.tiles[shard] = await ledger_tree.extend(connection, shard, head.tree, leaves)
        done.rows += added
        done.heads[shard] = head
    if done.rows:
        await queries.copy(connection, "audit_ledger", chain.Row._fields, done.rows)
    return done


async def require_as_sent(connection: asyncpg.Connection, appended: Appended, entries: Sequence[Entry]) -> None:
    """The last statement before the commit: raise RowsChanged unless all is stored as it was given.

    `entries` are the events whose payloads the transaction has written.
    """
    found = await foreign_objects.find(connection)
    if not found:
        return
    # What fires at the commit would change rows after they were read.
    await connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
    changed = await _changed(connection, appended, entries)
    if changed:
        raise RowsChanged(changed, ", ".join(map(str, found)))


async def _changed(connection: asyncpg.Connection, appended: Appended, entries: Sequence[Entry]) -> str:
    """Where something else is stored; empty when nothing is."""
    ids = [row.event_id for row in appended.rows]
    records: list[Any] = await queries.fetch(connection, "rows_of_events", ids=ids)
    stored = {record["row_event_id"]: record for record in records}
    events = {entry.event.event_id: entry.event for entry in entries}
    for row in appended.rows:
        record = stored.get(row.event_id)
        if record is None:
            return f"audit_ledger: no row of the event {row.event_id}"
        found = rows.stored_row(record)
        if found.row != row:
            return f"audit_ledger: the row of the event {row.event_id}"
        if found.payload != events[row.event_id]:
            return f"audit_events: the event {row.event_id}"
    for shard, head in appended.heads.items():
        tree = await queries.fetch_row(connection, "tree_head", shard=shard)
        frontier = await queries.fetch_row(connection, "tree_frontier", shard=shard)
        expected = (head.tree.size, head.tree.root, head.tree.frontier)
        if tree is None or frontier is None or (tree["size"], tree["root"], frontier["frontier"]) != expected:
            return f"audit_trees: the head of the ledger {shard}"
        for tile in appended.tiles[shard]:
            span = {"first": tile.index, "end": tile.index + 1}
            kept = await queries.fetch_row(connection, "full_tiles", shard=shard, level=tile.level, **span)
            if kept is None or (kept["hashes"], kept["root"]) != (tile.hashes, tile.root):
                return f"audit_tiles: the tile {tile.index} of level {tile.level}"
    return ""
