"""The newest hashes of each ledger, kept in memory between transactions."""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field

import asyncpg
import structlog

from kubernaut.datastorage import ledger_tree, queries
from kubernaut.datastorage.tree import Tree

log = structlog.get_logger("datastorage")

MAX_CACHED_CORRELATIONS = 100_000
"""Correlations of one ledger whose newest hash is kept in memory."""


@dataclass(kw_only=True, slots=True)
class LedgerHead:
    """The tree of one ledger and the heads of its correlations; true as long as the database has the same frontier."""

    tree: Tree = field(default_factory=Tree)
    correlations: OrderedDict[str, bytes] = field(default_factory=OrderedDict)

    def unknown(self, correlations: set[str]) -> list[str]:
        """Those whose head is not in memory, sorted."""
        # Not `correlations - self.correlations.keys()`, for which Python walks through everything that is cached.
        return sorted(correlation for correlation in correlations if correlation not in self.correlations)


class HeadCache:
    """What this process knows of each ledger. Empty is always right, and costs some queries."""

    def __init__(self) -> None:
        self._shards: dict[int, LedgerHead] = {}

    async def take(self, connection: asyncpg.Connection, shard: int, correlations: set[str]) -> LedgerHead:
        """The head of a ledger, whose lock is held, and of these correlations.

        It leaves the cache: `update` it once the transaction is committed.
        """
        stored = await ledger_tree.read_head(connection, shard)
        head = self._shards.pop(shard, None) or LedgerHead()
        if stored.size < head.tree.size:
            log.error("ledger tree truncated", shard=shard, expected=head.tree.size, found=stored.size)
        if (stored.size, stored.frontier) != (head.tree.size, head.tree.frontier):
            head = LedgerHead(tree=await ledger_tree.load(connection, shard, stored))  # another process has appended
        if stored.sequence < stored.size:
            log.error("ledger truncated", shard=shard, expected=stored.size, found=stored.sequence)
        elif stored.sequence > stored.size:
            await ledger_tree.catch_up(connection, shard, head.tree, stored.sequence)
        unknown = head.unknown(correlations)
        if unknown and head.tree.size:
            for found in await queries.fetch(connection, "correlation_heads", correlation_ids=unknown):
                head.correlations[found["correlation_id"]] = found["event_hash"]
        return head

    def take_known(self, shard: int) -> LedgerHead | None:
        """The head of a ledger as this process knows it, which may be outdated. It leaves the cache as with `take`."""
        return self._shards.pop(shard, None)

    def update(self, committed: Mapping[int, LedgerHead]) -> None:
        """The heads after a transaction that is committed."""
        for head in committed.values():
            while len(head.correlations) > MAX_CACHED_CORRELATIONS:
                head.correlations.popitem(last=False)
        self._shards.update(committed)

    def clear(self) -> None:
        """Forget everything, because a transaction may or may not have been committed."""
        self._shards.clear()
