"""Events of which the tree of their ledger proves that they are what was appended."""

from typing import NamedTuple
from uuid import UUID

from kubernaut.api.ledger import merkle
from kubernaut.api.ledger.merkle import InvalidProof
from kubernaut.datastorage import chain
from kubernaut.datastorage.ledger_reader import LedgerReader, TileMissing


class ProvenEvent(NamedTuple):
    """An event and its place."""

    row: chain.Row
    event: chain.Event


async def read(reader: LedgerReader, event_id: UUID) -> ProvenEvent | str:
    """The event with this id, as far as the tree has it, or why there is none."""
    try:
        stored = await reader.event(event_id)
    except (ValueError, OverflowError) as error:
        return f"the ledger event {event_id} cannot be read: {error}"
    if stored is None or stored.payload is None:
        return f"there is no ledger event {event_id}"
    row, event = stored.row, stored.payload
    if chain.content_hash(event) != row.content_hash:
        return f"the ledger event {event_id} was changed after it was stored"
    try:
        head = await reader.head(row.shard)
        hashes = await reader.inclusion_proof(row.shard, row.sequence - 1, head.size)
        merkle.verify_inclusion(chain.leaf_hash(row), row.sequence - 1, head.size, hashes, head.root)
    except (InvalidProof, TileMissing, ValueError) as error:
        return f"the ledger event {event_id} is not in the tree: {error}"
    return ProvenEvent(row, event)
