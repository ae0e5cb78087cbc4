"""What can go wrong with the dead-letter queue."""

from kubernaut.datastorage.errors import CannotStart, DataStorageError, Reason


class QueueUnavailable(DataStorageError):
    """Valkey does not answer, or not as it must; whether a write took place is unknown, and a retry is safe."""

    reason = Reason.DEAD_LETTER_QUEUE_UNREACHABLE


class CapacityExceeded(DataStorageError):
    """The queue holds as much as it may; nothing was added, and nothing is ever evicted."""

    reason = Reason.DEAD_LETTER_QUEUE_FULL


class NotDurable(CannotStart):
    """Valkey is configured so that it could lose what it has acknowledged."""

    def __init__(self, message: str) -> None:
        super().__init__(message, Reason.DEAD_LETTER_QUEUE_NOT_DURABLE)
