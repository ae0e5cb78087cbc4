"""Receipts: one event, its ledger entry, and a proof that a signed log holds it; checked without us; pure.

A receipt is believed in four steps, each a published format: the checkpoint at the end of `proof` is signed by the
log's key, the proof leads from the entry to its root, the entry holds the hash of the event, and the ids agree.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import msgspec

from kubernaut.api.ledger import checkpoints, entries, proofs
from kubernaut.api.ledger.checkpoints import Checkpoint, CheckpointError
from kubernaut.api.ledger.entries import InvalidEntry, LedgerEntry
from kubernaut.api.ledger.merkle import InvalidProof
from kubernaut.api.ledger.notes import Verifier


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """What `GET /api/v1/audit/events/{id}/receipt` answers; texts, because their bytes are what was hashed."""

    event: str
    """The event in canonical JSON."""
    entry: str
    """Its ledger entry in canonical JSON."""
    proof: str
    """The inclusion proof of the entry with a signed checkpoint, as C2SP tlog-proof."""


class InvalidReceipt(ValueError):
    """A receipt that proves nothing; says which of its parts is wrong."""


@dataclass(frozen=True, kw_only=True)
class VerifiedReceipt:
    """What a receipt proves."""

    entry: LedgerEntry
    checkpoint: Checkpoint


_decode = msgspec.json.Decoder(Receipt).decode


class _EventIds(msgspec.Struct, frozen=True):
    event_id: str
    correlation_id: str


_decode_ids = msgspec.json.Decoder(_EventIds).decode


def parse(document: bytes) -> Receipt:
    """A receipt from its JSON. Raises InvalidReceipt."""
    try:
        return _decode(document)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidReceipt(f"not a receipt: {error}") from error


def verify(
    receipt: Receipt, keys: Iterable[Verifier], *, witnesses: Iterable[Verifier] = (), quorum: int = 0
) -> VerifiedReceipt:
    """What the receipt proves to somebody who trusts these keys. Raises InvalidReceipt."""
    try:
        proof = proofs.parse(receipt.proof)
        checkpoint = checkpoints.verify(str(proof.checkpoint), keys, witnesses=witnesses, quorum=quorum)
        entry = entries.decode(receipt.entry.encode())
        proof.verify(receipt.entry.encode())
    except CheckpointError as error:
        raise InvalidReceipt(f"the checkpoint: {error}") from error
    except InvalidProof as error:
        raise InvalidReceipt(f"the proof: {error}") from error
    except (InvalidEntry, UnicodeEncodeError) as error:
        raise InvalidReceipt(f"the entry: {error}") from error
    if proof.index != entry.sequence - 1:
        raise InvalidReceipt(f"the entry says sequence {entry.sequence}, the proof is of leaf {proof.index}")
    try:
        event = receipt.event.encode()
        ids = _decode_ids(event)
    except (msgspec.MsgspecError, UnicodeEncodeError, RecursionError) as error:
        raise InvalidReceipt(f"the event: {error}") from error
    if entries.content_hash(event) != entry.content_hash:
        raise InvalidReceipt("the event is not the one that the entry holds: its content hash differs")
    if (ids.event_id, ids.correlation_id) != (str(entry.event_id), entry.correlation_id):
        raise InvalidReceipt("the event and the entry have different ids")
    return VerifiedReceipt(entry=entry, checkpoint=checkpoint)
