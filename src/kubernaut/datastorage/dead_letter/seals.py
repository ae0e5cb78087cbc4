"""What tells a message of ours from one that somebody else put into the queue.

A seal is an HMAC over what the message says, by a secret derived from the ledger's signing key. Whoever can write to
Valkey but has not that key cannot bring an event into the ledger. Where DataStorage has no key there are no seals.
"""

import hmac

from kubernaut.datastorage.dead_letter.messages import InvalidMessage, Message
from kubernaut.datastorage.signing_keys import SigningKeys

_PURPOSE = "kubernaut dead-letter queue"

NOT_SEALED = "no DataStorage with this ledger's key has put it into the queue; replay it if you know where it is from"


class Seals:
    """Seals messages with every key of the file, so that all replicas know one while keys are rotated."""

    def __init__(self, keys: SigningKeys) -> None:
        self._keys = keys

    def seal(self, message: Message) -> Message:
        """The message with its seals."""
        return message.sealed(self._seals(message))

    def check(self, message: Message) -> None:
        """Raise InvalidMessage unless one of the keys has sealed the message; without a key nothing is checked."""
        wanted = self._seals(message)
        if wanted and not any(
            hmac.compare_digest(seal.encode(), each.encode()) for seal in message.seals for each in wanted
        ):
            raise InvalidMessage(NOT_SEALED)

    def _seals(self, message: Message) -> list[str]:
        text = f"{message.content_hash}\n{message.received_at.isoformat()}\n{message.late}".encode()
        return [hmac.digest(secret, text, "sha256").hex() for secret in self._keys.derived_secrets(_PURPOSE)]
