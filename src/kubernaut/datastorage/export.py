"""Exports of the audit log, streamed: as the Go project's JSON document, or as NDJSON that proves itself."""

from collections import OrderedDict
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import asyncpg
import msgspec

from kubernaut.api.ledger import merkle, tiles
from kubernaut.api.ledger.checkpoints import Checkpoint
from kubernaut.api.ledger.exports import VERSION, ExportedEvent, ExportFooter, ExportHeader
from kubernaut.api.ledger.tiles import Tile, TileHashes
from kubernaut.datastorage import chain, database, queries, redaction, rows
from kubernaut.datastorage.ledger_reader import LedgerReader, TileMissing
from kubernaut.datastorage.verification import StoredRow

WINDOW_ROWS = 10_000
"""Ledger rows that one statement looks through, unless a correlation is wanted."""

BATCH_ROWS = 200
"""Rows that are in memory at a time; their payloads may be large."""

MAX_TILES = 256
"""Tiles that are kept in memory for the proofs."""

_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, kw_only=True)
class ExportFilters:
    """Which events; the field names are parameters of the statement."""

    correlation_id: str | None = None
    event_category: str | None = None
    start_time: datetime | None = None
    end_time: datetime | None = None

    def given(self) -> dict[str, str]:
        """The filters that are there, as texts."""
        values = {"correlation_id": self.correlation_id, "event_category": self.event_category}
        times = {"start_time": self.start_time, "end_time": self.end_time}
        texts = {name: value for name, value in values.items() if value is not None}
        return texts | {name: time.isoformat() for name, time in times.items() if time is not None}


@dataclass(frozen=True, kw_only=True)
class ExportRequest:
    """Which events, for whom, and when."""

    filters: ExportFilters
    exported_by: str
    exported_at: datetime
    offset: int = 0
    limit: int = 1000
    is_redacted: bool = False
    with_signature: bool = False


class Exporter:
    """Exports through a pool that reconnects by itself."""

    def __init__(self, pool: asyncpg.Pool, reader: LedgerReader) -> None:
        self._pool = pool
        self._reader = reader

    async def ndjson(self, request: ExportRequest, signed: dict[int, Checkpoint]) -> AsyncIterator[bytes]:
        """Every matching event below these checkpoints with its proof, a line each."""
        yield _line(
            ExportHeader(
                version=VERSION,
                exported_at=request.exported_at,
                exported_by=request.exported_by,
                filters=request.filters.given(),
                checkpoints=[(shard, str(checkpoint)) for shard, checkpoint in sorted(signed.items())],
            )
        )
        events = removed = 0
        for shard, checkpoint in sorted(signed.items()):
            size = checkpoint.head.size
            proofs = _Proofs(self._reader, shard, size)
            async for stored in self._rows(shard, size, request.filters):
                event = chain.canonical(stored.payload).decode() if stored.payload is not None else None
                events, removed = events + (event is not None), removed + (event is None)
                proof = await proofs.of(stored.row.sequence - 1)
                yield _line(ExportedEvent(entry=chain.ledger_entry(stored.row).decode(), event=event, proof=proof))
        yield _line(ExportFooter(events=events, removed=removed))

    async def json(self, request: ExportRequest, checkpoint: Checkpoint | None) -> AsyncIterator[bytes]:
        """One document; what is known only at its end stands there."""
        yield b'{"events":['
        valid, tampered, skipped = 0, list[str](), 0
        for shard in await self._reader.shards():
            size = (await self._reader.head(shard)).size
            async for stored in self._rows(shard, size, request.filters):
                if stored.payload is None:
                    continue
                if skipped < request.offset:
                    skipped += 1
                    continue
                count = valid + len(tampered)
                if count == request.limit:
                    break
                is_valid = _is_valid(stored)
                valid += is_valid
                tampered += [] if is_valid else [str(stored.row.event_id)]
                yield (b"," if count else b"") + _encode(_exported(stored, is_valid, is_redacted=request.is_redacted))
        yield b"]," + _summary(request, checkpoint, valid, tampered)[1:]

    async def _rows(self, shard: int, size: int, filters: ExportFilters) -> AsyncIterator[StoredRow]:
        after = 0
        while after < size:
            until = size if filters.correlation_id is not None else min(size, after + WINDOW_ROWS)
            with database.translated():
                found: list[Any] = await queries.fetch(
                    self._pool,
                    "export_rows",
                    shard=shard,
                    after=after,
                    until=until,
                    limit=BATCH_ROWS,
                    correlation_id=filters.correlation_id,
                    event_category=filters.event_category,
                    start_time=filters.start_time,
                    end_time=filters.end_time,
                )
            for record in found:
                yield rows.stored_row(record)
            after = found[-1]["sequence"] if len(found) == BATCH_ROWS else until


