"""Verifying one correlation: each of its rows with a proof that it is in the tree."""

from datetime import UTC, datetime

import asyncpg

from kubernaut.api.events import LedgerHead, RemovedEvents, Verification, VerifyRequest
from kubernaut.api.ledger import merkle
from kubernaut.api.ledger.checkpoints import TreeHead
from kubernaut.api.ledger.merkle import InvalidProof
from kubernaut.api.ledger.tiles import WIDTH
from kubernaut.datastorage import chain, database, queries
from kubernaut.datastorage.ledger_reader import LedgerReader, TileMissing
from kubernaut.datastorage.ledger_verification import message_of
from kubernaut.datastorage.removals import Removals
from kubernaut.datastorage.stored_rows import StoredRows, Unreadable
from kubernaut.datastorage.verification import CorrelationVerifier, StoredRow

BATCH_ROWS = 2 * WIDTH
"""Rows that one step reads; few, so that other requests are answered in between."""


class CorrelationVerification:
    """Verifies through a pool that reconnects by itself; one verification."""

    def __init__(self, pool: asyncpg.Pool, reader: LedgerReader) -> None:
        self._pool = pool
        self._reader = reader
        self._removals = Removals(pool, reader)
        self._stored = StoredRows(pool, self._removals)

    async def verify(self, correlation_id: str, request: VerifyRequest) -> Verification:
        """Verify its rows and name each bad one in order."""
        trusted = None
        if request.head_sequence is not None and request.head_hash is not None:
            trusted = (request.head_sequence, bytes.fromhex(request.head_hash))
        verifier = CorrelationVerifier(trusted)
        heads: dict[int, TreeHead] = {}
        while batch := await self._stored.of_correlation(correlation_id, verifier.sequence, BATCH_ROWS):
            for stored in batch:
                if isinstance(stored, Unreadable):
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

    async def _rows(self, name: str, **values: object) -> list[asyncpg.Record]:
        with database.translated():
            return await queries.fetch(self._pool, name, **values)


def _of_correlation(
    correlation_id: str, verifier: CorrelationVerifier, heads: dict[int, TreeHead], removed: list[RemovedEvents]
) -> Verification:
    findings = verifier.findings.in_order()
    if not findings and not verifier.total_count:
        message = f"No events found for correlation_id {correlation_id}"
    else:
        message = message_of(findings)
    return Verification(
        is_valid=not findings,
        total_events=verifier.total_count,
        verified_events=verifier.total_count - verifier.findings.bad_count,
        verification_time=datetime.now(UTC),
        message=message,
        correlation_id=correlation_id,
        head_sequence=verifier.sequence,
        head_hash=verifier.event_hash.hex() if verifier.sequence else "",
        heads=[
            LedgerHead(shard=shard, head_sequence=head.size, head_hash=head.root.hex())
            for shard, head in sorted(heads.items())
        ],
        findings=findings,
        removed=removed,
    )
