"""The file of the spool: SQLite in WAL mode, with one connection for the writer thread and one for readers.

Statements are few and large on purpose: SQLite lets go of Python's interpreter lock for each step and must get it back
from a busy event loop, which can take milliseconds. One step per chunk costs that once, one step per row hundreds of
times.
"""

import contextlib
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from kubernaut.audit.errors import SpoolError

OVERHEAD = 64
"""Bytes that an event takes beside its JSON text, roughly: row, index entry."""

_APPLICATION_ID = 0x6B756245
_VERSION = 1
_SCHEMA = f"""
PRAGMA application_id = {_APPLICATION_ID};
PRAGMA user_version = {_VERSION};
CREATE TABLE waiting (
    seq      INTEGER PRIMARY KEY,
    size     INTEGER NOT NULL,
    event_id BLOB NOT NULL UNIQUE,
    body     BLOB NOT NULL
);
CREATE TABLE quarantine (
    seq            INTEGER PRIMARY KEY AUTOINCREMENT,
    size           INTEGER NOT NULL,
    event_id       BLOB NOT NULL,
    body           BLOB NOT NULL,
    reason         TEXT NOT NULL,
    quarantined_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
);
"""

CHUNK_SIZES = (512, 32, 1)
_ROW = "(?, ?, ?, ?)"
_INTO = "INSERT INTO waiting (seq, size, event_id, body) VALUES "
_APPEND = {count: f"{_INTO}{', '.join([_ROW] * count)} ON CONFLICT (event_id) DO NOTHING" for count in CHUNK_SIZES}
# A re-derived event is the same to the byte, so another content under the same id is evidence of something.
_CONFLICT = """
INSERT INTO quarantine (size, event_id, body, reason)
SELECT ?, ?, ?, 'another event with this id and other content is waiting'
 WHERE EXISTS (SELECT 1 FROM waiting WHERE event_id = ? AND body <> ?)
"""
_ACK = "DELETE FROM waiting WHERE seq <= ?"
_QUARANTINE = """
INSERT INTO quarantine (size, event_id, body, reason) SELECT size, event_id, body, ? FROM waiting WHERE seq = ?
"""
_HEAD = """
WITH few AS (SELECT seq, size FROM waiting WHERE seq > ? ORDER BY seq LIMIT ?),
     fit AS (SELECT seq, size, sum(size) OVER (ORDER BY seq) AS up_to FROM few)
SELECT CAST(group_concat(fit.seq || ' ' || fit.size || ' ' || waiting.body, char(10)) AS BLOB)
  FROM fit JOIN waiting USING (seq)
 WHERE fit.up_to <= ? OR fit.up_to = fit.size
"""
MAX_WAL_BYTES = 64 * 2**20
"""Bytes to which the write-ahead log is truncated after a checkpoint."""

Row = tuple[int, int, bytes, bytes]
"""Sequence number, size, id and body of one event."""


class EncodedEvent(NamedTuple):
    """One event on its way to disk."""

    event_id: bytes
    body: bytes


class SpooledEvent(NamedTuple):
    """One event on disk; `body` is its JSON text without line breaks."""

    seq: int
    size: int
    body: bytes


class Quarantined(NamedTuple):
    """One event that the store will never take, and why."""

    event_id: bytes
    body: bytes
    reason: str
    quarantined_at: str


@dataclass
class SpoolChanges:
    """What one transaction writes; deletions come after insertions."""

    rows: list[Row] = field(default_factory=list)
    quarantine: list[tuple[str, int]] = field(default_factory=list)
    """Reason and sequence number of each event to move."""

    ack: int = 0
    """Events up to this sequence number are deleted."""


class Skipped(NamedTuple):
    """Events that were waiting already, and how many of them have other content."""

    events: int = 0
    bytes: int = 0
    conflicts: int = 0


