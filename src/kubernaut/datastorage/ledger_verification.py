"""Verifying what stands in PostgreSQL: whole ledgers, in one state of the database and by several processes.

An incremental verification begins where an earlier one ended. The tree has to lead to the head of then, which the
caller has kept, so that no row before was added, removed or moved; but the rows themselves are not read again. Where
anything is found, the ledger is verified in full after all, so that the first bad row is named.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from uuid import UUID

import asyncpg
import msgspec

from kubernaut.api.events import LedgerFinding, LedgerHead, RemovedEvents, Verification, VerifyRequest
from kubernaut.api.ledger.checkpoints import TreeHead
from kubernaut.api.ledger.tiles import HEIGHT, WIDTH
from kubernaut.datastorage import database, queries, verification_processes
from kubernaut.datastorage.config import DatabaseConfig
from kubernaut.datastorage.hold_verification import HoldVerification
from kubernaut.datastorage.ledger_reader import LedgerReader
from kubernaut.datastorage.range_verification import Access, Range, RangeVerifier, connect, open_snapshot, ranges
from kubernaut.datastorage.removals import MAX_OPERATIONS
from kubernaut.datastorage.side_tables import PublicKeys, SideTables
from kubernaut.datastorage.tree import levels_of
from kubernaut.datastorage.tree_verification import RangeResult, StoredTile, StoredTiles, TreeVerifier
from kubernaut.datastorage.verification import MAX_FINDINGS
from kubernaut.datastorage.verification_processes import open_processes

MIN_ROWS_FOR_PROCESSES = 50_000
"""Rows from which on processes are started; for fewer they take longer to start than to verify."""

VerifyRanges = Callable[[Iterable[Range]], AsyncIterator[RangeResult]]


class LedgerVerification:
    """Verifies whole ledgers, one verification at a time."""

    def __init__(self, config: DatabaseConfig, processes: int = 0) -> None:
        """`processes` verify a large ledger; 0 are as many as there are processors."""
        self._config = config
        self._processes = processes or verification_processes.default_count()
        self._turn = asyncio.Lock()
        self.public_keys = PublicKeys()
        """Set by whoever has keys."""

    async def verify(self, request: VerifyRequest) -> Verification:
        """Verify every ledger, or one, and name each bad row in order. Raises CannotStart or DatabaseUnavailable."""
        access = Access.of(self._config)
        async with self._turn:
            connection = await connect(access)
            try:
                async with open_snapshot(connection) as snapshot, AsyncExitStack() as stack:

                    async def open_workers() -> VerifyRanges:
                        workers = open_processes(self._processes, access, snapshot)
                        return (await stack.enter_async_context(workers)).verify

                    opener = open_workers if self._processes > 1 else None
                    return await SnapshotVerification(connection, self.public_keys, opener).verify(request)
            finally:
                connection.terminate()


class SnapshotVerification:
    """Verifies one state of the database, in the transaction of a connection that `connect` has opened."""

    def __init__(
        self,
        connection: asyncpg.Connection,
        keys: PublicKeys,
        open_workers: Callable[[], Awaitable[VerifyRanges]] | None = None,
    ) -> None:
        self._connection = connection
        self._side_tables = SideTables(connection, keys)
        self._reader = LedgerReader(connection)
        self._open_workers = open_workers
        self._workers: VerifyRanges | None = None

    async def verify(self, request: VerifyRequest) -> Verification:
        """Every ledger or one, from where it was verified before; where anything is found, from the beginning."""
        everything = request.shard is None
        shards = sorted({*await self._reader.shards(), 0}) if request.shard is None else [request.shard]
        known = {head.shard: _tree_head(head) for head in request.verified_heads}
        trusted = dict(known)
        if request.head_sequence is not None and request.head_hash is not None:
            trusted[request.shard or 0] = TreeHead(size=request.head_sequence, root=bytes.fromhex(request.head_hash))
        verifiers = [await self._ledger(shard, trusted.get(shard), known.get(shard)) for shard in shards]
        if known and any(verifier.findings.rows for verifier in verifiers):
            known = {}
            verifiers = [await self._ledger(shard, trusted.get(shard), None) for shard in shards]
        others = await self._orphans(verifiers) if everything and not known else []
        others += await HoldVerification(self._connection, self._reader).findings() if everything else []
        others += await self._side_tables.findings() if everything and not known else []
        return _of_ledgers(verifiers, others)

    async def _ledger(self, shard: int, trusted: TreeHead | None, known: TreeHead | None) -> TreeVerifier:
        stored = await self._reader.head(shard)
        heads = [
            TreeHead(size=row["size"], root=row["root"]) for row in await self._rows("checkpoint_heads", shard=shard)
        ]
        heads += [trusted] if trusted else []
        edges = await self._edges(shard, min(known.size, stored.size)) if known else []
        verifier = TreeVerifier(shard, self._stored_tiles(shard), stored, heads, edges)
        verify_ranges = await self._verify_ranges(stored.size - verifier.start)
        async for result in verify_ranges(ranges(shard, verifier.start, stored.size, verifier.cuts)):
            await verifier.add(result)
        await verifier.finish()
        frontier = await self._rows("tree_frontier", shard=shard)
        verifier.check_frontier(frontier[0]["frontier"] if frontier else b"")
        now = (await self._rows("ledger_head", shard=shard))[0]
        if now["sequence"] > (now["size"] or 0):
            verifier.not_appended((now["size"] or 0) + 1)
        return verifier

    async def _edges(self, shard: int, size: int) -> list[list[bytes]]:
        """The unfinished tiles, from level 1 upwards, where the tile begins in which `size` rows end.

        None at all where a hash is missing, so that everything is verified.
        """
        edges: list[list[bytes]] = []
        tiles = size // WIDTH
        for level in range(levels_of(tiles)):
            count = tiles >> (level * HEIGHT)
            first = count // WIDTH * WIDTH
            roots = await self._rows("tile_roots", shard=shard, level=level, first=first, end=count)
            if len(roots) != count - first:
                return []
            edges.append([row["root"] for row in roots])
        return edges

    async def _verify_ranges(self, count: int) -> VerifyRanges:
        """Here, or by processes when there is enough to do."""
        if self._workers is None and self._open_workers is not None and count >= MIN_ROWS_FOR_PROCESSES:
            self._workers = await self._open_workers()
        return self._workers or self._verify_here

    async def _verify_here(self, wanted: Iterable[Range]) -> AsyncIterator[RangeResult]:
        verifier = RangeVerifier(self._connection)
        for each in wanted:
            yield await verifier.verify(each)

    def _stored_tiles(self, shard: int) -> StoredTiles:
        async def stored_tile(level: int, index: int) -> StoredTile | None:
            found = await self._rows("full_tiles", shard=shard, level=level, first=index, end=index + 1)
            return StoredTile(found[0]["hashes"], found[0]["root"]) if found else None

        return stored_tile

    async def _orphans(self, verifiers: list[TreeVerifier]) -> list[LedgerFinding]:
        """Rows of audit_events that no ledger knows; looked for when there are more payloads than rows have."""
        total = (await self._rows("count_payloads"))[0]["total"]
        if total == sum(verifier.payload_count for verifier in verifiers):
            return []
        return [
            LedgerFinding(
                sequence=0,
                event_id=row["event_id"],
                correlation_id=row["correlation_id"],
                message=f"the row in {row['partition']} has no row in the ledger: it was not appended by this service",
            )
            for row in await self._rows("orphan_events", limit=MAX_FINDINGS)
        ]

    async def _rows(self, name: str, **values: object) -> list[asyncpg.Record]:
        with database.translated():
            return await queries.fetch(self._connection, name, **values)


def _of_ledgers(verifiers: list[TreeVerifier], others: list[LedgerFinding]) -> Verification:
    findings = [finding for verifier in verifiers for finding in verifier.findings.in_order()] + others
    total = sum(verifier.total_count for verifier in verifiers)
    bad = sum(verifier.findings.bad_count for verifier in verifiers)
    heads = [
        LedgerHead(
            shard=verifier.shard,
            head_sequence=verifier.head.size,
            head_hash=verifier.head.root.hex(),
            verified_after=verifier.start,
        )
        for verifier in verifiers
    ]
    return Verification(
        is_valid=not findings,
        total_events=total,
        verified_events=total - bad,
        verification_time=datetime.now(UTC),
        message=message_of(findings),
        head_sequence=heads[0].head_sequence,
        head_hash=heads[0].head_hash,
        heads=heads,
        findings=findings[:MAX_FINDINGS],
        removed=_merged(removed for verifier in verifiers for removed in verifier.removed),
    )


def message_of(findings: list[LedgerFinding]) -> str:
    """The result in the words of the Go project."""
    if not findings:
        return "Hash chain verified successfully: no tampering detected"
    return f"Hash chain verification FAILED: tampering detected, first at sequence {findings[0].sequence}"


def _merged(removed: Iterable[RemovedEvents]) -> list[RemovedEvents]:
    """One entry for each operation, of which different ranges have seen different rows."""
    merged: dict[UUID, RemovedEvents] = {}
    for each in removed:
        known = merged.get(each.operation_id)
        if known is not None:
            merged[each.operation_id] = msgspec.structs.replace(known, count=known.count + each.count)
        elif len(merged) < MAX_OPERATIONS:
            merged[each.operation_id] = each
    return list(merged.values())


def _tree_head(head: LedgerHead) -> TreeHead:
    return TreeHead(size=head.head_sequence, root=bytes.fromhex(head.head_hash))
