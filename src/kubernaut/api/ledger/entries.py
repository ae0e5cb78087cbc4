"""What the log holds of one event: a ledger row as canonical bytes, whose hash is the leaf of the tree; pure.

An entry is JSON without blanks, its keys sorted, hashes in base64, times in UTC as `2026-01-31T23:59:59.000001Z` (no
fraction when it is zero). It has every column of the row; the payload is in it by its content hash. `format` says how
the content and the entry were made, so that what an older version stored still verifies:

    1   has `link_hash`, the hash chain over the ledger that came before the tree
    2   has not
"""

from datetime import datetime
from hashlib import sha256
from uuid import UUID

import msgspec

FORMAT = 2
"""The format of entries that are appended now."""


class LedgerEntry(msgspec.Struct, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """One row of the ledger. Fields are sorted; keep them so."""

    content_hash: bytes
    correlation_id: str
    event_hash: bytes
    event_id: UUID
    event_timestamp: datetime
    format: int
    late: bool
    link_hash: bytes | None = None
    previous_event_hash: bytes
    received_at: datetime
    sequence: int
    """The place in its ledger, from 1; the leaf has the index before it."""
    shard: int


class InvalidEntry(ValueError):
    """Bytes that are no entry of a ledger."""


_CONTENT = b"kubernaut.content.v1\n"


def content_hash(canonical_event: bytes) -> bytes:
    """The hash by which an entry holds its event, over the event's canonical JSON."""
    return sha256(_CONTENT + canonical_event).digest()


encode = msgspec.json.Encoder().encode
"""The canonical bytes of an entry."""

_decode = msgspec.json.Decoder(LedgerEntry).decode


def decode(entry: bytes) -> LedgerEntry:
    """An entry from its canonical bytes. Raises InvalidEntry for anything else."""
    try:
        decoded = _decode(entry)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidEntry(f"not a ledger entry: {error}") from error
    if encode(decoded) != entry:
        raise InvalidEntry("not a ledger entry in canonical form")
    return decoded