class SpoolFile:
    """The SQLite file: one connection for the writer thread, one for readers."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._writer = _connect(path)
            self._reader = _connect(path)
            self._prepare()
            self.last, self.waiting, waiting_bytes = self._writer.execute(
                "SELECT coalesce(max(seq), 0), count(*), coalesce(sum(size), 0) FROM waiting"
            ).fetchone()
            self.quarantined, quarantined_bytes = self._writer.execute(
                "SELECT count(*), coalesce(sum(size), 0) FROM quarantine"
            ).fetchone()
        except sqlite3.Error as error:
            raise SpoolError(
                f"{path} cannot be used as a spool: {error}; move it away to start with an empty one"
            ) from error
        self.bytes: int = waiting_bytes + quarantined_bytes
        self._reading = threading.Lock()

    def _prepare(self) -> None:
        self._writer.execute("PRAGMA journal_mode = WAL")
        # FULL syncs the log with each group: a commit that was acknowledged survives a power cut.
        self._writer.execute("PRAGMA synchronous = FULL")
        self._writer.execute(f"PRAGMA journal_size_limit = {MAX_WAL_BYTES}")
        (version,) = self._writer.execute("PRAGMA user_version").fetchone()
        (tables,) = self._writer.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        (owner,) = self._writer.execute("PRAGMA application_id").fetchone()
        if not tables:
            self._writer.executescript(f"BEGIN; {_SCHEMA} COMMIT;")
        elif owner != _APPLICATION_ID:
            raise SpoolError(f"{self.path} belongs to another application; choose another directory")
        elif version != _VERSION:
            raise SpoolError(f"{self.path} is a spool of version {version}, this program reads version {_VERSION}")

    def write(self, changes: SpoolChanges) -> Skipped:
        skipped = Skipped()
        self._writer.execute("BEGIN IMMEDIATE")
        try:
            for rows in _chunks(changes.rows):
                cursor = self._writer.execute(_APPEND[len(rows)], list(chain.from_iterable(rows)))
                if cursor.rowcount != len(rows):
                    skipped = self._skipped(rows, skipped)
            self._writer.executemany(_QUARANTINE, changes.quarantine)
            if changes.ack:
                self._writer.execute(_ACK, (changes.ack,))
            self._writer.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                self._writer.execute("ROLLBACK")
            raise
        return skipped

    def _skipped(self, rows: Sequence[Row], before: Skipped) -> Skipped:
        events, size, conflicts = before
        first, last = rows[0][0], rows[-1][0]
        kept = {
            seq for (seq,) in self._writer.execute("SELECT seq FROM waiting WHERE seq BETWEEN ? AND ?", (first, last))
        }
        for seq, row_size, event_id, body in rows:
            if seq in kept:
                continue
            conflicted = self._writer.execute(_CONFLICT, (row_size, event_id, body, event_id, body)).rowcount
            events, size, conflicts = events + 1, size + row_size * (1 - conflicted), conflicts + conflicted
        return Skipped(events, size, conflicts)

    def head(self, after: int, max_events: int, max_bytes: int) -> list[SpooledEvent]:
        with self._reading:
            (text,) = self._reader.execute(_HEAD, (after, max_events, max_bytes)).fetchone()
        if text is None:
            return []
        parts = (line.split(b" ", 2) for line in text.split(b"\n"))
        # Sorted: SQLite does not promise the order of an aggregate.
        return sorted(SpooledEvent(int(seq), int(size), body) for seq, size, body in parts)

    def count(self, after: int, up_to: int) -> int:
        with self._reading:
            (count,) = self._reader.execute(
                "SELECT count(*) FROM waiting WHERE seq > ? AND seq <= ?", (after, up_to)
            ).fetchone()
        return int(count)

    def quarantined_events(self) -> list[Quarantined]:
        with self._reading:
            rows = self._reader.execute("SELECT event_id, body, reason, quarantined_at FROM quarantine ORDER BY seq")
            return [Quarantined(*row) for row in rows]

    def close(self) -> None:
        with self._reading:
            self._reader.close()
        self._writer.close()


def _connect(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, timeout=10, isolation_level=None, check_same_thread=False, cached_statements=16)


def _chunks(rows: list[Row]) -> Iterator[list[Row]]:
    """Slices of lengths for which there is a statement."""
    start = 0
    for count in CHUNK_SIZES:
        while len(rows) - start >= count:
            yield rows[start : start + count]
            start += count
