"""The files of the spool: segments that only grow and are deleted when their last event is acked.

Deleting a file needs no free space, so a full disk heals as soon as DataStorage takes what waits. Only the process that
holds the lock of the directory may open this; `write` is called by the writer thread, `head` by a reader.
"""

import contextlib
import os
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from kubernaut.audit.errors import SpoolError
from kubernaut.audit.spool_record import OVERHEAD, Record, RecordKind, decode, encode, missing_bytes, scan
from kubernaut.audit.spool_recovery import Recovery, recover, replace_file, sync_directory
from kubernaut.audit.spool_state import SpoolState, StateFile
from kubernaut.audit.spool_survey import QUARANTINE_NAME, STATE_NAME, Gap, Quarantined, encode_quarantine, segment_path

MAX_SEGMENT_BYTES = 8 * 2**20
"""A segment of this size is followed by another one."""

MIN_RECLAIM_BYTES = 2**20
"""The newest segment is deleted at this size when every event of it is acked."""

RESERVE_NAME = "reserve"
RESERVE_BYTES = 256 * 1024
"""Space for the quarantine on a full disk: what must not be deleted must be written before what is behind it can go."""

_READ_BYTES = 2**20


class EncodedEvent(NamedTuple):
    """One event on its way to disk."""

    event_id: bytes
    body: bytes
    if_absent: bool = False
    """Another one with this id, whatever its content, is enough."""


class Row(NamedTuple):
    """One event with its number, and the checksum of its body."""

    seq: int
    event_id: bytes
    body: bytes
    crc: int


class Position(NamedTuple):
    """A place between two records."""

    segment: int
    offset: int


class SpooledEvent(NamedTuple):
    """One event on disk; `body` is its JSON text."""

    seq: int
    event_id: bytes
    body: bytes
    end: Position

    @property
    def size(self) -> int:
        return len(self.body) + OVERHEAD


class Head(NamedTuple):
    """The oldest events that wait, and those before or between them that cannot be read."""

    events: list[SpooledEvent]
    gaps: list[Gap]


@dataclass
class SpoolChanges:
    """What is written at once."""

    rows: list[Row] = field(default_factory=list)
    quarantine: list[Quarantined] = field(default_factory=list)
    ack: int = 0
    """Events up to this number are done with."""


