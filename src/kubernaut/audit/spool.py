"""Events that wait on disk for the store, in the order in which they were recorded.

`append()` only puts the events on a list: the event loop never waits for a disk. One writer thread takes whatever is on
that list, appends it to the newest file and syncs it once (group commit), so that a thousand events cost about as much
as one. What `committed()` acknowledged survives a killed process and a power cut, provided the disk honours fsync.
"""

import asyncio
import builtins
import contextlib
import fcntl
import os
import time
import weakref
import zlib
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from io import FileIO
from pathlib import Path

import structlog

from kubernaut.audit.config import SpoolConfig
from kubernaut.audit.errors import SpoolError, SpoolFull, SpoolLocked, StoreClosed
from kubernaut.audit.spool_file import EncodedEvent, Position, Row, SpooledEvent, SpoolFile
from kubernaut.audit.spool_record import OVERHEAD
from kubernaut.audit.spool_survey import Gap, Quarantined, read_quarantine
from kubernaut.audit.spool_writer import SpoolWriter

log = structlog.get_logger("audit-store")

LOCK_NAME = "lock"
LOCK_ATTEMPTS = 4  # somebody may only be looking whether it is held
LOCK_RETRY_INTERVAL = 0.05  # seconds
CONFLICT_REASON = "another event with this id and other content is waiting"

