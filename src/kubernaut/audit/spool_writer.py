"""The writer thread of the spool: it takes what is pending, writes it, and syncs it once."""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Protocol

from kubernaut.audit.spool_file import Row, SpoolChanges, SpoolFile
from kubernaut.audit.spool_survey import Quarantined

MAX_WRITE_BYTES = 4 * 2**20  # in one write, which succeeds or fails as a whole
WAKE_ROWS = 512  # as many do not wait for the end of the loop's turn
RETRY_INTERVAL = 1.0  # seconds between two attempts to write while the disk fails


class WriteObserver(Protocol):
    """Hears of each write, on the event loop."""

    def written(self, up_to: int, synced: list[asyncio.Future[None]]) -> None: ...

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
        """Write events."""
        with self._lock:
            self._pending.rows.extend(rows)
            is_full = len(self._pending.rows) > WAKE_ROWS
        # Waking a thread takes longer than appending, so it is done once for whatever this turn of the loop appends; a
        # caller that appends thousands in one turn must not keep the writer waiting, though.
        if is_full:
            self._wake.set()
        elif not self._is_waking:
            self._is_waking = True
            self._loop.call_soon(self._wake_up)

    def ack(self, up_to: int) -> None:
        """The events up to that number are done with."""
        with self._lock:
            self._pending.ack = up_to
        self._wake.set()

    def quarantine(self, entry: Quarantined, ack: int = 0) -> None:
        """Write an event to the quarantine; then the events up to `ack` are done with."""
        with self._lock:
            self._pending.quarantine.append(entry)
            self._pending.ack = max(self._pending.ack, ack)
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
        """Write it all, in pieces that are not too large; on failure, put back what is left."""
        groups = list(_groups(pending.rows))
        # Acks first: they make room for the rest.
        changes = SpoolChanges(groups[0], pending.quarantine, pending.ack)
        for index, rows in enumerate(groups):
            changes.rows = rows
            try:
                self._file.write(changes)
            except OSError as error:
                with self._lock:
                    self._pending.rows[:0] = chain.from_iterable(groups[index:])
                    self._pending.quarantine[:0] = changes.quarantine
                    self._pending.ack = max(self._pending.ack, pending.ack)
                    self._pending.synced[:0] = pending.synced
                self._report(self._observer.write_failed, error.strerror or f"{error}")
                return False
            synced = pending.synced if index == len(groups) - 1 else []
            self._report(self._observer.written, rows[-1].seq if rows else 0, synced)
        return True

    def _report(self, callback: Callable[..., None], *arguments: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed, and nobody waits for the report
            self._loop.call_soon_threadsafe(callback, *arguments)


def _groups(rows: list[Row]) -> Iterator[list[Row]]:
    """Slices of at most so many bytes; one empty slice when there are no rows."""
    start, size = 0, 0
    for index, row in enumerate(rows):
        size += len(row.body)
        if size > MAX_WRITE_BYTES and index > start:
            yield rows[start:index]
            start, size = index, len(row.body)
    yield rows[start:]