@dataclass
class _Segment:
    path: Path
    number: int
    size: int
    last: int
    fd: int = -1

    def open(self) -> int:
        """The open file; made when it is missing."""
        if self.fd < 0:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | (0 if self.size else os.O_TRUNC)
            self.fd = os.open(self.path, flags, 0o600)
            sync_directory(self.path.parent)
        return self.fd

    def is_in_place(self) -> bool:
        """Whether the path leads to the open file; False when somebody has removed, moved or replaced it."""
        try:
            found = self.path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return False
        return os.path.samestat(found, os.fstat(self.fd))

    def restore(self, size: int) -> None:
        """Put what the open file has, up to that size, where it belongs."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(self.path, _read_all(self.fd, size))
        restored = os.open(self.path, os.O_RDWR | os.O_CLOEXEC)
        os.close(self.fd)
        self.fd = restored

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


class SpoolFile:
    """An open spool; opening it repairs what is damaged."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        try:
            self.recovery: Recovery = recover(directory)
            self._state_file = StateFile(directory / STATE_NAME)
        except OSError as error:
            raise SpoolError(f"{directory} cannot be used as a spool: {error.strerror}") from error
        found = self.recovery.survey
        self.acked: int = self.recovery.acked
        self.last: int = found.last
        self._quarantined = len(self.recovery.quarantine.entries)
        self._committed = found.last
        self._segments = [
            _Segment(segment.path, segment.number, segment.path.stat().st_size, segment.last)
            for segment in found.segments
        ]
        self._is_failing = False
        self._lock = threading.Lock()  # held while the list of segments is read or changed
        self._write_state()
        self._reclaim()
        self._make_reserve()

    def write(self, changes: SpoolChanges) -> None:
        """Write and sync; when it raises OSError, what it did not write must be given to it again."""
        try:
            if changes.quarantine:
                self._append_quarantine(changes.quarantine)
                changes.quarantine = []
            if changes.ack > self.acked or self._is_failing:
                self.acked = max(self.acked, changes.ack)
                self._reclaim()
            if changes.rows:
                self._append(changes.rows)
                self._committed = changes.rows[-1].seq
        except OSError:
            self._is_failing = True
            raise
        self._is_failing = False
        with contextlib.suppress(OSError):  # else what is written would be written again
            self._write_state()

    def head(self, after: int, position: Position | None, max_events: int, max_bytes: int) -> Head:
        """The events behind that number, from that position on when it still exists."""
        with self._lock:
            segments = [(segment.number, segment.path, segment.size) for segment in self._segments]
            newest = self._segments[-1] if self._segments else None
            last = newest.last if newest else 0
            # Also where somebody has removed its path, from which the next write would restore it.
            fd = os.dup(newest.fd) if newest and newest.fd >= 0 else -1
        try:
            return _head(_records(segments, position, fd), after, last, max_events, max_bytes)
        finally:
            if fd >= 0:
                os.close(fd)

    def release(self, entries: Sequence[Quarantined], kept: Sequence[Quarantined]) -> None:
        """Put events of the quarantine behind those that wait, and keep only `kept` in it."""
        rows = [
            Row(number, entry.event_id, entry.body, entry.key[1]) for number, entry in enumerate(entries, self.last + 1)
        ]
        self.write(SpoolChanges(rows))
        self.last = rows[-1].seq
        # After a crash between the two, the events are in both, and the store keeps one of each id.
        self._quarantined = len(kept)
        self._write_state()
        replace_file(self.directory / QUARANTINE_NAME, encode_quarantine(kept))

    def close(self) -> None:
        """Delete what nobody needs, and close."""
        with contextlib.suppress(OSError):
            self._reclaim(is_closing=True)
            self._write_state()
            self._state_file.sync()
        with self._lock:
            for segment in self._segments:
                segment.close()
        self._state_file.close()

    def _append(self, rows: list[Row]) -> None:
        data = b"".join([encode(RecordKind.EVENT, *row) for row in rows])
        with self._lock:
            is_new = not self._segments or self._segments[-1].size >= MAX_SEGMENT_BYTES
            if is_new or (self._is_failing and self._segments[-1].size):
                self._segments.append(
                    _Segment(segment_path(self.directory, rows[0].seq), rows[0].seq, 0, rows[0].seq - 1)
                )
            segment = self._segments[-1]
            older = self._segments[-2] if len(self._segments) > 1 else None
        if older:
            self._keep_in_place(older, older.size)
            older.close()
        try:
            _write_all(segment.open(), data, segment.size)
            self._keep_in_place(segment, segment.size + len(data))
        except OSError:
            self._undo(segment)
            raise
        with self._lock:
            segment.size += len(data)
            segment.last = rows[-1].seq

    def _keep_in_place(self, segment: _Segment, size: int) -> None:
        """Restore a segment whose file somebody has removed or moved: nobody would find there what is in it."""
        if segment.fd < 0 or segment.is_in_place():
            return
        with self._lock:
            segment.restore(size)
        closed, self._state_file = self._state_file, StateFile(self.directory / STATE_NAME)
        closed.close()
        self._make_reserve()

    def _undo(self, segment: _Segment) -> None:
        """Give back what a failed write has taken."""
        with contextlib.suppress(OSError):
            if segment.size:
                os.ftruncate(segment.open(), segment.size)
                return
            segment.close()
            with self._lock:
                self._segments.remove(segment)
            segment.path.unlink(missing_ok=True)

    def _append_quarantine(self, entries: list[Quarantined]) -> None:
        path = self.directory / QUARANTINE_NAME
        data = encode_quarantine(entries, self._quarantined + 1)
        try:
            _append_to(path, data)
        except OSError:
            (self.directory / RESERVE_NAME).unlink(missing_ok=True)
            _append_to(path, data)
        self._quarantined += len(entries)
        self._make_reserve()

    def _reclaim(self, *, is_closing: bool = False) -> None:
        """Delete the segments whose events are all acked."""
        with self._lock:
            newest = self._segments[-1] if self._segments else None
            done = [
                segment
                for segment in self._segments
                if segment.last <= self.acked
                and (segment is not newest or is_closing or self._is_failing or segment.size >= MIN_RECLAIM_BYTES)
            ]
        if not done:
            return
        self._write_state()
        # Else a power cut could leave an old state without the events that it calls committed.
        self._state_file.sync()
        for segment in done:
            segment.close()
            segment.path.unlink(missing_ok=True)
            with self._lock:
                self._segments.remove(segment)

    def _write_state(self) -> None:
        self._state_file.write(SpoolState(self.acked, self._committed, self._quarantined))

    def _make_reserve(self) -> None:
        path = self.directory / RESERVE_NAME
        try:
            if not path.exists():
                path.write_bytes(os.urandom(RESERVE_BYTES))  # random: zeros take no space on some file systems
        except OSError:
            path.unlink(missing_ok=True)