Checksums = dict[bytes, int]
"""By event id, the checksum of the body."""


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
        self._acked = file.acked
        self._position: Position | None = None  # of the first event that is not acked
        found, quarantine = file.recovery.survey, file.recovery.quarantine
        self._ids = found.ids  # of what waits, with the checksum of the body
        self._quarantine_keys = {entry.key for entry in quarantine.entries}
        self._waiting_bytes = found.waiting_bytes
        self._quarantine_bytes = sum(entry.size for entry in quarantine.entries)
        self._counted_gaps_up_to = found.gaps[-1].last if found.gaps else 0
        self._postponed: set[int] = set()  # numbers of events that were recorded before those with smaller ones
        self._waiters: list[tuple[int, asyncio.Future[None]]] = []
        self._is_closed = False
        self.disk_error = ""
        """Why the disk takes nothing at the moment; empty when it does."""
        self.waiting: int = found.waiting
        self.quarantined: int = len(quarantine.entries)
        self.unreadable: int = file.recovery.lost
        """Events that this process found damaged on disk."""
        self.on_commit: Callable[[], None] = lambda: None
        """Called on the event loop after each write."""

    @property
    def bytes(self) -> int:
        """Bytes of events on disk, quarantine included."""
        return self._waiting_bytes + self._quarantine_bytes

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
        self.check_space(0)
        rows, conflicts, added = self._rows(events)
        total = sum(len(row.body) + OVERHEAD for row in rows) + sum(entry.size for entry in conflicts)
        self.check_space(total)
        for entry in conflicts:
            self._quarantine(entry)
        if rows:
            self._ids |= added
            self._last = rows[-1].seq
            self._waiting_bytes += total - sum(entry.size for entry in conflicts)
            self.waiting += len(rows)
            self._writer.append(rows)
        return self._last

    def check_space(self, size: int) -> None:
        """Raise SpoolFull when events of that many bytes could not be appended, and StoreClosed after the end."""
        self._check_owner()
        if self._is_closed:
            raise StoreClosed("the audit store is closed")
        if self.disk_error:
            raise SpoolFull(f"{self._file.directory} cannot be written: {self.disk_error}")
        if self.bytes + size > self._config.max_bytes:
            raise SpoolFull(
                f"{self._file.directory} is full: {self.bytes} of {self._config.max_bytes} bytes wait for DataStorage; "
                "check why DataStorage accepts no events, or raise spool.maxBytes"
            )

    def _rows(self, events: Sequence[EncodedEvent]) -> tuple[list[Row], list[Quarantined], Checksums]:
        """What is new among the events, those whose id waits with other content, and the ids of the new ones."""
        rows: list[Row] = []
        conflicts: list[Quarantined] = []
        added: Checksums = {}
        for event_id, body, if_absent in events:
            crc = zlib.crc32(body)
            known = self._ids.get(event_id, added.get(event_id))
            # An event that is derived again after a restart is the same to the byte, in the quarantine too.
            if known == crc or (self._quarantine_keys and (event_id, crc) in self._quarantine_keys):
                continue
            if known is not None and if_absent:
                continue
            if known is not None:
                conflicts.append(Quarantined(event_id, body, CONFLICT_REASON, _now()))
                continue
            added[event_id] = crc
            rows.append(Row(self._last + len(rows) + 1, event_id, body, crc))
        return rows, conflicts, added

    async def committed(self, up_to: int | None = None) -> None:
        """Wait until everything appended so far, or up to that number, is on disk.

        Raises SpoolFull when the disk fails; the events are kept and written as soon as it is writable again.
        """
        self._check_owner()
        up_to = self._last if up_to is None else up_to
        if self._committed >= up_to:
            return
        future: asyncio.Future[None] = self._loop.create_future()
        self._waiters.append((up_to, future))
        await future

    async def head(self, max_events: int, max_bytes: int) -> list[SpooledEvent]:
        """The oldest events that wait on disk, in order: at most so many, and so many bytes unless one is larger."""
        head = await asyncio.to_thread(self._file.head, self._acked, self._position, max_events, max_bytes)
        for gap in head.gaps:
            self._count_gap(gap)
        if head.gaps and not head.events and head.gaps[-1].last > self._acked:
            self._acked = head.gaps[-1].last
            self._writer.ack(self._acked)
        return head.events

    def _count_gap(self, gap: Gap) -> None:
        count = gap.last - max(gap.first, self._counted_gaps_up_to + 1) + 1
        if count > 0:
            self._counted_gaps_up_to = gap.last
            self.waiting -= count
            self.unreadable += count
            log.error("Audit spool damaged", path=str(self._file.directory), unreadable_count=count)

    def ack(self, events: Sequence[SpooledEvent]) -> None:
        """The store has these events, the first ones of `head()`. They leave the disk with their file.

        After a crash before that is written they are sent once more, and the store keeps one.
        """
        self._done(events)
        self._writer.ack(self._acked)

    def quarantine(self, event: SpooledEvent, reason: str) -> None:
        """Move the oldest event to the quarantine; it stays on disk, and counts as bytes."""
        self._done([event])
        self._quarantine(Quarantined(event.event_id, event.body, reason, _now()), self._acked)

    async def postpone(self, event: SpooledEvent) -> int:
        """Move the oldest event behind all others, and return its new number; SpoolFull when the disk is full."""
        self._last += 1
        seq = self._last
        self._writer.append([Row(seq, event.event_id, event.body, zlib.crc32(event.body))])
        self.waiting += 1
        self._waiting_bytes += event.size
        self._postponed.add(seq)
        # Only then may the old one go: after a crash in between it is sent twice, and the store keeps one.
        await self.committed(seq)
        checksum = self._ids.get(event.event_id)
        self.ack([event])
        if checksum is not None:
            self._ids[event.event_id] = checksum
        return seq

    def _done(self, events: Sequence[SpooledEvent]) -> None:
        for event in events:
            self._ids.pop(event.event_id, None)
            self._postponed.discard(event.seq)
            self._waiting_bytes -= event.size
        self.waiting -= len(events)
        self._acked, self._position = events[-1].seq, events[-1].end
        if not self.waiting:
            self._waiting_bytes = 0  # what was damaged cannot be subtracted one by one
            self._ids.clear()

    def _quarantine(self, entry: Quarantined, ack: int = 0) -> None:
        if entry.key in self._quarantine_keys:
            if ack:
                self._writer.ack(ack)
            return
        self._quarantine_keys.add(entry.key)
        self._quarantine_bytes += entry.size
        self.quarantined += 1
        self._writer.quarantine(entry, ack)

    def holds_any(self, event_ids: Collection[builtins.bytes]) -> bool:
        """Whether one of these events waits, or is in quarantine."""
        if any(event_id in self._ids for event_id in event_ids):
            return True
        return bool(self._quarantine_keys) and any(event_id in event_ids for event_id, _ in self._quarantine_keys)

    def undelivered(self, up_to: int) -> int:
        """How many events up to that number wait, those that were postponed since included."""
        postponed = sum(seq > up_to for seq in self._postponed)
        return max(0, self.waiting - (self._last - up_to) + postponed)

    async def synced(self) -> None:
        """Wait until all of it is on disk, acks and quarantined events too."""
        await self._writer.sync()

    async def quarantined_events(self) -> list[Quarantined]:
        """Every event in quarantine, oldest first."""
        await self.synced()
        return (await asyncio.to_thread(read_quarantine, self._file.directory)).entries

    @property
    def is_owner(self) -> bool:
        """False in a process that was forked from the one that opened the spool; it must not touch it."""
        return os.getpid() == self._pid

    def _check_owner(self) -> None:
        if not self.is_owner:
            raise StoreClosed(
                "the audit store belongs to the process that this one was forked from; "
                "open another one, with a directory of its own"
            )

    async def aclose(self) -> None:
        """Write what is left and end; raises SpoolError when the disk does not take it."""
        if not self.is_owner:
            return
        self._is_closed = True
        self._writer.close()
        try:
            await asyncio.to_thread(self._writer.join)
        finally:
            lost = self._writer.join()  # when cancelled: the file must not be closed under the writer
            self._file.close()
        if lost:
            raise SpoolError(
                f"{lost} audit events were lost, {self._file.directory} cannot be written: {self.disk_error}"
            )

    def written(self, up_to: int, synced: list[asyncio.Future[None]]) -> None:
        """Something was written and synced; the writer reports it on the event loop."""
        if self.disk_error:
            log.info("Audit spool writable again", path=str(self._file.directory))
        self.disk_error = ""
        self._committed = max(self._committed, up_to)
        ready = [*synced, *(future for seq, future in self._waiters if seq <= self._committed)]
        self._waiters = [(seq, future) for seq, future in self._waiters if seq > self._committed]
        for future in ready:
            if not future.done():
                future.set_result(None)
        self.on_commit()

    def write_failed(self, reason: str) -> None:
        """A write failed, and will be tried again; the writer reports it on the event loop."""
        if not self.disk_error:
            log.error("Audit spool write failed", path=str(self._file.directory), error=reason)
        self.disk_error = reason
        waiters, self._waiters = self._waiters, []
        for _, future in waiters:
            if not future.done():
                future.set_exception(SpoolFull(f"{self._file.directory} cannot be written: {reason}"))


