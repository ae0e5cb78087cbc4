"""Events that wait on disk for the store, in the order in which they were recorded.

`append()` only puts the events on a list: the event loop never waits for a disk. One writer thread takes whatever is on
that list, writes it in one transaction and syncs it once (group commit), so that a thousand events cost about as much
as one. The file is SQLite in WAL mode with `synchronous=FULL`: what `committed()` acknowledged survives a killed
process and a power cut, provided the disk honours fsync.

Statements are few and large on purpose: SQLite lets go of Python's interpreter lock for each step and must get it back
from a busy event loop, which can take milliseconds. One step per chunk costs that once, one step per row hundreds of
times.
"""

import asyncio
import contextlib
import fcntl
import os
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import structlog

from kubernaut.audit.config import SpoolConfig
from kubernaut.audit.errors import SpoolError, SpoolFull, SpoolLocked, StoreClosed

log = structlog.get_logger("audit-store")

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

_CHUNKS = (512, 32, 1)
_ROW = "(?, ?, ?, ?)"
_INTO = "INSERT INTO waiting (seq, size, event_id, body) VALUES "
_APPEND = {count: f"{_INTO}{', '.join([_ROW] * count)} ON CONFLICT (event_id) DO NOTHING" for count in _CHUNKS}
# A re-derived event is the same to the byte, so another content under the same id is evidence of something.
_CLASH = """
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
_GROUP_BYTES = 16 * 2**20
_AGAIN_AFTER = 1.0  # seconds between two tries to write, when the disk refuses


class Entry(NamedTuple):
    """One event on its way to disk."""

    event_id: bytes
    body: bytes


class Waiting(NamedTuple):
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
class _Work:
    """What the writer thread has to do next; deletions come after insertions of the same transaction."""

    rows: list[tuple[int, int, bytes, bytes]] = field(default_factory=list)
    poison: list[tuple[str, int]] = field(default_factory=list)
    ack: int = 0
    synced: list[asyncio.Future[None]] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.rows or self.poison or self.ack or self.synced)


class Spool:
    """The events of this process that are not delivered yet. Use it from the event loop that opened it."""

    def __init__(self, config: SpoolConfig, file: "_File") -> None:
        self._config = config
        self._file = file
        self._loop = asyncio.get_running_loop()
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._work = _Work()
        self._thread = threading.Thread(target=self._write, name="audit-spool", daemon=True)
        self._last: int = file.last
        self._committed: int = file.last
        self._forgotten = 0
        self._waiters: list[tuple[int, asyncio.Future[None]]] = []
        self._is_closed = False
        self._is_waking = False
        self.disk_error = ""
        """Why the disk takes nothing at the moment; empty when it does."""
        self.waiting: int = file.waiting
        self.quarantined: int = file.quarantined
        self.bytes: int = file.bytes
        self.on_commit: Callable[[], None] = lambda: None
        """Called on the event loop after each transaction."""
        self._thread.start()

    @property
    def last(self) -> int:
        """Number of the newest event that was appended."""
        return self._last

    @property
    def acked_seq(self) -> int:
        """Number of the newest event that was forgotten; everything after it waits."""
        return self._forgotten

    def append(self, entries: Sequence[Entry]) -> int:
        """Take events in order, all or none, and return the number of the last one.

        They are on disk once `committed()` returns. Raises SpoolFull and StoreClosed.
        """
        if self._is_closed or os.getpid() != self._pid:
            raise StoreClosed(
                "the audit store is closed" if self._is_closed else "the audit store is another process's"
            )
        if self.disk_error:
            raise SpoolFull(f"{self._file.path} cannot be written: {self.disk_error}")
        seq, total = self._last, 0
        rows = []
        for event_id, body in entries:
            seq += 1
            size = len(body) + OVERHEAD
            total += size
            rows.append((seq, size, event_id, body))
        if self.bytes + total > self._config.max_bytes:
            raise SpoolFull(
                f"{self._file.path} is full: {self.bytes} of {self._config.max_bytes} bytes wait for DataStorage; "
                "see why it takes none, or raise spool.maxBytes"
            )
        self._last = seq
        self.bytes += total
        self.waiting += len(rows)
        with self._lock:
            self._work.rows.extend(rows)
            many = len(self._work.rows) > _CHUNKS[0]
        # Waking a thread takes longer than all of the above, so it is done once for whatever this turn of the loop
        # appends; a caller that appends thousands in one turn must not keep the writer waiting, though.
        if many:
            self._wake.set()
        elif not self._is_waking:
            self._is_waking = True
            self._loop.call_soon(self._wake_up)
        return seq

    def _wake_up(self) -> None:
        self._is_waking = False
        self._wake.set()

    async def committed(self, up_to: int | None = None) -> None:
        """Wait until everything appended so far, or up to that number, is on disk.

        Raises SpoolFull when the disk refuses; the events are kept and written as soon as it takes them again.
        """
        up_to = self._last if up_to is None else up_to
        if self._committed >= up_to:
            return
        future: asyncio.Future[None] = self._loop.create_future()
        self._waiters.append((up_to, future))
        await future

    async def head(self, most: int, max_bytes: int) -> list[Waiting]:
        """The oldest events that wait on disk, in order: at most so many, and so many bytes unless one is larger."""
        return await asyncio.to_thread(self._file.head, self._forgotten, most, max_bytes)

    def ack(self, up_to: int, count: int, size: int) -> None:
        """The store has every event up to that number: `count` events of `size` bytes. They leave with the next write.

        After a crash before that write they are sent once more, and the store keeps one.
        """
        self._forgotten = up_to
        self.waiting -= count
        self.bytes -= size
        with self._lock:
            self._work.ack = up_to
        self._wake.set()

    def quarantine(self, event: Waiting, reason: str) -> None:
        """Set the oldest event aside for good; it keeps its place on disk, and counts as bytes."""
        with self._lock:
            self._work.poison.append((reason, event.seq))
        self.quarantined += 1
        self.ack(event.seq, 1, 0)

    async def undelivered(self, up_to: int) -> int:
        """How many events up to that number wait."""
        on_disk = await asyncio.to_thread(self._file.count, self._forgotten, up_to)
        return on_disk + max(0, up_to - self._committed)

    async def synced(self) -> None:
        """Wait until all of it is on disk, what was forgotten and set aside too."""
        future: asyncio.Future[None] = self._loop.create_future()
        with self._lock:
            self._work.synced.append(future)
        self._wake.set()
        await future

    async def quarantined_events(self) -> list[Quarantined]:
        """Every event that was set aside, oldest first."""
        await self.synced()
        return await asyncio.to_thread(self._file.quarantined_events)

    async def aclose(self) -> None:
        """Write what is left and end; raises SpoolError when the disk does not take it."""
        self._is_closed = True
        self._closing.set()
        self._wake.set()
        try:
            await asyncio.to_thread(self._thread.join)
        finally:
            self._thread.join()  # when cancelled: the file must not be closed under the writer
            self._file.close()
        lost = len(self._work.rows)
        if lost:
            raise SpoolError(f"{lost} audit events were lost, {self._file.path} cannot be written: {self.disk_error}")

    # The writer thread

    def _write(self) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()
            with self._lock:
                work, self._work = self._work, _Work()
            if work and not self._written(work):
                if self._closing.is_set():
                    return
                self._closing.wait(_AGAIN_AFTER)
                self._wake.set()
            if self._closing.is_set() and not self._wake.is_set():
                return

    def _written(self, work: _Work) -> bool:
        """Write it all, in transactions that are not too large; on failure, put back what is left."""
        groups = list(_groups(work.rows))
        for index, rows in enumerate(groups):
            part = replace(work, rows=rows) if index == len(groups) - 1 else _Work(rows)
            try:
                skipped = self._file.write(part)
            except sqlite3.Error as error:
                with self._lock:
                    self._work.rows[:0] = chain.from_iterable(groups[index:])
                    self._work.poison[:0] = work.poison
                    self._work.ack = max(self._work.ack, work.ack)
                    self._work.synced[:0] = work.synced
                self._tell(self._failed, f"{error}")
                return False
            self._tell(self._done, rows[-1][0] if rows else 0, skipped, part.synced)
        return True

    def _tell(self, what: Callable[..., None], *arguments: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is gone, and nobody is left to be told
            self._loop.call_soon_threadsafe(what, *arguments)

    # Its reports, on the event loop

    def _done(self, up_to: int, skipped: "_Skipped", synced: list[asyncio.Future[None]]) -> None:
        if self.disk_error:
            log.info("Audit spool writable again", path=str(self._file.path))
        self.disk_error = ""
        self._committed = max(self._committed, up_to)
        self.waiting -= skipped.events
        self.bytes -= skipped.bytes
        self.quarantined += skipped.clashes
        ready = [*synced, *(future for seq, future in self._waiters if seq <= self._committed)]
        self._waiters = [(seq, future) for seq, future in self._waiters if seq > self._committed]
        for future in ready:
            if not future.done():
                future.set_result(None)
        self.on_commit()

    def _failed(self, reason: str) -> None:
        if not self.disk_error:
            log.error("Audit spool write failed", path=str(self._file.path), error=reason)
        self.disk_error = reason
        waiters, self._waiters = self._waiters, []
        for _, future in waiters:
            if not future.done():
                future.set_exception(SpoolFull(f"{self._file.path} cannot be written: {reason}"))


class _Skipped(NamedTuple):
    """Events that were waiting already, and those of them that differ from the one that waits."""

    events: int = 0
    bytes: int = 0
    clashes: int = 0


class _File:
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
            self.quarantined, set_aside = self._writer.execute(
                "SELECT count(*), coalesce(sum(size), 0) FROM quarantine"
            ).fetchone()
        except sqlite3.Error as error:
            raise SpoolError(
                f"{path} cannot be used as a spool: {error}; move it away to start with an empty one"
            ) from error
        self.bytes: int = waiting_bytes + set_aside
        self._reading = threading.Lock()

    def _prepare(self) -> None:
        self._writer.execute("PRAGMA journal_mode = WAL")
        # FULL syncs the log with each group: a commit that was acknowledged survives a power cut.
        self._writer.execute("PRAGMA synchronous = FULL")
        self._writer.execute(f"PRAGMA journal_size_limit = {4 * _GROUP_BYTES}")
        (version,) = self._writer.execute("PRAGMA user_version").fetchone()
        (tables,) = self._writer.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        (owner,) = self._writer.execute("PRAGMA application_id").fetchone()
        if not tables:
            self._writer.executescript(f"BEGIN; {_SCHEMA} COMMIT;")
        elif owner != _APPLICATION_ID:
            raise SpoolError(f"{self.path} is a database of something else; choose another directory")
        elif version != _VERSION:
            raise SpoolError(f"{self.path} is a spool of version {version}, this program reads version {_VERSION}")

    def write(self, work: _Work) -> _Skipped:
        skipped = _Skipped()
        self._writer.execute("BEGIN IMMEDIATE")
        try:
            for rows in _chunks(work.rows):
                cursor = self._writer.execute(_APPEND[len(rows)], list(chain.from_iterable(rows)))
                if cursor.rowcount != len(rows):
                    skipped = self._skipped(rows, skipped)
            self._writer.executemany(_QUARANTINE, work.poison)
            if work.ack:
                self._writer.execute(_ACK, (work.ack,))
            self._writer.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                self._writer.execute("ROLLBACK")
            raise
        return skipped

    def _skipped(self, rows: Sequence[tuple[int, int, bytes, bytes]], before: _Skipped) -> _Skipped:
        events, size, clashes = before
        first, last = rows[0][0], rows[-1][0]
        kept = {
            seq for (seq,) in self._writer.execute("SELECT seq FROM waiting WHERE seq BETWEEN ? AND ?", (first, last))
        }
        for seq, row_size, event_id, body in rows:
            if seq in kept:
                continue
            clashed = self._writer.execute(_CLASH, (row_size, event_id, body, event_id, body)).rowcount
            events, size, clashes = events + 1, size + row_size * (1 - clashed), clashes + clashed
        return _Skipped(events, size, clashes)

    def head(self, after: int, most: int, max_bytes: int) -> list[Waiting]:
        with self._reading:
            (text,) = self._reader.execute(_HEAD, (after, most, max_bytes)).fetchone()
        if text is None:
            return []
        parts = (line.split(b" ", 2) for line in text.split(b"\n"))
        # Sorted: SQLite does not promise the order of an aggregate.
        return sorted(Waiting(int(seq), int(size), body) for seq, size, body in parts)

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


@asynccontextmanager
async def open_spool(config: SpoolConfig) -> AsyncIterator[Spool]:
    """The spool of this process. Raises SpoolLocked when another one has it open, SpoolError when it is unusable.

    At the end, everything appended is on disk; SpoolError says how many events are not.
    """
    with _locked(config.directory):
        file = await asyncio.to_thread(_File, config.directory / "spool.sqlite3")
        spool = Spool(config, file)
        try:
            yield spool
        finally:
            await spool.aclose()


@contextlib.contextmanager
def _locked(directory: Path) -> Iterator[None]:
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = (directory / "lock").open("a+")
    except OSError as error:
        raise SpoolError(f"{directory} cannot be used as a spool: {error.strerror}") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.seek(0)
            raise SpoolLocked(f"{directory} is the spool of running process {lock.read().strip() or '?'}") from None
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        yield


def _connect(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, timeout=10, isolation_level=None, check_same_thread=False, cached_statements=16)


def _groups(rows: list[tuple[int, int, bytes, bytes]]) -> Iterator[list[tuple[int, int, bytes, bytes]]]:
    """Slices of at most so many bytes; one empty slice when there are no rows."""
    start, size = 0, 0
    for index, row in enumerate(rows):
        size += row[1]
        if size > _GROUP_BYTES and index > start:
            yield rows[start:index]
            start, size = index, row[1]
    yield rows[start:]


def _chunks(rows: list[tuple[int, int, bytes, bytes]]) -> Iterator[list[tuple[int, int, bytes, bytes]]]:
    """Slices of lengths for which there is a statement."""
    start = 0
    for count in _CHUNKS:
        while len(rows) - start >= count:
            yield rows[start : start + count]
            start += count
