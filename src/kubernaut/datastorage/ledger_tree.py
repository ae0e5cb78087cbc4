"""A ledger's Merkle tree in PostgreSQL: its head, the full tiles, and the edge between them.

Whoever appends holds the ledger's lock, and writes head and tiles in the transaction of the rows. Rows that came before
the tree, or from an older version that knows none, are caught up with by the next append or at start-up.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import asyncpg
import structlog

from kubernaut.api.ledger.tiles import HEIGHT, WIDTH
from kubernaut.datastorage import chain, queries
from kubernaut.datastorage.tree import FullTile, Tree, levels_of

log = structlog.get_logger("datastorage")

CATCH_UP_ROWS = 10_000
"""Rows without a leaf in the tree that are read at a time."""

_TILE_COLUMNS = ("shard", "level", "index", "hashes", "root")


@dataclass(frozen=True, kw_only=True)
class StoredHead:
    """What the database says of one ledger."""

    size: int
    """Leaves of the tree."""
    frontier: bytes
    sequence: int
    """The newest row; larger than `size` when rows have no leaf yet, smaller when rows were removed."""


async def read_head(connection: asyncpg.Connection, shard: int) -> StoredHead:
    """The head of one ledger, whose lock is held."""
    row = await queries.fetch_row(connection, "ledger_head", shard=shard)
    if row is None:
        raise AssertionError("unreachable: the statement returns one row")
    return StoredHead(size=row["size"] or 0, frontier=row["frontier"] or b"", sequence=row["sequence"])


async def load(connection: asyncpg.Connection, shard: int, head: StoredHead) -> Tree:
    """The edge of a stored tree. Hashes of rows and tiles that are gone stand as zeros; verification names them."""
    edges: list[list[bytes]] = []
    for level in range(levels_of(head.size)):
        count = head.size >> (level * HEIGHT)
        first = count // WIDTH * WIDTH
        edge = [bytes(32)] * (count - first)
        for index, digest in await _edge(connection, shard, level, first, count):
            edge[index - first] = digest
        edges.append(edge)
    tree = Tree(head.size, head.frontier, edges)
    for level in tree.altered_levels():
        log.error("ledger rows or tiles do not lead to the root of their tree", shard=shard, level=level)
    return tree


async def extend(connection: asyncpg.Connection, shard: int, tree: Tree, leaves: Sequence[bytes]) -> list[FullTile]:
    """Append leaves to the tree and write what became of it; the tiles that became full."""
    full = tree.extend(leaves)
    if full:
        records = [(shard, tile.level, tile.index, tile.hashes, tile.root) for tile in full]
        await queries.copy(connection, "audit_tiles", _TILE_COLUMNS, records)
    await queries.store(
        connection, "write_tree_head", shard=shard, size=tree.size, root=tree.root, frontier=tree.frontier
    )
    return full


async def build(connection: asyncpg.Connection, shard: int) -> None:
    """Give every row that has no leaf in the tree one, some rows a transaction."""
    while True:
        async with connection.transaction():
            await queries.execute(connection, "lock_ledger", shard=shard)
            head = await read_head(connection, shard)
            if head.sequence <= head.size:
                return
            tree = await load(connection, shard, head)
            await catch_up(connection, shard, tree, min(head.sequence, head.size + CATCH_UP_ROWS))


async def catch_up(connection: asyncpg.Connection, shard: int, tree: Tree, until: int) -> None:
    """Give the rows up to sequence `until` that have no leaf in the tree one; rows that are gone get zeros."""
    while tree.size < until:
        end = min(tree.size + CATCH_UP_ROWS, until)
        leaves = [bytes(32)] * (end - tree.size)
        for index, digest in await read_leaves(connection, shard, tree.size, end):
            leaves[index - tree.size] = digest
        await extend(connection, shard, tree, leaves)
        log.info("leaves added to the tree", shard=shard, size=tree.size, until=until)


async def read_leaves(
    connection: asyncpg.Connection | asyncpg.Pool, shard: int, first: int, end: int
) -> list[tuple[int, bytes]]:
    """Index and hash of the leaves from `first` to before `end`, as far as their rows are there and can be read."""
    leaves: list[tuple[int, bytes]] = []
    for row in await queries.fetch(connection, "leaf_hashes", shard=shard, after=first, until=end):
        digest = row["leaf_hash"] or await _computed_leaf(connection, shard, row["sequence"])
        if digest:
            leaves.append((row["sequence"] - 1, digest))
    return leaves


async def read_rows(
    connection: asyncpg.Connection | asyncpg.Pool, shard: int, after: int, until: int
) -> list[chain.Row]:
    """Rows of one ledger behind sequence `after`, up to `until`, without their payloads.

    Raises OverflowError where somebody put a time into a row that Python cannot hold.
    """
    return [
        chain.Row(*row) for row in await queries.fetch(connection, "tree_rows", shard=shard, after=after, until=until)
    ]


async def _computed_leaf(connection: asyncpg.Connection | asyncpg.Pool, shard: int, sequence: int) -> bytes | None:
    try:
        (row,) = await read_rows(connection, shard, sequence - 1, sequence)
    except OverflowError:
        return None
    return chain.leaf_hash(row)


async def _edge(
    connection: asyncpg.Connection, shard: int, level: int, first: int, end: int
) -> list[tuple[int, bytes]]:
    if level == 0:
        return await read_leaves(connection, shard, first, end)
    found = await queries.fetch(connection, "tile_roots", shard=shard, level=level - 1, first=first, end=end)
    return [(row["index"], row["root"]) for row in found]
