"""An admitted event as a message of the queue, and back; pure.

The envelope has the names of the Go project. The payload is the canonical event, so that what is stored later is to the
byte what was acknowledged; its content hash says so.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

import msgspec

from kubernaut.datastorage import chain, intake
from kubernaut.datastorage.chain import Entry
from kubernaut.ops.http.problems import RequestRejected
from kubernaut.ops.json_faults import JSON_FAULTS


class InvalidMessage(ValueError):
    """A message that holds no event as we write them; says why."""


class Message(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The value of the field `message` of a stream entry."""

    type: Literal["audit_event"] = "audit_event"
    payload: chain.Event
    timestamp: datetime
    """When it was put into the queue."""

    retry_count: int = 0
    last_error: str = ""
    received_at: datetime
    late: bool
    content_hash: str
    if_absent: bool = False
    seals: tuple[str, ...] = ()
    """Proofs that a DataStorage with the ledger's key has made the message: `dead_letter/seals.py`."""

    def sealed(self, seals: Sequence[str]) -> "Message":
        """The message with these seals."""
        return msgspec.structs.replace(self, seals=tuple(seals))

    def entry(self) -> Entry:
        """The event as it was admitted. Raises InvalidMessage when it would not be admitted like that.

        Without a signing key, whoever can write to Valkey can make a message with a fitting hash; but not one that
        says what no client may say, such as that events were removed by order.
        """
        if chain.content_hash(self.payload).hex() != self.content_hash:
            raise InvalidMessage("the content differs from its hash")
        try:
            admitted = intake.admit_one(chain.canonical(self.payload), self.received_at)
        except RequestRejected as error:
            raise InvalidMessage(f"the event is not admitted: {error}") from error
        if (admitted.event, admitted.late) != (self.payload, self.late):
            raise InvalidMessage("the event is not as it is admitted")
        return msgspec.structs.replace(admitted, if_absent=self.if_absent)


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Message).decode


def of(entry: Entry, now: datetime) -> Message:
    """The message of an event, not sealed."""
    return Message(
        payload=entry.event,
        timestamp=now,
        received_at=entry.received_at,
        late=entry.late,
        content_hash=entry.content_hash.hex(),
        if_absent=entry.if_absent,
    )


def encode(message: Message) -> bytes:
    """The message as Valkey keeps it."""
    return _encode(message)


def decode(message: bytes) -> Message:
    """The message. Raises InvalidMessage."""
    try:
        return _decode(message)
    except JSON_FAULTS as error:
        raise InvalidMessage(str(error)) from error


def retried(message: Message, reason: str) -> bytes:
    """The same message for one more attempt."""
    return _encode(msgspec.structs.replace(message, retry_count=message.retry_count + 1, last_error=reason))
