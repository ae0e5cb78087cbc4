"""Events that wait on disk for the store, in the order in which they were recorded.

`append()` only puts the events on a list: the event loop never waits for a disk. One writer thread takes whatever is on
that list, writes it in one transaction and syncs it once (group commit), so that a thousand events cost about as much
as one. The file is SQLite in WAL mode with `synchronous=FULL`: what `committed()` acknowledged survives a killed
process and a power cut, provided the disk honours fsync.
"""

import asyncio
import contextlib
import fcntl
import os
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import structlog

from kubernaut.audit.config import SpoolConfig
from kubernaut.audit.errors import SpoolError, SpoolFull, SpoolLocked, StoreClosed
from kubernaut.audit.spool_file import OVERHEAD, EncodedEvent, Quarantined, Skipped, SpooledEvent, SpoolFile
from kubernaut.audit.spool_writer import SpoolWriter

log = structlog.get_logger("audit-store")


class Spool:
    """The events of this process that are not delivered yet. Use it from the event loop that opened it."""

    def __init__(self, config: SpoolConfig, file: SpoolFile) -> None:
        self._config = config
        self._file = file
        self._loop = asyncio.get_running_loop()
        self._pid = os.getpid()
        self._writer = SpoolWriter(file, self)
        self._last: int = file.last
        self._committed: int = file.last
        self._acked = 0
        self._waiters: list[tuple[int, asyncio.Future[None]]] = []
        self._is_closed = False
        self.disk_error = ""
        """Why the disk takes nothing at the moment; empty when it does."""
        self.waiting: int = file.waiting
        self.quarantined: int = file.quarantined
        self.bytes: int = file.bytes
        self.on_commit: Callable[[], None] = lambda: None
        """Called on the event loop after each transaction."""

    @property
    def last(self) -> int:
        """Number of the newest event that was appended."""
        return self._last

    @property
    def acked_seq(self) -> int:
        """Number of the newest event that was acknowledged; everything after it waits."""
        return self._acked

    def append(self, events: Sequence[EncodedEvent]) -> int:
        """Take events in order, all or none, and return the number of the last one.

        They are on disk once `committed()` returns. Raises SpoolFull and StoreClosed.
        """
        if self._is_closed or os.getpid() != self._pid:
            reason = "is closed" if self._is_closed else "belongs to the process that this one was forked from"
            raise StoreClosed(f"the audit store {reason}")
        if self.disk_error:
            raise SpoolFull(f"{self._file.path} cannot be written: {self.disk_error}")
        seq, total = self._last, 0
        rows = []
        for event_id, body in events:
            seq += 1
            size = len(body) + OVERHEAD
            total += size
            rows.append((seq, size, event_id, body))
        if self.bytes + total > self._config.max_bytes:
            raise SpoolFull(
                f"{self._file.path} is full: {self.bytes} of {self._config.max_bytes} bytes wait for DataStorage; "
                "check why DataStorage accepts no events, or raise spool.maxBytes"
            )
        self._last = seq
        self.bytes += total
        self.waiting += len(rows)
        self._writer.append(rows)
        return seq

    async def committed(self, up_to: int | None = None) -> None:
        """Wait until everything appended so far, or up to that number, is on disk.

        Raises SpoolFull when the disk fails; the events are kept and written as soon as it is writable again.
        """
        up_to = self._last if up_to is None else up_to
        if self._committed >= up_to:
            return
        future: asyncio.Future[None] = self._loop.create_future()
        self._waiters.append((up_to, future))
        await future

    async def head(self, max_events: int, max_bytes: int) -> list[SpooledEvent]:
        """The oldest events that wait on disk, in order: at most so many, and so many bytes unless one is larger."""
        return await asyncio.to_thread(self._file.head, self._acked, max_events, max_bytes)

    def ack(self, up_to: int, count: int, size: int) -> None:
        """The store has every event up to that number: `count` events of `size` bytes. They leave with the next write.

        After a crash before that write they are sent once more, and the store keeps one.
        """
        self._acked = up_to
        self.waiting -= count
        self.bytes -= size
        self._writer.ack(up_to)

    def quarantine(self, event: SpooledEvent, reason: str) -> None:
        """Move the oldest event to the quarantine for good; it stays on disk, and counts as bytes."""
        self._acked = event.seq
        self.waiting -= 1
        self.quarantined += 1
        self._writer.quarantine(event.seq, reason)

    async def undelivered(self, up_to: int) -> int:
        """How many events up to that number wait."""
        on_disk = await asyncio.to_thread(self._file.count, self._acked, up_to)
        return on_disk + max(0, up_to - self._committed)

    async def synced(self) -> None:
        """Wait until all of it is on disk, acks and quarantined events too."""
        await self._writer.sync()

    async def quarantined_events(self) -> list[Quarantined]:
        """Every event in quarantine, oldest first."""
        await self.synced()
        return await asyncio.to_thread(self._file.quarantined_events)

    async def aclose(self) -> None:
        """Write what is left and end; raises SpoolError when the disk does not take it."""
        self._is_closed = True
        self._writer.close()
        try:
            await asyncio.to_thread(self._writer.join)
        finally:
            lost = self._writer.join()  # when cancelled: the file must not be closed under the writer
            self._file.close()
        if lost:
            raise SpoolError(f"{lost} audit events were lost, {self._file.path} cannot be written: {self.disk_error}")

    def written(self, up_to: int, skipped: Skipped, synced: list[asyncio.Future[None]]) -> None:
        """A transaction was committed; the writer reports it on the event loop."""
        if self.disk_error:
            log.info("Audit spool writable again", path=str(self._file.path))
        self.disk_error = ""
        self._committed = max(self._committed, up_to)
        self.waiting -= skipped.events
        self.bytes -= skipped.bytes
        self.quarantined += skipped.conflicts
        ready = [*synced, *(future for seq, future in self._waiters if seq <= self._committed)]
        self._waiters = [(seq, future) for seq, future in self._waiters if seq > self._committed]
        for future in ready:
            if not future.done():
                future.set_result(None)
        self.on_commit()

    def write_failed(self, reason: str) -> None:
        """A transaction failed, and will be tried again; the writer reports it on the event loop."""
        if not self.disk_error:
            log.error("Audit spool write failed", path=str(self._file.path), error=reason)
        self.disk_error = reason
        waiters, self._waiters = self._waiters, []
        for _, future in waiters:
            if not future.done():
                future.set_exception(SpoolFull(f"{self._file.path} cannot be written: {reason}"))


@asynccontextmanager
async def open_spool(config: SpoolConfig) -> AsyncIterator[Spool]:
    """The spool of this process. Raises SpoolLocked when another one has it open, SpoolError when it is unusable.

    At the end, everything appended is on disk; SpoolError says how many events are not.
    """
    with _locked(config.directory):
        file = await asyncio.to_thread(SpoolFile, config.directory / "spool.sqlite3")
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
