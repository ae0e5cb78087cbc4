"""The writer thread of the spool: it takes what is pending, writes it in one transaction, and syncs it once."""

import asyncio
import contextlib
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Protocol

from kubernaut.audit.spool_file import CHUNK_SIZES, Row, Skipped, SpoolChanges, SpoolFile

MAX_TRANSACTION_BYTES = 16 * 2**20
RETRY_INTERVAL = 1.0  # seconds between two attempts to write while the disk fails


class WriteObserver(Protocol):
    """Hears of each transaction, on the event loop."""

    def written(self, up_to: int, skipped: Skipped, synced: list[asyncio.Future[None]]) -> None: ...

    def write_failed(self, reason: str) -> None: ...


@dataclass
class _Pending(SpoolChanges):
    synced: list[asyncio.Future[None]] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.rows or self.quarantine or self.ack or self.synced)


class SpoolWriter:
    """Writes in the order of the calls. Every method but `join` returns at once."""

    def __init__(self, file: SpoolFile, observer: WriteObserver) -> None:
        self._file = file
        self._observer = observer
        self._loop = asyncio.get_running_loop()
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._pending = _Pending()
        self._is_waking = False
        self._thread = threading.Thread(target=self._run, name="audit-spool", daemon=True)
        self._thread.start()

    def append(self, rows: Sequence[Row]) -> None:
        """Insert events."""
        with self._lock:
            self._pending.rows.extend(rows)
            is_full = len(self._pending.rows) > CHUNK_SIZES[0]
        # Waking a thread takes longer than appending, so it is done once for whatever this turn of the loop appends; a
        # caller that appends thousands in one turn must not keep the writer waiting, though.
        if is_full:
            self._wake.set()
        elif not self._is_waking:
            self._is_waking = True
            self._loop.call_soon(self._wake_up)

    def ack(self, up_to: int) -> None:
        """Delete the events up to that number."""
        with self._lock:
            self._pending.ack = up_to
        self._wake.set()

    def quarantine(self, seq: int, reason: str) -> None:
        """Move an event to the quarantine, and ack it, in one transaction."""
        with self._lock:
            self._pending.quarantine.append((reason, seq))
            self._pending.ack = seq
        self._wake.set()

    def sync(self) -> asyncio.Future[None]:
        """Done when everything that was asked for so far is on disk."""
        future: asyncio.Future[None] = self._loop.create_future()
        with self._lock:
            self._pending.synced.append(future)
        self._wake.set()
        return future

    def close(self) -> None:
        """Write what is pending, and end."""
        self._closing.set()
        self._wake.set()

    def join(self) -> int:
        """Wait for the end; how many events could not be written."""
        self._thread.join()
        return len(self._pending.rows)

    def _wake_up(self) -> None:
        self._is_waking = False
        self._wake.set()

    def _run(self) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()
            with self._lock:
                pending, self._pending = self._pending, _Pending()
            if pending and not self._write(pending):
                if self._closing.is_set():
                    return
                self._closing.wait(RETRY_INTERVAL)
                self._wake.set()
            if self._closing.is_set() and not self._wake.is_set():
                return

    def _write(self, pending: _Pending) -> bool:
        """Write it all, in transactions that are not too large; on failure, put back what is left."""
        groups = list(_groups(pending.rows))
        for index, rows in enumerate(groups):
            is_last = index == len(groups) - 1
            changes = SpoolChanges(rows, pending.quarantine, pending.ack) if is_last else SpoolChanges(rows)
            try:
                skipped = self._file.write(changes)
            except sqlite3.Error as error:
                with self._lock:
                    self._pending.rows[:0] = chain.from_iterable(groups[index:])
                    self._pending.quarantine[:0] = pending.quarantine
                    self._pending.ack = max(self._pending.ack, pending.ack)
                    self._pending.synced[:0] = pending.synced
                self._report(self._observer.write_failed, f"{error}")
                return False
            synced = pending.synced if is_last else []
            self._report(self._observer.written, rows[-1][0] if rows else 0, skipped, synced)
        return True

    def _report(self, callback: Callable[..., None], *arguments: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed, and nobody waits for the report
            self._loop.call_soon_threadsafe(callback, *arguments)


def _groups(rows: list[Row]) -> Iterator[list[Row]]:
    """Slices of at most so many bytes; one empty slice when there are no rows."""
    start, size = 0, 0
    for index, row in enumerate(rows):
        size += row[1]
        if size > MAX_TRANSACTION_BYTES and index > start:
            yield rows[start:index]
            start, size = index, row[1]
    yield rows[start:]