class _Proofs:
    """Inclusion proofs in one tree; neighbours share nearly all of their tiles."""

    def __init__(self, reader: LedgerReader, shard: int, size: int) -> None:
        self._reader = reader
        self._shard = shard
        self._size = size
        self._tiles: OrderedDict[Tile, bytes] = OrderedDict()

    async def of(self, index: int) -> list[bytes]:
        """The proof of a leaf. Raises TileMissing."""
        ranges = merkle.inclusion_ranges(index, self._size)
        contents: dict[Tile, bytes] = {}
        for node in (node for leaves in ranges for node in merkle.perfect_subtrees(leaves)):
            tile = tiles.tile_of(node, self._size)
            if tile not in contents:
                contents[tile] = await self._tile(tile)
        return merkle.proof(ranges, TileHashes(contents, self._size))

    async def _tile(self, tile: Tile) -> bytes:
        content = self._tiles.get(tile)
        if content is None:
            content = await self._reader.tile(self._shard, tile)
            if content is None:
                raise TileMissing(f"{tile.path()} of ledger {self._shard} is not there or incomplete")
            self._tiles[tile] = content
            if len(self._tiles) > MAX_TILES:
                self._tiles.popitem(last=False)
        else:
            self._tiles.move_to_end(tile)
        return content


def _line(value: msgspec.Struct) -> bytes:
    return _encode(value) + b"\n"


def _is_valid(stored: StoredRow) -> bool:
    row = stored.row
    return (
        stored.payload is not None
        and chain.content_hash(stored.payload) == row.content_hash
        and chain.event_hash(row.previous_event_hash, row.content_hash) == row.event_hash
    )


def _exported(stored: StoredRow, is_valid: bool, *, is_redacted: bool) -> dict[str, object]:
    event, row = stored.payload, stored.row
    if event is None:
        raise AssertionError("unreachable: rows without a payload are left out")
    return {
        "event_id": event.event_id,
        "version": event.version,
        "event_type": event.event_type,
        "event_timestamp": event.event_timestamp,
        "event_category": event.event_category,
        "event_action": event.event_action,
        "event_outcome": event.event_outcome,
        "correlation_id": event.correlation_id,
        "event_data": redaction.redacted(event.event_data) if is_redacted else event.event_data,
        "event_hash": row.event_hash.hex(),
        "previous_event_hash": "" if row.previous_event_hash == chain.ORIGIN else row.previous_event_hash.hex(),
        "hash_chain_valid": is_valid,
    }


def _summary(request: ExportRequest, checkpoint: Checkpoint | None, valid: int, tampered: list[str]) -> bytes:
    total = valid + len(tampered)
    note = str(checkpoint) if checkpoint is not None else ""
    summary: dict[str, object] = {
        "hash_chain_verification": {
            "total_events_verified": total,
            "valid_chain_events": valid,
            "broken_chain_events": len(tampered),
            "chain_integrity_percentage": 100.0 * valid / total if total else 100.0,
            "verification_timestamp": request.exported_at,
            "tampered_event_ids": tampered,
        },
        "export_metadata": {
            "export_timestamp": request.exported_at,
            "export_format": "json",
            "query_filters": request.filters.given(),
            "total_events": total,
            "signature": note,
            "signature_algorithm": "tlog-checkpoint" if note else "none",
            "certificate_fingerprint": "",
            "exported_by": redaction.text(request.exported_by) if request.is_redacted else request.exported_by,
        },
    }
    if request.with_signature:
        summary["detached_signature"] = note
    return _encode(summary)