def _head(records: Iterator[tuple[Record, Position]], after: int, last: int, max_events: int, max_bytes: int) -> Head:
    """The events of these records behind `after`; `last` is the newest number that was written."""
    events: list[SpooledEvent] = []
    gaps: list[Gap] = []
    total, expected = 0, after + 1
    for record, end in records:
        if record.seq < expected:
            continue
        first = record.first_lost if record.kind == RecordKind.LOST else record.seq
        if record.kind == RecordKind.EVENT:
            event = SpooledEvent(record.seq, record.event_id, record.body, end)
            if len(events) >= max_events or (events and total + event.size > max_bytes):
                return Head(events, gaps)
            events.append(event)
            total += event.size
        if first > expected:
            gaps.append(Gap(expected, first - 1))
        expected = record.seq + 1
    if expected <= last:
        gaps.append(Gap(expected, last))
    return Head(events, gaps)


def _records(
    segments: Sequence[tuple[int, Path, int]], position: Position | None, newest: int
) -> Iterator[tuple[Record, Position]]:
    """Each record from that position on, and where it ends; `newest` is the last segment's open file, or -1."""
    for number, path, size in segments:
        if position is not None and number < position.segment:
            continue
        start = position.offset if position is not None and number == position.segment else 0
        try:
            is_open = newest >= 0 and number == segments[-1][0]
            file = open(newest, "rb", buffering=0, closefd=False) if is_open else path.open("rb", buffering=0)  # noqa: SIM115
        except FileNotFoundError:  # deleted meanwhile, hence acked
            continue
        with file:
            for record, base in _records_of(file.fileno(), start, size):
                yield record, Position(number, base + record.end)


def _records_of(fd: int, start: int, size: int) -> Iterator[tuple[Record, int]]:
    """Each record between two offsets of a file, and the offset to which its own ones refer."""
    while start < size:
        data = os.pread(fd, min(_READ_BYTES, size - start), start)
        missing = missing_bytes(data, 0)
        if 0 < missing <= size - start - len(data):
            data += os.pread(fd, missing, start + len(data))
        at = 0
        while (record := decode(data, at)) is not None:
            yield record, start
            at = record.end
        if not at:
            # Damaged since the spool was opened: step over it, to the next record in the rest of the file.
            rest = os.pread(fd, size - start, start)
            yield from ((item, start) for item in scan(rest) if isinstance(item, Record))
            return
        start += at


def _read_all(fd: int, size: int) -> bytes:
    parts: list[bytes] = []
    while size and (part := os.pread(fd, size, sum(map(len, parts)))):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def _append_to(path: Path, data: bytes) -> None:
    """Append all of it and sync, or nothing."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        size = os.fstat(fd).st_size
        try:
            _write_all(fd, data, size)
        except OSError:
            os.ftruncate(fd, size)
            raise
    finally:
        os.close(fd)
    sync_directory(path.parent)


def _write_all(fd: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(fd, view, offset)
        view, offset = view[written:], offset + written
    os.fdatasync(fd)
