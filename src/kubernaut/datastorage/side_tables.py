"""Verifying the tables beside the ledger: each row against the ledger event, or the tree, that says what it must hold.

A refused event is kept in a table of its own and follows from an event of the ledger. Checkpoints and cosignatures
carry signatures instead, which are checked as far as their keys are known. Settings, tiles and trees have to fit the
ledgers.
Rows of the ledgers, holds and removals are verified elsewhere.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import asyncpg
import msgspec

from kubernaut.api.events import LedgerFinding
from kubernaut.api.ledger import checkpoints, entries, notes
from kubernaut.api.ledger.checkpoints import CheckpointError
from kubernaut.api.ledger.notes import NoteError, Verifier
from kubernaut.datastorage import append_plan, canonical, chain, database, queries
from kubernaut.datastorage.canonical import NotCanonical
from kubernaut.ops.json_faults import JSON_FAULTS

PAGE_ROWS = 500
"""Rows that one step reads, so that other requests are answered in between."""

MAX_FINDINGS = 100
"""Findings of one kind."""

_ERASED = "null"
"""What stands in place of a refused event whose content was erased."""


@dataclass(frozen=True, kw_only=True)
class PublicKeys:
    """The keys that this process knows."""

    of_log: Callable[[str], Sequence[Verifier]] = lambda _: ()
    """Those that sign a ledger, by its origin."""
    of_witnesses: Sequence[Verifier] = ()


class SideTables:
    """Reads in the transaction of a connection."""

    def __init__(self, connection: asyncpg.Connection, keys: PublicKeys) -> None:
        self._connection = connection
        self._keys = keys

    async def findings(self) -> list[LedgerFinding]:
        """Every row that is not what the ledger says."""
        found = [_finding(f"{message}: {row['place']}") for row, message in await self._strays()]
        settings = await self._rows("settings")
        if len(settings) == 1:
            found += await self._settings(settings[0]["ledger_shards"])
            found += [finding async for finding in self._checkpoints(settings[0]["ledger_origin"])]
        else:
            found.append(_finding(f"audit_settings has {len(settings)} rows, not one"))
        return found + [finding async for finding in self._conflicts()] + await self._unkept_conflicts()

    async def _strays(self) -> list[tuple[Any, str]]:
        return [
            (row, message) for name, message in _STRAY.items() for row in await self._rows(name, limit=MAX_FINDINGS)
        ]

    async def _settings(self, shards: int) -> list[LedgerFinding]:
        """Whether correlations are in the ledgers in which the settings put them; some of each ledger tell."""
        for row in await self._rows("first_rows"):
            expected = chain.shard_of(row["correlation_id"], shards) if shards > 0 else -1
            if row["shard"] != expected:
                message = f"with {shards} ledgers, as audit_settings has it, the event would be in ledger {expected}"
                return [_finding(message, row["event_id"], row["correlation_id"])]
        return []

    async def _checkpoints(self, origin: str) -> AsyncIterator[LedgerFinding]:
        after = (-1, -1)
        while rows := await self._rows("checkpoint_rows", shard=after[0], size=after[1], limit=PAGE_ROWS):
            for row in rows:
                problem = self._problem_of_checkpoint(row, f"{origin}/{row['shard']}")
                if problem:
                    yield _finding(f"the checkpoint of ledger {row['shard']} over {row['size']} rows: {problem}")
            after = rows[-1]["shard"], rows[-1]["size"]

    def _problem_of_checkpoint(self, row: Any, origin: str) -> str:
        """Why a checkpoint, or one of its cosignatures, is not what was signed; empty when it is."""
        try:
            checkpoint = checkpoints.parse(row["note"])
            if checkpoint.origin != origin:
                return f"its origin is {checkpoint.origin!r}, not {origin!r}"
            if (checkpoint.head.size, checkpoint.head.root) != (row["size"], row["root"]):
                return "its text has another size or root"
            checkpoint.note.verified(self._keys.of_log(origin))
            for witness, line in zip(row["witnesses"], row["lines"], strict=True):
                signatures = notes.parse_signatures(line)
                if [signature.name for signature in signatures] != [witness]:
                    return f"the cosignature of {witness} is by another"
                note = notes.Note(text=checkpoint.note.text, signatures=tuple(signatures))
                note.verified(self._keys.of_witnesses)
        except (CheckpointError, NoteError) as error:
            return str(error)
        return ""

    async def _conflicts(self) -> AsyncIterator[LedgerFinding]:
        seen: set[UUID] = set()
        after = -(2**63)
        # Refused events of databases that are older than the tree are no events of the ledger.
        is_older = (await self._rows("has_chained_rows"))[0]["has_chained_rows"]
        while rows := await self._rows("conflict_rows", after=after, limit=PAGE_ROWS):
            attempts = {row["conflict_id"]: _attempt_of(row) for row in rows}
            ids, events = list(attempts), list(attempts.values())
            unknown = {
                row["conflict_id"]: row["is_known"]
                for row in await self._rows("altered_conflicts", conflict_ids=ids, attempts=events)
            }
            for row in rows:
                conflict_id = row["conflict_id"]
                is_older = is_older and conflict_id in unknown and not unknown[conflict_id]
                problem = "" if is_older else _problem_of_conflict(row)
                if conflict_id in unknown and not is_older:
                    problem = "no event of the ledger says so"
                if attempts[conflict_id] in seen:
                    problem = "it is there twice"
                seen.add(attempts[conflict_id])
                if problem:
                    message = f"row {conflict_id} of audit_conflicts was changed or added: {problem}"
                    yield _finding(message, row["event_id"], row["correlation_id"])
            after = rows[-1]["conflict_id"]

    async def _unkept_conflicts(self) -> list[LedgerFinding]:
        message = "an attempt to store other content is in the ledger, and its row in audit_conflicts is missing"
        return [
            _finding(message, row["event_id"], row["correlation_id"])
            for row in await self._rows("unkept_conflicts", limit=MAX_FINDINGS)
            if row["event_id"] == _attempt_in(row["event_data"])
        ]

    async def _rows(self, name: str, **values: object) -> list[asyncpg.Record]:
        with database.translated():
            return await queries.fetch(self._connection, name, **values)


_STRAY = {
    "stray_tiles": "a tile lies outside of its tree",
    "stray_trees": "a tree has no ledger",
    "stray_cosignatures": "a cosignature has no checkpoint",
}


def _finding(message: str, event_id: UUID | None = None, correlation_id: str | None = None) -> LedgerFinding:
    return LedgerFinding(sequence=0, message=message, event_id=event_id, correlation_id=correlation_id)


def _attempt_of(row: Any) -> UUID:
    stored, refused = row["stored_content_hash"] or b"", row["refused_content_hash"] or b""
    return append_plan.attempt_id(row["event_id"] or UUID(int=0), stored, refused)


def _problem_of_conflict(row: Any) -> str:
    text = row["refused_event"] or ""
    if text == _ERASED:
        return "" if row["is_erased"] else "the refused event is gone"
    try:
        fits = entries.content_hash(canonical.data(text)) == row["refused_content_hash"]
    except NotCanonical:
        fits = False
    return "" if fits else "the refused event was changed"


class _Attempt(msgspec.Struct):
    event_id: UUID
    stored_content_hash: str
    refused_content_hash: str


def _attempt_in(data: str) -> UUID | None:
    """The id that the event of an attempt has, by its data; None where the data is none of ours."""
    try:
        attempt = msgspec.json.decode(data, type=_Attempt)
        hashes = bytes.fromhex(attempt.stored_content_hash), bytes.fromhex(attempt.refused_content_hash)
    except (*JSON_FAULTS, ValueError):
        return None
    return append_plan.attempt_id(attempt.event_id, *hashes)