@asynccontextmanager
async def open_spool(config: SpoolConfig) -> AsyncIterator[Spool]:
    """The spool of this process. Raises SpoolLocked when another one has it open, SpoolError when it is unusable.

    What is damaged is moved aside, and the rest goes on. At the end, everything appended is on disk; SpoolError
    says how many events are not.
    """
    with locked(config.directory):
        file = await asyncio.to_thread(SpoolFile, config.directory)
        spool = Spool(config, file)
        try:
            yield spool
        finally:
            await spool.aclose()


_open_locks: weakref.WeakSet[FileIO] = weakref.WeakSet()


def _release_in_child() -> None:
    # A lock belongs to the open file, which a forked child shares; it would outlive the parent with the child.
    for lock in list(_open_locks):
        with contextlib.suppress(OSError):
            lock.close()


os.register_at_fork(after_in_child=_release_in_child)


@contextlib.contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Hold the lock of a spool. Raises SpoolLocked with the process that holds it, SpoolError when it is unusable."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = FileIO(os.open(directory / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), "r+")
    except OSError as error:
        raise SpoolError(f"{directory} cannot be used as a spool: {error.strerror}") from error
    with lock:
        _open_locks.add(lock)
        if not _acquire(lock):
            raise SpoolLocked(f"{directory} is the spool of running process {_holder(lock)}")
        with contextlib.suppress(OSError):  # a full disk; the lock holds without the number
            lock.write(b"%-20d\n" % os.getpid())
        yield


def _acquire(lock: FileIO) -> bool:
    for attempt in range(LOCK_ATTEMPTS):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            time.sleep(LOCK_RETRY_INTERVAL if attempt < LOCK_ATTEMPTS - 1 else 0)
        else:
            return True
    return False


def owner(directory: Path) -> str | None:
    """The process that has this spool open; `?` when its number is not known, None when nobody has."""
    try:
        lock = FileIO(directory / LOCK_NAME, "r")
    except OSError:
        return None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return _holder(lock)
    return None


def _holder(lock: FileIO) -> str:
    lock.seek(0)
    number = lock.read(32).decode(errors="replace").strip()
    return number if number.isdecimal() else "?"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
