"""What can go wrong in DataStorage, as far as somebody reacts to it."""

from enum import StrEnum
from uuid import UUID


class Reason(StrEnum):
    """Why DataStorage does not serve: one word, the same in problem documents, readiness and logs."""

    UNREACHABLE = "database_unreachable"
    AUTH_FAILED = "database_auth_failed"
    NO_CREDENTIALS = "database_credentials_unreadable"
    MISSING = "database_missing"
    PERMISSION_DENIED = "database_permission_denied"
    READ_ONLY = "database_read_only"
    LOCKED = "database_locked"
    CONNECTIONS_EXHAUSTED = "database_connections_exhausted"
    FULL = "database_full"
    TIMEOUT = "database_timeout"
    SCHEMA_CHANGED = "database_schema_changed"
    ROWS_DISCARDED = "database_rows_discarded"
    ROWS_CHANGED = "database_rows_changed"
    ERROR = "database_error"
    PARTITION_MISSING = "partition_missing"
    QUEUE_FULL = "queue_full"
    DEAD_LETTER_QUEUE_UNREACHABLE = "dead_letter_queue_unreachable"
    DEAD_LETTER_QUEUE_NOT_DURABLE = "dead_letter_queue_not_durable"
    DEAD_LETTER_QUEUE_FULL = "dead_letter_queue_full"
    STOPPING = "shutting_down"


class DataStorageError(Exception):
    """Anything that DataStorage reports; the message says what to do."""

    reason: Reason | None = None


class CannotStart(DataStorageError):
    """Retrying does not help: a wrong password, a missing database, a missing migration.

    While the service runs it does: somebody may put it right, and then it goes on.
    """

    def __init__(self, message: str, reason: Reason | None = None) -> None:
        super().__init__(message)
        self.reason = reason


class NotMigrated(CannotStart):
    """The database lacks a migration that this version needs."""


class EditedMigration(CannotStart):
    """An applied migration no longer has the text it was applied with."""


class DatabaseUnavailable(DataStorageError):
    """PostgreSQL does not answer; nothing was stored as far as is known, and a retry is safe."""

    def __init__(self, message: str, reason: Reason = Reason.UNREACHABLE) -> None:
        super().__init__(message)
        self.reason = reason


class RowsDiscarded(DatabaseUnavailable):
    """PostgreSQL reported success and stored fewer rows, as triggers that return null make it; all was rolled back."""

    def __init__(self, what: str) -> None:
        super().__init__(f"PostgreSQL {what}; look for a trigger that discards rows", Reason.ROWS_DISCARDED)


class RowsChanged(DatabaseUnavailable):
    """PostgreSQL reported success and stored something else, as triggers can make it; all was rolled back."""

    def __init__(self, what: str, objects: str) -> None:
        super().__init__(f"PostgreSQL did not store what it was sent: {what}; look at {objects}", Reason.ROWS_CHANGED)


class QueueFull(DataStorageError):
    """Too much is waiting to be written; nothing was stored."""

    reason = Reason.QUEUE_FULL


class EventConflict(DataStorageError):
    """An event with this id and other content is in the ledger; the attempt is kept as evidence."""

    def __init__(self, index: int, event_id: UUID) -> None:
        super().__init__(f"event at index {index}: {event_id} is stored with other content")
        self.index = index
        self.event_id = event_id


class PartitionMissing(DataStorageError):
    """The month of an event has no partition although the ledger has events of it: it was dropped or detached."""

    reason = Reason.PARTITION_MISSING

    def __init__(self, index: int, partition: str) -> None:
        super().__init__(
            f"event at index {index}: the partition {partition} is missing; it was dropped or detached, "
            "and events of its month are stored when it is attached again"
        )
        self.index = index
        self.partition = partition


class ParentMissing(DataStorageError):
    """The parent that an event names is neither stored nor before it in the same batch."""

    def __init__(self, index: int, parent: UUID) -> None:
        self.fault = f"parent event {parent} does not exist; it has to be stored, or to stand before it in the batch"
        super().__init__(f"event at index {index}: {self.fault}")
        self.index = index
        self.parent = parent
