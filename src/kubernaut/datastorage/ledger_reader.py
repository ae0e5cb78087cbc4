"""Reading a ledger as a transparency log: heads, tiles, entry bundles and proofs. Opens no transaction."""

from collections.abc import Iterable
from typing import Any
from uuid import UUID

import asyncpg

from kubernaut.api.ledger import merkle, tiles
from kubernaut.api.ledger.checkpoints import TreeHead
from kubernaut.api.ledger.merkle import Range
from kubernaut.api.ledger.tiles import WIDTH, Tile, TileHashes
from kubernaut.datastorage import chain, database, ledger_tree, queries, rows
from kubernaut.datastorage.checkpoint_store import CheckpointStore
from kubernaut.datastorage.verification import StoredRow


class TileMissing(Exception):
    """A tile is not there or incomplete, so that nothing can be proven by it."""


class LedgerReader:
    """Reads through a pool that reconnects by itself, or one connection."""

    def __init__(self, pool: asyncpg.Pool | asyncpg.Connection) -> None:
        self._pool = pool
        self.checkpoints = CheckpointStore(pool)

    async def shards(self) -> list[int]:
        """Every ledger that has rows or a tree."""
        return [row["shard"] for row in await self._rows("ledger_shards")]

    async def head(self, shard: int) -> TreeHead:
        """Size and root of the tree now."""
        found = await self._rows("tree_head", shard=shard)
        return TreeHead(size=found[0]["size"], root=found[0]["root"]) if found else TreeHead()

    async def heads(self) -> dict[int, TreeHead]:
        """Size and root of every tree now, by its ledger."""
        return {row["shard"]: TreeHead(size=row["size"], root=row["root"]) for row in await self._rows("tree_heads")}

    async def tile(self, shard: int, tile: Tile) -> bytes | None:
        """The hashes of a tile, full or partial; None when the tree has not grown so far."""
        full = (await self.full_tiles(shard, tile.level, [tile.index])).get(tile.index)
        return full[: tile.width * merkle.HASH_SIZE] if full is not None else await self._partial_tile(shard, tile)

    async def _partial_tile(self, shard: int, tile: Tile) -> bytes | None:
        """A tile that is not full yet, from what its hashes are made of."""
        first, end = tile.index * WIDTH, tile.index * WIDTH + tile.width
        if tile.level == 0:
            with database.translated():
                leaves = await ledger_tree.read_leaves(self._pool, shard, first, end)
            hashes = [digest for _, digest in leaves]
        else:
            roots = await self._rows("tile_roots", shard=shard, level=tile.level - 1, first=first, end=end)
            hashes = [row["root"] for row in roots]
        return b"".join(hashes) if len(hashes) == tile.width else None

    async def full_tiles(self, shard: int, level: int, indexes: Iterable[int]) -> dict[int, bytes]:
        """Those of these tiles that are full, by index."""
        found = await self._rows("tiles", shard=shard, level=level, indexes=list(indexes))
        return {row["index"]: row["hashes"] for row in found}

    async def bundle(self, shard: int, index: int, width: int = WIDTH) -> bytes | None:
        """The entries behind the leaves of a tile of level 0; None when the tree has not grown so far."""
        first = index * WIDTH
        with database.translated():
            found = await ledger_tree.read_rows(self._pool, shard, first, first + width)
        return tiles.encode_bundle(map(chain.ledger_entry, found)) if len(found) == width else None

    async def event(self, event_id: UUID) -> StoredRow | None:
        """One event and its row; None when there is none."""
        found: list[Any] = await self._rows("event_with_row", event_id=event_id)
        return rows.stored_row(found[0]) if found else None

    async def inclusion_proof(self, shard: int, index: int, size: int) -> list[bytes]:
        """The proof that leaf `index` is in the tree of `size` leaves. Raises TileMissing."""
        return await self._proof(shard, size, merkle.inclusion_ranges(index, size))

    async def consistency_proof(self, shard: int, old: int, new: int) -> list[bytes]:
        """The proof that the tree of `new` leaves begins with that of `old`. Raises TileMissing."""
        return await self._proof(shard, new, merkle.consistency_ranges(old, new))

    async def _proof(self, shard: int, size: int, ranges: list[Range]) -> list[bytes]:
        nodes = [node for leaves in ranges for node in merkle.perfect_subtrees(leaves)]
        contents = await self._tiles(shard, {tiles.tile_of(node, size) for node in nodes})
        return merkle.proof(ranges, TileHashes(contents, size))

    async def _tiles(self, shard: int, wanted: Iterable[Tile]) -> dict[Tile, bytes]:
        tiles_wanted = list(wanted)
        found = await self._rows(
            "tiles_of_levels",
            shard=shard,
            levels=[tile.level for tile in tiles_wanted],
            indexes=[tile.index for tile in tiles_wanted],
        )
        full = {(row["level"], row["index"]): row["hashes"] for row in found}
        contents: dict[Tile, bytes] = {}
        for tile in tiles_wanted:
            hashes = full.get((tile.level, tile.index))
            content = hashes[: tile.width * merkle.HASH_SIZE] if hashes else await self._partial_tile(shard, tile)
            if content is None:
                raise TileMissing(f"{tile.path()} of ledger {shard} is not there or incomplete")
            contents[tile] = content
        return contents

    async def _rows(self, name: str, **values: object) -> list[asyncpg.Record]:
        with database.translated():
            return await queries.fetch(self._pool, name, **values)
