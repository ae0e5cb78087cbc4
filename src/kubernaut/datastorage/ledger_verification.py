"""Verifying what stands in PostgreSQL: whole ledgers, or one correlation with a proof for each of its rows."""

from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

import asyncpg
import structlog

from kubernaut.api.events import LedgerFinding, LedgerHead, RemovedEvents, Verification, VerifyRequest
from kubernaut.api.ledger import merkle
from kubernaut.api.ledger.checkpoints import TreeHead
from kubernaut.api.ledger.merkle import InvalidProof
from kubernaut.api.ledger.tiles import WIDTH
from kubernaut.datastorage import chain, database, partitions, queries, rows
from kubernaut.datastorage.ledger_reader import LedgerReader, TileMissing
from kubernaut.datastorage.removals import Removals
from kubernaut.datastorage.verification import MAX_FINDINGS, CorrelationVerifier, LedgerVerifier, StoredRow

log = structlog.get_logger("datastorage")

BATCH_ROWS = 2 * WIDTH
"""Rows that one step reads; small, so that other requests are answered in between, and whole tiles."""


@dataclass(frozen=True, kw_only=True)
class _Statements:
    """Rows, and their sequences alone for when a row cannot be read."""

    rows: str
    sequences: str


_OF_LEDGER = _Statements(rows="ledger_rows", sequences="ledger_sequences")
_OF_CORRELATION = _Statements(rows="correlation_rows", sequences="correlation_sequences")


