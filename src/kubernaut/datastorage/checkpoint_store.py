"""Signed checkpoints and their cosignatures in PostgreSQL."""

from datetime import datetime

import asyncpg

from kubernaut.api.ledger import checkpoints
from kubernaut.api.ledger.checkpoints import Checkpoint, TreeHead
from kubernaut.datastorage import database, queries


class CheckpointStore:
    """Writes and reads through a pool that reconnects by itself, or one connection."""

    def __init__(self, pool: asyncpg.Pool | asyncpg.Connection) -> None:
        self._pool = pool

    async def add(self, shard: int, checkpoint: Checkpoint, now: datetime) -> None:
        """Keep a checkpoint for ever, unless another process has signed the same tree."""
        head = checkpoint.head
        note = str(checkpoint)
        await self._rows("add_checkpoint", shard=shard, size=head.size, root=head.root, signed_at=now, note=note)

    async def newest(self, shard: int, *, quorum: int) -> Checkpoint | None:
        """The newest checkpoint with at least `quorum` cosignatures, and all of its cosignatures."""
        found = await self._rows("newest_checkpoint", shard=shard, quorum=quorum)
        return checkpoints.parse(found[0]["note"] + (found[0]["cosignatures"] or "")) if found else None

    async def cosigned_by(self, shard: int, head: TreeHead) -> set[str]:
        """The witnesses that have cosigned a checkpoint."""
        return {row["witness"] for row in await self._rows("cosigned_by", shard=shard, size=head.size, root=head.root)}

    async def add_cosignature(self, shard: int, head: TreeHead, witness: str, line: str) -> None:
        """Keep the signature line of a witness."""
        await self._rows("add_cosignature", shard=shard, size=head.size, root=head.root, witness=witness, line=line)

    async def _rows(self, name: str, **values: object) -> list[asyncpg.Record]:
        with database.translated():
            return await queries.fetch(self._pool, name, **values)
