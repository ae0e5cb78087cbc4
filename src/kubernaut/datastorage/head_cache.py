"""The newest hashes of each ledger, kept in memory between transactions."""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field

import asyncpg
import structlog

from kubernaut.datastorage import queries
from kubernaut.datastorage.chain import Head

log = structlog.get_logger("datastorage")

MAX_CACHED_CORRELATIONS = 100_000
"""Correlations of one ledger whose newest hash is kept in memory."""


@dataclass(kw_only=True, slots=True)
class LedgerHeads:
    """The head of one ledger and of its correlations; true as long as the head in the database is still `head`."""

    head: Head = field(default_factory=Head)
    correlations: OrderedDict[str, bytes] = field(default_factory=OrderedDict)


class HeadCache:
    """What this process knows of each ledger. Empty is always right, and costs a query."""

    def __init__(self) -> None:
        self._shards: dict[int, LedgerHeads] = {}

    async def take(self, connection: asyncpg.Connection, shard: int, correlations: set[str]) -> LedgerHeads:
        """The heads of a ledger, whose lock is held, and of these correlations.

        They leave the cache: `update` it once the transaction is committed.
        """
        row = await queries.fetch_row(connection, "ledger_head", shard=shard)
        head = Head(sequence=row["sequence"], link_hash=row["link_hash"]) if row else Head()
        heads = self._shards.pop(shard, None) or LedgerHeads()
        if head.sequence < heads.head.sequence:
            log.error("ledger truncated", shard=shard, expected=heads.head.sequence, found=head.sequence)
        if head != heads.head:
            heads = LedgerHeads(head=head)  # another process has appended
        unknown = sorted(correlations - heads.correlations.keys())
        if unknown and head.sequence:
            for found in await queries.fetch(connection, "correlation_heads", correlation_ids=unknown):
                heads.correlations[found["correlation_id"]] = found["event_hash"]
        while len(heads.correlations) > MAX_CACHED_CORRELATIONS + len(correlations):
            heads.correlations.popitem(last=False)
        return heads

    def update(self, committed: Mapping[int, LedgerHeads]) -> None:
        """The heads after a transaction that is committed."""
        self._shards.update(committed)

    def clear(self) -> None:
        """Forget everything, because a transaction may or may not have been committed."""
        self._shards.clear()
