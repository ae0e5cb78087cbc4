"""Exports that are checked without us: NDJSON of events with their ledger entries, proofs and checkpoints; pure.

    {"version": "kubernaut.audit.export.v1", "exported_at": …, "exported_by": …, "filters": {…},
     "checkpoints": [[shard, note], …]}                one line, as all of these
    {"entry": …, "event": …, "proof": [hash, …]}      one line an event; "event" is absent where the payload is gone
    {"events": 41, "removed": 1}                       the last line, so that a cut file is noticed

`event` and `entry` are texts, because their bytes are what was hashed. Each line stands for itself: the proof leads
from the entry to the root of its ledger's checkpoint, and the entry holds the hash of the event. That nothing between
two lines was left out is shown for the export of one correlation, whose entries are linked to each other.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

import msgspec

from kubernaut.api.ledger import checkpoints, entries, merkle
from kubernaut.api.ledger.checkpoints import Checkpoint, CheckpointError
from kubernaut.api.ledger.entries import InvalidEntry, LedgerEntry
from kubernaut.api.ledger.merkle import InvalidProof
from kubernaut.api.ledger.notes import Verifier
from kubernaut.api.meta import Time

VERSION = "kubernaut.audit.export.v1"
MARK = b'{"version":"' + VERSION.encode() + b'"'
"""How the first line begins."""

_ORIGIN = bytes(32)


class ExportHeader(msgspec.Struct, frozen=True, kw_only=True):
    """The first line."""

    version: str
    exported_at: Time
    exported_by: str
    filters: dict[str, str]
    checkpoints: list[tuple[int, str]]
    """A signed checkpoint for each ledger."""


class ExportedEvent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line."""

    entry: str
    event: str | None = None
    proof: list[bytes]


class ExportFooter(msgspec.Struct, frozen=True, kw_only=True):
    """The last line."""

    events: int
    removed: int


class InvalidExport(ValueError):
    """An export that proves nothing, or not all; says which line is wrong."""


@dataclass(kw_only=True)
class VerifiedExport:
    """What an export proves."""

    header: ExportHeader
    checkpoints: dict[int, Checkpoint] = field(default_factory=dict)
    events: int = 0
    removed: int = 0


class _Ids(msgspec.Struct, frozen=True):
    event_id: str
    correlation_id: str


_decode_header = msgspec.json.Decoder(ExportHeader).decode
_decode_event = msgspec.json.Decoder(ExportedEvent).decode
_decode_footer = msgspec.json.Decoder(ExportFooter).decode
_decode_ids = msgspec.json.Decoder(_Ids).decode
_INVALID = (msgspec.MsgspecError, UnicodeError, RecursionError)


def verify(lines: Iterable[bytes], keys: Iterable[Verifier]) -> VerifiedExport:
    """What the lines prove to somebody who trusts these keys. Raises InvalidExport."""
    numbered = enumerate(lines, start=1)
    _, first = next(numbered, (0, b""))
    try:
        verified = VerifiedExport(header=_decode_header(first))
    except _INVALID as error:
        raise InvalidExport(f"line 1: not the header of an export: {error}") from error
    if verified.header.version != VERSION:
        raise InvalidExport(f"line 1: the version is {verified.header.version[:100]!r}, not {VERSION}")
    trusted = list(keys)
    for shard, note in verified.header.checkpoints:
        try:
            verified.checkpoints[shard] = checkpoints.verify(note, trusted)
        except CheckpointError as error:
            raise InvalidExport(f"line 1: the checkpoint of ledger {shard}: {error}") from error
    last = (-1, 0)
    linked = _ORIGIN if set(verified.header.filters) == {"correlation_id"} else None
    for number, line in numbered:
        if line.startswith(b'{"events"'):
            _finish(verified, line, number, next(numbered, None) is None)
            return verified
        try:
            entry = _verify_line(verified, line)
        except (InvalidEntry, InvalidProof, *_INVALID) as error:
            raise InvalidExport(f"line {number}: {error}") from error
        if (entry.shard, entry.sequence) <= last:
            raise InvalidExport(f"line {number}: not in the order of the ledger")
        last = (entry.shard, entry.sequence)
        if linked is not None:
            if entry.previous_event_hash != linked:
                raise InvalidExport(f"line {number}: the event before it in its correlation is not in the export")
            linked = entry.event_hash
    raise InvalidExport("the last line is missing: the export was cut off")


def _verify_line(verified: VerifiedExport, line: bytes) -> LedgerEntry:
    exported = _decode_event(line)
    raw = exported.entry.encode()
    entry = entries.decode(raw)
    checkpoint = verified.checkpoints.get(entry.shard)
    if checkpoint is None:
        raise InvalidProof(f"there is no checkpoint of ledger {entry.shard}")
    head = checkpoint.head
    merkle.verify_inclusion(merkle.leaf_hash(raw), entry.sequence - 1, head.size, exported.proof, head.root)
    wanted = verified.header.filters.get("correlation_id", entry.correlation_id)
    if entry.correlation_id != wanted:
        raise InvalidEntry(f"an event of another correlation, {entry.correlation_id!r}")
    if exported.event is None:
        verified.removed += 1
        return entry
    event = exported.event.encode()
    if entries.content_hash(event) != entry.content_hash:
        raise InvalidEntry("the event is not the one that the entry holds: its content hash differs")
    ids = _decode_ids(event)
    if (ids.event_id, ids.correlation_id) != (str(entry.event_id), entry.correlation_id):
        raise InvalidEntry("the event and the entry have different ids")
    verified.events += 1
    return entry


def _finish(verified: VerifiedExport, line: bytes, number: int, is_last: bool) -> None:
    try:
        footer = _decode_footer(line)
    except _INVALID as error:
        raise InvalidExport(f"line {number}: {error}") from error
    if not is_last or (footer.events, footer.removed) != (verified.events, verified.removed):
        raise InvalidExport(f"line {number}: the export had {footer.events} events and {footer.removed} removed ones")
