"""What an operator does with dead letters, each step recorded in the ledger before it is done.

An event that was acknowledged and is dropped is gone; that somebody dropped it is not. The record is committed first:
where Valkey fails then, the ledger says more than was done, and the letters are still there to be asked for again.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256

from kubernaut.datastorage import lifecycle_transaction, operations
from kubernaut.datastorage.config import DatabaseConfig
from kubernaut.datastorage.dead_letter import messages
from kubernaut.datastorage.dead_letter.messages import InvalidMessage
from kubernaut.datastorage.dead_letter.seals import Seals
from kubernaut.datastorage.dead_letter.stream import DeadLetter, DeadLetterStream
from kubernaut.datastorage.operations import LetterChange, LetterRecord, Operation, OperationType
from kubernaut.datastorage.retention import utc_now

MAX_LETTERS = 100
"""Letters that one ledger event names."""

MAX_REASON = 500
"""Characters of a letter's reason that are recorded."""


@dataclass(frozen=True, kw_only=True)
class DeadLetterOperator:
    """The steps of one person. Each raises DatabaseUnavailable, CannotStart or QueueUnavailable."""

    stream: DeadLetterStream
    database: DatabaseConfig
    seals: Seals
    actor_id: str
    clock: Callable[[], datetime] = utc_now

    async def replay(self, letters: Sequence[DeadLetter]) -> list[bool]:
        """Put dead letters back into the queue; False for those that are no longer there."""
        await self._record(OperationType.DEAD_LETTERS_REPLAYED, letters)
        return [await self.stream.replay(letter, self._sealed(letter)) for letter in letters]

    async def drop(self, letters: Sequence[DeadLetter]) -> list[bool]:
        """Delete dead letters for good; False for those that are no longer there."""
        await self._record(OperationType.DEAD_LETTERS_DROPPED, letters)
        return [await self.stream.drop(letter) for letter in letters]

    def _sealed(self, letter: DeadLetter) -> bytes:
        """The message as if we had made it: whoever has the configuration vouches for it."""
        try:
            return messages.encode(self.seals.seal(messages.decode(letter.message)))
        except InvalidMessage:
            return letter.message

    async def _record(self, type: OperationType, letters: Sequence[DeadLetter]) -> None:
        now = self.clock()
        operation = Operation(
            type=type,
            correlation_id=f"datastorage-dead-letters-{now:%Y-%m}",
            time=now,
            actor_id=self.actor_id,
            actor_type="user",
        )
        async with (
            lifecycle_transaction.open_connection(self.database) as connection,
            lifecycle_transaction.open_transaction(connection, operation) as transaction,
        ):
            for first in range(0, len(letters), MAX_LETTERS):
                part = letters[first : first + MAX_LETTERS]
                data = LetterChange(event_type=type, count=len(part), letters=[_record_of(letter) for letter in part])
                transaction.record(operations.entry(operation, data, identity=f"{part[0].id}\n{now.isoformat()}"))


def _record_of(letter: DeadLetter) -> LetterRecord:
    digest = sha256(letter.message).hexdigest()
    reason = letter.reason.replace("\0", "")[:MAX_REASON]
    try:
        event = messages.decode(letter.message).payload
    except InvalidMessage:
        return LetterRecord(id=letter.id, message_sha256=digest, reason=reason)
    return LetterRecord(
        id=letter.id,
        message_sha256=digest,
        reason=reason,
        event_id=event.event_id,
        event_type=event.event_type.replace("\0", ""),
        correlation_id=event.correlation_id.replace("\0", ""),
    )
