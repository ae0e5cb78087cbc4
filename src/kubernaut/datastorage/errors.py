"""What can go wrong in DataStorage, as far as somebody reacts to it."""

from uuid import UUID


class DataStorageError(Exception):
    """Anything that DataStorage reports; the message says what to do."""


class CannotStart(DataStorageError):
    """Retrying does not help: a wrong password, a missing database, a missing migration."""


class NotMigrated(CannotStart):
    """The database lacks a migration that this version needs."""


class EditedMigration(CannotStart):
    """An applied migration no longer has the text it was applied with."""


class DatabaseUnavailable(DataStorageError):
    """PostgreSQL does not answer; nothing was stored as far as is known, and a retry is safe."""


class QueueFull(DataStorageError):
    """Too much is waiting to be written; nothing was stored."""


class EventConflict(DataStorageError):
    """An event with this id and other content is in the ledger; the attempt is kept as evidence."""

    def __init__(self, index: int, event_id: UUID) -> None:
        super().__init__(f"event at index {index}: {event_id} is stored with other content")
        self.index = index
        self.event_id = event_id


class ParentMissing(DataStorageError):
    """The parent that an event names is neither stored nor in the same batch."""

    def __init__(self, index: int, parent: UUID) -> None:
        super().__init__(f"event at index {index}: parent event {parent} does not exist")
        self.index = index
        self.parent = parent
