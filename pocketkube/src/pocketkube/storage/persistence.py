"""The objects on disk: one SQLite file in WAL mode, written in batches.

A batch is handed to the operating system before `write` returns, so a killed process loses nothing
that was acknowledged; a power cut may lose the last moments, and never damages the file.
"""

import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path

_SCHEMA = """
CREATE TABLE IF NOT EXISTS objects (
    storage TEXT NOT NULL,
    namespace TEXT NOT NULL,
    name TEXT NOT NULL,
    revision INTEGER NOT NULL,
    data BLOB NOT NULL,
    PRIMARY KEY (storage, namespace, name)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS revision (only_row INTEGER PRIMARY KEY CHECK (only_row = 1), value INTEGER NOT NULL);
INSERT OR IGNORE INTO revision VALUES (1, 0);
"""
_PUT = "INSERT OR REPLACE INTO objects (storage, namespace, name, revision, data) VALUES (?, ?, ?, ?, ?)"
_DROP = "DELETE FROM objects WHERE storage = ? AND namespace = ? AND name = ?"
_CHECKPOINT_AT = 4096  # pages, 16 MiB: rarer and larger checkpoints than SQLite's own choice

Row = tuple[str, str, str, int, bytes]
ObjectKey = tuple[str, str, str]
Write = tuple[ObjectKey, int, bytes | None]
"""Where, at which revision, and what now stands there; None when nothing does any more."""


class SqliteBackend:
    """The file; one writer, no readers after the start."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = NORMAL")
        self._connection.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_AT}")
        self._connection.executescript(_SCHEMA)

    def revision(self) -> int:
        """Return the highest revision ever written."""
        (value,) = self._connection.execute("SELECT value FROM revision").fetchone()
        return int(value)

    def rows(self) -> Iterator[Row]:
        """Go through all objects."""
        yield from self._connection.execute("SELECT storage, namespace, name, revision, data FROM objects")

    def write(self, writes: Iterable[Write], revision: int) -> None:
        """Put all writes on disk, or none of them."""
        execute = self._connection.execute
        execute("BEGIN IMMEDIATE")
        try:
            for key, written_at, data in writes:
                if data is None:
                    execute(_DROP, key)
                else:
                    execute(_PUT, (*key, written_at, data))
            execute("UPDATE revision SET value = ?", (revision,))
            execute("COMMIT")
        except sqlite3.Error:
            if self._connection.in_transaction:
                execute("ROLLBACK")
            raise

    def close(self) -> None:
        """Move everything into the main file and let go of it."""
        self._connection.close()