class LedgerVerification:
    """Verifies through a pool that reconnects by itself."""

    def __init__(self, pool: asyncpg.Pool, reader: LedgerReader) -> None:
        self._pool = pool
        self._reader = reader
        self._months: set[date] = set()
        self._removals = Removals(pool, reader)

    async def verify(self, request: VerifyRequest) -> Verification:
        """Verify one correlation, or every ledger, and name each bad row in order."""
        trusted = None
        if request.head_sequence is not None and request.head_hash is not None:
            trusted = (request.head_sequence, bytes.fromhex(request.head_hash))
        self._months = {row["month"] for row in await self._rows("months")}
        if request.correlation_id is not None:
            return await self._correlation(request.correlation_id, trusted)
        verifiers = []
        trusted_shard = request.shard or 0
        everything = request.shard is None
        for shard in sorted({*await self._reader.shards(), 0}) if everything else [trusted_shard]:
            heads = [TreeHead(size=trusted[0], root=trusted[1])] if trusted and shard == trusted_shard else []
            verifiers.append(await self._ledger(shard, heads))
        orphans = await self._orphans() if everything else []
        return _of_ledgers(verifiers, orphans, self._removals.summary)

    async def _orphans(self) -> list[LedgerFinding]:
        """Rows of audit_events that no ledger knows."""
        return [
            LedgerFinding(
                sequence=0,
                event_id=row["event_id"],
                correlation_id=row["correlation_id"],
                message=f"the row in {row['partition']} has no row in the ledger: it was not appended by this service",
            )
            for row in await self._rows("orphan_events", limit=MAX_FINDINGS)
        ]

    async def _ledger(self, shard: int, trusted: list[TreeHead]) -> LedgerVerifier:
        stored = await self._reader.head(shard)
        signed = [
            TreeHead(size=row["size"], root=row["root"]) for row in await self._rows("checkpoint_heads", shard=shard)
        ]
        tiles = _PrefetchedTiles(self._reader, shard)
        verifier = LedgerVerifier(shard, tiles, stored, [*signed, *trusted])
        while verifier.sequence < stored.size:
            await tiles.prefetch(verifier.sequence // WIDTH)
            batch = await self._batch(_OF_LEDGER, shard=shard, after=verifier.sequence)
            for row in batch:
                if isinstance(row, _Unreadable):
                    await verifier.unreadable(row.sequence, row.reason)
                elif row.row.sequence <= stored.size:
                    await verifier.check(row)
            if not batch:
                break
        await verifier.finish()
        now = (await self._rows("ledger_head", shard=shard))[0]
        if now["sequence"] > (now["size"] or 0):
            verifier.not_appended((now["size"] or 0) + 1)
        return verifier

    async def _correlation(self, correlation_id: str, trusted: tuple[int, bytes] | None) -> Verification:
        verifier = CorrelationVerifier(trusted)
        heads: dict[int, TreeHead] = {}
        while batch := await self._batch(_OF_CORRELATION, correlation_id=correlation_id, after=verifier.sequence):
            for stored in batch:
                if isinstance(stored, _Unreadable):
                    verifier.unreadable(stored.sequence, stored.reason)
                    continue
                shard = stored.row.shard
                if shard not in heads:
                    heads[shard] = await self._reader.head(shard)
                verifier.check(stored)
                await self._prove(verifier, stored, heads[shard])
        for shard, head in heads.items():
            count = (await self._rows("ledger_count", shard=shard, until=head.size))[0][0]
            if count < head.size:
                verifier.findings.add_place(
                    0,
                    f"{head.size - count} rows are missing: the ledger has {count}, its tree {head.size} leaves",
                )
        verifier.finish()
        for shard in await self._reader.shards() if not heads else []:
            heads[shard] = await self._reader.head(shard)
        return _of_correlation(correlation_id, verifier, heads, self._removals.summary)

    async def _prove(self, verifier: CorrelationVerifier, stored: StoredRow, head: TreeHead) -> None:
        row = stored.row
        if row.sequence > head.size:
            verifier.not_in_tree(row, "it is newer than the tree")
            return
        try:
            hashes = await self._reader.inclusion_proof(row.shard, row.sequence - 1, head.size)
            merkle.verify_inclusion(chain.leaf_hash(row), row.sequence - 1, head.size, hashes, head.root)
        except InvalidProof as error:
            verifier.not_in_tree(row, str(error))
        except TileMissing as error:
            verifier.not_provable(str(error))

    async def _batch(
        self, statements: "_Statements", *, after: int, **which: object
    ) -> list["StoredRow | _Unreadable"]:
        """The next rows. Where one of them cannot be read, each is read alone."""
        try:
            found = await self._rows(statements.rows, **which, after=after, limit=BATCH_ROWS)
            return list(await self._removals.explain([self._stored(row) for row in found]))
        except (ValueError, OverflowError) as error:
            log.warning("ledger rows cannot be read", after=after, error=str(error), **which)
        places = await self._rows(statements.sequences, **which, after=after, limit=BATCH_ROWS)
        return [await self._one(statements.rows, which, place["sequence"]) for place in places]

    async def _one(self, statement: str, which: dict[str, object], sequence: int) -> "StoredRow | _Unreadable":
        try:
            found = await self._rows(statement, **which, after=sequence - 1, limit=1)
            return (await self._removals.explain([self._stored(found[0])]))[0]
        except (ValueError, OverflowError) as error:
            return _Unreadable(sequence=sequence, reason=str(error))

    def _stored(self, record: Any) -> StoredRow:
        stored = rows.stored_row(record)
        if stored.payload is None:
            month = partitions.month_of(stored.row.event_timestamp)
            if month >= partitions.SHARED_BEFORE and month not in self._months:
                reason = f"the event is missing: the partition {partitions.name_of(month)} was dropped or detached"
                return StoredRow(row=stored.row, payload=None, missing_reason=reason)
        return stored

    async def _rows(self, name: str, **values: object) -> list[asyncpg.Record]:
        with database.translated():
            return await queries.fetch(self._pool, name, **values)


@dataclass(frozen=True, kw_only=True)
class _Unreadable:
    """A row that PostgreSQL has and Python cannot hold, such as one of the year 10000."""

    sequence: int
    reason: str


class _PrefetchedTiles:
    """Tiles of one ledger; those of level 0 are fetched some at a time."""

    def __init__(self, reader: LedgerReader, shard: int) -> None:
        self._reader = reader
        self._shard = shard
        self._fetched: dict[int, bytes] = {}

    async def prefetch(self, first: int) -> None:
        """Fetch the tiles of the next rows."""
        indexes = range(first, first + BATCH_ROWS // WIDTH + 1)
        self._fetched = await self._reader.full_tiles(self._shard, 0, indexes)

    async def __call__(self, level: int, index: int) -> bytes | None:
        if level == 0 and index in self._fetched:
            return self._fetched[index]
        return (await self._reader.full_tiles(self._shard, level, [index])).get(index)


def _of_ledgers(
    verifiers: list[LedgerVerifier], orphans: list[LedgerFinding], removed: list[RemovedEvents]
) -> Verification:
    findings = [finding for verifier in verifiers for finding in verifier.findings.in_order()] + orphans
    total = sum(verifier.total_count for verifier in verifiers)
    bad = sum(verifier.findings.bad_count for verifier in verifiers)
    heads = [_head(verifier.shard, verifier.tree.size, verifier.tree.root) for verifier in verifiers]
    return Verification(
        is_valid=not findings,
        total_events=total,
        verified_events=total - bad,
        verification_time=datetime.now(UTC),
        message=_message(findings),
        head_sequence=heads[0].head_sequence,
        head_hash=heads[0].head_hash,
        heads=heads,
        findings=findings[:MAX_FINDINGS],
        removed=removed,
    )


def _head(shard: int, size: int, root: bytes) -> LedgerHead:
    return LedgerHead(shard=shard, head_sequence=size, head_hash=root.hex())


def _of_correlation(
    correlation_id: str, verifier: CorrelationVerifier, heads: dict[int, TreeHead], removed: list[RemovedEvents]
) -> Verification:
    findings = verifier.findings.in_order()
    if not findings and not verifier.total_count:
        message = f"No events found for correlation_id {correlation_id}"
    else:
        message = _message(findings)
    return Verification(
        is_valid=not findings,
        total_events=verifier.total_count,
        verified_events=verifier.total_count - verifier.findings.bad_count,
        verification_time=datetime.now(UTC),
        message=message,
        correlation_id=correlation_id,
        head_sequence=verifier.sequence,
        head_hash=verifier.event_hash.hex() if verifier.sequence else "",
        heads=[_head(shard, head.size, head.root) for shard, head in sorted(heads.items())],
        findings=findings,
        removed=removed,
    )


def _message(findings: list[LedgerFinding]) -> str:
    if not findings:
        return "Hash chain verified successfully: no tampering detected"
    return f"Hash chain verification FAILED: tampering detected, first at sequence {findings[0].sequence}"
