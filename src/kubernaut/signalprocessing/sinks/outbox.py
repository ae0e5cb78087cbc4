"""Events that wait for a receiver, and the ids of those that need not be sent again, in one SQLite file.

Signals stay in the cluster, and every start sees them all again. What was delivered is therefore remembered, and what
had ended before a sink was first configured is none of its business. Every method blocks; one thread calls them.
"""

import sqlite3
import time
import uuid
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from kubernaut.ops.settings import SettingsError

MAX_REMEMBERED = 50_000
"""Ids of delivered events that are kept; an older one would be sent again, should its signal still be there."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (since REAL NOT NULL);
CREATE TABLE IF NOT EXISTS pending (
  id BLOB PRIMARY KEY, body BLOB NOT NULL, added REAL NOT NULL, due REAL NOT NULL, attempts INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS pending_due ON pending (due);
CREATE TABLE IF NOT EXISTS done (id BLOB PRIMARY KEY, ended REAL NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS done_ended ON done (ended);
"""


@dataclass(frozen=True, kw_only=True)
class Pending:
    """One event that waits."""

    id: uuid.UUID
    body: bytes
    added: float
    """Seconds since 1970."""
    attempts: int


class Outbox:
    """The file of one sink. Raises SettingsError when it cannot be used."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path, timeout=5, isolation_level=None, check_same_thread=False)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            self._db.executescript(_SCHEMA)
            if not self._db.execute("SELECT 1 FROM meta").fetchone():
                self._db.execute("INSERT INTO meta VALUES (?)", (time.time(),))
            self.since: float = self._db.execute("SELECT since FROM meta").fetchone()[0]
            ids = self._db.execute("SELECT id FROM pending UNION SELECT id FROM done").fetchall()
        except (OSError, sqlite3.Error) as error:
            raise SettingsError("sinkDir", str(path), f"the outbox cannot be used: {error}") from error
        self.known: set[bytes] = {each for (each,) in ids}
        """Ids that wait or were dealt with."""

    def close(self) -> None:
        self._db.close()

    def add(self, events: Iterable[tuple[uuid.UUID, bytes]]) -> None:
        """Keep events until they are delivered; on disk when this returns."""
        now = time.time()
        rows = [(each.bytes, body, now, now, 0) for each, body in events]
        with closing(self._db.cursor()) as cursor:
            cursor.execute("BEGIN")
            cursor.executemany("INSERT OR IGNORE INTO pending VALUES (?, ?, ?, ?, ?)", rows)
            cursor.execute("COMMIT")

    def due(self, now: float, limit: int, without: Iterable[uuid.UUID]) -> list[Pending]:
        """The first events whose time has come, without those that are under way."""
        excluded = {each.bytes for each in without}
        rows = self._db.execute(
            "SELECT id, body, added, attempts FROM pending WHERE due <= ? ORDER BY due LIMIT ?",
            (now, limit + len(excluded)),
        )
        found = [row for row in rows if row[0] not in excluded][:limit]
        return [Pending(id=uuid.UUID(bytes=row[0]), body=row[1], added=row[2], attempts=row[3]) for row in found]

    def next_due(self, without: Iterable[uuid.UUID]) -> float | None:
        """When the next event is due that is not under way; None when none waits."""
        excluded = {each.bytes for each in without}
        rows = self._db.execute("SELECT id, due FROM pending ORDER BY due LIMIT ?", (len(excluded) + 1,))
        return next((float(due) for each, due in rows if each not in excluded), None)

    def retry(self, event: Pending, due: float) -> None:
        self._db.execute("UPDATE pending SET due = ?, attempts = attempts + 1 WHERE id = ?", (due, event.id.bytes))

    def end(self, event: Pending) -> None:
        """The event is delivered, or given up."""
        with closing(self._db.cursor()) as cursor:
            cursor.execute("BEGIN")
            cursor.execute("DELETE FROM pending WHERE id = ?", (event.id.bytes,))
            cursor.execute("INSERT OR REPLACE INTO done VALUES (?, ?)", (event.id.bytes, time.time()))
            cursor.execute(
                "DELETE FROM done WHERE id IN (SELECT id FROM done ORDER BY ended DESC LIMIT -1 OFFSET ?)",
                (MAX_REMEMBERED,),
            )
            cursor.execute("COMMIT")

    def counts(self) -> tuple[int, float]:
        """How many events wait, and since when the oldest one does (seconds since 1970; 0 when none waits)."""
        count, oldest = self._db.execute("SELECT count(*), coalesce(min(added), 0) FROM pending").fetchone()
        return int(count), float(oldest)
